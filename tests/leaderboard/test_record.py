"""A leaderboard as a value and as a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.leaderboards import NAMES, make_leaderboard, with_outside
from helpers.toy_distances import registered_toys

from vdna_metrics.leaderboard import Leaderboard, load_leaderboard

LEADERBOARD = make_leaderboard()
FILE = Path(__file__).parents[1] / "files" / "schema1_leaderboard.json"


def _plain() -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(LEADERBOARD.to_json()))
    return plain


def test_a_leaderboard_comes_back_from_its_file(tmp_path: Path) -> None:
    """All that was written is read, tuples as tuples, and a file that was there is replaced."""
    path = tmp_path / "leaderboard.json"
    path.write_text("before")
    assert LEADERBOARD.save(path) == path
    read = load_leaderboard(path)
    # Settings are what JSON makes of them.
    assert replace(read, settings={}) == replace(LEADERBOARD, settings={})
    assert read.settings == json.loads(json.dumps(LEADERBOARD.settings))
    assert json.loads(path.read_text())["schema"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["leaderboard.json"]


def test_what_is_of_no_column_comes_back_and_is_left_out_where_it_is_not(tmp_path: Path) -> None:
    """Outside scores, their agreement, FDr^k and disputes are kept whole; a record without has no word of them."""
    leaderboard = with_outside(LEADERBOARD)
    read = load_leaderboard(leaderboard.save(tmp_path / "leaderboard.json"))
    assert replace(read, settings={}) == replace(leaderboard, settings={})
    later = {"outside", "outside_agreement", "validation", "normalisers", "ratios", "disputes"}
    assert leaderboard.to_json().keys() - LEADERBOARD.to_json().keys() == later
    assert "account" not in leaderboard.to_json()["validation"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outside": []}, r"outside_agreement\[0\]\.score: expected one of \[\], got \"people's error rate\""),
        (
            {"outside": [{"name": "x", "higher_is_better": True, "values": {"nobody": 1}}], "outside_agreement": []},
            "leaderboard.outside: 'nobody' is no generator of this leaderboard",
        ),
        ({"outside": [{"name": "x", "higher_is_better": True, "values": {"a": "b"}}]}, "values.a: expected a finite"),
        (
            {"normalisers": [{"network": "tiny", "metric": "fid", "value": 1, "n_images": 2}]},
            "a column that has scores",
        ),
        ({"normalisers": [{"network": "tiny", "metric": "x", "value": 1, "n_images": 2}]}, "has the metric 'x'"),
        ({"ratios": [{"generator": "nobody", "value": None, "networks": {}}]}, r"ratios\[0\]\.generator: expected one"),
        ({"disputes": [{"a": "nobody", "b": "squares", "better": [], "worse": []}]}, r"disputes\[0\]\.a: expected one"),
        ({"ratios": []}, r"outside_agreement\[6\]: expected a column that has scores, got 'FDr\^k' by ''"),
    ],
)
def test_numbers_of_what_is_not_on_it_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """A score of no generator, an agreement with no score, a ratio of no column: each is named with its place."""
    path = tmp_path / "leaderboard.json"
    path.write_text(json.dumps({**json.loads(json.dumps(with_outside(LEADERBOARD).to_json())), **change}))
    with pytest.raises(ValueError, match=rf"leaderboard\.json: .*{message}"):
        load_leaderboard(path)


def test_names_of_files_that_are_no_text_come_back(tmp_path: Path) -> None:
    """A file name may hold bytes that are no UTF-8, which Python has as lone surrogates."""
    leaderboard = replace(LEADERBOARD, title="caf\udce9 \u00e9")
    assert load_leaderboard(leaderboard.save(tmp_path / "leaderboard.json")).title == leaderboard.title


def test_a_file_of_the_first_version_is_read() -> None:
    """`files/schema1_leaderboard.json` was written by version 0.1.0, and is never written again."""
    read = load_leaderboard(FILE)
    made = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["emd", "nfd", "lfd", "fid"])
    assert replace(read, writer=made.writer) == made
    assert read.writer == "vdna_metrics 0.1.0"
    written = json.loads(FILE.read_text())
    assert json.loads(json.dumps(read.to_json())) == written
    assert list(read.to_json()) == list(written)


def test_a_registered_metric_is_read_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    """A leaderboard of somebody else's distance needs the package that registers it, and says so."""
    with registered_toys() as toys:
        leaderboard = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=toys)
        path = leaderboard.save(tmp_path / "leaderboard.json")
        assert load_leaderboard(path) == leaderboard
    toy = {name: value for name, value in json.loads(path.read_text()).items() if name != "sha256"}
    for change in ({}, {"metrics": ["emd"]}):
        path.write_text(json.dumps({**toy, **change}))
        with pytest.raises(ValueError, match=r"leaderboard\.json: .* metric 'jsd', .*install .*or import the module"):
            load_leaderboard(path)


def test_the_best_is_first_whichever_way_a_metric_runs() -> None:
    """Columns and classes of a higher-is-better score begin with the largest and the smallest value."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["entropy", "jsd"])
        for metric, sign in (("entropy", -1), ("jsd", 1)):
            values = [sign * score.value for score in leaderboard.column("tiny", metric)]
            assert values == sorted(values)
            assert len(values) == 3
        classes = [record.value for record in leaderboard.classes_of("tiny", "entropy")[NAMES[0]]]
    assert classes == sorted(classes)
    assert len(classes) == 3


def test_columns_are_sorted_nearest_first() -> None:
    """A column is in the order of corrected distances, of plain ones where there are no others."""
    column = LEADERBOARD.column("tiny", "emd")
    assert [score.estimate.corrected for score in column if score.estimate] == sorted(
        score.estimate.corrected for score in column if score.estimate
    )
    plain = replace(LEADERBOARD, scores=tuple(replace(score, estimate=None) for score in reversed(LEADERBOARD.scores)))
    assert [score.value for score in plain.column("tiny", "emd")] == sorted(score.value for score in column)
    assert LEADERBOARD.score("white noise", "tiny", "nfd").generator == "white noise"
    with pytest.raises(KeyError):
        LEADERBOARD.score("white noise", "tiny", "fid")
    assert LEADERBOARD.floor("tiny", "fid") is None


def test_numbers_that_are_none_are_not_written(tmp_path: Path) -> None:
    """JSON has no NaN: such a leaderboard is refused, and the file that is there stays."""
    path = LEADERBOARD.save(tmp_path / "leaderboard.json")
    before = path.read_bytes()
    broken = replace(LEADERBOARD, scores=(replace(LEADERBOARD.scores[0], value=float("nan")),))
    with pytest.raises(ValueError, match="Out of range float"):
        broken.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has schema 2 .*, this version reads up to 1: upgrade"),
        ({"colour": 3}, r"leaderboard: expected the fields title, .* it has \['colour'\] \(of a newer version"),
        ({"title": 3}, "leaderboard.title: expected text, got 3"),
        ({"networks": [{"name": "n"}]}, r"networks\[0\]: expected the fields name, .* it lacks \['fingerprint'"),
        ({"metrics": ["emd", "ssim"]}, "has the metric 'ssim', which nothing registers here: install the package"),
        ({"settings": {"confidence": "x"}}, r"settings\.confidence: expected a finite number, got 'x'"),
        ({"settings": {"confidence": 2}}, r"settings\.confidence: expected a number from 0 to 1, got 2"),
        ({"generators": []}, r"leaderboard\.scores\[0\]\.generator: expected one of \[\], got 'photographs'"),
        ({"networks": []}, r"leaderboard\.scores\[0\]\.network: expected one of \[\], got 'tiny'"),
        ({"scores": []}, r"leaderboard\.pairs\[0\]: expected two generators that have a score of emd by tiny, got 'ph"),
        ({"scores": {}}, r"leaderboard.scores: expected a list, got {}"),
        (
            {"reference": {"name": "r", "source": "s", "n_images": True, "n_found": 3}},
            ": expected a whole number, got Tr",
        ),
    ],
)
def test_what_is_no_leaderboard_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Another schema, and fields that are unknown, missing or of another type, are said with their place."""
    path = tmp_path / "leaderboard.json"
    path.write_text(json.dumps({**_plain(), **change}))
    with pytest.raises(ValueError, match=rf"leaderboard\.json: .*{message}"):
        load_leaderboard(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"{", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    """Damaged files, lists and deep nests are errors that name the file."""
    path = tmp_path / "leaderboard.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"leaderboard\.json: expected a leaderboard\.json"):
        load_leaderboard(path)


def test_whole_numbers_serve_as_numbers() -> None:
    """JSON writers other than ours may write 5.0 as 5."""
    plain = _plain()
    plain["scores"][0]["value"] = 5
    value = Leaderboard.from_json(plain).scores[0].value
    assert (value, type(value)) == (5.0, float)
