"""Error bars of distances: intervals, differences, ranks, noise floor, extrapolation, agreement."""

from vdna_metrics._exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
