"""`vdna-metrics score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_parts,
    check_root,
    find_references,
    find_settings,
    kinds_of,
    open_images,
    reading_of,
    reference_dnas,
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
    from vdna_metrics.dna import Column


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--reference",
    "references",
    multiple=True,
    required=True,
    metavar="REFERENCE",
    help="Real images (a SOURCE), a DNA file, or a name of the store. DNAs of several kinds: give it once each.",
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
    check_root(reading.root, *sources, *references)
    kinds = kinds_of(columns)
    check_histogram_options(kinds, histograms)
    check_parts(columns, by, neurons)
    pass_ = reading_of(reading, None if checkpoint is None else Path(checkpoint))
    generated = [(source, open_images(source, reading.root)) for source in sources]
    given, real_images = find_references(references, kinds, network.extractor, reading.root)
    columns = weighted(columns, neurons)
    settings = find_settings(network, histograms, columns=columns, neurons=neurons, real=given)
    notes: dict[str, list[str]] = {}
    results = []
    with progress_bars() as start:
        real, settings = reference_dnas(given, real_images, kinds, settings, pass_, start)
        for dna in real.values():
            collect_notes(notes, "reference", dna)
        for name, source in generated:
            fake = settings.make(source, kinds, watched(pass_, start, name, source))
            first = fake[kinds[0]]
            report_skipped(first)
            result = {"images": name, "n_images": first.n_images, "skipped": first.provenance.skipped}
            for column in columns:
                collect_notes(notes, name, fake[column.kind])
                result |= measured(column, real[column.kind], fake[column.kind], by, allow_subsampled=allow_subsampled)
            results.append(result)
    if not is_main():
        return
    forget(pass_.checkpoint)
    sentences = say_warnings(notes)
    if as_json:
        print_json(
            {
                "reference": [described(dna) for dna in real.values()],
                "extractor": settings.network.name,
                "neurons": neurons.neurons,
                "neuron_weights": neurons.neuron_weights,
                "results": results,
                "warnings": sentences,
            }
        )
        return
    images = f"{real[kinds[0]].n_images} images of {', '.join(references)}"
    print_table(
        f"{distance_from(columns, images)}, {seen_by(settings.network.name, neurons)}",
        ["images", "n", *map(heading, columns)],
        [[result["images"], result["n_images"], *(result[column.name] for column in columns)] for result in results],
    )
    for column in columns if by else ():
        print_by_layer(heading(column), column.name, list(sources), results)
