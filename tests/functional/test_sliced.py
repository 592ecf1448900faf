"""Wasserstein distances of samples, of projections and of histograms."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats
from torch import Tensor

from vdna_metrics.extractors.directions import Directions
from vdna_metrics.functional import (
    accumulate_on_grid_,
    grid,
    histogram_wasserstein2,
    monge_inception_distance,
    power_of_two,
    sample_wasserstein,
    sliced,
    sliced_wasserstein,
)

numbers = st.lists(st.integers(-5, 5), min_size=1, max_size=12).map(lambda each: torch.tensor([each]).double())
seeds = st.integers(0, 1000)


@st.composite
def histograms(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Counts of one or more neurons on both sides, with empty bins, none of them empty."""
    rows, bins = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    row = st.lists(st.integers(0, 6), min_size=bins, max_size=bins).filter(any)
    first, second = (torch.tensor(draw(st.lists(row, min_size=rows, max_size=rows))) for _ in range(2))
    return first, second


def quantiles(counts: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Of mass spread evenly over bins of width 1, by interpolation."""
    edges = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    kept = np.concatenate([counts > 0, [False]])
    places = np.searchsorted(edges, u, side="left") - 1
    assert kept[places].all()
    return places + (u - edges[places]) / (edges[places + 1] - edges[places])


# -------------------------------------------------------------------------------------------------------------- samples
@settings(max_examples=50)
@given(a=numbers, b=numbers)
def test_the_first_power_is_scipys(a: Tensor, b: Tensor) -> None:
    """With p = 1 it is SciPy's distance, for samples of any two sizes."""
    expected = stats.wasserstein_distance(a[0], b[0])
    assert sample_wasserstein(a, b, p=1).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=50)
@given(a=numbers, b=numbers, p=st.sampled_from([1.0, 2.0, 3.5]))
def test_samples_may_be_repeated(a: Tensor, b: Tensor, p: float) -> None:
    """The distance is the mean over sorted pairs once both samples are repeated to one size."""
    n, m = a.shape[1], b.shape[1]
    pairs = (a.repeat(1, m).sort().values - b.repeat(1, n).sort().values).abs() ** p
    expected = pairs.mean().item()
    assert sample_wasserstein(a, b, p=p).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert sample_wasserstein(b, a, p=p).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert sample_wasserstein(a, a.flip(1), p=p).item() == 0


@settings(max_examples=50)
@given(a=numbers, b=numbers, shift=st.integers(-4, 4))
def test_a_shift_adds_to_the_square(a: Tensor, b: Tensor, shift: int) -> None:
    """W₂² of a shifted sample is `W₂² + 2 s (mean a − mean b) + s²`."""
    expected = sample_wasserstein(a, b) + 2 * shift * (a.mean() - b.mean()) + shift**2
    torch.testing.assert_close(sample_wasserstein(a + shift, b), expected, rtol=1e-10, atol=1e-10)


def test_wrong_samples_are_refused() -> None:
    """Other shapes, whole numbers, NaN and powers below 1 are errors."""
    a = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"Expected samples \[rows, n\] and \[rows, m\], got \[2, 3\] and \[3, 3\]"):
        sample_wasserstein(a, torch.zeros(3, 3))
    with pytest.raises(TypeError, match=r"Expected floating b, got torch\.int64"):
        sample_wasserstein(a, a.long())
    with pytest.raises(ValueError, match="Expected a finite a, got NaN or infinity"):
        sample_wasserstein(a / 0, a)
    with pytest.raises(ValueError, match=r"Expected a power p of at least 1, got 0\.5"):
        sample_wasserstein(a, a, p=0.5)


# --------------------------------------------------------------------------------------------------------------- sliced
@settings(max_examples=20)
@given(n=st.integers(1, 9), m=st.integers(1, 9), d=st.integers(1, 5), seed=seeds, elements=st.integers(1, 60))
def test_slices_are_averaged(n: int, m: int, d: int, seed: int, elements: int) -> None:
    """It is the mean over directions of the projections' distances, however few are taken at a time."""
    stream = torch.Generator().manual_seed(seed)
    real, generated = torch.randn(n, d, generator=stream), torch.randn(m, d, generator=stream)
    directions = torch.from_numpy(Directions(7, seed).vectors(d))
    each = [
        sample_wasserstein(*((side.double() @ u.double())[None] for side in (real, generated)), p=3) for u in directions
    ]
    with mock.patch.object(sliced, "_ELEMENTS", elements):
        found = sliced_wasserstein(real, generated, directions, p=3)
    torch.testing.assert_close(found, torch.cat(each).mean(), rtol=1e-12, atol=0)


def test_a_shift_of_features_is_its_share_along_directions() -> None:
    """Of a set moved by a vector MIND is three times its squared length, up to the draw of directions."""
    real = torch.randn(50, 32)
    shift = torch.randn(32)
    directions = torch.from_numpy(Directions(1000).vectors(32))
    found = monge_inception_distance(real, real + shift, directions).item()
    along = (directions.double() @ shift.double()).square().mean()
    assert found == pytest.approx(3 * 32 * float(along), rel=1e-5)
    assert found == pytest.approx(3 * float(shift.square().sum()), rel=0.1)
    assert monge_inception_distance(real, real.flip(0), directions).item() == pytest.approx(0, abs=1e-20)


def test_wrong_directions_are_refused() -> None:
    """Directions that are not of unit length, or of another space, are errors."""
    real = torch.randn(5, 3)
    with pytest.raises(ValueError, match="Expected directions of length 1, got 1 to 2"):
        sliced_wasserstein(real, real, torch.tensor([[1.0, 0, 0], [0, 2, 0]]))
    with pytest.raises(ValueError, match=r"differ in length: .*directions \[2, 2\]"):
        sliced_wasserstein(real, real, torch.eye(2))
    with pytest.raises(ValueError, match="power p of at least 1"):
        sliced_wasserstein(real, real, torch.eye(3), p=0)


# ----------------------------------------------------------------------------------------------------------- histograms
@settings(max_examples=50)
@given(sides=histograms())
def test_the_closed_form_is_the_integral(sides: tuple[Tensor, Tensor]) -> None:
    """Quantile functions, interpolated and integrated at 200 000 midpoints, give the same, neuron by neuron."""
    u = (np.arange(200_000) + 0.5) / 200_000
    expected = [((quantiles(*pair(a, u)) - quantiles(*pair(b, u))) ** 2).mean() for a, b in zip(*sides, strict=True)]
    np.testing.assert_allclose(histogram_wasserstein2(*sides), expected, rtol=1e-3, atol=1e-8)


def pair(counts: Tensor, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arguments of `quantiles`."""
    return counts.numpy(), u


@settings(max_examples=50)
@given(sides=histograms(), shift=st.integers(0, 5), width=st.sampled_from([0.25, 1.0, 3.0]), times=st.integers(1, 4))
def test_laws_of_histograms(sides: tuple[Tensor, Tensor], shift: int, width: float, times: int) -> None:
    """Symmetric; 0 of equal shares; width squared; and a shift of s bins adds `2 s (mean a − mean b) + s²`."""
    a, b = sides
    found = histogram_wasserstein2(a, b)
    torch.testing.assert_close(histogram_wasserstein2(b, a), found, rtol=1e-12, atol=1e-12)
    assert not histogram_wasserstein2(a, a * times).any()
    torch.testing.assert_close(histogram_wasserstein2(a, b, width), found * width**2, rtol=1e-12, atol=0)
    torch.testing.assert_close(histogram_wasserstein2(a.flip(1), b.flip(1)), found, rtol=1e-9, atol=1e-12)
    pad = torch.nn.functional.pad
    moved = histogram_wasserstein2(pad(a, (shift, 0)), pad(b, (0, shift)))
    places = torch.arange(a.shape[1]).double()
    mean_a, mean_b = ((each.double() @ places) / each.sum(1) for each in (a, b))
    torch.testing.assert_close(moved, found + 2 * shift * (mean_a - mean_b) + shift**2, rtol=1e-9, atol=1e-9)


@settings(max_examples=50)
@given(seed=seeds, bins=st.integers(2, 50), n=st.integers(1, 40), m=st.integers(1, 40))
def test_spreading_moves_the_distance_by_no_more_than_stated(seed: int, bins: int, n: int, m: int) -> None:
    """W₂ of the histograms is within twice `width/√3` of the samples' own."""
    stream = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(1, size, generator=stream) for size in (n, m))
    counts_a, counts_b, width = on_one_grid(a, b, bins)
    found = histogram_wasserstein2(counts_a, counts_b, width).sqrt()
    exact = sample_wasserstein(a, b).sqrt()
    assert bool(((found - exact).abs() <= 2 * width / math.sqrt(3) + 1e-12).all())


def on_one_grid(a: Tensor, b: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts of both on the grid that holds both, and its width."""
    both = torch.cat([a, b], 1)
    exponent, origin = grid(both.amin(1), both.amax(1), bins)
    counts = []
    for side in (a, b):
        counts.append(torch.zeros(len(side), bins, dtype=torch.int64))
        accumulate_on_grid_(counts[-1], side, exponent, origin)
    return counts[0], counts[1], power_of_two(exponent)


def test_a_thousand_bins_are_within_half_a_percent_of_samples() -> None:
    """Of 2000 and 1500 normal numbers, as they are and after a ReLU, whose zeros are an atom at the edge of a bin."""
    shift = torch.linspace(0.1, 1, 8)[:, None]
    a, b = torch.randn(8, 2000), torch.randn(8, 1500) * 1.1 + shift
    a, b = torch.cat([a, a.relu()]), torch.cat([b, b.relu()])
    counts_a, counts_b, width = on_one_grid(a, b, 1000)
    found = histogram_wasserstein2(counts_a, counts_b, width)
    torch.testing.assert_close(found, sample_wasserstein(a, b), rtol=5e-3, atol=0)


def test_few_neurons_at_a_time_are_the_same() -> None:
    """Neurons are taken a few at a time, which does not change a bit, and each has its own width."""
    a, b = torch.randint(0, 50, (2, 30, 16)) + torch.eye(30, 16).long()
    width = torch.rand(30)
    expected = histogram_wasserstein2(a, b, width)
    with mock.patch.object(sliced, "_ELEMENTS", 300):
        assert torch.equal(histogram_wasserstein2(a, b, width), expected)
    assert torch.equal(histogram_wasserstein2(a[3:4], b[3:4], width[3:4]), expected[3:4])


def test_wrong_histograms_are_refused() -> None:
    """Other shapes, empty neurons and impossible widths are errors."""
    a = torch.ones(3, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"one shape .*, got counts_a \[3, 4\], counts_b \[3, 5\]"):
        histogram_wasserstein2(a, torch.ones(3, 5))
    with pytest.raises(ValueError, match="counts_b has 1 of 3 neurons without any count, the first is 2"):
        histogram_wasserstein2(a, a * torch.tensor([[1], [1], [0]]))
    with pytest.raises(ValueError, match=r"Expected a width for each of 3 neurons, or one for all, got \[2\]"):
        histogram_wasserstein2(a, a, torch.ones(2))
    with pytest.raises(ValueError, match="Expected finite widths of at least 0"):
        histogram_wasserstein2(a, a, -1.0)
