"""What is wrong with a set of generated images, in sentences."""

from vdna_metrics._exports import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
