"""A distance with error bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from vdna_metrics.analysis.uncertainty.estimates import Deviations, Estimate, check_confidence, distance_estimate
from vdna_metrics.analysis.uncertainty.parts import names_of_parts, parts_of, shares_of, total_of
from vdna_metrics.analysis.uncertainty.rules import bias_rule
from vdna_metrics.dna.columns import ColumnLike, find_column
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA, Provenance


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
    """

    score: Estimate
    layers: Mapping[str, Estimate]
    distance: str
    unit: str
    confidence: float
    reference: Side
    generated: Side
    higher_is_better: bool = False

    @property
    def sort_key(self) -> float:
        """What puts distances in order by their corrected values, the best first."""
        return -self.score.corrected if self.higher_is_better else self.score.corrected

    @property
    def covers(self) -> tuple[str, ...]:
        """Whose chance the intervals cover: ``"reference"``, ``"generated"``, or both."""
        return tuple(name for name in ("reference", "generated") if getattr(self, name).grouped)


def jackknife_distance(
    reference: VDNA | GroupedDNA | None,
    generated: VDNA | GroupedDNA,
    *,
    distance: ColumnLike = "emd",
    confidence: float = 0.95,
) -> JackknifedDistance:
    """A distance without most of its bias, with standard error and confidence interval, of the score and each layer.

    The rule is the one of `BIAS_RULES` that the distance names: for Fréchet distances the jackknife. Of a side of
    ``n`` images in ``g`` groups of ``m_j``, with ``h_j = n / m_j``, ``d`` the distance of all images and ``d_j``
    that without group j:

        bias      b = Σ_j (1 − 1/h_j) d_j − (g − 1) d
        variance  v = (1/g) Σ_j (p_j − d + b)² / (h_j − 1),  with  p_j = h_j d − (h_j − 1) d_j

    The bias is exact where it is in ``1/n``, as it is once ``n`` is well above the neurons of a layer.

    The EMD's bias goes near a true distance of 0 with the root of ``1/n``, and the jackknife leaves half of it: in a
    mean of many neurons far more than the error. So it is extrapolated to no noise. In each bin the groups tell the
    variance ``v`` of the difference ``D`` of the cumulative shares. With noise of ``r v`` the EMD is the sum over bins
    of ``E|D + N(0, (r − 1) v)|``, a closed form; what it is at r = 1, 2, 4 is fitted by ``c₀ + c₁ √r + c₂ r``, and
    ``c₀`` is the corrected EMD. Its variance is the mean of ``(d(h) − d(h'))² / 4`` over 16 splits of a side's groups
    into halves h and h', with ``d`` corrected likewise.

    Variances of two sides in groups add; the interval is that of Student's t with Welch and Satterthwaite's degrees of
    freedom. No true distance is below that between a set and itself, 0: the interval is about the corrected value or 0,
    whichever is greater, and does not go below 0.

    Args:
        reference: real images; a `VDNA` is taken as it is, without error. A score of one set does not look at it.
        generated: images compared with them; likewise, but one side must be in groups. Of a `GroupedDNA` that meets
            many, the factors of its layers' covariances are computed once.
        distance: its name, or a `Column` with layers, neurons, weights and options, as ``Column("emd", unit="range")``.
        confidence: of the intervals, between 0 and 1.

    Raises:
        ValueError: when no side is in groups, the distance has no bias rule, or the DNAs cannot be compared.

    Source:
        Busing, Meijer, van der Leeden: Delete-m jackknife for unequal m, 1999; of extrapolation in noise: Cook and
        Stefanski: Simulation-extrapolation estimation in parametric measurement error models, 1994.

    Examples:
        >>> import numpy as np, torch
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> from vdna_metrics.dna import deal
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), np.uint8)
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> def in_groups(images):
        ...     parts = [images[list(group)] for group in deal(20, 5)]
        ...     return GroupedDNA(tuple(build_dnas(part, extractor, ["gaussian"])["gaussian"] for part in parts))
        >>> found = jackknife_distance(in_groups(images[:20]), in_groups(images[20:] // 2), distance="nfd")
        >>> estimate = found.score
        >>> estimate.corrected < estimate.value, estimate.low < estimate.corrected < estimate.high, found.covers
        (True, True, ('reference', 'generated'))
    """
    column = find_column(distance)
    rule = bias_rule(column)
    check_confidence(confidence)
    chosen = column.select(generated)
    # What looks at one set meets that set as its reference, which it does not look at.
    fixed = column.select(cast("VDNA | GroupedDNA", reference)) if column.distance.arity == 2 else total_of(chosen)
    if not isinstance(fixed, GroupedDNA) and not isinstance(chosen, GroupedDNA):
        raise ValueError("neither side is in groups, so nothing tells how sure the distance is; give a GroupedDNA")
    totals = total_of(fixed), total_of(chosen)
    plain = parts_of(column, *totals)
    corrected, *chances = rule.correct(column, fixed, chosen, plain)
    shares = shares_of(column, totals[1].layout)

    def estimated(value: float, without_bias: float, deviations: Sequence[Deviations]) -> Estimate:
        return distance_estimate(column, value, without_bias, deviations, confidence)

    score = estimated(column(*totals), float(corrected @ shares), [chance.of_score(shares) for chance in chances])
    layers = {
        layer: estimated(float(plain[place]), float(corrected[place]), [chance.of_part(place) for chance in chances])
        for place, layer in enumerate(names_of_parts(column, totals[1].layout))
    }
    first, second = (
        Side(
            total.provenance,
            side.sizes if isinstance(side, GroupedDNA) else (side.n_images,),
            *chance.of_score(shares),
        )
        for total, side, chance in zip(totals, (fixed, chosen), chances, strict=True)
    )
    if column.distance.arity == 1:
        first = Side(Provenance(totals[1].provenance.extractor), (), first.deviations, 0.0)
    return JackknifedDistance(
        score, layers, column.name, column.unit, confidence, first, second, column.distance.higher_is_better
    )
