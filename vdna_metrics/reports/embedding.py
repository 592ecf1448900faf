"""Figures and images as text inside a page, in the page's colours."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from torch import Tensor

from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.reports.figure_formats import FigureFormat
from vdna_metrics.reports.leaderboard_plots import HEAT
from vdna_metrics.reports.plots import INK, RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
# The colours of figures, as variables of the page's style sheet, which has two values for each.
_VARIABLES: Mapping[str, str] = {
    "#000000": "currentColor",
    INK: "currentColor",
    RULE: "var(--rule)",
    HEAT: "var(--heat)",
    **{colour.lower(): f"var(--series-{place})" for place, colour in enumerate(COLOURS) if colour != "#000000"},
}
_COLOUR = re.compile("|".join(_VARIABLES))
# As new and as older versions of matplotlib write a font; without a family it is the page's.
_FAMILY = re.compile(r"font-family: [^;]*;? ?")
_FONT = re.compile(r"(font: [^;]*?px) [^;]*")
_DECIMALS = re.compile(r"(\d+\.\d)\d+")
# No dates, so that the same figure is the same bytes.
_OF_FORMAT: Mapping[str, Mapping[str, Any]] = {
    "pdf": {"metadata": {"CreationDate": None}},
    "png": {"dpi": 160},
    "svg": {"metadata": {"Date": None}},
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw the same bytes each time, with words as words, and without complaint about letters that the font lacks."""
    import matplotlib

    # Fonts of type 42 go into a PDF as they are; those of type 3, the default, many publishers refuse.
    settings = {"svg.hashsalt": "vdna_metrics", "svg.fonttype": "none", "pdf.fonttype": 42}
    with matplotlib.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def file_of(figure: Figure, kind: FigureFormat) -> bytes:
    """A figure as a file."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, **_OF_FORMAT[kind])
    return file.getvalue()


def inline_svg(svg: bytes, key: str, label: str) -> str:
    """A matplotlib figure as an element of a page: no background, the page's colours and font, unique names.

    Args:
        svg: what `file_of` gives.
        key: begins the names inside, so that several figures of a page do not meet.
        label: what the figure shows, for those who do not see it.
    """
    root = ElementTree.fromstring(svg)  # nosec B314 # by matplotlib, from names that it has escaped
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "viewBox": f"0 0 {float(width):.0f} {float(height):.0f}",
        "role": "img",
        "aria-label": label,
        "style": f"--width: {float(width) * 4 / 3:.0f}px",  # in the pixels of CSS, of which an inch has 96
        "fill": "currentColor",
    }
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg.decode()))
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        for name, value in list(element.attrib.items()):
            if name == "id":
                if value in used:
                    element.set(name, f"{key}-{value}")
                else:
                    del element.attrib[name]
            elif name == _LINK:
                del element.attrib[name]
                element.set("href", value.replace("#", f"#{key}-", 1))
            elif element is not root and name != "aria-label":
                element.set(name, _themed(element.tag, name, value.replace("url(#", f"url(#{key}-")))
    return ElementTree.tostring(root, encoding="unicode")


def _themed(tag: str, name: str, value: str) -> str:
    if name in ("d", "x", "y", "transform"):
        return " ".join(_DECIMALS.sub(r"\1", value).split())
    if name != "style":
        return value
    if tag == "path":
        value = value.replace("fill: #ffffff", "fill: none")  # backgrounds; white words are not paths
    value = _COLOUR.sub(lambda found: _VARIABLES[found[0]], value)
    return _FONT.sub(r"\1 var(--font)", _FAMILY.sub("", value))


def image_uri(image: Tensor, side: int) -> str:
    """An image as a data address, its longer side at most ``side`` pixels.

    Args:
        image: uint8 ``[3, H, W]``.
        side: in pixels.
    """
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    file = io.BytesIO()
    if max(picture.size) <= 48:  # of so few pixels each counts
        picture.save(file, "PNG", optimize=True)
        kind = "png"
    else:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        picture.save(file, "JPEG", quality=78)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
