"""VDNA-EMD in an Accelerate loop.

torchrun --nproc-per-node 2 examples/training/accelerate_loop.py runs
"""

import argparse
import json
from pathlib import Path

import tiny
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader

from vdna_metrics import VDNAEarthMoversDistance


def main() -> None:
    """Train two epochs; print the distance after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for the checkpoint")
    folder = parser.parse_args().folder
    set_seed(0)
    # --8<-- [start:loop]
    accelerator = Accelerator()
    generator = tiny.Generator()
    generator, optimizer, training = accelerator.prepare(
        generator, torch.optim.Adam(generator.parameters(), lr=0.02), DataLoader(tiny.noise(32, seed=10), batch_size=8)
    )
    metric = VDNAEarthMoversDistance(tiny.extractor(), reference=tiny.references()["histogram"])
    metric.to(accelerator.device)  # and not through prepare()
    distances = []
    for _ in range(2):
        for noise in training:
            optimizer.zero_grad()
            accelerator.backward(tiny.loss_of(generator(noise)))
            optimizer.step()
        with torch.no_grad():
            for noise in tiny.noise(60, seed=11).split(8)[accelerator.process_index :: accelerator.num_processes]:
                images = accelerator.unwrap_model(generator)(noise.to(accelerator.device))
                metric.update(tiny.to_uint8(images))  # no gather_for_metrics: compute() adds up the states
        distances.append(metric.compute().item())  # on every process: it waits for the others
        metric.reset()
    accelerator.save(accelerator.unwrap_model(generator).state_dict(), folder / "accelerate.pt")
    # --8<-- [end:loop]
    if accelerator.is_main_process:
        print(json.dumps({"processes": accelerator.num_processes, "distances": distances}))
    accelerator.end_training()


if __name__ == "__main__":
    main()
