"""Scores of generators that were measured elsewhere: what people say, an Elo, another tool's metric."""

from __future__ import annotations

import csv
import math
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from vdna_metrics.files import errors_of, read_text
from vdna_metrics.layout import near_names
from vdna_metrics.schema import Check

_DIRECTION = re.compile(r"\s*(?:(?P<up>↑|\(higher is better\))|↓|\(lower is better\))$", re.IGNORECASE)
_ERROR = ("±", "+-")  # how the name of a column of standard errors begins
_SEPARATORS = {".tsv": "\t"}


@dataclass(frozen=True)
class ScoreColumn:
    """One score of several generators.

    Args:
        name: of the score, with its unit where it has one.
        higher_is_better: whether larger values are better.
        values: ``{generator: score}``; one that was not scored is left out.
        errors: ``{generator: standard error}``, of those that have one.
        source: where it is from, for people.

    Raises:
        ValueError: for no name or value, a number that is not finite, a standard error below 0, or one of a generator
            without a value.

    Examples:
        >>> ScoreColumn("error rate", True, {"a": 0.4, "b": 0.2}).title
        'error rate ↑'
    """

    name: Annotated[str, Check("a name", lambda name: name)]
    higher_is_better: bool
    values: Mapping[str, float]
    errors: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.values:
            raise ValueError(f"expected a score with a name and at least one value, got {self.name!r} of no generator")
        for generator, value in self.values.items():
            if not math.isfinite(value):
                raise ValueError(f"expected finite values of {self.name!r}, got {value} of {generator!r}")
        for generator, error in self.errors.items():
            if generator not in self.values or not 0 <= error < math.inf:
                raise ValueError(
                    f"expected standard errors from 0 of generators that have a value of {self.name!r}, got "
                    f"{error:g} of {generator!r}"
                )

    @property
    def title(self) -> str:
        """Its name with an arrow to what is better."""
        return f"{self.name} {'↑' if self.higher_is_better else '↓'}"


def read_scores(path: str | Path) -> tuple[ScoreColumn, ...]:
    r"""Read a table of scores: a line of names, then a line a generator.

    The first column names the generators, whatever its own name is. The name of each other column ends in what is
    better: ``↑`` or ``(higher is better)``, ``↓`` or ``(lower is better)``. A column whose name begins with ``±`` (or
    ``+-``) has the standard errors of the one before it. A cell is a finite number, or empty where there is none.

    Args:
        path: a ``.csv`` with commas, or a ``.tsv`` with tabs, UTF-8.

    Raises:
        OSError: when it cannot be read.
        ValueError: for another table; line, generator and column are named.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "people.csv")
        ...     _ = path.write_text("generator,error rate↑,±,FD↓\nADM,0.27,0.016,203\nDiT,0.29,,79\n", encoding="utf-8")
        ...     people, fd = read_scores(path)
        >>> people.values, people.errors, fd.higher_is_better
        ({'ADM': 0.27, 'DiT': 0.29}, {'ADM': 0.016}, False)
    """
    path = Path(path)
    separator = _SEPARATORS.get(path.suffix.lower(), ",")
    with errors_of(str(path)), errors_of(f"{path} is no table of scores", (UnicodeDecodeError, csv.Error)):
        table = csv.reader(read_text(path, "images", separator.encode()), delimiter=separator, strict=True)
        header = [name.strip() for name in next(table, [])]
        if len(header) < 2:
            raise ValueError(f"expected a first line 'generator{separator}SCORE↑{separator}...', got {_short(header)}")
        heads = _heads(header[1:])
        columns: list[dict[str, float]] = [{} for _ in heads]
        lines: dict[str, int] = {}
        for generator, *cells in filter(None, table):
            line, generator = table.line_num, generator.strip()
            if len(cells) != len(heads):
                raise ValueError(f"line {line}: expected {len(header)} cells, got {len(cells) + 1}")
            if not generator:
                raise ValueError(f"line {line}: expected the name of a generator, got an empty cell")
            if generator in lines:
                raise ValueError(f"line {line}: {_short(generator)} is listed twice, first in line {lines[generator]}")
            lines[generator] = line
            for name, cell, values in zip(header[1:], cells, columns, strict=True):
                if text := cell.strip():
                    values[generator] = _number(text, f"line {line}, {_short(name)} of {_short(generator)}")
        return tuple(_score_columns(heads, columns, str(path)))


def check_scores(scores: Sequence[ScoreColumn], generators: Iterable[str]) -> None:
    """Raise ``ValueError`` for scores of one name, and for a score of what is no generator of a leaderboard.

    Args:
        scores: from one table or several.
        generators: names on the leaderboard.
    """
    known, names = list(generators), [score.name for score in scores]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"expected outside scores with names of their own, got {_short(twice[0])} twice")
    for score in scores:
        for name in score.values:
            if name not in known:
                where = f"{score.source}: " if score.source else ""
                raise ValueError(
                    f"{where}{_short(name)} is no generator of this leaderboard; {near_names(name[:200], known)}"
                )


def _heads(names: Sequence[str]) -> list[tuple[str, bool] | None]:
    """Name and direction of each column, ``None`` of one of standard errors."""
    heads: list[tuple[str, bool] | None] = []
    for name in names:
        if name.startswith(_ERROR):
            if not heads or heads[-1] is None:
                raise ValueError(f"expected a column of standard errors after the one they are of, got {_short(name)}")
            heads.append(None)
            continue
        match = _DIRECTION.search(name)
        if match is None or not match.start():
            raise ValueError(
                f"column {_short(name)} does not say what is better: expected "
                f"'{name[:60] or 'SCORE'}↑' or '{name[:60] or 'SCORE'}↓', or '(higher is better)' or "
                "'(lower is better)' after it"
            )
        head = (name[: match.start()], match["up"] is not None)
        if any(other is not None and other[0] == head[0] for other in heads):
            raise ValueError(f"expected columns with names of their own, got {_short(head[0])} twice")
        heads.append(head)
    return heads


def _score_columns(
    heads: Sequence[tuple[str, bool] | None], columns: Sequence[Mapping[str, float]], source: str
) -> Iterable[ScoreColumn]:
    for place, head in enumerate(heads):
        if head is not None:
            after = place + 1 < len(heads) and heads[place + 1] is None
            yield ScoreColumn(*head, columns[place], columns[place + 1] if after else {}, source)


def _number(text: str, where: str) -> float:
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: expected a finite number, or an empty cell where there is none, got {_short(text)}")
    return number


def _short(value: str | Sequence[str]) -> str:
    return reprlib.repr(value)
