"""How many images a distance needs (paper Fig. 5).

    python benchmarks/experiments/sample_size.py

Distances between one set of images and growing random subsets of another, 10 draws each, and the size from which each
stays within 5 % of that of all: CIFAR-JPEG from the ImageNet sample, two sets that are far apart, and the ImageNet
sample from BSDS500, two sets of photographs. Images are seen once, in parts of 20; a subset is a sum of parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from _common import Experiment, Network, Progress, begin, markdown_table
from _images import draw
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vdna_metrics.analysis import SampleSizeCurve, sample_size_curve
from vdna_metrics.distributions import Kind
from vdna_metrics.dna.columns import find_column
from vdna_metrics.images import ImageSource
from vdna_metrics.reports import plot_sample_sizes

PART, DRAWS, SHARE = 20, 10, 0.05
SIZES = (20, 40, 60, 80, 100, 140, 200, 280, 400, 560, 800, 1000, 1200, 1600, 2000, 2800, 4000)
SHOWN = (20, 60, 100, 200, 400, 560, 800)
KINDS: dict[str, tuple[str, Kind]] = {
    "VDNA-EMD": ("emd", "histogram"),
    "NFD": ("nfd", "gaussian"),
    "LFD": ("lfd", "layer_gaussian"),
}
LAST = "LFD of the last layer"  # what a FID of this network would be
Arrays = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Pair:
    """A fixed set and one of which subsets grow."""

    name: str
    fixed: ImageSource
    grown: ImageSource
    sizes: tuple[int, ...]


def main() -> None:
    experiment = begin(__file__, __doc__)
    photographs, small = experiment.open("imagenet_sample_1000.zip"), experiment.open("cifar10_jpeg_train.zip:train")
    far = SIZES[:11] + SIZES[12:]
    pairs = [
        Pair("CIFAR-JPEG from ImageNet", photographs, small, far),
        Pair("ImageNet from BSDS500", experiment.open("bsds500.zip"), photographs, SIZES[:12]),
    ]
    curves = {
        (pair.name, network.name): find_curves(experiment, network, pair)
        for pair in pairs
        for network in experiment.networks.values()
    }
    rows = len(curves) // len(pairs)
    figure = Figure(figsize=(5.8 * len(pairs), 4.1 * rows), layout="constrained")
    axes = figure.subplots(rows, len(pairs), squeeze=False).T.flat
    for ax, ((pair_name, network_name), found) in zip(axes, curves.items(), strict=True):
        plot_sample_sizes(found, share=SHARE, ax=ax)
        ax.set_title(f"{pair_name}, {network_name}", fontsize=10, loc="left")
        ax.set_ylim(0.8, 4.7)
        ax.legend(fontsize=9, frameon=False)
    picture = experiment.save_picture(figure, experiment.name)
    experiment.write_section(describe(experiment, pairs, curves, picture))


def find_curves(experiment: Experiment, network: Network, pair: Pair) -> dict[str, SampleSizeCurve]:
    """Every distance's curve through one network."""
    part, draws, sizes = (4, 2, (8, 24)) if experiment.quick else (PART, DRAWS, pair.sizes)
    # In random order, so that consecutive images are random parts.
    grown = draw(pair.grown, sizes[-1])
    labels = np.arange(len(grown)) // part
    numbers = range(len(grown) // part)
    fixed = experiment.look(network, pair.fixed)
    seen = experiment.look(network, grown, {str(number): labels == number for number in numbers})
    layout = network.extractor.layout
    progress = Progress(f"{network.name}, distances of subsets", len(KINDS) * len(layout), "curves")
    # Layer by layer: the last layer's is wanted too, and all parts' histograms of all layers would take gigabytes.
    by_layer: dict[str, dict[str, SampleSizeCurve]] = {}
    for name, (distance, kind) in KINDS.items():
        by_layer[name] = {}
        for layer in layout:

            def compute(layer: str = layer, distance: str = distance, kind: Kind = kind) -> Arrays:
                if kind == "histogram":
                    reference = fixed.histogram("all").select([layer])
                    parts = [seen.histogram(str(number)).select([layer]) for number in numbers]
                else:
                    reference = fixed.gaussian(kind).select([layer])
                    parts = [seen.gaussian(kind, labels == number).select([layer]) for number in numbers]
                found = sample_size_curve(reference, parts, sizes=sizes, draws=draws, distance=distance)
                return {"values": found.values.numpy()}

            settings = [network.identity, fixed.source, seen.source, grown.names, part, draws, sizes, distance, layer]
            values = experiment.keep(f"{network.name}-curve", settings, compute)["values"]
            by_layer[name][layer] = SampleSizeCurve(
                sizes, torch.from_numpy(values), distance, find_column(distance).unit
            )
            progress(sum(map(len, by_layer.values())))
    curves = {}
    for name, of_layer in by_layer.items():
        # The mean over neurons; of the layer Fréchet distance over layers.
        weights = torch.tensor([1 if name == "LFD" else layout[layer] for layer in of_layer], dtype=torch.float64)
        values = torch.stack([curve.values for curve in of_layer.values()])
        mean = torch.einsum("l,lds->ds", weights / weights.sum(), values)
        curves[name] = replace(next(iter(of_layer.values())), values=mean)
    curves[LAST] = by_layer["LFD"][list(layout)[-1]]
    return curves


def every_draw_within(curve: SampleSizeCurve) -> int:
    """The smallest size from which on not the mean alone but every draw stays near the final value."""
    near = ((curve.values - curve.final).abs() <= SHARE * curve.final).all(dim=0).tolist()
    far = [place for place, is_near in enumerate(near[:-1]) if not is_near]
    return curve.sizes[far[-1] + 1 if far else 0]


def describe(
    experiment: Experiment,
    pairs: Sequence[Pair],
    curves: Mapping[tuple[str, str], Mapping[str, SampleSizeCurve]],
    picture: str,
) -> str:
    """The page's part."""
    tables = []
    for pair in pairs:
        rows = []
        for (pair_name, network), found in curves.items():
            for name, curve in found.items() if pair_name == pair.name else ():
                shown = [place for place, size in enumerate(curve.sizes[:-1]) if size in SHOWN or experiment.quick]
                relative = [f"{float(curve.mean[place]) / curve.final:.2f}" for place in shown]
                ends = [f"{curve.final:.4g}", str(curve.stays_within(SHARE)), str(every_draw_within(curve))]
                rows.append([network, name, *relative, *ends])
        sizes = [str(curve.sizes[place]) for place in shown]
        ends = [f"all {curve.sizes[-1]}", "mean within 5 %", "all draws"]
        tables.append(f"**{pair.name}**\n\n" + markdown_table(["network", "distance", *sizes, *ends], rows, words=2))
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![Distance of growing subsets]({picture})",
            f"Mean over {len(curve.values)} draws, as a multiple of the distance of all images; that distance; and the "
            "sizes from which the mean, and every draw, stays within 5 % of it:",
            *tables,
        ]
    )


if __name__ == "__main__":
    main()
