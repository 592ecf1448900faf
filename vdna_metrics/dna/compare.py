"""Distances between DNAs: the functions that every metric's ``compute`` calls."""

from __future__ import annotations

from collections.abc import Sequence

from vdna_metrics.dna.distances import EMD, LFD, NFD, DistanceResult, Reduction
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.functional.emd import EMDUnit
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike


def emd(
    reference: VDNA,
    generated: VDNA,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
    reduction: Reduction = "mean",
    allow_subsampled: bool = False,
) -> DistanceResult:
    """VDNA-EMD: earth mover's distance between the histograms of each neuron.

    Args:
        reference: histogram DNA.
        generated: histogram DNA with the same network, layout, bins and ranges.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, ``{layer: indices}``, a `NeuronSelection`, or its file.
        weights: of all compared neurons, ``{layer: [neurons]}``, `NeuronWeights`, or their file; the distance is then
            ``sum w_i EMD_i`` (paper Eq. 5) instead of the mean.
        unit: ``"bins"``, ``"range"`` or ``"activation"``, see `earth_movers_distance`.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.
        allow_subsampled: compare the DNAs even if one saw other positions of its images (``max_positions=``).

    Returns:
        float64 on the device of ``reference``.

    Raises:
        ValueError: when the DNAs cannot be compared; both sides are shown.
        TypeError: for a path or a name; `load_vdna` and `load_reference` read those.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Eq. 2-5.
    """
    return EMD(
        reference, generated, layers=layers, neurons=neurons, weights=weights, reduction=reduction,
        allow_subsampled=allow_subsampled, unit=unit,
    )  # fmt: skip


def neuron_frechet(
    reference: VDNA,
    generated: VDNA,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    reduction: Reduction = "mean",
) -> DistanceResult:
    """Neuron Fréchet distance: between the Gaussians of each neuron, ``(m1 - m2)² + (s1 - s2)²``.

    Args:
        reference: Gaussian DNA; of a layer Gaussian the diagonal is taken.
        generated: Gaussian DNA with the same network and layout.
        layers: layers to compare, ``None`` for all.
        neurons: as in `emd`.
        weights: as in `emd`; the distance is then ``sum w_i d_i``.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.

    Returns:
        float64, in squared activation units.

    Raises:
        ValueError: when the DNAs cannot be compared, or one has fewer than two images.
        TypeError: as in `emd`.
    """
    return NFD(reference, generated, layers=layers, neurons=neurons, weights=weights, reduction=reduction)


def layer_frechet(
    reference: VDNA,
    generated: VDNA,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    reduction: Reduction = "mean",
) -> DistanceResult:
    """Layer Fréchet distance: between the Gaussians of each layer. FID is this on one layer of the FID Inception.

    Args:
        reference: layer Gaussian DNA; the factors of its covariances are kept for the next call.
        generated: layer Gaussian DNA with the same network and layout.
        layers: layers to compare, ``None`` for all.
        neurons: as in `emd`: the distance of these neurons' marginal, a submatrix of the covariance.
        weights: of the layers, ``{layer: number}``, `NeuronWeights` with ``per="layer"``, or their file; the distance
            is then ``sum w_l LFD_l`` instead of the mean.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``.

    Returns:
        float64, in squared activation units.

    Raises:
        ValueError: when the DNAs cannot be compared, one has fewer than two images, or per-neuron values are asked for.
        TypeError: as in `emd`.
    """
    return LFD(reference, generated, layers=layers, neurons=neurons, weights=weights, reduction=reduction)
