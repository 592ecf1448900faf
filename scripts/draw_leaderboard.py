"""Make the leaderboard of `docs/leaderboard.md`: its record, tables and pictures in `docs/images/`.

    python scripts/draw_leaderboard.py SHARED [--report FOLDER]

SHARED holds `data/bsds500.zip`, `data/imagenet_sample_1000.zip` and `weights/mobilenetv2_100.tf_in1k.safetensors`. Nine
sets of 200 images against the 300 photographs of BSDS500's train and val, seen by that MobileNetV2 and by
`seeded_resnet18`; a quarter of an hour on two cores. What was done is kept in FOLDER/dnas, so that it can be
interrupted.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
from collections.abc import Callable
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdna_metrics import ExtractorSpec, Reading, calibrate, create_extractor, open_images
from vdna_metrics.images import evenly_spaced, select_images
from vdna_metrics.images.procedural import PROCEDURAL, PROCEDURAL_WORLDS, add_noise, blur, open_procedural
from vdna_metrics.leaderboard import LeaderboardSettings, score_leaderboard
from vdna_metrics.references import ImageSet
from vdna_metrics.references.store import find_ranges
from vdna_metrics.reports import leaderboard_markdown, write_report

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
N = 200
SHOTS = {"leaderboard": (1280, 1900), "leaderboard_phone": (390, 1700)}


def degraded(folder: Path, change: Callable[[NDArray[np.uint8]], Image.Image], photographs: Path) -> Path:
    """The photographs of the test split, changed, under their names."""
    source = open_images(f"{photographs}:test")
    if not folder.exists():
        folder.mkdir(parents=True)
        for index, name in enumerate(source.names):
            with Image.open(io.BytesIO(bytes(source.read(index)))) as image:
                change(np.asarray(image.convert("RGB"))).save(folder / f"{Path(name).stem}.png")
    return folder


def as_jpeg(image: NDArray[np.uint8]) -> Image.Image:
    """What quality 10 leaves."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=10)
    return Image.open(stream)


def entries(shared: Path, work: Path) -> list[ImageSet]:
    """The reference and nine generators."""
    archive = shared / "data" / "bsds500.zip"
    photographs = open_images(archive)
    trainval = [place for place, group in enumerate(photographs.groups) if group in ("train", "val")]
    stream = np.random.default_rng(0)
    changes: dict[str, Callable[[NDArray[np.uint8]], Image.Image]] = {
        "blurred photographs": lambda image: Image.fromarray(blur(image, 2.0)),
        "noisy photographs": lambda image: Image.fromarray(add_noise(image, 25.0, stream)),
        "JPEG photographs": as_jpeg,
    }
    made = [
        ImageSet("photographs", "bsds500.zip: train and val", select_images(photographs, trainval)),
        ImageSet("other photographs", "bsds500.zip:test", open_images(f"{archive}:test")),
    ]
    for name, change in changes.items():
        folder = degraded(work / name.split()[0], change, archive)
        made.append(ImageSet(name, f"bsds500.zip:test, {name.split()[0]}", open_images(folder)))
    imagenet = evenly_spaced(open_images(shared / "data" / "imagenet_sample_1000.zip"), N)
    made.append(ImageSet("ImageNet sample", "imagenet_sample_1000.zip", imagenet))
    for world in PROCEDURAL_WORLDS:
        made.append(ImageSet(world.replace("_", " "), f"{PROCEDURAL}{world}/{N}", open_procedural(f"{world}/{N}")))
    return made


def main() -> None:
    """Score, write the report, and take its pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--report", type=Path, default=Path("leaderboard"))
    options = parser.parse_args()
    options.report.mkdir(exist_ok=True)
    reference, *generators = entries(options.shared, options.report / "made")
    mobilenet = ExtractorSpec(
        "mobilenetv2",
        "mobilenetv2_100",
        ["blocks.0", "blocks.2", "blocks.4", "conv_head"],
        mean=0.5,
        std=0.5,
        architecture_kwargs={"pad_type": "same"},
        weights=str(options.shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"),
    )
    reading = Reading(workers=1)
    # Over all that is to be seen, so that nothing lies outside.
    some = [evenly_spaced(entry.images, 50) for entry in (reference, *generators) if entry.images is not None]
    ranges = reduce(add, (calibrate(images, create_extractor(mobilenet), reading=reading) for images in some))
    leaderboard, evidence = score_leaderboard(
        reference,
        generators,
        [mobilenet, "seeded_resnet18"],
        settings=LeaderboardSettings(),
        ranges={"mobilenetv2": ranges, "seeded_resnet18": find_ranges("seeded_resnet18")},
        cache=options.report / "dnas",
        title="Photographs, spoiled photographs and drawings",
        command="python scripts/draw_leaderboard.py SHARED",
        reading=reading,
        start=lambda name, total: lambda done, _: print(f"\r{name}: {done}/{total}", end="\n" * (done == total)),
    )
    leaderboard.save(options.report / "leaderboard.json")
    page = write_report(leaderboard, evidence, options.report)
    (options.report / "leaderboard.md").write_text(leaderboard_markdown(leaderboard))
    for name, (width, height) in SHOTS.items():
        shoot(page, IMAGES / f"{name}.png", width, height)
    print(page)


def shoot(page: Path, path: Path, width: int, height: int) -> None:
    """A picture of the top of a page."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("no chromium to take the pictures with")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}"]
    command = [browser, *options, f"--screenshot={path}", page.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(path) as image:
        image.convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
