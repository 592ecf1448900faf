"""Image files and containers that somebody changed or made."""

from __future__ import annotations

import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.claims import write_sparse_tar, write_sparse_zip
from helpers.fuzzing import fuzzed, outcome
from helpers.image_files import chunk, encode, pixels
from helpers.mutations import changed_bytes
from hypothesis import given, strategies as st

from vdna_metrics.files import limit_of
from vdna_metrics.images import decode_image, open_images
from vdna_metrics.images.batches import ImageDataset

PIXELS = pixels(11, 9, 3)
FORMATS = {
    "PNG": {}, "JPEG": {}, "JPEG progressive": {"progressive": True}, "WEBP": {}, "BMP": {}, "PPM": {}, "GIF": {},
    "TIFF": {}, "TIFF lzw": {"compression": "tiff_lzw"}, "TIFF jpeg": {"compression": "jpeg"},
}  # fmt: skip
NUMBERS = (0, 1, 2, 3, 1, 2, 3, 8, 16, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1)
NAMES = (
    "a.png", "b.PNG", "deep/er/c.png", "../up.png", "/root.png", "a.png", "./a.png", "a//b.png", "\udcff.png",
    "\x1b[2J.png", "two\nlines.png", ".hidden.png", "__MACOSX/a.png", "a.txt", "", ".png", "x" * 300 + ".png",
    "c:\\d.png",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where changed files lie."""
    return tmp_path_factory.mktemp("changed")


def _check(found: Any) -> None:
    if found is not None:
        assert found.dtype == np.uint8
        assert found.ndim == 3
        assert found.shape[2] == 3
        assert found.flags.writeable
        assert found.shape[0] * found.shape[1] <= limit_of("image_pixels")


@pytest.mark.parametrize("kind", FORMATS)
@fuzzed
@given(data=st.data())
def test_bytes_of_image_files(kind: str, data: st.DataObject) -> None:
    """Damage is an error that names the file, or gives an image."""
    changed = data.draw(changed_bytes(encode(PIXELS, kind.split()[0], **FORMATS[kind])))
    _check(outcome(f"bytes of {kind}", lambda: decode_image(changed, "changed.x"), "changed.x"))


@fuzzed
@given(data=st.data())
def test_chunks_of_png(data: st.DataObject) -> None:
    """Headers that claim other sizes, depths and colours, chunks in any order, rows too short and too long."""
    number = st.sampled_from(NUMBERS)
    width, height = data.draw(st.tuples(number, number))
    depth, colour, how, interlaced = data.draw(
        st.tuples(
            st.sampled_from([0, 1, 2, 4, 8, 16, 3]), st.sampled_from([0, 2, 3, 4, 6, 1]), *[st.sampled_from([0, 1])] * 2
        )
    )
    row = 1 + -(-width * depth * {2: 3, 4: 2, 6: 4}.get(colour, 1) // 8)
    rows = bytes(data.draw(st.sampled_from([row * height] * 3 + [0, 1, 400, 1 << 16])) % (1 << 20))
    parts = [
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"PLTE", bytes(data.draw(st.sampled_from([0, 3, 7, 768, 900])))),
        chunk(b"tRNS", bytes(data.draw(st.integers(0, 300)))),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 22))),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 16))),
        chunk(b"acTL", struct.pack(">II", data.draw(number), 0)),
        chunk(b"IEND", b""),
    ]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, how, 0, interlaced))
    drawn = data.draw(st.lists(st.sampled_from(parts), max_size=6))
    made = b"\x89PNG\r\n\x1a\n" + head + b"".join(drawn) + parts[-1]
    _check(outcome("chunks of PNG", lambda: decode_image(made, "made.png"), "made.png"))


@fuzzed
@given(data=st.data())
def test_headers_of_netpbm(data: st.DataObject) -> None:
    """Sizes, largest values and comments that fit nothing."""
    number = st.sampled_from([*map(str, NUMBERS), "3", "255", "-1", "1e3", "", "9" * 30, "# a\n2"])
    words = data.draw(
        st.tuples(st.sampled_from(["P1", "P2", "P3", "P4", "P5", "P6", "P7", "Pf", "PF"]), number, number, number)
    )
    made = " ".join(words).encode() + b"\n" + bytes(data.draw(st.sampled_from([0, 1, 12, 4000])))
    _check(outcome("headers of netpbm", lambda: decode_image(made, "made.ppm"), "made.ppm"))


def _read(path: Path) -> Any:
    source = open_images(path)
    assert len(source.names) == len(source)
    found = ImageDataset(source)[0].image
    if isinstance(found, str):
        raise ValueError(f"{path.name}: {found}")
    return found


CONTENTS = (encode(PIXELS), b"", b"no image", encode(PIXELS)[:60], bytes(1 << 20))


@fuzzed
@given(data=st.data())
def test_zip_files(folder: Path, data: st.DataObject) -> None:
    """Names, contents, comments and compressions of all sorts, then changed bytes."""
    stream = io.BytesIO()
    members = data.draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(CONTENTS)), max_size=4))
    how = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", how) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.compress_type, info.filename = how, name.encode(errors="ignore").decode()
            archive.open(info, "w").close() if not content else archive.writestr(info, content)
        archive.comment = b"c" * data.draw(st.sampled_from([0, 9, 60000]))
    _container(folder / "changed.zip", stream.getvalue(), data)


@fuzzed
@given(data=st.data())
def test_tar_files(folder: Path, data: st.DataObject) -> None:
    """Links, devices, sparse files, headers of pax and GNU, names of all sorts, then changed bytes."""
    stream = io.BytesIO()
    kinds = [
        tarfile.REGTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        b"S",
    ]
    form = data.draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    names = [name for name in NAMES if len(name) < 99]
    with tarfile.open(fileobj=stream, mode="w", format=form, errors="surrogateescape") as archive:
        for name, kind, content in data.draw(
            st.lists(
                st.tuples(st.sampled_from(names), st.sampled_from([kinds[0], *kinds]), st.sampled_from(CONTENTS)),
                max_size=4,
            )
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = (
                kind,
                len(content),
                data.draw(st.sampled_from(["a.png", "/etc/passwd", "."])),
            )
            if form == tarfile.PAX_FORMAT and data.draw(st.booleans()):
                key = data.draw(
                    st.sampled_from(["size", "path", "GNU.sparse.map", "GNU.sparse.size", "hdrcharset", "mtime"])
                )
                info.pax_headers = {key: data.draw(st.sampled_from(["0", "-1", "9" * 20, "1,2,3", "x", "a.png"]))}
            archive.addfile(info, io.BytesIO(content))
    _container(folder / "changed.tar", stream.getvalue(), data)


@fuzzed
@given(data=st.data())
def test_lists_of_names(folder: Path, data: st.DataObject) -> None:
    """Lists that name anything: themselves, folders, devices, what is not there, no text."""
    (folder / "a.png").write_bytes(encode(PIXELS))
    lines = ["a.png", "nothing.png", ".", "..", "/dev/zero", "/dev/stdin", "list.txt", "#", "", "x" * 5000,
             "a.png\0", "\udcff.png",
             "a.zip:b", "~", "a.png:a.png", "file:///etc/passwd", "https://localhost/a.png"]  # fmt: skip
    text = data.draw(st.lists(st.sampled_from(lines), max_size=4).map("\n".join))
    _container(folder / "changed.txt", text.encode(errors="surrogateescape"), data)


def _container(path: Path, whole: bytes, data: st.DataObject) -> None:
    path.write_bytes(data.draw(st.one_of(st.just(whole), st.just(whole), changed_bytes(whole))) if whole else whole)
    outcome(f"containers: {path.suffix}", lambda: _read(path), path.name)


@fuzzed
@given(data=st.data())
def test_claims_of_archives(folder: Path, data: st.DataObject) -> None:
    """Headers and directories of any size, in files as large as they say that take no room on the disk."""
    size = data.draw(st.sampled_from([0, 1, 511, 512, 1 << 16, 1 << 18, 1 << 24, 3 << 30, 1 << 36]))
    begin = data.draw(st.sampled_from([b"", b"1" * 512, b"30 path=a.png\n", b"19 GNU.sparse.major=1\n", b"a.png"]))
    if kind := data.draw(st.sampled_from([b"", b"L", b"K", b"x", b"g", b"X", b"S", b"0"])):
        path = write_sparse_tar(folder / "claims.tar", kind, size, begin)
    else:
        path = write_sparse_zip(folder / "claims.zip", size, entries=data.draw(st.sampled_from(NUMBERS)))
    outcome(f"claims: {path.suffix}", lambda: _read(path), path.name)
