"""Mean and variance of every neuron, or mean and covariance of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

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


@dataclass(frozen=True, eq=False)
class GaussianDistribution(Distribution):
    """Mean and variance of every neuron over images, its positions averaged first.

    Args:
        layout: the neurons.
        state: flat float64 ``[images | not finite a layer | sum of x - c | sum of (x - c)²]``.
        centre: the fixed shift ``c`` of each neuron, ``[neurons]`` float64.
    """

    kind: ClassVar[Kind] = "gaussian"
    min_images: ClassVar[int] = 2
    dtype: ClassVar[torch.dtype] = torch.float64

    centre: Tensor

    @classmethod
    def empty(
        cls, layout: NeuronLayout, *, centre: Tensor | None = None, device: torch.device | str | None = None
    ) -> GaussianDistribution:
        """A Gaussian that has seen no image; without a ``centre`` values are not shifted."""
        centre = _centre(layout, centre, device)
        state = torch.zeros(1 + len(layout) + 2 * layout.total, dtype=torch.float64, device=device)
        return cls(layout, state, centre)

    def body_size(self) -> int:
        """First and second moment of each neuron."""
        return 2 * self.layout.total

    @property
    def first(self) -> Tensor:
        """Sum of ``x - c``, ``[neurons]``, a view of the state."""
        return self.body[: self.layout.total]

    @property
    def second(self) -> Tensor:
        """Sum of ``(x - c)²``, ``[neurons]``, a view of the state."""
        return self.body[self.layout.total :]

    def mean(self) -> Tensor:
        """Mean of each neuron, ``[neurons]`` float64."""
        return self.centre + self.first / self.n_images

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (ddof=1), ``[neurons]`` float64 each; needs two images."""
        return mean_and_variance(self.n_images, self.first, self.second, self.centre)

    def _summarise(self, activations: Tensor) -> Tensor:
        return image_means(activations)

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        accumulate_moments_(self.first[rows], self.second[rows], summary, self.centre[rows].to(summary.device))

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Nothing: the centre is only where the sums are taken about."""
        return []

    def with_state(self, state: Tensor) -> GaussianDistribution:
        """The same settings around another state."""
        return replace(self, state=state, centre=self.centre.to(state.device))

    def _add(self, other: Distribution) -> GaussianDistribution:
        if not isinstance(other, GaussianDistribution):
            raise TypeError(f"a Gaussian cannot be merged with {type(other).__name__}")
        return self.with_state(self.state + other._about(self.centre).state.to(self.state.device))

    def _about(self, centre: Tensor) -> GaussianDistribution:
        if torch.equal(self.centre, centre.to(self.centre.device)):
            return self
        shift = centre.to(self.centre.device) - self.centre
        moments = recentre(self.n_images, self.first, self.second, shift)
        head = self.state[: 1 + len(self.layout)]
        return GaussianDistribution(self.layout, torch.cat([head, *moments]), centre)

    def select(self, selection: NeuronLayout) -> GaussianDistribution:
        """Keep the neurons of a selection of the layout."""
        rows = self.layout.rows_of(selection).to(self.state.device)
        state = torch.cat([self._selected_head(selection), self.first[rows], self.second[rows]])
        return GaussianDistribution(selection, state, self.centre[rows.to(self.centre.device)])


@dataclass(frozen=True, eq=False)
class LayerGaussianDistribution(Distribution):
    """Mean and covariance of every layer over images, positions averaged first.

    Args:
        layout: the neurons.
        state: flat float64 ``[images | not finite a layer | sum of x - c | sum of (x - c)(x - c)ᵀ a layer]``.
        centre: the fixed shift ``c`` of each neuron, ``[neurons]`` float64.
    """

    kind: ClassVar[Kind] = "layer_gaussian"
    min_images: ClassVar[int] = 2
    dtype: ClassVar[torch.dtype] = torch.float64

    centre: Tensor
    _factors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(
        cls, layout: NeuronLayout, *, centre: Tensor | None = None, device: torch.device | str | None = None
    ) -> LayerGaussianDistribution:
        """A Gaussian of each layer that has seen no image; without a ``centre`` values are not shifted."""
        centre = _centre(layout, centre, device)
        size = 1 + len(layout) + layout.total + sum(count * count for count in layout.values())
        return cls(layout, torch.zeros(size, dtype=torch.float64, device=device), centre)

    def body_size(self) -> int:
        """First moment of each neuron and scatter matrix of each layer."""
        return self.layout.total + sum(count * count for count in self.layout.values())

    @property
    def first(self) -> Tensor:
        """Sum of ``x - c``, ``[neurons]``, a view of the state."""
        return self.body[: self.layout.total]

    def mean(self) -> Tensor:
        """Mean of each neuron, ``[neurons]`` float64."""
        return self.centre + self.first / self.n_images

    def scatters(self) -> dict[str, Tensor]:
        """Sum of ``(x - c)(x - c)ᵀ``, ``{layer: [neurons, neurons]}``, views of the state."""
        sizes = [count * count for count in self.layout.values()]
        parts = self.body[self.layout.total :].split(sizes)
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

    def _summarise(self, activations: Tensor) -> Tensor:
        return image_means(activations)

    def fill_(self, activations: Mapping[str, Tensor]) -> None:
        """Add a batch; see `Distribution.fill_`."""
        self._factors.clear()
        super().fill_(activations)

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        centre = self.centre[rows].to(summary.device)
        accumulate_scatter_(self.first[rows], self.scatters()[layer], summary, centre)

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Nothing: the centre is only where the sums are taken about."""
        return []

    def with_state(self, state: Tensor) -> LayerGaussianDistribution:
        """The same settings around another state."""
        return replace(self, state=state, centre=self.centre.to(state.device), _factors={})

    def _add(self, other: Distribution) -> LayerGaussianDistribution:
        if not isinstance(other, LayerGaussianDistribution):
            raise TypeError(f"a layer Gaussian cannot be merged with {type(other).__name__}")
        return self.with_state(self.state + other._about(self.centre).state.to(self.state.device))

    def _about(self, centre: Tensor) -> LayerGaussianDistribution:
        if torch.equal(self.centre, centre.to(self.centre.device)):
            return self
        shift = centre.to(self.centre.device) - self.centre
        firsts, scatters = [], []
        for layer, rows in self.layout.slices().items():
            first, scatter = recentre_scatter(self.n_images, self.first[rows], self.scatters()[layer], shift[rows])
            firsts.append(first)
            # Symmetric to the last bit, since files keep one triangle.
            scatters.append(scatter.triu().add_(scatter.triu(1).T).flatten())
        head = self.state[: 1 + len(self.layout)]
        return LayerGaussianDistribution(self.layout, torch.cat([head, *firsts, *scatters]), centre)

    def select(self, selection: NeuronLayout) -> LayerGaussianDistribution:
        """Keep the neurons of a selection: rows and columns of the covariances."""
        rows = self.layout.rows_of(selection).to(self.state.device)
        index = {layer: i.to(self.state.device) for layer, i in self.layout.index_of(selection).items()}
        scatters = self.scatters()
        parts = [scatters[layer][i][:, i].flatten() for layer, i in index.items()]
        state = torch.cat([self._selected_head(selection), self.first[rows], *parts])
        return LayerGaussianDistribution(selection, state, self.centre[rows.to(self.centre.device)])


def _centre(layout: NeuronLayout, centre: Tensor | None, device: torch.device | str | None) -> Tensor:
    if centre is None:
        return torch.zeros(layout.total, dtype=torch.float64, device=device)
    if centre.shape != (layout.total,):
        raise ValueError(f"centre has shape {tuple(centre.shape)}, the layout {layout.total} neurons")
    return centre.to(device=device, dtype=torch.float64)
