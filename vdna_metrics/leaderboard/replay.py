"""Whether a leaderboard that is computed again agrees with its record."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import Leaderboard
from vdna_metrics.leaderboard.rows import FDR

TOLERANCE = 1e-3
"""Share of a score by which another machine's rounding may move it."""

_OLD_INTERVALS = re.compile(r"vdna_metrics 0\.[01](\.|$)")


@dataclass(frozen=True)
class LeaderboardDifference:
    """A number of a leaderboard that came out otherwise.

    Args:
        what: which.
        recorded: as it was.
        found: as it is now; ``None`` where it is not there.
    """

    what: str
    recorded: float | str | None
    found: float | str | None


def intervals_are_comparable(recorded: Leaderboard) -> bool:
    """Whether a record's intervals should come out again: before version 0.2, ties were broken by rounding.

    Examples:
        >>> from dataclasses import replace
        >>> from vdna_metrics.leaderboard.record import ImageSetRecord
        >>> made = Leaderboard("t", ImageSetRecord("r", "r", 1, 1), (), (), (), (), {}, "", {}, "")
        >>> [intervals_are_comparable(each) for each in (made, replace(made, writer="vdna_metrics 0.1.0"))]
        [True, False]
    """
    return not _OLD_INTERVALS.match(recorded.writer)


def leaderboard_differences(
    recorded: Leaderboard, found: Leaderboard, *, tolerance: float = TOLERANCE
) -> list[LeaderboardDifference]:
    """Numbers of two leaderboards that differ by more than a share of the larger of them.

    Compared are networks, numbers and manifests of images, and every score, interval, difference, floor, and number of
    fidelity, copies, classes and FDr^k. Intervals and differences are compared on the scale of the score that they
    belong to, a p value on that of 1; ranks and ties must be equal, unless the difference's p value is that near to
    where it decides. Of a record whose intervals are not comparable (`intervals_are_comparable`) neither intervals nor
    what follows from them are: standard errors, differences of generators, ranks, floors, what is extrapolated.

    Args:
        recorded: as it was.
        found: as it is now.
        tolerance: share that rounding may move. The same images through the same network give the same counts to the
            bit on one machine; another batch size, processor, device or version of torch rounds activations otherwise,
            and those near the edge of a bin move to the next.
    """
    intervals = intervals_are_comparable(recorded)
    was, now = _flat(recorded, intervals), _flat(found, intervals)
    differences = []
    for key in dict.fromkeys([*was, *now]):
        (a, scale_a), (b, scale_b) = was.get(key, (None, 0.0)), now.get(key, (None, 0.0))
        same = a == b
        if not same and isinstance(a, float) and isinstance(b, float):
            same = abs(a - b) <= tolerance * max(abs(a), abs(b), scale_a, scale_b)
        if not same:
            differences.append(LeaderboardDifference(key, a, b))
    return differences


def _flat(leaderboard: Leaderboard, intervals: bool) -> dict[str, tuple[float | str | None, float]]:
    """``{what: (value, scale of its rounding)}``."""
    flat: dict[str, tuple[float | str | None, float]] = {}
    margin = 1 - leaderboard.confidence
    for entry in filter(None, (leaderboard.reference, *leaderboard.generators, leaderboard.validation)):
        flat[f"{entry.name}: images"] = (str(entry.n_images), 0.0)
        flat[f"{entry.name}: manifest"] = (entry.manifest, 0.0)
        flat[f"{entry.name}: clusters"] = (str(entry.clusters), 0.0)
    for network in leaderboard.networks:
        for field in ("fingerprint", "bins", "ranges"):
            flat[f"{network.name}: {field}"] = (str(getattr(network, field)), 0.0)
    parts = ("corrected", "standard_error", "low", "high") if intervals else ("corrected",)
    pairs = leaderboard.pairs if intervals else ()
    sure = {(pair.network, pair.metric) for pair in pairs}
    sure -= {(pair.network, pair.metric) for pair in pairs if abs(pair.p_value - margin) < 0.1 * margin}
    for score in leaderboard.scores:
        name = f"{score.generator}, {score.metric} of {score.network}"
        flat[name] = (score.value, 0.0)
        flat |= {f"{name}, {layer}": (value, 0.0) for layer, value in score.layers.items()}
        estimates = {"": score.estimate, **{f", {layer}": each for layer, each in score.layer_estimates.items()}}
        for layer, estimate in estimates.items():
            if estimate is not None:
                flat |= {f"{name}{layer}, {part}": (getattr(estimate, part), estimate.value) for part in parts}
        if score.rank is not None and (score.network, score.metric) in sure:
            flat[f"{name}, rank"] = ("-".join(map(str, score.rank)), 0.0)
        # Versions before 0.2 extrapolated other distances than Fréchet's between covariances too.
        if intervals and score.extrapolated is not None and find_column(score.metric).kind == "layer_gaussian":
            flat[f"{name}, extrapolated"] = (score.extrapolated[0], score.value)
    for pair in pairs:
        a, b = sorted((pair.a, pair.b))
        sign, ends = (1, (pair.low, pair.high)) if a == pair.a else (-1, (-pair.high, -pair.low))
        name = f"{a} minus {b}, {pair.metric} of {pair.network}"
        scale = max(leaderboard.score(each, pair.network, pair.metric).value for each in (a, b))
        flat[name] = (sign * pair.difference, scale)
        flat[f"{name}, low"], flat[f"{name}, high"] = (ends[0], scale), (ends[1], scale)
        flat[f"{name}, p"] = (pair.p_value, 1.0)
    for floor in leaderboard.floors if intervals else ():
        flat[f"floor, {floor.metric} of {floor.network}"] = (floor.value, 0.0)
    for fidelity in leaderboard.fidelity:
        own = fidelity.values.items()
        flat |= {f"{fidelity.generator}, {what} of {fidelity.network}": (value, 1.0) for what, value in own}
    for copies in leaderboard.copies:
        flat[f"{copies.generator}, copies by {copies.network}"] = (str(len(copies.found)), 0.0)
    for each in leaderboard.classes:
        flat[f"{each.generator}/{each.group}, {each.metric} of {each.network}"] = (each.value, 0.0)
    for of in leaderboard.normalisers:
        scale = max(score.value for score in leaderboard.column(of.network, of.metric))
        flat[f"validation, {of.metric} of {of.network}"] = (of.value, scale)
    flat |= {f"{ratio.generator}, {FDR}": (ratio.value, 0.0) for ratio in leaderboard.ratios}
    return flat
