"""Whether columns agree on the order of generators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal


@dataclass(frozen=True)
class Agreement:
    """How far columns put generators in one order.

    Args:
        columns: their names.
        spearman: rank correlations, ``[columns][columns]``; 0 with a column in which all are equal.
        kendall: likewise, Kendall's tau-b.
        notes: a sentence for each two generators whose order is disputed, the most evenly first.
    """

    columns: tuple[str, ...]
    spearman: tuple[tuple[float, ...], ...]
    kendall: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]


def agreement(columns: Mapping[str, Mapping[str, float]]) -> Agreement:
    """Whether metrics and networks agree on the order of generators, and where they do not.

    Args:
        columns: ``{column: {generator: distance}}``, lower is nearer (of one where higher is better,
            what `Column.sort_key` makes of them); at least two columns and generators, the
            same in each.

    Raises:
        ValueError: for fewer, other generators in one column, or a NaN.

    Examples:
        >>> found = agreement({"emd": {"a": 1.0, "b": 2.0, "c": 3.0}, "fid": {"a": 5.0, "b": 4.0, "c": 9.0}})
        >>> found.spearman[0][1], round(found.kendall[0][1], 2)
        (0.5, 0.33)
        >>> found.notes
        ("'a' is nearer than 'b' by emd, farther by fid.",)
    """
    from scipy.stats import kendalltau, spearmanr

    names, generators = tuple(columns), tuple(next(iter(columns.values()), {}))
    if len(names) < 2 or len(generators) < 2:
        raise ValueError(f"agreement needs two columns and two generators, got {len(names)} and {len(generators)}")
    for name, column in columns.items():
        if set(column) != set(generators):
            raise ValueError(f"generators differ: {names[0]} {', '.join(generators)}; {name} {', '.join(column)}")
        if any(value != value for value in column.values()):
            raise ValueError(f"a distance of {name!r} is NaN")
    rows = {name: [column[generator] for generator in generators] for name, column in columns.items()}

    def correlations(statistic: Literal["spearman", "kendall"]) -> tuple[tuple[float, ...], ...]:
        function = spearmanr if statistic == "spearman" else kendalltau

        def of(a: str, b: str) -> float:
            if any(len(set(rows[name])) == 1 for name in (a, b)):
                return 0.0
            return 1.0 if a == b else float(function(rows[a], rows[b]).statistic)

        return tuple(tuple(of(a, b) for b in names) for a in names)

    notes = []
    for a, b in combinations(generators, 2):
        nearer = [name for name in names if columns[name][a] < columns[name][b]]
        farther = [name for name in names if columns[name][a] > columns[name][b]]
        if nearer and farther:
            sides = (a, b, nearer, farther) if len(nearer) >= len(farther) else (b, a, farther, nearer)
            notes.append((min(len(nearer), len(farther)), sides))
    notes.sort(key=lambda note: -note[0])
    sentences = tuple(
        f"{a!r} is nearer than {b!r} by {', '.join(most)}, farther by {', '.join(least)}."
        for _, (a, b, most, least) in notes
    )
    return Agreement(names, correlations("spearman"), correlations("kendall"), sentences)
