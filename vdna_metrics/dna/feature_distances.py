"""Distances and scores of features: of samples of images, one pooled vector each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from vdna_metrics.distributions import FeatureSample, Histogram
from vdna_metrics.dna.distances import SQUARED, Distance, register_distance
from vdna_metrics.extractors.directions import Directions
from vdna_metrics.functional import (
    cmmd,
    histogram_wasserstein2,
    kernel_mmd,
    monge_inception_distance,
    sliced_wasserstein,
    vendi_score,
)
from vdna_metrics.functional.neighbours import neighbour_shares

DIRECTIONS = 1000
"""Directions that sliced distances of features take."""


@lru_cache(maxsize=8)  # a third of a second for Inception's features, in 8 MB
def unit_vectors(along: Directions, d: int) -> Tensor:
    """Directions of ``d`` neurons, ``[n, d]`` float32 on the CPU, not to be changed."""
    return torch.from_numpy(along.vectors(d))


def _directions(real: Tensor) -> Tensor:
    return unit_vectors(Directions(DIRECTIONS), real.shape[1]).to(real.device)


def _of_layers(
    measure: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[FeatureSample, FeatureSample], dict[str, Tensor]]:
    """A function of two sets of features for each layer, where the reference is."""

    def function(reference: FeatureSample, generated: FeatureSample) -> dict[str, Tensor]:
        device, fake = reference.state.device, generated.features()
        real = reference.features()
        return {layer: measure(side, fake[layer].to(device)).reshape(1) for layer, side in real.items()}

    function.__qualname__ = getattr(measure, "__qualname__", function.__qualname__)
    function.__module__ = __name__
    return function


def _kid(real: Tensor, generated: Tensor) -> Tensor:
    return kernel_mmd(real, generated)[0]


def _cmmd(real: Tensor, generated: Tensor) -> Tensor:
    return cmmd(real, generated)[0]


def _mind(real: Tensor, generated: Tensor) -> Tensor:
    return monge_inception_distance(real, generated, _directions(real))


def _swd(real: Tensor, generated: Tensor) -> Tensor:
    return sliced_wasserstein(real, generated, _directions(real))


_last_shares: tuple[list[str], tuple[Tensor, ...]] = [], ()


def _shares(real: Tensor, generated: Tensor) -> tuple[Tensor, ...]:
    """`neighbour_shares`, of which the last are kept: columns ask for each of the four of the same two sets in turn.

    Sets are told apart by their contents, whose hash takes next to nothing beside the neighbours.
    """
    global _last_shares
    key = [hashlib.sha256(x.cpu().contiguous().numpy().data).hexdigest() for x in (real, generated)]
    key += map(str, (real.shape, generated.shape, real.device))
    known, shares = _last_shares
    if known != key:
        shares = neighbour_shares(real, generated)
        _last_shares = key, shares
    return tuple(share.clone() for share in shares)


def _precision(real: Tensor, generated: Tensor) -> Tensor:
    return _shares(real, generated)[0]


def _recall(real: Tensor, generated: Tensor) -> Tensor:
    return _shares(real, generated)[1]


def _density(real: Tensor, generated: Tensor) -> Tensor:
    return _shares(real, generated)[2]


def _coverage(real: Tensor, generated: Tensor) -> Tensor:
    return _shares(real, generated)[3]


def _vendi(generated: FeatureSample) -> dict[str, Tensor]:
    return {layer: vendi_score(side).reshape(1) for layer, side in generated.features().items()}


def _neuron_wasserstein(reference: Histogram, generated: Histogram) -> dict[str, Tensor]:
    layout, device = reference.layout, reference.counts.device
    sides = (reference.counts, generated.counts.to(device), reference.bin_widths("activation").to(device))
    counts_a, counts_b, width = (layout.split(side) for side in sides)
    return {layer: histogram_wasserstein2(counts_a[layer], counts_b[layer], width[layer]) for layer in layout}


KID = register_distance(
    Distance(
        name="kid",
        label="KID",
        meaning="The squared maximum mean discrepancy of features with the kernel (x·y/d + 1)³, unbiased, over all "
        "pairs of images: what the mean over subsets estimates.",
        kind="features",
        function=_of_layers(_kid),
        per="layer",
        bias="unbiased",
        aliases=("kernel_distance",),
    )
)
CMMD = register_distance(
    Distance(
        name="cmmd",
        label="CMMD",
        meaning="1000 times the squared maximum mean discrepancy of features of unit length with a Gaussian kernel of "
        "deviation 10.",
        kind="features",
        function=_of_layers(_cmmd),
        per="layer",
        bias="jackknife",
    )
)
MIND = register_distance(
    Distance(
        name="mind",
        label="MIND",
        meaning=f"Three times the number of neurons times the mean squared Wasserstein distance of features along "
        f"{DIRECTIONS} directions.",
        kind="features",
        function=_of_layers(_mind),
        unit=SQUARED,
        per="layer",
        bias="joint_jackknife",
        aliases=("monge_inception",),
    )
)
SWD = register_distance(
    Distance(
        name="swd",
        label="sliced Wasserstein distance",
        short="SWD",
        meaning=f"The mean squared Wasserstein distance of features along {DIRECTIONS} directions.",
        kind="features",
        function=_of_layers(_swd),
        unit=SQUARED,
        per="layer",
        bias="joint_jackknife",
        aliases=("sliced_wasserstein",),
    )
)
PRECISION = register_distance(
    Distance(
        name="precision",
        label="precision",
        meaning="The share of generated images whose features lie in the manifold of the real ones (3 neighbours).",
        kind="features",
        function=_of_layers(_precision),
        direction="higher",
        per="layer",
        neutral=1.0,
    )
)
RECALL = register_distance(
    Distance(
        name="recall",
        label="recall",
        meaning="The share of real images whose features lie in the manifold of the generated ones (3 neighbours).",
        kind="features",
        function=_of_layers(_recall),
        direction="higher",
        per="layer",
        neutral=1.0,
    )
)
DENSITY = register_distance(
    Distance(
        name="density",
        label="density",
        meaning="In how many balls around real images (5 neighbours) a generated image lies, over 5.",
        kind="features",
        function=_of_layers(_density),
        direction="higher",
        per="layer",
        neutral=None,
    )
)
COVERAGE = register_distance(
    Distance(
        name="coverage",
        label="coverage",
        meaning="The share of balls around real images (5 neighbours) in which a generated image lies.",
        kind="features",
        function=_of_layers(_coverage),
        direction="higher",
        per="layer",
        neutral=1.0,
    )
)
VENDI = register_distance(
    Distance(
        name="vendi",
        label="Vendi score",
        short="Vendi",
        meaning="How many wholly different images would be as diverse as the generated ones, by the cosines of their "
        "features.",
        kind="features",
        function=_vendi,
        direction="higher",
        arity=1,
        per="layer",
        neutral=None,
        aliases=("vendi_score",),
    )
)
NWD = register_distance(
    Distance(
        name="nwd",
        label="neuron Wasserstein distance",
        short="NWD",
        meaning="For each neuron the squared Wasserstein distance between the histograms of its activations over both "
        "sets; the mean over neurons. Of a layer of directions it is the sliced Wasserstein distance.",
        kind="histogram",
        function=_neuron_wasserstein,
        unit=SQUARED,
        bias="joint_jackknife",
        aliases=("neuron_wasserstein",),
    )
)
