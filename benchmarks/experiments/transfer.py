"""Whether distances between domains rank training sets as what a network learns on them does (paper Eq. 8).

    python benchmarks/experiments/transfer.py

The ten classes of CIFAR-JPEG in eight domains. A small network is trained on each domain and tested on all. A distance
puts the training sets in order for each domain's test images, without a label; what its order loses is the discrepancy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from _common import Experiment, Network, Progress, begin, markdown_table
from _images import Image, changed, draw
from disturbances import compress
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import stats
from torch import Tensor, nn

from vdna_metrics import VDNA, compare
from vdna_metrics.analysis import ranking_discrepancy
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.procedural import add_noise, blur

SIZE = 32
SEEDS, RANDOM = 3, 10_000  # probes of each domain; random orders
SHOWN = ("VDNA-EMD", "all")
AFTERWARDS = ("inverted", "tinted", "noise 30")
"""Domains left out in what was looked at after the result: a trained network and a probe of pixels see these unlike."""
Scores = NDArray[np.float64]
Table = dict[str, dict[str, float]]
"""``{test domain: {training domain: value}}``."""


# ------------------------------------------------------------------------------------------------------------- domains
def tinted(image: Image) -> Image:
    """In the light of a lamp."""
    return (image * np.array([1, 0.75, 0.5])).astype(np.uint8)


def zoomed(image: Image, stream: np.random.Generator, side: int) -> Image:
    """A square of this side at a random place, enlarged."""
    top, left = (int(stream.integers(0, length - side + 1)) for length in image.shape[:2])
    part = PillowImage.fromarray(image[top : top + side, left : left + side])
    return np.array(part.resize(image.shape[1::-1], PillowImage.Resampling.BICUBIC))


def grey(image: Image, side: int) -> Image:
    """Without colour, and no finer than so many pixels a side."""
    small = PillowImage.fromarray(image).convert("L").resize((side, side), PillowImage.Resampling.BOX)
    return np.array(small.resize(image.shape[1::-1], PillowImage.Resampling.BICUBIC).convert("RGB"))


# Names tell all that is done: passes that are kept are known by them.
DOMAINS: Mapping[str, Callable[[Image, np.random.Generator], Image]] = {
    "plain": lambda image, _: image,
    "blur 1.2": lambda image, _: blur(image, 1.2),
    "JPEG 10": lambda image, stream: compress(image, stream, 10),
    "inverted": lambda image, _: 255 - image,
    "tinted": lambda image, _: tinted(image),
    "noise 30": lambda image, stream: add_noise(image, 30, stream),
    "zoomed 20 px": lambda image, stream: zoomed(image, stream, 20),
    "grey 10 px": lambda image, _: grey(image, 10),
}


@dataclass(frozen=True)
class Domains:
    """The same images in every domain, other ones to train on than to test with.

    Args:
        train: ``{domain: images}``.
        test: likewise.
    """

    train: Mapping[str, ImageSource]
    test: Mapping[str, ImageSource]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in order."""
        return sorted(set(self.train["plain"].groups))

    def arrays(self, source: ImageSource) -> tuple[Tensor, Tensor]:
        """A domain's images ``[images, 3, SIZE, SIZE]`` from -0.5 to 0.5, and their classes."""
        images = np.stack([source.read(place) for place in range(len(source))])
        places = {name: place for place, name in enumerate(self.classes)}
        labels = torch.tensor([places[group] for group in source.groups])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5, labels


def open_domains(experiment: Experiment) -> Domains:
    """All domains, or three in a quick run."""
    n_train, n_test = (60, 30) if experiment.quick else (4000, 2000)
    names = list(DOMAINS)[:3] if experiment.quick else list(DOMAINS)
    parts = [
        draw(experiment.open(f"cifar10_jpeg_{split}.zip:{split}"), n)
        for split, n in (("train", n_train), ("test", n_test))
    ]
    train, test = (
        {name: changed(part, f"{part.name}, {name}", DOMAINS[name], size=SIZE, seed=seed) for name in names}
        for seed, part in enumerate(parts)
    )
    return Domains(train, test)


# -------------------------------------------------------------------------------------------------------------- probes
def train_probe(images: Tensor, labels: Tensor, classes: int, seed: int, epochs: int) -> nn.Module:
    """A network of three convolutions, trained from scratch.

    It has no batch normalisation, whose running moments would know the domain, and sees no augmented images, which
    would be of other domains.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, after in ((3, 24), (24, 48), (48, 96)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        probe = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 96, classes))
    optimiser = torch.optim.Adam(probe.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=order).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(probe(images[rows]), labels[rows]).backward()
            optimiser.step()
        schedule.step()
    return probe.eval()


@torch.inference_mode()
def accuracy(probe: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In per cent."""
    return 100 * float((probe(images).argmax(dim=1) == labels).double().mean())


def transfer(experiment: Experiment, domains: Domains) -> Scores:
    """Accuracy of each probe in each domain, ``[seeds, training domains, test domains]``."""
    epochs, seeds = (20, 2) if experiment.quick else (15, SEEDS)
    test = {name: domains.arrays(source) for name, source in domains.test.items()}
    progress = Progress("probes", seeds * len(domains.train), "probes")
    found = []
    for name, source in domains.train.items():
        images, labels = domains.arrays(source)

        def make(seed: int, images: Tensor = images, labels: Tensor = labels) -> dict[str, Scores]:
            probe = train_probe(images, labels, len(domains.classes), seed, epochs)
            return {"accuracy": np.array([accuracy(probe, *each) for each in test.values()])}

        for seed in range(seeds):
            settings = [name, source.names, list(test), domains.test["plain"].names, seed, epochs]
            found.append(experiment.keep(f"probe-{seed}", settings, partial(make, seed))["accuracy"])
            progress(len(found))
    return np.stack(found).reshape(len(domains.train), seeds, -1).swapaxes(0, 1)


# ----------------------------------------------------------------------------------------------------------- distances
def network_distances(experiment: Experiment, network: Network, domains: Domains) -> dict[tuple[str, str], Scores]:
    """By distance and layers, of each domain's training images from each one's test images, ``[train, test]``."""
    n = 20 if experiment.quick else 200
    train, test = (
        {name: select_images(source, range(n)) for name, source in sources.items()}
        for sources in (domains.train, domains.test)
    )
    settings = [network.identity, [[source.name, source.names] for of in (train, test) for source in of.values()]]

    def compute() -> dict[str, Scores]:
        dnas = [[_dnas(experiment, network, source) for source in sources.values()] for sources in (train, test)]
        progress, found = Progress(f"{network.name}, distances", len(train) * len(test), "pairs"), []
        for reference in dnas[0]:
            for other in dnas[1]:
                found.append(_distances(reference, other))
                progress(len(found))
        return {
            f"{distance}/{layers}": np.array([each[distance, layers] for each in found]).reshape(len(train), -1)
            for distance, layers in found[0]
        }

    kept = experiment.keep(f"{network.name}-distances", settings, compute)
    return {tuple(name.split("/")): values for name, values in kept.items()}


def _dnas(experiment: Experiment, network: Network, source: ImageSource) -> tuple[VDNA, VDNA]:
    seen = experiment.look(network, source)
    return seen.histogram("all"), seen.gaussian("layer_gaussian")


def _distances(a: tuple[VDNA, VDNA], b: tuple[VDNA, VDNA]) -> dict[tuple[str, str], float]:
    neurons = list(a[0].layout.values())
    parts = {
        "VDNA-EMD": (compare.emd(a[0], b[0], reduction="layer"), neurons),
        "NFD": (compare.neuron_frechet(a[1], b[1], reduction="layer"), neurons),
        "LFD": (compare.layer_frechet(a[1], b[1], reduction="layer"), None),
    }
    found = {}
    for name, (by_layer, weights) in parts.items():
        values = [float(value) for value in by_layer.values()]
        found[name, "all"] = float(np.average(values, weights=weights))
        found[name, "last"] = values[-1]
    return found


def pixel_distances(domains: Domains) -> Scores:
    """The NFD of pixels: each pixel's channel is a neuron, ``[train, test]``."""
    moments = [
        [
            (images.flatten(1).std(dim=0), images.flatten(1).mean(dim=0))
            for images, _ in map(domains.arrays, of.values())
        ]
        for of in (domains.train, domains.test)
    ]
    return np.array(
        [
            [float(sum((x - y).square().mean() for x, y in zip(one, other, strict=True))) for other in moments[1]]
            for one in moments[0]
        ]
    )


# -------------------------------------------------------------------------------------------------------------- orders
def table(values: Scores, names: Sequence[str], *, own: bool) -> Table:
    """Of ``[train, test]``, with or without the diagonal, where a domain is trained and tested on itself."""
    return {
        test: {train: float(values[i, j]) for i, train in enumerate(names) if own or i != j}
        for j, test in enumerate(names)
    }


def expected_discrepancy(scores: Table) -> float:
    """The mean of `ranking_discrepancy` over all orders: any score is as likely at any place.

    So it is the mean difference of two scores of a test domain, each with each and with itself.
    """
    rows = [np.array(list(row.values())) for row in scores.values()]
    return float(np.mean([np.abs(row[:, None] - row).mean() for row in rows]))


def random_discrepancies(scores: Table, n: int, seed: int = 0) -> Scores:
    """`ranking_discrepancy` of random orders, another for each test domain."""
    rows = np.array([sorted(row.values(), reverse=True) for row in scores.values()])
    stream = np.random.default_rng(seed)
    return np.array([np.abs(stream.permuted(rows, axis=1) - rows).mean() for _ in range(n)])


def rank_correlation(distances: Table, scores: Table) -> float:
    """Spearman's correlation of nearness and score, the mean over test domains; 0 where all of either are equal."""
    found = []
    for test, row in distances.items():
        of_row = [scores[test][training] for training in row]
        some = min(len(set(of_row)), len(set(row.values()))) > 1
        found.append(stats.spearmanr([-value for value in row.values()], of_row).statistic if some else 0.0)
    return float(np.mean(found))


@dataclass(frozen=True)
class Order:
    """How well an order of training sets is that of accuracy.

    Args:
        discrepancy: of each seed, in per cent of accuracy.
        beaten: share of random orders that lose more, in per cent.
        correlation: Spearman's, of each seed.
    """

    discrepancy: list[float]
    beaten: float
    correlation: list[float]


def judge(distances: Scores, scores: Scores, names: Sequence[str], *, own: bool) -> Order:
    """A distance ``[train, test]`` against accuracies ``[seeds, train, test]``."""
    near, tables = table(distances, names, own=own), [table(each, names, own=own) for each in scores]
    lost = [ranking_discrepancy(near, each) for each in tables]
    beaten = [
        100 * float((random_discrepancies(each, RANDOM) > d).mean()) for each, d in zip(tables, lost, strict=True)
    ]
    return Order(lost, float(np.mean(beaten)), [rank_correlation(near, each) for each in tables])


def between_seeds(scores: Scores, names: Sequence[str], *, own: bool) -> Order:
    """Each seed's accuracies in the order of the next one's: no distance should be expected to do better."""
    found = [judge(-np.roll(scores, 1, axis=0)[i], scores[i : i + 1], names, own=own) for i in range(len(scores))]
    return Order(
        [each.discrepancy[0] for each in found],
        float(np.mean([each.beaten for each in found])),
        [each.correlation[0] for each in found],
    )


# -------------------------------------------------------------------------------------------------------------- results
def main() -> None:
    experiment = begin(__file__, __doc__)
    domains = open_domains(experiment)
    names = list(domains.train)
    scores = transfer(experiment, domains)
    distances = {("none", "NFD", "pixels"): pixel_distances(domains)}
    for network in experiment.networks.values():
        for (distance, layers), values in network_distances(experiment, network, domains).items():
            distances[network.name, distance, layers] = values
    shown = experiment.save_picture(plot_images(domains), f"{experiment.name}_images")
    picture = experiment.save_picture(plot(names, scores, distances), experiment.name)
    experiment.write_section(describe(experiment, names, scores, distances, shown, picture))


def plot_images(domains: Domains) -> Figure:
    """One test image of each of three classes in every domain."""
    plain = domains.test["plain"]
    places = [plain.groups.index(name) for name in domains.classes[:3]]
    figure = Figure(figsize=(1.25 * len(domains.test), 4), layout="constrained")
    axes = figure.subplots(len(places), len(domains.test), squeeze=False)
    for row, place in zip(axes, places, strict=True):
        for ax, source in zip(row, domains.test.values(), strict=True):
            ax.imshow(source.read(place), interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(plain.groups[place], fontsize=9)
    for ax, name in zip(axes[0], domains.test, strict=True):
        ax.set_title(name, fontsize=9)
    return figure


def plot(names: Sequence[str], scores: Scores, distances: Mapping[tuple[str, str, str], Scores]) -> Figure:
    """Accuracy and a distance side by side, good in the same colour."""
    network = next(network for network, *_ in distances if network != "none")
    figure = Figure(figsize=(5.6 * 2, 4.9), layout="constrained")
    parts = (
        ("accuracy (%), mean over the probes' seeds", scores.mean(axis=0), "viridis"),
        (f"{SHOWN[0]} (bins), {network}, {SHOWN[1]} layers", distances[(network, *SHOWN)], "viridis_r"),
    )
    for ax, (title, values, colours) in zip(figure.subplots(1, 2), parts, strict=True):
        shown = ax.imshow(values, cmap=colours)
        for (i, j), value in np.ndenumerate(values):
            light = shown.cmap(shown.norm(value))[1] < 0.55
            ax.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=9, color="white" if light else "black")
        ax.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=9)
        ax.set_yticks(range(len(names)), names, fontsize=9)
        ax.set(xlabel="test images", ylabel="training images")
        ax.set_title(title, fontsize=10, loc="left")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def describe(
    experiment: Experiment,
    names: Sequence[str],
    scores: Scores,
    distances: Mapping[tuple[str, str, str], Scores],
    shown: str,
    picture: str,
) -> str:
    """The page's part."""
    rows = []
    for (network, distance, layers), values in distances.items():
        orders = [judge(values, scores, names, own=own) for own in (True, False)]
        rows.append([network, distance, layers, *(cell for order in orders for cell in _cells(order))])
    orders = [between_seeds(scores, names, own=own) for own in (True, False)]
    rows.append(["none", "accuracy, another seed", "", *(cell for order in orders for cell in _cells(order))])
    by_chance = []
    for own in (True, False):
        tables = [table(each, names, own=own) for each in scores]
        expected = float(np.mean([expected_discrepancy(each) for each in tables]))
        by_chance += [f"{expected:.2f} ± {random_discrepancies(tables[0], RANDOM).std():.2f}", "50", "0"]
    rows.append(["none", "random order", "", *by_chance])
    spread = scores.std(axis=0, ddof=1)
    header = ["network", "distance", "layers", "Eq. 8", "beaten (%)", "ρ", "others: Eq. 8", "beaten (%)", "ρ"]
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![Three images in each domain]({shown})",
            f"![Accuracy and distance of each pair of domains]({picture})",
            f"A probe's accuracy differs between seeds by {spread.mean():.1f} points in the mean (standard deviation "
            f"of {len(scores)}), at most {spread.max():.1f}. Eq. 8: points of accuracy lost by the order of the "
            "distance, mean and standard deviation over the seeds. Beaten: share of random orders that lose more. ρ: "
            "Spearman's correlation of nearness and accuracy over training sets, the mean over test domains and seeds. "
            "*Others*: the same without the training set of the test images' own domain. The random order's Eq. 8 is "
            "exact, with the deviation of one order:",
            markdown_table(header, rows, words=3),
            _afterwards(names, scores, distances),
        ]
    )


def _afterwards(names: Sequence[str], scores: Scores, distances: Mapping[tuple[str, str, str], Scores]) -> str:
    """The distance that is shown, in the other domains alone."""
    kept = [place for place, name in enumerate(names) if name not in AFTERWARDS]
    some, network = [names[place] for place in kept], next(network for network, *_ in distances if network != "none")
    values = distances[(network, *SHOWN)][np.ix_(kept, kept)]
    accuracies = scores[:, kept][:, :, kept]
    told = []
    for own in (True, False):
        lost = float(np.mean(judge(values, accuracies, some, own=own).discrepancy))
        expected = float(np.mean([expected_discrepancy(table(each, some, own=own)) for each in accuracies]))
        told.append(f"{lost:.1f} points ({expected:.1f} by chance)")
    return (
        f"Looked at afterwards: without the domains {', '.join(AFTERWARDS)}, the {SHOWN[0]} of {network} loses "
        f"{told[0]}, and without the own domain {told[1]}."
    )


def _cells(order: Order) -> list[str]:
    lost, correlation = (np.array(values) for values in (order.discrepancy, order.correlation))
    return [f"{lost.mean():.2f} ± {lost.std(ddof=1):.2f}", f"{order.beaten:.1f}", f"{correlation.mean():.2f}"]


if __name__ == "__main__":
    main()
