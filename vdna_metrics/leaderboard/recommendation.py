"""Which column of a leaderboard to report, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import Leaderboard

# What speaks for a distance, the stronger first. A registered one that is not here comes after them.
_REASONS = {
    "fd_dinov2": "of all distances that were compared with people's judgement, it agrees best (Stein et al., 2023)",
    "emd": "it compares the whole distribution of every neuron, and says which layers and neurons differ",
    "cmmd": "it assumes no distribution, and few images serve",
    "mind": "it compares whole distributions, and fewer images serve than for an FID",
    "kid": "it has no bias, however few the images",
    "fid": "most papers report it",
    "nfd": "few images serve for it",
    "lfd": "it sees how neurons go together",
}


@dataclass(frozen=True)
class Recommendation:
    """The column to report.

    Args:
        network: name of the network.
        metric: name of the metric.
        reason: why, as the end of a sentence.
    """

    network: str
    metric: str
    reason: str


def recommend(leaderboard: Leaderboard) -> Recommendation:
    """The column of a leaderboard to report: one number for all sets, with error bars where any column has them.

    Distances come before scores of one set or of one aspect, such as recall; then columns in which every set has an
    interval; then trained networks before random ones; then those for which more is known to speak; then the first.

    Args:
        leaderboard: with at least one score.

    Raises:
        ValueError: for a leaderboard without scores.
    """
    if not leaderboard.columns:
        raise ValueError("this leaderboard has no scores")
    seeded = _seeded(leaderboard)
    sure = {column: _has_intervals(leaderboard, *column) for column in leaderboard.columns}
    known = list(_REASONS)

    def key(column: tuple[str, str]) -> tuple[bool, bool, bool, int]:
        network, metric = column
        name = metric.partition("[")[0]
        place = known.index(name) if name in known else len(known)
        return not find_column(metric).distance.says_how_far, not sure[column], seeded.get(network, False), place

    network, metric = best = min(leaderboard.columns, key=key)
    others = len(leaderboard.columns) > 1
    reasons = [_REASONS[name] for name in [metric.partition("[")[0]] if name in _REASONS]
    if sure[best] and not all(sure.values()):
        reasons.insert(0, "it has an interval for every set")
    if others and seeded.get(network) is False and any(seeded.values()):
        reasons.append("the network is trained")
    return Recommendation(network, metric, "; ".join(reasons or ["it comes first" if others else "it is the only one"]))


def _has_intervals(leaderboard: Leaderboard, network: str, metric: str) -> bool:
    return all(each.estimate and each.estimate.low is not None for each in leaderboard.column(network, metric))


def _seeded(leaderboard: Leaderboard) -> dict[str, bool]:
    """Whether a network's weights are random, where the record tells it."""
    specs = leaderboard.settings.get("networks", ())
    if len(specs) != len(leaderboard.networks):
        return {}
    return {
        network.name: isinstance(spec, Mapping) and str(spec.get("weights")).startswith("seeded:")
        for network, spec in zip(leaderboard.networks, specs, strict=True)
    }
