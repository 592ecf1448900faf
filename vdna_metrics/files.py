"""Files: one ``.npz`` of plain arrays with one JSON header, written whole or not at all, never unpickled."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import lzma
import math
import os
import re
import reprlib
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.schema import ArrayField, FileFields, Positive, Sha256, Value, typed
from vdna_metrics.text import shortened

SCHEMA = 1
_HEADER = "header"

Fields = TypeVar("Fields", bound=FileFields)


# ------------------------------------------------------------------------------------------------------------- limits
@dataclass(frozen=True)
class Limit:
    """How much of something is taken from a file that somebody else may have made.

    Args:
        default: where the environment says nothing.
        of: what is counted, for errors.
    """

    default: int
    of: str


LimitName = Literal[
    "array_bytes", "json_bytes", "json_values", "images", "image_bytes", "image_pixels", "text_bytes", "members",
    "tar_header_bytes", "download_bytes",
]  # fmt: skip
LIMITS: Mapping[LimitName, Limit] = {
    "array_bytes": Limit(2 << 30, "bytes of arrays in memory"),  # of all that are read from one file
    "json_bytes": Limit(160 << 20, "bytes of one JSON text"),  # the digests of ImageNet's images are 135 MB
    "json_values": Limit(4_000_000, "values in one JSON text"),  # a short one takes twenty times its text
    "images": Limit(3_000_000, "images in one container"),  # iNaturalist has 2.7 million; one of a zip takes 600 bytes
    "image_bytes": Limit(1 << 30, "bytes of one image file"),
    "image_pixels": Limit(1 << 27, "pixels of one image"),  # some 7 bytes of memory each, in every worker
    "text_bytes": Limit(1 << 28, "bytes of one list of names"),  # ImageNet's is 60 MB
    "members": Limit(10_000, "members of one archive of arrays"),
    "tar_header_bytes": Limit(1 << 18, "bytes of headers before one member of a tar"),  # with names and attributes
    "download_bytes": Limit(20 * 10**9, "bytes of one downloaded file"),
}
"""Every limit, once. `VDNA_METRICS_MAX_` and the name in capitals is the variable of the environment that sets it."""


def limit_of(name: LimitName) -> int:
    """A limit: what the environment says, which worker processes inherit, else the default.

    Raises:
        ValueError: when the variable is no whole number above 0.

    Examples:
        >>> limit_of("array_bytes")
        2147483648
    """
    variable = limit_variable(name)
    text = os.environ.get(variable, "")
    if text and not is_limit(text):
        raise ValueError(f"expected {variable} to be a whole number of {LIMITS[name].of}, got {text[:40]!r}")
    return int(text) if text else LIMITS[name].default


def is_limit(text: str) -> bool:
    """Whether text is a whole number above 0 that a file's size can be."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0


def check_limit(name: LimitName, size: int, what: str) -> None:
    """Raise ``ValueError`` when something is over its limit; the error says how to raise it.

    Call it before anything of that size is allocated.

    Examples:
        >>> check_limit("array_bytes", 10**12, "x.npz: member 'mu.npy'")
        Traceback (most recent call last):
        ValueError: x.npz: member 'mu.npy': expected at most 2147483648 bytes of arrays in memory, got 1000000000000;
        if you trust it, set VDNA_METRICS_MAX_ARRAY_BYTES (--limit array_bytes=1000000000000)
    """
    if size > limit_of(name):
        raise ValueError(
            f"{what}: expected at most {limit_of(name)} {LIMITS[name].of}, got {size}; if you trust it, set "
            f"{limit_variable(name)} (--limit {name}={size})"
        )


def limit_variable(name: LimitName) -> str:
    """The variable of the environment that sets a limit."""
    return f"VDNA_METRICS_MAX_{name.upper()}"


def open_regular(path: str | Path) -> io.FileIO:
    """Open a regular file; a pipe that nobody writes to does not hold this up, nor does a device without end.

    Raises:
        OSError: when it cannot be opened.
        ValueError: for anything but a regular file; whoever calls names it.
    """
    flags = getattr(os, "O_NONBLOCK", 0)
    file = io.FileIO(path, opener=lambda name, mode: os.open(name, mode | flags))
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise ValueError(f"expected a regular file, got {_KINDS.get(stat.S_IFMT(mode), 'another kind')}")
    return file


def check_file(path: Path, what: str = "file") -> None:
    """Raise an error that says what is wrong where there is no regular file.

    Args:
        path: of the file.
        what: it is to be, for the error.

    Raises:
        FileNotFoundError: where there is nothing.
        ValueError: for a folder, a pipe or a device.

    Examples:
        >>> check_file(Path("not_there.npz"))
        Traceback (most recent call last):
        FileNotFoundError: no such file: not_there.npz
    """
    if not path.exists():
        raise FileNotFoundError(f"no such {what}: {path}")
    if not path.is_file():
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode), "another kind")
        raise ValueError(f"{path}: expected a regular file, got {kind}")


_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFSOCK: "a socket"}


def read_whole(path: str | Path, limit: LimitName) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: when it cannot be read.
        ValueError: for anything but a regular file, or one over the limit; whoever calls names it.
    """
    with open_regular(path) as raw, io.BufferedReader(raw) as file:
        size = os.fstat(raw.fileno()).st_size
        check_limit(limit, size, "the file")
        return file.read(size)  # which allocates as much, so no more is asked for


def read_text(path: str | Path, limit: LimitName) -> io.TextIOWrapper:
    """The UTF-8 text of a regular file, to be read line by line, of no more lines than a limit.

    Raises:
        OSError: when it cannot be read.
        ValueError: as `read_whole`, for too many lines, and while it is read for other text; whoever calls names it.
    """
    data = read_whole(path, "text_bytes")
    check_limit(limit, max(map(data.count, (b"\n", b"\r"))), "its lines")
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")


class ArchiveHeaders(io.BufferedReader):
    """A file that gives no more than a limit while the headers of an archive are read from it.

    `zipfile` and `tarfile` read as much as a file claims that its directory or a member's header has.

    Args:
        path: of a regular file.
        limit: of what is counted; ``None``, set when all headers are read, is none.
        unit: bytes for which one is counted. Entries of the directory of a zip are counted as well.
    """

    def __init__(self, path: str | Path, limit: LimitName, unit: int = 1) -> None:
        super().__init__(open_regular(path))
        self.limit: LimitName | None = limit
        self.taken = self.entries = 0
        self._unit = unit

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, as any file."""
        if self.limit is None:
            return super().read(size)
        there = max(0, os.fstat(self.fileno()).st_size - self.tell())
        self.taken += there if size is None or size < 0 else min(size, there)
        check_limit(self.limit, self.taken // self._unit, "its headers")
        data = super().read(size)
        self.entries += data.count(b"PK\1\2")
        check_limit(self.limit, self.entries, "its directory")
        return data


@contextmanager
def open_zip(path: str | Path, limit: Literal["images", "members"]) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose directory has no more entries than a limit, and no more bytes than so many have.

    Raises:
        OSError: when it cannot be read.
        ValueError: for one over the limit, and for anything but a regular file; whoever calls names it.
        zipfile.BadZipFile: for anything but a zip file. See `DAMAGE` for what else its contents raise.
    """
    with ArchiveHeaders(path, limit, _ENTRY) as file, zipfile.ZipFile(file) as archive:
        file.limit = None
        yield archive


_ENTRY = 512  # bytes of one in the directory of a zip: 46, its name, and fields that tools add


# -------------------------------------------------------------------------------------------------------------- bytes


def _sha256(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    stated = {name: value for name, value in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """sha256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with errors_of(str(path)), open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def json_hash(values: Any) -> str:
    """sha256 of plain containers, for names of files that hold what was made with them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check_folder(folder: Path, what: str = "") -> None:
    """Raise ``ValueError`` for a folder that cannot be made or written to, before the work, which alone makes it.

    The system is asked by a file that has no name: modes alone do not tell of a full, read-only or remote disk.

    Args:
        folder: that will be written to.
        what: will be, for the error; by default the folder.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    refused = f"cannot write {what or f'to {folder}'}: {there}"
    if not there.is_dir():
        raise ValueError(f"{refused} is a file")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise ValueError(f"{refused}: {error.strerror or error}") from error


def check_writable(path: Path) -> None:
    """Raise ``ValueError`` for a file that cannot be written, before the work."""
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: folder {path.parent} does not exist")
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder")
    check_folder(path.parent, str(path))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` when all is in it, and leaves no trace when that fails."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp is private to the user; a result is an ordinary file
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a full disk, for example
            told = f"{path} could not be written: {error.strerror or error}{_ADVICE.get(error.errno or 0, '')}"
            raise OSError(error.errno, told) from error
        raise


_ADVICE = {
    errno.ENOSPC: "; make room there, or write elsewhere",
    errno.EDQUOT: "; make room there, or write elsewhere",
    errno.EFBIG: "; raise the limit on the size of files (ulimit -f), or write elsewhere",
}


def write_whole(path: Path, contents: bytes | str) -> Path:
    """Write a file whole or not at all; in text surrogates are the bytes that they stand for."""
    with replacing(path) as file:
        file.write(contents.encode(errors="surrogateescape") if isinstance(contents, str) else contents)
    return path


@contextmanager
def errors_of(what: str, types: type[Exception] | tuple[type[Exception], ...] = ValueError) -> Iterator[None]:
    """Turn errors of some types into a ``ValueError`` that begins with what failed, once, and is not endless."""
    try:
        yield
    except types as error:
        text = (
            shortened(str(error), _TEXT) if type(error) is ValueError else str(error)[:200]
        )  # zipfile shows any bytes
        if not text.startswith(what):
            file = what.partition(": ")[0]  # which what goes on inside may have named
            text = f"{what}: {text.removeprefix(f'{file}: ') or type(error).__name__}"
        raise ValueError(text) from error


@contextmanager
def errors_of_code(name: str, part: str = "it") -> Iterator[None]:
    """Turn any error of somebody's code into a ``ValueError`` that begins with the name of what the code is for."""
    try:
        yield
    except Exception as error:
        what = "" if isinstance(error, ValueError) else f"{part} failed with {type(error).__name__}: "
        raise ValueError(f"{name}: {what}{error}") from error


_TEXT = 1600  # letters of an error: names in a file may have thousands


def write_npz(
    path: str | Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, compress: bool = True
) -> Path:
    """Write arrays and header to ``path`` through a temporary file that is renamed when complete.

    Args:
        path: file to write; the suffix ``.npz`` is appended when it is missing, nothing else is changed.
        kind: what the file holds, e.g. ``"histogram"`` or ``"ranges"``.
        header: JSON-able values; schema, kind and sha256 of the arrays of header and arrays are added.
        arrays: named arrays.
        compress: whether to deflate, which is slow on hundreds of megabytes.

    Returns:
        The path that was written.
    """
    from vdna_metrics import __version__

    path = Path(path)
    if path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: folder {path.parent} does not exist")
    complete = {"schema": SCHEMA, "kind": kind, "writer": f"vdna_metrics {__version__}", **header}
    # Through JSON first, so that the hash is of what a reader will see (tuples are lists by then).
    complete["sha256"] = _sha256(json.loads(json.dumps(complete)), arrays)
    text = json.dumps(complete, indent=1).encode()
    with replacing(path) as file, zipfile.ZipFile(file, "w", compresslevel=9) as archive:
        for name, array in {_HEADER: np.frombuffer(text, np.uint8), **arrays}.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            # A fixed time, so that the same content gives the same bytes.
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            archive.writestr(info, member.getvalue())
    return path


# ------------------------------------------------------------------------------------------------------------ reading
# What damaged and hostile bytes make zipfile, its decompressors and NumPy raise.
DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, MemoryError, OverflowError, struct.error, zipfile.BadZipFile,
    zlib.error, lzma.LZMAError,
)  # fmt: skip
_DEFLATE = 1032  # times smaller at best
_DEPTH = 100
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


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"it has {name!r} twice: members {members[name].filename!r} and {info.filename!r}")
        members[name] = info
    return members


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
            with _member(archive, info) as stream:
                headers[name] = read_array_header(stream)
    return headers


@contextmanager
def _array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, field: ArrayField | None
) -> Iterator[tuple[ArrayHeader, IO[bytes]]]:
    with _member(archive, info) as stream:
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


def _read_all(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], fields: Mapping[str, ArrayField | None]
) -> dict[str, NDArray[Any]]:
    """Arrays of one file, after a look at what each claims; together they keep within the limit of one."""
    total = 0
    for name, field in fields.items():
        with _array(archive, members[name], field) as (header, _):
            total += header.nbytes
    check_limit("array_bytes", total, f"its {len(fields)} arrays")
    return {name: read_array(archive, members[name], field) for name, field in fields.items()}


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> bytes:
    """The bytes of a member of so many; errors name it."""
    with _member(archive, info) as stream:
        if info.file_size != size:
            raise ValueError(f"expected {size} bytes, got {info.file_size}")
        check_limit("array_bytes", size, "its bytes")
        return stream.read()


@contextmanager
def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    with errors_of(f"member {info.filename!r}", DAMAGE):
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"expected it stored or deflated, got compression {info.compress_type}")
        if info.file_size > _DEFLATE * (info.compress_size + 1):
            raise ValueError(f"it claims {info.file_size} bytes, which do not fit into {info.compress_size}")
        with archive.open(info) as stream:
            yield stream


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """Open a zip file and find its members by name, those of arrays without ``.npy``; errors inside name the file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for anything but a zip file, and one with two members of one name.
    """
    check_file(path)
    with errors_of(str(path)), ExitStack() as stack:
        try:
            archive = stack.enter_context(open_zip(path, "members"))
        except ValueError:
            raise
        except DAMAGE as error:
            raise ValueError(f"{path} is damaged or not an .npz file ({str(error) or type(error).__name__})") from error
        yield archive, _members(archive)


def read_arrays(path: str | Path, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` of others, those of the names that it has.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or one of them is no array of numbers or text, or over its limit.
    """
    with open_archive(Path(path)) as (archive, members):
        return _read_all(archive, members, {name: None for name in members if name in names})


def plain_json(text: bytes | str) -> Any:
    """What JSON text says, in plain containers.

    Raises:
        ValueError: for other text, a name that an object has twice, NaN, infinity, and containers in containers in
            more than 100 levels.

    Examples:
        >>> plain_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: expected JSON: an object has 'a' twice
    """
    check_limit("json_bytes", len(text), "JSON")
    with errors_of("expected JSON", (ValueError, RecursionError)):
        data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        check_limit("json_values", sum(map(data.count, (b",", b"[", b"{"))), "its values")
        value = json.loads(data, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_number)
        level: list[Any] = [[value]]
        depth = 0
        while level := [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]:
            depth += 1
            if depth > _DEPTH:
                raise ValueError(f"containers are nested in more than {_DEPTH} levels")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"an object has {shortened(name, 100)!r} twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text[:40])


def read_json(path: str | Path, hint: type[Value], what: str) -> Value:
    """A value of an annotated type from a JSON file; see `schema.typed`.

    Args:
        path: the file.
        hint: what it has to be.
        what: it is called, for errors.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it holds something else; file and field are named.
    """
    with errors_of(f"{path}: expected {what}"):
        return typed(hint, plain_json(read_whole(path, "json_bytes")))


# ---------------------------------------------------------------------------------------------------------- our files
@dataclass(frozen=True)
class _Stamp:
    """What every header of ours begins with."""

    schema: Positive
    kind: str
    sha256: Sha256
    writer: str = ""


_STAMP = tuple(field.name for field in fields(_Stamp))


def check_schema(data: Mapping[str, Any], known: int, where: str) -> None:
    """Raise ``ValueError`` unless data is of a schema that this version reads; a newer one is refused by name."""
    schema = data.get("schema")
    if type(schema) is int and schema > known:
        writer = str(data.get("writer", "a newer version"))[:60]
        raise ValueError(
            f"{where} has schema {schema} (written by {writer}), this version reads up to {known}: upgrade vdna_metrics"
        )
    if type(schema) is not int or schema < 1:
        raise ValueError(f"{where}: schema: expected a whole number from 1 to {known}, got {reprlib.repr(schema)}")


def read_header(path: str | Path) -> dict[str, Any]:
    """Read the header of a file without its arrays; what all kinds have is checked, their own fields are not.

    Raises:
        ValueError: when the file is not one of ours, is damaged, or was written by a newer version.
        FileNotFoundError: when there is no such file.
    """
    with open_archive(Path(path)) as (archive, members):
        return _header_of(archive, members, path)


def _header_of(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: str | Path) -> dict[str, Any]:
    header = None
    if _HEADER in members:
        check_limit("json_bytes", members[_HEADER].file_size, "its header")
        header = plain_json(read_array(archive, members[_HEADER], ArrayField((None,), "u1")).tobytes())
    if not isinstance(header, dict) or "schema" not in header:
        raise ValueError(f"{path} has no header of ours: it was not written by vdna_metrics")
    check_schema(header, SCHEMA, str(path))
    typed(_Stamp, {name: header[name] for name in _STAMP if name in header})
    return header


def is_ours(path: str | Path) -> bool:
    """Whether a `.npz` file has our header; arrays of images, for example, do not."""
    try:
        with open_archive(Path(path)) as (_, members):
            return _HEADER in members
    except (OSError, ValueError):
        return False


def _fields_of(header: Mapping[str, Any], kinds: Mapping[str, type[Fields]], path: str | Path) -> Fields:
    if header["kind"] not in kinds:
        known = " or ".join(map(repr, kinds))
        raise ValueError(f"{path}: expected {known}, it holds {reprlib.repr(header['kind'])}")
    return typed(kinds[header["kind"]], {name: value for name, value in header.items() if name not in _STAMP})


def read_fields(path: str | Path, kinds: Mapping[str, type[Fields]]) -> Fields:
    """Read the header of a file of some kinds, without its arrays; see `read_npz`."""
    with open_archive(Path(path)) as (archive, members):
        return _fields_of(_header_of(archive, members, path), kinds, path)


def read_npz(
    path: str | Path, kinds: Mapping[str, type[Fields]], *, arrays: Mapping[str, ArrayField] | None = None
) -> tuple[Fields, dict[str, NDArray[Any]]]:
    """Read header and arrays of a file, all as its schema says, and verify their sha256.

    Args:
        path: the file.
        kinds: which kinds the caller can use, and the schema of each.
        arrays: that the file has beside those which its schema names.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, changed, newer, of another kind, or has other fields or arrays than its
            schema says; the message names file, field and both sides.
    """
    with open_archive(Path(path)) as (archive, members):
        header = _header_of(archive, members, path)
        content = _fields_of(header, kinds, path)
        own = content.arrays()
        expected = {**own, **(arrays or {})}
        if expected.keys() != members.keys() - {_HEADER}:
            raise ValueError(f"expected the arrays {sorted(expected)}, got {sorted(members.keys() - {_HEADER})[:20]}")
        found = _read_all(archive, members, own)
        # The caller knows the lengths of its own, and has room for them.
        found |= {name: read_array(archive, members[name], field) for name, field in (arrays or {}).items()}
        digest = _sha256(header, found)
        if digest != header["sha256"]:
            raise ValueError(
                f"{path} was changed after it was written: the sha256 of its content is {digest[:12]}, its header "
                f"says {header['sha256'][:12]}"
            )
        for name, field in expected.items():
            if field.finite and found[name].dtype.kind == "f" and not np.isfinite(found[name]).all():
                raise ValueError(f"array {name!r}: expected finite numbers, got NaN or infinity")
    # torch takes no other byte order than this machine's.
    return content, {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in found.items()}
