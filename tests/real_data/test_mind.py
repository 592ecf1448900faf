"""MIND of photographs: from histograms along directions as from the features themselves."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "experiments"


@pytest.mark.real_data
@pytest.mark.slow
def test_histograms_along_directions_give_mind(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two halves of photographs and of eight disturbances it is that of the features to 1 %, by the experiment."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    common, images, mind = (importlib.import_module(name) for name in ("_common", "_images", "streaming_mind"))
    experiment = common.Experiment("mind", quick=False, shared=shared, work=tmp_path)
    network = mind._network(replace(experiment, quick=True))  # the one that ships
    photographs = images.draw(experiment.open("bsds500.zip"), 100)
    found = mind.compare(experiment, network, photographs, mind.MIDDLE, (50,), mind.SIZE)
    pairs = {name: each[50] for name, each in found.items()}
    halves = pairs[mind.HALVES].exact
    assert len(pairs) == 9
    assert all(abs(pair.streaming - pair.exact) <= 0.01 * max(pair.exact, halves) for pair in pairs.values()), pairs
    assert min(pairs["blur 2"].exact, pairs["noise 32"].exact) > 5 * halves
