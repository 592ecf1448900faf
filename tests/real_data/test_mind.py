"""MIND of photographs: from histograms along directions as from the features themselves."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchmetrics import MetricCollection

from vdna_metrics import MongeInceptionDistance, NeuronWassersteinDistance, create_extractor
from vdna_metrics.extractors.registry import get_spec
from vdna_metrics.images import open_images
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.procedural import add_noise, blur

SIZE, N, DIRECTIONS = 96, 50, 300
Photograph = NDArray[np.uint8]


def _jpeg(image: Photograph) -> Photograph:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=10)
    return np.asarray(Image.open(file))


DISTURBED: dict[str, Callable[[Photograph, np.random.Generator], Photograph]] = {
    "blur": lambda image, _: blur(image, 2),
    "noise": lambda image, stream: add_noise(image, 20, stream),
    "JPEG": lambda image, _: _jpeg(image),
    "dark": lambda image, _: image // 2,
    "gray": lambda image, _: image.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2),
    "four levels": lambda image, _: image // 64 * 64,
    "upside down": lambda image, _: image[::-1],
    "middle, twice as large": lambda image, _: image[24:72, 24:72].repeat(2, axis=0).repeat(2, axis=1),
}


@pytest.mark.real_data
@pytest.mark.slow
def test_histograms_along_directions_give_mind(shared: Path) -> None:
    """Of two halves of photographs, of others and of eight disturbances it is that of the features to 1 %.

    The network's pooled layer has a position an image, so that histograms are of the features.
    """
    spec = replace(get_spec("vdna_tiny"), name="pooled", layers={"pool": "global_pool"})
    extractor = create_extractor(spec, directions={"pool": DIRECTIONS})
    layer, d = f"pool@directions{DIRECTIONS}", extractor.layout["pool"]

    def photographs(split: str) -> list[Photograph]:
        source = open_images(shared / "data" / "bsds500.zip")
        chosen = [i for i, name in enumerate(source.names) if name.startswith(f"{split}/")][:N]
        arrays = (decode_image(source.read(index)) for index in chosen)
        return [np.asarray(Image.fromarray(array).resize((SIZE, SIZE))) for array in arrays]

    both = MetricCollection(
        {
            "exact": MongeInceptionDistance(
                extractor, layers=["pool"], n_directions=DIRECTIONS, reset_real_features=False
            ),
            "streaming": NeuronWassersteinDistance(extractor, layers=[layer], ranges="auto", reset_real_features=False),
        }
    ).set_dtype(torch.float64)

    def see(images: list[Photograph], real: bool) -> None:
        both.update(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), real=real)

    def minds(generated: list[Photograph]) -> tuple[float, float]:
        see(generated, real=False)
        found = both.compute()
        both.reset()
        return float(found["exact"]), 3 * d * float(found["streaming"])

    train, stream = photographs("train"), np.random.default_rng(0)
    see(train[::2], real=True)
    floor, streamed = minds(train[1::2])
    assert abs(streamed - floor) <= 0.01 * floor
    see(train[1::2], real=True)
    sets = {"photographs": photographs("test")}
    sets |= {name: [disturb(image, stream) for image in train] for name, disturb in DISTURBED.items()}
    values = {name: minds(images) for name, images in sets.items()}
    assert all(abs(found - exact) <= 0.01 * exact for exact, found in values.values()), values
    assert min(values["blur"][0], values["noise"][0]) > 10 * max(floor, values["photographs"][0])
