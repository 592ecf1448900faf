"""Many sets of images: matrices, nearest references, rankings, sample sizes, groups."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.dnas import LAYOUT, make_dna, make_fingerprint, make_ranges
from hypothesis import given
from hypothesis import strategies as st

from vdna_metrics import NeuronSelection, NeuronWeights, compare
from vdna_metrics.analysis import comparison
from vdna_metrics.analysis.comparison import (
    DistanceName,
    compare_groups,
    distance_matrix,
    nearest,
    ranking_discrepancy,
    sample_size_curve,
)
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import VDNA
from vdna_metrics.functional.emd import EMDUnit

KIND_OF: dict[DistanceName, Kind] = {
    "emd": "histogram",
    "neuron_frechet": "gaussian",
    "layer_frechet": "layer_gaussian",
}


def _some(kind: Kind, n: int = 4) -> dict[str, VDNA]:
    return {f"set {i}": make_dna(kind, 12 + i, seed=i, shift=0.3 * i) for i in range(n)}


# ------------------------------------------------------------------------------------------------------ distance_matrix
@pytest.mark.parametrize("distance", get_args(DistanceName))
def test_a_matrix_holds_the_distances_of_compare(distance: DistanceName) -> None:
    """Every entry is that of `compare` to rounding; the matrix is symmetric to the bit and 0 on the diagonal."""
    dnas = _some(KIND_OF[distance])
    matrix = distance_matrix(dnas, distance=distance)
    assert matrix.names == tuple(dnas)
    assert torch.equal(matrix.values, matrix.values.T)
    assert not matrix.values.diagonal().any()
    for a, dna_a in dnas.items():
        for b, dna_b in dnas.items():
            expected = float(getattr(compare, distance)(dna_a, dna_b))
            assert matrix.between(a, b) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("unit", get_args(EMDUnit))
def test_a_matrix_in_blocks_with_units_and_weights(unit: EMDUnit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither blocks of neurons, units, weights nor a selection make a difference to `compare`."""
    monkeypatch.setattr(comparison, "_BLOCK", 4 * 8 * 2)  # two neurons of four DNAs at once
    dnas = _some("histogram")
    neurons = {"conv1": [3, 0], "conv2": [0, 1, 2]}
    weights = {"conv1": [0.5, -1.0], "conv2": [0.0, 2.0, 0.25]}
    for options in ({}, {"neurons": neurons}, {"neurons": neurons, "weights": weights}, {"layers": ["norm"]}):
        found = distance_matrix(dnas, unit=unit, **options)  # type: ignore[arg-type]
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
    expected = distance_matrix(dnas, neurons=selection, weights=weights)
    assert torch.equal(distance_matrix(dnas, **files).values, expected.values)  # type: ignore[arg-type]
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
        ({"a": make_dna("histogram"), "b": make_dna("gaussian")}, {}, "kinds differ: a histogram, b gaussian"),
        ({"a": make_dna("histogram"), "b": make_dna("histogram", bins=9)}, {}, "bins differ: a 8, b 9"),
        (
            {"a": make_dna("histogram"), "b": make_dna("histogram", fingerprint=make_fingerprint(weights="cd" * 32))},
            {},
            "weights differ: a abab",
        ),
        (_some("gaussian", 2), {}, "needs DNAs of kind 'histogram', 'set 0' is of kind 'gaussian'"),
        (_some("histogram", 2), {"distance": "layer_frechet"}, "needs DNAs of kind 'layer_gaussian'"),
        ({"a": make_dna("histogram"), "b": make_dna("histogram", 0)}, {}, "'b' has seen no image"),
        (_some("histogram", 2), {"distance": "fid"}, "distance must be one of emd"),
        (_some("histogram", 2), {"unit": "metre"}, "unit must be one of bins"),
        (_some("gaussian", 2), {"distance": "neuron_frechet", "unit": "range"}, "unit='range' is for the emd"),
        (_some("histogram", 2), {"weights": {layer: [1.0] for layer in LAYOUT}}, "the layer has 4 neurons"),
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


# -------------------------------------------------------------------------------------------------------------- nearest
@pytest.mark.parametrize("distance", get_args(DistanceName))
def test_nearest_are_in_order(distance: DistanceName) -> None:
    """References come in the order of their distances, which are those of `compare`."""
    dnas = _some(KIND_OF[distance])
    wanted = dnas.pop("set 3")
    found = nearest(wanted, dnas, distance=distance)
    assert [neighbour.name for neighbour in found] == ["set 2", "set 1", "set 0"]
    for neighbour in found:
        assert neighbour.distance == float(getattr(compare, distance)(dnas[neighbour.name], wanted))


def test_a_reference_that_cannot_be_compared_is_named() -> None:
    """Errors of `compare` say which reference it was; no references are an error."""
    with pytest.raises(ValueError, match="reference 'fine': these DNAs cannot be compared: bins differ"):
        nearest(make_dna("histogram"), {"ok": make_dna("histogram"), "fine": make_dna("histogram", bins=80)})
    with pytest.raises(ValueError, match="no references"):
        nearest(make_dna("histogram"), {})


# -------------------------------------------------------------------------------------------------- ranking_discrepancy
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


# --------------------------------------------------------------------------------------------------------- sample sizes
@pytest.mark.parametrize("distance", get_args(DistanceName))
def test_a_curve_ends_at_the_distance_of_all(distance: DistanceName) -> None:
    """Whatever the draw, the last value is the distance of the whole set, and each is one of a subset of that size."""
    kind = KIND_OF[distance]
    reference, parts = make_dna(kind, 40, seed=99), [make_dna(kind, 3, seed=i, shift=0.4) for i in range(7)]
    curve = sample_size_curve(reference, parts, distance=distance, draws=4)
    whole = float(getattr(compare, distance)(reference, sum(parts[1:], parts[0])))
    assert curve.sizes == (3, 6, 9, 12, 21)
    assert curve.values.shape == (4, 5)
    assert curve.final == pytest.approx(whole, rel=1e-9)
    torch.testing.assert_close(curve.values[:, -1], torch.full((4,), whole, dtype=torch.float64))
    single = sorted(float(getattr(compare, distance)(reference, part)) for part in parts)
    assert all(any(value == pytest.approx(one) for one in single) for value in curve.values[:, 0].tolist())
    torch.testing.assert_close(curve.mean, curve.values.mean(0))
    assert curve.spread[-1] == pytest.approx(0, abs=1e-9)
    assert curve.spread[0] > 0


def test_a_seed_gives_a_curve() -> None:
    """The same seed gives the same bits, another other draws, and one draw has no spread."""
    reference, parts = make_dna("histogram", 40, seed=99), [make_dna("histogram", 2, seed=i) for i in range(6)]
    curves = [sample_size_curve(reference, parts, draws=3, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(curves[0].values, curves[1].values)
    assert not torch.equal(curves[0].values, curves[2].values)
    assert not sample_size_curve(reference, parts, draws=1).spread.any()
    assert sample_size_curve(reference, parts, sizes=[8, 4]).sizes == (4, 8, 12)


def test_a_settled_curve_says_from_where() -> None:
    """The size is the first after the last one outside, though one before may have been inside."""
    parts = [make_dna("histogram", 2)] * 4
    curve = sample_size_curve(make_dna("histogram", 9, seed=3), parts, draws=1)
    for values, share, expected in (
        ([9.0, 5.1, 9.0, 5.0], 0.05, 8),
        ([9.0, 9.0, 5.2, 5.0], 0.05, 6),
        ([4.9, 5.1, 5.2, 5.0], 0.05, 2),
        ([4.9, 5.1, 5.2, 5.0], 0.01, 8),
        ([1.0, 1.0, 1.0, 0.0], 0.05, 8),
    ):
        made = replace(curve, values=torch.tensor([values], dtype=torch.float64))
        assert made.stays_within(share) == expected


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ([], {}, "needs parts and draws, got 0 and 10"),
        ([make_dna("histogram")], {"draws": 0}, "got 1 and 0"),
        ([make_dna("histogram", 3), make_dna("histogram", 2)], {}, "these have 2 to 3"),
        ([make_dna("histogram", 3)] * 2, {"sizes": [4]}, "multiples of 3, of 3 to 6 images, got 4"),
        ([make_dna("histogram", 3)] * 2, {"sizes": [9]}, "got 9"),
        ([make_dna("histogram", 3)] * 2, {"sizes": [0]}, "got 0"),
        ([make_dna("gaussian", 3)] * 2, {}, "needs DNAs of kind 'histogram'"),
    ],
)
def test_parts_that_make_no_curve_are_refused(parts: Any, options: Any, message: str) -> None:
    """Parts of different size, sizes that cut a part, and other kinds are errors."""
    with pytest.raises(ValueError, match=message):
        sample_size_curve(make_dna("histogram", seed=5), parts, **options)


# --------------------------------------------------------------------------------------------------------------- groups
@pytest.mark.parametrize("distance", get_args(DistanceName))
def test_the_worst_group_is_the_farthest(distance: DistanceName) -> None:
    """Groups come with their numbers, layers and distances, the farthest first, and pooled."""
    groups = _some(KIND_OF[distance])
    reference = groups.pop("set 0")
    report = compare_groups(groups, reference, distance=distance)
    function = getattr(compare, distance)
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
        compare_groups({"one": make_dna("gaussian", 1)}, make_dna("gaussian"), distance="neuron_frechet")
    with pytest.raises(ValueError, match=r"group 'a': .*activation ranges differ"):
        compare_groups({"a": make_dna("histogram", ranges=make_ranges(-4.0, 4.0))}, make_dna("histogram"))
