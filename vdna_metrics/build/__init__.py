"""One pass over images: their DNAs, whole or in parts, and activation ranges."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
