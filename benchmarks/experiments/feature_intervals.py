"""Whether 95 % intervals of KID, CMMD and MIND hold the true distance, over many samples of known populations.

    python benchmarks/experiments/feature_intervals.py

A population is 4000 small photographs, of which a share is noisy. Samples are drawn from it with replacement, so that
the distance of whole populations is the true one. `vdna_tiny` looks at images of 48 x 48 pixels; every fifth neuron of
its last layer, and 100 directions for MIND, let a trial take half a second.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from _common import Experiment, Network, Progress, begin, markdown_table
from _images import changed, draw
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor

from vdna_metrics import VDNA, Directions, create_extractor
from vdna_metrics.analysis import jackknife_distance
from vdna_metrics.distributions import FeatureSample
from vdna_metrics.dna import Column, GroupedDNA, Provenance, find_distance
from vdna_metrics.extractors import get_spec
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional import kernel_mmd, monge_inception_distance, squared_interval
from vdna_metrics.images.procedural import add_noise
from vdna_metrics.layout import NeuronLayout

SIZE, LAYER, EVERY, DIRECTIONS, GROUPS = 48, "conv_head", 5, 100, 10
POPULATION, SHARES, SIZES, TRIALS, STACK = 4000, (0.0, 0.3, 1.0), (60, 120, 240), 200, 20
TITLES = {"kid": "KID", "u": "KID by `kernel_mmd`", "cmmd": "CMMD", "mind": "MIND"}
NORMAL, SIGMA = 1.959964, 8
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two populations.

    Args:
        real: features ``[N, d]``.
        generated: features ``[N, d]``.
        vectors: directions of MIND, ``[directions, d]``.
    """

    real: Tensor
    generated: Tensor
    vectors: Tensor

    def mind(self, real: Tensor, generated: Tensor) -> Tensor:
        """MIND along these directions."""
        return monge_inception_distance(real, generated, self.vectors)

    def truths(self) -> dict[str, float]:
        """The distances of the populations."""
        if self.real is self.generated:
            return dict.fromkeys(TITLES, 0.0)
        kid = float(kernel_mmd(self.real, self.generated, biased=True)[0])
        cmmd = float(find_distance("cmmd")(*map(dna, self.sides)))
        mind = float(self.mind(*self.sides))
        return {"kid": kid, "u": kid, "cmmd": cmmd, "mind": mind}

    @property
    def sides(self) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.real, self.generated

    def trial(self, n: int, stream: np.random.Generator) -> dict[str, list[float]]:
        """Of samples of ``n``: corrected value, error, quantile and both ends of the interval of each distance."""
        x, y = (side[stream.integers(len(side), size=n)] for side in self.sides)
        features = [grouped(side) for side in (x, y)]
        mind = replace(find_distance("mind"), function=self._of_features)
        value, error = map(float, kernel_mmd(x, y))
        return {
            "kid": estimated("kid", features),
            "u": [value, error, NORMAL, *squared_interval(value, error)],
            "cmmd": estimated("cmmd", features),
            "mind": estimated(Column(mind), features),
        }

    def _of_features(self, real: FeatureSample, generated: FeatureSample) -> dict[str, Tensor]:
        return {LAYER: self.mind(real.features()[LAYER], generated.features()[LAYER]).reshape(1)}


def estimated(column: str | Column, sides: list[GroupedDNA]) -> list[float]:
    """Corrected value, error, Student's quantile and both ends."""
    found = jackknife_distance(*sides, distance=column)
    variances = [float(side.deviations.square().sum()) for side in (found.reference, found.generated)]
    freedom = sum(variances) ** 2 / sum(each**2 / (GROUPS - 1) for each in variances)
    score, quantile = found.score, float(student.ppf(0.975, freedom))
    assert score.low is not None
    assert score.high is not None
    return [score.corrected, score.standard_error, quantile, score.low, score.high]


def dna(rows: Tensor) -> VDNA:
    """Of features ``[n, d]``."""
    sample = FeatureSample.empty(NeuronLayout({LAYER: rows.shape[1]}))
    sample.fill_({LAYER: rows.T[..., None].contiguous()})
    return VDNA(sample, ExtractorFingerprint("drawn", "", "none", {LAYER: LAYER}), Provenance("drawn", ("drawn",)))


def grouped(rows: Tensor) -> GroupedDNA:
    """The same in groups."""
    return GroupedDNA(tuple(dna(rows[group::GROUPS]) for group in range(GROUPS)))


def run(pair: Pair, n: int, stack: int) -> dict[str, Array]:
    """Some trials, ``{distance: [trials, 5]}``."""
    torch.set_num_threads(1)
    found = [pair.trial(n, np.random.default_rng((stack, trial, n))) for trial in range(STACK)]
    return {name: np.array([each[name] for each in found]) for name in TITLES}


def main() -> None:
    experiment = begin(__file__, __doc__)
    shares, sizes, stacks = ((0.0, 0.3), (20,), 1) if experiment.quick else (SHARES, SIZES, TRIALS // STACK)
    fine, noisy = populations(experiment)
    vectors = torch.from_numpy(Directions(DIRECTIONS).vectors(fine.shape[1]))
    progress = Progress("trials", len(shares) * len(sizes) * stacks * STACK, "trials")
    rows, done = [], 0
    with ProcessPoolExecutor(2) as pool:
        for share in shares:
            kept = round((1 - share) * len(fine))
            pair = Pair(fine, torch.cat([fine[:kept], noisy[kept:]]) if share else fine, vectors)
            futures = {
                n: [pool.submit(_kept, experiment, pair, share, n, stack) for stack in range(stacks)] for n in sizes
            }
            trials: dict[int, dict[str, Array]] = {}
            for n, each in futures.items():
                parts = []
                for future in each:
                    parts.append(future.result())
                    progress(done := done + STACK)
                trials[n] = {name: np.concatenate([part[name] for part in parts]) for name in TITLES}
            for name, truth in pair.truths().items():
                numbers = cells(truth, [trials[n][name] for n in sizes])
                rows.append([TITLES[name], f"{share:.0%}".replace("%", " %"), *numbers])
    experiment.write_section(describe(experiment, rows, sizes), page="uncertainty.md")


def _kept(experiment: Experiment, pair: Pair, share: float, n: int, stack: int) -> dict[str, Array]:
    settings = [share, n, stack, STACK, DIRECTIONS, EVERY, float(pair.real.sum()), float(pair.generated.sum())]
    return experiment.keep(f"{share}-{n}", settings, lambda: run(pair, n, stack))


def cells(truth: float, sizes: list[Array]) -> list[str]:
    """Truth, mean errors, and shares of intervals that hold the truth, at each number of images."""
    errors, plain, held = [], [], []
    for trials in sizes:
        corrected, error, quantile, low, high = trials.T
        errors.append(f"{corrected.mean() - truth:+.2g} ± {error.mean():.2g}".replace("-", "−"))
        plain.append(f"{(abs(corrected - truth) <= quantile * error).mean():.1%}")
        held.append(f"{((low <= truth) & (truth <= high)).mean():.1%}")
    return [f"{truth:.3g}", *errors, *(each.replace("%", " %") for each in (*plain, *held))]


def describe(experiment: Experiment, rows: list[list[str]], sizes: tuple[int, ...]) -> str:
    """The page's part."""
    rows = sorted(rows, key=lambda row: list(TITLES.values()).index(row[0]))
    heads = [f"{what} at {n}" for what in ("error", "± t s holds", "interval holds") for n in sizes]
    table = markdown_table(["distance", "noisy", "true", *heads], rows, words=2)
    return f"```bash\n{experiment.command}\n```\n\n{table}"


def populations(experiment: Experiment) -> tuple[Tensor, Tensor]:
    """Features of some photographs, and of the same with noise."""
    extractor = create_extractor(replace(get_spec("vdna_tiny"), size=(SIZE, SIZE), layers={LAYER: LAYER}))
    network = Network(extractor.name, extractor, "auto", extractor.fingerprint.digest[:12])
    images = draw(experiment.open("cifar10_jpeg_test.zip"), 40 if experiment.quick else POPULATION)
    noisy = changed(images, f"noise {SIGMA}", lambda image, stream: add_noise(image, SIGMA, stream))
    fine, other = (experiment.look(network, each, {}).means[:, ::EVERY].float() for each in (images, noisy))
    return fine, other


if __name__ == "__main__":
    main()
