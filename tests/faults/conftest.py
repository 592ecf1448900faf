"""Prints what came of the cells."""

from __future__ import annotations

from typing import Any

from helpers.faults import COMMANDS, OUTCOMES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: a row a fault, a column a command; in parallel runs the workers keep theirs."""
    if not OUTCOMES:
        return
    terminalreporter.section("outcomes of faults")
    rows = [["", *COMMANDS]]
    for fault in dict.fromkeys(fault for fault, _ in OUTCOMES):
        rows.append([fault, *(OUTCOMES.get((fault, command), "") for command in COMMANDS)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        terminalreporter.line("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
