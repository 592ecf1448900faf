"""DNAs and activation ranges from images: one pass over the images for all kinds of DNA."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import (
    Distribution,
    GaussianDistribution,
    HistogramDistribution,
    Kind,
    LayerGaussianDistribution,
)
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.layout import NeuronLayout, NeuronSelectionLike
from vdna_metrics.ranges import ActivationRanges, Widening, observe_extremes_
from vdna_metrics.references.images import ImageSource, iterate_images, manifest_hash, open_images
from vdna_metrics.references.store import find_ranges

ImagesLike = ImageSource | str | Path | NDArray[np.uint8] | Tensor | Iterable[Any]
"""A source, what `open_images` opens, uint8 ``[N, 3, H, W]``, or an iterable of such batches, as a DataLoader."""

Progress = Callable[[int, int | None], None]
"""Called after each batch with the number of images done and, where it is known, of all images."""


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Args:
        batch_size: images a forward.
        workers: decoding processes, 0 to decode in this one.
        skip_bad: leave images out that cannot be read; they are named in the provenance.
        device: where the network runs.
        progress: called after each batch.
    """

    batch_size: int = 32
    workers: int = 0
    skip_bad: bool = False
    device: torch.device | str = "cpu"
    progress: Progress | None = None


def build_dnas(
    images: ImagesLike,
    extractor: FeatureExtractor,
    kinds: Sequence[Kind] = ("histogram",),
    *,
    bins: int = 1000,
    ranges: ActivationRanges | None = None,
    layers: Sequence[str] | None = None,
    neurons: NeuronSelectionLike | None = None,
    name: str | None = None,
    reading: Reading = Reading(),
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
        neurons: ``{layer: indices}`` of the neurons to look at.
        name: of the image set, by default the source's.
        reading: how images are read.

    Returns:
        ``{kind: DNA}``.

    Raises:
        ValueError: for unreadable images (unless skipped), no images, unknown layers, or missing ranges.

    Examples:
        >>> from vdna_metrics import create_extractor
        >>> extractor = create_extractor(torch.nn.AvgPool2d(4))
        >>> build_dnas(np.zeros((5, 8, 8, 3), np.uint8), extractor, ["gaussian"], name="black")["gaussian"]
        VDNA(gaussian of 5 images of black: 3 neurons in 1 layers of AvgPool2d)
    """
    layout = extractor.layout.select(layers, neurons)
    distributions: dict[Kind, Distribution] = {}
    for kind in kinds:
        if kind == "histogram":
            chosen = ranges if ranges is not None else find_ranges(extractor.name)
            chosen.check_fingerprint(extractor.fingerprint)
            distributions[kind] = HistogramDistribution.empty(chosen.for_layout(layout), bins, device=reading.device)
        elif kind == "gaussian":
            distributions[kind] = GaussianDistribution.empty(layout, device=reading.device)
        elif kind == "layer_gaussian":
            distributions[kind] = LayerGaussianDistribution.empty(layout, device=reading.device)
        else:
            raise ValueError(f"unknown kind {kind!r}; known: histogram, gaussian, layer_gaussian")
    seen = _Seen()
    for activations in _activations(images, extractor, layout, reading, seen):
        for distribution in distributions.values():
            distribution.fill_(activations)
    provenance = Provenance(
        extractor.name,
        sources=(name or seen.name,),
        skipped=tuple(seen.skipped),
        manifests=(manifest_hash(seen.names, seen.digests),) if seen.digests else (),
    )
    fingerprint = extractor.fingerprint.select(list(layout))
    dnas = {}
    for kind, distribution in distributions.items():
        distribution.check_finite()
        dnas[kind] = VDNA(distribution.to("cpu"), fingerprint, provenance)
    return dnas


def calibrate(
    images: ImagesLike,
    extractor: FeatureExtractor,
    *,
    widen: Widening = "margin",
    layers: Sequence[str] | None = None,
    name: str | None = None,
    reading: Reading = Reading(),
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
    low = torch.full((layout.total,), torch.inf, device=reading.device)
    high = torch.full_like(low, -torch.inf)
    seen = _Seen()
    for activations in _activations(images, extractor, layout, reading, seen):
        observe_extremes_(low, high, layout, activations)
    return ActivationRanges(
        layout=layout,
        observed_low=low,
        observed_high=high,
        widen=widen,
        n_images=seen.count,
        sources=(name or seen.name,),
        fingerprint=extractor.fingerprint.select(list(layout)),
    )


@dataclass
class _Seen:
    """What a pass over images leaves beside its activations."""

    name: str = "tensors"
    count: int = 0
    names: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Resize:
    """One image to the network's size; done by the decoding workers."""

    preprocess: Preprocessing

    def __call__(self, image: Tensor) -> Tensor:
        return self.preprocess.resize(image[None])[0]


def _activations(
    images: ImagesLike, extractor: FeatureExtractor, layout: NeuronLayout, reading: Reading, seen: _Seen
) -> Iterator[dict[str, Tensor]]:
    lease = extractor.lease(list(layout))  # held as long as images come
    for activations, total in _batches(images, extractor, reading, seen):
        seen.count += next(iter(activations.values())).shape[1]
        yield layout.pick(activations)
        if reading.progress is not None:
            reading.progress(seen.count, total)
    del lease
    if not seen.count:
        raise ValueError(f"{seen.name}: no images")


def _batches(
    images: ImagesLike, extractor: FeatureExtractor, reading: Reading, seen: _Seen
) -> Iterator[tuple[dict[str, Tensor], int | None]]:
    if isinstance(images, ImageSource):
        source = images
    elif isinstance(images, str | Path | np.ndarray) or _are_paths(images):
        source = open_images(images)
    else:
        for item in images.split(reading.batch_size) if isinstance(images, Tensor) else images:
            yield extractor(_images_of(item).to(reading.device)), None
        return
    seen.name = source.name
    total = len(source)
    for batch in iterate_images(
        source,
        transform=_Resize(extractor.preprocess),
        batch_size=reading.batch_size,
        workers=reading.workers,
        skip_bad=reading.skip_bad,
    ):
        seen.names += [source.names[index] for index in batch.indices]
        seen.digests += batch.digests
        seen.skipped += [(bad.name, bad.reason) for bad in batch.skipped]
        yield extractor.from_resized(batch.images.to(reading.device, non_blocking=True)), total - len(seen.skipped)


def _are_paths(images: Iterable[Any]) -> TypeGuard[Sequence[str | Path]]:
    return isinstance(images, Sequence) and len(images) > 0 and isinstance(images[0], str | Path)


def _images_of(item: object) -> Tensor:
    images = item[0] if isinstance(item, tuple | list) and item else item
    if not isinstance(images, Tensor):
        raise TypeError(f"batches must be tensors, or tuples that start with one, got {type(item).__name__}")
    return images
