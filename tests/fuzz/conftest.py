"""Prints what came of the cases."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
from helpers.fuzzing import OUTCOMES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A table of outcomes; in parallel runs the workers keep theirs."""
    if not OUTCOMES:
        return
    classes = [name for name, _ in Counter(name for _, name in OUTCOMES.elements()).most_common()]
    terminalreporter.section("outcomes of fuzzing")
    width = max(len(fuzzer) for fuzzer, _ in OUTCOMES)
    for fuzzer in sorted({fuzzer for fuzzer, _ in OUTCOMES}):
        counts = [f"{name.removeprefix('refused: ')} {OUTCOMES[fuzzer, name]}" for name in classes]
        terminalreporter.line(f"{fuzzer:{width}}  {', '.join(each for each in counts if not each.endswith(' 0'))}")
    terminalreporter.line(f"{sum(OUTCOMES.values())} cases")


@pytest.fixture(autouse=True)
def _linux_only() -> None:
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("limits memory by what Linux tells of the process")
