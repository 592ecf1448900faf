"""Files that commands write."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import put_small_sources, run

from vdna_metrics import load_vdna
from vdna_metrics.files import write_npz


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "command",
    [
        ["make", "real", "--extractor", "tiny"],
        ["make", "real", "--extractor", "tiny", "--kinds", "histogram,gaussian"],
        ["calibrate", "real", "--extractor", "tiny"],
        ["merge", "real.npz"],
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_the_work(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing folder, a folder in the way and a file of the user's own are refused; the file stays as it is."""
    run("make", "real", "-o", "real.npz", "--extractor", "tiny")
    several = "histogram,gaussian" in command
    Path("folder.histogram.npz" if several else "folder.npz").mkdir()
    mine = Path("mine.gaussian.npz" if several else "mine.npz")
    mine.write_bytes(Path("gen_c.npz").read_bytes())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("vdna_metrics.cli.settings.extractor_and_layout", refuse)
    monkeypatch.setattr("vdna_metrics.cli.dnas.load_merged", refuse)
    missing = run(*command, "-o", "nowhere/a.npz", exit_code=1)
    assert "folder nowhere does not exist" in missing.stderr
    assert "it is a folder" in run(*command, "-o", "folder", exit_code=1).stderr
    assert "was not written by vdna_metrics" in run(*command, "-o", "mine.npz", exit_code=1).stderr
    assert mine.read_bytes() == Path("gen_c.npz").read_bytes()
    assert "names no file" in run(*command, "-o", ".npz", exit_code=2).stderr


@pytest.mark.parametrize(
    "command",
    [
        ["rank", "gen_a", "--reference", "real", "--extractor", "tiny", "--contact-sheet", "a.png"],
        ["rank", "gen_a", "--reference", "real", "--extractor", "tiny", "--maps", "a.PNG"],
        [
            "regions",
            "real",
            "gen_a",
            "--extractor",
            "tiny",
            "--clusters",
            "2",
            "--label-layers",
            "first",
            "-o",
            "a.png",
        ],
        ["coverage", "real", "--extractor", "tiny", "--ranges", "ranges.npz", "-o", "a.SVG"],
        ["agreement", "scores.csv", "-o", "a.pdf"],
    ],
)
def test_pictures_are_written_whole_or_not_at_all(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a picture does not fit, the error names it and the old file stays, in every command that draws one."""
    run("calibrate", "real", "--extractor", "tiny", "-o", "ranges.npz")
    Path("scores.csv").write_text("name,a↑,b↓\n" + "".join(f"{i},{i},{-i}\n" for i in range(5)))
    picture = Path(command[-1])
    run(*command)
    assert picture.stat().st_size > 1000

    def full(_: int) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "fsync", full)
    picture.write_bytes(b"before")
    assert f"{picture} could not be written: File too large; raise the" in run(*command, exit_code=1).stderr
    assert picture.read_bytes() == b"before"


def test_results_of_ones_own_are_written_over() -> None:
    """A DNA that is made again takes the place of the old one."""
    run("make", "real", "-o", "a.npz", "--extractor", "tiny")
    run("make", "gen_a", "-o", "a.npz", "--extractor", "tiny")
    assert load_vdna("a.npz").n_images == 8


def test_only_checkpoints_of_ones_own_are_removed() -> None:
    """What lies in the folder of a checkpoint and is no checkpoint stays, whatever its name looks like."""
    folder = Path("kept")
    folder.mkdir()
    theirs = ["shard-1-of-2.npz", "0123456789abcdef-1-of-2.npz", "fedcba9876543210-1-of-2.npz", "notes.txt"]
    np.savez(folder / theirs[0], values=np.ones(2))
    np.savez(folder / theirs[1], values=np.ones(2))
    (folder / theirs[2]).write_bytes(b"PK")
    (folder / theirs[3]).write_text("mine")
    write_npz(folder / "00112233445566aa-1-of-2.npz", "checkpoint", {"values": {}}, {})
    run("score", "gen_a", "--reference", "real", "--extractor", "tiny", "--checkpoint", "kept")
    assert sorted(path.name for path in folder.iterdir()) == sorted(theirs)


@pytest.mark.parametrize(
    "command",
    [
        ["regions", "real", "gen_a", "--clusters", "2", "-o", "gen_a/inner/000.png"],
        ["regions", "gen_c.npz", "gen_b.zip", "--masks", "real", "-o", "real/new.png"],
        ["coverage", "real", "-o", "real/000.png"],
    ],
)
def test_pictures_do_not_get_among_the_images(command: list[str]) -> None:
    """A picture in a folder whose images or label maps are read would be read with them, or replace one: refused."""
    before = {path: path.read_bytes() for path in Path().rglob("*.png")}
    assert "would be one of the images of" in run(*command, "--extractor", "tiny", exit_code=2).stderr
    assert {path: path.read_bytes() for path in Path().rglob("*.png")} == before
