"""Files of ours with other contents and the right checksum, as somebody who knows the format would make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.files import write_npz

Arrays = dict[str, NDArray[Any]]
_STAMPED = ("kind", "sha256")


def contents_of(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of a file."""
    with np.load(path) as archive:
        arrays = dict(archive)
    header: dict[str, Any] = json.loads(arrays.pop("header").tobytes())
    return header, arrays


def reseal(path: Path, header: dict[str, Any], arrays: Arrays) -> Path:
    """Write them, and what the header says of schema and writer, with the sha256 that they have."""
    fields = {name: value for name, value in header.items() if name not in _STAMPED}
    return write_npz(path, header.get("kind", "gaussian"), fields, arrays)


def tampered(path: Path, change: Callable[[dict[str, Any], Arrays], Any]) -> Path:
    """A file after a change to its header or arrays, both in place."""
    header, arrays = contents_of(path)
    change(header, arrays)
    return reseal(path, header, arrays)
