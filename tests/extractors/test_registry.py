"""Names, specs and modules to extractors."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from vdna_metrics import ExtractorSpec, create_extractor, list_extractors
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.registry import automatic_layers, extractor_and_layout, get_spec

SPEC = ExtractorSpec("r", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0")


@pytest.fixture(scope="module")
def vit_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small timm network, as a file."""
    path = tmp_path_factory.mktemp("weights") / "vit.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    return path


def test_the_catalogue_is_listed() -> None:
    """All names of the catalogue are listed in order, those of the first issue among them."""
    assert list_extractors() == sorted(CATALOGUE)
    wanted = {"seeded_resnet18", "seeded_resnet50", "inception", "dino_vit_base", "mugs_vit_base", "vgg16"}
    assert wanted <= set(list_extractors())


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_catalogue_layers_exist(name: str) -> None:
    """Every layer of the catalogue is a module of its architecture."""
    from vdna_metrics.extractors.architectures import build_architecture

    spec = CATALOGUE[name]
    with torch.device("meta"):
        modules = dict(build_architecture(spec.architecture, spec.architecture_kwargs).named_modules())
    assert set(spec.paths.values()) <= set(modules)


def test_a_spec_is_built_once() -> None:
    """Equal specs give one extractor for as long as somebody holds it, and not longer."""
    first = create_extractor(SPEC)
    assert (
        create_extractor(ExtractorSpec("r", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0")) is first
    )
    gone = weakref.ref(first.network)
    del first
    gc.collect()
    assert gone() is None


def test_a_module_is_wrapped_once() -> None:
    """The same module with the same layers gives one extractor, another module or other layers another."""
    network, twin = nn.Sequential(nn.Conv2d(3, 2, 1)), nn.Sequential(nn.Conv2d(3, 2, 1))
    extractor = create_extractor(network, layers=["0"])
    assert create_extractor(network, layers=["0"]) is extractor
    assert create_extractor(network) is not extractor
    assert create_extractor(twin, layers=["0"]) is not extractor
    assert extractor.network is network


def test_an_extractor_is_returned_as_it_is() -> None:
    """An extractor given as extractor is itself."""
    extractor = create_extractor(SPEC)
    assert create_extractor(extractor) is extractor


def test_specs_of_other_names_are_apart() -> None:
    """A spec keeps its name although an equal network of another name is alive."""
    first = create_extractor(SPEC)
    second = create_extractor(ExtractorSpec("s", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0"))
    assert (first.name, second.name) == ("r", "s")
    assert first.fingerprint == second.fingerprint


def test_a_module_without_layers_is_read_at_its_output() -> None:
    """A module's output is its layer `output` unless layers are named."""
    extractor = create_extractor(nn.AvgPool2d(2))
    assert dict(extractor.layout) == {"output": 3}


def test_layers_of_a_module_may_be_named() -> None:
    """A mapping gives layers names of the user's own."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    assert dict(create_extractor(network, layers={"a": "0", "b": "1"}).layout) == {"a": 4, "b": 2}


def test_timm_names_bring_their_configuration(vit_weights: Path) -> None:
    """`timm:NAME` takes input size and normalisation from timm, and blocks and final norm as layers."""
    extractor = create_extractor("timm:test_vit.r160_in1k", weights_path=vit_weights)
    config = timm.get_pretrained_cfg("test_vit.r160_in1k")
    assert extractor.preprocess.size == config.input_size[1:]
    assert extractor.preprocess.mean == config.mean
    assert extractor.preprocess.std == config.std
    assert list(extractor.layout) == [*(f"blocks.{i}" for i in range(6)), "norm"]
    assert extractor.name == "timm:test_vit.r160_in1k"


def test_timm_layers_are_module_paths(vit_weights: Path) -> None:
    """Layers of a `timm:` name are chosen by their module paths."""
    extractor = create_extractor("timm:test_vit", layers=["blocks.1.mlp", "patch_embed"], weights_path=vit_weights)
    assert list(extractor.layout) == ["patch_embed", "blocks.1.mlp"]  # in the network's order


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("test_resnet", ["act1", "layer1", "layer2", "layer3", "layer4"]),
        ("test_convnext", ["stages.0", "stages.1", "stages.2", "stages.3", "head.norm"]),
        ("test_vit", [*(f"blocks.{i}" for i in range(6)), "norm"]),
    ],
)
def test_automatic_layers(architecture: str, expected: list[str]) -> None:
    """Without layers, a timm network is read at its stages or blocks and at its final norm."""
    assert automatic_layers(timm.create_model(architecture)) == expected


def test_layers_are_selected_where_an_extractor_has_its_own() -> None:
    """Names among a spec's layers select; for modules and timm names they are module paths; a text is one name."""
    extractor, layout = extractor_and_layout(SPEC, ["layer2"], {"layer2": [1]})
    assert extractor is create_extractor(SPEC)
    assert (dict(layout), layout.neurons) == ({"layer2": 1}, {"layer2": (1,)})
    assert list(extractor_and_layout(SPEC, "layer2")[1]) == ["layer2"]
    assert list(extractor_and_layout(nn.Sequential(nn.Conv2d(3, 2, 1)), "0")[1]) == ["0"]


def test_a_weights_file_replaces_the_source(tmp_path: Path) -> None:
    """weights_path stands in for the spec's source, whose published sha256 is then not asked for."""
    spec = get_spec("inception", weights_path=tmp_path / "mine.pth")
    assert spec.weights == str(tmp_path / "mine.pth")
    assert spec.sha256 is None
    assert CATALOGUE["inception"].sha256 is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("seeded_resnet81", r"unknown extractor 'seeded_resnet81'; did you mean 'seeded_resnet18' or .*or 'timm:NAME'"),
        ("zzz", "unknown extractor 'zzz'; known: dino_vit_base, inception"),
        ("timm:resnet5", "unknown architecture 'resnet5'; did you mean 'resnet50'"),
        ("timm:test_vitt", "unknown architecture 'test_vitt'; did you mean 'test_vit"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(name: str, message: str) -> None:
    """An unknown extractor or architecture is an error that names near ones."""
    with pytest.raises(ValueError, match=message):
        create_extractor(name)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["layer1.0.conv"], "no module 'layer1.0.conv'; did you mean 'layer1.0.conv"),
        ({"a": "layer9"}, "layer 'a' of 'r': no module 'layer9'; did you mean 'layer"),
    ],
)
def test_unknown_module_paths_are_answered_with_near_ones(layers: object, message: str) -> None:
    """An unknown module path is an error that names near ones."""
    with pytest.raises(ValueError, match=message):
        create_extractor(ExtractorSpec("r", "test_resnet", layers, size=32, weights="seeded:0"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"extractor": 7}, TypeError, "an extractor is a name, an ExtractorSpec, .* got int"),
        ({"extractor": SPEC, "layers": ["layer1"]}, ValueError, "layers can be chosen for timm:NAME and modules"),
        ({"extractor": "inception", "layers": ["block_0"]}, ValueError, "'inception' has its own: select among them"),
        ({"extractor": nn.AvgPool2d(2), "weights_path": "w.pth"}, ValueError, "weights_path is for extractors by name"),
        ({"extractor": nn.AvgPool2d(2), "layers": ["x"]}, ValueError, "no module 'x'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    """Things that are no extractor, and arguments that an extractor cannot take, are errors."""
    with pytest.raises(error, match=message):
        create_extractor(**arguments)


def test_unknown_layers_of_the_catalogue_are_answered_with_near_ones() -> None:
    """An unknown layer of a known extractor is an error that names near ones."""
    with pytest.raises(ValueError, match="unknown layer 'layer3'; did you mean 'layer"):
        extractor_and_layout(SPEC, ["layer3"])


def test_networks_that_do_not_name_their_stages_are_refused() -> None:
    """A network without stages or blocks needs layers, and the error shows some of its modules."""
    with pytest.raises(ValueError, match=r"Sequential does not say what its stages are: choose layers=.*'0'"):
        automatic_layers(nn.Sequential(nn.Conv2d(3, 2, 1)))
