"""What a leaderboard says is wrong with each generator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import put_small_networks, small_images, write_folder
from helpers.leaderboards import make_diagnoses, make_leaderboard

from vdna_metrics import Reading, build_dnas, open_images
from vdna_metrics.analysis import DiagnosedSet, collect_features, diagnose
from vdna_metrics.images import evenly_spaced
from vdna_metrics.leaderboard import Leaderboard, LeaderboardSettings, score_leaderboard
from vdna_metrics.leaderboard.plan import LeaderboardPlan
from vdna_metrics.references import ImageSet

SETTINGS = LeaderboardSettings(("nfd",), groups=4, pictures=0, diagnosis=20)


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network `tiny`."""
    put_small_networks(monkeypatch)


@pytest.fixture
def entries(tmp_path: Path) -> list[ImageSet]:
    """Photographs, others, and those with noise; the last without images."""
    images = small_images(72, 0)
    noise = np.random.default_rng(0).normal(0, 40, images[:24].shape)
    sets = {"real": images[:24], "fine": images[24:48], "noisy": np.clip(images[48:] + noise, 0, 255).astype(np.uint8)}
    for name, some in sets.items():
        write_folder(tmp_path / name, some)
    found = [ImageSet(name, str(tmp_path / name), open_images(tmp_path / name)) for name in sets]
    dna = build_dnas(found[2].images, "tiny", ["gaussian"])["gaussian"]
    return [*found, ImageSet("gone", "gone.npz", dnas=(dna,))]


def _leaderboard(entries: list[ImageSet], settings: LeaderboardSettings = SETTINGS) -> Leaderboard:
    return score_leaderboard(entries[0], entries[1:], ["tiny"], settings=settings, reading=Reading(batch_size=8))[0]


def test_diagnoses_are_those_of_the_library(entries: list[ImageSet]) -> None:
    """Of so many evenly spaced images' pixels, all features and the accounts; without images that is said."""
    leaderboard = _leaderboard(entries)
    assert [record.generator for record in leaderboard.diagnoses] == ["fine", "noisy", "gone"]
    found = {record.generator: record.diagnosis for record in leaderboard.diagnoses}
    assert [fault.name for fault in found["noisy"].faults] == ["noise"]
    assert found["fine"].faults == ()
    assert "of this set, there are no images at hand" in found["gone"].unseen[0]
    sides = []
    for entry in entries[:3:2]:
        assert entry.images is not None
        account = build_dnas(entry.images, "tiny", ["gaussian"])["gaussian"].provenance.account
        pixels = collect_features(evenly_spaced(entry.images, 20), "pixel_statistics", reading=Reading(batch_size=1))
        sides.append(DiagnosedSet(pixels, collect_features(entry.images, "tiny"), account))
    assert found["noisy"].faults == diagnose(*sides).faults


def test_small_images_have_their_distances(entries: list[ImageSet], tmp_path: Path) -> None:
    """Images that are too small for statistics of pixels are scored, and it is said."""
    write_folder(tmp_path / "small", small_images(24, 1)[:, :12, :12])
    small = ImageSet("small", "small", open_images(tmp_path / "small"))
    leaderboard = _leaderboard([entries[0], small])
    assert "at least 16 pixels a side, got 12x12" in leaderboard.diagnoses[0].diagnosis.unseen[0]
    assert len(leaderboard.scores) == 1


def test_a_record_without_diagnoses_is_as_before(entries: list[ImageSet]) -> None:
    """0 images make none, and the record has no place for them; one from before replays without."""
    leaderboard = _leaderboard(entries, replace(SETTINGS, diagnosis=0))
    assert "diagnoses" not in leaderboard.to_json()
    given = {**leaderboard.settings, "references": ["real"], "ranges": None, "neurons": None, "neuron_weights": None}
    before = replace(leaderboard, settings={name: value for name, value in given.items() if name != "diagnosis"})
    assert LeaderboardPlan.from_leaderboard(before).settings.diagnosis == 0


def test_diagnoses_come_back_from_a_file() -> None:
    """Faults, signs and what was not looked for; of a generator that is not there they are refused."""
    leaderboard = replace(make_leaderboard(networks=["tiny"]), diagnoses=make_diagnoses())
    assert Leaderboard.from_json(leaderboard.to_json()).diagnoses == leaderboard.diagnoses
    plain = leaderboard.to_json()
    plain["diagnoses"][0]["generator"] = "nobody"
    with pytest.raises(ValueError, match=r"diagnoses\[0\]\.generator"):
        Leaderboard.from_json(plain)
