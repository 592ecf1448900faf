"""Images decoded by stated rules, and batched in a fixed order."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing import get_sharing_strategy
from torch.utils.data import DataLoader, Dataset

from vdna_metrics.functional.hashing import image_hashes
from vdna_metrics.images.decoding import DecodedImage, decode_bytes, pixel_hash
from vdna_metrics.images.sources import ArraySource, ImageSource

FACTS = np.dtype([("format", "S8"), ("width", "u4"), ("height", "u4"), ("depth", "u1"), ("pixels", "u8")])
"""Of one image as it is stored: its format, its size in pixels, its `DecodedImage.depth` and its `pixel_hash`.

Of a row of features the format is ``features``, and the rest 0."""


def _row_to_rgb(row: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if row.ndim == 2:
        row = row[:, :, None]
    elif row.shape[2] not in (1, 3):
        row = row.transpose(1, 2, 0)
    return np.array(np.broadcast_to(row, (*row.shape[:2], 3)))


def _facts_of(image: DecodedImage) -> tuple[Any, ...]:
    height, width, _ = image.pixels.shape
    return image.format.encode(), width, height, image.depth, pixel_hash(image.pixels)


def facts_of_batch(images: Tensor) -> NDArray[Any]:
    """`FACTS` of uint8 images ``[N, 3, H, W]`` as they come; of those on another device the pixels are not looked at.

    Of what is no image, which networks without preprocessing take, sizes are 0 too.

    Args:
        images: the batch.
    """
    are_images = images.ndim == 4 and images.dtype == torch.uint8
    height, width = images.shape[2:] if are_images else (0, 0)
    looked_at = are_images and images.device.type == "cpu"
    hashes = image_hashes(images).tolist() if looked_at else [0] * len(images)
    return np.array([(b"tensor", width, height, 0, each % 2**64) for each in hashes], FACTS)


@dataclass(frozen=True)
class ImageRecord:
    """One image on its way from a worker.

    Args:
        index: its place in the source.
        digest: sha256 of its bytes.
        image: a tensor, or what is wrong with it.
        facts: of the image as stored, one of `FACTS`.
        measured: what `ImageDataset.measure` says of it.
    """

    index: int
    digest: str
    image: Tensor | str
    facts: tuple[Any, ...] = ()
    measured: Tensor | None = None


@dataclass(frozen=True)
class BadImage:
    """An image that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageBatch:
    """Some images of a source, in its order.

    Args:
        images: ``[N, 3, H, W]``, of the type the transform returns; N is 0 only where all images of a part are bad.
        indices: places of the N images in the source.
        digests: sha256 of the N files' bytes (of the array's rows as stored), hexadecimal.
        skipped: images left out since the batch before.
        end: number of the batch to go on with after this one.
        facts: of the N images as they are stored, an array of `FACTS`.
        measured: of those of the N images that were measured, a row each, in their order.
    """

    images: Tensor
    indices: tuple[int, ...]
    digests: tuple[str, ...]
    skipped: tuple[BadImage, ...] = ()
    end: int = 0
    facts: NDArray[Any] = field(default_factory=lambda: np.empty(0, FACTS))
    measured: Tensor = field(default_factory=lambda: torch.empty(0))


Measure = Callable[[int, Tensor], Tensor | None]
"""Of an image's place and its pixels as they are stored, uint8 ``[3, H, W]`` with any strides, a row of numbers; or
none."""


def _planes(image: Tensor) -> Tensor:
    return image.contiguous()


_LONGEST = 75  # of the 107 bytes that the address of a socket has, without the names that Python adds


def _check_temporary_folder(workers: int) -> None:
    # Workers hand their batches over by sockets in this folder; where its name is too long, both sides wait for ever.
    folder = tempfile.gettempdir()
    if workers and len(os.fsencode(folder)) > _LONGEST and get_sharing_strategy() == "file_descriptor":
        raise ValueError(
            f"expected a folder for temporary files of at most {_LONGEST} bytes, which decoding processes need, got "
            f"{folder}: set TMPDIR to a shorter one, or workers=0 (--workers 0)"
        )


class ImageDataset(Dataset[ImageRecord]):
    """Read, digest, decode and transform the images of a source, one at a time.

    A file that cannot be read or decoded is a record whose ``image`` says why; it does not raise. The same holds for
    an image that the transform refuses by a ``ValueError``; other errors of the transform are raised.

    Args:
        source: what `open_images` returns.
        transform: uint8 ``[3, H, W]`` with any strides (of features a row) -> tensor, picklable where workers are
            spawned.
        measure: of images, not of features, likewise picklable.

    Examples:
        >>> from vdna_metrics import open_images
        >>> ImageDataset(open_images(np.zeros((2, 4, 5, 3), dtype=np.uint8)))[1].image.shape
        torch.Size([3, 4, 5])
    """

    def __init__(
        self, source: ImageSource, transform: Callable[[Tensor], Tensor] = _planes, measure: Measure | None = None
    ) -> None:
        self.source = source
        self.transform = transform
        self.measure = measure

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> ImageRecord:
        digest = ""
        try:
            raw = self.source.read(index)
            digest = hashlib.sha256(raw if isinstance(raw, bytes) else raw.tobytes()).hexdigest()
            if self.source.features:
                row = torch.from_numpy(np.array(raw))
                return ImageRecord(index, digest, self.transform(row), (b"features", 0, 0, 0, 0))
            decoded = decode_bytes(raw) if isinstance(raw, bytes) else DecodedImage(_row_to_rgb(raw), "array")
            facts = _facts_of(decoded)
            planes = torch.from_numpy(decoded.pixels).permute(2, 0, 1)  # a view: who wants planes in memory copies them
            del decoded
            measured = None if self.measure is None else self.measure(index, planes)
            image = self.transform(planes)
        except OSError as error:
            return ImageRecord(index, digest, error.strerror or str(error))  # without the name, which the caller adds
        except (ValueError, MemoryError) as error:
            return ImageRecord(index, digest, str(error) or "not enough memory")
        return ImageRecord(index, digest, image, facts, measured)

    def batch(self, records: list[ImageRecord]) -> tuple[ImageBatch, str]:
        """Records together, stacked in the worker: one tensor crosses the process border; and what keeps them apart."""
        names = self.source.names
        good = [record for record in records if isinstance(record.image, Tensor)]
        images = [record.image for record in records if isinstance(record.image, Tensor)]
        skipped = (BadImage(names[record.index], record.image) for record in records if isinstance(record.image, str))
        other = next((place for place, image in enumerate(images) if image.shape != images[0].shape), 0)
        measured = [record.measured for record in good if record.measured is not None]
        both = [f"{names[good[place].index]} {list(images[place].shape)}" for place in (0, other) if other]
        batch = ImageBatch(
            torch.stack(images) if images and not other else torch.empty(0, 3, 1, 1),
            tuple(record.index for record in good),
            tuple(record.digest for record in good),
            tuple(skipped),
            facts=np.array([record.facts for record in good], FACTS),
            measured=torch.stack(measured) if measured else torch.empty(0),
        )
        return batch, ", ".join(both)


def bad_image(source: ImageSource, bad: BadImage) -> str:
    """Which image of a source is bad, and why."""
    of = "" if bad.name == source.name else f"{source.name}: "  # of one file, whose name is that of the source
    return f"{of}{bad.name}: {bad.reason}"


def iterate_images(
    source: ImageSource,
    *,
    transform: Callable[[Tensor], Tensor] | None = None,
    measure: Measure | None = None,
    batch_size: int = 32,
    workers: int = 0,
    skip_bad: bool = False,
    shard: tuple[int, int] = (0, 1),
    first_batch: int = 0,
) -> Iterator[ImageBatch]:
    """Yield all images of a source in batches, in its order whatever the number of workers.

    Array sources are read in this process: there is nothing to decode, and workers would copy gigabytes. Closing the
    iterator ends the workers. torch's random state is left alone.

    Args:
        source: what `open_images` returns.
        transform: uint8 ``[3, H, W]`` -> tensor of one size, applied in the workers; none by default.
        measure: of images at their own sizes, likewise.
        batch_size: images a batch; fewer where images were skipped, and in the last batch.
        workers: decoding processes, 0 to decode in this one.
        skip_bad: leave bad images out and list them in `ImageBatch.skipped`.
        shard: ``(i, n)`` takes every n-th batch, from the i-th, so that n processes share the very batches of one.
        first_batch: batches of the whole source to pass over, of those that were read before.

    Yields:
        `ImageBatch`, with at least one image each.

    Raises:
        ValueError: a bad image without ``skip_bad``, no good image in the whole source, different sizes in one batch,
            or no such shard.

    Examples:
        >>> from vdna_metrics import open_images
        >>> source = open_images(np.zeros((3, 4, 4, 3), dtype=np.uint8))
        >>> [batch.indices for batch in iterate_images(source, batch_size=2)]
        [(0, 1), (2,)]
    """
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard (i, n) is one of n parts, 0 <= i < n, got {shard}")
    workers = 0 if isinstance(source, ArraySource) else workers
    _check_temporary_folder(workers)
    n_batches = -(-len(source) // batch_size)
    numbers = [number for number in range(shard[0], n_batches, shard[1]) if number >= first_batch]
    batches: Any = [range(n * batch_size, min((n + 1) * batch_size, len(source))) for n in numbers]  # typed as lists
    dataset = ImageDataset(source, transform or _planes, measure)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=dataset.batch,
        generator=torch.Generator(),  # else the loader draws its seed from the caller's global stream
    )
    iterator = iter(loader)
    held: ImageBatch | None = None  # one batch back, so that what is skipped at the end still travels with images
    skipped: tuple[BadImage, ...] = ()
    try:
        for number, (batch, both) in zip(numbers, iterator, strict=True):
            skipped += batch.skipped
            if skipped and not skip_bad:
                raise ValueError(f"{bad_image(source, skipped[0])}; skip_bad=True (--skip-bad) leaves it out")
            if both:
                raise ValueError(
                    f"{source.name}: sizes differ in one batch: {both}; give the network a size (size=, --size), "
                    "resize them, or use batch_size=1"
                )
            if batch.indices:
                if held is not None:
                    yield held
                held, skipped = replace(batch, skipped=skipped, end=number + 1), ()
    finally:
        # The traceback of an error would keep this frame, and with it the workers, alive.
        del iterator
    if held is None and not skipped:  # of a part
        return
    if held is None and len(skipped) == len(source):
        raise ValueError(f"none of {len(source)} images is readable: {bad_image(source, skipped[0])}")
    held = held or ImageBatch(torch.empty(0, 3, 1, 1), (), ())
    yield replace(held, skipped=held.skipped + skipped, end=numbers[-1] + 1)
