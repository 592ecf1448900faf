"""What a leaderboard says of scores that were measured elsewhere: rows, sentences and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vdna_metrics.analysis.score_tables import ScoreColumn
from vdna_metrics.analysis.uncertainty import Correlation, RankAgreement
from vdna_metrics.analysis.uncertainty.correlations import LEAST_GENERATORS
from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import Leaderboard, OutsideAgreement
from vdna_metrics.leaderboard.rows import FDR
from vdna_metrics.reports.formatting import decimals, fixed, quoted, significant

AGREEMENT_HEADS = ("score", "with", "n", "Spearman", "Kendall", "order")

Rows = list[list[str | float]]


def correlation_text(correlation: Correlation) -> str:
    """A correlation with its interval.

    Examples:
        >>> correlation_text(Correlation(-0.9671, -0.992, -0.87)), correlation_text(Correlation(0.5))
        ('−0.967 [−0.99, −0.87]', '0.500')
    """
    text = fixed(correlation.value, 3)
    if correlation.low is None or correlation.high is None:
        return text
    return f"{text} [{fixed(correlation.low, 2)}, {fixed(correlation.high, 2)}]"


def agreement_row(first: str, second: str, found: RankAgreement) -> list[str | float]:
    """Cells under `AGREEMENT_HEADS`."""
    texts = map(correlation_text, (found.spearman, found.kendall))
    return [first, second, found.n_generators, *texts, found.verdict]


def column_name(network: str, metric: str) -> str:
    """A column of a leaderboard in a table or sentence."""
    return FDR if metric == FDR else f"{find_column(metric).title} in {network}"


def outside_table(leaderboard: Leaderboard) -> tuple[list[str], Rows]:
    """Outside scores of the generators, in the order of the first column: heads and rows; no rows where there are none.

    Args:
        leaderboard: the leaderboard.
    """
    scores = leaderboard.outside
    rows: Rows = [
        [name, *(score_cell(score, name) for score in scores)] for name in ordered(leaderboard) if leaderboard.outside
    ]
    return ["generator", *(score.title for score in scores)], rows


def ordered(leaderboard: Leaderboard) -> list[str]:
    """Names of the generators in the order of the first column; those without a score there come last."""
    first = [score.generator for score in leaderboard.column(*leaderboard.columns[0])] if leaderboard.columns else []
    return [*first, *(entry.name for entry in leaderboard.generators if entry.name not in first)]


def score_cell(score: ScoreColumn, generator: str) -> str:
    """A generator's score with its standard error; empty where there is none."""
    return " ".join(filter(None, score_texts(score, generator))) if generator in score.values else ""


def score_texts(score: ScoreColumn, generator: str) -> tuple[str, str]:
    """A generator's score, and its standard error where that is known.

    Examples:
        >>> score_texts(ScoreColumn("error rate", True, {"a": 0.4, "b": 0.21}, {"a": 0.012}), "a")
        ('0.400', '± 0.012')
    """
    value, errors = score.values[generator], [error for error in score.errors.values() if error]
    if generator not in score.errors or not errors:
        written = [f"{each:.6g}".partition(".")[2] for each in score.values.values()]
        return fixed(value, max(map(len, written))), ""
    places = decimals(0.0, min(errors))  # as many for all, so that they can be compared
    return fixed(value, places), f"± {fixed(score.errors[generator], places)}"


@dataclass(frozen=True)
class ExtraColumn:
    """A column of a ranking table that is of no network's distance.

    Args:
        head: its name.
        higher_is_better: whether larger values are better.
        cells: ``{generator: (what sorts it, what is shown, what stands below)}``.
    """

    head: str
    higher_is_better: bool
    cells: Mapping[str, tuple[float, str, str]]


def extra_columns(leaderboard: Leaderboard) -> list[ExtraColumn]:
    """FDr^k, where it was asked for, and each outside score."""
    ratios = {each.generator: each.value for each in leaderboard.ratios if each.value is not None}
    own = {name: (value, significant(value), "") for name, value in ratios.items()}
    return [
        *[ExtraColumn(FDR, False, own)] * bool(leaderboard.ratios),
        *(
            ExtraColumn(
                score.name,
                score.higher_is_better,
                {name: (value, *score_texts(score, name)) for name, value in score.values.items()},
            )
            for score in leaderboard.outside
        ),
    ]


def outside_agreement_table(leaderboard: Leaderboard) -> tuple[list[str], Rows]:
    """Rank agreement of every column with every outside score: heads and rows."""
    rows = [
        agreement_row(each.score, column_name(each.network, each.metric), each.agreement)
        for each in leaderboard.outside_agreement
    ]
    return list(AGREEMENT_HEADS), rows


def outside_sentences(leaderboard: Leaderboard) -> list[str]:
    """A sentence for each outside score: which columns put the generators in its order."""
    found = []
    for score in leaderboard.outside:
        records = [each for each in leaderboard.outside_agreement if each.score == score.name]
        if records:
            found.append(_sentence(score.name, records))
    return found


def _sentence(name: str, records: Sequence[OutsideAgreement]) -> str:
    counts = Counter(record.agreement.verdict for record in records)
    n, every = max(record.agreement.n_generators for record in records), len(records)
    if counts["inconclusive"] == every:
        why = "no interval of a rank correlation leaves out 0" if n >= LEAST_GENERATORS else "too few for an interval"
        return f"Whether {quoted(name)} has the same order is open: {n} sets, {why}."
    told = []
    for verdict, order in (("same order", "its order"), ("opposite order", "the opposite order")):
        of = [record for record in records if record.agreement.verdict == verdict]
        if of:
            best = max(of, key=lambda record: abs(record.agreement.spearman.value))
            number = f"{_title(best)}, Spearman {correlation_text(best.agreement.spearman)}"
            which = f"all {every}" if len(of) == every > 1 else f"{len(of)} of {every}"
            told.append(f"{which} column{'s' * (every > 1)} {'has' if len(of) == 1 else 'have'} {order} ({number})")
    undecided = counts["inconclusive"]
    left = [f"{undecided} leave{'s' * (undecided == 1)} it open"] if undecided else []
    return f"By {quoted(name)} of {n} sets: {'; '.join([*told, *left])}."


def _title(record: OutsideAgreement) -> str:
    return FDR if record.metric == FDR else f"{find_column(record.metric).short} in {record.network}"
