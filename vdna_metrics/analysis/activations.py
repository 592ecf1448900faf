"""One pass over images whose activations are looked at image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.build.reading import DEFAULT_READING, Reading
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.images.batches import BadImage, iterate_images
from vdna_metrics.images.opening import open_images
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import NeuronLayout

NumberedImages = ImageSource | str | Path | Sequence[str | Path] | NDArray[np.uint8] | Tensor
"""Images that have places and names: a source, what `open_images` opens, or uint8 ``[N, 3, H, W]``."""


@dataclass(frozen=True, eq=False)
class ActivationBatch:
    """What the neurons saw of some images.

    Args:
        indices: places of the N images in their source.
        digests: sha256 of the N images as stored.
        sizes: width and height of the N images as stored.
        images: ``[N, 3, H, W]`` float32 in [0, 255], at the network's size.
        activations: ``{layer: [neurons, N, positions]}``, on the network's device.
        skipped: images left out since the batch before.
    """

    indices: tuple[int, ...]
    digests: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    images: Tensor
    activations: dict[str, Tensor]
    skipped: tuple[BadImage, ...]


def open_numbered(images: NumberedImages) -> ImageSource:
    """The source of images that have places and names; see `open_images` for what it refuses."""
    if isinstance(images, ImageSource):
        return images
    return open_images(images.cpu().numpy() if isinstance(images, Tensor) else images)


def iterate_activations(
    source: ImageSource, extractor: FeatureExtractor, layout: NeuronLayout, reading: Reading = DEFAULT_READING
) -> Iterator[ActivationBatch]:
    """Run images through a network, each once, in the very batches of `build_dnas`.

    Args:
        source: the images.
        extractor: frozen network.
        layout: layers and neurons to look at.
        reading: how images are read; no checkpoints, and no sum over ranks.

    Yields:
        `ActivationBatch`, of which nothing is kept.

    Raises:
        ValueError: for unreadable images (unless skipped), or a way of reading that is not possible here.
    """
    if reading.checkpoint is not None or reading.all_ranks:
        raise ValueError("checkpoint and all_ranks are for build_dnas; here a shard gives a part that can be added")
    lease = extractor.lease(list(layout))  # held as long as images come
    done, total = 0, reading.images_of_part(len(source))
    for batch in iterate_images(
        source,
        transform=ResizeImage(extractor.preprocess),
        batch_size=reading.batch_size,
        workers=reading.workers,
        skip_bad=reading.skip_bad,
        shard=reading.shard,
    ):
        total -= len(batch.skipped)
        activations = layout.pick(extractor.from_resized(batch.images.to(reading.device, non_blocking=True)))
        yield ActivationBatch(batch.indices, batch.digests, batch.sizes, batch.images, activations, batch.skipped)
        done += len(batch.indices)
        if reading.progress is not None:
            reading.progress(done, total)
        if reading.stop is not None and reading.stop():
            raise KeyboardInterrupt
    del lease
