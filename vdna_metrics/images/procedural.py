"""Procedural image worlds, from white noise to textured dead leaves, and two degradations of real photographs.

Anybody can see which world is nearer to photographs, so they show whether a distance sees it too, with nothing to
download. They follow the dead leaves model of Matheron as studied by Lee, Mumford and Huang,
"Occlusion models for natural images" (IJCV 2001), and the noise worlds of Baradad et al., "Learning to see by looking
at noise" (NeurIPS 2021).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from vdna_metrics.images.containers import open_array
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.layout import near_names

__all__ = ["PROCEDURAL", "PROCEDURAL_WORLDS", "add_noise", "blur", "open_procedural", "procedural_images"]

PROCEDURAL = "procedural:"
"""Prefix of a source that `open_procedural` opens."""

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Columns: luminance, yellow-blue, red-green; the axes along which the colours of natural images are uncorrelated
# (Ruderman, Cronin and Chiao 1998).
_OPPONENT_AXES: Floats = (np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]).T / np.sqrt([3, 6, 2])).astype(np.float32)

# A leaf is where its gauge, of coordinates in units of the leaf's radius, is at most 1.
_GAUGES: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "disk": lambda u, v: u * u + v * v,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) * np.float32(2**0.5),
    "triangle": lambda u, v: np.maximum(-2 * u, u + np.float32(3**0.5) * np.abs(v)),
}


def _to_uint8(values: Floats) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _expose(colours: Floats) -> Image:
    """Take the picture: a lens's slight blur keeps the outlines from being stairs."""
    return _to_uint8(ndimage.gaussian_filter(colours, (0.6, 0.6, 0)))


def _power_law_noise(rng: np.random.Generator, size: int, channels: int) -> Floats:
    """Periodic Gaussian fields `[size, size, channels]` of amplitude 1/f, each of mean 0 and variance 1."""
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :]).astype(np.float32)
    frequency[0, 0] = np.inf  # no constant term: the mean is the caller's to choose
    white = rng.standard_normal((channels, size, size), dtype=np.float32)
    field = fft.irfft2(fft.rfft2(white) / frequency, s=(size, size))
    field /= np.maximum(field.std(axis=(1, 2), keepdims=True), np.float32(1e-12))  # a single pixel has no deviation
    return np.ascontiguousarray(field.transpose(1, 2, 0), dtype=np.float32)


def _colours(rng: np.random.Generator, components: Floats) -> Floats:
    """Give components `[..., 3]` of variance 1 the mean and deviations of one photograph's colours; RGB in [0, 255].

    The figures are rounded from what BSDS500's training photographs show along the opponent axes.
    """
    mean = rng.normal([183, 15, -2], [45, 20, 10])
    deviations = np.array([80, 18, 11]) * np.exp(rng.normal(0, [0.25, 0.35, 0.35]))
    scaled = components * deviations.astype(np.float32) + mean.astype(np.float32)
    # Not by a matrix product, whose last bits, and with them some pixels, are those of a CPU's BLAS.
    along = (scaled[..., place, None] * axis for place, axis in enumerate(_OPPONENT_AXES.T))
    rgb: Floats = np.clip(sum(along), 0, 255)
    return rgb


def _leaf_colours(rng: np.random.Generator, n: int) -> Floats:
    luminance, opponent = rng.uniform(-(3**0.5), 3**0.5, (n, 1)), rng.laplace(0, 0.5**0.5, (n, 2))
    return _colours(rng, np.concatenate([luminance, opponent], axis=1).astype(np.float32))


@dataclass(frozen=True)
class _Leaves:
    """Which leaf each pixel sees, `owner [size, size]`, and each leaf's place in the plane, in pixels and radians."""

    owner: NDArray[np.int32]
    x: Floats
    y: Floats
    radius: Floats
    cosine: Floats
    sine: Floats


def _dead_leaves(
    rng: np.random.Generator, size: int, shapes: Sequence[str], *, smallest: float, thinnest: float = 1.0
) -> _Leaves:
    """Fill the plane with leaves of radius density `r^-3`, the first drawn in front, until no pixel is left.

    Drawing front to back gives exactly the stationary model (back to front only tends to it) and knows when to stop.
    """
    low, high = max(smallest, 1.0), max(size * 0.4, 2.0)
    owner = np.full((size, size), -1, dtype=np.int32)
    axis = np.arange(size, dtype=np.float32)
    drawn: list[Floats] = []
    n_drawn, per_round = 0, 1024
    while (free := owner < 0).any():
        # Inverse of the distribution function of r^-3 between the limits. Centres also fall outside the frame, or its
        # border would see fewer large leaves than its middle.
        radius = (low**-2 - rng.random(per_round) * (low**-2 - high**-2)) ** -0.5
        x, y = rng.uniform(-high, size + high, (2, per_round))
        angle, aspect = rng.uniform(0, 2 * np.pi, per_round), rng.uniform(thinnest, 1.0, per_round)
        shape = rng.integers(len(shapes), size=per_round)
        leaves = np.stack([x, y, radius, np.cos(angle), np.sin(angle), aspect, shape]).astype(np.float32)
        # Most late leaves lie behind others altogether: a summed-area table finds them without a look at each.
        x0, y0 = np.clip(np.ceil(leaves[:2] - leaves[2]), 0, size).astype(int)
        x1, y1 = np.clip(np.floor(leaves[:2] + leaves[2]) + 1, 0, size).astype(int)
        table = np.pad(free, ((1, 0), (1, 0))).cumsum(0, dtype=np.int32).cumsum(1)
        seen = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0] > 0
        leaves = leaves[:, seen]
        boxes = np.stack([x0, x1, y0, y1])[:, seen].T.tolist()
        for index, ((left, right, top, bottom), leaf) in enumerate(zip(boxes, leaves.T.tolist(), strict=True), n_drawn):
            box = owner[top:bottom, left:right]
            cx, cy, r, cosine, sine, leaf_aspect, leaf_shape = leaf
            dx, dy = axis[left:right] - cx, (axis[top:bottom] - cy)[:, None]
            u = dx * (cosine / r) + dy * (sine / r)
            v = dy * (cosine / r / leaf_aspect) - dx * (sine / r / leaf_aspect)
            box[(box < 0) & (_GAUGES[shapes[int(leaf_shape)]](u, v) <= 1)] = index
        drawn.append(leaves)
        n_drawn += leaves.shape[1]
    return _Leaves(owner, *np.concatenate(drawn, axis=1)[:5])


def _white_noise(rng: np.random.Generator, size: int) -> Image:
    """Independent uniform pixels and channels."""
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def _one_over_f_noise(rng: np.random.Generator, size: int) -> Image:
    """Gaussian noise of amplitude 1/f (power 1/f²), coloured like photographs; its phases know no edges."""
    return _to_uint8(_colours(rng, _power_law_noise(rng, size, 3)))


def _dead_leaves_flat(shape: str, rng: np.random.Generator, size: int) -> Image:
    """Flat leaves of one shape, of all sizes and angles, that hide one another."""
    leaves = _dead_leaves(rng, size, [shape], smallest=size / 64)
    return _expose(_leaf_colours(rng, leaves.x.size)[leaves.owner])


def _dead_leaves_textured(rng: np.random.Generator, size: int) -> Image:
    """Leaves of mixed shapes, each with its own shading, grain and stripes: the nearest to a photograph."""
    leaves = _dead_leaves(rng, size, list(_GAUGES), smallest=size / rng.uniform(10, 40), thinnest=0.4)
    owner, n = leaves.owner, leaves.x.size

    def per_leaf(values: NDArray[np.float64]) -> Floats:
        return values.astype(np.float32)[owner]

    rows, columns = np.indices(owner.shape, dtype=np.float32)
    dx, dy, cosine, sine = columns - leaves.x[owner], rows - leaves.y[owner], leaves.cosine[owner], leaves.sine[owner]
    u, v = cosine * dx + sine * dy, cosine * dy - sine * dx

    # Every leaf looks at its own part of one periodic field, turned with the leaf; stretching it makes a grain.
    period = 2 * size
    field = _power_law_noise(rng, period, 1)[..., 0]
    zoom, stretch = np.exp(rng.uniform(np.log(0.7), np.log(3), n)), np.exp(rng.uniform(0, np.log(6), n))
    row = (v * per_leaf(zoom / stretch) + per_leaf(rng.uniform(0, period, n))).astype(np.intp) % period
    column = (u * per_leaf(zoom) + per_leaf(rng.uniform(0, period, n))).astype(np.intp) % period
    grain, hue = field[row, column], field[column, row]

    frequency = np.exp(rng.uniform(np.log(1 / 24), np.log(1 / 4), n))
    stripes = np.sin(2 * np.pi * u * per_leaf(frequency) + grain * per_leaf(rng.uniform(0, 2, n)))
    u, v = u / leaves.radius[owner], v / leaves.radius[owner]
    light = (
        1
        + grain * per_leaf(rng.gamma(2.0, 0.1, n))
        + stripes * per_leaf(rng.uniform(0.05, 0.4, n) * (rng.random(n) < 0.25))
        + u * per_leaf(rng.normal(0, 0.2, n))
        + v * per_leaf(rng.normal(0, 0.2, n))
        + (0.5 - u * u - v * v) * per_leaf(rng.normal(0, 0.2, n))
    )
    colours = _leaf_colours(rng, n)[owner] * np.maximum(light, 0)[..., None]
    yellow = hue * per_leaf(rng.gamma(2.0, 2.0, n))
    return _expose(colours + yellow[..., None] * _OPPONENT_AXES[:, 1])


PROCEDURAL_WORLDS: Mapping[str, Callable[[np.random.Generator, int], Image]] = MappingProxyType(
    {
        "white_noise": _white_noise,
        "one_over_f_noise": _one_over_f_noise,
        "dead_leaves_squares": partial(_dead_leaves_flat, "square"),
        "dead_leaves_disks": partial(_dead_leaves_flat, "disk"),
        "dead_leaves_textured": _dead_leaves_textured,
    }
)
"""Each world by name: a function of a generator and a size in pixels that draws one image `[size, size, 3]` uint8."""


def procedural_images(world: str, n: int, *, size: int = 224, seed: int = 0) -> Iterator[Image]:
    """Draw `n` images of one world, one at a time.

    Image `i` depends only on `(seed, i, world, size)`, so a longer run begins with the images of a shorter one.

    Args:
        world: A name in `PROCEDURAL_WORLDS`.
        n: How many images.
        size: Height and width, in pixels.
        seed: Non-negative; another seed draws other images.

    Returns:
        An iterator over RGB images `[size, size, 3]` uint8.

    Raises:
        ValueError: If the world is unknown, or a number is out of range.

    Examples:
        >>> [image.shape for image in procedural_images("dead_leaves_disks", 2, size=32)]
        [(32, 32, 3), (32, 32, 3)]
    """
    if world not in PROCEDURAL_WORLDS:
        raise ValueError(f"no procedural world {world!r}; {near_names(world, list(PROCEDURAL_WORLDS))}")
    if n < 0 or size < 1 or seed < 0:
        raise ValueError(f"expected n >= 0, size >= 1 and seed >= 0, got n={n}, size={size}, seed={seed}")
    draw, world_id = PROCEDURAL_WORLDS[world], zlib.crc32(world.encode())
    return (draw(np.random.default_rng([seed, i, world_id, size]), size) for i in range(n))


def open_procedural(source: str) -> ImageSource:
    """The first images of a world as a source, drawn here.

    Args:
        source: ``"WORLD/N"``.

    Raises:
        ValueError: If the world is unknown, or N is not a number above 0.

    Examples:
        >>> source = open_procedural("white_noise/3")
        >>> source.name, len(source)
        ('white_noise', 3)
    """
    world, _, number = source.partition("/")
    if not number.isdecimal() or not int(number):
        raise ValueError(f"procedural images are WORLD/N, for example white_noise/100, got {source!r}")
    return open_array(world, np.stack(list(procedural_images(world, int(number)))))


def _check_degradable(image: Image, sigma: float) -> None:
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"expected an image [height, width, channels] uint8, got {list(image.shape)} {image.dtype}")
    if not 0 <= sigma < np.inf:
        raise ValueError(f"expected a finite sigma >= 0, got {sigma}")


def blur(image: Image, sigma: float) -> Image:
    """Blur an image with a Gaussian of `sigma` pixels, each channel alone, mirrored at the border.

    2 pixels at 200 x 200 is strong, and leaves the scene recognisable.

    Args:
        image: `[height, width, channels]` uint8.
        sigma: In pixels; 0 returns an equal image.

    Raises:
        ValueError: If the image is not `[height, width, channels]` uint8, or sigma is negative or not finite.

    Examples:
        >>> step = np.repeat(np.array([0, 0, 200, 200], dtype=np.uint8), 3).reshape(1, 4, 3)
        >>> blur(step, 1.0)[0, :, 0].tolist()
        [13, 60, 140, 187]
    """
    _check_degradable(image, sigma)
    return _to_uint8(ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0)))


def add_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Add independent Gaussian noise of deviation `sigma` (of 255) to every pixel and channel, rounded and clipped.

    25 at 200 x 200 is strong, and leaves the scene recognisable.

    Args:
        image: `[height, width, channels]` uint8.
        sigma: In units of the pixel values, 0 to 255; 0 returns an equal image.
        rng: Where the noise comes from; share one between images, or they all get the same noise.

    Raises:
        ValueError: If the image is not `[height, width, channels]` uint8, or sigma is negative or not finite.

    Examples:
        >>> grey = np.full((64, 64, 3), 128, dtype=np.uint8)
        >>> round(float(add_noise(grey, 25, np.random.default_rng(0)).std()))
        25
    """
    _check_degradable(image, sigma)
    return _to_uint8(image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32))
