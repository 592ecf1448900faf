"""Differences between generators and their order, with what the data and other distances say of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter

import numpy as np

from vdna_metrics.analysis.uncertainty.correlations import rank_correlations
from vdna_metrics.analysis.uncertainty.estimates import Deviations, Estimate, check_confidence, estimate
from vdna_metrics.analysis.uncertainty.jackknife import JackknifedDistance, Side
from vdna_metrics.files import errors_of
from vdna_metrics.fingerprint import refuse_differences
from vdna_metrics.layout import check_type

_ADVICE = ": jackknife_distance(reference, generated) gives it"
_ROUNDING = 1e-9  # differences below this share of the distances are rounding


@dataclass(frozen=True)
class Difference:
    """Distance of one generator minus that of another, from one reference.

    Args:
        estimate: of the difference.
        p_value: two-sided, of no difference.
        paired: whether the generators' groups were taken to belong together.
    """

    estimate: Estimate
    p_value: float
    paired: bool


def compare_pair(a: JackknifedDistance, b: JackknifedDistance, *, paired: bool, confidence: float = 0.95) -> Difference:
    """Whether one generator is nearer than another, and by how much.

    Without a group of the reference both distances change together: its part of their errors that is common drops out.
    So it does of the generators' groups when they are paired. Groups of clusters belong together where the images are
    in one order and their clusters of the same sizes: `build.disjoint_groups` then groups both alike.

    Args:
        a: distance of a generator from the reference.
        b: that of another from the same reference.
        paired: whether group j of one and group j of the other belong together, as those of one set of images and of
            its blurred copies do, or samples of the same prompts in one order.
        confidence: of the interval.

    Raises:
        ValueError: when a distance has no interval, the distances are not of one kind, layers and reference, or groups
            to be paired differ in number, size or clusters.

    Examples:
        >>> import torch
        >>> from vdna_metrics.analysis import Estimate, JackknifedDistance, Side
        >>> from vdna_metrics.dna import Provenance
        >>> def of(score, deviations):
        ...     side = Side(Provenance("net"), (5, 5, 5), torch.tensor(deviations), 2.0)
        ...     fixed = Side(Provenance("net"), (9,), torch.empty(0), 0.0)
        ...     estimate = Estimate(score, score, 0.1, 0.0, 9.0)
        ...     return JackknifedDistance(estimate, {"l": estimate}, "emd", "bins", 0.95, fixed, side)
        >>> a, b = of(2.0, [-0.5, 0.0, 0.5]), of(1.5, [-0.5, 0.05, 0.5])
        >>> [compare_pair(a, b, paired=paired).p_value < 0.05 for paired in (True, False)]
        [True, False]
    """
    check_confidence(confidence)
    for name, side in (("a", a), ("b", b)):
        check_type(name, side, JackknifedDistance, advice=_ADVICE)
        if side.score.low is None:
            raise ValueError(
                f"{side.withheld}; without an interval its differences are not known to be more than chance"
            )
    found = [
        (what, str(here), str(there))
        for what, here, there in (
            ("distances", a.distance, b.distance),
            ("units", a.unit, b.unit),
            ("layers", list(a.layers), list(b.layers)),
            ("sources of the reference", a.reference.provenance.sources, b.reference.provenance.sources),
            ("images of the reference's groups", a.reference.sizes, b.reference.sizes),
            ("clusters of the reference", _clusters(a.reference), _clusters(b.reference)),
            *(
                (f"{what} of the groups to be paired", each(a.generated), each(b.generated))
                for what, each in (("images", attrgetter("sizes")), ("clusters", _clusters))
                if paired
            ),
        )
        if here != there
    ]
    refuse_differences("these distances cannot be compared", found)
    chances: list[Deviations] = []
    if a.reference.grouped:
        chances.append((a.reference.deviations - b.reference.deviations, a.reference.freedom))
    if paired and a.generated.grouped:
        chances.append((a.generated.deviations - b.generated.deviations, a.generated.freedom))
    elif not paired:
        chances += [(side.deviations, side.freedom) for side in (a.generated, b.generated)]
    difference, freedom = estimate(
        a.score.value - b.score.value, a.score.corrected - b.score.corrected, chances, confidence
    )
    return Difference(difference, _p_value(a, b, difference, freedom), paired)


def _clusters(side: Side) -> str:
    return str(side.provenance.clusters or "each image by itself")


def _p_value(a: JackknifedDistance, b: JackknifedDistance, difference: Estimate, freedom: float) -> float:
    from scipy.stats import t as student

    if abs(difference.corrected) <= _ROUNDING * max(abs(a.score.value), abs(b.score.value)):
        return 1.0
    if not difference.standard_error:
        return 0.0
    return float(2 * student.sf(abs(difference.corrected) / difference.standard_error, freedom))


@dataclass(frozen=True)
class RankedPair:
    """Two generators of a ranking.

    Args:
        a: the one that comes first.
        b: the other.
        difference: distance of a minus that of b, with the interval and p value of this pair alone.
        p_value: corrected for the number of pairs.
        tied: whether the data cannot tell them apart.
    """

    a: str
    b: str
    difference: Difference
    p_value: float
    tied: bool


@dataclass(frozen=True)
class Ranking:
    """Generators in order, with what the data say of it.

    Args:
        order: names, the best first by corrected distance.
        ranks: ``{name: (first, last)}``, the places that are possible: from 1 + those that are surely better, to the
            number of generators − those that are surely worse.
        pairs: every two of them, in order.
        confidence: that every tie-free pair is in its true order, and so every range of places is right.
    """

    order: tuple[str, ...]
    ranks: Mapping[str, tuple[int, int]]
    pairs: tuple[RankedPair, ...]
    confidence: float


def rank_intervals(
    results: Mapping[str, JackknifedDistance],
    *,
    paired: bool | Mapping[str, Hashable] = False,
    confidence: float = 0.95,
) -> Ranking:
    """The order of generators by their corrected distance, and which places of each are possible.

    Every two are compared; p values are corrected by Holm's method, so that the chance of calling any two unlike that
    are alike is at most ``1 − confidence``.

    Args:
        results: ``{generator: distance}`` from one reference.
        paired: whether groups belong together, see `compare_pair`; or ``{generator: what its images are of}``, and
            those of one thing are paired.
        confidence: of the whole ranking; intervals of differences are those of each pair alone.

    Raises:
        ValueError: for no generator, or two that cannot be compared; they are named.

    Source:
        Holm: A simple sequentially rejective multiple test procedure, 1979; ranks: Mohamad, van Zwet, Goeman, Solari:
        Simultaneous confidence intervals for ranks, 2022.
    """
    check_confidence(confidence)
    check_type("results", results, Mapping, advice=": give each distance a name, {name: distance}")
    if not results:
        raise ValueError("expected generators to rank, got none")
    for name, result in results.items():
        check_type(f"the distance of {name!r}", result, JackknifedDistance, advice=_ADVICE)
    order = tuple(sorted(results, key=lambda name: results[name].sort_key))
    names = list(combinations(order, 2))
    differences = []
    for a, b in names:
        together = paired if isinstance(paired, bool) else a in paired and b in paired and paired[a] == paired[b]
        with errors_of(f"{a!r} and {b!r}"):
            differences.append(compare_pair(results[a], results[b], paired=together, confidence=confidence))
    corrected = _holm([difference.p_value for difference in differences])
    pairs = tuple(
        RankedPair(a, b, difference, p_value, p_value >= 1 - confidence)
        for (a, b), difference, p_value in zip(names, differences, corrected, strict=True)
    )
    ranks = {
        name: (
            1 + sum(pair.b == name and not pair.tied for pair in pairs),
            len(order) - sum(pair.a == name and not pair.tied for pair in pairs),
        )
        for name in order
    }
    return Ranking(order, ranks, pairs, confidence)


def _holm(p_values: Sequence[float]) -> list[float]:
    values = np.asarray(p_values)
    order = values.argsort(kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order]).clip(max=1)
    return list(corrected.tolist())


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
    check_type("columns", columns, Mapping)
    for name, column in columns.items():
        check_type(f"the column {name!r}", column, Mapping, advice=": it is {generator: distance}")
    names, generators = tuple(columns), tuple(next(iter(columns.values()), {}))
    if len(names) < 2 or len(generators) < 2:
        raise ValueError(f"agreement needs two columns and two generators, got {len(names)} and {len(generators)}")
    for name, column in columns.items():
        if set(column) != set(generators):
            raise ValueError(f"generators differ: {names[0]} {', '.join(generators)}; {name} {', '.join(column)}")
        if any(value != value for value in column.values()):
            raise ValueError(f"a distance of {name!r} is NaN")
    rows = {name: [column[generator] for generator in generators] for name, column in columns.items()}

    found = {a: [rank_correlations(rows[a], rows[b]) for b in names] for a in names}
    spearman, kendall = (tuple(tuple(pair[place] for pair in found[a]) for a in names) for place in (0, 1))
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
    return Agreement(names, spearman, kendall, sentences)
