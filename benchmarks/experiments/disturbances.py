"""Whether distances grow with disturbances (the test of the FID's authors).

    python benchmarks/experiments/disturbances.py

BSDS500's training and validation photographs are the reference; its 200 test photographs, cropped and resized to the
network's size, are disturbed at five strengths each. The seventh disturbance puts images of another set in their place.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from _common import CROP, Experiment, Network, begin, markdown_table
from _images import Image, changed, draw, hold, pixels, stream_of
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage

from vdna_metrics import VDNA, compare
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.images.procedural import add_noise, blur

SIZE = 224
DISTANCES = ("VDNA-EMD", "NFD", "LFD", "LFD of the last layer")
Disturb = Callable[[Image, np.random.Generator, float], Image]


def rectangles(image: Image, stream: np.random.Generator, share: float) -> Image:
    """Five black squares at random places, each with sides of this share of the image's."""
    hidden = image.copy()
    side = round(share * image.shape[0])
    for _ in range(5):
        top, left = (int(stream.integers(0, length - side + 1)) for length in image.shape[:2])
        hidden[top : top + side, left : left + side] = 0
    return hidden


def swirl(image: Image, stream: np.random.Generator, strength: float) -> Image:
    """Turn what is near a random centre, by so many radians in the middle and none from half the image's side on."""
    side = image.shape[0]
    centre = stream.uniform(0.25 * side, 0.75 * side, (2, 1, 1))
    offsets = np.indices(image.shape[:2]) - centre
    nearness = np.maximum(1 - np.hypot(*offsets) / (0.5 * side), 0)
    angle = strength * nearness**2
    rows = centre[0] + np.cos(angle) * offsets[0] - np.sin(angle) * offsets[1]
    columns = centre[1] + np.sin(angle) * offsets[0] + np.cos(angle) * offsets[1]
    channels = [
        ndimage.map_coordinates(image[..., c], [rows, columns], order=1, mode="mirror") for c in range(image.shape[2])
    ]
    return np.stack(channels, axis=-1)


def salt_and_pepper(image: Image, stream: np.random.Generator, share: float) -> Image:
    """This share of the pixels, black or white."""
    chance = stream.random(image.shape[:2])
    spoiled = image.copy()
    spoiled[chance < share] = 255
    spoiled[chance < share / 2] = 0
    return spoiled


def compress(image: Image, _: np.random.Generator, quality: float) -> Image:
    """To a JPEG file and back."""
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "JPEG", quality=int(quality))
    return np.array(PillowImage.open(stream))


DISTURBANCES: dict[str, tuple[str, tuple[float, ...], Disturb]] = {
    "noise": ("deviation, of 255", (8, 16, 32, 64, 128), lambda image, stream, sigma: add_noise(image, sigma, stream)),
    "blur": ("deviation, pixels", (0.5, 1, 2, 4, 8), lambda image, _, sigma: blur(image, sigma)),
    "black squares": ("side, of the image's", (0.05, 0.1, 0.2, 0.35, 0.5), rectangles),
    "swirl": ("angle, radians", (0.5, 1, 2, 4, 8), swirl),
    "salt and pepper": ("share of pixels", (0.01, 0.03, 0.1, 0.2, 0.4), salt_and_pepper),
    "JPEG": ("quality", (75, 40, 20, 10, 5), compress),
}
CONTAMINATION = "other images"
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
STRENGTHS = {name: strengths for name, (_, strengths, _) in DISTURBANCES.items()} | {CONTAMINATION: SHARES}
UNITS = {name: unit for name, (unit, _, _) in DISTURBANCES.items()} | {CONTAMINATION: "share of CIFAR-JPEG"}

QUICK = ("noise", "blur")

Curves = dict[str, dict[str, list[float]]]
"""``{disturbance: {distance: values}}``, the first of the undisturbed photographs."""


def main() -> None:
    experiment = begin(__file__, __doc__)
    curves, outside = {}, {}
    for name, network in experiment.networks.items():
        curves[name], outside[name] = measure(experiment, network)
    shown = experiment.save_picture(plot_images(experiment), f"{experiment.name}_images")
    picture = experiment.save_picture(plot(curves), experiment.name)
    experiment.write_section(describe(experiment, curves, outside, shown, picture))


def measure(experiment: Experiment, network: Network) -> tuple[Curves, dict[str, float]]:
    """Every distance's curve, and of each disturbance's strongest set the share of activations outside the ranges."""
    seen = experiment.look(network, experiment.open("bsds500.zip", "train/", "val/"))
    reference = seen.histogram("all"), seen.gaussian("layer_gaussian")
    test = hold(experiment.open("bsds500.zip", "test/"), SIZE, CROP)

    def distances(what: str, histogram: VDNA, gaussian: Callable[[], VDNA]) -> dict[str, float]:
        def compute() -> dict[str, NDArray[np.float64]]:
            moments = gaussian()
            by_layer = compare.layer_frechet(reference[1], moments, reduction="layer")
            lfd = [float(value) for value in by_layer.values()]
            nfd = float(compare.neuron_frechet(reference[1], moments))
            return {
                "values": np.array([float(compare.emd(reference[0], histogram)), nfd, sum(lfd) / len(lfd), lfd[-1]])
            }

        values = experiment.keep(f"{network.name}-distances", [network.identity, what, test.names], compute)["values"]
        return dict(zip(DISTANCES, values.tolist(), strict=True))

    def of_set(name: str, change: Callable[[Image, np.random.Generator], Image]) -> tuple[dict[str, float], VDNA]:
        found = experiment.look(network, changed(test, f"{name}, {SIZE} px", change))
        histogram = found.histogram("all")
        return distances(found.source, histogram, lambda: found.gaussian("layer_gaussian")), histogram

    undisturbed, histogram = of_set("undisturbed", lambda image, _: image)
    curves, outside = {}, {"undisturbed": _outside(histogram)}
    for name, (_, strengths, disturb) in DISTURBANCES.items():
        if experiment.quick and name not in QUICK:
            continue
        values = [undisturbed]
        for strength in strengths:
            found, histogram = of_set(f"{name} {strength:g}", partial(_call, disturb, strength))
            values.append(found)
        curves[name] = {distance: [found[distance] for found in values] for distance in DISTANCES}
        outside[name] = _outside(histogram)

    # In one random order, so that those that are replaced at one strength are replaced at all greater ones.
    order = np.arange(len(test))
    numbers = [round(share * len(test)) for share in SHARES]
    others = experiment.look(
        network, draw(experiment.open("cifar10_jpeg_test.zip:test"), len(test)), {str(n): order < n for n in numbers}
    )
    kept = experiment.look(
        network, changed(draw(test, len(test)), f"mixed, {SIZE} px", lambda image, _: image),
        {str(n): order >= n for n in numbers},
    )  # fmt: skip
    values = [undisturbed]
    for n in numbers:
        histogram = others.histogram(str(n))
        if n < len(test):
            histogram = histogram + kept.histogram(str(n))

        def mixed(n: int = n) -> VDNA:
            gaussian = others.gaussian("layer_gaussian", order < n)
            return gaussian + kept.gaussian("layer_gaussian", order >= n) if n < len(test) else gaussian

        values.append(distances(f"{n} others", histogram, mixed))
    curves[CONTAMINATION] = {distance: [found[distance] for found in values] for distance in DISTANCES}
    outside[CONTAMINATION] = _outside(histogram)
    return curves, outside


def _call(disturb: Disturb, strength: float, image: Image, stream: np.random.Generator) -> Image:
    return disturb(image, stream, strength)


def _outside(dna: VDNA) -> float:
    distribution = dna.distribution
    assert isinstance(distribution, HistogramDistribution)
    return max(distribution.outside().values())


# -------------------------------------------------------------------------------------------------------------- results
def falls(values: Sequence[float]) -> list[int]:
    """Strengths, from 1, at which a curve is below the strength before."""
    return [place for place, (before, after) in enumerate(pairwise(values), 1) if after < before]


def plot(curves: Mapping[str, Curves]) -> Figure:
    """Small multiples: a column a disturbance, a row a network; distances as multiples of the undisturbed one."""
    figure = Figure(figsize=(15.5, 2.75 * len(curves) + 0.4), layout="constrained")
    axes = figure.subplots(len(curves), len(next(iter(curves.values()))), squeeze=False, sharey="row")
    for row, (network, of_network) in zip(axes, curves.items(), strict=True):
        for ax, (name, of_disturbance) in zip(row, of_network.items(), strict=True):
            for colour, (distance, values) in zip(COLOURS, of_disturbance.items(), strict=False):
                relative = [value / values[0] for value in values]
                ax.plot(range(len(values)), relative, color=colour, marker="o", markersize=3.5, label=distance)
                for place in falls(values):
                    ax.plot(
                        place, relative[place], "o", markersize=9, markerfacecolor="none", markeredgecolor=colour,
                    )  # fmt: skip
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
            ax.set_xticks(range(len(values)), ["0", *(f"{strength:g}" for strength in STRENGTHS[name])], fontsize=8)
            ax.tick_params(axis="y", labelsize=8)
            ax.set_title(name, fontsize=10, loc="left")
            ax.set_xlabel(UNITS[name], fontsize=8)
            ax.grid(axis="y", color="#e6e6e6")
            ax.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(f"{network}\ntimes that of undisturbed", fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncol=len(labels), loc="outside lower left", fontsize=9)
    return figure


def plot_images(experiment: Experiment) -> Figure:
    """One photograph, undisturbed and at every strength of every disturbance."""
    test = experiment.open("bsds500.zip", "test/")
    place = len(test) // 3
    image = pixels(test, place, SIZE, CROP)
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots(len(DISTURBANCES), 6, squeeze=False)
    for row, (name, (_, strengths, disturb)) in zip(axes, DISTURBANCES.items(), strict=True):
        for ax, strength in zip(row, (None, *strengths), strict=True):
            shown = image if strength is None else disturb(image, stream_of(test.names[place]), strength)
            ax.imshow(shown)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            ax.set_xlabel("" if strength is None else f"{strength:g}", fontsize=8, labelpad=1)
        row[0].set_ylabel(name, fontsize=9)
    return figure


def describe(
    experiment: Experiment,
    curves: Mapping[str, Curves],
    outside: Mapping[str, Mapping[str, float]],
    shown: str,
    picture: str,
) -> str:
    """The page's part."""
    rows, sentences, wrong = [], [], 0
    for network, of_network in curves.items():
        for name, of_disturbance in of_network.items():
            found = []
            for distance, values in of_disturbance.items():
                if distance != DISTANCES[-1]:
                    rows.append([network, name, distance, *(f"{value:.3g}" for value in values)])
                if falls(values):
                    wrong += 1
                    places = ", ".join(f"{STRENGTHS[name][place - 1]:g}" for place in falls(values))
                    found.append(f"{distance} at {places} (least: {min(values) / values[0]:.2f} times undisturbed)")
            if found:
                sentences.append(f"- {name}, {network}: {'; '.join(found)}.")
    total = sum(len(of_disturbance) for of_network in curves.values() for of_disturbance in of_network.values())
    header = ["network", "disturbance", "distance", "undisturbed", *(f"strength {i}" for i in range(1, 6))]
    header_outside = ["network", *next(iter(outside.values()))]
    rows_outside = [[name, *(f"{share:.1%}" for share in shares.values())] for name, shares in outside.items()]
    verdict = f"Of {total} curves {total - wrong} grow at every step." + (" The others fall:" if sentences else "")
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![A photograph under each disturbance]({shown})",
            f"![Distances by strength]({picture})",
            "Rings: where a curve falls. " + verdict,
            *(["\n".join(sentences)] if sentences else []),
            "Share of activations outside the ranges, in the layer where it is largest, at the greatest strength:",
            markdown_table(header_outside, rows_outside),
            '??? note "The curves in numbers"\n\n    ' + markdown_table(header, rows, words=3).replace("\n", "\n    "),
        ]
    )


if __name__ == "__main__":
    main()
