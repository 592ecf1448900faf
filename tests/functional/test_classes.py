"""Summaries of a distance within classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import spatial

from vdna_metrics.functional import class_imbalance, class_summary


def test_the_imbalance_is_the_total_variation_distance() -> None:
    """It is half of the city-block distance of the shares, 0 of equal ones and at most 1."""
    stream = np.random.default_rng(0)
    for _ in range(5):
        generated, real = stream.integers(0, 50, (2, 7))
        expected = spatial.distance.cityblock(generated / generated.sum(), real / real.sum()) / 2
        assert float(class_imbalance(torch.tensor(generated), torch.tensor(real))) == pytest.approx(expected, rel=1e-12)
    assert class_imbalance(torch.tensor([3, 9]), torch.tensor([100, 300])) == 0
    assert class_imbalance(torch.tensor([5, 0]), torch.tensor([0, 2])) == 1


def test_the_worst_class_is_the_farthest_or_the_lowest() -> None:
    """Classes count alike in the mean; the worst value is the largest, or the lowest where higher is better."""
    values, counts = torch.tensor([2.0, 7.0, 3.0]), torch.tensor([1, 1, 98])
    found = class_summary(values, counts)
    assert (float(found.mean), float(found.worst), int(found.worst_class)) == (4, 7, 1)
    assert found.imbalance is None
    best = class_summary(values, counts, counts, higher_is_better=True)
    assert (int(best.worst_class), float(best.worst), best.imbalance) == (0, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], None), "at least one class"),
        (([1.0, float("nan")], [1, 1], None), "finite values"),
        (([1.0], [1], [1, 2]), r"\[classes\], got \[1\] and \[2\]"),
        (([1.0], [0], [1]), "numbers of generated images from 0, at least one above"),
        (([1.0, 1.0], [1, 2], [-1, 3]), "numbers of real images from 0"),
    ],
)
def test_what_says_nothing_is_refused(arguments: tuple[list[float], list[int], list[int] | None], message: str) -> None:
    """No class, values that are not finite, and numbers that are none are errors."""
    values, generated, real = (None if each is None else torch.tensor(each) for each in arguments)
    with pytest.raises(ValueError, match=message):
        class_summary(values, generated, real)
