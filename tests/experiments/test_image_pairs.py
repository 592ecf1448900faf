"""The image pairs experiment's own arithmetic and images."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.image_files import pixels

from vdna_metrics import NeuronLayout, create_extractor
from vdna_metrics.analysis import compare_images
from vdna_metrics.dna import Column
from vdna_metrics.images import open_images
from vdna_metrics.references import find_ranges

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "experiments"


@pytest.fixture
def image_pairs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("image_pairs")


def test_precision_is_the_share_of_the_nearest_that_have_the_attribute(image_pairs: ModuleType) -> None:
    """Of the two nearest one has it for the first query, both for the second."""
    distances = np.array([[3.0, 1.0, 2.0, 9.0], [5.0, 1.0, 7.0, 2.0]])
    has = np.array([False, True, False, True])
    assert image_pairs.precision_at(distances, has, 2).tolist() == [0.5, 1]
    assert image_pairs.precision_at(distances[None], has, 3).tolist() == [[1 / 3, 2 / 3]]


def test_sorted_bins_are_as_far_apart_as_histograms(image_pairs: ModuleType) -> None:
    """Activations in bins 100 and 300 are (500 + 300) / 2 bins from two in bin 600, whatever their order."""
    layout = NeuronLayout({"a": 1})
    ranges = SimpleNamespace(layout=layout, low=torch.zeros(1), high=torch.ones(1))
    one, other, turned = (
        image_pairs.sorted_bins({"a": torch.tensor([[values]]) + 0.0005}, ranges)
        for values in ([0.3, 0.1], [0.6, 0.6], [0.1, 0.3])
    )
    assert image_pairs.neuron_distances(one, other).tolist() == [[400]]
    assert image_pairs.neuron_distances(one, turned).tolist() == [[0]]


def test_distances_are_those_of_compare_images(image_pairs: ModuleType) -> None:
    """Of all neurons and of some, through a network."""
    extractor = create_extractor("vdna_tiny")
    images = open_images(pixels(4, 48, 48, 3))
    network = SimpleNamespace(extractor=extractor, ranges=find_ranges(extractor))
    bins = image_pairs._bins(SimpleNamespace(device="cpu"), network, images)[0]
    found = image_pairs.neuron_distances([layer[:1] for layer in bins], bins)
    chosen = {"blocks.2": [3, 17], "blocks.4": [5]}
    rows = extractor.layout.rows_of(extractor.layout.select(neurons=chosen))
    for column, expected in (
        (Column("emd"), found.mean(axis=1)),
        (Column("emd", neurons=chosen), found[:, np.asarray(rows)].mean(axis=1)),
    ):
        scores = compare_images(images.read(0)[None], images, extractor, distance=column).scores
        np.testing.assert_allclose(scores.numpy(), expected, atol=1e-3)


def test_no_image_is_on_two_sides(image_pairs: ModuleType) -> None:
    """Queries are not in the gallery, of which as many have the attribute as have not, mixed."""
    having, lacking = (open_images(pixels(n, 8, 8, 3, seed=n)) for n in (7, 5))
    attribute = image_pairs.searched("images", "some", ([], []), having, lacking, 2)
    assert len(attribute.queries) == 2
    assert sorted(attribute.has) == [False] * 5 + [True] * 5
    for place, has in enumerate(attribute.has):
        inside = lacking if not has else having
        assert any(np.array_equal(attribute.gallery.read(place), inside.read(i)) for i in range(len(inside)))
        if has:
            assert not any(np.array_equal(attribute.gallery.read(place), having.read(i)) for i in range(2))
    assert not np.array_equal(attribute.has, np.sort(attribute.has))


def test_a_column_at_random_is_the_mean_of_its_draws(image_pairs: ModuleType) -> None:
    """The last draws are one column, in the others one choice is."""
    has = np.arange(20) < 10
    nearest, farthest = np.arange(20.0)[None], -np.arange(20.0)[None]
    distances = np.stack([nearest] * 4 + [nearest, farthest] * (image_pairs.RANDOM // 2))
    result = image_pairs.Result("network", SimpleNamespace(has=has), distances, {})
    assert result.precision.tolist() == [[1.0], [1.0], [1.0], [1.0], [0.5]]
    assert len(image_pairs.COLUMNS) == len(result.precision)
