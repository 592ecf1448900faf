"""Statistics of the pixels of single images, as they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vdna_metrics.analysis.features import Features
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading
from vdna_metrics.functional.pixels import pixel_statistics
from vdna_metrics.images.batches import iterate_images
from vdna_metrics.layout import check_type
from vdna_metrics.references.resolve import resolve_images


@dataclass(frozen=True)
class _Statistics:
    """One image ``[3, H, W]`` to its statistics, in the workers that decode; picklable."""

    def __call__(self, image: Tensor) -> Tensor:
        return pixel_statistics(image[None])[0]


def collect_pixel_statistics(images: NumberedImages, *, reading: Reading = DEFAULT_READING) -> Features:
    """`functional.pixel_statistics` of every image, at its own size, whatever network looks at it.

    Args:
        images: what has places and names, see `NumberedImages`; of any sizes.
        reading: how images are read; its workers compute the statistics.

    Returns:
        A vector an image, in the order of `functional.PIXEL_STATISTICS`.

    Raises:
        ValueError: for features, and for images that are unreadable or too small (unless skipped).

    Examples:
        >>> import numpy as np
        >>> collect_pixel_statistics(np.zeros((3, 32, 32, 3), np.uint8)).vectors.shape
        torch.Size([3, 20])
    """
    check_type("reading", reading, Reading)
    source = resolve_images(images)
    if source.features:
        raise ValueError(f"{source.name}: expected images, got features, which have no pixels")
    names, digests, vectors = list[str](), list[str](), list[Tensor]()
    for batch in iterate_images(
        source,
        transform=_Statistics(),
        batch_size=reading.batch_size,
        workers=reading.workers,
        skip_bad=reading.skip_bad,
    ):
        names += [source.names[index] for index in batch.indices]
        digests += batch.digests
        vectors += batch.images
        if reading.progress is not None:
            reading.progress(len(names), len(source))
    return Features(tuple(names), tuple(digests), torch.stack(vectors))
