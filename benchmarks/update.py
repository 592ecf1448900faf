"""What `update` adds to the forward of its network, at the batch sizes of training.

Each contestant runs the network for itself on the same images, in turn; ratios are of one repeat's times, and their
minimum, median and maximum are printed. `bare` is the network under `torch.inference_mode()` on images that are
normalised already; `read` is our extractor without any metric. `all three` is a `MetricCollection` of the EMD, NFD and
LFD, which share one forward. Then what filling the states costs by itself, for an activation.

The floor of an update beyond the network, for an activation in float32:

- each kind reads 4 bytes of what the layers put out, the histogram twice (extremes, then bins): it lies in no cache
  any more when the forward is over, so 0.2 to 0.4 ns each on one core;
- the histogram divides (0.1 to 0.3 ns in vectors) and increments an address that depends on the data, 0.8 to 2 ns, the
  more the less of a neuron's 8 kB of counts is in a cache: at small batches a neuron has few activations a visit;
- the Gaussians convert to float64 and add, 0.1 to 0.3 ns; the layer Gaussian also `images x d x d` multiplications.

All of it is divided by the threads. A ViT-B/16 spends 150 ns on an activation, a ResNet-18 100 (two cores, AVX-512).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from _measure import beside_stored, interleaved, options, ratios, spread, title, write_json
from torch import Tensor
from torchmetrics import MetricCollection

from vdna_metrics import (
    ActivationRange,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    VDNAEarthMoversDistance,
    create_extractor,
)
from vdna_metrics.distributions import GaussianDistribution, LayerGaussianDistribution, empty_histogram
from vdna_metrics.extractors import FeatureExtractor

STAGES = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
BLOCKS = [*(f"blocks.{i}" for i in range(12)), "norm"]
# Architecture, layers, batches.
CASES: dict[str, tuple[str, list[str], tuple[int, ...]]] = {
    "ViT-B/16": ("vit_base_patch16_224", BLOCKS, (4, 8, 16, 32)),
    "ResNet-18": ("resnet18", STAGES, (4, 8, 16, 32)),
}
QUICK: dict[str, tuple[str, list[str], tuple[int, ...]]] = {"ResNet-18": ("resnet18", STAGES, (2,))}
BINS = 1000


def main() -> None:
    """Print the tables."""
    parser = options(__doc__, "one small batch and three repeats", 7)
    parser.add_argument("--batches", type=int, nargs="+")
    arguments = parser.parse_args()
    repeats, size = (3, 32) if arguments.quick else (arguments.repeats, 224)

    torch.manual_seed(0)
    print(f"{title()}; ratios: minimum, median and maximum of {repeats} repeats")
    rows: list[dict[str, Any]] = []
    for name, (architecture, layers, batches) in (QUICK if arguments.quick else CASES).items():
        network = timm.create_model(architecture, num_classes=0).eval()
        extractor = create_extractor(network, layers=layers, size=size, mean=0.5, std=0.25)
        for batch in arguments.batches or batches:
            images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
            rows += updates(name, network, extractor, images, repeats)
            rows += fills(name, extractor, images, repeats)
    write_json(arguments.json, rows)
    if arguments.quick:
        over_bare = {row["what"]: row["over_bare"][1] for row in rows if "over_bare" in row}
        beside_stored(__file__, {f"{what} over the bare forward": ratio for what, ratio in over_bare.items()})


def updates(
    name: str, network: torch.nn.Module, extractor: FeatureExtractor, images: Tensor, repeats: int
) -> list[dict[str, Any]]:
    """Ratios of an update to the bare forward."""
    ranges = calibrated(extractor, images)
    normalised = (images.float() / 255 - 0.5) / 0.25

    @torch.inference_mode()
    def bare() -> Tensor:
        found: Tensor = network(normalised)
        return found

    def emd() -> VDNAEarthMoversDistance:
        return VDNAEarthMoversDistance(extractor, ranges=ranges)

    contestants: dict[str, Callable[[], object]] = {"bare": bare, "read": lambda: extractor(images)}
    # One after the other, since metrics of one extractor that live together share its forward.
    found: dict[str, tuple[float, float, float]] = {}
    for kind, make in {
        "EMD": emd,
        "EMD, auto ranges": lambda: VDNAEarthMoversDistance(extractor, ranges="auto"),
        "NFD": lambda: NeuronFrechetDistance(extractor),
        "LFD": lambda: LayerFrechetDistance(extractor),
        "all three": lambda: MetricCollection(
            [emd(), NeuronFrechetDistance(extractor), LayerFrechetDistance(extractor)]
        ),
    }.items():
        metric = make()
        pair = contestants | {kind: lambda metric=metric: metric.update(images.clone(), real=False)}
        seconds = {who: clocks.seconds for who, clocks in interleaved(pair, repeats).items()}
        for each in ["read", kind] if kind == "EMD" else [kind]:
            found[each] = ratios(seconds[each], seconds["bare"])
        found.setdefault("bare, s", spread(seconds["bare"]))
        del metric, pair
    bare_seconds = found.pop("bare, s")
    print(f"\n{name}, batch {len(images)}: the bare forward takes {bare_seconds[1]:.3f} s")
    for kind, (low, middle, high) in found.items():
        print(f"  {kind:<20}{low:7.3f} {middle:7.3f} {high:7.3f}")
    shared = {"network": name, "batch": len(images), "bare_s": bare_seconds}
    return [shared | {"what": kind, "over_bare": each} for kind, each in found.items()]


def fills(name: str, extractor: FeatureExtractor, images: Tensor, repeats: int) -> list[dict[str, Any]]:
    """Nanoseconds for an activation that filling the states takes."""
    activations = extractor(images)
    count = sum(each.numel() for each in activations.values())
    states = {
        "histogram": empty_histogram(extractor.layout, calibrated(extractor, images), BINS),
        "histogram, auto ranges": empty_histogram(extractor.layout, "auto", BINS),
        "gaussian": GaussianDistribution.empty(extractor.layout),
        "layer_gaussian": LayerGaussianDistribution.empty(extractor.layout),
    }
    fillers = {kind: partial(state.fill_, activations) for kind, state in states.items()}
    rows = []
    for kind, clocks in interleaved(fillers, repeats).items():
        each = spread(1e9 * taken / count for taken in clocks.seconds)
        print(f"  fill_ {kind:<24}{each[0]:6.2f} {each[1]:6.2f} {each[2]:6.2f} ns an activation, of {count:,}")
        rows.append({"network": name, "batch": len(images), "what": f"fill_ {kind}", "ns_an_activation": each})
    return rows


def calibrated(extractor: FeatureExtractor, images: Tensor) -> Any:
    """Ranges from the images, widened as calibrated ones are."""
    calibration = ActivationRange(extractor)
    calibration.update(images)
    return calibration.ranges()


if __name__ == "__main__":
    main()
