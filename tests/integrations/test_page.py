"""The pages on training and on many machines show code and commands that run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["training", pytest.param("distributed", marks=pytest.mark.slow)])
def test_page(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the page prints what the page says it prints."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    run_page = runpy.run_path(str(ROOT / "scripts" / "run_docs.py"))["run_page"]
    assert run_page(page) == page
