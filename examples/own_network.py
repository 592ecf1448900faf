"""A network of your own, from the training loop to a report, without calibration.

    python examples/own_network.py
    torchrun --nproc-per-node 2 examples/own_network.py

A small module watches a generator in training. The real images that the metric saw become a reference in a folder, and
from the shell the same module scores the generator's images and draws a report. Offline, in seconds; put your module in
place of `Network`, with its weights, and your generator and images in place of the others.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vdna_metrics import VDNAEarthMoversDistance
from vdna_metrics.references import add_reference

SIZE = 32
INPUT = {"layers": ["edges", "parts"], "mean": 0.5, "std": 0.25}
INPUT_IN_SHELL = ["--layers", "edges,parts", "--mean", "0.5", "--std", "0.25"]


class Network(nn.Module):
    """In place of yours: the activations of two convolutions are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.edges, self.parts = nn.Conv2d(3, 8, 5, stride=2), nn.Conv2d(8, 16, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.parts(self.edges(images).relu())


def network() -> Network:
    """What `--extractor own_network.py:network` calls; yours loads its weights here, or by `--weights FILE`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network()


class Generator(nn.Module):
    """Noise `[N, 8]` to images `[N, 3, 32, 32]` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 3 * SIZE * SIZE), nn.Sigmoid())

    def forward(self, noise: Tensor) -> Tensor:
        return self.layers(noise).view(-1, 3, SIZE, SIZE)


def noise(n: int, seed: int) -> Tensor:
    """Noise `[n, 8]`, the same for the same seed."""
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


def real_images(n: int) -> Tensor:
    """In place of your data: bright uint8 images `[n, 3, 32, 32]` with some grain."""
    stream = torch.Generator().manual_seed(1)
    shade = torch.rand(n, 3, 1, 1, generator=stream)
    grain = torch.rand(n, 3, SIZE, SIZE, generator=stream)
    return to_uint8(0.6 + 0.3 * shade + 0.1 * grain)


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] to uint8, rounded as files on disk would be."""
    return images.mul(255).round().to(torch.uint8)


def save(images: Tensor, folder: Path) -> None:
    """As PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:03}.png")


def shell(*command: str) -> None:
    """Run `vdna-metrics` as a shell would; without torchrun's variables, by which it would wait for other ranks."""
    print(f"$ vdna-metrics {shlex.join(command)}", flush=True)
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    subprocess.run([sys.executable, "-m", "vdna_metrics", *command], env=alone, check=True)


def main() -> None:
    """Train and watch; then score and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="for what is written; a temporary one by default")
    parser.add_argument("--small", action="store_true", help="fewer images")
    arguments = parser.parse_args()
    n_images = 60 if arguments.small else 300
    if "RANK" in os.environ:
        dist.init_process_group("gloo")  # "nccl" on GPUs, and metric.to(device)
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    torch.manual_seed(0)
    bare = Generator()
    generator = DistributedDataParallel(bare) if ranks > 1 else bare
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.02)

    # --8<-- [start:loop]
    # No ranges are known for this network, so histograms find their own.
    metric = VDNAEarthMoversDistance(network(), **INPUT, reset_real_features=False)
    for batch in real_images(n_images).split(20)[rank::ranks]:  # each process sees its share
        metric.update(batch, real=True)
    for epoch in range(3):
        for step in range(4):
            optimizer.zero_grad()
            images = generator(noise(16, seed=1000 * epoch + ranks * step + rank))
            (images - 0.8).square().mean().backward()  # in place of your loss
            optimizer.step()
        metric.reset()
        with torch.no_grad():
            shown = [to_uint8(bare(z)) for z in noise(n_images, seed=7).split(20)[rank::ranks]]
        for batch in shown:
            metric.update(batch)
        distance = metric.compute()  # over all processes
        if rank == 0:
            print(f"epoch {epoch}: {distance:.2f} bins")
    # --8<-- [end:loop]
    if rank == 0:
        print(metric)

    # --8<-- [start:reference]
    folder = arguments.folder or Path(tempfile.mkdtemp())
    with metric.sync_context():  # the DNA of all processes' images
        if rank == 0:
            add_reference(metric.dna(real=True), folder / "store", dataset="photos", split="train")
    # --8<-- [end:reference]
    if rank == 0:
        with torch.no_grad():
            images = torch.cat([to_uint8(bare(z)) for z in noise(n_images, seed=7).split(20)])
        save(images, folder / "generated")
        reference, sets = f"{folder / 'store'}::photos/train", str(folder / "generated")
        own = ["--reference", reference, "--metrics", "emd", "--trust-code", *INPUT_IN_SHELL]
        shell("score", sets, *own, "--extractor", f"{__file__}:network", "--by", "layer")
        shell("leaderboard", sets, *own, "--extractors", f"{__file__}:network", "-o", str(folder / "report"))
        print(f"in the loop, by {ranks} processes: {distance:.2f} bins")
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
