"""Differences and ranks, and whether columns agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.distances import EVENNESS, OURS, make_grouped
from scipy import stats

from vdna_metrics.analysis.uncertainty import (
    Estimate,
    JackknifedDistance,
    Side,
    agreement,
    compare_pair,
    jackknife_distance,
    pairs,
    rank_intervals,
)
from vdna_metrics.dna import ImageClusters, Provenance

distances = pytest.mark.parametrize("distance", OURS)


def _known(
    score: float, of_reference: list[float], of_generated: list[float], sizes: tuple[int, ...] = (5, 5, 5)
) -> JackknifedDistance:
    def side(name: str, deviations: list[float], sizes: tuple[int, ...]) -> Side:
        deviating = torch.tensor(deviations, dtype=torch.float64)
        return Side(Provenance("net", (name,)), sizes, deviating, len(deviations) - 1.0)

    estimate = Estimate(score + 1, score, 0.1, score - 0.2, score + 0.2)
    reference, generated = side("real", of_reference, (6, 6, 6)), side("made", of_generated, sizes)
    return JackknifedDistance(estimate, {"layer": estimate}, "emd", "bins", 0.95, reference, generated)


def test_what_is_common_drops_out_of_a_difference() -> None:
    """The reference's deviations are subtracted one by one, and the generators' when they are paired, else added."""
    a, b = _known(3.0, [1, -1, 0.5], [0.1, 0.2, -0.3]), _known(2.0, [1, -1, 0.3], [0.1, 0.1, -0.3])
    for paired, variances in ((True, (0.04, 0.01)), (False, (0.04, 0.14, 0.11))):
        found = compare_pair(a, b, paired=paired)
        freedom = sum(variances) ** 2 / sum(each**2 / 2 for each in variances)
        half = stats.t.ppf(0.975, freedom) * sum(variances) ** 0.5
        expected = [1, 1, sum(variances) ** 0.5, 1 - half, 1 + half]
        assert list(vars(found.estimate).values()) == pytest.approx(expected)
        assert found.p_value == pytest.approx(2 * stats.t.sf(1 / sum(variances) ** 0.5, freedom))
        assert found.paired is paired


@distances
def test_a_generator_does_not_differ_from_itself(distance: str) -> None:
    """The difference is 0 with a p value of 1, and with the sides swapped the difference has the other sign."""
    reference = make_grouped(distance, 0)
    a, b = (
        jackknife_distance(reference, make_grouped(distance, seed, shift=0.2 * seed), distance=distance)
        for seed in (1, 2)
    )
    same = compare_pair(a, a, paired=True)
    assert (same.estimate.value, same.p_value) == (0, 1)
    forth, back = compare_pair(a, b, paired=False), compare_pair(b, a, paired=False)
    assert forth.estimate.corrected == pytest.approx(-back.estimate.corrected)
    assert (forth.estimate.low, forth.p_value) == pytest.approx((-back.estimate.high, back.p_value))


def test_rounding_is_no_difference() -> None:
    """What differs by rounding alone is not called different, however small the error; what has no error is."""
    a, b, c = _known(2.0, [0, 0, 0], [0, 0, 0]), _known(2 + 1e-12, [0, 0, 0], [0, 0, 0]), _known(3, [0] * 3, [0] * 3)
    assert compare_pair(a, b, paired=True).p_value == 1
    assert compare_pair(a, c, paired=True).p_value == 0


@pytest.mark.parametrize(
    ("changes", "paired", "message"),
    [
        ({"distance": "lfd"}, False, "distances differ: first emd, second lfd"),
        ({"unit": "range"}, False, "units differ: first bins, second range"),
        ({"layers": {}}, False, r"layers differ: first \['layer'\], second \[\]"),
        ({"generated": _known(1, [1] * 3, [1] * 3, (5, 5, 4)).generated}, True, "groups to be paired differ: first"),
        ({"reference": _known(1, [1] * 3, [1] * 3).generated}, False, "sources of the reference differ"),
    ],
)
def test_unlike_distances_have_no_difference(changes: dict[str, Any], paired: bool, message: str) -> None:
    """Distances of another kind, unit, layers or reference, and unequal groups to be paired, are refused."""
    known = _known(1.0, [1, -1, 0], [1, -1, 0])
    with pytest.raises(ValueError, match=message):
        compare_pair(known, replace(known, **changes), paired=paired)


def test_groups_of_other_clusters_are_not_paired() -> None:
    """Groups of one number and size but of other clusters hold other images: not paired; nor one reference's groups."""

    def told(found: JackknifedDistance, side: str, sizes: list[int]) -> JackknifedDistance:
        own = getattr(found, side)
        provenance = replace(own.provenance, clusters=ImageClusters.of(sizes))
        return replace(found, **{side: replace(own, provenance=provenance)})

    known = _known(1.0, [1, -1, 0], [1, -1, 0])
    a, b = told(known, "generated", [5] * 3), told(known, "generated", [3, 2] * 3)
    with pytest.raises(ValueError, match="clusters of the groups to be paired differ: first 3 clusters of 15 images"):
        compare_pair(a, b, paired=True)
    assert compare_pair(a, a, paired=True).p_value == compare_pair(a, b, paired=False).p_value == 1
    with pytest.raises(ValueError, match="clusters of the reference differ: first each image by itself, second 6 clus"):
        compare_pair(known, told(known, "reference", [3] * 6), paired=False)


def test_ranks_say_what_is_possible() -> None:
    """Generators that cannot be told apart share their places; those that can have one each."""
    small = [0.01, -0.02, 0.01]
    scores = {"far": 9.0, "b": 2.0, "a": 1.99, "middle": 5.0}
    ranking = rank_intervals({name: _known(score, small, small) for name, score in scores.items()})
    assert ranking.order == ("a", "b", "middle", "far")
    assert ranking.ranks == {"a": (1, 2), "b": (1, 2), "middle": (3, 3), "far": (4, 4)}
    assert [(pair.a, pair.b) for pair in ranking.pairs if pair.tied] == [("a", "b")]
    assert all(pair.difference.estimate.corrected < 0 for pair in ranking.pairs)
    assert rank_intervals({"only": _known(1.0, small, small)}).ranks == {"only": (1, 1)}


def test_p_values_are_corrected_by_holm() -> None:
    """The smallest is multiplied by their number, the next by one less, and so on; none falls below one before it."""
    assert pairs._holm([0.03, 0.01, 0.025, 0.5]) == pytest.approx([0.075, 0.04, 0.075, 0.5])
    assert pairs._holm([0.9, 0.8]) == [1, 1]


@pytest.mark.parametrize(
    ("paired", "expected"),
    [(True, {"ab", "ac", "bc"}), (False, set()), ({"a": "x", "b": "x", "c": "y"}, {"ab"}), ({"a": "x"}, set())],
)
def test_generators_of_one_thing_are_paired(paired: bool | Mapping[str, str], expected: set[str]) -> None:
    """`paired=` is of all, or says of each generator what its images are of; what is not named is paired with none."""
    results = {name: _known(place, [0, 1, -1], [1, -1, 0]) for place, name in enumerate("abc")}
    ranking = rank_intervals(results, paired=paired)
    assert {pair.a + pair.b for pair in ranking.pairs if pair.difference.paired} == expected


def test_a_ranking_names_whom_it_cannot_compare() -> None:
    """An unlike distance is refused by the names of both generators, an empty ranking too."""
    known = _known(1.0, [1, -1, 0], [1, -1, 0])
    with pytest.raises(ValueError, match="'a' and 'b': these distances cannot be compared: units differ"):
        rank_intervals({"a": known, "b": replace(known, unit="range")})
    with pytest.raises(ValueError, match="expected generators to rank, got none"):
        rank_intervals({})


def test_the_best_comes_first_where_higher_is_better() -> None:
    """Scores where higher is better are put in the other order; places count from the highest."""
    small = [0.01, -0.02, 0.01]
    scores = {"low": 2.0, "b": 8.99, "a": 9.0}
    results = {name: replace(_known(score, small, small), higher_is_better=True) for name, score in scores.items()}
    ranking = rank_intervals(results)
    assert ranking.order == ("a", "b", "low")
    assert ranking.ranks == {"a": (1, 2), "b": (1, 2), "low": (3, 3)}
    assert all(pair.difference.estimate.corrected > 0 for pair in ranking.pairs)


def test_scores_below_0_may_be_alike() -> None:
    """What is rounding is judged by the size of the scores, whatever their sign."""
    a, b = _known(-2.0, [0] * 3, [0] * 3), _known(-2 - 1e-12, [0] * 3, [0] * 3)
    assert compare_pair(a, b, paired=True).p_value == 1


def test_scores_of_one_set_are_ranked() -> None:
    """Without a reference in common the generators' own chance is all there is."""
    results = {
        name: jackknife_distance(None, make_grouped(EVENNESS, seed, shift=shift), distance=EVENNESS)
        for seed, (name, shift) in enumerate({"centred": 0.0, "shifted": 2.5}.items())
    }
    ranking = rank_intervals(results)
    assert ranking.order == ("centred", "shifted")
    assert ranking.ranks == {"centred": (1, 1), "shifted": (2, 2)}


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
