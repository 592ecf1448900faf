"""Tables."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vdna_metrics.cli import screen
from vdna_metrics.cli.screen import print_table


@pytest.mark.parametrize("columns", [40, 80, 100])
@pytest.mark.parametrize("sources", [1, 3, 6, 14])
def test_tables_keep_their_numbers_whole(sources: int, columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """However narrow the terminal and long the names, no number is folded or cut; names fold and are complete."""
    names = [f"runs/2026-03-0{i % 9 + 1}/without augmentation/samples_{i}" for i in range(sources)]
    rows = [[f"layer{k}", *(1.2345 * 10**k + i for i in range(sources))] for k in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        print_table("title", ["layer", *names], rows)
    _, _, *head, rule, first, second, third, end = capsys.readouterr().out.splitlines()
    assert [line.split() for line in (first, second, third)] == [
        [str(layer), *(f"{value:#.4g}" for value in values)] for layer, *values in rows
    ]
    assert end == ""
    narrowest = 6 + sources * (5 + 3)
    assert len(rule) <= max(columns, narrowest)
    # Columns of the head, read downwards, are the names.
    ends = [match.end() for match in re.finditer(r"\S+", third)]
    starts = [0, *ends[:-1]]
    columns_of_head = [
        "".join(line[start:end].strip() for line in head) for start, end in zip(starts, ends, strict=True)
    ]
    assert max(np.diff(ends)) - min(np.diff(ends)) <= 2  # names of equal length get equal room
    assert [name.replace(" ", "") for name in columns_of_head] == ["layer", *(name.replace(" ", "") for name in names)]


def test_large_and_small_numbers_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """Four figures, without an exponent for thousands or a point at the end."""
    print_table("title", ["a", "b", "c", "d"], [[13765.4, 0.01234567, 10.0, 999.96]])
    assert capsys.readouterr().out.splitlines()[4].split() == ["13765", "0.01235", "10.00", "1000"]


def test_names_make_no_further_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line that is said or told is one line, whatever names it has; several are given apart."""
    screen.say("note: a\nb\x1b[31m", "c")
    screen.tell("d\r\ne", "")
    screen.print_lines({"file:": "a\nb " + "word " * 30})
    out, err = capsys.readouterr()
    assert err == "note: a\\nb\\x1b[31m\nc\n"
    assert out.splitlines()[:2] == ["d\\r\\ne", ""]
    assert len(out.splitlines()) == 4
