"""One pass over images: their DNAs, whole or in parts, and activation ranges."""

from vdna_metrics._exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
