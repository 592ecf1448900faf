"""What one process does, by several: rank 0 does the work, and all ranks do their shares of its passes over images."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch.distributed as dist

from vdna_metrics.build.dnas import DNARequest, Key, MadeDNAs, make_dnas
from vdna_metrics.build.reading import DEFAULT_READING, Reading
from vdna_metrics.distributions.ranks import RankError, heard
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.images.sources import ImageSource

P = ParamSpec("P")
T = TypeVar("T")

# Rank 0 may compute statistics for longer than ranks wait for each other. That it is gone is noticed at once.
_PATIENCE = timedelta(days=7)


def led(told: Callable[[Any], Any] | None = None) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let rank 0 alone do the work of a function that is given ``reading=Reading(all_ranks=True)``.

    The other ranks wait, and do their shares of the passes of `make_dnas_together`. So nothing but rank 0's arguments,
    files and cache decides what is done, and all end together: the other ranks with `RankError` where rank 0 fails.

    Args:
        told: of what rank 0 gives back, what the others do; by default the same.
    """

    def of(work: Callable[P, T]) -> Callable[P, T]:
        @wraps(work)
        def shared(*arguments: P.args, **options: P.kwargs) -> T:
            reading: Any = options.get("reading", DEFAULT_READING)
            if not getattr(reading, "all_ranks", False):
                return work(*arguments, **options)
            here = reading.on_this_rank()
            options["reading"] = replace(reading, all_ranks=False, shard=(0, 1))
            others = _Others()
            try:
                if here.shard[0]:
                    return others.follow(here)  # type: ignore[no-any-return]
                return others.lead(lambda: work(*arguments, **options), told)
            finally:
                others.close()

        return shared

    return of


def make_dnas_together(
    images: ImageSource,
    extractor: FeatureExtractor,
    requests: Mapping[Key, DNARequest],
    *,
    features: str | None = None,
    name: str | None = None,
    unfinished: Path | None = None,
    reading: Reading = DEFAULT_READING,
) -> MadeDNAs[Key]:
    """`make_dnas`, of which the other ranks do their shares where this one leads them; to the bit that of one process.

    Args:
        images: the images.
        extractor: as in `make_dnas`, and so are the others.
        requests: what to make.
        features: layer whose means over positions are kept, image by image.
        name: of the image set.
        unfinished: folder of checkpoints that the other ranks remove when rank 0 goes on.
        reading: how images are read; each rank has its own workers, device and limit of memory.
    """
    others = _LED.get()
    if others is None:
        return make_dnas(images, extractor, requests, features=features, name=name, reading=reading)
    decided = {"batch_size": reading.batch_size, "skip_bad": reading.skip_bad, "checkpoint": reading.checkpoint}
    share = _Share(images, extractor, requests, features, name, decided, unfinished)
    others.tell(share)
    others.are_busy = True  # and hear nothing, unless the pass ends well
    made = share.make(reading)
    others.are_busy = False
    return made


@dataclass(frozen=True)
class _Share:
    """A pass, as the other ranks are told of it."""

    images: ImageSource
    extractor: FeatureExtractor
    requests: Mapping[Any, DNARequest]
    features: str | None
    name: str | None
    decided: Mapping[str, Any]
    unfinished: Path | None

    def make(self, reading: Reading) -> MadeDNAs[Any]:
        reading = replace(reading, all_ranks=True, shard=(0, 1), **self.decided)
        known: dict[str, Any] = {"features": self.features, "name": self.name}
        return make_dnas(self.images, self.extractor, self.requests, **known, in_order=True, reading=reading)


@dataclass(frozen=True)
class _End:
    """What the other ranks give back."""

    result: Any = None
    failed: bool = False


class _Others:
    """The ranks but 0, and what it tells them."""

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo", timeout=_PATIENCE if dist.get_rank() else None)
        self.are_busy = False

    def tell(self, what: object = None) -> Any:
        """What rank 0 tells, on all ranks."""
        told = [pickle.dumps(what)]  # by itself, so that what fails to be read is no failure to hear
        with heard():
            dist.broadcast_object_list(told, src=0, group=self._group)
        return pickle.loads(told[0])  # nosec B301, it comes from another process of this command

    def lead(self, work: Callable[[], T], told: Callable[[T], Any] | None) -> T:
        token = _LED.set(self)
        try:
            result = work()
        except BaseException:
            if not self.are_busy:
                with suppress(RankError):
                    self.tell(_End(failed=True))
            raise
        finally:
            _LED.reset(token)
        self.tell(_End(result if told is None else told(result)))
        return result

    def follow(self, reading: Reading) -> Any:
        share: _Share | None = None
        while True:
            told = self.tell()
            if isinstance(told, _End) and told.failed:
                raise RankError("rank 0 failed: its own error says why")
            if share is not None and share.unfinished is not None:  # on a disk of its own
                shutil.rmtree(share.unfinished, ignore_errors=True)
            if isinstance(told, _End):
                return told.result
            share = told
            share.make(replace(reading, progress=None))

    def close(self) -> None:
        dist.destroy_process_group(self._group)


_LED: ContextVar[_Others | None] = ContextVar("ranks that this one leads", default=None)
