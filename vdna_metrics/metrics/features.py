"""Distances and scores of features as metrics: KID, CMMD, MIND, precision, recall, density, coverage and others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import Tensor, nn

from vdna_metrics.distributions import FeatureSample
from vdna_metrics.distributions.kinds import SAMPLE
from vdna_metrics.distributions.unit_moments import UnitMoments
from vdna_metrics.dna.distances import Distance, DistanceResult
from vdna_metrics.dna.feature_distances import DENSITY, KID, MIND, PRECISION, SWD, VENDI, unit_vectors
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.directions import Directions
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import ExtractorLike
from vdna_metrics.extractors.spec import ExtractorSpec
from vdna_metrics.functional import (
    Kernel,
    PolynomialKernel,
    cmmd,
    density_coverage,
    inception_score,
    kernel_distance,
    kernel_mmd,
    monge_inception_distance,
    precision_recall,
    sliced_wasserstein,
    vendi_score_from_moments,
)
from vdna_metrics.layout import check_count
from vdna_metrics.metrics.base import DistanceMetric
from vdna_metrics.metrics.distances import DistanceMetricOptions
from vdna_metrics.metrics.inception import inception_extractor

if TYPE_CHECKING:
    from typing_extensions import Unpack

Pair = tuple[Tensor, Tensor]


def _score_of_logits(generated: FeatureSample) -> dict[str, Tensor]:
    return {layer: inception_score(logits)[0].reshape(1) for layer, logits in generated.features().items()}


def _vendi_of_moments(generated: UnitMoments) -> dict[str, Tensor]:
    n = generated.n_images
    return {layer: vendi_score_from_moments(second, n).reshape(1) for layer, second in generated.seconds().items()}


_INCEPTION_SCORE = Distance(
    name="inception_score",
    label="Inception score",
    meaning="How sure a classifier is of each image, and how unlike all classes are, of features that are logits.",
    kind="features",
    function=_score_of_logits,
    direction="higher",
    arity=1,
    per="layer",
    neutral=None,
)


class FeatureDistanceMetric(DistanceMetric):
    """A distance between features, or a score of them, as a metric; a subclass names its ``distance``.

    What is kept is a `FeatureSample`: features of up to ``feature_images`` images, whatever batches, order and ranks
    they came in. Other arguments are those of `DistanceMetric`.

    Args:
        extractor: as in `DistanceMetric`.
        feature_images: at most so many images of a side have their features kept: 4 bytes a neuron each.
        layers: one; by default the last.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.
    """

    def __init__(
        self,
        extractor: ExtractorLike = "fid_inception",
        *,
        feature_images: int = SAMPLE,
        **options: Unpack[DistanceMetricOptions],
    ) -> None:
        if options.get("weights") is not None or options.get("reduction", "mean") != "mean":
            raise ValueError(
                f"{type(self).__name__} is one number: expected no weights= and reduction='mean', got weights="
                f"{options.get('weights')!r} and reduction={options.get('reduction', 'mean')!r}"
            )
        super().__init__(extractor, **options)
        if len(self.layout) > 1:
            raise ValueError(f"{type(self).__name__} is of one layer, got {', '.join(self.layout)}")
        self.feature_images = feature_images
        self._prepare_states(FeatureSample.empty(self.layout, feature_images, device=self._states_device))

    def _shown(self) -> dict[str, object]:
        return {**super()._shown(), "feature_images": self.feature_images}

    def _state_settings(self) -> tuple[Any, ...]:
        """Those of one network and size are alike, whatever is computed of them: a collection keeps them once."""
        _, *settings = super()._state_settings()
        return (FeatureSample.kind, *settings, self.feature_images, self.distance.arity)

    def _features(self) -> Pair:
        """Features of real and generated images, of one layer."""
        sides = self._checked_sides().values()
        real, generated = (next(iter(cast(FeatureSample, side.distribution).features().values())) for side in sides)
        return real.to(self._states_device), generated


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


class _PairMetric(FeatureDistanceMetric, ABC):
    """A metric of two numbers."""

    @abstractmethod
    def _measured(self, real: Tensor, generated: Tensor) -> Pair:
        """Both, of two sets of features ``[N, d]`` and ``[M, d]`` float32."""

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot the first of both numbers.

        Args:
            val: result of `compute` or `forward`, or a list of them; computed when absent.
            ax: matplotlib axis to draw on.

        Returns:
            Figure and axis.
        """
        val = self.compute() if val is None else val
        return super().plot([_first(each) for each in val] if isinstance(val, list) else _first(val), ax)

    def compute(self) -> Pair:  # type: ignore[override]
        """Both numbers; see the class.

        Raises:
            ValueError: when a side has too few images, also a ``RuntimeError``, or saw activations that are not finite.
        """
        first, second = self._measured(*self._features())
        return self._as_result(first), self._as_result(second)


class KernelInceptionDistance(_PairMetric):
    """KID with torchmetrics' signature: the mean over subsets of the squared maximum mean discrepancy of features.

    The kernel is `(γ x·y + c)^degree`. `compute` gives mean and standard deviation over subsets. Subsets are
    torch-fidelity's for a seed, where torchmetrics draws others at each call.

    Args:
        feature: 64, 192, 768 or 2048, the layer of the FID Inception by its number of neurons; or a
            ``torch.nn.Module`` that takes the images as they are given and returns ``[N, d]``; or any extractor, its
            name or its spec, whose last layer counts.
        subsets: how many are drawn.
        subset_size: images of either side in each, without replacement.
        degree: of the polynomial.
        gamma: factor of the product, by default 1/d.
        coef: added to it.
        reset_real_features: whether ``reset`` forgets real images.
        normalize: whether images are floats in [0, 1] instead of uint8.
        input_img_size: for a module without ``num_features``: size of the image that finds its ``d``, ``(3, H, W)``.
        feature_extractor_weights_path: local weights file of the FID Inception; downloaded when absent.
        antialias: whether images are resized with antialiasing; ``False`` resizes as TensorFlow 1 did.
        seed: of the subsets.
        feature_images: at most so many images of a side have their features kept.
        options: of `DistanceMetric`, a reference for example.

    Raises:
        TypeError: when ``feature`` is neither an int, a module nor an extractor.
        ValueError: for another number, or options out of range.

    Source:
        Bińkowski, Sutherland, Arbel, Gretton: Demystifying MMD GANs, ICLR 2018.

    Examples:
        >>> import torch
        >>> from vdna_metrics import KernelInceptionDistance
        >>> features = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
        >>> kid = KernelInceptionDistance(features, 10, 20, normalize=True, input_img_size=(3, 8, 8))
        >>> images = torch.rand(40, 3, 8, 8)
        >>> kid.update(images, real=True)
        >>> kid.update(images / 2)
        >>> mean, deviation = kid.compute()
        >>> bool(mean > 0)
        True
    """

    distance: ClassVar[Distance] = KID
    feature_network = "inception"

    def __init__(
        self,
        feature: int | str | ExtractorSpec | FeatureExtractor | nn.Module = 2048,
        subsets: int = 100,
        subset_size: int = 1000,
        degree: int = 3,
        gamma: float | None = None,
        coef: float = 1.0,
        reset_real_features: bool = True,
        normalize: bool = False,
        input_img_size: tuple[int, int, int] = (3, 299, 299),
        feature_extractor_weights_path: str | Path | None = None,
        antialias: bool = True,
        *,
        seed: int = 0,
        feature_images: int = SAMPLE,
        **options: Any,
    ) -> None:
        counts = ("subsets", subsets, 1), ("subset_size", subset_size, 2), ("degree", degree, 1), ("seed", seed, 0)
        for what, value, least in counts:
            check_count(what, value, least)
        PolynomialKernel(degree, gamma, coef)  # checks them
        for name, instead in (("extractor", "feature"), ("weights_path", "feature_extractor_weights_path")):
            if name in options:
                raise TypeError(f"this metric has torchmetrics' arguments: expected {instead}=, got {name}=")
        extractor: ExtractorLike
        if isinstance(feature, str | ExtractorSpec | FeatureExtractor):
            if not antialias:
                raise ValueError("antialias=False is for a number of neurons; extractors say how they resize")
            extractor, options = feature, {**options, "weights_path": feature_extractor_weights_path}
        else:
            extractor, layer = inception_extractor(
                feature, normalize, input_img_size, feature_extractor_weights_path, antialias
            )
            options = {"layers": [layer], **options}
        super().__init__(
            extractor, feature_images=feature_images, reset_real_features=reset_real_features, normalize=normalize,
            **options,
        )  # fmt: skip
        self.subsets, self.subset_size, self.seed = subsets, subset_size, seed
        self.degree, self.gamma, self.coef = degree, gamma, coef

    def _measured(self, real: Tensor, generated: Tensor) -> Pair:
        return kernel_distance(
            real, generated, degree=self.degree, gamma=self.gamma, coef=self.coef, subsets=self.subsets,
            subset_size=self.subset_size, seed=self.seed,
        )  # fmt: skip


class KernelDistance(_PairMetric):
    """Squared maximum mean discrepancy of features with any kernel, over all pairs of images, and its standard error.

    `compute` gives both, of which `functional.squared_interval` makes a confidence interval. With the polynomial kernel
    it is what KID's subsets estimate; with ``kernel="cmmd"`` on ``clip_vit_l14_336`` it is CMMD, see `functional.cmmd`.

    Other arguments are those of `DistanceMetric`.

    Args:
        extractor: as in `DistanceMetric`.
        kernel: ``"polynomial"``, ``"cmmd"``, or a `Kernel` such as ``RBFKernel(sigma)``.
        biased: whether an image counts as a pair with itself; by default only for CMMD, which is so by definition.
        feature_images: at most so many images of a side have their features kept.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        Gretton et al.: A Kernel Two-Sample Test, JMLR 2012; Jayasumana et al.: Rethinking FID, CVPR 2024, for CMMD.

    Examples:
        >>> import torch
        >>> from vdna_metrics import KernelDistance
        >>> metric = KernelDistance(torch.nn.AvgPool2d(8))
        >>> images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images // 2)
        >>> value, error = metric.compute()
        >>> bool(value > error > 0)
        True
    """

    distance: ClassVar[Distance] = KID

    def __init__(
        self,
        extractor: ExtractorLike = "fid_inception",
        *,
        kernel: str | Kernel = "polynomial",
        biased: bool | None = None,
        feature_images: int = SAMPLE,
        **options: Unpack[DistanceMetricOptions],
    ) -> None:
        if not callable(kernel) and kernel not in ("polynomial", "cmmd"):
            raise ValueError(f"kernel must be 'polynomial', 'cmmd' or a Kernel, got {kernel!r}")
        if kernel == "cmmd" and biased is False:
            raise ValueError("CMMD counts an image as a pair with itself: expected biased=True or none, got False")
        super().__init__(extractor, feature_images=feature_images, **options)
        self.kernel, self.biased = kernel, kernel == "cmmd" if biased is None else biased

    def _measured(self, real: Tensor, generated: Tensor) -> Pair:
        if self.kernel == "cmmd":
            return cmmd(real, generated)
        kernel = PolynomialKernel() if isinstance(self.kernel, str) else self.kernel
        return kernel_mmd(real, generated, kernel=kernel, biased=self.biased)


class _SlicedMetric(FeatureDistanceMetric, ABC):
    """Along random directions."""

    def __init__(
        self,
        extractor: ExtractorLike = "fid_inception",
        *,
        n_directions: int = 1000,
        seed: int = 0,
        feature_images: int = SAMPLE,
        **options: Unpack[DistanceMetricOptions],
    ) -> None:
        super().__init__(extractor, feature_images=feature_images, **options)
        self.along = Directions(n_directions, seed)

    def _shown(self) -> dict[str, object]:
        return {**super()._shown(), "n_directions": self.along.n}

    def compute(self) -> DistanceResult:
        """The distance, a scalar.

        Raises:
            ValueError: when a side has too few images, also a ``RuntimeError``, or saw activations that are not finite.
        """
        real, generated = self._features()
        vectors = unit_vectors(self.along, real.shape[1]).to(real.device)
        return self._as_result(self._along(real, generated, vectors))

    @abstractmethod
    def _along(self, real: Tensor, generated: Tensor, vectors: Tensor) -> Tensor:
        """Of two sets of features along unit vectors ``[n, d]``."""


class SlicedWassersteinDistance(_SlicedMetric):
    """Sliced Wasserstein distance: the mean squared Wasserstein distance of features along random directions.

    Exact, also of unlike numbers of images. `NeuronWassersteinDistance` of a layer of ``directions=`` is the same from
    histograms, whose state does not grow.

    Other arguments are those of `DistanceMetric`.

    Args:
        extractor: as in `DistanceMetric`.
        n_directions: how many directions.
        seed: of their draw.
        feature_images: at most so many images of a side have their features kept.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        Bonneel et al.: Sliced and Radon Wasserstein Barycenters of Measures, 2015.

    Examples:
        >>> import torch
        >>> from vdna_metrics import SlicedWassersteinDistance
        >>> metric = SlicedWassersteinDistance(torch.nn.AvgPool2d(8))
        >>> metric.update(torch.full((2, 3, 8, 8), 51, dtype=torch.uint8), real=True)
        >>> metric.update(torch.full((3, 3, 8, 8), 204, dtype=torch.uint8))
        >>> 0.35 < float(metric.compute()) < 0.37  # a third of 3 x 0.6²
        True
    """

    distance: ClassVar[Distance] = SWD

    def _along(self, real: Tensor, generated: Tensor, vectors: Tensor) -> Tensor:
        return sliced_wasserstein(real, generated, vectors)


class MongeInceptionDistance(_SlicedMetric):
    """MIND: `3 d` times the sliced Wasserstein distance of Inception's features, `d` neurons, in 1000 directions.

    Other arguments are those of `DistanceMetric`.

    Args:
        extractor: as in `DistanceMetric`; published values are of ``fid_inception``.
        n_directions: how many directions.
        seed: of their draw.
        feature_images: at most so many images of a side have their features kept.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        arXiv 2605.06797; the formula as torch-fidelity has it, see `functional.monge_inception_distance`.

    Examples:
        >>> import torch
        >>> from vdna_metrics import MongeInceptionDistance
        >>> metric = MongeInceptionDistance(torch.nn.AvgPool2d(8))
        >>> metric.update(torch.full((2, 3, 8, 8), 51, dtype=torch.uint8), real=True)
        >>> metric.update(torch.full((2, 3, 8, 8), 204, dtype=torch.uint8))
        >>> 3.15 < float(metric.compute()) < 3.33  # 3 x 3 x 0.36
        True
    """

    distance: ClassVar[Distance] = MIND

    def _along(self, real: Tensor, generated: Tensor, vectors: Tensor) -> Tensor:
        return monge_inception_distance(real, generated, vectors)


class ImprovedPrecisionRecall(_PairMetric):
    """Improved precision and recall of features: which share of each set lies in the other's manifold.

    `compute` gives precision and recall.

    Other arguments are those of `DistanceMetric`.

    Args:
        extractor: as in `DistanceMetric`.
        k: of the nearest neighbour that gives the radius.
        feature_images: at most so many images of a side have their features kept; time goes with the product of both.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        Kynkäänniemi et al.: Improved Precision and Recall Metric for Assessing Generative Models, NeurIPS 2019.

    Examples:
        >>> import torch
        >>> from vdna_metrics import ImprovedPrecisionRecall
        >>> metric = ImprovedPrecisionRecall(torch.nn.AvgPool2d(8))
        >>> images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images)
        >>> metric.compute()
        (tensor(1.), tensor(1.))
    """

    distance: ClassVar[Distance] = PRECISION

    def __init__(
        self,
        extractor: ExtractorLike = "fid_inception",
        *,
        k: int = 3,
        feature_images: int = SAMPLE,
        **options: Unpack[DistanceMetricOptions],
    ) -> None:
        check_count("k", k)
        super().__init__(extractor, feature_images=feature_images, **options)
        self.k = k

    def _measured(self, real: Tensor, generated: Tensor) -> Pair:
        return precision_recall(real, generated, k=self.k)


class DensityCoverage(_PairMetric):
    """Density and coverage of features: how many real balls hold a generated image, and which share holds one at all.

    `compute` gives density and coverage.

    Other arguments are those of `DistanceMetric`.

    Args:
        extractor: as in `DistanceMetric`.
        k: of the nearest neighbour that gives the radius.
        feature_images: at most so many images of a side have their features kept; time goes with the product of both.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.

    Source:
        Naeem et al.: Reliable Fidelity and Diversity Metrics for Generative Models, ICML 2020.

    Examples:
        >>> import torch
        >>> from vdna_metrics import DensityCoverage
        >>> metric = DensityCoverage(torch.nn.AvgPool2d(8))
        >>> images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
        >>> metric.update(images, real=True)
        >>> metric.update(images)
        >>> metric.compute()[1]
        tensor(1.)
    """

    distance: ClassVar[Distance] = DENSITY

    def __init__(
        self,
        extractor: ExtractorLike = "fid_inception",
        *,
        k: int = 5,
        feature_images: int = SAMPLE,
        **options: Unpack[DistanceMetricOptions],
    ) -> None:
        check_count("k", k)
        super().__init__(extractor, feature_images=feature_images, **options)
        self.k = k

    def _measured(self, real: Tensor, generated: Tensor) -> Pair:
        return density_coverage(real, generated, k=self.k)


class VendiScore(DistanceMetric):
    """Vendi score of generated images: how many wholly different ones would be as diverse, by their features' cosines.

    Of any number of images, all of which count: what is kept is the second moment of features of unit length, `d²`
    numbers a layer, which adds up over batches, ranks and metrics. There is no DNA of it.

    Other arguments are those of `DistanceMetric`, but a reference; ``layers`` are by default the last one alone.

    Args:
        extractor: as in `DistanceMetric`.

    Raises:
        ValueError: for unknown names, or a reference; by `update`, for an image whose features are all zeros.

    Source:
        Friedman and Dieng: The Vendi Score, TMLR 2023.

    Examples:
        >>> import torch
        >>> from vdna_metrics import VendiScore
        >>> metric = VendiScore(torch.nn.AvgPool2d(8))
        >>> metric.update(torch.full((4, 3, 8, 8), 51, dtype=torch.uint8))
        >>> metric.compute()
        tensor(1.)
    """

    distance: ClassVar[Distance] = replace(VENDI, function=_vendi_of_moments)

    def __init__(self, extractor: ExtractorLike = "fid_inception", **options: Unpack[DistanceMetricOptions]) -> None:
        super().__init__(extractor, **options)
        self._prepare_states(UnitMoments.empty(self.layout, device=self._states_device))

    def dna(self, real: bool = False) -> VDNA:
        """Not possible: second moments of unit features are no DNA.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "VendiScore keeps second moments of features of unit length, which are no DNA; build_dnas(images, "
            "extractor, ['features']) makes one of features"
        )


class InceptionScore(FeatureDistanceMetric):
    """Inception score of generated images, with torchmetrics' arguments.

    `compute` gives mean and standard deviation over ``splits``, of one 0, of `exp(mean KL(p(y|x) || p(y)))`. Logits are
    those of the FID Inception's 1008 classes without the bias, as in torch-fidelity and torchmetrics; they are computed
    from its pooled features. Splits are made of the images in the order of their keys, as if shuffled, so that the
    order they came in does not matter.

    Args:
        feature: ``"logits_unbiased"``, of the FID Inception, for which images are resized as TensorFlow 1 did, as for
            tables; an FID Inception that resizes otherwise, its name or its spec; or a ``torch.nn.Module`` that takes
            the images as they are given and returns logits ``[N, classes]``.
        splits: how many.
        normalize: whether images are floats in [0, 1] instead of uint8.
        feature_images: at most so many images have their features kept.
        options: of `DistanceMetric`, but a reference.

    Raises:
        TypeError: when ``feature`` is neither a module nor an extractor.
        ValueError: for another network, fewer images than splits, or a reference.

    Source:
        Salimans et al.: Improved Techniques for Training GANs, NeurIPS 2016.
    """

    distance: ClassVar[Distance] = _INCEPTION_SCORE

    def __init__(
        self,
        feature: str | ExtractorSpec | FeatureExtractor | nn.Module = "logits_unbiased",
        splits: int = 10,
        normalize: bool = False,
        *,
        feature_images: int = 50_000,
        **options: Any,
    ) -> None:
        check_count("splits", splits)
        for name, instead in (("extractor", "feature"), ("feature_extractor_weights_path", "weights_path")):
            if name in options:
                raise TypeError(f"InceptionScore: expected {instead}=, got {name}=")
        if isinstance(feature, str | ExtractorSpec | FeatureExtractor):
            own, extractor = False, "fid_inception_legacy_tensorflow" if feature == "logits_unbiased" else feature
        elif isinstance(feature, nn.Module):
            own, (extractor, _) = True, inception_extractor(feature, normalize, (3, 299, 299), None, True)
        else:
            raise TypeError(f"feature must be 'logits_unbiased', an extractor or a module of logits, got {feature!r}")
        super().__init__(extractor, feature_images=feature_images, normalize=normalize, **options)
        head = getattr(self.extractor.network, "fc", None)
        if not own and (not isinstance(head, nn.Linear) or head.in_features != self.layout.total):
            raise ValueError(
                f"InceptionScore needs the FID Inception, whose fc takes its pooled features, or a module that returns "
                f"logits, got {self.extractor_name!r}"
            )
        self.splits, self._gives_logits = splits, own

    def compute(self) -> Pair:  # type: ignore[override]
        """Mean and standard deviation over splits.

        Raises:
            ValueError: when there are fewer images than splits, also a ``RuntimeError``, or activations were not
                finite.
        """
        (generated,) = self._checked_sides().values()
        (features,) = cast(FeatureSample, generated.distribution).features().values()
        if not self._gives_logits:
            features = features @ cast(nn.Linear, self.extractor.network.fc).weight.detach().to(features).T
        mean, deviation = inception_score(features, splits=self.splits, correction=min(1, self.splits - 1))
        return self._as_result(mean), self._as_result(deviation)
