"""The procedural worlds are reproducible, and each is statistically what its name says."""

from collections.abc import Callable
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vdna_metrics.images.procedural import PROCEDURAL_WORLDS, add_noise, blur, procedural_images

Image = NDArray[np.uint8]
WORLDS = sorted(PROCEDURAL_WORLDS)
LEAVES = [world for world in WORLDS if world.startswith("dead_leaves")]


def luminance_spectrum(world: str, n: int = 12, size: int = 128) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half-octave bands' mean frequency and amplitude, away from the scales of the frame and of the pixels."""
    window = np.hanning(size)[:, None] * np.hanning(size)[None, :]
    power = np.zeros((size, size))
    for image in procedural_images(world, n, size=size):
        luminance = image.mean(axis=2)
        power += np.abs(np.fft.fft2((luminance - luminance.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :]) * size
    edges = [4, 6, 8, 12, 16, 24, 32]
    bands = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    return np.array([frequency[b].mean() for b in bands]), np.array([power[b].mean() ** 0.5 for b in bands])


def amplitude_slope(world: str) -> float:
    """Exponent of the power of frequency that fits the amplitude best."""
    frequency, amplitude = luminance_spectrum(world)
    return float(np.polyfit(np.log(frequency), np.log(amplitude), 1)[0])


def flat_fraction(image: Image) -> float:
    """How many of the pairs of horizontal neighbours are equal in every channel."""
    return float((image[:, 1:] == image[:, :-1]).all(axis=2).mean())


@pytest.mark.parametrize("world", WORLDS)
def test_same_seed_same_bytes(world: str) -> None:
    """Image i depends on seed, i, world and size alone: neither on n nor on what was drawn before."""
    long = list(procedural_images(world, 4, size=48, seed=3))
    short = list(islice(procedural_images(world, 2, size=48, seed=3), 2))
    assert len(long) == 4
    np.testing.assert_array_equal(long[:2], short)


@pytest.mark.parametrize("world", WORLDS)
def test_images_differ(world: str) -> None:
    """Another index and another seed give another image."""
    first, second = procedural_images(world, 2, size=48, seed=0)
    (other,) = procedural_images(world, 1, size=48, seed=1)
    assert (first != second).mean() > 0.5
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("size", [1, 2, 33, 64])
def test_shape_and_dtype(world: str, size: int) -> None:
    """Every size from one pixel up gives a square RGB uint8 image."""
    (image,) = procedural_images(world, 1, size=size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8


def test_white_noise_is_white_and_uniform() -> None:
    """White noise has a flat spectrum, all 256 values equally often, and unrelated channels."""
    assert abs(amplitude_slope("white_noise")) < 0.05
    pixels = np.stack(list(procedural_images("white_noise", 4, size=128))).reshape(-1, 3)
    counts = np.bincount(pixels.ravel(), minlength=256)
    assert np.abs(counts / counts.mean() - 1).max() < 0.15  # five standard deviations
    assert np.abs(np.corrcoef(pixels.T) - np.eye(3)).max() < 0.02


def test_one_over_f_noise_has_its_slope() -> None:
    """The amplitude of 1/f noise falls as 1/f, up to what clipping to [0, 255] adds."""
    assert amplitude_slope("one_over_f_noise") == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("world", LEAVES)
def test_dead_leaves_have_no_scale_of_their_own(world: str) -> None:
    """The amplitude of dead leaves falls as a power near that of photographs, with no preferred frequency."""
    frequency, amplitude = luminance_spectrum(world)
    slope, offset = np.polyfit(np.log(frequency), np.log(amplitude), 1)
    assert -1.6 < slope < -0.9
    assert np.abs(np.log(amplitude) - slope * np.log(frequency) - offset).max() < 0.25


def test_only_plain_leaves_are_flat() -> None:
    """Plain dead leaves have large flat regions, textured ones and noise have none."""
    flat = {w: np.mean([flat_fraction(image) for image in procedural_images(w, 4, size=200)]) for w in WORLDS}
    assert min(flat["dead_leaves_squares"], flat["dead_leaves_disks"]) > 0.35
    assert max(flat["dead_leaves_textured"], flat["white_noise"], flat["one_over_f_noise"]) < 0.05


@pytest.mark.parametrize("world", ["one_over_f_noise", *LEAVES])
def test_colours_are_correlated_as_in_photographs(world: str) -> None:
    """Most of the variance within an image is luminance, as in photographs."""
    opponent = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
    deviations = np.mean(
        [(image.reshape(-1, 3) @ opponent.T).std(axis=0) for image in procedural_images(world, 12, size=64)], axis=0
    )
    assert deviations[0] > 2 * deviations[1] > 2 * deviations[2] > 0


def test_unknown_world_names_near_ones() -> None:
    """A misspelt world is refused at once, before any image is asked for, and answered by near names."""
    with pytest.raises(ValueError, match=r"no procedural world 'dead_leaf_disks'; did you mean 'dead_leaves_disks'"):
        procedural_images("dead_leaf_disks", 1)


@pytest.mark.parametrize("wrong", [{"n": -1}, {"size": 0}, {"seed": -1}])
def test_numbers_out_of_range(wrong: dict[str, int]) -> None:
    """A number out of range is refused at once and shown."""
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=rf"expected n >= 0, size >= 1 and seed >= 0, got .*{name}={value}"):
        procedural_images("white_noise", **{"n": 1, **wrong})


def test_blur_takes_detail_and_keeps_the_mean() -> None:
    """Blur removes high frequencies, keeps each channel's mean, does not mix channels, and 0 changes nothing."""
    (image,) = procedural_images("white_noise", 1, size=65)
    image[..., 2] = 9
    blurred = blur(image, 2.0)
    assert blurred.dtype == np.uint8
    assert blurred[..., :2].std() < 0.2 * image[..., :2].std()
    np.testing.assert_allclose(blurred.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=0.2)
    assert (blurred[..., 2] == 9).all()
    np.testing.assert_array_equal(blur(image, 0), image)


def test_noise_has_its_deviation_and_never_wraps() -> None:
    """Noise has the deviation asked for, is reproducible from its generator, and clips where uint8 would wrap."""
    grey = np.full((64, 48, 3), 128, dtype=np.uint8)
    noisy = add_noise(grey, 25, np.random.default_rng(0))
    assert noisy.dtype == np.uint8
    assert noisy.std() == pytest.approx(25, rel=0.03)
    np.testing.assert_array_equal(noisy, add_noise(grey, 25, np.random.default_rng(0)))
    assert add_noise(np.full_like(grey, 255), 25, np.random.default_rng(0)).min() > 100
    np.testing.assert_array_equal(add_noise(grey, 0, np.random.default_rng(0)), grey)


def test_degradations_leave_their_input_alone() -> None:
    """The degradations are pure: a read-only image is good enough."""
    (image,) = procedural_images("dead_leaves_disks", 1, size=32)
    image.flags.writeable = False
    assert (blur(image, 2.0) != image).any()
    assert (add_noise(image, 25, np.random.default_rng(0)) != image).any()


@pytest.mark.parametrize("degrade", [blur, lambda image, sigma: add_noise(image, sigma, np.random.default_rng(0))])
def test_degradations_refuse(degrade: Callable[[NDArray[Any], float], Image]) -> None:
    """What is not an HWC uint8 image, or not a deviation, is refused and shown."""
    with pytest.raises(ValueError, match=r"expected an image \[height, width, channels\] uint8, got \[4, 4\] uint8"):
        degrade(np.zeros((4, 4), dtype=np.uint8), 1.0)
    with pytest.raises(ValueError, match=r"uint8, got \[4, 4, 3\] float64"):
        degrade(np.zeros((4, 4, 3)), 1.0)
    for sigma in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"expected a finite sigma >= 0, got {sigma}"):
            degrade(np.zeros((4, 4, 3), dtype=np.uint8), sigma)
