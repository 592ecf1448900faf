"""Kernels of features."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from vdna_metrics.functional import kernel_distance, kernels, vendi_score

seeds = st.integers(0, 1000)


def drawn(n: int, d: int, seed: int) -> Tensor:
    """Features `[n, d]` of unlike lengths."""
    stream = np.random.default_rng(seed)
    return torch.from_numpy(stream.normal(size=(n, d)) * stream.gamma(1, size=(n, 1)))


# ------------------------------------------------------------------------------------------------------ kernel distance
@pytest.mark.parametrize("options", [{}, {"degree": 2, "gamma": 0.3, "coef": 0.5}])
def test_one_subset_of_all_images_is_the_sum_over_pairs(options: dict[str, float]) -> None:
    """The unbiased estimate, written out as loops over pairs."""
    x, y = drawn(7, 3, 0), drawn(7, 3, 1)
    degree, gamma, coef = options.get("degree", 3), options.get("gamma", 1 / 3), options.get("coef", 1.0)

    def k(a: Tensor, b: Tensor) -> float:
        return (gamma * float(a @ b) + coef) ** degree

    within = sum(k(side[i], side[j]) for side in (x, y) for i in range(7) for j in range(7) if i != j) / 42
    expected = within - 2 * sum(k(a, b) for a in x for b in y) / 49
    mean, deviation = kernel_distance(x, y, subsets=2, subset_size=7, **options)  # type: ignore[arg-type]
    assert mean.item() == pytest.approx(expected, rel=1e-12)
    assert deviation.item() == pytest.approx(0, abs=1e-12 * abs(expected))
    assert mean.dtype == torch.float64


def test_two_draws_of_one_set_are_at_zero() -> None:
    """The estimate is unbiased: over many pairs of sets of ten images it averages 0, and is below 0 for some."""
    values = torch.stack(
        [kernel_distance(torch.randn(10, 4), torch.randn(10, 4), subsets=1, subset_size=10)[0] for _ in range(300)]
    )
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(300)
    assert (values < 0).any()


@settings(max_examples=30)
@given(seeds)
def test_the_kernel_distance_is_seeded_and_symmetric(seed: int) -> None:
    """One seed gives one number, another another; sides may be swapped where a subset is all there is."""
    x, y = drawn(12, 5, seed), drawn(12, 5, seed + 1) + 1
    first, again, other = (kernel_distance(x, y, subsets=4, subset_size=6, seed=s) for s in (seed, seed, seed + 1))
    assert first == again != other
    one_way, other_way = (kernel_distance(*sides, subsets=1, subset_size=12)[0] for sides in ((x, y), (y, x)))
    torch.testing.assert_close(one_way, other_way, rtol=1e-12, atol=0)


@pytest.mark.parametrize("subsets", [2, 60])
def test_overlapping_subsets_are_each_their_own(subsets: int) -> None:
    """Many subsets of few images, computed together in blocks, are what each of them is alone."""
    x, y = drawn(20, 5, 0), drawn(17, 5, 1) + 0.5
    stream, alone = np.random.RandomState(4), []
    for _ in range(subsets):
        chosen = [side[stream.choice(len(side), 8, replace=False)] for side in (x, y)]
        alone.append(kernel_distance(*chosen, subsets=1, subset_size=8)[0])
    expected = torch.stack(alone)
    with mock.patch.object(kernels, "_BLOCK", 6):
        mean, deviation = kernel_distance(x, y, subsets=subsets, subset_size=8, seed=4)
    torch.testing.assert_close(mean, expected.mean(), rtol=1e-10, atol=0)
    torch.testing.assert_close(deviation, expected.std(correction=0), rtol=1e-10, atol=0)


def test_wrong_subsets_are_refused() -> None:
    """A subset larger than a set names all three numbers; options out of range are shown."""
    features = torch.randn(20, 3)
    with pytest.raises(ValueError, match=r"subset_size=1000 is more than .*: real 20, generated 15; give at most 15"):
        kernel_distance(features, features[:15])
    with pytest.raises(ValueError, match="got subsets=0, degree=3, subset_size=5"):
        kernel_distance(features, features, subsets=0, subset_size=5)
    with pytest.raises(ValueError, match="subset_size=1"):
        kernel_distance(features, features, subset_size=1)
    with pytest.raises(ValueError, match=r"real \[20, 3\], generated \[20, 4\]"):
        kernel_distance(features, torch.randn(20, 4), subset_size=5)


# ---------------------------------------------------------------------------------------------------------- Vendi score
@settings(max_examples=30)
@given(n=st.integers(1, 12), d=st.integers(1, 12), seed=seeds)
def test_equal_images_are_one(n: int, d: int, seed: int) -> None:
    """The score of n images in one direction is 1, whatever their lengths."""
    direction = drawn(1, d, seed)
    lengths = torch.from_numpy(np.random.default_rng(seed).gamma(1, size=(n, 1)) + 0.1)
    assert vendi_score(direction * lengths).item() == pytest.approx(1, rel=1e-9)


@settings(max_examples=30)
@given(n=st.integers(1, 8), copies=st.integers(1, 3), wider=st.integers(0, 4))
def test_orthogonal_images_are_as_many_as_they_are(n: int, copies: int, wider: int) -> None:
    """The score of n orthogonal images is n, and copies of each do not change it."""
    features = torch.eye(n, n + wider).repeat(copies, 1) * torch.arange(1, n * copies + 1)[:, None]
    assert vendi_score(features).item() == pytest.approx(n, rel=1e-9)


@settings(max_examples=30)
@given(n=st.integers(2, 12), d=st.integers(1, 12), seed=seeds)
def test_the_score_is_the_entropy_of_the_kernel(n: int, d: int, seed: int) -> None:
    """From either matrix it is the exponential of the eigenvalues' entropy, in any order and in blocks."""
    features = drawn(n, d, seed)
    unit = torch.nn.functional.normalize(features).numpy()
    shares = np.linalg.eigvalsh(unit @ unit.T / n)
    shares = shares[shares > 1e-15]
    expected = float(np.exp(-(shares * np.log(shares)).sum()))
    assert vendi_score(features).item() == pytest.approx(expected, rel=1e-9)
    assert vendi_score(features.flip(0)).item() == pytest.approx(expected, rel=1e-9)
    with mock.patch.object(kernels, "_ELEMENTS", 2 * d):
        assert vendi_score(features).item() == pytest.approx(expected, rel=1e-9)
    assert 1 - 1e-9 <= expected <= min(n, d) + 1e-9


def test_tiny_features_have_directions_too() -> None:
    """Lengths whose squares are below float64 do not spoil the score."""
    assert vendi_score(torch.eye(3, dtype=torch.float64) * 1e-200).item() == pytest.approx(3)


def test_features_without_direction_are_refused() -> None:
    """All zeros have no cosine with others; the number of such images is named."""
    with pytest.raises(ValueError, match="2 of 5 features are all zeros"):
        vendi_score(torch.eye(3, 4).repeat(2, 1)[:5] * torch.tensor([1, 0, 1, 1, 0])[:, None])
    with pytest.raises(ValueError, match="features has NaN or infinity in 1 of 1 images"):
        vendi_score(torch.full((1, 3), torch.nan))
