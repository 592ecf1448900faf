"""Images from folders, archives, lists and arrays, decoded by stated rules and batched in a fixed order."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vdna_metrics.references.decoding import decode_bytes

IMAGE_EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_KNOWN = ", ".join(IMAGE_EXTENSIONS)
_ARCHIVE_FOLDER = re.compile(r"(.+\.(?:zip|tar)):(.+)", re.IGNORECASE | re.DOTALL)
_COMPRESSED_TAR = re.compile(r"\.(?:tgz|tbz2?|txz|tar\.\w+)$", re.IGNORECASE)


# ------------------------------------------------------------------------------------------------------ sources
@dataclass(frozen=True)
class ImageSource(ABC):
    """Where images are: a name, the images' names in order, and how to read one.

    A plain value without open handles: every `read` opens, seeks and closes, so that it can be pickled, forked
    and shared by threads.

    Args:
        name: what to call the source in tables, the last part of its path.
        names: POSIX paths of the images relative to the root of the source.
    """

    name: str
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def groups(self) -> tuple[str, ...]:
        """First folder below the root of each image (its class or split), ``""`` where it lies in the root."""
        return tuple(name.partition("/")[0] if "/" in name else "" for name in self.names)

    @abstractmethod
    def read(self, index: int) -> bytes | NDArray[np.uint8]:
        """Read an undecoded file, or an array's row as stored."""


@dataclass(frozen=True)
class _FileSource(ImageSource):
    root: str

    def read(self, index: int) -> bytes:
        return Path(self.root, self.names[index]).read_bytes()


@dataclass(frozen=True)
class _TarSource(ImageSource):
    path: str
    spans: tuple[tuple[int, int], ...]  # (first byte, size) of each member

    def read(self, index: int) -> bytes:
        start, size = self.spans[index]
        with open(self.path, "rb") as file:
            file.seek(start)
            return _read_exactly(file, size)


@dataclass(frozen=True)
class _ZipSource(ImageSource):
    # A ZipFile kept open would share its offset between forked workers, and one opened a read would parse the whole
    # directory a read; so the members' places are the value, and a read is one seek.
    path: str
    members: tuple[tuple[int, int, int, int, bool], ...]  # header offset, packed size, size, crc32, deflated

    def read(self, index: int) -> bytes:
        offset, packed, size, crc, deflated = self.members[index]
        with open(self.path, "rb") as file:
            file.seek(_zip_data_start(file, offset))
            data = _read_exactly(file, packed)
        if deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
            except zlib.error as error:
                raise ValueError(f"damaged in the archive: {error}") from error
        if len(data) != size or zlib.crc32(data) != crc:
            raise ValueError("damaged in the archive: its size or CRC-32 differs from the archive's directory")
        return data


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class _ArraySource(ImageSource):
    array: NDArray[np.uint8] | None
    path: str = ""  # without an array in memory: where it lies in which file
    offset: int = 0
    shape: tuple[int, ...] = ()
    fortran: bool = False

    def read(self, index: int) -> NDArray[np.uint8]:
        rows = self.array
        if rows is None:
            order: Any = "F" if self.fortran else "C"
            rows = np.memmap(self.path, np.uint8, "r", offset=self.offset, shape=self.shape, order=order)
        return np.asarray(rows[index])


def open_images(source: str | Path | Sequence[str | Path] | NDArray[np.uint8]) -> ImageSource:
    """List the images of a source; nothing is decoded or extracted.

    ======================================  ==========================================================================
    folder                                  recursive, links followed, sorted by POSIX relative path
    one image file
    ``.zip``, ``.tar``                      read in place, sorted as a folder's; ``archive.zip:folder`` opens a folder
    ``.txt``                                one path a line, relative to the list's folder; blank lines and ``#``
                                            comments are left out; the list's order is kept
    ``.npy``, ``.npz`` (key ``arr_0``)      uint8 ``[N, H, W, 3]``, ``[N, H, W, 1]``, ``[N, H, W]``, ``[N, 3, H, W]``
                                            or ``[N, 1, H, W]``; memory mapped, unless the ``.npz`` is compressed
    sequence of paths                       image files in the given order, named relative to their common folder
    NumPy array                             as ``.npy``
    ======================================  ==========================================================================

    Hidden files and folders (a leading ``.``) and ``__MACOSX`` are left out. Compressed tars are refused: they cannot
    be read at random, and ``gunzip`` makes them plain ones.

    Args:
        source: one of the above.

    Returns:
        A frozen, picklable value with ``name``, ``names``, ``groups``, ``len()`` and ``read(index)``.

    Raises:
        ValueError: nothing there, no images in it, or an unknown kind of file; the message lists what was found.
        TypeError: not a path, a sequence of paths or a NumPy array.

    Examples:
        >>> source = open_images(np.zeros((2, 8, 8, 3), dtype=np.uint8))
        >>> source.names, source.groups
        (('0', '1'), ('', ''))
    """
    if isinstance(source, np.ndarray):
        return _open_array("array", source)
    if isinstance(source, Sequence) and not isinstance(source, str):
        return _open_sequence(source)
    if not isinstance(source, (str, Path)):
        raise TypeError(f"an image source is a path, paths or a NumPy array, got {type(source).__name__}")
    path, name, folder = str(source), os.path.basename(os.path.abspath(source)), ""
    archive = _ARCHIVE_FOLDER.fullmatch(path)
    if archive and not os.path.exists(path):
        path, folder = archive[1], archive[2].strip("/")
        name = f"{os.path.basename(path)}:{folder}"
    if os.path.isdir(path):
        return _FileSource(name, _image_names(_walk(path), path), path)
    if not os.path.exists(path):
        parent = os.path.dirname(path) or "."
        siblings = os.listdir(parent) if os.path.isdir(parent) else []
        raise ValueError(f"no image source at {path!r}{_near(os.path.basename(path), siblings)}")
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_EXTENSIONS:
        return _FileSource(name, (name,), os.path.dirname(path))
    if _COMPRESSED_TAR.search(path):
        raise ValueError(f"{path!r} is a compressed tar, which cannot be read at random; gunzip it to a .tar")
    openers = {".zip": _open_zip, ".tar": _open_tar, ".txt": _open_list, ".npy": _open_npy, ".npz": _open_npz}
    if suffix not in openers:
        known = f"folders, {', '.join(openers)}, {_KNOWN}"
        raise ValueError(f"{path!r} is no image source: its suffix is {suffix!r}; known are {known}")
    try:
        return openers[suffix](name, path, folder)
    except (zipfile.BadZipFile, tarfile.TarError, UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"{path!r} is not a readable {suffix} file: {error}") from error


@dataclass(frozen=True)
class _SomeImages(ImageSource):
    """Some images of another source."""

    whole: ImageSource
    places: tuple[int, ...]

    def read(self, index: int) -> bytes | NDArray[np.uint8]:
        return self.whole.read(self.places[index])


def select_images(source: ImageSource, places: Sequence[int], name: str | None = None) -> ImageSource:
    """Some of a source's images.

    Args:
        source: the images.
        places: of those to take, in their order.
        name: of what is taken, by default the source's.

    Examples:
        >>> select_images(open_images(np.zeros((10, 8, 8, 3), np.uint8)), [7, 2]).names
        ('7', '2')
    """
    return _SomeImages(name or source.name, tuple(source.names[place] for place in places), source, tuple(places))


def evenly_spaced(source: ImageSource, n_images: int) -> ImageSource:
    """So many of a source's images, evenly spaced in its order; the source itself where it has no more.

    Raises:
        ValueError: for fewer than one image.

    Examples:
        >>> evenly_spaced(open_images(np.zeros((10, 8, 8, 3), np.uint8)), 4).names
        ('0', '2', '5', '7')
    """
    if n_images < 1:
        raise ValueError(f"at least one image is needed, got {n_images}")
    if n_images >= len(source):
        return source
    return select_images(source, [i * len(source) // n_images for i in range(n_images)])


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


def _near(word: str, words: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, words, n=3)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _image_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    visible = [name for name in names if not any(map(_is_hidden, name.split("/")))]
    images = tuple(sorted(name for name in visible if _suffix(name) in IMAGE_EXTENSIONS))
    if not images:
        suffixes = Counter(_suffix(name) or "none" for name in sorted(visible)).most_common(8)
        found = f" (suffixes: {', '.join(f'{suffix} {count}' for suffix, count in suffixes)})" if suffixes else ""
        raise ValueError(f"{where!r} has {len(visible)} files{found}, no images; known are {_KNOWN}")
    return images


def _walk(root: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:  # os.walk would leave an unreadable folder out in silence
        raise ValueError(f"cannot list {error.filename!r}: {error.strerror}") from error

    for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.join(os.path.realpath(folder), "")
        folders[:] = [
            name
            for name in folders
            if not _is_hidden(name)
            # A link to a folder above itself would be walked in circles.
            and not real.startswith(os.path.join(os.path.realpath(os.path.join(folder, name)), ""))
        ]
        relative = PurePath(os.path.relpath(folder, root)).as_posix()
        yield from (name if relative == "." else f"{relative}/{name}" for name in files)


def _select_members(names: Iterable[str], where: str, folder: str) -> dict[str, str]:
    """Map names relative to a folder of an archive to the members' own names, in order."""
    # "tar -C folder ." writes "./a.png"; such members are named as the folder's files are.
    members = {"/".join(part for part in name.split("/") if part not in ("", ".")): name for name in names}
    inside = {name[len(folder) + 1 :]: member for name, member in members.items() if name.startswith(f"{folder}/")}
    if folder and not inside:
        folders = sorted({name.rpartition("/")[0] for name in members} - {""})
        has = f"it has {', '.join(folders[:8]) or 'none'}{', ...' if len(folders) > 8 else ''}"
        raise ValueError(f"{where!r} has no folder {folder!r}: {has}{_near(folder, folders)}")
    chosen = inside if folder else members
    return {name: chosen[name] for name in _image_names(chosen, f"{where}:{folder}" if folder else where)}


def _open_zip(name: str, path: str, folder: str) -> ImageSource:
    with zipfile.ZipFile(path) as archive:
        infos = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    members = _select_members(infos, path, folder)
    chosen = [infos[member] for member in members.values()]
    for info in chosen:
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{path!r}: {info.filename!r} is encrypted or neither stored nor deflated; zip it again")
    places = tuple(
        (info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type == zipfile.ZIP_DEFLATED)
        for info in chosen
    )
    return _ZipSource(name, tuple(members), path, places)


def _zip_data_start(file: IO[bytes], header_offset: int) -> int:
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


def _open_tar(name: str, path: str, folder: str) -> ImageSource:
    with tarfile.open(path, "r:") as archive:
        infos = {info.name: info for info in archive if not info.isdir()}
        end = archive.offset
    with open(path, "rb") as file:
        file.seek(end)
        # tarfile takes a cut or damaged header for the end, and the images behind it would be missing in silence.
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"{path!r} is cut or damaged: no end-of-archive mark after {len(infos)} members")
    members = _select_members(infos, path, folder)
    chosen = [infos[member] for member in members.values()]
    for info in chosen:
        if not info.isreg() or info.issparse():
            raise ValueError(f"{path!r}: {info.name!r} is a link or sparse; use tar --dereference --hard-dereference")
    return _TarSource(name, tuple(members), path, tuple((info.offset_data, info.size) for info in chosen))


def _open_list(name: str, path: str, _folder: str) -> ImageSource:
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    entries = [PurePath(line).as_posix() for line in lines if line and not line.startswith("#")]
    return _FileSource(name, _check_images(entries, path), os.path.dirname(path))


def _open_sequence(paths: Sequence[str | Path]) -> ImageSource:
    if wrong := [path for path in paths if not isinstance(path, (str, Path))]:
        raise TypeError(f"a sequence as image source holds paths, got {type(wrong[0]).__name__}")
    _check_images([str(path) for path in paths], "the sequence of paths")
    files = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    names = tuple(PurePath(os.path.relpath(file, root)).as_posix() for file in files)
    return _FileSource(os.path.basename(root), names, root)


def _check_images(entries: Sequence[str], where: str) -> tuple[str, ...]:
    if not entries:
        raise ValueError(f"{where} lists no images")
    for entry in entries:
        if _suffix(entry) not in IMAGE_EXTENSIONS:
            raise ValueError(f"{where} lists {entry!r}, no image file; known are {_KNOWN}")
    return tuple(entries)


def _check_array(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[str, ...]:
    layouts = "[N, H, W, 3], [N, H, W, 1], [N, H, W], [N, 3, H, W] or [N, 1, H, W]"
    if dtype != np.uint8:
        raise ValueError(f"{where}: images are uint8 {layouts}, got {dtype}; scale to 0..255 and round first")
    # [H, W, 3] and [3, H, W] are one image each; as [N, H, W] they would silently be H or 3 gray ones.
    one_image = len(shape) == 3 and 3 in (shape[0], shape[2])
    colour = len(shape) == 3 or (len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3)))
    if one_image or not colour or 0 in shape:
        hint = "; write one image as array[None], gray ones as array[..., None]" if one_image else ""
        raise ValueError(f"{where}: images are uint8 {layouts}, got shape {list(shape)}{hint}")
    return tuple(map(str, range(shape[0])))


def _open_array(name: str, array: NDArray[Any]) -> ImageSource:
    return _ArraySource(name, _check_array(name, array.shape, array.dtype), array)


def _open_npy(name: str, path: str, _folder: str, *, start: int = 0) -> ImageSource:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with open(path, "rb") as file:
        file.seek(start)
        try:
            shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path!r} has no readable array: {error}") from error
        offset = file.tell()
    names = _check_array(path, shape, dtype)
    missing = offset + int(np.prod(shape, dtype=np.int64)) - os.path.getsize(path)
    if missing > 0:
        raise ValueError(f"{path!r} is cut: {missing} bytes of its array of shape {list(shape)} are missing")
    return _ArraySource(name, names, None, path, offset, shape, fortran)


def _open_npz(name: str, path: str, folder: str) -> ImageSource:
    with zipfile.ZipFile(path) as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if "arr_0" not in infos:
        raise ValueError(f"{path!r} has the arrays {sorted(infos)}, no 'arr_0'; write it with np.savez(path, images)")
    info = infos["arr_0"]
    if info.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as file:
            start = _zip_data_start(file, info.header_offset)
        return _open_npy(name, path, folder, start=start)
    with np.load(path, allow_pickle=False) as arrays:
        return _open_array(name, arrays["arr_0"])


def _row_to_rgb(row: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if row.ndim == 2:
        row = row[:, :, None]
    elif row.shape[2] not in (1, 3):
        row = row.transpose(1, 2, 0)
    return np.array(np.broadcast_to(row, (*row.shape[:2], 3)))


# ------------------------------------------------------------------------------------------------------ batches
@dataclass(frozen=True)
class ImageRecord:
    """One image on its way from a worker.

    Args:
        index: its place in the source.
        digest: sha256 of its bytes.
        image: a tensor, or what is wrong with it.
        size: width and height as stored, in pixels.
    """

    index: int
    digest: str
    image: Tensor | str
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class BadImage:
    """An image that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageBatch:
    """Some images of a source, in its order.

    Args:
        images: ``[N, 3, H, W]``, of the type the transform returns; N is 0 only where all images of a part are bad.
        indices: places of the N images in the source.
        digests: sha256 of the N files' bytes (of the array's rows as stored), hexadecimal.
        skipped: images left out since the batch before.
        end: number of the batch to go on with after this one.
        sizes: width and height of the N images as they are stored, in pixels.
    """

    images: Tensor
    indices: tuple[int, ...]
    digests: tuple[str, ...]
    skipped: tuple[BadImage, ...] = ()
    end: int = 0
    sizes: tuple[tuple[int, int], ...] = ()


def _identity(image: Tensor) -> Tensor:
    return image


class ImageDataset(Dataset[ImageRecord]):
    """Read, digest, decode and transform the images of a source, one at a time.

    A file that cannot be read or decoded is a record whose ``image`` says why; it does not raise. The same holds for
    an image that the transform refuses by a ``ValueError``; other errors of the transform are raised.

    Args:
        source: what `open_images` returns.
        transform: uint8 ``[3, H, W]`` -> tensor, picklable where workers are spawned.

    Examples:
        >>> ImageDataset(open_images(np.zeros((2, 4, 5, 3), dtype=np.uint8)))[1].image.shape
        torch.Size([3, 4, 5])
    """

    def __init__(self, source: ImageSource, transform: Callable[[Tensor], Tensor] = _identity) -> None:
        self.source = source
        self.transform = transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> ImageRecord:
        digest = ""
        try:
            raw = self.source.read(index)
            digest = hashlib.sha256(raw if isinstance(raw, bytes) else raw.tobytes()).hexdigest()
            pixels = decode_bytes(raw) if isinstance(raw, bytes) else _row_to_rgb(raw)
            image = self.transform(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
        except (ValueError, OSError) as error:
            return ImageRecord(index, digest, str(error))
        return ImageRecord(index, digest, image, (pixels.shape[1], pixels.shape[0]))


_Item = tuple[int, str, "tuple[int, ...] | str", tuple[int, int]]  # index, digest, shape or what is wrong, size


# Stacked in the worker: one tensor a batch crosses the process border, not one file descriptor an image.
def _collate(records: list[ImageRecord]) -> tuple[Tensor | None, list[_Item]]:
    images = [record.image for record in records if isinstance(record.image, Tensor)]
    shapes = [record.image if isinstance(record.image, str) else tuple(record.image.shape) for record in records]
    items = [(record.index, record.digest, shape, record.size) for record, shape in zip(records, shapes, strict=True)]
    return (torch.stack(images) if len({image.shape for image in images}) == 1 else None), items


def iterate_images(
    source: ImageSource,
    *,
    transform: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 32,
    workers: int = 0,
    skip_bad: bool = False,
    shard: tuple[int, int] = (0, 1),
    first_batch: int = 0,
) -> Iterator[ImageBatch]:
    """Yield all images of a source in batches, in its order whatever the number of workers.

    Array sources are read in this process: there is nothing to decode, and workers would copy gigabytes. Closing the
    iterator ends the workers. torch's random state is left alone.

    Args:
        source: what `open_images` returns.
        transform: uint8 ``[3, H, W]`` -> tensor of one size, applied in the workers; none by default.
        batch_size: images a batch; fewer where images were skipped, and in the last batch.
        workers: decoding processes, 0 to decode in this one.
        skip_bad: leave bad images out and list them in `ImageBatch.skipped`.
        shard: ``(i, n)`` takes every n-th batch, from the i-th, so that n processes share the very batches of one.
        first_batch: batches of the whole source to pass over, of those that were read before.

    Yields:
        `ImageBatch`, with at least one image each.

    Raises:
        ValueError: a bad image without ``skip_bad``, no good image in the whole source, different sizes in one batch,
            or no such shard.

    Examples:
        >>> source = open_images(np.zeros((3, 4, 4, 3), dtype=np.uint8))
        >>> [batch.indices for batch in iterate_images(source, batch_size=2)]
        [(0, 1), (2,)]
    """
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard (i, n) is one of n parts, 0 <= i < n, got {shard}")
    n_batches = -(-len(source) // batch_size)
    numbers = [number for number in range(shard[0], n_batches, shard[1]) if number >= first_batch]
    batches: Any = [range(n * batch_size, min((n + 1) * batch_size, len(source))) for n in numbers]  # typed as lists
    loader = DataLoader(
        ImageDataset(source, transform or _identity),
        batch_sampler=batches,
        num_workers=0 if isinstance(source, _ArraySource) else workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # else the loader draws its seed from the caller's global stream
    )
    iterator = iter(loader)
    held: ImageBatch | None = None  # one batch back, so that what is skipped at the end still travels with images
    skipped: tuple[BadImage, ...] = ()
    try:
        for number, (images, items) in zip(numbers, iterator, strict=True):
            good = [item for item in items if not isinstance(item[2], str)]
            skipped += tuple(BadImage(source.names[index], why) for index, _, why, _ in items if isinstance(why, str))
            if skipped and not skip_bad:
                first = skipped[0]
                raise ValueError(
                    f"{source.name}: {first.name}: {first.reason}; skip_bad=True (--skip-bad) leaves it out"
                )
            if not good:
                continue
            if images is None:
                (a, _, size_a, _), (b, _, size_b, _) = good[0], next(item for item in good if item[2] != good[0][2])
                both = f"{source.names[a]} {list(size_a)}, {source.names[b]} {list(size_b)}"
                raise ValueError(f"{source.name}: sizes differ in one batch: {both}; resize them or use batch_size=1")
            if held is not None:
                yield held
            indices, digests, _, sizes = zip(*good, strict=True)
            held, skipped = ImageBatch(images, indices, digests, skipped, number + 1, sizes), ()
    finally:
        # The traceback of an error would keep this frame, and with it the workers, alive.
        del iterator
    if held is None and (not skipped or len(skipped) < len(source)):  # of a part
        if not skipped:
            return
        held = ImageBatch(torch.empty(0, 3, 1, 1), (), ())
    if held is None:
        first = skipped[0]
        raise ValueError(f"{source.name}: none of {len(source)} images is readable; {first.name}: {first.reason}")
    yield replace(held, skipped=held.skipped + skipped, end=numbers[-1] + 1)
