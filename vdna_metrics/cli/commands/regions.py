"""`vdna-metrics regions`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.options import file_in, nested, option

if TYPE_CHECKING:
    from vdna_metrics.dna import Column


def _region_names(text: str) -> tuple[str, ...]:
    """Comma-separated names, a region each."""
    found = options.names()(text)
    if len(found) < len([name for name in text.split(",") if name.strip()]):
        raise click.BadParameter(f"{text!r}: expected a name for each region, all different")
    return found


@dataclass(frozen=True)
class RegionOptions:
    """What the regions are, and by what they are compared."""

    masks: tuple[str, ...] = option(
        multiple=True,
        placing=file_in,
        metavar="FOLDER",
        help="Label maps of the images in their aspect, PNG files of one channel with the images' names; 255 is no "
        "region. One folder for all sets, or one for each, the reference's first.",
    )
    examples: str | None = option(
        placing=file_in,
        metavar="FOLDER",
        help="Label maps of some images of the reference, of which a segmenter learns to label all.",
    )
    clusters: int | None = option(
        type=click.IntRange(2, 255), metavar="K", help="Regions are K clusters of the reference's pixels, by k-means."
    )
    names: tuple[str, ...] | None = option(
        type=_region_names,
        metavar="A,B",
        help="Of the regions 0, 1, ...; needed with --examples.  [default: the numbers in the label maps]",
    )
    labelling: tuple[str, ...] | None = option(
        "--label-layers",
        type=options.names(),
        metavar="A,B",
        help="Layers that --examples and --clusters look at.  [default: those of the DNAs]",
    )
    seed: int = option(type=click.IntRange(0), metavar="N", default=0, help="Of --examples and --clusters.")
    column: Column = options.columns_option("--distance", default="emd")
    unit: str | None = options.unit_option()
    neurons: str | None = option(
        placing=file_in, reads=True, metavar="FILE", help="Only these neurons: a selection, as `select` writes them."
    )
    output: str | None = option(
        "-o",
        "--output",
        type=options.picture,
        metavar="FILE",
        help=f"Picture to write, some images of each set and their regions: {', '.join(options.PICTURES)}.",
    )
    making: options.DNAOptions = nested(options.DNAOptions)


def _check(reference: str, generated: tuple[str, ...], given: RegionOptions, **_: Any) -> None:
    asked = {"--masks": bool(given.masks), "--examples": given.examples is not None}
    asked["--clusters"] = given.clusters is not None
    stated = [name for name, value in asked.items() if value]
    if len(stated) != 1:
        raise click.UsageError(f"give one of --masks, --examples and --clusters, got {' and '.join(stated) or 'none'}")
    if given.examples is not None and given.names is None:
        raise click.UsageError("--examples needs --names, which say how many regions there are")
    if given.examples is not None and len(given.names or ()) < 2:
        raise click.UsageError(f"--examples needs two --names at least, got {', '.join(given.names or ())}")
    if given.names is not None and given.clusters not in (None, len(given.names)):
        raise click.UsageError(f"--clusters {given.clusters} and {len(given.names)} --names: name all clusters or none")
    if len(given.masks) not in (0, 1, 1 + len(generated)):
        raise click.UsageError(
            f"give --masks once, or once for each of {1 + len(generated)} sets, got {len(given.masks)}"
        )
    options.check_root(given.making.reading.root, reference, *generated)
    options.check_outputs(
        {"--output": given.output}, reference, *generated, *given.masks, *filter(None, [given.examples])
    )


@click.command()
@click.argument("reference", metavar="REFERENCE")
@click.argument("generated", nargs=-1, required=True, metavar="GENERATED...")
@options.takes("given", RegionOptions, _check)
@options.as_json
def regions(reference: str, generated: tuple[str, ...], given: RegionOptions, as_json: bool) -> None:
    """Compare sets of images region by region.

    Printed are how far each region is from the reference's, and how much of the pixels it has. All sets are images, and
    are labelled in one way: by label maps, by a segmenter that learns of a few label maps,
    or by clusters that are found in the reference without any.
    """
    from vdna_metrics.cli import regions as work

    work.regions(reference, generated, given, as_json)
