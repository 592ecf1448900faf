"""Where a trained network sees that a part of a photograph was spoilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vdna_metrics import create_extractor, open_images
from vdna_metrics.analysis import difference_maps
from vdna_metrics.dna import Column
from vdna_metrics.images.decoding import decode_image


@pytest.mark.real_data
def test_an_early_layer_finds_a_square_of_white_noise(shared: Path) -> None:
    """What is above the mean lies in the square at over twice its share of the area, and at its share without noise."""
    source, network = open_images(shared / "data" / "bsds500.zip"), create_extractor("vdna_tiny")
    stream = np.random.default_rng(0)
    shares: dict[str, list[float]] = {"as it is": [], "spoilt": []}
    for index in [place for place, name in enumerate(source.names) if name.startswith("test/")][40:60]:
        photograph = torch.from_numpy(decode_image(source.read(index)).copy()).permute(2, 0, 1)[None]
        image = network.preprocess.resize(photograph).clamp(0, 255).round().byte()
        top, left = stream.integers(0, 73, 2).tolist()
        spoilt = image.clone()
        spoilt[0, :, top : top + 24, left : left + 24] = torch.from_numpy(
            stream.integers(0, 256, (3, 24, 24), np.uint8)
        )
        column, both = Column("emd", layers=["blocks.0"]), torch.cat([image, spoilt])
        found = difference_maps(both, "bsds500/trainval", network, distance=column)
        for name, each in zip(shares, found.maps, strict=True):
            above = (each.values - each.values.mean()).clamp(min=0)
            shares[name].append(float(above[top : top + 24, left : left + 24].sum() / above.sum()) * 16)
    assert np.mean(shares["spoilt"]) > 2
    assert 0.5 < np.mean(shares["as it is"]) < 1.5
