"""How much memory the states of a pass take: said before the work, and bounded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vdna_metrics.build.reading import Reading

LIMIT_VARIABLE = "VDNA_METRICS_MEMORY_LIMIT"

_WORTH_SAYING = 10**9  # bytes
_WORTH_SAYING_OF_PARTS = 10**8


@dataclass(frozen=True)
class StateSize:
    """Equal states that a pass keeps.

    Args:
        what: what they are, for people.
        number: how many.
        n_bytes: of one.
    """

    what: str
    number: int
    n_bytes: int

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.number * self.n_bytes

    def __str__(self) -> str:
        return f"{self.what}: {self.number} x {_size(self.n_bytes)}"


def check_memory(name: str, sizes: Sequence[StateSize], reading: Reading) -> None:
    """Tell what the states of a pass take, where it is much, and refuse what is too much.

    Args:
        name: of the images.
        sizes: what is kept.
        reading: has the limit, and who is told.

    Raises:
        ValueError: above the limit, with what takes how much and what to do.

    Examples:
        >>> check_memory("photos", [StateSize("histogram", 10, 11_000_000)], Reading(notice=print))
        photos: 0.11 GB of memory for histogram: 10 x 0.011 GB
    """
    total, limit, of = sum(size.total for size in sizes), *_limit(reading)
    parts = ", ".join(map(str, sorted(sizes, key=lambda size: -size.total)))
    if limit is not None and total > limit:
        raise ValueError(
            f"{name}: {_size(total)} of memory are needed, the limit is {_size(limit)} ({of}): {parts}. Take fewer "
            f"groups or parts, kinds, layers, neurons or bins, or raise the limit: Reading(memory_limit=bytes), or the "
            f"environment variable {LIMIT_VARIABLE}"
        )
    several = any(size.number > 1 for size in sizes)
    if reading.notice is not None and total >= (_WORTH_SAYING_OF_PARTS if several else _WORTH_SAYING):
        reading.notice(f"{name}: {_size(total)} of memory for {parts}")


def _limit(reading: Reading) -> tuple[int | None, str]:
    """Bytes, and where the number comes from."""
    if reading.memory_limit is not None:
        return reading.memory_limit, "memory_limit"
    stated = os.environ.get(LIMIT_VARIABLE)
    if stated:
        if not stated.isdecimal():
            raise ValueError(f"{LIMIT_VARIABLE} must be a whole number of bytes, got {stated!r}")
        return int(stated), LIMIT_VARIABLE
    device = torch.device(reading.device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 2, f"half of the memory of {device}"
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, "half of this machine's memory"
    except (AttributeError, ValueError, OSError):  # Windows
        return None, ""


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2g} GB" if n_bytes < 10**10 else f"{n_bytes / 1e9:.0f} GB"
