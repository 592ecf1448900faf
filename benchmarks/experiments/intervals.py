"""Whether error bars tell the truth: distances of synthetic activations, whose true distance is known.

    python benchmarks/experiments/intervals.py

200 neurons in three layers look at n real and n generated images, 4 positions each, in 10 groups a side. Of the
generated images a quarter of the neurons is shifted, a quarter stretched, a quarter has two modes, each by another
random amount, and a quarter is as in the real ones; neurons are independent, or half of an image's part is of 8 common
factors. Besides, nothing may differ at all. 200 repetitions each; true distances are integrals, not samples.

Writes `docs/images/uncertainty.png` and prints the tables of `docs/uncertainty.md`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vdna_metrics import VDNA, ActivationRanges
from vdna_metrics.analysis import compare_pair, extrapolate_frechet, jackknife_distance, noise_floor
from vdna_metrics.distributions import (
    Distribution,
    GaussianDistribution,
    HistogramDistribution,
    Kind,
    LayerGaussianDistribution,
)
from vdna_metrics.dna import GroupedDNA, Provenance
from vdna_metrics.dna.columns import find_column
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional import frechet_distance, neuron_frechet_distance
from vdna_metrics.layout import NeuronLayout

Array = NDArray[np.float64]

LAYOUT = NeuronLayout({"first": 100, "second": 60, "third": 40})
FINGERPRINT = ExtractorFingerprint("synthetic", "", "none", {layer: layer for layer in LAYOUT})
NEURONS, POSITIONS, FACTORS, GROUPS, BINS = LAYOUT.total, 4, 8, 10, 64
OF_IMAGE = 0.6  # share of a neuron's variance that an image's positions have in common
KINDS: dict[str, Kind] = {"emd": "histogram", "nfd": "gaussian", "lfd": "layer_gaussian"}
TITLES = {"emd": "VDNA-EMD", "nfd": "neuron Fréchet distance", "lfd": "layer Fréchet distance"}
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class World:
    """Real and generated activations that differ in a known way.

    Args:
        strength: of the differences, 0 for none.
        common: share of an image's part that neurons have in common.
    """

    strength: float
    common: float

    @cached_property
    def loadings(self) -> Array:
        """Of the neurons on the common factors, each of length 1."""
        drawn = np.random.default_rng(1).normal(size=(NEURONS, FACTORS))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    @cached_property
    def changes(self) -> tuple[Array, Array, Array]:
        """Shift in deviations, stretch, and share of an image's own variance that two modes take, `[neurons]` each."""
        amounts, which = self.strength * np.random.default_rng(2).normal(size=NEURONS), np.arange(NEURONS) % 4
        shift, stretch = np.where(which == 0, amounts, 0), np.where(which == 1, np.exp(amounts), 1)
        return shift, stretch, np.where(which == 2, np.minimum(1.5 * abs(amounts), 0.95), 0)

    @cached_property
    def ranges(self) -> ActivationRanges:
        """Wide enough for both."""
        end = torch.full((NEURONS,), 5 * float(self.changes[1].max()) + float(abs(self.changes[0]).max()))
        return ActivationRanges(LAYOUT, -end, end, widen="none")

    def draw(self, n: int, stream: np.random.Generator, *, generated: bool) -> torch.Tensor:
        """Activations of n images, `[neurons, images, positions]` float32."""
        shift, stretch, modes = self.changes
        own = stream.standard_normal((n, NEURONS), dtype=np.float32)
        if generated:
            own = np.sqrt(modes) * stream.choice([-1, 1], size=(n, NEURONS)) + np.sqrt(1 - modes) * own
        factors = stream.standard_normal((n, FACTORS)) @ self.loadings.T
        image = np.sqrt(self.common) * factors + np.sqrt(1 - self.common) * own
        positions = stream.standard_normal((POSITIONS, n, NEURONS), dtype=np.float32)
        activations = np.sqrt(OF_IMAGE) * image + np.sqrt(1 - OF_IMAGE) * positions
        if generated:
            activations = shift + stretch * activations
        return torch.from_numpy(activations.astype(np.float32)).permute(2, 1, 0)

    @cached_property
    def truth(self) -> dict[str, float]:
        """The distances of the distributions that `draw` draws from."""
        shift, stretch, modes = self.changes
        none, one = np.zeros(NEURONS), np.ones(NEURONS)
        emd = abs(self._shares(none, one, none) - self._shares(shift, stretch, modes)).sum(axis=1).mean()
        covariance = OF_IMAGE * self.common * self.loadings @ self.loadings.T
        np.fill_diagonal(covariance, OF_IMAGE + (1 - OF_IMAGE) / POSITIONS)
        means = torch.zeros(NEURONS, dtype=torch.float64), torch.from_numpy(shift)
        covariances = [torch.from_numpy(covariance), torch.from_numpy(covariance * np.outer(stretch, stretch))]
        variances = [one.diagonal() for one in covariances]
        by_neuron = neuron_frechet_distance(means[0], variances[0], means[1], variances[1])
        by_layer = [
            frechet_distance(means[0][rows], covariances[0][rows, rows], means[1][rows], covariances[1][rows, rows])
            for rows in LAYOUT.slices().values()
        ]
        values = {"emd": emd, "nfd": by_neuron.mean(), "lfd": torch.stack(by_layer).mean()}
        return {name: float(value) for name, value in values.items()}

    def _shares(self, shift: Array, stretch: Array, modes: Array) -> Array:
        """Cumulative shares at the bins' upper ends."""
        from scipy.stats import norm

        end = float(self.ranges.high[0])
        edges = np.linspace(-end, end, BINS + 1)[1:]
        places = (edges - shift[:, None]) / stretch[:, None]
        apart = np.sqrt(OF_IMAGE * (1 - self.common) * modes)[:, None]
        deviation = np.sqrt(1 - apart**2)
        shares = (norm.cdf((places - apart) / deviation) + norm.cdf((places + apart) / deviation)) / 2
        shares[:, -1] = 1
        return shares

    def grouped(self, distance: str, activations: torch.Tensor) -> GroupedDNA:
        """The DNA of activations in groups."""
        parts = []
        for group in range(GROUPS):
            distribution: Distribution
            if distance == "emd":
                distribution = HistogramDistribution.empty(self.ranges, BINS)
            elif distance == "nfd":
                distribution = GaussianDistribution.empty(LAYOUT)
            else:
                distribution = LayerGaussianDistribution.empty(LAYOUT)
            chosen = activations[:, group::GROUPS]
            distribution.fill_({layer: chosen[rows] for layer, rows in LAYOUT.slices().items()})
            parts.append(VDNA(distribution, FINGERPRINT, Provenance("synthetic", ("drawn",))))
        return GroupedDNA(tuple(parts))


@dataclass(frozen=True)
class Found:
    """What the intervals of one world, distance and number of images are worth."""

    plain: float  # mean error
    corrected: float
    scatter: float  # standard deviation of the corrected value
    standard_error: float  # mean of those said
    coverage: float  # share of 95 % intervals that hold the true distance


def examine(world: World, n: int, repetitions: int, distance: str) -> Found:
    """Intervals of repeated draws against the true distance."""
    truth, estimates = world.truth[distance], []
    for repetition in range(repetitions):
        stream = np.random.default_rng((repetition, n))
        real, made = (
            world.grouped(distance, world.draw(n, stream, generated=generated)) for generated in (False, True)
        )
        estimates.append(jackknife_distance(real, made, distance=distance).score)
    corrected = np.array([estimate.corrected for estimate in estimates])
    return Found(
        float(np.mean([estimate.value for estimate in estimates])) - truth,
        float(corrected.mean()) - truth,
        float(corrected.std(ddof=1)),
        float(np.mean([estimate.standard_error for estimate in estimates])),
        float(np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])),
    )


def compare_alike(world: World, n: int, repetitions: int) -> dict[str, float]:
    """Share of pairs of equally good generators called different at 5 %, and width of the difference's interval.

    Independent generators draw their own images; paired ones make the same images, with other noise at the positions.
    """
    called: dict[str, list[tuple[bool, float]]] = {"independent": [], "paired": [], "paired, not told": []}
    for repetition in range(repetitions):
        stream = np.random.default_rng((repetition, n))
        reference = world.grouped("emd", world.draw(n, stream, generated=False))
        first, second = (world.draw(n, stream, generated=True) for _ in range(2))
        copied = (
            first + 0.8 * torch.from_numpy(stream.standard_normal(first.shape, dtype=np.float32)) for _ in range(2)
        )
        own = [jackknife_distance(reference, world.grouped("emd", each)) for each in (first, second)]
        same = [jackknife_distance(reference, world.grouped("emd", each)) for each in copied]
        for name, pair, paired in (
            ("independent", own, False),
            ("paired", same, True),
            ("paired, not told", same, False),
        ):
            found = compare_pair(*pair, paired=paired)
            called[name].append((found.p_value < 0.05, found.estimate.high - found.estimate.low))
    return {
        name: value
        for kind, pairs in called.items()
        for name, value in (
            (f"{kind}: called different", float(np.mean([different for different, _ in pairs]))),
            (f"{kind}: width of the interval", float(np.mean([width for _, width in pairs]))),
        )
    }


def check_floor(n: int, sizes: tuple[int, ...], repetitions: int) -> list[tuple[str, int, float, float]]:
    """Distance, number of images, floor from n real images, and what so many new real images are apart from them."""
    world, rows = World(0.0, 0.5), []
    for distance in KINDS:
        for size in sizes:
            floors, found = [], []
            for repetition in range(repetitions):
                stream = np.random.default_rng((repetition, n, size))
                reference, new = (
                    world.grouped(distance, world.draw(many, stream, generated=False)) for many in (n, size)
                )
                floors.append(noise_floor(reference, size, distance=distance).value)
                found.append(find_column(distance)(reference.total, new.total))
            rows.append((distance, size, float(np.mean(floors)), float(np.mean(found))))
    return rows


def check_extrapolation(world: World, n: int, repetitions: int) -> dict[str, float]:
    """Mean error of the LFD, plain, corrected and at infinity, from a reference of 20 n images."""
    errors: dict[str, list[float]] = {"plain": [], "corrected": [], "at infinity": []}
    truth = world.truth["lfd"]
    for repetition in range(repetitions):
        stream = np.random.default_rng((repetition, n))
        reference = world.grouped("lfd", world.draw(20 * n, stream, generated=False))
        generated = world.grouped("lfd", world.draw(n, stream, generated=True))
        score = jackknife_distance(reference, generated, distance="lfd").score
        errors["plain"].append(score.value - truth)
        errors["corrected"].append(score.corrected - truth)
        errors["at infinity"].append(extrapolate_frechet(reference, generated).score.corrected - truth)
    return {name: float(np.mean(values)) for name, values in errors.items()}


def draw_figure(found: dict[tuple[str, int, str], Found], sizes: tuple[int, ...]) -> Figure:
    """Mean error and coverage over the number of images, a column a distance."""
    worlds = list(dict.fromkeys(name for name, _, _ in found))
    styles = dict(zip(worlds, ("-", "--", ":"), strict=True))
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    axes = figure.subplots(2, len(KINDS), sharex=True)
    for column, distance in enumerate(KINDS):
        error, coverage = axes[:, column]
        coverage.axhspan(0.9, 0.98, color="#e6e6e6", linewidth=0)
        error.axhline(0, color="#9a9a9a", linewidth=1)
        for world in worlds:
            rows = [found[world, n, distance] for n in sizes]
            marks = {"marker": "o", "markersize": 4, "linestyle": styles[world], "linewidth": 1.8}
            error.plot(sizes, [row.plain for row in rows], color=COLOURS[1], **marks)
            error.plot(sizes, [row.corrected for row in rows], color=COLOURS[0], **marks)
            coverage.plot(sizes, [row.coverage for row in rows], color=COLOURS[0], label=world, **marks)
        error.set_title(TITLES[distance], fontsize=10, loc="left")
        coverage.set_ylim(0, 1.03)
        coverage.set_xscale("log")
        coverage.set_xticks(sizes, [str(n) for n in sizes])
        coverage.minorticks_off()
        coverage.set_xlabel("images a side")
        for ax in (error, coverage):
            ax.grid(axis="y", color="#eeeeee")
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("mean error")
    axes[1, 0].set_ylabel("share of 95 % intervals that\nhold the true distance")
    first, start = found[worlds[0], sizes[0], "emd"], sizes[0]
    for text, value, colour in (("plain", first.plain, COLOURS[1]), ("corrected", first.corrected, COLOURS[0])):
        place = {"xytext": (6, 13 if text == "corrected" else 4), "textcoords": "offset points"}
        axes[0, 0].annotate(text, (start, value), color=colour, fontsize=9, **place)
    axes[1, 0].legend(fontsize=8, frameon=False, loc="lower right", handlelength=3.5)
    axes[1, 2].text(90, 0.12, "60 images: fewer than the\n100 neurons of a layer", fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few repetitions, and no picture")
    repetitions = 4 if parser.parse_args().quick else 200
    sizes = (60, 240) if repetitions < 200 else (60, 120, 240)
    start = time.perf_counter()
    torch.set_num_threads(1)
    worlds = {
        "different": World(0.3, 0.0),
        "different, correlated": World(0.3, 0.5),
        "alike, correlated": World(0.0, 0.5),
    }
    found: dict[tuple[str, int, str], Found] = {}
    print(
        "| neurons | distance | images | true | plain error | corrected error | scatter | standard error | coverage |"
    )
    print("| --- | --- | --: | --: | --: | --: | --: | --: | --: |")
    for name, world in worlds.items():
        for distance in KINDS:
            for n in sizes:
                row = found[name, n, distance] = examine(world, n, repetitions, distance)
                print(
                    f"| {name} | {TITLES[distance]} | {n} | {world.truth[distance]:.3g} | {row.plain:+.3g} | "
                    f"{row.corrected:+.3g} | {row.scatter:.3g} | {row.standard_error:.3g} | {row.coverage:.1%} |",
                    flush=True,
                )
    if repetitions == 200:
        figure = draw_figure(found, sizes)
        figure.savefig(HERE.parents[1] / "docs" / "images" / "uncertainty.png", dpi=110)
    print("\n| equally good generators, 120 images | |\n| --- | --: |")
    for name, value in compare_alike(worlds["different, correlated"], 120, repetitions).items():
        print(f"| {name} | {value:.3g} |")
    print("\n| distance | new real images | floor from 240 real images | found |\n| --- | --: | --: | --: |")
    for distance, size, floor, value in check_floor(240, (60, 240, 960), repetitions // 4):
        print(f"| {TITLES[distance]} | {size} | {floor:.3g} | {value:.3g} |")
    print("\n| LFD, 400 images, 20 times the reference | mean error |\n| --- | --: |")
    for name, value in check_extrapolation(worlds["different, correlated"], 400, repetitions // 10 or 1).items():
        print(f"| {name} | {value:+.3g} |")
    print(f"\n{repetitions} repetitions in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
