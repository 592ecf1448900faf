"""Weights that make a distance ignore one attribute of images and keep all others."""

from __future__ import annotations

import csv
import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from vdna_metrics.dna.columns import ColumnLike, find_column
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.files import errors_of, read_text
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.images.sources import ImageSource, select_images
from vdna_metrics.layout import NeuronLayout, check_choice, check_count, check_type, near_names
from vdna_metrics.neurons import NeuronWeights, Per
from vdna_metrics.references.resolve import DNALike, SourceLike, compared_dna, resolve_images

Split = Literal["train", "validation", "test"]
Loss = Literal["squared", "absolute"]
AttributeDNAs = Mapping[tuple[str, bool], DNALike]
"""``{(attribute, True): DNA of images with it, (attribute, False): DNA of images without it}``."""

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam, as everywhere
_FEWEST = 2  # images on a side: a Gaussian of fewer has no variance
# Of how far a relative sensitivity is from its aim, and the slope.
_LOSSES: dict[Loss, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "squared": (torch.square, lambda error: 2 * error),
    "absolute": (torch.abs, torch.sign),
}
_VALUES = {"1": True, "0": False, "-1": False}


def learn_weights(
    train: Mapping[str, Tensor],
    validation: Mapping[str, Tensor],
    attribute: str,
    *,
    loss: Loss = "squared",
    non_negative: bool = False,
    learning_rate: float = 0.01,
    patience: int = 100,
    max_steps: int = 2000,
) -> Tensor:
    """Learn weights with which one attribute's distance is 0 and every other attribute's stays what its mean was.

    With ``s_b(w) = Σ_i w_i d_bi`` the weighted distance of attribute b, and ``s_b`` its mean distance, the loss over N
    neurons and B + 1 attributes is ``(s_a(w) / s_a)² + 1/B Σ_b≠a (s_b(w) / s_b − 1)²``: relative, so that attributes
    that are easy to see do not drown the others. With ``loss="absolute"`` it is
    ``|s_a(w)| / s_a + 1/B Σ_b≠a |s_b(w) / s_b − 1|``: deviation less removal, as shares, plus 1. Adam on all
    attributes at once, from the constant ``w = 1/N``, with which a weighted distance is the mean. The weights of the
    step with the least loss on the validation split are returned, once ``patience`` steps brought no lesser one. There
    is no chance in it: the same input gives the same weights.

    Args:
        train: ``{attribute: [N]}`` distances of neurons (or layers) between images with and without the attribute.
        validation: the same of other images.
        attribute: the one to ignore.
        loss: ``"squared"`` or ``"absolute"``.
        non_negative: keep ``w >= 0``, so that a weighted distance is never negative. Less can be removed.
        learning_rate: of N times the weights.
        patience: steps without a lesser loss on the validation split before the end.
        max_steps: steps at most.

    Returns:
        ``[N]`` float64.

    Raises:
        ValueError: for an unknown loss, a learning rate that is not positive and finite, one attribute alone,
            attributes or numbers of neurons that differ between the splits, distances that are negative or not finite,
            or an attribute whose distances are all 0.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Eq. 5 to 7 and A.4: the aim, the optimiser, where it starts and when it
        stops. That the loss is relative, and squared by default, is chosen here.

    Examples:
        >>> distances = {"tint": torch.tensor([4.0, 0.0, 2.0]), "blur": torch.tensor([0.0, 3.0, 3.0])}
        >>> weights = learn_weights(distances, distances, "tint")
        >>> f"removed {sensitivity_removal(distances, weights, 'tint'):.0f} %"
        'removed 100 %'
        >>> f"others changed by {sensitivity_deviation(distances, weights, 'tint'):.0f} %"
        'others changed by 0 %'
    """
    check_choice("loss", loss, Loss)
    check_count("patience", patience)
    check_count("max_steps", max_steps, 0)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"expected a positive, finite learning_rate, got {learning_rate}")
    others = _others(train, attribute)
    check_type("validation", validation, Mapping)
    if set(train) != set(validation):
        raise ValueError(f"attributes differ: train {', '.join(train)}, validation {', '.join(validation)}")
    x, y = _relative(train, [attribute, *others]), _relative(validation, [attribute, *others])
    if x.shape != y.shape:
        raise ValueError(f"numbers of neurons differ: train {x.shape[1]}, validation {y.shape[1]}")
    aim = torch.ones(len(x), dtype=torch.float64)
    aim[0] = 0
    share = torch.full_like(aim, 1 / len(others))
    share[0] = 1
    measure, slope = _LOSSES[loss]
    scale = torch.ones(x.shape[1], dtype=torch.float64)  # N times the weights
    first, second = torch.zeros_like(scale), torch.zeros_like(scale)
    best, least, since = scale.clone(), torch.inf, 0
    for step in range(1, max_steps + 2):
        now = float(share @ measure(y @ scale - aim))
        since += 1
        if now < least:
            best, least, since = scale.clone(), now, 0
        elif since >= patience:
            break
        # Adam by hand: to use torch's imports its compiler, which takes longer than all the steps.
        gradient = x.T @ (share * slope(x @ scale - aim))
        first.lerp_(gradient, 1 - _BETAS[0])
        second.lerp_(gradient.square(), 1 - _BETAS[1])
        size = (second / (1 - _BETAS[1] ** step)).sqrt() + _EPSILON
        scale -= learning_rate * first / (1 - _BETAS[0] ** step) / size
        if non_negative:
            scale.clamp_(min=0)
    return best / len(best)


def sensitivity_removal(distances: Mapping[str, Tensor], weights: Tensor, attribute: str) -> float:
    """How much of the sensitivity to an attribute weights remove, in per cent.

    ``100 (1 − |s_a(w)| / s_a)``, with ``s_a(w) = Σ_i w_i d_ai`` and ``s_a`` the mean of ``d_ai``: 100 where the
    weighted distance is 0, negative where it has grown.

    Args:
        distances: ``{attribute: [N]}`` distances of neurons (or layers), best of images that the weights were not
            learned from; some may be below 0, as where they are corrected for a finite number of images.
        weights: ``[N]``.
        attribute: the one that the weights ignore.

    Raises:
        ValueError: for an unknown attribute, or distances whose mean is not above 0.

    Examples:
        >>> sensitivity_removal({"tint": torch.tensor([4.0, 2.0])}, torch.tensor([0.0, 0.375]), "tint")
        75.0
    """
    _check_attribute(distances, attribute)
    return 100 * (1 - abs(float(_sensitivities(distances, weights, [attribute])[0])))


def sensitivity_deviation(distances: Mapping[str, Tensor], weights: Tensor, attribute: str) -> float:
    """How much weights change the sensitivity to the other attributes, in per cent of what it was, on average.

    ``100/B Σ_b≠a |s_b(w) − s_b| / s_b``, with ``s_b(w) = Σ_i w_i d_bi`` and ``s_b`` the mean of ``d_bi``.

    Args:
        distances: as in `sensitivity_removal`.
        weights: ``[N]``.
        attribute: the one that the weights ignore.

    Raises:
        ValueError: for an unknown attribute, when there is no other, or the mean of one's distances is not above 0.

    Examples:
        >>> distances = {"tint": torch.tensor([4.0, 2.0]), "blur": torch.tensor([0.0, 3.0])}
        >>> round(sensitivity_deviation(distances, torch.tensor([0.0, 0.4]), "tint"))
        20
    """
    others = _others(distances, attribute)
    return 100 * float((_sensitivities(distances, weights, others) - 1).abs().mean())


def _check_attribute(distances: Mapping[str, Tensor], attribute: str) -> None:
    check_type("distances", distances, Mapping)
    if attribute not in distances:
        raise ValueError(f"unknown attribute {attribute!r}; {near_names(str(attribute), list(distances))}")


def _others(distances: Mapping[str, Tensor], attribute: str) -> list[str]:
    _check_attribute(distances, attribute)
    others = [name for name in distances if name != attribute]
    if not others:
        raise ValueError(f"{attribute!r} is the only attribute: there must be others, whose distances are kept")
    return others


def _sensitivities(distances: Mapping[str, Tensor], weights: Tensor, attributes: Sequence[str]) -> Tensor:
    """Weighted distances over mean ones, ``[attributes]``."""
    relative = _relative(distances, attributes, least=-torch.inf)
    check_type("weights", weights, Tensor)
    if not weights.isfinite().all():
        raise ValueError(f"expected finite weights, got {int((~weights.isfinite()).sum())} that are NaN or infinite")
    if weights.shape != relative.shape[1:]:
        raise ValueError(f"numbers of neurons differ: distances {relative.shape[1]}, weights {list(weights.shape)}")
    return relative @ (weights.cpu().double() * relative.shape[1])


def _relative(distances: Mapping[str, Tensor], attributes: Sequence[str], least: float = 0) -> Tensor:
    """Distances over N times their mean, ``[attributes, N]``: each row sums to 1."""
    rows = []
    for attribute in attributes:
        row = torch.as_tensor(distances[attribute]).detach().cpu().double()
        if row.ndim != 1 or not row.isfinite().all() or (row < least).any():
            bound = " and not negative" if least == 0 else ""
            raise ValueError(f"distances of {attribute!r} must be [neurons], finite{bound}")
        if not row.any():
            raise ValueError(f"all distances of {attribute!r} are 0: images with and without it are not told apart")
        if row.sum() <= 0:
            raise ValueError(f"the mean distance of {attribute!r} is not above 0: it cannot be compared with")
        rows.append(row / row.sum())
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"numbers of neurons differ: {dict(zip(attributes, map(len, rows), strict=True))}")
    return torch.stack(rows)


@dataclass(frozen=True, eq=False)
class AttributeDistances:
    """Distances between images with and without each of some attributes.

    Args:
        layout: the neurons.
        fingerprint: of the network.
        distance: name of the distance that gave them.
        unit: of the distance, where it has several.
        values: ``{attribute: [neurons]}``, or ``[layers]``.
        per: whether there is a distance a neuron or one a layer.
    """

    layout: NeuronLayout
    fingerprint: ExtractorFingerprint
    distance: str
    unit: str | None
    values: Mapping[str, Tensor]
    per: Per = "neuron"


def attribute_distances(dnas: AttributeDNAs, *, distance: ColumnLike = "emd") -> AttributeDistances:
    """Distance of every neuron, or layer, between images with and without each attribute.

    Args:
        dnas: ``{(attribute, whether it is there): DNA}``, what `build_dnas` makes of the partition `attributes`, or
            files or names of DNAs, see `resolve_dna`.
        distance: one with parts by neuron or by layer: its name, or a `Column` with layers, neurons and options; its
            weights are passed over.

    Raises:
        ValueError: for no attribute, one of which a side is missing, an unknown distance or one without parts, or DNAs
            that cannot be compared.
    """
    column = find_column(distance).replace(weights=None)
    per = column.distance.per
    if per is None or column.distance.arity != 2:
        raise ValueError(f"{column.label} has no distances by neuron or layer between two sets: it cannot be weighed")
    check_type("dnas", dnas, Mapping)
    if not dnas:
        raise ValueError("expected attributes, got none")
    if not all(isinstance(key, tuple) and len(key) == 2 for key in dnas):
        raise TypeError(
            "expected DNAs by (attribute, whether it is there), as build_dnas makes of a partition attributes()"
        )
    values, names = {}, list(dict.fromkeys(name for name, _ in dnas))
    for attribute, value in itertools.product(names, (True, False)):
        if (attribute, value) not in dnas:
            word = "with" if value else "without"
            raise ValueError(f"there is no DNA of images {word} {attribute!r}: was none of them readable?")
    first = total_of(compared_dna(dnas[names[0], True], column))
    for attribute in names:
        with_it, without = (total_of(compared_dna(dnas[attribute, value], column)) for value in (True, False))
        if with_it.layout != first.layout or with_it.fingerprint.differences(first.fingerprint):
            raise ValueError(f"the DNAs of {attribute!r} have other neurons than those of {names[0]!r}")
        with errors_of(attribute):
            found = column.measure(with_it, without, "layer" if per == "layer" else "none")
        parts = cast("dict[str, Tensor]", found)
        values[attribute] = torch.cat([parts[layer].cpu().reshape(-1) for layer in first.layout])
    return AttributeDistances(first.layout, first.fingerprint, column.name, column.options.get("unit"), values, per)


def desensitise(
    train: AttributeDistances,
    validation: AttributeDistances,
    attribute: str,
    *,
    loss: Loss = "squared",
    non_negative: bool = False,
    learning_rate: float = 0.01,
    patience: int = 100,
    max_steps: int = 2000,
) -> NeuronWeights:
    """Weights with which a distance ignores one attribute and keeps all others; see `learn_weights`.

    Args:
        train: distances of the images to learn from.
        validation: the same of other images.
        attribute: the one to ignore.
        loss: as in `learn_weights`.
        non_negative: as in `learn_weights`.
        learning_rate: as in `learn_weights`.
        patience: as in `learn_weights`.
        max_steps: as in `learn_weights`.

    Returns:
        The weights. Their ``made`` has the attributes, the options, and removal and deviation on the validation split.

    Raises:
        ValueError: as `learn_weights`, and when the two are distances of other neurons.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Eq. 5 to 7, Tab. 2 and A.4.
    """
    for name, side in (("train", train), ("validation", validation)):
        check_type(name, side, AttributeDistances, advice=": attribute_distances(dnas) gives them")
    if (train.layout, train.distance, train.unit) != (validation.layout, validation.distance, validation.unit):
        raise ValueError("train and validation are other distances, or of other neurons")
    options: dict[str, Any] = {
        "loss": loss,
        "non_negative": non_negative,
        "learning_rate": learning_rate,
        "patience": patience,
        "max_steps": max_steps,
    }
    values = learn_weights(train.values, validation.values, attribute, **options)
    removal = sensitivity_removal(validation.values, values, attribute)
    deviation = sensitivity_deviation(validation.values, values, attribute)
    made = {
        "method": "desensitise",
        "attribute": attribute,
        "attributes": list(train.values),
        "distance": train.distance,
        "unit": train.unit,
        **options,
        "validation": {"removal": removal, "deviation": deviation},
    }
    return NeuronWeights(train.layout, values, train.fingerprint, train.per, made)


def read_attribute_table(path: str | Path) -> dict[str, dict[str, bool]]:
    """Read which images have which attributes, from a table like CelebA's.

    A line of names, then a line an image: its name and, for each attribute, ``1`` for with and ``0`` or ``-1`` for
    without. Commas or blanks stand between. The first line may lack a name for the images' column, and a line with the
    number of images may stand before it, as in CelebA's own ``list_attr_celeba.txt``.

    Args:
        path: the file.

    Returns:
        ``{image: {attribute: whether it has it}}``.

    Raises:
        ValueError: for a table of another form; the line is named.
    """
    with errors_of(str(path)):
        lines = enumerate(map(str.strip, read_text(path, "images", b", \t\v\f\x1c\x1d\x1e\x1f")), 1)
        rows = [(number, line) for number, line in lines if line]
    if rows and rows[0][1].isdecimal():
        rows = rows[1:]
    if len(rows) < 2:
        raise ValueError(f"{path}: a table has a line of names and a line an image, this has {len(rows)} lines")
    commas = "," in rows[0][1]
    cells = [next(csv.reader([line])) if commas else line.split() for _, line in rows]
    header, body = cells[0], cells[1:]
    attributes = [name.strip() for name in (header if len(header) < len(body[0]) else header[1:])]
    if not attributes or len(set(attributes)) != len(attributes):
        raise ValueError(f"{path}: attributes must be named, each with its own name, got {attributes[:8]}")
    table: dict[str, dict[str, bool]] = {}
    for (number, _), (image, *values) in zip(rows[1:], body, strict=True):
        if len(values) != len(attributes):
            raise ValueError(f"{path}, line {number}: {len(values)} values for {len(attributes)} attributes")
        if image in table:
            raise ValueError(f"{path}, line {number}: {image} is listed twice")
        table[image] = {}
        for attribute, value in zip(attributes, values, strict=True):
            if value.strip() not in _VALUES:
                raise ValueError(f"{path}, line {number}: {attribute} is {value.strip()!r}, expected 1, 0 or -1")
            table[image][attribute] = _VALUES[value.strip()]
    return table


def split_of(name: str) -> Split:
    """The split of an image, by its name alone: other images, their order and the machine make no difference.

    With ``h`` the first eight hexadecimal digits of the sha256 of its name, ``h % 10`` of 0 to 5 is ``"train"``, 6 and
    7 ``"validation"``, 8 and 9 ``"test"``.

    Examples:
        >>> [split_of(f"{i:06}.jpg") for i in range(1, 6)]
        ['test', 'train', 'test', 'validation', 'validation']
    """
    check_type("the name of an image", name, str)
    digit = int(hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8], 16) % 10
    return "train" if digit < 6 else "validation" if digit < 8 else "test"


def split_images(
    images: SourceLike, table: Mapping[str, Mapping[str, bool]]
) -> dict[Split, tuple[ImageSource, dict[str, list[bool]]]]:
    """The images of a source that a table tells of, split by `split_of`.

    Args:
        images: the images, see `resolve_images`.
        table: ``{image: {attribute: whether it has it}}``, with names as in the images' source.

    Returns:
        ``{split: (images, {attribute: whether each image has it})}``.

    Raises:
        ValueError: when a split would have no image.
    """
    check_type("the table", table, Mapping, advice=": read_attribute_table(path) gives it")
    source = resolve_images(images)
    places: dict[Split, list[int]] = {split: [] for split in get_args(Split)}
    for place, name in enumerate(source.names):
        if name in table:
            places[split_of(name)].append(place)
    if not all(places.values()):
        found, first = ", ".join(f"{split} {len(chosen)}" for split, chosen in places.items()), next(iter(table), None)
        raise ValueError(
            f"every split needs images, there are {found}: of {len(source)} images of {source.name} (the first is "
            f"{source.names[0]!r}) the table has {sum(map(len, places.values()))} (its first is {first!r})"
        )
    attributes = next(iter(table.values()))
    splits: dict[Split, tuple[ImageSource, dict[str, list[bool]]]] = {}
    for split, chosen in places.items():
        part = select_images(source, chosen, f"{source.name} ({split})")
        splits[split] = part, {attribute: [table[name][attribute] for name in part.names] for attribute in attributes}
    return splits


def choose_attributes(
    splits: Mapping[Split, tuple[ImageSource, Mapping[str, Sequence[bool]]]], attribute: str
) -> tuple[list[str], list[str]]:
    """Which attributes weights can be learned with: those that at least two images of every split have, and lack.

    Args:
        splits: as `split_images` gives them.
        attribute: the one to ignore.

    Returns:
        The attributes, the one to ignore first, and those that are left out.

    Raises:
        ValueError: for an unknown attribute, one that is left out, or one that is alone.

    Examples:
        >>> from vdna_metrics import open_images
        >>> images = open_images("procedural:white_noise/4")
        >>> has = {"red": [True, True, False, False], "blue": [True, False] * 2, "rare": [True] + [False] * 3}
        >>> choose_attributes({"train": (images, has)}, "blue")
        (['blue', 'red'], ['rare'])
    """
    check_type("splits", splits, Mapping, advice=": split_images(images, table) gives them")
    parts = [has for _, has in splits.values()]
    known = list(parts[0])
    if attribute not in known:
        raise ValueError(f"the table has no attribute {attribute!r}; {near_names(attribute, known)}")
    fewest = {name: min(min(sum(has[name]), len(has[name]) - sum(has[name])) for has in parts) for name in known}
    few = [name for name in known if fewest[name] < _FEWEST]
    chosen = [name for name in known if name not in (*few, attribute)]
    if attribute in few or not chosen:
        raise ValueError(
            f"{attribute} and at least one other attribute are needed, each with {_FEWEST} images with and without in "
            f"every split; of {', '.join(known)} there are {', '.join(n for n in known if n not in few) or 'none'}"
        )
    return [attribute, *chosen], few
