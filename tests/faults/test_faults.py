"""Faults x commands: nothing loads wrong, nothing finished is lost, and the re-run equals an undisturbed run.

The cells in `CI` are run always, all of them by ``FAULTS=all`` (``make faults``).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
from helpers.faults import COMMANDS, OUTCOMES, QUIET, Disturbance, Running, left, prepare, start_server
from helpers.file_server import file_server

from vdna_metrics.files import read_header
from vdna_metrics.leaderboard import Leaderboard, leaderboard_differences, load_leaderboard
from vdna_metrics.references.adding import verify_store

HALF = {"make": 4, "calibrate": 8, "build": 4, "leaderboard": 8, "publish": "cats-train"}
"""Where the middle of each is: a batch of its second pass or set, or its first file."""
WRITTEN = {
    "make": ("out",),
    "calibrate": ("out",),
    "build": ("out", "out/store", "out/store/dnas"),
    "leaderboard": ("out", "out/report", "out/report/figures", "out/report/dnas", "out/report/index.html/"),
    "publish": ("out", "out/shared", "out/shared/dnas"),
}
"""Folders that each writes to; one that ends in "/" lies where a file is to be."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits processes as Linux does")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What commands read."""
    start_server()
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """A working folder; what still runs there when a cell fails is ended."""
    yield shutil.copytree(prepared, tmp_path / "place")
    for running in Running.all:
        running.process.kill()


WHOLE: dict[str, tuple[dict[str, bytes], int]] = {}
"""What an undisturbed run of each leaves, and its batches."""


def _whole(name: str, prepared: Path) -> tuple[dict[str, bytes], int]:
    if name not in WHOLE:
        with TemporaryDirectory(prefix="faults-") as folder:
            place = shutil.copytree(prepared, Path(folder, "place"))
            running = Running(COMMANDS[name].words, place)
            assert running.finish()[0] == 0, running.errors
            WHOLE[name] = left(place), running.batches
    return WHOLE[name]


class Cell:
    """A command in its place, and what an undisturbed run leaves.

    Args:
        name: of the command.
        place: its working folder.
        prepared: what places are copies of.
    """

    def __init__(self, name: str, place: Path, prepared: Path) -> None:
        self.name, self.place, self.command = name, place, COMMANDS[name]
        self.files, self.batches = _whole(name, prepared)

    def start(self, disturbance: Disturbance = QUIET, *more: str) -> Running:
        """Start the command with something that is to happen to it."""
        return Running((*self.command.words, *more), self.place, disturbance)

    def check(self, running: Running, *codes: int, says: str = "") -> str:
        """Its end is one of these exit codes, told in a few words, and what there is can be used; the outcome."""
        code, errors = running.finish()
        assert code in codes, (code, errors)
        for never in ("Traceback", "This should not happen"):
            assert never not in errors, errors
        assert says in errors, errors
        self.check_files()
        return "done" if code == 0 else "refused" if not running.batches and code == 1 else f"exit {code}"

    def check_files(self) -> None:
        """Each file that is there under its name is whole; a result is that of an undisturbed run."""
        there = left(self.place)
        for name, content in there.items():
            if not Path(name).name.startswith("."):
                if name.endswith(".npz"):
                    read_header(self.place / "out" / name)
                if name in self.files and not name.endswith("manifest.json"):
                    assert content == self.files[name], name
        out = self.place / "out"
        if (out / "report/leaderboard.json").exists():
            load_leaderboard(out / "report/leaderboard.json")
        for store in out.glob("*/manifest.json"):
            assert {problem for _, problem in verify_store(store.parent)} == {None}

    def again(self, at_most: int | None = None) -> str:
        """The same command, undisturbed, leaves what an undisturbed run does, with no more batches than these."""
        running = self.start()
        code, errors = running.finish()
        assert code == 0, errors
        there = left(self.place)
        assert there.keys() == self.files.keys(), (there.keys() ^ self.files.keys(), errors)
        assert [name for name in there if there[name] != self.files[name]] == []
        if at_most is not None and self.command.pass_:
            assert running.batches <= at_most, "what was done is done again"
        return f"again {running.batches} of {self.batches} batches" if self.command.pass_ else "again"


def _stop_in_the_middle(cell: Cell, number: int, *codes: int) -> str:
    running = cell.start(Disturbance(at=HALF[cell.name]))
    running.wait_until_there()
    running.signal(number)
    running.go()
    found = cell.check(running, *codes)
    half = HALF[cell.name]
    return f"{found}, {cell.again(cell.batches - half + 1 if isinstance(half, int) else None)}"


def kill(cell: Cell) -> str:
    """`kill -9` in the middle: what was kept is used."""
    return _stop_in_the_middle(cell, signal.SIGKILL, -signal.SIGKILL)


def terminate(cell: Cell) -> str:
    """SIGTERM in the middle, likewise."""
    return _stop_in_the_middle(cell, signal.SIGTERM, -signal.SIGTERM, 143, 130)


def full_disk(cell: Cell) -> str:
    """From the middle on files are cut: the file is named, and what was kept before serves."""
    running = cell.start(Disturbance(at=HALF[cell.name], how="full"))
    return f"{cell.check(running, 1, says='out/')}, {cell.again(cell.batches)}"


def failing_disk(cell: Cell) -> str:
    """From the middle on the system has no room: likewise."""
    running = cell.start(Disturbance(at=HALF[cell.name], how="failing"))
    return f"{cell.check(running, 1, says='out/')}, {cell.again(cell.batches)}"


def read_only(cell: Cell) -> str:
    """What is to be written to is looked at before the first batch."""
    for name in WRITTEN[cell.name]:
        path = cell.place / name
        made = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.chmod(0o555)
        running = cell.start()
        found = cell.check(running, 1, says=path.name)
        assert found == "refused", f"{name}: noticed after {running.batches} batches"
        path.chmod(0o755)
        for each in made:
            each.rmdir()
    return f"refused, {cell.again()}"


def dead_worker(cell: Cell) -> str | None:
    """A process that decodes is killed: an error that says so, no wait without end."""
    if not cell.command.pass_:
        return None
    # Of twelve batches two workers are given six when the first is there, so that each is needed again.
    running = cell.start(Disturbance(at=1), "--workers", "2", "--batch-size", "1")
    running.wait_until_there()
    worker = psutil.Process(running.process.pid).children()[0]
    worker.kill()
    running.go()
    return f"{cell.check(running, 1, says='worker')}, {cell.again(cell.batches)}"


def _ranks(cell: Cell, *disturbances: Disturbance) -> list[Running]:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    names = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    return [
        cell.start(replace(each, environment={**names, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
        for rank, each in enumerate(disturbances)
    ]


def dead_rank(cell: Cell) -> str | None:
    """One of two ranks is killed: the other ends with an error, and two ranks go on from what both kept."""
    if not cell.command.ranks:
        return None
    first, second = _ranks(cell, QUIET, Disturbance(at=2))
    second.wait_until_there()
    second.signal(signal.SIGKILL)
    assert second.finish()[0] == -signal.SIGKILL
    found = cell.check(first, 1)
    for rank in (again := _ranks(cell, QUIET, QUIET)):
        assert rank.finish()[0] == 0, rank.errors
    resumed = left(cell.place)
    shutil.rmtree(cell.place / "out")
    (cell.place / "out").mkdir()
    for rank in (whole := _ranks(cell, QUIET, QUIET)):
        assert rank.finish()[0] == 0, rank.errors
    assert resumed == left(cell.place)
    done, of = (sum(rank.batches for rank in ranks) for ranks in (again, whole))
    return f"{found}, again {done} of {of} batches"


def bad_image_of_a_rank(cell: Cell) -> str | None:
    """The last image, which the second of two ranks reads, is none: that one names it, the other ends too."""
    if not cell.command.ranks:
        return None
    (cell.place / "real" / "011.png").write_bytes(b"no image")
    first, second = _ranks(cell, QUIET, QUIET)
    found = cell.check(second, 1, says="011.png")
    cell.check(first, 1, says="another rank has ended, and says why")
    return found


def terminated_ranks(cell: Cell) -> str | None:
    """SIGTERM to both of two ranks: what each kept is used, of a leaderboard to the numbers of one process."""
    if not cell.command.ranks:
        return None
    ranks = _ranks(cell, *[Disturbance(at=2)] * 2)
    for rank in ranks:
        rank.wait_until_there()
        rank.signal(signal.SIGTERM)
    for rank in ranks:
        rank.go()
    found = [cell.check(rank, 130) for rank in ranks]
    for rank in (again := _ranks(cell, QUIET, QUIET)):
        assert rank.finish()[0] == 0, rank.errors
    if cell.name == "leaderboard":
        made = load_leaderboard(cell.place / "out/report/leaderboard.json")
        alone = Leaderboard.from_json(json.loads(cell.files["report/leaderboard.json"]))
        assert leaderboard_differences(alone, made, tolerance=1e-9) == []
    done = sum(rank.batches for rank in again)
    assert done <= cell.batches - 4, "what was done is done again"
    return f"{found[0]}, again {done} of {cell.batches} batches"


def hung_rank(cell: Cell) -> str | None:
    """One of two ranks hangs: the other ends with an error when it has waited for long enough."""
    if not cell.command.ranks:
        return None
    first, second = _ranks(cell, Disturbance(patience=30), Disturbance(at=2, patience=30))
    second.wait_until_there()
    second.signal(signal.SIGSTOP)
    found = cell.check(first, 1)
    second.signal(signal.SIGKILL)
    assert second.finish()[0] == -signal.SIGKILL
    return found


def _several(cell: Cell, number: int) -> str:
    running = [cell.start() for _ in range(number)]
    for each in running:
        cell.check(each, 0)
    return f"all done, {cell.again()}"


def two_at_once(cell: Cell) -> str:
    """Two processes with one output."""
    return _several(cell, 2)


def five_at_once(cell: Cell) -> str:
    """Five processes with one output."""
    return _several(cell, 5)


def few_files(cell: Cell) -> str:
    """A process that may open few files ends well, or says so."""
    found = cell.check(cell.start(Disturbance(limits={"RLIMIT_NOFILE": 6})), 0, 1)
    return f"{found}, {cell.again()}"


def little_memory(cell: Cell) -> str:
    """A process that may have little memory ends well, or says so."""
    found = cell.check(cell.start(Disturbance(limits={"RLIMIT_AS": 64 << 20})), 0, 1)
    return f"{found}, {cell.again()}"


def no_home(cell: Cell) -> str:
    """A user without a home or a name needs none."""
    names = ("HOME", "VDNA_METRICS_HOME", "XDG_CACHE_HOME", "USER", "LOGNAME")
    environment = {**dict.fromkeys(names), "VDNA_METRICS_STORES": "home/reference_stats"}
    found = cell.check(cell.start(Disturbance(environment=environment, named=False)), 0)
    there = left(cell.place)
    assert there == cell.files
    return found


def dropped_connection(cell: Cell) -> str | None:
    """A store at an address whose first answers are cut is read to the end."""
    if cell.name in ("calibrate", "leaderboard"):  # read no store
        return None
    with file_server() as server:
        home = cell.place / "home/reference_stats"
        for path in home.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                server.serve(path.relative_to(home).as_posix(), path.read_bytes(), cuts=[20, 100])
        environment = {
            "VDNA_METRICS_HOME": f"{cell.place}/empty",
            "VDNA_METRICS_STORES": server.address,
            "no_proxy": "*",
        }
        return cell.check(cell.start(Disturbance(environment=environment)), 0)


FAULTS: dict[str, Callable[[Cell], str | None]] = {
    each.__name__: each
    for each in (
        kill, terminate, full_disk, failing_disk, read_only, dead_worker, dead_rank, bad_image_of_a_rank,
        terminated_ranks, hung_rank, two_at_once, five_at_once, few_files, little_memory, no_home, dropped_connection,
    )
}  # fmt: skip
CI = {
    ("kill", "make"),
    ("kill", "publish"),
    ("terminate", "leaderboard"),
    ("full_disk", "build"),
    ("failing_disk", "calibrate"),
    *(("read_only", name) for name in COMMANDS),
    ("dead_worker", "make"),
    ("dead_rank", "make"),
    ("dead_rank", "leaderboard"),
    ("bad_image_of_a_rank", "leaderboard"),
    ("terminated_ranks", "leaderboard"),
    ("two_at_once", "build"),
    ("no_home", "make"),
}
TABLE = [(fault, command) for fault in FAULTS for command in COMMANDS]


@pytest.mark.parametrize(
    ("fault", "command"), [cell for cell in TABLE if cell in CI or os.environ.get("FAULTS") == "all"]
)
def test_a_command_survives(fault: str, command: str, place: Path, prepared: Path) -> None:
    """Nothing loads wrong, nothing finished is lost, no traceback, and the re-run equals an undisturbed run."""
    outcome = "fails"
    try:
        outcome = FAULTS[fault](Cell(command, place, prepared)) or "-"
    finally:
        OUTCOMES[fault, command] = outcome
