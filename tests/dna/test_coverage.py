"""Whether ranges fit."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.dnas import (
    DEAD,
    LAYOUT,
    images_of,
    make_activations,
    make_distribution,
    make_dna,
    make_fingerprint,
    make_ranges as ranges_between,
)
from hypothesis import given, strategies as st

from vdna_metrics.dna.compare import coverage_warning
from vdna_metrics.dna.coverage import Coverage, LayerCoverage, NeuronCoverage, coverage
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.ranges import ActivationRanges

DEAD_ROW = LAYOUT.slices()[DEAD[0]].start + DEAD[1]


def _covered(activations: dict[str, torch.Tensor], ranges: ActivationRanges, bins: int = 100) -> Coverage:
    distribution = make_distribution("histogram", activations, ranges=ranges, bins=bins)
    return coverage(VDNA(distribution, make_fingerprint(), Provenance("tiny", ("set",))))


def test_shares_are_those_of_the_raw_activations() -> None:
    """Below, above and outside are counted on the raw activations, by neuron and by layer."""
    activations, ranges = make_activations(40, shift=0.3), ranges_between(-1.0, 1.5)
    found = _covered(activations, ranges)
    low, high = LAYOUT.split(ranges.low), LAYOUT.split(ranges.high)
    for layer, x in activations.items():
        below = (x.flatten(1) < low[layer][:, None]).double()
        above = (x.flatten(1) > high[layer][:, None]).double()
        part = found.layers[layer]
        assert (part.below, part.above) == (float(below.mean()), float(above.mean()))
        assert part.outside == part.below + part.above
        torch.testing.assert_close(LAYOUT.split(found.outside)[layer], (below + above).mean(1))
    assert (found.n_images, found.sources) == (40, ("set",))
    assert [part.neurons for part in found.layers.values()] == list(LAYOUT.values())


@given(st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_coverage_adds_as_dnas_do(side: list[int]) -> None:
    """Of images dealt out to three sets, numbers of activations, below and above add up to those of all."""
    activations, ranges = make_activations(12), ranges_between(-1.0, 1.0)
    whole = _covered(activations, ranges)
    parts = [[i for i in range(12) if side[i] == which] for which in range(3)]
    found = [_covered(images_of(activations, part), ranges) for part in parts if part]
    for name in ("activations", "below", "above"):
        assert torch.equal(torch.stack([getattr(part, name) for part in found]).sum(0), getattr(whole, name))


def test_a_range_that_is_too_wide_is_little_used() -> None:
    """`used` is the share of the bins from the lowest activation to the highest, here by hand."""
    activations = make_activations(50)
    for wide, bins in ((1, 64), (10, 640), (100, 1000)):
        found = _covered(activations, ranges_between(-8.0 * wide, 8.0 * wide), bins)
        for layer, x in activations.items():
            index = ((x.flatten(1) + 8 * wide) * bins / (16 * wide)).floor().clamp(0, bins - 1)
            used = (index.amax(1) - index.amin(1) + 1) / bins
            if layer == DEAD[0]:
                used[DEAD[1]] = 0
            torch.testing.assert_close(LAYOUT.split(found.used)[layer], used.double())
        assert found.verdict == ("fit" if wide == 1 else "wide")
    assert found.layers["conv1"].used == float(found.used[:4].median())


@pytest.mark.parametrize(
    ("ranges", "verdict"),
    [
        (ranges_between(-8.0, 8.0), "fit"),
        (ranges_between(-1.0, 1.0), "narrow"),
        (ranges_between(-900.0, 900.0), "wide"),
    ],
)
def test_a_narrow_verdict_goes_with_the_warning(ranges: ActivationRanges, verdict: str) -> None:
    """Ranges are called too narrow exactly where distances warn."""
    dna = make_dna("histogram", 60, ranges=ranges, bins=100)
    assert coverage(dna).verdict == verdict
    assert (coverage_warning(dna) is not None) == (verdict == "narrow")


def test_dead_neurons_that_moved_are_told() -> None:
    """A neuron whose range has no width, and that saw other values, is counted, among the worst, and not 'used'."""
    activations = make_activations(10)
    still = _covered(activations, ranges_between(-9.0, 9.0))
    assert (int(still.dead.sum()), int(still.moved.sum())) == (1, 0)
    activations[DEAD[0]][DEAD[1], :3] += 1
    found = _covered(activations, ranges_between(-9.0, 9.0))
    assert found.moved.nonzero().flatten().tolist() == [DEAD_ROW]
    assert found.worst() == [NeuronCoverage("conv2", 1, 0.0, 0.3, True)]
    part = found.layers["conv2"]
    assert (part.dead, part.moved, part.above) == (1, 1, pytest.approx(0.1))
    assert found.used[DEAD_ROW] == 0


def test_a_layer_of_dead_neurons_has_no_use() -> None:
    """Where every range is without width there is no median of what is used, and no verdict on width."""
    ranges = ActivationRanges.from_extremes(*[{layer: [0.5] * n for layer, n in LAYOUT.items()}] * 2)
    activations = {layer: torch.full((n, 3, 2), 0.5) for layer, n in LAYOUT.items()}
    found = _covered(activations, ranges)
    assert found.layers["norm"] == LayerCoverage(0.0, 0.0, None, 2, 2, 0)
    assert found.verdict == "fit"


def test_the_worst_come_first_by_the_index_of_the_full_layer() -> None:
    """Neurons are sorted by what lies outside, name their place in the whole layer, and end where nothing does."""
    dna = make_dna("histogram", 30, ranges=ranges_between(-2.0, 2.0))
    outside = LAYOUT.split(coverage(dna).outside)
    some = dna.select(neurons={"conv1": [3, 1], "norm": [1, 0]})
    found = coverage(some)
    worst = found.worst(3)
    shares = [neuron.below + neuron.above for neuron in worst]
    assert shares == sorted(shares, reverse=True)
    assert shares == pytest.approx([float(outside[neuron.layer][neuron.neuron]) for neuron in worst])
    assert worst[0].neuron in (3, 1)
    assert len(found.worst(99)) == int((found.outside > 0).sum())


def test_all_of_it_is_plain_json() -> None:
    """`to_json` has verdict, layers with their shares, and the worst neurons."""
    found = _covered(make_activations(9), ranges_between(-1.0, 1.0))
    data = json.loads(json.dumps(found.to_json()))
    assert (data["verdict"], data["n_images"], data["images"]) == ("narrow", 9, ["set"])
    assert data["layers"]["norm"]["outside"] == found.layers["norm"].outside
    assert data["worst"][0]["layer"] == found.worst()[0].layer


def test_coverage_needs_histograms() -> None:
    """A Gaussian has no ranges, so nothing can be said."""
    with pytest.raises(ValueError, match=r"this needs a histogram DNA, got VDNA\(gaussian"):
        coverage(make_dna("gaussian"))
