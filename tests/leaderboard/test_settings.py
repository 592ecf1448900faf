"""Settings of a leaderboard, and which network has which of its columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers.commands import put_small_networks
from helpers.distances import JSD, registered

from vdna_metrics import create_extractor
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.leaderboard import LeaderboardSettings
from vdna_metrics.leaderboard.settings import group_by_network


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks `tiny` and `other`, and a small one under the name that `fid` has."""
    put_small_networks(monkeypatch)
    inception = replace(CATALOGUE["tiny"], name="fid_inception", layers={"block_2": "0", "block_3": "2"})
    monkeypatch.setitem(CATALOGUE, "fid_inception", inception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ()}, "got none"),
        ({"metrics": ("emd", "nfdd")}, "unknown distance 'nfdd'; did you mean 'nfd'"),
        ({"metrics": ("nfd", "neuron_frechet")}, "each once, got nfd, nfd"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"pictures": -1}, "expected pictures of at least 0, got -1"),
        ({"groups": 1}, "expected groups of at least 2, got 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    """Each is named, an unknown column with near ones."""
    with pytest.raises(ValueError, match=message):
        LeaderboardSettings(**options)


def test_a_string_is_no_sequence_of_columns() -> None:
    """Names in a string are refused, not read as letters, with what to write."""
    for option in ("metrics", "layers"):
        with pytest.raises(
            TypeError, match=rf"expected {option} to be a sequence of names, got 'emd': write \['emd'\]"
        ):
            LeaderboardSettings(**{option: "emd"})  # type: ignore[arg-type]


def test_an_unknown_bias_rule_is_refused_before_the_work() -> None:
    """Settings name a column whose distance has a rule that nobody knows."""
    with registered(replace(JSD, bias="bootstrap")), pytest.raises(ValueError, match="unknown bias rule, 'bootstrap'"):
        LeaderboardSettings(metrics=("emd", "jsd"))


def test_columns_have_their_own_names_and_layers() -> None:
    """An alias becomes the name; layers of the settings, for all or by column, are for columns without layers."""
    settings = LeaderboardSettings(("layer_frechet", "lfd[second]", "fid"), layers=["first"])  # type: ignore[arg-type]
    assert settings.metrics == ("lfd", "lfd[second]", "fid")
    assert [column.layers for column in settings.columns] == [("first",), ("second",), ("block_3",)]
    by_column = LeaderboardSettings(("emd", "nfd"), layers={"nfd": ["first"]})  # type: ignore[dict-item]
    assert [column.layers for column in by_column.columns] == [None, ("first",)]


def test_each_network_comes_once_with_all_its_columns() -> None:
    """Columns without a network go to each extractor, others to their own, also where that is one of the extractors."""
    settings = LeaderboardSettings(("emd", "fid", "lfd"))
    found = group_by_network(settings, ["tiny", "other"], {})
    assert [(each.label, [column.name for column in each.columns]) for each in found] == [
        ("tiny", ["emd", "lfd"]), ("other", ["emd", "lfd"]), ("fid_inception", ["fid"]),
    ]  # fmt: skip
    (both,) = group_by_network(settings, ["fid_inception"], {})
    assert [column.name for column in both.columns] == ["emd", "lfd", "fid"]
    assert both.last_layer == "block_3"
    assert both.layers("layer_gaussian") is None


def test_a_column_s_network_can_be_another() -> None:
    """An override is taken for all columns that name the network; two networks of one name are told apart."""
    mine = replace(CATALOGUE["fid_inception"], name="tiny", precision="bf16")
    found = group_by_network(LeaderboardSettings(("nfd", "fid")), ["tiny"], {"fid_inception": mine})
    assert [each.label for each in found] == ["tiny", "tiny (2)"]
    assert found[1].extractor is create_extractor(mine)
    assert found[1].layers() == ["block_3"]


@pytest.mark.parametrize(
    ("metrics", "extractors", "options", "message"),
    [
        (("emd",), [], {}, "0 extractors for the metrics emd"),
        (("fid",), ["tiny"], {}, "1 extractors for the metrics fid"),
        (("emd",), ["tiny"], {"networks": {"fid_inception": "other"}}, "no column names the network 'fid_inception'"),
        (("nfd[frist]",), ["tiny"], {}, r"nfd\[frist\]: unknown layer 'frist'; did you mean 'first'"),
        (("nfd",), ["tiny", "other"], {"neurons": {"first": [0]}}, "belong to one network, got tiny, other"),
        (("nfd", "fid"), ["tiny"], {"weights": {"first": [0.0] * 6}}, "belong to one network, got tiny, fid_inception"),
    ],
)
def test_what_does_not_go_together_is_refused(
    metrics: tuple[str, ...], extractors: list[str], options: dict[str, Any], message: str
) -> None:
    """Columns and networks, layers, and neurons of several networks are refused before any work."""
    with pytest.raises(ValueError, match=message):
        group_by_network(LeaderboardSettings(metrics), extractors, options.pop("networks", {}), **options)
