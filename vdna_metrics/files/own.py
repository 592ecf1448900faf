"""Our files: one ``.npz`` of plain arrays with one JSON header."""

from __future__ import annotations

import hashlib
import io
import json
import reprlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.files.archives import open_archive
from vdna_metrics.files.arrays import read_array, read_together
from vdna_metrics.files.limits import check_limit
from vdna_metrics.files.reading import plain_json
from vdna_metrics.files.writing import replacing
from vdna_metrics.schema import ArrayField, FileFields, Positive, Sha256, typed

SCHEMA = 1
_HEADER = "header"

Fields = TypeVar("Fields", bound=FileFields)


def _sha256(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    stated = {name: value for name, value in header.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        # By parts, since one in another order would be copied whole.
        for part in np.nditer(array, ["external_loop", "buffered", "zerosize_ok", "refs_ok"], order="C"):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


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
        found = read_together(archive, members, own)
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
