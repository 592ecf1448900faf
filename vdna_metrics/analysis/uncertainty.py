"""Error bars of distances from DNAs in parts: intervals, differences, ranks, noise floor, extrapolation, agreement."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.analysis.comparison import DistanceName, Measure, histogram_of
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.fingerprint import describe_differences
from vdna_metrics.functional.emd import EMDUnit
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike

FrechetName = Literal["neuron_frechet", "layer_frechet"]

_BLOCK = 1 << 22  # cumulative counts held at once, 32 MiB, beside about three times as much
_BINS_OF_DEVIATIONS = 250
_HALVES = 16
_NOISES = (1.0, 2.0, 4.0)
# Of a quadratic in the root of the noise, through these three, the value at 0.
_WEIGHTS = tuple(math.prod(b**0.5 / (b**0.5 - a**0.5) for b in _NOISES if b != a) for a in _NOISES)
_ROUNDING = 1e-9  # differences below this share of the distances are rounding


# ------------------------------------------------------------------------------------------------------------ estimates
@dataclass(frozen=True)
class Estimate:
    """A distance, or a difference of two, with its uncertainty.

    Args:
        value: of all images at hand, what `compare` gives.
        corrected: without the estimated bias of a finite number of images; of a distance near 0 it may be below 0.
        standard_error: of the corrected value.
        low: lower end of the confidence interval.
        high: its upper end.
    """

    value: float
    corrected: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a jackknifed distance: its images, and what their chance does to the distance.

    Args:
        provenance: of all its images.
        sizes: number of images of each group; one number where the side was not dealt.
        deviations: of the score, each from leaving out a group or exchanging halves, scaled so that their squares add
            up to its variance, ``[replicates]`` float64; none where the side was not dealt.
        freedom: degrees of freedom of that variance.
    """

    provenance: Provenance
    sizes: tuple[int, ...]
    deviations: Tensor
    freedom: float

    @property
    def dealt(self) -> bool:
        """Whether it was dealt into groups; if not it is taken as it is, and the interval does not cover its chance."""
        return len(self.deviations) > 0


@dataclass(frozen=True, eq=False)
class JackknifedDistance:
    """A distance with error bars, and what differences from other distances need.

    Args:
        score: over all layers.
        layers: ``{layer: estimate}``.
        distance: which distance.
        unit: of the EMD.
        confidence: of the intervals.
        reference: the real images.
        generated: those compared with them.
    """

    score: Estimate
    layers: Mapping[str, Estimate]
    distance: DistanceName
    unit: EMDUnit
    confidence: float
    reference: Side
    generated: Side

    @property
    def covers(self) -> tuple[str, ...]:
        """Whose chance the intervals cover: ``"reference"``, ``"generated"``, or both."""
        return tuple(name for name in ("reference", "generated") if getattr(self, name).dealt)


def jackknife_distance(
    reference: VDNA | GroupedDNA,
    generated: VDNA | GroupedDNA,
    *,
    distance: DistanceName = "emd",
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
    confidence: float = 0.95,
) -> JackknifedDistance:
    """A distance without most of its bias, with standard error and confidence interval, of the score and each layer.

    Fréchet distances by the jackknife. Of a side of ``n`` images in ``g`` groups of ``m_j``, with ``h_j = n / m_j``,
    ``d`` the distance of all images and ``d_j`` that without group j:

        bias      b = Σ_j (1 − 1/h_j) d_j − (g − 1) d
        variance  v = (1/g) Σ_j (p_j − d + b)² / (h_j − 1),  with  p_j = h_j d − (h_j − 1) d_j

    The bias is exact where it is in ``1/n``, as it is once ``n`` is well above the neurons of a layer.

    The EMD's bias goes near a true distance of 0 with the root of ``1/n``, and the jackknife leaves half of it: in a
    mean of many neurons far more than the error. So it is extrapolated to no noise. In each bin the groups tell the
    variance ``v`` of the difference ``D`` of the cumulative shares. With noise of ``r v`` the EMD is the sum over bins
    of ``E|D + N(0, (r − 1) v)|``, a closed form; what it is at r = 1, 2, 4 is fitted by ``c₀ + c₁ √r + c₂ r``, and
    ``c₀`` is the corrected EMD. Its variance is the mean of ``(d(h) − d(h'))² / 4`` over 16 partings of a side's groups
    into halves h and h', with ``d`` corrected likewise.

    Variances of two dealt sides add; the interval is that of Student's t with Welch and Satterthwaite's degrees of
    freedom. A true distance is not negative: the interval is about the corrected value or 0, whichever is greater, and
    does not go below 0.

    Args:
        reference: real images; a `VDNA` is taken as it is, without error.
        generated: images compared with them; likewise, but one side must be in groups. Of a `GroupedDNA` that meets
            many, the factors of its layers' covariances are computed once.
        distance: ``"emd"``, ``"neuron_frechet"`` or ``"layer_frechet"``.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD.
        confidence: of the intervals, between 0 and 1.

    Raises:
        ValueError: when no side is dealt, or the DNAs cannot be compared.

    Source:
        Busing, Meijer, van der Leeden: Delete-m jackknife for unequal m, 1999; of extrapolation in noise: Cook and
        Stefanski: Simulation-extrapolation estimation in parametric measurement error models, 1994.

    Examples:
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), np.uint8)
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> def dealt(images):
        ...     parts = [images[group::5] for group in range(5)]
        ...     return GroupedDNA(tuple(build_dnas(part, extractor, ["gaussian"])["gaussian"] for part in parts))
        >>> found = jackknife_distance(dealt(images[:20]), dealt(images[20:] // 2), distance="neuron_frechet")
        >>> estimate = found.score
        >>> estimate.corrected < estimate.value, estimate.low < estimate.corrected < estimate.high, found.covers
        (True, True, ('reference', 'generated'))
    """
    measure = Measure(distance, layers, neurons, weights, unit)
    _check_confidence(confidence)
    if not isinstance(reference, GroupedDNA) and not isinstance(generated, GroupedDNA):
        raise ValueError(
            "neither side is dealt into groups, so nothing tells how sure the distance is; give a GroupedDNA"
        )
    sides = measure.select(reference), measure.select(generated)
    totals = _total(sides[0]), _total(sides[1])
    values = measure.by_layer(*totals)
    plain = torch.tensor(list(values.values()), dtype=torch.float64)
    corrected, *chances = (_emd_chances if distance == "emd" else _frechet_chances)(measure, *sides, plain)
    shares = measure.layer_shares(totals[0].layout)
    score = _distance_estimate(
        float(plain @ shares), float(corrected @ shares), [chance.of_score(shares) for chance in chances], confidence
    )
    of_layers = {
        layer: _distance_estimate(
            value, float(corrected[place]), [chance.of_layer(place) for chance in chances], confidence
        )
        for place, (layer, value) in enumerate(values.items())
    }
    found = (
        Side(
            total.provenance,
            side.sizes if isinstance(side, GroupedDNA) else (side.n_images,),
            *chance.of_score(shares),
        )
        for total, side, chance in zip(totals, sides, chances, strict=True)
    )
    return JackknifedDistance(score, of_layers, distance, unit, confidence, *found)


def _total(dna: VDNA | GroupedDNA) -> VDNA:
    return dna.total if isinstance(dna, GroupedDNA) else dna


Deviations = tuple[Tensor, float]
"""``[replicates]`` whose squares add up to a variance, and its degrees of freedom."""


@dataclass(frozen=True, eq=False)
class _Chance:
    """What one side's chance does to each layer: deviations ``[replicates, layers]``, none for a side not dealt."""

    deviations: Tensor
    freedom: float

    def of_score(self, shares: Tensor) -> Deviations:
        return self.deviations @ shares, self.freedom

    def of_layer(self, place: int) -> Deviations:
        return self.deviations[:, place], self.freedom


def _frechet_chances(
    measure: Measure, reference: VDNA | GroupedDNA, generated: VDNA | GroupedDNA, plain: Tensor
) -> tuple[Tensor, _Chance, _Chance]:
    """Corrected distances of layers, ``[layers]``, and the two sides' deviations."""
    totals = _total(reference), _total(generated)
    without: list[list[dict[str, float]]] = [[], []]
    if isinstance(reference, GroupedDNA):
        without[0] = [measure.by_layer(reference.without(i), totals[1]) for i in range(len(reference.groups))]
    if isinstance(generated, GroupedDNA):
        without[1] = [measure.by_layer(totals[0], generated.without(i)) for i in range(len(generated.groups))]
    corrected, chances = plain, [_Chance(plain.new_empty(0, len(plain)), 0.0)] * 2
    for place, (side, rows) in enumerate(zip((reference, generated), without, strict=True)):
        if isinstance(side, GroupedDNA):
            distances = torch.tensor([list(row.values()) for row in rows], dtype=torch.float64)
            bias, deviations = _jackknife(plain, distances, side.sizes)
            corrected = corrected - bias
            chances[place] = _Chance(deviations, len(rows) - 1.0)
    return corrected, chances[0], chances[1]


def _jackknife(plain: Tensor, without: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Bias ``[k]`` and deviations ``[groups, k]`` from distances ``[k]`` of all and ``[groups, k]`` without each."""
    groups = len(sizes)
    inverse_share = sum(sizes) / torch.tensor(sizes, dtype=torch.float64)[:, None]
    bias = ((1 - 1 / inverse_share) * without).sum(dim=0) - (groups - 1) * plain
    pseudo_values = inverse_share * plain - (inverse_share - 1) * without
    return bias, (pseudo_values - plain + bias) / (groups * (inverse_share - 1)).sqrt()


def _emd_chances(
    measure: Measure, reference: VDNA | GroupedDNA, generated: VDNA | GroupedDNA, plain: Tensor
) -> tuple[Tensor, _Chance, _Chance]:
    """The same for the EMD, some neurons of all groups at a time."""
    total = _total(reference)
    scale, of_layers, slices = measure.emd_scale(total), measure.layer_shares(total.layout), total.layout.slices()

    def by_layer(of_neurons: Tensor) -> Tensor:
        parts = [of_neurons[:, rows] @ scale[rows] for rows in slices.values()]
        return torch.stack(parts, dim=1) / of_layers

    sides = _Cumulated.of(reference), _Cumulated.of(generated)
    neurons, bins = sides[0].counts[0].shape
    corrected = torch.zeros(1, neurons, dtype=torch.float64)
    deviations = [torch.zeros(len(side.halves), neurons, dtype=torch.float64) for side in sides]
    # Between the bins the difference of the two is smooth, and deviations need no more digits than they have.
    stride = max(1, bins // _BINS_OF_DEVIATIONS)
    step = max(1, _BLOCK // (bins * sum(len(side.counts) for side in sides)))
    for start in range(0, neurons, step):
        rows = slice(start, start + step)
        whole = [side.read(rows) for side in sides]
        corrected[0, rows] = _without_noise(whole[0].share - whole[1].share, whole[0].variance + whole[1].variance)
        coarse = [each.coarse(stride) for each in whole]
        for place, other in ((0, 1), (1, 0)):
            for index, halves in enumerate(sides[place].halves):
                found = []
                for half in halves:
                    share, variance = coarse[place].part(half)
                    found.append(_without_noise(share - coarse[other].share, variance + coarse[other].variance))
                deviations[place][index, rows] = stride * sides[place].half_scale(index) * (found[0] - found[1])
    first, second = (_Chance(by_layer(each), side.freedom) for each, side in zip(deviations, sides, strict=True))
    return by_layer(corrected)[0], first, second


@dataclass(frozen=True, eq=False)
class _Block:
    """Some neurons of a side.

    Args:
        cumulative: counts, ``[groups, neurons, bins]``.
        counts: of all bins, ``[groups, neurons, 1]``.
        n_images: ``[groups]``.
        share: cumulative, of all groups, ``[neurons, bins]``.
        variance: of that share, as far as the groups tell, ``[neurons, bins]``.
    """

    cumulative: Tensor
    counts: Tensor
    n_images: Tensor
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
        grown = self.n_images.sum() / self.n_images[chosen].sum()
        return share.float(), self.variance * grown.float()


@dataclass(frozen=True, eq=False)
class _Cumulated:
    """A side's counts by group, and the partings of its groups into two halves."""

    counts: tuple[Tensor, ...]
    n_images: Tensor
    halves: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    freedom: float

    @classmethod
    def of(cls, dna: VDNA | GroupedDNA) -> _Cumulated:
        parts = dna.groups if isinstance(dna, GroupedDNA) else (dna,)
        halves, freedom = _halves(len(parts)) if isinstance(dna, GroupedDNA) else ((), 0.0)
        n_images = torch.tensor([part.n_images for part in parts], dtype=torch.float64)
        return cls(tuple(histogram_of(part).counts for part in parts), n_images, halves, freedom)

    def read(self, rows: slice) -> _Block:
        cumulative = torch.stack([counts[rows].cpu() for counts in self.counts]).cumsum(dim=2).double()
        counts = cumulative[..., -1:]
        share = cumulative.sum(dim=0) / counts.sum(dim=0)
        variance = torch.zeros_like(share)
        if len(self.counts) > 1:
            spread = sum(n * (one - share).square_() for n, one in zip(self.n_images, cumulative / counts, strict=True))
            variance = spread / ((len(self.counts) - 1) * self.n_images.sum())
        return _Block(cumulative, counts, self.n_images, share, variance)

    def half_scale(self, index: int) -> float:
        """What makes the squares of differences of halves add up to the variance of the whole."""
        first, second = (float(self.n_images[list(half)].sum()) for half in self.halves[index])
        return math.sqrt(first * second / len(self.halves)) / (first + second)


@lru_cache
def _halves(groups: int) -> tuple[tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], float]:
    """Partings of groups into two halves that are as unlike as some random ones, and their degrees of freedom."""
    stream = np.random.default_rng(0)
    small = groups // 2
    # Means of halves differ by these weights times the groups' values.
    half = np.where(np.arange(groups) < small, 1 / small, -1 / (groups - small))
    chosen: list[NDArray[np.float64]] = []
    for _ in range(_HALVES):
        candidates = [stream.permutation(half) for _ in range(64)]
        chosen.append(min(candidates, key=lambda one: sum(float(one @ other) ** 2 for other in chosen)))
    weights = np.stack(chosen)
    alike = weights @ weights.T
    freedom = float(np.trace(alike) ** 2 / np.square(alike).sum())
    halves = tuple(
        (tuple(np.flatnonzero(row > 0).tolist()), tuple(np.flatnonzero(row < 0).tolist())) for row in weights
    )
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


def _estimate(value: float, corrected: float, dealt: Sequence[Deviations], confidence: float) -> tuple[Estimate, float]:
    """Of any sign, with the degrees of freedom."""
    from scipy.stats import t as student

    variances = [(float(deviations.square().sum()), freedom) for deviations, freedom in dealt if len(deviations)]
    variance = sum(each for each, _ in variances)
    if not variance:
        return Estimate(value, corrected, 0.0, corrected, corrected), 1.0
    degrees = variance**2 / sum(each**2 / freedom for each, freedom in variances)
    half = float(student.ppf((1 + confidence) / 2, degrees)) * variance**0.5
    return Estimate(value, corrected, variance**0.5, corrected - half, corrected + half), degrees


def _distance_estimate(value: float, corrected: float, dealt: Sequence[Deviations], confidence: float) -> Estimate:
    estimate, _ = _estimate(value, corrected, dealt, confidence)
    raised = max(0.0, -corrected)
    return replace(estimate, low=max(0.0, estimate.low + raised), high=estimate.high + raised)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")


# ---------------------------------------------------------------------------------------------------------- differences
@dataclass(frozen=True)
class Difference:
    """Distance of one generator minus that of another, from one reference.

    Args:
        estimate: of the difference.
        p_value: two-sided, of no difference.
        paired: whether the generators' groups were taken to belong together.
    """

    estimate: Estimate
    p_value: float
    paired: bool


def compare_pair(a: JackknifedDistance, b: JackknifedDistance, *, paired: bool, confidence: float = 0.95) -> Difference:
    """Whether one generator is nearer than another, and by how much.

    Without a group of the reference both distances change together: its part of their errors that is common drops out.
    So it does of the generators' groups when they are paired.

    Args:
        a: distance of a generator from the reference.
        b: that of another from the same reference.
        paired: whether group j of one and group j of the other belong together, as those of one set of images and of
            its blurred copies do, or samples of the same prompts in one order.
        confidence: of the interval.

    Raises:
        ValueError: when the distances are not of one kind, layers and reference, or groups to be paired differ in
            number or size.

    Examples:
        >>> from vdna_metrics.dna import Provenance
        >>> def of(score, deviations):
        ...     side = Side(Provenance("net"), (5, 5, 5), torch.tensor(deviations), 2.0)
        ...     fixed = Side(Provenance("net"), (9,), torch.empty(0), 0.0)
        ...     estimate = Estimate(score, score, 0.1, 0.0, 9.0)
        ...     return JackknifedDistance(estimate, {"l": estimate}, "emd", "bins", 0.95, fixed, side)
        >>> a, b = of(2.0, [-0.5, 0.0, 0.5]), of(1.5, [-0.5, 0.05, 0.5])
        >>> [compare_pair(a, b, paired=paired).p_value < 0.05 for paired in (True, False)]
        [True, False]
    """
    _check_confidence(confidence)
    found = [
        (what, str(here), str(there))
        for what, here, there in (
            ("distances", a.distance, b.distance),
            ("units", a.unit, b.unit),
            ("layers", list(a.layers), list(b.layers)),
            ("sources of the reference", a.reference.provenance.sources, b.reference.provenance.sources),
            ("images of the reference's groups", a.reference.sizes, b.reference.sizes),
        )
        if here != there
    ]
    if paired and a.generated.sizes != b.generated.sizes:
        found.append(("images of the groups to be paired", str(a.generated.sizes), str(b.generated.sizes)))
    if found:
        raise ValueError(f"these distances cannot be compared: {describe_differences(found)}")
    dealt: list[Deviations] = []
    if a.reference.dealt:
        dealt.append((a.reference.deviations - b.reference.deviations, a.reference.freedom))
    if paired and a.generated.dealt:
        dealt.append((a.generated.deviations - b.generated.deviations, a.generated.freedom))
    elif not paired:
        dealt += [(side.deviations, side.freedom) for side in (a.generated, b.generated)]
    estimate, freedom = _estimate(
        a.score.value - b.score.value, a.score.corrected - b.score.corrected, dealt, confidence
    )
    return Difference(estimate, _p_value(a, b, estimate, freedom), paired)


def _p_value(a: JackknifedDistance, b: JackknifedDistance, difference: Estimate, freedom: float) -> float:
    from scipy.stats import t as student

    if abs(difference.corrected) <= _ROUNDING * max(a.score.value, b.score.value):
        return 1.0
    if not difference.standard_error:
        return 0.0
    return float(2 * student.sf(abs(difference.corrected) / difference.standard_error, freedom))


@dataclass(frozen=True)
class RankedPair:
    """Two generators of a ranking.

    Args:
        a: the one that comes first.
        b: the other.
        difference: distance of a minus that of b, with the interval and p value of this pair alone.
        p_value: corrected for the number of pairs.
        tied: whether the data cannot tell them apart.
    """

    a: str
    b: str
    difference: Difference
    p_value: float
    tied: bool


@dataclass(frozen=True)
class Ranking:
    """Generators in order, with what the data say of it.

    Args:
        order: names, the nearest first by corrected distance.
        ranks: ``{name: (first, last)}``, the places that are possible: from 1 + those that are surely nearer, to the
            number of generators − those that are surely farther.
        pairs: every two of them, in order.
        confidence: that every tie-free pair is in its true order, and so every range of places is right.
    """

    order: tuple[str, ...]
    ranks: Mapping[str, tuple[int, int]]
    pairs: tuple[RankedPair, ...]
    confidence: float


def rank_intervals(
    results: Mapping[str, JackknifedDistance],
    *,
    paired: bool | Mapping[str, Hashable] = False,
    confidence: float = 0.95,
) -> Ranking:
    """The order of generators by their corrected distance, and which places of each are possible.

    Every two are compared; p values are corrected by Holm's method, so that the chance of calling any two unlike that
    are alike is at most ``1 − confidence``.

    Args:
        results: ``{generator: distance}`` from one reference.
        paired: whether groups belong together, see `compare_pair`; or ``{generator: what its images are of}``, and
            those of one thing are paired.
        confidence: of the whole ranking; intervals of differences are those of each pair alone.

    Raises:
        ValueError: for no generator, or two that cannot be compared; they are named.

    Source:
        Holm: A simple sequentially rejective multiple test procedure, 1979; ranks: Mohamad, van Zwet, Goeman, Solari:
        Simultaneous confidence intervals for ranks, 2022.
    """
    _check_confidence(confidence)
    if not results:
        raise ValueError("no generators to rank")
    order = tuple(sorted(results, key=lambda name: results[name].score.corrected))
    names = list(combinations(order, 2))
    differences = []
    for a, b in names:
        together = paired if isinstance(paired, bool) else a in paired and b in paired and paired[a] == paired[b]
        try:
            differences.append(compare_pair(results[a], results[b], paired=together, confidence=confidence))
        except ValueError as error:
            raise ValueError(f"{a!r} and {b!r}: {error}") from error
    corrected = _holm([difference.p_value for difference in differences])
    pairs = tuple(
        RankedPair(a, b, difference, p_value, p_value >= 1 - confidence)
        for (a, b), difference, p_value in zip(names, differences, corrected, strict=True)
    )
    ranks = {
        name: (
            1 + sum(pair.b == name and not pair.tied for pair in pairs),
            len(order) - sum(pair.a == name and not pair.tied for pair in pairs),
        )
        for name in order
    }
    return Ranking(order, ranks, pairs, confidence)


def _holm(p_values: Sequence[float]) -> list[float]:
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected


# ---------------------------------------------------------------------------------------------------------- noise floor
@dataclass(frozen=True)
class NoiseFloor:
    """The plain distance of so many real images from the reference, by chance alone.

    Args:
        value: mean over the draws.
        spread: standard deviation over the draws, which share images.
        layers: ``{layer: floor}``.
        n_images: images of the generator that it is for.
        measured_at: images in the smaller of the two parts of the reference whose distance was measured.
        distance: which distance.
        unit: of the EMD.
    """

    value: float
    spread: float
    layers: Mapping[str, float]
    n_images: int
    measured_at: int
    distance: DistanceName
    unit: EMDUnit


def noise_floor(
    reference: GroupedDNA,
    n_images: int,
    *,
    distance: DistanceName = "emd",
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
    draws: int = 10,
    seed: int = 0,
) -> NoiseFloor:
    """What perfect images would score: nobody can be expected to win below it.

    The groups are parted at random into two disjoint sets of real images, of ``a`` and ``b``, at true distance 0. What
    they are apart is bias, in ``r = 1/a + 1/b`` for Fréchet distances and in its root for the EMD; so it is multiplied
    by ``(1/n + 1/N) / r``, or its root, for ``n`` generated images and ``N`` of the reference. The number of groups in
    the smaller set, at most half, is the one for which that factor is nearest to 1. The floor is one of plain values;
    that of corrected ones is 0.

    Args:
        reference: real images.
        n_images: number of images of the generator.
        distance: as in `jackknife_distance`, and so are the others.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD.
        draws: how many random partings.
        seed: of the partings.

    Raises:
        ValueError: for no draw or image, or DNAs that cannot be compared.
    """
    measure = Measure(distance, layers, neurons, weights, unit)
    if n_images < 1 or draws < 1:
        raise ValueError(f"a noise floor needs at least one image and one draw, got {n_images} and {draws}")
    dealt = measure.select(reference)
    number, total = len(dealt.groups), dealt.n_images
    wanted = 1 / n_images + 1 / total

    def order(*numbers: int) -> float:
        return float(sum(1 / each for each in numbers))

    share = min(
        range(1, number // 2 + 1),
        key=lambda groups: abs(np.log(order(groups, number - groups) * number / total / wanted)),
    )
    stream = np.random.default_rng(seed)
    rows, smaller = [], []
    for _ in range(draws):
        shuffled = stream.permutation(number).tolist()
        one, other = dealt.union(shuffled[:share]), dealt.union(shuffled[share:])
        factor = wanted / order(one.n_images, other.n_images)
        scale = factor**0.5 if distance == "emd" else factor
        rows.append([scale * value for value in measure.by_layer(other, one).values()])
        smaller.append(one.n_images)
    values = torch.tensor(rows, dtype=torch.float64)
    scores = values @ measure.layer_shares(dealt.layout)
    spread = float(scores.std()) if draws > 1 else 0.0
    of_layers = dict(zip(dealt.layout, values.mean(dim=0).tolist(), strict=True))
    return NoiseFloor(float(scores.mean()), spread, of_layers, n_images, min(smaller), distance, unit)


# -------------------------------------------------------------------------------------------------------- extrapolation
@dataclass(frozen=True, eq=False)
class Extrapolation:
    """A Fréchet distance at an infinite number of generated images.

    Args:
        score: the plain value and, as the corrected one, the extrapolated.
        layers: ``{layer: estimate}``.
        sizes: numbers of generated images of each distance that was fitted, ``[points]``.
        values: those distances, ``[points]`` float64.
        slope: of the fitted line, over ``1/n``.
        distance: which distance.
    """

    score: Estimate
    layers: Mapping[str, Estimate]
    sizes: tuple[int, ...]
    values: Tensor
    slope: float
    distance: FrechetName


def extrapolate_frechet(
    reference: VDNA | GroupedDNA,
    generated: GroupedDNA,
    *,
    distance: FrechetName = "layer_frechet",
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    draws: int = 5,
    seed: int = 0,
    confidence: float = 0.95,
) -> Extrapolation:
    """FD-infinity: the Fréchet distance of random unions of groups, as a line over ``1/n``, where ``1/n`` is 0.

    The points are all images, all but each one group, and ``draws`` random unions of every number of groups from half
    of them to all but two. The standard error has the chance of the images, by the jackknife, and of the fit. The
    reference is taken as it is: its own bias, in one over its number of images, stays.

    Args:
        reference: real images.
        generated: images compared with them, at least three groups.
        distance: ``"layer_frechet"`` or ``"neuron_frechet"``.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, as in `compare`.
        weights: as in `compare`.
        draws: random unions of each size.
        seed: of the unions.
        confidence: of the intervals.

    Raises:
        ValueError: for another distance, too few groups or draws, or DNAs that cannot be compared.

    Source:
        Chong, Forsyth: Effectively unbiased FID and Inception Score and where to find them, CVPR 2020.
    """
    measure = Measure(distance, layers, neurons, weights, "bins")
    _check_confidence(confidence)
    if distance not in get_args(FrechetName):
        raise ValueError(f"only Fréchet distances are extrapolated, their bias is in 1/n; got {distance!r}")
    if len(generated.groups) < 3 or draws < 1:
        raise ValueError(
            f"a line needs at least 3 groups and one draw, got {len(generated.groups)} groups and {draws} draws"
        )
    fixed, dealt = _total(measure.select(reference)), measure.select(generated)
    number, stream = len(dealt.groups), np.random.default_rng(seed)
    unions = [dealt.total, *(dealt.without(index) for index in range(number))]
    for size in range((number + 1) // 2, number - 1):
        unions += [dealt.union(stream.permutation(number)[:size].tolist()) for _ in range(draws)]
    by_layer = torch.tensor([list(measure.by_layer(fixed, union).values()) for union in unions], dtype=torch.float64)
    scores = by_layer @ measure.layer_shares(dealt.layout)
    sizes = tuple(union.n_images for union in unions)
    score, slope = _extrapolated(scores, sizes, dealt.sizes, confidence)
    of_layers = {
        layer: _extrapolated(by_layer[:, place], sizes, dealt.sizes, confidence)[0]
        for place, layer in enumerate(dealt.layout)
    }
    return Extrapolation(score, of_layers, sizes, scores, slope, distance)


def _extrapolated(
    values: Tensor, sizes: Sequence[int], group_sizes: Sequence[int], confidence: float
) -> tuple[Estimate, float]:
    """Estimate with the line's intercept, and its slope."""
    from scipy.stats import linregress

    fit = linregress(1 / np.asarray(sizes), values.numpy())
    groups = len(group_sizes)
    _, deviations = _jackknife(values[:1], values[1 : 1 + groups, None], group_sizes)
    # The images' chance moves all unions alike, and with them the line; the scatter about it is that of the unions.
    scatter = torch.tensor([[fit.intercept_stderr]], dtype=torch.float64)
    dealt = [(torch.cat([deviations, scatter]), groups - 1.0)]
    return _distance_estimate(float(values[0]), float(fit.intercept), dealt, confidence), float(fit.slope)


# ------------------------------------------------------------------------------------------------------------ agreement
@dataclass(frozen=True)
class Agreement:
    """How far columns put generators in one order.

    Args:
        columns: their names.
        spearman: rank correlations, ``[columns][columns]``; 0 with a column in which all are equal.
        kendall: likewise, Kendall's tau-b.
        notes: a sentence for each two generators whose order is disputed, the most evenly first.
    """

    columns: tuple[str, ...]
    spearman: tuple[tuple[float, ...], ...]
    kendall: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]


def agreement(columns: Mapping[str, Mapping[str, float]]) -> Agreement:
    """Whether metrics and networks agree on the order of generators, and where they do not.

    Args:
        columns: ``{column: {generator: distance}}``, lower is nearer; at least two columns and generators, the
            same in each.

    Raises:
        ValueError: for fewer, other generators in one column, or a NaN.

    Examples:
        >>> found = agreement({"emd": {"a": 1.0, "b": 2.0, "c": 3.0}, "fid": {"a": 5.0, "b": 4.0, "c": 9.0}})
        >>> found.spearman[0][1], round(found.kendall[0][1], 2)
        (0.5, 0.33)
        >>> found.notes
        ("'a' is nearer than 'b' by emd, farther by fid.",)
    """
    from scipy.stats import kendalltau, spearmanr

    names, generators = tuple(columns), tuple(next(iter(columns.values()), {}))
    if len(names) < 2 or len(generators) < 2:
        raise ValueError(f"agreement needs two columns and two generators, got {len(names)} and {len(generators)}")
    for name, column in columns.items():
        if set(column) != set(generators):
            raise ValueError(f"generators differ: {names[0]} {', '.join(generators)}; {name} {', '.join(column)}")
        if any(value != value for value in column.values()):
            raise ValueError(f"a distance of {name!r} is NaN")
    rows = {name: [column[generator] for generator in generators] for name, column in columns.items()}

    def correlations(statistic: Literal["spearman", "kendall"]) -> tuple[tuple[float, ...], ...]:
        function = spearmanr if statistic == "spearman" else kendalltau

        def of(a: str, b: str) -> float:
            if any(len(set(rows[name])) == 1 for name in (a, b)):
                return 0.0
            return 1.0 if a == b else float(function(rows[a], rows[b]).statistic)

        return tuple(tuple(of(a, b) for b in names) for a in names)

    notes = []
    for a, b in combinations(generators, 2):
        nearer = [name for name in names if columns[name][a] < columns[name][b]]
        farther = [name for name in names if columns[name][a] > columns[name][b]]
        if nearer and farther:
            sides = (a, b, nearer, farther) if len(nearer) >= len(farther) else (b, a, farther, nearer)
            notes.append((min(len(nearer), len(farther)), sides))
    notes.sort(key=lambda note: -note[0])
    sentences = tuple(
        f"{a!r} is nearer than {b!r} by {', '.join(most)}, farther by {', '.join(least)}."
        for _, (a, b, most, least) in notes
    )
    return Agreement(names, correlations("spearman"), correlations("kendall"), sentences)
