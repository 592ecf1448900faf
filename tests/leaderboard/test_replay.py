"""Whether a leaderboard that is computed again says what it said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers.leaderboards import NAMES, make_leaderboard, with_outside
from helpers.toy_distances import registered_toys

from vdna_metrics.leaderboard import Leaderboard, leaderboard_differences, load_leaderboard
from vdna_metrics.leaderboard.replay import intervals_are_comparable

LEADERBOARD = make_leaderboard(NAMES[:3], networks=["tiny"])
OLD = Path(__file__).parents[1] / "files" / "schema1_leaderboard.json"


def _with_other_intervals(leaderboard: Leaderboard) -> Leaderboard:
    """The same values and corrected values, with other errors, ranks and differences."""
    scores = [
        replace(score, rank=(1, 3), estimate=replace(score.estimate, standard_error=9.0, low=0.0, high=99.0))
        for score in leaderboard.scores
        if score.estimate is not None
    ]
    pairs = [replace(pair, low=-99.0, high=99.0, p_value=0.4) for pair in leaderboard.pairs]
    return replace(leaderboard, scores=tuple(scores), pairs=tuple(pairs))


def test_the_same_leaderboard_has_no_differences() -> None:
    """Rounding within the tolerance is none either; what is beyond is named with both values."""
    assert leaderboard_differences(LEADERBOARD, LEADERBOARD, tolerance=0) == []
    first, *others = LEADERBOARD.scores
    for factor, found in ((1.0005, 0), (1.01, 1)):
        moved = replace(LEADERBOARD, scores=(replace(first, value=factor * first.value), *others))
        differences = leaderboard_differences(LEADERBOARD, moved)
        assert [each.what for each in differences] == ["photographs, emd of tiny"] * found
        assert [(each.recorded, each.found) for each in differences] == [(first.value, factor * first.value)] * found


def test_intervals_of_records_before_0_2_are_not_compared() -> None:
    """Their values and corrected values are; intervals, ranks and differences only of newer records."""
    recorded = load_leaderboard(OLD)
    again = replace(recorded, writer=LEADERBOARD.writer)
    assert not intervals_are_comparable(recorded)
    assert intervals_are_comparable(again)
    assert leaderboard_differences(recorded, _with_other_intervals(again)) == []
    found = {each.what for each in leaderboard_differences(again, _with_other_intervals(again))}
    assert "photographs, emd of tiny, high" in found
    assert "blurred photographs minus photographs, emd of tiny, p" in found
    first, *others = again.scores
    assert first.estimate is not None
    moved = replace(first, value=2 * first.value, estimate=replace(first.estimate, corrected=3 * first.value))
    what = [each.what for each in leaderboard_differences(recorded, replace(again, scores=(moved, *others)))]
    assert what == ["photographs, emd of tiny", "photographs, emd of tiny, corrected"]


def test_ratios_are_compared() -> None:
    """FDr^k, the validation set and its distances are named where they differ."""
    leaderboard = with_outside(LEADERBOARD)
    (normaliser,), (ratio, *others) = leaderboard.normalisers, leaderboard.ratios
    assert leaderboard.validation is not None
    assert ratio.value is not None
    changed = replace(
        leaderboard,
        validation=replace(leaderboard.validation, n_images=7),
        normalisers=(replace(normaliser, value=2 * normaliser.value),),
        ratios=(replace(ratio, value=2 * ratio.value), *others),
    )
    assert [each.what for each in leaderboard_differences(leaderboard, changed)] == [
        "validation photographs: images", "validation, lfd of tiny", "photographs, FDr^k",
    ]  # fmt: skip


def test_a_metric_without_intervals_is_compared() -> None:
    """Somebody else's distances have values alone."""
    with registered_toys() as toys:
        leaderboard = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=toys)
        assert leaderboard_differences(leaderboard, leaderboard, tolerance=0) == []
        moved = replace(leaderboard, scores=(replace(leaderboard.scores[0], value=7.0), *leaderboard.scores[1:]))
        assert [each.what for each in leaderboard_differences(leaderboard, moved)] == ["photographs, jsd of tiny"]


def test_what_is_extrapolated_is_compared_where_it_still_is() -> None:
    """That a Fréchet distance between covariances has none any more is named; of others none is computed now."""
    scores = [replace(score, extrapolated=(2.0, 0.1)) for score in LEADERBOARD.scores]
    with_all = replace(LEADERBOARD, scores=tuple(scores))
    none = replace(LEADERBOARD, scores=tuple(replace(score, extrapolated=None) for score in scores))
    assert [each.what for each in leaderboard_differences(with_all, none)] == [
        f"{name}, lfd of tiny, extrapolated" for name in NAMES[:3]
    ]
