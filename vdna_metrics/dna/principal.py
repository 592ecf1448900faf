"""Directions in which images differ most."""

from __future__ import annotations

import numpy as np
import torch

from vdna_metrics.distributions.gaussian import LayerGaussianDistribution
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.directions import GivenDirections
from vdna_metrics.layout import check_count


def principal_directions(dna: VDNA, layer: str, n: int) -> GivenDirections:
    """The directions of a layer in which the images of a DNA differ most, for ``directions={layer: ...}``.

    Eigenvectors of the layer's covariance, those of the largest variance first, with the number of the largest size
    positive. Last digits differ from machine to machine: a DNA that is made with them keeps them, and others can be
    made with just these.

    Args:
        dna: of the kind ``"layer_gaussian"``, with all neurons of the layer.
        layer: one of its layers.
        n: how many.

    Returns:
        ``[n, d]`` unit vectors.

    Raises:
        ValueError: for a DNA of another kind, a layer that it lacks, or more directions than its images vary in: at
            most ``d``, and one less than there are images.

    Examples:
        >>> from vdna_metrics import PrecomputedFeatures, build_dnas
        >>> features = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
        >>> dna = build_dnas({"pool": features}, PrecomputedFeatures({"pool": 2}), ["layer_gaussian"])["layer_gaussian"]
        >>> principal_directions(dna, "pool", 1).array
        array([[0.6, 0.8]], dtype=float32)
    """
    check_count("directions", n)
    distribution = dna.distribution
    if not isinstance(distribution, LayerGaussianDistribution):
        raise ValueError(f"principal directions are of a layer_gaussian DNA, got a {dna.kind} DNA")
    dna.layout.check_layers([layer], what="principal directions")
    variances, vectors = torch.linalg.eigh(distribution.mean_and_covariance(layer)[1].cpu())
    rank = int((variances > 1e-10 * variances[-1]).sum())
    if n > rank:
        raise ValueError(
            f"expected at most {rank} directions, in which the {dna.n_images} images of the DNA vary in layer "
            f"{layer!r}, got {n}"
        )
    found = vectors.flip(1).t()[:n].numpy()
    largest = np.take_along_axis(found, abs(found).argmax(1)[:, None], 1)
    return GivenDirections((found * np.sign(largest)).astype(np.float32))
