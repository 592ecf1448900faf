"""Distances that somebody else could register."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna import distances
from vdna_metrics.dna.distances import Distance, register_distance


def _shares(histogram: HistogramDistribution) -> Tensor:
    return histogram.counts / histogram.counts.sum(dim=1, keepdim=True).double()


def _jensen_shannon(reference: HistogramDistribution, generated: HistogramDistribution) -> dict[str, Tensor]:
    a, b = _shares(reference), _shares(generated)
    entropies = [torch.special.entr(shares).sum(dim=1) for shares in ((a + b) / 2, a, b)]
    return reference.layout.split((entropies[0] - (entropies[1] + entropies[2]) / 2) / torch.log(torch.tensor(2.0)))


def _entropy(generated: HistogramDistribution) -> dict[str, Tensor]:
    return generated.layout.split(torch.special.entr(_shares(generated)).sum(dim=1))


def _overlap(reference: HistogramDistribution, generated: HistogramDistribution) -> Tensor:
    return torch.minimum(_shares(reference), _shares(generated)).sum(dim=1).mean()


JENSEN_SHANNON = Distance(
    "jsd", "Jensen-Shannon divergence", "How far the histograms of each neuron are apart; the mean over neurons.",
    "histogram", _jensen_shannon, unit="bits", short="JSD",
)  # fmt: skip
ENTROPY = Distance(
    "entropy", "activation entropy", "How evenly a neuron's activations fill its range; the mean over neurons.",
    "histogram", _entropy, unit="nats", direction="higher", arity=1, neutral=None,
)  # fmt: skip
OVERLAP = Distance(
    "overlap", "histogram overlap", "The share of activations that both sets have in common.",
    "histogram", _overlap, direction="higher", per=None, neutral=1.0,
)  # fmt: skip


@contextmanager
def registered_toys() -> Iterator[list[str]]:
    """The toys are known; their names."""
    with mock.patch.dict(distances._REGISTRY):
        yield [register_distance(toy).name for toy in (JENSEN_SHANNON, ENTROPY, OVERLAP)]
