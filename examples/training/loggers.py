"""A layer profile and neurons' histograms in TensorBoard and in Weights & Biases.

python examples/training/loggers.py runs    # writes both; W&B offline
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tiny
from numpy.typing import NDArray

from vdna_metrics import VDNA, VDNAEarthMoversDistance, compare
from vdna_metrics.reports.plots import layer_profile

if TYPE_CHECKING:
    import wandb
    from torch.utils.tensorboard import SummaryWriter


# --8<-- [start:histogram]
def histogram(dna: VDNA, layer: str, neuron: int, groups: int = 100) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts and edges of one neuron, as `numpy.histogram` gives them; bins are joined into groups of equal size."""
    distribution = dna.select(neurons={layer: [neuron]}).distribution
    counts = distribution.counts[0].cpu().numpy().reshape(groups, -1).sum(1)  # 1000 bins into 100 groups
    edges = np.linspace(float(distribution.ranges.low), float(distribution.ranges.high), groups + 1)
    return counts, edges
    # --8<-- [end:histogram]


# --8<-- [start:tensorboard]
def to_tensorboard(
    writer: SummaryWriter, metric: VDNAEarthMoversDistance, neurons: Mapping[str, Sequence[int]], step: int
) -> None:
    """Write the distance of each layer, and the histogram of some neurons."""
    with metric.sync_context():  # so that every process has the DNA of all images
        dna = metric.dna()
    profile = compare.emd(metric.reference, dna, reduction="layer")
    writer.add_figure("vdna/layers", layer_profile({"generated": profile}).figure, step)
    for layer, indices in neurons.items():
        for neuron in indices:
            counts, edges = histogram(dna, layer, neuron)
            centres = (edges[1:] + edges[:-1]) / 2
            writer.add_histogram_raw(
                f"vdna/{layer}/{neuron}",
                min=edges[0],
                max=edges[-1],
                num=counts.sum(),
                sum=(counts * centres).sum(),
                sum_squares=(counts * centres**2).sum(),
                bucket_limits=edges[1:].tolist(),
                bucket_counts=counts.tolist(),
                global_step=step,
            )
            # --8<-- [end:tensorboard]


# --8<-- [start:wandb]
def to_wandb(run: wandb.Run, metric: VDNAEarthMoversDistance, neurons: Mapping[str, Sequence[int]], step: int) -> None:
    """Log the distance of each layer as numbers and as a picture, and the histogram of some neurons."""
    import wandb

    with metric.sync_context():
        dna = metric.dna()
    profile = compare.emd(metric.reference, dna, reduction="layer")
    logged = {f"vdna/layers/{layer}": float(distance) for layer, distance in profile.items()}
    logged["vdna/profile"] = wandb.Image(layer_profile({"generated": profile}).figure)
    for layer, indices in neurons.items():
        for neuron in indices:
            logged[f"vdna/{layer}/{neuron}"] = wandb.Histogram(np_histogram=histogram(dna, layer, neuron))
    run.log(logged, step=step)
    # --8<-- [end:wandb]


def main() -> None:
    """Log two steps of a generator that does not learn."""
    import wandb
    from torch.utils.tensorboard import SummaryWriter

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    metric = VDNAEarthMoversDistance(tiny.extractor(), reference=tiny.references()["histogram"])
    generator, neurons = tiny.Generator().requires_grad_(False), {"early": [0, 5], "late": [2]}
    with SummaryWriter(folder / "tensorboard") as writer, wandb.init(mode="offline", dir=folder) as run:
        for step in range(2):
            metric.update(tiny.to_uint8(generator(tiny.noise(16, seed=step))))
            to_tensorboard(writer, metric, neurons, step)
            to_wandb(run, metric, neurons, step)


if __name__ == "__main__":
    main()
