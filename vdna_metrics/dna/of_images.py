"""What our distances say of single images, many at once: faster than a DNA of each, of Gaussians the only way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vdna_metrics.distributions import GaussianDistribution, HistogramDistribution, LayerGaussianDistribution
from vdna_metrics.functional.emd import EMDUnit, cumulative_shares, image_emd
from vdna_metrics.functional.moments import image_means

OfImages = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Takes ``{layer: [neurons, images, positions]}``, gives ``{layer: [images, parts]}`` float64."""


def image_emd_from(reference: HistogramDistribution, *, unit: EMDUnit) -> OfImages:
    """EMD of each neuron between each image's own counts and the reference's."""
    layout = reference.layout
    shares = layout.split(cumulative_shares(reference.counts))
    low, high = (layout.split(end.to(reference.state.device)) for end in (reference.ranges.low, reference.ranges.high))
    scale = layout.split(bin_widths(reference, unit))

    def measure(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {layer: image_emd(activations[layer], shares[layer], low[layer], high[layer]) for layer in layout}
        return {layer: distances.mul_(scale[layer].to(distances.device)) for layer, distances in found.items()}

    return measure


def image_frechet_from(reference: GaussianDistribution) -> OfImages:
    """``(x − μ)² + σ²`` of each neuron: an image is a Gaussian without spread at its mean activation ``x``."""
    mean, variance = map(reference.layout.split, reference.mean_and_variance())

    def measure(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        means = {layer: image_means(activations[layer]) for layer in reference.layout}
        return {
            layer: x.sub_(mean[layer].to(x.device)).square_().add_(variance[layer].to(x.device))
            for layer, x in means.items()
        }

    return measure


def image_layer_frechet_from(reference: LayerGaussianDistribution) -> OfImages:
    """``|x − μ|² + tr S`` of each layer: the sum of `image_frechet_from` over its neurons."""
    by_neuron = image_frechet_from(reference.gaussian())
    return lambda activations: {layer: x.sum(dim=1, keepdim=True) for layer, x in by_neuron(activations).items()}


def bin_widths(distribution: HistogramDistribution, unit: EMDUnit) -> Tensor:
    """A bin of each neuron in a unit, ``[neurons]`` float64."""
    low, high = distribution.ranges.low.double(), distribution.ranges.high.double()
    one = torch.ones_like(low)
    return {"bins": one, "range": one / distribution.bins, "activation": (high - low) / distribution.bins}[unit]
