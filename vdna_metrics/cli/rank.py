"""`vdna-metrics rank`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_root,
    check_same_bins,
    check_writable,
    find_extractor,
    find_references,
    load_neuron_weights,
    load_neurons,
    load_ranges,
    open_images,
    own_or_calibrated,
    picture_path,
    shared_reading,
)
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    METRICS,
    PICTURES,
    as_json,
    histogram_options,
    max_positions_option,
    network_options,
    neurons_options,
    reading_options,
)
from vdna_metrics.cli.results import described, report_skipped, seen_by
from vdna_metrics.cli.screen import is_main, print_json, print_table, progress_bars, say, watched

if TYPE_CHECKING:
    from vdna_metrics.analysis.ranking import ImageRanking, RankedImage
    from vdna_metrics.functional.emd import EMDUnit


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option(
    "--reference",
    required=True,
    metavar="REFERENCE",
    help="Real images (a SOURCE), a DNA file, or a name of the store.",
)
@click.option(
    "--metric",
    type=click.Choice(list(METRICS)),
    default="emd",
    show_default=True,
    help="; ".join(f"{name}: {text}" for name, (_, text) in METRICS.items()) + ".",
)
@click.option("--top", type=click.IntRange(0), metavar="N", default=20, show_default=True, help="Show the N nearest.")
@click.option(
    "--bottom", type=click.IntRange(0), metavar="N", default=20, show_default=True, help="Show the N farthest."
)
@click.option("--contact-sheet", metavar="FILE", help=f"Picture of these images to write: {', '.join(PICTURES)}.")
@click.option("-o", "--output", metavar="FILE", help="File of all scores to write, .csv.")
@click.option("--unit", type=click.Choice(["bins", "range", "activation"]), help="Unit of VDNA-EMD.  [default: bins]")
@neurons_options
@network_options(f"the reference's, else {DEFAULT_EXTRACTOR}")
@histogram_options(f"the reference's, else {DEFAULT_BINS}")
@max_positions_option
@reading_options
@as_json
def rank(
    source: str,
    reference: str,
    metric: str,
    top: int,
    bottom: int,
    contact_sheet: str | None,
    output: str | None,
    unit: EMDUnit | None,
    neurons: str | None,
    neuron_weights: str | None,
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
    as_json: bool,
) -> None:
    """Rank single images by their distance from real ones.

    Each image is shown with the layer that tells most: of the farthest images the one whose distance is highest for
    what is usual in that layer, in standard deviations over all ranked images, of the nearest the one where it is
    lowest.
    """
    from vdna_metrics.analysis import rank_images
    from vdna_metrics.build.dnas import build_dnas
    from vdna_metrics.neurons import chosen_neurons, chosen_weights

    check_root(source, reference)
    kind = METRICS[metric][0]
    check_histogram_options([kind], bins, ranges_file)
    if unit is not None and metric != "emd":
        raise click.UsageError(f"--unit is for VDNA-EMD, asked for is {metric}")
    picture = None if contact_sheet is None else picture_path(contact_sheet, "--contact-sheet")
    if picture is not None and top == bottom == 0:
        raise click.UsageError("--contact-sheet shows nothing with --top 0 --bottom 0")
    table = None if output is None else _table_path(output)
    reading = shared_reading(device, batch_size, workers, skip_bad, None)
    images = open_images(source)
    found, real_images = find_references([reference], [kind], extractor)
    if real_images is None and kind not in found:
        (other,) = found
        name = next(name for name, (of, _) in METRICS.items() if of == other)
        raise ValueError(f"{reference} is a {other}, for --metric {name}; {metric} needs a {kind}, or the real images")
    given = found.get(kind)
    network, chosen = find_extractor(extractor, weights, layers, given)
    selection, weighed = load_neurons(neurons), load_neuron_weights(neuron_weights)
    picked = chosen_neurons(selection, network.fingerprint)
    layout = (network if given is None else given).layout.select(chosen, picked)
    chosen_weights(weighed, layout, network.fingerprint, "layer" if kind == "layer_gaussian" else "neuron")
    ranges = load_ranges(ranges_file)
    with progress_bars() as start:
        if real_images is None:
            real = found[kind]
            real.check_fingerprint(network.fingerprint)
            if kind == "histogram":
                check_same_bins(real, bins, ranges)
            if max_positions not in (None, real.provenance.max_positions):
                raise ValueError(
                    f"max_positions differ: the reference has {real.provenance.max_positions or 'all'}, "
                    f"--max-positions says {max_positions}; leave --max-positions out"
                )
        else:
            if kind == "histogram" and ranges is None:
                ranges = own_or_calibrated(network, real_images, chosen, reading, start)
            real = build_dnas(
                real_images,
                network,
                [kind],
                bins=bins or DEFAULT_BINS,
                ranges=ranges,
                layers=list(layout),
                neurons=layout.neurons,
                max_positions=max_positions,
                reading=watched(reading, start, f"real: {real_images.name}", real_images),
            )[kind]
            report_skipped(real)
        ranking = rank_images(
            images,
            real,
            network,
            distance=metric,
            layers=list(layout),
            neurons=layout.neurons,
            weights=weighed,
            unit=unit,
            pictures=0 if picture is None else max(top, bottom),
            reading=watched(reading, start, source, images),
        )
    if not is_main():
        return
    for name, reason in ranking.skipped:
        say(f"skipped: {ranking.source}: {name}: {reason}")
    if table is not None:
        _write_scores(ranking, table)
    if picture is not None:
        from vdna_metrics.reports import contact_sheet as draw

        draw(ranking, nearest=top, farthest=bottom).savefig(picture, dpi=110)
    if as_json:
        print_json(
            {
                "metric": metric,
                "extractor": network.name,
                "neurons": neurons,
                "neuron_weights": neuron_weights,
                "scores": None if table is None else str(table),
                "contact_sheet": contact_sheet,
                **ranking.to_json(top, bottom),
                "reference": described(real),
            }
        )
        return
    distance = f"{metric} ({ranking.unit})" if metric == "emd" else metric
    seen = f"{distance} from {reference}, seen by {network.name}{seen_by(neurons, neuron_weights)}"
    click.echo(f"{len(ranking)} images of {source}, {seen}: {float(ranking.scores.mean()):.4g} in the mean\n")
    for end, ranked in (("nearest", ranking.nearest(top)), ("farthest", ranking.farthest(bottom))):
        if ranked:
            rows = [[image.name, image.score, *_telling(image)] for image in ranked]
            print_table(f"The {len(rows)} {end}", ["image", metric, "layer", "unusual"], rows)
    for written in (table, picture):
        if written is not None:
            click.echo(f"wrote {written}")


def _telling(image: RankedImage) -> tuple[str, str]:
    """The layer that tells most and how unusual the image is in it; empty for a distance without layers."""
    if not image.layers:
        return "", ""
    return image.layers[0].layer, f"{image.layers[0].unusual:+.1f} σ"


def _table_path(output: str) -> Path:
    path = Path(output)
    if path.suffix.lower() != ".csv":
        raise click.BadParameter(f"{output}: scores are written to a .csv", param_hint="--output")
    check_writable(path)
    return path


def _write_scores(ranking: ImageRanking, path: Path) -> None:
    from vdna_metrics.files import replacing

    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["index", "name", "score", *ranking.layers])
    for index, name, score, by_layer in zip(
        ranking.indices, ranking.names, ranking.scores.tolist(), ranking.layer_distances.tolist(), strict=True
    ):
        table.writerow([index, name, score, *by_layer])
    with replacing(path) as file:
        file.write(text.getvalue().encode(errors="surrogateescape"))
