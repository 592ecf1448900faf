"""Distances that others register are the equals of ours, in every command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import process_environment, put_small_sources, run, run_json, start
from torch import Tensor

from vdna_metrics import Distance, Reading, build_dnas, create_extractor, load_ranges, load_vdna, register_distance
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna import distances, find_column


def _shares(histogram: HistogramDistribution) -> Tensor:
    return histogram.counts / histogram.counts.sum(dim=1, keepdim=True)


def _entropy_of(shares: Tensor) -> Tensor:
    return torch.special.entr(shares.double()).sum(dim=1)


def _jensen_shannon(reference: HistogramDistribution, generated: HistogramDistribution) -> Mapping[str, Tensor]:
    p, q = _shares(reference), _shares(generated)
    return reference.layout.split(_entropy_of((p + q) / 2) - (_entropy_of(p) + _entropy_of(q)) / 2)


def _entropy(generated: HistogramDistribution) -> Mapping[str, Tensor]:
    return generated.layout.split(_entropy_of(_shares(generated)))


JSD = Distance("jsd", "Jensen-Shannon divergence", "Of each neuron's histograms.", "histogram", _jensen_shannon, "nats")
ENTROPY = Distance(
    "entropy", "entropy", "How evenly a neuron's activations fill its range.", "histogram", _entropy, "nats",
    direction="higher", arity=1, neutral=None,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both distances for the length of a test, small images and networks, and DNAs of two sets."""
    monkeypatch.setattr(distances, "_REGISTRY", dict(distances._REGISTRY))
    register_distance(JSD)
    register_distance(ENTROPY)
    put_small_sources(tmp_path, monkeypatch)
    run("calibrate", "real", "gen_a", "--extractor", "tiny", "-o", "ranges.npz")
    for source in ("real", "gen_a"):
        run("make", source, "--extractor", "tiny", "--ranges", "ranges.npz", "--bins", 50, "-o", f"{source}.npz")


def _by_hand(name: str) -> np.ndarray:
    """Of each neuron, ``[neurons]``."""
    p, q = (load_vdna(f"{source}.npz").distribution.counts.double().numpy() for source in ("real", "gen_a"))
    p, q = (side / side.sum(1, keepdims=True) for side in (p, q))

    def entropy(shares: np.ndarray) -> np.ndarray:
        return -np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=1)

    return entropy(q) if name == "entropy" else entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


@pytest.mark.parametrize("name", ["jsd", "entropy"])
def test_compare_prints_whole_and_parts(name: str) -> None:
    """`compare` gives what the function says, whole, by layer and by neuron."""
    expected = _by_hand(name)
    words = ("compare", "real.npz", "gen_a.npz", "--metric", name)
    by_neuron = run_json(*words, "--by", "neuron")
    assert (by_neuron["metric"], by_neuron["unit"]) == (name, "nats")
    (result,) = by_neuron["results"]
    assert result[name] == pytest.approx(expected.mean(), rel=1e-6)
    assert [value for part in result[f"{name}_by_neuron"].values() for value in part] == pytest.approx(
        expected, rel=1e-6
    )
    (result,) = run_json(*words, "--by", "layer")["results"]
    layers = {"first": expected[:6].mean(), "second": expected[6:].mean()}
    assert result[f"{name}_by_layer"] == pytest.approx(layers, rel=1e-6)


def test_score_prints_them_beside_ours() -> None:
    """`score` of images gives what `compare` of their DNAs does, with the direction where it is not the usual one."""
    words = ("score", "gen_a", "--reference", "real.npz", "--metrics", "emd,jsd,entropy")
    (result,) = run_json(*words, "--by", "layer")["results"]
    for name in ("jsd", "entropy"):
        (compared,) = run_json("compare", "real.npz", "gen_a.npz", "--metric", name, "--by", "layer")["results"]
        assert {key: result[key] for key in (name, f"{name}_by_layer")} == {
            key: compared[key] for key in (name, f"{name}_by_layer")
        }
    shown = run(*words).stdout
    assert "Distance from 12 images of real.npz" in shown
    assert "entropy ↑" in shown
    assert "jsd," not in shown
    alone = run("score", "gen_a", "--reference", "real.npz", "--metrics", "entropy", "--by", "layer").stdout
    assert alone.startswith("Scores beside 12 images of real.npz, seen by tiny")
    assert "entropy ↑ by layer" in alone


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metric", "jsdd"), "unknown distance 'jsdd'; did you mean 'jsd'"),
        (("--metric", "jsd", "--unit", "range"), "Jensen-Shannon divergence has one, nats"),
        (("--metric", "whole", "--by", "layer"), "--by layer: whole is one number, without parts"),
    ],
)
def test_what_a_distance_does_not_have_is_an_error_in_the_command(words: tuple[str, ...], message: str) -> None:
    """Unknown names, units and parts are refused before the work, by name."""
    register_distance(Distance("whole", "whole", "One number.", "histogram", lambda *_: torch.zeros(()), per=None))
    assert message in " ".join(run("compare", "real.npz", "gen_a.npz", *words, exit_code=2).stderr.split())


def test_an_installed_package_registers_its_own(tmp_path: Path) -> None:
    """A distribution with an entry point is found by the command line of another process, with nothing imported."""
    package = tmp_path / "installed"
    (package / "toy-1.0.dist-info").mkdir(parents=True)
    (package / "toy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (package / "toy-1.0.dist-info" / "entry_points.txt").write_text("[vdna_metrics.distances]\ngap = toy:GAP\n")
    (package / "toy.py").write_text(
        "from vdna_metrics import Distance\n"
        "def gap(reference, generated):\n"
        "    means = [side.counts.double().argmax(dim=1).double() for side in (reference, generated)]\n"
        "    return reference.layout.split((means[0] - means[1]).abs())\n"
        "GAP = Distance('gap', 'gap of the modes', 'Of each neuron.', 'histogram', gap, 'bins')\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package))
        assert str(package) in process_environment()["PYTHONPATH"]
        process = start("compare", "real.npz", "gen_a.npz", "--metric", "gap", "--json", stdout=-1, stderr=-1)
        output, errors = process.communicate(timeout=600)
    p, q = (load_vdna(f"{source}.npz").distribution.counts for source in ("real", "gen_a"))
    expected = (p.argmax(1) - q.argmax(1)).abs().double().mean()
    assert [line.partition(b":")[0] for line in errors.splitlines()[:2]] == [b"read real.npz", b"read gen_a.npz"]
    assert json.loads(output)["results"][0]["gap"] == pytest.approx(float(expected))


@pytest.mark.parametrize("pictures", [0, 20])
def test_a_leaderboard_takes_them_as_columns(pictures: int) -> None:
    """Own values everywhere; without a bias rule no corrected value and no floor; the higher entropy is the better."""
    words = ("leaderboard", "gen_a", "gen_b.zip", "--reference", "real", "--extractors", "tiny", "--bins", 50)
    words += ("--metrics", "emd,jsd,entropy", "--groups", 3, "--pictures", pictures, "--no-fidelity", "-o", "report")
    printed = run_json(*words)
    scores = {(score["metric"], score["generator"]): score for score in printed["scores"]}
    for name, source in (("gen_a", "gen_a"), ("gen_b", "gen_b.zip")):
        scored = ("score", source, "--reference", "real", "--extractor", "tiny", "--bins", 50, "--by", "layer")
        (result,) = run_json(*scored, "--metrics", "jsd,entropy")["results"]
        for metric in ("jsd", "entropy"):
            score = scores[metric, name]
            assert score["value"] == pytest.approx(result[metric], rel=1e-9)
            assert score["layers"] == pytest.approx(result[f"{metric}_by_layer"], rel=1e-9)
            assert score["estimate"] is None or score["estimate"]["corrected"] is None
    assert {floor["metric"] for floor in printed["floors"]} == {"emd"}
    best = max(("gen_a", "gen_b"), key=lambda name: float(scores["entropy", name]["value"]))
    shown = run(*words).stdout
    page = Path("report/index.html").read_text("utf-8")
    for label in ("Jensen-Shannon divergence", "entropy"):
        assert label in page
        assert label in shown
    table = shown[shown.index("entropy") :]
    assert table.index(best) < table.index(next(name for name in ("gen_a", "gen_b") if name != best))


@pytest.mark.parametrize("name", ["jsd", "entropy"])
def test_rank_orders_by_them(name: str) -> None:
    """Each image is ranked by what its own DNA gives, the best first."""
    words = ("rank", "gen_a", "--reference", "real.npz", "--metric", name, "-o", "scores.csv", "--batch-size", 1)
    printed = run_json(*words, "--top", 8, "--bottom", 0)
    assert printed["metric"] == name
    network, real = create_extractor("tiny"), load_vdna("real.npz")
    one_by_one = Reading(batch_size=1)
    ranges = load_ranges("ranges.npz")
    expected = {}
    for file in sorted(Path("gen_a/inner").iterdir()):
        dna = build_dnas([file], network, bins=50, ranges=ranges, reading=one_by_one)["histogram"]
        expected[f"inner/{file.name}"] = find_column(name)(real, dna)
    ranked = {image["name"]: image["score"] for image in printed["nearest"]}
    assert ranked == pytest.approx(expected, rel=1e-9)
    assert list(ranked) == sorted(expected, key=lambda image: expected[image], reverse=name == "entropy")
    shown = run(*words).stdout
    assert f"{name} (nats) from real.npz" in shown or "entropy (nats) ↑ beside real.npz" in shown
