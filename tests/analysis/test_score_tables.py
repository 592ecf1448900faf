"""Tables of scores that were measured elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vdna_metrics.analysis import ScoreColumn, read_scores
from vdna_metrics.analysis.score_tables import check_scores

TABLE = """\ufeffmodel,error rate↑,±,FD (lower is better),Elo (Higher is better)\r
ADM, 0.27 ,0.016,203.5,\r
\r
"DiT, guided",0.33,,99,1.5e3\r
"""


def _written(folder: Path, text: str, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_table_is_read_with_directions_errors_and_gaps(tmp_path: Path) -> None:
    """Names say what is better, a column after a score has its errors, an empty cell is no value; tabs serve too."""
    path = _written(tmp_path, TABLE)
    rate, fd, elo = read_scores(path)
    assert rate == ScoreColumn("error rate", True, {"ADM": 0.27, "DiT, guided": 0.33}, {"ADM": 0.016}, str(path))
    assert (fd.name, fd.higher_is_better, fd.values) == ("FD", False, {"ADM": 203.5, "DiT, guided": 99.0})
    assert (elo.title, elo.values) == ("Elo ↑", {"DiT, guided": 1500.0})
    (score,) = read_scores(_written(tmp_path, "g\tx↓\na, b\t1\n", "t.tsv"))
    assert score.values == {"a, b": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a first line 'generator,SCORE↑,...', got []"),
        ("generator;x↑\na;1\n", "expected a first line 'generator,SCORE↑,...', got ['generator;x↑']"),
        ("g,x\na,1\n", "column 'x' does not say what is better: expected 'x↑' or 'x↓'"),
        ("g,↑\na,1\n", "column '↑' does not say what is better"),
        ("g,±\na,1\n", "expected a column of standard errors after the one they are of, got '±'"),
        ("g,x↑,±,± again\na,1,1,1\n", "after the one they are of, got '± again'"),
        ("g,x↑,x↓\na,1,1\n", "expected columns with names of their own, got 'x' twice"),
        ("g,x↑\n", "expected a score with a name and at least one value, got 'x' of no generator"),
        ("g,x↑\na,1,2\n", "line 2: expected 2 cells, got 3"),
        ("g,x↑\n,1\n", "line 2: expected the name of a generator, got an empty cell"),
        ("g,x↑\na,1\nb,2\n a ,3\n", "line 4: 'a' is listed twice, first in line 2"),
        ("g,x↑\na,nan\n", "line 2, 'x↑' of 'a': expected a finite number, or an empty cell where"),
        ("g,x↑\na,-inf\n", "got '-inf'"),
        ("g,x↑\na,12 %\n", "got '12 %'"),
        ("g,x↑\na,1_0\n", "got '1_0'"),
        ("g,x↑,±\na,1,-2\n", "expected standard errors from 0 of generators that have a value of 'x', got -2 of 'a'"),
        ("g,x↑,±\na,1,\nb,,1\n", "got 1 of 'b'"),
        ('g,x↑\n"a,1\n', "is no table of scores"),
        (f"g,x↑\n{'a' * 200_000},1\n", "is no table of scores"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    """Line, column and generator are named, with what was expected and what stands there."""
    path = _written(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(message)) as found:
        read_scores(path)
    assert str(found.value).startswith(str(path))
    assert len(str(found.value)) < 1800


def test_other_bytes_and_long_tables_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no UTF-8, no file, or beyond a limit is an error that names the file."""
    path = tmp_path / "people.csv"
    path.write_bytes(b"g,x\xff\n")
    with pytest.raises(ValueError, match=r"people\.csv is no table of scores"):
        read_scores(path)
    with pytest.raises((ValueError, OSError), match=re.escape(tmp_path.name)):
        read_scores(tmp_path)
    monkeypatch.setenv("VDNA_METRICS_MAX_TEXT_BYTES", "100")
    with pytest.raises(ValueError, match=r"people\.csv: .*expected at most 100 bytes"):
        read_scores(_written(tmp_path, "g,x↑\n" + 100 * "a,1\n"))


def test_scores_belong_to_generators() -> None:
    """A score of what is no generator is refused with near names, one name twice, too; not all need have one."""
    score = ScoreColumn("Elo", True, {"styelgan": 1.0}, source="people.csv")
    with pytest.raises(ValueError, match=r"people\.csv: 'styelgan' is no generator .*did you mean 'stylegan'"):
        check_scores([score], ["stylegan", "adm"])
    with pytest.raises(ValueError, match="names of their own, got 'Elo' twice"):
        check_scores([score, score], ["styelgan"])
    check_scores([score], ["styelgan", "adm"])


def test_a_score_is_finite() -> None:
    """No NaN or infinity comes into a record, as value or as error."""
    for values, errors in (({"a": float("nan")}, {}), ({"a": 1.0}, {"a": float("inf")})):
        with pytest.raises(ValueError, match=r"'x', got (nan|inf) of 'a'"):
            ScoreColumn("x", True, values, errors)
