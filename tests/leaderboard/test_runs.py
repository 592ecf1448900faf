"""Sets of images that are runs or checkpoints of one generator, by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.leaderboards import make_leaderboard

from vdna_metrics import resolve
from vdna_metrics.leaderboard import Evidence, Leaderboard, LeaderboardSettings, score_leaderboard
from vdna_metrics.leaderboard.plan import named_sources
from vdna_metrics.leaderboard.runs import Run, run_of
from vdna_metrics.reports import checkpoint_curve, leaderboard_markdown, write_report
from vdna_metrics.reports.summary import runs_sentences, summarise
from vdna_metrics.reports.tables import runs_table


def _images(seed: int, shift: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 150 + shift, (24, 3, 8, 8), np.uint8)


@pytest.fixture(scope="module")
def leaderboard(tmp_path_factory: pytest.TempPathFactory) -> Leaderboard:
    """Three runs of one generator, one of another, and three checkpoints of a third."""
    folder = tmp_path_factory.mktemp("runs")
    shifts = {"ours (run 1)": 30, "ours (run 2)": 36, "ours (run 3)": 33, "theirs": 60}
    shifts |= {"long@1k": 90, "long@2k": 60, "long@10k": 30}
    for seed, shift in enumerate(shifts.values()):
        np.save(folder / f"{seed}.npy", _images(seed + 1, shift).transpose(0, 2, 3, 1))
    np.save(folder / "real.npy", _images(0, 0).transpose(0, 2, 3, 1))
    sets = [resolve(str(folder / f"{seed}.npy"), name=name) for seed, name in enumerate(shifts)]
    settings = LeaderboardSettings(("emd", "nfd"), groups=6, pictures=0, fidelity=False)
    real = resolve(str(folder / "real.npy"), name="real")
    return score_leaderboard(real, sets, ["seeded_resnet18"], settings=settings)[0]


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("ours", Run("ours")),
        ("ours (run 12)", Run("ours")),
        ("ours@2.5k", Run("ours", 2500.0)),
        ("ours@1M (run 2)", Run("ours", 1e6)),
        ("a@b@30", Run("a@b", 30.0)),
        ("bsds500/test@vdna_tiny", Run("bsds500/test@vdna_tiny")),
        ("ours (final)", Run("ours (final)")),
        ("@3", Run("@3")),
        ("new\nline", Run("new\nline")),
    ],
)
def test_names_say_generator_and_step(name: str, run: Run) -> None:
    """``GENERATOR@STEP (run N)``; any other name is that of a generator."""
    assert run_of(name) == run


def test_a_name_given_again_is_another_run() -> None:
    """Only names that are given: folders of one name are still told apart, or refused."""
    named = named_sources(["ours=a", "b", "ours=c", "ours@10k=d"])
    assert named == (("ours (run 1)", "a"), ("b", "b"), ("ours (run 2)", "c"), ("ours@10k", "d"))
    assert [name for name, _ in named_sources(["x/a", "y/a"])] == ["a", "a"]


def test_runs_are_averaged_and_generators_compared(leaderboard: Leaderboard) -> None:
    """A record a generator and checkpoint; the last checkpoint stands against the others."""
    records = leaderboard.runs_of("seeded_resnet18", "emd")
    assert {record.label: len(record.sets) for record in records} == {
        "ours": 3, "theirs": 1, "long@1k": 1, "long@2k": 1, "long@10k": 1,
    }  # fmt: skip
    ours = next(record for record in records if record.generator == "ours")
    values = [
        score.estimate.corrected
        for score in leaderboard.column("seeded_resnet18", "emd")
        if score.generator in ours.sets and score.estimate
    ]
    assert ours.estimate.corrected == pytest.approx(np.mean(values))
    assert ours.between is not None
    pairs = {
        frozenset((pair.a, pair.b))
        for pair in leaderboard.run_pairs
        if (pair.network, pair.metric) == ("seeded_resnet18", "emd")
    }
    assert pairs == {frozenset(pair) for pair in (("ours", "theirs"), ("ours", "long@10k"), ("theirs", "long@10k"))}
    heads, rows = runs_table(leaderboard, "seeded_resnet18", "emd")
    assert heads[:3] == ["rank", "generator", "runs"]
    assert [row[1] for row in rows if row[1].startswith("long")] == ["long@1k", "long@2k", "long@10k"]
    assert any("Runs of ours vary" in sentence for sentence in runs_sentences(leaderboard, "seeded_resnet18", "emd"))
    best = min(
        records, key=lambda record: (record.label not in ("ours", "theirs", "long@10k"), record.estimate.corrected)
    )
    assert summarise(leaderboard)[0].startswith(f"“{best.label}” has the smallest ")


def test_they_are_kept_and_shown(leaderboard: Leaderboard, tmp_path: Path) -> None:
    """The record has them, and page, Markdown and curve; a leaderboard without runs is as it was before them."""
    assert Leaderboard.from_json(leaderboard.to_json()).runs == leaderboard.runs
    assert not {"runs", "run_pairs"} & set(make_leaderboard().to_json())
    page = write_report(leaderboard, Evidence(), tmp_path).read_text()
    assert "Training runs and checkpoints" in page
    assert (tmp_path / "figures" / "checkpoints-emd-seeded_resnet18.svg").exists()
    assert "between runs" in leaderboard_markdown(leaderboard)
    lines = checkpoint_curve(leaderboard, "seeded_resnet18", "emd").lines
    assert [list(line.get_xdata()) for line in lines if line.get_marker() == "o"] == [[1000.0, 2000.0, 10000.0]]
    with pytest.raises(ValueError, match="no checkpoints"):
        checkpoint_curve(make_leaderboard(), "tiny", "emd")
