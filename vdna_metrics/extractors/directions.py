"""Layers whose neurons are projections of another layer on fixed directions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.functional.moments import image_means
from vdna_metrics.layout import check_count, check_type

_MARK = "@directions"
_PATH = re.compile(rf"(?P<base>.*){_MARK}\(n=(?P<n>\d+),seed=(?P<seed>\d+),v=1\)")
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


DirectionsLike = Mapping[str, "int | Directions"]
"""``{layer: number of directions, or Directions}``."""


def _normal(seed: int, count: int) -> NDArray[np.float64]:
    """The first of an endless row of normal numbers."""
    stream, found, missing = np.random.RandomState(seed), list[NDArray[np.float64]](), count
    while missing > 0:
        u, v = 1 - stream.random_sample((missing + 16, 2)).T
        x = 0.86 * (2 * v - 1) / u  # 0.86 is above the root of 2 / e, which is all that it has to be
        found.append(x[x * x <= -4 * np.log(u)])
        missing -= len(found[-1])
    return np.concatenate(found)[:count]


def as_directions(given: DirectionsLike | None) -> dict[str, Directions]:
    """What a user gives as ``directions=``, checked.

    Raises:
        TypeError: for what is no mapping of whole numbers or `Directions`.

    Examples:
        >>> as_directions({"layer4": 64})
        {'layer4': Directions(n=64, seed=0)}
    """
    check_type("directions", given or {}, Mapping, advice=": give {layer: number of directions}")
    return {layer: each if isinstance(each, Directions) else Directions(each) for layer, each in (given or {}).items()}


def split_directions(path: str) -> tuple[str, Directions | None]:
    """The path of the layer that is projected, and on what; the path itself where it is not of directions.

    Raises:
        ValueError: for directions of another version, or of directions.

    Examples:
        >>> split_directions("stage4[1]@directions(n=64,seed=0,v=1)")
        ('stage4[1]', Directions(n=64, seed=0))
        >>> split_directions("stage4[1]")
        ('stage4[1]', None)
    """
    match = _PATH.fullmatch(path)
    if _MARK in (path if match is None else match["base"]):
        raise ValueError(f"{path!r}: expected LAYER{_MARK}(n=64,seed=0,v=1), and no directions of directions")
    return (path, None) if match is None else (match["base"], Directions(int(match["n"]), int(match["seed"])))


def directions_of(paths: Mapping[str, str]) -> dict[str, Directions]:
    """What was given as ``directions=`` for the layers of an extractor, by what a fingerprint says of them.

    Examples:
        >>> directions_of({"a": "conv", "a@directions8": "conv@directions(n=8,seed=0,v=1)"})
        {'a': Directions(n=8, seed=0)}
    """
    found = {}
    for name, path in paths.items():
        layer, directions = name.partition(_MARK)[0], split_directions(path)[1]
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
