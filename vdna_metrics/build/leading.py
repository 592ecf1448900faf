"""What one process does, by several: rank 0 does the work, and all ranks do their shares of its passes over images."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch.distributed as dist

from vdna_metrics.build.dnas import DNARequest, Key, MadeDNAs, make_dnas
from vdna_metrics.build.passes import ImageWork
from vdna_metrics.build.reading import Reading
from vdna_metrics.distributions.ranks import heard
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.references.store import default_ranges

T = TypeVar("T")
_Share = tuple[Callable[..., Any], Reading]

# Rank 0 may compute statistics for longer than ranks wait for each other. That it is gone is noticed at once.
_PATIENCE = timedelta(days=7)
OTHERS: ContextVar[Any] = ContextVar("ranks that rank 0 leads", default=None)
"""The group of them, inside `led`."""


def led(work: Callable[[Reading], T], reading: Reading) -> T | None:
    """Let rank 0 alone do a work, a leaderboard, and the other ranks their shares of the passes that it shares out.

    So nothing but rank 0's arguments, files and cache decides what is done. The other ranks have to see images and
    weights under the same paths.

    Args:
        work: what is done, by the reading of one process that it is given.
        reading: of this rank; without ``all_ranks`` the work is done with it as it is. Ranks keep checkpoints of the
            passes that they share in the cache alone.

    Returns:
        What the work gives back; on the other ranks ``None``.

    Raises:
        RankError: when another rank fails, which raises its own error.

    Examples:
        >>> led(lambda reading: reading.batch_size, Reading(batch_size=8))
        8
    """
    if not reading.all_ranks:
        return work(reading)
    rank, _ = reading.on_this_rank().shard
    reading = replace(reading, all_ranks=False, shard=(0, 1), checkpoint=None)
    group: Any = dist.new_group(backend="gloo", timeout=_PATIENCE if rank else None)
    token = OTHERS.set(group)
    try:
        if rank:
            _follow(reading)
            return None
        result = work(reading)
        _tell(None)
        return result
    finally:
        OTHERS.reset(token)
        dist.destroy_process_group(group)  # by which the others hear of a failure


def shared(reading: Reading) -> Reading:
    """By which rank 0 shares a pass of `build_set` out, where it leads others."""
    return replace(reading, all_ranks=reading.all_ranks or OTHERS.get() is not None)


def make_dnas_together(
    images: ImageSource,
    extractor: FeatureExtractor,
    requests: Mapping[Key, DNARequest],
    *,
    features: str | None,
    name: str | None,
    beside: Mapping[str, ImageWork[Any]],
    reading: Reading,
) -> MadeDNAs[Key]:
    """`make_dnas`; with ``all_ranks`` the other ranks, which this one leads, are told to do their shares.

    Args:
        images: the images.
        extractor: as in `make_dnas`, and so are the others.
        requests: what to make.
        features: layer whose means over positions are kept, image by image.
        name: of the image set.
        beside: what else is done in the pass, without other ranks.
        reading: how images are read.
    """
    if reading.all_ranks:  # the others may have stores with other ranges
        alike = {
            key: replace(each, ranges=default_ranges(extractor))
            for key, each in requests.items()
            if each.kind == "histogram" and each.ranges is None
        }
        requests = {**requests, **alike}
    make = partial(make_dnas, images, extractor, requests, features=features, name=name)
    if reading.all_ranks:
        _tell((make, replace(reading, progress=None, stop=None, notice=None)))
    return make(beside=beside, reading=reading)


def _follow(here: Reading) -> None:
    """Do shares until there are no more."""
    told = _tell()
    while told is not None:
        make, reading = told
        make(reading=replace(reading, device=here.device, stop=here.stop))
        told = _tell()  # `make` keeps the network meanwhile, which the next share may have too
        if reading.checkpoint is not None:  # rank 0 has removed its own, maybe on another disk
            shutil.rmtree(reading.checkpoint, ignore_errors=True)


def _tell(share: _Share | None = None) -> _Share | None:
    """What rank 0 tells, on all ranks: a pass, or that there are no more."""
    told = [pickle.dumps(share)]  # by itself, so that what fails to be read is no failure to hear
    with heard():
        dist.broadcast_object_list(told, src=0, group=OTHERS.get())
    found: _Share | None = pickle.loads(told[0])  # nosec B301, it comes from another process of this command
    return found
