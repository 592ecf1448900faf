"""Samplers that give each image to one rank alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.ranks import run_ranks
from hypothesis import given, strategies as st

from vdna_metrics.build import UnpaddedSampler


@given(st.integers(0, 50), st.integers(1, 9))
def test_each_image_has_one_rank(n_images: int, ranks: int) -> None:
    """Ranks share all images, none twice, and none has more than one image more than another."""
    samplers = [UnpaddedSampler(n_images, rank=rank, ranks=ranks) for rank in range(ranks)]
    dealt = [list(sampler) for sampler in samplers]
    assert sorted(index for indices in dealt for index in indices) == list(range(n_images))
    assert [len(sampler) for sampler in samplers] == list(map(len, dealt))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def test_without_processes_it_is_all_images() -> None:
    """One process that knows of no other reads all; a dataset tells how many it has."""
    assert list(UnpaddedSampler("abc")) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2, "ranks": 2}, "expected a rank below 2, got 2"),
        ({"rank": -1, "ranks": 2}, "rank.* -1"),
        ({"ranks": 0}, "ranks.* 0"),
    ],
)
def test_ranks_that_there_are_not_are_refused(options: dict[str, int], message: str) -> None:
    """A rank is one of so many."""
    with pytest.raises(ValueError, match=message):
        UnpaddedSampler(3, **options)


_RANK = """
import warnings
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from helpers.commands import small_images
from helpers.dnas import tiny_extractor
from vdna_metrics import NeuronFrechetDistance, Reading, build_dnas
from vdna_metrics.build import UnpaddedSampler
from vdna_metrics.dna.caveats import set_caveats
dist.init_process_group("gloo")
extractor, pixels = tiny_extractor(), torch.from_numpy(small_images(10, 0)).permute(0, 3, 1, 2)
real = build_dnas(pixels // 2, extractor, ["gaussian"])["gaussian"]
images = TensorDataset(pixels)
for sampler in (DistributedSampler(images, shuffle=False), UnpaddedSampler(images)):
    loader = DataLoader(images, batch_size=2, sampler=sampler)
    dna = build_dnas(loader, extractor, ["gaussian"], reading=Reading(all_ranks=True))["gaussian"]
    metric = NeuronFrechetDistance(extractor, reference=real)
    for (batch,) in loader:
        metric.update(batch)
    warnings.simplefilter("ignore")
    value = metric.compute()
    metric.sync()
    print(dna.n_images, metric.dna().n_images, dna.provenance.account.formats[0], set_caveats(dna).get("repeated"))
    metric.unsync()
whole = NeuronFrechetDistance(extractor, reference=real, sync_on_compute=False)
whole.update(pixels)
torch.testing.assert_close(value, whole.compute(), rtol=1e-5, atol=0.0)
assert dna.provenance.account.pixels.repeated == 0
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_padded_loader_counts_images_twice_and_an_unpadded_one_does_not() -> None:
    """Three ranks of ten images: torch's sampler gives twelve, and a warning; ours ten, and one process's value."""
    padded = (
        "2 of 12 images are the same as another one, pixel by pixel, and count again: give each rank its own by "
        "build.UnpaddedSampler"
    )
    printed = f"12 12 ('tensor', 12) {padded}\n10 10 ('tensor', 10) None\n"
    assert run_ranks(_RANK, Path(__file__).parent, 3) == [printed] * 3
