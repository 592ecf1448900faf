"""Names, specs and modules to extractors."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from vdna_metrics import ExtractorSpec, create_extractor, list_extractors
from vdna_metrics.extractors.architectures import build_architecture, torchvision_names
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.network import FeatureExtractor
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


AUTOMATIC = {
    "test_resnet": {"act1": 32, "layer1": 32, "layer2": 48, "layer3": 192, "layer4": 96},
    "test_byobnet": {"stem": 24, "stages.0": 32, "stages.1": 64, "stages.2": 128, "final_conv": 256},
    "test_convnext": {"stages.0": 24, "stages.1": 32, "stages.2": 48, "stages.3": 64, "head.norm": 64},
    "test_efficientnet": {"blocks.0": 16, "blocks.1": 24, "blocks.2": 32, "blocks.3": 48, "blocks.4": 64},
    "test_maxvit": {"stem": 32, "stages.0": 32, "stages.1": 64, "stages.2": 96, "stages.3": 128, "norm": 128},
    "test_vit": {**{f"blocks.{i}": 64 for i in range(6)}, "norm": 64},
    "test_vit2": {**{f"blocks.{i}": 64 for i in range(8)}, "fc_norm": 64},  # whose norm is an identity
    # Channels last, as timm says.
    "swin_tiny_patch4_window7_224": {"layers.0": 96, "layers.1": 192, "layers.2": 384, "layers.3": 768, "norm": 768},
    # Lists of branches, without a statement of their channels.
    "hrnet_w18_small": {
        "layer1": 128, **{f"stage{s}[{b}]": 16 * 2**b for s in (2, 3, 4) for b in range(s)}
    },
    # Lists of two scales, whose channels timm states.
    "crossvit_9_240": {
        **{f"blocks.{i}[{b}]": 128 * 2**b for i in range(3) for b in range(2)}, "norm.0": 128, "norm.1": 256
    },
    # A tensor and its height and width.
    "mvitv2_tiny": {**{f"stages.{i}[0]": 96 * 2**i for i in range(4)}, "norm": 768},
    # Windows, not images first, and then tokens.
    "tnt_s_legacy_patch16_224": {**{f"blocks.{i}[1]": 384 for i in range(12)}, "norm": 384},
    # Lists of modules that are not run themselves.
    "twins_svt_small": {
        **{f"blocks.{i}.{j}": 64 * 2**i for i, depth in enumerate((2, 2, 10, 4)) for j in range(depth)}, "norm": 512
    },
    # A last norm that has its channels last, where the levels have them first.
    "nest_tiny": {"levels.0": 96, "levels.1": 192, "levels.2": 384},
}  # fmt: skip


@pytest.mark.parametrize("architecture", AUTOMATIC)
def test_automatic_layers(architecture: str) -> None:
    """Without layers, a timm network is read at its stages or blocks and at its final norm."""
    if not timm.is_model(architecture):
        pytest.skip(f"timm {timm.__version__} has no {architecture}")
    size = timm.get_pretrained_cfg(architecture).input_size[1:]
    with torch.device("meta"):
        network, probe = timm.create_model(architecture).eval(), torch.zeros(1, 3, *size)
        layers = automatic_layers(network, probe)
        extractor = FeatureExtractor(network, ExtractorSpec("n", architecture, layers, size), "0" * 64, probe)
    assert dict(extractor.layout) == AUTOMATIC[architecture]


def test_channels_last_without_a_word_are_refused() -> None:
    """Stages that give their channels last are an error, not read wrong, where timm does not mark the network so."""
    with torch.device("meta"):
        network = timm.create_model("volo_d1_224").eval()
        with pytest.raises(ValueError, match=r"network.0 of VOLO has its 192 channels last, \(1, 28, 28, 192\)"):
            automatic_layers(network, torch.zeros(1, 3, 224, 224))


def test_a_timm_architecture_takes_arguments(tmp_path: Path) -> None:
    """architecture_kwargs change a `timm:` network, and its fingerprint with it."""
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", act_layer="silu").state_dict(), path)
    extractor = create_extractor("timm:test_resnet", weights_path=path, architecture_kwargs={"act_layer": "silu"})
    assert isinstance(extractor.network.act1, nn.SiLU)
    assert extractor.fingerprint.architecture == 'test_resnet({"act_layer": "silu"})'
    assert create_extractor("timm:test_resnet", weights_path=path) is not extractor


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
        ("seeded_resnet81", r"'seeded_resnet81' \('timm:NAME' .* one's own\); did you mean 'seeded_resnet"),
        ("zzz", r"unknown extractor 'zzz' \('timm:NAME' and 'torchvision:NAME' .*\); known: clip_im_vit_b16, "),
        ("resnet50.a1_in1k", "unknown extractor 'resnet50.a1_in1k'; timm's network of that name is 'timm:resnet50.a1_"),
        ("timm:resnet5", "unknown architecture 'resnet5'; did you mean 'resnet50'"),
        ("torchvision:resnet51", "torchvision has no network 'resnet51'; did you mean 'resnet50'"),
        ("torchvision:fcn_resnet50", "torchvision has no network 'fcn_resnet50'; did you mean"),  # does not classify
        ("torchvision:resnet18.IMAGENET", "no weights 'IMAGENET' of 'resnet18'; did you mean 'IMAGENET1K_V1'"),
        (
            "timm:test_resnet.no",
            r"timm has no weights of 'test_resnet\.no', it has: test_resnet\.r160_in1k; a local .*",
        ),
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
        ({"extractor": "vgg16", "architecture_kwargs": {}}, ValueError, "are for timm:NAME, .* 'vgg16' has its own"),
        (
            {"extractor": "vdna_tiny", "size": 64},
            ValueError,
            "size, mean, std and preprocessing are for modules, 'vdna_tiny' has its own",
        ),
        ({"extractor": SPEC, "architecture_kwargs": {}}, ValueError, "are for names, ExtractorSpec has its own"),
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
        automatic_layers(nn.Sequential(nn.Conv2d(3, 2, 1)), torch.zeros(1, 3, 8, 8))


# -------------------------------------------------------------------------------------------------------- torchvision
def _weights_of_torchvision() -> list[str]:
    every = [(name, weights) for name in torchvision_names() for weights in models.get_model_weights(name)]
    # Those of regnets cannot be built without values; inception's and googlenet's numbers leave out what is trained on.
    return [
        f"{name}.{weights.name}"
        for name, weights in every
        if not name.startswith(("regnet", "inception", "googlenet")) and weights.meta["num_params"] < 90e6
    ]


@pytest.mark.parametrize("name", _weights_of_torchvision())
def test_weights_of_torchvision_have_their_network(name: str) -> None:
    """Each of torchvision's weights has as many numbers as the network that its name builds, and its own size."""
    spec = get_spec(f"torchvision:{name}")
    model, _, tag = name.partition(".")
    weights = models.get_model_weights(model)[tag]
    with torch.device("meta"):
        network = build_architecture(spec.architecture, spec.architecture_kwargs)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights.meta["num_params"]
    assert spec.weights == weights.url
    assert spec.size == tuple([*weights.transforms().crop_size] * 2)[:2]
    assert spec.sha256 in (None, *weights.url.replace(".pth", "").split("-"))


def test_a_network_of_torchvision(tmp_path: Path) -> None:
    """Its default weights are those of torchvision, from a file here; layers are its stages, or chosen."""
    network = models.resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    extractor = create_extractor("torchvision:resnet18", weights_path=tmp_path / "resnet18.pth")
    assert dict(extractor.layout) == {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
    assert extractor.fingerprint.architecture == "torchvision:resnet18"
    assert extractor.preprocess.id == CATALOGUE["seeded_resnet18"].preprocess.id
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    seen = extractor.preprocess(images)
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1"):
        seen = getattr(network.eval(), name)(seen)
    torch.testing.assert_close(extractor(images)["layer1"], seen.permute(1, 0, 2, 3).flatten(2))
    chosen = create_extractor("torchvision:resnet18", layers=["fc"], weights_path=tmp_path / "resnet18.pth")
    assert dict(chosen.layout) == {"fc": 1000}
    assert get_spec("torchvision:resnet50.IMAGENET1K_V1").sha256 == "0676ba61"


def test_a_drawn_network_of_torchvision() -> None:
    """As an architecture of a spec it takes drawn weights, which need no download."""
    spec = ExtractorSpec("mine", "torchvision:squeezenet1_1", ["features.3"], size=32, weights="seeded:0")
    assert create_extractor(spec).fingerprint.weights == create_extractor(replace(spec, name="b")).fingerprint.weights


OF_TORCHVISION = {
    "vit_b_16": ({f"encoder.layers.encoder_layer_{i}": 768 for i in range(12)} | {"encoder.ln": 768}, 12),
    "swin_t": ({"features.1": 96, "features.7": 768, "norm": 768}, 8),
    "convnext_tiny": ({"features.1": 96, "features.7": 768}, 8),
    "mobilenet_v2": ({"features.0": 32, "features.18": 1280}, 19),
    "maxvit_t": ({"blocks.0": 64, "blocks.3": 512}, 4),
}


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_automatic_layers_of_torchvision(name: str) -> None:
    """Blocks, stages or features are read, of Swin with their channels last."""
    spec = get_spec(f"torchvision:{name}")
    with torch.device("meta"):
        network = build_architecture(spec.architecture, spec.architecture_kwargs).eval()
        probe = torch.zeros(1, 3, *spec.size)  # type: ignore[misc]
        layers = automatic_layers(network, probe)
        found = FeatureExtractor(network, replace(spec, layers=layers), "0" * 64, probe).layout
    some, least = OF_TORCHVISION[name]
    assert {layer: found[layer] for layer in some} == some
    assert len(found) >= least


# ---------------------------------------------------------------------------------------------- how images come into it
def test_a_crop_makes_another_extractor() -> None:
    """A crop is for every name, spec and module with a size, and part of the fingerprint; none is as it was."""
    plain = create_extractor(SPEC)
    assert create_extractor(SPEC, crop="none") is plain
    cropped = create_extractor(SPEC, crop="center")
    assert cropped.fingerprint.differences(plain.fingerprint) == [
        ("preprocessing", cropped.preprocess.id, plain.preprocess.id)
    ]
    with pytest.raises(ValueError, match="expected crop='none', 'r' is built with 'center'"):
        create_extractor(cropped, crop="none")
    with pytest.raises(ValueError, match="crop 'center' needs a size"):
        create_extractor(nn.AvgPool2d(2), crop="center")
    images = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    for name, values in cropped(images).items():
        assert torch.equal(values, plain(images[..., 16:48])[name])


def test_a_module_says_how_images_come_into_it() -> None:
    """Size, normalisation, crop and preprocessing of a module are what a spec's would be."""
    how: dict[str, Any] = {"size": (8, 16), "mean": 0.5, "std": (0.1, 0.2, 0.3), "crop": "short_side_center"}
    extractor = create_extractor(nn.AvgPool2d(2), preprocessing="legacy_pytorch", **how)
    spec = ExtractorSpec("n", "test_resnet", preprocessing="legacy_pytorch", **how)
    assert extractor.preprocess == spec.preprocess
