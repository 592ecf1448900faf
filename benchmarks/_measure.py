"""Contestants in turn, and what is told of them: shared by the scripts beside this one."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

_MARGIN = 4.0  # small sizes, one repeat and other machines


class Clocks(NamedTuple):
    """What each repeat took."""

    seconds: list[float]
    processor: list[float]
    """Seconds of all threads, which other work on the machine disturbs little."""


def options(doc: str | None, quick: str, repeats: int) -> argparse.ArgumentParser:
    """`--quick`, `--repeats` and `--json`, to which a script adds its own."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{quick}, for CI")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to write the numbers of all repeats besides")
    return parser


def interleaved(
    contestants: Mapping[str, Callable[[], object]], repeats: int, *, pause: float = 0.02
) -> dict[str, Clocks]:
    """What each contestant took, one after the other in every repeat, after a round that is not counted.

    A disturbance of the machine falls on all alike. The pause lets the threads of the one before stop spinning.
    """
    clocks = {name: Clocks([], []) for name in contestants}
    for repeat in range(repeats + 1):
        for name, run in contestants.items():
            time.sleep(pause if repeat else 0)
            start, processor = time.perf_counter(), time.process_time()
            run()
            if repeat:
                clocks[name].processor.append(time.process_time() - processor)
                clocks[name].seconds.append(time.perf_counter() - start)
    return clocks


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Minimum, median and maximum."""
    values = list(values)
    return min(values), median(values), max(values)


def ratios(times: list[float], others: list[float]) -> tuple[float, float, float]:
    """`spread` of the ratios of a contestant to another, repeat by repeat."""
    return spread(one / other for one, other in zip(times, others, strict=True))


def machine() -> dict[str, Any]:
    """What a figure depends on besides the code."""
    packages = {name: version(name) for name in ("torch", "numpy", "torchmetrics", "vdna_metrics")}
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    } | packages


def title() -> str:
    """The machine in one line."""
    facts = machine()
    return f"{facts['processor']}, {facts['threads']} threads, torch {facts['torch']}"


def write_json(path: Path | None, rows: object) -> None:
    """Rows of a table with the machine, where a path is given."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


def beside_stored(script: str, found: Mapping[str, float]) -> None:
    """Print ratios of a `--quick` run beside those of `stored.json`: for people; no run fails by them.

    With `BENCHMARKS_STORE=1` in the environment the ratios are stored instead.
    """
    path = Path(__file__).with_name("stored.json")
    stored: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if os.environ.get("BENCHMARKS_STORE") == "1":
        stored[Path(script).stem] = {what: round(ratio, 2) for what, ratio in found.items()}
        path.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return
    for what, ratio in found.items():
        before = stored.get(Path(script).stem, {}).get(what)
        if before is None:
            print(f"guard: {what}: {ratio:.2f}, nothing stored")
            continue
        within = 1 / _MARGIN <= ratio / before <= _MARGIN
        print(
            f"guard: {what}: {ratio:.2f}, stored {before:.2f}{'' if within else f': MORE THAN {_MARGIN:g} TIMES APART'}"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
