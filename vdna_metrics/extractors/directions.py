"""Layers whose neurons are projections of another layer on fixed directions."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.moments import image_means
from vdna_metrics.layout import check_count, check_type

_MARK = "@directions"
_PATH = re.compile(
    rf"(?P<base>.*){_MARK}\(n=(?P<n>\d{{1,5}}),(seed=(?P<seed>\d+),v=1|sha256=(?P<sha256>[0-9a-f]{{64}}))\)"
)
_MOST = 1 << 16
_SEEDS = 1 << 32


@dataclass(frozen=True)
class Directions:
    """Unit vectors of a layer's space, drawn evenly from its sphere; projections on them count like neurons.

    The first of ``n`` directions are those of a smaller ``n``.

    Args:
        n: how many.
        seed: of the draw.

    Raises:
        TypeError: for what is no whole number.
        ValueError: for ``n`` below 1 or above 65 536, or a seed that NumPy does not take.

    Examples:
        >>> Directions(2).vectors(3)
        array([[-0.86457235, -0.20481935, -0.45887217],
               [-0.5735145 , -0.11422194, -0.8111932 ]], dtype=float32)
        >>> Directions(64, seed=1).layer("layer4"), Directions(64, seed=1).path("layer4[1]")
        ('layer4@directions64.seed1', 'layer4[1]@directions(n=64,seed=1,v=1)')
    """

    n: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("directions", self.n)
        check_count("seed", self.seed, 0)
        if self.n > _MOST or self.seed >= _SEEDS:
            raise ValueError(f"expected at most {_MOST} directions, and a seed below {_SEEDS}, got {self}")

    def layer(self, base: str) -> str:
        """Name of the layer of projections of a layer."""
        return f"{base}{_MARK}{self.n}{f'.seed{self.seed}' if self.seed else ''}"

    def path(self, base: str) -> str:
        """Path of that layer: the one of the layer that is projected, and what these directions are."""
        return f"{base}{_MARK}(n={self.n},seed={self.seed},v=1)"

    def vectors(self, d: int) -> NDArray[np.float32]:
        """The vectors ``[n, d]``, the same bits on every machine.

        Uniform numbers become normal ones, and these are divided by their root of the sum of squares; only arithmetic
        that IEEE 754 rounds exactly decides values, no sum has an order, and logarithms are only compared with.

        Source:
            Kinderman and Monahan: Computer generation of random variables using the ratio of uniform deviates, ACM
            TOMS 1977.
        """
        check_count("d", d)
        found = np.empty((self.n, d), np.float32)
        for row, normal in zip(found, _normal(self.seed, self.n * d).reshape(self.n, d), strict=True):
            row[:] = normal / math.sqrt(math.fsum((normal * normal).tolist()))
        return found


@dataclass(frozen=True, eq=False, repr=False)
class GivenDirections:
    """Unit vectors of a layer's space that are given, as `principal_directions` does; a DNA made with them has them.

    Args:
        array: ``[n, d]`` floats, each row of norm 1; kept as float32.

    Raises:
        TypeError: for what is no array of floats.
        ValueError: for another shape, more than 65 536 rows, or rows whose norm is not 1 within 0.001.

    Examples:
        >>> GivenDirections(np.eye(2, 3))
        GivenDirections(n=2, d=3, sha256=ab43fbd0)
        >>> GivenDirections(np.eye(2, 3)).layer("layer4")
        'layer4@directions2.ab43fbd0'
    """

    array: NDArray[Any]

    def __post_init__(self) -> None:
        check_type("directions", self.array, np.ndarray)
        if self.array.dtype.kind != "f":
            raise TypeError(f"expected directions to be floats [n, d], got {self.array.dtype}")
        if self.array.ndim != 2 or not self.array.size or len(self.array) > _MOST:
            raise ValueError(f"expected directions [n, d] with n from 1 to {_MOST}, got {list(self.array.shape)}")
        norms = np.linalg.norm(self.array.astype("f8"), axis=1)
        if not (abs(norms - 1) < 1e-3).all():
            raise ValueError(f"expected unit vectors as directions, got norms from {norms.min():g} to {norms.max():g}")
        kept = np.array(self.array, "<f4", order="C")
        kept.setflags(write=False)
        object.__setattr__(self, "array", kept)

    @property
    def n(self) -> int:
        """How many."""
        return len(self.array)

    @cached_property
    def sha256(self) -> str:
        """Of their numbers, by which paths name them."""
        return hashlib.sha256(self.array.tobytes()).hexdigest()

    @property
    def text(self) -> str:
        """Their numbers as base64, as fingerprints have them."""
        return base64.b64encode(self.array.tobytes()).decode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GivenDirections):
            return NotImplemented
        return self.array.shape == other.array.shape and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"GivenDirections(n={self.n}, d={self.array.shape[1]}, sha256={self.sha256[:8]})"

    def layer(self, base: str) -> str:
        """Name of the layer of projections of a layer."""
        return f"{base}{_MARK}{self.n}.{self.sha256[:8]}"

    def path(self, base: str) -> str:
        """Path of that layer."""
        return f"{base}{_MARK}(n={self.n},sha256={self.sha256})"

    def vectors(self, d: int) -> NDArray[np.float32]:
        """The vectors ``[n, d]``.

        Raises:
            ValueError: for another ``d`` than theirs.
        """
        if d != self.array.shape[1]:
            raise ValueError(f"expected directions of {d} neurons, got {self}")
        return np.array(self.array, np.float32)


AnyDirections = Directions | GivenDirections
DirectionsLike = Mapping[str, "int | AnyDirections | NDArray[Any]"]
"""``{layer: number of directions, Directions, GivenDirections or their vectors [n, d]}``."""


def _normal(seed: int, count: int) -> NDArray[np.float64]:
    """The first of an endless row of normal numbers."""
    stream, found, missing = np.random.RandomState(seed), list[NDArray[np.float64]](), count
    while missing > 0:
        u, v = 1 - stream.random_sample((missing + 16, 2)).T
        x = 0.86 * (2 * v - 1) / u  # 0.86 is above the root of 2 / e, which is all that it has to be
        found.append(x[x * x <= -4 * np.log(u)])
        missing -= len(found[-1])
    return np.concatenate(found)[:count]


def as_directions(given: DirectionsLike | None) -> dict[str, AnyDirections]:
    """What a user gives as ``directions=``, checked.

    Raises:
        TypeError: for what is no mapping of whole numbers, `Directions` or vectors.

    Examples:
        >>> as_directions({"layer4": 64})
        {'layer4': Directions(n=64, seed=0)}
    """
    check_type("directions", given or {}, Mapping, advice=": give {layer: number of directions}")
    return {layer: _checked(each) for layer, each in (given or {}).items()}


def _checked(given: Any) -> AnyDirections:
    if isinstance(given, Directions | GivenDirections):
        return given
    return GivenDirections(given) if isinstance(given, np.ndarray) else Directions(given)


def vectors_of(directions: Mapping[str, AnyDirections]) -> dict[str, str]:
    """What a spec or fingerprint has as ``vectors``, of those that are given."""
    return {each.sha256: each.text for each in directions.values() if isinstance(each, GivenDirections)}


def is_projected(path: str) -> bool:
    """Whether a path is of directions."""
    return _MARK in path


def features_layer(layers: Iterable[str]) -> str:
    """The layer that features are of where none is named: the last one that is no layer of directions, if there is one.

    Examples:
        >>> features_layer(["layer3", "layer4", "layer4@directions64"])
        'layer4'
    """
    named = list(layers)
    return next((layer for layer in reversed(named) if _MARK not in layer), named[-1])


def split_directions(path: str, vectors: Mapping[str, str] = MappingProxyType({})) -> tuple[str, AnyDirections | None]:
    """The path of the layer that is projected, and on what; the path itself where it is not of directions.

    Args:
        path: of the layer.
        vectors: of a spec or fingerprint, where directions that are given are looked up.

    Raises:
        ValueError: for directions of another version, or of directions, or whose vectors are not there.

    Examples:
        >>> split_directions("stage4[1]@directions(n=64,seed=0,v=1)")
        ('stage4[1]', Directions(n=64, seed=0))
        >>> split_directions("stage4[1]")
        ('stage4[1]', None)
    """
    match = _PATH.fullmatch(path)
    if _MARK in (path if match is None else match["base"]):
        raise ValueError(
            f"{path!r}: expected LAYER{_MARK}(n=64,seed=0,v=1), or sha256=... in place of seed and version, and no "
            "directions of directions"
        )
    if match is None:
        return path, None
    n, sha256 = int(match["n"]), match["sha256"]
    return match["base"], Directions(n, int(match["seed"])) if sha256 is None else _looked_up(path, n, sha256, vectors)


def _looked_up(path: str, n: int, sha256: str, vectors: Mapping[str, str]) -> GivenDirections:
    if sha256 not in vectors:
        raise ValueError(f"{path!r}: nobody says these vectors; give them by directions=, or a DNA that has them")
    numbers = base64.b64decode(vectors[sha256], validate=True)
    if not n or len(numbers) % (4 * n):
        raise ValueError(f"{path!r}: expected {n} vectors of float32, got {len(numbers)} bytes")
    found = GivenDirections(np.frombuffer(numbers, "<f4").reshape(n, -1))
    if found.sha256 != sha256:
        raise ValueError(f"{path!r}: its vectors have the sha256 {found.sha256[:12]}")
    return found


def directions_of(seen: ExtractorFingerprint) -> dict[str, AnyDirections]:
    """What was given as ``directions=`` for the layers of an extractor, by what a fingerprint says of them.

    Examples:
        >>> paths = {"a": "conv", "a@directions8": "conv@directions(n=8,seed=0,v=1)"}
        >>> directions_of(ExtractorFingerprint("resnet18", "", "clean", paths))
        {'a': Directions(n=8, seed=0)}
    """
    found = {}
    for name, path in seen.paths.items():
        layer, directions = name.partition(_MARK)[0], split_directions(path, seen.vectors)[1]
        if directions is not None and name == directions.layer(layer):
            found[layer] = directions
    return found


def project(activations: Tensor, vectors: Tensor) -> Tensor:
    """Projections of each image's mean over positions.

    In float64, of which so little is lost when it is rounded to float32 that an image gives the same bits in any batch
    and on any device; neither TF32 nor a surrounding autocast has a part in it.

    Args:
        activations: ``[d, images, positions]``.
        vectors: ``[n, d]`` float64, on their device (on the CPU for MPS).

    Returns:
        ``[n, images, 1]`` float32.
    """
    projected = image_means(activations) @ vectors.t()
    return projected.to(torch.float32).to(activations.device).t().unsqueeze(-1)
