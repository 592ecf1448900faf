"""Whether two scores put generators in one order, and how sure that is of so few of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.analysis.score_tables import ScoreColumn
from vdna_metrics.analysis.uncertainty.estimates import check_confidence
from vdna_metrics.layout import check_type
from vdna_metrics.schema import Count, Share

LEAST_GENERATORS = 5
"""Of fewer, no order of them is unlikely enough by chance, and Kendall's interval is not defined."""

Row = NDArray[np.float64]
"""``[generators]``."""

Verdict = Literal["same order", "opposite order", "inconclusive"]

_DRAWS, _NUMBERS = 200, 200_000  # of errors, to tell by how much they lower a correlation; fewer of many generators


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its confidence interval.

    Args:
        value: of the generators at hand; 0 where all are equal by one of the scores.
        low: lower end of the interval, ``None`` of too few generators.
        high: upper end; likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RankAgreement:
    """How two scores go together.

    Args:
        n_generators: that both scores know.
        spearman: correlation of the ranks of their values as they stand: where one is better when lower and the other
            when higher, −1 is the same order.
        kendall: likewise, tau-b.
        verdict: whether they put the generators in one order, the best first: what Spearman's interval says, which is
            ``"inconclusive"`` where it holds 0, or is missing.
        confidence: of the intervals.
    """

    n_generators: Count
    spearman: Correlation
    kendall: Correlation
    verdict: Verdict
    confidence: Share = 0.95


def rank_agreement(a: ScoreColumn, b: ScoreColumn, *, confidence: float = 0.95) -> RankAgreement:
    """Rank correlation of two scores over the generators that both know, with its interval.

    The generators are taken for a sample of those that might be compared. Of ``n`` of them with correlation ``r`` the
    interval is that of Fisher's ``z = artanh r``, normal with the variance

        Spearman  (1 + r²/2) / (n − 3)
        Kendall   0.437 (1 + r²) / (n − 4)

    where a correlation of ±1 is taken half a step of one exchange below it. Errors of single values lower a
    correlation: drawing them once more tells by which factor, and each end is moved away from 0 by that factor, so that
    the interval holds the correlation as it is measured and as it would be without errors.

    Args:
        a: a score.
        b: another one.
        confidence: of the intervals, between 0 and 1.

    Raises:
        ValueError: where both know fewer than two generators.

    Source:
        Bonett, Wright: Sample size requirements for estimating Pearson, Kendall and Spearman correlations, 2000;
        Fieller, Hartley, Pearson: Tests for rank correlation coefficients I, 1957. Kendall's factor ``1 + r²``, without
        which intervals near ±1 are too short, the half step and the errors are ours; see the documentation's page on
        outside scores for how often such intervals hold the truth.

    Examples:
        >>> fd = ScoreColumn("FD", False, dict(zip("abcdef", [100.0, 150.0, 200.0, 300.0, 400.0, 500.0])))
        >>> people = ScoreColumn("error rate", True, dict(zip("abcdef", [0.40, 0.41, 0.3, 0.2, 0.15, 0.1])))
        >>> found = rank_agreement(fd, people)
        >>> round(found.spearman.value, 3), round(found.spearman.low, 2), round(found.spearman.high, 2), found.verdict
        (-0.943, -1.0, -0.38, 'same order')
    """
    check_confidence(confidence)
    check_type("a", a, ScoreColumn)
    check_type("b", b, ScoreColumn)
    both = [generator for generator in a.values if generator in b.values]
    if len(both) < 2:
        raise ValueError(f"expected two generators or more that both {a.name!r} and {b.name!r} know, got {len(both)}")
    rows = [np.array([each.values[generator] for generator in both]) for each in (a, b)]
    errors = [np.array([each.errors.get(generator, 0.0) for generator in both]) for each in (a, b)]
    factor = math.prod(map(_kept, rows, errors))
    rho, tau = rank_correlations(*rows)
    n = len(both)
    spearman = _with_interval(rho, 6 / (n * (n * n - 1)), (1 + rho * rho / 2) / max(n - 3, 1), n, factor, confidence)
    # What noise does to Kendall's follows from what it does to Spearman's, where both are normal.
    lower = 2 / math.pi * math.asin(min(1.0, 2 * math.sin(math.pi * factor / 6)))
    kendall = _with_interval(tau, 2 / (n * (n - 1)), 0.437 * (1 + tau * tau) / max(n - 4, 1), n, lower, confidence)
    verdict = _verdict(spearman, a.higher_is_better == b.higher_is_better)
    return RankAgreement(n, spearman, kendall, verdict, confidence)


def rank_correlations(
    a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]
) -> tuple[float, float]:
    """Spearman's and Kendall's (tau-b) of two rows of values; 0 where all of one are equal.

    Examples:
        >>> [round(each, 2) for each in rank_correlations([1, 2, 3], [5, 4, 9])]
        [0.5, 0.33]
    """
    from scipy.stats import kendalltau, rankdata, spearmanr

    one, other = rankdata(a), rankdata(b)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0, 0.0
    for sign in (1.0, -1.0):  # exactly, for who compares with 1
        if np.array_equal(one, rankdata(sign * other)):
            return sign, float(kendalltau(one, other).statistic)
    return float(spearmanr(one, other).statistic), float(kendalltau(one, other).statistic)


def _kept(values: Row, errors: Row) -> float:
    """Which share of a correlation errors of values leave: that of the values with themselves, drawn once more."""
    from scipy.stats import rankdata

    if not errors.any():
        return 1.0
    stream, n = np.random.default_rng(0), len(values)
    drawn = values + errors * stream.standard_normal((max(1, min(_DRAWS, _NUMBERS // n)), n))
    ranks, again = (rankdata(row, axis=-1) - (n + 1) / 2 for row in (values, drawn))
    spread = np.sqrt((ranks @ ranks) * (again * again).sum(axis=1))
    return float(np.divide(again @ ranks, spread, out=np.zeros_like(spread), where=spread > 0).mean())


def _with_interval(
    value: float, half_step: float, variance: float, n: int, factor: float, confidence: float
) -> Correlation:
    from scipy.stats import norm

    if n < LEAST_GENERATORS:
        return Correlation(value)
    z = math.atanh(min(max(value, half_step - 1), 1 - half_step))
    half = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    if factor <= 0:  # nothing is left of the order
        return Correlation(value, -1.0, 1.0)
    low, high = min(value, math.tanh(z - half)), max(value, math.tanh(z + half))
    return Correlation(value, max(-1.0, min(low, low / factor)), min(1.0, max(high, high / factor)))


def _verdict(spearman: Correlation, alike: bool) -> Verdict:
    if spearman.low is None or spearman.high is None or spearman.low <= 0 <= spearman.high:
        return "inconclusive"
    return "same order" if (spearman.low > 0) == alike else "opposite order"
