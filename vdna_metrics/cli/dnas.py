"""`vdna-metrics make`, `compare` and `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.comparing import compare_sets
from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_parts,
    check_root,
    default_column,
    find_sets,
    in_unit,
    open_images,
    reading_of,
    weighted,
)
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    HistogramOptions,
    Names,
    NetworkOptions,
    NeuronOptions,
    ReadingOptions,
    allow_subsampled_option,
    as_json,
    columns_option,
    output_file,
    part_of_images,
    takes,
    unit_option,
)
from vdna_metrics.cli.outputs import forget, output_paths
from vdna_metrics.cli.results import Notes, described, distance_from, heading, report_skipped, seen_by
from vdna_metrics.cli.screen import is_main, print_by_layer, print_json, print_table, progress_bars, watched
from vdna_metrics.cli.settings import find_settings

if TYPE_CHECKING:
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import Column


@click.command()
@click.argument("source", metavar="SOURCE")
@output_file
@click.option(
    "--kinds",
    type=Names("histogram", "gaussian", "layer_gaussian"),
    default="histogram",
    show_default=True,
    help="histogram, gaussian, layer_gaussian; several make one file each, FILE.KIND.npz.",
)
@takes("network", NetworkOptions, default=DEFAULT_EXTRACTOR)
@takes("histograms", HistogramOptions, default=str(DEFAULT_BINS))
@takes("reading", ReadingOptions)
@part_of_images
@as_json
def make(
    source: str,
    output: str,
    kinds: tuple[Kind, ...],
    network: NetworkOptions,
    histograms: HistogramOptions,
    reading: ReadingOptions,
    part: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Make the DNA of a set of images, in one pass for all kinds.

    An interrupt keeps what was done in OUTPUT.checkpoint; the same command goes on from there.
    """
    check_root(reading.root, source)
    check_histogram_options(kinds, histograms)
    paths = output_paths(output, kinds)
    pass_ = reading_of(reading, Path(f"{output}.checkpoint"), part)
    images = open_images(source, reading.root)
    settings = find_settings(network, histograms)
    with progress_bars() as start:
        if "histogram" in kinds:
            settings = settings.with_ranges(images, pass_, start)
        dnas = settings.make(images, kinds, watched(pass_, start, source, images))
    if not is_main():
        return
    report_skipped(dnas[kinds[0]])
    if "histogram" in dnas:
        notes = Notes()
        notes.add_warnings(source, dnas["histogram"])
        notes.say()
    written = [(str(dna.save(paths[kind])), dna) for kind, dna in dnas.items()]
    forget(pass_.checkpoint)
    if as_json:
        print_json([{"file": file, **described(dna)} for file, dna in written])
        return
    for file, dna in written:
        click.echo(f"{file}: {dna!r}")


@click.command()
@click.argument("reference", metavar="SOURCE")
@click.argument("generated", nargs=-1, required=True, metavar="SOURCE...")
@columns_option("--metric")
@click.option("--by", type=click.Choice(["layer", "neuron"]), help="Also print each layer's, or neuron's, distance.")
@takes("neurons", NeuronOptions)
@unit_option
@takes("network", NetworkOptions, default=f"that of a DNA, else {DEFAULT_EXTRACTOR}")
@takes("histograms", HistogramOptions, default=f"a DNA's, else {DEFAULT_BINS}")
@allow_subsampled_option
@takes("reading", ReadingOptions)
@as_json
def compare(
    reference: str,
    generated: tuple[str, ...],
    column: Column | None,
    by: str | None,
    neurons: NeuronOptions,
    unit: str | None,
    network: NetworkOptions,
    histograms: HistogramOptions,
    allow_subsampled: bool,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Compare DNAs, or sets of images, with the first.

    Of images the DNA is made first, through the network and with the bins and ranges of the first DNA.
    Histograms are compared by VDNA-EMD, Gaussians by the neuron and layer Gaussians by the layer Fréchet distance.
    """
    check_root(reading.root, reference, *generated)
    column = column or default_column(reference, network, reading.root)
    check_histogram_options([column.kind], histograms)
    check_parts([column], by, neurons)
    column = in_unit(column, unit)
    first, others = find_sets([reference], generated, [column], network, reading.root)
    columns = weighted([column], neurons)
    settings = find_settings(network, histograms, columns=columns, neurons=neurons, sets=[first, *others])
    dnas, compared, notes = compare_sets(
        first, others, columns, settings, reading_of(reading), by, allow_subsampled=allow_subsampled
    )
    if not is_main():
        return
    real = dnas[column.kind]
    results = [{"dna": each.images.source, "n_images": each.dna.n_images, **each.values} for each in compared]
    sentences = notes.say()
    if as_json:
        print_json(
            {
                "reference": reference,
                "metric": column.name,
                "unit": column.options.get("unit"),
                "neurons": neurons.neurons,
                "neuron_weights": neurons.neuron_weights,
                "results": results,
                "read": notes.read,
                "warnings": sentences,
            }
        )
        return
    title = heading(column, unit=True)
    images = f"{reference}, {real.n_images} images {seen_by(settings.extractor, neurons)}"
    rows = [[row["dna"], row["n_images"], row[column.name]] for row in results]
    print_table(distance_from([column], images), ["dna", "n", title], rows)
    if by == "layer":
        print_by_layer(title, column.name, list(generated), results)
    elif by == "neuron":
        rows = [
            [layer, neuron, *(row[f"{column.name}_by_neuron"][layer][place] for row in results)]
            for layer, values in results[0][f"{column.name}_by_neuron"].items()
            for place, neuron in enumerate(real.layout.neurons.get(layer, range(len(values))))
        ]
        print_table(f"{title} by neuron", ["layer", "neuron", *generated], rows)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_file
@as_json
def merge(files: tuple[str, ...], output: str, as_json: bool) -> None:
    """Merge DNA files, or files of activation ranges, into one.

    The result is what all their images in one set would have given.
    """
    from vdna_metrics.dna import VDNA
    from vdna_metrics.dna.serialization import load_merged

    path = output_paths(output, ("merged",))["merged"]
    merged = load_merged(files)
    kind = merged.kind if isinstance(merged, VDNA) else "ranges"
    written = {"file": str(merged.save(path)), "kind": kind, "n_images": merged.n_images}
    if as_json:
        print_json(written)
        return
    click.echo(f"{written['file']}: {written['kind']} of {written['n_images'] or 'an unknown number of'} images")
