"""Tensors in, tensors out: counting, moments and distances, without state."""

from vdna_metrics._exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
