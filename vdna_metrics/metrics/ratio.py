"""FDr^k: Fréchet distances of several networks, each over that of a validation set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.wrappers.abstract import WrapperMetric

from vdna_metrics.extractors.precomputed import FeaturesLike
from vdna_metrics.functional.frechet import check_normaliser, frechet_distance_ratio
from vdna_metrics.layout import check_type
from vdna_metrics.metrics.base import DistanceMetric, ReferenceLike
from vdna_metrics.metrics.extractor_metric import RefusedError
from vdna_metrics.references.records import FrechetNormaliser as FrechetNormaliser
from vdna_metrics.references.store import find_normaliser

NormaliserLike = FrechetNormaliser | float | ReferenceLike
"""A normaliser, its value alone, or the DNA of a validation set: a ``VDNA``, a path or a name."""


class FrechetDistanceRatio(WrapperMetric):
    """FDr^k: mean over k networks of the Fréchet distance of generated images over that of a validation set.

    `(1/k) Σ_i FD_i(generated, train) / FD_i(validation, train)`, without unit: 1 says as far from the training set as
    the validation set. Each network counts alike, whatever its units. Distances are plain ones, which are too large by
    a bias in one over the number of images, so there have to be as many generated as validation images;
    `analysis.frechet_distance_ratio` compares corrected ones, of any numbers.

    Args:
        metrics: ``{name of the network: metric}``, each a `LayerFrechetDistance` or another of a layer Gaussian, with
            ``reference=`` the training set and ``reduction="mean"``. They become this metric's, and compute in float64.
        normalisers: ``{name: normaliser}``: the DNA of the validation set in that network (a ``VDNA``, a path, or a
            name of a store), a `FrechetNormaliser` or a number. The number of validation images is not compared where a
            number is all that is given. By default those that are recorded with the references,
            which then are names of a store, see `find_normaliser`.
        metric_kwargs: those of ``torchmetrics.Metric``; the metrics themselves synchronise.

    Raises:
        ValueError: for no network, other names of normalisers, a metric without a reference, a corrected normaliser or
            one of other layers, a DNA that does not fit, or no normaliser that is recorded; by `compute`, too, for a
            ratio that is undefined.
        TypeError: for a metric of another kind.

    Source:
        Yang et al., Representation Fréchet Loss for Visual Generation, arXiv 2604.28190, 2026; see
        `functional.frechet_distance_ratio`. The undefined cases are ours.

    Examples:
        >>> from vdna_metrics import FrechetDistanceRatio, LayerFrechetDistance, build_dnas, create_extractor
        >>> import numpy as np
        >>> stream = np.random.default_rng(0)
        >>> train, validation, images = (stream.integers(0, 256, (8, 3, 8, 8), np.uint8) for _ in range(3))
        >>> metrics, normalisers = {}, {}
        >>> for name, network in (("mean", torch.nn.AvgPool2d(8)), ("peak", torch.nn.MaxPool2d(8))):
        ...     extractor = create_extractor(network)
        ...     real, other = (build_dnas(x, extractor, ["layer_gaussian"]) for x in (train, validation))
        ...     metrics[name] = LayerFrechetDistance(network, reference=real["layer_gaussian"])
        ...     normalisers[name] = other["layer_gaussian"]
        >>> metric = FrechetDistanceRatio(metrics, normalisers)
        >>> metric.update(torch.from_numpy(validation))
        >>> metric.compute()
        tensor(1.)
        >>> metric.reset()
        >>> metric.update(torch.from_numpy(images // 2))
        >>> bool(metric.compute() > 1), metric.normalisers["peak"].n_images
        (True, 8)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False

    def __init__(
        self,
        metrics: Mapping[str, DistanceMetric],
        normalisers: Mapping[str, NormaliserLike] | None = None,
        **metric_kwargs: Any,
    ) -> None:
        super().__init__(**metric_kwargs)
        self._dtype = torch.float32  # of results, whatever the default is
        check_type("metrics", metrics, Mapping, advice=": {name of a network: metric}")
        check_type("normalisers", normalisers, Mapping, type(None), advice=": {name of a network: normaliser}")
        if not metrics or (normalisers is not None and set(metrics) != set(normalisers)):
            of_which = (", ".join(each or ()) or "of none" for each in (metrics, normalisers))
            raise ValueError(
                "Expected a metric and a normaliser for each of at least one network, "
                "got metrics {}, normalisers {}".format(*of_which)
            )
        for name, metric in metrics.items():
            check_type(f"the metric of {name!r}", metric, DistanceMetric)
            if metric.kind != "layer_gaussian":
                raise TypeError(
                    f"Expected the metric of {name!r} to be of layer Gaussians, got {type(metric).__name__}"
                )
            if metric.reference is None or metric.reduction != "mean":
                raise ValueError(
                    f"Expected the metric of {name!r} to have a reference, the training set, and reduction='mean', "
                    f"got reference {metric.reference!r}, reduction {metric.reduction!r}"
                )
        given: Mapping[str, NormaliserLike | None] = dict.fromkeys(metrics) if normalisers is None else normalisers
        self.normalisers = {name: _normaliser(name, metrics[name], given[name]) for name in metrics}
        # By their places, since names of modules must not hold dots.
        self._names = tuple(metrics)
        self._parts = nn.ModuleList(metric.set_dtype(torch.float64) for metric in metrics.values())

    @property
    def metrics(self) -> dict[str, DistanceMetric]:
        """``{name of the network: metric}``."""
        return dict(zip(self._names, self._parts, strict=True))  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The normalisers, as `torch.nn.Module` shows the settings of a layer."""
        return ", ".join(f"{name}: {normaliser.value:.6g}" for name, normaliser in self.normalisers.items())

    def update(self, imgs: Tensor | FeaturesLike) -> None:
        """Add generated images.

        Args:
            imgs: ``[N, 3, H, W]``, as `LayerFrechetDistance.update` takes them.

        Raises:
            ValueError: as there; then some networks may have counted the images, and `compute` refuses.
            TypeError: likewise.
        """
        for metric in self.metrics.values():
            metric.update(imgs)

    def forward(self, imgs: Tensor | FeaturesLike) -> None:
        """Add generated images; nothing comes back, since a batch is not as many images as the validation set."""
        self.update(imgs)

    def compute(self) -> Tensor:
        """The ratio.

        Returns:
            Scalar without unit, in the metric's floating type (``set_dtype``).

        Raises:
            ValueError: when a network has seen too few images, or others than the validation set in number; when a
                normaliser is not above 0, or its interval holds 0.
        """
        values = []
        for name, metric in self.metrics.items():
            value, n_images = _value_and_number(metric)
            expected = self.normalisers[name].n_images
            if expected is not None and n_images != expected:
                raise RefusedError(
                    f"Expected {expected} generated images, as many as the validation images of {name!r}, got "
                    f"{n_images}: a Fréchet distance of few images is too large. analysis.frechet_distance_ratio "
                    "compares corrected ones"
                )
            values.append((value, n_images))
        seen = {n_images for _, n_images in values}
        if len(seen) > 1:
            raise RefusedError(f"Expected each network to have seen the same images, got {sorted(seen)} of them")
        for name, normaliser in self.normalisers.items():
            check_normaliser(normaliser.value, *normaliser.interval, where=f"for {name!r}")
        kept = self.normalisers.values()
        ratio = frechet_distance_ratio(
            torch.stack([value for value, _ in values]),
            torch.tensor([normaliser.value for normaliser in kept], dtype=torch.float64),
            torch.tensor([normaliser.interval for normaliser in kept], dtype=torch.float64),
        )
        return ratio.to(device=self.device, dtype=self.dtype)

    def reset(self) -> None:
        """Forget the images seen; references and normalisers stay."""
        for metric in self.metrics.values():
            metric.reset()
        super().reset()

    def persistent(self, mode: bool = False) -> None:
        """Whether the metrics' states are saved in checkpoints."""
        for metric in self.metrics.values():
            metric.persistent(mode)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the states of another ratio of the same networks, as if its images had been seen here.

        Raises:
            ValueError: for other networks or normalisers, or metrics with other settings.
            TypeError: for what is no ``FrechetDistanceRatio``.
        """
        check_type("the incoming state", incoming_state, FrechetDistanceRatio)
        assert isinstance(incoming_state, FrechetDistanceRatio)
        if incoming_state.normalisers != self.normalisers:
            raise ValueError(f"Expected the normalisers {self.normalisers}, got {incoming_state.normalisers}")
        for name, metric in self.metrics.items():
            metric.merge_state(incoming_state.metrics[name])

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one value or several; see `torchmetrics.Metric.plot`.

        Args:
            val: result of `compute`, or a list of them; computed when absent.
            ax: matplotlib axis to draw on.

        Returns:
            Figure and axis.
        """
        return self._plot(val, ax)


def _normaliser(name: str, metric: DistanceMetric, given: NormaliserLike | None) -> FrechetNormaliser:
    """What is given, recorded, or measured in the metric's network."""
    if given is None:
        if metric.reference_name is None:
            raise ValueError(
                f"Expected the reference of {name!r} to be a name, with which a normaliser is recorded, got "
                f"{metric.reference!r}; give normalisers="
            )
        given = find_normaliser(metric.reference_name, extractor=metric.extractor_name, layers=list(metric.layout))
    if isinstance(given, FrechetNormaliser):
        given.check_fits(name, metric.layout, weighted=metric.weights is not None)
        if given.corrected:
            raise ValueError(
                f"Expected a normaliser of {name!r} that is not corrected, as the metric's distances are not, got "
                f"{given}; analysis.frechet_distance_ratio compares corrected ones"
            )
        return given
    if isinstance(given, (int, float)):
        return FrechetNormaliser(float(given))
    dna = metric._resolved(metric._opened(given, metric.extractor_name))
    value = metric.distance(metric.reference, dna, weights=metric.weights, **metric._options())
    assert isinstance(value, Tensor)
    return FrechetNormaliser(float(value), dna.n_images)


def _value_and_number(metric: DistanceMetric) -> tuple[Tensor, int]:
    """A metric's value, and of how many generated images of all processes it is."""
    with metric.sync_context(
        dist_sync_fn=metric.dist_sync_fn,
        should_sync=metric._to_sync and not metric._is_synced,
        should_unsync=metric._should_unsync,
    ):
        value = type(metric).compute(metric)
        assert isinstance(value, Tensor)
        return value, metric._side(real=False).n_images
