"""Pictures of what `analysis` finds; each returns a matplotlib axis, or a figure of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vdna_metrics.analysis.explain import Explanation, NeuronContribution
from vdna_metrics.analysis.matrices import DistanceMatrix, GroupReport
from vdna_metrics.analysis.sample_size import SampleSizeCurve
from vdna_metrics.analysis.single_images import Exemplars
from vdna_metrics.dna.columns import find_column
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.dna.plots import COLOURS, REFERENCE_COLOUR, axis_or_new, neuron_histograms, unbox
from vdna_metrics.reports.plots import INK, SIZE, name_bars, write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_PARTS = {"shift": COLOURS[0], "spread": COLOURS[4], "shape": COLOURS[2]}


def _unit(name: str) -> str:
    return "of the range" if name == "range" else name


def parts_text(neuron: NeuronContribution) -> str:
    """By what a neuron differs, ``"shift 60 %, spread 30 %, shape 10 %"``; nothing where no split is known."""
    parts = {part: getattr(neuron, part) for part in _PARTS}
    total = sum(parts.values())
    return ", ".join(f"{part} {100 * size / total:.0f} %" for part, size in parts.items()) if total else ""


def distance_label(distance: str, unit: str = "") -> str:
    """Label of a distance or column, by its name, with the unit where that is printed, for an axis.

    Examples:
        >>> distance_label("emd", "bins"), distance_label("nfd")
        ('VDNA-EMD (bins)', 'neuron Fréchet distance')
    """
    with suppress(ValueError):  # of somebody's own, without a registered name
        distance = find_column(distance).label
    return with_unit(distance, _unit(unit))


def plot_distance_matrix(matrix: DistanceMatrix) -> Figure:
    """Draw a dendrogram (average linkage) and, in the order of its leaves, the distances as a heat map.

    Args:
        matrix: what `distance_matrix` found.

    Returns:
        A figure with two axes, dendrogram and heat map.

    Examples:
        >>> import torch
        >>> values = torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 4.0], [5.0, 4.0, 0.0]])
        >>> figure = plot_distance_matrix(DistanceMatrix(("a", "b", "c"), values, "emd", "bins"))
        >>> [label.get_text() for label in figure.axes[1].get_xticklabels()]
        ['c', 'b', 'a']
    """
    from matplotlib.figure import Figure
    from scipy.cluster import hierarchy

    names = matrix.order()
    rows = [matrix.names.index(name) for name in names]
    values = matrix.values[rows][:, rows].numpy()
    side = 1.6 + 0.46 * len(names)
    figure = Figure(figsize=(side + 3.6, side + 1.1), layout="constrained")
    tree, heat = figure.subplots(1, 2, width_ratios=(0.35, 1))
    drawn = hierarchy.dendrogram(matrix.linkage(), orientation="left", no_plot=True)
    for x, y in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        tree.plot(x, [(end - 5) / 10 for end in y], color=INK, linewidth=1.3)  # SciPy's leaves lie at 5, 15, 25, ...
    tree.set(xlim=(1.03 * max(map(max, drawn["dcoord"])), 0), ylim=(len(names) - 0.5, -0.5), yticks=[])
    tree.set_xlabel(distance_label(matrix.distance, matrix.unit), fontsize=SIZE)
    tree.tick_params(labelsize=SIZE - 1)
    tree.spines[["left", "top", "right"]].set_visible(False)

    heat.imshow(values, cmap="Blues", vmin=0, aspect="auto")
    heat.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor", fontsize=SIZE)
    heat.set_yticks(range(len(names)), names, fontsize=SIZE)
    heat.tick_params(length=0)
    heat.spines[:].set_visible(False)
    if len(names) <= 16:
        for (i, j), value in np.ndenumerate(values):
            colour = "white" if value > 0.6 * values.max() else INK
            heat.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=SIZE - 1, color=colour)
    return figure


def plot_sample_sizes(curves: Mapping[str, SampleSizeCurve], *, share: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw how the distance of random subsets settles with their size, each as a multiple of its final value.

    A line is the mean over the draws, its band one standard deviation to each side, a ring the size from which the mean
    stays within ``share`` of the final value.

    Args:
        curves: ``{name: what sample_size_curve found}``; the name and that size are in the legend.
        share: how near is near, the dashed lines.
        ax: axis to draw on, a new one by default.

    Raises:
        ValueError: when there is nothing to draw, or a final value is 0.
    """
    if not curves:
        raise ValueError("no curve to draw")
    ax = axis_or_new(ax, (7.5, 4.2))
    for place, (name, curve) in enumerate(curves.items()):
        if not curve.final > 0:
            raise ValueError(f"{name!r}: a curve that ends at {curve.final:g} has no relative values")
        colour, settled = COLOURS[place % len(COLOURS)], curve.stays_within(share)
        mean, spread = (curve.mean / curve.final).numpy(), (curve.spread / curve.final).numpy()
        label = f"{name}: within {100 * share:g} % from {settled} images"
        ax.plot(curve.sizes, mean, color=colour, linewidth=1.8, marker="o", markersize=3.5, label=label)
        ax.fill_between(curve.sizes, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
        ring: Any = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 1.6}
        ax.plot(settled, mean[curve.sizes.index(settled)], markeredgecolor=colour, **ring)
    for end in (1 - share, 1 + share):
        ax.axhline(end, color=INK, linewidth=0.9, linestyle="--")
    sizes = [size for curve in curves.values() for size in curve.sizes]
    ax.set_xscale("log")
    if min(sizes) < max(sizes):
        ax.set_xlim(min(sizes) / 1.06, max(sizes) * 1.06)
    ticks = [size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500) if min(sizes) <= size <= max(sizes)]
    ticks += [10**k for k in range(3, 8) if min(sizes) <= 10**k <= max(sizes)]
    ax.set_xticks(ticks, [f"{tick:g}" if tick < 10**4 else f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("images in the subset", fontsize=SIZE)
    ax.set_ylabel("distance, as a multiple of that of all images", fontsize=SIZE)
    ax.tick_params(labelsize=SIZE - 1)
    ax.legend(frameon=False, fontsize=SIZE)
    unbox(ax)
    return ax


def plot_groups(report: GroupReport, *, number: int = 20, ax: Axes | None = None) -> Axes:
    """Draw the farthest groups' distances, with their numbers of images, beside that of all together.

    Args:
        report: what `compare_groups` found.
        number: how many groups, the farthest ones.
        ax: axis to draw on, a new one by default.
    """
    shown = report.groups[:number]
    ax = axis_or_new(ax, (7, 1.3 + 0.27 * len(shown)))
    ax.barh(range(len(shown)), [group.distance for group in shown], color=COLOURS[0], height=0.7)
    name_bars(ax, [f"{group.group} ({group.n_images})" for group in shown])
    for place, group in enumerate(shown):
        write_beside(ax, group.distance, place, f"{group.distance:.3g}")
    ax.axvline(report.pooled, color=INK, linewidth=1, linestyle="--")
    ax.set_xlim(0, 1.1 * max(report.pooled, *(group.distance for group in shown)) or 1)
    text = f"{distance_label(report.distance, report.unit)}; dashed: all together, {report.pooled:.3g}"
    if len(shown) < len(report.groups):
        text += f"; {len(report.groups) - len(shown)} nearer ones are left out"
    ax.set_xlabel(text, fontsize=SIZE)
    return ax


def plot_explanation(
    explanation: Explanation,
    *,
    exemplars: Sequence[Exemplars] = (),
    neurons: int = 4,
    names: tuple[str, str] = ("reference", "generated"),
) -> Figure:
    """Draw what makes a distance: each layer's contribution, the top neurons' histograms, and exemplar images.

    On the left, bars of what each layer adds to the score, split into shift, spread and shape. On the right, the
    neurons that add most: what the two sets' activations are, and the images in which that shows most, with their pull.

    Args:
        explanation: what `explain` found, of two histogram DNAs.
        exemplars: what `find_exemplars` found, for none, one or both of the sets.
        neurons: number of top neurons; of those that the exemplars have, where there are some.
        names: of the reference and the other set.

    Raises:
        ValueError: when the explanation is not of histograms, or exemplars are of other neurons.
    """
    from matplotlib.figure import Figure

    if explanation.reference.kind != "histogram":
        raise ValueError(f"histograms are drawn of histogram DNAs, these are of kind {explanation.reference.kind!r}")
    top = explanation.top(min([neurons, *(len(found.neurons) for found in exemplars)]))
    for found in exemplars:
        missing = [neuron for neuron in top if (neuron.layer, neuron.neuron) not in found.neurons]
        if missing:
            raise ValueError(f"the exemplars lack a top neuron: {missing[0].layer} {missing[0].neuron}")
    columns = [max(map(len, found.neurons.values()), default=0) for found in exemplars]
    layers = len(explanation.layers)
    width = 4.6 + 3.3 + 1.08 * sum(columns)
    height = max(1.5 + 0.3 * layers, 1.5 + 1.42 * len(top))
    figure = Figure(figsize=(width, height), layout="constrained")
    by_layer, by_neuron = cast("tuple[SubFigure, ...]", figure.subfigures(1, 2, width_ratios=(4.6, width - 4.6)))
    value = f"{explanation.score:.3g} {_unit(explanation.unit)}"
    title = f"{distance_label(explanation.distance)} of {names[1]} from {names[0]}: {value}"
    figure.suptitle(title, fontsize=11, ha="left", x=0.01)
    _draw_layers(by_layer.subplots(), explanation)
    _draw_neurons(by_neuron, explanation, top, exemplars, columns, names)
    return figure


def _draw_layers(ax: Axes, explanation: Explanation) -> None:
    layers = explanation.layers
    left = np.zeros(len(layers))
    for part, colour in _PARTS.items():
        widths = np.array([getattr(layer, part) for layer in layers])
        ax.barh(range(len(layers)), widths, left=left, color=colour, height=0.7, label=part)
        left += widths
    for place, layer in enumerate(layers):
        share = 100 * layer.contribution / explanation.score if explanation.score else 0.0
        write_beside(ax, max(0.0, layer.contribution), place, f"{share:.0f} %; {layer.distance:.3g} a neuron")
    name_bars(ax, [f"{layer.layer} ({layer.neurons})" for layer in layers])
    ax.set_xlim(right=1.55 * max(1e-12, *(layer.contribution for layer in layers)))  # room for the words
    ax.set_title("what each layer adds (its number of neurons)", fontsize=SIZE, loc="left")
    ax.set_xlabel(_unit(explanation.unit), fontsize=SIZE)
    # Below, where no bar can be.
    ax.legend(frameon=False, fontsize=SIZE, loc="upper left", bbox_to_anchor=(-0.02, -0.16), ncol=3)


def _draw_neurons(
    figure: SubFigure,
    explanation: Explanation,
    top: Sequence[NeuronContribution],
    exemplars: Sequence[Exemplars],
    columns: Sequence[int],
    names: tuple[str, str],
) -> None:
    axes = figure.subplots(len(top), 1 + sum(columns), width_ratios=(3.3, *[1.08] * sum(columns)), squeeze=False)
    generated, reference = {names[1]: explanation.generated}, explanation.reference
    for ax, neuron in zip(axes[:, 0], top, strict=True):
        colours = {names[1]: COLOURS[1]}
        neuron_histograms(generated, neuron.layer, neuron.neuron, reference=reference, colours=colours, ax=ax)
        title = f"{neuron.layer}, neuron {neuron.neuron}: {neuron.distance:.3g} {_unit(explanation.unit)}"
        ax.set_title(title, fontsize=SIZE, loc="left")
        ax.set_xlabel(parts_text(neuron), fontsize=SIZE - 1, color=INK, labelpad=1)
        ax.tick_params(labelsize=SIZE - 2, length=2)
    for ax in axes[:, 1:].flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for found, count, end in zip(exemplars, columns, accumulate(columns), strict=True):
        own = axes[:, 1 + end - count : 1 + end]
        real = found.side == "reference"
        for row, neuron in zip(own, top, strict=True):
            for ax, picture in zip(row, found.neurons[neuron.layer, neuron.neuron], strict=False):
                ax.imshow(picture.image.permute(1, 2, 0).numpy())
                ax.set_xlabel(f"pull {picture.pull:+.0f} bins", fontsize=SIZE - 2, color=INK, labelpad=1)
                ax.spines[:].set(color=REFERENCE_COLOUR if real else COLOURS[1], linewidth=1.4, visible=True)
        if own.size:
            title = names[0 if real else 1] + ", most telling" * (count > 1)
            # Out of the layout, else its column would be as wide as the words.
            own[0, 0].text(0, 1.07, title, transform=own[0, 0].transAxes, fontsize=SIZE).set_in_layout(False)
    handles, _ = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=SIZE, loc="outside lower left", ncol=2)
