"""What a DNA keeps of every neuron: a histogram, a Gaussian, or a Gaussian of its layer."""

from vdna_metrics._exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
