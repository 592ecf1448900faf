"""A set of images dealt into groups: the DNAs of all groups, kinds and classes of one pass, kept by content."""

from __future__ import annotations

import hashlib
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdna_metrics.build.dnas import calibrate, empty_distribution
from vdna_metrics.build.reading import DEFAULT_READING, Reading, Seen, one_pass
from vdna_metrics.distributions import Distribution, HistogramDistribution, Kind
from vdna_metrics.dna.grouped import GroupedDNA, deal
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA, ImageSizes, Provenance
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.files import json_hash, read_npz, write_npz
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.positions import check_max_positions, subsample_positions
from vdna_metrics.images.sources import ImageSource, manifest_hash
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges, load_ranges
from vdna_metrics.references.folders import write_image_digests
from vdna_metrics.references.store import own_ranges

CLASS_KINDS: tuple[Kind, ...] = ("histogram", "gaussian")
"""What is made of classes: the images of one are too few to tell covariances."""

_FORMAT = 1
_CLASSES = "classes"
_UNFINISHED = "unfinished"


@dataclass(frozen=True, eq=False)
class DealtSet:
    """What one pass over a set of images leaves.

    Args:
        name: of the set.
        names: of the images that were seen, in the source's order.
        digests: sha256 of each as stored.
        manifest: hash of these, `manifest_hash`.
        skipped: ``(image, reason)`` of those left out.
        dnas: ``{kind: DNA in groups}``.
        classes: ``{kind: {class: DNA}}``, where asked for; classes in the order of their first images.
        features: float32 ``[images, neurons]``, means over the positions of one layer, where asked for.
        reused: kinds whose DNAs were in the cache.
    """

    name: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    manifest: str
    skipped: tuple[tuple[str, str], ...]
    dnas: Mapping[Kind, GroupedDNA]
    classes: Mapping[Kind, Mapping[str, VDNA]] = field(default_factory=dict)
    features: Tensor | None = None
    reused: tuple[Kind, ...] = ()

    @property
    def n_images(self) -> int:
        """Number of images that were seen."""
        return len(self.names)


# ------------------------------------------------------------------------------------------------------- what is known
def content_digests(source: ImageSource) -> list[str]:
    """sha256 of each image as stored, without decoding it; empty where it cannot be read."""

    def digest(index: int) -> str:
        try:
            raw = source.read(index)
        except (ValueError, OSError):
            return ""
        return hashlib.sha256(raw if isinstance(raw, bytes) else raw.tobytes()).hexdigest()

    return [digest(index) for index in range(len(source))]


def known_ranges(
    images: ImageSource,
    extractor: FeatureExtractor,
    *,
    layers: Sequence[str] | None = None,
    cache: Path | None = None,
    reading: Reading = DEFAULT_READING,
) -> ActivationRanges:
    """Activation ranges that ship for an extractor, else those of these images, by a pass of its own that is cached.

    Args:
        images: to calibrate on.
        extractor: frozen network.
        layers: layers to look at, by default all.
        cache: as in `build_dealt_dnas`.
        reading: how images are read.
    """
    ranges = own_ranges(extractor)
    if ranges is not None:
        return ranges
    if cache is None:
        return _calibrated(images, extractor, layers, reading)
    identity = [_FORMAT, _content(images, content_digests(images)), extractor.fingerprint.digest, layers]
    path = cache / f"{_slug(images.name)}-ranges-{json_hash(identity)[:16]}.npz"
    kept = _readable(path, load_ranges) if path.exists() else None
    if kept is None:
        cache.mkdir(parents=True, exist_ok=True)
        kept = _calibrated(images, extractor, layers, reading)
        kept.save(path)
    return kept


def _calibrated(
    images: ImageSource, extractor: FeatureExtractor, layers: Sequence[str] | None, reading: Reading
) -> ActivationRanges:
    if reading.progress is not None:
        reading.progress(0, len(images))
    return calibrate(images, extractor, layers=layers, reading=reading)


# ------------------------------------------------------------------------------------------------------------- the pass
def build_dealt_dnas(
    images: ImageSource,
    extractor: FeatureExtractor,
    kinds: Sequence[Kind] = ("histogram",),
    *,
    groups: int = 10,
    bins: int = 1000,
    ranges: ActivationRanges | None = None,
    layers: Sequence[str] | Mapping[Kind, Sequence[str]] | None = None,
    neurons: NeuronsLike | None = None,
    max_positions: int | None = None,
    features: str | None = None,
    classes: bool = False,
    cache: Path | None = None,
    name: str | None = None,
    reading: Reading = DEFAULT_READING,
) -> DealtSet:
    """Make the DNAs of each group of a set of images, of all kinds and classes, in one pass.

    Image i goes to group ``i % groups``. The network sees the very batches of `build_dnas`, so the groups add up to its
    DNAs, counts exactly. One state a group and kind is kept in memory.

    With a cache, DNAs are files under a name made of the images' names and contents, the network, layers, bins, ranges
    and groups. What is there is not computed again: a kind that is added costs a pass for that kind alone, and a set
    that was killed goes on from its last checkpoint. A damaged file is computed again, with a warning. Numbers of
    another batch size, device or version of torch differ by rounding and are not told apart.

    Args:
        images: the images.
        extractor: frozen network.
        kinds: which DNAs to make.
        groups: how many groups.
        bins: bins of the histograms.
        ranges: activation ranges of the histograms, by default those that ship for the extractor.
        layers: layers to look at, by default all; or ``{kind: layers}``.
        neurons: of the neurons to look at, as in `build_dnas`.
        max_positions: as in `build_dnas`.
        features: layer whose means over positions are kept, image by image.
        classes: whether to make a DNA of each class folder too, of the kinds in `CLASS_KINDS`.
        cache: folder of the cache, made where it is missing.
        name: of the set, by default the source's.
        reading: how images are read; neither a shard nor several ranks. Progress is also told when the pass begins.

    Raises:
        ValueError: for unreadable images (unless skipped), fewer images than groups, unknown layers, missing ranges, or
            images that changed while they were read.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor, open_images
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> found = build_dealt_dnas(open_images(np.zeros((7, 8, 8, 3), np.uint8)), extractor, ["gaussian"], groups=3)
        >>> found.dnas["gaussian"].sizes
        (3, 2, 2)
    """
    check_max_positions(max_positions)
    if reading.shard != (0, 1) or reading.all_ranks:
        raise ValueError("images are dealt by one process: shard and all_ranks are for build_dnas")
    deal(len(images), groups)
    layouts = {kind: _layout(kind, extractor, layers, neurons) for kind in kinds}
    empty = {
        kind: empty_distribution(kind, layout, extractor, bins=bins, ranges=ranges, device=reading.device)
        for kind, layout in layouts.items()
    }
    if features is not None:
        extractor.layout.check_layers([features], what="features")
    labels = list(dict.fromkeys(images.groups))
    parts = {"": [index % groups for index in range(len(images))]}
    if classes:
        parts[_CLASSES] = [labels.index(label) for label in images.groups]
    wanted = {
        _Wanted(kind, part, groups if not part else len(labels))
        for kind in kinds
        for part in parts
        if not part or kind in CLASS_KINDS
    }
    plan = _Plan(images, extractor, empty, max_positions, parts, name or images.name, labels, features)
    kept = None if cache is None else _Kept(cache, plan, groups)
    found = _Found() if kept is None else kept.load(wanted, reading.skip_bad)
    missing = wanted - set(found.dnas)
    need_features = features is not None and found.features is None
    if missing or need_features:
        if kept is not None and reading.checkpoint is None:
            reading = replace(reading, checkpoint=kept.unfinished)
        if reading.progress is not None:
            reading.progress(0, len(images))
        made = plan.run(missing, need_features, reading)
        if kept is not None:
            kept.save(made)
        found = made.beside(found)
    good = found.digests
    names = tuple(name for name in images.names if name in good)
    return DealtSet(
        name=plan.name,
        names=names,
        digests=tuple(good[name] for name in names),
        manifest=manifest_hash(names, (good[name] for name in names)),
        skipped=found.skipped,
        dnas={kind: GroupedDNA(tuple(found.dnas[_Wanted(kind, "", groups)])) for kind in kinds},
        classes={
            want.kind: {label: dna for label, dna in zip(labels, dnas, strict=True) if dna.n_images}
            for want, dnas in found.dnas.items()
            if want.part == _CLASSES
        },
        features=found.features,
        reused=tuple(kind for kind in kinds if _Wanted(kind, "", groups) not in missing),
    )


def _layout(
    kind: Kind,
    extractor: FeatureExtractor,
    layers: Sequence[str] | Mapping[Kind, Sequence[str]] | None,
    neurons: NeuronsLike | None,
) -> NeuronLayout:
    chosen = chosen_neurons(neurons, extractor.fingerprint)
    if not isinstance(layers, Mapping):
        return extractor.layout.select(layers, chosen)
    own = layers[kind]
    # Neurons of a layer that another kind looks at are not missed here.
    return extractor.layout.select(own, chosen and {layer: at for layer, at in chosen.items() if layer in own})


@dataclass(frozen=True)
class _Wanted:
    """DNAs of one kind: of the groups, or of the classes."""

    kind: Kind
    part: str
    number: int


@dataclass(frozen=True, eq=False)
class _Found:
    dnas: Mapping[_Wanted, Sequence[VDNA]] = field(default_factory=dict)
    features: Tensor | None = None
    digests: Mapping[str, str] = field(default_factory=dict)  # by name, of the images that were seen
    skipped: tuple[tuple[str, str], ...] = ()

    def beside(self, other: _Found) -> _Found:
        features = other.features if self.features is None else self.features
        return replace(self, dnas={**other.dnas, **self.dnas}, features=features)


@dataclass(frozen=True, eq=False)
class _Plan:
    source: ImageSource
    extractor: FeatureExtractor
    empty: Mapping[Kind, Distribution]
    max_positions: int | None
    parts: Mapping[str, Sequence[int]]
    name: str
    labels: Sequence[str]
    features: str | None

    def settings(self, kind: Kind) -> list[Any]:
        """What decides the DNAs of a kind, beside the images and the network."""
        distribution = self.empty[kind]
        settings = [distribution.layout.to_json(), self._fingerprint(kind).digest]
        if isinstance(distribution, HistogramDistribution):
            settings += [distribution.bins, distribution.ranges.digest, self.max_positions]
        return settings

    def source_name(self, part: str, index: int) -> str:
        label = self.labels[index] if part else ""
        return f"{self.name}/{label}" if label else self.name

    def run(self, missing: set[_Wanted], need_features: bool, reading: Reading) -> _Found:
        """One pass for what is missing."""
        order = sorted(missing, key=lambda want: (want.part, want.kind))
        distributions = {
            want: [part.with_state(torch.zeros_like(part.state)) for part in [self.empty[want.kind]] * want.number]
            for want in order
        }
        states = {
            f"{want.part}{want.kind}{index}": distribution.state
            for want, parts in distributions.items()
            for index, distribution in enumerate(parts)
        }
        layers = {layer for want in order for layer in self.empty[want.kind].layout}
        rows = torch.empty(0)
        if need_features and self.features is not None:
            layers.add(self.features)
            rows = torch.zeros(len(self.source), self.extractor.layout[self.features])
            states["features"] = rows
        seen_layers = self.extractor.layout.select([layer for layer in self.extractor.layout if layer in layers])

        def fill_(activations: dict[str, Tensor], indices: tuple[int, ...]) -> None:
            if need_features and self.features is not None:
                rows[list(indices)] = image_means(activations[self.features]).float().cpu()
            for part, of_image in self.parts.items():
                wants = [want for want in order if want.part == part]
                places: dict[int, list[int]] = {}
                for place, index in enumerate(indices):
                    places.setdefault(of_image[index], []).append(place)
                for number, chosen in places.items() if wants else ():
                    some = activations
                    if len(chosen) < len(indices):
                        index_ = torch.tensor(chosen, device=next(iter(activations.values())).device)
                        some = {layer: x.index_select(1, index_) for layer, x in activations.items()}
                    for want in wants:
                        at_most = self.max_positions if want.kind == "histogram" else None
                        picked = self.empty[want.kind].layout.pick(some)
                        distributions[want][number].fill_(
                            {layer: subsample_positions(x, at_most) for layer, x in picked.items()}
                        )

        settings = [self.settings(want.kind) for want in order] + [self.features if need_features else None]
        seen = one_pass(self.source, self.extractor, seen_layers, reading, states, settings, fill_)
        return _Found(
            {want: self._dnas(want, distributions[want], seen) for want in order},
            rows[seen.indices] if need_features else None,
            {self.source.names[index]: digest for index, digest in zip(seen.indices, seen.digests, strict=True)},
            tuple(seen.skipped),
        )

    def _fingerprint(self, kind: Kind) -> Any:
        return self.extractor.fingerprint.select(list(self.empty[kind].layout))

    def _dnas(self, want: _Wanted, distributions: Sequence[Distribution], seen: Seen) -> list[VDNA]:
        of_image = self.parts[want.part]
        place_of = {name: place for place, name in enumerate(self.source.names)}
        made = []
        for number, distribution in enumerate(distributions):
            distribution.check_finite()
            mine = [place for place, index in enumerate(seen.indices) if of_image[index] == number]
            names = [self.source.names[seen.indices[place]] for place in mine]
            provenance = Provenance(
                self.extractor.name,
                sources=(self.source_name(want.part, number),),
                skipped=tuple(item for item in seen.skipped if of_image[place_of[item[0]]] == number),
                manifests=(manifest_hash(names, [seen.digests[place] for place in mine]),),
                max_positions=self.max_positions if want.kind == "histogram" else None,
                sizes=ImageSizes.of([seen.sizes[place] for place in mine]) if mine else None,
            )
            made.append(VDNA(distribution.to("cpu"), self._fingerprint(want.kind), provenance))
        return made


# ------------------------------------------------------------------------------------------------------------ the cache
class _Kept:
    """Files of one set of images and one network, in a folder whose name ends in the hash of both."""

    def __init__(self, cache: Path, plan: _Plan, groups: int) -> None:
        self.plan = plan
        self.digests = content_digests(plan.source)
        content = _content(plan.source, self.digests)
        there = cached_folder(cache, content, plan.extractor.fingerprint.digest, groups)
        self.folder = there or cache / f"{_slug(plan.name)}-{_key(content, plan.extractor.fingerprint.digest, groups)}"
        self.unfinished = self.folder / _UNFINISHED

    def _paths(self, want: _Wanted) -> list[Path]:
        width = len(str(want.number))
        stem = f"{want.kind}-{json_hash(self.plan.settings(want.kind))[:8]}"
        return [
            self.folder / want.part / f"{stem}-{index + 1:0{width}}-of-{want.number}.npz"
            for index in range(want.number)
        ]

    @property
    def _features_path(self) -> Path:
        return self.folder / f"features-{json_hash(self.plan.features)[:8]}.npz"

    def load(self, wanted: set[_Wanted], skip_bad: bool) -> _Found:
        dnas = {}
        for want in sorted(wanted, key=lambda want: (want.part, want.kind)):
            paths = self._paths(want)
            made = [_readable(path, load_vdna) for path in paths] if all(path.exists() for path in paths) else [None]
            good = [dna for dna in made if dna is not None]
            # What was skipped once is an error for who does not ask for that.
            if len(good) == len(made) and (skip_bad or not any(dna.provenance.skipped for dna in good)):
                dnas[want] = [
                    replace(dna, provenance=replace(dna.provenance, sources=(self.plan.source_name(want.part, index),)))
                    for index, dna in enumerate(good)
                ]
        bad = {item for made in dnas.values() for dna in made for item in dna.provenance.skipped}
        order = {name: place for place, name in enumerate(self.plan.source.names)}
        skipped = tuple(sorted(bad, key=lambda item: order[item[0]]))
        unread = {name for name, _ in skipped}
        digests = {
            name: digest
            for name, digest in zip(self.plan.source.names, self.digests, strict=True)
            if name not in unread
        }
        vectors = None
        if self.plan.features is not None and dnas and self._features_path.exists():
            vectors = _readable(self._features_path, lambda path: read_npz(path, ("features",))[1]["vectors"])
            if vectors is not None and len(vectors) != len(digests):
                vectors = None
        return _Found(dnas, None if vectors is None else torch.from_numpy(vectors), digests, skipped)

    def save(self, made: _Found) -> None:
        hashed = dict(zip(self.plan.source.names, self.digests, strict=True))
        changed = [name for name, digest in made.digests.items() if hashed[name] != digest]
        if changed:
            raise ValueError(f"{self.plan.name}: {changed[0]} changed while it was read; run this again")
        self.folder.mkdir(parents=True, exist_ok=True)
        for want, dnas in made.dnas.items():
            for path, dna in zip(self._paths(want), dnas, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                dna.save(path)
        if made.features is not None:
            fingerprint = self.plan.extractor.fingerprint.select([str(self.plan.features)])
            header, vectors = {"fingerprint": fingerprint.to_json()}, {"vectors": made.features.numpy()}
            write_npz(self._features_path, "features", header, vectors, compress=False)
        write_image_digests(self.folder, made.digests)
        shutil.rmtree(self.unfinished, ignore_errors=True)


def cached_folder(cache: Path, manifest: str, fingerprint: str, groups: int) -> Path | None:
    """Where the cache of `build_dealt_dnas` keeps the DNAs of a set of images, if it has some.

    Args:
        cache: the cache.
        manifest: `DealtSet.manifest`, of a set of which no image was skipped.
        fingerprint: digest of the extractor's.
        groups: number of groups.
    """
    there = sorted(cache.glob(f"*-{_key(manifest, fingerprint, groups)}"))
    return there[0] if there else None


def _content(source: ImageSource, digests: Sequence[str]) -> str:
    return manifest_hash(source.names, digests)


def _key(content: str, fingerprint: str, groups: int) -> str:
    return json_hash([_FORMAT, content, fingerprint, groups])[:16]


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name)[:40]


def _readable(path: Path, load: Any) -> Any:
    try:
        return load(path)
    except (ValueError, OSError) as error:
        warnings.warn(f"{error}; it is computed again", UserWarning, stacklevel=2)
        return None
