"""Distances between sets of images by the distributions of neuron activations, for torchmetrics.

Everything here is imported when it is first used.
"""

from typing import Any

import lazy_loader

from vdna_metrics._version import __version__ as __version__

# The names are listed once, in `__init__.pyi`.
_lookup, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# For one release a name that was renamed says what it is called now.
_RENAMED = {"DealtDNA": "GroupedDNA"}


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        raise AttributeError(f"vdna_metrics.{name} is called vdna_metrics.{_RENAMED[name]} since version 0.2")
    try:
        return _lookup(name)
    except AttributeError:
        raise AttributeError(f"module 'vdna_metrics' has no attribute {name!r}") from None
