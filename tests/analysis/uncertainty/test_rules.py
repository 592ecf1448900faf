"""Bias rules."""

from __future__ import annotations

import pytest
import torch
from helpers.distances import OURS

from vdna_metrics.analysis.uncertainty import (
    rules,
)

distances = pytest.mark.parametrize("distance", OURS)


@pytest.mark.parametrize("sizes", [(7, 7, 7), (2, 9, 5, 30)], ids=["even", "uneven"])
def test_a_bias_in_one_over_n_is_removed_exactly(sizes: tuple[int, ...]) -> None:
    """Of ``3 + 50/n`` the jackknife leaves 3, and no error, whatever the sizes of the groups."""
    total = sum(sizes)
    without = torch.tensor([[3 + 50 / (total - size)] for size in sizes], dtype=torch.float64)
    bias, deviations = rules.jackknife(torch.tensor([3 + 50 / total], dtype=torch.float64), without, sizes)
    assert float(bias) == pytest.approx(50 / total)
    assert deviations.abs().max() < 5


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    """Deviations of a mean of equal groups add up to the variance of the groups' means over their number."""
    means = torch.tensor([1.0, 4.0, 2.0, 7.0], dtype=torch.float64)
    without = (means.sum() - means) / 3
    bias, deviations = rules.jackknife(means.mean()[None], without[:, None], (5,) * 4)
    assert float(bias) == pytest.approx(0)
    assert float(deviations.square().sum()) == pytest.approx(float(means.var() / 4))
