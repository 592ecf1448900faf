"""Image sources and batches."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import pickle
import struct
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.image_files import encode, pixels, png
from PIL import Image

from vdna_metrics.images import ImageDataset, iterate_images, open_images
from vdna_metrics.images.decoding import IMAGE_EXTENSIONS
from vdna_metrics.images.sources import evenly_spaced, manifest_hash


def _write_files(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def _write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _collect(source: object, **options: object) -> tuple[np.ndarray, list[str], list[tuple[str, str]], list[int]]:
    batches = list(iterate_images(source, **options))  # type: ignore[arg-type]
    return (
        torch.cat([batch.images for batch in batches]).permute(0, 2, 3, 1).numpy(),
        [digest for batch in batches for digest in batch.digests],
        [(bad.name, bad.reason) for batch in batches for bad in batch.skipped],
        [index for batch in batches for index in batch.indices],
    )


def _clip_9x9(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(image, (0, 9, 0, 9))[:, :9, :9]


def _refuse_wide(image: torch.Tensor) -> torch.Tensor:
    if image.shape[2] > 6:
        raise ValueError("too wide")
    return image[:, :4, :4]


@pytest.fixture
def arrays() -> np.ndarray:
    """Seven images."""
    return pixels(7, 6, 5, 3)


@pytest.fixture
def files(arrays: np.ndarray) -> dict[str, bytes]:
    """The seven images as PNG files."""
    # Out of order, so that sorting shows; "a-b/" sorts before "a/" as a string, and after it part by part.
    names = ["b.png", "a/2.PNG", "a/10.png", "a-b/x.png", "a/deep/er/1.png", "z.png", "ü/é.png"]
    return {name: encode(array) for name, array in zip(names, arrays, strict=True)}


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    """The seven files in a folder."""
    return _write_files(tmp_path / "folder", files)


# ------------------------------------------------------------------------------------------------------ sources
def test_all_kinds_of_sources_agree(tmp_path: Path, folder: Path, files: dict[str, bytes]) -> None:
    """Folder, zip, tar, list and array give the same pixels; file sources give the same manifest hash."""
    names = tuple(sorted(files))
    expected = np.stack([np.asarray(Image.open(io.BytesIO(files[name]))) for name in names])
    (folder / "list.txt").write_text("\n".join(names), encoding="utf-8")
    sources = {
        "folder": folder,
        "deflated": _write_zip(tmp_path / "deflated.zip", files),
        "stored": _write_zip(tmp_path / "stored.ZIP", files, zipfile.ZIP_STORED),
        "tar": _write_tar(tmp_path / "files.tar", files),
        "dotted tar": _write_tar(tmp_path / "dotted.tar", {f"./{name}": data for name, data in files.items()}),
        "pax tar": _write_tar(tmp_path / "long.tar", {f"{'x' * 150}/{name}": data for name, data in files.items()}),
        "list": folder / "list.txt",
        "paths": [folder / name for name in names],
    }
    hashes = set()
    for kind, path in sources.items():
        source = open_images(f"{path}:{'x' * 150}" if kind == "pax tar" else path)
        images, digests, bad, indices = _collect(source, batch_size=3)
        assert source.names == names, kind
        assert (images == expected).all(), kind
        assert (bad, indices) == ([], list(range(7))), kind
        assert digests == [hashlib.sha256(files[name]).hexdigest() for name in names], kind
        hashes.add(manifest_hash(source.names, digests))
    assert len(hashes) == 1
    np.savez(tmp_path / "stored.npz", expected)
    np.savez_compressed(tmp_path / "packed.npz", expected)
    np.save(tmp_path / "rows.npy", expected)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(expected))
    for array in (*(tmp_path / name for name in ("stored.npz", "packed.npz", "rows.npy", "fortran.npy")), expected):
        images, digests, _, _ = _collect(open_images(array), batch_size=3, workers=2)
        assert (images == expected).all()
        assert digests == [hashlib.sha256(row.tobytes()).hexdigest() for row in expected]


def test_manifest_hash_is_sha256_of_lines() -> None:
    """The hash is sha256 over "name NUL digest LF", so order, names and contents all count."""
    assert manifest_hash(["a", "b\udcff"], ["1", "2"]) == hashlib.sha256(b"a\x001\nb\xff\x002\n").hexdigest()
    assert manifest_hash(["a", "b"], ["1", "2"]) != manifest_hash(["b", "a"], ["2", "1"])
    with pytest.raises(ValueError, match="shorter"):
        manifest_hash(["a", "b"], ["1"])


def test_groups_are_first_folders(folder: Path) -> None:
    """The group of an image is the first folder below the root, empty in the root."""
    source = open_images(folder)
    assert dict(zip(source.names, source.groups, strict=True)) == {
        "a-b/x.png": "a-b",
        "a/10.png": "a",
        "a/2.PNG": "a",
        "a/deep/er/1.png": "a",
        "b.png": "",
        "z.png": "",
        "ü/é.png": "ü",
    }


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_archive_folder(tmp_path: Path, files: dict[str, bytes], suffix: str) -> None:
    """``archive:folder`` opens one folder of an archive, with names relative to it; a typo lists what there is."""
    path = (_write_zip if suffix == ".zip" else _write_tar)(tmp_path / f"set{suffix}", files)
    source = open_images(f"{path}:a/")
    assert source.name == f"set{suffix}:a"
    assert source.names == ("10.png", "2.PNG", "deep/er/1.png")
    assert source.groups == ("", "", "deep")
    assert source.read(1) == files["a/2.PNG"]
    assert open_images(Path(f"{path}:a/deep")).names == ("er/1.png",)
    with pytest.raises(ValueError, match=r"no folder 'a/deap'.* it has a, a-b, a/deep/er, ü; did you mean 'a/deep/er'"):
        open_images(f"{path}:a/deap")


def test_source_names_are_last_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is called by the last part of its path, also where the path is a dot."""
    monkeypatch.chdir(folder)
    assert open_images(".").name == "folder"
    assert open_images("a/..").name == "folder"
    assert open_images("b.png").name == "b.png"
    assert (open_images("b.png").names, len(open_images("b.png"))) == (("b.png",), 1)
    assert open_images(["a/2.PNG", folder / "a/deep/er/1.png"]).names == ("2.PNG", "deep/er/1.png")


def test_hidden_files_are_left_out(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Dot files, dot folders and __MACOSX are no images; extensions count in any case."""
    data = next(iter(files.values()))
    extensions = ["bmp", "jpg", "JPEG", "pgm", "png", "PPM", "tif", "Tiff", "webp"]
    shown = {f"x/{i}.{extension}": data for i, extension in enumerate(extensions)}
    hidden = dict.fromkeys(["._a.png", ".b.png", ".git/c.png", "__MACOSX/0.png", "x/.d/e.png", "x/f.eps"], data)
    for path in (
        _write_files(tmp_path / "folder", shown | hidden),
        _write_zip(tmp_path / "set.zip", shown | hidden),
        _write_tar(tmp_path / "set.tar", shown | hidden),
    ):
        source = open_images(path)
        assert source.names == tuple(sorted(shown))
        assert source.unread == (("hidden image", 3), (".eps", 1)), path  # what macOS writes is nobody's image


def test_folder_links_are_followed_once(tmp_path: Path, folder: Path) -> None:
    """Linked folders count as folders; a link upwards is not walked in circles; a dead link is a bad image."""
    root = tmp_path / "linked"
    root.mkdir()
    (root / "class").symlink_to(folder / "a", target_is_directory=True)
    (root / "sub").mkdir()
    (root / "sub" / "up").symlink_to(root, target_is_directory=True)
    assert open_images(root).names == ("class/10.png", "class/2.PNG", "class/deep/er/1.png")
    (root / "dead.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"linked: dead\.png: .*No such file"):
        list(iterate_images(open_images(root)))


def test_links_between_folders_count_each_image_once(tmp_path: Path) -> None:
    """However folders and files link to each other, each real file is one image, by its own name where it has one."""
    names = "abcdef"
    files = {f"{name}/{i}.png": encode(pixels(4, 4, 3)) for name in names for i in range(2)}
    root = _write_files(tmp_path / "root", files)
    for name in names:
        for other in names:
            (root / name / f"to_{other}").symlink_to(f"../{other}", target_is_directory=True)
    (root / "again.png").symlink_to("a/0.png")
    source = open_images(root)
    assert source.names == tuple(sorted(files))
    assert source.unread == (("link to what is there already", len(names) ** 2 + 1),)
    elsewhere = tmp_path / "links"
    elsewhere.mkdir()
    for i in range(3):
        (elsewhere / f"{i}.png").symlink_to(root / "a" / "0.png" if i < 2 else root / "b" / "0.png")
    assert open_images(elsewhere).names == ("0.png", "2.png")


def test_list_rules(tmp_path: Path, folder: Path) -> None:
    """A list keeps its order and repeats, may hold absolute paths, and ignores blank lines and comments."""
    path = tmp_path / "list.txt"
    lines = ["# real images", "folder/z.png", "", f"{folder / 'b.png'}", "  ./folder/z.png ", "folder/gone.png"]
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    source = open_images(path)
    assert source.names == ("folder/z.png", (folder / "b.png").as_posix(), "folder/z.png", "folder/gone.png")
    assert source.groups == ("folder", "", "folder", "folder")
    _, _, bad, indices = _collect(source, skip_bad=True)
    assert indices == [0, 1, 2]
    assert [name for name, _ in bad] == ["folder/gone.png"]
    path.write_text("folder/z.eps")
    with pytest.raises(ValueError, match=r"list\.txt lists 'folder/z\.eps', no image file; known are \..*\.webp"):
        open_images(path)
    path.write_text("# nothing\n\n")
    with pytest.raises(ValueError, match=r"list\.txt lists no images"):
        open_images(path)


def test_sources_are_pickled_without_handles(tmp_path: Path, folder: Path, files: dict[str, bytes]) -> None:
    """A source that was read from still pickles, equals its copy, and the copy reads the same bytes."""
    np.save(tmp_path / "rows.npy", pixels(4, 3, 2, 3))
    paths = [
        folder,
        _write_zip(tmp_path / "a.zip", files),
        _write_tar(tmp_path / "a.tar", files),
        tmp_path / "rows.npy",
    ]
    for path in paths:
        source = open_images(path)
        first = source.read(0)
        packed = pickle.dumps(source)
        copy = pickle.loads(packed)
        assert np.array_equal(copy.read(0), first) if path.suffix == ".npy" else copy.read(0) == first
        assert path.suffix == ".npy" or (copy == source and hash(copy) == hash(source))
        assert len(packed) < 2000


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((4, 6, 5, 3), "NHWC"),
        ((4, 6, 5), "NHW"),
        ((4, 6, 5, 1), "NHW1"),
        ((4, 3, 6, 5), "NCHW"),
        ((4, 1, 6, 5), "N1HW"),
    ],
)
def test_array_layouts(shape: tuple[int, ...], layout: str) -> None:
    """Arrays may have their channels last, first, single or not at all."""
    array = pixels(*shape)
    expected = {
        "NHWC": lambda: array,
        "NHW": lambda: np.stack([array] * 3, axis=-1),
        "NHW1": lambda: np.concatenate([array] * 3, axis=-1),
        "NCHW": lambda: array.transpose(0, 2, 3, 1),
        "N1HW": lambda: np.concatenate([array] * 3, axis=1).transpose(0, 2, 3, 1),
    }[layout]()
    source = open_images(array)
    images, digests, _, _ = _collect(source)
    assert (images == expected).all()
    assert source.names == ("0", "1", "2", "3")
    assert digests[2] == hashlib.sha256(array[2].tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), r"array: images are uint8 .*; got float32 .*; scale images to 0\.\.255"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"got shape \[2, 4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.uint8), r"got shape \[4, 4, 3\]; write one image as array\[None\]"),
        (np.zeros((3, 4, 4), np.uint8), r"gray ones as array\[\.\.\., None\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"got shape \[0, 4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"got shape \[4, 4\]"),
    ],
)
def test_array_refusals(array: np.ndarray, message: str) -> None:
    """Arrays of other types and shapes, a single image among them, are refused with both sides shown."""
    with pytest.raises(ValueError, match=message):
        open_images(array)


def test_array_file_refusals(tmp_path: Path) -> None:
    """Pickled, cut and wrongly keyed array files are refused; nothing is unpickled."""
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"objects\.npy.*uint8.*got object"):
        open_images(tmp_path / "objects.npy")
    np.savez_compressed(tmp_path / "objects.npz", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="got one of objects, which are never unpickled"):
        open_images(tmp_path / "objects.npz")
    np.savez(tmp_path / "keys.npz", images=pixels(2, 4, 4, 3), labels=pixels(2))
    with pytest.raises(ValueError, match=r"arrays \['images', 'labels'\], no 'arr_0'"):
        open_images(tmp_path / "keys.npz")
    np.save(tmp_path / "cut.npy", pixels(2, 4, 4, 3))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"cut\.npy' is cut: 5 bytes"):
        open_images(tmp_path / "cut.npy")
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(ValueError, match=r"text\.npy' has no readable array"):
        open_images(tmp_path / "text.npy")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10**11, 8, 8, 3), r"is cut: \d+ bytes of its array of shape \[100000000000, 8, 8, 3\] are missing"),
        ((2**32, 2**32, 1, 3), r"expected an array of fewer than 2\*\*63 bytes"),
        ((6, 8, 8, 3), "is cut: 192 bytes"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_that_claim_more_than_there_is(
    suffix: str, shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    """Names of images are made after a look at how many bytes there are, of the file or of the stored member."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    path, data = tmp_path / f"x.{suffix}", header.getvalue() + bytes(5 * 8 * 8 * 3)
    if suffix == "npz":
        _write_zip(path, {"arr_0.npy": data, "more.npy": bytes(10**4)}, zipfile.ZIP_STORED)
    else:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"x\.{suffix}'.*{message}"):
        open_images(path)


def test_images_of_one_array_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file may hold as many images as it claims; how many names are made is limited."""
    np.save(tmp_path / "x.npy", pixels(9, 4, 4, 3))
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "8")
    with pytest.raises(
        ValueError,
        match=r"x\.npy: expected at most 8 images in one container, got 9; if you trust it, set VDNA_METRICS_",
    ):
        open_images(tmp_path / "x.npy")
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "9")
    assert len(open_images(tmp_path / "x.npy")) == 9


def test_array_files_are_mapped(tmp_path: Path) -> None:
    """A stored array file is read row by row: a sparse file far larger than its readable rows opens at once."""
    header = io.BytesIO()
    shape = (1_000_000, 256, 256, 3)  # 183 GiB
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with open(tmp_path / "huge.npy", "wb") as file:
        file.write(header.getvalue())
        file.truncate(len(header.getvalue()) + int(np.prod(shape)))
    source = open_images(tmp_path / "huge.npy")
    assert len(source) == 1_000_000
    assert not source.read(999_999).any()  # type: ignore[union-attr]
    np.savez(tmp_path / "rows.npz", pixels(100, 8, 8, 3))
    assert len(pickle.dumps(open_images(tmp_path / "rows.npz"))) < 2000


def test_missing_and_unknown_sources(tmp_path: Path, folder: Path) -> None:
    """A missing path suggests its siblings; an unknown suffix and a wrong type say what is known."""
    with pytest.raises(ValueError, match=r"no image source at '.*foldr'; did you mean 'folder'\?"):
        open_images(tmp_path / "foldr")
    with pytest.raises(ValueError, match=r"no image source at '.*nowhere/x\.zip'$"):
        open_images(tmp_path / "nowhere" / "x.zip")
    (tmp_path / "set.rar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"its suffix is '\.rar'; known are folders, \.zip, \.tar, \.txt"):
        open_images(tmp_path / "set.rar")
    with pytest.raises(TypeError, match="got set"):
        open_images({"a.png"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="holds paths, got ndarray"):
        open_images([np.zeros((4, 4, 3), np.uint8)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="sequence of paths lists no images"):
        open_images([])
    with pytest.raises(ValueError, match=r"lists '.*folder', no image file"):
        open_images([folder])


def test_every_image_of_a_folder_counts(tmp_path: Path) -> None:
    """All suffixes of the formats that are read count, in a folder and in archives; what is not read is counted too."""
    array = pixels(6, 5, 3)
    read = {f"{i}.{suffix}": encode(array, "JPEG") for i, suffix in enumerate(("jpg", "jpeg", "jpe", "jfif", "JPG"))}
    read |= {"a.gif": encode(array, "GIF"), "b.pnm": encode(array, "PPM"), "c.webp": encode(array, "WEBP")}
    avif = {"d.avif": encode(array, "AVIF")} if ".avif" in IMAGE_EXTENSIONS else {}
    left = {"e.heic": b"", "f.heic": b"", "g.mp4": b"", "labels": b""}
    for path in (
        _write_files(tmp_path / "folder", read | avif | left),
        _write_zip(tmp_path / "set.zip", read | avif | left),
        _write_tar(tmp_path / "set.tar", read | avif | left),
    ):
        source = open_images(path)
        assert source.names == tuple(sorted(read | avif))
        assert source.unread == ((".heic", 2), (".mp4", 1), ("no suffix", 1))
        assert evenly_spaced(source, 2).unread == source.unread
        images, _, bad, _ = _collect(source)
        assert (images.shape, bad) == ((len(source), 6, 5, 3), [])


def test_sources_without_images(tmp_path: Path) -> None:
    """A folder or archive without images says how many files of which kinds it has."""
    files = {f"{i}.eps": b"" for i in range(10)} | {"a/notes.txt": b"", "LICENSE": b"", ".hidden.png": b""}
    for path in (
        _write_files(tmp_path / "none", files),
        _write_zip(tmp_path / "none.zip", files),
        _write_tar(tmp_path / "none.tar", files),
    ):
        found = r"found 12 other files \(\.eps 10, \.txt 1, hidden image 1, no suffix 1\)"
        with pytest.raises(ValueError, match=found):
            open_images(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found nothing"):
        open_images(tmp_path / "empty")


def test_unreadable_folder_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be listed is an error, not fewer images."""
    list_folder = os.scandir

    def refuse(path: str) -> object:  # stands in for chmod, which does not stop root
        if os.path.basename(path) == "deep":
            raise PermissionError(13, "Permission denied", path)
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"cannot list '.*deep': Permission denied"):
        open_images(folder)


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz"), (".tar", "w:gz")]
)
def test_compressed_tars_are_refused(tmp_path: Path, files: dict[str, bytes], suffix: str, mode: str) -> None:
    """A compressed tar is refused, also where its name hides it."""
    path = _write_tar(tmp_path / f"set{suffix}", files, mode)
    with pytest.raises(ValueError, match="gunzip it" if suffix != ".tar" else r"not a readable \.tar file"):
        open_images(path)


def test_cut_tar_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A tar cut anywhere is an error, never fewer images."""
    whole = _write_tar(tmp_path / "whole.tar", files).read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for cut in range(0, end, 256):
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"cut\.tar"):
            open_images(tmp_path / "cut.tar")


def test_tar_links_are_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A linked image in a tar is an error that names it, not a missing image."""
    path = _write_tar(tmp_path / "linked.tar", files)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("zz.png")
        link.type, link.linkname = tarfile.LNKTYPE, "z.png"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"'zz\.png' is a link or sparse; use tar --dereference"):
        open_images(path)


def test_damaged_zips_are_named(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Damage inside a zip is found by its checksum and names the member; a broken directory names the archive."""
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = _write_zip(tmp_path / "set.zip", files, compression)
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            data[archive.getinfo("z.png").header_offset + 30 + len("z.png") + 40] ^= 1
            data[archive.getinfo("b.png").header_offset] ^= 1
        path.write_bytes(data)
        _, _, bad, _ = _collect(open_images(path), skip_bad=True)
        assert [name for name, _ in bad] == ["b.png", "z.png"]
        assert all("damaged in the archive" in reason for _, reason in bad)
    path.write_bytes(bytes(data[:-30]))
    with pytest.raises(ValueError, match=r"set\.zip' is not a readable \.zip file"):
        open_images(path)
    with pytest.raises(ValueError, match="neither stored nor deflated"):
        open_images(_write_zip(tmp_path / "lzma.zip", files, zipfile.ZIP_LZMA))


# ------------------------------------------------------------------------------------------------------ batches
def _corrupted() -> dict[str, bytes]:
    whole_png, whole_jpeg = encode(pixels(32, 32, 3)), encode(pixels(32, 32, 3), "JPEG")
    in_idat = whole_png.index(b"IDAT") + 4
    idat_end = in_idat + struct.unpack(">I", whole_png[in_idat - 8 : in_idat - 4])[0]
    webp = encode(pixels(32, 32, 3), "WEBP")
    return {
        "01_empty.png": b"",
        "02_text.jpg": b"this is a text file",
        "03_cut.jpg": whole_jpeg[: len(whole_jpeg) // 2],
        "04_cut.png": whole_png[: len(whole_png) // 2],
        "05_crc.png": whole_png[:idat_end] + bytes([whole_png[idat_end] ^ 1]) + whole_png[idat_end + 1 :],
        "06_ico.png": encode(pixels(8, 8), "ICO"),
        "07_zero.png": png(0, 4, b"\0" * 4),
        "08_html.png": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "09_bad.webp": webp[:20] + bytes(len(webp) - 20),
        "10_bomb.png": png(60000, 60000, b""),
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupted_files_are_named_and_counted(tmp_path: Path, files: dict[str, bytes], workers: int) -> None:
    """Each of ten kinds of damage is named with a reason, and skip_bad counts all of them in order."""
    root = _write_files(tmp_path / "set", files | _corrupted())
    images, digests, bad, _ = _collect(open_images(root), batch_size=3, workers=workers, skip_bad=True)
    assert [name for name, _ in bad] == sorted(_corrupted())
    assert (len(images), len(digests)) == (7, 7)
    reasons = dict(bad)
    assert "empty" in reasons["01_empty.png"]
    assert "begins with b'<!DOCTYPE ht'" in reasons["08_html.png"]
    assert "checksum" in reasons["05_crc.png"]
    assert "3600000000 pixels" in reasons["10_bomb.png"]


@pytest.mark.parametrize("name", sorted(_corrupted()))
def test_first_bad_file_is_an_error(tmp_path: Path, files: dict[str, bytes], name: str) -> None:
    """Without skip_bad a bad file ends the run, with its name, a reason and the way on."""
    path = _write_zip(tmp_path / "set.zip", files | {name: _corrupted()[name]})
    with pytest.raises(ValueError, match=rf"set\.zip: {name}: .{{10,}}; skip_bad=True \(--skip-bad\) leaves it out$"):
        list(iterate_images(open_images(path), batch_size=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_has_an_image(tmp_path: Path, workers: int) -> None:
    """What is skipped at the beginning, between and at the end travels with batches that hold images."""
    good = encode(pixels(4, 4, 3))
    names = {f"{i:02}.png": good if i in (4, 5, 9) else b"" for i in range(14)}
    source = open_images(_write_files(tmp_path / "set", names))
    batches = list(iterate_images(source, batch_size=2, workers=workers, skip_bad=True))
    assert [batch.indices for batch in batches] == [(4, 5), (9,)]
    assert [[int(bad.name[:2]) for bad in batch.skipped] for batch in batches] == [
        [0, 1, 2, 3],
        [6, 7, 8, 10, 11, 12, 13],
    ]


def test_no_good_image_is_an_error(tmp_path: Path) -> None:
    """A source without one good image is an error, also with skip_bad."""
    source = open_images(_write_files(tmp_path / "set", _corrupted()))
    with pytest.raises(ValueError, match=r"none of 10 images is readable: set: 01_empty\.png: the file is empty"):
        list(iterate_images(source, skip_bad=True))


def test_workers_do_not_change_batches(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Workers or none give the same batches, also after the source was read in this process."""
    source = open_images(_write_zip(tmp_path / "set.zip", files | _corrupted()))
    source.read(0)
    alone, helped = (
        list(iterate_images(source, transform=_clip_9x9, batch_size=3, workers=workers, skip_bad=True))
        for workers in (0, 2)
    )
    assert len(alone) == len(helped) > 2
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.images, b.images)
        assert a.images.shape[1:] == (3, 9, 9)
        assert (a.indices, a.digests, a.skipped) == (b.indices, b.digests, b.skipped)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_are_the_batches_of_the_whole(tmp_path: Path, files: dict[str, bytes], parts: int) -> None:
    """N processes read the very batches of one, each every n-th, and name the same bad images."""
    source = open_images(_write_zip(tmp_path / "set.zip", files | _corrupted()))
    options: dict[str, Any] = {"transform": _clip_9x9, "batch_size": 3, "skip_bad": True}
    whole = {batch.indices: batch for batch in iterate_images(source, **options)}
    shared = [batch for i in range(parts) for batch in iterate_images(source, **options, shard=(i, parts))]
    read = [batch for batch in shared if batch.indices]
    assert sorted(batch.indices for batch in read) == sorted(whole)
    assert all(torch.equal(batch.images, whole[batch.indices].images) for batch in read)
    bad = [{bad.name for batch in batches for bad in batch.skipped} for batches in (shared, whole.values())]
    assert bad[0] == bad[1]


def test_reading_goes_on_after_any_batch(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Reading that begins again at the end of a batch gives what was left, bad images included."""
    source = open_images(_write_zip(tmp_path / "set.zip", files | _corrupted()))
    options: dict[str, Any] = {"transform": _clip_9x9, "batch_size": 2, "skip_bad": True}
    whole = list(iterate_images(source, **options))
    for place, batch in enumerate(whole):
        rest = list(iterate_images(source, **options, first_batch=batch.end))
        assert [b.indices for b in rest if b.indices] == [b.indices for b in whole[place + 1 :]]
        assert sum(len(b.skipped) for b in rest) == sum(len(b.skipped) for b in whole[place + 1 :])


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_only_parts_that_exist_are_read(shard: tuple[int, int]) -> None:
    """A part is one of n, counted from 0."""
    with pytest.raises(ValueError, match=r"0 <= i < n, got \("):
        list(iterate_images(open_images(pixels(8, 4, 4, 3)), shard=shard))


@pytest.mark.parametrize("skip_bad", [False, True])
def test_sizes_in_one_batch_must_agree(tmp_path: Path, skip_bad: bool) -> None:
    """Two sizes in one batch are an error that shows both images; single images may differ."""
    sizes = {"a.png": (4, 4, 3), "b.png": (4, 4, 3), "c.png": (4, 6, 3)}
    source = open_images(_write_files(tmp_path / "set", {name: encode(pixels(*size)) for name, size in sizes.items()}))
    with pytest.raises(ValueError, match=r"one batch: a\.png \[3, 4, 4\], c\.png \[3, 4, 6\]; give the network a size"):
        list(iterate_images(source, skip_bad=skip_bad))
    shapes = [tuple(batch.images.shape) for batch in iterate_images(source, batch_size=1)]
    assert shapes == [(1, 3, 4, 4), (1, 3, 4, 4), (1, 3, 4, 6)]


def test_transform_refusals(tmp_path: Path) -> None:
    """A ValueError of the transform makes a bad image; any other error is a fault of the program and is raised."""
    files = {"narrow.png": encode(pixels(5, 5, 3)), "wide.png": encode(pixels(5, 9, 3))}
    source = open_images(_write_files(tmp_path / "set", files))
    _, _, bad, indices = _collect(source, transform=_refuse_wide, skip_bad=True)
    assert (indices, bad) == ([0], [("wide.png", "too wide")])
    with pytest.raises(RuntimeError, match="shape"):
        _collect(source, transform=lambda image: image.reshape(-1, 1000), skip_bad=True)


def test_arrays_start_no_workers() -> None:
    """Arrays are read in this process, whatever the number of workers asked for."""
    batches = iterate_images(open_images(pixels(8, 4, 4, 3)), batch_size=2, workers=2)
    next(batches)
    assert not multiprocessing.active_children()


def test_dataset_records(tmp_path: Path) -> None:
    """The dataset gives index, digest and tensor, or index, digest and what is wrong; it pickles."""
    array = pixels(4, 5, 3)
    data = encode(array)
    dataset = pickle.loads(
        pickle.dumps(ImageDataset(open_images(_write_files(tmp_path, {"a.png": data, "b.png": b"x"}))))
    )
    good, bad = dataset[0], dataset[1]
    assert (good.index, good.digest) == (0, hashlib.sha256(data).hexdigest())
    assert torch.equal(good.image, torch.from_numpy(array).permute(2, 0, 1))
    assert good.image.is_contiguous()
    assert good.image.dtype == torch.uint8
    assert (bad.index, bad.digest) == (1, hashlib.sha256(b"x").hexdigest())
    assert "begins with b'x'" in bad.image
    assert len(dataset) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_random_state_is_left_alone(folder: Path, workers: int) -> None:
    """Reading images in the middle of a training run draws nothing from torch's global stream."""
    before = torch.get_rng_state()
    list(iterate_images(open_images(folder), workers=workers))
    assert torch.equal(before, torch.get_rng_state())


def _wait_for_no_children() -> bool:
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not multiprocessing.active_children()


def test_closing_ends_the_workers(folder: Path) -> None:
    """Closing the iterator half way ends its workers; so does an error, even while its traceback is held."""
    source = open_images(folder)
    batches = iterate_images(source, batch_size=1, workers=2)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert _wait_for_no_children()
    (folder / "a-b" / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a-b/x\.png") as caught:
        list(iterate_images(source, batch_size=1, workers=2))
    assert _wait_for_no_children()
    assert caught.value.__traceback__ is not None


# ------------------------------------------------------------------------------------------------------ real data
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "folder", "groups"),
    [
        ("bsds500.zip", "", {"test": 200, "train": 200, "val": 100}),
        ("bsds500.zip", ":test", {"": 200}),
        ("imagenet_sample_1000.zip", "", {"": 1000}),
        ("cifar10_jpeg_test.zip", "", {"test": 10000}),
        (
            "cifar10_jpeg_test.zip",
            ":test",
            dict.fromkeys(
                ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"], 1000
            ),
        ),
    ],
)
def test_real_archives(shared: Path, name: str, folder: str, groups: dict[str, int]) -> None:
    """Published data sets open in place with their splits or classes, and decode as Pillow's convert("RGB") does."""
    source = open_images(f"{shared / 'data' / name}{folder}")
    assert Counter(source.groups) == groups
    prefix = f"{folder[1:]}/" if folder else ""
    dataset = ImageDataset(source)
    step = max(1, len(source) // 500)
    with zipfile.ZipFile(shared / "data" / name) as archive:
        for index in range(0, len(source), step):
            data = archive.read(prefix + source.names[index])
            record = dataset[index]
            expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            assert record.digest == hashlib.sha256(data).hexdigest()
            assert (record.image.permute(1, 2, 0).numpy() == expected).all()  # type: ignore[union-attr]


@pytest.mark.real_data
def test_real_archive_in_workers(shared: Path) -> None:
    """10 000 small photographs arrive complete and in order from two workers."""
    source = open_images(shared / "data" / "cifar10_jpeg_test.zip")
    indices: list[int] = []
    for batch in iterate_images(source, batch_size=500, workers=2):
        assert batch.images.shape[1:] == (3, 32, 32)
        indices += batch.indices
    assert indices == list(range(10000))


def test_evenly_spaced_images_are_those_of_the_source(tmp_path: Path) -> None:
    """Some images keep their names and contents, span the source, and all of them are the source itself."""
    names = [f"{'ab'[place // 7]}/{place % 7:03}.png" for place in range(14)]
    files = {name: encode(np.full((4, 4, 3), 10 * place, np.uint8)) for place, name in enumerate(names)}
    source = open_images(_write_files(tmp_path, files))
    some = evenly_spaced(source, 4)
    assert some.names == ("a/000.png", "a/003.png", "b/000.png", "b/003.png")
    assert some.read(2) == source.read(7)
    assert evenly_spaced(source, 14) is source
    with pytest.raises(ValueError, match="at least one"):
        evenly_spaced(source, 0)
