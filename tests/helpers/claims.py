"""Archives whose headers claim more than anybody would write: sparse files, which take no room on a disk."""

from __future__ import annotations

import struct
import tarfile
from pathlib import Path


def write_sparse_zip(path: Path, size: int, *, entries: int = 3) -> Path:
    """A zip whose end says that its directory has so many bytes and entries, all zeros."""
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, 0))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, size, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    return path


def write_sparse_tar(path: Path, kind: bytes, size: int, begin: bytes = b"") -> Path:
    """A tar whose first header is of a kind, ``b"L"`` for a long name, and claims so many bytes."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    with open(path, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + begin)
        file.truncate(tarfile.BLOCKSIZE + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
    return path
