"""What a pass keeps of single images, beside what it counts: their pictures and their activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vdna_metrics.build.passes import ActivationBatch, ImageWork, Seen
from vdna_metrics.distributions.parts import some_images
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import NeuronLayout

_MOST = 1 << 30  # bytes of activations of one set: with ViT-B/16 134 images, with vdna_tiny over a thousand


@dataclass(frozen=True, eq=False)
class KeptActivations:
    """Images with all that the neurons saw of them.

    Args:
        source: name of the images.
        indices: of each its place in the source.
        names: of each.
        batches: ``{layer: [neurons, images, positions]}`` on the CPU, some images each, in the same order.
    """

    source: str
    indices: tuple[int, ...]
    names: tuple[str, ...]
    batches: tuple[Mapping[str, Tensor], ...]


def keep_activations(images: ImageSource, layout: NeuronLayout, *, most: int = _MOST) -> ImageWork[KeptActivations]:
    """Keep the activations of images for what is known after the pass alone, as which neurons to look at.

    Args:
        images: the images. Where theirs would take more than ``most``, evenly spaced ones of them are kept.
        layout: the neurons.
        most: bytes.
    """
    batches: list[Mapping[str, Tensor]] = []
    indices: list[int] = []
    kept: set[int] = set()

    def fill_(batch: ActivationBatch) -> None:
        if not kept:
            each = sum(x[:, 0].nelement() * x.element_size() for x in batch.activations.values())
            number = min(len(images), max(1, most // each))
            kept.update(place * len(images) // number for place in range(number))
        known = kept.difference(indices)  # a pass that went on is repeated over what it has not kept
        rows = [row for row, index in enumerate(batch.indices) if index in known]
        if rows:
            some = some_images(batch.activations, torch.tensor(rows))
            batches.append({layer: x.cpu() for layer, x in some.items()})
            indices.extend(batch.indices[row] for row in rows)

    def done(seen: Seen) -> KeptActivations | None:
        if kept.intersection(seen.indices) != set(indices) or not kept:
            return None
        names = tuple(images.names[index] for index in indices)
        return KeptActivations(images.name, tuple(indices), names, tuple(batches))

    return ImageWork(images, layout, {}, ["activations", layout.to_json(), most], fill_, done)


def keep_pictures(images: ImageSource) -> ImageWork[dict[int, Tensor]]:
    """Keep images as the network saw them, ``{index: uint8 [3, H, W]}``.

    Args:
        images: the images.
    """
    pictures: dict[int, Tensor] = {}

    def fill_(batch: ActivationBatch) -> None:
        if batch.images is not None:
            seen = batch.images.clamp(0, 255).round().byte().cpu()
            pictures.update(zip(batch.indices, seen, strict=True))

    def done(seen: Seen) -> dict[int, Tensor] | None:
        return pictures if len(pictures) == len(seen.indices) else None

    return ImageWork(images, None, {}, ["pictures"], fill_, done)
