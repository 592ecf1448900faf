"""Features in place of images, and DNAs of modules, on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run, run_json, small_images

from vdna_metrics import PrecomputedFeatures, build_dnas, calibrate, compare, load_ranges, load_vdna
from vdna_metrics.dna import VDNA

STREAM = np.random.default_rng(0)
REAL = {"pool": STREAM.normal(size=(60, 4)).astype("f4"), "mid": STREAM.normal(size=(60, 3)).astype("f4")}
FAKE = {"pool": STREAM.normal(1, 1, (50, 4)).astype("f4"), "mid": STREAM.normal(size=(50, 3)).astype("f4")}
TAKER = PrecomputedFeatures.of(REAL)


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("real.npz", **REAL)
    torch.save({layer: torch.from_numpy(rows) for layer, rows in FAKE.items()}, "fake.pt")
    np.savez("images.npz", small_images(8, 0))


def test_files_of_features_are_scored() -> None:
    """`score` of two files is the distance of their DNAs; of histograms in ranges that they find."""
    printed = run_json("score", "fake.pt", "--reference", "real.npz", "--metrics", "nfd,lfd,emd")
    kinds = ("gaussian", "layer_gaussian", "histogram")
    real, fake = (build_dnas(each, TAKER, kinds, ranges="auto") for each in (REAL, FAKE))
    (row,) = printed["results"]
    assert printed["extractor"] == "features"
    assert row["nfd"] == pytest.approx(float(compare.neuron_frechet(real["gaussian"], fake["gaussian"])))
    assert row["lfd"] == pytest.approx(float(compare.layer_frechet(real["layer_gaussian"], fake["layer_gaussian"])))
    assert row["emd"] == pytest.approx(float(compare.emd(real["histogram"], fake["histogram"])))


def test_dnas_and_ranges_of_features() -> None:
    """`calibrate`, `make`, `coverage` and `compare` take a file of features, and a DNA of some as the other side."""
    run("calibrate", "real.npz", "-o", "ranges.npz")
    assert load_ranges("ranges.npz").equals(calibrate(REAL, TAKER))
    run("make", "real.npz", "--ranges", "ranges.npz", "--bins", 50, "--extractor", "features:vit", "-o", "dna.npz")
    dna = load_vdna("dna.npz")
    expected = build_dnas(REAL, TAKER, bins=50, ranges=calibrate(REAL, TAKER))["histogram"]
    assert torch.equal(dna.distribution.state, expected.distribution.state)
    assert dna.fingerprint.architecture == "features:vit"
    assert run_json("compare", "dna.npz", "fake.pt")["results"][0]["emd"] > 0
    assert run_json("coverage", "real.npz", "--ranges", "ranges.npz")["extractor"] == "features"


def test_rows_are_ranked_by_their_numbers() -> None:
    """`rank` names rows by their places; pictures of them there are none."""
    printed = run_json("rank", "fake.pt", "--reference", "real.npz", "--metric", "nfd", "--top", 2, "--bottom", 1)
    assert all(each["name"].isdecimal() for each in printed["nearest"])
    result = run("rank", "fake.pt", "--reference", "real.npz", "--contact-sheet", "x.png", exit_code=2)
    assert "--contact-sheet shows images, fake.pt holds features" in result.stderr


@pytest.mark.slow
def test_generators_of_features_have_ranks_and_intervals() -> None:
    """`leaderboard` takes files of features, with groups, fidelity and a report; no command builds them again."""
    command = ["leaderboard", "a=fake.pt", "b=real.npz", "--reference", "real.npz", "--metrics", "nfd,emd"]
    run(*command, "--groups", 5, "-o", "board")
    printed = run_json(*command, "--groups", 5, "-o", "board")
    assert {score["generator"] for score in printed["scores"]} == {"a", "b"}
    assert Path("board/index.html").exists()
    result = run("leaderboard", "--replay", "board/leaderboard.json", "-o", "again", exit_code=1)
    assert "features is the user's own, which a leaderboard cannot build again" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("score fake.pt --reference real.npz --extractor vgg16", "features, which no network looks at; --extractor"),
        (
            "score fake.pt --reference real.npz --metrics nfd --precision bf16",
            "are of networks, real.npz holds features",
        ),
        ("score fake.pt --reference real.npz --metrics fid", "fid is defined in fid_inception, and real.npz holds"),
    ],
)
def test_options_of_networks_are_refused(command: str, message: str) -> None:
    """What is about a network has no meaning for features, and is refused before any work."""
    assert message in run(*command.split(), exit_code=2).stderr


def test_images_beside_features_are_refused() -> None:
    """Both sides have to be features of the same layers; the error shows what each is, before the work."""
    for command in ("score images.npz --reference real.npz --metrics nfd", "score real.npz --reference images.npz"):
        result = run(*command.split(), exit_code=1)
        assert "images.npz: expected features {'mid': 3, 'pool': 4}, got images" in result.stderr
        assert "images/s" not in result.stderr
    np.save("one.npy", REAL["pool"])
    result = run("score", "real.npz", "--reference", "one.npy", "--metrics", "nfd", exit_code=1)
    assert "real.npz: expected features {'features': 4}, got features {'mid': 3, 'pool': 4}" in result.stderr


def test_images_are_not_seen_by_the_network_of_features() -> None:
    """Against a DNA of features, images are refused with what to give instead."""
    build_dnas(REAL, PrecomputedFeatures.of(REAL, "vit"), ["gaussian"])["gaussian"].save("dna.npz")
    result = run("score", "images.npz", "--reference", "dna.npz", "--metrics", "nfd", exit_code=1)
    assert "'features:vit' stands for features that were computed elsewhere" in result.stderr
    assert "give those of these images" in result.stderr


# ------------------------------------------------------------------------------------------------------------- modules
class Net(torch.nn.Conv2d):
    """A module of a user's own."""


@pytest.fixture
def module_dna() -> VDNA:
    """A DNA of it."""
    return build_dnas(small_images(12, 0), Net(3, 4, 3), ["gaussian"], name="real")["gaussian"]


def test_a_dna_of_a_module_says_so(module_dna: VDNA) -> None:
    """Its name, and what is printed of it, tell that no name builds the network."""
    assert repr(module_dna).endswith("of module:Net)")
    module_dna.save("dna.npz")
    assert "seen by module:Net" in run("score", "dna.npz", "--reference", "dna.npz", "--metrics", "nfd").stdout


@pytest.mark.parametrize(
    "command",
    [
        "score images.npz --reference dna.npz --metrics nfd",
        "compare dna.npz images.npz",
        "rank images.npz --reference dna.npz --metric nfd",
        "leaderboard a=images.npz --reference dna.npz --metrics nfd -o board",
        "select dna.npz images.npz --top 1 -o selected.npz",
    ],
)
@pytest.mark.parametrize("name", ["module:Net", "Net"])
def test_images_against_a_dna_of_a_module_need_the_module(module_dna: VDNA, command: str, name: str) -> None:
    """Every command says how to give the network, of DNAs of early versions too, which have the class's name alone."""
    origin: Any = replace(module_dna.provenance, extractor=name)
    replace(module_dna, provenance=origin).save("dna.npz")
    result = run(*command.split(), exit_code=1)
    assert "'module:Net' is a module of somebody's own, which no name builds" in result.stderr
    assert "--extractor FILE.py:FACTORY --trust-code" in result.stderr
