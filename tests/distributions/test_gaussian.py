"""Gaussians of neurons and of layers."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import LAYOUT, Activations, images_of, make_activations, make_distribution, make_empty, moments

from vdna_metrics.distributions import GaussianDistribution, Kind, LayerGaussianDistribution

CENTRE = torch.linspace(-1, 1, LAYOUT.total, dtype=torch.float64)
gaussian_kinds = pytest.mark.parametrize("kind", ["gaussian", "layer_gaussian"])


def _gaussian(activations: Activations, **options: Any) -> GaussianDistribution:
    made = make_distribution("gaussian", activations, **options)
    assert isinstance(made, GaussianDistribution)
    return made


def _layer_gaussian(activations: Activations, **options: Any) -> LayerGaussianDistribution:
    made = make_distribution("layer_gaussian", activations, **options)
    assert isinstance(made, LayerGaussianDistribution)
    return made


def _image_means(activations: Activations) -> dict[str, np.ndarray]:
    return {layer: x.double().numpy().mean(axis=2) for layer, x in activations.items()}


@pytest.mark.parametrize("centre", [None, CENTRE])
def test_moments_are_those_of_numpy(centre: torch.Tensor | None) -> None:
    """Mean and variance (ddof=1) over images of the means over positions equal NumPy's, whatever the centre."""
    activations = make_activations(20)
    mean, variance = _gaussian(activations, centre=centre).mean_and_variance()
    values = np.concatenate(list(_image_means(activations).values()))
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(variance, values.var(axis=1, ddof=1), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(_gaussian(activations, centre=centre).mean(), mean, rtol=1e-14)


@pytest.mark.parametrize("centre", [None, CENTRE])
def test_covariances_are_those_of_numpy(centre: torch.Tensor | None) -> None:
    """Mean and covariance (ddof=1) of each layer equal NumPy's, whatever the centre."""
    activations = make_activations(20)
    distribution = _layer_gaussian(activations, centre=centre)
    for layer, values in _image_means(activations).items():
        mean, covariance = distribution.mean_and_covariance(layer)
        np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(covariance, np.cov(values), rtol=1e-12, atol=1e-14)
        assert torch.equal(covariance, covariance.T)


def _parts(activations: Activations, starts: list[int]) -> list[Activations]:
    ends = [*starts[1:], next(iter(activations.values())).shape[1]]
    return [images_of(activations, range(*ends)) for ends in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("starts", [[0], [0, 1, 30], [0, 25, 49]])
def test_large_means_keep_the_digits_of_what_images_differ_by(starts: list[int]) -> None:
    """Deviations of a millionth of the mean keep their digits in one batch, several, and in merged sets."""
    activations = {layer: 1e6 + x.double() for layer, x in make_activations(50).items()}
    values = np.concatenate(list(_image_means(activations).values()))
    batched = make_empty("gaussian")
    for part in _parts(activations, starts):
        batched.fill_(part)
    merged = reduce(add, [_gaussian(part) for part in _parts(activations, starts)])
    for made in (batched, merged):
        assert isinstance(made, GaussianDistribution)
        np.testing.assert_allclose(made.mean_and_variance()[1], values.var(axis=1, ddof=1), rtol=1e-12, atol=1e-20)


def test_a_constant_neuron_has_no_variance() -> None:
    """A neuron that always gives the same has its value for a mean and variance 0, exactly."""
    activations = {layer: torch.full_like(x, 0.1).mean(dim=2, keepdim=True) for layer, x in make_activations(7).items()}
    mean, variance = _gaussian(activations).mean_and_variance()
    assert mean.tolist() == [float(torch.tensor(0.1))] * LAYOUT.total
    assert variance.tolist() == [0.0] * LAYOUT.total


@gaussian_kinds
def test_moments_without_a_part_are_those_of_the_rest(kind: Kind) -> None:
    """Taking away a part of the images leaves the moments of the others."""
    whole, part, rest = (make_distribution(kind, make_activations(n, s)) for n, s in ((9, 0), (9, 1), (6, 2)))
    both = whole + part + rest
    for x, y in zip(moments(both.without(part)), moments(whole + rest), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-13)


def test_the_diagonal_of_a_layer_gaussian_is_a_gaussian() -> None:
    """`gaussian()` has the means and variances of the same activations."""
    diagonal, direct = (_layer_gaussian(make_activations(9), centre=CENTRE).gaussian(), _gaussian(make_activations(9)))
    assert diagonal.n_images == 9
    for x, y in zip(diagonal.mean_and_variance(), direct.mean_and_variance(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)


def test_scatters_are_symmetric_to_the_last_bit() -> None:
    """A scatter equals its transpose exactly, also after merging about another centre: files keep one triangle."""
    a = _layer_gaussian(make_activations(9), centre=CENTRE / 3)
    b = _layer_gaussian(make_activations(8, 1), centre=-CENTRE / 7)
    for distribution in (a, a + b, b + a, (a + b).select(LAYOUT.select(neurons={"conv1": [3, 0, 1]}))):
        for scatter in distribution.scatters().values():  # type: ignore[attr-defined]
            assert torch.equal(scatter, scatter.T)


def test_a_selected_covariance_is_a_submatrix() -> None:
    """Selecting neurons keeps their rows and columns, in the order asked for."""
    distribution = _layer_gaussian(make_activations(9), centre=CENTRE)
    chosen = distribution.select(LAYOUT.select(neurons={"conv1": [3, 1]}))
    mean, covariance = distribution.mean_and_covariance("conv1")
    chosen_mean, chosen_covariance = chosen.mean_and_covariance("conv1")
    torch.testing.assert_close(chosen_mean, mean[[3, 1]], rtol=1e-14, atol=0)
    torch.testing.assert_close(chosen_covariance, covariance[[3, 1]][:, [3, 1]], rtol=1e-14, atol=0)


def test_a_factor_is_kept_until_the_next_batch() -> None:
    """A covariance's factor is computed once, and anew after a batch, a merge or with another state."""
    distribution = _layer_gaussian(make_activations(9))
    factor = distribution.factor("conv1")
    torch.testing.assert_close(factor @ factor.T, distribution.mean_and_covariance("conv1")[1])
    assert distribution.factor("conv1") is factor
    others = [distribution + distribution, distribution.with_state(distribution.state * 2)]
    distribution.fill_(make_activations(9, 1))
    for changed in [distribution, *others]:
        assert isinstance(changed, LayerGaussianDistribution)
        anew = changed.factor("conv1")
        assert anew is not factor
        torch.testing.assert_close(anew @ anew.T, changed.mean_and_covariance("conv1")[1])


@gaussian_kinds
@pytest.mark.parametrize("images", [0, 1])
def test_two_images_are_needed(kind: Kind, images: int) -> None:
    """A variance or covariance of fewer than two images is an error that says so, not NaN."""
    distribution = make_empty(kind)
    distribution.fill_(make_activations(images))
    with pytest.raises(ValueError, match=rf"a (co)?variance needs at least 2 images, got n = {images}"):
        moments(distribution)


# ------------------------------------------------------------------------------------------------ what images can give
@gaussian_kinds
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("spread", [0.0, 1e-12, 1.0])
def test_what_images_gave_is_possible(kind: Kind, scale: float, spread: float) -> None:
    """States of any images, also of some that are all alike, are possible, and stay so when merged and selected."""
    stream = torch.Generator().manual_seed(0)
    level = {layer: torch.rand(count, 1, 1, generator=stream, dtype=torch.float64) for layer, count in LAYOUT.items()}
    parts = []
    for n in (1, 2, 5, 30):
        part = make_empty(kind)
        part.check_possible()
        part.fill_(
            {
                layer: scale * (base + spread * torch.randn(len(base), n, 3, generator=stream, dtype=torch.float64))
                for layer, base in level.items()
            }
        )
        parts.append(part)
    whole = reduce(add, parts)
    for each in (*parts, whole, reduce(add, reversed(parts)), whole + whole, whole.select(LAYOUT.select(["conv2"]))):
        each.check_possible()


@gaussian_kinds
def test_a_large_mean_is_possible(kind: Kind) -> None:
    """A mean that is far above what images differ by leaves a rounding, which is no impossible variance."""
    parts = [
        make_distribution(kind, {layer: 1e6 * (1 + k) + 1e-6 * x for layer, x in make_activations(9, k).items()})
        for k in range(3)
    ]
    reduce(add, parts).check_possible()
    (parts[0] + parts[0]).without(parts[0]).check_possible()


@gaussian_kinds
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("centre", 1.79e308, "centre and first moments: expected a mean within 1e.70, got 1.79e.308 for neuron 1 of"),
        ("centre", float("nan"), "centre and first moments: expected a mean within 1e.70, got nan for neuron 1 of"),
        ("first", 1.79e308, "centre and first moments: expected a mean within 1e.70, got 8.95e.306 for neuron 1 of"),
        ("second", -1.0, "n_images, first and second moments: expected of 20 images a variance from 0, .* neuron 1 of"),
        ("second", 1.79e308, "expected of 20 images a variance from 0, below 1e.140, got 8.95e.306 for neuron 1 of"),
        ("second", float("nan"), "expected of 20 images a variance from 0, below 1e.140, got nan for neuron 1 of"),
    ],
)
def test_impossible_moments_are_refused(kind: Kind, name: str, value: float, message: str) -> None:
    """Moments that no images can have given, or that no distance is finite of, are refused by neuron and layer."""
    changed = make_distribution(kind, make_activations(20))
    place = 1 if kind == "gaussian" or name != "second" else next(iter(LAYOUT.values())) + 1
    getattr(changed, name)[place] = value
    with pytest.raises(ValueError, match=message):
        changed.check_possible()


def test_products_above_all_squares_are_refused() -> None:
    """No covariance is above the largest variance."""
    changed = _layer_gaussian(make_activations(20))
    changed.second[1] = -1e9
    with pytest.raises(
        ValueError, match=r"second moments: expected products of at most .*, got 1e.09 in layer 'conv1'"
    ):
        changed.check_possible()
