"""One input language: whatever a set of images is given as, every command finds the same number."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import put_small_networks, run, run_json, small_images, write_folder

from vdna_metrics import Reading, build_dnas, calibrate, compare, create_extractor
from vdna_metrics.images import dataset_table
from vdna_metrics.images.procedural import procedural_images

BATCHES = Reading(batch_size=2)  # of the groups too: images that meet in a batch meet everywhere
OPTIONS = ("--batch-size", 2)
WORLD = "dead_leaves_squares"
N = 8


@dataclass(frozen=True)
class Place:
    """Where the sources lie, and what is to be found."""

    folder: Path
    emd: float


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One set of images as everything that a source can be, and the DNA of another set."""
    folder = tmp_path_factory.mktemp("sources")
    images = np.stack(list(procedural_images(WORLD, N)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VDNA_METRICS_HOME", str(folder / "home"))
        put_small_networks(patch)
        coco = dataset_table.DATASETS["coco"]
        patch.setitem(dataset_table.DATASETS, "coco", replace(coco, splits={**coco.splits, "val2017": N}))
        write_folder(folder / "images", images)
        write_folder(folder / "copy" / "val2017", images)
        files = sorted((folder / "images").iterdir())
        with zipfile.ZipFile("images.zip", "w") as archive, tarfile.open("images.tar", "w") as tar:
            for file in files:
                archive.write(file, file.name)
                tar.add(file, file.name)
        Path("images.txt").write_text("".join(f"images/{file.name}\n" for file in files))
        np.save("images.npy", images)
        np.savez("images.npz", images)

        network, real = create_extractor("tiny"), small_images(12, 0)
        ranges = calibrate(real, network, reading=BATCHES)
        ranges.save("ranges")
        np.save("real.npy", real)
        made = ("--extractor", "tiny", "--ranges", "ranges.npz", "--bins", 50, *OPTIONS)
        run("make", "real.npy", "-o", "real", *made)
        run("make", "images", "-o", "dna", *made)
        Path("dnas").mkdir()
        Path("dnas/one.npz").write_bytes(Path("dna.npz").read_bytes())
        Path("groups").mkdir()
        for i in (1, 2, 3):
            run("make", "images", "-o", f"groups/part{i}", "--shard", f"{i}/3", *made)
        run("references", "import", "dna.npz", "--name", "worlds/squares")
        run("references", "import", "dna.npz", "--name", "worlds/squares", "--store", "store")

        histograms = [
            build_dnas(each, network, ranges=ranges, bins=50, reading=BATCHES)["histogram"] for each in (real, images)
        ]
        yield Place(folder, float(compare.emd(*histograms)))


SOURCES: dict[str, tuple[Any, ...]] = {
    "folder": ("images",),
    "zip": ("images.zip",),
    "tar": ("images.tar",),
    "list": ("images.txt",),
    "npy": ("images.npy",),
    "npz": ("images.npz",),
    "dataset": ("dataset:coco/val2017", "--root", "copy"),
    "procedural": (f"procedural:{WORLD}/{N}",),
    "DNA": ("dna.npz",),
    "folder of DNAs": ("dnas",),
    "folder of groups": ("groups",),
    "name": ("worlds/squares",),
    "name of a store": ("store::worlds/squares",),
}


def _measured(command: str, words: tuple[Any, ...], reference: str, metric: str) -> float:
    """What a command says of a set against a reference."""
    source, *options = words
    if command == "score":
        printed = run_json("score", source, *options, "--reference", reference, "--metrics", metric, *OPTIONS)
        return float(printed["results"][0][metric])
    if command == "compare":
        printed = run_json("compare", reference, source, *options, "--metric", metric, *OPTIONS)
        return float(printed["results"][0][metric])
    small = ("--groups", 2, "--pictures", 0, "--no-fidelity", "-o", "report", *OPTIONS)
    printed = run_json("leaderboard", f"it={source}", *options, "--reference", reference, "--metrics", metric, *small)
    return float(printed["scores"][0]["value"])


@pytest.mark.parametrize("command", ["score", "compare", "leaderboard"])
@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same(kind: str, command: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain value is that of the library, bit for bit, whatever the set is given as and whoever is asked."""
    monkeypatch.chdir(place.folder)
    assert _measured(command, SOURCES[kind], "real.npz", "emd") == place.emd


@pytest.mark.parametrize("kind", ["folder", "DNA", "folder of groups", "name"])
def test_the_other_side_may_be_any_source_too(kind: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images as reference are counted in the bins and ranges of a DNA that is compared with them."""
    monkeypatch.chdir(place.folder)
    for command in ("score", "compare"):
        assert _measured(command, ("real.npz",), SOURCES[kind][0], "emd") == place.emd


@pytest.mark.slow
def test_statistics_of_another_tool_are_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of mean and covariance that tell what they are of are compared by their FID, without the network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    for name, mean in (("a", 0.0), ("b", 0.5)):
        np.savez(name, mu=np.full(2048, mean), sigma=np.eye(2048))
        imported = ("references", "import", f"{name}.npz", "--name", f"{name}/all", "--mode", "clean", "--images", 5000)
        run(*imported)
        run("references", "export", f"{name}/all", "-o", f"{name}_told.npz")
    printed = run_json("compare", "a_told.npz", "b_told.npz", "--metric", "fid")
    assert printed["results"][0]["fid"] == pytest.approx(2048 * 0.25, rel=1e-9)
    refused = run("compare", "a.npz", "b.npz", "--metric", "fid", exit_code=1).stderr
    assert "`vdna-metrics references import` takes what is missing" in refused
