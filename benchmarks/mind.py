"""MIND, of features and of histograms along directions, beside FID on the same features in one run.

What is timed is what a metric does when the network has run: all updates of both sides, in batches, and `compute`. It
is the processor's time, that of all threads, which other work on the machine disturbs little; set `OMP_NUM_THREADS=1`.

- `FID, torchmetrics`: its metric, whose network gives back what it gets;
- `FID`: ours with the same network;
- `MIND`: `MongeInceptionDistance`, which keeps the features;
- `MIND, streaming`: `NeuronWassersteinDistance` of 1000 directions, whose state does not grow.

Repeats take turns, and ratios are of one repeat each: their least, median and greatest. Both FIDs have to agree to
1e-4, both MINDs to 1 %.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch
import torchmetrics
from _measure import options, ratios, title, write_json
from torch import Tensor, nn

from vdna_metrics import (
    FrechetInceptionDistance,
    MongeInceptionDistance,
    NeuronWassersteinDistance,
    PrecomputedFeatures,
    create_extractor,
)

D, SIZES, BATCH, DIRECTIONS = 2048, (1000, 2000, 5000, 10000), 100, 1000
PEER = "FID, torchmetrics"


class Rows(nn.Module):
    """A network that gives back what it gets."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.num_features = d

    def forward(self, rows: Tensor) -> Tensor:
        """`[N, d]`."""
        return rows


@dataclass(frozen=True)
class Row:
    """One metric at one number of images a side.

    Args:
        n: images a side.
        metric: its name.
        value: what it found.
        update: processor's seconds of all updates, a repeat each.
        compute: those of `compute`.
        ratios: of both together to torchmetrics' FID in the same repeat: least, median, greatest.
    """

    n: int
    metric: str
    value: float
    update: list[float]
    compute: list[float]
    ratios: tuple[float, float, float]


def metrics(d: int) -> dict[str, tuple[Callable[[], torchmetrics.Metric], float]]:
    """What makes each metric, and by what its value is multiplied."""
    layer = "features"
    rows = create_extractor(PrecomputedFeatures({layer: d}, directions={layer: DIRECTIONS}))
    along = f"{layer}@directions{DIRECTIONS}"
    return {
        PEER: (lambda: torchmetrics.image.fid.FrechetInceptionDistance(Rows(d)), 1),
        "FID": (lambda: FrechetInceptionDistance(Rows(d)), 1),
        "MIND": (lambda: MongeInceptionDistance(rows, layers=[layer], n_directions=DIRECTIONS), 1),
        "MIND, streaming": (lambda: NeuronWassersteinDistance(rows, layers=[along], ranges="auto"), 3 * d),
    }


def features(n: int, d: int, scale: float) -> Tensor:
    """Correlated features `[n, d]` from 0, as pooled activations are."""
    mixed = torch.randn(d // 4, d) * (d // 4) ** -0.5
    return (torch.randn(n, d // 4) @ mixed).mul_(scale).relu_()


def measure(n: int, d: int, repeats: int) -> list[Row]:
    """All metrics at one number of images."""
    torch.manual_seed(n)
    sides = {True: features(n, d, 1.0), False: features(n, d, 1.1)}
    made = metrics(d)
    update: dict[str, list[float]] = {name: [] for name in made}
    compute: dict[str, list[float]] = {name: [] for name in made}
    values = {}
    for repeat in range(repeats + 1):
        for name, (make, factor) in made.items():
            metric = make()
            start = time.process_time()
            for real, rows in sides.items():
                for batch in rows.split(BATCH):
                    metric.update(batch, real=real)
            filled = time.process_time()
            values[name] = factor * float(metric.compute())
            if repeat:  # the first one makes threads, workspaces and directions
                update[name].append(filled - start)
                compute[name].append(time.process_time() - filled)
    total = {name: [sum(both) for both in zip(update[name], compute[name], strict=True)] for name in made}
    rows = []
    for name in made:
        rows.append(Row(n, name, values[name], update[name], compute[name], ratios(total[name], total[PEER])))
    for name, other, tolerance in (("FID", PEER, 1e-4), ("MIND, streaming", "MIND", 1e-2)):
        if abs(values[name] / values[other] - 1) > tolerance:
            raise SystemExit(f"{n} images: {name} {values[name]:.6g} is not {other} {values[other]:.6g}")
    return rows


def main() -> None:
    """Print the table, or its numbers."""
    arguments = options(__doc__, "small features and one repeat", 5).parse_args()
    d, sizes, repeats = (256, (300,), 1) if arguments.quick else (D, SIZES, arguments.repeats)
    print(f"{title()}, torchmetrics {torchmetrics.__version__}")
    print(f"d = {d}, updates of {BATCH}; processor's seconds, medians of {repeats}; ratios of both together")
    print(f"{'images':>6}  {'metric':20}{'update':>8}{'compute':>9}{'over the first':>20}{'value':>12}")
    found = []
    for n in sizes:
        rows = measure(n, d, repeats)
        found += rows
        for row in rows:
            times = f"{median(row.update):8.2f}{median(row.compute):9.2f}"
            told = " ".join(f"{ratio:.2f}" for ratio in row.ratios)
            print(f"{n:6}  {row.metric:20}{times}{told:>20}{row.value:12.2f}", flush=True)
    write_json(arguments.json, [asdict(row) for row in found])


if __name__ == "__main__":
    main()
