"""Histogram of every neuron's activations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.kinds import Kind
from vdna_metrics.functional.emd import EMDUnit
from vdna_metrics.functional.histogram import MAX_BINS, accumulate_histogram_, extremes, notes_while_counting
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges, GivenRanges

if TYPE_CHECKING:
    from typing_extensions import Self


class Histogram(Distribution):
    """Counts of every neuron's activations in equal bins: of given ranges, or of those that the activations need."""

    kind: ClassVar[Kind] = "histogram"
    dtype: ClassVar[torch.dtype] = torch.int64

    bins: int

    @property
    @abstractmethod
    def given(self) -> GivenRanges:
        """The ranges that make another histogram with the same settings."""

    @staticmethod
    def _body(layout: NeuronLayout, bins: int) -> int:
        """Counts, and two more numbers of each neuron."""
        return layout.total * (bins + 2)

    def body_size(self) -> int:
        """Length of all counts."""
        return self._body(self.layout, self.bins)

    @property
    @abstractmethod
    def counts(self) -> Tensor:
        """``[neurons, bins]`` int64, a view of the state."""

    @property
    @abstractmethod
    def ends(self) -> tuple[Tensor, Tensor]:
        """Where each neuron's first bin begins and its last one ends, ``[neurons]`` float64 each."""

    @property
    def rule_ends(self) -> tuple[Tensor, Tensor]:
        """The ends in the type with which `functional.bin_index` gives the bins that are counted in."""
        return self.ends

    @abstractmethod
    def widths(self) -> Tensor:
        """What the units of distances are relative to, ``[neurons]`` float64."""

    @abstractmethod
    def outside_counts(self) -> tuple[Tensor, Tensor]:
        """Activations below and above the bins, ``[neurons]`` int64 each; they are in the bins at the edges, too."""

    @abstractmethod
    def spanning(self, others: Sequence[Histogram]) -> Histogram:
        """One of the same settings whose bins hold all that this and others counted; units are as of this one.

        Its counts are nobody's; see `counts_in`.
        """

    @abstractmethod
    def counts_in(self, frame: Histogram, rows: slice = slice(None)) -> Tensor:
        """Counts of some neurons, ``[rows, bins]`` int64, in the bins of what `spanning` gave for this one too."""

    @abstractmethod
    def comparable(self, others: Sequence[Histogram]) -> list[Histogram]:
        """This and others in the bins of what spans them, on this one's device."""

    @property
    @abstractmethod
    def where(self) -> str:
        """Where the bins lie, for messages."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hash of where the bins lie, as far as it was decided before the first image."""

    def check_possible(self) -> None:
        """Counts from 0, which can be added up; none of no images."""
        lowest = self.counts.amin(1)
        self._refuse_where(lowest < 0, "counts: expected numbers from 0", lowest)
        # By rows, since all counts would be copied as float64.
        totals = torch.cat([rows.sum(1, dtype=torch.float64) for rows in self.counts.split(_ROWS)])
        self._refuse_where(totals >= 2.0**63, "counts: expected fewer than 2**63 activations", totals)
        if not self.n_images:
            self._refuse_where(totals != 0, "n_images and counts: expected no activations of 0 images", totals)

    def outside(self) -> dict[str, float]:
        """Share of each layer's activations that lay outside the bins."""
        below, above = self.outside_counts()
        outside, counts = self.layout.split(below + above), self.layout.split(self.counts)
        return {layer: int(outside[layer].sum()) / max(1, int(counts[layer].sum())) for layer in self.layout}

    def bin_widths(self, unit: EMDUnit) -> Tensor:
        """A bin of each neuron in a unit of the EMD, ``[neurons]`` float64.

        NaN in ``"bins"`` and ``"range"`` where a neuron has no width that these could be relative to.
        """
        low, high = self.ends
        widths = (high - low) / self.bins
        if unit == "activation":
            return widths
        relative = widths / self.widths()
        return torch.where(self.widths() > 0, relative * self.bins if unit == "bins" else relative, torch.nan)

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Both must have the same bins."""
        if not isinstance(other, Histogram):
            raise TypeError(f"a histogram cannot be compared with {type(other).__name__}")
        if self.digest != other.digest:
            return [("activation ranges", self.where, other.where)]
        return [("bins", str(self.bins), str(other.bins))] if self.bins != other.bins else []


@dataclass(frozen=True, eq=False)
class HistogramDistribution(Histogram):
    """Counts of every neuron's activations in equal bins over its range.

    Args:
        layout: the neurons.
        state: flat int64 ``[images | not finite a layer | counts | below | above]``.
        ranges: between which values the bins lie.
        bins: number of bins.
    """

    subtraction = "exact"  # counts are whole numbers

    ranges: ActivationRanges
    bins: int
    _ends: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(cls, ranges: ActivationRanges, bins: int, *, device: torch.device | str = "cpu") -> HistogramDistribution:
        """A histogram that has seen no image.

        Raises:
            TypeError: when ``bins`` is not an int.
            ValueError: when it is not between 1 and 2**24, or times the width of a range it is no float32.
        """
        check_bins(bins)
        wide = ~((ranges.high - ranges.low) * bins).isfinite()
        if wide.any():
            raise ValueError(f"the range is too wide for {bins} bins in float32 for {ranges.layout.locate(wide)}")
        return cls(ranges.layout, cls._zeros(ranges.layout, cls._body(ranges.layout, bins), device), ranges, bins)

    @property
    def given(self) -> GivenRanges:
        """The ranges."""
        return self.ranges

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
        """Counts that are possible; no more outside than in the last bin of the side."""
        super().check_possible()
        for name, outside, end in (("below", self.below, 0), ("above", self.above, -1)):
            last = self.counts[:, end]
            wrong = (outside < 0) | (outside > last)
            self._refuse_where(wrong, f"{name}: expected from 0 to what the last bin on its side holds", outside)

    def outside_counts(self) -> tuple[Tensor, Tensor]:
        """``below`` and ``above``."""
        return self.below, self.above

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Both ends of each range, ``[neurons]`` float64."""
        return self.ranges.low.double(), self.ranges.high.double()

    @property
    def rule_ends(self) -> tuple[Tensor, Tensor]:
        """Both ends of each range, float32."""
        return self.ranges.low, self.ranges.high

    def widths(self) -> Tensor:
        """Of the ranges, ``[neurons]`` float64."""
        return self.ranges.high.double() - self.ranges.low.double()

    def bin_widths(self, unit: EMDUnit) -> Tensor:
        """A bin of each neuron in a unit of the EMD, ``[neurons]`` float64; that of a dead one is 0 in activations."""
        widths = self.widths()
        one = torch.ones_like(widths)
        return {"bins": one, "range": one / self.bins, "activation": widths / self.bins}[unit]

    def spanning(self, others: Sequence[Histogram]) -> Histogram:
        """All have the same bins."""
        return self

    def counts_in(self, frame: Histogram, rows: slice = slice(None)) -> Tensor:
        """The counts."""
        return self.counts[rows]

    def comparable(self, others: Sequence[Histogram]) -> list[Histogram]:
        """They are as they are."""
        return [self, *others]

    def _range_ends(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._ends:
            self._ends[device] = (self.ranges.low.to(device), self.ranges.high.to(device))
        return self._ends[device]

    def _summarise(self, activations: Tensor) -> Tensor:
        if notes_while_counting(activations):
            return torch.zeros(1, device=activations.device)
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
            observed=(summary[0], summary[1]) if len(summary) == 2 else None,
            note=summary if len(summary) == 1 else None,
        )

    @property
    def where(self) -> str:
        """Ends and sources of the ranges."""
        made_from = f"{self.ranges.n_images} images of {', '.join(self.ranges.sources) or 'unknown source'}"
        low, high = float(self.ranges.low.min()), float(self.ranges.high.max())
        return f"[{low:.4g} .. {high:.4g}] ({made_from}, widen={self.ranges.widen})"

    @property
    def digest(self) -> str:
        """That of the ranges."""
        return self.ranges.digest

    def select(self, selection: NeuronLayout) -> Self:
        """Keep the neurons of a selection of the layout."""
        rows = self.layout.rows_of(selection).to(self.state.device)
        parts = [self._selected_head(selection), self.counts[rows].flatten(), self.below[rows], self.above[rows]]
        return replace(self, layout=selection, state=torch.cat(parts), ranges=self.ranges.select(selection), _ends={})


_ROWS = 4096


def check_bins(bins: int, least: int = 1) -> None:
    """Raise ``TypeError`` or ``ValueError`` for what is not a number of bins."""
    if not isinstance(bins, int) or isinstance(bins, bool):
        raise TypeError(f"bins must be an int, got {bins!r}")
    if not least <= bins <= MAX_BINS:
        raise ValueError(f"bins must be between {least} and {MAX_BINS}, got {bins}")
