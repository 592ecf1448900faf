"""An image's positions: some instead of all, always the same ones, and where they lie."""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def subsample_positions(activations: Tensor, max_positions: int | None) -> Tensor:
    """Keep at most so many positions of every image, the same ones in every image and every run.

    The positions, in the order of the layer's output, are cut into `max_positions` stretches of equal length (to
    rounding), and of each stretch one position is kept, drawn once and for all from ``numpy.random.RandomState(0)``.
    An even stride would be simpler, and on a map whose width it divides would see one column only. A class token is
    a position like the others; the first position is kept where more than half of all are.

    Args:
        activations: `[neurons, images, positions]`, any strides.
        max_positions: how many to keep; a layer that has no more is given back as it is, and so is any for ``None``.

    Returns:
        `[neurons, images, min(positions, max_positions)]`, in the memory order of the activations.

    Raises:
        TypeError: if `max_positions` is neither an int nor ``None``.
        ValueError: if it is below 1, or there are not three dimensions.

    Examples:
        >>> subsample_positions(torch.arange(8.0).view(1, 1, 8), 4)
        tensor([[[1., 3., 5., 7.]]])
    """
    check_max_positions(max_positions)
    if activations.ndim != 3:
        raise ValueError(f"activations must be [neurons, images, positions], got {list(activations.shape)}")
    if max_positions is None or activations.shape[2] <= max_positions:
        return activations
    in_memory = sorted(range(3), key=activations.stride, reverse=True)
    ordered, axis = activations.permute(in_memory), in_memory.index(2)
    kept = _kept_positions(activations.shape[2], max_positions)
    if activations.device.type == "cpu" and activations.dtype != torch.bfloat16:
        # NumPy's is 20 times as fast as index_select where positions lie side by side, as in maps.
        chosen = torch.from_numpy(np.take(ordered.detach().numpy(), kept, axis=axis, mode="clip"))
    else:
        chosen = ordered.index_select(axis, _on_device(kept, activations.device))
    return chosen.permute([in_memory.index(place) for place in range(3)])


def position_grid(positions: int, size: tuple[int, int], *, first: int = 0) -> tuple[int, int] | None:
    """Rows and columns of a layer's positions, which have the proportions of the image.

    Of all rows and columns whose product is the number of positions, those nearest to the image's proportions. They
    have to be what one stride in both directions would give, to within one half: maps of convolutions and patches are.

    Args:
        positions: how many a layer has for an image.
        size: height and width of the image, as the network saw it.
        first: how many come first that have no place, as class and register tokens.

    Returns:
        Rows and columns, row by row as in the layer's output; ``None`` where one or no position has a place, or they
        have no such grid.

    Examples:
        >>> position_grid(197, (224, 224), first=1), position_grid(20 * 30, (321, 481)), position_grid(7, (224, 224))
        ((14, 14), (20, 30), None)
    """
    number, (height, width) = positions - first, size
    if number < 2:
        return None
    ideal = math.sqrt(number * height / width)
    rows = min((row for row in range(1, number + 1) if number % row == 0), key=lambda row: abs(math.log(row / ideal)))
    columns = number // rows
    fits = rows == columns if height == width else max(abs(rows - ideal), abs(columns - number / ideal)) <= 0.5
    return (rows, columns) if fits else None


def spread_over(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps to another size, each pixel the mean of what it covers: the mean of a map stays what it is.

    Args:
        maps: `[maps, rows, columns]`, floating.
        size: height and width.

    Returns:
        `[maps, height, width]`.

    Examples:
        >>> spread_over(torch.tensor([[[0.0, 3.0]]]), (1, 3))
        tensor([[[0.0000, 1.5000, 3.0000]]])
    """
    down, across = (
        torch.from_numpy(overlaps(pixels, cells).T / cells).to(maps)
        for pixels, cells in zip(size, maps.shape[1:], strict=True)
    )
    return down @ maps @ across.T


def overlaps(pixels: int, cells: int) -> NDArray[np.float64]:
    """How much of each pixel is in each cell of an axis, in pixels / cells, ``[cells, pixels]``: whole numbers."""
    cell, pixel = np.arange(cells)[:, None], np.arange(pixels)[None]
    ends = np.minimum((cell + 1) * pixels, (pixel + 1) * cells) - np.maximum(cell * pixels, pixel * cells)
    return np.asarray(np.maximum(ends, 0), np.float64)


def check_max_positions(max_positions: int | None) -> None:
    """Raise `TypeError` or `ValueError` unless it is ``None`` or an int of at least 1."""
    if max_positions is None:
        return
    if not isinstance(max_positions, int) or isinstance(max_positions, bool):
        raise TypeError(f"max_positions must be an int, or None for all, got {max_positions!r}")
    if max_positions < 1:
        raise ValueError(f"max_positions must be at least 1, got {max_positions}")


@lru_cache(maxsize=256)
def _kept_positions(positions: int, at_most: int) -> tuple[int, ...]:
    # In whole numbers, and by a stream that is frozen for ever, so that every machine keeps the same.
    ends = [stretch * positions // at_most for stretch in range(at_most + 1)]
    draws = np.random.RandomState(0).random_sample(at_most).tolist()
    return tuple(ends[i] + int(draw * (ends[i + 1] - ends[i])) for i, draw in enumerate(draws))


@lru_cache(maxsize=256)
def _on_device(kept: tuple[int, ...], device: torch.device) -> Tensor:
    # Kept on the device: a copy a batch would make the host wait for it.
    return torch.tensor(kept, device=device)
