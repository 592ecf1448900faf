"""What moves a number: the same two sets of photographs, seen in many ways.

    python benchmarks/experiments/moving_numbers.py

A hundred of BSDS500's photographs against another hundred, through a MobileNetV2 trained on ImageNet. Each row changes
one thing and says by how much the three distances differ from those of the first row.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from _common import Experiment, Progress, begin, markdown_table, mobilenetv2
from _images import Image, changed, draw, join
from PIL import Image as PillowImage

from vdna_metrics import VDNA, ActivationRanges, ExtractorSpec, build_dnas, calibrate, create_extractor
from vdna_metrics.build import Reading
from vdna_metrics.distributions import Kind
from vdna_metrics.dna import compare
from vdna_metrics.extractors import get_spec
from vdna_metrics.images import ImageSource, select_images
from vdna_metrics.ranges import load_ranges

KINDS: tuple[Kind, ...] = ("histogram", "gaussian", "layer_gaussian")
BATCH = 16
DISTANCES = ("VDNA-EMD", "NFD", "LFD")
# Kernels of torch, oneDNN, MKL and OpenBLAS without AVX-512, then without AVX.
PROCESSORS = {"avx2": ("avx2", "AVX2", "AVX2", "Haswell"), "default": ("default", "SSE41", "SSE4_2", "Nehalem")}
CHILD = "MOVING_NUMBERS_DEFAULT_DTYPE"
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")
Values = tuple[float, float, float]


@dataclass(frozen=True)
class Row:
    """One thing that is otherwise.

    Args:
        group: of what kind it is.
        what: what is otherwise.
        values: the three distances.
    """

    group: str
    what: str
    values: Values


@dataclass(frozen=True)
class Pair:
    """Two sets of images and how they are seen."""

    reference: ImageSource
    generated: ImageSource
    spec: ExtractorSpec
    ranges: ActivationRanges | None = None
    batch: int = BATCH

    def dnas(self, images: ImageSource) -> dict[Kind, VDNA]:
        """All kinds of DNA of one of the sets."""
        reading = Reading(self.batch)
        return build_dnas(images, create_extractor(self.spec), KINDS, ranges=self.ranges, reading=reading)

    def compare(self, *, reference: dict[Kind, VDNA] | None = None) -> Values:
        """The three distances; from DNAs of the reference that are there already, where there are."""
        return distances(reference or self.dnas(self.reference), self.dnas(self.generated))


def distances(a: dict[Kind, VDNA], b: dict[Kind, VDNA]) -> Values:
    """VDNA-EMD in bins, NFD and LFD."""
    return (
        float(compare.emd(a["histogram"], b["histogram"])),
        float(compare.neuron_frechet(a["gaussian"], b["gaussian"])),
        float(compare.layer_frechet(a["layer_gaussian"], b["layer_gaussian"])),
    )


def main() -> None:
    experiment = begin(__file__, __doc__)
    pair = _first_pair(experiment)
    if CHILD in os.environ:
        torch.set_default_dtype(getattr(torch, os.environ[CHILD]))
        print(json.dumps(pair.compare()))
        return
    known = pair.dnas(pair.reference)
    rows = [Row("nothing", "the two sets as they are", distances(known, pair.dnas(pair.generated)))]

    def add(group: str, what: str, make: Callable[[], Values]) -> None:
        rows.append(Row(group, what, make()))
        print(f"{group}, {what}: {rows[-1].values}", file=sys.stderr, flush=True)

    def seen_from(images: ImageSource) -> Callable[[], Values]:
        return lambda: replace(pair, generated=images).compare(reference=known)

    n = len(pair.generated)
    add("order", "images reversed", seen_from(select_images(pair.generated, range(n)[::-1])))
    for size in (7,) if experiment.quick else (1, 7, 64):
        add("batch size", f"{size} images a batch, both sides", replace(pair, batch=size).compare)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    add("threads", f"1 instead of {threads}, both sides", pair.compare)
    torch.set_num_threads(threads)
    for name, told in list(PROCESSORS.items())[experiment.quick :]:
        add(
            "machine",
            f"kernels `{name}`, both sides",
            lambda told=told: _elsewhere(dict(zip(VARIABLES, told, strict=True))),
        )
    for dtype in ("float64", "bfloat16")[experiment.quick :]:
        add("default dtype", f"torch's is {dtype}, both sides", lambda dtype=dtype: _elsewhere({CHILD: dtype}))
    half = replace(pair, spec=replace(pair.spec, precision="bf16"))
    add("precision", "bf16, both sides", half.compare)
    add("precision", "channels_last, both sides", replace(pair, spec=replace(pair.spec, channels_last=True)).compare)
    for mode in ("legacy_pytorch", "legacy_tensorflow"):
        spec = replace(pair.spec, preprocessing=mode)
        ranges = calibrate(join("both", pair.reference, pair.generated), spec, reading=Reading(BATCH))
        add("resize", f"`{mode}`, both sides", replace(pair, spec=spec, ranges=ranges).compare)
    for quality in (95, 75):
        images = changed(pair.generated, f"jpeg{quality}", lambda image, _, quality=quality: _as_jpeg(image, quality))
        add("format", f"generated saved as JPEG {quality}", seen_from(images))
    for name, factor in (("halves", 2), ("quarters", 4)):
        images = changed(pair.generated, name, lambda image, _, factor=factor: _smaller(image, factor))
        add("pixel size", f"generated stored at 1/{factor} of their size", seen_from(images))
    for few in (10, 25, 50) if not experiment.quick else (10,):
        add("few images", f"{few} of {n} generated images", seen_from(draw(pair.generated, few)))
    some = draw(pair.generated, n // 2)
    add("duplicates", f"{len(some)} generated images, each twice", seen_from(join("twice", some, some)))
    add("copies", f"{len(some)} of the generated images are the reference's", seen_from(
        join("copies", some, draw(pair.reference, n - len(some)))
    ))  # fmt: skip
    crops = _crops(draw(pair.generated, max(n // 10, 2)), 10)
    add("dependence", f"{len(crops)} crops of {len(crops) // 10} generated images", seen_from(crops))
    singles = _crops(pair.generated, 1)
    add("dependence", f"{len(singles)} crops, one of each generated image", seen_from(singles))
    experiment.write_section(describe(experiment, rows), page="what_moves_a_number.md")


def describe(experiment: Experiment, rows: list[Row]) -> str:
    """The page's part."""
    first = rows[0].values
    table = [["", "", *(f"{value:.5g}" for value in first)]]
    table[0][:2] = [rows[0].group, rows[0].what]
    for row in rows[1:]:
        moved = [_moved(value, start) for value, start in zip(row.values, first, strict=True)]
        table.append([row.group, row.what, *moved])
    header = ["", "what is otherwise", *DISTANCES]
    return f"```bash\n{experiment.command}\n```\n\n{markdown_table(header, table, words=2)}"


def _moved(value: float, start: float) -> str:
    share = value / start - 1
    if share == 0:
        return "0"
    return f"{share:+.1%}" if abs(share) >= 1e-3 else f"{share:+.0e}"


def _first_pair(experiment: Experiment) -> Pair:
    photographs = draw(experiment.open("bsds500.zip"), 48 if experiment.quick else 200)
    n = len(photographs) // 2
    reference, generated = (
        select_images(photographs, range(start, start + n), name)
        for start, name in ((0, "reference"), (n, "generated"))
    )
    if experiment.quick:
        return Pair(reference, generated, get_spec("vdna_tiny"))
    spec = mobilenetv2(experiment.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors")
    path = experiment.work / experiment.name / "ranges.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        progress = Progress("ranges", len(photographs))
        calibrate(photographs, spec, reading=Reading(BATCH, progress=lambda done, _: progress(done))).save(path)
    return Pair(reference, generated, spec, load_ranges(path))


def _elsewhere(told: dict[str, str]) -> Values:
    """The first row in a process of its own, whose environment has these variables too."""
    surroundings = os.environ | {CHILD: "float32"} | told
    found = subprocess.run([sys.executable, *sys.argv], env=surroundings, check=True, stdout=subprocess.PIPE, text=True)
    emd, nfd, lfd = json.loads(found.stdout)
    return emd, nfd, lfd


def _as_jpeg(image: Image, quality: int) -> Image:
    file = io.BytesIO()
    PillowImage.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(PillowImage.open(file))


def _smaller(image: Image, factor: int) -> Image:
    height, width = image.shape[0] // factor, image.shape[1] // factor
    return np.asarray(PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BICUBIC))


def _crops(source: ImageSource, n: int) -> ImageSource:
    """Of each image n crops of half its height and width, at random places."""

    def crop(image: Image, random: np.random.Generator) -> Image:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        top, left = random.integers(image.shape[0] - height + 1), random.integers(image.shape[1] - width + 1)
        return image[top : top + height, left : left + width]

    return join("crops", *(changed(source, f"crops{seed}", crop, seed=seed) for seed in range(n)))


if __name__ == "__main__":
    main()
