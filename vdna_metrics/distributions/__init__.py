"""What a DNA keeps of every neuron: a histogram, a Gaussian, or a Gaussian of its layer."""

from vdna_metrics.distributions.base import Distribution, Kind
from vdna_metrics.distributions.gaussian import GaussianDistribution, LayerGaussianDistribution
from vdna_metrics.distributions.histogram import HistogramDistribution

__all__ = ["Distribution", "GaussianDistribution", "HistogramDistribution", "Kind", "LayerGaussianDistribution"]
