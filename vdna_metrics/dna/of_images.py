"""What our distances say of single images, many at once: faster than a DNA of each, of Gaussians the only way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vdna_metrics.distributions import GaussianDistribution, Histogram, LayerGaussianDistribution
from vdna_metrics.functional.emd import EMDUnit, cumulative_shares, image_emd, image_emd_by_position
from vdna_metrics.functional.moments import image_means

OfImages = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Takes ``{layer: [neurons, images, positions]}``, gives ``{layer: [images, parts]}`` float64."""

ByPosition = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Takes ``{layer: [neurons, images, positions]}``, gives ``{layer: [images, positions]}`` float64."""


def image_emd_from(reference: Histogram, *, unit: EMDUnit) -> OfImages:
    """EMD of each neuron between each image's own counts and the reference's.

    Where the bins were not given, activations outside the reference's count by how far outside they are.
    """
    layout = reference.layout
    shares = layout.split(cumulative_shares(reference.counts))
    low, high = (layout.split(end.to(reference.state.device)) for end in reference.rule_ends)
    scale, widths = layout.split(reference.bin_widths(unit)), layout.split(reference.bin_widths("activation"))

    def measure(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for layer, x in activations.items():
            if layer in layout:
                distances = image_emd(x, shares[layer], low[layer], high[layer])
                if reference.given == "auto":
                    distances += _beyond(x, low[layer], high[layer]).mean(dim=2).T.to(distances) / widths[layer].to(
                        distances
                    )
                found[layer] = distances.mul_(scale[layer].to(distances.device))
        return found

    return measure


def image_emd_by_position_from(reference: Histogram, weights: Mapping[str, Tensor], *, unit: EMDUnit) -> ByPosition:
    """What each position adds to an image's EMD in a layer; its mean is the weighted sum of `image_emd_from`.

    Args:
        reference: what images are compared with.
        weights: ``{layer: [neurons]}``; neurons whose EMD has no such unit count nothing.
        unit: as in `earth_movers_distance`.
    """
    layout = reference.layout
    shares = layout.split(cumulative_shares(reference.counts))
    low, high = (layout.split(end.to(reference.state.device)) for end in reference.rule_ends)
    scale = layout.split(reference.bin_widths(unit).nan_to_num(nan=0.0))
    widths = layout.split(reference.bin_widths("activation"))

    def measure(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for layer in layout:
            x, factors = activations[layer], scale[layer] * weights[layer].to(scale[layer])
            found[layer] = image_emd_by_position(x, shares[layer], low[layer], high[layer], factors)
            if reference.given == "auto":
                beyond = _beyond(x, low[layer], high[layer]).to(found[layer])
                found[layer] += torch.einsum("nip,n->ip", beyond, (factors / widths[layer]).to(beyond))
        return found

    return measure


def _beyond(activations: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far outside an image's activations are, ``[neurons, images, positions]``."""
    column = activations.shape[0], 1, 1
    beyond = (low.view(column).to(activations.device) - activations).clamp_(min=0)
    return beyond.add_((activations - high.view(column).to(activations.device)).clamp_(min=0))


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
