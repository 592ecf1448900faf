"""How much memory states take, and how much they may."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

LIMIT_VARIABLE = "VDNA_METRICS_MEMORY_LIMIT"


@dataclass(frozen=True)
class StateSize:
    """Equal states that are kept at once.

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
        return f"{self.what}: {self.number} x {size_text(self.n_bytes)}"


def total_and_parts(sizes: Sequence[StateSize]) -> tuple[int, str]:
    """Bytes of all, and what takes how much, the largest first."""
    return sum(size.total for size in sizes), ", ".join(map(str, sorted(sizes, key=lambda size: -size.total)))


def refuse_too_much(
    name: str, sizes: Sequence[StateSize], *, device: torch.device | str, limit: int | None, fewer: str, raised_by: str
) -> None:
    """Raise ``ValueError`` for states that take more memory than they may, before any is allocated.

    Args:
        name: of what keeps them.
        sizes: what is kept.
        device: where.
        limit: bytes, ``None`` for what ``VDNA_METRICS_MEMORY_LIMIT`` says, else half of the device's memory.
        fewer: of what there could be less.
        raised_by: the argument that raises the limit, as it is written.
    """
    (total, parts), (most, of) = total_and_parts(sizes), _limit(device, limit)
    if most is not None and total > most:
        raise ValueError(
            f"{name}: expected at most {size_text(most)} of memory ({of}), got {size_text(total)}: {parts}. Take fewer "
            f"{fewer}, or raise the limit: {raised_by}, or the environment variable {LIMIT_VARIABLE}"
        )


def _limit(device: torch.device | str, stated: int | None) -> tuple[int | None, str]:
    """Bytes, and where the number comes from."""
    if stated is not None:
        return stated, "memory_limit"
    variable = os.environ.get(LIMIT_VARIABLE)
    if variable:
        if not variable.isdecimal():
            raise ValueError(f"{LIMIT_VARIABLE} must be a whole number of bytes, got {variable!r}")
        return int(variable), LIMIT_VARIABLE
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 2, f"half of the memory of {device}"
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, "half of this machine's memory"
    except (AttributeError, ValueError, OSError):  # Windows
        return None, ""


def size_text(n_bytes: int) -> str:
    """A number of bytes, for people.

    Examples:
        >>> size_text(11_400_000), size_text(1_500)
        ('11 MB', '1.5 kB')
    """
    of, unit = next((known for known in ((1e9, "GB"), (1e6, "MB")) if n_bytes >= known[0]), (1e3, "kB"))
    size = n_bytes / of
    return f"{size:.2g} {unit}" if size < 10 else f"{size:.0f} {unit}"
