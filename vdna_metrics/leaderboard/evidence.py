"""What a report shows of the neurons: those by which a generator differs most from the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from vdna_metrics.analysis.explain import explain
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.distances import EMD, NFD
from vdna_metrics.dna.vdna import VDNA


@dataclass(frozen=True)
class NeuronDifference:
    """How one neuron's activations differ between two sets of images.

    Args:
        layer: its layer.
        neuron: its index there.
        value: of the column.
        shares: of the value, what shift, spread and shape make; empty for a distance that is not split so.
        means: of the reference and the generated images, in activations.
        deviations: likewise.
    """

    layer: str
    neuron: int
    value: float
    shares: Mapping[str, float]
    means: tuple[float, float]
    deviations: tuple[float, float]


def most_different_neurons(
    column: Column, reference: VDNA, generated: VDNA, number: int
) -> tuple[NeuronDifference, ...]:
    """The neurons whose values are the worst by a distance between two DNAs, the worst first.

    Args:
        column: with parts by neuron, of a distance between two DNAs.
        reference: histogram or Gaussian DNA, of the column's kind.
        generated: likewise.
        number: at most so many; neurons with the neutral value, as of a set and itself, are left out.
    """
    values = cast("dict[str, Tensor]", column.measure(reference, generated, "none"))
    layout = reference.layout
    rows = layout.flatten(values).argsort(descending=not column.distance.higher_is_better, stable=True)[:number]
    wanted: dict[str, list[int]] = {}
    found: dict[tuple[str, int], float] = {}
    for row in rows.tolist():
        layer, part = next((layer, part) for layer, part in layout.slices().items() if row < part.stop)
        value = float(values[layer][row - part.start])
        if value != column.distance.neutral:
            neuron = layout.neurons.get(layer, range(layout[layer]))[row - part.start]
            wanted.setdefault(layer, []).append(neuron)
            found[layer, neuron] = value
    if not found:
        return ()
    # The parts of a distance cost much more than the distance: of these neurons alone.
    explained = {
        (each.layer, each.neuron): each
        for each in explain(reference, generated, distance=column.replace(neurons=wanted)).top(number)
    }
    differences = []
    for (layer, neuron), value in found.items():
        each = explained[layer, neuron]
        parts = {part: getattr(each, part) for part in ("shift", "spread", "shape")}
        total = sum(parts.values()) if column.distance in (EMD, NFD) else 0
        shares = {part: size / total for part, size in parts.items()} if total else {}
        differences.append(NeuronDifference(layer, neuron, value, shares, each.means, each.deviations))
    return tuple(differences)
