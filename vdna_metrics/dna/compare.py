"""Distances between DNAs: the functions that every metric's ``compute`` calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vdna_metrics.distributions import GaussianDistribution, HistogramDistribution, LayerGaussianDistribution
from vdna_metrics.dna.vdna import VDNA, check_comparable
from vdna_metrics.fingerprint import describe_differences
from vdna_metrics.functional.emd import EMDUnit, earth_movers_distance
from vdna_metrics.functional.frechet import frechet_distance, neuron_frechet_distance
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike, Per, chosen_weights

Reduction = Literal["mean", "layer", "none"]
Distance = Tensor | dict[str, Tensor]

_OUTSIDE_WARNING = 0.01


def emd(
    a: VDNA,
    b: VDNA,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
    reduction: Reduction = "mean",
    allow_subsampled: bool = False,
) -> Distance:
    """VDNA-EMD: earth mover's distance between the histograms of each neuron.

    Args:
        a: histogram DNA, the reference.
        b: histogram DNA with the same network, layout, bins and ranges.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, ``{layer: indices}``, a `NeuronSelection`, or its file.
        weights: of all compared neurons, ``{layer: [neurons]}``, `NeuronWeights`, or their file; the distance is then
            ``sum w_i EMD_i`` (paper Eq. 5) instead of the mean.
        unit: ``"bins"``, ``"range"`` or ``"activation"``, see `earth_movers_distance`.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.
        allow_subsampled: compare the DNAs even if one saw other positions of its images (``max_positions=``).

    Returns:
        float64 on the device of ``a``.

    Raises:
        ValueError: when the DNAs cannot be compared; both sides are shown.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Eq. 2-5.
    """
    a, b = _prepared(a, b, layers, neurons, "histogram", allow_subsampled)
    x, y = a.distribution, b.distribution
    if not isinstance(x, HistogramDistribution) or not isinstance(y, HistogramDistribution):
        raise TypeError("emd compares histograms")
    counts_a, counts_b = x.layout.split(x.counts), y.layout.split(y.counts.to(x.counts.device))
    low, high = x.layout.split(x.ranges.low), x.layout.split(x.ranges.high)
    device = x.counts.device
    per_neuron = {
        layer: earth_movers_distance(
            counts_a[layer], counts_b[layer], unit=unit, low=low[layer].to(device), high=high[layer].to(device)
        )
        for layer in x.layout
    }
    return _reduced(per_neuron, a, weights, reduction)


def neuron_frechet(
    a: VDNA,
    b: VDNA,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    reduction: Reduction = "mean",
) -> Distance:
    """Neuron Fréchet distance: between the Gaussians of each neuron, ``(m1 - m2)² + (s1 - s2)²``.

    Args:
        a: Gaussian DNA, the reference; of a layer Gaussian the diagonal is taken.
        b: Gaussian DNA with the same network and layout.
        layers: layers to compare, ``None`` for all.
        neurons: as in `emd`.
        weights: as in `emd`; the distance is then ``sum w_i d_i``.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.

    Returns:
        float64, in squared activation units.

    Raises:
        ValueError: when the DNAs cannot be compared, or one has fewer than two images.
    """
    a, b = _prepared(_diagonal(a), _diagonal(b), layers, neurons, "gaussian")
    x, y = a.distribution, b.distribution
    if not isinstance(x, GaussianDistribution) or not isinstance(y, GaussianDistribution):
        raise TypeError("neuron_frechet compares Gaussians")
    _check_number(a, b)
    mean_b, variance_b = (moment.to(x.state.device) for moment in y.mean_and_variance())
    distances = neuron_frechet_distance(*x.mean_and_variance(), mean_b, variance_b)
    return _reduced(x.layout.split(distances), a, weights, reduction)


def layer_frechet(
    a: VDNA,
    b: VDNA,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    reduction: Reduction = "mean",
) -> Distance:
    """Layer Fréchet distance: between the Gaussians of each layer. FID is this on one layer of the FID Inception.

    Args:
        a: layer Gaussian DNA, the reference; the factors of its covariances are kept for the next call.
        b: layer Gaussian DNA with the same network and layout.
        layers: layers to compare, ``None`` for all.
        neurons: as in `emd`: the distance of these neurons' marginal, a submatrix of the covariance.
        weights: of the layers, ``{layer: number}``, `NeuronWeights` with ``per="layer"``, or their file; the distance
            is then ``sum w_l LFD_l`` instead of the mean.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``.

    Returns:
        float64, in squared activation units.

    Raises:
        ValueError: when the DNAs cannot be compared, one has fewer than two images, or per-neuron values are asked.
    """
    if reduction == "none":
        raise ValueError(
            "a layer Fréchet distance has one number a layer: use reduction='layer', or the neuron Fréchet distance"
        )
    a, b = _prepared(a, b, layers, neurons, "layer_gaussian")
    x, y = a.distribution, b.distribution
    if not isinstance(x, LayerGaussianDistribution) or not isinstance(y, LayerGaussianDistribution):
        raise TypeError("layer_frechet compares layer Gaussians")
    _check_number(a, b)
    device = x.state.device
    per_layer = {}
    for layer in x.layout:
        mean_b, covariance_b = y.mean_and_covariance(layer)
        distance = frechet_distance(
            *x.mean_and_covariance(layer),
            mean_b.to(device),
            covariance_b.to(device),
            factor_a=x.factor(layer),
            factor_b=y.factor(layer).to(device),
        )
        per_layer[layer] = distance.reshape(1)
    return _reduced(per_layer, a, weights, reduction, per="layer")


def _prepared(
    a: VDNA,
    b: VDNA,
    layers: Sequence[str] | None,
    neurons: NeuronsLike | None,
    kind: str,
    allow_subsampled: bool = False,
) -> tuple[VDNA, VDNA]:
    for name, dna in (("reference", a), ("generated", b)):
        if dna.kind != kind:
            raise ValueError(f"this distance needs DNAs of kind {kind!r}: reference {a.kind!r}, generated {b.kind!r}")
        if not dna.n_images:
            raise ValueError(f"the {name} DNA has seen no image")
        dna.distribution.check_finite()
    if layers is not None or neurons is not None:
        a, b = a.select(layers, neurons), b.select(layers, neurons)
    check_comparable(a, b)
    found = a.provenance.differences(b.provenance)
    if found and not allow_subsampled:
        raise ValueError(
            f"these DNAs cannot be compared: {describe_differences(found, ('reference', 'generated'))}: they saw other "
            "positions of their images. Make both with the same max_positions, or give allow_subsampled=True for an "
            "estimate"
        )
    return a, b


def _diagonal(dna: VDNA) -> VDNA:
    if isinstance(dna.distribution, LayerGaussianDistribution):
        return VDNA(dna.distribution.gaussian(), dna.fingerprint, dna.provenance)
    return dna


def _check_number(a: VDNA, b: VDNA) -> None:
    if min(a.n_images, b.n_images) < 2:
        raise ValueError(
            f"a {a.kind.replace('_', ' ')} needs at least 2 images: reference {a.n_images}, generated {b.n_images}"
        )


def _reduced(
    per_neuron: dict[str, Tensor],
    a: VDNA,
    weights: NeuronWeightsLike | None,
    reduction: Reduction,
    per: Per = "neuron",
) -> Distance:
    flat = chosen_weights(weights, a.layout, a.fingerprint, per)
    if flat is not None:
        parts = flat.split([len(d) for d in per_neuron.values()])
        per_neuron = {layer: d * part.to(d) for (layer, d), part in zip(per_neuron.items(), parts, strict=True)}
    if reduction == "none":
        return per_neuron
    if reduction == "layer":
        return {layer: d.sum() if weights is not None else d.mean() for layer, d in per_neuron.items()}
    if reduction == "mean":
        every = torch.cat(list(per_neuron.values()))
        return every.sum() if weights is not None else every.mean()
    raise ValueError(f"unknown reduction {reduction!r}; known: mean, layer, none")


def coverage_warning(dna: VDNA) -> str | None:
    """A sentence when more than 1 % of a layer's activations lay outside the activation ranges, else ``None``."""
    if not isinstance(dna.distribution, HistogramDistribution) or not dna.n_images:
        return None
    outside = {layer: share for layer, share in dna.distribution.outside().items() if share > _OUTSIDE_WARNING}
    if not outside:
        return None
    worst = ", ".join(f"{layer} {share:.1%}" for layer, share in sorted(outside.items(), key=lambda i: -i[1])[:4])
    return (
        f"more than 1 % of the activations lie outside the activation ranges in {len(outside)} of "
        f"{len(dna.layout)} layers ({worst}); they are counted in the edge bins. Calibrate ranges that cover these "
        "images (vdna-metrics calibrate, or ActivationRange)"
    )


def rank_warning(dna: VDNA) -> str | None:
    """A sentence when a layer has at least as many neurons as there are images, so its covariance is singular."""
    if dna.kind != "layer_gaussian":
        return None
    short = [f"{layer} ({count} neurons)" for layer, count in dna.layout.items() if count >= dna.n_images]
    if not short:
        return None
    return (
        f"{dna.n_images} images are too few to estimate the covariance of {', '.join(short[:4])}"
        f"{', ...' if len(short) > 4 else ''}: the distance is biased upwards; take more images, fewer neurons, or the "
        "neuron Fréchet distance"
    )
