"""Pictures: that they show the numbers, and can be read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers.dnas import make_dna, make_ranges
from matplotlib.figure import Figure

from vdna_metrics.analysis.coverage import coverage
from vdna_metrics.dna import compare
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.reports.plots import layer_profile, plot_coverage

PROFILES = {"near": {"conv1": 1.0, "conv2": 3.0, "norm": 2.0}, "far": {"conv1": 40.0, "conv2": 20.0, "norm": 80.0}}


def _drawn(ax: Any) -> Any:
    """The axis after its figure was laid out and drawn, which is when texts have a place."""
    ax.figure.canvas.draw()
    return ax


def _boxes(texts: list[Any]) -> list[Any]:
    return [text.get_window_extent() for text in texts]


# -------------------------------------------------------------------------------------------------------- layer_profile
@pytest.mark.parametrize("log", [False, True])
def test_each_line_is_its_profile(log: bool) -> None:
    """A set's line has its distances at the layers, in order, and its name in its colour beside its end."""
    ax = _drawn(layer_profile(PROFILES, log=log))
    assert ax.get_yscale() == ("log" if log else "linear")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["conv1", "conv2", "norm"]
    for line, label, (name, profile), colour in zip(ax.lines, ax.texts, PROFILES.items(), COLOURS, strict=False):
        assert list(line.get_xdata()) == [0, 1, 2]
        assert list(line.get_ydata()) == list(profile.values())
        assert line.get_color() == label.get_color() == colour
        assert label.get_text() == name


def test_profiles_of_compare_are_drawn_as_they_are() -> None:
    """What `compare.emd(..., reduction="layer")` returns needs no conversion."""
    a, b = make_dna("histogram"), make_dna("histogram", seed=1, shift=0.5)
    profile = compare.emd(a, b, reduction="layer")
    assert isinstance(profile, dict)
    ax = layer_profile({"b": profile})
    assert list(ax.lines[0].get_ydata()) == [float(value) for value in profile.values()]
    assert ax.get_ylim()[0] == 0


@pytest.mark.parametrize("log", [False, True])
def test_labels_are_at_the_ends_of_lines_that_end_apart(log: bool) -> None:
    """A name stands at the height of its line's end where nothing is in the way."""
    ax = _drawn(layer_profile(PROFILES, log=log))
    for line, box in zip(ax.lines, _boxes(ax.texts), strict=True):
        x, y = ax.transData.transform((2, line.get_ydata()[-1]))
        assert (box.y0 + box.y1) / 2 == pytest.approx(y, abs=3)
        assert box.x0 > x


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("ends", [[5.0] * 8, [1.0, 1.01, 1.02, 50.0, 50.1, 50.2], [49.0, 50.0, 50.0, 50.0]])
def test_labels_never_overlap(ends: list[float], log: bool) -> None:
    """Names of lines that end together are moved apart, in the order of the ends, and stay inside the picture."""
    ax = _drawn(layer_profile({f"set {i}": {"a": 1.0, "b": end} for i, end in enumerate(ends)}, log=log))
    boxes = _boxes(ax.texts)
    for lower, upper in pairwise(sorted(boxes, key=lambda box: box.y0)):
        assert upper.y0 >= lower.y1 - 1
    assert [box.y0 for box in boxes] == sorted(box.y0 for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= ax.figure.bbox.height and box.x1 <= ax.figure.bbox.width for box in boxes)


@pytest.mark.parametrize("n_layers", [3, 13, 30])
def test_names_of_layers_never_overlap(n_layers: int) -> None:
    """Many or long names of layers are turned; few stand upright."""
    ax = _drawn(layer_profile({"a": {f"block_{i}": 1.0 for i in range(n_layers)}}))
    labels = ax.get_xticklabels()
    turned = {label.get_rotation() for label in labels}
    assert turned == ({0} if n_layers == 3 else {30})
    if n_layers == 3:
        assert all(a.x1 < b.x0 for a, b in pairwise(_boxes(labels)))
    else:  # turned texts are apart where their first letters' feet are a line's height apart
        ends = [label.get_transform().transform(label.get_position())[0] for label in labels]
        height = labels[0].get_fontsize() * ax.figure.dpi / 72
        assert all(b - a > height * np.sin(np.radians(30)) for a, b in pairwise(ends))


def test_an_axis_and_colours_of_ones_own_are_used() -> None:
    """The given axis is drawn on and returned, sets without a colour take the next."""
    ax = Figure().add_subplot()
    assert layer_profile(PROFILES, ax=ax, colours={"far": "#123456"}, ylabel="NFD") is ax
    assert [line.get_color() for line in ax.lines] == [COLOURS[0], "#123456"]
    assert ax.get_ylabel() == "NFD"


def test_more_sets_than_colours_have_other_lines_and_marks() -> None:
    """Where the colours begin anew the line and its marks are others, so that no two sets look alike."""
    ax = layer_profile({f"set {i}": {"a": 1.0, "b": 2.0 + i} for i in range(2 * len(COLOURS) + 1)})
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.lines]
    assert len(set(looks)) == len(looks)


def test_a_floor_is_dashed_and_named() -> None:
    """The noise floor of the layers is a line of its own, which has to have the same layers."""
    floor = {"conv1": 0.5, "conv2": 0.7, "norm": 0.6}
    ax = _drawn(layer_profile(PROFILES, floor=floor))
    assert list(ax.lines[-1].get_ydata()) == list(floor.values())
    assert "noise floor" in [text.get_text() for text in ax.texts]
    with pytest.raises(ValueError, match="layers differ: conv1, conv2, norm and, of the floor, conv1"):
        layer_profile(PROFILES, floor={"conv1": 0.5})


def test_long_names_lose_their_middle_and_signs_are_no_mathematics() -> None:
    """A label fits beside its line, and what would be a formula is shown as it is written."""
    ax = _drawn(layer_profile({"x" * 40 + "-end": {"a": 1.0}, "a$b$_{": {"a": 2.0}}))
    long, odd = (text.get_text() for text in ax.texts)
    assert len(long) == 30
    assert long.endswith("-end")
    assert odd == "a$b$_{"
    assert ax.texts[1].get_parse_math() is False


@pytest.mark.parametrize(
    ("profiles", "log", "message"),
    [
        ({}, False, "no profile to draw"),
        ({"a": {}}, False, "no profile to draw"),
        ({"a": {"l1": 1.0}, "b": {"l2": 1.0}}, False, "layers differ: l1 and, of 'b', l2"),
        ({"a": {"l1": 1.0, "l2": 1.0}, "b": {"l2": 1.0, "l1": 1.0}}, False, "layers differ"),
        ({"a": {"l1": 1.0}, "b": {"l1": 0.0}}, True, "no place for the distance 0 of 'b'"),
    ],
)
def test_profiles_that_cannot_be_drawn_are_refused(profiles: Any, log: bool, message: str) -> None:
    """Nothing to draw, other layers, or a zero on a logarithmic scale are errors that name the set."""
    with pytest.raises(ValueError, match=message):
        layer_profile(profiles, log=log)


# -------------------------------------------------------------------------------------------------------- plot_coverage
@pytest.mark.parametrize(
    ("half", "words"),
    [(8.0, "fit"), (1.0, "are too narrow for"), (0.05, "are too narrow for"), (900.0, "are too wide for")],
)
def test_coverage_is_drawn_with_its_verdict(half: float, words: str) -> None:
    """Bars are the layers' shares, the curve those of the neurons from the worst on, and the title is the verdict."""
    found = coverage(make_dna("histogram", 60, bins=100, ranges=make_ranges(-half, half)))
    figure = plot_coverage(found)
    figure.draw_without_rendering()
    outside, used, neurons = figure.axes
    assert figure.get_suptitle() == f"These activation ranges {words} 60 images of set0"
    layers = list(found.layers.values())
    below, above = outside.containers
    for bars, end in ((below, "below"), (above, "above")):
        assert [bar.get_width() for bar in bars] == pytest.approx([100 * getattr(part, end) for part in layers])
    assert [bar.get_x() for bar in above] == pytest.approx([100 * part.below for part in layers])
    assert [label.get_text() for label in outside.get_yticklabels()] == ["conv1", "conv2", "norm"]
    assert outside.get_ylim()[0] > outside.get_ylim()[1]  # the first layer on top
    assert [bar.get_width() for bar in used.containers[0]] == pytest.approx([100 * (part.used or 0) for part in layers])
    curve, line = neurons.lines
    expected = sorted((float(share) for share in found.outside if share > 0), reverse=True)
    assert list(curve.get_ydata()) == pytest.approx([100 * share for share in expected])
    assert set(line.get_ydata()) == {1}
    assert f"{int((found.outside > 0.01).sum())} of 9 are over 1 %, {9 - len(expected)} at 0" in neurons.get_xlabel()
    for ax in figure.axes:  # numbers and names stay inside the picture
        for text in (*ax.texts, ax.xaxis.label, *ax.get_yticklabels()):
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= figure.bbox.width


def test_neurons_that_moved_are_drawn() -> None:
    """The picture tells how many neurons without width saw another value."""
    ranges = make_ranges(-9.0, 9.0)
    dead = torch.zeros(9)  # made_dna's dead neuron gives 0.5
    still = coverage(make_dna("histogram", ranges=ranges))
    assert "moved" not in plot_coverage(still).axes[2].get_xlabel()
    narrow = type(ranges)(ranges.layout, dead, dead)
    assert (
        "9 had no width and moved" in plot_coverage(coverage(make_dna("histogram", ranges=narrow))).axes[2].get_xlabel()
    )


def test_drawing_leaves_matplotlib_alone() -> None:
    """No global figure is opened, and the DNA keeps its counts."""
    from matplotlib import _pylab_helpers

    dna = make_dna("histogram")
    before = dna.distribution.state.clone()
    layer_profile(PROFILES)
    plot_coverage(coverage(dna))
    assert not _pylab_helpers.Gcf.get_all_fig_managers()
    assert torch.equal(dna.distribution.state, before)
