"""Pictures of regions."""

from __future__ import annotations

import numpy as np

from vdna_metrics.reports.region_plots import plot_regions

IMAGE = np.zeros((8, 8, 3), np.uint8)


def _legend(labels: np.ndarray, number: int) -> list[str]:
    figure = plot_regions({"real": [(IMAGE, labels)]}, list(map(str, range(number))))
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_pixels_of_no_region_are_in_the_legend() -> None:
    """No region has a colour of its own, which the legend names where there are such pixels, and is not the page's."""
    assert _legend(np.array([[0, 1]]), 2) == ["0", "1"]
    assert _legend(np.array([[0, -1]]), 2) == ["0", "1", "no region"]
    figure = plot_regions({"real": [(IMAGE, np.array([[0, -1]]))]}, ["0", "1"])
    shown = figure.axes[1].images[0].get_array()
    assert 0.7 < float(np.asarray(shown)[0, 1].max()) < 0.9


def test_the_legend_names_the_largest_of_many_regions() -> None:
    """Of hundreds of regions the largest have colours and names, the others one colour together."""
    labels = np.concatenate([np.arange(301), np.repeat(np.arange(100, 124), 2)])[None]
    assert _legend(labels, 301) == [*map(str, range(100, 124)), "277 other regions"]
