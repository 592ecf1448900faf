"""The demo: its numbers are the library's, and its picture shows them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vdna_metrics import build_dnas, compare, create_extractor, load_reference
from vdna_metrics.demo import EXTRACTOR, PHOTOGRAPHS, REFERENCE, DemoEntry, draw_demo, run_demo
from vdna_metrics.references.procedural import PROCEDURAL_WORLDS, procedural_images
from vdna_metrics.references.store import find_ranges

IMAGES = 3


@pytest.fixture(scope="module")
def reports() -> dict[str, list[tuple[int, int | None]]]:
    """What the demo said of its progress."""
    return {}


@pytest.fixture(scope="module")
def entries(reports: dict[str, list[tuple[int, int | None]]]) -> list[DemoEntry]:
    """A demo of few images, each batch smaller than a world."""

    def progress(world: str):
        said = reports.setdefault(world, [])
        return lambda done, total: said.append((done, total))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vdna_metrics.demo._BATCH", 2)
        return run_demo(IMAGES, progress=progress)


def test_every_world_is_ranked_nearest_first(entries: list[DemoEntry]) -> None:
    """All worlds and the held-out photographs are there once, by growing VDNA-EMD, photographs first, noise last."""
    names = [entry.name for entry in entries]
    assert sorted(names) == sorted([PHOTOGRAPHS, *(world.replace("_", " ") for world in PROCEDURAL_WORLDS)])
    assert [entry.emd for entry in entries] == sorted(entry.emd for entry in entries)
    assert (names[0], names[-1]) == (PHOTOGRAPHS, "white noise")


def test_the_distances_are_those_of_compare(entries: list[DemoEntry]) -> None:
    """Each entry's three distances and its profile follow from its DNAs and the bundled reference."""
    reference = {kind: load_reference(REFERENCE, extractor=EXTRACTOR, kind=kind) for kind in entries[0].dnas}
    reference["layer_gaussian"] = reference["layer_gaussian"].select(["blocks.0", "blocks.2", "blocks.4"])
    for entry in entries:
        assert entry.emd == float(compare.emd(reference["histogram"], entry.dnas["histogram"]))
        assert entry.neuron_frechet == float(compare.neuron_frechet(reference["gaussian"], entry.dnas["gaussian"]))
        assert entry.layer_frechet == pytest.approx(
            float(compare.layer_frechet(reference["layer_gaussian"], entry.dnas["layer_gaussian"]))
        )
        weights = reference["histogram"].layout
        mean = sum(float(entry.profile[layer]) * count for layer, count in weights.items()) / weights.total
        assert entry.emd == pytest.approx(mean, rel=1e-12)


def test_a_world_is_its_first_images(entries: list[DemoEntry]) -> None:
    """The DNA of a world is that of its first n images, of which the first is the example."""
    world = "dead_leaves_disks"
    (entry,) = (entry for entry in entries if entry.name == "dead leaves disks")
    images = np.stack(list(procedural_images(world, IMAGES)))
    whole = build_dnas(images, create_extractor(EXTRACTOR), ranges=find_ranges(EXTRACTOR))["histogram"]
    assert entry.dnas["histogram"].n_images == IMAGES
    assert float(compare.emd(whole, entry.dnas["histogram"])) < 0.01
    assert entry.example is not None
    assert np.array_equal(entry.example, images[0])


def test_progress_is_told_after_each_batch(
    entries: list[DemoEntry], reports: dict[str, list[tuple[int, int | None]]]
) -> None:
    """Every world reports the images done, up to all of them."""
    assert list(reports) == list(PROCEDURAL_WORLDS)
    assert all([done for done, _ in said] == [2, IMAGES] for said in reports.values())


def test_the_picture_shows_examples_profiles_and_histograms(entries: list[DemoEntry], tmp_path: Path) -> None:
    """The picture is a PNG in which the examples can be found and every set's colour is drawn."""
    from vdna_metrics.reports.plots import COLOURS

    draw_demo(entries, tmp_path / "demo.png")
    with Image.open(tmp_path / "demo.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    assert (width, height) == (1320, 1045)
    for colour in COLOURS[: len(entries)]:
        near = np.abs(pixels - list(bytes.fromhex(colour[1:]))).max(2) < 8
        assert near.sum() > 300
    rows = (pixels < 250).any(2).mean(1)
    for part in (rows[: height // 4], rows[height // 4 : height * 2 // 3], rows[height * 2 // 3 :]):
        assert part.max() > 0.2
    noise = pixels[: height // 4, -width // 6 :]  # the farthest is last
    assert noise.reshape(-1, 3).std(0).min() > 40


def test_the_suffix_decides_the_format(entries: list[DemoEntry], tmp_path: Path) -> None:
    """An SVG holds the names and layers as it should."""
    draw_demo(entries, tmp_path / "demo.svg")
    assert (tmp_path / "demo.svg").read_text().lstrip().startswith("<?xml")


def test_a_picture_that_fails_leaves_no_file(entries: list[DemoEntry], tmp_path: Path) -> None:
    """What goes wrong while drawing does not harm the picture that is there."""
    path = tmp_path / "demo.png"
    path.write_bytes(b"before")
    broken = replace(entries[1], profile={"other": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="layers differ"):
        draw_demo([entries[0], broken, *entries[2:]], path)
    with pytest.raises(ValueError, match="xyz"):
        draw_demo(entries, tmp_path / "demo.xyz")
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["demo.png"]
