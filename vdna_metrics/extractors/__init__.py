"""Frozen networks: images in, raw activations of every neuron out."""

from vdna_metrics._exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
