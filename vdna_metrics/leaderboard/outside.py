"""Whether the columns of a leaderboard and scores that were measured elsewhere agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vdna_metrics.analysis.score_tables import ScoreColumn
from vdna_metrics.analysis.uncertainty import rank_agreement
from vdna_metrics.dna.caveats import Notes
from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import OutsideAgreement, RatioRecord, Score, compared
from vdna_metrics.leaderboard.rows import FDR

Key = tuple[str, str]
"""Network and metric of a column."""


def own_columns(scores: Sequence[Score], ratios: Sequence[RatioRecord] = ()) -> dict[Key, ScoreColumn]:
    """Each column as what decides its order, with standard errors where corrected values do; FDr^k is the last.

    Args:
        scores: of a leaderboard.
        ratios: likewise.
    """
    by_column: dict[Key, list[Score]] = {}
    for score in scores:
        by_column.setdefault((score.network, score.metric), []).append(score)
    found = {}
    for key, column in by_column.items():
        kind, values = find_column(key[1]), compared(column)
        errors = {each.generator: each.estimate.standard_error for each in column if each.estimate is not None}
        found[key] = ScoreColumn(
            kind.title,
            kind.distance.higher_is_better,
            {each.generator: value for each, value in zip(column, values, strict=True)},
            errors if len(errors) == len(column) else {},
            key[0],
        )
    defined = {ratio.generator: ratio.value for ratio in ratios if ratio.value is not None}
    if defined:
        found["", FDR] = ScoreColumn(FDR, False, defined)
    return found


def outside_agreements(
    columns: Mapping[Key, ScoreColumn], outside: Sequence[ScoreColumn], notes: Notes, *, confidence: float
) -> tuple[OutsideAgreement, ...]:
    """Rank agreement of every column with every outside score.

    Args:
        columns: those of the leaderboard, see `own_columns`.
        outside: scores that were measured elsewhere.
        notes: where sentences for a reader of the numbers go.
        confidence: of the intervals.
    """
    found = []
    for score in outside:
        for (network, metric), column in columns.items():
            if len(column.values.keys() & score.values.keys()) < 2:
                notes.add(
                    f"{score.name} is known of fewer than two generators, so nothing is said of agreement with it."
                )
                continue
            agreement = rank_agreement(column, score, confidence=confidence)
            found.append(OutsideAgreement(score.name, network, metric, agreement))
    return tuple(found)
