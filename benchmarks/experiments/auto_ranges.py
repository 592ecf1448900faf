"""Histograms that find their own ranges beside calibrated ones: values, ranking, one outlier, massive activations.

    python benchmarks/experiments/auto_ranges.py

BSDS500's training and validation photographs are the reference; its test photographs, as they are and disturbed, and
drawn worlds are compared with it, through a MobileNetV2 trained on ImageNet. Both histograms are filled in one pass, so
that all that differs between them is where bins lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import timm
import torch
from _common import BATCH, Experiment, Progress, begin, markdown_table, mobilenetv2
from _images import Drawn, changed, draw, hold
from scipy.stats import spearmanr, wasserstein_distance
from torch import Tensor

from vdna_metrics import VDNA, ActivationRanges, calibrate, coverage, create_extractor
from vdna_metrics.analysis.coverage import quantile_ranges
from vdna_metrics.build import Reading
from vdna_metrics.build.dnas import DNARequest, make_dnas
from vdna_metrics.distributions import empty_histogram
from vdna_metrics.dna import compare
from vdna_metrics.dna.distances import bin_width
from vdna_metrics.extractors import FeatureExtractor, get_spec
from vdna_metrics.functional.histogram import extremes
from vdna_metrics.images import ImageSource
from vdna_metrics.images.procedural import add_noise, blur, procedural_images
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.ranges import GivenRanges

BINS = (1000, 4000, 16000)
FAR = 1000  # times the largest activation: the outlier
WORLDS = ("dead_leaves_textured", "dead_leaves_squares", "one_over_f_noise", "white_noise")
COVERED = 0.99


@dataclass(frozen=True, eq=False)
class Row:
    """One set of images against the reference.

    Args:
        name: of the set.
        calibrated: EMD in 1000 bins of ranges that were calibrated on the reference.
        auto: that of histograms that found their own.
        width: by how much at most bins move the latter.
        inside: share of the activations inside the calibrated ranges, of the layer with the least.
    """

    name: str
    calibrated: float
    auto: float
    width: float
    inside: float

    @property
    def differs(self) -> float:
        """By which share of the calibrated value."""
        return self.auto / self.calibrated - 1


def main() -> None:
    experiment = begin(__file__, __doc__)
    size = 48 if experiment.quick else 224
    spec = get_spec("vdna_tiny")
    if not experiment.quick:
        spec = mobilenetv2(experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors")
    extractor = create_extractor(spec)
    reference = experiment.open("bsds500.zip", "train/", "val/")
    progress = Progress("ranges", len(reference))
    ranges = calibrate(reference, extractor, reading=Reading(BATCH, progress=lambda done, _: progress(done)))
    given: dict[str, GivenRanges] = {"calibrated": ranges, "auto": "auto"}
    real = look(extractor, reference, given)
    rows, disturbed = [], {}
    for name, images in sets(experiment, size).items():
        disturbed[name] = found = look(extractor, images, given)
        inside = 1 - max(part.outside for part in coverage(found["calibrated", 1000]).layers.values())
        values = [float(compare.emd(real[how, 1000], found[how, 1000])) for how in given]  # type: ignore[arg-type]
        rows.append(Row(name, *values, bin_width(real["auto", 1000], found["auto", 1000]), inside))
    outlier = one_outlier(real, disturbed["noise 16"])
    vit = massive_activations(experiment, size)
    experiment.write_section(describe(experiment, rows, outlier, vit), page="auto_ranges.md")


def look(
    extractor: FeatureExtractor, images: ImageSource, given: dict[str, GivenRanges]
) -> dict[tuple[str, int], VDNA]:
    """All histograms of some images, in one pass."""
    wanted = [(how, bins) for bins in BINS for how in given if how == "auto" or bins == BINS[0]]
    requests = {
        (how, bins): DNARequest("histogram", extractor.layout, bins=bins, ranges=given[how]) for how, bins in wanted
    }
    progress = Progress(images.name, len(images))
    reading = Reading(BATCH, progress=lambda done, _: progress(done))
    return {key: dnas[None] for key, dnas in make_dnas(images, extractor, requests, reading=reading).dnas.items()}


def sets(experiment: Experiment, size: int) -> dict[str, ImageSource]:
    """What is compared with the reference, by name."""
    n = 12 if experiment.quick else 100
    test = hold(draw(experiment.open("bsds500.zip", "test/"), n), size)
    made: dict[str, ImageSource] = {"photographs": test}
    for sigma in (0.5, 1, 2, 4):
        made[f"blur {sigma}"] = changed(test, f"blur{sigma}", lambda image, _, sigma=sigma: blur(image, sigma))
    for sigma in (8, 16, 32, 64):
        made[f"noise {sigma}"] = changed(
            test, f"noise{sigma}", lambda image, stream, sigma=sigma: add_noise(image, sigma, stream)
        )
    for world in WORLDS:
        images = tuple(procedural_images(world, n, size=size))
        made[world] = Drawn(world, tuple(f"{i:04}" for i in range(n)), images)
    return made


# --------------------------------------------------------------------------------------------------------- one outlier
def one_outlier(real: dict[tuple[str, int], VDNA], fake: dict[tuple[str, int], VDNA]) -> list[list[str]]:
    """Values with one more activation of each neuron, `FAR` times its largest, on one side or the other."""
    low, high = real["auto", BINS[0]].distribution.observed  # type: ignore[attr-defined]
    value = FAR * torch.maximum(low.abs(), high.abs())

    def with_outlier(dna: VDNA) -> VDNA:
        more = dna.distribution.with_state(torch.zeros_like(dna.distribution.state))
        more.fill_({layer: part[:, None, None] for layer, part in dna.layout.split(value).items()})
        return replace(dna, distribution=dna.distribution + more)

    rows = []
    for how, bins in real:
        a, b = real[how, bins], fake[how, bins]
        cells = [f"{how}, {bins}"]
        for pair in ((a, b), (a, with_outlier(b)), (with_outlier(a), b)):
            cells.append(f"{float(compare.emd(*pair, unit='activation')):.4g}")  # type: ignore[arg-type]
        for pair in ((a, b), (a, with_outlier(b))):
            cells.append(f"{bin_width(*pair, unit='activation'):.2g}")
        rows.append(cells)
    return rows


# ------------------------------------------------------------------------------------------------- massive activations
@dataclass(frozen=True)
class Massive:
    """What heavy tails do to histograms: how many bins are left to the bulk, and how far values are from exact ones."""

    widest: float
    rows: list[list[str]]


def massive_activations(experiment: Experiment, size: int) -> Massive:
    """Neurons of which one token in 197 is a hundred times as large as the others, in two sets that differ."""
    neurons, images, positions = 64, 20 if experiment.quick else 200, 197
    stream = torch.Generator().manual_seed(0)

    def draw_set(shift: float) -> Tensor:
        x = torch.randn(neurons, images, positions, generator=stream) + shift
        x[:, :, 0] = 100 + 20 * torch.randn(neurons, images, generator=stream)
        return x

    a, b = draw_set(0.0), draw_set(0.1)
    layout = NeuronLayout({"tokens": neurons})
    pairs = zip(a.flatten(1).numpy().astype(float), b.flatten(1).numpy().astype(float), strict=True)
    exact = float(np.mean([wasserstein_distance(x, y) for x, y in pairs]))
    low, high = extremes(torch.cat([a, b], dim=1))
    calibrated = ActivationRanges(layout, low, high)
    ways: list[tuple[str, GivenRanges, int]] = [("calibrated", calibrated, 1000)]
    fine = _filled(layout, calibrated, 4096, torch.cat([a, b], dim=1))
    ways.append(("quantiles 1 % to 99 %", quantile_ranges(fine, 0.01, 0.99), 1000))
    ways += [("auto", "auto", bins) for bins in BINS]
    rows = []
    for name, ranges, bins in ways:
        sides = [_filled(layout, ranges, bins, x) for x in (a, b)]
        value = float(compare.emd(*sides, unit="activation"))  # type: ignore[arg-type]
        width = bin_width(*sides, unit="activation")
        rows.append([f"{name}, {bins}", f"{value:.4g}", f"{value / exact - 1:+.1%}", f"{width:.2g}"])
    rows.append(["the activations themselves", f"{exact:.4g}", "", ""])
    return Massive(_widest(experiment, size), rows)


def _filled(layout: NeuronLayout, ranges: GivenRanges, bins: int, x: Tensor) -> VDNA:
    distribution = empty_histogram(layout, ranges, bins)
    distribution.fill_({"tokens": x})
    fingerprint = create_extractor(torch.nn.Identity(), layers=[""], size=8).fingerprint
    return VDNA(distribution, replace(fingerprint, paths={"tokens": ""}))


def _widest(experiment: Experiment, size: int) -> float:
    """How far a ViT of seeded weights reaches: its largest activation in deviations, of the neuron where it is most."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_small_patch16_224", img_size=size, num_classes=0)
    extractor = create_extractor(vit, layers=[f"blocks.{i}" for i in range(0, 12, 3)], size=size)
    images = hold(draw(experiment.open("bsds500.zip", "test/"), 8), size)
    pixels = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images.images])
    found = [x.flatten(1) for x in extractor(pixels).values()]
    return max(float(((x - x.mean(1, keepdim=True)).abs().amax(1) / x.std(1)).max()) for x in found)


# ------------------------------------------------------------------------------------------------------------- the page
def describe(experiment: Experiment, rows: Sequence[Row], outlier: list[list[str]], massive: Massive) -> str:
    """The page's part."""
    in_order = sorted(rows, key=lambda row: row.calibrated)
    table = [
        [
            row.name, f"{row.calibrated:.4g}", f"{row.auto:.4g}", f"{row.differs:+.2%}", f"{row.width:.2g}",
            f"{100 * row.inside:.2f} %",
        ]
        for row in in_order
    ]  # fmt: skip
    same = [row.name for row in in_order] == [row.name for row in sorted(rows, key=lambda row: row.auto)]
    rank = spearmanr([row.calibrated for row in rows], [row.auto for row in rows]).statistic
    covered = [row for row in rows if row.inside >= COVERED]
    worst = max((abs(row.differs) for row in covered), default=float("nan"))
    ranking = "The order is the same" if same else f"The order differs (Spearman {rank:.3f})"
    header = ["set", "calibrated", "auto", "differs by", "a bin is", "inside"]
    heads = ["histograms, bins", "as they are", "outlier generated", "outlier real", "a bin", "with the outlier"]
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            "VDNA-EMD in bins from the training and validation photographs, 1000 bins; the width of a bin of auto "
            "histograms, in the unit of the value; and the share of activations inside the calibrated ranges, of the "
            "layer with the least:",
            markdown_table(header, table),
            f"{ranking}. Of the {len(covered)} of {len(rows)} sets of which at least {COVERED:.0%} of each layer's "
            f"activations are inside, values differ by at most {worst:.2%}.",
            f"**One outlier.** To each neuron one activation is added, {FAR} times the largest; VDNA-EMD of `noise 16` "
            "in activations, and the width of a bin:",
            markdown_table(heads, outlier),
            f"**Massive activations.** In a ViT of seeded weights no activation is more than {massive.widest:.0f} "
            "deviations from its neuron's mean, so trained ones are imitated: 64 neurons, normal in 196 of 197 tokens, "
            "at 100 ± 20 in the first, and two sets whose other tokens differ by 0.1. VDNA-EMD in activations:",
            markdown_table(["histograms, bins", "VDNA-EMD", "from exact", "a bin"], massive.rows),
        ]
    )


if __name__ == "__main__":
    main()
