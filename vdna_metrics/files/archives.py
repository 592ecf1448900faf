"""Archives: their directories and members, of which no more is believed than is there."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Literal

from vdna_metrics.files.errors import DAMAGE, errors_of
from vdna_metrics.files.limits import LimitName, check_limit
from vdna_metrics.files.reading import check_file, open_regular


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


_ENTRY = 128  # bytes of one in the directory of a zip: 46, its name, and fields that tools add


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


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ValueError(f"it has {name!r} twice: members {members[name].filename!r} and {info.filename!r}")
        members[name] = info
    return members


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> bytes:
    """The bytes of a member of so many; errors name it."""
    with open_member(archive, info) as stream:
        if info.file_size != size:
            raise ValueError(f"expected {size} bytes, got {info.file_size}")
        check_limit("array_bytes", size, "its bytes")
        return stream.read()


@contextmanager
def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Open a member, whose claims are looked at; errors name it."""
    with errors_of(f"member {info.filename!r}", DAMAGE):
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"expected it stored or deflated, got compression {info.compress_type}")
        if info.file_size > _DEFLATE * (info.compress_size + 1):
            raise ValueError(f"it claims {info.file_size} bytes, which do not fit into {info.compress_size}")
        with archive.open(info) as stream:
            yield stream


_DEFLATE = 1032  # times smaller at best
