"""`vdna-metrics score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.inputs import (
    bins_and_ranges,
    check_histogram_options,
    check_root,
    check_same_bins,
    find_extractor,
    find_reference,
    find_set,
    forget,
    load_neuron_weights,
    load_neurons,
    load_ranges,
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
    """Score sets of generated images against real ones.

    A SOURCE is images, a DNA file or a folder of them, or a name of the store.
    """
    from vdna_metrics.build.dnas import build_dnas
    from vdna_metrics.neurons import chosen_neurons, chosen_weights

    check_root(*sources, *references)
    kinds = [METRICS[name][0] for name in metrics]
    check_histogram_options(kinds, bins, ranges_file)
    reading = shared_reading(device, batch_size, workers, skip_bad, None if checkpoint is None else Path(checkpoint))
    reference = find_reference(references, kinds, extractor)
    found = {kind: reference.choose_dna(kind, extractor if len(reference.networks) > 1 else None) for kind in kinds}
    missing = [kind for kind in kinds if found[kind] is None]
    real_images = reference.images
    if missing and real_images is None:
        raise ValueError(
            f"{', '.join(metrics)}: --reference lacks {' and '.join(missing)}, it has "
            f"{', '.join(dict.fromkeys(dna.kind for dna in reference.dnas))}; add such a DNA, or the real images"
        )
    given = max((each.total for each in found.values() if each), key=lambda dna: len(dna.layout), default=None)
    seen_through = given.provenance.extractor if given is not None else extractor
    generated = [(source, find_set(source, kinds, seen_through)) for source in sources]
    made = [source for source, found_set in generated if found_set.images is None]
    if made and missing:
        raise ValueError(
            f"{made[0]} is a DNA, which is compared with a DNA: `vdna-metrics make` makes one of {reference.source}"
        )
    network, chosen = find_extractor(extractor, weights, layers, given)
    selection, weighed = load_neurons(neurons), load_neuron_weights(neuron_weights)
    picked = chosen_neurons(selection, network.fingerprint)
    notes: dict[str, list[str]] = {}
    real: dict[Kind, VDNA] = {}
    for kind, each in found.items():
        if each is not None:
            each.total.check_fingerprint(network.fingerprint)
            compared = reference.choose_dna(kind, network, layers=chosen, neurons=selection)
            assert compared is not None
            real[kind] = compared.total
            note_each(notes, "reference", compared.notes)
    layout = (network if given is None else given).layout.select(chosen, picked)
    for kind in kinds:  # before the work
        chosen_weights(weighed, layout, network.fingerprint, "layer" if kind == "layer_gaussian" else "neuron")
    ranges = load_ranges(ranges_file)
    if "histogram" in real:
        check_same_bins(real["histogram"], bins, ranges)
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
        for kind in kinds:
            collect_notes(notes, "reference", real[kind])
        bins, ranges = bins_and_ranges(real.get("histogram"))
        for name, source in generated:
            if source.images is not None:
                fake = build_dnas(
                    source.images,
                    network,
                    kinds,
                    bins=bins,
                    ranges=ranges,
                    layers=list(layout),
                    neurons=layout.neurons,
                    max_positions=max_positions,
                    reading=watched(reading, start, name, source.images),
                )
            else:
                fake = {kind: source.one_dna(kind, layers=list(real[kind].layout)).total for kind in kinds}
            # Kinds of the reference may differ in their layers.
            fake = {kind: dna.select(list(real[kind].layout), real[kind].layout.neurons) for kind, dna in fake.items()}
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
