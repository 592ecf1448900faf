"""What was looked through: the identity of a frozen network and of its preprocessing."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, Protocol

from vdna_metrics.schema import Check

Precision = Literal["fp32", "tf32", "bf16", "fp16"]

MODULE = "module:"
"""Begins the architecture of a network that the user brought as a ``torch.nn.Module``; its class's path follows."""

FEATURES = "features:"
"""Begins the architecture of features that were computed elsewhere; the network's name follows, where it is told."""

_PRECISION = "precisions"
_TOLERANCE = 1e-3  # float32 on other CPUs and GPUs differs by a hundredth of this, half precision by more

_Deviation = Annotated[float, Check("a number from 0", lambda deviation: deviation >= 0)]
Moments = tuple[float, _Deviation]
"""Mean and standard deviation."""


@dataclass(frozen=True)
class Response:
    """What a network answers to a probe image: tells another forward that has the same weights.

    Args:
        probe: size of the image and the beginning of its sha256; responses to different images are not compared.
        moments: of all activations of each layer, in float32 without TF32 on any device.

    Examples:
        >>> a = Response("64x64:f9c0", {"conv": (0.001, 1.0)})
        >>> a.differences(Response("64x64:f9c0", {"conv": (0.0014, 1.0)}))
        []
        >>> a.differences(Response("64x64:f9c0", {"conv": (0.001, 0.9)}))
        [("responses of layer 'conv'", 'mean 0.001, deviation 1', 'mean 0.001, deviation 0.9')]
    """

    probe: str
    moments: Mapping[str, Moments]

    def differences(self, other: Response) -> list[tuple[str, str, str]]:
        """The first layer whose responses differ, as `ExtractorFingerprint.differences` has it."""
        if self.probe != other.probe:
            return []
        for layer, here in self.moments.items():
            there = other.moments.get(layer, here)
            if moments_differ(here, there):
                shown = ["mean {:.6g}, deviation {:.6g}".format(*moments) for moments in (here, there)]
                return [(f"responses of layer {layer!r}", *shown)]  # type: ignore[list-item]
        return []


def moments_differ(a: Moments, b: Moments) -> bool:
    """Whether two responses of a layer differ by more than rounding: by 0.001 of the activations' root mean square.

    Rounding errors are of the size of the activations, not of their mean, which may be near 0.
    """
    scale = max(math.hypot(*a), math.hypot(*b))
    return any(abs(here - there) > _TOLERANCE * scale for here, there in zip(a, b, strict=True))


@dataclass(frozen=True)
class ExtractorFingerprint:
    """Architecture, layer paths, weights, preprocessing, execution and response of an extractor.

    Two DNAs may only be compared when these agree; layer paths need to agree on the compared layers only, so that
    a selection of layers stays comparable with the whole. Options change activations by rounding alone: they are
    recorded, and need not agree. Of two modules of users the class's path need not agree either, since a class that
    was moved, renamed or run as ``__main__`` is the same network; what its forward does, the response tells.

    Args:
        architecture: architecture name with its arguments; ``"module:"`` and the class's path; ``"features:"`` and what
            the user says of the network, for features that were computed elsewhere.
        weights: sha256 over names, types, shapes and bytes of all weights; ``""`` where a file of others does not
            record them, which are then not compared.
        preprocessing: preprocessing id.
        paths: ``{layer: module path}``.
        precision: in which the network computes, ``"fp32"``, ``"tf32"``, ``"bf16"`` or ``"fp16"``.
        options: how else it is run, of ``"channels_last"`` and ``"compile"``.
        response: what it answers to a probe; ``None`` where that is not known, and then not compared. Numbers differ in
            their last digits from machine to machine, so it is no part of equality, nor of the digest.
        vectors: ``{sha256: float32 numbers as base64}`` of the directions that paths name by their sha256, so that who
            has the fingerprint can project on them; others are left out. No part of equality either, paths are.

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
    response: Response | None = field(default=None, compare=False)
    vectors: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", dict(self.paths))
        object.__setattr__(self, "vectors", named_vectors(self.vectors, self.paths))
        object.__setattr__(self, "options", tuple(self.options))

    @property
    def digest(self) -> str:
        """sha256 of all parts but the response and the vectors, as hexadecimal text."""
        stated = replace(self, response=None, vectors={}).to_json()
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()

    @property
    def is_module(self) -> bool:
        """Whether it is of a module that a user brought, which has no name that could be built again."""
        return self.architecture.startswith(MODULE)

    @property
    def is_features(self) -> bool:
        """Whether it is of features that were computed elsewhere."""
        return self.architecture.startswith(FEATURES)

    @property
    def compared(self) -> ExtractorFingerprint:
        """What has to agree word for word: without options, a module's class, and the response."""
        return replace(self, architecture=MODULE if self.is_module else self.architecture, options=(), response=None)

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
        moments = {} if self.response is None else self.response.moments
        kept = {layer: moments[layer] for layer in layers if layer in moments}
        return replace(
            self,
            paths={layer: self.paths[layer] for layer in layers},
            response=None if self.response is None else replace(self.response, moments=kept),
        )

    def differences(self, other: ExtractorFingerprint, *, precision: bool = True) -> list[tuple[str, str, str]]:
        """``(what, here, there)`` for each part that differs; weights and responses are compared where both are known.

        Layers that one side lacks are not compared. Of two modules the classes are shown beside other differences.

        Args:
            other: the other side.
            precision: whether another precision is a difference, as it is for distances; activation ranges only say
                where bins lie, and serve every precision.
        """
        found = []
        if self.weights and other.weights and self.weights != other.weights:
            found.append(("weights", self.weights[:12], other.weights[:12]))
        if self.preprocessing != other.preprocessing:
            found.append(("preprocessing", self.preprocessing, other.preprocessing))
        if precision and self.precision != other.precision:
            found.append((_PRECISION, self.precision, other.precision))
        for layer, path in self.paths.items():
            if other.paths.get(layer, path) != path:
                found.append((f"module path of layer {layer!r}", path, other.paths[layer]))
        if not found and self.response is not None and other.response is not None:
            found += self.response.differences(other.response)
        if self.architecture != other.architecture and (found or not self._may_be_one(other)):
            found.insert(0, ("architecture", self.architecture, other.architecture))
        return found

    def _may_be_one(self, other: ExtractorFingerprint) -> bool:
        """Whether other names may stand for one network: of modules any, of features where a side has none."""
        unnamed = FEATURES in (self.architecture, other.architecture)
        return (self.is_features and other.is_features and unnamed) or (self.is_module and other.is_module)

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for file headers; without what is not there and fp32, as files began."""
        data = asdict(self)
        if self.response is None:
            del data["response"]
        if self.precision == "fp32":
            del data["precision"]
        if not self.options:
            del data["options"]
        if not self.vectors:
            del data["vectors"]
        return data


def named_vectors(vectors: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """Those of ``{sha256: vectors}`` that layer paths name."""
    return {sha256: text for sha256, text in vectors.items() if any(sha256 in path for path in paths.values())}


def common_fingerprint(fingerprints: Sequence[ExtractorFingerprint]) -> ExtractorFingerprint:
    """Of the sum of DNAs: weights and response are known where all of them know theirs."""
    first = next((each for each in fingerprints if not each.weights), fingerprints[0])
    return first if all(each.response is not None for each in fingerprints) else replace(first, response=None)


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
