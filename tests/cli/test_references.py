"""`vdna-metrics references`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import put_small_sources, run, run_json, small_images, write_folder
from helpers.dnas import assert_same_state
from helpers.hub_server import TOKEN, hub_server

from vdna_metrics import compare, list_references, load_reference, load_vdna
from vdna_metrics.files import sha256_of_file

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, networks, and a home of its own for every test."""
    put_small_sources(tmp_path, monkeypatch)
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    run("calibrate", "real", "gen_a", "--extractor", "tiny", "-o", "tiny.npz")
    run("references", "import", "tiny.npz", "--name", "tiny")


def _names() -> list[str]:
    return [record.name for record in list_references() if record.extractor == "tiny"]


# ------------------------------------------------------------------------------------------------------------ build
def test_a_reference_that_was_built_is_used_by_name() -> None:
    """What `build` made is listed, shown, verified, and scores as the images themselves do."""
    built = run_json("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", "--licence", "CC0")
    assert [entry["name"] for entry in built] == [
        "cats/train@tiny#histogram-1000", "cats/train@tiny#gaussian", "cats/train@tiny#layer_gaussian",
    ]  # fmt: skip
    assert [entry["name"] for entry in run_json("references", "list", "cats")] == sorted(_names())
    (shown,) = run_json("references", "show", "cats/train#gaussian")
    assert shown["n_images"] == 12
    assert shown["licence"] == "CC0"
    assert shown["images"] == load_reference("cats/train#gaussian").provenance.manifests[0]
    assert "12 of real" in run("references", "show", "cats/train#gaussian").stdout
    assert "0 bad" in run("references", "verify").stdout
    options = ("--extractor", "tiny", "--metrics", "emd,nfd,lfd")
    by_name = run_json("score", "gen_a", "--reference", "cats/train", *options)
    by_images = run_json("score", "gen_a", "--reference", "real", *options)
    assert by_name["results"] == by_images["results"]


def test_normalisers_are_recorded_by_name() -> None:
    """`normalise` records with a reference what a validation set's DNA is away, which `show` tells, and JSON has."""
    run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", "--kinds", "layer_gaussian")
    run("make", "gen_a", "--extractor", "tiny", "--kinds", "layer_gaussian", "-o", "validation.npz")
    ended = run("references", "normalise", "cats/train", "--validation", "validation.npz", "--layers", "first")
    assert "note: no corrected one is recorded: Expected the validation images in groups" in ended.stderr
    (recorded,) = run_json("references", "normalise", "cats", "--validation", "validation.npz", "--layers", "first")
    expected = compare.layer_frechet(load_reference("cats/train"), load_vdna("validation.npz"), layers=["first"])
    assert recorded["value"] == pytest.approx(float(expected), rel=1e-9)
    told = f"{recorded['value']:.4g}, plain, of {recorded['n_images']} images of validation.npz in first"
    assert told in ended.stdout
    assert told in " ".join(run("references", "show", "cats/train").stdout.split())
    (shown,) = run_json("references", "show", "cats/train")
    assert shown["normalisers"] == [recorded]
    of_images = run("references", "normalise", "cats/train", "--validation", "gen_a", exit_code=1).stderr
    assert "expected a layer_gaussian DNA, gen_a has images and no DNA; `vdna-metrics make` makes one" in of_images
    of_itself = run("references", "normalise", "cats/train", "--validation", "cats/train", exit_code=1).stderr
    assert "Expected validation images that the training set does not have" in of_itself


def test_a_name_without_a_kind_shows_and_publishes_all() -> None:
    """Of one network all kinds and ranges are shown and copied; a name of several networks is refused."""
    run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", "--kinds", "gaussian,histogram")
    auto = ("--kinds", "histogram", "--ranges", "auto")
    run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", *auto)
    names = ["cats/train@tiny#gaussian", "cats/train@tiny#histogram-1000", "cats/train@tiny#histogram-1000"]
    shown = run_json("references", "show", "cats/train")
    assert [each["name"] for each in shown] == names
    assert {each["ranges"] == "auto" for each in shown[1:]} == {True, False}
    printed = run("references", "show", "cats/train").stdout
    assert printed.count("12 of real") == 3
    assert printed.splitlines().count("cats/train@tiny#histogram-1000%auto") == 1
    published = run_json("references", "publish", "cats/train", "--to", "shared")
    assert [each["name"] for each in published if "dataset" in each] == names
    assert run("references", "verify", "--store", "shared").stdout.splitlines()[-1].endswith(" 0 bad")
    run("references", "build", "real", "--name", "cats/train", "--extractor", "other", *auto)
    for command in (("show", "cats/train"), ("publish", "cats/train", "--to", "shared")):
        assert "could be of several networks: " in run("references", *command, exit_code=1).stderr


def test_references_of_features_are_used_by_name() -> None:
    """Features are listed by the size of their sample, shown, verified, copied, and score as the images do."""
    options = ("--extractor", "tiny", "--feature-images", 10)
    built = run_json("references", "build", "real", "--name", "cats/train", *options, "--kinds", "features,histogram")
    assert [entry["name"] for entry in built] == [
        "cats/train@tiny#features-10[second]", "cats/train@tiny#histogram-1000",
    ]  # fmt: skip
    assert [entry["kind"] for entry in run_json("references", "list", "cats")] == ["features-10", "histogram-1000"]
    assert "of 10 images" in run("references", "show", "cats#features").stdout
    run("references", "publish", "cats/train", "--to", "shared")
    assert run("references", "verify", "--store", "shared").stdout.endswith(" 0 bad\n")
    options = (*options, "--metrics", "emd,kid,recall")
    by_name = run("score", "gen_a", "--reference", "shared::cats", *options, "--json")
    assert "which is not compared" not in by_name.stderr
    assert (
        json.loads(by_name.stdout)["results"] == run_json("score", "gen_a", "--reference", "real", *options)["results"]
    )


def test_features_beside_others_change_no_default() -> None:
    """`score`, `compare` and `select` measure by default what they did without the features."""
    commands = (
        ("score", "gen_a", "--reference", "cats", "--extractor", "tiny"),
        ("compare", "cats", "gen_a"),
        ("select", "cats", "gen_a", "--top", 3, "-o", "selection.npz"),
    )
    run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny")
    before = [run(*command).stdout for command in commands]
    run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", "--kinds", "features")
    assert [run(*command).stdout for command in commands] == before


def test_features_of_others_are_a_reference_by_name() -> None:
    """Rows that were computed elsewhere, and a DNA of features, are stored, and scored against by name."""
    stream = np.random.default_rng(0)
    for name, n in (("real", 30), ("fake", 20)):
        np.save(f"{name}.npy", stream.normal(size=(n, 4)).astype(np.float32))
    (built,) = run_json("references", "build", "real.npy", "--name", "rows/all", "--kinds", "features")
    assert built["kind"] == "features-10000"
    run("make", "real.npy", "--kinds", "features", "-o", "dna.npz")
    (imported,) = run_json("references", "import", "dna.npz", "--name", "rows/made")
    assert imported["kind"] == "features-10000"
    values = [
        run_json("score", "fake.npy", "--reference", name, "--metrics", "kid")["results"][0]["kid"]
        for name in ("rows/all", "rows/made", "real.npy")
    ]
    assert values[0] == values[1] == values[2]


def test_references_may_be_auto_histograms() -> None:
    """Beside one in ranges `%auto` tells which: in lists, to `show`, as a reference; they are the last default."""
    for ranges in ((), ("--ranges", "auto")):
        run(
            "references",
            "build",
            "real",
            "--name",
            "cats/train",
            "--extractor",
            "tiny",
            "--kinds",
            "histogram",
            *ranges,
        )
    listed = run("references", "list", "cats").stdout
    assert "cats/train@tiny#histogram-1000%auto " in listed
    assert "auto, found by each histogram itself" in run("references", "show", "cats/train%auto").stdout
    assert run_json("references", "show", "cats/train%auto")[0]["ranges"] == "auto"
    scored = run_json("score", "gen_a", "--reference", "cats/train%auto")
    assert (
        scored["results"]
        == run_json("score", "gen_a", "--reference", "real", "--extractor", "tiny", "--ranges", "auto")["results"]
    )
    assert "could be: " in run("score", "gen_a", "--reference", "cats/train", exit_code=1).stderr
    assert "0 bad" in run("references", "verify").stdout
    run("references", "build", "real", "--name", "cats/train", "--extractor", "other", "--kinds", "histogram")
    assert run_json("references", "show", "cats/train@other")[0]["ranges"] == "auto"
    error = run("references", "export", "cats/train@other", "-o", "x", "--format", "vdna", exit_code=1).stderr
    assert "the bins of this DNA are its own" in error


def test_several_sources_are_one_image_set() -> None:
    """Folders of one image set are read one after the other, and their hashes are kept."""
    options = ("--extractor", "tiny", "--kinds", "histogram")
    run("references", "build", "real", "gen_a", "--name", "cats/all", *options)
    for source in ("real", "gen_a"):
        run("make", source, "-o", f"{source}.npz", *options)
    run("merge", "real.npz", "gen_a.npz", "-o", "both.npz")
    reference, merged = load_reference("cats/all"), load_vdna("both.npz")
    assert (reference.distribution.state == merged.distribution.state).all()
    assert reference.provenance == merged.provenance


def test_a_standard_dataset_brings_its_name(tmp_path: Path) -> None:
    """`dataset:NAME/SPLIT` with `--root` is read, checked and called by its own name, resolution and licence."""
    raw = tmp_path / "copy" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    digits = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), np.uint8)
    (raw / "t10k-images-idx3-ubyte").write_bytes(np.array([2051, *digits.shape], ">i4").tobytes() + digits.tobytes())
    labels = np.arange(10_000, dtype=np.uint8) % 10
    (raw / "t10k-labels-idx1-ubyte").write_bytes(np.array([2049, 10_000], ">i4").tobytes() + labels.tobytes())
    options = ("--root", "copy", "--extractor", "tiny", "--kinds", "gaussian", "--batch-size", 500)
    (built,) = run_json("references", "build", "dataset:MNIST/test", *options)
    assert built["name"] == "mnist/test@tiny#gaussian"
    assert built["n_images"] == 10_000
    assert built["resolution"] == "28x28"
    assert built["licence"]


def test_references_are_compared_by_name() -> None:
    """`compare` takes names where it takes files."""
    options = ("--extractor", "tiny", "--kinds", "histogram")
    run("references", "build", "real", "--name", "cats/train", *options)
    run("make", "gen_a", "-o", "fake.npz", *options)
    run("make", "real", "-o", "real.npz", *options)
    named = run_json("compare", "cats/train", "fake.npz", "cats/train")["results"]
    files = run_json("compare", "real.npz", "fake.npz", "real.npz")["results"]
    assert [result["emd"] for result in named] == [result["emd"] for result in files]
    assert "no file, folder or reference 'nothing'" in run("compare", "nothing", "fake.npz", exit_code=1).stderr


def test_ranks_build_the_references_of_one_process() -> None:
    """Under torchrun ranks share the images and one writes: the very counts of one process, and moments to 1e-12."""
    options = ["--extractor", "seeded_resnet18", "--layers", "layer1_0", "--workers", "0", "--batch-size", "3"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    for store, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--nproc-per-node", "2"])):
        command = [sys.executable, *launcher, "-m", "vdna_metrics", "references", "build", "real", "gen_a"]
        named = ["--name", "cats/all", "--store", store]
        done = subprocess.run([*command, *named, *options], env=environment, capture_output=True, timeout=600)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.count(b"20 images") == 3
    for record in list_references("one"):
        one, two = load_reference(f"one::{record.name}"), load_reference(f"two::{record.name}")
        assert_same_state(one.distribution, two.distribution)
        assert one.provenance == two.provenance


@pytest.mark.parametrize(
    ("arguments", "exit_code", "error"),
    [
        (("real",), 2, "--name is needed"),
        (("real", "--name", "cats"), 2, "'cats' is not DATASET/SPLIT"),
        (("real", "--name", "Cats/train"), 1, "dataset 'Cats': expected lower-case letters"),
        (("real", "--name", "cats/train", "--root", "."), 2, "--root is for a dataset:NAME/SPLIT"),
        (("real", "--name", "cats/train", "--store", "hub:lab/references"), 1, "is not on this machine"),
        (("real", "--name", "bsds500/test", "--extractor", "vdna_tiny"), 1, "ships with the package"),
        (("dataset:cifar10", "--extractor", "tiny"), 2, "is not DATASET/SPLIT"),
    ],
)
def test_build_refuses(arguments: tuple[str, ...], exit_code: int, error: str) -> None:
    """What cannot become a reference is an error that says why, before an image is read, and leaves none behind."""
    if "--extractor" not in arguments:
        arguments += ("--extractor", "tiny")
    said = run("references", "build", *arguments, exit_code=exit_code).stderr
    assert error in said
    assert "images/s" not in said
    assert _names() == []


def test_another_reference_of_that_name_is_not_replaced_unasked() -> None:
    """The same again changes nothing, other contents are refused, and replace it when that is said."""
    options = ("--name", "cats/train", "--extractor", "tiny", "--kinds", "gaussian")
    run("references", "build", "real", *options)
    run("references", "build", "real", *options)
    error = run("references", "build", "gen_a", *options, exit_code=1).stderr
    assert "with other contents: there 12 images" in error
    assert load_reference("cats/train").n_images == 12
    run("references", "build", "gen_a", *options, "--overwrite")
    assert load_reference("cats/train").n_images == 8


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """`kill -9` loses what came after the last checkpoint; the same command then gives the file of an undisturbed one.

    The process saves after every batch, waits at the fourth, and is killed there.
    """
    write_folder(tmp_path / "many", small_images(12, 5))
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, sys.argv.pop(1))
        wait = sys.argv.pop(1) == "wait"
        import pytest
        from helpers.commands import put_small_networks
        from vdna_metrics.cli.commands.references import build
        from vdna_metrics.build import passes
        from vdna_metrics.extractors.network import FeatureExtractor
        put_small_networks(pytest.MonkeyPatch())
        passes.Checkpoint.is_due = lambda *_, **__: True
        forward, seen = FeatureExtractor.from_resized, []
        def count(self, images):
            seen.append(len(images))
            print("batch", flush=True)
            if wait and len(seen) == 4:
                time.sleep(600)
            return forward(self, images)
        FeatureExtractor.from_resized = count
        from vdna_metrics.cli import main
        main()
    """)

    def start(home: str, wait: str) -> subprocess.Popen[str]:
        options = ["--name", "cats/all", "--extractor", "tiny", "--batch-size", "2", "--workers", "0"]
        return subprocess.Popen(
            [sys.executable, "-c", script, str(CHECKOUT / "tests"), wait, "references", "build", "many", *options],
            env={**os.environ, "VDNA_METRICS_HOME": home, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    for home in ("killed", "whole"):
        run("references", "import", "tiny.npz", "--name", "tiny", "--store", f"{home}/reference_stats")
    killed = start("killed", "wait")
    assert killed.stdout is not None
    for _ in range(4):
        assert killed.stdout.readline() == "batch\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not Path("killed/reference_stats/dnas").exists()
    outputs = {}
    for home in ("killed", "whole"):
        outputs[home], errors = start(home, "go").communicate(timeout=600)
        assert "cats/all@tiny#gaussian: 12 images" in outputs[home], errors
    assert [outputs[home].count("batch") for home in ("killed", "whole")] == [3, 6]
    digests = {
        home: {path.name: sha256_of_file(path) for path in Path(home, "reference_stats", "dnas").iterdir()}
        for home in ("killed", "whole")
    }
    assert digests["killed"] == digests["whole"]
    assert len(digests["killed"]) == 3
    assert not list(Path("killed/reference_stats").glob(".*.checkpoint"))


# ------------------------------------------------------------------------------------------------- import and export
def test_statistics_of_others_are_imported_and_exported() -> None:
    """Mean and covariance of clean-fid become a reference by name, and come out as a file that it reads."""
    stream = np.random.default_rng(0)
    features = stream.normal(size=(100, 2048))
    np.savez("cats_clean.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    arguments = ("references", "import", "cats_clean.npz", "--name", "cats-64/train", "--mode", "clean")
    assert "give --images" in run(*arguments, "--format", "clean-fid", exit_code=1).stderr
    (imported,) = run_json(*arguments, "--format", "clean-fid", "--images", "100", "--resolution", "64x64")
    assert imported["name"] == "cats-64/train@fid_inception#layer_gaussian[block_3]"
    assert imported["origin"].startswith("clean-fid (ddof 1): cats_clean.npz, sha256 ")
    assert "weights" not in run("references", "show", "cats-64/train").stdout.replace("weights        not recorded", "")
    run("references", "export", "cats-64/train", "-o", "again.npz")
    with np.load("again.npz") as again, np.load("cats_clean.npz") as before:
        np.testing.assert_array_equal(again["mu"], before["mu"])
        np.testing.assert_allclose(again["sigma"], before["sigma"], rtol=4e-16)


def test_imported_features_stand_beside_their_gaussian() -> None:
    """dgm-eval's representations are two references of one name, of which the features are as many as asked for."""
    reps = np.random.default_rng(0).normal(size=(20, 1024))
    np.savez("reps_cats_dinov2_nimage-20_train.npz", model="dinov2", reps=reps, hparams={"nsample": 20})
    arguments = ("references", "import", "reps_cats_dinov2_nimage-20_train.npz", "--name", "cats/train")
    imported = run_json(*arguments, "--feature-images", 8)
    assert [entry["name"] for entry in imported] == [
        "cats/train@fd_dinov2#layer_gaussian", "cats/train@fd_dinov2#features-8",
    ]  # fmt: skip
    assert "0 bad" in run("references", "verify").stdout


def test_dna_files_and_ranges_go_into_the_store() -> None:
    """A DNA of `make` or `merge` becomes a reference, ranges of `calibrate` those of their extractor."""
    run("make", "real", "-o", "real.npz", "--extractor", "tiny")
    (imported,) = run_json("references", "import", "real.npz", "--name", "cats/train")
    assert imported["name"] == "cats/train@tiny#histogram-1000"
    assert run("references", "import", "tiny.npz", "--name", "a/b", exit_code=2).stderr.endswith(
        "--name is the extractor's name\n"
    )
    run("references", "export", "cats/train", "--format", "vdna", "-o", "cats")
    assert json.loads(Path("cats.json").read_text())["num_images"] == 12


# ---------------------------------------------------------------------------------------------------------- publish
def test_publish_uploads_what_others_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference goes to the hub with its ranges, and is listed and scored against from there."""
    run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", "--kinds", "histogram")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        printed = run("references", "publish", "cats/train", "--to", "hub:lab/references").stdout
        assert printed == "cats/train@tiny#histogram-1000: in hub:lab/references\nranges@tiny: in hub:lab/references\n"
        monkeypatch.setenv("VDNA_METRICS_HOME", "another")
        (listed,) = run_json("references", "list", "--store", "hub:lab/references")
        assert listed["name"] == "cats/train@tiny#histogram-1000"
        name = "hub:lab/references::cats/train"
        (result,) = run_json("score", "real", "--reference", name, "--extractor", "tiny")["results"]
        assert result["emd"] == 0


def test_verify_finds_what_was_changed(tmp_path: Path) -> None:
    """A changed byte is found, named, and is exit code 1."""
    run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", "--kinds", "gaussian")
    (path,) = Path("home/reference_stats/dnas").iterdir()
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    result = run("references", "verify", exit_code=1)
    assert "BAD   cats/train@tiny#gaussian" in result.stdout
    assert "was changed: its sha256 is" in result.stdout
    assert "was changed" in run("references", "show", "cats/train", exit_code=1).stderr
