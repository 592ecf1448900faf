"""`vdna-metrics regions`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import put_small_networks, run, run_json, small_images, write_folder
from PIL import Image


@pytest.fixture(autouse=True)
def _sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put_small_networks(monkeypatch)
    real = small_images(10, 0)
    darker = real.copy()
    darker[:, 10:] //= 3
    for name, images in (("real", real), ("fake", darker), ("same", real)):
        write_folder(tmp_path / name, images)
    for name, cut in (("maps", 10), ("less", 16)):
        (tmp_path / name).mkdir()
        labels = np.zeros((20, 20), np.uint8)
        labels[cut:] = 1
        for i in range(10):
            Image.fromarray(labels).save(tmp_path / name / f"{i:03}.png")
    few = tmp_path / "few"
    few.mkdir()
    for i in range(4):
        (few / f"{i:03}.png").write_bytes((tmp_path / "maps" / f"{i:03}.png").read_bytes())


def test_a_table_finds_the_region(tmp_path: Path) -> None:
    """The half that is darker comes first, with its share of the pixels and its number of images; a picture is made."""
    asked = ("regions", "real", "fake", "--masks", "maps", "--extractor", "tiny", "--names", "sky,ground")
    shown = run(*asked, "-o", "regions.png")
    rows = [line.split() for line in shown.stdout.splitlines() if line.startswith(("sky", "ground"))]
    assert [row[:5] for row in rows] == [["ground", "50.0", "50.0", "10", "10"], ["sky", "50.0", "50.0", "10", "10"]]
    assert float(rows[0][5]) > 5 * float(rows[1][5])
    assert "wrote regions.png" in shown.stdout
    with Image.open("regions.png") as picture:
        assert min(picture.size) > 200


def test_sets_may_have_label_maps_of_their_own() -> None:
    """A folder for each set, the reference's first; regions without names are numbers; the same images are at 0."""
    asked = ("regions", "real", "same", "fake", "--masks", "maps", "--masks", "maps", "--masks", "less")
    found = run_json(*asked, "--extractor", "tiny", "--distance", "nfd")
    same, fake = found["results"]
    assert [each["distance"] for each in same["regions"]] == [0, 0]
    shares = {each["region"]: each["share"] for each in fake["regions"]}
    assert shares == {"0": pytest.approx(0.8), "1": pytest.approx(0.2)}
    assert fake["distance"] == "nfd"


def test_clusters_of_the_reference_label_all() -> None:
    """Without label maps regions are clusters of the reference's pixels, alike in all sets."""
    (found,) = run_json("regions", "real", "same", "--clusters", 3, "--extractor", "tiny")["results"]
    assert sorted(each["region"] for each in found["regions"]) == ["cluster 0", "cluster 1", "cluster 2"]
    for each in found["regions"]:
        assert each["share"] == each["share_reference"]
        assert not each["distance"]


def test_a_few_label_maps_teach_a_segmenter() -> None:
    """Label maps of some images of the reference label all images."""
    asked = ("regions", "real", "same", "--examples", "few", "--names", "sky,ground", "--extractor", "tiny")
    (found,) = run_json(*asked, "--label-layers", "first")["results"]
    assert {each["region"] for each in found["regions"]} == {"sky", "ground"}
    assert sum(each["share"] for each in found["regions"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give one of --masks, --examples and --clusters, got none"),
        (("--masks", "maps", "--clusters", "2"), "got --masks and --clusters"),
        (("--examples", "few"), "--examples needs --names"),
        (("--examples", "few", "--names", "a"), "--examples needs two --names at least, got a"),
        (("--masks", "maps", "--names", "a,a"), "'a,a': expected a name for each region, all different"),
        (("--clusters", "3", "--names", "a,b"), "--clusters 3 and 2 --names"),
        (("--masks", "maps") * 3, "give --masks once, or once for each of 2 sets, got 3"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[str, ...], message: str) -> None:
    """What is asked for twice, or not at all, is an error before anything is read."""
    assert message in " ".join(run("regions", "real", "fake", *options, exit_code=2).stderr.split())


def test_missing_label_maps_are_named() -> None:
    """An image without a label map is an error that names the file that is not there."""
    Path("maps/004.png").unlink()
    told = run("regions", "real", "fake", "--masks", "maps", "--extractor", "tiny", exit_code=1)
    assert "004.png has no label map, there is no file maps/004.png" in told.stderr
    told = run("regions", "real", "fake", "--examples", "real/no", "--names", "a,b", "--extractor", "tiny", exit_code=1)
    assert "real/no has no label map of an image of real, as real/no/000.png" in told.stderr


@pytest.mark.parametrize("by", [("--masks", "maps"), ("--clusters", "2")])
def test_images_that_are_skipped_are_told_and_do_not_count(by: tuple[str, str]) -> None:
    """Of a set with a broken image the others' numbers and shares are told, and shown in the picture."""
    Path("fake/001.png").write_bytes(b"none")
    asked = ("regions", "real", "fake", *by, "--extractor", "tiny", "--skip-bad", "-o", "regions.png")
    told = run(*asked, "--json")
    assert told.stderr.count("skipped: fake: 001.png") == 1
    found = json.loads(told.stdout)["results"][0]["regions"]
    assert max(each["n_images"] for each in found) == 9
    assert sum(each["share"] for each in found) == pytest.approx(1)
    assert Path("regions.png").is_file()


def test_few_images_and_pixels_of_no_region_are_warned_of() -> None:
    """One sentence says of the region with the fewest images what chance does, one how many pixels are 255."""
    labels = np.full((20, 20), 255, np.uint8)
    labels[15:] = 1
    Image.fromarray(labels).save("less/000.png")
    asked = ("regions", "real", "fake", "--masks", "maps", "--masks", "less", "--extractor", "tiny")
    few, void = run_json(*asked)["warnings"]
    assert "0 of real: 10 images are few; chance alone adds up to" in few
    assert "0 of fake: 9 images are few" in few
    assert void == "fake: 8 % of the pixels are 255, which is no region"
    told = run(*asked).stderr
    assert [f"warning: {each}" in " ".join(told.split()) for each in (few, void)] == [True, True]


def test_only_numbers_that_label_maps_have_are_regions() -> None:
    """Numbers between those of the label maps have no row; 16 bits are read, 65535 among them."""
    for file in Path("maps").iterdir():
        labels = np.zeros((20, 20), np.uint16)
        labels[:5], labels[15:] = 300, 65535
        Image.fromarray(labels).save(file)
    (found,) = run_json("regions", "real", "fake", "--masks", "maps", "--extractor", "tiny")["results"]
    shares = {each["region"]: each["share"] for each in found["regions"]}
    assert shares == {"0": 0.5, "300": 0.25, "65535": 0.25}


def test_label_maps_that_cannot_be_are_named() -> None:
    """A missing folder, a label without a name and maps of thousands of numbers are errors that name the file."""
    asked = ("regions", "real", "fake", "--extractor", "tiny", "--masks")
    assert "there is no folder none of label maps" in run(*asked, "none", exit_code=1).stderr
    told = " ".join(run(*asked, "maps", "--names", "sky", exit_code=1).stderr.split())
    assert "maps/000.png: expected labels 0 to 0, 255 for none, got 1; name all regions" in told
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)).save("maps/003.png")
    told = " ".join(run(*asked, "maps", exit_code=1).stderr.split())
    assert "at most 255 different labels without --names, got 1599, 1599 of maps/003.png among them" in told
