"""`vdna-metrics select` and `vdna-metrics desensitise`: what is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.options import nested, option

if TYPE_CHECKING:
    from vdna_metrics.dna import Column


@dataclass(frozen=True)
class SelectOptions:
    """Which neurons are selected."""

    k: int | None = option("--top", type=click.IntRange(1), metavar="N", help="The N neurons at the largest distances.")
    threshold: float | None = option(type=float, metavar="X", help="All neurons at a distance above X.")
    per_layer: int | None = option(type=click.IntRange(1), metavar="N", help="The N neurons of each layer.")
    column: Column | None = options.columns_option("--distance")
    unit: str | None = options.unit_option()
    keep_dead: bool = option(is_flag=True, help="Also select neurons whose range has no width.")
    min_coverage: float = option(
        type=click.FloatRange(0, 1),
        default=0.99,
        help="Select no neuron with a smaller share of its activations inside its range.",
    )
    others: bool = option(is_flag=True, help="Write all neurons but these.")
    making: options.DNAOptions = nested(options.DNAOptions, "a DNA's, else ")


def _check_select(source_with: str, source_without: str, given: SelectOptions, **_: Any) -> None:
    asked = {"--top": given.k, "--threshold": given.threshold, "--per-layer": given.per_layer}
    stated = [name for name, value in asked.items() if value is not None]
    if len(stated) != 1:
        raise click.UsageError(f"give one of --top, --threshold and --per-layer, got {' and '.join(stated) or 'none'}")
    options.check_root(given.making.reading.root, source_with, source_without)


@click.command()
@click.argument("source_with", metavar="WITH")
@click.argument("source_without", metavar="WITHOUT")
@options.output_file
@options.takes("given", SelectOptions, _check_select)
@options.as_json
def select(source_with: str, source_without: str, output: str, given: SelectOptions, as_json: bool) -> None:
    """Select the neurons that tell two DNAs apart.

    The file is for --neurons of `score` and `compare`.

    WITH is a DNA of images with something, or these images, WITHOUT of images without it; `merge` makes one of several.
    """
    from vdna_metrics.cli import selection as work

    work.select(source_with, source_without, output, given, as_json)


@dataclass(frozen=True)
class DesensitiseOptions:
    """Which attribute is to be ignored, by which distance."""

    column: Column = options.columns_option("--distance", default="emd")
    loss: Literal["squared", "absolute"] = option(
        type=click.Choice(["squared", "absolute"]),
        default="squared",
        show_default=True,
        help="What weights are learned by: squared or absolute deviations of the distances.",
    )
    non_negative: bool = option(is_flag=True, help="No weight below 0, and so no weighted distance. Removes less.")
    neurons: str | None = option(
        reads=True, metavar="FILE", help="Weigh only these neurons: a selection, as `select` writes them."
    )
    making: options.DNAOptions = nested(options.DNAOptions)


def _check_desensitise(source: str, given: DesensitiseOptions, **_: Any) -> None:
    options.check_root(given.making.reading.root, source)


@click.command()
@click.argument("table", metavar="TABLE")
@click.option("--images", "source", required=True, metavar="SOURCE", help="The images that TABLE tells of.")
@click.option("--attribute", required=True, metavar="NAME", help="The attribute to ignore.")
@options.output_file
@options.takes("given", DesensitiseOptions, _check_desensitise)
@options.as_json
def desensitise(table: str, source: str, attribute: str, output: str, given: DesensitiseOptions, as_json: bool) -> None:
    """Learn weights that make a distance ignore one attribute.

    All other attributes are kept.

    TABLE has a line of attributes and a line an image: its name, then 1 for with and 0 or -1 for without, with commas
    or blanks between. Of the images 60 % are learned from, 20 % say when to stop, and what is printed of the other
    20 % is what to expect of new images; the sha256 of an image's name says where it goes.
    """
    from vdna_metrics.cli import selection as work

    work.desensitise(table, source, attribute, output, given, as_json)
