"""`vdna-metrics score` and `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vdna_metrics.cli import options
from vdna_metrics.cli.commands.score import CompareOptions, ScoreOptions
from vdna_metrics.cli.inputs import default_column
from vdna_metrics.cli.protocols import protocol_of
from vdna_metrics.cli.results import (
    described,
    distance_from,
    forget,
    heading,
    measured,
    print_accounts,
    say_notes,
    seen_by,
)
from vdna_metrics.cli.screen import (
    StartBar,
    is_main,
    print_by_layer,
    print_by_neuron,
    print_json,
    print_table,
    progress_bars,
    tell,
)
from vdna_metrics.cli.settings import Comparison, find_comparison, find_comparisons
from vdna_metrics.dna import VDNA
from vdna_metrics.dna.caveats import bins_note, number_caveat
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.files import errors_of

# Of one set: its source, the DNA of the first column's kind, and the values of all columns.
Measured = tuple[str, VDNA, dict[str, Any]]


def _compare_sets(
    tasks: Sequence[Comparison], by: str | None, allow_subsampled: bool
) -> tuple[list[VDNA], list[Measured]]:
    """DNAs of the reference, and what is measured of each set; DNAs that there are not are made of the images."""
    reference: list[VDNA] = []
    dnas: dict[str, VDNA] = {}
    values: dict[str, dict[str, Any]] = {}
    with progress_bars() as start:
        for task in tasks:
            seen = start if len(tasks) == 1 else _named(start, task.settings.extractor)
            real = task.real_dnas(seen)
            reference += real.values()
            for images in task.generated:
                fake = task.dnas_of(images, seen, images.source, real)
                task.note_caveats(images.source, fake, real)
                dnas.setdefault(images.source, fake[task.kinds[0]])
                for column in task.columns:
                    kind = column.kind
                    with errors_of(f"{task.reference.source} and {images.source}"):
                        found = measured(column, real[kind], fake[kind], by, allow_subsampled=allow_subsampled)
                    values.setdefault(images.source, {}).update(found)
    tasks[0].notes.add(number_caveat({name: dna.n_images for name, dna in dnas.items()}))
    return reference, [(source, dna, values[source]) for source, dna in dnas.items()]


def _named(start: StartBar, network: str) -> StartBar:
    """Bars that say which network looks."""
    return lambda name, total: start(f"{network}: {name}", total)


def _print(
    tasks: Sequence[Comparison],
    told: dict[str, Any],
    rows: list[dict[str, Any]],
    title: str,
    by: str | None,
    as_json: bool,
    unit: bool,
) -> None:
    """Tables of all columns and of their parts, or JSON with what else is told."""
    read = list(dict.fromkeys(tasks[0].read))
    warnings = say_notes(tasks[0].notes, read)
    layouts = {column: task.settings.layout for task in tasks for column in task.columns}
    widths = {column: max(row.get(f"{column.name}_bin_width", 0.0) for row in rows) for column in layouts}
    note = bins_note({with_unit(column.name, column.unit): width for column, width in widths.items() if width})
    if as_json:
        told = told if note is None else {**told, "ranges": "auto"}
        return print_json({**told, "results": rows, "read": read, "warnings": warnings})
    first, *_ = rows[0]
    headings = {column: heading(column, unit=unit) for column in layouts}
    keys = [first, "n_images", *(column.name for column in headings)]
    print_table(title, [first, "n", *headings.values()], [[row[key] for key in keys] for row in rows])
    if note is not None:
        tell(f"{note[0].upper()}{note[1:]}.", "")
    names = [row[first] for row in rows]
    for column, text in headings.items() if by else ():
        parts = [row[f"{column.name}_by_{by}"] for row in rows]
        if by == "layer":
            print_by_layer(f"{text} by layer", names, parts)
        else:
            print_by_neuron(f"{text} by neuron", names, parts, layouts[column].neurons)


def _of_images(dna: VDNA) -> dict[str, Any]:
    """The account of a set, for JSON."""
    return {"account": dna.provenance.account.to_json(), "unread": dna.provenance.unread}


def score(sources: tuple[str, ...], given: ScoreOptions, as_json: bool) -> None:
    """Score sets of generated images against real ones."""
    columns, making, neurons, by = given.columns, given.making, given.neurons, given.by
    options.check_protocol(given.protocol)
    tasks = find_comparisons(given.references, sources, columns, making, neurons, by=by, checkpoint=given.checkpoint)
    real, found = _compare_sets(tasks, by, given.allow_subsampled)
    if not is_main():
        return
    forget(tasks[0].reading.checkpoint)
    results = [
        {"images": source, "n_images": dna.n_images, "skipped": dna.provenance.skipped, **_of_images(dna), **values}
        for source, dna, values in found
    ]
    first, *others = tasks
    networks = {column.name: task.settings.extractor for task in tasks for column in task.columns}
    told = {"reference": [described(dna) for dna in real], "extractor": first.settings.extractor, **vars(neurons)}
    departing = protocol_of(given.protocol, first, real[0], {name: dna for name, dna, _ in found})
    told |= {} if departing is None else {"protocol": asdict(departing)}
    images = f"{real[0].n_images} images of {', '.join(given.references)}"
    title = f"{distance_from(columns, images)}, {seen_by(first.settings.extractor, neurons)}"
    if others:
        told["extractors"] = networks
        title += "".join(f", {', '.join(each.name for each in t.columns)} by {t.settings.extractor}" for t in others)
    _print(tasks, told, results, title, by, as_json, unit=False)
    if not as_json:
        print_accounts({name: dna for name, dna, _ in [("reference", real[0], {}), *found]})


def compare(reference: str, generated: tuple[str, ...], given: CompareOptions, as_json: bool) -> None:
    """Compare DNAs, or sets of images, with the first."""
    making, neurons, by = given.making, given.neurons, given.by
    column = given.column or default_column(reference, making.network, making.reading.root)
    task = find_comparison([reference], generated, [column], making, neurons, by=by, unit=given.unit)
    (real,), found = _compare_sets([task], by, given.allow_subsampled)
    if not is_main():
        return
    (column,) = task.columns
    results = [{"dna": source, "n_images": dna.n_images, **_of_images(dna), **values} for source, dna, values in found]
    told = {"reference": reference, "metric": column.name, "unit": column.unit, **vars(neurons)}
    images = f"{reference}, {real.n_images} images {seen_by(task.settings.extractor, neurons)}"
    _print([task], told, results, distance_from([column], images), by, as_json, unit=True)
    if not as_json:
        print_accounts({name: dna for name, dna, _ in [(reference, real, {}), *found]})
