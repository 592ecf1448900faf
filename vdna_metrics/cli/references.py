"""`vdna-metrics references`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import click

from vdna_metrics.analysis.frechet_ratio import frechet_normaliser
from vdna_metrics.cli import options
from vdna_metrics.cli.inputs import check_making_options, check_root, find_set, reading_of
from vdna_metrics.cli.options import nested, option
from vdna_metrics.cli.results import described, forget, report_skipped, say_notes
from vdna_metrics.cli.screen import is_main, print_json, print_lines, print_table, progress_bars, say, tell, watched
from vdna_metrics.cli.settings import find_settings
from vdna_metrics.distributions import Kind
from vdna_metrics.distributions.features import SAMPLE
from vdna_metrics.dna import VDNA, load_vdna
from vdna_metrics.dna.caveats import Notes, set_caveats
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.serialization import DNA_FILES
from vdna_metrics.dna.vdna import ProvenanceFields
from vdna_metrics.files import check_writable, is_ours, read_header
from vdna_metrics.images.datasets import list_datasets
from vdna_metrics.images.opening import DATASET
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

_store = click.option(
    "--store",
    "location",
    metavar="STORE",
    help="A folder, hub:OWNER/NAME, or an https address.  [default: all that are known]",
)


@click.group()
def references() -> None:
    """Reference DNAs and activation ranges, by name.

    A NAME is DATASET/SPLIT@EXTRACTOR#KIND, of which parts may be left out where one remains, or STORE::NAME.
    Names are looked up in the store that comes with the package, in yours (folder reference_stats in
    VDNA_METRICS_HOME), and in those that VDNA_METRICS_STORES names.
    """


@references.command("list")
@click.argument("dataset", required=False, metavar="[DATASET]")
@_store
@options.as_json
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


@references.command()
@click.argument("name", metavar="NAME")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show all that is known of a reference.

    A NAME without a kind stands for all that there are, of one network.
    """

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
    layers = f", {len(header['layout']['layers'])} layers" if "layers" in header["layout"] else ""
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


@references.command()
@_store
@options.as_json
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


@dataclass(frozen=True)
class BuildOptions:
    """Which references are made, and where they go."""

    name: str | None = option(
        metavar="DATASET/SPLIT",
        help="What to call it, in lower case, as in bsds500/trainval.  [default: a standard dataset's own]",
    )
    kinds: tuple[Kind, ...] = options.kinds_option(
        "histogram,gaussian,layer_gaussian", "Which DNAs to make, in one pass over the images."
    )
    making: options.DNAOptions = nested(options.DNAOptions)
    storing: options.StoringOptions = nested(options.StoringOptions)


@references.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@options.takes("given", BuildOptions)
@options.as_json
def build(sources: tuple[str, ...], given: BuildOptions, as_json: bool) -> None:
    """Make reference DNAs of images, and put them into a store.

    An interrupt keeps what was done; the same command goes on from there. Several SOURCEs are one image set.
    """
    kinds, making = given.kinds, given.making
    check_root(making.reading.root, *sources)
    check_making_options(kinds, making)
    standard = ""
    if len(sources) == 1 and sources[0].startswith(DATASET):
        standard = sources[0].removeprefix(DATASET).lower()
    if not (given.name or standard):
        raise click.UsageError("--name is needed: DATASET/SPLIT, as in bsds500/trainval")
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


@dataclass(frozen=True)
class StatedOptions:
    """What a file of another tool may not tell of itself."""

    format: Any = option(metavar="NAME", help="Of the file, where its contents do not tell.")
    mode: Any = option(metavar="NAME", help="How the images were resized, where the file does not tell.")
    n_images: int | None = option("--images", type=click.IntRange(2), metavar="N", help="How many images, likewise.")
    ranges: str | None = option(metavar="FILE", help="Activation ranges of a vdna package of histograms.")
    feature_images: int = option(
        type=click.IntRange(2),
        metavar="N",
        default=SAMPLE,
        help="Images whose features are kept, of a file with more features a sample.",
    )


@dataclass(frozen=True)
class ImportOptions:
    """What an imported file is to be called, and what of it is stated."""

    name: str = option(
        required=True, metavar="NAME", help="DATASET/SPLIT, or of activation ranges the extractor's name."
    )
    stated: StatedOptions = nested(StatedOptions)
    resolution: str = option(
        default="", show_default=False, metavar="WxH", help="Of the images before they were resized, as in 32x32."
    )
    storing: options.StoringOptions = nested(options.StoringOptions)


@references.command()
@click.argument("name", metavar="NAME")
@click.option("--validation", required=True, metavar="DNA", help="Of the validation set: a file, folder or name.")
@click.option("--layers", type=options.names(), metavar="A,B", help="Of the distance.  [default: those that both have]")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    help="Of the interval, where both are in groups.",
)
@options.as_json
def normalise(name: str, validation: str, layers: tuple[str, ...] | None, confidence: float, as_json: bool) -> None:
    """Record with a layer Gaussian what FDr^k divides by.

    That is the Fréchet distance of a validation set from it, the training set: plain, and where both are in groups
    corrected for the number of images too. FrechetDistanceRatio and frechet_distance_ratio then need NAME alone.
    """
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


@references.command("import")
@click.argument("source", metavar="SOURCE")
@options.takes("given", ImportOptions)
@options.as_json
def import_command(source: str, given: ImportOptions, as_json: bool) -> None:
    """Put a DNA, or others' statistics, into a store.

    SOURCE is a DNA, activation ranges, a file of another tool, its https address, or the name under which it is
    published (clean-fid:cifar10/train/32; see docs/references.md).
    """
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


@references.command()
@click.argument("name", metavar="NAME")
@click.option("-o", "--output", required=True, metavar="FILE", help="File to write.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["clean-fid", "vdna"]),
    default="clean-fid",
    help="clean-fid: mean and covariance, for clean-fid and pytorch-fid too; vdna: the package's .json and .npz.",
)
@click.option("--layer", metavar="NAME", help="Layer whose mean and covariance to write, where there are several.")
@options.as_json
def export(name: str, output: str, file_format: Any, layer: str | None, as_json: bool) -> None:
    """Write a reference, or a DNA file, for another tool."""
    dna = find_set(name, None).one_dna().total
    check_writable(Path(output))
    written = [str(path) for path in export_statistics(dna, output, format=file_format, layer=layer)]
    if as_json:
        return print_json({"files": written, **described(dna)})
    tell(f"{', '.join(written)}: {dna!r}")


@references.command("publish")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--to", required=True, metavar="STORE", help="hub:OWNER/NAME, made where there is none, or a folder.")
@click.option("--private", is_flag=True, help="Make a repository that only its members see.")
@click.option("--overwrite", is_flag=True, help="Replace what the store has under these names.")
@options.as_json
def publish_command(names: tuple[str, ...], to: str, private: bool, overwrite: bool, as_json: bool) -> None:
    """Copy references into another store, with their ranges and cards.

    A NAME without a kind stands for all that there are, of one network.
    """
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
