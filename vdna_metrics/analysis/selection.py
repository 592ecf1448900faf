"""Neurons chosen by what they tell apart."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from vdna_metrics.distributions import GaussianDistribution, Histogram, LayerGaussianDistribution
from vdna_metrics.dna.columns import ColumnLike, find_column
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import NeuronLayout, check_count
from vdna_metrics.neurons import NeuronSelection
from vdna_metrics.references.resolve import DNALike, compared_dna

_ROUNDING = 1e-12  # of a variance taken from sums of squares, relative to the squared mean


def select_sensitive(
    dna_with: DNALike | Sequence[DNALike],
    dna_without: DNALike | Sequence[DNALike],
    *,
    k: int | None = None,
    threshold: float | None = None,
    per_layer: int | None = None,
    distance: ColumnLike = "emd",
    drop_dead: bool = True,
    min_coverage: float = 0.99,
) -> NeuronSelection:
    """Select the neurons whose distributions differ most between images with and without something.

    Args:
        dna_with: DNA of images with it, or its file or name, see `resolve_dna`; several are added.
        dna_without: DNA of images without it, likewise.
        k: select so many neurons, those at the largest distances.
        threshold: or all neurons at a distance above this.
        per_layer: or so many neurons of each layer (all that are not dropped, where a layer has fewer).
        distance: between two sets, with a value for each neuron: its name, or a `Column`. The bins of a neuron with a
            wide range are wide, so ``Column("emd", unit="activation")`` gives another order.
        drop_dead: never select neurons whose range has no width, or of Gaussian DNAs those that never change.
        min_coverage: never select neurons with a smaller share of their activations inside their ranges, on either
            side: the edge bins hold what they differ in. Gaussian DNAs have no ranges and are not asked.

    Returns:
        The selection. Its ``made`` has the sources, the options, the smallest distance that was selected and how many
        neurons were dropped, ``{"dead": n, "coverage": n}``.

    Raises:
        ValueError: when not just one of ``k``, ``threshold`` and ``per_layer`` is given, the DNAs cannot be compared,
            or there are not as many neurons.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, sections 5.3 and 5.4.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> network = create_extractor("vdna_tiny")
        >>> red = np.zeros((4, 64, 64, 3), np.uint8)
        >>> red[..., 0] = 200
        >>> with_red, without = (build_dnas(images, network)["histogram"] for images in (red, red[..., ::-1]))
        >>> select_sensitive(with_red, without, k=20, min_coverage=0)
        NeuronSelection(20 of 1424 neurons of short_mobilenetv2: ...)
    """
    asked = {"k": k, "threshold": threshold, "per_layer": per_layer}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"give one of k, threshold and per_layer, got {', '.join(given) or 'none'}")
    for name in given.keys() - {"threshold"}:
        check_count(name, given[name])
    column = find_column(distance)
    if column.distance.per != "neuron" or not column.distance.says_how_far:
        raise ValueError(f"expected a distance of each neuron that grows as it differs, got {column!r}")
    if not 0 <= min_coverage <= 1:
        raise ValueError(f"min_coverage is a share, 0 to 1, got {min_coverage}")
    sides = ([side] if isinstance(side, DNALike) else side for side in (dna_with, dna_without))
    a, b = (functools.reduce(operator.add, [total_of(compared_dna(dna, column)) for dna in side]) for side in sides)
    found = cast("dict[str, Tensor]", column.measure(a, b, "none"))
    distances = torch.cat([found[layer].cpu() for layer in a.layout])
    dead, uncovered = _dead(a, b), _coverage(a, b) < min_coverage
    dropped = (dead if drop_dead else torch.zeros_like(dead)) | uncovered | distances.isnan()
    mask = _largest(a.layout, distances.masked_fill(dropped, -torch.inf), k, threshold, per_layer)
    made = {
        "method": "select_sensitive",
        "with": _side(a),
        "without": _side(b),
        "distance": column.name,
        **column.options,
        **given,
        "smallest": float(distances[mask].min()),
        "dropped": {"dead": int(dead.sum()) if drop_dead else 0, "coverage": int((uncovered & ~dead).sum())},
        "drop_dead": drop_dead,
        "min_coverage": min_coverage,
    }
    return NeuronSelection(a.layout, mask, a.fingerprint, made)


def _largest(
    layout: NeuronLayout, distances: Tensor, k: int | None, threshold: float | None, per_layer: int | None
) -> Tensor:
    left = int((distances > -torch.inf).sum())
    if not left:
        raise ValueError(f"all {layout.total} neurons are dead or covered too little: calibrate ranges on these images")
    mask = torch.zeros_like(distances, dtype=torch.bool)
    if k is not None:
        if k > left:
            raise ValueError(f"k={k} neurons were asked for; of {layout.total} there are {left} that are not dropped")
        mask[distances.argsort(descending=True, stable=True)[:k]] = True
    elif threshold is not None:
        mask = distances > threshold
        if not mask.any():
            raise ValueError(f"no neuron is above threshold={threshold:g}, the largest distance is {distances.max():g}")
    else:
        for rows in layout.slices().values():
            mask[rows][distances[rows].argsort(descending=True, stable=True)[:per_layer]] = True
        mask &= distances > -torch.inf
    return mask


def _dead(a: VDNA, b: VDNA) -> Tensor:
    dead = torch.ones(a.layout.total, dtype=torch.bool)
    for side in (a.distribution, b.distribution):
        if isinstance(side, Histogram):
            return side.widths() == 0
        side = side.gaussian() if isinstance(side, LayerGaussianDistribution) else side
        if isinstance(side, GaussianDistribution):
            mean, variance = (moment.cpu() for moment in side.mean_and_variance())
            dead &= variance <= _ROUNDING * mean.square()
    return dead


def _coverage(a: VDNA, b: VDNA) -> Tensor:
    """Share of each neuron's activations inside its range, of the side where it is smaller, ``[neurons]``."""
    shares = [torch.ones(a.layout.total, dtype=torch.float64)]
    for side in (a.distribution, b.distribution):
        if isinstance(side, Histogram):
            shares.append(1 - (torch.add(*side.outside_counts()).double() / side.counts.sum(1)).cpu())
    return torch.stack(shares).amin(0)


def _side(dna: VDNA) -> dict[str, Any]:
    return {"sources": list(dna.provenance.sources), "n_images": dna.n_images}
