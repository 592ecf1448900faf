"""Each network of the vdna package, version 0.1.1, against ours: one file of random weights, the same images.

The file has the layout of the published one and is read by the code that reads that one. vdna fetches its files from
the network; its loading points are handed the same weights here. Where vdna does not run as it is: its ResNets move
their input to a GPU (``Tensor.cuda`` does nothing here), ``dino_vit_small`` always raises (its network is built without
the class that raises), and its CLIP computes in half precision (made float32 here, of the same half precision weights).
"""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdna_metrics import create_extractor
from vdna_metrics.extractors.architectures import build_architecture, fid_inception
from vdna_metrics.extractors.catalogue import CATALOGUE

pytest.importorskip("vdna")
pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning"),
]

Weights = dict[str, Tensor]
NETWORKS = [
    "mugs_vit_base", "mugs_vit_large", "dino_vit_base", "dino_vit_small", "dino_resnet50", "rand_resnet50", "vgg16",
    "inception", "clip_im_vit_b16",
]  # fmt: skip


def _blueprint(name: str) -> nn.Module:
    """A network whose weights have the names, shapes and types of those in the published file."""
    import torchvision
    from vdna.networks import clip, dino_resnet50, dino_vit, mugs_vit

    if name.startswith("mugs_vit_"):
        return getattr(mugs_vit, name.removeprefix("mugs_"))(num_relation_blocks=1)
    if name.startswith("dino_vit_"):
        return getattr(dino_vit, name.removeprefix("dino_"))()
    if name.endswith("_resnet50"):
        return dino_resnet50.ResNetFeatureExtractor(dino_resnet50.Bottleneck, [3, 4, 6, 3])
    if name == "vgg16":
        return torchvision.models.vgg16(init_weights=False)
    if name == "inception":
        return fid_inception()
    network = clip.CLIP(512, 224, 12, 768, 16, 77, 64, 64, 1, 1)  # its tower for texts is a small one
    clip.convert_weights(network)
    return network


def _random_weights(name: str) -> Weights:
    """Numbers for every weight, such that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    drawn = {}
    for weight, like in _blueprint(name).state_dict().items():
        values = torch.empty(like.shape).uniform_(-1.7, 1.7, generator=generator)
        if weight.endswith("num_batches_tracked"):
            values = torch.tensor(1)
        elif weight.endswith("running_var"):
            values = 1 + values.abs()
        elif like.ndim >= 2:
            values *= (2 / like[0].numel()) ** 0.5
        else:
            values = values / 10 + weight.endswith("weight")
        drawn[weight] = values.to(like.dtype)
    return drawn


def _published(name: str, weights: Weights) -> dict[str, Any]:
    """What the published file holds."""
    if name.startswith("mugs_"):
        return {"state_dict": weights}
    if name == "rand_resnet50":
        return {"model_state_dict": weights}
    if name == "dino_resnet50":
        return {f"module.{weight}": value for weight, value in weights.items()}
    if name == "clip_im_vit_b16":
        numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 64}
        return {**weights, **{key: torch.tensor(value) for key, value in numbers.items()}}
    return weights


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that all of vdna's loading points read instead of the network; its activation ranges are empty."""
    from torchvision.models import _api
    from vdna import networks

    ranges = tmp_path / "activation_ranges.json"
    ranges.write_text(json.dumps({"mins_per_neuron": {}, "maxs_per_neuron": {}}))
    path = tmp_path / "published.pth"

    def load(*_: object, **__: object) -> Any:
        return torch.load(path, weights_only=True)

    for module in ("clip", "dino_resnet50", "dino_vit", "inception_pytorch", "mugs_vit", "random_resnet50", "vgg16"):
        loader = getattr(networks, module)
        monkeypatch.setattr(
            loader, "hf_hub_download", lambda repo_id, filename: ranges if filename.endswith("json") else path
        )
        if hasattr(loader, "trunc_normal_"):  # slow, and replaced by the file
            monkeypatch.setattr(loader, "trunc_normal_", lambda tensor, **_: tensor)
        if hasattr(loader, "load_state_dict_from_url"):
            monkeypatch.setattr(loader, "load_state_dict_from_url", load)
    monkeypatch.setattr(_api, "load_state_dict_from_url", load)
    # OpenAI's file is an archive of a module.
    archive = SimpleNamespace(eval=lambda: SimpleNamespace(state_dict=load))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: archive)
    monkeypatch.setattr(Tensor, "cuda", lambda self, **_: self)
    return path


def _theirs(name: str, path: Path) -> Any:
    from vdna.networks import dino_vit, get_feature_extractor
    from vdna.utils.settings import ExtractionSettings

    if name == "dino_vit_small":
        model = dino_vit.vit_small().eval()
        model.load_state_dict(torch.load(path, weights_only=True))
        part = SimpleNamespace(model=model)
        return SimpleNamespace(get_features=lambda x: dino_vit.DINOViTFeatExtractor.get_features(part, x))
    return get_feature_extractor(name, ExtractionSettings(device="cpu")).float()


def _images(size: int) -> Tensor:
    """Coloured blobs with noise, uint8 [2, 3, size, size]."""
    generator = torch.Generator().manual_seed(1)
    blobs = F.interpolate(torch.rand(2, 3, 6, 7, generator=generator), (size, size), mode="bicubic")
    return ((blobs + 0.1 * torch.randn(blobs.shape, generator=generator)).clamp(0, 1) * 255).round().byte()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_agrees(name: str, served: Path) -> None:
    """At every layer of the same names, activations of every neuron agree to 1e-4 of the layer's standard deviation."""
    torch.save(_published(name, _random_weights(name)), served)
    extractor = create_extractor(name, weights_path=served)
    images = _images(extractor.preprocess.size[0])[: 1 if name == "mugs_vit_large" else 2]
    with torch.inference_mode():
        ours = extractor(images)
        model = _theirs(name, served)
        theirs = model.get_features(extractor.preprocess(images))
    assert list(ours) == list(theirs)
    for layer, activations in theirs.items():
        if name == "clip_im_vit_b16" and layer == "last_norm":
            activations = activations.permute(2, 1, 0, 3)  # vdna has its images where positions belong
        expected = activations.transpose(0, 1).flatten(2)
        assert ours[layer].shape == expected.shape
        difference = (ours[layer] - expected).abs().max()
        assert difference <= 1e-4 * expected.std(), f"{layer}: {difference / expected.std():.1e}"
    if name != "dino_vit_small":
        settings = model.network_settings
        assert settings.neurons_per_layer == dict(extractor.layout)
        found = (tuple(settings.norm_mean), tuple(settings.norm_std), settings.expected_size)
        assert found == (extractor.preprocess.mean, extractor.preprocess.std, extractor.preprocess.size)
    del extractor, model
    gc.collect()  # a gigabyte


@pytest.mark.parametrize("size", [224, 112])
def test_dinov2_positions_are_its_authors(size: int) -> None:
    """DINOv2's position embeddings are interpolated as in DINO, whose code its authors went on with."""
    from vdna.networks.dino_vit import VisionTransformer

    network = build_architecture("dinov2", {"name": "vit_small_patch14_dinov2"})
    theirs = VisionTransformer(img_size=[518], patch_size=14, embed_dim=384, depth=0)
    theirs.pos_embed = network.pos_embed
    patches = torch.randn(1, size // 14, size // 14, 384)
    with torch.inference_mode():
        found = network._pos_embed(patches)
        tokens = torch.cat([network.cls_token, patches.flatten(1, 2)], dim=1)
        expected = tokens + theirs.interpolate_pos_encoding(tokens, size, size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "size", "patch", "width", "embedding"),
    [("clip_vit_b32", 224, 32, 768, 512), ("clip_vit_l14_336", 336, 14, 1024, 768)],
)
def test_clip_embeddings_are_openais(
    name: str, size: int, patch: int, width: int, embedding: int, tmp_path: Path
) -> None:
    """Weights in the layout of OpenAI's file give what its encode_image gives, in two blocks of the whole's width."""
    from vdna.networks.clip import VisionTransformer

    spec = CATALOGUE[name]
    theirs = VisionTransformer(size, patch, width, 2, width // 64, embedding).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in theirs.parameters():
        parameter.data.normal_(0, (1 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.5, generator=generator)
    torch.save({f"visual.{key}": value for key, value in theirs.state_dict().items()}, tmp_path / "clip.pth")
    two_blocks = {"architecture_kwargs": {"depth": 2}, "weights": str(tmp_path / "clip.pth")}
    extractor = create_extractor(replace(spec, name="two blocks", **two_blocks))
    images = _images(size)
    with torch.inference_mode():
        expected, _ = theirs(extractor.preprocess(images))
        found = extractor(images)["embedding"]
    assert found.shape == (embedding, 2, 1)
    assert spec.preprocess.size == (size, size)
    torch.testing.assert_close(found[..., 0].T, expected, rtol=0, atol=1e-4 * float(expected.std()))
