"""Neighbours of features, and the shares they give."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from vdna_metrics.functional import density_coverage, nearest_neighbours, neighbours, precision_recall

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


def test_shares_at_once_find_neighbours_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All four are those of the two functions, by one search in each set."""
    searched: list[int] = []
    find = neighbours.nearest_neighbours

    def count(queries: Tensor, points: Tensor, k: int, *, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
        searched.append(k)
        return find(queries, points, k, exclude_self=exclude_self)

    real, generated = torch.randn(40, 6), torch.randn(30, 6) * 0.8
    expected = [*precision_recall(real, generated), *density_coverage(real, generated)]
    monkeypatch.setattr(neighbours, "nearest_neighbours", count)
    assert list(neighbours.neighbour_shares(real, generated)) == expected
    assert searched == [5, 3]


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
    with pytest.raises(TypeError, match=r"Expected floating real, got torch\.int64"):
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
