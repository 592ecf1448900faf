"""The extractors that are known by name, built without their weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdna_metrics import NeuronLayout
from vdna_metrics.extractors.architectures import build_architecture
from vdna_metrics.extractors.catalogue import CATALOGUE, FID_INCEPTIONS
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.weights import build_network

VDNA = ["mugs_vit_base", "mugs_vit_large", "dino_vit_base", "dino_vit_small", "dino_resnet50", "rand_resnet50",
        "vgg16", "inception", "clip_im_vit_b16"]  # fmt: skip

Shapes = dict[str, tuple[int, ...]]


def _on_paper(name: str) -> tuple[NeuronLayout, Shapes]:
    """Layout of an entry, and shapes of the activations of one image: run on the meta device, without any memory."""
    spec = CATALOGUE[name]
    if spec.architecture in ("kl_encoder", "unet_decoder"):
        pytest.importorskip("diffusers")
    with torch.device("meta"):
        network = build_architecture(spec.architecture, spec.architecture_kwargs).eval()
        probe = torch.zeros(1, 3, *(spec.preprocess.size or (64, 64)))
        extractor = FeatureExtractor(network, spec, "0" * 64, probe)
        activations = extractor.from_resized(probe)
    return extractor.layout, {layer: tuple(values.shape) for layer, values in activations.items()}


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_entries_have_what_they_state(name: str) -> None:
    """Every layer of an entry exists, is reached, and together they have the neurons of its card."""
    spec = CATALOGUE[name]
    layout, _ = _on_paper(name)
    assert list(layout) == list(spec.paths)
    assert layout.total == spec.neurons
    assert spec.licence
    assert spec.note


@pytest.mark.parametrize("name", VDNA)
def test_vdnas_networks_are_as_in_vdna(name: str, shared: Path) -> None:
    """The nine of vdna have its layers, in its order, its neurons and its preprocessing."""
    oracle = json.loads((shared / "oracles/vdna_extractors.json").read_text())["extractors"][name]
    layout, _ = _on_paper(name)
    spec = CATALOGUE[name]
    assert list(layout.items()) == list(oracle["neurons"].items())
    assert layout.total == oracle["total_neurons"]
    assert spec.preprocess.size == (oracle["size"],) * 2
    assert [list(spec.preprocess.mean), list(spec.preprocess.std)] == [oracle["mean"], oracle["std"]]
    hub = "hf-hub:bramtoula/visual-dna-models/"
    assert spec.ranges == (oracle["ranges"] and hub + oracle["ranges"])


def test_fid_inceptions_differ_in_preprocessing_alone() -> None:
    """The FID Inception has an entry for each way in which published statistics resize, all of one network."""
    specs = FID_INCEPTIONS
    assert list(specs) == ["clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics"]
    for mode, spec in specs.items():
        assert spec is CATALOGUE[spec.name]
        assert spec.name == ("fid_inception" if mode == "clean" else f"fid_inception_{mode}")
        same = replace(
            CATALOGUE["inception"], name=spec.name, preprocessing=mode, mean=spec.mean, std=spec.std, ranges=None
        )
        assert spec == same
    assert len({spec.preprocess.id for spec in specs.values()}) == 4


@pytest.mark.parametrize(
    ("name", "layer", "positions"),
    [
        ("mugs_vit_base", "block_0", 1 + 14 * 14),
        ("clip_im_vit_b16", "block_0", 1 + 14 * 14),
        ("clip_im_vit_b16", "last_norm", 1),
        ("dinov2_vit_small", "last_norm", 1 + 16 * 16),
        ("dinov2_vit_small_reg4", "last_norm", 1 + 4 + 16 * 16),
        ("fd_dinov2", "class_token", 1),
        ("dinov3_vit_small", "last_norm", 1 + 4 + 16 * 16),
        ("siglip_vit_base", "last_norm", 14 * 14),
        ("convnext_base", "stage2_26", 14 * 14),
        ("convnext_base", "last_norm", 1),
        ("hrnet_w48", "stage4_branch3", 7 * 7),
        ("hrnet_w48", "classifier", 1),
        ("sfid_inception", "mixed_6_conv", 1),
        ("clip_vit_l14_336", "embedding", 1),
        ("clip_vit_b32", "embedding", 1),
    ],
)
def test_every_token_and_position_counts(name: str, layer: str, positions: int) -> None:
    """Class and register tokens count as the others do; class tokens alone, averages and logits are one position."""
    _, shapes = _on_paper(name)
    assert shapes[layer][1:] == (1, positions)


def test_sfid_is_read_in_the_fid_inception() -> None:
    """The network of sFID is FID's as ADM runs it, with another layer: 7 channels at 17 x 17 positions."""
    fid, sfid = CATALOGUE["fid_inception_legacy_tensorflow"], CATALOGUE["sfid_inception"]
    assert sfid == replace(fid, name=sfid.name, layers=sfid.paths)
    layout, _ = _on_paper("sfid_inception")
    assert dict(layout) == {"mixed_6_conv": 7 * 17 * 17}


def test_clip_is_run_as_those_who_publish_by_it() -> None:
    """CMMD's code crops the largest square and resizes it to 336 pixels; clean-fid resizes the short side to 224."""
    found = {name: CATALOGUE[name].preprocess for name in ("clip_vit_l14_336", "clip_vit_b32")}
    assert [each.crop for each in found.values()] == ["center", "short_side_center"]
    assert [each.size for each in found.values()] == [(336, 336), (224, 224)]
    for each in found.values():
        assert (each.mode, each.interpolation) == ("clean", "bicubic")
        assert each.mean == (0.48145466, 0.4578275, 0.40821073)
        assert each.std == (0.26862954, 0.26130258, 0.27577711)


def test_branches_of_hrnet_are_layers() -> None:
    """HRNet-W48 is read at each branch of each stage, halving resolution and doubling channels, and at its logits."""
    layout, shapes = _on_paper("hrnet_w48")
    branches = [48, 96, 192, 384]
    expected = {"stage1": 256} | {f"stage{s}_branch{b}": branches[b] for s in (2, 3, 4) for b in range(s)}
    assert dict(layout) == expected | {"classifier": 1000}
    assert [shapes[f"stage4_branch{b}"][2] for b in range(4)] == [56**2, 28**2, 14**2, 7**2]


def test_entries_say_what_they_are() -> None:
    """Every entry has a licence and a note, and asks for nothing from the network that it does not name."""
    for spec in CATALOGUE.values():
        assert spec.licence, spec.name
        assert len(spec.note) > 30, spec.name
        assert spec.weights.startswith(("timm", "seeded:", "hf-hub:", "https://", "package:")), spec.name


@pytest.mark.parametrize("name", [name for name, spec in CATALOGUE.items() if spec.weights == "timm"])
def test_timm_has_weights_and_the_entrys_preprocessing(name: str) -> None:
    """Entries with timm's weights name ones that timm has, and normalise as timm does with them."""
    spec = CATALOGUE[name]
    config = timm.get_pretrained_cfg(spec.architecture)
    assert config.hf_hub_id
    assert (spec.preprocess.size, spec.preprocess.mean) == (config.input_size[1:], config.mean)
    assert spec.preprocess.std == config.std


def _as_torch(folder: Path, contents: object, name: str = "weights.pth") -> str:
    torch.save(contents, folder / name, _use_new_zipfile_serialization=not name.endswith(".tar"))
    return str(folder / name)


def _random(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.rand(like.shape) if like.is_floating_point() else like
        for name, like in network.state_dict().items()
    }


def _swav(own: dict[str, Tensor]) -> object:
    heads = {"projection_head.0.weight": torch.rand(2, 2), "prototypes.weight": torch.rand(2, 2)}
    return {f"module.{name}": value for name, value in {**own, **heads}.items()}


def _dinov2(own: dict[str, Tensor]) -> object:
    return {**own, "mask_token": torch.rand(1, 384)}


def _dinov2_reg4(own: dict[str, Tensor]) -> object:
    """The authors add a position embedding to the class token, which timm has in the token."""
    position = torch.rand(1, 1, 384)
    published = {name: value for name, value in own.items() if name not in ("reg_token", "cls_token", "pos_embed")}
    return {
        **published,
        "mask_token": torch.rand(1, 384),
        "register_tokens": own["reg_token"],
        "cls_token": own["cls_token"] - position,
        "pos_embed": torch.cat([position, own["pos_embed"]], dim=1),
    }


def _mae(own: dict[str, Tensor]) -> object:
    return {"model": own}


def _with_head(own: dict[str, Tensor]) -> object:
    return {**own, "head.weight": torch.rand(2, 2), "head.bias": torch.rand(2)}


def _with_head_fc(own: dict[str, Tensor]) -> object:
    return {**own, "head.fc.weight": torch.rand(2, 2), "head.fc.bias": torch.rand(2)}


@pytest.mark.parametrize(
    ("name", "architecture", "publish", "file"),
    [
        ("swav_resnet50", None, _swav, "swav_800ep_pretrain.pth.tar"),
        ("dinov2_vit_small", None, _dinov2, "dinov2_vits14_pretrain.pth"),
        ("dinov2_vit_small_reg4", None, _dinov2_reg4, "dinov2_vits14_reg4_pretrain.pth"),
        ("mae_vit_large", "vit_tiny_patch16_224", _mae, "mae_pretrain_vit_large.pth"),
        ("clip_im_vit_b16", "vit_xsmall_patch16_clip_224", _with_head, "model.pth"),
        ("convnext_base", "convnext_atto", _with_head_fc, "model.pth"),
    ],
)
def test_published_layouts_are_read(
    name: str, architecture: str | None, publish: Callable[..., object], file: str, tmp_path: Path
) -> None:
    """Weights in the layout of the published file, with heads that are not needed, arrive in the network."""
    spec = replace(CATALOGUE[name], architecture=architecture or CATALOGUE[name].architecture)
    own = _random(build_architecture(spec.architecture, spec.architecture_kwargs))
    network, _ = build_network(replace(spec, weights=_as_torch(tmp_path, publish(own), file), sha256=None))
    for weight, value in network.state_dict().items():
        torch.testing.assert_close(value, own[weight], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [224, 112])
def test_dinov2_with_registers_has_its_authors_positions(size: int) -> None:
    """Position embeddings of networks with registers are resized bicubically with antialiasing, registers have none."""
    network = build_architecture("vit_small_patch14_reg4_dinov2", {"num_classes": 0, "dynamic_img_size": True}).eval()
    side = size // 14
    grid = network.pos_embed.reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (side, side), mode="bicubic", antialias=True).permute(0, 2, 3, 1)
    patches = torch.randn(1, side, side, 384)
    with torch.inference_mode():
        found = network._pos_embed(patches)
    expected = torch.cat([network.cls_token, network.reg_token, (patches + grid).flatten(1, 2)], dim=1)
    torch.testing.assert_close(found, expected.detach())


def test_dinov2_runs_at_its_own_size_as_timms() -> None:
    """At 518 pixels nothing is interpolated, and DINOv2 is timm's."""
    ours = build_architecture("dinov2", {"name": "vit_small_patch14_dinov2"}).eval()
    theirs = build_architecture("vit_small_patch14_dinov2", {"num_classes": 0}).eval()
    theirs.load_state_dict(ours.state_dict())
    patches = torch.randn(1, 37, 37, 384)
    with torch.inference_mode():
        torch.testing.assert_close(ours._pos_embed(patches), theirs._pos_embed(patches.flatten(1, 2)))
