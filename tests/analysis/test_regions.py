"""Sets compared region by region."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import small_images, write_folder
from torch import nn

from vdna_metrics import Reading, build_dnas, create_extractor
from vdna_metrics.analysis import compare_regions
from vdna_metrics.build import labelled, regions
from vdna_metrics.dna import compare

NETWORK = create_extractor(nn.Conv2d(3, 4, 3, 2, 1), layers=[""], size=16)
IMAGES = small_images(8, 0)
HALVES = np.array([[0], [1]])


def _sides(fake: np.ndarray, fake_maps: list[np.ndarray], names: tuple[str, ...] = ("top", "bottom")) -> tuple:
    sides = []
    for images, maps in ((fake, fake_maps), (IMAGES, [HALVES] * len(IMAGES))):
        labels = regions(maps, NETWORK, names)
        sides.append((build_dnas(images, NETWORK, ranges="auto", bins=100, partition=labels)["histogram"], labels))
    (generated, labels), (reference, reference_labels) = sides
    return generated, reference, labels, reference_labels


def test_a_fault_is_in_its_region() -> None:
    """What differs in one half alone is a distance of that half; its distance is that of its DNAs."""
    fake = IMAGES.copy()
    fake[:, 12:] //= 2
    sides = _sides(fake, [HALVES] * len(fake))
    found = compare_regions(*sides)
    assert [each.region for each in found.regions] == ["bottom", "top"]
    assert found["bottom"].distance > 10 * max(found["top"].distance, 0.1)
    assert found["bottom"].distance == pytest.approx(float(compare.emd(sides[1]["bottom"], sides[0]["bottom"])))
    assert (found["bottom"].n_images, found["bottom"].n_reference, found["bottom"].share) == (8, 8, 0.5)


def test_a_region_that_a_set_lacks_has_shares_and_no_distance() -> None:
    """A set without a region is told by its share of 0, at the end of the table."""
    maps = [np.zeros((2, 2), int)] * 6 + [HALVES] * 2
    found = compare_regions(*_sides(IMAGES, maps, ("top", "bottom", "nowhere")))
    last = found.regions[-1]
    assert (last.region, last.distance, last.n_images, last.share, last.share_reference) == ("nowhere", None, 0, 0, 0)
    assert found["bottom"].n_images == 2
    assert found["bottom"].share == pytest.approx(1 / 8)
    assert found.to_json()["regions"][-1]["distance"] is None


def test_other_regions_are_refused() -> None:
    """Both sets need the same regions, made as regions, and one of them in common."""
    generated, reference, labels, others = _sides(IMAGES, [HALVES] * len(IMAGES))
    renamed = regions([HALVES] * 8, NETWORK, ["sky", "ground"])
    with pytest.raises(ValueError, match="same regions of both sets, got top, bottom; and sky, ground"):
        compare_regions(generated, reference, renamed, others)
    with pytest.raises(ValueError, match="same regions of both sets"):
        compare_regions(generated, reference, labelled(["top", "bottom"] * 4), others)
    with pytest.raises(ValueError, match="no region is in both sets: reference top; generated bottom"):
        compare_regions({"bottom": generated["bottom"]}, {"top": reference["top"]}, labels, others)


def test_images_that_were_skipped_do_not_count(tmp_path: Path) -> None:
    """Numbers and shares are of the images that were read; labels of the others beside are refused."""
    write_folder(tmp_path / "set", IMAGES)
    (tmp_path / "set" / "000.png").write_bytes(b"none")
    maps = [np.zeros((2, 2), int), *[HALVES] * 7]
    labels, other = (regions(each, NETWORK, ["top", "bottom"]) for each in (maps, [HALVES] * 8))
    made = build_dnas(tmp_path / "set", NETWORK, ranges="auto", partition=labels, reading=Reading(skip_bad=True))[
        "histogram"
    ]
    whole = build_dnas(IMAGES, NETWORK, ranges="auto", partition=other)["histogram"]
    found = compare_regions(made, whole, labels.among(range(1, 8)), other)["top"]
    assert (found.n_images, found.n_reference, found.share) == (7, 8, 0.5)
    with pytest.raises(ValueError, match="'top': expected a DNA of the 8 images that the labels give it, got 7"):
        compare_regions(made, whole, labels, other)


def test_unknown_regions_and_no_regions_are_named() -> None:
    """A region that a report does not have is a KeyError with near names; sets without any are said to have none."""
    sides = _sides(IMAGES, [HALVES] * len(IMAGES))
    with pytest.raises(KeyError, match="no region 'botom'; did you mean 'bottom'"):
        compare_regions(*sides)["botom"]
    with pytest.raises(ValueError, match="reference none; generated none"):
        compare_regions({}, {}, *sides[2:])
