"""What commands are given: images, references, distances."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from vdna_metrics.build.reading import Reading, check_device
from vdna_metrics.cli.options import NetworkOptions, NeuronOptions, ReadingOptions
from vdna_metrics.cli.screen import say
from vdna_metrics.distributions import Histogram, Kind
from vdna_metrics.dna import VDNA, Column, columns
from vdna_metrics.ranges import GivenRanges
from vdna_metrics.references import ImageSet, resolve


# ------------------------------------------------------------------------------------------------------------ distances
def in_unit(column: Column, unit: str | None) -> Column:
    """A column in the unit of `--unit`."""
    if unit is None:
        return column
    distance = column.distance
    if "unit" not in distance.options:
        raise click.UsageError(f"--unit is for distances with several units; {distance.label} has one, {column.unit}")
    try:
        return column.replace(unit=unit)
    except ValueError as error:
        raise click.UsageError(f"--unit of {distance.label}: {error}") from error


def check_parts(columns: Sequence[Column], by: str | None, neurons: NeuronOptions) -> None:
    """Refuse parts, and weights of parts, that a distance does not have."""
    for distance in (column.distance for column in columns):
        if distance.per is None and (by is not None or neurons.neuron_weights is not None):
            option = f"--by {by}" if by is not None else "--neuron-weights"
            raise click.UsageError(f"{option}: {distance.label} is one number, without parts by layer or neuron")
        if by == "neuron" and distance.per == "layer":
            raise click.UsageError(f"--by neuron: {distance.label} has one number a layer: use --by layer")


def kinds_of(columns: Sequence[Column]) -> list[Kind]:
    """Kinds of the DNAs that columns need."""
    return list(dict.fromkeys(column.kind for column in columns))


# ---------------------------------------------------------------------------------------------------- what options name
def check_same_bins(reference: VDNA, bins: int | None, ranges: GivenRanges | None) -> None:
    """Refuse what was asked for in so many words and the reference has otherwise."""
    own = reference.distribution
    if not isinstance(own, Histogram):
        return
    if bins not in (None, own.bins):
        raise ValueError(f"bins differ: the reference has {own.bins}, --bins says {bins}; leave --bins out")
    if not has_ranges(own, ranges):
        raise ValueError(
            f"--ranges are not those of the reference, which come with it ({own.where}); leave --ranges out"
        )


def has_ranges(histogram: Histogram, ranges: GivenRanges | None) -> bool:
    """Whether a histogram is in the ranges that were asked for, if any."""
    if ranges is None or ranges == "auto":
        return ranges in (None, histogram.given)
    return histogram.digest == ranges.for_layout(histogram.layout).digest


# -------------------------------------------------------------------------------------------------------------- sources
def find_set(
    source: str, root: str | None, kinds: Sequence[Kind] | None = None, extractor: str | None = None
) -> ImageSet:
    """A source, opened before any work is done so that a wrong name is refused at once."""
    return resolve(source, kinds=kinds, extractors=None if extractor is None else [extractor], root=root)


def default_column(source: str, network: NetworkOptions, root: str | None, *, by_neuron: bool = False) -> Column:
    """The first distance that takes a set's DNAs, of images the first of all; if asked one with parts by neuron."""
    found = find_set(source, root, extractor=network.name)
    kinds = kinds_in(found) if by_neuron else [dna.kind for dna in found.dnas]
    return columns.default_column(kinds, per="neuron" if by_neuron else None)


def kinds_in(images: ImageSet) -> list[Kind]:
    """Kinds of the DNAs that a set has; a layer Gaussian serves for a Gaussian."""
    kinds = list(dict.fromkeys(dna.kind for dna in images.dnas))
    return [*kinds, "gaussian"] if "layer_gaussian" in kinds and "gaussian" not in kinds else kinds


# -------------------------------------------------------------------------------------------------------------- reading
def _device(name: str) -> str:
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        check_device(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--device") from error
    return name


def reading_of(options: ReadingOptions, checkpoint: Path | None = None, part: tuple[int, int] | None = None) -> Reading:
    """How this process reads its share of the images: all, a part, or under torchrun a rank's.

    What that takes, a process group and a handler of signals, ends with the command.
    """
    context = click.get_current_context()
    rank, ranks = (int(os.environ.get(name, alone)) for name, alone in (("RANK", 0), ("WORLD_SIZE", 1)))
    if ranks > 1 and part is not None:
        raise click.UsageError(f"--shard is for processes that know nothing of each other, these are {ranks} ranks")
    device = _device(options.device)
    if ranks > 1:
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        context.with_resource(_process_group())
    stop = None if checkpoint is None else context.with_resource(_stopping(checkpoint))
    return Reading(
        batch_size=options.batch_size,
        workers=options.workers,
        skip_bad=options.skip_bad,
        device=device,
        shard=part or (rank, ranks),
        all_ranks=ranks > 1,
        checkpoint=checkpoint,
        stop=stop,
        notice=say,
        memory_limit=options.memory_limit,
    )


@contextmanager
def _process_group() -> Iterator[None]:
    """The ranks, which end together: a group that one has left takes down those that still talk."""
    torch.distributed.init_process_group()
    try:
        yield
        if sys.exc_info()[0] is None:  # of a rank that fails the others hear when it is gone
            torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def _stopping(checkpoint: Path) -> Iterator[Callable[[], bool]]:
    """Whether a signal asked to stop; a second one does not wait for the batch."""
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say(
            "", f"stopping after this batch: what was done is kept in {checkpoint}, the same command goes on from there"
        )

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
