"""Pictures and tables for people."""

from vdna_metrics.reports.analysis_plots import (
    plot_distance_matrix,
    plot_explanation,
    plot_groups,
    plot_sample_sizes,
)
from vdna_metrics.reports.plots import layer_profile, neuron_histograms, plot_coverage

__all__ = [
    "layer_profile",
    "neuron_histograms",
    "plot_coverage",
    "plot_distance_matrix",
    "plot_explanation",
    "plot_groups",
    "plot_sample_sizes",
]
