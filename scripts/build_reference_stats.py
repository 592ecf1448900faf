"""Build the reference DNAs and activation ranges that ship in `reference_stats/`.

    python scripts/build_reference_stats.py SHARED

SHARED holds `data/` with `bsds500.zip` (folders train, val, test), `imagenet_sample_1000.zip`, `cifar10_jpeg_test.zip`
and MNIST's test set (`mnist_t10k-*.gz`). What the store has is kept; without `manifest.json`, `dnas/` and `ranges/` all
is built anew. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from pathlib import Path

from vdna_metrics import VDNA, Reading, build_dnas, calibrate, create_extractor, open_images
from vdna_metrics.build import build_set
from vdna_metrics.distributions import Kind
from vdna_metrics.images import ImageSource
from vdna_metrics.images.datasets import open_dataset
from vdna_metrics.images.sources import select_images
from vdna_metrics.references.adding import add_image_digests, add_ranges, add_references
from vdna_metrics.references.records import Manifest
from vdna_metrics.references.store import MANIFEST, bundled_store, find_ranges

STORE = bundled_store()
CHECKPOINTS = STORE.folder / ".checkpoint"
ALL: tuple[Kind, ...] = ("histogram", "gaussian", "layer_gaussian")
SMALL: tuple[Kind, ...] = ("histogram", "gaussian")
LICENCES = {
    "bsds500": "BSDS500 (Arbelaez et al., 2011): free for non-commercial research and education; the statistics hold "
    "no image",
    "mnist": "MNIST (LeCun, Cortes, Burges): CC BY-SA 3.0; the statistics hold no image",
}
SPLITS = ("train", "val", "test")
CALIBRATION = ("bsds500", "imagenet_sample_1000", "cifar10_jpeg_test")  # and MNIST

MOMENTS: tuple[Kind, ...] = ("gaussian",)
# By extractor, which kinds of which sets ship: together with the groups they stay under 30 MB.
REFERENCES: dict[str, dict[str, tuple[Kind, ...]]] = {
    "vdna_tiny": {"bsds500/trainval": ALL, "bsds500/test": ALL, "mnist/test": SMALL},
    "seeded_resnet18": {"bsds500/trainval": ALL, "bsds500/test": ALL, "mnist/test": ALL},
    "seeded_resnet50": {"bsds500/trainval": SMALL, "bsds500/test": MOMENTS, "mnist/test": MOMENTS},
}
# In groups too, for the error bars of leaderboards.
GROUPS = 10
GROUPED = {"vdna_tiny": {"bsds500/trainval": ("train", "val"), "bsds500/test": ("test",)}}
# Without the 1280 neurons of conv_head, whose covariance 200 images cannot tell: 6 MB less.
TELLABLE = ["blocks.0", "blocks.2", "blocks.4"]
COVARIANCES = {("vdna_tiny", "bsds500/test"): TELLABLE}


@contextmanager
def opened(shared: Path) -> Iterator[dict[str, list[tuple[str, ImageSource]]]]:
    """Image sets by name, each in parts with their own names."""
    data = shared / "data"
    with tempfile.TemporaryDirectory() as folder:
        for path in data.glob("mnist_t10k-*.gz"):  # under the names that they are published by
            shutil.copy(path, Path(folder, path.name.removeprefix("mnist_")))
        mnist = [("mnist/test", open_dataset("mnist/test", root=folder))]
        parts = {split: (f"bsds500/{split}", open_images(f"{data}/bsds500.zip:{split}")) for split in SPLITS}
        calibration = {name: open_images(data / f"{name}.zip") for name in CALIBRATION}
        yield {
            "bsds500/trainval": [parts["train"], parts["val"]],
            "bsds500/test": [parts["test"]],
            "mnist/test": mnist,
            "calibration": [*calibration.items(), *mnist],
        }


def report(done: int, total: int | None) -> None:
    """Print how far the work is."""
    print(f"\r{done}/{total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main() -> None:
    """Build what is missing."""
    if not (STORE.folder / MANIFEST).exists():
        (STORE.folder / MANIFEST).write_text(Manifest().dump())
    reading = Reading(workers=1, progress=report, checkpoint=CHECKPOINTS)
    with opened(Path(sys.argv[1])) as image_sets:
        for name, wanted in REFERENCES.items():
            extractor = create_extractor(name)
            if name not in {record.extractor for record in STORE.manifest().ranges}:
                print(f"ranges of {name}", file=sys.stderr)
                found = [
                    calibrate(images, extractor, name=part, reading=reading)
                    for part, images in image_sets["calibration"]
                ]
                add_ranges(reduce(add, found), STORE, extractor=name)
            ranges = find_ranges(extractor)
            for image_set, kinds in wanted.items():
                dataset, split = image_set.split("/")
                there = {(r.dataset, r.split, r.extractor) for r in STORE.manifest().references if not r.group}
                if (dataset, split, name) in there:
                    continue
                print(f"{image_set} seen by {name}", file=sys.stderr)
                made: dict[Kind, VDNA] = {}
                for part, images in image_sets[image_set]:
                    dnas = build_dnas(images, extractor, kinds, ranges=ranges, name=part, reading=reading)
                    made = {kind: made[kind] + dna if made else dna for kind, dna in dnas.items()}
                if (name, image_set) in COVARIANCES:
                    made["layer_gaussian"] = made["layer_gaussian"].select(COVARIANCES[name, image_set])
                add_references(
                    list(made.values()),
                    STORE,
                    dataset=dataset,
                    split=split,
                    licence=LICENCES[dataset],
                    origin="scripts/build_reference_stats.py",
                )
        build_groups(Path(sys.argv[1]), reading)
    shutil.rmtree(CHECKPOINTS, ignore_errors=True)


def build_groups(shared: Path, reading: Reading) -> None:
    """The DNAs of groups that are missing."""
    photographs = open_images(shared / "data" / "bsds500.zip")
    for name, image_sets in GROUPED.items():
        extractor = create_extractor(name)
        layers: dict[Kind, list[str]] = {kind: list(extractor.layout) for kind in ALL} | {"layer_gaussian": TELLABLE}
        for image_set, splits in image_sets.items():
            dataset, split = image_set.split("/")
            there = {(r.dataset, r.split, r.extractor) for r in STORE.manifest().references if r.group}
            if (dataset, split, name) in there:
                continue
            print(f"groups of {image_set} seen by {name}", file=sys.stderr)
            images = select_images(
                photographs, [place for place, group in enumerate(photographs.groups) if group in splits]
            )
            found = build_set(
                images,
                extractor,
                ALL,
                groups=GROUPS,
                ranges=find_ranges(extractor),
                layers=layers,
                name=image_set,
                reading=reading,
            )
            add_references(
                list(found.dnas.values()),
                STORE,
                dataset=dataset,
                split=split,
                licence=LICENCES[dataset],
                origin="scripts/build_reference_stats.py",
            )
            (manifest,) = found.dnas["gaussian"].groups[0].provenance.manifests
            add_image_digests(STORE, manifest, dict(zip(found.names, found.digests, strict=True)))


if __name__ == "__main__":
    main()
