"""What a leaderboard says of outside scores, in words."""

from __future__ import annotations

from dataclasses import replace

from helpers.leaderboards import NAMES, make_leaderboard, with_outside

from vdna_metrics.analysis import Correlation, RankAgreement, ScoreColumn
from vdna_metrics.leaderboard import Leaderboard
from vdna_metrics.leaderboard.record import OutsideAgreement
from vdna_metrics.leaderboard.rows import FDR
from vdna_metrics.reports import summarise
from vdna_metrics.reports.outside import outside_sentences, outside_table

LEADERBOARD = with_outside(make_leaderboard(networks=["tiny"], metrics=["emd", "lfd"]))


def _judged(*verdicts: str, n: int = 5) -> Leaderboard:
    """Columns with these verdicts on one score."""
    columns = [("tiny", "emd"), ("tiny", "lfd"), ("", FDR)]
    agreements = []
    for place, (column, verdict) in enumerate(zip(columns, verdicts, strict=False)):
        rho = Correlation(-0.9 + 0.1 * place, *((-0.99, -0.3) if n >= 5 else (None, None)))
        agreements.append(OutsideAgreement("Elo", *column, RankAgreement(n, rho, rho, verdict)))  # type: ignore[arg-type]
    score = ScoreColumn("Elo", True, dict.fromkeys(NAMES, 1.0))
    return replace(LEADERBOARD, outside=(score,), outside_agreement=tuple(agreements))


def test_a_score_is_one_sentence() -> None:
    """Columns are counted by their verdict, the one with the largest correlation is named; few sets are the reason."""
    assert outside_sentences(_judged("same order", "opposite order", "inconclusive")) == [
        "By “Elo” of 5 sets: 1 of 3 columns has its order (VDNA-EMD in tiny, Spearman −0.900 [−0.99, −0.30]); "
        "1 of 3 columns has the opposite order (LFD in tiny, Spearman −0.800 [−0.99, −0.30]); 1 leaves it open."
    ]
    assert outside_sentences(_judged("same order", "same order", "same order"))[0].startswith(
        "By “Elo” of 5 sets: all 3"
    )
    assert outside_sentences(_judged("inconclusive")) == [
        "Whether “Elo” has the same order is open: 5 sets, no interval of a rank correlation leaves out 0."
    ]
    assert outside_sentences(_judged("inconclusive", n=4)) == [
        "Whether “Elo” has the same order is open: 4 sets, too few for an interval."
    ]
    assert outside_sentences(_judged()) == []


def test_the_summary_has_it() -> None:
    """People's word stands at the top of the page."""
    assert set(outside_sentences(LEADERBOARD)) <= set(summarise(LEADERBOARD))


def test_scores_stand_in_the_order_of_the_first_column() -> None:
    """A generator without a score has an empty cell; errors have as many decimals for all."""
    score = ScoreColumn("x", False, {NAMES[1]: -1234567.0, NAMES[0]: 0.5}, {NAMES[1]: 0.3, NAMES[0]: 0.02})
    heads, rows = outside_table(replace(LEADERBOARD, outside=(score,)))
    assert heads == ["generator", "x ↓"]
    assert rows[:3] == [[NAMES[0], "0.500 ± 0.020"], [NAMES[1], "−1234567.000 ± 0.300"], [NAMES[2], ""]]
    assert outside_table(replace(LEADERBOARD, outside=())) == (["generator"], [])
