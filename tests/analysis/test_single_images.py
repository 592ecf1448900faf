"""Distances between single images are those of their own DNAs; exemplars are those that tell most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import tiny_extractor
from helpers.image_files import pixels

from vdna_metrics import VDNA, Reading, build_dnas, calibrate, compare, open_images
from vdna_metrics.analysis import compare_images
from vdna_metrics.analysis.explain import Explanation, explain as explain_dnas
from vdna_metrics.analysis.single_images import find_exemplars
from vdna_metrics.dna import Column
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
    column = Column("emd", weights=weights, unit="activation")
    weighed = compare_images(images[2:3], images, extractor, distance=column, **options)
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
    pairs = compare_images(images, others, extractor, distance="nfd", reading=reading)
    torch.testing.assert_close(pairs.scores, (means[0] - means[1]).square().mean(dim=1), rtol=1e-5, atol=0)
    to_one = compare_images(images[:1], others, extractor, distance="nfd", reading=reading)
    torch.testing.assert_close(to_one.scores, (means[0][:1] - means[1]).square().mean(dim=1), rtol=1e-5, atol=0)


def test_images_that_make_no_pairs_are_refused() -> None:
    """Sides of different lengths, pairs that might lose an image, and unknown kinds are errors."""
    extractor, images, _ = _setting()
    with pytest.raises(ValueError, match="expected one image or as many as the other side has, got 4 and 9"):
        compare_images(images[:4], images, extractor, distance="nfd")
    with pytest.raises(ValueError, match="give skip_bad=False"):
        compare_images(images, images, extractor, distance="nfd", reading=Reading(skip_bad=True))
    with pytest.raises(ValueError, match=r"EMD or the neuron Fréchet distance, got Column\(lfd"):
        compare_images(images, images, extractor, distance="lfd")


def _sets() -> tuple[Any, np.ndarray, np.ndarray, Explanation]:
    extractor = tiny_extractor()
    real, fake = pixels(11, 20, 20, 3), pixels(9, 20, 20, 3, seed=1) // 2
    ranges = calibrate(np.concatenate([real, fake]), extractor)
    dnas = [build_dnas(images, extractor, bins=100, ranges=ranges)["histogram"] for images in (real, fake)]
    return extractor, real, fake, explain_dnas(*dnas)


@pytest.mark.parametrize("batch_size", [2, 32])
def test_the_images_pulls_make_the_distance(batch_size: int) -> None:
    """The mean pull of all reference images is 0, that of all generated ones each neuron's EMD in bins."""
    extractor, real, fake, explanation = _sets()
    reading = Reading(batch_size=batch_size)
    for side, images in (("reference", real), ("generated", fake)):
        found = find_exemplars(explanation, images, extractor, side=side, neurons=11, reading=reading)  # type: ignore
        assert found.n_images == len(images)
        for neuron in explanation.top(11):
            expected = neuron.distance if side == "generated" else 0
            assert found.mean_pull[neuron.layer, neuron.neuron] == pytest.approx(expected, abs=1e-9)


def test_exemplars_are_the_images_that_pull_most() -> None:
    """In any batches the generated with the highest and the references with the lowest pull are kept, in order."""
    extractor, real, fake, explanation = _sets()
    for side, images, sign in (("reference", real, -1), ("generated", fake, 1)):
        every = find_exemplars(explanation, images, extractor, side=side, neurons=3, number=99)  # type: ignore
        few = find_exemplars(
            explanation,
            images,
            extractor,
            side=side,
            neurons=3,
            number=2,
            reading=Reading(batch_size=4),  # type: ignore
        )
        assert list(few.neurons) == [(neuron.layer, neuron.neuron) for neuron in explanation.top(3)]
        for key, kept in few.neurons.items():
            assert len(every.neurons[key]) == len(images)
            pulls = [exemplar.pull for exemplar in every.neurons[key]]
            assert pulls == sorted(pulls, reverse=sign > 0)
            assert [exemplar.index for exemplar in kept] == [e.index for e in every.neurons[key][:2]]
            names = open_images(images).names
            assert all(exemplar.name == names[exemplar.index] for exemplar in kept)
            resized = extractor.preprocess.resize(torch.from_numpy(images[kept[0].index]).permute(2, 0, 1)[None])[0]
            assert torch.equal(kept[0].image, resized.clamp(0, 255).round().byte())


def test_exemplars_see_the_positions_of_the_dna() -> None:
    """With fewer positions in the DNAs, pulls are of those positions, so that they still make the distance."""
    extractor, real, fake, _ = _sets()
    ranges = calibrate(np.concatenate([real, fake]), extractor)
    dnas = [build_dnas(i, extractor, bins=100, ranges=ranges, max_positions=5)["histogram"] for i in (real, fake)]
    explanation = explain_dnas(*dnas)
    found = find_exemplars(explanation, fake, extractor, neurons=2)
    for neuron in explanation.top(2):
        assert found.mean_pull[neuron.layer, neuron.neuron] == pytest.approx(neuron.distance, abs=1e-9)


def test_exemplars_that_cannot_be_found_are_refused() -> None:
    """Another extractor, an unknown side, no neurons, and explanations without histograms are errors."""
    extractor, _, fake, explanation = _sets()
    with pytest.raises(ValueError, match="not made with this extractor: weights differ"):
        find_exemplars(explanation, fake, tiny_extractor(seed=1))
    with pytest.raises(ValueError, match="side must be one of reference, generated, got 'fake'"):
        find_exemplars(explanation, fake, extractor, side="fake")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected neurons of at least 1, got 0"):
        find_exemplars(explanation, fake, extractor, neurons=0)
    gaussian = build_dnas(fake, extractor, ["gaussian"])["gaussian"]
    with pytest.raises(ValueError, match="this is of gaussian ones"):
        find_exemplars(explain_dnas(gaussian, gaussian), fake, extractor)
