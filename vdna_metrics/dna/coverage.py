"""Whether activation ranges fit images: what of their activations lies outside, and how much of the ranges they use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vdna_metrics.dna.quantiles import LEVELS, central_bins, counted
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import NeuronLayout

OUTSIDE = 0.01  # more than this share of a layer's activations is too much; `coverage_warning` begins here
USED = 0.1  # a layer whose median neuron uses less of its range has too few bins left for them


@dataclass(frozen=True)
class LayerCoverage:
    """How the ranges of one layer fit.

    Args:
        below: share of the layer's activations below their ranges.
        above: share of the layer's activations above their ranges.
        used: share of its range that the median neuron uses, ``None`` where all ranges are without width.
        neurons: number of neurons.
        dead: neurons whose range has no width.
        moved: of the dead, those that saw another value than theirs.
    """

    below: float
    above: float
    used: float | None
    neurons: int
    dead: int
    moved: int

    @property
    def outside(self) -> float:
        """Share of the layer's activations outside their ranges."""
        return self.below + self.above


@dataclass(frozen=True)
class NeuronCoverage:
    """How much of one neuron's activations lies outside its range.

    Args:
        layer: name of the layer.
        neuron: index in the layer.
        below: share of its activations below the range.
        above: share of its activations above the range.
        dead: whether the range has no width.
    """

    layer: str
    neuron: int
    below: float
    above: float
    dead: bool


@dataclass(frozen=True, eq=False)
class Coverage:
    """How activation ranges fit a set of images, neuron by neuron; see `coverage`.

    Args:
        layout: the neurons.
        n_images: number of images.
        sources: names of the image sets.
        activations: number of activations, ``[neurons]`` int64.
        below: activations below the range, ``[neurons]`` int64.
        above: activations above the range, ``[neurons]`` int64.
        used: share of the range between the bins of the 0.01 % and the 99.99 % quantile, ``[neurons]`` float64; 0 for
            a range without width.
        dead: neurons whose range has no width, ``[neurons]`` bool.
    """

    layout: NeuronLayout
    n_images: int
    sources: tuple[str, ...]
    activations: Tensor
    below: Tensor
    above: Tensor
    used: Tensor
    dead: Tensor

    @property
    def outside(self) -> Tensor:
        """Share of each neuron's activations outside its range, ``[neurons]`` float64."""
        return (self.below + self.above) / self.activations.double()

    @property
    def moved(self) -> Tensor:
        """Neurons whose range has no width and that saw another value, ``[neurons]`` bool."""
        return self.dead & (self.below + self.above > 0)

    @property
    def layers(self) -> dict[str, LayerCoverage]:
        """Each layer's coverage, in the network's order."""
        found = {}
        for layer, rows in self.layout.slices().items():
            n, live = int(self.activations[rows].sum()), ~self.dead[rows]
            found[layer] = LayerCoverage(
                below=int(self.below[rows].sum()) / n,
                above=int(self.above[rows].sum()) / n,
                used=float(self.used[rows][live].median()) if live.any() else None,
                neurons=len(live),
                dead=int((~live).sum()),
                moved=int(self.moved[rows].sum()),
            )
        return found

    @property
    def verdict(self) -> Literal["narrow", "wide", "fit"]:
        """Whether the ranges fit.

        ``"narrow"``: more than 1 % of a layer's activations lie outside, so that the edge bins hold what the images
        differ in. ``"wide"``: the median neuron of a layer uses less than a tenth of its range, so that few bins are
        left to tell images apart. Else ``"fit"``.
        """
        layers = self.layers.values()
        if any(layer.outside > OUTSIDE for layer in layers):
            return "narrow"
        return "wide" if any(layer.used is not None and layer.used < USED for layer in layers) else "fit"

    def worst(self, number: int = 10) -> list[NeuronCoverage]:
        """The neurons with the most outside, the worst first; none that has nothing outside."""
        outside = self.outside
        order = outside.argsort(descending=True, stable=True)[:number].tolist()
        slices = self.layout.slices()
        found = []
        for row in (row for row in order if outside[row] > 0):
            layer = next(name for name, rows in slices.items() if row < rows.stop)
            place, n = row - slices[layer].start, int(self.activations[row])
            found.append(
                NeuronCoverage(
                    layer=layer,
                    neuron=self.layout.neurons.get(layer, range(place + 1))[place],
                    below=int(self.below[row]) / n,
                    above=int(self.above[row]) / n,
                    dead=bool(self.dead[row]),
                )
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Verdict, layers and worst neurons as plain containers."""
        return {
            "images": list(self.sources),
            "n_images": self.n_images,
            "verdict": self.verdict,
            "layers": {layer: {"outside": part.outside, **vars(part)} for layer, part in self.layers.items()},
            "worst": [vars(neuron) for neuron in self.worst()],
        }


def coverage(dna: VDNA) -> Coverage:
    """How the activation ranges of a histogram DNA fit its images.

    The numbers outside are exact; how much of a range is used is known to a bin.

    Args:
        dna: histogram DNA.

    Raises:
        ValueError: when the DNA is of another kind or has seen no image.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> fit = coverage(load_reference("bsds500/test@vdna_tiny", kind="histogram"))
        >>> fit.verdict, round(fit.layers["blocks.4"].outside, 6), round(fit.layers["blocks.4"].used, 2)
        ('fit', 0.0, 0.68)
    """
    distribution = counted(dna)
    first, last = central_bins(distribution, *LEVELS, strict=False)
    dead = distribution.ranges.dead
    return Coverage(
        layout=dna.layout,
        n_images=dna.n_images,
        sources=dna.provenance.sources,
        activations=distribution.counts.sum(1),
        below=distribution.below.clone(),
        above=distribution.above.clone(),
        used=torch.where(dead, 0.0, (last - first + 1).double() / distribution.bins),
        dead=dead,
    )
