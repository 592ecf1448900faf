"""Containers of images: folders, archives, lists and array files, each as an image source."""

from __future__ import annotations

import difflib
import heapq
import math
import os
import re
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.files import (
    DAMAGE,
    ArchiveHeaders,
    check_file,
    check_limit,
    errors_of,
    is_ours,
    open_archive,
    open_zip,
    read_array_header,
    read_arrays,
    read_header,
    read_text,
)
from vdna_metrics.images.decoding import IMAGE_EXTENSIONS
from vdna_metrics.images.sources import ArraySource, FileSource, ImageSource, TarSource, ZipSource, zip_data_start

_KNOWN = ", ".join(IMAGE_EXTENSIONS)
ARCHIVE_FOLDER = re.compile(r"(.+\.(?:zip|tar)):(.+)", re.IGNORECASE | re.DOTALL)
_BESIDE_FILES = re.compile(r"(^|/)(\._[^/]*$|__MACOSX/)")
_COMPRESSED_TAR = re.compile(r"\.(?:tgz|tbz2?|txz|tar\.\w+)$", re.IGNORECASE)

Unread = tuple[tuple[str, int], ...]


def open_container(source: str | Path) -> ImageSource:
    """The images of a folder, archive, list, array file or image file; see `open_images`."""
    path, name, folder = str(source), os.path.basename(os.path.abspath(source)), ""
    archive = ARCHIVE_FOLDER.fullmatch(path)
    if archive and not os.path.exists(path):
        path, folder = archive[1], archive[2].strip("/")
        name = f"{os.path.basename(path)}:{folder}"
    if os.path.isdir(path):
        files, repeated = _walk(path)
        images, unread = _image_names(files, path)
        return FileSource(name, images, path, unread=unread + repeated)
    if not os.path.exists(path):
        raise ValueError(f"no image source at {path!r}; {near_files(path)}".removesuffix("; "))
    check_file(Path(path))  # a pipe would wait for its writer
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_EXTENSIONS:
        return FileSource(name, (name,), os.path.dirname(path))
    if _COMPRESSED_TAR.search(path):
        raise ValueError(f"{path!r} is a compressed tar, which cannot be read at random; gunzip it to a .tar")
    openers = {".zip": _open_zip, ".tar": _open_tar, ".txt": _open_list, ".npy": _open_npy, ".npz": _open_npz}
    if suffix not in openers:
        known = f"folders, {', '.join(openers)}, {_KNOWN}"
        raise ValueError(f"{path!r} is not an image source: its suffix is {suffix!r}; known are {known}")
    return openers[suffix](name, path, folder)


def near_files(path: str) -> str:
    """What the folder holds that is spelled like a file that is not there."""
    parent = os.path.dirname(path) or "."
    return _near(os.path.basename(path), os.listdir(parent) if os.path.isdir(parent) else [])


def _near(word: str, words: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, words, n=3)
    return f"did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _image_names(names: Iterable[str], where: str) -> tuple[tuple[str, ...], Unread]:
    """The images among some files, and what is not read of them."""
    images, others, n_others = [], Counter[str](), 0
    for name in names:
        hidden, suffix = any(map(_is_hidden, name.split("/"))), _suffix(name)
        if hidden:
            # What macOS writes beside each file is no image, whatever its name.
            others["hidden image"] += suffix in IMAGE_EXTENSIONS and not _BESIDE_FILES.search(name)
        elif suffix in IMAGE_EXTENSIONS:
            images.append(name)
        else:
            others[suffix or "no suffix"] += 1
            n_others += 1
    unread = tuple(sorted((+others).items(), key=lambda item: (-item[1], item[0])))
    if not images:
        found = f" ({', '.join(f'{what} {count}' for what, count in unread[:8])})" if unread else ""
        files = f"{n_others} other files{found}" if n_others or found else "nothing"
        raise ValueError(f"Expected images ({_KNOWN}) in {where!r}, found {files}")
    return tuple(sorted(images)), unread


def _walk(root: str) -> tuple[list[str], Unread]:
    """All files below a folder, each real one once whatever links there are, and how many links were left out."""
    found: list[str] = []
    links: list[tuple[str, str]] = []
    seen: set[str] = set()

    def visit(folder: str, real: str) -> None:
        waiting = [(folder, real)]
        while waiting:
            folder, real = waiting.pop()
            seen.add(real)
            try:
                entries = list(os.scandir(real))
            except OSError as error:  # a folder that cannot be read would be left out in silence
                if any(map(_is_hidden, folder.split("/"))):
                    continue
                raise ValueError(f"cannot list {real!r}: {error.strerror}") from error
            for entry in entries:
                name = f"{folder}{entry.name}"
                if entry.is_symlink():
                    heapq.heappush(links, (name, os.path.realpath(entry.path)))
                elif not entry.is_dir():
                    found.append(name)
                    seen.add(entry.path)
                elif entry.path not in seen:
                    waiting.append((f"{name}/", entry.path))

    # Links come after what is there in truth, so that names do not depend on the order of the system.
    visit("", os.path.realpath(root))
    repeated = 0
    while links:
        name, real = heapq.heappop(links)
        above = os.path.join(real, "")
        if real in seen or os.path.realpath(os.path.dirname(os.path.join(root, name))).startswith(above):
            repeated += 1
        elif os.path.isdir(real):
            visit(f"{name}/", real)
        else:  # one that leads nowhere is an image that cannot be read, if its name says so
            found.append(name)
            seen.add(real)
    return found, (("link to what is there already", repeated),) * (repeated > 0)


def _select_members(names: Iterable[str], where: str, folder: str) -> tuple[dict[str, str], Unread]:
    """Map names relative to a folder of an archive to the members' own names, in order."""
    # "tar -C folder ." writes "./a.png"; such members are named as the folder's files are.
    members = {_plain(name): name for name in names}
    inside = {name[len(folder) + 1 :]: member for name, member in members.items() if name.startswith(f"{folder}/")}
    if folder and not inside:
        folders = sorted({name.rpartition("/")[0] for name in members} - {""})
        has = f"it has {', '.join(folders[:8]) or 'none'}{', ...' if len(folders) > 8 else ''}"
        raise ValueError(f"{where!r} has no folder {folder!r}: {has}; {_near(folder, folders)}".removesuffix("; "))
    chosen = inside if folder else members
    images, unread = _image_names(chosen, f"{where}:{folder}" if folder else where)
    return {name: chosen[name] for name in images}, unread


def _plain(name: str) -> str:
    plain = "/".join(part for part in name.split("/") if part not in ("", "."))
    return name if plain == name else plain  # one text of each, where there are millions


def _open_zip(name: str, path: str, folder: str) -> ImageSource:
    with errors_of(f"{path!r} is not a readable .zip file", DAMAGE), open_zip(path, "images") as archive:
        infos = {info.filename: info for info in archive.infolist() if not info.filename.endswith("/")}
    del archive  # with its own table of millions
    members, unread = _select_members(infos, path, folder)
    chosen = [infos[member] for member in members.values()]
    for info in chosen:
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{path!r}: {info.filename!r} is encrypted or neither stored nor deflated; zip it again")
    places = tuple(
        (info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type == zipfile.ZIP_DEFLATED)
        for info in chosen
    )
    return ZipSource(name, tuple(members), path, places, unread=unread)


class _TarHeaders(ArchiveHeaders):
    """The headers of a tar, none of which has numbers of thousands of digits.

    `tarfile` of Pythons before 3.10.15, 3.11.10 and 3.12.6 searches these for hours.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if any(len(digits) > _DIGITS for digits in re.findall(rb"\d+", data)):
            raise ValueError(f"it has a number of more than {_DIGITS} digits in a header")
        return data


_DIGITS = 1000


_GLOBAL_ATTRIBUTES = 100


def _open_tar(name: str, path: str, folder: str) -> ImageSource:
    spans: dict[str, tuple[int, int] | None] = {}  # of no plain file there is none
    # A damaged header of extended attributes makes tarfile raise what int() does.
    damage = (*DAMAGE, tarfile.TarError)
    with (
        errors_of(f"{path!r} is not a readable .tar file", damage),
        _TarHeaders(path, "tar_header_bytes") as file,
        tarfile.open(fileobj=file, mode="r:") as archive,
    ):
        before, attributes, letters = -1, 0, 0
        while (info := archive.next()) is not None:
            if info.size < 0 or archive.offset <= before:
                raise ValueError(f"member {info.name!r}: expected a size from 0, got {info.size}")
            before, attributes = archive.offset, max(attributes, len(archive.pax_headers))
            if attributes > _GLOBAL_ATTRIBUTES:  # each member would have a copy of all
                raise ValueError(f"expected at most {_GLOBAL_ATTRIBUTES} attributes of all members, got {attributes}")
            if not info.isdir():
                spans[info.name] = (info.offset_data, info.size) if info.isreg() and not info.issparse() else None
            letters += sys.getsizeof(info.name)
            check_limit("images", len(spans), "its members")
            check_limit("text_bytes", letters, "its names")
            archive.members.clear()  # type: ignore[attr-defined]  # which it would keep, each with all headers that hold for it
            file.taken = 0
        file.seek(archive.offset)
        # tarfile takes a cut or damaged header for the end, and the images behind it would be missing in silence.
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"cut or damaged: no end-of-archive mark after {len(spans)} members")
    members, unread = _select_members(spans, path, folder)
    chosen = [spans[member] for member in members.values()]
    if None in chosen:
        odd = list(members.values())[chosen.index(None)]
        raise ValueError(f"{path!r}: {odd!r} is a link or sparse; use tar --dereference --hard-dereference")
    return TarSource(name, tuple(members), path, tuple(filter(None, chosen)), unread=unread)


def _open_list(name: str, path: str, _folder: str) -> ImageSource:
    with errors_of(path):
        lines = filter(None, map(str.strip, read_text(path, "images")))
        entries = [PurePath(line).as_posix() for line in lines if not line.startswith("#")]
    return FileSource(name, _check_images(entries, path), os.path.dirname(path))


def open_sequence(paths: Sequence[str | Path]) -> ImageSource:
    """Image files in this order.

    Raises:
        TypeError: for what is not a path.
    """
    if wrong := [path for path in paths if not isinstance(path, (str, Path))]:
        raise TypeError(f"a sequence as image source holds paths, got {type(wrong[0]).__name__}")
    _check_images([str(path) for path in paths], "the sequence of paths")
    files = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    names = tuple(PurePath(os.path.relpath(file, root)).as_posix() for file in files)
    return FileSource(os.path.basename(root), names, root)


def _check_images(entries: Sequence[str], where: str) -> tuple[str, ...]:
    if not entries:
        raise ValueError(f"{where} lists no images")
    for entry in entries:
        if _suffix(entry) not in IMAGE_EXTENSIONS:
            raise ValueError(f"{where} lists {entry[:200]!r}, no image file; known are {_KNOWN}")
    return tuple(entries)


def _check_array(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    layouts = "[N, H, W, 3], [N, H, W, 1], [N, H, W], [N, 3, H, W] or [N, 1, H, W]"
    if dtype != np.uint8:
        are_features = dtype.kind == "f" and len(shape) == 2
        advice = "features are opened by resolve()" if are_features else "scale images to 0..255 and round first"
        raise ValueError(
            f"{where}: images are uint8 {layouts}, features floats [N, d]; got {dtype} {list(shape)}; {advice}"
        )
    # [H, W, 3] and [3, H, W] are one image each; as [N, H, W] they would silently be H or 3 gray ones.
    one_image = len(shape) == 3 and 3 in (shape[0], shape[2])
    colour = len(shape) == 3 or (len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3)))
    if one_image or not colour or 0 in shape:
        hint = "; write one image as array[None], gray ones as array[..., None]" if one_image else ""
        raise ValueError(f"{where}: images are uint8 {layouts}, got shape {list(shape)}{hint}")
    check_limit(
        "image_pixels", math.prod(shape[1:]) // (3 if len(shape) == 4 and 3 in shape[1:] else 1), f"{where}: rows"
    )


def open_array(name: str, array: NDArray[Any]) -> ImageSource:
    """Rows of an array in memory."""
    _check_array(name, array.shape, array.dtype)
    return ArraySource(name, _names(name, len(array)), array)


def open_features(name: str, rows: NDArray[Any], layers: Mapping[str, int]) -> ImageSource:
    """Rows of features in place of images.

    Args:
        name: what to call the source.
        rows: floats ``[N, columns]``, layer beside layer.
        layers: ``{layer: number of columns}``, in their order.

    Raises:
        ValueError: when there are none.
    """
    if not len(rows):
        raise ValueError(f"{name} has no rows of features")
    return ArraySource(name, _names(name, len(rows)), rows, features=tuple(layers.items()))


def _names(where: str, number: int) -> tuple[str, ...]:
    check_limit("images", number, where)
    return tuple(map(str, range(number)))


def _open_npy(name: str, path: str, _folder: str, *, start: int = 0, size: int | None = None) -> ImageSource:
    """Of a member of an archive, which lies in it as it is, the start and size."""
    with open(path, "rb") as file, errors_of(f"{path!r} has no readable array", DAMAGE):
        file.seek(start)
        header = read_array_header(file)
    _check_array(path, header.shape, header.dtype)
    there = os.path.getsize(path) - start
    missing = header.start + header.nbytes - (there if size is None else min(there, size))
    if missing > 0:
        raise ValueError(f"{path!r} is cut: {missing} bytes of its array of shape {list(header.shape)} are missing")
    return ArraySource(
        name, _names(path, header.shape[0]), None, path, start + header.start, header.shape, header.fortran
    )


def _open_npz(name: str, path: str, folder: str) -> ImageSource:
    with open_archive(Path(path)) as (_, infos):
        pass
    if is_ours(path):
        holds = read_header(path)["kind"]
        raise ValueError(f"{path!r} is a file of vdna_metrics that holds {holds!r}, and no images")
    if "arr_0" not in infos:
        raise ValueError(
            f"{path!r} has the arrays {sorted(infos)[:8]}, no 'arr_0'; write images with np.savez(path, images), and "
            "features with np.savez(path, layer=[N, d]), floats of one N and nothing else"
        )
    info = infos["arr_0"]
    if info.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file, errors_of(f"{path!r} has no readable array", DAMAGE):
            start = zip_data_start(file, info.header_offset)
        return _open_npy(name, path, folder, start=start, size=info.file_size)
    return open_array(name, read_arrays(path, ["arr_0"])["arr_0"])
