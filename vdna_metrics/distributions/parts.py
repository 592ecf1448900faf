"""Parts of a batch: which of its images are in which, and what the neurons saw of those."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def members(parts: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Images of each part, ``{part: their places}``, both in order.

    Args:
        parts: ``[images, columns]``, the parts of each image; below 0 where there is none.

    Examples:
        >>> {part: places.tolist() for part, places in members(np.array([[3], [0], [3], [-1]])).items()}
        {0: [1], 3: [0, 2]}
    """
    places, columns = np.nonzero(parts >= 0)
    found = parts[places, columns]
    order = np.argsort(found, kind="stable")
    present, starts = np.unique(found[order], return_index=True)
    each = np.split(places[order], starts)[1:]  # what comes before the first part is nothing
    return dict(zip(present.tolist(), each, strict=True))


def check_finite_activations(activations: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError``, naming the layers, for activations that are not finite."""
    finite = torch.stack([x.isfinite().all() for x in activations.values()]).tolist()
    if not all(finite):
        bad = ", ".join(layer for layer, good in zip(activations, finite, strict=True) if not good)
        raise ValueError(f"activations are not finite (NaN or infinite) in layers {bad}")


def some_images(activations: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Of ``{layer: [neurons, images, positions]}`` some images."""
    return {layer: x.index_select(1, rows.to(x.device)) for layer, x in activations.items()}
