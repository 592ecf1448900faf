"""Inception score of the classes that a classifier gives images."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from vdna_metrics.functional.moments import check_floating, to_float64

_SUM = 1e-3  # how far the probabilities of an image may be from 1 in sum: half precision is


def inception_score(
    logits: Tensor, *, splits: int = 10, probabilities: bool = False, correction: int = 0
) -> tuple[Tensor, Tensor]:
    """Inception score: how sure a classifier is of each image, and how many classes there are over all.

    Of each split `exp(mean_i KL(p_i ‖ mean_j p_j)) = exp(H(mean_j p_j) − mean_i H(p_i))` with the entropy H. Splits are
    consecutive parts, from image `⌊s N/S⌋` to before `⌊(s+1) N/S⌋`, so the score depends on the order of images:
    shuffle first where that has a meaning. It also grows with the images of a split, and looks at one set alone.

    The numbers of torch-fidelity for the same order; where the splits divide the images, of torchmetrics too, whose
    deviation is over S − 1 (`correction=1`).

    Args:
        logits: `[N, classes]`, floating, before the softmax.
        splits: how many, from 1 to N.
        probabilities: what is given are probabilities already, not logits.
        correction: the deviation is over `splits − correction`.

    Returns:
        Mean and standard deviation of the splits' scores, float64 scalars from 1 to the number of classes, on the
        device of the logits (on the CPU for MPS).

    Raises:
        ValueError: if the shape does not fit, there are fewer images than splits, splits are no more than the
            correction, a number is not finite, or probabilities are negative or do not sum to 1.
        TypeError: if logits are not floating.

    Source:
        Salimans et al., Improved Techniques for Training GANs, 2016.

    Examples:
        >>> logits = 100 * torch.eye(4).repeat(5, 1)  # sure of each, four classes
        >>> inception_score(logits, splits=5)[0]
        tensor(4., dtype=torch.float64)
    """
    check_floating(logits=logits)
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"Expected logits [images, classes] with both above 0, got {list(logits.shape)}")
    if not max(1, correction + 1) <= splits <= len(logits):
        raise ValueError(
            f"Expected {max(1, correction + 1)} to {len(logits)} splits of {len(logits)} images, got {splits}"
        )
    values = to_float64(logits)
    unusable = int((~values.isfinite().all(dim=1)).sum())
    if unusable:
        raise ValueError(f"Expected finite numbers, got NaN or infinity in {unusable} of {len(values)} images")
    if not probabilities:
        values = values.softmax(dim=1)
    elif bool((values < 0).any()) or bool(((values.sum(1) - 1).abs() > _SUM).any()):
        raise ValueError(
            "Expected probabilities that are not negative and sum to 1, got a lowest of "
            f"{float(values.min()):.4g} and sums from {float(values.sum(1).min()):.4g} to "
            f"{float(values.sum(1).max()):.4g}; give logits with probabilities=False"
        )
    edges = [split * len(values) // splits for split in range(splits + 1)]
    parts = [values[first:last] for first, last in itertools.pairwise(edges)]
    scores = torch.stack([_entropy(part.mean(0)) - _entropy(part).mean() for part in parts]).exp()
    return scores.mean(), scores.std(correction=correction)


def _entropy(probabilities: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy
