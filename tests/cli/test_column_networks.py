"""In which network each column is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.commands import put_small_sources, run, run_json

from vdna_metrics.cli.column_networks import group_by_network
from vdna_metrics.dna import find_column
from vdna_metrics.references.resolve import HeldDNA, held_dnas


def _groups(held: dict[str, list[HeldDNA]], columns: str, asked: str | None = None) -> dict[str, list[str]]:
    _first, groups = group_by_network(held, [find_column(name) for name in columns.split(",")], asked)
    return {network: [column.name for column in mine] for network, mine in groups.items()}


def _held(**kinds: str) -> dict[str, list[HeldDNA]]:
    """Of one name, ``{network: kinds}``, each of that network's layers."""
    layers = {"sfid_inception": ("mixed_6_conv",)}
    dnas = [
        HeldDNA(network, kind, layers.get(network, ("block_3",) if "inception" in network else ("conv",)))
        for network, some in kinds.items()
        for kind in some.split(",")
    ]
    return {"faces/train": dnas}


def _held_of_bundled() -> dict[str, list[HeldDNA]]:
    """Of a name that ships."""
    return {"bsds500/trainval": held_dnas("bsds500/trainval")}


def test_columns_without_a_network_take_the_only_one_that_serves_them_all() -> None:
    """Of a name's networks the one with a DNA for each column; where several have them, how to say which is told."""
    held = _held(one="histogram", both="histogram,features", other="histogram,gaussian")
    assert _groups(held, "emd,kid") == {"both": ["emd", "kid"]}
    say = r"emd of faces/train could be of one or both or other: say which, by --extractor one or faces/train@one for"
    with pytest.raises(ValueError, match=say):
        _groups(held, "emd")
    adm = {"adm/x": _held(fid_inception="layer_gaussian", sfid_inception="layer_gaussian")["faces/train"]}
    assert _groups({**adm, **_held(one="histogram")}, "emd,sfid") == {"one": ["emd"], "sfid_inception": ["sfid"]}
    assert _groups(held, "emd", "other") == {"other": ["emd"]}
    assert _groups(_held(one="layer_gaussian", other="histogram"), "nfd") == {"one": ["nfd"]}
    assert _groups(_held_of_bundled(), "emd,kid,mind,vendi") == {"vdna_tiny": ["emd", "kid", "mind", "vendi"]}


def test_a_column_takes_that_run_of_its_network_which_the_reference_has() -> None:
    """Fid and sfid of an import of ADM's statistics; the network by its own name goes before other runs of it."""
    adm = _held(fid_inception_legacy_tensorflow="layer_gaussian", sfid_inception="layer_gaussian")
    split = {"fid_inception_legacy_tensorflow": ["fid"], "sfid_inception": ["sfid"]}
    assert _groups(adm, "sfid") == {"sfid_inception": ["sfid"]}
    assert _groups(adm, "fid,sfid") == split
    clean = _held(fid_inception="layer_gaussian", fid_inception_legacy_tensorflow="layer_gaussian")
    assert _groups(clean, "fid") == {"fid_inception": ["fid"]}
    assert _groups(clean, "fid", "fid_inception_legacy_tensorflow") == {"fid_inception_legacy_tensorflow": ["fid"]}
    mine = {"faces/train": [HeldDNA("my_inception", "layer_gaussian", ("block_3",))]}
    assert _groups(mine, "fid") == {"my_inception": ["fid"]}
    two = _held(fid_inception_legacy_pytorch="layer_gaussian", fid_inception_legacy_tensorflow="layer_gaussian")
    with pytest.raises(ValueError, match=r"could be of .*: say which, by faces/train@fid_inception_legacy_py"):
        _groups(two, "fid")


@pytest.mark.parametrize("asked", [None, "vdna_tiny"])
def test_a_column_whose_network_a_reference_lacks_is_refused(asked: str | None) -> None:
    """What the column is of, and what the reference has, are said."""
    with pytest.raises(ValueError, match="fid is defined in fid_inception, and bsds500/trainval has layer_gaussian "):
        _groups(_held_of_bundled(), "emd,fid,kid", asked)


def test_a_name_of_several_networks_is_scored_in_the_one_that_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are those of the name with the network."""
    put_small_sources(tmp_path, monkeypatch)
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    for network, kinds in (("tiny", "histogram,gaussian"), ("other", "gaussian")):
        run("references", "build", "real", "--name", "cats/train", "--extractor", network, "--kinds", kinds)
    words = ("score", "gen_a", "--metrics", "emd,nfd", "--reference")
    open_name, named = run_json(*words, "cats/train"), run_json(*words, "cats/train@tiny")
    assert open_name["extractor"] == "tiny"
    assert open_name["results"] == named["results"]
