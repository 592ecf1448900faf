"""Files written whole or not at all, to places that were looked at before the work."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vdna_metrics.files.reading import check_replaceable


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
    check_replaceable(path)
    check_folder(path.parent, str(path))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` when all is in it, and leaves no trace when that fails.

    Raises:
        OSError: when it cannot be written.
        ValueError: where a folder, pipe or device has the name.
    """
    check_replaceable(path)
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
