"""Statistics of an image's pixels, each by what it tells."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from vdna_metrics.functional import PIXEL_STATISTICS, pixel_statistics
from vdna_metrics.images.procedural import procedural_images


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """A textured picture, 128 pixels a side."""
    return next(iter(procedural_images("dead_leaves_textured", 1, size=128)))


def _statistics(image: NDArray[np.uint8] | Image.Image) -> dict[str, float]:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return dict(zip(PIXEL_STATISTICS, pixel_statistics(pixels)[0].tolist(), strict=True))


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_blurred_edges_are_less_sharp(picture: NDArray[np.uint8]) -> None:
    """The more an image is blurred, the less fine detail its edges have."""
    blurred = [Image.fromarray(picture).filter(ImageFilter.GaussianBlur(each)) for each in (0.0, 0.5, 1.0)]
    sharpness = [_statistics(each)["sharpness"] for each in blurred]
    assert sharpness[0] > sharpness[1] + 0.3 > sharpness[2] + 0.6


def test_noise_of_a_flat_image_is_told_in_octaves() -> None:
    """Noise that is twice as strong is one more; 255 on gray is an isolated pixel, a lighter area is none."""
    noise = np.random.default_rng(0).normal(0, 1, (64, 64, 3))
    flat = [_statistics((128 + deviation * noise).round().astype(np.uint8))["flat_noise"] for deviation in (8, 16)]
    assert flat[1] - flat[0] == pytest.approx(1, abs=0.1)
    gray = np.full((64, 64, 3), 128, np.uint8)
    dotted, patched = gray.copy(), gray.copy()
    dotted[10:50:10, 10:50:10] = 255
    patched[10:30, 10:30] = 255
    isolated = [_statistics(each)["isolated"] for each in (gray, dotted, patched)]
    assert isolated[1] == pytest.approx(np.log2(16 / 64**2 + 1e-4), abs=1e-4)
    assert isolated[0] == isolated[2]


def test_blocks_of_jpeg_are_seen_where_they_begin(picture: NDArray[np.uint8]) -> None:
    """Coarse JPEG raises borders and grid, and not where blocks do not begin at the image's first pixel."""
    plain, coarse = picture[4:-4, 4:-4], _jpeg(picture, 15)
    on_grid, off_grid, before = (_statistics(each) for each in (coarse, coarse[4:-4, 4:-4], plain))
    for name, least in (("borders", 0.4), ("grid", 1.0)):
        assert on_grid[name] > before[name] + least
        assert off_grid[name] < before[name] + 0.1


@pytest.mark.parametrize(
    ("factor", "name"),
    [(2, "halves_of_steps"), (4, "quarters_of_bends"), (3, "lines_of_bends"), (1.5, "lines_of_bends")],
)
def test_periods_of_interpolation_are_seen(picture: NDArray[np.uint8], factor: float, name: str) -> None:
    """What enlargement by a factor leaves is in the statistic of its period, and blur leaves nothing there."""
    whole = Image.fromarray(picture)
    small = whole.resize([round(side / factor) for side in whole.size], Image.Resampling.BOX)
    enlarged, blurred, plain = (
        _statistics(each)[name]
        for each in (small.resize(whole.size, Image.Resampling.BILINEAR), whole.filter(ImageFilter.BoxBlur(1)), whole)
    )
    assert abs(enlarged - plain) > 3 * abs(blurred - plain)


def test_a_border_that_a_filter_leaves_is_no_period(picture: NDArray[np.uint8]) -> None:
    """Pillow's kernels leave two pixels at each side as they are, where bends stay larger."""
    smooth = ImageFilter.SMOOTH_MORE
    cut, whole = Image.fromarray(picture[48:80, 48:80]), Image.fromarray(picture)
    for _ in range(3):
        cut, whole = cut.filter(smooth), whole.filter(smooth)
    with_border, without = (_statistics(each) for each in (cut, whole.crop((48, 48, 80, 80))))
    for name in ("halves_of_steps", "quarters_of_steps", "quarters_of_bends"):
        assert with_border[name] == pytest.approx(without[name], abs=0.2)


def test_colours_are_in_levels() -> None:
    """Lightness, saturation and both opponents of one colour; the darkest and brightest pixels are told apart."""
    image = np.full((32, 32, 3), (100, 60, 40), np.uint8)
    image[:4] = (10, 30, 20)
    image[-4:] = (250, 240, 255)
    found = _statistics(image)
    assert (found["dark_red_green"], found["dark_blue_yellow"]) == (-20, 0)
    assert (found["bright_red_green"], found["bright_blue_yellow"]) == (10, 10)
    assert found["saturation"] == pytest.approx((24 * 60 + 4 * 20 + 4 * 15) / 32)
    assert found["red_green"] == pytest.approx((24 * 40 - 4 * 20 + 4 * 10) / 32)


def test_edges_tell_gains_of_channels_whatever_an_image_shows(picture: NDArray[np.uint8]) -> None:
    """A gain is in the edges by its log2; offsets, blur and some noise are not, and gray has none."""
    half = picture / 2
    noise = np.random.default_rng(0).normal(0, 3, half.shape)
    blurred = Image.fromarray(half.round().astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))
    gains, offsets = np.array([1.25, 1, 0.8]), np.array([20, 0, 5])
    changed = (half, half * gains, half + offsets, np.array(blurred), half + 20 + noise)
    edges = [
        [_statistics(each.round().astype(np.uint8))[name] for name in ("edge_red_green", "edge_blue_yellow")]
        for each in changed
    ]
    plain, gained, *others = np.array(edges)
    assert gained[0] - plain[0] == pytest.approx(np.log2(1.25), abs=0.02)
    assert gained[1] - plain[1] < np.log2(0.8)
    assert np.array(others) == pytest.approx(np.tile(plain, (3, 1)), abs=0.06)
    gray = np.repeat(picture[..., :1], 3, axis=2)
    assert [_statistics(gray)[name] for name in ("edge_red_green", "edge_blue_yellow", "chroma_axis")] == [0, 0, 0]


def test_a_turned_hue_moves_the_chroma_axis() -> None:
    """It is larger where reds change into greens than where blues change into yellows."""
    steps = (np.indices((32, 32)).sum(0) // 8 % 2 * 2 - 1)[..., None]
    of_reds, of_blues = (
        _statistics((128 + 40 * steps * np.array(colour)).astype(np.uint8)) for colour in ((1, -1, 0), (-0.5, -0.5, 1))
    )
    assert of_reds["chroma_axis"] > 5
    assert of_blues["chroma_axis"] < -5


def test_the_middle_of_a_large_image_is_looked_at(picture: NDArray[np.uint8]) -> None:
    """Of more than 512 pixels a side the middle counts, cut on the grid of blocks; the size is that of all."""
    large = np.zeros((640, 530, 3), np.uint8)
    middle = np.tile(_jpeg(picture, 30), (4, 4, 1))
    large[64 : 64 + 512, 8 : 8 + 512] = middle
    one, other = _statistics(large), _statistics(middle)
    assert one.pop("size") == pytest.approx(np.log2(640 * 530) / 2)
    assert other.pop("size") == 9
    assert one == other


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 15, 40), torch.zeros(3, 20, 20), torch.zeros(1, 1, 20, 20)])
def test_other_images_are_refused(images: Tensor) -> None:
    """Too few pixels a side, and what is no batch of RGB images."""
    with pytest.raises(ValueError, match=r"at least 16 pixels a side|must be \[N, 3, H, W\]"):
        pixel_statistics(images)
