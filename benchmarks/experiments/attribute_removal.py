"""Distances that ignore one attribute and keep all others (paper Tab. 2).

    python benchmarks/experiments/attribute_removal.py

Weights are learned with which the distance between images with and without an attribute is 0 and every other
attribute's stays what it was (`analysis.desensitise`), on DNAs of training images, stopped on validation images; what
is reported is of test images. Attributes are the classes of CIFAR-JPEG, and ten changes of photographs, each planted in
three of ten photographs at random, whatever else is planted there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from _common import Experiment, Network, Progress, Seen, begin, markdown_table
from _images import Image, changed, draw, join, pixels, stream_of
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage

from vdna_metrics import VDNA, compare
from vdna_metrics.analysis import AttributeDistances, attribute_distances, desensitise
from vdna_metrics.analysis.desensitise import Split, sensitivity_deviation, sensitivity_removal, split_of
from vdna_metrics.distributions import Kind
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.procedural import add_noise, blur

PER_CLASS, SIZE, SHARE, SEED = 900, 224, 0.3, 0
FEWER = (4, 2, 1)  # one in so many images
CLEAR = 2  # times the distance that chance makes
NEURONWISE = ("VDNA-EMD", "NFD")
DISTANCES: dict[str, tuple[str, Kind]] = {
    "VDNA-EMD": ("emd", "histogram"),
    "NFD": ("neuron_frechet", "gaussian"),
    "LFD": ("layer_frechet", "layer_gaussian"),
}
SPLITS = get_args(Split)
Attributes = dict[str, NDArray[np.bool_]]


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
def photographs(experiment: Experiment) -> tuple[ImageSource, Attributes]:
    """Photographs with planted attributes."""
    source = join("photographs", experiment.open("bsds500.zip"), experiment.open("imagenet_sample_1000.zip"))
    size = 96 if experiment.quick else SIZE
    planted = changed(source, f"photographs, planted, seed {SEED}, {size} px", plant, size=size, seed=SEED)
    table = np.stack([has_attributes(stream_of(name, SEED)) for name in source.names])
    return planted, dict(zip(CHANGES, table.T, strict=True))


def classes(experiment: Experiment) -> tuple[ImageSource, Attributes]:
    """Equally many images of each class."""
    source = draw(experiment.open("cifar10_jpeg_train.zip:train"), 10**6)
    of_image = np.array(source.groups)
    names = sorted(set(source.groups))
    chosen = np.sort(np.concatenate([np.flatnonzero(of_image == name)[:PER_CLASS] for name in names]))
    return select_images(source, chosen.tolist()), {name: of_image[chosen] == name for name in names}


# -------------------------------------------------------------------------------------------------------------- results
Distances = Mapping[Split, AttributeDistances]


@dataclass(frozen=True)
class Result:
    """How much weights that ignore an attribute remove, and change of the others, in per cent."""

    attribute: str
    removal: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Data:
    """Images with attributes, as one network saw them."""

    source: ImageSource
    attributes: Attributes
    split: NDArray[np.str_]
    seen: Seen

    def dnas(self, part: Split, attribute: str, kind: Kind, every: int = 1) -> tuple[VDNA, VDNA]:
        """Of a split's images with and without an attribute; Gaussians of one in so many images where asked."""
        if kind == "histogram":
            with_it = f"{part} {attribute}"
            return self.seen.histogram(with_it), self.seen.histogram(part, less=[with_it])
        chosen = (self.split == part) & (np.arange(len(self.source)) % every == 0)
        has = self.attributes[attribute]
        return self.seen.gaussian(kind, chosen & has), self.seen.gaussian(kind, chosen & ~has)

    def by_chance(self, draws: int = 10) -> float:
        """Mean NFD between test images with and without attributes that mean nothing, as frequent as the others are."""
        test = np.flatnonzero(self.split == "test")
        n = max(2, round(float(np.mean([has[test].sum() for has in self.attributes.values()]))))
        found = []
        for seed in range(draws):
            order = np.random.default_rng(seed).permutation(test)
            sides = [self.seen.gaussian("gaussian", chosen) for chosen in (order[:n], order[n:])]
            found.append(float(compare.neuron_frechet(*sides)))
        return float(np.mean(found))


def main() -> None:
    experiment = begin(__file__, __doc__)
    results: dict[tuple[str, str], dict[str, tuple[list[Result], list[Result]]]] = {}
    fewer: dict[tuple[str, str], dict[int, list[Result]]] = {}
    clear: dict[tuple[str, str], list[str]] = {}
    for name, opened in {"CIFAR-JPEG": classes, "photographs": photographs}.items():
        source, attributes = opened(experiment)
        if experiment.quick:
            attributes = dict(list(attributes.items())[:3])
        for network in experiment.networks.values():
            data = look(experiment, network, source, attributes)
            distances = find_distances(experiment, data)
            results[name, network.name] = {
                distance: (remove(splits, "train"), remove(splits, "test")) for distance, splits in distances.items()
            }
            chance, found = data.by_chance(), distances["NFD"]["test"].values
            clear[name, network.name] = [one for one in found if float(found[one].mean()) > CLEAR * chance]
            fewer[name, network.name] = {
                len(source) // every: with_fewer(data, every) for every in ((1,) if experiment.quick else FEWER)
            }
    planted = experiment.save_picture(plot_images(experiment), f"{experiment.name}_images")
    picture = experiment.save_picture(plot(results), experiment.name)
    experiment.write_section(describe(experiment, results, clear, fewer, planted, picture))


def look(experiment: Experiment, network: Network, source: ImageSource, attributes: Attributes) -> Data:
    """Run images through a network once, for all attributes and splits."""
    split = np.array([split_of(name) for name in source.names])
    subsets = {f"{part} {name}": (split == part) & has for part in SPLITS for name, has in attributes.items()}
    seen = experiment.look(network, source, {**subsets, **{part: split == part for part in SPLITS}})
    return Data(source, attributes, split, seen)


def find_distances(experiment: Experiment, data: Data) -> dict[str, dict[Split, AttributeDistances]]:
    """Distances between images with and without each attribute: ``{distance: {split: distances}}``."""
    network, source = data.seen.network, data.source
    progress = Progress(f"{network.name}, {source.name}, distances", len(DISTANCES) * len(SPLITS), "sets")
    members = {name: np.flatnonzero(has).tolist() for name, has in data.attributes.items()}
    found: dict[str, dict[Split, AttributeDistances]] = {}
    for name, (distance, kind) in DISTANCES.items():
        found[name] = {}
        for part in SPLITS:

            def compute(part: Split = part, kind: Kind = kind, distance: str = distance) -> dict[str, Any]:
                # One attribute at a time, else the layer Gaussians of all would be in memory.
                values = {}
                for attribute in data.attributes:
                    dnas = _sides(attribute, data.dnas(part, attribute, kind))
                    values |= attribute_distances(dnas, distance=distance).values
                return {attribute: value.numpy() for attribute, value in values.items()}

            settings = [network.identity, source.name, source.names, members, part, distance]
            values = experiment.keep(f"{network.name}-distances", settings, compute)
            found[name][part] = AttributeDistances(
                network.extractor.layout,
                network.extractor.fingerprint,
                distance,
                "bins" if distance == "emd" else None,
                {attribute: torch.from_numpy(values[attribute]) for attribute in data.attributes},
                "layer" if kind == "layer_gaussian" else "neuron",
            )
            progress(sum(map(len, found.values())))
    return found


def _sides(attribute: str, dnas: tuple[VDNA, VDNA]) -> dict[tuple[str, bool], VDNA]:
    return {(attribute, True): dnas[0], (attribute, False): dnas[1]}


def with_fewer(data: Data, every: int) -> list[Result]:
    """What the NFD, which is made of averages that are kept, gives with one in so many images."""
    splits = {
        part: attribute_distances(
            {
                key: dna
                for attribute in data.attributes
                for key, dna in _sides(attribute, data.dnas(part, attribute, "gaussian", every)).items()
            },
            distance="neuron_frechet",
        )
        for part in SPLITS
    }
    return remove(splits, "test")


def remove(splits: Distances, on: Split) -> list[Result]:
    """Learn weights that ignore each attribute in turn, and try them on one split's images."""
    values = splits[on].values
    results = []
    for attribute in values:
        weights = desensitise(splits["train"], splits["validation"], attribute).values
        removal = sensitivity_removal(values, weights, attribute)
        results.append(Result(attribute, removal, sensitivity_deviation(values, weights, attribute)))
    return results


def plot(results: Mapping[tuple[str, str], Mapping[str, tuple[list[Result], list[Result]]]]) -> Figure:
    """A point an attribute and distance: removed to the right, others changed upwards."""
    figure = Figure(figsize=(10.5, 3.9 * ((len(results) + 1) // 2)), layout="constrained")
    axes = figure.subplots((len(results) + 1) // 2, 2, squeeze=False, sharex=True, sharey=True).flat
    for ax, ((data, network), of_distance) in zip(axes, results.items(), strict=False):
        for colour, (distance, (_, found)) in zip(COLOURS, of_distance.items(), strict=False):
            x, y = np.array([[one.removal, one.deviation] for one in found]).T
            ax.plot(x, y, "o", color=colour, markersize=5, alpha=0.55, markeredgewidth=0)
            ax.errorbar(
                x.mean(), y.mean(), xerr=x.std(ddof=1), yerr=y.std(ddof=1), color=colour, marker="D", markersize=7,
                capsize=3, label=distance,
            )  # fmt: skip
        ax.set_title(f"{data}, {network}", fontsize=10, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#e6e6e6")
        ax.set_axisbelow(True)
    grid = figure.axes
    for ax in grid[-2:]:
        ax.set_xlabel("removed (%)")
    for ax in grid[::2]:
        ax.set_ylabel("others changed by (%)")
    grid[0].legend(frameon=False)
    return figure


def plot_images(experiment: Experiment) -> Figure:
    """One photograph, as it is and with each attribute alone."""
    source = experiment.open("bsds500.zip")
    place = len(source) // 3
    image = pixels(source, place, SIZE)
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
    results: Mapping[tuple[str, str], Mapping[str, tuple[list[Result], list[Result]]]],
    clear: Mapping[tuple[str, str], list[str]],
    fewer: Mapping[tuple[str, str], Mapping[int, list[Result]]],
    planted: str,
    picture: str,
) -> str:
    """The page's part."""
    rows = []
    for (name, network), of_distance in results.items():
        for distance, (train, test) in of_distance.items():
            least = min(test, key=lambda one: one.removal)
            rows.append(
                [
                    name, network, distance, _summary(test, "removal"), _summary(test, "deviation"),
                    _summary(train, "removal"), _summary(train, "deviation"),
                    f"{least.attribute} {least.removal:.0f}",
                ]
            )  # fmt: skip
    header = ["images", "network", "distance", "removed (%)", "others changed (%)"]
    header += ["removed, training (%)", "others changed, training (%)", "least removed (%)"]
    seen_rows = []
    for (name, network), of_distance in results.items():
        for which in (True, False):
            shown = [
                [one for one in of_distance[d][1] if (one.attribute in clear[name, network]) == which]
                for d in NEURONWISE
            ]
            cells = [
                f"{np.mean([getattr(one, of) for one in found]):.1f}"
                for found in shown
                for of in ("removal", "deviation")
                if found
            ]
            names = ", ".join(one.attribute for one in shown[0])
            if names:
                seen_rows.append([name, network, ("above" if which else "below") + f": {names}", *cells])
    seen_header = ["images", "network", "attributes"]
    seen_header += [f"{distance} {what} (%)" for distance in NEURONWISE for what in ("removed", "others changed")]
    fewer_rows = [
        [name, network, str(n), _summary(found, "removal"), _summary(found, "deviation")]
        for (name, network), by_number in fewer.items()
        for n, found in by_number.items()
    ]
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![The attributes planted in photographs]({planted})",
            "Mean and standard deviation over the attributes, of test images that no weights were learned from:",
            markdown_table(header, rows, words=3),
            f"![Removal and deviation of every attribute]({picture})",
            "The same means, apart for attributes whose NFD between test images with and without it is above "
            f"{CLEAR} times that of a random attribute, which means nothing, and below:",
            markdown_table(seen_header, seen_rows, words=3),
            "The same for the NFD with fewer images, a fifth of them test images:",
            markdown_table(["images", "network", "of them", "removed (%)", "others changed (%)"], fewer_rows, words=2),
        ]
    )


def _summary(results: Sequence[Result], of: str) -> str:
    values = np.array([getattr(one, of) for one in results])
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


if __name__ == "__main__":
    main()
