"""What a DNA keeps of every neuron: a histogram, a Gaussian, or a Gaussian of its layer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
