"""Distances between every two, and the nearest references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from helpers.distances import EVENNESS, JSD, OURS
from helpers.dnas import make_dna, make_fingerprint

from vdna_metrics import NeuronSelection, NeuronWeights, compare
from vdna_metrics.analysis import matrices
from vdna_metrics.analysis.matrices import distance_matrix, nearest
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
        ({"a": make_dna("histogram"), "b": make_dna("gaussian")}, {}, "kinds differ: a histogram, b gaussian"),
        ({"a": make_dna("histogram"), "b": make_dna("histogram", bins=9)}, {}, "bins differ: a 8, b 9"),
        (
            {"a": make_dna("histogram"), "b": make_dna("histogram", fingerprint=make_fingerprint(weights="cd" * 32))},
            {},
            "weights differ: a abab",
        ),
        (_some("gaussian", 2), {}, "needs DNAs of kind 'histogram', 'set 0' is of kind 'gaussian'"),
        (_some("histogram", 2), {"distance": "lfd"}, "needs DNAs of kind 'layer_gaussian'"),
        ({"a": make_dna("histogram"), "b": make_dna("histogram", 0)}, {}, "'b' has seen no image"),
        (_some("histogram", 2), {"distance": "fdi"}, "unknown distance 'fdi'; did you mean 'nfd' or"),
        (_some("histogram", 2), {"distance": EVENNESS}, r"0 between a set and itself .*got Column\(evenness"),
        (
            _some("histogram", 2),
            {"distance": Column("emd", weights={"conv1": [1.0]})},
            "has 4 neurons",
        ),
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
