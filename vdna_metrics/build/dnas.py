"""DNAs from images: one pass for all kinds of DNA and all parts of the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor

from vdna_metrics.build.partitions import Partition, PartName, one_part
from vdna_metrics.build.passes import ActivationBatch, ImageWork, Seen, run_pass, run_works
from vdna_metrics.build.reading import DEFAULT_READING, ImagesLike, Reading, check_memory, open_any
from vdna_metrics.distributions import (
    FeatureSample,
    GaussianDistribution,
    Histogram,
    LayerGaussianDistribution,
    empty_histogram,
)
from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.kinds import SAMPLE, Kind
from vdna_metrics.distributions.memory import StateSize
from vdna_metrics.distributions.parts import some_images
from vdna_metrics.dna.account import ImageAccount
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.extractors.directions import features_layer
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.positions import check_max_positions, subsample_positions
from vdna_metrics.images.batches import FACTS
from vdna_metrics.images.sources import ImageSource, manifest_hash
from vdna_metrics.layout import NeuronLayout, check_choice, check_names, check_type
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges, RangesLike, as_ranges
from vdna_metrics.references.store import default_ranges

Key = TypeVar("Key")


@overload
def build_dnas(
    images: ImagesLike,
    extractor: ExtractorLike,
    kinds: Sequence[Kind] = ...,
    *,
    bins: int = ...,
    ranges: RangesLike | None = ...,
    layers: Sequence[str] | None = ...,
    neurons: NeuronsLike | None = ...,
    max_positions: int | None = ...,
    feature_images: int = ...,
    name: str | None = ...,
    partition: None = ...,
    reading: Reading = ...,
) -> dict[Kind, VDNA]: ...


@overload
def build_dnas(
    images: ImagesLike,
    extractor: ExtractorLike,
    kinds: Sequence[Kind] = ...,
    *,
    bins: int = ...,
    ranges: RangesLike | None = ...,
    layers: Sequence[str] | None = ...,
    neurons: NeuronsLike | None = ...,
    max_positions: int | None = ...,
    feature_images: int = ...,
    name: str | None = ...,
    partition: Partition[PartName],
    reading: Reading = ...,
) -> dict[Kind, dict[PartName, VDNA]]: ...


def build_dnas(
    images: ImagesLike,
    extractor: ExtractorLike,
    kinds: Sequence[Kind] = ("histogram",),
    *,
    bins: int = 1000,
    ranges: RangesLike | None = None,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    max_positions: int | None = None,
    feature_images: int = SAMPLE,
    name: str | None = None,
    partition: Partition[Any] | None = None,
    reading: Reading = DEFAULT_READING,
) -> Any:
    """Make the DNAs of a set of images, or of each part of it, in one pass.

    Parts add up to the whole, counts exactly, since the network sees the same batches. One state a part and kind is
    kept in memory, for a histogram 8 bytes a bin of a neuron: 11 MB with ``vdna_tiny`` and 1000 bins.

    Args:
        images: folder, archive, list, array, `ImageSource`, uint8 images ``[N, 3, H, W]``, or an iterable of such
            batches (or of tuples that start with one).
        extractor: frozen network, or its name.
        kinds: which DNAs to make.
        bins: bins of the histograms.
        ranges: activation ranges of the histograms, or their file; by default those that ship for the extractor.
        layers: layers to look at, by default all.
        neurons: of the neurons to look at, ``{layer: indices}``, a `NeuronSelection`, or its file.
        max_positions: of each image's positions at most so many are counted in histograms, see `subsample_positions`;
            such a DNA is not comparable with one of all positions.
        feature_images: at most so many images have their features kept, see `FeatureSample`; of the last of the layers.
        name: of the image set, by default the source's.
        partition: parts to make DNAs of, instead of the whole.
        reading: how images are read.

    Returns:
        ``{kind: DNA}``, with a partition ``{kind: {part: DNA}}``; a part of which no image was read is not there.

    Raises:
        ValueError: for unreadable images (unless skipped), no images, unknown layers, missing ranges, a partition of
            another number of images or of label maps that are not of theirs, or more memory than the limit.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> from vdna_metrics.build import labelled
        >>> images, extractor = np.zeros((5, 8, 8, 3), np.uint8), create_extractor(torch.nn.AvgPool2d(4))
        >>> build_dnas(images, extractor, ["gaussian"], name="black")["gaussian"]
        VDNA(gaussian of 5 images of black: 3 neurons in 1 layer of module:AvgPool2d)
        >>> build_dnas(images, extractor, ["gaussian"], partition=labelled("abaab"))["gaussian"]["b"]
        VDNA(gaussian of 2 images of array/b: 3 neurons in 1 layer of module:AvgPool2d)
    """
    check_names("kinds", kinds)
    network = create_extractor(extractor)
    layout = network.layout.select(layers, chosen_neurons(neurons, network.fingerprint))
    asked = {
        kind: DNARequest(
            kind,
            layout,
            partition,
            bins=bins,
            ranges=ranges,
            max_positions=max_positions,
            feature_images=feature_images,
        )
        for kind in kinds
    }
    made = make_dnas(images, network, asked, name=name, reading=reading).dnas
    return {kind: dnas[None] for kind, dnas in made.items()} if partition is None else made


@dataclass(frozen=True, eq=False)
class DNARequest:
    """DNAs of one kind that a pass makes.

    Args:
        kind: of the DNAs.
        layout: the neurons.
        partition: of which parts, ``None`` for the whole.
        bins: as in `build_dnas`.
        ranges: as in `build_dnas`.
        max_positions: as in `build_dnas`; moments are always of all positions, which cost next to nothing.
        feature_images: as in `build_dnas`; features are of the last of the layers.
    """

    kind: Kind
    layout: NeuronLayout
    partition: Partition[Any] | None = None
    bins: int = 1000
    ranges: RangesLike | None = None
    max_positions: int | None = None
    feature_images: int = SAMPLE

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, Kind)
        check_type("partition", self.partition, Partition, type(None))
        check_max_positions(self.max_positions)
        if self.kind != "histogram":
            object.__setattr__(self, "max_positions", None)
        if self.kind == "features" and self.layout:
            object.__setattr__(self, "layout", self.layout.select([features_layer(self.layout)]))

    def empty(self, extractor: FeatureExtractor, device: torch.device | str = "meta") -> Distribution:
        """What has seen no image."""
        return empty_distribution(
            self.kind, self.layout, extractor, bins=self.bins, ranges=self.ranges, feature_images=self.feature_images,
            device=device,
        )  # fmt: skip

    def fresh(self, extractor: FeatureExtractor, device: torch.device | str, number: int) -> list[Distribution]:
        """So many of these, each with a state of its own."""
        empty = self.empty(extractor, device)
        return [empty.with_state(torch.zeros_like(empty.state)) for _ in range(number)]

    def settings(self, extractor: FeatureExtractor) -> list[Any]:
        """What decides the DNAs, beside the images and their parts."""
        settings: list[Any] = [self.kind, self.layout.to_json(), extractor.fingerprint.select(list(self.layout)).digest]
        empty = self.empty(extractor)
        settings.append(self.feature_images if isinstance(empty, FeatureSample) else empty.state_size())
        if isinstance(empty, Histogram):
            settings += [empty.bins, empty.digest, self.max_positions]
        return settings


@dataclass(frozen=True, eq=False)
class MadeDNAs(Generic[Key]):
    """What one pass over images made.

    Args:
        dnas: of each request ``{part: DNA}``, of the whole under ``None``; without parts of which no image was read.
        names: of the images that were seen.
        digests: of these.
        skipped: ``(image, reason)`` of those left out.
        features: float32 ``[images seen, neurons]``, means over the positions of one layer, where asked for.
        beside: what each work made that was done in the same pass.
    """

    dnas: Mapping[Key, dict[Any, VDNA]]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    features: Tensor | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)


def make_dnas(
    images: ImagesLike,
    extractor: FeatureExtractor,
    requests: Mapping[Key, DNARequest],
    *,
    features: str | None = None,
    name: str | None = None,
    beside: Mapping[str, ImageWork[Any]] | None = None,
    reading: Reading = DEFAULT_READING,
) -> MadeDNAs[Key]:
    """Fill the DNAs of several requests, and the features of one layer, in one pass.

    Args:
        images: as in `build_dnas`.
        extractor: frozen network.
        requests: what to make.
        features: layer whose means over positions are kept, image by image.
        name: of the image set, by default the source's.
        beside: what else is done in the pass, of images that have places.
        reading: how images are read.

    Raises:
        ValueError: as `build_dnas`.
    """
    check_type("reading", reading, Reading)
    source = open_any(images)
    n_images = len(source) if isinstance(source, ImageSource) else None
    if name is not None:
        check_type("name", name, str)
    known_as = name or (source.name if isinstance(source, ImageSource) else Seen().name)
    if n_images is None and (features is not None or beside or any(request.partition for request in requests.values())):
        raise TypeError("parts and features need images that can be read by number, not an iterable of batches")
    whole = one_part(n_images or 0)
    partitions = {key: whole if request.partition is None else request.partition for key, request in requests.items()}
    for key, request in requests.items():
        if partitions[key].complements and request.empty(extractor).subtraction == "none":
            # What is left when a part is taken away may have a finer grid, so both are filled.
            partitions[key] = replace(partitions[key], complements=False)
    sizes = []
    for key, request in requests.items():
        partitions[key].check_images(known_as, n_images or 0)
        partitions[key].check_layers(request.layout, request.max_positions)
        if partitions[key].clusters is not None and reading.shard != (0, 1) and not reading.all_ranks:
            raise ValueError(
                f"{known_as}: a shard does not have whole clusters, which groups are made of: read all images in one "
                "process, or by all_ranks=True"
            )
        n_bytes = request.empty(extractor).largest_nbytes(n_images)
        sizes.append(StateSize(f"{request.kind} DNAs", partitions[key].n_states, n_bytes))
    if features is not None:
        extractor.layout.check_layers([features], what="features")
        sizes.append(StateSize("features", n_images or 0, 4 * extractor.layout[features]))
    check_memory(known_as, sizes, reading)
    filled = {key: each.fresh(extractor, reading.device, partitions[key].n_states) for key, each in requests.items()}
    # Those that see the same of the activations are filled together.
    alike: dict[Any, list[Key]] = {}
    for key, request in requests.items():
        seen_of_it = str(request.layout.to_json()), request.max_positions, id(partitions[key])
        alike.setdefault(seen_of_it, []).append(key)
    states: dict[str, Tensor | Distribution] = {
        f"{place}-{i}": each for place, some in enumerate(filled.values()) for i, each in enumerate(some)
    }
    if features is not None:
        states["features"] = vectors = torch.zeros(n_images or 0, extractor.layout[features])
    layers = {features, *(layer for request in requests.values() for layer in request.layout)}
    layout = extractor.layout.select([layer for layer in extractor.layout if layer in layers])

    def fill_(batch: ActivationBatch) -> None:
        if features is not None:
            vectors[list(batch.indices)] = image_means(batch.activations[features]).float().cpu()
        for keys in alike.values():
            request, dealt = requests[keys[0]], partitions[keys[0]].places
            if dealt is not None and isinstance(source, ImageSource):
                dealt.check_sizes(source.names, batch.indices, batch.sizes)
            x = request.layout.pick(batch.activations)
            x = {layer: subsample_positions(part, request.max_positions) for layer, part in x.items()}
            known = batch.hashes() if any(requests[key].kind == "features" for key in keys) else None
            for place, chosen, hashes in _seen_by(partitions[keys[0]], batch.indices, x, known):
                for key in keys:
                    filled[key][place].fill_(chosen, hashes)

    settings = [[request.settings(extractor), partitions[key].digest] for key, request in requests.items()]
    found: dict[str, Any] = {}
    if isinstance(source, ImageSource):
        first = layout, states, [*settings, features], fill_
        seen, found = run_works(source, extractor, beside or {}, reading, first=first)
    else:
        seen = run_pass(source, extractor, layout, reading, states, [*settings, features], fill_)
    seen.name = known_as
    origins = {id(each): _provenances(seen, extractor.name, each) for each in partitions.values()}
    dnas: dict[Key, dict[Any, VDNA]] = {}
    for key, request in requests.items():
        fingerprint, dnas[key] = extractor.fingerprint.select(list(request.layout)), {}
        parts = zip(partitions[key].parts, _complemented(filled[key], partitions[key]), strict=True)
        for (part, distribution), origin in zip(parts, origins[id(partitions[key])], strict=True):
            if distribution.n_images or partitions[key] is whole:
                distribution.check_finite()
                if distribution.grows:  # whatever order the images came in
                    distribution = distribution.copied()
                provenance = replace(origin, max_positions=request.max_positions)
                dnas[key][part] = VDNA(distribution.to("cpu"), fingerprint, provenance)
    kept = None if features is None else seen.rows(vectors)
    return MadeDNAs(dnas, seen.seen_names, tuple(seen.digests), tuple(seen.skipped), kept, found)


def _seen_by(
    partition: Partition[Any], indices: tuple[int, ...], activations: dict[str, Tensor], hashes: Tensor | None
) -> Iterator[tuple[int, dict[str, Tensor], Tensor | None]]:
    """Place of each state that sees something of a batch, what it sees, and the hashes of these images."""
    for place, rows in _parts_of(partition, indices):
        chosen, known = activations, hashes
        if rows is not None:
            chosen = some_images(activations, rows)
            known = None if hashes is None else hashes[rows]
        if partition.places is None:
            yield place, chosen, known
            continue
        within = indices if rows is None else [indices[row] for row in rows.tolist()]
        for row, one in enumerate(partition.places.chosen(chosen, within, place)):  # images differ in their positions
            yield place, one, None if known is None else known[row : row + 1]


def _parts_of(partition: Partition[Any], indices: tuple[int, ...]) -> Iterator[tuple[int, Tensor | None]]:
    """Place of each state that sees something of a batch, and which of its images; ``None`` for all."""
    if partition.complements:
        yield len(partition) // 2, None
    for part, places in partition.members(indices).items() if indices else [(0, ())]:
        if partition.complements and part % 2:
            continue
        rows = torch.from_numpy(places) if len(places) < len(indices) else None
        yield part // 2 if partition.complements else part, rows


def _complemented(distributions: list[Distribution], partition: Partition[Any]) -> list[Distribution]:
    """One distribution a part, of what a pass keeps."""
    if not partition.complements:
        return distributions
    *chosen, every = distributions
    return [side for one in chosen for side in (one, every.without(one))]


def _provenances(seen: Seen, extractor: str, partition: Partition[Any]) -> list[Provenance]:
    """Where the DNA of each part comes from: the one place that knows how parts are named and hashed."""
    names, place_of = seen.seen_names, {name: place for place, name in enumerate(seen.names)}
    members = partition.members(seen.indices)
    facts = seen.all_facts
    left_out = partition.members([place_of[name] for name, _ in seen.skipped])
    found = []
    for place, suffix in enumerate(partition.suffixes):
        here = members.get(place, ())
        digests = [seen.digests[i] for i in here]
        of_part = facts[list(here)] if seen.names else facts
        bad = [seen.skipped[i] for i in left_out.get(place, ())]
        skipped = tuple((partition.image_name(name), reason) for name, reason in bad)
        manifests = (manifest_hash([partition.image_name(names[i]) for i in here], digests),) if digests else ()
        account = ImageAccount.of(*(of_part[name] for name in FACTS.names or ()))
        clusters = partition.clusters_of([seen.indices[i] for i in here])
        named = (seen.name + suffix,)
        origin = Provenance(
            extractor, named, skipped, manifests, account=account, unread=seen.unread, clusters=clusters
        )
        found.append(origin)
    return found


def empty_distribution(
    kind: Kind,
    layout: NeuronLayout,
    extractor: FeatureExtractor,
    *,
    bins: int = 1000,
    ranges: RangesLike | None = None,
    feature_images: int = SAMPLE,
    device: torch.device | str = "cpu",
) -> Distribution:
    """A distribution of some of an extractor's neurons that has seen no image; arguments as in `build_dnas`."""
    if kind == "histogram":
        chosen = default_ranges(extractor) if ranges is None else as_ranges(ranges)
        if isinstance(chosen, ActivationRanges):
            chosen.check_fingerprint(extractor.fingerprint)
        return empty_histogram(layout, chosen, bins, device=device)
    if kind == "features":
        return FeatureSample.empty(layout, feature_images, device=device)
    if kind == "gaussian":
        return GaussianDistribution.empty(layout, device=device)
    return LayerGaussianDistribution.empty(layout, device=device)
