"""What perfect images score."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers.distances import EVENNESS, OURS, make_grouped
from helpers.dnas import LAYOUT, make_dna

from vdna_metrics.analysis.uncertainty import (
    noise_floor,
)
from vdna_metrics.dna.columns import find_column

distances = pytest.mark.parametrize("distance", OURS)


@distances
def test_the_floor_is_what_new_real_images_score(distance: str) -> None:
    """The floor of 40 and of 300 images is the mean distance of so many new images from the reference."""
    references = [make_grouped(distance, seed, sizes=(20,) * 6) for seed in range(40)]
    for n_images in (40, 300):
        floors = [noise_floor(reference, n_images, distance=distance, draws=2) for reference in references]
        measure = find_column(distance)
        found = [
            measure(reference.total, make_dna(measure.kind, n_images, 5000 + i, bins=40))
            for i, reference in enumerate(references)
        ]
        assert np.mean([floor.value for floor in floors]) == pytest.approx(np.mean(found), rel=0.25), n_images


def test_a_floor_says_how_it_was_measured() -> None:
    """Its layers give its value; it is the same for one seed; parts are as near to the asked number as groups allow."""
    reference = make_grouped("emd", 0, sizes=(10,) * 8)
    floor = noise_floor(reference, 10, draws=4, seed=3)
    assert floor.measured_at == 10
    assert noise_floor(reference, 1000).measured_at == 40
    assert floor == noise_floor(reference, 10, draws=4, seed=3)
    assert floor.value == pytest.approx(
        sum(floor.layers[layer] * count / LAYOUT.total for layer, count in LAYOUT.items())
    )
    assert noise_floor(reference, 10, draws=1).spread == 0
    with pytest.raises(ValueError, match="at least one image and one draw, got 0 and 10"):
        noise_floor(reference, 0)


def test_a_tie_of_numbers_of_groups_is_no_matter_of_rounding() -> None:
    """Of two numbers of groups whose noise is as far above and below what is expected, the smaller is taken."""
    noises = [Fraction(1, 11 * groups) + Fraction(1, 11 * (10 - groups)) for groups in (1, 2)]
    expected = Fraction(1, 15) + Fraction(1, 110)
    assert noises[0] / expected == expected / noises[1]
    assert noise_floor(make_grouped("emd", 0, sizes=(11,) * 10), 15, draws=1).measured_at == 11


def test_what_has_no_value_between_alike_sets_has_no_floor() -> None:
    """A score of one set has no floor."""
    with pytest.raises(ValueError, match="evenness has no value between a set and itself, so it has no noise floor"):
        noise_floor(make_grouped(EVENNESS, 0), 10, distance=EVENNESS)
