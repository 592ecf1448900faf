"""Histogram accumulation against the vdna package's, on the same activations in one process.

`vdna` 0.1.1 normalises a batch in float64 and calls `torch.histc` for one channel after the other; that path is called
here as its `get_data_features` calls it, and its counts are added up as it does. `histc` is the leaner loop that one
would write instead: a call a channel on the float32 activations, with the range as its arguments. Ours is what a
metric's `update` does: `extremes`, then `accumulate_histogram_`. Repeats are interleaved, so that other work on the
machine falls on all alike, and the medians are compared. Before anything is timed, counts must agree but for the few
activations that rounding puts into the next bin (`moved`).

The floor for an activation in float32 on one core (EPYC, AVX-512), each measured alone:

- memory: 4 bytes are read twice, for the extremes and for counting, 0.2 ns each; all else stays in the caches;
- arithmetic: extremes 0.2 ns; subtract, multiply, divide, clip, convert, add 0.6 to 1.0 ns, the more the shorter the
  rows that lie together;
- counting: a load, an increment and a store at an address that depends on the data, 1.1 ns by `index_add_`, the fastest
  that torch and NumPy have (`np.add.at`, `bincount` 1.4, `scatter_add_` 1.4, `np.bincount` 1.5, `histc` 7 to 9);
- histograms: `8 * bins` bytes a neuron are read and written once a batch, which weighs where a neuron has few
  activations (7 x 7 maps of 64 images: 16 MB of counts for 26 MB of activations).

That is 2.3 to 2.7 ns on one core and half of it on two, as no thread waits for another. Peers gain little from a second
core where they copy the batch: fresh memory for float64 costs them more than the arithmetic.
"""

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor
from vdna.utils.stats import histogram_per_channel

from vdna_metrics.functional import accumulate_histogram_, extremes

BINS = 1000


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
    "ResNet-50 layer1, 32 x 256 x 56 x 56": partial(conv_map, 32, 256, 56),
    "ResNet-50 layer4, 64 x 2048 x 7 x 7": partial(conv_map, 64, 2048, 7),
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
        self.counts = {name: torch.zeros(neurons, BINS, dtype=torch.int64) for name in ("ours", "vdna", "histc")}

    def run_ours(self) -> None:
        """What `update` does with one layer."""
        below, above = self.outside
        accumulate_histogram_(
            self.counts["ours"], below, above, self.ours, self.low, self.high, observed=extremes(self.ours)
        )

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
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small layers and one repeat, for CI")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    layers, repeats = (QUICK, 1) if arguments.quick else (LAYERS, arguments.repeats)

    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{BINS} bins, medians of {repeats}; moved: share of activations that a peer puts in another bin")
    print(f"{'layer':38}{'ours':>11}{'vdna':>11}{'histc':>11}{'vdna/ours':>11}{'histc/ours':>12}{'moved':>10}")
    total = dict.fromkeys(("ours", "vdna", "histc"), 0.0)
    for title, make in layers.items():
        contest = Contest(make())
        runs = {"ours": contest.run_ours, "vdna": contest.run_vdna, "histc": contest.run_histc}
        for run in runs.values():
            run()
        moved = contest.moved("vdna")
        if moved > 1e-4:
            raise SystemExit(f"{title}: counts differ, {moved:.2%} of the activations are in other bins for vdna")
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(repeats):
            for name, run in runs.items():
                time.sleep(0.02)  # until the threads of the one before have stopped spinning
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        middle = {name: median(times) for name, times in seconds.items()}
        for name in total:
            total[name] += middle[name]
        per_activation = {name: second / contest.ours.numel() * 1e9 for name, second in middle.items()}
        print(_line(title, per_activation, "ns") + f"{moved:10.0e}")
    print(_line("total", total, "s"))


def _line(title: str, numbers: dict[str, float], unit: str) -> str:
    ours, vdna, histc = numbers["ours"], numbers["vdna"], numbers["histc"]
    shown = "".join(f"{number:8.2f} {unit:2}" for number in (ours, vdna, histc))
    return f"{title:38}{shown}{vdna / ours:10.1f}x{histc / ours:11.1f}x"


if __name__ == "__main__":
    main()
