"""A leaderboard as CSV and Markdown."""

from __future__ import annotations

import csv
from dataclasses import replace
from statistics import fmean

from helpers.leaderboards import NAMES, make_diagnoses, make_leaderboard, with_outside
from helpers.toy_distances import registered_toys

from vdna_metrics.leaderboard import Leaderboard
from vdna_metrics.leaderboard.rows import COLUMNS
from vdna_metrics.reports import leaderboard_csv, leaderboard_markdown, ranking_table

LEADERBOARD = make_leaderboard()


def test_every_score_and_class_is_a_row() -> None:
    """The spreadsheet has each score once, its numbers unrounded, and after it its classes, the farthest first."""
    rows = list(csv.DictReader(leaderboard_csv(LEADERBOARD).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    scored = [row for row in rows if not row["class"]]
    assert len(scored) == len(LEADERBOARD.scores)
    for row in scored:
        score = LEADERBOARD.score(row["generator"], row["network"], row["metric"])
        assert float(row["value"]) == score.value
        assert score.estimate is not None
        assert float(row["low"]) == score.estimate.low
        classes = LEADERBOARD.classes_of(score.network, score.metric).get(score.generator, [])
        first = rows.index(row) + 1
        own = rows[first : first + len(classes)]
        assert [(each["class"], float(each["value"])) for each in own] == [(r.group, r.value) for r in classes]
    assert len(rows) == len(LEADERBOARD.scores) + len(LEADERBOARD.classes)
    assert LEADERBOARD.classes


def test_markdown_sums_up_the_classes_of_each_generator() -> None:
    """Below a ranking stand sizes, imbalance, mean and farthest class of generators with classes, as far as known."""
    counts = {"cat": 20, "dog": 40, "ship": 40}
    known = tuple(replace(each, n_images=counts[each.group], n_reference=50) for each in LEADERBOARD.classes)
    network, metric = known[0].network, known[0].metric
    for classes, images, imbalance in ((known, "20-40", "0.1333"), (LEADERBOARD.classes, "20", "")):
        leaderboard = replace(LEADERBOARD, classes=classes)
        text = leaderboard_markdown(leaderboard)
        for name, records in leaderboard.classes_of(network, metric).items():
            worst = max(records, key=lambda record: record.value)
            mean = fmean(record.value for record in records)
            begin = f"| {name} | {len(records)} | {images} | {imbalance} | {mean:#.4g}"
            assert f"{begin} | {worst.group} | {worst.value:#.4g} |" in text
    assert "worst class" not in leaderboard_markdown(replace(LEADERBOARD, classes=()))


def test_what_is_of_no_column_is_in_both() -> None:
    """FDr^k and outside scores are rows of the spreadsheet, and tables with sentences in Markdown, names escaped."""
    leaderboard = with_outside(LEADERBOARD)
    people = replace(leaderboard.outside[0], name="=people|")
    agreements = (replace(leaderboard.outside_agreement[0], score=people.name),)
    leaderboard = replace(leaderboard, outside=(people,), outside_agreement=agreements)
    rows = [row for row in csv.DictReader(leaderboard_csv(leaderboard).splitlines()) if not row["network"]]
    found = {
        metric: {row["generator"]: row for row in rows if row["metric"] == metric} for metric in ("FDr^k", "'=people|")
    }
    for ratio in leaderboard.ratios:
        assert float(found["FDr^k"][ratio.generator]["value"]) == ratio.value
    for name, value in people.values.items():
        row = found["'=people|"][name]
        assert (float(row["value"]), float(row["standard_error"])) == (value, 0.02)
    text = leaderboard_markdown(leaderboard)
    assert "| photographs | 0.500 ± 0.020 |" in text
    assert r"| =people\| | VDNA-EMD (bins) in tiny | 5 | −1.000 \[−1.00," in text
    for heading in (
        "FDr^k, over the networks",
        "Sets on which networks disagree",
        "Agreement with outside scores, 95 %",
    ):
        assert f"## {heading}" in text


def test_markdown_says_what_is_wrong() -> None:
    """A line a generator, with its faults and what was not looked at; none where nobody looked."""
    text = leaderboard_markdown(replace(LEADERBOARD, diagnoses=make_diagnoses()))
    assert "- photographs: No fault that this looks for stands out. Pixels were not looked at" in text
    assert f"- {NAMES[1]}: Blurred: detail at edges" in text
    assert "Diagnosis" not in leaderboard_markdown(LEADERBOARD)


def test_columns_that_a_distance_has_not_are_absent() -> None:
    """Without a bias rule there is no corrected value, interval, rank or floor; a score's best is its largest."""
    with registered_toys():
        leaderboard = make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["emd", "jsd", "entropy", "overlap"])
        tables = {metric: ranking_table(leaderboard, "tiny", metric) for metric in leaderboard.metrics}
        text = leaderboard_markdown(leaderboard)
        rows = list(csv.DictReader(leaderboard_csv(leaderboard).splitlines()))
        bare = leaderboard_markdown(make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["jsd"]))
    reference = "300 images of photographs of train"
    assert {metric: title for metric, (title, _, _) in tables.items()} == {
        "emd": f"VDNA-EMD (bins) from {reference}, seen by tiny",
        "jsd": f"Jensen-Shannon divergence (bits) from {reference}, seen by tiny",
        "entropy": "activation entropy (nats), higher is better, seen by tiny",
        "overlap": f"histogram overlap, higher is better, against {reference}, seen by tiny",
    }
    assert tables["emd"][1] == ["rank", "generator", "n", "corrected", "interval", "plain"]
    for metric in ("jsd", "entropy", "overlap"):
        assert tables[metric][1] == ["generator", "n", "value"]
        assert [row[0] for row in tables[metric][2]] == list(NAMES[:3])
    assert f"Against {reference}. 95 % intervals." in text
    assert f"Distance from {reference}.\n" in bare
    jsd = bare[bare.index("## Jensen") : bare.index("## Notes")]
    assert "| generator | n | value |\n|---|--:|--:|\n| photographs | 200 | 0.105 |" in jsd
    assert "interval" not in bare.replace("95 % interval", "")
    assert "floor" not in jsd
    own = [row for row in rows if row["metric"] == "jsd"]
    assert len(own) == 3
    assert all(row["value"] and not (row["corrected"] or row["low"] or row["floor"]) for row in own)


def test_names_are_no_markup() -> None:
    """A folder's name cannot open a cell, a link or a tag."""
    name = "a|b<i>[c](d)\n# e"
    leaderboard = replace(
        LEADERBOARD,
        generators=tuple(
            replace(entry, name=name if entry.name == "squares" else entry.name) for entry in LEADERBOARD.generators
        ),
        scores=tuple(
            replace(score, generator=name) if score.generator == "squares" else score for score in LEADERBOARD.scores
        ),
    )
    lines = [line for line in leaderboard_markdown(leaderboard).splitlines() if "a\\|b" in line]
    assert lines
    assert all("\\<i\\>\\[c\\](d) \\# e" in line for line in lines)


def _clustered(leaderboard: Leaderboard) -> Leaderboard:
    first, second, *others = leaderboard.generators
    told = replace(first, clusters=40, effective_clusters=40.0), replace(second, clusters=32, effective_clusters=11.1)
    reference = replace(leaderboard.reference, clusters=3, effective_clusters=2.5)
    return replace(leaderboard, reference=reference, generators=(*told, *others))


def test_numbers_of_clusters_are_shown_where_there_are_some() -> None:
    """Beside the images of each set, with the effective number where clusters are of unlike sizes; else no column."""
    clustered = _clustered(LEADERBOARD)
    network, metric = LEADERBOARD.columns[0]
    title, heads, rows = ranking_table(clustered, network, metric)
    assert "from 300 images of photographs of train in 3 clusters (2.5 effective)" in title
    shown = {row[heads.index("generator")]: row[heads.index("clusters")] for row in rows}
    assert list(shown.values())[:3] == ["40", "32 (11.1 effective)", ""]
    assert "clusters" not in ranking_table(LEADERBOARD, network, metric)[1]
    assert "| 32 (11.1 effective) |" in leaderboard_markdown(clustered)
    of_sets = {
        row["generator"]: (row["clusters"], row["effective_clusters"])
        for row in csv.DictReader(leaderboard_csv(clustered).splitlines())
        if not row["class"]
    }
    assert list(of_sets.values())[:3] == [("40", "40.0"), ("32", "11.1"), ("", "")]
