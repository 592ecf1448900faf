"""Build the reference DNAs and activation ranges that ship in `reference_stats/`.

    python scripts/build_reference_stats.py SHARED

SHARED holds `data/` with `bsds500.zip` (folders train, val, test), `imagenet_sample_1000.zip`, `cifar10_jpeg_test.zip`
and MNIST's test set (`mnist_t10k-*.gz`). What the store has is kept, kind by kind; without `manifest.json`, `dnas/` and
`ranges/` all is built anew. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from itertools import product
from operator import add
from pathlib import Path

from vdna_metrics import VDNA, GroupedDNA, Reading, build_dnas, calibrate, create_extractor, open_images
from vdna_metrics.analysis import frechet_normaliser
from vdna_metrics.build import build_set
from vdna_metrics.distributions import Kind
from vdna_metrics.distributions.kinds import SAMPLE
from vdna_metrics.images import ImageSource
from vdna_metrics.images.datasets import open_dataset
from vdna_metrics.images.sources import select_images
from vdna_metrics.references.adding import add_image_digests, add_normalisers, add_ranges, add_reference
from vdna_metrics.references.records import Manifest, ReferenceName
from vdna_metrics.references.store import MANIFEST, bundled_store, find_ranges, find_reference

STORE = bundled_store()
CHECKPOINTS = STORE.folder / ".checkpoint"
ALL: tuple[Kind, ...] = ("histogram", "gaussian", "layer_gaussian")
SMALL: tuple[Kind, ...] = ("histogram", "gaussian")
SINGLE: tuple[Kind, ...] = ("features",)
LICENCES = {
    "bsds500": "BSDS500 (Arbelaez et al., 2011): free for non-commercial research and education; the statistics hold "
    "no image",
    "mnist": "MNIST (LeCun, Cortes, Burges): CC BY-SA 3.0; the statistics hold no image",
}
SPLITS = ("train", "val", "test")
CALIBRATION = ("bsds500", "imagenet_sample_1000", "cifar10_jpeg_test")  # and MNIST

MOMENTS: tuple[Kind, ...] = ("gaussian",)
# By extractor, which kinds of which sets ship: together with the groups they stay under 36 MB.
REFERENCES: dict[str, dict[str, tuple[Kind, ...]]] = {
    "vdna_tiny": {"bsds500/trainval": ALL + SINGLE, "bsds500/test": ALL + SINGLE, "mnist/test": SMALL + SINGLE},
    "seeded_resnet18": {"bsds500/trainval": ALL, "bsds500/test": ALL, "mnist/test": ALL},
    "seeded_resnet50": {"bsds500/trainval": SMALL, "bsds500/test": MOMENTS, "mnist/test": MOMENTS},
}
# Also in groups, for the error bars of leaderboards.
GROUPS = 10
GROUPED = {"vdna_tiny": {"bsds500/trainval": ("train", "val"), "bsds500/test": ("test",)}}
# Without the 1280 neurons of conv_head, whose covariance 200 images cannot tell: 6 MB less.
TELLABLE = ["blocks.0", "blocks.2", "blocks.4"]
COVARIANCES = {("vdna_tiny", "bsds500/test"): TELLABLE}
# What FDr^k divides by: the distance of the validation set of a training set.
VALIDATION = {"bsds500/trainval": "bsds500/test"}
# Images whose features are kept, of sets of which not all are: 5 kB each.
FEATURE_IMAGES = {"mnist/test": 100}


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
                parts = image_sets["calibration"]
                found = [calibrate(images, extractor, name=part, reading=reading) for part, images in parts]
                add_ranges(reduce(add, found), STORE, extractor=name)
            ranges = find_ranges(extractor)
            for image_set, kinds in wanted.items():
                missing = [kind for kind in kinds if not is_there(image_set, name, kind, grouped=False)]
                if not missing:
                    continue
                sample = FEATURE_IMAGES.get(image_set, SAMPLE)
                made: dict[Kind, VDNA] = {}
                for part, images in image_sets[image_set]:
                    dnas = build_dnas(
                        images, extractor, missing, ranges=ranges, feature_images=sample, name=part, reading=reading
                    )
                    made = {kind: made[kind] + dna if made else dna for kind, dna in dnas.items()}
                if (name, image_set) in COVARIANCES and "layer_gaussian" in made:
                    made["layer_gaussian"] = made["layer_gaussian"].select(COVARIANCES[name, image_set])
                add_all(list(made.values()), image_set)
        build_groups(Path(sys.argv[1]), reading)
    record_normalisers()
    shutil.rmtree(CHECKPOINTS, ignore_errors=True)


def is_there(image_set: str, extractor: str, kind: Kind, *, grouped: bool) -> bool:
    """Whether the store has DNAs of a kind of an image set as an extractor sees it; what is not there is announced."""
    dataset, split = image_set.split("/")
    asked = ReferenceName(dataset, split, extractor, kind)
    found = any(asked.fits(record) for record in STORE.manifest().references if bool(record.group) == grouped)
    if not found:
        print(f"{kind} {'groups ' * grouped}of {image_set} seen by {extractor}", file=sys.stderr)
    return found


def add_all(dnas: list[VDNA] | list[GroupedDNA], image_set: str) -> None:
    """Put the DNAs of an image set into the store."""
    dataset, split = image_set.split("/")
    origin = "scripts/build_reference_stats.py"
    add_reference(dnas, STORE, dataset=dataset, split=split, licence=LICENCES[dataset], origin=origin)


def build_groups(shared: Path, reading: Reading) -> None:
    """The DNAs of groups that are missing."""
    photographs = open_images(shared / "data" / "bsds500.zip")
    for name, image_sets in GROUPED.items():
        extractor = create_extractor(name)
        kinds = ALL + SINGLE
        layers: dict[Kind, list[str]] = {kind: list(extractor.layout) for kind in kinds} | {"layer_gaussian": TELLABLE}
        for image_set, splits in image_sets.items():
            missing = [kind for kind in kinds if not is_there(image_set, name, kind, grouped=True)]
            if not missing:
                continue
            chosen = [place for place, group in enumerate(photographs.groups) if group in splits]
            images = select_images(photographs, chosen)
            found = build_set(images, extractor, missing, groups=GROUPS, layers=layers, name=image_set, reading=reading)
            add_all(list(found.dnas.values()), image_set)
            (manifest,) = found.dnas[missing[0]].groups[0].provenance.manifests
            add_image_digests(STORE, manifest, dict(zip(found.names, found.digests, strict=True)))


def record_normalisers() -> None:
    """Those that are missing: plain, and corrected where both sets are in groups."""
    for (train, validation), (name, wanted) in product(VALIDATION.items(), REFERENCES.items()):
        if not all("layer_gaussian" in wanted[image_set] for image_set in (train, validation)):
            continue
        place, record = find_reference(f"{train}@{name}", kind="layer_gaussian")
        if record.normalisers:
            continue
        print(f"normalisers of {record.name}", file=sys.stderr)
        sides = [f"{place.location}::{image_set}@{name}" for image_set in (train, validation)]
        kinds = [False, True] if train in GROUPED.get(name, {}) else [False]
        found = [frechet_normaliser(*sides, corrected=corrected, name=validation) for corrected in kinds]
        add_normalisers(record.name, found, STORE)


if __name__ == "__main__":
    main()
