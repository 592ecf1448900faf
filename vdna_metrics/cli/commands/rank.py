"""`vdna-metrics rank`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.options import nested, option

if TYPE_CHECKING:
    from vdna_metrics.dna import Column


@dataclass(frozen=True)
class RankOptions:
    """From what images are ranked, and what is shown and written of them."""

    reference: str = option(required=True, metavar="REFERENCE", help="Real images, or a DNA of them (a SOURCE).")
    column: Column = options.columns_option("--metric", default="emd")
    top: int = option(type=click.IntRange(0), metavar="N", default=20, help="Show the N nearest.")
    bottom: int = option(type=click.IntRange(0), metavar="N", default=20, help="Show the N farthest.")
    contact_sheet: str | None = option(
        type=options.picture, metavar="FILE", help=f"Picture of these images to write: {', '.join(options.PICTURES)}."
    )
    maps: str | None = option(
        type=options.picture,
        metavar="FILE",
        help="Picture to write of where in each of them its VDNA-EMD lies, likewise.",
    )
    output: str | None = option(
        "-o",
        "--output",
        type=options.file_to_write("a table", (".csv",)),
        metavar="FILE",
        help="File of all scores to write, .csv.",
    )
    unit: str | None = options.unit_option()
    neurons: options.NeuronOptions = nested(options.NeuronOptions)
    making: options.DNAOptions = nested(options.DNAOptions, "the reference's, else ")
    checkpoint: str | None = options.checkpoint_option()


def _check_rank(source: str, given: RankOptions, **_: Any) -> None:
    options.check_root(given.making.reading.root, source, given.reference)
    outputs = {"--contact-sheet": given.contact_sheet, "--maps": given.maps, "--output": given.output}
    options.check_outputs(outputs, source, given.reference)
    for name, picture in (("--contact-sheet", given.contact_sheet), ("--maps", given.maps)):
        if picture is not None and given.top == given.bottom == 0:
            raise click.UsageError(f"{name} shows nothing with --top 0 --bottom 0")


@click.command()
@click.argument("source", metavar="SOURCE")
@options.takes("given", RankOptions, _check_rank)
@options.as_json
def rank(source: str, given: RankOptions, as_json: bool) -> None:
    """Rank single images by their distance from real ones.

    Each image is shown with the layer that tells most: of the farthest images the one whose distance is highest for
    what is usual in that layer, in standard deviations over all ranked images, of the nearest the one where it is
    lowest.
    """
    from vdna_metrics.cli import rank as work

    work.rank(source, given, as_json)
