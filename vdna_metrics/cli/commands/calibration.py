"""`vdna-metrics calibrate` and `vdna-metrics coverage`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.options import nested, option


def _levels(text: str) -> tuple[float, float]:
    """``"0.1,0.9"`` as ``(0.1, 0.9)``."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0
    if not 0 <= low < high <= 1:
        raise click.BadParameter(f"{text!r}: expected two levels from 0 to 1, for example 0.0001,0.9999")
    return low, high


@dataclass(frozen=True)
class CalibrateOptions:
    """How ranges are found."""

    widen: Any = option(
        type=click.Choice(["margin", "vdna", "none"]),
        default="margin",
        help="How observed extremes become ranges: 10 % of the width on each side, both ends times 1.2, or as they "
        "are.",
    )
    quantiles: tuple[float, float] | None = option(
        type=_levels,
        metavar="LOW,HIGH",
        help="Ranges between these quantiles instead, 0.0001,0.9999 for example; of images it takes a second pass.",
    )
    network: options.NetworkOptions = nested(options.NetworkOptions)
    reading: options.ReadingOptions = nested(options.ReadingOptions)
    part: tuple[int, int] | None = options.part_option()


def _check_calibrate(sources: tuple[str, ...], given: CalibrateOptions, **_: Any) -> None:
    options.check_root(given.reading.root, *sources)
    by = click.get_current_context().get_parameter_source("widen")
    if given.quantiles is not None and by is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--widen is for extremes, --quantiles are taken as they are; leave one out")


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@options.output_file
@options.takes("given", CalibrateOptions, _check_calibrate)
@options.as_json
def calibrate(sources: tuple[str, ...], output: str, given: CalibrateOptions, as_json: bool) -> None:
    """Find a network's activation ranges over sets of images.

    Each SOURCE may instead be a histogram DNA: one made with `--ranges auto`, or for `--quantiles` any.

    An interrupt keeps what was done in OUTPUT.checkpoint; the same command goes on from there.
    """
    from vdna_metrics.cli import calibration as work

    work.calibrate(sources, output, given, as_json)


@dataclass(frozen=True)
class CoverageOptions:
    """Which ranges are judged, and where they are drawn."""

    output: str | None = option(
        "-o", "--output", type=options.picture, metavar="FILE", help=f"Picture to write: {', '.join(options.PICTURES)}."
    )
    ranges_file: str | None = option(
        "--ranges", metavar="FILE|auto", help="Activation ranges.  [default: those that ship, else auto; a DNA's own]"
    )
    network: options.NetworkOptions = nested(options.NetworkOptions)
    reading: options.ReadingOptions = nested(options.ReadingOptions)


def _check_coverage(source: str, given: CoverageOptions, **_: Any) -> None:
    options.check_root(given.reading.root, source)
    options.check_outputs({"--output": given.output}, source)


@click.command()
@click.argument("source", metavar="SOURCE")
@options.takes("given", CoverageOptions, _check_coverage)
@options.as_json
def coverage(source: str, given: CoverageOptions, as_json: bool) -> None:
    """Tell whether activation ranges fit a set of images.

    SOURCE is a set of images, or a histogram DNA, which is judged by the ranges it was made with.
    """
    from vdna_metrics.cli import calibration as work

    work.coverage(source, given, as_json)
