"""Columns: distances with all that is asked of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.distances import EVENNESS, JSD, REGISTERED, make_grouped, registered
from helpers.dnas import LAYOUT, make_dna

from vdna_metrics import NeuronSelection, NeuronWeights
from vdna_metrics.dna.columns import Column, default_column, find_column, list_columns
from vdna_metrics.dna.distances import EMD, LFD, NFD, RESERVED, register_distance
from vdna_metrics.extractors.catalogue import CATALOGUE

NAMED = ["fid", "sfid", "fd_dinov2", "clip_fd"]
A, B = make_dna("histogram", 30), make_dna("histogram", 20, seed=1, shift=0.4)


def test_a_column_is_found_by_name_distance_or_itself() -> None:
    """Names of distances, their aliases and named columns are found; what is unknown answers with near names."""
    assert find_column("emd").distance is EMD
    assert find_column("layer_frechet").name == "lfd"
    assert find_column(JSD).distance is JSD
    column = Column("emd", layers=["norm"])
    assert find_column(column) is column
    assert list_columns() == [*REGISTERED, *NAMED]
    fid = find_column("fid")
    assert (fid.distance, fid.extractor, fid.layers, fid.label) == (LFD, "fid_inception", ("block_3",), "FID")
    with pytest.raises(ValueError, match="unknown distance 'fdi'; did you mean"):
        find_column("fdi")
    with registered(JSD):
        assert list_columns() == [*REGISTERED, "jsd", *NAMED]
        assert Column("jsd").unit == "nats"


@pytest.mark.parametrize("name", NAMED)
def test_named_columns_are_of_one_layer_of_a_known_network(name: str) -> None:
    """A named column is the layer Fréchet distance in the whole of a catalogue's network, or a layer that it has."""
    column = find_column(name)
    assert column.name == name
    assert column.distance is LFD
    spec = CATALOGUE[column.extractor]
    (layer,) = column.layers
    assert layer in spec.paths
    assert name == "fid" or list(spec.paths) == [layer]


@pytest.mark.parametrize("name", NAMED)
def test_names_of_columns_are_not_distances(name: str) -> None:
    """No distance can be registered under the name of a column."""
    assert name in RESERVED
    with pytest.raises(ValueError, match=f"the name '{name}' is that of a column"):
        register_distance(replace(JSD, name=name))


def test_a_column_is_a_value() -> None:
    """It cannot be changed, and another is made by `replace`, with everything else as it was."""
    column = Column("emd", layers=["norm", "conv1"], unit="range")
    with pytest.raises(AttributeError, match="cannot assign to field"):
        column.name = "other"  # type: ignore[misc]
    other = column.replace(name="mine", unit="activation")
    assert (other.name, other.unit, other.layers) == ("mine", "activation", ("norm", "conv1"))
    assert (column.name, column.unit, column.title, other.label) == ("emd", "range", "VDNA-EMD (range)", "VDNA-EMD")
    with pytest.raises(ValueError, match="unit must be one of"):
        column.replace(unit="metre")
    with pytest.raises(ValueError, match="nfd has no option 'unit'"):
        Column("nfd", unit="range")
    assert Column("nfd").unit == "squared activations"


@pytest.mark.parametrize(
    "options",
    [{}, {"layers": ["norm"]}, {"neurons": {"conv1": [3, 0]}}, {"unit": "range"},
     {"neurons": {"norm": [1]}, "weights": {"norm": [2.0]}}],
)  # fmt: skip
def test_a_column_measures_what_it_selects(options: dict[str, Any]) -> None:
    """Of whole DNAs, and of what it selects of them, it gives the distance with its arguments, whole and by layer."""
    column = Column("emd", **options)
    sides = column.select(A), column.select(B)
    assert column(A, B) == column(*sides)
    assert column.by_layer(A, B) == column.by_layer(*sides)
    assert column(*sides) == pytest.approx(float(EMD(A, B, **options)), rel=1e-12)
    found = column.by_layer(*sides)
    assert found == {layer: float(value) for layer, value in EMD(A, B, reduction="layer", **options).items()}
    shares = column.layer_shares(sides[0].layout)
    assert float(torch.tensor(list(found.values()), dtype=torch.float64) @ shares) == pytest.approx(column(*sides))


def test_layers_count_as_the_distance_says() -> None:
    """By their neurons where there are neurons, alike where the finest part is a layer; nothing where there is none."""
    assert Column("nfd").layer_shares(LAYOUT).tolist() == pytest.approx([4 / 9, 3 / 9, 2 / 9])
    assert Column("lfd").layer_shares(LAYOUT).tolist() == pytest.approx([1 / 3] * 3)
    assert Column("nfd", weights={"conv1": [1.0] * 4}).layer_shares(LAYOUT).tolist() == [1, 1, 1]
    assert Column(EVENNESS).by_layer(None, A) == {}
    assert Column(EVENNESS)(None, A) == float(EVENNESS(None, A))


def test_files_are_read_once(tmp_path: Path) -> None:
    """Selections and weights from files are values from then on."""
    selection = NeuronSelection.of(A, {"conv1": [1, 2]})
    part = A.select(neurons=selection)
    weights = NeuronWeights(part.layout, torch.tensor([1.0, 3.0]), part.fingerprint)
    files = selection.save(tmp_path / "s.npz"), weights.save(tmp_path / "w.npz")
    column = Column("emd", neurons=files[0], weights=files[1])
    for file in files:
        file.unlink()
    sides = column.select(A), column.select(B)
    assert column(*sides) == pytest.approx(float(EMD(A, B, neurons=selection, weights=weights)))


def test_groups_are_selected_too() -> None:
    """Of a grouped DNA every group is selected, and it is the same object where nothing is left out."""
    grouped = make_grouped("emd", 0)
    assert Column("emd").select(grouped) is grouped
    assert list(Column("emd", layers=["norm"]).select(grouped).layout) == ["norm"]


def test_the_best_has_the_lowest_key() -> None:
    """Values are sorted up where lower is better, down where higher is."""
    assert sorted([3.0, 1.0, 2.0], key=Column(NFD).sort_key) == [1, 2, 3]
    assert sorted([3.0, 1.0, 2.0], key=Column(EVENNESS).sort_key) == [3, 2, 1]


def test_there_may_be_no_default() -> None:
    """Where no distance takes the kinds with the parts that are asked for, both are said."""
    assert default_column(["features"]).name == "kid"
    assert default_column(["features", "histogram"]).name == "emd"
    with pytest.raises(ValueError, match="no distance by neuron takes DNAs of kind features"):
        default_column(["features"], per="neuron")
