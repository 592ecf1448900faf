"""A leaderboard in sentences: who is first, which differences are real, what is tied, what the noise floor says."""

from __future__ import annotations

from collections import Counter

from vdna_metrics.analysis.uncertainty import Estimate
from vdna_metrics.analysis.uncertainty.estimates import LEAST_CLUSTERS
from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.leaderboard.recommendation import recommend
from vdna_metrics.leaderboard.record import FloorRecord, Leaderboard, RunsRecord, Score, are_corrected
from vdna_metrics.reports.formatting import are_distances, decimals, fixed, is_distance, listed, quoted, significant
from vdna_metrics.reports.networks import dispute_summary
from vdna_metrics.reports.outside import outside_sentences


def summarise(leaderboard: Leaderboard) -> tuple[str, ...]:
    """What a leaderboard says, from its records alone, by the column to report; the others are compared with it.

    Args:
        leaderboard: with at least one score.

    Returns:
        Sentences, the most important first.

    Raises:
        ValueError: for a leaderboard without scores.
    """
    best = recommend(leaderboard)
    network, metric = best.network, best.metric
    scores, column = leaderboard.column(network, metric), find_column(metric)
    runs = leaderboard.runs_of(network, metric)
    sentences = headline(leaderboard)
    if column.distance.bias is None or any(score.estimate is None for score in scores):
        sentences.append(_no_error_bars(leaderboard, scores, column))
    elif any(score.estimate is not None and score.estimate.low is None for score in scores):
        sentences.append(_withheld(scores, column))
    elif len(scores) > 1 and not runs:
        sentences += _differences(leaderboard, network, metric)
    sentences += runs_sentences(leaderboard, network, metric)
    floor = leaderboard.floor(network, metric)
    if floor is not None:
        sentences.append(_floor(scores, floor, column))
    if len(leaderboard.columns) > 1 and len(scores) > 1:
        sentences.append(_other_columns(leaderboard, scores[0].generator))
    sentences += [*outside_sentences(leaderboard), *dispute_summary(leaderboard), *_copies(leaderboard)]
    return tuple(sentences)


def headline(leaderboard: Leaderboard) -> list[str]:
    """Who is first, with what fault, and which column to report.

    Args:
        leaderboard: with at least one score.
    """
    best = recommend(leaderboard)
    network, column, runs = best.network, find_column(best.metric), leaderboard.runs_of(best.network, best.metric)
    scores = leaderboard.column(network, best.metric)
    first = _first_of_runs(leaderboard, runs, column) if runs else _first(leaderboard, scores, network, column)
    sentences = [first, *_faults_of_first(leaderboard, scores)]
    if len(leaderboard.columns) > 1:
        sentences.append(f"Report {column.title} in {quoted(network)}: {best.reason}.")
    return sentences


def runs_sentences(leaderboard: Leaderboard, network: str, metric: str) -> list[str]:
    """What runs say of the differences between generators, and how much of an interval they make."""
    found = []
    for record in leaderboard.runs_of(network, metric):
        if record.between is not None and record.resampling:
            times = (record.between**2 + record.resampling**2) ** 0.5 / record.resampling
            found.append(
                f"Runs of {record.label} vary {times:.1f} times as much as the chance of their images explains."
            )
    pairs = [pair for pair in leaderboard.run_pairs if (pair.network, pair.metric) == (network, metric)]
    open_ = [f"{pair.a} against {pair.b}" for pair in pairs if pair.tied]
    if open_:
        found.append(f"Inconclusive: {listed(open_)}. Runs, and the chance of their images, explain the difference.")
    return found


def percent(leaderboard: Leaderboard) -> str:
    """The confidence of a leaderboard's intervals, ``95 %``."""
    return f"{100 * leaderboard.confidence:g} %"


def score_text(score: Score, *, corrected: bool = False) -> str:
    """A plain value, or the corrected one, with the digits that its error leaves it."""
    if score.estimate is None:
        return significant(score.value, 3)
    value = inside(score.estimate) if corrected else score.value
    return fixed(value, decimals(score.value, score.estimate.standard_error))


def inside(estimate: Estimate) -> float:
    """A corrected value, inside its interval, which ends where a set and itself are; the correction may go beyond."""
    if estimate.low is None or estimate.high is None:
        return estimate.corrected
    return min(max(estimate.corrected, estimate.low), estimate.high)


def has_interval(score: Score) -> bool:
    """Whether a score has an interval, which may be withheld from an estimate."""
    return score.estimate is not None and score.estimate.low is not None


def interval_text(estimate: Estimate | None) -> tuple[str, str] | None:
    """The ends of the interval of a corrected value, with its digits; nothing where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    places = decimals(estimate.value, estimate.standard_error)
    return fixed(estimate.low, places), fixed(estimate.high, places)


def at_floor(score: Score, floor: FloorRecord) -> bool:
    """Whether a plain value is within two deviations of what real images score, or better, and its interval too."""
    column, estimate = find_column(score.metric), score.estimate
    best, least = column.sort_key, column.distance.neutral
    apart = estimate is not None and estimate.low is not None and least is not None and estimate.low > least
    return best(score.value) <= best(floor.value) + 2 * floor.spread and not apart


def _first(leaderboard: Leaderboard, scores: list[Score], network: str, column: Column) -> str:
    best, corrected = scores[0], are_corrected(scores)
    number = score_text(best, corrected=corrected)
    told = []
    if corrected and (interval := interval_text(best.estimate)) is not None:
        told.append(f"{percent(leaderboard)} interval {interval[0]} to {interval[1]}")
    if corrected and score_text(best) != number:
        told.append(f"{score_text(best)} before correction for the number of images")
    number += f" ({'; '.join(told)})" if told else ""
    by = f"by {column.title} in {quoted(network)}"
    name, reference = quoted(best.generator), quoted(leaderboard.reference.name)
    # First for certain only where no other generator may be.
    rivals = [quoted(score.generator) for score in scores[1:] if score.rank is not None and score.rank[0] == 1]
    direction = f"{column.distance.direction} is better"
    if is_distance(column):
        alone, tied = (
            f"is at {number} from {reference}, {by}",
            f"has the smallest distance from {reference}, {number}, {by}",
        )
        first = f"is nearest to {reference}: {number}, {by}"
    else:
        alone, tied = f"scores {number} {by}; {direction}", f"has the best value, {number}, {by} ({direction})"
        first = f"is best: {number}, {by}; {direction}"
    if rivals:
        return f"{name} {tied}, but is tied with {listed(rivals)}."
    return f"{name} {first if len(scores) > 1 else alone}."


def _first_of_runs(leaderboard: Leaderboard, runs: list[RunsRecord], column: Column) -> str:
    """The best generator by the mean of its runs, or its last checkpoint: the best of several runs is chance."""
    last = {record.generator: record for record in runs}  # in the order of their steps
    best = last[runs[0].generator]
    number = fixed(inside(best.estimate), decimals(best.estimate.corrected, best.estimate.standard_error))
    if (ends := interval_text(best.estimate)) is not None:
        number += f" ({percent(leaderboard)} interval {ends[0]} to {ends[1]})"
    what = "distance" if is_distance(column) else "value"
    if len(best.sets) > 1:
        what, number = f"mean {what}", f"{number} over {len(best.sets)} training runs"
    kind = "the smallest" if is_distance(column) else "the best"
    rivals = [quoted(each.label) for each in last.values() if each is not best and each.rank and each.rank[0] == 1]
    tied = f", but is tied with {listed(rivals)}" if rivals else ""
    by = f"by {column.title} in {quoted(best.network)}"
    return f"{quoted(best.label)} has {kind} {what} from {quoted(leaderboard.reference.name)}: {number}, {by}{tied}."


def _faults_of_first(leaderboard: Leaderboard, scores: list[Score]) -> list[str]:
    """A distance may hardly see a fault, as a mode collapse: what was found of those that come first."""
    first = [score.generator for score in scores if score is scores[0] or (score.rank and score.rank[0] == 1)]
    told = {record.generator: record.diagnosis for record in leaderboard.diagnoses if record.diagnosis.faults}
    return [f"But {quoted(name)} has a fault. {told[name].found}" for name in first if name in told]


def _no_error_bars(leaderboard: Leaderboard, scores: list[Score], column: Column) -> str:
    records = leaderboard.reference, *leaderboard.generators
    few = [quoted(record.name) for record in records if 0 < record.clusters < LEAST_CLUSTERS]
    without = [quoted(score.generator) for score in scores if score.estimate is None]
    if column.distance.bias is None:
        why = f"{column.label} has no rule for them"
    elif few:
        why = f"the images of {listed(few)} are fewer than {LEAST_CLUSTERS} clusters"
    else:
        why = "images were not split into groups"
    of = "" if len(without) == len(scores) else f" of {listed(without)}, and no ranks"
    return f"There are no error bars{of}: {why}, so small differences may be chance."


def _withheld(scores: list[Score], column: Column) -> str:
    short = [quoted(score.generator) for score in scores if score.estimate and score.estimate.low is None]
    of = f" of {listed(short)}" if len(short) < len(scores) else ""
    ranks = " and no ranks" * (len(scores) > 1)
    return f"There is no interval of {column.label}{of}{ranks}: too few images for so many neurons (see the notes)."


def _differences(leaderboard: Leaderboard, network: str, metric: str) -> list[str]:
    pairs = [pair for pair in leaderboard.pairs if (pair.network, pair.metric) == (network, metric)]
    if not pairs:
        return []
    tied = [f"{quoted(pair.a)} with {quoted(pair.b)}" for pair in pairs if pair.tied]
    what = f"at {percent(leaderboard)} confidence, corrected for the number of pairs"
    if not tied:
        return [f"All differences between sets are larger than chance explains ({what})."]
    if len(tied) == len(pairs):
        return [f"No difference between sets is larger than chance explains ({what})."]
    return [
        f"{len(pairs) - len(tied)} of {len(pairs)} differences between sets are larger than chance explains ({what}); "
        f"tied: {listed(tied, 4)}."
    ]


def _floor(scores: list[Score], floor: FloorRecord, column: Column) -> str:
    reached = [quoted(score.generator) for score in scores if at_floor(score, floor)]
    value = fixed(floor.value, decimals(floor.value, floor.spread))
    before = " before correction" * are_corrected(scores)
    score = f"Real images score {value}{before} at n = {floor.n_images} (noise floor)"
    if reached:
        what = "distance" if is_distance(column) else "score"
        return f"{score}: {listed(reached)} cannot be told from real images by this {what}."
    if not (is_distance(column) and floor.value > 0):
        return f"{score}."
    return f"{score}; the nearest set is at {min(each.value for each in scores) / floor.value:.1f} times that."


def _other_columns(leaderboard: Leaderboard, leader: str) -> str:
    first = {
        (network, metric): leaderboard.column(network, metric)[0].generator for network, metric in leaderboard.columns
    }
    leads = "has the smallest distance" if are_distances([metric for _, metric in first]) else "is first"
    # A column may lack the leader, or put it first together with others; only its own first place is said here.
    elsewhere = Counter(quoted(name) for name in first.values() if name != leader)
    if not elsewhere:
        every = "both" if len(first) == 2 else f"all {len(first)}"
        return f"{quoted(leader)} {leads} in {every} columns."
    others = [f"{name} in {number}" for name, number in elsewhere.most_common()]
    own = len(first) - sum(elsewhere.values())
    return f"{quoted(leader)} {leads} in {own} of {len(first)} columns, {listed(others)}."


def _copies(leaderboard: Leaderboard) -> list[str]:
    from scipy.stats import binom

    unlikely = 1 - leaderboard.confidence
    found = []
    for record in leaderboard.copies:
        # The chance of so many false alarms, or more.
        if binom.sf(len(record.found) - 1, record.n_checked, record.false_alarms) < unlikely:
            found.append(f"{len(record.found)} of {record.n_checked} images of {quoted(record.generator)}")
    return [f"More images than chance explains look like copies of reference images: {listed(found)}."] if found else []
