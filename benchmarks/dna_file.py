"""Size of a histogram DNA of a ViT-B/16, and the time to load it.

    python benchmarks/dna_file.py
    python benchmarks/dna_file.py --quick

Counts are drawn: each neuron is a mixture of two normals of its own, seen by 10 000 images of 197 tokens, between
ranges that go 10 % beyond 5.1 deviations, the extremes of so many. Loading decompresses, checks the sha256 and restores
int64 counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vdna_metrics import VDNA, ActivationRanges, load_vdna
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout

IMAGES, TOKENS, NEURONS, BINS = 10_000, 197, 768, 1000
EXTREME = 5.1  # deviations


def draw_counts(stream: np.random.Generator) -> np.ndarray:
    """One layer's counts, ``[neurons, bins]`` int64."""
    places, widths = stream.normal(0, 1, (NEURONS, 2, 1)), stream.uniform(0.3, 1, (NEURONS, 2, 1))
    shares = stream.dirichlet((2, 2), NEURONS)[..., None]
    low, high = (places - EXTREME * widths).min(1), (places + EXTREME * widths).max(1)
    middles = low + (high - low) * (1.2 * (np.arange(BINS) + 0.5) / BINS - 0.1)
    density = (shares / widths * np.exp(-(((middles[:, None] - places) / widths) ** 2) / 2)).sum(1)
    return stream.multinomial(IMAGES * TOKENS, density / density.sum(1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two layers instead of thirteen")
    layers = 2 if parser.parse_args().quick else 13
    layout = NeuronLayout({f"layer_{i}": NEURONS for i in range(layers)})
    ranges = ActivationRanges(layout, torch.zeros(layout.total), torch.ones(layout.total))
    distribution = HistogramDistribution.empty(ranges, BINS)
    stream = np.random.default_rng(0)
    distribution.counts.copy_(torch.from_numpy(np.concatenate([draw_counts(stream) for _ in range(layers)])))
    distribution.state[0] = IMAGES
    dna = VDNA(distribution, ExtractorFingerprint("drawn", "", "none", {layer: layer for layer in layout}))
    with tempfile.TemporaryDirectory() as folder:
        path = dna.save(Path(folder) / "dna")
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            loaded = load_vdna(path)
            seconds.append(time.perf_counter() - begin)
        if not torch.equal(loaded.distribution.state, distribution.state):
            raise SystemExit("the file does not come back as it was")
        print(
            f"{layout.total} neurons, {BINS} bins, {IMAGES} images: {path.stat().st_size / 1e6:.2f} MB, "
            f"loaded in {np.median(seconds):.2f} s (median of {len(seconds)})"
        )


if __name__ == "__main__":
    main()
