"""Tables on the page of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vdna_metrics.dna.columns import find_column
from vdna_metrics.leaderboard.record import ClassRecord, FidelityRecord, ImageSetRecord, Leaderboard
from vdna_metrics.reports.formatting import significant, with_error
from vdna_metrics.reports.leaderboard_plots import places
from vdna_metrics.reports.summary import at_floor, interval_text, score_text
from vdna_metrics.reports.wording import is_distance, titled

_CLASSES = 20  # rows of a table of classes


@dataclass(frozen=True)
class Cell:
    """A generator's score in the table; ``key`` sorts, the others are shown."""

    key: float
    value: str
    rank: str
    interval: str
    extrapolated: str
    at_floor: bool


_FIDELITY = {
    "precision": ("precision", "share of generated images that lie among the real ones: fidelity"),
    "recall": ("recall", "share of real images that lie among the generated ones: diversity"),
    "density": (
        "density",
        "how many real neighbourhoods hold a generated image, over how many would; about 1 where both are alike",
    ),
    "coverage": ("coverage", "share of real images with a generated image nearby: diversity"),
    "vendi_generated": ("Vendi score", "effective number of different images"),
    "kernel_distance": ("kernel distance", "as in KID, with the deviation of one subset; 0 where both are alike"),
}


def score_rows(leaderboard: Leaderboard, order: Sequence[str]) -> list[tuple[ImageSetRecord, list[Cell | None]]]:
    """Image set and cells of each generator."""
    records = {record.name: record for record in leaderboard.generators}
    return [
        (records[name], [_cell(leaderboard, name, network, metric) for network, metric in leaderboard.columns])
        for name in order
    ]


def _cell(leaderboard: Leaderboard, generator: str, network: str, metric: str) -> Cell | None:
    try:
        score = leaderboard.score(generator, network, metric)
    except KeyError:
        return None
    floor, estimate = leaderboard.floor(network, metric), score.estimate
    interval = extrapolated = ""
    if estimate is not None:
        corrected, low, high = interval_text(estimate)
        interval = f"{corrected} [{low}, {high}]"
    if score.extrapolated is not None:
        extrapolated = with_error(*score.extrapolated)
    return Cell(
        key=score.compared,
        value=score_text(score),
        rank=places(score),
        interval=interval,
        extrapolated=extrapolated,
        at_floor=floor is not None and at_floor(score, floor),
    )


def class_tables(leaderboard: Leaderboard) -> list[dict[str, Any]]:
    """A table of each column with classes: the worst of each generator, and the worst rows."""
    found = []
    for network, metric in leaderboard.columns:
        classes = leaderboard.classes_of(network, metric)
        if not classes:
            continue
        by_group: dict[str, dict[str, ClassRecord]] = {}
        for name, records in classes.items():
            for record in records:
                by_group.setdefault(record.group, {})[name] = record
        column = find_column(metric)
        worst = {
            group: max(column.sort_key(record.value) for record in records.values())
            for group, records in by_group.items()
        }
        groups = sorted(by_group, key=lambda group: -worst[group])
        found.append(
            {
                "network": network,
                "metric": titled(column),
                "better": "nearer" if is_distance(column) else "better",
                "generators": list(classes),
                "worst": {name: records[0] for name, records in classes.items()},
                "rows": [(group, [by_group[group].get(name) for name in classes]) for group in groups[:_CLASSES]],
                "left_out": max(0, len(groups) - _CLASSES),
            }
        )
    return found


def fidelity_tables(leaderboard: Leaderboard, order: Sequence[str]) -> list[dict[str, Any]]:
    """A table of each network and layer with fidelities."""
    found = []
    for network, layer in dict.fromkeys((record.network, record.layer) for record in leaderboard.fidelity):
        records = [r for r in leaderboard.fidelity if (r.network, r.layer) == (network, layer)]
        records.sort(key=lambda record: order.index(record.generator))
        keys = [key for key in _FIDELITY if any(key in record.values for record in records)]
        real = next((r.values["vendi_real"] for r in records if "vendi_real" in r.values), None)
        measures = [_FIDELITY[key] for key in keys]
        if real is not None and "vendi_generated" in keys:
            name, what = _FIDELITY["vendi_generated"]
            measures[keys.index("vendi_generated")] = (name, f"{what}; the reference has {significant(real, 3)}")
        found.append(
            {
                "network": network,
                "layer": layer,
                "measures": measures,
                "rows": [(record.generator, [_fidelity_text(record, key) for key in keys]) for record in records],
                "settings": ", ".join(
                    f"{key.replace('_', ' ')} {value:g}" for key, value in records[0].settings.items()
                ),
            }
        )
    return found


def agreement_table(leaderboard: Leaderboard) -> dict[str, Any] | None:
    """Rank correlations of the columns, where there are several."""
    record = leaderboard.agreement
    if record is None or len(record.columns) < 2:
        return None
    rows = [
        (name, [None if i == j else (f"{rho:.2f}".replace("-", "−"), f"{tau:.2f}".replace("-", "−"))
                for j, (rho, tau) in enumerate(zip(record.spearman[i], record.kendall[i], strict=True))])
        for i, name in enumerate(record.columns)
    ]  # fmt: skip
    names = [_column_name(name) for name in record.columns]
    return {"columns": names, "rows": [(_column_name(name), row) for name, row in rows], "notes": record.notes}


def _column_name(column: str) -> str:
    """``emd vdna_tiny`` -> ``VDNA-EMD vdna_tiny``."""
    metric, _, network = column.partition(" ")
    return f"{find_column(metric).short} {network}"


def setting_texts(leaderboard: Leaderboard) -> list[tuple[str, str]]:
    """What is one word or a few; the rest is in the record."""
    found = []
    for name, value in leaderboard.settings.items():
        values = value if isinstance(value, list | tuple) else [value]
        if value is not None and all(isinstance(each, str | int | float) for each in values):
            words = [{True: "yes", False: "no"}[each] if isinstance(each, bool) else str(each) for each in values]
            found.append((name.replace("_", " "), ", ".join(words)))
    return found


def _fidelity_text(record: FidelityRecord, key: str) -> str:
    value = record.values.get(key)
    if value is None:
        return "–"
    deviation = record.values.get(f"{key}_std")
    if deviation is not None:
        return with_error(value, deviation)
    return f"{value:.2f}" if key != "vendi_generated" else significant(value, 3)
