"""What moves an rFID and a gFID: one set of photographs and its reconstructions, measured by protocols that differ.

    python benchmarks/experiments/protocol_changes.py

No FID Inception is at hand, so distances are the Fréchet distances of the last features of a MobileNetV2 that was
trained on ImageNet. Images of 144 pixels are enlarged to 168 for it, as those of 256 are to 299 for the FID Inception.
Half of the photographs are reconstructed: reduced to half and enlarged again, in place of a tokenizer. The rFID is from
the same photographs, the gFID from the other half.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from _common import BATCH, Experiment, Progress, begin, markdown_table, mobilenetv2
from _images import Image, changed, draw
from PIL import Image as PillowImage
from torch import Tensor
from torchvision.transforms import functional as vision  # type: ignore[import-untyped]

from vdna_metrics import ExtractorSpec, create_extractor
from vdna_metrics.analysis.features import collect_features
from vdna_metrics.build import Reading
from vdna_metrics.extractors import FeatureExtractor, get_spec
from vdna_metrics.extractors.modes import PreprocessingMode
from vdna_metrics.functional import frechet_distance
from vdna_metrics.images import ImageSource, select_images

BASE: PreprocessingMode = "legacy_tensorflow"
DRAWS = 40  # of labels
Resampling = PillowImage.Resampling


@dataclass(frozen=True)
class Measure:
    """Features of sets of images, each looked at once.

    Args:
        experiment: where features are kept.
        spec: of the network.
        networks: by how images are resized, as they are needed.
    """

    experiment: Experiment
    spec: ExtractorSpec
    networks: dict[str, FeatureExtractor] = field(default_factory=dict)

    def features(self, images: ImageSource, mode: PreprocessingMode = BASE) -> Tensor:
        """``[N, d]``, of images that are resized in one way."""

        def look() -> dict[str, np.ndarray]:
            progress = Progress(f"{mode}, {images.name}", len(images))
            reading = Reading(BATCH, device=self.experiment.device, progress=lambda done, _: progress(done))
            if mode not in self.networks:
                self.networks[mode] = create_extractor(replace(self.spec, preprocessing=mode))
            return {"vectors": collect_features(images, self.networks[mode], reading=reading).vectors.numpy()}

        settings = [self.experiment.quick, self.spec.name, str(self.spec.size), mode, images.name, images.names]
        return torch.from_numpy(self.experiment.keep(images.name, settings, look)["vectors"]).double()


def distance(a: Tensor, b: Tensor) -> float:
    """The Fréchet distance of two sets of features."""
    return float(frechet_distance(a.mean(0), a.T.cov(), b.mean(0), b.T.cov()))


def main() -> None:
    experiment = begin(__file__, __doc__)
    if experiment.quick:
        measure, size = Measure(experiment, get_spec("vdna_tiny")), 32
    else:
        spec = mobilenetv2(experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors")
        measure, size = Measure(experiment, replace(spec, layers=["conv_head"], size=168)), 144
    photographs = draw(experiment.open("imagenet_sample_1000.zip"), 24 if experiment.quick else 500)
    halves = (range(start, len(photographs), 2) for start in (0, 1))
    own, other = (select_images(photographs, half, name) for half, name in zip(halves, ("own", "other"), strict=True))
    rows = _rows(measure, own, other, size)
    text = f"```bash\n{experiment.command}\n```\n\n{_table(rows)}\n\n{_classes(measure)}"
    experiment.write_section(text, page="protocols.md")


def _rows(measure: Measure, own: ImageSource, other: ImageSource, size: int) -> list[tuple[str, str, float, float]]:
    """``(what, how it differs, rFID, gFID)``, the first row without a difference."""

    def cropped(images: ImageSource) -> ImageSource:
        return changed(images, f"{images.name}-cropped{size}", lambda image, _: center_crop(image, size))

    def reconstructed(images: ImageSource) -> ImageSource:
        return changed(images, f"{images.name}-reconstructed{size}", lambda image, _: _reconstruct(image, size))

    def saved(images: ImageSource, quality: int) -> ImageSource:
        return changed(images, f"{images.name}-jpeg{quality}", lambda image, _: _as_jpeg(image, quality))

    made, sides = reconstructed(own), [cropped(own), cropped(other)]
    known = [measure.features(images) for images in (made, *sides)]
    rows: list[tuple[str, str, float, float]] = []

    def add(what: str, how: str, fake: Tensor, real: list[Tensor]) -> None:
        rows.append((what, how, *(distance(fake, side) for side in real)))
        print(f"{what}, {how}: {rows[-1][2:]}", file=sys.stderr, flush=True)

    add("nothing", f"`{BASE}`, centre crops of {size} pixels, PNG", known[0], known[1:])
    other_modes: tuple[PreprocessingMode, ...] = ("clean", "legacy_pytorch", "torchmetrics")
    for mode in other_modes[: 1 if measure.experiment.quick else None]:
        fake, *real = (measure.features(images, mode) for images in (made, *sides))
        add("resizing", f"`{mode}`, both sides", fake, real)
        if mode == "clean":
            add("resizing", "reference `clean`, generated not: refused here", known[0], real)
    for how, crop in (
        ("reference cropped by Resize and CenterCrop of torchvision", _torchvision_crop),
        ("reference not cropped, whole images squeezed", _squeeze),
        ("reference not cropped and not resized, as published", _as_published),
    ):

        def prepare(image: Image, _: np.random.Generator, crop: Callable[[Image, int], Image] = crop) -> Image:
            return crop(image, size)

        name = f"{crop.__name__.strip('_')}{size}"
        real = [measure.features(changed(images, f"{images.name}-{name}", prepare)) for images in (own, other)]
        add("crop", how, known[0], real)
    for quality in (95, 75):
        add("format", f"reference saved as JPEG {quality}", known[0], [
            measure.features(saved(images, quality)) for images in sides
        ])  # fmt: skip
        add("format", f"generated saved as JPEG {quality}", measure.features(saved(made, quality)), known[1:])
    down = changed(own, f"{own.name}-truncated{size}", lambda image, _: _reconstruct(image, size, truncate=True))
    add("levels", "generated cut to whole levels, not rounded", measure.features(down), known[1:])
    n = len(own)
    for few in (n // 2, n // 5):
        add("number", f"{few} of {n} generated images", known[0][:few], known[1:])
    add("number", f"{n // 2} of {n} reference images", known[0], [side[: n // 2] for side in known[1:]])
    add("both halves", f"reference of all {2 * n} photographs", known[0], [torch.cat(known[1:])] * 2)
    return rows


def _table(rows: list[tuple[str, str, float, float]]) -> str:
    """The first row has the distances, the others by how much they differ."""
    first = rows[0][2:]
    table = [[*rows[0][:2], *(f"{value:.4g}" for value in first)]]
    for what, how, *values in rows[1:]:
        table.append([what, how, *(f"{value / start - 1:+.1%}" for value, start in zip(values, first, strict=True))])
    return markdown_table(["", "what is otherwise", "rFID, as it is", "gFID, as it is"], table, words=2)


def _classes(measure: Measure) -> str:
    """How much a distance is smaller where each class has as many images, in a sentence."""
    experiment = measure.experiment
    each, n = (4, 20) if experiment.quick else (60, 250)
    if experiment.quick:
        pool = experiment.open("bsds500.zip")
        labels = np.arange(len(pool)) % 5
        real = measure.features(pool)
        features = real
    else:
        pools = [_of_classes(experiment.open(f"cifar10_jpeg_{split}.zip"), each) for split in ("train", "test")]
        features, real = (measure.features(pool) for pool in pools)
        labels = np.array([name.split("/")[-2] for name in pools[0].names])
    stream, names = np.random.default_rng(0), np.unique(labels)
    values: dict[str, list[float]] = {"equal": [], "random": []}
    for _ in range(3 if experiment.quick else DRAWS):
        numbers = {
            "equal": np.full(len(names), n // len(names)),
            "random": stream.multinomial(n, np.full(len(names), 1 / len(names))),
        }
        for how, counts in numbers.items():
            rows = [
                stream.permutation(np.flatnonzero(labels == name))[:count]
                for name, count in zip(names, counts, strict=True)
            ]
            values[how].append(distance(features[np.concatenate(rows)], real))
    means = {how: float(np.mean(found)) for how, found in values.items()}
    error = float(np.std(np.subtract(values["equal"], values["random"])) / np.sqrt(len(values["equal"]) - 1))
    share, deviation = means["equal"] / means["random"] - 1, error / means["random"]
    return (
        f"Classes, on CIFAR-10 saved as JPEG, {n} images of {len(names)} classes against {len(real)} others, {DRAWS} "
        f"draws: as many of each class instead of labels at random moves the distance of {means['random']:.4g} by "
        f"{share:+.2%} (standard error {deviation:.2%})."
    )


def _of_classes(source: ImageSource, each: int) -> ImageSource:
    folders = np.array([name.split("/")[-2] for name in source.names])
    places = np.concatenate([np.flatnonzero(folders == name)[:each] for name in np.unique(folders)])
    return select_images(source, places.tolist(), f"{source.name}-{each}each")


# --------------------------------------------------------------------------------------------------------------- images
def center_crop(image: Image, size: int) -> Image:
    """The centre, as ADM's training code takes it: halved by a box filter, then bicubic."""
    picture = PillowImage.fromarray(image)
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Resampling.BOX)
    scale = size / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Resampling.BICUBIC)
    return _central(np.asarray(picture), size)


def _central(image: Image, size: int) -> Image:
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def _torchvision_crop(image: Image, size: int) -> Image:
    """As LightningDiT's script takes it, on tensors of floats."""
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
    tensor = vision.center_crop(vision.resize(tensor, [size], antialias=True), [size, size])
    return (tensor * 255).round().byte().permute(1, 2, 0).numpy()


def _squeeze(image: Image, size: int) -> Image:
    return np.asarray(PillowImage.fromarray(image).resize((size, size), Resampling.BICUBIC))


def _as_published(image: Image, _size: int) -> Image:
    return image


def _reconstruct(image: Image, size: int, *, truncate: bool = False) -> Image:
    tensor = torch.from_numpy(center_crop(image, size).copy()).permute(2, 0, 1)[None].float()
    for target in (size // 2, size):
        tensor = torch.nn.functional.interpolate(tensor, (target, target), mode="bicubic", antialias=True)
    levels = tensor[0].clamp(0, 255)
    return (levels if truncate else levels.round()).byte().permute(1, 2, 0).numpy()


def _as_jpeg(image: Image, quality: int) -> Image:
    file = io.BytesIO()
    PillowImage.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(PillowImage.open(file))


if __name__ == "__main__":
    main()
