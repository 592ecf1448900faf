"""Pictures of two scores of the same generators, one against the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vdna_metrics.analysis.score_tables import ScoreColumn
from vdna_metrics.analysis.uncertainty import RankAgreement
from vdna_metrics.dna.plots import COLOURS, axis_or_new, unbox
from vdna_metrics.reports.formatting import fixed, shortened
from vdna_metrics.reports.plots import INK, RULE, SIZE, plain_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST = 20  # letters of a name beside its point
_LOG_FROM = 8.0  # ratio of the largest to the smallest value from which a scale is logarithmic
_BAR = 1.96  # standard errors to either side
_LETTER = 0.56  # width of one, of the size of the type
Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points."""

# Where a name may stand beside its point: to the right first.
_SIDES = (("left", 5, 0), ("right", -5, 0), ("center", 0, 8), ("center", 0, -8), ("left", 5, 7), ("left", 5, -7),
          ("right", -5, 7), ("right", -5, -7), ("center", 0, 16), ("center", 0, -16))  # fmt: skip


def plot_rank_agreement(
    x: ScoreColumn,
    y: ScoreColumn,
    agreement: RankAgreement,
    *,
    title: str = "",
    colours: Mapping[str, str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one score of generators against another, with their rank correlation in words.

    A dot is a generator that both know, a bar 1.96 standard errors to either side. The scale of a score that is better
    when lower is logarithmic where the largest value is eight times the smallest.

    Args:
        x: score to the right.
        y: score upwards.
        agreement: of the two, see `rank_agreement`.
        title: what stands above the correlation.
        colours: ``{generator: colour}``; one for all by default.
        ax: axis to draw on, a new one by default.

    Examples:
        >>> from vdna_metrics.analysis import rank_agreement
        >>> fd = ScoreColumn("FD", False, {"a": 1.0, "b": 2.0, "c": 3.0})
        >>> people = ScoreColumn("error rate", True, {"a": 0.4, "b": 0.2, "c": 0.3})
        >>> ax = plot_rank_agreement(fd, people, rank_agreement(fd, people), title="faces")
        >>> ax.get_title(loc="left").splitlines()
        ['faces', 'Spearman −0.500, 3 generators, too few for an interval']
    """
    ax = axis_or_new(ax, (4.6, 3.6))
    both = [generator for generator in x.values if generator in y.values]
    for generator in both:
        errors = [[_BAR * each.errors.get(generator, 0.0)] for each in (x, y)]
        ax.errorbar(
            [x.values[generator]], [y.values[generator]], xerr=errors[0], yerr=errors[1], fmt="o", markersize=5,
            color=(colours or {}).get(generator, COLOURS[0]), elinewidth=1, alpha=0.9,
        )  # fmt: skip
    for score, axis, scale in ((x, ax.xaxis, ax.set_xscale), (y, ax.yaxis, ax.set_yscale)):
        values = [score.values[generator] for generator in both]
        log = not score.higher_is_better and min(values) > 0 and max(values) > _LOG_FROM * min(values)
        if log:
            scale("log")
        plain_numbers(axis, log)
    ax.margins(0.12)
    ax.set_xlabel(_label(x), fontsize=SIZE, color=INK, parse_math=False)
    ax.set_ylabel(_label(y), fontsize=SIZE, color=INK, parse_math=False)
    ax.set_title(f"{title}\n{_in_words(agreement)}".strip(), fontsize=SIZE + 1, loc="left", parse_math=False)
    ax.tick_params(labelsize=SIZE)
    ax.grid(color=RULE)
    ax.set_axisbelow(True)
    unbox(ax)
    _name_points(ax, x, y, both)
    return ax


def plot_agreements(
    panels: Sequence[tuple[str, ScoreColumn, ScoreColumn, RankAgreement]], *, columns: int = 2
) -> Figure:
    """Draw several pairs of scores, a panel each.

    Args:
        panels: title, score to the right, score upwards, and their agreement; at least one.
        columns: panels in a row, at most.
    """
    from matplotlib.figure import Figure

    width = min(columns, len(panels))
    height = -(-len(panels) // width)
    figure = Figure(figsize=(4.8 * width, 3.7 * height), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False).flat
    for ax, (title, x, y, agreement) in zip(axes, panels, strict=False):
        plot_rank_agreement(x, y, agreement, title=title, ax=ax)
    for ax in figure.axes[len(panels) :]:
        ax.set_axis_off()
    if any(score.errors for _, x, y, _ in panels for score in (x, y)):
        figure.supxlabel(f"bars: {_BAR} standard errors", fontsize=SIZE - 1, color=INK, x=0.99, ha="right")
    return figure


def _label(score: ScoreColumn) -> str:
    """Its name with an arrow along the axis, upwards where that is turned."""
    name = shortened(score.name, 40)
    return f"{name}, better →" if score.higher_is_better else f"← {name}, better"


def _in_words(agreement: RankAgreement) -> str:
    rho, of = agreement.spearman, f"{agreement.n_generators} generators"
    if rho.low is None or rho.high is None:
        return f"Spearman {fixed(rho.value, 3)}, {of}, too few for an interval"
    interval = f"{100 * agreement.confidence:g} %: {fixed(rho.low, 2)} to {fixed(rho.high, 2)}"
    return f"Spearman {fixed(rho.value, 3)} ({interval}), {of}"


def _name_points(ax: Axes, x: ScoreColumn, y: ScoreColumn, names: Sequence[str]) -> None:
    """Write the names beside their points, where they cover the least of bars and of other names."""
    scale, size = ax.figure.dpi / 72, SIZE - 2
    _ = ax.get_xlim(), ax.get_ylim()  # matplotlib finds the limits only when they are asked for
    left, right = (edge / scale for edge in ax.get_window_extent().intervalx)

    def place(name: str, errors: float) -> tuple[float, float]:
        ends = [each.values[name] + errors * each.errors.get(name, 0.0) for each in (x, y)]
        px, py = ax.transData.transform(ends) / scale
        return float(px), float(py)

    at = {name: place(name, 0.0) for name in names}
    taken: list[Box] = []
    for name, (px, py) in at.items():
        (x0, y0), (x1, y1) = place(name, -_BAR), place(name, _BAR)
        taken += [(px - 3, py - 3, px + 3, py + 3), (x0, py - 1, x1, py + 1), (px - 1, y0, px + 1, y1)]
    for name, (px, py) in at.items():
        text = shortened(name, _LONGEST)
        wide, high = _LETTER * size * len(text), 1.1 * size
        boxes: list[Box] = []
        for align, dx, dy in _SIDES:
            start = px + dx - {"left": 0.0, "right": wide, "center": wide / 2}[align]
            boxes.append((start, py + dy - high / 2, start + wide, py + dy + high / 2))
        covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
        cost = [area + 10 * max(0.0, left - box[0], box[2] - right) for area, box in zip(covered, boxes, strict=True)]
        best = cost.index(min(cost))
        align, dx, dy = _SIDES[best]
        taken.append(boxes[best])
        ax.annotate(
            text, (x.values[name], y.values[name]), xytext=(dx, dy), textcoords="offset points", ha=align, va="center",
            fontsize=size, color=INK, annotation_clip=False, parse_math=False,
        ).set_in_layout(False)  # fmt: skip


def _overlap(a: Box, b: Box) -> float:
    """Area that two boxes have in common."""
    wide, high = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    return wide * high if wide > 0 and high > 0 else 0.0
