"""`vdna-metrics rank`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import click

from vdna_metrics.analysis import rank_images
from vdna_metrics.analysis.ranking import ImageRanking, RankedImage
from vdna_metrics.cli.commands.rank import RankOptions
from vdna_metrics.cli.results import (
    described,
    forget,
    heading,
    output_path,
    report_skipped,
    say_notes,
    seen_by,
    write_picture,
)
from vdna_metrics.cli.screen import is_main, print_json, print_table, progress_bars, tell, watched
from vdna_metrics.cli.settings import find_comparison
from vdna_metrics.files import write_whole
from vdna_metrics.references import resolve_images
from vdna_metrics.reports import contact_sheet as draw, plot_difference_maps


def rank(source: str, given: RankOptions, as_json: bool) -> None:
    """Rank single images by their distance from real ones."""
    making, neurons, top, bottom = given.making, given.neurons, given.top, given.bottom
    root = making.reading.root
    picture, maps, table = (output_path(each) for each in (given.contact_sheet, given.maps, given.output))
    images = resolve_images(source, root=root)
    if (picture is not None or maps is not None) and images.features:
        raise click.UsageError(
            f"{'--maps' if picture is None else '--contact-sheet'} shows images, {source} holds features"
        )
    compared = [given.reference], (), [given.column], making, neurons
    task = find_comparison(*compared, unit=given.unit, images=[images], checkpoint=given.checkpoint)
    (column,), settings = task.columns, task.settings
    if maps is not None and column.distance.name != "emd":
        raise click.UsageError(f"--maps are of emd, got --metric {column.name}")
    with progress_bars() as start:
        real = task.real_dnas(start)[column.kind]
        if settings.max_positions != real.provenance.max_positions and column.kind == "histogram":
            raise ValueError(
                f"max_positions differ: the reference has {real.provenance.max_positions or 'all'}, "
                f"--max-positions says {settings.max_positions}; leave --max-positions out"
            )
        ranking = rank_images(
            images,
            real,
            settings.built,
            distance=column,
            pictures=0 if picture is None else max(top, bottom),
            maps=0 if maps is None else max(top, bottom),
            reading=watched(task.reading, start, source, images),
        )
    if not is_main():
        return
    warnings = say_notes(task.notes, task.read)
    forget(task.reading.checkpoint)
    report_skipped(ranking.source, ranking.skipped)
    ends = {"nearest": ranking.nearest(top), "farthest": ranking.farthest(bottom)}
    if table is not None:
        _write_scores(ranking, table)
    if picture is not None:
        write_picture(draw(ranking, nearest=top, farthest=bottom), picture)
    if maps is not None and ranking.maps is not None:
        words: dict[int, str] = {}
        for end, ranked in ends.items():
            for place, image in enumerate(ranked, start=1):
                words[image.index] = f"{words.get(image.index, '')}, {end} {place}".removeprefix(", ")
        write_picture(plot_difference_maps(ranking.maps.of(list(words)), words=words), maps)
    if as_json:
        return print_json(
            {
                "metric": column.name,
                "extractor": settings.extractor,
                **vars(neurons),
                "scores": None if table is None else str(table),
                "contact_sheet": given.contact_sheet,
                "maps": given.maps,
                **ranking.to_json(top, bottom),
                "reference": described(real),
                "read": task.read,
                "warnings": warnings,
            }
        )
    of = "from" if column.distance.arity == 2 else "beside"
    seen = f"{heading(column, unit=True)} {of} {given.reference}, {seen_by(settings.extractor, neurons)}"
    ranked_images = f"{len(ranking)} image{'s' * (len(ranking) > 1)} of {source}"
    tell(f"{ranked_images}, {seen}: {float(ranking.scores.mean()):.4g} in the mean", "")
    for end, ranked in ends.items():
        if ranked:
            rows = [[image.name, image.score, *_telling(image)] for image in ranked]
            title = f"The {len(rows)} {end}" if len(rows) > 1 else f"The {end}"
            print_table(title, ["image", column.name, "layer", "unusual"], rows)
    for written in (table, picture, maps):
        if written is not None:
            tell(f"wrote {written}")


def _telling(image: RankedImage) -> tuple[str, str]:
    """The layer that tells most and how unusual the image is in it; empty for a distance without layers."""
    if not image.layers:
        return "", ""
    return image.layers[0].layer, f"{image.layers[0].unusual:+.1f} σ"


def _write_scores(ranking: ImageRanking, path: Path) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["index", "name", "score", *ranking.layers])
    for index, name, score, by_layer in zip(
        ranking.indices, ranking.names, ranking.scores.tolist(), ranking.layer_distances.tolist(), strict=True
    ):
        table.writerow([index, name, score, *by_layer])
    write_whole(path, text.getvalue())
