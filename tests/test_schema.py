"""Annotated values from plain containers, and what the errors say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest

from vdna_metrics.schema import ArrayField, Count, Distinct, Positive, Sha256, Share, typed


@dataclass(frozen=True)
class Inner:
    """A part of a value."""

    size: Positive
    name: str | None = None

    def __post_init__(self) -> None:
        if self.size == 13:
            raise TypeError("13 is bad luck")


@dataclass(frozen=True)
class Outer:
    """A value with a field of every sort."""

    count: Count
    share: Share
    kind: Literal["a", "b"]
    inner: Inner
    pair: tuple[str, int]
    numbers: Annotated[tuple[int, ...], Distinct] = ()
    words: Sequence[str] = ()
    parts: Mapping[str, Inner] = field(default_factory=dict)
    anything: Any = None
    yes: bool = False
    many: tuple[str, ...] | Mapping[str, int] | None = None
    size: int | tuple[int, int] = 1
    made: str = field(default="here", init=False)


PLAIN: dict[str, Any] = {"count": 3, "share": 1, "kind": "a", "inner": {"size": 2}, "pair": ["x", 7]}


def test_plain_containers_become_values() -> None:
    """Lists become tuples, objects dataclasses, pairs mappings in their order, whole numbers floats where needed."""
    more = {"numbers": [2, 1], "words": ["w"], "parts": [["b", {"size": 1}], ["a", {"size": 9, "name": "n"}]]}
    found = typed(Outer, {**PLAIN, **more, "anything": [{}]})
    assert found == Outer(
        3, 1.0, "a", Inner(2), ("x", 7), (2, 1), ("w",), {"b": Inner(1), "a": Inner(9, "n")}, anything=[{}]
    )
    assert type(found.share) is float
    for many in (("a",), {"a": 1}, None):
        assert typed(Outer, {**PLAIN, "many": many, "size": [1, 2]}) == replace(
            typed(Outer, PLAIN), many=many, size=(1, 2)
        )
    assert list(found.parts) == ["b", "a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": -1}, r"count: expected a whole number from 0 to 2\*\*53, got -1"),
        ({"count": 2**53 + 1}, "count: expected a whole number from 0"),
        ({"count": 10**30}, "count: expected a whole number, got 1000000000000000000000000000000"),
        ({"count": True}, "count: expected a whole number, got True"),
        ({"count": 3.0}, r"count: expected a whole number, got 3\.0"),
        ({"share": 1.5}, r"share: expected a number from 0 to 1, got 1\.5"),
        ({"share": float("nan")}, "share: expected a finite number, got nan"),
        ({"share": 10**400}, "share: expected a finite number, got 1000"),
        ({"kind": "c"}, "kind: expected 'a' or 'b', got 'c'"),
        ({"kind": ["a"]}, r"kind: expected 'a' or 'b', got \['a'\]"),
        ({"inner": {"size": 0}}, "inner.size: expected a whole number from 1"),
        ({"inner": {"size": 13}}, "inner: 13 is bad luck"),
        ({"inner": None}, "inner: expected an object, got None"),
        (
            {"inner": {"size": 1, "colour": 2}},
            r"inner: expected the fields size, name; it has \['colour'\] \(of a newer",
        ),
        ({"inner": {}}, r"inner: expected the fields size, name; it lacks \['size'\]"),
        ({"inner": {"size": 1, "name": 2}}, "inner.name: expected text, got 2"),
        ({"pair": ["x"]}, "pair: expected a list of 2, got"),
        ({"pair": ["x", "y"]}, r"pair\[1\]: expected a whole number, got 'y'"),
        ({"numbers": [1, 1]}, r"numbers: expected each once, got \[1, 1\]"),
        ({"words": "text"}, "words: expected a list, got 'text'"),
        ({"parts": [["a", {"size": 1}], ["a", {"size": 1}]]}, "parts: expected names that differ"),
        ({"parts": [["a"]]}, r"parts\[0\]: expected a list of 2"),
        ({"parts": {"a": {"size": "1"}}}, "parts.a.size: expected a whole number, got '1'"),
        ({"yes": 1}, "yes: expected true or false, got 1"),
        ({"many": "a"}, "many: expected a list or an object, got 'a'"),
        ({"many": [1]}, r"many\[0\]: expected text, got 1"),
        ({"many": {"a": "b"}}, "many.a: expected a whole number, got 'b'"),
        ({"size": None}, "size: expected a whole number or a list, got None"),
        ({"size": [1]}, "size: expected a list of 2, got"),
        ({"made": "there"}, r"it has \['made'\]"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    """An error names the field and both sides; nothing is passed over or bent into shape."""
    with pytest.raises(ValueError, match=rf"^{message}" if not message.startswith("it") else message):
        typed(Outer, {**PLAIN, **change})


def test_values_in_errors_are_short() -> None:
    """Whatever a file holds, an error stays readable."""
    for value in ("x" * 10**6, [[]] * 10**5, {str(i): i for i in range(10**5)}):
        with pytest.raises(ValueError, match="count: expected a whole number") as raised:
            typed(Outer, {**PLAIN, "count": value})
        assert len(str(raised.value)) < 400


def test_files_of_others_may_hold_more() -> None:
    """Fields that another program writes are passed over where a schema says that it is another program's."""

    @dataclass(frozen=True)
    class Theirs:
        of_others: ClassVar[bool] = True
        size: int = 0

    assert typed(Theirs, {"size": 2, "colour": "red"}) == Theirs(2)


def test_digests_are_64_digits() -> None:
    """A sha256 is hexadecimal and whole; capitals are the same digits, and come out small."""
    for text in ("0f" * 32, "0F" * 32, "0f0F" * 16):
        assert typed(Sha256, text) == "0f" * 32
    for text in ("", "0g" * 32, "0f" * 31, "0f" * 32 + "\n"):
        with pytest.raises(ValueError, match="expected 64 hexadecimal digits"):
            typed(Sha256, text)


def test_arrays_are_checked_by_what_they_claim() -> None:
    """Shape and type are compared before there is an array; an open length or size takes any."""
    field_ = ArrayField((None, 3), "u")
    field_.check((7, 3), np.dtype(np.uint16))
    for shape, dtype in (((3,), "u2"), ((7, 4), "u2"), ((7, 3), "i2"), ((), "u2")):
        with pytest.raises(ValueError, match=r"^expected u \[any, 3\], got [ui]2 \["):
            field_.check(shape, np.dtype(dtype))
