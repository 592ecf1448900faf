"""Agreement of columns."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.distances import OURS
from scipy import stats

from vdna_metrics.analysis.uncertainty import (
    agreement,
)

distances = pytest.mark.parametrize("distance", OURS)


def test_correlations_are_scipys() -> None:
    """Spearman's and Kendall's of every two columns, with generators in any order; 0 with a column without order."""
    stream = np.random.default_rng(0)
    columns = {name: dict(zip("abcde", stream.integers(0, 4, 5).tolist(), strict=True)) for name in ("x", "y")}
    columns["same"] = dict.fromkeys("edcba", 1)
    found = agreement(columns)
    rows = [[columns[name][generator] for generator in "abcde"] for name in ("x", "y")]
    assert found.columns == ("x", "y", "same")
    assert found.spearman[0][1] == pytest.approx(stats.spearmanr(*rows).statistic)
    assert found.kendall[1][0] == pytest.approx(stats.kendalltau(*rows).statistic)
    assert found.spearman[0] == pytest.approx((1, found.spearman[1][0], 0))
    assert found.kendall[2] == (0, 0, 0)


def test_disagreement_is_said_in_words() -> None:
    """Each two generators that columns put in another order are named with the columns of both sides, no others."""
    columns = {
        "emd": {"a": 1.0, "b": 2.0, "c": 3.0},
        "nfd": {"a": 1.0, "b": 2.0, "c": 2.0},
        "lfd": {"a": 2.0, "b": 1.0, "c": 3.0},
        "fid": {"a": 3.0, "b": 1.0, "c": 2.0},
    }
    assert agreement(columns).notes == (
        "'a' is nearer than 'b' by emd, nfd, farther by lfd, fid.",
        "'a' is nearer than 'c' by emd, nfd, lfd, farther by fid.",
    )
    assert agreement({"emd": columns["emd"], "nfd": columns["nfd"]}).notes == ()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "two columns and two generators, got 0 and 0"),
        ({"x": {"a": 1.0, "b": 2.0}}, "got 1 and 2"),
        ({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 1.0, "c": 2.0}}, "generators differ: x a, b; y a, c"),
        ({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 1.0, "b": float("nan")}}, "a distance of 'y' is NaN"),
    ],
)
def test_columns_of_other_generators_are_refused(columns: dict[str, dict[str, float]], message: str) -> None:
    """Fewer than two columns or generators, other generators, or a NaN are refused by name."""
    with pytest.raises(ValueError, match=message):
        agreement(columns)
