"""Features that were computed elsewhere, in place of images and a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.extractors.directions import DirectionsLike, GivenDirections, as_directions, vectors_of
from vdna_metrics.extractors.spec import ExtractorSpec
from vdna_metrics.fingerprint import FEATURES, ExtractorFingerprint
from vdna_metrics.layout import NeuronLayout, check_type
from vdna_metrics.text import in_number_order

FeaturesLike = Tensor | NDArray[Any] | Mapping[str, Tensor | NDArray[Any]]
"""``[n, d]`` floats of one layer, or ``{layer: [n, d]}``."""

ONLY_LAYER = "features"  # name of a layer that has none, as in an .npy


@dataclass(frozen=True)
class PrecomputedFeatures:
    """Features that were computed elsewhere: an extractor that takes them as others take images.

    It is a value of ``extractor=``, not an argument beside it, so that every metric, builder and command that takes a
    network takes features by the same path, and knows as little of them. Each row counts like an image, each column
    like a neuron with one activation an image. Layers are kept in the order of their names, numbers in them by size,
    in whatever order they are given.

    Args:
        layers: ``{layer: number of columns}``.
        network: which network made them, in your words. Features of two networks are not compared; where one side does
            not say, they are.
        directions: ``{layer: number of directions, or these}`` to project layers on besides, see `create_extractor`.

    Raises:
        TypeError: for what is no mapping of whole numbers.
        ValueError: without layers, or for directions of one that is not there.

    Examples:
        >>> from vdna_metrics import NeuronFrechetDistance
        >>> metric = NeuronFrechetDistance(PrecomputedFeatures({"pool": 2}, network="my_vit"))
        >>> metric.update(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), real=True)
        >>> metric.update({"pool": torch.tensor([[1.0, 1.0], [1.0, 3.0]])})
        >>> metric.compute()
        tensor(0.5000)
        >>> metric.dna()
        VDNA(gaussian of 2 images of unknown source: 2 neurons in 1 layer of features:my_vit)
    """

    layers: Mapping[str, int] = field(hash=False)
    network: str = ""
    directions: DirectionsLike = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_type("layers", self.layers, Mapping, advice=": give {layer: number of columns}")
        check_type("network", self.network, str)
        ordered = {layer: self.layers[layer] for layer in sorted(self.layers, key=in_number_order)}
        object.__setattr__(self, "layers", dict(NeuronLayout(ordered)))
        object.__setattr__(self, "directions", as_directions(self.directions))
        self.layout.check_layers(self.directions, what="directions")
        for layer, given in self.directions.items():
            if isinstance(given, GivenDirections):
                given.vectors(self.layers[layer])

    @classmethod
    def of(cls, features: FeaturesLike, network: str = "") -> PrecomputedFeatures:
        """What takes features like these; rows without a name are of the layer ``"features"``.

        Examples:
            >>> PrecomputedFeatures.of({"block10": np.zeros((3, 2)), "block9": np.zeros((3, 4))})
            PrecomputedFeatures(layers={'block9': 4, 'block10': 2}, network='', directions={})
        """
        table = features if isinstance(features, Mapping) else {ONLY_LAYER: features}
        return cls({layer: _checked(layer, rows).shape[1] for layer, rows in table.items()}, network)

    @property
    def layout(self) -> NeuronLayout:
        """Layers and their numbers of columns."""
        return NeuronLayout(self.layers)

    @property
    def name(self) -> str:
        """By which DNAs and tables call it: ``"features"``, and the network."""
        return f"{FEATURES}{self.network}" if self.network else FEATURES.removesuffix(":")

    @property
    def spec(self) -> ExtractorSpec:
        """As a network that gives back what it gets: rows in which the layers lie beside each other."""
        places = {layer: f"[:, {rows.start}:{rows.stop}]" for layer, rows in self.layout.slices().items()}
        paths = {**places, **self._projected(places)}
        vectors = vectors_of(as_directions(self.directions))
        return ExtractorSpec(self.name, FEATURES + self.network, paths, None, preprocessing="none", vectors=vectors)

    def _projected(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Paths of directions on layers of some paths."""
        directions = as_directions(self.directions)
        return {each.layer(layer): each.path(paths[layer]) for layer, each in directions.items()}

    @property
    def fingerprint(self) -> ExtractorFingerprint:
        """Names of the network and the layers; nothing else is known of what made them."""
        # No weights tell the dimension of a layer that is projected.
        projected = self._projected({layer: f"{layer}[:, :{width}]" for layer, width in self.layers.items()})
        paths = {layer: layer for layer in self.layers} | projected
        vectors = vectors_of(as_directions(self.directions))
        return ExtractorFingerprint(FEATURES + self.network, "", "none", paths, vectors=vectors)

    def __call__(self, features: FeaturesLike, *, normalize: bool = False) -> Tensor:
        """Check a batch, and put its layers beside each other: ``[n, sum of all columns]``.

        Raises:
            TypeError: for what is no array of floats.
            ValueError: for other layers, or other numbers of columns or rows; with ``normalize``, which is for images.
        """
        if normalize:
            raise ValueError("normalize=True scales images, got precomputed features: leave it out")
        if not isinstance(features, Mapping):
            if len(self.layers) > 1:
                raise ValueError(f"expected {{layer: [n, d]}} of the layers {', '.join(self.layers)}, got one array")
            features = {next(iter(self.layers)): features}
        if set(features) != set(self.layers):
            raise ValueError(f"expected features of the layers {', '.join(self.layers)}, got {', '.join(features)}")
        rows = {layer: _checked(layer, features[layer], width) for layer, width in self.layers.items()}
        numbers = {layer: len(each) for layer, each in rows.items()}
        if len(set(numbers.values())) > 1:
            raise ValueError(f"expected as many rows in each layer, got {numbers}")
        return torch.cat(list(rows.values()), dim=1) if len(rows) > 1 else next(iter(rows.values()))

    # What batches of a source go through, as images through `Preprocessing`.
    def resize(self, rows: Tensor) -> Tensor:
        """Rows as they are."""
        return rows

    def normalise(self, rows: Tensor) -> Tensor:
        """Rows as they are."""
        return rows


def _checked(layer: str, features: Any, width: int | None = None) -> Tensor:
    """Rows of one layer ``[n, d]``."""
    rows = torch.from_numpy(np.asarray(features)) if isinstance(features, np.ndarray) else features
    expected = f"expected features of layer {layer!r} to be floats [n, {'d' if width is None else width}]"
    if not isinstance(rows, Tensor):
        raise TypeError(f"{expected}, got a {type(rows).__name__}")
    if not rows.is_floating_point() or rows.ndim != 2 or rows.shape[1] != (width or rows.shape[1]) or not rows.shape[1]:
        kind = TypeError if not rows.is_floating_point() else ValueError
        images = "; images need a network, extractor=NAME" if rows.ndim == 4 else ""
        raise kind(f"{expected}, got {str(rows.dtype).removeprefix('torch.')} {list(rows.shape)}{images}")
    return rows.detach()
