"""Mean and variance of every neuron, or mean and covariance of every layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.kinds import Kind
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.functional.frechet import covariance_factor
from vdna_metrics.functional.moments import (
    accumulate_moments_,
    accumulate_scatter_,
    image_means,
    mean_and_covariance,
    mean_and_variance,
    recentre,
    recentre_scatter,
)
from vdna_metrics.layout import NeuronLayout

if TYPE_CHECKING:
    from typing_extensions import Self


_ROUNDING = 1e-9
_LARGEST = 1e70  # float32 ends at 3.4e38; the fourth powers of means, which distances take, are finite


@dataclass(frozen=True, eq=False)
class _Moments(Distribution):
    """First moments of every neuron and second ones of a subclass, about a centre; positions are averaged first.

    The centre is the first image, so that no digits are lost where means are large against what images differ by, and
    it moves to the common mean when states are merged.
    """

    min_images: ClassVar[int] = 2
    dtype: ClassVar[torch.dtype] = torch.float64
    subtraction = "rounded"

    @classmethod
    def empty(cls, layout: NeuronLayout, *, device: torch.device | str = "cpu") -> Self:
        """One that has seen no image."""
        return cls(layout, cls._zeros(layout, cls._body(layout), device))

    @staticmethod
    @abstractmethod
    def _seconds(layout: NeuronLayout) -> int:
        """Number of second moments."""

    @classmethod
    def _body(cls, layout: NeuronLayout) -> int:
        """Centre, first and second moments."""
        return 2 * layout.total + cls._seconds(layout)

    def body_size(self) -> int:
        """Length of all moments."""
        return self._body(self.layout)

    @property
    def centre(self) -> Tensor:
        """What sums are taken about, ``c``, ``[neurons]``, a view of the state."""
        return self.body[: self.layout.total]

    @property
    def first(self) -> Tensor:
        """Sum of ``x - c``, ``[neurons]``, a view of the state."""
        return self.body[self.layout.total : 2 * self.layout.total]

    @property
    def second(self) -> Tensor:
        """Sums of products of ``x - c``, flat, a view of the state."""
        return self.body[2 * self.layout.total :]

    def mean(self) -> Tensor:
        """Mean of each neuron, ``[neurons]`` float64."""
        return self.centre + self.first / self.n_images

    def check_possible(self) -> None:
        """Means and variances whose squares are finite, variances from 0 but for rounding, and nothing of no images."""
        images = max(1, self.n_images)
        squares, offset = self._squares() / images, self.first / images
        mean = self.centre + offset
        self._refuse_where(
            ~(mean.abs() < _LARGEST), f"centre and first moments: expected a mean within {_LARGEST:g}", mean
        )
        variance = squares - offset.square()
        # Sums that were moved to another centre are rounded at the size of what was moved.
        slack = _ROUNDING * (squares.abs() + self.centre.square())
        possible = (variance >= -slack) & (variance.abs() < _LARGEST**2)
        if not self.n_images:
            possible &= (squares == 0) & (offset == 0)
        what = f"n_images, first and second moments: expected of {self.n_images} images a variance from 0"
        self._refuse_where(~possible, f"{what}, below {_LARGEST**2:g}", variance)

    @abstractmethod
    def _squares(self) -> Tensor:
        """Sum of ``(x - c)²``, ``[neurons]``."""

    def with_state(self, state: Tensor) -> Self:
        """The same settings around another state."""
        return type(self)(self.layout, state)

    def _summarise(self, activations: Tensor) -> Tensor:
        return image_means(activations)

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Nothing: the centre is only where the sums are taken about."""
        return []

    def _centre_for_(self, rows: slice, features: Tensor) -> Tensor:
        """The centre of a layer, set when its first features ``[images, neurons]`` come."""
        centre = self.centre[rows]
        # Images are counted before they are added, so these are the first where they are all.
        return centre.copy_(torch.where(self.state[0] == len(features), features[0], centre))

    def without(self, part: Distribution) -> Self:
        """The distribution over the images that are not in a part of them."""
        moved = self.with_state(part.state.to(self.state.device)).about(self.centre)
        return self._centred(self.state - moved.state, self.centre)

    def merged(self, states: Iterable[Tensor]) -> Tensor:
        """The state of several sets of images from their states, at least two."""
        sets = [self.with_state(state) for state in states]
        centre = self._common_mean(reduce(torch.add, (each._totals() for each in sets)))
        return self._centred(super().merged(each.about(centre).state for each in sets), centre).state

    def sum_over_ranks(self, states: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
        """States over the images of all ranks; these agree on a centre first, since sums about several do not add."""
        sets = [self.with_state(state) for state in states]
        centres = [*map(self._common_mean, ranks.all_reduce(torch.stack([each._totals() for each in sets])))]
        moved = [each.about(centre).state for each, centre in zip(sets, centres, strict=True)]
        summed = super().sum_over_ranks(moved, ranks)
        return [self._centred(state, centre).state for state, centre in zip(summed, centres, strict=True)]

    def _totals(self) -> Tensor:
        """Number of images and sum of each neuron, ``[1 + neurons]``."""
        return torch.cat([self.state[:1], self.state[0] * self.centre + self.first])

    @staticmethod
    def _common_mean(totals: Tensor) -> Tensor:
        return totals[1:] / totals[0].clamp(min=1)

    def _centred(self, state: Tensor, centre: Tensor) -> Self:
        """What has this state, but for its centre."""
        found = self.with_state(state)
        found.centre.copy_(centre)
        return found

    def about(self, centre: Tensor) -> Self:
        """The same images, with sums about another centre, ``[neurons]``."""
        head, shift = self.state[: 1 + len(self.layout)], centre - self.centre
        return self.with_state(torch.cat([head, centre, *self._recentred(shift)]))

    @abstractmethod
    def _recentred(self, shift: Tensor) -> list[Tensor]:
        """The body about the centre plus a shift, in flat parts."""

    def select(self, selection: NeuronLayout) -> Self:
        """Keep the neurons of a selection of the layout; of covariances, their rows and columns."""
        rows = self.layout.rows_of(selection).to(self.state.device)
        firsts = [self._selected_head(selection), self.centre[rows], self.first[rows]]
        return type(self)(selection, torch.cat([*firsts, *self._selected_seconds(selection)]))

    @abstractmethod
    def _selected_seconds(self, selection: NeuronLayout) -> list[Tensor]:
        """Second moments of some neurons, in flat parts."""


@dataclass(frozen=True, eq=False)
class GaussianDistribution(_Moments):
    """Mean and variance of every neuron over images, its positions averaged first.

    Args:
        layout: the neurons.
        state: flat float64 ``[images | not finite a layer | centre c | sum of x - c | sum of (x - c)²]``.
    """

    kind: ClassVar[Kind] = "gaussian"

    @staticmethod
    def _seconds(layout: NeuronLayout) -> int:
        return layout.total

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (ddof=1), ``[neurons]`` float64 each; needs two images."""
        return mean_and_variance(self.n_images, self.first, self.second, self.centre)

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        accumulate_moments_(self.first[rows], self.second[rows], summary, self._centre_for_(rows, summary))

    def _squares(self) -> Tensor:
        return self.second

    def _recentred(self, shift: Tensor) -> list[Tensor]:
        return list(recentre(self.state[0], self.first, self.second, shift))

    def _selected_seconds(self, selection: NeuronLayout) -> list[Tensor]:
        return [self.second[self.layout.rows_of(selection).to(self.state.device)]]


@dataclass(frozen=True, eq=False)
class LayerGaussianDistribution(_Moments):
    """Mean and covariance of every layer over images, positions averaged first.

    Args:
        layout: the neurons.
        state: flat float64 ``[images | not finite a layer | centre c | sum of x - c | a layer's sum of
            (x - c)(x - c)ᵀ, each]``.
    """

    kind: ClassVar[Kind] = "layer_gaussian"

    _factors: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def _seconds(layout: NeuronLayout) -> int:
        return sum(count * count for count in layout.values())

    def scatters(self) -> dict[str, Tensor]:
        """Sum of ``(x - c)(x - c)ᵀ``, ``{layer: [neurons, neurons]}``, views of the state."""
        parts = self.second.split([count * count for count in self.layout.values()])
        return {layer: part.view(d, d) for (layer, d), part in zip(self.layout.items(), parts, strict=True)}

    def mean_and_covariance(self, layer: str) -> tuple[Tensor, Tensor]:
        """Mean ``[d]`` and covariance ``[d, d]`` (ddof=1) of a layer, float64; needs two images."""
        rows = self.layout.slices()[layer]
        return mean_and_covariance(self.n_images, self.first[rows], self.scatters()[layer], self.centre[rows])

    def factor(self, layer: str) -> Tensor:
        """Factor ``A [d, r]`` of a layer's covariance ``A Aᵀ``, computed once."""
        if layer not in self._factors:
            scale = self.scatters()[layer].diagonal().amax() / (self.n_images - 1)
            self._factors[layer] = covariance_factor(self.mean_and_covariance(layer)[1], scale=scale)
        return self._factors[layer]

    def check_possible(self) -> None:
        """As of each neuron's Gaussian, and products no larger than the largest square."""
        super().check_possible()
        for layer, scatter in self.scatters().items():
            slack = _ROUNDING * self.n_images * float(self.centre.square().amax())
            largest = float(scatter.diagonal().amax()) * (1 + _ROUNDING) + slack
            found = max(float(scatter.amax()), -float(scatter.amin()))
            if not found <= largest:
                raise ValueError(
                    f"second moments: expected products of at most {largest:g}, got {found:g} in layer {layer!r}"
                )

    def _squares(self) -> Tensor:
        return torch.cat([scatter.diagonal() for scatter in self.scatters().values()])

    def gaussian(self) -> GaussianDistribution:
        """The neurons' own means and variances: the diagonal."""
        state = torch.cat([self.state[: 1 + len(self.layout)], self.centre, self.first, self._squares()])
        return GaussianDistribution(self.layout, state)

    def fill_(self, activations: Mapping[str, Tensor], hashes: Tensor | None = None) -> None:
        """Add a batch; see `Distribution.fill_`."""
        self._factors.clear()
        super().fill_(activations, hashes)

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        accumulate_scatter_(self.first[rows], self.scatters()[layer], summary, self._centre_for_(rows, summary))

    def _recentred(self, shift: Tensor) -> list[Tensor]:
        firsts, scatters = [], []
        for layer, rows in self.layout.slices().items():
            first, scatter = recentre_scatter(self.state[0], self.first[rows], self.scatters()[layer], shift[rows])
            firsts.append(first)
            scatters.append(scatter.flatten())
        return [*firsts, *scatters]

    def _selected_seconds(self, selection: NeuronLayout) -> list[Tensor]:
        index = {layer: i.to(self.state.device) for layer, i in self.layout.index_of(selection).items()}
        scatters = self.scatters()
        return [scatters[layer][i][:, i].flatten() for layer, i in index.items()]
