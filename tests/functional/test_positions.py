"""Some of an image's positions instead of all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vdna_metrics.functional import position_grid, spread_over, subsample_positions


def numbered(neurons: int, images: int, positions: int) -> torch.Tensor:
    """Activations that tell their position, ``[neurons, images, positions]``."""
    return torch.arange(positions, dtype=torch.float32).expand(neurons, images, positions).clone()


@pytest.mark.parametrize(("positions", "kept"), [(197, 49), (196, 49), (49, 48), (3136, 64), (5, 1), (7, 3)])
def test_one_position_of_each_stretch_is_kept(positions: int, kept: int) -> None:
    """Of `kept` stretches of equal length, to rounding, each gives one position; all neurons and images the same."""
    chosen = subsample_positions(numbered(3, 2, positions), kept)
    assert chosen.shape == (3, 2, kept)
    assert torch.equal(chosen, chosen[:1, :1].expand_as(chosen))
    for stretch, position in enumerate(chosen[0, 0].tolist()):
        assert stretch * positions // kept <= position < (stretch + 1) * positions // kept


def test_the_choice_is_for_ever() -> None:
    """The positions are these, on every machine and in every version: DNAs of other ones could not be compared."""
    assert subsample_positions(numbered(1, 1, 197), 8).flatten().tolist() == [13, 41, 63, 86, 108, 138, 157, 194]
    assert subsample_positions(numbered(1, 1, 49), 5).flatten().tolist() == [4, 16, 25, 34, 43]


@pytest.mark.parametrize("at_most", [5, 6, 1000, None])
def test_layers_of_no_more_positions_stay_whole(at_most: int | None) -> None:
    """Activations that need no cut are given back themselves."""
    activations = numbered(2, 3, 5)
    assert subsample_positions(activations, at_most) is activations


def test_no_column_of_a_map_is_favoured() -> None:
    """On a map of 56 x 56, whose width an even stride of 49 positions would share, all columns are seen alike."""
    kept = subsample_positions(numbered(1, 1, 56 * 56), 448).flatten().numpy().astype(int)
    for coordinate in (kept // 56, kept % 56):
        seen = np.bincount(coordinate, minlength=56)
        assert seen.min() >= 1
        assert seen.max() <= 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (1, 0, 2), (2, 0, 1)], ids=str)
def test_any_memory_order_and_type(dtype: torch.dtype, order: tuple[int, ...]) -> None:
    """Maps, tokens and everything else give the same choice, in their own dtype and memory order."""
    activations = torch.randn(4, 3, 20)
    expected = activations[:, :, subsample_positions(numbered(1, 1, 20), 6)[0, 0].long()]
    laid_out = activations.permute(order).contiguous().permute([order.index(axis) for axis in range(3)]).to(dtype)
    chosen = subsample_positions(laid_out, 6)
    assert torch.equal(chosen, expected.to(dtype))
    by_stride = [sorted(range(3), key=x.stride, reverse=True) for x in (laid_out, chosen)]
    assert by_stride[0] == by_stride[1]


@pytest.mark.parametrize(
    ("at_most", "error", "message"),
    [
        (0, ValueError, "max_positions must be at least 1, got 0"),
        (2.0, TypeError, "max_positions must be an int, or None for all, got 2.0"),
        (True, TypeError, "max_positions must be an int, or None for all, got True"),
    ],
)
def test_other_numbers_are_refused(at_most: object, error: type[Exception], message: str) -> None:
    """Anything but a number of positions is an error."""
    with pytest.raises(error, match=message):
        subsample_positions(numbered(1, 1, 4), at_most)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be \[neurons, images, positions\], got \[4, 9\]"):
        subsample_positions(torch.zeros(4, 9), 3)


@pytest.mark.parametrize(
    ("positions", "size", "first", "grid"),
    [
        (196, (224, 224), 0, (14, 14)),
        (197, (224, 224), 1, (14, 14)),
        (201, (224, 224), 5, (14, 14)),
        (196, (224, 224), 1, None),  # 13 by 15 is no square
        (225, (224, 256), 1, (14, 16)),
        (21 * 31, (321, 481), 0, (21, 31)),
        (31 * 21, (481, 321), 0, (31, 21)),
        (1, (224, 224), 0, None),
        (2, (224, 224), 0, None),
        (77, (224, 224), 0, None),
        (1, (224, 224), 1, None),
    ],
)
def test_positions_lie_as_the_image_does(
    positions: int, size: tuple[int, int], first: int, grid: tuple[int, int] | None
) -> None:
    """Maps and patches have the image's proportions; one position, and numbers without such a grid, have no place."""
    assert position_grid(positions, size, first=first) == grid


@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"), [(3, 4, 9, 8), (3, 4, 7, 5), (7, 5, 3, 4), (1, 1, 2, 3)]
)
def test_a_map_keeps_its_mean_at_any_size(rows: int, columns: int, height: int, width: int) -> None:
    """Each pixel is the mean of what it covers, as if every cell and pixel were repeated until they fit."""
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(2, rows, columns)))
    fine = np.repeat(np.repeat(maps.numpy(), height, axis=1), width, axis=2)
    expected = fine.reshape(2, height, rows, width, columns).mean(axis=(2, 4))
    found = spread_over(maps, (height, width))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    torch.testing.assert_close(found.mean(dim=(1, 2)), maps.mean(dim=(1, 2)))
