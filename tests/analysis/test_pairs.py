"""Distances between single images are those of their own DNAs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import tiny_extractor
from helpers.image_files import pixels

from vdna_metrics import VDNA, Reading, build_dnas, calibrate, compare
from vdna_metrics.analysis import compare_images
from vdna_metrics.functional import image_means

BINS = 50
ONE = Reading(batch_size=1)  # so that an image's activations are the same to the last bit however it is looked at


def _setting(max_positions: int | None = None) -> tuple[Any, np.ndarray, dict[str, VDNA]]:
    """A network, 9 images, and the DNAs of 11 others."""
    extractor = tiny_extractor()
    real, images = pixels(11, 20, 20, 3), pixels(9, 20, 20, 3, seed=1) // 2
    dnas: dict[str, VDNA] = {}
    kinds = ("histogram", "gaussian", "layer_gaussian")
    dnas |= build_dnas(
        real, extractor, kinds, bins=BINS, ranges=calibrate(real, extractor), max_positions=max_positions, name="real"
    )
    return extractor, images, dnas


def _dna(image: np.ndarray, extractor: Any, like: VDNA) -> VDNA:
    ranges = like.distribution.ranges  # type: ignore[attr-defined]
    return build_dnas(
        image[None], extractor, bins=BINS, ranges=ranges, max_positions=like.provenance.max_positions, reading=ONE
    )["histogram"]


@pytest.mark.parametrize("max_positions", [None, 5])
def test_pairs_of_images_are_compared_as_their_dnas(max_positions: int | None) -> None:
    """One image against many, and pairs of images, are at the EMD of their own DNAs; an image is at 0 from itself."""
    extractor, images, dnas = _setting(max_positions)
    others = pixels(9, 20, 20, 3, seed=5)
    options: dict[str, Any] = {
        "bins": BINS,
        "ranges": dnas["histogram"].distribution.ranges,  # type: ignore[attr-defined]
        "max_positions": max_positions,
        "reading": ONE,
    }
    a, b = ([_dna(image, extractor, dnas["histogram"]) for image in side] for side in (images, others))
    pairs = compare_images(images, others, extractor, pictures=1, **options)
    assert pairs.scores.tolist() == pytest.approx([float(compare.emd(x, y)) for x, y in zip(a, b, strict=True)])
    assert set(pairs.pictures) == {pairs.nearest(1)[0].index, pairs.farthest(1)[0].index}
    to_one = compare_images(images[2:3], images, extractor, **options)
    assert to_one.scores.tolist() == pytest.approx([float(compare.emd(a[2], y)) for y in a])
    assert float(to_one.scores[2]) == 0
    weights = {"first": range(6), "second": range(5)}
    weighed = compare_images(images[2:3], images, extractor, weights=weights, unit="activation", **options)
    expected = [float(compare.emd(a[2], y, weights=weights, unit="activation")) for y in a]
    assert weighed.scores.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_pairs_by_gaussians_are_between_means(batch_size: int) -> None:
    """By Gaussians, images are at the squared distance of their mean activations."""
    extractor, images, _ = _setting()
    others = pixels(9, 20, 20, 3, seed=5)
    means = [
        torch.cat([image_means(x) for x in extractor(torch.from_numpy(side).permute(0, 3, 1, 2)).values()], dim=1)
        for side in (images, others)
    ]
    reading = Reading(batch_size=batch_size)
    pairs = compare_images(images, others, extractor, kind="gaussian", reading=reading)
    torch.testing.assert_close(pairs.scores, (means[0] - means[1]).square().mean(dim=1), rtol=1e-5, atol=0)
    to_one = compare_images(images[:1], others, extractor, kind="gaussian", reading=reading)
    torch.testing.assert_close(to_one.scores, (means[0][:1] - means[1]).square().mean(dim=1), rtol=1e-5, atol=0)


def test_images_that_make_no_pairs_are_refused() -> None:
    """Sides of different lengths, pairs that might lose an image, and unknown kinds are errors."""
    extractor, images, _ = _setting()
    with pytest.raises(ValueError, match="one image or as many as the other side are needed, got 4 and 9"):
        compare_images(images[:4], images, extractor, kind="gaussian")
    with pytest.raises(ValueError, match="give skip_bad=False"):
        compare_images(images, images, extractor, kind="gaussian", reading=Reading(skip_bad=True))
    with pytest.raises(ValueError, match="kind must be histogram or gaussian, got 'layer_gaussian'"):
        compare_images(images, images, extractor, kind="layer_gaussian")  # type: ignore[arg-type]
