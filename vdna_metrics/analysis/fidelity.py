"""Fidelity and diversity of generated images, beside their distance from real ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vdna_metrics.build.passes import ActivationBatch, run_pass
from vdna_metrics.build.reading import DEFAULT_READING, NumberedImages, Reading, StateSize, check_memory, open_numbered
from vdna_metrics.extractors.registry import ExtractorLike, create_extractor
from vdna_metrics.fingerprint import ExtractorFingerprint, describe_differences
from vdna_metrics.functional.kernels import kernel_distance, vendi_score
from vdna_metrics.functional.moments import image_means
from vdna_metrics.functional.neighbours import density_coverage, precision_recall

SUBSET_SIZE = 1000
"""Images in a subset of the kernel distance where there are twice as many."""


@dataclass(frozen=True, eq=False)
class Features:
    """One vector an image: the means over positions of a layer's activations.

    Args:
        names: of the N images.
        digests: sha256 of the N images as stored; empty where they are not known.
        vectors: ``[N, d]`` float32.
        mirrored: likewise, of the images flipped left to right, where they were asked for.
        fingerprint: of the extractor and the layer, where they are known.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    vectors: Tensor
    mirrored: Tensor | None = None
    fingerprint: ExtractorFingerprint | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        if len(self.vectors) != n or len(self.digests) not in (0, n):
            raise ValueError(
                f"{n} names need as many vectors and digests, got {len(self.vectors)}, {len(self.digests)}"
            )
        if self.mirrored is not None and self.mirrored.shape != self.vectors.shape:
            raise ValueError(
                f"mirrored features {list(self.mirrored.shape)} must be as the others, {list(self.vectors.shape)}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        layer = f", {', '.join(self.fingerprint.paths)} of {self.fingerprint.architecture}" if self.fingerprint else ""
        return f"Features({len(self)} images of {self.vectors.shape[1]} neurons{layer})"

    def check_same_layer(self, other: Features, names: tuple[str, str]) -> None:
        """Raise ``ValueError``, showing both sides, when two sets were not seen by one layer of one network."""
        if self.vectors.shape[1] != other.vectors.shape[1]:
            found = [("numbers of neurons", str(self.vectors.shape[1]), str(other.vectors.shape[1]))]
        elif self.fingerprint is None or other.fingerprint is None:
            found = []
        else:
            found = self.fingerprint.differences(other.fingerprint)
            here, there = (", ".join(side.fingerprint.paths) for side in (self, other) if side.fingerprint)
            found += [("layers", here, there)] * (here != there)
        if found:
            raise ValueError("features are not comparable: " + describe_differences(found, names))


def collect_features(
    images: NumberedImages,
    extractor: ExtractorLike,
    *,
    layer: str | None = None,
    mirrored: bool = False,
    reading: Reading = DEFAULT_READING,
) -> Features:
    """Means over positions of one layer, for every image.

    Args:
        images: what has places and names, see `NumberedImages`.
        extractor: frozen network, or its name.
        layer: by default the extractor's last.
        mirrored: also of each image flipped left to right, by a second forward.
        reading: how images are read.

    Returns:
        The features, ``[N, d]`` float32 on the CPU: 5 MB a thousand images of 1280 neurons.

    Raises:
        ValueError: for an unknown layer, or unreadable images (unless skipped).

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> collect_features(np.zeros((3, 32, 32, 3), np.uint8), create_extractor("vdna_tiny"))
        Features(3 images of 1280 neurons, conv_head of short_mobilenetv2)
    """
    network, source = create_extractor(extractor), open_numbered(images)
    layout = network.layout.select([layer if layer is not None else list(network.layout)[-1]])
    (chosen,) = layout
    names = ("features", "mirrored features") if mirrored else ("features",)
    check_memory(source.name, [StateSize(name, len(source), 4 * layout.total) for name in names], reading)
    states = {name: torch.zeros(len(source), layout.total) for name in names}

    def fill_(batch: ActivationBatch) -> None:
        rows = list(batch.indices)
        states["features"][rows] = image_means(batch.activations[chosen]).float().cpu()
        if mirrored and batch.images is not None:
            activations = network.from_resized(batch.images.flip(3))
            states["mirrored features"][rows] = image_means(activations[chosen]).float().cpu()

    fingerprint = network.fingerprint.select([chosen])
    seen = run_pass(source, network, layout, reading, states, ["features", fingerprint.digest, chosen], fill_)
    return Features(
        names=seen.seen_names,
        digests=tuple(seen.digests),
        vectors=seen.rows(states["features"]),
        mirrored=seen.rows(states["mirrored features"]) if mirrored else None,
        fingerprint=fingerprint,
    )


@dataclass(frozen=True)
class Fidelity:
    """What features say of generated images beside their distance; see `functional` for each value.

    Args:
        precision: share of generated images in the real manifold.
        recall: share of real images in the generated manifold.
        density: mean number of real balls around a generated image, over ``density_k``.
        coverage: share of real balls with a generated image.
        vendi_real: Vendi score of the real images.
        vendi_generated: of the generated ones.
        kernel_distance: KID, mean over subsets.
        kernel_distance_std: deviation of one subset's value.
        n_real: number of real images.
        n_generated: number of generated images.
        precision_k: neighbour that gives the radius, of precision and recall.
        density_k: likewise, of density and coverage.
        kernel_subsets: number of subsets of the kernel distance.
        kernel_subset_size: images of either set in each.
        seed: of their draws.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    vendi_real: float
    vendi_generated: float
    kernel_distance: float
    kernel_distance_std: float
    n_real: int
    n_generated: int
    precision_k: int
    density_k: int
    kernel_subsets: int
    kernel_subset_size: int
    seed: int

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Plain containers: ``values``, and the ``settings`` they came with."""
        every = list(asdict(self).items())
        first = list(vars(self)).index("n_real")
        return {"values": dict(every[:first]), "settings": dict(every[first:])}


def measure_fidelity(
    real: Features,
    generated: Features,
    *,
    precision_k: int = 3,
    density_k: int = 5,
    kernel_subsets: int = 100,
    kernel_subset_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Fidelity:
    """Precision, recall, density, coverage, Vendi scores and kernel distance of two sets of features.

    All but the kernel distance depend on the numbers of images: compare generators at one number, against one set of
    real images.

    Args:
        real: features of real images.
        generated: of generated images, from the same layer.
        precision_k: neighbour that gives the radius, of precision and recall.
        density_k: likewise, of density and coverage.
        kernel_subsets: number of subsets of the kernel distance.
        kernel_subset_size: images of either set in each; by default 1000, or half of the smaller set where that is
            less, so that subsets differ. The expected value is the same.
        seed: of their draws.
        device: where to compute.

    Raises:
        ValueError: when the sets were not seen by one layer of one network, there are too few images, or a feature is
            not finite.

    Examples:
        >>> import numpy as np
        >>> from vdna_metrics import create_extractor
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
        >>> features = collect_features(images, create_extractor("vdna_tiny"))
        >>> found = measure_fidelity(features, features)
        >>> found.precision, found.recall, found.coverage, found.kernel_subset_size
        (1.0, 1.0, 1.0, 6)
    """
    real.check_same_layer(generated, ("real", "generated"))
    if kernel_subset_size is None:
        kernel_subset_size = max(2, min(SUBSET_SIZE, min(len(real), len(generated)) // 2))
    sides = real.vectors.to(device), generated.vectors.to(device)
    precision, recall = precision_recall(*sides, k=precision_k)
    density, coverage = density_coverage(*sides, k=density_k)
    vendi_real, vendi_generated = (vendi_score(side) for side in sides)
    kernel, deviation = kernel_distance(*sides, subsets=kernel_subsets, subset_size=kernel_subset_size, seed=seed)
    return Fidelity(
        precision=float(precision),
        recall=float(recall),
        density=float(density),
        coverage=float(coverage),
        vendi_real=float(vendi_real),
        vendi_generated=float(vendi_generated),
        kernel_distance=float(kernel),
        kernel_distance_std=float(deviation),
        n_real=len(real),
        n_generated=len(generated),
        precision_k=precision_k,
        density_k=density_k,
        kernel_subsets=kernel_subsets,
        kernel_subset_size=kernel_subset_size,
        seed=seed,
    )
