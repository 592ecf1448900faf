"""Contact sheets show the images at both ends with what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vdna_metrics.analysis import ImageRanking
from vdna_metrics.reports import contact_sheet


def _ranking(images: int = 7, kept: int = 3, height: int = 8) -> ImageRanking:
    """Image ``i`` has score ``i + 1`` and shade ``30 i`` (modulo 256), and is unusual in the second layer."""
    scores = torch.arange(1, images + 1, dtype=torch.float64)
    return ImageRanking(
        source="made",
        reference="real",
        distance="emd",
        label="VDNA-EMD",
        kind="histogram",
        unit="bins",
        layers=("early", "late"),
        indices=tuple(range(images)),
        names=tuple(f"a_folder_with_a_long_name/image_{i}.png" for i in range(images)),
        scores=scores,
        layer_distances=torch.stack([torch.full_like(scores, 5), scores], dim=1),
        pictures={
            i: torch.full((3, height, 8), 30 * i % 256, dtype=torch.uint8)
            for i in range(images)
            if i < kept or i >= images - kept
        },
    )


def test_both_ends_are_shown_in_order() -> None:
    """The nearest stand first and then the farthest, each with its picture, score, name's end and telling layer."""
    figure = contact_sheet(_ranking())
    shades = [int(ax.images[0].get_array()[0, 0, 0]) for ax in figure.axes]
    assert shades == [0, 30, 60, 180, 150, 120]
    words = [text.get_text() for text in figure.texts]
    assert [word[:13] for word in words if word.startswith("the ")] == ["the 3 nearest", "the 3 farthes"]
    scores = [word for word in words if word.endswith(".000")]
    assert scores == ["1.000", "2.000", "3.000", "7.000", "6.000", "5.000"]
    assert words.count("late -1.5σ") == words.count("late +1.5σ") == 1
    assert sum(word.startswith("…") and word.endswith("/image_6.png") for word in words) == 1
    assert figure.get_suptitle() == "7 images of made, by VDNA-EMD (bins) from real"


def test_as_many_are_shown_as_asked_for() -> None:
    """Numbers and columns decide how many are shown and how wide the sheet is; a title takes the place of the own."""
    narrow = contact_sheet(_ranking(30, 12), columns=3, title="mine")
    wide = contact_sheet(_ranking(30, 12), columns=12)
    assert len(narrow.axes) == len(wide.axes) == 24
    assert narrow.get_size_inches()[0] < wide.get_size_inches()[0]
    assert narrow.get_size_inches()[1] > 2 * wide.get_size_inches()[1]
    assert narrow.get_suptitle() == "mine"
    assert len(contact_sheet(_ranking(), nearest=2, farthest=0).axes) == 2


@pytest.mark.parametrize("height", [4, 8, 16])
def test_nothing_overlaps(height: int) -> None:
    """Pictures keep their proportions and cover neither words nor each other, whatever they measure."""
    figure = contact_sheet(_ranking(height=height), columns=2)
    figure.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in figure.axes]
    for box in boxes:
        assert box.height / box.width == pytest.approx(height / 8)
    boxes += [text.get_window_extent() for text in figure.texts]
    corners = np.array([[box.x0, box.y0, box.x1, box.y1] for box in boxes])
    for i, (x0, y0, x1, y1) in enumerate(corners):
        others = np.delete(corners, i, axis=0)
        assert not ((others[:, 0] < x1) & (others[:, 2] > x0) & (others[:, 1] < y1) & (others[:, 3] > y0)).any()
    width, tall = figure.get_size_inches() * figure.dpi
    assert corners[:, :2].min() >= 0
    assert (corners[:, 2:] <= (width, tall)).all()


def test_a_sheet_without_pictures_is_refused() -> None:
    """A ranking without pictures, and one of which none is asked for, are errors that say what to do."""
    with pytest.raises(ValueError, match=r"no picture to show: 0 were kept \(rank_images\(pictures=\)\)"):
        contact_sheet(_ranking(kept=0))
    with pytest.raises(ValueError, match="the 0 nearest and the 0 farthest"):
        contact_sheet(_ranking(), nearest=0, farthest=0)
