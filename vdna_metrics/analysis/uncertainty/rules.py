"""Rules by which a distance is corrected for a finite number of images, by their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.analysis.matrices import emd_scale, histogram_of
from vdna_metrics.analysis.uncertainty.estimates import Chance, parts_of
from vdna_metrics.distributions import Histogram
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.grouped import GroupedDNA, clusters_of, total_of
from vdna_metrics.dna.vdna import VDNA, ImageClusters

# Of the bias of a covariance's distance that the jackknife removes, n images leave up to this share of (neurons / n)².
_LEFT_BY_JACKKNIFE = 1 / 12
_BLOCK = 1 << 22  # cumulative counts held at once, 32 MiB, beside about three times as much
_BINS_OF_DEVIATIONS = 250
_HALVES = 16
_NOISES = (1.0, 2.0, 4.0)
# Of a quadratic in the root of the noise, through these three, the value at 0.
_WEIGHTS = tuple(math.prod(b**0.5 / (b**0.5 - a**0.5) for b in _NOISES if b != a) for a in _NOISES)

Halves = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
"""Splits of groups into two."""


def extrapolate_emd(
    column: Column, reference: VDNA | GroupedDNA, generated: VDNA | GroupedDNA, plain: Tensor
) -> tuple[Tensor, Chance, Chance]:
    """EMDs of layers without noise and the two sides' deviations, some neurons of all groups at a time."""
    total, parts = total_of(reference), [_parts(side) for side in (reference, generated)]
    frame = histogram_of(total).spanning([histogram_of(part) for side in parts for part in side])
    scale, slices = emd_scale(column, total, frame), total.layout.slices()
    of_layers = column.layer_shares(total.layout, total.distribution)

    def by_layer(of_neurons: Tensor) -> Tensor:
        parts = [of_neurons[:, rows] @ scale[rows] for rows in slices.values()]
        return torch.stack(parts, dim=1) / of_layers

    sides = _Cumulated.of(reference, frame), _Cumulated.of(generated, frame)
    neurons = total.layout.total
    corrected = torch.zeros(1, neurons, dtype=torch.float64)
    deviations = [torch.zeros(len(side.halves), neurons, dtype=torch.float64) for side in sides]
    # Between the bins the difference of the two is smooth, and deviations need no more digits than they have.
    stride = max(1, frame.bins // _BINS_OF_DEVIATIONS)
    for rows, whole in _blocks(*sides):
        corrected[0, rows] = _without_noise(whole[0].share - whole[1].share, whole[0].variance + whole[1].variance)
        coarse = [each.coarse(stride) for each in whole]
        for place, other in ((0, 1), (1, 0)):
            for index, halves in enumerate(sides[place].halves):
                found = []
                for half in halves:
                    share, variance = coarse[place].part(half)
                    found.append(_without_noise(share - coarse[other].share, variance + coarse[other].variance))
                deviations[place][index, rows] = stride * sides[place].half_scales[index] * (found[0] - found[1])
    first, second = (Chance(by_layer(each), side.freedom) for each, side in zip(deviations, sides, strict=True))
    return by_layer(corrected)[0], first, second


def corrected_neurons(column: Column, a: GroupedDNA, b: GroupedDNA, *, jointly: bool = False) -> Tensor:
    """A distance of each neuron without the bias that its rule removes, ``[neurons]``; some may be below 0.

    Args:
        column: the EMD, or a distance by neuron that is jackknifed.
        a: images in groups.
        b: others.
        jointly: whether groups in one place depend on each other, as of the same photographs, changed: then it is their
            difference that varies from place to place, and they are left out together.

    Raises:
        ValueError: for a distance by layer or without such a rule, or sides in other numbers of groups that are to be
            looked at jointly.
    """
    rule = bias_rule(column)
    if column.distance.per != "neuron" or rule.correct not in (extrapolate_emd, jackknife_parts):
        raise ValueError(f"{column.label} is not corrected by neuron: give the EMD, or a distance by neuron")
    if jointly and len(a.groups) != len(b.groups):
        raise ValueError(f"groups that depend on each other come in pairs, got {len(a.groups)} and {len(b.groups)}")
    if rule.correct is extrapolate_emd:
        frame = histogram_of(a.total).spanning([histogram_of(part) for side in (a, b) for part in side.groups])
        found = []
        for _, (first, second) in _blocks(_Cumulated.of(a, frame), _Cumulated.of(b, frame)):
            variance = first.joint_variance(second) if jointly else first.variance + second.variance
            found.append(_without_noise(first.share - second.share, variance))
        return torch.cat(found) * frame.bin_widths(column.options["unit"]).cpu()

    def distances(first: VDNA, second: VDNA) -> Tensor:
        return torch.cat(list(cast("dict[str, Tensor]", column.measure(first, second, "none")).values())).cpu().double()

    plain, numbers = distances(a.total, b.total), range(len(a.groups))
    if jointly:
        without = torch.stack([distances(a.without(i), b.without(i)) for i in numbers])
        return plain - torch.stack([jackknife(plain, without, side.sizes)[0] for side in (a, b)]).mean(dim=0)
    of_a = torch.stack([distances(a.without(i), b.total) for i in numbers])
    of_b = torch.stack([distances(a.total, b.without(i)) for i in range(len(b.groups))])
    return plain - jackknife(plain, of_a, a.sizes)[0] - jackknife(plain, of_b, b.sizes)[0]


@dataclass(frozen=True, eq=False)
class _Block:
    """Some neurons of a side.

    Args:
        cumulative: counts, ``[groups, neurons, bins]``.
        counts: of all bins, ``[groups, neurons, 1]``.
        clusters: of the images of each group.
        share: cumulative, of all groups, ``[neurons, bins]``.
        variance: of that share, as far as the groups tell, ``[neurons, bins]``.
    """

    cumulative: Tensor
    counts: Tensor
    clusters: tuple[ImageClusters, ...]
    share: Tensor
    variance: Tensor

    def coarse(self, stride: int) -> _Block:
        """Every few bins, in float32."""
        bins = slice(None, None, stride)
        share, variance = self.share[..., bins].float(), self.variance[..., bins].float()
        return replace(self, cumulative=self.cumulative[..., bins].contiguous(), share=share, variance=variance)

    def part(self, groups: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Share and variance of some groups."""
        chosen = list(groups)
        share = sum(self.cumulative[index] for index in chosen) / self.counts[chosen].sum(dim=0)
        grown = _effective(self.clusters) / _effective([self.clusters[index] for index in chosen])
        return share.float(), self.variance * grown

    def joint_variance(self, other: _Block) -> Tensor:
        """Variance of the difference of the shares of two sides, whose groups in one place depend on each other."""
        sides = []
        for side in (self, other):
            n_images = torch.tensor([each.images for each in side.clusters], dtype=torch.float64)
            of_groups = (n_images / n_images.sum())[:, None, None]
            sides.append(of_groups * (side.cumulative / side.counts - side.share))
        groups = len(self.clusters)
        return (sides[0] - sides[1]).square().sum(dim=0) * (groups / (groups - 1))


@dataclass(frozen=True, eq=False)
class _Cumulated:
    """A side's counts by group, and the ways to split its groups into two halves."""

    histograms: tuple[Histogram, ...]
    frame: Histogram
    clusters: tuple[ImageClusters, ...] = ()
    halves: Halves = ()
    half_scales: tuple[float, ...] = ()
    freedom: float = 0.0

    @classmethod
    def of(cls, dna: VDNA | GroupedDNA, frame: Histogram) -> _Cumulated:
        histograms = tuple(map(histogram_of, _parts(dna)))
        if isinstance(dna, VDNA):
            return cls(histograms, frame)
        halves, freedom = _halves(len(dna.groups))
        scales = _half_scales(dna.clusters, halves)
        if clusters_of(dna) is not None:  # groups may be of very unequal weight
            freedom = _freedom(dna.clusters, halves, scales)
        return cls(histograms, frame, dna.clusters, halves, scales, freedom)

    def read(self, rows: slice) -> _Block:
        found = [each.counts_in(self.frame, rows).cpu() for each in self.histograms]
        cumulative = torch.stack(found).cumsum(dim=2).double()
        counts = cumulative[..., -1:]
        share = cumulative.sum(dim=0) / counts.sum(dim=0)
        variance = torch.zeros_like(share)
        if self.clusters:
            n_images = [each.images for each in self.clusters]
            spread = sum(n * (one - share).square_() for n, one in zip(n_images, cumulative / counts, strict=True))
            variance = spread / ((sum(_likeness(self.clusters)) - 1) * sum(n_images))
        return _Block(cumulative, counts, self.clusters, share, variance)


def _blocks(*sides: _Cumulated) -> Iterator[tuple[slice, list[_Block]]]:
    """Some neurons at a time, as many as fit into memory."""
    frame = sides[0].frame
    step = max(1, _BLOCK // (frame.bins * sum(len(side.histograms) for side in sides)))
    for start in range(0, frame.layout.total, step):
        rows = slice(start, start + step)
        yield rows, [side.read(rows) for side in sides]


def _parts(dna: VDNA | GroupedDNA) -> Sequence[VDNA]:
    return dna.groups if isinstance(dna, GroupedDNA) else (dna,)


def _likeness(clusters: Sequence[ImageClusters]) -> list[float]:
    """Mean size of the cluster that an image of a group is in, over that of all images; 1 where they are alike."""
    whole = sum(clusters, ImageClusters(0, 0, 0))
    return [(each.squares / each.images) / (whole.squares / whole.images) for each in clusters]


def _effective(clusters: Sequence[ImageClusters]) -> float:
    """Effective number of clusters of some groups."""
    return sum(clusters, ImageClusters(0, 0, 0)).effective


def _half_scales(clusters: Sequence[ImageClusters], splits: Halves) -> tuple[float, ...]:
    """What makes the squares of differences of halves add up to the variance of the whole, one a split."""
    scales, whole = [], _effective(clusters)
    for halves in splits:
        first, second = (_effective([clusters[index] for index in half]) for half in halves)
        scale = math.sqrt(first * second / len(splits)) / (first + second)
        scales.append(scale * math.sqrt((first + second) / whole))
    return tuple(scales)


def _freedom(clusters: Sequence[ImageClusters], splits: Halves, scales: Sequence[float]) -> float:
    """Degrees of freedom of the variance that splits of groups tell, each of which varies by its own clusters."""
    weights = np.zeros((len(splits), len(clusters)))
    for row, halves, scale in zip(weights, splits, scales, strict=True):
        for half, sign in zip(halves, (1, -1), strict=True):
            n_images = sum(clusters[index].images for index in half)
            for index in half:
                row[index] = sign * scale * clusters[index].squares ** 0.5 / n_images
    products = [[math.fsum(a * b) for b in weights] for a in weights]  # no BLAS, whose last bits differ
    variance = math.fsum(row[place] for place, row in enumerate(products))
    return variance**2 / math.fsum(each * each for row in products for each in row)


@lru_cache
def _halves(groups: int) -> tuple[Halves, float]:
    """Splits of groups into two halves that are as unlike as some random ones, and their degrees of freedom.

    Means of halves of ``s`` and ``n - s`` groups differ by weights times the groups' values. Of two splits whose first
    halves have ``o`` groups in common, these weights' product is ``n o - s²`` times a number that is the same for all.
    So likeness is a whole number, and which split is chosen does not hang on how a machine rounds.
    """
    stream = np.random.RandomState(0)  # whose stream is frozen
    small = groups // 2
    first_half = (np.arange(groups) < small).astype(np.int64)
    chosen: list[NDArray[np.int64]] = []

    def likeness(one: NDArray[np.int64]) -> int:
        return sum((groups * int(np.count_nonzero(one & other)) - small**2) ** 2 for other in chosen)

    for _ in range(_HALVES):
        chosen.append(min([stream.permutation(first_half) for _ in range(64)], key=likeness))
    freedom = (_HALVES * small * (groups - small)) ** 2 / sum(map(likeness, chosen))
    halves = tuple((tuple(np.flatnonzero(row).tolist()), tuple(np.flatnonzero(row == 0).tolist())) for row in chosen)
    return halves, freedom


def _without_noise(difference: Tensor, variance: Tensor) -> Tensor:
    """Sum over bins of the absolute difference, extrapolated to a variance of 0: ``[..., bins]`` -> ``[...]``."""
    total: Tensor = _WEIGHTS[0] * difference.abs().sum(dim=-1)
    for noise, weight in zip(_NOISES[1:], _WEIGHTS[1:], strict=True):
        deviation = (variance * (noise - 1)).sqrt_().clamp_(min=1e-30)
        ratio = difference / (deviation * math.sqrt(2))
        mean = difference * torch.erf(ratio)  # of the folded normal distribution
        mean.addcmul_(deviation, ratio.square_().neg_().exp_(), value=math.sqrt(2 / math.pi))
        total += weight * mean.sum(dim=-1)
    return total


Correct = Callable[[Column, VDNA | GroupedDNA, VDNA | GroupedDNA, Tensor], tuple[Tensor, Chance, Chance]]
"""Takes a column, reference, generated and the plain distances of its parts ``[parts]``; gives corrected ones and what
each side's chance does to them."""


@dataclass(frozen=True)
class BiasRule:
    """How a distance is corrected for a finite number of images, and how its bias goes with that number.

    Args:
        correct: the correction.
        exponent: near a true distance of 0 the bias goes with ``1/n`` to the power of this.
        only: name of the only distance that it is for; ``None`` where it is for any.
        quadratic: whether the upper end of an interval is that of `functional.squared_interval`. Intervals of Fréchet
            distances, which are squares too, hold as often as they should without, see docs/uncertainty.md.

    Examples:
        >>> BIAS_RULES["jackknife"].linear, BIAS_RULES["extrapolation"].linear
        (True, False)
    """

    correct: Correct
    exponent: float
    only: str | None = None
    quadratic: bool = False

    @property
    def linear(self) -> bool:
        """Whether the bias is in ``1/n``, so that a line over ``1/n`` meets the distance of infinitely many images."""
        return self.exponent == 1 and self.correct is not unbiased_parts


def bias_rule(column: Column) -> BiasRule:
    """The rule that a column's distance names.

    Raises:
        ValueError: when it names none, one that is not known, or one that is for another distance alone.
    """
    name, distance = column.distance.bias, column.distance
    if name is None:
        raise ValueError(f"{distance.label} has no bias rule, so it has neither a corrected value nor a noise floor")
    if name not in BIAS_RULES:
        raise ValueError(f"{distance.label} names an unknown bias rule, {name!r}; known: {', '.join(BIAS_RULES)}")
    rule = BIAS_RULES[name]
    if rule.only not in (None, distance.name):
        raise ValueError(
            f"the bias rule {name!r} is for {rule.only!r} alone, {distance.label} cannot be corrected by it"
        )
    return rule


def jackknife(
    plain: Tensor, without: Tensor, sizes: Sequence[int], squares: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Bias ``[k]`` and deviations ``[groups, k]`` from distances ``[k]`` of all and ``[groups, k]`` without each.

    Args:
        plain: of all images.
        without: without each group.
        sizes: images of each group.
        squares: sum of the squares of the sizes of each group's clusters; by default each image is a cluster.

    The chance of a group of clusters of unlike sizes does not go with one over its images, but with one over its
    effective number of clusters, ``sizes² / squares``. Bias and variance are divided by what the formulas for
    independent images would find of that in place of 1. Where all clusters have one size that is 1, and to the bit
    where none are told.
    """
    groups = len(sizes)
    n_images = torch.tensor(sizes, dtype=torch.float64)[:, None]
    squared = n_images if squares is None else torch.tensor(squares, dtype=torch.float64)[:, None]
    inverse_share, share, chance = sum(sizes) / n_images, n_images / n_images.sum(), squared / squared.sum()
    bias = ((1 - 1 / inverse_share) * without).sum(dim=0) - (groups - 1) * plain
    bias = bias / (1 + ((share - chance) / (1 - share)).sum())
    pseudo_values = inverse_share * plain - (inverse_share - 1) * without
    spread = (inverse_share - 1) + (inverse_share - 2) * (chance / share - 1)
    return bias, (pseudo_values - plain + bias) / (groups * spread).sqrt()


def jackknife_parts(
    column: Column, reference: VDNA | GroupedDNA, generated: VDNA | GroupedDNA, plain: Tensor, *, jointly: bool = False
) -> tuple[Tensor, Chance, Chance]:
    """Jackknifed distances of the parts, and the two sides' deviations.

    Args:
        column: the distance.
        reference: real images.
        generated: images compared with them.
        plain: distances of all images, ``[parts]``.
        jointly: take the bias from leaving out a group of both sides at once, where they have as many groups. Samples
            of one size are nearer by a Wasserstein distance than the bias of each tells: their outermost images meet
            one to one. Leaving out a group of one side alone then takes away about a fifth more than the bias.
    """
    sides = reference, generated
    left = [
        [side.without(i) for i in range(len(side.groups))] if isinstance(side, GroupedDNA) else [] for side in sides
    ]
    real, fake, *others = in_the_same_bins([*map(total_of, sides), *left[0], *left[1]])
    pairs = [(dna, fake) for dna in others[: len(left[0])]], [(real, dna) for dna in others[len(left[0]) :]]
    corrected, chances = plain, [Chance(plain.new_empty(0, len(plain)), 0.0)] * 2
    for place, side in enumerate(sides):
        if isinstance(side, GroupedDNA):
            without = torch.stack([parts_of(column, *pair) for pair in pairs[place]])
            bias, deviations = jackknife(plain, without, side.sizes, [each.squares for each in side.clusters])
            corrected = corrected - bias
            chances[place] = Chance(deviations, len(without) - 1.0, left_by_jackknife(column, side, bias))
    if jointly and len(left[0]) == len(left[1]):
        both = zip(others[: len(left[0])], others[len(left[0]) :], strict=True)
        without = torch.stack([parts_of(column, *pair) for pair in both])
        biases = [
            jackknife(plain, without, side.sizes, [each.squares for each in side.clusters])[0]
            for side in sides
            if isinstance(side, GroupedDNA)
        ]
        corrected = plain - torch.stack(biases).mean(dim=0)
    return corrected, chances[0], chances[1]


def unbiased_parts(
    column: Column, reference: VDNA | GroupedDNA, generated: VDNA | GroupedDNA, plain: Tensor
) -> tuple[Tensor, Chance, Chance]:
    """Parts as they are, with what chance does to them."""
    return plain, *jackknife_parts(column, reference, generated, plain)[1:]


def in_the_same_bins(dnas: Sequence[VDNA]) -> list[VDNA]:
    """DNAs as they are, histograms that found their own ranges in the bins of what spans them all.

    Without the group that has the farthest activation bins may be finer, and what goes with their width, as an entropy,
    would be of the bins and not of the images.
    """
    if not all(isinstance(dna.distribution, Histogram) for dna in dnas):
        return list(dnas)
    first, *others = map(histogram_of, dnas)
    return [replace(dna, distribution=one) for dna, one in zip(dnas, first.comparable(others), strict=True)]


def left_by_jackknife(column: Column, side: GroupedDNA, bias: Tensor) -> Tensor | None:
    """What may be left of the parts' bias ``[parts]`` of one side; nothing to speak of but of covariances.

    The bias of a layer Fréchet distance is in ``1/n`` from about as many images on as the layer has neurons. Near that
    number the jackknife, which sees nine tenths of the images, takes the slope for a little steeper than it is. What it
    leaves was measured, see docs/uncertainty.md.
    """
    if column.distance.kind != "layer_gaussian":
        return None
    neurons = torch.tensor(list(side.layout.values()), dtype=torch.float64)
    if column.distance.per is None:
        neurons = neurons.max().expand(1)
    share = _LEFT_BY_JACKKNIFE * (neurons / _effective(side.clusters)).square()
    return bias.abs() * share.clamp_max(1)


BIAS_RULES: dict[str, BiasRule] = {
    "extrapolation": BiasRule(extrapolate_emd, 0.5, only="emd"),
    "jackknife": BiasRule(jackknife_parts, 1.0),
    # Of MIND between halves of photographs' features, from 200 to 10 000 images each, see docs/metrics.md.
    "joint_jackknife": BiasRule(partial(jackknife_parts, jointly=True), 0.87, quadratic=True),
    "unbiased": BiasRule(unbiased_parts, 1.0, quadratic=True),
}
"""``{name: rule}``, as `Distance.bias` names them; an entry of one's own makes a rule known."""
