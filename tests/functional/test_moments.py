from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from vdna_metrics import functional
from vdna_metrics.functional import (
    accumulate_moments_,
    accumulate_scatter_,
    image_means,
    mean_and_covariance,
    mean_and_variance,
)
from vdna_metrics.functional.moments import recentre, recentre_scatter, to_float64


def zeros(*shape: int) -> Tensor:
    """Sums that have seen nothing."""
    return torch.zeros(shape, dtype=torch.float64)


def example(images: int = 60, neurons: int = 5, offset: float = 0.0) -> Tensor:
    """Correlated features on different scales, `[images, neurons]` float64."""
    mixing = torch.randn(neurons, neurons, dtype=torch.float64)
    return torch.randn(images, neurons, dtype=torch.float64) @ mixing + offset


def moments(features: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """First and second sums of one batch."""
    first, second = torch.zeros_like(centre), torch.zeros_like(centre)
    accumulate_moments_(first, second, features, centre)
    return first, second


def scatter(features: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """First sums and scatter matrix of one batch."""
    first, matrix = torch.zeros_like(centre), zeros(len(centre), len(centre))
    accumulate_scatter_(first, matrix, features, centre)
    return first, matrix


def assert_close(actual: Tensor, expected: Tensor | np.ndarray, relative: float = 1e-12) -> None:
    """Compare with a tolerance relative to the largest entry, as sums of many terms cancel in the small ones."""
    expected = torch.as_tensor(expected)
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= relative * float(expected.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
def test_image_means_are_those_of_float64(dtype: torch.dtype, order: tuple[int, int, int]) -> None:
    """The mean over positions is taken in float64 whatever the dtype and memory order of the activations."""
    activations = (torch.randn(4, 3, 50, dtype=torch.float64) + 100).to(dtype)
    view = activations.permute(order).contiguous().permute(torch.argsort(torch.tensor(order)).tolist())
    means = image_means(view)
    assert means.dtype == torch.float64
    assert_close(means, activations.double().numpy().mean(axis=2).T)


def test_image_means_of_one_position_are_the_activations() -> None:
    """Pooled features are taken as they are."""
    activations = torch.randn(4, 3, 1)
    assert torch.equal(image_means(activations), activations[:, :, 0].T.double())


def test_image_means_in_several_blocks_equal_those_of_single_images() -> None:
    """A batch too large for one block gives what each of its images gives alone."""
    activations = torch.randn(64, 20, 5000)
    each = torch.cat([image_means(activations[:, image : image + 1]) for image in range(20)])
    assert_close(image_means(activations), each, 1e-15)


def test_image_means_hand_on_what_is_not_finite() -> None:
    """A NaN or an infinity is left for the caller to find in the mean of its image, and only there."""
    activations = torch.zeros(2, 3, 4)
    activations[0, 1, 2], activations[1, 2, 0] = torch.nan, torch.inf
    assert image_means(activations).isfinite().tolist() == [[True, True], [False, True], [True, False]]


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 0)])
def test_image_means_need_images_and_positions(shape: tuple[int, ...]) -> None:
    """Activations of another shape are refused with what was given."""
    with pytest.raises(ValueError, match=r"must be \[neurons, images, positions\] with positions > 0, got"):
        image_means(torch.zeros(shape))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_agree_with_numpy(offset: float) -> None:
    """Mean and variance are NumPy's with ddof=1, and a centre keeps the digits of values far from zero."""
    features = example(offset=offset)
    centre = features[0].clone()
    mean, variance = mean_and_variance(60, *moments(features, centre), centre)
    assert_close(mean, features.numpy().mean(axis=0))
    assert_close(variance, (features - offset).numpy().var(axis=0, ddof=1), 1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_covariance_agrees_with_numpy(offset: float) -> None:
    """Mean and covariance are NumPy's with ddof=1, and the covariance is symmetric to the last bit."""
    features = example(offset=offset)
    centre = features[0].clone()
    mean, covariance = mean_and_covariance(60, *scatter(features, centre), centre)
    assert_close(mean, features.numpy().mean(axis=0))
    assert_close(covariance, np.cov((features - offset).numpy(), rowvar=False), 1e-9)
    assert torch.equal(covariance, covariance.T)


def test_variance_is_the_diagonal_of_the_covariance() -> None:
    """Both kinds of sums tell the same of a single neuron."""
    features, centre = example(), zeros(5)
    _, variance = mean_and_variance(60, *moments(features, centre), centre)
    _, covariance = mean_and_covariance(60, *scatter(features, centre), centre)
    assert_close(covariance.diagonal(), variance)


def test_constant_neurons_have_no_variance() -> None:
    """A neuron that always answers the same has a variance of 0, never below."""
    features = torch.linspace(0.1, 10, 100, dtype=torch.float64).expand(7, 100)
    first, second = moments(features, zeros(100))
    assert bool((second - first * first / 7 < 0).any())  # or the rule would not be needed
    _, variance = mean_and_variance(7, first, second, zeros(100))
    assert bool((variance >= 0).all())
    assert float(variance.max()) < 1e-12


@given(cuts=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 1000))
def test_any_split_gives_the_same_moments(cuts: list[int], seed: int) -> None:
    """Batches of any sizes, empty ones included, add up to the sums of one batch, to rounding."""
    torch.manual_seed(seed)
    features, centre = example(offset=3.0), torch.randn(5, dtype=torch.float64)
    first, second, matrix = zeros(5), zeros(5), zeros(5, 5)
    edges = [0, *sorted(cuts), 60]
    for start, stop in pairwise(edges):
        accumulate_moments_(first, second, features[start:stop], centre)
        accumulate_scatter_(zeros(5), matrix, features[start:stop], centre)
    whole_first, whole_second = moments(features, centre)
    # The first moments of centred values may cancel to nearly nothing; their rounding is that of their terms.
    assert float((first - whole_first).abs().max()) <= 1e-12 * float((features - centre).abs().sum(dim=0).max())
    assert_close(second, whole_second)
    assert_close(matrix, scatter(features, centre)[1])


@pytest.mark.parametrize("d", [256, 257, 600])
def test_a_scatter_of_several_tiles_is_the_product(d: int) -> None:
    """Of more neurons than a tile has, it is the matrix of products, symmetric to the last bit, also of batches."""
    features, centre, matrix = torch.randn(20, d, dtype=torch.float64), torch.randn(d, dtype=torch.float64), zeros(d, d)
    for batch in features.split(7):
        accumulate_scatter_(zeros(d), matrix, batch, centre)
    assert_close(matrix, (features - centre).T @ (features - centre))
    assert torch.equal(matrix, matrix.T)


@given(seed=st.integers(0, 1000), distance=st.floats(-100, 100))
def test_recentring_there_and_back_changes_nothing(seed: int, distance: float) -> None:
    """Sums moved to another centre and back are the sums that they were, to rounding at the farther centre."""
    torch.manual_seed(seed)
    features, centre, shift = example(), zeros(5), distance * torch.rand(5, dtype=torch.float64)
    first, second = moments(features, centre)
    _, matrix = scatter(features, centre)
    scale = 60 * (float(shift.abs().max()) + float(features.abs().max())) ** 2
    there = recentre(60, first, second, shift)
    back = recentre(60, *there, -shift)
    there_matrix = recentre_scatter(60, first, matrix, shift)
    back_matrix = recentre_scatter(60, *there_matrix, -shift)
    for before, after in ((first, back[0]), (second, back[1]), (first, back_matrix[0]), (matrix, back_matrix[1])):
        assert float((before - after).abs().max()) <= 1e-14 * scale


def test_recentred_sums_are_the_sums_about_the_new_centre() -> None:
    """Moving a centre by a shift gives what accumulating there would have given."""
    features, centre, shift = example(), torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    moved = recentre(60, *moments(features, centre), shift)
    for actual, expected in zip(moved, moments(features, centre + shift), strict=True):
        assert_close(actual, expected)
    moved = recentre_scatter(60, *scatter(features, centre), shift)
    for actual, expected in zip(moved, scatter(features, centre + shift), strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images_have_no_variance(n: int) -> None:
    """One image, or none, is a named error instead of NaN."""
    with pytest.raises(ValueError, match=f"a variance needs at least 2 images, got n = {n}"):
        mean_and_variance(n, zeros(1), zeros(1), zeros(1))
    with pytest.raises(ValueError, match=f"a covariance needs at least 2 images, got n = {n}"):
        mean_and_covariance(n, zeros(1), zeros(1, 1), zeros(1))


def test_float64_is_handed_through() -> None:
    """Statistics that are float64 already are not copied."""
    values = zeros(2)
    assert to_float64(values) is values
    assert to_float64(torch.ones(2, dtype=torch.int64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        *((name, [(3, 2)]) for name in ("cumulative_shares", "extremes", "inception_score", "vendi_score")),
        *((name, [(4, 2), (4, 2)]) for name in ("cmmd", "kernel_mmd", "precision_recall", "sample_wasserstein")),
        *((name, [(2, 3), (2,), (2,), ()]) for name in ("bin_index", "histogram_counts", "image_emd")),
        ("covariance_factor", [(2, 2)]),
        ("frechet_distance", [(2,), (2, 2)] * 2),
        ("frechet_distance_ratio", [(2,)] * 2),
        ("neuron_frechet_distance", [(2,)] * 4),
    ],
)
def test_arrays_are_refused(name: str, shapes: list[tuple[int, ...]]) -> None:
    """An array of NumPy's in place of any tensor is an error that says so."""
    with pytest.raises(TypeError, match=r"^Expected a tensor, got ndarray; torch\.as_tensor makes one$"):
        getattr(functional, name)(*map(np.ones, shapes))
