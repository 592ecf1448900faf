"""`vdna-metrics select` and `vdna-metrics desensitise`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from vdna_metrics import analysis
from vdna_metrics.analysis.desensitise import AttributeDistances, Split
from vdna_metrics.build import attributes, build_dnas
from vdna_metrics.cli import options
from vdna_metrics.cli.inputs import check_making_options, check_root, default_column, reading_of
from vdna_metrics.cli.options import nested, option
from vdna_metrics.cli.results import output_paths, report_skipped, say_notes
from vdna_metrics.cli.screen import is_main, print_json, print_table, progress_bars, say, tell, watched
from vdna_metrics.cli.settings import find_comparison, find_settings
from vdna_metrics.dna import Column
from vdna_metrics.references import resolve_images


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


@click.command()
@click.argument("source_with", metavar="WITH")
@click.argument("source_without", metavar="WITHOUT")
@options.output_file
@options.takes("given", SelectOptions)
@options.as_json
def select(source_with: str, source_without: str, output: str, given: SelectOptions, as_json: bool) -> None:
    """Select the neurons that tell two DNAs apart.

    The file is for --neurons of `score` and `compare`.

    WITH is a DNA of images with something, or these images, WITHOUT of images without it; `merge` makes one of several.
    """
    asked = {"--top": given.k, "--threshold": given.threshold, "--per-layer": given.per_layer}
    stated = [name for name, value in asked.items() if value is not None]
    if len(stated) != 1:
        raise click.UsageError(f"give one of --top, --threshold and --per-layer, got {' and '.join(stated) or 'none'}")
    path = output_paths(output, ("selection",))["selection"]
    making, root = given.making, given.making.reading.root
    check_root(root, source_with, source_without)
    column = given.column or default_column(source_with, making.network, root, by_neuron=True)
    task = find_comparison([source_with], [source_without], [column], making, by="neuron", unit=given.unit)
    (column,) = task.columns
    with progress_bars() as start:
        a = task.real_dnas(start)
        b = task.dnas_of(task.generated[0], start, source_without, a)
    say_notes(task.notes, task.read)
    selection = analysis.select_sensitive(
        a[column.kind],
        b[column.kind],
        k=given.k,
        threshold=given.threshold,
        per_layer=given.per_layer,
        distance=column,
        drop_dead=not given.keep_dead,
        min_coverage=given.min_coverage,
    )
    smallest, dropped = selection.made["smallest"], selection.made["dropped"]
    if given.others:
        selection = ~selection
    written = str(selection.save(path))
    if as_json:
        layers = {layer: list(indices) for layer, indices in selection.neurons.items()}
        return print_json(
            {"file": written, "selected": len(selection), "neurons": layers, "made": dict(selection.made)}
        )
    tell(f"{written}: {selection!r}")
    tell(f"smallest distance of the chosen: {smallest:.4g}")
    tell(f"never chosen: {dropped['dead']} dead, {dropped['coverage']} with too much outside their ranges")


@dataclass(frozen=True)
class DesensitiseOptions:
    """Which attribute is to be ignored, by which distance."""

    column: Column = options.columns_option("--distance", default="emd")
    non_negative: bool = option(is_flag=True, help="No weight below 0, and so no weighted distance. Removes less.")
    neurons: str | None = option(metavar="FILE", help="Weigh only these neurons: a selection, as `select` writes them.")
    making: options.DNAOptions = nested(options.DNAOptions)


@click.command()
@click.argument("table", metavar="TABLE")
@click.option("--images", "source", required=True, metavar="SOURCE", help="The images that TABLE tells of.")
@click.option("--attribute", required=True, metavar="NAME", help="The attribute to ignore.")
@options.output_file
@options.takes("given", DesensitiseOptions)
@options.as_json
def desensitise(table: str, source: str, attribute: str, output: str, given: DesensitiseOptions, as_json: bool) -> None:
    """Learn weights that make a distance ignore one attribute.

    All other attributes are kept.

    TABLE has a line of attributes and a line an image: its name, then 1 for with and 0 or -1 for without, with commas
    or blanks between. Of the images 60 % are learned from, 20 % say when to stop, and what is printed of the other
    20 % is what to expect of new images; the sha256 of an image's name says where it goes.
    """
    making, column = given.making, given.column
    check_root(making.reading.root, source)
    check_making_options([column.kind], making)
    path = output_paths(output, ("weights",))["weights"]
    images = resolve_images(source, root=making.reading.root)
    splits = analysis.split_images(images, analysis.read_attribute_table(table))
    names, left_out = analysis.choose_attributes(splits, attribute)
    if left_out:
        say(f"left out, with fewer than two images with or without in a split: {', '.join(left_out)}")
    pass_ = reading_of(making.reading)
    options_of = making.network, making.histograms, making.features
    settings = find_settings(*options_of, columns=[column], neurons=given.neurons, images=[images])
    found: dict[Split, AttributeDistances] = {}
    counts: dict[Split, int] = {}
    with progress_bars() as start:
        for split, (part, has) in splits.items():
            dnas = build_dnas(
                part,
                settings.built,
                [column.kind],
                partition=attributes({name: has[name] for name in names}),
                reading=watched(pass_, start, part.name, part),
                **settings.options,
            )[column.kind]
            sides = [dna for (name, _), dna in dnas.items() if name == attribute]
            for side in sides:
                report_skipped(part.name, side.provenance.skipped)
            counts[split] = sum(side.n_images for side in sides)
            found[split] = analysis.attribute_distances(dnas, distance=column)
    if not is_main():
        return
    learned = analysis.desensitise(found["train"], found["validation"], attribute, non_negative=given.non_negative)
    results = {
        split: {
            "n_images": counts[split],
            "removal": analysis.sensitivity_removal(distances.values, learned.values, attribute),
            "deviation": analysis.sensitivity_deviation(distances.values, learned.values, attribute),
        }
        for split, distances in found.items()
    }
    written = str(learned.save(path))
    if as_json:
        return print_json(
            {"file": written, "attribute": attribute, "left_out": left_out, "results": results, "made": learned.made}
        )
    tell(f"{written}: {learned!r}")
    print_table(
        f"Sensitivity to {attribute} removed, and deviation of {len(names) - 1} others, in per cent",
        ["images", "n", "removed", "deviation"],
        [
            [split, result["n_images"], round(result["removal"], 2), round(result["deviation"], 2)]
            for split, result in results.items()
        ],
    )
