"""A distance with error bars, at infinitely many images, and of perfect images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.analysis.uncertainty.estimates import (
    Chance,
    Estimate,
    check_clusters,
    check_confidence,
    distance_estimate,
    names_of_parts,
    parts_of,
    shares_of,
)
from vdna_metrics.analysis.uncertainty.rules import bias_rule, in_the_same_bins, jackknife, left_by_jackknife
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.grouped import GroupedDNA, clusters_of, total_of
from vdna_metrics.dna.vdna import VDNA, ImageClusters, Provenance
from vdna_metrics.layout import check_count
from vdna_metrics.references.resolve import DNALike, compared_dna

_NEAR = 1.1
"""A floor is taken as it was measured where its noise is that near to the one which is asked for."""
_GROUPS_OF_EXPONENTS = 8
"""Of fewer groups, quarters are single groups, and an exponent that is measured by them varies too much."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a jackknifed distance: its images, and what their chance does to the distance.

    Args:
        provenance: of all its images.
        sizes: number of images of each group; one number where the side is not in groups.
        deviations: of the score, each from leaving out a group or exchanging halves, scaled so that their squares add
            up to its variance, ``[replicates]`` float64; none where the side is not in groups.
        freedom: degrees of freedom of that variance.
    """

    provenance: Provenance
    sizes: tuple[int, ...]
    deviations: Tensor
    freedom: float

    @property
    def grouped(self) -> bool:
        """Whether it is in groups; if not it is taken as it is, and the interval does not cover its chance."""
        return len(self.deviations) > 0


@dataclass(frozen=True, eq=False)
class JackknifedDistance:
    """A distance with error bars, and what differences from other distances need.

    Args:
        score: over all layers.
        layers: ``{layer: estimate}``.
        distance: name of the distance.
        unit: of the distance.
        confidence: of the intervals.
        reference: the real images.
        generated: those compared with them.
        higher_is_better: whether larger values are better.
        withheld: why the score or some layer has no interval, and what to do; ``None`` where all have one.
    """

    score: Estimate
    layers: Mapping[str, Estimate]
    distance: str
    unit: str
    confidence: float
    reference: Side
    generated: Side
    higher_is_better: bool = False
    withheld: str | None = None

    @property
    def sort_key(self) -> float:
        """What puts distances in order by their corrected values, the best first."""
        return -self.score.corrected if self.higher_is_better else self.score.corrected

    @property
    def covers(self) -> tuple[str, ...]:
        """Whose chance the intervals cover: ``"reference"``, ``"generated"``, or both."""
        return tuple(name for name in ("reference", "generated") if getattr(self, name).grouped)


def jackknife_distance(
    reference: DNALike | None, generated: DNALike, *, distance: ColumnLike = "emd", confidence: float = 0.95
) -> JackknifedDistance:
    """A distance without most of its bias, with standard error and confidence interval, of the score and each layer.

    The rule is the one of `BIAS_RULES` that the distance names: for Fréchet distances the jackknife. Of a side of
    ``n`` images in ``g`` groups of ``m_j``, with ``h_j = n / m_j``, ``d`` the distance of all images and ``d_j``
    that without group j:

        bias      b = Σ_j (1 − 1/h_j) d_j − (g − 1) d
        variance  v = (1/g) Σ_j (p_j − d + b)² / (h_j − 1),  with  p_j = h_j d − (h_j − 1) d_j

    The bias is exact where it is in ``1/n``. That of a layer Fréchet distance is not, where a side has not many more
    images ``n`` than the layer has neurons ``k``: up to ``b (k/n)² / 12`` is left. Where that is more than the standard
    error, the interval is withheld, and with it ranks.

    Images in clusters tell as much as their effective number of clusters, ``(Σ m)² / Σ m²``. Where clusters are of
    unlike sizes that is not in proportion to the images: with ``w_j = 1/h_j`` and ``q_j``, the shares that group j has
    of the images and of ``Σ m²``, ``b`` is divided by ``1 + Σ_j (w_j − q_j) / (1 − w_j)``, and in ``v`` the term
    ``h_j − 1`` is ``1 + (h_j − 2) q_j / w_j``. The EMD's variances are scaled likewise.

    The EMD's bias goes near a true distance of 0 with the root of ``1/n``, and the jackknife leaves half of it: in a
    mean of many neurons far more than the error. So it is extrapolated to no noise. In each bin the groups tell the
    variance ``v`` of the difference ``D`` of the cumulative shares. With noise of ``r v`` the EMD is the sum over bins
    of ``E|D + N(0, (r − 1) v)|``, a closed form; what it is at r = 1, 2, 4 is fitted by ``c₀ + c₁ √r + c₂ r``, and
    ``c₀`` is the corrected EMD. Its variance is the mean of ``(d(h) − d(h'))² / 4`` over 16 splits of a side's groups
    into halves h and h', with ``d`` corrected likewise.

    MIND and other Wasserstein distances of sides in as many groups leave out group j of both at once for the bias.

    Variances of two sides in groups add; the interval is that of Student's t with Welch and Satterthwaite's degrees of
    freedom. No true distance is below that between a set and itself, 0: the interval is about the corrected value or 0,
    whichever is greater, and does not go below 0. Of KID and of Wasserstein distances, squares near 0, the upper end is
    farther, see `functional.squared_interval`.

    Args:
        reference: real images; a `VDNA` is taken as it is, without error. It may be a file, a folder of groups or a
            name, see `resolve_dna`, and so may the other. A score of one set does not look at it.
        generated: images compared with them; likewise, but one side must be in groups. Of a `GroupedDNA` that meets
            many, the factors of its layers' covariances are computed once.
        distance: its name, or a `Column` with layers, neurons, weights and options, as ``Column("emd", unit="range")``.
        confidence: of the intervals, between 0 and 1.

    Raises:
        ValueError: when no side is in groups, a side is of fewer than five clusters, the distance has no bias rule, or
            the DNAs cannot be compared.

    Source:
        Busing, Meijer, van der Leeden: Delete-m jackknife for unequal m, 1999; of extrapolation in noise: Cook and
        Stefanski: Simulation-extrapolation estimation in parametric measurement error models, 1994.

    Examples:
        >>> import numpy as np, torch
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> from vdna_metrics.build import disjoint_groups
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), np.uint8)
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> def in_groups(images):
        ...     made = build_dnas(images, extractor, ["gaussian"], partition=disjoint_groups(20, 5))
        ...     return GroupedDNA(tuple(made["gaussian"].values()))
        >>> found = jackknife_distance(in_groups(images[:20]), in_groups(images[20:] // 2), distance="nfd")
        >>> estimate = found.score
        >>> estimate.corrected < estimate.value, estimate.low < estimate.corrected < estimate.high, found.covers
        (True, True, ('reference', 'generated'))
    """
    column = find_column(distance)
    rule = bias_rule(column)
    check_confidence(confidence)
    chosen = compared_dna(generated, column)
    # What looks at one set meets that set as its reference, which it does not look at.
    fixed = total_of(chosen) if column.distance.arity == 1 else compared_dna(cast(DNALike, reference), column)
    if not isinstance(fixed, GroupedDNA) and not isinstance(chosen, GroupedDNA):
        check_clusters(fixed, chosen)
        raise ValueError("neither side is in groups, so nothing tells how sure the distance is; give a GroupedDNA")
    check_clusters(fixed, chosen)
    totals = total_of(fixed), total_of(chosen)
    plain = parts_of(column, *totals)
    corrected, *chances = rule.correct(column, fixed, chosen, plain)
    shares = shares_of(column, totals[0])

    def estimated(value: float, of: Tensor) -> Estimate:
        deviations, left = [chance.of_score(of) for chance in chances], sum(chance.left_of(of) for chance in chances)
        return distance_estimate(
            column, value, float(corrected @ of), deviations, confidence, left, quadratic=rule.quadratic
        )

    score = estimated(column(*totals), shares)
    units = torch.eye(len(plain), dtype=torch.float64)
    layers = {
        layer: estimated(float(plain[place]), units[place])
        for place, layer in enumerate(names_of_parts(column, totals[1].layout))
    }
    first, second = (
        Side(
            total.provenance, side.sizes if isinstance(side, GroupedDNA) else (side.n_images,), *chance.of_score(shares)
        )
        for total, side, chance in zip(totals, (fixed, chosen), chances, strict=True)
    )
    if column.distance.arity == 1:
        first = Side(Provenance(totals[1].provenance.extractor), (), first.deviations, 0.0)
    withheld = _why_withheld(column, score, layers, chances, (fixed, chosen))
    return JackknifedDistance(
        score, layers, column.name, column.unit, confidence, first, second, column.distance.higher_is_better, withheld
    )


def _why_withheld(
    column: Column,
    score: Estimate,
    layers: Mapping[str, Estimate],
    chances: Sequence[Chance],
    sides: Sequence[VDNA | GroupedDNA],
) -> str | None:
    """What has no interval, because of which side and layer, and how many images may do."""
    short = [layer for layer, each in layers.items() if each.low is None]
    if score.low is not None and not short:
        return None
    layout = sides[1].layout
    names = list(names_of_parts(column, layout))
    worst = max(short, key=lambda layer: layout[layer]) if short else max(layout, key=lambda layer: layout[layer])
    found = layers[worst] if short else score
    lefts = [
        0.0 if chance.left is None else float(chance.left[names.index(worst) if names else 0]) for chance in chances
    ]
    place = lefts.index(max(lefts))
    n_images, neurons = sides[place].n_images, layout[worst]
    # What is left falls with the third power of the number of images, the standard error with the first at most.
    enough = n_images * (sum(lefts) / found.standard_error) ** 0.5 if found.standard_error else 0.0
    enough = round_up(max(2.0 * neurons, enough))
    of = f"{column.label}{'' if score.low is None else ' in ' + ', '.join(short)}"
    return (
        f"no interval of {of}: {n_images} {('reference', 'generated')[place]} images for the {neurons} neurons of "
        f"{worst} may leave more of the bias than the standard error; take about {enough} images, or the neuron "
        "Fréchet distance"
    )


def round_up(number: float) -> int:
    """The next whole number of two digits and zeros."""
    unit: int = 10 ** max(0, len(str(math.ceil(number))) - 2)
    return math.ceil(number / unit) * unit


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """A distance at an infinite number of generated images.

    Args:
        score: the plain value and, as the corrected one, the extrapolated.
        layers: ``{layer: estimate}``.
        sizes: numbers of generated images of each distance that was fitted, ``[points]``.
        values: those distances, ``[points]`` float64.
        slope: of the fitted line, over ``1/n``; of images in clusters over one over their effective number.
        distance: name of the distance.
    """

    score: Estimate
    layers: Mapping[str, Estimate]
    sizes: tuple[int, ...]
    values: Tensor
    slope: float
    distance: str


def extrapolate_frechet(
    reference: DNALike,
    generated: DNALike,
    *,
    distance: ColumnLike = "lfd",
    draws: int = 5,
    seed: int = 0,
    confidence: float = 0.95,
) -> Extrapolation:
    """FD-infinity: the Fréchet distance of random unions of groups, as a line over ``1/n``, where ``1/n`` is 0.

    The points are all images, all but each one group, and ``draws`` random unions of every number of groups from half
    of them to all but two. The standard error has the chance of the images, by the jackknife, and of the fit. The
    reference is taken as it is: its own bias, in one over its number of images, stays. Of images in clusters ``n`` is
    the effective number of clusters.

    Args:
        reference: real images; as in `jackknife_distance`.
        generated: images compared with them, at least three groups.
        distance: one whose bias is in ``1/n``, as of Fréchet distances: its name, or a `Column`.
        draws: random unions of each size.
        seed: of the unions.
        confidence: of the intervals.

    Raises:
        ValueError: for another distance, too few groups or draws, or DNAs that cannot be compared.

    Source:
        Chong, Forsyth: Effectively unbiased FID and Inception Score and where to find them, CVPR 2020.
    """
    column = find_column(distance)
    check_confidence(confidence)
    if not bias_rule(column).linear:
        raise ValueError(f"only distances whose bias is in 1/n are extrapolated, as Fréchet distances; got {column!r}")
    check_count("draws", draws)
    fixed, chosen = total_of(compared_dna(reference, column)), _in_groups(generated, column, 3)
    check_clusters(fixed)
    number, stream = len(chosen.groups), np.random.default_rng(seed)
    unions = [chosen.total, *(chosen.without(index) for index in range(number))]
    for size in range((number + 1) // 2, number - 1):
        unions += [chosen.union(stream.permutation(number)[:size].tolist()) for _ in range(draws)]
    fixed, *unions = in_the_same_bins([fixed, *unions])
    by_part = torch.stack([parts_of(column, fixed, union) for union in unions])
    scores = by_part @ shares_of(column, fixed)
    sizes = tuple(union.n_images for union in unions)
    effective = [(clusters_of(union) or ImageClusters.independent(union.n_images)).effective for union in unions]
    clusters, shares = chosen.clusters, shares_of(column, fixed)
    bias, _ = jackknife(by_part[0], by_part[1 : 1 + number], chosen.sizes, [each.squares for each in clusters])
    left = left_by_jackknife(column, chosen, bias)
    lefts = torch.zeros_like(bias) if left is None else left
    score, slope = _extrapolated(column, scores, effective, clusters, confidence, float(lefts @ shares.abs()))
    of_layers = {
        layer: _extrapolated(column, by_part[:, place], effective, clusters, confidence, float(lefts[place]))[0]
        for place, layer in enumerate(names_of_parts(column, chosen.layout))
    }
    score = replace(score, value=column(fixed, chosen.total))
    return Extrapolation(score, of_layers, sizes, scores, slope, column.name)


def _extrapolated(
    column: Column,
    values: Tensor,
    effective: Sequence[float],
    groups: Sequence[ImageClusters],
    confidence: float,
    left: float = 0.0,
) -> tuple[Estimate, float]:
    """Estimate with the intercept of the line over one over the effective number of clusters, and its slope."""
    from scipy.stats import linregress

    fit = linregress(1 / np.asarray(effective), values.numpy())
    sizes, squares = [each.images for each in groups], [each.squares for each in groups]
    _, deviations = jackknife(values[:1], values[1 : 1 + len(groups), None], sizes, squares)
    # The images' chance moves all unions alike, and with them the line; the scatter about it is that of the unions.
    scatter = torch.tensor([[fit.intercept_stderr]], dtype=torch.float64)
    chances = [(torch.cat([deviations, scatter]), len(groups) - 1.0)]
    found = distance_estimate(column, float(values[0]), float(fit.intercept), chances, confidence, left)
    return found, float(fit.slope)


@dataclass(frozen=True)
class NoiseFloor:
    """The plain distance of so many real images from the reference, by chance alone.

    Args:
        value: mean over the draws; ``None`` where it is withheld.
        spread: standard deviation over the draws, which share images; likewise.
        layers: ``{layer: floor}``.
        n_images: images of the generator that it is for.
        measured_at: images in the smaller of the two parts of the reference whose distance was measured.
        distance: name of the distance.
        unit: of the distance.
        withheld: why there is no floor, and what to do.
    """

    value: float | None
    spread: float | None
    layers: Mapping[str, float]
    n_images: int
    measured_at: int
    distance: str
    unit: str
    withheld: str | None = None


def noise_floor(
    reference: DNALike, n_images: int, *, distance: ColumnLike = "emd", draws: int = 10, seed: int = 0
) -> NoiseFloor:
    """What perfect images would score: nobody can be expected to win below it.

    The groups are split at random into two disjoint sets of real images, of ``a`` and ``b``, at true distance 0. What
    they are apart is bias, in ``r = 1/a + 1/b`` for Fréchet distances and in its root for the EMD
    (`BiasRule.exponent`); so it is multiplied by ``(1/n + 1/N) / r``, or its root, for ``n`` generated images and ``N``
    of the reference. The number of groups in the smaller set, at most half, is the one for which that factor is nearest
    to 1. The floor is one of plain values; that of corrected ones is 0.

    Under heavy tails the bias of a variance falls slower than that. So, of distances by neuron and where the factor is
    not near 1, the exponent is measured, of eight groups on: by distances between quarters and between halves. A layer
    Fréchet distance has no floor where it would be scaled from or to fewer images than a layer has neurons.

    Of a reference in clusters, the floor is that of images which depend on each other as much: one over a number of
    images is then one over its effective number of clusters, and ``n`` images are clusters of the reference's mean size
    ``c = Σ m² / N``, by images, so ``n / c`` in effect.

    Args:
        reference: real images in groups; as in `jackknife_distance`.
        n_images: number of images of the generator.
        distance: its name, or a `Column`, as in `jackknife_distance`.
        draws: how many random splits.
        seed: of the splits.

    Raises:
        ValueError: for no draw or image, a reference of fewer than five clusters, a distance without a bias rule or a
            value between a set and itself, or DNAs that cannot be compared.
    """
    column = find_column(distance)
    rule, neutral = bias_rule(column), column.distance.neutral
    if neutral is None or column.distance.arity != 2:
        raise ValueError(f"{column.label} has no value between a set and itself, so it has no noise floor")
    check_count("n_images", n_images)
    check_count("draws", draws)
    chosen = _in_groups(reference, column, 2)
    number, total = len(chosen.groups), chosen.n_images
    shares = shares_of(column, chosen.total)
    squares = [each.squares for each in chosen.clusters]
    per_image = Fraction(1, n_images) + Fraction(1, total)

    def mismatch(groups: int) -> Fraction:  # exact: a tie must not depend on rounding
        ratio = (Fraction(1, groups) + Fraction(1, number - groups)) * number / total / per_image
        return max(ratio, 1 / ratio)

    def apart(one: Sequence[int], other: Sequence[int]) -> tuple[Tensor, Fraction, int]:
        """What two sets of groups are apart, by parts, the noise in it, and images of the first."""
        unions = in_the_same_bins([chosen.total, chosen.union(one), chosen.union(other)])[1:]
        noise = sum(
            Fraction(sum(squares[index] for index in part), union.n_images**2)
            for part, union in zip((one, other), unions, strict=True)
        )
        return parts_of(column, unions[1], unions[0]) - neutral, Fraction(noise), unions[0].n_images

    smaller = min(range(1, number // 2 + 1), key=mismatch)
    stream = np.random.default_rng(seed)
    orders = [stream.permutation(number).tolist() for _ in range(draws)]
    measured = [apart(order[:smaller], order[smaller:]) for order in orders]
    expected = per_image * Fraction(sum(squares), total)
    scales = [float(expected / noise) for _, noise, _ in measured]
    measured_at = min(n_measured for _, _, n_measured in measured)
    as_it_is = all(1 / _NEAR <= scale <= _NEAR for scale in scales)
    known = n_images, measured_at, column.name, column.unit
    neurons = max(chosen.layout.values())
    if column.distance.kind == "layer_gaussian" and min(measured_at, n_images) < neurons and not as_it_is:
        reason = (
            f"no noise floor of {column.label}: it would be scaled from {measured_at} reference images to {n_images}, "
            f"and with fewer images than the {neurons} neurons of a layer the bias is not in 1/n; take about "
            f"{round_up(2 * neurons)} images a side, or the neuron Fréchet distance"
        )
        return NoiseFloor(None, None, {}, *known, reason)
    exponent = rule.exponent
    if column.distance.per == "neuron" and not as_it_is and number >= _GROUPS_OF_EXPONENTS:
        exponent = _measured_exponent(orders, apart, shares, rule.exponent)
    values = torch.stack([neutral + scale**exponent * far for scale, (far, _, _) in zip(scales, measured, strict=True)])
    scores = values @ shares
    spread = float(scores.std()) if draws > 1 else 0.0
    of_layers = dict(zip(names_of_parts(column, chosen.layout), values.mean(dim=0).tolist(), strict=False))
    return NoiseFloor(float(scores.mean()), spread, of_layers, *known)


def _measured_exponent(
    orders: Sequence[list[int]],
    apart: Callable[[Sequence[int], Sequence[int]], tuple[Tensor, Fraction, int]],
    shares: Tensor,
    rule: float,
) -> float:
    """How the distance of two sets goes with their noise, from quarters and halves of the groups.

    Of a variance under heavy tails the bias falls slower than the rule says: the rare activation that makes the
    variance is in few sets.
    """
    half, quarter = len(orders[0]) // 2, len(orders[0]) // 4
    of_halves = [apart(order[:half], order[half : 2 * half]) for order in orders]
    of_quarters = [
        apart(order[start : start + quarter], order[start + quarter : start + 2 * quarter])
        for order in orders
        for start in (0, 2 * quarter)
    ]
    far = [sum(float(parts @ shares) for parts, _, _ in pairs) / len(pairs) for pairs in (of_quarters, of_halves)]
    noise = [sum(float(each) for _, each, _ in pairs) / len(pairs) for pairs in (of_quarters, of_halves)]
    if min(far) <= 0:
        return rule
    return min(max(math.log(far[0] / far[1]) / math.log(noise[0] / noise[1]), rule / 2), 2 * rule)


def _in_groups(source: DNALike, column: Column, least: int) -> GroupedDNA:
    """What a column compares of a DNA, which has to be in so many groups."""
    dna = compared_dna(source, column)
    if not isinstance(dna, GroupedDNA) or len(dna.groups) < least:
        check_clusters(dna)
        raise ValueError(f"expected a DNA in at least {least} groups, got {dna!r}")
    check_clusters(dna)
    return dna
