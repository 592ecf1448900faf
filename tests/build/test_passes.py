"""Every pass goes on after an interrupt, and sums over ranks, to the very result of one that ran through."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import small_images
from helpers.dnas import settled, tiny_extractor
from helpers.ranks import run_ranks

from vdna_metrics import Reading, build_dnas, calibrate
from vdna_metrics.analysis import collect_features, compare_images, find_exemplars, rank_images
from vdna_metrics.analysis.explain import explain
from vdna_metrics.build import attributes, class_folders, disjoint_groups
from vdna_metrics.build.dnas import DNARequest, make_dnas
from vdna_metrics.build.passes import Checkpoint
from vdna_metrics.images import open_images
from vdna_metrics.images.batches import FACTS
from vdna_metrics.schema import ArrayField

EXTRACTOR = tiny_extractor()
IMAGES, OTHERS = small_images(11, 0), small_images(11, 1) // 2
RANGES = calibrate(IMAGES, EXTRACTOR)
REAL = build_dnas(OTHERS, EXTRACTOR, ["histogram", "gaussian", "layer_gaussian"], bins=50, ranges=RANGES)
FAKE = build_dnas(IMAGES, EXTRACTOR, bins=50, ranges=RANGES)
EXPLANATION = explain(REAL["histogram"], FAKE["histogram"])
HAS = {"even": [i % 2 == 0 for i in range(11)], "first": [i < 3 for i in range(11)]}


def _dnas(partition: Any) -> Callable[[Reading], Any]:
    def run(reading: Reading) -> Any:
        kinds: Any = ["histogram", "gaussian"]
        made = build_dnas(IMAGES, EXTRACTOR, kinds, bins=50, ranges=RANGES, partition=partition, reading=reading)
        dnas = [dna for parts in made.values() for dna in parts.values()]
        return [*(settled(dna.distribution) for dna in dnas), *(dna.provenance for dna in dnas)]

    return run


def _ranking(found: Any) -> Any:
    pictures = [found.pictures[index] for index in sorted(found.pictures)]
    return [found.scores, found.layer_distances, found.indices, found.skipped, *pictures]


def _exemplars(reading: Reading) -> Any:
    found = find_exemplars(EXPLANATION, IMAGES, EXTRACTOR, neurons=3, number=2, reading=reading)
    kept = [exemplar for exemplars in found.neurons.values() for exemplar in exemplars]
    return [list(found.mean_pull.items()), [(e.index, e.pull) for e in kept], *(e.image for e in kept)]


def _features(reading: Reading) -> Any:
    found = collect_features(IMAGES, EXTRACTOR, mirrored=True, reading=reading)
    return [found.vectors, found.mirrored, found.names, found.digests]


def _samples(reading: Reading) -> Any:
    requests = {
        name: DNARequest("features", EXTRACTOR.layout, partition, feature_images=6)
        for name, partition in (("whole", None), ("groups", disjoint_groups(11, 3)))
    }
    made = make_dnas(IMAGES, EXTRACTOR, requests, reading=reading).dnas
    return [dna.distribution.state for parts in made.values() for dna in parts.values()]


PASSES: dict[str, Callable[[Reading], Any]] = {
    "groups": _dnas(disjoint_groups(11, 3)),
    "classes": _dnas(class_folders(IMAGES)),
    "attributes": _dnas(attributes(HAS)),
    "rank by EMD": lambda r: _ranking(rank_images(IMAGES, REAL["histogram"], EXTRACTOR, pictures=2, reading=r)),
    "rank by LFD": lambda r: _ranking(rank_images(IMAGES, REAL["layer_gaussian"], EXTRACTOR, pictures=2, reading=r)),
    "pairs": lambda r: _ranking(compare_images(OTHERS, IMAGES, EXTRACTOR, ranges=RANGES, pictures=1, reading=r)),
    "one to many": lambda r: _ranking(compare_images(OTHERS[:1], IMAGES, EXTRACTOR, distance="nfd", reading=r)),
    "exemplars": _exemplars,
    "features": _features,
    "samples of features": _samples,
}


def _assert_same(a: Any, b: Any) -> None:
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("batches", [1, 2])
def test_a_pass_that_is_stopped_goes_on(tmp_path: Path, name: str, batches: int) -> None:
    """Stopped after some batches, it reads only the others, and its result is that of a whole pass to the bit."""
    run, reading, asked = PASSES[name], Reading(batch_size=4, checkpoint=tmp_path), iter(range(1, 99))
    with pytest.raises(KeyboardInterrupt):
        run(replace(reading, stop=lambda: next(asked) == batches))
    counts: list[int] = []
    resumed = run(replace(reading, progress=lambda done, _: counts.append(done)))
    assert counts == [4, 8, 11][batches:]
    _assert_same(resumed, run(Reading(batch_size=4)))


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Killed without warning, it goes on from the last time that it was kept, to the same result."""
    monkeypatch.setattr(Checkpoint, "is_due", lambda self, every=60.0: True)

    def killed(done: int, _total: int | None) -> None:
        if done == 8:
            raise MemoryError

    run, reading = PASSES[name], Reading(batch_size=4, checkpoint=tmp_path)
    with pytest.raises(MemoryError):
        run(replace(reading, progress=killed))
    counts: list[int] = []
    resumed = run(replace(reading, progress=lambda done, _: counts.append(done)))
    assert counts == [8, 11]
    _assert_same(resumed, run(Reading(batch_size=4)))


def test_passes_keep_apart_in_one_folder(tmp_path: Path) -> None:
    """What one pass left is never taken by another: each leaves a file of its own."""
    reading = Reading(batch_size=4, checkpoint=tmp_path, stop=lambda: True)
    for run in PASSES.values():
        with pytest.raises(KeyboardInterrupt):
            run(reading)
    assert len(list(tmp_path.iterdir())) == len(PASSES)
    _assert_same(PASSES["pairs"](replace(reading, stop=None)), PASSES["pairs"](Reading(batch_size=4)))


def test_a_pass_of_another_forward_is_not_taken_up(tmp_path: Path) -> None:
    """What a module left whose forward was edited since, with the same weights, is refused and named."""

    class Net(torch.nn.Conv2d):
        def __init__(self, bend: Callable[[torch.Tensor], torch.Tensor]) -> None:
            super().__init__(3, 4, 3)
            self.bend = bend
            torch.nn.init.constant_(self.weight, 0.1)
            torch.nn.init.zeros_(self.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bend(super().forward(x))

    reading = Reading(batch_size=4, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build_dnas(IMAGES, Net(torch.relu), ["gaussian"], reading=replace(reading, stop=lambda: True))
    with pytest.raises(ValueError, match=r"was left by another network: responses of layer 'output' .*delete .*npz"):
        build_dnas(IMAGES, Net(torch.tanh), ["gaussian"], reading=reading)
    counts: list[int] = []
    watched = replace(reading, progress=lambda done, _: counts.append(done))
    build_dnas(IMAGES, Net(torch.relu), ["gaussian"], reading=watched)
    assert counts == [8, 11]


def test_paths_and_names_are_taken(tmp_path: Path) -> None:
    """A path and an extractor's name are opened as metrics do, by every function that reads images."""
    np.save(tmp_path / "few.npy", IMAGES[:3])
    path, source = str(tmp_path / "few.npy"), open_images(tmp_path / "few.npy")
    dna = build_dnas(path, "vdna_tiny")["histogram"]
    assert (dna.n_images, dna.provenance.sources) == (3, (source.name,))
    assert calibrate(path, "vdna_tiny", layers=["blocks.0"]).n_images == 3
    assert len(rank_images(path, dna, "vdna_tiny")) == len(collect_features(path, "vdna_tiny")) == 3
    assert len(compare_images(path, path, "vdna_tiny")) == 3
    with pytest.raises(TypeError, match=r"expected images that can be read by number .* got batches of list"):
        rank_images([torch.zeros(1, 3, 8, 8)], dna, "vdna_tiny")  # type: ignore[list-item]


# --------------------------------------------------------------------------------------------------------------- ranks
_RANK = """
import sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
import test_passes as here
from vdna_metrics import Reading, build_dnas
dist.init_process_group("gloo")
for name, run in here.PASSES.items():
    ranks = run(Reading(batch_size=2, all_ranks=True))
    alone = run(Reading(batch_size=2))
    for a, b in zip(ranks, alone, strict=True):
        if isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-9, msg=name)
        else:
            assert a == b, name
try:
    other = Reading(all_ranks=True, shard=(1 - dist.get_rank(), 2))
    build_dnas(here.IMAGES, here.EXTRACTOR, ["gaussian"], reading=other)
except ValueError as error:
    assert "of this rank, got" in str(error), error
else:
    raise AssertionError("a shard of another rank was taken")
whole = build_dnas(here.IMAGES, here.EXTRACTOR, ["gaussian"], reading=Reading(all_ranks=True, batch_size=2))["gaussian"]
print("images", whole.n_images)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_share_the_images_by_themselves() -> None:
    """Two gloo processes without a shard each read half, and every pass gives both what one process gets."""
    assert run_ranks(_RANK, Path(__file__).parent) == ["images 11\n"] * 2


def test_all_ranks_need_a_process_group() -> None:
    """Without one, `all_ranks` is refused before the work, with what to do."""
    with pytest.raises(ValueError, match=r"call torch\.distributed\.init_process_group\(\) first"):
        build_dnas(IMAGES, EXTRACTOR, ["gaussian"], reading=Reading(all_ranks=True))


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Values and arrays come back for the same settings and part, for no other, and for states of that shape alone."""
    arrays: dict[str, Any] = {"state": np.arange(5), "digests": np.array(["ab", "cd"], "S64")}
    arrays |= {"indices": np.arange(2), **{f"fact_{name}": np.ones(2, FACTS[name]) for name in FACTS.names or ()}}
    states = {"state": ArrayField((5,), "i8")}
    values = {"count": 3, "skipped": [("a", "cut")], "next_batch": 1}
    Checkpoint(tmp_path / "kept", ["a", 1], (0, 2)).save(values, arrays)
    kept = Checkpoint(tmp_path / "kept", ["a", 1], (0, 2))
    restored = kept.restore(states)
    assert restored is not None
    assert vars(restored[0]) == {**values, "skipped": (("a", "cut"),), "fingerprint": None}
    assert {name: array.tolist() for name, array in restored[1].items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    with pytest.raises(ValueError, match=r"member 'state\.npy': expected i8 \[1\], got i8 \[5\]"):
        kept.restore({"state": ArrayField((1,), "i8")})
    assert Checkpoint(tmp_path / "kept", ["a", 1], (1, 2)).restore(states) is None
    assert Checkpoint(tmp_path / "kept", ["a", 2], (0, 2)).restore(states) is None


def test_a_folder_that_is_removed_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does the same pass at the same time may be done first and remove what was kept; the pass goes on."""
    folder = tmp_path / "kept"
    run = PASSES["features"]
    monkeypatch.setattr(Checkpoint, "is_due", lambda self, every=60.0: True)
    mkdir = Path.mkdir

    def removed(self: Path, *arguments: Any, **options: Any) -> None:
        mkdir(self, *arguments, **options)
        shutil.rmtree(self)

    monkeypatch.setattr(Path, "mkdir", removed)
    found = run(Reading(batch_size=4, checkpoint=folder))
    assert not folder.exists()
    _assert_same(found, run(Reading(batch_size=4)))


def test_it_is_time_to_save_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is due after a minute, and where saving is slow, when that is a twentieth of the time."""

    def at(*seconds: float) -> None:
        clock = iter(seconds)
        monkeypatch.setattr("vdna_metrics.build.passes.time", SimpleNamespace(monotonic=lambda: next(clock)))

    at(0, 59, 59, 61)
    checkpoint = Checkpoint(tmp_path, [], (0, 1))
    assert (checkpoint.is_due(), checkpoint.is_due(every=10), checkpoint.is_due()) == (False, True, True)
    at(100, 110, 300, 311)  # ten seconds to save
    checkpoint.save({}, {})
    assert (checkpoint.is_due(), checkpoint.is_due()) == (False, True)
