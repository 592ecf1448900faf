"""Which kernels of ours a CUDA device can run; elsewhere, and where Triton is not installed, torch's operations do."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

_LEAST_CAPABILITY = (8, 0)


def kernels_for(tensor: Tensor) -> ModuleType | None:
    """The module `triton_histogram` where its kernels run on a tensor's device; nothing is imported where they cannot.

    Examples:
        >>> kernels_for(torch.zeros(1)) is None
        True
    """
    return _kernels_on(tensor.device) if tensor.is_cuda else None


@cache
def _kernels_on(device: torch.device) -> ModuleType | None:
    # ROCm calls its devices cuda too; the kernels were compiled for NVIDIA's alone.
    if torch.version.cuda is None or torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return None
    try:
        kernels = importlib.import_module("vdna_metrics.functional.triton_histogram")
    except ImportError:
        return None
    try:
        kernels.extremes(torch.zeros(1, 1, device=device))
    except Exception as error:  # Triton's launchers are built by a C compiler, which may be missing; or its own faults
        warnings.warn(
            f"activations on {device} are counted without Triton, which is slower: its kernels failed with "
            f"{type(error).__name__}: {error}",
            UserWarning,
            stacklevel=2,
        )
        return None
    return kernels
