"""FID in training: updates and `compute` against torchmetrics', and with EMD and NFD from the same forward.

Everybody has one FID Inception of drawn weights, which costs what the trained one does, and takes the same images of
299 pixels in turn. `forward` is the network alone, as ours runs it: what no metric can save. Seconds are the
processor's, of all threads, which other work on the machine disturbs little. A `compute` after few images is one of
covariances of low rank; `benchmarks/frechet.py` has the others.
"""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchmetrics
from _measure import beside_stored, options, ratios, title, write_json
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance as PeerFID

from vdna_metrics import FrechetInceptionDistance, NeuronFrechetDistance, VDNAEarthMoversDistance
from vdna_metrics.extractors.architectures import fid_inception, seeded_state_dict

SHARING = (VDNAEarthMoversDistance, NeuronFrechetDistance)
FORWARD, OURS, THREE, PEER = "forward", "FID", "FID + EMD + NFD", "FID, torchmetrics"


def contestants(weights: Path) -> dict[str, Callable[[], Any]]:
    """What makes each metric, empty."""
    extractor = FrechetInceptionDistance(feature_extractor_weights_path=weights).extractor

    def ours() -> FrechetInceptionDistance:
        return FrechetInceptionDistance(feature_extractor_weights_path=weights)

    def three() -> torchmetrics.MetricCollection:
        fid = ours()
        return torchmetrics.MetricCollection([fid, *(kind(fid.extractor) for kind in SHARING)])

    def peer() -> PeerFID:
        return PeerFID(2048, feature_extractor_weights_path=str(weights))

    return {FORWARD: lambda: extractor, OURS: ours, THREE: three, PEER: peer}


def measure(make: Callable[[], Any], sides: dict[bool, list[Tensor]]) -> tuple[float, float, Any]:
    """Processor's seconds of the updates and of `compute`, and the value."""
    metric = make()
    start = time.process_time()
    for real, batches in sides.items():
        for batch in batches:
            if isinstance(metric, torchmetrics.Metric | torchmetrics.MetricCollection):
                metric.update(batch, real=real)
            else:
                metric(batch)
    filled = time.process_time()
    value = metric.compute() if hasattr(metric, "compute") else None
    return filled - start, time.process_time() - filled, value


def main() -> None:
    """Print the table."""
    parser = options(__doc__, "two batches of two images and one repeat", 3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--updates", type=int, default=2, help="of a side")
    arguments = parser.parse_args()
    batch, updates, repeats = (2, 1, 1) if arguments.quick else (arguments.batch, arguments.updates, arguments.repeats)

    warnings.filterwarnings("ignore", "real images", UserWarning)  # which are few
    stream = torch.Generator().manual_seed(0)
    sides = {
        real: [torch.randint(0, top, (batch, 3, 299, 299), dtype=torch.uint8, generator=stream) for _ in range(updates)]
        for real, top in ((True, 256), (False, 200))
    }
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "inception.pth"
        torch.save(seeded_state_dict(fid_inception(), 0), weights)
        made = contestants(weights)
        for make in made.values():  # threads and workspaces
            measure(make, {real: [batches[0][:2]] for real, batches in sides.items()})
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
        values: dict[str, Any] = {}
        for _ in range(repeats):
            for name, make in made.items():
                filling, computing, values[name] = measure(make, sides)
                found[name].append((filling, computing))

    print(f"{title()}, torchmetrics {torchmetrics.__version__}")
    print(
        f"{updates} updates of {batch} images a side; processor's seconds, medians of {repeats}; ratios over FID's own,"
    )
    print("lowest, median, highest")
    print(f"{'':20}{'update':>9}{'compute':>9}{'update / FID':>18}{'both / FID':>18}")
    for name, times in found.items():
        cells = ""
        for pick in (lambda pair: pair[0], sum):
            low, middle, high = ratios([pick(own) for own in times], [pick(ours) for ours in found[OURS]])
            cells += f"{f'{low:.2f} {middle:.2f} {high:.2f}':>18}"
        print(f"{name:20}{median(t[0] for t in times):9.2f}{median(t[1] for t in times):9.2f}{cells}")
    fid, peer = float(values[OURS]), float(values[PEER])
    print(f"FID {fid:.6g}, torchmetrics {peer:.6g}")
    if abs(float(values[THREE]["FrechetInceptionDistance"]) / fid - 1) > 1e-6:
        raise SystemExit(f"FID beside others is {values[THREE]}, alone {fid:.9g}")
    if abs(fid / peer - 1) > 1e-2:  # of resizing and rank deficient covariances
        raise SystemExit(f"FID {fid:.6g} is not torchmetrics' {peer:.6g}")
    write_json(arguments.json, found)
    if arguments.quick:
        both = {name: median(map(sum, times)) for name, times in found.items()}
        beside_stored(__file__, {f"{name} over FID": both[name] / both[OURS] for name in (PEER, THREE)})


if __name__ == "__main__":
    main()
