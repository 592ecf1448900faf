"""Histogram of every neuron's activations that finds its own range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.histogram import Histogram, HistogramDistribution, check_bins
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.functional.grids import codes_to_extremes, extreme_codes, grid, power_of_two, regrid, regrid_
from vdna_metrics.functional.histogram import accumulate_on_grid_, extremes
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import ActivationRanges, GivenRanges

if TYPE_CHECKING:
    from typing_extensions import Self

_MARGIN = 0.1  # of the observed width, at either end: what calibrated ranges have, so that units mean the same


@dataclass(frozen=True, eq=False)
class AutoHistogramDistribution(Histogram):
    """Counts of every neuron's activations on the finest grid of powers of two that holds them all.

    A grid is a function of the extremes (`functional.grid`), and grids nest. So the state is a function of the
    activations alone: in any batches, order and parts, on any number of processes, the same bits. Nothing is ever
    outside. Activations are taken in float32.

    Args:
        layout: the neurons.
        state: flat int64 ``[images | not finite a layer | code of the lowest | code of the highest | counts]``; codes
            are those of `functional.extreme_codes`.
        bins: number of bins, of which a neuron that gave several values uses more than half.
        unit_width: what the units ``"range"`` and ``"bins"`` of a distance are relative to, where that is not the own
            observed width, ``[neurons]``.
    """

    subtraction = "none"  # what is left may have a finer grid

    bins: int
    unit_width: Tensor | None = field(default=None, repr=False)

    @classmethod
    def empty(cls, layout: NeuronLayout, bins: int, *, device: torch.device | str = "cpu") -> AutoHistogramDistribution:
        """One that has seen no image.

        Raises:
            TypeError: when ``bins`` is not an int.
            ValueError: when it is not between 2 and 2**24.
        """
        check_bins(bins, least=2)
        return cls(layout, cls._zeros(layout, cls._body(layout, bins), device), bins)

    @property
    def given(self) -> GivenRanges:
        """None are given."""
        return "auto"

    @property
    def codes(self) -> Tensor:
        """Of the extremes, ``[2, neurons]`` int64, a view of the state."""
        return self.body[: 2 * self.layout.total].view(2, self.layout.total)

    @property
    def counts(self) -> Tensor:
        """``[neurons, bins]`` int64, a view of the state."""
        return self.body[2 * self.layout.total :].view(self.layout.total, self.bins)

    @property
    def observed(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest activation, ``[neurons]`` float32 each; infinite and reversed where there is none."""
        return codes_to_extremes(*self.codes)

    @property
    def grid(self) -> tuple[Tensor, Tensor]:
        """Exponent and first bin of each neuron's window, ``[neurons]`` int64 each; see `functional.grid`."""
        return self._grid_of(slice(None))

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Where each neuron's first bin begins and its last one ends, ``[neurons]`` float64 each."""
        exponent, origin = self.grid
        width = power_of_two(exponent)
        return origin * width, (origin + self.bins) * width

    def widths(self) -> Tensor:
        """What the units of distances are relative to, ``[neurons]`` float64: the observed width with a margin."""
        if self.unit_width is not None:
            return self.unit_width
        low, high = (end.double() for end in self.observed)
        return (high - low).clamp(min=0) * (1 + 2 * _MARGIN)

    def _grid_of(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Of some neurons; work is in their number alone."""
        return grid(*codes_to_extremes(*self.codes[:, rows]), self.bins)

    def _summarise(self, activations: Tensor) -> Tensor:
        return torch.stack(extremes(activations)).float()

    def _add_(self, batch: Mapping[str, Tensor], summaries: Mapping[str, Tensor], hashes: Tensor | None) -> None:
        # Grids of all layers at once: they are tens of operations, which are waited for, or started, one by one.
        low, high = torch.cat([summaries[layer] for layer in self.layout], dim=1)
        finite = low.isfinite() & high.isfinite()  # others are noted, on accelerators: here they must not matter
        low, high = torch.where(finite, low, torch.inf), torch.where(finite, high, -torch.inf)
        codes, counts = self.codes, self.counts
        seen, old = codes[0] > 0, self.grid
        codes.copy_(torch.maximum(codes, torch.stack(extreme_codes(low, high))))
        new = self.grid
        if low.device.type == "cpu":
            moved = (seen & ((new[0] != old[0]) | (new[1] != old[1]))).nonzero()[:, 0]
            if len(moved):
                counts[moved] = regrid(counts[moved], old[0][moved], old[1][moved], new[0][moved], new[1][moved])
        else:  # nothing waits for the device
            regrid_(counts, *old, *new)
        for layer, rows in self.layout.slices().items():
            accumulate_on_grid_(counts[rows], batch[layer], new[0][rows], new[1][rows])

    def check_possible(self) -> None:
        """Counts that are possible, between extremes that were counted themselves."""
        super().check_possible()
        low, high = self.observed
        seen = self.counts.any(dim=1)
        ends = torch.where(seen, low.isfinite() & high.isfinite() & (low <= high), (self.codes == 0).all(dim=0))
        self._refuse_where(~ends, "extremes: expected finite ones, low before high, or none of no activations", low)
        exponent, origin = self.grid
        scaled = torch.where(seen, high, 0).double() * power_of_two(-exponent)
        last = (scaled.floor().long() - origin)[:, None]
        counted = (self.counts[:, 0] > 0) & (self.counts.gather(1, last)[:, 0] > 0)
        none_above = self.counts.cumsum(dim=1).gather(1, last)[:, 0] == self.counts.sum(dim=1)
        wrong = seen & ~(counted & none_above)
        self._refuse_where(wrong, "extremes and counts: expected the lowest and highest activation counted", low)

    def outside_counts(self) -> tuple[Tensor, Tensor]:
        """None, ever."""
        none = self.state.new_zeros(self.layout.total)
        return none, none

    @property
    def where(self) -> str:
        """That they are not given."""
        return "auto"

    @property
    def digest(self) -> str:
        """The same for all: the activations decide."""
        return "auto"

    def select(self, selection: NeuronLayout) -> Self:
        """Keep the neurons of a selection of the layout."""
        rows = self.layout.rows_of(selection).to(self.state.device)
        parts = [self._selected_head(selection), self.codes[:, rows].flatten(), self.counts[rows].flatten()]
        width = None if self.unit_width is None else self.unit_width[rows]
        return replace(self, layout=selection, state=torch.cat(parts), unit_width=width)

    def merged(self, states: Iterable[Tensor]) -> Tensor:
        """The state of several sets of images from their states, at least two."""
        sets = [self.with_state(state) for state in states]
        codes = torch.stack([each.codes for each in sets]).amax(dim=0)
        total, *others = (each.within(codes) for each in sets)
        for other in others:
            total.state.add_(other.state)
        total.codes.copy_(codes)
        return total.state

    def sum_over_ranks(self, states: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
        """States over the images of all ranks; these agree on the extremes first, since grids depend on them."""
        sets = [self.with_state(state) for state in states]
        codes = ranks.all_reduce(torch.stack([each.codes for each in sets]), torch.distributed.ReduceOp.MAX)
        together = [each.within(own).state for each, own in zip(sets, codes, strict=True)]
        summed = super().sum_over_ranks(together, ranks)
        for state, own in zip(summed, codes, strict=True):
            self.with_state(state).codes.copy_(own)
        return summed

    def without(self, part: Distribution) -> Self:
        """Not known: what is left may have a finer grid."""
        raise TypeError("histograms that find their own range do not subtract: add up the other parts")

    def within(self, codes: Tensor) -> Self:
        """The same counts in the window of wider extremes, ``[2, neurons]`` as `codes`."""
        found = replace(self, state=self.state.clone())
        found.codes.copy_(codes)
        found.counts.copy_(self.counts_in(found))
        return found

    def spanning(self, others: Sequence[Histogram]) -> Self:
        """One on the grid of the extremes of all."""
        codes = [each.codes.to(self.state.device) for each in (self, *others) if isinstance(each, type(self))]
        frame = replace(self, state=torch.zeros_like(self.state), unit_width=self.widths())
        frame.codes.copy_(torch.stack(codes).amax(dim=0))
        return frame

    def counts_in(self, frame: Histogram, rows: slice = slice(None)) -> Tensor:
        """The counts on a grid at least as coarse."""
        if not isinstance(frame, AutoHistogramDistribution):
            raise TypeError(f"expected a frame of such histograms, got {type(frame).__name__}")
        exponent, origin = (end.to(self.state.device) for end in frame._grid_of(rows))
        return regrid(self.counts[rows], *self._grid_of(rows), exponent, origin)

    def comparable(self, others: Sequence[Histogram]) -> list[Histogram]:
        """This and others in the bins of what spans them, on this one's device."""
        frame = self.spanning(others)
        found: list[Histogram] = []
        for each in (self, *others):
            head = each.state[: 1 + len(self.layout)].to(self.state.device)
            same = replace(frame, state=torch.cat([head, frame.body]))
            same.counts.copy_(each.counts_in(frame))
            found.append(same)
        return found


def empty_histogram(
    layout: NeuronLayout, ranges: GivenRanges, bins: int, *, device: torch.device | str = "cpu"
) -> Histogram:
    """A histogram of some neurons that has seen no image, in given ranges or those that it will find.

    Raises:
        TypeError: when ``bins`` is not an int.
        ValueError: when it is not possible, or the ranges are not of these neurons.
    """
    if isinstance(ranges, ActivationRanges):
        return HistogramDistribution.empty(ranges.for_layout(layout), bins, device=device)
    return AutoHistogramDistribution.empty(layout, bins, device=device)
