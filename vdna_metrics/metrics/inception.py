"""FID with torchmetrics' signature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from vdna_metrics.dna.distances import LFD, Distance
from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.preprocess import PreprocessingMode
from vdna_metrics.extractors.registry import create_extractor, raw_module_extractor
from vdna_metrics.metrics.base import ReferenceLike
from vdna_metrics.metrics.distances import GaussianDistanceMetric
from vdna_metrics.neurons import NeuronSelection

_SELECTIONS = (NeuronSelection, str, Path)
_LAYERS = {64: "block_0", 192: "block_1", 768: "block_2", 2048: "block_3"}


class FrechetInceptionDistance(GaussianDistanceMetric):
    r"""FID: the Fréchet distance between Gaussians of the FID Inception's features.

    The first six arguments are those of ``torchmetrics.image.fid.FrechetInceptionDistance``, so that one changed
    import is enough. It agrees with it, apart from what is better here: floats are scaled with rounding where
    torchmetrics truncates, covariances that are rank deficient give a correct distance, ``forward`` does not count
    real images twice, and states reduce over ranks instead of being gathered.

    Args:
        feature: 64, 192, 768 or 2048, the layer of the FID Inception by its number of neurons; or a
            ``torch.nn.Module`` that takes the images as they are given and returns ``[N, d]``.
        reset_real_features: whether ``reset`` forgets real images.
        normalize: whether images are floats in [0, 1] instead of uint8.
        input_img_size: for a module: size of the image that finds its ``d``, ``(3, H, W)``.
        feature_extractor_weights_path: local weights file of the FID Inception, as pytorch-fid and torch-fidelity
            publish it; downloaded when absent.
        antialias: whether images are resized with antialiasing; ``False`` resizes as TensorFlow 1 did.
        preprocessing: how images are resized instead of by ``antialias``, which a reference of others asks for:
            ``"clean"`` as clean-fid, ``"legacy_tensorflow"`` as ADM, StyleGAN, EDM and torch-fidelity,
            ``"legacy_pytorch"`` as pytorch-fid, ``"torchmetrics"``; see `Preprocessing`.
        neurons: of the neurons to look at, indices, a `NeuronSelection`, or its file; the distance of their marginal, a
            submatrix of the covariance.
        reference: layer Gaussian DNA of the real images: a ``VDNA``, a path, or a name from the store.
        state_device: where moments are kept, by default the metric's device.
        metric_kwargs: of ``torchmetrics.Metric``.

    Raises:
        TypeError: when ``feature`` is neither an int nor a module.
        ValueError: for another number, or weights that cannot be had.

    Source:
        Heusel et al.: GANs trained by a two time-scale update rule, NeurIPS 2017.

    Examples:
        >>> from vdna_metrics import FrechetInceptionDistance
        >>> features = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
        >>> fid = FrechetInceptionDistance(features, normalize=True, input_img_size=(3, 8, 8))
        >>> images = torch.rand(50, 3, 8, 8)
        >>> fid.update(images, real=True)
        >>> fid.update(images, real=False)
        >>> bool(fid.compute() < 1e-9)
        True
    """

    distance: ClassVar[Distance] = LFD

    def __init__(
        self,
        feature: int | nn.Module = 2048,
        reset_real_features: bool = True,
        normalize: bool = False,
        input_img_size: tuple[int, int, int] = (3, 299, 299),
        feature_extractor_weights_path: str | Path | None = None,
        antialias: bool = True,
        *,
        preprocessing: PreprocessingMode | None = None,
        neurons: Sequence[int] | torch.Tensor | NeuronSelection | str | Path | None = None,
        reference: ReferenceLike | None = None,
        state_device: torch.device | str | None = None,
        **metric_kwargs: Any,
    ) -> None:
        extractor, layer = _extractor(
            feature, normalize, input_img_size, feature_extractor_weights_path, antialias, preprocessing
        )
        super().__init__(
            extractor,
            reference=reference,
            layers=[layer],
            neurons=neurons if neurons is None or isinstance(neurons, _SELECTIONS) else {layer: neurons},
            weights=None,
            weights_path=None,
            reduction="mean",
            normalize=normalize,
            reset_real_features=reset_real_features,
            state_device=state_device,
            **metric_kwargs,
        )


def _extractor(
    feature: int | nn.Module,
    normalize: bool,
    input_img_size: tuple[int, int, int],
    weights_path: str | Path | None,
    antialias: bool,
    preprocessing: PreprocessingMode | None,
) -> tuple[FeatureExtractor, str]:
    if isinstance(feature, nn.Module):
        if preprocessing is not None:
            raise ValueError(
                f"preprocessing={preprocessing!r} is for the FID Inception; a module gets images as they are given"
            )
        dtype = torch.float32 if normalize else torch.uint8
        return raw_module_extractor(feature, probe=torch.zeros(1, *input_img_size, dtype=dtype)), "output"
    if not isinstance(feature, int) or isinstance(feature, bool):
        raise TypeError(f"feature must be an int or a torch.nn.Module, got {type(feature).__name__}")
    if feature not in _LAYERS:
        raise ValueError(f"feature must be one of {tuple(_LAYERS)}, got {feature}")
    if preprocessing is None:
        preprocessing = "torchmetrics" if antialias else "legacy_tensorflow"
    elif not antialias:
        raise ValueError(f"antialias=False and preprocessing={preprocessing!r}: give one of them")
    if preprocessing not in FID_INCEPTIONS:
        raise ValueError(f"preprocessing must be one of {', '.join(FID_INCEPTIONS)}, got {preprocessing!r}")
    return create_extractor(FID_INCEPTIONS[preprocessing], weights_path=weights_path), _LAYERS[feature]
