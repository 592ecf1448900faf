"""Pairs of generators on which the networks of a leaderboard disagree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import DisputeRecord, PairRecord

Columns = Sequence[tuple[str, str]]
"""Network and metric of each."""


def find_disputes(pairs: Sequence[PairRecord]) -> tuple[DisputeRecord, ...]:
    """Pairs that a distance in one network puts in one order, beyond chance, and in another network in the other.

    Distances that disagree are left out, whose doing it is: a column is contradicted by one of the same distance alone,
    as ``fid`` by ``fd_dinov2``. Disputes that are beyond chance on both sides come first, then those of more columns.

    Args:
        pairs: differences of a leaderboard's generators.

    Examples:
        >>> pairs = [PairRecord("x", "y", "one", "emd", -1.0, -1.5, -0.5, 0.01, False, False),
        ...          PairRecord("y", "x", "other", "emd", -0.1, -0.4, 0.2, 0.8, False, True)]
        >>> find_disputes(pairs)
        (DisputeRecord(a='x', b='y', better=(('one', 'emd'),), worse=(), doubtful=(('other', 'emd'),)),)
    """
    orders: dict[tuple[str, str], dict[tuple[str, bool], list[tuple[str, str]]]] = {}
    for pair in pairs:
        best = find_column(pair.metric).sort_key(pair.difference)
        if best == 0:
            continue
        first, second = (pair.a, pair.b) if best < 0 else (pair.b, pair.a)
        a, b = sorted((first, second))
        orders.setdefault((a, b), {}).setdefault((first, not pair.tied), []).append((pair.network, pair.metric))
    found = []
    for names, of in orders.items():
        sure = {name: of.get((name, True), []) for name in names}
        a, b = sorted(names, key=lambda name: -len(sure[name]))
        for one, other in ((a, b), (b, a)):
            better, worse, doubtful = _across(sure[one], sure[other], of.get((other, False), []))
            if better:
                found.append(DisputeRecord(one, other, better, worse, doubtful))
                break
    return tuple(sorted(found, key=lambda each: (not each.worse, -len(each.better) - len(each.worse))))


def _across(better: Columns, worse: Columns, doubtful: Columns) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Those of each side that the same distance in another network contradicts."""
    found = [pair for pair in product(better, [*worse, *doubtful]) if _contradict(*pair)]
    mine, yours = {pair[0] for pair in found}, {pair[1] for pair in found}
    sides = ((better, mine), (worse, yours), (doubtful, yours))
    return tuple(tuple(column for column in side if column in kept) for side, kept in sides)


def _contradict(mine: tuple[str, str], yours: tuple[str, str]) -> bool:
    distances = {find_column(metric).distance.name for _, metric in (mine, yours)}
    return mine[0] != yours[0] and len(distances) == 1
