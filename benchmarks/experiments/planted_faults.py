"""What each metric sees: sets of small photographs with one planted fault each, by all metrics from one pass.

    python benchmarks/experiments/planted_faults.py

Five hundred of CIFAR-10's training images are the reference; the generated sets are five hundred of its test images as
they are, and with a fault. A MobileNetV2 trained on ImageNet looks at them. Each distance is told as a multiple of its
value for the images as they are; scores as they are.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import torch
from _common import Experiment, Progress, begin, markdown_table, mobilenetv2
from _images import Image, changed, draw, join
from PIL import Image as PillowImage, ImageEnhance, ImageFilter

from vdna_metrics import VDNA, Directions, create_extractor
from vdna_metrics.build import Reading
from vdna_metrics.build.dnas import DNARequest, make_dnas
from vdna_metrics.dna import find_distance
from vdna_metrics.extractors import FeatureExtractor, get_spec
from vdna_metrics.functional import kernel_mmd
from vdna_metrics.images import ImageSource, select_images

DISTANCES = ("emd", "nfd", "lfd", "kid", "cmmd", "mind")
SCORES = ("precision", "recall", "density", "coverage", "vendi")
SIZE = 128
BATCH = 20

DNAs = dict[str, VDNA]


def main() -> None:
    experiment = begin(__file__, __doc__)
    n = 40 if experiment.quick else 500
    network = _network(experiment)
    real = _look(network, draw(experiment.open("cifar10_jpeg_train.zip"), n), "reference")
    rows: dict[str, dict[str, float]] = {}
    for name, images in faults(draw(experiment.open("cifar10_jpeg_test.zip"), 2 * n), n).items():
        rows[name] = measure(real, _look(network, images, name))
        print(
            name, {column: float(f"{value:.4g}") for column, value in rows[name].items()}, file=sys.stderr, flush=True
        )
    experiment.write_section(describe(experiment, rows, n), page="metrics.md")


def faults(images: ImageSource, n: int) -> dict[str, ImageSource]:
    """Sets of ``n`` images with one fault each; the first has none."""
    fine = select_images(images, range(n), "as they are")
    classes = sorted({_class(name) for name in images.names})
    kept = set(classes[: len(classes) // 2])
    few = [place for place, name in enumerate(images.names) if _class(name) in kept][:n]
    copied = select_images(images, range(n // 10), "a tenth")
    return {
        "none": fine,
        "blur, σ 0.7 pixels": changed(fine, "blur", lambda image, _: _pillow(image, ImageFilter.GaussianBlur(0.7))),
        "noise, σ 8 of 255": changed(fine, "noise", _noise),
        "JPEG, quality 30": changed(fine, "jpeg", lambda image, _: _jpeg(image)),
        "colour, saturation 0.5": changed(fine, "colour", lambda image, _: _faded(image)),
        "half of the classes gone": select_images(images, few, "half of the classes"),
        "a tenth of the images, ten times": join("copies", *[copied] * 10),
        "one image in ten is noise": changed(fine, "outliers", _one_in_ten),
    }


def measure(real: DNAs, fake: DNAs) -> dict[str, float]:
    """All distances and scores of one set."""
    found = {}
    for name in (*DISTANCES, *SCORES):
        distance = find_distance(name)
        found[name] = float(distance(real[distance.kind], fake[distance.kind]))  # type: ignore[arg-type]
    sides = (next(iter(side["features"].distribution.features().values())) for side in (real, fake))  # type: ignore[attr-defined]
    found["kid error"] = float(kernel_mmd(*sides)[1])
    streamed = find_distance("nwd")(real["directions"], fake["directions"])
    found["mind, streaming"] = 3 * real["features"].layout.total * float(streamed)  # type: ignore[arg-type]
    return found


def describe(experiment: Experiment, rows: dict[str, dict[str, float]], n: int) -> str:
    """The page's part."""
    first = next(iter(rows.values()))
    labels = {"mind, streaming": "MIND, streaming"} | {
        name: find_distance(name).short for name in (*DISTANCES, *SCORES)
    }
    columns = [*DISTANCES, "mind, streaming", *SCORES]
    unit = first | {"kid": first["kid error"]}
    table = [["none", *(f"{first[name]:.3g}" for name in columns)]]
    for fault, values in list(rows.items())[1:]:
        shown = (f"{values[name]:.2f}" if name in SCORES else f"× {values[name] / unit[name]:.3g}" for name in columns)
        table.append([fault, *shown])
    gap = max(abs(values["mind, streaming"] / values["mind"] - 1) for values in rows.values())
    text = markdown_table(["fault", *(labels[name] for name in columns)], table)
    return (
        f"```bash\n{experiment.command}\n```\n\n{text}\n\n{n} images a set. KID is near 0 without a fault, so it is "
        f"told in standard errors of its first row, {unit['kid']:.2g}. MIND from histograms "
        f"(`NeuronWassersteinDistance` of 1000 directions) is at most {gap:.2%} from the exact one."
    )


def _network(experiment: Experiment) -> FeatureExtractor:
    spec = get_spec("vdna_tiny")
    if not experiment.quick:
        weights = experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
        spec = replace(mobilenetv2(weights), size=(SIZE, SIZE))
    return create_extractor(spec, directions={"conv_head": Directions(1000)})


def _look(network: FeatureExtractor, images: ImageSource, name: str) -> DNAs:
    """DNAs of all kinds, in one pass."""
    layers = [layer for layer in network.layout if "@" not in layer]
    last, (directions,) = layers[-1:], [layer for layer in network.layout if "@" in layer]
    requests = {
        "histogram": DNARequest("histogram", network.layout.select(layers), ranges="auto"),
        "gaussian": DNARequest("gaussian", network.layout.select(layers)),
        "layer_gaussian": DNARequest("layer_gaussian", network.layout.select(last)),
        "features": DNARequest("features", network.layout.select(last)),
        "directions": DNARequest("histogram", network.layout.select([directions]), ranges="auto"),
    }
    progress = Progress(name, len(images))
    made = make_dnas(images, network, requests, reading=Reading(BATCH, progress=lambda done, _: progress(done)))
    return {key: dnas[None] for key, dnas in made.dnas.items()}


def _class(name: str) -> str:
    return name.rpartition("/")[0].rpartition("/")[2]


def _pillow(image: Image, change: ImageFilter.Filter) -> Image:
    return np.asarray(PillowImage.fromarray(image).filter(change))


def _noise(image: Image, random: np.random.Generator) -> Image:
    return np.clip(image + random.normal(0, 8, image.shape), 0, 255).round().astype(np.uint8)


def _one_in_ten(image: Image, random: np.random.Generator) -> Image:
    return random.integers(0, 256, image.shape, np.uint8) if random.random() < 0.1 else image


def _jpeg(image: Image) -> Image:
    file = io.BytesIO()
    PillowImage.fromarray(image).save(file, "JPEG", quality=30)
    return np.asarray(PillowImage.open(file))


def _faded(image: Image) -> Image:
    return np.asarray(ImageEnhance.Color(PillowImage.fromarray(image)).enhance(0.5))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
