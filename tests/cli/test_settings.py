"""Through what DNAs are made and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import put_small_sources, run, run_json

from vdna_metrics.cli.settings import NO_HISTOGRAMS, NO_NETWORK, _first_dnas, find_settings
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import find_column
from vdna_metrics.references import ImageSet, import_statistics


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
    monkeypatch.setattr("vdna_metrics.cli.settings.extractor_and_layout", lambda *_, **__: pytest.fail("it was built"))
    assert run_json("score", "real.npz", "--reference", "real.npz")["results"][0]["emd"] == 0
    with pytest.raises(pytest.fail.Exception):
        run("score", "gen_a", "--reference", "real.npz")


def test_statistics_of_two_layers_serve_by_the_layer_that_is_compared(tmp_path: Path) -> None:
    """Of an ADM file, which has FID's DNA and sFID's, `--layers` or the columns say which."""
    path = tmp_path / "VIRTUAL.npz"
    sizes = {"mu": 2048, "mu_s": 2023}
    moments = {name: np.zeros(size) for name, size in sizes.items()}
    covariances = {name.replace("mu", "sigma"): np.eye(size, dtype=np.float32) for name, size in sizes.items()}
    np.savez(path, **moments, **covariances)
    fid, sfid = import_statistics(path, n_images=40)
    statistics = ImageSet("adm", "adm", dnas=(fid, sfid))
    kinds: list[Kind] = ["layer_gaussian"]
    (layer,) = find_column("fid").layers or ()
    assert (list(fid.layout), layer) == (["block_3"], "block_3")
    assert _first_dnas([statistics], kinds, None, [layer])["layer_gaussian"].layout == fid.layout
    assert _first_dnas([statistics], kinds, None, list(sfid.layout))["layer_gaussian"].layout == sfid.layout
    network = replace(NO_NETWORK, layers=("block_3",))
    chosen = [
        find_settings(NO_NETWORK, NO_HISTOGRAMS, columns=[find_column("fid")], sets=[statistics]),
        find_settings(network, NO_HISTOGRAMS, columns=[find_column("lfd")], sets=[statistics]),
    ]
    assert [dict(settings.layout) for settings in chosen] == [{"block_3": 2048}] * 2
    with pytest.raises(ValueError, match=r"adm has DNAs of the networks .*: say which, by @fid"):
        _first_dnas([statistics], kinds, None, None)
