"""Networks of one's own on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from helpers.commands import put_small_sources, run, run_json

from vdna_metrics import ExtractorSpec, NeuronFrechetDistance, build_dnas, create_extractor, load_vdna

CODE = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 1))

def build():
    torch.manual_seed(0)
    return Net()

def drawn():
    from vdna_metrics import ExtractorSpec
    return ExtractorSpec("drawn", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0")
"""
OWN = ("--extractor", "nets/net.py:build", "--trust-code", "--size", "8", "--layers", "0,2")


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, networks, and code of one more."""
    put_small_sources(tmp_path, monkeypatch)
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    Path("nets").mkdir()
    Path("nets", "net.py").write_text(CODE)


def test_code_is_run_when_it_is_trusted() -> None:
    """Without --trust-code a command says what would be run, and how to allow it."""
    errors = run("make", "real", "-o", "x", *OWN[:2], "--kinds", "gaussian", exit_code=1).stderr
    assert "would run" in errors
    assert "call its build(), which can do whatever you can. If you trust that file, allow it by --trust-code" in errors
    assert not list(Path().glob("x*"))


def test_one_own_network_from_images_to_numbers() -> None:
    """Ranges, DNAs, a reference of a store, scores and rankings of images through code of one's own."""
    run("calibrate", "real", "-o", "ranges.npz", *OWN)
    run("make", "real", "-o", "real.npz", "--ranges", "ranges.npz", *OWN)
    dna = load_vdna("real.npz")
    assert (dna.provenance.extractor, dict(dna.layout)) == ("net.py:build", {"0": 4, "2": 5})
    expected = run_json("score", "gen_a", "--reference", "real.npz", *OWN)["results"][0]["emd"]
    assert run_json("score", "gen_a", "--reference", "real.npz", *OWN[:-2])["results"][0]["emd"] == expected
    run("references", "import", "real.npz", "--name", "mine/real")
    named = run_json("score", "gen_a", "--reference", "mine/real@net.py:build", *OWN[:-2])
    assert named["results"][0]["emd"] == expected > 0
    ranked = run_json("rank", "gen_a", "--reference", "mine/real", *OWN[:-2])
    assert ranked["extractor"] == "net.py:build"
    assert run_json("coverage", "gen_a", "--ranges", "ranges.npz", *OWN)["extractor"] == "net.py:build"


def test_a_dna_does_not_choose_what_is_run() -> None:
    """A DNA of code needs its network to be named, with leave or without; what it has been made through is told."""
    run("make", "real", "-o", "real.npz", "--kinds", "gaussian", *OWN)
    for trust in ([], ["--trust-code"]):
        errors = run("score", "gen_a", "--reference", "real.npz", "--metrics", "nfd", *trust, exit_code=1).stderr
        assert "the DNA is of net.py:build, a network of somebody's own: give it by --extractor" in errors
    assert run_json("score", "real.npz", "--reference", "real.npz", "--metrics", "nfd")["results"][0]["nfd"] == 0


def test_a_spec_is_a_name() -> None:
    """A file of a spec, and code that gives one, are networks by the spec's own name, and run nothing but that."""
    ExtractorSpec("drawn", "test_resnet", ["layer1", "layer2"], size=32, weights="seeded:0").save("nets/drawn.json")
    made = {}
    for name in ("nets/drawn.json", "nets/net.py:drawn"):
        trust = ["--trust-code"] if ".py" in name else []
        run("make", "real", "-o", "real.npz", "--kinds", "gaussian", "--extractor", name, "--layers", "layer1", *trust)
        made[name] = load_vdna("real.npz")
        words = ("--reference", "real.npz", "--metrics", "nfd", "--extractor", name, *trust)
        assert run_json("score", "real", *words)["results"][0]["nfd"] == pytest.approx(0, abs=1e-9)
    one, other = made.values()
    assert one.provenance.extractor == other.provenance.extractor == "drawn"
    assert one.fingerprint == other.fingerprint


def test_a_module_of_python_is_scored_by_its_code() -> None:
    """The reference of a module that a script made is that of the network which code of a file makes."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 1))
    Path("nets", "plain.py").write_text(CODE.replace("return Net()", "return torch.nn.Sequential(*Net())"))
    extractor = create_extractor(network, layers=["0"], size=8)
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    build_dnas(images, extractor, ["gaussian"])["gaussian"].save("real.npz")
    words = ("--reference", "real.npz", "--metrics", "nfd", "--extractor", "nets/plain.py:build", "--trust-code")
    found = run_json("score", "gen_a", *words, "--size", "8")
    assert (found["extractor"], found["results"][0]["nfd"] > 0) == ("plain.py:build", True)
    run("references", "import", "real.npz", "--name", "mine/real")
    named = run_json("score", "gen_a", "--reference", "mine/real", *words[2:], "--size", "8")
    assert named["results"] == found["results"]


def test_a_module_of_python_takes_a_reference_of_its_code() -> None:
    """A name of a store stands for the DNA of one's own network, whatever that was called; of two it is refused."""
    run("make", "real", "-o", "real.npz", "--kinds", "gaussian", *OWN)
    run("references", "import", "real.npz", "--name", "mine/real")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 1))
    metric = NeuronFrechetDistance(network, reference="mine/real", layers=["0", "2"], size=8)
    assert metric.reference is not None
    assert metric.reference.provenance.extractor == "net.py:build"
    Path("nets", "other.py").write_text(CODE)
    run("make", "real", "-o", "real.npz", "--kinds", "gaussian", "--extractor", "nets/other.py:build", *OWN[2:])
    run("references", "import", "real.npz", "--name", "mine/real")
    with pytest.raises(ValueError, match=r"'mine/real' could be: mine/real@net\.py:build.*mine/real@other\.py:build"):
        NeuronFrechetDistance(network, reference="mine/real", layers=["0", "2"], size=8)
    with pytest.raises(ValueError, match=r"no reference 'mine/real@vdna_tiny#gaussian'"):
        NeuronFrechetDistance("vdna_tiny", reference="mine/real")


@pytest.mark.parametrize(
    ("extractor", "layers", "options"),
    [("nets/net.py:build", "0", OWN[2:5]), ("timm:test_resnet", "layer1,layer3", ("--weights", "weights.pth"))],
)
def test_a_leaderboard_looks_where_its_reference_does(extractor: str, layers: str, options: tuple[str, ...]) -> None:
    """A network that has no layers of its own is read at those of the reference, by a leaderboard as by a score."""
    torch.save(timm.create_model("test_resnet").state_dict(), "weights.pth")
    run("make", "real", "-o", "real.npz", "--kinds", "gaussian", "--extractor", extractor, "--layers", layers, *options)
    words = ("gen_a", "--reference", "real.npz", "--metrics", "nfd", *options)
    expected = run_json("score", *words, "--extractor", extractor)["results"][0]["nfd"]
    for named in (("--extractors", extractor), ()):
        if not named and ".py" in extractor:  # a DNA does not choose what is run
            continue
        report = ("--no-fidelity", "--groups", "5", "--pictures", "0", "-o", f"board{len(named)}")
        found = run_json("leaderboard", *words, *named, *report)["scores"][0]
        assert ",".join(found["layers"]) == layers
        assert found["value"] == pytest.approx(expected)


def test_a_leaderboard_of_ones_own_network() -> None:
    """`--extractors` takes code as well; --replay runs it again with leave, in the settings of the record."""
    words = ("leaderboard", "gen_a", "gen_b.zip", "--reference", "real", "--metrics", "nfd", "--pictures", "0")
    own = ["--extractors", *OWN[1:]]
    run(*words, "--no-fidelity", "--groups", "3", "-o", "board", *own)
    errors = run("leaderboard", "--replay", "board/leaderboard.json", exit_code=1).stderr
    assert "'net.py:build' is code" in errors
    run("leaderboard", "--replay", "board/leaderboard.json", "--trust-code")
    errors = run("leaderboard", "--replay", "board/leaderboard.json", "--crop", "center", exit_code=2).stderr
    assert "networks are those of the leaderboard, leave --crop out" in errors


def test_a_crop_is_that_of_the_reference() -> None:
    """A crop is for any network; what is compared with a DNA is cropped as it was, unless something else is asked."""
    run("make", "real", "-o", "real.npz", "--kinds", "gaussian", "--extractor", "tiny", "--crop", "center")
    assert ":crop=center:" in load_vdna("real.npz").fingerprint.preprocessing
    words = ("score", "gen_a", "--reference", "real.npz", "--metrics", "nfd")
    assert run_json(*words)["results"][0] == run_json(*words, "--crop", "center")["results"][0]
    errors = run(*words, "--crop", "none", exit_code=1).stderr
    assert "preprocessing differ: DNA clean:bicubic:" in errors
    assert ":crop=center:mean=" in errors


def test_one_network_is_shown() -> None:
    """`extractors show` tells of code what it reads, given leave, and of a spec what the file says."""
    assert run_json("extractors", "show", "nets/net.py:build", "--trust-code")["layers"] == {"output": ""}
    assert "is code" in run("extractors", "show", "nets/net.py:build", exit_code=1).stderr
    ExtractorSpec("drawn", "test_resnet", ["layer1"], size=32, weights="seeded:0").save("drawn.json")
    assert run_json("extractors", "show", "drawn.json")["layers"] == {"layer1": "layer1"}
