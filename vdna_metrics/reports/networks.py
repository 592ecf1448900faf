"""What a leaderboard says of several networks together: FDr^k, and on which generators they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import DisputeRecord, Leaderboard, NormaliserRecord, compared
from vdna_metrics.leaderboard.rows import FDR
from vdna_metrics.reports.formatting import listed, quoted, significant

Rows = list[list[str | float]]


def ratio_table(leaderboard: Leaderboard) -> tuple[list[str], Rows]:
    """FDr^k of each generator and its part of each network, the smallest first: heads and rows."""
    networks = [normaliser.network for normaliser in leaderboard.normalisers]
    order = sorted(leaderboard.ratios, key=lambda each: (each.value is None, each.value or 0.0))
    rows: Rows = [
        [each.generator, *(_cell(value) for value in (each.value, *map(each.networks.get, networks)))] for each in order
    ]
    return ["generator", FDR, *networks], rows


def ratio_sentences(leaderboard: Leaderboard) -> list[str]:
    """What FDr^k divides by, and why it is undefined where it is."""
    if not leaderboard.normalisers or leaderboard.validation is None:
        return []
    first, found = leaderboard.normalisers[0], []
    kind = "corrected values" if first.corrected else "plain values, of as many images each"
    parts = listed([f"{_normaliser(each)} in {each.network}" for each in leaderboard.normalisers])
    found.append(
        f"{FDR} divides each network's Fréchet distance by that of {first.n_images} validation images "
        f"({leaderboard.validation.name}), {parts}, and takes the mean; {kind}. 1 is as far as the validation images."
    )
    reasons: dict[str, list[str]] = {}
    for ratio in leaderboard.ratios:
        if ratio.undefined is not None:
            reasons.setdefault(ratio.undefined, []).append(ratio.generator)
    for reason, names in reasons.items():
        of = "" if len(names) == len(leaderboard.ratios) else f" of {listed(list(map(quoted, names)))}"
        found.append(f"{FDR}{of} is undefined: {reason}.")
    return found


def dispute_sentence(leaderboard: Leaderboard, dispute: DisputeRecord) -> str:
    """One pair of generators on which networks disagree."""
    better, others = columns_text(dispute.better), columns_text([*dispute.worse, *dispute.doubtful])
    sure = "both beyond chance" if dispute.worse else "there it may be by chance"
    if dispute.worse and dispute.doubtful:
        sure = f"beyond chance, but for {columns_text(dispute.doubtful)}"
    return f"{quoted(dispute.a)} is better than {quoted(dispute.b)} by {better}, worse by {others}: {sure}."


def dispute_sentences(leaderboard: Leaderboard) -> list[str]:
    """A sentence for each pair on which networks disagree, the surest first."""
    return [dispute_sentence(leaderboard, each) for each in leaderboard.disputes]


def dispute_summary(leaderboard: Leaderboard) -> list[str]:
    """How many pairs networks put in opposite orders, beyond chance, where there are some."""
    sure = [each for each in leaderboard.disputes if each.worse]
    if not sure:
        return []
    pairs = listed([f"{quoted(each.a)} and {quoted(each.b)}" for each in sure], 3)
    return [f"Networks disagree, beyond chance, on the order of {pairs}."]


def order_sentences(leaderboard: Leaderboard) -> list[str]:
    """A sentence for each pair of generators that columns put in opposite orders, the most even first.

    A column with intervals counts where the difference is beyond chance, one without as it stands.
    """
    orders: dict[tuple[str, str], tuple[list[tuple[str, str]], ...]] = {}
    tied = {(pair.network, pair.metric, frozenset((pair.a, pair.b))) for pair in leaderboard.pairs if pair.tied}
    for network, metric in leaderboard.columns:
        scores = leaderboard.column(network, metric)
        decisive = zip([score.generator for score in scores], compared(scores), strict=True)
        for (first, value), (second, other) in combinations(decisive, 2):  # in the column's order
            names = sorted((first, second))
            if value != other and (network, metric, frozenset(names)) not in tied:
                sides = orders.setdefault((names[0], names[1]), ([], []))
                sides[names.index(first)].append((network, metric))
    found = []
    for pair, sides in orders.items():
        few, many = sorted((0, 1), key=lambda side: len(sides[side]))
        if sides[few]:
            better, worse = columns_text(sides[many]), columns_text(sides[few])
            sentence = f"{quoted(pair[many])} is better than {quoted(pair[few])} by {better}, worse by {worse}."
            found.append((-len(sides[few]), sentence))
    return [sentence for _, sentence in sorted(found, key=lambda each: each[0])]


def columns_text(columns: Sequence[tuple[str, str]]) -> str:
    """Columns in a sentence."""
    of_network: dict[str, list[str]] = {}
    for network, metric in columns:
        of_network.setdefault(network, []).append(find_column(metric).short)
    return listed([f"{listed(names)} in {network}" for network, names in of_network.items()], 4)


def _normaliser(record: NormaliserRecord) -> str:
    short = find_column(record.metric).short
    if record.low is None or record.high is None:
        return f"{short} {significant(record.value)}"
    return f"{short} {significant(record.value)} ({significant(record.low, 3)} to {significant(record.high, 3)})"


def _cell(value: float | None) -> float | str:
    return "undefined" if value is None else value
