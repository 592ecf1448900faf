"""What a network answers to a probe image: numbers by which another forward with the same weights is known."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from vdna_metrics.fingerprint import Moments, Response

_SEED = 0
_CELLS = (1, 4, 16, 64)  # pixels


def probe_image(channels: int, height: int, width: int) -> Tensor:
    """A textured image, uint8 ``[1, channels, height, width]``, the same bits on every machine.

    The mean of random cells of four sizes, so that there is something to see for small and large receptive fields.

    Examples:
        >>> image = probe_image(3, 64, 64)
        >>> image.shape, image.float().std() > 30
        (torch.Size([1, 3, 64, 64]), tensor(True))
    """
    stream = np.random.RandomState(_SEED)
    total = np.zeros((channels, height, width), np.int64)
    for cell in _CELLS:
        rows, columns = -(-height // cell), -(-width // cell)
        values = (256 * stream.random_sample((channels, rows, columns))).astype(np.int64)
        total += values.repeat(cell, axis=1).repeat(cell, axis=2)[:, :height, :width]
    return torch.from_numpy((total // len(_CELLS)).astype(np.uint8))[None]


def moments_of(output: Tensor) -> Moments:
    """Mean and standard deviation of all values; in float64 on the CPU, since MPS has none."""
    values = output.detach().cpu().double()
    return float(values.mean()), float(values.std(correction=0))


def response_of(probe: Tensor, moments: dict[str, Moments]) -> Response | None:
    """The response to a probe ``[1, channels, height, width]``, of the layers where all activations were finite."""
    size = "x".join(map(str, probe.shape[2:]))
    digest = hashlib.sha256(probe.contiguous().cpu().numpy().tobytes()).hexdigest()[:12]
    finite = {layer: each for layer, each in moments.items() if np.isfinite(each).all()}
    return Response(f"{size}:{digest}", finite) if finite else None
