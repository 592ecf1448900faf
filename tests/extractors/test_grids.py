"""Where positions of layers lie in the image."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from vdna_metrics import create_extractor
from vdna_metrics.extractors import PositionGrid


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        ("vit_tiny_patch16_224", ["patch_embed", "blocks.0", "norm[:, 0]", "fc_norm"], [(4, 4, 0), (4, 4, 1)]),
        ("swin_tiny_patch4_window7_224", ["patch_embed.proj", "layers.3"], [(16, 16, 0), (2, 2, 0)]),
        ("resnet10t", ["layer1", "layer4", "fc"], [(16, 16, 0), (2, 2, 0)]),
    ],
)  # fmt: skip
def test_maps_and_tokens_have_grids_and_vectors_have_none(
    name: str, layers: list[str], expected: list[tuple[int, int, int]]
) -> None:
    """Maps, in either memory order, and patch tokens lie on grids; class tokens and vectors have no place."""
    options = {} if name == "resnet10t" else {"img_size": 64}
    network = create_extractor(timm.create_model(name, **options), layers=layers, size=64)
    found = network.grids()
    assert [(grid.rows, grid.columns, grid.first) for grid in found.values()] == expected
    activations = network(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    for layer, grid in found.items():
        assert grid.positions == activations[layer].shape[2]


def test_positions_are_where_a_map_shows_them() -> None:
    """A position's activation is that of the image at its place, also where the image is not square."""
    network = create_extractor(nn.AvgPool2d(8), layers=[""])
    images = torch.zeros(1, 3, 16, 40, dtype=torch.uint8)
    images[:, 0, 8:, 24:32] = 80
    grid = network.grids((16, 40))[""]
    maps = grid.maps(network(images)[""])
    assert maps.shape == (1, 3, 2, 5)
    assert (maps[0, 0] != 0).nonzero().tolist() == [[1, 3]]


def test_grids_of_another_size_are_told_apart() -> None:
    """A network that takes any size has a grid a size."""
    network = create_extractor(nn.Conv2d(3, 4, 3, stride=2), layers=[""])
    assert network.grids((9, 21))[""] == PositionGrid(4, 10)
    assert network.grids((21, 9))[""] == PositionGrid(10, 4)


class _Tokens(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))[:, None].expand(-1, self.number, -1)


@pytest.mark.parametrize(("number", "grid"), [(16, (4, 4, 0)), (17, (4, 4, 1)), (1, None), (7, None)])
def test_tokens_that_make_no_grid_have_no_place(number: int, grid: tuple[int, int, int] | None) -> None:
    """Tokens are patches, after a class token or without, only where their number has the image's shape."""
    found = create_extractor(_Tokens(number), layers=[""], size=32).grids()
    assert found == ({} if grid is None else {"": PositionGrid(*grid)})


def test_other_positions_are_refused() -> None:
    """A grid is of one number of positions."""
    with pytest.raises(ValueError, match=r"expected 7 positions \(1 and 2 x 3\), got 6"):
        PositionGrid(2, 3, 1).maps(torch.zeros(1, 1, 6))
