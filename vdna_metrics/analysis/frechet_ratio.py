"""FDr^k of DNAs: Fréchet distances of several networks, each over that of a validation set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from vdna_metrics import functional
from vdna_metrics.analysis.uncertainty.estimates import check_confidence, few_clusters
from vdna_metrics.analysis.uncertainty.jackknife import jackknife_distance
from vdna_metrics.dna.columns import Column, ColumnLike, find_column
from vdna_metrics.dna.distances import LFD
from vdna_metrics.dna.grouped import GroupedDNA, total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.files import json_hash
from vdna_metrics.layout import check_type
from vdna_metrics.references.image_sets import extractor_of
from vdna_metrics.references.records import FrechetNormaliser
from vdna_metrics.references.resolve import DNALike, compared_dna, resolve
from vdna_metrics.references.store import find_normaliser


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
    validation: Mapping[str, DNALike | FrechetNormaliser] | None = None,
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
        validation: of the validation set; likewise, or its `FrechetNormaliser`. By default what is recorded with the
            training sets, which then are names of a store, see `find_normaliser`.
        distance: a name or a `Column` of a distance of layer Gaussians, which may choose layers; one for all networks,
            or ``{name: its own}``.
        corrected: compare corrected distances; then generated and validation images are in groups. Of a training set
            in groups the bias is corrected, too.
        confidence: of the intervals, between 0 and 1.

    Raises:
        ValueError: for no network, other names in one argument, numbers of images that differ, a side that is not in
            groups where distances are to be corrected, DNAs that cannot be compared, or a normaliser of other layers,
            confidence or correction.
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
    sides: dict[str, Mapping[str, object]] = {"generated": generated, "train": train}
    if validation is not None:
        sides["validation"] = validation
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
        column = _frechet_column(distance[name] if isinstance(distance, Mapping) else distance)
        real, fake = (compared_dna(side[name], column) for side in (train, generated))
        given = None if validation is None else validation[name]
        if given is None:
            given = _recorded(name, train[name], real, corrected=corrected)
        if not isinstance(given, FrechetNormaliser):
            given = compared_dna(given, column)
        parts[name] = _network_ratio(name, column, real, fake, given, corrected=corrected, confidence=confidence)
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


def frechet_normaliser(
    train: DNALike,
    validation: DNALike,
    *,
    distance: ColumnLike = "lfd",
    corrected: bool = False,
    confidence: float = 0.95,
    name: str = "",
) -> FrechetNormaliser:
    """What FDr^k divides by in one network: the Fréchet distance of a validation set from the training set.

    `references.add_normalisers` records it with the training set's reference.

    Args:
        train: as in `frechet_distance_ratio`.
        validation: likewise.
        distance: likewise, by default of the layers that both have; of whole layers without weights, where it is to be
            recorded.
        corrected: whether without most of its bias; then the validation set is in groups.
        confidence: of its interval, which it has where the validation set is in groups.
        name: of the validation set, by default that of its images.

    Raises:
        ValueError: for DNAs that cannot be compared, validation images that are all in the training set, a validation
            set that is not in groups where its distance is to be corrected, or a corrected distance whose interval
            would not hold.

    Examples:
        >>> sides = "bsds500/trainval@vdna_tiny", "bsds500/test@vdna_tiny"
        >>> print(frechet_normaliser(*sides, distance="lfd[blocks.2]", corrected=True))
        0.8166 (0 to 2.153), corrected, of 200 images of bsds500/test in blocks.2
    """
    check_confidence(confidence)
    column = _frechet_column(distance)
    if column.layers is None and column.neurons is None:
        column = column.replace(layers=_common_layers(train, validation))
    sides = [compared_dna(side, column) for side in (train, validation)]
    _check_other_images(*map(total_of, sides))
    if corrected:
        _check_groups("validation", sides[1])
    found, reason = _normaliser(column, *sides, corrected=corrected, confidence=confidence)
    if reason is not None:
        raise ValueError(reason)
    return replace(found, validation=name or found.validation)


def _check_other_images(train: VDNA, validation: VDNA) -> None:
    """Raise ``ValueError`` for validation images that are those of the training set, or some of them."""
    real, fake = (side.provenance.account.pixels for side in (train, validation))
    inside = real is not None and fake is not None and fake.images_in(real) >= validation.n_images
    if inside or set(validation.provenance.manifests) & set(train.provenance.manifests):
        raise ValueError(f"Expected validation images that the training set does not have, got {validation!r} of both")


def _frechet_column(distance: ColumnLike) -> Column:
    column = find_column(distance)
    if column.kind != "layer_gaussian" or column.distance.arity != 2:
        raise ValueError(f"Expected a distance between layer Gaussians, got {column!r}")
    return column


def _common_layers(train: DNALike, validation: DNALike) -> list[str]:
    """Those that both have a layer Gaussian of, in the order of the training set's."""
    held = {}
    for what, side in (("training set", train), ("validation set", validation)):
        found = resolve(side, kinds=["layer_gaussian"])
        dnas = [dna for dna in found.dnas if dna.kind == "layer_gaussian"]
        if not dnas:
            found.one_dna("layer_gaussian")  # says what it has instead
        held[what] = list(dict.fromkeys(layer for dna in dnas for layer in dna.layout))
    own, others = held.values()
    common = [layer for layer in own if layer in others]
    if not common:
        told = "; ".join(f"{what}: {', '.join(layers)}" for what, layers in held.items())
        raise ValueError(f"Expected layer Gaussians with layers in common, got {told}")
    return common


def _recorded(name: str, train: DNALike, found: VDNA | GroupedDNA, *, corrected: bool) -> FrechetNormaliser:
    """The normaliser that is recorded with a reference, of what is compared of it."""
    if not isinstance(train, str):
        raise ValueError(f"Expected the training set of {name!r} to be the name of a reference, got {train!r}")
    return find_normaliser(train, extractor=extractor_of(found), layers=list(found.layout), corrected=corrected)


def _check_groups(what: str, side: VDNA | GroupedDNA, of: str = "") -> None:
    if not isinstance(side, GroupedDNA):
        raise ValueError(
            f"Expected the {what} images{of} in groups, got {side!r}: nothing else tells the bias of their distance"
        )


def _network_ratio(
    name: str,
    column: Column,
    train: VDNA | GroupedDNA,
    generated: VDNA | GroupedDNA,
    validation: VDNA | GroupedDNA | FrechetNormaliser,
    *,
    corrected: bool,
    confidence: float,
) -> NetworkRatio:
    if corrected:
        _check_groups("generated", generated, f" of {name!r}")
        if not isinstance(validation, FrechetNormaliser):
            _check_groups("validation", validation, f" of {name!r}")
        value = jackknife_distance(train, generated, distance=column, confidence=confidence).score.corrected
    elif validation.n_images not in (None, generated.n_images):
        raise ValueError(
            f"Expected as many generated as validation images of {name!r}, got {generated.n_images} and "
            f"{validation.n_images}: a Fréchet distance of few images is too large; give groups and corrected=True"
        )
    else:
        value = column(total_of(train), total_of(generated))
    if isinstance(validation, FrechetNormaliser):
        normaliser, undefined = validation, _may_be_zero(validation)
        normaliser.check_fits(name, train.layout, weighted=column.weights is not None)
        own = ("corrected" if corrected else "plain") + f" distances at a confidence of {confidence}"
        interval = normaliser.low is None or normaliser.confidence == confidence
        if normaliser.corrected != corrected or not interval or (normaliser.layers and column.distance is not LFD):
            raise ValueError(f"Expected a normaliser of {name!r} of {column.name}, {own}, got {normaliser!r}")
    else:
        normaliser, undefined = measured_normaliser(
            column, train, validation, corrected=corrected, confidence=confidence
        )
    return network_ratio(name, value, normaliser, undefined)


def network_ratio(name: str, distance: float, normaliser: FrechetNormaliser, undefined: str | None) -> NetworkRatio:
    """A network's part of FDr^k, of a distance that is known.

    Args:
        name: of the network, for the reason why it is undefined.
        distance: of the generated images from the training set; corrected where the normaliser is.
        normaliser: that of the validation set.
        undefined: why nothing can be divided by it, see `measured_normaliser`.
    """
    if undefined is not None:
        return NetworkRatio(None, distance, normaliser, f"the normaliser of {name!r} tells nothing: {undefined}")
    return NetworkRatio(distance / normaliser.value, distance, normaliser)


def measured_normaliser(
    column: Column, train: VDNA | GroupedDNA, validation: VDNA | GroupedDNA, *, corrected: bool, confidence: float
) -> tuple[FrechetNormaliser, str | None]:
    """Distance of a validation set from the training set in one network, and why nothing can be divided by it."""
    normaliser, withheld = _normaliser(column, train, validation, corrected=corrected, confidence=confidence)
    return normaliser, withheld or _may_be_zero(normaliser)


def _may_be_zero(normaliser: FrechetNormaliser) -> str | None:
    if min(normaliser.value, *normaliser.interval) > 0:
        return None
    low, high = normaliser.interval
    return f"{normaliser.value:.6g}, from {low:.6g} to {high:.6g}, may be 0; take more validation images"


def _normaliser(
    column: Column, train: VDNA | GroupedDNA, validation: VDNA | GroupedDNA, *, corrected: bool, confidence: float
) -> tuple[FrechetNormaliser, str | None]:
    """Distance of the validation set, and why its interval, which it should have, is withheld."""
    total, grouped = total_of(validation), isinstance(validation, GroupedDNA)
    manifests = total.provenance.manifests
    whole = not total.layout.neurons and column.weights is None and column.distance is LFD
    known = FrechetNormaliser(
        column(total_of(train), total),
        total.n_images,
        confidence=confidence,
        layers=tuple(total.layout) if whole else (),
        validation=", ".join(total.provenance.sources),
        images=manifests[0] if len(manifests) == 1 else json_hash(list(manifests)) if manifests else "",
    )
    if not corrected and (not grouped or few_clusters(validation) or few_clusters(train)):
        return known, None
    found = jackknife_distance(train, validation, distance=column, confidence=confidence)
    score = found.score
    if corrected:
        normaliser = replace(known, value=score.corrected, low=score.low, high=score.high, corrected=True)
        withheld = found.withheld or "it has no interval"
        for side, whose in (("reference", "training"), ("generated", "validation")):
            withheld = withheld.replace(f" {side} images", f" {whose} images")
        return normaliser, None if score.low is not None else withheld
    if score.high is None:  # the plain value needs no correction that would hold
        return known, None
    half = score.high - max(score.corrected, 0.0)
    return replace(known, low=known.value - half, high=known.value + half), None
