"""Errors that say which file failed, once, in one type."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from vdna_metrics.text import shortened

# What damaged and hostile bytes make zipfile, its decompressors and NumPy raise.
DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, MemoryError, OverflowError, struct.error, zipfile.BadZipFile,
    zlib.error, lzma.LZMAError,
)  # fmt: skip


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
