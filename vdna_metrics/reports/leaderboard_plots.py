"""Pictures of a leaderboard; each returns the matplotlib axis that it drew on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.dna.plots import COLOURS, axis_or_new, unbox
from vdna_metrics.leaderboard.record import QUANTILES, Leaderboard, RunsRecord, Score, are_corrected
from vdna_metrics.reports.formatting import is_distance, shortened, significant, titled
from vdna_metrics.reports.plots import INK, RULE, SIZE, layer_profile, plain_numbers, write_beside
from vdna_metrics.reports.summary import inside, score_text
from vdna_metrics.reports.tables import rank_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEAT = "#0b5c9e"
_LONGEST, _IN_TITLE = 26, 22  # letters of a name beside a chart, and of each in a title
_LOG_FROM = 8.0  # ratio of the largest to the smallest value from which a scale is logarithmic


def generator_colours(leaderboard: Leaderboard) -> dict[str, str]:
    """The colour of each generator, the same in all pictures of a leaderboard."""
    return {record.name: COLOURS[place % len(COLOURS)] for place, record in enumerate(leaderboard.generators)}


def places(score: Score) -> str:
    """The rank, or the ranks that the data allow: ``2–3``."""
    return rank_text(score).replace("-", "–")


def ranking_chart(leaderboard: Leaderboard, network: str, metric: str, *, ax: Axes | None = None) -> Axes:
    """Draw the generators in their order: corrected values with their intervals, else plain ones with the noise floor.

    Where all sets have a corrected value, a dot is that, and a bar its interval; 0 is what as many real images score.
    Else a dot is the plain value, and the dashed line is what as many real images score. Numbers on the right are those
    of the dots. The scale is logarithmic where the largest value is eight times the smallest.

    Args:
        leaderboard: the leaderboard.
        network: name of a network of it.
        metric: name of a metric.
        ax: axis to draw on, a new one by default.

    Raises:
        ValueError: when the leaderboard has no such column.
    """
    from matplotlib.transforms import blended_transform_factory

    column, kind = _scores(leaderboard, network, metric), find_column(metric)
    corrected, colours = are_corrected(column), generator_colours(leaderboard)
    floor = None if corrected else leaderboard.floor(network, metric)
    ax = axis_or_new(ax, (5.0, 1.05 + 0.29 * len(column)))
    shown = [inside(each.estimate) if corrected and each.estimate is not None else each.value for each in column]
    values = shown + ([floor.value] if floor else [])
    estimates = [score.estimate for score in column if corrected and score.estimate is not None]
    ends = [end for each in estimates for end in (each.low, each.high) if end is not None]
    smallest, largest = min(values), max([*values, *ends])
    # Ends at or near 0 would leave no room for the others.
    log = min([smallest, *ends]) > smallest / _LOG_FROM > 0 and largest > _LOG_FROM * smallest
    if log:
        ax.set_xscale("log")
        left, end = min([smallest, *ends]) / 1.25, 1.15 * largest
    elif _starts_at_zero(kind, values):
        left, end = 0.0, 1.05 * largest or 1.0
    else:
        lowest = min([*values, *ends])
        margin = 0.08 * (largest - lowest) or 0.05 * abs(largest) or 1.0
        left, end = lowest - margin, largest + margin
    ax.set_xlim(left, end)
    right = blended_transform_factory(ax.transAxes, ax.transData)
    for place, (score, value) in enumerate(zip(column, shown, strict=True)):
        colour = colours[score.generator]
        if corrected and score.estimate is not None:
            whole = [max(end, left) for end in (score.estimate.low, score.estimate.high) if end is not None]
            ax.plot(whole, [place] * len(whole), color=colour, linewidth=6, alpha=0.35, solid_capstyle="butt")
        ax.plot([value], [place], color=colour, marker="o", markersize=4.5)
        text = score_text(score, corrected=corrected)
        ax.text(1.02, place, text, transform=right, va="center", fontsize=SIZE, color=INK)
    names = [f"{places(score)} {shortened(score.generator, _LONGEST)}".lstrip() for score in column]
    ax.set_yticks(range(len(column)), names, fontsize=SIZE, parse_math=False)
    ax.set_ylim(len(column) - 0.5, -0.5 - 0.6 * (floor is not None))
    if floor is not None:
        ax.axvline(floor.value, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        half = sum(ax.transScale.transform(end)[0] for end in ((left, 0), (ax.get_xlim()[1], 0))) / 2
        rightwards = ax.transScale.transform((floor.value, 0))[0] < half
        text = f"noise floor {significant(floor.value, 3)} (n = {floor.n_images})"
        write_beside(ax, floor.value, -0.75, text, points=4 if rightwards else -4)
    of = ", corrected" * (corrected and any(score_text(each) != score_text(each, corrected=True) for each in column))
    _title(ax, f"{shortened(kind.title, 2 * _IN_TITLE)}{of} in {shortened(network, _IN_TITLE)}")
    if kind.distance.higher_is_better:
        ax.set_xlabel("better →", loc="right", fontsize=SIZE - 1, color=INK)
    else:
        ax.set_xlabel("← nearer" if is_distance(kind) else "← better", loc="left", fontsize=SIZE - 1, color=INK)
    plain_numbers(ax.xaxis, log)
    ax.tick_params(labelsize=SIZE)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=RULE)
    ax.set_axisbelow(True)
    unbox(ax)
    ax.spines["left"].set_visible(False)
    return ax


def checkpoint_curve(leaderboard: Leaderboard, network: str, metric: str, *, ax: Axes | None = None) -> Axes:
    """Draw the corrected values of series of checkpoints over training steps, with their intervals as bands.

    Of one run a band is the interval of its images, of several that of their mean. Sets whose names say no step are
    lines across.

    Args:
        leaderboard: the leaderboard.
        network: name of a network of it.
        metric: name of a metric.
        ax: axis to draw on, a new one by default.

    Raises:
        ValueError: when the leaderboard has no checkpoints in this column.
    """
    records, kind = leaderboard.runs_of(network, metric), find_column(metric)
    series: dict[str, list[RunsRecord]] = {}
    for record in records:
        series.setdefault(record.generator, []).append(record)
    steps = [record.step for record in records if record.step is not None]
    if not steps:
        raise ValueError(f"this leaderboard has no checkpoints by {kind.title} in {network!r}")
    ax = axis_or_new(ax, (5.0, 3.2))
    ax.set_xlim(min(steps) - 0.03 * (max(steps) - min(steps) or 1), max(steps) + 0.2 * (max(steps) - min(steps) or 1))
    for place, (name, own) in enumerate(series.items()):
        colour, points = COLOURS[place % len(COLOURS)], [record for record in own if record.step is not None]
        at = [float(record.step or 0) for record in points] if points else list(ax.get_xlim())
        values = [record.estimate.corrected for record in points or [own[0], own[0]]]
        ax.plot(at, values, "o-" if points else "--", color=colour, markersize=4)
        # Of a single run, its own chance: whether it still gets better is no question of other runs.
        alone = [leaderboard.score(each.sets[0], network, metric).estimate for each in points]
        shown = [one if len(each.sets) == 1 else each.estimate for one, each in zip(alone, points, strict=True)]
        ends = [(each.low, each.high) for each in shown if each is not None and each.low is not None]
        if points and len(ends) == len(points):
            low, high = zip(*ends, strict=True)
            ax.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.annotate(
            shortened(name, _IN_TITLE), (at[-1], values[-1]), xytext=(6 if points else -6, 4), color=colour,
            textcoords="offset points", ha="left" if points else "right", fontsize=SIZE, parse_math=False,
        )  # fmt: skip
    if kind.distance.neutral == 0 and all(record.estimate.corrected >= 0 for record in records):
        ax.set_ylim(bottom=0)
    _title(ax, f"{shortened(kind.title, 2 * _IN_TITLE)}, corrected, in {shortened(network, _IN_TITLE)}")
    ax.set_xlabel("training step", fontsize=SIZE, color=INK)
    plain_numbers(ax.xaxis, False)
    plain_numbers(ax.yaxis, False)
    ax.tick_params(labelsize=SIZE)
    ax.grid(axis="y", color=RULE)
    ax.set_axisbelow(True)
    unbox(ax)
    return ax


def leaderboard_profile(leaderboard: Leaderboard, network: str, metric: str, *, ax: Axes | None = None) -> Axes:
    """Draw each generator's plain value layer by layer, and the layers' noise floor.

    Args:
        leaderboard: the leaderboard.
        network: name of a network of it.
        metric: name of a metric.
        ax: axis to draw on, a new one by default.

    Raises:
        ValueError: when the leaderboard has no such column, or no layers of it.
    """
    column, floor, kind = _scores(leaderboard, network, metric), leaderboard.floor(network, metric), find_column(metric)
    if not all(score.layers for score in column):
        raise ValueError(f"the {kind.title} in {network!r} has no parts by layer")
    # In the order of the leaderboard, which decides the colours, as in all its pictures.
    scores = [score for record in leaderboard.generators for score in column if score.generator == record.name]
    layers = floor.layers if floor else {}
    every = [value for each in (*(score.layers for score in scores), layers) for value in each.values()]
    return layer_profile(
        {score.generator: score.layers for score in scores},
        ylabel=titled(kind),
        log=min(every) > 0 and max(every) > _LOG_FROM * min(every),
        zero=_starts_at_zero(kind, every),
        floor=layers or None,
        colours=generator_colours(leaderboard),
        ax=axis_or_new(ax, (9.0, max(4.0, 1.4 + 0.21 * (len(column) + 1)))),  # a line for each name
    )


def quantile_heat_map(
    leaderboard: Leaderboard, generator: str, network: str, metric: str = "emd", *, ax: Axes | None = None
) -> Axes:
    """Draw the values of each layer's neurons: the smallest on the left, the largest on the right, in darker cells.

    Of a distance, a row that darkens only at its end differs in few neurons, one that is dark throughout in all.

    Args:
        leaderboard: the leaderboard.
        generator: name of a generator of it.
        network: name of a network.
        metric: name of a metric that has parts by neuron.
        ax: axis to draw on, a new one by default.

    Raises:
        ValueError: when the leaderboard has no such score, or no quantiles of it.
    """
    from matplotlib.patches import Rectangle

    score = next((one for one in _scores(leaderboard, network, metric) if one.generator == generator), None)
    if score is None:
        raise ValueError(
            f"this leaderboard has no generator {generator!r}: {', '.join(r.name for r in leaderboard.generators)}"
        )
    kind = find_column(metric)
    if not score.quantiles:
        raise ValueError(f"the {kind.title} of {generator!r} has no quantiles over neurons")
    ax = axis_or_new(ax, (4.4 + 0.075 * max(map(len, score.quantiles)), 1.0 + 0.25 * len(score.quantiles)))
    every = [value for row in score.quantiles.values() for value in row]
    least = 0.0 if _starts_at_zero(kind, every) else min(every)
    width = max(every) - least
    for y, row in enumerate(score.quantiles.values()):
        for x, value in enumerate(row):
            share = math.sqrt((value - least) / width) if width > 0 else 0.0  # of a root small values still differ
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=HEAT, alpha=0.04 + 0.9 * share, linewidth=0))
            colour = "#ffffff" if share > 0.6 else "#000000"
            ax.text(x, y, significant(value, 3), ha="center", va="center", fontsize=SIZE - 1, color=colour)
    ax.set_xlim(-0.5, len(QUANTILES) - 0.5)
    ax.set_ylim(len(score.quantiles) - 0.5, -0.5)
    ax.set_xticks(range(len(QUANTILES)), [quantile_text(quantile) for quantile in QUANTILES], fontsize=SIZE)
    ax.set_yticks(range(len(score.quantiles)), list(score.quantiles), fontsize=SIZE, parse_math=False)
    _title(ax, f"{shortened(generator, _IN_TITLE)} in {shortened(network, _IN_TITLE)}")
    gap = "\n" if len(kind.title) > _IN_TITLE else " "
    text = f"{kind.title}{gap}of a layer's neurons, up to this share of them"
    ax.set_xlabel(text, fontsize=SIZE, color=INK, parse_math=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def quantile_text(quantile: float) -> str:
    """A share of neurons for a heading.

    Examples:
        >>> [quantile_text(quantile) for quantile in (0.05, 0.5, 1.0)]
        ['5 %', 'half', 'all']
    """
    return {0.5: "half", 1.0: "all"}.get(quantile, f"{100 * quantile:g} %")


def _scores(leaderboard: Leaderboard, network: str, metric: str) -> list[Score]:
    scores = leaderboard.column(network, metric)
    if not scores:
        known = ", ".join(f"{metric} {network}" for network, metric in leaderboard.columns)
        raise ValueError(f"this leaderboard has no {metric!r} of {network!r}; it has {known}")
    return scores


def _starts_at_zero(column: Column, values: Sequence[float]) -> bool:
    """Whether 0, where a set is like the reference, is the natural beginning of a scale."""
    return column.distance.neutral == 0 and min(values) >= 0


def _title(ax: Axes, text: str) -> None:
    """A title that begins where the axis's names do, not where its first line stands."""
    title = ax.annotate(
        text, (0, 1), xytext=(0, 8), xycoords=("figure fraction", "axes fraction"), textcoords="offset points",
        fontsize=SIZE + 1, fontweight="bold", annotation_clip=False, parse_math=False,
    )  # fmt: skip
    title.set_in_layout(False)
    ax.set_title(" ", fontsize=SIZE + 1, pad=11)  # room for it
