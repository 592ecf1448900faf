"""A leaderboard by two ranks over gloo: rank 0 decides and writes, all do their shares of its passes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from helpers.commands import put_small_networks, small_images, write_folder
from helpers.ranks import run_ranks

from vdna_metrics import FeatureExtractor, Reading
from vdna_metrics.build import led
from vdna_metrics.distributions.ranks import RankError
from vdna_metrics.leaderboard import (
    Leaderboard,
    LeaderboardPlan,
    LeaderboardSettings,
    append_to_leaderboard,
    leaderboard_differences,
    make_leaderboard,
    replay_leaderboard,
)

_RANK = r"""
import sys
from pathlib import Path
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
import test_leading as here
dist.init_process_group("gloo")
print(*here.observe(Path({folder!r})), sep="\n")
dist.destroy_process_group()
"""


def observe(folder: Path) -> list[object]:
    """What ranks see, each in a folder of its own as on machines that share no disk but the images'."""
    put_small_networks(pytest.MonkeyPatch())
    rank, seen, told = dist.get_rank(), list[int](), list[object]()
    run = FeatureExtractor.from_resized

    def counted(self: FeatureExtractor, images: Any) -> Any:
        seen.append(len(images))
        return run(self, images)

    FeatureExtractor.from_resized = counted  # type: ignore[method-assign]
    (folder / str(rank)).mkdir()
    os.chdir(folder / str(rank))
    settings = LeaderboardSettings(("emd", "nfd", "lfd", "kid"), groups=2, bins=40, pictures=2, diagnosis=4)
    sources = [(name, str(folder / name.rpartition(" ")[0])) for name in ("x (1)", "y (2)", "z (3)")]
    plan = LeaderboardPlan(
        (str(folder / "real"),), tuple(sources[:2]), ("tiny",), settings, validation=str(folder / "val")
    )
    reading = Reading(batch_size=4, all_ranks=True)

    def work(reading: Reading) -> list[Leaderboard]:
        made, _ = make_leaderboard(plan, cache=Path("cache"), reading=reading)
        added, _ = append_to_leaderboard(made, sources[2:], cache=Path("cache"), reading=reading)
        return [added, replay_leaderboard(added, reading=reading)[0]]

    found = led(work, reading)
    if found is not None:
        alone, _ = make_leaderboard(replace(plan, generators=tuple(sources)), reading=Reading(batch_size=4))
        for each in found:
            assert leaderboard_differences(alone, each, tolerance=1e-9) == []
            assert [score.value for score in each.scores if score.metric in ("emd", "kid")] == [
                score.value for score in alone.scores if score.metric in ("emd", "kid")
            ]
    else:
        told.append(f"{len(seen)} batches")
    told.append(sorted(path.name for path in Path("cache").glob("*/unfinished")))

    def fail(_: Reading) -> None:
        raise ValueError("rank 0 has no plan")

    for wrong in (fail, work):
        if rank == 1:
            FeatureExtractor.from_resized = None  # type: ignore[method-assign, assignment]
        try:
            led(wrong, reading)
        except (RankError, ValueError, TypeError) as error:
            told.append(type(error).__name__)
    return told


@pytest.mark.slow
def test_ranks_make_the_leaderboard_of_one_process(tmp_path: Path) -> None:
    """Made, added to and replayed: the numbers of one process, counts to the bit; who fails ends all ranks."""
    for seed, (name, number) in enumerate({"real": 9, "x": 8, "y": 7, "z": 4, "val": 6}.items()):
        write_folder(tmp_path / name, small_images(number, seed))
    first, second = run_ranks(_RANK.format(folder=str(tmp_path)), Path(__file__).parent)
    assert first.split("\n")[:-1] == ["[]", "ValueError", "RankError"]
    assert second.split("\n")[:-1] == ["8 batches", "[]", "RankError", "TypeError"]
