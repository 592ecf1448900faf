"""Figures, neurons and images on the page of a leaderboard, and the figures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from vdna_metrics.analysis.explain import NeuronContribution, explain
from vdna_metrics.analysis.ranking import ImageRanking, RankedImage
from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.dna.plots import neuron_histograms
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.leaderboard.record import QUANTILES, Evidence, Leaderboard, Score, are_corrected
from vdna_metrics.reports.analysis_plots import parts_text
from vdna_metrics.reports.embedding import file_of, image_uri, inline_svg
from vdna_metrics.reports.figure_formats import FigureFormat
from vdna_metrics.reports.formatting import is_distance, significant, titled
from vdna_metrics.reports.leaderboard_plots import (
    checkpoint_curve,
    generator_colours,
    leaderboard_profile,
    quantile_heat_map,
    ranking_chart,
)
from vdna_metrics.reports.maps import in_colours, largest_departure
from vdna_metrics.reports.summary import interval_text, score_text
from vdna_metrics.text import printable

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
    """A figure of the page: the element, the words above it, and whose it is where there are several."""

    svg: str
    caption: str = ""
    name: str = ""


@dataclass(frozen=True)
class Picture:
    """An image of the page, as a data address."""

    uri: str
    alt: str
    caption: str = ""
    map_uri: str = ""  # of where its distance lies


class PageFigures:
    """Draws the figures and images of a page, and keeps the files that lie beside it.

    Args:
        leaderboard: the numbers.
        evidence: DNAs and images.
        order: names of the generators as the page shows them.
        formats: of the files.
    """

    def __init__(
        self, leaderboard: Leaderboard, evidence: Evidence, order: Sequence[str], formats: Sequence[FigureFormat]
    ) -> None:
        self.leaderboard, self.evidence, self.order, self.formats = leaderboard, evidence, order, formats
        self.files: dict[str, bytes] = {}
        self.drawn = 0

    def panel(self, file: str, ax: Axes, label: str, caption: str = "", name: str = "", *, save: bool = True) -> Panel:
        """A figure with the text that is read instead of it, and its files where it is to be saved."""
        figure = cast("Figure", ax.figure)
        svg = file_of(figure, "svg")
        if save:
            figure.set_layout_engine("none")  # as it was laid out for the first
            for kind in self.formats:
                self.files[f"{file}.{kind}"] = svg if kind == "svg" else file_of(figure, kind)
        self.drawn += 1
        return Panel(inline_svg(svg, f"f{self.drawn}", printable(label)), caption, name)

    def file_name(self, *parts: str) -> str:
        """A name for files that no other figure has, of letters that any file system takes."""
        name = "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.")[:40] for part in parts)
        taken = [name, *(f"{name}-{number}" for number in range(2, len(self.files) + 3))]
        return next(each for each in taken if not any(f"{each}.{kind}" in self.files for kind in self.formats))

    def ranking(self, network: str, metric: str) -> Panel:
        """The chart of a column."""
        scores, floor = self.leaderboard.column(network, metric), self.leaderboard.floor(network, metric)
        column, corrected = find_column(metric), are_corrected(scores)
        order = "nearest" if is_distance(column) else "best"
        told = "; ".join(_in_words(score, corrected) for score in scores)
        label = f"{titled(column)} in {network}, {'corrected, ' * corrected}{order} first: {told}."
        if floor is not None and not corrected:
            label += f" Noise floor {significant(floor.value)} at n = {floor.n_images}."
        file, ax = self.file_name("ranking", metric, network), ranking_chart(self.leaderboard, network, metric)
        return self.panel(file, ax, label)

    def checkpoints(self, network: str, metric: str) -> Panel | None:
        """The curve of checkpoints, where there are some."""
        records = [each for each in self.leaderboard.runs_of(network, metric) if each.step is not None]
        if not records:
            return None
        column = find_column(metric)
        told = "; ".join(f"{each.label} {significant(each.estimate.corrected)}" for each in records)
        label = f"{titled(column)} in {network} over training steps: {told}."
        return self.panel(
            self.file_name("checkpoints", metric, network), checkpoint_curve(self.leaderboard, network, metric), label
        )

    def profiles(self) -> list[tuple[str, list[Panel]]]:
        """Of each network, one chart for each metric that has parts by layer, of several layers."""
        found: dict[str, list[Panel]] = {}
        for network, metric in self.leaderboard.columns:
            scores = self.leaderboard.column(network, metric)
            if any(len(score.layers) < 2 for score in scores):
                continue
            extremes = []
            for score in scores:
                low, *_, high = sorted(score.layers.items(), key=lambda item: item[1])
                texts = [f"{significant(value, 3)} at {layer}" for layer, value in (low, high)]
                extremes.append(f"{score.generator} from {' to '.join(texts)}")
            title = titled(find_column(metric))
            panel = self.panel(
                self.file_name("layers", metric, network),
                leaderboard_profile(self.leaderboard, network, metric),
                f"{title}, layer by layer in {network}: {'; '.join(extremes)}.",
                f"{title}, by layer in the order of the network",
                find_column(metric).title,
            )
            found.setdefault(network, []).append(panel)
        return list(found.items())

    def heat_maps(self) -> list[list[Panel]]:
        """Of each generator a panel for each network, by the first metric that has quantiles."""
        panels = []
        for generator in self.order:
            scores = [score for score in self.leaderboard.scores if score.generator == generator and score.quantiles]
            first = {score.network: score for score in reversed(scores)}
            shown = [self._heat_map(first[each.name]) for each in self.leaderboard.networks if each.name in first]
            panels += [shown] * bool(shown)
        return panels

    def _heat_map(self, score: Score) -> Panel:
        half = QUANTILES.index(0.5)
        rows = score.quantiles.items()
        layers = [f"{layer} {significant(row[half], 3)} and {significant(row[-1], 3)}" for layer, row in rows]
        label = (
            f"{titled(find_column(score.metric))}: {score.generator} in {score.network}, the median and the largest "
            f"value of the neurons of each layer: {'; '.join(layers)}."
        )
        ax = quantile_heat_map(self.leaderboard, score.generator, score.network, score.metric)
        return self.panel(self.file_name("quantiles", score.metric, score.network, score.generator), ax, label)

    def neurons(self) -> list[dict[str, Any]]:
        """Of each network with DNAs and a distance by neuron, each generator's most different neurons."""
        found = []
        for network in (record.name for record in self.leaderboard.networks):
            column = self._neuron_column(network)
            names = [name for name in self.order if (network, name) in self.evidence.generated]
            if column is not None and names:
                shown = [(name, self._neuron_panels(column, network, name)) for name in names]
                split = any(panel["parts"] for _, panels in shown for panel in panels)
                found.append({"network": network, "title": column.title, "split": split, "generators": shown})
        return found

    def _neuron_column(self, network: str) -> Column | None:
        """The first of a network that says how far single neurons of its DNAs are apart."""
        reference = self.evidence.reference.get(network)
        for column in (find_column(metric) for name, metric in self.leaderboard.columns if name == network):
            by_neuron = column.distance.per == "neuron" and is_distance(column)
            if reference is not None and by_neuron and column.kind == reference.kind:
                return column
        return None

    def _neuron_panels(self, column: Column, network: str, generator: str) -> list[dict[str, Any]]:
        reference, generated = self.evidence.reference[network], self.evidence.generated[network, generator]
        sides = sorted(self.evidence.exemplars.get((network, generator), ()), key=lambda one: one.side != "reference")
        first, panels = generator == self.order[0], []
        for place, neuron in enumerate(most_different_neurons(column, reference, generated, _NEURONS)):
            (m1, m2), (s1, s2) = neuron.means, neuron.deviations
            label = (
                f"Neuron {neuron.neuron} of {neuron.layer}: reference mean {m1:.3g}, deviation {s1:.3g}, "
                f"{generator} mean {m2:.3g}, deviation {s2:.3g}."
            )
            ax = _drawn_neuron(neuron, reference, generated, generator_colours(self.leaderboard)[generator])
            file = self.file_name("neuron", network, generator, neuron.layer, str(neuron.neuron))
            exemplars = []
            for side in sides if first or place < 2 * _FEWER else ():
                images = side.neurons.get((neuron.layer, neuron.neuron), ())[: _EXAMPLES if first else _FEWER]
                whose = "reference" if side.side == "reference" else generator
                pictures = [
                    Picture(image_uri(one.image, _THUMB), f"{whose}: {printable(one.name)}, pull {one.pull:+.0f} bins")
                    for one in images
                ]
                exemplars += [(side.side, pictures)] * bool(pictures)
            panels.append(
                {
                    "title": f"{neuron.layer}, neuron {neuron.neuron}",
                    "value": f"{significant(neuron.distance, 3)} {column.unit}".strip(),
                    "parts": parts_text(neuron),
                    "svg": self.panel(file, ax, label, save=first).svg,
                    "exemplars": exemplars,
                }
            )
        return panels

    def ends(self) -> list[tuple[str, list[Picture], list[Picture], str]]:
        """Nearest and farthest images of each generator that have pictures, and where the colours of maps end."""
        found = []
        for name in self.order:
            if name in self.evidence.rankings:
                ranking = self.evidence.rankings[name]
                farthest = ranking.farthest(_ENDS)
                maps, scale = _mapped(ranking, farthest)
                near, far = _ranked(ranking.nearest(_ENDS), {}), _ranked(farthest, maps)
                found += [(name, near, far, scale)] * bool(near or far)
        return found

    def examples(self, name: str, number: int = _EXAMPLES) -> list[Picture]:
        """Some images of a set."""
        images: Iterable[Tensor] = self.evidence.examples.get(name, ())[:number]
        alt = f"{printable(name)}, example"
        return [Picture(image_uri(image, _THUMB), f"{alt} {place}") for place, image in enumerate(images, start=1)]


def most_different_neurons(
    column: Column, reference: VDNA, generated: VDNA, number: int
) -> tuple[NeuronContribution, ...]:
    """The neurons whose values are the worst by a distance between two DNAs, the worst first.

    Args:
        column: with parts by neuron, of a distance between two DNAs that grows as they differ.
        reference: histogram or Gaussian DNA, of the column's kind.
        generated: likewise.
        number: at most so many; neurons with the neutral value, as of a set and itself, are left out.
    """
    values = reference.layout.flatten(cast("dict[str, Tensor]", column.measure(reference, generated, "none")))
    wanted: dict[str, list[int]] = {}
    for row in values.argsort(descending=True, stable=True)[:number].tolist():
        if float(values[row]) != column.distance.neutral:
            layer, neuron = reference.layout.neuron_at(row)
            wanted.setdefault(layer, []).append(neuron)
    # The parts of a distance cost much more than the distance: of these neurons alone.
    return explain(reference, generated, distance=column.replace(neurons=wanted)).top(number) if wanted else ()


def _in_words(score: Score, corrected: bool) -> str:
    text = f"{score.generator} {score_text(score, corrected=corrected)}"
    if corrected and (interval := interval_text(score.estimate)) is not None:
        text += f", interval {' to '.join(interval)}"
    return text


def _drawn_neuron(neuron: NeuronContribution, reference: VDNA, generated: VDNA, colour: str) -> Axes:
    from matplotlib.figure import Figure

    ax = Figure(figsize=(3.1, 1.05)).add_axes((0.02, 0.24, 0.96, 0.74))
    sets, colours = {"generated": generated}, {"generated": colour}
    neuron_histograms(sets, neuron.layer, neuron.neuron, reference=reference, colours=colours, groups=40, ax=ax)
    ax.set_title("")
    ax.set_title("", loc="left")
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=4)
    ax.tick_params(labelsize=8, length=2)
    return ax


def _ranked(images: Sequence[RankedImage], maps: Mapping[int, str]) -> list[Picture]:
    return [
        Picture(
            image_uri(image.image, _PICTURE),
            f"{printable(image.name)}, distance {significant(image.score, 3)}",
            " ".join([significant(image.score, 3), *(layer.layer for layer in image.layers[:1])]),
            maps.get(image.index, ""),
        )
        for image in images
        if image.image is not None
    ]


def _mapped(ranking: ImageRanking, images: Sequence[RankedImage]) -> tuple[dict[int, str], str]:
    """Where some images differ, ``{index: data address}``, on one scale, and where that ends."""
    found = None if ranking.maps is None else ranking.maps.of([image.index for image in images])
    if found is None or not found.maps:
        return {}, ""
    limit = largest_departure(found)
    uris = {each.index: image_uri(in_colours(each, limit), _PICTURE) for each in found.maps}
    return uris, f"±{significant(limit, 3)} {found.unit}".strip()
