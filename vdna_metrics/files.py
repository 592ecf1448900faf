"""Files: one ``.npz`` of plain arrays with one JSON header, written whole or not at all, never unpickled."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
_HEADER = "header"


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


LimitName = Literal["array_bytes", "json_bytes", "images"]
LIMITS: Mapping[LimitName, Limit] = {
    "array_bytes": Limit(2 << 30, "bytes of one array in memory"),
    "json_bytes": Limit(64 << 20, "bytes of one JSON text"),
    "images": Limit(20_000_000, "images in one container"),
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
    variable = _variable(name)
    text = os.environ.get(variable, "")
    if text and (not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < 1):
        raise ValueError(f"expected {variable} to be a whole number of {LIMITS[name].of}, got {text[:40]!r}")
    return int(text) if text else LIMITS[name].default


def check_limit(name: LimitName, size: int, what: str) -> None:
    """Raise ``ValueError`` when something is over its limit; the error says how to raise it.

    Call it before anything of that size is allocated.

    Examples:
        >>> check_limit("array_bytes", 10**12, "x.npz: member 'mu.npy'")
        Traceback (most recent call last):
        ValueError: x.npz: member 'mu.npy': expected at most 2147483648 bytes of one array in memory, got 1000000000000;
        set VDNA_METRICS_MAX_ARRAY_BYTES if you trust it
    """
    if size > limit_of(name):
        raise ValueError(
            f"{what}: expected at most {limit_of(name)} {LIMITS[name].of}, got {size}; set {_variable(name)} if you "
            "trust it"
        )


def _variable(name: LimitName) -> str:
    return f"VDNA_METRICS_MAX_{name.upper()}"


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
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def json_hash(values: Any) -> str:
    """sha256 of plain containers, for names of files that hold what was made with them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_whole(path: Path, contents: bytes | str) -> Path:
    """Write a file whole or not at all; in text surrogates are the bytes that they stand for."""
    with replacing(path) as file:
        file.write(contents.encode(errors="surrogateescape") if isinstance(contents, str) else contents)
    return path


@contextmanager
def errors_of(what: str, types: type[Exception] | tuple[type[Exception], ...] = ValueError) -> Iterator[None]:
    """Turn errors of some types into a ``ValueError`` that begins with what failed."""
    try:
        yield
    except types as error:
        raise ValueError(f"{what}: {error}") from error


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


def _read_arrays(archive: zipfile.ZipFile, members: list[str]) -> dict[str, NDArray[Any]]:
    arrays = {}
    for member in members:
        # Whole, so that its CRC-32 is checked before NumPy acts on what may be damaged.
        data = io.BytesIO(archive.read(member))
        arrays[member.removesuffix(".npy")] = np.lib.format.read_array(data, allow_pickle=False)
    return arrays


# What damaged bytes make zipfile, zlib and NumPy raise.
_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error)


def read_header(path: str | Path) -> dict[str, Any]:
    """Read the header of a file without its arrays.

    Raises:
        ValueError: when the file is not one of ours, is damaged, or was written by a newer version.
        FileNotFoundError: when there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            ours = f"{_HEADER}.npy" in archive.namelist()
            header = json.loads(_read_arrays(archive, [f"{_HEADER}.npy"])[_HEADER].tobytes()) if ours else None
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged or not an .npz file ({str(error) or type(error).__name__})") from error
    if not isinstance(header, dict) or not isinstance(header.get("schema"), int):
        raise ValueError(f"{path} has no header of ours: it was not written by vdna_metrics")
    if header["schema"] > SCHEMA:
        raise ValueError(
            f"{path} has schema {header['schema']} (written by {header.get('writer')}), this version reads up to "
            f"{SCHEMA}: upgrade vdna_metrics"
        )
    return header


def is_ours(path: str | Path) -> bool:
    """Whether a `.npz` file has our header; arrays of images, for example, do not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{_HEADER}.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_npz(path: str | Path, kinds: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and arrays of a file and verify their sha256.

    Args:
        path: the file.
        kinds: which kinds the caller can use.

    Raises:
        ValueError: when the file is damaged, changed, newer, or of another kind; the message names it.
    """
    header = read_header(path)
    if header.get("kind") not in kinds:
        raise ValueError(f"expected {' or '.join(map(repr, kinds))}, {path} holds {header.get('kind')!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _read_arrays(archive, [name for name in archive.namelist() if name != f"{_HEADER}.npy"])
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged ({str(error) or type(error).__name__})") from error
    found = _sha256(header, arrays)
    if found != header.get("sha256"):
        raise ValueError(
            f"{path} was changed after it was written: the sha256 of its content is {found[:12]}, "
            f"its header says {str(header.get('sha256'))[:12]}"
        )
    return header, arrays
