"""FDr^k, and networks that disagree, in rows and sentences."""

from __future__ import annotations

from dataclasses import replace

from helpers.leaderboards import make_leaderboard, with_outside

from vdna_metrics.leaderboard.record import DisputeRecord
from vdna_metrics.reports import summarise
from vdna_metrics.reports.networks import dispute_sentences, order_sentences, ratio_sentences, ratio_table

LEADERBOARD = with_outside(make_leaderboard(metrics=["emd", "lfd"]))


def test_ratios_are_rows_with_their_reasons() -> None:
    """The smallest is first, an undefined one last; what is divided by is told, and each reason once."""
    first, *others = LEADERBOARD.ratios
    undefined = replace(first, value=None, undefined="it may be 0")
    changed = replace(LEADERBOARD, ratios=(undefined, *others[::-1]))
    heads, rows = ratio_table(changed)
    assert heads == ["generator", "FDr^k", "tiny", "other"]
    assert [row[0] for row in rows] == [each.generator for each in (*others, first)]
    assert rows[-1][1:] == ["undefined", *first.networks.values()]
    told, reason = ratio_sentences(changed)
    assert "200 validation images (validation photographs), LFD 4.000 (3.50 to 4.50) in tiny and LFD 5.000" in told
    assert "plain values, of as many images each" in told
    assert reason == "FDr^k of “photographs” is undefined: it may be 0."
    none = replace(LEADERBOARD, ratios=tuple(replace(undefined, generator=each.generator) for each in changed.ratios))
    assert ratio_sentences(none)[1:] == ["FDr^k is undefined: it may be 0."]
    assert ratio_sentences(replace(LEADERBOARD, normalisers=())) == []


def test_disputes_are_sentences() -> None:
    """Each names both sides and which of them is beyond chance; the summary has those that are on both."""
    emd, lfd, other = ("tiny", "emd"), ("other", "lfd"), ("other", "emd")
    disputes = tuple(DisputeRecord("a", "b", (emd,), *sides) for sides in (((lfd,), (other,)), ((lfd,),), ((), (lfd,))))
    start = "“a” is better than “b” by VDNA-EMD in tiny, worse by LFD in other"
    assert dispute_sentences(replace(LEADERBOARD, disputes=disputes)) == [
        f"{start[:-12]}LFD and VDNA-EMD in other: beyond chance, but for VDNA-EMD in other.",
        f"{start}: both beyond chance.",
        f"{start}: there it may be by chance.",
    ]
    summary = "Networks disagree, beyond chance, on the order of “dead leaves” and “blurred photographs”."
    assert summary in summarise(LEADERBOARD)
    assert summary not in summarise(replace(LEADERBOARD, disputes=disputes[2:]))


def test_pairs_in_opposite_orders_are_sentences() -> None:
    """A column that puts two sets in the other order is named, unless it is by chance that it does."""
    leaderboard = make_leaderboard(metrics=["emd", "nfd"], networks=["tiny"])
    assert order_sentences(leaderboard) == []
    a, b = leaderboard.generators[3].name, leaderboard.generators[4].name
    by_name = {score.generator: score for score in leaderboard.column("tiny", "nfd")}
    swapped = {
        a: replace(by_name[a], value=by_name[b].value, estimate=by_name[b].estimate),
        b: replace(by_name[b], value=by_name[a].value, estimate=by_name[a].estimate),
    }
    scores = [swapped.get(each.generator, each) if each.metric == "nfd" else each for each in leaderboard.scores]
    disputed = replace(leaderboard, scores=tuple(scores))
    assert order_sentences(disputed) == [f"“{b}” is better than “{a}” by NFD in tiny, worse by VDNA-EMD in tiny."]
    tied = tuple(replace(pair, tied=pair.tied or pair.metric == "nfd") for pair in disputed.pairs)
    assert order_sentences(replace(disputed, pairs=tied)) == []
