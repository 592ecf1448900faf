"""Pictures of a leaderboard: that they show its numbers, and can be read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from helpers.leaderboards import NAMES, make_leaderboard
from helpers.toy_distances import registered_toys
from matplotlib.figure import Figure

from vdna_metrics.leaderboard.record import QUANTILES, Leaderboard
from vdna_metrics.reports.formatting import shortened
from vdna_metrics.reports.leaderboard_plots import (
    generator_colours,
    leaderboard_profile,
    quantile_heat_map,
    ranking_chart,
)

LEADERBOARD = make_leaderboard(networks=["tiny"])


def _inside(ax: Any) -> Any:
    """The axis, drawn; no word of it is cut by the picture's edge."""
    ax.figure.draw_without_rendering()
    ticks = []
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    for text in (*ax.texts, ax.xaxis.label, *ticks):
        if text.get_text().strip():
            box = text.get_window_extent()
            assert box.x0 >= -1, text
            assert box.x1 <= ax.figure.bbox.width + 1, text
            assert box.y0 >= -1, text
            assert box.y1 <= ax.figure.bbox.height + 1, text
    return ax


def _with_first(leaderboard: Leaderboard, **changes: Any) -> Leaderboard:
    """A leaderboard whose first score has other fields."""
    first, *others = leaderboard.scores
    estimate = replace(first.estimate, **changes.pop("estimate", {})) if first.estimate else None
    return replace(leaderboard, scores=(replace(first, estimate=estimate, **changes), *others))


def test_a_row_has_its_value_interval_and_rank() -> None:
    """Rows run from the nearest down: a bar from low to high and a dot at the corrected value; no plain number."""
    ax = _inside(ranking_chart(LEADERBOARD, "tiny", "emd"))
    column = LEADERBOARD.column("tiny", "emd")
    names = ["1 photographs", "2–3 blurred photographs", "2–3 dead leaves", "4 squares", "5 white noise"]
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    rows = [ax.lines[2 * place : 2 * place + 2] for place in range(len(column))]
    assert len(ax.lines) == 2 * len(column)
    for place, (score, (bar, dot)) in enumerate(zip(column, rows, strict=True)):
        assert score.estimate is not None
        assert list(bar.get_xdata()) == [score.estimate.low, score.estimate.high]
        assert list(dot.get_xdata()) == [score.estimate.corrected]
        assert {*bar.get_ydata(), *dot.get_ydata()} == {place}
        assert dot.get_color() == generator_colours(LEADERBOARD)[score.generator]
    assert "VDNA-EMD (bins), corrected in tiny" in [text.get_text() for text in ax.texts]


def test_plain_values_stand_beside_the_floor() -> None:
    """Where one set has no corrected value, all dots are plain ones, beside the floor, which is of plain ones."""
    first, *others = LEADERBOARD.scores
    plain = replace(LEADERBOARD, scores=(replace(first, estimate=None, rank=None), *others))
    ax = _inside(ranking_chart(plain, "tiny", "emd"))
    *dots, line = ax.lines
    assert [dot.get_xdata()[0] for dot in dots] == [score.value for score in plain.column("tiny", "emd")]
    floor = LEADERBOARD.floor("tiny", "emd")
    assert floor is not None
    assert set(line.get_xdata()) == {floor.value}
    assert "noise floor 5.00 (n = 200)" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(("farthest", "scale"), [(2, "linear"), (5, "log")])
def test_the_scale_is_logarithmic_only_for_far_ones(farthest: int, scale: str) -> None:
    """Distances of one size start at 0; where the farthest is eight times as far, or more, each still has its place."""
    leaderboard = make_leaderboard(NAMES[:farthest], networks=["tiny"], metrics=["emd"])
    ax = _inside(ranking_chart(leaderboard, "tiny", "emd"))
    assert ax.get_xscale() == scale
    assert (ax.get_xlim()[0] == 0) == (scale == "linear")


@pytest.mark.parametrize("corrected", [-0.1, 0.2])
def test_near_zero_the_scale_is_linear(corrected: float) -> None:
    """A corrected distance that may be 0 has its place on the axis with its whole interval, at 0 one that is below."""
    ax = ranking_chart(_with_first(LEADERBOARD, estimate={"low": 0.0, "corrected": corrected}), "tiny", "emd")
    _inside(ax)
    assert ax.get_xscale() == "linear"
    bar, dot = ax.lines[:2]
    assert bar.get_xdata()[0] == 0.0 >= ax.get_xlim()[0]
    assert dot.get_xdata()[0] == max(0.0, corrected) >= ax.get_xlim()[0]


def test_a_leaderboard_without_estimates_has_dots_alone() -> None:
    """No bars, no ranks, no floor; a column at 0 is drawn too."""
    leaderboard = make_leaderboard(NAMES[:1], networks=["tiny"], metrics=["emd"])
    bare = replace(leaderboard.scores[0], value=0.0, estimate=None, rank=None)
    ax = _inside(ranking_chart(replace(leaderboard, scores=(bare,), floors=()), "tiny", "emd"))
    assert len(ax.lines) == 1
    assert [label.get_text() for label in ax.get_yticklabels()] == ["photographs"]


def test_profiles_are_the_plain_distances_of_the_layers() -> None:
    """One line a generator in its colour and the floor's dashed one; `Leaderboard.layer_profile` is the same."""
    ax = _inside(leaderboard_profile(LEADERBOARD, "tiny", "emd"))
    *lines, floor = ax.lines
    for line, record in zip(lines, LEADERBOARD.generators, strict=True):
        assert list(line.get_ydata()) == list(LEADERBOARD.score(record.name, "tiny", "emd").layers.values())
        assert line.get_color() == generator_colours(LEADERBOARD)[record.name]
    assert floor.is_dashed()
    own = Figure().add_subplot()
    assert leaderboard_profile(LEADERBOARD, "tiny", "emd", ax=own) is own
    assert len(own.lines) == len(ax.lines)


@pytest.mark.parametrize(
    ("metric", "note", "from_zero"),
    [("jsd", "← nearer", True), ("entropy", "better →", False), ("overlap", "better →", False)],
)
def test_charts_run_the_way_of_their_distance(metric: str, note: str, from_zero: bool) -> None:
    """Without a rule for error bars rows are dots alone, the best on top; only distances must begin at 0."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:4], networks=["tiny"], metrics=[metric])
        ax = _inside(ranking_chart(leaderboard, "tiny", metric))
        assert ax.get_xlabel() == note
        assert [label.get_text() for label in ax.get_yticklabels()] == list(NAMES[:4])
        assert len(ax.lines) == 4
        assert (ax.get_xlim()[0] == 0) == from_zero
        dots = [float(line.get_xdata()[0]) for line in ax.lines]
        assert dots == sorted(dots, reverse=not from_zero)
        assert ax.get_xlim()[0] < min(dots) < max(dots) < ax.get_xlim()[1]
        if metric == "overlap":
            with pytest.raises(ValueError, match="the histogram overlap in 'tiny' has no parts by layer"):
                leaderboard_profile(leaderboard, "tiny", metric)
            with pytest.raises(ValueError, match="the histogram overlap of 'squares' has no quantiles"):
                quantile_heat_map(leaderboard, "squares", "tiny", metric)
            return
        profile = _inside(leaderboard_profile(leaderboard, "tiny", metric))
        assert len(profile.lines) == 4  # and no floor
        assert ("higher is better" in profile.get_ylabel()) == (metric == "entropy")
        heat = _inside(quantile_heat_map(leaderboard, "squares", "tiny", metric))
        alphas = [patch.get_alpha() for patch in heat.patches[: len(QUANTILES)]]
        assert alphas == sorted(alphas)


def test_values_below_zero_are_drawn() -> None:
    """A scale begins left of the smallest value, and a heat map's faintest cell is the smallest."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=["entropy"])
        first = leaderboard.scores[0]
        quantiles = {layer: tuple(value - 9 for value in row) for layer, row in first.quantiles.items()}
        leaderboard = replace(leaderboard, scores=(replace(first, value=-3.0, quantiles=quantiles),))
        ax = _inside(ranking_chart(leaderboard, "tiny", "entropy"))
        assert ax.get_xlim()[0] < -3 < ax.get_xlim()[1]
        alphas = [patch.get_alpha() for patch in quantile_heat_map(leaderboard, NAMES[0], "tiny", "entropy").patches]
    assert min(alphas) == pytest.approx(0.04)
    assert max(alphas) == pytest.approx(0.94)


@pytest.mark.parametrize("letters", [5, 90])
def test_many_generators_with_any_names_fit(letters: int) -> None:
    """Twelve generators with long names stay inside the pictures and apart."""
    names = [f"{i:02d}{'x' * letters}{i}" for i in range(12)]
    leaderboard = make_leaderboard(names, networks=["n" * letters], metrics=["emd"])
    network = leaderboard.networks[0].name
    ax = _inside(ranking_chart(leaderboard, network, "emd"))
    rows = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(rows))
    _inside(leaderboard_profile(leaderboard, network, "emd"))
    _inside(quantile_heat_map(leaderboard, names[3], network))


def test_a_heat_map_has_a_cell_a_layer_and_quantile() -> None:
    """Cells bear their numbers and darken with them; layers run down, quantiles to the right."""
    ax = _inside(quantile_heat_map(LEADERBOARD, "dead leaves", "tiny"))
    quantiles = LEADERBOARD.score("dead leaves", "tiny", "emd").quantiles
    values = [value for row in quantiles.values() for value in row]
    assert len(ax.patches) == len(values) == 3 * len(QUANTILES)
    alphas = [patch.get_alpha() for patch in ax.patches]
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [alphas[i] for i in order] == sorted(alphas)
    assert [float(text.get_text()) for text in ax.texts[: len(values)]] == pytest.approx(values, rel=5e-3)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(quantiles)
    assert [label.get_text() for label in ax.get_xticklabels()][2::5] == ["half", "all"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: ranking_chart(LEADERBOARD, "huge", "emd"), "no 'emd' of 'huge'; it has emd tiny, nfd tiny, lfd tiny"),
        (lambda: leaderboard_profile(LEADERBOARD, "tiny", "fid"), "this leaderboard has no 'fid' of 'tiny'"),
        (lambda: quantile_heat_map(LEADERBOARD, "nobody", "tiny"), "no generator 'nobody': photographs, blurred"),
        (lambda: quantile_heat_map(LEADERBOARD, "squares", "tiny", "lfd"), "has no quantiles over neurons"),
    ],
)
def test_what_a_leaderboard_lacks_is_named(draw: Any, message: str) -> None:
    """An unknown network, metric or generator is an error that says what there is."""
    with pytest.raises(ValueError, match=message):
        draw()


def test_shortened_names_keep_both_ends() -> None:
    """A name is cut in its middle to exactly as many letters, and only where it is too long."""
    assert shortened("abcdefghij", 10) == "abcdefghij"
    for letters in (5, 6, 9):
        short = shortened("abcdefghij", letters)
        assert len(short) == letters
        assert short[0] + short[-1] == "aj"
