"""Through what DNAs are made and compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import put_small_sources, run, run_json


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_small_sources(tmp_path, monkeypatch)


def test_a_column_of_some_layers_is_that_of_these_layers() -> None:
    """`lfd[second]` is what `--layers second` makes of lfd, alone and beside columns of all layers."""
    words = ("score", "gen_a", "--reference", "real", "--extractor", "tiny", "--metrics")
    (chosen,) = run_json(*words, "lfd", "--layers", "second")["results"]
    (alone,) = run_json(*words, "lfd[second]")["results"]
    (beside,) = run_json(*words, "lfd,lfd[second]", "--by", "layer")["results"]
    assert alone["lfd[second]"] == beside["lfd[second]"] == chosen["lfd"]
    assert list(beside["lfd[second]_by_layer"]) == ["second"]
    assert list(beside["lfd_by_layer"]) == ["first", "second"]


def test_dnas_alone_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNAs are scored without building the network that they are of; images are not."""
    run("make", "real", "--extractor", "tiny", "-o", "real.npz")
    monkeypatch.setattr("vdna_metrics.cli.settings.create_extractor", lambda *_, **__: pytest.fail("it was built"))
    assert run_json("score", "real.npz", "--reference", "real.npz")["results"][0]["emd"] == 0
    with pytest.raises(pytest.fail.Exception):
        run("score", "gen_a", "--reference", "real.npz")
