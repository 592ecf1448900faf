"""VDNA-EMD in a plain DistributedDataParallel loop, with a checkpoint in the middle of an evaluation.

torchrun --nproc-per-node 2 examples/training/torchrun_loop.py runs
"""

import argparse
import json
from pathlib import Path

import tiny
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from vdna_metrics import VDNAEarthMoversDistance


def evaluation_metric() -> VDNAEarthMoversDistance:
    """The metric, with states that go into checkpoints."""
    metric = VDNAEarthMoversDistance(tiny.extractor(), reference=tiny.references()["histogram"])
    metric.persistent(True)
    return metric


# --8<-- [start:checkpoint]
def save(metric: VDNAEarthMoversDistance, path: Path) -> None:
    """Save what all processes have seen; every process calls this."""
    with metric.sync_context():
        state = metric.state_dict()
        if not dist.is_initialized() or dist.get_rank() == 0:
            torch.save(state, path)


def load(metric: VDNAEarthMoversDistance, path: Path) -> None:
    """Go on from there, on any number of processes: one takes the sum, the others start from nothing."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        metric.load_state_dict(torch.load(path))
        # --8<-- [end:checkpoint]


def images_after(rank: int) -> torch.Tensor:
    """What each process sees after the checkpoint."""
    return tiny.real_images()[: 8 + rank] // (2 + rank)


def main() -> None:
    """Train, then evaluate in two halves with a checkpoint between them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for the checkpoint")
    path = parser.parse_args().folder / "metric.pt"
    torch.manual_seed(0)
    # --8<-- [start:loop]
    dist.init_process_group("gloo")  # "nccl" on GPUs, and metric.to(device)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    generator = DistributedDataParallel(tiny.Generator())
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.02)
    for step in range(8):
        optimizer.zero_grad()
        tiny.loss_of(generator(tiny.noise(8, seed=ranks * step + rank))).backward()
        optimizer.step()

    metric = evaluation_metric()
    with torch.no_grad():
        for noise in tiny.noise(60, seed=11).split(8)[rank::ranks]:  # this process's share; they need not be equal
            metric.update(tiny.to_uint8(generator.module(noise)))
    distance = metric.compute().item()  # on every process: it waits for the others
    # --8<-- [end:loop]
    save(metric, path)
    resumed = evaluation_metric()
    load(resumed, path)
    after = []
    for each in (metric, resumed):
        after.append(each.compute().item())
        each.update(images_after(rank))
        after.append(each.compute().item())
    if rank == 0:
        torch.save(generator.module.state_dict(), path.with_name("torchrun.pt"))
        print(json.dumps({"distance": distance, "went on": after[:2], "resumed": after[2:]}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
