"""Memory and cores of a command's process."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from vdna_metrics.cli import process

OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD", process.KEEP_FREED)
_FAULTS = """
import ctypes, resource
from vdna_metrics.cli.process import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
kept, found = keep_freed_memory(), []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(100_000_000)
    ctypes.memset(block, 1, 100_000_000)
    libc.free(block)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, found[2])
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings of the user's."""
    for name in (*OWN, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's thresholds")
@pytest.mark.parametrize("keep", ["1", "0"])
def test_a_block_that_was_freed_is_there_for_the_next(monkeypatch: pytest.MonkeyPatch, keep: str) -> None:
    """100 MB that are asked for again take no new pages from the kernel, unless this is switched off."""
    monkeypatch.setenv(process.KEEP_FREED, keep)
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    assert (kept, int(faults) < 100) == (str(keep == "1"), keep == "1")


@pytest.mark.parametrize("name", OWN[:4])
def test_settings_of_the_user_s_stand(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Who sets malloc up by the environment, or takes another malloc, has it as it is."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("glibc was touched"))
    monkeypatch.setenv(name, "1")
    assert not process.keep_freed_memory()


@pytest.mark.parametrize(("platform_", "libc"), [("linux", SimpleNamespace()), ("darwin", None), ("win32", None)])
def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch, platform_: str, libc: object) -> None:
    """Without a word: musl has no thresholds, other systems no glibc."""
    monkeypatch.setattr(sys, "platform", platform_)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    assert not process.keep_freed_memory()


def test_threads_that_wait_leave_the_cores_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libgomp spins for the time that it takes on a machine with too many threads, or as the user says."""
    environment: dict[str, str] = {}
    monkeypatch.setattr(process.os, "environ", environment)
    process.share_cores()
    assert environment == {"GOMP_SPINCOUNT": "1000"}
    for given in ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}):
        monkeypatch.setattr(process.os, "environ", dict(given))
        process.share_cores()
        assert process.os.environ == given
