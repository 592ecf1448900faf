"""`extractors`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.commands import put_small_sources, run, run_json

from vdna_metrics.extractors.catalogue import CATALOGUE


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


def test_extractors_lists_the_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`extractors` lists every name with its layers, neurons, input, licence, and what is at hand of it."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    cards = {card["name"]: card for card in run_json("extractors")}
    assert sorted(CATALOGUE) == sorted(cards)
    mugs = cards["mugs_vit_base"]
    assert (len(mugs["layers"]), mugs["neurons"], mugs["licence"]) == (13, 9984, "Apache-2.0")
    assert (mugs["at_hand"], mugs["ranges"]) == (None, "published")
    assert mugs["address"].endswith("/Mugs/mugs_vit_base/weights.pth")
    assert cards["seeded_resnet18"]["ranges"] == "ship"
    assert cards["dinov2_vit_small"]["ranges"] == "auto"
    printed = run("extractors").stdout
    assert "timm:NAME" in printed
    assert re.search(r"mugs_vit_base +13 +9984 +224x224 +download +published +Apache-2.0", printed)
    assert re.search(r"seeded_resnet18 +8 +1920 +224x224 +here +ship +MIT", printed)


def test_extractors_show_one_card() -> None:
    """`extractors show` tells all of one network: its layers, weights, ranges and licence."""
    shown = run("extractors", "show", "dinov2_vit_small").stdout
    for text in ("DINOv2", "block_0 (blocks.0)", "4992", "dinov2_vits14_pretrain.pth", "Apache-2.0", "224x224"):
        assert text in shown
    assert "ranges none ship: histograms find their own" in " ".join(shown.split())
    assert run_json("extractors", "show", "tiny")["layers"] == {"first": "0", "second": "2"}
    error = run("extractors", "show", "mugs_vit_bse", exit_code=1).stderr
    assert "did you mean 'mugs_vit_base'" in error
