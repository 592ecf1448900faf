"""Commands in processes of their own that something happens to: what, when, and what they leave.

A server that has imported everything forks each process, so that one costs a fraction of a second.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import multiprocessing.forkserver
import os
import pwd
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

PATIENCE = 300.0  # seconds that something may take which comes at once on a quiet machine
_BEGUN = re.compile(r"(^|/)\.(adding-|[^/]*\.tmp$)")
_CAPABILITIES = 0x20080522  # version of the structure


_PRELOADED = [
    "filelock", "helpers.commands", "helpers.faults", "matplotlib.backends.backend_svg", "matplotlib.figure",
    "rich.progress", "scipy.spatial", "scipy.stats", "timm", "vdna_metrics.cli.calibration", "vdna_metrics.cli.dnas",
    "vdna_metrics.cli.leaderboard", "vdna_metrics.cli.references", "vdna_metrics.reports.page_figures",
]  # fmt: skip


def start_server() -> None:
    """Import once what all commands need."""
    checkout = Path(__file__).parents[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (checkout, checkout / "tests"))))
        patch.setenv("OMP_NUM_THREADS", "1")
        multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
        multiprocessing.forkserver.ensure_running()


@dataclass(frozen=True)
class Command:
    """A command of the table.

    Args:
        words: of the command line, in a folder of `prepare`.
        pass_: whether it runs a network; its middle is then a batch, else the file that makes its result valid.
        ranks: whether several processes may share it.
    """

    words: tuple[str, ...]
    pass_: bool = True
    ranks: bool = True


_READ = ("--extractor", "tiny", "--batch-size", "2", "--workers", "0")
COMMANDS = {
    "make": Command(("make", "real", "-o", "out/a.npz", "--kinds", "histogram,gaussian", *_READ)),
    "calibrate": Command(("calibrate", "real", "fake", "-o", "out/a.npz", *_READ)),
    "build": Command(
        ("references", "build", "real", "--name", "cats/all", "--store", "out/store", *_READ)
    ),
    "leaderboard": Command(
        (
            *("leaderboard", "fake", "--reference", "real", "-o", "out/report", "--metrics", "emd,nfd"),
            *("--groups", "2", "--pictures", "0", "--no-fidelity", "--extractors", "tiny"),
            *("--batch-size", "2", "--workers", "0"),
        )
    ),
    "publish": Command(("references", "publish", "cats/train", "--to", "out/shared"), pass_=False, ranks=False),
}  # fmt: skip


@dataclass(frozen=True)
class Disturbance:
    """What happens inside a process.

    Args:
        at: the batch, from 1, at which it happens, or the beginning of the name of a file that is about to be there.
        how: ``"wait"`` until the test says so, ``"full"`` disk by a limit on the size of files, ``"failing"`` disk by
            an error of the system when a file is to be kept.
        environment: variables that are set; ``None`` for those that are not.
        limits: of the process, ``RLIMIT_AS`` and ``RLIMIT_NOFILE``, on top of what it has.
        named: whether the user has a name, and by it a home.
        patience: seconds that ranks wait for each other, where not the 30 minutes of `torch.distributed`.
    """

    at: int | str | None = None
    how: Literal["wait", "full", "failing"] = "wait"
    environment: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    named: bool = True
    patience: float | None = None


QUIET = Disturbance()
OUTCOMES: dict[tuple[str, str], str] = {}
"""What came of each cell, ``{(fault, command): outcome}``."""
_FULL = 900  # bytes that a file may have on a full disk: what a process says fits


def run_disturbed(words: list[str], place: str, log: str, disturbance: Disturbance) -> None:
    """Run a command; what a forked process does."""
    import resource

    os.chdir(place)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(f"{log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    batches = os.open(f"{log}.batches", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.environ.update({"VDNA_METRICS_HOME": f"{place}/home", "HOME": place})
    for name, value in disturbance.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _give_up_rights()
    if not disturbance.named:

        def nobody(number: int) -> None:
            raise KeyError(number)

        pwd.getpwuid = nobody  # type: ignore[assignment]
    if disturbance.patience is not None:
        join, patience = torch.distributed.init_process_group, timedelta(seconds=disturbance.patience)
        torch.distributed.init_process_group = partial(join, timeout=patience)
    happen = _happening(disturbance, log)
    _listen(disturbance.at, happen, batches)
    for name, value in disturbance.limits.items():
        if name == "RLIMIT_AS":
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        else:
            value += len(os.listdir("/proc/self/fd"))
        resource.setrlimit(getattr(resource, name), (value, value))
    sys.argv = ["vdna-metrics", *words]
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    from vdna_metrics.cli import main

    main()


def _give_up_rights() -> None:
    """Root is as other users then: modes of files are for it too."""
    head, none = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None, use_errno=True).capset(head, none) == 0, os.strerror(ctypes.get_errno())


def _happening(disturbance: Disturbance, log: str) -> Callable[[], None]:
    import resource

    def happen() -> None:
        if disturbance.how == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL, _FULL))
        elif disturbance.how == "failing":

            def fail(_: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            os.fsync = fail
        else:
            Path(f"{log}.there").touch()
            while not os.path.exists(f"{log}.go"):
                time.sleep(0.01)

    return happen


def _listen(at: int | str | None, happen: Callable[[], None], batches: int) -> None:
    """Keep a checkpoint after each batch, count them, and let it happen."""
    from helpers.commands import put_small_networks

    from vdna_metrics.build.passes import Checkpoint
    from vdna_metrics.extractors.network import FeatureExtractor
    from vdna_metrics.leaderboard import scoring

    put_small_networks(pytest.MonkeyPatch())
    Checkpoint.is_due = lambda *_, **__: True  # type: ignore[method-assign]
    forward, move, seen = FeatureExtractor.from_resized, os.replace, [0]

    def count(self: FeatureExtractor, images: Any) -> Any:
        os.write(batches, b".")
        seen[0] += 1
        if seen[0] == at:
            happen()
        return forward(self, images)

    def replace(source: Any, target: Any, **how: Any) -> None:
        if isinstance(at, str) and os.path.basename(target).startswith(at):
            happen()
        move(source, target, **how)

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Then:
            return cls(2020, 1, 1, tzinfo=tz)

    FeatureExtractor.from_resized = count  # type: ignore[method-assign]
    os.replace = replace
    scoring.datetime = Then  # type: ignore[misc, attr-defined]


class Running:
    """A command that runs.

    Args:
        words: of the command line.
        place: its working folder.
        disturbance: what is to happen.
    """

    all: ClassVar[list[Running]] = []

    def __init__(self, words: tuple[str, ...], place: Path, disturbance: Disturbance = QUIET) -> None:
        Running.all.append(self)
        self._log = place / "logs" / str(len(Running.all))
        arguments = list(words), str(place), str(self._log), disturbance
        context = multiprocessing.get_context("forkserver")
        self.process: ForkServerProcess = context.Process(target=run_disturbed, args=arguments)
        self.process.start()

    def wait_until_there(self) -> None:
        """Wait until it waits."""
        end = time.monotonic() + PATIENCE
        while not self._log.with_name(f"{self._log.name}.there").exists():
            assert self.process.is_alive(), f"it ended before: {self.finish()}"
            assert time.monotonic() < end
            time.sleep(0.01)

    def go(self) -> None:
        """Let it go on."""
        self._log.with_name(f"{self._log.name}.go").touch()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def finish(self) -> tuple[int, str]:
        """Wait for its end; its exit code and what it said on the error stream."""
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            raise AssertionError(f"it hangs: {self.errors}")
        assert self.process.exitcode is not None
        return self.process.exitcode, self.errors

    @property
    def errors(self) -> str:
        """What it said on the error stream."""
        return self._log.with_name(f"{self._log.name}.errors").read_text()

    @property
    def batches(self) -> int:
        """How often it ran the network."""
        return self._log.with_name(f"{self._log.name}.batches").stat().st_size


def prepare(place: Path) -> Path:
    """What commands read, and where they write."""
    from helpers.commands import put_small_networks, run, small_images, write_folder

    with pytest.MonkeyPatch.context() as patch:
        put_small_networks(patch)
        patch.chdir(place)
        patch.setenv("VDNA_METRICS_HOME", str(place / "home"))
        write_folder(Path("real"), small_images(12, 0))
        write_folder(Path("fake"), small_images(8, 1))
        run("calibrate", "real", "-o", "ranges.npz", "--extractor", "tiny")
        run("references", "import", "ranges.npz", "--name", "tiny")
        run("references", "build", "real", "--name", "cats/train", "--extractor", "tiny", "--kinds", "gaussian")
    for name in ("out", "logs"):
        (place / name).mkdir()
    return place


def left(place: Path) -> dict[str, bytes]:
    """All files that a command left, by name; not what a killed one had begun to write under a hidden name."""
    names = [
        path.relative_to(place / "out").as_posix() for path in sorted((place / "out").rglob("*")) if path.is_file()
    ]
    return {name: (place / "out" / name).read_bytes() for name in names if not _BEGUN.search(name)}
