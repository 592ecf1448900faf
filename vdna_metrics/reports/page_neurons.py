"""The most different neurons on the page of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.dna.plots import neuron_histograms
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.leaderboard.evidence import NeuronDifference, most_different_neurons
from vdna_metrics.leaderboard.record import Evidence, Leaderboard
from vdna_metrics.reports.formatting import significant
from vdna_metrics.reports.leaderboard_plots import generator_colours
from vdna_metrics.reports.page_figures import PageFigures
from vdna_metrics.reports.page_images import EXAMPLES, Picture, exemplar_pictures

_NEURONS = 10
_FEWER = 2  # exemplars of a side for as many first neurons times two of the others, which keeps the page small


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
    for record in figures.leaderboard.networks:
        reference = evidence.reference.get(record.name)
        column = None if reference is None else _column(figures.leaderboard, record.name, reference)
        if reference is None or column is None:
            continue
        shown = []
        for name in order:
            generated = evidence.generated.get((record.name, name))
            if generated is not None:
                differences = most_different_neurons(column, reference, generated, _NEURONS)
                dnas = (reference, generated)
                panels = [
                    _panel(figures, evidence, record.name, name, dnas, column, neuron, place, first=name == order[0])
                    for place, neuron in enumerate(differences)
                ]
                shown.append((name, panels))
        if shown:
            split = any(panel.parts for _, panels in shown for panel in panels)
            found.append(NeuronSection(record.name, column.title, split, shown))
    return found


def _column(leaderboard: Leaderboard, network: str, reference: VDNA) -> Column | None:
    """The first of a network that says how far single neurons of DNAs of this kind are apart."""
    columns = [find_column(metric) for name, metric in leaderboard.columns if name == network]
    return next(
        (
            column
            for column in columns
            if (column.distance.per, column.distance.arity, column.kind) == ("neuron", 2, reference.kind)
        ),
        None,
    )


def _panel(
    figures: PageFigures,
    evidence: Evidence,
    network: str,
    generator: str,
    dnas: tuple[VDNA, VDNA],
    column: Column,
    neuron: NeuronDifference,
    place: int,
    *,
    first: bool,
) -> NeuronPanel:
    from matplotlib.figure import Figure

    ax = Figure(figsize=(3.1, 1.05)).add_axes((0.02, 0.24, 0.96, 0.74))
    neuron_histograms(
        {"generated": dnas[1]}, neuron.layer, neuron.neuron, reference=dnas[0], groups=40, ax=ax,
        colours={"generated": generator_colours(figures.leaderboard)[generator]},
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
    file = figures.file_name("neuron", network, generator, neuron.layer, str(neuron.neuron))
    sides = sorted(evidence.exemplars.get((network, generator), ()), key=lambda one: one.side != "reference")
    key, most = (neuron.layer, neuron.neuron), EXAMPLES if first else _FEWER
    return NeuronPanel(
        title=f"{neuron.layer}, neuron {neuron.neuron}",
        value=f"{significant(neuron.value, 3)} {column.unit}".strip(),
        parts=", ".join(f"{part} {100 * share:.0f} %" for part, share in neuron.shares.items()),
        svg=figures.panel(file, ax, label, save=first).svg,
        exemplars=tuple(
            (
                side.side,
                exemplar_pictures(side.neurons[key][:most], side.side if side.side == "reference" else generator),
            )
            for side in sides
            if side.neurons.get(key) and (first or place < 2 * _FEWER)
        ),
    )
