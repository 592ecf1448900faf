"""Sets of images as DNAs of one network: which are given, which are built, and in what layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import put_small_networks, small_images
from helpers.distances import EVENNESS, JSD, registered

from vdna_metrics import Reading, build_dnas, calibrate, compare, create_extractor, open_images
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna import GroupedDNA
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.leaderboard import LeaderboardSettings, score_leaderboard, sets
from vdna_metrics.leaderboard.sets import SetReader
from vdna_metrics.leaderboard.settings import group_by_network
from vdna_metrics.references import ImageSet, resolve

REAL = ImageSet("real", "real", open_images(small_images(12, 0)))
FAKE = ImageSet("fake", "fake", open_images(small_images(9, 1)))


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks `tiny` and `other`."""
    put_small_networks(monkeypatch)


def _reader(*metrics: str, extractor: str = "tiny", **options: Any) -> SetReader:
    settings = LeaderboardSettings(metrics, groups=3, bins=20, fidelity=False)
    (network,) = group_by_network(settings, [extractor], {})
    parts = {
        "reading": Reading(batch_size=4),
        "cache": None,
        "ranges": None,
        "start": None,
        "n_found": {},
        "digests": {},
    }
    return SetReader(network, settings, **{**parts, **options})


def test_columns_of_one_kind_share_a_pass_and_a_dna() -> None:
    """What compares the same layers is one DNA, what compares some of them has those alone."""
    found = _reader("lfd", "lfd[second]", "nfd").read(REAL)
    assert {name: list(dna.layout) for name, dna in found.dnas.items()} == {
        "lfd": ["first", "second"], "lfd[second]": ["second"], "nfd": ["first", "second"],
    }  # fmt: skip
    some = _reader("lfd[second]", "lfd[second+first]").read(REAL).dnas
    assert list(some["lfd[second+first]"].layout) == ["first", "second"]
    with registered(JSD):
        shared = _reader("emd", "jsd").read(REAL).dnas
    assert shared["emd"] is shared["jsd"]


def _histogram() -> Any:
    extractor = create_extractor("tiny")
    return build_dnas(small_images(12, 0), extractor, ranges=calibrate(small_images(12, 0), extractor))["histogram"]


def test_a_generator_has_the_bins_ranges_and_layers_of_the_reference() -> None:
    """Those of the reference's DNA are taken, not those of the settings."""
    dna = _histogram().select(["second"])
    reader = _reader("emd")
    real = reader.read(ImageSet("real", "real.npz", dnas=(dna,)))
    fake = reader.read(FAKE, real).dnas["emd"]
    distribution = total_of(fake).distribution
    assert isinstance(distribution, HistogramDistribution)
    assert (list(fake.layout), distribution.bins) == (["second"], 1000)
    assert distribution.ranges.equals(dna.distribution.ranges)
    assert isinstance(fake, GroupedDNA)


def test_groups_are_taken_where_they_hold_the_compared_layers() -> None:
    """A bundled reference has groups of some layers alone: they serve columns of these, others the whole, with a note.

    So a leaderboard has the value that a score has.
    """
    entry = resolve("bsds500/trainval", extractors=["vdna_tiny"])
    found = _reader("lfd", "lfd[blocks.0+blocks.2]", extractor="vdna_tiny").read(entry)
    whole, grouped = found.dnas.values()
    assert not isinstance(whole, GroupedDNA)
    assert isinstance(grouped, GroupedDNA)
    assert found.notes == (
        "its groups lack conv_head: the whole layer_gaussian DNA is compared, which has no error bars",
    )
    assert "conv_head" in whole.layout
    distance = compare.layer_frechet(total_of(grouped), whole.select(["blocks.0", "blocks.2"]))
    assert float(distance) < 1e-3


def test_what_cannot_be_had_is_refused_before_the_work() -> None:
    """A DNA that is missing, or lacks layers of the reference, is named; so are too few images for the groups."""
    (real,) = build_dnas(small_images(6, 0), create_extractor("tiny"), ["gaussian"]).values()
    of_dna = ImageSet("real", "real.npz", dnas=(real,))
    few = ImageSet("few", "few", open_images(small_images(2, 0)))
    part = ImageSet("part", "part.npz", dnas=(real.select(["first"]),))
    for entry, message in (
        (part, "part: no gaussian DNA has second; it has first"),
        (few, "few: 2 images cannot be put into 3 groups"),
        (replace(few, images=None), "few has no gaussian DNA of tiny"),
    ):
        with pytest.raises(ValueError, match=message):
            _reader("nfd").check(of_dna, [FAKE, entry])
    with pytest.raises(ValueError, match="real has no layer_gaussian DNA of tiny"):
        _reader("lfd").check(of_dna, [FAKE])


def test_a_score_of_one_set_needs_no_dna_of_the_reference() -> None:
    """Its histograms are over known ranges, or their own, never over those of whichever generator is read first."""
    (gaussian,) = build_dnas(np.zeros((3, 32, 32, 3), np.uint8), create_extractor("tiny"), ["gaussian"]).values()
    real = ImageSet("real", "real.npz", dnas=(gaussian,))
    with registered(EVENNESS):
        reader = _reader("evenness")
        reader.check(real, [FAKE])
        assert total_of(reader.read(FAKE, reader.read(real)).dnas["evenness"]).distribution.given == "auto"  # type: ignore[attr-defined]
        ranges = calibrate(small_images(9, 5), create_extractor("tiny"))
        reader = _reader("evenness", ranges=ranges)
        reader.check(real, [FAKE])
        found = reader.read(FAKE, reader.read(real)).dnas["evenness"]
    assert total_of(found).distribution.ranges.equals(ranges)  # type: ignore[attr-defined]


def test_bytes_are_hashed_once_for_all_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cache of each network is found by the same digests."""
    hashed: list[str] = []
    digests = sets.content_digests
    monkeypatch.setattr(sets, "content_digests", lambda source: hashed.append(source.name) or digests(source))
    settings = LeaderboardSettings(("emd", "nfd"), groups=3, bins=20, pictures=0)
    score_leaderboard(REAL, [FAKE], ["tiny", "other"], settings=settings, cache=tmp_path)
    assert len(hashed) == 2
