import math

import numpy as np
import pytest
import scipy.linalg
import torch
from helpers.degenerate import SETS, allowed_error, exact_layer_distance
from hypothesis import given, strategies as st
from torch import Tensor

from vdna_metrics.functional import covariance_factor, frechet_distance, frechet_distance_ratio, neuron_frechet_distance

Gaussian = tuple[Tensor, Tensor]


def features(d: int, images: int) -> Tensor:
    """Correlated features `[images, d]` on scales that differ a hundredfold."""
    scaled = torch.randn(images, d, dtype=torch.float64) * torch.logspace(0, -2, d, dtype=torch.float64)
    return scaled @ torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0] + torch.rand(d)


def gaussian(d: int, images: int) -> Gaussian:
    """Mean and covariance of such features."""
    return fitted(features(d, images))


def fitted(values: Tensor) -> Gaussian:
    """Mean `[d]` and covariance `[d, d]` of features `[images, d]`."""
    d = values.shape[1]
    return values.mean(dim=0), torch.cov(values.T).reshape(d, d)


def by_square_root(a: Gaussian, b: Gaussian) -> float:
    """The textbook formula with SciPy's matrix square root, right for well conditioned covariances."""
    (mean_a, covariance_a), (mean_b, covariance_b) = ((mean.numpy(), covariance.numpy()) for mean, covariance in (a, b))
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a + covariance_b - 2 * root))


def test_narrow_types_are_widened_first() -> None:
    """Squares that no int8, no half and no bool can hold are those of float64."""
    mean, covariance = torch.full((2,), 100), torch.eye(2)
    expected = frechet_distance(mean.double(), covariance, torch.zeros(2), covariance)
    for dtype in (torch.int8, torch.float16, torch.float32):
        assert frechet_distance(mean.to(dtype), covariance.to(dtype), torch.zeros(2), covariance) == expected
    assert frechet_distance(torch.zeros(2), covariance.bool(), torch.zeros(2), covariance) == 0


def test_neuron_distance_by_hand() -> None:
    """The squares of the differences of means and of standard deviations add up."""
    distance = neuron_frechet_distance(
        torch.tensor([0.0, 1.0, 2.0]),
        torch.tensor([1.0, 4.0, 0.0]),
        torch.tensor([3.0, 1.0, 2.0]),
        torch.tensor([4.0, 4.0, 9.0]),
    )
    assert distance.dtype == torch.float64
    assert distance.tolist() == [10.0, 0.0, 9.0]


@given(
    numbers=st.lists(
        st.tuples(st.floats(-1e3, 1e3), st.floats(0, 1e3), st.floats(-1e3, 1e3), st.floats(0, 1e3)), min_size=1
    )
)
def test_neuron_distance_is_the_layer_distance_of_each_neuron(numbers: list[tuple[float, float, float, float]]) -> None:
    """It is symmetric, not negative, zero from itself, and the matrix formula for d = 1."""
    mean_a, variance_a, mean_b, variance_b = torch.tensor(numbers, dtype=torch.float64).unbind(1)
    distance = neuron_frechet_distance(mean_a, variance_a, mean_b, variance_b)
    assert bool((distance >= 0).all())
    assert torch.equal(distance, neuron_frechet_distance(mean_b, variance_b, mean_a, variance_a))
    assert neuron_frechet_distance(mean_a, variance_a, mean_a, variance_a).tolist() == [0.0] * len(numbers)
    for i, expected in enumerate(distance.tolist()):
        one = slice(i, i + 1)
        matrix = frechet_distance(mean_a[one], variance_a[one, None], mean_b[one], variance_b[one, None])
        scale = float(mean_a[i] ** 2 + mean_b[i] ** 2 + variance_a[i] + variance_b[i])
        assert matrix.item() == pytest.approx(expected, rel=1e-9, abs=1e-14 * scale)


def test_variances_below_zero_by_rounding_are_zero() -> None:
    """A tiny negative variance is a constant neuron; what is rounding depends on the dtype and the scale."""
    zero = torch.zeros(2)
    assert neuron_frechet_distance(zero, torch.tensor([-1e-8, 1.0]), zero, zero).tolist() == [0.0, 1.0]
    with pytest.raises(
        ValueError, match="variance_a must not be negative, it is for 1 of 2 neurons: the first is -1e-08"
    ):
        neuron_frechet_distance(zero, torch.tensor([-1e-8, 1.0], dtype=torch.float64), zero, zero)


def test_wrong_neuron_statistics_are_refused() -> None:
    """Other shapes, NaN and negative variances are errors that show what was given."""
    one, two = torch.ones(1), torch.ones(2)
    with pytest.raises(ValueError, match=r"mean_a \[1\], variance_a \[2\], mean_b \[1\], variance_b \[1\]"):
        neuron_frechet_distance(one, two, one, one)
    with pytest.raises(ValueError, match=r"must be \[neurons\] of one length"):
        neuron_frechet_distance(*[torch.ones(2, 2)] * 4)
    with pytest.raises(
        ValueError, match=r"variance_b must not be negative, it is for 1 of 1 neurons: the first is -1$"
    ):
        neuron_frechet_distance(one, one, one, -one)
    for statistics in ((one * torch.nan, one, one, one), (one, one * torch.inf, one, one)):
        with pytest.raises(ValueError, match="mean_a or variance_a holds NaN or infinity"):
            neuron_frechet_distance(*statistics)


def test_no_neurons_have_no_distances() -> None:
    """Empty statistics give an empty distance."""
    assert neuron_frechet_distance(*[torch.ones(0)] * 4).shape == (0,)


@pytest.mark.parametrize("d", [1, 2, 50, 300])
def test_well_conditioned_distances_agree_with_scipy(d: int) -> None:
    """With more images than neurons, the distance is the textbook formula's to nine digits."""
    a, b = gaussian(d, 4 * d + 10), gaussian(d, 4 * d + 10)
    distance = frechet_distance(*a, *b)
    assert distance.shape == ()
    assert distance.dtype == torch.float64
    assert distance.item() == pytest.approx(by_square_root(a, b), rel=1e-9)


def test_rounding_in_the_null_space_is_no_direction() -> None:
    """What the rounding of float64 leaves in a null space adds no column to a factor, and what is more does."""
    for size, rank in ((1, 7), (10, 8)):
        variances = torch.ones(8, dtype=torch.float64)
        variances[3] = size * 8 * torch.finfo(torch.float64).eps
        assert covariance_factor(variances.diag()).shape == (8, rank)


@pytest.mark.parametrize(("images_a", "images_b"), [(3, 3), (3, 5), (2, 2), (5, 40), (8, 9)])
def test_rank_deficient_distances_agree_with_sixty_digits(images_a: int, images_b: int) -> None:
    """Covariances of few images, whose null spaces differ, keep twelve digits; roots of the product keep half."""
    a, b = features(8, images_a), features(8, images_b)
    scale = float(fitted(a)[1].trace() + fitted(b)[1].trace())
    expected = exact_layer_distance(a, b)
    assert abs(frechet_distance(*fitted(a), *fitted(b)).item() - expected) < 1e-12 * scale


@pytest.mark.parametrize("name", SETS)
def test_degenerate_sets_have_the_right_distance(name: str) -> None:
    """Sets of a collapsed generator, on either side or both, are off by no more than rounding of their features."""
    make, plain = SETS[name], SETS["normal"](17)
    some = [pair for n in (2, 3, 8, 17) for pair in ((make(n), plain), (plain, make(n)))]
    for a, b in [*some, (make(3), make(17)), (some[0][0], some[0][0])]:
        expected = exact_layer_distance(a, b)
        found = frechet_distance(*fitted(a), *fitted(b)).item()
        assert abs(found - expected) <= allowed_error(a, b, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SETS)
def test_covariances_that_are_rounding_are_taken(name: str, dtype: torch.dtype) -> None:
    """Covariances of one pass, `E xxᵀ − μμᵀ`, have negative eigenvalues as large as rounding of squared means."""
    for n in (2, 3, 17):
        sides = []
        for features in (SETS[name](n).to(dtype), SETS["normal"](17).to(dtype)):
            mean = features.mean(dim=0)
            sides.append((mean, features.T @ features / len(features) - mean.outer(mean)))
        for a, b in (sides, sides[::-1], [sides[0]] * 2):
            assert 0 <= frechet_distance(*a, *b).item() < torch.inf


def test_negative_eigenvalues_beyond_rounding_are_an_error_whatever_the_means() -> None:
    """A covariance of a real direction with negative variance is refused, also beside a mean of a thousand."""
    good, bad = torch.eye(2, dtype=torch.float64), torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    for size in (0.0, 1e3):
        mean = torch.full((2,), size, dtype=torch.float64)
        for sides in ((mean, good, mean, bad), (mean, bad, mean, good)):
            with pytest.raises(ValueError, match="not positive semi-definite: its eigenvalues go from -1 to 3"):
                frechet_distance(*sides)


def test_null_spaces_without_overlap_leave_the_traces() -> None:
    """Covariances in perpendicular subspaces have nothing in common: the distance is that of means and traces."""
    basis = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64))[0]
    covariance_a, covariance_b = basis[:, :10] @ basis[:, :10].T, basis[:, 10:] @ basis[:, 10:].T
    zero = torch.zeros(30)
    assert frechet_distance(zero, covariance_a, zero, covariance_b).item() == pytest.approx(30, rel=1e-14)
    assert by_square_root((zero, covariance_a), (zero, covariance_b)) != pytest.approx(30, rel=1e-9)


@pytest.mark.parametrize(("images", "d"), [(50, 512), (600, 512), (2, 3), (5000, 64)])
def test_a_gaussian_is_at_distance_zero_from_itself(images: int, d: int) -> None:
    """The distance from itself is below 1e-9 of the trace, also where the covariance is rank deficient."""
    mean, covariance = gaussian(d, images)
    assert 0 <= frechet_distance(mean, covariance, mean, covariance).item() < 1e-12 * float(covariance.trace())


@pytest.mark.parametrize(("images_a", "images_b"), [(100, 100), (100, 10), (5, 7)])
def test_arguments_commute(images_a: int, images_b: int) -> None:
    """The distance from a to b is that from b to a, to rounding."""
    a, b = gaussian(20, images_a), gaussian(20, images_b)
    assert frechet_distance(*a, *b).item() == pytest.approx(frechet_distance(*b, *a).item(), rel=1e-12)


@pytest.mark.parametrize("smallest", [1.0, 0.1, 1e-2, 1e-3, 1e-4])
def test_known_distances(smallest: float) -> None:
    """Gaussians with a common basis are as far as their means and their standard deviations, small ones included."""
    basis = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64))[0]
    deviations_a = torch.logspace(0, math.log10(smallest), 30, dtype=torch.float64)
    deviations_b = deviations_a.flip(0) + deviations_a
    covariance_a, covariance_b = (basis * s.square() @ basis.T for s in (deviations_a, deviations_b))
    mean_a, mean_b = torch.randn(2, 30, dtype=torch.float64)
    expected = ((mean_a - mean_b).square().sum() + (deviations_a - deviations_b).square().sum()).item()
    for mean, rest in ((mean_b, 0.0), (mean_a, (mean_a - mean_b).square().sum().item())):
        distance = frechet_distance(mean_a, covariance_a, mean, covariance_b).item()
        assert distance == pytest.approx(expected - rest, rel=1e-12)


@pytest.mark.parametrize("smallest", [1e-1, 1e-2, 1e-3, 1e-4])
def test_small_eigenvalues_keep_their_digits(smallest: float) -> None:
    """The distance from itself stays at rounding down to the smallest eigenvalues that a covariance can hold."""
    basis = torch.linalg.qr(torch.randn(200, 200, dtype=torch.float64))[0]
    deviations = torch.full((200,), smallest, dtype=torch.float64)
    deviations[0] = 1.0
    covariance = basis * deviations.square() @ basis.T
    covariance = (covariance + covariance.T) / 2
    zero = torch.zeros(200)
    assert frechet_distance(zero, covariance, zero, covariance).item() < 1e-11 * float(covariance.trace())


def test_gaussians_without_spread_are_as_far_as_their_means() -> None:
    """All-zero covariances, on one side or both, leave the means and the other trace."""
    zero, one, nothing = torch.zeros(3), torch.ones(3), torch.zeros(3, 3)
    assert frechet_distance(zero, nothing, one, nothing).item() == 3.0
    assert frechet_distance(zero, nothing, one, torch.eye(3)).item() == 6.0


def test_float32_statistics_are_taken_to_float64() -> None:
    """Statistics in float32 give a float64 distance, that of the numbers they hold."""
    a, b = gaussian(40, 400), gaussian(40, 400)
    single = [statistic.float() for statistic in (*a, *b)]
    distance = frechet_distance(*single)
    assert distance.dtype == torch.float64
    assert distance.item() == pytest.approx(
        by_square_root(*[(x.double(), y.double()) for x, y in (single[:2], single[2:])])
    )


@pytest.mark.parametrize("smallest", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_eigenvalues_are_taken_only_where_they_are_exact_enough(smallest: float) -> None:
    """Whichever route a distance takes, it is that of the singular values, also where eigenvalues would be off."""
    deviations = torch.logspace(0, math.log10(smallest), 60, dtype=torch.float64)
    a, b = (torch.randn(200, 60, dtype=torch.float64) * deviations for _ in range(2))
    near = a + 1e-3 * b  # a small distance, of which rounding is more
    zero = torch.zeros(60)
    for other in (b, near):
        covariances = [fitted(features)[1] for features in (a, other)]
        roots = [torch.linalg.qr((x - x.mean(dim=0)) / (len(x) - 1) ** 0.5).R for x in (a, other)]
        overlap = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
        expected = sum(c.trace() for c in covariances) - 2 * overlap
        distance = frechet_distance(zero, covariances[0], zero, covariances[1])
        assert distance.item() == pytest.approx(float(expected), rel=5e-10, abs=1e-13 * float(covariances[0].trace()))


def test_a_square_factor_need_not_be_triangular() -> None:
    """A caller's factor of full rank in another basis gives the same distance."""
    a, b = gaussian(30, 200), gaussian(30, 200)
    turned = covariance_factor(b[1]) @ torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64))[0]
    expected = frechet_distance(*a, *b).item()
    assert frechet_distance(*a, *b, factor_b=turned).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("place", [(100, 7), (7, 100), (129, 129 - 1)])
def test_asymmetry_is_found_wherever_it_is(place: tuple[int, int]) -> None:
    """One entry above or below the diagonal of a covariance that is compared in pieces is an error."""
    covariance = torch.eye(130, dtype=torch.float64)
    covariance[place] = 0.1
    with pytest.raises(ValueError, match=r"entries across the diagonal differ by 0\.1"):
        covariance_factor(covariance)


@pytest.mark.parametrize(("images", "rank"), [(400, 40), (11, 10), (2, 1)])
def test_factors_multiply_to_the_covariance(images: int, rank: int) -> None:
    """A factor has a column for each dimension in which the images differ, and none for rounding."""
    _, covariance = gaussian(40, images)
    factor = covariance_factor(covariance)
    assert factor.shape == (40, rank)
    assert torch.allclose(factor @ factor.T, covariance, rtol=0, atol=1e-14 * float(covariance.trace()))


def test_kept_factors_give_the_same_distance() -> None:
    """A factor that the caller has kept replaces its own computation and nothing else."""
    a, b = gaussian(20, 100), gaussian(20, 10)
    distance = frechet_distance(*a, *b)
    factor_a, factor_b = covariance_factor(a[1]), covariance_factor(b[1])
    for factors in ({"factor_a": factor_a}, {"factor_b": factor_b}, {"factor_a": factor_a, "factor_b": factor_b}):
        assert torch.equal(frechet_distance(*a, *b, **factors), distance)
    assert not torch.equal(frechet_distance(*a, *b, factor_b=2 * factor_b), distance)


def test_rounding_in_a_covariance_is_forgiven() -> None:
    """Negative eigenvalues and asymmetry as small as float32 leaves them do not matter."""
    _, covariance = gaussian(40, 11)
    noise = torch.randn(40, 40, dtype=torch.float64) * 1e-8 * covariance.abs().max()
    factor = covariance_factor(covariance + noise)
    assert torch.allclose(factor @ factor.T, covariance, rtol=0, atol=1e-6 * float(covariance.trace()))


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (torch.ones(2, 3), r"must be \[d, d\] with d > 0, got \[2, 3\]"),
        (torch.ones(3), r"must be \[d, d\] with d > 0, got \[3\]"),
        (torch.ones(0, 0), r"must be \[d, d\] with d > 0, got \[0, 0\]"),
        (torch.tensor([[1.0, 0.5], [0.4, 1.0]]), r"not symmetric: entries across the diagonal differ by 0\.1"),
        (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "not positive semi-definite: its eigenvalues go from -1 to 3"),
        (torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), "holds NaN or infinity"),
        (torch.tensor([[torch.inf, 0.0], [0.0, 1.0]]), "holds NaN or infinity"),
    ],
)
def test_what_is_not_a_covariance_is_refused(covariance: Tensor, message: str) -> None:
    """Each mistake has an error that says what was found."""
    with pytest.raises(ValueError, match=message):
        covariance_factor(covariance)


def test_shapes_must_agree() -> None:
    """Means and covariances of other dimensions are an error that shows both sides."""
    two, three = (torch.zeros(2), torch.eye(2)), (torch.zeros(3), torch.eye(3))
    message = r"mean_a \[2\], covariance_a \[2, 2\], mean_b \[3\], covariance_b \[3, 3\]"
    with pytest.raises(ValueError, match=message):
        frechet_distance(*two, *three)
    with pytest.raises(ValueError, match=r"mean_a \[1, 2\]"):
        frechet_distance(torch.zeros(1, 2), torch.eye(2), *two)


# ----------------------------------------------------------------------------------------------------------- gradients
def of_features(a: Tensor, b: Tensor) -> Tensor:
    """The distance of two sets of features."""
    return frechet_distance(*fitted(a), *fitted(b))


@pytest.mark.parametrize(
    ("images_a", "images_b"), [(12, 9), (5, 12), (12, 5), (6, 6), (4, 4), (3, 5), (5, 3), (2, 12), (12, 2), (2, 2)]
)
def test_gradients_in_features_are_those_of_finite_differences(images_a: int, images_b: int) -> None:
    """With more images than the five features, as many, and fewer, on one side and on both."""
    a, b = (torch.randn(n, 5, dtype=torch.float64, requires_grad=True) for n in (images_a, images_b))
    assert torch.autograd.gradcheck(of_features, (a, b))
    assert torch.autograd.gradcheck(lambda x: of_features(x, b.detach()), (a,))
    assert torch.autograd.gradcheck(lambda x: of_features(a.detach(), x), (b,))


@pytest.mark.parametrize("kept", ["factor_a", "factor_b"])
def test_a_kept_factor_does_not_change_the_gradient(kept: str) -> None:
    """A reference's kept factor, or a side's own, gives the same distance and the same gradient."""
    a, b = torch.randn(6, 9, dtype=torch.float64, requires_grad=True), torch.randn(20, 9, dtype=torch.float64)
    factor = covariance_factor(fitted(a.detach() if kept == "factor_a" else b)[1])
    (expected,) = torch.autograd.grad(of_features(a, b), a)
    (found,) = torch.autograd.grad(frechet_distance(*fitted(a), *fitted(b), **{kept: factor}), a)
    assert torch.equal(found, expected)


def test_second_derivatives_are_refused() -> None:
    """A graph of the gradient would lack what covariances have in it, so there is none."""
    a = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(of_features(a, torch.randn(5, 4, dtype=torch.float64)), a, create_graph=True)


def test_a_factor_that_would_carry_a_gradient_is_refused() -> None:
    """The gradient is of covariances: a factor that requires one, or is asked to, is an error that says what to do."""
    mean, covariance = gaussian(4, 20)
    factor = covariance_factor(covariance).requires_grad_()
    with pytest.raises(ValueError, match=r"give factor\.detach\(\), with a covariance that requires the gradient"):
        frechet_distance(mean, covariance, mean, covariance, factor_a=factor)
    with pytest.raises(ValueError, match=r"a factor carries no gradient, .* give covariance\.detach\(\)"):
        covariance_factor(covariance.clone().requires_grad_())


def test_gradients_in_covariances_lie_in_directions_that_keep_the_rank() -> None:
    """Between two null vectors the gradient is 0; else it is that of finite differences along the rank."""
    factor, other = torch.randn(6, 3, dtype=torch.float64), gaussian(6, 30)
    covariance = (factor @ factor.T).requires_grad_()
    frechet_distance(other[0], covariance, *other).backward()
    gradient = covariance.grad
    assert gradient is not None
    null = torch.linalg.qr(factor, mode="complete").Q[:, 3:]
    assert float((null.T @ gradient @ null).abs().max()) < 1e-12
    step = 1e-6 * torch.randn(6, 3, dtype=torch.float64)
    ahead, behind = (
        frechet_distance(other[0], (factor + sign * step) @ (factor + sign * step).T, *other) for sign in (1, -1)
    )
    change = 2 * (gradient * (step @ factor.T + factor @ step.T)).sum()
    assert float(ahead - behind) == pytest.approx(float(change), rel=1e-6)


def test_where_nothing_overlaps_the_gradient_is_that_of_means_and_traces() -> None:
    """At the kink of singular values that are 0, those are left out."""
    a = torch.randn(7, 6, dtype=torch.float64)
    b = torch.randn(9, 6, dtype=torch.float64)
    a[:, 3:], b[:, :3] = 0, 0
    a.requires_grad_()
    (found,) = torch.autograd.grad(of_features(a, b), a)
    (mean, covariance), other = fitted(a), fitted(b)
    (expected,) = torch.autograd.grad((mean - other[0]).square().sum() + covariance.trace(), a)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("images", [2, 4, 20])
def test_gradients_of_degenerate_sets_are_finite(images: int) -> None:
    """The gradient from itself is 0; a constant set, and float32 features, have one in the features' type."""
    x = torch.randn(images, 5, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(of_features(x, x.detach()), x)
    assert float(found.abs().max()) < 1e-12
    plain = torch.randn(20, 5)
    constant = torch.full((images, 5), 0.3, requires_grad=True)
    distance = of_features(constant, plain)
    assert distance.dtype == torch.float64
    (found,) = torch.autograd.grad(distance, constant)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (2 / images * (0.3 - plain.mean(dim=0))).expand(images, 5), rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------- ratio
def test_the_ratio_is_the_mean_of_the_ratios() -> None:
    """Each network counts alike; the validation set itself is at 1, and intervals above 0 change nothing."""
    values, normalisers = torch.tensor([3.0, 20.0, 0.5]), torch.tensor([1.5, 40.0, 0.25])
    assert frechet_distance_ratio(values, normalisers).item() == pytest.approx((2 + 0.5 + 2) / 3)
    intervals = torch.stack([normalisers * 0.9, normalisers * 1.1], 1)
    assert frechet_distance_ratio(normalisers, normalisers, intervals) == 1
    assert frechet_distance_ratio(values * 1e-3, normalisers * 1e-3).item() == pytest.approx(1.5)


def test_ratios_without_meaning_are_refused() -> None:
    """A normaliser that is not above 0, or whose interval holds 0, has no ratio; wrong shapes and NaN are errors."""
    values = torch.tensor([3.0, 20.0])
    with pytest.raises(ValueError, match=r"Expected normalisers above 0, got -0\.1 at index 1"):
        frechet_distance_ratio(values, torch.tensor([1.0, -0.1]))
    with pytest.raises(ValueError, match="got 2 at index 0, whose interval from -1 to 4 holds 0"):
        frechet_distance_ratio(values, torch.tensor([2.0, 3.0]), torch.tensor([[-1.0, 4.0], [1.0, 4.0]]))
    with pytest.raises(ValueError, match="Expected an interval from low to high, got nan to 4 at index 1"):
        frechet_distance_ratio(values, torch.tensor([2.0, 3.0]), torch.tensor([[1.0, 4.0], [torch.nan, 4.0]]))
    with pytest.raises(ValueError, match=r"got values \[2\], normalisers \[3\]"):
        frechet_distance_ratio(values, torch.ones(3))
    with pytest.raises(ValueError, match=r"Expected intervals \[2, 2\], got \[2\]"):
        frechet_distance_ratio(values, torch.ones(2), torch.ones(2))
    with pytest.raises(ValueError, match="Expected finite distances, got values"):
        frechet_distance_ratio(values / 0, torch.ones(2))
