"""Where the positions of a layer lie in the image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PositionGrid:
    """The grid that a layer's positions make, row by row.

    Args:
        rows: of the grid, from the top of what the network sees to its bottom.
        columns: likewise, from the left.
        first: positions before the grid, which have no place: class and register tokens.

    Examples:
        >>> import torch
        >>> PositionGrid(2, 3).maps(torch.arange(6.0).view(1, 1, 6)).tolist()
        [[[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]]]
    """

    rows: int
    columns: int
    first: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def positions(self) -> int:
        """How many positions the layer has, with those before the grid."""
        return self.first + self.rows * self.columns

    def maps(self, activations: Tensor) -> Tensor:
        """``[neurons, images, positions]`` -> ``[images, neurons, rows, columns]``, a view.

        Raises:
            ValueError: for another number of positions.
        """
        if (positions := activations.shape[2]) != self.positions:
            raise ValueError(
                f"expected {self.positions} positions ({self.first} and {self.rows} x {self.columns}), got {positions}"
            )
        maps: Tensor = activations[..., self.first :].unflatten(2, self.shape).transpose(0, 1)
        return maps
