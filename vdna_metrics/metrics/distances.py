"""Distances as metrics: what those of a kind share, and the three of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from vdna_metrics.distributions import (
    GaussianDistribution,
    Histogram,
    HistogramDistribution,
    LayerGaussianDistribution,
    empty_histogram,
)
from vdna_metrics.dna.distances import EMD, LFD, NFD, Distance, Reduction
from vdna_metrics.dna.feature_distances import NWD
from vdna_metrics.extractors.registry import ExtractorLike, NetworkOptions
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.emd import EMDUnit
from vdna_metrics.functional.positions import check_max_positions
from vdna_metrics.metrics.base import DistanceMetric, ReferenceLike
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike
from vdna_metrics.ranges import ActivationRanges, GivenRanges, RangesLike, as_ranges

if TYPE_CHECKING:
    from typing_extensions import Unpack


class DistanceMetricOptions(NetworkOptions, total=False):
    """Keyword arguments of every distance metric, those of ``torchmetrics.Metric`` last."""

    reference: ReferenceLike | None
    layers: Sequence[str] | None
    neurons: NeuronsLike | None
    weights: NeuronWeightsLike | None
    reduction: Reduction
    normalize: bool
    reset_real_features: bool
    state_device: torch.device | str | None
    compute_on_cpu: bool
    dist_sync_on_step: bool
    process_group: Any
    dist_sync_fn: Callable[..., Any] | None
    distributed_available_fn: Callable[..., Any] | None
    sync_on_compute: bool
    compute_with_cache: bool


class HistogramMetricOptions(DistanceMetricOptions, total=False):
    """Keyword arguments of every distance metric of histograms."""

    bins: int
    ranges: RangesLike | None
    max_positions: int | None
    allow_subsampled: bool


class GaussianDistanceMetric(DistanceMetric):
    """A distance between Gaussians, of each neuron or of each layer, as a metric; a subclass names its ``distance``.

    Arguments are those of `DistanceMetric`.
    """

    def __init__(self, extractor: ExtractorLike = "mugs_vit_base", **options: Unpack[DistanceMetricOptions]) -> None:
        super().__init__(extractor, **options)
        of = LayerGaussianDistribution if self.kind == "layer_gaussian" else GaussianDistribution
        self._prepare_states(of.empty(self.layout, device=self._states_device))


class HistogramDistanceMetric(DistanceMetric):
    """A distance between histograms as a metric; a subclass names its ``distance``, and gives its options if any.

    Other arguments are those of `DistanceMetric`.

    Args:
        extractor: as in `DistanceMetric`.
        bins: bins of each histogram; those of the reference must agree.
        ranges: activation ranges, a path to them, or ``"auto"`` for histograms that find their own. By default those of
            the reference, else those that ship for the extractor, else ``"auto"``.
        max_positions: look at no more positions of each image and layer than so many, always the same ones (see
            `subsample_positions`); counting costs less, and the distance is an estimate. By default all.
        allow_subsampled: take a reference of which other positions were looked at.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Examples:
        >>> from vdna_metrics.dna import Distance
        >>> def overlap(reference, generated):
        ...     sides = [side.counts / side.counts.sum(dim=1, keepdim=True) for side in (reference, generated)]
        ...     return reference.layout.split(torch.minimum(*sides).sum(dim=1).double())
        >>> class Overlap(HistogramDistanceMetric):
        ...     distance = Distance(
        ...         "overlap", "overlap", "Which share of the histograms lies in both.", "histogram", overlap,
        ...         direction="higher", neutral=1.0,
        ...     )
        >>> ranges = ActivationRanges.from_extremes({"output": [0.0] * 3}, {"output": [1.0] * 3}, widen="none")
        >>> metric = Overlap(torch.nn.AvgPool2d(8), ranges=ranges, bins=10)
        >>> metric.update(torch.full((2, 3, 8, 8), 51, dtype=torch.uint8), real=True)
        >>> metric.update(torch.tensor([51, 204], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8))
        >>> metric.compute(), metric.higher_is_better
        (tensor(0.5000), True)
    """

    def __init__(
        self,
        extractor: ExtractorLike = "mugs_vit_base",
        *,
        bins: int = 1000,
        ranges: RangesLike | None = None,
        max_positions: int | None = None,
        allow_subsampled: bool = False,
        **options: Unpack[DistanceMetricOptions],
    ) -> None:
        super().__init__(extractor, **options)
        check_max_positions(max_positions)
        self.max_positions = max_positions
        self.allow_subsampled = allow_subsampled
        self._prepare_states(empty_histogram(self.layout, self._ranges(ranges), bins, device=self._states_device))

    def _ranges(self, ranges: RangesLike | None) -> GivenRanges:
        real = None if self.reference is None else self.reference.distribution
        if ranges is None and isinstance(real, Histogram):
            return real.given
        if ranges is None:
            from vdna_metrics.references.store import default_ranges

        chosen = default_ranges(self.extractor) if ranges is None else as_ranges(ranges)
        if isinstance(chosen, ActivationRanges):
            chosen.check_fingerprint(self.fingerprint)
        return chosen

    def _shown(self) -> dict[str, object]:
        histogram = self._histogram
        given = histogram.ranges if isinstance(histogram, HistogramDistribution) else None
        ranges = "auto" if given is None else f"{given.widen} over {given.n_images or 'unknown'} images"
        return {**super()._shown(), "bins": histogram.bins, "ranges": ranges}

    def _adopt(self, fingerprint: ExtractorFingerprint) -> None:
        if isinstance(self._empty, HistogramDistribution):
            self._empty.ranges.check_fingerprint(fingerprint)
        super()._adopt(fingerprint)

    @property
    def _histogram(self) -> Histogram:
        if not isinstance(self._empty, Histogram):
            raise TypeError(f"{type(self).__name__} keeps histograms")
        return self._empty

    def _state_settings(self) -> tuple[Any, ...]:
        empty = self._histogram
        ends: bytes | str = empty.digest
        if isinstance(empty, HistogramDistribution):
            ends = torch.stack([empty.ranges.low, empty.ranges.high]).numpy().tobytes()
        return (*super()._state_settings(), empty.bins, ends, self.max_positions)


class VDNAEarthMoversDistance(HistogramDistanceMetric):
    """VDNA-EMD: mean earth mover's distance between real and generated activations of every neuron.

    `EMD_i = Σ_k |F_ik − G_ik|` over the cumulative, normalised counts of neuron i. Keyword arguments
    that are not listed are those of ``torchmetrics.Metric``.

    Args:
        extractor: a name (see `get_spec`), an ``ExtractorSpec``, or any ``torch.nn.Module``.
        reference: DNA of the real images: a ``VDNA``, a path, or a name from the store. Without one, real images are
            given to ``update(imgs, real=True)``.
        bins: bins of each histogram; those of the reference must agree.
        ranges: activation ranges, a path to them, or ``"auto"`` for histograms that find their own. By default those of
            the reference, else those that ship for the extractor, else ``"auto"``.
        layers: names of the layers to look at; module paths where it has none of its own, as modules.
        neurons: of the neurons to look at, ``{layer: indices}``, a `NeuronSelection`, or its file.
        weights: of these neurons, ``{layer: [neurons]}``, `NeuronWeights`, or their file; the distance is then
            ``sum w_i EMD_i`` instead of the mean.
        unit: ``"bins"``, ``"range"`` (comparable across bin counts) or ``"activation"``.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.
        normalize: whether images are floats in [0, 1] instead of uint8.
        reset_real_features: whether ``reset`` forgets real images.
        max_positions: look at no more positions of each image and layer than so many, always the same ones (see
            `subsample_positions`); counting costs less, and the distance is an estimate. By default all.
        allow_subsampled: take a reference of which other positions were looked at.
        state_device: where counts are kept, by default the metric's device.
        weights_path: local file of the network's weights.
        size: of a module: to which images are resized, see `create_extractor`.
        mean: of a module: subtracted from images in [0, 1].
        std: of a module: then divided by.
        crop: what of an image is looked at, see `Preprocessing`.
        preprocessing: of a module: how images are resized, see `Preprocessing`.
        directions: ``{layer: number of directions, or these}`` to look along besides, see `create_extractor`; by
            default those of the reference that ``layers`` and ``neurons`` do not leave out.
        trust_code: whether ``extractor`` may run the code of a file.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        Ramtoula, Gadd, Newman, De Martini: Visual DNA, CVPR 2023.

    Examples:
        >>> from vdna_metrics import ActivationRanges, VDNAEarthMoversDistance
        >>> network = torch.nn.AvgPool2d(8)  # stands for a network: its channels are the neurons
        >>> ranges = ActivationRanges.from_extremes({"output": [0.0] * 3}, {"output": [1.0] * 3}, widen="none")
        >>> metric = VDNAEarthMoversDistance(network, ranges=ranges, bins=10)
        >>> metric.update(torch.full((2, 3, 8, 8), 51, dtype=torch.uint8), real=True)
        >>> metric.update(torch.full((2, 3, 8, 8), 204, dtype=torch.uint8))
        >>> metric.compute()
        tensor(6.)
    """

    distance: ClassVar[Distance] = EMD

    def __init__(
        self,
        extractor: ExtractorLike = "mugs_vit_base",
        *,
        unit: EMDUnit = "bins",
        **options: Unpack[HistogramMetricOptions],
    ) -> None:
        self.distance.checked_options({"unit": unit})
        super().__init__(extractor, **options)
        self.unit = unit

    def _options(self) -> dict[str, Any]:
        return {"unit": self.unit}


class NeuronWassersteinDistance(HistogramDistanceMetric):
    """Mean squared Wasserstein distance between real and generated activations of every neuron, from histograms.

    Of a layer of ``directions=`` it is the streaming sliced Wasserstein distance, and ``3 d`` times it the streaming
    MIND of that layer's ``d`` neurons: the state does not grow with the images. Mass lies evenly in each bin, see
    `functional.histogram_wasserstein2`. Other arguments are those of `HistogramDistanceMetric`.

    Source:
        Bonneel et al.: Sliced and Radon Wasserstein Barycenters of Measures, 2015, for the sliced distance.

    Examples:
        >>> from vdna_metrics import NeuronWassersteinDistance, create_extractor
        >>> network = create_extractor(torch.nn.AvgPool2d(8), directions={"output": 100})
        >>> metric = NeuronWassersteinDistance(network, layers=["output@directions100"])
        >>> images = torch.randint(0, 128, (50, 3, 8, 8), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images + 51)
        >>> round(3 * 3 * float(metric.compute()), 1)  # about 3 d times a d-th of 3 x 0.2²
        0.4
    """

    distance: ClassVar[Distance] = NWD


class NeuronFrechetDistance(GaussianDistanceMetric):
    """Neuron Fréchet distance: mean over neurons of `(μ_r − μ_g)² + (σ_r − σ_g)²`.

    Each image counts once: a neuron's positions are averaged first. All of them, there is no ``max_positions=``: a mean
    over some would add variance from within the images to that between them. Keyword arguments that are not
    listed are those of ``torchmetrics.Metric``.

    Args:
        extractor: a name (see `get_spec`), an ``ExtractorSpec``, or any ``torch.nn.Module``.
        reference: Gaussian DNA of the real images: a ``VDNA``, a path, or a name from the store. Without one, real
            images are given to ``update(imgs, real=True)``.
        layers: names of the layers to look at; module paths where it has none of its own, as modules.
        neurons: of the neurons to look at, ``{layer: indices}``, a `NeuronSelection`, or its file.
        weights: of these neurons, ``{layer: [neurons]}``, `NeuronWeights`, or their file; the distance is then
            ``sum w_i d_i`` instead of the mean.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.
        normalize: whether images are floats in [0, 1] instead of uint8.
        reset_real_features: whether ``reset`` forgets real images.
        state_device: where moments are kept, by default the metric's device.
        weights_path: local file of the network's weights.
        size: of a module: to which images are resized, see `create_extractor`.
        mean: of a module: subtracted from images in [0, 1].
        std: of a module: then divided by.
        crop: what of an image is looked at, see `Preprocessing`.
        preprocessing: of a module: how images are resized, see `Preprocessing`.
        directions: ``{layer: number of directions, or these}`` to look along besides, see `create_extractor`; by
            default those of the reference that ``layers`` and ``neurons`` do not leave out.
        trust_code: whether ``extractor`` may run the code of a file.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        Ramtoula, Gadd, Newman, De Martini: Visual DNA, CVPR 2023.

    Examples:
        >>> from vdna_metrics import NeuronFrechetDistance
        >>> metric = NeuronFrechetDistance(torch.nn.AvgPool2d(8))  # its channels are the neurons
        >>> metric.update(torch.full((2, 3, 8, 8), 51, dtype=torch.uint8), real=True)
        >>> metric.update(torch.full((2, 3, 8, 8), 204, dtype=torch.uint8))
        >>> metric.compute()
        tensor(0.3600)
    """

    distance: ClassVar[Distance] = NFD


class LayerFrechetDistance(GaussianDistanceMetric):
    """Layer Fréchet distance, mean over layers of the Fréchet distance between their Gaussians.

    `|μ_r − μ_g|² + tr Σ_r + tr Σ_g − 2 tr (Σ_r Σ_g)^½` of the neurons of a layer, positions averaged first. On the last
    layer of the FID Inception this is FID. Keyword arguments that are not listed are those of ``torchmetrics.Metric``.

    Args:
        extractor: a name (see `get_spec`), an ``ExtractorSpec``, or any ``torch.nn.Module``.
        reference: layer Gaussian DNA of the real images: a ``VDNA``, a path, or a name from the store. Without one,
            real images are given to ``update(imgs, real=True)``.
        layers: names of the layers to look at; module paths where it has none of its own, as modules.
        neurons: of the neurons to look at, ``{layer: indices}``, a `NeuronSelection`, or its file: a submatrix of the
            covariance.
        weights: of the layers, ``{layer: number}``, `NeuronWeights` with ``per="layer"``, or their file; the distance
            is then ``sum w_l LFD_l`` instead of the mean.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``.
        normalize: whether images are floats in [0, 1] instead of uint8.
        reset_real_features: whether ``reset`` forgets real images.
        state_device: where moments are kept, by default the metric's device.
        weights_path: local file of the network's weights.
        size: of a module: to which images are resized, see `create_extractor`.
        mean: of a module: subtracted from images in [0, 1].
        std: of a module: then divided by.
        crop: what of an image is looked at, see `Preprocessing`.
        preprocessing: of a module: how images are resized, see `Preprocessing`.
        directions: ``{layer: number of directions, or these}`` to look along besides, see `create_extractor`; by
            default those of the reference that ``layers`` and ``neurons`` do not leave out.
        trust_code: whether ``extractor`` may run the code of a file.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        Heusel et al.: GANs trained by a two time-scale update rule, NeurIPS 2017, for the last layer of Inception.

    Examples:
        >>> from vdna_metrics import LayerFrechetDistance
        >>> metric = LayerFrechetDistance(torch.nn.AvgPool2d(8))  # its channels are the neurons
        >>> images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images)
        >>> bool(metric.compute() < 1e-9)
        True
    """

    distance: ClassVar[Distance] = LFD
