"""What the page of a leaderboard shows beside its networks' columns: outside scores, FDr^k, networks that disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vdna_metrics.leaderboard.outside import own_columns
from vdna_metrics.leaderboard.record import Leaderboard
from vdna_metrics.reports.leaderboard_plots import generator_colours
from vdna_metrics.reports.networks import columns_text, ratio_sentences, ratio_table
from vdna_metrics.reports.outside import column_name, correlation_text, outside_sentences
from vdna_metrics.reports.page_figures import PageFigures, Panel
from vdna_metrics.reports.score_plots import plot_rank_agreement

_PANELS = 6  # of an outside score; the table has all columns


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
