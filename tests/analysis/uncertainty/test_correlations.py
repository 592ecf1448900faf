"""Rank agreement of two scores, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vdna_metrics.analysis import ScoreColumn, rank_agreement
from vdna_metrics.analysis.uncertainty.correlations import LEAST_GENERATORS

NAMES = tuple("abcdefghij")


def _column(values: list[float], *, higher: bool = True, error: float = 0.0) -> ScoreColumn:
    known = dict(zip(NAMES, values, strict=False))
    return ScoreColumn("x", higher, known, dict.fromkeys(known, error) if error else {})


def test_correlations_are_scipys_with_fishers_interval() -> None:
    """Of the generators that both know; artanh of the interval is normal with the stated variances."""
    a = _column([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    b = _column([2, 1, 4, 3, 7, 5, 6, 8])
    found = rank_agreement(a, b, confidence=0.9)
    rows = list(a.values.values())[:8], list(b.values.values())
    rho, tau = stats.spearmanr(*rows).statistic, stats.kendalltau(*rows).statistic
    assert found.n_generators == 8
    for each, value, variance in (
        (found.spearman, rho, (1 + rho**2 / 2) / 5),
        (found.kendall, tau, 0.437 * (1 + tau**2) / 4),
    ):
        assert each.value == pytest.approx(value)
        half = stats.norm.ppf(0.95) * math.sqrt(variance)
        assert np.arctanh([each.low, each.high]) == pytest.approx([math.atanh(value) - half, math.atanh(value) + half])
    assert (found.verdict, found.confidence) == ("same order", 0.9)


@pytest.mark.parametrize(("higher", "order"), [(True, "same order"), (False, "opposite order")])
@pytest.mark.parametrize("turned", [False, True])
def test_the_verdict_knows_what_is_better(higher: bool, order: str, turned: bool) -> None:
    """The correlation is of values as they stand, the verdict of generators from the best to the worst."""
    values = [1.0, 2, 3, 4, 5, 7, 6]
    other = [-x for x in values] if turned else values
    found = rank_agreement(_column(values), _column(other, higher=higher))
    assert found.spearman.value == (-1 if turned else 1)
    assert (found.verdict == order) != turned
    assert found.verdict != "inconclusive"


def test_few_generators_have_no_interval() -> None:
    """Of four in one order nothing follows; five have an interval that leaves out 0, and ends at the correlation."""
    four, five = (_column([float(x) for x in range(n)]) for n in (LEAST_GENERATORS - 1, LEAST_GENERATORS))
    found = rank_agreement(four, four)
    assert (found.spearman.value, found.spearman.low, found.kendall.high) == (1, None, None)
    assert found.verdict == "inconclusive"
    found = rank_agreement(five, five)
    assert (found.verdict, found.spearman.high, found.kendall.high) == ("same order", 1, 1)
    assert 0 < found.spearman.low < 0.5
    with pytest.raises(ValueError, match="expected two generators or more that both 'x' and 'x' know, got 1"):
        rank_agreement(five, _column([1.0]))


def test_a_score_without_order_is_inconclusive() -> None:
    """Where all generators are equal by one score there is no correlation, and nothing to be said."""
    found = rank_agreement(_column([1.0] * 8), _column([float(x) for x in range(8)]))
    assert (found.spearman.value, found.kendall.value, found.verdict) == (0, 0, "inconclusive")


def test_errors_widen_the_interval_away_from_0() -> None:
    """The correlation stays; the farther end moves out, to where it would be without errors; noise alone is open."""
    a, b = [float(x) for x in range(8)], [0.0, 2, 1, 3, 5, 4, 7, 6]
    exact = rank_agreement(_column(a), _column(b))
    some = rank_agreement(_column(a, error=1.0), _column(b))
    assert some.spearman.value == exact.spearman.value
    assert some.spearman.low == exact.spearman.low > 0
    assert exact.spearman.high < some.spearman.high <= 1
    assert exact.kendall.high < some.kendall.high <= 1
    assert rank_agreement(_column(a, error=1.0), _column(b)) == some  # the same draws
    turned = rank_agreement(_column(a, error=1.0), _column([-x for x in b]))
    assert (turned.spearman.low, turned.spearman.high) == pytest.approx((-some.spearman.high, -some.spearman.low))


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_intervals_hold_the_truth(error: float) -> None:
    """Of 95 % intervals of eight generators with a true correlation of 0.9, nine in ten or more hold it."""
    stream, held = np.random.default_rng(0), []
    rho, tau = 6 / math.pi * math.asin(0.45), 2 / math.pi * math.asin(0.9)
    for _ in range(120):
        x, y = stream.standard_normal((2, 8))
        seen = [row + error * stream.standard_normal(8) for row in (x, 0.9 * x + math.sqrt(0.19) * y)]
        found = rank_agreement(*(_column(row.tolist(), error=error) for row in seen))
        pairs = ((found.spearman, rho), (found.kendall, tau))
        held.append([each.low <= true <= each.high for each, true in pairs])
    assert np.mean(held, axis=0).min() >= 0.9
