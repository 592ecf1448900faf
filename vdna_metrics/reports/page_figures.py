"""Figures on the page of a leaderboard, and as files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import QUANTILES, Leaderboard, Score
from vdna_metrics.reports.embedding import inline_svg, png_of, svg_of
from vdna_metrics.reports.formatting import one_line, significant
from vdna_metrics.reports.leaderboard_plots import leaderboard_profile, quantile_heat_map, ranking_chart
from vdna_metrics.reports.summary import interval_text, score_text
from vdna_metrics.reports.wording import is_distance, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        told = []
        for score in self.leaderboard.column(network, metric):
            high, low = (pick(score.layers, key=lambda layer: score.layers[layer]) for pick in (max, min))
            told.append(
                f"{score.generator} from {significant(score.layers[low], 3)} at {low} to "
                f"{significant(score.layers[high], 3)} at {high}"
            )
        column = find_column(metric)
        return self.panel(
            self.file_name("layers", metric, network),
            leaderboard_profile(self.leaderboard, network, metric),
            f"{titled(column)}, layer by layer in {network}: {'; '.join(told)}.",
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
        told = [
            f"{layer} {significant(row[half], 3)} and {significant(row[-1], 3)}"
            for layer, row in score.quantiles.items()
        ]
        label = (
            f"{titled(find_column(score.metric))}: {score.generator} in {score.network}, the median and the largest "
            f"value of the neurons of each layer: {'; '.join(told)}."
        )
        ax = quantile_heat_map(self.leaderboard, score.generator, score.network, score.metric)
        return self.panel(self.file_name("quantiles", score.metric, score.network, score.generator), ax, label)


def _in_words(score: Score) -> str:
    said = f"{score.generator} {score_text(score)}"
    if score.estimate is not None:
        _, low, high = interval_text(score.estimate)
        said += f", interval {low} to {high}"
    return said
