"""Selections and weights of neurons: small values, kept in files, for use with the network that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from vdna_metrics.files import errors_of, read_npz, write_npz
from vdna_metrics.fingerprint import ExtractorFingerprint, HasFingerprint, refuse_differences
from vdna_metrics.layout import NeuronLayout, NeuronSelectionLike
from vdna_metrics.schema import ArrayField

Per = Literal["neuron", "layer"]


class Seen(HasFingerprint, Protocol):
    """Anything with neurons of a known network: an extractor or a DNA."""

    @property
    def layout(self) -> NeuronLayout:
        """Its layers and neurons."""


@dataclass(frozen=True, eq=False)
class NeuronSelection:
    """Some of a network's neurons: a set with `&`, `|`, `-` and `~` (those of the layout that are not in it).

    Whatever takes ``neurons=`` takes one, or the path of its file.

    Args:
        layout: the neurons that there are.
        mask: which of them are selected, ``[neurons]`` bool.
        fingerprint: of the network.
        made: how it was made, in plain containers.

    Raises:
        TypeError: when the mask is not bool.
        ValueError: when it has another shape.

    Examples:
        >>> from vdna_metrics import create_extractor
        >>> network = create_extractor("vdna_tiny")
        >>> chosen = NeuronSelection.of(network, {"blocks.0": [5, 2], "blocks.4": [7]})
        >>> chosen.neurons
        {'blocks.0': (2, 5), 'blocks.4': (7,)}
        >>> ~chosen - NeuronSelection.of(network, {"conv_head": range(1280)})
        NeuronSelection(141 of 1424 neurons of short_mobilenetv2: blocks.0 14, blocks.2 32, blocks.4 95)
    """

    layout: NeuronLayout
    mask: Tensor
    fingerprint: ExtractorFingerprint
    made: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise TypeError(f"a mask is bool, got {self.mask.dtype}; NeuronSelection.of takes indices")
        if self.mask.shape != (self.layout.total,):
            raise ValueError(f"the layout has {self.layout.total} neurons, the mask {list(self.mask.shape)}")
        object.__setattr__(self, "mask", self.mask.detach().cpu().clone())

    @classmethod
    def of(cls, seen: Seen, neurons: NeuronSelectionLike | None = None) -> NeuronSelection:
        """Of an extractor's or DNA's neurons those with some indices, by default all.

        Args:
            seen: an extractor or a DNA.
            neurons: ``{layer: indices in the full layer}``.

        Raises:
            ValueError: for unknown layers or neurons.
        """
        mask = torch.zeros(seen.layout.total, dtype=torch.bool)
        mask[seen.layout.rows_of(seen.layout.select(neurons=neurons))] = True
        return cls(seen.layout, mask, seen.fingerprint.select(list(seen.layout)), {"method": "indices"})

    @cached_property
    def neurons(self) -> dict[str, tuple[int, ...]]:
        """``{layer: indices in the full layer}``, without the layers of which none is selected."""
        found = {}
        for layer, part in self.layout.split(self.mask).items():
            present = self.layout.neurons.get(layer) or range(self.layout[layer])
            if chosen := tuple(present[place] for place in part.nonzero().flatten().tolist()):
                found[layer] = chosen
        return found

    @property
    def per_layer(self) -> dict[str, int]:
        """How many neurons of each layer of the layout are selected."""
        return {layer: int(part.sum()) for layer, part in self.layout.split(self.mask).items()}

    def __len__(self) -> int:
        return int(self.mask.sum())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NeuronSelection):
            return NotImplemented
        same = self.layout == other.layout and not self.fingerprint.differences(other.fingerprint, precision=False)
        return same and torch.equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.layout, self.mask.numpy().tobytes()))

    def __repr__(self) -> str:
        layers = ", ".join(f"{layer} {count}" for layer, count in self.per_layer.items() if count)
        whole = f"{len(self)} of {self.layout.total} neurons of {self.fingerprint.architecture}"
        return f"NeuronSelection({whole}{': ' * bool(layers)}{layers})"

    def __and__(self, other: NeuronSelection) -> NeuronSelection:
        """Neurons of both."""
        return self._combined(other, "and", self.mask & self._mask_of(other))

    def __or__(self, other: NeuronSelection) -> NeuronSelection:
        """Neurons of either."""
        return self._combined(other, "or", self.mask | self._mask_of(other))

    def __sub__(self, other: NeuronSelection) -> NeuronSelection:
        """Neurons of this one that the other lacks."""
        return self._combined(other, "without", self.mask & ~self._mask_of(other))

    def __invert__(self) -> NeuronSelection:
        """The other neurons of the layout."""
        return NeuronSelection(self.layout, ~self.mask, self.fingerprint, {"method": "not", "of": [dict(self.made)]})

    def _mask_of(self, other: NeuronSelection) -> Tensor:
        found = self.fingerprint.differences(other.fingerprint, precision=False)
        if not found and self.layout != other.layout:
            found = [("layouts", _describe(self.layout), _describe(other.layout))]
        refuse_differences("these selections do not go together", found)
        return other.mask

    def _combined(self, other: NeuronSelection, method: str, mask: Tensor) -> NeuronSelection:
        made = {"method": method, "of": [dict(self.made), dict(other.made)]}
        return NeuronSelection(self.layout, mask, self.fingerprint, made)

    def save(self, path: str | Path) -> Path:
        """Write the selection as ``.npz``; see `load_selection`."""
        return write_npz(path, "selection", _header(self), {"mask": self.mask.numpy()})


@dataclass(frozen=True, eq=False)
class NeuronWeights:
    """Weights of a network's neurons, or of its layers: a distance is then ``sum w_i d_i`` instead of the mean.

    Whatever takes ``weights=`` takes one, or the path of its file.

    Args:
        layout: the neurons that are compared.
        values: ``[neurons]``, or ``[layers]`` with ``per="layer"``; kept as float64.
        fingerprint: of the network.
        per: whether there is a weight a neuron, or one a layer, as the layer Fréchet distance takes them.
        made: how they were made, in plain containers.

    Raises:
        ValueError: when there are more or fewer weights, or one is not finite.

    Examples:
        >>> from vdna_metrics import create_extractor
        >>> network = create_extractor(torch.nn.AvgPool2d(4))
        >>> weights = NeuronWeights(network.layout, torch.tensor([0.25, 0.5, 0.25]), network.fingerprint)
        >>> weights.by_layer
        {'output': tensor([0.2500, 0.5000, 0.2500], dtype=torch.float64)}
    """

    layout: NeuronLayout
    values: Tensor
    fingerprint: ExtractorFingerprint
    per: Per = "neuron"
    made: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.values, dtype=torch.float64, device="cpu").detach().clone()
        needed = self.layout.total if self.per == "neuron" else len(self.layout)
        if values.shape != (needed,):
            raise ValueError(f"expected {needed} weights, one a {self.per}, got {list(values.shape)}")
        if not values.isfinite().all():
            raise ValueError(f"weights must be finite, {int((~values.isfinite()).sum())} are not")
        object.__setattr__(self, "values", values)

    @property
    def by_layer(self) -> dict[str, Tensor]:
        """``{layer: [neurons]}``, or ``{layer: [1]}`` of weights of layers."""
        return _weighed(self.layout, self.per).split(self.values)

    def __repr__(self) -> str:
        low, high = float(self.values.min()), float(self.values.max())
        return (
            f"NeuronWeights({len(self.values)} {self.per}s of {self.fingerprint.architecture}, {low:.3g} to {high:.3g})"
        )

    def save(self, path: str | Path) -> Path:
        """Write the weights as ``.npz``; see `load_weights`."""
        return write_npz(path, "weights", {**_header(self), "per": self.per}, {"values": self.values.numpy()})


NeuronsLike = NeuronSelectionLike | NeuronSelection | str | Path
"""``{layer: indices}``, a `NeuronSelection`, or the path of its file."""

NeuronWeightsLike = Mapping[str, Any] | NeuronWeights | str | Path
"""``{layer: [neurons]}`` (or ``{layer: number}``), `NeuronWeights`, or the path of their file."""


def load_selection(path: str | Path) -> NeuronSelection:
    """Read a selection from a file written by `NeuronSelection.save`.

    Raises:
        ValueError: when the file is damaged, changed, of a newer schema, or holds something else.
    """
    file, arrays = read_npz(path, {"selection": _SelectionFile})
    return NeuronSelection(mask=torch.from_numpy(arrays["mask"]), **vars(file))


def load_weights(path: str | Path) -> NeuronWeights:
    """Read weights from a file written by `NeuronWeights.save`.

    Raises:
        ValueError: when the file is damaged, changed, of a newer schema, or holds something else.
    """
    file, arrays = read_npz(path, {"weights": _WeightsFile})
    with errors_of(str(path)):
        return NeuronWeights(values=torch.from_numpy(arrays["values"]), **vars(file))


def chosen_neurons(neurons: NeuronsLike | None, fingerprint: ExtractorFingerprint) -> NeuronSelectionLike | None:
    """What ``neurons=`` says, as ``{layer: indices}``.

    Raises:
        ValueError: when a selection is empty, or of another network; both sides are shown.
    """
    if isinstance(neurons, str | Path):
        neurons = load_selection(neurons)
    if not isinstance(neurons, NeuronSelection):
        return neurons
    _check_network("selection", neurons.fingerprint, fingerprint)
    if not len(neurons):
        raise ValueError(f"nothing to look at: {neurons!r}")
    return neurons.neurons


def chosen_weights(
    weights: NeuronWeightsLike | None, layout: NeuronLayout, fingerprint: ExtractorFingerprint, per: Per = "neuron"
) -> Tensor | None:
    """What ``weights=`` says of the compared neurons, ``[neurons]`` or with ``per="layer"`` ``[layers]`` float64.

    Raises:
        ValueError: when weights are of another network or of other neurons, missing, or not finite.
    """
    if weights is None:
        return None
    if isinstance(weights, str | Path):
        weights = load_weights(weights)
    if isinstance(weights, NeuronWeights):
        _check_network("weights", weights.fingerprint, fingerprint)
        found = [("what is weighed", f"{weights.per}s", f"{per}s")] if weights.per != per else []
        if weights.layout != layout:
            found.append(("neurons", _describe(weights.layout), _describe(layout)))
        refuse_differences("these weights do not fit", found, ("weights", "compared"))
        return weights.values
    flat = _weighed(layout, per).flatten(weights, what="weights")
    if not flat.isfinite().all():
        raise ValueError("weights must be finite")
    return flat


def _weighed(layout: NeuronLayout, per: Per) -> NeuronLayout:
    return layout if per == "neuron" else NeuronLayout(dict.fromkeys(layout, 1))


def _check_network(what: str, of: ExtractorFingerprint, extractor: ExtractorFingerprint) -> None:
    found = of.differences(extractor, precision=False)
    advice = f". Make the {what} with this extractor"
    refuse_differences("neurons of another network", found, (what, "extractor"), advice)


def _describe(layout: NeuronLayout) -> str:
    return ", ".join(
        f"{layer} {count}{' selected' if layer in layout.neurons else ''}" for layer, count in layout.items()
    )


def _header(value: NeuronSelection | NeuronWeights) -> dict[str, Any]:
    return {"layout": value.layout.to_json(), "fingerprint": value.fingerprint.to_json(), "made": dict(value.made)}


@dataclass(frozen=True)
class _SelectionFile:
    layout: NeuronLayout
    fingerprint: ExtractorFingerprint
    made: Mapping[str, Any]

    def arrays(self) -> dict[str, ArrayField]:
        return {"mask": ArrayField((self.layout.total,), "b1")}


@dataclass(frozen=True)
class _WeightsFile:
    layout: NeuronLayout
    fingerprint: ExtractorFingerprint
    made: Mapping[str, Any]
    per: Per

    def arrays(self) -> dict[str, ArrayField]:
        return {"values": ArrayField((_weighed(self.layout, self.per).total,), "f8")}
