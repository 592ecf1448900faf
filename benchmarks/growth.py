"""How time, memory and files grow with images, neurons, bins and processes, as exponents fitted to what is measured.

Activations are drawn, and one batch is filled again and again, so that networks and decoding are no part of it. One
thing grows at a time. Time is the processor's, of one thread, the least of a few repeats. The state is that of one
side, the peak by how much the process of one step grew in all: both sides, batches, a comparison, a file. The file is
what `VDNA.save` writes. Exponents are least squares of logarithms over the last three steps of a row: what does not
grow, as the cost of a call, would make a whole row look flatter than it ends.

The processes are those of torch.distributed with gloo, which share the cores of this machine. What 512 of them take is
worked out from bytes and bandwidth, not measured.
"""

from __future__ import annotations

import math
import multiprocessing
import re
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from _measure import options, title, write_json
from torch import Tensor

from vdna_metrics import VDNA, ActivationRanges, Column, NeuronLayout
from vdna_metrics.distributions import (
    Distribution,
    FeatureSample,
    GaussianDistribution,
    LayerGaussianDistribution,
    empty_histogram,
)
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.dna.vdna import Provenance
from vdna_metrics.fingerprint import ExtractorFingerprint

KINDS = {
    "histogram": "emd",
    "histogram, found ranges": "emd",
    "gaussian": "nfd",
    "layer_gaussian": "lfd",
    "features": "mind",
}
SAMPLE = 1000  # images whose features are kept
WIDTH = 256  # neurons of a layer
Row = dict[str, float]


def empty(kind: str, layers: int, width: int, bins: int) -> Distribution:
    """A distribution without images."""
    layout = NeuronLayout({f"layer{place}": width for place in range(layers)})
    if kind == "histogram":
        low, high = ({layer: [end] * width for layer in layout} for end in (-4.0, 4.0))
        return empty_histogram(layout, ActivationRanges.from_extremes(low, high, widen="none"), bins)
    if kind == "histogram, found ranges":
        return empty_histogram(layout, "auto", bins)
    if kind == "features":
        return FeatureSample.empty(layout, SAMPLE)
    return (GaussianDistribution if kind == "gaussian" else LayerGaussianDistribution).empty(layout)


def drawn(layers: int, width: int, images: int, positions: int, seed: int) -> dict[str, Tensor]:
    """Activations of a batch."""
    stream = torch.Generator().manual_seed(seed)
    return {f"layer{place}": torch.randn(width, images, positions, generator=stream) for place in range(layers)}


def dna_of(distribution: Distribution) -> VDNA:
    """With what a file says of it."""
    paths = {layer: layer for layer in distribution.layout}
    return VDNA(distribution, ExtractorFingerprint("drawn", "0" * 64, "none", paths), Provenance("drawn"))


def least(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the processor."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


def resident(which: str) -> int:
    """Bytes that the process has, ``"VmRSS"``, or had at most, ``"VmHWM"``; 0 where there is no /proc."""
    status = Path("/proc/self/status")
    found = re.search(rf"{which}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 0 if found is None else 1024 * int(found[1])


def alone(run: Callable[..., Row], *arguments: Any) -> Row:
    """A step in a process of its own, whose memory no other step has left; also by how much that grew at most."""
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def work() -> None:
        torch.set_num_threads(1)
        before = resident("VmRSS")
        row = run(*arguments)
        told.put(row | {"peak B": max(0, resident("VmHWM") - before)})

    process = context.Process(target=work)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a step ended with exit code {process.exitcode}")
    row: Row = told.get()
    return row


def fill_images(distribution: Distribution, images: int, batch: Mapping[str, Tensor], seed: int) -> None:
    """Fill one batch until so many images are seen, of which none are equal."""
    size, stream = next(iter(batch.values())).shape[1], torch.Generator().manual_seed(seed)
    for _ in range(images // size):
        distribution.fill_(batch, torch.randint(-(2**63), 2**63 - 1, (size,), generator=stream))


# ------------------------------------------------------------------------------------------------------------ the rows
def measured(kind: str, layers: int, width: int, bins: int, images: int, positions: int, repeats: int) -> Row:
    """One batch into states of both sides, one comparison, one file."""
    batches = [drawn(layers, width, images, positions, seed) for seed in (0, 1)]
    sides = [empty(kind, layers, width, bins) for _ in batches]
    for seed, (side, batch) in enumerate(zip(sides, batches, strict=True)):
        fill_images(side, images, batch, seed)
    spare = empty(kind, layers, width, bins)
    filling = least(lambda: fill_images(spare, images, batches[0], 2), repeats)
    reference, generated = map(dna_of, sides)
    column = Column(KINDS[kind])
    comparing = least(lambda: column(reference, generated), repeats)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dna.npz"
        saving = least(lambda: reference.save(file), 1)
        size = file.stat().st_size
    state = sides[0].state.nbytes
    return {"fill s": filling, "compare s": comparing, "save s": saving, "state B": state, "file B": size}


def of_images(kind: str, images: int) -> Row:
    """So many images of 8 neurons at one position, in batches of at most 10 000."""
    most = min(images, 10_000)
    batch, other = drawn(1, 8, most, 1, 0), empty(kind, 1, 8, 100)
    fill_images(other, most, drawn(1, 8, most, 1, 1), 2)  # warms up too
    side = empty(kind, 1, 8, 100)
    filling = least(lambda: fill_images(side, images, batch, 1), 1)
    reference, generated, column = dna_of(side), dna_of(other), Column(KINDS[kind])
    comparing = least(lambda: column(reference, generated), 3)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dna.npz"
        saving = least(lambda: reference.save(file), 1)
        size = file.stat().st_size
    return {
        "fill s": filling, "compare s": comparing, "save s": saving, "state B": side.state.nbytes, "file B": size
    }  # fmt: skip


def one_rank(rank: int, ranks: int, port: int, layers: int, told: Any) -> None:
    """What a process does: its share of the images, then the sum over all."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=ranks, timeout=timedelta(seconds=120)
    )
    side = empty("histogram", layers, WIDTH, 1000)
    fill_images(side, 16, drawn(layers, WIDTH, 16, 4, rank), rank)
    reduced = Ranks("cpu")

    def add() -> None:
        (state,) = side.sum_over_ranks([side.state], reduced)
        assert int(state[0]) == 16 * ranks

    add()
    before, start = resident("VmHWM"), time.perf_counter()
    seconds = least(add, 3)
    wall = (time.perf_counter() - start) / 3
    told.put((seconds, wall, side.state.nbytes, resident("VmHWM") - before))
    dist.destroy_process_group()


def by_ranks(numbers: Sequence[int], layers: int) -> list[Row]:
    """The slowest of so many processes."""
    context, rows = multiprocessing.get_context("fork"), []
    for ranks in numbers:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        told = context.Queue()
        started = [context.Process(target=one_rank, args=(rank, ranks, port, layers, told)) for rank in range(ranks)]
        for process in started:
            process.start()
        found = [told.get(timeout=120) for _ in started]
        for process in started:
            process.join()
        seconds, wall, state, peak = (max(each[place] for each in found) for place in range(4))
        rows.append({"sum s": seconds, "sum wall s": wall, "state B": state, "peak B": peak})
    return rows


def on_paper(ranks: int, state: float, bandwidth: float, latency: float) -> float:
    """Seconds of a ring that sums: each process sends its state nearly twice, in ``2 (ranks - 1)`` steps."""
    return 2 * (ranks - 1) / ranks * state / bandwidth + 2 * (ranks - 1) * latency


# ------------------------------------------------------------------------------------------------------------ the table
def exponent(steps: Sequence[int], values: Sequence[float]) -> float | None:
    """Slope of logarithms over the last three steps."""
    points = [(math.log(x), math.log(y)) for x, y in zip(steps, values, strict=True) if y > 0][-3:]
    if len(points) < 2:
        return None
    x, y = (sum(point[place] for point in points) / len(points) for place in (0, 1))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def shown(what: str, value: float) -> str:
    return f"{value / 1e6:.3g} MB" if what.endswith("B") else f"{value:.3g} s"


def main() -> None:
    """Print the tables."""
    arguments = options(__doc__, "small sizes", 3).parse_args()
    quick, repeats = arguments.quick, 1 if arguments.quick else arguments.repeats

    images = [10**power for power in range(3, 6 if quick else 8)]
    neurons = [2048, 4096] if quick else [3072, 6144, 12288, 24576, 49152]
    bins = [100, 400] if quick else [100, 250, 1000, 2000, 4000]
    widths = [64, 128, 256] if quick else [256, 512, 1024, 2048]
    ranks = [1, 2] if quick else [1, 2, 4, 8]
    tables: list[tuple[str, str, Sequence[int], list[Row]]] = []
    # All in processes that are forked: this one computes nothing, for a fork would lose its threads.
    tables.append(("processes", "histogram", ranks, by_ranks(ranks, 8 if quick else 39)))
    for kind in KINDS:
        tables.append(("images", kind, images, [alone(of_images, kind, number) for number in images]))
        grown = [alone(measured, kind, number // WIDTH, WIDTH, 1000, 64, 16, repeats) for number in neurons]
        tables.append(("neurons", kind, neurons, grown))
        if kind.startswith("histogram"):
            grown = [alone(measured, kind, 8, WIDTH, each, 64, 16, repeats) for each in bins]
            tables.append(("bins", kind, bins, grown))
        if kind == "layer_gaussian":
            grown = [alone(measured, kind, 1, width, 1000, 64, 16, repeats) for width in widths]
            tables.append(("neurons of a layer", kind, widths, grown))

    print(f"{title()}; one thread is used")
    print("what grows from the first to the last, and in brackets the exponent over the last three steps")
    for axis, kind, steps, rows in tables:
        print(f"\n{kind}: {axis} {steps[0]} to {steps[-1]}")
        for what in rows[0]:
            first, last = rows[0][what], rows[-1][what]
            slope = exponent(steps, [row[what] for row in rows])
            told = "" if slope is None else f"({slope:+.2f})"
            print(f"    {what[:-2]:<10}{shown(what, first):>12}{shown(what, last):>12}  {told}")
    state = tables[0][3][0]["state B"]
    paper = on_paper(512, state, 25e9, 10e-6)
    print(
        f"\non paper: 512 processes sum {state / 1e6:.0f} MB in {1e3 * paper:.0f} ms, 2 x 511 / 512 of it at 25 GB/s "
        "and 2 x 511 steps of 10 us"
    )
    found = [{"axis": axis, "kind": kind, "steps": steps, "rows": rows} for axis, kind, steps, rows in tables]
    write_json(arguments.json, {"measured": found, "on_paper_512_s": paper})


if __name__ == "__main__":
    main()
