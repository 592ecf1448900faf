"""Whether difference maps find a fault that was planted in a square of a photograph.

    python benchmarks/experiments/difference_maps.py

Fifty of BSDS500's test photographs, a square of each a quarter as wide and high as the image: as it is, with Gaussian
noise (standard deviation 40 levels), blurred (4 pixels), or of nothing but white noise. Through the network that ships
and a MobileNetV2 trained on ImageNet; train and val are the reference. Told is the part of the map's positive values
within the square, and of what is above the image's mean, as a multiple of the square's share of the area, and how often
the highest place is in the square.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from _common import Experiment, begin, markdown_table, mobilenetv2
from _images import Image, draw, pixels, stream_of
from numpy.typing import NDArray

from vdna_metrics import VDNA, build_dnas, create_extractor
from vdna_metrics.analysis import difference_maps
from vdna_metrics.build import Reading
from vdna_metrics.dna import Column
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.procedural import add_noise, blur

N, SEEN_BEFORE = 50, 40  # of the test photographs the first were looked at when the maps were made
SHARE = 4  # of the image's width and height that a square has, one in so many
SIZE = 160
Box = tuple[slice, slice]
Measured = dict[str, dict[str, tuple[float, ...]]]  # {fault: {layers: numbers}}
FAULTS: dict[str, Callable[[Image, Box, np.random.Generator], Image]] = {
    "as it is": lambda image, box, _: image[box],
    "noise": lambda image, box, random: add_noise(image[box], 40.0, random),
    "blur": lambda image, box, _: blur(image, 4.0)[box],
    "white noise": lambda image, box, random: random.integers(0, 256, image[box].shape, np.uint8),
}


def main() -> None:
    experiment = begin(__file__, __doc__)
    rows = []
    for name, network in networks(experiment).items():
        for fault, found in kept(experiment, network).items():
            for layers, values in found.items():
                rows.append([name, fault, layers, f"{values[0]:.2f}", f"{values[1]:.2f}", f"{100 * values[2]:.0f} %"])
    header = ["network", "square", "layers", "positive values", "above the mean", "highest place"]
    experiment.write_section(markdown_table(header, rows, words=3), page="analysis.md")


def kept(experiment: Experiment, network: FeatureExtractor) -> Measured:
    """What `measure` finds, fault by fault, from the file where a run has left it."""
    path = experiment.work / "difference_maps" / f"{network.name}-{network.fingerprint.digest[:12]}.json"
    found: Measured = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if len(found) == len(FAULTS):
        return found
    test = experiment.open("bsds500.zip", "test/")
    images = draw(select_images(test, range(0 if experiment.quick else SEEN_BEFORE, len(test))), N)
    real = experiment.open("bsds500.zip", "train/", "val/")
    reference = build_dnas(real, network, ranges="auto", reading=Reading(8))["histogram"]
    for fault in FAULTS:
        if fault not in found:
            found[fault] = measure(network, reference, images, fault)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found), encoding="utf-8")
            print(network.name, fault, found[fault], file=sys.stderr, flush=True)
    return found


def networks(experiment: Experiment) -> dict[str, FeatureExtractor]:
    """The network that ships, and but in a quick run one that was trained on ImageNet."""
    found = {"vdna_tiny": create_extractor("vdna_tiny")}
    if not experiment.quick:
        weights = experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
        found["mobilenetv2"] = create_extractor(replace(mobilenetv2(weights), size=SIZE))
    return found


def measure(
    network: FeatureExtractor, reference: VDNA, images: ImageSource, fault: str
) -> dict[str, tuple[float, ...]]:
    """Means over images of what `in_square` says of all layers and of each."""
    columns = {layer: Column("emd", layers=[layer]) for layer in network.layout}
    shares = dict(zip(network.layout, Column("emd").layer_shares(network.layout).tolist(), strict=True))
    size = network.preprocess.resize(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape[2]
    found: dict[str, list[tuple[float, ...]]] = {}
    for place, name in enumerate(images.names):
        random = stream_of(name)
        image = pixels(images, place, size).copy()
        box = square(size, random)
        image[box] = FAULTS[fault](image, box, random)
        pixel = torch.from_numpy(image).permute(2, 0, 1)[None]
        maps = {
            layer: difference_maps(pixel, reference, network, distance=column).maps[0].values.numpy()
            for layer, column in columns.items()
        }
        for layers, values in {"all": sum(shares[layer] * values for layer, values in maps.items()), **maps}.items():
            found.setdefault(layers, []).append(in_square(values, box))
    return {layers: tuple(np.mean(values, axis=0).tolist()) for layers, values in found.items()}


def square(size: int, random: np.random.Generator) -> Box:
    """Where the fault is."""
    side = size // SHARE
    top, left = random.integers(0, size - side + 1, 2).tolist()
    return slice(top, top + side), slice(left, left + side)


def in_square(values: NDArray[np.float64], box: Box) -> tuple[float, ...]:
    """Parts of a map's positive values and of those above its mean, over the area's, and whether the highest is in."""
    area = values[box].size / values.size
    parts = []
    for some in (values.clip(min=0), (values - values.mean()).clip(min=0)):
        parts.append(float(some[box].sum() / max(some.sum(), 1e-12)) / area)
    return parts[0], parts[1], float(values[box].max() >= values.max())


if __name__ == "__main__":
    main()
