"""References: what a name stands for, and the stores that keep it."""

from vdna_metrics._exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
