"""The counting loops of `functional.histogram` compiled by numba, for where that is installed: the same counts.

NumPy goes over a piece once for each operation of a rule. Here an activation is read once: some are placed at a time,
in the processor's vectors, and counted while their bins are in its nearest cache. The operations, their order and
types are those of the NumPy code and none is fused, so that bins are equal to the last bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from vdna_metrics.functional.histogram import CountingRule

Array = NDArray[Any]

_COPIES = 4
# Of neurons side by side: placed together, then counted a neuron at a time, whose counts are near.
_ROWS = 256


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # "numpy" divides without a check for zero, which would keep a loop out of vectors.
    compiled: Callable[..., Any] = njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # of numba, where it finds no folder to keep compiled code in
        compiled.enable_caching()  # type: ignore[attr-defined]
    return compiled


def count_(counts: Array, piece: Tensor, neuron_axis: int, rule: CountingRule) -> None:
    """Count a piece of activations, in the calling thread.

    Args:
        counts: `[neurons, bins]` int64, contiguous, changed in place.
        piece: float32 or float64 on the CPU, its axes in memory order.
        neuron_axis: which of its axes is the neurons'.
        rule: of these neurons.
    """
    if piece.ndim > 3:  # copied, where axes do not follow on each other; layers have images and positions
        before = piece.shape[:neuron_axis].numel()
        piece, neuron_axis = piece.reshape(before, piece.shape[neuron_axis], -1), 1
        if piece.shape[2] == 1:
            piece = piece[:, :, 0]
    while piece.ndim < 3:
        piece, neuron_axis = piece[None], neuron_axis + 1
    if piece.stride(2) != 1:
        piece = piece.contiguous()
    strides = piece.stride()
    extent = 1 + sum((length - 1) * stride for length, stride in zip(piece.shape, strides, strict=True))
    flat = piece.as_strided((extent,), (1,)).numpy()
    bins, outside = counts.shape[1], rule.outside
    none = np.zeros(0, np.int64)
    number = rule.first.dtype.type
    numbers = number(0), number(bins - 1), None if outside is None else number(bins)
    if outside is None or not outside.went.any():
        seen = False, rule.first, none, none
    else:
        seen = True, outside.high, outside.below, outside.above
    if neuron_axis == 2:
        _count_columns_(counts, flat, (*piece.shape[:2], *strides[:2]), rule.first, rule.second, numbers, seen)
    else:
        other = 1 - neuron_axis
        runs = piece.shape[other], piece.shape[2], strides[neuron_axis], strides[other]
        _count_rows_(counts, flat, runs, rule.first, rule.second, numbers, seen)


@_compiled
def _bin(x: Any, first: Any, second: Any, zero: Any, last: Any, all_bins: Any) -> Any:
    # Whether it is None is known when this is compiled.
    place = np.floor(x * first) - second if all_bins is None else (x - first) * all_bins / second
    place = place if place > zero else zero  # NaN, too
    return np.int32(place if place < last else last)


@_compiled
def _count_columns_(counts: Any, flat: Any, runs: Any, first: Any, second: Any, numbers: Any, seen: Any) -> None:
    """Count where the neurons lie side by side, as in tokens."""
    outer, inner, outer_stride, inner_stride = runs
    zero, last, all_bins = numbers
    see_outside, high, below, above = seen
    neurons = counts.shape[0]
    index = np.empty((_ROWS, neurons), np.int32)
    outside = np.zeros((2, neurons), np.int32)
    for a in range(outer):
        for first_row in range(0, inner, _ROWS):
            rows = min(_ROWS, inner - first_row)
            for r in range(rows):
                start = a * outer_stride + (first_row + r) * inner_stride
                row, places = flat[start : start + neurons], index[r]
                for n in range(neurons):
                    places[n] = _bin(row[n], first[n], second[n], zero, last, all_bins)
                if see_outside:
                    for n in range(neurons):
                        outside[0, n] += row[n] < first[n]
                        outside[1, n] += row[n] > high[n]
            for n in range(neurons):
                neuron_counts = counts[n]
                for r in range(rows):
                    neuron_counts[index[r, n]] += 1
    if see_outside:
        below += outside[0]
        above += outside[1]


@_compiled
def _count_rows_(counts: Any, flat: Any, runs: Any, first: Any, second: Any, numbers: Any, seen: Any) -> None:
    """Count where the positions of a neuron lie side by side, as in maps."""
    outer, inner, neuron_stride, outer_stride = runs
    zero, last, all_bins = numbers
    see_outside, high, below, above = seen
    neurons, bins = counts.shape
    index = np.empty(inner, np.int32)
    copies = _COPIES if outer * inner > _COPIES * bins else 0
    copied = np.zeros((_COPIES, bins if copies else 0), np.int32)
    own = copied[0], copied[1], copied[2], copied[3]
    for n in range(neurons):
        row_counts, low_end, second_number = counts[n], first[n], second[n]
        for a in range(outer):
            start = n * neuron_stride + a * outer_stride
            row = flat[start : start + inner]
            for i in range(inner):
                index[i] = _bin(row[i], low_end, second_number, zero, last, all_bins)
            whole = inner // _COPIES * _COPIES if copies else 0
            for i in range(0, whole, _COPIES):
                own[0][index[i]] += 1
                own[1][index[i + 1]] += 1
                own[2][index[i + 2]] += 1
                own[3][index[i + 3]] += 1
            for i in range(whole, inner):
                row_counts[index[i]] += 1
            if see_outside:
                under, over = 0, 0
                for i in range(inner):
                    under += row[i] < low_end
                    over += row[i] > high[n]
                below[n] += under
                above[n] += over
        if copies:
            for k in range(bins):
                row_counts[k] += own[0][k] + own[1][k] + own[2][k] + own[3][k]
            copied[:] = 0
