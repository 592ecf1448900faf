"""Distances at infinitely many images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.distances import OURS, make_grouped
from helpers.dnas import LAYOUT

from vdna_metrics.analysis.uncertainty import (
    extrapolate_frechet,
    infinity,
    jackknife_distance,
)
from vdna_metrics.dna import GroupedDNA
from vdna_metrics.dna.columns import find_column

distances = pytest.mark.parametrize("distance", OURS)


def test_a_line_over_one_over_n_is_followed_to_0() -> None:
    """Of ``2 + 30/n`` the extrapolated value is 2, the slope 30, and the fit adds no error."""
    sizes = (50, 40, 40, 40, 40, 40, 30, 20)
    values = torch.tensor([2 + 30 / n for n in sizes], dtype=torch.float64)
    estimate, slope = infinity._extrapolated(find_column("lfd"), values, sizes, (10,) * 5, 0.95)
    assert (estimate.corrected, slope) == pytest.approx((2, 30))
    assert estimate.standard_error < 1e-6


@pytest.mark.parametrize("distance", ["nfd", "lfd"])
def test_extrapolation_agrees_with_the_jackknife(distance: Any) -> None:
    """With a fixed reference both remove the same bias, within a fraction of the error; a seed gives the same again."""
    reference = make_grouped(distance, 0, sizes=(40,) * 5).total
    generated = make_grouped(distance, 1, shift=0.3, sizes=(30,) * 6)
    found = extrapolate_frechet(reference, generated, distance=distance, seed=1)
    corrected = jackknife_distance(reference, generated, distance=distance).score
    assert found.score.value == corrected.value
    assert abs(found.score.corrected - corrected.corrected) < 0.5 * corrected.standard_error
    assert found.score.standard_error == pytest.approx(corrected.standard_error, rel=0.2)
    assert list(found.layers) == list(LAYOUT)
    assert found.sizes[:7] == (180, *(150,) * 6)
    assert torch.equal(found.values, extrapolate_frechet(reference, generated, distance=distance, seed=1).values)


def test_what_is_no_line_is_refused() -> None:
    """The EMD, two groups, and no draw are refused."""
    gaussians = make_grouped("lfd", 0)
    with pytest.raises(ValueError, match=r"bias is in 1/n are extrapolated.*got Column\(emd"):
        extrapolate_frechet(make_grouped("emd", 0), make_grouped("emd", 1), distance="emd")
    with pytest.raises(ValueError, match="3 groups and one draw, got 2 groups and 5 draws"):
        extrapolate_frechet(gaussians, GroupedDNA(gaussians.groups[:2]))
    with pytest.raises(ValueError, match="got 5 groups and 0 draws"):
        extrapolate_frechet(gaussians, gaussians, draws=0)
