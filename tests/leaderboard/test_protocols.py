"""The protocols: each can be measured here, and each part of it says where it is read."""

from __future__ import annotations

import pytest

from vdna_metrics.dna import find_column
from vdna_metrics.leaderboard import LeaderboardSettings, find_protocol, list_protocols
from vdna_metrics.references.formats.published import find_published


@pytest.mark.parametrize("name", list_protocols())
def test_a_protocol_can_be_measured_and_says_its_sources(name: str) -> None:
    """Columns are all in one network, which has their layers; what is told has addresses, but for what is of here."""
    protocol = find_protocol(name)
    assert protocol.name == name
    columns = [find_column(column) for column in protocol.columns]
    assert len({column.extractor for column in columns}) == 1
    for column in columns:
        assert set(column.layers or ()) <= set(protocol.spec.paths)
    settings = LeaderboardSettings(protocol.columns, protocol=name)
    assert settings.metrics == protocol.columns  # their own names, no aliases
    asked = {"generated": protocol.generated, "reference": protocol.reference}
    assert {"network", *(topic for topic, rule in asked.items() if rule.n_images or rule.size)} <= set(protocol.told)
    for topic, told in protocol.told.items():
        assert bool(told.sources) == (topic != "other here"), topic
        assert all(source.startswith("https://") for source in told.sources)


@pytest.mark.parametrize("name", list_protocols())
def test_statistics_of_a_protocol_are_those_of_its_network(name: str) -> None:
    """What a protocol names as its reference is known here, resized as its FID is, and of so many images."""
    protocol = find_protocol(name)
    for statistics in protocol.statistics:
        published = find_published(statistics)
        assert published is not None
        assert published.n_images in (None, protocol.reference.n_images)
        if protocol.columns == ("fid",):
            assert published.mode == protocol.spec.preprocessing


def test_settings_refuse_what_is_not_the_protocols() -> None:
    """Metrics that lack the protocol's columns, other bins, and an unknown protocol are errors with both sides."""
    for given, message in (
        ({"protocol": "adm-gfid-256"}, "the protocol adm-gfid-256 has fid, got emd, nfd, lfd"),
        ({"metrics": ("emd",), "bins": 50, "protocol": "vdna"}, "the protocol vdna has 1000, got 50"),
        ({"protocol": "adm"}, "did you mean 'adm-gfid-256'"),
    ):
        with pytest.raises(ValueError, match=message):
            LeaderboardSettings(**given)  # type: ignore[arg-type]
