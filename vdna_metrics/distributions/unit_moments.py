"""Second moments of features of unit length: what the Vendi score is made of, however many images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.kinds import Kind
from vdna_metrics.functional.kernels import unit_rows
from vdna_metrics.functional.moments import image_means
from vdna_metrics.layout import NeuronLayout

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False)
class UnitMoments(Distribution):
    """Sum of ``x xᵀ`` over images, where x is a layer's activations, positions averaged, divided by its length.

    A state of metrics alone: it tells nothing of the activations' size, and there are no files of it.

    Args:
        layout: the neurons.
        state: flat float64 ``[images | not finite a layer | a layer's sum of x xᵀ, each]``.
    """

    kind: ClassVar[Kind] = "features"
    dtype: ClassVar[torch.dtype] = torch.float64
    subtraction = "rounded"

    @classmethod
    def empty(cls, layout: NeuronLayout, *, device: torch.device | str = "cpu") -> UnitMoments:
        """One that has seen no image."""
        return cls(layout, cls._zeros(layout, _squares(layout), device))

    def body_size(self) -> int:
        """Length of the sums."""
        return _squares(self.layout)

    def seconds(self) -> dict[str, Tensor]:
        """Sum of ``x xᵀ``, ``{layer: [neurons, neurons]}``, views of the state."""
        parts = self.body.split([count * count for count in self.layout.values()])
        return {layer: part.view(d, d) for (layer, d), part in zip(self.layout.items(), parts, strict=True)}

    def _summarise(self, activations: Tensor) -> Tensor:
        means = image_means(activations)
        zeros = ~means.any(dim=1)
        if means.device.type == "cpu" and zeros.any():
            raise ValueError(
                f"{int(zeros.sum())} of {len(means)} images have activations that are all zeros, which have no cosine "
                "with others; leave them out"
            )
        return unit_rows(means)  # NaN without a direction

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        self.seconds()[layer].addmm_(summary.T, summary)

    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """Nothing."""
        return []

    def select(self, selection: NeuronLayout) -> Self:
        """Not possible, since lengths are of all neurons of a layer."""
        raise ValueError(f"lengths are of all neurons of {', '.join(self.layout)}; some cannot be selected afterwards")

    def check_possible(self) -> None:
        """Each layer's trace is the number of images."""
        for layer, second in self.seconds().items():
            if not abs(float(second.trace()) - self.n_images) <= 1e-9 * max(1, self.n_images):
                raise ValueError(f"expected a trace of {self.n_images}, got {float(second.trace()):g} in {layer!r}")


def _squares(layout: NeuronLayout) -> int:
    return sum(count * count for count in layout.values())
