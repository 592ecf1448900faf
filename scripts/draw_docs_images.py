"""Draw the pictures of the documentation from the data that ships with the package, into `docs/images/`.

    python scripts/draw_docs_images.py

`dna.svg` says what a DNA is: the bundled DNA of photographs beside one of procedural images that is made here.
`demo.png` is the top of the report of `vdna-metrics demo` in chromium, `analysis_*.png` what the blocks of
`docs/analysis.md` draw, in fewer colours, so that they stay small.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

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

from vdna_metrics import VDNA, build_dnas, compare, create_extractor, load_reference
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.images.procedural import procedural_images

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
EXTRACTOR = "vdna_tiny"
WORLD = "one_over_f_noise"
REAL, FAKE, INK, SOFT = "#4d4d4d", COLOURS[1], "#222222", "#8a8a8a"
NEURONS_SHOWN = 9  # of each layer
GROUPS = 100  # of ten bins each: what can be seen


def main() -> None:
    """Draw them all."""
    IMAGES.mkdir(exist_ok=True)
    draw_dna(IMAGES / "dna.svg")
    draw_demo(IMAGES / "demo.png")
    draw_analysis(IMAGES)


def draw_demo(path: Path) -> None:
    """Run the demo and keep a picture of the top of its report."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "vdna_metrics", "demo", "-o", folder], check=True)
        shoot(Path(folder) / "index.html", path, 1280, 2010)


def draw_analysis(folder: Path) -> None:
    """Run the page and keep its pictures."""
    page = (IMAGES.parent / "analysis.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as made:
        os.chdir(made)
        run_page(page)
        os.chdir(IMAGES)
        for picture in sorted(Path(made).glob("*.png")):
            keep(picture, folder / f"analysis_{picture.name}")


def keep(picture: Path, path: Path) -> None:
    """Save a picture in 256 colours."""
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


# ------------------------------------------------------------------------------------------------------ what a DNA is
def draw_dna(path: Path) -> None:
    """Images, network, the histograms of some neurons of every layer on both sides, their distances."""
    real = load_reference("bsds500/trainval", extractor=EXTRACTOR, kind="histogram")
    pictures = list(procedural_images(WORLD, 60))
    fake = build_dnas(np.stack(pictures), create_extractor(EXTRACTOR), name=WORLD)["histogram"]
    rows = {layer: np.linspace(0, count - 1, NEURONS_SHOWN).astype(int) for layer, count in real.layout.items()}
    distances = _by_layer(compare.emd(real, fake, reduction="none"))
    chosen = _telling(distances, rows)

    figure = Figure(figsize=(12.4, 7.6))
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set(xlim=(0, 124), ylim=(0, 76))
    canvas.set_axis_off()
    _headings(canvas)
    _stack_of_photographs(canvas, 3, 56)
    _stack_of_pictures(figure, canvas, pictures[:3], 3, 37)
    _network(canvas, list(real.layout), 25, 51.5)
    for start in ((17.5, 61), (17.5, 43)):
        _arrow(canvas, start, (23.5, 51.5))
    _arrow(canvas, (40.5, 51.5), (46.5, 51.5))

    maps = [
        _strips(figure, dna, rows, (x, 31.5, 22, 38), colour) for dna, x, colour in ((real, 54, REAL), (fake, 79, FAKE))
    ]
    canvas.text(65, 70.3, f"DNA of {real.n_images} photographs", color=REAL, ha="center", fontsize=10.5)
    canvas.text(90, 70.3, f"DNA of {fake.n_images} generated images", color=FAKE, ha="center", fontsize=10.5)
    _layer_names(maps[0], list(rows))
    _distance_bars(figure, distances, rows, (104, 31.5, 17, 38))
    for axes in maps:
        _mark(axes[list(rows).index(chosen[0])], rows[chosen[0]], chosen[1])
    _one_neuron(figure, canvas, real, fake, chosen, float(distances[chosen[0]][chosen[1]]))
    mean = torch.cat(list(distances.values())).mean()
    canvas.text(
        102,
        14.5,
        f"VDNA-EMD: the mean over\nall {real.layout.total} neurons, {float(mean):.1f} bins.\n\n"
        "Or one number a layer, or\nthe neurons that you choose.",
        fontsize=10,
        color=INK,
        va="center",
        linespacing=1.35,
    )
    with matplotlib.rc_context({"svg.hashsalt": "vdna_metrics", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


def _by_layer(distance: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    if isinstance(distance, Tensor):
        raise TypeError("expected distances by layer")
    return distance


def _telling(distances: dict[str, Tensor], rows: dict[str, NDArray[np.int64]]) -> tuple[str, int]:
    """The farthest of the neurons that are shown of the third layer."""
    layer = list(rows)[2]
    shown = rows[layer]
    return layer, int(shown[int(distances[layer][torch.from_numpy(shown)].argmax())])


def _shares(dna: VDNA, layer: str, neurons: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[neurons, bins]`` shares."""
    one = dna.select(neurons={layer: neurons.tolist()}).distribution
    if not isinstance(one, HistogramDistribution):
        raise TypeError("expected a histogram")
    counts = one.counts.double().numpy()
    shares: NDArray[np.float64] = counts / counts.sum(1, keepdims=True)
    return shares


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    x, y, width, height = box
    return figure.add_axes((x / 124, y / 76, width / 124, height / 76))


def _headings(canvas: Axes) -> None:
    for x, text in ((3, "images"), (25, "a frozen network"), (54, "a histogram of each neuron"), (104, "distances")):
        canvas.text(x, 72.6, text, fontsize=12.5, weight="bold", color=INK)
    canvas.text(3, 24.2, "One neuron", fontsize=12.5, weight="bold", color=INK)


def _stack_of_photographs(canvas: Axes, x: float, y: float) -> None:
    for shift in (2, 1, 0):
        card = Rectangle((x + shift, y + shift), 11, 9, facecolor="white", edgecolor=REAL, linewidth=1.1)
        canvas.add_patch(card)
    hills = [(x, y), (x + 4, y + 5.5), (x + 6.4, y + 2.6), (x + 8, y + 4.4), (x + 11, y)]
    canvas.add_patch(Polygon(hills, color="#b5b5b5"))
    canvas.add_patch(Circle((x + 8.6, y + 6.9), 0.9, color="#b5b5b5"))
    canvas.add_patch(Rectangle((x, y), 11, 9, fill=False, edgecolor=REAL, linewidth=1.1))
    canvas.text(x, y - 1.2, "photographs", color=REAL, fontsize=10.5, va="top")


def _stack_of_pictures(figure: Figure, canvas: Axes, pictures: list[NDArray[np.uint8]], x: float, y: float) -> None:
    for shift, picture in zip((2, 1, 0), pictures, strict=True):
        ax = _axes(figure, (x + shift, y + shift, 11, 9))
        ax.imshow(picture[:144:2, :176:2], aspect="auto")
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(color=FAKE, linewidth=1.1)
    canvas.text(x, y - 1.2, "generated images", color=FAKE, fontsize=10.5, va="top")


def _network(canvas: Axes, layers: list[str], x: float, middle: float) -> None:
    for place, _ in enumerate(layers):
        height = 15 - 3.4 * (place // 2)
        box = FancyBboxPatch(
            (x + 1.85 * place, middle - height / 2),
            1.15,
            height,
            boxstyle="round,pad=0,rounding_size=0.35",
            facecolor="#cfdcec",
            edgecolor="#5b7ea8",
            linewidth=0.9,
        )
        canvas.add_patch(box)
    canvas.text(
        x,
        middle - 10,
        f"{EXTRACTOR}: {len(layers)} layers\n(drawn: {NEURONS_SHOWN} neurons of each)",
        fontsize=10,
        color=INK,
        va="top",
        linespacing=1.3,
    )


def _arrow(canvas: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    canvas.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=SOFT, linewidth=1.3))


def _strips(
    figure: Figure,
    dna: VDNA,
    rows: dict[str, NDArray[np.int64]],
    box: tuple[float, float, float, float],
    colour: str,
) -> list[Axes]:
    """One axis a layer, one row a neuron; the darker, the more activations."""
    x, bottom, width, height = box
    share, axes = height / len(rows), []
    ramp = LinearSegmentedColormap.from_list("ramp", ["#ffffff", colour])
    for place, (layer, neurons) in enumerate(rows.items()):
        ax = _axes(figure, (x, bottom + height - share * (place + 1), width, share * 0.86))
        grouped = _shares(dna, layer, neurons).reshape(len(neurons), GROUPS, -1).sum(2)
        # The highest is often the zero of a ReLU, beside which all else would be pale.
        high = np.maximum(np.sort(grouped, 1)[:, -2:-1], 0.02)
        ax.imshow(np.sqrt(np.minimum(grouped / high, 1)), aspect="auto", cmap=ramp, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(color="#c4c4c4", linewidth=0.7)
        axes.append(ax)
    axes[-1].set_xlabel("activation, over the neuron's range", fontsize=8.5, color=SOFT, labelpad=3)
    return axes


def _layer_names(axes: list[Axes], layers: list[str]) -> None:
    for ax, layer in zip(axes, layers, strict=True):
        ax.set_ylabel(layer, rotation=0, ha="right", va="center", fontsize=9, color=INK, labelpad=5)


def _distance_bars(
    figure: Figure,
    distances: dict[str, Tensor],
    rows: dict[str, NDArray[np.int64]],
    box: tuple[float, float, float, float],
) -> None:
    x, bottom, width, height = box
    share = height / len(rows)
    longest = max(float(distances[layer][torch.from_numpy(shown)].max()) for layer, shown in rows.items())
    for place, (layer, shown) in enumerate(rows.items()):
        ax = _axes(figure, (x, bottom + height - share * (place + 1), width, share * 0.86))
        ax.barh(range(len(shown)), distances[layer][torch.from_numpy(shown)].numpy(), height=0.75, color="#0072B2")
        ax.set(xlim=(0, longest), ylim=(len(shown) - 0.5, -0.5), yticks=[])
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.spines["left"].set_color("#c4c4c4")
        if place < len(rows) - 1:
            ax.set_xticks([])
        else:
            ax.tick_params(labelsize=8, colors=SOFT, length=2)
            ax.set_xlabel("bins", fontsize=8.5, color=SOFT, labelpad=1)


def _mark(ax: Axes, shown: NDArray[np.int64], neuron: int) -> None:
    row = int(np.flatnonzero(shown == neuron)[0])
    frame = Rectangle((-0.5, row - 0.5), GROUPS, 1, fill=False, edgecolor="#0072B2", linewidth=1.6, clip_on=False)
    ax.add_patch(frame)


def _one_neuron(figure: Figure, canvas: Axes, real: VDNA, fake: VDNA, chosen: tuple[str, int], distance: float) -> None:
    layer, neuron = chosen
    shares = [_shares(dna, layer, np.array([neuron]))[0] for dna in (real, fake)]
    bins = np.arange(1, len(shares[0]) + 1)
    seen = bins[np.cumsum(sum(shares)) <= 1.998][-1]
    canvas.text(
        3,
        20.6,
        f"{layer}, neuron {neuron}: every\nactivation of every image is\ncounted in one of its {len(bins)}\n"
        "bins. The area between the\ncumulative shares is its\nearth mover's distance.",
        fontsize=10,
        color=INK,
        va="top",
        linespacing=1.35,
    )
    left, right = _axes(figure, (30, 5, 31, 18.5)), _axes(figure, (66, 5, 31, 18.5))
    edges = np.arange(0, len(bins) + 1, 5)
    left.stairs(shares[0].reshape(-1, 5).sum(1), edges, color=REAL, fill=True, alpha=0.35)
    left.stairs(shares[1].reshape(-1, 5).sum(1), edges, color=FAKE, linewidth=1.6)
    for share, colour, name in zip(shares, (REAL, FAKE), ("photographs", "generated"), strict=True):
        right.plot(bins, np.cumsum(share), color=colour, linewidth=1.6, label=name)
    right.fill_between(bins, np.cumsum(shares[0]), np.cumsum(shares[1]), color="#0072B2", alpha=0.3, linewidth=0)
    area = f"area: {distance:.1f} bins"
    right.text(0.97, 0.42, area, transform=right.transAxes, ha="right", fontsize=11, color="#0072B2")
    right.legend(frameon=False, fontsize=9, loc="lower right")
    for ax, title in ((left, "histograms: share of activations"), (right, "cumulative shares F and G:  Σ |F − G|")):
        ax.set_title(title, fontsize=10, loc="left", color=INK)
        ax.set(xlim=(0, seen), ylim=(0, None), yticks=[])
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8, colors=SOFT, length=2)
        ax.set_xlabel("bin", fontsize=8.5, color=SOFT, labelpad=1)


if __name__ == "__main__":
    main()
