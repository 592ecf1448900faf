"""Samples of features from any source, in one piece or many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import small_images, write_folder
from helpers.dnas import tiny_extractor

from vdna_metrics import VDNA, Reading, SlicedWassersteinDistance, build_dnas, load_vdna
from vdna_metrics.build import attributes, disjoint_groups
from vdna_metrics.distributions import FeatureSample

EXTRACTOR = tiny_extractor()
ONCE = small_images(17, 0)
COPIES = ONCE[[0, 1, 2, 0, 3, 4, 4, 5, 6, 0, 7, 8, 9, 4, 10, 11, 2]]
SETS = {"each once, of which some fall out": (ONCE, 9), "with copies, and all stay": (COPIES, 20)}
READING = Reading(batch_size=4)


def _made(images: Any, size: int, reading: Reading = READING, **options: Any) -> Any:
    return build_dnas(images, EXTRACTOR, ["features"], feature_images=size, reading=reading, **options)["features"]


def _sum(parts: list[VDNA]) -> VDNA:
    total, *others = parts
    for other in others:
        total = total + other
    return total


def _assert_equal(found: VDNA, expected: VDNA) -> None:
    assert found.fingerprint == expected.fingerprint
    assert found.n_images == expected.n_images
    assert torch.equal(found.distribution.state, expected.distribution.state)


@pytest.mark.parametrize("name", SETS)
def test_every_way_to_the_images_gives_the_same_sample(name: str, tmp_path: Path) -> None:
    """Of one size of batch, files, arrays, tensors, shards and groups give the same sample, features to the bit."""
    images, size = SETS[name]
    expected = _made(images, size)
    assert isinstance(expected.distribution, FeatureSample)
    assert list(expected.layout) == ["second"]
    write_folder(tmp_path / "folder", images)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    half = {"half": [i % 3 == 0 for i in range(len(images))]}
    found = {
        "folder": _made(tmp_path / "folder", size),
        "tensors": _made(tensors.split(4), size),
        "backwards": _made([tensors[4 * i : 4 * i + 4] for i in reversed(range(5))], size),
        "shards": _sum([_made(images, size, replace(READING, shard=(i, 2))) for i in (1, 0)]),
        "groups": _sum(list(_made(images, size, partition=disjoint_groups(len(images), 3)).values())),
        "attribute": _sum(list(_made(images, size, partition=attributes(half)).values())),
    }
    expected.save(tmp_path / "kept.npz")
    for dna in (*found.values(), load_vdna(tmp_path / "kept.npz")):
        _assert_equal(dna, expected)


def test_a_metric_sees_the_same_sample() -> None:
    """Metrics and builders tell images apart alike, and floats in [0, 1] are the uint8 images they came from."""
    images = torch.from_numpy(COPIES).permute(0, 3, 1, 2)
    expected = _made(COPIES, 9)
    for normalize in (False, True):
        metric = SlicedWassersteinDistance(EXTRACTOR, feature_images=9, normalize=normalize)
        for batch in images.split(4):
            metric.update(batch / 255 if normalize else batch)
        _assert_equal(metric.dna(), expected)


def test_the_sample_is_of_the_images() -> None:
    """Each row is the mean over positions of an image in the sample, as often as it was drawn."""
    rows = _made(COPIES, 20).distribution.features()["second"]
    activations = EXTRACTOR(torch.from_numpy(COPIES).permute(0, 3, 1, 2))["second"]
    expected = activations.double().mean(2).T
    nearest = torch.cdist(rows.double(), expected).min(1)
    assert float(nearest.values.max()) < 1e-5 * float(expected.abs().max())
    chosen = np.unique(COPIES[nearest.indices.numpy()].reshape(len(COPIES), -1), axis=0, return_counts=True)
    every = np.unique(COPIES.reshape(len(COPIES), -1), axis=0, return_counts=True)
    assert all(np.array_equal(a, b) for a, b in zip(chosen, every, strict=True))


def test_memory_is_that_of_the_sample() -> None:
    """What is asked for beforehand is what a sample of so many images comes to, with the memory that it grows into."""
    with pytest.raises(ValueError, match=r"features DNAs: 1 x 1 kB"):  # 17 images of 5 words, and half as much
        _made(ONCE, 9, replace(READING, memory_limit=10))
