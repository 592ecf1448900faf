"""What a metric costs: the bytes of its states, the time of an update beside its network's, and memory over updates.

The states follow from the layout alone, so the networks of the catalogue are built without weights or memory, on
torch's meta device. Updates are timed on networks of drawn weights, which cost what trained ones do; all contestants
take the same images in turn, each runs the network for itself, and the medians of the processor's time are compared:
that of all threads, which other work on the machine disturbs little.

The floor of a state: a histogram is `bins + 2` whole numbers a neuron, whether its ranges are given or found (int64: a
neuron of Inception's first layer sees 6.8e9 activations of ImageNet), a Gaussian two sums a neuron, a layer Gaussian
one and a square a layer (float64, so that sums in any order agree to 1e-12).
"""

import argparse
import platform
import time
from collections.abc import Callable, Mapping
from statistics import median

import psutil
import timm
import torch

from vdna_metrics import (
    ActivationRange,
    ActivationRanges,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    VDNAEarthMoversDistance,
    create_extractor,
)
from vdna_metrics.distributions import (
    GaussianDistribution,
    HistogramDistribution,
    LayerGaussianDistribution,
    empty_histogram,
)
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.extractors.architectures import build_architecture
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.spec import ExtractorSpec
from vdna_metrics.layout import NeuronLayout

BINS = (100, 1000)
SOME = 49  # positions


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


def networks(quick: bool) -> Mapping[str, FeatureExtractor]:
    """A convolutional network and a transformer, of drawn weights."""
    size = 32 if quick else 224
    vit = timm.create_model("vit_small_patch16_224", img_size=size, num_classes=0)
    resnet = timm.create_model("resnet18", num_classes=0)
    stages = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    return {
        "ResNet-18": create_extractor(resnet, layers=stages, size=size, mean=0.5, std=0.25),
        "ViT-S/16": create_extractor(vit, layers=[*(f"blocks.{i}" for i in range(12)), "norm"], size=size),
    }


def print_updates(name: str, extractor: FeatureExtractor, images: torch.Tensor, repeats: int) -> None:
    """Milliseconds an image, of the network alone and of what each metric adds to it."""
    calibration = ActivationRange(extractor)
    calibration.update(images)
    ranges = calibration.ranges()
    del calibration  # two readers would share one forward
    contestants: dict[str, Callable[[], object]] = {"network alone": lambda: extractor(images)}
    makers: dict[str, Callable[[], VDNAEarthMoversDistance | NeuronFrechetDistance | LayerFrechetDistance]] = {
        "EMD": lambda: VDNAEarthMoversDistance(extractor, ranges=ranges),
        "EMD, auto ranges": lambda: VDNAEarthMoversDistance(extractor, ranges="auto"),
        f"EMD, max_positions={SOME}": lambda: VDNAEarthMoversDistance(extractor, ranges=ranges, max_positions=SOME),
        "NFD": lambda: NeuronFrechetDistance(extractor),
        "LFD": lambda: LayerFrechetDistance(extractor),
    }
    for kind, make in makers.items():
        metric = make()
        contestants[kind] = lambda metric=metric: metric.update(images.clone())
    activations = extractor(images)
    for how, given in (("given", ranges), ("auto", "auto")):
        histogram = empty_histogram(extractor.layout, given, BINS[-1])
        contestants[f"counting, {how} ranges"] = lambda histogram=histogram: histogram.fill_(activations)
    seconds: dict[str, list[float]] = {kind: [] for kind in contestants}
    for repeat in range(repeats + 1):
        for kind, run in contestants.items():
            start = time.process_time()
            run()
            if repeat:  # the first one warms up
                seconds[kind].append(time.process_time() - start)
    alone = median(seconds["network alone"])
    for kind, taken in seconds.items():
        added = "" if kind.startswith("counting") else f"{(median(taken) - alone) / alone:+9.1%}"
        print(f"{name:<12}{kind:<24}{1e3 * median(taken) / len(images):8.2f} ms{added}")
    for what, auto, given in (
        ("an update", "EMD, auto ranges", "EMD"),
        ("counting", "counting, auto ranges", "counting, given ranges"),
    ):
        print(
            f"{name:<12}{what} of auto ranges takes {median(seconds[auto]) / median(seconds[given]):.2f} times as long"
        )
    looks = []
    for _ in range(repeats):
        start = time.process_time()
        extractor.weights(contents=True)
        looks.append(time.process_time() - start)
    share = median(looks) / alone
    print(f"{name:<12}{'look into the weights':<24}{1e3 * median(looks):8.2f} ms once, {share:.1%} of a batch")


def print_growth(extractor: FeatureExtractor, updates: int) -> None:
    """Resident memory of this process over updates of a metric."""
    metric, process = NeuronFrechetDistance(extractor), psutil.Process()
    print(f"\nresident memory after updates, {len(extractor.layout)} layers, 64 px")
    for done in range(updates + 1):
        if done in (0, updates // 3, 2 * updates // 3, updates):
            print(f"{done:>6} {process.memory_info().rss / 2**20:8.1f} MiB")
        metric.update(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few small networks and one repeat, for CI")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    arguments = parser.parse_args()
    repeats, images = (1, 2) if arguments.quick else (arguments.repeats, arguments.images)

    torch.manual_seed(0)
    print_states(["seeded_resnet18", "inception"] if arguments.quick else list(CATALOGUE))
    machine = platform.processor() or platform.machine()
    print(f"\n{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"processor's time an image, updates of {images}, medians of {repeats}; beside: what the metric adds")
    batch = torch.randint(0, 256, (images, 3, 32, 32) if arguments.quick else (images, 3, 224, 224), dtype=torch.uint8)
    built = networks(arguments.quick)
    for name, extractor in built.items():
        print_updates(name, extractor, batch, repeats)
    print_growth(built["ResNet-18"], 30 if arguments.quick else 300)


if __name__ == "__main__":
    main()
