"""Statistics of the pixels of a set's images, which may be of any sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vdna_metrics import Reading
from vdna_metrics.analysis import collect_pixel_statistics
from vdna_metrics.functional import pixel_statistics


def test_images_of_any_sizes_have_a_row_each(tmp_path: Path) -> None:
    """In the source's order, by names, each as it is stored; bad ones are left out when that is asked for."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (height, 40, 3), np.uint8) for height in (24, 56)]
    for name, image in zip("ac", images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b\.png"):
        collect_pixel_statistics(tmp_path)
    found = collect_pixel_statistics(tmp_path, reading=Reading(batch_size=2, skip_bad=True))
    rows = [pixel_statistics(torch.from_numpy(image).permute(2, 0, 1)[None])[0] for image in images]
    assert found.names == ("a.png", "c.png")
    assert torch.equal(found.vectors, torch.stack(rows))


def test_features_have_no_pixels() -> None:
    """Rows of features are refused."""
    with pytest.raises(ValueError, match="got features, which have no pixels"):
        collect_pixel_statistics({"layer": np.zeros((3, 4), np.float32)})
