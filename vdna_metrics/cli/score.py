"""`vdna-metrics score` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vdna_metrics.cli import options
from vdna_metrics.cli.inputs import check_root, default_column
from vdna_metrics.cli.results import described, distance_from, forget, heading, measured, seen_by
from vdna_metrics.cli.screen import is_main, print_by_layer, print_json, print_table, progress_bars
from vdna_metrics.cli.settings import Comparison, find_comparison
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import VDNA, Column

# Of one set: its source, the DNA of the first column's kind, and the values of all columns.
Measured = tuple[str, VDNA, dict[str, Any]]


def _compare_sets(task: Comparison, by: str | None, allow_subsampled: bool) -> tuple[dict[Kind, VDNA], list[Measured]]:
    """The DNAs of the reference, and what is measured of each set; DNAs that there are not are made of the images."""
    found = []
    with progress_bars() as start:
        task, real = task.real_dnas(start)
        for images in task.generated:
            fake = task.dnas_of(images, start, images.source, real)
            values: dict[str, Any] = {}
            for column in task.columns:
                kind = column.kind
                task.notes.add_warnings(images.source, fake[kind])
                try:
                    values |= measured(column, real[kind], fake[kind], by, allow_subsampled=allow_subsampled)
                except ValueError as error:
                    raise ValueError(f"{task.reference.source} and {images.source}: {error}") from error
            found.append((images.source, fake[task.kinds[0]], values))
    return real, found


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--reference",
    "references",
    multiple=True,
    required=True,
    metavar="REFERENCE",
    help="Real images or DNAs of them (a SOURCE); DNAs of several kinds: give it once each.",
)
@options.columns_option("--metrics", default="emd", several=True)
@click.option("--by", type=click.Choice(["layer"]), help="Also print the distance of each layer.")
@options.takes("neurons", options.NeuronOptions)
@options.takes("making", options.DNAOptions, default="the reference's, else ")
@options.allow_subsampled_option
@click.option(
    "--checkpoint",
    metavar="FOLDER",
    help="Where an interrupt keeps what was done; the same command goes on from there.",
)
@options.as_json
def score(
    sources: tuple[str, ...],
    references: tuple[str, ...],
    columns: tuple[Column, ...],
    by: str | None,
    neurons: options.NeuronOptions,
    making: options.DNAOptions,
    allow_subsampled: bool,
    checkpoint: str | None,
    as_json: bool,
) -> None:
    """Score sets of generated images against real ones."""
    check_root(making.reading.root, *references, *sources)
    folder = None if checkpoint is None else Path(checkpoint)
    task = find_comparison(references, sources, columns, making, neurons, by=by, checkpoint=folder)
    real, found = _compare_sets(task, by, allow_subsampled)
    if not is_main():
        return
    forget(folder)
    results = [
        {"images": source, "n_images": dna.n_images, "skipped": dna.provenance.skipped, **values}
        for source, dna, values in found
    ]
    warnings = task.notes.say()
    if as_json:
        return print_json(
            {
                "reference": [described(dna) for dna in real.values()],
                "extractor": task.settings.extractor,
                **vars(neurons),
                "results": results,
                "read": task.notes.read,
                "warnings": warnings,
            }
        )
    images = f"{real[columns[0].kind].n_images} images of {', '.join(references)}"
    print_table(
        f"{distance_from(columns, images)}, {seen_by(task.settings.extractor, neurons)}",
        ["images", "n", *map(heading, columns)],
        [[result["images"], result["n_images"], *(result[column.name] for column in columns)] for result in results],
    )
    for column in columns if by else ():
        print_by_layer(heading(column), column.name, list(sources), results)


@click.command()
@click.argument("reference", metavar="SOURCE")
@click.argument("generated", nargs=-1, required=True, metavar="SOURCE...")
@options.columns_option("--metric")
@click.option("--by", type=click.Choice(["layer", "neuron"]), help="Also print each layer's, or neuron's, distance.")
@options.takes("neurons", options.NeuronOptions)
@options.unit_option
@options.takes("making", options.DNAOptions, default="a DNA's, else ")
@options.allow_subsampled_option
@options.as_json
def compare(
    reference: str,
    generated: tuple[str, ...],
    column: Column | None,
    by: str | None,
    neurons: options.NeuronOptions,
    unit: str | None,
    making: options.DNAOptions,
    allow_subsampled: bool,
    as_json: bool,
) -> None:
    """Compare DNAs, or sets of images, with the first.

    Of images the DNA is made first, through the network and with the bins and ranges of the first DNA.
    Histograms are compared by VDNA-EMD, Gaussians by the neuron and layer Gaussians by the layer Fréchet distance.
    """
    check_root(making.reading.root, reference, *generated)
    column = column or default_column(reference, making.network, making.reading.root)
    task = find_comparison([reference], generated, [column], making, neurons, by=by, unit=unit)
    dnas, found = _compare_sets(task, by, allow_subsampled)
    if not is_main():
        return
    (column,), real = task.columns, dnas[column.kind]
    results = [{"dna": source, "n_images": dna.n_images, **values} for source, dna, values in found]
    warnings = task.notes.say()
    if as_json:
        return print_json(
            {
                "reference": reference,
                "metric": column.name,
                "unit": column.unit,
                **vars(neurons),
                "results": results,
                "read": task.notes.read,
                "warnings": warnings,
            }
        )
    title = heading(column, unit=True)
    images = f"{reference}, {real.n_images} images {seen_by(task.settings.extractor, neurons)}"
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
