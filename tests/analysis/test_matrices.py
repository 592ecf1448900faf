"""Distances between every two of some DNAs, of groups, and what ranking by them loses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.distances import EVENNESS, JSD, OURS
from helpers.dnas import make_dna, make_fingerprint, make_ranges
from hypothesis import given, strategies as st

from vdna_metrics import NeuronSelection, NeuronWeights, compare
from vdna_metrics.analysis import matrices
from vdna_metrics.analysis.matrices import compare_groups, distance_matrix, nearest, ranking_discrepancy
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import VDNA
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.distances import Distance, find_distance
from vdna_metrics.functional.emd import EMDUnit


def _some(kind: Kind, n: int = 4) -> dict[str, VDNA]:
    return {f"set {i}": make_dna(kind, 12 + i, seed=i, shift=0.3 * i) for i in range(n)}


@pytest.mark.parametrize("distance", [*OURS, JSD])
def test_a_matrix_holds_the_distances_of_compare(distance: str | Distance) -> None:
    """Every entry is that of `compare` to rounding; the matrix is symmetric to the bit and 0 on the diagonal."""
    dnas = _some(find_distance(distance).kind)
    matrix = distance_matrix(dnas, distance=distance)
    assert matrix.names == tuple(dnas)
    assert torch.equal(matrix.values, matrix.values.T)
    assert not matrix.values.diagonal().any()
    for a, dna_a in dnas.items():
        for b, dna_b in dnas.items():
            expected = float(find_distance(distance)(dna_a, dna_b))
            assert matrix.between(a, b) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("unit", get_args(EMDUnit))
def test_a_matrix_in_blocks_with_units_and_weights(unit: EMDUnit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither blocks of neurons, units, weights nor a selection make a difference to `compare`."""
    monkeypatch.setattr(matrices, "_BLOCK", 4 * 8 * 2)  # two neurons of four DNAs at once
    dnas = _some("histogram")
    neurons = {"conv1": [3, 0], "conv2": [0, 1, 2]}
    weights = {"conv1": [0.5, -1.0], "conv2": [0.0, 2.0, 0.25]}
    for options in ({}, {"neurons": neurons}, {"neurons": neurons, "weights": weights}, {"layers": ["norm"]}):
        found = distance_matrix(dnas, distance=Column("emd", unit=unit, **options))
        expected = compare.emd(dnas["set 1"], dnas["set 3"], unit=unit, **options)  # type: ignore[arg-type]
        assert found.between("set 1", "set 3") == pytest.approx(float(expected), rel=1e-12)


def test_selections_and_weights_are_taken_from_files(tmp_path: Path) -> None:
    """`neurons=` and `weights=` may be values or the paths of their files."""
    dnas = _some("histogram")
    first = dnas["set 0"]
    selection = NeuronSelection.of(first, {"conv1": [1, 2], "norm": [0]})
    part = first.select(neurons=selection)
    weights = NeuronWeights(part.layout, torch.tensor([0.2, 0.3, 4.0]), part.fingerprint)
    files = {"neurons": selection.save(tmp_path / "s.npz"), "weights": weights.save(tmp_path / "w.npz")}
    expected = distance_matrix(dnas, distance=Column("emd", neurons=selection, weights=weights))
    assert torch.equal(distance_matrix(dnas, distance=Column("emd", **files)).values, expected.values)
    value = float(compare.emd(first, dnas["set 1"], neurons=selection, weights=weights))
    assert expected.between("set 0", "set 1") == pytest.approx(value, rel=1e-12)


def test_near_sets_are_neighbours_in_the_order() -> None:
    """The order of the dendrogram's leaves puts the two of each pair side by side."""
    shifts = {"a": 0.0, "far a": 2.0, "b": 0.05, "far b": 2.05}
    dnas = {name: make_dna("histogram", 60, bins=200, shift=shift) for name, shift in shifts.items()}
    matrix = distance_matrix(dnas)
    assert {frozenset(matrix.order()[:2]), frozenset(matrix.order()[2:])} == {
        frozenset({"a", "b"}),
        frozenset({"far a", "far b"}),
    }
    assert matrix.linkage().shape == (3, 4)
    assert matrix.to_json()["values"]["a"]["b"] == matrix.between("b", "a")


@pytest.mark.parametrize(
    ("dnas", "options", "message"),
    [
        ({"a": make_dna("histogram")}, {}, "at least two DNAs, got a"),
        ({"a": make_dna("histogram"), "b": make_dna("gaussian")}, {}, "a 'histogram', b 'gaussian'"),
        ({"a": make_dna("histogram"), "b": make_dna("histogram", bins=9)}, {}, "bins differ: a 8, b 9"),
        (
            {"a": make_dna("histogram"), "b": make_dna("histogram", fingerprint=make_fingerprint(weights="cd" * 32))},
            {},
            "weights differ: a abab",
        ),
        (_some("gaussian", 2), {}, "needs DNAs of kind 'histogram': set 0 'gaussian'"),
        (_some("histogram", 2), {"distance": "lfd"}, "needs DNAs of kind 'layer_gaussian'"),
        ({"a": make_dna("histogram"), "b": make_dna("histogram", 0)}, {}, "the b DNA has seen no image"),
        (_some("histogram", 2), {"distance": "fdi"}, "unknown distance 'fdi'; did you mean 'nfd' or"),
        (_some("histogram", 2), {"distance": EVENNESS}, r"0 between a set and itself .*got Column\(evenness"),
        (_some("histogram", 2), {"distance": Column("emd", weights={"conv1": [1.0]})}, "has 4 neurons"),
    ],
)
def test_what_cannot_be_put_in_a_matrix_is_refused(dnas: Any, options: Any, message: str) -> None:
    """DNAs that cannot be compared are named, both of them, and so is an unknown option."""
    with pytest.raises(ValueError, match=message):
        distance_matrix(dnas, **options)


def test_other_positions_are_refused_and_names_checked() -> None:
    """DNAs of other positions of their images are not comparable; an unknown name answers with near ones."""
    dnas = _some("histogram", 2)
    some = replace(dnas["set 1"], provenance=replace(dnas["set 1"].provenance, max_positions=4))
    with pytest.raises(ValueError, match="max_positions differ: set 0 all, set 1 4"):
        distance_matrix({**dnas, "set 1": some})
    with pytest.raises(ValueError, match="did you mean 'set"):
        distance_matrix(dnas).between("set 0", "set 7")


@pytest.mark.parametrize("distance", [*OURS, JSD])
def test_nearest_are_in_order(distance: str | Distance) -> None:
    """References come in the order of their distances, which are those of `compare`."""
    dnas = _some(find_distance(distance).kind)
    wanted = dnas.pop("set 3")
    found = nearest(wanted, dnas, distance=distance)
    assert [neighbour.name for neighbour in found] == ["set 2", "set 1", "set 0"]
    for neighbour in found:
        assert neighbour.distance == float(find_distance(distance)(dnas[neighbour.name], wanted))


def test_a_reference_that_cannot_be_compared_is_named() -> None:
    """Errors of `compare` say which reference it was; no references are an error."""
    with pytest.raises(ValueError, match="reference 'fine': these DNAs cannot be compared: bins differ"):
        nearest(make_dna("histogram"), {"ok": make_dna("histogram"), "fine": make_dna("histogram", bins=80)})
    with pytest.raises(ValueError, match="no references"):
        nearest(make_dna("histogram"), {})


def test_a_likeness_puts_the_most_alike_first() -> None:
    """Of a distance where higher is better the highest is nearest; what looks at one set has no nearest."""
    likeness = replace(JSD, name="likeness", function=lambda a, b: {k: 1 - x for k, x in JSD.function(a, b).items()},
                       direction="higher", neutral=1.0)  # fmt: skip
    dnas = _some("histogram")
    wanted = dnas.pop("set 3")
    found = nearest(wanted, dnas, distance=likeness)
    assert [neighbour.name for neighbour in found] == ["set 2", "set 1", "set 0"]
    assert found[0].distance > found[1].distance > found[2].distance
    with pytest.raises(ValueError, match=r"between two sets, got Column\(evenness"):
        nearest(wanted, dnas, distance=EVENNESS)
    with pytest.raises(ValueError, match=r"grows from there, got Column\(likeness"):
        distance_matrix(dnas, distance=likeness)


def test_a_result_says_of_which_distance_it_is() -> None:
    """The name is the column's, whichever alias was given, and the unit that of its values."""
    found = distance_matrix(_some("gaussian", 2), distance="neuron_frechet")
    assert (found.distance, found.unit) == ("nfd", "squared activations")
    found = distance_matrix(_some("histogram", 2), distance=Column("emd", unit="range"))
    assert (found.distance, found.unit) == ("emd", "range")


@pytest.mark.parametrize("distance", OURS)
def test_the_worst_group_is_the_farthest(distance: str) -> None:
    """Groups come with their numbers, layers and distances, the farthest first, and pooled."""
    groups = _some(find_distance(distance).kind)
    reference = groups.pop("set 0")
    report = compare_groups(groups, reference, distance=distance)
    function = find_distance(distance)
    assert [(group.group, group.n_images) for group in report.groups] == [("set 3", 15), ("set 2", 14), ("set 1", 13)]
    assert report.worst.distance == float(function(reference, groups["set 3"]))
    by_layer = function(reference, groups["set 3"], reduction="layer")
    assert report.worst.layers == {layer: float(value) for layer, value in by_layer.items()}
    first, *others = groups.values()
    assert report.pooled == float(function(reference, sum(others, first)))
    assert report.mean == pytest.approx(sum(group.distance for group in report.groups) / 3)
    json.dumps(report.to_json())


def test_each_group_may_have_its_own_reference() -> None:
    """With a reference a group, each is compared with its own, and all with all of them."""
    groups = _some("histogram", 2)
    own = {"set 0": make_dna("histogram", 20, seed=7), "set 1": groups["set 1"], "other": make_dna("histogram")}
    report = compare_groups(groups, own)
    assert {group.group: group.distance == 0 for group in report.groups} == {"set 0": False, "set 1": True}
    pooled = compare.emd(own["set 0"] + own["set 1"], groups["set 0"] + groups["set 1"])
    assert report.pooled == float(pooled)


def test_groups_that_cannot_be_compared_are_named() -> None:
    """No groups, a group without reference, or one with too few images for the distance."""
    with pytest.raises(ValueError, match="no groups"):
        compare_groups({}, make_dna("histogram"))
    with pytest.raises(ValueError, match="group 'set 1' has no reference; did you mean 'set 0'"):
        compare_groups(_some("histogram", 2), {"set 0": make_dna("histogram")})
    with pytest.raises(ValueError, match=r"group 'one': .*at least 2 images"):
        compare_groups({"one": make_dna("gaussian", 1)}, make_dna("gaussian"), distance="nfd")
    with pytest.raises(ValueError, match=r"group 'a': .*activation ranges differ"):
        compare_groups({"a": make_dna("histogram", ranges=make_ranges(-4.0, 4.0))}, make_dna("histogram"))


def test_the_worst_group_of_a_score_has_the_lowest() -> None:
    """Of a score where higher is better the lowest group is the worst; it has no layers where the score has none."""
    groups = _some("histogram", 3)
    report = compare_groups(groups, groups["set 0"], distance=EVENNESS)
    assert report.worst.distance == min(float(EVENNESS(None, dna)) for dna in groups.values())
    assert [group.distance for group in report.groups] == sorted(group.distance for group in report.groups)
    assert (report.worst.layers, report.distance, report.unit) == ({}, "evenness", "nats")


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
