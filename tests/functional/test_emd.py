import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from vdna_metrics.functional import (
    cumulative_shares,
    earth_movers_distance,
    emd,
    histogram_counts,
    image_emd,
    image_emd_by_position,
    image_pair_emd,
)

BINS = 8
rows = st.lists(st.integers(0, 10**6), min_size=BINS, max_size=BINS).filter(any)
histograms = st.lists(rows, min_size=3, max_size=3).map(torch.tensor)


def test_distances_by_hand() -> None:
    """Moving all counts by three bins costs three, half of them one and a half, and totals do not matter."""
    a = torch.tensor([[5, 0, 0, 0], [2, 0, 0, 0], [1, 2, 3, 4]])
    b = torch.tensor([[0, 0, 0, 1], [1, 0, 0, 1], [10, 20, 30, 40]])
    assert earth_movers_distance(a, b).tolist() == [3.0, 1.5, 0.0]


def test_distances_are_those_of_scipy() -> None:
    """Each neuron's distance is SciPy's Wasserstein distance between weighted bin numbers."""
    a, b = torch.randint(0, 1000, (20, 100)), torch.randint(0, 50, (20, 100))
    positions = np.arange(100)
    expected = [
        scipy.stats.wasserstein_distance(positions, positions, weights_a, weights_b)
        for weights_a, weights_b in zip(a.numpy(), b.numpy(), strict=True)
    ]
    distance = earth_movers_distance(a, b)
    assert distance.dtype == torch.float64
    assert np.allclose(distance.numpy(), expected, rtol=1e-12, atol=0)


@given(a=histograms, b=histograms)
def test_arguments_commute(a: Tensor, b: Tensor) -> None:
    """The distance from a to b is that from b to a, to the last bit."""
    assert torch.equal(earth_movers_distance(a, b), earth_movers_distance(b, a))


@given(a=histograms, factor=st.integers(1, 10**12))
def test_a_histogram_is_at_distance_zero_from_itself(a: Tensor, factor: int) -> None:
    """Exactly zero from itself, and zero to rounding from any multiple of itself."""
    assert earth_movers_distance(a, a).tolist() == [0.0] * 3
    assert float(earth_movers_distance(a, a * factor).max()) < 1e-14


@given(a=histograms, b=histograms, c=histograms)
def test_the_triangle_inequality_holds(a: Tensor, b: Tensor, c: Tensor) -> None:
    """A way through a third histogram is never shorter."""
    direct = earth_movers_distance(a, c)
    detour = earth_movers_distance(a, b) + earth_movers_distance(b, c)
    assert bool((direct <= detour + 1e-12).all())


@given(a=histograms, b=histograms, places=st.integers(0, 5))
def test_shifting_both_changes_nothing_and_shifting_one_costs_the_shift(a: Tensor, b: Tensor, places: int) -> None:
    """Only where histograms lie relative to each other counts, and a shift by k bins is k bins far."""
    room = torch.zeros(3, places, dtype=torch.int64)
    stay, move = (torch.cat(pair, dim=1) for pair in ((a, room), (room, a)))
    shifted = torch.cat((room, b), dim=1)
    assert torch.allclose(earth_movers_distance(move, shifted), earth_movers_distance(a, b), rtol=1e-12, atol=1e-12)
    assert torch.allclose(
        earth_movers_distance(stay, move), torch.full((3,), float(places)).double(), rtol=1e-12, atol=1e-12
    )


@given(a=histograms, b=histograms, factor=st.integers(2, 5))
def test_the_range_unit_does_not_depend_on_where_the_bins_are_cut(a: Tensor, b: Tensor, factor: int) -> None:
    """Bins cut into k empty and one full part give k times the bins, and the same share of the range."""
    fine_a, fine_b = (torch.stack([x, *[torch.zeros_like(x)] * (factor - 1)], dim=2).reshape(3, -1) for x in (a, b))
    assert torch.allclose(
        earth_movers_distance(fine_a, fine_b, unit="range"), earth_movers_distance(a, b, unit="range"), atol=1e-12
    )
    assert torch.allclose(earth_movers_distance(fine_a, fine_b), factor * earth_movers_distance(a, b), atol=1e-11)


@given(a=histograms, b=histograms, low=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3))
def test_units_are_multiples_of_each_other(a: Tensor, b: Tensor, low: float, width: float) -> None:
    """A range is `bins` bins wide, and `high - low` activation units."""
    low_end = torch.full((3,), low, dtype=torch.float64)
    high_end = low_end + width
    in_bins = earth_movers_distance(a, b)
    in_ranges = earth_movers_distance(a, b, unit="range")
    in_activations = earth_movers_distance(a, b, unit="activation", low=low_end, high=high_end)
    assert torch.allclose(in_ranges, in_bins / BINS, rtol=1e-14, atol=0)
    assert torch.allclose(in_activations, in_ranges * (high_end - low_end), rtol=1e-14, atol=0)


def test_activation_units_are_those_of_the_samples() -> None:
    """With a bin for each value, the distance is that of the samples themselves."""
    a, b = np.array([0.5, 1.5, 2.5, 2.5]), np.array([3.5, 3.5, 0.5])
    counts = [torch.from_numpy(np.histogram(x, bins=4, range=(0, 4))[0])[None] for x in (a, b)]
    distance = earth_movers_distance(*counts, unit="activation", low=torch.zeros(1), high=torch.full((1,), 4.0))
    assert distance.item() == pytest.approx(scipy.stats.wasserstein_distance(a, b), rel=1e-12)


def test_dead_neurons_are_at_no_distance_in_activation_units() -> None:
    """A range without width has bins without width."""
    a, b, end = torch.tensor([[1, 0]]), torch.tensor([[0, 1]]), torch.tensor([2.0])
    assert earth_movers_distance(a, b, unit="activation", low=end, high=end).item() == 0.0


def test_neurons_that_are_taken_in_pieces_have_the_distances_of_all_at_once() -> None:
    """Bit for bit those of the cumulative shares, and an error counts neurons of all pieces."""
    counts_a, counts_b = torch.randint(0, 100, (2, 40, 2000))
    expected = (cumulative_shares(counts_a) - cumulative_shares(counts_b)).abs().sum(dim=1)
    assert torch.equal(earth_movers_distance(counts_a, counts_b), expected)
    counts_b[[35, 39]] = 0
    with pytest.raises(ValueError, match="counts_b has 2 of 40 neurons without any count, the first is 35"):
        earth_movers_distance(counts_a, counts_b)


def test_one_bin_holds_no_distance() -> None:
    """With everything in one bin nothing can be moved."""
    assert earth_movers_distance(torch.tensor([[3]]), torch.tensor([[7]])).item() == 0.0


def test_counts_may_be_large_or_whole_floats() -> None:
    """Counts beyond float32 and int32 keep every digit, and whole numbers in a float dtype are counts."""
    a = torch.tensor([[2**53 + 1, 0, 2**53]])
    assert earth_movers_distance(a, a + torch.tensor([[0, 1, 0]])).item() < 1e-15
    b, c = torch.tensor([[1, 2, 3]]), torch.tensor([[3, 2, 1]])
    assert torch.equal(earth_movers_distance(b.float(), c.double()), earth_movers_distance(b, c.int()))


def test_deterministic_mode_is_obeyed() -> None:
    """Distances raise nothing when torch is told to be deterministic."""
    torch.use_deterministic_algorithms(True)
    try:
        assert earth_movers_distance(torch.tensor([[1, 0]]), torch.tensor([[0, 1]])).item() == 1.0
    finally:
        torch.use_deterministic_algorithms(False)


GOOD = torch.tensor([[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("counts_a", "counts_b", "message"),
    [
        (GOOD, torch.ones(2, 3), r"counts_a \[2, 2\], counts_b \[2, 3\]"),
        (GOOD[0], GOOD[0], r"counts_a \[2\], counts_b \[2\]"),
        (torch.ones(2, 0), torch.ones(2, 0), "at least one bin"),
        (GOOD, torch.tensor([[1, 2], [0, 0]]), "counts_b has 1 of 2 neurons without any count, the first is 1"),
        (torch.tensor([[1, 2], [3, -4]]), GOOD, "counts_a must not be negative, its lowest is -4"),
        (GOOD / 10, GOOD, r"counts_a \(torch.float32\) must be whole numbers"),
        (GOOD, GOOD * torch.inf, r"counts_b \(torch.float32\) must be whole numbers"),
        (GOOD, GOOD * torch.nan, r"counts_b \(torch.float32\) must be whole numbers"),
    ],
)
def test_what_is_not_a_histogram_is_refused(counts_a: Tensor, counts_b: Tensor, message: str) -> None:
    """Each mistake has an error that names the side and shows what was given."""
    with pytest.raises(ValueError, match=message):
        earth_movers_distance(counts_a, counts_b)


def test_complex_counts_are_refused() -> None:
    """Complex numbers count nothing."""
    with pytest.raises(TypeError, match=r"counts_b must be whole numbers, got torch\.complex64"):
        earth_movers_distance(GOOD, GOOD.to(torch.complex64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "bin"}, "unit must be one of bins, range, activation, got 'bin'"),
        ({"unit": "activation"}, "needs low and high, got low=None, high=None"),
        ({"unit": "activation", "low": torch.ones(2), "high": torch.zeros(2)}, "must not be below low, it is for 2"),
        ({"unit": "activation", "low": torch.zeros(3), "high": torch.ones(2)}, r"low must be \[neurons\], got \[3\]"),
        ({"unit": "activation", "low": 0.0, "high": torch.ones(2, 1)}, r"high must be \[neurons\], got \[2, 1\]"),
    ],
)
def test_wrong_units_are_refused(options: dict[str, object], message: str) -> None:
    """Unknown units, and the activation unit without its ranges, are errors that say what is missing."""
    with pytest.raises(ValueError, match=message):
        earth_movers_distance(GOOD, GOOD, **options)


# -------------------------------------------------------------------------------------------------------- single images
@pytest.mark.parametrize("held", [1, 100, 1 << 18])
@pytest.mark.parametrize("bins", [1, 20, 60])  # few and many beside the positions
@pytest.mark.parametrize("tokens", [False, True])
def test_images_are_at_the_distance_of_their_own_counts(
    held: int, bins: int, tokens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is at the distance of its histogram, dead neurons too, in any strides and pieces; so are pairs."""
    monkeypatch.setattr(emd, "_PIECE_CPU", held)
    stream = torch.Generator().manual_seed(0)
    neurons, images, positions = 3, 4, 5
    shape = (images, positions, neurons) if tokens else (images, neurons, positions)
    order = (2, 0, 1) if tokens else (1, 0, 2)
    a, b = (torch.randn(shape, generator=stream).permute(order) for _ in range(2))
    low, high = torch.tensor([-1.0, -3.0, 0.0]), torch.tensor([1.0, 3.0, 0.0])
    counts = torch.randint(1, 9, (neurons, bins), generator=stream)
    found = image_emd(a, cumulative_shares(counts), low, high)
    pairs = image_pair_emd(a, b[:, :, :2], low, high, bins)
    for image in range(images):
        own = histogram_counts(a[:, image], low, high, bins)
        other = histogram_counts(b[:, image, :2], low, high, bins)
        torch.testing.assert_close(found[image], earth_movers_distance(own, counts), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(pairs[image], earth_movers_distance(own, other), rtol=1e-12, atol=1e-12)


@given(
    seed=st.integers(0, 10**6),
    neurons=st.integers(1, 4),
    images=st.integers(1, 3),
    positions=st.integers(1, 9),
    bins=st.integers(1, 30),
)
def test_positions_make_an_image_s_distance(seed: int, neurons: int, images: int, positions: int, bins: int) -> None:
    """The mean of what positions add is the weighted sum of the image's distances, in any order of the positions."""
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(neurons, images, positions, generator=stream)
    low, high = torch.full((neurons,), -1.0), torch.full((neurons,), 1.0)
    shares = cumulative_shares(torch.randint(1, 9, (neurons, bins), generator=stream))
    weights = torch.randn(neurons, generator=stream)
    found = image_emd_by_position(x, shares, low, high, weights)
    expected = image_emd(x, shares, low, high) @ weights.double()
    torch.testing.assert_close(found.mean(dim=1), expected, rtol=0, atol=1e-9)
    order = torch.randperm(positions, generator=stream)
    again = image_emd_by_position(x[:, :, order], shares, low, high, weights)
    torch.testing.assert_close(again, found[:, order], rtol=0, atol=1e-9)


def test_what_a_position_adds_is_the_sum_by_hand() -> None:
    """`Σ_k s_k ([b ≤ k] − F_k)` for each position, neuron by neuron; alone in its bin it is the position's distance."""
    stream = torch.Generator().manual_seed(0)
    neurons, positions = 3, 6
    x, counts = torch.rand(neurons, 2, positions, generator=stream), torch.randint(1, 9, (neurons, BINS))
    low, high = torch.zeros(neurons), torch.ones(neurons)
    shares, weights = cumulative_shares(counts), torch.tensor([1.0, 2.0, -0.5])
    found = image_emd_by_position(x, shares, low, high, weights).numpy()
    for image in range(2):
        expected = np.zeros(positions)
        for neuron in range(neurons):
            bins = np.minimum((x[neuron, image].numpy() * BINS).astype(int), BINS - 1)
            below = bins[:, None] <= np.arange(BINS)
            sign = np.sign(below.mean(axis=0) - shares[neuron].numpy())
            expected += float(weights[neuron]) * ((below - shares[neuron].numpy()) @ sign)
        np.testing.assert_allclose(found[image], expected, atol=1e-9)
    alone = image_emd_by_position(x[:, :, :1], shares, low, high, weights)
    torch.testing.assert_close(alone[:, 0], image_emd(x[:, :, :1], shares, low, high) @ weights.double())
