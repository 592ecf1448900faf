"""What all fuzzers share: how many cases, a limit on memory, a watchdog, and a table of what came of them.

``FUZZ_CASES`` is the number of cases of each fuzzer, which ``make fuzz`` raises; another ``FUZZ_SEED`` takes others.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

_CASES = int(os.environ.get("FUZZ_CASES", "15"))
_MEMORY = 2 << 30  # bytes that a case may take beyond what the process has
_SECONDS = 20  # of this process's own time, so that a slow machine is no hang

_SETTINGS = settings(
    max_examples=_CASES, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
OUTCOMES: Counter[tuple[str, str]] = Counter()


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """Give a test as many cases as are asked for, the same each time."""
    return seed(int(os.environ.get("FUZZ_SEED", "0")))(_SETTINGS(test))


class HangError(BaseException):
    """A case took too long; no handler of errors takes it for one."""


def _stop(*_: object) -> None:
    raise HangError(f"a case took more than {_SECONDS} seconds of this process")


@contextmanager
def bounded() -> Iterator[None]:
    """Limits on memory and time."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    handler = signal.signal(signal.SIGVTALRM, _stop)
    faulthandler.dump_traceback_later(30 * _SECONDS, exit=True)  # where no signal is looked at
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (now + _MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGVTALRM, handler)


def outcome(fuzzer: str, read: Callable[[], Any], name: str, others: tuple[type[Exception], ...] = ()) -> Any:
    """Do what a case is, count what came of it, and return what was read, ``None`` where it was refused.

    Args:
        fuzzer: row of the table.
        read: reads what somebody made.
        name: that an error has to hold.
        others: classes of errors that are right too, with those below them.

    Raises:
        AssertionError: for an error of another class than `ValueError`, one that does not name the file, one because
            there was no memory, and an error too long to read.
    """
    caught: Exception | None = None
    found = None
    try:
        with bounded():
            found = read()
    except Exception as error:  # judged below
        caught = error
    OUTCOMES[fuzzer, "read" if caught is None else _class_of(str(caught))] += 1
    if caught is not None:
        text, cause = str(caught), caught.__cause__
        assert type(caught) is ValueError or isinstance(caught, others), f"{fuzzer}: {type(caught).__name__}: {text}"
        while cause is not None:
            assert not isinstance(cause, MemoryError), f"{fuzzer}: more than {_MEMORY} bytes: {text}"
            cause = cause.__cause__
        assert not name or text.count(name) == 1, f"{fuzzer}: the error does not name {name} once: {text}"
        assert len(text) < 2000, f"{fuzzer}: an error of {len(text)} characters: {text[:400]}"
    return found


def _class_of(text: str) -> str:
    words = ("changed after", "no header of ours", "damaged", "is refused", "expected JSON", "the fields", "the arrays",
             "schema", "member", "finite", "expected")  # fmt: skip
    return "refused: " + next((word for word in words if word in text), "other")
