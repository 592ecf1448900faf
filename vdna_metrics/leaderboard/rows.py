"""The numbers of a leaderboard as rows of one table, for spreadsheets and data frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

    from vdna_metrics.leaderboard.record import Leaderboard

COLUMNS = (
    "network", "metric", "generator", "class", "n_images", "clusters", "effective_clusters", "first_rank", "last_rank",
    "value", "corrected", "standard_error", "low", "high", "extrapolated", "extrapolated_error", "floor", "bin_width",
)  # fmt: skip
FDR = "FDr^k"
"""What FDr^k is called where the name of a metric stands; it is of several networks, so it is no `Column`."""
_TEXTS = ("network", "metric", "generator", "class")
_WHOLE_NUMBERS = ("n_images", "clusters", "first_rank", "last_rank")


def rows_of(leaderboard: Leaderboard) -> Iterator[dict[str, Any]]:
    """A row for each network, metric and generator, the best first, then its classes; ``None`` for what is not known.

    FDr^k and outside scores are rows without a network.

    Args:
        leaderboard: the leaderboard.

    Yields:
        ``{column: text or number}``, of all `COLUMNS`.
    """
    records = {entry.name: entry for entry in leaderboard.generators}
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    for network, metric in leaderboard.columns:
        floor, classes = leaderboard.floor(network, metric), leaderboard.classes_of(network, metric)
        for score in leaderboard.column(network, metric):
            record, told = records[score.generator], {**(vars(score.estimate) if score.estimate else {}), **vars(score)}
            told |= {"n_images": record.n_images, "floor": floor.value if floor else None}
            if record.clusters:
                told |= {"clusters": record.clusters, "effective_clusters": record.effective_clusters}
            told["first_rank"], told["last_rank"] = score.rank or (None, None)
            told["extrapolated"], told["extrapolated_error"] = score.extrapolated or (None, None)
            of_classes = ({**vars(own), "class": own.group} for own in classes.get(score.generator, ()))
            for each in (told, *of_classes):
                yield {**empty, **{name: each[name] for name in COLUMNS if name in each}}
    for ratio in leaderboard.ratios:
        yield {**empty, "metric": FDR, "generator": ratio.generator, "value": ratio.value}
    for outside in leaderboard.outside:
        for name, value in outside.values.items():
            error = outside.errors.get(name)
            yield {**empty, "metric": outside.name, "generator": name, "value": value, "standard_error": error}


def frame_of(leaderboard: Leaderboard) -> pandas.DataFrame:
    """The rows as a data frame; see `Leaderboard.to_frame`."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "a data frame needs pandas: pip install pandas, or 'vdna_metrics[pandas]'; leaderboard_csv needs nothing"
        ) from error
    types = {name: "string" if name in _TEXTS else "Int64" if name in _WHOLE_NUMBERS else "float64" for name in COLUMNS}
    return pandas.DataFrame(list(rows_of(leaderboard)), columns=list(COLUMNS)).astype(types)
