"""Whether neurons chosen on some generators see how real another one's images are (paper 5.4).

    python benchmarks/experiments/realism_selection.py

The generators are the five procedural worlds. For each, neurons are chosen that tell the other four together from
photographs, and single images of the held-out world are ranked by those neurons' distance from photographs. A number
comes from photographs of which a known share is covered by the held-out world.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from _common import BATCH, BLOCK, CROP, Experiment, Network, Progress, begin, markdown_table
from _images import Image, changed, draw, stream_of
from numpy.typing import NDArray
from scipy import ndimage, stats

from vdna_metrics import VDNA, NeuronSelection
from vdna_metrics.analysis import rank_images, select_sensitive
from vdna_metrics.build import Reading
from vdna_metrics.build.passes import ActivationBatch, run_pass
from vdna_metrics.distributions import HistogramDistribution
from vdna_metrics.dna import Column
from vdna_metrics.functional import cumulative_shares, image_emd
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.images.procedural import PROCEDURAL_WORLDS
from vdna_metrics.reports import contact_sheet

SHARE, RANDOM = 0.1, 50  # of the neurons, chosen; draws of as many at random
SHOWN = "dead_leaves_textured"


# -------------------------------------------------------------------------------------------------------------- images
@dataclass(frozen=True)
class World(ImageSource):
    """Images of a procedural world, each drawn when it is read."""

    size: int

    def read(self, index: int) -> Image:
        """One of them."""
        return PROCEDURAL_WORLDS[self.name](stream_of(self.names[index]), self.size)


def covered(photographs: ImageSource, world: str, size: int) -> ImageSource:
    """Photographs of which `covered_share` lies under an image of a world, with smooth outlines."""

    def change(image: Image, rng: np.random.Generator) -> Image:
        share = rng.uniform()
        field = ndimage.zoom(rng.standard_normal((6, 6)), size / 6, order=3)[:size, :size]
        under = field > np.quantile(field, share)
        return np.where(under[..., None], image, PROCEDURAL_WORLDS[world](rng, size))

    return changed(photographs, f"{photographs.name}, partly {world}", change, size=size, crop=CROP)


def covered_share(name: str) -> float:
    """The share of an image of `covered` that is."""
    return stream_of(name).uniform()


# ----------------------------------------------------------------------------------------------------------- distances
def neuron_distances(
    experiment: Experiment, network: Network, source: ImageSource, reference: VDNA
) -> NDArray[np.float32]:
    """Each neuron's EMD between each image and the reference, ``[images, neurons]``."""
    parts, made = [], 0
    progress = Progress(f"{network.name}, single images of {source.name}", len(source))
    for start in range(0, len(source), BLOCK):
        part = select_images(source, range(start, min(start + BLOCK, len(source))))
        before = len(experiment.made)
        settings = [network.identity, reference.provenance.sources, reference.n_images, part.name, part.names]
        arrays = experiment.keep(
            f"{network.name}-distances-{start:05}",
            settings,
            lambda part=part: {"distances": _neuron_distances(part, reference, network, experiment.device)},
        )
        parts.append(arrays["distances"])
        made += len(part) * (len(experiment.made) > before)
        progress(start + len(part), made)
    return np.concatenate(parts)


def _neuron_distances(images: ImageSource, reference: VDNA, network: Network, device: str) -> NDArray[np.float32]:
    distribution, layout = reference.distribution, reference.layout
    assert isinstance(distribution, HistogramDistribution)
    ends = distribution.ranges.low, distribution.ranges.high
    parts = [layout.split(part) for part in (cumulative_shares(distribution.counts), *ends)]
    found = []

    def see_(batch: ActivationBatch) -> None:
        layers = [image_emd(x, *(part[layer] for part in parts)) for layer, x in batch.activations.items()]
        found.append(torch.cat(layers, dim=1).float().cpu())

    run_pass(images, network.extractor, layout, Reading(BATCH, device=device), {}, [], see_)
    return torch.cat(found).numpy()


@dataclass(frozen=True)
class Result:
    """How well some neurons rank: chosen ones, all, or as many at random.

    Args:
        auc: chance that a photograph is nearer than an image of the held-out world.
        rho: Spearman's correlation of distance and covered share.
    """

    auc: float
    rho: float


def judged(photographs: NDArray[np.float32], world: NDArray[np.float32], partly: NDArray[np.float32],
           shares: Sequence[float], neurons: NDArray[np.bool_]) -> Result:  # fmt: skip
    """The result of some neurons."""
    near, far, mixed = (distances[:, neurons].mean(axis=1) for distances in (photographs, world, partly))
    auc = stats.mannwhitneyu(far, near).statistic / (len(far) * len(near))
    return Result(float(auc), float(stats.spearmanr(mixed, shares).statistic))


# ------------------------------------------------------------------------------------------------------------- results
def main() -> None:
    experiment = begin(__file__, __doc__)
    size, n = (48, 8) if experiment.quick else (224, 100)
    real, test = experiment.open("bsds500.zip", "train/", "val/"), draw(experiment.open("bsds500.zip", "test/"), n)
    worlds = {name: World(name, tuple(f"{i:04}" for i in range(n)), size) for name in PROCEDURAL_WORLDS}
    partly = {name: covered(test, name, size) for name in worlds}
    shares = [covered_share(name) for name in test.names]
    rows: list[Sequence[str]] = []
    layers: list[Sequence[str]] = []
    pictures: list[str] = []
    for network in experiment.networks.values():
        reference = experiment.look(network, real).histogram("all")
        dnas = {name: experiment.look(network, source).histogram("all") for name, source in worlds.items()}
        photographs = neuron_distances(experiment, network, test, reference)
        for name, source in worlds.items():
            selection = chosen_without(name, dnas, reference)
            mixed = neuron_distances(experiment, network, partly[name], reference)
            held_out = neuron_distances(experiment, network, source, reference)
            results = [judged(photographs, held_out, mixed, shares, mask) for mask in _masks(selection)]
            rows.append([network.name, name.replace("_", " "), *_cells(results)])
            if name == SHOWN:
                per_layer = ", ".join(f"{layer} {count}" for layer, count in selection.per_layer.items())
                layers.append([network.name, per_layer])
                if not pictures:
                    pictures = [
                        _sheet(experiment, network, images, reference, selection, what)
                        for images, what in ((source, "images"), (partly[name], "covered"))
                    ]
    experiment.write_section(describe(experiment, n, rows, layers, pictures))


def chosen_without(held_out: str, dnas: Mapping[str, VDNA], reference: VDNA) -> NeuronSelection:
    """The neurons that tell all other worlds together from photographs."""
    together = None
    for name, dna in dnas.items():
        if name != held_out:
            together = dna if together is None else together + dna
    assert together is not None
    return select_sensitive(together, reference, k=round(SHARE * reference.layout.total))


def _masks(selection: NeuronSelection) -> list[NDArray[np.bool_]]:
    """Chosen neurons, all, and as many at random, several times."""
    chosen = selection.mask.numpy()
    rng = np.random.default_rng(0)
    return [chosen, np.ones_like(chosen), *(rng.permutation(chosen) for _ in range(RANDOM))]


def _cells(results: Sequence[Result]) -> list[str]:
    cells = []
    for values in ([result.auc for result in results], [result.rho for result in results]):
        chosen, every, *at_random = values
        cells += [f"{chosen:.3f}", f"{every:.3f}", f"{np.mean(at_random):.3f} ± {np.std(at_random):.3f}"]
    return cells


def _sheet(
    experiment: Experiment,
    network: Network,
    source: ImageSource,
    reference: VDNA,
    selection: NeuronSelection,
    what: str,
) -> str:
    column = Column("emd", neurons=selection)
    ranking = rank_images(source, reference, network.extractor, distance=column, pictures=8, reading=Reading(BATCH))
    title = f"{len(ranking)} of {source.name}, by {len(selection)} neurons of {network.name} chosen on other worlds"
    figure = contact_sheet(ranking, nearest=8, farthest=8, columns=8, title=title)
    return experiment.save_picture(figure, f"{experiment.name}_{what}")


def describe(
    experiment: Experiment,
    n: int,
    rows: Sequence[Sequence[str]],
    layers: Sequence[Sequence[str]],
    pictures: Sequence[str],
) -> str:
    """The page's part."""
    header = ["network", "held out", "AUC, chosen", "all", "random", "ρ, chosen", "all", "random"]
    name = SHOWN.replace("_", " ")
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"{n} images of each world. Of the neurons, the {100 * SHARE:g} % are chosen whose EMD between photographs "
            "(BSDS500's training and validation sets) and the four other worlds together is largest. AUC: the chance "
            f"that one of {n} test photographs is nearer to the photographs than an image of the held-out world. ρ: "
            f"Spearman's correlation, over the {n} test photographs partly covered by the held-out world, of distance "
            f"and covered share. Random: as many neurons, mean and deviation of {RANDOM} draws.",
            markdown_table(header, rows, words=2),
            f"Where the neurons lie that are chosen without {name}:",
            markdown_table(["network", "neurons"], layers, words=2),
            f"![The nearest and the farthest images of {name}]({pictures[0]})",
            f"![The nearest and the farthest photographs that are partly covered by {name}]({pictures[1]})",
        ]
    )


if __name__ == "__main__":
    main()
