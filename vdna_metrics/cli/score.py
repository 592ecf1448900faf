"""`vdna-metrics score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.comparing import compare_sets
from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_parts,
    check_root,
    find_sets,
    kinds_of,
    reading_of,
    weighted,
)
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    HistogramOptions,
    NetworkOptions,
    NeuronOptions,
    ReadingOptions,
    allow_subsampled_option,
    as_json,
    columns_option,
    takes,
)
from vdna_metrics.cli.outputs import forget
from vdna_metrics.cli.results import described, distance_from, heading, seen_by
from vdna_metrics.cli.screen import is_main, print_by_layer, print_json, print_table
from vdna_metrics.cli.settings import find_settings

if TYPE_CHECKING:
    from vdna_metrics.dna import Column


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
@columns_option("--metrics", default="emd", several=True)
@click.option("--by", type=click.Choice(["layer"]), help="Also print the distance of each layer.")
@takes("neurons", NeuronOptions)
@takes("network", NetworkOptions, default=f"the reference's, else {DEFAULT_EXTRACTOR}")
@takes("histograms", HistogramOptions, default=f"the reference's, else {DEFAULT_BINS}")
@allow_subsampled_option
@takes("reading", ReadingOptions)
@click.option(
    "--checkpoint",
    metavar="FOLDER",
    help="Where an interrupt keeps what was done; the same command goes on from there.",
)
@as_json
def score(
    sources: tuple[str, ...],
    references: tuple[str, ...],
    columns: tuple[Column, ...],
    by: str | None,
    neurons: NeuronOptions,
    network: NetworkOptions,
    histograms: HistogramOptions,
    allow_subsampled: bool,
    reading: ReadingOptions,
    checkpoint: str | None,
    as_json: bool,
) -> None:
    """Score sets of generated images against real ones."""
    check_root(reading.root, *references, *sources)
    check_histogram_options(kinds_of(columns), histograms)
    check_parts(columns, by, neurons)
    pass_ = reading_of(reading, None if checkpoint is None else Path(checkpoint))
    reference, generated = find_sets(references, sources, columns, network, reading.root)
    columns = weighted(columns, neurons)
    settings = find_settings(network, histograms, columns=columns, neurons=neurons, sets=[reference, *generated])
    real, compared, notes = compare_sets(
        reference, generated, columns, settings, pass_, by, allow_subsampled=allow_subsampled
    )
    if not is_main():
        return
    forget(pass_.checkpoint)
    results = [
        {
            "images": each.images.source,
            "n_images": each.dna.n_images,
            "skipped": each.dna.provenance.skipped,
            **each.values,
        }
        for each in compared
    ]
    sentences = notes.say()
    if as_json:
        print_json(
            {
                "reference": [described(dna) for dna in real.values()],
                "extractor": settings.extractor,
                "neurons": neurons.neurons,
                "neuron_weights": neurons.neuron_weights,
                "results": results,
                "read": notes.read,
                "warnings": sentences,
            }
        )
        return
    images = f"{real[columns[0].kind].n_images} images of {', '.join(references)}"
    print_table(
        f"{distance_from(columns, images)}, {seen_by(settings.extractor, neurons)}",
        ["images", "n", *map(heading, columns)],
        [[result["images"], result["n_images"], *(result[column.name] for column in columns)] for result in results],
    )
    for column in columns if by else ():
        print_by_layer(heading(column), column.name, list(sources), results)
