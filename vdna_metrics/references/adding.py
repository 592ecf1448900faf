"""Into a store and out of it: DNAs, groups of DNAs, ranges and cards added whole or not at all, and stores verified."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from vdna_metrics.distributions import FeatureSample, Histogram
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.serialization import DNA_FILES, load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.downloads import DownloadError
from vdna_metrics.files import check_folder, read_fields, sha256_of_file, write_whole
from vdna_metrics.layout import check_type
from vdna_metrics.ranges import ActivationRanges, load_ranges
from vdna_metrics.references.records import (
    AnyRecord,
    FrechetNormaliser,
    Manifest,
    OneRecord,
    RangesRecord,
    ReferenceRecord,
)
from vdna_metrics.references.store import (
    HUB_STORE,
    IN_STORE,
    MANIFEST,
    Entry,
    ReferenceStore,
    as_store,
    bundled_store,
    digests_file,
    family_problem,
    find_reference,
    find_references,
    forget_remote_manifests,
    group_families,
    read_records,
)

_FOLDERS = ("dnas", "ranges", "cards", "images")
_WORD = re.compile(r"[a-z0-9][a-z0-9._+-]*")

StoreLike = ReferenceStore | str | Path
Save = Callable[[Path], object]
"""What writes the file of a record."""


def add_reference(
    dnas: VDNA | GroupedDNA | Sequence[VDNA | GroupedDNA],
    store: StoreLike,
    *,
    dataset: str,
    split: str,
    resolution: str = "",
    licence: str = "",
    origin: str = "",
    overwrite: bool = False,
) -> tuple[ReferenceRecord, ...]:
    """Put DNAs of one image set into a store on this machine, which is made where there is none.

    Files and manifest are written whole or not at all, the manifest last, so that whoever reads meanwhile sees the
    store without them or with them all. Processes that add at once wait for each other.

    Args:
        dnas: what to add, one or several; of a grouped DNA each group becomes a record.
        store: where to, a store or its folder.
        dataset: name of the image set: letters, digits and ``. _ + -``, in lower case; image sets that differ in
            resolution differ in name.
        split: name of the split, likewise.
        resolution: of the images, where the DNA does not know it, as imported ones do not.
        licence: of the images, and what may be done with their statistics.
        origin: how it was made; by default what the DNA says of itself, as imported ones do.
        overwrite: whether to replace other DNAs of that name.

    Returns:
        Their records.

    Raises:
        ValueError: for a name that is none, that ships with the package, or that the store has with other contents;
            when two of the DNAs would have one name.
        TypeError: for what is no DNA.
    """
    place = as_store(store)
    additions: list[tuple[ReferenceRecord, Save]] = []
    for dna in dnas if isinstance(dnas, list | tuple) else [dnas]:
        if not isinstance(dna, VDNA | GroupedDNA):
            raise TypeError(f"expected a VDNA or a GroupedDNA, got {type(dna).__name__}; load_vdna reads a file")
        groups = dna.groups if isinstance(dna, GroupedDNA) else (dna,)
        for number, each in enumerate(groups, 1):
            record = ReferenceRecord(
                dataset=dataset,
                split=split,
                file="",
                sha256="",
                resolution=str(each.provenance.account.sizes or resolution),
                licence=licence,
                origin=origin or each.provenance.origin,
                group=f"{number}-of-{len(groups)}" if isinstance(dna, GroupedDNA) else "",
                **_facts(each),
            )
            check_new_name(place, dataset, split, record.extractor, record.kind)
            additions.append((record, each.save))
    return tuple(_add(place, additions, overwrite))


def add_normalisers(
    name: str, normalisers: Sequence[FrechetNormaliser], store: StoreLike | None = None
) -> ReferenceRecord:
    """Record with a reference, a layer Gaussian, what FDr^k divides by; see `analysis.frechet_normaliser`.

    One of the same validation set and layers takes the place of the former one. They are gone when the reference is
    replaced, and are copied and published with it.

    Args:
        name: of the reference, see `find_reference`.
        normalisers: of some or all of its layers, with the validation set's name.
        store: on this machine, with that reference; by default the one where the name is found.

    Returns:
        Its record.

    Raises:
        ValueError: for no normaliser, one without layers or validation set or of layers that the reference lacks, a
            name that stands for none or several, a store that is not on this machine, or a reference that ships.
    """
    check_type("normalisers", normalisers, list, tuple)
    for each in normalisers:
        check_type("a normaliser", each, FrechetNormaliser)
    if not normalisers or not all(each.layers and each.validation for each in normalisers):
        raise ValueError(f"Expected normalisers with layers and the name of a validation set, got {list(normalisers)}")
    layers = [layer for each in normalisers for layer in each.layers]
    inside = name if store is None else f"{as_store(store).location}{IN_STORE}{name.rpartition(IN_STORE)[2]}"

    def add(entries: list[Entry]) -> ReferenceRecord:
        ((place, record),) = entries
        if store is None and place == bundled_store():
            raise ValueError(f"{record.name} ships with the package, as it is: put a copy of it into a store of yours")
        lacking = [layer for layer in layers if not record.holds([layer])]
        if lacking:
            raise ValueError(f"{record.name} lacks {', '.join(lacking)}; it has {', '.join(record.layers)}")
        same_file = partial(shutil.copyfile, place.file(record))
        return _add(place, [(replace(record, normalisers=tuple(normalisers)), same_file)], overwrite=False)[0]

    return read_records(lambda: [find_reference(inside, kind="layer_gaussian", layers=layers)], add)


def check_new_name(store: ReferenceStore, dataset: str, split: str, extractor: str, kind: str) -> None:
    """Raise ``ValueError`` for a name that `add_reference` would refuse whatever the DNA, before it is made."""
    for what, word in (("dataset", dataset), ("split", split)):
        check_type(what, word, str)
        if not _WORD.fullmatch(word):
            raise ValueError(f"{what} {word!r}: expected lower-case letters, digits and . _ + -, as in bsds500/test")
    bundled, asked = bundled_store(), (dataset, split, extractor.lower(), kind)
    shipped = {(r.dataset, r.split, r.extractor.lower(), r.kind) for r in bundled.manifest().references}
    if asked in shipped and store.folder.resolve() != bundled.folder.resolve():
        name = f"{dataset}/{split}@{extractor}#{kind}"
        raise ValueError(f"{name} ships with the package: give this one another name")


def check_store(store: ReferenceStore) -> None:
    """Raise ``ValueError`` for a store that nothing can be added to, before the work.

    Raises:
        ValueError: for a remote one, and for a folder without permission or room; it is named.
    """
    for folder in (store.folder, *(store.folder / name for name in _FOLDERS)):
        check_folder(folder)


def add_ranges(ranges: ActivationRanges, store: StoreLike, *, extractor: str, overwrite: bool = False) -> RangesRecord:
    """Put activation ranges into a store on this machine, where `find_ranges` finds them; see `add_reference`.

    Args:
        ranges: what to add.
        store: where to, a store or its folder.
        extractor: name of the extractor.
        overwrite: whether to replace other ranges of that extractor.

    Raises:
        ValueError: when the store has other ranges of that extractor.
    """
    record = RangesRecord(extractor=extractor, file="", sha256="", **_facts(ranges))
    return _add(as_store(store), [(record, ranges.save)], overwrite)[0]


def copy_records(
    source: ReferenceStore, records: Sequence[AnyRecord], target: ReferenceStore, *, overwrite: bool = False
) -> list[AnyRecord]:
    """Copy files, byte by byte, from one store to another on this machine, all or none; see `add_reference`.

    Where a record was replaced meanwhile, it is the new one that is copied.
    """

    def copy(entries: list[tuple[ReferenceStore, AnyRecord]]) -> list[AnyRecord]:
        paths = [(record, source.file(record)) for _, record in entries]
        return _add(target, [(record, partial(shutil.copyfile, path)) for record, path in paths], overwrite)

    return read_records(lambda: [(source, _as_of_now(source, record)) for record in records], copy)


def _as_of_now(store: ReferenceStore, record: AnyRecord) -> AnyRecord:
    """The record that has this one's key now."""
    return next((each for each in store.manifest().records if each.key == record.key), record)


def add_card(store: ReferenceStore, dataset: str, text: str) -> Path:
    """Put the card of an image set, Markdown, into a store on this machine; one that is there is replaced."""
    return _write_text(store.folder / "cards" / f"{dataset}.md", text)


def add_image_digests(store: ReferenceStore, manifest: str, digests: Mapping[str, str]) -> Path:
    """Keep in a store on this machine which images a manifest hash is of, ``{name: sha256}``."""
    return _write_text(digests_file(store, manifest), json.dumps(digests))


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
    if isinstance(contents.distribution, Histogram):
        kind = f"{kind}-{contents.distribution.bins}"
        ranges = contents.distribution.digest
    elif isinstance(contents.distribution, FeatureSample):
        kind = f"{kind}-{contents.distribution.size}"
    return {
        "extractor": contents.provenance.extractor,
        "kind": kind,
        "n_images": contents.n_images,
        "fingerprint": contents.fingerprint.digest,
        "preprocessing": contents.fingerprint.preprocessing,
        "ranges": ranges,
        "images": " ".join(contents.provenance.manifests),
        "layers": tuple(contents.layout),
    }


def _add(store: ReferenceStore, additions: Sequence[tuple[OneRecord, Save]], overwrite: bool) -> list[OneRecord]:
    """File records whose files and sha256 come of saving: all in one writing of the manifest, or none."""
    from filelock import FileLock

    folder = store.folder
    check_store(store)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{MANIFEST}.lock"), tempfile.TemporaryDirectory(prefix=".adding-", dir=folder) as new:
        made: dict[str, OneRecord] = {}
        for record, save in additions:
            if record.key in made:
                raise ValueError(f"two of the DNAs would be called {record.title}: add one of them")
            path = Path(new, f"{len(made)}.npz")
            save(path)
            made[record.key] = _filed(record, sha256_of_file(path))
        before = store.manifest() if (folder / MANIFEST).is_file() else Manifest()
        kept: dict[str, AnyRecord] = {each.key: each for each in (_with_layers(store, each) for each in before.records)}
        for record in made.values():
            for old in _replaced(record, list(kept.values()), made):
                if not overwrite:
                    raise ValueError(
                        f"{store.location} has {old.title} with other contents: there {old.n_images} images, sha256 "
                        f"{old.sha256[:12]}, new {record.n_images} images, sha256 {record.sha256[:12]}; choose another "
                        "name, or replace it by overwrite=True (--overwrite)"
                    )
                kept.pop(old.key, None)
        made = {key: _keeping(record, kept.get(key)) for key, record in made.items()}
        after = Manifest.of(list({**kept, **made}.values()))
        for number, record in enumerate(made.values()):
            (folder / record.file).parent.mkdir(exist_ok=True)
            os.replace(Path(new, f"{number}.npz"), folder / record.file)
        _write_text(folder / MANIFEST, after.dump())
        # Still under the lock: the next writer may put the old contents, and so the old file, back.
        for gone in {each.file for each in before.records} - {each.file for each in after.records}:
            (folder / gone).unlink(missing_ok=True)
    return list(made.values())


def _filed(record: OneRecord, sha256: str) -> OneRecord:
    """With its sha256, and a file named by its contents, which never changes under its name, here or in a cache."""
    if isinstance(record, ReferenceRecord):
        folder, stem = "dnas", f"{record.name}-{record.group}".rstrip("-")
    else:
        folder, stem = "ranges", record.extractor
    file = f"{folder}/{re.sub(r'[^a-zA-Z0-9._+-]', '-', stem)}-{sha256[:8]}.npz"
    return replace(record, file=file, sha256=sha256)


def _keeping(record: OneRecord, old: AnyRecord | None) -> OneRecord:
    """A new record with the normalisers of the old one, where both are of one file."""
    if isinstance(record, ReferenceRecord) and isinstance(old, ReferenceRecord) and record.sha256 == old.sha256:
        return replace(record, normalisers=old.with_normalisers(record.normalisers).normalisers)
    return record


def _with_layers(store: ReferenceStore, record: AnyRecord) -> AnyRecord:
    """A record of before layers were kept gets its file's, so that others of its name do not take its place."""
    if not isinstance(record, ReferenceRecord) or record.layers:
        return record
    path = store.folder / record.file
    if not path.is_file():
        return record
    return replace(record, layers=tuple(read_fields(path, DNA_FILES).layout))


def _replaced(record: AnyRecord, there: Sequence[AnyRecord], made: Collection[str]) -> list[AnyRecord]:
    """What of a store's records a new one takes the place of: its name's, and groups of a whole that is no more."""
    found = [old for old in there if old.key == record.key and old.sha256 != record.sha256]
    if not isinstance(record, ReferenceRecord):
        return found
    whole_changes = bool(found) and not record.group
    for old in there:
        if isinstance(old, ReferenceRecord) and old.group and old.key not in made:
            same_family = record.group and old.exact_name == record.exact_name
            if same_family or (whole_changes and old.is_group_of(record)):
                found.append(old)
    return found


def _write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, text.encode())


# -------------------------------------------------------------------------------------------------- checking
def verify_store(store: StoreLike) -> Iterator[tuple[str, str | None]]:
    """Re-hash and re-read every file of a store, and compare it with its record.

    Args:
        store: the store, or its location.

    Yields:
        Title of each record, and what is wrong with it or ``None``.

    Examples:
        >>> from vdna_metrics.references.store import bundled_store
        >>> [name for name, problem in verify_store(bundled_store()) if problem]
        []
    """
    store = as_store(store)
    manifest = store.manifest()
    for record in manifest.records:
        yield record.title, _problem(store, record)
    for family in group_families([(store, record) for record in manifest.references]):
        if (problem := family_problem(family)) is not None:
            yield f"{family[0][1].name} in groups", problem


def _problem(store: ReferenceStore, record: AnyRecord) -> str | None:
    def read(entries: list[tuple[ReferenceStore, AnyRecord]]) -> tuple[dict[str, Any], dict[str, Any]]:
        now = entries[0][1]
        path = store.file(now)
        return asdict(now), _facts(load_vdna(path) if isinstance(now, ReferenceRecord) else load_ranges(path))

    try:
        stated, found = read_records(lambda: [(store, _as_of_now(store, record))], read)
    except (ValueError, OSError) as error:
        return str(error)
    if not stated.get("layers"):
        found.pop("layers", None)  # of before they were kept
    wrong = [f"{what}: file {value}, manifest {stated[what]}" for what, value in found.items() if value != stated[what]]
    return "; ".join(wrong) or None


# -------------------------------------------------------------------------------------------------- publishing
def publish(names: Sequence[str], to: str, *, overwrite: bool = False, private: bool = False) -> list[AnyRecord]:
    """Copy references, with the groups, ranges and cards that belong to them, into another store.

    To the hub they go in one commit, on top of the one whose manifest was read: if somebody else published meanwhile,
    the hub refuses it and nothing is changed.

    Args:
        names: see `find_reference`; one that stands for several kinds of DNA of a network takes all of them.
        to: a folder, or ``"hub:OWNER/NAME"``, a dataset repository that is made where there is none. Writing to the
            hub needs a token with that right (``HF_TOKEN``, or ``hf auth login``).
        overwrite: whether to replace what the store has under these names.
        private: whether a repository that is made is private.

    Returns:
        The records of what was copied, each group's too.

    Raises:
        ValueError: for an unknown name, a name that the other store has with other contents, a store that cannot be
            written to, or what the hub refuses.

    Examples:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted({record.name for record in publish(["bsds500/test@vdna_tiny#gaussian"], folder)})
        ['bsds500/test@vdna_tiny#gaussian', 'ranges@vdna_tiny']
    """
    found = [entry for name in names for entry in find_references(name)]
    if not found:
        raise ValueError("name at least one reference")
    if not to.startswith(HUB_STORE):
        return _copy(found, ReferenceStore(to), overwrite)
    return _to_hub(found, to.removeprefix(HUB_STORE).strip("/"), overwrite, private)


def _copy(found: Sequence[Entry], target: ReferenceStore, overwrite: bool) -> list[AnyRecord]:
    copied: dict[str, AnyRecord] = {}
    for store, record in found:
        manifest = store.manifest()
        groups = [each for each in manifest.references if each.is_group_of(record)]
        ranges = [each for each in manifest.ranges if each.extractor == record.extractor and each.key not in copied]
        for each in copy_records(store, [record, *groups, *ranges], target, overwrite=overwrite):
            copied[each.key] = each
        for group in groups[:1]:
            if digests := store.image_digests(group):
                add_image_digests(target, group.images, digests)
        if (card := store.card(record.dataset)) is not None:
            add_card(target, record.dataset, card)
    return list(copied.values())


def _to_hub(found: Sequence[Entry], repository: str, overwrite: bool, private: bool) -> list[AnyRecord]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="vdna_metrics")
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        parent = api.repo_info(repository, repo_type="dataset").sha
        before = _manifest(ReferenceStore(f"{HUB_STORE}{repository}@{parent}"))
        with tempfile.TemporaryDirectory() as folder:
            staged = ReferenceStore(folder)
            # What is there already need not be here: a manifest names it.
            Path(folder, MANIFEST).write_text(before.dump(), "utf-8")
            copied = _copy(found, staged, overwrite)
            there = {record.file for record in before.records}
            added = [
                CommitOperationAdd(path_in_repo=path.relative_to(folder).as_posix(), path_or_fileobj=path)
                for path in sorted(Path(folder).rglob("[!.]*"))
                if path.is_file() and path.relative_to(folder).as_posix() not in there
            ]
            gone = there.difference(record.file for record in staged.manifest().records)
            changes: list[Any] = [*added, *(CommitOperationDelete(path_in_repo=place) for place in sorted(gone))]
            message = f"Add {', '.join(dict.fromkeys(record.name for record in copied))}"
            api.create_commit(repository, changes, commit_message=message, repo_type="dataset", parent_commit=parent)
            forget_remote_manifests()
    except HfHubHTTPError as error:
        log_in = "set HF_TOKEN to a token that may write there, or run `hf auth login`"
        known = {401: log_in, 403: log_in, 412: "somebody else published meanwhile, publish again"}
        advice = known.get(error.response.status_code, "nothing was changed")
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"hub:{repository} could not be published to: {reason}: {advice}") from error
    except (HFValidationError, OSError) as error:
        raise ValueError(f"hub:{repository} could not be published to: {error}") from error
    return copied


def _manifest(store: ReferenceStore) -> Manifest:
    """What a store has, nothing where it is new."""
    try:
        return store.manifest()
    except DownloadError as error:
        if error.status != 404:
            raise
        return Manifest()
