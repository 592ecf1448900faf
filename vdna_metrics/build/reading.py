"""One pass over images: how they are read, what the pass leaves, and where it goes on after an interrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.build.checkpoint import Checkpoint
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.images.batches import ImageDataset, iterate_images
from vdna_metrics.images.opening import open_images
from vdna_metrics.images.sources import ImageSource, manifest_hash
from vdna_metrics.layout import NeuronLayout

ImagesLike = ImageSource | str | Path | NDArray[np.uint8] | Tensor | Iterable[Any]
"""A source, what `open_images` opens, uint8 ``[N, 3, H, W]``, or an iterable of such batches, as a DataLoader."""

_WORTH_KEEPING = 10.0  # seconds of work
_SMALL = 1 << 22  # bytes of states that cost nothing to keep

Progress = Callable[[int, int | None], None]
"""Called after each batch with the number of images done and, where it is known, of all images."""

Fill = Callable[[dict[str, Tensor], tuple[int, ...]], None]
"""Takes ``{layer: [neurons, images, positions]}`` and the images' places in their source, where they have places."""


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Args:
        batch_size: images a forward.
        workers: decoding processes, 0 to decode in this one.
        skip_bad: leave images out that cannot be read; they are named in the provenance.
        device: where the network runs.
        progress: called after each batch.
        shard: ``(i, n)`` reads every n-th batch of a source, from the i-th; the n results add to that of one process.
        all_ranks: sum over the ranks of ``torch.distributed``, each of which reads its own shard: all get the result
            of all images.
        checkpoint: folder for what was done when reading is interrupted; reading the same again goes on from there.
            Written every minute or so, and gone when the folder is removed, which is up to the caller.
        stop: asked after each batch; when it says yes, the checkpoint is written and ``KeyboardInterrupt`` raised.
    """

    batch_size: int = 32
    workers: int = 0
    skip_bad: bool = False
    device: torch.device | str = "cpu"
    progress: Progress | None = None
    shard: tuple[int, int] = (0, 1)
    all_ranks: bool = False
    checkpoint: Path | None = None
    stop: Callable[[], bool] | None = None

    def images_of_part(self, n_images: int) -> int:
        """How many of a source's images are read, where not all are: those of this part.

        Examples:
            >>> [Reading(batch_size=4, shard=(i, 2)).images_of_part(11) for i in range(2)]
            [7, 4]
        """
        i, n = self.shard
        firsts = range(i * self.batch_size, n_images, n * self.batch_size)
        return sum(min(self.batch_size, n_images - first) for first in firsts)


DEFAULT_READING = Reading()


@dataclass
class Seen:
    """What a pass over images leaves beside its states."""

    name: str = "tensors"
    count: int = 0
    indices: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    next_batch: int = 0
    manifest: str | None = None

    def save(self, checkpoint: Checkpoint, states: Mapping[str, Tensor]) -> None:
        """Write this and the states."""
        arrays = {name: state.cpu().numpy() for name, state in states.items()}
        arrays |= {"indices": np.array(self.indices, np.int64), "digests": np.array(self.digests, "S64")}
        arrays["sizes"] = np.array(self.sizes, np.int64).reshape(-1, 2)
        values = {"count": self.count, "skipped": self.skipped, "next_batch": self.next_batch}
        checkpoint.save(values, arrays)

    def restore_(self, checkpoint: Checkpoint, states: Mapping[str, Tensor]) -> None:
        """Read what `save` wrote, where there is something."""
        values, arrays = checkpoint.restore() or ({}, {})
        if not values:
            return
        for name, state in states.items():
            state.copy_(torch.from_numpy(arrays[name]))
        self.indices, self.digests = arrays["indices"].tolist(), arrays["digests"].astype(str).tolist()
        self.sizes = [(width, height) for width, height in arrays["sizes"].tolist()]
        self.count, self.next_batch = values["count"], values["next_batch"]
        self.skipped = [(name, reason) for name, reason in values["skipped"]]

    def sum_over_ranks_(self, states: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Make this and the states those of all ranks, in the order of the source's names."""
        reduce = {"low": dist.ReduceOp.MIN, "high": dist.ReduceOp.MAX}
        for name, state in states.items():
            dist.all_reduce(state, reduce.get(name, dist.ReduceOp.SUM))
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, (self.count, self.indices, self.digests, self.skipped, self.sizes))
        self.count = sum(part[0] for part in parts)
        self.indices, self.digests = ([item for part in parts for item in part[which]] for which in (1, 2))
        self.sizes = [size for part in parts for size in part[4]]
        order = np.argsort(self.indices, kind="stable")  # as one process would have met them
        self.indices, self.digests = ([items[place] for place in order] for items in (self.indices, self.digests))
        place_of = {name: place for place, name in enumerate(names)}
        self.skipped = sorted((item for part in parts for item in part[3]), key=lambda item: place_of[item[0]])


def one_pass(
    images: ImagesLike,
    extractor: FeatureExtractor,
    layout: NeuronLayout,
    reading: Reading,
    states: Mapping[str, Tensor],
    settings: list[Any],
    fill_: Fill,
) -> Seen:
    """Run each image through a network once.

    Args:
        images: as in `build_dnas`.
        extractor: frozen network.
        layout: layers and neurons that ``fill_`` gets.
        reading: how images are read.
        states: what ``fill_`` fills, by name; kept by checkpoints and summed over ranks.
        settings: all else that decides the states, as plain containers.
        fill_: puts a batch's activations into ``states``.
    """
    seen = Seen()
    source = _opened(images, reading.batch_size)
    lease = extractor.lease(list(layout))  # held as long as images come
    if not isinstance(source, ImageSource):
        if reading.shard != (0, 1) or reading.checkpoint is not None:
            raise ValueError("shard and checkpoint need images that can be read by number, not an iterable of batches")
        for item in source:
            activations = layout.pick(extractor(_images_of(item).to(reading.device)))
            fill_(activations, ())
            seen.count += next(iter(activations.values())).shape[1]
            if reading.progress is not None:
                reading.progress(seen.count, None)
    else:
        seen.name = source.name
        checkpoint = None
        if reading.checkpoint is not None:
            images_read = [source.name, source.names, _sample(source)]
            decisive = [images_read, sorted(states), settings, reading.batch_size, reading.skip_bad]
            checkpoint = Checkpoint(reading.checkpoint, decisive, reading.shard)
            seen.restore_(checkpoint, states)
        total = reading.images_of_part(len(source))
        for batch in iterate_images(
            source,
            transform=ResizeImage(extractor.preprocess),
            batch_size=reading.batch_size,
            workers=reading.workers,
            skip_bad=reading.skip_bad,
            shard=reading.shard,
            first_batch=seen.next_batch,
        ):
            resized = batch.images.to(reading.device, non_blocking=True)
            fill_(layout.pick(extractor.from_resized(resized)), batch.indices)
            seen.count += len(batch.indices)
            seen.indices += batch.indices
            seen.digests += batch.digests
            seen.sizes += batch.sizes
            seen.skipped += [(bad.name, bad.reason) for bad in batch.skipped]
            seen.next_batch = batch.end
            if reading.progress is not None:
                reading.progress(seen.count, total - len(seen.skipped))
            stopping = reading.stop is not None and reading.stop()
            if checkpoint is not None and (stopping or checkpoint.is_due()):
                seen.save(checkpoint, states)
            if stopping:
                raise KeyboardInterrupt
        if checkpoint is not None:  # another pass, over other images or for other states, may be interrupted
            small = sum(state.nbytes for state in states.values()) <= _SMALL
            if checkpoint.is_due(every=0 if small else _WORTH_KEEPING):
                seen.save(checkpoint, states)
    del lease
    if reading.all_ranks:
        seen.sum_over_ranks_(states, source.names if isinstance(source, ImageSource) else ())
    if not seen.count and (reading.all_ranks or reading.shard == (0, 1)):
        raise ValueError(f"{seen.name}: no images")
    if isinstance(source, ImageSource) and seen.digests:
        seen.manifest = manifest_hash([source.names[index] for index in seen.indices], seen.digests)
    return seen


def _sample(source: ImageSource) -> list[str]:
    """Digests of a few images: sets of images may have the same name and their images the same names."""
    dataset = ImageDataset(source)
    return [dataset[index].digest for index in (0, len(source) // 2, len(source) - 1)]


def _opened(images: ImagesLike, batch_size: int) -> ImageSource | Iterable[Any]:
    """A source, or batches as they come."""
    if isinstance(images, ImageSource):
        return images
    if isinstance(images, str | Path | np.ndarray) or _are_paths(images):
        return open_images(images)
    return images.split(batch_size) if isinstance(images, Tensor) else images


def _are_paths(images: Iterable[Any]) -> TypeGuard[Sequence[str | Path]]:
    return isinstance(images, Sequence) and len(images) > 0 and isinstance(images[0], str | Path)


def _images_of(item: object) -> Tensor:
    images = item[0] if isinstance(item, tuple | list) and item else item
    if not isinstance(images, Tensor):
        raise TypeError(f"batches must be tensors, or tuples that start with one, got {type(item).__name__}")
    return images
