"""MIND from histograms along directions, beside that of the features themselves, by the number of images.

    python benchmarks/experiments/streaming_mind.py

A MobileNetV2 trained on ImageNet looks at images of 96 x 96 pixels: forty thousand of them take a quarter of an hour.
Sets of as many images are compared along the same 1000 directions: exactly, by their features, and by histograms that
found their own ranges, whose mass lies evenly in each bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from _common import Experiment, Network, begin, markdown_table, mobilenetv2
from _images import Image, changed, draw
from disturbances import DISTURBANCES
from torch import Tensor
from torchmetrics import MetricCollection

from vdna_metrics import MongeInceptionDistance, NeuronWassersteinDistance, PrecomputedFeatures, create_extractor
from vdna_metrics.extractors import get_spec
from vdna_metrics.images import ImageSource, select_images

SIZE, LAYER, DIRECTIONS, BATCH = 96, "conv_head", 1000, 500
SIZES = (200, 500, 1000, 2000, 5000, 10000)
HALVES = "other half"
# As the experiment on disturbances has them: what is hardly seen for CIFAR's images, and the middle for photographs.
LITTLE = {"noise": 8, "blur": 0.5}
MIDDLE = {name: strengths[2] for name, (_, strengths, _) in DISTURBANCES.items()} | {"dark": 2, "gray": 1}


class Pair(NamedTuple):
    """MIND of two sets: of the features, and of histograms along directions."""

    exact: float
    streaming: float

    @property
    def error(self) -> float:
        """Of the latter, as a share of the former."""
        return self.streaming / self.exact - 1


Found = dict[str, dict[int, Pair]]
"""``{set: {number of images: MIND}}``."""


def disturb(name: str, strength: float, image: Image, stream: np.random.Generator) -> Image:
    """An image with a disturbance of some strength, or as it is without one."""
    if not name:
        return image
    if name == "dark":
        return (image / strength).astype(np.uint8)
    if name == "gray":
        return image.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    return DISTURBANCES[name][2](image, stream, strength)


def measure(real: Tensor, fake: Tensor) -> Pair:
    """Both distances between features ``[N, d]`` and ``[M, d]``."""
    rows = create_extractor(PrecomputedFeatures({LAYER: real.shape[1]}, directions={LAYER: DIRECTIONS}))
    along = f"{LAYER}@directions{DIRECTIONS}"
    both = MetricCollection({
        "exact": MongeInceptionDistance(rows, layers=[LAYER], n_directions=DIRECTIONS),
        "streaming": NeuronWassersteinDistance(rows, layers=[along], ranges="auto"),
    }).set_dtype(torch.float64)  # fmt: skip
    for features, side in ((real, True), (fake, False)):
        for batch in features.split(BATCH):
            both.update(batch, real=side)
    found = both.compute()
    return Pair(float(found["exact"]), 3 * real.shape[1] * float(found["streaming"]))


def main() -> None:
    experiment = begin(__file__, __doc__)
    network, sizes = _network(experiment), (20, 40) if experiment.quick else SIZES
    small = draw(experiment.open("cifar10_jpeg_train.zip"), 2 * sizes[-1])
    large = draw(experiment.open("bsds500.zip"), 24 if experiment.quick else 500)
    found = {
        "CIFAR-JPEG": compare(experiment, network, small, LITTLE, sizes, None),
        "BSDS500": compare(experiment, network, large, MIDDLE, (len(large) // 2,), SIZE),
    }
    experiment.write_section(describe(experiment, found), page="metrics.md")


def compare(
    experiment: Experiment,
    network: Network,
    images: ImageSource,
    strengths: Mapping[str, float],
    sizes: tuple[int, ...],
    size: int | None,
) -> Found:
    """One half of some images against the other, as it is and disturbed."""
    half = len(images) // 2
    real, rest = (select_images(images, places) for places in (range(half), range(half, 2 * half)))

    def features(part: ImageSource, name: str = "", strength: float = 0.0) -> Tensor:
        whole = changed(
            part, f"{images.name}{name and f', {name} {strength:g}'}",
            lambda image, stream: disturb(name, strength, image, stream), size=size,
        )  # fmt: skip
        return experiment.look(network, whole, {}).means.float()

    reference = features(real)
    sets = {HALVES: features(rest)} | {
        f"{name} {strength:g}": features(rest, name, strength) for name, strength in strengths.items()
    }

    def pair(name: str, n: int) -> Pair:
        made = experiment.keep(
            f"mind-{n}", [network.identity, images.name, name, n, DIRECTIONS],
            lambda: {"values": np.array(measure(reference[:n], sets[name][:n]))},
        )  # fmt: skip
        return Pair(*made["values"].tolist())

    return {name: {n: pair(name, n) for n in sizes} for name in sets}


def describe(experiment: Experiment, found: Mapping[str, Found]) -> str:
    """The page's part."""
    tables, errors = [], []
    for name, sets in found.items():
        sizes = next(iter(sets.values()))
        rows = []
        for n in sizes:
            pairs = [values[n] for values in sets.values()]
            rows.append(
                [
                    f"{n}",
                    *(f"{pair.exact:.4g}, {pair.error:+.2%}".replace("-", "−").replace("%", " %") for pair in pairs),
                ]
            )
            errors += [abs(pair.streaming - pair.exact) / max(pair.exact, pairs[0].exact) for pair in pairs]
        tables.append(markdown_table([f"{name}, images a side", *sets], rows))
    return "\n\n".join([
        f"```bash\n{experiment.command}\n```", *tables,
        "In each cell: MIND of the features, and by how much that of histograms differs. One half of the images is "
        "compared with the other, as it is and disturbed (noise: deviation of 255; blur: pixels). Of the exact value, "
        f"or of that of two real halves where this is larger, the greatest error is {100 * max(errors):.2g} %.",
    ])  # fmt: skip


def _network(experiment: Experiment) -> Network:
    spec = get_spec("vdna_tiny")
    if not experiment.quick:
        spec = mobilenetv2(experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors")
    extractor = create_extractor(replace(spec, size=(SIZE, SIZE), layers={LAYER: LAYER}))
    return Network(extractor.name, extractor, "auto", extractor.fingerprint.digest[:12])


if __name__ == "__main__":
    main()
