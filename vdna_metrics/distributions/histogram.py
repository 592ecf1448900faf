"""Histogram of every neuron's activations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution, Kind
from vdna_metrics.functional.histogram import MAX_BINS, accumulate_histogram_, extremes
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges


@dataclass(frozen=True, eq=False)
class HistogramDistribution(Distribution):
    """Counts of every neuron's activations in equal bins over its range.

    Args:
        layout: the neurons.
        state: flat int64 ``[images | not finite a layer | counts | below | above]``.
        ranges: between which values the bins lie.
        bins: number of bins.
    """

    kind: ClassVar[Kind] = "histogram"
    dtype: ClassVar[torch.dtype] = torch.int64

    ranges: ActivationRanges
    bins: int
    _ends: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(cls, ranges: ActivationRanges, bins: int, *, device: torch.device | str = "cpu") -> HistogramDistribution:
        """A histogram that has seen no image.

        Raises:
            TypeError: when ``bins`` is not an int.
            ValueError: when it is not between 1 and 2**24.
        """
        if not isinstance(bins, int) or isinstance(bins, bool):
            raise TypeError(f"bins must be an int, got {bins!r}")
        if not 1 <= bins <= MAX_BINS:
            raise ValueError(f"bins must be between 1 and {MAX_BINS}, got {bins}")
        layout = ranges.layout
        size = 1 + len(layout) + layout.total * (bins + 2)
        return cls(layout, torch.zeros(size, dtype=torch.int64, device=device), ranges, bins)

    def body_size(self) -> int:
        """Counts, below and above of each neuron."""
        return self.layout.total * (self.bins + 2)

    @property
    def counts(self) -> Tensor:
        """``[neurons, bins]`` int64, a view of the state."""
        return self.body[: self.layout.total * self.bins].view(self.layout.total, self.bins)

    @property
    def below(self) -> Tensor:
        """Activations under the range, ``[neurons]`` int64; they are also counted in the first bin."""
        return self.body[self.layout.total * self.bins :][: self.layout.total]

    @property
    def above(self) -> Tensor:
        """Activations over the range, ``[neurons]`` int64; they are also counted in the last bin."""
        return self.body[self.layout.total * (self.bins + 1) :]

    def check_possible(self) -> None:
        """Counts from 0, which can be added up; none of no images; no more outside than in the last bin of the side."""
        lowest = self.counts.amin(1)
        self._refuse_where(lowest < 0, "counts: expected numbers from 0", lowest)
        totals = self.counts.sum(1, dtype=torch.float64)
        self._refuse_where(totals >= 2.0**63, "counts: expected fewer than 2**63 activations", totals)
        if not self.n_images:
            self._refuse_where(totals != 0, "n_images and counts: expected no activations of 0 images", totals)
        for name, outside, end in (("below", self.below, 0), ("above", self.above, -1)):
            last = self.counts[:, end]
            wrong = (outside < 0) | (outside > last)
            self._refuse_where(wrong, f"{name}: expected from 0 to what the last bin on its side holds", outside)

    def outside(self) -> dict[str, float]:
        """Share of each layer's activations that lay outside the ranges."""
        outside = self.layout.split(self.below + self.above)
        counts = self.layout.split(self.counts)
        return {layer: int(outside[layer].sum()) / max(1, int(counts[layer].sum())) for layer in self.layout}

    def _range_ends(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._ends:
            self._ends[device] = (self.ranges.low.to(device), self.ranges.high.to(device))
        return self._ends[device]

    def _summarise(self, activations: Tensor) -> Tensor:
        return torch.stack(extremes(activations))

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        low, high = self._range_ends(activations.device)
        accumulate_histogram_(
            self.counts[rows],
            self.below[rows],
            self.above[rows],
            activations,
            low[rows],
            high[rows],
            observed=(summary[0], summary[1]),
        )

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Bins and ranges must be the same."""
        if not isinstance(other, HistogramDistribution):
            raise TypeError(f"a histogram cannot be compared with {type(other).__name__}")
        if self.bins != other.bins:
            return [("bins", str(self.bins), str(other.bins))]
        if not self.ranges.equals(other.ranges):
            return [("activation ranges", _describe(self.ranges), _describe(other.ranges))]
        return []

    def select(self, selection: NeuronLayout) -> HistogramDistribution:
        """Keep the neurons of a selection of the layout."""
        rows = self.layout.rows_of(selection).to(self.state.device)
        parts = [self._selected_head(selection), self.counts[rows].flatten(), self.below[rows], self.above[rows]]
        return HistogramDistribution(selection, torch.cat(parts), self.ranges.select(selection), self.bins)


def _describe(ranges: ActivationRanges) -> str:
    made_from = f"{ranges.n_images} images of {', '.join(ranges.sources) or 'unknown source'}"
    return f"[{float(ranges.low.min()):.4g} .. {float(ranges.high.max()):.4g}] ({made_from}, widen={ranges.widen})"
