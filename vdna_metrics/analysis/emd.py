"""What the earth mover's distance is computed from where many are computed at once."""

from __future__ import annotations

import torch
from torch import Tensor

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.neurons import chosen_weights


def histogram_of(dna: VDNA) -> HistogramDistribution:
    """The distribution of a DNA that is compared by the EMD."""
    if not isinstance(dna.distribution, HistogramDistribution):
        raise TypeError(f"the EMD compares histograms, this DNA is of kind {dna.kind!r}")
    return dna.distribution


def emd_scale(column: Column, dna: VDNA) -> Tensor:
    """What each neuron's EMD in bins counts in a column of the EMD: ``[neurons]`` float64."""
    scale = chosen_weights(column.weights, dna.layout, dna.fingerprint)
    if scale is None:
        scale = torch.full((dna.layout.total,), 1 / dna.layout.total, dtype=torch.float64)
    histogram = histogram_of(dna)
    if column.unit != "bins":
        scale = scale / histogram.bins
    if column.unit == "activation":
        scale = scale * (histogram.ranges.high.double() - histogram.ranges.low.double())
    return scale
