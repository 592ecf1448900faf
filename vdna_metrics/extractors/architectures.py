"""Networks that timm does not have, by name, and weights that are drawn instead of loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdna_metrics.extractors.diffusion import KLEncoder, UNetDecoder
from vdna_metrics.layout import near_names


def fid_inception() -> nn.Module:
    """Inception v3 as FID uses it: TensorFlow's pooling, 1008 classes; weights not loaded.

    clean-fid's blocks in torchvision's network, so that pytorch-fid's, clean-fid's and torch-fidelity's weight files
    load by name.
    """
    from cleanfid import inception_pytorch as blocks
    from torchvision.models import inception_v3

    network: nn.Module = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b = blocks.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = blocks.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = blocks.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = blocks.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = blocks.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = blocks.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = blocks.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = blocks.FIDInceptionE_1(1280)
    network.Mixed_7c = blocks.FIDInceptionE_2(2048)
    return network


def dinov2(name: str) -> nn.Module:
    """DINOv2 without registers in timm's network, at any size with the position embeddings of its authors' code.

    Theirs are interpolated bicubically without antialiasing, by a scale that is a tenth of a patch too large; timm's
    with antialiasing, to the size, as the authors' later networks with registers have them.

    Args:
        name: timm's name of it.
    """
    import timm

    vit: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    vit._pos_embed = MethodType(_with_dinov2_positions, vit)
    network: nn.Module = vit
    return network


def _with_dinov2_positions(network: Any, patches: Tensor) -> Tensor:
    """Patches ``[N, H, W, C]`` -> tokens with positions ``[N, 1 + H * W, C]``."""
    n, height, width, channels = patches.shape
    rows, columns = network.patch_embed.grid_size
    positions = network.pos_embed
    if (height, width) != (rows, columns):
        grid = positions[:, 1:].float().reshape(1, rows, columns, channels).permute(0, 3, 1, 2)
        scale = ((height + 0.1) / rows, (width + 0.1) / columns)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic").flatten(2).transpose(1, 2)
        positions = torch.cat([positions[:, :1], grid.to(positions.dtype)], dim=1)
    tokens = torch.cat([network.cls_token.expand(n, -1, -1), patches.flatten(1, 2)], dim=1)
    with_positions: Tensor = tokens + positions
    return with_positions


def short_mobilenetv2() -> nn.Module:
    """MobileNetV2 with only the first of its blocks at stride 32, and the head's 1280 channels on that.

    0.9 million weights instead of 2.2 million, and the layers' names and neurons of the whole.
    """
    import timm

    whole: Any = timm.create_model("mobilenetv2_100", num_classes=0, pad_type="same")
    whole.blocks = whole.blocks[:6]
    whole.blocks[5] = whole.blocks[5][:1]
    whole.conv_head = nn.Conv2d(160, 1280, 1, bias=False)
    whole.bn2 = nn.Identity()
    network: nn.Module = whole
    return network


ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = {
    "dinov2": dinov2,
    "fid_inception": fid_inception,
    "kl_encoder": KLEncoder,
    "short_mobilenetv2": short_mobilenetv2,
    "unet_decoder": UNetDecoder,
}


def check_architecture(name: str) -> None:
    """Raise ``ValueError``, naming near ones, when neither we nor timm have an architecture."""
    import timm

    if name not in ARCHITECTURES and not timm.is_model(name):
        known = [*ARCHITECTURES, *timm.list_models(), *timm.list_pretrained()]
        raise ValueError(f"unknown architecture {name!r}; {near_names(name, known)}")


def build_architecture(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network by name, ours or timm's, with its own initialisation."""
    check_architecture(name)
    if name in ARCHITECTURES:
        return ARCHITECTURES[name](**arguments)
    import timm

    network: nn.Module = timm.create_model(name, **arguments)
    return network


def seeded_state_dict(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Weights drawn from ``numpy.random.RandomState(seed)``, whose stream is frozen for ever.

    Convolutions and linear layers get Kaiming-uniform numbers, ``U(-sqrt(6/fan_in), sqrt(6/fan_in))``, in the order
    of the state dict; norms scale by one and shift by zero. Only ``random_sample`` is used, which needs no
    mathematical library, so every platform draws the same bits.
    """
    stream = np.random.RandomState(seed)
    drawn = {}
    for name, like in network.state_dict().items():
        if like.ndim >= 2:
            bound = np.sqrt(6.0 / like[0].numel())
            values = (stream.random_sample(tuple(like.shape)) * 2 - 1) * bound
            drawn[name] = torch.from_numpy(values).to(like.dtype)
        else:
            is_scale = name.endswith(("weight", "running_var"))
            drawn[name] = torch.ones_like(like) if is_scale else torch.zeros_like(like)
    return drawn
