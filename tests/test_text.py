"""Names from outside, printable."""

from __future__ import annotations

import re
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


@given(st.text())
def test_latex_gets_no_command(name: str) -> None:
    """Nothing is left but letters that any LaTeX sets and commands for single signs, and braces are in pairs."""
    shown = printable(name, "latex")
    left = re.sub(r"\\(?:text[a-z]+\{\}|char34\{\}|[{}$&#%_])", "", shown)
    left = re.sub(r"\{[\[\]*]?\}", "", left)
    assert not set(left) & set('\\{}$&#%_^~|<>"[]*')
    assert re.fullmatch("[ -~À-ž]*", left)


def test_latex_shows_what_was_written() -> None:
    """Dashes and quotes stay apart, and a letter is one whether its accent is a sign of its own or not."""
    assert printable("a--b ``c'' ?`", "latex") == "a-{}-b `{}`c'{}' ?{}`"
    assert printable("e\u0301", "latex") == "é"


def test_names_stay_different() -> None:
    """Two names that differ in what cannot be shown are shown in two ways."""
    names = ["a\udcff", "a\udcfe", "a\x1b", "a\x1b[0m", "a\u202e", "a", "a\n"]
    assert len(set(map(printable, names))) == len(names)
