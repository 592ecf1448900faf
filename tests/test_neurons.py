"""Selections and weights of neurons: set laws, files, and where they are taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.dnas import KINDS, LAYOUT, make_dna, make_fingerprint, tiny_extractor
from hypothesis import given, strategies as st
from torch import nn

from vdna_metrics import (
    FrechetInceptionDistance,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    NeuronSelection,
    NeuronWeights,
    build_dnas,
    compare,
    load_selection,
    load_weights,
)
from vdna_metrics.layout import NeuronLayout

FILES = Path(__file__).parent / "files"
DISTANCES: dict[str, Callable[..., Any]] = {
    "histogram": compare.emd,
    "gaussian": compare.neuron_frechet,
    "layer_gaussian": compare.layer_frechet,
}
SOME = {"conv1": (0, 2, 3), "norm": (1,)}


def _selection(mask: list[bool]) -> NeuronSelection:
    return NeuronSelection(LAYOUT, torch.tensor(mask), make_fingerprint())


def _some() -> NeuronSelection:
    return NeuronSelection.of(make_dna("gaussian"), SOME)


def _weights(**changes: Any) -> NeuronWeights:
    options = {"layout": LAYOUT, "values": torch.linspace(-1, 2, LAYOUT.total), "fingerprint": make_fingerprint()}
    return NeuronWeights(**{**options, "made": {"method": "by hand"}, **changes})


selections = st.lists(st.booleans(), min_size=LAYOUT.total, max_size=LAYOUT.total).map(_selection)


@given(selections, selections, selections)
def test_set_laws(a: NeuronSelection, b: NeuronSelection, c: NeuronSelection) -> None:
    """Selections are sets: the laws of `&`, `|`, `-`, `~` and `len` hold, and so does equality's of hashes."""
    assert a & b == b & a
    assert a | b == b | a
    assert (a & b) & c == a & (b & c)
    assert (a | b) | c == a | (b | c)
    assert a & (b | c) == (a & b) | (a & c)
    assert ~(a & b) == ~a | ~b
    assert a - b == a & ~b
    assert a & a == a | a == ~~a == a
    assert len(a | b) == len(a) + len(b) - len(a & b)
    assert len(a) + len(~a) == LAYOUT.total
    assert len(a) == sum(a.per_layer.values()) == sum(map(len, a.neurons.values()))
    assert hash(a & b) == hash(b & a)


@given(selections, st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_selections_come_back_from_files(tmp_path_factory: Any, a: NeuronSelection, made: dict[str, Any]) -> None:
    """A file gives back the neurons, layout, fingerprint and how they were made."""
    written = NeuronSelection(a.layout, a.mask, a.fingerprint, made).save(tmp_path_factory.mktemp("s") / "a.b")
    loaded = load_selection(written)
    assert written.name == "a.b.npz"
    assert loaded == a
    assert (loaded.neurons, loaded.fingerprint, loaded.made) == (a.neurons, a.fingerprint, made)


@pytest.mark.parametrize("per", ["neuron", "layer"])
def test_weights_come_back_from_files(tmp_path: Path, per: Any) -> None:
    """A file gives back every bit of the weights, what they are of, and how they were made."""
    values = torch.randn(LAYOUT.total if per == "neuron" else len(LAYOUT), dtype=torch.float64)
    weights = _weights(values=values, per=per)
    loaded = load_weights(weights.save(tmp_path / "w.npz"))
    assert torch.equal(loaded.values, values)
    assert (loaded.layout, loaded.fingerprint, loaded.per, loaded.made) == (
        LAYOUT, weights.fingerprint, per, {"method": "by hand"},
    )  # fmt: skip


def test_files_of_the_first_schema_are_read() -> None:
    """Files that the first version wrote are read for ever."""
    selection = load_selection(FILES / "schema1_selection.npz")
    assert (selection, selection.made) == (_some(), {"method": "indices"})
    weights = load_weights(FILES / "schema1_weights.npz")
    assert torch.equal(weights.values, _weights().values)
    assert (weights.layout, weights.fingerprint, weights.per) == (LAYOUT, make_fingerprint(), "neuron")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Weights are no selection, and neither is a DNA: the message says what the file holds."""
    with pytest.raises(ValueError, match=r"expected 'selection', .* holds 'weights'"):
        load_selection(_weights().save(tmp_path / "w"))
    with pytest.raises(ValueError, match=r"expected 'weights', .* holds 'gaussian'"):
        load_weights(make_dna("gaussian").save(tmp_path / "d"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_file", [False, True])
def test_distances_take_selections(tmp_path: Path, kind: str, as_file: bool) -> None:
    """A selection, or the path of its file, compares what its indices do."""
    a, b = make_dna(kind), make_dna(kind, seed=1)  # type: ignore[arg-type]
    neurons: Any = _some().save(tmp_path / "s") if as_file else _some()
    assert DISTANCES[kind](a, b, neurons=neurons) == DISTANCES[kind](a, b, neurons=SOME)
    assert a.select(neurons=neurons).layout == a.layout.select(neurons=SOME)
    assert a.select(["conv1", "norm", "conv2"], neurons).layout["conv2"] == LAYOUT["conv2"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_file", [False, True])
def test_distances_take_weights(tmp_path: Path, kind: str, as_file: bool) -> None:
    """Weights, or the path of their file, weigh as `{layer: values}` does."""
    a, b = make_dna(kind), make_dna(kind, seed=1)  # type: ignore[arg-type]
    given = _weights(values=torch.tensor([0.5, 0.0, 2.0]), per="layer") if kind == "layer_gaussian" else _weights()
    weights: Any = given.save(tmp_path / "w") if as_file else given
    assert DISTANCES[kind](a, b, weights=weights) == DISTANCES[kind](a, b, weights=given.by_layer)


def test_metrics_take_both(tmp_path: Path) -> None:
    """A metric with a selection and weights gives what `compare` gives of its DNAs."""
    network = tiny_extractor()
    selection = NeuronSelection.of(network, {"second": [4, 0, 1]})
    layout = network.layout.select(neurons=selection.neurons)
    weights = NeuronWeights(layout, torch.tensor([1.0, -1.0, 3.0]), network.fingerprint.select(["second"]))
    metric = NeuronFrechetDistance(
        network, neurons=selection.save(tmp_path / "s"), weights=weights.save(tmp_path / "w")
    )
    images = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8)
    metric.update(images[0], real=True)
    metric.update(images[1])
    a, b = (build_dnas(part, network, ["gaussian"])["gaussian"] for part in images)
    expected = compare.neuron_frechet(a, b, neurons={"second": [0, 1, 4]}, weights={"second": [1.0, -1.0, 3.0]})
    torch.testing.assert_close(metric.compute(), expected, check_dtype=False)  # type: ignore[arg-type]
    built = build_dnas(images[0], network, ["gaussian"], neurons=selection)["gaussian"]
    assert built.layout == layout == metric.layout


def test_the_inception_distance_takes_a_selection() -> None:
    """FID takes a selection as it takes indices."""
    features = nn.Sequential(nn.AvgPool2d(8), nn.Flatten())
    options: Any = {"feature": features, "input_img_size": (3, 8, 8), "normalize": True}
    by_indices = FrechetInceptionDistance(**options, neurons=[0, 2])
    selection = NeuronSelection.of(by_indices.extractor, {"output": [2, 0]})
    assert FrechetInceptionDistance(**options, neurons=selection).layout == by_indices.layout


_OTHER = "neurons of another network: weights differ: {} abababababab, extractor cdcdcdcdcdcd"


def test_another_network_is_refused(tmp_path: Path) -> None:
    """What was made for one network is refused with another, and both sides are shown."""
    a, b = (make_dna("gaussian", seed=seed, fingerprint=make_fingerprint(weights="cd" * 32)) for seed in (0, 1))
    for neurons in (_some(), _some().save(tmp_path / "s")):
        with pytest.raises(ValueError, match=_OTHER.format("selection")):
            compare.neuron_frechet(a, b, neurons=neurons)
    for weights in (_weights(), _weights().save(tmp_path / "w")):
        with pytest.raises(ValueError, match=_OTHER.format("weights")):
            compare.neuron_frechet(a, b, weights=weights)
    network = tiny_extractor()
    with pytest.raises(ValueError, match="architecture differ: selection tiny, extractor"):
        NeuronFrechetDistance(network, neurons=_some())
    with pytest.raises(ValueError, match="architecture differ: weights tiny, extractor"):
        LayerFrechetDistance(network, weights=_weights())
    with pytest.raises(ValueError, match="architecture differ: selection tiny, extractor"):
        build_dnas(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), network, ["gaussian"], neurons=_some())


def test_an_empty_selection_is_no_use() -> None:
    """Nothing selected is not everything: it is refused where it is used."""
    with pytest.raises(ValueError, match="nothing to look at: NeuronSelection\\(0 of 9 neurons of tiny\\)"):
        make_dna("gaussian").select(neurons=_some() - _some())


def test_weights_of_other_neurons_are_refused() -> None:
    """Weights go with the very neurons that they were made for, and a weight a neuron is not one a layer."""
    a, b = make_dna("gaussian"), make_dna("gaussian", seed=1)
    with pytest.raises(
        ValueError, match=r"weights conv1 4, conv2 3, norm 2, compared conv1 3 selected, norm 1 selected"
    ):
        compare.neuron_frechet(a, b, neurons=_some(), weights=_weights())
    a, b = make_dna("layer_gaussian"), make_dna("layer_gaussian", seed=1)
    with pytest.raises(ValueError, match="what is weighed differ: weights neurons, compared layers"):
        compare.layer_frechet(a, b, weights=_weights())


def test_selections_of_other_neurons_do_not_combine() -> None:
    """Set operations want one network and one layout, and show both sides."""
    part = NeuronSelection.of(make_dna("gaussian").select(["conv1"]))
    with pytest.raises(ValueError, match="layouts differ: first conv1 4, conv2 3, norm 2, second conv1 4"):
        _ = _some() | part
    other = NeuronSelection(LAYOUT, _some().mask, make_fingerprint(architecture="other"))
    with pytest.raises(ValueError, match="architecture differ: first tiny, second other"):
        _ = _some() & other
    assert other != _some()


def test_selections_of_a_selection_keep_the_full_indices() -> None:
    """Of a DNA of some neurons, indices stay those of the full layers."""
    part = make_dna("gaussian").select(neurons={"conv1": [3, 1], "norm": [0]})
    selection = NeuronSelection.of(part, {"conv1": [1]})
    assert selection.neurons == {"conv1": (1,)}
    assert (~selection).neurons == {"conv1": (3,), "norm": (0,)}
    assert part.select(neurons=selection).layout == NeuronLayout({"conv1": 1}, {"conv1": (1,)})


def test_values_are_checked() -> None:
    """Masks are bool and of the layout's size, weights finite and one a neuron or layer."""
    with pytest.raises(TypeError, match=r"a mask is bool, got torch\.int64"):
        NeuronSelection(LAYOUT, torch.ones(9, dtype=torch.int64), make_fingerprint())
    with pytest.raises(ValueError, match=r"the layout has 9 neurons, the mask \[8\]"):
        _selection([True] * 8)
    with pytest.raises(ValueError, match=r"expected 3 weights, one a layer, got \[9\]"):
        _weights(per="layer")
    with pytest.raises(ValueError, match="weights must be finite, 1 are not"):
        _weights(values=torch.tensor([0.0] * 8 + [torch.nan]))


def test_how_combinations_were_made_is_kept() -> None:
    """A combination tells what it was made of."""
    assert (~_some() - _some()).made == {
        "method": "without",
        "of": [{"method": "not", "of": [{"method": "indices"}]}, {"method": "indices"}],
    }
    assert repr(_some()) == "NeuronSelection(4 of 9 neurons of tiny: conv1 3, norm 1)"
    assert repr(_weights()) == "NeuronWeights(9 neurons of tiny, -1 to 2)"
