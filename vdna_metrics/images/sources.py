"""Where images are: folders, archives and arrays as frozen values that read one image at a time."""

from __future__ import annotations

import hashlib
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.files import check_limit, errors_of, read_whole


def first_folder(name: str) -> str:
    """First folder of an image's name, ``""`` where it lies in the root."""
    return name.partition("/")[0] if "/" in name else ""


@dataclass(frozen=True)
class ImageSource(ABC):
    """Where images are: a name, the images' names in order, and how to read one.

    A plain value without open handles: every `read` opens, seeks and closes, so that it can be pickled, forked
    and shared by threads.

    Args:
        name: what to call the source in tables, the last part of its path.
        names: POSIX paths of the images relative to the root of the source.
        unread: what else lies there and is not read, ``(what, how many files)``; see `open_images`.
        features: ``(layer, number of columns)`` where the rows are no images, but what a network has made of some:
            floats, layer beside layer.
    """

    name: str
    names: tuple[str, ...]
    unread: tuple[tuple[str, int], ...] = field(default=(), kw_only=True)
    features: tuple[tuple[str, int], ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def groups(self) -> tuple[str, ...]:
        """First folder below the root of each image (its class or split), ``""`` where it lies in the root."""
        return tuple(map(first_folder, self.names))

    def manifest(self) -> str:
        """`manifest_hash` of all images as they are stored, each read once."""
        stored = map(self.read, range(len(self)))
        raws = (raw if isinstance(raw, bytes) else raw.tobytes() for raw in stored)
        return manifest_hash(self.names, (hashlib.sha256(raw).hexdigest() for raw in raws))

    @abstractmethod
    def read(self, index: int) -> bytes | NDArray[Any]:
        """Read an undecoded file, or an array's row as stored."""


@dataclass(frozen=True)
class FileSource(ImageSource):
    """Files below a folder."""

    root: str

    def read(self, index: int) -> bytes:
        """Read one image as it is stored."""
        return read_whole(Path(self.root, self.names[index]), "image_bytes")


@dataclass(frozen=True)
class TarSource(ImageSource):
    """Members of a plain tar, read in place."""

    path: str
    spans: tuple[tuple[int, int], ...]  # (first byte, size) of each member

    def read(self, index: int) -> bytes:
        """Read one image as it is stored."""
        start, size = self.spans[index]
        check_limit("image_bytes", size, "the archive's member")
        with open(self.path, "rb") as file:
            file.seek(start)
            return _read_exactly(file, size)


@dataclass(frozen=True)
class ZipSource(ImageSource):
    """Members of a zip, read in place."""

    # A ZipFile kept open would share its offset between forked workers, and one opened a read would parse the whole
    # directory a read; so the members' places are the value, and a read is one seek.
    path: str
    members: tuple[tuple[int, int, int, int, bool], ...]  # header offset, packed size, size, crc32, deflated

    def read(self, index: int) -> bytes:
        """Read one image as it is stored."""
        offset, packed, size, crc, deflated = self.members[index]
        check_limit("image_bytes", max(packed, size), "the archive's member")
        with open(self.path, "rb") as file:
            file.seek(zip_data_start(file, offset))
            data = _read_exactly(file, packed)
        if deflated:
            with errors_of("damaged in the archive", zlib.error):
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        if len(data) != size or zlib.crc32(data) != crc:
            raise ValueError("damaged in the archive: its size or CRC-32 differs from the archive's directory")
        return data


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class ArraySource(ImageSource):
    """Rows of an array, in memory or mapped from a file."""

    array: NDArray[Any] | None
    path: str = ""  # without an array in memory: where it lies in which file
    offset: int = 0
    shape: tuple[int, ...] = ()
    fortran: bool = False

    def read(self, index: int) -> NDArray[Any]:
        """Read one image, or row of features, as it is stored."""
        rows = self.array
        if rows is None:
            order: Any = "F" if self.fortran else "C"
            rows = np.memmap(self.path, np.uint8, "r", offset=self.offset, shape=self.shape, order=order)
        return np.asarray(rows[index])


@dataclass(frozen=True)
class _SomeImages(ImageSource):
    """Some images of another source."""

    whole: ImageSource
    places: tuple[int, ...]

    def read(self, index: int) -> bytes | NDArray[Any]:
        return self.whole.read(self.places[index])


def select_images(source: ImageSource, places: Sequence[int], name: str | None = None) -> ImageSource:
    """Some of a source's images.

    Args:
        source: the images.
        places: of those to take, in their order.
        name: of what is taken, by default the source's.

    Examples:
        >>> from vdna_metrics import open_images
        >>> select_images(open_images(np.zeros((10, 8, 8, 3), np.uint8)), [7, 2]).names
        ('7', '2')
    """
    names = tuple(source.names[place] for place in places)
    kept = {"unread": source.unread, "features": source.features}
    return _SomeImages(name or source.name, names, source, tuple(places), **kept)


def evenly_spaced(source: ImageSource, n_images: int) -> ImageSource:
    """So many of a source's images, evenly spaced in its order; the source itself where it has no more.

    Raises:
        ValueError: for fewer than one image.

    Examples:
        >>> from vdna_metrics import open_images
        >>> evenly_spaced(open_images(np.zeros((10, 8, 8, 3), np.uint8)), 4).names
        ('0', '2', '5', '7')
    """
    if n_images < 1:
        raise ValueError(f"at least one image is needed, got {n_images}")
    if n_images >= len(source):
        return source
    return select_images(source, [i * len(source) // n_images for i in range(n_images)])


def content_digest(source: ImageSource, index: int) -> str:
    """sha256 of one image as it is stored, without decoding it; empty where it cannot be read."""
    try:
        raw = source.read(index)
    except (ValueError, OSError):
        return ""
    return hashlib.sha256(raw if isinstance(raw, bytes) else raw.tobytes()).hexdigest()


def manifest_hash(names: Iterable[str], digests: Iterable[str]) -> str:
    """Identify an ordered set of images: sha256 over the lines ``name NUL digest``.

    The same files give the same hash from a folder, a zip and a tar.

    Args:
        names: names of the images, as in `ImageSource.names`.
        digests: sha256 of each file's bytes, as in `ImageBatch.digests`.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: not as many names as digests.

    Examples:
        >>> manifest_hash(["a.png"], ["00"])[:12], manifest_hash(["b.png"], ["00"])[:12]
        ('ce71178cd6d8', '7edcb8ee9fb2')
    """
    total = hashlib.sha256()
    for name, digest in zip(names, digests, strict=True):
        # File names that are not UTF-8 arrive from the system as surrogates.
        total.update(f"{name}\0{digest}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def zip_data_start(file: IO[bytes], header_offset: int) -> int:
    """Where a member's data begins."""
    file.seek(header_offset)
    signature, name_length, extra_length = struct.unpack("<4s22xHH", _read_exactly(file, 30))
    if signature != b"PK\x03\x04":
        raise ValueError("damaged in the archive: no member begins where the archive's directory says")
    return header_offset + 30 + int(name_length) + int(extra_length)


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError(f"the archive ends {size - len(data)} bytes too early")
    return data
