"""Histograms of every neuron."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import (
    DEAD,
    LAYOUT,
    Activations,
    assert_same_state,
    make_activations,
    make_distribution,
    make_empty,
    make_ranges,
)

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.functional.emd import earth_movers_distance
from vdna_metrics.ranges import ActivationRanges

DEAD_ROW = LAYOUT.slices()[DEAD[0]].start + DEAD[1]


def _histogram(activations: Activations, **options: Any) -> HistogramDistribution:
    made = make_distribution("histogram", activations, **options)
    assert isinstance(made, HistogramDistribution)
    return made


def _by_numpy(
    activations: Activations, ranges: ActivationRanges, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, below and above: one neuron and one activation at a time."""
    counts = np.zeros((LAYOUT.total, bins), np.int64)
    below, above = np.zeros((2, LAYOUT.total), np.int64)
    row = 0
    for layer in LAYOUT:
        for neuron in activations[layer].numpy():
            low, high = ranges.low.numpy()[row], ranges.high.numpy()[row]
            for x in neuron.ravel():
                below[row] += x < low
                above[row] += x > high
                if low == high:
                    place = bins - 1 if x > high else 0
                else:
                    place = int(np.clip(np.floor((x - low) * np.float32(bins) / (high - low)), 0, bins - 1))
                counts[row, place] += 1
            row += 1
    return counts, below, above


@pytest.mark.parametrize("bins", [1, 2, 7, 1000])
@pytest.mark.parametrize("ends", [(-3, 3), (-0.5, 0.25), (5, 6)])
def test_counts_are_those_of_numpy(bins: int, ends: tuple[float, float]) -> None:
    """Counts, below and above equal a plain NumPy loop exactly, inside and outside of the range."""
    activations, ranges = make_activations(9), make_ranges(*ends)
    # Ends and inner edges themselves, and the dead neuron's value with its neighbours.
    activations["norm"][0, :3, 0] = torch.tensor([ends[0], ends[1], sum(ends) / 2])
    activations["conv2"][1, 0, :3] = torch.nextafter(torch.full((3,), 0.5), torch.tensor([0.0, 0.5, 1.0]))
    histogram = _histogram(activations, bins=bins, ranges=ranges)
    counts, below, above = _by_numpy(activations, ranges, bins)
    np.testing.assert_array_equal(histogram.counts.numpy(), counts)
    np.testing.assert_array_equal(histogram.below.numpy(), below)
    np.testing.assert_array_equal(histogram.above.numpy(), above)


def test_every_activation_is_counted_once() -> None:
    """A neuron's counts sum to images times positions, wherever the activations lie."""
    histogram = _histogram(make_activations(9, shift=2.5))
    for layer, counts in LAYOUT.split(histogram.counts).items():
        assert set(counts.sum(dim=1).tolist()) == {9 * make_activations(1)[layer].shape[2]}
    assert histogram.n_images == 9
    assert bool((histogram.above > 0).any())


def test_dead_neurons_are_flagged_and_counted() -> None:
    """A neuron whose range has no width is flagged, and its constant activations lie in the first bin, not outside."""
    histogram = _histogram(make_activations(9))
    assert histogram.ranges.dead.nonzero().flatten().tolist() == [DEAD_ROW]
    assert histogram.counts[DEAD_ROW].tolist() == [45, *[0] * 7]
    assert int(histogram.below[DEAD_ROW] + histogram.above[DEAD_ROW]) == 0


@pytest.mark.parametrize("unit", ["bins", "range", "activation"])
def test_dead_neurons_have_a_distance(unit: Any) -> None:
    """A dead neuron's distance is 0 where it stays dead and finite where it comes alive, in every unit."""
    histogram = _histogram(make_activations(9))
    alive = make_activations(9)
    alive["conv2"][1] = 0.75
    other = _histogram(alive)
    ends = {"low": histogram.ranges.low, "high": histogram.ranges.high}
    same = earth_movers_distance(histogram.counts, histogram.counts, unit=unit, **ends)
    moved = earth_movers_distance(histogram.counts, other.counts, unit=unit, **ends)
    assert same.tolist() == [0.0] * LAYOUT.total
    assert bool(moved.isfinite().all())
    assert float(moved[DEAD_ROW]) == {"bins": 7.0, "range": 7 / 8, "activation": 0.0}[unit]


def test_outside_is_the_share_of_each_layer() -> None:
    """`outside` gives the share of a layer's activations that lay below or above, and 0 before any image."""
    activations = make_activations(10)
    for layer in LAYOUT:
        activations[layer].clamp_(-2.9, 2.9)
    activations["conv1"][0, 0, :3] = torch.tensor([-9.0, 9.0, 9.0])
    assert _histogram(activations).outside() == {"conv1": 3 / 240, "conv2": 0.0, "norm": 0.0}
    empty = make_empty("histogram")
    assert isinstance(empty, HistogramDistribution)
    assert empty.outside() == {"conv1": 0.0, "conv2": 0.0, "norm": 0.0}


def test_counts_go_beyond_32_bits() -> None:
    """Counts over 2**31 and 2**32 merge and fill on without overflow."""
    histogram = _histogram(make_activations(9))
    many = histogram.with_state(histogram.state * 2**33)
    merged = many + histogram
    merged.fill_(make_activations(9))
    assert torch.equal(merged.state, histogram.state * (2**33 + 2))


def test_unlike_settings_do_not_merge() -> None:
    """Other bins or ranges do not merge; both are shown, ranges with how they were made."""
    histogram = _histogram(make_activations(3))
    with pytest.raises(ValueError, match=r"cannot be merged: bins differ: first 8, second 9"):
        histogram + _histogram(make_activations(3), bins=9)
    with pytest.raises(
        ValueError,
        match=r"activation ranges differ: first \[-3 .. 3\] \(7 images of made, widen=none\), "
        r"second \[-4.2 .. 4.2\] \(0 images of unknown source, widen=margin\)",
    ):
        histogram + _histogram(
            make_activations(3), ranges=make_ranges(-3.5, 3.5, widen="margin", n_images=0, sources=())
        )


def test_equal_ranges_by_another_rule_merge() -> None:
    """Only where the bins lie decides whether histograms merge."""
    a = _histogram(make_activations(3))
    b = _histogram(make_activations(3, 1), ranges=make_ranges(n_images=99, sources=("other",)))
    assert (a + b).n_images == 6


def test_a_selection_keeps_its_neurons_ranges() -> None:
    """The ranges of a selected histogram are those of its neurons, so that it can be filled on."""
    ranges = make_ranges(-3, 3) + make_ranges(-2, 5)
    selection = LAYOUT.select(neurons={"conv2": [2, 1]})
    chosen = _histogram(make_activations(3), ranges=ranges).select(selection)
    chosen.fill_(selection.pick(make_activations(4, 1)))
    both = _histogram(make_activations(3), ranges=ranges) + _histogram(make_activations(4, 1), ranges=ranges)
    assert_same_state(chosen, both.select(selection))
    assert chosen.ranges.equals(ranges.select(selection))


@pytest.mark.parametrize("bins", [0, -1, 2**24 + 1])
def test_impossible_bins_are_refused(bins: int) -> None:
    """Bins must be at least one, and so few that float32 tells them apart."""
    with pytest.raises(ValueError, match=rf"bins must be between 1 and 16777216, got {bins}"):
        HistogramDistribution.empty(make_ranges(), bins)


@pytest.mark.parametrize("bins", [40.0, True, "40"])
def test_bins_are_whole_numbers(bins: object) -> None:
    """A number of bins that is no int is refused by its type, not by torch."""
    ranges = ActivationRanges.from_extremes({"l": [0.0]}, {"l": [1.0]})
    with pytest.raises(TypeError, match="bins must be an int, got"):
        HistogramDistribution.empty(ranges, bins)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("counts", -1, "counts: expected numbers from 0, got -1 for neuron 0 of layer 'conv1'"),
        ("counts", 2**62, r"counts: expected fewer than 2\*\*63 activations"),
        ("below", 255, "below: expected from 0 to what the last bin on its side holds, got 255 for neuron 0 of layer"),
        ("above", 255, "above: expected from 0 to what the last bin on its side holds, got 255 for neuron 0 of layer"),
        ("below", -1, "below: expected from 0 to what the last bin on its side holds, got -1 for neuron 0 of layer"),
        ("state", 0, "n_images and counts: expected no activations of 0 images, got .* for neuron 0 of layer"),
    ],
)
def test_impossible_counts_are_refused(name: str, value: int, message: str) -> None:
    """Counts that no images can have given are refused by neuron and layer."""
    found = make_distribution("histogram", make_activations(12))
    assert isinstance(found, HistogramDistribution)
    found.check_possible()
    (found + found).check_possible()
    make_empty("histogram").check_possible()
    where = getattr(found, name)
    where[0] = value  # of counts, all bins of the first neuron
    with pytest.raises(ValueError, match=message):
        found.check_possible()
