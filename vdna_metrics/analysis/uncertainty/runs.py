"""Several training runs of one generator: their mean, and how much runs differ beyond the chance of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vdna_metrics.analysis.uncertainty.estimates import Deviations, distance_estimate
from vdna_metrics.analysis.uncertainty.jackknife import JackknifedDistance
from vdna_metrics.analysis.uncertainty.pairs import compare_pair
from vdna_metrics.dna.columns import ColumnLike, find_column
from vdna_metrics.layout import check_type


@dataclass(frozen=True)
class BetweenRuns:
    """How much runs of generators differ.

    Args:
        variance: between runs, without the part that is the chance of a run's images; 0 where that explains all.
        freedom: degrees of freedom: runs less generators.
        resampling: the variance that the chance of a run's images makes, on average.
    """

    variance: float
    freedom: int
    resampling: float

    @property
    def ratio(self) -> float:
        """Standard deviation of a run, of whatever cause, over that by the chance of its images alone."""
        return ((self.variance + self.resampling) / self.resampling) ** 0.5 if self.resampling else float("inf")


def between_runs(generators: Sequence[Sequence[JackknifedDistance]]) -> BetweenRuns | None:
    """The variance between runs, pooled over generators; ``None`` where each has one run.

    ``Σ_g Σ_r (x_gr − mean_g)² / Σ_g (R_g − 1)``, of corrected values, is the variance of a run. What the chance of a
    run's images makes of it is known from its groups, and subtracted.

    Args:
        generators: the runs of each, from one reference.

    Examples:
        >>> import torch
        >>> from vdna_metrics.analysis import Estimate, Side
        >>> from vdna_metrics.dna import Provenance
        >>> def run(value):
        ...     side = Side(Provenance("net"), (5, 5), torch.tensor([0.3, -0.4], dtype=torch.float64), 1.0)
        ...     estimate = Estimate(value, value, 0.5, 0.0, 9.0)
        ...     return JackknifedDistance(estimate, {}, "emd", "bins", 0.95, side, side)
        >>> found = between_runs([[run(2.0), run(4.0)], [run(7.0)]])
        >>> found.variance, found.freedom, found.resampling, found.ratio
        (1.75, 1, 0.25, 2.8284271247461903)
    """
    freedom = sum(len(runs) - 1 for runs in generators)
    if not freedom:
        return None
    squares = sum(float(_from_their_mean(runs).square().sum()) for runs in generators)
    of_images = [float(run.generated.deviations.square().sum()) for runs in generators for run in runs if len(runs) > 1]
    resampling = sum(of_images) / len(of_images)
    return BetweenRuns(max(0.0, squares / freedom - resampling), freedom, resampling)


def average_runs(
    runs: Sequence[JackknifedDistance], *, distance: ColumnLike = "emd", between: BetweenRuns | None = None
) -> JackknifedDistance:
    """The mean distance of several training runs of one generator, with the error of another set of such runs.

    Runs vary by their images and by their training, and the interval is that of a mean of ``R`` values that are drawn:
    of variance ``Σ_r (x_r − mean)² / (R (R − 1))``, with ``R − 1`` degrees of freedom. The chance of the reference is
    common to all, and added once. Of one or two runs, how much a run varies is taken from ``between``, runs of several
    generators, with its degrees of freedom; without it the interval of a single run covers the chance of its images
    alone.

    Args:
        runs: distance of each from one reference, of one kind.
        distance: a name or a `Column` of it.
        between: what runs of generators with several do.

    Returns:
        A distance without parts by layer, which `compare_pair` and `rank_intervals` take like that of a single set.

    Raises:
        ValueError: for no run, or runs whose distances cannot be compared.

    Source:
        arXiv 2606.20536 measures that training seeds move a score of generators 3.2 times as much as resampling its
        images does.
    """
    for run in runs:
        check_type("each run", run, JackknifedDistance)
    if not runs:
        raise ValueError("Expected the distances of at least one run, got none")
    first, *others = runs
    if first.score.low is not None:
        for other in others:
            if other.score.low is not None:
                compare_pair(first, other, paired=False)  # refuses what is not of one kind
    values = torch.tensor([run.score.value for run in runs], dtype=torch.float64)
    corrected = torch.tensor([run.score.corrected for run in runs], dtype=torch.float64)
    grouped = first.reference.grouped
    of_reference = torch.stack([run.reference.deviations for run in runs]).mean(0) if grouped else torch.empty(0)
    deviations, freedom = _of_training(runs, between)
    column, left = find_column(distance), float("inf") if any(run.score.low is None for run in runs) else 0.0
    chances = [(of_reference, first.reference.freedom), (deviations, freedom)]
    confidence = first.confidence
    score = distance_estimate(column, float(values.mean()), float(corrected.mean()), chances, confidence, left)
    sizes = tuple(sum(run.generated.sizes) for run in runs)
    return replace(
        first,
        score=score,
        layers={},
        reference=replace(first.reference, deviations=of_reference),
        generated=replace(first.generated, sizes=sizes, deviations=deviations, freedom=freedom),
        withheld=next((run.withheld for run in runs if run.withheld), None),
    )


def _from_their_mean(runs: Sequence[JackknifedDistance]) -> Tensor:
    values = torch.tensor([run.score.corrected for run in runs], dtype=torch.float64)
    return values - values.mean()


def _of_training(runs: Sequence[JackknifedDistance], between: BetweenRuns | None) -> Deviations:
    """Deviations of the mean of runs by their training and images."""
    number = len(runs)
    if number > 2 or (number == 2 and (between is None or between.freedom == 1)):
        return _from_their_mean(runs) / (number * (number - 1)) ** 0.5, float(number - 1)
    of_images = torch.cat([run.generated.deviations for run in runs]) / number
    if between is None:
        return of_images, sum(run.generated.freedom for run in runs)
    # Where few runs happen to lie close together, they still vary by their images; and no more is known than of them.
    variance = max((between.variance + between.resampling) / number, float(of_images.square().sum()))
    return torch.tensor([variance**0.5], dtype=torch.float64), float(between.freedom)
