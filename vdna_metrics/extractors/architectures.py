"""Networks that timm does not have, by name, and weights that are drawn instead of loaded."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MethodType
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdna_metrics.extractors.execution import one_thread
from vdna_metrics.extractors.guided_unet import GuidedUNet
from vdna_metrics.functional.pixels import pixel_statistics
from vdna_metrics.layout import near_names

# The schedule of Ho et al. (2020): noise variances of 1000 steps. float64, because float32 products differ by platform.
_SIGNAL_POWER = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))

# What `UNetDecoder` can follow: the U-Net of DDPM in any size. The first is diffusers' default.
_KNOWN_SETTINGS: Mapping[str, Sequence[object]] = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": ("UNetMidBlock2D",),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
    "upsample_type": ("conv",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
}

_OLD_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class KLEncoder(nn.Module):
    """The encoder of diffusers' ``AutoencoderKL``, ``[N, 3, H, W]`` in [-1, 1] -> ``[N, C * h * w]``.

    Its submodule ``latent`` gives the mean of the posterior, so that nothing is drawn, neither scaled nor shifted as
    latent diffusion does it afterwards (0.18215 in Stable Diffusion 1); each element of the latent is one neuron.

    Args:
        config: the published ``config.json`` of the autoencoder.

    Raises:
        ValueError: when diffusers is not installed.

    Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        autoencoder = _of_diffusers("AutoencoderKL", config)
        self.encoder = autoencoder.encoder
        self.quant_conv = autoencoder.quant_conv
        self.latent = nn.Flatten()

    def forward(self, images: Tensor) -> Tensor:
        """``[N, 3, H, W]`` -> ``[N, C * h * w]``, channel by channel, row by row."""
        mean, _ = self.quant_conv(self.encoder(images)).chunk(2, dim=1)
        return cast(Tensor, self.latent(mean))


class _NoisyDecoder(nn.Module, ABC):
    """Decoder activations of a diffusion network on images with fixed noise; see `UNetDecoder`."""

    noise: Tensor
    steps: Tensor
    unet: Any

    def _prepare(
        self, timesteps: Sequence[int], blocks: Sequence[int], number: int, size: tuple[int, int], noise_seed: int
    ) -> None:
        """Check what is asked for of a decoder of so many blocks, draw the noise, and make the submodules."""
        unknown = [t for t in timesteps if not 0 <= t < len(_SIGNAL_POWER)]
        if unknown:
            raise ValueError(f"timesteps {unknown} do not exist: the schedule has 0 to {len(_SIGNAL_POWER) - 1}")
        unknown = [block for block in blocks if not 0 <= block < number]
        if unknown:
            raise ValueError(f"blocks {unknown} do not exist: the decoder has 0 (deepest) to {number - 1}")
        self.blocks = tuple(blocks)
        self._signal_power = {timestep: float(_SIGNAL_POWER[timestep]) for timestep in timesteps}
        noise = np.random.RandomState(noise_seed).standard_normal((3, *size))
        # Not in the state dict: they are made from the arguments, and files of weights do not have them.
        self.register_buffer("noise", torch.tensor(noise, dtype=torch.float32), persistent=False)
        self.register_buffer("steps", torch.tensor(list(self._signal_power)), persistent=False)
        for timestep in self._signal_power:
            taps = nn.ModuleDict({str(block): nn.Identity() for block in blocks})
            self.add_module(f"t{timestep}", nn.ModuleDict({"up": taps}))

    def forward(self, images: Tensor) -> None:
        """``[N, 3, H, W]`` in [-1, 1]; the submodules give the activations, ``[N, C, h, w]``.

        Raises:
            ValueError: for images of another size than the noise.
        """
        if images.shape[1:] != self.noise.shape:
            raise ValueError(
                f"images are {list(images.shape[1:])}, the noise is {list(self.noise.shape)}: "
                "give the extractor's size and the config's sample_size or image_size alike"
            )
        last = max(self.blocks, default=-1)
        for (timestep, power), step in zip(self._signal_power.items(), self.steps.split(1), strict=True):
            noisy = power**0.5 * images + (1 - power) ** 0.5 * self.noise
            taps = self.get_submodule(f"t{timestep}.up")
            # What follows the last wanted block, the largest maps, need not be computed.
            for block, x in zip(range(last + 1), self._decode(noisy, step), strict=False):
                if block in self.blocks:
                    taps.get_submodule(str(block))(x)

    @abstractmethod
    def _decode(self, x: Tensor, step: Tensor) -> Iterator[Tensor]:
        """Outputs of the decoder's blocks, from block 0 on, each computed when it is asked for."""


class UNetDecoder(_NoisyDecoder):
    r"""Decoder activations of diffusers' ``UNet2DModel`` on images with fixed noise, one forward a timestep.

    The input at timestep ``t`` is ``sqrt(a_t) images + sqrt(1 - a_t) noise``, ``a_t`` being the product of
    ``1 - beta`` up to ``t``, with 1000 linear ``beta`` from 1e-4 to 0.02. The noise is standard normal, of
    ``numpy.random.RandomState(noise_seed)``, one ``[3, H, W]`` for all images and timesteps.

    The submodule ``t50.up.5`` gives block 5 at timestep 50. Blocks are counted from 0 at the deepest, as the source
    counts ``output_blocks``: a residual block, its attention if it has one, and the upsampling that ends a level. In
    diffusers' terms block ``b`` of ``n = layers_per_block + 1`` a level is entry ``b % n`` of
    ``up_blocks[b // n]``, and its output the last of ``resnets``, ``attentions`` and, at a level's end,
    ``upsamplers``. Blocks 5, 6, 7, 8 and 12 of a network for 256 pixels have 32, 32, 32, 64 and 128 positions a side
    in both; the source's network is twice as wide, its 1024 + 3 × 512 + 256 channels at three timesteps are the 8448
    that its settings state.

    Args:
        config: the published ``config.json`` of the U-Net; ``sample_size`` is the size of its images.
        timesteps: steps of the schedule, 0 to 999.
        blocks: blocks of the decoder.
        noise_seed: another seed is another noise, for as many variants as are wanted.

    Raises:
        ValueError: for a timestep or block that does not exist, a U-Net of another kind or without ``sample_size``,
            or when diffusers is not installed.

    Source: Baranchuk et al., "Label-Efficient Semantic Segmentation with Diffusion Models", ICLR 2022, and its
    repository yandex-research/ddpm-segmentation.
    """

    def __init__(
        self, config: Mapping[str, Any], timesteps: Sequence[int], blocks: Sequence[int], noise_seed: int = 0
    ) -> None:
        super().__init__()
        self.unet = _of_diffusers("UNet2DModel", config)
        self._blocks_per_level = len(self.unet.up_blocks[0].resnets)
        for name, known in _KNOWN_SETTINGS.items():
            found = self.unet.config.get(name, known[0])
            if not set(found if isinstance(found, list | tuple) else [found]) <= set(known):
                raise ValueError(f"{name} of the U-Net's config is {found}, known are {', '.join(map(str, known))}")
        if (size := self.unet.config.sample_size) is None:
            raise ValueError("the config has no sample_size, the size of images that the noise is drawn for")
        height, width = (size, size) if isinstance(size, int) else size
        number = len(self.unet.up_blocks) * self._blocks_per_level
        self._prepare(timesteps, blocks, number, (height, width), noise_seed)

    def _decode(self, x: Tensor, step: Tensor) -> Iterator[Tensor]:
        # Not through the U-Net's own forward: hooks that are set inside a forward cannot be compiled.
        unet = self.unet
        embedding = unet.time_embedding(unet.time_proj(step).to(x.dtype))
        x = unet.conv_in(x)
        skipped = [x]
        for level in unet.down_blocks:
            x, outputs = level(x, embedding)
            skipped += outputs
        x = unet.mid_block(x, embedding)
        for level in unet.up_blocks:
            for place, block in enumerate(level.resnets):
                x = block(torch.cat([x, skipped.pop()], dim=1), embedding)
                if hasattr(level, "attentions"):
                    x = level.attentions[place](x)
                if place == self._blocks_per_level - 1 and level.upsamplers is not None:
                    x = level.upsamplers[0](x)
                yield x


class GuidedUNetDecoder(_NoisyDecoder):
    """`UNetDecoder` of guided diffusion's U-Net, which is the source's own; see `GuidedUNet`.

    Args:
        config: arguments of `GuidedUNet`; empty for the published networks of LSUN.
        timesteps: as in `UNetDecoder`, and so are the others.
        blocks: likewise; ``output_blocks`` by their numbers.
        noise_seed: likewise.

    Raises:
        ValueError: for a timestep or block that does not exist.

    Source: as `UNetDecoder`.
    """

    def __init__(
        self, config: Mapping[str, Any], timesteps: Sequence[int], blocks: Sequence[int], noise_seed: int = 0
    ) -> None:
        super().__init__()
        self.unet = GuidedUNet(**config)
        size = self.unet.image_size
        self._prepare(timesteps, blocks, len(self.unet.output_blocks), (size, size), noise_seed)

    def _decode(self, x: Tensor, step: Tensor) -> Iterator[Tensor]:
        yield from self.unet.decode(x, step)


def checkpoint_filter_fn(state_dict: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Published weights by the names of our network; attention of files before 2023 has other names in diffusers.

    Examples:
        >>> list(checkpoint_filter_fn({"mid_block.attentions.0.proj_attn.bias": torch.zeros(1)}, nn.Identity()))
        ['mid_block.attentions.0.to_out.0.bias']
    """
    prefix = "unet." if isinstance(network, _NoisyDecoder) else ""
    old = re.compile(rf"(?<=\.attentions\.)(\d+)\.({'|'.join(_OLD_ATTENTION_NAMES)})(?=\.)")
    return {
        prefix + old.sub(lambda found: f"{found[1]}.{_OLD_ATTENTION_NAMES[found[2]]}", name): tensor
        for name, tensor in state_dict.items()
    }


def _of_diffusers(name: str, config: Mapping[str, Any]) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(
            f"{name} is a network of diffusers, which cannot be imported ({error}): "
            "pip install 'vdna_metrics[diffusion]'"
        ) from error
    return getattr(diffusers, name)(**config)


def fid_inception() -> nn.Module:
    """Inception v3 as FID uses it: TensorFlow's pooling, 1008 classes; weights not loaded.

    clean-fid's blocks in torchvision's network, so that pytorch-fid's, clean-fid's and torch-fidelity's weight files
    load by name. Its submodule ``Mixed_6d.branch1x1.spatial`` gives the features of sFID, see `SpatialFeatures`.
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
    block: Any = network.Mixed_6d
    block.branch1x1 = _BranchOfSFID(block.branch1x1)
    return network


class SpatialFeatures(nn.Module):
    """First channels of a feature map at every position, ``[N, C, H, W]`` -> ``[N, H * W * channels]``.

    Rows, then columns, then channels, as ADM flattens ``spatial[..., :7]`` of ``[N, H, W, C]``.

    Args:
        channels: how many.

    Source: `evaluations/evaluator.py` of openai/guided-diffusion (``FID_SPATIAL_NAME``, ``_create_feature_graph`` and
    ``compute_activations``), for Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021; the
    features are those of Nash et al., "Generating Images with Sparse Representations", 2021. That ``mixed_6/conv`` of
    TensorFlow's graph is ``Mixed_6d.branch1x1`` says the table of names by which pytorch-fid's weights were converted.

    Examples:
        >>> SpatialFeatures(2)(torch.arange(12.0).view(1, 3, 2, 2))
        tensor([[0., 4., 1., 5., 2., 6., 3., 7.]])
    """

    def __init__(self, channels: int = 7) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, maps: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, H * W * channels]``."""
        return maps[:, : self.channels].permute(0, 2, 3, 1).flatten(1)


class _BranchOfSFID(nn.Module):
    """A branch of torchvision's Inception, convolution, norm and ReLU, whose `spatial` sees what it gives."""

    def __init__(self, branch: Any) -> None:
        super().__init__()
        self.conv, self.bn = branch.conv, branch.bn
        self.spatial = SpatialFeatures()

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.bn(self.conv(x)), inplace=True)
        self.spatial(maps)
        return maps


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


class PixelStatistics(nn.Module):
    """`functional.pixel_statistics`, ``[N, 3, H, W]`` in [0, 255] -> ``[N, statistics]``."""

    def forward(self, images: Tensor) -> Tensor:
        """``[N, 3, H, W]`` -> ``[N, statistics]``."""
        with one_thread():
            return pixel_statistics(images)


ARCHITECTURES: Mapping[str, Callable[..., nn.Module]] = {
    "dinov2": dinov2,
    "fid_inception": fid_inception,
    "guided_unet_decoder": GuidedUNetDecoder,
    "kl_encoder": KLEncoder,
    "pixel_statistics": PixelStatistics,
    "short_mobilenetv2": short_mobilenetv2,
    "unet_decoder": UNetDecoder,
}


TORCHVISION = "torchvision:"


def torchvision_names() -> list[str]:
    """Names of torchvision's networks that classify images."""
    from torchvision import models

    return list(models.list_models(module=models))


def _of_torchvision(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    from torchvision import models

    if name in ("googlenet", "inception_v3"):  # else they warn that their initialisation, which is slow, will change
        arguments = {"init_weights": False, **arguments}
    network: Any = models.get_model(name, weights=None, **arguments)
    if isinstance(network, models.SwinTransformer):
        network.output_fmt = "NHWC"  # as timm's say it
    return cast(nn.Module, network)


def check_architecture(name: str) -> None:
    """Raise ``ValueError``, naming near ones, when none of us, timm and torchvision have an architecture."""
    if name.startswith(TORCHVISION):
        own = name.removeprefix(TORCHVISION)
        if own not in torchvision_names():
            raise ValueError(f"torchvision has no network {own!r}; {near_names(own, torchvision_names())}")
        return
    import timm

    if name not in ARCHITECTURES and not timm.is_model(name):
        known = [*ARCHITECTURES, *timm.list_models(), *timm.list_pretrained()]
        raise ValueError(f"unknown architecture {name!r}; {near_names(name, known)}")


def build_architecture(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network by name, ours, timm's or torchvision's, with its own initialisation."""
    check_architecture(name)
    if name.startswith(TORCHVISION):
        return _of_torchvision(name.removeprefix(TORCHVISION), arguments)
    if name in ARCHITECTURES:
        return ARCHITECTURES[name](**arguments)
    import timm

    network: nn.Module = timm.create_model(name, **arguments)
    return network


def seeded_state_dict(network: nn.Module, seed: int | Sequence[int]) -> dict[str, Tensor]:
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
