"""FDr^k of photographs, in two networks trained on ImageNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vdna_metrics import (
    ExtractorSpec,
    FeatureExtractor,
    FrechetDistanceRatio,
    GroupedDNA,
    LayerFrechetDistance,
    build_dnas,
    create_extractor,
)
from vdna_metrics.analysis import frechet_distance_ratio
from vdna_metrics.build import disjoint_groups
from vdna_metrics.images import open_images
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.procedural import add_noise, blur

SIZE, N = 96, 100
Images = NDArray[np.uint8]
NETWORKS = {
    "mobilenetv2_100.tf_in1k": ("mobilenetv2_100", {"pad_type": "same"}),
    "efficientnet_lite0.in1k": ("tf_efficientnet_lite0", {}),
}


@pytest.fixture(scope="module")
def extractors(shared: Path) -> dict[str, FeatureExtractor]:
    """The networks, each at a layer of about a hundred neurons."""
    found = {}
    for name, (architecture, arguments) in NETWORKS.items():
        weights = shared / "weights" / f"{name}.safetensors"
        if not weights.is_file():
            pytest.skip(f"no trained weights at {weights}")
        spec = ExtractorSpec(
            name, architecture, ["blocks.4"], SIZE, 0.5, 0.5, architecture_kwargs=arguments, weights=str(weights)
        )
        found[name] = create_extractor(spec)
    return found


@pytest.fixture(scope="module")
def photographs(shared: Path) -> dict[str, Images]:
    """Photographs of BSDS500, 96 x 96 pixels from their middle."""
    source = open_images(shared / "data" / "bsds500.zip")
    sets = {}
    for split, number in (("train", 200), ("val", N), ("test", N)):
        indices = [i for i, name in enumerate(source.names) if name.startswith(f"{split}/")][:number]
        arrays = (decode_image(source.read(index)) for index in indices)
        middles = ((array, (array.shape[0] - SIZE) // 2, (array.shape[1] - SIZE) // 2) for array in arrays)
        sets[split] = np.stack([array[top : top + SIZE, left : left + SIZE] for array, top, left in middles])
    return sets


def _in_groups(images: Images, extractors: dict[str, FeatureExtractor]) -> dict[str, GroupedDNA]:
    partition, found = disjoint_groups(len(images), 10), {}
    for name, extractor in extractors.items():
        made = build_dnas(images, extractor, ["layer_gaussian"], partition=partition)["layer_gaussian"]
        found[name] = GroupedDNA(tuple(made.values()))
    return found


@pytest.mark.real_data
@pytest.mark.slow
def test_disturbed_photographs_have_greater_ratios(
    extractors: dict[str, FeatureExtractor], photographs: dict[str, Images]
) -> None:
    """Other photographs are as far as the validation set, to a fifth; blurred, then noisy ones are farther.

    Corrected, the validation set's own distance may be 0, and there is no ratio.
    """
    stream = np.random.default_rng(0)
    sets = {
        **photographs,
        "blurred": np.stack([blur(image, 1.5) for image in photographs["test"]]),
        "noisy": np.stack([add_noise(image, 25.0, stream) for image in photographs["test"]]),
    }
    groups = {name: _in_groups(images, extractors) for name, images in sets.items()}
    train, validation = groups["train"], groups["val"]
    plain = {name: frechet_distance_ratio(groups[name], train, validation) for name in ("test", "blurred", "noisy")}
    values = {name: found.value for name, found in plain.items()}
    assert None not in values.values()
    assert values["test"] == pytest.approx(1, abs=0.2)
    assert 1.2 * values["test"] < values["blurred"] < values["noisy"]
    corrected = frechet_distance_ratio(groups["noisy"], train, validation, corrected=True)
    assert corrected.value is None  # photographs of one collection may all be of one distribution
    assert all(part.undefined and part.normaliser.value < 0.01 * part.distance for part in corrected.networks.values())
    metric = FrechetDistanceRatio(
        {
            name: LayerFrechetDistance(each, reference=train[name].total, layers=list(each.layout))
            for name, each in extractors.items()
        },
        plain["noisy"].normalisers,
    )
    for batch in torch.from_numpy(sets["noisy"]).permute(0, 3, 1, 2).split(25):
        metric.update(batch)
    assert float(metric.compute()) == pytest.approx(values["noisy"], rel=1e-4)
