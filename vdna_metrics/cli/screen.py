"""Progress, tables and messages."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from vdna_metrics.text import printable

if TYPE_CHECKING:
    from vdna_metrics.build.reading import Reading
    from vdna_metrics.images.sources import ImageSource

Report = Callable[[int, "int | None"], None]  # images done, images in all
_NUMBER = re.compile(r"[-−]?[0-9.]+(e[-−+]?[0-9]+)?|nan|inf")
StartBar = Callable[[str, int], Report]  # what to call it, images in all


def is_main() -> bool:
    """Whether this process prints and writes: rank 0 under torchrun, any other one."""
    return os.environ.get("RANK", "0") == "0"


def watched(reading: Reading, start: StartBar, name: str, images: ImageSource) -> Reading:
    """Reading with a bar."""
    return replace(reading, progress=start(name, len(images)))


@contextmanager
def progress_bars() -> Iterator[StartBar]:
    """Bars on the error stream: images done, images a second, time left. Where that is not a terminal, a line each."""
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    def log(name: str, _total: int) -> Report:
        name, begin = printable(name), time.monotonic()

        def report(done: int, total: int | None) -> None:
            if done == total:
                speed = done / (time.monotonic() - begin)
                say(f"{name}: {done} images, {speed:.1f} images/s")

        return report

    class Speed(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            seconds = task.finished_time or task.elapsed
            return Text(f"{task.completed / seconds:.1f} images/s" if task.completed and seconds else "")

    console = Console(stderr=True)
    if not console.is_terminal or not is_main():
        yield log
        return
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(),
        Speed(),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
    )
    with progress.Progress(*columns, console=console) as bars:

        def draw(name: str, total: int) -> Report:
            # The end of a path tells more than its beginning.
            name = printable(name)
            task = bars.add_task(name if len(name) <= 28 else f"…{name[-27:]}", total=total)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield draw


def report_download() -> Callable[[str, int, int | None], None]:
    """A line each tenth of a file, which goes together with bars and with logs."""
    said: dict[str, int] = {}

    def report(name: str, done: int, total: int | None) -> None:
        tenth = 10 * done // total if total else done // 100_000_000
        if said.get(name) != tenth:
            said[name] = tenth
            size = f"{done / 1e6:.0f} of {total / 1e6:.0f}" if total else f"{done / 1e6:.0f}"
            say(f"downloading {name}: {size} MB")

    return report


def say(*lines: str) -> None:
    """To the error stream, where rich keeps it apart from its bars (click's `echo` would write into them)."""
    for line in lines if is_main() else ():
        print(printable(line), file=sys.stderr, flush=True)


def tell(*lines: str, bold: bool = False) -> None:
    """Of a result, to the output; names make no further lines."""
    for line in lines:
        click.secho(printable(line), bold=bold)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A title, names of columns, and rows, no wider than the terminal."""
    cells = [[number(cell) if isinstance(cell, float) else printable(str(cell)) for cell in row] for row in rows]
    widest = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    numeric = [all(map(_NUMBER.fullmatch, filter(None, column))) for column in zip(*cells, strict=True)]
    # Numbers and short names are never folded, however narrow the terminal. The room that they leave goes first to
    # those that want least.
    widths = [wide if number else min(wide, 16) for wide, number in zip(widest, numeric, strict=True)]
    wanted = [max(len(column), wide) - width for column, wide, width in zip(columns, widest, widths, strict=True)]
    # A pipe has no width of its own: nothing is folded there, unless it is given one.
    terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    room = shutil.get_terminal_size().columns if terminal else sys.maxsize
    room = max(0, room - 3 * (len(columns) - 1) - sum(widths))
    for left, place in enumerate(sorted(range(len(columns)), key=wanted.__getitem__)):
        given = min(wanted[place], room // (len(columns) - left))
        widths[place] += given
        room -= given
    tell(title, bold=True)
    tell("")
    for row in (columns, *cells):
        folded = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        height = max(map(len, folded))
        # Names of columns stand on the rule, those of rows begin beside their numbers.
        filled = [[""] * (height - len(cell)) + cell if row is columns else cell for cell in folded]
        for line in zip_longest(*filled, fillvalue=""):
            aligned = [
                f"{part:{'>' if n else '<'}{width}}" for part, width, n in zip(line, widths, numeric, strict=True)
            ]
            tell("   ".join(aligned).rstrip())
        if row is columns:
            rule = "─" if (sys.stdout.encoding or "").lower().startswith("utf") else "-"
            tell(rule * (sum(widths) + 3 * (len(columns) - 1)))
    tell("")


def number(value: float) -> str:
    """Four figures, thousands in full."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:#.4g}".removesuffix(".")


def print_by_layer(title: str, names: Sequence[str], parts: Sequence[Mapping[str, float]]) -> None:
    """A row a layer, a column a set."""
    print_table(title, ["layer", *names], [[layer, *(part[layer] for part in parts)] for layer in parts[0]])


def print_by_neuron(title: str, names: Sequence[str], parts: Sequence[Any], neurons: Mapping[str, Any]) -> None:
    """A row a neuron, a column a set; of layers of which some neurons are looked at, their indices are given."""
    rows: list[list[Any]] = []
    for layer, first in parts[0].items():
        columns = zip(neurons.get(layer, range(len(first))), *(part[layer] for part in parts), strict=True)
        rows += ([layer, *row] for row in columns)
    print_table(title, ["layer", "neuron", *names], rows)


def print_lines(lines: Mapping[str, str]) -> None:
    """What there is to tell of one thing, folded; an address is to be copied, so it is not."""
    wide = max(map(len, lines)) + 2
    for title, text in lines.items():
        line = f"{title:{wide}}{text}"
        folded = textwrap.wrap(line, 100, subsequent_indent=" " * wide, break_on_hyphens=False)
        tell(*folded if " " in text else [line])


def print_json(value: Any) -> None:
    """Plain containers as JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # names that are no text, or a terminal that knows few letters
        text = json.dumps(value, indent=2, allow_nan=False)
    click.echo(text)
