"""Distances of growing sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.distances import OURS
from helpers.dnas import make_dna

from vdna_metrics.analysis.sample_size import sample_size_curve
from vdna_metrics.dna.distances import find_distance


@pytest.mark.parametrize("distance", OURS)
def test_a_curve_ends_at_the_distance_of_all(distance: str) -> None:
    """Whatever the draw, the last value is the distance of the whole set, and each is one of a subset of that size."""
    kind = find_distance(distance).kind
    reference, parts = make_dna(kind, 40, seed=99), [make_dna(kind, 3, seed=i, shift=0.4) for i in range(7)]
    curve = sample_size_curve(reference, parts, distance=distance, draws=4)
    whole = float(find_distance(distance)(reference, sum(parts[1:], parts[0])))
    assert curve.sizes == (3, 6, 9, 12, 21)
    assert curve.values.shape == (4, 5)
    assert curve.final == pytest.approx(whole, rel=1e-9)
    torch.testing.assert_close(curve.values[:, -1], torch.full((4,), whole, dtype=torch.float64))
    single = sorted(float(find_distance(distance)(reference, part)) for part in parts)
    assert all(any(value == pytest.approx(one) for one in single) for value in curve.values[:, 0].tolist())
    torch.testing.assert_close(curve.mean, curve.values.mean(0))
    assert curve.spread[-1] == pytest.approx(0, abs=1e-9)
    assert curve.spread[0] > 0


def test_a_seed_gives_a_curve() -> None:
    """The same seed gives the same bits, another other draws, and one draw has no spread."""
    reference, parts = make_dna("histogram", 40, seed=99), [make_dna("histogram", 2, seed=i) for i in range(6)]
    curves = [sample_size_curve(reference, parts, draws=3, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(curves[0].values, curves[1].values)
    assert not torch.equal(curves[0].values, curves[2].values)
    assert not sample_size_curve(reference, parts, draws=1).spread.any()
    assert sample_size_curve(reference, parts, sizes=[8, 4]).sizes == (4, 8, 12)


def test_a_settled_curve_says_from_where() -> None:
    """The size is the first after the last one outside, though one before may have been inside."""
    parts = [make_dna("histogram", 2)] * 4
    curve = sample_size_curve(make_dna("histogram", 9, seed=3), parts, draws=1)
    for values, share, expected in (
        ([9.0, 5.1, 9.0, 5.0], 0.05, 8),
        ([9.0, 9.0, 5.2, 5.0], 0.05, 6),
        ([4.9, 5.1, 5.2, 5.0], 0.05, 2),
        ([4.9, 5.1, 5.2, 5.0], 0.01, 8),
        ([1.0, 1.0, 1.0, 0.0], 0.05, 8),
    ):
        made = replace(curve, values=torch.tensor([values], dtype=torch.float64))
        assert made.stays_within(share) == expected


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ([], {}, "expected parts of at least one image, got none"),
        ([make_dna("histogram")], {"draws": 0}, "expected draws of at least 1, got 0"),
        ([make_dna("histogram", 3), make_dna("histogram", 2)], {}, "these have 2 to 3"),
        ([make_dna("histogram", 3)] * 2, {"sizes": [4]}, "multiples of 3, of 3 to 6 images, got 4"),
        ([make_dna("histogram", 3)] * 2, {"sizes": [9]}, "got 9"),
        ([make_dna("histogram", 3)] * 2, {"sizes": [0]}, "got 0"),
        ([make_dna("gaussian", 3)] * 2, {}, "needs DNAs of kind 'histogram'"),
    ],
)
def test_parts_that_make_no_curve_are_refused(parts: Any, options: Any, message: str) -> None:
    """Parts of different size, sizes that cut a part, and other kinds are errors."""
    with pytest.raises(ValueError, match=message):
        sample_size_curve(make_dna("histogram", seed=5), parts, **options)
