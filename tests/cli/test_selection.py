"""`select`, `desensitise`, and what `score` and `compare` do with their files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import put_small_sources, run, run_json, small_images, write_folder

from vdna_metrics import compare, load_selection, load_vdna, load_weights
from vdna_metrics.analysis import split_of


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_small_sources(tmp_path, monkeypatch)


@pytest.fixture
def _dnas(_sources: None) -> None:
    run("calibrate", "real", "gen_a", "--extractor", "tiny", "-o", "ranges.npz")
    for source in ("real", "gen_a"):
        run("make", source, "--extractor", "tiny", "--ranges", "ranges.npz", "--bins", 50, "-o", f"{source}.npz")


@pytest.mark.usefixtures("_dnas")
def test_selected_neurons_are_written_and_used() -> None:
    """`select` writes the neurons at the largest distances; `compare` and `score` look at those alone."""
    printed = run("select", "real.npz", "gen_a.npz", "--top", 4, "-o", "top").stdout
    selection = load_selection("top.npz")
    assert printed.startswith(f"top.npz: {selection!r}\nsmallest distance of the chosen: ")
    assert "never chosen: 0 dead, 0 with too much outside their ranges" in printed
    real, fake = load_vdna("real.npz"), load_vdna("gen_a.npz")
    everything: Any = compare.emd(real, fake, reduction="none")
    largest = sorted((float(d) for part in everything.values() for d in part), reverse=True)[:4]
    compared = run_json("compare", "real.npz", "gen_a.npz", "--neurons", "top.npz")
    assert compared["results"][0]["emd"] == pytest.approx(sum(largest) / 4)
    assert compared["neurons"] == "top.npz"
    scored = run_json("score", "gen_a", "--reference", "real.npz", "--neurons", "top.npz")
    assert scored["results"][0]["emd"] == pytest.approx(sum(largest) / 4)
    assert "neurons of top.npz" in run("score", "gen_a", "--reference", "real.npz", "--neurons", "top.npz").stdout
    rows = run("compare", "real.npz", "gen_a.npz", "--neurons", "top.npz", "--by", "neuron").stdout.splitlines()
    shown = {(words[0], int(words[1])) for words in map(str.split, rows) if len(words) == 3 and words[1].isdecimal()}
    assert {(layer, neuron) for layer, indices in selection.neurons.items() for neuron in indices} <= shown


@pytest.mark.usefixtures("_dnas")
def test_the_other_neurons_can_be_written() -> None:
    """`--others` writes all neurons but the selected ones."""
    found = run_json("select", "real.npz", "gen_a.npz", "--per-layer", 2, "--others", "-o", "others.npz")
    assert {layer: len(indices) for layer, indices in found["neurons"].items()} == {"first": 4, "second": 3}
    assert found["made"]["of"][0]["per_layer"] == 2
    assert found["selected"] == 7


@pytest.mark.usefixtures("_dnas")
def test_select_wants_one_number() -> None:
    """How many is said in one way, and `--unit` is for histograms."""
    assert "got none" in run("select", "real.npz", "gen_a.npz", "-o", "x", exit_code=2).stderr
    both = run("select", "real.npz", "gen_a.npz", "-o", "x", "--top", 1, "--threshold", 0, exit_code=2).stderr
    assert "got --top and --threshold" in both
    run("make", "real", "--extractor", "tiny", "--kinds", "gaussian", "-o", "g.npz")
    words = ("select", "g.npz", "g.npz", "-o", "x", "--top", 1)
    assert "neuron Fréchet distance has one" in run(*words, "--unit", "range", exit_code=2).stderr


@pytest.mark.usefixtures("_dnas")
def test_a_selection_of_another_network_is_refused_before_the_work() -> None:
    """Neurons and weights of one network are not looked up in another."""
    run("select", "real.npz", "gen_a.npz", "--top", 4, "-o", "top.npz")
    words = ("score", "gen_a", "--reference", "real", "--metrics", "nfd", "--extractor", "other")
    error = run(*words, "--neurons", "top.npz", exit_code=1).stderr
    assert "neurons of another network: weights differ: selection " in error
    assert "gen_a" not in error
    held = run("compare", "real.npz", "gen_a.npz", "--neuron-weights", "top.npz", exit_code=1).stderr
    assert "holds 'selection'" in held


def _table() -> None:
    """60 images of which some are red, some bright and some striped, and a table that tells which."""
    images, stream = small_images(60, 5) // 3 + 60, np.random.default_rng(0)
    has = stream.random((60, 4)) < 0.5
    has[:, 3] = np.arange(60) == 0
    images[has[:, 0], ..., 0] += 60
    images[has[:, 1]] += 40
    images[has[:, 2], ::4] += 50
    write_folder(Path("faces"), images)
    with open("faces.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "red", "bright", "striped", "rare"])
        writer.writerows([f"{i:03}.png", *row.astype(int)] for i, row in enumerate(has))


@pytest.mark.parametrize("distance", ["emd", "nfd", "lfd"])
def test_weights_that_ignore_an_attribute(distance: str) -> None:
    """`desensitise` writes weights, says what they do to images of their own, and `score` takes them."""
    _table()
    words = ("desensitise", "faces.csv", "--images", "faces", "--attribute", "red", "--extractor", "tiny")
    found = run_json(*words, "--distance", distance, "-o", "w.npz")
    weights = load_weights("w.npz")
    assert (weights.made["attribute"], weights.made["attributes"]) == ("red", ["red", "bright", "striped"])
    assert found["left_out"] == ["rare"]
    names = [f"{i:03}.png" for i in range(60)]
    assert {split: result["n_images"] for split, result in found["results"].items()} == {
        split: sum(split_of(name) == split for name in names) for split in ("train", "validation", "test")
    }
    assert found["results"]["validation"]["removal"] == weights.made["validation"]["removal"]
    assert found["results"]["train"]["removal"] > 30
    metric = ("--metrics", distance, "--extractor", "tiny", "--neuron-weights", "w.npz")
    scored = run_json("score", "gen_a", "--reference", "real", *metric, *("--by", "layer"))
    result = scored["results"][0]
    assert result[distance] == pytest.approx(sum(result[f"{distance}_by_layer"].values()))
    assert weights.made["loss"] == "squared"
    run_json(*words, "--distance", distance, "--loss", "absolute", "-o", "absolute.npz")
    assert load_weights("absolute.npz").made["loss"] == "absolute"
    table = run(*words, "--distance", distance, "-o", "w.npz").stdout
    assert "Sensitivity to red removed, and deviation of 2 others, in per cent" in table


def test_attributes_that_cannot_be_learnt_are_refused() -> None:
    """Unknown attributes, one with too few images, and one alone are refused before any image is read."""
    _table()
    words = ("desensitise", "faces.csv", "--images", "faces", "--extractor", "tiny", "-o", "w.npz", "--attribute")
    assert "no attribute 'rde'; did you mean 'red' or 'rare'?" in run(*words, "rde", exit_code=1).stderr
    assert "there are red, bright, striped" in run(*words, "rare", exit_code=1).stderr
    lines = Path("faces.csv").read_text().splitlines()
    Path("faces.csv").write_text("\n".join(",".join(line.split(",")[:2]) for line in lines))
    assert "red and at least one other attribute are needed" in run(*words, "red", exit_code=1).stderr
    assert not Path("w.npz").exists()
