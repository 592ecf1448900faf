"""A leaderboard as a data frame."""

from __future__ import annotations

import io
import sys

import pandas
import pytest
from helpers.leaderboards import make_leaderboard

from vdna_metrics.leaderboard.rows import COLUMNS
from vdna_metrics.reports import leaderboard_csv

LEADERBOARD = make_leaderboard()


def test_a_frame_is_the_spreadsheet() -> None:
    """Rows, columns and numbers are those of the CSV; what is empty there is missing, and counts are whole numbers."""
    frame = LEADERBOARD.to_frame()
    read = pandas.read_csv(io.StringIO(leaderboard_csv(LEADERBOARD)))
    assert tuple(frame.columns) == COLUMNS
    pandas.testing.assert_frame_equal(frame, read.astype(frame.dtypes), rtol=1e-14)
    assert frame["class"].isna().sum() == len(LEADERBOARD.scores)
    assert {str(frame[name].dtype) for name in ("n_images", "clusters", "first_rank", "last_rank")} == {"Int64"}


def test_without_pandas_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs pandas for a leaderboard, and who does is told how to get it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"needs pandas: pip install pandas, or 'vdna_metrics\[pandas\]'"):
        LEADERBOARD.to_frame()
