"""A set of images in K disjoint groups: the DNAs of all groups, kinds and classes of one pass, kept by content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from vdna_metrics.build.cache import SetCache, SetPart, content_digests, kept_ranges
from vdna_metrics.build.dnas import DNARequest, make_dnas
from vdna_metrics.build.partitions import class_folders, disjoint_groups
from vdna_metrics.build.passes import calibrate
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading, open_numbered
from vdna_metrics.distributions import Kind
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.images.sources import manifest_hash
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges
from vdna_metrics.references.store import own_ranges

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


def known_ranges(
    images: NumberedImages,
    extractor: ExtractorLike,
    *,
    layers: Sequence[str] | None = None,
    cache: Path | None = None,
    digests: Sequence[str] | None = None,
    reading: Reading = DEFAULT_READING,
) -> ActivationRanges:
    """Activation ranges that ship for an extractor, else those of these images, by a pass of its own that is cached.

    Args:
        images: to calibrate on.
        extractor: frozen network, or its name.
        layers: layers to look at, by default all.
        cache: as in `build_set`.
        digests: likewise.
        reading: how images are read.
    """
    network, source = create_extractor(extractor), open_numbered(images)
    ranges = own_ranges(network)
    if ranges is not None:
        return ranges

    def find() -> ActivationRanges:
        if reading.progress is not None:
            reading.progress(0, len(source))
        return calibrate(source, network, layers=layers, reading=reading)

    if cache is None:
        return find()
    return kept_ranges(cache, source, digests or content_digests(source), network, layers, find)


def build_set(
    images: NumberedImages,
    extractor: ExtractorLike,
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
    digests: Sequence[str] | None = None,
    name: str | None = None,
    reading: Reading = DEFAULT_READING,
) -> BuiltSet:
    """Make the DNAs of K disjoint groups of a set of images, of all kinds and classes, in one pass.

    It is `build_dnas` of `disjoint_groups` and `class_folders` at once, with a cache.

    With a cache, DNAs are files under a name made of the images' names and contents, the network, layers, bins, ranges
    and groups. What is there is not computed again: a kind that is added costs a pass for that kind alone, and a set
    that was killed goes on from its last checkpoint. A damaged file is computed again, with a warning. Numbers of
    another batch size, device or version of torch differ by rounding and are not told apart.

    Args:
        images: the images.
        extractor: frozen network, or its name.
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
        digests: of the images, see `content_digests`; by default each is read once more, to hash it for the cache.
        name: of the set, by default the source's.
        reading: how images are read; neither a shard nor several ranks, which may not see one cache. Progress is also
            told when the pass begins.

    Raises:
        ValueError: for unreadable images (unless skipped), fewer images than groups, unknown layers, missing ranges,
            images that changed while they were read, or more memory than the limit.

    Examples:
        >>> import numpy as np, torch
        >>> from vdna_metrics import create_extractor
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> found = build_set(np.zeros((7, 8, 8, 3), np.uint8), extractor, ["gaussian"], groups=3)
        >>> found.dnas["gaussian"].sizes
        (3, 2, 2)
    """
    if reading.shard != (0, 1) or reading.all_ranks:
        raise ValueError(
            "build_set is for one process: for a shard or all_ranks take build_dnas(partition=disjoint_groups(...))"
        )
    source, network = open_numbered(images), create_extractor(extractor)
    in_groups, in_classes = disjoint_groups(len(source), groups), class_folders(source) if classes else None
    requests: dict[SetPart, DNARequest] = {}
    for kind in kinds:
        layout = _layout(kind, network, layers, neurons)
        one = DNARequest(kind, layout, in_groups, bins=bins, ranges=ranges, max_positions=max_positions)
        requests[SetPart("", kind)] = one
        if in_classes is not None and kind in CLASS_KINDS:
            requests[SetPart("classes", kind)] = replace(one, partition=in_classes)
    if features is not None:
        network.layout.check_layers([features], what="features")
    kept = None
    if cache is not None:
        digests = digests or content_digests(source)
        kept = SetCache(cache, source, digests, network, groups, requests, features, name or source.name)
    found = None if kept is None else kept.load(skip_bad=reading.skip_bad)
    missing = {part: request for part, request in requests.items() if found is None or part not in found.dnas}
    lacks_features = features is not None and (found is None or found.features is None)
    if missing or lacks_features:
        if kept is not None and reading.checkpoint is None:
            reading = replace(reading, checkpoint=kept.unfinished)
        if reading.progress is not None:
            reading.progress(0, len(source))
        made = make_dnas(
            source, network, missing, features=features if lacks_features else None, name=name, reading=reading
        )
        if kept is not None:
            kept.save(made)
        if found is not None:
            made = replace(
                made,
                dnas={**found.dnas, **made.dnas},
                features=made.features if lacks_features else found.features,
            )
        found = made
    assert found is not None
    return BuiltSet(
        name=name or source.name,
        names=found.names,
        digests=found.digests,
        manifest=manifest_hash(found.names, found.digests),
        skipped=found.skipped,
        dnas={kind: GroupedDNA(tuple(found.dnas[SetPart("", kind)].values())) for kind in kinds},
        classes={part.kind: dnas for part, dnas in found.dnas.items() if part.folder},
        features=found.features,
        reused=tuple(kind for kind in kinds if SetPart("", kind) not in missing),
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
