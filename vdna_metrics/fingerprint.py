"""What was looked through: the identity of a frozen network and of its preprocessing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class ExtractorFingerprint:
    """Architecture, layer paths, weights and preprocessing of an extractor.

    Two DNAs may only be compared when these agree; layer paths need to agree on the compared layers only, so that
    a selection of layers stays comparable with the whole.

    Args:
        architecture: architecture name with its arguments.
        weights: sha256 over names, types, shapes and bytes of all weights.
        preprocessing: preprocessing id.
        paths: ``{layer: module path}``.

    Examples:
        >>> a = ExtractorFingerprint("resnet18", "aa" * 32, "clean", {"l1": "layer1"})
        >>> a.differences(ExtractorFingerprint("resnet18", "bb" * 32, "clean", {"l1": "layer1"}))
        [('weights', 'aaaaaaaaaaaa', 'bbbbbbbbbbbb')]
    """

    architecture: str
    weights: str
    preprocessing: str
    paths: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", dict(self.paths))

    @property
    def digest(self) -> str:
        """sha256 of all parts, as hexadecimal text."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

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

    def differences(self, other: ExtractorFingerprint) -> list[tuple[str, str, str]]:
        """``(what, here, there)`` for each part that differs; paths are compared on common layers."""
        found = []
        if self.architecture != other.architecture:
            found.append(("architecture", self.architecture, other.architecture))
        if self.weights != other.weights:
            found.append(("weights", self.weights[:12], other.weights[:12]))
        if self.preprocessing != other.preprocessing:
            found.append(("preprocessing", self.preprocessing, other.preprocessing))
        for layer, path in self.paths.items():
            if other.paths.get(layer, path) != path:
                found.append((f"module path of layer {layer!r}", path, other.paths[layer]))
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for file headers."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExtractorFingerprint:
        """Inverse of `to_json`."""
        return cls(**data)


def describe_differences(found: list[tuple[str, str, str]], names: tuple[str, str] = ("first", "second")) -> str:
    """One clause a difference, showing both sides.

    Examples:
        >>> describe_differences([("bins", "1000", "500")], ("reference", "generated"))
        'bins differ: reference 1000, generated 500'
    """
    return "; ".join(f"{what} differ: {names[0]} {a}, {names[1]} {b}" for what, a, b in found)
