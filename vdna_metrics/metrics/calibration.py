"""Calibration of activation ranges as a metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vdna_metrics.distributions.base import CHANGED, check_unchanged
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.extractors.directions import DirectionsLike
from vdna_metrics.extractors.modes import Crop, PreprocessingMode
from vdna_metrics.extractors.precomputed import FeaturesLike
from vdna_metrics.extractors.registry import ExtractorLike, extractor_and_layout
from vdna_metrics.metrics.extractor_metric import ExtractorMetric
from vdna_metrics.ranges import ActivationRanges, Widening, observe_extremes_


class ActivationRange(ExtractorMetric):
    """Smallest and largest activation of every neuron, over batches and ranks.

    Args:
        extractor: a name (see `get_spec`), an ``ExtractorSpec``, or any ``torch.nn.Module``.
        layers: names of the layers to look at; module paths where it has none of its own, as modules.
        normalize: whether images are floats in [0, 1] instead of uint8.
        state_device: where extremes are kept, by default the metric's device.
        weights_path: local file of the network's weights.
        size: of a module: to which images are resized, see `create_extractor`.
        mean: of a module: subtracted from images in [0, 1].
        std: of a module: then divided by.
        crop: what of an image is looked at, see `Preprocessing`.
        preprocessing: of a module: how images are resized, see `Preprocessing`.
        directions: ``{layer: number of directions, or these}`` to look along besides, see `create_extractor`.
        trust_code: whether ``extractor`` may run the code of a file.
        metric_kwargs: of ``torchmetrics.Metric``.

    Examples:
        >>> from vdna_metrics import ActivationRange
        >>> calibration = ActivationRange(torch.nn.AvgPool2d(8))
        >>> calibration.update(torch.full((1, 3, 8, 8), 51, dtype=torch.uint8))
        >>> calibration.update(torch.full((1, 3, 8, 8), 204, dtype=torch.uint8))
        >>> calibration.ranges(widen="none").high
        tensor([0.8000, 0.8000, 0.8000])
    """

    low: Tensor
    high: Tensor
    n_images: Tensor

    def __init__(
        self,
        extractor: ExtractorLike = "mugs_vit_base",
        *,
        layers: Sequence[str] | None = None,
        normalize: bool = False,
        state_device: torch.device | str | None = None,
        weights_path: str | Path | None = None,
        size: int | tuple[int, int] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        crop: Crop | None = None,
        preprocessing: PreprocessingMode | None = None,
        directions: DirectionsLike | None = None,
        trust_code: bool = False,
        **metric_kwargs: Any,
    ) -> None:
        built, layout = extractor_and_layout(
            extractor, layers, weights_path=weights_path, size=size, mean=mean, std=std, crop=crop,
            preprocessing=preprocessing, directions=directions, trust_code=trust_code,
        )  # fmt: skip
        super().__init__(built, layout, normalize, state_device, **metric_kwargs)
        infinite = torch.full((self.layout.total,), torch.inf, dtype=torch.float32, device=self._states_device)
        self.add_state("low", infinite, dist_reduce_fx="min")
        self.add_state("high", -infinite, dist_reduce_fx="max")
        count = torch.zeros((), dtype=torch.int64, device=self._states_device)
        self.add_state("n_images", count, dist_reduce_fx="sum")
        self._add_settings()

    # Hooks and inference mode are not for the compiler.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def update(self, imgs: Tensor | FeaturesLike) -> None:
        """Look at images.

        Args:
            imgs: ``[N, 3, H, W]`` uint8, or float in [0, 1] with ``normalize=True``, on the metric's device; or what
                `PrecomputedFeatures` takes.

        Raises:
            ValueError: for another shape or images out of range.
            TypeError: for another dtype.
        """
        activations, changed = self._activations(imgs)
        n_images = next(iter(activations.values())).shape[1]
        if not n_images:
            return
        with torch.inference_mode():
            observe_extremes_(self.low, self.high, self.layout, activations)
            self.n_images += n_images
            if changed is not None:
                self.n_images += changed.to(self.n_images.device) * CHANGED

    def compute(self) -> dict[str, Tensor]:
        """Smallest and largest activation, ``{layer: [neurons, 2]}``.

        Raises:
            ValueError: when no image was seen, or activations were not finite.
        """
        self._check_weights()
        check_unchanged(int(self.n_images))
        if not self.n_images:
            raise ValueError("no images yet: call update(imgs) first")
        both = torch.stack([self.low, self.high], dim=1)
        bad = [layer for layer, part in self.layout.split(both).items() if not part.isfinite().all()]
        if bad:
            raise ValueError(f"activations are not finite (NaN or infinite) in layers {', '.join(bad)}")
        return self.layout.split(both)

    def ranges(self, widen: Widening = "margin", *, sources: Sequence[str] = ()) -> ActivationRanges:
        """The calibrated ranges, over all ranks.

        Args:
            widen: widening rule, see `ActivationRanges`.
            sources: names of the image sets, to be kept with the ranges.
        """
        with self.sync_context(should_sync=self._to_sync):
            both = torch.cat(list(ActivationRange.compute(self).values())).cpu()
            n_images = int(self.n_images)
        return ActivationRanges(
            layout=self.layout,
            observed_low=both[:, 0],
            observed_high=both[:, 1],
            widen=widen,
            n_images=n_images,
            sources=tuple(sources),
            fingerprint=self.fingerprint,
        )

    def _reduce_over_ranks(self, ranks: Ranks) -> None:
        self.low = ranks.all_reduce(self.low.clone(), torch.distributed.ReduceOp.MIN)
        self.high = ranks.all_reduce(self.high.clone(), torch.distributed.ReduceOp.MAX)
        self.n_images = ranks.all_reduce(self.n_images.clone())
