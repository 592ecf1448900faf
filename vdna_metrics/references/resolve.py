"""The one input language: whatever a user names, as a set of images with its images, its DNAs, or both."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from numbers import Number
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import FeatureSample, Histogram, Kind
from vdna_metrics.dna.columns import Column, ColumnLike, default_column, find_column
from vdna_metrics.dna.grouped import GroupedDNA, total_of
from vdna_metrics.dna.serialization import DNA_FILES, load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.precomputed import FeaturesLike, PrecomputedFeatures
from vdna_metrics.extractors.registry import is_own
from vdna_metrics.files import errors_of, is_ours, json_hash, read_header, read_npz, write_whole
from vdna_metrics.fingerprint import MODULE, ExtractorFingerprint
from vdna_metrics.images.containers import ARCHIVE_FOLDER, open_features
from vdna_metrics.images.dataset_table import DATASET
from vdna_metrics.images.opening import open_images
from vdna_metrics.images.procedural import PROCEDURAL
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import check_names, check_type
from vdna_metrics.references.feature_files import read_features, read_torch
from vdna_metrics.references.formats.importing import holds_statistics, import_statistics, import_torch
from vdna_metrics.references.formats.published import EXPORTED
from vdna_metrics.references.image_sets import AnyDNA, ImageSet, extractor_of
from vdna_metrics.references.records import ReferenceName
from vdna_metrics.references.store import (
    IN_STORE,
    Entry,
    group_families,
    load_groups,
    matching_references,
    names_of,
    read_image_digests,
    read_records,
    unknown_reference,
)
from vdna_metrics.schema import ArrayField
from vdna_metrics.text import in_number_order

ImagesLike = ImageSource | Sequence[str | Path] | NDArray[Any] | Tensor | Mapping[str, Any] | Iterable[Any]
DNALike = VDNA | GroupedDNA | ImageSet | str | Path
"""A DNA, or what stands for one: a file, a folder of groups, a name of a store; see `resolve`."""
SourceLike = str | Path | ImagesLike | AnyDNA | ImageSet


def resolve(
    *sources: SourceLike,
    name: str | None = None,
    kinds: Sequence[Kind] | None = None,
    extractors: Sequence[str] | None = None,
    root: str | Path | None = None,
) -> ImageSet:
    """What a user means by a source, or by several of one set: DNAs of several kinds or networks, images once.

    ======================================  ==========================================================================
    images                                  all that `open_images` opens; an iterable of batches, as a DataLoader
    precomputed features                    floats ``[N, d]`` or ``{layer: [N, d]}``, arrays or tensors; an ``.npy``,
                                            ``.npz`` or torch file of such arrays and nothing else. Images are uint8
    a DNA file, a `VDNA`, a `GroupedDNA`
    a folder of DNA files                   groups of one set of images, see `load_dna_folder`
    ``DATASET/SPLIT``, ``STORE::NAME``      DNAs of a store, see `load_reference`, in groups too
    a file of statistics of another tool    where it or its published name tells format, mode and number of images
    ``clean-fid:cifar10/train/32``          published statistics by name, see `import_statistics`
    an `ImageSet`                           as it is
    ======================================  ==========================================================================

    Stores are asked only when nothing on disk has the name.

    Args:
        sources: each one of the above.
        name: what to call the set, by default after the first source.
        kinds: of the DNAs of a store, by default all.
        extractors: networks of the DNAs of a store; to be given where the name has those of several.
        root: copy on disk of a ``dataset:``, which is downloaded otherwise.

    Raises:
        ValueError: when nothing is there, near names are named; when a name stands for several, they are listed; for
            statistics of others that do not tell what they are of; for two sources of images, two DNAs of one kind and
            network, or DNAs and images of one set that are of different images.
        TypeError: for what is no source.

    Examples:
        >>> [dna.kind for dna in resolve("bsds500/trainval", extractors=["vdna_tiny"]).dnas]
        ['features', 'gaussian', 'histogram', 'layer_gaussian', 'layer_gaussian']
        >>> resolve("procedural:white_noise/3")
        ImageSet(white_noise: 3 images)
    """
    check_names("kinds", kinds or ())
    check_names("extractors", extractors or ())
    parts = [_resolve(source, kinds, extractors, root) for source in sources]
    found = parts[0] if len(parts) == 1 else _together(parts)
    _check_same_images(found)
    return found if name is None else replace(found, name=name)


def _resolve(
    source: SourceLike, kinds: Sequence[Kind] | None, extractors: Sequence[str] | None, root: str | Path | None
) -> ImageSet:
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, VDNA | GroupedDNA):
        return _of_dnas(", ".join(dict.fromkeys(total_of(source).provenance.sources)) or "DNA", (source,))
    if isinstance(source, str | Path) and source != "":
        return _of_text(str(source), kinds, extractors, root)
    if _are_features(source):
        return _of_features("features", source)
    if isinstance(source, ImageSource | np.ndarray | Tensor) or are_paths(source):
        images = open_images(source)
        return ImageSet(images.name, images.name, images)
    numbers = isinstance(source, Sequence) and bool(source) and isinstance(source[0], Number)
    if isinstance(source, Iterable) and not isinstance(source, Mapping) and not numbers:
        return ImageSet(type(source).__name__, type(source).__name__, batches=source)
    raise TypeError(f"expected images, a DNA, or the name of some, got {source!r}")


def _are_features(source: object) -> TypeGuard[FeaturesLike]:
    """Whether a source is an array of features, or a mapping of arrays, of which there are no other."""
    if isinstance(source, Mapping):
        return bool(source) and all(isinstance(each, np.ndarray | Tensor) for each in source.values())
    if not isinstance(source, np.ndarray | Tensor):
        return False
    floats = source.is_floating_point() if isinstance(source, Tensor) else source.dtype.kind == "f"
    return floats and source.ndim == 2


def _of_features(source: str, features: FeaturesLike, name: str = "") -> ImageSet:
    taker = PrecomputedFeatures.of(features)
    rows = taker(features).cpu()
    rows = rows.float() if rows.dtype == torch.bfloat16 else rows  # which NumPy does not have
    images = open_features(name or source, rows.numpy(), taker.layers)
    return ImageSet(images.name, source, images)


def _together(parts: Sequence[ImageSet]) -> ImageSet:
    with_images = [part for part in parts if part.images is not None or part.batches is not None]
    if not parts:
        raise ValueError("expected at least one source, got none")
    if len(with_images) > 1:
        raise ValueError(f"only one source can be images, got {' and '.join(part.source for part in with_images)}")
    for one, other in combinations(parts, 2):
        for a, b in product(one.dnas, other.dnas):
            alike = a.kind == b.kind and not a.fingerprint.differences(b.fingerprint)
            if alike and not set(a.layout).isdisjoint(b.layout):
                both = f"{one.source} and {other.source}"
                raise ValueError(f"{both} are two {a.kind} DNAs of {extractor_of(a)}: merge them first")
    return replace(
        (with_images or parts)[0],
        name=parts[0].name,
        source=", ".join(part.source for part in parts),
        dnas=tuple(dna for part in parts for dna in part.dnas),
        features=tuple(pair for part in parts for pair in part.features),
        digests={image: digest for part in parts for image, digest in part.digests.items()},
        notes=tuple(note for part in parts for note in part.notes),
    )


def _check_same_images(found: ImageSet) -> None:
    """What is given as one set has to be of the same images, as far as manifests and numbers tell."""
    seen = [(repr(total), total.n_images, total.provenance.manifests) for total in map(total_of, found.dnas)]
    images = found.images
    if images is not None and seen:
        skipped = max(len(total_of(dna).provenance.skipped) for dna in found.dnas)
        manifests = (images.manifest(),) if not skipped and len(images) == seen[0][1] else ()
        seen.append((f"{len(images)} images of {images.name}", len(images) - skipped, manifests))
    for (one, n, manifest), (other, m, another) in combinations(seen, 2):
        told = len(manifest) == len(another) == 1 and manifest != another
        if n != m or told:
            raise ValueError(f"{found.source}: one set has to be of the same images, got {one} and {other}")


def resolve_images(source: SourceLike, *, root: str | Path | None = None) -> ImageSource:
    """The images of a source, for what reads them by number.

    Args:
        source: see `resolve`.
        root: as in `resolve`.

    Raises:
        ValueError: when it is a DNA or statistics, which have no images to read.
        TypeError: for batches, and for what is no source.

    Examples:
        >>> resolve_images("procedural:white_noise/3").names
        ('0', '1', '2')
    """
    found = resolve(source, root=root)
    if found.images is not None:
        return found.images
    if found.batches is not None:
        raise TypeError(
            "expected images that can be read by number (a source, folder, archive, list of paths or array), got "
            f"batches of {found.source}"
        )
    raise ValueError(f"expected images, {found.source} is a DNA: {found.dnas[0]!r}")


def resolve_dna(
    source: DNALike, kind: Kind | None = None, *, layers: Sequence[str] | None = None, extractor: str | None = None
) -> AnyDNA:
    """The DNA of a source, for what compares one: in K disjoint groups where these hold all compared layers.

    Args:
        source: a DNA, which is returned; or what has one, see `resolve`.
        kind: of the DNA, by default the one there is.
        layers: that are compared, by default all.
        extractor: network of the DNA, where a name of a store has several.

    Raises:
        ValueError: when there is none, as of images, or there are several.
        TypeError: for what is no source.

    Examples:
        >>> resolve_dna("bsds500/test@vdna_tiny", "histogram").n_images
        200
    """
    if isinstance(source, VDNA | GroupedDNA):
        return source if kind is None else source.as_kind(kind)
    check_type("a DNA", source, VDNA, GroupedDNA, ImageSet, str, Path)
    extractors = None if extractor is None else [extractor]
    found = resolve(source, kinds=None if kind is None else [kind], extractors=extractors)
    return found.one_dna(kind, layers=layers).dna


def compared_dna(source: DNALike, column: Column, extractor: str | None = None) -> AnyDNA:
    """What a column compares of the DNA of a source; see `resolve_dna`."""
    dna = resolve_dna(source, column.kind, layers=column.layers, extractor=extractor or column.extractor)
    return column.select(dna)


def compared_reference(
    reference: DNALike, distance: ColumnLike | None, extractor: str | None = None
) -> tuple[Column, VDNA]:
    """A column, by default the first that takes a reference's DNA, and what it compares of that."""
    if distance is None:
        found = resolve(reference, extractors=None if extractor is None else [extractor])
        reference = reference if isinstance(reference, VDNA | GroupedDNA) else found
        distance = default_column([dna.kind for dna in found.dnas])
    column = find_column(distance)
    return column, total_of(compared_dna(reference, column, extractor))


def are_paths(source: object) -> TypeGuard[Sequence[str | Path]]:
    """Whether a source is a sequence of paths."""
    return isinstance(source, Sequence) and (not source or isinstance(source[0], str | Path))


def _of_dnas(source: str, dnas: Sequence[AnyDNA], **more: Any) -> ImageSet:
    notes = (f"{source}: {dna.kind} of {dna.n_images} images through {extractor_of(dna)}" for dna in dnas)
    return ImageSet(source, source, dnas=tuple(dnas), notes=tuple(dict.fromkeys(notes)), **more)


def is_stored(text: str) -> bool:
    """Whether stores are asked for a text: nothing on disk has the name, and it is no name of images or statistics."""
    archive = ARCHIVE_FOLDER.fullmatch(text)
    there = os.path.exists(text) or bool(archive and os.path.exists(archive[1]))
    return not (there or text.startswith((DATASET, PROCEDURAL)) or holds_statistics(text))


def _of_text(
    text: str, kinds: Sequence[Kind] | None, extractors: Sequence[str] | None, root: str | Path | None
) -> ImageSet:
    if text.startswith((DATASET, PROCEDURAL)):
        images = open_images(text, root=root)
        return ImageSet(images.name, text, images)
    if is_stored(text):
        return _of_store(text, kinds, extractors)
    there = os.path.exists(text)
    name = os.path.basename(os.path.abspath(text)) if there else text
    if holds_dnas(text):
        return replace(load_dna_folder(text), name=name)
    kind = read_header(text)["kind"] if there and is_ours(text) else ""
    if kind in DNA_FILES:
        return replace(_of_dnas(text, (load_vdna(text),)), name=name)
    loaded = read_torch(text)
    features = read_features(text, loaded) if os.path.isfile(text) else None
    if features is not None:
        with errors_of(text):
            return _of_features(text, features, name)
    if kind == EXPORTED or (not kind and holds_statistics(text)):
        return replace(_of_dnas(text, _statistics(text, loaded)), name=name)
    images = open_images(text)
    return ImageSet(images.name, text, images)


def _statistics(text: str, loaded: Any) -> list[VDNA]:
    try:
        return import_statistics(text) if loaded is None else import_torch(Path(text), loaded)
    except ValueError as error:
        raise ValueError(
            f"{text} holds statistics of another tool, and not all that is needed to use them: {error}. "
            "`vdna-metrics references import` takes what is missing, and keeps them under a name"
        ) from error


def _of_store(name: str, kinds: Sequence[Kind] | None, extractors: Sequence[str] | None) -> ImageSet:
    """DNAs of a store: those of each network and kind, in groups as far as there are some."""

    def read(chosen: list[Entry]) -> ImageSet:
        families = group_families(chosen)
        dnas: list[AnyDNA] = [load_groups(family) for family in families]
        for store, record in chosen:
            # Groups of all its layers are the whole, and more.
            held = (set(f[0][1].layers) for f in families if f[0][1].is_group_of(record))
            if not record.group and not any(layers >= set(record.layers) for layers in held):
                dnas.append(load_vdna(store.file(record)))
        digests: dict[str, str] = {}
        for (store, first), *_ in families:
            digests |= store.image_digests(first)
        return _of_dnas(name, dnas, digests=digests)

    return read_records(lambda: _stored_entries(name, kinds, extractors), read)


def _stored_entries(name: str, kinds: Sequence[Kind] | None, extractors: Sequence[str] | None) -> list[Entry]:
    assumed = list(product(extractors or (None,), kinds or (None,)))
    chosen = _matching_entries(name, assumed)
    if not chosen and any(map(_is_of_somebody, extractors or ())):
        # A network of one's own has no name to be known by: it is a class in a script, FILE.py:FACTORY in the shell.
        found = _matching_entries(name, [(None, kind) for kind in kinds or (None,)])
        chosen, extractors = [entry for entry in found if _is_of_somebody(entry[1].extractor)], None
    if not chosen:
        raise unknown_reference(name, extractor=assumed[-1][0], kind=assumed[-1][1])
    networks = {record.extractor for _, record in chosen}
    whole = [entry for entry in chosen if not entry[1].group]
    one_of = [(record.extractor, record.kind.partition("-")[0], record.layers) for _, record in whole]
    if (extractors is None and len(networks) > 1) or len(set(one_of)) < len(one_of):
        counts = Counter(network for network, *_ in dict.fromkeys(one_of))
        say = f"; say which, by {with_network(name, max(counts, key=counts.__getitem__))} for example"
        raise ValueError(f"reference {name!r} could be: {names_of(whole or chosen)}{say * (len(counts) > 1)}")
    return chosen


def with_network(name: str, network: str) -> str:
    """The name of what a store has of one network.

    Examples:
        >>> with_network("bsds500/test#histogram", "vdna_tiny")
        'bsds500/test@vdna_tiny#histogram'
    """
    location, mark, inside = name.rpartition(IN_STORE)
    return f"{location}{mark}{replace(ReferenceName.parse(inside), extractor=network)}"


@dataclass(frozen=True)
class HeldDNA:
    """What is known of a DNA before it is read: network, kind, and layers where they are known."""

    network: str
    kind: str
    layers: tuple[str, ...]

    def serves(self, column: Column) -> bool:
        """Whether it has what a column compares; a layer Gaussian serves for a Gaussian."""
        kinds = ("gaussian", "layer_gaussian") if column.kind == "gaussian" else (column.kind,)
        return self.kind in kinds and (not self.layers or set(column.layers or ()) <= set(self.layers))


def held_dnas(source: str | ImageSet) -> list[HeldDNA]:
    """The DNAs of a set, or all those of a store that a name may stand for, which are not read.

    Examples:
        >>> sorted({dna.network for dna in held_dnas("bsds500/test#layer_gaussian")})
        ['seeded_resnet18', 'vdna_tiny']
    """
    if isinstance(source, ImageSet):
        return [HeldDNA(extractor_of(dna), dna.kind, tuple(dna.layout)) for dna in source.dnas]
    records = (record for _, record in matching_references(source))
    return [HeldDNA(each.extractor, each.kind.partition("-")[0], tuple(each.layers)) for each in records]


def _matching_entries(name: str, assumed: Sequence[tuple[str | None, Kind | None]]) -> list[Entry]:
    """Each record once that a name may stand for with one of some networks and kinds."""
    found = (entry for pair in assumed for entry in matching_references(name, extractor=pair[0], kind=pair[1]))
    return list({(store.location, record.key): (store, record) for store, record in found}.values())


def _is_of_somebody(extractor: str) -> bool:
    return extractor.startswith(MODULE) or is_own(extractor)


# ------------------------------------------------------------------------------------------------------------ folders
IMAGES = "images.json"
FEATURES_FILE = "features"
"""Kind of a file of features of all images, in their order."""


def holds_dnas(path: str | Path) -> bool:
    """Whether a path is a folder with DNA files in it."""
    return Path(path).is_dir() and any(_dna_files(Path(path)))


def load_dna_folder(path: str | Path) -> ImageSet:
    """Read the DNA files of a folder, as the cache of `build_set` and ``make --shard`` write them.

    Files of one kind, network and settings are taken for the groups of one set of images, in the order of their names.

    Args:
        path: the folder; what lies in folders below is left alone.

    Returns:
        Its DNAs, one a kind, network and settings, of a single file a `VDNA`; digests and features of the images, where
        they were kept.

    Raises:
        ValueError: when there is no DNA in it, or one is damaged.
    """
    families: dict[str, list[VDNA]] = {}
    features = []
    folder = Path(path)
    for file in _dna_files(folder):
        dna = load_vdna(file)
        distribution = dna.distribution
        settings: list[Any] = [dna.kind, dna.fingerprint.to_json(), dna.layout.to_json(), dna.provenance.max_positions]
        if isinstance(distribution, Histogram):
            settings += [distribution.bins, distribution.digest]
        elif isinstance(distribution, FeatureSample):
            settings.append(distribution.size)
        family = families.setdefault(json_hash(settings), [])
        if any(dna.provenance.manifests == other.provenance.manifests != () for other in family):
            raise ValueError(f"{path}: groups have to be disjoint, {file.name} is of the same images as another file")
        family.append(dna)
    if not families:
        raise ValueError(f"{path} has no DNA file in it")
    digests = read_image_digests(folder / IMAGES)
    for file in sorted(folder.glob("features-*.npz")) if digests else ():
        if read_header(file).get("kind") == FEATURES_FILE:  # samples of features have such names, too
            features.append(load_features(file))
    dnas = [GroupedDNA(tuple(group)) if len(group) > 1 else group[0] for group in families.values()]
    return _of_dnas(str(path), dnas, features=tuple(features), digests=digests)


@dataclass(frozen=True)
class _FeaturesFile:
    fingerprint: ExtractorFingerprint

    def arrays(self) -> dict[str, ArrayField]:
        return {"vectors": ArrayField((None, None), "f")}


def load_features(path: Path) -> tuple[ExtractorFingerprint, Tensor]:
    """Features of a set of images, ``[images, neurons]``, as the cache of `build_set` keeps them, and through what."""
    file, arrays = read_npz(path, {FEATURES_FILE: _FeaturesFile})
    return file.fingerprint, torch.from_numpy(arrays["vectors"])


def write_image_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Say beside the DNAs which images they are of."""
    write_whole(folder / IMAGES, json.dumps(digests))


def _dna_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.glob("*.npz"), key=lambda path: in_number_order(str(path))):
        if is_ours(file) and read_header(file).get("kind") in DNA_FILES:
            yield file
