"""Linear probes on features of known classes, and log odds against published ones."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from vdna_metrics.analysis import Probe, linear_probe, log_odds, transfer_score

# Accuracies on 13 datasets and their mean log odds, as printed in Tab. D.1 of Sariyildiz, 2023.
TABLE = {
    "DINO": ([71.1, 67.2, 63.2, 62.6, 57.6, 62.5, 67.4, 77.7, 97.7, 95.6, 88.9, 78.7, 66.0], 1.256),
    "PAWS": ([71.2, 67.3, 63.1, 62.1, 56.6, 63.2, 71.6, 76.2, 96.9, 95.8, 91.2, 77.5, 65.4], 1.256),
    "RSB-A1": ([69.9, 65.0, 60.9, 59.3, 52.8, 47.1, 54.0, 73.9, 95.7, 88.7, 93.1, 71.2, 63.3], 0.978),
    "t-ReX": ([72.0, 68.3, 63.9, 63.4, 57.2, 67.3, 74.2, 77.7, 97.5, 96.2, 92.6, 80.1, 66.7], 1.357),
}


def _classes(n: int, seed: int, apart: float = 2.0) -> tuple[Tensor, list[str]]:
    """Normal clouds of three classes around points at right angles, ``n`` of each."""
    stream = np.random.default_rng(seed)
    centres = apart * np.eye(3, 6)
    x = np.concatenate([centre + stream.normal(size=(n, 6)) for centre in centres])
    return torch.from_numpy(x), [name for name in ("a", "b", "c") for _ in range(n)]


def test_classes_that_are_apart_are_told_apart_and_equal_ones_are_not() -> None:
    """Accuracy is 1 of clouds far from each other, and near chance of labels that features know nothing of."""
    train, test = _classes(20, 0, apart=40), _classes(30, 1, apart=40)
    assert linear_probe(*train, *test, draws=2).accuracies == (1.0, 1.0)
    nothing = linear_probe(*_classes(20, 0, apart=0), *_classes(100, 1, apart=0), draws=2)
    assert 0.2 < nothing.mean < 0.47


def test_more_images_of_each_class_give_better_accuracies() -> None:
    """With few images the mean is lower and draws differ more."""
    train, test = _classes(200, 0), _classes(200, 1)
    few = linear_probe(*train, *test, shots=1, inverse_penalties=[1], draws=10)
    many = linear_probe(*train, *test, shots=50, inverse_penalties=[1], draws=10)
    assert (few.n_train, many.n_train, many.n_test) == (3, 150, 600)
    assert few.mean < many.mean - 0.05
    assert (few.std or 0) > (many.std or 0) > 0


def test_the_penalty_is_chosen_by_accuracy_on_images_set_aside() -> None:
    """Where a strong penalty leaves only the most frequent class, the weak one is; of equal ones the strongest."""
    x, labels = _classes(40, 0, apart=40)
    kept = [place for place, label in enumerate(labels) if label == "a" or place % 4 == 0]
    train, test = (x[kept], [labels[place] for place in kept]), _classes(10, 1, apart=40)
    probe = linear_probe(*train, *test, draws=3, inverse_penalties=[1e5, 1e-9])
    assert probe.inverse_penalties == (1e5, 1e5, 1e5)
    assert probe.mean == 1
    assert linear_probe(*train, *test, inverse_penalties=[1e-9]).mean == pytest.approx(1 / 3)
    assert linear_probe(*train, *test, draws=2, inverse_penalties=[10, 1]).inverse_penalties == (1, 1)


def test_draws_are_of_the_seed() -> None:
    """The same seed draws the same images, another one others."""
    train, test = _classes(50, 0), _classes(100, 1)
    options: dict[str, Any] = {"shots": 2, "inverse_penalties": [1], "draws": 4}
    one = linear_probe(*train, *test, **options)
    assert linear_probe(*train, *test, **options) == one
    assert linear_probe(*train, *test, seed=1, **options).accuracies != one.accuracies


def test_a_single_draw_has_no_deviation() -> None:
    """The deviation is that of several draws, ddof=1."""
    assert Probe((0.5,), (1.0,), 2, 2).std is None
    assert Probe((0.5, 0.7), (1.0, 1.0), 2, 2).std == pytest.approx(0.2 / math.sqrt(2))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_labels": ["a"] * 12}, "at least two classes, got 1"),
        ({"train_labels": ["a"] * 11}, "each of 12 images, got 11 train_labels"),
        ({"test_labels": ["z"] * 12}, "no training image is of the class 'z'"),
        ({"shots": 5}, "5 training images of each class, got 4 of 'a'"),
        ({"shots": 1}, "give a single value of inverse_penalties"),
        ({"inverse_penalties": [0.0, 1.0]}, "positive, finite inverse_penalties"),
        ({"inverse_penalties": []}, "positive, finite inverse_penalties"),
        ({"validation": 1.0}, "above 0 and below 1, got 1.0"),
        ({"draws": 0}, "draws of at least 1"),
    ],
)
def test_what_cannot_be_probed_is_refused(changed: dict[str, Any], says: str) -> None:
    """Labels that do not fit, classes with too few images and unusable options are named."""
    x, labels = _classes(4, 0)
    given = {"train": x, "train_labels": labels, "test": x, "test_labels": labels, **changed}
    with pytest.raises(ValueError, match=says):
        linear_probe(**given)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"inverse_penalties": 1.0}, "inverse_penalties to be Sequence, got the float 1.0"),
        ({"inverse_penalties": ["1"]}, "an inverse penalty to be Real, got the str '1'"),
    ],
)
def test_penalties_of_another_type_are_refused(changed: dict[str, Any], says: str) -> None:
    """A number alone and a text are named by their types."""
    x, labels = _classes(4, 0)
    with pytest.raises(TypeError, match=says):
        linear_probe(x, labels, x, labels, **changed)


def test_labels_have_one_axis() -> None:
    """A class for each image, not a row."""
    x, labels = _classes(4, 0)
    with pytest.raises(ValueError, match=r"expected train_labels \[images\], got \[8, 1\]"):
        linear_probe(x, torch.zeros(8, 1), x, labels)


def test_a_probe_in_place_of_its_accuracy_is_told_where_that_is() -> None:
    """`transfer_score` takes means, and says so of the dataset that has none."""
    x, labels = _classes(4, 0)
    probe = linear_probe(x, labels, x, labels, inverse_penalties=[1.0], draws=1)
    with pytest.raises(TypeError, match=r"digits: expected accuracy to be Real, got .* the `mean` of a Probe"):
        transfer_score({"digits": probe})  # type: ignore[dict-item]


def test_without_scikit_learn_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    x, labels = _classes(4, 0)
    with pytest.raises(ImportError, match=r"vdna_metrics\[sklearn\]"):
        linear_probe(x, labels, x, labels)


@pytest.mark.parametrize("network", TABLE)
def test_the_transfer_score_is_the_published_one(network: str) -> None:
    """Mean log odds of the printed accuracies are the printed ones, to what rounding the accuracies leaves."""
    accuracies, expected = TABLE[network]
    found = transfer_score({str(place): each / 100 for place, each in enumerate(accuracies)})
    assert found == pytest.approx(expected, abs=0.003)


@given(st.floats(1e-6, 1 - 1e-6))
def test_log_odds_are_odd_about_one_half(accuracy: float) -> None:
    """Exchanging right and wrong changes the sign."""
    assert log_odds(accuracy) == pytest.approx(-log_odds(1 - accuracy), abs=1e-8)


@pytest.mark.parametrize("accuracy", [0, 1, -0.1, 71.1, math.nan])
def test_log_odds_that_are_not_finite_are_refused(accuracy: float) -> None:
    """0, 1, per cent and NaN have none; with the dataset's name in a score."""
    with pytest.raises(ValueError, match="above 0 and below 1"):
        log_odds(accuracy)
    with pytest.raises(ValueError, match="digits: expected an accuracy"):
        transfer_score({"photographs": 0.9, "digits": accuracy})
    with pytest.raises(ValueError, match="at least one dataset"):
        transfer_score({})
