"""DNAs of the groups of a set of images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from vdna_metrics.analysis.activations import NumberedImages, iterate_activations, open_numbered
from vdna_metrics.build.dnas import empty_distribution
from vdna_metrics.build.reading import DEFAULT_READING, Reading
from vdna_metrics.distributions import Distribution, Kind
from vdna_metrics.dna.vdna import VDNA, ImageSizes, Provenance
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.functional.positions import check_max_positions, subsample_positions
from vdna_metrics.images.sources import manifest_hash
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges


def build_group_dnas(
    images: NumberedImages,
    extractor: FeatureExtractor,
    kinds: Sequence[Kind] = ("histogram",),
    *,
    groups: Sequence[Hashable] | None = None,
    bins: int = 1000,
    ranges: ActivationRanges | None = None,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    max_positions: int | None = None,
    name: str | None = None,
    reading: Reading = DEFAULT_READING,
) -> dict[Kind, dict[Any, VDNA]]:
    """Make the DNAs of each group of a set of images, of each class folder by default, in one pass.

    The groups add up to what `build_dnas` makes of all: counts exactly, since the network sees the same batches. One
    state a group and kind is kept: 8 bytes for each bin of each neuron, 11 MB with ``vdna_tiny`` and 1000 bins.

    Args:
        images: source, folder, archive, list, array, or uint8 images ``[N, 3, H, W]``.
        extractor: frozen network.
        kinds: which DNAs to make.
        groups: the group of each image, in the source's order; by default its first folder, `ImageSource.groups`.
        bins: bins of the histograms.
        ranges: activation ranges of the histograms, by default those that ship for the extractor.
        layers: layers to look at, by default all.
        neurons: of the neurons to look at, ``{layer: indices}``, a `NeuronSelection`, or its file.
        max_positions: as in `build_dnas`.
        name: of the image set, by default the source's.
        reading: how images are read; a shard gives a part of each group.

    Returns:
        ``{kind: {group: DNA}}``, groups in the order of their first images; one of which no image could be read is not
        there.

    Raises:
        ValueError: for unreadable images (unless skipped), another number of groups than of images, unknown layers,
            or missing ranges.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> images = np.zeros((5, 8, 8, 3), np.uint8)
        >>> build_group_dnas(images, extractor, ["gaussian"], groups=["a", "b", "a", "a", "b"])["gaussian"]["b"]
        VDNA(gaussian of 2 images of array/b: 3 neurons in 1 layers of AvgPool2d)
    """
    check_max_positions(max_positions)
    source = open_numbered(images)
    of_image: Sequence[Hashable] = source.groups if groups is None else groups
    if len(of_image) != len(source):
        raise ValueError(f"{source.name}: {len(source)} images and {len(of_image)} groups; give each image its group")
    layout = extractor.layout.select(layers, chosen_neurons(neurons, extractor.fingerprint))
    empty = {
        kind: empty_distribution(kind, layout, extractor, bins=bins, ranges=ranges, device=reading.device)
        for kind in kinds
    }
    states: dict[Hashable, dict[Kind, Distribution]] = {}
    seen: dict[Hashable, list[tuple[int, str, tuple[int, int]]]] = {}
    skipped: dict[Hashable, list[tuple[str, str]]] = {}
    group_of_name = dict(zip(source.names, of_image, strict=True))
    for batch in iterate_activations(source, extractor, layout, reading):
        for bad in batch.skipped:
            skipped.setdefault(group_of_name[bad.name], []).append((bad.name, bad.reason))
        places: dict[Hashable, list[int]] = {}
        for place, index in enumerate(batch.indices):
            places.setdefault(of_image[index], []).append(place)
        for group, chosen in places.items():
            distributions = states.setdefault(
                group, {kind: part.with_state(torch.zeros_like(part.state)) for kind, part in empty.items()}
            )
            rows = torch.tensor(chosen, device=reading.device)
            activations = {layer: x.index_select(1, rows) for layer, x in batch.activations.items()}
            for kind, distribution in distributions.items():
                at_most = max_positions if kind == "histogram" else None
                distribution.fill_({layer: subsample_positions(x, at_most) for layer, x in activations.items()})
            seen.setdefault(group, []).extend(
                (batch.indices[place], batch.digests[place], batch.sizes[place]) for place in chosen
            )
    fingerprint = extractor.fingerprint.select(list(layout))
    dnas: dict[Kind, dict[Any, VDNA]] = {kind: {} for kind in kinds}
    for group in states:
        indices, digests, sizes = zip(*seen[group], strict=True)
        names = [source.names[index] for index in indices]
        if groups is None and group:  # as of that folder by itself
            names = [name.partition("/")[2] for name in names]
        for kind, distribution in states[group].items():
            distribution.check_finite()
            provenance = Provenance(
                extractor.name,
                sources=(f"{name or source.name}/{group}" if group != "" else name or source.name,),
                skipped=tuple(skipped.get(group, ())),
                manifests=(manifest_hash(names, digests),),
                max_positions=max_positions if kind == "histogram" else None,
                sizes=ImageSizes.of(sizes),
            )
            dnas[kind][group] = VDNA(distribution.to("cpu"), fingerprint, provenance)
    return dnas
