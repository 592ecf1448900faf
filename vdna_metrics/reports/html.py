"""A leaderboard as one self-contained page, with its figures beside it as files."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from vdna_metrics.analysis.exemplars import Exemplars
from vdna_metrics.analysis.explain import NeuronContribution, explain
from vdna_metrics.analysis.ranking import RankedImage
from vdna_metrics.dna import compare
from vdna_metrics.dna.plots import COLOURS, neuron_histograms
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.files import replacing
from vdna_metrics.leaderboard.record import (
    METRIC_LABELS,
    QUANTILES,
    ClassRecord,
    Evidence,
    FidelityRecord,
    ImageSetRecord,
    Leaderboard,
    MetricName,
    Score,
)
from vdna_metrics.reports.embedding import drawing, image_uri, inline_svg, png_of, svg_of
from vdna_metrics.reports.formatting import listed, one_line, significant, with_error
from vdna_metrics.reports.leaderboard_plots import (
    generator_colours,
    leaderboard_profile,
    places,
    quantile_heat_map,
    ranking_chart,
)
from vdna_metrics.reports.summary import at_floor, interval_text, percent, score_text, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEURONS = 10
_ENDS = 6  # best and worst images of a generator
_EXAMPLES = 4  # images of a set, and exemplars of a side for each neuron of the nearest generator
_FEWER = 2  # exemplars of a side for as many first neurons times two of the others, which keeps the page small
_CLASSES = 20  # rows of a table of classes
_THUMB, _PICTURE = 88, 128  # pixels of the longer side

_FIDELITY = {
    "precision": ("precision", "share of generated images that lie among the real ones: fidelity"),
    "recall": ("recall", "share of real images that lie among the generated ones: diversity"),
    "density": (
        "density",
        "how many real neighbourhoods hold a generated image, over how many would; about 1 where both are alike",
    ),
    "coverage": ("coverage", "share of real images with a generated image nearby: diversity"),
    "vendi_generated": ("Vendi score", "effective number of different images"),
    "kernel_distance": ("kernel distance", "as in KID, with the deviation of one subset; 0 where both are alike"),
}
_SHORT: dict[str, str] = {"emd": "VDNA-EMD", "nfd": "NFD", "lfd": "LFD", "fid": "FID"}
_GLOSSARY: dict[MetricName, tuple[str, str]] = {
    "emd": (
        "VDNA-EMD",
        "For each neuron the earth mover's distance between the histograms of its activations over both sets, in bins "
        "of the histogram; the mean over all neurons.",
    ),
    "nfd": (
        "NFD, neuron Fréchet distance",
        "For each neuron the squared differences of its mean and of its deviation over images; the mean over neurons.",
    ),
    "lfd": (
        "LFD, layer Fréchet distance",
        "For each layer the Fréchet distance between Gaussians of its activations over images; the mean over layers.",
    ),
    "fid": ("FID", "The layer Fréchet distance on the pooled output of the FID Inception."),
}


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


@dataclass(frozen=True)
class Cell:
    """A generator's score in the table; ``key`` sorts, the others are shown."""

    key: float
    value: str
    rank: str
    interval: str
    extrapolated: str
    at_floor: bool


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
    distance: str
    parts: str
    svg: str
    exemplars: tuple[tuple[str, tuple[Picture, ...]], ...]


def write_report(leaderboard: Leaderboard, evidence: Evidence, folder: str | Path) -> Path:
    """Write the page of a leaderboard and its figures.

    The page is one file that needs no network; nothing is written when it cannot be made. The same input gives the same
    bytes.

    Args:
        leaderboard: the numbers.
        evidence: DNAs and images to show beside them; sections without any are left out.
        folder: gets ``index.html`` and, in ``figures/``, each figure as PNG and SVG; it is made when missing.

    Returns:
        The page.

    Raises:
        ValueError: for a leaderboard without scores.
    """
    folder = Path(folder)
    with drawing():
        report = _Report(leaderboard, evidence)
        page = report.page().encode("utf-8", "replace")  # names of files need not be text
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, content in [*((f"figures/{name}", data) for name, data in report.files.items()), ("index.html", page)]:
        with replacing(folder / name) as file:
            file.write(content)
    return folder / "index.html"


class _Report:
    """The parts of a page, and the figures that were drawn for it."""

    def __init__(self, leaderboard: Leaderboard, evidence: Evidence) -> None:
        self.leaderboard, self.evidence = leaderboard, evidence
        self.files: dict[str, bytes] = {}
        self.drawn = 0
        self.summary = summarise(leaderboard)
        self.main = leaderboard.columns[0]
        self.leaders = [score.generator for score in leaderboard.column(*self.main)]
        missing = [record.name for record in leaderboard.generators if record.name not in self.leaders]
        self.order = [*self.leaders, *missing]

    def page(self) -> str:
        import jinja2

        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("vdna_metrics.reports"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        environment.filters.update(significant=significant, one_line=one_line)
        script = environment.get_template("leaderboard.js").render()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return environment.get_template("leaderboard.html.j2").render(
            leaderboard=self.leaderboard,
            summary=[sentence.replace(" %", "\u00a0%") for sentence in self.summary],
            sets=[self.leaderboard.reference, *self.leaderboard.generators],
            names=listed([record.name for record in self.leaderboard.networks]),
            percent=percent(self.leaderboard),
            intervals=any(score.estimate for score in self.leaderboard.scores),
            ranked=any(score.rank for score in self.leaderboard.scores),
            extrapolated=any(score.extrapolated for score in self.leaderboard.scores),
            exemplified=any(self.evidence.exemplars.values()),
            colour={record.name: place % len(COLOURS) for place, record in enumerate(self.leaderboard.generators)},
            labels=_SHORT,
            columns=self.leaderboard.columns,
            rows=self.rows(),
            order=self.order,
            thumbs={name: _pictures(images, name, 1) for name, images in self.evidence.examples.items()},
            examples=self.examples(),
            rankings=[self.ranking(network, metric) for network, metric in self.leaderboard.columns],
            profiles=self.profiles(),
            heat_maps=self.heat_maps(),
            neurons=self.neurons(),
            ends=self.ends(),
            classes=self.classes(),
            fidelity=self.fidelity(),
            agreement=self.agreement(),
            copies=sorted(self.leaderboard.copies, key=lambda record: self.order.index(record.generator)),
            settings=self.settings(),
            glossary=[_GLOSSARY[metric] for metric in self.leaderboard.metrics],
            script=script,
            script_digest=digest,
        )

    # ------------------------------------------------------------------------------------------------------- figures
    def panel(self, file: str, ax: Axes, label: str, caption: str = "", name: str = "", *, save: bool = True) -> Panel:
        figure = ax.figure.get_figure(root=True)
        svg = svg_of(figure)
        if save:
            figure.set_layout_engine("none")  # as it was laid out for the first
            self.files[f"{file}.svg"], self.files[f"{file}.png"] = svg, png_of(figure)
        self.drawn += 1
        return Panel(inline_svg(svg, f"f{self.drawn}", one_line(label)), caption, name)

    def file_name(self, *parts: str) -> str:
        name = "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.")[:40] for part in parts)
        taken = [f"{name}.svg"] + [f"{name}-{number}.svg" for number in range(2, len(self.files) + 3)]
        return next(each for each in taken if each not in self.files).removesuffix(".svg")

    def ranking(self, network: str, metric: MetricName) -> Panel:
        column, floor = self.leaderboard.column(network, metric), self.leaderboard.floor(network, metric)
        label = f"{METRIC_LABELS[metric]} in {network}, nearest first: {'; '.join(map(self.in_words, column))}."
        if floor is not None:
            label += f" Noise floor {significant(floor.value)} at n = {floor.n_images}."
        return self.panel(
            self.file_name("ranking", metric, network), ranking_chart(self.leaderboard, network, metric), label
        )

    def in_words(self, score: Score) -> str:
        said = f"{score.generator} {score_text(score)}"
        if score.estimate is not None:
            _, low, high = interval_text(score.estimate)
            said += f", interval {low} to {high}"
        return said

    def profiles(self) -> list[tuple[str, list[Panel]]]:
        """Of each network with several layers, one chart a metric."""
        found = []
        for record in self.leaderboard.networks:
            metrics = [
                metric
                for network, metric in self.leaderboard.columns
                if network == record.name and len(self.leaderboard.column(network, metric)[0].layers) > 1
            ]
            panels = [self.profile(record.name, metric) for metric in metrics]
            if panels:
                found.append((record.name, panels))
        return found

    def profile(self, network: str, metric: MetricName) -> Panel:
        told = []
        for score in self.leaderboard.column(network, metric):
            far = max(score.layers, key=lambda layer: score.layers[layer])
            near = min(score.layers, key=lambda layer: score.layers[layer])
            told.append(
                f"{score.generator} from {significant(score.layers[near], 3)} at {near} to "
                f"{significant(score.layers[far], 3)} at {far}"
            )
        label = f"{METRIC_LABELS[metric]} layer by layer in {network}: {'; '.join(told)}."
        return self.panel(
            self.file_name("layers", metric, network),
            leaderboard_profile(self.leaderboard, network, metric),
            label,
            f"{METRIC_LABELS[metric]} by layer, in the order of the network",
            METRIC_LABELS[metric],
        )

    def heat_maps(self) -> list[list[Panel]]:
        """Of each generator a panel a network, by the first metric that has quantiles; the nearest generator first."""
        panels = []
        for generator in self.order:
            scores = [score for score in self.leaderboard.scores if score.generator == generator and score.quantiles]
            first = {score.network: score for score in reversed(scores)}
            panels.append(
                [self.heat_map(first[record.name]) for record in self.leaderboard.networks if record.name in first]
            )
        return [found for found in panels if found]

    def heat_map(self, score: Score) -> Panel:
        half = QUANTILES.index(0.5)
        told = [
            f"{layer} {significant(row[half], 3)} and {significant(row[-1], 3)}"
            for layer, row in score.quantiles.items()
        ]
        label = (
            f"{METRIC_LABELS[score.metric]} of {score.generator} in {score.network}, of the median and of the farthest "
            f"neuron of each layer: {'; '.join(told)}."
        )
        ax = quantile_heat_map(self.leaderboard, score.generator, score.network, score.metric)
        return self.panel(self.file_name("quantiles", score.metric, score.network, score.generator), ax, label)

    # ------------------------------------------------------------------------------------------------------- neurons
    def neurons(self) -> list[tuple[str, list[tuple[str, list[NeuronPanel]]]]]:
        """Of each network and generator with DNAs, the most different neurons."""
        found = []
        for record in self.leaderboard.networks:
            reference = self.evidence.reference.get(record.name)
            shown = []
            for generator in self.order:
                generated = self.evidence.generated.get((record.name, generator))
                if reference is not None and generated is not None and reference.kind != "layer_gaussian":
                    shown.append((generator, self.neuron_panels(record.name, generator, reference, generated)))
            if shown:
                found.append((record.name, shown))
        return found

    def neuron_panels(self, network: str, generator: str, reference: VDNA, generated: VDNA) -> list[NeuronPanel]:
        from matplotlib.figure import Figure

        first = generator == self.leaders[0]
        exemplars = self.evidence.exemplars.get((network, generator), ())
        colours = {"generated": generator_colours(self.leaderboard)[generator]}
        unit = " bins" if reference.kind == "histogram" else ""
        panels = []
        for place, neuron in enumerate(_most_different(reference, generated)):
            figure = Figure(figsize=(3.1, 1.05))
            ax = figure.add_axes((0.02, 0.24, 0.96, 0.74))
            neuron_histograms(
                {"generated": generated}, neuron.layer, neuron.neuron,
                reference=reference, colours=colours, groups=40, ax=ax,
            )  # fmt: skip
            ax.set_title("")
            ax.set_title("", loc="left")
            ax.spines["left"].set_visible(False)
            ax.locator_params(axis="x", nbins=4)
            ax.tick_params(labelsize=8, length=2)
            (m1, m2), (s1, s2) = neuron.means, neuron.deviations
            label = (
                f"Neuron {neuron.neuron} of {neuron.layer}: reference mean {m1:.3g}, deviation {s1:.3g}, "
                f"{generator} mean {m2:.3g}, deviation {s2:.3g}."
            )
            file = self.file_name("neuron", network, generator, neuron.layer, str(neuron.neuron))
            panel = self.panel(file, ax, label, save=first)
            panels.append(
                NeuronPanel(
                    title=f"{neuron.layer}, neuron {neuron.neuron}",
                    distance=f"{significant(neuron.distance, 3)}{unit}",
                    parts=_parts(neuron),
                    svg=panel.svg,
                    exemplars=tuple(
                        (side.side, _exemplars(side, neuron, generator, _EXAMPLES if first else _FEWER))
                        for side in sorted(exemplars, key=lambda one: one.side != "reference")
                        if side.neurons.get((neuron.layer, neuron.neuron)) and (first or place < 2 * _FEWER)
                    ),
                )
            )
        return panels

    # -------------------------------------------------------------------------------------------------------- images
    def examples(self) -> list[tuple[str, tuple[Picture, ...]]]:
        sets = [self.leaderboard.reference.name, *self.order]
        shown = [(name, _pictures(self.evidence.examples.get(name, ()), name, _EXAMPLES)) for name in sets]
        return [(name, pictures) for name, pictures in shown if pictures]

    def ends(self) -> list[tuple[str, tuple[Picture, ...], tuple[Picture, ...]]]:
        """Nearest and farthest images of each generator, as far as they have pictures."""
        found = []
        for name in self.order:
            ranking = self.evidence.rankings.get(name)
            if ranking is not None:
                near, far = (_ranked(images) for images in (ranking.nearest(_ENDS), ranking.farthest(_ENDS)))
                if near or far:
                    found.append((name, near, far))
        return found

    # -------------------------------------------------------------------------------------------------------- tables
    def rows(self) -> list[tuple[ImageSetRecord, list[Cell | None]]]:
        """Image set and cells of each generator, nearest first."""
        records = {record.name: record for record in self.leaderboard.generators}
        return [
            (records[name], [self.cell(name, network, metric) for network, metric in self.leaderboard.columns])
            for name in self.order
        ]

    def cell(self, generator: str, network: str, metric: MetricName) -> Cell | None:
        try:
            score = self.leaderboard.score(generator, network, metric)
        except KeyError:
            return None
        floor, estimate = self.leaderboard.floor(network, metric), score.estimate
        interval = extrapolated = ""
        if estimate is not None:
            corrected, low, high = interval_text(estimate)
            interval = f"{corrected} [{low}, {high}]"
        if score.extrapolated is not None:
            extrapolated = with_error(*score.extrapolated)
        return Cell(
            key=estimate.corrected if estimate is not None else score.value,
            value=score_text(score),
            rank=places(score),
            interval=interval,
            extrapolated=extrapolated,
            at_floor=floor is not None and at_floor(score, floor),
        )

    def classes(self) -> list[dict[str, Any]]:
        """A table of each column with classes: the worst of each generator, and the worst rows."""
        found = []
        for network, metric in self.leaderboard.columns:
            classes = self.leaderboard.classes_of(network, metric)
            if not classes:
                continue
            by_group: dict[str, dict[str, ClassRecord]] = {}
            for name, records in classes.items():
                for record in records:
                    by_group.setdefault(record.group, {})[name] = record
            groups = sorted(by_group, key=lambda group: -max(record.value for record in by_group[group].values()))
            found.append(
                {
                    "network": network,
                    "metric": METRIC_LABELS[metric],
                    "generators": list(classes),
                    "worst": {name: records[0] for name, records in classes.items()},
                    "rows": [(group, [by_group[group].get(name) for name in classes]) for group in groups[:_CLASSES]],
                    "left_out": max(0, len(groups) - _CLASSES),
                }
            )
        return found

    def fidelity(self) -> list[dict[str, Any]]:
        """A table of each network and layer with fidelities."""
        found = []
        for network, layer in dict.fromkeys((record.network, record.layer) for record in self.leaderboard.fidelity):
            records = [r for r in self.leaderboard.fidelity if (r.network, r.layer) == (network, layer)]
            records.sort(key=lambda record: self.order.index(record.generator))
            keys = [key for key in _FIDELITY if any(key in record.values for record in records)]
            real = next((r.values["vendi_real"] for r in records if "vendi_real" in r.values), None)
            words = [_FIDELITY[key] for key in keys]
            if real is not None and "vendi_generated" in keys:
                name, what = _FIDELITY["vendi_generated"]
                words[keys.index("vendi_generated")] = (name, f"{what}; the reference has {significant(real, 3)}")
            found.append(
                {
                    "network": network,
                    "layer": layer,
                    "words": words,
                    "rows": [(record.generator, [_fidelity_text(record, key) for key in keys]) for record in records],
                    "settings": ", ".join(
                        f"{key.replace('_', ' ')} {value:g}" for key, value in records[0].settings.items()
                    ),
                }
            )
        return found

    def agreement(self) -> dict[str, Any] | None:
        record = self.leaderboard.agreement
        if record is None or len(record.columns) < 2:
            return None
        rows = [
            (name, [None if i == j else (f"{rho:.2f}".replace("-", "−"), f"{tau:.2f}".replace("-", "−"))
                    for j, (rho, tau) in enumerate(zip(record.spearman[i], record.kendall[i], strict=True))])
            for i, name in enumerate(record.columns)
        ]  # fmt: skip
        names = [self.column_name(name) for name in record.columns]
        return {"columns": names, "rows": [(self.column_name(name), row) for name, row in rows], "notes": record.notes}

    def column_name(self, column: str) -> str:
        """``emd vdna_tiny`` -> ``VDNA-EMD vdna_tiny``."""
        metric, _, network = column.partition(" ")
        return " ".join([_SHORT.get(metric, metric), network])

    def settings(self) -> list[tuple[str, str]]:
        """What is one word or a few; the rest is in the record."""
        found = []
        for name, value in self.leaderboard.settings.items():
            values = value if isinstance(value, list | tuple) else [value]
            if value is not None and all(isinstance(each, str | int | float) for each in values):
                words = [{True: "yes", False: "no"}[each] if isinstance(each, bool) else str(each) for each in values]
                found.append((name.replace("_", " "), ", ".join(words)))
        return found


def _most_different(reference: VDNA, generated: VDNA) -> tuple[NeuronContribution, ...]:
    measure: Callable[..., Any] = compare.emd if reference.kind == "histogram" else compare.neuron_frechet
    distances = cast("dict[str, Tensor]", measure(reference, generated, reduction="none"))
    layout = reference.layout
    rows = layout.flatten(distances).argsort(descending=True, stable=True)[:_NEURONS].tolist()
    wanted: dict[str, list[int]] = {}
    for layer, rows_of_layer in layout.slices().items():
        known = layout.neurons.get(layer) or range(layout[layer])
        chosen = [known[row - rows_of_layer.start] for row in rows if rows_of_layer.start <= row < rows_of_layer.stop]
        if chosen:
            wanted[layer] = chosen
    # The parts of a distance cost much more than the distance: of these neurons alone.
    found = explain(reference, generated, neurons=wanted).top(_NEURONS)
    return tuple(neuron for neuron in found if neuron.distance > 0)


def _parts(neuron: NeuronContribution) -> str:
    total = neuron.shift + neuron.spread + neuron.shape
    if not total:
        return ""
    return ", ".join(f"{part} {100 * getattr(neuron, part) / total:.0f} %" for part in ("shift", "spread", "shape"))


def _exemplars(side: Exemplars, neuron: NeuronContribution, generator: str, number: int) -> tuple[Picture, ...]:
    whose = "reference" if side.side == "reference" else generator
    return tuple(
        Picture(image_uri(each.image, _THUMB), f"{whose}: {one_line(each.name)}, pull {each.pull:+.0f} bins")
        for each in side.neurons[neuron.layer, neuron.neuron][:number]
    )


def _pictures(images: Sequence[Tensor], name: str, number: int) -> tuple[Picture, ...]:
    return tuple(
        Picture(image_uri(image, _THUMB), f"{one_line(name)}, example {place}")
        for place, image in enumerate(images[:number], start=1)
    )


def _ranked(images: Sequence[RankedImage]) -> tuple[Picture, ...]:
    return tuple(
        Picture(
            image_uri(image.image, _PICTURE),
            f"{one_line(image.name)}, distance {significant(image.score, 3)}",
            f"{significant(image.score, 3)} {image.layers[0].layer}",
        )
        for image in images
        if image.image is not None
    )


def _fidelity_text(record: FidelityRecord, key: str) -> str:
    value = record.values.get(key)
    if value is None:
        return "–"
    deviation = record.values.get(f"{key}_std")
    if deviation is not None:
        return with_error(value, deviation)
    return f"{value:.2f}" if key != "vendi_generated" else significant(value, 3)
