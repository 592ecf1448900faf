"""Activations with their places: what a network says of each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vdna_metrics.distributions.base import not_finite
from vdna_metrics.distributions.memory import StateSize, refuse_too_much
from vdna_metrics.extractors.grids import PositionGrid
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.layout import check_count, check_type


def extract_pixels(
    images: Tensor,
    extractor: ExtractorLike,
    layers: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    *,
    normalize: bool = False,
    memory_limit: int | None = None,
) -> Tensor:
    """A feature vector for each pixel: the activations of some layers, upsampled bilinearly and side by side.

    Maps are upsampled as they are, tokens as patches of the image. Of the decoder of a diffusion network, as
    ``ddpm_unet``, the layer ``t50.up.5`` is block 5 at timestep 50, so that names choose both. All features of all
    pixels are large: 8448 of one image of 256 x 256 pixels are 2.2 GB. `cluster_pixels`, `train_segmenter` and
    `label_images` never make them.

    Args:
        images: ``[N, 3, H, W]`` uint8, or float in [0, 1] with ``normalize=True``.
        extractor: frozen network, or its name.
        layers: layers to look at, by default all.
        size: height and width of the result, of what the network sees of the images; by default its input's.
        normalize: whether images are floats in [0, 1].
        memory_limit: bytes that the result may take, as in `Reading`.

    Returns:
        ``[N, C, *size]`` float32, layers in the network's order.

    Raises:
        ValueError: for a layer whose activations have no place in the image, activations that are not finite, or more
            memory than the limit.

    Source:
        Baranchuk et al., Label-Efficient Semantic Segmentation with Diffusion Models, ICLR 2022, section 3.

    Examples:
        >>> extract_pixels(torch.zeros(2, 3, 96, 96, dtype=torch.uint8), "vdna_tiny", ["blocks.0", "blocks.2"]).shape
        torch.Size([2, 48, 96, 96])
    """
    network = create_extractor(extractor)
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        raise ValueError("expected images [N, 3, H, W]; label_images and cluster_pixels take folders and archives")
    if memory_limit is not None:
        check_count("memory_limit", memory_limit)
    prepare = network.preprocess
    own = prepare.size if isinstance(prepare, Preprocessing) else None
    seen = own or (images.shape[2], images.shape[3])
    grids = network.grids_at(layers, seen)
    if not grids:
        raise ValueError("expected layers to look at, got none")
    height, width = seen if size is None else checked_size(size)
    channels = sum(network.layout[layer] for layer in grids)
    refuse_too_much(
        f"features of {height} x {width} pixels",
        [StateSize("images", len(images), 4 * channels * height * width)],
        device=images.device,
        limit=memory_limit,
        fewer="images or layers, a smaller size",
        raised_by="memory_limit=bytes",
    )
    lease = network.lease(list(grids))
    maps = layer_maps(network(images, normalize), grids)
    del lease
    return torch.cat([F.interpolate(x, (height, width), mode="bilinear", align_corners=False) for x in maps], dim=1)


def checked_size(size: object) -> tuple[int, int]:
    """Height and width, where they are.

    Raises:
        TypeError: for what is no pair of whole numbers.
        ValueError: for another number of them, or a size without pixels.
    """
    check_type("size", size, tuple, list)
    assert isinstance(size, tuple | list)
    if len(size) != 2:
        raise ValueError(f"expected a size (height, width), got {size}")
    for what, side in zip(("height", "width"), size, strict=True):
        check_count(what, side)
    return int(size[0]), int(size[1])


def layer_maps(activations: Mapping[str, Tensor], grids: Mapping[str, PositionGrid]) -> list[Tensor]:
    """``{layer: [neurons, images, positions]}`` -> ``[images, neurons, rows, columns]`` float32 of each layer.

    Raises:
        ValueError: for activations that are not finite.
    """
    if bad := [layer for layer in grids if not bool(activations[layer].isfinite().all())]:
        raise ValueError(not_finite(bad))
    return [grid.maps(activations[layer]).float() for layer, grid in grids.items()]
