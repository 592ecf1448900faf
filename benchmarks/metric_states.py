"""What a metric holds: the bytes of its states, and memory over updates. Time is told by `update.py`.

The states follow from the layout alone, so the networks of the catalogue are built without weights or memory, on
torch's meta device.

The floor of a state: a histogram is `bins + 2` whole numbers a neuron, whether its ranges are given or found (int64: a
neuron of Inception's first layer sees 6.8e9 activations of ImageNet), a Gaussian two sums a neuron, a layer Gaussian
one and a square a layer (float64, so that sums in any order agree to 1e-12).
"""

import argparse

import psutil
import timm
import torch

from vdna_metrics import ActivationRanges, NeuronFrechetDistance, create_extractor
from vdna_metrics.distributions import GaussianDistribution, HistogramDistribution, LayerGaussianDistribution
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.extractors.architectures import build_architecture
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.spec import ExtractorSpec
from vdna_metrics.layout import NeuronLayout

BINS = (100, 1000)


def layout_of(spec: ExtractorSpec) -> NeuronLayout:
    """An extractor's neurons, found by a forward that computes nothing."""
    with torch.device("meta"):
        network = build_architecture(spec.architecture, spec.architecture_kwargs)
        probe = torch.zeros(1, 3, *(spec.preprocess.size or (64, 64)))
    return FeatureExtractor(network, spec, weights="", probe=probe).layout


def state_bytes(layout: NeuronLayout) -> dict[str, int]:
    """Bytes of one side's state, of every kind."""
    ends = {layer: [0.0] * count for layer, count in layout.items()}
    ranges = ActivationRanges.from_extremes(ends, ends)
    histograms = {f"EMD, {bins} bins": HistogramDistribution.empty(ranges, bins, device="meta") for bins in BINS}
    gaussians = {
        "NFD": GaussianDistribution.empty(layout, device="meta"),
        "LFD": LayerGaussianDistribution.empty(layout, device="meta"),
    }
    return {name: distribution.state.nbytes for name, distribution in {**histograms, **gaussians}.items()}


def print_states(names: list[str]) -> None:
    """The table, one row for all extractors of one layout."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        try:
            layout = layout_of(CATALOGUE[name])
        except ValueError as error:  # an extra that is not installed
            print(f"{name} is left out: {error}")
            continue
        cells = [f"{size / 1e6:.3g} MB" for size in state_bytes(layout).values()]
        rows.setdefault((str(layout.total), str(len(layout)), *cells), []).append(name)
    kinds = [*(f"EMD, {bins} bins" for bins in BINS), "NFD", "LFD"]
    print("| extractor | neurons | layers | " + " | ".join(kinds) + " |")
    print("| --- |" + " ---: |" * (2 + len(kinds)))
    for cells, alike in sorted(rows.items(), key=lambda row: int(row[0][0])):
        print(f"| {', '.join(f'`{name}`' for name in alike)} | " + " | ".join(cells) + " |")


def print_growth(updates: int) -> None:
    """Resident memory of this process over updates of a metric."""
    stages = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    resnet = timm.create_model("resnet18", num_classes=0)
    metric = NeuronFrechetDistance(create_extractor(resnet, layers=stages, size=64, mean=0.5, std=0.25))
    process = psutil.Process()
    print(f"\nresident memory after updates, {len(stages)} layers, 64 px")
    for done in range(updates + 1):
        if done in (0, updates // 3, 2 * updates // 3, updates):
            print(f"{done:>6} {process.memory_info().rss / 2**20:8.1f} MiB")
        metric.update(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few small networks and updates, for CI")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    print_states(["seeded_resnet18", "inception"] if arguments.quick else list(CATALOGUE))
    print_growth(30 if arguments.quick else 300)


if __name__ == "__main__":
    main()
