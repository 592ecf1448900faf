"""Names from outside, printable."""

from __future__ import annotations

import unicodedata
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from vdna_metrics.text import Sink, printable


@given(st.text(st.characters(codec=None)), st.sampled_from(get_args(Sink)))
def test_what_is_printed_is_text_alone(name: str, sink: Sink) -> None:
    """No control character, change of direction or half of a surrogate pair comes through, and all can be encoded."""
    shown = printable(name, sink)
    shown.encode()
    allowed = "\n" if sink == "terminal" else ""
    assert not [
        sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") and sign not in allowed
    ]
    assert not set(shown) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@given(st.text())
def test_ordinary_names_stay(name: str) -> None:
    """Letters of all scripts, and emoji with their joiners, are not changed."""
    plain = "".join(sign for sign in name if sign.isprintable() or sign in " \u200d")
    assert printable(plain) == plain


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_spreadsheets_get_no_formula(name: str) -> None:
    """A cell never begins with what a spreadsheet takes for the begin of a formula."""
    assert printable(name, "csv")[0] in "'\\"


def test_names_stay_different() -> None:
    """Two names that differ in what cannot be shown are shown in two ways."""
    names = ["a\udcff", "a\udcfe", "a\x1b", "a\x1b[0m", "a\u202e", "a", "a\n"]
    assert len(set(map(printable, names))) == len(names)
