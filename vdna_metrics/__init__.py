"""Distances between sets of images by the distributions of neuron activations, for torchmetrics.

Everything here is imported when it is first used.
"""

from vdna_metrics._exports import attach
from vdna_metrics._version import __version__ as __version__

__getattr__, __dir__, __all__ = attach(__name__, __file__)
