"""Copies of photographs, exact and altered, among new photographs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vdna_metrics import create_extractor, open_images
from vdna_metrics.analysis import collect_features, find_copies
from vdna_metrics.images.decoding import decode_image


def _compressed(image: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=50)
    return np.array(Image.open(stream))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda image: image,
    "flipped": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "cropped": lambda image: image[: round(0.9 * image.shape[0]), -round(0.9 * image.shape[1]) :],
    "compressed": _compressed,
}


@pytest.mark.real_data
@pytest.mark.slow
def test_altered_photographs_are_found_as_copies(shared: Path) -> None:
    """The same photographs, flipped, cropped and compressed ones are found with their origin, new ones mostly not."""
    source = open_images(shared / "data" / "bsds500.zip")
    images = [decode_image(source.read(index)) for index in range(60)]

    def small(some: list[np.ndarray]) -> np.ndarray:
        return np.stack([np.array(Image.fromarray(image).resize((224, 224))) for image in some])

    origins = {name: range(place, 40, 10) for place, name in enumerate(CHANGES)}
    altered = [change(images[origin]) for name, change in CHANGES.items() for origin in origins[name]]
    network = create_extractor("vdna_tiny")
    reference = collect_features(small(images[:40]), network)
    report = find_copies(collect_features(small(altered + images[40:]), network), reference, false_alarms=0.05)
    expected = [str(origin) for chosen in origins.values() for origin in chosen]
    assert [match.reference for match in report.matches if match.suspect][: len(expected)] == expected
    assert len(report.suspects) - len(expected) <= 4
