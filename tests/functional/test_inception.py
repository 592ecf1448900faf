"""Inception score."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from vdna_metrics.functional import inception_score


@settings(max_examples=30)
@given(n=st.integers(1, 30), classes=st.integers(1, 9), splits=st.integers(1, 5), seed=st.integers(0, 1000))
def test_the_score_is_the_divergence_from_the_mean(n: int, classes: int, splits: int, seed: int) -> None:
    """Of each split it is the exponential of the mean divergence, between 1 and the number of classes."""
    splits = min(n, splits)
    logits = 4 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p, scores = logits.softmax(1), []
    for split in range(splits):
        part = p[split * n // splits : (split + 1) * n // splits]
        scores.append((part * (part / part.mean(0)).log()).sum(1).mean().exp())
    expected = torch.stack(scores)
    mean, deviation = inception_score(logits, splits=splits)
    torch.testing.assert_close(mean, expected.mean(), rtol=1e-9, atol=0)
    torch.testing.assert_close(deviation, expected.std(correction=0), rtol=1e-6, atol=1e-9)
    assert 1 - 1e-9 <= float(mean) <= classes + 1e-9


def test_alike_images_are_one_class_and_sure_ones_all() -> None:
    """Images with the same probabilities score 1; sure ones as many as their classes, also with exact zeros."""
    assert inception_score(torch.randn(1, 5).repeat(20, 1))[0].item() == pytest.approx(1)
    mean, deviation = inception_score(torch.eye(5).repeat(4, 1), splits=4, probabilities=True)
    assert mean.item() == pytest.approx(5)
    assert deviation.item() == pytest.approx(0)


def test_wrong_classes_are_refused() -> None:
    """Too few images, NaN, whole numbers, and logits given as probabilities are errors."""
    logits = torch.randn(9, 4)
    with pytest.raises(ValueError, match="Expected 1 to 9 splits of 9 images, got 10"):
        inception_score(logits)
    with pytest.raises(ValueError, match="Expected 2 to 9 splits of 9 images, got 1"):
        inception_score(logits, splits=1, correction=1)
    with pytest.raises(ValueError, match=r"sums from .* to .*; give logits with probabilities=False"):
        inception_score(logits, splits=3, probabilities=True)
    with pytest.raises(ValueError, match="NaN or infinity in 9 of 9 images"):
        inception_score(logits / 0, splits=3)
    with pytest.raises(TypeError, match=r"Expected floating logits, got torch\.int64"):
        inception_score(logits.long())
    with pytest.raises(ValueError, match=r"\[images, classes\] with both above 0, got \[9\]"):
        inception_score(logits[:, 0])
