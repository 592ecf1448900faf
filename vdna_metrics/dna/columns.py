"""A column: a distance with all that is asked of it, as leaderboards show it and comparisons take it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from vdna_metrics.distributions import AutoHistogramDistribution, Distribution, Histogram, Kind
from vdna_metrics.dna.distances import (
    EMD,
    Distance,
    DistanceResult,
    Reduction,
    bin_width,
    find_distance,
    list_distances,
    with_unit,
)
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.layout import NeuronLayout, check_names, check_type, near_names
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike, Per, load_selection, load_weights

AnyDNA = TypeVar("AnyDNA", bound=VDNA | GroupedDNA)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Column:
    """A distance with its extractor, layers, neurons, weights and options; frozen.

    What the functions of `analysis` take as ``distance=`` beside a plain name, and what a leaderboard has one of for
    each of its metrics. A call measures what `select` gives of two DNAs.

    Args:
        distance: a distance, or its name.
        name: what users type; by default the distance's.
        label: what people read; by default the distance's.
        short: label for the heads of tables; by default the label that was given, else the distance's.
        meaning: one sentence; by default the distance's.
        extractor: name of the network that it is defined for; ``None`` for any.
        layers: layers to compare, ``None`` for all.
        neurons: of the neurons to compare, ``{layer: indices}``, a `NeuronSelection`, or its file.
        weights: of these neurons (or layers), ``{layer: [neurons]}``, `NeuronWeights`, or their file.
        options: of the distance.

    Raises:
        ValueError: for an unknown distance, or options that it does not have.

    Examples:
        >>> Column("emd", layers=["blocks.0"], unit="range")
        Column(emd: VDNA-EMD (range) of blocks.0)
        >>> find_column("fid")
        Column(fid: FID of block_3 of fid_inception)
    """

    distance: Distance
    name: str
    label: str
    short: str
    meaning: str
    extractor: str | None
    layers: tuple[str, ...] | None
    neurons: NeuronsLike | None
    weights: NeuronWeightsLike | None
    options: Mapping[str, Any]

    def __init__(
        self,
        distance: str | Distance,
        *,
        name: str = "",
        label: str = "",
        short: str = "",
        meaning: str = "",
        extractor: str | None = None,
        layers: Sequence[str] | None = None,
        neurons: NeuronsLike | None = None,
        weights: NeuronWeightsLike | None = None,
        **options: Any,
    ) -> None:
        known = find_distance(distance)
        layers = [layers] if isinstance(layers, str) else layers
        check_names("layers", layers or ())
        values = {
            "distance": known,
            "name": name or known.name,
            "label": label or known.label,
            "short": short or label or known.short,
            "meaning": meaning or known.meaning,
            "extractor": extractor,
            "layers": None if layers is None else tuple(layers),
            # Files are read once, not once a distance.
            "neurons": load_selection(neurons) if isinstance(neurons, str | Path) else neurons,
            "weights": load_weights(weights) if isinstance(weights, str | Path) else weights,
            "options": known.checked_options(options),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        of = [", ".join(self.layers)] if self.layers and "[" not in self.name else []
        return f"Column({self.name}: {' of '.join([self.title, *of, *filter(None, [self.extractor])])})"

    def replace(self, **changes: Any) -> Column:
        """The same with some arguments changed."""
        now = {name: value for name, value in vars(self).items() if name != "options"}
        return Column(**{**now, **self.options, **changes})

    @property
    def kind(self) -> Kind:
        """Kind of the DNAs that it needs."""
        return self.distance.kind

    @property
    def unit(self) -> str:
        """Unit of its values."""
        return str(self.options.get("unit", self.distance.unit))

    @property
    def title(self) -> str:
        """Its label, with the unit where that is printed."""
        return with_unit(self.label, self.unit)

    def select(self, dna: AnyDNA) -> AnyDNA:
        """What is compared of a DNA."""
        if self.layers is None and self.neurons is None:
            return dna
        return cast(AnyDNA, dna.select(self.layers, self.neurons))

    def measure(
        self, reference: VDNA | None, generated: VDNA, reduction: Reduction = "mean", *, allow_subsampled: bool = False
    ) -> DistanceResult:
        """The distance of what it selects of two DNAs; see `Distance`."""
        return self.distance(
            reference,
            generated,
            layers=self.layers,
            neurons=self.neurons,
            weights=self.weights,
            reduction=reduction,
            allow_subsampled=allow_subsampled,
            **self.options,
        )

    def __call__(self, reference: VDNA | None, generated: VDNA) -> float:
        """The same as a number."""
        return float(cast(Tensor, self.measure(reference, generated)))

    def by_layer(self, reference: VDNA | None, generated: VDNA) -> dict[str, float]:
        """The same for each layer; empty for a distance without parts by layer."""
        if self.distance.per is None:
            return {}
        found = cast("dict[str, Tensor]", self.measure(reference, generated, "layer"))
        return {layer: float(value) for layer, value in found.items()}

    def bin_width(self, reference: VDNA | None, generated: VDNA, *, allow_subsampled: bool = False) -> float | None:
        """By how much at most the bins of auto-ranging histograms move an EMD, see `bin_width`; else ``None``."""
        if self.distance is not EMD or reference is None:
            return None
        if not isinstance(reference.distribution, AutoHistogramDistribution):
            return None
        chosen: dict[str, Any] = {"layers": self.layers, "neurons": self.neurons, "weights": self.weights}
        return bin_width(reference, generated, **chosen, **self.options, allow_subsampled=allow_subsampled)

    def layer_shares(self, layout: NeuronLayout, reference: Distribution | None = None) -> Tensor:
        """What each layer's value, as of `by_layer` from a reference, counts in the whole: ``[layers]`` float64."""
        known = None
        if self.weights is not None:
            return torch.ones(len(layout), dtype=torch.float64)
        if self.distance.per == "layer":
            return torch.full((len(layout),), 1 / len(layout), dtype=torch.float64)
        if self.distance.may_lack and isinstance(reference, Histogram):
            known = layout.split(~reference.bin_widths(self.options["unit"]).isnan())
        counts = list(layout.values()) if known is None else [int(part.sum()) for part in known.values()]
        return torch.tensor(counts, dtype=torch.float64) / sum(counts)

    def sort_key(self, value: float) -> float:
        """What puts values in order, the best first."""
        return -value if self.distance.higher_is_better else value


ColumnLike = str | Distance | Column
"""A column or a distance, or the name of one."""

# Distances in one layer of one network that have a name of their own.
_NAMED = {
    column.name: column
    for column in (
        Column(
            "lfd",
            name="fid",
            label="FID",
            meaning="The layer Fréchet distance on the pooled output of the FID Inception.",
            extractor="fid_inception",
            layers=("block_3",),
        ),
        Column(
            "lfd",
            name="sfid",
            label="sFID",
            meaning="The layer Fréchet distance on 7 channels of the FID Inception at each position, as ADM's.",
            extractor="sfid_inception",
            layers=("mixed_6_conv",),
        ),
        Column(
            "lfd",
            name="fd_dinov2",
            label="FD-DINOv2",
            meaning="The layer Fréchet distance on the class token of DINOv2 ViT-L/14.",
            extractor="fd_dinov2",
            layers=("class_token",),
        ),
        Column(
            "lfd",
            name="clip_fd",
            label="CLIP-FD",
            meaning="The layer Fréchet distance on the embedding of CLIP ViT-B/32.",
            extractor="clip_vit_b32",
            layers=("embedding",),
        ),
    )
}


COLUMN_GROUPS = {"prdc": ("precision", "recall", "density", "coverage")}
"""Columns that are asked for together by one name."""


def list_columns() -> list[str]:
    """Names that a leaderboard takes for its columns: all distances, and those in one network with a name of their own.

    Examples:
        >>> list_columns()[:3], "fid" in list_columns()
        (['emd', 'nfd', 'lfd'], True)
    """
    return [*list_distances(), *_NAMED]


def find_column(column: ColumnLike) -> Column:
    """The column of a name, or of a distance.

    Args:
        column: a name of `list_columns`, with ``[layer+layer]`` behind it for some layers alone; or the value.

    Raises:
        ValueError: for an unknown name; near ones are named.
        TypeError: for what is neither.

    Examples:
        >>> find_column("lfd[blocks.0+blocks.2]").layers
        ('blocks.0', 'blocks.2')
    """
    if isinstance(column, Column):
        return column
    if isinstance(column, Distance):
        return Column(column)
    check_type("a column", column, str, Column, Distance)
    name, bracket, layers = column.partition("[")
    if bracket and layers.endswith("]"):
        whole = find_column(name)
        chosen = tuple(layers[:-1].split("+"))
        return whole.replace(name=column, label=f"{whole.label} of {', '.join(chosen)}", layers=chosen)
    if column in _NAMED:
        return _NAMED[column]
    try:
        return Column(find_distance(column))
    except ValueError:
        raise ValueError(f"unknown distance {column!r}; {near_names(column, list_columns())}") from None


def default_column(kinds: Collection[Kind], *, per: Per | None = None) -> Column:
    """The first distance between two sets that takes DNAs of some kinds, of no kinds the first of all.

    Args:
        kinds: of the DNAs that there are.
        per: parts that it has to have.

    Raises:
        ValueError: when there is none.

    Examples:
        >>> default_column(["gaussian"])
        Column(nfd: neuron Fréchet distance)
    """
    known = (each for each in map(find_distance, list_distances()) if each.arity == 2 and per in (None, each.per))
    found = next((each for each in known if not kinds or each.kind in kinds), None)
    if found is None:
        raise ValueError(f"no distance{f' by {per}' if per else ''} takes DNAs of kind {', '.join(kinds)}")
    return Column(found)
