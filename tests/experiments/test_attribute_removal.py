"""The images of the experiment that removes attributes."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "experiments"


def test_plantings_of_a_photograph_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are in one split and one group, which depend on the photograph's name; each has changes of its own."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    removal, common = (importlib.import_module(name) for name in ("attribute_removal", "_common"))
    experiment = common.Experiment("some", quick=True, shared=tmp_path, work=tmp_path)
    images = removal.photographs(experiment, 3)
    table = np.stack(list(images.attributes.values()), axis=1)
    assert len(set(images.source.names)) == len(images.source) == removal.PLANTINGS * 96
    unlike = 0
    for number in range(96):
        rows = np.flatnonzero(images.numbers == number)
        assert len(rows) == removal.PLANTINGS
        assert len({(images.split[row], images.group[row]) for row in rows}) == 1
        unlike += len({tuple(row) for row in table[rows].tolist()}) > 1
    assert unlike > 90
    test = images.split == "test"
    assert set(images.group[test].tolist()) == {0, 1, 2}
    assert not images.group[~test].any()


def test_images_have_the_attributes_that_are_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table tells what was done: without any attribute a planting is its photograph, with one it is not."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    removal, common, pixels = (importlib.import_module(name) for name in ("attribute_removal", "_common", "_images"))
    experiment = common.Experiment("some", quick=True, shared=tmp_path, work=tmp_path)
    images = removal.photographs(experiment, 3)
    originals = pixels.join("all", experiment.open("bsds500.zip"), experiment.open("imagenet_sample_1000.zip"))
    for place in range(0, len(images.source), 7):
        has = [bool(of_image[place]) for of_image in images.attributes.values()]
        same = np.array_equal(images.source.read(place), pixels.pixels(originals, images.numbers[place], 96))
        assert same == (not any(has))
