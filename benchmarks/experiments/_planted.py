"""Sets of photographs with planted faults, and what a diagnosis is made of them."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from _common import Experiment, mobilenetv2
from _images import Drawn, Image, draw, pixels, stream_of
from numpy.typing import NDArray
from PIL import Image as PillowImage, ImageFilter

from vdna_metrics import create_extractor
from vdna_metrics.analysis import DiagnosedSet, Diagnosis, Features, collect_features, diagnose
from vdna_metrics.build import Reading
from vdna_metrics.dna.account import ImageAccount, PixelHashes
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.functional import PIXEL_STATISTICS
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.decoding import pixel_hash

Change = Callable[[Image, np.random.Generator], Image]
Filters = PillowImage.Resampling
_EXTRACTOR = "vdna_tiny"
_SPLITS = 3  # folders that are no classes


# ---------------------------------------------------------------------------------------------------- faults of pixels
def _filtered(filter: ImageFilter.Filter) -> Change:
    return lambda image, _: np.asarray(PillowImage.fromarray(image).filter(filter))


def _motion(length: int) -> Change:
    """Along a row, as a moving camera blurs."""

    def change(image: Image, _: np.random.Generator) -> Image:
        half = length // 2
        padded = np.pad(image.astype(np.float64), ((0, 0), (half, length - 1 - half), (0, 0)), mode="edge")
        return _whole(sum(padded[:, i : i + image.shape[1]] for i in range(length)) / length)

    return change


def _whole(values: Any) -> Image:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _gaussian_noise(deviation: float, channels: int = 3) -> Change:
    return lambda image, random: _whole(image + random.normal(0, deviation, (*image.shape[:2], channels)))


def _impulses(share: float) -> Change:
    def change(image: Image, random: np.random.Generator) -> Image:
        hit = random.random(image.shape[:2]) < share
        return np.where(hit[..., None], random.choice([0, 255], image.shape[:2])[..., None], image).astype(np.uint8)

    return change


def _encoded(format: str, **options: Any) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        file = io.BytesIO()
        PillowImage.fromarray(image).save(file, format, **options)
        return np.asarray(PillowImage.open(file).convert("RGB"))

    return change


def _offset(*levels: float) -> Change:
    return lambda image, _: _whole(image + np.array(levels))


def _gain(*factors: float) -> Change:
    return lambda image, _: _whole(image * np.array(factors))


def _gamma(*exponents: float) -> Change:
    return lambda image, _: _whole(255 * (image / 255) ** np.array(exponents))


def _tint(share: float, *colour: float) -> Change:
    """A sheet of coloured glass."""
    return lambda image, _: _whole((1 - share) * image + share * np.array(colour))


def _resized(factor: float, filter: Filters, reducing: Filters | None = None) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        whole = PillowImage.fromarray(image)
        small = whole.resize([max(4, round(side / factor)) for side in whole.size], reducing or filter)
        return np.asarray(small.resize(whole.size, filter))

    return change


def _resized_by_torch(factor: float, mode: str = "bicubic", align_corners: bool = False) -> Change:
    """Torch's kernels, which are others than Pillow's."""

    def change(image: Image, _: np.random.Generator) -> Image:
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        size = [max(4, round(side / factor)) for side in x.shape[2:]]
        small = torch.nn.functional.interpolate(x, size, mode="area").round()
        large = torch.nn.functional.interpolate(small, x.shape[2:], mode=mode, align_corners=align_corners)
        return _whole(large[0].permute(1, 2, 0).numpy())

    return change


def _convolved(image: Image, kernel: NDArray[np.float64]) -> Image:
    from scipy.ndimage import convolve

    return _whole(convolve(image.astype(np.float64), (kernel / kernel.sum())[..., None], mode="nearest"))


def _disc(radius: float) -> Change:
    """As a lens out of focus blurs; pixels at the rim count in part."""
    half = math.ceil(radius)
    places = np.arange(-half, half + 1)
    kernel = np.clip(radius + 0.5 - np.hypot(places[:, None], places), 0, 1)
    return lambda image, _: _convolved(image, kernel)


def _kernel(weights: NDArray[np.float64]) -> Change:
    return lambda image, _: _convolved(image, weights)


def _radii(reach: float) -> NDArray[np.float64]:
    half = math.ceil(4 * reach)
    return np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])


def _mixed(change: Change, share: float) -> Change:
    return lambda image, random: _whole((1 - share) * image + share * change(image, random).astype(np.float64))


def _repeatedly(change: Change, times: int) -> Change:
    def changed(image: Image, random: np.random.Generator) -> Image:
        for _ in range(times):
            image = change(image, random)
        return image

    return changed


def _speckle(deviation: float) -> Change:
    return lambda image, random: _whole(image * (1 + random.normal(0, deviation, image.shape)))


def _any_impulses(share: float) -> Change:
    def change(image: Image, random: np.random.Generator) -> Image:
        hit = random.random(image.shape[:2]) < share
        return np.where(hit[..., None], random.integers(0, 256, image.shape), image).astype(np.uint8)

    return change


def _temperature(share: float) -> Change:
    factors = np.array([1 + share, 1.0, 1 - share]) ** (1 / 2.2)
    return lambda image, _: _whole(image * factors)


def _hue(degrees: float) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        hue, *others = PillowImage.fromarray(image).convert("HSV").split()
        turned = hue.point(lambda value: (value + round(degrees / 360 * 256)) % 256)
        return np.asarray(PillowImage.merge("HSV", (turned, *others)).convert("RGB"))

    return change


@dataclass(frozen=True, eq=False)
class Ways:
    """To make faults.

    Args:
        pixels: ways by fault, changes of three severities each.
        again: what a copy or a repeat differs by.
        few: what few images that make a set are changed by.
        kept: share of the kinds that are left, of three severities.
        rest: share of the other kinds' images that are left.
    """

    pixels: dict[str, dict[str, Sequence[Change]]]
    again: dict[str, Change]
    few: Change
    kept: tuple[float, float, float]
    rest: float = 0.0


def _linear_noise(deviation: float) -> Change:
    def change(image: Image, random: np.random.Generator) -> Image:
        linear = (image / 255) ** 2.2 + random.normal(0, deviation, image.shape)
        return _whole(255 * np.clip(linear, 0, 1) ** (1 / 2.2))

    return change


def _hot_pixels(share: float) -> Change:
    """White in one channel."""

    def change(image: Image, random: np.random.Generator) -> Image:
        hit = random.random(image.shape[:2]) < share
        channel = random.integers(0, 3, image.shape[:2])[..., None] == np.arange(3)
        return np.where(hit[..., None] & channel, 255, image).astype(np.uint8)

    return change


def _sepia(image: Image, _: np.random.Generator) -> Image:
    return _whole(image @ np.array([[0.393, 0.349, 0.272], [0.769, 0.686, 0.534], [0.189, 0.168, 0.131]]))


def _turned_chroma(degrees: float) -> Change:
    """In the plane of I and Q, whose axes have one length."""
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    whole = np.linalg.inv(to_yiq) @ turn @ to_yiq
    return lambda image, _: _whole(image @ whole.T)


def _split_tones(levels: float) -> Change:
    """Bluer shadows, yellower lights."""

    def change(image: Image, _: np.random.Generator) -> Image:
        light = image.mean(2, keepdims=True) / 127.5 - 1
        return _whole(image + levels * light * np.array([0.5, 0, -1]))

    return change


def _splines(factor: float, order: int = 3) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        from scipy.ndimage import zoom

        whole = PillowImage.fromarray(image)
        small = np.asarray(whole.resize([max(4, round(side / factor)) for side in whole.size], Filters.BOX))
        scale = [large / side for large, side in zip(image.shape, small.shape, strict=True)]
        return _whole(zoom(small.astype(np.float64), scale, order=order, mode="nearest", grid_mode=True))

    return change


def _augmented(image: Image, random: np.random.Generator) -> Image:
    """Flipped or not, moved, lighter or darker; not resized, which is a fault of its own."""
    image = image[:, ::-1] if random.random() < 0.5 else image
    by = [int(random.integers(-side // 8, side // 8 + 1)) for side in image.shape[:2]]
    padded = np.pad(image, [*((abs(each), abs(each)) for each in by), (0, 0)], mode="reflect")
    top, left = (abs(each) + each for each in by)
    moved = padded[top : top + image.shape[0], left : left + image.shape[1]]
    return _whole(moved * random.uniform(0.9, 1.1))


def _moved_and_tinted(image: Image, random: np.random.Generator) -> Image:
    """Moved around the borders; channels each lighter or darker."""
    by = [int(random.integers(-side // 6, side // 6 + 1)) for side in image.shape[:2]]
    return _whole(np.roll(image, by, (0, 1)) * random.uniform(0.92, 1.08, 3))


def _lights_tinted(levels: float) -> Change:
    """Redder and yellower lights; shadows as they were."""
    return lambda image, _: _whole(
        image + levels * (image.mean(2, keepdims=True) / 255) ** 2 * np.array([1, 0.2, -0.6])
    )


def _crosstalk(share: float) -> Change:
    """Red has some of green, green has some of blue."""
    mixing = np.array([[1 - share, share, 0], [0, 1 - share, share], [0, 0, 1]])
    return lambda image, _: _whole(image @ mixing.T)


def _paler(share: float) -> Change:
    return lambda image, _: _whole((1 - share) * image + share * (image @ np.array([0.299, 0.587, 0.114]))[..., None])


def _chroma_offset(blue: float, red: float) -> Change:
    """Of Cb and Cr, as a wrong centre of their bytes makes."""

    def change(image: Image, _: np.random.Generator) -> Image:
        luma, *chroma = PillowImage.fromarray(image).convert("YCbCr").split()
        moved = [each.point(lambda value, by=by: value + by) for each, by in zip(chroma, (blue, red), strict=True)]
        return np.asarray(PillowImage.merge("YCbCr", (luma, *moved)).convert("RGB"))

    return change


def _shake(length: int) -> Change:
    """Along a path of its own for each image, as a hand moves a camera."""

    def change(image: Image, random: np.random.Generator) -> Image:
        half = length
        kernel = np.zeros((2 * half + 1, 2 * half + 1))
        angle, place = random.uniform(0, 2 * math.pi), np.zeros(2)
        for _ in range(4 * length):
            row, column = np.clip(np.round(place).astype(int) + half, 0, 2 * half)
            kernel[row, column] += 1
            angle += random.normal(0, 0.3)
            place += 0.25 * np.array([math.sin(angle), math.cos(angle)])
        return _convolved(image, kernel)

    return change


def _linear_blur(deviation: float) -> Change:
    """Of light, not of levels."""

    def change(image: Image, _: np.random.Generator) -> Image:
        from scipy.ndimage import gaussian_filter

        light = gaussian_filter((image / 255) ** 2.2, (deviation, deviation, 0), mode="nearest")
        return _whole(255 * np.clip(light, 0, 1) ** (1 / 2.2))

    return change


def _low_pass(share: float) -> Change:
    """No frequency above a share of the highest, with a soft end."""

    def change(image: Image, _: np.random.Generator) -> Image:
        rows, columns = (np.fft.fftfreq(2 * side) * 2 for side in image.shape[:2])
        kept = 1 / (1 + (np.hypot(rows[:, None], columns) / share) ** 16)
        height, width = image.shape[:2]
        # Mirrored, so that opposite borders do not meet.
        whole = np.pad(image.astype(np.float64), ((0, height), (0, width), (0, 0)), mode="symmetric")
        passed = np.fft.ifft2(np.fft.fft2(whole, axes=(0, 1)) * kept[..., None], axes=(0, 1)).real
        return _whole(passed[:height, :width])

    return change


def _photons(white: float) -> Change:
    """Counted, so many at white."""
    return lambda image, random: _whole(random.poisson(image * (white / 255)) * (255 / white))


def _laplacian_noise(scale: float) -> Change:
    return lambda image, random: _whole(image + random.laplace(0, scale, image.shape))


def _coarse_grain(deviation: float) -> Change:
    """Of all channels, about two pixels wide."""

    def change(image: Image, random: np.random.Generator) -> Image:
        from scipy.ndimage import gaussian_filter

        grain = gaussian_filter(random.normal(0, 1, image.shape[:2]), 0.6)
        return _whole(image + (deviation * grain / grain.std())[..., None])

    return change


# Of MPEG-1's blocks that depend on no other picture, by rows.
_MPEG = (
    *(8, 16, 19, 22, 26, 27, 29, 34), *(16, 16, 22, 24, 27, 29, 34, 37), *(19, 22, 26, 27, 29, 34, 34, 38),
    *(22, 22, 26, 27, 29, 34, 37, 40), *(22, 26, 27, 29, 32, 35, 40, 48), *(26, 27, 29, 32, 35, 40, 48, 58),
    *(26, 27, 29, 34, 38, 46, 56, 69), *(27, 29, 35, 38, 46, 56, 69, 83),
)  # fmt: skip


def _mpeg_tables(factor: float) -> Change:
    return _encoded("JPEG", qtables=[[min(255, round(factor * each)) for each in _MPEG]] * 2)


def _one_after_the_other(*changes: Change) -> Change:
    def changed(image: Image, random: np.random.Generator) -> Image:
        for change in changes:
            image = change(image, random)
        return image

    return changed


def _thresholded_cosines(least: float) -> Change:
    """Of blocks of 8 x 8, whose weak coefficients are left out."""

    def change(image: Image, _: np.random.Generator) -> Image:
        from scipy.fft import dctn, idctn

        height, width = image.shape[:2]
        padded = np.pad(image.astype(np.float64), ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
        blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, 3)
        found = dctn(blocks, axes=(1, 3), norm="ortho")
        found[np.abs(found) < least] = 0
        return _whole(idctn(found, axes=(1, 3), norm="ortho").reshape(padded.shape)[:height, :width])

    return change


def _cross_processed(levels: float) -> Change:
    """Red has more contrast in the middle of its levels, blue has less."""
    return lambda image, _: _whole(
        image + levels * np.sin((image - 127.5) * (2 * math.pi / 255)) * np.array([1, 0, -1])
    )


def _lamp_light(share: float) -> Change:
    """Mixed into daylight: what a lamp of 2856 K makes of white, in linear light."""
    factors = (1 - share) + share * np.array([1.76, 0.88, 0.28])
    return lambda image, _: _whole(255 * np.clip((image / 255) ** 2.2 * factors, 0, 1) ** (1 / 2.2))


def _faded(levels: float) -> Change:
    """Blacks become brown, as in old prints; white stays."""
    return lambda image, _: _whole(image + (1 - image / 255) * (levels * np.array([1.2, 0.6, 0.1])))


def _other_matrix(times: float) -> Change:
    """Cb and Cr of one standard (BT.601) that are read by another (BT.709); more than once is worse than real."""

    def from_ycc(red: float, blue: float) -> NDArray[np.float64]:
        green = 1 - red - blue
        return np.array(
            [
                [1, 0, 2 * (1 - red)],
                [1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green],
                [1, 2 * (1 - blue), 0],
            ]
        )

    once = from_ycc(0.2126, 0.0722) @ np.linalg.inv(from_ycc(0.299, 0.114))
    whole = np.eye(3) + times * (once - np.eye(3))
    return lambda image, _: _whole(image @ whole.T)


def _enlarged_middle(factor: float) -> Change:
    """The middle alone, as large as the whole was."""

    def change(image: Image, _: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        inner = [max(4, round(side / factor)) for side in (height, width)]
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        cut = np.ascontiguousarray(image[top : top + inner[0], left : left + inner[1]])
        return np.asarray(PillowImage.fromarray(cut).resize((width, height), Filters.BICUBIC))

    return change


def _in_two_steps(factor: float) -> Change:
    """Enlarged by bilinear filtering, and once more."""

    def change(image: Image, _: np.random.Generator) -> Image:
        whole = PillowImage.fromarray(image)
        small, between = ([max(4, round(side / by)) for side in whole.size] for by in (factor, math.sqrt(factor)))
        reduced = whole.resize(small, Filters.BOX)
        return np.asarray(reduced.resize(between, Filters.BILINEAR).resize(whole.size, Filters.BILINEAR))

    return change


def _stretched(image: Image, _: np.random.Generator) -> Image:
    """Without its first and last column, as wide as before."""
    cut = PillowImage.fromarray(np.ascontiguousarray(image[:, 1:-1]))
    return np.asarray(cut.resize((image.shape[1], image.shape[0]), Filters.BICUBIC))


def _marked(image: Image, _: np.random.Generator) -> Image:
    """A white mark in the corner."""
    side, marked = min(image.shape[:2]) // 8, image.copy()
    marked[-side - 1 : -1, -side - 1 : -1] = 255
    return marked


def _erased(image: Image, random: np.random.Generator) -> Image:
    """Flipped or not, with more or less contrast, and a gray rectangle."""
    image = image[:, ::-1] if random.random() < 0.5 else image
    changed = 128 + random.uniform(0.9, 1.1) * (image - 128.0)
    top, left = (int(random.integers(0, side - side // 5)) for side in image.shape[:2])
    changed[top : top + image.shape[0] // 5, left : left + image.shape[1] // 5] = 128
    return _whole(changed)


DEVELOPED = Ways(
    {
        "blur": {
            "Gaussian blur": [_filtered(ImageFilter.GaussianBlur(each)) for each in (0.5, 0.8, 1.5)],
            "box blur": [_filtered(ImageFilter.BoxBlur(each)) for each in (0.5, 1, 2)],
            "motion blur": [_motion(each) for each in (2, 3, 7)],
            "median": [_filtered(ImageFilter.MedianFilter(each)) for each in (3, 5, 7)],
            "disc blur": [_disc(each) for each in (0.8, 1.5, 3)],
            "diagonal motion blur": [_kernel(np.eye(each)) for each in (2, 4, 8)],
            "smoothed": [_repeatedly(_filtered(ImageFilter.SMOOTH_MORE), each) for each in (1, 2, 5)],
            "binomial kernel": [_repeatedly(_kernel(np.outer([1, 2, 1], [1, 2, 1])), each) for each in (1, 3, 8)],
            "exponential kernel": [_kernel(np.exp(-_radii(each) / each)) for each in (0.5, 0.9, 2)],
            "a blur mixed in": [_mixed(_filtered(ImageFilter.GaussianBlur(2)), each) for each in (0.5, 0.7, 0.9)],
            "camera shake": [_shake(each) for each in (3, 6, 14)],
            "Gaussian blur of light": [_linear_blur(each) for each in (0.6, 0.9, 1.6)],
            "low pass": [_low_pass(each) for each in (0.65, 0.45, 0.25)],
        },
        "noise": {
            "Gaussian noise": [_gaussian_noise(each) for each in (2, 5, 12)],
            "impulses": [_impulses(each) for each in (0.005, 0.01, 0.03)],
            "speckle": [_speckle(each) for each in (0.04, 0.08, 0.2)],
            "impulses of any level": [_any_impulses(each) for each in (0.01, 0.03, 0.08)],
            "grain of all channels": [_gaussian_noise(each, channels=1) for each in (3, 6, 15)],
            "noise in linear light": [_linear_noise(each) for each in (0.005, 0.015, 0.05)],
            "hot pixels": [_hot_pixels(each) for each in (0.01, 0.025, 0.06)],
            "photon noise": [_photons(each) for each in (4000, 800, 150)],
            "Laplacian noise": [_laplacian_noise(each) for each in (2, 4, 9)],
            "coarse grain": [_coarse_grain(each) for each in (4, 7, 14)],
        },
        "compression": {
            "JPEG": [_encoded("JPEG", quality=each) for each in (45, 30, 15)],
            "JPEG 4:4:4": [_encoded("JPEG", quality=each, subsampling=0) for each in (50, 25, 10)],
            "WEBP": [_encoded("WEBP", quality=each) for each in (60, 30, 10)],
            "WEBP, fast": [_encoded("WEBP", quality=each, method=0) for each in (50, 20, 5)],
            "JPEG, twice": [_repeatedly(_encoded("JPEG", quality=each, subsampling=1), 2) for each in (42, 22, 9)],
            "JPEG, flat tables": [_encoded("JPEG", qtables=[[each] * 64] * 2) for each in (24, 40, 80)],
            "WEBP, slow": [_encoded("WEBP", quality=each, method=6) for each in (45, 25, 8)],
            "JPEG, MPEG's tables": [_mpeg_tables(each) for each in (1.2, 2, 3)],
            "JPEG after WEBP": [
                _one_after_the_other(_encoded("WEBP", quality=one), _encoded("JPEG", quality=other))
                for one, other in ((60, 45), (35, 28), (12, 12))
            ],
            "cosines left out": [_thresholded_cosines(each) for each in (25, 45, 90)],
        },
        "colour": {
            "offsets": [_offset(each, 0, -each) for each in (10, 15, 25)],
            "gains": [_gain(1 + each, 1, 1 - each) for each in (0.1, 0.15, 0.25)],
            "gamma of channels": [_gamma(1 - each, 1, 1 + each) for each in (0.1, 0.2, 0.35)],
            "tint": [_tint(each, 255, 190, 60) for each in (0.07, 0.12, 0.25)],
            "temperature in linear light": [_temperature(each) for each in (0.2, 0.35, 0.6)],
            "hue turned": [_hue(each) for each in (10, 18, 40)],
            "offset of green": [_offset(0, each, 0) for each in (10, 16, 28)],
            "sepia": [_mixed(_sepia, each) for each in (0.2, 0.35, 0.6)],
            "chroma turned": [_turned_chroma(-each) for each in (14, 22, 45)],
            "split tones": [_split_tones(each) for each in (10, 16, 30)],
            "lights tinted": [_lights_tinted(each) for each in (12, 18, 30)],
            "crosstalk": [_crosstalk(each) for each in (0.2, 0.3, 0.5)],
            "paler": [_paler(each) for each in (0.25, 0.35, 0.6)],
            "offset of Cb": [_chroma_offset(-each, 0) for each in (4, 7, 14)],
            "offsets of Cb and Cr": [_chroma_offset(each, -each) for each in (3, 5, 10)],
            "cross-processed": [_cross_processed(each) for each in (5, 9, 18)],
            "lamp light": [_lamp_light(each) for each in (0.12, 0.2, 0.4)],
            "faded": [_faded(each) for each in (12, 20, 40)],
            "chroma of another standard": [_other_matrix(each) for each in (2, 3, 5)],
        },
        "resized": {
            "bicubic": [_resized(each, Filters.BICUBIC) for each in (1.5, 2, 4)],
            "nearest": [_resized(each, Filters.NEAREST, Filters.BOX) for each in (1.5, 2, 4)],
            "bilinear": [_resized(each, Filters.BILINEAR) for each in (1.4, 2, 3)],
            "Lanczos": [_resized(each, Filters.LANCZOS) for each in (1.5, 2, 3)],
            "torch bicubic": [_resized_by_torch(each) for each in (1.6, 2, 3.5)],
            "Hamming": [_resized(each, Filters.HAMMING) for each in (1.5, 2, 3)],
            "bilinear from boxes": [_resized(each, Filters.BILINEAR, Filters.BOX) for each in (1.7, 2.4, 3.4)],
            "nearest from nearest": [_resized(each, Filters.NEAREST) for each in (1.4, 2.2, 3.2)],
            "splines": [_splines(each) for each in (1.5, 2.3, 3)],
            "bilinear, corners aligned": [_resized_by_torch(each, "bilinear", True) for each in (1.6, 2, 3)],
            "bicubic from Lanczos": [_resized(each, Filters.BICUBIC, Filters.LANCZOS) for each in (1.8, 2.6, 4.5)],
            "middle enlarged": [_enlarged_middle(each) for each in (1.6, 2, 3)],
            "quadratic splines": [_splines(each, order=2) for each in (1.5, 2.2, 3)],
            "in two steps": [_in_two_steps(each) for each in (2, 3, 4.5)],
        },
    },
    again={
        "exact": _gain(1),
        "flipped": lambda image, _: image[:, ::-1],
        "saved again as JPEG": _encoded("JPEG", quality=92),
        "lighter": _gain(1.05),
        "moved by a pixel": lambda image, _: np.pad(image, ((1, 0), (1, 0), (0, 0)), mode="edge")[:-1, :-1],
        "WEBP": _encoded("WEBP", quality=90),
        "darker": _gamma(1.08, 1.08, 1.08),
        "stretched": _stretched,
        "marked": _marked,
    },
    few=lambda image, random: (_augmented, _moved_and_tinted, _erased)[int(random.integers(3))](image, random),
    kept=(0.7, 0.5, 0.25),
)
"""With ways of the first four held-out runs."""


def _diffused(steps: int) -> Change:
    """Perona and Malik's diffusion, which keeps strong edges."""

    def change(image: Image, _: np.random.Generator) -> Image:
        x = image.astype(np.float64)
        for _step in range(steps):
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
            flows = [padded[:-2, 1:-1] - x, padded[2:, 1:-1] - x, padded[1:-1, :-2] - x, padded[1:-1, 2:] - x]
            x = x + 0.2 * sum(flow * np.exp(-np.square(flow / 40)) for flow in flows)
        return _whole(x)

    return change


def _turned_and_back(degrees: float) -> Change:
    def change(image: Image, _: np.random.Generator) -> Image:
        from scipy.ndimage import rotate

        x = image.astype(np.float64)
        for angle in (degrees, -degrees):
            x = rotate(x, angle, reshape=False, order=1, mode="mirror")
        return _whole(x)

    return change


def _any_blur(least: float, most: float) -> Change:
    """Of another deviation in each image."""
    return lambda image, random: _filtered(ImageFilter.GaussianBlur(random.uniform(least, most)))(image, random)


def _uniform_noise(most: float) -> Change:
    return lambda image, random: _whole(image + random.uniform(-most, most, image.shape))


def _noise_of_rows(deviation: float) -> Change:
    return lambda image, random: _whole(image + random.normal(0, deviation, (len(image), 1, 1)))


def _dust(share: float) -> Change:
    """Light dots."""
    return lambda image, random: np.where(random.random(image.shape[:2])[..., None] < share, 235, image).astype(
        np.uint8
    )


def _rounded_cosines(step: float) -> Change:
    """Of blocks of 8 x 8 of each channel."""

    def change(image: Image, _: np.random.Generator) -> Image:
        from scipy.fft import dctn, idctn

        height, width = image.shape[:2]
        padded = np.pad(image.astype(np.float64), ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
        blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, 3)
        found = step * np.round(dctn(blocks, axes=(1, 3), norm="ortho") / step)
        return _whole(idctn(found, axes=(1, 3), norm="ortho").reshape(padded.shape)[:height, :width])

    return change


def _steep_tables(factor: float) -> Change:
    table = [min(255, round(factor * (2 + place // 8 + place % 8))) for place in range(64)]
    return _encoded("JPEG", qtables=[table] * 2)


def _shadows_tinted(levels: float) -> Change:
    """Bluer, and less green."""
    return lambda image, _: _whole(image + (1 - image / 255) ** 2 * levels * np.array([0, -0.5, 1]))


def _richer(share: float) -> Change:
    return _mixed(_paler(1), -share)


def _orange_and_teal(levels: float) -> Change:
    """Lights of one, shadows of the other."""
    return lambda image, _: _whole(
        image + levels * (image.mean(2, keepdims=True) / 127.5 - 1) * np.array([1, 0.1, -0.8])
    )


def _wider(factor: float) -> Change:
    """From narrower ones of the same height."""

    def change(image: Image, _: np.random.Generator) -> Image:
        whole = PillowImage.fromarray(image)
        small = whole.resize((max(4, round(whole.width / factor)), whole.height), Filters.BOX)
        return np.asarray(small.resize(whole.size, Filters.BICUBIC))

    return change


def _of_any_factor(factor: float) -> Change:
    """Another one for each image."""
    return lambda image, random: _resized(factor * random.uniform(0.9, 1.1), Filters.LANCZOS)(image, random)


def _more_contrast(image: Image, _: np.random.Generator) -> Image:
    return _whole(128 + 1.08 * (image - 128.0))


def _turned(image: Image, _: np.random.Generator) -> Image:
    """By a degree."""
    from scipy.ndimage import rotate

    return _whole(rotate(image.astype(np.float64), 1, reshape=False, order=1, mode="mirror"))


def _rolled(image: Image, random: np.random.Generator) -> Image:
    """Flipped or not, moved around the border, lighter or darker."""
    image = image[:, ::-1] if random.random() < 0.5 else image
    reach = image.shape[1] // 4
    moved = np.roll(image, int(random.integers(-reach, reach + 1)), axis=1)
    return _whole(255 * (moved / 255) ** random.uniform(0.85, 1.15))


HELD_OUT = Ways(
    {
        "blur": {
            "diffusion": [_diffused(each) for each in (2, 5, 15)],
            "turned and turned back": [_turned_and_back(each) for each in (3, 12, 37)],
            "blur of any deviation": [_any_blur(each, 2 * each) for each in (0.5, 0.8, 1.5)],
        },
        "noise": {
            "uniform noise": [_uniform_noise(each) for each in (4, 9, 22)],
            "noise of rows": [_noise_of_rows(each) for each in (3, 6, 14)],
            "dust": [_dust(each) for each in (0.006, 0.015, 0.04)],
        },
        "compression": {
            "JPEG of RGB": [_encoded("JPEG", quality=each, keep_rgb=True) for each in (45, 28, 12)],
            "JPEG, steep tables": [_steep_tables(each) for each in (4, 7, 14)],
            "cosines rounded": [_rounded_cosines(each) for each in (24, 42, 85)],
        },
        "colour": {
            "shadows tinted": [_shadows_tinted(each) for each in (14, 22, 44)],
            "richer": [_richer(each) for each in (0.3, 0.5, 1.0)],
            "orange and teal": [_orange_and_teal(each) for each in (10, 16, 30)],
            "green filter": [_gain(1 - each, 1, 1 - each) for each in (0.06, 0.1, 0.2)],
        },
        "resized": {
            "widened": [_wider(each) for each in (1.6, 2.2, 3.2)],
            "sharpened after": [
                _one_after_the_other(_resized(each, Filters.BICUBIC), _filtered(ImageFilter.UnsharpMask(1, 80, 0)))
                for each in (1.7, 2.4, 3.5)
            ],
            "of any factor": [_of_any_factor(each) for each in (1.7, 2.4, 3.5)],
        },
    },
    again={"more contrast": _more_contrast, "turned by a degree": _turned, "cooler": _gain(0.98, 1, 1.04)},
    few=_rolled,
    kept=(0.55, 0.35, 0.15),
)
"""Of the fifth run."""


# -------------------------------------------------------------------------------------------------------------- boards
@dataclass(frozen=True, eq=False)
class PlantedSet:
    """Images with a fault, some or none.

    Args:
        faults: their names.
        kind: how they were made.
        severity: 0 to 2; 0 without a fault.
        images: what is diagnosed.
        also: other names that are as right.
    """

    faults: frozenset[str]
    kind: str
    severity: int
    images: Drawn
    also: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True, eq=False)
class Board:
    """A reference and photographs to make sets of, which are others.

    Args:
        name: of the board.
        reference: the real images.
        pool: images of the same kind that are not in the reference.
        n: images a set.
        fine: number of sets without a fault.
        network: that knows what images show, for clusters; not that of the diagnosis.
        ways: to make faults.
    """

    name: str
    reference: Drawn
    pool: Drawn
    n: int
    fine: int
    network: FeatureExtractor
    ways: Ways

    def sets(self) -> Iterator[PlantedSet]:
        """All sets, drawn with a seed each."""
        yield from self.without_fault()
        for fault in self.ways.pixels:
            yield from self.of_pixels(fault)
        yield from self.of_content()
        yield from self.mixed()

    def without_fault(self) -> Iterator[PlantedSet]:
        """Other draws of the pool."""
        for place in range(self.fine):
            yield self._planted((), "no fault", 0, self._draw(1000 + place))

    def of_pixels(self, fault: str) -> Iterator[PlantedSet]:
        """Draws of the pool, changed."""
        kinds = self.ways.pixels[fault]
        for place, (kind, severities) in enumerate(kinds.items()):
            for severity, change in enumerate(severities):
                images = _changed(self._draw(10 * place + severity, fault), change)
                yield self._planted((fault,), kind, severity, images)

    def _planted(
        self, faults: Iterable[str], kind: str, severity: int, images: Iterable[tuple[str, Image]]
    ) -> PlantedSet:
        names, found = zip(*images, strict=True)
        # A name says one image, wherever it comes from.
        unique = tuple(f"{place:05}-{name}" for place, name in enumerate(names))
        title = f"{self.name}: {kind}, {severity}"
        return PlantedSet(frozenset(faults), kind, severity, Drawn(title, unique, tuple(found)))

    def _draw(self, seed: int, *of: str, source: Drawn | None = None, n: int | None = None) -> list[tuple[str, Image]]:
        chosen = source or self.pool
        places = stream_of("/".join((self.name, *of)), seed).permutation(len(chosen))[: self.n if n is None else n]
        return [(chosen.names[place], chosen.images[place]) for place in places]

    def of_content(self) -> Iterator[PlantedSet]:
        """Missing kinds, copies, repeats."""
        classes = sorted({_class(name) for name in self.pool.names})
        of_class = [_class(name) for name in self.pool.names]
        how = "rare" if self.ways.rest else "missing"
        for severity, share in enumerate(self.ways.kept):
            if len(classes) > _SPLITS:
                kept = set(stream_of(self.name, severity).permutation(classes)[: round(share * len(classes))])
                images = self._lacking([name in kept for name in of_class], severity)
                yield self._planted(("collapse",), f"classes are {how}", severity, images)
            near = self._clusters <= np.sort(self._clusters)[max(self.n // 2, round(share * len(self.pool))) - 1]
            images = self._lacking(near.tolist(), severity, "clusters")
            yield self._planted(("collapse",), f"clusters are {how}", severity, images)
        for severity, share in enumerate((0.2, 0.08, 0.03)):
            few = self._draw(severity, "augmented", n=max(2, round(share * self.n)))
            images = _changed([few[i % len(few)] for i in range(self.n)], self.ways.few, numbered=True)
            planted = self._planted(("collapse",), "few images, changed", severity, images)
            # They are the same images again, too.
            yield replace(planted, also=(frozenset({"repeats"}), frozenset({"collapse", "repeats"})))
        for way, change in self.ways.again.items():
            for severity, share in enumerate((0.1, 0.25, 0.6)):
                n = round(share * self.n)
                copied = _changed(self._draw(severity, way, source=self.reference, n=n), change)
                yield self._planted(("copies",), f"copies, {way}", severity, [*copied, *self._draw(severity, way)[n:]])
                images = self._draw(severity, "repeats", way)
                again = _changed(images[:n], change)
                yield self._planted(("repeats",), f"repeats, {way}", severity, [*images[:-n], *again])

    def _lacking(self, kept: Sequence[bool], seed: int, *of: str) -> list[tuple[str, Image]]:
        """Images of the kinds that are kept, and as few of the others as are left."""
        sides = [_some(self.pool, [place for place, each in enumerate(kept) if each == side]) for side in (True, False)]
        rare = round(self.ways.rest * self.n * len(sides[1]) / len(self.pool))
        return [
            *self._draw(seed, *of, source=sides[0], n=self.n - rare),
            *self._draw(seed, *of, source=sides[1], n=rare),
        ]

    def mixed(self) -> Iterator[PlantedSet]:
        """Two faults, of middle severity."""
        middle = {fault: next(iter(kinds.values()))[1] for fault, kinds in self.ways.pixels.items()}
        pairs = [
            ("blur", "noise"), ("blur", "colour"), ("blur", "compression"), ("noise", "colour"),
            ("resized", "noise"), ("resized", "colour"), ("resized", "compression"), ("colour", "compression"),
        ]  # fmt: skip
        for one, other in pairs:
            images = _changed(_changed(self._draw(0, one, other), middle[one]), middle[other])
            yield self._planted((one, other), "two faults of pixels", 1, images)
        n = self.n // 4
        for fault in ("blur", "noise", "colour"):
            images = _changed(self._draw(1, fault, "repeats"), middle[fault])
            yield self._planted((fault, "repeats"), "a fault of pixels and repeats", 1, [*images[:-n], *images[:n]])
        images, copied = self._draw(2, "mixed"), self._draw(2, "mixed", source=self.reference, n=n)
        yield self._planted(
            ("copies", "repeats"), "copies and repeats", 1, [*copied, *images[: self.n - 2 * n], *images[:n]]
        )

    @cached_property
    def _clusters(self) -> NDArray[np.float64]:
        """How far each image of the pool is from one of them that is drawn, by what the network knows."""
        vectors = collect_features(self.pool, self.network, reading=Reading(16)).vectors
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        seed = int(stream_of(self.name, 7).integers(len(vectors)))
        found: NDArray[np.float64] = -(vectors @ vectors[seed]).double().numpy()
        return found


def _class(name: str) -> str:
    return name.rpartition("/")[0].rpartition("/")[2]


def _some(source: Drawn, places: Sequence[int]) -> Drawn:
    return Drawn(source.name, tuple(source.names[i] for i in places), tuple(source.images[i] for i in places))


def _changed(images: Iterable[tuple[str, Image]], change: Change, *, numbered: bool = False) -> list[tuple[str, Image]]:
    return [
        (name, np.ascontiguousarray(change(image, stream_of(f"{name}{place if numbered else ''}"))))
        for place, (name, image) in enumerate(images)
    ]


def make_board(
    experiment: Experiment,
    name: str,
    source: ImageSource,
    n_reference: int,
    *,
    ways: Ways,
    n: int,
    part: Callable[[Image], Image] | None = None,
    seed: int = 0,
    after: int = 0,
) -> Board:
    """A board of images of one source.

    Args:
        experiment: in a quick one there are few.
        name: of the board.
        source: of the images.
        n_reference: how many are the reference.
        ways: to make faults.
        n: images a set.
        part: of each image; `middle` by default.
        seed: of the draw.
        after: of which so many images are passed over.
    """
    quick = experiment.quick
    n_reference, n, fine = (24, 12, 1) if quick else (n_reference, n, 12)
    drawn = draw(source, after + n_reference + (2 * n if quick else 1200), seed)
    some = select_images(drawn, range(0 if quick else after, len(drawn)))
    cut = middle if quick or part is None else part  # quick images are too small for other parts
    images = tuple(cut(pixels(some, place)) for place in range(len(some)))
    held = Drawn(name, some.names, images)
    reference, pool = _some(held, range(n_reference)), _some(held, range(n_reference, len(held)))
    weights = experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
    network = create_extractor(_EXTRACTOR if quick else replace(mobilenetv2(weights), size=(96, 96)))
    return Board(name, reference, pool, n, fine, network, ways)


def middle(image: Image, size: int | None = None) -> Image:
    """The middle square, resized; without a size its middle 256 pixels, cut on the grid of JPEG's blocks."""
    side = min(image.shape[:2]) if size is not None else min(*image.shape[:2], 256)
    top, left = ((length - side) // 2 // 8 * 8 for length in image.shape[:2])
    cut = image[top : top + side, left : left + side]
    if size is None:
        return np.ascontiguousarray(cut)
    return np.asarray(PillowImage.fromarray(cut).resize((size, size), Filters.BICUBIC))


def strip(image: Image) -> Image:
    """The 40 pixels of the longer side from 368 on, on the grid of JPEG's blocks.

    No earlier run had them at their own size: the `middle` ends before, and the far margins that the fourth run had
    begin after.
    """
    short = min(image.shape[:2]) // 8 * 8
    return np.ascontiguousarray(image[:short, 368:408] if image.shape[1] >= image.shape[0] else image[368:408, :short])


# ----------------------------------------------------------------------------------------------------------- diagnoses
Diagnosed = list[tuple[PlantedSet, Diagnosis]]


def diagnose_board(experiment: Experiment, board: Board) -> Diagnosed:
    """All sets of a board, each with its diagnosis, which is told on the error stream."""
    network, found = create_extractor(_EXTRACTOR), []
    reference = _look(experiment, network, board.reference)
    for planted in board.sets():
        if experiment.quick and planted.severity != 1:
            continue
        diagnosis = diagnose(reference, _look(experiment, network, planted.images))
        right = "right" if is_right(planted, diagnosis) else "WRONG"
        truth = " and ".join(sorted(planted.faults)) or "none"
        print(f"{right} {planted.images.name}: {truth}; {diagnosis.sentence}", file=sys.stderr, flush=True)
        found.append((planted, diagnosis))
    return found


def named(diagnosis: Diagnosis) -> frozenset[str]:
    """Faults that a diagnosis names."""
    return frozenset(fault.name for fault in diagnosis.faults)


def is_right(planted: PlantedSet, diagnosis: Diagnosis) -> bool:
    """Whether a diagnosis names what was planted, and nothing else."""
    return named(diagnosis) in (planted.faults, *planted.also)


def single(told: Diagnosed) -> Diagnosed:
    """Those of sets with one fault or none."""
    return [(planted, diagnosis) for planted, diagnosis in told if len(planted.faults) < 2]


def tally(told: Diagnosed) -> tuple[str, str]:
    """Right ones of all with one fault or none; false alarms of those with none."""
    every = single(told)
    fine = [each for each in every if not each[0].faults]
    right = [each for each in every if is_right(*each)]
    return _share(right, every), _share([each for each in fine if each[1].faults], fine)


def _share(part: Sequence[Any], whole: Sequence[Any]) -> str:
    return f"{len(part)} of {len(whole)} ({len(part) / len(whole):.0%})" if whole else "–"


def mixed_in_words(told: Diagnosed) -> str:
    """What became of sets with two faults."""
    mixed = [(planted.faults, named(diagnosis)) for planted, diagnosis in told if len(planted.faults) == 2]
    both, one = ([pair for pair in mixed if len(pair[0] & pair[1]) == number] for number in (2, 1))
    wrong = [pair for pair in mixed if pair[1] - pair[0]]
    return (
        f"of {len(mixed)} sets with two faults, both were named of {len(both)}, one of {len(one)}; a fault that is not "
        f"there of {len(wrong)}."
    )


def _look(experiment: Experiment, network: FeatureExtractor, images: Drawn) -> DiagnosedSet:
    """What a diagnosis is made of, found or looked at."""
    hashes = np.array([pixel_hash(image) for image in images.images], np.uint64)
    at_once = 16 if len({image.shape for image in images.images}) == 1 else 1

    def see() -> dict[str, NDArray[Any]]:
        return {
            "pixels": collect_features(images, "pixel_statistics", reading=Reading(at_once)).vectors.numpy(),
            "features": collect_features(images, network, reading=Reading(16)).vectors.numpy(),
        }

    settings = [images.names, list(map(str, hashes)), network.fingerprint.digest, PIXEL_STATISTICS]
    found = {name: torch.from_numpy(rows) for name, rows in experiment.keep("seen", settings, see).items()}
    fingerprint = network.fingerprint.select([list(network.layout)[-1]])
    return DiagnosedSet(
        Features(images.names, (), found["pixels"]),
        Features(images.names, (), found["features"], fingerprint=fingerprint),
        ImageAccount(pixels=PixelHashes.of(hashes)),
    )
