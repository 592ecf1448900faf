"""`vdna-metrics references`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import click

from vdna_metrics.analysis.frechet_ratio import frechet_normaliser
from vdna_metrics.cli import options
from vdna_metrics.cli.commands.references import BuildOptions, ImportOptions
from vdna_metrics.cli.inputs import find_set, reading_of
from vdna_metrics.cli.results import described, forget, report_skipped, say_notes
from vdna_metrics.cli.screen import is_main, print_json, print_lines, print_table, progress_bars, say, tell, watched
from vdna_metrics.cli.settings import find_settings
from vdna_metrics.dna import VDNA, load_vdna
from vdna_metrics.dna.caveats import Notes, set_caveats
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.serialization import DNA_FILES
from vdna_metrics.dna.vdna import ProvenanceFields
from vdna_metrics.files import check_writable, is_ours, read_header
from vdna_metrics.images.dataset_table import DATASET
from vdna_metrics.images.datasets import list_datasets
from vdna_metrics.ranges import load_ranges
from vdna_metrics.references import export_statistics, import_statistics, list_references, resolve_images
from vdna_metrics.references.adding import (
    add_card,
    add_normalisers,
    add_ranges,
    add_reference,
    check_new_name,
    check_store,
    publish,
    verify_store,
)
from vdna_metrics.references.records import RangesRecord, ReferenceRecord
from vdna_metrics.references.store import (
    Entry,
    ReferenceStore,
    find_references,
    known_stores,
    read_records,
    told_apart,
    user_store,
)
from vdna_metrics.schema import typed


def list_command(dataset: str | None, location: str | None, as_json: bool) -> None:
    """List what there is, all or of one image set."""
    known = list_references(location)
    records = [record for record in known if dataset is None or record.dataset.lower() == dataset.lower()]
    if as_json:
        return print_json([{"name": record.name, **asdict(record)} for record in records])
    if not records:
        raise ValueError(f"no references{f' of {dataset}' if dataset else ''}; `references build` makes one")
    names = told_apart(records)
    rows = [[name, record.n_images, record.resolution] for name, record in zip(names, records, strict=True)]
    print_table("References", ["name", "n", "resolution"], rows)


def show(name: str, as_json: bool) -> None:
    """Show all that is known of a reference."""

    def read(entries: list[Entry]) -> list[tuple[ReferenceStore, ReferenceRecord, dict[str, Any]]]:
        return [(store, record, read_header(store.file(record))) for store, record in entries]

    found = read_records(lambda: find_references(name), read)
    if as_json:
        listed = [
            {"name": record.name, "store": store.location, **asdict(record), "header": header}
            for store, record, header in found
        ]
        return print_json(listed)
    for number, title in enumerate(told_apart([record for _, record, _ in found])):
        tell(*[""] * (number > 0))
        tell(title, bold=True)
        _show(*found[number])


def _show(store: ReferenceStore, record: ReferenceRecord, header: dict[str, Any]) -> None:
    """What is known of one, a line each."""
    provenance, fingerprint = typed(ProvenanceFields, header["provenance"]), header["fingerprint"]
    count = len(header["layout"].get("layers", ()))
    layers = f", {count} layer{'s' * (count != 1)}" if count else ""
    lines = {
        "images": f"{record.n_images} of {', '.join(provenance.sources)}",
        "resolution": record.resolution or "not recorded",
        "account": str(provenance.account),
        "left out": f"{len(provenance.skipped)} images that cannot be read" if provenance.skipped else "",
        "not read": ", ".join(f"{count} files of {what}" for what, count in provenance.unread),
        "features": f"of {min(header['size'], record.n_images)} images" if "size" in header else "",
        "image hash": record.images or "not recorded",
        "extractor": f"{record.extractor}: {fingerprint['architecture']}{layers}",
        "weights": fingerprint["weights"] or "not recorded",
        "preprocessing": record.preprocessing,
        "ranges": "auto, found by each histogram itself" if record.ranges == "auto" else record.ranges,
        "normalisers": "; ".join(map(str, record.normalisers)),
        "licence": record.licence,
        "origin": record.origin,
        "written by": header["writer"],
        "file": f"{store.location.rstrip('/')}/{record.file}",
        "sha256": record.sha256,
    }
    print_lines({title: text for title, text in lines.items() if text})


def verify(location: str | None, as_json: bool) -> None:
    """Read every file again, and compare it with the manifest."""
    results = []
    for store in known_stores() if location is None else [ReferenceStore(location)]:
        for name, problem in _problems(store):
            results.append({"store": store.location, "name": name, "problem": problem})
            if not as_json:
                tell(f"{'good' if problem is None else 'BAD '}  {name}{f': {problem}' if problem else ''}")
    bad = sum(result["problem"] is not None for result in results)
    if as_json:
        print_json(results)
    else:
        tell(f"{len(results)} files, {bad} bad")
    if bad:
        raise click.exceptions.Exit(1)


def _problems(store: ReferenceStore) -> list[tuple[str, str | None]]:
    """Of each file of a store what is wrong with it; of a store that cannot be read, that."""
    try:
        return list(verify_store(store))
    except (ValueError, OSError) as error:
        return [(store.location, str(error))]


def build(sources: tuple[str, ...], given: BuildOptions, as_json: bool) -> None:
    """Make reference DNAs of images, and put them into a store."""
    kinds, making = given.kinds, given.making
    standard = ""
    if len(sources) == 1 and sources[0].startswith(DATASET):
        standard = sources[0].removeprefix(DATASET).lower()
    named = _split(given.name or standard)
    licences = {record.name: record.licence for record in list_datasets()}
    storing = replace(given.storing, licence=given.storing.licence or licences.get(standard.partition("/")[0], ""))
    store = _writable_store(storing.location)
    text = _card(storing)
    images = [(source, resolve_images(source, root=making.reading.root)) for source in sources]
    opened_images = [opened for _, opened in images]
    settings = find_settings(making.network, making.histograms, making.features, images=opened_images)
    extractor = settings.extractor
    for kind in kinds:
        counted = {"histogram": f"-{settings.bins}", "features": f"-{settings.feature_images}"}.get(kind, "")
        check_new_name(store, **named, extractor=extractor, kind=f"{kind}{counted}")
    checkpoint = store.folder / f".{'-'.join(named.values())}-{extractor.replace('/', '-')}.checkpoint"
    pass_ = reading_of(making.reading, checkpoint)
    with progress_bars() as start:
        parts = [settings.make(opened, kinds, watched(pass_, start, source, opened)) for source, opened in images]
    if not is_main():
        return
    dnas = [reduce(add, (part[kind] for part in parts)) for kind in kinds]
    report_skipped(", ".join(dnas[0].provenance.sources), dnas[0].provenance.skipped)
    notes = Notes()
    for dna in dnas:
        notes.add_caveats(", ".join(dna.provenance.sources), set_caveats(dna))
    say_notes(notes)
    _add(store, dnas, {**named, "origin": shlex.join(["vdna-metrics", *sys.argv[1:]])}, storing, text, as_json)
    forget(checkpoint)


def normalise(name: str, validation: str, layers: tuple[str, ...] | None, confidence: float, as_json: bool) -> None:
    """Record with a layer Gaussian what FDr^k divides by."""
    sides = [find_set(source, None, ["layer_gaussian"]) for source in (name, validation)]
    asked: dict[str, Any] = {
        "distance": Column("lfd", layers=layers), "confidence": confidence, "name": sides[1].name
    }  # fmt: skip
    found = [frechet_normaliser(*sides, **asked)]
    try:
        found.append(frechet_normaliser(*sides, corrected=True, **asked))
    except ValueError as error:
        say(f"note: no corrected one is recorded: {error}")
    record = add_normalisers(name, found)
    if as_json:
        return print_json([asdict(each) for each in found])
    print_lines({record.name: "; ".join(map(str, found))})


def import_command(source: str, given: ImportOptions, as_json: bool) -> None:
    """Put a DNA, or others' statistics, into a store."""
    name, storing = given.name, given.storing
    kind = read_header(source)["kind"] if is_ours(source) else ""
    if kind == "ranges":
        if "/" in name:
            raise click.UsageError(f"{source} holds activation ranges: --name is the extractor's name")
        store = _writable_store(storing.location)
        added = add_ranges(load_ranges(source), store, extractor=name, overwrite=storing.overwrite)
        if as_json:
            print_json(_listed([added], store.location)[0])
        else:
            tell(f"{added.name}: over {added.n_images} images, in {store.location}")
        return
    named = _split(name)
    text = _card(storing)
    dnas = [load_vdna(source)] if kind in DNA_FILES else import_statistics(source, name=name, **vars(given.stated))
    store = _writable_store(storing.location)
    _add(store, dnas, {**named, "resolution": given.resolution}, storing, text, as_json)


def export(name: str, output: str, file_format: Any, layer: str | None, as_json: bool) -> None:
    """Write a reference, or a DNA file, for another tool."""
    dna = find_set(name, None).one_dna().total
    check_writable(Path(output))
    written = [str(path) for path in export_statistics(dna, output, format=file_format, layer=layer)]
    if as_json:
        return print_json({"files": written, **described(dna)})
    tell(f"{', '.join(written)}: {dna!r}")


def publish_command(names: tuple[str, ...], to: str, private: bool, overwrite: bool, as_json: bool) -> None:
    """Copy references into another store, with their ranges and cards."""
    records = publish(names, to, overwrite=overwrite, private=private)
    if as_json:
        return print_json(_listed(records, to))
    for name in dict.fromkeys(record.name for record in records):
        tell(f"{name}: in {to}")


def _split(name: str) -> dict[str, str]:
    dataset, slash, split = name.partition("/")
    if not slash or not dataset or not split:
        raise click.BadParameter(f"{name!r} is not DATASET/SPLIT, as in bsds500/trainval", param_hint="--name")
    return {"dataset": dataset, "split": split}


def _writable_store(location: str | None) -> ReferenceStore:
    store = user_store() if location is None else ReferenceStore(location)
    check_store(store)
    return store


def _card(storing: options.StoringOptions) -> str | None:
    return None if storing.card is None else Path(storing.card).read_text("utf-8")


def _listed(records: Sequence[ReferenceRecord | RangesRecord], store: str) -> list[dict[str, Any]]:
    return [{"name": record.name, "store": store, **asdict(record)} for record in records]


def _add(
    store: ReferenceStore,
    dnas: list[VDNA],
    told: dict[str, str],
    storing: options.StoringOptions,
    card: str | None,
    as_json: bool,
) -> None:
    """Add to a store, and say so."""
    records = add_reference(dnas, store, licence=storing.licence, overwrite=storing.overwrite, **told)
    if card is not None:
        add_card(store, told["dataset"], card)
    if as_json:
        return print_json(_listed(records, store.location))
    for record in records:
        tell(f"{record.name}: {record.n_images} images, in {store.location}")
