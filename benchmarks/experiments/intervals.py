"""Whether error bars tell the truth: distances of synthetic activations, whose true distance is known.

    python benchmarks/experiments/intervals.py

Neurons look at n real and n generated images, in 10 groups a side. Of the generated images a quarter of the neurons is
shifted, a quarter stretched, a quarter has two modes, each by another random amount, and a quarter is as in the real
ones. Besides there are generated images that do not differ at all, and a second generator that is as good as the first.
True distances are integrals, not samples. 1000 trials a cell; each cell's seeds are its trials' numbers.

Cells run in two processes and are kept in the folder --work, so that a run which was killed goes on there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from _common import DOCS, Experiment, Progress, begin, markdown_table
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vdna_metrics import VDNA, ActivationRanges
from vdna_metrics.analysis import JackknifedDistance, Side, compare_pair, extrapolate_frechet, noise_floor
from vdna_metrics.analysis.uncertainty.estimates import distance_estimate, parts_of
from vdna_metrics.analysis.uncertainty.rules import bias_rule
from vdna_metrics.build import disjoint_groups
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
from vdna_metrics.dna.vdna import ImageClusters
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional import frechet_distance, neuron_frechet_distance
from vdna_metrics.layout import NeuronLayout

Array = NDArray[np.float64]
Clusters = Literal["independent", "given", "not given"]

NEURONS, BINS, GROUPS, POSITIONS, FACTORS = 48, 40, 10, 2, 8
OF_IMAGE = 0.6  # share of a neuron's variance that an image's positions have in common
CLUSTER, IN_CLUSTER = 5, 0.8  # images of a cluster, and the share of an image's part that they have in common
TAILS = 1.2  # heavy tails: the hyperbolic sine of so many times a normal number
PARTS = ("value", "corrected", "standard_error", "low", "high")
STACK = 20  # trials that are measured at once, each as a layer
KINDS: dict[str, Kind] = {"emd": "histogram", "nfd": "gaussian", "lfd": "layer_gaussian"}
TITLES = {"emd": "VDNA-EMD", "nfd": "neuron Fréchet distance", "lfd": "layer Fréchet distance"}


@dataclass(frozen=True)
class World:
    """Real and generated activations that differ in a known way.

    Args:
        common: share of an image's part that neurons have in common.
        strength: of the differences, 0 for none.
        all_shifted: every neuron is shifted, instead of a quarter.
        tails: whether activations have heavy tails.
        neurons: of one trial.
    """

    common: float = 0.0
    strength: float = 0.3
    all_shifted: bool = False
    tails: bool = False
    neurons: int = NEURONS

    @cached_property
    def loadings(self) -> Array:
        """Of the neurons on the common factors, each of length 1."""
        drawn = np.random.default_rng(1).normal(size=(self.neurons, FACTORS))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    @cached_property
    def changes(self) -> tuple[Array, Array, Array]:
        """Shift in deviations, stretch, share of an image's own variance that two modes take, ``[neurons]`` each."""
        amounts = self.strength * np.random.default_rng(2).normal(size=self.neurons)
        which = np.arange(self.neurons) % 4 * (not self.all_shifted)
        shift, stretch = np.where(which == 0, amounts, 0), np.where(which == 1, np.exp(amounts), 1)
        return shift, stretch, np.where(which == 2, np.minimum(1.5 * abs(amounts), 0.95), 0) * (not self.tails)

    @property
    def of_image(self) -> float:
        """Share of a neuron's variance that an image's positions have in common."""
        return 1.0 if self.tails else OF_IMAGE

    @property
    def end(self) -> float:
        """Of the histograms' range, which goes as far below 0."""
        return 30.0 if self.tails else 5 * float(self.changes[1].max()) + float(abs(self.changes[0]).max())

    def images(self, n: int, stream: np.random.Generator, *, generated: bool, correlation: float = 0.0) -> Array:
        """What the positions of n images have in common, in a stack of trials, ``[trials, n, neurons]``."""

        def normal(width: int) -> Array:
            own = stream.standard_normal((STACK, n, width))
            if not correlation:
                return own
            shared = stream.standard_normal((STACK, -(-n // CLUSTER), width)).repeat(CLUSTER, axis=1)[:, :n]
            return np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own

        own = normal(self.neurons)
        if generated:
            modes = self.changes[2]
            own = np.sqrt(modes) * np.sign(normal(self.neurons)) + np.sqrt(1 - modes) * own
        if self.common:
            own = np.sqrt(self.common) * (normal(FACTORS) @ self.loadings.T) + np.sqrt(1 - self.common) * own
        return own

    def seen(self, images: Array, stream: np.random.Generator, *, generated: bool) -> torch.Tensor:
        """What the neurons give, ``[trials x neurons, n, positions]`` float32, with new noise at the positions."""
        shift, stretch, _ = self.changes
        noise = stream.standard_normal((*images.shape, 1 if self.tails else POSITIONS))
        drawn = np.sqrt(self.of_image) * images[..., None] + np.sqrt(1 - self.of_image) * noise
        activations = np.sinh(TAILS * drawn) if self.tails else drawn
        if generated:
            activations = shift[:, None] + stretch[:, None] * activations
        rows = activations.astype(np.float32).transpose(0, 2, 1, 3).reshape(-1, drawn.shape[1], drawn.shape[3])
        return torch.from_numpy(rows)

    @cached_property
    def truth(self) -> dict[str, float]:
        """The distances of the distributions that are drawn from."""
        shift, stretch, modes = self.changes
        none, one = np.zeros(self.neurons), np.ones(self.neurons)
        emd = abs(self._shares(none, one, none) - self._shares(shift, stretch, modes)).sum(axis=1).mean()
        covariance = self.of_image * self.common * self.loadings @ self.loadings.T
        variance = (np.exp(2 * TAILS**2) - 1) / 2 if self.tails else OF_IMAGE + (1 - OF_IMAGE) / POSITIONS
        np.fill_diagonal(covariance, variance)
        means = torch.zeros(self.neurons, dtype=torch.float64), torch.from_numpy(shift)
        covariances = [torch.from_numpy(covariance), torch.from_numpy(covariance * np.outer(stretch, stretch))]
        by_neuron = neuron_frechet_distance(means[0], covariances[0].diagonal(), means[1], covariances[1].diagonal())
        lfd = frechet_distance(means[0], covariances[0], means[1], covariances[1])
        return {"emd": float(emd), "nfd": float(by_neuron.mean()), "lfd": float(lfd)}

    def _shares(self, shift: Array, stretch: Array, modes: Array) -> Array:
        """Cumulative shares at the bins' upper ends."""
        from scipy.stats import norm

        places = (np.linspace(-self.end, self.end, BINS + 1)[1:] - shift[:, None]) / stretch[:, None]
        if self.tails:
            places = np.arcsinh(places) / TAILS
        apart = np.sqrt(self.of_image * (1 - self.common) * modes)[:, None]
        deviation = np.sqrt(1 - apart**2)
        shares: Array = (norm.cdf((places - apart) / deviation) + norm.cdf((places + apart) / deviation)) / 2
        shares[:, -1] = 1
        return shares


# --------------------------------------------------------------------------------------------------------------- trials
def grouped(distance: str, world: World, activations: torch.Tensor, clusters: Clusters = "independent") -> GroupedDNA:
    """The DNA of a stack of trials, a layer each, in groups."""
    n = activations.shape[1]
    layout = NeuronLayout({f"trial{i}": world.neurons for i in range(STACK)})
    labels = np.arange(n) // CLUSTER if clusters == "given" else None
    group_of = disjoint_groups(n, GROUPS, clusters=labels).of_image[:, 0]
    fingerprint = ExtractorFingerprint("synthetic", "", "none", {layer: layer for layer in layout})
    parts = []
    for group in range(GROUPS):
        here = np.flatnonzero(group_of == group)
        known = None if labels is None else ImageClusters.of(np.bincount(labels[here])[np.unique(labels[here])])
        provenance = Provenance("synthetic", ("drawn",), clusters=known)
        parts.append(VDNA(_filled(distance, world, layout, activations[:, here]), fingerprint, provenance))
    return GroupedDNA(tuple(parts))


def _filled(distance: str, world: World, layout: NeuronLayout, activations: torch.Tensor) -> Distribution:
    def empty(layout: NeuronLayout) -> Distribution:
        if distance == "emd":
            end = torch.full((layout.total,), world.end)
            return HistogramDistribution.empty(ActivationRanges(layout, -end, end, widen="none"), BINS)
        return (GaussianDistribution if distance == "nfd" else LayerGaussianDistribution).empty(layout)

    made = empty(layout)
    if distance == "lfd":
        made.fill_({layer: activations[rows] for layer, rows in layout.slices().items()})
        return made
    # All trials at once: filling is most of the work where layers are many and small.
    whole = empty(NeuronLayout({"all": layout.total}))
    whole.fill_({"all": activations})
    return made.with_state(torch.cat([whole.state[:1], made.state[1 : 1 + len(layout)], whole.body]))


@dataclass(frozen=True)
class Measured:
    """A stack of trials: distances with error bars, whether they would be withheld or not.

    Args:
        each: one a trial.
        left: what the correction may leave of the bias, ``[trials]``.
    """

    each: list[JackknifedDistance]
    left: Array

    def numbers(self, what: str) -> Array:
        """A part of the estimates, ``[trials]``."""
        return np.array([getattr(one.score, what) for one in self.each], np.float64)


def measure(distance: str, real: GroupedDNA, made: GroupedDNA) -> Measured:
    """What `jackknife_distance` gives of each trial."""
    column = find_column(distance)
    plain = parts_of(column, real.total, made.total)
    corrected, *chances = bias_rule(column).correct(column, real, made, plain)
    each, left = [], np.zeros(len(plain))
    for place, one in enumerate(torch.eye(len(plain), dtype=torch.float64)):
        deviations = [chance.of_part(place) for chance in chances]
        left[place] = sum(chance.left_of(one) for chance in chances)
        score = distance_estimate(column, float(plain[place]), float(corrected[place]), deviations, 0.95)
        first, second = (
            Side(dna.total.provenance, dna.sizes, *own) for dna, own in zip((real, made), deviations, strict=True)
        )
        each.append(JackknifedDistance(score, {}, distance, column.unit, 0.95, first, second))
    return Measured(each, left)


def p_values(one: Measured, other: Measured, *, paired: bool) -> Array:
    """Of no difference, ``[trials]``."""
    pairs = zip(one.each, other.each, strict=True)
    return np.array([compare_pair(a, b, paired=paired).p_value for a, b in pairs])


@dataclass(frozen=True)
class Cell:
    """Trials of one kind.

    Args:
        world: what is looked at.
        n: images a side.
        distances: that are measured.
        clusters: how images depend on each other, and whether that is told.
        trials: how many.
        paired: compare two generators of the same images: that differ in unlike ways and by one true distance where it
            is the layer Fréchet distance, else that are equal; by default two that are equal and independent.
        floors: draw references and new real images instead, for the noise floor; of so many new images each.
        at_infinity: extrapolate to infinitely many images instead, from a reference of 20 times as many.
    """

    world: World
    n: int
    distances: tuple[str, ...] = ("emd", "nfd")
    clusters: Clusters = "independent"
    trials: int = 1000
    paired: bool = False
    floors: tuple[int, ...] = ()
    at_infinity: bool = False

    @property
    def name(self) -> str:
        """For people, and of its file."""
        kind = "floor" if self.floors else "infinity" if self.at_infinity else "-".join(self.distances)
        return f"{kind}-{self.world.neurons}-{self.n}"


def run(cell: Cell) -> dict[str, Array]:
    """``{"distance.what": [trials]}``."""
    torch.set_num_threads(1)
    found: dict[str, list[Array]] = {}
    for stack in range(-(-cell.trials // STACK)):
        stream = np.random.default_rng((stack, cell.n, cell.world.neurons, bool(cell.floors)))
        rows = (_floors if cell.floors else _at_infinity if cell.at_infinity else _trials)(cell, stream)
        for key, values in rows.items():
            found.setdefault(key, []).append(values)
    return {key: np.concatenate(values)[: cell.trials] for key, values in found.items()}


def _trials(cell: Cell, stream: np.random.Generator) -> dict[str, Array]:
    world, correlation = cell.world, 0.0 if cell.clusters == "independent" else IN_CLUSTER

    def images(*, generated: bool) -> Array:
        return world.images(cell.n, stream, generated=generated, correlation=correlation)

    real, first = images(generated=False), images(generated=True)
    drawn = {"unlike": world.seen(first, stream, generated=True)}
    if "lfd" in cell.distances:
        # Of the same images, every neuron shifted by what makes the distance as large.
        far = float(np.sqrt(world.truth["lfd"] / world.neurons))
        drawn["other"] = world.seen(first, stream, generated=False) + far
    else:
        drawn["other"] = world.seen(first if cell.paired else images(generated=True), stream, generated=True)
        drawn["alike"] = world.seen(images(generated=False), stream, generated=False)
    seen, found = world.seen(real, stream, generated=False), dict[str, Array]()
    for distance in cell.distances:
        reference = grouped(distance, world, seen, cell.clusters)
        measured = {
            name: measure(distance, reference, grouped(distance, world, each, cell.clusters))
            for name, each in drawn.items()
        }
        found[f"{distance}.p"] = p_values(measured["unlike"], measured.pop("other"), paired=cell.paired)
        for name, one in measured.items():
            for what in PARTS:
                found[f"{distance}.{name}.{what}"] = one.numbers(what)
            found[f"{distance}.{name}.left"] = one.left
    return found


def _floors(cell: Cell, stream: np.random.Generator) -> dict[str, Array]:
    found: dict[str, Array] = {}
    world = cell.world
    for size in cell.floors:
        real, new = (
            world.seen(world.images(n, stream, generated=False), stream, generated=False) for n in (cell.n, size)
        )
        for distance in cell.distances:
            reference, other = (grouped(distance, world, each) for each in (real, new))
            column = find_column(distance)
            found[f"{distance}.{size}.found"] = parts_of(column, reference.total, other.total).numpy()
            one_by_one = (reference.select([layer]) for layer in reference.layout)
            floors = [noise_floor(one, size, distance=distance).value for one in one_by_one]
            found[f"{distance}.{size}.floor"] = np.array([np.nan if each is None else each for each in floors])
    return found


def _at_infinity(cell: Cell, stream: np.random.Generator) -> dict[str, Array]:
    world = cell.world
    reference, made = (
        grouped("lfd", world, world.seen(world.images(n, stream, generated=generated), stream, generated=generated))
        for n, generated in ((20 * cell.n, False), (cell.n, True))
    )
    jackknifed, infinite = measure("lfd", reference, made), extrapolate_frechet(reference, made)
    return {
        "plain": jackknifed.numbers("value"),
        "corrected": jackknifed.numbers("corrected"),
        "at infinity": np.array([each.corrected for each in infinite.layers.values()]),
    }


# ---------------------------------------------------------------------------------------------------------------- cells
WORLDS = {"independent": World(), "correlated": World(0.5), "heavy tails": World(tails=True)}
SIZES = (60, 120, 240)
LITTLE = World(all_shifted=True)
STRONGLY = World(0.9, strength=1.0, all_shifted=True)
IN_CLUSTERS = World(0.5, neurons=96)
RATIOS = (0.5, 1.25, 1.5, 2.0, 3.0)


def layer(neurons: int, ratio: float, trials: int, **world: Any) -> Cell:
    """Of layer Fréchet distances with ``ratio`` images a neuron."""
    n = round(ratio * neurons)
    return Cell(World(neurons=neurons, **world), n, ("lfd",), trials=trials, paired=True)


def all_cells(quick: bool) -> dict[str, Cell]:
    """Every cell, by a name that tells it from the others."""
    trials = STACK if quick else 1000
    cells = {}
    for ratio in RATIOS:
        cells[f"lfd {ratio}"] = layer(96, ratio, trials)
    for clusters in ("given", "not given", "independent"):
        cells[f"clusters {clusters}"] = Cell(IN_CLUSTERS, 200, clusters=clusters, trials=trials)
    for n in SIZES:
        for name, world in WORLDS.items():
            cells[f"{name} {n}"] = Cell(world, n, trials=trials)
    cells["paired"] = Cell(WORLDS["correlated"], 120, trials=trials, paired=True)
    for n in (20, 60, 240):
        cells[f"little {n}"] = Cell(LITTLE, n, ("emd",), trials=trials)
        cells[f"strongly {n}"] = Cell(STRONGLY, n, ("emd",), trials=trials)
    for ratio in (1.25, 2.0):
        cells[f"lfd correlated {ratio}"] = layer(96, ratio, trials, common=0.5)
    cells["lfd alike 2.0"] = layer(96, 2.0, trials, strength=0.0)
    for ratio in (1.0, 2.0):
        cells[f"lfd 32 {ratio}"] = layer(32, ratio, trials)
    few = max(STACK, trials // 5)  # floors of normal activations vary little
    for name, world in (("normal", World(strength=0.0)), ("heavy tails", World(strength=0.0, tails=True))):
        for n in (20, 60, 200):
            cells[f"floor {name} {n}"] = Cell(world, n, trials=trials if world.tails else few, floors=(n, 5 * n))
    for ratio in (0.5, 2.5):
        floors = (48, 240)
        world = World(strength=0.0, neurons=96)
        cells[f"floor lfd {ratio}"] = Cell(
            world, round(ratio * 96), ("lfd",), trials=max(STACK, trials // 10), floors=floors
        )
    for ratio in (2.0, 4.0):
        cells[f"lfd 272 {ratio}"] = layer(272, ratio, max(STACK, trials // 10))
    cells["infinity"] = Cell(World(0.5), 200, ("lfd",), trials=min(trials, 100), at_infinity=True)
    if quick:
        kept = ("lfd 32 1.0", "clusters given", "correlated 60", "floor normal 20")
        return {name: replace(cells[name], world=replace(cells[name].world, neurons=16)) for name in kept}
    return cells


# -------------------------------------------------------------------------------------------------------------- results
Results = dict[str, dict[str, Array]]


@dataclass(frozen=True)
class Found:
    """What the intervals of a cell are worth.

    Args:
        truth: the true distance.
        plain: mean error.
        corrected: mean error.
        scatter: standard deviation of the corrected values.
        standard_error: mean of those said.
        coverage: share of 95 % intervals that hold the true distance, withheld ones too.
        given: share of intervals that are not withheld.
        given_coverage: of these; NaN where all are withheld.
    """

    truth: float
    plain: float
    corrected: float
    scatter: float
    standard_error: float
    coverage: float
    given: float
    given_coverage: float

    @classmethod
    def of(cls, cell: Cell, arrays: Mapping[str, Array], distance: str, generated: str = "unlike") -> Found:
        """Of the generated images that are ``"unlike"`` the real ones, or ``"alike"``."""
        truth = cell.world.truth[distance] if generated == "unlike" else 0.0
        own = {what: arrays[f"{distance}.{generated}.{what}"] for what in (*PARTS, "left")}
        holds = (own["low"] <= truth) & (truth <= own["high"])
        given = own["left"] <= own["standard_error"]
        return cls(
            truth,
            float(own["value"].mean()) - truth,
            float(own["corrected"].mean()) - truth,
            float(own["corrected"].std(ddof=1)),
            float(own["standard_error"].mean()),
            float(holds.mean()),
            float(given.mean()),
            float(holds[given].mean()) if given.any() else float("nan"),
        )

    @property
    def errors(self) -> str:
        """Mean errors, plain and corrected."""
        return f"{signed(self.plain)} → {signed(self.corrected)}"


def signed(value: float) -> str:
    """``+0.12``, ``−0.034``."""
    return f"{value:+.2g}".replace("-", "−")


def percent(share: float) -> str:
    """``95.4 %``, nothing for NaN."""
    return "" if np.isnan(share) else f"{100 * share:.1f} %"


def called_different(arrays: Mapping[str, Array], distance: str) -> str:
    """Share of pairs of generators of one true distance that are called different at 5 %."""
    return percent(float((arrays[f"{distance}.p"] < 0.05).mean()))


def coverage_table(cells: Mapping[str, Cell], results: Results) -> str:
    """Errors and coverage over the number of images, and equal generators that are called different."""
    rows = []
    for distance in ("emd", "nfd"):
        for world in WORLDS:
            names = [f"{world} {n}" for n in SIZES]
            for generated in ("unlike", "alike"):
                found = [Found.of(cells[name], results[name], distance, generated) for name in names]
                different = [called_different(results[name], distance) for name in names]
                rows.append([
                    TITLES[distance], world, f"{found[0].truth:.3g}", *(each.errors for each in found),
                    *(percent(each.coverage) for each in found), *(different if generated == "unlike" else [""] * 3),
                ])  # fmt: skip
    heads = [f"{what} at {n}" for what in ("error", "coverage", "called different") for n in SIZES]
    return markdown_table(["distance", "neurons", "true", *heads], rows, words=2)


def cluster_table(cells: Mapping[str, Cell], results: Results) -> str:
    """Images that depend on each other: with their clusters given, without, and images that do not."""
    rows = []
    for distance in ("emd", "nfd"):
        for name, words in (
            ("clusters given", "40 clusters of 5, told"),
            ("clusters not given", "40 clusters of 5, not told"),
            ("clusters independent", "200 independent images"),
        ):
            unlike, alike = (Found.of(cells[name], results[name], distance, each) for each in ("unlike", "alike"))
            rows.append([
                TITLES[distance], words, unlike.errors, percent(unlike.coverage), alike.errors, percent(alike.coverage),
                called_different(results[name], distance),
            ])  # fmt: skip
    heads = [
        "distance",
        "images",
        "error, true distance > 0",
        "coverage",
        "error, 0",
        "coverage, 0",
        "called different",
    ]
    return markdown_table(heads, rows, words=2)


def layer_table(cells: Mapping[str, Cell], results: Results) -> str:
    """Layer Fréchet distances against images a neuron."""
    rows = []
    names = sorted(
        (name for name, cell in cells.items() if cell.distances == ("lfd",) and cell.paired),
        key=lambda name: (
            cells[name].world.neurons,
            cells[name].world.common,
            -cells[name].world.strength,
            cells[name].n,
        ),
    )
    for name in names:
        cell, found = cells[name], Found.of(cells[name], results[name], "lfd")
        error = f"{found.standard_error:.2g}"
        rows.append([
            str(cell.world.neurons), "correlated" if cell.world.common else "independent", str(cell.n),
            f"{cell.n / cell.world.neurons:.3g}", f"{found.truth:.3g}", found.errors, error, percent(found.coverage),
            percent(found.given), percent(found.given_coverage) or "–",
            called_different(results[name], "lfd") if found.truth else "–", str(cell.trials),
        ])  # fmt: skip
    heads = ["neurons", "they are", "images", "images a neuron", "true", "error", "standard error",
             "coverage, all", "given", "coverage, given", "called different", "trials"]  # fmt: skip
    return markdown_table(heads, rows, words=2)


def floor_table(cells: Mapping[str, Cell], results: Results) -> str:
    """Noise floors, and what new real images score."""
    rows = []
    for name, cell in cells.items():
        for distance in cell.distances if cell.floors else ():
            for size in cell.floors:
                floors, found = (results[name][f"{distance}.{size}.{what}"] for what in ("floor", "found"))
                given = ~np.isnan(floors)
                kind = "heavy tails" if cell.world.tails else "normal"
                numbers = ["–"] * 3
                if given.any():
                    mean = float(floors[given].mean())
                    error, spread = mean / found.mean() - 1, floors[given].std(ddof=1) / mean
                    numbers = [f"{mean:.3g}", f"{100 * error:+.0f} %".replace("-", "−"), f"{100 * spread:.0f} %"]
                rows.append([
                    TITLES[distance], f"{cell.world.neurons} {kind}", str(cell.n), str(size), f"{found.mean():.3g}",
                    *numbers,
                ])  # fmt: skip
    heads = ["distance", "neurons", "reference images", "new images", "they score", "floor", "its error",
             "it varies by"]  # fmt: skip
    return markdown_table(heads, rows, words=2)


def limit_table(cells: Mapping[str, Cell], results: Results) -> str:
    """Where the EMD's correction goes too far: all neurons moved by about their chance."""
    rows = []
    for kind, words in (("little", "independent, all shifted by 0.3 deviations"),
                        ("strongly", "8 factors are 0.9 of them, all shifted by 1 deviation")):  # fmt: skip
        for n in (20, 60, 240):
            found = Found.of(cells[f"{kind} {n}"], results[f"{kind} {n}"], "emd")
            values = [f"{found.truth + error:.3g}" for error in (found.plain, found.corrected)]
            rows.append([words, str(n), f"{found.truth:.3g}", *values, percent(found.coverage)])
    return markdown_table(["neurons", "images", "true EMD", "plain", "corrected", "coverage"], rows)


def sentences(cells: Mapping[str, Cell], results: Results) -> str:
    """Of equal generators of the same images, and of FD-infinity."""
    emd, nfd = (called_different(results["paired"], distance) for distance in ("emd", "nfd"))
    cell, arrays = cells["infinity"], results["infinity"]
    truth = cell.world.truth["lfd"]
    plain, corrected, at_infinity = (signed(float(arrays[each].mean()) - truth) for each in arrays)
    return (
        "Two equal generators of the same 120 images, compared as paired, are called different at 5 % in "
        f"{emd} of the trials by the EMD and in {nfd} by the NFD.\n\n"
        f"FD-infinity of {cell.n} images and {cell.world.neurons} correlated neurons, from {20 * cell.n} real ones, "
        f"{cell.trials} trials: mean error {plain} plain, {corrected} corrected by the jackknife, {at_infinity} at "
        f"infinity, of a true LFD of {truth:.3g}."
    )


def draw_figure(cells: Mapping[str, Cell], results: Results) -> Figure:
    """Mean error and coverage over the number of images, a column a distance."""
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    axes = figure.subplots(2, 3)
    styles = dict(zip(WORLDS, ("-", "--", ":"), strict=True))

    def draw(column: int, places: Sequence[float], found: Sequence[Found], style: str, label: str) -> None:
        marks: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": style, "linewidth": 1.8}
        error, coverage = axes[:, column]
        for name, colour in (("plain", COLOURS[1]), ("corrected", COLOURS[0])):
            error.plot(places, [getattr(each, name) / each.truth for each in found], color=colour, **marks)
        coverage.plot(places, [each.coverage for each in found], color=COLOURS[0], label=label, **marks)

    for column, distance in enumerate(("emd", "nfd")):
        for world, style in styles.items():
            found = [Found.of(cells[f"{world} {n}"], results[f"{world} {n}"], distance) for n in SIZES]
            draw(column, SIZES, found, style, world)
    layers = [Found.of(cells[f"lfd {ratio}"], results[f"lfd {ratio}"], "lfd") for ratio in RATIOS]
    draw(2, RATIOS, layers, "-", "independent")
    withheld = max((ratio for ratio, each in zip(RATIOS, layers, strict=True) if each.given < 0.5), default=0.0)
    kept = min(ratio for ratio in RATIOS if ratio > withheld)
    for error, coverage, title in zip(
        *axes, ("VDNA-EMD", "neuron Fréchet distance", "layer Fréchet distance"), strict=True
    ):
        error.axhline(0, color="#9a9a9a", linewidth=1)
        coverage.axhspan(0.93, 0.98, color="#e6e6e6", linewidth=0)
        coverage.set_ylim(0, 1.03)
        error.set_title(title, fontsize=10, loc="left")
    for ax in axes[:, 2]:
        ax.axvspan(0.4, (withheld * kept) ** 0.5, color="#f3e3e3", linewidth=0)
        ax.set_xlim(left=0.4)
    axes[1, 2].text(0.43, 0.95, "interval withheld", fontsize=8)
    for row, places, label in (
        (0, SIZES, "images a side"),
        (2, (0.5, 1, 1.5, 2, 3), "images a side, for each of 96 neurons"),
    ):
        for ax in axes[:, row : row + 2 if row == 0 else 3].flat:
            ax.set_xscale("log")
            ax.set_xticks(places, [f"{place:g}" for place in places])
            ax.minorticks_off()
            ax.grid(axis="y", color="#eeeeee")
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
        for ax in axes[1, row : row + 2 if row == 0 else 3]:
            ax.set_xlabel(label)
    axes[0, 0].set_ylabel("mean error, over the true distance")
    axes[1, 0].set_ylabel("share of 95 % intervals that\nhold the true distance")
    start = Found.of(cells[f"independent {SIZES[0]}"], results[f"independent {SIZES[0]}"], "emd")
    for text, value, colour in (("plain", start.plain, COLOURS[1]), ("corrected", start.corrected, COLOURS[0])):
        place = {"xytext": (8, 6 if text == "plain" else 24), "textcoords": "offset points"}
        axes[0, 0].annotate(text, (SIZES[0], value / start.truth), color=colour, fontsize=9, **place)
    axes[1, 0].legend(fontsize=8, frameon=False, loc="lower right", handlelength=3.5)
    return figure


def _kept(experiment: Experiment, cell: Cell) -> dict[str, Array]:
    settings = {**asdict(cell), "bins": BINS, "stack": STACK}
    return experiment.keep(cell.name, settings, lambda: run(cell))


def main() -> None:
    experiment = begin(__file__, __doc__)
    cells = all_cells(experiment.quick)
    progress, results = Progress("intervals", len(cells), "cells"), Results()
    with ProcessPoolExecutor(2) as pool:
        futures = {name: pool.submit(_kept, experiment, cell) for name, cell in cells.items()}
        for name, future in futures.items():
            results[name] = future.result()
            progress(len(results))
    if experiment.quick:
        experiment.write_section(layer_table({name: cells[name] for name in ("lfd 32 1.0",)}, results))
        return
    draw_figure(cells, results).savefig(DOCS / "images" / "uncertainty.png", dpi=110)
    tables = {
        "coverage": coverage_table, "clusters": cluster_table, "layers": layer_table, "floors": floor_table,
        "limit": limit_table,
    }  # fmt: skip
    for name, table in tables.items():
        experiment.write_section(table(cells, results), f"intervals {name}", page="uncertainty.md")
    experiment.write_section(sentences(cells, results), "intervals", page="uncertainty.md")


if __name__ == "__main__":
    main()
