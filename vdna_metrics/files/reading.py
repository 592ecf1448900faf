"""Regular files, whole or by lines, and JSON texts."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from vdna_metrics.files.errors import errors_of
from vdna_metrics.files.limits import LimitName, check_limit
from vdna_metrics.schema import Value, typed
from vdna_metrics.text import shortened


def open_regular(path: str | Path) -> io.FileIO:
    """Open a regular file; a pipe that nobody writes to does not hold this up, nor does a device without end.

    Raises:
        OSError: when it cannot be opened.
        ValueError: for anything but a regular file; whoever calls names it.
    """
    flags = getattr(os, "O_NONBLOCK", 0)
    file = io.FileIO(path, opener=lambda name, mode: os.open(name, mode | flags))
    if kind := _odd_kind(os.fstat(file.fileno())):
        file.close()
        raise ValueError(f"expected a regular file, got {kind}")
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
    if kind := _odd_kind(path.stat()):
        raise ValueError(f"{path}: expected a regular file, got {kind}")


def check_replaceable(path: Path) -> None:
    """Raise ``ValueError`` where a file would take the place of something else: a folder, a pipe or a device."""
    if path.exists() and (kind := _odd_kind(path.stat())):
        raise ValueError(f"cannot write {path}: it is {kind}")


def _odd_kind(status: os.stat_result) -> str:
    """What is no regular file; else nothing."""
    return "" if stat.S_ISREG(status.st_mode) else _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")


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


def read_text(path: str | Path, limit: LimitName, separators: bytes = b"") -> io.TextIOWrapper:
    """The UTF-8 text of a regular file, to be read line by line, of no more lines than a limit.

    Args:
        path: of the file.
        limit: of lines.
        separators: of the cells of a table, which has no more than eight times as many.

    Raises:
        OSError: when it cannot be read.
        ValueError: as `read_whole`, for too many lines, and while it is read for other text; whoever calls names it.
    """
    data = read_whole(path, "text_bytes")
    _check_letters("text_bytes", data, "it")
    check_limit(limit, max(map(data.count, (b"\n", b"\r"))), "its lines")
    cells = len(data) - len(data.translate(None, separators))
    check_limit(limit, cells // _COLUMNS, f"its cells, {_COLUMNS} of a line")
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")


_COLUMNS = 8


def _check_letters(limit: LimitName, data: bytes, what: str) -> None:
    """Check what text takes in memory: where a letter needs four bytes, all have four."""
    wide = not data.isascii()
    check_limit(limit, len(data) * (4 if wide else 1), f"{what} is not all ASCII: 4 bytes a letter" if wide else what)


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


_DEPTH = 100


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
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    _check_letters("json_bytes", data, "JSON")
    with errors_of("expected JSON", (ValueError, RecursionError)):
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
