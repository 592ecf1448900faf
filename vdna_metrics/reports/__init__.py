"""Pictures and tables for people."""

from vdna_metrics.reports.plots import layer_profile, neuron_histograms, plot_coverage

__all__ = ["layer_profile", "neuron_histograms", "plot_coverage"]
