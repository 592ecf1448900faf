"""DNAs of groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.dnas import KINDS, assert_same_state, tiny_extractor
from helpers.image_files import encode, pixels

from vdna_metrics import Reading, build_dnas, calibrate, open_images
from vdna_metrics.analysis.comparison import build_group_dnas


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three class folders of 5, 3 and 2 images."""
    for place, (name, count) in enumerate({"bird": 5, "cat": 3, "dog": 2}.items()):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(count):
            file = tmp_path / "set" / name / f"{i}.png"
            file.write_bytes(encode(pixels(20, 24, 3, seed=10 * place + i)))
    return tmp_path / "set"


@pytest.mark.parametrize("batch_size", [3, 4, 32])
def test_groups_add_up_to_all(classes: Path, batch_size: int) -> None:
    """The sum of the classes' DNAs is what `build_dnas` makes of all: counts to the bit, moments to rounding."""
    extractor, reading = tiny_extractor(), Reading(batch_size=batch_size)
    ranges = calibrate(classes, extractor)
    whole = build_dnas(classes, extractor, KINDS, bins=50, ranges=ranges, reading=reading)
    groups = build_group_dnas(classes, extractor, KINDS, bins=50, ranges=ranges, reading=reading)
    for kind in KINDS:
        assert {name: dna.n_images for name, dna in groups[kind].items()} == {"bird": 5, "cat": 3, "dog": 2}
        first, *others = groups[kind].values()
        assert_same_state(sum(others, first).distribution, whole[kind].distribution)


def test_a_groups_dna_is_that_of_its_folder(classes: Path) -> None:
    """A class has the counts and the manifest hash of its folder read by itself, and is named after both."""
    extractor = tiny_extractor()
    ranges = calibrate(classes, extractor)
    group = build_group_dnas(classes, extractor, ranges=ranges, reading=Reading(batch_size=1))["histogram"]["cat"]
    alone = build_dnas(classes / "cat", extractor, ranges=ranges, reading=Reading(batch_size=1))["histogram"]
    assert_same_state(group.distribution, alone.distribution)
    assert group.provenance == replace(alone.provenance, sources=("set/cat",))


def test_groups_of_ones_own(classes: Path) -> None:
    """Groups may be given, one an image, and shards of each add up."""
    extractor, source = tiny_extractor(), open_images(classes)
    labels = [index % 2 for index in range(len(source))]
    found = build_group_dnas(source, extractor, ["gaussian"], groups=labels, neurons={"first": [1, 4]}, name="mine")
    assert found["gaussian"][1].provenance.sources == ("mine/1",)
    assert found["gaussian"][1].layout.neurons == {"first": (1, 4)}
    shards = [
        build_group_dnas(classes, extractor, ["gaussian"], reading=Reading(batch_size=2, shard=(i, 2)))["gaussian"]
        for i in range(2)
    ]
    counts = {name: sum(s[name].n_images for s in shards if name in s) for name in ("bird", "cat", "dog")}
    assert counts == {"bird": 5, "cat": 3, "dog": 2}


def test_a_bad_image_is_named_in_its_group(classes: Path) -> None:
    """A skipped image is in the provenance of its group alone; a group without any good one is left out."""
    extractor = tiny_extractor()
    (classes / "cat" / "1.png").write_bytes(b"no image")
    (classes / "empty").mkdir()
    (classes / "empty" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cat/1\.png"):
        build_group_dnas(classes, extractor, ["gaussian"])
    found = build_group_dnas(classes, extractor, ["gaussian"], reading=Reading(skip_bad=True, batch_size=2))["gaussian"]
    assert {name: [bad for bad, _ in dna.provenance.skipped] for name, dna in found.items()} == {
        "bird": [],
        "cat": ["cat/1.png"],
        "dog": [],
    }


def test_max_positions_is_for_histograms_alone(classes: Path) -> None:
    """Histograms count so many positions an image and say so; moments are of all positions."""
    extractor = tiny_extractor()
    ranges = calibrate(classes, extractor)
    found = build_group_dnas(classes, extractor, ["histogram", "gaussian"], ranges=ranges, max_positions=3)
    histogram, gaussian = found["histogram"]["dog"], found["gaussian"]["dog"]
    assert (histogram.provenance.max_positions, gaussian.provenance.max_positions) == (3, None)
    assert set(histogram.distribution.counts.sum(1).tolist()) == {2 * 3}  # type: ignore[attr-defined]


def test_groups_that_cannot_be_made_are_refused(classes: Path, tmp_path: Path) -> None:
    """Another number of groups than of images, and ways to read that need one state, are errors."""
    extractor = tiny_extractor()
    with pytest.raises(ValueError, match="set: 10 images and 3 groups"):
        build_group_dnas(classes, extractor, ["gaussian"], groups="abc")
    with pytest.raises(ValueError, match="checkpoint and all_ranks are for build_dnas"):
        build_group_dnas(classes, extractor, ["gaussian"], reading=Reading(checkpoint=tmp_path))
