"""`vdna-metrics select` and `vdna-metrics desensitise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.comparing import dnas_of, reference_dnas
from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_parts,
    check_root,
    default_column,
    find_sets,
    in_unit,
    open_images,
    reading_of,
)
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    HistogramOptions,
    NetworkOptions,
    NeuronOptions,
    ReadingOptions,
    as_json,
    columns_option,
    output_file,
    takes,
    unit_option,
)
from vdna_metrics.cli.outputs import output_paths
from vdna_metrics.cli.results import Notes
from vdna_metrics.cli.screen import is_main, print_json, print_table, progress_bars, say, watched
from vdna_metrics.cli.settings import find_settings

if TYPE_CHECKING:
    from vdna_metrics.analysis.desensitise import AttributeDistances, Split
    from vdna_metrics.dna import Column


@click.command()
@click.argument("source_with", metavar="WITH")
@click.argument("source_without", metavar="WITHOUT")
@output_file
@click.option("--top", "k", type=click.IntRange(1), metavar="N", help="The N neurons at the largest distances.")
@click.option("--threshold", type=float, metavar="X", help="All neurons at a distance above X.")
@click.option("--per-layer", type=click.IntRange(1), metavar="N", help="The N neurons of each layer.")
@columns_option("--distance")
@unit_option
@click.option("--keep-dead", is_flag=True, help="Also select neurons whose range has no width.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Select no neuron with a smaller share of its activations inside its range.",
)
@click.option("--others", is_flag=True, help="Write all neurons but these.")
@takes("network", NetworkOptions, default=f"that of a DNA, else {DEFAULT_EXTRACTOR}")
@takes("histograms", HistogramOptions, default=f"a DNA's, else {DEFAULT_BINS}")
@takes("reading", ReadingOptions)
@as_json
def select(
    source_with: str,
    source_without: str,
    output: str,
    k: int | None,
    threshold: float | None,
    per_layer: int | None,
    column: Column | None,
    unit: str | None,
    keep_dead: bool,
    min_coverage: float,
    others: bool,
    network: NetworkOptions,
    histograms: HistogramOptions,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Select the neurons that tell two DNAs apart.

    The file is for --neurons of `score` and `compare`.

    WITH is a DNA of images with something, or these images, WITHOUT of images without it; `merge` makes one of several.
    """
    from vdna_metrics.analysis import select_sensitive

    asked = {"--top": k, "--threshold": threshold, "--per-layer": per_layer}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise click.UsageError(f"give one of --top, --threshold and --per-layer, got {' and '.join(given) or 'none'}")
    path = output_paths(output, ("selection",))["selection"]
    check_root(reading.root, source_with, source_without)
    column = column or default_column(source_with, network, reading.root, by_neuron=True)
    check_histogram_options([column.kind], histograms)
    check_parts([column], "neuron", NeuronOptions(None, None))
    column = in_unit(column, unit)
    first, (second,) = find_sets([source_with], [source_without], [column], network, reading.root)
    settings = find_settings(network, histograms, columns=[column], sets=[first, second])
    pass_, notes = reading_of(reading), Notes()
    with progress_bars() as start:
        a, settings = reference_dnas(first, [column.kind], settings, pass_, start, notes)
        b = dnas_of(second, [column.kind], settings, pass_, start, source_without, notes, a)
    notes.say()
    selection = select_sensitive(
        a[column.kind],
        b[column.kind],
        k=k,
        threshold=threshold,
        per_layer=per_layer,
        distance=column,
        drop_dead=not keep_dead,
        min_coverage=min_coverage,
    )
    made, dropped = selection.made, selection.made["dropped"]
    if others:
        selection = ~selection
    written = str(selection.save(path))
    if as_json:
        layers = {layer: list(indices) for layer, indices in selection.neurons.items()}
        print_json({"file": written, "selected": len(selection), "neurons": layers, "made": dict(selection.made)})
        return
    click.echo(f"{written}: {selection!r}")
    click.echo(f"smallest distance of the chosen: {made['smallest']:.4g}")
    click.echo(f"never chosen: {dropped['dead']} dead, {dropped['coverage']} with too much outside their ranges")


@click.command()
@click.argument("table", metavar="TABLE")
@click.option("--images", "source", required=True, metavar="SOURCE", help="The images that TABLE tells of.")
@click.option("--attribute", required=True, metavar="NAME", help="The attribute to ignore.")
@output_file
@columns_option("--distance", default="emd")
@click.option("--non-negative", is_flag=True, help="No weight below 0, and so no weighted distance. Removes less.")
@click.option("--neurons", metavar="FILE", help="Weigh only these neurons: a selection, as `select` writes them.")
@takes("network", NetworkOptions, default=DEFAULT_EXTRACTOR)
@takes("histograms", HistogramOptions, default=str(DEFAULT_BINS))
@takes("reading", ReadingOptions)
@as_json
def desensitise(
    table: str,
    source: str,
    attribute: str,
    output: str,
    column: Column,
    non_negative: bool,
    neurons: str | None,
    network: NetworkOptions,
    histograms: HistogramOptions,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Learn weights that make a distance ignore one attribute.

    All other attributes are kept.

    TABLE has a line of attributes and a line an image: its name, then 1 for with and 0 or -1 for without, with commas
    or blanks between. Of the images 60 % are learned from, 20 % say when to stop, and what is printed of the other
    20 % is what to expect of new images; the sha256 of an image's name says where it goes.
    """
    from vdna_metrics import analysis
    from vdna_metrics.build import attributes, build_dnas

    check_root(reading.root, source)
    check_histogram_options([column.kind], histograms)
    path = output_paths(output, ("weights",))["weights"]
    images = open_images(source, reading.root)
    splits = analysis.split_images(images, analysis.read_attribute_table(table))
    names, left_out = analysis.choose_attributes(splits, attribute)
    if left_out:
        say(f"left out, with fewer than two images with or without in a split: {', '.join(left_out)}")
    pass_ = reading_of(reading)
    settings = find_settings(network, histograms, columns=[column], neurons=NeuronOptions(neurons, None))
    found: dict[Split, AttributeDistances] = {}
    counts: dict[Split, int] = {}
    with progress_bars() as start:
        if column.kind == "histogram":
            settings = settings.with_ranges(images, pass_, start)
        for split, (part, has) in splits.items():
            dnas = build_dnas(
                part,
                settings.built,
                [column.kind],
                partition=attributes({name: has[name] for name in names}),
                bins=settings.bins,
                ranges=settings.ranges,
                layers=list(settings.layout),
                neurons=settings.layout.neurons,
                max_positions=settings.max_positions,
                reading=watched(pass_, start, part.name, part),
            )[column.kind]
            sides = [dna for (name, _), dna in dnas.items() if name == attribute]
            for side in sides:
                for name, reason in side.provenance.skipped:
                    say(f"skipped: {part.name}: {name}: {reason}")
            counts[split] = sum(side.n_images for side in sides)
            found[split] = analysis.attribute_distances(dnas, distance=column)
    if not is_main():
        return
    learned = analysis.desensitise(found["train"], found["validation"], attribute, non_negative=non_negative)
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
        print_json(
            {"file": written, "attribute": attribute, "left_out": left_out, "results": results, "made": learned.made}
        )
        return
    click.echo(f"{written}: {learned!r}")
    print_table(
        f"Sensitivity to {attribute} removed, and deviation of {len(names) - 1} others, in per cent",
        ["images", "n", "removed", "deviation"],
        [
            [split, result["n_images"], round(result["removal"], 2), round(result["deviation"], 2)]
            for split, result in results.items()
        ],
    )
