"""Histogram accumulation against the vdna package's, on the same activations in one process.

`vdna` 0.1.1 normalises a batch in float64 and calls `torch.histc` for one channel after the other; that path is called
here as its `get_data_features` calls it, and its counts are added up as it does. `histc` is the leaner loop that one
would write instead: a call a channel on the float32 activations, with the range as its arguments. `ours` is what a
metric's `update` does: `extremes`, then `accumulate_histogram_`, in the loops that numba compiles; `numpy` is the same
without numba. Before anything is timed, counts must agree but for the few activations that rounding puts into the next
bin (`moved`); those of `ours` and `numpy` must be equal.

The floor for an activation in float32 on one core (EPYC, AVX-512), each measured alone:

- memory: 4 bytes are read twice, for the extremes and for counting, 0.2 ns each;
- arithmetic: extremes 0.2 ns; subtract, multiply, divide, clip, convert in one loop 0.1 to 0.3 ns. In NumPy each is a
  pass over a piece in the caches, 0.6 to 1.0 ns together, and more where rows are short;
- counting: a load, an increment and a store at an address that depends on the data: 0.6 ns where the counts are in the
  nearest cache and neighbours do not wait for each other, 1.1 ns by `index_add_`, the fastest that torch and NumPy have
  (`np.add.at`, `bincount` 1.4, `scatter_add_` 1.4, `np.bincount` 1.5, `histc` 7 to 9);
- histograms: `8 * bins` bytes a neuron are fetched and written once a batch, which weighs where a neuron has few
  activations (392 of 7 x 7 maps of 8 images fetch some 60 lines of 64 bytes: 1 to 3 ns an activation).

No thread waits for another, so two cores take half of it. Peers gain little from a second core where they copy the
batch: fresh memory for float64 costs them more than the arithmetic.
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from _measure import beside_stored, interleaved, options, ratios, title, write_json
from torch import Tensor
from vdna.utils.stats import histogram_per_channel

from vdna_metrics.functional import accumulate_histogram_, extremes, histogram

BINS = 1000
PEERS = ("numpy", "vdna", "histc")


def conv_map(images: int, neurons: int, side: int) -> Tensor:
    """Smooth, rectified activations `[images, neurons, side, side]`, half of them zero as after a ReLU."""
    noise = torch.randn(images, neurons, side + 2, side + 2)
    gain = torch.rand(neurons, 1, 1) * 3
    return torch.relu(F.avg_pool2d(noise, 3, 1) * gain)


def tokens(images: int, tokens: int, neurons: int) -> Tensor:
    """Activations `[images, tokens, neurons]`, each neuron on its own scale."""
    return torch.randn(images, tokens, neurons) * torch.rand(neurons) * 3


LAYERS: dict[str, Callable[[], Tensor]] = {
    "ViT-B block, 64 x 197 x 768": partial(tokens, 64, 197, 768),
    "ViT-B block, 8 x 197 x 768": partial(tokens, 8, 197, 768),
    "ResNet-50 layer1, 32 x 256 x 56 x 56": partial(conv_map, 32, 256, 56),
    "ResNet-50 layer4, 64 x 2048 x 7 x 7": partial(conv_map, 64, 2048, 7),
    "ResNet-50 layer4, 8 x 2048 x 7 x 7": partial(conv_map, 8, 2048, 7),
    "Inception block_0, 64 x 64 x 73 x 73": partial(conv_map, 64, 64, 73),
    "Inception block_0, 8 x 64 x 73 x 73": partial(conv_map, 8, 64, 73),
}
QUICK: dict[str, Callable[[], Tensor]] = {
    "tokens, 8 x 197 x 192": partial(tokens, 8, 197, 192),
    "map, 8 x 64 x 28 x 28": partial(conv_map, 8, 64, 28),
}


class Contest:
    """One layer's activations, laid out for each contestant as its package has them, with a histogram for each."""

    def __init__(self, activations: Tensor) -> None:
        if activations.ndim == 3:
            self.ours = activations.permute(2, 0, 1)
            self.peers = activations.permute(0, 2, 1).unsqueeze(3)
        else:
            self.ours = activations.flatten(2).transpose(0, 1)
            self.peers = activations
        minimum, maximum = extremes(self.ours)
        margin = (maximum - minimum) / 10
        self.low, self.high = minimum - margin, maximum + margin
        column = (1, -1, 1, 1)
        self.mean = ((self.low.double() + self.high.double()) / 2).view(column)
        self.std = ((self.high.double() - self.low.double()) / 2).view(column)
        neurons = len(self.low)
        self.outside = torch.zeros(2, neurons, dtype=torch.int64)
        self.counts = {
            name: torch.zeros(neurons, BINS, dtype=torch.int64) for name in ("ours", "numpy", "vdna", "histc")
        }

    def run_ours(self, counts: str = "ours") -> None:
        """What `update` does with one layer."""
        below, above = self.outside
        accumulate_histogram_(
            self.counts[counts], below, above, self.ours, self.low, self.high, observed=extremes(self.ours)
        )

    def run_numpy(self) -> None:
        """The same without numba."""
        with patch.object(histogram, "compiled_count_", lambda: None):
            self.run_ours("numpy")

    def run_vdna(self) -> None:
        """What vdna 0.1.1 does with one layer."""
        normalised = (self.peers - self.mean) / self.std
        self.counts["vdna"] += histogram_per_channel(normalised, BINS, [-1.0, 1.0])

    def run_histc(self) -> None:
        """A `histc` a channel on the activations as they are."""
        counts = self.counts["histc"]
        for neuron, (low, high) in enumerate(zip(self.low.tolist(), self.high.tolist(), strict=True)):
            counts[neuron] += torch.histc(self.peers[:, neuron], BINS, low, high).long()

    def moved(self, name: str) -> float:
        """Share of activations that lie in another bin for a peer than for us, at least."""
        ours = self.counts["ours"]
        return ((ours - self.counts[name]).abs().sum() / 2 / ours.sum()).item()


def main() -> None:
    """Print the table."""
    arguments = options(__doc__, "small layers and five repeats", 7).parse_args()
    layers, repeats = (QUICK, 5) if arguments.quick else (LAYERS, arguments.repeats)

    torch.manual_seed(0)
    print(title())
    print(f"{BINS} bins; ns an activation, medians of {repeats}; times as long as ours: minimum, median and maximum")
    print(f"{'layer':38}{'ours':>6}" + "".join(f"{peer:>9} {'times':17}" for peer in PEERS) + f"{'moved':>6}")
    rows: list[dict[str, Any]] = []
    total: dict[str, list[float]] = {}
    for layer, make in layers.items():
        contest = Contest(make())
        runs = {
            "ours": contest.run_ours,
            "numpy": contest.run_numpy,
            "vdna": contest.run_vdna,
            "histc": contest.run_histc,
        }
        for run in runs.values():
            run()
        moved = contest.moved("vdna")
        if moved > 1e-4 or contest.moved("numpy"):
            raise SystemExit(f"{layer}: counts differ, {moved:.2%} of the activations are in other bins for vdna")
        seconds = {name: clocks.seconds for name, clocks in interleaved(runs, repeats).items()}
        for name, each in seconds.items():
            total[name] = [a + b for a, b in zip(total.get(name, [0.0] * repeats), each, strict=True)]
        rows.append(row(layer, seconds, contest.ours.numel()) | {"moved": moved})
        print(line(rows[-1]) + f"{moved:6.0e}")
    activations = sum(each["activations"] for each in rows)
    rows.append(row("total", total, activations))
    print(line(rows[-1]))
    write_json(arguments.json, rows)
    if arguments.quick:
        beside_stored(__file__, {f"{peer} over ours": rows[-1]["over_ours"][peer][1] for peer in PEERS})


def row(layer: str, seconds: dict[str, list[float]], activations: int) -> dict[str, Any]:
    """What is told of a layer."""
    return {
        "layer": layer,
        "activations": activations,
        "ns": {name: 1e9 * median(each) / activations for name, each in seconds.items()},
        "over_ours": {peer: ratios(seconds[peer], seconds["ours"]) for peer in PEERS},
    }


def line(told: dict[str, Any]) -> str:
    """A row of the table."""
    cells = ""
    for peer in PEERS:
        times = " ".join(f"{each:.1f}" for each in told["over_ours"][peer])
        cells += f"{told['ns'][peer]:9.2f} {times:17}"
    return f"{told['layer']:38}{told['ns']['ours']:6.2f}" + cells


if __name__ == "__main__":
    main()
