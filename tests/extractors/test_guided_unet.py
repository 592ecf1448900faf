"""The U-Net of guided diffusion, against what its sources state and what diffusers computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vdna_metrics import ExtractorSpec, create_extractor
from vdna_metrics.extractors.architectures import build_architecture, seeded_state_dict
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.guided_unet import GuidedUNet
from vdna_metrics.extractors.weights import build_network

SMALL = {
    "image_size": 32, "model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 1,
    "attention_resolutions": [16], "num_head_channels": 16,
}  # fmt: skip


def _spec(file: Path | str, blocks: list[int], timesteps: list[int]) -> ExtractorSpec:
    arguments = {"config": SMALL, "timesteps": timesteps, "blocks": blocks}
    layers = [f"t{timestep}.up.{block}" for timestep in timesteps for block in blocks]
    return ExtractorSpec("g", "guided_unet_decoder", layers, 32, 0.5, 0.5, arguments, str(file))


def test_the_published_network_has_its_stated_shapes() -> None:
    """At full size: 552.8 million weights, 18 decoder blocks, 8448 features of the source's blocks and timesteps."""
    spec = CATALOGUE["guided_lsun_bedroom"]
    with torch.device("meta"):
        network = build_architecture(spec.architecture, spec.architecture_kwargs)
        found: dict[str, Tensor] = {}
        for layer in spec.layers:
            network.get_submodule(layer).register_forward_hook(
                lambda _m, _i, output, layer=layer: found.__setitem__(layer, output)
            )
        network(torch.zeros(1, 3, 256, 256))
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == 552.8
    assert list(found) == list(spec.layers)
    assert [x.shape[1] for x in found.values()] == [1024, 512, 512, 512, 256] * 3
    assert [x.shape[2] for x in found.values()] == [32, 32, 32, 64, 128] * 3
    assert sum(x.shape[1] for x in found.values()) == spec.neurons == 8448
    assert len(network.get_submodule("unet.output_blocks")) == 18  # type: ignore[arg-type]


def test_weights_have_their_published_names() -> None:
    """Names and shapes of a level with and without attention, of changes of size, and of both ends."""
    with torch.device("meta"):
        names = {name: list(x.shape) for name, x in GuidedUNet().state_dict().items()}
    expected = {
        "time_embed.0.weight": [1024, 256],
        "time_embed.2.bias": [1024],
        "input_blocks.0.0.weight": [256, 3, 3, 3],
        "input_blocks.1.0.in_layers.0.weight": [256],
        "input_blocks.1.0.in_layers.2.weight": [256, 256, 3, 3],
        "input_blocks.1.0.emb_layers.1.weight": [512, 1024],
        "input_blocks.1.0.out_layers.0.bias": [256],
        "input_blocks.1.0.out_layers.3.weight": [256, 256, 3, 3],
        "input_blocks.3.0.in_layers.2.weight": [256, 256, 3, 3],
        "input_blocks.7.0.skip_connection.weight": [512, 256, 1, 1],
        "input_blocks.10.1.qkv.weight": [1536, 512, 1],
        "input_blocks.17.1.proj_out.bias": [1024],
        "middle_block.0.in_layers.2.weight": [1024, 1024, 3, 3],
        "middle_block.1.norm.weight": [1024],
        "middle_block.2.out_layers.3.bias": [1024],
        "output_blocks.0.0.in_layers.0.weight": [2048],
        "output_blocks.2.2.in_layers.2.weight": [1024, 1024, 3, 3],
        "output_blocks.8.1.qkv.weight": [1536, 512, 1],
        "output_blocks.17.0.skip_connection.weight": [256, 512, 1, 1],
        "out.0.weight": [256],
        "out.2.weight": [6, 256, 3, 3],
    }
    assert {name: names.get(name) for name in expected} == expected
    assert not any(name.startswith(("input_blocks.9.1", "output_blocks.12.1")) for name in names)
    assert "output_blocks.17.1.in_layers.0.weight" not in names  # the last level keeps its size


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as published, of a small network with seeded weights."""
    network = GuidedUNet(**SMALL)  # type: ignore[arg-type]
    weights = seeded_state_dict(network, 3)
    stream = torch.Generator().manual_seed(0)
    weights = {name: x + 0.1 * torch.randn(x.shape, generator=stream) for name, x in weights.items()}
    file = tmp_path_factory.mktemp("guided") / "model.pt"
    torch.save(weights, file)
    return file


def test_a_checkpoint_loads_by_its_names(checkpoint: Path) -> None:
    """Every weight of a file is where its name says, and a file that lacks one is refused."""
    network, _ = build_network(_spec(checkpoint, [0], [50]))
    weights = torch.load(checkpoint, weights_only=True)
    loaded = network.get_submodule("unet").state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    cut = checkpoint.with_name("cut.pt")
    torch.save({name: x for name, x in weights.items() if name != "middle_block.1.qkv.weight"}, cut)
    with pytest.raises(ValueError, match="1 weights missing"):
        build_network(_spec(cut, [0], [50]))


def _plain(weights: dict[str, Tensor], x: Tensor, step: int) -> list[Tensor]:
    """The small network's decoder, written out block by block from the formulas."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.group_norm(x, 32, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def conv(x: Tensor, name: str, padding: int = 0) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    frequencies = 10_000.0 ** (-torch.arange(16) / 16)
    embedding = torch.cat([(step * frequencies).cos(), (step * frequencies).sin()])[None]
    embedding = F.silu(F.linear(embedding, weights["time_embed.0.weight"], weights["time_embed.0.bias"]))
    embedding = F.linear(embedding, weights["time_embed.2.weight"], weights["time_embed.2.bias"])

    def residual(x: Tensor, name: str, resize: str = "") -> Tensor:
        change = {
            "": lambda y: y,
            "down": lambda y: F.avg_pool2d(y, 2),
            "up": lambda y: y.repeat_interleave(2, 2).repeat_interleave(2, 3),
        }[resize]
        h = conv(change(F.silu(norm(x, f"{name}.in_layers.0"))), f"{name}.in_layers.2", 1)
        told = F.linear(F.silu(embedding), weights[f"{name}.emb_layers.1.weight"], weights[f"{name}.emb_layers.1.bias"])
        scale, shift = told[:, : h.shape[1], None, None], told[:, h.shape[1] :, None, None]
        h = conv(F.silu(norm(h, f"{name}.out_layers.0") * (1 + scale) + shift), f"{name}.out_layers.3", 1)
        x = change(x)
        return h + (conv(x, f"{name}.skip_connection") if f"{name}.skip_connection.weight" in weights else x)

    def attention(x: Tensor, name: str, width: int = 16) -> Tensor:
        flat = norm(x, f"{name}.norm").flatten(2)
        qkv = F.conv1d(flat, weights[f"{name}.qkv.weight"], weights[f"{name}.qkv.bias"])
        heads = []
        for start in range(0, qkv.shape[1], 3 * width):  # a head's queries, keys and values lie together
            q, k, v = qkv[:, start : start + 3 * width].split(width, dim=1)
            shares = (torch.einsum("nct,ncs->nts", q, k) / width**0.5).softmax(-1)
            heads.append(torch.einsum("nts,ncs->nct", shares, v))
        told = F.conv1d(torch.cat(heads, 1), weights[f"{name}.proj_out.weight"], weights[f"{name}.proj_out.bias"])
        return x + told.view_as(x)

    a = conv(x, "input_blocks.0.0", 1)
    b = residual(a, "input_blocks.1.0")
    c = residual(b, "input_blocks.2.0", "down")
    d = attention(residual(c, "input_blocks.3.0"), "input_blocks.3.1")
    x = residual(d, "middle_block.0")
    x = residual(attention(x, "middle_block.1"), "middle_block.2")
    outputs = [attention(residual(torch.cat([x, d], 1), "output_blocks.0.0"), "output_blocks.0.1")]
    x = attention(residual(torch.cat([outputs[-1], c], 1), "output_blocks.1.0"), "output_blocks.1.1")
    outputs.append(residual(x, "output_blocks.1.2", "up"))
    outputs.append(residual(torch.cat([outputs[-1], b], 1), "output_blocks.2.0"))
    outputs.append(residual(torch.cat([outputs[-1], a], 1), "output_blocks.3.0"))
    return outputs


@pytest.mark.parametrize("step", [50, 250])
def test_blocks_are_what_the_formulas_give(checkpoint: Path, step: int) -> None:
    """Each block's activations are those of the network written out from its formulas, on images with fixed noise."""
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = create_extractor(_spec(checkpoint, [0, 1, 2, 3], [50, 250]))(images)
    power = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[step]
    noise = torch.from_numpy(np.random.RandomState(0).standard_normal((3, 32, 32))).float()
    noisy = float(power) ** 0.5 * (images.float() / 127.5 - 1) + (1 - float(power)) ** 0.5 * noise
    for block, expected in enumerate(_plain(torch.load(checkpoint, weights_only=True), noisy, step)):
        output = found[f"t{step}.up.{block}"]
        torch.testing.assert_close(output, expected.transpose(0, 1).flatten(2), rtol=1e-3, atol=1e-3)


def test_impossible_blocks_are_refused() -> None:
    """Blocks and timesteps that do not exist are named."""
    for changes, message in (({"blocks": [4]}, r"blocks \[4\] do not exist"), ({"timesteps": [1000]}, "timesteps")):
        with pytest.raises(ValueError, match=message):
            build_architecture("guided_unet_decoder", {"config": SMALL, "timesteps": [50], "blocks": [0], **changes})
