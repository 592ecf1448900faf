"""Names from outside as text that a terminal, a table or a page shows and does not obey."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Sink = Literal["line", "terminal", "csv", "markdown", "latex"]

_DIRECTIONS = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_MARKUP = "\\`*_[]<>|#"
_FORMULA = ("=", "+", "-", "@")
# Brackets and stars are arguments where they begin a row; a quotation mark is a command of some languages.
_LATEX = {
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},
    "\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}", "|": "\\textbar{}",
    "<": "\\textless{}", ">": "\\textgreater{}", '"': "\\char34{}",
}  # fmt: skip
_LIGATURE = re.compile("(?<=[-',`!?])(?=[-',`])")  # two dashes would be a longer one
# Of the letters from À to ž those that pdfLaTeX's default encoding lacks.
_NOT_LATEX = "×÷ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų"


def printable(text: str, sink: Sink = "line") -> str:
    r"""Text without what a reader's program would take for more than text.

    Control characters, changes of the direction of writing, and bytes of file names that are no text become visible
    escapes, so that two names stay two. Escaping what HTML or JSON mean by other characters is up to their writers.

    Args:
        text: a name, or a sentence with names in it.
        sink: where it goes: ``"line"``, a place that holds one line; ``"terminal"``, where line breaks stay; ``"csv"``,
            in which spreadsheets take what begins with ``=``, ``+``, ``-`` or ``@`` for a formula; ``"markdown"``;
            ``"latex"``, for any LaTeX without packages, which knows few letters: others become escapes too.

    Examples:
        >>> print(printable("two\nlines"), printable("\x1b[31mred"), printable("caf\udce9.png"))
        two\nlines \x1b[31mred caf\xe9.png
        >>> printable("=1+1", "csv"), printable("<b> *x*", "markdown")
        ("'=1+1", '\\<b\\> \\*x\\*')
        >>> print(printable("50%_é--α", "latex"))
        50\%\_é-{}-\textbackslash{}u03b1
    """
    if sink == "latex":
        composed = unicodedata.normalize("NFC", printable(text))
        plain = "".join(_in_latin(sign) for sign in _LIGATURE.sub("\0", composed))
        return "".join(_LATEX.get(sign, sign) for sign in plain).replace("\0", "{}")
    if sink == "markdown":
        escaped = "".join(f"\\{sign}" if sign in _MARKUP else sign for sign in text)
        return printable(" ".join(escaped.split()))
    kept = "\n" if sink == "terminal" else ""
    shown = "".join(sign if sign in kept else _shown(sign) for sign in text)
    return f"'{shown}" if sink == "csv" and shown.startswith(_FORMULA) else shown


def shortened(text: str, letters: int) -> str:
    """Text of at most so many letters: of a longer one its beginning and its end, where errors say what to do.

    Examples:
        >>> shortened("expected a, got " + 5000 * "b" + "; do c", 40)
        'expected a, got b [...] bbbbbbbbbb; do c'
    """
    if len(text) <= letters:
        return text
    half = (letters - 7) // 2
    return f"{text[: letters - 7 - half]} [...] {text[-half:]}"


def _shown(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # a byte of a file name, as the system gives it
        return f"\\x{ord(sign) - 0xDC00:02x}"
    if sign in _DIRECTIONS or unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp"):
        return (
            sign.encode("unicode_escape", "surrogatepass").decode("ascii") if sign < "\ud800" else f"\\u{ord(sign):04x}"
        )
    return sign


def _in_latin(sign: str) -> str:
    if sign.isascii() or ("À" <= sign <= "ž" and sign not in _NOT_LATEX):
        return sign
    return sign.encode("unicode_escape").decode("ascii")


def in_number_order(name: str) -> list[tuple[int, str]]:
    """A key by which names are sorted with numbers in them by their size.

    Examples:
        >>> sorted(["block10", "block9", "last"], key=in_number_order)
        ['block9', 'block10', 'last']
    """
    words = re.split(r"(\d+)", name)
    return [(len(word.lstrip("0")) if word.isdecimal() else 0, word) for word in words]
