"""What a network trained on photographs says of images that anybody can put in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vdna_metrics import ExtractorSpec, build_dnas, compare, create_extractor
from vdna_metrics.images import open_images
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.procedural import add_noise, blur, procedural_images

SIZE, N = 200, 40
Image = NDArray[np.uint8]


def _photographs(path: Path, splits: tuple[str, ...]) -> Iterator[Image]:
    source = open_images(path)
    for index, name in enumerate(source.names):
        if name.startswith(splits):
            yield decode_image(source.read(index))


@pytest.mark.real_data
@pytest.mark.slow
def test_a_trained_network_ranks_images_as_people_do(shared: Path) -> None:
    """From photographs, other photographs are nearest, then blurred, then noisy ones; procedural worlds follow."""
    weights = shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
    if not weights.is_file():
        pytest.skip(f"no trained weights at {weights}")
    spec = ExtractorSpec(
        name="mobilenetv2",
        architecture="mobilenetv2_100",
        architecture_kwargs={"pad_type": "same"},
        weights=str(weights),
        layers=["blocks.0", "blocks.2", "blocks.4", "conv_head"],
        size=SIZE,
        mean=0.5,
        std=0.5,
    )
    extractor = create_extractor(spec)

    def batches(images: Iterator[Image], n: int = N) -> Iterator[torch.Tensor]:
        """One image at a time, already at the network's size."""
        for _, image in zip(range(n), images, strict=False):
            tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
            yield extractor.preprocess.resize(tensor).round().byte()

    def photographs(*splits: str) -> Iterator[Image]:
        return _photographs(shared / "data" / "bsds500.zip", splits)

    def small(*splits: str) -> Iterator[Image]:
        for batch in batches(photographs(*splits)):
            yield batch[0].permute(1, 2, 0).numpy()

    def dna(images: Iterator[torch.Tensor]) -> object:
        return build_dnas(images, extractor, ranges="auto")["histogram"]

    real = dna(batches(photographs("train/", "val/"), 120))
    rng = np.random.default_rng(0)
    sets = {
        "photographs": small("test/"),
        "blurred": (blur(image, 2.0) for image in small("test/")),
        "noisy": (add_noise(image, 25.0, rng) for image in small("test/")),
        **{
            world: procedural_images(world, N, size=SIZE)
            for world in ("dead_leaves_textured", "dead_leaves_squares", "one_over_f_noise", "white_noise")
        },
    }
    distances = {name: float(compare.emd(real, dna(batches(images)))) for name, images in sets.items()}
    assert sorted(distances, key=distances.__getitem__) == list(sets), distances
