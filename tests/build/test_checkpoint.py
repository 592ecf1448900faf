"""What an interrupted pass leaves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vdna_metrics.build.checkpoint import Checkpoint


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Values and arrays come back for the same settings and part, and for no other."""
    arrays = {"state": np.arange(5), "digests": np.array(["ab", "cd"], "S64")}
    Checkpoint(tmp_path / "kept", ["a", 1], (0, 2)).save({"count": 3}, arrays)
    values, restored = Checkpoint(tmp_path / "kept", ["a", 1], (0, 2)).restore() or ({}, {})
    assert values == {"count": 3}
    assert {name: array.tolist() for name, array in restored.items()} == {
        "state": [0, 1, 2, 3, 4],
        "digests": [b"ab", b"cd"],
    }
    assert Checkpoint(tmp_path / "kept", ["a", 1], (1, 2)).restore() is None
    assert Checkpoint(tmp_path / "kept", ["a", 2], (0, 2)).restore() is None


def test_it_is_time_to_save_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is due after a minute, and where saving is slow, when that is a twentieth of the time."""

    def at(*seconds: float) -> None:
        clock = iter(seconds)
        monkeypatch.setattr("vdna_metrics.build.checkpoint.time", SimpleNamespace(monotonic=lambda: next(clock)))

    at(0, 59, 59, 61)
    checkpoint = Checkpoint(tmp_path, [], (0, 1))
    assert (checkpoint.is_due(), checkpoint.is_due(every=10), checkpoint.is_due()) == (False, True, True)
    at(100, 110, 300, 311)  # ten seconds to save
    checkpoint.save({}, {})
    assert (checkpoint.is_due(), checkpoint.is_due()) == (False, True)
