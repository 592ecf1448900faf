"""Which sets of images are training runs of one generator, or its checkpoints, and what follows for its interval."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from vdna_metrics.analysis.uncertainty import JackknifedDistance, average_runs, between_runs, rank_intervals
from vdna_metrics.dna.columns import Column
from vdna_metrics.leaderboard.record import PairRecord, RunsRecord, run_label

_NAME = re.compile(r"(?P<generator>.+?)(@(?P<number>\d+(\.\d+)?)(?P<unit>[kKmM]?))?(?P<run> \(run \d+\))?", re.DOTALL)
_UNITS = {"": 1, "k": 1e3, "m": 1e6}


@dataclass(frozen=True)
class Run:
    """Of which generator a set of images is, and after how many training steps.

    Args:
        generator: its name.
        step: of the checkpoint; ``None`` where the name says none.
    """

    generator: str
    step: float | None = None

    @property
    def label(self) -> str:
        """What its runs are called together."""
        return run_label(self.generator, self.step)


def run_of(name: str) -> Run:
    """What the name of a set of images says: ``"GENERATOR@STEP (run N)"``, of which the last two may be missing.

    Examples:
        >>> run_of("ours"), run_of("ours (run 2)"), run_of("ours@10k (run 1)")
        (Run(generator='ours', step=None), Run(generator='ours', step=None), Run(generator='ours', step=10000.0))
    """
    match = _NAME.fullmatch(name)
    assert match is not None
    if match["number"] is None:
        return Run(match["generator"])
    return Run(match["generator"], float(match["number"]) * _UNITS[match["unit"].lower()])


def number_runs(names: Sequence[str]) -> list[str]:
    """Names of sets, of which those that are alike get the number of their run.

    Examples:
        >>> number_runs(["ours", "theirs", "ours", "ours@10k", "ours@10k"])
        ['ours (run 1)', 'theirs', 'ours (run 2)', 'ours@10k (run 1)', 'ours@10k (run 2)']
    """
    return [
        f"{name} (run {names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def have_runs(names: Sequence[str]) -> bool:
    """Whether some of the sets are several runs, or several checkpoints, of one generator."""
    generators = [run_of(name).generator for name in names]
    return len(set(generators)) < len(generators)


def run_records(
    column: Column, network: str, distances: Mapping[str, JackknifedDistance], confidence: float
) -> tuple[list[RunsRecord], list[PairRecord]]:
    """Each generator's mean over runs, and differences between generators of which runs are the sample.

    Of a series of checkpoints the last one is compared with other generators.

    Args:
        column: the distance.
        network: name of the network.
        distances: ``{set: distance with error bars}``.
        confidence: of intervals.

    Returns:
        A record for each generator and checkpoint, and one for each two generators; neither where no generator has
        several runs or checkpoints.
    """
    if not have_runs(list(distances)):
        return [], []
    sets: dict[Run, list[str]] = {}
    for name in distances:
        sets.setdefault(run_of(name), []).append(name)
    runs = {run: [distances[name] for name in names] for run, names in sets.items()}
    between = between_runs(list(runs.values()))
    averages = {run: average_runs(each, distance=column, between=between) for run, each in runs.items()}
    last: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.step or 0.0):
        last[run.generator] = run
    compared = {run.label: averages[run] for run in last.values()}
    pairs, ranks = [], {}
    if len(compared) > 1 and all(each.score.low is not None for each in compared.values()):
        ranking = rank_intervals(compared, confidence=confidence)
        ranks = dict(ranking.ranks)
        for pair in ranking.pairs:
            found = pair.difference.estimate
            # Who has no interval is not compared, so differences have one.
            ends = cast("tuple[float, float, float]", (found.corrected, found.low, found.high))
            pairs.append(PairRecord(pair.a, pair.b, network, column.name, *ends, pair.p_value, False, pair.tied))
    records = []
    for run, names in sets.items():
        own = between_runs([runs[run]])
        records.append(
            RunsRecord(
                generator=run.generator,
                network=network,
                metric=column.name,
                step=run.step,
                sets=tuple(names),
                estimate=averages[run].score,
                between=None if own is None else own.variance**0.5,
                resampling=None if own is None else own.resampling**0.5,
                rank=ranks.get(run.label),
            )
        )
    return records, pairs
