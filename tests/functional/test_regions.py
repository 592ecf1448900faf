"""Pixels, labels on grids, and how far labellings agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from vdna_metrics.functional import intersection_over_union, majority_labels, pixels_at, project_pixels

SIDES = st.integers(1, 9)


def _upsampled(maps: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    return torch.cat([F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps], dim=1)


@given(SIDES, SIDES, st.tuples(st.integers(1, 30), st.integers(1, 30)), st.integers(0, 99))
def test_pixels_are_those_of_upsampled_maps(rows: int, columns: int, size: tuple[int, int], seed: int) -> None:
    """Features of chosen pixels, and linear functions of all, are those of maps that are upsampled whole."""
    stream = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, 3, rows, columns, generator=stream), torch.randn(2, 2, 4, 5, generator=stream)]
    whole = _upsampled(maps, size)
    pixels = torch.randint(size[0] * size[1], (2, 7), generator=stream)
    expected = whole.flatten(2).gather(2, pixels[:, None].expand(-1, 5, -1)).transpose(1, 2)
    torch.testing.assert_close(pixels_at(maps, pixels, size), expected, rtol=1e-4, atol=1e-4)
    weight = torch.randn(4, 5, generator=stream)
    projected = torch.einsum("kc,nchw->nkhw", weight, whole)
    torch.testing.assert_close(project_pixels(maps, weight, size), projected, rtol=1e-4, atol=1e-4)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_a_cell_has_the_label_of_most_of_its_area(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    """Areas are those of the labels enlarged until every cell is whole pixels; ties go to the smallest label."""
    labels = np.random.default_rng(seed).integers(-1, 3, (height, width))
    fine = labels.repeat(rows, axis=0).repeat(columns, axis=1)
    cells = fine.reshape(rows, height, columns, width).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    areas = np.stack([(cells == label).sum(axis=2) for label in (0, 1, 2, -1)])
    expected = np.array([0, 1, 2, -1])[areas.argmax(axis=0)]
    assert majority_labels(labels, (rows, columns), 3).tolist() == expected.tolist()


@given(st.integers(0, 99), st.permutations(range(4)))
def test_matching_finds_renamed_labels(seed: int, names: list[int]) -> None:
    """Labels under other names match perfectly; by name they agree only where a name is the same."""
    truth = np.random.default_rng(seed).integers(0, 4, 200)
    renamed = np.array(names)[truth]
    assert intersection_over_union(renamed, truth, 4, match=True).tolist() == [1] * 4
    assert [value == 1 for value in intersection_over_union(renamed, truth, 4)] == [i == n for i, n in enumerate(names)]


def test_intersection_over_union_is_of_pixels_with_a_label() -> None:
    """Pixels without truth do not count, and a class that nobody gives has no value."""
    found = intersection_over_union(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, -1]), 3)
    assert found[:2].tolist() == [1 / 2, 2 / 3]
    assert np.isnan(found[2])


def test_impossible_labels_are_refused() -> None:
    """Labels above the classes, other shapes and other dimensions are errors."""
    with pytest.raises(ValueError, match="expected labels below 2, got 2"):
        majority_labels(np.array([[2]]), (1, 1), 2)
    with pytest.raises(ValueError, match=r"expected labels \[H, W\], got \[3\]"):
        majority_labels(np.zeros(3, int), (1, 1), 2)
    with pytest.raises(ValueError, match="of one shape"):
        intersection_over_union(np.zeros(3, int), np.zeros(4, int), 2)
    with pytest.raises(ValueError, match="expected labels from 0 to 1"):
        intersection_over_union(np.array([2]), np.array([0]), 2)
    with pytest.raises(ValueError, match="expected weights of 3 features, got 2"):
        project_pixels([torch.zeros(1, 3, 2, 2)], torch.zeros(1, 2), (4, 4))
