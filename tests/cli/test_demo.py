"""`demo`; what it computes is tested beside the library's part of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import put_small_sources, run


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


def test_demo_refuses_its_folder_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is not written over a file."""
    monkeypatch.setattr("vdna_metrics.cli.demo.run_demo", lambda *_, **__: pytest.fail("work was done"))
    assert "gen_c.npz is a file" in run("demo", "-o", "gen_c.npz", exit_code=1).stderr
