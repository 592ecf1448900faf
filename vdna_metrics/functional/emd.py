"""Earth mover's distance between histograms that share their bins."""

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from vdna_metrics.functional.histogram import bin_index, range_end
from vdna_metrics.functional.moments import check_tensors, to_float64

EMDUnit = Literal["bins", "range", "activation"]

# Counts of a side held at once by `earth_movers_distance` on a CPU, so that sums and differences stay in its caches and
# in memory that malloc has at hand.
_SIDE_CPU = 1 << 15
# Counts held at once by `image_emd`: on a CPU, what its caches hold; a GPU wants few and large pieces.
_PIECE_CPU = 1 << 18
_PIECE = 1 << 26

# Bins that cost as much as a position when an image's positions are sorted, and its empty bins never looked at.
_BINS_A_POSITION = 8


def earth_movers_distance(
    counts_a: Tensor,
    counts_b: Tensor,
    *,
    unit: EMDUnit = "bins",
    low: Tensor | float | None = None,
    high: Tensor | float | None = None,
) -> Tensor:
    """Earth mover's distance of every neuron between two histograms over the same bins.

    `EMD_i = Σ_k |F_ik − G_ik|`, where F and G are the cumulative, normalised counts. The cumulative counts are
    integers, so a histogram is at distance exactly 0 from itself and the two arguments commute.

    Args:
        counts_a: `[neurons, bins]`, whole numbers.
        counts_b: `[neurons, bins]`, whole numbers; the totals of the two may differ.
        unit: `"bins"` for bin widths (the numbers of the paper), `"range"` for shares of the activation range
            (comparable across bin counts), `"activation"` for the units of the activations.
        low: `[neurons]` lower ends of the ranges, or one for all; only used by `unit="activation"`.
        high: `[neurons]` upper ends of the ranges, or one for all; only used by `unit="activation"`.

    Returns:
        `[neurons]` float64, on the device of the counts (on the CPU for MPS, which has no float64).

    Raises:
        ValueError: if shapes differ, a neuron of either side is empty, a count is negative or not whole, the unit is
            unknown, or the ranges that `unit="activation"` needs are missing or reversed.
        TypeError: if counts are complex.

    Source: Ramtoula, Gadd, Newman, De Martini, "Visual DNA", CVPR 2023, Eq. 4; in one dimension, the area between
    cumulative distributions (Vallender, 1974).

    Examples:
        >>> a, b = torch.tensor([[4, 0, 0, 0]]), torch.tensor([[0, 0, 1, 1]])
        >>> earth_movers_distance(a, b)
        tensor([2.5000], dtype=torch.float64)
        >>> earth_movers_distance(a, b, unit="range")
        tensor([0.6250], dtype=torch.float64)
    """
    if unit not in get_args(EMDUnit):
        raise ValueError(f"unit must be one of {', '.join(get_args(EMDUnit))}, got {unit!r}")
    if counts_a.shape != counts_b.shape or counts_a.ndim != 2 or counts_a.shape[1] == 0:
        raise ValueError(
            "counts must be two [neurons, bins] of one shape with at least one bin, "
            f"got counts_a {list(counts_a.shape)}, counts_b {list(counts_b.shape)}"
        )
    bins = counts_a.shape[1]
    sides = {"counts_a": counts_a, "counts_b": counts_b}
    for name, counts in sides.items():
        _check_counts(counts, name)
    rows = max(1, _SIDE_CPU // bins if counts_a.device.type == "cpu" else len(counts_a))
    pieces = zip(*(counts.split(rows) for counts in sides.values()), strict=True)
    distance = torch.cat([_shares(a).sub_(_shares(b)).abs_().sum(dim=1) for a, b in pieces])
    if unit == "bins":
        return distance
    distance = distance / bins
    if unit == "range":
        return distance
    if low is None or high is None:
        raise ValueError(f"unit='activation' needs low and high, got low={low}, high={high}")
    low, high = (
        to_float64(range_end(end, distance, name)).to(distance.device) for end, name in ((low, "low"), (high, "high"))
    )
    if bool((high < low).any()):
        raise ValueError(f"high must not be below low, it is for {int((high < low).sum())} neurons")
    return distance * (high - low)


def cumulative_shares(counts: Tensor, name: str = "counts") -> Tensor:
    """Cumulative, normalised counts, from int64 cumulative sums: exact, also in deterministic mode.

    Args:
        counts: `[neurons, bins]`, whole numbers.
        name: what to call them in errors.

    Returns:
        `[neurons, bins]` float64, on the device of the counts (on the CPU for MPS, which has no float64).

    Raises:
        ValueError: if a neuron is empty, or a count is negative or not whole.
        TypeError: if counts are complex.

    Examples:
        >>> cumulative_shares(torch.tensor([[1, 0, 2, 1]]))
        tensor([[0.2500, 0.2500, 0.7500, 1.0000]], dtype=torch.float64)
    """
    _check_counts(counts, name)
    return _shares(counts)


def _check_counts(counts: Tensor, name: str) -> None:
    check_tensors(counts)
    if counts.is_complex():
        raise TypeError(f"{name} must be whole numbers, got {counts.dtype}")
    if counts.is_floating_point() and not bool((counts.isfinite() & (counts == counts.trunc())).all()):
        raise ValueError(f"{name} ({counts.dtype}) must be whole numbers: give counts, not shares or densities")
    lowest, highest = counts.aminmax(dim=1)
    if bool((lowest < 0).any()):
        raise ValueError(f"{name} must not be negative, its lowest is {lowest.min().item()}")
    empty = highest == 0
    if bool(empty.any()):
        raise ValueError(
            f"{name} has {int(empty.sum())} of {len(empty)} neurons without any count, "
            f"the first is {int(empty.int().argmax())}: an empty histogram has no distance"
        )


def _shares(counts: Tensor) -> Tensor:
    cumulative = to_float64(counts.to(torch.int64).cumsum(dim=1))
    return cumulative / cumulative[:, -1:]


def image_emd(activations: Tensor, cumulative: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Earth mover's distance of every neuron between each image's own histogram and one other, in bins.

    To rounding the numbers of `earth_movers_distance` on the image's counts, of which only some neurons of an image or
    of a few are held at once; none, but the sorted bins of its positions, where these are few beside the bins.

    Args:
        activations: `[neurons, images, positions]`, floating, any strides.
        cumulative: `[neurons, bins]`, the other histograms' `cumulative_shares`.
        low: `[neurons]` lower ends of the ranges.
        high: `[neurons]` upper ends of the ranges.

    Returns:
        `[images, neurons]` float64, on the device of the activations (on the CPU for MPS).

    Examples:
        >>> shares = cumulative_shares(torch.tensor([[0, 0, 1, 1]]))
        >>> image_emd(torch.tensor([[[0.1, 0.1], [0.6, 0.9]]]), shares, torch.zeros(1), torch.ones(1))
        tensor([[2.5000],
                [0.0000]], dtype=torch.float64)
    """
    check_tensors(activations, cumulative, low, high)
    if activations.device.type == "mps":  # which has no float64
        activations = activations.cpu()
    positions = activations.shape[2]
    low, high = low.to(activations.device), high.to(activations.device)
    bins = cumulative.shape[1]
    expected = cumulative.to(activations.device) * positions
    distances = _image_table(activations)
    if _BINS_A_POSITION * positions <= bins:
        for neurons, index in _image_bins(activations, low, high, bins):
            distances[:, neurons] = _emd_of_few(index, expected[neurons]).T
        return distances.div_(positions)
    for images, neurons, counts in _cumulative_image_counts(activations, low, high, bins):
        distances[images, neurons] = torch.linalg.vector_norm(counts - expected[neurons], 1, dim=2).div_(positions)
    return distances


def _emd_of_few(index: Tensor, expected: Tensor) -> Tensor:
    """Sum over bins of the difference between an image's cumulative counts and what is expected of them.

    `Σ_k |F_k − E_k|` where `F_k = j` from the j-th lowest bin `b_j` to the next one. As `E` never falls it crosses `j`
    there at most once, at `c_j`, the first bin with `E ≥ j`, but not before `b_j` or after `b_{j+1}`. With `S(k)`, the
    sum of `E` below bin `k`, `P` positions and `B` bins that is
    `S(B) − P·B + Σ_j (2·S(b_j) − (2j − 1)·b_j + 2j·c_j − 2·S(c_j))`.

    Args:
        index: `[neurons, images, positions]` bins of the activations, int64.
        expected: `[neurons, bins]` float64, not falling along the bins.

    Returns:
        `[neurons, images]` float64.
    """
    neurons, _, positions = index.shape
    bins = expected.shape[1]
    below = torch.nn.functional.pad(expected.cumsum(dim=1), (1, 0))
    levels = torch.arange(1, positions + 1, dtype=torch.float64, device=index.device)
    reached = torch.searchsorted(expected, levels.expand(neurons, -1).contiguous()).unsqueeze(1)
    lowest = index.sort(dim=2).values
    crossed = torch.maximum(reached, lowest)
    torch.minimum(crossed[..., :-1], lowest[..., 1:], out=crossed[..., :-1])
    at_lowest, at_crossed = (below.gather(1, each.flatten(1)).view(index.shape) for each in (lowest, crossed))
    found = (at_lowest - at_crossed).sum(dim=2).mul_(2)
    found += 2 * (crossed.double() @ levels) - lowest.double() @ (2 * levels - 1)
    return found.add_(below[:, -1:] - positions * bins).clamp_(min=0)


def image_emd_by_position(
    activations: Tensor, cumulative: Tensor, low: Tensor, high: Tensor, weights: Tensor
) -> Tensor:
    """What each position of an image adds to the image's weighted earth mover's distances, in bins.

    With `G_k = (1/P) Σ_p [bin_p ≤ k]` of an image's P positions and `s_k = sign(G_k − F_k)`, a neuron's distance
    `Σ_k |G_k − F_k|` is the mean over positions of `t(bin_p)`, where `t(b) = Σ_{k ≥ b} s_k − Σ_k s_k F_k`. So the mean
    of what is returned is `Σ_n weights_n EMD_n`, to rounding. It is negative at a position that holds the image back:
    without it, the distance would be larger.

    Args:
        activations: `[neurons, images, positions]`, floating, any strides.
        cumulative: `[neurons, bins]`, the other histograms' `cumulative_shares`.
        low: `[neurons]` lower ends of the ranges.
        high: `[neurons]` upper ends of the ranges.
        weights: `[neurons]`, `1 / neurons` for their mean.

    Returns:
        `[images, positions]` float64, on the device of the activations (on the CPU for MPS).

    Examples:
        >>> shares = cumulative_shares(torch.tensor([[1, 1, 0, 0]]))
        >>> image_emd_by_position(torch.tensor([[[0.1, 0.9]]]), shares, torch.zeros(1), torch.ones(1), torch.ones(1))
        tensor([[0., 2.]], dtype=torch.float64)
    """
    check_tensors(activations, cumulative, low, high, weights)
    if activations.device.type == "mps":  # which has no float64
        activations = activations.cpu()
    device, (_, images, positions) = activations.device, activations.shape
    cumulative, low, high = cumulative.to(device), low.to(device), high.to(device)
    weights, bins = to_float64(weights).to(device), cumulative.shape[1]
    found = torch.zeros(images, positions, dtype=torch.float64, device=device)
    for image in range(images):
        for neurons, index in _image_bins(activations[:, image : image + 1], low, high, bins):
            place = index[:, 0]
            own = _counts_of_rows(place, bins).cumsum(dim=1).double()
            sign = own.sub_(cumulative[neurons] * positions).sign_()
            # Whole numbers, whose cumulative sums are exact, also in deterministic mode.
            above = sign.flip(1).to(torch.int64).cumsum(dim=1).flip(1).double()
            above -= (sign * cumulative[neurons]).sum(dim=1, keepdim=True)
            found[image] += weights[neurons] @ above.gather(1, place)
    return found


def image_pair_emd(activations_a: Tensor, activations_b: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Earth mover's distance of every neuron between the histograms of two images, in bins, pair by pair.

    Args:
        activations_a: `[neurons, images, positions]`, floating, any strides.
        activations_b: of as many images; the numbers of positions may differ.
        low: `[neurons]` lower ends of the ranges.
        high: `[neurons]` upper ends of the ranges.
        bins: number of bins.

    Returns:
        `[images, neurons]` float64, on the device of the activations (on the CPU for MPS).

    Examples:
        >>> a, b = torch.tensor([[[0.1, 0.3]]]), torch.tensor([[[0.6, 0.6]]])
        >>> image_pair_emd(a, b, torch.zeros(1), torch.ones(1), 10)
        tensor([[4.]], dtype=torch.float64)
    """
    check_tensors(activations_a, activations_b, low, high)
    sides = (activations_a, activations_b)
    if activations_a.device.type == "mps":  # which has no float64
        sides = activations_a.cpu(), activations_b.cpu()
    low, high = low.to(sides[0].device), high.to(sides[0].device)
    distances = _image_table(sides[0])
    positions_a, positions_b = (side.shape[2] for side in sides)
    pairs = zip(*(_cumulative_image_counts(side, low, high, bins) for side in sides), strict=True)
    for (images, neurons, counts_a), (_, _, counts_b) in pairs:
        difference = counts_a.double().div_(positions_a).sub_(counts_b.double().div_(positions_b))
        distances[images, neurons] = difference.abs_().sum(dim=2)
    return distances


def _image_table(activations: Tensor) -> Tensor:
    neurons, images, _ = activations.shape
    return torch.empty(images, neurons, dtype=torch.float64, device=activations.device)


def _image_bins(activations: Tensor, low: Tensor, high: Tensor, bins: int) -> Iterator[tuple[slice, Tensor]]:
    """Which neurons, and the bins of their activations `[neurons, images, positions]` int64; all in turn."""
    neurons, images, positions = activations.shape
    limit = _PIECE_CPU if activations.device.type == "cpu" else _PIECE
    step = max(1, limit // (images * positions + bins))
    for neuron in range(0, neurons, step):
        chosen = slice(neuron, neuron + step)
        yield chosen, bin_index(activations[chosen], low[chosen], high[chosen], bins).long()


def _cumulative_image_counts(
    activations: Tensor, low: Tensor, high: Tensor, bins: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Which images, which neurons, and their cumulative counts `[images, neurons, bins]` int32; all in turn."""
    neurons, images, _ = activations.shape
    limit = _PIECE_CPU if activations.device.type == "cpu" else _PIECE
    step = max(1, min(neurons, limit // bins))
    several = max(1, limit // (step * bins))
    index = bin_index(activations, low, high, bins).transpose(0, 1)
    for image in range(0, images, several):
        for neuron in range(0, neurons, step):
            chosen = slice(image, image + several), slice(neuron, neuron + step)
            yield *chosen, _counts_of_rows(index[chosen], bins).cumsum(dim=2, dtype=torch.int32)


def _counts_of_rows(index: Tensor, bins: int) -> Tensor:
    """How often each bin is in each row of ``[..., positions]``: ``[..., bins]`` int32."""
    rows = index.shape[:-1]
    size = rows.numel() * bins
    offsets = torch.arange(0, size, bins, dtype=torch.int32, device=index.device).view(*rows, 1)
    place = (index + offsets).flatten()
    one = torch.ones((), dtype=torch.int32, device=index.device)
    return (
        torch.zeros(size, dtype=torch.int32, device=index.device)
        .index_add_(0, place, one.expand(len(place)))
        .view(*rows, bins)
    )
