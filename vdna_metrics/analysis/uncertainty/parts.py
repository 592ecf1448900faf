"""The parts by which a distance is corrected: its layers, or the whole where it has none."""

from __future__ import annotations

import torch
from torch import Tensor

from vdna_metrics.dna.columns import Column
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import NeuronLayout


def total_of(dna: VDNA | GroupedDNA) -> VDNA:
    """The DNA of all images."""
    return dna.total if isinstance(dna, GroupedDNA) else dna


def parts_of(column: Column, reference: VDNA, generated: VDNA) -> Tensor:
    """``[parts]`` float64: the distance of each layer, or the whole where it has no parts by layer."""
    values = list(column.by_layer(reference, generated).values()) or [column(reference, generated)]
    return torch.tensor(values, dtype=torch.float64)


def names_of_parts(column: Column, layout: NeuronLayout) -> tuple[str, ...]:
    """Layers, none where the distance has no parts by layer."""
    return () if column.distance.per is None else tuple(layout)


def shares_of(column: Column, layout: NeuronLayout) -> Tensor:
    """``[parts]``: what each part counts in the whole."""
    return torch.ones(1, dtype=torch.float64) if column.distance.per is None else column.layer_shares(layout)
