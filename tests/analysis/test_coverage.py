"""Whether activation ranges fit, and ranges from quantiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.dnas import (
    DEAD,
    LAYOUT,
    Activations,
    images_of,
    make_activations,
    make_distribution,
    make_dna,
    make_empty,
    make_fingerprint,
    make_ranges,
    make_ranges as ranges_between,
)
from hypothesis import given, strategies as st

from vdna_metrics.analysis.coverage import Coverage, LayerCoverage, NeuronCoverage, coverage, quantile_ranges
from vdna_metrics.dna.caveats import set_caveats
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.ranges import ActivationRanges, RangesSource, load_ranges

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
    """Of images distributed over three sets, numbers of activations, below and above add up to those of all."""
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
    assert ("coverage" in set_caveats(dna)) == (verdict == "narrow")


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


Levels = tuple[float, float]


def _extremes(activations: Activations) -> ActivationRanges:
    flat = [x.flatten(1) for x in activations.values()]
    ends = [{layer: end(x) for layer, x in zip(LAYOUT, flat, strict=True)} for end in (_smallest, _largest)]
    return ActivationRanges.from_extremes(ends[0], ends[1], "none")


def _smallest(x: torch.Tensor) -> torch.Tensor:
    return x.amin(1)


def _largest(x: torch.Tensor) -> torch.Tensor:
    return x.amax(1)


def _dna(activations: Activations, bins: int = 4096, ranges: ActivationRanges | None = None) -> VDNA:
    distribution = make_distribution("histogram", activations, bins=bins, ranges=ranges or _extremes(activations))
    return VDNA(distribution, make_fingerprint(), Provenance("tiny", ("set",), (("x.png", "cut"),), ("ab" * 32,)))


def _numpy_quantiles(activations: Activations, lower: float, upper: float) -> tuple[torch.Tensor, torch.Tensor]:
    both = []
    for level, method in ((lower, "lower"), (upper, "higher")):
        parts = [np.quantile(x.flatten(1).numpy(), level, axis=1, method=method) for x in activations.values()]  # type: ignore[call-overload]
        both.append(torch.from_numpy(np.concatenate(parts)))
    return both[0], both[1]


_levels = st.sampled_from([(0.0, 1.0), (1e-4, 1 - 1e-4), (0.01, 0.99), (0.25, 0.5), (0.3, 0.30001)])


@given(st.integers(1, 40), st.integers(0, 99), st.sampled_from([1, 7, 100, 4096]), _levels, st.sampled_from([0.0, 1e3]))
def test_ends_are_numpys_quantiles_to_a_bin(images: int, seed: int, bins: int, levels: Levels, shift: float) -> None:
    """Each end is no nearer than NumPy's quantile of the raw activations, and no more than a bin farther."""
    activations = make_activations(images, seed, shift=shift)
    dna = _dna(activations, bins)
    ranges = quantile_ranges(dna, *levels)
    low, high = _numpy_quantiles(activations, *levels)
    extremes = _extremes(activations)
    rounding = 2**-20 * torch.maximum(extremes.low.abs(), extremes.high.abs())
    room = (extremes.high - extremes.low) / bins + rounding
    assert bool((ranges.low <= low).all())
    assert bool((low - ranges.low <= room).all())
    assert bool((ranges.high >= high).all())
    assert bool((ranges.high - high <= room).all())
    assert bool((ranges.low >= extremes.low).all() & (ranges.high <= extremes.high).all())


@given(st.integers(1, 60), st.integers(0, 99), st.sampled_from([1, 64, 1000]), _levels)
def test_no_more_than_the_levels_lie_outside(images: int, seed: int, bins: int, levels: Levels) -> None:
    """Of the activations that were counted, at most the share `lower` is below, and `1 - upper` above."""
    activations = make_activations(images, seed)
    distribution = make_distribution("histogram", activations, ranges=quantile_ranges(_dna(activations, bins), *levels))
    n = distribution.counts.sum(1).double()  # type: ignore[attr-defined]
    assert bool((distribution.below <= levels[0] * n).all())  # type: ignore[attr-defined]
    assert bool((distribution.above <= (1 - levels[1]) * n + 1e-9).all())  # type: ignore[attr-defined]


@given(st.lists(st.integers(0, 1), min_size=12, max_size=12), st.sampled_from([(0.01, 0.99), (0.2, 0.8)]))
def test_quantiles_of_merged_dnas_are_those_of_the_union(side: list[int], levels: Levels) -> None:
    """However images are distributed over two sets, the quantiles of the summed DNAs are those of all images in one."""
    activations = make_activations(12)
    extremes = _extremes(activations)
    parts = [images_of(activations, [i for i in range(12) if side[i] == which]) for which in (0, 1)]
    merged = _dna(parts[0], 50, extremes) + _dna(parts[1], 50, extremes)
    assert quantile_ranges(merged, *levels).equals(quantile_ranges(_dna(activations, 50, extremes), *levels))


def _heavy(images: int = 2000) -> Activations:
    """Activations whose extremes lie 100 times as far apart as their 0.1 % and 99.9 % quantiles."""
    activations = make_activations(images)
    activations[DEAD[0]][DEAD[1]] = activations[DEAD[0]][0]
    for x in activations.values():
        x.clamp_(-1, 1)
        x[:, 0, 0] = 100.0
        x[:, 1, 0] = -100.0
    return activations


def test_a_heavy_tail_costs_bins_and_a_second_round_gives_them_back() -> None:
    """Where extremes are 100 times as wide, 4096 bins know an end to 2.5 % of the range; once more, to 0.03 %."""
    activations = _heavy()
    once = quantile_ranges(_dna(activations), 0.001, 0.999)
    again = quantile_ranges(_dna(activations, ranges=once), 0.001, 0.999)
    low, high = _numpy_quantiles(activations, 0.001, 0.999)
    width = high - low
    for ranges, most in ((once, 0.025), (again, 0.0003)):
        assert float(((low - ranges.low) / width).max()) <= most
        assert float(((ranges.high - high) / width).max()) <= most
    assert float(((low - once.low) / width).max()) > 0.01  # which the first round does not know


def test_a_neuron_that_hardly_ever_fires_keeps_a_bin() -> None:
    """A neuron whose quantiles coincide gets the one bin that they are in, so that it is not dead."""
    activations = make_activations(30)
    activations["norm"].zero_()[0, 0, 0] = 5.0
    ranges = quantile_ranges(_dna(activations, 100), 0.1, 0.9)
    assert ranges.low[-2:].tolist() == [0, 0]
    assert ranges.high[-2:].tolist() == pytest.approx([0.05, 0], abs=1e-5)
    dead = LAYOUT.slices()[DEAD[0]].start + DEAD[1]
    assert ranges.dead.nonzero().flatten().tolist() == [dead, LAYOUT.total - 1]


def test_quantile_ranges_know_how_they_were_made(tmp_path: Path) -> None:
    """Rule, levels, network and what is known of the image set are kept, in files of ranges and of DNAs."""
    activations = make_activations(9)
    ranges = quantile_ranges(_dna(activations), 0.01, 0.99)
    assert (ranges.widen, ranges.levels, ranges.n_images) == ("quantile", (0.01, 0.99), 9)
    assert ranges.fingerprint == make_fingerprint()
    assert ranges.sets == (RangesSource("set", 9, "ab" * 32, (("x.png", "cut"),)),)
    loaded = load_ranges(ranges.save(tmp_path / "ranges"))
    assert loaded.equals(ranges)
    assert loaded.header() == ranges.header()
    carried = load_vdna(_dna(activations, ranges=ranges).save(tmp_path / "dna")).distribution.ranges  # type: ignore[attr-defined]
    assert carried.equals(ranges)
    assert carried.header() == ranges.header()


def test_sets_are_those_of_the_extremes_where_they_are_the_same() -> None:
    """Of several sets, what the calibration of the extremes knew is kept; other sets are only named."""
    sets = (RangesSource("a", 4, "01" * 32), RangesSource("b", 8, None, (("x.png", "cut"),)))
    activations = make_activations(12)
    for n_images, expected in ((12, sets), (13, (RangesSource("a"), RangesSource("b")))):
        ends = _extremes(activations)
        ranges = ActivationRanges(LAYOUT, ends.low, ends.high, "none", n_images, sets=sets)
        dna = VDNA(_dna(activations, ranges=ranges).distribution, make_fingerprint(), Provenance("tiny", ("a", "b")))
        assert quantile_ranges(dna).sets == expected


@pytest.mark.parametrize(
    ("dna", "levels", "message"),
    [
        (make_dna("gaussian"), (0.1, 0.9), r"this needs a histogram DNA, got VDNA\(gaussian of 12 images"),
        (VDNA(make_empty("histogram"), make_fingerprint()), (0.1, 0.9), "this DNA has seen no image"),
        (make_dna("histogram"), (0.9, 0.1), r"quantiles lie in \[0, 1\], the lower one first, got 0.9 and 0.1"),
        (make_dna("histogram"), (-0.1, 0.9), "levels of quantiles lie in"),
        (make_dna("histogram"), (0.1, float("nan")), "levels of quantiles lie in"),
        (
            make_dna("histogram", ranges=make_ranges(-0.1, 9.0)),
            (0.01, 0.99),
            r"the 1 % or 99 % quantile lies outside the ranges that the DNA was counted in, for 4 neurons of layer "
            r"'conv1', .*: count over ranges of the same images with a margin",
        ),
    ],
    ids=["kind", "empty", "order", "negative", "nan", "outside"],
)  # fmt: skip
def test_quantiles_that_are_not_known_are_refused(dna: VDNA, levels: Levels, message: str) -> None:
    """Other kinds, no images, impossible levels, and quantiles outside the DNA's ranges are errors."""
    with pytest.raises(ValueError, match=message):
        quantile_ranges(dna, *levels)
