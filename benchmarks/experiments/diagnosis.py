"""Whether a diagnosis is right: sets of photographs with one planted fault, with two, and with none, named blindly.

    python benchmarks/experiments/diagnosis.py

Thresholds were chosen on the boards of `_diagnosis_development.py` (photographs of ImageNet, CIFAR-10's training
images), again after each of four runs on held-out boards, whose ways to make faults are now among the development
boards'. These boards, of the fifth run, have images of CIFAR-10's test set that no run had, strips of BSDS500's
photographs that no run had, and other ways to make each fault, in three severities each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from _common import Experiment, begin, markdown_table
from _planted import (
    HELD_OUT,
    Board,
    Diagnosed,
    diagnose_board,
    is_right,
    make_board,
    mixed_in_words,
    named,
    single,
    strip,
    tally,
)

FAULTS = ("none", "blur", "noise", "compression", "colour", "resized", "collapse", "copies", "repeats")
WORDS = {
    "none": "no fault", "compression": "JPEG, WEBP", "colour": "colour cast", "collapse": "missing kinds",
    "resized": "resized from smaller",
}  # fmt: skip


def main() -> None:
    experiment = begin(__file__, __doc__)
    found = {board.name: diagnose_board(experiment, board) for board in boards(experiment)}
    experiment.write_section(describe(experiment, found), page="diagnosis.md")


def boards(experiment: Experiment) -> Iterator[Board]:
    """Those that were held out."""
    make = partial(make_board, experiment, ways=HELD_OUT)
    yield make("CIFAR-10, test images", experiment.open("cifar10_jpeg_test.zip"), 500, n=150, seed=4, after=6800)
    yield make("BSDS500, strips", experiment.open("bsds500.zip"), 300, n=100, part=strip, seed=8)


def describe(experiment: Experiment, found: Mapping[str, Diagnosed]) -> str:
    """The page's part."""
    told = [each for some in found.values() for each in some]
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            _boards_table(found),
            "One fault or none: rows are what was planted, columns what was named.",
            _confusion(told),
            "Right ones by how the fault was made, and its severity:",
            _by_kind(told),
            f"Two faults at once: {mixed_in_words(told)}",
        ]
    )


def _boards_table(found: Mapping[str, Diagnosed]) -> str:
    rows = [[name, *tally(told)] for name, told in found.items()]
    rows.append(["**all**", *tally([each for told in found.values() for each in told])])
    return markdown_table(["held-out board", "right", "false alarms"], rows)


def _confusion(told: Diagnosed) -> str:
    counts: dict[str, Counter[str]] = {fault: Counter() for fault in FAULTS}
    for planted, diagnosis in single(told):
        found = sorted(named(diagnosis)) or ["none"]
        counts[next(iter(planted.faults), "none")][found[0] if len(found) == 1 else "several"] += 1
    columns = [*FAULTS, "several"]
    rows = [
        [WORDS.get(fault, fault), *(f"{row[column]}" if row[column] else "" for column in columns)]
        for fault, row in counts.items()
    ]
    return markdown_table(["", *(WORDS.get(column, column) for column in columns)], rows)


def _by_kind(told: Diagnosed) -> str:
    counts: dict[tuple[str, str], list[list[bool]]] = {}
    for planted, diagnosis in single(told):
        if planted.faults:
            key = next(iter(planted.faults)), planted.kind
            severities = counts.setdefault(key, [[], [], []])
            severities[planted.severity].append(is_right(planted, diagnosis))
    rows = [
        [WORDS.get(fault, fault), kind, *(f"{sum(each)} of {len(each)}" for each in severities)]
        for (fault, kind), severities in counts.items()
    ]
    return markdown_table(["fault", "made by", "mild", "middle", "severe"], rows, words=2)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
