"""Images that are too large, endless, or no files at all."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.image_files import encode

from vdna_metrics.files import LIMITS, limit_of, limit_variable, read_whole
from vdna_metrics.images import decode_image, open_images
from vdna_metrics.images.batches import ImageDataset, iterate_images

_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are no files there")


def _png(width: int, height: int) -> bytes:
    """A black image of one bit a pixel: some kilobytes, whatever its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good image."""
    (tmp_path / "good.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    return tmp_path


def _skipped(folder: Path) -> list[tuple[str, str]]:
    """What is left out of a folder of one good image, and why; without leave it is an error that says the same."""
    source = open_images(folder)
    with pytest.raises(ValueError, match="--skip-bad"):
        list(iterate_images(source))
    batches = list(iterate_images(source, skip_bad=True))
    assert [source.names[index] for batch in batches for index in batch.indices] == ["good.png"]
    return [(bad.name, bad.reason) for batch in batches for bad in batch.skipped]


def test_a_member_without_a_name_is_no_image(tmp_path: Path) -> None:
    """A zip file may have one; what else is there is read."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"nothing")
        archive.writestr("good.png", encode(np.zeros((8, 8, 3), np.uint8)))
    assert open_images(tmp_path / "a.zip").names == ("good.png",)


@pytest.mark.skipif(sys.platform != "linux", reason="workers hand batches over by files there")
def test_workers_need_a_short_temporary_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sockets of workers would find no room for their names, that is told; workers waited for ever."""
    monkeypatch.setattr("tempfile.tempdir", "/tmp/" + "x" * 100)
    with pytest.raises(ValueError, match=r"at most 75 bytes.*set TMPDIR to a shorter one"):
        list(iterate_images(open_images(folder), workers=1))
    assert len(list(iterate_images(open_images(folder)))) == 1


def test_an_image_of_too_many_pixels_is_refused(folder: Path) -> None:
    """Some kilobytes that would be gigabytes are refused by what their header says; the limit can be raised."""
    bomb = _png(13300, 13300)
    assert len(bomb) < 30_000
    (folder / "bomb.png").write_bytes(bomb)
    ((name, reason),) = _skipped(folder)
    assert name == "bomb.png"
    assert "13300 x 13300 pixels: expected at most 67108864 pixels of one image, got 176890000" in reason
    assert "--limit image_pixels=176890000" in reason


def test_a_limit_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each limit has a variable, which worker processes inherit."""
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGE_PIXELS", "99")
    with pytest.raises(ValueError, match="expected at most 99 pixels of one image, got 100"):
        decode_image(_png(10, 10), "a.png")
    assert decode_image(_png(9, 11)).shape == (11, 9, 3)
    for name in LIMITS:
        monkeypatch.setenv(limit_variable(name), "7")
        assert limit_of(name) == 7


@_POSIX
@pytest.mark.parametrize("what", ["a pipe", "a device"])
def test_what_is_no_regular_file_is_not_waited_for(folder: Path, what: str) -> None:
    """A pipe that nobody writes to, and a link to a device without end, are bad images."""
    if what == "a pipe":
        os.mkfifo(folder / "odd.png")
    else:
        (folder / "odd.png").symlink_to("/dev/zero")
    assert _skipped(folder) == [("odd.png", f"expected a regular file, {folder / 'odd.png'} is {what}")]


@_POSIX
@pytest.mark.parametrize("suffix", [".png", ".zip", ".tar", ".txt", ".npy", ".npz"])
def test_a_source_that_is_a_pipe_is_refused(tmp_path: Path, suffix: str) -> None:
    """Whatever it is called, nothing waits for its writer."""
    os.mkfifo(tmp_path / f"odd{suffix}")
    with pytest.raises(ValueError, match="neither a folder nor a regular file"):
        open_images(tmp_path / f"odd{suffix}")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder: Path) -> None:
    """A sparse file of many gigabytes takes no memory."""
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(50 << 30)
    ((name, reason),) = _skipped(folder)
    assert name == "sparse.png"
    assert "expected at most 1073741824 bytes of one image file, got 53687091200" in reason


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What an archive says of a member is compared with the limit before the member is read."""
    import tarfile

    image = encode(np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "a.png").write_bytes(image)
    path = tmp_path / f"a.{kind}"
    with zipfile.ZipFile(path, "w") if kind == "zip" else tarfile.open(path, "w") as archive:
        getattr(archive, "write" if kind == "zip" else "add")(tmp_path / "a.png", "a.png")
    dataset = ImageDataset(open_images(path))
    assert not isinstance(dataset[0].image, str)
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGE_BYTES", str(len(image) - 1))
    assert f"the archive's member: expected at most {len(image) - 1} bytes" in str(dataset[0].image)


def test_an_image_without_memory_for_it_is_a_bad_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has no memory for one image goes on with the next."""
    (folder / "large.png").write_bytes(encode(np.zeros((9, 9, 3), np.uint8)))

    def decode(data: bytes) -> object:
        if data == (folder / "large.png").read_bytes():
            raise MemoryError
        return original(data)

    from vdna_metrics.images import batches

    original = batches.decode_bytes
    monkeypatch.setattr(batches, "decode_bytes", decode)
    assert _skipped(folder) == [("large.png", "not enough memory")]


def test_a_whole_file_is_read_whole(tmp_path: Path) -> None:
    """All bytes of a regular file come, up to the limit, and a folder is named as one."""
    (tmp_path / "a").write_bytes(b"12345")
    tracemalloc.start()
    assert read_whole(tmp_path / "a", "array_bytes") == b"12345"
    assert tracemalloc.get_traced_memory()[1] < 1 << 20  # not as much as the limit allows
    tracemalloc.stop()
    if sys.platform != "win32":
        with pytest.raises((ValueError, IsADirectoryError), match=r"is a folder|Is a directory"):
            read_whole(tmp_path, "text_bytes")


def test_a_tar_with_a_malformed_number_is_named(tmp_path: Path) -> None:
    """What tarfile raises for damaged extended attributes becomes an error that names the file."""
    import io
    import tarfile

    member = tarfile.TarInfo("a.png")
    member.pax_headers = {"GNU.sparse.major": "x", "GNU.sparse.minor": "0", "GNU.sparse.size": "x"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    (tmp_path / "odd.tar").write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match=r"odd\.tar' is not a readable \.tar file: invalid literal"):
        open_images(tmp_path / "odd.tar")
