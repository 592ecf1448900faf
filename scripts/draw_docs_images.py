"""Draw the pictures of the documentation from the data that ships with the package, into `docs/images/`.

    python scripts/draw_docs_images.py [bsds500.zip]

`dna.svg` says what a DNA is: the bundled DNA of photographs beside one of procedural images that is made here.
`demo.png` is the top of the report of `vdna-metrics demo` in chromium, `analysis_*.png` what the blocks of
`docs/analysis.md` draw, `difference_maps.png` of two photographs, where these are given, and `people.png` what the
command of `docs/people.md` draws, in fewer colours, so that they stay small.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import torch
from draw_leaderboard import shoot
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from numpy.typing import NDArray
from PIL import Image
from run_docs import run_page
from torch import Tensor

from vdna_metrics import VDNA, build_dnas, compare, create_extractor, load_reference, open_images
from vdna_metrics.analysis import difference_maps
from vdna_metrics.demo import run_demo
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna import Column
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.procedural import procedural_images
from vdna_metrics.reports import plot_difference_maps, write_report

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
EXTRACTOR = "vdna_tiny"
WORLD = "one_over_f_noise"
REAL, FAKE, INK, SOFT = "#4d4d4d", COLOURS[1], "#222222", "#8a8a8a"
DISTANCE = COLOURS[0]
NEURONS_SHOWN = 9  # of each layer
GROUPS = 100  # of ten bins each: what can be seen


def main() -> None:
    """Draw them all."""
    if len(sys.argv) > 1:
        draw_difference_maps(IMAGES / "difference_maps.png", Path(sys.argv[1]))
    draw_dna(IMAGES / "dna.svg")
    with tempfile.TemporaryDirectory() as made:
        shoot(write_report(*run_demo(), made), IMAGES / "demo.png", 1280, 2010)
    for page, prefix in (("analysis", "analysis_"), ("people", "")):
        with tempfile.TemporaryDirectory() as made:
            os.chdir(made)
            Path("examples").symlink_to(IMAGES.parents[1] / "examples")
            run_page((IMAGES.parent / f"{page}.md").read_text(encoding="utf-8"))
            os.chdir(IMAGES)
            for picture in sorted(Path(made).glob("*.png")):
                keep(picture, IMAGES / f"{prefix}{picture.name}")


def draw_difference_maps(path: Path, bsds500: Path) -> None:
    """Two test photographs with a square of white noise, and where in them the distance lies."""
    source = open_images(bsds500)
    spoilt = []
    for name in ("test/147077.jpg", "test/157032.jpg"):
        photograph = torch.from_numpy(decode_image(source.read(source.names.index(name))).copy()).permute(2, 0, 1)[None]
        resized = create_extractor(EXTRACTOR).preprocess.resize(photograph)[0].clamp(0, 255)
        image = resized.round().byte().permute(1, 2, 0).numpy().copy()
        image[12:36, 48:72] = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
        spoilt.append(image)
    early = Column("emd", layers=["blocks.0"])
    found = difference_maps(np.stack(spoilt), "bsds500/trainval", EXTRACTOR, distance=early)
    plot_difference_maps(found, columns=1).savefig(path, dpi=110)
    keep(path, path)


def keep(picture: Path, path: Path) -> None:
    """Save a picture in 256 colours."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


# ------------------------------------------------------------------------------------------------------ what a DNA is
Box = tuple[float, float, float, float]  # left, bottom, width, height


def draw_dna(path: Path) -> None:
    """Images, network, the histograms of some neurons of every layer on both sides, their distances."""
    real = load_reference("bsds500/trainval", extractor=EXTRACTOR, kind="histogram")
    pictures = list(procedural_images(WORLD, 60))
    fake = build_dnas(np.stack(pictures), create_extractor(EXTRACTOR), name=WORLD)["histogram"]
    rows = {layer: np.linspace(0, count - 1, NEURONS_SHOWN).astype(int) for layer, count in real.layout.items()}
    found = cast("dict[str, Tensor]", compare.emd(real, fake, reduction="none"))
    distances = {layer: values.numpy() for layer, values in found.items()}
    layer = list(rows)[2]
    row = int(distances[layer][rows[layer]].argmax())
    neuron = int(rows[layer][row])

    figure = Figure(figsize=(12.4, 7.6))
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, 124), ylim=(0, 76))
    canvas.set_axis_off()
    for x, text in ((3, "images"), (25, "a frozen network"), (54, "a histogram of each neuron"), (104, "distances")):
        _write(canvas, x, 72.6, text, fontsize=12.5, weight="bold")
    _stack_of_photographs(canvas, 3, 56)
    _stack_of_pictures(figure, pictures[:3], 3, 37)
    _write(canvas, 3, 54.8, "photographs", color=REAL, fontsize=10.5, va="top")
    _write(canvas, 3, 35.8, "generated images", color=FAKE, fontsize=10.5, va="top")
    _network(canvas, len(rows), 25, 51.5)
    _write(canvas, 25, 41.5, f"{EXTRACTOR}: {len(rows)} layers\n(drawn: {NEURONS_SHOWN} neurons of each)", va="top")
    for start, end in (((17.5, 61), (23.5, 51.5)), ((17.5, 43), (23.5, 51.5)), ((40.5, 51.5), (46.5, 51.5))):
        canvas.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=SOFT, linewidth=1.3))
    for dna, what, x, colour in ((real, "photographs", 54, REAL), (fake, "generated images", 79, FAKE)):
        _write(canvas, x + 11, 70.3, f"DNA of {dna.n_images} {what}", color=colour, ha="center", fontsize=10.5)
        strips = _strips(figure, dna, rows, (x, 31.5, 22, 38), colour)
        mark = Rectangle((-0.5, row - 0.5), GROUPS, 1, fill=False, edgecolor=DISTANCE, linewidth=1.6, clip_on=False)
        strips[layer].add_patch(mark)
        if dna is real:
            for name, ax in strips.items():
                ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, color=INK, labelpad=5)
    _distance_bars(figure, {name: distances[name][shown] for name, shown in rows.items()}, (104, 31.5, 17, 38))

    _write(canvas, 3, 24.2, "One neuron", fontsize=12.5, weight="bold")
    text = (
        f"{layer}, neuron {neuron}: every\nactivation of every image is\ncounted in one of its 1000\n"
        "bins. The area between the\ncumulative shares is its\nearth mover's distance."
    )
    _write(canvas, 3, 20.6, text, va="top")
    shares = [_shares(dna, layer, np.array([neuron]))[0] for dna in (real, fake)]
    _one_neuron(figure, *shares, float(distances[layer][neuron]))
    mean = np.concatenate(list(distances.values())).mean()
    text = (
        f"VDNA-EMD: the mean over\nall {real.layout.total} neurons, {mean:.1f} bins.\n\n"
        "Or one number a layer, or\nthe neurons that you choose."
    )
    _write(canvas, 102, 14.5, text, va="center")
    with matplotlib.rc_context({"svg.hashsalt": "vdna_metrics", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


def _write(canvas: Axes, x: float, y: float, text: str, **options: Any) -> None:
    canvas.text(x, y, text, **{"color": INK, "fontsize": 10, "linespacing": 1.35, **options})


def _shares(dna: VDNA, layer: str, neurons: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[neurons, bins]`` shares."""
    one = cast("HistogramDistribution", dna.select(neurons={layer: neurons.tolist()}).distribution)
    return (one.counts / one.counts.sum(1, keepdim=True)).double().numpy()


def _axes(figure: Figure, box: Box) -> Axes:
    x, y, width, height = box
    return figure.add_axes((x / 124, y / 76, width / 124, height / 76))


def _axes_of_layers(figure: Figure, layers: Iterable[str], box: Box) -> dict[str, Axes]:
    """One axis a layer, the first on top."""
    x, bottom, width, height = box
    names = list(layers)
    share = height / len(names)
    places = {name: bottom + height - share * place for place, name in enumerate(names, 1)}
    return {name: _axes(figure, (x, y, width, share * 0.86)) for name, y in places.items()}


def _stack_of_photographs(canvas: Axes, x: float, y: float) -> None:
    for shift in (2, 1, 0):
        card = Rectangle((x + shift, y + shift), 11, 9, facecolor="white", edgecolor=REAL, linewidth=1.1)
        canvas.add_patch(card)
    hills = [(x, y), (x + 4, y + 5.5), (x + 6.4, y + 2.6), (x + 8, y + 4.4), (x + 11, y)]
    canvas.add_patch(Polygon(hills, color="#b5b5b5"))
    canvas.add_patch(Circle((x + 8.6, y + 6.9), 0.9, color="#b5b5b5"))
    canvas.add_patch(Rectangle((x, y), 11, 9, fill=False, edgecolor=REAL, linewidth=1.1))


def _stack_of_pictures(figure: Figure, pictures: list[NDArray[np.uint8]], x: float, y: float) -> None:
    for shift, picture in zip((2, 1, 0), pictures, strict=True):
        ax = _axes(figure, (x + shift, y + shift, 11, 9))
        ax.imshow(picture[:144:2, :176:2], aspect="auto")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color=FAKE, linewidth=1.1)


def _network(canvas: Axes, layers: int, x: float, middle: float) -> None:
    style = "round,pad=0,rounding_size=0.35"
    colours = {"facecolor": "#cfdcec", "edgecolor": "#5b7ea8", "linewidth": 0.9}
    for place in range(layers):
        height = 15 - 3.4 * (place // 2)
        corner = (x + 1.85 * place, middle - height / 2)
        canvas.add_patch(FancyBboxPatch(corner, 1.15, height, boxstyle=style, **colours))


def _strips(figure: Figure, dna: VDNA, rows: dict[str, NDArray[np.int64]], box: Box, colour: str) -> dict[str, Axes]:
    """One row a neuron; the darker, the more activations."""
    axes = _axes_of_layers(figure, rows, box)
    ramp = LinearSegmentedColormap.from_list("ramp", ["#ffffff", colour])
    for layer, ax in axes.items():
        grouped = _shares(dna, layer, rows[layer]).reshape(NEURONS_SHOWN, GROUPS, -1).sum(2)
        # The highest is often the zero of a ReLU, beside which all else would be pale.
        high = np.maximum(np.sort(grouped, 1)[:, -2:-1], 0.02)
        ax.imshow(np.sqrt(np.minimum(grouped / high, 1)), aspect="auto", cmap=ramp, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color="#c4c4c4", linewidth=0.7)
    ax.set_xlabel("activation, over the neuron's range", fontsize=8.5, color=SOFT, labelpad=3)
    return axes


def _distance_bars(figure: Figure, distances: dict[str, NDArray[np.float64]], box: Box) -> None:
    longest = max(map(max, distances.values()))
    axes = _axes_of_layers(figure, distances, box)
    for layer, ax in axes.items():
        ax.barh(range(NEURONS_SHOWN), distances[layer], height=0.75, color=DISTANCE)
        ax.set(xlim=(0, longest), ylim=(NEURONS_SHOWN - 0.5, -0.5), yticks=[])
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.spines["left"].set_color("#c4c4c4")
        ax.tick_params(labelsize=8, colors=SOFT, length=2)
    for ax in list(axes.values())[:-1]:
        ax.set_xticks([])
    list(axes.values())[-1].set_xlabel("bins", fontsize=8.5, color=SOFT, labelpad=1)


def _one_neuron(figure: Figure, real: NDArray[np.float64], fake: NDArray[np.float64], distance: float) -> None:
    bins = np.arange(1, len(real) + 1)
    left, right = _axes(figure, (30, 5, 31, 18.5)), _axes(figure, (66, 5, 31, 18.5))
    edges = np.arange(0, len(bins) + 1, 5)
    left.stairs(real.reshape(-1, 5).sum(1), edges, color=REAL, fill=True, alpha=0.35)
    left.stairs(fake.reshape(-1, 5).sum(1), edges, color=FAKE, linewidth=1.6)
    right.plot(bins, real.cumsum(), color=REAL, linewidth=1.6, label="photographs")
    right.plot(bins, fake.cumsum(), color=FAKE, linewidth=1.6, label="generated")
    right.fill_between(bins, real.cumsum(), fake.cumsum(), color=DISTANCE, alpha=0.3, linewidth=0)
    area = f"area: {distance:.1f} bins"
    right.text(0.97, 0.42, area, transform=right.transAxes, ha="right", fontsize=11, color=DISTANCE)
    right.legend(frameon=False, fontsize=9, loc="lower right")
    for ax, title in ((left, "histograms: share of activations"), (right, "cumulative shares F and G:  Σ |F − G|")):
        ax.set_title(title, fontsize=10, loc="left", color=INK)
        ax.set(xlim=(0, bins[np.cumsum(real + fake) <= 1.998][-1]), ylim=(0, None), yticks=[])
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8, colors=SOFT, length=2)
        ax.set_xlabel("bin", fontsize=8.5, color=SOFT, labelpad=1)


if __name__ == "__main__":
    main()
