"""Activation ranges: between which values each neuron's histogram lies, and how they were found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vdna_metrics.files import errors_of, read_json, read_npz, write_npz
from vdna_metrics.fingerprint import ExtractorFingerprint, HasFingerprint, refuse_differences
from vdna_metrics.functional.histogram import extremes
from vdna_metrics.layout import NeuronLayout, check_choice, check_type
from vdna_metrics.schema import ArrayField, Arrays, Count

Widening = Literal["margin", "vdna", "none"]
RangeRule = Literal["margin", "vdna", "none", "quantile"]

_MARGIN = 0.1
_VDNA_SCALE = 1.2


@dataclass(frozen=True)
class RangesSource:
    """One of the image sets that ranges were made over.

    Args:
        name: of the set.
        n_images: number of its images that were seen, 0 when unknown.
        manifest: hash of the names and contents of these images, ``None`` when unknown.
        skipped: images that could not be read and were left out, ``(name, reason)`` each.
    """

    name: str
    n_images: Count = 0
    manifest: str | None = None
    skipped: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for file headers."""
        return {**vars(self), "skipped": [list(item) for item in self.skipped]}


@dataclass(frozen=True, eq=False)
class ActivationRanges:
    """Range ``[low, high]`` of each neuron's histogram.

    The observed extremes are kept as they were seen, so that calibrations merge by ``+`` (minimum of minima,
    maximum of maxima); ``low`` and ``high`` follow from them by the widening rule. Quantiles do not merge.

    Args:
        layout: the neurons.
        observed_low: smallest activation seen, or its lower quantile, ``[neurons]`` float32.
        observed_high: largest activation seen, or its upper quantile, ``[neurons]`` float32.
        widen: rule by which what was observed becomes the range:
            ``"margin"`` adds 10 % of the width on each side;
            ``"vdna"`` multiplies both ends by 1.2, as the vdna package does (the range shrinks at an end whose sign
            points inwards, so activations are clipped there);
            ``"none"`` takes the extremes;
            ``"quantile"`` takes the quantiles, see `quantile_ranges`.
        n_images: number of images seen, 0 when unknown.
        sources: names of the image sets, which those in ``sets`` are by default.
        fingerprint: of the extractor, ``None`` when unknown.
        levels: lower and upper level of the quantiles, ``None`` for the other rules.
        sets: what is known of each image set.

    Raises:
        ValueError: when a low is above its high, an end is not finite, or levels and rule do not agree.

    Examples:
        >>> ranges = ActivationRanges.from_extremes({"conv": [0.0, -1.0]}, {"conv": [1.0, -1.0]})
        >>> ranges.low, ranges.high, ranges.dead
        (tensor([-0.1000, -1.0000]), tensor([ 1.1000, -1.0000]), tensor([False,  True]))
        >>> ranges
        ActivationRanges(margin over images of unknown source: 2 neurons in 1 layer)
    """

    layout: NeuronLayout
    observed_low: Tensor
    observed_high: Tensor
    widen: RangeRule = "margin"
    n_images: int = 0
    sources: tuple[str, ...] = ()
    fingerprint: ExtractorFingerprint | None = None
    levels: tuple[float, float] | None = None
    sets: tuple[RangesSource, ...] = ()

    def __post_init__(self) -> None:
        check_choice("widening rule", self.widen, RangeRule)
        if (self.widen == "quantile") != (self.levels is not None):
            raise ValueError(
                f"the rule is {self.widen!r}, the levels of quantiles are {self.levels}: quantiles come from a "
                "histogram DNA by quantile_ranges(dna), the other rules have no levels"
            )
        if self.levels is not None:
            check_levels(*self.levels)
        names = tuple(part.name for part in self.sets)
        if not self.sets:
            known = self.n_images if len(self.sources) == 1 else 0
            object.__setattr__(self, "sets", tuple(RangesSource(name, known) for name in self.sources))
        elif self.sources not in ((), names):
            raise ValueError(f"sources and sets differ: {', '.join(self.sources)} and {', '.join(names)}")
        else:
            object.__setattr__(self, "sources", names)
        for name in ("observed_low", "observed_high"):
            values = torch.as_tensor(getattr(self, name), dtype=torch.float32, device="cpu").detach().clone()
            if values.shape != (self.layout.total,):
                raise ValueError(f"{name} has shape {tuple(values.shape)}, the layout {self.layout.total} neurons")
            if not values.isfinite().all():
                raise ValueError(f"{name} is not finite for {self.layout.locate(~values.isfinite())}")
            object.__setattr__(self, name, values)
        for name, values in (("low", self.low), ("high", self.high)):
            if not values.isfinite().all():
                raise ValueError(f"{name}, widened, is not finite for {self.layout.locate(~values.isfinite())}")
        inverted = self.observed_low > self.observed_high
        if inverted.any():
            low, high = float(self.observed_low[inverted][0]), float(self.observed_high[inverted][0])
            raise ValueError(
                f"low is above high for {self.layout.locate(inverted)}: the first has {low:g} and {high:g}"
            )

    @classmethod
    def from_extremes(
        cls,
        low: Mapping[str, Any],
        high: Mapping[str, Any],
        widen: Widening = "margin",
        extractor: HasFingerprint | None = None,
        *,
        n_images: int = 0,
        sources: Sequence[str] = (),
    ) -> ActivationRanges:
        """Make ranges from observed extremes, ``{layer: [neurons]}`` each.

        Args:
            low: smallest activation of each neuron.
            high: largest activation of each neuron.
            widen: widening rule, see the class.
            extractor: spec or extractor that saw the activations; its fingerprint is kept and checked later.
            n_images: number of images seen.
            sources: names of the image sets.
        """
        layout = NeuronLayout({layer: torch.as_tensor(values, device="cpu").numel() for layer, values in low.items()})
        fingerprint = extractor.fingerprint if extractor is not None else None
        return cls(
            layout=layout,
            observed_low=layout.flatten(low, what="low").float(),
            observed_high=layout.flatten(high, what="high").float(),
            widen=widen,
            n_images=n_images,
            sources=tuple(sources),
            fingerprint=fingerprint.select(list(layout)) if fingerprint is not None else None,
        )

    def __repr__(self) -> str:
        layers = f"{len(self.layout)} layer{'s' * (len(self.layout) != 1)}"
        levels = "" if self.levels is None else f" {self.levels[0]:g} to {self.levels[1]:g}"
        images = f"{self.n_images} images" if self.n_images else "images"
        sources = ", ".join([*self.sources[:2], *(["..."] if len(self.sources) > 2 else [])]) or "unknown source"
        found = f"{self.widen}{levels} over {images} of {sources}"
        return f"ActivationRanges({found}: {self.layout.total} neurons in {layers})"

    @cached_property
    def _widened(self) -> tuple[Tensor, Tensor]:
        low, high = self.observed_low.double(), self.observed_high.double()
        if self.widen == "margin":
            margin = _MARGIN * (high - low)
            low, high = low - margin, high + margin
        elif self.widen == "vdna":
            low, high = low * _VDNA_SCALE, high * _VDNA_SCALE
        return low.float(), high.float()

    @property
    def low(self) -> Tensor:
        """Lower end of each neuron's histogram, ``[neurons]`` float32."""
        return self._widened[0]

    @property
    def high(self) -> Tensor:
        """Upper end of each neuron's histogram, ``[neurons]`` float32."""
        return self._widened[1]

    @property
    def dead(self) -> Tensor:
        """Neurons whose range has no width, ``[neurons]`` bool."""
        return self.low == self.high

    def select(self, selection: NeuronLayout) -> ActivationRanges:
        """Keep the neurons of a selection of the layout."""
        rows = self.layout.rows_of(selection)
        return replace(
            self,
            layout=selection,
            observed_low=self.observed_low[rows],
            observed_high=self.observed_high[rows],
            fingerprint=self.fingerprint.select(list(selection)) if self.fingerprint else None,
        )

    def for_layout(self, layout: NeuronLayout) -> ActivationRanges:
        """The ranges of another layout's layers and neurons, in its order.

        Raises:
            ValueError: when these ranges lack some of them, or have other numbers of neurons.
        """
        found = self.layout.select(list(layout), layout.neurons)
        for layer, count in layout.items():
            if found[layer] != count or found.neurons.get(layer) != layout.neurons.get(layer):
                selected = " selected" if layer in found.neurons else ""
                raise ValueError(
                    f"these activation ranges do not fit: expected {count} neurons in layer {layer!r}, got "
                    f"{found[layer]}{selected}"
                )
        return self.select(layout)

    def __add__(self, other: ActivationRanges) -> ActivationRanges:
        """Ranges over both image sets; their number of images is known where both are."""
        if not isinstance(other, ActivationRanges):
            return NotImplemented
        if "quantile" in (self.widen, other.widen):
            raise ValueError(
                "quantile ranges cannot be merged, for the quantiles of two sets do not tell those of their union: "
                "merge the histogram DNAs that they were taken from, then take quantile_ranges of the sum"
            )
        sides = ("layouts", dict(self.layout), dict(other.layout)), ("widening rules", self.widen, other.widen)
        found = [(what, str(here), str(there)) for what, here, there in sides if here != there]
        if self.fingerprint and other.fingerprint:
            found += self.fingerprint.differences(other.fingerprint, precision=False)
        refuse_differences("these ranges cannot be merged", found)
        return replace(
            self,
            observed_low=torch.minimum(self.observed_low, other.observed_low),
            observed_high=torch.maximum(self.observed_high, other.observed_high),
            n_images=self.n_images + other.n_images if self.n_images and other.n_images else 0,
            sources=self.sources + other.sources,
            sets=self.sets + other.sets,
            fingerprint=self.fingerprint or other.fingerprint,
        )

    def check_fingerprint(self, extractor: ExtractorFingerprint) -> None:
        """Raise ``ValueError``, showing both sides, when the ranges are known to be another extractor's."""
        found = self.fingerprint.differences(extractor, precision=False) if self.fingerprint is not None else []
        refuse_differences("these activation ranges were not made with this extractor", found, ("ranges", "extractor"))

    def equals(self, other: ActivationRanges) -> bool:
        """Whether both put every neuron's histogram between the same values."""
        return self.layout == other.layout and torch.equal(self.low, other.low) and torch.equal(self.high, other.high)

    @cached_property
    def digest(self) -> str:
        """sha256 of where the histograms lie: neurons, lows and highs."""
        digest = hashlib.sha256(json.dumps(self.layout.to_json(), sort_keys=True).encode())
        for end in (self.low, self.high):
            digest.update(end.numpy().tobytes())
        return digest.hexdigest()

    def header(self) -> dict[str, Any]:
        """All but the arrays as plain containers."""
        header = {
            "layout": self.layout.to_json(),
            "widen": self.widen,
            "n_images": self.n_images,
            "sources": list(self.sources),
            "fingerprint": self.fingerprint.to_json() if self.fingerprint else None,
            "sets": [part.to_json() for part in self.sets],
        }
        return header if self.levels is None else {**header, "levels": list(self.levels)}

    def save(self, path: str | Path) -> Path:
        """Write the ranges as ``.npz``; see `load_ranges`."""
        arrays = {"low": self.observed_low.numpy(), "high": self.observed_high.numpy()}
        return write_npz(path, "ranges", {"ranges": self.header()}, arrays)


def check_levels(lower: float, upper: float) -> None:
    """Raise ``ValueError`` unless two levels of quantiles lie in [0, 1], the lower one first."""
    for name, level in (("lower", lower), ("upper", upper)):
        check_type(name, level, Real)
    if not 0 <= lower < upper <= 1:
        raise ValueError(f"levels of quantiles lie in [0, 1], the lower one first, got {lower:g} and {upper:g}")


def observe_extremes_(low: Tensor, high: Tensor, layout: NeuronLayout, activations: Mapping[str, Tensor]) -> None:
    """Widen extremes by a batch.

    Args:
        low: smallest activation so far, ``[neurons]``, changed in place.
        high: largest activation so far, ``[neurons]``, changed in place.
        layout: the neurons.
        activations: ``{layer: [neurons, images, positions]}``; NaN stays NaN.
    """
    for layer, rows in layout.slices().items():
        smallest, largest = extremes(activations[layer])
        low[rows] = torch.minimum(low[rows], smallest.to(low))
        high[rows] = torch.maximum(high[rows], largest.to(high))


@dataclass(frozen=True)
class RangesFields:
    """What a file says of ranges beside the observed ends, ``low`` and ``high``; early ones have no ``sets``."""

    layout: NeuronLayout
    widen: RangeRule
    n_images: Count
    sources: tuple[str, ...]
    fingerprint: ExtractorFingerprint | None
    sets: tuple[RangesSource, ...] = ()
    levels: tuple[float, float] | None = None

    def arrays(self) -> dict[str, ArrayField]:
        """The observed ends."""
        return dict.fromkeys(("low", "high"), ArrayField((self.layout.total,), "f4"))

    def ranges(self, arrays: Arrays) -> ActivationRanges:
        """The ranges."""
        low, high = (torch.from_numpy(arrays[end]) for end in ("low", "high"))
        return ActivationRanges(observed_low=low, observed_high=high, **vars(self))


@dataclass(frozen=True)
class _RangesFile:
    ranges: RangesFields

    def arrays(self) -> dict[str, ArrayField]:
        return self.ranges.arrays()


GivenRanges = ActivationRanges | Literal["auto"]
"""Activation ranges, or ``"auto"`` for histograms that find their own."""

RangesLike = ActivationRanges | str | Path
"""Activation ranges, the path of their file, or ``"auto"`` for histograms that find their own."""


def as_ranges(ranges: RangesLike) -> GivenRanges:
    """Activation ranges, read where a path is given; ``"auto"`` stays."""
    check_type("ranges", ranges, ActivationRanges, str, Path)
    if ranges == "auto":
        return "auto"
    if isinstance(ranges, ActivationRanges):
        return ranges
    if not Path(ranges).suffix and not Path(ranges).exists():
        raise FileNotFoundError(f"expected 'auto' or a file of activation ranges, got {str(ranges)!r}: no such file")
    return load_ranges(ranges)


def load_ranges(path: str | Path) -> ActivationRanges:
    """Read ranges from a file written by `ActivationRanges.save`.

    Raises:
        ValueError: when the file is damaged, changed, of a newer schema, or holds something else.
    """
    file, arrays = read_npz(path, {"ranges": _RangesFile})
    with errors_of(str(path)):
        return file.ranges.ranges(arrays)


def load_vdna_ranges(
    path: str | Path, layout: NeuronLayout, *, source: str = "", fingerprint: ExtractorFingerprint | None = None
) -> ActivationRanges:
    """Read ranges from an ``activation_ranges.json`` of the vdna package, to be widened as there.

    The file has ``{"mins_per_neuron": {layer: {index: value}}, "maxs_per_neuron": {layer: {index: value}}}``, with
    indices as text. Layers that the layout lacks are left out.

    Args:
        path: the file.
        layout: of the extractor.
        source: what the ranges name as their source, by default the path.
        fingerprint: of the extractor, ``None`` when unknown.

    Raises:
        ValueError: when the file is something else, or lacks layers or neurons of the layout.
    """
    contents = read_json(path, _VDNARanges, "activation ranges as vdna writes them")
    parts = {"mins_per_neuron": contents.mins_per_neuron, "maxs_per_neuron": contents.maxs_per_neuron}
    with errors_of(str(path)):
        low, high = ({layer: _in_order(part[layer]) for layer in layout if layer in part} for part in parts.values())
        for part, values in (("mins_per_neuron", low), ("maxs_per_neuron", high)):
            found = {layer: len(neurons) for layer, neurons in values.items()}
            lacking = {layer: count for layer, count in layout.items() if found.get(layer) != count}
            if lacking:
                raise ValueError(
                    f"{path} does not fit the extractor: expected {part} of {lacking} neurons, got "
                    f"{ {layer: found.get(layer, 0) for layer in lacking} } (of layers {', '.join(parts[part])})"
                )
        ranges = ActivationRanges.from_extremes(low, high, "vdna", sources=[source or str(path)])
    return replace(ranges, fingerprint=fingerprint)


@dataclass(frozen=True)
class _VDNARanges:
    of_others: ClassVar[bool] = True

    mins_per_neuron: Mapping[str, Mapping[str, float]]
    maxs_per_neuron: Mapping[str, Mapping[str, float]]


def _in_order(neurons: Mapping[str, float]) -> list[float]:
    """Values by index; the order of the file, or of the indices as text, is another one."""
    missing = [index for index in range(len(neurons)) if str(index) not in neurons]
    if missing:
        raise ValueError(f"expected the indices 0 to {len(neurons) - 1}, missing are {missing[:5]}")
    return [neurons[str(index)] for index in range(len(neurons))]
