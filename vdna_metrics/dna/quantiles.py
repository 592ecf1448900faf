"""Activation ranges from the quantiles of a histogram DNA."""

from __future__ import annotations

import torch
from torch import Tensor

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.ranges import ActivationRanges, RangesSource, check_levels

LEVELS = (1e-4, 1 - 1e-4)
# Of the larger end: what rounding in float32 may move an activation against the edge of its bin, twice over.
_ROUNDING = 2**-22


def quantile_ranges(dna: VDNA, lower: float = LEVELS[0], upper: float = LEVELS[1]) -> ActivationRanges:
    """Ranges from the lower to the upper quantile of each neuron's activations.

    Of a neuron's n sorted activations those at the places ``floor(lower · (n − 1))`` and ``ceil(upper · (n − 1))``
    are taken (NumPy's methods ``"lower"`` and ``"higher"``), and of their bins the outer edges. So no more than the
    share ``lower`` of the activations that were counted lies below, nor ``1 − upper`` above, and each end is at most
    one bin of the DNA farther out than the quantile. Counts add, so the quantiles of merged DNAs are those of all
    their images.

    Args:
        dna: histogram DNA, of many bins, over ranges that hold the quantiles: extremes with a margin (which other batch
            sizes and devices, that round otherwise, do not leave), or quantile ranges of the same images, which gives
            finer ones.
        lower: level of the lower quantile, 0.01 % by default.
        upper: level of the upper quantile, 99.99 % by default.

    Returns:
        Ranges whose rule is ``"quantile"`` with both levels.

    Raises:
        ValueError: when the DNA is no histogram or has seen no image, the levels are not in [0, 1] and in order, or a
            quantile lies outside the ranges of the DNA.

    Examples:
        >>> from vdna_metrics import build_dnas, calibrate, create_extractor
        >>> images = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(-1, 3, 4, 4)
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> extremes = calibrate(images, extractor)
        >>> dna = build_dnas(images, extractor, bins=4096, ranges=extremes)["histogram"]
        >>> ranges = quantile_ranges(dna, 0.1, 0.9)
        >>> (255 * ranges.low).round(), (255 * ranges.high).round()  # of 0, 1, ..., 255
        (tensor([25., 25., 25.]), tensor([230., 230., 230.]))
    """
    check_levels(lower, upper)
    distribution = counted(dna)
    ranges = distribution.ranges
    first, last = central_bins(distribution, lower, upper)
    low, high = ranges.low.double(), ranges.high.double()
    step = (high - low) / distribution.bins
    slack = _ROUNDING * torch.maximum(low.abs(), high.abs())
    return ActivationRanges(
        layout=dna.layout,
        observed_low=torch.maximum(low, low + first * step - slack),
        observed_high=torch.minimum(high, low + (last + 1) * step + slack),
        widen="quantile",
        n_images=dna.n_images,
        fingerprint=dna.fingerprint,
        levels=(lower, upper),
        sets=_sets(dna, ranges),
    )


def counted(dna: VDNA) -> HistogramDistribution:
    """The histograms of a DNA, on the CPU.

    Raises:
        ValueError: when the DNA is of another kind or has seen no image.
    """
    distribution = dna.distribution.to("cpu")
    if not isinstance(distribution, HistogramDistribution):
        raise ValueError(f"this needs a histogram DNA, got {dna!r}")
    if not dna.n_images:
        raise ValueError("this DNA has seen no image")
    distribution.check_finite()
    return distribution


def central_bins(
    distribution: HistogramDistribution, lower: float, upper: float, *, strict: bool = True
) -> tuple[Tensor, Tensor]:
    """Bins of each neuron's lower and upper quantile, ``[neurons]`` int64 each; see `quantile_ranges`.

    Raises:
        ValueError: when ``strict`` and a quantile lies outside the ranges; the layers are named.
    """
    ends, outside = [], torch.zeros(distribution.layout.total, dtype=torch.bool)
    for rows in distribution.layout.slices().values():
        cumulative = distribution.counts[rows].cumsum(1)  # one layer at a time, because it is as large as the counts
        n = cumulative[:, -1]
        places = (n - 1).double()
        ranks = torch.stack([(places * lower).floor(), (places * upper).ceil()], dim=1).long()
        outside[rows] = (ranks[:, 0] < distribution.below[rows]) | (ranks[:, 1] >= n - distribution.above[rows])
        ends.append(torch.searchsorted(cumulative, ranks, right=True))
    if strict and outside.any():
        raise ValueError(
            f"the {100 * lower:g} % or {100 * upper:g} % quantile lies outside the ranges that the DNA was counted in, "
            f"for {distribution.ranges.locate(outside)}: count over ranges of the same images with a margin"
        )
    first, last = torch.cat(ends).unbind(1)
    return first, last


def _sets(dna: VDNA, ranges: ActivationRanges) -> tuple[RangesSource, ...]:
    """What is known of each image set: all, where the ranges of the DNA were made over the very same."""
    provenance = dna.provenance
    if (ranges.sources, ranges.n_images) == (provenance.sources, dna.n_images):
        return ranges.sets
    if len(provenance.sources) != 1:
        return tuple(map(RangesSource, provenance.sources))
    manifest = provenance.manifests[0] if len(provenance.manifests) == 1 else None
    return (RangesSource(provenance.sources[0], dna.n_images, manifest, provenance.skipped),)
