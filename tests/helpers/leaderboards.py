"""A leaderboard with its evidence, of seeded numbers, made for a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from helpers.dnas import LAYOUT, make_dna
from torch import Tensor

from vdna_metrics.analysis.diagnosis import Diagnosis, Fault, Sign
from vdna_metrics.analysis.explain import explain
from vdna_metrics.analysis.ranking import ImageRanking
from vdna_metrics.analysis.score_tables import ScoreColumn
from vdna_metrics.analysis.single_images import Exemplar, Exemplars
from vdna_metrics.analysis.uncertainty import Agreement, Estimate
from vdna_metrics.dna.caveats import Notes
from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.outside import outside_agreements, own_columns
from vdna_metrics.leaderboard.ratios import ratio_records
from vdna_metrics.leaderboard.record import (
    QUANTILES,
    ClassRecord,
    CopyRecord,
    DiagnosisRecord,
    DisputeRecord,
    Evidence,
    FidelityRecord,
    FloorRecord,
    ImageSetRecord,
    Leaderboard,
    NetworkRecord,
    NormaliserRecord,
    PairRecord,
    Score,
)

NAMES = ("photographs", "blurred photographs", "dead leaves", "squares", "white noise")


def make_leaderboard(
    names: Sequence[str] = NAMES,
    *,
    networks: Sequence[str] = ("tiny", "other"),
    metrics: Sequence[str] = ("emd", "nfd", "lfd"),
    n_images: int = 200,
    reference: str = "photographs of train",
) -> Leaderboard:
    """All parts filled: generators get worse one by one, the first is at the floor, the second and third are tied."""
    stream = np.random.default_rng(0)
    steps = [1.0, 4.0, 4.05, *(5.0 * 1.3**place for place in range(1, len(names)))][: len(names)]
    scores, pairs, floors = [], [], []
    for network in networks:
        for metric in metrics:
            distance = find_column(metric).distance
            scale = {"emd": 5.0, "nfd": 0.06, "lfd": 4.8, "fid": 20.0}.get(metric, 0.1)
            errors = [0.03 * step + 0.02 for step in steps]
            tops = {place: (place + 1,) * 2 for place in range(len(names))}
            if len(names) > 2:
                tops[1] = tops[2] = (2, 3)
            for place, (name, step) in enumerate(zip(names, steps, strict=True)):
                if distance.higher_is_better:
                    step = 50 - step
                layers = {layer: scale * step * float(stream.uniform(0.4, 1.6)) for layer in LAYOUT}
                value, error = scale * (step + 0.05), scale * errors[place]
                known = distance.bias is not None
                quantiles = {
                    layer: tuple(layers[layer] * (0.2 + 2.5 * quantile**2) for quantile in QUANTILES)
                    for layer in LAYOUT
                }
                scores.append(
                    Score(
                        generator=name,
                        network=network,
                        metric=metric,
                        value=value,
                        layers=layers if distance.per else {},
                        quantiles=quantiles if distance.per == "neuron" else {},
                        estimate=_estimate(value, scale * step, error) if known else None,
                        layer_estimates={
                            layer: _estimate(d, 0.98 * d, 0.05 * d) for layer, d in layers.items() if known
                        },
                        rank=tops[place] if known else None,  # type: ignore[arg-type]
                        extrapolated=(0.97 * scale * step, error) if metric in ("lfd", "fid") else None,
                    )
                )
            if distance.bias is None:
                continue
            for (i, a), (j, b) in combinations(enumerate(names), 2):
                difference, error = scale * (steps[i] - steps[j]), scale * (errors[i] + errors[j])
                tied = (i, j) == (1, 2)
                pairs.append(
                    PairRecord(
                        a, b, network, metric, difference, difference - 2 * error, difference + 2 * error,
                        0.8 if tied else 0.001, False, tied,
                    )
                )  # fmt: skip
            floors.append(
                FloorRecord(
                    network, metric, scale, 0.04 * scale, n_images, n_images // 2,
                    {layer: 0.6 * scale for layer in LAYOUT},
                )
            )  # fmt: skip
    columns = tuple(f"{metric} {network}" for network in networks for metric in metrics)
    correlations = tuple(tuple(1.0 if a == b else 0.9 for b in columns) for a in columns)
    return Leaderboard(
        title="Five worlds against photographs",
        reference=ImageSetRecord(reference, "photographs/train", 300, 300, "ab" * 32, 10),
        generators=tuple(
            ImageSetRecord(name, f"gens/{place}", n_images, n_images, f"{place:02x}" * 32, 10)
            for place, name in enumerate(names)
        ),
        networks=tuple(
            NetworkRecord(
                network, "cd" * 32, {"architecture": "tiny", "weights": "ef" * 32}, dict(LAYOUT), 1000, "01" * 8
            )
            for network in networks
        ),
        metrics=tuple(metrics),
        scores=tuple(scores),
        settings={"groups": 10, "confidence": 0.95, "seed": 0, "bins": 1000, "equalise": False},
        command="vdna-metrics leaderboard gens/*/ --reference photographs/train",
        versions={"python": "3.11.9", "torch": "2.8.0", "vdna_metrics": "0.1.0"},
        created="2026-01-02T03:04:05+00:00",
        pairs=tuple(pairs),
        floors=tuple(floors),
        fidelity=tuple(
            FidelityRecord(
                name,
                networks[0],
                "norm",
                {
                    "precision": 0.9 - 0.1 * place,
                    "recall": 0.8 - 0.1 * place,
                    "density": 1.02 - 0.1 * place,
                    "coverage": 0.95 - 0.1 * place,
                    "vendi_real": 14.2,
                    "vendi_generated": 13.0 - place,
                    "kernel_distance": 0.004 + 0.05 * place,
                    "kernel_distance_std": 0.001,
                },
                {"neighbours": 3, "subsets": 100, "seed": 0},
            )
            for place, name in enumerate(names[:6])
        ),
        copies=(
            CopyRecord(
                names[0],
                networks[0],
                (("fake/3.png", "real/17.png", 0.01), ("fake/8.png", "real/2.png", 0.2)),
                n_images,
                0.35,
                0.01,
            ),
        ),
        classes=tuple(
            ClassRecord(name, networks[0], metrics[0], group, 20, 10.0 + 3 * place + 7 * number)
            for place, name in enumerate(names[:5])
            for number, group in enumerate(("cat", "dog", "ship"))
        ),
        agreement=Agreement(columns, correlations, correlations, ("emd tiny and nfd tiny swap two sets.",)),
        notes=("200 images are fewer than the 2 neurons of norm.",),
    )


def reaching_the_floor(leaderboard: Leaderboard) -> Leaderboard:
    """The same with intervals of the first generator that reach down to 0."""
    first = leaderboard.generators[0].name
    scores = [
        replace(each, estimate=replace(each.estimate, low=0.0)) if each.generator == first and each.estimate else each
        for each in leaderboard.scores
    ]
    return replace(leaderboard, scores=tuple(scores))


def with_outside(leaderboard: Leaderboard) -> Leaderboard:
    """The same with what people and an Elo say, FDr^k, and two networks that disagree on two pairs."""
    names = [entry.name for entry in leaderboard.generators]
    people = {name: 0.5 - 0.08 * place for place, name in enumerate(names)}
    outside = (
        ScoreColumn("people's error rate", True, people, dict.fromkeys(names, 0.02), "people.csv"),
        ScoreColumn("Elo", True, {name: 1500.0 - 100 * place for place, name in enumerate(names[:3])}),
    )
    networks = [network.name for network in leaderboard.networks]
    metric = leaderboard.metrics[-1]
    normalisers = tuple(
        NormaliserRecord(network, metric, 4.0 + place, 200, 3.5 + place, 4.5 + place)
        for place, network in enumerate(networks)
    )
    known = {(score.generator, score.network, score.metric): score for score in leaderboard.scores}
    ratios = ratio_records(leaderboard.generators, known, normalisers, 0.95)
    columns = own_columns(leaderboard.scores, ratios)
    one, other = networks[0], networks[-1]
    disputes = (
        DisputeRecord(names[2], names[1], ((one, "emd"),), ((other, "emd"), (other, metric))),
        DisputeRecord(names[0], names[1], ((one, "emd"),), (), ((other, "emd"),)),
    )
    return replace(
        leaderboard,
        outside=outside,
        outside_agreement=outside_agreements(columns, outside, Notes(), confidence=0.95),
        validation=replace(leaderboard.reference, name="validation photographs", n_images=200),
        normalisers=normalisers,
        ratios=ratios,
        disputes=disputes,
    )


def make_diagnoses(names: Sequence[str] = NAMES[:2], network: str = "tiny") -> tuple[DiagnosisRecord, ...]:
    """The last generator is blurred; of the others nothing is wrong, as far as was looked."""
    *fine, blurred = names
    sign = Sign("sharpness", -3.5, -2.0, -12.0)
    fault = Fault("blur", "Blurred: detail at edges has 0.35 times the reference's power", 3.0, (sign,))
    unseen = Diagnosis(unseen=("Pixels were not looked at: of this set, there are no images at hand",))
    found = [*((name, unseen) for name in fine), (blurred, Diagnosis((fault,)))]
    return tuple(DiagnosisRecord(name, network, diagnosis) for name, diagnosis in found)


def make_evidence(leaderboard: Leaderboard, *, pictures: bool = True, generators: int | None = None) -> Evidence:
    """Of the first few: DNAs of activations that drift away; exemplars, rankings and examples of random pixels."""
    networks = [network.name for network in leaderboard.networks]
    names = [record.name for record in leaderboard.generators[:generators]]
    reference = {network: make_dna("histogram", 40, bins=100) for network in networks}
    generated = {
        (network, name): make_dna("histogram", 30, place + 1, bins=100, shift=0.2 * place)
        for network in networks
        for place, name in enumerate(names)
    }
    if not pictures:
        return Evidence(reference, generated)
    exemplars = {}
    for (network, name), dna in generated.items():
        top = explain(reference[network], dna).top(4)
        exemplars[network, name] = [
            Exemplars(
                side, name, 30,
                {(each.layer, each.neuron): tuple(Exemplar(f"{side} {i}.png", i, 9.0 - i, picture(i)) for i in range(3))
                 for each in top},
                {(each.layer, each.neuron): 1.0 for each in top},
            )
            for side in ("reference", "generated")
        ]  # fmt: skip
    layers = tuple(LAYOUT)
    distances = torch.linspace(1, 9, 20, dtype=torch.float64)[:, None].expand(-1, len(layers)).contiguous()
    rankings = {
        name: ImageRanking(
            source=name, reference=leaderboard.reference.name, distance="emd", label="VDNA-EMD",
            kind="histogram", unit="bins", layers=layers,
            indices=tuple(range(20)), names=tuple(f"{name}/{i}.png" for i in range(20)), scores=distances.mean(1),
            layer_distances=distances, pictures={i: picture(i) for i in (0, 1, 2, 17, 18, 19)},
        )
        for name in names
    }  # fmt: skip
    examples = {name: [picture(i) for i in range(4)] for name in (leaderboard.reference.name, *names)}
    return Evidence(reference, generated, exemplars, rankings, examples)


def picture(seed: int, size: int = 24) -> Tensor:
    """A smooth random picture, uint8 ``[3, size, size]``."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    return torch.from_numpy(small.repeat(size // 4, 1).repeat(size // 4, 2))


def _estimate(value: float, corrected: float, error: float) -> Estimate:
    return Estimate(value, corrected, error, corrected - 2 * error, corrected + 2 * error)


def without_estimates(leaderboard: Leaderboard) -> Leaderboard:
    """A leaderboard of sets that are not in groups."""
    scores = tuple(
        replace(score, estimate=None, layer_estimates={}, rank=None, extrapolated=None) for score in leaderboard.scores
    )
    return replace(
        leaderboard, scores=scores, pairs=(), floors=(), fidelity=(), copies=(), classes=(), agreement=None, notes=()
    )
