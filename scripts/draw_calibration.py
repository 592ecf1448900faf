"""Measure and draw what `docs/calibration.md` shows.

    python scripts/draw_calibration.py SHARED

SHARED holds `data/` with `bsds500.zip`, `cifar10_jpeg_test.zip` and `mnist_t10k-images-idx3-ubyte.gz`. Ranges of
`vdna_tiny` are found by every rule over 200 photographs (BSDS500 train); 100 other photographs (BSDS500 val), 300 small
ones and 300 digits are then counted in them. The table is printed, pictures go into `docs/images/`. Takes a minute of
one core.
"""

from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from draw_docs_images import IMAGES, keep
from numpy.typing import NDArray

from vdna_metrics import (
    VDNA,
    ActivationRanges,
    build_dnas,
    calibrate,
    compare,
    coverage,
    create_extractor,
    open_images,
    quantile_ranges,
)
from vdna_metrics.images import iterate_images
from vdna_metrics.reports import layer_profile, plot_coverage

RULES = ("none", "margin", "vdna")
LEVELS = {"quantile 0.01 %": (1e-4, 1 - 1e-4), "quantile 1 %": (0.01, 0.99)}


def main() -> None:
    """Print the table and draw the pictures."""
    data = Path(sys.argv[1]) / "data"
    extractor = create_extractor("vdna_tiny")

    def resized(source: str | NDArray[np.uint8], number: int | None = None) -> NDArray[np.uint8]:
        # Once, for all rules; to whole levels, which is what files hold.
        opened = open_images(source)
        made = []
        for batch in iterate_images(opened, transform=lambda image: extractor.preprocess.resize(image[None])[0]):
            made.append(batch.images.round().to(torch.uint8))
            if number is not None and sum(map(len, made)) >= number:
                break
        return torch.cat(made)[:number].permute(0, 2, 3, 1).numpy()

    digits = np.frombuffer(gzip.decompress((data / "mnist_t10k-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    photographs = resized(f"{data / 'bsds500.zip'}:train")
    sets = {
        "BSDS500 val": resized(f"{data / 'bsds500.zip'}:val"),
        "CIFAR-10 as JPEG": resized(f"{data / 'cifar10_jpeg_test.zip'}:test/airplane", 300),
        "MNIST": resized(digits.reshape(-1, 28, 28)[:300]),
    }

    def counted(images: NDArray[np.uint8], name: str, ranges: ActivationRanges, bins: int = 1000) -> VDNA:
        return build_dnas(images, extractor, ranges=ranges, bins=bins, name=name)["histogram"]

    extremes = calibrate(photographs, extractor)
    fine = counted(photographs, "BSDS500 train", extremes, 4096)
    ranges = {rule: replace(extremes, widen=rule) for rule in RULES}
    ranges |= {name: quantile_ranges(fine, *levels) for name, levels in LEVELS.items()}

    real = {rule: counted(photographs, "BSDS500 train", own) for rule, own in ranges.items()}
    fake = {name: {rule: counted(images, name, own) for rule, own in ranges.items()} for name, images in sets.items()}
    print("| rule | " + " | ".join(f"{name}: outside, used, EMD" for name in sets) + " |")
    for rule in ranges:
        cells = []
        for dnas in fake.values():
            found = coverage(dnas[rule])
            outside = max(part.outside for part in found.layers.values())
            distance = float(compare.emd(real[rule], dnas[rule]))
            cells.append(f"{100 * outside:.2f} %, {100 * float(found.used.median()):.0f} %, {distance:.1f}")
        print(f"| {rule} | " + " | ".join(cells) + " |", flush=True)
    drawn = {"coverage": plot_coverage(coverage(fake["MNIST"]["none"]))}
    profiles = {
        rule: {layer: 100 * part.outside for layer, part in coverage(fake["MNIST"][rule]).layers.items()}
        for rule in (*RULES, *LEVELS)
    }
    drawn["calibration_rules"] = layer_profile(profiles, ylabel="MNIST outside ranges of photographs, %").figure
    for name, figure in drawn.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=110)
        keep(IMAGES / f"{name}.png", IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
