"""Hashes that tell images apart, the same on every device, and sampling keys made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROW = 256  # words of 32 bits
_ODD = np.frombuffer(np.random.RandomState(0).bytes(8 * 4096), "<i8").astype(np.int64) | 1
_STEP = -0x61C8864680B583EB  # 2^64 over the golden ratio, as int64


def image_hashes(images: Tensor) -> Tensor:
    """Tell images apart by their size and pixels: 64 bits each, never 0, the same on every device and for ever.

    Nothing waits for the device. Each column of a table of 32-bit words is multiplied by fixed random odd numbers and
    summed, modulo 2^64; the sums are mixed and added. Two images meet by chance once in 2^31 where a single column
    tells them apart, once in 2^64 where many do. It is no protection against one who wants them to meet.

    Args:
        images: uint8 `[N, C, H, W]`, before they are resized.

    Returns:
        `[N]` int64, on the device of the images.

    Raises:
        TypeError: for another dtype.
        ValueError: for another shape.

    Source:
        Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014, for the mixing.

    Examples:
        >>> zeros, other = torch.zeros(1, 3, 2, 3, dtype=torch.uint8), torch.zeros(1, 3, 3, 2, dtype=torch.uint8)
        >>> bool(image_hashes(zeros) == image_hashes(zeros)), bool(image_hashes(zeros) == image_hashes(other))
        (True, False)
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"expected uint8 images, got {images.dtype}")
    if images.ndim != 4:
        raise ValueError(f"expected images [N, C, H, W], got {list(images.shape)}")
    return _hashes(images.permute(0, 2, 3, 1))


def row_hashes(rows: Tensor) -> Tensor:
    """Tell rows apart by their bytes, as `image_hashes` does images.

    Args:
        rows: `[N, d]`.

    Examples:
        >>> a, b, c = row_hashes(torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])).tolist()
        >>> a == b, a == c
        (True, False)
    """
    return _hashes(rows.detach().contiguous().view(torch.uint8))


def copy_keys(hashes: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """A number for each copy of each image, as if drawn at random: the smallest are a sample without replacement.

    Of c copies the keys are those of c independent exponential variables, in ascending order: by Rényi's representation
    the j-th is `sum over i < j of E_i / (c − i)`, with E_i by the hash. So they are smaller the more copies there are,
    in inverse proportion: who is not among the smallest of any part, as often as it is there, is hardly among those of
    all parts. Keys of copies that are numbered one by one would be, and their images lost.

    Args:
        hashes: `[m]` int64, of `image_hashes`, each once.
        counts: `[m]` int64, copies of each.

    Returns:
        The place of each copy's image among the hashes, and its key, `[counts.sum()]` int64 each.

    Source:
        Rényi, On the theory of order statistics, 1953.

    Examples:
        >>> place, keys = copy_keys(torch.tensor([5, 6]), torch.tensor([2, 1]))
        >>> place.tolist(), bool(keys[0] < keys[1])
        ([0, 0, 1], True)
    """
    place = torch.arange(len(hashes), device=hashes.device).repeat_interleave(counts)
    first = counts.cumsum(0) - counts
    copy = torch.arange(len(place), device=hashes.device) - first[place]
    mixed = _mixed(_mixed(hashes)[place] + (copy + 1) * _STEP)
    uniform = ((mixed >> 11) + 2**52).double() / 2**53
    # In whole steps, whose sums are exact: a key depends on nothing but its image and the number of copies.
    gaps = (-torch.log1p(-uniform) / (counts[place] - copy) * 2**44).long()
    sums = gaps.cumsum(0)
    return place, sums - (sums - gaps)[first][place] if len(place) else sums


def _hashes(contents: Tensor) -> Tensor:
    """Of the bytes of each, and their shape."""
    if contents.device.type == "cpu":
        return torch.from_numpy(hashes_of_arrays(contents.numpy()))
    return _hashes_on_device(contents)


def _hashes_on_device(contents: Tensor) -> Tensor:
    """The same, in torch."""
    n, *shape = contents.shape
    flat = contents.flatten(1)
    table = torch.nn.functional.pad(flat, (0, -flat.shape[1] % (4 * _ROW))).view(torch.int32)
    table = table.view(n, table.shape[1] // _ROW, _ROW)
    odd = _odd_on(table.device)
    columns = torch.cat([_column_sums(rows, odd) for rows in table.split(len(_ODD), dim=1)], dim=1)
    total: Tensor = _combined(columns, torch.arange(1, columns.shape[1] + 1, device=columns.device), shape)
    return torch.where(total == 0, 1, total)


@cache
def _odd_on(device: torch.device) -> Tensor:
    """A copy for every batch would come from the host."""
    return torch.from_numpy(_ODD).to(device)


def hashes_of_arrays(contents: NDArray[np.uint8]) -> NDArray[np.int64]:
    """`image_hashes` of images ``[N, H, W, C]``, in NumPy: sums take a fraction of the time, calls a tenth."""
    n, *shape = contents.shape
    flat = contents.reshape(n, math.prod(shape))
    whole = flat.shape[1] // (4 * _ROW) * (4 * _ROW)  # rows; what is left is filled up with zeros
    rest = np.zeros((n, 4 * _ROW if whole < flat.shape[1] else 0), np.uint8)
    rest[:, : flat.shape[1] - whole] = flat[:, whole:]
    sums = np.zeros((n, -(-flat.shape[1] // (4 * _ROW * len(_ODD))), _ROW), np.uint64)
    for image, end, found in zip(flat, rest, sums, strict=True):
        table = np.ascontiguousarray(image[:whole]).view("<u4").reshape(-1, _ROW)
        for block, column in enumerate(found):
            rows = table[block * len(_ODD) : (block + 1) * len(_ODD)]
            np.einsum("i,ij->j", _ODD[: len(rows)].view(np.uint64), rows, out=column)
        if len(end):
            place = len(table) % len(_ODD)
            found[-1] += _ODD[place].view(np.uint64) * end.view("<u4")
    columns = sums.view(np.int64).reshape(n, sums[:1].size or _ROW)
    total = _combined(columns, np.arange(1, columns.shape[1] + 1), shape)
    return np.where(total == 0, 1, total)


def _column_sums(rows: Tensor, odd: Tensor) -> Tensor:
    """Of words as they count, ``[N, rows, 256]`` int32 to ``[N, 256]`` int64, modulo 2^64."""
    return ((rows.long() & 0xFFFFFFFF) * odd[: rows.shape[1], None]).sum(1)


def _combined(columns: Any, places: Any, shape: Sequence[int]) -> Any:
    """One number of the sums of each image, ``[N, columns]`` to ``[N]``; tensors or arrays."""
    total = _mixed(columns + places * _STEP).sum(1)
    for size in shape:
        total = _mixed(total + size)
    return total


def _mixed(x: Any) -> Any:
    """A bijection of 64 bits in which each bit depends on all; of tensors or arrays, int64."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ _shifted(x, shift)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: Any, bits: int) -> Any:
    """To the right, with zeros."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
