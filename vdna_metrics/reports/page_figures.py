"""Figures, neurons and images on the page of a leaderboard, and the figures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import Tensor

from vdna_metrics.analysis.ranking import ImageRanking, RankedImage
from vdna_metrics.analysis.single_images import Exemplar
from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.dna.plots import neuron_histograms
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.leaderboard.evidence import NeuronDifference, most_different_neurons
from vdna_metrics.leaderboard.record import QUANTILES, Evidence, Leaderboard, Score
from vdna_metrics.reports.embedding import image_uri, inline_svg, png_of, svg_of
from vdna_metrics.reports.formatting import one_line, significant
from vdna_metrics.reports.leaderboard_plots import (
    generator_colours,
    leaderboard_profile,
    quantile_heat_map,
    ranking_chart,
)
from vdna_metrics.reports.summary import interval_text, score_text
from vdna_metrics.reports.wording import is_distance, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NEURONS = 10
_ENDS = 6  # images at either end of a generator's ranking
_EXAMPLES = 4  # images of a set, and exemplars of a side for each neuron of the first generator
_FEWER = 2  # exemplars of a side for as many first neurons times two of the others, which keeps the page small
_THUMB, _PICTURE = 88, 128  # pixels of the longer side


@dataclass(frozen=True)
class Panel:
    """A figure of the page.

    Args:
        svg: the element.
        caption: below it.
        name: of its generator, its metric or its neuron, where there are several.
    """

    svg: str
    caption: str
    name: str = ""


class PageFigures:
    """Draws the figures of a page, and keeps the files that lie beside it."""

    def __init__(self, leaderboard: Leaderboard) -> None:
        self.leaderboard = leaderboard
        self.files: dict[str, bytes] = {}
        self.drawn = 0

    def panel(self, file: str, ax: Axes, label: str, caption: str = "", name: str = "", *, save: bool = True) -> Panel:
        """A figure with the text that is read instead of it, and its files where it is to be saved."""
        figure = cast("Figure", ax.figure)
        svg = svg_of(figure)
        if save:
            figure.set_layout_engine("none")  # as it was laid out for the first
            self.files[f"{file}.svg"], self.files[f"{file}.png"] = svg, png_of(figure)
        self.drawn += 1
        return Panel(inline_svg(svg, f"f{self.drawn}", one_line(label)), caption, name)

    def file_name(self, *parts: str) -> str:
        """A name for files that no other figure has, of letters that any file system takes."""
        name = "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.")[:40] for part in parts)
        taken = [f"{name}.svg"] + [f"{name}-{number}.svg" for number in range(2, len(self.files) + 3)]
        return next(each for each in taken if each not in self.files).removesuffix(".svg")

    def ranking(self, network: str, metric: str) -> Panel:
        """The chart of a column."""
        scores, floor = self.leaderboard.column(network, metric), self.leaderboard.floor(network, metric)
        column = find_column(metric)
        order = "nearest" if is_distance(column) else "best"
        label = f"{titled(column)} in {network}, {order} first: {'; '.join(map(_in_words, scores))}."
        if floor is not None:
            label += f" Noise floor {significant(floor.value)} at n = {floor.n_images}."
        return self.panel(
            self.file_name("ranking", metric, network), ranking_chart(self.leaderboard, network, metric), label
        )

    def profiles(self) -> list[tuple[str, list[Panel]]]:
        """Of each network, one chart for each metric that has parts by layer, of several layers."""
        found = []
        for record in self.leaderboard.networks:
            metrics = [
                metric
                for network, metric in self.leaderboard.columns
                if network == record.name
                and all(len(score.layers) > 1 for score in self.leaderboard.column(network, metric))
            ]
            panels = [self._profile(record.name, metric) for metric in metrics]
            if panels:
                found.append((record.name, panels))
        return found

    def _profile(self, network: str, metric: str) -> Panel:
        ranges = []
        for score in self.leaderboard.column(network, metric):
            high, low = (pick(score.layers, key=lambda layer: score.layers[layer]) for pick in (max, min))
            ranges.append(
                f"{score.generator} from {significant(score.layers[low], 3)} at {low} to "
                f"{significant(score.layers[high], 3)} at {high}"
            )
        column = find_column(metric)
        return self.panel(
            self.file_name("layers", metric, network),
            leaderboard_profile(self.leaderboard, network, metric),
            f"{titled(column)}, layer by layer in {network}: {'; '.join(ranges)}.",
            f"{titled(column)}, by layer in the order of the network",
            column.title,
        )

    def heat_maps(self, order: Sequence[str]) -> list[list[Panel]]:
        """Of each generator a panel for each network, by the first metric that has quantiles."""
        panels = []
        for generator in order:
            scores = [score for score in self.leaderboard.scores if score.generator == generator and score.quantiles]
            first = {score.network: score for score in reversed(scores)}
            panels.append(
                [self._heat_map(first[record.name]) for record in self.leaderboard.networks if record.name in first]
            )
        return [found for found in panels if found]

    def _heat_map(self, score: Score) -> Panel:
        half = QUANTILES.index(0.5)
        layers = [
            f"{layer} {significant(row[half], 3)} and {significant(row[-1], 3)}"
            for layer, row in score.quantiles.items()
        ]
        label = (
            f"{titled(find_column(score.metric))}: {score.generator} in {score.network}, the median and the largest "
            f"value of the neurons of each layer: {'; '.join(layers)}."
        )
        ax = quantile_heat_map(self.leaderboard, score.generator, score.network, score.metric)
        return self.panel(self.file_name("quantiles", score.metric, score.network, score.generator), ax, label)


def _in_words(score: Score) -> str:
    text = f"{score.generator} {score_text(score)}"
    if score.estimate is not None:
        _, low, high = interval_text(score.estimate)
        text += f", interval {low} to {high}"
    return text


# -------------------------------------------------------------------------------------------------------------- neurons
@dataclass(frozen=True)
class Picture:
    """An image of the page, as a data address."""

    uri: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class NeuronPanel:
    """One of the most different neurons."""

    title: str
    value: str
    parts: str
    svg: str
    exemplars: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True)
class NeuronSection:
    """The most different neurons of each generator, ``(name, panels)``, in one network by one column.

    Args:
        network: its name.
        title: of the column.
        split: whether values are split into shift, spread and shape.
        generators: names and panels.
    """

    network: str
    title: str
    split: bool
    generators: list[tuple[str, list[NeuronPanel]]]


def neuron_sections(figures: PageFigures, evidence: Evidence, order: Sequence[str]) -> list[NeuronSection]:
    """Of each network with DNAs and a distance that has parts by neuron, each generator's most different neurons."""
    found = []
    for network in (record.name for record in figures.leaderboard.networks):
        column = _neuron_column(figures.leaderboard, network, evidence.reference.get(network))
        names = [name for name in order if (network, name) in evidence.generated]
        if column is not None and names:
            shown = [
                (name, _neuron_panels(figures, evidence, column, network, name, name == order[0])) for name in names
            ]
            split = any(panel.parts for _, panels in shown for panel in panels)
            found.append(NeuronSection(network, column.title, split, shown))
    return found


def _neuron_column(leaderboard: Leaderboard, network: str, reference: VDNA | None) -> Column | None:
    """The first of a network that says how far single neurons of DNAs of this kind are apart."""
    for column in (find_column(metric) for name, metric in leaderboard.columns if name == network):
        distance = column.distance
        if reference is not None and (distance.kind, distance.per, distance.arity) == (reference.kind, "neuron", 2):
            return column
    return None


def _neuron_panels(
    figures: PageFigures, evidence: Evidence, column: Column, network: str, generator: str, first: bool
) -> list[NeuronPanel]:
    reference, generated = evidence.reference[network], evidence.generated[network, generator]
    sides = sorted(evidence.exemplars.get((network, generator), ()), key=lambda one: one.side != "reference")
    most, panels = _EXAMPLES if first else _FEWER, []
    for place, neuron in enumerate(most_different_neurons(column, reference, generated, _NEURONS)):
        (m1, m2), (s1, s2) = neuron.means, neuron.deviations
        label = (
            f"Neuron {neuron.neuron} of {neuron.layer}: reference mean {m1:.3g}, deviation {s1:.3g}, "
            f"{generator} mean {m2:.3g}, deviation {s2:.3g}."
        )
        ax = _drawn_neuron(neuron, reference, generated, generator_colours(figures.leaderboard)[generator])
        file = figures.file_name("neuron", network, generator, neuron.layer, str(neuron.neuron))
        images = {
            side.side: exemplar_pictures(
                side.neurons.get((neuron.layer, neuron.neuron), ())[:most],
                "reference" if side.side == "reference" else generator,
            )
            for side in (sides if first or place < 2 * _FEWER else ())
        }
        panels.append(
            NeuronPanel(
                title=f"{neuron.layer}, neuron {neuron.neuron}",
                value=f"{significant(neuron.value, 3)} {column.unit}".strip(),
                parts=", ".join(f"{part} {100 * share:.0f} %" for part, share in neuron.shares.items()),
                svg=figures.panel(file, ax, label, save=first).svg,
                exemplars=tuple((side, pictures) for side, pictures in images.items() if pictures),
            )
        )
    return panels


def _drawn_neuron(neuron: NeuronDifference, reference: VDNA, generated: VDNA, colour: str) -> Axes:
    from matplotlib.figure import Figure

    ax = Figure(figsize=(3.1, 1.05)).add_axes((0.02, 0.24, 0.96, 0.74))
    neuron_histograms(
        {"generated": generated}, neuron.layer, neuron.neuron, reference=reference, groups=40, ax=ax,
        colours={"generated": colour},
    )  # fmt: skip
    ax.set_title("")
    ax.set_title("", loc="left")
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=4)
    ax.tick_params(labelsize=8, length=2)
    return ax


# --------------------------------------------------------------------------------------------------------------- images
def example_pictures(images: Sequence[Tensor], name: str, number: int = _EXAMPLES) -> tuple[Picture, ...]:
    """Some images of a set."""
    return tuple(
        Picture(image_uri(image, _THUMB), f"{one_line(name)}, example {place}")
        for place, image in enumerate(images[:number], start=1)
    )


def exemplar_pictures(images: Sequence[Exemplar], whose: str) -> tuple[Picture, ...]:
    """Images in which a neuron's difference shows most."""
    return tuple(
        Picture(image_uri(each.image, _THUMB), f"{whose}: {one_line(each.name)}, pull {each.pull:+.0f} bins")
        for each in images
    )


def ranking_ends(
    rankings: Mapping[str, ImageRanking], order: Sequence[str]
) -> list[tuple[str, tuple[Picture, ...], tuple[Picture, ...]]]:
    """Nearest and farthest images of each generator, as far as they have pictures."""
    found = []
    for name in order:
        if name in rankings:
            near, far = (_ranked(images) for images in (rankings[name].nearest(_ENDS), rankings[name].farthest(_ENDS)))
            if near or far:
                found.append((name, near, far))
    return found


def _ranked(images: Sequence[RankedImage]) -> tuple[Picture, ...]:
    return tuple(
        Picture(
            image_uri(image.image, _PICTURE),
            f"{one_line(image.name)}, distance {significant(image.score, 3)}",
            " ".join([significant(image.score, 3), *(layer.layer for layer in image.layers[:1])]),
        )
        for image in images
        if image.image is not None
    )
