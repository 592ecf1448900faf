"""FDr^k of DNAs: Fréchet distances of several networks, each over that of a validation set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from vdna_metrics import functional
from vdna_metrics.analysis.uncertainty.estimates import check_confidence, few_clusters
from vdna_metrics.analysis.uncertainty.jackknife import jackknife_distance
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.grouped import GroupedDNA, total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import check_type
from vdna_metrics.metrics.ratio import FrechetNormaliser
from vdna_metrics.references.resolve import DNALike, compared_dna


@dataclass(frozen=True)
class NetworkRatio:
    """One network's part of FDr^k.

    Args:
        value: distance of the generated images over the normaliser; ``None`` where it is undefined.
        distance: of the generated images from the training set, in squared activations.
        normaliser: that of the validation set.
        undefined: why there is no value.
    """

    value: float | None
    distance: float
    normaliser: FrechetNormaliser
    undefined: str | None = None


@dataclass(frozen=True)
class FrechetRatio:
    """FDr^k of a set of generated images.

    Args:
        value: mean over the networks, without unit; ``None`` where one of them has no value.
        networks: ``{name: its part}``.
        corrected: whether distances are without most of the bias of a finite number of images.
        confidence: of the normalisers' intervals.
    """

    value: float | None
    networks: Mapping[str, NetworkRatio]
    corrected: bool
    confidence: float

    @property
    def normalisers(self) -> dict[str, FrechetNormaliser]:
        """``{name: normaliser}``, what is recorded beside a reference."""
        return {name: part.normaliser for name, part in self.networks.items()}

    @property
    def undefined(self) -> str | None:
        """Why there is no value, of each network that has none."""
        return "; ".join(part.undefined for part in self.networks.values() if part.undefined) or None


def frechet_distance_ratio(
    generated: Mapping[str, DNALike],
    train: Mapping[str, DNALike],
    validation: Mapping[str, DNALike],
    *,
    distance: ColumnLike | Mapping[str, ColumnLike] = "lfd",
    corrected: bool = False,
    confidence: float = 0.95,
) -> FrechetRatio:
    """FDr^k: mean over k networks of the Fréchet distance of generated images over that of a validation set.

    `(1/k) Σ_i FD_i(generated, train) / FD_i(validation, train)`. A plain distance is too large by a bias in one over
    the number of images, so plain ones need as many generated as validation images; corrected ones, of
    `jackknife_distance`, any numbers, in groups.

    A ratio is undefined where its normaliser may be 0: where that is not above 0, or its confidence interval, which a
    validation set in groups has, holds 0. That of a corrected normaliser is the jackknife's; of a plain one it is as
    wide, about the plain value. Of validation images drawn like the training set the true distance is 0, so that only
    plain ratios, of one number of images, are defined.

    Args:
        generated: ``{name of a network: layer Gaussian DNA}``; a DNA may be a `VDNA`, a `GroupedDNA`, a file or a name,
            see `resolve_dna`.
        train: of the training set, in the same networks.
        validation: of the validation set; likewise.
        distance: a name or a `Column` of a distance of layer Gaussians, which may choose layers; one for all networks,
            or ``{name: its own}``.
        corrected: compare corrected distances; then generated and validation images are in groups. Of a training set
            in groups the bias is corrected, too.
        confidence: of the intervals, between 0 and 1.

    Raises:
        ValueError: for no network, other names in one argument, numbers of images that differ, a side that is not in
            groups where distances are to be corrected, or DNAs that cannot be compared.
        TypeError: for what is no mapping.

    Source:
        Yang et al., Representation Fréchet Loss for Visual Generation, arXiv 2604.28190, 2026; see
        `functional.frechet_distance_ratio`. Corrected distances and the undefined cases are ours.

    Examples:
        >>> import numpy as np, torch
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> stream = np.random.default_rng(0)
        >>> train, validation = (stream.integers(0, 256, (20, 3, 8, 8), np.uint8) for _ in range(2))
        >>> modules = {"mean": torch.nn.AvgPool2d(8), "peak": torch.nn.MaxPool2d(8)}
        >>> networks = {name: create_extractor(module) for name, module in modules.items()}
        >>> def dnas(images):
        ...     made = {name: build_dnas(images, each, ["layer_gaussian"]) for name, each in networks.items()}
        ...     return {name: each["layer_gaussian"] for name, each in made.items()}
        >>> found = frechet_distance_ratio(dnas(validation // 2), dnas(train), dnas(validation))
        >>> found.value > 1, found.normalisers["peak"].n_images
        (True, 20)
        >>> frechet_distance_ratio(dnas(validation), dnas(train), dnas(validation)).value
        1.0
    """
    sides = {"generated": generated, "train": train, "validation": validation}
    for what, side in sides.items():
        check_type(what, side, Mapping, advice=": {name of a network: DNA}")
    check_confidence(confidence)
    if not generated or any(set(side) != set(generated) for side in sides.values()):
        found = "; ".join(f"{what} {', '.join(side) or 'of none'}" for what, side in sides.items())
        raise ValueError(f"Expected DNAs of the same networks, of at least one, got {found}")
    if isinstance(distance, Mapping) and set(distance) != set(generated):
        raise ValueError(f"Expected distances of {', '.join(generated)}, got {', '.join(distance) or 'none'}")
    parts = {}
    for name in generated:
        column = find_column(distance[name] if isinstance(distance, Mapping) else distance)
        if column.kind != "layer_gaussian" or column.distance.arity != 2:
            raise ValueError(f"Expected a distance between layer Gaussians, got {column!r}")
        real, *others = (compared_dna(side[name], column) for side in (train, generated, validation))
        parts[name] = _network_ratio(name, column, real, *others, corrected=corrected, confidence=confidence)
    return mean_ratio(parts, corrected=corrected, confidence=confidence)


def mean_ratio(parts: Mapping[str, NetworkRatio], *, corrected: bool, confidence: float) -> FrechetRatio:
    """FDr^k of its parts, of at least one network; without a value where one of them has none.

    Args:
        parts: ``{network: its part}``.
        corrected: whether their distances are.
        confidence: of the normalisers' intervals.
    """
    if any(part.value is None for part in parts.values()):
        return FrechetRatio(None, parts, corrected, confidence)
    kept = [part.normaliser for part in parts.values()]
    mean = functional.frechet_distance_ratio(
        torch.tensor([part.distance for part in parts.values()], dtype=torch.float64),
        torch.tensor([each.value for each in kept], dtype=torch.float64),
        torch.tensor([each.interval for each in kept], dtype=torch.float64),
    )
    return FrechetRatio(float(mean), parts, corrected, confidence)


def _network_ratio(
    name: str,
    column: Column,
    train: VDNA | GroupedDNA,
    generated: VDNA | GroupedDNA,
    validation: VDNA | GroupedDNA,
    *,
    corrected: bool,
    confidence: float,
) -> NetworkRatio:
    if corrected:
        for what, side in (("generated", generated), ("validation", validation)):
            if not isinstance(side, GroupedDNA):
                raise ValueError(
                    f"Expected the {what} images of {name!r} in groups, got {side!r}: nothing else tells the bias of "
                    "their distance"
                )
        value = jackknife_distance(train, generated, distance=column, confidence=confidence).score.corrected
    elif generated.n_images != validation.n_images:
        raise ValueError(
            f"Expected as many generated as validation images of {name!r}, got {generated.n_images} and "
            f"{validation.n_images}: a Fréchet distance of few images is too large; give groups and corrected=True"
        )
    else:
        value = column(total_of(train), total_of(generated))
    normaliser, undefined = find_normaliser(column, train, validation, corrected=corrected, confidence=confidence)
    return network_ratio(name, value, normaliser, undefined)


def network_ratio(name: str, distance: float, normaliser: FrechetNormaliser, undefined: str | None) -> NetworkRatio:
    """A network's part of FDr^k, of a distance that is known.

    Args:
        name: of the network, for the reason why it is undefined.
        distance: of the generated images from the training set; corrected where the normaliser is.
        normaliser: that of the validation set.
        undefined: why nothing can be divided by it, see `find_normaliser`.
    """
    if undefined is not None:
        return NetworkRatio(None, distance, normaliser, f"the normaliser of {name!r} tells nothing: {undefined}")
    return NetworkRatio(distance / normaliser.value, distance, normaliser)


def find_normaliser(
    column: Column, train: VDNA | GroupedDNA, validation: VDNA | GroupedDNA, *, corrected: bool, confidence: float
) -> tuple[FrechetNormaliser, str | None]:
    """Distance of a validation set from the training set in one network, and why nothing can be divided by it."""
    normaliser, withheld = _normaliser(column, train, validation, corrected=corrected, confidence=confidence)
    if withheld is None and min(normaliser.value, *normaliser.interval) <= 0:
        low, high = normaliser.interval
        withheld = f"{normaliser.value:.6g}, from {low:.6g} to {high:.6g}, may be 0; take more validation images"
    return normaliser, withheld


def _normaliser(
    column: Column, train: VDNA | GroupedDNA, validation: VDNA | GroupedDNA, *, corrected: bool, confidence: float
) -> tuple[FrechetNormaliser, str | None]:
    """Distance of the validation set, and why its interval, which it should have, is withheld."""
    n_images, grouped = validation.n_images, isinstance(validation, GroupedDNA)
    if not corrected and (not grouped or few_clusters(validation) or few_clusters(train)):
        return FrechetNormaliser(column(total_of(train), total_of(validation)), n_images), None
    found = jackknife_distance(train, validation, distance=column, confidence=confidence)
    score = found.score
    if corrected:
        normaliser = FrechetNormaliser(score.corrected, n_images, score.low, score.high, corrected=True)
        withheld = found.withheld or "it has no interval"
        for side, whose in (("reference", "training"), ("generated", "validation")):
            withheld = withheld.replace(f" {side} images", f" {whose} images")
        return normaliser, None if score.low is not None else withheld
    if score.high is None:  # the plain value needs no correction that would hold
        return FrechetNormaliser(score.value, n_images), None
    half = score.high - max(score.corrected, 0.0)
    return FrechetNormaliser(score.value, n_images, score.value - half, score.value + half), None
