"""The transfer experiment's own arithmetic and domains."""

from __future__ import annotations

import importlib
from itertools import permutations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from vdna_metrics.analysis import ranking_discrepancy
from vdna_metrics.images.procedural import procedural_images

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "experiments"
NAMES = ["a", "b", "c"]
# Trained on a, b, c (rows) and tested on a, b, c.
SCORES = np.array([[90.0, 50, 10], [60, 80, 20], [30, 20, 70]])


@pytest.fixture(scope="module")
def transfer() -> ModuleType:
    """The script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module("transfer")


def test_a_table_has_a_row_for_each_test_domain(transfer: ModuleType) -> None:
    """Matrices are trained by tested; the diagonal is left out where the own domain is."""
    assert transfer.table(SCORES, NAMES, own=True)["a"] == {"a": 90, "b": 60, "c": 30}
    assert transfer.table(SCORES, NAMES, own=False) == {
        "a": {"b": 60, "c": 30}, "b": {"a": 50, "c": 20}, "c": {"a": 10, "b": 20},
    }  # fmt: skip


def test_a_random_order_loses_the_mean_difference_of_two_scores(transfer: ModuleType) -> None:
    """Of 90, 60 and 30 that is 2 (30 + 30 + 60) / 9, of 0 and 10 it is 5; the mean over test domains."""
    scores = {"a": {"a": 90.0, "b": 60.0, "c": 30.0}}
    assert transfer.expected_discrepancy(scores) == pytest.approx(240 / 9)
    assert transfer.expected_discrepancy({"a": {"a": 0.0, "b": 10.0}, "b": {"a": 7.0, "b": 7.0}}) == 2.5


@given(arrays(np.float64, 4, elements=st.integers(0, 100)))
def test_the_expectation_is_the_mean_over_all_orders(transfer: ModuleType, row: np.ndarray) -> None:
    """As `ranking_discrepancy` has each."""
    scores = {"test": {str(place): float(value) for place, value in enumerate(row)}}
    found = [
        ranking_discrepancy({"test": dict(zip(scores["test"], order, strict=True))}, scores)
        for order in permutations(range(len(row)))
    ]
    assert transfer.expected_discrepancy(scores) == pytest.approx(np.mean(found))


def test_random_orders_are_drawn_from_all_orders(transfer: ModuleType) -> None:
    """Of 0, 10 and 40 the six orders lose 0, 20/3, 20 and three times 80/3: no other number comes."""
    scores = {"test": {"a": 0.0, "b": 10.0, "c": 40.0}}
    found = transfer.random_discrepancies(scores, 4000)
    lost = [
        ranking_discrepancy({"test": dict(zip("abc", order, strict=True))}, scores) for order in permutations(range(3))
    ]
    np.testing.assert_allclose(sorted(lost), [0, 20 / 3, 20, 80 / 3, 80 / 3, 80 / 3])
    assert set(found.round(6)) == set(np.round(lost, 6))
    assert found.mean() == pytest.approx(transfer.expected_discrepancy(scores), rel=0.03)


def test_an_order_is_judged_for_every_seed(transfer: ModuleType) -> None:
    """A distance that falls as accuracy rises loses nothing, has correlation 1 and beats all that lose something."""
    scores = np.stack([SCORES, SCORES + 1])
    best = transfer.judge(-SCORES, scores, NAMES, own=True)
    assert best.discrepancy == [0, 0]
    assert best.correlation == pytest.approx([1, 1])
    # 1 of 6 orders of each of three test domains is the best one.
    assert best.beaten == pytest.approx(100 * (1 - 6**-3), abs=0.5)
    worst = transfer.judge(SCORES, scores, NAMES, own=True)
    assert worst.discrepancy == pytest.approx([(60 + 0 + 60 + 60 + 0 + 60 + 60 + 0 + 60) / 9] * 2)
    assert worst.correlation == pytest.approx([-1, -1])
    assert worst.beaten == 0


def test_seeds_are_ranked_by_the_next_one(transfer: ModuleType) -> None:
    """Where seeds agree nothing is lost; where two accuracies change places their difference is, at both places."""
    assert transfer.between_seeds(np.stack([SCORES, SCORES]), NAMES, own=True).discrepancy == [0, 0]
    other = SCORES.copy()
    other[[0, 1], 0] = 60, 90
    found = transfer.between_seeds(np.stack([SCORES, other]), NAMES, own=True)
    assert found.discrepancy == pytest.approx([60 / 9, 60 / 9])


def test_equal_numbers_have_no_order(transfer: ModuleType) -> None:
    """Equal scores, or distances, count as correlation 0."""
    distances = {"a": {"a": 0.0, "b": 1.0}, "b": {"a": 1.0, "b": 0.0}}
    scores = {"a": {"a": 9.0, "b": 5.0}, "b": {"a": 7.0, "b": 7.0}}
    assert transfer.rank_correlation(distances, scores) == pytest.approx(0.5)
    assert transfer.rank_correlation(scores, distances) == pytest.approx(0.5)


def test_domains_change_pixels_and_not_the_size(transfer: ModuleType) -> None:
    """All but the plain one; a zoomed image of one colour keeps it, a grey one has equal channels."""
    (image,) = procedural_images("dead_leaves_textured", 1, size=32)
    for name, change in transfer.DOMAINS.items():
        made = change(image, np.random.default_rng(0))
        assert made.shape == image.shape
        assert made.dtype == np.uint8
        assert np.array_equal(made, image) == (name == "plain"), name
    flat = np.full((32, 32, 3), (200, 100, 40), np.uint8)
    assert np.array_equal(transfer.zoomed(flat, np.random.default_rng(0), 20), flat)
    assert np.array_equal(transfer.tinted(flat)[0, 0], [200, 75, 20])
    grey = transfer.grey(image, 10)
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_a_probe_learns_and_is_made_of_its_seed(transfer: ModuleType) -> None:
    """Bright images from dark ones; the same seed gives the same accuracy, whatever was drawn before."""
    labels = torch.arange(40) % 2
    images = (labels.float() - 0.5).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    first = transfer.train_probe(images, labels, 2, seed=0, epochs=20)
    assert transfer.accuracy(first, images, labels) == 100
    torch.rand(3)
    again = transfer.train_probe(images, labels, 2, seed=0, epochs=20)
    assert torch.equal(first(images), again(images))
