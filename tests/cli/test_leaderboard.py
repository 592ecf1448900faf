"""`vdna-metrics leaderboard`: leaderboards made, made again, and added to."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import put_small_sources, run, run_json, small_images, write_folder
from helpers.image_files import encode

from vdna_metrics.leaderboard import load_leaderboard
from vdna_metrics.reports import rank_text
from vdna_metrics.reports.html import write_report
from vdna_metrics.reports.summary import interval_text, score_text

CHECKOUT = Path(__file__).parents[2]
OLD = str(CHECKOUT / "tests" / "files" / "schema1_leaderboard.json")
OPTIONS = ("--extractors", "tiny", "--groups", "3", "--bins", "40", "--diagnosis", "0")
QUICK = (*OPTIONS, "--metrics", "emd,nfd", "--pictures", "0", "--no-fidelity")


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test; no page is drawn, which has tests of its own."""
    put_small_sources(tmp_path, monkeypatch)
    monkeypatch.setattr(
        "vdna_metrics.cli.reports.write_report", lambda leaderboard, evidence, folder, **_: folder / "index.html"
    )


def _make(*sources: str, options: tuple[str, ...] = QUICK, output: str = "report") -> Any:
    run("leaderboard", *sources, "--reference", "real", "-o", output, *options)
    return load_leaderboard(f"{output}/leaderboard.json")


def test_a_leaderboard_is_printed_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table, JSON, CSV, Markdown and page have each generator by its name, with rank, interval and floor."""
    monkeypatch.setattr("vdna_metrics.cli.reports.write_report", write_report)
    options = ("--reference", "real", "-o", "report", *OPTIONS, "--pictures", "4", "--figures", "svg")
    command = ("leaderboard", "gen_a/", "zip=gen_b.zip", "gen_c.npz", *options)
    monkeypatch.setattr("sys.argv", ["/usr/bin/vdna-metrics", *command])
    shown = run(*command).stdout
    leaderboard = load_leaderboard("report/leaderboard.json")
    assert [entry.name for entry in leaderboard.generators] == ["gen_a", "zip", "gen_c"]
    assert [(entry.source, entry.n_images, entry.groups) for entry in leaderboard.generators][1] == ("gen_b.zip", 6, 3)
    for network, metric in leaderboard.columns:
        for score in leaderboard.column(network, metric):
            assert score.estimate is not None
            own = [line.split() for line in shown.splitlines() if score.generator in line.split()]
            line = next(line for line in own if line[-1] == score_text(score))
            assert line[0] == rank_text(score)
            assert line[3] == score_text(score, corrected=True)
            assert tuple(line[4:7:2]) == interval_text(score.estimate)
        floor = leaderboard.floor(network, metric)
        if metric == "lfd":  # fewer images than neurons
            assert floor is None
            assert "no noise floor of layer Fréchet distance" in Path("report/leaderboard.md").read_text()
        else:
            assert floor is not None
            assert f"Noise floor of plain values at 8 images: {floor.value:.3g}"[:-1] in shown
    rows = list(csv.DictReader(Path("report/leaderboard.csv").read_text().splitlines()))
    assert len(rows) == len(leaderboard.scores) == 9
    assert float(rows[0]["value"]) == leaderboard.column("tiny", "emd")[0].value
    markdown = Path("report/leaderboard.md").read_text()
    assert markdown.count("| zip | 6 |") == 3
    page = Path("report/index.html").read_text()
    assert "gen_c" in page
    assert f"Report: {Path('report/index.html').resolve()}" in shown
    assert "Numbers of images differ (zip 6" in markdown
    assert leaderboard.settings["references"] == ["real"]
    assert shlex.split(leaderboard.command) == ["vdna-metrics", *command]


def test_json_is_the_record() -> None:
    """`--json` prints what leaderboard.json holds, and notes go to the error stream."""
    result = run("leaderboard", "gen_a", "gen_c.npz", "--reference", "real", "-o", "report", *QUICK, "--json")
    written = json.loads(Path("report/leaderboard.json").read_text())
    assert written.pop("sha256")
    assert json.loads(result.stdout) == written
    assert "note: Numbers of images differ (gen_c 7, gen_a 8)" in result.stderr


def test_another_generator_or_metric_costs_only_what_is_new() -> None:
    """A second command reads the new generator alone, for network and pixels, a third the old ones for a new metric."""
    _make("gen_a")
    arguments = ("--reference", "real", "-o", "report", *OPTIONS, "--pictures", "0", "--no-fidelity", "--metrics")
    more = run("leaderboard", "gen_a", "gen_b.zip", *arguments, "emd,nfd").stderr
    assert [line.split(": ")[1] for line in more.splitlines() if "images/s" in line] == ["gen_b"]
    again = run("leaderboard", "gen_a", "gen_b.zip", *arguments, "emd,nfd").stderr
    assert "images/s" not in again
    before = set(Path("report/dnas").rglob("*.npz"))
    run("leaderboard", "gen_a", "gen_b.zip", *arguments, "emd,nfd,lfd")
    added = set(Path("report/dnas").rglob("*.npz")) - before
    assert {path.name.split("-")[0] for path in added} == {"layer_gaussian"}


def test_group_dnas_serve_on_either_side() -> None:
    """Folders of the cache, single DNA files and images may stand in one leaderboard."""
    whole = _make("gen_a", "gen_c.npz")
    folders = {path.name.split("-")[0]: path for path in Path("report/dnas").iterdir() if path.is_dir()}
    run("make", "gen_c.npz", "-o", "c", "--kinds", "histogram,gaussian", "--extractor", "tiny", "--bins", "40")
    options = ("--reference", folders["real"], "-o", "other", "--groups", "3", "--metrics", "emd,nfd")
    run("leaderboard", f"a={folders['gen_a']}", "gen_c.npz", *options)
    leaderboard = load_leaderboard("other/leaderboard.json")
    for name, other in (("a", "gen_a"), ("gen_c", "gen_c")):
        for metric in ("emd", "nfd"):
            assert leaderboard.score(name, "tiny", metric).estimate == whole.score(other, "tiny", metric).estimate
    refused = run("leaderboard", "c.histogram.npz", *options, exit_code=1).stderr
    assert "c.histogram has no gaussian DNA of tiny" in refused


# --------------------------------------------------------------------------------------------------------------- replay
def test_a_replay_gives_the_same_numbers() -> None:
    """From the record alone, every number comes again, without the cache."""
    leaderboard = _make("gen_a", "gen_b.zip", options=(*OPTIONS, "--pictures", "3"))
    shutil.rmtree("report/dnas")
    result = run("leaderboard", "--replay", "report/leaderboard.json")
    assert result.stdout == "Every number is within 0.001 of the recorded one.\n"
    found = json.loads(run("leaderboard", "--replay", "report/leaderboard.json", "--tolerance", "0", "--json").stdout)
    assert found == {"tolerance": 0.0, "intervals": True, "differences": [], "versions": {}}
    assert load_leaderboard("report/leaderboard.json") == leaderboard
    assert not Path("report/dnas").exists()


def test_a_replay_finds_a_changed_image() -> None:
    """An image that was exchanged or removed is named with its set before any work; so is a network."""
    _make("gen_a", "gen_b.zip")
    image = Path("gen_a/inner/003.png")
    before = image.read_bytes()
    image.write_bytes(encode(small_images(1, 77)[0]))
    refused = run("leaderboard", "--replay", "report/leaderboard.json", exit_code=1)
    assert "gen_a changed: its images had the manifest " in refused.stderr
    assert "images/s" not in refused.stderr
    image.unlink()
    refused = run("leaderboard", "--replay", "report/leaderboard.json", exit_code=1)
    assert "gen_a changed: 8 images when the leaderboard was made, now 7" in refused.stderr
    image.write_bytes(before)
    recorded = json.loads(Path("report/leaderboard.json").read_text())
    del recorded["sha256"]
    recorded["networks"][0]["fingerprint"] = "0" * 64
    Path("report/leaderboard.json").write_text(json.dumps(recorded))
    refused = run("leaderboard", "--replay", "report/leaderboard.json", exit_code=1)
    assert "network tiny changed: fingerprint 000000000000 when the leaderboard was made, now " in refused.stderr


def test_a_replay_shows_numbers_that_differ() -> None:
    """A number that comes out otherwise is a row of a table and exit code 1; a version that changed is said."""
    _make("gen_a", "gen_b.zip")
    recorded = json.loads(Path("report/leaderboard.json").read_text())
    del recorded["sha256"]
    recorded["scores"][0]["value"] *= 1.01
    recorded["versions"]["torch"] = "1.0"
    Path("report/leaderboard.json").write_text(json.dumps(recorded))
    result = run("leaderboard", "--replay", "report/leaderboard.json", exit_code=1)
    assert "1 numbers differ by more than 0.001" in result.stdout
    assert f"{recorded['scores'][0]['generator']}, emd of tiny" in result.stdout
    assert "torch: 1.0 then, " in result.stdout
    assert "within 0.02" in run("leaderboard", "--replay", "report/leaderboard.json", "--tolerance", "0.02").stdout


def test_a_replay_of_an_older_record_compares_no_intervals() -> None:
    """Of a record before version 0.2 values and corrected values are compared, and it is said."""
    _make("gen_a", "gen_b.zip")
    recorded = json.loads(Path("report/leaderboard.json").read_text())
    del recorded["sha256"]
    recorded["writer"] = "vdna_metrics 0.1.0"
    recorded["scores"][0]["estimate"]["high"] *= 2
    Path("report/leaderboard.json").write_text(json.dumps(recorded))
    said = run("leaderboard", "--replay", "report/leaderboard.json").stdout
    assert said.startswith("Every number is within 0.001 of the recorded one.")
    assert "The record is by vdna_metrics 0.1.0: intervals changed in 0.2, so only values and corrected values" in said


# --------------------------------------------------------------------------------------------------------------- append
def test_a_leaderboard_is_added_to() -> None:
    """A generator is added in the leaderboard's settings: the leaderboard is then as if all had been given at once."""
    whole = _make("gen_a", "gen_b.zip", output="whole")
    _make("gen_a")
    run("leaderboard", "gen_b.zip", "--append", "report/leaderboard.json")
    leaderboard = load_leaderboard("report/leaderboard.json")
    assert leaderboard.scores == whole.scores
    assert leaderboard.pairs == whole.pairs
    shutil.move("gen_a", "elsewhere")
    log = run("leaderboard", "gen_c.npz", "--append", "report/leaderboard.json", "--groups", "3").stderr
    assert "gen_a is not there: gen_a is scored by the DNAs that were kept of it" in log
    again = load_leaderboard("report/leaderboard.json")
    assert [entry.name for entry in again.generators] == ["gen_a", "gen_b", "gen_c"]
    assert again.score("gen_a", "tiny", "emd").estimate == leaderboard.score("gen_a", "tiny", "emd").estimate
    assert again.generators[0].manifest == leaderboard.generators[0].manifest
    differences = [
        next(pair.difference for pair in each.pairs if {pair.a, pair.b} == {"gen_a", "gen_b"})
        for each in (leaderboard, again)
    ]
    assert differences[0] == differences[1]


def test_images_that_depend_on_each_other_are_clusters(tmp_path: Path) -> None:
    """`--cluster-by` keeps clusters whole: table and record have their number, replays and additions group alike."""
    for place in range(12):
        shutil.copy(f"real/{place:03}.png", f"real/clip{place // 2}_{place:03}.png")
        Path(f"real/{place:03}.png").unlink()
    said = run("leaderboard", "gen_a", "--reference", "real", "-o", "plain", *QUICK)
    assert (
        "note: real: by their names its images are 6 clusters of about 2, as clip0_000.png and clip0_001" in said.stderr
    )
    assert "give --cluster-by '^(.*clip[ _-]?\\d+)'" in " ".join(said.stderr.split())
    by = "^(.*clip[ _-]?\\d+)"
    said = run("leaderboard", "gen_a", "--reference", "real", "-o", "report", *QUICK, "--cluster-by", by)
    assert "from 12 images of real in 6 clusters" in " ".join(said.stdout.split())
    assert "gen_a: 8 of its 8 images are in no cluster" in " ".join(said.stderr.split())
    assert "by their names" not in said.stderr
    made = load_leaderboard("report/leaderboard.json")
    assert made.settings["cluster_by"] == by
    assert (made.reference.clusters, made.reference.effective_clusters, made.generators[0].clusters) == (6, 6, 0)
    refused = run("leaderboard", "--replay", "report/leaderboard.json", exit_code=1)
    assert "the regular expression '^(.*clip[ _-]?\\\\d+)' for clusters, which may take for ever" in refused.stderr
    run("leaderboard", "--replay", "report/leaderboard.json", "--tolerance", "0", "--trust")
    run("leaderboard", "gen_c.npz", "--append", "report/leaderboard.json", "--cluster-by", by, "--trust")
    refused = run(
        "leaderboard", "gen_b.zip", "--append", "report/leaderboard.json", "--cluster-by", "folder", exit_code=1
    )
    assert "cluster by differ: the leaderboard has" in refused.stderr
    refused = run(
        "leaderboard", "gen_a", "--reference", "real", "-o", "x", *QUICK, "--cluster-by", "nothing", exit_code=1
    )
    assert "no image's name matches 'nothing'" in refused.stderr


def test_what_does_not_go_with_a_leaderboard_is_refused() -> None:
    """Other settings, networks, references and names are shown beside the leaderboard's, which stays as it is."""
    _make("gen_a")
    before = Path("report/leaderboard.json").read_bytes()
    append = ("--append", "report/leaderboard.json")
    for options, message in (
        (("--groups", "4"), "groups differ: the leaderboard has 3, got 4"),
        (("--metrics", "emd"), "metrics differ: the leaderboard has emd, nfd, got emd"),
        (("--extractors", "other"), "extractors differ: the leaderboard has tiny, got other"),
        (("--reference", "gen_c.npz"), "real changed: 12 images when the leaderboard was made, now 7"),
    ):
        assert message in run("leaderboard", "gen_b.zip", *append, *options, exit_code=1).stderr
    assert "given twice: gen_a" in run("leaderboard", "gen_a", *append, exit_code=1).stderr
    run("make", "gen_c.npz", "-o", "c", "--kinds", "gaussian", "--extractor", "other")
    assert "c has no histogram and gaussian DNA of tiny" in run("leaderboard", "c.npz", *append, exit_code=1).stderr
    write_folder(Path("same/real"), small_images(12, 5))
    refused = run("leaderboard", "gen_b.zip", *append, "--reference", "same/real", exit_code=1).stderr
    assert "real changed: its images had the manifest" in refused
    assert Path("report/leaderboard.json").read_bytes() == before


# ------------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--reference", "real", "-o", "x"], 2, "no generators"),
        (["gen_a", "-o", "x"], 2, "Missing option '--reference'"),
        (["gen_a", "--reference", "real"], 2, "Missing option '-o'"),
        (["gen_a", "--replay", "b.json"], 2, "no sources, --reference, --scores or --append"),
        (["gen_a", "--reference", "real", "-o", "x", "--tolerance", "0.1"], 2, "--tolerance is for --replay"),
        (["gen_a", "--reference", "real", "-o", "x", "--metrics", "fid", "--extractors", "tiny"], 2, "own network"),
        (["gen_a", "--reference", "real", "-o", "x", "--fid-weights", "w"], 2, "--fid-weights is for fid and sfid"),
        (["gen_a", "--reference", "real", "-o", "x", "--metrics", "sfid", "--fid-weights", "w"], 1, "no such file: w"),
        (
            ["gen_a", "--reference", "real", "-o", "x", "--metrics", "clip_fd", "--weights", "clip_vit_b32=w"],
            1,
            "no such file: w",
        ),
        (
            ["gen_a", "--reference", "real", "-o", "x", "--extractors", "tiny,other", "--layers", "first"],
            2,
            "got tiny, other",
        ),
        (["gen_a", "--reference", "real", "-o", "x", "--extractors", "tiny,other", "--weights", "w"], 2, "tiny=FILE"),
        (["gen_a", "--reference", "real", "-o", "real/000.png", *OPTIONS], 1, "real/000.png is a file"),
        (["nowhere", "--reference", "real", "-o", "x", *OPTIONS], 1, "no file, folder or reference 'nowhere'"),
        (["gen_a", "gen_a", "--reference", "real", "-o", "x", *OPTIONS], 1, "given twice: gen_a"),
        (["gen_a", "--reference", "real", "-o", "x", *OPTIONS, "--class-folders"], 1, "real has no class folders"),
        (["--replay", OLD], 1, f"{OLD}: the leaderboard does not record how it was made, so make it again from its"),
        (["gen_a", "--append", OLD], 1, f"{OLD}: the leaderboard does not record how it was made"),
        (["--replay", "gen_c.npz"], 1, "gen_c.npz: expected a leaderboard.json: expected JSON"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], exit_code: int, message: str) -> None:
    """Each is one error, with what to do."""
    result = run("leaderboard", *arguments, exit_code=exit_code)
    assert message in result.stderr
    assert result.stdout == ""


def test_the_network_is_that_of_the_dnas_there_are() -> None:
    """Without --extractors the network is the reference's, else that of a generator's DNA, as of `score`."""
    run("calibrate", "real", "gen_a", "-o", "ranges", "--extractor", "tiny")
    made = ("--extractor", "tiny", "--ranges", "ranges.npz", "--bins", "40")
    run("make", "gen_a", "-o", "a", *made)
    words = ("--reference", "real", "--ranges", "ranges.npz", "--bins", "40")
    others = ("--metrics", "emd", "--groups", "3", "--pictures", "0", "--no-fidelity", "-o", "report")
    run("leaderboard", "a.npz", *words, *others)
    leaderboard = load_leaderboard("report/leaderboard.json")
    assert [network.name for network in leaderboard.networks] == ["tiny"]
    (scored,) = run_json("score", "a.npz", *words)["results"]
    assert leaderboard.scores[0].value == pytest.approx(scored["emd"], rel=1e-12)


def test_auto_ranges_are_of_every_network() -> None:
    """A note of each says that histograms find their own, as JSON and CSV do; a file of ranges is of one network."""
    words = ("leaderboard", "gen_a", "--reference", "real", "--extractors", "tiny,other", "--metrics", "emd")
    others = ("--groups", "3", "--pictures", "0", "--no-fidelity", "-o", "report")
    said = run(*words, *others, "--ranges", "auto").stderr
    for network in ("tiny", "other"):
        assert said.count(f"note: {network}: histograms find their own ranges; their bins move emd (bins) by less") == 1
    printed = json.loads(Path("report/leaderboard.json").read_text())
    assert [network["ranges"] for network in printed["networks"]] == ["auto", "auto"]
    rows = list(csv.DictReader(Path("report/leaderboard.csv").read_text().splitlines()))
    assert [float(row["bin_width"]) for row in rows] == [score["bin_width"] for score in printed["scores"]]
    assert "got tiny, other" in run(*words, *others, "--ranges", "ranges.npz", exit_code=2).stderr


def test_drawn_worlds_have_names() -> None:
    """A world is named by itself and its number, not by the number alone."""
    leaderboard = _make("procedural:white_noise/6", "procedural:white_noise/7")
    assert [entry.name for entry in leaderboard.generators] == ["white_noise-6", "white_noise-7"]


# ------------------------------------------------------------------------------------------------- in its own process
def _start(*arguments: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "vdna_metrics", "leaderboard", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_a_killed_leaderboard_goes_on() -> None:
    """Killed in its second generator, the same command goes on there: what was done is not done again."""
    np.save("many.npy", np.zeros((80, 64, 64, 3), np.uint8))
    shared = ("--reference", "bsds500/trainval@vdna_tiny#histogram-1000", "--metrics", "emd", "-o", "report")
    arguments = ("gen_a", "many.npy", *shared, "--pictures", "0", "--no-fidelity", "--groups", "4", "--workers", "0")
    process = _start(*arguments, "--batch-size", "2")
    while not list(Path("report").glob("dnas/gen_a-*/*-4-of-4.npz")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    assert not Path("report/leaderboard.json").exists()
    again = _start(*arguments, "--batch-size", "50")
    output, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert b"many: 80 images" in errors
    assert b"vdna_tiny: gen_a: 8 images" not in errors
    assert b"Report: " in output
