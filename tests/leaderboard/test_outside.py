"""Columns of a leaderboard beside scores that were measured elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.leaderboards import NAMES, make_leaderboard, with_outside
from helpers.toy_distances import registered_toys

from vdna_metrics.analysis import ScoreColumn, rank_agreement
from vdna_metrics.dna.caveats import Notes
from vdna_metrics.leaderboard.outside import outside_agreements, own_columns
from vdna_metrics.leaderboard.rows import FDR

LEADERBOARD = with_outside(make_leaderboard(metrics=["emd", "lfd"]))


def test_columns_are_what_decides_their_order() -> None:
    """Corrected values with their errors where all have one, else plain ones without; FDr^k as far as it is defined."""
    columns = own_columns(LEADERBOARD.scores, LEADERBOARD.ratios)
    assert list(columns) == [(network, metric) for network in ("tiny", "other") for metric in ("emd", "lfd")] + [
        ("", FDR)
    ]
    for score in LEADERBOARD.scores:
        column = columns[score.network, score.metric]
        assert score.estimate is not None
        assert column.values[score.generator] == score.estimate.corrected
        assert column.errors[score.generator] == score.estimate.standard_error
    first, *others = LEADERBOARD.scores
    mixed = own_columns([replace(first, estimate=None), *others])[first.network, first.metric]
    assert (mixed.values[first.generator], mixed.errors) == (first.value, {})
    undefined = own_columns([], [replace(LEADERBOARD.ratios[0], value=None), *LEADERBOARD.ratios[1:]])
    assert NAMES[0] not in undefined["", FDR].values
    with registered_toys():
        best = own_columns(make_leaderboard(metrics=["overlap"]).scores)["tiny", "overlap"]
    assert best.higher_is_better


def test_every_column_is_compared_with_every_score() -> None:
    """The agreement is `rank_agreement`'s; a score that one generator alone has is left out, with a note."""
    columns = own_columns(LEADERBOARD.scores, LEADERBOARD.ratios)
    one, notes = ScoreColumn("CLIP score", True, {NAMES[0]: 0.3}), Notes()
    found = outside_agreements(columns, [*LEADERBOARD.outside, one], notes, confidence=0.9)
    assert [(each.score, each.metric) for each in found] == [
        (score, metric) for score in ("people's error rate", "Elo") for metric in ("emd", "lfd", "emd", "lfd", FDR)
    ]
    people, elo = LEADERBOARD.outside
    assert found[0].agreement == rank_agreement(columns["tiny", "emd"], people, confidence=0.9)
    assert found[0].agreement.verdict == "same order"
    assert {each.agreement.verdict for each in found if each.score == elo.name} == {"inconclusive"}
    (note,) = notes.sentences()
    assert note.startswith("CLIP score is known of fewer than two generators")


@pytest.mark.parametrize("n", [2, 5])
def test_agreement_is_of_the_generators_that_have_a_score(n: int) -> None:
    """Missing scores leave the others' agreement as it is."""
    score = ScoreColumn("Elo", True, {name: float(place) for place, name in enumerate(NAMES[:n])})
    (found, *_) = outside_agreements(own_columns(LEADERBOARD.scores), [score], Notes(), confidence=0.95)
    assert found.agreement.n_generators == n
