"""Label maps by what a network says of pixels."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from vdna_metrics import Reading, create_extractor
from vdna_metrics.analysis import (
    PixelClusters,
    PixelSegmenter,
    cluster_pixels,
    extract_pixels,
    label_disagreement,
    label_images,
    train_segmenter,
)
from vdna_metrics.functional import intersection_over_union

SIZE = 16
NETWORK = create_extractor(nn.AvgPool2d(2), layers=[""], size=SIZE)  # colours, on a grid


def _scenes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of three colours with noise, and which is where."""
    stream = np.random.default_rng(seed)
    labels = np.kron(stream.integers(0, 3, (n, 2, 2)), np.ones((1, SIZE // 2, SIZE // 2), int))
    colours = np.array([[200, 20, 20], [20, 200, 20], [20, 20, 200]])
    images = colours[labels] + stream.normal(0, 10, (n, SIZE, SIZE, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


TRAIN, TRUTH = _scenes(6, 0)
TEST, HELD_OUT = _scenes(6, 1)


def test_clusters_are_the_colours() -> None:
    """k-means finds what sets pixels apart, without a label, on images that it did not see."""
    clusters = cluster_pixels(TRAIN, NETWORK, 3, pixels=600)
    found = intersection_over_union(label_images(TEST, clusters, NETWORK), HELD_OUT, 3, match=True)
    assert found.min() > 0.8


def test_a_pixel_belongs_to_the_nearest_centre() -> None:
    """Labels are those of the nearest centre by the distance itself, computed from every pixel's features."""
    stream = torch.Generator().manual_seed(3)
    clusters = cluster_pixels(TRAIN, NETWORK, 3, pixels=300)
    clusters = PixelClusters(clusters.layers, clusters.fingerprint, torch.rand(7, 3, generator=stream))
    features = extract_pixels(torch.from_numpy(TEST).permute(0, 3, 1, 2), NETWORK)
    expected = torch.cdist(features.flatten(2).transpose(1, 2), clusters.centres.expand(len(TEST), -1, -1)).argmin(2)
    agree = label_images(TEST, clusters, NETWORK).reshape(len(TEST), -1) == expected.numpy()
    assert agree.mean() > 0.999  # but for pixels at a border, by rounding


def test_clusters_come_the_largest_first() -> None:
    """Names of clusters follow their size."""
    images = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    images[:, :4] = 250
    clusters = cluster_pixels(images, NETWORK, 2, pixels=400)
    assert float(clusters.centres[0].mean()) < float(clusters.centres[1].mean())


def _segmenter(**options: object) -> PixelSegmenter:
    return train_segmenter(TRAIN[:2], TRUTH[:2], NETWORK, 3, **{"models": 3, "pixels": 1000, **options})


def test_a_segmenter_learns_of_few_images() -> None:
    """Two labelled images tell the classes of others."""
    labels = label_images(TEST, _segmenter(epochs=8), NETWORK)
    assert intersection_over_union(labels, HELD_OUT, 3).min() > 0.75


def test_a_seed_gives_one_segmenter() -> None:
    """A seed gives the same weights whatever torch's generator and the batches say; another one gives others."""
    first = _segmenter()
    torch.manual_seed(9)
    again, other = _segmenter(reading=Reading(batch_size=1)), _segmenter(seed=1)
    same = [torch.equal(a, b) for a, b in zip(first.weights, again.weights, strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.weights, other.weights, strict=True))
    assert not torch.equal(first.models[0][0].weight, first.models[1][0].weight)


@pytest.mark.parametrize(("classes", "sizes"), [(29, [3, 128, 32, 29]), (30, [3, 256, 128, 30])])
def test_networks_are_those_of_the_source(classes: int, sizes: list[int]) -> None:
    """Two hidden layers with ReLU and batch normalisation, 128 and 32 wide, from 30 classes on 256 and 128."""
    model = train_segmenter(TRAIN[:1], TRUTH[:1], NETWORK, classes, models=1, epochs=1, pixels=70).models[0]
    linear = [part for part in model if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in linear] == list(pairwise(sizes))
    names = [type(part).__name__ for part in model]
    assert names == ["Linear", "ReLU", "BatchNorm1d", "Linear", "ReLU", "BatchNorm1d", "Linear"]


def test_the_majority_decides_and_disagreement_is_a_divergence() -> None:
    """Votes and the Jensen-Shannon divergence are those that NumPy finds from what each network says of each pixel."""
    segmenter = _segmenter(epochs=1)
    features = extract_pixels(torch.from_numpy(TEST).permute(0, 3, 1, 2), NETWORK)
    with torch.no_grad():
        told = [model(features.movedim(1, -1).reshape(-1, 3)).softmax(1).double().numpy() for model in segmenter.models]
    votes = np.stack([np.bincount(row, minlength=3) for row in np.stack([p.argmax(1) for p in told], 1)])
    labels = label_images(TEST, segmenter, NETWORK)
    assert (labels.ravel() == votes.argmax(1)).mean() > 0.999

    def entropy(p: np.ndarray) -> np.ndarray:
        return -(p * np.log(np.maximum(p, 1e-300))).sum(1)

    expected = entropy(np.mean(told, axis=0)) - np.mean([entropy(p) for p in told], axis=0)
    found = label_disagreement(TEST, segmenter, NETWORK).ravel()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.min() >= 0
    assert found.max() <= np.log(3)


def test_void_pixels_teach_nothing() -> None:
    """Pixels of no class are not learned from: what they look like does not change a weight."""
    labels = TRUTH[:2].copy()
    labels[:, :, :8] = 255
    changed = TRAIN[:2].copy()
    changed[:, :, :6] = 7
    a, b = (
        train_segmenter(images, labels, NETWORK, 3, models=1, epochs=1, pixels=200) for images in (TRAIN[:2], changed)
    )
    # Features near the border of void pixels mix both sides, so the first columns alone are changed.
    assert all(torch.allclose(x, y) for x, y in zip(a.weights, b.weights, strict=True))


def test_progress_is_told() -> None:
    """Steps are told up to all of them."""
    told: list[tuple[int, int | None]] = []
    _segmenter(progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_impossible_labels_and_networks_are_refused() -> None:
    """Label maps that are missing, one class alone, and labels of another network are errors that say so."""
    with pytest.raises(ValueError, match="a label map for each of 2 images, got 1"):
        train_segmenter(TRAIN[:2], TRUTH[:1], NETWORK, 3)
    with pytest.raises(ValueError, match="two classes at least, got 1"):
        train_segmenter(TRAIN[:2], np.zeros_like(TRUTH[:2]), NETWORK, 3, pixels=10)
    with pytest.raises(ValueError, match="5 clusters of 2 pixels"):
        cluster_pixels(TRAIN[:2], NETWORK, 5, pixels=2)
    clusters = cluster_pixels(TRAIN, NETWORK, 2, pixels=100)
    with pytest.raises(ValueError, match="these labels are of another network"):
        label_images(TEST, clusters, create_extractor(nn.AvgPool2d(4), layers=[""], size=8))


def test_missing_scikit_learn_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-learn the error says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ValueError, match=r"pip install 'vdna_metrics\[sklearn\]'"):
        cluster_pixels(TRAIN, NETWORK, 2, pixels=100)


def test_activations_that_are_not_finite_are_refused() -> None:
    """A network that overflows gives no clusters, no segmenter, labels or features, but an error."""
    module = nn.Conv2d(3, 3, 2, 2)
    with torch.no_grad():
        module.weight.fill_(3e38)
    broken = create_extractor(module, layers={"conv": ""}, size=SIZE)
    clusters = PixelClusters(("conv",), broken.fingerprint.select(["conv"]), torch.zeros(2, 3))
    for attempt in (
        lambda: cluster_pixels(TRAIN, broken, 2, pixels=100),
        lambda: train_segmenter(TRAIN, TRUTH, broken, 3, pixels=100),
        lambda: extract_pixels(torch.from_numpy(TRAIN).permute(0, 3, 1, 2), broken),
        lambda: label_images(TRAIN, clusters, broken),
    ):
        with pytest.raises(ValueError, match=r"activations are not finite \(NaN or infinite\) in layer conv"):
            attempt()


def test_label_maps_of_another_aspect_teach_nothing() -> None:
    """A label map that cannot be of its image is an error that names the image."""
    with pytest.raises(ValueError, match="1: expected a label map of the whole image, 16 x 16"):
        train_segmenter(TRAIN[:2], [TRUTH[0], TRUTH[1][:8]], NETWORK, 3, pixels=100)


def test_impossible_numbers_are_refused() -> None:
    """Errors say of labels, pixels, sizes and memory what there may be, and what can be changed."""
    with pytest.raises(ValueError, match="at most 255 clusters, got 256: the label 255 is no region"):
        cluster_pixels(TRAIN, NETWORK, 256)
    with pytest.raises(ValueError, match="at most 255 classes, got 300"):
        train_segmenter(TRAIN, TRUTH, NETWORK, 300)
    halves = np.kron(np.array([[0, 1]]), np.ones((SIZE, SIZE // 2), int))
    with pytest.raises(
        ValueError, match="got 1: the labels have 2 classes, but few pixels were drawn; take more pixels"
    ):
        train_segmenter(TRAIN[:1], [halves], NETWORK, 2, pixels=1)
    with pytest.raises(ValueError, match=r"Take fewer pixels \(pixels=\) or layers"):
        cluster_pixels(TRAIN, NETWORK, 2, reading=Reading(memory_limit=10))
    with pytest.raises(TypeError, match=r"write \['0'\]"):
        cluster_pixels(TRAIN, NETWORK, 2, layers="0")
    clusters = cluster_pixels(TRAIN, NETWORK, 2, pixels=100)
    with pytest.raises(ValueError, match="expected height of at least 1, got 0"):
        label_images(TEST, clusters, NETWORK, (0, 3))
