"""Which neurons there are: an ordered layer -> neuron count, and selections of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Integral
from typing import Annotated, Any, get_args

import torch
from torch import Tensor

from vdna_metrics.schema import Count, Distinct, Positive

NeuronSelectionLike = Mapping[str, "Sequence[int] | Tensor"]


def near_names(name: str, known: Sequence[str]) -> str:
    """Say which known names are near an unknown one, for error messages.

    Those that have it as a part of theirs come first, then those that are spelled alike.

    Examples:
        >>> near_names("blok_1", ["block_0", "block_1"])
        "did you mean 'block_1' or 'block_0'?"
        >>> near_names("layer4", ["encoder.layer4", "encoder.layer4.0", "head"])
        "did you mean 'encoder.layer4' or 'encoder.layer4.0'?"
    """
    part = re.compile(rf"(?<![a-z0-9]){re.escape(name)}", re.IGNORECASE)
    parts = sorted((each for each in known if name and part.search(each)), key=len)
    alike = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near = list(dict.fromkeys([*parts, *alike]))[:3]
    if near:
        return f"did you mean {' or '.join(repr(n) for n in near)}?"
    shown = ", ".join(list(known)[:8]) + (", ..." if len(known) > 8 else "")
    return f"known: {shown or 'none'}"


def check_type(what: str, value: object, *types: type, advice: str = "") -> None:
    """Raise ``TypeError`` for an argument that is of none of some types.

    Examples:
        >>> check_type("layers", 5, list, str)
        Traceback (most recent call last):
        TypeError: expected layers to be list or str, got the int 5
    """
    if not isinstance(value, types):
        shown = repr(value)
        got = f"the {type(value).__name__} {shown}" if len(shown) < 60 else f"a {type(value).__name__}"
        raise TypeError(f"expected {what} to be {' or '.join(each.__name__ for each in types)}, got {got}{advice}")


def check_choice(what: str, value: object, choices: object) -> None:
    """Raise ``ValueError`` for what is none of the values of a ``Literal``.

    Examples:
        >>> from typing import Literal
        >>> check_choice("colour", "blue", Literal["red", "green"])
        Traceback (most recent call last):
        ValueError: unknown colour 'blue'; known: red, green
    """
    if value not in get_args(choices):
        raise ValueError(f"unknown {what} {value!r}; known: {', '.join(get_args(choices))}")


def check_count(what: str, value: object, least: int = 1) -> None:
    """Raise ``TypeError`` for what is no whole number, ``ValueError`` for one that is too small.

    Examples:
        >>> check_count("draws", 0)
        Traceback (most recent call last):
        ValueError: expected draws of at least 1, got 0
    """
    if type(value) is bool or not isinstance(value, Integral):
        raise TypeError(f"expected {what} to be a whole number, got {value!r}")
    if int(value) < least:
        raise ValueError(f"expected {what} of at least {least}, got {value}")


def check_names(what: str, names: object) -> None:
    """Raise ``TypeError`` for what is no sequence of names, as a string, which is one of its letters.

    Examples:
        >>> check_names("kinds", "gaussian")
        Traceback (most recent call last):
        TypeError: expected kinds to be a sequence of names, got 'gaussian': write ['gaussian']
    """
    if isinstance(names, str):
        raise TypeError(f"expected {what} to be a sequence of names, got {names!r}: write [{names!r}]")
    check_type(what, names, Sequence)


_NAME = 1000  # letters of a layer's name, which errors and tables show


@dataclass(frozen=True)
class NeuronLayout(Mapping[str, int]):
    """Ordered mapping of layer name to its number of neurons.

    Args:
        layers: ``{layer: number of neurons}`` in the order of the network.
        neurons: for layers of which only some neurons are kept, the indices of those neurons in the
            full layer. Layers that are absent here are complete.

    Examples:
        >>> layout = NeuronLayout({"conv1": 4, "conv2": 2})
        >>> layout.total, layout.slices()["conv2"]
        (6, slice(4, 6, None))
        >>> layout.select(neurons={"conv1": [3, 1]})
        NeuronLayout(layers={'conv1': 2}, neurons={'conv1': (3, 1)})
    """

    layers: Mapping[str, Positive]
    neurons: Mapping[str, Annotated[tuple[Count, ...], Distinct]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layers = dict(self.layers)
        if not layers:
            raise ValueError("a layout needs at least one layer, got none")
        for layer, count in layers.items():
            if len(layer) > _NAME:
                raise ValueError(f"expected names of layers of at most {_NAME} letters, got {layer[:80]!r}...")
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"layer {layer!r} needs at least one neuron, got {count!r}")
        neurons = {layer: tuple(int(i) for i in indices) for layer, indices in self.neurons.items()}
        for layer, indices in neurons.items():
            if len(indices) != layers.get(layer):
                raise ValueError(f"layer {layer!r} has {layers.get(layer)} neurons but {len(indices)} neuron indices")
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "neurons", neurons)

    def __getitem__(self, layer: str) -> int:
        return self.layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __eq__(self, other: object) -> bool:
        # Mapping's own equality ignores the order of layers, which decides where a neuron's state lies.
        if not isinstance(other, NeuronLayout):
            return NotImplemented
        return list(self.items()) == list(other.items()) and self.neurons == other.neurons

    def __hash__(self) -> int:
        return hash((tuple(self.items()), tuple(sorted(self.neurons.items()))))

    @property
    def total(self) -> int:
        """Number of neurons over all layers."""
        return sum(self.layers.values())

    def slices(self) -> dict[str, slice]:
        """Rows of each layer in a flat ``[neurons, ...]`` tensor."""
        slices, start = {}, 0
        for layer, count in self.layers.items():
            slices[layer] = slice(start, start + count)
            start += count
        return slices

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """``[neurons, ...]`` -> ``{layer: [layer neurons, ...]}`` views."""
        if flat.shape[0] != self.total:
            raise ValueError(f"the layout has {self.total} neurons, the tensor {flat.shape[0]} rows")
        return {layer: flat[rows] for layer, rows in self.slices().items()}

    def flatten(self, per_layer: Mapping[str, Any], *, what: str = "values") -> Tensor:
        """``{layer: [layer neurons]}`` (sequences, arrays or tensors) -> flat ``[neurons]`` float64."""
        check_type(what, per_layer, Mapping)
        self.check_layers(per_layer, what=what)
        parts = []
        for layer, count in self.items():
            if layer not in per_layer:
                raise ValueError(f"{what} miss layer {layer!r}; they have: {', '.join(per_layer)}")
            part = torch.as_tensor(per_layer[layer], dtype=torch.float64, device="cpu").detach().flatten()
            if part.numel() != count:
                raise ValueError(f"{what} of layer {layer!r}: {part.numel()} given, the layer has {count} neurons")
            parts.append(part)
        return torch.cat(parts)

    def check_layers(self, names: Sequence[str] | Mapping[str, Any], *, what: str) -> None:
        """Raise ``ValueError``, naming near ones, when a layer is not in the layout."""
        check_type(what, names, Collection)
        for name in names:
            check_type(f"a layer of {what}", name, str)
            if name not in self.layers:
                raise ValueError(f"{what}: unknown layer {name!r}; {near_names(name, list(self.layers))}")

    def select(self, layers: Sequence[str] | None = None, neurons: NeuronSelectionLike | None = None) -> NeuronLayout:
        """Keep some layers and, of them, some neurons.

        Args:
            layers: names of the layers to keep; ``None`` keeps those named in ``neurons``, or all.
            neurons: ``{layer: indices in the full layer}``; a layer that is kept but absent here is kept whole.

        Raises:
            ValueError: for unknown layers, indices out of range, repeated or empty indices.
            TypeError: for indices that are not integers, masks for example.
        """
        layers = [layers] if isinstance(layers, str) else layers
        self.check_layers([] if layers is None else layers, what="layers")
        check_type("neurons", {} if neurons is None else neurons, Mapping, advice=": give {layer: indices}")
        self.check_layers(neurons or {}, what="neurons")
        if layers is None:
            layers = list(neurons) if neurons else list(self.layers)
        for layer in neurons or {}:
            if layer not in layers:
                raise ValueError(f"neurons are given for layer {layer!r}, which layers={list(layers)} leaves out")
        kept: dict[str, int] = {}
        kept_neurons: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:  # network order, whatever the order asked for
            if layer not in layers:
                continue
            present = self.neurons.get(layer) or range(self.layers[layer])
            if neurons is None or layer not in neurons:
                wanted = tuple(present)
            else:
                wanted = _whole_numbers(layer, neurons[layer])
                missing = sorted(set(wanted).difference(present))
                if missing:
                    raise ValueError(
                        f"layer {layer!r} has no neuron {missing[0]}; it has {self.layers[layer]} neurons"
                        + (" (a selection)" if layer in self.neurons else f", 0 to {self.layers[layer] - 1}")
                    )
                if not wanted or len(set(wanted)) != len(wanted):
                    raise ValueError(f"neurons of layer {layer!r} must be distinct and not empty, got {list(wanted)}")
            kept[layer] = len(wanted)
            if layer in self.neurons or wanted != tuple(present):
                kept_neurons[layer] = wanted
        return NeuronLayout(kept, kept_neurons)

    def index_of(self, selection: NeuronLayout) -> dict[str, Tensor]:
        """Positions of a selection's neurons in this layout's layers, ``{layer: [selected] int64}``."""
        positions = {}
        for layer, count in selection.items():
            wanted = selection.neurons.get(layer) or tuple(range(count))
            place = {neuron: i for i, neuron in enumerate(self.neurons.get(layer) or range(self.layers[layer]))}
            positions[layer] = torch.tensor([place[neuron] for neuron in wanted], dtype=torch.int64, device="cpu")
        return positions

    def locate(self, bad: Tensor) -> str:
        """Where some neurons are, for error messages.

        Examples:
            >>> NeuronLayout({"conv": 2}).locate(torch.tensor([True, False]))
            "1 neuron of layer 'conv'"
        """
        counts = {layer: int(part.sum()) for layer, part in self.split(bad).items()}
        layers = [f"{count} neuron{'s' * (count > 1)} of layer {layer!r}" for layer, count in counts.items() if count]
        return ", ".join(layers[:4]) + (", ..." if len(layers) > 4 else "")

    def neuron_at(self, row: int) -> tuple[str, int]:
        """Layer of a row of flat ``[neurons, ...]`` tensors, and index of its neuron in the full layer.

        Examples:
            >>> NeuronLayout({"a": 2, "b": 1}, {"b": (7,)}).neuron_at(2)
            ('b', 7)
        """
        layer, rows = next((layer, rows) for layer, rows in self.slices().items() if row < rows.stop)
        place = row - rows.start
        return layer, self.neurons[layer][place] if layer in self.neurons else place

    def rows_of(self, selection: NeuronLayout) -> Tensor:
        """Rows of a selection's neurons in this layout's flat ``[neurons, ...]`` tensors, ``[selected] int64``."""
        starts = {layer: rows.start for layer, rows in self.slices().items()}
        return torch.cat([starts[layer] + index for layer, index in self.index_of(selection).items()])

    def pick(self, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of full layers' activations ``{layer: [neurons, ...]}``, those of this layout's layers and neurons.

        Examples:
            >>> NeuronLayout({"conv": 2}, {"conv": (3, 1)}).pick({"conv": torch.arange(4.0)})
            {'conv': tensor([3., 1.])}
        """
        picked = {}
        for layer in self:
            x, indices = activations[layer], self.neurons.get(layer)
            picked[layer] = x if indices is None else x.index_select(0, _index(indices, x.device))
        return picked

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for file headers; pairs, whose order the checksum holds."""
        return {
            "layers": [[layer, count] for layer, count in self.items()],
            "neurons": {layer: list(indices) for layer, indices in self.neurons.items()},
        }


def _whole_numbers(layer: str, indices: Sequence[int] | Tensor) -> tuple[int, ...]:
    tensor = torch.as_tensor(indices, device="cpu").flatten()
    if tensor.dtype == torch.bool or (len(tensor) and tensor.is_floating_point()):
        raise TypeError(
            f"neurons of layer {layer!r} must be indices, got {tensor.dtype}"
            + ("; mask.nonzero() gives those of a mask" if tensor.dtype == torch.bool else "")
        )
    return tuple(int(i) for i in tensor.tolist())


@lru_cache(maxsize=256)
def _index(indices: tuple[int, ...], device: torch.device) -> Tensor:
    # Kept on the device: a copy a batch would make the host wait for it.
    return torch.tensor(indices, device=device)
