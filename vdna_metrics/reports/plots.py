"""Pictures of DNAs, their ranges and distances between them; each returns matplotlib axes, or a figure of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vdna_metrics.analysis.coverage import OUTSIDE, USED, Coverage
from vdna_metrics.dna.plots import COLOURS, axis_or_new, neuron_histograms as neuron_histograms, unbox
from vdna_metrics.reports.formatting import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK = "#4d4d4d"
RULE = "#e6e6e6"
SIZE = 9
_DASHED: Any = {"color": INK, "linewidth": 1, "linestyle": "--"}
_LONGEST = 30  # letters of a name beside its line
# When the colours are used up they begin anew with the next of these.
_STROKES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))


def layer_profile(
    profiles: Mapping[str, Mapping[str, Tensor | float]],
    *,
    ylabel: str = "VDNA-EMD (bins)",
    log: bool = False,
    zero: bool = True,
    floor: Mapping[str, float] | None = None,
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw each set's distance from the reference, layer by layer.

    Args:
        profiles: ``{name: {layer: distance}}``, all with the same layers, as ``compare.emd(..., reduction="layer")``
            gives them.
        ylabel: what the distances are, with their unit.
        log: whether distances are drawn on a logarithmic scale, for sets of very different distance.
        zero: whether another scale begins at 0.
        floor: ``{layer: distance}`` of real images from real images, drawn dashed.
        colours: ``{name: colour}``; one after the other by default.
        ax: axis to draw on, a new one by default.

    Returns:
        The axis.

    Raises:
        ValueError: when there is nothing to draw, the layers differ, or a distance of 0 meets a logarithmic scale.

    Examples:
        >>> layer_profile({"a": {"l1": 1.0, "l2": 2.0}, "b": {"l1": 2.0, "l2": 1.5}}).get_ylabel()
        'VDNA-EMD (bins)'
    """
    layers = list(next(iter(profiles.values()), {}))
    if not layers:
        raise ValueError("no profile to draw")
    ax = axis_or_new(ax)
    ends = []
    for place, (name, profile) in enumerate(profiles.items()):
        if list(profile) != layers:
            raise ValueError(f"layers differ: {', '.join(layers)} and, of {name!r}, {', '.join(profile)}")
        values = [float(value) for value in profile.values()]
        if log and min(values) <= 0:
            raise ValueError(
                f"a logarithmic scale has no place for the distance {min(values):g} of {name!r}; log=False"
            )
        colour = (colours or {}).get(name, COLOURS[place % len(COLOURS)])
        marker, line = _STROKES[place // len(COLOURS) % len(_STROKES)]
        ax.plot(range(len(layers)), values, color=colour, linewidth=2, linestyle=line, marker=marker, markersize=5)
        ends.append((values[-1], name, colour))
    if floor is not None:
        if list(floor) != layers:
            raise ValueError(f"layers differ: {', '.join(layers)} and, of the floor, {', '.join(floor)}")
        ax.plot(range(len(layers)), list(floor.values()), color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        ends.append((floor[layers[-1]], "noise floor", INK))
    ax.set_xticks(range(len(layers)), layers)
    if _points(ax.get_window_extent().width, ax) < 7 * sum(map(len, layers)):  # a letter is about 6 points wide
        ax.set_xticks(range(len(layers)), layers, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_xlim(-0.3, len(layers) - 1 + 0.2)
    if log:
        ax.set_yscale("log")
    elif zero:
        ax.set_ylim(bottom=0)
    plain_numbers(ax.yaxis, log)
    ax.set_ylabel(ylabel, parse_math=False)
    ax.grid(axis="y", color=RULE)
    ax.set_axisbelow(True)
    _label_ends(ax, ends, len(layers) - 1)
    unbox(ax)
    return ax


def plot_coverage(coverage: Coverage) -> Figure:
    """Draw whether activation ranges fit images: what lies outside and what is used, by layer, and each neuron.

    Beside the dashed lines the verdict changes: above 1 % of a layer outside the ranges are too narrow, where the
    median neuron uses less than a tenth they are too wide.

    Args:
        coverage: what `coverage` found.

    Returns:
        A figure with three axes: share outside by layer, share used by layer, share outside of each neuron.

    Examples:
        >>> from vdna_metrics import coverage, load_reference
        >>> plot_coverage(coverage(load_reference("bsds500/test@vdna_tiny", kind="histogram"))).get_suptitle()
        'These activation ranges fit 200 images of bsds500/test'
    """
    from matplotlib.figure import Figure

    layers = coverage.layers
    figure = Figure(figsize=(11, max(3.4, 1.6 + 0.26 * len(layers))), layout="constrained")
    outside, used, neurons = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    words = {"fit": "fit", "narrow": "are too narrow for", "wide": "are too wide for"}[coverage.verdict]
    images = f"{coverage.n_images} images of {', '.join(coverage.sources) or 'unknown source'}"
    figure.suptitle(f"These activation ranges {words} {images}", fontsize=11, ha="left", x=0.01)

    below, above = ([100 * getattr(part, end) for part in layers.values()] for end in ("below", "above"))
    outside.barh(range(len(layers)), below, color=COLOURS[0], height=0.7, label="below")
    outside.barh(range(len(layers)), above, left=below, color=COLOURS[1], height=0.7, label="above")
    name_bars(outside, layers)
    outside.set_title("outside, % of a layer's activations", fontsize=SIZE, loc="left")
    largest = max(part.outside for part in layers.values())
    outside.set_xlim(0, 125 * max(OUTSIDE, largest))  # room for the numbers
    for place, part in enumerate(layers.values()):
        text = "0" if not part.outside else "< 0.01" if part.outside < 1e-4 else f"{100 * part.outside:.2f}"
        write_beside(outside, 100 * part.outside, place, text)
    outside.axvline(100 * OUTSIDE, **_DASHED)
    outside.set_xlabel(f"dashed: beyond {100 * OUTSIDE:g} %, too narrow", fontsize=SIZE)
    # Below, where no bar can be.
    outside.legend(frameon=False, fontsize=SIZE - 1, loc="upper right", bbox_to_anchor=(1, -0.2), ncol=2)

    # A range without width has no share that could be used.
    used.barh(range(len(layers)), [100 * (part.used or 0) for part in layers.values()], color=COLOURS[2], height=0.7)
    name_bars(used, layers)
    used.set_title("used by the median neuron, % of its range", fontsize=SIZE, loc="left")
    used.set_xlim(0, 100)
    used.set_yticklabels([])
    used.axvline(100 * USED, **_DASHED)
    used.set_xlabel(f"dashed: short of {100 * USED:g} %, too wide", fontsize=SIZE)

    shares = coverage.outside.sort(descending=True).values.numpy()
    places = 100 * (torch.arange(len(shares)) + 1).numpy() / len(shares)
    some = shares > 0
    neurons.plot(places[some], 100 * shares[some], color="#000000", linewidth=1.8)
    neurons.set_yscale("log")
    neurons.set(xlim=(0, 100), ylim=(1e-4, 130))
    neurons.yaxis.set_major_formatter("{x:g}")
    neurons.axhline(100 * OUTSIDE, **_DASHED)
    neurons.set_title("outside, % of a neuron's activations", fontsize=SIZE, loc="left")
    over, none, moved = int((shares > OUTSIDE).sum()), int((~some).sum()), int(coverage.moved.sum())
    text = f"neurons, the worst first, %\n{over} of {len(shares)} are over {100 * OUTSIDE:g} %, {none} at 0"
    if moved:
        text += f"\n{moved} had no width and moved"
    neurons.set_xlabel(text, fontsize=SIZE)
    neurons.tick_params(labelsize=SIZE - 1)
    unbox(neurons)
    return figure


def name_bars(ax: Axes, names: Iterable[str]) -> None:
    """Give horizontal bars their names, the first on top, and the axis its small ticks and two lines."""
    labels = list(names)
    ax.set_yticks(range(len(labels)), labels, fontsize=SIZE)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(labelsize=SIZE - 1)
    unbox(ax)


def write_beside(ax: Axes, x: float, y: float, text: str, *, points: float = 3) -> None:
    """Write to the right of a place, or to the left of it for negative points."""
    ax.annotate(
        text, (x, y), xytext=(points, 0), textcoords="offset points", ha="left" if points > 0 else "right",
        va="center", fontsize=SIZE - 1, color=INK,
    )  # fmt: skip


def _label_ends(ax: Axes, ends: list[tuple[float, str, str]], last: int) -> None:
    # Names beside the lines' ends, moved apart where lines end together; heights in shares of the axis.
    ends = sorted(ends)
    ax.get_ylim()  # matplotlib finds the limits only when they are asked for
    to_share = ax.transScale + ax.transLimits
    gap = 1.35 * SIZE / _points(ax.get_window_extent().height, ax)
    places: list[float] = []
    for value, _, _ in ends:
        place = float(to_share.transform((last, value))[1])
        places.append(max(place, places[-1] + gap) if places else place)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], places[i + 1] - gap if i + 1 < len(places) else 1.0)
    for place, (value, name, colour) in zip(places, ends, strict=True):
        ax.annotate(
            shortened(name, _LONGEST), (last, value), xytext=(last + 0.15, place), textcoords=("data", "axes fraction"),
            color=colour, va="center", fontsize=SIZE, annotation_clip=False, parse_math=False,
        )  # fmt: skip


def _points(pixels: float, ax: Axes) -> float:
    return pixels * 72 / ax.figure.dpi


def plain_numbers(axis: Axis, log: bool) -> None:
    """Give an axis few ticks with ordinary numbers."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if log:
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter("{x:g}")
