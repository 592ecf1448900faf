"""Arrays in NumPy's format, alone or in an ``.npz``; never unpickled, and looked at before they are allocated."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.files.archives import open_archive, open_member
from vdna_metrics.files.errors import DAMAGE, errors_of
from vdna_metrics.files.limits import check_limit
from vdna_metrics.files.reading import open_regular
from vdna_metrics.schema import ArrayField

# As every writer has it; NumPy's own reader evaluates it as Python, and raises what Python does.
_LONGEST = 2048  # some 128 bytes are usual; what is searched in no time
_ARRAY = re.compile(
    r"\{(?:\s*(?:'descr':\s*'(?P<dtype>[<>|=][biufcSUO]\d{0,5})'|'fortran_order':\s*(?P<fortran>True|False)"
    r"|'shape':\s*\((?P<shape>[\dL, ]{0,600})\))\s*,?){3}\s*\}\s*"
)


@dataclass(frozen=True)
class ArrayHeader:
    """What an array in NumPy's format says of itself.

    Args:
        shape: of the array.
        dtype: of its values.
        fortran: whether the first axis runs fastest.
        start: where in the stream the values begin.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of all values, whatever the shape claims."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array_header(stream: IO[bytes]) -> ArrayHeader:
    """Read the header of an array in NumPy's format, and nothing is allocated for what it claims.

    Raises:
        ValueError: for what is no array.
    """
    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:7] not in (b"\1", b"\2", b"\3"):
        raise ValueError(f"expected an array in NumPy's format, it begins with {magic[:6]!r}")
    wide = 2 if magic[6] == 1 else 4
    length = int.from_bytes(stream.read(wide), "little")
    if length > _LONGEST:
        raise ValueError(f"expected the header of an array in at most {_LONGEST} bytes, got {length}")
    text = stream.read(length).decode("latin1")
    found = _ARRAY.fullmatch(text)
    if found is None or None in found.groups():
        raise ValueError(f"expected the header of an array, got {text.strip()[:80]!r}")
    try:
        dtype = np.dtype(found["dtype"])
    except TypeError:
        raise ValueError(f"expected the header of an array, got the type {found['dtype']!r}") from None
    shape = tuple(int(length) for length in re.findall(r"\d+", found["shape"]))
    if not dtype.itemsize or math.prod(max(1, length) for length in shape) * dtype.itemsize >= 1 << 63:
        raise ValueError(f"expected an array of fewer than 2**63 bytes, got {dtype} {list(shape)}")
    return ArrayHeader(shape, dtype, found["fortran"] == "True", 8 + wide + length)


def read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, field: ArrayField | None = None) -> NDArray[Any]:
    """Read one array of an ``.npz``; what it claims is compared with what is there before anything is allocated.

    Args:
        archive: the open file.
        info: the member.
        field: what the array has to be.

    Raises:
        ValueError: for what is damaged, no array of numbers or text, over its limit, or not as the field says; the
            member is named.
    """
    with _array(archive, info, field) as (header, stream):
        return _values(stream, header)


def read_npy(path: str | Path) -> NDArray[Any]:
    """Read an ``.npy`` file, as `read_array` reads a member.

    Raises:
        OSError: when it cannot be read.
        ValueError: as `read_array`; the file is named.
    """
    with errors_of(str(path), DAMAGE), open_regular(path) as file:
        return _values(file, _checked_header(file, os.fstat(file.fileno()).st_size))


def array_headers(path: str | Path) -> dict[str, ArrayHeader]:
    """Headers of the arrays of an ``.npy`` or ``.npz`` file, by name; that of an ``.npy`` has none.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or holds something else.
    """
    if Path(path).suffix.lower() == ".npy":
        with errors_of(str(path), DAMAGE), open_regular(path) as file:
            return {"": read_array_header(file)}
    headers = {}
    with open_archive(Path(path)) as (archive, members):
        for name, info in members.items():
            with open_member(archive, info) as stream:
                headers[name] = read_array_header(stream)
    return headers


@contextmanager
def _array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, field: ArrayField | None
) -> Iterator[tuple[ArrayHeader, IO[bytes]]]:
    with open_member(archive, info) as stream:
        yield _checked_header(stream, info.file_size, field), stream


def _checked_header(stream: IO[bytes], size: int, field: ArrayField | None = None) -> ArrayHeader:
    """What an array in a stream of so many bytes says of itself, and whether that is so."""
    header = read_array_header(stream)
    if header.dtype.hasobject:
        raise ValueError("expected an array of numbers or text, got one of objects, which are never unpickled")
    if field is not None:
        field.check(header.shape, header.dtype)
    if header.start + header.nbytes != size:
        raise ValueError(
            f"its header claims {header.nbytes} bytes, {header.dtype} {list(header.shape)}; there are "
            f"{size - header.start}"
        )
    check_limit("array_bytes", header.nbytes, "its values")
    return header


def _values(stream: IO[bytes], header: ArrayHeader) -> NDArray[Any]:
    flat = np.empty(math.prod(header.shape), header.dtype)
    bytes_of, place = flat.view(np.uint8), 0
    while block := stream.read(1 << 20):  # to the end, where a member's CRC-32 is checked
        bytes_of[place : place + len(block)] = np.frombuffer(block, np.uint8)
        place += len(block)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def read_together(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], fields: Mapping[str, ArrayField | None]
) -> dict[str, NDArray[Any]]:
    """Arrays of one file, after a look at what each claims; together they keep within the limit of one."""
    total = 0
    for name, field in fields.items():
        with _array(archive, members[name], field) as (header, _):
            total += header.nbytes
    check_limit("array_bytes", total, f"its {len(fields)} arrays")
    return {name: read_array(archive, members[name], field) for name, field in fields.items()}


def read_arrays(path: str | Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` of others, those of the names that it has.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or one of them is no array of numbers or text, or over its limit.
    """
    with open_archive(Path(path)) as (archive, members):
        return read_together(archive, members, {name: None for name in members if name in names})
