"""What the page of a leaderboard shows beside its networks' columns: outside scores, FDr^k, networks that disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vdna_metrics.leaderboard.outside import own_columns
from vdna_metrics.leaderboard.record import Leaderboard
from vdna_metrics.leaderboard.rows import FDR
from vdna_metrics.reports.formatting import significant
from vdna_metrics.reports.leaderboard_plots import generator_colours
from vdna_metrics.reports.networks import columns_text, ratio_sentences, ratio_table
from vdna_metrics.reports.outside import column_name, correlation_text, outside_sentences, score_texts
from vdna_metrics.reports.page_figures import PageFigures, Panel
from vdna_metrics.reports.score_plots import plot_rank_agreement

_PANELS = 6  # of an outside score; the table has all columns


@dataclass(frozen=True)
class ExtraColumn:
    """A column of the page's ranking table that is of no network's distance.

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


def outside_section(leaderboard: Leaderboard, figures: PageFigures) -> dict[str, Any] | None:
    """What the page shows of outside scores: agreement of each with the columns, and a figure of each pair."""
    if not leaderboard.outside:
        return None
    columns = own_columns(leaderboard.scores, leaderboard.ratios)
    found = []
    for score in leaderboard.outside:
        named = [
            (column_name(each.network, each.metric), each)
            for each in leaderboard.outside_agreement
            if each.score == score.name
        ]
        panels: list[Panel] = []
        for name, each in named[:_PANELS]:
            column = replace(columns[each.network, each.metric], name=name)
            ax = plot_rank_agreement(column, score, each.agreement, colours=generator_colours(leaderboard))
            spearman = correlation_text(each.agreement.spearman)
            label = f"{name} and {score.name}: Spearman {spearman}, {each.agreement.verdict}."
            file = figures.file_name("agreement", score.name, *filter(None, (each.metric, each.network)))
            panels.append(figures.panel(file, ax, label))
        rows = [(name, each.agreement) for name, each in named]
        found.append({"title": score.title, "source": score.source, "rows": rows, "panels": panels})
    return {"sentences": outside_sentences(leaderboard), "scores": found}


def ratio_section(leaderboard: Leaderboard) -> dict[str, Any] | None:
    """What the page shows of FDr^k."""
    if not leaderboard.normalisers:
        return None
    heads, rows = ratio_table(leaderboard)
    return {"heads": heads[1:], "rows": rows, "sentences": ratio_sentences(leaderboard)}


def dispute_section(leaderboard: Leaderboard) -> list[dict[str, Any]]:
    """What the page shows of each pair on which networks disagree."""
    return [
        {"pair": (each.a, each.b), "sides": [columns_text(side) for side in (each.better, each.worse, each.doubtful)]}
        for each in leaderboard.disputes
    ]
