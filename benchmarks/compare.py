"""VDNA-EMD of two histogram DNAs of ViT-B/16's size, 9984 neurons of 1000 bins, beside the formula in NumPy.

The floor: both sides' counts are 160 MB, read twice (checks, then sums), and a quotient and a difference a bin. What
else is written and read stays in the processor's caches, because the neurons are taken some at a time; the formula as
it stands (`numpy`) writes and reads whole tables.
"""

from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from _measure import beside_stored, interleaved, options, ratios, title, write_json

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
    arguments = options(__doc__, "one layer and five repeats", 7).parse_args()
    layers, neurons, repeats = (1, 64, 5) if arguments.quick else (LAYERS, NEURONS, arguments.repeats)
    stream = np.random.default_rng(0)
    a, b = (drawn(layers, neurons, stream) for _ in range(2))
    runs: dict[str, Callable[[], float]] = {"ours": lambda: float(compare.emd(a, b)), "numpy": lambda: by_formula(a, b)}  # type: ignore[arg-type]
    values = {name: run() for name, run in runs.items()}
    if abs(values["ours"] / values["numpy"] - 1) > 1e-12:
        raise SystemExit(f"the values differ: {values}")
    found = interleaved(runs, repeats)
    print(title())
    print(f"{layers * neurons} neurons, {BINS} bins, medians of {repeats}; ratios as lowest, median, highest")
    print(f"{'':8}{'seconds':>9}{'lowest':>9}{'processor':>11}{'processor / ours':>20}")
    for name, (seconds, processor) in found.items():
        low, middle, high = ratios(processor, found["ours"].processor)
        print(
            f"{name:8}{median(seconds):9.3f}{min(seconds):9.3f}{median(processor):11.3f}"
            f"{f'{low:.1f} {middle:.1f} {high:.1f}x':>20}"
        )
    write_json(arguments.json, {name: clocks._asdict() for name, clocks in found.items()})
    if arguments.quick:
        beside_stored(__file__, {"numpy over ours": ratios(found["numpy"].processor, found["ours"].processor)[1]})


if __name__ == "__main__":
    main()
