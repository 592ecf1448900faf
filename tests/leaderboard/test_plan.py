"""Plans of leaderboards: made, added to, and computed again from the record."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import put_small_sources, small_images, write_folder

from vdna_metrics import Reading, calibrate, create_extractor
from vdna_metrics.analysis import ScoreColumn
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.leaderboard import (
    Leaderboard,
    LeaderboardPlan,
    LeaderboardSettings,
    append_to_leaderboard,
    leaderboard_differences,
    load_leaderboard,
    make_leaderboard,
    replay_leaderboard,
)
from vdna_metrics.leaderboard.plan import named_sources
from vdna_metrics.references import resolve
from vdna_metrics.references.adding import add_ranges
from vdna_metrics.references.store import user_store
from vdna_metrics.reports import leaderboard_csv

SETTINGS = LeaderboardSettings(("emd", "nfd"), groups=3, bins=40, fidelity=False, pictures=0, diagnosis=0)
PLAN = LeaderboardPlan(("real",), (("gen_a", "gen_a"),), ("tiny",), SETTINGS)
READING = Reading(batch_size=4)


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets of images and networks."""
    put_small_sources(tmp_path, monkeypatch)


def _saved(leaderboard: Leaderboard) -> Leaderboard:
    return load_leaderboard(leaderboard.save("leaderboard.json"))


def test_a_record_gives_its_plan_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that decides the numbers is in the record, columns' own networks too, whatever their order."""
    inception = replace(CATALOGUE["other"], name="fid_inception", layers={"block_3": "2"})
    monkeypatch.setitem(CATALOGUE, "fid_inception", inception)
    settings = replace(SETTINGS, metrics=("fid", "nfd", "lfd[first]"), layers=("second",), equalise=True)
    plan = replace(PLAN, settings=settings, networks={"fid_inception": inception}, name="real")
    made = _saved(make_leaderboard(plan, reading=READING)[0])
    found = LeaderboardPlan.from_leaderboard(made)
    assert replace(found, extractors=(), networks={}) == replace(plan, extractors=(), networks={})
    assert found.with_networks() == replace(
        plan, extractors=(create_extractor("tiny"),), networks={"fid_inception": create_extractor(inception)}
    )


def test_names_are_without_the_endings_of_containers() -> None:
    """Known endings alone are left out, and not where two would be called the same; NAME= stands as it is."""
    given = ["x/mix.zip", "ffhq-0.5", "a.tar", "b.NPY", "list.txt", "model.v2", "c.zip", "c.npz", "my.zip=d.zip"]
    names = [name for name, _ in named_sources(given)]
    assert names == ["mix", "ffhq-0.5", "a", "b", "list", "model.v2", "c.zip", "c.npz", "my.zip"]


def test_a_folder_of_generators_is_said_to_be_one() -> None:
    """A note suggests what to give, unless class folders are asked for; a generator is not added twice."""
    for name in ("a", "b"):
        write_folder(Path("gens", name), small_images(6, ord(name)))
    plan = replace(PLAN, generators=(("gens", "gens"),))
    sentence = "gens: its 2 folders (a, b) are taken for one set of images; if each is a set of its own, give gens/*"
    made = _saved(make_leaderboard(plan, reading=READING)[0])
    assert sentence in made.notes
    with pytest.raises(ValueError, match="given twice: gens"):
        append_to_leaderboard(made, [("other name", "gens")])
    for name in ("a", "b"):
        write_folder(Path("real2", name), small_images(6, ord(name) + 2))
    settings = replace(SETTINGS, class_folders=True)
    made = make_leaderboard(replace(plan, references=("real2",), settings=settings), reading=READING)[0]
    assert not any("folders" in note for note in made.notes)


def test_a_replay_has_the_same_numbers() -> None:
    """From the record alone; a network of the user's own, which is not in it, is refused."""
    made = _saved(make_leaderboard(PLAN, reading=READING)[0])
    again, _ = replay_leaderboard(made, reading=READING)
    assert leaderboard_differences(made, again, tolerance=0) == []
    own = replace(
        PLAN, extractors=(create_extractor(torch.nn.AvgPool2d(8)),), settings=replace(SETTINGS, metrics=("nfd",))
    )
    with pytest.raises(ValueError, match="AvgPool2d is the user's own"):
        replay_leaderboard(_saved(make_leaderboard(own, reading=READING)[0]))


@pytest.mark.parametrize("foreign", ["weights", "address", "arguments", "ranges", "store", "statistics"])
def test_what_only_a_record_names_is_read_when_it_is_trusted(foreign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, arguments of the architecture and remote stores of somebody else's record are not opened unasked."""
    made = _saved(make_leaderboard(PLAN, reading=READING)[0])
    plain = json.loads(Path("leaderboard.json").read_text())
    spec = plain["settings"]["networks"][0]
    if foreign == "store":
        plain["generators"][0]["source"] = "https://host.invalid/store::cats/train"
    elif foreign == "statistics":
        plain["settings"]["references"] = ["https://host.invalid/theirs.json"]
    elif foreign == "arguments":
        spec["architecture_kwargs"] = {"checkpoint_path": "theirs.pth"}
    else:
        spec["ranges" if foreign == "ranges" else "weights"] = (
            "theirs.pth" if foreign == "weights" else "https://host.invalid/w"
        )
    monkeypatch.setattr("vdna_metrics.downloads.fetch", lambda *_, **__: pytest.fail("an address was asked"))
    monkeypatch.setattr("vdna_metrics.extractors.weights.read_state_dict", lambda *_: pytest.fail("a file was read"))
    theirs = Leaderboard.from_json(plain)
    for work in (replay_leaderboard, lambda record, **how: append_to_leaderboard(record, [("b", "gen_b.zip")], **how)):
        with pytest.raises(
            ValueError, match=r"the leaderboard's record names the (weights|store|address) .*\(--trust\)"
        ):
            work(theirs, reading=READING)
    assert replay_leaderboard(made, reading=READING)[0].scores == made.scores
    LeaderboardPlan.from_leaderboard(made).check_trusted()


def test_ones_own_weights_are_replayed_when_the_record_is_trusted() -> None:
    """A record with a local file of weights is computed again, given leave."""
    from safetensors.torch import save_file

    save_file(create_extractor("tiny").network.state_dict(), "own.safetensors")
    own = replace(PLAN, extractors=(create_extractor("tiny", weights_path="own.safetensors"),))
    made = _saved(make_leaderboard(own, reading=READING)[0])
    with pytest.raises(ValueError, match=r"names the weights own\.safetensors for tiny"):
        replay_leaderboard(made, reading=READING)
    again, _ = replay_leaderboard(made, trust=True, reading=READING)
    assert leaderboard_differences(made, again, tolerance=0) == []


def test_code_that_a_record_names_is_run_when_it_is_trusted() -> None:
    """A replay runs the code of a record's network given leave, which is another than that for files of weights."""
    code = "import torch\n\ndef build():\n    torch.manual_seed(0)\n    return torch.nn.Conv2d(3, 4, 3)\n"
    Path("net.py").write_text(code)
    network = create_extractor("net.py:build", size=8, crop="center", trust_code=True)
    own = replace(PLAN, extractors=(network,), settings=replace(SETTINGS, metrics=("nfd",)))
    made = _saved(make_leaderboard(own, reading=READING)[0])
    assert made.networks[0].name == "net.py:build"
    del network, own
    for trust in ({}, {"trust": True}):
        with pytest.raises(ValueError, match=r"'net\.py:build' is code: .* trust_code=True \(--trust-code\)"):
            replay_leaderboard(made, reading=READING, **trust)
    again, _ = replay_leaderboard(made, trust_code=True, reading=READING)
    assert leaderboard_differences(made, again, tolerance=0) == []
    more, _ = append_to_leaderboard(made, [("b", "gen_b.zip")], trust_code=True, reading=READING)
    assert [each.name for each in more.generators] == ["gen_a", "b"]


def test_a_record_of_an_older_version_is_replayed() -> None:
    """`files/schema1_demo.json`, of version 0.1.0: the same values, in the layers that it had."""
    recorded = load_leaderboard(Path(__file__).parents[1] / "files" / "schema1_demo.json")
    again, _ = replay_leaderboard(recorded)
    assert leaderboard_differences(recorded, again) == []
    assert again.settings["layers"] == {"lfd": ("blocks.0", "blocks.2", "blocks.4")}


def test_a_generator_is_added(tmp_path: Path) -> None:
    """As if all had been given at once; one whose images are gone is scored by what the cache kept, with a note."""
    cache = tmp_path / "dnas"
    both = (("gen_a", "gen_a"), ("zip", "gen_b.zip"))
    whole, _ = make_leaderboard(replace(PLAN, generators=both), reading=READING)
    made = _saved(make_leaderboard(PLAN, cache=cache, reading=READING)[0])
    shutil.rmtree("gen_a")
    with pytest.raises(ValueError, match="no file, folder or reference 'gen_a'"):
        append_to_leaderboard(made, both[1:], reading=READING)
    more, _ = append_to_leaderboard(made, both[1:], cache=cache, reading=READING)
    assert more.scores == whole.scores
    assert more.notes[0] == "gen_a is not there: gen_a is scored by the DNAs that were kept of it"


def test_outside_scores_and_the_validation_set_are_in_the_plan(tmp_path: Path) -> None:
    """A replay has them from the record alone, an addition keeps them and takes scores of new generators."""
    write_folder(tmp_path / "held_out", small_images(9, 5))
    elo = ScoreColumn("Elo", True, {"gen_a": 1200.0}, source="gone.csv")
    settings = replace(SETTINGS, metrics=("lfd",), equalise=True)
    plan = replace(PLAN, settings=settings, validation="held_out", outside=(elo,))
    made = _saved(make_leaderboard(plan, reading=READING, cache=tmp_path / "dnas")[0])
    assert made.validation is not None
    assert (made.validation.name, made.validation.n_images, made.validation.n_found) == ("held_out", 8, 9)
    assert LeaderboardPlan.from_leaderboard(made).outside == (elo,)
    again, _ = replay_leaderboard(made, reading=READING)
    assert leaderboard_differences(made, again, tolerance=0) == []
    assert (again.outside, again.ratios) == (made.outside, made.ratios)
    rated = ScoreColumn("Elo", True, {"gen_a": 1200.0, "b": 1100.0})
    people = ScoreColumn("error rate", True, {"b": 0.2})
    more, _ = append_to_leaderboard(made, [("b", "gen_b.zip")], outside=[people, rated], reading=READING)
    assert more.outside == (rated, people)
    assert [ratio.generator for ratio in more.ratios] == ["gen_a", "b"]
    assert [each.score for each in more.outside_agreement][:1] == ["Elo"]
    shutil.rmtree("held_out")
    kept, _ = append_to_leaderboard(made, [("b", "gen_b.zip")], cache=tmp_path / "dnas", reading=READING)
    assert kept.outside == (elo,)
    assert kept.notes[0] == "held_out is not there: held_out is scored by the DNAs that were kept of it"
    write_folder(tmp_path / "held_out", small_images(9, 6))
    with pytest.raises(ValueError, match="held_out changed: its images had the manifest"):
        replay_leaderboard(made, reading=READING)
    with pytest.raises(ValueError, match="validation differ: the leaderboard has held_out, got real"):
        LeaderboardPlan.from_leaderboard(made).check_same({"validation": "real"})
    theirs = replace(made, settings={**made.settings, "validation": "https://host.invalid/theirs.json"})
    with pytest.raises(ValueError, match=r"names the address https://host\.invalid/theirs\.json"):
        replay_leaderboard(theirs)


def test_clusters_are_in_the_plan(tmp_path: Path) -> None:
    """A replay and an addition have the same clusters, of a generator too whose images are gone; others are refused."""
    cache, clusters = tmp_path / "dnas", tmp_path / "clusters.csv"
    write_folder(tmp_path / "more", small_images(12, 4))

    def tell(shift: int) -> None:
        names = [f"{folder}{i:03}.png" for folder, number in (("", 12), ("inner/", 8)) for i in range(number)]
        rows = [f"{name},{(place + shift) // 2}" for place, name in enumerate(names)]
        clusters.write_text("\n".join(["name,cluster", *rows]))

    tell(0)
    plan = replace(PLAN, settings=replace(SETTINGS, cluster_by="clusters.csv"))
    made = _saved(make_leaderboard(plan, cache=cache, reading=READING)[0])
    assert [(each.groups, each.clusters) for each in (made.reference, *made.generators)] == [(3, 6), (3, 4)]
    assert leaderboard_differences(made, replay_leaderboard(made, reading=READING)[0], tolerance=0) == []
    whole, _ = make_leaderboard(replace(plan, generators=(("gen_a", "gen_a"), ("more", "more"))), reading=READING)
    shutil.move("gen_a", "elsewhere")
    more, _ = append_to_leaderboard(made, [("more", "more")], cache=cache, reading=READING)
    assert more.scores == whole.scores
    assert more.generators[0].clustering == made.generators[0].clustering != ""
    again, _ = append_to_leaderboard(_saved(more), [("other", "./more")], cache=cache, reading=READING)
    assert again.scores[:2] == whole.scores[:2]
    shutil.move("elsewhere", "gen_a")
    tell(1)
    with pytest.raises(
        ValueError, match=r"real changed: its images were in 6 clusters when .* now clusters\.csv has other ones \(7\)"
    ):
        replay_leaderboard(made, reading=READING)
    with pytest.raises(ValueError, match=r"cluster by differ: the leaderboard has clusters\.csv, got folder"):
        LeaderboardPlan.from_leaderboard(made).check_same({"cluster_by": "folder"})


def test_what_is_another_leaderboard_is_refused() -> None:
    """Other images, another network and other settings are shown beside those of the record."""
    made = _saved(make_leaderboard(PLAN, reading=READING)[0])
    np.save("fewer.npy", np.zeros((5, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="real changed: 12 images when the leaderboard was made, now 5"):
        append_to_leaderboard(made, [("zip", "gen_b.zip")], references=["fewer.npy"])
    plain = json.loads(Path("leaderboard.json").read_text())
    plain["networks"][0]["fingerprint"] = "0" * 64
    with pytest.raises(ValueError, match="network tiny changed: fingerprint 000000000000 when"):
        replay_leaderboard(Leaderboard.from_json(plain))
    found = LeaderboardPlan.from_leaderboard(made)
    found.check_same({"metrics": ("nfd", "emd"), "groups": 3, "extractors": ("tiny",)})
    with pytest.raises(ValueError, match="max positions differ: the leaderboard has None, got 4"):
        found.check_same({"max_positions": 4})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": None}, r"settings: expected the fields metrics, groups, .*; it lacks groups$"),
        ({"networks": None}, r"settings: expected the fields networks, .*; it lacks \['networks'\]"),
        ({"batch_size": None}, r"settings: expected the fields networks, .*; it lacks \['batch_size'\]"),
        ({"batch_size": 0}, r"settings\.batch_size: expected a whole number from 1 to 2\*\*53, got 0"),
        ({"groups": "3"}, r"settings\.groups: expected a whole number, got '3'"),
        ({"layers": 5}, r"settings\.layers: expected a list or an object, got 5"),
        ({"seed": -1}, r"settings: expected seed of at least 0, got -1"),
        ({"references": []}, r"settings\.references: expected at least one, got \[\]"),
        ({"references": [5]}, r"settings\.references\[0\]: expected text, got 5"),
        ({"networks": []}, r"settings\.networks: expected one for each of tiny, got none"),
        ({"networks": [{"name": "tiny"}]}, r"settings\.networks\[0\]: expected the fields name, .* it lacks \['arch"),
        ({"root": 5}, r"settings\.root: expected text, got 5"),
        ({"colour": "red"}, r"settings: expected the fields networks, .* it has \['colour'\] \(of a newer version\?\)"),
    ],
)
def test_a_record_that_does_not_tell_how_it_was_made_is_refused(change: dict[str, Any], message: str) -> None:
    """What its settings lack, as those of older versions do, or what is none, is named before anything is opened."""
    made = json.loads(json.dumps(make_leaderboard(PLAN, reading=READING)[0].to_json()))
    settings = {
        name: value for name, value in {**made["settings"], **change}.items() if change.get(name, "") is not None
    }
    broken = Leaderboard.from_json({**made, "settings": settings})
    for use in (LeaderboardPlan.from_leaderboard, replay_leaderboard):
        with pytest.raises(ValueError, match=rf"does not record how it was made, so make it again .*: {message}"):
            use(broken)


def test_a_network_of_a_record_that_cannot_be_built_is_an_error_of_the_record() -> None:
    """Arguments that a trusted record gives to an architecture end in a ``ValueError``, whatever that raises."""
    made = json.loads(json.dumps(make_leaderboard(PLAN, reading=READING)[0].to_json()))
    made["settings"]["networks"][0] |= {"name": "theirs", "architecture_kwargs": {"no_such": 1}}
    with pytest.raises(ValueError, match="networks of the leaderboard cannot be built: "):
        replay_leaderboard(Leaderboard.from_json(made), trust=True, reading=READING)


def test_the_reference_is_named_after_its_first_source() -> None:
    """Unless the plan names it; a generator of the same name does not clash with it."""
    settings = replace(SETTINGS, metrics=("nfd",))
    plan = LeaderboardPlan(("bsds500/test",), (("bsds500/test", "bsds500/trainval"),), ("vdna_tiny",), settings)
    named, _ = make_leaderboard(plan)
    assert named.reference.name == "bsds500/test (reference)"
    opened = replace(plan, name="photographs", reference=resolve("bsds500/test", extractors=["vdna_tiny"]))
    assert make_leaderboard(opened)[0].scores == named.scores


def test_histograms_find_their_own_ranges_where_none_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record says auto, and by how much bins move each value; it is replayed and added to, to the bit."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    made = _saved(make_leaderboard(PLAN, reading=READING)[0])
    assert made.networks[0].ranges == "auto"
    widths = [score.bin_width for score in made.scores]
    assert [width is None for width in widths] == [False, True]
    assert any("histograms find their own ranges; their bins move emd (bins) by" in note for note in made.notes)
    assert "bin_width" in leaderboard_csv(made).splitlines()[0]
    asked = make_leaderboard(replace(PLAN, ranges="auto"), reading=READING)[0]
    assert asked.scores == made.scores
    assert asked.settings["ranges"] == "auto"
    assert leaderboard_differences(made, replay_leaderboard(_saved(asked), reading=READING)[0], tolerance=0) == []
    add_ranges(calibrate("real", "tiny"), user_store(), extractor="tiny")  # which are known from now on
    assert leaderboard_differences(made, replay_leaderboard(made, reading=READING)[0], tolerance=0) == []
    more, _ = append_to_leaderboard(made, [("zip", "gen_b.zip")], reading=READING)
    assert more.scores[0].value == made.scores[0].value


def test_a_record_of_calibrated_ranges_is_replayed() -> None:
    """Earlier versions calibrated on the reference where no ranges were known: the same ranges come out again."""
    calibrate("real", "tiny", reading=READING).save("ranges.npz")
    given = make_leaderboard(replace(PLAN, ranges="ranges.npz"), reading=READING)[0]
    made = _saved(replace(given, settings={**given.settings, "ranges": None}))
    again, _ = replay_leaderboard(made, reading=READING)
    assert leaderboard_differences(made, again, tolerance=0) == []
    more, _ = append_to_leaderboard(made, [("zip", "gen_b.zip")], reading=READING)
    assert more.networks[0].ranges == made.networks[0].ranges != "auto"
