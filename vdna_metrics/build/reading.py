"""How a pass reads images: what it opens, in which batches, on which ranks, with how much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions.memory import StateSize, refuse_too_much, size_text, total_and_parts
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import check_count, check_type
from vdna_metrics.references.image_sets import ImageSet
from vdna_metrics.references.resolve import resolve, resolve_images

NumberedImages = ImageSource | ImageSet | str | Path | Sequence[str | Path] | NDArray[Any] | Tensor | Mapping[str, Any]
"""Images that have places and names: a source or set, what `open_images` opens, uint8 ``[N, 3, H, W]``; or features."""

ImagesLike = NumberedImages | Iterable[Any]
"""The same, or an iterable of batches ``[N, 3, H, W]`` as a DataLoader."""

Progress = Callable[[int, int | None], None]
"""Called after each batch with the number of images done and, where it is known, of all images."""

_WORTH_SAYING = 10**9  # bytes
_WORTH_SAYING_OF_PARTS = 10**8


def check_device(device: torch.device | str) -> None:
    """Raise ``ValueError`` for what is no device of this machine."""
    check_type("device", device, torch.device, str)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises the latter where it was built without CUDA
        raise ValueError(f"{device}: {error}") from error


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
        all_ranks: sum over the ranks of ``torch.distributed``, each of which reads its own shard of a source (an
            iterable of batches gives each rank its own): all get the result of all images.
        checkpoint: folder for what was done when reading is interrupted; reading the same again goes on from there.
            Written every minute or so, and gone when the folder is removed, which is up to the caller.
        stop: asked after each batch; when it says yes, the checkpoint is written and ``KeyboardInterrupt`` raised.
        notice: called before the work with a sentence about the memory that it takes, where that is much.
        memory_limit: bytes that may be kept of what is seen; by default half of this machine's memory, or what the
            environment variable ``VDNA_METRICS_MEMORY_LIMIT`` says.
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
    notice: Callable[[str], None] | None = None
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size)
        check_count("workers", self.workers, 0)
        check_type("device", self.device, torch.device, str)
        check_count("memory_limit", self.memory_limit or 0, 0)
        check_type("checkpoint", self.checkpoint, str, Path, type(None))
        object.__setattr__(self, "checkpoint", None if self.checkpoint is None else Path(self.checkpoint))
        check_type("shard", self.shard, tuple)
        if len(self.shard) != 2 or not 0 <= self.shard[0] < self.shard[1]:
            raise ValueError(f"expected a shard (i, n) with 0 <= i < n, got {self.shard}")

    def images_of_part(self, n_images: int) -> int:
        """How many of a source's images are read, where not all are: those of this part.

        Examples:
            >>> [Reading(batch_size=4, shard=(i, 2)).images_of_part(11) for i in range(2)]
            [7, 4]
        """
        i, n = self.shard
        firsts = range(i * self.batch_size, n_images, n * self.batch_size)
        return sum(min(self.batch_size, n_images - first) for first in firsts)

    def on_this_rank(self) -> Reading:
        """With ``all_ranks`` the same with the shard of this rank.

        Raises:
            ValueError: without a process group, or with the shard of another rank.
        """
        if not self.all_ranks:
            return self
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError("all_ranks=True needs a process group: call torch.distributed.init_process_group() first")
        own = dist.get_rank(), dist.get_world_size()
        if self.shard not in ((0, 1), own):
            raise ValueError(
                f"all_ranks=True: expected the shard {own} of this rank, got {self.shard}; leave shard out"
            )
        return replace(self, shard=own)


DEFAULT_READING = Reading()


def open_any(images: ImagesLike) -> ImageSource | Iterable[Any]:
    """The source of images that can be read by number, else their batches as they come."""
    found = resolve(images)
    return resolve_images(found) if found.batches is None else found.batches


_FEWER = "groups or parts, kinds, layers, neurons or bins"  # what DNAs take memory for


def check_memory(name: str, sizes: Sequence[StateSize], reading: Reading, *, fewer: str = _FEWER) -> None:
    """Tell what the states of a pass take, where it is much, and refuse what is too much.

    Args:
        name: of the images.
        sizes: what is kept.
        reading: has the limit, and who is told.
        fewer: of what there could be less.

    Raises:
        ValueError: above the limit, with what takes how much and what to do.

    Examples:
        >>> check_memory("photos", [StateSize("histogram", 10, 11_000_000)], Reading(notice=print))
        photos: 110 MB of memory for histogram: 10 x 11 MB
    """
    refuse_too_much(
        name,
        sizes,
        device=reading.device,
        limit=reading.memory_limit,
        fewer=fewer,
        raised_by="Reading(memory_limit=bytes)",
    )
    total, parts = total_and_parts(sizes)
    several = any(size.number > 1 for size in sizes)
    if reading.notice is not None and total >= (_WORTH_SAYING_OF_PARTS if several else _WORTH_SAYING):
        reading.notice(f"{name}: {size_text(total)} of memory for {parts}")
