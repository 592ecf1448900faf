"""Counting activations into the bins of every neuron's range: exact, in bounded memory, in the order they lie."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

# float32 holds every whole number up to here, so the bin rule stays exact in it.
_MAX_BINS = 1 << 24
# Activations handled at once. On a CPU their temporaries stay in its caches, and torch starts its own threads for
# larger pieces only: ours, one a block of neurons, never wait for each other. A GPU wants few and large pieces.
_PIECE_CPU = (1 << 15) - 1
_PIECE = 1 << 26
# Neurons counted together on a CPU where they alternate in memory: 1000 bins of 64 neurons stay in its caches.
_NEURONS_CPU = 64


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

    Examples:
        >>> extremes(torch.tensor([[3.0, 1.0, 2.0]]))
        (tensor([1.]), tensor([3.]))
    """
    return _reduce(activations, torch.amin), _reduce(activations, torch.amax)


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
        ValueError: if shapes do not fit, bins is out of its range, a range is reversed or not finite, or an activation
            is NaN or infinite.

    Source: Ramtoula, Gadd, Newman, De Martini, "Visual DNA", CVPR 2023, Section 3.2.

    Examples:
        >>> activations = torch.tensor([[0.0, 0.1, 1.0], [0.0, 3.0, 3.9]])
        >>> histogram_counts(activations, torch.zeros(2), torch.tensor([1.0, 4.0]), 4)
        tensor([[2, 0, 0, 1],
                [1, 0, 0, 2]])
    """
    if not activations.is_floating_point():
        raise TypeError(f"activations must be floating, got {activations.dtype}")
    if activations.ndim != 2:
        raise ValueError(f"activations must be [neurons, samples], got {list(activations.shape)}")
    if not isinstance(bins, int) or isinstance(bins, bool):
        raise TypeError(f"bins must be an int, got {bins!r}")
    if not 1 <= bins <= _MAX_BINS:
        raise ValueError(f"bins must be from 1 to {_MAX_BINS}, got {bins}")
    neurons, samples = activations.shape
    low, high = _range_end(low, activations, "low"), _range_end(high, activations, "high")
    if not bool((low.isfinite() & high.isfinite()).all()):
        raise ValueError("low and high must be finite")
    if bool((high < low).any()):
        first = int((high < low).int().argmax())
        raise ValueError(
            f"high must not be below low, it is for {int((high < low).sum())} of {neurons} neurons: "
            f"neuron {first} has low {low[first].item()}, high {high[first].item()}"
        )
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
) -> None:
    """Add activations to the histograms of their neurons, by the rule of `bin_index`, and count those outside.

    Memory beyond the arguments is bounded whatever the batch: 2**18 activations at once on a CPU (4 MiB in float32,
    8 MiB in float64), 2**26 elsewhere (1 GiB, 2 GiB), plus one image of one neuron where that is larger. Activations
    are taken in the order in which they lie in memory, so permuted views cost no copy. On an accelerator nothing waits
    for the device; NaN is counted in bin 0 there, and the caller refuses it later.

    Args:
        counts: `[neurons, bins]` int64, contiguous, changed in place.
        below: `[neurons]` int64, activations with `x < low`, changed in place.
        above: `[neurons]` int64, activations with `x > high`, changed in place.
        activations: `[neurons, ...]`, floating, any strides, checked by the caller to be finite.
        low: `[neurons]` lower ends of the ranges.
        high: `[neurons]` upper ends of the ranges, none below `low`.
        observed: `extremes(activations)` where the caller has it: on a CPU, only neurons that went outside are
            then counted for it.

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
        if activations.device.type == "cpu":
            minimum, maximum = observed or extremes(activations)
            _accumulate_on_cpu_(counts, below, above, activations, low, high, (minimum < low) | (maximum > high))
        else:
            _accumulate_block_(counts, below, above, activations, low, high, _PIECE)


def _range_end(end: Tensor | float, activations: Tensor, name: str) -> Tensor:
    if not isinstance(end, Tensor):
        end = torch.tensor(end, dtype=activations.dtype, device=activations.device)
    if end.shape not in ((), activations.shape[:1]):
        raise ValueError(f"{name} must be [neurons], got {list(end.shape)} for activations {list(activations.shape)}")
    return end.expand(activations.shape[0])


def _memory_order(activations: Tensor) -> list[int]:
    return sorted(range(activations.ndim), key=activations.stride, reverse=True)


def _reduce(activations: Tensor, reduction: Callable[..., Tensor]) -> Tensor:
    # Axis by axis from the outermost in memory: whole rows are compared with whole rows, which is up to eight times as
    # fast on a CPU as one reduction of all axes, and torch.aminmax is slower still.
    order = _memory_order(activations)
    activations = activations.permute(order)
    for _ in range(order.index(0)):
        activations = reduction(activations, dim=0)
    return reduction(activations, dim=tuple(range(1, activations.ndim))) if activations.ndim > 1 else activations


def _rule_dtype(activations: Tensor, low: Tensor, high: Tensor) -> torch.dtype:
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


def _accumulate_on_cpu_(
    counts: Tensor, below: Tensor, above: Tensor, activations: Tensor, low: Tensor, high: Tensor, outside: Tensor
) -> None:
    neurons = len(activations)
    samples = activations.numel() // neurons
    step = max(_NEURONS_CPU, _PIECE_CPU // samples)
    # Where all positions of an image lie together, one neuron after the other, whole images of few neurons are a piece.
    step = max(1, min(step, _PIECE_CPU // max(1, activations.stride(0))))

    def accumulate_neurons_(start: int) -> None:
        block = slice(start, start + step)
        # Threads start without the inference mode of their parent.
        with torch.inference_mode():
            _accumulate_block_(
                counts[block], below[block], above[block], activations[block], low[block], high[block], _PIECE_CPU,
                outside=outside[block].nonzero()[:, 0],
            )  # fmt: skip

    starts = range(0, neurons, step)
    workers = min(torch.get_num_threads(), len(starts))
    if workers == 1 or activations.numel() < 4 * _PIECE_CPU:
        for start in starts:
            accumulate_neurons_(start)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(accumulate_neurons_, starts))


def _accumulate_block_(
    counts: Tensor,
    below: Tensor,
    above: Tensor,
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    limit: int,
    *,
    outside: Tensor | None = None,
) -> None:
    """Add a block of neurons; activations outside are looked for in the neurons `outside` only, in all for None."""
    neurons, bins = counts.shape
    order = _memory_order(activations)
    axis = order.index(0)
    samples = [dim for dim in range(activations.ndim) if dim != axis]
    column = [-1 if dim == axis else 1 for dim in range(activations.ndim)]
    dtype = _rule_dtype(activations, low, high)
    start, width = (end.view(column) for end in _start_and_width(low, high, dtype))
    index_dtype = torch.int32 if counts.numel() <= torch.iinfo(torch.int32).max else torch.int64
    offsets = torch.arange(0, neurons * bins, bins, dtype=index_dtype, device=counts.device).view(column)
    one = torch.ones((), dtype=torch.int64, device=counts.device)
    flat_counts = counts.view(-1)
    if outside is not None:
        low, high = low[outside], high[outside]
    low, high = low.view(column), high.view(column)
    for piece in _pieces(activations.permute(order), axis, limit):
        index = _bin_index(piece.to(dtype), start, width, bins).to(index_dtype).add_(offsets).reshape(-1)
        flat_counts.index_add_(0, index, one.expand(index.shape))
        if outside is None:
            below += (piece < low).sum(dim=samples)
            above += (piece > high).sum(dim=samples)
        elif len(outside):
            piece = piece.index_select(axis, outside)
            below.index_add_(0, outside, (piece < low).sum(dim=samples))
            above.index_add_(0, outside, (piece > high).sum(dim=samples))


def _pieces(activations: Tensor, neuron_axis: int, limit: int) -> Iterator[Tensor]:
    """Split along all axes but the neurons', the outermost first, into pieces of at most `limit` where they can be."""
    for axis, length in enumerate(activations.shape):
        if axis == neuron_axis or activations.numel() <= limit or length == 1:
            continue
        step = limit * length // activations.numel()
        for piece in torch.split(activations, max(1, step), dim=axis):
            yield from _pieces(piece, neuron_axis, limit) if step == 0 else (piece,)
        return
    yield activations
