"""The demo: procedural images scored against real photographs, offline."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.distributions import Kind
from vdna_metrics.dna import VDNA, compare
from vdna_metrics.dna.compare import Distance
from vdna_metrics.extractors import create_extractor
from vdna_metrics.references.build import Progress, Reading, build_dnas
from vdna_metrics.references.procedural import PROCEDURAL_WORLDS, procedural_images
from vdna_metrics.references.store import find_ranges, load_reference
from vdna_metrics.reports.plots import COLOURS, layer_profile, neuron_histograms

EXTRACTOR = "vdna_tiny"
REFERENCE = "bsds500/trainval"
PHOTOGRAPHS = "photographs (BSDS500 test)"
_KINDS: tuple[Kind, ...] = ("histogram", "gaussian", "layer_gaussian")
_BATCH = 20


@dataclass(frozen=True)
class DemoEntry:
    """One scored set of images.

    Args:
        name: of the set.
        dnas: its DNAs by kind.
        emd: VDNA-EMD from the reference, in bins.
        neuron_frechet: neuron Fréchet distance.
        layer_frechet: layer Fréchet distance, of the layers whose covariances the images can tell.
        profile: VDNA-EMD by layer.
        example: one of its images, ``[H, W, 3]`` uint8, where there are images.
    """

    name: str
    dnas: dict[Kind, VDNA]
    emd: float
    neuron_frechet: float
    layer_frechet: float
    profile: dict[str, Tensor]
    example: NDArray[np.uint8] | None


def run_demo(n_images: int = 100, *, progress: Callable[[str], Progress] | None = None) -> list[DemoEntry]:
    """Score every procedural world, and held-out photographs, against the bundled photographs.

    Args:
        n_images: images of each world.
        progress: called with each world's name, gives what is called after each batch.

    Returns:
        One entry a set, nearest first.
    """
    references = {kind: load_reference(REFERENCE, extractor=EXTRACTOR, kind=kind) for kind in _KINDS}
    photographs = {kind: load_reference("bsds500/test", extractor=EXTRACTOR, kind=kind) for kind in _KINDS}
    # The store has their covariances without those of the last layer, which need more images than there are.
    layers = list(photographs["layer_gaussian"].layout)
    references["layer_gaussian"] = references["layer_gaussian"].select(layers)
    entries = [_entry(PHOTOGRAPHS, photographs, references, None)]
    extractor = create_extractor(EXTRACTOR)
    ranges = find_ranges(EXTRACTOR)
    for world in PROCEDURAL_WORLDS:
        report = progress(world) if progress is not None else None
        dnas = build_dnas(
            _batches(world, n_images), extractor, _KINDS, ranges=ranges, name=world, reading=Reading(progress=report)
        )
        dnas["layer_gaussian"] = dnas["layer_gaussian"].select(layers)
        entries.append(_entry(world.replace("_", " "), dnas, references, next(procedural_images(world, 1))))
    return sorted(entries, key=lambda entry: entry.emd)


def draw_demo(entries: list[DemoEntry], path: Path) -> None:
    """Draw the result: examples, distance by layer, and some neurons' histograms.

    Args:
        entries: what `run_demo` returns.
        path: picture to write; its suffix says in which format.
    """
    from matplotlib.figure import Figure

    colours = {entry.name: COLOURS[i % len(COLOURS)] for i, entry in enumerate(entries)}
    figure = Figure(figsize=(12, 9.5), layout="constrained")
    parts = figure.add_gridspec(3, 1, height_ratios=[1.05, 2, 1.5])
    top, middle, bottom = (figure.add_subfigure(parts[row]) for row in range(3))
    for entry, ax in zip(entries, top.subplots(1, len(entries)), strict=True):
        ax.set_axis_off()
        if entry.example is not None:
            ax.imshow(entry.example)
        else:
            ax.text(0.5, 0.5, "200 photographs", ha="center", va="center", color="#666666", transform=ax.transAxes)
        ax.set_title(f"{entry.name}\n{entry.emd:.1f} bins", fontsize=9, color=colours[entry.name])
    profiles = {entry.name: entry.profile for entry in entries}
    ax = layer_profile(profiles, log=True, colours=colours, ax=middle.subplots())
    ax.set_title("Distance from 300 photographs (BSDS500 train and val), layer by layer", loc="left", fontsize=11)
    reference = load_reference(REFERENCE, extractor=EXTRACTOR, kind="histogram")
    bottom.suptitle(
        "Activations of one telling neuron of some layers (grey: photographs)", x=0.01, ha="left", fontsize=11
    )
    chosen = _telling_neurons(entries, reference)
    shown = {entry.name: entry.dnas["histogram"] for entry in (entries[0], *entries[-3:])}
    for (layer, neuron), ax in zip(chosen, bottom.subplots(1, len(chosen)), strict=True):
        neuron_histograms(shown, layer, neuron, reference=reference, colours=colours, ax=ax)
        ax.set_xlabel("activation", fontsize=8)
    # Whole or not at all: what goes wrong while drawing leaves no file behind.
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=110)
    path.write_bytes(picture.getvalue())


def _batches(world: str, n_images: int) -> Iterator[Tensor]:
    batch: list[NDArray[np.uint8]] = []
    for image in procedural_images(world, n_images):
        batch.append(image)
        if len(batch) == _BATCH:
            yield _as_tensor(batch)
            batch = []
    if batch:
        yield _as_tensor(batch)


def _as_tensor(images: list[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def _entry(
    name: str, dnas: dict[Kind, VDNA], references: dict[Kind, VDNA], example: NDArray[np.uint8] | None
) -> DemoEntry:
    reference, generated = references["histogram"], dnas["histogram"]
    profile = compare.emd(reference, generated, reduction="layer")
    return DemoEntry(
        name=name,
        dnas=dnas,
        emd=_scalar(compare.emd(reference, generated)),
        neuron_frechet=_scalar(compare.neuron_frechet(references["gaussian"], dnas["gaussian"])),
        layer_frechet=_scalar(compare.layer_frechet(references["layer_gaussian"], dnas["layer_gaussian"])),
        profile=profile if isinstance(profile, dict) else {},
        example=example,
    )


def _scalar(distance: Distance) -> float:
    if isinstance(distance, dict):
        raise TypeError("expected one distance, got one a layer")
    return float(distance)


def _telling_neurons(entries: list[DemoEntry], reference: VDNA) -> list[tuple[str, int]]:
    """Of four layers, the neuron that best tells all worlds but the farthest from held-out photographs."""
    near, *worlds = (compare.emd(reference, entry.dnas["histogram"], reduction="none") for entry in entries[:-1])
    chosen = []
    for layer in list(reference.layout)[:: max(1, len(reference.layout) // 4)]:
        distances = torch.stack([world[layer] for world in worlds if isinstance(world, dict)])
        own = near[layer] if isinstance(near, dict) else distances[0]
        chosen.append((layer, int((distances.mean(0) - own).argmax())))
    return chosen
