"""Build the reference DNAs and activation ranges that ship in `reference_stats/`.

    python scripts/build_reference_stats.py SHARED

SHARED holds `data/` with `bsds500.zip` (folders train, val, test), `imagenet_sample_1000.zip`, `cifar10_jpeg_test.zip`
and `mnist_t10k-images-idx3-ubyte.gz`. Files that exist already are kept; delete them to build them again. The manifest
is written anew from what is there.
"""

from __future__ import annotations

import gzip
import json
import sys
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from vdna_metrics import (
    VDNA,
    ActivationRanges,
    Reading,
    build_dnas,
    calibrate,
    create_extractor,
    load_ranges,
    load_vdna,
)
from vdna_metrics.files import sha256_of_file
from vdna_metrics.references.store import ReferenceRecord

STORE = Path(__file__).resolve().parents[1] / "reference_stats"
CALIBRATED = ("seeded_resnet18", "vdna_tiny")
REFERENCED = ("vdna_tiny",)
PHOTOGRAPHS = ("bsds500", "imagenet_sample_1000")
KINDS = ("histogram", "gaussian", "layer_gaussian")
SPLITS = {"trainval": ("train", "val"), "test": ("test",)}
LICENCE = (
    "BSDS500 (Arbelaez et al., 2011): free for non-commercial research and education; the statistics hold no image"
)


def build_ranges(extractor_name: str, shared: Path) -> ActivationRanges:
    """Calibrate over photographs, small photographs and digits; `seeded_resnet18`, for tests, over photographs only."""
    path = STORE / "ranges" / f"{extractor_name}.npz"
    if not path.exists():
        extractor = create_extractor(extractor_name)
        sources: dict[str, Any] = {name: shared / "data" / f"{name}.zip" for name in PHOTOGRAPHS}
        if extractor_name != "seeded_resnet18":
            sources["cifar10_jpeg_test"] = shared / "data" / "cifar10_jpeg_test.zip"
            digits = gzip.decompress((shared / "data" / "mnist_t10k-images-idx3-ubyte.gz").read_bytes())[16:]
            sources["mnist_test"] = np.frombuffer(digits, np.uint8).reshape(-1, 28, 28, 1).repeat(3, 3)
        reading = Reading(workers=2, progress=report)
        parts = [calibrate(source, extractor, name=name, reading=reading) for name, source in sources.items()]
        reduce(add, parts).save(path)
    return load_ranges(path)


def build_references(extractor_name: str, ranges: ActivationRanges, shared: Path) -> list[ReferenceRecord]:
    """Build each split's DNAs of all kinds; splits of several folders are merged."""
    records = []
    for split, folders in SPLITS.items():
        paths = {kind: STORE / "dnas" / f"bsds500-{split}-{extractor_name}-{kind}.npz" for kind in KINDS}
        if not all(path.exists() for path in paths.values()):
            extractor = create_extractor(extractor_name)
            merged: dict[str, VDNA] = {}
            for folder in folders:
                source = f"{shared / 'data' / 'bsds500.zip'}:{folder}"
                reading = Reading(workers=2, progress=report)
                dnas = build_dnas(source, extractor, KINDS, ranges=ranges, name=f"bsds500/{folder}", reading=reading)
                merged = {kind: merged[kind] + dna if merged else dna for kind, dna in dnas.items()}
            for kind, path in paths.items():
                merged[kind].save(path)
        for kind, path in paths.items():
            records.append(
                ReferenceRecord(
                    dataset="bsds500",
                    split=split,
                    extractor=extractor_name,
                    kind=f"{kind}-1000" if kind == "histogram" else kind,
                    file=str(path.relative_to(STORE)),
                    sha256=sha256_of_file(path),
                    n_images=load_vdna(path).n_images,
                    licence=LICENCE,
                    origin="scripts/build_reference_stats.py",
                )
            )
    return records


def report(done: int, total: int | None) -> None:
    """Print how far the work is."""
    print(f"\r{done}/{total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main() -> None:
    """Build what is missing and write the manifest."""
    shared = Path(sys.argv[1])
    manifest: dict[str, list[dict[str, object]]] = {"references": [], "ranges": []}
    for extractor_name in CALIBRATED:
        ranges = build_ranges(extractor_name, shared)
        file = f"ranges/{extractor_name}.npz"
        manifest["ranges"].append(
            {
                "extractor": extractor_name,
                "file": file,
                "sha256": sha256_of_file(STORE / file),
                "n_images": ranges.n_images,
                "sources": list(ranges.sources),
                "widen": ranges.widen,
            }
        )
        if extractor_name in REFERENCED:
            manifest["references"] += [vars(record) for record in build_references(extractor_name, ranges, shared)]
    (STORE / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
