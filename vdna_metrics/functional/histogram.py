"""Counting activations into the bins of every neuron's range: exact, in bounded memory, in the order they lie."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.functional.grids import power_of_two
from vdna_metrics.functional.moments import check_floating, check_tensors
from vdna_metrics.functional.on_cuda import kernels_for

T = TypeVar("T")
Array = NDArray[Any]

# float32 holds every whole number up to here, so the bin rule stays exact in it.
MAX_BINS = 1 << 24
_MAX_INT32 = (1 << 31) - 1
# Activations handled at once: on a CPU, what its caches hold; a GPU wants few and large pieces.
_PIECE_CPU = 1 << 18
_PIECE = 1 << 26
# Neurons counted together on a CPU where they alternate in memory: their histograms, too, should stay in its caches.
_NEURONS_CPU = 64
# Python's lock lets no more threads than this be busy with pieces of this size.
_THREADS = 8


def bin_index(activations: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Bin of every activation in the range of its neuron.

    `floor((x − low) · bins / (high − low))`, evaluated from left to right and clamped to `[0, bins − 1]`, in the
    promoted dtype of the inputs (at least float32): equal, bit for bit, to the same expression in NumPy in that dtype.
    Where `high == low`, activations above are in the last bin and all others in bin 0. NaN is in bin 0.

    Args:
        activations: `[neurons, ...]`, floating, any strides.
        low: `[neurons]` lower ends of the ranges.
        high: `[neurons]` upper ends of the ranges, none below `low`.
        bins: number of bins, 1 to 2**24.

    Returns:
        int32, the shape of the activations, in their memory order.

    Examples:
        >>> bin_index(torch.tensor([[-1.0, 0.0, 0.5, 1.0, 7.0]]), torch.zeros(1), torch.ones(1), 4)
        tensor([[0, 0, 2, 3, 3]], dtype=torch.int32)
    """
    dtype = _rule_dtype(activations, low, high)
    column = (-1,) + (1,) * (activations.ndim - 1)
    low, width = _start_and_width(low, high, dtype)
    return _bin_index(activations.to(dtype), low.view(column), width.view(column), bins)


def extremes(activations: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest activation of every neuron; NaN where a neuron has any NaN.

    Args:
        activations: `[neurons, ...]`, at least one activation a neuron, any strides.

    Returns:
        Minimum and maximum, `[neurons]` each, in the dtype of the activations.

    Raises:
        ValueError: if there are no activations.

    Examples:
        >>> extremes(torch.tensor([[3.0, 1.0, 2.0]]))
        (tensor([1.]), tensor([3.]))
    """
    check_tensors(activations)
    if activations.numel() == 0:
        raise ValueError(f"there are no extremes without activations, got {list(activations.shape)}")
    if activations.ndim == 1:
        return activations, activations
    if kernels := kernels_for(activations):
        low, high = kernels.extremes(activations.detach())
        return low, high
    if activations.device.type == "cpu":
        return _extremes_on_cpu(activations.detach())
    samples = tuple(range(1, activations.ndim))
    return activations.amin(dim=samples), activations.amax(dim=samples)


def histogram_counts(activations: Tensor, low: Tensor | float, high: Tensor | float, bins: int) -> Tensor:
    """Histogram of every neuron over its own range.

    Every activation is counted exactly once, in bin `floor((x − low) · bins / (high − low))` clamped to
    `[0, bins − 1]`: `x == high` is in the last bin, and activations outside the range are in the edge bins.

    Args:
        activations: `[neurons, samples]`, floating, finite, any strides.
        low: `[neurons]` lower ends of the ranges, or one for all.
        high: `[neurons]` upper ends of the ranges, or one for all.
        bins: number of bins, 1 to 2**24.

    Returns:
        `[neurons, bins]` int64 counts, each row summing to `samples`.

    Raises:
        TypeError: if activations are not floating or bins is not an int.
        ValueError: if shapes do not fit, bins is out of its range, a range is reversed, not finite or so wide that
            `bins` times its width is not, or an activation is NaN or infinite.

    Source: Ramtoula, Gadd, Newman, De Martini, "Visual DNA", CVPR 2023, Section 3.2.

    Examples:
        >>> activations = torch.tensor([[0.0, 0.1, 1.0], [0.0, 3.0, 3.9]])
        >>> histogram_counts(activations, torch.zeros(2), torch.tensor([1.0, 4.0]), 4)
        tensor([[2, 0, 0, 1],
                [1, 0, 0, 2]])
    """
    check_floating(activations=activations)
    if activations.ndim != 2:
        raise ValueError(f"activations must be [neurons, samples], got {list(activations.shape)}")
    if not isinstance(bins, int) or isinstance(bins, bool):
        raise TypeError(f"bins must be an int, got {bins!r}")
    if not 1 <= bins <= MAX_BINS:
        raise ValueError(f"bins must be from 1 to {MAX_BINS}, got {bins}")
    neurons, samples = activations.shape
    low, high = range_end(low, activations, "low"), range_end(high, activations, "high")
    if not bool((low.isfinite() & high.isfinite()).all()):
        raise ValueError("low and high must be finite")
    if bool((high < low).any()):
        first = int((high < low).int().argmax())
        raise ValueError(
            f"high must not be below low, it is for {int((high < low).sum())} of {neurons} neurons: "
            f"neuron {first} has low {low[first].item()}, high {high[first].item()}"
        )
    dtype = _rule_dtype(activations, low, high)
    if not bool(((high.to(dtype) - low.to(dtype)) * bins).isfinite().all()):
        raise ValueError(f"ranges are too wide: (high - low) * {bins} bins does not fit {dtype}")
    counts = torch.zeros((neurons, bins), dtype=torch.int64, device=activations.device)
    if samples == 0 or neurons == 0:
        return counts
    observed = extremes(activations)
    if not bool((observed[0].isfinite() & observed[1].isfinite()).all()):
        raise ValueError("activations hold NaN or infinity: a histogram has no bin for them")
    below, above = torch.zeros_like(counts[:, 0]), torch.zeros_like(counts[:, 0])
    accumulate_histogram_(counts, below, above, activations, low, high, observed=observed)
    return counts


def accumulate_histogram_(
    counts: Tensor,
    below: Tensor,
    above: Tensor,
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    *,
    observed: tuple[Tensor, Tensor] | None = None,
    note: Tensor | None = None,
) -> None:
    """Add activations to the histograms of their neurons, by the rule of `bin_index`, and count those outside.

    Memory beyond the arguments is bounded whatever the batch: 2**18 activations at once on a CPU, with less than 8 MiB
    for each of at most 8 threads; nothing on CUDA with Triton; 2**26 elsewhere, with less than 2 GiB in float32.
    Activations are taken in the order in which they lie in memory, so permuted views cost no copy. On an accelerator
    nothing waits for the device; NaN is counted in bin 0 there, and the caller refuses it later.

    Args:
        counts: `[neurons, bins]` int64, contiguous, changed in place.
        below: `[neurons]` int64, activations with `x < low`, changed in place.
        above: `[neurons]` int64, activations with `x > high`, changed in place.
        activations: `[neurons, ...]`, floating, any strides, checked by the caller to be finite.
        low: `[neurons]` lower ends of the ranges.
        high: `[neurons]` upper ends of the ranges, none below `low`.
        observed: `extremes(activations)` where the caller has it: on a CPU, only neurons that went outside are
            then counted for it.
        note: `[1]` float32; where `notes_while_counting`, it is made NaN if an activation is not finite.

    Raises:
        ValueError: if counts are not contiguous.

    Examples:
        >>> counts, below, above = (torch.zeros(shape, dtype=torch.int64) for shape in [(1, 2), (1,), (1,)])
        >>> accumulate_histogram_(counts, below, above, torch.tensor([[-1.0, 0.2, 0.7]]), torch.zeros(1), torch.ones(1))
        >>> counts, below, above
        (tensor([[2, 1]]), tensor([1]), tensor([0]))
    """
    if not counts.is_contiguous():
        raise ValueError(f"counts must be contiguous, got strides {counts.stride()} for shape {list(counts.shape)}")
    if activations.numel() == 0:
        return
    if activations.ndim == 1:
        activations = activations[:, None]
    with torch.inference_mode():
        if kernels := kernels_for(activations):
            note = torch.zeros(1, device=counts.device) if note is None else note
            kernels.count_in_ranges_(counts, below, above, activations, low, high, note)
        elif activations.device.type == "cpu":
            minimum, maximum = observed or extremes(activations)
            dtype = _rule_dtype(activations, low, high)
            start, width = (end.numpy() for end in _start_and_width(low, high, dtype))
            went = ((minimum < low) | (maximum > high)).numpy()
            outside = Outside(went, high.to(dtype).numpy(), below.numpy(), above.numpy())
            _count_on_cpu_(counts, activations, CountingRule(dtype, start, width, outside))
        else:
            _accumulate_on_accelerator_(counts, below, above, activations, low, high)


def notes_while_counting(activations: Tensor) -> bool:
    """Whether `accumulate_histogram_` notes what is not finite in the one read in which it counts.

    Examples:
        >>> notes_while_counting(torch.zeros(1))
        False
    """
    return kernels_for(activations) is not None


def accumulate_on_grid_(counts: Tensor, activations: Tensor, exponent: Tensor, origin: Tensor) -> None:
    """Add activations to histograms on grids of bins ``[j 2**k, (j + 1) 2**k)``, see `functional.grid`.

    Activations are taken in float32 and scaled exactly. Memory is bounded as in
    `accumulate_histogram_`, and nothing waits for the device; on an accelerator, activations that are not finite are
    counted anywhere in the window, and the caller refuses them later.

    Args:
        counts: `[neurons, bins]` int64, contiguous, changed in place.
        activations: `[neurons, ...]`, floating, any strides; they lie in the windows, the caller sees to that.
        exponent: `[neurons]`, k of each neuron's grid.
        origin: `[neurons]`, j of the first bin of its window.

    Examples:
        >>> counts = torch.zeros(1, 4, dtype=torch.int64)
        >>> accumulate_on_grid_(counts, torch.tensor([[-0.5, 0.2, 0.7]]), torch.tensor([-1]), torch.tensor([-1]))
        >>> counts
        tensor([[1, 1, 1, 0]])
    """
    if activations.numel() == 0:
        return
    if kernels := kernels_for(activations):
        kernels.count_on_grids_(counts, activations.detach(), exponent, origin)
        return
    scale, start = power_of_two(-exponent), origin.double()
    with torch.inference_mode():
        if activations.device.type == "cpu":
            _count_on_cpu_(counts, activations, CountingRule(torch.float32, scale.numpy(), start.numpy()))
            return

        def index(piece: Tensor, column: list[int]) -> Tensor:
            place = piece.float().double().mul_(scale.view(column)).floor_().sub_(start.view(column))
            return place.clamp_(0, counts.shape[1] - 1).to(torch.int32).clamp_(min=0)

        for _ in _count_on_accelerator_(counts, activations, index):
            pass


def range_end(end: Tensor | float, neurons: Tensor, name: str) -> Tensor:
    """Lower or upper ends of the ranges of `neurons` `[neurons, ...]`, given as `[neurons]` or one for all."""
    if not isinstance(end, Tensor):
        end = torch.tensor(end, dtype=neurons.dtype, device=neurons.device)
    if end.shape not in ((), neurons.shape[:1]):
        raise ValueError(f"{name} must be [neurons], got {list(end.shape)} for {len(neurons)} neurons")
    return end.expand(len(neurons))


def _alternate(activations: Tensor) -> bool:
    """Whether the neurons lie side by side in memory, as in tokens, rather than one after the other."""
    return activations.stride(0) == min(activations.stride())


def _rule_dtype(activations: Tensor, low: Tensor, high: Tensor) -> torch.dtype:
    check_tensors(activations, low, high)
    ranges = torch.promote_types(low.dtype, high.dtype)
    return torch.promote_types(torch.promote_types(activations.dtype, ranges), torch.float32)


def _start_and_width(low: Tensor, high: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    low = low.to(dtype)
    width = high.to(dtype) - low
    # The smallest number there is: any activation that differs from a dead neuron's value is a whole bin or more away.
    return low, torch.where(width == 0, torch.nextafter(torch.zeros_like(width), torch.ones_like(width)), width)


def _bin_index(activations: Tensor, low: Tensor, width: Tensor, bins: int) -> Tensor:
    scaled = activations - low
    scaled.mul_(bins).div_(width).clamp_(0, bins - 1)
    # NaN passes the first clamp and becomes 0 or the lowest int32, by device.
    return scaled.to(torch.int32).clamp_(min=0)


def _accumulate_on_accelerator_(
    counts: Tensor, below: Tensor, above: Tensor, activations: Tensor, low: Tensor, high: Tensor
) -> None:
    bins = counts.shape[1]
    dtype = _rule_dtype(activations, low, high)
    start, width = _start_and_width(low, high, dtype)
    for view, piece in _count_on_accelerator_(
        counts, activations, lambda x, column: _bin_index(x.to(dtype), start.view(column), width.view(column), bins)
    ):
        below += (piece < low.view(view.column)).sum(dim=view.samples)
        above += (piece > high.view(view.column)).sum(dim=view.samples)


def _count_on_accelerator_(
    counts: Tensor, activations: Tensor, rule: Callable[[Tensor, list[int]], Tensor]
) -> Iterator[tuple[_MemoryOrder, Tensor]]:
    """Count piece by piece by a rule that gives bins of activations; the pieces come after they were counted."""
    neurons, bins = counts.shape
    view = _MemoryOrder(activations)
    index_dtype = torch.int32 if counts.numel() <= _MAX_INT32 else torch.int64
    offsets = torch.arange(0, neurons * bins, bins, dtype=index_dtype, device=counts.device).view(view.column)
    one = torch.ones((), dtype=torch.int64, device=counts.device)
    for piece in view.pieces(_PIECE):
        index = rule(piece, view.column).to(index_dtype).add_(offsets).reshape(-1)
        counts.view(-1).index_add_(0, index, one.expand(index.shape))
        yield view, piece


@dataclass(frozen=True)
class Outside:
    """Activations outside the ranges, and which neurons had any; arrays of `[neurons]`.

    Args:
        went: where there are any to count.
        high: upper ends of the ranges, in the type in which activations are taken.
        below: int64 counts, changed in place.
        above: int64 counts, changed in place.
    """

    went: Array
    high: Array
    below: Array
    above: Array

    def __getitem__(self, neurons: slice) -> Outside:
        return Outside(self.went[neurons], self.high[neurons], self.below[neurons], self.above[neurons])


@dataclass(frozen=True)
class CountingRule:
    """How activations, taken in a type, become bins: of ranges, or of windows on grids.

    Args:
        dtype: in which activations are taken.
        first: `[neurons]`, low ends of the ranges, or scales of the grids; its type is that of the arithmetic.
        second: `[neurons]`, widths of the ranges, or first bins of the windows.
        outside: of the ranges; nothing is outside a window.
    """

    dtype: torch.dtype
    first: Array
    second: Array
    outside: Outside | None = None

    def __getitem__(self, neurons: slice) -> CountingRule:
        outside = None if self.outside is None else self.outside[neurons]
        return replace(self, first=self.first[neurons], second=self.second[neurons], outside=outside)

    def count_outside_(self, values: Array, view: _MemoryOrder) -> None:
        """Count activations outside the ranges."""
        if self.outside is None or not self.outside.went.any():
            return
        found = self.outside.went.nonzero()[0]
        values = values.take(found, axis=view.neuron_axis)
        for counts, is_outside in (
            (self.outside.below, values < self.first[found].reshape(view.column)),
            (self.outside.above, values > self.outside.high[found].reshape(view.column)),
        ):
            counts[found] += is_outside.sum(axis=tuple(view.samples))

    def place_(self, values: Array, view: _MemoryOrder, bins: int, out: Array) -> None:
        """Bins of activations, as numbers of the type of the arithmetic."""
        first, second = self.first.reshape(view.column), self.second.reshape(view.column)
        # Python numbers would decide the dtype of the result in NumPy 1.
        zero, last, all_bins = (self.first.dtype.type(number) for number in (0, bins - 1, bins))
        if self.outside is None:
            np.multiply(values, first, out=out)
            np.floor(out, out=out)
            np.subtract(out, second, out=out)
        else:
            np.subtract(values, first, out=out)
            np.multiply(out, all_bins, out=out)
            np.divide(out, second, out=out)
            # fmax makes 0 of NaN: 0 by the width of a dead neuron, in a process that flushes subnormal numbers.
            np.fmax(out, zero, out=out)
            np.minimum(out, last, out=out)


def _count_on_cpu_(counts: Tensor, activations: Tensor, rule: CountingRule) -> None:
    """Count by a rule, in threads."""
    neurons, bins = counts.shape
    samples = activations.numel() // neurons
    step = max(1, _PIECE_CPU // samples)
    compiled_ = compiled_count_()
    if _alternate(activations):
        # Compiled loops are quick enough to wait for memory, which brings long rows sooner: a block for each thread.
        least = 1 if compiled_ is None else -(-neurons // _threads_for(activations.numel()))
        step = max(step // _NEURONS_CPU, -(-least // _NEURONS_CPU)) * _NEURONS_CPU  # whole vectors
    step = min(step, neurons, _MAX_INT32 // bins)
    blocks = deque(slice(first, first + step) for first in range(0, neurons, step))
    size = min(_PIECE_CPU, step * samples)
    ones = torch.ones((), dtype=torch.int64, device="cpu").expand(size)
    offsets = np.arange(0, step * bins, bins, dtype=np.int32)

    def count_blocks_() -> None:
        if compiled_ is None:
            place_buffer, index_buffer = np.empty(size, rule.first.dtype), np.empty(size, np.int32)
        for block in _taken_from(blocks):
            view, block_rule, block_counts = _MemoryOrder(activations[block]), rule[block], counts[block]
            block_offsets = offsets[: len(block_counts)].reshape(view.column)
            for piece in view.pieces(_PIECE_CPU):
                values = piece.to(rule.dtype)
                if compiled_ is not None:
                    compiled_(block_counts.numpy(), values, view.neuron_axis, block_rule)
                    continue
                # In NumPy, whose loops stay in the thread that calls them; only `index_add_` is faster in torch.
                place = place_buffer[: values.numel()].reshape(values.shape)
                index = index_buffer[: values.numel()].reshape(values.shape)
                block_rule.place_(values.numpy(), view, bins, place)
                np.copyto(index, place, casting="unsafe")
                np.add(index, block_offsets, out=index)
                block_counts.view(-1).index_add_(0, torch.from_numpy(index).view(-1), ones[: values.numel()])
                block_rule.count_outside_(values.numpy(), view)

    _in_threads(count_blocks_, activations.numel())


@cache
def compiled_count_() -> Callable[..., None] | None:
    """What counts instead of NumPy where numba is installed: `numba_histogram.count_`."""
    if find_spec("numba") is None or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return None
    try:
        from vdna_metrics.functional.numba_histogram import count_
    except ImportError as error:  # of a numba that does not know this NumPy
        warnings.warn(f"numba is installed but cannot be used, so counting takes longer: {error}", stacklevel=2)
        return None
    return count_


def _extremes_on_cpu(activations: Tensor) -> tuple[Tensor, Tensor]:
    neurons = len(activations)
    step = neurons if _alternate(activations) else max(1, _PIECE_CPU * neurons // activations.numel())
    blocks = [slice(first, first + step) for first in range(0, neurons, step)]
    pieces = deque((block, piece) for block in blocks for piece in _MemoryOrder(activations[block]).pieces(_PIECE_CPU))
    neuron_axis = _MemoryOrder(activations).neuron_axis
    dtype = torch.promote_types(activations.dtype, torch.float32)
    shape = (_THREADS, neurons)
    minima, maxima = (torch.full(shape, end, dtype=dtype, device="cpu").numpy() for end in (torch.inf, -torch.inf))
    rows = deque(range(_THREADS))

    def reduce_pieces() -> None:
        row = rows.popleft()
        for block, piece in _taken_from(pieces):
            values = piece.to(dtype).numpy()
            for ufunc, extreme in ((np.minimum, minima[row, block]), (np.maximum, maxima[row, block])):
                reduced = values
                # Whole rows are compared with whole rows first, which is fast however short the rows are.
                for _ in range(neuron_axis):
                    reduced = ufunc.reduce(reduced, axis=0) if len(reduced) > 1 else reduced[0]
                reduced = ufunc.reduce(reduced, axis=tuple(range(1, reduced.ndim)))
                ufunc(extreme, reduced, out=extreme)

    _in_threads(reduce_pieces, activations.numel())
    minimum, maximum = torch.from_numpy(minima.min(axis=0)), torch.from_numpy(maxima.max(axis=0))
    return minimum.to(activations.dtype), maximum.to(activations.dtype)


def _in_threads(work: Callable[[], None], amount: int) -> None:
    """Run `work`, which takes pieces from a queue until that is empty, in the threads that such an amount is worth.

    Threads of our own rather than torch's: nothing in them waits for another thread before the end, so that there is no
    serial part, and other work on the same cores slows them by no more than its share. torch's threads meet after
    every operation, and keep their cores busy for a while after the last.
    """

    def run() -> None:
        # A thread starts without the settings of the one that made it.
        with torch.inference_mode(), np.errstate(all="ignore"):
            work()

    threads = _threads_for(amount)
    with ThreadPoolExecutor(_THREADS) as pool:
        others = [pool.submit(run) for _ in range(1, threads)]
        run()
        for other in others:
            other.result()


def _threads_for(amount: int) -> int:
    """Threads that work on so many activations is worth."""
    return min(torch.get_num_threads(), _THREADS, 1 + amount // (2 * _PIECE_CPU))


def _taken_from(queue: deque[T]) -> Iterator[T]:
    while True:
        try:
            yield queue.popleft()
        except IndexError:  # all are taken
            return


class _MemoryOrder:
    """Activations `[neurons, ...]` with their axes permuted to the order in which they lie in memory."""

    def __init__(self, activations: Tensor) -> None:
        # One image or one position has no place in memory, whatever the stride.
        alone = [axis > 0 and length == 1 for axis, length in enumerate(activations.shape)]
        order = sorted(range(activations.ndim), key=lambda a: (alone[a], activations.stride(a)), reverse=True)
        self.activations = activations.permute(order)
        self.neuron_axis = order.index(0)
        self.samples = [axis for axis in range(activations.ndim) if axis != self.neuron_axis]
        self.column = [-1 if axis == self.neuron_axis else 1 for axis in range(activations.ndim)]

    def pieces(self, limit: int) -> Iterator[Tensor]:
        """Split the samples, along the outermost axes first, into pieces of at most `limit` activations."""
        return self._split(self.activations, limit)

    def _split(self, activations: Tensor, limit: int) -> Iterator[Tensor]:
        for axis in self.samples:
            length = activations.shape[axis]
            if activations.numel() <= limit or length == 1:
                continue
            step = limit * length // activations.numel()
            for piece in torch.split(activations, max(1, step), dim=axis):
                yield from (piece,) if step else self._split(piece, limit)
            return
        yield activations
