"""Spread, spectrum and sparsity of features against NumPy, and in cases with a closed form."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from helpers.dnas import make_fingerprint
from hypothesis import given, settings, strategies as st
from torch import Tensor

from vdna_metrics.analysis import (
    coding_length,
    describe_features,
    feature_sparsity,
    intra_class_distance,
    singular_spectrum,
)
from vdna_metrics.distributions import FeatureSample
from vdna_metrics.dna import VDNA
from vdna_metrics.layout import NeuronLayout


def _features(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-13, 1e160, 1e300])
def test_no_scale_is_too_small_or_too_large(scale: float) -> None:
    """Features are brought to unit length, so that all that is told of them stays what it was."""
    x = _features(12, 5).double()
    if scale < 1e-300:
        x = x.round(decimals=1)  # subnormal numbers have few digits
        x = (x * scale) / scale
    plain, scaled = describe_features(x), describe_features(x * scale)
    assert scaled.coding_length == pytest.approx(plain.coding_length, rel=1e-3 if scale < 1e-300 else 1e-12)
    assert scaled.sparsity == plain.sparsity


@pytest.mark.parametrize(
    ("moment", "epsilon_squared", "message"),
    [
        (torch.full((2, 2), torch.nan), 0.5, "finite second moment"),
        (-torch.eye(2) * 9, 0.5, "negative eigenvalues"),
        (torch.eye(2), 1e-320, "finite second moment, over ε² too"),
    ],
)
def test_no_code_has_what_is_no_second_moment(moment: Tensor, epsilon_squared: float, message: str) -> None:
    """A moment that is not finite or not positive is refused in words."""
    with pytest.raises(ValueError, match=message):
        coding_length(moment, epsilon_squared=epsilon_squared)


def test_the_distance_within_classes_is_the_mean_over_pairs_then_over_classes() -> None:
    """Pairs of unit vectors of one class, by a loop; a class of one image has none and is left out."""
    x, labels = _features(8, 5), list("abbaabbc")
    unit = x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True)
    means = []
    for each in "ab":
        rows = [i for i, label in enumerate(labels) if label == each]
        means.append(np.mean([np.linalg.norm(unit[i] - unit[j]) for i, j in combinations(rows, 2)]))
    assert intra_class_distance(x, labels) == pytest.approx(np.mean(means), rel=1e-12)


def test_labels_of_any_kind_tell_the_same_classes() -> None:
    """Text, a tensor and an array of numbers are one labelling."""
    x, numbers = _features(6, 3), [4, 4, 9, 9, 9, 4]
    expected = intra_class_distance(x, ["cat" if each == 4 else "dog" for each in numbers])
    assert intra_class_distance(x, torch.tensor(numbers)) == expected
    assert intra_class_distance(x, np.array(numbers)) == expected


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_measures_do_not_know_an_images_scale(seed: int, factor: float) -> None:
    """Features are brought to length 1, so that a factor of one image changes nothing."""
    x, labels = _features(6, 4, seed), "aabbab"
    scaled = x.double()
    scaled[2] *= factor
    one, other = describe_features(x, labels), describe_features(scaled, labels)
    assert other.intra_class_distance == pytest.approx(one.intra_class_distance, rel=1e-9)
    assert other.coding_length == pytest.approx(one.coding_length, rel=1e-9)
    torch.testing.assert_close(other.singular_values, one.singular_values, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(3, 7), (7, 3)])
def test_the_spectrum_is_of_unit_vectors_and_sums_to_one(n: int, d: int) -> None:
    """Roots of the eigenvalues of the Gram matrix, as shares, largest first; as many as the smaller of n and d."""
    x = _features(n, d)
    unit = x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=1, keepdims=True)
    gram = unit @ unit.T if n < d else unit.T @ unit
    roots = np.sqrt(np.linalg.eigvalsh(gram)[::-1])
    found = singular_spectrum(x)
    assert found.shape == (min(n, d),)
    np.testing.assert_allclose(found.numpy(), roots / roots.sum(), rtol=1e-9)


def test_orthonormal_features_use_all_directions_alike() -> None:
    """Their spectrum is flat, their coding length the largest possible, and they are √2 apart."""
    found = describe_features(3 * torch.eye(5), "aabbb")
    assert found.singular_values.tolist() == pytest.approx([0.2] * 5)
    assert found.coding_length == pytest.approx(5 / 2 * math.log(3))
    assert found.intra_class_distance == pytest.approx(math.sqrt(2))
    assert found.sparsity == 0.8


def test_the_description_says_what_its_parts_say() -> None:
    """Sparsity is that of a features DNA, the coding length that of the second moment of unit vectors."""
    x, labels = _features(9, 6).relu(), list("abcabcabc")
    layout = NeuronLayout({"norm": 6})
    sample = FeatureSample.empty(layout)
    sample.fill_({"norm": x.T[:, :, None]}, torch.arange(len(x)))

    dna = VDNA(sample, make_fingerprint().select(["norm"]))
    found, unit = describe_features(x, labels), torch.nn.functional.normalize(x.double())
    assert found.sparsity == feature_sparsity(dna)["norm"]
    assert found.coding_length == pytest.approx(coding_length(unit.T @ unit / 9), rel=1e-12)
    assert found.intra_class_distance == pytest.approx(intra_class_distance(x, labels), rel=1e-12)
    assert describe_features(x).intra_class_distance is None


@pytest.mark.parametrize(
    ("features", "labels", "says"),
    [
        (torch.ones(2, 3), "abc", "label for each of 2 images, got 3"),
        (torch.ones(2, 3), "ab", "a class of at least two images, got 2 classes of one"),
        (torch.full((2, 3), torch.nan), "aa", "features has NaN or infinity in 2 of 2"),
        (torch.ones(3), "aaa", r"must be \[images, d\]"),
        (torch.zeros(2, 3), "aa", "all features are 0"),
    ],
)
def test_what_cannot_be_described_is_refused(features: Tensor, labels: str, says: str) -> None:
    """Wrong shapes, missing labels, classes of one image and features without direction are named."""
    with pytest.raises(ValueError, match=says):
        describe_features(features, labels)
