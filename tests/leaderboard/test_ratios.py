"""FDr^k from the records of a leaderboard."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.dnas import make_dna
from helpers.leaderboards import NAMES, make_leaderboard

from vdna_metrics.analysis import frechet_distance_ratio
from vdna_metrics.analysis.frechet_ratio import measured_normaliser
from vdna_metrics.dna import GroupedDNA, find_column
from vdna_metrics.leaderboard.ratios import frechet_column, normaliser_record, ratio_records
from vdna_metrics.leaderboard.record import NormaliserRecord, RatioRecord

LFD = find_column("lfd")
LEADERBOARD = make_leaderboard(NAMES[:2], metrics=["lfd"])
SCORES = {(score.generator, score.network, score.metric): score for score in LEADERBOARD.scores}


def _grouped(seed: int, n: int = 40, shift: float = 0.0) -> GroupedDNA:
    return GroupedDNA(tuple(make_dna("layer_gaussian", n // 4, 4 * seed + i, shift=shift) for i in range(4)))


TRAIN, VALIDATION = _grouped(0, 80), _grouped(1, shift=1.0)


def _records(*normalisers: NormaliserRecord, **changes: int) -> tuple[RatioRecord, ...]:
    generators = [replace(entry, **changes) for entry in LEADERBOARD.generators]
    return ratio_records(generators, SCORES, normalisers, 0.95)


def test_the_first_frechet_column_of_a_network_counts() -> None:
    """Distances between covariances are divided, whichever network they are of; others are none."""
    fid = find_column("fid")
    assert frechet_column([find_column("emd"), fid, LFD]) is fid
    assert frechet_column([find_column("emd"), LFD]) is LFD
    assert frechet_column([find_column("emd"), find_column("nfd")]) is None


def test_as_many_images_divide_plain_values() -> None:
    """The record has the normaliser of `frechet_distance_ratio`, and why nothing is divided by it, if so."""
    found = normaliser_record("net", LFD, TRAIN, VALIDATION, {40}, 0.9)
    expected = frechet_distance_ratio({"net": VALIDATION}, {"net": TRAIN}, {"net": VALIDATION}, confidence=0.9)
    kept = expected.networks["net"].normaliser
    assert (found.value, found.n_images, found.low, found.high) == (kept.value, 40, kept.low, kept.high)
    assert (found.corrected, found.undefined, found.metric) == (False, None, "lfd")


def test_other_numbers_divide_corrected_values() -> None:
    """Then validation images are in groups; without there is a reason and no ratio."""
    found = normaliser_record("net", LFD, TRAIN, VALIDATION, {40, 60}, 0.95)
    kept, undefined = measured_normaliser(LFD, TRAIN, VALIDATION, corrected=True, confidence=0.95)
    assert (found.value, found.low, found.high) == (kept.value, kept.low, kept.high)
    assert (found.corrected, found.undefined) == (True, undefined)
    alone = normaliser_record("net", LFD, TRAIN, VALIDATION.total, {60}, 0.95)
    assert alone.undefined is not None
    assert "not in groups" in alone.undefined


def test_ratios_are_means_of_quotients() -> None:
    """Plain or corrected scores over the normalisers, in the mean of the networks."""
    for corrected in (False, True):
        normalisers = [
            NormaliserRecord(name, "lfd", value, 200, 1.0, 9.0, corrected)
            for name, value in (("tiny", 2.0), ("other", 4.0))
        ]
        for record in _records(*normalisers):
            score = SCORES[record.generator, "tiny", "lfd"]
            assert score.estimate is not None
            distance = score.estimate.corrected if corrected else score.value
            assert record.networks == pytest.approx({"tiny": distance / 2, "other": distance / 4})
            assert record.value == pytest.approx(distance * 0.375)
            assert record.undefined is None
    assert _records() == ()


def test_an_undefined_ratio_says_why() -> None:
    """One network without a normaliser leaves no mean, and its name is told; so are generators without groups."""
    good, bad = (
        NormaliserRecord("tiny", "lfd", 2.0, 200),
        NormaliserRecord("other", "lfd", 0.1, 200, undefined="it may be 0"),
    )
    for record in _records(good, bad):
        assert record.value is None
        assert record.networks["tiny"] is not None
        assert record.networks["other"] is None
        assert record.undefined == "the normaliser of 'other' tells nothing: it may be 0"
    for record in _records(replace(good, corrected=True), groups=0):
        assert record.value is None
        assert "not in groups" in str(record.undefined)
