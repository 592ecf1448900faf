"""VDNA-EMD of two histogram DNAs of ViT-B/16's size, 9984 neurons of 1000 bins, beside the formula in NumPy.

The floor: both sides' counts are 160 MB, read twice (checks, then sums), and a quotient and a difference a bin. What
else is written and read stays in the processor's caches, because the neurons are taken some at a time; the formula as
it stands (`numpy`) writes and reads whole tables.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from _measure import beside_stored

from vdna_metrics import VDNA, ActivationRanges, compare
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.vdna import Provenance
from vdna_metrics.fingerprint import ExtractorFingerprint

LAYERS, NEURONS, BINS, IMAGES, POSITIONS = 13, 768, 1000, 500, 197


def drawn(layers: int, neurons: int, stream: np.random.Generator) -> VDNA:
    """A DNA whose counts are drawn."""
    names = [f"blocks.{layer}" for layer in range(layers)]
    ends = [{name: [end] * neurons for name in names} for end in (0.0, 1.0)]
    distribution = HistogramDistribution.empty(ActivationRanges.from_extremes(*ends, widen="none"), BINS)
    shares = stream.dirichlet(np.ones(BINS), size=layers * neurons)
    distribution.counts.copy_(torch.from_numpy(stream.multinomial(IMAGES * POSITIONS, shares)))
    distribution.state[0] = IMAGES
    fingerprint = ExtractorFingerprint("drawn", "", "none", {name: name for name in names})
    return VDNA(distribution, fingerprint, Provenance("drawn"))


def by_formula(a: VDNA, b: VDNA) -> float:
    """The formula."""
    shares = []
    for dna in (a, b):
        assert isinstance(dna.distribution, HistogramDistribution)
        cumulative = dna.distribution.counts.numpy().cumsum(axis=1)
        shares.append(cumulative / cumulative[:, -1:])
    return float(np.abs(shares[0] - shares[1]).sum(axis=1).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one layer and five repeats, for CI")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="file for the numbers of all repeats")
    arguments = parser.parse_args()
    layers, neurons, repeats = (1, 64, 5) if arguments.quick else (LAYERS, NEURONS, arguments.repeats)
    stream = np.random.default_rng(0)
    a, b = (drawn(layers, neurons, stream) for _ in range(2))
    runs: dict[str, Callable[[], float]] = {"ours": lambda: float(compare.emd(a, b)), "numpy": lambda: by_formula(a, b)}  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    values = {name: run() for name, run in runs.items()}
    if abs(values["ours"] / values["numpy"] - 1) > 1e-12:
        raise SystemExit(f"the values differ: {values}")
    for _ in range(repeats):
        for name, run in runs.items():
            start, own = time.perf_counter(), time.process_time()
            run()
            processor[name].append(time.process_time() - own)
            seconds[name].append(time.perf_counter() - start)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{layers * neurons} neurons, {BINS} bins, medians of {repeats}; ratios as lowest, median, highest")
    print(f"{'':8}{'seconds':>9}{'lowest':>9}{'processor':>11}{'processor / ours':>20}")
    for name in runs:
        ratios = [own / ours for own, ours in zip(processor[name], processor["ours"], strict=True)]
        print(
            f"{name:8}{median(seconds[name]):9.3f}{min(seconds[name]):9.3f}{median(processor[name]):11.3f}"
            f"{f'{min(ratios):.1f} {median(ratios):.1f} {max(ratios):.1f}x':>20}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "processor": processor}, indent=1) + "\n")
    if arguments.quick:
        beside_stored(__file__, {"numpy over ours": median(processor["numpy"]) / median(processor["ours"])})


if __name__ == "__main__":
    main()
