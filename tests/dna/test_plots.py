"""Pictures of neurons: that they show the counts or the curve, over the range that is used."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.dnas import DEAD, make_dna, make_empty, make_fingerprint, make_ranges
from matplotlib.figure import Figure
from scipy.stats import norm

from vdna_metrics.dna import VDNA
from vdna_metrics.dna.plots import COLOURS, REFERENCE_COLOUR, neuron_histograms


@pytest.mark.parametrize(("bins", "groups"), [(8, 100), (8, 4), (7, 3), (250, 100)])
def test_heights_are_shares_of_the_neurons_counts(bins: int, groups: int) -> None:
    """Bins are joined in order, heights sum to 1, and edges run from the range's low to its high."""
    dna = make_dna("histogram", bins=bins)
    counts = dna.distribution.counts[4].double().numpy()  # type: ignore[attr-defined]
    used = np.flatnonzero(counts)
    size = max(1, (used[-1] - used[0] + 1) // groups)  # of the bins that are used
    (stairs,) = neuron_histograms({"a": dna}, "conv2", 0, groups=groups).patches
    heights, edges, _ = stairs.get_data()
    joined = [counts[start : start + size].sum() / counts.sum() for start in range(0, bins, size)]
    np.testing.assert_allclose(heights, joined, rtol=1e-12)
    assert sum(heights) == pytest.approx(1)
    np.testing.assert_allclose(edges, [*(-3 + 6 / bins * size * i for i in range(len(joined))), 3], atol=1e-6)


def test_the_axis_spans_what_is_used() -> None:
    """Of wide ranges only the part with counts is shown, in as many groups as of narrow ones; all sets lie in it."""
    narrow, far = make_dna("histogram", 60, bins=4000, ranges=make_ranges(-300, 300)), make_dna(
        "histogram", 60, seed=1, shift=20.0, bins=4000, ranges=make_ranges(-300, 300)
    )  # fmt: skip
    low, high = neuron_histograms({"a": narrow}, "norm", 0).get_xlim()
    assert -3 < low < -1
    assert 1 < high < 3
    (stairs,) = neuron_histograms({"a": narrow}, "norm", 0, groups=10).patches
    heights, _, _ = stairs.get_data()
    assert 5 <= np.count_nonzero(heights) <= 20  # of 4000 bins
    low, high = neuron_histograms({"a": far}, "norm", 0, reference=narrow).get_xlim()
    assert low < -1
    assert 20 < high < 23


def test_the_reference_is_an_area_under_the_lines() -> None:
    """The reference is filled and drawn first, sets are lines in their colours, all have names for a legend."""
    real, a, b = (make_dna("histogram", seed=seed) for seed in range(3))
    ax = neuron_histograms({"a": a, "b": b}, "norm", 1, reference=real, colours={"b": "#123456"})
    area, *lines = ax.patches
    assert area.get_fill()
    assert not any(line.get_fill() for line in lines)
    assert [patch.get_label() for patch in ax.patches] == ["reference", "a", "b"]
    colours = [patch.get_facecolor() if patch.get_fill() else patch.get_edgecolor() for patch in ax.patches]
    for colour, expected in zip(colours, (REFERENCE_COLOUR, COLOURS[0], "#123456"), strict=True):
        assert tuple(round(part * 255) for part in colour[:3]) == tuple(bytes.fromhex(expected[1:]))
    assert ax.get_title(loc="left") == "norm, neuron 1"


def test_a_gaussian_is_its_normal_curve() -> None:
    """Heights are the normal distribution's shares of each step, over four deviations of all sets."""
    a, b = make_dna("gaussian"), make_dna("gaussian", seed=1, shift=3.0)
    ax = neuron_histograms({"b": b}, "norm", 0, reference=a)
    moments = [[float(part[7]) for part in dna.distribution.mean_and_variance()] for dna in (a, b)]  # type: ignore[attr-defined]
    for patch, (mean, variance) in zip(ax.patches, moments, strict=True):
        heights, edges, _ = patch.get_data()
        np.testing.assert_allclose(heights, np.diff(norm.cdf(edges, mean, variance**0.5)), atol=1e-9)
    assert edges[0] == pytest.approx(min(mean - 4 * variance**0.5 for mean, variance in moments))
    assert edges[-1] == pytest.approx(max(mean + 4 * variance**0.5 for mean, variance in moments))


@pytest.mark.parametrize("kind", ["histogram", "gaussian"])
def test_a_dead_neuron_is_drawn(kind: str) -> None:
    """A neuron without any deviation gives no error and no NaN."""
    (stairs,) = neuron_histograms({"a": make_dna(kind)}, *DEAD).patches  # type: ignore[arg-type]
    heights, edges, _ = stairs.get_data()
    assert sum(heights) == pytest.approx(1)
    assert edges[0] <= 0.5 <= edges[-1]


def test_a_dna_plots_its_own_neurons() -> None:
    """`VDNA.plot` bears the name of the images, and takes a reference and an axis."""
    ax = Figure().add_subplot()
    dna = make_dna("histogram", seed=3)
    assert dna.plot("conv1", 2, reference=make_dna("histogram"), ax=ax) is ax
    assert [patch.get_label() for patch in ax.patches] == ["reference", "set3"]
    assert ax.get_title(loc="left") == "conv1, neuron 2"


def test_kinds_do_not_mix() -> None:
    """Shares of counts and of a curve have no common height."""
    with pytest.raises(
        ValueError, match="DNAs of one kind are drawn over each other, these are gaussian and histogram"
    ):
        neuron_histograms({"a": make_dna("gaussian")}, "norm", 0, reference=make_dna("histogram"))


@pytest.mark.parametrize(
    ("dna", "layer", "neuron", "message"),
    [
        (make_dna("layer_gaussian"), "norm", 0, "of histogram or gaussian DNAs, this is a layer_gaussian"),
        (make_dna("gaussian", 1), "norm", 0, "a Gaussian needs at least 2 images, this DNA has 1"),
        (make_dna("histogram"), "nrom", 0, "did you mean 'norm'"),
        (make_dna("histogram"), "norm", 2, "layer 'norm' has no neuron 2"),
        (VDNA(make_empty("histogram"), make_fingerprint()), "norm", 0, "this DNA has seen no image"),
    ],
)
def test_what_cannot_be_drawn_is_refused(dna: VDNA, layer: str, neuron: int, message: str) -> None:
    """Layer Gaussians, unknown layers and neurons, and empty DNAs are errors, on the reference too."""
    with pytest.raises(ValueError, match=message):
        neuron_histograms({"a": dna}, layer, neuron)
    with pytest.raises(ValueError, match=message):
        neuron_histograms({}, layer, neuron, reference=dna)
