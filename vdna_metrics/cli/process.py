"""How the process of a command takes the machine: memory that is freed is kept, cores are shared with its workers."""

from __future__ import annotations

import ctypes
import os
import sys

KEEP_FREED = "VDNA_METRICS_KEEP_FREED"
"""Variable of the environment; 0 leaves glibc as it is."""

_SPINS = "1000"  # what libgomp itself takes where there are more threads than cores; else it spins for milliseconds
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MOST = (1 << 31) - 1  # bytes, an int's
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for what is asked for next: the activations of one batch for those of the next.

    By itself it gives large blocks back at once, and the kernel clears each page anew for the next batch. Both of its
    thresholds are set, since one alone ends how it adapts the other. The process then holds the most that it ever
    needed. Where there is no glibc, or the environment has settings of malloc, nothing is done.

    Returns:
        Whether both were set.
    """
    own = [name for name in _OWN if os.environ.get(name)]
    if sys.platform != "linux" or own or os.environ.get(KEEP_FREED) == "0":
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018, musl has none, nor thresholds
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MOST) and mallopt(_M_TRIM_THRESHOLD, _MOST))


def share_cores() -> None:
    """Let torch's threads sleep where they wait for each other, so that decoding processes have the cores meanwhile.

    libgomp lets them spin, which pays where nothing else runs. Beside decoding processes, or other work, one that waits
    for a thread without a core burns its own. Settings of the user's stand. To be called before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
