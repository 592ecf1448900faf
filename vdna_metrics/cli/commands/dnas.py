"""`vdna-metrics make` and `merge`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from vdna_metrics.cli import options
from vdna_metrics.distributions.kinds import Kind


@dataclass(frozen=True)
class MakeOptions:
    """Which DNAs are made."""

    kinds: tuple[Kind, ...] = options.kinds_option(
        "histogram",
        "histogram, gaussian, layer_gaussian, features (of the last of the layers); several make one file each, "
        "FILE.KIND.npz.",
    )
    making: options.DNAOptions = options.nested(options.DNAOptions)
    part: tuple[int, int] | None = options.part_option()


def _check_make(source: str, given: MakeOptions, **_: Any) -> None:
    options.check_root(given.making.reading.root, source)
    options.check_making_options(given.kinds, given.making)


@click.command()
@click.argument("source", metavar="SOURCE")
@options.output_file
@options.takes("given", MakeOptions, _check_make)
@options.as_json
def make(source: str, output: str, given: MakeOptions, as_json: bool) -> None:
    """Make the DNA of a set of images, in one pass for all kinds.

    An interrupt keeps what was done in OUTPUT.checkpoint; the same command goes on from there.
    """
    from vdna_metrics.cli import dnas as work

    work.make(source, output, given, as_json)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.output_file
@options.as_json
def merge(files: tuple[str, ...], output: str, as_json: bool) -> None:
    """Merge DNA files, or files of activation ranges, into one.

    The result is what all their images in one set would have given.
    """
    from vdna_metrics.cli import dnas as work

    work.merge(files, output, as_json)
