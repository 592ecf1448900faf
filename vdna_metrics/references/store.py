"""The stores: reference DNAs and activation ranges by name, each file by its sha256."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.downloads import HUB, DownloadError, RemoteFile, cache_folder
from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor, create_extractor
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import source_file
from vdna_metrics.files import replacing, sha256_of_file
from vdna_metrics.layout import near_names
from vdna_metrics.ranges import ActivationRanges, load_ranges, load_vdna_ranges

SCHEMA = 1
MANIFEST = "manifest.json"
STORES = "VDNA_METRICS_STORES"
HUB_STORE = "hub:"
_IN_STORE = "::"  # STORE::NAME
_WORD = re.compile(r"[a-z0-9][a-z0-9._+-]*")

_LOOKUPS = 100  # each but the first needs a writer in between

AnyRecord = TypeVar("AnyRecord", bound="ReferenceRecord | RangesRecord")
Read = TypeVar("Read")


@dataclass(frozen=True)
class ReferenceRecord:
    """One DNA of a store.

    Args:
        dataset: name of the image set, for example ``"bsds500"``.
        split: its split, for example ``"trainval"``.
        extractor: name of the extractor.
        kind: kind of DNA, with the bins of a histogram: ``"histogram-1000"``.
        file: path inside the store.
        sha256: of the file.
        n_images: number of images.
        fingerprint: digest of the extractor's fingerprint.
        preprocessing: id of the extractor's preprocessing.
        resolution: of the images before they were resized, ``"32x32"`` or ``"321..481 x 321..481"``; empty where
            nothing of that is known.
        ranges: digest of a histogram's activation ranges, see `ActivationRanges.digest`.
        images: hash of the image manifest: names and contents of the images; empty for imported statistics.
        licence: of the images, and what may be done with their statistics.
        origin: how the file was made.
    """

    dataset: str
    split: str
    extractor: str
    kind: str
    file: str
    sha256: str
    n_images: int
    fingerprint: str
    preprocessing: str
    resolution: str = ""
    ranges: str = ""
    images: str = ""
    licence: str = ""
    origin: str = ""

    @property
    def name(self) -> str:
        """Canonical name.

        Examples:
            >>> ReferenceRecord("bsds500", "test", "vgg16", "gaussian", "f", "0", 200, "0", "clean").name
            'bsds500/test@vgg16#gaussian'
        """
        return f"{self.dataset}/{self.split}@{self.extractor}#{self.kind}"


@dataclass(frozen=True)
class RangesRecord:
    """One file of activation ranges of a store.

    Args:
        extractor: name of the extractor.
        file: path inside the store.
        sha256: of the file.
        n_images: number of images that were seen.
        sources: names of the image sets.
        widen: widening rule.
        ranges: see `ActivationRanges.digest`.
        fingerprint: digest of the extractor's fingerprint; empty where it is unknown.
    """

    extractor: str
    file: str
    sha256: str
    n_images: int
    sources: Sequence[str]
    widen: str
    ranges: str
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))

    @property
    def name(self) -> str:
        """Canonical name.

        Examples:
            >>> RangesRecord("vgg16", "f", "0", 7, ["bsds500"], "margin", "0").name
            'ranges@vgg16'
        """
        return f"ranges@{self.extractor}"


@dataclass(frozen=True)
class Manifest:
    """What a store has.

    Args:
        references: its DNAs, sorted by name.
        ranges: its activation ranges, sorted by extractor.
    """

    references: tuple[ReferenceRecord, ...] = ()
    ranges: tuple[RangesRecord, ...] = ()

    @classmethod
    def of(cls, records: Sequence[ReferenceRecord | RangesRecord]) -> Manifest:
        """A manifest of these records, sorted."""
        return cls(
            tuple(sorted((r for r in records if isinstance(r, ReferenceRecord)), key=lambda record: record.name)),
            tuple(sorted((r for r in records if isinstance(r, RangesRecord)), key=lambda record: record.name)),
        )

    @property
    def records(self) -> list[ReferenceRecord | RangesRecord]:
        """References and ranges."""
        return [*self.references, *self.ranges]

    def dump(self) -> str:
        """As JSON text, equal for equal contents."""
        parts: dict[str, Any] = {"schema": SCHEMA}
        for part in ("references", "ranges"):
            parts[part] = [
                {key: value for key, value in asdict(record).items() if value != ""} for record in getattr(self, part)
            ]
        return json.dumps(parts, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str, where: str) -> Manifest:
        """Inverse of `dump`.

        Raises:
            ValueError: when the text is no manifest, or one of a newer schema.
        """
        try:
            data = json.loads(text)
            schema = data["schema"]
            if schema > SCHEMA:
                raise ValueError(
                    f"{where} has schema {schema}, this version reads up to {SCHEMA}: upgrade vdna_metrics"
                )
            references = [_record(ReferenceRecord, record, where) for record in data["references"]]
            return cls.of([*references, *(_record(RangesRecord, record, where) for record in data["ranges"])])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{where} is no manifest of a store ({type(error).__name__}: {error})") from error


def _record(kind: type[AnyRecord], data: Mapping[str, Any], where: str) -> AnyRecord:
    unknown = set(data).difference(field.name for field in fields(kind))
    if unknown:
        raise ValueError(f"{where} has a record with {', '.join(sorted(unknown))}, which this version does not know")
    path = Path(data["file"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{where} names {data['file']!r}, which is outside the store")
    return kind(**data)


@dataclass(frozen=True)
class ReferenceStore:
    """A place where references lie: a manifest, and the files that it names.

    Args:
        location: a folder, ``"hub:OWNER/NAME"`` (a dataset repository of the Hugging Face hub, ``NAME@REVISION`` for
            a revision), or the ``https://...`` address of a folder.

    Examples:
        >>> ReferenceStore("hub:lab/references").is_remote, ReferenceStore("references").is_remote
        (True, False)
    """

    location: str

    @property
    def is_remote(self) -> bool:
        """Whether its files are downloaded, into the cache."""
        return self.location.startswith((HUB_STORE, "https://", "http://"))

    @property
    def folder(self) -> Path:
        """Where a store that is no remote one lies.

        Raises:
            ValueError: for a remote one.
        """
        if self.is_remote:
            raise ValueError(f"{self.location} is not on this machine: give a folder, and `publish` what is in it")
        return Path(self.location)

    def manifest(self) -> Manifest:
        """What it has; of a remote store as it is now, or where it cannot be reached, as it was at the last visit.

        Raises:
            ValueError: when there is no such store, or its manifest cannot be read.
        """
        if self.is_remote:
            return _remote_manifest(self)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise ValueError(f"no store at {self.location}: it has no {MANIFEST}")
        return Manifest.parse(path.read_text("utf-8"), str(path))

    def file(self, record: ReferenceRecord | RangesRecord) -> Path:
        """The file of a record, downloaded where that is needed, with the sha256 that the record states.

        Whoever replaces a reference removes its file; `read_record` looks up the new one.

        Raises:
            ValueError: when there is no such file, or it was changed.
        """
        if self.is_remote:
            return self._remote(record.file).fetch(sha256=record.sha256)
        path = self.folder / record.file
        try:
            found = sha256_of_file(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ValueError(f"{path} is missing, {self.folder / MANIFEST} names it") from None
        if found != record.sha256:
            raise ValueError(f"{path} was changed: its sha256 is {found[:12]}, the manifest says {record.sha256[:12]}")
        return path

    def card(self, dataset: str) -> str | None:
        """The card of an image set, Markdown, where it has one and lies on this machine."""
        path = None if self.is_remote else self.folder / "cards" / f"{dataset}.md"
        return path.read_text("utf-8") if path is not None and path.is_file() else None

    def _remote(self, file: str) -> RemoteFile:
        if self.location.startswith(HUB_STORE):
            return RemoteFile(f"{HUB}datasets/{self.location.removeprefix(HUB_STORE).strip('/')}/{file}")
        return RemoteFile(f"{self.location.rstrip('/')}/{file}")


def _version(store: ReferenceStore) -> tuple[int, int] | None:
    """Tells whether the manifest was written meanwhile; a remote one stays the same as long as the process."""
    if store.is_remote:
        return None
    try:
        status = (store.folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def read_record(
    find: Callable[[], tuple[ReferenceStore, AnyRecord]], read: Callable[[ReferenceStore, AnyRecord, Path], Read]
) -> Read:
    """Read the file of a record that a writer may replace meanwhile: then it is looked up anew.

    Args:
        find: looks the record up in the manifest as it is at that moment.
        read: reads the file.

    Raises:
        ValueError: when the file cannot be read, and nobody has replaced it; so with any ``OSError``.
    """
    for _ in range(_LOOKUPS):
        # In this order: a manifest that is unchanged from here on names files that are there.
        store, record = find()
        version = _version(store)
        try:
            return read(store, record, store.file(record))
        except (ValueError, OSError) as error:
            failure = error
        if find() == (store, record) and _version(store) == version:
            break
    raise failure


@cache
def _remote_manifest(store: ReferenceStore) -> Manifest:
    # Once a process: what it has does not change under a running computation.
    remote = store._remote(MANIFEST)
    try:
        path = remote.fetch(anew=True)
    except DownloadError:
        if remote.cached is None:
            raise
        path = remote.path
    return Manifest.parse(path.read_text("utf-8"), remote.address)


# -------------------------------------------------------------------------------------------------- which stores
def bundled_store() -> ReferenceStore:
    """The store ``reference_stats`` that comes with the package."""
    packaged = Path(str(files("vdna_metrics"))) / "reference_stats"
    # In a checkout the folder lies beside the package.
    return ReferenceStore(str(packaged if packaged.is_dir() else packaged.parents[1] / "reference_stats"))


def groups_folder(dataset: str, split: str, extractor: str) -> Path:
    """Where the package keeps a reference's DNAs dealt into groups, for error bars; few references are."""
    return bundled_store().folder / "groups" / f"{dataset}-{split}-{extractor}"


def user_store() -> ReferenceStore:
    """The user's own store, ``reference_stats`` in ``VDNA_METRICS_HOME``; it may not be there yet."""
    return ReferenceStore(str(cache_folder() / "reference_stats"))


def known_stores() -> list[ReferenceStore]:
    """The stores that names are looked up in, the first first.

    They are the one that comes with the package, the user's, and those that the environment variable
    ``VDNA_METRICS_STORES`` names with blanks between.
    """
    own = user_store()
    named = [ReferenceStore(location) for location in os.environ.get(STORES, "").split()]
    return [bundled_store(), *([own] if (own.folder / MANIFEST).is_file() else []), *named]


def _stores(store: str | ReferenceStore | None) -> list[ReferenceStore]:
    if store is None:
        return known_stores()
    return [store if isinstance(store, ReferenceStore) else ReferenceStore(store)]


def _entries(store: str | ReferenceStore | None) -> list[tuple[ReferenceStore, ReferenceRecord]]:
    """Records with their stores, sorted by name; of one name, the first store's alone."""
    found: dict[str, tuple[ReferenceStore, ReferenceRecord]] = {}
    for place in _stores(store):
        for record in place.manifest().references:
            found.setdefault(record.name.lower(), (place, record))
    return sorted(found.values(), key=lambda entry: entry[1].name)


# -------------------------------------------------------------------------------------------------- by name
def list_references(store: str | None = None) -> list[ReferenceRecord]:
    """All reference DNAs of a store, or of all known ones.

    Args:
        store: a location, see `ReferenceStore`.

    Examples:
        >>> [record.name for record in list_references() if record.extractor == "vdna_tiny"][0]
        'bsds500/test@vdna_tiny#gaussian'
    """
    return [record for _, record in _entries(store)]


def find_reference(
    name: str, *, extractor: str | None = None, kind: str | None = None
) -> tuple[ReferenceStore, ReferenceRecord]:
    """The one record that a name, complete or partial, stands for, and its store.

    Args:
        name: ``dataset/split@extractor#kind``; parts may be left out where one record remains. Case does not matter.
            ``STORE::NAME`` looks into one store.
        extractor: extractor to assume when the name has none.
        kind: kind to assume when the name has none, with or without bins. A layer Gaussian serves for a Gaussian.

    Raises:
        ValueError: when no record fits, or several do; the error lists what there is.
    """
    location, _, inside = name.rpartition(_IN_STORE)
    rest, _, named_kind = inside.lower().partition("#")
    rest, _, named_extractor = rest.partition("@")
    dataset, _, split = rest.partition("/")
    wanted_kind = named_kind or (kind or "")
    wanted_extractor = named_extractor or (extractor or "").lower()
    entries = _entries(location or None)

    def fits(record: ReferenceRecord, kind: str) -> bool:
        return (
            dataset == record.dataset.lower()
            and split in ("", record.split.lower())
            and wanted_extractor in ("", record.extractor.lower())
            and (kind in ("", record.kind) or record.kind.startswith(f"{kind}-"))
        )

    found = [entry for entry in entries if fits(entry[1], wanted_kind)]
    if not found and wanted_kind == "gaussian":
        found = [entry for entry in entries if fits(entry[1], "layer_gaussian")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"reference {name!r} could be: {_names(found)}")
    asked = rest + (f"@{wanted_extractor}" if wanted_extractor else "") + (f"#{wanted_kind}" if wanted_kind else "")
    where = location or "the store"
    near = near_names(asked, [record.name for _, record in entries]) if entries else ""
    nor = "" if location else ", nor a file of that name"
    raise ValueError(f"no reference {asked!r} in {where}{nor}{f'; {near}' if near else ''}. It has: {_names(entries)}")


def load_reference(name: str, *, extractor: str | None = None, kind: str | None = None) -> VDNA:
    """Load a reference DNA by name; the file's sha256 is verified.

    Args:
        name: see `find_reference`.
        extractor: see `find_reference`.
        kind: see `find_reference`.

    Raises:
        ValueError: when the name stands for none or several, or the file was changed.

    Examples:
        >>> load_reference("bsds500/trainval", extractor="vdna_tiny", kind="histogram").n_images
        300
    """
    return read_record(
        lambda: find_reference(name, extractor=extractor, kind=kind), lambda _store, _record, path: load_vdna(path)
    )


# -------------------------------------------------------------------------------------------------- ranges
def ranges_origin(extractor: str | ExtractorSpec | FeatureExtractor) -> Literal["ship", "published", "calibrate"]:
    """Whether activation ranges are in a known store, are published elsewhere, or are to be made by calibration.

    Examples:
        >>> ranges_origin("vdna_tiny"), ranges_origin("mugs_vit_base"), ranges_origin("dinov2_vit_base")
        ('ship', 'published', 'calibrate')
    """
    name, spec = _name_and_spec(extractor)
    if _find_ranges_record(name) is not None:
        return "ship"
    return "calibrate" if spec is None or spec.ranges is None else "published"


def has_ranges(extractor: str | ExtractorSpec | FeatureExtractor) -> bool:
    """Whether activation ranges are in a known store or are published with an extractor; no ranges are downloaded."""
    return ranges_origin(extractor) != "calibrate"


def find_ranges(extractor: str | ExtractorSpec | FeatureExtractor) -> ActivationRanges:
    """Activation ranges for an extractor: of a known store, else those that are published with it.

    Args:
        extractor: the extractor, its spec or its name; published ranges need its weights, for the fingerprint.

    Raises:
        ValueError: when there are none, or they cannot be had; the error says how to calibrate.

    Examples:
        >>> find_ranges("vdna_tiny").sources
        ('bsds500', 'imagenet_sample_1000', 'cifar10_jpeg_test', 'mnist/test')
    """
    name, spec = _name_and_spec(extractor)
    if (known := _find_ranges_record(name)) is not None:
        return read_record(lambda: _find_ranges_record(name) or known, lambda _store, _record, path: load_ranges(path))
    calibrate = (
        "give ranges=, or a reference that has them, or calibrate on images like yours: vdna-metrics calibrate IMAGES "
        f"--extractor {name} -o ranges.npz (in Python: ActivationRange)"
    )
    if spec is None or spec.ranges is None:
        raise ValueError(f"no activation ranges ship for {name!r}, and histograms need them: {calibrate}")
    network = create_extractor(spec if isinstance(extractor, str) else extractor)
    try:
        path = source_file(spec.ranges)
        return load_vdna_ranges(path, network.layout, source=spec.ranges, fingerprint=network.fingerprint)
    except ValueError as error:
        raise ValueError(
            f"the activation ranges published for {name!r} could not be had: {error}. Or {calibrate}"
        ) from error


def own_ranges(extractor: FeatureExtractor) -> ActivationRanges | None:
    """The ranges that `find_ranges` has for an extractor, where there are some and they are of its weights."""
    if not has_ranges(extractor):
        return None
    ranges = find_ranges(extractor)
    if ranges.fingerprint is not None and ranges.fingerprint.differences(extractor.fingerprint, precision=False):
        return None
    return ranges


def _name_and_spec(extractor: str | ExtractorSpec | FeatureExtractor) -> tuple[str, ExtractorSpec | None]:
    if isinstance(extractor, str):
        return extractor, CATALOGUE.get(extractor)
    spec = extractor.spec if isinstance(extractor, FeatureExtractor) else extractor
    return spec.name, spec


def _find_ranges_record(extractor: str) -> tuple[ReferenceStore, RangesRecord] | None:
    entries = ((store, record) for store in known_stores() for record in store.manifest().ranges)
    return next((entry for entry in entries if entry[1].extractor == extractor), None)


# -------------------------------------------------------------------------------------------------- adding
def add_reference(
    dna: VDNA,
    store: ReferenceStore,
    *,
    dataset: str,
    split: str,
    resolution: str = "",
    licence: str = "",
    origin: str = "",
    overwrite: bool = False,
) -> ReferenceRecord:
    """Put a DNA into a store on this machine, which is made where there is none.

    File and manifest are written whole or not at all, the manifest last, so that whoever reads meanwhile sees the
    store without it or with it. Processes that add at once wait for each other.

    Args:
        dna: what to add.
        store: where to.
        dataset: name of the image set: letters, digits and ``. _ + -``, in lower case; image sets that differ in
            resolution differ in name.
        split: name of the split, likewise.
        resolution: of the images, where the DNA does not know it, as imported ones do not.
        licence: of the images, and what may be done with their statistics.
        origin: how it was made; by default what the DNA says of itself, as imported ones do.
        overwrite: whether to replace another DNA of that name.

    Raises:
        ValueError: for a name that is none, that ships with the package, or that the store has with other contents.
    """
    record = ReferenceRecord(
        dataset=dataset,
        split=split,
        file="",
        sha256="",
        resolution=str(dna.provenance.sizes or resolution),
        licence=licence,
        origin=origin or dna.provenance.origin,
        **_facts(dna),
    )
    check_new_name(store, dataset, split, record.extractor, record.kind)
    return _add(store, record, dna.save, overwrite)


def check_new_name(store: ReferenceStore, dataset: str, split: str, extractor: str, kind: str) -> None:
    """Raise ``ValueError`` for a name that `add_reference` would refuse whatever the DNA, before it is made."""
    for what, word in (("dataset", dataset), ("split", split)):
        if not _WORD.fullmatch(word):
            raise ValueError(
                f"{what} {word!r} is no name: use lower-case letters, digits and . _ + -, as in bsds500/trainval"
            )
    bundled = bundled_store()
    name = f"{dataset}/{split}@{extractor}#{kind}"
    shipped = {known.name.lower() for known in bundled.manifest().references}
    if name.lower() in shipped and store.folder.resolve() != bundled.folder.resolve():
        raise ValueError(f"{name} ships with the package: give this one another name")


def add_ranges(
    ranges: ActivationRanges, store: ReferenceStore, *, extractor: str, overwrite: bool = False
) -> RangesRecord:
    """Put activation ranges into a store on this machine, where `find_ranges` finds them; see `add_reference`.

    Args:
        ranges: what to add.
        store: where to.
        extractor: name of the extractor.
        overwrite: whether to replace other ranges of that extractor.

    Raises:
        ValueError: when the store has other ranges of that extractor.
    """
    record = RangesRecord(extractor=extractor, file="", sha256="", **_facts(ranges))
    return _add(store, record, ranges.save, overwrite)


def copy_record(
    source: ReferenceStore, record: AnyRecord, target: ReferenceStore, *, overwrite: bool = False
) -> AnyRecord:
    """Copy a file, byte by byte, from one store to another on this machine; see `add_reference`.

    Where the record was replaced meanwhile, it is the new one that is copied.
    """
    return read_record(
        lambda: (source, _as_of_now(source, record)),
        lambda _source, now, path: _add(target, now, lambda place: shutil.copyfile(path, place), overwrite),
    )


def _as_of_now(store: ReferenceStore, record: AnyRecord) -> AnyRecord:
    """The record that has this one's name now."""
    records = store.manifest().records
    return next((each for each in records if isinstance(each, type(record)) and each.name == record.name), record)


def add_card(store: ReferenceStore, dataset: str, text: str) -> Path:
    """Put the card of an image set, Markdown, into a store on this machine; one that is there is replaced."""
    path = store.folder / "cards" / f"{dataset}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_text(path, text)
    return path


def _facts(contents: VDNA | ActivationRanges) -> dict[str, Any]:
    """The part of a record that the file itself tells."""
    if isinstance(contents, ActivationRanges):
        return {
            "n_images": contents.n_images,
            "sources": tuple(contents.sources),
            "widen": contents.widen,
            "ranges": contents.digest,
            "fingerprint": contents.fingerprint.digest if contents.fingerprint else "",
        }
    kind, ranges = str(contents.kind), ""
    if isinstance(contents.distribution, HistogramDistribution):
        kind = f"{kind}-{contents.distribution.bins}"
        ranges = contents.distribution.ranges.digest
    return {
        "extractor": contents.provenance.extractor,
        "kind": kind,
        "n_images": contents.n_images,
        "fingerprint": contents.fingerprint.digest,
        "preprocessing": contents.fingerprint.preprocessing,
        "ranges": ranges,
        "images": " ".join(contents.provenance.manifests),
    }


def _check_overwrite(
    old: ReferenceRecord | RangesRecord | None,
    new: ReferenceRecord | RangesRecord,
    overwrite: bool,
    store: ReferenceStore,
) -> None:
    if old is not None and old.sha256 != new.sha256 and not overwrite:
        raise ValueError(
            f"{store.location} has {old.name} with other contents: there {old.n_images} images, sha256 "
            f"{old.sha256[:12]}, new {new.n_images} images, sha256 {new.sha256[:12]}; choose another name, or replace "
            "it by overwrite=True (--overwrite)"
        )


def _add(store: ReferenceStore, record: AnyRecord, save: Callable[[Path], object], overwrite: bool) -> AnyRecord:
    """File a record whose file and sha256 come of saving."""
    from filelock import FileLock

    part, stem = ("dnas", record.name) if isinstance(record, ReferenceRecord) else ("ranges", record.extractor)
    folder = store.folder
    (folder / part).mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{MANIFEST}.lock")
    with lock, tempfile.TemporaryDirectory(prefix=".adding-", dir=folder) as temporary:
        made = Path(temporary, "new.npz")
        save(made)
        sha256 = sha256_of_file(made)
        # Named by its contents: a file never changes under its name, neither here nor in anybody's cache.
        file = f"{part}/{re.sub(r'[^a-zA-Z0-9._+-]', '-', stem)}-{sha256[:8]}.npz"
        record = replace(record, file=file, sha256=sha256)
        before = store.manifest() if (folder / MANIFEST).is_file() else Manifest()
        records: dict[str, ReferenceRecord | RangesRecord] = {each.name.lower(): each for each in before.records}
        _check_overwrite(records.get(record.name.lower()), record, overwrite, store)
        records[record.name.lower()] = record
        after = Manifest.of(list(records.values()))
        os.replace(made, folder / file)
        _write_text(folder / MANIFEST, after.dump())
        # Still under the lock: the next writer may put the old contents, and so the old file, back.
        for gone in {each.file for each in before.records} - {each.file for each in after.records}:
            (folder / gone).unlink(missing_ok=True)
    return record


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


# -------------------------------------------------------------------------------------------------- checking
def verify_store(store: str | ReferenceStore) -> Iterator[tuple[str, str | None]]:
    """Re-hash and re-read every file of a store, and compare it with its record.

    Args:
        store: the store, or its location.

    Yields:
        Name of each record, and what is wrong with it or ``None``.

    Examples:
        >>> [name for name, problem in verify_store(bundled_store()) if problem]
        []
    """
    store = _stores(store)[0]
    for record in store.manifest().records:
        yield record.name, _problem(store, record)


def _problem(store: ReferenceStore, record: ReferenceRecord | RangesRecord) -> str | None:
    def read(_store: ReferenceStore, now: AnyRecord, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        return asdict(now), _facts(load_vdna(path) if isinstance(now, ReferenceRecord) else load_ranges(path))

    try:
        stated, found = read_record(lambda: (store, _as_of_now(store, record)), read)
    except (ValueError, OSError) as error:
        return str(error)
    wrong = [f"{what}: file {value}, manifest {stated[what]}" for what, value in found.items() if value != stated[what]]
    return "; ".join(wrong) or None


def _names(entries: Sequence[tuple[ReferenceStore, ReferenceRecord]]) -> str:
    return ", ".join(record.name for _, record in entries) or "nothing"
