"""Small distributions, DNAs and extractors, made for a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vdna_metrics.distributions import (
    AutoHistogramDistribution,
    Distribution,
    FeatureSample,
    GaussianDistribution,
    HistogramDistribution,
    Kind,
    LayerGaussianDistribution,
)
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import create_extractor
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.hashing import row_hashes
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges

KINDS: tuple[Kind, ...] = ("histogram", "gaussian", "layer_gaussian")  # whose distances have parts by neuron or layer
Made = Literal[Kind, "auto"]
MADE: tuple[Made, ...] = (*KINDS, "auto", "features")  # auto: histograms that find their own ranges
LAYOUT = NeuronLayout({"conv1": 4, "conv2": 3, "norm": 2})
POSITIONS = {"conv1": 6, "conv2": 5, "norm": 1}
DEAD = ("conv2", 1)  # this neuron always gives 0.5

Activations = dict[str, Tensor]


def make_activations(images: int, seed: int = 0, *, shift: float = 0.0) -> Activations:
    """Activations ``{layer: [neurons, images, positions]}`` float32, normal with one deviation a neuron."""
    stream = np.random.default_rng(seed)
    made = {}
    for layer, neurons in LAYOUT.items():
        deviations = np.linspace(0.5, 2, neurons)[:, None, None]
        values = shift + deviations * stream.standard_normal((neurons, images, POSITIONS[layer]))
        made[layer] = torch.from_numpy(values.astype(np.float32))
    made[DEAD[0]][DEAD[1]] = 0.5
    return made


def hashes_of(activations: Mapping[str, Tensor]) -> Tensor:
    """What stands for hashes of the images that gave these."""
    return row_hashes(activations["conv1"].float().mean(2).T)


def images_of(activations: Mapping[str, Tensor], images: Sequence[int]) -> Activations:
    """Some images' activations."""
    return {layer: x[:, list(images)] for layer, x in activations.items()}


def make_ranges(low: float = -3.0, high: float = 3.0, **changes: object) -> ActivationRanges:
    """One range for every neuron of `LAYOUT` but the dead one."""
    ends = [torch.full((LAYOUT.total,), end) for end in (low, high)]
    dead = LAYOUT.slices()[DEAD[0]].start + DEAD[1]
    for end in ends:
        end[dead] = 0.5
    options: dict[str, object] = {"widen": "none", "n_images": 7, "sources": ("made",), **changes}
    return ActivationRanges(LAYOUT, ends[0], ends[1], **options)  # type: ignore[arg-type]


def make_empty(kind: Made, *, bins: int = 8, ranges: ActivationRanges | None = None) -> Distribution:
    """A distribution of `LAYOUT` that has seen no image."""
    if kind == "histogram":
        return HistogramDistribution.empty(ranges or make_ranges(), bins)
    if kind == "auto":
        return AutoHistogramDistribution.empty(LAYOUT, bins)
    if kind == "features":
        return FeatureSample.empty(LAYOUT)
    if kind == "gaussian":
        return GaussianDistribution.empty(LAYOUT)
    return LayerGaussianDistribution.empty(LAYOUT)


def make_distribution(
    kind: Made,
    activations: Mapping[str, Tensor],
    *,
    bins: int = 8,
    ranges: ActivationRanges | None = None,
    centre: Tensor | None = None,
) -> Distribution:
    """The distribution of some activations, in one batch; moments about a centre where one is given."""
    distribution = make_empty(kind, bins=bins, ranges=ranges)
    distribution.fill_(activations, hashes_of(activations))
    if kind == "features":
        return distribution.copied()
    if centre is not None and isinstance(distribution, GaussianDistribution | LayerGaussianDistribution):
        return distribution.about(centre)
    return distribution


def make_fingerprint(
    architecture: str = "tiny", weights: str = "ab" * 32, preprocessing: str = "clean:32"
) -> ExtractorFingerprint:
    """A fingerprint with `LAYOUT`'s layers."""
    paths = {layer: f"network.{layer}" for layer in LAYOUT}
    return ExtractorFingerprint(architecture, weights, preprocessing, paths)


def make_dna(
    kind: Made,
    images: int = 12,
    seed: int = 0,
    *,
    shift: float = 0.0,
    bins: int = 8,
    ranges: ActivationRanges | None = None,
    centre: Tensor | None = None,
    fingerprint: ExtractorFingerprint | None = None,
) -> VDNA:
    """A DNA of random activations."""
    activations = make_activations(images, seed, shift=shift)
    distribution = make_distribution(kind, activations, bins=bins, ranges=ranges, centre=centre)
    provenance = Provenance("tiny", (f"set{seed}",), (), (f"{seed:064x}",))
    return VDNA(distribution, fingerprint or make_fingerprint(), provenance)


def assert_same_state(a: Distribution, b: Distribution) -> None:
    """Equal layouts, and equal states: counts and features to the bit, moments to 1e-12 of their largest."""
    assert a.kind == b.kind
    assert a.layout == b.layout
    if isinstance(a, FeatureSample):
        assert isinstance(b, FeatureSample)
        assert torch.equal(a.state[: 1 + len(a.layout)], b.state[: 1 + len(b.layout)])
        sides = (torch.cat([*side.features().values()], dim=1).tolist() for side in (a, b))
        assert next(sides) == next(sides)
    elif a.state.dtype == torch.int64:
        assert torch.equal(a.state, b.state)
    else:
        assert a.n_images == b.n_images
        for x, y in zip(moments(a), moments(b), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12 * float(y.abs().max()))


def settled(distribution: Distribution) -> Tensor:
    """The state that images have in any order: moments with sums about 0, a sample of features drawn and in order.

    Else the centre of moments depends on which image came first, and on merges; and features lie as they came.
    """
    if isinstance(distribution, GaussianDistribution | LayerGaussianDistribution):
        distribution = distribution.about(torch.zeros_like(distribution.centre))
    return distribution.copied().state


def moments(distribution: Distribution) -> tuple[Tensor, ...]:
    """Means and variances, or means and covariances of each layer."""
    if isinstance(distribution, GaussianDistribution):
        return distribution.mean_and_variance()
    assert isinstance(distribution, LayerGaussianDistribution)
    pairs = [distribution.mean_and_covariance(layer) for layer in distribution.layout]
    return tuple(part for pair in pairs for part in pair)


def tiny_extractor(seed: int = 0) -> FeatureExtractor:
    """Two convolutions over 16 pixel images, with layers ``first`` and ``second``."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 5, 3))
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 4
    return create_extractor(network, layers={"first": "0", "second": "2"}, size=16)
