"""Which images of a pool belong to a set of photographs (paper Fig. 3).

    python benchmarks/experiments/retrieval.py

The set is BSDS500's training and validation photographs. The pool has its test photographs, each changed by two of 16
operations, among photographs of ImageNet, CIFAR-JPEG and MNIST. Every image of the pool is ranked by its distance from
the set, by each of five distances; the changed photographs should come first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from _common import BATCH, BLOCK, Experiment, Network, Progress, begin, markdown_table
from _images import Image, changed, draw, pixels
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage, ImageEnhance, ImageOps
from torch import Tensor

from vdna_metrics import VDNA
from vdna_metrics.analysis import rank_images
from vdna_metrics.build import Reading
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.extractors import Preprocessing
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.images import ImageSource, iterate_images, select_images

SMALL, OF_EACH = 64, 500  # pixels of the images that are compared without a network; images of CIFAR-JPEG and MNIST
RELEVANT = "BSDS test, changed"
Scores = NDArray[np.float64]
Picture = PillowImage.Image
Operation = Callable[[Picture, np.random.Generator], Picture]

GREY = (128, 128, 128)


# ---------------------------------------------------------------------------------------------------------- operations
def sheared(image: Picture, x: float, y: float) -> Picture:
    """Sheared about its corner."""
    return image.transform(image.size, PillowImage.Transform.AFFINE, (1, x, 0, y, 1, 0), fillcolor=GREY)


def moved(image: Picture, x: float, y: float) -> Picture:
    """Moved by shares of its width and height."""
    by = (1, 0, x * image.width, 0, 1, y * image.height)
    return image.transform(image.size, PillowImage.Transform.AFFINE, by, fillcolor=GREY)


def cut_out(image: Picture, rng: np.random.Generator) -> Picture:
    """With a grey square of up to a fifth of the longer side somewhere."""
    side = round(rng.uniform(0, 0.2) * max(image.size))
    left, top = (int(rng.integers(0, length)) - side // 2 for length in image.size)
    image = image.copy()
    image.paste(GREY, (left, top, left + side, top + side))
    return image


# With `PAIRED`, which needs a second image, those of AutoAugment (Cubuk et al., CVPR 2019), with its ranges.
OPERATIONS: Mapping[str, Operation] = {
    "shear x": lambda image, rng: sheared(image, rng.uniform(-0.3, 0.3), 0),
    "shear y": lambda image, rng: sheared(image, 0, rng.uniform(-0.3, 0.3)),
    "translate x": lambda image, rng: moved(image, rng.uniform(-0.45, 0.45), 0),
    "translate y": lambda image, rng: moved(image, 0, rng.uniform(-0.45, 0.45)),
    "rotate": lambda image, rng: image.rotate(rng.uniform(-30, 30), fillcolor=GREY),
    "auto contrast": lambda image, _: ImageOps.autocontrast(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "solarize": lambda image, rng: ImageOps.solarize(image, int(rng.integers(0, 256))),
    "posterize": lambda image, rng: ImageOps.posterize(image, int(rng.integers(4, 9))),
    "contrast": lambda image, rng: ImageEnhance.Contrast(image).enhance(rng.uniform(0.1, 1.9)),
    "colour": lambda image, rng: ImageEnhance.Color(image).enhance(rng.uniform(0.1, 1.9)),
    "brightness": lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.uniform(0.1, 1.9)),
    "sharpness": lambda image, rng: ImageEnhance.Sharpness(image).enhance(rng.uniform(0.1, 1.9)),
    "cutout": cut_out,
}
PAIRED = "sample pairing"


def augmented(source: ImageSource) -> ImageSource:
    """The images of a source, each changed by two different operations drawn for it."""

    def change(image: Image, rng: np.random.Generator) -> Image:
        picture = PillowImage.fromarray(image)
        for name in rng.choice([*OPERATIONS, PAIRED], 2, replace=False):
            if name == PAIRED:
                other = PillowImage.fromarray(pixels(source, int(rng.integers(len(source)))))
                picture = PillowImage.blend(picture, other.resize(picture.size), rng.uniform(0, 0.4))
            else:
                picture = OPERATIONS[str(name)](picture, rng)
        return np.array(picture)

    return changed(source, f"{source.name}, two of {len(OPERATIONS) + 1} operations each", change)


# ----------------------------------------------------------------------------------------------------------- distances
@dataclass(frozen=True)
class Pool:
    """What is ranked, set by set, and by distance from which photographs."""

    reference: ImageSource
    sets: Mapping[str, ImageSource]

    @property
    def labels(self) -> NDArray[np.str_]:
        """Name of each image's set."""
        return np.repeat(list(self.sets), [len(source) for source in self.sets.values()])


def through_network(experiment: Experiment, network: Network, pool: Pool) -> dict[str, Scores]:
    """Each image's distance by what a network sees."""
    seen = experiment.look(network, pool.reference)
    references = {"emd": seen.histogram("all"), "nfd": seen.gaussian("gaussian")}
    found: dict[str, list[Scores]] = {"VDNA-EMD": [], "NFD": [], "features": []}
    for source in pool.sets.values():
        progress, made = Progress(f"{network.name}, ranking {source.name}", len(source)), 0
        for start in range(0, len(source), BLOCK):
            part = select_images(source, range(start, min(start + BLOCK, len(source))))
            settings = [network.identity, pool.reference.name, pool.reference.names, part.name, part.names]
            before = len(experiment.made)
            arrays = experiment.keep(
                f"{network.name}-ranked-{start:05}",
                settings,
                lambda part=part: _ranked(part, references, network, experiment.device),
            )
            made += len(part) * (len(experiment.made) > before)
            for name, scores in zip(found, arrays.values(), strict=True):
                found[name].append(scores)
            progress(start + len(part), made)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _ranked(images: ImageSource, references: Mapping[str, VDNA], network: Network, device: str) -> dict[str, Scores]:
    reading = Reading(BATCH, device=device)
    emd, nfd = (rank_images(images, dna, network.extractor, reading=reading) for dna in references.values())
    # (x − μ)² + σ² summed over a layer has the order of the distance between the layer's mean activations.
    return {"emd": emd.scores.numpy(), "nfd": nfd.scores.numpy(), "features": nfd.layer_distances[:, -1].numpy()}


def without_network(experiment: Experiment, pool: Pool) -> dict[str, Scores]:
    """Each image's mean distance from the photographs, by pixels."""
    reference = _small(pool.reference)
    found: dict[str, list[Scores]] = {"L2": [], "SSIM": []}
    for source in pool.sets.values():
        progress, made = Progress(f"pixels of {source.name}", len(source)), 0
        for start in range(0, len(source), BLOCK):
            part = select_images(source, range(start, min(start + BLOCK, len(source))))
            settings = [SMALL, pool.reference.name, pool.reference.names, part.name, part.names]
            before = len(experiment.made)
            arrays = experiment.keep(
                f"pixels-{start:05}", settings, lambda part=part: _by_pixels(_small(part), reference)
            )
            made += len(part) * (len(experiment.made) > before)
            for name, scores in zip(found, arrays.values(), strict=True):
                found[name].append(scores)
            progress(start + len(part), made)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _small(source: ImageSource) -> Tensor:
    """``[images, 3, SMALL, SMALL]`` in [0, 1]."""
    resize = ResizeImage(Preprocessing(size=(SMALL, SMALL)))
    return torch.cat([batch.images for batch in iterate_images(source, transform=resize)]).round() / 255


def _by_pixels(images: Tensor, reference: Tensor) -> dict[str, Scores]:
    l2 = torch.cdist(images.flatten(1), reference.flatten(1)).mean(dim=1)
    ssim = [1 - _mean_ssim(image, reference) for image in images]
    return {"l2": l2.double().numpy(), "ssim": np.array(ssim, np.float64)}


def _mean_ssim(image: Tensor, others: Tensor) -> float:
    """Mean structural similarity (Wang et al., 2004) of an image and others, in grey, in its usual 11-pixel window."""
    x, y = (side.mean(dim=-3, keepdim=True) for side in (image[None], others))
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x, variance_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((similar / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean())


def _windowed(x: Tensor) -> Tensor:
    weights = torch.exp(-(torch.arange(-5.0, 6).square() / (2 * 1.5**2)))
    weights /= weights.sum()
    return F.conv2d(F.conv2d(x, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))


# ------------------------------------------------------------------------------------------------------------- results
def precision_and_recall(scores: Scores, relevant: NDArray[np.bool_]) -> tuple[Scores, Scores]:
    """Both after each image in order of distance."""
    hits = relevant[np.argsort(scores, kind="stable")].cumsum()
    return hits / np.arange(1, len(hits) + 1), hits / hits[-1]


def average_precision(scores: Scores, relevant: NDArray[np.bool_]) -> float:
    """Mean precision at each relevant image."""
    precision, recall = precision_and_recall(scores, relevant)
    return float(precision[np.diff(recall, prepend=0) > 0].mean())


def main() -> None:
    experiment = begin(__file__, __doc__)
    cifar = draw(experiment.open("cifar10_jpeg_test.zip"), OF_EACH)
    pool = Pool(
        experiment.open("bsds500.zip", "train/", "val/"),
        {
            RELEVANT: augmented(experiment.open("bsds500.zip", "test/")),
            "ImageNet": experiment.open("imagenet_sample_1000.zip"),
            "CIFAR-JPEG": cifar,
            "MNIST": draw(experiment.open_mnist(), OF_EACH),
        },
    )
    rankings = {(network.name, name): scores for network in experiment.networks.values()
                for name, scores in through_network(experiment, network, pool).items()}  # fmt: skip
    rankings |= {("none", name): scores for name, scores in without_network(experiment, pool).items()}
    picture = experiment.save_picture(draw_curves(pool, rankings), experiment.name)
    experiment.write_section(describe(experiment, pool, rankings, picture))


def draw_curves(pool: Pool, rankings: Mapping[tuple[str, str], Scores]) -> Figure:
    """Precision and recall, an axis a network, with the distances that need none in each."""
    networks = [name for name in dict.fromkeys(network for network, _ in rankings) if name != "none"]
    relevant = pool.labels == RELEVANT
    figure = Figure(figsize=(5.6 * len(networks), 4.2), layout="constrained")
    for ax, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks, strict=True):
        chosen = {name: scores for (of, name), scores in rankings.items() if of in (network, "none")}
        for (name, scores), colour in zip(chosen.items(), COLOURS, strict=False):
            precision, recall = precision_and_recall(scores, relevant)
            label = f"{name}, average precision {average_precision(scores, relevant):.2f}"
            ax.plot(recall, precision, color=colour, linewidth=1.8, label=label)
        ax.axhline(relevant.mean(), color="#4d4d4d", linewidth=1, linestyle="--", label="chance")
        ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall of the changed photographs", ylabel="precision")
        ax.set_title(network, fontsize=10, loc="left")
        ax.legend(frameon=False, fontsize=8, loc="upper right")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def describe(experiment: Experiment, pool: Pool, rankings: Mapping[tuple[str, str], Scores], picture: str) -> str:
    """The page's part."""
    labels = pool.labels
    others = [name for name in pool.sets if name != RELEVANT]
    rows: list[Sequence[str]] = []
    for (network, name), scores in rankings.items():
        cells = [average_precision(scores, labels == RELEVANT)]
        for other in others:
            both = (labels == RELEVANT) | (labels == other)
            cells.append(average_precision(scores[both], labels[both] == RELEVANT))
        rows.append([network, name, *(f"{cell:.3f}" for cell in cells)])
    chance = [float((labels == RELEVANT).mean())]
    chance += [len(pool.sets[RELEVANT]) / (len(pool.sets[RELEVANT]) + len(pool.sets[other])) for other in others]
    rows.append(["", "chance", *(f"{cell:.3f}" for cell in chance)])
    counts = ", ".join(f"{len(source)} of {name}" for name, source in pool.sets.items())
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![Precision and recall of each distance]({picture})",
            f"{len(labels)} images, {counts}, by distance from {len(pool.reference)} photographs of BSDS500's training "
            "and validation sets. Average precision, of the whole pool and among one other set each:",
            markdown_table(["network", "distance", "whole pool", *others], rows, words=2),
        ]
    )


if __name__ == "__main__":
    main()
