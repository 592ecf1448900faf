"""What a DNA says of the network on these images: dead neurons, sparsity, redundancy, coding length, coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vdna_metrics.analysis.coverage import coverage, distribution_of, histogram_dna
from vdna_metrics.analysis.representations import check_threshold, coding_length, near_zero_share, unit_features
from vdna_metrics.distributions import FeatureSample, GaussianDistribution, LayerGaussianDistribution
from vdna_metrics.distributions.kinds import Kind
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.functional.histogram import bin_index
from vdna_metrics.functional.moments import recentre_scatter
from vdna_metrics.references.resolve import DNALike, resolve, resolve_dna

# A variance below this share of the mean's square is what rounding leaves of a constant.
_ROUNDING = 1e-24


def dead_neurons(dna: DNALike) -> dict[str, Tensor]:
    """Neurons that say the same of every image.

    In a histogram, those whose activations all lie in one bin, so known to a bin; in a Gaussian of either kind, those
    whose mean over positions has no variance over images.

    Args:
        dna: DNA of any kind but features, or its file or name, see `resolve_dna`; Gaussians need two images.

    Returns:
        ``{layer: [neurons] bool}``.

    Raises:
        ValueError: when the DNA has seen too few images.

    Examples:
        >>> dead = dead_neurons("bsds500/trainval@vdna_tiny#histogram-1000")
        >>> {layer: int(neurons.sum()) for layer, neurons in dead.items()}
        {'blocks.0': 0, 'blocks.2': 0, 'blocks.4': 0, 'conv_head': 0}
    """
    whole = total_of(resolve_dna(dna))
    if whole.kind == "histogram":
        counts = histogram_dna(whole)[1].counts
        return whole.layout.split(counts.amax(dim=1) == counts.sum(dim=1))
    mean, variance = distribution_of(whole, GaussianDistribution)[1].mean_and_variance()
    return whole.layout.split(variance <= _ROUNDING * mean.square())


def sparsity(dna: DNALike) -> dict[str, float]:
    """Share of each layer's activations that are zero, to a bin.

    Counted are the activations in the bin that holds 0, the rest of which is at most one bin's width away: the zeros
    of a ReLU, and what is as good as zero where there is none. A neuron whose range does not reach 0 has none. The
    literature mostly counts pooled features instead, see `feature_sparsity`.

    Args:
        dna: histogram DNA, or its file or name, see `resolve_dna`.

    Returns:
        ``{layer: share}``, from 0 to 1.

    Raises:
        ValueError: when the DNA is of another kind or has seen no image.

    Examples:
        >>> found = sparsity("bsds500/trainval@vdna_tiny")
        >>> {layer: round(share, 3) for layer, share in found.items()}
        {'blocks.0': 0.014, 'blocks.2': 0.005, 'blocks.4': 0.005, 'conv_head': 0.005}
    """
    dna, distribution = histogram_dna(dna)
    low, high = distribution.rule_ends
    below, above = distribution.outside_counts()
    place = bin_index(torch.zeros(len(low), 1), low, high, distribution.bins).long()
    in_bin = distribution.counts.gather(1, place)[:, 0]
    # Of the edge bins, what was clamped into them is not known to be near 0.
    in_bin = in_bin - torch.where(place[:, 0] == 0, below, 0)
    in_bin = in_bin - torch.where(place[:, 0] == distribution.bins - 1, above, 0)
    zeros = torch.where((low <= 0) & (high >= 0), in_bin.clamp(min=0), 0)
    totals = dna.layout.split(distribution.counts.sum(dim=1))
    return {layer: int(part.sum()) / int(totals[layer].sum()) for layer, part in dna.layout.split(zeros).items()}


def feature_sparsity(dna: DNALike, *, threshold: float = 1e-5) -> dict[str, float]:
    """Share of each layer's pooled features of unit length that are close to zero.

    ``(1/(N d)) Σ_ij [│x_ij│ / ‖x_i‖ < threshold]`` over the N images of the sample, each a vector ``x_i`` of the
    layer's d activations averaged over positions. An average of many positions is seldom zero where single activations
    often are (`sparsity` counts these). A vector of zeros is all zeros.

    Args:
        dna: features DNA of at least two images, or its file or name, see `resolve_dna`.
        threshold: what is close to zero, above 0.

    Returns:
        ``{layer: share}``, from 0 to 1.

    Raises:
        ValueError: when the DNA is of another kind or has seen fewer than two images, or the threshold is not positive.

    Source:
        Kornblith et al., Why do better loss functions lead to less transferable features?, 2021; with this threshold
        and vectors of unit length, Sariyildiz et al., Fake it till you make it, 2023.

    Examples:
        >>> feature_sparsity("bsds500/trainval@vdna_tiny")  # no ReLU follows this layer
        {'conv_head': 0.00...}
    """
    check_threshold(threshold)
    features = distribution_of(dna, FeatureSample)[1].features()
    return {layer: near_zero_share(unit_features(x), threshold) for layer, x in features.items()}


def redundancy(dna: DNALike) -> dict[str, float | None]:
    """How much the neurons of each layer say the same: the mean absolute correlation.

    ``(1/d²) Σ_ij |ρ_ij|`` over the d neurons that are not dead, each with itself too: from 1/d where all are
    uncorrelated to 1 where all are copies. Correlations of n images are about ``0.8/√n`` by chance alone, so fewer
    images look more redundant.

    Args:
        dna: layer Gaussian DNA of at least two images, or its file or name, see `resolve_dna`.

    Returns:
        ``{layer: redundancy}``, ``None`` where all neurons are dead.

    Raises:
        ValueError: when the DNA is of another kind or has seen fewer than two images.

    Source:
        Wang et al., Revisiting the transferability of supervised pretraining: an MLP perspective, 2022, for the
        measure; Sariyildiz et al., No reason for no supervision, 2023, for its use.

    Examples:
        >>> found = redundancy("bsds500/trainval@vdna_tiny")
        >>> {layer: round(share, 3) for layer, share in found.items()}
        {'blocks.0': 0.315, 'blocks.2': 0.243, 'blocks.4': 0.154, 'conv_head': 0.187}
    """
    dna, distribution = distribution_of(dna, LayerGaussianDistribution)
    dead = dead_neurons(dna)
    found: dict[str, float | None] = {}
    for layer in dna.layout:
        live = ~dead[layer]
        covariance = distribution.mean_and_covariance(layer)[1][live][:, live]
        deviation = covariance.diagonal().sqrt()
        correlation = (covariance / deviation[:, None] / deviation).abs().clamp(max=1)
        found[layer] = float(correlation.mean()) if live.any() else None
    return found


def coding_share(dna: DNALike, *, epsilon_squared: float = 0.5) -> dict[str, float | None]:
    """How many directions each layer uses: its images' coding length, as a share of the largest possible.

    `coding_length` of the layer's vectors (one an image, its positions averaged), all scaled by one number so that
    their mean squared length is 1, as the formula supposes (it takes vectors of length 1). Without that, it would tell
    the scale of the activations. It is then largest, ``½ d ln(1 + 1/ε²)``, where all directions are used alike; as with
    ``X = I``. The result is the share of that: 1 for all directions alike, ``ln(1 + d/ε²) / (d ln(1 + 1/ε²))`` for one.
    Vectors are not centred, so a large mean counts as one direction.

    Args:
        dna: layer Gaussian DNA, or its file or name, see `resolve_dna`.
        epsilon_squared: the distortion ``ε²``.

    Returns:
        ``{layer: share}``, ``None`` where all activations are 0.

    Raises:
        ValueError: when the DNA is of another kind or has seen fewer than two images.

    Examples:
        >>> found = coding_share("bsds500/trainval@vdna_tiny")
        >>> {layer: round(share, 3) for layer, share in found.items()}
        {'blocks.0': 0.482, 'blocks.2': 0.605, 'blocks.4': 0.628, 'conv_head': 0.161}
    """
    dna, distribution = distribution_of(dna, LayerGaussianDistribution)
    largest = 0.5 * torch.log1p(torch.tensor(1 / epsilon_squared, dtype=torch.float64)).item()
    found: dict[str, float | None] = {}
    for layer, rows in dna.layout.slices().items():
        first, scatter = distribution.first[rows], distribution.scatters()[layer]
        moment = recentre_scatter(dna.n_images, first, scatter, -distribution.centre[rows])[1] / dna.n_images
        energy = moment.trace()
        length = coding_length(moment / energy, epsilon_squared=epsilon_squared) if energy > 0 else None
        found[layer] = None if length is None else length / (largest * len(moment))
    return found


@dataclass(frozen=True)
class LayerDescriptors:
    """A layer on a set of images; ``None`` where a DNA of the kind that tells it was not given.

    Args:
        neurons: number of neurons.
        dead: neurons that say the same of every image, see `dead_neurons`.
        sparsity: share of activations that are zero, see `sparsity`.
        used: share of its range that the median neuron uses, see `coverage`.
        outside: share of activations outside the ranges, see `coverage`.
        redundancy: mean absolute correlation, see `redundancy`.
        coding_share: coding length as a share of the largest possible, see `coding_share`.
        feature_sparsity: share of pooled features of unit length that are close to zero, see `feature_sparsity`.
    """

    neurons: int
    dead: int
    sparsity: float | None = None
    used: float | None = None
    outside: float | None = None
    redundancy: float | None = None
    coding_share: float | None = None
    feature_sparsity: float | None = None


def describe(dnas: DNALike | Mapping[Kind, VDNA]) -> dict[str, LayerDescriptors]:
    """All descriptors that a DNA, or the DNAs of one set of images, can tell.

    Args:
        dnas: a DNA, its file or name (see `resolve`), or what `build_dnas` returns. Histograms tell sparsity and
            coverage, layer Gaussians redundancy and coding length, these and Gaussians dead neurons; those of the
            histogram where there is one. Features, of some layers or of all, tell their own sparsity beside another.

    Raises:
        ValueError: when there is no DNA but of features, layouts differ, or one has seen too few images.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> kinds = ("histogram-1000", "layer_gaussian", "features")
        >>> found = describe({kind: load_reference(f"bsds500/trainval@vdna_tiny#{kind}") for kind in kinds})
        >>> found["conv_head"]
        LayerDescriptors(neurons=1280, dead=0, sparsity=0.005..., used=0.62..., outside=0.0, redundancy=0.187...,
            coding_share=0.161..., feature_sparsity=0.00...)
    """
    given = map(resolve_dna, dnas.values()) if isinstance(dnas, Mapping) else resolve(dnas).dnas
    by_kind = {dna.kind: total_of(dna) for dna in given}
    features = by_kind.pop("features", None)  # which may be of some layers only
    if not by_kind:
        raise ValueError(f"expected something to describe, {dnas!r} has no DNA{' but of features' * bool(features)}")
    first, *others = by_kind.values()
    for other in others:
        if other.layout != first.layout:
            raise ValueError(f"DNAs of one set of images have one layout; differ: {first!r}, {other!r}")
    histogram, gaussian = by_kind.get("histogram"), by_kind.get("layer_gaussian")
    dead = dead_neurons(histogram or first)
    sparse = sparsity(histogram) if histogram else {}
    covered = coverage(histogram).layers if histogram else {}
    redundant = redundancy(gaussian) if gaussian else {}
    coded = coding_share(gaussian) if gaussian else {}
    sparse_features = feature_sparsity(features) if features else {}
    return {
        layer: LayerDescriptors(
            neurons=count,
            dead=int(dead[layer].sum()),
            sparsity=sparse.get(layer),
            used=covered[layer].used if covered else None,
            outside=covered[layer].outside if covered else None,
            redundancy=redundant.get(layer),
            coding_share=coded.get(layer),
            feature_sparsity=sparse_features.get(layer),
        )
        for layer, count in first.layout.items()
    }
