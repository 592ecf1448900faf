"""What passes made, kept in files by the content of the images."""

from __future__ import annotations

import hashlib
import re
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from vdna_metrics.build.dnas import DNARequest, MadeDNAs
from vdna_metrics.distributions import Kind
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.files import json_hash, read_npz, write_npz
from vdna_metrics.images.sources import ImageSource, manifest_hash
from vdna_metrics.ranges import ActivationRanges, load_ranges
from vdna_metrics.references.folders import write_image_digests

_FORMAT = 2
_Read = TypeVar("_Read")


def content_digests(source: ImageSource) -> list[str]:
    """sha256 of each image as stored, without decoding it; empty where it cannot be read."""

    def digest(index: int) -> str:
        try:
            raw = source.read(index)
        except (ValueError, OSError):
            return ""
        return hashlib.sha256(raw if isinstance(raw, bytes) else raw.tobytes()).hexdigest()

    return [digest(index) for index in range(len(source))]


@dataclass(frozen=True, order=True)
class SetPart:
    """DNAs of one kind in one folder of the cache: ``""`` for the groups, ``"classes"`` for the classes."""

    folder: str
    kind: Kind


class SetCache:
    """Files of one set of images and one network, in a folder whose name ends in the hash of both.

    Args:
        cache: the folder of all sets.
        source: the images.
        digests: of the images, see `content_digests`.
        extractor: the network.
        groups: number of groups.
        requests: what is asked for.
        features: layer of the features, where they are asked for.
        name: of the set.
    """

    def __init__(
        self,
        cache: Path,
        source: ImageSource,
        digests: Sequence[str],
        extractor: FeatureExtractor,
        groups: int,
        requests: Mapping[SetPart, DNARequest],
        features: str | None,
        name: str,
    ) -> None:
        self._source, self._extractor, self._requests = source, extractor, requests
        self._features, self._name = features, name
        self._stems = {
            part: f"{part.kind}-{json_hash(request.settings(extractor))[:8]}" for part, request in requests.items()
        }
        self._digests = digests
        manifest, fingerprint = manifest_hash(source.names, self._digests), extractor.fingerprint.digest
        there = cached_folder(cache, manifest, fingerprint, groups)
        self.folder = there or cache / f"{_slug(name)}-{_key(manifest, fingerprint, groups)}"
        self.unfinished = self.folder / "unfinished"

    def load(self, *, skip_bad: bool) -> MadeDNAs[SetPart]:
        """What is there and not damaged; without ``skip_bad`` nothing of which an image was skipped."""
        found: dict[SetPart, dict[Any, VDNA]] = {}
        skipped: set[tuple[str, str]] = set()
        for part in sorted(self._requests):  # groups first: only their DNAs tell all that was skipped
            if part.folder and not found:
                continue
            dnas = self._load(part, {name for name, _ in skipped})
            bad = {item for dna in dnas.values() for item in dna.provenance.skipped}
            # What was skipped once is an error for who does not ask for that.
            if dnas and (skip_bad or not bad):
                found[part] = dnas
                skipped |= set() if part.folder else bad
        unread = {name for name, _ in skipped}
        seen = [place for place, name in enumerate(self._source.names) if name not in unread]
        order = {name: place for place, name in enumerate(self._source.names)}
        features = None
        if self._features is not None and found and self._features_path.exists():
            features = _readable(self._features_path, _read_features)
        return MadeDNAs(
            found,
            tuple(self._source.names[place] for place in seen),
            tuple(self._digests[place] for place in seen),
            tuple(sorted(skipped, key=lambda item: order[item[0]])),
            features if features is not None and len(features) == len(seen) else None,
        )

    def _load(self, part: SetPart, unread: set[str]) -> dict[Any, VDNA]:
        partition = self._requests[part].partition
        assert partition is not None
        expected = sorted(
            partition.members([place for place, name in enumerate(self._source.names) if name not in unread])
        )
        paths = [self._path(part, place) for place in expected]
        if not all(path.exists() for path in paths):
            return {}
        dnas = {}
        for place, path in zip(expected, paths, strict=True):
            dna = _readable(path, load_vdna)
            if dna is None:
                return {}
            sources = (self._name + partition.suffixes[place],)  # the files may be of a set of another name
            dnas[partition.parts[place]] = replace(dna, provenance=replace(dna.provenance, sources=sources))
        return dnas

    def save(self, made: MadeDNAs[SetPart]) -> None:
        """Keep what a pass made, and forget its checkpoint.

        Raises:
            ValueError: when an image changed while it was read.
        """
        digests = dict(zip(made.names, made.digests, strict=True))
        hashed = dict(zip(self._source.names, self._digests, strict=True))
        changed = [name for name, digest in digests.items() if hashed[name] != digest]
        if changed:
            raise ValueError(f"{self._name}: {changed[0]} changed while it was read; run this again")
        for part, dnas in made.dnas.items():
            partition = self._requests[part].partition
            assert partition is not None
            (self.folder / part.folder).mkdir(parents=True, exist_ok=True)
            for place, name in enumerate(partition.parts):
                if name in dnas:
                    dnas[name].save(self._path(part, place))
        if made.features is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            fingerprint = self._extractor.fingerprint.select([str(self._features)])
            header, vectors = {"fingerprint": fingerprint.to_json()}, {"vectors": made.features.numpy()}
            write_npz(self._features_path, "features", header, vectors, compress=False)
        write_image_digests(self.folder, digests)
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def _path(self, part: SetPart, place: int) -> Path:
        number = len(self._requests[part].partition or ())
        return self.folder / part.folder / f"{self._stems[part]}-{place + 1:0{len(str(number))}}-of-{number}.npz"

    @property
    def _features_path(self) -> Path:
        return self.folder / f"features-{json_hash(self._features)[:8]}.npz"


def kept_ranges(
    cache: Path,
    source: ImageSource,
    digests: Sequence[str],
    extractor: FeatureExtractor,
    layers: Sequence[str] | None,
    find: Callable[[], ActivationRanges],
) -> ActivationRanges:
    """Activation ranges of one set of images and one network, kept by content; found where they are not there."""
    content = manifest_hash(source.names, digests)
    identity = json_hash([_FORMAT, content, extractor.fingerprint.digest, layers])
    path = cache / f"{_slug(source.name)}-ranges-{identity[:16]}.npz"
    ranges = _readable(path, load_ranges) if path.exists() else None
    if ranges is None:
        ranges = find()
        cache.mkdir(parents=True, exist_ok=True)
        ranges.save(path)
    return ranges


def cached_folder(cache: Path, manifest: str, fingerprint: str, groups: int) -> Path | None:
    """Where the cache of `build_set` keeps the DNAs of a set of images, if it has some.

    Args:
        cache: the cache.
        manifest: `BuiltSet.manifest`, of a set of which no image was skipped.
        fingerprint: digest of the extractor's.
        groups: number of groups.
    """
    there = sorted(cache.glob(f"*-{_key(manifest, fingerprint, groups)}"))
    return there[0] if there else None


def _read_features(path: Path) -> Tensor:
    return torch.from_numpy(read_npz(path, ("features",))[1]["vectors"])


def _key(manifest: str, fingerprint: str, groups: int) -> str:
    return json_hash([_FORMAT, manifest, fingerprint, groups])[:16]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)[:40]


def _readable(path: Path, load: Callable[[Path], _Read]) -> _Read | None:
    try:
        return load(path)
    except (ValueError, OSError) as error:
        warnings.warn(f"{error}; it is computed again", UserWarning, stacklevel=2)
        return None
