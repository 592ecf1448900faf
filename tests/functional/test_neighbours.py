"""Neighbours and kernels of features."""

from __future__ import annotations

import math
from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from vdna_metrics.functional import (
    density_coverage,
    kernel_distance,
    nearest_neighbours,
    neighbours,
    precision_recall,
    vendi_score,
)

# Whole numbers, few of them: all distances are exact, and many are equal or 0.
whole = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=14).map(
    lambda rows: torch.tensor(rows, dtype=torch.float32)
)
Share = Callable[..., tuple[Tensor, Tensor]]
SHARES = pytest.mark.parametrize("shares", [precision_recall, density_coverage])


def squared_distances(a: Tensor, b: Tensor) -> np.ndarray:
    """`[N, M]`, from differences."""
    a, b = a.double().numpy(), b.double().numpy()
    return ((a[:, None] - b[None]) ** 2).sum(2)


def radii(features: Tensor, k: int) -> np.ndarray:
    """Squared distance of each to its k-th nearest other."""
    between = squared_distances(features, features)
    np.fill_diagonal(between, np.inf)
    return np.sort(between, axis=1)[:, k - 1]


def by_definition(real: Tensor, generated: Tensor, k: int) -> dict[str, float]:
    """The papers' sums over indicator functions."""
    between = squared_distances(real, generated)
    in_real, in_generated = between <= radii(real, k)[:, None], between <= radii(generated, k)[None]
    return {
        "precision": in_real.any(0).mean(),
        "recall": in_generated.any(1).mean(),
        "density": in_real.sum(0).mean() / k,
        "coverage": in_real.any(1).mean(),
    }


def both(real: Tensor, generated: Tensor, k: int) -> dict[str, float]:
    """Ours, under the same names."""
    found = [*precision_recall(real, generated, k=k), *density_coverage(real, generated, k=k)]
    return dict(zip(("precision", "recall", "density", "coverage"), map(float, found), strict=True))


# ----------------------------------------------------------------------------------------------------------- neighbours
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_neighbours_are_the_nearest(dtype: torch.dtype) -> None:
    """Distances and indices are those of a full sort of all distances."""
    queries, points = torch.randn(30, 7).to(dtype), torch.randn(40, 7).to(dtype)
    distances, indices = nearest_neighbours(queries, points, 5)
    expected = np.sqrt(squared_distances(queries, points))
    assert distances.dtype == torch.float64
    assert indices.dtype == torch.int64
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :5], rtol=1e-12)
    np.testing.assert_array_equal(indices, expected.argsort(axis=1)[:, :5])


def test_near_copies_far_from_the_origin_keep_their_order_and_distance() -> None:
    """Where `|a|² + |b|² − 2ab` has lost all digits in float32, and most in float64, distances are exact."""
    points = 1e4 + torch.randn(20, 64)
    queries = points.clone()
    queries[:, 0] += 1e-3 * torch.arange(1, 21)
    distances, indices = nearest_neighbours(queries, points, 2)
    assert indices[:, 0].tolist() == list(range(20))
    expected = (queries[:, 0].double() - points[:, 0].double()).abs()
    torch.testing.assert_close(distances[:, 0], expected, rtol=1e-12, atol=0)
    assert nearest_neighbours(points, points, 1)[0].tolist() == [[0.0]] * 20


def test_a_query_is_not_its_own_neighbour_but_its_copy_is() -> None:
    """With `exclude_self` a set's own image is left out by its place, one equal to it is not."""
    points = torch.tensor([[0.0], [0.0], [5.0]])
    distances, indices = nearest_neighbours(points, points, 1, exclude_self=True)
    assert distances[:, 0].tolist() == [0, 0, 5]
    assert indices[:2, 0].tolist() == [1, 0]


@settings(max_examples=30)
@given(queries=whole, points=whole, k=st.integers(1, 4), block=st.integers(1, 5))
def test_blocks_do_not_change_neighbours(queries: Tensor, points: Tensor, k: int, block: int) -> None:
    """Blocks of any size give the distances of one block, also without a query itself."""
    for a, b, own in ((queries, points, False), (points, points, True)):
        k = min(k, len(b) - own)
        whole_block = nearest_neighbours(a, b, k, exclude_self=own)[0]
        with mock.patch.object(neighbours, "_BLOCK", block):
            distances, indices = nearest_neighbours(a, b, k, exclude_self=own)
        torch.testing.assert_close(distances, whole_block, rtol=0, atol=0)
        assert all(len(set(row)) == k for row in indices.tolist())
        assert not own or not (indices == torch.arange(len(b))[:, None]).any()


# --------------------------------------------------------------------------------------------------------------- shares
@settings(max_examples=30)
@given(real=whole, generated=whole, k=st.integers(1, 3), block=st.integers(1, 20))
def test_shares_are_the_papers(real: Tensor, generated: Tensor, k: int, block: int) -> None:
    """All four are their definitions to the last image, with ties and copies, in blocks of any size."""
    with mock.patch.object(neighbours, "_BLOCK", block):
        assert both(real, generated, k) == pytest.approx(by_definition(real, generated, k), rel=1e-12)


def test_shares_in_many_dimensions() -> None:
    """The same of 300 neurons, where balls hold some images and not others."""
    real, generated = torch.randn(60, 300), 0.9 * torch.randn(50, 300) + 0.02
    generated[:5] = real[:5]
    found = both(real, generated, 3)
    assert found == pytest.approx(by_definition(real, generated, 3), rel=1e-12)
    assert 0 < found["recall"] < found["precision"] <= 1


@settings(max_examples=30)
@given(real=whole, k=st.integers(1, 3))
def test_a_set_has_all_of_itself(real: Tensor, k: int) -> None:
    """Of a set and itself, precision, recall and coverage are 1, and density is at least 1 + 1/k."""
    found = both(real, real, k)
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["density"] >= 1 + 1 / k - 1e-12


@settings(max_examples=30)
@given(real=whole, generated=whole, k=st.integers(1, 3))
def test_swapping_sides_swaps_precision_and_recall(real: Tensor, generated: Tensor, k: int) -> None:
    """Precision one way is recall the other."""
    assert precision_recall(real, generated, k=k) == precision_recall(generated, real, k=k)[::-1]


@settings(max_examples=30)
@given(real=whole, generated=whole, order=st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(real: Tensor, generated: Tensor, order: object) -> None:
    """Both sets may be shuffled."""
    shuffled = [side[order.sample(range(len(side)), len(side))] for side in (real, generated)]  # type: ignore
    assert both(real, generated, 2) == pytest.approx(both(*shuffled, 2), rel=1e-12)


def test_an_outlier_spoils_precision_and_not_density() -> None:
    """One far real image puts a wide ball around all generated ones; density counts it as one of many."""
    real, generated = torch.randn(100, 2), torch.randn(100, 2) + 20
    real[0] = 40
    precision, _ = precision_recall(real, generated)
    density, coverage = density_coverage(real, generated)
    assert precision == 1
    assert density < 0.25
    assert coverage == 0.01


def test_sets_apart_share_nothing() -> None:
    """Of two sets far apart all four are 0."""
    assert not any(both(torch.randn(20, 3), torch.randn(20, 3) + 100, 3).values())


# --------------------------------------------------------------------------------------------------------------- errors
@SHARES
def test_wrong_features_are_refused(shares: Share) -> None:
    """Another length, NaN, whole numbers and no images are errors that show both sides."""
    features = torch.randn(9, 4)
    with pytest.raises(ValueError, match=r"real \[9, 4\], generated \[9, 5\]; take both from one layer"):
        shares(features, torch.randn(9, 5))
    broken = features.clone()
    broken[[2, 5], 1] = torch.nan
    with pytest.raises(ValueError, match="generated has NaN or infinity in 2 of 9 images"):
        shares(features, broken)
    with pytest.raises(ValueError, match="real has NaN or infinity in 1 of 1 images"):
        shares(torch.full((1, 4), torch.inf), features)
    with pytest.raises(TypeError, match=r"real must be floating, got torch\.int64"):
        shares(features.long(), features)
    with pytest.raises(ValueError, match=r"real \[9, 4\], generated \[0, 4\]"):
        shares(features, features[:0])


def test_too_few_images_are_refused() -> None:
    """The neighbour must be below the numbers of images, of which density and coverage ask the real ones alone."""
    features = torch.randn(9, 4)
    with pytest.raises(ValueError, match="below the number of images, got k=3, real 9, generated 3"):
        precision_recall(features, features[:3])
    with pytest.raises(ValueError, match="below the number of real images, got k=5, real 5, generated 9"):
        density_coverage(features[:5], features)
    density_coverage(features, features[:1])
    with pytest.raises(ValueError, match="k must be from 1 to the number of points, 9, got 10"):
        nearest_neighbours(features, features, 10)
    with pytest.raises(ValueError, match="k must be from 1 to the number of other points, 8, got 9"):
        nearest_neighbours(features, features, 9, exclude_self=True)
    with pytest.raises(ValueError, match="got 4 queries and 9 points"):
        nearest_neighbours(features[:4], features, 1, exclude_self=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree() -> None:
    """On CUDA the shares are those of the CPU."""
    real, generated = torch.randn(50, 30), torch.randn(40, 30)
    for shares in (precision_recall, density_coverage):
        found = shares(real.cuda(), generated.cuda())
        assert found[0].is_cuda
        assert [float(x) for x in found] == pytest.approx([float(x) for x in shares(real, generated)])


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
    with mock.patch.object(neighbours, "_BLOCK", 6):
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
    with mock.patch.object(neighbours, "_KERNEL_ELEMENTS", 2 * d):
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
