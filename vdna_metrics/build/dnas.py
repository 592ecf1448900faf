"""DNAs and activation ranges from images: one pass over the images for all kinds of DNA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vdna_metrics.build.reading import DEFAULT_READING, ImagesLike, Reading, one_pass
from vdna_metrics.distributions import (
    Distribution,
    GaussianDistribution,
    HistogramDistribution,
    Kind,
    LayerGaussianDistribution,
)
from vdna_metrics.dna.vdna import VDNA, ImageSizes, Provenance
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.functional.positions import check_max_positions, subsample_positions
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges, RangesSource, Widening, observe_extremes_
from vdna_metrics.references.store import find_ranges


def build_dnas(
    images: ImagesLike,
    extractor: FeatureExtractor,
    kinds: Sequence[Kind] = ("histogram",),
    *,
    bins: int = 1000,
    ranges: ActivationRanges | None = None,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    max_positions: int | None = None,
    name: str | None = None,
    reading: Reading = DEFAULT_READING,
) -> dict[Kind, VDNA]:
    """Make the DNAs of a set of images.

    Args:
        images: folder, archive, list, array, `ImageSource`, uint8 images ``[N, 3, H, W]``, or an iterable of such
            batches (or of tuples that start with one).
        extractor: frozen network.
        kinds: which DNAs to make.
        bins: bins of the histograms.
        ranges: activation ranges of the histograms, by default those that ship for the extractor.
        layers: layers to look at, by default all.
        neurons: of the neurons to look at, ``{layer: indices}``, a `NeuronSelection`, or its file.
        max_positions: of each image's positions at most so many are counted in histograms, see `subsample_positions`;
            such a DNA is not comparable with one of all positions.
        name: of the image set, by default the source's.
        reading: how images are read.

    Returns:
        ``{kind: DNA}``.

    Raises:
        ValueError: for unreadable images (unless skipped), no images, unknown layers, or missing ranges.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> build_dnas(np.zeros((5, 8, 8, 3), np.uint8), extractor, ["gaussian"], name="black")["gaussian"]
        VDNA(gaussian of 5 images of black: 3 neurons in 1 layers of AvgPool2d)
    """
    check_max_positions(max_positions)
    layout = extractor.layout.select(layers, chosen_neurons(neurons, extractor.fingerprint))
    distributions: dict[Kind, Distribution] = {
        kind: empty_distribution(kind, layout, extractor, bins=bins, ranges=ranges, device=reading.device)
        for kind in kinds
    }
    fingerprint = extractor.fingerprint.select(list(layout))
    states: dict[str, Tensor] = {kind: distribution.state for kind, distribution in distributions.items()}
    settings = [fingerprint.digest, layout.to_json(), bins, max_positions]
    histogram = distributions.get("histogram")
    if isinstance(histogram, HistogramDistribution):
        settings += [histogram.ranges.low.tolist(), histogram.ranges.high.tolist()]

    def fill_(activations: dict[str, Tensor], _indices: tuple[int, ...]) -> None:
        for kind, distribution in distributions.items():
            # Moments are of means over all positions, which cost next to nothing.
            at_most = max_positions if kind == "histogram" else None
            distribution.fill_({layer: subsample_positions(x, at_most) for layer, x in activations.items()})

    seen = one_pass(images, extractor, layout, reading, states, settings, fill_)
    provenance = Provenance(
        extractor.name,
        sources=(name or seen.name,),
        skipped=tuple(seen.skipped),
        manifests=() if seen.manifest is None else (seen.manifest,),
        sizes=ImageSizes.of(seen.sizes) if seen.sizes else None,
    )
    dnas = {}
    for kind, distribution in distributions.items():
        distribution.check_finite()
        positions = max_positions if kind == "histogram" else None
        dnas[kind] = VDNA(distribution.to("cpu"), fingerprint, replace(provenance, max_positions=positions))
    return dnas


def empty_distribution(
    kind: Kind,
    layout: NeuronLayout,
    extractor: FeatureExtractor,
    *,
    bins: int = 1000,
    ranges: ActivationRanges | None = None,
    device: torch.device | str = "cpu",
) -> Distribution:
    """A distribution of some of an extractor's neurons that has seen no image; arguments as in `build_dnas`."""
    if kind == "histogram":
        chosen = ranges if ranges is not None else find_ranges(extractor)
        chosen.check_fingerprint(extractor.fingerprint)
        return HistogramDistribution.empty(chosen.for_layout(layout), bins, device=device)
    if kind == "gaussian":
        return GaussianDistribution.empty(layout, device=device)
    if kind == "layer_gaussian":
        return LayerGaussianDistribution.empty(layout, device=device)
    raise ValueError(f"unknown kind {kind!r}; known: histogram, gaussian, layer_gaussian")


def calibrate(
    images: ImagesLike,
    extractor: FeatureExtractor,
    *,
    widen: Widening = "margin",
    layers: Sequence[str] | None = None,
    name: str | None = None,
    reading: Reading = DEFAULT_READING,
) -> ActivationRanges:
    """Find each neuron's smallest and largest activation over a set of images.

    Args:
        images: as in `build_dnas`.
        extractor: frozen network.
        widen: widening rule, see `ActivationRanges`.
        layers: layers to look at, by default all.
        name: of the image set, by default the source's.
        reading: how images are read.

    Raises:
        ValueError: for unreadable images (unless skipped), no images, or activations that are not finite.
    """
    layout = extractor.layout.select(layers)
    fingerprint = extractor.fingerprint.select(list(layout))
    low = torch.full((layout.total,), torch.inf, device=reading.device)
    high = torch.full_like(low, -torch.inf)

    def widen_(activations: dict[str, Tensor], _indices: tuple[int, ...]) -> None:
        observe_extremes_(low, high, layout, activations)

    settings = [fingerprint.digest, layout.to_json()]
    seen = one_pass(images, extractor, layout, reading, {"low": low, "high": high}, settings, widen_)
    if not seen.count:
        i, n = reading.shard
        raise ValueError(f"{seen.name}: no images in part {i + 1} of {n}, use fewer parts")
    return ActivationRanges(
        layout=layout,
        observed_low=low,
        observed_high=high,
        widen=widen,
        n_images=seen.count,
        fingerprint=fingerprint,
        sets=(RangesSource(name or seen.name, seen.count, seen.manifest, tuple(seen.skipped)),),
    )
