"""`rank`: what it prints and writes is what the library finds."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import put_small_sources, run, run_json
from PIL import Image

from vdna_metrics import build_dnas, create_extractor, load_vdna
from vdna_metrics.analysis import rank_images
from vdna_metrics.build import passes
from vdna_metrics.dna import Column


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_small_sources(tmp_path, monkeypatch)


def test_rank_shows_both_ends() -> None:
    """Nearest and farthest are printed with score and layer, as `rank_images` has them, from images or their DNA."""
    run("make", "real", "--extractor", "tiny", "--bins", 50, "-o", "real.npz")
    printed = run_json("rank", "gen_a", "--reference", "real.npz", "--top", 3, "--bottom", 2)
    ranking = rank_images("gen_a", load_vdna("real.npz"), create_extractor("tiny"))
    expected = ranking.to_json(3, 2)
    assert {key: printed[key] for key in ("n_images", "mean", "nearest", "farthest", "unit")} == {
        key: expected[key] for key in ("n_images", "mean", "nearest", "farthest", "unit")
    }
    assert printed["reference"]["n_images"] == 12
    assert printed["extractor"] == "tiny"
    from_images = run_json(
        "rank", "gen_a", "--reference", "real", "--extractor", "tiny", "--bins", 50, "--top", 3, "--bottom", 2
    )
    assert from_images["nearest"] == printed["nearest"]
    shown = run("rank", "gen_a", "--reference", "real.npz", "--top", 3, "--bottom", 2).stdout
    assert shown.startswith("8 images of gen_a, emd (bins) from real.npz, seen by tiny: ")
    assert shown.index("The 3 nearest") < shown.index("The 2 farthest")
    (first,) = ranking.farthest(1)
    row = [first.name, f"{first.score:#.4g}", first.layers[0].layer, f"{first.layers[0].unusual:+.1f}", "σ"]
    assert row in [line.split() for line in shown.splitlines()]


def test_rank_writes_all_scores_and_pictures() -> None:
    """The table has each image in the source's order with its layers, the pictures are some."""
    shown = run(
        "rank", "gen_b.zip", "--reference", "real", "--extractor", "tiny", "-o", "scores.csv",
        "--contact-sheet", "sheet.png", "--maps", "maps.png", "--top", 2, "--bottom", 2,
    ).stdout  # fmt: skip
    assert "wrote scores.csv\nwrote sheet.png\nwrote maps.png\n" in shown
    reference = build_dnas("real", create_extractor("tiny"), ranges="auto")["histogram"]
    ranking = rank_images("gen_b.zip", reference, create_extractor("tiny"))
    with open("scores.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["index", "name", "score", "first", "second"]
    assert [row[:2] for row in rows] == [[str(i), f"{i}.png"] for i in range(6)]
    np.testing.assert_array_equal(np.array([row[2] for row in rows], float), ranking.scores.numpy())
    np.testing.assert_array_equal(np.array([row[3:] for row in rows], float), ranking.layer_distances.numpy())
    for name in ("sheet.png", "maps.png"):
        with Image.open(name) as picture:
            assert picture.size[0] > 300


def test_rank_says_which_images_are_nearest_and_farthest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps have the end and the place of each image, one that is at both ends has both; one image is called one."""
    drawn: list[Any] = []
    monkeypatch.setattr("vdna_metrics.cli.rank.write_picture", lambda figure, path: drawn.append(figure))
    words = ("rank", "gen_b.zip", "--reference", "real", "--extractor", "tiny", "--maps", "a.png")
    words += ("--contact-sheet", "b.png")
    shown = run(*words, "--top", 1, "--bottom", 1)
    assert [line for line in shown.stdout.splitlines() if line.startswith("The ")] == ["The nearest", "The farthest"]
    assert "reference real: 12 images" in shown.stderr
    sheet, maps = drawn
    names = [text.get_text().partition(",")[0].split(": ")[0] for text in maps.texts[2:]]
    assert names == ["nearest 1", "farthest 1"]
    ends = [text.get_text().split(": ")[0] for text in sheet.texts if ": score" in text.get_text()]
    assert ends == ["the nearest", "the farthest"]
    run(*words, "--top", 6, "--bottom", 2)
    names = [text.get_text().split(": ")[0] for text in drawn[3].texts[2:]]
    assert names == [*(f"nearest {i}" for i in range(1, 5)), "nearest 5, farthest 2", "nearest 6, farthest 1"]


def test_rank_by_other_distances_and_neurons() -> None:
    """Gaussian references rank by Fréchet distances; selected neurons and a name of the store are understood."""
    run("make", "real", "--extractor", "tiny", "--kinds", "gaussian,histogram", "-o", "real.npz")
    found = run_json("rank", "gen_a", "--reference", "real.gaussian.npz", "--metric", "nfd")
    ranking = rank_images("gen_a", load_vdna("real.gaussian.npz"), create_extractor("tiny"))
    assert found["nearest"] == ranking.to_json()["nearest"]
    assert run_json("rank", "gen_a", "--reference", "real", "--extractor", "tiny", "--metric", "lfd")["n_images"] == 8
    run("make", "gen_a", "--extractor", "tiny", "-o", "a.npz")
    run("select", "a.npz", "real.histogram.npz", "--top", 4, "-o", "top.npz")
    chosen = run_json("rank", "gen_a", "--reference", "real.histogram.npz", "--neurons", "top.npz", "--unit", "range")
    ranking = rank_images(
        "gen_a",
        load_vdna("real.histogram.npz"),
        create_extractor("tiny"),
        distance=Column("emd", neurons="top.npz", unit="range"),
    )
    assert chosen["nearest"] == ranking.to_json()["nearest"]
    stored = run_json("rank", "gen_a", "--reference", "bsds500/test@vdna_tiny", "--layers", "blocks.0", "--top", 1)
    assert [layer["layer"] for layer in stored["nearest"][0]["layers"]] == ["blocks.0"]


def test_rank_leaves_out_bad_images_when_asked() -> None:
    """A bad image ends the command; with `--skip-bad` it is named and the others are ranked."""
    Path("gen_a/inner/003.png").write_bytes(b"")
    options = ("rank", "gen_a", "--reference", "real", "--extractor", "tiny")
    assert "inner/003.png" in run(*options, exit_code=1).stderr
    result = run(*options, "--skip-bad", "--json")
    assert "skipped: gen_a: inner/003.png: the file is empty" in result.stderr
    assert '"n_images": 7' in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--contact-sheet", "sheet.gif"], 2, "Invalid value for '--contact-sheet': sheet.gif: a picture ends in"),
        (["--contact-sheet", "s.png", "--top", "0", "--bottom", "0"], 2, "--contact-sheet shows nothing"),
        (["--maps", "m.png", "--top", "0", "--bottom", "0"], 2, "--maps shows nothing"),
        (["--maps", "m.png", "--metric", "nfd", "--extractor", "tiny"], 2, "--maps are of emd, got --metric nfd"),
        (["-o", "scores.txt"], 2, "scores.txt: a table ends in .csv"),
        (["-o", "none/scores.csv"], 1, "folder none does not exist"),
        (
            ["--maps", "s.png", "--contact-sheet", "gen_a/../s.png"],
            2,
            "--contact-sheet and --maps are both s.png; give",
        ),
        (["--maps", "real/new.png"], 2, "--maps real/new.png would be one of the images of real; write it elsewhere"),
        (["--contact-sheet", "./gen_a/inner/000.PNG"], 2, "would be one of the images of gen_a; write it elsewhere"),
        (["--metric", "nfd", "--unit", "range"], 2, "neuron Fréchet distance has one, squared act"),
        (["--metric", "nfd", "--bins", "9"], 2, "--bins is for histograms"),
    ],
)
def test_what_rank_cannot_do_is_refused(words: list[str], code: int, message: str) -> None:
    """Wrong files and options are refused before the work, saying why."""
    assert message in run("rank", "gen_a", "--reference", "real", *words, exit_code=code).stderr


def test_rank_refuses_what_its_reference_has_otherwise() -> None:
    """Another kind, other positions and other bins than the DNA's are errors that say what to do."""
    run("make", "real", "--extractor", "tiny", "--kinds", "gaussian,histogram", "-o", "real.npz")
    refused = run("rank", "gen_a", "--reference", "real.gaussian.npz", exit_code=1)
    assert "real.gaussian.npz lacks histogram, it has gaussian; add such a DNA, or the images" in refused.stderr
    refused = run("rank", "gen_a", "--reference", "real.histogram.npz", "--max-positions", 4, exit_code=1)
    assert "the reference has all, --max-positions says 4" in refused.stderr
    assert "bins differ" in run("rank", "gen_a", "--reference", "real.histogram.npz", "--bins", 9, exit_code=1).stderr


def test_rank_takes_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupt left in `--checkpoint` is gone on from, gives the same scores, and is removed in the end."""
    words = ("rank", "gen_a", "--reference", "real", "--extractor", "tiny", "--batch-size", 2)
    expected = run_json(*words)
    saved: list[Path] = []
    save = passes.Checkpoint.save

    def saving(self: passes.Checkpoint, *arguments: Any) -> None:
        save(self, *arguments)
        saved.append(self.path)

    monkeypatch.setattr(passes.Checkpoint, "save", saving)
    monkeypatch.setattr(passes.Checkpoint, "is_due", lambda *_, **__: True)
    assert run_json(*words, "--checkpoint", "kept") == expected
    assert {path.parent.name for path in saved} == {"kept"}
    assert not Path("kept").exists()
