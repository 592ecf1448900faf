"""What `gan_training.py` shows of a run: curves, profiles of planted faults by layer, samples."""

from collections.abc import Iterator
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, resize
from torchvision.utils import make_grid, save_image

from vdna_metrics import VDNA, Reading, build_dnas, compare, create_extractor
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.reports.plots import layer_profile

Record = dict[str, float]
Profiles = dict[str, dict[str, Record]]  # {distance: {set of images: {layer: value}}}
TITLES = {"vdna_emd": "VDNA-EMD (bins)", "nfd": "NFD", "lfd": "LFD of the last layer, as FID"}


def profiles(sets: dict[str, Iterator[Tensor]], real: VDNA, others: Iterator[Tensor], reading: Reading) -> Profiles:
    """Distances by layer of sets of images: from real ones, and from other images of the generator as it is."""
    extractor = create_extractor(real.provenance.extractor)
    sound = build_dnas(others, extractor, ["histogram", "gaussian"], reading=reading)
    found: Profiles = {}
    for name, images in sets.items():
        these = build_dnas(images, extractor, ["histogram", "gaussian"], reading=reading)
        for what, by_layer in {
            "VDNA-EMD from real images": compare.emd(real, these["histogram"], reduction="layer"),
            "VDNA-EMD from the generator's": compare.emd(sound["histogram"], these["histogram"], reduction="layer"),
            "NFD from the generator's": compare.neuron_frechet(sound["gaussian"], these["gaussian"], reduction="layer"),
        }.items():
            found.setdefault(what, {})[name] = {layer: float(distance) for layer, distance in by_layer.items()}
    return found


def print_profiles(found: Profiles) -> None:
    """As a table."""
    for what, by_set in found.items():
        print(what)
        for name, profile in by_set.items():
            print(f"  {name:14}", *(f"{layer} {distance:<9.3g}" for layer, distance in profile.items()))


def draw_profiles(found: Profiles, path: Path) -> None:
    """Draw distances by layer. On a logarithmic scale heights above the generator's line are multiples."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axis, (what, by_set) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        layer_profile(by_set, ylabel=what, log=True, ax=axis)
    figure.savefig(path, dpi=110)


def draw_curves(history: list[Record], floor: Record, path: Path) -> None:
    """Draw the three distances over epochs, above the losses."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplot_mosaic([list(TITLES), ["losses"] * len(TITLES)], height_ratios=[3, 1])
    epochs = range(1, len(history) + 1)
    for (name, title), colour in zip(TITLES.items(), COLOURS, strict=False):
        axes[name].plot(epochs, [record[name] for record in history], color=colour, linewidth=2)
        axes[name].axhline(floor[name], color="#707070", linestyle="--")
        axes[name].annotate("real images", (epochs[-1], floor[name]), (0, 3), textcoords="offset points", ha="right")
        axes[name].set(title=title, yscale="log", xlabel="epoch")
    for name, colour in (("discriminator", COLOURS[5]), ("generator", COLOURS[4])):
        axes["losses"].plot(epochs, [record[f"loss_{name}"] for record in history], color=colour, label=name)
    axes["losses"].set(xlabel="epoch", ylabel="loss")
    axes["losses"].legend(fontsize=8)
    for axis in axes.values():
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110)


def draw_samples(sets: dict[str, Iterator[Tensor]], path: Path) -> None:
    """Draw the first twenty images of each set, twice as large."""
    rows = torch.cat([next(images)[:20] for images in sets.values()])
    larger = resize(rows, [2 * rows.shape[-1]] * 2, InterpolationMode.NEAREST)
    save_image(make_grid(larger, nrow=10) / 255, path)
