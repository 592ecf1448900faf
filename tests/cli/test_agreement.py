"""`vdna-metrics agreement`, and outside scores of `leaderboard`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from helpers.commands import put_small_sources, run, run_json

from vdna_metrics.analysis import rank_agreement, read_scores
from vdna_metrics.leaderboard import load_leaderboard

TABLE = "generator,error rate↑,±,FD↓,Elo↑\n" + "".join(
    f"g{place},{0.5 - 0.05 * place},0.01,{100 + 10 * place},{1500 - 100 * place if place < 3 else ''}\n"
    for place in range(6)
)


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a table, and the current one."""
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(TABLE, encoding="utf-8")


def test_every_two_scores_are_compared() -> None:
    """Or all with one; JSON has the library's numbers, the table their text and verdicts."""
    rate, fd, elo = read_scores("people.csv")
    assert [(each["score"], each["with"]) for each in run_json("agreement", "people.csv")] == [
        ("error rate", "FD"), ("error rate", "Elo"), ("FD", "Elo"),
    ]  # fmt: skip
    found = run_json("agreement", "people.csv", "--with", "error rate", "--confidence", "0.9")
    expected = [dataclasses.asdict(rank_agreement(each, rate, confidence=0.9)) for each in (fd, elo)]
    assert found == [
        {"table": "people", "score": name, "with": "error rate", **each}
        for name, each in zip(("FD", "Elo"), expected, strict=True)
    ]
    shown = run("agreement", "faces=people.csv", "people.csv", "--with", "error rate").stdout
    assert "Rank agreement with error rate ↑, 95 % intervals" in shown
    assert "Rank agreement of people, 95 % intervals" in run("agreement", "people.csv").stdout
    assert shown.count("same order") == 2
    assert shown.count("inconclusive") == 2  # three generators
    assert "faces    FD ↓    6   −1.000 [−1.00, −0." in shown


def test_a_picture_is_written() -> None:
    """A panel a pair; more than anybody would look at are refused with what to do."""
    assert "wrote faces.png" in run("agreement", "people.csv", "-o", "faces.png").stdout
    assert Path("faces.png").read_bytes().startswith(b"\x89PNG")
    refused = run("agreement", *["people.csv"] * 9, "-o", "faces.png", exit_code=2).stderr
    assert "--output is for up to 24 pairs of scores, got 27; choose one by --with" in refused


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("people.csv", "--with", "error rat"), 1, "people.csv has no score 'error rat'; did you mean 'error rate'?"),
        (("one.csv",), 1, "one.csv: expected two scores or more, got 'x' alone"),
        (("apart.csv",), 1, "apart.csv: expected two generators or more that both 'x' and 'y' know, got 1"),
        (("none.csv",), 1, "none.csv"),
        (("people.csv", "-o", "people.txt"), 2, "a picture ends in .png"),
        ((), 2, "Missing argument '[NAME=]TABLE...'"),
    ],
)
def test_what_cannot_be_compared_is_said(arguments: tuple[str, ...], exit_code: int, message: str) -> None:
    """A table without a second score, or no generator in common, is an error that names the table."""
    Path("one.csv").write_text("g,x↑\na,1\n", encoding="utf-8")
    Path("apart.csv").write_text("g,x↑,y↑\na,1,2\nb,1,\nc,,1\n", encoding="utf-8")
    assert message in run("agreement", *arguments, exit_code=exit_code).stderr


def test_a_leaderboard_takes_and_keeps_outside_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are printed, written and added to a leaderboard that is there; a replay takes none."""
    put_small_sources(tmp_path, monkeypatch)
    monkeypatch.setattr(
        "vdna_metrics.cli.reports.write_report", lambda board, evidence, folder, figures: folder / "index.html"
    )
    Path("elo.csv").write_text("generator,Elo (higher is better)\ngen_a,1200\n", encoding="utf-8")
    quick = ("--extractors", "tiny", "--groups", "3", "--metrics", "nfd", "--pictures", "0", "--no-fidelity")
    shown = run("leaderboard", "gen_a", "--reference", "real", "-o", "report", *quick, "--scores", "elo.csv").stdout
    assert "Outside scores" in shown
    assert load_leaderboard("report/leaderboard.json").outside[0].source == "elo.csv"
    Path("clip.csv").write_text("generator,CLIP score↑\ngen_a,0.3\n", encoding="utf-8")
    run("leaderboard", "--append", "report/leaderboard.json", "--scores", "clip.csv")
    assert [score.name for score in load_leaderboard("report/leaderboard.json").outside] == ["Elo", "CLIP score"]
    Path("clip.csv").write_text("generator,CLIP score↑\ngen_x,0.3\n", encoding="utf-8")
    refused = run("leaderboard", "--append", "report/leaderboard.json", "--scores", "clip.csv", exit_code=1).stderr
    assert "clip.csv: 'gen_x' is no generator of this leaderboard; did you mean 'gen_a'?" in refused
    run("leaderboard", "--replay", "report/leaderboard.json", "--scores", "clip.csv", exit_code=2)
