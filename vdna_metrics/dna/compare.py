"""Distances between DNAs: the functions that every metric's ``compute`` calls."""

from __future__ import annotations

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.distances import EMD, LFD, NFD
from vdna_metrics.dna.vdna import VDNA

_OUTSIDE_WARNING = 0.01


emd = EMD
"""VDNA-EMD: earth mover's distance between the histograms of each neuron, a `Distance` of `VDNA.kind` histogram.

``emd(reference, generated, *, layers, neurons, weights, unit="bins", reduction="mean", allow_subsampled=False)``, see
`Distance.__call__`; ``unit`` is ``"bins"``, ``"range"`` or ``"activation"``, see `earth_movers_distance`.

Source: Ramtoula et al., Visual DNA, CVPR 2023, Eq. 2-5.
"""

neuron_frechet = NFD
"""Neuron Fréchet distance: between the Gaussians of each neuron, ``(m1 - m2)² + (s1 - s2)²``, in squared activations.

Called as `emd`, without a unit; of a layer Gaussian the diagonal is taken. Needs two images.
"""

layer_frechet = LFD
"""Layer Fréchet distance: between the Gaussians of each layer. FID is this on one layer of the FID Inception.

Called as `emd`, without a unit; of some neurons it is the distance of their marginal, a submatrix of the covariance,
and ``weights`` are of layers. The factors of the reference's covariances are kept for the next call. Needs two images.
"""


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
