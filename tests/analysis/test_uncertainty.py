"""Error bars: intervals, differences, ranks, noise floor, extrapolation, agreement."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.dnas import LAYOUT, make_dna
from scipy import stats

from vdna_metrics import compare
from vdna_metrics.analysis import uncertainty
from vdna_metrics.analysis.comparison import DistanceName
from vdna_metrics.analysis.uncertainty import (
    Estimate,
    JackknifedDistance,
    Side,
    agreement,
    compare_pair,
    extrapolate_frechet,
    jackknife_distance,
    noise_floor,
    rank_intervals,
)
from vdna_metrics.distributions import Kind, LayerGaussianDistribution
from vdna_metrics.dna import GroupedDNA, Provenance
from vdna_metrics.functional.emd import EMDUnit

KIND_OF: dict[DistanceName, Kind] = {
    "emd": "histogram",
    "neuron_frechet": "gaussian",
    "layer_frechet": "layer_gaussian",
}
distances = pytest.mark.parametrize("distance", get_args(DistanceName))


def _dealt(
    distance: DistanceName, seed: int, *, shift: float = 0.0, sizes: tuple[int, ...] = (12,) * 5, bins: int = 40
) -> GroupedDNA:
    groups = [
        make_dna(KIND_OF[distance], size, seed=100 * seed + place, shift=shift, bins=bins)
        for place, size in enumerate(sizes)
    ]
    return GroupedDNA(tuple(replace(group, provenance=Provenance("tiny", (f"set{seed}",))) for group in groups))


# --------------------------------------------------------------------------------------------------- jackknife_distance
@distances
@pytest.mark.parametrize("sizes", [(12,) * 5, (5, 9, 4, 20)], ids=["even", "uneven"])
def test_values_are_those_of_compare(distance: DistanceName, sizes: tuple[int, ...]) -> None:
    """The plain values, of the score and each layer, are those of `compare` on all images."""
    reference, generated = _dealt(distance, 0, sizes=sizes), _dealt(distance, 1, shift=0.4)
    found = jackknife_distance(reference, generated, distance=distance)
    function = getattr(compare, distance)
    assert found.score.value == pytest.approx(float(function(reference.total, generated.total)), rel=1e-12)
    by_layer = function(reference.total, generated.total, reduction="layer")
    assert {layer: each.value for layer, each in found.layers.items()} == pytest.approx(
        {layer: float(value) for layer, value in by_layer.items()}, rel=1e-12
    )
    assert found.covers == ("reference", "generated")
    assert found.reference.sizes == sizes
    assert found.generated.provenance.sources == ("set1",)


@pytest.mark.parametrize("distance", ["neuron_frechet", "layer_frechet"])
@pytest.mark.parametrize("sizes", [(12,) * 5, (5, 9, 4, 20)], ids=["even", "uneven"])
def test_fréchet_distances_are_jackknifed(distance: DistanceName, sizes: tuple[int, ...]) -> None:
    """Corrected value, error and interval are those of the formulas, computed here group by group with NumPy."""
    sides = _dealt(distance, 0, sizes=sizes), _dealt(distance, 1, shift=0.4)
    function = getattr(compare, distance)
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


@pytest.mark.parametrize("sizes", [(7, 7, 7), (2, 9, 5, 30)], ids=["even", "uneven"])
def test_a_bias_in_one_over_n_is_removed_exactly(sizes: tuple[int, ...]) -> None:
    """Of ``3 + 50/n`` the jackknife leaves 3, and no error, whatever the sizes of the groups."""
    total = sum(sizes)
    without = torch.tensor([[3 + 50 / (total - size)] for size in sizes], dtype=torch.float64)
    bias, deviations = uncertainty._jackknife(torch.tensor([3 + 50 / total], dtype=torch.float64), without, sizes)
    assert float(bias) == pytest.approx(50 / total)
    assert deviations.abs().max() < 5


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    """Deviations of a mean of equal groups add up to the variance of the groups' means over their number."""
    means = torch.tensor([1.0, 4.0, 2.0, 7.0], dtype=torch.float64)
    without = (means.sum() - means) / 3
    bias, deviations = uncertainty._jackknife(means.mean()[None], without[:, None], (5,) * 4)
    assert float(bias) == pytest.approx(0)
    assert float(deviations.square().sum()) == pytest.approx(float(means.var() / 4))


def test_noise_is_extrapolated_to_none() -> None:
    """`c₀` of the parabola in √r through the EMD at r = 1, 2, 4, here by numerical integration; no noise, no change."""
    stream = np.random.default_rng(0)
    difference, variance = stream.normal(size=6), stream.uniform(0.1, 2, 6)
    grid = np.linspace(-12, 12, 20001)
    density = stats.norm.pdf(grid) * (grid[1] - grid[0])
    noisy = []
    for noise in (1, 2, 4):
        places = difference[:, None] + np.sqrt((noise - 1) * variance)[:, None] * grid
        noisy.append(float((abs(places) @ density).sum()))
    expected = np.polyfit(np.sqrt([1, 2, 4]), noisy, 2)[-1]
    tensors = torch.from_numpy(difference), torch.from_numpy(variance)
    assert float(uncertainty._without_noise(*tensors)) == pytest.approx(expected, rel=1e-5)
    plain = uncertainty._without_noise(tensors[0], torch.zeros(6, dtype=torch.float64))
    assert float(plain) == pytest.approx(abs(difference).sum())


@pytest.mark.parametrize("groups", [2, 3, 5, 10])
def test_halves_are_unlike(groups: int) -> None:
    """Each parting has every group once, in halves that differ by one at most; their degrees are at most groups − 1."""
    halves, freedom = uncertainty._halves(groups)
    for first, second in halves:
        assert sorted(first + second) == list(range(groups))
        assert abs(len(first) - len(second)) <= 1
    assert 0.7 * (groups - 1) <= freedom <= groups - 1 + 1e-9


@pytest.mark.parametrize("unit", get_args(EMDUnit))
def test_selections_weights_and_units_are_heeded(unit: EMDUnit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weighted selection is what selecting first gives; blocks of neurons make no difference to the EMD."""
    reference, generated = _dealt("emd", 0), _dealt("emd", 1, shift=0.4)
    neurons, weights = {"conv1": [3, 0], "norm": [1]}, {"conv1": [0.5, -1.0], "norm": [2.0]}
    options: dict[str, Any] = {"weights": weights, "unit": unit}
    found = jackknife_distance(reference, generated, neurons=neurons, **options)
    monkeypatch.setattr(uncertainty, "_BLOCK", 1)  # one neuron at once
    chosen = jackknife_distance(reference.select(neurons=neurons), generated.select(neurons=neurons), **options)
    assert vars(found.score) == pytest.approx(vars(chosen.score), rel=1e-6)
    expected = compare.emd(reference.total, generated.total, neurons=neurons, **options)
    assert found.score.value == pytest.approx(float(expected), rel=1e-12)
    assert found.score.corrected == pytest.approx(sum(each.corrected for each in found.layers.values()))
    assert list(found.layers) == ["conv1", "norm"]


def test_units_scale_the_whole_estimate() -> None:
    """In shares of the range, value, correction and error are those in bins over the number of bins."""
    reference, generated = _dealt("emd", 0, bins=300), _dealt("emd", 1, shift=0.4, bins=300)
    in_bins, in_ranges = (jackknife_distance(reference, generated, unit=unit).score for unit in ("bins", "range"))  # type: ignore[arg-type]
    assert vars(in_ranges) == pytest.approx({name: value / 300 for name, value in vars(in_bins).items()}, rel=1e-6)


@distances
def test_a_side_that_is_not_dealt_is_taken_as_it_is(distance: DistanceName) -> None:
    """It adds neither bias nor error, the result says so, and without a dealt side there is no interval."""
    reference, generated = _dealt(distance, 0), _dealt(distance, 1, shift=0.4)
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
    with pytest.raises(ValueError, match="neither side is dealt into groups"):
        jackknife_distance(reference.total, generated.total, distance=distance)


@distances
def test_an_interval_of_a_distance_is_not_below_0(distance: DistanceName) -> None:
    """Between sets that are alike, the interval starts at 0 and is as wide above it as if the estimate were there."""
    found = jackknife_distance(_dealt(distance, 0), _dealt(distance, 1), distance=distance)
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
    reference = _dealt("layer_frechet", 0)
    jackknife_distance(reference, _dealt("layer_frechet", 1), distance="layer_frechet")
    first = len(computed)
    jackknife_distance(reference, _dealt("layer_frechet", 2), distance="layer_frechet")
    assert (first, len(computed) - first) == (2 * 6 * len(LAYOUT), 6 * len(LAYOUT))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_is_a_share(confidence: float) -> None:
    """A confidence outside 0 to 1 is refused."""
    with pytest.raises(ValueError, match="confidence lies between 0 and 1"):
        jackknife_distance(_dealt("emd", 0), _dealt("emd", 1), confidence=confidence)


@pytest.fixture(scope="module")
def intervals() -> ModuleType:
    """The experiment of docs/uncertainty.md, which knows true distances."""
    path = Path(__file__).parents[2] / "benchmarks" / "experiments" / "intervals.py"
    spec = importlib.util.spec_from_file_location("intervals_experiment", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@distances
def test_intervals_hold_the_true_distance(intervals: ModuleType, distance: DistanceName) -> None:
    """Of 120 images a side, 95 % intervals hold the true distance, and corrected values are near it."""
    found = intervals.examine(intervals.World(0.3, 0.5), 120, 20, distance)
    assert found.coverage >= 0.88
    assert abs(found.corrected) < 0.25 * found.plain
    assert 0.7 < found.standard_error / found.scatter < 1.8


# -------------------------------------------------------------------------------------- compare_pair and rank_intervals
def _known(
    score: float, of_reference: list[float], of_generated: list[float], sizes: tuple[int, ...] = (5, 5, 5)
) -> JackknifedDistance:
    def side(name: str, deviations: list[float], sizes: tuple[int, ...]) -> Side:
        dealt = torch.tensor(deviations, dtype=torch.float64)
        return Side(Provenance("net", (name,)), sizes, dealt, len(deviations) - 1.0)

    estimate = Estimate(score + 1, score, 0.1, score - 0.2, score + 0.2)
    reference, generated = side("real", of_reference, (6, 6, 6)), side("made", of_generated, sizes)
    return JackknifedDistance(estimate, {"layer": estimate}, "emd", "bins", 0.95, reference, generated)


def test_what_is_common_drops_out_of_a_difference() -> None:
    """The reference's deviations are subtracted one by one, and the generators' when they are paired, else added."""
    a, b = _known(3.0, [1, -1, 0.5], [0.1, 0.2, -0.3]), _known(2.0, [1, -1, 0.3], [0.1, 0.1, -0.3])
    for paired, variances in ((True, (0.04, 0.01)), (False, (0.04, 0.14, 0.11))):
        found = compare_pair(a, b, paired=paired)
        freedom = sum(variances) ** 2 / sum(each**2 / 2 for each in variances)
        half = stats.t.ppf(0.975, freedom) * sum(variances) ** 0.5
        expected = [1, 1, sum(variances) ** 0.5, 1 - half, 1 + half]
        assert list(vars(found.estimate).values()) == pytest.approx(expected)
        assert found.p_value == pytest.approx(2 * stats.t.sf(1 / sum(variances) ** 0.5, freedom))
        assert found.paired is paired


@distances
def test_a_generator_does_not_differ_from_itself(distance: DistanceName) -> None:
    """The difference is 0 with a p value of 1, and with the sides swapped the difference has the other sign."""
    reference = _dealt(distance, 0)
    a, b = (
        jackknife_distance(reference, _dealt(distance, seed, shift=0.2 * seed), distance=distance) for seed in (1, 2)
    )
    same = compare_pair(a, a, paired=True)
    assert (same.estimate.value, same.p_value) == (0, 1)
    forth, back = compare_pair(a, b, paired=False), compare_pair(b, a, paired=False)
    assert forth.estimate.corrected == pytest.approx(-back.estimate.corrected)
    assert (forth.estimate.low, forth.p_value) == pytest.approx((-back.estimate.high, back.p_value))


def test_rounding_is_no_difference() -> None:
    """What differs by rounding alone is not called different, however small the error; what has no error is."""
    a, b, c = _known(2.0, [0, 0, 0], [0, 0, 0]), _known(2 + 1e-12, [0, 0, 0], [0, 0, 0]), _known(3, [0] * 3, [0] * 3)
    assert compare_pair(a, b, paired=True).p_value == 1
    assert compare_pair(a, c, paired=True).p_value == 0


@pytest.mark.parametrize(
    ("changes", "paired", "message"),
    [
        ({"distance": "layer_frechet"}, False, "distances differ: first emd, second layer_frechet"),
        ({"unit": "range"}, False, "units differ: first bins, second range"),
        ({"layers": {}}, False, r"layers differ: first \['layer'\], second \[\]"),
        ({"generated": _known(1, [1] * 3, [1] * 3, (5, 5, 4)).generated}, True, "groups to be paired differ: first"),
        ({"reference": _known(1, [1] * 3, [1] * 3).generated}, False, "sources of the reference differ"),
    ],
)
def test_unlike_distances_have_no_difference(changes: dict[str, Any], paired: bool, message: str) -> None:
    """Distances of another kind, unit, layers or reference, and unequal groups to be paired, are refused."""
    known = _known(1.0, [1, -1, 0], [1, -1, 0])
    with pytest.raises(ValueError, match=message):
        compare_pair(known, replace(known, **changes), paired=paired)


def test_ranks_say_what_is_possible() -> None:
    """Generators that cannot be told apart share their places; those that can have one each."""
    small = [0.01, -0.02, 0.01]
    scores = {"far": 9.0, "b": 2.0, "a": 1.99, "middle": 5.0}
    ranking = rank_intervals({name: _known(score, small, small) for name, score in scores.items()})
    assert ranking.order == ("a", "b", "middle", "far")
    assert ranking.ranks == {"a": (1, 2), "b": (1, 2), "middle": (3, 3), "far": (4, 4)}
    assert [(pair.a, pair.b) for pair in ranking.pairs if pair.tied] == [("a", "b")]
    assert all(pair.difference.estimate.corrected < 0 for pair in ranking.pairs)
    assert rank_intervals({"only": _known(1.0, small, small)}).ranks == {"only": (1, 1)}


def test_p_values_are_corrected_by_holm() -> None:
    """The smallest is multiplied by their number, the next by one less, and so on; none falls below one before it."""
    assert uncertainty._holm([0.03, 0.01, 0.025, 0.5]) == pytest.approx([0.075, 0.04, 0.075, 0.5])
    assert uncertainty._holm([0.9, 0.8]) == [1, 1]


@pytest.mark.parametrize(
    ("paired", "expected"),
    [(True, {"ab", "ac", "bc"}), (False, set()), ({"a": "x", "b": "x", "c": "y"}, {"ab"}), ({"a": "x"}, set())],
)
def test_generators_of_one_thing_are_paired(paired: bool | Mapping[str, str], expected: set[str]) -> None:
    """`paired=` is of all, or says of each generator what its images are of; what is not named is paired with none."""
    results = {name: _known(place, [0, 1, -1], [1, -1, 0]) for place, name in enumerate("abc")}
    ranking = rank_intervals(results, paired=paired)
    assert {pair.a + pair.b for pair in ranking.pairs if pair.difference.paired} == expected


def test_a_ranking_names_whom_it_cannot_compare() -> None:
    """An unlike distance is refused by the names of both generators, an empty ranking too."""
    known = _known(1.0, [1, -1, 0], [1, -1, 0])
    with pytest.raises(ValueError, match="'a' and 'b': these distances cannot be compared: units differ"):
        rank_intervals({"a": known, "b": replace(known, unit="range")})
    with pytest.raises(ValueError, match="no generators to rank"):
        rank_intervals({})


# ---------------------------------------------------------------------------------------------------------- noise_floor
@distances
def test_the_floor_is_what_new_real_images_score(distance: DistanceName) -> None:
    """The floor of 40 and of 300 images is the mean distance of so many new images from the reference."""
    references = [_dealt(distance, seed, sizes=(20,) * 6) for seed in range(40)]
    for n_images in (40, 300):
        floors = [noise_floor(reference, n_images, distance=distance, draws=2) for reference in references]
        found = [
            float(getattr(compare, distance)(reference.total, make_dna(KIND_OF[distance], n_images, 5000 + i, bins=40)))
            for i, reference in enumerate(references)
        ]
        assert np.mean([floor.value for floor in floors]) == pytest.approx(np.mean(found), rel=0.25), n_images


def test_a_floor_says_how_it_was_measured() -> None:
    """Its layers give its value; it is the same for one seed; parts are as near to the asked number as groups allow."""
    reference = _dealt("emd", 0, sizes=(10,) * 8)
    floor = noise_floor(reference, 10, draws=4, seed=3)
    assert floor.measured_at == 10
    assert noise_floor(reference, 1000).measured_at == 40
    assert floor == noise_floor(reference, 10, draws=4, seed=3)
    assert floor.value == pytest.approx(
        sum(floor.layers[layer] * count / LAYOUT.total for layer, count in LAYOUT.items())
    )
    assert noise_floor(reference, 10, draws=1).spread == 0
    with pytest.raises(ValueError, match="at least one image and one draw, got 0 and 10"):
        noise_floor(reference, 0)


# -------------------------------------------------------------------------------------------------- extrapolate_frechet
def test_a_line_over_one_over_n_is_followed_to_0() -> None:
    """Of ``2 + 30/n`` the extrapolated value is 2, the slope 30, and the fit adds no error."""
    sizes = (50, 40, 40, 40, 40, 40, 30, 20)
    values = torch.tensor([2 + 30 / n for n in sizes], dtype=torch.float64)
    estimate, slope = uncertainty._extrapolated(values, sizes, (10,) * 5, 0.95)
    assert (estimate.corrected, slope) == pytest.approx((2, 30))
    assert estimate.standard_error < 1e-6


@pytest.mark.parametrize("distance", ["neuron_frechet", "layer_frechet"])
def test_extrapolation_agrees_with_the_jackknife(distance: Any) -> None:
    """With a fixed reference both remove the same bias, within a fraction of the error; a seed gives the same again."""
    reference = _dealt(distance, 0, sizes=(40,) * 5).total
    generated = _dealt(distance, 1, shift=0.3, sizes=(30,) * 6)
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
    gaussians = _dealt("layer_frechet", 0)
    with pytest.raises(ValueError, match=r"only Fréchet distances are extrapolated.*got 'emd'"):
        extrapolate_frechet(_dealt("emd", 0), _dealt("emd", 1), distance="emd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 groups and one draw, got 2 groups and 5 draws"):
        extrapolate_frechet(gaussians, GroupedDNA(gaussians.groups[:2]))
    with pytest.raises(ValueError, match="got 5 groups and 0 draws"):
        extrapolate_frechet(gaussians, gaussians, draws=0)


# ------------------------------------------------------------------------------------------------------------ agreement
def test_correlations_are_scipys() -> None:
    """Spearman's and Kendall's of every two columns, with generators in any order; 0 with a column without order."""
    stream = np.random.default_rng(0)
    columns = {name: dict(zip("abcde", stream.integers(0, 4, 5).tolist(), strict=True)) for name in ("x", "y")}
    columns["same"] = dict.fromkeys("edcba", 1)
    found = agreement(columns)
    rows = [[columns[name][generator] for generator in "abcde"] for name in ("x", "y")]
    assert found.columns == ("x", "y", "same")
    assert found.spearman[0][1] == pytest.approx(stats.spearmanr(*rows).statistic)
    assert found.kendall[1][0] == pytest.approx(stats.kendalltau(*rows).statistic)
    assert found.spearman[0] == pytest.approx((1, found.spearman[1][0], 0))
    assert found.kendall[2] == (0, 0, 0)


def test_disagreement_is_said_in_words() -> None:
    """Each two generators that columns put in another order are named with the columns of both sides, no others."""
    columns = {
        "emd": {"a": 1.0, "b": 2.0, "c": 3.0},
        "nfd": {"a": 1.0, "b": 2.0, "c": 2.0},
        "lfd": {"a": 2.0, "b": 1.0, "c": 3.0},
        "fid": {"a": 3.0, "b": 1.0, "c": 2.0},
    }
    assert agreement(columns).notes == (
        "'a' is nearer than 'b' by emd, nfd, farther by lfd, fid.",
        "'a' is nearer than 'c' by emd, nfd, lfd, farther by fid.",
    )
    assert agreement({"emd": columns["emd"], "nfd": columns["nfd"]}).notes == ()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "two columns and two generators, got 0 and 0"),
        ({"x": {"a": 1.0, "b": 2.0}}, "got 1 and 2"),
        ({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 1.0, "c": 2.0}}, "generators differ: x a, b; y a, c"),
        ({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 1.0, "b": float("nan")}}, "a distance of 'y' is NaN"),
    ],
)
def test_columns_of_other_generators_are_refused(columns: dict[str, dict[str, float]], message: str) -> None:
    """Fewer than two columns or generators, other generators, or a NaN are refused by name."""
    with pytest.raises(ValueError, match=message):
        agreement(columns)
