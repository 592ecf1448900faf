"""Bytes of an image file to RGB, by stated rules."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError, features

from vdna_metrics.files import check_limit, errors_of, limit_variable, read_whole
from vdna_metrics.functional.hashing import hashes_of_arrays

_SUFFIXES = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
}
# The content decides the format, as in every image viewer, but only these decoders ever see a file. AVIF is Pillow's
# from 11.3 on, where it was built with it.
_AVIF = "avif" in features.modules and features.check("avif")
_FORMATS = tuple(name for name in _SUFFIXES if name != "AVIF" or _AVIF)

_HEAVY = ("AVIF", "WEBP")  # whose decoders keep twice as much a pixel as the others'

IMAGE_EXTENSIONS = tuple(sorted(suffix for name in _FORMATS for suffix in _SUFFIXES[name]))
"""Endings of names that are read as images."""


def decode_image(data: bytes | str | Path, name: str | None = None) -> NDArray[np.uint8]:
    """Decode an image to uint8 ``[H, W, 3]`` RGB, by rules that hold for every source.

    The format is told by the content. Gray is replicated, palettes and CMYK are converted, alpha is ignored (not
    blended, as ``convert("RGB")`` of clean-fid), 16-bit gray becomes ``round(x * 255 / 65535)`` (16-bit colour is
    reduced by Pillow to its high bytes), the EXIF orientation is not applied, and of several frames the first counts.

    Args:
        data: bytes of a file, or its path.
        name: how to name the image in errors; a path by default.

    Returns:
        uint8 ``[H, W, 3]``, writable.

    Raises:
        ValueError: not an image of a known format, damaged or cut, floating point, or with more bytes, pixels or scans
            than the limits ``image_bytes``, ``image_pixels`` and ``jpeg_scans`` of `files.LIMITS`; names the image.
        OSError: the path cannot be read.
        RuntimeError: ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES`` is on in this process.

    Examples:
        >>> decode_image(b"P5 2 1 255 " + bytes([0, 7])).tolist()
        [[[0, 0, 0], [7, 7, 7]]]
    """
    if not isinstance(data, bytes):
        name = str(data) if name is None else name
    with errors_of(name or "image"):
        return decode_bytes(data if isinstance(data, bytes) else read_whole(data, "image_bytes")).pixels


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image as it was stored.

    Args:
        pixels: uint8 ``[H, W, 3]``, writable.
        format: ``"JPEG"`` for example, as Pillow names it.
        depth: of a file with 16 bits a value, the bits that its largest value needs; else 0.
    """

    pixels: NDArray[np.uint8]
    format: str
    depth: int = 0


def pixel_hash(pixels: NDArray[np.uint8]) -> int:
    """Tells images apart by their pixels, whatever file they come from; see `image_hashes`.

    Args:
        pixels: uint8 ``[H, W, 3]``, before they are resized.

    Examples:
        >>> pixel_hash(np.zeros((2, 3, 3), np.uint8)) == pixel_hash(np.zeros((3, 2, 3), np.uint8))
        False
    """
    return int(hashes_of_arrays(pixels[None])[0]) % 2**64


def decode_bytes(data: bytes) -> DecodedImage:
    """As `decode_image`, of bytes whose name the caller adds to an error; with what else the file says."""
    with warnings.catch_warnings():
        # Large photographs below the error limit are legitimate here.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return _decoded(data)


def _decoded(data: bytes) -> DecodedImage:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on: cut images would pass as whole; turn it off")
    if not data:
        raise ValueError("the file is empty")
    data = _without_texts(data)
    if data[:1] == b"P" and data[1:2].isalnum() and not _PNM.match(data[:_HEADER]):
        # Pillow reads a comment of a hundred megabytes byte by byte.
        raise ValueError(f"expected width and height in the first {_HEADER} bytes of a PPM image")
    if data.startswith(_JPEG):
        _check_scans(data)
    try:
        image = _open_pillow(data)
        weight = 2 if image.format in _HEAVY else 1
        check_limit(
            "image_pixels", weight * image.width * image.height,
            f"{image.width} x {image.height} pixels{f' of a {image.format}, which count twice' * (weight > 1)}",
        )  # fmt: skip
        if image.format == "PNG":
            # Pillow decodes PNG without looking at the checksums of the pixels; verify() does, and uses the image up.
            image.verify()
            image = _open_pillow(data)
        kind = "JPEG" if image.format == "MPO" else image.format or ""  # a JPEG with others behind it
        if image.mode == "F":
            raise ValueError("floating-point pixels have no agreed scale to 8 bits; save it as 8 or 16 bits")
        if image.mode.startswith("I"):
            return _from_16_bits(np.asarray(image), kind)
        # Pillow warns that transparency is lost, which is the rule here.
        image.load()
        image.info.pop("transparency", None)
        has_16_bits = _has_16_bits(image, data)
        if image.mode != "RGB":
            image = image.convert("RGB")  # whose former pixels are gone then
        pixels = _pixels(image)
        return DecodedImage(pixels, kind, 8 + int(pixels.max()).bit_length() if has_16_bits else 0)
    except UnidentifiedImageError:
        raise ValueError(f"not a readable {', '.join(_FORMATS)} image; it begins with {data[:12]!r}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{error} If you trust it, raise PIL.Image.MAX_IMAGE_PIXELS and {limit_variable('image_pixels')}."
        ) from error
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # damaged files make Pillow's readers raise anything from SyntaxError to IndexError
        raise ValueError(f"cannot be decoded: {str(error) or type(error).__name__}") from error


def decode_labels(data: bytes) -> NDArray[np.integer]:
    """Decode a label map, ``[H, W]``: the numbers of a PNG of one channel, or of a palette's places.

    Raises:
        ValueError: not a PNG, damaged, or of several channels.

    Examples:
        >>> import io
        >>> Image.fromarray(np.array([[0, 7]], np.uint8)).save(file := io.BytesIO(), "PNG")
        >>> decode_labels(file.getvalue())
        array([[0, 7]], dtype=uint8)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        decode_bytes(data)  # what is wrong with a PNG is wrong with one of labels
        image = _open_pillow(data)
        if image.format != "PNG" or image.mode not in ("1", "L", "P", "I", "I;16"):
            raise ValueError(f"expected a PNG whose one channel is the labels, got a {image.format} of {image.mode}")
        return np.asarray(image.convert("L") if image.mode == "1" else image) // (255 if image.mode == "1" else 1)


def _open_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG that goes over its pixels too often, or has too many segments; what follows its end is not read."""
    place, scans = len(_JPEG) - 1, 0
    for _ in range(_SEGMENTS):
        mark = _MARK.search(data, place)
        if mark is None or mark[0] == b"\xff\xd9":
            return
        scans += mark[0] == b"\xff\xda"
        check_limit("jpeg_scans", scans, "its scans")
        place = mark.end() + int.from_bytes(data[mark.end() : mark.end() + 2], "big")
    raise ValueError(f"expected a JPEG of at most {_SEGMENTS} segments, got more")


_JPEG = b"\xff\xd8\xff"
_MARK = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # of a segment, or of the end
_SEGMENTS = 100_000

_HEADER = 1 << 16
_PNM = re.compile(rb"P[1-6fF](?:(?:\s|#[^\r\n]*[\r\n])+\d+){2}")


def _without_texts(data: bytes) -> bytes:
    """A PNG without its chunks of text and its colour profile, which no rule here reads and Pillow limits."""
    if not data.startswith(_PNG):
        return data
    chunks, place = [(0, len(_PNG))], len(_PNG)
    while place < len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] not in _TEXTS:
            chunks.append((place, end))
        place = end
    if sum(end - start for start, end in chunks) == place:  # which a copy of a large file would cost as much again
        return data
    view = memoryview(data)
    return b"".join(view[start:end] for start, end in chunks)


_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Of an RGB image, by strips: of the whole, NumPy and Pillow make three copies."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        pixels[top : top + _STRIP] = np.asarray(strip)
    return pixels


_STRIP = 256  # rows


def _has_16_bits(image: Image.Image, data: bytes) -> bool:
    """Of an image whose values Pillow has reduced to their high bytes."""
    if image.format == "PNG":
        return data[24] == 16  # IHDR comes first
    return image.format == "TIFF" and 16 in image.tag_v2.get(258, ())  # type: ignore[attr-defined]  # BitsPerSample


def _from_16_bits(gray: NDArray[Any], kind: str) -> DecodedImage:
    low, high = int(gray.min()), int(gray.max())
    if low < 0 or high > 65535:  # Pillow holds 16-bit gray in its 32-bit mode "I" too
        raise ValueError(f"integer pixels from {low} to {high} have no agreed scale to 8 bits; save it as 8 or 16 bits")
    # round(x * 255 / 65535) is round(x / 257), and 257 is odd: there are no ties.
    pixels = np.empty((*gray.shape, 3), np.uint8)
    for top in range(0, len(gray), _STRIP):
        pixels[top : top + _STRIP] = ((gray[top : top + _STRIP, :, None].astype(np.uint32) + 128) // 257).astype(
            np.uint8
        )
    return DecodedImage(pixels, kind, max(1, high.bit_length()))
