"""Activation ranges from images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vdna_metrics.build.passes import ActivationBatch, run_pass
from vdna_metrics.build.reading import DEFAULT_READING, ImagesLike, Reading
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.ranges import ActivationRanges, RangesSource, Widening, observe_extremes_


def calibrate(
    images: ImagesLike,
    extractor: ExtractorLike,
    *,
    widen: Widening = "margin",
    layers: Sequence[str] | None = None,
    name: str | None = None,
    reading: Reading = DEFAULT_READING,
) -> ActivationRanges:
    """Find each neuron's smallest and largest activation over a set of images.

    Args:
        images: as in `build_dnas`.
        extractor: frozen network, or its name.
        widen: widening rule, see `ActivationRanges`.
        layers: layers to look at, by default all.
        name: of the image set, by default the source's.
        reading: how images are read.

    Raises:
        ValueError: for unreadable images (unless skipped), no images, or activations that are not finite.
    """
    network = create_extractor(extractor)
    layout = network.layout.select(layers)
    fingerprint = network.fingerprint.select(list(layout))
    low = torch.full((layout.total,), torch.inf, device=reading.device)
    high = torch.full_like(low, -torch.inf)

    def widen_(batch: ActivationBatch) -> None:
        observe_extremes_(low, high, layout, batch.activations)

    settings = [fingerprint.digest, layout.to_json()]
    seen = run_pass(images, network, layout, reading, {"low": low, "high": high}, settings, widen_)
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
