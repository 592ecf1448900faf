"""The command line, as a user meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from helpers.commands import put_small_sources, run, run_json, small_images, stopped_at_work, write_folder

from vdna_metrics import (
    Reading,
    build_dnas,
    calibrate,
    compare,
    create_extractor,
    load_ranges,
    load_vdna,
    resolve,
)
from vdna_metrics.cli.screen import print_table
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.references.store import find_ranges

KINDS = ("histogram", "gaussian", "layer_gaussian")
COMMANDS = (
    "demo", "score", "leaderboard", "make", "compare", "merge", "calibrate", "coverage", "select", "desensitise",
    "rank", "references", "extractors",
)  # fmt: skip
REFERENCES = ("list", "show", "verify", "build", "import", "export", "publish")
CHECKOUT = Path(__file__).parents[1]

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of four images and three files that are none."""
    write_folder(tmp_path / "bad", small_images(4, 4))
    (tmp_path / "bad" / "empty.jpg").write_bytes(b"")
    (tmp_path / "bad" / "text.png").write_bytes(b"hello")
    (tmp_path / "bad" / "cut.png").write_bytes((tmp_path / "bad" / "000.png").read_bytes()[:300])
    return tmp_path / "bad"


def _dnas(source: str, ranges: Any) -> Any:
    return build_dnas(source, create_extractor("tiny"), KINDS, ranges=ranges)


# ------------------------------------------------------------------------------------------------------------ score
def test_score_prints_the_distances_that_the_library_gives() -> None:
    """Folders, zips and arrays are scored by each metric as `compare` does, with ranges calibrated on the real set."""
    printed = run_json(
        "score", "gen_a", "gen_b.zip", "gen_c.npz", "--reference", "real", "--extractor", "tiny",
        "--metrics", "emd,nfd,lfd", "--by", "layer",
    )  # fmt: skip
    ranges = calibrate("real", create_extractor("tiny"))
    real = _dnas("real", ranges)
    assert [result["images"] for result in printed["results"]] == ["gen_a", "gen_b.zip", "gen_c.npz"]
    assert [result["n_images"] for result in printed["results"]] == [8, 6, 7]
    for result in printed["results"]:
        fake = _dnas(result["images"], ranges)
        for metric, kind, distance in zip(
            ("emd", "nfd", "lfd"), KINDS, (compare.emd, compare.neuron_frechet, compare.layer_frechet), strict=True
        ):
            assert result[metric] == float(distance(real[kind], fake[kind]))
            layers = distance(real[kind], fake[kind], reduction="layer")
            assert result[f"{metric}_by_layer"] == {layer: float(value) for layer, value in layers.items()}
    assert printed["extractor"] == "tiny"
    assert [(dna["kind"], dna["n_images"]) for dna in printed["reference"]] == [(kind, 12) for kind in KINDS]


def test_score_shows_a_row_a_source_and_a_table_a_metric() -> None:
    """The table has each source with its number of images and its distances, `--by layer` one table a metric."""
    arguments = ("score", "gen_a", "gen_b.zip", "--reference", "real", "--extractor", "tiny", "--metrics", "emd,nfd")
    values = {result["images"]: result for result in run_json(*arguments)["results"]}
    shown = run(*arguments, "--by", "layer").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert shown.startswith("Distance from 12 images of real, seen by tiny\n")
    assert ["images", "n", "emd", "nfd"] in lines
    for name, n in (("gen_a", "8"), ("gen_b.zip", "6")):
        assert [name, n, f"{values[name]['emd']:#.4g}", f"{values[name]['nfd']:#.4g}"] in lines
    assert "emd by layer" in shown
    assert "nfd by layer" in shown
    assert [line[0] for line in lines if line and line[0] in ("first", "second")] == ["first", "second"] * 2


def test_a_reference_may_be_images_or_its_dnas() -> None:
    """DNA files made of the real images give the same distances as the images, and bring extractor, bins and ranges."""
    run("make", "real", "-o", "real", "--kinds", "histogram,gaussian", "--extractor", "tiny", "--bins", "50")
    from_images = run_json(
        "score", "gen_a", "--reference", "real", "--extractor", "tiny", "--bins", "50", "--metrics", "emd,nfd"
    )
    from_files = run_json(
        "score", "gen_a", "--reference", "real.histogram.npz", "--reference", "real.gaussian.npz",
        "--metrics", "emd,nfd",
    )  # fmt: skip
    mixed = run_json(
        "score", "gen_a", "--reference", "real.gaussian.npz", "--reference", "real", "--metrics", "nfd,lfd"
    )
    assert from_files["results"] == from_images["results"]
    assert mixed["results"][0]["nfd"] == from_images["results"][0]["nfd"]
    assert mixed["results"][0]["lfd"] > 0


def test_a_name_of_the_store_brings_its_extractor() -> None:
    """A name with its extractor is found for each metric, in any case, and that extractor is taken."""
    printed = run_json(
        "score", "gen_a", "--reference", "BSDS500/trainval@vdna_tiny", "--metrics", "emd,nfd", "--layers", "blocks.0"
    )
    kinds = ("histogram", "gaussian")
    photographs = resolve("bsds500/trainval@vdna_tiny")
    real = {kind: photographs.one_dna(kind, layers=["blocks.0"]).total for kind in kinds}  # type: ignore[arg-type]
    fake = build_dnas("gen_a", create_extractor("vdna_tiny"), kinds, layers=["blocks.0"])
    result = printed["results"][0]
    assert printed["extractor"] == "vdna_tiny"
    assert result["emd"] == float(compare.emd(real["histogram"], fake["histogram"]))
    assert result["nfd"] == float(compare.neuron_frechet(real["gaussian"], fake["gaussian"]))


def test_layers_of_the_reference_are_the_layers_that_are_scored() -> None:
    """A DNA of some layers is compared on those; `--layers` chooses among them; others are refused."""
    run("make", "real", "-o", "second.npz", "--extractor", "tiny", "--layers", "second")
    run("make", "real", "-o", "both.npz", "--extractor", "tiny")
    scored = run_json("score", "gen_a", "--reference", "second.npz", "--by", "layer")["results"][0]
    chosen = run_json("score", "gen_a", "--reference", "both.npz", "--by", "layer", "--layers", "second")["results"][0]
    assert list(scored["emd_by_layer"]) == ["second"]
    assert chosen == scored
    refused = run("score", "gen_a", "--reference", "second.npz", "--layers", "first", exit_code=1)
    assert "no histogram DNA has first; it has second" in refused.stderr


def test_a_timm_network_is_read_at_the_layers_of_its_reference() -> None:
    """A DNA of `timm:NAME` at chosen modules is scored at those modules, with weights from a local file."""
    import timm

    network = timm.create_model("resnet10t", num_classes=1000)
    torch.save(network.state_dict(), "weights.pth")
    options = ("--weights", "weights.pth")
    run("make", "real", "-o", "real.npz", "--extractor", "timm:resnet10t", *options, "--layers", "layer1.0,conv1.0")
    scored = run_json("score", "gen_a", "--reference", "real.npz", *options, "--by", "layer")
    assert scored["extractor"] == "timm:resnet10t"
    assert list(scored["results"][0]["emd_by_layer"]) == ["conv1.0", "layer1.0"]


def test_few_images_are_one_warning_for_all_that_have_as_few() -> None:
    """Sets too small for a covariance are named together, on the error stream and in the JSON."""
    result = run(
        "score", "gen_a", "gen_c.npz", "--reference", "real", "--extractor", "tiny", "--metrics", "lfd", "--json"
    )
    assert json.loads(result.stdout)["warnings"] == []  # 8 and 7 images, layers of 6 and 5 neurons
    np.savez("few.npz", small_images(3, 5))
    np.savez("fewer.npz", small_images(3, 6))
    result = run(
        "score", "few.npz", "fewer.npz", "--reference", "real", "--extractor", "tiny", "--metrics", "lfd", "--json"
    )
    (sentence,) = json.loads(result.stdout)["warnings"]
    assert sentence.startswith("few.npz, fewer.npz: 3 images are too few to estimate the covariance of first (6")
    assert f"warning: {sentence}" in result.stderr


def test_activations_outside_the_ranges_are_a_warning() -> None:
    """Images that leave the calibrated ranges are named with the layers and how to do better."""
    np.savez("grey.npz", np.full((4, 20, 20, 3), 128, np.uint8))
    run("calibrate", "grey.npz", "-o", "ranges.npz", "--extractor", "tiny")
    result = run("score", "gen_a", "--reference", "real", "--extractor", "tiny", "--ranges", "ranges.npz")
    assert "more than 1 % of the activations lie outside the activation ranges in 2 of 2 layers" in result.stderr


def test_bins_and_ranges_that_the_reference_has_otherwise_are_refused() -> None:
    """What is asked for explicitly is not passed over in silence; what agrees with the reference is allowed."""
    run("make", "real", "-o", "real.npz", "--extractor", "tiny", "--bins", "50")
    run("calibrate", "real", "-o", "same.npz", "--extractor", "tiny")
    run("calibrate", "real", "gen_a", "-o", "wider.npz", "--extractor", "tiny", "--widen", "none")
    score = ("score", "gen_a", "--reference", "real.npz")
    without = run_json(*score)["results"]
    assert run_json(*score, "--bins", "50", "--ranges", "same.npz")["results"] == without
    bins = run(*score, "--bins", "70", exit_code=1)
    assert "bins differ: the reference has 50, --bins says 70; leave --bins out" in bins.stderr
    ranges = run(*score, "--ranges", "wider.npz", exit_code=1)
    assert "--ranges are not those of the reference, which come with it; leave --ranges out" in ranges.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--reference", "real"], "no image source at 'nowhere'"),
        (["gen_aa", "--reference", "real"], "did you mean 'gen_a'"),
        (["gen_a", "nowhere", "--reference", "real"], "no image source at 'nowhere'"),
        (["hollow", "--reference", "real"], "'hollow' has 0 files"),
        (["real.npz", "--reference", "real"], "real.npz is a DNA, which is compared with a DNA"),
        (["gen_a", "--reference", "reall"], "no image source at 'reall'; did you mean 'real' or 'real.npz'?"),
        (["gen_a", "--reference", "bsds500"], "could be: bsds500/test@seeded_resnet18#histogram-1000, bs"),
        (["gen_a", "--reference", "bsds500/trainval", "--extractor", "tiny"], "no reference 'bsds500/trainval@tiny"),
        (["gen_a", "--reference", "real", "--reference", "gen_b.zip"], "only one source can be images, got real"),
        (["gen_a", "--reference", "real.npz", "--reference", "real.npz"], "are two histogram DNAs of tiny: merge them"),
        (["gen_a", "--reference", "real.npz", "--metrics", "emd,lfd"], "--reference lacks layer_gaussian, it has hist"),
        (["gen_a", "--reference", "ranges.npz"], "a file of vdna_metrics that holds 'ranges', and no images"),
        (["gen_a", "--reference", "real.npz", "--ranges", "real.npz"], "real.npz holds 'histogram', needed is"),
        (["gen_a", "--reference", "real.npz", "--extractor", "other"], "this DNA was not made with this extractor"),
        (["gen_a", "--reference", "real", "--extractor", "tinny"], "did you mean 'tiny' or"),
        (["gen_a", "--reference", "real", "--extractor", "tiny", "--weights", "no.pth"], "no such file: no.pth"),
        (["gen_a", "--reference", "real", "--extractor", "tiny", "--layers", "frist"], "did you mean 'first'"),
        (["gen_a", "--reference", "real", "--extractor", "other", "--ranges", "ranges.npz"], "were not made with"),
    ],
)  # fmt: skip
def test_score_refuses_before_it_reads_an_image(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot work is one line on the error stream and exit code 1, before any image is looked at."""
    run("make", "real", "-o", "real.npz", "--extractor", "tiny")
    run("calibrate", "real", "-o", "ranges.npz", "--extractor", "tiny")
    Path("hollow").mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("vdna_metrics.images.batches.ImageDataset.__getitem__", refuse)
    result = run("score", *arguments, exit_code=1)
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_images_that_cannot_be_read_end_the_command_or_are_named(bad: Path) -> None:
    """Without `--skip-bad` the first bad file is an error, with it all are named, for generated and for real sets."""
    score = ("score", "bad", "--reference", "real", "--extractor", "tiny")
    refused = run(*score, exit_code=1)
    assert "bad: cut.png" in refused.stderr
    assert "(--skip-bad) leaves it out" in refused.stderr
    assert refused.stdout == ""
    for arguments in (score, ("score", "gen_a", "--reference", "bad", "--extractor", "tiny")):
        result = run(*arguments, "--skip-bad", "--json")
        printed = json.loads(result.stdout)
        (skipped,) = (part["skipped"] for part in printed["results"] + printed["reference"] if part["skipped"])
        assert [name for name, _ in skipped] == ["cut.png", "empty.jpg", "text.png"]
        assert [line for line in result.stderr.splitlines() if line.startswith("skipped: bad: ")] == [
            f"skipped: bad: {name}: {reason}" for name, reason in skipped
        ]


# ------------------------------------------------------------------------------------------------ make, compare, merge
def test_make_writes_each_kind_in_one_pass() -> None:
    """Several kinds make FILE.KIND.npz each, and are the DNAs that the library builds."""
    printed = run_json("make", "gen_a", "-o", "a", "--kinds", ",".join(KINDS), "--extractor", "tiny", "--bins", "30")
    assert [part["file"] for part in printed] == [f"a.{kind}.npz" for kind in KINDS]
    ranges = calibrate("gen_a", create_extractor("tiny"))
    built = build_dnas("gen_a", create_extractor("tiny"), KINDS, ranges=ranges, bins=30)
    for part, kind in zip(printed, KINDS, strict=True):
        dna = load_vdna(part["file"])
        assert torch.equal(dna.distribution.state, built[kind].distribution.state)
        assert (part["kind"], part["n_images"], part["neurons"]) == (kind, 8, 11)
        assert part["manifests"] == list(built[kind].provenance.manifests)


@pytest.mark.parametrize(("output", "written"), [("a", "a.npz"), ("a.npz", "a.npz"), ("ffhq-0.5", "ffhq-0.5.npz")])
def test_make_says_which_file_it_wrote(output: str, written: str) -> None:
    """The suffix is appended where it is missing, nothing else is cut off, and the name is printed."""
    result = run("make", "gen_a", "-o", output, "--extractor", "tiny")
    assert result.stdout == f"{written}: {load_vdna(written)!r}\n"
    assert "no activation ranges ship for tiny: calibrating on gen_a first" in result.stderr


def test_make_takes_calibrated_ranges() -> None:
    """`--ranges` are those of the DNA, and no pass is spent on calibration."""
    run("calibrate", "real", "-o", "ranges.npz", "--extractor", "tiny", "--widen", "vdna")
    result = run("make", "gen_a", "-o", "a.npz", "--extractor", "tiny", "--ranges", "ranges.npz")
    ranges = load_ranges("ranges.npz")
    expected = _dnas("gen_a", ranges)["histogram"].distribution
    assert ranges.widen == "vdna"
    assert torch.equal(load_vdna("a.npz").distribution.state, expected.state)
    assert "calibrating" not in result.stderr


def test_ranges_that_ship_are_taken_for_the_weights_they_belong_to() -> None:
    """A network whose ranges ship needs no calibration; other weights under its name get ranges of their own."""
    import timm

    make = ("make", "gen_b.zip", "-o", "b", "--extractor", "seeded_resnet18", "--layers", "layer1_0")
    assert "calibrating" not in run(*make).stderr
    assert load_vdna("b.npz").distribution.ranges.sources == find_ranges("seeded_resnet18").sources
    torch.save(timm.create_model("resnet18", num_classes=0).state_dict(), "mine.pth")
    assert "calibrating on gen_b.zip first" in run(*make, "--weights", "mine.pth").stderr
    assert load_vdna("b.npz").distribution.ranges.sources == ("gen_b.zip",)


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

    monkeypatch.setattr("vdna_metrics.extractors.extractor_and_layout", refuse)
    monkeypatch.setattr("vdna_metrics.dna.load_vdna", refuse)
    missing = run(*command, "-o", "nowhere/a.npz", exit_code=1)
    assert "folder nowhere does not exist" in missing.stderr
    assert "it is a folder" in run(*command, "-o", "folder", exit_code=1).stderr
    assert "was not written by vdna_metrics" in run(*command, "-o", "mine.npz", exit_code=1).stderr
    assert mine.read_bytes() == Path("gen_c.npz").read_bytes()
    assert "names no file" in run(*command, "-o", ".npz", exit_code=2).stderr


def test_results_of_ones_own_are_written_over() -> None:
    """A DNA that is made again takes the place of the old one."""
    run("make", "real", "-o", "a.npz", "--extractor", "tiny")
    run("make", "gen_a", "-o", "a.npz", "--extractor", "tiny")
    assert load_vdna("a.npz").n_images == 8


@pytest.fixture
def dnas() -> None:
    """DNAs of the real and two generated sets, with the ranges of the real one."""
    run("calibrate", "real", "gen_a", "-o", "ranges.npz", "--extractor", "tiny", "--batch-size", "1")
    for name, source in (("real", "real"), ("a", "gen_a"), ("b", "gen_b.zip")):
        run(
            "make", source, "-o", name, "--kinds", ",".join(KINDS), "--extractor", "tiny", "--ranges", "ranges.npz",
            "--batch-size", "1",
        )  # fmt: skip


@pytest.mark.usefixtures("dnas")
@pytest.mark.parametrize(
    ("kind", "metric", "distance"),
    [
        ("histogram", "emd", compare.emd),
        ("gaussian", "nfd", compare.neuron_frechet),
        ("layer_gaussian", "lfd", compare.layer_frechet),
    ],
)
def test_compare_measures_each_kind_by_its_distance(kind: str, metric: str, distance: Callable[..., Any]) -> None:
    """Every DNA is compared with the first, by layer too, exactly as the library does."""
    files = [f"{name}.{kind}.npz" for name in ("real", "a", "b")]
    printed = run_json("compare", *files, "--by", "layer")
    real, *generated = map(load_vdna, files)
    assert (printed["metric"], printed["unit"]) == (metric, "bins" if metric == "emd" else None)
    for result, file, dna in zip(printed["results"], files[1:], generated, strict=True):
        assert (result["dna"], result["n_images"]) == (file, dna.n_images)
        assert result[metric] == float(distance(real, dna))
        layers = distance(real, dna, reduction="layer")
        assert result[f"{metric}_by_layer"] == {layer: float(value) for layer, value in layers.items()}
    shown = run("compare", *files, "--by", "layer").stdout
    assert f"{printed['results'][1][f'{metric}_by_layer']['second']:#.4g}" in shown


@pytest.mark.usefixtures("dnas")
def test_compare_by_neuron_units_and_layers() -> None:
    """`--by neuron` lists all neurons of the chosen layers, `--unit` scales VDNA-EMD."""
    files = ("real.histogram.npz", "a.histogram.npz")
    real, fake = map(load_vdna, files)
    printed = run_json("compare", *files, "--by", "neuron", "--unit", "activation", "--layers", "second")["results"][0]
    expected = compare.emd(real, fake, unit="activation", reduction="none", layers=["second"])
    assert printed["emd_by_neuron"] == {"second": expected["second"].tolist()}
    shown = run("compare", *files, "--by", "neuron").stdout.splitlines()
    neurons = [tuple(line.split()[:2]) for line in shown if line.startswith(("first", "second"))]
    assert neurons == [("first", str(i)) for i in range(6)] + [("second", str(i)) for i in range(5)]
    whole = run_json("compare", *files)["results"][0]["emd"]
    assert run_json("compare", *files, "--unit", "range")["results"][0]["emd"] == pytest.approx(whole / 1000, rel=1e-12)


@pytest.mark.usefixtures("dnas")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (
            ["real.histogram.npz", "a.gaussian.npz"],
            1,
            "expected a histogram DNA, a.gaussian.npz has a gaussian",
        ),
        (["real.histogram.npz", "nothing.npz"], 1, "no image source at 'nothing.npz'"),
        (["real.histogram.npz", "gen_c.npz"], 1, "gen_c.npz has images and no DNA; `vdna-metrics make`"),
        (["real", "gen_a"], 1, "real has images and no DNA; `vdna-metrics make`"),
        (["real.histogram.npz", "ranges.npz"], 1, "ranges.npz' is a file of vdna_metrics that holds 'ranges'"),
        (["real.gaussian.npz", "a.gaussian.npz", "--unit", "bins"], 2, "--unit is for VDNA-EMD"),
        (["real.layer_gaussian.npz", "a.layer_gaussian.npz", "--by", "neuron"], 2, "use --by layer"),
        (["real.histogram.npz"], 2, "Missing argument 'DNA...'"),
    ],
)
def test_compare_refuses(arguments: list[str], exit_code: int, message: str) -> None:
    """What cannot be compared is named with its files."""
    assert message in run("compare", *arguments, exit_code=exit_code).stderr


@pytest.mark.usefixtures("dnas")
@pytest.mark.parametrize("kind", KINDS)
def test_merged_dnas_are_those_of_one_set(kind: str) -> None:
    """Merging the DNAs of three sets gives the DNA of all their images, counts to the bit."""
    result = run("merge", *(f"{name}.{kind}.npz" for name in ("real", "a", "b")), "-o", "all")
    merged = load_vdna("all.npz")
    assert result.stdout == f"all.npz: {kind} of 26 images\n"
    assert merged.provenance.sources == ("real", "gen_a", "gen_b.zip")
    images = np.concatenate([small_images(12, 0), small_images(8, 1), small_images(6, 2)])
    # One image a batch, there as here: kernels for other batch sizes round otherwise.
    one_by_one = Reading(batch_size=1)
    whole = build_dnas(images, create_extractor("tiny"), KINDS, ranges=load_ranges("ranges.npz"), reading=one_by_one)[
        kind
    ]
    if kind == "histogram":
        assert torch.equal(merged.distribution.state, whole.distribution.state)
    else:
        distance = compare.neuron_frechet if kind == "gaussian" else compare.layer_frechet
        assert float(distance(merged, whole)) == pytest.approx(0, abs=1e-12)
    assert merged.n_images == 26


@pytest.mark.usefixtures("dnas")
def test_ranges_merge_and_kinds_do_not() -> None:
    """Files of ranges merge into the ranges of all their images; mixed kinds and strange files are named."""
    run("calibrate", "gen_b.zip", "-o", "more.npz", "--extractor", "tiny", "--batch-size", "1")
    printed = run_json("merge", "ranges.npz", "more.npz", "-o", "all")
    assert printed == {"file": "all.npz", "kind": "ranges", "n_images": 26}
    images = np.concatenate([small_images(12, 0), small_images(8, 1), small_images(6, 2)])
    whole = calibrate(images, create_extractor("tiny"), reading=Reading(batch_size=1))
    assert load_ranges("all.npz").equals(whole)
    mixed = run("merge", "ranges.npz", "real.gaussian.npz", "-o", "x", exit_code=1)
    assert "only files of one kind merge: ranges.npz ranges, real.gaussian.npz gaussian" in mixed.stderr
    run("make", "real", "-o", "fewer", "--extractor", "tiny", "--bins", "10")
    unlike = run("merge", "real.histogram.npz", "fewer.npz", "-o", "x", exit_code=1)
    assert "real.histogram.npz and fewer.npz: these DNAs cannot be merged: bins differ" in unlike.stderr
    assert not Path("x.npz").exists()


# --------------------------------------------------------------------------------------- calibrate, extractors, demo
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


def test_extractors_lists_the_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`extractors` lists every name with its layers, neurons, input, licence, and what is at hand of it."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    cards = {card["name"]: card for card in run_json("extractors")}
    assert sorted(CATALOGUE) == sorted(cards)
    mugs = cards["mugs_vit_base"]
    assert (len(mugs["layers"]), mugs["neurons"], mugs["licence"]) == (13, 9984, "Apache-2.0")
    assert (mugs["at_hand"], mugs["ranges"]) == (None, "published")
    assert mugs["address"].endswith("/Mugs/mugs_vit_base/weights.pth")
    assert cards["seeded_resnet18"]["ranges"] == "ship"
    assert cards["dinov2_vit_small"]["ranges"] == "calibrate"
    printed = run("extractors").stdout
    assert "timm:NAME" in printed
    assert re.search(r"mugs_vit_base +13 +9984 +224x224 +download +published +Apache-2.0", printed)
    assert re.search(r"seeded_resnet18 +8 +1920 +224x224 +here +ship +MIT", printed)


def test_extractors_show_one_card() -> None:
    """`extractors show` tells all of one network: its layers, weights, ranges and licence."""
    shown = run("extractors", "show", "dinov2_vit_small").stdout
    for text in ("DINOv2", "block_0 (blocks.0)", "4992", "dinov2_vits14_pretrain.pth", "Apache-2.0", "224x224"):
        assert text in shown
    assert "vdna-metrics calibrate IMAGES --extractor dinov2_vit_small" in " ".join(shown.split())
    assert run_json("extractors", "show", "tiny")["layers"] == {"first": "0", "second": "2"}
    error = run("extractors", "show", "mugs_vit_bse", exit_code=1).stderr
    assert "did you mean 'mugs_vit_base'" in error


def test_demo_refuses_its_folder_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report is not written over a file."""
    monkeypatch.setattr("vdna_metrics.demo.run_demo", lambda *_, **__: pytest.fail("work was done"))
    assert "gen_c.npz: it is a file" in run("demo", "-o", "gen_c.npz", exit_code=1).stderr


# ------------------------------------------------------------------------------------------------------- every command
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scroe"], "No such command 'scroe'"),
        (["score", "gen_a"], "Missing option '--reference'"),
        (["score", "--reference", "real"], "Missing argument 'SOURCE...'"),
        (["score", "gen_a", "--reference", "real", "--metrics", "emd,fid"], "'fid': choose from emd, nfd, lfd"),
        (["score", "gen_a", "--reference", "real", "--layers", ","], "expected names with commas between"),
        (["score", "gen_a", "--reference", "real", "--batch-size", "0"], "0 is not in the range x>=1"),
        (["score", "gen_a", "--reference", "real", "--bins", "-5"], "-5 is not in the range x>=1"),
        (["score", "gen_a", "--reference", "real", "--metrics", "nfd", "--bins", "9"], "--bins is for histograms"),
        (["score", "gen_a", "--reference", "real", "--by", "neuron"], "'neuron' is not"),
        (["score", "gen_a", "--reference", "real", "--device", "gpu"], "Invalid value for --device: gpu"),
        (["make", "real"], "Missing option '-o'"),
        (["make", "real", "-o", "a", "--kinds", "histogramm"], "'histogramm': choose from histogram, gaussian"),
        (["make", "real", "-o", "a", "--kinds", "gaussian", "--ranges", "r.npz"], "--ranges is for histograms"),
        (["calibrate", "real", "-o", "a", "--workers", "-1"], "-1 is not in the range x>=0"),
        (["demo", "--images", "1"], "1 is not in the range x>=10"),
    ],
)
def test_errors_in_the_command_are_exit_code_2(arguments: list[str], message: str) -> None:
    """A command that cannot be understood is answered with its usage and what is wrong."""
    result = run(*arguments, exit_code=2)
    assert message in result.stderr
    assert "Usage: vdna-metrics" in result.stderr
    assert result.stdout == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_an_error_in_the_command() -> None:
    """`--device cuda` without CUDA says so, before the work."""
    result = run("make", "real", "-o", "a", "--extractor", "tiny", "--device", "cuda", exit_code=2)
    assert re.search("Invalid value for --device: cuda: .*(CUDA|NVIDIA)", result.stderr)


def test_every_image_is_seen_whatever_the_batches() -> None:
    """`--batch-size` changes how the images are run, not how many are counted."""
    run("calibrate", "real", "-o", "ranges.npz", "--extractor", "tiny")
    for name, size in (("one.npz", 1), ("five.npz", 5)):
        run("make", "real", "-o", name, "--extractor", "tiny", "--ranges", "ranges.npz", "--batch-size", size)
    one, five = load_vdna("one.npz"), load_vdna("five.npz")
    assert one.n_images == five.n_images == 12
    assert float(compare.emd(one, five)) < 0.01  # kernels for other batch sizes round otherwise


def test_the_log_has_a_plain_line_a_source() -> None:
    """Where the error stream is no terminal there are no bars and no escapes, only speed and number of images."""
    arguments = ("score", "gen_a", "--reference", "real", "--extractor", "tiny", "--batch-size", 5)
    lines = run(*arguments).stderr.splitlines()
    assert lines[0] == "no activation ranges ship for tiny: calibrating on real first"
    for line, name, n in zip(lines[1:], ("ranges: real", "real: real", "gen_a"), (12, 12, 8), strict=True):
        assert re.fullmatch(rf"{name}: {n} images, [\d.]+ images/s", line)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal(command: str) -> None:
    """Help is at most 80 columns wide, and no summary is cut."""
    shown = run(*([command] if command else []), "--help", columns=80).stdout
    assert max(map(len, shown.splitlines())) <= 80
    summaries = shown.partition("Commands:\n")[2].splitlines()
    listed = {"": sorted(COMMANDS), "extractors": ["show"], "references": sorted(REFERENCES)}
    assert [summary.split()[0] for summary in summaries] == listed.get(command, [])
    assert all(summary.endswith(".") and not summary.endswith("..") for summary in summaries)


@pytest.mark.parametrize("columns", [40, 80, 100])
@pytest.mark.parametrize("sources", [1, 3, 6, 14])
def test_tables_keep_their_numbers_whole(sources: int, columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """However narrow the terminal and long the names, no number is folded or cut; names fold and are complete."""
    names = [f"runs/2026-03-0{i % 9 + 1}/without augmentation/samples_{i}" for i in range(sources)]
    rows = [[f"layer{k}", *(1.2345 * 10**k + i for i in range(sources))] for k in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        print_table("title", ["layer", *names], rows)
    _, _, *head, rule, first, second, third, end = capsys.readouterr().out.splitlines()
    assert [line.split() for line in (first, second, third)] == [
        [str(layer), *(f"{value:#.4g}" for value in values)] for layer, *values in rows
    ]
    assert end == ""
    narrowest = 6 + sources * (5 + 3)
    assert len(rule) <= max(columns, narrowest)
    # Columns of the head, read downwards, are the names.
    ends = [match.end() for match in re.finditer(r"\S+", third)]
    starts = [0, *ends[:-1]]
    columns_of_head = [
        "".join(line[start:end].strip() for line in head) for start, end in zip(starts, ends, strict=True)
    ]
    assert max(np.diff(ends)) - min(np.diff(ends)) <= 2  # names of equal length get equal room
    assert [name.replace(" ", "") for name in columns_of_head] == ["layer", *(name.replace(" ", "") for name in names)]


def test_names_are_not_read_as_markup_or_folded_in_a_pipe() -> None:
    """Folders may be called `gen[bold]` or have long names; what is piped has one line a row."""
    name = "gen[bold]:smile:_" + "x" * 150
    write_folder(Path(name), small_images(3, 7))
    shown = run("score", name, "--reference", "real", "--extractor", "tiny").stdout
    assert any(line.startswith(f"{name}   3   ") for line in shown.splitlines())


def test_large_and_small_numbers_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """Four figures, without an exponent for thousands."""
    print_table("title", ["a", "b", "c", "d"], [[13765.4, 0.01234567, 10.0, 999.96]])
    assert capsys.readouterr().out.splitlines()[4].split() == ["13765", "0.01235", "10.00", "1000."]


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell, without a traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vdna_metrics.build.dnas.build_dnas", interrupt)
    result = run("make", "real", "-o", "a", "--kinds", "gaussian", "--extractor", "tiny", exit_code=130)
    assert result.stderr.strip() == "interrupted"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DataLoader worker is killed"), OSError("disk full")])
def test_what_goes_wrong_on_the_way_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gives up is an error of exit code 1, named even where it has no message."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vdna_metrics.build.dnas.build_dnas", fail)
    result = run("make", "real", "-o", "a", "--kinds", "gaussian", "--extractor", "tiny", exit_code=1)
    assert result.stderr == f"Error: {str(error) or 'MemoryError'}\n"


# ------------------------------------------------------------------------------------------------- in its own process
def _start(*arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "vdna_metrics", *arguments], env={**os.environ, "PYTHONPATH": path}, **streams
    )


def test_a_process_keeps_output_and_errors_apart() -> None:
    """Output is JSON and nothing else, with decoding in workers; progress goes to the error stream."""
    arguments = ("score", "gen_a", "--reference", "bsds500/trainval@vdna_tiny", "--layers", "blocks.0", "--json")
    process = _start(*arguments, "--workers", "2", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(output)["results"][0]["n_images"] == 8
    assert re.fullmatch(r"gen_a: 8 images, [\d.]+ images/s\n", errors.decode())


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["merge", "nothing.npz", "-o", "a"], 1, "Error: no such file: nothing.npz\n"),
        (["merge"], 2, "Missing argument"),
    ],
)
def test_a_process_ends_with_its_exit_code(arguments: list[str], exit_code: int, message: str) -> None:
    """1 for an error with the data, 2 for one in the command, both without a traceback."""
    process = _start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (exit_code, b"")
    assert message in errors.decode()
    assert "Traceback" not in errors.decode()


def test_an_interrupted_command_goes_on() -> None:
    """A terminal sees a bar with images a second; Ctrl-C ends the process soon, with 130; the same command goes on."""
    np.save("many.npy", np.zeros((160, 64, 64, 3), np.uint8))
    before = sorted(os.listdir())
    pytest.importorskip("pty", exc_type=ImportError)
    arguments = ("make", "many.npy", "-o", "many", "--extractor", "seeded_resnet18", "--layers", "layer1_0")
    arguments += ("--batch-size", "2")
    code, seen = stopped_at_work(
        lambda terminal: _start(*arguments, stdout=subprocess.PIPE, stderr=terminal), signal.SIGINT, timeout=60
    )
    assert code == 130
    assert b"interrupted" in seen
    assert b"Traceback" not in seen
    assert b"what was done is kept in many.checkpoint" in seen
    assert sorted(os.listdir()) == sorted([*before, "many.checkpoint"])
    again = _start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = again.communicate(timeout=60)
    assert b"of 160 images" in output, errors
    assert sorted(os.listdir()) == sorted([*before, "many.npz"])


def test_a_part_of_the_images() -> None:
    """`--shard I/N` reads a part, and merged parts are the whole."""
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    options = ("--extractor", "tiny", "--batch-size", "2", "--ranges", "ranges.npz")
    run("make", "real", "-o", "whole", *options)
    for i in (1, 2, 3):
        run("make", "real", "-o", f"part{i}", "--shard", f"{i}/3", *options)
    run("merge", "part1.npz", "part2.npz", "part3.npz", "-o", "merged")
    whole, merged = load_vdna("whole.npz"), load_vdna("merged.npz")
    assert merged.n_images == 12
    assert torch.equal(whole.distribution.state, merged.distribution.state)


def test_the_precision_of_a_reference_is_that_of_the_score() -> None:
    """`--precision` is recorded, taken over from a reference, and refused beside another."""
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    options = ("--extractor", "tiny", "--ranges", "ranges.npz")
    run("make", "real", "-o", "half", "--precision", "bf16", "--channels-last", *options)
    fingerprint = load_vdna("half.npz").fingerprint
    assert (fingerprint.precision, fingerprint.options) == ("bf16", ("channels_last",))
    assert run_json("score", "gen_a", "--reference", "half.npz")["results"][0]["emd"] > 0
    error = run("score", "gen_a", "--reference", "half.npz", "--precision", "fp32", exit_code=1).stderr
    assert "precisions differ: DNA bf16, extractor fp32" in error


def test_subsampled_positions_are_compared_when_asked() -> None:
    """`--max-positions` is recorded; beside a DNA of all positions it is refused unless it is allowed."""
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    options = ("--extractor", "tiny", "--ranges", "ranges.npz")
    run("make", "real", "-o", "all", *options)
    run("make", "gen_a", "-o", "some", "--max-positions", "4", *options)
    assert load_vdna("some.npz").provenance.max_positions == 4
    error = run("compare", "all.npz", "some.npz", exit_code=1).stderr
    assert "allow_subsampled=True" in error
    near = run_json("compare", "all.npz", "some.npz", "--allow-subsampled")["results"][0]["emd"]
    scored = ("score", "gen_a", "--reference", "all.npz", "--max-positions", "4", "--allow-subsampled")
    assert run_json(*scored)["results"][0]["emd"] == near


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b"])
def test_parts_that_are_none_are_refused(part: str) -> None:
    """A part is one of N, counted from 1."""
    errors = run("make", "real", "-o", "x", "--shard", part, exit_code=2).stderr
    assert f"{part!r}: expected I/N with 1 <= I <= N" in errors


@pytest.mark.slow
def test_ranks_make_the_file_of_one_process() -> None:
    """Under torchrun ranks share the images, and rank 0 alone prints and writes: the very file of one process."""
    shared = ("gen_a", "--extractor", "seeded_resnet18", "--layers", "layer1_0", "--workers", "0")
    shared += ("--batch-size", "3")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "vdna_metrics"]
    environment = {**os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    for command, name in (("make", "dna"), ("calibrate", "ranges")):
        alone = _start(command, *shared, "-o", f"{name}1", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ranks = subprocess.run(
            [*launch, command, *shared, "-o", f"{name}2"], env=environment, capture_output=True, timeout=120
        )
        assert ranks.returncode == 0, ranks.stderr.decode()
        assert alone.communicate(timeout=120)[0].replace(b"1.npz", b"2.npz") == ranks.stdout
        assert Path(f"{name}1.npz").read_bytes() == Path(f"{name}2.npz").read_bytes()
