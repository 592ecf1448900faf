"""What an interrupted pass over images leaves, so that the same pass can go on from there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdna_metrics.files import read_npz, write_npz

_EVERY = 60.0  # seconds
_COST = 0.05  # of the time, at most


class Checkpoint:
    """One file for one pass: its name holds the hash of what the pass does, so another pass never takes it.

    Args:
        folder: where the file lies; made when it is written.
        settings: all that decides the result, as plain containers.
        shard: ``(i, n)``, which part of the images.

    Raises:
        ValueError: when the pass was interrupted with another number of parts.
    """

    def __init__(self, folder: Path, settings: Any, shard: tuple[int, int]) -> None:
        identity = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        self.path = folder / f"{identity}-{shard[0] + 1}-of-{shard[1]}.npz"
        others = [path for path in folder.glob(f"{identity}-*.npz") if not path.stem.endswith(f"-of-{shard[1]}")]
        if others:
            raise ValueError(
                f"{others[0]} was left by {others[0].stem.rpartition('-')[2]} processes, now there are {shard[1]}: "
                f"go on with as many, or delete {folder} to begin again"
            )
        self._saved = time.monotonic()
        self._took = 0.0

    def restore(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        """Values and arrays as they were saved, ``None`` when there are none.

        Raises:
            ValueError: when the file is damaged.
        """
        if not self.path.exists():
            return None
        header, arrays = read_npz(self.path, ("checkpoint",))
        return header["values"], arrays

    def is_due(self, every: float = _EVERY) -> bool:
        """Whether it is time to save: after so many seconds, more where saving is slow."""
        return time.monotonic() - self._saved > max(every, self._took / _COST)

    def save(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Write values, plain containers, and arrays, whole or not at all."""
        begin = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_npz(self.path, "checkpoint", {"values": dict(values)}, arrays, compress=False)
        self._saved = time.monotonic()
        self._took = self._saved - begin
