"""Layouts and selections of neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from vdna_metrics.layout import NeuronLayout, near_names
from vdna_metrics.schema import typed

LAYOUT = NeuronLayout({"conv1": 4, "conv2": 3, "norm": 2})


@st.composite
def selections(draw: st.DrawFn, layout: NeuronLayout) -> dict[str, list[int]]:
    """``{layer: indices in the full layer}`` of some layers, in any order."""
    layers = draw(st.lists(st.sampled_from(list(layout)), min_size=1, unique=True))
    present = {layer: layout.neurons.get(layer, range(layout[layer])) for layer in layers}
    return {layer: draw(st.lists(st.sampled_from(present[layer]), min_size=1, unique=True)) for layer in layers}


def test_rows_of_layers_follow_each_other_in_order() -> None:
    """Slices of the layers cover the flat tensor once, in the layout's order."""
    slices = LAYOUT.slices()
    assert list(slices) == ["conv1", "conv2", "norm"]
    assert [row for rows in slices.values() for row in range(rows.start, rows.stop)] == list(range(LAYOUT.total))
    parts = LAYOUT.split(torch.arange(9))
    assert {layer: part.tolist() for layer, part in parts.items()} == {
        "conv1": [0, 1, 2, 3],
        "conv2": [4, 5, 6],
        "norm": [7, 8],
    }


def test_split_refuses_another_number_of_rows() -> None:
    """A tensor with another number of rows is not split."""
    with pytest.raises(ValueError, match=r"the layout has 9 neurons, the tensor 8 rows"):
        LAYOUT.split(torch.zeros(8))


def test_equality_minds_the_order_of_layers() -> None:
    """Two layouts are equal only when layers, counts, order and selected neurons are."""
    assert NeuronLayout({"a": 1, "b": 2}) == NeuronLayout({"a": 1, "b": 2})
    assert hash(NeuronLayout({"a": 1, "b": 2})) == hash(NeuronLayout({"a": 1, "b": 2}))
    assert NeuronLayout({"a": 1, "b": 2}) != NeuronLayout({"b": 2, "a": 1})
    assert NeuronLayout({"a": 1}) != NeuronLayout({"a": 2})
    assert NeuronLayout({"a": 1}) != NeuronLayout({"a": 1}, {"a": (3,)})
    assert NeuronLayout({"a": 1}) != {"a": 1}


@pytest.mark.parametrize(
    ("layers", "neurons", "message"),
    [
        ({}, {}, r"a layout needs at least one layer, got none"),
        ({"a" * 5000: 1}, {}, r"expected names of layers of at most 1000 letters, got 'a{80}'\.\.\."),
        ({"a": 0}, {}, r"layer 'a' needs at least one neuron, got 0"),
        ({"a": 2}, {"a": (1,)}, r"layer 'a' has 2 neurons but 1 neuron indices"),
    ],
)
def test_impossible_layouts_are_refused(layers: dict[str, int], neurons: dict[str, tuple[int]], message: str) -> None:
    """A layout has layers, every layer has neurons, and indices are as many as neurons."""
    with pytest.raises(ValueError, match=message):
        NeuronLayout(layers, neurons)


def test_layers_keep_the_network_order() -> None:
    """Selected layers come in the network's order, whatever the order asked for."""
    assert list(LAYOUT.select(["norm", "conv1"])) == ["conv1", "norm"]
    assert LAYOUT.select("conv2") == NeuronLayout({"conv2": 3})
    assert LAYOUT.select() == LAYOUT


def test_neurons_keep_the_order_asked_for() -> None:
    """Selected neurons come in the order asked for; layers of `layers` without indices are kept whole."""
    selection = LAYOUT.select(["conv1", "conv2"], {"conv2": [2, 0]})
    assert dict(selection) == {"conv1": 4, "conv2": 2}
    assert selection.neurons == {"conv2": (2, 0)}


def test_neurons_alone_choose_their_layers() -> None:
    """Without `layers`, only the layers named in `neurons` are kept."""
    assert list(LAYOUT.select(neurons={"norm": [1], "conv1": [0]})) == ["conv1", "norm"]


@pytest.mark.parametrize("indices", [(2, 0), np.array([2, 0]), torch.tensor([2, 0]), np.array([2, 0], np.uint8)])
def test_indices_come_as_sequence_array_or_tensor(indices: object) -> None:
    """Indices may be a sequence, an array or a tensor of integers."""
    assert LAYOUT.select(neurons={"conv1": indices}).neurons == {"conv1": (2, 0)}  # type: ignore[dict-item]


def test_all_neurons_in_order_are_the_whole_layer() -> None:
    """Selecting every neuron in order is no selection."""
    assert LAYOUT.select(neurons={"norm": [0, 1]}) == LAYOUT.select(["norm"])


@given(st.data())
def test_neurons_keep_their_ids_through_repeated_selections(data: st.DataObject) -> None:
    """A selection of a selection names the neurons by their indices in the full layer, and finds the same values."""
    values = torch.arange(LAYOUT.total)
    first = data.draw(selections(LAYOUT))
    once = LAYOUT.select(neurons=first)
    second = data.draw(selections(once))
    twice = once.select(neurons=second)
    chosen = values[LAYOUT.rows_of(once)][once.rows_of(twice)]
    expected = [LAYOUT.slices()[layer].start + i for layer in LAYOUT if layer in second for i in second[layer]]
    assert chosen.tolist() == expected
    assert {layer: list(twice.neurons.get(layer, range(count))) for layer, count in twice.items()} == second


@given(st.data())
def test_pick_and_rows_choose_the_same_neurons(data: st.DataObject) -> None:
    """`pick` on activations and `rows_of` on flat tensors keep the same neurons."""
    selection = LAYOUT.select(neurons=data.draw(selections(LAYOUT)))
    values = torch.arange(LAYOUT.total)
    picked = torch.cat(list(selection.pick(LAYOUT.split(values)).values()))
    assert torch.equal(picked, values[LAYOUT.rows_of(selection)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["conv3"]}, r"layers: unknown layer 'conv3'; did you mean 'conv\d' or 'conv\d'\?"),
        ({"neurons": {"nrom": [0]}}, r"neurons: unknown layer 'nrom'; did you mean 'norm'\?"),
        ({"layers": ["xyz"]}, r"layers: unknown layer 'xyz'; known: conv1, conv2, norm"),
        ({"layers": []}, r"a layout needs at least one layer, got none"),
        ({"neurons": {"conv1": [4]}}, r"layer 'conv1' has no neuron 4; it has 4 neurons, 0 to 3"),
        ({"neurons": {"conv1": [-1]}}, r"layer 'conv1' has no neuron -1; it has 4 neurons, 0 to 3"),
        ({"neurons": {"conv1": [1, 1]}}, r"neurons of layer 'conv1' must be distinct and not empty, got \[1, 1\]"),
        ({"neurons": {"conv1": []}}, r"neurons of layer 'conv1' must be distinct and not empty, got \[\]"),
        (
            {"layers": ["conv1"], "neurons": {"conv2": [0]}},
            r"neurons are given for layer 'conv2', which layers=\['conv1'\] leaves out",
        ),
    ],
)
def test_impossible_selections_are_refused(options: dict[str, object], message: str) -> None:
    """Unknown layers and neurons, repeated and missing indices are named, with near names."""
    with pytest.raises(ValueError, match=message):
        LAYOUT.select(**options)  # type: ignore[arg-type]


def test_a_neuron_that_was_left_out_cannot_be_selected() -> None:
    """A selection's other neurons are gone."""
    with pytest.raises(ValueError, match=r"layer 'conv1' has no neuron 0; it has 2 neurons \(a selection\)"):
        LAYOUT.select(neurons={"conv1": [3, 1]}).select(neurons={"conv1": [0]})


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([False, True, False, True], r"must be indices, got torch.bool; mask.nonzero\(\) gives those of a mask"),
        ([0.0, 1.5], r"must be indices, got torch.float32"),
    ],
)
def test_masks_and_fractions_are_no_indices(indices: list[float], message: str) -> None:
    """A mask, which would be read as the neurons 0 and 1, and fractional indices are refused."""
    with pytest.raises(TypeError, match=message):
        LAYOUT.select(neurons={"conv1": indices})  # type: ignore[dict-item]


def test_flatten_puts_layers_in_order() -> None:
    """Values a layer, in any order and container, become one flat float64 tensor in the layout's order."""
    flat = LAYOUT.flatten({"norm": [7, 8], "conv1": np.arange(4), "conv2": torch.tensor([4.0, 5.0, 6.0])})
    assert flat.dtype == torch.float64
    assert flat.tolist() == list(range(9))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"conv1": [0] * 4, "conv2": [0] * 3}, r"weights miss layer 'norm'; they have: conv1, conv2"),
        ({"conv1": [0] * 4, "conv2": [0] * 2, "norm": [0] * 2}, r"weights of layer 'conv2': 2 given, the layer has 3"),
        ({"conv1": [0] * 4, "conv4": [0] * 3, "norm": [0] * 2}, r"weights: unknown layer 'conv4'; did you mean"),
    ],
)
def test_flatten_refuses_what_does_not_fit(values: dict[str, list[int]], message: str) -> None:
    """Missing and unknown layers and other numbers of neurons are named."""
    with pytest.raises(ValueError, match=message):
        LAYOUT.flatten(values, what="weights")


@given(st.data())
def test_json_and_back(data: st.DataObject) -> None:
    """Plain containers hold all of a layout."""
    selection = LAYOUT.select(neurons=data.draw(selections(LAYOUT)))
    assert typed(NeuronLayout, selection.to_json()) == selection


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("mugs", ["vgg16", "mugs_vit_large", "mugs_vit_base"], "did you mean 'mugs_vit_base' or 'mugs_vit_large'?"),
        ("ResNet50", ["dino_resnet50", "vgg16"], "did you mean 'dino_resnet50'?"),
        ("layer4.0", ["", "layers", "net.layer3.0", "net.layer4.0.conv", "net.layer4.0"],
         "did you mean 'net.layer4.0' or 'net.layer4.0.conv' or 'layers'?"),
        ("", ["vgg16"], "known: vgg16"),
        ("a(", ["vgg16"], "known: vgg16"),
    ],
)  # fmt: skip
def test_near_names_have_the_name_as_a_part(name: str, known: list[str], message: str) -> None:
    """Who writes a part of a name, or the end of a path, is told the whole; the shortest first."""
    assert near_names(name, known) == message


def test_near_names_lists_a_few_of_many() -> None:
    """Where nothing is near, the first names are listed, and it shows when there are more."""
    assert near_names("zzz", [f"layer{i}" for i in range(20)]).endswith("layer7, ...")
    assert near_names("zzz", []) == "known: none"
