"""An estimate with its error, of the parts by which a distance is corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor

from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.grouped import GroupedDNA, clusters_of, total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.functional import squared_interval
from vdna_metrics.layout import NeuronLayout, check_type

LEAST_CLUSTERS = 5
"""Of fewer clusters of images there are no error bars."""

Deviations = tuple[Tensor, float]
"""``[replicates]`` whose squares add up to a variance, and its degrees of freedom."""


@dataclass(frozen=True)
class Estimate:
    """A distance, or a difference of two, with its uncertainty.

    Args:
        value: of all images at hand, what the distance gives.
        corrected: without the estimated bias of a finite number of images; of a distance near 0 it may be below 0.
        standard_error: of the corrected value.
        low: lower end of the confidence interval; ``None`` where it is withheld, because the bias that the correction
            leaves may be more than the standard error.
        high: its upper end; likewise.
    """

    value: float
    corrected: float
    standard_error: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Chance:
    """What one side's chance does to each part of a distance.

    Args:
        deviations: each from leaving out a group or exchanging halves, ``[replicates, parts]`` float64, whose squares
            add up to the variance; no replicates for a side that is not in groups.
        freedom: degrees of freedom of that variance.
        left: of the bias, what the correction may leave, ``[parts]``; ``None`` where that is nothing to speak of.
    """

    deviations: Tensor
    freedom: float
    left: Tensor | None = None

    def of_score(self, shares: Tensor) -> Deviations:
        """Deviations of the whole, in which the parts count ``shares``."""
        return self.deviations @ shares, self.freedom

    def of_part(self, place: int) -> Deviations:
        """Deviations of one part."""
        return self.deviations[:, place], self.freedom

    def left_of(self, shares: Tensor) -> float:
        """What the correction may leave of the bias of a whole, in which the parts count ``shares``."""
        return 0.0 if self.left is None else float(self.left @ shares.abs())


def estimate(
    value: float, corrected: float, chances: Sequence[Deviations], confidence: float
) -> tuple[Estimate, float]:
    """An estimate whose variance is the sum of those of its chances, and its degrees of freedom."""
    variances = [(float(deviations.square().sum()), freedom) for deviations, freedom in chances if len(deviations)]
    variance = sum(each for each, _ in variances)
    if not variance:
        return Estimate(value, corrected, 0.0, corrected, corrected), 1.0
    degrees = variance**2 / sum(each**2 / freedom for each, freedom in variances)
    half = _quantile(confidence, degrees) * variance**0.5
    return Estimate(value, corrected, variance**0.5, corrected - half, corrected + half), degrees


def distance_estimate(
    column: Column,
    value: float,
    corrected: float,
    chances: Sequence[Deviations],
    confidence: float,
    left: float = 0.0,
    *,
    quadratic: bool = False,
) -> Estimate:
    """The same of a distance, which is not below that between a set and itself, and of whose bias some may be left.

    Args:
        column: the distance.
        value: of all images.
        corrected: without the bias.
        chances: of both sides.
        confidence: of the interval.
        left: of the bias, what the correction may leave.
        quadratic: as of a `BiasRule`.
    """
    found, degrees = estimate(value, corrected, chances, confidence)
    if left > found.standard_error:
        return replace(found, low=None, high=None)
    least = column.distance.neutral
    if least is None or column.distance.higher_is_better or found.low is None or found.high is None:
        return found
    if quadratic:
        quantile = _quantile(confidence, degrees)
        ends = squared_interval(corrected - least, found.standard_error, bias=value - corrected, quantile=quantile)
        return replace(found, low=least + ends[0], high=least + ends[1])
    raised = max(0.0, least - corrected)
    return replace(found, low=max(least, found.low + raised), high=found.high + raised)


def _quantile(confidence: float, degrees: float) -> float:
    from scipy.stats import t as student

    return float(student.ppf((1 + confidence) / 2, degrees))


def check_confidence(confidence: float) -> None:
    """Raise ``ValueError`` for what is not a confidence, ``TypeError`` for what is no number."""
    check_type("a confidence", confidence, Real)
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")


def few_clusters(dna: VDNA | GroupedDNA) -> str | None:
    """Why a set of images has no error bars: it is of too few clusters to tell how much they differ by chance."""
    clusters = clusters_of(dna)
    if clusters is None or clusters.number >= LEAST_CLUSTERS:
        return None
    number = f"{clusters.number} cluster{'s' * (clusters.number != 1)}"
    return f"its {clusters.images} images are {number}; error bars need at least {LEAST_CLUSTERS}, so there are none"


def uneven_clusters(dna: VDNA | GroupedDNA) -> str | None:
    """What to know of a set whose clusters are so unlike in size that they tell as much as too few."""
    clusters = clusters_of(dna)
    if clusters is None or clusters.number < LEAST_CLUSTERS or clusters.effective >= LEAST_CLUSTERS:
        return None
    return (
        f"most of its images are in few clusters ({clusters}): corrected values and intervals tell little. Take as"
        " many images of each cluster"
    )


def check_clusters(*dnas: VDNA | GroupedDNA) -> None:
    """Raise ``ValueError`` for images of too few clusters, naming the set."""
    for dna in dnas:
        if (reason := few_clusters(dna)) is not None:
            raise ValueError(f"{', '.join(total_of(dna).provenance.sources)}: {reason}")


def parts_of(column: Column, reference: VDNA, generated: VDNA) -> Tensor:
    """``[parts]`` float64: the distance of each layer, or the whole where it has no parts by layer."""
    values = list(column.by_layer(reference, generated).values()) or [column(reference, generated)]
    return torch.tensor(values, dtype=torch.float64)


def names_of_parts(column: Column, layout: NeuronLayout) -> tuple[str, ...]:
    """Layers, none where the distance has no parts by layer."""
    return () if column.distance.per is None else tuple(layout)


def shares_of(column: Column, reference: VDNA) -> Tensor:
    """``[parts]``: what each part counts in the whole."""
    if column.distance.per is None:
        return torch.ones(1, dtype=torch.float64)
    return column.layer_shares(reference.layout, reference.distribution)
