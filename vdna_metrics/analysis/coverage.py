"""Whether activation ranges fit images: what lies outside, how much of them is used, and better ones from quantiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from vdna_metrics.distributions import AutoHistogramDistribution, Distribution, Histogram
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges, GivenRanges, RangesSource, Widening, check_levels
from vdna_metrics.references.resolve import DNALike, resolve_dna

Known = TypeVar("Known", bound=Distribution)

LEVELS = (1e-4, 1 - 1e-4)
# Of the larger end: what rounding in float32 may move an activation against the edge of its bin, twice over.
_ROUNDING = 2**-22

OUTSIDE = 0.01  # more than this share of a layer's activations is too much; `set_caveats` begins here
USED = 0.1  # a layer whose median neuron uses less of its range has too few bins left for them


def quantile_ranges(dna: DNALike, lower: float = LEVELS[0], upper: float = LEVELS[1]) -> ActivationRanges:
    """Ranges from the lower to the upper quantile of each neuron's activations.

    Of a neuron's n sorted activations those at the places ``floor(lower · (n − 1))`` and ``ceil(upper · (n − 1))``
    are taken (NumPy's methods ``"lower"`` and ``"higher"``), and of their bins the outer edges. So no more than the
    share ``lower`` of the activations that were counted lies below, nor ``1 − upper`` above, and each end is at most
    one bin of the DNA farther out than the quantile. Counts add, so the quantiles of merged DNAs are those of all
    their images.

    Args:
        dna: histogram DNA, or its file or name (see `resolve_dna`), of many bins, over ranges that hold the quantiles:
            extremes with a margin (which other batch sizes and devices, that round otherwise, do not leave), or
            quantile ranges of the same images, which gives finer ones.
        lower: level of the lower quantile, 0.01 % by default.
        upper: level of the upper quantile, 99.99 % by default.

    Returns:
        Ranges whose rule is ``"quantile"`` with both levels.

    Raises:
        ValueError: when the DNA is not a histogram or has seen no image, the levels are not in [0, 1] and in order, or
            a quantile lies outside the ranges of the DNA.

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
    dna, distribution = histogram_dna(dna)
    first, last = central_bins(distribution, lower, upper)
    low, high = distribution.ends
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
        sets=_sets(dna, distribution.given),
    )


def observed_ranges(dna: DNALike, widen: Widening = "margin") -> ActivationRanges:
    """Ranges from the extremes that a histogram saw which found its own range: as `calibrate` gives on its images.

    Args:
        dna: histogram DNA made with ``ranges="auto"``, or its file or name, see `resolve_dna`.
        widen: widening rule, see `ActivationRanges`.

    Raises:
        ValueError: when the DNA is of another kind, was counted in given ranges, or has seen no image.

    Examples:
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> images = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(-1, 3, 4, 4)
        >>> dna = build_dnas(images, create_extractor(torch.nn.AvgPool2d(4)), ranges="auto")["histogram"]
        >>> observed_ranges(dna, "none").high
        tensor([1., 1., 1.])
    """
    dna, distribution = histogram_dna(dna)
    if not isinstance(distribution, AutoHistogramDistribution):
        raise ValueError(
            f"expected histograms that found their own ranges (ranges='auto'), got some in {distribution.where}: "
            "quantile_ranges (--quantiles) knows what they saw, to a bin"
        )
    low, high = distribution.observed
    return ActivationRanges(
        dna.layout, low, high, widen, dna.n_images, fingerprint=dna.fingerprint, sets=_sets(dna, "auto")
    )


def distribution_of(dna: DNALike, of: type[Known]) -> tuple[VDNA, Known]:
    """A DNA, see `resolve_dna`, and its distribution, on the CPU.

    Raises:
        ValueError: when the DNA is of another kind or has seen too few images.
    """
    whole = total_of(resolve_dna(dna, of.kind))
    found, n = whole.distribution.to("cpu"), whole.n_images
    if not isinstance(found, of):
        raise ValueError(f"this needs a {of.kind} DNA, got {whole!r}")
    if n < of.min_images:
        raise ValueError(f"this DNA has seen {n or 'no'} image, a {of.kind} DNA needs at least {of.min_images} images")
    found.check_finite()
    return whole, found


def histogram_dna(dna: DNALike) -> tuple[VDNA, Histogram]:
    """A histogram DNA and its distribution; see `distribution_of`."""
    return distribution_of(dna, Histogram)  # type: ignore[type-abstract]


def central_bins(distribution: Histogram, lower: float, upper: float, *, strict: bool = True) -> tuple[Tensor, Tensor]:
    """Bins of each neuron's lower and upper quantile, ``[neurons]`` int64 each; see `quantile_ranges`.

    Raises:
        ValueError: when ``strict`` and a quantile lies outside the ranges; the layers are named.
    """
    ends, outside = [], torch.zeros(distribution.layout.total, dtype=torch.bool)
    below, above = distribution.outside_counts()
    for rows in distribution.layout.slices().values():
        cumulative = distribution.counts[rows].cumsum(1)  # one layer at a time, because it is as large as the counts
        n = cumulative[:, -1]
        places = (n - 1).double()
        ranks = torch.stack([(places * lower).floor(), (places * upper).ceil()], dim=1).long()
        outside[rows] = (ranks[:, 0] < below[rows]) | (ranks[:, 1] >= n - above[rows])
        ends.append(torch.searchsorted(cumulative, ranks, right=True))
    if strict and outside.any():
        raise ValueError(
            f"the {100 * lower:g} % or {100 * upper:g} % quantile lies outside the ranges that the DNA was counted in, "
            f"for {distribution.layout.locate(outside)}: count over ranges of the same images with a margin"
        )
    first, last = torch.cat(ends).unbind(1)
    return first, last


def _sets(dna: VDNA, ranges: GivenRanges) -> tuple[RangesSource, ...]:
    """What is known of each image set: all, where the ranges of the DNA were made over the very same."""
    provenance = dna.provenance
    if ranges != "auto" and (ranges.sources, ranges.n_images) == (provenance.sources, dna.n_images):
        return ranges.sets
    if len(provenance.sources) != 1:
        return tuple(map(RangesSource, provenance.sources))
    manifest = provenance.manifests[0] if len(provenance.manifests) == 1 else None
    return (RangesSource(provenance.sources[0], dna.n_images, manifest, provenance.skipped),)


@dataclass(frozen=True)
class LayerCoverage:
    """How the ranges of one layer fit.

    Args:
        below: share of the layer's activations below their ranges.
        above: share of the layer's activations above their ranges.
        used: share of its range that the median neuron uses, ``None`` where all ranges are without width.
        neurons: number of neurons.
        dead: neurons whose range has no width.
        moved: of the dead, those that saw another value than theirs.
    """

    below: float
    above: float
    used: float | None
    neurons: int
    dead: int
    moved: int

    @property
    def outside(self) -> float:
        """Share of the layer's activations outside their ranges."""
        return self.below + self.above


@dataclass(frozen=True)
class NeuronCoverage:
    """How much of one neuron's activations lies outside its range.

    Args:
        layer: name of the layer.
        neuron: index in the layer.
        below: share of its activations below the range.
        above: share of its activations above the range.
        dead: whether the range has no width.
    """

    layer: str
    neuron: int
    below: float
    above: float
    dead: bool


@dataclass(frozen=True, eq=False)
class Coverage:
    """How activation ranges fit a set of images, neuron by neuron; see `coverage`.

    Args:
        layout: the neurons.
        n_images: number of images.
        sources: names of the image sets.
        activations: number of activations, ``[neurons]`` int64.
        below: activations below the range, ``[neurons]`` int64.
        above: activations above the range, ``[neurons]`` int64.
        used: share of the range between the bins of the 0.01 % and the 99.99 % quantile, ``[neurons]`` float64; 0 for
            a range without width.
        dead: neurons whose range has no width, ``[neurons]`` bool.
    """

    layout: NeuronLayout
    n_images: int
    sources: tuple[str, ...]
    activations: Tensor
    below: Tensor
    above: Tensor
    used: Tensor
    dead: Tensor

    @property
    def outside(self) -> Tensor:
        """Share of each neuron's activations outside its range, ``[neurons]`` float64."""
        return (self.below + self.above) / self.activations.double()

    @property
    def moved(self) -> Tensor:
        """Neurons whose range has no width and that saw another value, ``[neurons]`` bool."""
        return self.dead & (self.below + self.above > 0)

    @property
    def layers(self) -> dict[str, LayerCoverage]:
        """Each layer's coverage, in the network's order."""
        found = {}
        for layer, rows in self.layout.slices().items():
            n, live = int(self.activations[rows].sum()), ~self.dead[rows]
            found[layer] = LayerCoverage(
                below=int(self.below[rows].sum()) / n,
                above=int(self.above[rows].sum()) / n,
                used=float(self.used[rows][live].median()) if live.any() else None,
                neurons=len(live),
                dead=int((~live).sum()),
                moved=int(self.moved[rows].sum()),
            )
        return found

    @property
    def verdict(self) -> Literal["narrow", "wide", "fit"]:
        """Whether the ranges fit.

        ``"narrow"``: more than 1 % of a layer's activations lie outside, so that the edge bins hold what the images
        differ in. ``"wide"``: the median neuron of a layer uses less than a tenth of its range, so that few bins are
        left to tell images apart. Else ``"fit"``.
        """
        layers = self.layers.values()
        if any(layer.outside > OUTSIDE for layer in layers):
            return "narrow"
        return "wide" if any(layer.used is not None and layer.used < USED for layer in layers) else "fit"

    def worst(self, number: int = 10) -> list[NeuronCoverage]:
        """The neurons with the most outside, the worst first; none that has nothing outside."""
        outside = self.outside
        order = outside.argsort(descending=True, stable=True)[:number].tolist()
        below, above = (side / self.activations.double() for side in (self.below, self.above))
        return [
            NeuronCoverage(*self.layout.neuron_at(row), float(below[row]), float(above[row]), bool(self.dead[row]))
            for row in order
            if outside[row] > 0
        ]

    def to_json(self) -> dict[str, Any]:
        """Verdict, layers and worst neurons as plain containers."""
        return {
            "images": list(self.sources),
            "n_images": self.n_images,
            "verdict": self.verdict,
            "layers": {layer: {"outside": part.outside, **vars(part)} for layer, part in self.layers.items()},
            "worst": [vars(neuron) for neuron in self.worst()],
        }


def coverage(dna: DNALike) -> Coverage:
    """How the activation ranges of a histogram DNA fit its images.

    The numbers outside are exact; how much of a range is used is known to a bin.

    Args:
        dna: histogram DNA, or its file or name, see `resolve_dna`.

    Raises:
        ValueError: when the DNA is of another kind or has seen no image.

    Examples:
        >>> fit = coverage("bsds500/test@vdna_tiny")
        >>> fit.verdict, round(fit.layers["blocks.4"].outside, 6), round(fit.layers["blocks.4"].used, 2)
        ('fit', 0.0, 0.68)
    """
    dna, distribution = histogram_dna(dna)
    first, last = central_bins(distribution, *LEVELS, strict=False)
    dead, (below, above) = distribution.widths() == 0, distribution.outside_counts()
    return Coverage(
        layout=dna.layout,
        n_images=dna.n_images,
        sources=dna.provenance.sources,
        activations=distribution.counts.sum(1),
        below=below.clone(),
        above=above.clone(),
        used=torch.where(dead, 0.0, (last - first + 1).double() / distribution.bins),
        dead=dead,
    )
