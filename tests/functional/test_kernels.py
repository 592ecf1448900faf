"""Kernels of features."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from vdna_metrics.functional import (
    Kernel,
    PolynomialKernel,
    RBFKernel,
    accumulate_unit_second_,
    cmmd,
    kernel_distance,
    kernel_mmd,
    kernels,
    squared_interval,
    vendi_score,
    vendi_score_from_moments,
)

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


# ------------------------------------------------------------------------------------------------------------------ MMD
KERNELS = pytest.mark.parametrize("kernel", [PolynomialKernel(), PolynomialKernel(2, 0.3, 0.5), RBFKernel(1.3)])


def values_of(kernel: Kernel, a: Tensor, b: Tensor) -> np.ndarray:
    """`[N, M]`, pair by pair."""
    return np.array([[float(kernel(x[None], y[None])) for y in b] for x in a])


def test_kernels_are_their_formulas() -> None:
    """Both kernels are what they say, far from the origin too, and `own` is the diagonal."""
    x, y = drawn(6, 4, 0) + 1e3, drawn(5, 4, 1) + 1e3
    expected = ((x[:, None] - y[None]).square().sum(2) / (-2 * 1.7**2)).exp()
    torch.testing.assert_close(RBFKernel(1.7)(x, y), expected, rtol=1e-9, atol=0)
    x, y = x - 1e3, y - 1e3
    torch.testing.assert_close(PolynomialKernel()(x, y), (x @ y.T / 4 + 1) ** 3)
    for kernel in (PolynomialKernel(2, 0.3, 0.5), RBFKernel(1.3)):
        torch.testing.assert_close(kernel.own(x), kernel(x, x).diagonal())


@KERNELS
def test_the_discrepancy_is_the_sum_over_pairs(kernel: Kernel) -> None:
    """Unbiased without the pairs of an image with itself, biased with them, for sets of unlike sizes."""
    x, y = drawn(7, 3, 0), drawn(5, 3, 1) + 0.3
    xx, yy, xy = (values_of(kernel, a, b) for a, b in ((x, x), (y, y), (x, y)))
    unbiased = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (xx, yy)) - 2 * xy.mean()
    assert kernel_mmd(x, y, kernel=kernel)[0].item() == pytest.approx(unbiased, rel=1e-10)
    biased = xx.mean() + yy.mean() - 2 * xy.mean()
    assert kernel_mmd(x, y, kernel=kernel, biased=True)[0].item() == pytest.approx(biased, rel=1e-10)


def test_one_subset_of_all_is_the_discrepancy() -> None:
    """The kernel distance of one subset with all images is the unbiased estimate."""
    x, y = drawn(30, 4, 0), drawn(30, 4, 1)
    expected = kernel_distance(x, y, subsets=1, subset_size=30)[0]
    torch.testing.assert_close(kernel_mmd(x, y)[0], expected, rtol=1e-10, atol=0)


@KERNELS
def test_the_error_is_hoeffdings(kernel: Kernel) -> None:
    """The standard error is the square root of the five terms, from matrices that are centred explicitly."""
    x, y = drawn(9, 3, 0), drawn(7, 3, 1) + 2
    xx, yy, xy = (values_of(kernel, a, b) for a, b in ((x, x), (y, y), (x, y)))
    mixed = xy - xy.mean(0) - xy.mean(1, keepdims=True) + xy.mean()
    b_xy = (mixed**2).sum() / (8 * 6)
    variance = 4 * b_xy / (9 * 7)
    for own, cross in ((xx, xy), (yy, xy.T)):
        n, m = cross.shape
        own = own - np.diag(np.diag(own))
        rows = own.sum(1)
        centred = own - rows / (n - 2) - rows[:, None] / (n - 2) + own.sum() / ((n - 1) * (n - 2))
        b = (centred**2)[~np.eye(n, dtype=bool)].sum() / (n * (n - 3))
        a = (rows / (n - 2) - cross.mean(1)).var(ddof=1) - b / (n - 2) - b_xy / m
        variance += 4 * max(a, 0) / n + 2 * b / (n * (n - 1))
    assert kernel_mmd(x, y, kernel=kernel)[1].item() == pytest.approx(math.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize(
    ("n", "m", "apart"), [(40, 60, 0.0), (40, 60, 0.5), (40, 60, 1.0), (10, 14, 1.0), (100, 50, 1.5)]
)
def test_the_error_is_that_of_repeated_draws(n: int, m: int, apart: float) -> None:
    """Over 400 draws: the value is unbiased, errors are the deviation of values, and 93 % of intervals hold the truth.

    The truth is known in closed form for Gaussians. Of equal distributions the variance is overestimated by one half
    to three quarters, for its first-order part is not below 0.
    """
    sigma, d = 1.5, 3
    wide = sigma**2 + 2
    truth = 2 * (sigma**2 / wide) ** (d / 2) * (1 - math.exp(-(apart**2) / (2 * wide)))
    shift = torch.tensor([apart, 0, 0])
    found = torch.stack(
        [
            torch.stack(kernel_mmd(torch.randn(n, d), torch.randn(m, d) + shift, kernel=RBFKernel(sigma)))
            for _ in range(400)
        ]
    )
    values, errors = found.unbind(1)
    assert abs(values.mean() - truth) < 3 * values.std() / math.sqrt(400)
    ratio = float(errors.square().mean() / values.var())
    assert 0.85 < ratio < (2 if apart < 1 else 1.15)
    ends = [squared_interval(*both) for both in found.tolist()]
    assert np.mean([low <= truth <= high for low, high in ends]) >= 0.93


@settings(max_examples=30)
@given(seed=seeds, block=st.integers(1, 9), biased=st.booleans())
def test_blocks_order_and_sides_do_not_change_the_discrepancy(seed: int, block: int, biased: bool) -> None:
    """In blocks of any size, shuffled or with sides swapped, value and error are the same."""
    x, y = drawn(12, 3, seed), drawn(9, 3, seed + 1) + 1
    expected = kernel_mmd(x, y, kernel=RBFKernel(2.0), biased=biased)
    with mock.patch.object(kernels, "_BLOCK", block):
        found = kernel_mmd(y.flip(0), x.flip(0), kernel=RBFKernel(2.0), biased=biased)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@given(seed=seeds)
def test_a_set_is_at_zero_from_itself(seed: int) -> None:
    """The biased discrepancy of a set and itself is 0, and is above 0 of two."""
    x = drawn(12, 3, seed)
    assert kernel_mmd(x, x, biased=True)[0].item() == pytest.approx(0, abs=1e-9)
    assert kernel_mmd(x, x + 1, kernel=RBFKernel(1.0), biased=True)[0] > 0


def test_lengths_of_embeddings_do_not_matter_to_cmmd() -> None:
    """CMMD is a thousand times the biased discrepancy of directions, whatever the lengths."""
    x, y = drawn(12, 6, 0), drawn(9, 6, 1)
    unit = [torch.nn.functional.normalize(side) for side in (x, y)]
    expected = [1000 * each for each in kernel_mmd(*unit, kernel=RBFKernel(10.0), biased=True)]
    torch.testing.assert_close(list(cmmd(x, 7 * y)), expected, rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="1 of 2 generated are all zeros"):
        cmmd(x, torch.eye(2, 6) * torch.tensor([[1], [0]]))


def test_too_few_images_have_no_error() -> None:
    """One image has no unbiased estimate; below 4 there is a value without error; wrong options are shown."""
    x = drawn(8, 3, 0)
    with pytest.raises(ValueError, match="at least 2 images in each set for an unbiased estimate, got real 8, gener"):
        kernel_mmd(x, x[:1])
    value, error = kernel_mmd(x, x[:3])
    assert value.isfinite()
    assert error.isnan()
    assert kernel_mmd(x, x[:1], biased=True)[0].isfinite()
    with pytest.raises(ValueError, match=r"real \[8, 3\], generated \[8, 2\]"):
        kernel_mmd(x, x[:, :2])
    with pytest.raises(ValueError, match="Expected a degree of at least 1, got 0"):
        PolynomialKernel(0)
    with pytest.raises(ValueError, match=r"Expected a sigma above 0 and finite, got 0\.0"):
        RBFKernel(0.0)


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


@settings(max_examples=30)
@given(n=st.integers(2, 20), d=st.integers(1, 8), parts=st.integers(1, 4), seed=seeds)
def test_moments_give_the_score(n: int, d: int, parts: int, seed: int) -> None:
    """The second moment, added up over batches, gives the score of all features."""
    features = drawn(n, d, seed)
    second = torch.zeros(d, d, dtype=torch.float64)
    for part in features.chunk(parts):
        accumulate_unit_second_(second, part)
    found = vendi_score_from_moments(second, n).item()
    assert found == pytest.approx(vendi_score(features).item(), rel=1e-9)
    assert vendi_score_from_moments(second.float(), n).item() == pytest.approx(found, rel=1e-3)


def test_moments_of_something_else_are_refused() -> None:
    """A wrong number of images, another shape, NaN, whole numbers and a lopsided matrix are errors."""
    with pytest.raises(ValueError, match="of n=7 features of unit length, whose trace is n, got a trace of 6"):
        vendi_score_from_moments(2 * torch.eye(3), 7)
    with pytest.raises(ValueError, match=r"Expected a second moment \[d, d\], got \[3, 2\]"):
        vendi_score_from_moments(torch.ones(3, 2), 3)
    with pytest.raises(ValueError, match="got a trace of nan"):
        vendi_score_from_moments(torch.full((2, 2), torch.nan), 2)
    with pytest.raises(ValueError, match="finite and symmetric"):
        vendi_score_from_moments(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 2)
    with pytest.raises(TypeError, match=r"floating second, got torch\.int64"):
        vendi_score_from_moments(torch.eye(2).long(), 2)
