"""Grids of powers of two, against rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, strategies as st

from vdna_metrics.functional import codes_to_extremes, extreme_codes, grid, power_of_two, regrid

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
numbers_of_bins = st.one_of(st.integers(2, 12), st.integers(13, 1000), st.sampled_from([4096, 2**24]))


def grid_by_fractions(low: float, high: float, bins: int) -> tuple[int, int]:
    """The rule as it is written."""
    a, b = Fraction(low), Fraction(high)
    size = max(abs(a), abs(b))
    exponent = -126 if size == 0 else max(math.frexp(float(size))[1] - 1 - 30, -126)
    while math.floor(b / Fraction(2) ** exponent) - math.floor(a / Fraction(2) ** exponent) >= bins:
        exponent += 1
    return exponent, math.floor(a / Fraction(2) ** exponent)


@given(ends=st.tuples(floats, floats).map(sorted), bins=numbers_of_bins)
def test_the_grid_is_the_written_rule(ends: list[float], bins: int) -> None:
    """Exponent and origin equal those of exact rational arithmetic, and the origin fits in 32 bits."""
    low, high = (torch.tensor([end], dtype=torch.float32) for end in ends)
    exponent, origin = grid(low, high, bins)
    assert (int(exponent), int(origin)) == grid_by_fractions(*ends, bins)
    assert -(2**31) <= int(origin) < 2**31


@given(ends=st.tuples(floats, floats).map(sorted), more=floats, bins=numbers_of_bins)
def test_grids_nest(ends: list[float], more: float, bins: int) -> None:
    """A wider range never has a finer grid, and its window holds the other's."""
    low, high = (torch.tensor([end], dtype=torch.float32) for end in ends)
    wide_low, wide_high = low.clamp(max=more), high.clamp(min=more)
    (k, start), (wide_k, wide_start) = grid(low, high, bins), grid(wide_low, wide_high, bins)
    assert wide_k >= k
    assert wide_start <= (start >> (wide_k - k).clamp(max=62))


@given(values=st.lists(floats, min_size=2, max_size=9))
def test_the_maximum_of_codes_is_the_code_of_the_extremes(values: list[float]) -> None:
    """Codes are in the order of the numbers, of which 0 and -0 are one, and 0 is that of nothing."""
    each = torch.tensor(values, dtype=torch.float32)
    codes = extreme_codes(each, each)
    joined = codes_to_extremes(*(code.amax() for code in codes))
    assert joined == (each.amin() + 0.0, each.amax() + 0.0)
    assert all(bool((code > 0).all()) for code in codes)
    none = torch.tensor([torch.inf]), torch.tensor([-torch.inf])
    assert [int(code) for code in extreme_codes(*none)] == [0, 0]
    assert codes_to_extremes(*extreme_codes(*none)) == none


def test_powers_of_two_are_exact() -> None:
    """They equal Python's, to the last exponent that is used."""
    exponents = torch.arange(-300, 301)
    assert power_of_two(exponents).tolist() == [2.0**k for k in range(-300, 301)]


@given(st.data())
def test_regridding_is_counting_anew(data: st.DataObject) -> None:
    """Counts on a coarser grid equal those of the activations' bins on it."""
    bins = data.draw(st.integers(2, 40))
    values = np.array(data.draw(st.lists(floats, min_size=1, max_size=20)), np.float32)
    wide = np.append(values, data.draw(st.lists(floats, max_size=3)))
    grids = [
        grid(*(torch.tensor([end]) for end in (x.min(), x.max())), bins) for x in (values, wide.astype(np.float32))
    ]
    counted = []
    for k, origin in grids:
        places = np.floor(np.ldexp(values.astype(np.float64), -int(k))).astype(np.int64) - int(origin)
        counted.append(torch.from_numpy(np.bincount(places, minlength=bins))[None])
    assert torch.equal(regrid(counted[0], *grids[0], *grids[1]), counted[1])
