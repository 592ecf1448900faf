"""VDNA-EMD in a Fabric loop.

python examples/training/fabric_loop.py runs --devices 2
"""

import argparse
import json
from pathlib import Path

import tiny
import torch
import torch.distributed as dist
from lightning.fabric import Fabric, seed_everything
from torch.utils.data import DataLoader

from vdna_metrics import VDNAEarthMoversDistance


def main() -> None:
    """Train two epochs; print the distance after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for the checkpoint")
    parser.add_argument("--devices", type=int, default=1, help="processes")
    options = parser.parse_args()
    devices = options.devices
    seed_everything(0, verbose=False)
    # --8<-- [start:loop]
    fabric = Fabric(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto")
    fabric.launch()
    model = tiny.Generator()
    generator, optimizer = fabric.setup(model, torch.optim.Adam(model.parameters(), lr=0.02))
    training = fabric.setup_dataloaders(DataLoader(tiny.noise(32, seed=10), batch_size=8))
    metric = VDNAEarthMoversDistance(tiny.extractor(), reference=tiny.references()["histogram"]).to(fabric.device)
    distances = []
    for _ in range(2):
        for noise in training:
            optimizer.zero_grad()
            fabric.backward(tiny.loss_of(generator(noise)))
            optimizer.step()
        with torch.no_grad():
            for noise in tiny.noise(60, seed=11).split(8)[fabric.global_rank :: fabric.world_size]:
                metric.update(tiny.to_uint8(generator.module(noise.to(fabric.device))))
        distances.append(metric.compute().item())  # on every process: it waits for the others
        metric.reset()
    fabric.save(options.folder / "fabric.ckpt", {"generator": generator, "optimizer": optimizer})
    # --8<-- [end:loop]
    if fabric.is_global_zero:
        print(json.dumps({"processes": fabric.world_size, "distances": distances}))
    if dist.is_initialized():  # Lightning leaves it open, and a gloo that is open at exit can abort the process
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
