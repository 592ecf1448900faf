"""Confidence intervals of squared distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from vdna_metrics.functional import squared_interval


def test_along_one_direction_it_is_the_interval_of_a_root() -> None:
    """The upper end is that of a normal number whose square was measured; the lower one that of the square."""
    variance, value = 0.3, 2.0
    error = math.sqrt(4 * variance * value + 2 * variance**2)
    low, high = squared_interval(value, error, quantile=1.5)
    assert high == pytest.approx((math.sqrt(value + variance) + 1.5 * math.sqrt(variance)) ** 2)
    assert low == pytest.approx(max(0, value - 1.5 * error))


def test_far_from_0_and_in_many_directions_it_is_symmetric() -> None:
    """A value of many errors, or a bias of many, has the value plus and minus a quantile of errors."""
    assert squared_interval(1000.0, 1.0, quantile=2.0) == pytest.approx((998, 1002), abs=2e-3)
    assert squared_interval(3.0, 1.0, bias=1000.0, quantile=2.0) == pytest.approx((1, 5), abs=5e-3)


def test_it_is_as_wide_in_other_units_and_never_below_0() -> None:
    """Ends are in the units of the value; a value below 0 is taken for 0; no error is a point, one that is NaN none."""
    ends = np.array(squared_interval(0.7, 0.4, bias=0.5))
    assert np.array(squared_interval(7e9, 4e9, bias=5e9)) == pytest.approx(1e10 * ends)
    assert squared_interval(-0.2, 0.4) == squared_interval(0.0, 0.4)
    assert squared_interval(2.0, 0.0) == (2, 2)
    assert squared_interval(-2.0, 0.0) == (0, 0)
    assert np.isnan(squared_interval(1.0, math.nan)).all()
    with pytest.raises(ValueError, match="at least 0, got -1"):
        squared_interval(1.0, -1.0)


SPECTRA = {"one direction": 1 / np.arange(1, 31) ** 9.0, "few": 1 / np.arange(1, 31) ** 2.0, "many": np.ones(30)}


def _jackknifed(spectrum: NDArray[np.float64], truth: float) -> NDArray[np.float64]:
    """Corrected squared distance of two means, bias, error and quantile of 10 groups a side, ``[4, trials]``."""
    stream, groups = np.random.default_rng(0), 10
    sides = stream.standard_normal((2, 1000, groups, len(spectrum))) * np.sqrt(spectrum)
    sides[1, ..., 0] += math.sqrt(truth)
    means = sides.mean(axis=2)
    without = (groups * means[:, :, None] - sides) / (groups - 1)
    plain = ((means[0] - means[1]) ** 2).sum(-1)
    left = [((without[place] - means[1 - place][:, None]) ** 2).sum(-1) for place in (0, 1)]
    bias = (groups - 1) * sum(each.mean(axis=1) - plain for each in left)
    variances = np.array([(groups - 1) * each.var(axis=1) for each in left])
    degrees = (groups - 1) * variances.sum(axis=0) ** 2 / (variances**2).sum(axis=0)
    return np.array([plain - bias, bias, np.sqrt(variances.sum(axis=0)), stats.t.ppf(0.975, degrees)])


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_intervals_hold_wherever_the_truth_is(spectrum: str) -> None:
    """At distances of 0 to 5 deviations 93 % or more hold the truth, where those plus and minus an error hold less."""
    own = SPECTRA[spectrum]
    at_zero, first = math.sqrt(8 * np.sum((own / 10) ** 2)), own[0] / 5
    held, symmetric = [], []
    for far in (0.0, 0.5, 1.0, 2.0, 5.0):
        truth = 2 * far**2 * first + far * math.sqrt(4 * far**2 * first**2 + at_zero**2)  # far deviations there
        value, bias, error, quantile = _jackknifed(own, truth)
        for known in (bias, np.zeros_like(bias)):
            trials = np.stack([value, error, known, quantile], axis=1)
            ends = [squared_interval(v, e, bias=b, quantile=q) for v, e, b, q in trials]
            held.append(np.mean([low <= truth <= high for low, high in ends]))
        symmetric.append(np.mean(abs(np.maximum(value, 0) - truth) <= quantile * error))
    assert min(held) >= 0.93, (held, symmetric)
    assert min(symmetric) < (0.98 if spectrum == "many" else 0.9)
