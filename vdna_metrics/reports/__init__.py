"""Pictures and tables for people."""

from vdna_metrics.dna.plots import neuron_histograms
from vdna_metrics.reports.analysis_plots import (
    plot_distance_matrix,
    plot_explanation,
    plot_groups,
    plot_sample_sizes,
)
from vdna_metrics.reports.board import Evidence, Leaderboard, load_leaderboard
from vdna_metrics.reports.html import write_report
from vdna_metrics.reports.leaderboard import BoardEntry, BoardSettings, score_board
from vdna_metrics.reports.leaderboard_plots import board_profile, quantile_heat_map, ranking_chart
from vdna_metrics.reports.plots import layer_profile, plot_coverage
from vdna_metrics.reports.replay import board_differences
from vdna_metrics.reports.sheets import contact_sheet
from vdna_metrics.reports.summary import summarise
from vdna_metrics.reports.tables import board_csv, board_markdown, rank_text

__all__ = [
    "BoardEntry",
    "BoardSettings",
    "Evidence",
    "Leaderboard",
    "board_csv",
    "board_differences",
    "board_markdown",
    "board_profile",
    "contact_sheet",
    "layer_profile",
    "load_leaderboard",
    "neuron_histograms",
    "plot_coverage",
    "plot_distance_matrix",
    "plot_explanation",
    "plot_groups",
    "plot_sample_sizes",
    "quantile_heat_map",
    "rank_text",
    "ranking_chart",
    "score_board",
    "summarise",
    "write_report",
]
