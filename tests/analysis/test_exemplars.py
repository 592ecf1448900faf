"""Exemplars: the images that pull a distance most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import tiny_extractor
from helpers.image_files import pixels

from vdna_metrics import Reading, build_dnas, calibrate, open_images
from vdna_metrics.analysis.exemplars import find_exemplars
from vdna_metrics.analysis.explain import Explanation, explain as explain_dnas


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
    with pytest.raises(ValueError, match="at least one neuron and one image are needed, got 0 and 5"):
        find_exemplars(explanation, fake, extractor, neurons=0)
    gaussian = build_dnas(fake, extractor, ["gaussian"])["gaussian"]
    with pytest.raises(ValueError, match="this is of gaussian ones"):
        find_exemplars(explain_dnas(gaussian, gaussian), fake, extractor)
