"""`vdna-metrics make`, `compare` and `merge`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_root,
    find_extractor,
    find_set,
    forget,
    load_neuron_weights,
    load_neurons,
    load_ranges,
    open_images,
    output_paths,
    own_or_calibrated,
    shared_reading,
)
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    METRICS,
    Names,
    allow_subsampled_option,
    as_json,
    histogram_options,
    max_positions_option,
    network_options,
    neurons_options,
    output_file,
    part_of_images,
    reading_options,
)
from vdna_metrics.cli.results import (
    collect_notes,
    described,
    measured,
    note_each,
    report_skipped,
    say_warnings,
    seen_by,
)
from vdna_metrics.cli.screen import is_main, print_by_layer, print_json, print_table, progress_bars, watched

if TYPE_CHECKING:
    from vdna_metrics.distributions import Kind
    from vdna_metrics.dna import VDNA
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
@network_options(DEFAULT_EXTRACTOR)
@histogram_options(str(DEFAULT_BINS))
@max_positions_option
@reading_options
@part_of_images
@as_json
def make(
    source: str,
    output: str,
    kinds: tuple[Kind, ...],
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    bins: int | None,
    ranges_file: str | None,
    max_positions: int | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    part: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Make the DNA of a set of images, in one pass for all kinds.

    An interrupt keeps what was done in OUTPUT.checkpoint; the same command goes on from there.
    """
    from vdna_metrics.build.dnas import build_dnas

    check_root(source)
    check_histogram_options(kinds, bins, ranges_file)
    paths = output_paths(output, kinds)
    reading = shared_reading(device, batch_size, workers, skip_bad, Path(f"{output}.checkpoint"), part)
    images = open_images(source)
    ranges = load_ranges(ranges_file)
    network, chosen = find_extractor(extractor, weights, layers)
    with progress_bars() as start:
        if "histogram" in kinds and ranges is None:
            ranges = own_or_calibrated(network, images, chosen, reading, start)
        dnas = build_dnas(
            images,
            network,
            kinds,
            bins=bins or DEFAULT_BINS,
            ranges=ranges,
            layers=chosen,
            max_positions=max_positions,
            reading=watched(reading, start, source, images),
        )
    if not is_main():
        return
    report_skipped(dnas[kinds[0]])
    notes: dict[str, list[str]] = {}
    if "histogram" in dnas:
        collect_notes(notes, source, dnas["histogram"])
    say_warnings(notes)
    written = [(str(dna.save(paths[kind])), dna) for kind, dna in dnas.items()]
    forget(reading.checkpoint)
    if as_json:
        print_json([{"file": file, **described(dna)} for file, dna in written])
        return
    for file, dna in written:
        click.echo(f"{file}: {dna!r}")


@click.command()
@click.argument("reference", metavar="DNA")
@click.argument("generated", nargs=-1, required=True, metavar="DNA...")
@click.option("--by", type=click.Choice(["layer", "neuron"]), help="Also print each layer's, or neuron's, distance.")
@click.option("--layers", type=Names(), help="Layers to compare.")
@neurons_options
@click.option("--unit", type=click.Choice(["bins", "range", "activation"]), help="Unit of VDNA-EMD.  [default: bins]")
@allow_subsampled_option
@as_json
def compare(
    reference: str,
    generated: tuple[str, ...],
    by: str | None,
    layers: tuple[str, ...] | None,
    neurons: str | None,
    neuron_weights: str | None,
    unit: str | None,
    allow_subsampled: bool,
    as_json: bool,
) -> None:
    """Compare DNAs with the first.

    A DNA is a file, a folder of group DNAs, the name of a reference, or another tool's file of statistics.
    Histograms are compared by VDNA-EMD, Gaussians by the neuron and layer Gaussians by the layer Fréchet distance.
    """
    selection, weights = load_neurons(neurons), load_neuron_weights(neuron_weights)
    notes: dict[str, list[str]] = {}
    chosen = find_set(reference).one_dna(layers=layers)
    note_each(notes, reference, chosen.notes)
    real = chosen.total.select(layers, selection)
    metric = next(name for name, (kind, _) in METRICS.items() if kind == real.kind)
    if by == "neuron" and metric == "lfd":
        raise click.UsageError("a layer Fréchet distance has one number a layer: use --by layer")
    if unit is not None and metric != "emd":
        raise click.UsageError(f"--unit is for VDNA-EMD; {reference} is a {real.kind}, compared by {metric}")
    unit = unit or "bins"
    collect_notes(notes, reference, real)
    results = []
    for file in generated:
        try:
            chosen = find_set(file, [real.kind], real.provenance.extractor).one_dna(real.kind, layers=layers)
            note_each(notes, file, chosen.notes)
            fake = chosen.total.select(layers, selection)
            distances = measured(metric, real, fake, by, unit, allow_subsampled, weights)
        except ValueError as error:
            raise ValueError(f"{reference} and {file}: {error}") from error
        collect_notes(notes, file, fake)
        results.append({"dna": file, "n_images": fake.n_images, **distances})
    sentences = say_warnings(notes)
    if as_json:
        print_json(
            {
                "reference": reference,
                "metric": metric,
                "unit": unit if metric == "emd" else None,
                "neurons": neurons,
                "neuron_weights": neuron_weights,
                "results": results,
                "warnings": sentences,
            }
        )
        return
    heading = f"{metric} ({unit})" if metric == "emd" else metric
    title = f"Distance from {reference}, {real.n_images} images seen by {real.provenance.extractor}"
    title += seen_by(neurons, neuron_weights)
    print_table(title, ["dna", "n", heading], [[row["dna"], row["n_images"], row[metric]] for row in results])
    if by == "layer":
        print_by_layer(heading, metric, list(generated), results)
    elif by == "neuron":
        rows = [
            [layer, neuron, *(row[f"{metric}_by_neuron"][layer][place] for row in results)]
            for layer, values in results[0][f"{metric}_by_neuron"].items()
            for place, neuron in enumerate(real.layout.neurons.get(layer, range(len(values))))
        ]
        print_table(f"{heading} by neuron", ["layer", "neuron", *generated], rows)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@output_file
@as_json
def merge(files: tuple[str, ...], output: str, as_json: bool) -> None:
    """Merge DNA files, or files of activation ranges, into one.

    The result is what all their images in one set would have given.
    """
    from vdna_metrics.dna import load_vdna
    from vdna_metrics.files import read_header
    from vdna_metrics.ranges import load_ranges

    path = output_paths(output, ("merged",))["merged"]
    kinds = {file: read_header(file)["kind"] for file in files}
    if len(set(kinds.values())) > 1:
        shown = ", ".join(f"{file} {kind}" for file, kind in kinds.items())
        raise ValueError(f"only files of one kind merge: {shown}")
    load: Callable[[str], Any] = load_ranges if "ranges" in kinds.values() else load_vdna
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
