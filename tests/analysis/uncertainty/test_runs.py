"""Means over training runs: their intervals hold for another set of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from vdna_metrics.analysis import Estimate, JackknifedDistance, Side, average_runs, between_runs, rank_intervals
from vdna_metrics.dna import Provenance

GROUPS = 10


def _side(deviations: Sequence[float], freedom: float = GROUPS - 1) -> Side:
    return Side(Provenance("net"), (20,) * GROUPS, torch.tensor(deviations, dtype=torch.float64), freedom)


def _run(value: float, images: Sequence[float], reference: Sequence[float] = (0.0,) * GROUPS) -> JackknifedDistance:
    """A distance of which the chance of the images, and that of the reference, have these deviations."""
    error = float(np.sqrt(np.sum(np.square(images)) + np.sum(np.square(reference))))
    score = Estimate(value + 0.5, value, error, value - 2 * error, value + 2 * error)
    return JackknifedDistance(score, {}, "emd", "bins", 0.95, _side(reference), _side(images))


def _drawn(stream: np.random.Generator, truth: float, between: float, runs: int, of_reference: float = 0.0) -> list:
    """Runs of a generator: training and images each move the distance, images by groups that tell how much."""
    found = []
    for _ in range(runs):
        deviations = stream.normal(0, 1 / GROUPS, GROUPS)
        value = truth + between * stream.normal() + deviations.sum() + of_reference
        centred = (deviations - deviations.mean()) * np.sqrt(GROUPS / (GROUPS - 1))
        found.append(_run(value, centred))
    return found


@pytest.mark.parametrize(("between", "runs"), [(0.0, 3), (1.0, 2), (1.0, 5)])
def test_the_interval_of_a_mean_holds_for_other_runs(between: float, runs: int) -> None:
    """95 % of intervals hold the generator's own distance, with and without variation by training."""
    stream = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        score = average_runs(_drawn(stream, 10.0, between, runs)).score
        assert score.low is not None
        assert score.high is not None
        held += score.low <= 10.0 <= score.high
    assert 0.93 <= held / 400 <= 0.975


@pytest.mark.parametrize("runs", [1, 2])
def test_few_runs_beside_several_take_their_variation_from_them(runs: int) -> None:
    """Of a single run the images alone would hold 1 in 3; with the runs of another generator 95 % do, and of two."""
    stream = np.random.default_rng(1)
    alone = pooled = 0
    for _ in range(400):
        several, few = _drawn(stream, 9.0, 1.5, 4), _drawn(stream, 10.0, 1.5, runs)
        for told in (None, between_runs([several, few])):
            score = average_runs(few, between=told).score
            assert score.low is not None
            assert score.high is not None
            inside = score.low <= 10.0 <= score.high
            alone, pooled = alone + (inside and told is None), pooled + (inside and told is not None)
    assert (alone / 400 < 0.45) == (runs == 1)
    assert 0.93 <= pooled / 400 <= 0.985


def test_equal_generators_are_rarely_called_different() -> None:
    """With three runs each, one in twenty pairs differs by chance; taken as single sets, most would."""
    stream = np.random.default_rng(2)
    wrong = single = 0
    for _ in range(400):
        both = {name: _drawn(stream, 10.0, 1.5, 3) for name in ("a", "b")}
        ranking = rank_intervals({name: average_runs(runs) for name, runs in both.items()})
        wrong += not ranking.pairs[0].tied
        single += not rank_intervals({name: runs[0] for name, runs in both.items()}).pairs[0].tied
    assert wrong / 400 <= 0.07
    assert single / 400 > 0.4


@pytest.mark.parametrize(("runs", "share"), [((2, 2), 0.1225), ((2, 1), 0.04), ((3, 1), 0.0775)])
def test_how_often_equal_generators_of_few_runs_are_called_different(runs: tuple[int, int], share: float) -> None:
    """It is as docs/leaderboard.md says: more often than one in twenty where each has a pair of its own."""
    stream, wrong = np.random.default_rng(5), 0
    for _ in range(400):
        both = {name: _drawn(stream, 10.0, 1.5, number) for name, number in zip("ab", runs, strict=True)}
        between = between_runs(list(both.values()))
        ranking = rank_intervals({name: average_runs(each, between=between) for name, each in both.items()})
        wrong += not ranking.pairs[0].tied
    assert wrong / 400 == pytest.approx(share, abs=0.005)


def test_the_chance_of_the_reference_counts_once() -> None:
    """It is common to all runs: it widens the mean's interval by itself, and drops out of differences."""
    common = [0.3, -0.2, 0.1, 0.0, 0.2, -0.1, -0.3, 0.1, -0.2, 0.1]
    runs = [_run(value, [0.01] * GROUPS, common) for value in (2.0, 2.2, 2.1)]
    found = average_runs(runs)
    assert found.score.corrected == pytest.approx(2.1)
    assert found.score.value == pytest.approx(2.6)
    of_runs = np.var([2.0, 2.2, 2.1], ddof=1) / 3
    assert found.score.standard_error**2 == pytest.approx(of_runs + np.sum(np.square(common)))
    other = average_runs([_run(value, [0.01] * GROUPS, common) for value in (3.0, 3.2, 3.1)])
    (pair,) = rank_intervals({"a": found, "b": other}).pairs
    assert pair.difference.estimate.standard_error**2 == pytest.approx(2 * 0.01 / 3)
    assert not pair.tied


def test_what_images_explain_is_not_said_of_training() -> None:
    """The variance between runs is that of the runs less that of their images, and not below 0."""
    images = [0.1] * GROUPS
    found = between_runs([[_run(1.0, images), _run(2.0, images)], [_run(5.0, images)]])
    assert found is not None
    assert (found.variance, found.freedom, found.resampling) == pytest.approx((0.4, 1, 0.1))
    assert found.ratio == pytest.approx(5**0.5)
    alike = between_runs([[_run(1.0, images), _run(1.01, images)]])
    assert alike is not None
    assert alike.variance == 0
    assert between_runs([[_run(1.0, images)], [_run(2.0, images)]]) is None


def test_a_run_without_an_interval_leaves_the_mean_without_one() -> None:
    """What the correction may leave of the bias is not less in a mean."""
    score = Estimate(1.5, 1.0, 0.1, None, None)
    short = JackknifedDistance(score, {}, "lfd", "", 0.95, _side([0.1] * 10), _side([0.1] * 10), withheld="few images")
    found = average_runs([_run(1.0, [0.1] * GROUPS), short], distance="lfd")
    assert (found.score.low, found.score.high, found.withheld) == (None, None, "few images")


def test_runs_are_of_one_kind() -> None:
    """No run, and runs by other distances, are refused with both sides."""
    with pytest.raises(ValueError, match="at least one run, got none"):
        average_runs([])
    other = JackknifedDistance(Estimate(1, 1, 0.1, 0.8, 1.2), {}, "nfd", "", 0.95, _side([0.1]), _side([0.1]))
    with pytest.raises(ValueError, match="distances differ"):
        average_runs([_run(1.0, [0.1] * GROUPS), other])


def test_a_single_run_beside_a_pair_is_not_told_apart_by_luck() -> None:
    """Where two runs happen to lie close together, one that stands alone is no surer than they are."""
    images = [0.1] * GROUPS
    alike = [_run(1.0, images), _run(1.01, images)]
    alone = [_run(3.0, images)]
    found = average_runs(alone, between=between_runs([alike, alone]))
    assert found.generated.freedom == 1
    assert found.score.standard_error == pytest.approx(0.1**0.5)
    assert found.score.high > 3.0 + 12 * 0.1**0.5  # Student's, of one degree of freedom
    surer = average_runs([_run(3.0, [0.2] * GROUPS)], between=between_runs([alike, alone]))
    assert surer.score.high > found.score.high
