"""Mean and variance of every neuron, or mean and covariance of every layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution, Kind
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


@dataclass(frozen=True, eq=False)
class _Moments(Distribution):
    """First moments of every neuron and second ones of a subclass, about a centre; positions are averaged first."""

    min_images: ClassVar[int] = 2
    dtype: ClassVar[torch.dtype] = torch.float64

    centre: Tensor

    @classmethod
    def empty(cls, layout: NeuronLayout, *, centre: Tensor | None = None, device: torch.device | str = "cpu") -> Self:
        """One that has seen no image; without a ``centre`` values are not shifted."""
        if centre is None:
            centre = torch.zeros(layout.total, dtype=torch.float64, device=device)
        if centre.shape != (layout.total,):
            raise ValueError(f"centre has shape {tuple(centre.shape)}, the layout {layout.total} neurons")
        size = 1 + len(layout) + layout.total + cls._seconds(layout)
        state = torch.zeros(size, dtype=torch.float64, device=device)
        return cls(layout, state, centre.to(device=device, dtype=torch.float64))

    @staticmethod
    @abstractmethod
    def _seconds(layout: NeuronLayout) -> int:
        """Number of second moments."""

    def body_size(self) -> int:
        """First and second moments."""
        return self.layout.total + self._seconds(self.layout)

    @property
    def first(self) -> Tensor:
        """Sum of ``x - c``, ``[neurons]``, a view of the state."""
        return self.body[: self.layout.total]

    @property
    def second(self) -> Tensor:
        """Sums of products of ``x - c``, flat, a view of the state."""
        return self.body[self.layout.total :]

    def mean(self) -> Tensor:
        """Mean of each neuron, ``[neurons]`` float64."""
        return self.centre + self.first / self.n_images

    def _summarise(self, activations: Tensor) -> Tensor:
        return image_means(activations)

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Nothing: the centre is only where the sums are taken about."""
        return []

    def with_state(self, state: Tensor) -> Self:
        """The same settings around another state."""
        return replace(self, state=state, centre=self.centre.to(state.device))

    def _add(self, other: Distribution) -> Self:
        if not isinstance(other, type(self)):
            raise TypeError(f"a {self.kind} cannot be merged with {type(other).__name__}")
        shift = self.centre.to(other.centre.device) - other.centre
        if shift.any():
            head = other.state[: 1 + len(self.layout)]
            other = other.with_state(torch.cat([head, *other._recentred(shift)]))
        return self.with_state(self.state + other.state.to(self.state.device))

    @abstractmethod
    def _recentred(self, shift: Tensor) -> list[Tensor]:
        """The body about the centre plus a shift, in flat parts."""

    def select(self, selection: NeuronLayout) -> Self:
        """Keep the neurons of a selection of the layout; of covariances, their rows and columns."""
        rows = self.layout.rows_of(selection).to(self.state.device)
        state = torch.cat([self._selected_head(selection), self.first[rows], *self._selected_seconds(selection)])
        return type(self)(selection, state, self.centre[rows.to(self.centre.device)])

    @abstractmethod
    def _selected_seconds(self, selection: NeuronLayout) -> list[Tensor]:
        """Second moments of some neurons, in flat parts."""


@dataclass(frozen=True, eq=False)
class GaussianDistribution(_Moments):
    """Mean and variance of every neuron over images, its positions averaged first.

    Args:
        layout: the neurons.
        state: flat float64 ``[images | not finite a layer | sum of x - c | sum of (x - c)²]``.
        centre: the fixed shift ``c`` of each neuron, ``[neurons]`` float64.
    """

    kind: ClassVar[Kind] = "gaussian"

    @staticmethod
    def _seconds(layout: NeuronLayout) -> int:
        return layout.total

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (ddof=1), ``[neurons]`` float64 each; needs two images."""
        return mean_and_variance(self.n_images, self.first, self.second, self.centre)

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        accumulate_moments_(self.first[rows], self.second[rows], summary, self.centre[rows].to(summary.device))

    def _recentred(self, shift: Tensor) -> list[Tensor]:
        return list(recentre(self.n_images, self.first, self.second, shift))

    def _selected_seconds(self, selection: NeuronLayout) -> list[Tensor]:
        return [self.second[self.layout.rows_of(selection).to(self.state.device)]]


@dataclass(frozen=True, eq=False)
class LayerGaussianDistribution(_Moments):
    """Mean and covariance of every layer over images, positions averaged first.

    Args:
        layout: the neurons.
        state: flat float64 ``[images | not finite a layer | sum of x - c | sum of (x - c)(x - c)ᵀ a layer]``.
        centre: the fixed shift ``c`` of each neuron, ``[neurons]`` float64.
    """

    kind: ClassVar[Kind] = "layer_gaussian"

    _factors: dict[str, Tensor] = field(default_factory=dict, repr=False)

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
            self._factors[layer] = covariance_factor(self.mean_and_covariance(layer)[1])
        return self._factors[layer]

    def gaussian(self) -> GaussianDistribution:
        """The neurons' own means and variances: the diagonal."""
        diagonals = [scatter.diagonal() for scatter in self.scatters().values()]
        state = torch.cat([self.state[: 1 + len(self.layout)], self.first, *diagonals])
        return GaussianDistribution(self.layout, state, self.centre)

    def fill_(self, activations: Mapping[str, Tensor]) -> None:
        """Add a batch; see `Distribution.fill_`."""
        self._factors.clear()
        super().fill_(activations)

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        centre = self.centre[rows].to(summary.device)
        accumulate_scatter_(self.first[rows], self.scatters()[layer], summary, centre)

    def with_state(self, state: Tensor) -> Self:
        """The same settings around another state."""
        return replace(super().with_state(state), _factors={})

    def _recentred(self, shift: Tensor) -> list[Tensor]:
        firsts, scatters = [], []
        for layer, rows in self.layout.slices().items():
            first, scatter = recentre_scatter(self.n_images, self.first[rows], self.scatters()[layer], shift[rows])
            firsts.append(first)
            # Symmetric to the last bit, since files keep one triangle.
            scatters.append(scatter.triu().add_(scatter.triu(1).T).flatten())
        return [*firsts, *scatters]

    def _selected_seconds(self, selection: NeuronLayout) -> list[Tensor]:
        index = {layer: i.to(self.state.device) for layer, i in self.layout.index_of(selection).items()}
        scatters = self.scatters()
        return [scatters[layer][i][:, i].flatten() for layer, i in index.items()]
