"""What was looked through: the identity of a frozen network and of its preprocessing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

Precision = Literal["fp32", "tf32", "bf16", "fp16"]


_PRECISION = "precisions"


@dataclass(frozen=True)
class ExtractorFingerprint:
    """Architecture, layer paths, weights, preprocessing and execution of an extractor.

    Two DNAs may only be compared when these agree; layer paths need to agree on the compared layers only, so that
    a selection of layers stays comparable with the whole. Options change activations by rounding alone: they are
    recorded, and need not agree.

    Args:
        architecture: architecture name with its arguments.
        weights: sha256 over names, types, shapes and bytes of all weights; ``""`` where a file of others does not
            record them, which are then not compared.
        preprocessing: preprocessing id.
        paths: ``{layer: module path}``.
        precision: in which the network computes, ``"fp32"``, ``"tf32"``, ``"bf16"`` or ``"fp16"``.
        options: how else it is run, of ``"channels_last"`` and ``"compile"``.

    Examples:
        >>> a = ExtractorFingerprint("resnet18", "aa" * 32, "clean", {"l1": "layer1"})
        >>> a.differences(ExtractorFingerprint("resnet18", "bb" * 32, "clean", {"l1": "layer1"}))
        [('weights', 'aaaaaaaaaaaa', 'bbbbbbbbbbbb')]
        >>> a.differences(ExtractorFingerprint("resnet18", "", "clean", {"l1": "layer1"}))
        []
    """

    architecture: str
    weights: str
    preprocessing: str
    paths: Mapping[str, str] = field(hash=False)
    precision: Precision = "fp32"
    options: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", dict(self.paths))
        object.__setattr__(self, "options", tuple(self.options))

    @property
    def digest(self) -> str:
        """sha256 of all parts, as hexadecimal text."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.architecture} ({self.digest[:12]})"

    def select(self, layers: Sequence[str]) -> ExtractorFingerprint:
        """Keep the paths of some layers.

        Raises:
            ValueError: when the extractor does not look at one of them.
        """
        unknown = [layer for layer in layers if layer not in self.paths]
        if unknown:
            raise ValueError(f"{self.architecture} has no layer {unknown[0]!r}; its layers: {', '.join(self.paths)}")
        return replace(self, paths={layer: self.paths[layer] for layer in layers})

    def differences(self, other: ExtractorFingerprint, *, precision: bool = True) -> list[tuple[str, str, str]]:
        """``(what, here, there)`` for each part that differs; paths are compared on common layers, weights if known.

        Args:
            other: the other side.
            precision: whether another precision is a difference, as it is for distances; activation ranges only say
                where bins lie, and serve every precision.
        """
        found = []
        if self.architecture != other.architecture:
            found.append(("architecture", self.architecture, other.architecture))
        if self.weights and other.weights and self.weights != other.weights:
            found.append(("weights", self.weights[:12], other.weights[:12]))
        if self.preprocessing != other.preprocessing:
            found.append(("preprocessing", self.preprocessing, other.preprocessing))
        if precision and self.precision != other.precision:
            found.append((_PRECISION, self.precision, other.precision))
        for layer, path in self.paths.items():
            if other.paths.get(layer, path) != path:
                found.append((f"module path of layer {layer!r}", path, other.paths[layer]))
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for file headers; without a precision of fp32 and without options, as files began."""
        data = asdict(self)
        if self.precision == "fp32":
            del data["precision"]
        if not self.options:
            del data["options"]
        return data


class HasFingerprint(Protocol):
    """Anything that knows its extractor fingerprint: a spec, an extractor or a DNA."""

    @property
    def fingerprint(self) -> ExtractorFingerprint:
        """The fingerprint."""


def refuse_differences(
    problem: str, found: list[tuple[str, str, str]], names: tuple[str, str] = ("first", "second"), advice: str = ""
) -> None:
    """Raise ``ValueError``, showing both sides, where differences were found."""
    if found:
        raise ValueError(f"{problem}: {describe_differences(found, names)}{advice}")


def describe_differences(found: list[tuple[str, str, str]], names: tuple[str, str] = ("first", "second")) -> str:
    """One clause a difference, showing both sides.

    Examples:
        >>> describe_differences([("bins", "1000", "500")], ("reference", "generated"))
        'bins differ: reference 1000, generated 500'
    """
    text = "; ".join(f"{what} differ: {names[0]} {a}, {names[1]} {b}" for what, a, b in found)
    if any(what == _PRECISION for what, _, _ in found):
        text += "; make both with one precision, it moves the distance"
    return text
