"""Pictures of analyses: that they show the numbers, and can be read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers.dnas import make_dna, tiny_extractor
from helpers.image_files import pixels
from matplotlib.figure import Figure

from vdna_metrics import build_dnas, calibrate
from vdna_metrics.analysis import (
    Exemplars,
    Explanation,
    compare_groups,
    distance_matrix,
    find_exemplars,
    sample_size_curve,
)
from vdna_metrics.analysis.explain import explain
from vdna_metrics.dna.plots import COLOURS, REFERENCE_COLOUR
from vdna_metrics.reports.analysis_plots import (
    distance_label,
    plot_distance_matrix,
    plot_explanation,
    plot_groups,
    plot_sample_sizes,
)


def _inside(figure: Figure) -> None:
    """No text of any axis is cut by the picture's edge."""
    figure.draw_without_rendering()
    for ax in figure.axes:
        ticks = []
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        for text in (*ax.texts, ax.title, ax.xaxis.label, *ticks):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 >= -1, text
                assert box.y0 >= -1, text
                assert box.x1 <= figure.bbox.width + 1, text
                assert box.y1 <= figure.bbox.height + 1, text


# ------------------------------------------------------------------------------------------------------------- matrices
@pytest.mark.parametrize("n", [2, 5, 18])
def test_a_matrix_is_drawn_in_the_order_of_its_dendrogram(n: int) -> None:
    """The heat map's rows are the tree's leaves; numbers stand in it while they can be read."""
    matrix = distance_matrix({f"set {i}": make_dna("histogram", 20, seed=i, shift=0.1 * (i % 7)) for i in range(n)})
    figure = plot_distance_matrix(matrix)
    tree, heat = figure.axes
    order = [label.get_text() for label in heat.get_yticklabels()]
    assert order == [label.get_text() for label in heat.get_xticklabels()] == list(matrix.order())
    shown = np.array(heat.images[0].get_array())
    assert shown[0, 1] == matrix.between(order[0], order[1])
    assert len(heat.texts) == (n * n if n <= 16 else 0)
    # A branch joins at its height; leaves lie at the heat map's rows, as both axes run downwards.
    assert len(tree.lines) == n - 1
    assert max(max(line.get_xdata()) for line in tree.lines) == pytest.approx(matrix.linkage()[-1, 2])
    leaves = sorted(y for line in tree.lines for x, y in zip(*line.get_data(), strict=True) if x == 0)
    assert sorted(set(leaves)) == list(range(n))
    assert tree.get_ylim() == heat.get_ylim() == (n - 0.5, -0.5)
    _inside(figure)


@pytest.mark.parametrize(
    ("distance", "unit", "label"),
    [
        ("emd", "bins", "VDNA-EMD (bins)"),
        ("emd", "activation", "VDNA-EMD (activation)"),
        ("layer_frechet", "squared activations", "layer Fréchet distance"),
        ("jsd", "nats", "jsd (nats)"),
    ],
)
def test_distances_are_named_with_their_unit(distance: Any, unit: Any, label: str) -> None:
    """The name of a distance has its unit, but for that of Fréchet distances, which nobody prints."""
    assert distance_label(distance, unit) == label


# --------------------------------------------------------------------------------------------------------- sample sizes
def test_a_curve_is_drawn_relative_to_its_end() -> None:
    """Line, band and ring are mean, spread and the size from which the curve stays near, as multiples of the end."""
    reference, parts = make_dna("histogram", 40, seed=99), [make_dna("histogram", 5, seed=i) for i in range(9)]
    curve = sample_size_curve(reference, parts, draws=4)
    ax = plot_sample_sizes({"one": curve, "other": replace(curve, values=2 * curve.values)})
    line, ring = ax.lines[:2]
    np.testing.assert_allclose(line.get_ydata(), curve.mean / curve.final)
    assert list(line.get_xdata()) == list(curve.sizes)
    assert ring.get_xdata() == [curve.stays_within()]
    np.testing.assert_allclose(ax.lines[2].get_ydata(), line.get_ydata())  # twice the distance, the same share
    assert [line.get_color() for line in ax.lines[:4:2]] == list(COLOURS[:2])
    top = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(float(((curve.mean + curve.spread) / curve.final).max()))
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words[0] == f"one: within 5 % from {curve.stays_within()} images"
    assert {float(line.get_ydata()[0]) for line in ax.lines[4:]} == {0.95, 1.05}
    _inside(ax.figure)


def test_curves_without_an_end_are_refused() -> None:
    """No curve, or one that ends at 0, cannot be drawn."""
    dna = make_dna("histogram")
    with pytest.raises(ValueError, match="no curve"):
        plot_sample_sizes({})
    with pytest.raises(ValueError, match="'same': a curve that ends at 0"):
        plot_sample_sizes({"same": sample_size_curve(dna, [dna])})


# --------------------------------------------------------------------------------------------------------------- groups
def test_groups_are_bars_the_farthest_on_top() -> None:
    """Each group has its distance and number of images; those left out are counted, the pooled distance is a line."""
    groups = {f"set {i}": make_dna("histogram", 12 + i, seed=i, shift=0.3 * i) for i in range(4)}
    report = compare_groups(groups, make_dna("histogram", 40, seed=9))
    ax = plot_groups(report, number=3)
    assert [bar.get_width() for bar in ax.patches] == [group.distance for group in report.groups[:3]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["set 3 (15)", "set 2 (14)", "set 1 (13)"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert set(ax.lines[0].get_xdata()) == {report.pooled}
    assert ax.get_xlabel().endswith("1 nearer ones are left out")
    _inside(ax.figure)
    own = Figure(layout="constrained").add_subplot()
    assert plot_groups(report, ax=own) is own
    assert "left out" not in own.get_xlabel()


# --------------------------------------------------------------------------------------------------------- explanations
def _explained() -> tuple[Explanation, list[Exemplars]]:
    extractor, real, fake = tiny_extractor(), pixels(8, 20, 20, 3), pixels(6, 20, 20, 3, seed=1) // 2
    ranges = calibrate(np.concatenate([real, fake]), extractor)
    dnas = [build_dnas(images, extractor, bins=100, ranges=ranges)["histogram"] for images in (real, fake)]
    explanation = explain(*dnas)
    return explanation, [
        find_exemplars(explanation, fake, extractor, neurons=3, number=4),
        find_exemplars(explanation, real, extractor, side="reference", neurons=3, number=2),
    ]


def test_an_explanation_is_drawn_with_its_numbers() -> None:
    """Bars of three parts add up to each layer's contribution; a row a neuron has its histograms and its images."""
    explanation, exemplars = _explained()
    figure = plot_explanation(explanation, exemplars=exemplars, names=("real", "fake"))
    figure.draw_without_rendering()
    bars, *others = figure.axes
    parts = {container.get_label(): [bar.get_width() for bar in container] for container in bars.containers}
    assert list(parts) == ["shift", "spread", "shape"]
    for name, widths in parts.items():
        assert widths == pytest.approx([getattr(layer, name) for layer in explanation.layers])
    ends = [bar.get_x() + bar.get_width() for bar in bars.containers[-1]]
    assert ends == pytest.approx([layer.contribution for layer in explanation.layers])
    assert [label.get_text() for label in bars.get_yticklabels()] == ["first (6)", "second (5)"]
    assert figure.get_suptitle() == f"VDNA-EMD of fake from real: {explanation.score:.3g} bins"
    rows = [others[i : i + 7] for i in range(0, len(others), 7)]  # a histogram, 4 and 2 images
    assert len(rows) == 3
    for row, neuron in zip(rows, explanation.top(3), strict=True):
        histogram, *pictures = row
        assert histogram.get_title(loc="left").startswith(f"{neuron.layer}, neuron {neuron.neuron}: ")
        assert [patch.get_label() for patch in histogram.patches] == ["reference", "fake"]
        key = (neuron.layer, neuron.neuron)
        drawn = [exemplar for found in exemplars for exemplar in found.neurons[key]]
        for ax, exemplar in zip(pictures, drawn, strict=True):
            assert np.array_equal(ax.images[0].get_array(), exemplar.image.permute(1, 2, 0))
            assert ax.get_xlabel() == f"pull {exemplar.pull:+.0f} bins"
        colours = [ax.spines["left"].get_edgecolor() for ax in pictures]
        assert len(set(colours[:4])) == len(set(colours[4:])) == 1
        assert tuple(round(255 * part) for part in colours[5][:3]) == tuple(bytes.fromhex(REFERENCE_COLOUR[1:]))
        boxes = [ax.get_window_extent() for ax in row]
        assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))
    _inside(figure)


def test_an_explanation_needs_no_images() -> None:
    """Without exemplars each neuron has its histograms, and equal DNAs can be drawn."""
    dna, other = make_dna("histogram", bins=60), make_dna("histogram", 30, seed=1, shift=0.4, bins=60)
    for generated in (other, dna):
        figure = plot_explanation(explain(dna, generated), neurons=2)
        assert len(figure.axes) == 3
        _inside(figure)


def test_explanations_that_cannot_be_drawn_are_refused() -> None:
    """Gaussians have no histograms, and exemplars must be of the top neurons."""
    explanation, exemplars = _explained()
    gaussian = make_dna("gaussian")
    with pytest.raises(ValueError, match="these are of kind 'gaussian'"):
        plot_explanation(explain(gaussian, gaussian))
    of_others = replace(exemplars[0], neurons={("first", 99): ()})
    with pytest.raises(ValueError, match="the exemplars lack a top neuron"):
        plot_explanation(explanation, exemplars=[of_others])


def test_drawing_leaves_matplotlib_alone() -> None:
    """No global figure is opened."""
    from matplotlib import _pylab_helpers

    dnas = {f"set {i}": make_dna("histogram", seed=i) for i in range(3)}
    plot_distance_matrix(distance_matrix(dnas))
    plot_groups(compare_groups(dnas, dnas["set 0"]))
    plot_explanation(explain(dnas["set 0"], dnas["set 1"]))
    assert not _pylab_helpers.Gcf.get_all_fig_managers()
