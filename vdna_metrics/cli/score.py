"""`vdna-metrics score`."""

from __future__ import annotations

from pathlib import Path

import click

from vdna_metrics.cli.inputs import (
    bins_and_ranges,
    check_histogram_options,
    check_root,
    check_same_bins,
    find_extractor,
    find_references,
    forget,
    load_neuron_weights,
    load_neurons,
    load_ranges,
    open_images,
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
    reading_options,
)
from vdna_metrics.cli.results import collect_notes, described, measured, report_skipped, say_warnings, seen_by
from vdna_metrics.cli.screen import is_main, print_by_layer, print_json, print_table, progress_bars, watched


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
@click.option(
    "--metrics",
    type=Names(*METRICS),
    default="emd",
    show_default=True,
    help="; ".join(f"{name}: {text}" for name, (_, text) in METRICS.items()) + ".",
)
@click.option("--by", type=click.Choice(["layer"]), help="Also print the distance of each layer.")
@neurons_options
@network_options(f"the reference's, else {DEFAULT_EXTRACTOR}")
@histogram_options(f"the reference's, else {DEFAULT_BINS}")
@max_positions_option
@allow_subsampled_option
@reading_options
@click.option(
    "--checkpoint",
    metavar="FOLDER",
    help="Where an interrupt keeps what was done; the same command goes on from there.",
)
@as_json
def score(
    sources: tuple[str, ...],
    references: tuple[str, ...],
    metrics: tuple[str, ...],
    by: str | None,
    neurons: str | None,
    neuron_weights: str | None,
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    bins: int | None,
    ranges_file: str | None,
    max_positions: int | None,
    allow_subsampled: bool,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    checkpoint: str | None,
    as_json: bool,
) -> None:
    """Score sets of generated images against real ones."""
    from vdna_metrics.build.dnas import build_dnas
    from vdna_metrics.neurons import chosen_neurons, chosen_weights

    check_root(*sources, *references)
    kinds = [METRICS[name][0] for name in metrics]
    check_histogram_options(kinds, bins, ranges_file)
    reading = shared_reading(device, batch_size, workers, skip_bad, None if checkpoint is None else Path(checkpoint))
    generated = [(source, open_images(source)) for source in sources]
    real, real_images = find_references(references, kinds, extractor)
    missing = [kind for kind in kinds if kind not in real]
    if missing and real_images is None:
        raise ValueError(
            f"{', '.join(metrics)}: --reference lacks {' and '.join(missing)}, it has {', '.join(real)}; "
            "add such a DNA, or the real images"
        )
    given = next(iter(real.values()), None)
    network, chosen = find_extractor(extractor, weights, layers, given)
    for dna in real.values():
        dna.check_fingerprint(network.fingerprint)
    selection, weighed = load_neurons(neurons), load_neuron_weights(neuron_weights)
    picked = chosen_neurons(selection, network.fingerprint)
    layout = (network if given is None else given).layout.select(chosen, picked)
    for kind in kinds:  # before the work
        chosen_weights(weighed, layout, network.fingerprint, "layer" if kind == "layer_gaussian" else "neuron")
    ranges = load_ranges(ranges_file)
    if "histogram" in real:
        check_same_bins(real["histogram"], bins, ranges)
    notes: dict[str, list[str]] = {}
    results = []
    with progress_bars() as start:
        if missing and real_images is not None:
            if "histogram" in missing and ranges is None:
                ranges = own_or_calibrated(network, real_images, chosen, reading, start)
            real |= build_dnas(
                real_images,
                network,
                missing,
                bins=bins or DEFAULT_BINS,
                ranges=ranges,
                layers=list(layout),
                neurons=layout.neurons,
                max_positions=max_positions,
                reading=watched(reading, start, f"real: {real_images.name}", real_images),
            )
            report_skipped(real[missing[0]])
        real = {kind: real[kind].select(chosen, picked) for kind in kinds}
        for kind in kinds:
            collect_notes(notes, "reference", real[kind])
        bins, ranges = bins_and_ranges(real.get("histogram"))
        for name, source in generated:
            fake = build_dnas(
                source,
                network,
                kinds,
                bins=bins,
                ranges=ranges,
                layers=list(layout),
                neurons=layout.neurons,
                max_positions=max_positions,
                reading=watched(reading, start, name, source),
            )
            first = fake[kinds[0]]
            report_skipped(first)
            result = {"images": name, "n_images": first.n_images, "skipped": first.provenance.skipped}
            for metric, kind in zip(metrics, kinds, strict=True):
                collect_notes(notes, name, fake[kind])
                result |= measured(
                    metric, real[kind], fake[kind], by, allow_subsampled=allow_subsampled, weights=weighed
                )
            results.append(result)
    if not is_main():
        return
    forget(reading.checkpoint)
    sentences = say_warnings(notes)
    if as_json:
        print_json(
            {
                "reference": [described(dna) for dna in real.values()],
                "extractor": network.name,
                "neurons": neurons,
                "neuron_weights": neuron_weights,
                "results": results,
                "warnings": sentences,
            }
        )
        return
    images = f"{real[kinds[0]].n_images} images of {', '.join(references)}"
    print_table(
        f"Distance from {images}, seen by {network.name}{seen_by(neurons, neuron_weights)}",
        ["images", "n", *metrics],
        [[result["images"], result["n_images"], *(result[metric] for metric in metrics)] for result in results],
    )
    for metric in metrics if by else ():
        print_by_layer(metric, metric, list(sources), results)
