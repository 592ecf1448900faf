"""Decoding rules."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.image_files import encode, pixels, png
from PIL import Image, ImageFile

from vdna_metrics.images import decode_image
from vdna_metrics.images.decoding import decode_bytes, pixel_hash


def test_gray_is_replicated() -> None:
    """Gray and bilevel images become three equal channels."""
    gray = pixels(5, 7)
    assert (decode_image(encode(gray)) == gray[:, :, None]).all()
    bilevel = Image.fromarray((gray > 127).astype(np.uint8) * 255).convert("1")
    assert (decode_image(encode(bilevel)) == (gray > 127)[:, :, None] * 255).all()


def test_palette_becomes_rgb() -> None:
    """Palette images take the palette's colours, whatever the palette's transparency, without a warning."""
    image = Image.fromarray(pixels(5, 7) % 4).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    expected = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]])[np.asarray(image)]
    assert (decode_image(encode(image)) == expected).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (decode_image(encode(image, transparency=bytes([0, 100, 200, 255]))) == expected).all()
        assert (decode_image(encode(image, transparency=2)) == expected).all()


def test_alpha_is_ignored() -> None:
    """Alpha is dropped, not blended: colours under full transparency count."""
    rgba = pixels(5, 7, 4)
    rgba[:2, :, 3] = 0
    assert (decode_image(encode(rgba)) == rgba[:, :, :3]).all()
    gray_alpha = Image.merge("LA", [Image.fromarray(rgba[:, :, 0]), Image.fromarray(rgba[:, :, 3])])
    assert (decode_image(encode(gray_alpha)) == rgba[:, :, :1]).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted(kind: str) -> None:
    """CMYK is converted as Pillow (and so clean-fid) does."""
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[:, :4, 0] = 255  # cyan
    data = encode(Image.frombytes("CMYK", (8, 8), ink.tobytes()), kind)
    decoded = decode_image(data).astype(int)
    assert abs(decoded[4, 1] - [0, 255, 255]).max() <= 3
    assert abs(decoded[4, 6] - [255, 255, 255]).max() <= 3
    assert (decoded == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM"])
def test_16_bit_gray_is_scaled_with_rounding(kind: str) -> None:
    """Every 16-bit value x becomes round(x * 255 / 65535), never a clipped 255."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(values * (255 / 65535)).astype(np.uint8)
    pgm = b"P5 256 256 65535\n" + values.astype(">u2").tobytes()
    decoded = decode_image(pgm if kind == "PGM" else encode(values, kind))
    assert (decoded == expected[:, :, None]).all()
    assert decoded.shape == (256, 256, 3)


def test_16_bit_colour_takes_high_bytes() -> None:
    """Pillow reads 16-bit colour as the high byte of each sample, within one step of rounding."""
    values = np.random.default_rng(0).integers(0, 65536, (4, 6, 3), dtype=np.uint16)
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    assert (decode_image(png(6, 4, raw, depth=16)) == values >> 8).all()


@pytest.mark.parametrize("value", [-1, 65536])
def test_32_bit_integers_are_refused(value: int) -> None:
    """Integers that do not fit 16 bits have no scale and are refused with their extremes."""
    data = encode(np.full((2, 2), value, np.int32), "TIFF")
    with pytest.raises(ValueError, match=rf"deep\.tif: integer pixels from {value} to {value} have no agreed scale"):
        decode_image(data, "deep.tif")


def test_float_images_are_refused() -> None:
    """Floating-point images are refused, named."""
    with pytest.raises(ValueError, match=r"hdr\.tif: floating-point pixels have no agreed scale"):
        decode_image(encode(np.zeros((2, 2), np.float32), "TIFF"), "hdr.tif")


def test_exif_orientation_is_not_applied() -> None:
    """Pixels stay as stored, whatever the EXIF orientation says (clean-fid's rule)."""
    image = Image.fromarray(pixels(16, 8, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated, plain = encode(image, "JPEG", exif=exif), encode(image, "JPEG")
    assert rotated != plain
    assert decode_image(rotated).shape == (16, 8, 3)
    assert (decode_image(rotated) == decode_image(plain)).all()


@pytest.mark.parametrize(("kind", "options"), [("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_first_frame_counts(kind: str, options: dict[str, bool]) -> None:
    """Of pages and animations the first frame is read."""
    frames = [Image.fromarray(pixels(6, 5, 3, seed=seed)) for seed in range(3)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert (decode_image(data) == np.asarray(frames[0])).all()


def test_one_pixel_image(tmp_path: Path) -> None:
    """A 1 x 1 image is an image, from bytes and from a path."""
    (tmp_path / "dot.png").write_bytes(encode(pixels(1, 1, 3)))
    assert decode_image(tmp_path / "dot.png").tolist() == pixels(1, 1, 3).tolist()
    assert decode_image(str(tmp_path / "dot.png")).flags.writeable


def test_content_decides_the_format() -> None:
    """A PNG called .jpg is read as the PNG it is; what Pillow could read besides is not, whatever its name."""
    array = pixels(5, 4, 3)
    assert (decode_image(encode(array), "x.jpg") == array).all()
    for other in ("EPS", "ICO", "TGA"):
        with pytest.raises(ValueError, match=r"x\.png: not a readable BMP, .* begins with b'"):
            decode_image(encode(array, other), "x.png")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_cut_files_are_errors(kind: str, options: dict[str, object]) -> None:
    """A file cut at any byte is an error, never an image with a gray part."""
    data = encode(pixels(24, 20, 3), kind, **options)
    closing = 4 if kind == "PNG" else 0  # the checksum of the end mark; all pixels were verified before it
    for cut in range(len(data) - closing):
        with pytest.raises(ValueError, match=r"cut\.img: "):
            decode_image(data[:cut], "cut.img")


def test_truncated_images_switch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Pillow told to pass cut files as whole ones, decoding stops; it is no fault of one file."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(RuntimeError, match="LOAD_TRUNCATED_IMAGES is on"):
        decode_image(encode(pixels(4, 4, 3)))


def test_pixel_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above Pillow's error limit an image is refused by name; between warning and error it is read in silence."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = warnings.filters[:]
        assert decode_image(encode(pixels(10, 10, 3))).shape == (10, 10, 3)
        assert warnings.filters == before
    with pytest.raises(ValueError, match=r"big\.png: .*101 pixels.*limit of 100 pixels.*MAX_IMAGE_PIXELS"):
        decode_image(encode(pixels(1, 101, 3)), "big.png")
    assert Image.MAX_IMAGE_PIXELS == 50


@pytest.mark.parametrize("bits", [1, 10, 12, 16])
def test_the_bits_that_16_bit_values_need_are_known(bits: int) -> None:
    """Of gray and colour, PNG and TIFF, with 16 bits a value the largest is known; 8-bit files have none."""
    gray = np.full((4, 6), 2**bits - 1, np.uint16)
    for kind in ("PNG", "TIFF"):
        assert decode_bytes(encode(Image.fromarray(gray), kind)).depth == bits
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.repeat(gray[:, :, None], 3, axis=2))
    colour = decode_bytes(png(6, 4, raw, depth=16))
    assert (colour.depth, colour.format) == (max(8, bits), "PNG")  # of which Pillow gives the high bytes
    assert [decode_bytes(encode(pixels(4, 6, 3), kind)).depth for kind in ("PNG", "TIFF", "JPEG")] == [0, 0, 0]


def test_pixels_are_hashed_whatever_the_file() -> None:
    """A lossless copy in another format has the image's hash; another pixel, or another shape, another hash."""
    image = pixels(8, 6, 3)
    copies = [decode_bytes(encode(image, kind, **options)).pixels for kind, options in (
        ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True}),
    )]  # fmt: skip
    assert {pixel_hash(copy) for copy in copies} == {pixel_hash(image)}
    assert len({pixel_hash(each) for each in (image, image.transpose(1, 0, 2), image[:, ::-1])}) == 3


@pytest.mark.parametrize("height", [3, 700, 1100])
def test_each_pixel_counts(height: int) -> None:
    """One bit anywhere in a small or large image changes its hash, and so does a swap of rows."""
    image = pixels(height, 1280, 3)
    image[-1, -1] = 0
    found = {pixel_hash(image), pixel_hash(image[::-1])}
    for place in np.linspace(0, image.size - 1, 40).astype(int):
        other = image.copy()
        other.reshape(-1)[place] ^= 1 << place % 8
        found.add(pixel_hash(other))
    assert len(found) == 42


def test_a_hash_stays_what_it_is() -> None:
    """Files keep hashes, so they are the same on every machine and in every version."""
    assert pixel_hash(np.zeros((1, 1, 3), np.uint8)) == 0x4AA9A6E31CE631BE
    assert pixel_hash((np.arange(90_000) % 251).astype(np.uint8).reshape(100, 300, 3)) == 0x94AB2D3E02BDA9BF
