"""A leaderboard as one self-contained page, with its figures beside it as files."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vdna_metrics.dna.columns import find_column
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.files import write_whole
from vdna_metrics.layout import check_choice, check_names
from vdna_metrics.leaderboard.recommendation import recommend
from vdna_metrics.leaderboard.record import Evidence, FidelityRecord, Leaderboard, are_corrected, compared
from vdna_metrics.reports.embedding import drawing
from vdna_metrics.reports.figure_formats import FIGURES, FigureFormat
from vdna_metrics.reports.formatting import are_distances, decimals, fixed, listed, significant, titled, with_error
from vdna_metrics.reports.leaderboard_plots import places
from vdna_metrics.reports.networks import order_sentences
from vdna_metrics.reports.outside import extra_columns
from vdna_metrics.reports.page_extras import dispute_section, outside_section, ratio_section
from vdna_metrics.reports.page_figures import PageFigures
from vdna_metrics.reports.protocol import protocol_context
from vdna_metrics.reports.summary import (
    at_floor,
    has_interval,
    interval_text,
    percent,
    runs_sentences,
    score_text,
    summarise,
)
from vdna_metrics.reports.tables import runs_table
from vdna_metrics.text import printable

_CLASSES = 20  # rows of a table of classes
_COLUMN_OF = {"vendi_generated": "vendi", "kernel_distance": "kid"}
_FIDELITY = {
    "precision": ("precision", "share of generated images that lie among the real ones: fidelity"),
    "recall": ("recall", "share of real images that lie among the generated ones: diversity"),
    "density": (
        "density",
        "how many real neighbourhoods hold a generated image, over how many would; about 1 where both are alike",
    ),
    "coverage": ("coverage", "share of real images with a generated image nearby: diversity"),
    "vendi_generated": ("Vendi score", "effective number of different images"),
    "kernel_distance": ("KID", "mean over subsets, with the deviation of one; 0 where both are alike"),
}


def write_report(
    leaderboard: Leaderboard, evidence: Evidence, folder: str | Path, *, figures: Sequence[FigureFormat] = FIGURES
) -> Path:
    """Write the page of a leaderboard and its figures.

    The page is one file that needs no network; nothing is written when it cannot be made. The same input gives the same
    bytes.

    Args:
        leaderboard: the numbers.
        evidence: DNAs and images to show beside them; sections without any are left out.
        folder: gets ``index.html`` and, in ``figures/``, each figure as a file; it is made when missing.
        figures: formats of these files, ``"pdf"`` for papers; words are words but in PNG.

    Returns:
        The page.

    Raises:
        ValueError: for a leaderboard without scores, and an unknown format.
    """
    folder = Path(folder)
    check_names("figures", figures)
    for kind in figures:
        check_choice("format of figures", kind, FigureFormat)
    with drawing():
        page, files = _page(leaderboard, evidence, figures)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(folder / "figures" / name, content)
    return write_whole(folder / "index.html", page)


def _page(
    leaderboard: Leaderboard, evidence: Evidence, formats: Sequence[FigureFormat]
) -> tuple[bytes, dict[str, bytes]]:
    """The page, and the files of its figures."""
    import jinja2

    summary, best = summarise(leaderboard), recommend(leaderboard)
    columns = sorted(leaderboard.columns, key=(best.network, best.metric).__ne__)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vdna_metrics.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,  # markup is of another type
    )
    environment.filters.update(significant=significant, correlation=lambda value: fixed(value, 2))
    script = environment.get_template("leaderboard.js").render()
    ranked = [score.generator for score in leaderboard.column(*columns[0])]
    order = [*ranked, *(record.name for record in leaderboard.generators if record.name not in ranked)]
    figures = PageFigures(leaderboard, evidence, order, formats)
    examples = [(name, figures.examples(name)) for name in (leaderboard.reference.name, *order)]
    metrics = [find_column(metric) for metric in leaderboard.metrics]
    estimated = {score.metric for score in leaderboard.scores if has_interval(score)}
    page = environment.get_template("leaderboard.html.j2").render(
        leaderboard=leaderboard,
        summary=[sentence.replace(" %", "\u00a0%") for sentence in summary],
        sets=[*filter(None, (leaderboard.reference, *leaderboard.generators, leaderboard.validation))],
        clustered=any(record.clusters for record in (leaderboard.reference, *leaderboard.generators)),
        names=listed([record.name for record in leaderboard.networks]),
        percent=percent(leaderboard),
        intervals=bool(estimated),
        corrected=are_corrected(leaderboard.column(*columns[0])),
        dashed=any(leaderboard.floor(*c) and not are_corrected(leaderboard.column(*c)) for c in columns),
        floors=[_floor_text(leaderboard, *column) for column in columns],
        plain=listed([column.title for column in metrics if column.name not in estimated]),
        distances=are_distances(leaderboard.metrics),
        ranked=any(score.rank for score in leaderboard.scores),
        extrapolated=any(score.extrapolated for score in leaderboard.scores),
        exemplified=any(evidence.exemplars.values()),
        colour={record.name: place % len(COLOURS) for place, record in enumerate(leaderboard.generators)},
        columns=[(network, find_column(metric)) for network, metric in columns],
        rows=[
            (record, [_cell(leaderboard, record.name, *column) for column in columns])
            for record in sorted(leaderboard.generators, key=lambda record: order.index(record.name))
        ],
        thumbs={name: figures.examples(name, 1) for name in evidence.examples},
        examples=[(name, pictures) for name, pictures in examples if pictures],
        rankings=[figures.ranking(network, metric) for network, metric in columns],
        runs=_run_tables(leaderboard, figures),
        profiles=figures.profiles(),
        heat_maps=figures.heat_maps(),
        neurons=figures.neurons(),
        ends=figures.ends(),
        classes=_class_tables(leaderboard),
        fidelity=_fidelity_tables(leaderboard, order),
        agreement=_agreement_table(leaderboard),
        disputes=dispute_section(leaderboard),
        extra_columns=extra_columns(leaderboard),
        outside=outside_section(leaderboard, figures),
        ratio=ratio_section(leaderboard),
        diagnoses=sorted(leaderboard.diagnoses, key=lambda record: order.index(record.generator)),
        copies=sorted(leaderboard.copies, key=lambda record: order.index(record.generator)),
        protocol=protocol_context(leaderboard),
        settings=_setting_texts(leaderboard),
        glossary=[(", ".join(dict.fromkeys([column.short, column.label])), column) for column in metrics],
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.encode("utf-8", "replace"), figures.files  # names of files need not be text


def _cell(leaderboard: Leaderboard, generator: str, network: str, metric: str) -> dict[str, Any] | None:
    """A generator's score in the table; ``key`` sorts, the others are shown."""
    column = leaderboard.column(network, metric)
    found = [pair for pair in zip(column, compared(column), strict=True) if pair[0].generator == generator]
    if not found:
        return None
    score, key = found[0]
    floor, corrected = leaderboard.floor(network, metric), are_corrected(column)
    value, plain = score_text(score, corrected=corrected), score_text(score)
    return {
        "key": key,
        "value": value,
        "rank": places(score),
        "interval": " to ".join((corrected and interval_text(score.estimate)) or ()),
        "plain": plain if plain != value else "",
        "extrapolated": with_error(*score.extrapolated) if score.extrapolated is not None else "",
        "at_floor": floor is not None and at_floor(score, floor),
    }


def _floor_text(leaderboard: Leaderboard, network: str, metric: str) -> str:
    floor = leaderboard.floor(network, metric)
    if floor is None:
        return ""
    plain = "plain " * are_corrected(leaderboard.column(network, metric))
    return f"{plain}noise floor {fixed(floor.value, decimals(floor.value, floor.spread))}"


def _run_tables(leaderboard: Leaderboard, figures: PageFigures) -> list[dict[str, Any]]:
    """A table of each column with several runs or checkpoints, and the curve of the latter."""
    found = []
    for network, metric in leaderboard.columns:
        heads, rows = runs_table(leaderboard, network, metric)
        if rows:
            title = f"{titled(find_column(metric))} in {network}"
            told = runs_sentences(leaderboard, network, metric)
            curve = figures.checkpoints(network, metric)
            found.append({"title": title, "heads": heads, "rows": rows, "sentences": told, "curve": curve})
    return found


def _class_tables(leaderboard: Leaderboard) -> list[dict[str, Any]]:
    """A table of each column with classes: the worst of each generator, and the worst rows."""
    found = []
    for network, metric in leaderboard.columns:
        classes, column = leaderboard.classes_of(network, metric), find_column(metric)
        records = [record for own in classes.values() for record in own]
        records.sort(key=lambda record: -column.sort_key(record.value))
        groups = list(dict.fromkeys(record.group for record in records))
        cells = {(record.group, record.generator): record for record in records}
        table = {
            "network": network,
            "metric": titled(column),
            "better": "nearer" if are_distances([metric]) else "better",
            "generators": list(classes),
            "worst": {name: worst for name, (worst, *_) in classes.items()},
            "summaries": list(leaderboard.class_summaries(network, metric).values()),
            "rows": [(group, [cells.get((group, name)) for name in classes]) for group in groups[:_CLASSES]],
            "left_out": max(0, len(groups) - _CLASSES),
        }
        found += [table] * bool(classes)
    return found


def _fidelity_tables(leaderboard: Leaderboard, order: Sequence[str]) -> list[dict[str, Any]]:
    """A table of each network and layer with fidelities that are no columns of the ranking."""
    found = []
    ordered = sorted(leaderboard.fidelity, key=lambda record: order.index(record.generator))
    for network, layer in dict.fromkeys((record.network, record.layer) for record in leaderboard.fidelity):
        records = [record for record in ordered if (record.network, record.layer) == (network, layer)]
        measures = {
            key: words
            for key, words in _FIDELITY.items()
            if (network, _COLUMN_OF.get(key, key)) not in leaderboard.columns
            and any(key in record.values for record in records)
        }
        real = next((record.values["vendi_real"] for record in records if "vendi_real" in record.values), None)
        if real is not None and "vendi_generated" in measures:
            name, what = measures["vendi_generated"]
            measures["vendi_generated"] = (name, f"{what}; the reference has {significant(real, 3)}")
        settings = [f"{key.replace('_', ' ')} {value:g}" for key, value in records[0].settings.items()]
        rows = [(record.generator, [_fidelity_text(record, key) for key in measures]) for record in records]
        table = {"network": network, "layer": layer, "measures": list(measures.values()), "rows": rows}
        found += [{**table, "settings": ", ".join(settings)}] * bool(measures)
    return found


def _agreement_table(leaderboard: Leaderboard) -> dict[str, Any] | None:
    """Rank correlations of the columns, where there are several."""
    record = leaderboard.agreement
    if record is None or len(record.columns) < 2:
        return None
    names = []
    for column in record.columns:  # "emd vdna_tiny" -> "VDNA-EMD vdna_tiny"
        metric, _, network = column.partition(" ")
        names.append(f"{find_column(metric).short} {network}")
    rows = [
        [None if i == j else (fixed(rho, 2), fixed(tau, 2)) for j, (rho, tau) in enumerate(zip(*pair, strict=True))]
        for i, pair in enumerate(zip(record.spearman, record.kendall, strict=True))
    ]
    return {"columns": names, "rows": list(zip(names, rows, strict=True)), "notes": order_sentences(leaderboard)}


def _setting_texts(leaderboard: Leaderboard) -> list[tuple[str, str]]:
    """What is one word or a few; the rest is in the record."""
    found = []
    for name, value in leaderboard.settings.items():
        values = value if isinstance(value, list | tuple) else [value]
        if value is not None and all(isinstance(each, str | int | float) for each in values):
            words = [{True: "yes", False: "no"}[each] if isinstance(each, bool) else str(each) for each in values]
            found.append((name.replace("_", " "), ", ".join(words)))
    return found


def _fidelity_text(record: FidelityRecord, key: str) -> str:
    value, deviation = record.values.get(key), record.values.get(f"{key}_std")
    if value is None:
        return "–"
    if deviation is not None:
        return with_error(value, deviation)
    return f"{value:.2f}" if key != "vendi_generated" else significant(value, 3)
