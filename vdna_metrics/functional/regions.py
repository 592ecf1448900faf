"""Pixels and regions of images: features at pixels, labels on coarser grids, how far two labellings agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.functional.positions import overlaps


def pixels_at(maps: Sequence[Tensor], pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Features of some pixels: maps upsampled bilinearly to a size, those of one pixel side by side.

    The same as upsampling all and taking some, to rounding, in the memory of these.

    Args:
        maps: ``[N, C, h, w]`` float each, of the same images.
        pixels: ``[N, P]`` int64, of each image places ``row * W + column``.
        size: ``(H, W)``.

    Returns:
        ``[N, P, sum of C]``.

    Raises:
        ValueError: when the maps are not of as many images as the pixels.

    Examples:
        >>> pixels_at([torch.tensor([[[[0.0, 4.0]]]])], torch.tensor([[0, 1, 2, 3]]), (1, 4)).flatten()
        tensor([0., 1., 3., 4.])
    """
    height, width = size
    if any(len(x) != len(pixels) or x.ndim != 4 for x in maps):
        shapes = [list(x.shape) for x in maps]
        raise ValueError(f"expected maps [N, C, h, w] and pixels [N, P], got {shapes} and {list(pixels.shape)}")
    rows, columns = pixels // width, pixels % width
    # Centres of pixels, in [-1, 1] from edge to edge.
    places = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)[:, :, None]
    found = [
        F.grid_sample(x, places.to(x), mode="bilinear", padding_mode="border", align_corners=False)[..., 0]
        for x in maps
    ]
    return torch.cat(found, dim=1).transpose(1, 2)


def project_pixels(maps: Sequence[Tensor], weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Linear functions of every pixel's features, ``sum_c weight[k, c] feature[c]``, without making the features.

    Upsampling is linear too, so it comes last, of ``K`` maps instead of all.

    Args:
        maps: as in `pixels_at`.
        weight: ``[K, sum of C]``.
        size: ``(H, W)``.

    Returns:
        ``[N, K, H, W]``.

    Examples:
        >>> project_pixels([torch.tensor([[[[0.0, 4.0]]]])], torch.tensor([[1.0], [2.0]]), (1, 4)).squeeze()
        tensor([[0., 1., 3., 4.],
                [0., 2., 6., 8.]])
    """
    channels = sum(x.shape[1] for x in maps)
    if not maps or weight.shape[1] != channels:
        raise ValueError(f"expected weights of {channels} features, got {weight.shape[1]}")
    total = torch.zeros(len(maps[0]), len(weight), *size, device=maps[0].device)
    for x, part in zip(maps, weight.split([x.shape[1] for x in maps], dim=1), strict=True):
        projected = F.conv2d(x, part.to(x)[..., None, None])
        total += F.interpolate(projected, size, mode="bilinear", align_corners=False)
    return total


def majority_labels(labels: NDArray[np.integer], shape: tuple[int, int], number: int) -> NDArray[np.int64]:
    """The label that has most of each cell's area, on a grid of another size; of equal areas the smallest label.

    A pixel on the border of cells belongs to each in part.

    Args:
        labels: ``[H, W]``; below 0 is no label, which may have most of a cell too.
        shape: rows and columns of the grid.
        number: labels are smaller than this.

    Returns:
        ``[rows, columns]``, -1 for no label.

    Raises:
        ValueError: for another number of dimensions, no pixel, or a label that is too large.

    Examples:
        >>> majority_labels(np.array([[0, 0, 0, 1, 1, 1]]), (1, 4), 2)
        array([[0, 0, 1, 1]])
        >>> majority_labels(np.array([[0, 2, 2], [-1, 2, 0]]), (1, 3), 3)
        array([[0, 2, 0]])
    """
    if labels.ndim != 2 or not labels.size:
        raise ValueError(f"expected labels [H, W], got {list(labels.shape)}")
    if labels.max() >= number:
        raise ValueError(f"expected labels below {number}, got {labels.max()}")
    rows, columns = (overlaps(n, cells) for n, cells in zip(labels.shape, shape, strict=True))
    found = np.where(labels < 0, number, labels)
    present = np.unique(found)
    # Whole numbers, which float64 adds exactly: equal areas are equal on every machine.
    areas = np.stack([rows @ (found == label) @ columns.T for label in present])
    chosen = present[areas.argmax(axis=0)]
    cells: NDArray[np.int64] = np.where(chosen == number, -1, chosen).astype(np.int64)
    return cells


def intersection_over_union(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], number: int, *, match: bool = False
) -> NDArray[np.float64]:
    """IoU of each class, over all pixels together: pixels that both give the class, over those that one of them does.

    Args:
        predicted: labels of any shape.
        truth: labels of the same shape; pixels below 0 are not looked at.
        number: of classes.
        match: whether predicted labels mean nothing by themselves, as clusters: classes then get those, one each, with
            which the sum of all IoU is largest.

    Returns:
        ``[number]``; NaN for a class that neither has.

    Raises:
        ValueError: for other shapes, or labels that are too large without ``match``.

    Examples:
        >>> a, b = np.array([0, 0, 1, 1]), np.array([1, 1, 1, 0])
        >>> intersection_over_union(a, b, 2).round(2), intersection_over_union(a, b, 2, match=True).round(2)
        (array([0.  , 0.25]), array([0.5 , 0.67]))
    """
    from scipy.optimize import linear_sum_assignment

    if predicted.shape != truth.shape:
        raise ValueError(f"expected labels of one shape, got {list(predicted.shape)} and {list(truth.shape)}")
    known = truth >= 0
    a, b = predicted[known].astype(np.int64), truth[known].astype(np.int64)
    most = max(number, int(a.max(initial=-1)) + 1) if match else number
    if (a >= most).any() or (a < 0).any() or (b >= number).any():
        raise ValueError(f"expected labels from 0 to {number - 1}, got others")
    both = np.bincount(b * most + a, minlength=number * most).reshape(number, most)
    either = both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True) - both
    with np.errstate(invalid="ignore"):
        values: NDArray[np.float64] = both / either
    chosen = linear_sum_assignment(-np.nan_to_num(values))[1] if match else np.arange(number)
    return np.asarray(values[np.arange(number), chosen])
