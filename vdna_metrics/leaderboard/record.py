"""A leaderboard as a value: every number of it, and what it was computed of and with."""

from __future__ import annotations

import dataclasses
import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vdna_metrics._version import __version__
from vdna_metrics.analysis.diagnosis import Diagnosis
from vdna_metrics.analysis.score_tables import ScoreColumn, check_scores
from vdna_metrics.analysis.uncertainty import Agreement, Estimate, RankAgreement
from vdna_metrics.dna.account import AccountFields
from vdna_metrics.dna.columns import find_column
from vdna_metrics.dna.distances import ENTRY_POINTS
from vdna_metrics.dna.vdna import clusters_text
from vdna_metrics.files import check_schema, errors_of, json_hash, read_json, write_whole
from vdna_metrics.functional.classes import ClassSummary, class_summary
from vdna_metrics.leaderboard.rows import FDR, frame_of
from vdna_metrics.schema import Count, Positive, Sha256, Share, typed

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from vdna_metrics.analysis.ranking import ImageRanking
    from vdna_metrics.analysis.single_images import Exemplars
    from vdna_metrics.dna.vdna import VDNA

SCHEMA = 1
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Shares of a layer's neurons, the smallest values first, up to which `Score.quantiles` are given."""


@dataclass(frozen=True)
class ImageSetRecord:
    """A set of images on a leaderboard: the reference, or what a generator made.

    Args:
        name: unique on the leaderboard.
        source: what was given, a path or a name of the store.
        n_images: how many were scored.
        n_found: how many there were, before they were equalised.
        manifest: sha256 of image names and contents, `references.manifest_hash`; empty where only a DNA is known.
        groups: number of disjoint groups of images; 0 for a DNA without groups.
        skipped: ``(image, reason)`` of those left out.
        account: of the images, see `ImageAccount`.
        unread: what else lay in the source, ``(what, how many files)``.
        clusters: how many clusters its images are, of which those of one depend on each other; 0 where that is not
            told, and each image is taken to be independent.
        effective_clusters: ``(Σ m)² / Σ m²`` over clusters of ``m`` images: how many of one size tell as much.
        clustering: digest of which images are in one cluster, `cluster_digest`; empty where it is not known.
    """

    name: str
    source: str
    n_images: Count
    n_found: Count
    manifest: str = ""
    groups: Count = 0
    skipped: tuple[tuple[str, str], ...] = ()
    account: AccountFields = field(default_factory=AccountFields)
    unread: tuple[tuple[str, Count], ...] = ()
    clusters: Count = 0
    effective_clusters: float = 0.0
    clustering: str = ""

    @property
    def clusters_text(self) -> str:
        """How many clusters its images are; empty where that is not told."""
        return clusters_text(self.clusters, self.effective_clusters) if self.clusters else ""

    @property
    def in_words(self) -> str:
        """What the images are, where it is known."""
        return str(self.account)


@dataclass(frozen=True)
class NetworkRecord:
    """A network whose activations were compared.

    Args:
        name: of the extractor.
        fingerprint: `ExtractorFingerprint.digest`.
        parts: of the fingerprint, for people.
        layers: ``{layer: number of neurons}``.
        bins: of the histograms, 0 where none were made.
        ranges: `ActivationRanges.digest` of the histograms' ranges; ``"auto"`` where they found their own.
    """

    name: str
    fingerprint: str
    parts: Mapping[str, str]
    layers: Mapping[str, Positive]
    bins: Count = 0
    ranges: str = ""


@dataclass(frozen=True)
class Score:
    """One generator's value by one metric and network.

    Args:
        generator: name of the image set.
        network: name of the network.
        metric: name of the metric.
        value: the plain value, what a paper would report of so many images.
        layers: ``{layer: plain value}``; empty for a distance without parts by layer.
        quantiles: ``{layer: values of its neurons at QUANTILES}``; empty for a distance without parts by neuron.
        estimate: with correction, error and interval; ``None`` for a distance without a bias rule, and where neither
            side is in groups.
        layer_estimates: likewise, of each layer.
        rank: first and last place among the generators that the data allow; equal where there is no doubt.
        extrapolated: of Fréchet distances, FD-infinity and its standard error.
        bin_width: by how much at most bins move the value, of the EMD of histograms that find their own ranges.
    """

    generator: str
    network: str
    metric: str
    value: float
    layers: Mapping[str, float]
    quantiles: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    estimate: Estimate | None = None
    layer_estimates: Mapping[str, Estimate] = field(default_factory=dict)
    rank: tuple[Positive, Positive] | None = None
    extrapolated: tuple[float, float] | None = None
    bin_width: float | None = None


def are_corrected(scores: Iterable[Score]) -> bool:
    """Whether a column is read by its corrected values, since all sets have an interval, and not by its plain ones."""
    return all(score.estimate is not None and score.estimate.low is not None for score in scores)


def compared(scores: Iterable[Score]) -> list[float]:
    """What decides the order of a column: corrected values where all have an interval, else plain ones."""
    scores = list(scores)
    corrected = are_corrected(scores)
    return [score.estimate.corrected if corrected and score.estimate else score.value for score in scores]


@dataclass(frozen=True)
class PairRecord:
    """Difference of two generators: the corrected value of ``a`` minus that of ``b``.

    Args:
        a: name of a generator.
        b: name of the other.
        network: name of the network.
        metric: name of the metric.
        difference: estimate.
        low: lower end of its interval.
        high: upper end.
        p_value: of no difference, Holm-corrected over the pairs of this network and metric.
        paired: whether the images of both have the same names, so that group was compared with group.
        tied: whether the data cannot tell them apart.
    """

    a: str
    b: str
    network: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: Share
    paired: bool
    tied: bool


@dataclass(frozen=True)
class FloorRecord:
    """What real images score against real images: no generator can be expected to do better.

    Args:
        network: name of the network.
        metric: name of the metric.
        value: expected plain value of ``n_images`` real images against the reference.
        spread: standard deviation over draws.
        n_images: as the generators have.
        measured_at: images in each of the disjoint halves that were measured.
        layers: ``{layer: floor}``.
    """

    network: str
    metric: str
    value: float
    spread: float
    n_images: Count
    measured_at: Count
    layers: Mapping[str, float]


@dataclass(frozen=True)
class FidelityRecord:
    """Fidelity and diversity of one generator in one network's features.

    Args:
        generator: name of the image set.
        network: name of the network.
        layer: whose position means are the features.
        values: ``{"precision": ..., "recall": ..., "density": ..., "coverage": ..., "vendi_real": ...,
            "vendi_generated": ..., "kernel_distance": ..., "kernel_distance_std": ...}``.
        settings: neighbours, subsets, seed, numbers of images.
    """

    generator: str
    network: str
    layer: str
    values: Mapping[str, float]
    settings: Mapping[str, float]


@dataclass(frozen=True)
class CopyRecord:
    """Which generated images look like copies of reference images; a diagnostic, not a proof.

    Args:
        generator: name of the image set.
        network: name of the network.
        found: ``(generated image, reference image, score)``, the most suspicious first.
        n_checked: images that were looked at.
        threshold: of the score, in the words of `analysis.features`.
        false_alarms: expected share of false alarms.
    """

    generator: str
    network: str
    found: tuple[tuple[str, str, float], ...]
    n_checked: Count
    threshold: float
    false_alarms: float


@dataclass(frozen=True)
class ClassRecord:
    """Value of one class folder of a generator against the same class of the reference.

    Args:
        generator: name of the image set.
        network: name of the network.
        metric: name of the metric.
        group: the class.
        n_images: of the class, generated.
        value: plain.
        n_reference: of the class, of the reference; ``None`` in records of before it was kept.
    """

    generator: str
    network: str
    metric: str
    group: str
    n_images: Count
    value: float
    n_reference: Count | None = None


def run_label(generator: str, step: float | None) -> str:
    """What the runs of a generator at one checkpoint are called together.

    Examples:
        >>> run_label("ours", None), run_label("ours", 10_000.0), run_label("ours", 1.5e6), run_label("ours", 1234.0)
        ('ours', 'ours@10k', 'ours@1.5M', 'ours@1234')
    """
    if step is None:
        return generator
    scale, unit = next(
        ((scale, unit) for scale, unit in ((1e6, "M"), (1e3, "k")) if step and step % (scale / 10) == 0), (1, "")
    )
    return f"{generator}@{step / scale:.10g}{unit}"


@dataclass(frozen=True)
class RunsRecord:
    """A generator's mean over its training runs, at one checkpoint.

    Args:
        generator: its name, which is that of no set.
        network: name of the network.
        metric: name of the metric.
        step: of training, ``None`` where it is not told.
        sets: names of the runs' sets of images.
        estimate: mean over runs; the interval is for another set of as many runs.
        between: standard deviation between runs, beyond the chance of their images; ``None`` for one run.
        resampling: that by the chance of a run's images; likewise.
        rank: as of a `Score`, among generators; ``None`` where they are not compared.
    """

    generator: str
    network: str
    metric: str
    step: float | None
    sets: tuple[str, ...]
    estimate: Estimate
    between: float | None = None
    resampling: float | None = None
    rank: tuple[Positive, Positive] | None = None

    @property
    def label(self) -> str:
        """Name of the generator, with the step."""
        return run_label(self.generator, self.step)


@dataclass(frozen=True)
class NormaliserRecord:
    """What FDr^k divides one network's Fréchet distances by: that of the validation set from the reference.

    Args:
        network: name of the network.
        metric: name of its first column of a Fréchet distance, which is the one that is divided.
        value: of the validation set.
        n_images: of the validation set.
        low: lower end of its interval, ``None`` where there is none.
        high: upper end; likewise.
        corrected: whether corrected distances are divided, since the sets are not all of as many images.
        undefined: why nothing can be divided by it; ``None`` where it can.
    """

    network: str
    metric: str
    value: float
    n_images: Count
    low: float | None = None
    high: float | None = None
    corrected: bool = False
    undefined: str | None = None


@dataclass(frozen=True)
class RatioRecord:
    """FDr^k of one generator, see `analysis.frechet_distance_ratio`.

    Args:
        generator: name of the image set.
        value: mean over the networks, without unit; ``None`` where one of them has none.
        networks: ``{network: its part}``.
        undefined: why there is no value.
    """

    generator: str
    value: float | None
    networks: Mapping[str, float | None]
    undefined: str | None = None


@dataclass(frozen=True)
class DisputeRecord:
    """Two generators that networks put in another order, beyond chance by one of them at least.

    Args:
        a: name of a generator.
        b: name of the other.
        better: ``(network, metric)`` of the columns by which ``a`` is better, beyond chance.
        worse: of the same distances in other networks, by which ``b`` is better, beyond chance.
        doubtful: likewise, as it may be by chance.
    """

    a: str
    b: str
    better: tuple[tuple[str, str], ...]
    worse: tuple[tuple[str, str], ...]
    doubtful: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class OutsideAgreement:
    """Whether a column and an outside score put the generators in one order.

    Args:
        score: name of the outside score.
        network: of the column; empty for FDr^k, which is of several.
        metric: of the column.
        agreement: rank correlations of what decides the column's order with the score, as they stand.
    """

    score: str
    network: str
    metric: str
    agreement: RankAgreement


@dataclass(frozen=True)
class ProtocolRecord:
    """How far sets and network are what a protocol asks for, in sentences.

    Args:
        name: of the protocol, see `list_protocols`.
        departures: what is otherwise, with both sides.
        unknown: what cannot be told of it.
    """

    name: str
    departures: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


_LATER = (
    "runs",
    "run_pairs",
    "outside",
    "outside_agreement",
    "validation",
    "normalisers",
    "ratios",
    "disputes",
    "protocol",
    "diagnoses",
)
"""Fields that records without them do not have, as by earlier versions, which did not know them."""


@dataclass(frozen=True)
class DiagnosisRecord:
    """What is wrong with the images of one generator, as far as `analysis.diagnose` tells.

    Args:
        generator: name of the image set.
        network: name of the network whose features were looked at.
        diagnosis: faults with their signs, and what could not be looked for.
    """

    generator: str
    network: str
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Leaderboard:
    """Generators scored against one reference; all numbers, and what is needed to compute them again.

    Args:
        title: for people.
        reference: the real images.
        generators: in the order in which they were given.
        networks: whose activations were compared.
        metrics: names of the columns that were asked for, see `list_columns`.
        scores: one for each generator, network and metric.
        settings: groups, confidence, seed, bins, equalise and what else decides the numbers.
        command: that makes this leaderboard, for people.
        versions: of Python and the packages that compute.
        created: UTC, ISO 8601.
        pairs: differences of generators.
        floors: one for each network and metric, where the reference is in groups and the metric has a bias rule.
        fidelity: where images were at hand.
        copies: likewise.
        classes: where class folders were asked for.
        agreement: of the columns, where there are at least two, and three generators.
        notes: what a reader of the numbers should know.
        writer: version that computed it.
        runs: of generators with several training runs or checkpoints, and of those beside them.
        run_pairs: differences between generators, of which runs are the sample.
        outside: scores of the generators that were measured elsewhere.
        outside_agreement: of each column with each of them.
        validation: the images whose distances FDr^k divides by, where they were given.
        normalisers: these distances, one for each network with a Fréchet distance.
        ratios: FDr^k, one for each generator.
        disputes: pairs of generators on which networks disagree, the surest first.
        protocol: of the settings, and what departs from it.
        diagnoses: of the generators, by the first network.

    Raises:
        ValueError: for a metric that is not registered.
    """

    title: str
    reference: ImageSetRecord
    generators: tuple[ImageSetRecord, ...]
    networks: tuple[NetworkRecord, ...]
    metrics: tuple[str, ...]
    scores: tuple[Score, ...]
    settings: Mapping[str, Any]
    command: str
    versions: Mapping[str, str]
    created: str
    pairs: tuple[PairRecord, ...] = ()
    floors: tuple[FloorRecord, ...] = ()
    fidelity: tuple[FidelityRecord, ...] = ()
    copies: tuple[CopyRecord, ...] = ()
    classes: tuple[ClassRecord, ...] = ()
    agreement: Agreement | None = None
    notes: tuple[str, ...] = ()
    writer: str = f"vdna_metrics {__version__}"
    runs: tuple[RunsRecord, ...] = ()
    run_pairs: tuple[PairRecord, ...] = ()
    outside: tuple[ScoreColumn, ...] = ()
    outside_agreement: tuple[OutsideAgreement, ...] = ()
    validation: ImageSetRecord | None = None
    normalisers: tuple[NormaliserRecord, ...] = ()
    ratios: tuple[RatioRecord, ...] = ()
    disputes: tuple[DisputeRecord, ...] = ()
    protocol: ProtocolRecord | None = None
    diagnoses: tuple[DiagnosisRecord, ...] = ()

    def __post_init__(self) -> None:
        _ = self.confidence  # checks it
        agreeing = self.agreement.columns if self.agreement else ()
        used = [*self.metrics, *(score.metric for score in self.scores), *(name.split(" ")[0] for name in agreeing)]
        used += [normaliser.metric for normaliser in self.normalisers]
        used += [each.metric for each in self.outside_agreement if each.metric != FDR]
        used += [metric for each in self.disputes for _, metric in (*each.better, *each.worse, *each.doubtful)]
        for name in dict.fromkeys(used):
            try:
                find_column(name)
            except ValueError as error:
                raise ValueError(
                    f"this leaderboard has the metric {name!r}, which nothing registers here: install the package that "
                    f"does (its entry points are of the group {ENTRY_POINTS}), or import the module that calls "
                    f"register_distance; {error}"
                ) from None

    def _check_names(self) -> None:
        """Raise ``ValueError`` for numbers of what is not on this leaderboard, and differences without scores."""
        scored = {(score.generator, score.network, score.metric) for score in self.scores}
        known = {
            "generator": {entry.name for entry in self.generators},
            "network": {network.name for network in self.networks},
        }
        known |= {"a": known["generator"], "b": known["generator"], "score": {score.name for score in self.outside}}
        with errors_of("leaderboard.outside"):
            check_scores(self.outside, known["generator"])
        parts = "scores", "pairs", "floors", "fidelity", "copies", "classes", "outside_agreement", "normalisers"
        for part in (*parts, "ratios", "disputes", "diagnoses"):
            for place, record in enumerate(getattr(self, part)):
                for field_, names in known.items():
                    name = getattr(record, field_, None)
                    of_several = field_ == "network" and getattr(record, "metric", None) == FDR and not name
                    if name is not None and name not in names and not of_several:
                        raise ValueError(
                            f"leaderboard.{part}[{place}].{field_}: expected one of {reprlib.repr(sorted(names))}, "
                            f"got {reprlib.repr(name)}"
                        )
        columns = {*self.columns, *[("", FDR)] * any(ratio.value is not None for ratio in self.ratios)}
        for part in ("outside_agreement", "normalisers"):
            for place, of in enumerate(getattr(self, part)):
                if (of.network, of.metric) not in columns:
                    raise ValueError(
                        f"leaderboard.{part}[{place}]: expected a column that has scores, got "
                        f"{reprlib.repr(of.metric)} by {reprlib.repr(of.network)}"
                    )
        for place, pair in enumerate(self.pairs):
            for name in (pair.a, pair.b):
                if (name, pair.network, pair.metric) not in scored:
                    raise ValueError(
                        f"leaderboard.pairs[{place}]: expected two generators that have a score of {pair.metric} by "
                        f"{pair.network}, got {reprlib.repr(name)}"
                    )

    @property
    def confidence(self) -> float:
        """Of intervals and ranks."""
        return typed(Share, self.settings.get("confidence", 0.95), "settings.confidence")

    def score(self, generator: str, network: str, metric: str) -> Score:
        """The one of a generator, network and metric; ``KeyError`` where there is none."""
        for score in self.scores:
            if (score.generator, score.network, score.metric) == (generator, network, metric):
                return score
        raise KeyError((generator, network, metric))

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """``(network, metric)`` of each column that has scores, in the order of networks and metrics."""
        found = {(score.network, score.metric) for score in self.scores}
        every = ((network.name, metric) for network in self.networks for metric in self.metrics)
        return tuple(column for column in every if column in found)

    def column(self, network: str, metric: str) -> list[Score]:
        """All generators' scores by one metric and network, the best first."""
        best = find_column(metric).sort_key
        column = [score for score in self.scores if (score.network, score.metric) == (network, metric)]
        in_order = sorted(zip(compared(column), column, strict=True), key=lambda pair: best(pair[0]))
        return [score for _, score in in_order]

    def runs_of(self, network: str, metric: str) -> list[RunsRecord]:
        """Generators of a column by the means of their runs, the best first; checkpoints in their order."""
        best = find_column(metric).sort_key
        own = [record for record in self.runs if (record.network, record.metric) == (network, metric)]
        tops = {each.generator: best(each.estimate.corrected) for each in sorted(own, key=lambda r: r.step or 0.0)}
        return sorted(own, key=lambda record: (tops[record.generator], record.generator, record.step or 0.0))

    def classes_of(self, network: str, metric: str) -> dict[str, list[ClassRecord]]:
        """Classes of each generator that has some, the worst first, in the order of the column."""
        best = find_column(metric).sort_key
        found: dict[str, list[ClassRecord]] = {}
        for score in self.column(network, metric):
            key = (score.generator, network, metric)
            own = [record for record in self.classes if (record.generator, record.network, record.metric) == key]
            if own:
                found[score.generator] = sorted(own, key=lambda record: best(record.value), reverse=True)
        return found

    def class_summaries(self, network: str, metric: str) -> dict[str, ClassSummary]:
        """Of each generator that has classes what `functional.class_summary` says, in the order of the column.

        The worst class is the first of `classes_of`.
        """
        found, higher = {}, find_column(metric).distance.higher_is_better
        for name, records in self.classes_of(network, metric).items():
            values = torch.tensor([record.value for record in records], dtype=torch.float64)
            generated = torch.tensor([record.n_images for record in records])
            known = [record.n_reference for record in records if record.n_reference is not None]
            real = torch.tensor(known) if len(known) == len(records) else None
            found[name] = class_summary(values, generated, real, higher_is_better=higher)
        return found

    def floor(self, network: str, metric: str) -> FloorRecord | None:
        """The noise floor of a column, where it is known."""
        return next((floor for floor in self.floors if (floor.network, floor.metric) == (network, metric)), None)

    def to_frame(self) -> pandas.DataFrame:
        """The numbers as a tidy data frame, which needs pandas.

        Returns:
            A row for each network, metric and generator, the best first, then for each of its classes; the columns are
            those of ``leaderboard.csv``. Names are as they are; texts and numbers that are not known are missing.

        Raises:
            ImportError: without pandas.
        """
        return frame_of(self)

    def to_json(self) -> dict[str, Any]:
        """Plain containers, with the schema and its writer."""
        data = dataclasses.asdict(self)
        for name in _LATER:
            if not data[name]:
                del data[name]
        for record in filter(None, (data["reference"], *data["generators"], data.get("validation"))):
            record["account"] = {name: value for name, value in record["account"].items() if value is not None}
            for name in ("account", "unread", "clusters", "effective_clusters", "clustering"):
                if not record[name]:  # likewise
                    del record[name]
        for part, name in (("scores", "bin_width"), ("classes", "n_reference")):
            for record in data[part]:
                if record[name] is None:
                    del record[name]
        return {"schema": SCHEMA, "writer": self.writer, **data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Leaderboard:
        """Inverse of `to_json`; the ``sha256`` of a file is passed over, `load_leaderboard` looks at it.

        Raises:
            ValueError: for another schema, fields that are missing, unknown or of another type, numbers of what is not
                on it, or a metric that is not registered; they are named.
        """
        check_schema(data, SCHEMA, "leaderboard")
        fields = {name: value for name, value in data.items() if name not in ("schema", "sha256")}
        found = typed(cls, fields, "leaderboard")
        found._check_names()
        return found

    def save(self, path: str | Path) -> Path:
        """Write ``leaderboard.json`` with its sha256, whole or not at all."""
        # Through JSON first, so that the hash is of what a reader will see.
        data = json.loads(json.dumps(self.to_json(), allow_nan=False))
        return write_whole(Path(path), json.dumps({**data, "sha256": json_hash(data)}, indent=1) + "\n")


def load_leaderboard(path: str | Path) -> Leaderboard:
    """Read a leaderboard that `Leaderboard.save` wrote.

    Raises:
        ValueError: when the file is not such a leaderboard; what is wrong is named.
    """
    data = read_json(path, Mapping[str, Any], "a leaderboard.json")  # type: ignore[type-abstract]
    if "schema" not in data:
        raise ValueError(f"{path}: expected a leaderboard.json, it holds other JSON")
    with errors_of(str(path)):
        plain = {name: value for name, value in data.items() if name != "sha256"}
        found = json_hash(plain)
        stated = typed(Sha256, data.get("sha256", found), "sha256")  # those of version 0.1 have none
        if stated != found:
            raise ValueError(
                f"{path} was changed after it was written: the sha256 of its content is {found[:12]}, it says "
                f"{stated[:12]}; if you changed it yourself, take out its sha256"
            )
        return Leaderboard.from_json(plain)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a report shows beside the numbers of a leaderboard; each may lack what was not at hand.

    Args:
        reference: ``{network: DNA}``, of histograms, else Gaussians.
        generated: ``{(network, generator): DNA}``, likewise.
        exemplars: ``{(network, generator): exemplar images of the reference, of the generator or of both}``.
        rankings: ``{generator: its images ranked}``, with pictures of the nearest and the farthest.
        examples: ``{image set: some of its images}``, uint8 ``[3, H, W]`` each.
    """

    reference: dict[str, VDNA] = field(default_factory=dict)
    generated: dict[tuple[str, str], VDNA] = field(default_factory=dict)
    exemplars: dict[tuple[str, str], Sequence[Exemplars]] = field(default_factory=dict)
    rankings: dict[str, ImageRanking] = field(default_factory=dict)
    examples: dict[str, Sequence[Tensor]] = field(default_factory=dict)
