"""A set of images in K disjoint groups: the DNAs of all groups, kinds and classes of one pass, kept by content."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from vdna_metrics.build.dnas import DNARequest, MadeDNAs
from vdna_metrics.build.leading import OTHERS, make_dnas_together
from vdna_metrics.build.partitions import class_folders, cluster_digest, disjoint_groups
from vdna_metrics.build.passes import ImageWork, run_beside
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading
from vdna_metrics.distributions import Kind
from vdna_metrics.distributions.kinds import SAMPLE
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.files import check_folder, errors_of, json_hash, write_npz
from vdna_metrics.fingerprint import refuse_differences
from vdna_metrics.images.sources import ImageSource, content_digest, manifest_hash
from vdna_metrics.layout import check_names, check_type
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.ranges import RangesLike
from vdna_metrics.references.image_sets import AnyDNA
from vdna_metrics.references.resolve import FEATURES_FILE, load_features, resolve_images, write_image_digests

_FORMAT = 2
_Read = TypeVar("_Read")
CLASS_KINDS: tuple[Kind, ...] = ("histogram", "gaussian")
"""What is made of classes: the images of one are too few to tell covariances."""


@dataclass(frozen=True, eq=False)
class BuiltSet:
    """What one pass over a set of images leaves.

    Args:
        name: of the set.
        names: of the images that were seen, in the source's order.
        digests: sha256 of each as stored.
        manifest: hash of these, `manifest_hash`.
        skipped: ``(image, reason)`` of those left out.
        dnas: ``{kind: DNA in groups}``, of images that are one cluster a whole one.
        classes: ``{kind: {class: DNA}}``, where asked for; classes in the order of their first images.
        features: float32 ``[images, neurons]``, means over the positions of one layer, where asked for.
        reused: kinds whose DNAs were in the cache.
        beside: what each work made that was to be done too.
    """

    name: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    manifest: str
    skipped: tuple[tuple[str, str], ...]
    dnas: Mapping[Kind, AnyDNA]
    classes: Mapping[Kind, Mapping[str, VDNA]] = field(default_factory=dict)
    features: Tensor | None = None
    reused: tuple[Kind, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_images(self) -> int:
        """Number of images that were seen."""
        return len(self.names)


def build_set(
    images: NumberedImages,
    extractor: ExtractorLike,
    kinds: Sequence[Kind] = ("histogram",),
    *,
    groups: int = 10,
    clusters: Sequence[Hashable] | None = None,
    bins: int = 1000,
    ranges: RangesLike | None = None,
    layers: Sequence[str] | Mapping[Kind, Sequence[str]] | None = None,
    neurons: NeuronsLike | None = None,
    max_positions: int | None = None,
    feature_images: int = SAMPLE,
    features: str | None = None,
    classes: bool = False,
    cache: str | Path | None = None,
    digests: Sequence[str] | None = None,
    name: str | None = None,
    beside: Mapping[str, ImageWork[Any]] | None = None,
    reading: Reading = DEFAULT_READING,
) -> BuiltSet:
    """Make the DNAs of K disjoint groups of a set of images, of all kinds and classes, in one pass.

    It is `build_dnas` of `disjoint_groups` and `class_folders` at once, with a cache.

    With a cache, DNAs are files under a name made of the images' names and contents, the network, layers, bins, ranges,
    groups and clusters. What is there is not computed again: a kind that is added costs a pass for that kind alone, and
    a set that was killed goes on from its last checkpoint. A damaged file is computed again, with a warning. Numbers of
    another batch size, device or version of torch differ by rounding and are not told apart.

    Args:
        images: the images.
        extractor: frozen network, or its name.
        kinds: which DNAs to make.
        groups: how many groups.
        clusters: which images depend on each other, as in `disjoint_groups`; of one cluster the DNAs are whole.
        bins: bins of the histograms.
        ranges: as in `build_dnas`.
        layers: layers to look at, by default all; or ``{kind: layers}``.
        neurons: of the neurons to look at, as in `build_dnas`.
        max_positions: as in `build_dnas`.
        feature_images: as in `build_dnas`, in each group.
        features: layer whose means over positions are kept, image by image.
        classes: whether to make a DNA of each class folder too, of the kinds in `CLASS_KINDS`.
        cache: folder of the cache, made where it is missing.
        digests: of the images, see `content_digests`; by default each is read once more, to hash it for the cache.
        name: of the set, by default the source's.
        beside: what else is done with single images: in the same pass, else, where the cache has the DNAs or several
            ranks make them, in one over those images alone.
        reading: how images are read; neither a shard nor several ranks, which may not see one cache, unless rank 0
            leads them, see `led`. Progress is also told when the pass begins.

    Raises:
        ValueError: for unreadable images (unless skipped), fewer images than groups, unknown layers, images
            that changed while they were read, or more memory than the limit.

    Examples:
        >>> import numpy as np, torch
        >>> from vdna_metrics import create_extractor
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> found = build_set(np.zeros((7, 8, 8, 3), np.uint8), extractor, ["gaussian"], groups=3)
        >>> found.dnas["gaussian"].sizes
        (3, 2, 2)
    """
    check_type("reading", reading, Reading)
    check_names("kinds", kinds)
    if reading.shard != (0, 1) or (reading.all_ranks and OTHERS.get() is None):
        raise ValueError(
            "build_set is for one process: for a shard or all_ranks take build_dnas(partition=disjoint_groups(...))"
        )
    source, network = resolve_images(images), create_extractor(extractor)
    in_groups = disjoint_groups(len(source), groups, clusters)
    in_classes = class_folders(source) if classes else None
    requests: dict[SetPart, DNARequest] = {}
    picked = chosen_neurons(neurons, network.fingerprint)
    for kind in kinds:
        of, inside = layers[kind] if isinstance(layers, Mapping) else layers, picked
        if picked is not None and of is not None and isinstance(layers, Mapping):
            # Neurons of a layer that another kind looks at are not missed here.
            inside = {layer: at for layer, at in picked.items() if layer in of}
        layout = network.layout.select(of, inside)
        one = DNARequest(
            kind,
            layout,
            in_groups,
            bins=bins,
            ranges=ranges,
            max_positions=max_positions,
            feature_images=feature_images,
        )
        requests[SetPart("", kind)] = one
        if in_classes is not None and kind in CLASS_KINDS:
            requests[SetPart("classes", kind)] = replace(one, partition=in_classes)
    if features is not None:
        network.layout.check_layers([features], what="features")
    kept = None
    if cache is not None:
        digests = digests or content_digests(source)
        clustering = "" if clusters is None else cluster_digest(clusters)
        named = features, name or source.name
        kept = SetCache(Path(cache), source, digests, network, groups, clustering, requests, *named)
    found = None if kept is None else kept.load(skip_bad=reading.skip_bad)
    missing = {part: request for part, request in requests.items() if found is None or part not in found.dnas}
    lacks_features = features is not None and (found is None or found.features is None)
    if missing or lacks_features:
        if kept is not None:
            kept.check()
        if kept is not None and reading.checkpoint is None:
            reading = replace(reading, checkpoint=kept.unfinished)
        if reading.progress is not None:
            reading.progress(0, len(source))
        layer = features if lacks_features else None
        joined = {} if reading.all_ranks else beside or {}
        options: Any = {"features": layer, "name": name, "beside": joined}
        made = make_dnas_together(source, network, missing, reading=reading, **options)
        if kept is not None:
            kept.save(made)
        if found is not None:
            made = replace(
                made, dnas={**found.dnas, **made.dnas}, features=made.features if lacks_features else found.features
            )
        found = made
    assert found is not None
    done = {of: each for of, each in found.beside.items() if each is not None}
    rest = {of: work for of, work in (beside or {}).items() if of not in done}
    if rest:
        done |= run_beside(source, network, rest, replace(reading, all_ranks=False, checkpoint=None))
    return BuiltSet(
        name=name or source.name,
        names=found.names,
        digests=found.digests,
        manifest=manifest_hash(found.names, found.digests),
        skipped=found.skipped,
        dnas={kind: _whole_or_grouped(tuple(found.dnas[SetPart("", kind)].values())) for kind in kinds},
        classes={part.kind: dnas for part, dnas in found.dnas.items() if part.folder},
        features=found.features,
        reused=tuple(kind for kind in kinds if SetPart("", kind) not in missing),
        beside=done,
    )


def _whole_or_grouped(groups: tuple[VDNA, ...]) -> AnyDNA:
    return GroupedDNA(groups) if len(groups) > 1 else groups[0]


def content_digests(source: ImageSource) -> list[str]:
    """sha256 of each image as stored, without decoding it; empty where it cannot be read."""
    return [content_digest(source, index) for index in range(len(source))]


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
        clustering: `cluster_digest` of the images, empty where they are in none.
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
        clustering: str,
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
        key = manifest, fingerprint, groups, clustering
        self.folder = cached_folder(cache, *key) or cache / f"{_slug(name)}-{_key(*key)}"
        self.unfinished = self.folder / "unfinished"

    def check(self) -> None:
        """Raise ``ValueError`` when what a pass makes cannot be kept."""
        for folder in (self.folder, *(self.folder / part.folder for part in self._requests)):
            check_folder(folder)

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
        if self._features is not None and (found or not self._requests) and self._features_path.exists():
            features = _readable(self._features_path, self._load_features)
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
            dna = _readable(path, self._load_dna)
            if dna is None:
                return {}
            sources = (self._name + partition.suffixes[place],)  # the files may be of a set of another name
            dnas[partition.parts[place]] = replace(dna, provenance=replace(dna.provenance, sources=sources))
        return dnas

    # Of a user's module only the response tells that its forward was edited since.
    def _load_dna(self, path: Path) -> VDNA:
        dna = load_vdna(path)
        with errors_of(str(path)):
            dna.check_fingerprint(self._extractor.fingerprint)
        return dna

    def _load_features(self, path: Path) -> Tensor:
        fingerprint, vectors = load_features(path)
        found = fingerprint.differences(self._extractor.fingerprint)
        refuse_differences(f"{path} was not made with this extractor", found, ("file", "extractor"))
        return vectors

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
            write_npz(self._features_path, FEATURES_FILE, header, vectors, compress=False)
        write_image_digests(self.folder, digests)
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def _path(self, part: SetPart, place: int) -> Path:
        number = len(self._requests[part].partition or ())
        return self.folder / part.folder / f"{self._stems[part]}-{place + 1:0{len(str(number))}}-of-{number}.npz"

    @property
    def _features_path(self) -> Path:
        return self.folder / f"features-{json_hash(self._features)[:8]}.npz"


def cached_folder(cache: Path, manifest: str, fingerprint: str, groups: int, clustering: str = "") -> Path | None:
    """Where the cache of `build_set` keeps the DNAs of a set of images, if it has some.

    Args:
        cache: the cache.
        manifest: `BuiltSet.manifest`, of a set of which no image was skipped.
        fingerprint: digest of the extractor's.
        groups: number of groups that was asked for.
        clustering: `cluster_digest` of the images, empty where they are in none.
    """
    there = sorted(cache.glob(f"*-{_key(manifest, fingerprint, groups, clustering)}"))
    return there[0] if there else None


def _key(manifest: str, fingerprint: str, groups: int, clustering: str) -> str:
    return json_hash([_FORMAT, manifest, fingerprint, groups, *([clustering] if clustering else [])])[:16]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)[:40]


def _readable(path: Path, load: Callable[[Path], _Read]) -> _Read | None:
    try:
        return load(path)
    except (ValueError, OSError) as error:
        warnings.warn(f"{error}; it is computed again", UserWarning, stacklevel=2)
        return None
