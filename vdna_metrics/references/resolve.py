"""The one input language: whatever a user names, as a set of images with its images, its DNAs, or both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import Kind
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.files import is_ours, read_header
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.images.containers import ARCHIVE_FOLDER, open_container
from vdna_metrics.images.opening import DATASET, open_images
from vdna_metrics.images.procedural import PROCEDURAL
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.references.folders import holds_dnas, load_dna_folder
from vdna_metrics.references.formats.importing import holds_statistics, import_statistics
from vdna_metrics.references.formats.published import EXPORTED
from vdna_metrics.references.store import (
    IN_STORE,
    Entry,
    UnknownReferenceError,
    group_families,
    load_groups,
    matching_references,
    names_of,
    read_records,
)

AnyDNA = VDNA | GroupedDNA
NetworkLike = FeatureExtractor | ExtractorFingerprint | str


@dataclass(frozen=True, eq=False)
class ChosenDNA:
    """The DNA of a set that is compared.

    Args:
        dna: of the layers and neurons that are compared.
        notes: what is not compared, or not known, and why.
    """

    dna: AnyDNA
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> VDNA:
        """The DNA of all images."""
        return self.dna.total if isinstance(self.dna, GroupedDNA) else self.dna


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of images as a user named it: images, DNAs, or both; see `resolve`.

    Args:
        name: what to call it in tables.
        source: what the user gave, as text.
        images: where they can be read by number.
        dnas: whole or in groups, of any networks and kinds.
        features: fingerprint with one layer, and ``[images, neurons]``, as `load_dna_folder` gives them.
        digests: ``{name: sha256}`` of the images that the DNAs are of, where they are known.
        batches: images that come in batches of tensors, from Python alone.
        notes: what was read.
    """

    name: str
    source: str
    images: ImageSource | None = None
    dnas: tuple[AnyDNA, ...] = ()
    features: tuple[tuple[ExtractorFingerprint, Tensor], ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    batches: Iterable[Any] | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        has = [] if self.images is None else [f"{len(self.images)} images"]
        has += [] if self.batches is None else ["batches of images"]
        return f"ImageSet({self.name}: {', '.join([*has, *map(repr, self.dnas)])})"

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the extractors that the DNAs are of."""
        return tuple(dict.fromkeys(map(_extractor_of, self.dnas)))

    def choose_dna(
        self,
        kind: Kind | None = None,
        network: NetworkLike | None = None,
        *,
        layers: Sequence[str] | None = None,
        neurons: NeuronsLike | None = None,
    ) -> ChosenDNA | None:
        """The one DNA that is compared: in groups where these hold all compared layers, else whole.

        Args:
            kind: kind of DNA; by default the one there is. A layer Gaussian serves for a Gaussian.
            network: through which network, by default the one there is.
            layers: layers to compare; by default all that the whole DNA has.
            neurons: of the neurons to compare, as in `VDNA.select`; those of layers that the DNA lacks are left out.

        Returns:
            The DNA of these layers and neurons, ``None`` where there is none of that kind and network.

        Raises:
            ValueError: for layers that the DNA lacks, or when several DNAs fit.

        Examples:
            >>> test = resolve("bsds500/test", extractors=["vdna_tiny"])
            >>> chosen = test.choose_dna("layer_gaussian")
            >>> list(chosen.dna.layout), chosen.notes
            (['blocks.0', 'blocks.2', 'blocks.4'], ('its layer_gaussian DNA lacks conv_head, which is not compared',))
        """
        kinds = [kind] if kind is not None else list(dict.fromkeys(dna.kind for dna in self.dnas))
        found = self._of_network(self._of_kind(kinds[0]), network) if len(kinds) == 1 else []
        if len(kinds) > 1:
            raise ValueError(
                f"{self.name} has DNAs of the kinds {', '.join(kinds)}: say which, for example #{kinds[0]}"
            )
        if not found:
            return None
        known = _layers_of(network, found[0])
        asked = None if layers is None else [layers] if isinstance(layers, str) else list(layers)
        holding = found if asked is None else [dna for dna in found if set(asked).issubset(dna.layout)]
        if not holding and self.images is not None:
            return None  # it can be built
        if not holding:
            lacks = [layer for layer in asked or () if not any(layer in dna.layout for dna in found)]
            have = "; ".join(dict.fromkeys(", ".join(dna.layout) for dna in found))
            raise ValueError(f"{self.name}: no {kinds[0]} DNA has {', '.join(lacks or asked or ())}; it has {have}")
        whole = _only(self.name, [dna for dna in holding if isinstance(dna, VDNA)])
        grouped = _only(self.name, [dna for dna in holding if isinstance(dna, GroupedDNA)])
        widest = whole or grouped
        assert widest is not None
        wanted = asked or [layer for layer in widest.layout if layer in known or not known]
        notes = []
        dna: AnyDNA = widest
        if grouped is not None and set(wanted).issubset(grouped.layout):
            dna = grouped
        elif grouped is not None or (asked is not None and any(isinstance(dna, GroupedDNA) for dna in found)):
            groups = grouped or next(dna for dna in found if isinstance(dna, GroupedDNA))
            lacks = [layer for layer in wanted if layer not in groups.layout]
            notes.append(f"its groups lack {', '.join(lacks)}: the whole {kinds[0]} DNA is compared, no error bars")
        missing = [layer for layer in known if layer not in dna.layout] if asked is None else []
        if missing:
            notes.append(f"its {kinds[0]} DNA lacks {', '.join(missing)}, which is not compared")
        picked = chosen_neurons(neurons, dna.fingerprint if isinstance(network, str | None) else _print_of(network))
        inside = None if picked is None else {layer: at for layer, at in picked.items() if layer in dna.layout}
        if picked is not None and not inside:
            raise ValueError(
                f"{self.name}: the neurons are of {', '.join(picked)}; the DNA has {', '.join(dna.layout)}"
            )
        kept = None if inside is not None and asked is None else wanted
        return ChosenDNA(dna.select(kept, inside), tuple(notes))

    def one_dna(self, kind: Kind | None = None, *, layers: Sequence[str] | None = None) -> ChosenDNA:
        """As `choose_dna`, of a set that has to have one.

        Raises:
            ValueError: when there is none, the set is of images for example, or when several fit.
        """
        chosen = self.choose_dna(kind, layers=layers)
        if chosen is None:
            kinds = ", ".join(dict.fromkeys(dna.kind for dna in self.dnas))
            has = f"a {kinds}" if kinds else "images and no DNA; `vdna-metrics make` makes one of images"
            raise ValueError(f"expected a {kind or ''} DNA, {self.source} has {has}".replace("  ", " "))
        return chosen

    def _of_kind(self, kind: Kind) -> list[AnyDNA]:
        found = [dna for dna in self.dnas if dna.kind == kind]
        return found or [dna.as_kind(kind) for dna in self.dnas if kind == "gaussian" and dna.kind == "layer_gaussian"]

    def _of_network(self, dnas: list[AnyDNA], network: NetworkLike | None) -> list[AnyDNA]:
        if isinstance(network, str):
            return [dna for dna in dnas if _extractor_of(dna) == network]
        if network is not None:
            known = _print_of(network)
            fitting = [dna for dna in dnas if not dna.fingerprint.differences(known)]
            return [dna for dna in fitting if not set(known.paths).isdisjoint(dna.layout)]
        names = list(dict.fromkeys(_extractor_of(dna) for dna in dnas))
        if len(names) > 1:
            raise ValueError(f"{self.name} has DNAs of the networks {', '.join(names)}: say which, by @{names[0]}")
        return dnas


def _only(name: str, dnas: Sequence[AnyDNA]) -> AnyDNA | None:
    if len(dnas) > 1:
        of = "; ".join(", ".join(dna.layout) for dna in dnas)
        raise ValueError(
            f"{name}: {len(dnas)} {dnas[0].kind} DNAs of {_extractor_of(dnas[0])} (of {of}); keep one of them, or say "
            "which layers"
        )
    return dnas[0] if dnas else None


def _print_of(network: FeatureExtractor | ExtractorFingerprint) -> ExtractorFingerprint:
    return network.fingerprint if isinstance(network, FeatureExtractor) else network


def _extractor_of(dna: AnyDNA) -> str:
    return (dna.groups[0] if isinstance(dna, GroupedDNA) else dna).provenance.extractor


def _layers_of(network: NetworkLike | None, dna: AnyDNA) -> list[str]:
    """All layers of a network; none where it is not known."""
    if network is not None and not isinstance(network, str):
        return list(_print_of(network).paths)
    spec = CATALOGUE.get(network or _extractor_of(dna))
    return [] if spec is None or set(spec.paths).isdisjoint(dna.layout) else list(spec.paths)


# ------------------------------------------------------------------------------------------------------------ resolving
ImagesLike = ImageSource | Sequence[str | Path] | NDArray[np.uint8] | Tensor | Iterable[Any]
SourceLike = str | Path | ImagesLike | AnyDNA | ImageSet


def resolve(
    source: SourceLike,
    *,
    name: str | None = None,
    kinds: Sequence[Kind] | None = None,
    extractors: Sequence[str] | None = None,
    root: str | Path | None = None,
) -> ImageSet:
    """What a user means by a source.

    ======================================  ==========================================================================
    images                                  all that `open_images` opens; an iterable of batches, as a DataLoader
    a DNA file, a `VDNA`, a `GroupedDNA`
    a folder of DNA files                   groups of one set of images, see `load_dna_folder`
    ``DATASET/SPLIT``, ``STORE::NAME``      DNAs of a store, see `load_reference`, in groups too
    a file of statistics of another tool    where it or its published name tells format, mode and number of images
    ``clean-fid:cifar10/train/32``          published statistics by name, see `import_statistics`
    an `ImageSet`                           as it is
    ======================================  ==========================================================================

    Stores are asked only when nothing on disk has the name.

    Args:
        source: one of the above.
        name: what to call the set, by default after the source.
        kinds: of the DNAs of a store, by default all.
        extractors: networks of the DNAs of a store; to be given where the name has those of several.
        root: copy on disk of a ``dataset:``, which is downloaded otherwise.

    Raises:
        ValueError: when nothing is there, near names are named; when a name stands for several, they are listed; for
            statistics of others that do not tell what they are of.
        TypeError: for what is not a source.

    Examples:
        >>> [dna.kind for dna in resolve("bsds500/trainval", extractors=["vdna_tiny"]).dnas]
        ['gaussian', 'histogram', 'layer_gaussian', 'layer_gaussian']
        >>> resolve("procedural:white_noise/3")
        ImageSet(white_noise: 3 images)
    """
    if isinstance(source, ImageSet):
        found = source
    elif isinstance(source, VDNA | GroupedDNA):
        found = _of_dnas(", ".join(_sources_of(source)) or "DNA", (source,))
    elif isinstance(source, str | Path):
        found = _of_text(str(source), kinds, extractors, root)
    elif isinstance(source, ImageSource | np.ndarray | Tensor) or _are_paths(source):
        images = open_images(source)  # type: ignore[arg-type]
        found = ImageSet(images.name, images.name, images)
    elif isinstance(source, Iterable):
        found = ImageSet(type(source).__name__, type(source).__name__, batches=source)
    else:
        raise TypeError(f"expected images, a DNA, or the name of some, got {type(source).__name__}")
    return found if name is None else replace(found, name=name)


def resolve_together(
    sources: Sequence[SourceLike],
    *,
    name: str | None = None,
    kinds: Sequence[Kind] | None = None,
    extractors: Sequence[str] | None = None,
    root: str | Path | None = None,
) -> ImageSet:
    """One set of images of several sources: DNAs of several kinds or networks, and at most one of images.

    Args:
        sources: at least one, see `resolve`.
        name: what to call the set, by default after the first.
        kinds: as in `resolve`.
        extractors: as in `resolve`.
        root: as in `resolve`.

    Raises:
        ValueError: as `resolve`; for two sources of images, or two DNAs of one kind and network.
    """
    if not sources:
        raise ValueError("expected at least one source, got none")
    parts = [resolve(source, kinds=kinds, extractors=extractors, root=root) for source in sources]
    with_images = [part for part in parts if part.images is not None or part.batches is not None]
    if len(with_images) > 1:
        raise ValueError(f"only one source can be images, got {' and '.join(part.source for part in with_images)}")
    for place, part in enumerate(parts):
        for other in parts[:place]:
            for a, b in ((a, b) for a in other.dnas for b in part.dnas):
                same = a.kind == b.kind and not a.fingerprint.differences(b.fingerprint)
                if same and not set(a.layout).isdisjoint(b.layout):
                    both = f"{other.source} and {part.source}"
                    raise ValueError(f"{both} are two {a.kind} DNAs of {_extractor_of(a)}: merge them first")
    first = with_images[0] if with_images else parts[0]
    return ImageSet(
        name or parts[0].name,
        ", ".join(part.source for part in parts),
        first.images,
        tuple(dna for part in parts for dna in part.dnas),
        tuple(pair for part in parts for pair in part.features),
        {image: digest for part in parts for image, digest in part.digests.items()},
        first.batches,
        tuple(note for part in parts for note in part.notes),
    )


def resolve_images(source: SourceLike, *, root: str | Path | None = None) -> ImageSource:
    """The images of a source, for what reads them by number.

    Args:
        source: see `resolve`.
        root: as in `resolve`.

    Raises:
        ValueError: when it is a DNA, statistics or batches, which have no images to read.

    Examples:
        >>> resolve_images("procedural:white_noise/3").names
        ('0', '1', '2')
    """
    found = resolve(source, root=root)
    if found.images is not None:
        return found.images
    if found.batches is not None:
        raise ValueError(f"expected images that can be read by number, got batches of {found.source}")
    raise ValueError(f"expected images, {found.source} is a DNA: {found.dnas[0]!r}")


def _are_paths(source: object) -> bool:
    return isinstance(source, Sequence) and (not source or isinstance(source[0], str | Path))


def _sources_of(dna: AnyDNA) -> tuple[str, ...]:
    return tuple(dict.fromkeys((dna.total if isinstance(dna, GroupedDNA) else dna).provenance.sources))


def _of_dnas(source: str, dnas: Sequence[AnyDNA], **more: Any) -> ImageSet:
    notes = (f"{source}: {dna.kind} of {dna.n_images} images through {_extractor_of(dna)}" for dna in dnas)
    return ImageSet(source, source, dnas=tuple(dnas), notes=tuple(notes), **more)


def _of_text(
    text: str, kinds: Sequence[Kind] | None, extractors: Sequence[str] | None, root: str | Path | None
) -> ImageSet:
    if text.startswith((DATASET, PROCEDURAL)):
        images = open_images(text, root=root)
        return ImageSet(images.name, text, images)
    archive = ARCHIVE_FOLDER.fullmatch(text)
    there = os.path.exists(text)
    if not there and not (archive and os.path.exists(archive[1])) and not holds_statistics(text):
        return _of_store(text, kinds, extractors)
    name = os.path.basename(os.path.abspath(text)) if there else text
    if holds_dnas(text):
        folder = load_dna_folder(text)
        return replace(_of_dnas(text, folder.dnas, features=folder.features, digests=folder.digests), name=name)
    kind = read_header(text)["kind"] if there and is_ours(text) else ""
    if kind in get_args(Kind):
        return replace(_of_dnas(text, (load_vdna(text),)), name=name)
    if kind == EXPORTED or (not kind and holds_statistics(text)):
        return replace(_of_dnas(text, _statistics(text)), name=name)
    images = open_images(text)
    return ImageSet(images.name, text, images)


def _statistics(text: str) -> list[VDNA]:
    try:
        return import_statistics(text)
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
        digests = {
            image: digest for family in families for image, digest in family[0][0].image_digests(family[0][1]).items()
        }
        return _of_dnas(name, dnas, digests=digests)

    return read_records(lambda: _stored_entries(name, kinds, extractors), read)


def _stored_entries(name: str, kinds: Sequence[Kind] | None, extractors: Sequence[str] | None) -> list[Entry]:
    entries: dict[tuple[str, str], Entry] = {}
    unknown: UnknownReferenceError | None = None
    for extractor in extractors or (None,):
        for kind in kinds or (None,):
            try:
                found = matching_references(name, extractor=extractor, kind=kind)
            except UnknownReferenceError as error:
                unknown = error
            else:
                entries |= {(store.location, record.key): (store, record) for store, record in found}
    if not entries:
        assert unknown is not None
        raise _nothing_there(name, unknown)
    chosen = list(entries.values())
    networks = list(dict.fromkeys(record.extractor for _, record in chosen))
    whole = [entry for entry in chosen if not entry[1].group]
    one_of = [(record.extractor, record.kind.partition("-")[0], record.layers) for _, record in whole]
    if (extractors is None and len(networks) > 1) or len(set(one_of)) < len(one_of):
        raise ValueError(f"reference {name!r} could be: {names_of(whole or chosen)}")
    return chosen


def _nothing_there(name: str, unknown: UnknownReferenceError) -> ValueError:
    """Near files of the folder first, for what is spelled as a path."""
    if IN_STORE in name or unknown.of_known_set:
        return unknown
    try:
        open_container(name)
    except ValueError as error:
        near = str(unknown).rpartition("; ")[2]
        return ValueError(f"{error}; nor is it a reference: {near}" if near.startswith("did you mean") else str(error))
    return unknown
