"""Kernels in Triton that count activations on NVIDIA's GPUs; imported by `on_cuda` alone, when such a device counts.

What bounds them. ViT-B/16 gives 1.26e8 activations a batch of 64 (13 layers of 197 tokens and 768 neurons). Reading
them once in bfloat16 is 0.25 GB, 59 µs at the 4.3 TB/s that a copy reaches on an H200; the 80 MB of counts are read
and written once, 37 µs. The rule takes some 40 instructions an activation, 175 µs of all lanes of 132 multiprocessors
at 1.7 GHz, beside what is read. The forward is 2.3e12 multiplications and additions, 5.6 ms at half of 790 TFLOP/s. So
3 % are left for what nobody can do without, and how it is counted decides the rest:

- Atomic additions in L2, one an activation: if each of some 100 slices updates one sector a clock, 0.17e12 a second,
  0.75 ms, 13 %. (From the number of slices; it was not measured.)
- A histogram in shared memory: from 3.8 on, Triton compiles `tl.histogram` to one `ATOMS.POPC.INC` an activation, which
  adds equal addresses of a warp at once, as those of a rectified map. At 3.5 conflicts a warp that is 62 µs; to clear
  and to read a counter for each activation of a tile, 35 µs. Older ones compile it to ballots and, of 1024 bins, 32
  `POPC` for 32 activations, 1.1 ms. They are given the atomic additions.

So a program owns a few neurons and a chunk of their samples. Where neurons alternate in memory (tokens, channels last)
it takes 8 or 16 of them side by side; where each neuron's positions lie together (maps), one. Its counters are int32,
which it cannot fill, and are added to the int64 totals at its end. Atomic additions go to the totals themselves: to
clear and to add up int32 ones for each layer and batch would be as many bytes as the activations are. Zeros, half of a
rectified map, would queue for one address there, so a program counts them in registers. Integers have the same sum in
any order, so results are the same in any run.

Bins are those of `bin_index` bit for bit: the difference, product and quotient are rounded one by one, since nothing is
added to a product, fusion is switched off, and `div_rn` is the quotient of IEEE 754. On grids, activations are scaled
by a power of two in float32, which is exact but where the result is subnormal; its floor is 0 then, or -1 of what is
negative.

Nothing is tuned at run time, allocated by the values of data, or waited for, so that a CUDA graph can record it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# The first whose `tl.histogram` counts by atomic additions to shared memory.
SHARED = tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 8)
_COUNTERS = 1 << 13  # of int32 in shared memory: 32 KiB
_SIDE_BY_SIDE = 16
_TILE = 1 << 10  # activations handled at once where nothing has to pay for cleared counters
_TILE_SHARED = 1 << 12
_MOST_TILES = 1023  # of a program, which counts in ten bits what a tile may add one to
_PROGRAMS = 16  # a multiprocessor
_PROGRAMS_SHARED = 4
_MOST_SAMPLES = 1 << 30  # of a neuron at once, so that their number is an int32
_MOST_BINS_MOVED = 1 << 12
# Sizes that change with the batch must not compile anew. And where the compiler knows a stride to be 1 it loads several
# activations a thread, in another arrangement than that of the atomic additions, and computes what lies between twice.
_PLAIN = ["samples", "chunk", "neuron_stride", "outer_stride", "inner_stride"]


@triton.jit
def _offsets(sample, outer_stride, inner_stride, INNER: tl.constexpr):
    """Where samples of a neuron lie: in runs of so many, or all at equal distances."""
    if INNER == 0:
        return sample.to(tl.int64) * inner_stride
    outer = sample // INNER
    return outer.to(tl.int64) * outer_stride + (sample - outer * INNER).to(tl.int64) * inner_stride


@triton.jit
def _rule(lower, upper, neuron, present, ON_GRID: tl.constexpr, WIDE: tl.constexpr):
    """Start and scale of neurons' bins, from the ends of their ranges or from their grids' exponents and origins."""
    lower = tl.load(lower + neuron, present, other=0)
    upper = tl.load(upper + neuron, present, other=0)
    if ON_GRID:
        end = upper.to(tl.int32)
        start, scale = end, ((1023 - lower) << 52).to(tl.float64, bitcast=True).to(tl.float32)
    else:
        if WIDE:
            start, end = lower.to(tl.float64), upper.to(tl.float64)
            least = tl.full((), 1, tl.int64).to(tl.float64, bitcast=True)
        else:
            start, end = lower.to(tl.float32), upper.to(tl.float32)
            least = tl.full((), 1, tl.int32).to(tl.float32, bitcast=True)
        # The smallest number there is, as in `bin_index`: what differs from a dead neuron is a bin or more away.
        scale = tl.where(end - start == 0, least, end - start)
    return start, scale, end


@triton.jit
def _bins(x, start, scale, BINS: tl.constexpr, ON_GRID: tl.constexpr):
    """Bins of activations in ranges from `start` of width `scale`, or on grids of first bin `start` and `2**-k`."""
    if ON_GRID:
        place = tl.floor(x * scale)
        place = tl.where(x < 0, tl.minimum(place, -1.0), place)
        # What is not finite, or outside its window, must not make the conversion undefined.
        place = tl.minimum(tl.maximum(place, -2147483648.0), 2147483520.0)
        return tl.minimum(tl.maximum(place.to(tl.int32) - start, 0), BINS - 1)
    place = (x - start) * BINS
    # `/` is approximate in float32.
    place = place / scale if x.dtype == tl.float64 else tl.math.div_rn(place, scale)
    return tl.minimum(tl.maximum(place, 0.0), BINS - 1.0).to(tl.int32)  # of NaN the former makes 0


@triton.jit(do_not_specialize=_PLAIN)
def _count(
    activations,
    counts,
    below,
    above,
    note,
    lower,
    upper,
    neurons,
    samples,
    chunk,
    neuron_stride,
    outer_stride,
    inner_stride,
    INNER: tl.constexpr,
    BINS: tl.constexpr,
    ON_GRID: tl.constexpr,
    WIDE: tl.constexpr,
    ROW: tl.constexpr,
    TILE: tl.constexpr,
    NEURONS: tl.constexpr,
):
    step: tl.constexpr = TILE // NEURONS
    sample, local = tl.arange(0, TILE) // NEURONS, tl.arange(0, TILE) % NEURONS
    neuron = tl.program_id(0) if NEURONS == 1 else tl.program_id(0) * NEURONS + local
    present = neuron < neurons
    start, scale, end = _rule(lower, upper, neuron, present, ON_GRID, WIDE)
    sources = activations + neuron.to(tl.int64) * neuron_stride
    rows = counts + neuron.to(tl.int64) * BINS
    first = tl.program_id(1) * chunk
    last = tl.minimum(first + chunk, samples)
    if ROW > 0:
        tally = tl.zeros([NEURONS * ROW], tl.int32)
    else:
        zeros = tl.zeros([TILE], tl.int32)
    if not ON_GRID:
        outside = tl.zeros([TILE], tl.int32)  # below, above and not finite, ten bits each
    for begin in range(first, last, step):
        valid = (begin + sample < last) & present
        x = tl.load(sources + _offsets(begin + sample, outer_stride, inner_stride, INNER), valid, other=0)
        x = x.to(tl.float64) if WIDE else x.to(tl.float32)
        index = _bins(x, start, scale, BINS, ON_GRID)
        if ROW > 0:
            tally += tl.histogram(local * ROW + index, NEURONS * ROW, mask=valid)
        else:
            zeros += (valid & (x == 0)).to(tl.int32)
            tl.atomic_add(rows + index, tl.full([TILE], 1, tl.int64), mask=valid & (x != 0), sem="relaxed")
        if not ON_GRID:
            outside += (valid & (x < start)).to(tl.int32)
            outside += (valid & (x > end)).to(tl.int32) << 10
            outside += (valid & ((tl.abs(x) < float("inf")) == 0)).to(tl.int32) << 20
    if ROW > 0:
        counter = tl.arange(0, NEURONS * ROW)
        place = (tl.program_id(0) * NEURONS + counter // ROW).to(tl.int64) * BINS + counter % ROW
        tl.atomic_add(counts + place, tally.to(tl.int64), mask=tally > 0, sem="relaxed")
    own = tl.arange(0, NEURONS)
    place = tl.program_id(0) * NEURONS + own
    if ROW == 0:
        start, scale, end = _rule(lower, upper, place, place < neurons, ON_GRID, WIDE)
        zero = _bins(tl.zeros([NEURONS], scale.dtype), start, scale, BINS, ON_GRID)
        found = tl.sum(tl.reshape(zeros, [step, NEURONS]), axis=0)
        tl.atomic_add(counts + place.to(tl.int64) * BINS + zero, found.to(tl.int64), mask=found > 0, sem="relaxed")
    if not ON_GRID:
        found = tl.reshape(outside, [step, NEURONS])
        under, over = tl.sum(found & 1023, axis=0), tl.sum((found >> 10) & 1023, axis=0)
        tl.atomic_add(below + place, under.to(tl.int64), mask=under > 0, sem="relaxed")
        tl.atomic_add(above + place, over.to(tl.int64), mask=over > 0, sem="relaxed")
        tl.store(note, float("nan"), mask=tl.sum(outside >> 20, axis=0) > 0)  # all that store, store the same


@triton.jit(do_not_specialize=_PLAIN)
def _extremes(
    activations,
    minima,
    maxima,
    neurons,
    samples,
    chunk,
    neuron_stride,
    outer_stride,
    inner_stride,
    INNER: tl.constexpr,
    TILE: tl.constexpr,
    NEURONS: tl.constexpr,
):
    step: tl.constexpr = TILE // NEURONS
    sample, local = tl.arange(0, TILE) // NEURONS, tl.arange(0, TILE) % NEURONS
    # Beyond the last there is the last once more, which changes no extreme.
    neuron = tl.minimum(tl.program_id(0) * NEURONS + local, neurons - 1)
    sources = activations + neuron.to(tl.int64) * neuron_stride
    first = tl.program_id(1) * chunk
    last = tl.minimum(first + chunk, samples)
    low = tl.full([TILE], float("inf"), minima.dtype.element_ty)
    high = tl.full([TILE], float("-inf"), minima.dtype.element_ty)
    unknown = tl.zeros([TILE], tl.int32)
    for begin in range(first, last, step):
        here = tl.minimum(begin + sample, last - 1)
        x = tl.load(sources + _offsets(here, outer_stride, inner_stride, INNER)).to(minima.dtype.element_ty)
        low, high = tl.minimum(low, x), tl.maximum(high, x)
        unknown |= (x != x).to(tl.int32)
    nan = tl.max(tl.reshape(unknown, [step, NEURONS]), axis=0) > 0
    low = tl.min(tl.reshape(low, [step, NEURONS]), axis=0)
    high = tl.max(tl.reshape(high, [step, NEURONS]), axis=0)
    own = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)
    place = tl.program_id(1).to(tl.int64) * neurons + own
    tl.store(minima + place, tl.where(nan, float("nan"), low), own < neurons)
    tl.store(maxima + place, tl.where(nan, float("nan"), high), own < neurons)


@triton.jit
def _regrid(counts, exponent, origin, new_exponent, new_origin, BINS: tl.constexpr, ROW: tl.constexpr):
    neuron = tl.program_id(0)
    shift = tl.minimum(tl.maximum(tl.load(new_exponent + neuron) - tl.load(exponent + neuron), 0), 33)
    start, new_start = tl.load(origin + neuron), tl.load(new_origin + neuron)
    if (shift != 0) | (start != new_start):
        index = tl.arange(0, ROW)
        row = counts + neuron.to(tl.int64) * BINS
        held = tl.load(row + index, index < BINS, other=0)
        place = ((start + index) >> shift) - new_start
        tl.store(row + index, tl.zeros([ROW], tl.int64), index < BINS)
        tl.debug_barrier()  # every old count is held before any is added
        tl.atomic_add(row + place, held, mask=(held != 0) & (place >= 0) & (place < BINS), sem="relaxed")


def count_in_ranges_(
    counts: Tensor, below: Tensor, above: Tensor, activations: Tensor, low: Tensor, high: Tensor, note: Tensor
) -> None:
    """What `accumulate_histogram_` does, in one read.

    Args:
        counts: `[neurons, bins]` int64, contiguous, changed in place.
        below: `[neurons]` int64, changed in place.
        above: `[neurons]` int64, changed in place.
        activations: `[neurons, ...]`, floating, any strides.
        low: `[neurons]` lower ends of the ranges, floating.
        high: `[neurons]` upper ends of the ranges, floating.
        note: `[1]` float32, made NaN where an activation is not finite and left alone where all are.
    """
    wide = torch.float64 in (activations.dtype, low.dtype, high.dtype)
    for part in _parts(activations):
        _launch_count(counts, below, above, note, part, low, high, on_grid=False, wide=wide)


def count_on_grids_(counts: Tensor, activations: Tensor, exponent: Tensor, origin: Tensor) -> None:
    """What `accumulate_on_grid_` does, in one read.

    Args:
        counts: `[neurons, bins]` int64, contiguous, changed in place.
        activations: `[neurons, ...]`, floating, any strides.
        exponent: `[neurons]` int64, k of each neuron's grid.
        origin: `[neurons]` int64, j of the first bin of its window; fits an int32, see `functional.grid`.
    """
    for part in _parts(activations):
        _launch_count(counts, counts, counts, counts, part, exponent, origin, on_grid=True, wide=False)


def extremes(activations: Tensor) -> tuple[Tensor, Tensor]:
    """What `functional.extremes` does, in one read.

    Args:
        activations: `[neurons, ...]`, floating, at least one a neuron, any strides.

    Returns:
        Minimum and maximum, `[neurons]` each, in the dtype of the activations; NaN where a neuron has any NaN.
    """
    neurons, dtype = len(activations), torch.promote_types(activations.dtype, torch.float32)
    found = []
    for part in _parts(activations):
        (inner, outer_stride, inner_stride), samples = _runs(part), part[:1].numel()
        side = _SIDE_BY_SIDE if _side_by_side(part, inner_stride) else 1
        grid, chunk = _division(part, samples, _TILE // side, side, _PROGRAMS)
        ends = torch.empty((2, grid[1], neurons), dtype=dtype, device=part.device)
        with torch.cuda.device_of(part):
            _extremes[grid](
                *(part, *ends, neurons, samples, chunk, part.stride(0), outer_stride, inner_stride),
                **{"INNER": inner, "TILE": _TILE, "NEURONS": side, "num_warps": 4},
            )
        found.append(ends)
    minima, maxima = torch.cat(found, dim=1)
    return minima.amin(dim=0).to(activations.dtype), maxima.amax(dim=0).to(activations.dtype)


def regrid_(counts: Tensor, exponent: Tensor, origin: Tensor, new_exponent: Tensor, new_origin: Tensor) -> bool:
    """What `functional.regrid` does, in place; rows that stay where they are cost a look at their grids.

    Returns:
        Whether it was done: rows of many bins do not fit a program.
    """
    neurons, bins = counts.shape
    row = triton.next_power_of_2(bins)
    if row > _MOST_BINS_MOVED:
        return False
    with torch.cuda.device_of(counts):
        _regrid[(neurons,)](
            *(counts, exponent, origin, new_exponent, new_origin), **{"BINS": bins, "ROW": row, "num_warps": 4}
        )
    return True


def _launch_count(
    counts: Tensor,
    below: Tensor,
    above: Tensor,
    note: Tensor,
    activations: Tensor,
    lower: Tensor,
    upper: Tensor,
    *,
    on_grid: bool,
    wide: bool,
) -> None:
    neurons, bins = counts.shape
    (inner, outer_stride, inner_stride), samples = _runs(activations), activations[:1].numel()
    side = _SIDE_BY_SIDE if _side_by_side(activations, inner_stride) else 1
    tile, programs, row, warps = _TILE, _PROGRAMS, 0, 4
    # Cleared and read counters must pay.
    if SHARED and bins <= min(samples, _COUNTERS):
        row = triton.next_power_of_2(bins)
        side = min(side, _COUNTERS // row)
        tile, programs = max(_TILE_SHARED, side * row), _PROGRAMS_SHARED
        warps = tile >> 9
    grid, chunk = _division(activations, samples, tile // side, side, programs)
    with torch.cuda.device_of(activations):
        _count[grid](
            *(activations, counts, below, above, note, lower.contiguous(), upper.contiguous(), neurons, samples, chunk),
            *(activations.stride(0), outer_stride, inner_stride),
            **{"INNER": inner, "BINS": bins, "ON_GRID": on_grid, "WIDE": wide, "ROW": row},
            **{"TILE": tile, "NEURONS": side, "num_warps": warps, "enable_fp_fusion": False},
        )


def _parts(activations: Tensor) -> tuple[Tensor, ...]:
    """Activations in parts whose kernels' numbers fit an int32, and whose samples lie in runs at equal distances."""
    if len(_axes(activations)) > 2:
        activations = activations.flatten(1)
    samples = activations[:1].numel()
    if samples <= _MOST_SAMPLES:
        return (activations,)
    axis = max(range(1, activations.ndim), key=activations.size)
    step = max(1, activations.shape[axis] * _MOST_SAMPLES // samples)
    return tuple(part for piece in activations.split(step, dim=axis) for part in _parts(piece))


def _axes(activations: Tensor) -> list[tuple[int, int]]:
    """Sizes and strides of the samples' axes, outermost first, where axes that follow on each other are one."""
    merged: list[tuple[int, int]] = []
    axes = zip(activations.shape[1:], activations.stride()[1:], strict=True)
    for size, stride in sorted((axis for axis in axes if axis[0] > 1), key=lambda axis: -axis[1]):
        if merged and merged[-1][1] == size * stride:
            merged[-1] = (merged[-1][0] * size, stride)
        else:
            merged.append((size, stride))
    return merged


def _runs(activations: Tensor) -> tuple[int, int, int]:
    """Samples of a run, 0 where all lie at equal distances; distance of runs, and of samples in them."""
    axes = _axes(activations) or [(1, 1)]
    return (0, 0, axes[0][1]) if len(axes) == 1 else (axes[1][0], axes[0][1], axes[1][1])


def _side_by_side(activations: Tensor, inner_stride: int) -> bool:
    """Whether neurons alternate in memory, as in tokens, rather than that each has its samples together."""
    return activations.stride(0) < inner_stride


def _division(
    activations: Tensor, samples: int, samples_tile: int, neurons_tile: int, programs: int
) -> tuple[tuple[int, int], int]:
    """Grid of programs, and samples of each."""
    multiprocessors = (
        torch.cuda.get_device_properties(activations.device).multi_processor_count if activations.is_cuda else 1
    )
    blocks, tiles = triton.cdiv(len(activations), neurons_tile), triton.cdiv(samples, samples_tile)
    each = min(_MOST_TILES, max(1, triton.cdiv(tiles * blocks, multiprocessors * programs)))
    return (blocks, triton.cdiv(tiles, each)), each * samples_tile
