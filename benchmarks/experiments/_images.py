"""Images of the experiments: drawn, changed, joined and held, each by names that tell what they are."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vdna_metrics.extractors import Preprocessing
from vdna_metrics.extractors.modes import Crop
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.procedural import PROCEDURAL_WORLDS, procedural_images

Image = NDArray[np.uint8]
"""``[height, width, 3]``."""

# What each archive is in a quick run.
_WORLDS = {"bsds500.zip": "dead_leaves_textured", "imagenet_sample_1000.zip": "dead_leaves_disks"}
_QUICK_SIZE, _QUICK_IMAGES = 48, 24


@dataclass(frozen=True, eq=False)
class Drawn(ImageSource):
    """Images in memory, with names."""

    images: tuple[Image, ...]

    def read(self, index: int) -> Image:
        """One of them."""
        return self.images[index]


@dataclass(frozen=True, eq=False)
class Changed(ImageSource):
    """The images of a source, resized and changed; by their name, so that the same image is always changed alike."""

    whole: ImageSource
    change: Callable[[Image, np.random.Generator], Image]
    size: int | None
    crop: Crop
    seed: int

    def read(self, index: int) -> Image:
        """One of them, changed."""
        return self.change(pixels(self.whole, index, self.size, self.crop), stream_of(self.names[index], self.seed))


def starting_with(source: ImageSource, *folders: str) -> ImageSource:
    """The images of a source in some of its folders, as ``"train/"``."""
    chosen = [place for place, name in enumerate(source.names) if name.startswith(folders)]
    return select_images(source, chosen, f"{source.name}:{'+'.join(folder.strip('/') for folder in folders)}")


def draw(source: ImageSource, n: int, seed: int = 0) -> ImageSource:
    """At most ``n`` images of a source, drawn at random and in random order."""
    places = np.random.default_rng(seed).permutation(len(source))[:n].tolist()
    return select_images(source, places)


def join(name: str, *sources: ImageSource) -> ImageSource:
    """The images of several sources, one after the other."""
    return _Joined(name, tuple(f"{source.name}/{name}" for source in sources for name in source.names), sources)


@dataclass(frozen=True, eq=False)
class _Joined(ImageSource):
    parts: tuple[ImageSource, ...]

    def read(self, index: int) -> bytes | Image:
        for part in self.parts:
            if index < len(part):
                return part.read(index)
            index -= len(part)
        raise IndexError(index)


def changed(
    source: ImageSource,
    name: str,
    change: Callable[[Image, np.random.Generator], Image],
    *,
    size: int | None = None,
    crop: Crop = "none",
    seed: int = 0,
) -> ImageSource:
    """The images of a source, changed when they are read.

    Args:
        source: the images.
        name: of the changed ones; it must tell all that ``change`` does, since passes that are kept are known by it.
        change: ``(image, random numbers of this image) -> image``.
        size: height and width to which images are resized first; ``None`` leaves them as they are.
        crop: before that, see `Preprocessing`.
        seed: of the random numbers.
    """
    return Changed(name, source.names, source, change, size, crop, seed)


def hold(source: ImageSource, size: int, crop: Crop = "none") -> Drawn:
    """Images resized once and held in memory, where they are read many times."""
    return Drawn(source.name, source.names, tuple(pixels(source, place, size, crop) for place in range(len(source))))


def stream_of(name: str, seed: int = 0) -> np.random.Generator:
    """Random numbers that depend on an image's name, not on its place."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def pixels(source: ImageSource, index: int, size: int | None = None, crop: Crop = "none") -> Image:
    """An image of a source, cropped and resized as networks see it when there is a size."""
    raw = source.read(index)
    image = decode_image(raw) if isinstance(raw, bytes) else raw
    if size is None or image.shape[:2] == (size, size):
        return image
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = Preprocessing(size=(size, size), crop=crop).resize(tensor)[0]
    return np.ascontiguousarray(resized.round().byte().permute(1, 2, 0).numpy())


def quick_source(archive: str) -> ImageSource:
    """Procedural images in the place of an archive: classes are worlds, splits are seeds."""

    def images(world: str, n: int, seed: int) -> Iterator[Image]:
        return procedural_images(world, n, size=_QUICK_SIZE, seed=seed)

    name, _, folder = archive.partition(":")
    if name.startswith("cifar10"):
        seed = int("train" in name)
        drawn = {
            f"{'' if folder else 'train/' if seed else 'test/'}{world}/{i:04}.jpg": image
            for world in PROCEDURAL_WORLDS
            for i, image in enumerate(images(world, _QUICK_IMAGES, seed))
        }
    elif name.startswith("bsds"):
        drawn = {
            f"{split}/{i:04}.jpg": image
            for seed, split in enumerate(("train", "val", "test"))
            for i, image in enumerate(images(_WORLDS[name], _QUICK_IMAGES, seed))
        }
    else:
        world = _WORLDS.get(name, "white_noise")
        drawn = {f"{i:04}.jpg": image for i, image in enumerate(images(world, _QUICK_IMAGES, 0))}
    names = tuple(sorted(drawn))
    return Drawn(archive, names, tuple(drawn[name] for name in names))
