"""Whether images with an attribute are found by the few neurons that tell it (paper Figs. 6 and 14 to 16).

    python benchmarks/experiments/image_pairs.py

For each attribute the neurons are chosen on other images, of which some have it. Then an image with it is compared with
each of a gallery, of which half has it, and the nearest should have it: by 1, 5 and 25 chosen neurons, by all, and by 5
at random. Attributes are the ten changes of photographs of `attribute_removal.py`, one at a time, and the classes of
CIFAR-JPEG. No two images show the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from _common import BATCH, Experiment, Network, Progress, begin, markdown_table
from _images import changed, draw, join, pixels
from attribute_removal import CHANGES
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics import VDNA
from vdna_metrics.analysis import select_sensitive
from vdna_metrics.build import Reading
from vdna_metrics.build.passes import ActivationBatch, run_pass
from vdna_metrics.functional import bin_index
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.ranges import GivenRanges

SIZE, BINS = 224, 1000
NEAREST = 10  # images of the gallery that should have the attribute
CHOSEN, RANDOM = (1, 5, 25), 10  # numbers of neurons; draws of 5 at random
COLUMNS = (*(f"{k} chosen" for k in CHOSEN), "all", "5 at random")
SHOWN = {"photographs": ("tint", "vignette", "grid", "rotation"), "CIFAR-JPEG": ("airplane", "cat", "horse", "ship")}
HAS, LACKS = "#009E73", "#D55E00"


# ---------------------------------------------------------------------------------------------------------- attributes
@dataclass(frozen=True, eq=False)
class Attribute:
    """An attribute, images to choose its neurons on, and others to search.

    Args:
        data: which images.
        name: of the attribute.
        examples: images with it, and images without.
        queries: images with it.
        gallery: images that are compared with each query.
        has: which of these have it.
    """

    data: str
    name: str
    examples: tuple[Sequence[ImageSource], Sequence[ImageSource]]
    queries: ImageSource
    gallery: ImageSource
    has: NDArray[np.bool_]


def searched(
    data: str,
    name: str,
    examples: tuple[Sequence[ImageSource], Sequence[ImageSource]],
    having: ImageSource,
    lacking: ImageSource,
    queries: int,
) -> Attribute:
    """An attribute whose first images are the queries; its others and those without it are the gallery, mixed."""
    rest = select_images(having, range(queries, len(having)))
    both = join(f"{data}, half {name}", rest, lacking)
    order = np.random.default_rng(0).permutation(len(both))
    gallery = select_images(both, order.tolist())
    return Attribute(data, name, examples, select_images(having, range(queries)), gallery, order < len(rest))


def planted(experiment: Experiment) -> Iterator[Attribute]:
    """Changes of photographs: chosen on BSDS500's, searched among ImageNet's."""
    n, queries, size = (10, 3, 96) if experiment.quick else (60, 20, SIZE)
    chosen = experiment.open("bsds500.zip", "train/", "val/")
    with_it, without = (select_images(chosen, range(start, len(chosen), 2)) for start in (0, 1))
    drawn = draw(experiment.open("imagenet_sample_1000.zip"), 2 * n + queries)
    having, lacking = (select_images(drawn, part) for part in (range(n + queries), range(n + queries, len(drawn))))
    for name, change in list(CHANGES.items())[: 2 if experiment.quick else None]:
        one, other = (changed(source, f"{source.name}, {name}", change, size=size) for source in (with_it, having))
        yield searched("photographs", name, ([one], [without]), other, lacking, queries)


def classes(experiment: Experiment) -> Iterator[Attribute]:
    """CIFAR-JPEG's classes: chosen on training images, searched among test images."""
    n, queries, each = (10, 3, 10) if experiment.quick else (60, 20, 60)
    train, test = (draw(experiment.open(f"cifar10_jpeg_{split}.zip:{split}"), 10**6) for split in ("train", "test"))
    names = sorted(set(train.groups))
    examples = {name: _of_class(train, name, each) for name in names}
    for name in names[: 2 if experiment.quick else None]:
        others = [source for of, source in examples.items() if of != name]
        lacking = [place for place, group in enumerate(test.groups) if group != name][:n]
        having = _of_class(test, name, n + queries)
        yield searched("CIFAR-JPEG", name, ([examples[name]], others), having, select_images(test, lacking), queries)


def _of_class(source: ImageSource, name: str, n: int) -> ImageSource:
    places = [place for place, group in enumerate(source.groups) if group == name]
    return select_images(source, places[:n], f"{source.name}, {name}")


# ----------------------------------------------------------------------------------------------------------- distances
def sorted_bins(activations: Mapping[str, Tensor], ranges: GivenRanges) -> list[NDArray[np.int16]]:
    """The bins of each neuron's activations in order, ``[images, neurons, positions]`` a layer."""
    low, high = (ranges.layout.split(end) for end in (ranges.low, ranges.high))
    found = []
    for layer, x in activations.items():
        bins = bin_index(x, low[layer], high[layer], BINS).to(torch.int16).cpu().numpy()
        found.append(np.sort(bins.swapaxes(0, 1), axis=2))
    return found


def neuron_distances(a: Sequence[NDArray[np.int16]], b: Sequence[NDArray[np.int16]]) -> NDArray[np.float64]:
    """Each neuron's EMD in bins between images, as `compare_images` has it, ``[images, neurons]``.

    Two histograms of as many activations are as far apart as these are in order, in the mean.
    """
    layers = [np.abs(x - y).mean(axis=2, dtype=np.float64) for x, y in zip(a, b, strict=True)]
    return np.concatenate(layers, axis=1)


def gallery_distances(
    experiment: Experiment, network: Network, attribute: Attribute, masks: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """From each query to each image of the gallery, the mean over some neurons, ``[masks, queries, gallery]``."""

    def compute() -> dict[str, NDArray[np.float64]]:
        queries = [np.concatenate(parts) for parts in zip(*_bins(experiment, network, attribute.queries), strict=True)]
        weights = masks.T / masks.sum(axis=1)
        found = [
            neuron_distances(queries, [layer[row : row + 1] for layer in batch]) @ weights
            for batch in _bins(experiment, network, attribute.gallery)
            for row in range(len(batch[0]))
        ]
        return {"distances": np.stack(found).transpose(2, 1, 0)}

    settings = [
        network.identity, attribute.name,
        *[part for source in (attribute.queries, attribute.gallery) for part in (source.name, source.names)],
        [np.flatnonzero(mask).tolist() for mask in masks],
    ]  # fmt: skip
    return experiment.keep(f"{network.name}-pairs", settings, compute)["distances"]


def _bins(experiment: Experiment, network: Network, source: ImageSource) -> list[list[NDArray[np.int16]]]:
    found: list[list[NDArray[np.int16]]] = []

    def see_(batch: ActivationBatch) -> None:
        found.append(sorted_bins(batch.activations, network.ranges))

    reading = Reading(BATCH, device=experiment.device)
    run_pass(source, network.extractor, network.extractor.layout, reading, {}, [], see_)
    return found


def choose(dnas: tuple[Sequence[VDNA], Sequence[VDNA]]) -> NDArray[np.bool_]:
    """Neurons of each of the table's columns, several draws of the last, ``[masks, neurons]``."""
    masks = [select_sensitive(*dnas, k=k).mask.numpy() for k in CHOSEN]
    rng = np.random.default_rng(0)
    at_random = [rng.permutation(masks[1]) for _ in range(RANDOM)]
    return np.stack([*masks, np.ones_like(masks[0]), *at_random])


def precision_at(distances: NDArray[np.float64], has: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Share of the ``k`` nearest that have the attribute, ``[..., gallery] -> [...]``."""
    nearest = np.argsort(distances, axis=-1, kind="stable")[..., :k]
    return has[nearest].mean(axis=-1)


# -------------------------------------------------------------------------------------------------------------- results
@dataclass(frozen=True, eq=False)
class Result:
    """What was found for one attribute through one network.

    Args:
        network: its name.
        attribute: which.
        distances: ``[masks, queries, gallery]``.
        layers: of the 25 chosen neurons, the number in each.
    """

    network: str
    attribute: Attribute
    distances: NDArray[np.float64]
    layers: Mapping[str, int]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Of each column and query, ``[columns, queries]``."""
        found = precision_at(self.distances, self.attribute.has, NEAREST)
        return np.concatenate([found[:-RANDOM], found[-RANDOM:].mean(axis=0, keepdims=True)])


def main() -> None:
    experiment = begin(__file__, __doc__)
    attributes = [*planted(experiment), *classes(experiment)]
    results = []
    for network in experiment.networks.values():
        dnas: dict[str, VDNA] = {}
        progress = Progress(f"{network.name}, attributes", len(attributes), "attributes")
        for place, attribute in enumerate(attributes, 1):
            for source in (*attribute.examples[0], *attribute.examples[1]):
                if source.name not in dnas:
                    dnas[source.name] = experiment.look(network, source).histogram("all")
            sides = tuple([dnas[source.name] for source in side] for side in attribute.examples)
            masks = choose(sides)
            distances = gallery_distances(experiment, network, attribute, masks)
            layers = {layer: int(part.sum()) for layer, part in network.extractor.layout.split(masks[2]).items()}
            results.append(Result(network.name, attribute, distances, layers))
            progress(place)
    pictures = {
        data: experiment.save_picture(sheet(results, data), f"{experiment.name}_{data.split('-')[0].lower()}")
        for data in SHOWN
    }
    experiment.write_section(describe(experiment, results, pictures))


def sheet(results: Sequence[Result], data: str, number: int = 5) -> Figure:
    """The second query of some attributes, and what is nearest to it by all neurons and by 5 chosen ones."""
    of_data = [result for result in results if result.attribute.data == data and result.network == results[0].network]
    shown = [result for result in of_data if result.attribute.name in SHOWN[data]] or of_data
    figure = Figure(figsize=(1.3 * (2 * number + 1) + 0.6, 1.5 * len(shown) + 0.3), layout="constrained")
    parts = {"query": None, "nearest by all neurons, distance in bins": "all",
             "nearest by 5 chosen neurons, distance in bins": "5 chosen"}  # fmt: skip
    grids = figure.subfigures(1, len(parts), width_ratios=[1, number, number])
    for grid, (title, column) in zip(grids, parts.items(), strict=True):
        grid.suptitle(title, fontsize=10)
        axes = grid.subplots(len(shown), 1 if column is None else number, squeeze=False)
        for row, result in zip(axes, shown, strict=True):
            attribute = result.attribute
            if column is None:
                _show(row[0], attribute.queries, 1, attribute.name, "white")
                continue
            distances = result.distances[COLUMNS.index(column), 1]
            for ax, place in zip(row, np.argsort(distances, kind="stable"), strict=False):
                has = attribute.has[place]
                caption = f"{'has it' if has else 'has not'}, {distances[place]:.1f}"
                _show(ax, attribute.gallery, int(place), caption, HAS if has else LACKS)
    return figure


def _show(ax: Axes, source: ImageSource, place: int, caption: str, colour: str) -> None:
    ax.imshow(pixels(source, place, 128))
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(caption, fontsize=9)
    ax.spines[:].set(color=colour, linewidth=3)


def describe(experiment: Experiment, results: Sequence[Result], pictures: Mapping[str, str]) -> str:
    """The page's part."""
    rows, every = [], []
    for data, network in dict.fromkeys((result.attribute.data, result.network) for result in results):
        some = [result for result in results if (result.attribute.data, result.network) == (data, network)]
        means = np.array([result.precision.mean(axis=1) for result in some])
        rows.append([data, network, *map(_cell, means.T)])
        for result in some:
            layers = ", ".join(f"{layer} {n}" for layer, n in result.layers.items() if n)
            every.append([data, network, result.attribute.name, *map(_cell, result.precision), layers])
    first = results[0].attribute
    n = len(first.has)
    by_chance = np.sqrt(0.25 / NEAREST * (n - NEAREST) / (n - 1))
    listed = markdown_table(["images", "network", "attribute", *COLUMNS, "where the 25 lie"], every, words=3).replace(
        "\n", "\n    "
    )
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"Share of the {NEAREST} nearest of {n} images that have the query's attribute, by so many neurons. Half "
            f"of them have it, so chance is 0.50, with a deviation of {by_chance:.2f} between queries. Mean and "
            f"standard deviation over attributes, of the mean of {len(first.queries)} queries each; *5 at random* is "
            f"the mean of {RANDOM} draws:",
            markdown_table(["images", "network", *COLUMNS], rows, words=2),
            f"The second query of some attributes, through {results[0].network}; what has the attribute is framed in "
            "green:",
            *(
                f"![{data}: a query and the nearest by all neurons and by 5 chosen ones]({picture})"
                for data, picture in pictures.items()
            ),
            f'??? note "Every attribute: mean and standard deviation over queries"\n\n    {listed}',
        ]
    )


def _cell(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


if __name__ == "__main__":
    main()
