"""A leaderboard in sentences, each of which its records say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.leaderboards import NAMES, make_diagnoses, make_leaderboard, reaching_the_floor
from helpers.toy_distances import registered_toys

from vdna_metrics.leaderboard.record import Leaderboard
from vdna_metrics.reports.summary import summarise

LEADERBOARD = make_leaderboard()


def _said(leaderboard: Leaderboard) -> str:
    return " ".join(summarise(leaderboard))


def test_the_nearest_is_named_with_its_numbers() -> None:
    """The first sentence has name, reference, corrected distance, interval, plain distance, metric and network."""
    assert summarise(LEADERBOARD)[0] == (
        "“photographs” is nearest to “photographs of train”: 5.00 (95 % interval 4.50 to 5.50; 5.25 before correction "
        "for the number of images), by VDNA-EMD (bins) in “tiny”."
    )


def test_a_tie_for_the_first_place_is_no_win() -> None:
    """Where another may be first, the nearest only has the smallest distance."""
    scores = [replace(s, rank=(1, 2)) if s.generator in NAMES[:2] else s for s in LEADERBOARD.scores]
    first = summarise(replace(LEADERBOARD, scores=tuple(scores)))[0]
    assert "“photographs” has the smallest distance" in first
    assert first.endswith("but is tied with “blurred photographs”.")


@pytest.mark.parametrize(
    ("tied", "sentence"),
    [
        (0, "All differences between sets are larger than chance explains (at 95 % confidence"),
        (1, "9 of 10 differences between sets are larger than chance explains"),
        (10, "No difference between sets is larger than chance explains"),
    ],
)
def test_differences_are_counted(tied: int, sentence: str) -> None:
    """As many as the records of the first column say, ties by name."""
    first = [pair for pair in LEADERBOARD.pairs if (pair.network, pair.metric) == ("tiny", "emd")]
    pairs = tuple(replace(pair, tied=place < tied) for place, pair in enumerate(first))
    assert sentence in _said(replace(LEADERBOARD, pairs=pairs))
    assert ("tied: “photographs” with “blurred photographs”." in _said(replace(LEADERBOARD, pairs=pairs))) == (
        tied == 1
    )


def test_without_error_bars_it_says_so() -> None:
    """A leaderboard whose sets are not in groups does not pretend that differences are real."""
    scores = tuple(replace(score, estimate=None, rank=None) for score in LEADERBOARD.scores)
    for leaderboard in (replace(LEADERBOARD, scores=scores), replace(LEADERBOARD, scores=scores[:1])):
        said = _said(leaderboard)
        assert "There are no error bars" in said
        assert "interval" not in said
        assert "chance explains" not in said


def test_a_fault_of_the_first_is_told_at_once() -> None:
    """Who is nearest with a fault, as repeats, is not told to be the best without it."""
    fine, faulty = make_diagnoses(NAMES[1::-1])  # the second is faulty: here the nearest
    assert summarise(replace(LEADERBOARD, diagnoses=(fine, faulty)))[1] == (
        f"But “{NAMES[0]}” has a fault. {faulty.diagnosis.found}"
    )
    assert "has a fault" not in _said(replace(LEADERBOARD, diagnoses=make_diagnoses()))


def test_the_floor_is_reached_or_not() -> None:
    """Sets within two deviations of the floor, and of 0 by their interval, are named; else how many times it it is."""
    start = "Real images score 5.00 before correction at n = 200 (noise floor)"
    assert f"{start}: “photographs” cannot be told" in _said(reaching_the_floor(LEADERBOARD))
    assert f"{start}; the nearest set is at 1.1 times that." in _said(LEADERBOARD)
    lower = tuple(replace(floor, value=floor.value / 2, spread=0.0) for floor in LEADERBOARD.floors)
    assert "the nearest set is at 2.1 times that." in _said(replace(LEADERBOARD, floors=lower))


def test_other_columns_are_compared() -> None:
    """Whether one set is first in all columns, or who is elsewhere."""
    assert "“photographs” has the smallest distance in all 6 columns." in _said(LEADERBOARD)
    scores = tuple(
        replace(score, value=0.0, estimate=replace(score.estimate, corrected=0.0))
        if score.estimate and (score.generator, score.network, score.metric) == ("squares", "other", "nfd")
        else score
        for score in LEADERBOARD.scores
    )
    said = _said(replace(LEADERBOARD, scores=scores))
    assert "“photographs” has the smallest distance in 5 of 6 columns, “squares” in 1." in said


@pytest.mark.parametrize(
    ("metric", "first", "bars"),
    [
        (
            "jsd",
            "“photographs” is nearest to “photographs of train”: 0.105, by Jensen-Shannon divergence (bits) in “tiny”.",
            "There are no error bars: Jensen-Shannon divergence has no rule for them",
        ),
        (
            "entropy",
            "“photographs” is best: 4.91, by activation entropy (nats) in “tiny”; higher is better.",
            "There are no error bars: activation entropy has no rule for them",
        ),
    ],
)
def test_a_distance_without_a_bias_rule_and_a_score_are_told_as_such(metric: str, first: str, bars: str) -> None:
    """No interval, no floor, no tie is claimed; a score is better or worse, never near."""
    with registered_toys():
        said = summarise(make_leaderboard(NAMES[:3], networks=["tiny"], metrics=[metric, "overlap"]))
        alone = summarise(make_leaderboard(NAMES[:1], networks=["tiny"], metrics=[metric]))
    assert said[0] == first
    assert said[1].startswith("Report ")
    assert said[2].startswith(bars)
    assert not any("floor" in sentence or "chance explains (" in sentence for sentence in said)
    assert "“photographs” is first in both columns." in said
    assert ("from “photographs of train”" in alone[0]) == (metric == "jsd")


def test_a_score_may_be_tied_and_at_its_floor() -> None:
    """With error bars and a floor, of a higher-is-better score those that reach the floor from below are named."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["entropy"])
        scores = tuple(replace(score, rank=(1, 2)) for score in leaderboard.scores)
        floor = replace(LEADERBOARD.floors[0], metric="entropy", value=4.8, spread=0.05)
        said = summarise(replace(leaderboard, scores=scores, floors=(floor,)))
        none = summarise(replace(leaderboard, floors=(replace(floor, value=6.0),)))
    assert said[0].startswith(
        "“photographs” has the best value, 4.91, by activation entropy (nats) in “tiny” (higher is better)"
    )
    assert "“photographs” cannot be told from real images by this score." in said[2]
    assert "times" not in none[2]


def test_copies_are_told_when_there_are_more_than_chance_makes() -> None:
    """As many as expected are silent."""
    assert "look like copies" not in _said(LEADERBOARD)  # 2 of 200 at one false alarm in a hundred
    one, other = LEADERBOARD.copies[0].found
    three = replace(LEADERBOARD, copies=(replace(LEADERBOARD.copies[0], found=(one, other, one)),))
    assert "look like copies" not in _said(three)  # so many, or more, are false in a third of such sets
    fewer = replace(LEADERBOARD, copies=(replace(LEADERBOARD.copies[0], false_alarms=0.001),))
    assert "look like copies of reference images: 2 of 200 images of “photographs”." in _said(fewer)


def test_a_leaderboard_without_scores_is_refused() -> None:
    """There is nothing to say."""
    with pytest.raises(ValueError, match="this leaderboard has no scores"):
        summarise(replace(LEADERBOARD, scores=()))
