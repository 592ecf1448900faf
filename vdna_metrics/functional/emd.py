"""Earth mover's distance between histograms that share their bins."""

from typing import Literal, get_args

import torch
from torch import Tensor

from vdna_metrics.functional.histogram import range_end
from vdna_metrics.functional.moments import to_float64

EMDUnit = Literal["bins", "range", "activation"]


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
    difference = _cumulative(counts_a, "counts_a").sub_(_cumulative(counts_b, "counts_b"))
    distance = difference.abs_().sum(dim=1)
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


def _cumulative(counts: Tensor, name: str) -> Tensor:
    """Cumulative shares `[neurons, bins]` float64, from int64 cumulative sums: exact, also in deterministic mode."""
    if counts.is_complex():
        raise TypeError(f"{name} must be whole numbers, got {counts.dtype}")
    if counts.is_floating_point() and not bool((counts.isfinite() & (counts == counts.trunc())).all()):
        raise ValueError(f"{name} ({counts.dtype}) must be whole numbers: give counts, not shares or densities")
    if bool((counts < 0).any()):
        raise ValueError(f"{name} must not be negative, its lowest is {counts.min().item()}")
    cumulative = counts.to(torch.int64).cumsum(dim=1)
    total = cumulative[:, -1:]
    empty = total[:, 0] == 0
    if bool(empty.any()):
        raise ValueError(
            f"{name} has {int(empty.sum())} of {len(empty)} neurons without any count, "
            f"the first is {int(empty.int().argmax())}: an empty histogram has no distance"
        )
    return to_float64(cumulative) / to_float64(total)
