"""Pictures of a DNA's neurons; each returns the matplotlib axis that it drew on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vdna_metrics.distributions import Distribution, GaussianDistribution, Histogram
from vdna_metrics.dna.vdna import VDNA

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people with any colour vision tell apart, without their yellow; then three more, for
# pictures of many sets, which have names beside them.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7A4A1E", "#6A3D9A", "#7F8C00",
)  # fmt: skip
REFERENCE_COLOUR = "#9a9a9a"

_TAIL = 1e-3  # share of a histogram's counts at either end that may lie outside the picture
_REACH = 4.0  # deviations of a normal curve, to either side
_CURVE_STEPS = 129  # odd, so that a mean in the middle is in one step

Outline = tuple[list[float], list[float]]  # heights and, one more, edges


def neuron_histograms(
    dnas: Mapping[str, VDNA],
    layer: str,
    neuron: int,
    *,
    reference: VDNA | None = None,
    colours: Mapping[str, str] | None = None,
    groups: int = 100,
    ax: Axes | None = None,
) -> Axes:
    """Overlay the distributions of one neuron: histograms, or the normal curves of Gaussians.

    The axis spans what is used: all but 0.1 % of a histogram's counts at either end, 4 deviations of a Gaussian.

    Args:
        dnas: ``{name: DNA}``, all histograms or all Gaussians; each line bears its name, for ``ax.legend()``.
        layer: layer of the neuron.
        neuron: its index in the layer.
        reference: drawn as a filled area under the others.
        colours: ``{name: colour}``; one after the other by default.
        groups: the bins that are used are joined into about this many, which is what can be seen.
        ax: axis to draw on, a new one by default.

    Returns:
        The axis; heights are shares of all activations per group of bins, or shares of a Gaussian per step.

    Raises:
        ValueError: for layer Gaussians, kinds that differ, a DNA that has seen too few images, or an unknown layer or
            neuron.
    """
    drawn = list(dnas.values()) if reference is None else [reference, *dnas.values()]
    kinds = {dna.kind for dna in drawn}
    if len(kinds) > 1:
        raise ValueError(f"DNAs of one kind are drawn over each other, these are {' and '.join(sorted(kinds))}")
    if "layer_gaussian" in kinds:
        raise ValueError("neurons are drawn of histogram or gaussian DNAs, this is a layer_gaussian")
    ax = axis_or_new(ax)
    chosen = [dna.select(neurons={layer: [neuron]}) for dna in drawn]
    spans = [_span(dna) for dna in chosen]
    low, high = min((span[0] for span in spans), default=0.0), max((span[1] for span in spans), default=0.0)
    if low == high and "gaussian" in kinds:  # neurons without any deviation
        low, high = low - 0.5, high + 0.5
    outlines = [_outline(dna, low, high, groups) for dna in chosen]
    if reference is not None:
        heights, edges = outlines.pop(0)
        ax.stairs(heights, edges, fill=True, color=REFERENCE_COLOUR, alpha=0.45, label="reference")
    for place, (name, (heights, edges)) in enumerate(zip(dnas, outlines, strict=True)):
        colour = (colours or {}).get(name, COLOURS[place % len(COLOURS)])
        ax.stairs(heights, edges, color=colour, linewidth=1.6, label=name)
    if low < high:
        ax.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    ax.set_title(f"{layer}, neuron {neuron}", fontsize=9, loc="left")
    ax.set_yticks([])
    ax.set_ylim(bottom=0)
    unbox(ax)
    return ax


def _moments(distribution: GaussianDistribution) -> tuple[float, float]:
    if distribution.n_images < 2:
        raise ValueError(f"a Gaussian needs at least 2 images, this DNA has {distribution.n_images}")
    mean, variance = distribution.mean_and_variance()
    return float(mean), float(variance.sqrt())


def _span(dna: VDNA) -> tuple[float, float]:
    """Between which activations a DNA of one neuron has something to show."""
    one = dna.distribution
    if isinstance(one, GaussianDistribution):
        mean, deviation = _moments(one)
        return mean - _REACH * deviation, mean + _REACH * deviation
    counts, low, width = _bins(one)
    cumulative = counts.cumsum(0) / counts.sum()
    first, last = torch.searchsorted(cumulative, torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.float64)).tolist()
    return low + first * width, low + (min(last, len(counts) - 1) + 1) * width


def _outline(dna: VDNA, low: float, high: float, groups: int) -> Outline:
    one = dna.distribution
    if isinstance(one, GaussianDistribution):
        mean, deviation = _moments(one)
        edges = torch.linspace(low, high, _CURVE_STEPS + 1, dtype=torch.float64)
        # Without a deviation all lies in the one step that holds the mean.
        shares = torch.special.ndtr((edges - mean) / max(deviation, torch.finfo(torch.float64).tiny)).diff()
        return shares.tolist(), edges.tolist()
    counts, start, width = _bins(one)
    size = max(1, (round((high - low) / width) if width else len(counts)) // groups)
    joined = torch.nn.functional.pad(counts, (0, -len(counts) % size)).view(-1, size).sum(1)
    edges_of_bins = [start + i * width * size for i in range(len(joined))] + [start + len(counts) * width]
    return (joined / counts.sum()).tolist(), edges_of_bins


def _bins(distribution: Distribution) -> tuple[Tensor, float, float]:
    """Counts ``[bins]`` of one neuron's histogram, where they start, and the width of a bin."""
    if not isinstance(distribution, Histogram):
        raise TypeError(f"expected a histogram, got {type(distribution).__name__}")
    if not distribution.n_images:
        raise ValueError("this DNA has seen no image")
    return (
        distribution.counts[0].double().cpu(),
        float(distribution.ends[0]),
        float(distribution.bin_widths("activation")),
    )


def axis_or_new(ax: Axes | None, size: tuple[float, float] = (8, 4.5)) -> Axes:
    """The axis that was given, or one of a new figure of so many inches."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained").add_subplot()


def unbox(ax: Axes) -> None:
    """Leave only the two lines that have ticks."""
    ax.spines[["top", "right"]].set_visible(False)
