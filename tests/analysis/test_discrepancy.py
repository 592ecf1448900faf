"""What is lost by ranking by a distance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from vdna_metrics.analysis.discrepancy import ranking_discrepancy

SCORES = {"a": {"a": 80.0, "b": 50.0, "c": 20.0}, "b": {"a": 40.0, "b": 70.0, "c": 10.0}}


def _distances(order: Mapping[str, str]) -> dict[str, dict[str, float]]:
    return {name: {training: float(order[name].index(training)) for training in "abc"} for name in order}


@pytest.mark.real_data
def test_the_papers_tables_give_its_figures(shared: Path) -> None:
    """Tabs. 7 to 11 of the paper give the average differences that it prints, ties in the printed order."""
    path = shared / "oracles" / "cross_dataset_ranking.json"
    if not path.is_file():
        pytest.skip(f"no oracle at {path}")
    oracle = json.loads(path.read_text())
    found = {m["name"]: ranking_discrepancy(m["distance"], oracle["miou"]) for m in oracle["methods"]}
    printed = {m["name"]: m["average_absolute_miou_difference"] for m in oracle["methods"]}
    assert sorted(printed.values()) == [0.76, 1.66, 1.79, 6.85, 9.4]
    assert {name: round(value, 2) for name, value in found.items()} == printed


def test_a_discrepancy_by_hand() -> None:
    """One pair exchanged costs its difference twice, over all pairs of sets."""
    assert ranking_discrepancy(_distances({"a": "abc", "b": "bac"}), SCORES) == 0
    assert ranking_discrepancy(_distances({"a": "abc", "b": "abc"}), SCORES) == pytest.approx(2 * 30 / 6)


def test_ties_keep_the_given_order() -> None:
    """Of training sets at one distance the first given ranks first; of equal scores either may."""
    tied = {"a": 1.0, "b": 2.0, "c": 2.0}
    assert ranking_discrepancy({"a": tied}, {"a": SCORES["a"]}) == 0
    assert ranking_discrepancy({"a": dict(reversed(tied.items()))}, {"a": SCORES["a"]}) == pytest.approx(20)
    assert ranking_discrepancy({"a": tied}, {"a": {"a": 9, "c": 5, "b": 5}}) == 0


@given(
    st.lists(st.floats(0, 100), min_size=8, max_size=8, unique=True),
    st.lists(st.integers(0, 100), min_size=8, max_size=8),
    st.permutations(range(4)),
)
def test_only_the_order_of_the_distances_counts(distances: Any, scores: Any, order: Any) -> None:
    """Growing functions of distances and the order of the tables change nothing; scores scale and shift it."""

    def table(values: Any, places: Any = range(4)) -> dict[str, dict[str, float]]:
        return {f"v{v}": {f"t{t}": values[4 * v + t] for t in places} for v in range(2)}

    value = ranking_discrepancy(table(distances), table(scores))
    ranks = np.argsort(np.argsort(distances)).tolist()  # of all eight: a growing function of the distance
    assert ranking_discrepancy(table(ranks), table(scores)) == value
    assert ranking_discrepancy(table(distances, order), table(scores, order[::-1])) == pytest.approx(value)
    moved = ranking_discrepancy(table(distances), table([7 - 2 * (100 - s) for s in scores]))
    assert moved == pytest.approx(2 * value)
    best = ranking_discrepancy(table([-s for s in scores]), table(scores))
    assert best == 0 <= value


@pytest.mark.parametrize(
    ("distances", "scores", "message"),
    [
        ({}, {}, "not none"),
        ({"a": {"a": 1.0}}, {"b": {"a": 1.0}}, "validation sets must be the same .* distances a; scores b"),
        ({"a": {"a": 1.0}}, {"a": {"a": 1.0, "b": 2.0}}, "training sets of 'a' .* distances a; scores a, b"),
        ({"a": {"a": float("nan")}}, {"a": {"a": 1.0}}, "of 'a' is NaN"),
    ],
)
def test_tables_that_differ_are_refused(distances: Any, scores: Any, message: str) -> None:
    """Sets that only one table has, and NaN, are errors that show both sides."""
    with pytest.raises(ValueError, match=message):
        ranking_discrepancy(distances, scores)
