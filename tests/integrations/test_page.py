"""The page on training shows code that runs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_training_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of docs/training.md prints what the page says it prints."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    run_page = runpy.run_path(str(ROOT / "scripts" / "run_docs.py"))["run_page"]
    assert run_page(page) == page
