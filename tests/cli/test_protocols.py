"""`protocols`, and `--protocol` of `score` and `leaderboard`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.commands import put_small_sources, run, run_json

from vdna_metrics.extractors.catalogue import CATALOGUE, FID_INCEPTIONS
from vdna_metrics.leaderboard import find_protocol, list_protocols, load_leaderboard
from vdna_metrics.leaderboard.protocols import PROTOCOLS, ImageRule, Protocol, Told

QUICK = ("--groups", "3", "--pictures", "0", "--no-fidelity", "-o", "report")


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of every test, a protocol of the network `tiny`, and FID in networks that cost next to nothing."""
    put_small_sources(tmp_path, monkeypatch)
    monkeypatch.setattr("vdna_metrics.cli.reports.write_report", lambda *_, **__: Path("report"))
    toy = Protocol(
        "toy", "a toy", ("lfd[second]",), "tiny", {"network": Told("small")}, ImageRule(8, (20, 20), lossless=True)
    )
    monkeypatch.setitem(PROTOCOLS, "toy", toy)
    small = CATALOGUE["tiny"]
    for mode, spec in list(FID_INCEPTIONS.items()):
        toy_spec = replace(
            spec, architecture="tiny_network", layers={"block_3": "2"}, size=16, weights="seeded:0", sha256=None,
            neurons=small.neurons,
        )  # fmt: skip
        monkeypatch.setitem(FID_INCEPTIONS, mode, toy_spec)
        monkeypatch.setitem(CATALOGUE, spec.name, toy_spec)


def test_protocols_lists_and_shows_what_is_known() -> None:
    """`protocols` has a row for each, `show` images, network and sources of one; near names are told."""
    assert [card["name"] for card in run_json("protocols")] == list_protocols()
    listed = run("protocols").stdout
    assert all(name in listed for name in list_protocols())
    shown = run("protocols", "show", "rfid-imagenet-val").stdout
    for text in ("50 000 images, 256x256 pixels", "fid_inception_legacy_tensorflow", "center_crop_arr", "/issues/7"):
        assert text in shown
    assert run_json("protocols", "show", "edm2-fid")["statistics"] == ["EDM2:img512"]
    assert "did you mean 'mind-5k'" in run("protocols", "show", "mind", exit_code=1).stderr


def test_score_takes_columns_and_network_of_a_protocol() -> None:
    """`score --protocol` measures the protocol's columns in its network, and tells the departures of each set."""
    command = ("score", "gen_a", "gen_b.zip", "--reference", "real", "--protocol", "toy")
    result = run_json(*command)
    assert result["extractor"] == "tiny"
    plain = run_json(*command[:-2], "--metrics", "lfd[second]", "--extractor", "tiny")
    values = [[row["lfd[second]"] for row in side["results"]] for side in (result, plain)]
    assert values[0] == values[1]
    departures = ["gen_b.zip: expected 8 images, got 6: LFD of fewer images is larger"]
    assert result["protocol"] == {"name": "toy", "departures": departures, "unknown": []}
    assert "protocol" not in plain
    assert f"departs from toy: {departures[0]}" in run(*command).stderr


def test_a_leaderboard_has_its_protocol_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record has the protocol in its settings and its departures, is made again alike, and takes no other on."""
    run("leaderboard", "gen_a", "--reference", "real", "--protocol", "adm-gfid-256", *QUICK)
    made = load_leaderboard("report/leaderboard.json")
    assert made.settings["protocol"] == "adm-gfid-256"
    assert made.metrics == ("fid",)
    assert made.networks[0].parts["preprocessing"].startswith("legacy_tensorflow")
    assert made.protocol is not None
    found = " ".join(made.protocol.departures)
    assert "gen_a: expected 50 000 images, got 8" in found
    assert "(ADM:imagenet/256), 1 281 167 images, got 12 of real" in found
    assert "expected images of 256x256 pixels, got 20x20" in found
    run("leaderboard", "--replay", "report/leaderboard.json", "-o", "again")
    again = load_leaderboard("again/leaderboard.json")
    assert (again.protocol, again.settings["protocol"]) == (made.protocol, "adm-gfid-256")
    other = ("leaderboard", "gen_b.zip", "--append", "report/leaderboard.json", "--protocol", "clean-fid")
    assert "protocol differ: the leaderboard has adm-gfid-256, got clean-fid" in run(*other, exit_code=1).stderr


def test_without_a_protocol_a_record_is_as_it_was() -> None:
    """A leaderboard of no protocol says nothing of protocols."""
    run("leaderboard", "gen_a", "--reference", "real", "--extractors", "tiny", "--metrics", "nfd", *QUICK)
    record = json.loads(Path("report/leaderboard.json").read_text())
    assert "protocol" not in record
    assert "protocol" not in record["settings"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fid-mode", "clean"), "--fid-mode clean: the protocol adm-gfid-256 has legacy_tensorflow"),
        (("--metrics", "emd,nfd"), "--metrics emd, nfd: the protocol adm-gfid-256 has fid"),
        (("--crop", "center"), "--crop center: the protocol adm-gfid-256 has none"),
    ],
)
def test_an_option_that_contradicts_a_protocol_is_refused(options: tuple[str, ...], message: str) -> None:
    """Both sides are shown, before any image is read."""
    command = ("leaderboard", "gen_a", "--reference", "real", "--protocol", "adm-gfid-256", *QUICK, *options)
    assert message in run(*command, exit_code=2).stderr


def test_an_option_that_says_the_same_or_adds_a_column_is_taken() -> None:
    """The protocol's own values may be given, and more columns than it has."""
    same = ("--protocol", "adm-gfid-256", "--fid-mode", "legacy_tensorflow", "--crop", "none")
    more = ("--metrics", "fid,nfd", "--extractors", "tiny")
    run("leaderboard", "gen_a", "--reference", "real", *QUICK, *same, *more)
    assert load_leaderboard("report/leaderboard.json").metrics == ("fid", "nfd")


def test_fid_follows_a_reference_that_is_resized_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`score` measures fid in that run of its network which a reference has; `leaderboard` tells its `--fid-mode`."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    build = ("references", "build", "real", "--name", "cats/train", "--kinds", "layer_gaussian", "--extractor")
    for network in ("fid_inception_legacy_tensorflow", "tiny"):
        run(*build, network)
    scored = run_json("score", "gen_a", "--reference", "cats/train", "--metrics", "fid")
    assert scored["extractor"] == "fid_inception_legacy_tensorflow"
    command = ("leaderboard", "gen_a", "--reference", "cats/train@fid_inception_legacy_tensorflow", "--metrics", "fid")
    refused = run(*command, *QUICK, exit_code=1).stderr
    assert "it has layer_gaussian of fid_inception_legacy_tensorflow (" in refused
    assert "or --fid-mode legacy_tensorflow" in refused
    run(*command, *QUICK, "--fid-mode", "legacy_tensorflow")


def test_protocols_without_a_network_of_their_own_name_one() -> None:
    """A column that is of any network is measured in the protocol's, by score and leaderboard alike."""
    protocol = find_protocol("mind-5k")
    result = run_json("score", "gen_a", "--reference", "real", "--protocol", "mind-5k")
    assert result["extractor"] == protocol.extractor
    run("leaderboard", "gen_a", "--reference", "real", "--protocol", "mind-5k", *QUICK)
    made = load_leaderboard("report/leaderboard.json")
    assert (made.metrics, made.networks[0].name) == (("mind[block_3]",), protocol.extractor)
