"""What `open_images` takes beside files: prefixes, tensors, and what is a source already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.dnas import make_dna, make_ranges

from vdna_metrics.images import open_images, procedural_images

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), np.uint8)


def test_a_tensor_is_its_array() -> None:
    """Rows of a tensor are those of the array with the same values."""
    source, rows = open_images(torch.from_numpy(PIXELS)), open_images(PIXELS)
    assert source.names == rows.names
    assert all(np.array_equal(source.read(place), rows.read(place)) for place in range(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"tensor: images are uint8 .*got float32 .*; scale images to 0\.\.255"):
        open_images(torch.rand(2, 3, 8, 8))


def test_a_source_is_itself() -> None:
    """What is open already stays what it is."""
    source = open_images(PIXELS)
    assert open_images(source) is source


def test_worlds_are_opened_by_prefix() -> None:
    """`procedural:WORLD/N` draws what `procedural_images` draws."""
    source = open_images("procedural:white_noise/2")
    assert source.name == "white_noise"
    drawn = list(procedural_images("white_noise", 2))
    assert all(np.array_equal(source.read(place), drawn[place]) for place in range(2))  # type: ignore[arg-type]


def test_datasets_are_opened_by_prefix(tmp_path: Path) -> None:
    """`dataset:NAME/SPLIT` looks in the given root."""
    with pytest.raises(ValueError, match=f"coco/val2017 is not in '{tmp_path}'"):
        open_images("dataset:coco/val2017", root=tmp_path)


def test_files_of_ours_are_no_images(tmp_path: Path) -> None:
    """A DNA or ranges is refused with what it holds."""
    for value, holds in ((make_dna("gaussian"), "gaussian"), (make_ranges(), "ranges")):
        path = value.save(tmp_path / f"{holds}.npz")
        with pytest.raises(ValueError, match=f"a file of vdna_metrics that holds '{holds}', and no images"):
            open_images(path)
