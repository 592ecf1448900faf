"""Strategies of hypothesis that change what somebody may have changed: values, arrays, bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Draw = Callable[..., Any]


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


# Called for each, so that no case changes another's.
ODD: list[Callable[[], Any]] = [
    *(lambda value=value: copy.deepcopy(value) for value in (
        None, True, False, -1, 0, 1, -5, 7, 0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"), 2**24, 2**31,
        2**53, 2**63, -(2**63), 10**30, "", "x", "\udc80", "NaN", "a" * 5000, "../x", "/x", [], {}, [[]], [None],
        {"a": 1}, [0] * 300, [["a", 1], ["a", 2]],
    )),
    lambda: _deep(60),
    lambda: _deep(150),
]  # fmt: skip


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container and key in it."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@st.composite
def changed_values(draw: Draw, value: Any) -> Any:
    """Plain containers with one to three changes: dropped, retyped, nested otherwise, renamed, exchanged."""
    root = [copy.deepcopy(value)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(root[0])) if isinstance(root[0], dict | list) else []
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        how = draw(
            st.sampled_from(
                ["odd", "odd", "odd", "drop", "list", "object", "text", "negative", "other", "new", "twice"]
            )
        )
        here = container[key]
        if how == "odd":
            container[key] = draw(st.sampled_from(ODD))()
        elif how == "drop":
            del container[key]
        elif how in ("list", "object"):
            container[key] = [here] if how == "list" else {"inner": here}
        elif how == "text":
            container[key] = str(here)[:5000]
        elif how == "negative":
            container[key] = -here if isinstance(here, int | float) else None
        elif how == "other":
            other, name = draw(st.sampled_from(places))
            if name in other if isinstance(other, dict) else name < len(other):
                container[key] = copy.deepcopy(other[name])
        elif isinstance(container, dict):
            container[f"{key}x" if how == "new" else str(key).upper()] = copy.deepcopy(here)
        else:
            container.append(copy.deepcopy(here))
    return root[0]


_CASTS = ("f4", "f8", "f2", "i8", "u1", "u8", "?", "c16", "S8", "U4", ">f8")
_FILLS = (0, -1, 1, np.nan, np.inf, 1e308, -1e308, 255, 2**62)


@st.composite
def changed_array(draw: Draw, array: NDArray[Any]) -> NDArray[Any]:
    """An array with other values, another shape or another type."""
    array = array.copy()
    how = draw(
        st.sampled_from(["value", "value", "all", "cast", "scalar", "cut", "longer", "axis", "turned", "empty", "one"])
    )
    with np.errstate(all="ignore"):
        if how in ("value", "all") and array.size and array.dtype.kind in "biuf":
            fill = np.array(draw(st.sampled_from(_FILLS)))
            fill = np.nan_to_num(fill) if array.dtype.kind != "f" else fill
            place = draw(st.integers(0, array.size - 1)) if how == "value" else slice(None)
            array.reshape(-1)[place] = fill.astype(array.dtype)
        elif how == "cast" and array.dtype.kind in "biuf":
            array = np.real(array).astype(draw(st.sampled_from(_CASTS)))
        elif how == "scalar":
            array = np.zeros((), array.dtype) if not array.size else array.reshape(-1)[0].reshape(())
        elif how == "cut":
            array = array[: draw(st.integers(0, max(0, len(array) - 1)))] if array.ndim else array
        elif how == "longer":
            array = np.concatenate([array, array]) if array.ndim else array
        elif how == "axis":
            array = array[None]
        elif how == "turned":
            array = array[::-1] if array.ndim == 1 else array.T
        elif how == "empty":
            array = np.zeros((0,), array.dtype)
        elif how == "one":
            array = array.reshape(-1)[:1]
    return array


@st.composite
def changed_arrays(draw: Draw, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays of which one is changed, missing, under another name, or new."""
    changed, name = dict(arrays), draw(st.sampled_from(sorted(arrays)))
    how = draw(st.sampled_from(["change"] * 8 + ["drop", "name", "new", "other"]))
    if how == "change":
        changed[name] = draw(changed_array(arrays[name]))
    elif how == "other":
        changed[name] = arrays[draw(st.sampled_from(sorted(arrays)))]
    elif how == "new":
        changed["more"] = np.ones(2)
    else:
        moved = changed.pop(name)
        if how == "name":
            changed[f"{name}x"] = moved
    return changed


@st.composite
def changed_bytes(draw: Draw, data: bytes) -> bytes:
    """Bytes that are flipped, cut, repeated, set to one value, or large numbers."""
    for _ in range(draw(st.integers(1, 4))):
        if not data:
            break
        start = draw(st.integers(0, len(data) - 1))
        how = draw(st.sampled_from(["flip", "flip", "cut", "repeat", "fill", "number", "end"]))
        length = draw(st.integers(1, 64))
        if how == "flip":
            data = data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]
        elif how == "cut":
            data = data[:start] + data[start + length :]
        elif how == "end":
            data = data[:start]
        elif how == "repeat":
            data = data[:start] + data[start : start + length] * draw(st.integers(2, 50)) + data[start + length :]
        elif how == "fill":
            data = data[:start] + bytes([draw(st.sampled_from([0, 32, 255]))]) * length + data[start + length :]
        else:
            number = draw(st.sampled_from([0, 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]))
            data = data[:start] + number.to_bytes(4, "little") + data[start + 4 :]
    return data
