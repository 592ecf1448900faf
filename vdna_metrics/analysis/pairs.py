"""Distances between images: one against many, or pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from torch import Tensor

from vdna_metrics.analysis.ranking import ImageRanking, column_with, default_distance, rank_by, settings_of
from vdna_metrics.build.dnas import empty_distribution
from vdna_metrics.build.passes import ActivationBatch, identity
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading, open_numbered
from vdna_metrics.distributions import Distribution, HistogramDistribution
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.distances import bin_widths
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.functional.emd import EMDUnit, image_pair_emd
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.positions import check_max_positions, subsample_positions
from vdna_metrics.images.batches import ImageBatch, iterate_images
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike, chosen_neurons
from vdna_metrics.ranges import ActivationRanges


def compare_images(
    a: NumberedImages,
    b: NumberedImages,
    extractor: ExtractorLike,
    *,
    kind: Literal["histogram", "gaussian"] = "histogram",
    bins: int = 1000,
    ranges: ActivationRanges | None = None,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit | None = None,
    max_positions: int | None = None,
    pictures: int = 0,
    reading: Reading = DEFAULT_READING,
) -> ImageRanking:
    """Distances between images: one against many, or pair by pair.

    By histograms, a neuron's distance is the EMD between the two images' own counts; by Gaussians it is ``(x − y)²``,
    between their mean activations.

    Args:
        a: one image, or as many as ``b``.
        b: the images; their i-th is compared with the one, or with the i-th of ``a``.
        extractor: frozen network, or its name.
        kind: which distance.
        bins: bins of the histograms.
        ranges: activation ranges of the histograms, by default those that ship for the extractor.
        layers: layers to look at, ``None`` for all.
        neurons: of the neurons to look at, as in `compare`.
        weights: as in `compare`.
        unit: of the EMD, by default bins.
        max_positions: of each image's positions at most so many are counted in histograms.
        pictures: how many of the nearest and of the farthest images of ``b`` to keep.
        reading: how images are read.

    Returns:
        A ranking of ``b``.

    Raises:
        ValueError: when there are neither one nor as many images, or they cannot be read; pairs cannot skip bad ones.

    Examples:
        >>> import torch
        >>> from vdna_metrics import create_extractor
        >>> pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
        >>> found = compare_images(pixels[:1], pixels, create_extractor("vdna_tiny"))
        >>> [image.index for image in found.nearest(1)]
        [0]
    """
    if kind not in ("histogram", "gaussian"):
        raise ValueError(f"kind must be histogram or gaussian, got {kind!r}")
    check_max_positions(max_positions)
    column = column_with(default_distance(kind), weights, unit)
    network, left, right = create_extractor(extractor), open_numbered(a), open_numbered(b)
    if len(left) not in (1, len(right)):
        raise ValueError(f"one image or as many as the other side are needed, got {len(left)} and {len(right)}")
    if len(left) > 1 and reading.skip_bad:
        raise ValueError("pairs of images cannot be kept together when bad ones are skipped; give skip_bad=False")
    layout = network.layout.select(layers, chosen_neurons(neurons, network.fingerprint))
    empty = empty_distribution(kind, layout, network, bins=bins, ranges=ranges)
    partner, of_pair = _partners(left, network, layout, reading), _of_pairs(empty, column, max_positions)
    return rank_by(
        right,
        network,
        layout,
        lambda batch: of_pair(batch.activations, partner(batch)),
        reading,
        column=column,
        reference=left.name,
        settings=[identity(left), settings_of(empty), max_positions],
        pictures=pictures,
    )


def _partners(
    left: ImageSource, extractor: FeatureExtractor, layout: NeuronLayout, reading: Reading
) -> Callable[[ActivationBatch], dict[str, Tensor]]:
    """Activations of the partners of a batch's images: of the one image, or of the images in the same places."""
    kept: dict[str, Tensor] = {}
    coming: Iterator[ImageBatch] | None = None
    reading = reading.on_this_rank()

    def activations(images: Tensor) -> dict[str, Tensor]:
        return layout.pick(extractor.from_resized(images.to(reading.device, non_blocking=True)))

    def partner(batch: ActivationBatch) -> dict[str, Tensor]:
        nonlocal coming, kept
        if coming is None:  # at the first batch, which after an interrupt is a later one
            coming = iterate_images(
                left,
                transform=ResizeImage(extractor.preprocess),
                batch_size=reading.batch_size,
                workers=reading.workers,
                shard=(0, 1) if len(left) == 1 else reading.shard,
                first_batch=0 if len(left) == 1 else batch.indices[0] // reading.batch_size,
            )
            kept = activations(next(coming).images)
        elif len(left) > 1:
            kept = activations(next(coming).images)
        return kept

    return partner


def _of_pairs(
    empty: Distribution, column: Column, max_positions: int | None
) -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]:
    """Of two sides' activations, of which the second may be of one image, ``{layer: [images, neurons]}``."""
    layout = empty.layout
    if not isinstance(empty, HistogramDistribution):
        return lambda a, b: {layer: (image_means(a[layer]) - image_means(b[layer])).square_() for layer in layout}
    ends = empty.ranges.low, empty.ranges.high
    low, high, scale = map(layout.split, (*ends, bin_widths(empty, column.options["unit"])))

    def emd(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for layer in layout:
            x, y = (subsample_positions(side[layer], max_positions) for side in (a, b))
            y = y.expand(-1, x.shape[1], -1)
            found[layer] = image_pair_emd(x, y, low[layer], high[layer], empty.bins)
            found[layer].mul_(scale[layer].to(found[layer].device))
        return found

    return emd
