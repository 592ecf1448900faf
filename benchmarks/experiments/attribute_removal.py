"""Distances that ignore one attribute and keep all others (paper Tab. 2 and 6).

    python benchmarks/experiments/attribute_removal.py

Weights are learned with which the distance between images with and without an attribute is 0 and every other
attribute's stays what it was (`analysis.desensitise`), on DNAs of training images, stopped on validation images; what
is reported is of test images, with distances that are corrected for their number. Attributes are the classes of
CIFAR-JPEG, and ten changes of photographs, each planted in three of ten photographs at random, whatever else is planted
there. Every photograph is planted three times, and its plantings are in one split and one group.

What is compared with the paper was fixed before the first run: of each distance through the trained network, whether
the means and standard deviations of removal and deviation, four figures, are within what Tab. 2 and 6 have for the
paper's trained networks; and which of the two losses has more of them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from _common import CROP, Experiment, Network, Progress, Seen, begin, markdown_table
from _images import Image, changed, draw, join, pixels, stream_of
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage

from vdna_metrics import VDNA
from vdna_metrics.analysis import AttributeDistances, attribute_distances, desensitise
from vdna_metrics.analysis.desensitise import Loss, Split, sensitivity_deviation, sensitivity_removal, split_of
from vdna_metrics.analysis.uncertainty.rules import corrected_neurons
from vdna_metrics.build import disjoint_groups
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import Column, GroupedDNA
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.procedural import add_noise, blur

PER_CLASS, SIZE, SHARE = 900, 224, 0.3
PLANTINGS, GROUPS = 3, 10  # of each photograph; of test images
FEWER = (4, 2, 1)  # one in so many photographs, or images of a class
# By name: the distance, the DNAs that it needs, and whether there is one a neuron, which can be corrected. What the
# jackknife leaves of the bias of a distance between covariances of 1280 neurons is, with so few images, all of it.
DISTANCES: dict[str, tuple[str, Kind, bool]] = {
    "VDNA-EMD": ("emd", "histogram", True),
    "NFD": ("neuron_frechet", "gaussian", True),
    "LFD": ("layer_frechet", "layer_gaussian", False),
}
SPLITS, LOSSES = get_args(Split), get_args(Loss)
Attributes = dict[str, NDArray[np.bool_]]

# The paper's Tab. 2 and 6 in per cent: of each distance the least and the greatest of its seven trained networks (six,
# of the LFD), for mean and standard deviation of removal, and of deviation.
PAPER = {
    "VDNA-EMD": ((81.4, 95.5), (4.19, 11.05), (7.4, 19.3), (3.59, 6.37)),
    "NFD": ((87.3, 94.8), (4.30, 13.28), (7.2, 19.4), (4.24, 9.72)),
    "LFD": ((9.6, 34.6), (7.55, 17.89), (8.9, 28.0), (6.91, 16.91)),
}
# The same of its ResNet-50 with random weights.
PAPER_RANDOM = {
    "VDNA-EMD": (83.4, 19.58, 20.1, 9.97),
    "NFD": (72.1, 28.05, 33.0, 17.12),
    "LFD": (11.6, 12.13, 10.1, 11.91),
}
RANDOM = "seeded_resnet18"


# --------------------------------------------------------------------------------------------------- planted attributes
def _rotated(image: Image, stream: np.random.Generator) -> Image:
    angle = stream.choice([-1, 1]) * 15
    return ndimage.rotate(image, angle, (0, 1), reshape=False, order=1, mode="mirror")


def _tinted(image: Image, _: np.random.Generator) -> Image:
    return (image * np.array([1, 0.9, 0.7])).astype(np.uint8)


def _brightened(image: Image, _: np.random.Generator) -> Image:
    return np.clip(image * 1.4 + 15, 0, 255).astype(np.uint8)


def _flattened(image: Image, _: np.random.Generator) -> Image:
    return (128 + 0.5 * (image - 128.0)).astype(np.uint8)


def _vignetted(image: Image, _: np.random.Generator) -> Image:
    rows, columns = (np.linspace(-1, 1, side) for side in image.shape[:2])
    light = 1 - 0.4 * np.minimum(rows[:, None] ** 2 + columns**2, 2)
    return (image * light[..., None]).astype(np.uint8)


def _bordered(image: Image, _: np.random.Generator) -> Image:
    edge = image.shape[0] // 16
    framed = np.full_like(image, 255)
    framed[edge:-edge, edge:-edge] = image[edge:-edge, edge:-edge]
    return framed


def _gridded(image: Image, _: np.random.Generator) -> Image:
    lined = image.copy()
    lined[::16] //= 2
    lined[:, ::16] //= 2
    return lined


def _compressed(image: Image, _: np.random.Generator) -> Image:
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "JPEG", quality=15)
    return np.array(PillowImage.open(stream))


# In the order in which they are done: what a camera does comes after what is before it.
CHANGES = {
    "rotation": _rotated,
    "tint": _tinted,
    "brightness": _brightened,
    "contrast": _flattened,
    "vignette": _vignetted,
    "blur": lambda image, _: blur(image, 1.2),
    "grid": _gridded,
    "border": _bordered,
    "noise": lambda image, stream: add_noise(image, 15, stream),
    "JPEG": _compressed,
}


def has_attributes(stream: np.random.Generator) -> NDArray[np.bool_]:
    """Which changes an image gets, by the first of its random numbers."""
    return stream.random(len(CHANGES)) < SHARE


def plant(image: Image, stream: np.random.Generator) -> Image:
    """An image with its changes."""
    for has, change in zip(has_attributes(stream), CHANGES.values(), strict=True):
        image = change(image, stream) if has else image
    return image


# ----------------------------------------------------------------------------------------------------------- image sets
@dataclass(frozen=True, eq=False)
class Images:
    """Images with attributes, in splits, and the test images in groups; sorted by both.

    Args:
        source: the images.
        attributes: which images have each.
        numbers: of the photographs, or of the images of CIFAR-JPEG.
        split: of each image.
        group: of each image; 0 where it is not of the test.
        planted: whether a photograph is on both sides of an attribute.
    """

    source: ImageSource
    attributes: Attributes
    numbers: NDArray[np.int64]
    split: NDArray[np.str_]
    group: NDArray[np.int64]
    planted: bool

    @classmethod
    def of(
        cls, source: ImageSource, attributes: Attributes, originals: Sequence[str], groups: int, *, planted: bool
    ) -> Images:
        """Put what comes of one original into one split and group."""
        split = np.array([split_of(name) for name in originals])
        test = np.flatnonzero(split == "test")
        group = np.zeros(len(source), np.int64)
        group[test] = disjoint_groups(len(test), groups, [originals[i] for i in test]).of_image[:, 0]
        number = {name: place for place, name in enumerate(dict.fromkeys(originals))}
        numbers = np.array([number[name] for name in originals])
        # So that few subsets have images in one block of a pass.
        order = np.lexsort((group, split))
        return cls(
            select_images(source, order.tolist()), {name: has[order] for name, has in attributes.items()},
            numbers[order], split[order], group[order], planted,
        )  # fmt: skip


def photographs(experiment: Experiment, groups: int) -> Images:
    """Photographs with planted attributes, each several times."""
    source = join("photographs", experiment.open("bsds500.zip"), experiment.open("imagenet_sample_1000.zip"))
    size = 96 if experiment.quick else SIZE
    plantings = [
        changed(source, f"planting {seed}, {CROP} {size} px", plant, size=size, crop=CROP, seed=seed)
        for seed in range(PLANTINGS)
    ]
    table = np.stack([has_attributes(stream_of(name, seed)) for seed in range(PLANTINGS) for name in source.names])
    attributes = dict(zip(CHANGES, table.T, strict=True))
    return Images.of(join("photographs", *plantings), attributes, source.names * PLANTINGS, groups, planted=True)


def classes(experiment: Experiment, groups: int) -> Images:
    """Equally many images of each class."""
    source = draw(experiment.open("cifar10_jpeg_train.zip:train"), 10**6)
    of_image = np.array(source.groups)
    names = sorted(set(source.groups))
    chosen = np.concatenate([np.flatnonzero(of_image == name)[:PER_CLASS] for name in names])
    some = select_images(source, chosen.tolist())
    return Images.of(some, {name: of_image[chosen] == name for name in names}, some.names, groups, planted=False)


# -------------------------------------------------------------------------------------------------------------- results
Values = Mapping[str, torch.Tensor]
"""``{attribute: [neurons]}``, or ``[layers]``."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One distance between images with and without each attribute.

    Args:
        splits: as they are.
        corrected: of the test images, without their bias; as they are where that is not known.
    """

    splits: Mapping[Split, AttributeDistances]
    corrected: Values


@dataclass(frozen=True)
class Result:
    """How much weights that ignore an attribute remove, and change of the others, in per cent."""

    attribute: str
    removal: float
    deviation: float


@dataclass(frozen=True)
class Removed:
    """Results of all attributes: of test images with corrected distances and as they are, and of training images."""

    corrected: Sequence[Result]
    test: Sequence[Result]
    train: Sequence[Result]


@dataclass(frozen=True, eq=False)
class Data:
    """Images with attributes, as one network saw them."""

    images: Images
    seen: Seen

    def dnas(self, part: Split, attribute: str, kind: Kind, every: int = 1) -> tuple[VDNA, VDNA]:
        """Of a split's images with and without an attribute; Gaussians of one original in so many where asked."""
        groups = np.unique(self.images.group[self.images.split == part]).tolist()
        return self._sides(part, attribute, kind, groups, every)

    def grouped(self, attribute: str, kind: Kind, every: int = 1) -> tuple[GroupedDNA, GroupedDNA]:
        """The same of the test images, in groups."""
        groups = np.unique(self.images.group).tolist()
        number = max(2, len(groups) // every)  # each of as many images, so that none is empty
        pairs = [self._sides("test", attribute, kind, groups[place::number], every) for place in range(number)]
        with_it, without = (GroupedDNA(side) for side in zip(*pairs, strict=True))
        return with_it, without

    def _sides(self, part: Split, attribute: str, kind: Kind, groups: Sequence[int], every: int) -> tuple[VDNA, VDNA]:
        if kind == "histogram":
            with_it = [f"{part} {group} {attribute}" for group in groups]
            every_one = [f"{part} {group}" for group in groups]
            return self.seen.histogram(*with_it), self.seen.histogram(*every_one, less=with_it)
        images = self.images
        chosen = (images.split == part) & np.isin(images.group, groups) & (images.numbers % every == 0)
        has = images.attributes[attribute]
        return self.seen.gaussian(kind, chosen & has), self.seen.gaussian(kind, chosen & ~has)


def main() -> None:
    experiment = begin(__file__, __doc__)
    removed: dict[tuple[str, str], dict[tuple[str, Loss], Removed]] = {}
    fewer: dict[tuple[str, str], dict[int, Sequence[Result]]] = {}
    by_attribute: list[Sequence[str]] = []
    for name, opened in {"CIFAR-JPEG": classes, "photographs": photographs}.items():
        images = opened(experiment, 3 if experiment.quick else GROUPS)
        if experiment.quick:
            images = replace(images, attributes=dict(list(images.attributes.items())[:3]))
        for network in experiment.networks.values():
            data = look(experiment, network, images)
            measured = {distance: measure(experiment, data, distance) for distance in DISTANCES}
            removed[name, network.name] = {
                (distance, loss): remove(found, loss) for distance, found in measured.items() for loss in LOSSES
            }
            numbers = (1,) if experiment.quick else FEWER
            fewer[name, network.name] = {len(images.source) // every: with_fewer(data, every) for every in numbers}
            if images.planted and network.name != RANDOM:
                emd = removed[name, network.name]["VDNA-EMD", "squared"]
                by_attribute = rows_by_attribute(measured["VDNA-EMD"], emd)
            del data
    planted = experiment.save_picture(plot_images(experiment), f"{experiment.name}_images")
    picture = experiment.save_picture(plot(removed), experiment.name)
    experiment.write_section(describe(experiment, removed, by_attribute, fewer, planted, picture))


def look(experiment: Experiment, network: Network, images: Images) -> Data:
    """Run images through a network once, for all attributes, splits and groups."""
    subsets = {}
    for part in SPLITS:
        for group in np.unique(images.group[images.split == part]):
            of_group = (images.split == part) & (images.group == group)
            subsets[f"{part} {group}"] = of_group
            subsets |= {f"{part} {group} {name}": of_group & has for name, has in images.attributes.items()}
    return Data(images, experiment.look(network, images.source, subsets))


def measure(experiment: Experiment, data: Data, name: str) -> Measured:
    """A distance between images with and without each attribute."""
    distance, kind, can_be_corrected = DISTANCES[name]
    network, images = data.seen.network, data.images
    members = {name: np.flatnonzero(has).tolist() for name, has in images.attributes.items()}
    settings = [network.identity, images.source.name, images.source.names, members, images.group.tolist(), distance]
    progress = Progress(f"{network.name}, {images.source.name}, {name}", len(SPLITS) + can_be_corrected, "sets")
    splits: dict[Split, AttributeDistances] = {}
    for part in SPLITS:

        def plain(part: Split = part) -> dict[str, Any]:
            # One attribute at a time, else the layer Gaussians of all would be in memory.
            values: dict[str, Any] = {}
            for attribute in images.attributes:
                dnas = _sides(attribute, data.dnas(part, attribute, kind))
                values |= attribute_distances(dnas, distance=distance).values
            return {attribute: value.numpy() for attribute, value in values.items()}

        values = experiment.keep(f"{network.name}-distances", [*settings, part], plain)
        splits[part] = AttributeDistances(
            network.extractor.layout,
            network.extractor.fingerprint,
            distance,
            "bins" if distance == "emd" else None,
            {attribute: torch.from_numpy(values[attribute]) for attribute in images.attributes},
            "layer" if kind == "layer_gaussian" else "neuron",
        )
        progress(len(splits))
    if not can_be_corrected:
        return Measured(splits, splits["test"].values)
    kept = experiment.keep(
        f"{network.name}-corrected",
        settings,
        lambda: {attribute: value.numpy() for attribute, value in corrected(data, name).items()},
    )
    progress(len(SPLITS) + 1)
    return Measured(splits, {attribute: torch.from_numpy(kept[attribute]) for attribute in images.attributes})


def corrected(data: Data, name: str, every: int = 1) -> Values:
    """Distances of the test images without their bias."""
    distance, kind, _ = DISTANCES[name]
    return {
        attribute: corrected_neurons(
            Column(distance), *data.grouped(attribute, kind, every), jointly=data.images.planted
        )
        for attribute in data.images.attributes
    }


def _sides(attribute: str, dnas: tuple[VDNA, VDNA]) -> dict[tuple[str, bool], VDNA]:
    return {(attribute, True): dnas[0], (attribute, False): dnas[1]}


def with_fewer(data: Data, every: int) -> Sequence[Result]:
    """What the NFD, which is made of averages that are kept, gives with one original in so many."""
    splits = {
        part: attribute_distances(
            {
                key: dna
                for attribute in data.images.attributes
                for key, dna in _sides(attribute, data.dnas(part, attribute, "gaussian", every)).items()
            },
            distance="neuron_frechet",
        )
        for part in SPLITS
    }
    return remove(Measured(splits, corrected(data, "NFD", every)), "squared").corrected


def remove(measured: Measured, loss: Loss) -> Removed:
    """Learn weights that ignore each attribute in turn, and try them."""
    train, validation, test = (measured.splits[part] for part in SPLITS)
    weights = {name: desensitise(train, validation, name, loss=loss).values for name in train.values}

    def tried(values: Values) -> list[Result]:
        told = {name: value for name, value in values.items() if value.sum() > 0}  # not so where all of it is chance
        return [
            Result(
                name, sensitivity_removal(told, weights[name], name), sensitivity_deviation(told, weights[name], name)
            )
            for name in told
        ]

    return Removed(tried(measured.corrected), tried(test.values), tried(train.values))


def rows_by_attribute(measured: Measured, removed: Removed) -> list[Sequence[str]]:
    """Of each attribute: the one whose neurons are likest, its distance, that without chance, and the results."""
    names = [one.attribute for one in removed.corrected]
    by_neuron = torch.stack([measured.corrected[name] for name in names])
    alike = torch.corrcoef(by_neuron).fill_diagonal_(-1)
    rows = []
    for place, name in enumerate(names):
        plain, true = float(measured.splits["test"].values[name].mean()), float(by_neuron[place].mean())
        other = int(alike[place].argmax())
        found = [
            one for each in (removed.train, removed.test, removed.corrected) for one in each if one.attribute == name
        ]
        results = [f"{one.removal:.1f}" for one in found]
        likest = f"{names[other]}, {float(alike[place, other]):.2f}"
        rows.append([name, likest, f"{plain:.2f}", f"{true:.2f}", *results, f"{found[-1].deviation:.1f}"])
    return rows


def plot(removed: Mapping[tuple[str, str], Mapping[tuple[str, Loss], Removed]]) -> Figure:
    """A point an attribute and distance: removed to the right, others changed upwards; a row a loss."""
    figure = Figure(figsize=(3.9 * len(removed), 3.7 * len(LOSSES)), layout="constrained")
    axes = figure.subplots(len(LOSSES), len(removed), squeeze=False, sharex=True, sharey=True)
    for row, loss in zip(axes, LOSSES, strict=True):
        for ax, ((data, network), found) in zip(row, removed.items(), strict=True):
            for colour, distance in zip(COLOURS, DISTANCES, strict=False):
                x, y = np.array([[one.removal, one.deviation] for one in found[distance, loss].corrected]).T
                ax.plot(x, y, "o", color=colour, markersize=5, alpha=0.55, markeredgewidth=0)
                ax.errorbar(
                    x.mean(), y.mean(), xerr=x.std(ddof=1), yerr=y.std(ddof=1), color=colour, marker="D", markersize=7,
                    capsize=3, label=distance,
                )  # fmt: skip
            ax.set_title(f"{data}, {network}, {loss} loss", fontsize=10, loc="left")
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(color="#e6e6e6")
            ax.set_axisbelow(True)
        row[0].set_ylabel("others changed by (%)")
    for ax in axes[-1]:
        ax.set_xlabel("removed (%)")
    axes[0][0].legend(frameon=False)
    return figure


def plot_images(experiment: Experiment) -> Figure:
    """One photograph, as it is and with each attribute alone."""
    source = experiment.open("bsds500.zip")
    place = len(source) // 3
    image = pixels(source, place, SIZE, CROP)
    shown = {"none": image}
    shown |= {name: change(image, stream_of(source.names[place])) for name, change in CHANGES.items()}
    figure = Figure(figsize=(1.15 * len(shown), 1.35), layout="constrained")
    for ax, (name, changed_image) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        ax.imshow(changed_image)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_xlabel(name, fontsize=9)
    return figure


def describe(
    experiment: Experiment,
    removed: Mapping[tuple[str, str], Mapping[tuple[str, Loss], Removed]],
    by_attribute: Sequence[Sequence[str]],
    fewer: Mapping[tuple[str, str], Mapping[int, Sequence[Result]]],
    planted: str,
    picture: str,
) -> str:
    """The page's part."""
    rows: list[Sequence[str]] = []
    for distance, ranges in PAPER.items():
        cells = [f"{low:.1f} to {high:.1f}" for low, high in ranges]
        rows.append(["CelebA", "the paper's trained ones", "its own", distance, *_joined(cells), "", "", ""])
    for distance, figures in PAPER_RANDOM.items():
        cells = [f"{value:.1f}" for value in figures]
        rows.append(["CelebA", "the paper's random one", "its own", distance, *_joined(cells), "", "", ""])
    within: dict[Loss, int] = dict.fromkeys(LOSSES, 0)
    for (name, network), found in removed.items():
        for (distance, loss), of_all in found.items():
            figures = _figures(of_all.corrected)
            inside = sum(low <= value <= high for value, (low, high) in zip(figures, PAPER[distance], strict=True))
            within[loss] += inside * (network != RANDOM)
            rows.append(
                [
                    name, network, loss, distance, *_joined([f"{value:.1f}" for value in figures]),
                    f"{inside} of 4" if network != RANDOM else "",
                    " at ".join(f"{value:.0f}" for value in _figures(of_all.test)[::2]),
                    " at ".join(f"{value:.0f}" for value in _figures(of_all.train)[::2]),
                ]
            )  # fmt: skip
    header = ["images", "network", "loss", "distance", "removed (%)", "others changed (%)", "within the paper's"]
    header += ["not corrected", "training images"]
    fewer_rows = [
        [name, network, str(n), str(len(found)), *_joined([f"{value:.1f}" for value in _figures(found)])]
        for (name, network), by_number in fewer.items()
        for n, found in by_number.items()
    ]
    of_attributes = ["attribute", "likest other, correlation", "EMD of test images", "corrected"]
    of_attributes += [f"removed{where} (%)" for where in (", training", ", not corrected", "")]
    total = sum(4 * len(DISTANCES) for _, network in removed if network != RANDOM)
    verdict = ", ".join(f"{count} with the {loss} loss" for loss, count in within.items())
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![The attributes planted in photographs]({planted})",
            "Mean ± standard deviation over the attributes, of test images that no weights were learned from. Where "
            "distances are *not corrected* for the number of test images, and of *training images*, the means alone: "
            "removed, at so much change of the others.",
            markdown_table(header, rows, words=4),
            f"Of {total} figures through the trained network (both means, both deviations, three distances) these are "
            f"within the paper's: {verdict}.",
            f"![Removal and deviation of every attribute]({picture})",
            "The attributes planted in photographs, by the VDNA-EMD, the trained network and the squared loss; beside "
            "each the attribute whose corrected distances, neuron by neuron, correlate with its own the most:",
            markdown_table([*of_attributes, "others changed (%)"], by_attribute, words=2),
            "The NFD and the squared loss with fewer images, a fifth of them test images, over the attributes of which "
            "some distance is left when it is corrected:",
            markdown_table(
                ["images", "network", "of them", "attributes", "removed (%)", "others changed (%)"], fewer_rows, words=2
            ),
        ]
    )


def _figures(results: Sequence[Result]) -> tuple[float, float, float, float]:
    """Mean and standard deviation of removal, and of deviation."""
    removal, deviation = (np.array([getattr(one, of) for one in results]) for of in ("removal", "deviation"))
    return removal.mean(), removal.std(ddof=1), deviation.mean(), deviation.std(ddof=1)


def _joined(cells: Sequence[str]) -> list[str]:
    return [" ± ".join(cells[:2]), " ± ".join(cells[2:])]


if __name__ == "__main__":
    main()
