"""Images that `vdna_tiny` is trained on and judged by, and what is done to them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from vdna_metrics.images import open_images
from vdna_metrics.images.procedural import PROCEDURAL_WORLDS, procedural_images

Pixels = NDArray[np.uint8]

TRAINING = ("bsds500.zip:train", "bsds500.zip:val", "imagenet_sample_1000.zip", "cifar10_jpeg_train.zip")


def keep_freed_memory() -> None:
    """Start this program again with an allocator that keeps freed activations: several times as fast on Linux."""
    if sys.platform == "linux" and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ |= {"MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_MMAP_THRESHOLD_": "4000000000"}
        os.execv(sys.executable, [sys.executable, *sys.argv])


# --------------------------------------------------------------------------------------------------- disturbances
def _clip(values: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _jpeg(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=max(2, round(60 * (1 - strength))))
    return np.asarray(Image.open(stream).convert("RGB"))


def _grid(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    step = max(2, image.shape[0] // 16)
    lines = np.zeros(image.shape[:2], bool)
    lines[::step] = lines[:, ::step] = True
    return _clip(image + lines[..., None] * (200 * strength) * (1 if rng.random() < 0.5 else -1))


def _vignette(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    y, x = (np.linspace(-1, 1, side) for side in image.shape[:2])
    return _clip(image * np.clip(1 - strength * (y[:, None] ** 2 + x[None, :] ** 2), 0, 1)[..., None])


def _tint(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    colour = rng.uniform(0, 255, 3)
    return _clip((1 - 0.7 * strength) * image + 0.7 * strength * colour)


def _pixelate(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    block = 1 + round(strength * image.shape[0] / 16)
    coarse = image[::block, ::block].repeat(block, 0).repeat(block, 1)
    return np.ascontiguousarray(coarse[: image.shape[0], : image.shape[1]])


def _salt(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    hit, white = rng.random((*image.shape[:2], 1)) < 0.3 * strength, rng.random((*image.shape[:2], 1)) < 0.5
    return np.where(hit, np.where(white, np.uint8(255), np.uint8(0)), image)


Disturb = Callable[[Pixels, float, np.random.Generator], Pixels]

# Each takes a strength in (0, 1].
DISTURBANCES: dict[str, Disturb] = {
    "blur": lambda x, s, rng: ndimage.gaussian_filter(x, (s * x.shape[0] / 40, s * x.shape[0] / 40, 0)),
    "noise": lambda x, s, rng: _clip(x + 90 * s * rng.standard_normal(x.shape)),
    "jpeg": _jpeg,
    "brightness": lambda x, s, rng: _clip(x + 120 * s * (1 if rng.random() < 0.5 else -1)),
    "contrast": lambda x, s, rng: _clip(128 + (x - 128.0) * (1 - 0.9 * s)),
    "tint": _tint,
    "grid": _grid,
    "vignette": _vignette,
}
# Never seen in training.
UNSEEN_DISTURBANCES: dict[str, Disturb] = {
    "pixelate": _pixelate,
    "salt and pepper": _salt,
    "grey": lambda x, s, rng: _clip((1 - s) * x + s * x.mean(2, keepdims=True)),
    "upside down": lambda x, s, rng: np.ascontiguousarray(x[::-1]) if rng.random() < s else x,
}


# --------------------------------------------------------------------------------------------------------- training
@cache
def photographs(shared: Path, source: str) -> list[Pixels]:
    """All images of a source, decoded."""
    images = open_images(str(shared / "data" / source))
    return [np.asarray(Image.open(io.BytesIO(images.read(i))).convert("RGB")) for i in range(len(images))]


def is_held_out(index: int) -> bool:
    """Whether a class of the ImageNet sample, by its place, is kept from training."""
    return index % 2 == 1


def training_views(shared: Path, n: int, first: int = 0, seed: int = 0) -> Iterator[Pixels]:
    """Views `first` to `n`: photographs, small ones and procedural images, 45 : 40 : 15, most of them disturbed."""
    large = [image for source in TRAINING[:2] for image in photographs(shared, source)]
    large += [image for i, image in enumerate(photographs(shared, TRAINING[2])) if not is_held_out(i)]
    small = photographs(shared, TRAINING[3])
    for i in range(first, n):
        rng = np.random.default_rng([seed, i])
        kind = rng.random()
        if kind < 0.45:
            image = large[rng.integers(len(large))]
            side = int(rng.uniform(0.5, 1) * min(image.shape[:2]))
            top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
            image = image[top : top + side, left : left + side]
        elif kind < 0.85:
            image = small[rng.integers(len(small))]
        else:
            world = str(rng.choice(list(PROCEDURAL_WORLDS)))
            image = next(procedural_images(world, 1, size=160, seed=1_000_000 + i))
        if rng.random() < 0.5:
            image = image[:, ::-1]
        for name in rng.choice(list(DISTURBANCES), size=rng.choice(3, p=[0.35, 0.5, 0.15]), replace=False):
            image = DISTURBANCES[name](np.ascontiguousarray(image), float(rng.uniform(0.02, 1) ** 1.5), rng)
        yield np.ascontiguousarray(image)
