"""What files may hold: plain containers become annotated values, or an error names the field and both sides.

A file's schema is a frozen dataclass. Its annotations say what each field is: numbers, text, ``Literal``, optional
values, tuples, mappings and other dataclasses, with a `Check` in ``Annotated`` for what a type cannot say.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Value = TypeVar("Value")

_WORDS = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false"}
# What of plain containers a part of a union may be.
_PLAIN: dict[Any, tuple[Any, str]] = {
    **{kind: (kind, word) for kind, word in _WORDS.items()},
    float: (int | float, "a number"),
    tuple: (list | tuple, "a list"),
    Sequence: (list | tuple, "a list"),
    Mapping: (Mapping, "an object"),
}
_WHOLE = 1 << 63


@dataclass(frozen=True)
class Check:
    """What a value must be beyond its type: ``Annotated[int, Check("a number from 1", lambda n: n >= 1)]``.

    Args:
        expected: in words, for errors.
        holds: true of a value of the right type that is one.
        normal: what is made of the value, where it may be written in several ways.
    """

    expected: str
    holds: Callable[[Any], object]
    normal: Callable[[Any], Any] | None = None


# A state holds its number of images as float64.
Count = Annotated[int, Check("a whole number from 0 to 2**53", lambda n: 0 <= n <= 1 << 53)]
Positive = Annotated[int, Check("a whole number from 1 to 2**53", lambda n: 1 <= n <= 1 << 53)]
Share = Annotated[float, Check("a number from 0 to 1", lambda x: 0 <= x <= 1)]
Sha256 = Annotated[str, Check("64 hexadecimal digits", re.compile("[0-9a-fA-F]{64}").fullmatch, str.lower)]
Distinct = Check("each once", lambda values: len(set(values)) == len(values))


@dataclass(frozen=True)
class ArrayField:
    """What an array of a file must be.

    Args:
        shape: ``None`` for a length that the file decides.
        dtype: how its kind and size begin: ``"f8"``, ``"u"`` for unsigned numbers of any size.
        finite: whether floats must be.
    """

    shape: tuple[int | None, ...]
    dtype: str
    finite: bool = True

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise ``ValueError``, showing both sides, for another shape or type; nothing is allocated for it."""
        fits = len(shape) == len(self.shape) and all(
            known in (None, length) for known, length in zip(self.shape, shape, strict=True)
        )
        if not fits or not f"{dtype.kind}{dtype.itemsize}".startswith(self.dtype):
            lengths = ", ".join("any" if length is None else str(length) for length in self.shape)
            raise ValueError(
                f"expected {self.dtype} [{lengths}], got {dtype.kind}{dtype.itemsize} {reprlib.repr(list(shape))}"
            )


class FileFields(Protocol):
    """A file's schema: a dataclass of its header's fields, which tell what arrays lie beside them."""

    def arrays(self) -> Mapping[str, ArrayField]:
        """All arrays of the file."""


def typed(hint: type[Value], data: Any, where: str = "") -> Value:
    """A value of an annotated type from what JSON gives.

    Mappings may also be lists of pairs, for the sake of their order. Nothing is passed over: a field that is not known
    is an error, but in a dataclass whose ``of_others`` is true, a file of another program.

    Args:
        hint: a dataclass, or any type that its fields may have.
        data: plain containers.
        where: which field of a larger value this is.

    Raises:
        ValueError: for fields that are missing, unknown or of another type, or that break a `Check`.

    Examples:
        >>> @dataclass(frozen=True)
        ... class Fields:
        ...     n_images: Annotated[int, Check("a number from 1", lambda n: n >= 1)]
        ...     names: tuple[str, ...] = ()
        >>> typed(Fields, {"n_images": 2, "names": ["a"]})
        Fields(n_images=2, names=('a',))
        >>> typed(Fields, {"n_images": -5})
        Traceback (most recent call last):
        ValueError: n_images: expected a number from 1, got -5
    """
    value: Value = _value(hint, data, where)
    return value


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        found = _value(parts[0], value, where)
        for check in parts[1:]:
            _expect(check.holds(found), check.expected, value, where)
            found = found if check.normal is None else check.normal(found)
        return found
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        part, *others = (part for part in parts if part is not type(None))
        if others:
            plain = {each: _PLAIN[get_origin(each) or each] for each in (part, *others)}
            part = next((each for each, (kind, _) in plain.items() if isinstance(value, kind)), None)
            _expect(part, " or ".join(word for _, word in plain.values()), value, where)
        return _value(part, value, where)
    if origin is Literal:
        _expect(isinstance(value, str) and value in parts, " or ".join(map(repr, parts)), value, where)
        return value
    if origin is tuple or origin is Sequence:
        return _items(parts, value, where)
    if origin is Mapping:
        return _mapping(parts, value, where)
    if dataclasses.is_dataclass(hint):
        return _fields(hint, value, where)  # type: ignore[arg-type]
    if hint is float and type(value) is int and abs(value) < _WHOLE:
        return float(value)
    fits = type(value) is hint and (hint is str or hint is bool or abs(value) < _WHOLE or hint is float)
    _expect(fits and (hint is not float or math.isfinite(value)), _WORDS[hint], value, where)
    return value


def _items(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    many = len(parts) == 1 or parts[-1] is Ellipsis
    expected = "a list" if many else f"a list of {len(parts)}"
    _expect(isinstance(value, list | tuple) and (many or len(value) == len(parts)), expected, value, where)
    hints = [parts[0]] * len(value) if many else parts
    pairs = enumerate(zip(hints, value, strict=True))
    return tuple(_value(part, item, f"{where}[{place}]") for place, (part, item) in pairs)


def _mapping(parts: tuple[Any, ...], value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, list):
        pairs = [_items((str, Any), item, f"{where}[{place}]") for place, item in enumerate(value)]
        _expect(len(dict(pairs)) == len(pairs), "names that differ", value, where)
        value = dict(pairs)
    _expect(isinstance(value, Mapping), "an object", value, where)
    return {name: _value(parts[1], item, _path(where, name)) for name, item in value.items()}


def _fields(kind: type[Any], data: Any, where: str) -> Any:
    _expect(isinstance(data, Mapping), "an object", data, where)
    fields = {item.name: item for item in dataclasses.fields(kind) if item.init}
    needed = [name for name, item in fields.items() if item.default is item.default_factory is dataclasses.MISSING]
    unknown, missing = [name for name in data if name not in fields], [name for name in needed if name not in data]
    if getattr(kind, "of_others", False):
        data, unknown = {name: value for name, value in data.items() if name in fields}, []
    if unknown or missing:
        found = [f"{what} {reprlib.repr(names)}" for what, names in (("lacks", missing), ("has", unknown)) if names]
        raise ValueError(
            f"{where and where + ': '}expected the fields {', '.join(fields)}; it {' and '.join(found)}"
            + " (of a newer version?)" * bool(unknown)
        )
    hints = _hints(kind)  # type: ignore[arg-type, unused-ignore]  # mypy has no hash for a type of anything
    values = {name: _value(hints[name], value, _path(where, name)) for name, value in data.items()}
    try:
        return kind(**values)
    except (TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"{where and where + ': '}{error}") from error


def _path(where: str, name: str) -> str:
    name = name if len(name) <= 80 else f"{name[:77]}..."
    return f"{where}.{name}" if where else name


def _expect(holds: object, expected: str, value: Any, where: str) -> None:
    if not holds:
        raise ValueError(f"{where and where + ': '}expected {expected}, got {reprlib.repr(value)}")
