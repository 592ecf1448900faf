"""What a set of images is made of: formats, sizes, depths, and which of its images are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.schema import ArrayField, Arrays, Count, Positive

Counts = tuple[tuple[Any, int], ...]
"""``(value, how many)`` each, in the order of the values."""

HASHES = 16_384
"""Distinct images whose hashes are kept. Of more, shares are estimated, to about ``1 / sqrt(HASHES)`` of themselves."""


OBLONG = 1.5
"""An image is oblong whose long side is more than so many times the short one."""

_APART = 2  # octaves: more than twice as many pixels for sure


def _counted(values: NDArray[Any]) -> Counts:
    found, numbers = np.unique(values, return_counts=True)
    return tuple(zip(found.tolist(), numbers.tolist(), strict=True))


def _added(one: Counts, other: Counts) -> Counts:
    return tuple(sorted((Counter(dict(one)) + Counter(dict(other))).items()))


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of a set of images as they are stored, in pixels.

    Args:
        widths: smallest and largest width.
        heights: smallest and largest height.
        octaves: images by the bits of their number of pixels: 11 is 1024 to 2047; empty where it was not recorded.
        oblong: how many are, see `OBLONG`; ``None`` where it was not recorded.

    Examples:
        >>> photos = ImageSizes.of([481, 321], [321, 481])
        >>> str(ImageSizes.of([32], [32])), str(photos), photos.octaves
        ('32x32', '321..481 x 321..481', ((18, 2),))
    """

    widths: tuple[Positive, Positive]
    heights: tuple[Positive, Positive]
    octaves: tuple[tuple[Positive, Positive], ...] = ()
    oblong: Count | None = None

    @classmethod
    def of(cls, widths: Any, heights: Any) -> ImageSizes:
        """Of images with these widths and heights, at least one."""
        x, y = (np.asarray(side, np.int64) for side in (widths, heights))
        bits = np.frexp((x * y).astype(np.float64))[1]
        oblong = int(np.count_nonzero(np.maximum(x, y) > OBLONG * np.minimum(x, y)))
        return cls((int(x.min()), int(x.max())), (int(y.min()), int(y.max())), _counted(bits), oblong)

    @property
    def octave(self) -> int | None:
        """That of the median image."""
        middle = sum(count for _, count in self.octaves) / 2
        passed = 0
        for octave, count in self.octaves:
            passed += count
            if passed >= middle:
                return int(octave)
        return None

    def are_apart(self, other: ImageSizes) -> bool:
        """Whether images of one have more than twice the pixels of those of the other, the median ones or all."""
        ends = self.octave, other.octave
        if ends[0] is not None and ends[1] is not None:
            return abs(ends[0] - ends[1]) >= _APART
        least, most = ([side.widths[end] * side.heights[end] for side in (self, other)] for end in (0, 1))
        return 2 * most[0] < least[1] or 2 * most[1] < least[0]

    def __add__(self, other: ImageSizes) -> ImageSizes:
        """Of both sets."""
        (a, b), (c, d) = zip(self.widths, other.widths, strict=True), zip(self.heights, other.heights, strict=True)
        octaves = _added(self.octaves, other.octaves) if self.octaves and other.octaves else ()
        oblong = None if self.oblong is None or other.oblong is None else self.oblong + other.oblong
        return ImageSizes((min(a), max(b)), (min(c), max(d)), octaves, oblong)

    def __str__(self) -> str:
        """``32x32``, or from the smallest to the largest."""
        if len(set(self.widths)) == len(set(self.heights)) == 1:
            return f"{self.widths[0]}x{self.heights[0]}"
        return " x ".join("..".join(map(str, dict.fromkeys(ends))) for ends in (self.widths, self.heights))


@dataclass(frozen=True, eq=False)
class PixelHashes:
    """Which images of a set are the same, pixel by pixel: the smallest `HASHES` distinct hashes, and their images.

    The smallest hashes of a sum are among the smallest of its parts, so that this adds exactly, in any order. Up to so
    many distinct images all that it tells is exact; of more it is an estimate, from a sample in which equal images of
    all sets are or are not together.

    Args:
        n_images: images that were hashed.
        parts: ``(hashes, images of each)``, uint64 ascending and int64, of parts that are added when they are needed.

    Examples:
        >>> photos = PixelHashes.of(np.array([7, 9, 7, 4], np.uint64))
        >>> photos.repeated, photos.images_in(PixelHashes.of(np.array([7, 8], np.uint64)))
        (1, 2)
    """

    n_images: int = 0
    parts: tuple[tuple[NDArray[np.uint64], NDArray[np.int64]], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, hashes: NDArray[np.uint64]) -> PixelHashes:
        """Of images with these hashes."""
        found, counts = np.unique(hashes, return_counts=True)
        return cls(len(hashes), ((found[:HASHES], counts[:HASHES].astype(np.int64)),))

    def __add__(self, other: PixelHashes) -> PixelHashes:
        """Of both sets."""
        return PixelHashes(self.n_images + other.n_images, self.parts + other.parts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PixelHashes):
            return NotImplemented
        sides = zip(self._sum, other._sum, strict=True)
        return self.n_images == other.n_images and all(np.array_equal(a, b) for a, b in sides)

    def __hash__(self) -> int:
        return hash((self.n_images, self.hashes[:1].tobytes()))

    @cached_property
    def _sum(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        if len(self.parts) == 1:
            return self.parts[0]
        if not self.parts:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        hashes, counts = (np.concatenate(side) for side in zip(*self.parts, strict=True))
        found, place = np.unique(hashes, return_inverse=True)
        summed = np.zeros(len(found), np.int64)
        np.add.at(summed, place.reshape(-1), counts)
        return found[:HASHES], summed[:HASHES]

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """The smallest distinct ones, ascending."""
        return self._sum[0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many images have each."""
        return self._sum[1]

    @property
    def is_exact(self) -> bool:
        """Whether all distinct images are kept."""
        return int(self.counts.sum()) == self.n_images

    @property
    def repeated(self) -> int:
        """Images that are the same as an earlier one; an estimate where this is not exact."""
        seen = int(self.counts.sum())
        return round((seen - len(self.hashes)) * self.n_images / seen) if seen else 0

    def images_in(self, other: PixelHashes) -> int:
        """Images that the other set has too; an estimate where one of both is not exact."""
        # Below the largest hash that both would have kept, each knows all of its images.
        ends = [side.hashes[-1] for side in (self, other) if not side.is_exact]
        known = slice(None, int(np.searchsorted(self.hashes, min(ends), side="right")) if ends else None)
        counts = self.counts[known]
        common = int(counts[np.isin(self.hashes[known], other.hashes)].sum())
        return round(common * self.n_images / int(counts.sum())) if common else 0


@dataclass(frozen=True)
class ImageAccount:
    """The account of a set of images: what they are, as they were before they were resized.

    What is not known is ``None``, and stays so in a sum.

    Args:
        formats: images by format, ``"JPEG"`` for example; ``"array"`` for rows of arrays, ``"tensor"`` for batches.
        sizes: their sizes.
        depths: images of files with 16 bits a value, by the bits that their largest value needs.
        pixels: which of them are the same.

    Examples:
        >>> account = ImageAccount.of(["PNG", "PNG"], [32, 32], [32, 32], [0, 0], [5, 5])
        >>> str(account), str(account + account)
        ('PNG, 32x32, 1 of 2 the same as another', 'PNG, 32x32, 3 of 4 the same as another')
    """

    formats: Counts | None = None
    sizes: ImageSizes | None = None
    depths: Counts | None = None
    pixels: PixelHashes | None = None

    @classmethod
    def of(cls, formats: Any, widths: Any, heights: Any, depths: Any, pixels: Any) -> ImageAccount:
        """Of images one by one.

        Args:
            formats: of each.
            widths: in pixels; 0 where they are not known.
            heights: likewise.
            depths: of files with 16 bits a value the bits that the largest one needs, of others 0.
            pixels: hash of each one's pixels; 0 where it is not known.
        """
        bits, hashes = np.asarray(depths), np.asarray(pixels, np.uint64)
        return cls(
            _counted(np.asarray(formats, np.str_)),
            ImageSizes.of(widths, heights) if len(hashes) and np.all(widths) else None,
            _counted(bits[bits > 0]),
            PixelHashes.of(hashes) if hashes.all() else None,
        )

    def __add__(self, other: ImageAccount) -> ImageAccount:
        """Of both sets."""
        for one, another in ((self, other), (other, self)):
            if one.formats == ():  # of no images
                return another
        return ImageAccount(
            None if self.formats is None or other.formats is None else _added(self.formats, other.formats),
            None if self.sizes is None or other.sizes is None else self.sizes + other.sizes,
            None if self.depths is None or other.depths is None else _added(self.depths, other.depths),
            None if self.pixels is None or other.pixels is None else self.pixels + other.pixels,
        )

    @property
    def fields(self) -> AccountFields:
        """What a file's header says of it; of hashes, what they tell."""
        pixels = self.pixels
        return AccountFields(
            None if self.formats is None else dict(self.formats),
            self.sizes,
            self.depths,
            None if pixels is None else PixelsFields(pixels.n_images, pixels.repeated, pixels.is_exact),
        )

    def __str__(self) -> str:
        """In a few words; empty where nothing is known."""
        return str(self.fields)

    def to_json(self) -> dict[str, Any]:
        """`fields` in plain containers, of what is known."""
        return {name: value for name, value in asdict(self.fields).items() if value is not None}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The hashes, for a file."""
        if self.pixels is None:
            return {}
        counts = self.pixels.counts
        smallest = np.min_scalar_type(int(counts.max(initial=0)))
        return {"pixel_hashes": self.pixels.hashes, "pixel_counts": counts.astype(smallest)}


@dataclass(frozen=True)
class PixelsFields:
    """What `PixelHashes` tell of one set."""

    n_images: Count
    repeated: Count
    exact: bool


@dataclass(frozen=True)
class AccountFields:
    """What a header says of an account, as `ImageAccount.to_json` gives it; the hashes lie beside it."""

    formats: Mapping[str, Positive] | None = None
    sizes: ImageSizes | None = None
    depths: tuple[tuple[Positive, Positive], ...] | None = None
    pixels: PixelsFields | None = None

    def __str__(self) -> str:
        """In a few words; empty where nothing is known."""
        formats, pixels = self.formats or {}, self.pixels
        parts = [", ".join(f"{name} {count}" if len(formats) > 1 else name for name, count in formats.items())]
        parts.append("" if self.sizes is None else str(self.sizes))
        if pixels is not None and pixels.repeated:
            about = "" if pixels.exact else "about "
            parts.append(f"{about}{pixels.repeated} of {pixels.n_images} the same as another")
        return ", ".join(filter(None, parts))

    def arrays(self) -> dict[str, ArrayField]:
        """The hashes and how many images have each."""
        if self.pixels is None:
            return {}
        return {"pixel_hashes": ArrayField((None,), "u8"), "pixel_counts": ArrayField((None,), "u")}

    def account(self, arrays: Arrays) -> ImageAccount:
        """The account.

        Raises:
            ValueError: for hashes that are no account of so many images.
        """
        formats = None if self.formats is None else tuple(sorted(self.formats.items()))
        if self.pixels is None or "pixel_hashes" not in arrays:  # a file of another format has no place for these
            return ImageAccount(formats, self.sizes, self.depths)
        n_images, hashes, counts = self.pixels.n_images, arrays["pixel_hashes"], arrays["pixel_counts"]
        ascending = len(hashes) == len(counts) <= HASHES and bool(np.all(hashes[1:] > hashes[:-1]))
        kept = sum(counts.tolist())
        if not ascending or not np.all(counts) or kept > n_images or (kept < n_images and len(hashes) < HASHES):
            raise ValueError(
                f"arrays 'pixel_hashes', 'pixel_counts': expected different hashes of {n_images} images, or the "
                f"{HASHES} smallest, got {len(hashes)} of {kept}"
            )
        pixels = PixelHashes(n_images, ((hashes, counts.astype(np.int64)),))
        return ImageAccount(formats, self.sizes, self.depths, pixels)
