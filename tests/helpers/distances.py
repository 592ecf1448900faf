"""Distances that no package registers, a group of DNAs for each, and a registry that forgets them after a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from helpers.dnas import make_dna
from torch import Tensor

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna import GroupedDNA, Provenance
from vdna_metrics.dna.columns import find_column
from vdna_metrics.dna.distances import _REGISTRY, Distance, register_distance

OURS = ("emd", "nfd", "lfd")
OF_FEATURES = ("kid", "cmmd", "mind", "swd", "precision", "recall", "density", "coverage", "vendi")
REGISTERED = (*OURS, *OF_FEATURES, "nwd")
CORRECTED = (*OURS, "kid", "cmmd", "mind", "swd", "nwd")  # what has a bias rule


def _shares(side: HistogramDistribution) -> Tensor:
    return side.counts.double() / side.counts.sum(dim=1, keepdim=True)


def _jensen_shannon(reference: HistogramDistribution, generated: HistogramDistribution) -> Mapping[str, Tensor]:
    a, b = _shares(reference), _shares(generated)
    entropies = [torch.special.entr(side).sum(dim=1) for side in ((a + b) / 2, a, b)]
    return reference.layout.split((entropies[0] - (entropies[1] + entropies[2]) / 2).clamp(min=0))


def _evenness(generated: HistogramDistribution) -> Tensor:
    return torch.special.entr(_shares(generated)).sum(dim=1).mean()


JSD = Distance(
    name="jsd",
    label="Jensen-Shannon",
    meaning="For each neuron the Jensen-Shannon divergence between the histograms of its activations.",
    kind="histogram",
    function=_jensen_shannon,
    unit="nats",
)
EVENNESS = Distance(
    name="evenness",
    label="evenness",
    meaning="How evenly the activations of the generated images fill the ranges.",
    kind="histogram",
    function=_evenness,
    unit="nats",
    direction="higher",
    arity=1,
    per=None,
    neutral=None,
    bias="jackknife",
)


@contextmanager
def registered(*distances: Distance) -> Iterator[None]:
    """The registry with these distances, as it was before when left."""
    before = dict(_REGISTRY)
    try:
        for distance in distances:
            register_distance(distance)
        yield
    finally:
        _REGISTRY.clear()
        _REGISTRY.update(before)


def make_grouped(
    distance: str | Distance, seed: int, *, shift: float = 0.0, sizes: tuple[int, ...] = (12,) * 5, bins: int = 40
) -> GroupedDNA:
    """A DNA in groups, of the kind that a distance needs."""
    kind = find_column(distance).kind
    groups = [make_dna(kind, size, seed=100 * seed + place, shift=shift, bins=bins) for place, size in enumerate(sizes)]
    return GroupedDNA(tuple(replace(group, provenance=Provenance("tiny", (f"set{seed}",))) for group in groups))
