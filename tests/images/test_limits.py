"""Images that are too large, endless, or no files at all."""

from __future__ import annotations

import os
import struct
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.claims import write_sparse_tar, write_sparse_zip
from helpers.image_files import chunk, encode
from PIL import Image

from vdna_metrics.files import LIMITS, limit_of, limit_variable, read_whole
from vdna_metrics.images import decode_image, open_images
from vdna_metrics.images.batches import ImageDataset, iterate_images

_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are no files there")


def _png(width: int, height: int) -> bytes:
    """A black image of one bit a pixel: some kilobytes, whatever its size."""
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


@pytest.mark.parametrize("size", [-512, -1536])
def test_a_tar_does_not_go_back(tmp_path: Path, size: int) -> None:
    """A member of a negative size, whose next header would be one that was read, is refused."""
    attributes = f"11 size={size}\n".encode()
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, len(attributes)
    member = tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT)
    attributes = f"{len(attributes) + (len(str(len(attributes))) - 2)} size={size}\n".encode()
    header.size = len(attributes)
    block = header.tobuf(tarfile.USTAR_FORMAT) + attributes.ljust(512, b"\0") + member
    (tmp_path / "a.tar").write_bytes(tarfile.TarInfo("b.png").tobuf(tarfile.USTAR_FORMAT) + block + bytes(1024))
    with pytest.raises(ValueError, match=rf"a\.tar.*member 'a.png': expected a size from 0, got {size}"):
        open_images(tmp_path / "a.tar")


def test_attributes_of_all_members_are_few(tmp_path: Path) -> None:
    """Each member of a tar would have a copy of them."""
    many = {f"key{i}": "x" for i in range(101)}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers=many) as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(ValueError, match="expected at most 100 attributes of all members, got 101"):
        open_images(tmp_path / "a.tar")


def test_a_comment_without_end_is_no_image() -> None:
    """A PPM says its width and height soon; comments before them are passed over."""
    pixels = bytes(range(12))
    assert decode_image(b"P6\n# made by hand\n2 # wide\n2\n255\n" + pixels).shape == (2, 2, 3)
    with pytest.raises(ValueError, match="expected width and height in the first 65536 bytes"):
        decode_image(b"P6\n#" + bytes(1 << 20))


def test_rows_of_an_array_have_the_limit_of_images(tmp_path: Path) -> None:
    """A sparse array of some huge images is refused before one is read; one of many small ones is none such."""
    for name, shape in (("huge", (2, 40_000, 40_000)), ("many", (1_500_000, 8, 8, 3))):
        with (tmp_path / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.truncate(file.tell() + int(np.prod(shape)))
    with pytest.raises(ValueError, match=r"huge.npy.* expected at most \d+ pixels .*got 1600000000"):
        open_images(tmp_path / "huge.npy")
    assert len(open_images(tmp_path / "many.npy")) == 1_500_000


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
    assert "13300 x 13300 pixels: expected at most 134217728 pixels of one image, got 176890000" in reason
    assert "--limit image_pixels=176890000" in reason


def test_pixels_of_webp_count_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decoder keeps twice as much a pixel as the others'."""
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGE_PIXELS", "100")
    (folder / "8.webp").write_bytes(encode(np.zeros((8, 8, 3), np.uint8), "WEBP"))
    ((name, reason),) = _skipped(folder)
    assert name == "8.webp"
    assert "8 x 8 pixels of a WEBP, which count twice: expected at most 100 pixels of one image, got 128" in reason


def _of_scans(number: int) -> bytes:
    """A progressive JPEG that goes over its pixels so often."""
    data = encode(np.zeros((16, 16, 3), np.uint8), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (number - data.count(b"\xff\xda") + 1) + b"\xff\xd9"


def test_a_jpeg_of_too_many_scans_is_refused(folder: Path) -> None:
    """Each scan goes over all pixels, so kilobytes could take minutes; what lies behind the image is not counted."""
    assert decode_image(_of_scans(100) + b"\xff\xda" * 200).shape == (16, 16, 3)
    (folder / "slow.jpg").write_bytes(_of_scans(101))
    ((name, reason),) = _skipped(folder)
    assert name == "slow.jpg"
    assert "its scans: expected at most 100 scans of one JPEG, got 101; if you trust it, set" in reason
    with pytest.raises(ValueError, match="expected a JPEG of at most 100000 segments"):
        decode_image(b"\xff\xd8" + b"\xff\xfe\0\2" * 100_001)


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
    assert _skipped(folder) == [("odd.png", f"expected a regular file, got {what}")]


@_POSIX
@pytest.mark.parametrize("suffix", [".png", ".zip", ".tar", ".txt", ".npy", ".npz"])
def test_a_source_that_is_a_pipe_is_refused(tmp_path: Path, suffix: str) -> None:
    """Whatever it is called, nothing waits for its writer."""
    os.mkfifo(tmp_path / f"odd{suffix}")
    with pytest.raises(ValueError, match=f"odd{suffix}: expected a regular file, got a pipe"):
        open_images(tmp_path / f"odd{suffix}")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder: Path) -> None:
    """A sparse file of many gigabytes takes no memory."""
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(50 << 30)
    ((name, reason),) = _skipped(folder)
    assert name == "sparse.png"
    assert "expected at most 402653184 bytes of one image file, got 53687091200" in reason


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What an archive says of a member is compared with the limit before the member is read."""
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


@pytest.mark.parametrize("kind", ["L", "K", "x", "g"])
def test_a_header_of_a_tar_is_not_read_by_its_claimed_size(tmp_path: Path, kind: str) -> None:
    """Long names and extended headers of gigabytes are refused before they are read."""
    path = write_sparse_tar(tmp_path / "a.tar", kind.encode(), 6 << 30)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"a\.tar.*: its headers: expected at most 262144 bytes of .*tar_header_bytes="
    ):
        open_images(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_headers_before_one_member_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several small ones are as much as a large one; another member begins anew, and names of usual length are read."""
    names = [f"{'deep/' * 80}{number}.png" for number in range(40)]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    monkeypatch.setenv("VDNA_METRICS_MAX_TAR_HEADER_BYTES", "4096")
    assert open_images(tmp_path / "a.tar").names == tuple(sorted(names))
    monkeypatch.setenv("VDNA_METRICS_MAX_TAR_HEADER_BYTES", "1023")
    with pytest.raises(ValueError, match="expected at most 1023 bytes of headers before one member of a tar"):
        open_images(tmp_path / "a.tar")


def test_a_number_of_many_digits_in_a_tar_is_refused(tmp_path: Path) -> None:
    """Searching for the end of one takes tarfile the square of its length, in some versions of Python."""
    size = 200 * 1024
    path = write_sparse_tar(tmp_path / "a.tar", b"x", size, b"1" * size)
    with pytest.raises(ValueError, match=r"a\.tar.* a number of more than 1000 digits in a header"):
        open_images(path)


def test_a_directory_of_a_zip_is_not_read_by_its_claimed_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one of gigabytes nor one of too many images is read; one of as many as are allowed is."""
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"a\.zip.*: its headers: expected at most 1500000 images in .*--limit images="
    ):
        open_images(write_sparse_zip(tmp_path / "a.zip", 6 << 30))
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for number in range(9):
            archive.writestr(f"{number}.png", b"")
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "9")
    assert len(open_images(tmp_path / "b.zip")) == 9
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "8")
    with pytest.raises(ValueError, match=r"b\.zip.*: its directory: expected at most 8 images in one container, got 9"):
        open_images(tmp_path / "b.zip")


def test_names_of_a_tar_have_the_limit_of_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they take in memory is added up while they are read."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(9):
            archive.addfile(tarfile.TarInfo(f"{number:0200}.png"))
    monkeypatch.setenv("VDNA_METRICS_MAX_TEXT_BYTES", "2000")
    with pytest.raises(ValueError, match=r"a\.tar.*: its names: expected at most 2000 bytes of one list of names"):
        open_images(tmp_path / "a.tar")


def test_letters_of_four_bytes_count_as_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text with one such letter takes four bytes for each of its letters."""
    (tmp_path / "a.txt").write_text("\U0001f600.png", encoding="utf-8")
    monkeypatch.setenv("VDNA_METRICS_MAX_TEXT_BYTES", "31")
    with pytest.raises(
        ValueError, match=r"a\.txt: it is not all ASCII: 4 bytes a letter: expected at most 31 .*got 32"
    ):
        open_images(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("abcd.png", encoding="utf-8")
    assert len(open_images(tmp_path / "a.txt")) == 1


def test_a_list_of_too_many_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are counted before they are names."""
    (tmp_path / "a.txt").write_text("a.png\n" * 9)
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "9")
    assert len(open_images(tmp_path / "a.txt")) == 9
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "8")
    with pytest.raises(ValueError, match=r"a\.txt: its lines: expected at most 8 images in one container, got 9"):
        open_images(tmp_path / "a.txt")


def test_real_photographs_are_within_the_limit() -> None:
    """Cameras of 100 megapixels are sold; Pillow's own limit is above ours, so that ours is the one that is named."""
    assert 11656 * 8742 < limit_of("image_pixels") < 2 * Image.MAX_IMAGE_PIXELS


def test_texts_and_profiles_of_a_png_are_not_read(folder: Path) -> None:
    """Pillow refuses an image for a text of megabytes, which is no part of its pixels."""
    image = encode(np.arange(600, dtype=np.uint8).reshape(10, 20, 3))
    texts = [(b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")]
    chunks = b"".join(chunk(kind, head + zlib.compress(bytes(2 << 20))) for kind, head in texts)
    assert (decode_image(image[:33] + chunks + image[33:]) == decode_image(image)).all()
    with pytest.raises(ValueError, match=r"^a\.png: "):
        decode_image(image[:33] + chunks[:40], "a.png")


def test_the_name_of_an_image_is_told_once(tmp_path: Path) -> None:
    """A file that is a source by itself is called as its only image; of a missing one the system tells the name too."""
    (tmp_path / "odd.png").write_bytes(b"nothing")
    (tmp_path / "a.txt").write_text("odd2.png\n")
    for source, name in (("odd.png", "odd.png"), ("a.txt", "odd2.png")):
        for skip_bad in (False, True):
            with pytest.raises(ValueError, match=name) as error:
                list(iterate_images(open_images(tmp_path / source), skip_bad=skip_bad))
            assert str(error.value).count(name) == 1


def test_a_tar_with_a_malformed_number_is_named(tmp_path: Path) -> None:
    """What tarfile raises for damaged extended attributes becomes an error that names the file."""
    import io

    member = tarfile.TarInfo("a.png")
    member.pax_headers = {"GNU.sparse.major": "x", "GNU.sparse.minor": "0", "GNU.sparse.size": "x"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member)
    (tmp_path / "odd.tar").write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match=r"odd\.tar' is not a readable \.tar file: invalid literal"):
        open_images(tmp_path / "odd.tar")
