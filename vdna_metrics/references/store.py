"""The stores: reference DNAs and activation ranges by name, each file by its sha256."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeVar

from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.downloads import HUB, DownloadError, RemoteFile, cache_folder
from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor, create_extractor
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.directions import is_projected
from vdna_metrics.extractors.weights import source_file
from vdna_metrics.files import errors_of, read_json, read_whole, sha256_of_file
from vdna_metrics.images.containers import near_files
from vdna_metrics.images.sources import manifest_hash
from vdna_metrics.layout import check_type, near_names
from vdna_metrics.ranges import ActivationRanges, GivenRanges, load_ranges, load_vdna_ranges
from vdna_metrics.references.records import (
    AnyRecord,
    FrechetNormaliser,
    Manifest,
    OneRecord,
    RangesRecord,
    ReferenceName,
    ReferenceRecord,
    group_place,
)
from vdna_metrics.schema import Sha256

MANIFEST = "manifest.json"
STORES = "VDNA_METRICS_STORES"
HUB_STORE = "hub:"
IN_STORE = "::"  # STORE::NAME
_LOOKUPS = 100  # each but the first needs a writer in between

Read = TypeVar("Read")


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
        """Where a store on this machine lies.

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
            found = _remote_manifest(self)
            if isinstance(found, DownloadError):
                raise DownloadError(str(found), found.status)
            return found
        path = self.folder / MANIFEST
        if not path.is_file():
            raise ValueError(f"no store at {self.location}: it has no {MANIFEST}")
        with errors_of(str(path)):
            return Manifest.parse(read_whole(path, "json_bytes"), str(path))

    def file(self, record: AnyRecord) -> Path:
        """The file of a record, downloaded where that is needed, with the sha256 that the record states.

        Whoever replaces a reference removes its file; `read_records` looks up the new one.

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

    def image_digests(self, record: ReferenceRecord) -> dict[str, str]:
        """``{name: sha256}`` of the images of a DNA; of the first group those of all groups, where they are known."""
        path = None if self.is_remote or not record.images else digests_file(self, record.images)
        if path is None or not path.is_file():
            return {}
        found = read_image_digests(path)
        place, number = group_place(record) if record.group else (1, 1)
        names = list(found)[place - 1 :: number]
        return found if manifest_hash(names, map(found.__getitem__, names)) == record.images else {}

    def card(self, dataset: str) -> str | None:
        """The card of an image set, Markdown, where it has one and lies on this machine."""
        path = None if self.is_remote else self.folder / "cards" / f"{dataset}.md"
        return path.read_text("utf-8") if path is not None and path.is_file() else None

    def _remote(self, file: str) -> RemoteFile:
        if self.location.startswith(HUB_STORE):
            return RemoteFile(f"{HUB}datasets/{self.location.removeprefix(HUB_STORE).strip('/')}/{file}")
        return RemoteFile(f"{self.location.rstrip('/')}/{file}")


def read_image_digests(path: Path) -> dict[str, str]:
    """``{name: sha256}`` of the images that DNAs beside the file are of; empty where there is no file."""
    hint = Mapping[str, Sha256]
    return dict(read_json(path, hint, "the sha256 of images")) if path.exists() else {}  # type: ignore[type-abstract]


def _version(store: ReferenceStore) -> tuple[int, int] | None:
    """Tells whether the manifest was written meanwhile; a remote one stays the same as long as the process."""
    try:
        status = (store.folder / MANIFEST).stat()
    except (OSError, ValueError):  # a remote store has no folder
        return None
    return status.st_ino, status.st_mtime_ns


def read_records(
    find: Callable[[], list[tuple[ReferenceStore, OneRecord]]],
    read: Callable[[list[tuple[ReferenceStore, OneRecord]]], Read],
) -> Read:
    """Read files of records that a writer may replace meanwhile: then they are looked up anew.

    Args:
        find: looks the records up in the manifests as they are at that moment.
        read: reads their files.

    Raises:
        ValueError: when a file cannot be read, and nobody has replaced it; so with any ``OSError``.
    """
    for _ in range(_LOOKUPS):
        # In this order: a manifest that is unchanged from here on names files that are there.
        entries = find()
        versions = [_version(store) for store, _ in entries]
        try:
            return read(entries)
        except (ValueError, OSError) as error:
            failure = error
        if find() == entries and [_version(store) for store, _ in entries] == versions:
            break
    raise failure


def digests_file(store: ReferenceStore, manifest: str) -> Path:
    """Where a store on this machine keeps which images a manifest hash is of."""
    return store.folder / "images" / f"{manifest[:16]}.json"


@cache
def _remote_manifest(store: ReferenceStore) -> Manifest | DownloadError:
    # Once a process: what it has does not change under a running computation, and who is not there is asked once.
    remote = store._remote(MANIFEST)
    try:
        path = remote.fetch(anew=True)
    except DownloadError as error:
        if remote.cached is None:
            return error
        path = remote.path
    with errors_of(remote.address):
        return Manifest.parse(read_whole(path, "json_bytes"), remote.address)


Entry = tuple[ReferenceStore, ReferenceRecord]


def forget_remote_manifests() -> None:
    """Ask remote stores again for what they have."""
    _remote_manifest.cache_clear()


def bundled_store() -> ReferenceStore:
    """The store ``reference_stats`` that comes with the package."""
    packaged = Path(str(files("vdna_metrics"))) / "reference_stats"
    # In a checkout the folder lies beside the package.
    return ReferenceStore(str(packaged if packaged.is_dir() else packaged.parents[1] / "reference_stats"))


def user_store() -> ReferenceStore:
    """The user's own store, ``reference_stats`` in ``VDNA_METRICS_HOME``; it may not be there yet."""
    return ReferenceStore(str(cache_folder() / "reference_stats"))


def known_stores() -> list[ReferenceStore]:
    """The stores that names are looked up in, the first first.

    They are the one that comes with the package, the user's, and those that the environment variable
    ``VDNA_METRICS_STORES`` names, with newlines or ``;`` between; blanks separate too, where all parts are stores.
    """
    text = os.environ.get(STORES, "")
    try:
        own = [user_store()]
    except ValueError:  # a user without a home has none
        own = []
    parts = re.split(r"[;\n]", text)
    if len(parts) == 1 and all(_is_store(location) for location in text.split()):
        parts = text.split()
    named = [ReferenceStore(location.strip()) for location in parts if location.strip()]
    return [bundled_store(), *(store for store in own if (store.folder / MANIFEST).is_file()), *named]


def _is_store(location: str) -> bool:
    store = ReferenceStore(location)
    return store.is_remote or (store.folder / MANIFEST).is_file()


def known_manifests() -> Iterator[tuple[ReferenceStore, Manifest]]:
    """What the known stores have. One that cannot be read or reached is left out, with a warning."""
    for store in known_stores():
        try:
            yield store, store.manifest()
        except (ValueError, OSError) as error:
            if store == bundled_store():
                raise
            what = "a store" if store.location in str(error) else f"the store {store.location}"
            warnings.warn(f"{what} is left out: {error}", UserWarning, stacklevel=2)


def as_store(store: str | Path | ReferenceStore) -> ReferenceStore:
    """A store, or the one at a location."""
    check_type("a store", store, ReferenceStore, str, Path)
    return store if isinstance(store, ReferenceStore) else ReferenceStore(str(store))


def _entries(store: str | ReferenceStore | None) -> list[Entry]:
    """Records with their stores, groups too, sorted by name; of one name, the first store's alone."""
    first: dict[str, ReferenceStore] = {}
    found = []
    places = known_manifests() if store is None else [(as_store(store), as_store(store).manifest())]
    for place, manifest in places:
        for record in manifest.references:
            if first.setdefault(record.name.lower(), place) is place:
                found.append((place, record))
    return sorted(found, key=lambda entry: entry[1].name)


def list_references(store: str | None = None) -> list[ReferenceRecord]:
    """All reference DNAs of a store, or of all known ones; groups of DNAs are not listed.

    Args:
        store: a location, see `ReferenceStore`.

    Examples:
        >>> [record.name for record in list_references() if record.extractor == "vdna_tiny"][0]
        'bsds500/test@vdna_tiny#features-10000[conv_head]'
    """
    return [record for _, record in _entries(store) if not record.group]


def _parse(name: str, extractor: str | None, kind: str | None) -> tuple[str | None, ReferenceName]:
    """Location of a store, where the name has one, and what of it is asked for."""
    for what, text in (("the name of a reference", name), ("extractor", extractor or ""), ("kind", kind or "")):
        check_type(what, text, str)
    location, _, inside = name.rpartition(IN_STORE)
    asked = ReferenceName.parse(inside)
    extractor, kind = asked.extractor or (extractor or "").lower(), asked.kind or (kind or "").lower()
    return location or None, replace(asked, extractor=extractor, kind=kind)


def matching_references(name: str, *, extractor: str | None = None, kind: str | None = None) -> list[Entry]:
    """All records that a name may stand for, groups too, with their stores; see `find_reference`."""
    location, asked = _parse(name, extractor, kind)
    entries = _entries(location)
    found = [entry for entry in entries if asked.fits(entry[1])]
    if not found and asked.kind == "gaussian":
        found = [entry for entry in entries if replace(asked, kind="layer_gaussian").fits(entry[1])]
    inside = name.rpartition(IN_STORE)[2].lower()
    spelled = [entry for entry in found if inside in (entry[1].name.lower(), entry[1].exact_name.lower())]
    exact = [record for _, record in spelled if not record.group]
    groups = [entry for entry in found if any(entry[1].is_group_of(whole) for whole in exact)]
    return [entry for entry in spelled if entry not in groups] + groups or found


def unknown_reference(name: str, *, extractor: str | None = None, kind: str | None = None) -> ValueError:
    """The error for a name that nothing fits, with what there is of that image set, else what is spelled like it."""
    location, asked = _parse(name, extractor, kind)
    inside, where = name.rpartition(IN_STORE)[2], f" in {location}" if location else ""
    names = list(dict.fromkeys(record.name for _, record in _entries(location) if not record.group))
    same = [known for known in names if known.lower().startswith(f"{asked.dataset}/")]
    same = [known for known in same if known.lower().startswith(f"{asked.dataset}/{asked.split}@")] or same
    if same:
        return ValueError(f"no reference {str(asked)!r}{where}; of that image set there are: {', '.join(same)}")
    near = near_names(inside, names if "#" in inside else list(dict.fromkeys(n.partition("@")[0] for n in names)))
    if near.startswith("known"):
        near = "`vdna-metrics references list` shows what there is"
    if not location and os.path.exists(name):
        return ValueError(f"no reference {name!r}; the file or folder of that name is read by resolve or load_vdna")
    what = "reference" if location else "file, folder or reference"
    return ValueError(f"no {what} {inside!r}{where}; {near if location else near_files(name) or near}")


def find_reference(
    name: str, *, extractor: str | None = None, kind: str | None = None, layers: Sequence[str] | None = None
) -> Entry:
    """The one whole DNA that a name, complete or partial, stands for, and its store.

    Args:
        name: ``dataset/split@extractor#kind[layers]%ranges``; parts may be left out where one record remains. Case does
            not matter. ``STORE::NAME`` looks into one store.
        extractor: extractor to assume when the name has none.
        kind: kind to assume when the name has none, with or without bins. A layer Gaussian serves for a Gaussian.
        layers: of several records, the one that has these layers.

    Raises:
        ValueError: when no record fits, near names are named, or when several do, they are listed.
    """
    whole = _whole_references(name, extractor, kind)
    fitting = [entry for entry in whole if entry[1].holds(layers)] or whole
    if len(fitting) == 1:
        return fitting[0]
    raise ValueError(f"reference {name!r} could be: {names_of(fitting)}")


def find_references(name: str) -> list[Entry]:
    """The whole DNAs of one network that a name stands for, of every kind, layers and ranges that it leaves out.

    Args:
        name: see `find_reference`.

    Raises:
        ValueError: when no record fits, near names are named, or those of several networks do, they are listed.

    Examples:
        >>> [record.kind for _, record in find_references("bsds500/test@vdna_tiny")]
        ['features-10000', 'gaussian', 'histogram-1000', 'layer_gaussian']
    """
    whole = _whole_references(name, None, None)
    if len({record.extractor for _, record in whole}) > 1:
        raise ValueError(f"reference {name!r} could be of several networks: {names_of(whole)}")
    return whole


def _whole_references(name: str, extractor: str | None, kind: str | None) -> list[Entry]:
    found = matching_references(name, extractor=extractor, kind=kind)
    if not found:
        raise unknown_reference(name, extractor=extractor, kind=kind)
    whole = [entry for entry in found if not entry[1].group]
    if not whole:
        raise ValueError(f"{found[0][1].name} is there in groups alone: resolve loads them")
    return whole


def load_reference(
    name: str, *, extractor: str | None = None, kind: str | None = None, layers: Sequence[str] | None = None
) -> VDNA:
    """Load a reference DNA by name; the file's sha256 is verified.

    Args:
        name: see `find_reference`.
        extractor: see `find_reference`.
        kind: see `find_reference`.
        layers: see `find_reference`.

    Raises:
        ValueError: when the name stands for none or several, or the file was changed.

    Examples:
        >>> load_reference("bsds500/trainval", extractor="vdna_tiny", kind="histogram").n_images
        300
    """
    return read_records(
        lambda: [find_reference(name, extractor=extractor, kind=kind, layers=layers)],
        lambda entries: load_vdna(entries[0][0].file(entries[0][1])),
    )


def find_normaliser(
    name: str, *, extractor: str | None = None, layers: Sequence[str] | None = None, corrected: bool = False
) -> FrechetNormaliser:
    """What FDr^k divides by in one network, as it is recorded with the reference of the training set.

    Args:
        name: of the reference, see `find_reference`.
        extractor: see `find_reference`.
        layers: of exactly these layers; by default the only ones that there are.
        corrected: whether the distance is without most of its bias.

    Raises:
        ValueError: when the name stands for no layer Gaussian, or there is no such normaliser or several; those that
            there are are listed.

    Examples:
        >>> print(find_normaliser("bsds500/trainval@vdna_tiny"))
        4.845 (3.953 to 5.737), plain, of 200 images of bsds500/test in blocks.0, blocks.2, blocks.4
    """
    records = [record for _, record in _whole_references(name, extractor, "layer_gaussian")]
    every = [each for record in records for each in record.normalisers]
    wanted = None if layers is None else set(layers)
    found = [each for each in every if each.corrected == corrected and wanted in (None, set(each.layers))]
    if len(found) == 1:
        return found[0]
    of = f" of {', '.join(layers)}" if layers is not None else ""
    there = "; ".join(map(str, found or every)) or "none"
    advice = "give one of them" if found else "`vdna-metrics references normalise` records one"
    which = f"{'corrected' if corrected else 'plain'} normaliser{of}"
    raise ValueError(f"Expected one {which} with {records[0].name}, got {there}; {advice}")


def group_families(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The groups among records, those of one grouped DNA together, in order."""
    families: dict[tuple[ReferenceStore, str, int], list[Entry]] = {}
    for store, record in entries:
        if record.group:
            families.setdefault((store, record.exact_name, group_place(record)[1]), []).append((store, record))
    return [sorted(family, key=lambda entry: group_place(entry[1])) for family in families.values()]


def family_problem(family: Sequence[Entry]) -> str | None:
    """What is wrong with the groups of a grouped DNA: one is missing, or they are not of the whole DNA's images."""
    store, first = family[0]
    number = group_place(first)[1]
    there = [group_place(record)[0] for _, record in family]
    missing = sorted(set(range(1, number + 1)).difference(there))
    if missing or number < 2:
        return f"{len(there)} of {number} groups are there, missing: {', '.join(map(str, missing)) or 'all'}"
    for whole in store.manifest().references:
        images = sum(record.n_images for _, record in family)
        if not whole.group and first.is_group_of(whole) and whole.n_images != images:
            return f"its groups have {images} images, {whole.name} has {whole.n_images}; add groups of the same images"
    return None


def load_groups(family: Sequence[Entry]) -> GroupedDNA:
    """The grouped DNA of all its records; each file's sha256 is verified.

    Raises:
        ValueError: when a group is missing or was changed, or the groups do not have the images of the whole DNA.
    """
    problem = family_problem(family)
    if problem is not None:
        raise ValueError(f"{family[0][1].name} in groups cannot be loaded: {problem}")
    groups = tuple(load_vdna(store.file(record)) for store, record in family)
    for (_, record), group in zip(family, groups, strict=True):
        found = f"{group.n_images} images {' '.join(group.provenance.manifests)[:12]}"
        stated = f"{record.n_images} images {record.images[:12]}"
        if stated != found:
            raise ValueError(f"{record.title}: the store's manifest says {stated}, the file has {found}")
    return GroupedDNA(groups)


def ranges_origin(extractor: str | ExtractorSpec | FeatureExtractor) -> Literal["ship", "published", "auto"]:
    """Whether activation ranges are in a known store, are published elsewhere, or histograms find their own.

    Examples:
        >>> ranges_origin("vdna_tiny"), ranges_origin("mugs_vit_base"), ranges_origin("dinov2_vit_base")
        ('ship', 'published', 'auto')
    """
    name, spec = _name_and_spec(extractor)
    if _find_ranges_record(name) is not None:
        return "ship"
    return "auto" if spec is None or spec.ranges is None else "published"


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
        return read_records(
            lambda: [_find_ranges_record(name) or known], lambda entries: load_ranges(entries[0][0].file(entries[0][1]))
        )
    calibrate = (
        "give ranges='auto' for histograms that find their own, or ranges of images like yours: vdna-metrics calibrate "
        f"{_as_typed(name, spec)} -o ranges.npz (in Python: calibrate, or ActivationRange)"
    )
    if spec is None or spec.ranges is None:
        raise ValueError(f"no activation ranges ship for {name!r}: {calibrate}")
    network = create_extractor(spec if isinstance(extractor, str) else extractor)
    try:
        path = source_file(spec.ranges)
        return load_vdna_ranges(path, network.layout, source=spec.ranges, fingerprint=network.fingerprint)
    except ValueError as error:
        raise ValueError(
            f"the activation ranges published for {name!r} could not be had: {error}. Or {calibrate}"
        ) from error


def default_ranges(extractor: FeatureExtractor) -> GivenRanges:
    """The ranges that `find_ranges` has for an extractor; ``"auto"`` where there are none of its weights, or layers.

    Raises:
        ValueError: when published ones cannot be had.

    Examples:
        >>> from torch.nn import AvgPool2d
        >>> default_ranges(create_extractor(AvgPool2d(4)))
        'auto'
    """
    projects = any(is_projected(path) for path in extractor.spec.paths.values())  # of which none are published
    if projects or ranges_origin(extractor) == "auto":
        return "auto"
    ranges = find_ranges(extractor)
    if ranges.fingerprint is not None and ranges.fingerprint.differences(extractor.fingerprint, precision=False):
        return "auto"
    return ranges


def _as_typed(name: str, spec: ExtractorSpec | None) -> str:
    """Images and network, as a command takes them."""
    if spec is not None and spec.fingerprint.is_features:
        return "FEATURES.npz"
    if spec is not None and spec.fingerprint.is_module:
        return "IMAGES --extractor FILE.py:FACTORY --trust-code"
    known = spec is None or name in CATALOGUE or name.startswith("timm:")
    return f"IMAGES --extractor {name if known else 'SPEC.json'}"


def _name_and_spec(extractor: str | ExtractorSpec | FeatureExtractor) -> tuple[str, ExtractorSpec | None]:
    if isinstance(extractor, str):
        return extractor, CATALOGUE.get(extractor)
    spec = extractor.spec if isinstance(extractor, FeatureExtractor) else extractor
    return spec.name, spec


def _find_ranges_record(extractor: str) -> tuple[ReferenceStore, RangesRecord] | None:
    entries = ((store, record) for store, manifest in known_manifests() for record in manifest.ranges)
    return next((entry for entry in entries if entry[1].extractor == extractor), None)


def names_of(entries: Sequence[Entry]) -> str:
    """Names that are told apart, each of which stands for one."""
    return ", ".join(told_apart([record for _, record in entries]))


def told_apart(records: Sequence[ReferenceRecord]) -> list[str]:
    """A name of each record that stands for it alone."""
    names = [record.name for record in records]
    return [record.exact_name if names.count(record.name) > 1 else record.name for record in records]
