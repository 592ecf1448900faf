"""What is lost by ranking training sets by a distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ranking_discrepancy(
    distances: Mapping[str, Mapping[str, float]], scores: Mapping[str, Mapping[str, float]]
) -> float:
    """What is lost, in the scores' unit, by ranking training sets by a distance instead of by their scores.

    For each validation set the training sets are put in the order of their distance, the nearest first, and of their
    score, the best first; ``(1 / VT) Σ_v Σ_i |score of the i-th nearest − i-th best score|``. It is 0 where the
    distance ranks as the scores do, and only the order of the distances counts. Training sets at one distance keep the
    order in which they are given.

    Args:
        distances: ``{validation set: {training set: distance}}``.
        scores: ``{validation set: {training set: score}}``, the higher the better, as the accuracy there of a network
            trained here.

    Raises:
        ValueError: when there is nothing to rank, the sets of the two differ, or a number is NaN.

    Source:
        Ramtoula et al., Visual DNA, CVPR 2023, Eq. 8.

    Examples:
        >>> scores = {"city": {"city": 80.0, "village": 60.0, "sea": 10.0}}
        >>> ranking_discrepancy({"city": {"city": 0.1, "village": 5.0, "sea": 9.0}}, scores)
        0.0
        >>> ranking_discrepancy({"city": {"city": 0.1, "village": 9.0, "sea": 5.0}}, scores)  # (0 + 50 + 50) / 3
        33.33...
    """
    _check_same("validation sets", distances, scores)
    differences = []
    for validation, row in distances.items():
        of_row = scores[validation]
        _check_same(f"training sets of {validation!r}", row, of_row)
        if any(number != number for number in (*row.values(), *of_row.values())):
            raise ValueError(f"a distance or score of {validation!r} is NaN")
        by_distance = [float(of_row[training]) for training in sorted(row, key=lambda training: row[training])]
        by_score = sorted(map(float, of_row.values()), reverse=True)
        differences += [abs(a - b) for a, b in zip(by_distance, by_score, strict=True)]
    return sum(differences) / len(differences)


def _check_same(what: str, distances: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    if not distances or set(distances) != set(scores):
        sides = (", ".join(names) or "none" for names in (distances, scores))
        raise ValueError("{} must be the same and not none: distances {}; scores {}".format(what, *sides))
