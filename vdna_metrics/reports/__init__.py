"""Pictures and tables for people."""

from vdna_metrics.reports.plots import layer_profile, neuron_histograms

__all__ = ["layer_profile", "neuron_histograms"]
