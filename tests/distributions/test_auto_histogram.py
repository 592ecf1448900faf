"""Histograms that find their own ranges; the laws of merging are in test_base."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from helpers.dnas import DEAD, LAYOUT, images_of, make_activations, make_distribution, make_empty
from hypothesis import given, strategies as st

from vdna_metrics.distributions import AutoHistogramDistribution, Histogram
from vdna_metrics.dna.distances import EMD
from vdna_metrics.layout import NeuronLayout

ONE = NeuronLayout({"layer": 1})
DEAD_ROW = LAYOUT.slices()[DEAD[0]].start + DEAD[1]
tails = st.sampled_from(["normal", "cauchy", "constant", "denormal", "one-signed", "mixed"])


def sample(tail: str, n: int, seed: int) -> np.ndarray:
    """Float32 numbers of a kind that is hard on a grid."""
    stream = np.random.default_rng(seed)
    made = {
        "normal": lambda: stream.standard_normal(n),
        "cauchy": lambda: np.clip(stream.standard_cauchy(n) * 10.0 ** stream.integers(-30, 30), -3e38, 3e38),
        "constant": lambda: np.full(n, stream.standard_normal()),
        "denormal": lambda: stream.standard_normal(n) * 1e-42,
        "one-signed": lambda: np.abs(stream.standard_normal(n)) * 10.0 ** stream.integers(-40, 37),
        "mixed": lambda: stream.standard_normal(n) * 10.0 ** stream.integers(-44, 5, n),
    }[tail]()
    made[stream.integers(0, n)] *= 0
    return made.astype(np.float32)


def histogram(values: np.ndarray, bins: int) -> AutoHistogramDistribution:
    """Of one neuron."""
    made = AutoHistogramDistribution.empty(ONE, bins)
    if len(values):
        made.fill_({"layer": torch.from_numpy(values).view(1, -1, 1)})
    return made


@given(tail=tails, n=st.integers(1, 50), bins=st.sampled_from([2, 3, 8, 100, 1000]), seed=st.integers(0, 2**32 - 1))
def test_counts_depend_on_the_activations_alone(tail: str, n: int, bins: int, seed: int) -> None:
    """Any parts in any order, as batches or as sums, give the same bits; counts are NumPy's in the window's bins."""
    values, stream = sample(tail, n, seed), np.random.default_rng(seed)
    whole = histogram(values, bins)
    parts = np.split(stream.permutation(values), np.sort(stream.integers(0, n + 1, 3)))
    batched = AutoHistogramDistribution.empty(ONE, bins)
    for part in parts:
        if len(part):
            batched.fill_({"layer": torch.from_numpy(part).view(1, -1, 1)})
    summed = reduce(add, [histogram(part, bins) for part in parts])
    assert torch.equal(batched.state, whole.state)
    assert torch.equal(summed.state, whole.state)
    exponent, origin = (int(each) for each in whole.grid)
    places = np.floor(np.ldexp(values.astype(np.float64), -exponent)).astype(np.int64) - origin
    assert np.array_equal(whole.counts[0].numpy(), np.bincount(places, minlength=bins))
    assert [float(end) for end in whole.observed] == [values.min(), values.max()]


@given(tail=tails, n=st.integers(2, 50), bins=st.sampled_from([8, 100]), seed=st.integers(0, 2**32 - 1))
def test_a_distance_is_the_exact_one_to_a_bin(tail: str, n: int, bins: int, seed: int) -> None:
    """The EMD in activations is that of the activations, give or take a bin of both together, and symmetric."""
    a, b = sample(tail, n, seed).astype(np.float64), sample(tail, n, seed + 1).astype(np.float64)
    sides = [histogram(side.astype(np.float32), bins) for side in (a, b)]
    exact = np.abs(np.sort(a) - np.sort(b)).mean()
    width = float(sides[0].spanning(sides[1:]).bin_widths("activation"))
    found = float(EMD.parts(*sides, unit="activation")["layer"])
    assert abs(found - exact) <= width * (1 + 1e-9)
    assert found == float(EMD.parts(*sides[::-1], unit="activation")["layer"])
    assert float(EMD.parts(sides[0], sides[0], unit="activation")["layer"]) == 0


def test_relative_units_are_those_of_ranges_with_a_margin() -> None:
    """`range` and `bins` are relative to the first side's observed width and 10 % of it at either end."""
    a, b = (histogram(np.array(values, np.float32), 64) for values in ([0, 1, 2], [1, 3, 9]))
    distances = {unit: float(EMD.parts(a, b, unit=unit)["layer"]) for unit in ("activation", "range", "bins")}
    assert distances["range"] == pytest.approx(distances["activation"] / (2 * 1.2), rel=1e-14)
    assert distances["bins"] == pytest.approx(64 * distances["range"], rel=1e-14)


def test_neurons_without_width_are_left_out_of_relative_units() -> None:
    """A neuron that gave one value to all of the reference has no value in `bins` and `range`."""
    a, b = make_distribution("auto", make_activations(9)), make_distribution("auto", make_activations(9, 1, shift=0.2))
    assert isinstance(a, AutoHistogramDistribution)
    assert isinstance(b, AutoHistogramDistribution)
    for unit in ("bins", "range", "activation"):
        values = torch.cat(list(EMD.parts(a, b, unit=unit).values()))  # type: ignore[union-attr]
        lacking = values.isnan().nonzero().flatten().tolist()
        assert lacking == ([] if unit == "activation" else [DEAD_ROW])


def test_more_bins_find_an_outlier_less_disturbing() -> None:
    """Bins after one activation far away are as wide as it is far, over their number."""
    values = np.append(np.linspace(0, 1, 1000), 999).astype(np.float32)
    widths = [float(histogram(values, bins).bin_widths("activation")) for bins in (1000, 4000, 16000)]
    assert widths == [1.0, 0.25, 0.0625]


def test_an_empty_one_has_no_window() -> None:
    """Without images all codes are 0 and the extremes are infinite."""
    empty = make_empty("auto")
    assert isinstance(empty, AutoHistogramDistribution)
    assert not empty.state.any()
    low, high = empty.observed
    assert bool((low == torch.inf).all())
    assert bool((high == -torch.inf).all())


@pytest.mark.parametrize("bins", [1, 0, 2**24 + 1])
def test_impossible_bins_are_refused(bins: int) -> None:
    """A grid needs two bins, for one that has 0 inside is never wide enough."""
    with pytest.raises(ValueError, match=rf"bins must be between 2 and 16777216, got {bins}"):
        AutoHistogramDistribution.empty(ONE, bins)


def test_a_rest_is_not_known() -> None:
    """Taking a part away is refused, for the rest may have a finer grid."""
    whole = make_distribution("auto", make_activations(4))
    with pytest.raises(TypeError, match="do not subtract: add up the other parts"):
        whole.without(make_distribution("auto", images_of(make_activations(4), [0])))


def test_given_and_found_ranges_do_not_mix() -> None:
    """Histograms in given ranges and those that find their own are not merged; both are shown."""
    with pytest.raises(ValueError, match=r"activation ranges differ: first \[-3 .. 3\] .*, second auto"):
        make_empty("histogram") + make_empty("auto")


def test_values_may_be_of_any_floating_type_and_order() -> None:
    """bfloat16, float64 and permuted activations count as their float32 values."""
    activations = {layer: x.bfloat16() for layer, x in make_activations(5).items()}
    expected = make_distribution("auto", {layer: x.float() for layer, x in activations.items()})
    for made in (
        activations,
        {layer: x.double() for layer, x in activations.items()},
        {layer: x.permute(2, 1, 0).contiguous().permute(2, 1, 0) for layer, x in activations.items()},
    ):
        assert torch.equal(make_distribution("auto", made).state, expected.state)


def test_frames_hold_all_sides() -> None:
    """Counts in the bins of what spans several are those of the activations, and their sums stay."""
    sets = [make_distribution("auto", make_activations(4, seed, shift=3.0 * seed)) for seed in range(3)]
    sides = [side for side in sets if isinstance(side, Histogram)]
    frame = sides[0].spanning(sides[1:])
    for side, moved in zip(sides, sides[0].comparable(sides[1:]), strict=True):
        assert torch.equal(side.counts_in(frame), moved.counts)
        assert torch.equal(side.counts_in(frame, slice(2, 5)), moved.counts[2:5])
        assert torch.equal(moved.counts.sum(1), side.counts.sum(1))
        assert moved.n_images == side.n_images
