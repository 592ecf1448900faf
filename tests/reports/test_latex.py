"""A leaderboard as a table of a paper."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from helpers.leaderboards import NAMES, make_leaderboard, with_outside

from vdna_metrics.leaderboard import Leaderboard
from vdna_metrics.leaderboard.record import Score
from vdna_metrics.reports import leaderboard_latex

LEADERBOARD = make_leaderboard()
_ACROSS = re.compile(r"\\multicolumn\{(\d+)\}")


def _rows(text: str) -> list[list[str]]:
    """The cells of each row of a table."""
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r"\\")]
    return [re.split(r"(?<!\\)&", line) for line in lines]


def _with_scores(leaderboard: Leaderboard, **changes: object) -> Leaderboard:
    """With the scores of the first column changed."""
    scores = tuple(
        replace(each, **changes) if (each.network, each.metric) == leaderboard.columns[0] else each  # type: ignore[arg-type]
        for each in leaderboard.scores
    )
    return replace(leaderboard, scores=scores)


def test_each_row_fills_the_table() -> None:
    """Cells of heads and rows are as many as the table has columns, and rules below networks lie side by side."""
    text = leaderboard_latex(LEADERBOARD)
    (columns,) = re.findall(r"\\begin\{tabular\}\{((?:[lr]|@\{ \})+)\}", text)
    width = len(columns.replace("@{ }", ""))
    rows = _rows(text)
    assert width == 1 + 2 * len(LEADERBOARD.columns)
    for row in rows:
        assert sum(int(found[1]) if (found := _ACROSS.search(cell)) else 1 for cell in row) == width, row
    assert [row[0].strip() for row in rows[2:]] == list(NAMES)
    assert re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", text) == [("2", "7"), ("8", "13")]
    assert r"\multicolumn{2}{c}{VDNA-EMD (bins) $\downarrow$}" in text
    one = leaderboard_latex(make_leaderboard(networks=["tiny"]))
    assert "cmidrule" not in one
    assert "200 images of each generator from 300 images of photographs of train, seen by tiny." in one


def test_numbers_are_corrected_with_their_intervals() -> None:
    """Corrected value and half the interval, or both ways where one end is cut, with as many digits."""
    first, second, *_ = LEADERBOARD.column("tiny", "emd")
    assert first.estimate is not None
    cut = replace(first, estimate=replace(first.estimate, low=4.9))
    scores = tuple(cut if each is first else each for each in LEADERBOARD.scores)
    rows = _rows(leaderboard_latex(replace(LEADERBOARD, scores=scores)))
    assert [cell.strip() for cell in rows[2][1:5]] == [
        r"\textbf{5.00}", "$^{+0.50}_{-0.10}$", r"\textbf{0.0600}", r"$\pm$ 0.0060",
    ]  # fmt: skip
    assert second.generator == NAMES[1]
    assert [cell.strip() for cell in rows[3][1:3]] == ["20.0", r"$\pm$ 1.4"]


def test_what_is_tied_with_the_best_is_bold() -> None:
    """All that may be the first are bold, the best alone where there are no ranks, and none besides."""

    def bold(leaderboard: Leaderboard) -> list[str]:
        return [row[0].strip() for row in _rows(leaderboard_latex(leaderboard))[2:] if "textbf" in row[1]]

    assert bold(LEADERBOARD) == [NAMES[0]]
    ranks = {NAMES[0]: (1, 2), NAMES[1]: (1, 3)}
    tied = [replace(each, rank=ranks.get(each.generator, (3, 5))) for each in LEADERBOARD.column("tiny", "emd")]
    assert bold(replace(LEADERBOARD, scores=(*tied, *LEADERBOARD.scores[len(tied) :]))) == list(NAMES[:2])
    assert bold(_with_scores(LEADERBOARD, rank=None)) == [NAMES[0]]


@pytest.mark.parametrize("missing", ["estimates", "one interval"])
def test_without_all_intervals_numbers_are_plain(missing: str) -> None:
    """A column never mixes corrected values with plain ones; one without error bars takes one column of the table."""

    def without(score: Score) -> Score:
        if (score.network, score.metric) != ("tiny", "emd") or (missing != "estimates" and score.generator != NAMES[2]):
            return score
        withheld = score.estimate and replace(score.estimate, low=None, high=None)
        return replace(score, estimate=None if missing == "estimates" else withheld, rank=None)

    text = leaderboard_latex(replace(LEADERBOARD, scores=tuple(map(without, LEADERBOARD.scores))))
    assert r"\begin{tabular}{lrr@{ }l" in text
    row = _rows(text)[2]
    assert len(row) == 12
    assert "5.25" in row[1]
    assert "Numbers with an interval are corrected" in text


def test_scores_have_their_direction_and_sizes_a_column() -> None:
    """What is better when higher says so, and generators of unlike numbers of images have them beside their names."""
    leaderboard = make_leaderboard(NAMES[:2], networks=["tiny"], metrics=["emd", "precision", "lfd", "lfd[norm]"])
    first, second = leaderboard.generators
    text = leaderboard_latex(replace(leaderboard, generators=(first, replace(second, n_images=10_000))))
    assert r"precision $\uparrow$" in text
    assert "Scores of images of each generator against 300 images" in text
    assert [row[1].strip() for row in _rows(text)] == ["images", "200", "10000"]
    assert {"layer Fréchet distance $", "layer Fréchet distance of norm $"} <= set(re.findall(r"layer[^$]*\$", text))


def test_a_generator_without_a_score_has_a_dash() -> None:
    """Its row stays whole."""
    (score,) = (
        each
        for each in LEADERBOARD.scores
        if each.generator == NAMES[4] and each.metric == "nfd" and each.network == "tiny"
    )
    text = leaderboard_latex(
        replace(LEADERBOARD, scores=tuple(each for each in LEADERBOARD.scores if each is not score))
    )
    assert [cell.strip() for cell in _rows(text)[-1][3:5]] == ["--", ""]
    with pytest.raises(ValueError, match="no scores"):
        leaderboard_latex(replace(LEADERBOARD, scores=(), agreement=None))


def test_names_are_no_commands() -> None:
    """Names and command lines can neither read a file, nor begin a cell, a comment or a line of the table."""
    names = (r"\input{secret}", "50%_a&b", "[2em] $x$", "*", "生成\n器\\\\")
    hostile = make_leaderboard(names, networks=[r"net}\input{x", "other"], reference="r#1^~\x00")
    text = leaderboard_latex(replace(hostile, command="a\n\\input{x}"))
    lines = text.splitlines()
    assert [line for line in lines if "%" in line.replace(r"\%", "")] == lines[:2]
    rest = "\n".join(lines[2:])
    assert not set(re.findall(r"\\([A-Za-z]+)", rest)) - {
        "begin", "centering", "caption", "label", "end", "toprule", "midrule", "bottomrule", "cmidrule", "multicolumn",
        "textbf", "pm", "downarrow", "textbackslash", "textasciicircum", "textasciitilde",
    }  # fmt: skip
    assert rest.replace(r"\{", "").count("{") == rest.replace(r"\}", "").count("}")
    assert [len(row) for row in _rows(text)[2:]] == [13] * len(names)
    assert [row[0].strip()[:3] for row in _rows(text)[2:]] == [r"\te", "50\\", "{[}", "{*}", r"\te"]


def test_what_was_measured_elsewhere_comes_last() -> None:
    """FDr^k and outside scores are columns with their direction and error; who has none has a dash."""
    leaderboard = with_outside(make_leaderboard(NAMES[:3], networks=["tiny"], metrics=["emd"]))
    score = leaderboard.outside[0]
    lines = leaderboard_latex(leaderboard).splitlines()
    head = next(line for line in lines if "VDNA-EMD" in line and "&" in line)
    assert head.index("FDr") < head.index(score.name)
    assert head.count(" & ") == 1 + 1 + len(leaderboard.outside)
    for name in NAMES[:3]:
        cells = next(line for line in lines if line.startswith(name)).removesuffix(r" \\").split(" & ")
        assert len(cells) == 3 + 1 + len(leaderboard.outside)
        assert (cells[-len(leaderboard.outside)] == "--") == (name not in score.values)
