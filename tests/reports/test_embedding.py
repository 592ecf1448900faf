"""Figures and images inside a page."""

from __future__ import annotations

import base64
import io
import re
from typing import get_args

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.reports.embedding import drawing, file_of, image_uri, inline_svg
from vdna_metrics.reports.figure_formats import FigureFormat


def _figure(name: str = "line") -> Figure:
    figure = Figure(figsize=(3, 2))
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], color=COLOURS[0], marker="o")
    ax.text(0.5, 0.5, name, color="#ffffff", parse_math=False)
    ax.set_xlim(0.2, 0.8)  # something to clip
    return figure


def test_a_figure_takes_the_colours_and_the_font_of_its_page() -> None:
    """Lines are variables, words are words in the page's ink, and no background hides what lies behind."""
    with drawing():
        text = inline_svg(file_of(_figure(), "svg"), "f1", 'A "line" <from> 0 to 1')
    assert "stroke: var(--series-0)" in text
    assert "currentColor" in text
    assert COLOURS[0].lower() not in text.lower()
    assert "fill: #ffffff" not in re.sub(r"<text.*?</text>", "", text, flags=re.S)
    assert ">line</text>" in text
    assert "font-size: 10px" in text or "font: 10px var(--font)" in text
    assert "DejaVu" not in text
    assert 'aria-label="A &quot;line&quot; &lt;from&gt; 0 to 1"' in text
    assert not re.search(r"<\?xml|<!DOCTYPE|<metadata|<style", text)
    assert 'style="--width: 288px"' in text


def test_figures_of_a_page_do_not_share_names() -> None:
    """Each id begins with the figure's key, each is used, and what refers to one finds it."""
    with drawing():
        svg = file_of(_figure(), "svg")
        texts = [inline_svg(svg, key, "label") for key in ("f1", "f2")]
    for key, text in zip(("f1", "f2"), texts, strict=True):
        names, used = set(re.findall(r' id="([^"]+)"', text)), set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
        assert names == used
        assert len(names) >= 2
        assert all(name.startswith(f"{key}-") for name in names)


@pytest.mark.parametrize("kind", get_args(FigureFormat))
def test_the_same_figure_is_the_same_bytes_without_complaint(kind: FigureFormat) -> None:
    """No date, no random names; letters that the font lacks are left to the reader's fonts, silently."""
    with drawing():
        content = file_of(_figure("生成器"), kind)
        assert content == file_of(_figure("生成器"), kind)
    assert b"Date" not in content


def test_a_pdf_has_its_fonts_in_it() -> None:
    """As publishers want them: whole outlines, not the drawings of letters of type 3."""
    with drawing():
        content = file_of(_figure(), "pdf")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


@pytest.mark.parametrize(("size", "kind", "expected"), [((200, 100), "jpeg", (88, 44)), ((32, 32), "png", (32, 32))])
def test_an_image_is_no_larger_than_it_is_shown(size: tuple[int, int], kind: str, expected: tuple[int, int]) -> None:
    """Large images are scaled down and lose a little; those of few pixels keep each."""
    width, height = size
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    uri = image_uri(image, 88)
    prefix, _, data = uri.partition(",")
    assert prefix == f"data:image/{kind};base64"
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert shown.size == expected
    if kind == "png":
        assert torch.equal(torch.from_numpy(np.array(shown)).permute(2, 0, 1), image)
