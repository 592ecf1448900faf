"""From one store to another: copies between folders, uploads to the hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vdna_metrics.downloads import DownloadError
from vdna_metrics.references.adding import add_card, add_image_digests, copy_records
from vdna_metrics.references.records import AnyRecord, Manifest
from vdna_metrics.references.store import HUB_STORE, MANIFEST, Entry, ReferenceStore, find_reference


def publish(names: Sequence[str], to: str, *, overwrite: bool = False, private: bool = False) -> list[AnyRecord]:
    """Copy references, with the groups, ranges and cards that belong to them, into another store.

    To the hub they go in one commit, on top of the one whose manifest was read: if somebody else published meanwhile,
    the hub refuses it and nothing is changed.

    Args:
        names: see `find_reference`; each has to stand for one.
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
    found = [find_reference(name) for name in names]
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
            digests = store.image_digests(group)
            if digests:
                add_image_digests(target, group.images, digests)
        card = store.card(record.dataset)
        if card is not None:
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
            api.create_commit(
                repository,
                [*added, *(CommitOperationDelete(path_in_repo=place) for place in sorted(gone))],
                commit_message=f"Add {', '.join(dict.fromkeys(record.name for record in copied))}",
                repo_type="dataset",
                parent_commit=parent,
            )
    except HfHubHTTPError as error:
        log_in = "set HF_TOKEN to a token that may write there, or run `hf auth login`"
        advice = {401: log_in, 403: log_in, 412: "somebody else published meanwhile, publish again"}.get(
            error.response.status_code, "nothing was changed"
        )
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
