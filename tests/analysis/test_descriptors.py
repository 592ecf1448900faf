"""Descriptors against what they are by definition, and in cases with a closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import DEAD, KINDS, LAYOUT, make_dna, make_empty, make_fingerprint, make_ranges
from torch import Tensor

from vdna_metrics.analysis.coverage import coverage
from vdna_metrics.analysis.descriptors import (
    LayerDescriptors,
    coding_length,
    coding_share,
    dead_neurons,
    describe,
    feature_sparsity,
    redundancy,
    sparsity,
)
from vdna_metrics.distributions import FeatureSample, Kind, LayerGaussianDistribution
from vdna_metrics.dna import VDNA
from vdna_metrics.layout import NeuronLayout


def _of_vectors(vectors: Tensor, centre: Tensor | None = None) -> VDNA:
    """A layer Gaussian DNA of one layer that saw vectors ``[N, d]``."""
    layout = NeuronLayout({"norm": vectors.shape[1]})
    distribution = LayerGaussianDistribution.empty(layout)
    distribution.fill_({"norm": vectors.double().T[:, :, None]})
    distribution = distribution if centre is None else distribution.about(centre)
    return VDNA(distribution, make_fingerprint().select(["norm"]))


def _fill(dna: VDNA, value: float) -> VDNA:
    activations = {layer: torch.full((count, 3, 5), value) for layer, count in LAYOUT.items()}
    dna.distribution.fill_(activations)
    return dna


# --------------------------------------------------------------------------------------------------------- dead neurons
@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_neuron_is_dead(kind: Kind) -> None:
    """In every kind of DNA the neuron that always says the same is found, and no other."""
    dead = dead_neurons(make_dna(kind, 30, bins=50))
    assert {layer: neurons.nonzero().flatten().tolist() for layer, neurons in dead.items()} == {
        "conv1": [],
        "conv2": [DEAD[1]],
        "norm": [],
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1e6 / 3])
def test_constants_are_dead_at_any_value(kind: Kind, value: float) -> None:
    """Rounding of large constants is not taken for variance."""
    dna = _fill(VDNA(make_empty(kind), make_fingerprint()), value)
    assert all(bool(neurons.all()) for neurons in dead_neurons(dna).values())


# ------------------------------------------------------------------------------------------------------------- sparsity
def test_sparsity_is_the_share_in_the_bin_of_zero() -> None:
    """Exact zeros and what is within the same bin count; what lies beyond it does not."""
    dna = VDNA(make_empty("histogram", bins=60), make_fingerprint())  # bins of 0.1 from -3: zero begins one
    values = torch.tensor([0.0, 0.0, 0.09, 0.11, -0.01, 2.0]).view(1, 3, 2)
    dna.distribution.fill_({layer: values.expand(count, -1, -1).clone() for layer, count in LAYOUT.items()})
    found = sparsity(dna)
    assert found["conv1"] == found["norm"] == pytest.approx(3 / 6)
    assert found["conv2"] == pytest.approx(2 / 3 * 3 / 6)  # the dead neuron's range is [0.5, 0.5]


def test_a_relu_has_the_sparsity_of_its_zeros() -> None:
    """After a ReLU the share of zeros is found to a bin."""
    dna = VDNA(make_empty("histogram", bins=2000, ranges=make_ranges(-0.5, 6.0)), make_fingerprint())
    stream = torch.Generator().manual_seed(0)
    activations = {layer: torch.randn(count, 40, 50, generator=stream).relu() for layer, count in LAYOUT.items()}
    dna.distribution.fill_(activations)
    zeros = float((activations["conv1"] == 0).double().mean())
    assert sparsity(dna)["conv1"] == pytest.approx(zeros, abs=0.002)


def test_clamped_activations_are_not_zeros() -> None:
    """A range that ends at 0, or does not reach it, does not take what was clamped for zeros."""
    for low, high, value, expected in (
        (0.0, 3.0, -1.0, 0),
        (-3.0, 0.0, 1.0, 0),
        (1.0, 3.0, 0.0, 0),
        (0.0, 3.0, 0.0, 1),
    ):
        dna = VDNA(make_empty("histogram", ranges=make_ranges(low, high)), make_fingerprint())
        assert sparsity(_fill(dna, value))["norm"] == expected


def test_a_neuron_that_is_always_zero_is_sparse() -> None:
    """A range without width at 0 holds zeros."""
    ranges = make_ranges()
    at_zero = type(ranges)(LAYOUT, torch.zeros(LAYOUT.total), torch.zeros(LAYOUT.total), widen="none")
    dna = VDNA(make_empty("histogram", ranges=at_zero), make_fingerprint())
    assert set(sparsity(_fill(dna, 0.0)).values()) == {1.0}


def test_feature_sparsity_counts_unit_vectors_below_its_threshold() -> None:
    """Positions are averaged and each image's vector gets unit length first, so that its scale decides nothing."""
    layout = NeuronLayout({"conv1": 4, "norm": 2})
    distribution = FeatureSample.empty(layout)
    vectors = torch.tensor([[3e6, 4e6, 0.0, 20.0], [3e-6, 4e-6, 1e-9, -1e-12]])  # of lengths 5e6 and 5e-6
    about_zero = torch.tensor([-1.0, 1.0]) * torch.tensor([1.0, 1.0, 5.0, 1.0])[:, None, None]
    positions = torch.where(vectors.T[:, :, None] == 0, about_zero, vectors.T[:, :, None])  # mean 0, no position 0
    distribution.fill_({"conv1": positions, "norm": torch.zeros(2, 2, 1)}, torch.tensor([1, 2]))
    dna = VDNA(distribution, make_fingerprint().select(["conv1", "norm"]))
    assert feature_sparsity(dna) == {"conv1": 3 / 8, "norm": 1.0}
    assert feature_sparsity(dna, threshold=1e-3) == {"conv1": 4 / 8, "norm": 1.0}
    with pytest.raises(ValueError, match="threshold must be positive, got 0"):
        feature_sparsity(dna, threshold=0)


# ----------------------------------------------------------------------------------------------------------- redundancy
def test_redundancy_is_the_mean_absolute_correlation() -> None:
    """It equals NumPy's correlations, whatever the centre of the sums."""
    vectors = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)).double() @ torch.randn(6, 6).double() + 3
    expected = np.abs(np.corrcoef(vectors.T.numpy())).mean()
    for centre in (None, torch.full((6,), 2.5)):
        assert redundancy(_of_vectors(vectors, centre))["norm"] == pytest.approx(expected, rel=1e-9)


def test_redundancy_has_its_ends() -> None:
    """Copies, of any sign and scale, give 1, uncorrelated neurons 1/d; dead ones are left out."""
    one = torch.randn(20, 1, generator=torch.Generator().manual_seed(0))
    assert redundancy(_of_vectors(one @ torch.tensor([[1.0, -2.0, 300.0]])))["norm"] == pytest.approx(1)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    assert redundancy(_of_vectors(corners))["norm"] == pytest.approx(1 / 4)
    with_dead = torch.cat([corners, torch.full((16, 3), 7.0)], 1)
    assert redundancy(_of_vectors(with_dead))["norm"] == pytest.approx(1 / 4)
    assert redundancy(_of_vectors(torch.full((16, 3), 7.0)))["norm"] is None


# -------------------------------------------------------------------------------------------------------- coding length
@pytest.mark.parametrize("d", [1, 3, 64])
def test_the_coding_length_of_the_identity(d: int) -> None:
    """``X = I_d`` gives ½ d ln 3, which is the share 1."""
    x = torch.eye(d, dtype=torch.float64)
    assert coding_length(x.T @ x / d) == pytest.approx(0.5 * d * math.log(3), rel=1e-12)
    if d > 1:
        assert coding_share(_of_vectors(x))["norm"] == pytest.approx(1, rel=1e-12)


def test_the_coding_length_is_the_determinant() -> None:
    """It equals ``½ log det(I + d/(N ε²) XᵀX)`` of NumPy, for any ε²."""
    x = np.random.default_rng(0).standard_normal((30, 5))
    for epsilon_squared in (0.5, 2.0):
        inside = np.eye(5) + 5 / (30 * epsilon_squared) * x.T @ x
        expected = 0.5 * np.linalg.slogdet(inside)[1]
        found = coding_length(torch.from_numpy(x.T @ x / 30), epsilon_squared=epsilon_squared)
        assert found == pytest.approx(expected, rel=1e-12)


def test_the_coding_share_is_of_vectors_of_mean_square_one() -> None:
    """It is that of the scaled vectors, does not change with their scale, and lies between its two ends."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(2)).double() + 1
    scaled = x / x.square().sum(1).mean().sqrt()
    expected = coding_length(scaled.T @ scaled / 40) / (3 * math.log(3))
    for factor in (1.0, 1e-3, 1e4):
        for centre in (None, torch.ones(6)):
            assert coding_share(_of_vectors(factor * x, centre))["norm"] == pytest.approx(expected, rel=1e-6)
    assert math.log(13) / (6 * math.log(3)) < expected < 1


def test_one_direction_has_the_least_coding_share() -> None:
    """Vectors on one line give ``ln(1 + d/ε²) / (d ln(1 + 1/ε²))``; vectors of 0 have none."""
    line = torch.randn(9, 1) @ torch.tensor([[1.0, 2.0, -1.0, 0.5]])
    assert coding_share(_of_vectors(line))["norm"] == pytest.approx(math.log(9) / (4 * math.log(3)), rel=1e-9)
    assert coding_share(_of_vectors(torch.zeros(4, 3)))["norm"] is None


@pytest.mark.parametrize("wrong", [torch.zeros(2, 3), torch.zeros(4)])
def test_moments_that_are_none_are_refused(wrong: Tensor) -> None:
    """A moment is square and the distortion positive."""
    with pytest.raises(ValueError, match=r"expected a second moment \[d, d\]"):
        coding_length(wrong)
    with pytest.raises(ValueError, match="epsilon_squared must be positive, got 0"):
        coding_length(torch.eye(2), epsilon_squared=0)


# ----------------------------------------------------------------------------------------------------------------- both
def test_describe_tells_what_the_kinds_know() -> None:
    """Of each DNA what its kind tells, as the single functions do, and nothing for what was not given."""
    dnas = {kind: make_dna(kind, 30) for kind in KINDS}
    every = describe(dnas)
    histogram, gaussian = dnas["histogram"], dnas["layer_gaussian"]
    for layer, found in every.items():
        assert found == LayerDescriptors(
            neurons=LAYOUT[layer],
            dead=int(dead_neurons(histogram)[layer].sum()),
            sparsity=sparsity(histogram)[layer],
            used=coverage(histogram).layers[layer].used,
            outside=coverage(histogram).layers[layer].outside,
            redundancy=redundancy(gaussian)[layer],
            coding_share=coding_share(gaussian)[layer],
        )
    assert describe(dnas["gaussian"])["conv2"] == LayerDescriptors(neurons=3, dead=1)


def test_features_beside_others_tell_their_layers_sparsity() -> None:
    """A sample of features, which may be of one layer, adds that layer's and changes nothing else."""
    dnas = {kind: make_dna(kind, 30) for kind in KINDS}
    features = make_dna("features", 30).select(["conv2"])
    expected = describe(dnas)
    expected["conv2"] = replace(expected["conv2"], feature_sparsity=feature_sparsity(features)["conv2"])
    assert describe({**dnas, "features": features}) == expected


@pytest.mark.parametrize(
    ("function", "dna", "message"),
    [
        (sparsity, make_dna("gaussian"), "needs a histogram DNA, got VDNA\\(gaussian"),
        (redundancy, make_dna("gaussian"), "needs a layer_gaussian DNA, got VDNA\\(gaussian"),
        (coding_share, make_dna("histogram"), "needs a layer_gaussian DNA, got VDNA\\(histogram"),
        (redundancy, make_dna("layer_gaussian", 1), "at least 2 images"),
        (coding_share, make_dna("layer_gaussian", 0), "at least 2 images"),
        (dead_neurons, make_dna("gaussian", 1), "at least 2 images"),
        (sparsity, make_dna("histogram", 0), "has seen no image"),
        (dead_neurons, make_dna("histogram", 0), "has seen no image"),
        (feature_sparsity, make_dna("features", 1), "at least 2 images"),
        (describe, {}, "no DNA"),
        (describe, {"features": make_dna("features")}, "no DNA but of features"),
        (
            describe,
            {"histogram": make_dna("histogram"), "gaussian": make_dna("gaussian").select(["norm"])},
            "have one layout",
        ),
    ],
)
def test_other_kinds_and_too_few_images_are_refused(function: Any, dna: Any, message: str) -> None:
    """Each function says which kind it needs and which it got, or how many images it needs."""
    with pytest.raises(ValueError, match=message):
        function(dna)
