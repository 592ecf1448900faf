"""Distances with error bars, at infinitely many images, and of perfect images."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.distances import CORRECTED, EVENNESS, OURS, make_grouped
from helpers.dnas import LAYOUT, make_dna
from scipy import stats

from vdna_metrics import VDNA, compare
from vdna_metrics.analysis.uncertainty import extrapolate_frechet, jackknife, jackknife_distance, noise_floor, rules
from vdna_metrics.build import disjoint_groups
from vdna_metrics.distributions import GaussianDistribution, LayerGaussianDistribution
from vdna_metrics.dna import GroupedDNA, ImageClusters, Provenance
from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.dna.distances import find_distance
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.emd import EMDUnit
from vdna_metrics.layout import NeuronLayout

distances = pytest.mark.parametrize("distance", OURS)
corrected = pytest.mark.parametrize("distance", CORRECTED)


@corrected
@pytest.mark.parametrize("sizes", [(12,) * 5, (5, 9, 4, 20)], ids=["even", "uneven"])
def test_values_are_those_of_compare(distance: str, sizes: tuple[int, ...]) -> None:
    """The plain values, of the score and each layer, are those of `compare` on all images."""
    reference, generated = make_grouped(distance, 0, sizes=sizes), make_grouped(distance, 1, shift=0.4)
    found = jackknife_distance(reference, generated, distance=distance)
    function = find_distance(distance)
    assert found.score.value == pytest.approx(float(function(reference.total, generated.total)), rel=1e-12)
    by_layer = function(reference.total, generated.total, reduction="layer")
    assert {layer: each.value for layer, each in found.layers.items()} == pytest.approx(
        {layer: float(value) for layer, value in by_layer.items()}, rel=1e-12
    )
    assert found.covers == ("reference", "generated")
    assert found.reference.sizes == sizes
    assert found.generated.provenance.sources == ("set1",)


@pytest.mark.parametrize("distance", ["nfd", "lfd"])
@pytest.mark.parametrize("sizes", [(12,) * 5, (5, 9, 4, 20)], ids=["even", "uneven"])
def test_fréchet_distances_are_jackknifed(distance: str, sizes: tuple[int, ...]) -> None:
    """Corrected value, error and interval are those of the formulas, computed here group by group with NumPy."""
    sides = make_grouped(distance, 0, sizes=sizes), make_grouped(distance, 1, shift=0.4)
    function = find_distance(distance)
    plain = float(function(sides[0].total, sides[1].total))
    corrected, variances, freedoms = plain, [], []
    for place, side in enumerate(sides):
        pseudo_values, weights, left_out = [], [], 0.0
        for group in range(len(side.groups)):
            first, *others = [part for index, part in enumerate(side.groups) if index != group]
            pair = [each.total for each in sides]
            pair[place] = sum(others, first)
            without, share = float(function(*pair)), side.n_images / side.sizes[group]
            pseudo_values.append(share * plain - (share - 1) * without)
            weights.append(1 / (share - 1))
            left_out += (1 - 1 / share) * without
        centre = len(weights) * plain - left_out
        corrected += centre - plain
        variances.append(float(np.mean(np.array(weights) * (np.array(pseudo_values) - centre) ** 2)))
        freedoms.append(len(weights) - 1)
    freedom = sum(variances) ** 2 / sum(each**2 / n for each, n in zip(variances, freedoms, strict=True))
    half = stats.t.ppf(0.95, freedom) * sum(variances) ** 0.5
    score = jackknife_distance(*sides, distance=distance, confidence=0.9).score
    expected = [plain, corrected, sum(variances) ** 0.5, corrected - half, corrected + half]
    assert list(vars(score).values()) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("unit", get_args(EMDUnit))
def test_selections_weights_and_units_are_heeded(unit: EMDUnit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weighted selection is what selecting first gives; blocks of neurons make no difference to the EMD."""
    reference, generated = make_grouped("emd", 0), make_grouped("emd", 1, shift=0.4)
    neurons, weights = {"conv1": [3, 0], "norm": [1]}, {"conv1": [0.5, -1.0], "norm": [2.0]}
    options: dict[str, Any] = {"weights": weights, "unit": unit}
    found = jackknife_distance(reference, generated, distance=Column("emd", neurons=neurons, **options))
    monkeypatch.setattr(rules, "_BLOCK", 1)  # one neuron at once
    chosen = jackknife_distance(
        reference.select(neurons=neurons), generated.select(neurons=neurons), distance=Column("emd", **options)
    )
    assert vars(found.score) == pytest.approx(vars(chosen.score), rel=1e-6)
    expected = compare.emd(reference.total, generated.total, neurons=neurons, **options)
    assert found.score.value == pytest.approx(float(expected), rel=1e-12)
    assert found.score.corrected == pytest.approx(sum(each.corrected for each in found.layers.values()))
    assert list(found.layers) == ["conv1", "norm"]


def test_units_scale_the_whole_estimate() -> None:
    """In shares of the range, value, correction and error are those in bins over the number of bins."""
    reference, generated = make_grouped("emd", 0, bins=300), make_grouped("emd", 1, shift=0.4, bins=300)
    in_bins, in_ranges = (
        jackknife_distance(reference, generated, distance=Column("emd", unit=unit)).score for unit in ("bins", "range")
    )
    assert vars(in_ranges) == pytest.approx({name: value / 300 for name, value in vars(in_bins).items()}, rel=1e-6)


@corrected
def test_a_side_that_is_not_in_groups_is_taken_as_it_is(distance: str) -> None:
    """It adds neither bias nor error, the result says so, and without a grouped side there is no interval."""
    reference, generated = make_grouped(distance, 0), make_grouped(distance, 1, shift=0.4)
    both = jackknife_distance(reference, generated, distance=distance)
    left = jackknife_distance(reference, generated.total, distance=distance)
    right = jackknife_distance(reference.total, generated, distance=distance)
    assert (left.covers, right.covers) == (("reference",), ("generated",))
    assert left.generated.sizes == (60,)
    assert left.score.value == right.score.value == both.score.value
    if distance != "emd":
        errors = [each.score.standard_error for each in (left, right)]
        assert both.score.standard_error == pytest.approx(np.hypot(*errors))
    assert max(left.score.standard_error, right.score.standard_error) < 1.2 * both.score.standard_error
    with pytest.raises(ValueError, match="neither side is in groups"):
        jackknife_distance(reference.total, generated.total, distance=distance)


@distances
def test_an_interval_of_a_distance_is_not_below_0(distance: str) -> None:
    """Between sets that are alike, the interval starts at 0 and is as wide above it as if the estimate were there."""
    found = jackknife_distance(make_grouped(distance, 0), make_grouped(distance, 1), distance=distance)
    for estimate in (found.score, *found.layers.values()):
        assert estimate.low >= 0
        assert estimate.high > max(0.0, estimate.corrected)
    assert any(estimate.low == 0 for estimate in found.layers.values())


def test_factors_of_a_reference_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second generator costs the factors of its own covariances only."""
    computed: list[str] = []
    factor = LayerGaussianDistribution.factor

    def counted(self: LayerGaussianDistribution, layer: str) -> torch.Tensor:
        if layer not in self._factors:
            computed.append(layer)
        return factor(self, layer)

    monkeypatch.setattr(LayerGaussianDistribution, "factor", counted)
    reference = make_grouped("lfd", 0)
    jackknife_distance(reference, make_grouped("lfd", 1), distance="lfd")
    first = len(computed)
    jackknife_distance(reference, make_grouped("lfd", 2), distance="lfd")
    assert (first, len(computed) - first) == (2 * 6 * len(LAYOUT), 6 * len(LAYOUT))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_is_a_share(confidence: float) -> None:
    """A confidence outside 0 to 1 is refused."""
    with pytest.raises(ValueError, match="confidence lies between 0 and 1"):
        jackknife_distance(make_grouped("emd", 0), make_grouped("emd", 1), confidence=confidence)


@pytest.fixture(scope="module")
def intervals() -> ModuleType:
    """The experiment of docs/uncertainty.md, which knows true distances."""
    path = Path(__file__).parents[3] / "benchmarks" / "experiments" / "intervals.py"
    spec = importlib.util.spec_from_file_location("intervals_experiment", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # it imports what lies beside it
        patch.syspath_prepend(path.parent)
        spec.loader.exec_module(module)
    return module


@distances
def test_intervals_hold_the_true_distance(intervals: ModuleType, distance: str) -> None:
    """Of 120 images a side, 95 % intervals hold the true distance, and corrected values are near it."""
    cell = intervals.Cell(intervals.World(0.5, neurons=24), 120, (distance,), trials=40)
    found = intervals.Found.of(cell, intervals.run(cell), distance)
    assert found.coverage >= 0.85
    assert found.given == 1
    assert abs(found.corrected) < 0.3 * found.plain
    assert 0.7 < found.standard_error / found.scatter < 1.8


def test_the_value_is_that_of_the_distance_to_the_bit() -> None:
    """The plain value of the score is what the column gives of all images, not a sum over layers, which rounds."""
    for distance in OURS:
        reference, generated = make_grouped(distance, 0), make_grouped(distance, 1, shift=0.4)
        found = jackknife_distance(reference, generated, distance=distance)
        assert found.score.value == find_column(distance)(reference.total, generated.total)


def test_a_score_of_one_set_has_an_error() -> None:
    """It needs no reference, has no layers, its chance is that of the generated images, and it may lie anywhere."""
    generated = make_grouped(EVENNESS, 1, sizes=(9, 12, 15))
    found = jackknife_distance(None, generated, distance=EVENNESS)
    assert found.score.value == float(EVENNESS(None, generated.total))
    assert (found.covers, found.layers, found.reference.sizes) == (("generated",), {}, ())
    assert found.score.low < found.score.corrected < found.score.high
    assert found.higher_is_better
    again = jackknife_distance(make_grouped(EVENNESS, 2), generated, distance=EVENNESS)
    assert again.score == found.score


def test_an_interval_may_lie_below_0_where_there_is_no_least_value() -> None:
    """Of a score without a value between a set and itself the interval is about the corrected value."""
    negative = replace(EVENNESS, function=lambda side: EVENNESS.function(side) - 100)
    score = jackknife_distance(None, make_grouped(EVENNESS, 1), distance=negative).score
    assert score.high < 0
    assert score.corrected - score.low == pytest.approx(score.high - score.corrected)


def test_a_line_over_one_over_n_is_followed_to_0() -> None:
    """Of ``2 + 30/n`` the extrapolated value is 2, the slope 30, and the fit adds no error."""
    sizes = (50, 40, 40, 40, 40, 40, 30, 20)
    values = torch.tensor([2 + 30 / n for n in sizes], dtype=torch.float64)
    estimate, slope = jackknife._extrapolated(
        find_column("lfd"), values, sizes, [ImageClusters.independent(10)] * 5, 0.95
    )
    assert (estimate.corrected, slope) == pytest.approx((2, 30))
    assert estimate.standard_error < 1e-6


@pytest.mark.parametrize("distance", ["nfd", "lfd"])
def test_extrapolation_agrees_with_the_jackknife(distance: Any) -> None:
    """With a fixed reference both remove the same bias, within a fraction of the error; a seed gives the same again."""
    reference = make_grouped(distance, 0, sizes=(40,) * 5).total
    generated = make_grouped(distance, 1, shift=0.3, sizes=(30,) * 6)
    found = extrapolate_frechet(reference, generated, distance=distance, seed=1)
    corrected = jackknife_distance(reference, generated, distance=distance).score
    assert found.score.value == corrected.value
    assert abs(found.score.corrected - corrected.corrected) < 0.5 * corrected.standard_error
    assert found.score.standard_error == pytest.approx(corrected.standard_error, rel=0.2)
    assert list(found.layers) == list(LAYOUT)
    assert found.sizes[:7] == (180, *(150,) * 6)
    assert torch.equal(found.values, extrapolate_frechet(reference, generated, distance=distance, seed=1).values)


def test_what_is_no_line_is_refused() -> None:
    """The EMD, two groups, and no draw are refused."""
    gaussians = make_grouped("lfd", 0)
    with pytest.raises(ValueError, match=r"bias is in 1/n are extrapolated.*got Column\(emd"):
        extrapolate_frechet(make_grouped("emd", 0), make_grouped("emd", 1), distance="emd")
    with pytest.raises(ValueError, match=r"expected a DNA in at least 3 groups, got GroupedDNA\(2 groups"):
        extrapolate_frechet(gaussians, GroupedDNA(gaussians.groups[:2]))
    with pytest.raises(ValueError, match="expected draws of at least 1, got 0"):
        extrapolate_frechet(gaussians, gaussians, draws=0)


@distances
def test_the_floor_is_what_new_real_images_score(distance: str) -> None:
    """The floor of 40 and of 300 images is the mean distance of so many new images from the reference."""
    references = [make_grouped(distance, seed, sizes=(20,) * 6) for seed in range(40)]
    for n_images in (40, 300):
        floors = [noise_floor(reference, n_images, distance=distance, draws=2) for reference in references]
        measure = find_column(distance)
        found = [
            measure(reference.total, make_dna(measure.kind, n_images, 5000 + i, bins=40))
            for i, reference in enumerate(references)
        ]
        assert np.mean([floor.value for floor in floors]) == pytest.approx(np.mean(found), rel=0.25), n_images


def test_a_floor_says_how_it_was_measured() -> None:
    """Its layers give its value; it is the same for one seed; parts are as near to the asked number as groups allow."""
    reference = make_grouped("emd", 0, sizes=(10,) * 8)
    floor = noise_floor(reference, 10, draws=4, seed=3)
    assert floor.measured_at == 10
    assert noise_floor(reference, 1000).measured_at == 40
    assert floor == noise_floor(reference, 10, draws=4, seed=3)
    assert floor.value == pytest.approx(
        sum(floor.layers[layer] * count / LAYOUT.total for layer, count in LAYOUT.items())
    )
    assert noise_floor(reference, 10, draws=1).spread == 0
    with pytest.raises(ValueError, match="expected n_images of at least 1, got 0"):
        noise_floor(reference, 0)


def test_a_tie_of_numbers_of_groups_is_no_matter_of_rounding() -> None:
    """Of two numbers of groups whose noise is as far above and below what is expected, the smaller is taken."""
    noises = [Fraction(1, 11 * groups) + Fraction(1, 11 * (10 - groups)) for groups in (1, 2)]
    expected = Fraction(1, 15) + Fraction(1, 110)
    assert noises[0] / expected == expected / noises[1]
    assert noise_floor(make_grouped("emd", 0, sizes=(11,) * 10), 15, draws=1).measured_at == 11


def test_what_has_no_value_between_alike_sets_has_no_floor() -> None:
    """A score of one set has no floor."""
    with pytest.raises(ValueError, match="evenness has no value between a set and itself, so it has no noise floor"):
        noise_floor(make_grouped(EVENNESS, 0), 10, distance=EVENNESS)


# ------------------------------------------------------------------------------------------------------------ clusters
def _in_clusters(dna: GroupedDNA, clusters: Sequence[ImageClusters]) -> GroupedDNA:
    """The same groups, told to be of clusters."""
    told = [
        replace(group, provenance=replace(group.provenance, clusters=each))
        for group, each in zip(dna.groups, clusters, strict=True)
    ]
    return GroupedDNA(tuple(told))


@corrected
def test_clusters_of_one_size_change_no_number(distance: str) -> None:
    """Groups of equal clusters are as independent as groups of images: every number is the same, to rounding."""
    sides = make_grouped(distance, 0, sizes=(12,) * 5), make_grouped(distance, 1, sizes=(12,) * 4 + (8,), shift=0.4)
    clusters = [[ImageClusters.of([4] * (size // 4)) for size in side.sizes] for side in sides]
    told = [_in_clusters(*each) for each in zip(sides, clusters, strict=True)]
    scores = [jackknife_distance(*pair, distance=distance).score for pair in (sides, told)]
    for name in ("value", "corrected", "standard_error"):
        assert getattr(scores[1], name) == pytest.approx(getattr(scores[0], name), rel=1e-5)
    floors = [noise_floor(each[0], 20, distance=distance) for each in (sides, told)]
    assert floors[1].value == pytest.approx(floors[0].value)
    if rules.bias_rule(find_column(distance)).linear:
        lines = [extrapolate_frechet(*pair, distance=distance) for pair in (sides, told)]
        assert lines[1].score.corrected == pytest.approx(lines[0].score.corrected)
        assert lines[1].slope == pytest.approx(lines[0].slope / 4)


@pytest.mark.parametrize(
    ("clusters", "reason"),
    [
        ([2, 2], "its 60 images are 4 clusters; error bars need at least 5, so there are none"),
        ([1, 1], "its 60 images are 2 clusters;"),
    ],
)
@pytest.mark.parametrize("grouped", [True, False])
def test_few_clusters_have_no_error_bars(clusters: list[int], reason: str, grouped: bool) -> None:
    """Of fewer than five clusters there is neither interval nor floor nor extrapolation, on either side, and why."""
    known = make_grouped("nfd", 0)
    few = _in_clusters(
        make_grouped("nfd", 1, sizes=(30, 30)), [ImageClusters.of([30 // number] * number) for number in clusters]
    )
    given = few if grouped else few.total
    for pair in ((known, given), (given, known)):
        with pytest.raises(ValueError, match=f"^set1: {reason}"):
            jackknife_distance(*pair, distance="nfd")
    with pytest.raises(ValueError, match=reason):
        noise_floor(given, 10, distance="nfd")
    with pytest.raises(ValueError, match=reason):
        extrapolate_frechet(known, given, distance="nfd")
    assert compare.neuron_frechet(known.total, few.total) > 0


def _drawn_in_clusters(seed: int, *, whole: bool) -> GroupedDNA:
    """200 images in clusters of 5 as 96 neurons see them, of which half of the variance is the cluster's and more."""
    layout, stream = NeuronLayout({"layer": 96}), np.random.default_rng(seed)
    of_clusters, own = stream.standard_normal((40, 96)), stream.standard_normal((200, 96))
    labels = np.repeat(np.arange(40), 5)
    activations = torch.from_numpy(0.8**0.5 * of_clusters[labels] + 0.2**0.5 * own).float().T[..., None]
    partition = disjoint_groups(200, 10, labels.tolist() if whole else None)
    groups = []
    for chosen in partition.members(range(200)).values():
        distribution = GaussianDistribution.empty(layout)
        distribution.fill_({"layer": activations[:, chosen.tolist()]})
        provenance = Provenance("drawn", (f"set{seed}",), clusters=partition.clusters_of(chosen.tolist()))
        groups.append(VDNA(distribution, ExtractorFingerprint("drawn", "", "none", {"layer": "0"}), provenance))
    return GroupedDNA(tuple(groups))


def test_whole_clusters_make_intervals_hold() -> None:
    """Of equal generators whose images come in clusters no interval held 0 by groups of single images; now all do."""
    held = {}
    for whole in (False, True):
        pairs = [[_drawn_in_clusters(2 * trial + side, whole=whole) for side in (0, 1)] for trial in range(12)]
        held[whole] = [jackknife_distance(*pair, distance="nfd").score.low <= 0 for pair in pairs]
    assert (sum(held[False]), sum(held[True])) == (0, 12)


def test_whole_clusters_make_the_floor_what_real_images_score() -> None:
    """The floor of a set in clusters is the mean distance of another such set; by single images it is far lower."""
    found = [
        compare.neuron_frechet(*(_drawn_in_clusters(100 + 2 * trial + side, whole=True).total for side in (0, 1)))
        for trial in range(12)
    ]
    floors = {
        whole: np.mean(
            [noise_floor(_drawn_in_clusters(seed, whole=whole), 200, distance="nfd").value for seed in range(8)]
        )
        for whole in (False, True)
    }
    assert floors[True] == pytest.approx(np.mean(found), rel=0.15)
    assert floors[False] < 0.6 * np.mean(found)
