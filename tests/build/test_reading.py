"""Memory of a pass is told before the work and bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import small_images
from helpers.dnas import tiny_extractor

from vdna_metrics import ActivationRanges, Reading, build_dnas
from vdna_metrics.analysis import collect_features
from vdna_metrics.build import disjoint_groups
from vdna_metrics.build.reading import check_memory
from vdna_metrics.distributions.memory import LIMIT_VARIABLE, StateSize

EXTRACTOR = tiny_extractor()
ENDS = {layer: [400.0] * count for layer, count in EXTRACTOR.layout.items()}
RANGES = ActivationRanges.from_extremes({layer: [-x for x in row] for layer, row in ENDS.items()}, ENDS)


def _build(reading: Reading, groups: int = 3, bins: int = 1000) -> Any:
    images = small_images(6, 0)
    kinds: Any = ["histogram", "gaussian"]
    partition = disjoint_groups(6, groups)
    return build_dnas(images, EXTRACTOR, kinds, bins=bins, ranges=RANGES, partition=partition, reading=reading)


def test_too_much_is_refused_before_an_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what takes how much and what to do, and is there before any work or memory is spent."""

    def refuse(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("vdna_metrics.images.batches.ImageDataset.__getitem__", refuse)
    with pytest.raises(
        ValueError, match=r"array: expected at most 10 kB of memory \(memory_limit\), got .*: histogram"
    ):
        _build(Reading(memory_limit=10_000))
    monkeypatch.setenv(LIMIT_VARIABLE, "10000")
    with pytest.raises(
        ValueError, match=rf"{LIMIT_VARIABLE}\), got .*Take fewer groups or parts, kinds, layers, neurons or"
    ):
        _build(Reading())
    monkeypatch.delenv(LIMIT_VARIABLE)
    with pytest.raises(ValueError, match="half of this machine's memory"):  # terabytes, of which none is allocated
        build_dnas(small_images(500, 0), EXTRACTOR, bins=1 << 24, ranges=RANGES, partition=disjoint_groups(500, 500))
    with pytest.raises(ValueError, match="features: 6 x"):
        collect_features(small_images(6, 0), EXTRACTOR, reading=Reading(memory_limit=10))


def test_what_the_caller_says_is_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`memory_limit` is taken where it is given; a variable that is no number is named."""
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    assert sorted(_build(Reading(memory_limit=10**8))["histogram"]) == [0, 1, 2]
    monkeypatch.setenv(LIMIT_VARIABLE, "much")
    with pytest.raises(ValueError, match=f"{LIMIT_VARIABLE} must be a whole number of bytes, got 'much'"):
        _build(Reading())


def test_much_is_told_and_little_is_not() -> None:
    """A sentence before the work where there are hundreds of megabytes of parts, or a gigabyte; else none."""
    told: list[str] = []
    reading = Reading(notice=told.append, memory_limit=10**12)
    _build(reading)
    check_memory("photos", [StateSize("features", 1, 10**8)], reading)
    assert told == []
    check_memory("photos", [StateSize("gaussian DNAs", 10, 10**6), StateSize("histogram DNAs", 10, 10**8)], reading)
    assert told == ["photos: 1 GB of memory for histogram DNAs: 10 x 100 MB, gaussian DNAs: 10 x 1 MB"]


def test_limits_bound_what_is_kept() -> None:
    """The bytes that are counted are those of the states: a limit of just as many is enough, of one less is not."""
    dnas = _build(Reading())
    n_bytes = sum(dna.distribution.state.nbytes for parts in dnas.values() for dna in parts.values())
    again = _build(Reading(memory_limit=n_bytes))
    assert np.array_equal(again["histogram"][0].distribution.state, dnas["histogram"][0].distribution.state)
    with pytest.raises(ValueError, match=r"of memory .*, got "):
        _build(Reading(memory_limit=n_bytes - 1))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "expected batch_size of at least 1, got 0"),
        ({"batch_size": "8"}, TypeError, "expected batch_size to be a whole number, got '8'"),
        ({"workers": -1}, ValueError, "expected workers of at least 0, got -1"),
        ({"memory_limit": 1.5}, TypeError, "expected memory_limit to be a whole number, got 1.5"),
        ({"shard": (3, 2)}, ValueError, r"expected a shard \(i, n\) with 0 <= i < n, got \(3, 2\)"),
        ({"shard": 3}, TypeError, "expected shard to be tuple, got the int 3"),
        ({"checkpoint": 3}, TypeError, "expected checkpoint to be str or Path or NoneType, got the int 3"),
        ({"device": 3}, TypeError, "expected device to be device or str, got the int 3"),
    ],
)
def test_a_way_of_reading_that_cannot_be_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Values are checked when they are given, not when the first image is read."""
    with pytest.raises(error, match=message):
        Reading(**options)


def test_a_checkpoint_may_be_a_string() -> None:
    """The folder of a checkpoint is a path, however it is given."""
    assert Reading(checkpoint="kept").checkpoint == Path("kept")
