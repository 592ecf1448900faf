"""`vdna-metrics calibrate` and `vdna-metrics coverage`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import process_environment, put_small_sources, run, run_json, small_images, write_folder
from PIL import Image

from vdna_metrics import (
    ActivationRanges,
    Reading,
    build_dnas,
    calibrate,
    coverage,
    create_extractor,
    load_ranges,
    load_vdna,
    quantile_ranges,
)
from vdna_metrics.build.passes import Checkpoint, Seen
from vdna_metrics.cli.calibration import FINE_BINS

SOURCES = ("real", "gen_a", "gen_b.zip")
IMAGES = np.concatenate([small_images(12, 0), small_images(8, 1), small_images(6, 2)])
ONE_BY_ONE = Reading(batch_size=1)  # kernels for other batch sizes round otherwise


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and small networks; `same/real` has other images under the names of `real`."""
    put_small_sources(tmp_path, monkeypatch)
    write_folder(tmp_path / "same" / "real", small_images(12, 9) // 3)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of four images and three files that are none."""
    write_folder(tmp_path / "bad", small_images(4, 4))
    (tmp_path / "bad" / "empty.jpg").write_bytes(b"")
    (tmp_path / "bad" / "text.png").write_bytes(b"hello")
    (tmp_path / "bad" / "cut.png").write_bytes((tmp_path / "bad" / "000.png").read_bytes()[:300])
    return tmp_path / "bad"


def _calibrate(*words: object, output: str = "ranges", **options: Any) -> Any:
    return run("calibrate", *words, "-o", output, "--extractor", "tiny", "--batch-size", 1, **options)


# -------------------------------------------------------------------------------------------------------- several sets
@pytest.mark.parametrize("widen", ["margin", "vdna", "none"])
def test_ranges_over_several_sets_are_those_of_all_their_images(widen: Any) -> None:
    """The minimum of minima and the maximum of maxima; each set is known with its number and hash."""
    printed = json.loads(_calibrate(*SOURCES, "--widen", widen, "--json").stdout)
    ranges = load_ranges("ranges.npz")
    assert ranges.equals(calibrate(IMAGES, create_extractor("tiny"), widen=widen, reading=ONE_BY_ONE))
    assert (printed["n_images"], printed["widen"], printed["levels"]) == (26, widen, None)
    parts = [calibrate(source, create_extractor("tiny"), reading=ONE_BY_ONE) for source in SOURCES]
    assert printed["sets"] == [part.sets[0].to_json() for part in parts]
    assert [entry["n_images"] for entry in printed["sets"]] == [12, 8, 6]


def test_calibrate_covers_all_its_sources(bad: Path) -> None:
    """Ranges over several sources are those of all their images; skipped ones are named."""
    arguments = ("-o", "ranges", "--extractor", "tiny", "--skip-bad", "--batch-size", "1", "--json")
    result = run("calibrate", "real", "bad", *arguments)
    printed = json.loads(result.stdout)
    images = np.concatenate([small_images(12, 0), small_images(4, 4)])
    whole = calibrate(images, create_extractor("tiny"), reading=Reading(batch_size=1))
    assert load_ranges("ranges.npz").equals(whole)
    assert (printed["file"], printed["n_images"]) == ("ranges.npz", 16)
    assert [len(part["skipped"]) for part in printed["sets"]] == [0, 3]
    assert (printed["neurons"], printed["dead"], printed["widen"]) == (11, 0, "margin")
    assert "skipped: bad: empty.jpg: the file is empty" in result.stderr
    shown = run("calibrate", "real", "-o", "ranges", "--extractor", "tiny", "--layers", "second", "--widen", "none")
    assert shown.stdout == "ranges.npz: activation ranges of 5 neurons of tiny over 12 images, 0 neurons dead\n"
    assert load_ranges("ranges.npz").widen == "none"


def test_skipped_images_are_named(tmp_path: Path) -> None:
    """Images that cannot be read are said with their set and reason, and kept in the file."""
    (tmp_path / "gen_a" / "inner" / "cut.png").write_bytes(b"")
    (tmp_path / "real" / "zzz.jpg").write_bytes(b"hello")
    result = _calibrate(*SOURCES, "--skip-bad")
    assert "skipped: real: zzz.jpg: not a readable" in result.stderr
    assert "skipped: gen_a: inner/cut.png: the file is empty" in result.stderr
    ranges = load_ranges("ranges.npz")
    assert [[name for name, _ in part.skipped] for part in ranges.sets] == [["zzz.jpg"], ["inner/cut.png"], []]
    assert ranges.n_images == 26


def test_parts_of_several_sets_merge_to_the_whole() -> None:
    """A part for which a small set has no images is made of the others; merged parts are the whole."""
    for i in range(1, 9):  # of 8 parts the last two have none of gen_b.zip
        _calibrate(*SOURCES, "--shard", f"{i}/8", output=f"part{i}")
    assert load_ranges("part7.npz").sources == ("real", "gen_a")
    run("merge", *(f"part{i}.npz" for i in range(1, 9)), "-o", "merged")
    _calibrate(*SOURCES, output="whole")
    merged, whole = load_ranges("merged.npz"), load_ranges("whole.npz")
    assert merged.equals(whole)
    assert merged.n_images == whole.n_images == 26
    assert "no images in part 9 of 9" in _calibrate("gen_a", "--shard", "9/9", exit_code=1).stderr


# ---------------------------------------------------------------------------------------------------------- interrupts
@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Stop as Ctrl-C does after so many images of all sets, and count images that are run."""

    def arrange(images: int) -> list[int]:
        seen: list[int] = []
        stop = nullcontext(lambda: bool(seen.append(1)) or len(seen) == images)
        monkeypatch.setattr("vdna_metrics.cli.inputs._stopping", lambda checkpoint: stop)
        return seen

    return arrange


@pytest.mark.parametrize("quantiles", [(), ("--quantiles", "0.05,0.95")], ids=["extremes", "quantiles"])
@pytest.mark.parametrize("images", [5, 12, 14, 20, 25, 37, 38, 60, 63])
def test_an_interrupt_anywhere_loses_nothing(
    images: int, quantiles: tuple[str, ...], stop_after: Callable[[int], list[int]]
) -> None:
    """Stopped within a set, between two or in the second pass, the same command reads the rest, to the same bytes."""
    sources = ("real", "gen_a", "same/real", "gen_b.zip")  # 38 images, in sets of 12, 8, 12 and 6
    seen = stop_after(0)
    _calibrate(*sources, *quantiles, output="whole")
    total = len(seen)
    assert total == (76 if quantiles else 38)
    if images > total:
        return
    stop_after(images)
    stopped = _calibrate(*sources, *quantiles, exit_code=130)
    assert "interrupted" in stopped.stderr
    assert not Path("ranges.npz").exists()
    seen = stop_after(0)
    _calibrate(*sources, *quantiles)
    assert len(seen) == total - images
    assert Path("ranges.npz").read_bytes() == Path("whole.npz").read_bytes()
    assert not Path("ranges.checkpoint").exists()


def test_a_kill_in_the_third_set_loses_what_was_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in its third set, a calibration goes on there from what was last kept; done sets are not read again."""
    sources = ("real", "same/real", "gen_a")
    _calibrate(*sources, output="whole")
    runs: list[int] = []
    save = Seen.save

    def counted(self: Seen, *arguments: Any) -> None:
        runs.append(self.count)
        save(self, *arguments)
        if len(runs) == 5:
            raise MemoryError("killed")

    monkeypatch.setattr(Checkpoint, "is_due", lambda self, every=60.0: every == 0 or len(runs) >= 2)
    monkeypatch.setattr(Seen, "save", counted)
    assert "killed" in _calibrate(*sources, exit_code=1).stderr
    assert runs == [12, 12, 1, 2, 3]  # at the end of each of two sets, then image by image
    runs.extend([0] * 9)
    monkeypatch.setattr(Seen, "save", lambda self, *arguments: runs.append(self.count))
    _calibrate(*sources)
    assert runs[14:] == [12, 12, 4, 5, 6, 7, 8, 8]  # two done sets, and the images of the third that were left
    assert Path("ranges.npz").read_bytes() == Path("whole.npz").read_bytes()


# ----------------------------------------------------------------------------------------------------------- quantiles
def _quantiles_by_hand() -> ActivationRanges:
    network = create_extractor("tiny")
    extremes = calibrate(IMAGES, network, reading=ONE_BY_ONE)
    dna = build_dnas(IMAGES, network, bins=FINE_BINS, ranges=extremes, reading=ONE_BY_ONE)["histogram"]
    return quantile_ranges(dna, 0.01, 0.99)


def test_quantiles_are_those_of_all_images() -> None:
    """`--quantiles` are the quantiles of the union of all sets, with their levels and what is known of each set."""
    printed = json.loads(_calibrate(*SOURCES, "--quantiles", "0.01,0.99", "--json").stdout)
    ranges = load_ranges("ranges.npz")
    assert ranges.equals(_quantiles_by_hand())
    assert (ranges.widen, ranges.levels, ranges.n_images) == ("quantile", (0.01, 0.99), 26)
    assert (printed["widen"], printed["levels"]) == ("quantile", [0.01, 0.99])
    assert [(part.name, part.n_images) for part in ranges.sets] == [("real", 12), ("gen_a", 8), ("gen_b.zip", 6)]
    assert all(part.manifest for part in ranges.sets)
    run("make", "real", "-o", "dna", "--extractor", "tiny", "--ranges", "ranges.npz")
    assert load_vdna("dna.npz").distribution.ranges.equals(ranges)  # type: ignore[attr-defined]
    assert "quantile ranges cannot be merged" in run("merge", *["ranges.npz"] * 2, "-o", "x", exit_code=1).stderr


def test_quantiles_of_parts_go_by_dnas() -> None:
    """What `--quantiles --shard` is told to do instead gives the very same ranges."""
    refused = _calibrate(*SOURCES, "--quantiles", "0.01,0.99", "--shard", "1/2", exit_code=2).stderr
    assert f"--bins {FINE_BINS}" in " ".join(refused.split())
    for i in (1, 2):
        _calibrate(*SOURCES, "--shard", f"{i}/2", output=f"extremes{i}")
    run("merge", "extremes1.npz", "extremes2.npz", "-o", "extremes")
    options = ("--extractor", "tiny", "--batch-size", 1, "--ranges", "extremes.npz", "--bins", FINE_BINS)
    fine = [f"fine{j}{i}.npz" for j in range(3) for i in (1, 2)]
    for j, source in enumerate(SOURCES):
        for i in (1, 2):
            run("make", source, "-o", f"fine{j}{i}", "--shard", f"{i}/2", *options)
    shown = run("calibrate", *fine, "--quantiles", "0.01,0.99", "-o", "ranges").stdout
    assert shown == "ranges.npz: activation ranges of 11 neurons of tiny over 26 images, 0 neurons dead\n"
    assert load_ranges("ranges.npz").equals(_quantiles_by_hand())


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["real", "--quantiles", "0.1,0.9", "--widen", "margin"], 2, "--widen is for extremes"),
        (["real", "--quantiles", "0.9,0.1"], 2, "'0.9,0.1': expected two levels from 0 to 1, for example 0.0001,0.99"),
        (["real", "--quantiles", "0.5"], 2, "'0.5': expected two levels"),
        (["real", "--quantiles", "a,b"], 2, "'a,b': expected two levels"),
        (["dna.npz", "real", "--quantiles", "0.1,0.9"], 1, "over images or over DNAs, not both: dna.npz is a DNA"),
        (["dna.npz", "--quantiles", "0.1,0.9", "--extractor", "tiny"], 2, "--extractor and --shard are for images"),
        (["dna.npz", "--quantiles", "0.1,0.9", "--shard", "1/2"], 2, "--extractor and --shard are for images"),
        (["ranges.npz", "--quantiles", "0.1,0.9"], 1, "holds 'ranges', and no images"),
        (["dna.npz"], 1, "expected histograms that found their own ranges (ranges='auto'), got some in"),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated_is_refused(words: list[str], exit_code: int, message: str) -> None:
    """Two rules, impossible levels, mixtures of DNAs and images, and options of the other are refused, saying why."""
    _calibrate("real")
    run("make", "real", "-o", "dna", "--extractor", "tiny", "--ranges", "ranges.npz")
    assert message in " ".join(run("calibrate", *words, "-o", "x", exit_code=exit_code).stderr.split())
    assert not Path("x.npz").exists()


# ------------------------------------------------------------------------------------------------------------ coverage
def test_coverage_prints_what_the_library_finds() -> None:
    """Of images, against given ranges: layers, worst neurons and the verdict are those of `coverage`, and are drawn."""
    _calibrate("real", "--widen", "none")
    printed = run_json("coverage", "gen_a", "--extractor", "tiny", "--ranges", "ranges.npz", "-o", "x.png")
    dna = build_dnas("gen_a", create_extractor("tiny"), ranges=load_ranges("ranges.npz"))["histogram"]
    found = coverage(dna)
    assert printed == {"extractor": "tiny", **json.loads(json.dumps(found.to_json())), "picture": "x.png"}
    with Image.open("x.png") as picture:
        assert picture.size[0] > 1000
    result = run("coverage", "gen_a", "--extractor", "tiny", "--ranges", "ranges.npz")
    lines = result.stdout.splitlines()
    assert lines[0] == "Coverage of 8 images of gen_a, seen by tiny"
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:6]}
    assert float(rows["first"][0]) == pytest.approx(100 * found.layers["first"].outside, abs=1e-3)
    assert float(rows["second"][3]) == pytest.approx(100 * found.layers["second"].used, rel=1e-3)  # type: ignore[operator]
    worst = found.worst()[0]
    assert any(line.split()[:2] == [worst.layer, str(worst.neuron)] for line in lines)
    assert lines[-1].startswith("These ranges are too narrow for these images")


def test_coverage_of_a_dna_is_by_its_own_ranges() -> None:
    """A DNA is judged without its images, gives what they give, and refuses ranges that it was not counted in."""
    _calibrate("real", "--widen", "none")
    _calibrate("real", "--widen", "margin", output="other")
    run("make", "gen_a", "-o", "dna", "--extractor", "tiny", "--ranges", "ranges.npz")
    of_images = run_json("coverage", "gen_a", "--extractor", "tiny", "--ranges", "ranges.npz")
    assert run_json("coverage", "dna.npz") == of_images
    assert run_json("coverage", "dna.npz", "--ranges", "ranges.npz", "--extractor", "tiny") == of_images
    one = run_json("coverage", "dna.npz", "--layers", "second")
    assert one["layers"] == {"second": of_images["layers"]["second"]}
    error = run("coverage", "dna.npz", "--ranges", "other.npz", exit_code=1).stderr
    assert "--ranges are not those that the DNA was counted in" in error
    error = run("coverage", "dna.npz", "--extractor", "other", exit_code=1).stderr
    assert "the DNA is of tiny; leave --extractor out" in error


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["real", "--extractor", "other", "--ranges", "ranges.npz"], 1, "were not made with this extractor"),
        (["real", "--extractor", "tiny", "-o", "x.txt"], 2, "a picture ends in .png, .pdf, .svg"),
        (["real", "--extractor", "tiny", "-o", "nowhere/x.png"], 1, "folder nowhere does not exist"),
        (["gaussian.npz"], 1, "this needs a histogram DNA"),
    ],
)
def test_coverage_refuses(words: list[str], exit_code: int, message: str) -> None:
    """Ranges of another network, files that are no picture, and other kinds of DNA are errors."""
    _calibrate("real")
    run("make", "real", "-o", "gaussian", "--kinds", "gaussian", "--extractor", "tiny")
    assert message in run("coverage", *words, exit_code=exit_code).stderr


# ------------------------------------------------------------------------------------------------- in its own process
@pytest.mark.slow
def test_ranks_calibrate_over_several_sets_as_one_process() -> None:
    """Under torchrun the file over several sets, one with fewer batches than ranks, is that of one process."""
    words = ("calibrate", "real", "same/real", "gen_b.zip", "--extractor", "seeded_resnet18", "--layers", "layer1_0")
    words += ("--workers", "0", "--batch-size", "4", "--quantiles", "0.01,0.99")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "vdna_metrics"]
    options: dict[str, Any] = {"env": process_environment(), "capture_output": True, "timeout": 300}
    alone = subprocess.run([sys.executable, "-m", "vdna_metrics", *words, "-o", "one"], **options)
    ranks = subprocess.run([*launch, *words, "-o", "two"], **options)
    assert ranks.returncode == 0, ranks.stderr.decode()
    assert alone.stdout.replace(b"one.npz", b"two.npz") == ranks.stdout
    assert Path("one.npz").read_bytes() == Path("two.npz").read_bytes()
    assert torch.equal(load_ranges("one.npz").low, load_ranges("two.npz").low)


# --------------------------------------------------------------------------------------------------- auto histograms
def test_ranges_are_read_off_auto_histograms() -> None:
    """As calibration on their images gives them, by rule and by quantile, of several DNAs too; of given ranges not."""
    for place, source in enumerate(SOURCES):
        run("make", source, "-o", f"{place}", "--extractor", "tiny", "--ranges", "auto", "--batch-size", "1")
    dnas = [f"{place}.npz" for place in range(len(SOURCES))]
    for widen in ("margin", "none"):
        _calibrate(*SOURCES, "--widen", widen, "--batch-size", "1")
        printed = run_json("calibrate", *dnas, "-o", "read", "--widen", widen)
        assert load_ranges("read.npz").equals(load_ranges("ranges.npz"))
        assert (printed["extractor"], printed["n_images"], printed["widen"]) == ("tiny", 26, widen)
    run("calibrate", "0.npz", "-o", "quantiles", "--quantiles", "0.1,0.9")
    assert load_ranges("quantiles.npz").levels == (0.1, 0.9)
    run("make", "real", "-o", "given", "--extractor", "tiny", "--ranges", "ranges.npz")
    assert (
        "expected histograms that found their own ranges"
        in run("calibrate", "given.npz", "-o", "x", exit_code=1).stderr
    )
    assert "0.npz is a DNA, real not" in run("calibrate", "0.npz", "real", "-o", "x", exit_code=1).stderr


def test_nothing_lies_outside_of_auto_histograms() -> None:
    """Coverage says so, of images and of their DNA; other ranges are refused for the DNA."""
    run("make", "real", "-o", "dna", "--extractor", "tiny", "--ranges", "auto")
    printed = run_json("coverage", "dna.npz")
    assert printed == run_json("coverage", "real", "--extractor", "tiny")
    assert (printed["ranges"], printed["verdict"]) == ("auto", "fit")
    assert {layer["outside"] for layer in printed["layers"].values()} == {0.0}
    said = "These histograms find their own ranges, so nothing lies outside."
    assert run("coverage", "dna.npz", "--ranges", "auto").stdout.splitlines()[-1] == said
    _calibrate("real")
    assert "was counted in (auto)" in run("coverage", "dna.npz", "--ranges", "ranges.npz", exit_code=1).stderr
