"""`make`, `compare` and `merge`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import put_small_sources, run, run_json, small_images
from helpers.dnas import assert_same_state

from vdna_metrics import Reading, build_dnas, calibrate, compare, create_extractor, load_ranges, load_vdna
from vdna_metrics.distributions import FeatureSample
from vdna_metrics.references.store import find_ranges

KINDS = ("histogram", "gaussian", "layer_gaussian")


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


def _dnas(source: str, ranges: Any) -> Any:
    return build_dnas(source, create_extractor("tiny"), KINDS, ranges=ranges)


def test_make_writes_each_kind_in_one_pass() -> None:
    """Several kinds make FILE.KIND.npz each, and are the DNAs that the library builds."""
    printed = run_json("make", "gen_a", "-o", "a", "--kinds", ",".join(KINDS), "--extractor", "tiny", "--bins", "30")
    assert [part["file"] for part in printed] == [f"a.{kind}.npz" for kind in KINDS]
    built = build_dnas("gen_a", create_extractor("tiny"), KINDS, ranges="auto", bins=30)
    for part, kind in zip(printed, KINDS, strict=True):
        dna = load_vdna(part["file"])
        assert torch.equal(dna.distribution.state, built[kind].distribution.state)
        assert (part["kind"], part["n_images"], part["neurons"]) == (kind, 8, 11)
        assert part["manifests"] == list(built[kind].provenance.manifests)


@pytest.mark.parametrize(
    ("output", "written"), [("a", "a.npz"), ("a.npz", "a.npz"), ("ffhq-0.5", "ffhq-0.5.npz"), ("a.foo", "a.foo.npz")]
)
def test_make_says_which_file_it_wrote(output: str, written: str) -> None:
    """The suffix is appended where it is missing, nothing else is cut off, and the name is printed."""
    result = run("make", "gen_a", "-o", output, "--extractor", "tiny")
    assert result.stdout == f"{written}: {load_vdna(written)!r}\ngen_a:  PNG, 20x20\n"


def test_without_ranges_histograms_find_their_own() -> None:
    """Where none ship, one pass makes what `--ranges auto` and Python make; `./auto` is a file."""
    assert "ranges" not in run("make", "gen_a", "-o", "a", "--extractor", "tiny", "--bins", 50).stderr
    run("make", "gen_a", "-o", "b", "--extractor", "tiny", "--bins", 50, "--ranges", "auto")
    expected = build_dnas("gen_a", create_extractor("tiny"), bins=50, ranges="auto")["histogram"].distribution
    for name in ("a.npz", "b.npz"):
        assert_same_state(load_vdna(name).distribution, expected)
    error = run("make", "gen_a", "-o", "c", "--extractor", "tiny", "--ranges", "./auto", exit_code=1).stderr
    assert "auto" in error
    assert not Path("c.npz").exists()
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    Path("ranges.npz").rename("auto")
    run("make", "gen_a", "-o", "c", "--extractor", "tiny", "--ranges", "./auto")
    assert load_vdna("c.npz").distribution.ranges.sources == ("real",)


def test_shards_of_auto_histograms_merge_to_the_whole() -> None:
    """Each has its own grid, and `merge` gives the file of one process."""
    words = ("make", "real", "--extractor", "tiny", "--ranges", "auto", "--bins", 30)
    run(*words, "-o", "whole")
    for part in (1, 2, 3):
        run(*words, "-o", f"part{part}", "--shard", f"{part}/3")
    run("merge", "part3.npz", "part1.npz", "part2.npz", "-o", "merged")
    assert_same_state(load_vdna("merged.npz").distribution, load_vdna("whole.npz").distribution)


def test_make_takes_calibrated_ranges() -> None:
    """`--ranges` are those of the DNA."""
    run("calibrate", "real", "-o", "ranges.npz", "--extractor", "tiny", "--widen", "vdna")
    run("make", "gen_a", "-o", "a.npz", "--extractor", "tiny", "--ranges", "ranges.npz")
    ranges = load_ranges("ranges.npz")
    expected = _dnas("gen_a", ranges)["histogram"].distribution
    assert ranges.widen == "vdna"
    assert torch.equal(load_vdna("a.npz").distribution.state, expected.state)


def test_ranges_that_ship_are_taken_for_the_weights_they_belong_to() -> None:
    """Histograms of a network whose ranges ship are in these; of other weights under its name they find their own."""
    import timm

    make = ("make", "gen_b.zip", "-o", "b", "--extractor", "seeded_resnet18", "--layers", "layer1_0")
    run(*make)
    assert load_vdna("b.npz").distribution.ranges.sources == find_ranges("seeded_resnet18").sources
    torch.save(timm.create_model("resnet18", num_classes=0).state_dict(), "mine.pth")
    run(*make, "--weights", "mine.pth")
    assert load_vdna("b.npz").distribution.given == "auto"


def test_every_image_is_seen_whatever_the_batches() -> None:
    """`--batch-size` changes how the images are run, not how many are counted."""
    run("calibrate", "real", "-o", "ranges.npz", "--extractor", "tiny")
    for name, size in (("one.npz", 1), ("five.npz", 5)):
        run("make", "real", "-o", name, "--extractor", "tiny", "--ranges", "ranges.npz", "--batch-size", size)
    one, five = load_vdna("one.npz"), load_vdna("five.npz")
    assert one.n_images == five.n_images == 12
    assert float(compare.emd(one, five)) < 0.01  # kernels for other batch sizes round otherwise


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
    assert (printed["metric"], printed["unit"]) == (metric, "bins" if metric == "emd" else "squared activations")
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
        (["real.histogram.npz", "a.gaussian.npz"], 1, "a.gaussian.npz lacks histogram, it has gaussian"),
        (["real.histogram.npz", "nothing.npz"], 1, "no file, folder or reference 'nothing.npz'"),
        (["real.histogram.npz", "ranges.npz"], 1, "holds 'ranges', and no images"),
        (["real.gaussian.npz", "a.gaussian.npz", "--unit", "bins"], 2, "neuron Fréchet distance has one"),
        (["real.layer_gaussian.npz", "a.layer_gaussian.npz", "--by", "neuron"], 2, "use --by layer"),
        (["real.histogram.npz"], 2, "Missing argument 'SOURCE...'"),
    ],
)
def test_compare_refuses(arguments: list[str], exit_code: int, message: str) -> None:
    """What cannot be compared is named with its files."""
    assert message in run("compare", *arguments, exit_code=exit_code).stderr


def test_subsampled_positions_are_compared_when_asked() -> None:
    """`--max-positions` is recorded; beside a DNA of all positions it is refused unless it is allowed."""
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    options = ("--extractor", "tiny", "--ranges", "ranges.npz")
    run("make", "real", "-o", "all", *options)
    run("make", "gen_a", "-o", "some", "--max-positions", "4", *options)
    assert load_vdna("some.npz").provenance.max_positions == 4
    error = run("compare", "all.npz", "some.npz", exit_code=1).stderr
    assert "or give --allow-subsampled for an estimate" in error
    near = run_json("compare", "all.npz", "some.npz", "--allow-subsampled")["results"][0]["emd"]
    scored = ("score", "gen_a", "--reference", "all.npz", "--max-positions", "4", "--allow-subsampled")
    assert run_json(*scored)["results"][0]["emd"] == near


def test_merged_features_are_those_of_one_set() -> None:
    """Samples of features merge to the sample of all images, of as many as the smaller one keeps."""
    options = ("--extractor", "tiny", "--kinds", "features", "--batch-size", 1, "--feature-images")
    for source, n, name in (("real", 9, "a"), ("gen_a", 7, "b")):
        run("make", source, *options, n, "-o", f"{name}.npz")
    assert run("merge", "a.npz", "b.npz", "-o", "both").stdout == "both.npz: features of 20 images\n"
    images = np.concatenate([small_images(12, 0), small_images(8, 1)])
    network, one_by_one = create_extractor("tiny"), Reading(batch_size=1)
    whole = build_dnas(images, network, ["features"], feature_images=7, reading=one_by_one)["features"]
    merged = load_vdna("both.npz")
    assert isinstance(merged.distribution, FeatureSample)
    assert isinstance(whole.distribution, FeatureSample)
    assert torch.equal(merged.distribution.features()["second"], whole.distribution.features()["second"])


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


def test_the_number_of_features_is_for_features() -> None:
    """`--feature-images` is refused where no features are made."""
    result = run("make", "real", "--extractor", "tiny", "--feature-images", 5, "-o", "real.npz", exit_code=2)
    assert "--feature-images is for features, got DNAs of kind histogram" in result.stderr


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
    run("make", "real", "-o", "fewer", "--extractor", "tiny", "--bins", "10", "--ranges", "ranges.npz")
    unlike = run("merge", "real.histogram.npz", "fewer.npz", "-o", "x", exit_code=1)
    assert "real.histogram.npz and fewer.npz: these DNAs cannot be merged: bins differ" in unlike.stderr
    assert not Path("x.npz").exists()
