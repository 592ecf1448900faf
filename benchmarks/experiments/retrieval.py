"""Which images of a pool belong to a set of photographs (paper Fig. 3).

    python benchmarks/experiments/retrieval.py

The set is BSDS500's training and validation photographs. The pool has its test photographs, each changed by two of 16
operations, among photographs of ImageNet, CIFAR-JPEG and MNIST. Every image of the pool is ranked by its distance from
the set, by each of eight distances; the changed photographs should come first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _common import BATCH, BLOCK, CROP, Experiment, Network, Progress, begin, markdown_table
from _images import Image, changed, draw
from disturbances import salt_and_pepper
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage, ImageEnhance, ImageOps
from torch import Tensor
from torchmetrics.functional.image import lpips

from vdna_metrics import VDNA
from vdna_metrics.analysis.ranking import ranking_work
from vdna_metrics.build import Reading
from vdna_metrics.build.passes import ActivationBatch, run_pass, run_works
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.extractors import Preprocessing
from vdna_metrics.extractors.preprocess import ResizeImage
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.neighbours import nearest_neighbours
from vdna_metrics.images import ImageSource, iterate_images, select_images
from vdna_metrics.images.procedural import add_noise, blur

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


def as_array(change: Callable[[Image, np.random.Generator], Image]) -> Operation:
    """An operation on the pixels."""
    return lambda image, rng: PillowImage.fromarray(change(np.array(image), rng))


# Those of the paper's A.3. It does not say how strong: where AutoAugment (Cubuk et al., CVPR 2019) has the operation,
# these are its ranges.
OPERATIONS: Mapping[str, Operation] = {
    "identity": lambda image, _: image,
    "shear x": lambda image, rng: sheared(image, rng.uniform(-0.3, 0.3), 0),
    "shear y": lambda image, rng: sheared(image, 0, rng.uniform(-0.3, 0.3)),
    "translate x": lambda image, rng: moved(image, rng.uniform(-0.45, 0.45), 0),
    "translate y": lambda image, rng: moved(image, 0, rng.uniform(-0.45, 0.45)),
    "rotate": lambda image, rng: image.rotate(rng.uniform(-30, 30), fillcolor=GREY),
    "brightness": lambda image, rng: ImageEnhance.Brightness(image).enhance(rng.uniform(0.1, 1.9)),
    "saturation": lambda image, rng: ImageEnhance.Color(image).enhance(rng.uniform(0.1, 1.9)),
    "contrast": lambda image, rng: ImageEnhance.Contrast(image).enhance(rng.uniform(0.1, 1.9)),
    "sharpness": lambda image, rng: ImageEnhance.Sharpness(image).enhance(rng.uniform(0.1, 1.9)),
    "posterize": lambda image, rng: ImageOps.posterize(image, int(rng.integers(4, 9))),
    "auto contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "salt and pepper": as_array(lambda image, rng: salt_and_pepper(image, rng, rng.uniform(0, 0.1))),
    "Gaussian noise": as_array(lambda image, rng: add_noise(image, rng.uniform(0, 32), rng)),
    "blur": as_array(lambda image, rng: blur(image, rng.uniform(0, 3))),
}


def augmented(source: ImageSource) -> ImageSource:
    """The images of a source, each changed by two different operations drawn for it, one after the other."""

    def change(image: Image, rng: np.random.Generator) -> Image:
        picture = PillowImage.fromarray(image)
        for name in rng.choice(list(OPERATIONS), 2, replace=False):
            picture = OPERATIONS[str(name)](picture, rng)
        return np.array(picture)

    return changed(source, f"{source.name}, two of the paper's 16 operations each", change)


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


@dataclass(frozen=True)
class FeatureLoss:
    """A weighted squared difference of feature maps, its mean over positions summed over layers.

    Args:
        prepared: a layer's maps ``[neurons, images, positions]`` as they are compared.
        weights: of each neuron, ``{layer: [neurons]}``.
    """

    prepared: Callable[[Tensor], Tensor]
    weights: Mapping[str, Tensor]

    def weighted(self, activations: Mapping[str, Tensor], layer: str) -> tuple[Tensor, Tensor]:
        """A layer's maps in float64, and the weights that add up to the mean over positions."""
        maps = self.prepared(activations[layer]).double().cpu()
        return maps, self.weights[layer].double()[:, None, None] / maps.shape[2]


def unit_vectors(maps: Tensor) -> Tensor:
    """Each position's vector divided by its length, as LPIPS does."""
    return maps / (maps.square().sum(dim=0, keepdim=True) + 1e-8).sqrt()


def feature_losses(network: Network) -> dict[str, FeatureLoss]:
    """A perceptual loss (Johnson et al., 2016), and LPIPS (Zhang et al., 2018), whose weights are for VGG16 alone."""
    layout = network.extractor.layout
    perceptual = FeatureLoss(lambda maps: maps, {layer: torch.full((n,), 1 / n) for layer, n in layout.items()})
    if network.extractor.spec.architecture != "vgg16":
        ones = {layer: torch.ones(n) for layer, n in layout.items()}
        return {"perceptual": perceptual, "LPIPS, weights of 1": FeatureLoss(unit_vectors, ones)}
    packaged = Path(lpips.__file__).with_name("lpips_models") / "vgg.pth"
    heads = torch.load(packaged, map_location="cpu", weights_only=True)
    layers = ("relu_1_2", "relu_2_2", "relu_3_3", "relu_4_3", "relu_5_3")
    learned = {layer: heads[f"lin{place}.model.1.weight"].flatten() for place, layer in enumerate(layers)}
    return {"perceptual": perceptual, "LPIPS": FeatureLoss(unit_vectors, learned)}


@dataclass(frozen=True)
class MeanMaps:
    """All of a set that its images' mean loss from another image needs: ``E w(x - y)² = w x (x - 2 E y) + E w y²``.

    Args:
        loss: which.
        means: of the prepared maps, ``{layer: [neurons, positions]}``.
        square: the last term, of all layers.
    """

    loss: FeatureLoss
    means: Mapping[str, Tensor]
    square: float

    def mean_loss(self, activations: Mapping[str, Tensor]) -> Tensor:
        """The mean over the set's images, for each image, ``[images]``."""
        total = torch.tensor(self.square, dtype=torch.float64)
        for layer, mean in self.means.items():
            maps, weights = self.loss.weighted(activations, layer)
            total = total + (weights * maps * (maps - 2 * mean[:, None])).sum(dim=(0, 2))
        return total


def mean_maps(experiment: Experiment, network: Network, source: ImageSource) -> dict[str, MeanMaps]:
    """Of each feature loss."""
    losses = feature_losses(network)

    def make() -> dict[str, NDArray[np.float64]]:
        sums: dict[str, Tensor] = {}

        def add_(name: str, value: Tensor) -> None:
            sums[name] = sums[name] + value if name in sums else value

        def see_(batch: ActivationBatch) -> None:
            for name, loss in losses.items():
                for layer in loss.weights:
                    maps, weights = loss.weighted(batch.activations, layer)
                    add_(f"{name} {layer}", maps.sum(dim=1))
                    add_(f"{name} square", (weights * maps * maps).sum())

        reading = Reading(BATCH, device=experiment.device)
        run_pass(source, network.extractor, network.extractor.layout, reading, {}, [], see_)
        return {name: value.numpy() / len(source) for name, value in sums.items()}

    settings = [network.identity, list(losses), source.name, source.names]
    kept = experiment.keep(f"{network.name}-mean-maps", settings, make)
    return {
        name: MeanMaps(
            loss,
            {layer: torch.from_numpy(kept[f"{name} {layer}"]) for layer in loss.weights},
            float(kept[f"{name} square"]),
        )
        for name, loss in losses.items()
    }


def rarity(features: Tensor, real: Tensor, k: int = 3) -> Tensor:
    """Radius of the smallest sphere that holds each image, of those around real ones to their k-th neighbour.

    Infinite outside all of them, where the rarity score (Han et al., 2022) says nothing.
    """
    radii = nearest_neighbours(real, real, k, exclude_self=True)[0][:, -1]
    inside = torch.cdist(features.double(), real.double(), compute_mode="donot_use_mm_for_euclid_dist") <= radii
    return torch.where(inside, radii, torch.inf).amin(dim=1)


def through_network(experiment: Experiment, network: Network, pool: Pool) -> dict[str, Scores]:
    """Each image's distance by what a network sees."""
    seen = experiment.look(network, pool.reference)
    references = {"emd": seen.histogram("all"), "nfd": seen.gaussian("gaussian")}
    maps = mean_maps(experiment, network, pool.reference)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for source in pool.sets.values():
        progress, made = Progress(f"{network.name}, ranking {source.name}", len(source)), 0
        for start in range(0, len(source), BLOCK):
            part = select_images(source, range(start, min(start + BLOCK, len(source))))
            settings = [network.identity, list(maps), pool.reference.name, pool.reference.names, part.name, part.names]
            before = len(experiment.made)
            arrays = experiment.keep(
                f"{network.name}-ranked-{start:05}",
                settings,
                lambda part=part: _ranked(part, references, maps, network, experiment.device),
            )
            made += len(part) * (len(experiment.made) > before)
            for name, scores in arrays.items():
                found.setdefault(name, []).append(scores)
            progress(start + len(part), made)
    rankings = {name: np.concatenate(parts) for name, parts in found.items()}
    pooled = torch.from_numpy(rankings.pop("pooled"))
    return rankings | {"rarity": rarity(pooled, seen.means[:, -pooled.shape[1] :]).numpy()}


def _ranked(
    images: ImageSource, references: Mapping[str, VDNA], maps: Mapping[str, MeanMaps], network: Network, device: str
) -> dict[str, Scores]:
    extractor, reading = network.extractor, Reading(BATCH, device=device)
    losses = {name: torch.zeros(len(images), dtype=torch.float64) for name in maps}
    pooled = torch.zeros(len(images), list(extractor.layout.values())[-1], dtype=torch.float64)

    def see_(batch: ActivationBatch) -> None:
        rows = list(batch.indices)
        for name, of_set in maps.items():
            losses[name][rows] = of_set.mean_loss(batch.activations)
        pooled[rows] = image_means(list(batch.activations.values())[-1]).double().cpu()

    works = {name: ranking_work(images, dna, extractor, device=device) for name, dna in references.items()}
    _, made = run_works(images, extractor, works, reading, first=(extractor.layout, {}, [], see_))
    # (x − μ)² + σ² summed over a layer has the order of the distance between the layer's mean activations.
    features = made["nfd"].layer_distances[:, -1]
    scores = {"VDNA-EMD": made["emd"].scores, "NFD": made["nfd"].scores, "features": features, **losses}
    return {name: values.numpy() for name, values in {**scores, "pooled": pooled}.items()}


def without_network(experiment: Experiment, pool: Pool) -> dict[str, Scores]:
    """Each image's mean distance from the photographs, by pixels."""
    reference = _small(pool.reference)
    found: dict[str, list[Scores]] = {"L2": [], "SSIM": []}
    for source in pool.sets.values():
        progress, made = Progress(f"pixels of {source.name}", len(source)), 0
        for start in range(0, len(source), BLOCK):
            part = select_images(source, range(start, min(start + BLOCK, len(source))))
            settings = [SMALL, CROP, pool.reference.name, pool.reference.names, part.name, part.names]
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
    resize = ResizeImage(Preprocessing(size=(SMALL, SMALL), crop=CROP))
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
    """Both after each distance that occurs, in order."""
    order = np.argsort(scores, kind="stable")
    last = np.append(scores[order][1:] != scores[order][:-1], True)
    hits = relevant[order].cumsum()
    return hits[last] / (np.flatnonzero(last) + 1), hits[last] / hits[-1]


def average_precision(scores: Scores, relevant: NDArray[np.bool_]) -> float:
    """Mean precision at each relevant image; images at one distance come all at once."""
    precision, recall = precision_and_recall(scores, relevant)
    return float((precision * np.diff(recall, prepend=0)).sum())


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
    rarities = {network: scores for (network, name), scores in rankings.items() if name == "rarity"}
    outside = ", ".join(f"{np.isinf(scores).sum()} through {network}" for network, scores in rarities.items())
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![Precision and recall of each distance]({picture})",
            f"{len(labels)} images, {counts}, by distance from {len(pool.reference)} photographs of BSDS500's training "
            "and validation sets. Average precision, of the whole pool and among one other set each:",
            markdown_table(["network", "distance", "whole pool", *others], rows, words=2),
            f"Images of the pool that lie outside all spheres, where rarity says nothing: {outside}.",
        ]
    )


if __name__ == "__main__":
    main()
