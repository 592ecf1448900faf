"""`vdna-metrics make`, `compare` and `merge`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_parts,
    check_root,
    find_settings,
    in_unit,
    load_dna,
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
from vdna_metrics.cli.results import (
    collect_notes,
    described,
    distance_from,
    heading,
    measured,
    report_skipped,
    say_warnings,
    seen_by,
)
from vdna_metrics.cli.screen import is_main, print_by_layer, print_json, print_table, progress_bars, watched

if TYPE_CHECKING:
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA, Column
    from vdna_metrics.ranges import ActivationRanges


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
    notes: dict[str, list[str]] = {}
    if "histogram" in dnas:
        collect_notes(notes, source, dnas["histogram"])
    say_warnings(notes)
    written = [(str(dna.save(paths[kind])), dna) for kind, dna in dnas.items()]
    forget(pass_.checkpoint)
    if as_json:
        print_json([{"file": file, **described(dna)} for file, dna in written])
        return
    for file, dna in written:
        click.echo(f"{file}: {dna!r}")


@click.command()
@click.argument("reference", metavar="DNA")
@click.argument("generated", nargs=-1, required=True, metavar="DNA...")
@columns_option("--metric")
@click.option("--by", type=click.Choice(["layer", "neuron"]), help="Also print each layer's, or neuron's, distance.")
@click.option("--layers", type=Names(), help="Layers to compare.")
@takes("neurons", NeuronOptions)
@unit_option
@allow_subsampled_option
@as_json
def compare(
    reference: str,
    generated: tuple[str, ...],
    column: Column | None,
    by: str | None,
    layers: tuple[str, ...] | None,
    neurons: NeuronOptions,
    unit: str | None,
    allow_subsampled: bool,
    as_json: bool,
) -> None:
    """Compare DNAs with the first.

    A DNA is a file, or the name of a reference.
    Histograms are compared by VDNA-EMD, Gaussians by the neuron and layer Gaussians by the layer Fréchet distance.
    """
    from vdna_metrics.dna import find_column, find_distance, list_distances
    from vdna_metrics.neurons import load_selection

    selection = None if neurons.neurons is None else load_selection(neurons.neurons)
    real = load_dna(reference).select(layers, selection)
    if column is None:
        column = find_column(next(name for name in list_distances() if find_distance(name).kind == real.kind))
    check_parts([column], by, neurons)
    (column,) = weighted([in_unit(column, unit)], neurons)
    notes: dict[str, list[str]] = {}
    collect_notes(notes, reference, real)
    results = []
    for file in generated:
        try:
            fake = load_dna(file).select(layers, selection)
            distances = measured(column, real, fake, by, allow_subsampled=allow_subsampled)
        except ValueError as error:
            raise ValueError(f"{reference} and {file}: {error}") from error
        collect_notes(notes, file, fake)
        results.append({"dna": file, "n_images": fake.n_images, **distances})
    sentences = say_warnings(notes)
    if as_json:
        print_json(
            {
                "reference": reference,
                "metric": column.name,
                "unit": column.options.get("unit"),
                "neurons": neurons.neurons,
                "neuron_weights": neurons.neuron_weights,
                "results": results,
                "warnings": sentences,
            }
        )
        return
    title = heading(column, unit=True)
    images = f"{reference}, {real.n_images} images {seen_by(real.provenance.extractor, neurons)}"
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
    from vdna_metrics.files import read_header
    from vdna_metrics.ranges import load_ranges

    path = output_paths(output, ("merged",))["merged"]
    kinds = {file: read_header(file)["kind"] for file in files}
    if len(set(kinds.values())) > 1:
        shown = ", ".join(f"{file} {kind}" for file, kind in kinds.items())
        raise ValueError(f"only files of one kind merge: {shown}")
    load: Callable[[str], Any] = load_ranges if "ranges" in kinds.values() else load_dna
    merged: VDNA | ActivationRanges = load(files[0])
    for file in files[1:]:
        try:
            merged = merged + load(file)
        except ValueError as error:
            raise ValueError(f"{files[0]} and {file}: {error}") from error
    written = {"file": str(merged.save(path)), "kind": kinds[files[0]], "n_images": merged.n_images}
    if as_json:
        print_json(written)
        return
    click.echo(f"{written['file']}: {written['kind']} of {written['n_images'] or 'an unknown number of'} images")
