"""The U-Net of guided diffusion, with the names that its published checkpoints have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 32


class GuidedUNet(nn.Module):
    """Dhariwal and Nichol's U-Net without classes: residual blocks that the timestep scales and shifts, and attention.

    Blocks are numbered as in ``output_blocks``: 0 is the deepest, and the last of a level ends with the doubling of its
    size. Attention splits channels into heads before queries, keys and values, as published weights want it.

    Args:
        image_size: height and width of its images.
        model_channels: channels of the first level.
        channel_mult: of each level, how many times as many.
        num_res_blocks: residual blocks of a level, of the decoder one more.
        attention_resolutions: heights of maps with attention.
        num_head_channels: channels of a head.
        out_channels: 6 where the variance is learned, else 3.

    Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021, and its repository
    openai/guided-diffusion (``unet.py``), of which nothing is copied but the names.
    """

    def __init__(
        self,
        image_size: int = 256,
        model_channels: int = 256,
        channel_mult: Sequence[int] = (1, 1, 2, 2, 4, 4),
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (32, 16, 8),
        num_head_channels: int = 64,
        out_channels: int = 6,
    ) -> None:
        super().__init__()
        self.image_size, self.model_channels = image_size, model_channels
        embedded = 4 * model_channels
        self.time_embed = nn.Sequential(nn.Linear(model_channels, embedded), nn.SiLU(), nn.Linear(embedded, embedded))
        widths = [model_channels * times for times in channel_mult]
        side, channels = image_size, widths[0]
        skipped = [channels]

        def block(inputs: int, outputs: int, *, resize: str = "") -> list[nn.Module]:
            attends = side in attention_resolutions and not resize
            attention = [_Attention(outputs, num_head_channels)] if attends else []
            return [_ResBlock(inputs, outputs, embedded, resize), *attention]

        self.input_blocks = nn.ModuleList([_Steps([nn.Conv2d(3, channels, 3, padding=1)])])
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.input_blocks.append(_Steps(block(channels, width)))
                channels = width
                skipped.append(channels)
            if level < len(widths) - 1:
                self.input_blocks.append(_Steps(block(channels, channels, resize="down")))
                skipped.append(channels)
                side //= 2
        inside = [_ResBlock(channels, channels, embedded), _Attention(channels, num_head_channels)]
        self.middle_block = _Steps([*inside, _ResBlock(channels, channels, embedded)])
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for place in range(num_res_blocks + 1):
                parts = block(channels + skipped.pop(), width)
                channels = width
                if level and place == num_res_blocks:
                    parts += block(channels, channels, resize="up")
                    side *= 2
                self.output_blocks.append(_Steps(parts))
        self.out = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )

    def decode(self, x: Tensor, step: Tensor) -> Iterator[Tensor]:
        """Outputs of the decoder's blocks, from block 0 on, of noisy images at a timestep ``[1]``."""
        embedding = self.time_embed(_embedded(step, self.model_channels).to(x.dtype))
        skipped = []
        for steps in self.input_blocks:
            x = steps(x, embedding)
            skipped.append(x)
        x = self.middle_block(x, embedding)
        for steps in self.output_blocks:
            x = steps(torch.cat([x, skipped.pop()], dim=1), embedding)
            yield x

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Noisy images ``[N, 3, H, W]`` in [-1, 1] at a timestep ``[1]`` -> noise, and variances where learned."""
        *_, last = self.decode(x, step)
        predicted: Tensor = self.out(last)
        return predicted


def _embedded(step: Tensor, size: int) -> Tensor:
    """Cosines, then sines, of the timestep at frequencies from 1 down to 1/10000, ``[1]`` -> ``[1, size]``."""
    half = size // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=step.device) / half)
    angles = step[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class _Steps(nn.ModuleList):
    """Modules one after the other, of which residual blocks see the timestep."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for step in self:
            y: Tensor = step(x, embedding) if isinstance(step, _ResBlock) else step(x)
            x = y
        return x


class _ResBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, embedded: int, resize: str = "") -> None:
        super().__init__()
        self.resize = resize
        self.in_layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedded, 2 * outputs))
        convolution = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(_GROUPS, outputs), nn.SiLU(), nn.Identity(), convolution)
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[2](self._resized(self.in_layers[:2](x)))
        scale, shift = self.emb_layers(embedding)[..., None, None].chunk(2, dim=1)
        h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        changed: Tensor = self.skip_connection(self._resized(x)) + h
        return changed

    def _resized(self, x: Tensor) -> Tensor:
        if not self.resize:
            return x
        resized: Tensor = F.avg_pool2d(x, 2) if self.resize == "down" else F.interpolate(x, scale_factor=2.0)
        return resized


class _Attention(nn.Module):
    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # A head has its queries, keys and values side by side.
        parts = self.qkv(self.norm(x.flatten(2))).unflatten(1, (self.heads, 3, -1)).transpose(-1, -2)
        query, key, value = parts.unbind(2)
        found = F.scaled_dot_product_attention(query, key, value).transpose(-1, -2).flatten(1, 2)
        attended: Tensor = self.proj_out(found)
        return x + attended.view_as(x)
