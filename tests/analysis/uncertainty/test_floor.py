"""What perfect images score."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.distances import OURS, make_grouped
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
