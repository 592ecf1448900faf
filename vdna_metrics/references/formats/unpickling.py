"""Pickles of others, read without running anything of theirs.

A pickle is a program: it names functions and has them called. Here only what statistics consist of can be named, and
nothing that is named is imported: arrays and numbers of NumPy (pickled by versions 1 and 2, protocols 2 to 5) are
rebuilt by functions of this module, which check what they are given. Containers, numbers and text have no names.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def load_pickle(data: bytes, what: str) -> Any:
    r"""What a pickle of arrays, plain containers, numbers and text holds.

    Args:
        data: the pickle, of protocol 2 to 5.
        what: name of the file, for errors.

    Raises:
        ValueError: when it names anything else, which is then not looked up, or when it is damaged.

    Examples:
        >>> load_pickle(pickle.dumps({"num_items": 2, "raw_mean": np.arange(3.0)}), "stats.pkl")["raw_mean"].tolist()
        [0.0, 1.0, 2.0]
        >>> load_pickle(b"cos\nsystem\n(S'true'\ntR.", "stats.pkl")
        Traceback (most recent call last):
        ...
        ValueError: stats.pkl is refused: it names os.system, and only arrays, plain containers, numbers and text ...
    """
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except _RefusedError as error:
        raise ValueError(
            f"{what} is refused: it {error}, and only arrays, plain containers, numbers and text are read from a pickle"
        ) from error
    except Exception as error:  # damaged bytes raise whatever the instruction that they happen to be raises
        raise ValueError(
            f"{what} is damaged or not a pickle of arrays ({str(error) or type(error).__name__})"
        ) from error


class _RefusedError(Exception):
    """What a pickle asked for and does not get."""


class _Named:
    """Stands for what a pickle may name; a pickle can call it, and not change it."""

    __slots__ = ("_build",)
    _build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "_build", build)

    def __setattr__(self, name: str, value: object) -> None:
        raise _RefusedError(f"sets {name!r} of what it names")

    def __call__(self, *arguments: object) -> Any:
        return self._build(*arguments)


class _Type:
    """``numpy.dtype`` of numbers. NumPy's own would take fields and flags from a pickle and trust them."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d{1,2}", code):
            raise _RefusedError(f"holds an array of type {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        # Version, byte order; then subtype, names and fields, size and alignment, flags: those of numbers alone.
        if not isinstance(state, tuple) or state[2:8] != (None, None, None, -1, -1, 0) or any(state[8:]):
            raise _RefusedError("holds an array of a type with fields")
        if state[1] not in ("<", ">", "=", "|"):
            raise _RefusedError(f"holds an array of byte order {state[1]!r}")
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order}{self.code}")


class _Array(np.ndarray[Any, np.dtype[Any]]):
    """An array that takes its contents from a pickle, after a look at them."""

    def __setstate__(self, state: Any, /) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(data, bytes):
            raise _RefusedError(f"holds an array of {type(data).__name__}")
        super().__setstate__((1, tuple(shape), _checked(kind).dtype, bool(fortran), data))  # type: ignore[arg-type]


def _checked(kind: object) -> _Type:
    if not isinstance(kind, _Type):
        raise _RefusedError(f"holds an array of type {kind!r}")
    return kind


def _reconstruct(*_: object) -> NDArray[Any]:
    array: NDArray[Any] = _Array(0, np.int8)
    return array


def _from_buffer(data: Any, kind: object, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    flat = np.frombuffer(data, _checked(kind).dtype)
    array: NDArray[Any] = flat.reshape(shape, order="C" if order == "K" else order)
    return array if axes is None else array.transpose(axes)


def _scalar(kind: object, data: Any) -> Any:
    return np.frombuffer(data, _checked(kind).dtype, count=1)[0].item()


def _bytes_of(text: Any = "", encoding: object = "latin1") -> bytes:
    if encoding != "latin1":
        raise _RefusedError(f"wants text encoded as {encoding!r}")
    return bytes(text.encode("latin1"))


_NDARRAY = _Named(_reconstruct)
_NAMES = {
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _Named(_Type),
    # Protocol 2 has no bytes: they are text to be encoded, or a call without arguments.
    "_codecs.encode": _Named(_bytes_of),
    "__builtin__.bytes": _Named(lambda: b""),
    **{f"numpy.{core}.multiarray._reconstruct": _NDARRAY for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _Named(_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Named(_from_buffer) for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if f"{module}.{name}" not in _NAMES:
            raise _RefusedError(f"names {module}.{name}")
        return _NAMES[f"{module}.{name}"]

    def persistent_load(self, pid: object) -> Any:
        raise _RefusedError("refers to what lies outside of it")
