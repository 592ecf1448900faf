"""The wording of columns: sets are nearer or farther by a distance, better or worse by a score."""

from __future__ import annotations

from collections.abc import Sequence

from vdna_metrics.dna.columns import Column, find_column


def is_distance(column: Column) -> bool:
    """Whether a column says how far two sets are apart: then the smallest value is the nearest.

    Examples:
        >>> is_distance(find_column("fid"))
        True
    """
    return column.distance.arity == 2 and not column.distance.higher_is_better


def are_distances(metrics: Sequence[str]) -> bool:
    """Whether all of some metrics are distances, by their names."""
    return all(is_distance(find_column(metric)) for metric in metrics)


def titled(column: Column) -> str:
    """A column's title, with its direction where that is not the usual one.

    Examples:
        >>> titled(find_column("emd"))
        'VDNA-EMD (bins)'
    """
    return f"{column.title}, higher is better" if column.distance.higher_is_better else column.title


def headed(column: Column, reference: str) -> str:
    """A column's title with what it is measured from.

    Examples:
        >>> headed(find_column("fid"), "real")
        'FID from real'
    """
    if is_distance(column):
        return f"{column.title} from {reference}"
    return titled(column) if column.distance.arity == 1 else f"{titled(column)}, against {reference}"
