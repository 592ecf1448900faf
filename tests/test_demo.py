"""The demo: a leaderboard of procedural images and held-out photographs, and its report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import run

from vdna_metrics import build_dnas, compare, create_extractor, load_reference
from vdna_metrics.demo import EXTRACTOR, OF_FEATURES, PHOTOGRAPHS, REFERENCE, SETTINGS, run_demo
from vdna_metrics.dna import GroupedDNA
from vdna_metrics.images.procedural import open_procedural
from vdna_metrics.leaderboard import Evidence, Leaderboard, load_leaderboard
from vdna_metrics.references import resolve

IMAGES = 10
WORLDS = ("white_noise", "dead_leaves_disks")


@pytest.fixture(scope="module")
def made() -> tuple[Leaderboard, Evidence]:
    """A demo of few images of two worlds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vdna_metrics.demo.PROCEDURAL_WORLDS", WORLDS)
        return run_demo(IMAGES)


def test_photographs_are_first_and_noise_is_last(made: tuple[Leaderboard, Evidence]) -> None:
    """By every metric; photographs are not told from the noise floor, all else is."""
    leaderboard, _ = made
    assert leaderboard.reference.name == REFERENCE
    assert [entry.source for entry in leaderboard.generators] == [
        "bsds500/test@vdna_tiny", "procedural:white_noise/10", "procedural:dead_leaves_disks/10",
    ]  # fmt: skip
    for metric in OF_FEATURES:  # whose reference is not in groups
        assert leaderboard.column(EXTRACTOR, metric)[0].generator == PHOTOGRAPHS
    assert set(SETTINGS.metrics) > set(OF_FEATURES)
    for metric in SETTINGS.metrics[: -len(OF_FEATURES)]:
        column = leaderboard.column(EXTRACTOR, metric)
        floor = leaderboard.floor(EXTRACTOR, metric)
        assert (column[0].generator, column[-1].generator) == (PHOTOGRAPHS, "white noise")
        assert floor is not None
        assert floor.n_images == 200
        assert column[0].value < 2 * floor.value < column[1].value / 4
        # Ten images of a world are too few for an interval of 96 neurons' covariance, and with that for ranks.
        assert column[0].rank == (None if metric.startswith("lfd") else (1, 1))


def test_the_distances_are_those_of_the_images(made: tuple[Leaderboard, Evidence]) -> None:
    """A world's EMD is that of its first images from the photographs' own DNA."""
    leaderboard, evidence = made
    reference = load_reference("bsds500/trainval", extractor=EXTRACTOR, kind="histogram")
    images = open_procedural(f"dead_leaves_disks/{IMAGES}")
    whole = build_dnas(images, create_extractor(EXTRACTOR), ranges=reference.distribution.ranges)["histogram"]  # type: ignore[attr-defined]
    found = leaderboard.score("dead leaves disks", EXTRACTOR, "emd").value
    assert found == pytest.approx(float(compare.emd(reference, whole)), rel=1e-3)  # batches of the groups differ
    assert len(evidence.rankings["dead leaves disks"]) == IMAGES
    assert PHOTOGRAPHS not in evidence.rankings


@pytest.mark.parametrize(("split", "n_images"), [("trainval", 300), ("test", 200)])
def test_groups_that_ship_are_the_reference_in_parts(split: str, n_images: int) -> None:
    """The bundled groups add up to the bundled DNAs, but for the rounding of other batches."""
    for kind, limit in (("histogram", 0.01), ("gaussian", 1e-6)):
        whole = load_reference(f"bsds500/{split}", extractor=EXTRACTOR, kind=kind)
        (groups,) = resolve(f"bsds500/{split}", extractors=[EXTRACTOR], kinds=[kind]).dnas
        assert isinstance(groups, GroupedDNA)
        distance = compare.emd if kind == "histogram" else compare.neuron_frechet
        assert (groups.n_images, len(groups.groups)) == (n_images, 10)
        assert float(distance(whole, groups.total)) < limit
    found = resolve(f"bsds500/{split}", extractors=[EXTRACTOR], kinds=["layer_gaussian"]).dnas
    assert all("conv_head" not in dna.layout for dna in found if isinstance(dna, GroupedDNA))


def test_the_command_writes_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are printed, the report's place is named, and its record can be replayed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vdna_metrics.demo.PROCEDURAL_WORLDS", WORLDS[:1])
    monkeypatch.setattr("vdna_metrics.demo.SETTINGS", replace(SETTINGS, metrics=("nfd",), pictures=2))
    monkeypatch.setattr(
        "vdna_metrics.cli.reports.write_report",
        lambda leaderboard, evidence, folder, **_: (folder / "index.html").write_text("page"),
    )
    result = run("demo", "--images", str(IMAGES))
    assert f"Report: {(tmp_path / 'vdna_demo' / 'index.html').resolve()}" in result.stdout
    assert result.stdout.index(PHOTOGRAPHS) < result.stdout.index("white noise")
    assert load_leaderboard("vdna_demo/leaderboard.json").command == "vdna-metrics demo --images 10"
    found = json.loads(run("leaderboard", "--replay", "vdna_demo/leaderboard.json", "--json").stdout)
    assert found["differences"] == []


@pytest.mark.parametrize(
    ("source", "message"),
    [("white_noise", "WORLD/N"), ("white_noise/0", "WORLD/N"), ("whit_noise/3", "did you mean 'white_noise'")],
)
def test_worlds_that_are_none_are_refused(source: str, message: str) -> None:
    """A source of procedural images names a world and a number."""
    with pytest.raises(ValueError, match=message):
        open_procedural(source)
