"""What one process does, by two over gloo: rank 0 decides, both do their shares of the passes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from helpers.commands import small_images, write_folder
from helpers.dnas import MADE, tiny_extractor
from helpers.ranks import run_ranks

from vdna_metrics import FeatureExtractor, Reading
from vdna_metrics.build import build_set
from vdna_metrics.build.sets import BuiltSet
from vdna_metrics.distributions.ranks import RankError
from vdna_metrics.dna import VDNA, GroupedDNA

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


def _dnas(found: BuiltSet) -> list[VDNA]:
    grouped = [dna.groups for dna in found.dnas.values() if isinstance(dna, GroupedDNA)]
    classes = [found.classes[kind].values() for kind in sorted(found.classes)]
    return [dna for dnas in (*grouped, *classes) for dna in dnas]


def _assert_same(found: BuiltSet, expected: BuiltSet) -> None:
    for a, b in zip(_dnas(found), _dnas(expected), strict=True):
        assert torch.equal(a.distribution.state, b.distribution.state)
        assert a.provenance == b.provenance
    assert found.features is not None
    assert expected.features is not None
    assert torch.equal(found.features, expected.features)
    parts = ("name", "names", "digests", "manifest", "skipped")
    assert [getattr(found, part) for part in parts] == [getattr(expected, part) for part in parts]


def observe(folder: Path) -> list[object]:
    """Sets are built by both ranks, each in a folder of its own as on machines that share no disk, then by one."""
    told: list[object] = []
    rank, seen, run = dist.get_rank(), list[int](), FeatureExtractor.from_resized
    os.chdir(folder / str(rank))
    FeatureExtractor.from_resized = lambda self, images: seen.append(len(images)) or run(self, images)  # type: ignore
    kinds = [kind for kind in MADE if kind != "auto"]
    options: dict[str, Any] = {"groups": 3, "features": "second", "classes": True}
    reading = Reading(batch_size=3, skip_bad=True, all_ranks=True)
    for time in range(2):
        if rank:
            found = build_set("not there", "no network", cache="/dev/null", reading=Reading(all_ranks=True))
        else:
            found = build_set(folder / "set", tiny_extractor(), kinds, cache="cache", **options, reading=reading)
        told.append(f"{len(seen)} batches, {len(found.reused)} of {len(kinds)} kinds reused")
        seen.clear()
        alone = replace(reading, all_ranks=False, checkpoint=folder / f"{rank}{time}")
        _assert_same(found, build_set(folder / "set", tiny_extractor(), kinds, **options, reading=alone))
        seen.clear()
    told.append(sorted({path.suffix for path in Path("cache").rglob("*") if path.is_file()}))
    try:
        build_set(folder / "set", tiny_extractor(), ["none"], reading=reading)  # type: ignore[list-item]
    except (RankError, ValueError) as error:
        told.append(error)
    return told


@pytest.mark.slow
def test_two_ranks_build_a_set_as_one_process(tmp_path: Path) -> None:
    """Rank 0's arguments and cache alone count, both ranks get the very bits of one process, and fail together."""
    images = small_images(14, 0)
    write_folder(tmp_path / "set" / "a", images[:7])
    write_folder(tmp_path / "set" / "b", images[7:])
    (tmp_path / "set" / "a" / "004.png").write_bytes(b"no image")
    for rank in "01":
        (tmp_path / rank).mkdir()
    first, second = run_ranks(_RANK.format(folder=str(tmp_path)), Path(__file__).parent)
    built = "{} batches, 0 of 4 kinds reused\n0 batches, 4 of 4 kinds reused\n"
    assert first.startswith(f"{built.format(3)}['.json', '.npz']\nunknown kind 'none'")
    assert second == f"{built.format(2)}[]\nrank 0 failed: its own error says why\n"
