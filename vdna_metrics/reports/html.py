"""A leaderboard as one self-contained page, with its figures beside it as files."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.files import replacing
from vdna_metrics.leaderboard.record import Evidence, Leaderboard
from vdna_metrics.reports.embedding import drawing
from vdna_metrics.reports.formatting import listed, one_line, significant
from vdna_metrics.reports.page_figures import PageFigures, example_pictures, neuron_sections, ranking_ends
from vdna_metrics.reports.page_tables import (
    agreement_table,
    class_tables,
    fidelity_tables,
    score_rows,
    setting_texts,
)
from vdna_metrics.reports.summary import percent, summarise
from vdna_metrics.reports.wording import are_distances


def write_report(leaderboard: Leaderboard, evidence: Evidence, folder: str | Path) -> Path:
    """Write the page of a leaderboard and its figures.

    The page is one file that needs no network; nothing is written when it cannot be made. The same input gives the same
    bytes.

    Args:
        leaderboard: the numbers.
        evidence: DNAs and images to show beside them; sections without any are left out.
        folder: gets ``index.html`` and, in ``figures/``, each figure as PNG and SVG; it is made when missing.

    Returns:
        The page.

    Raises:
        ValueError: for a leaderboard without scores.
    """
    folder, figures = Path(folder), PageFigures(leaderboard)
    with drawing():
        page = _page(leaderboard, evidence, figures).encode("utf-8", "replace")  # names of files need not be text
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, content in [*((f"figures/{name}", data) for name, data in figures.files.items()), ("index.html", page)]:
        with replacing(folder / name) as file:
            file.write(content)
    return folder / "index.html"


def _page(leaderboard: Leaderboard, evidence: Evidence, figures: PageFigures) -> str:
    import jinja2

    summary = summarise(leaderboard)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vdna_metrics.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(significant=significant, one_line=one_line)
    script = environment.get_template("leaderboard.js").render()
    ranked = [score.generator for score in leaderboard.column(*leaderboard.columns[0])]
    order = [*ranked, *(record.name for record in leaderboard.generators if record.name not in ranked)]
    sets = [leaderboard.reference, *leaderboard.generators]
    examples = [
        (name, example_pictures(evidence.examples.get(name, ()), name)) for name in (leaderboard.reference.name, *order)
    ]
    metrics = [find_column(metric) for metric in leaderboard.metrics]
    estimated = {score.metric for score in leaderboard.scores if score.estimate}
    return environment.get_template("leaderboard.html.j2").render(
        leaderboard=leaderboard,
        summary=[sentence.replace(" %", "\u00a0%") for sentence in summary],
        sets=sets,
        names=listed([record.name for record in leaderboard.networks]),
        percent=percent(leaderboard),
        intervals=bool(estimated),
        plain=listed([column.title for column in metrics if column.name not in estimated]),
        higher=listed([column.title for column in metrics if column.distance.higher_is_better]),
        lower=listed([column.title for column in metrics if not column.distance.higher_is_better]),
        distances=are_distances(leaderboard.metrics),
        ranked=any(score.rank for score in leaderboard.scores),
        extrapolated=any(score.extrapolated for score in leaderboard.scores),
        exemplified=any(evidence.exemplars.values()),
        colour={record.name: place % len(COLOURS) for place, record in enumerate(leaderboard.generators)},
        columns=[(network, find_column(metric)) for network, metric in leaderboard.columns],
        rows=score_rows(leaderboard, order),
        thumbs={name: example_pictures(images, name, 1) for name, images in evidence.examples.items()},
        examples=[(name, pictures) for name, pictures in examples if pictures],
        rankings=[figures.ranking(network, metric) for network, metric in leaderboard.columns],
        profiles=figures.profiles(),
        heat_maps=figures.heat_maps(order),
        neurons=neuron_sections(figures, evidence, order),
        ends=ranking_ends(evidence.rankings, order),
        classes=class_tables(leaderboard),
        fidelity=fidelity_tables(leaderboard, order),
        agreement=agreement_table(leaderboard),
        copies=sorted(leaderboard.copies, key=lambda record: order.index(record.generator)),
        settings=setting_texts(leaderboard),
        glossary=[_explained(column) for column in metrics],
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _explained(column: Column) -> tuple[str, str]:
    """Names and meaning of a column, as a glossary has them."""
    direction = " Higher is better." if column.distance.higher_is_better else ""
    return ", ".join(dict.fromkeys([column.short, column.label])), f"{column.meaning}{direction}"
