"""What pixels themselves tell of an image, at its own size: sharpness, noise, grids of blocks, resampling, colours."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

PIXEL_STATISTICS = (
    *("size", "sharpness"),
    *("flat_noise", "isolated"),
    *("borders", "grid"),
    *("halves_of_steps", "quarters_of_steps", "quarters_of_bends", "lines_of_steps", "lines_of_bends"),
    *("lightness", "contrast", "saturation", "chroma_axis"),
    *("red_green", "blue_yellow", "dark_red_green", "dark_blue_yellow", "bright_red_green", "bright_blue_yellow"),
    *("edge_red_green", "edge_blue_yellow"),
)
"""Names of what `pixel_statistics` gives, in its order."""

LEAST_SIDE = 16
"""Images have to have so many pixels a side."""

_MOST = 512  # pixels a side that are looked at
_BLOCK = 8
_BANDS = ((2.5, 5.0), (5.0, 7.2))  # radial frequencies of an 8 x 8 cosine transform, of 0 to 9.9
_ROUNDING = 0.1  # about the power of rounding to whole levels, 1/12
_STEP = 0.05  # levels, below which steps between pixels do not count
_EDGES = 0.25  # of the blocks, those with most power in the middle band
_FLAT = 0.1  # of the pixels
_ISOLATED = 16.0  # levels
_LEAST_EDGE = 0.2  # levels, added to what flat images hardly have
_ENDS = 0.02  # of the pixels, the darkest and the brightest
_BORDER = 3  # steps and bends at each side, where filters leave an image as it is, or pad it
_WITHOUT_TRENDS = 9  # positions of a moving mean
_LINES = 0.27  # cycles a pixel, from which on lines are looked for


def pixel_statistics(images: Tensor) -> Tensor:
    """Statistics of each image's pixels, without any network.

    At most the middle 512 x 512 pixels are looked at, cut on the grid of 8 x 8 blocks that JPEG files have from their
    first pixel on. Of the luma ``y``, with powers in two bands of the cosine transform of 8 x 8 blocks, the middle and
    the fine one:

    - ``size``: log2 of the square root of the image's number of pixels.
    - ``sharpness``: log2 of the power of the fine band over that of the middle one, in the quarter of the blocks with
      most of the latter: how sharp edges are.
    - ``flat_noise``: log2 of the tenth percentile of ``|y * [1 −2 1]ᵀ[1 −2 1]|`` (Immerkær's noise mask): noise where
      an image is flattest. ``isolated``: log2 of the share of pixels 16 levels above, or below, all eight neighbours.
    - ``borders``: log2 of second differences at the borders of 8 x 8 blocks over those in their middles. ``grid``: mean
      log2 of the power of the fine band in blocks moved by half a block, over that in blocks as they lie.
    - ``halves``, ``quarters``: log2 ratio of first (``steps``) or second (``bends``) differences at every second, or
      every fourth, place inside blocks to those between, away from the image's border. ``lines``: log2 of the
      largest line of their spectrum along rows and columns, above 0.27 cycles a pixel, over the median there.
      Interpolation leaves such periods.
    - ``lightness``, ``contrast``, ``saturation``: mean and deviation of ``y``, mean of ``max − min`` over channels, in
      levels. ``red_green``, ``blue_yellow``: means of ``R − G`` and ``B − (R + G)/2``, of all pixels, of the darkest
      fiftieth, and of the brightest.
    - ``edge``: log2 of the differences of neighbouring pixels in red over those in green, and in blue over those in
      both, of means of 2 x 2 pixels, for which JPEG files have one colour. Edges are about gray, whatever images show,
      so that these tell a channel's gain from fewer images than means of colours do. ``chroma_axis``: log2 of the
      differences of ``red_green`` over those of ``blue_yellow``, of means of 4 x 4 pixels, which a turned hue moves.

    Args:
        images: ``[N, 3, H, W]`` in [0, 255], at their own size, at least 16 pixels a side.

    Returns:
        ``[N, statistics]`` float32, in the order of `PIXEL_STATISTICS`.

    Raises:
        ValueError: for another shape, or smaller images.

    Examples:
        >>> gray = torch.full((1, 3, 24, 24), 128, dtype=torch.uint8)
        >>> dict(zip(PIXEL_STATISTICS, pixel_statistics(gray)[0].tolist()))["lightness"]
        128.0

    Source: Immerkær, "Fast noise variance estimation", 1996 (the noise mask); Gallagher, "Detection of linear and cubic
    interpolation in JPEG compressed images", 2005 (periods of second differences); van de Weijer, Gevers and Gijsenij,
    "Edge-based color constancy", 2007 (edges are gray on average).
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be [N, 3, H, W] (RGB), got {list(images.shape)}")
    if min(images.shape[2:]) < LEAST_SIDE:
        raise ValueError(
            f"expected images of at least {LEAST_SIDE} pixels a side, got {images.shape[3]}x{images.shape[2]}"
        )
    x = _cut(images).float()
    red, green, blue = x.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    size = torch.full_like(luma[:, 0, 0], math.log2(images.shape[2] * images.shape[3]) / 2)
    parts = [size, _sharpness(luma), *_noise(luma), *_periods(luma), *_colours(x, luma)]
    return torch.stack(parts, dim=1)


def _cut(images: Tensor) -> Tensor:
    for dim in (2, 3):
        side = images.shape[dim]
        kept = min(side, _MOST) // _BLOCK * _BLOCK
        images = images.narrow(dim, (side - kept) // 2 // _BLOCK * _BLOCK, kept)
    return images


@cache
def _cosines() -> tuple[Tensor, Tensor]:
    """The cosine transform of 8 numbers, and which coefficients of 8 x 8 are in which band, each as a mean."""
    k = torch.arange(_BLOCK, dtype=torch.float64)
    transform = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    transform[0] /= math.sqrt(2)
    radius = torch.hypot(k[:, None], k[None]).flatten()
    bands = torch.stack([(radius > low) & (radius <= high) for low, high in _BANDS]).double()
    return transform.float(), (bands / bands.sum(1, keepdim=True)).T.float().contiguous()


def _band_powers(luma: Tensor, start: int) -> Tensor:
    """``[N, H, W]`` -> ``[bands, N, blocks]``, of blocks from a row and column on."""
    transform, bands = (each.to(luma.device) for each in _cosines())
    n, height, width = luma.shape
    rows, columns = (height - start) // _BLOCK, (width - start) // _BLOCK
    part = luma[:, start : start + rows * _BLOCK, start : start + columns * _BLOCK]
    blocks = part.reshape(n, rows, _BLOCK, columns, _BLOCK).permute(0, 1, 3, 2, 4)
    found = transform @ blocks @ transform.T
    return (found.square().flatten(3) @ bands).flatten(1, 2).permute(2, 0, 1)


def _log(power: Tensor) -> Tensor:
    return torch.log2(power + _ROUNDING)


def _sharpness(luma: Tensor) -> Tensor:
    moved = _band_powers(luma, _BLOCK // 2)  # which lie as those of no JPEG do
    edges = max(1, round(_EDGES * moved.shape[2]))
    strongest = moved[0].topk(edges, dim=1).indices
    edge, detail = (_log(band.gather(1, strongest).mean(1)) for band in moved)
    return detail - edge


def _noise(luma: Tensor) -> list[Tensor]:
    mask = luma.diff(n=2, dim=1).diff(n=2, dim=2).abs().flatten(1)
    flat = mask.kthvalue(max(1, round(_FLAT * mask.shape[1])), dim=1).values
    # The middle of nine is left out by taking extremes of rows and columns around it.
    around = F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate")
    height, width = luma.shape[1:]
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    neighbours = torch.stack([around[:, 0, i : i + height, j : j + width] for i, j in shifts])
    isolated = torch.maximum(luma - neighbours.amax(0), neighbours.amin(0) - luma) > _ISOLATED
    return [torch.log2(flat + 0.25), torch.log2(isolated.float().flatten(1).mean(1) + 1e-4)]


def _periods(luma: Tensor) -> list[Tensor]:
    grid = _log(_band_powers(luma, _BLOCK // 2)[1]).mean(1) - _log(_band_powers(luma, 0)[1]).mean(1)
    both = [_periods_along(side) for side in (luma, luma.transpose(1, 2))]
    borders, *periods = ((one + other) / 2 for one, other in zip(*both, strict=True))
    return [borders, grid, *periods]


def _periods_along(luma: Tensor) -> list[Tensor]:
    """Along rows: borders; halves of steps; quarters of steps, of bends; lines of both."""
    profiles = [luma.diff(n=order, dim=2).abs().mean(1) for order in (1, 2)]  # [N, places]
    # Step k is between pixels k and k + 1 of a block, bend k at pixel k.
    steps, bends = (
        torch.stack(
            [profile[:, _BORDER + (k - first - _BORDER) % _BLOCK : -_BORDER : _BLOCK].mean(1) for k in range(_BLOCK)]
        )
        + _STEP
        for first, profile in enumerate(profiles)
    )
    pairs = (
        (bends[0] + bends[7], bends[3] + bends[4]),
        (steps[2] + steps[4], steps[3] + (steps[1] + steps[5]) / 2),
        (steps[3], steps[[1, 2, 4, 5]].mean(0)),
        (bends[[3, 4]].mean(0), bends[[1, 2, 5, 6]].mean(0)),
    )
    return [*(torch.log2(one / other) for one, other in pairs), *map(_largest_line, profiles)]


def _largest_line(profile: Tensor) -> Tensor:
    places = profile.shape[1]
    profile, half = torch.log2(profile + _STEP), _WITHOUT_TRENDS // 2
    padded = F.pad(profile[:, None], (half, half), mode="replicate")
    profile = profile - F.avg_pool1d(padded, _WITHOUT_TRENDS, 1)[:, 0]
    # Without what blocks of 8 make.
    of_blocks = torch.stack([profile[:, k::_BLOCK].mean(1) for k in range(_BLOCK)], dim=1)
    profile = profile - of_blocks.repeat(1, places // _BLOCK + 1)[:, :places]
    window = torch.hann_window(places, periodic=False, device=profile.device)
    spectrum = torch.fft.rfft(profile * window).abs()
    high = spectrum[:, math.floor(_LINES * places) + 1 :] + 1e-3
    return torch.log2(high.amax(1) / high.median(1).values)


def _colours(x: Tensor, luma: Tensor) -> list[Tensor]:
    red, green, blue = (channel.flatten(1) for channel in x.unbind(1))
    light = luma.flatten(1)
    opponents = red - green, blue - (red + green) / 2
    few = max(1, round(_ENDS * light.shape[1]))
    dark, bright = (light.topk(few, dim=1, largest=largest).indices for largest in (False, True))
    means = [opponent.mean(1) for opponent in opponents]
    means += [opponent.gather(1, of).mean(1) for of in (dark, bright) for opponent in opponents]
    saturation = (x.amax(1) - x.amin(1)).flatten(1).mean(1)
    red_edges, green_edges, blue_edges = _edges(x, 2).unbind(1)
    edges = [red_edges / green_edges, 2 * blue_edges / (red_edges + green_edges)]
    axis = _edges(torch.stack(opponents, dim=1).unflatten(2, x.shape[2:]), 4)
    return [
        *(light.mean(1), light.std(1, correction=0), saturation, torch.log2(axis[:, 0] / axis[:, 1])),
        *means,
        *map(torch.log2, edges),
    ]


def _edges(x: Tensor, side: int) -> Tensor:
    """Mean differences of neighbours, ``[N, C, H, W]`` -> ``[N, C]``, of means of so many pixels a side."""
    means = F.avg_pool2d(x, side)
    across, down = (means.diff(dim=dim).abs().mean((2, 3)) for dim in (3, 2))
    return across + down + _LEAST_EDGE
