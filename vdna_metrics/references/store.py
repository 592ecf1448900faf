"""The store: reference DNAs and activation ranges by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors import ExtractorSpec, FeatureExtractor, create_extractor
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import source_file
from vdna_metrics.files import sha256_of_file
from vdna_metrics.layout import near_names
from vdna_metrics.ranges import ActivationRanges, load_ranges, load_vdna_ranges


@dataclass(frozen=True)
class ReferenceRecord:
    """One file of the store.

    Args:
        dataset: name of the image set, for example ``"bsds500"``.
        split: its split, for example ``"trainval"``.
        extractor: name of the extractor.
        kind: kind of DNA, with the bins of a histogram: ``"histogram-1000"``.
        file: path inside the store.
        sha256: of the file.
        n_images: number of images.
        licence: of the images, and what may be done with their statistics.
        origin: how the file was made.
    """

    dataset: str
    split: str
    extractor: str
    kind: str
    file: str
    sha256: str
    n_images: int
    licence: str
    origin: str

    @property
    def name(self) -> str:
        """Canonical name.

        Examples:
            >>> ReferenceRecord("bsds500", "test", "vgg16", "gaussian", "f", "0", 200, "", "").name
            'bsds500/test@vgg16#gaussian'
        """
        return f"{self.dataset}/{self.split}@{self.extractor}#{self.kind}"


def bundled_store() -> Path:
    """The folder ``reference_stats`` that comes with the package."""
    packaged = Path(str(files("vdna_metrics"))) / "reference_stats"
    # In a checkout the folder lies beside the package.
    return packaged if packaged.is_dir() else packaged.parents[1] / "reference_stats"


@cache
def _manifest() -> dict[str, Any]:
    path = bundled_store() / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


def list_references() -> list[ReferenceRecord]:
    """All reference DNAs of the store.

    Examples:
        >>> [record.name for record in list_references() if record.kind == "histogram-1000"][0]
        'bsds500/test@vdna_tiny#histogram-1000'
    """
    records = [ReferenceRecord(**record) for record in _manifest()["references"]]
    return sorted(records, key=lambda record: record.name)


def find_reference(name: str, *, extractor: str | None = None, kind: str | None = None) -> ReferenceRecord:
    """The one record that a name, complete or partial, stands for.

    Args:
        name: ``dataset/split@extractor#kind``; parts may be left out where one record remains. Case does not matter.
        extractor: extractor to assume when the name has none.
        kind: kind to assume when the name has none, with or without bins.

    Raises:
        ValueError: when no record fits, or several do; the error lists what there is.
    """
    rest, _, wanted_kind = name.lower().partition("#")
    rest, _, wanted_extractor = rest.partition("@")
    dataset, _, split = rest.partition("/")
    wanted_kind = wanted_kind or (kind or "")
    wanted_extractor = wanted_extractor or (extractor or "").lower()

    def fits(record: ReferenceRecord) -> bool:
        return (
            dataset == record.dataset.lower()
            and split in ("", record.split.lower())
            and wanted_extractor in ("", record.extractor.lower())
            and (wanted_kind in ("", record.kind) or record.kind.startswith(f"{wanted_kind}-"))
        )

    records = list_references()
    found = [record for record in records if fits(record)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"reference {name!r} could be: {_names(found)}")
    known = [record.name for record in records]
    asked = (
        f"{rest}" + (f"@{wanted_extractor}" if wanted_extractor else "") + (f"#{wanted_kind}" if wanted_kind else "")
    )
    raise ValueError(
        f"no reference {asked!r} in the store, nor a file of that name; {near_names(asked, known)} "
        f"It has: {_names(records)}"
    )


def load_reference(name: str, *, extractor: str | None = None, kind: str | None = None) -> VDNA:
    """Load a reference DNA by name; the file's sha256 is verified.

    Args:
        name: see `find_reference`.
        extractor: see `find_reference`.
        kind: see `find_reference`.

    Raises:
        ValueError: when the name stands for none or several, or the file was changed.

    Examples:
        >>> load_reference("bsds500/trainval", kind="histogram").n_images
        300
    """
    record = find_reference(name, extractor=extractor, kind=kind)
    return load_vdna(_verified(record.file, record.sha256))


def ranges_origin(extractor: str | ExtractorSpec | FeatureExtractor) -> Literal["ship", "published", "calibrate"]:
    """Whether activation ranges come with this package, are published elsewhere, or are to be made by calibration.

    Examples:
        >>> ranges_origin("vdna_tiny"), ranges_origin("mugs_vit_base"), ranges_origin("dinov2_vit_base")
        ('ship', 'published', 'calibrate')
    """
    name, spec = _name_and_spec(extractor)
    if name in _bundled_ranges():
        return "ship"
    return "calibrate" if spec is None or spec.ranges is None else "published"


def has_ranges(extractor: str | ExtractorSpec | FeatureExtractor) -> bool:
    """Whether activation ranges ship for an extractor or are published with it; nothing is downloaded."""
    return ranges_origin(extractor) != "calibrate"


def find_ranges(extractor: str | ExtractorSpec | FeatureExtractor) -> ActivationRanges:
    """Activation ranges that ship for an extractor, else those that are published with it.

    Args:
        extractor: the extractor, its spec or its name; published ranges need its weights, for the fingerprint.

    Raises:
        ValueError: when there are none, or they cannot be had; the error says how to calibrate.

    Examples:
        >>> find_ranges("seeded_resnet18").sources
        ('bsds500', 'imagenet_sample_1000')
    """
    name, spec = _name_and_spec(extractor)
    bundled = _bundled_ranges().get(name)
    if bundled is not None:
        return load_ranges(_verified(bundled["file"], bundled["sha256"]))
    calibrate = (
        "give ranges=, or a reference that has them, or calibrate on images like yours: vdna-metrics calibrate IMAGES "
        f"--extractor {name} -o ranges.npz (in Python: ActivationRange)"
    )
    if spec is None or spec.ranges is None:
        raise ValueError(f"no activation ranges ship for {name!r}, and histograms need them: {calibrate}")
    network = create_extractor(spec if isinstance(extractor, str) else extractor)
    try:
        path = source_file(spec.ranges)
        return load_vdna_ranges(path, network.layout, source=spec.ranges, fingerprint=network.fingerprint)
    except ValueError as error:
        raise ValueError(
            f"the activation ranges published for {name!r} could not be had: {error}. Or {calibrate}"
        ) from error


def _name_and_spec(extractor: str | ExtractorSpec | FeatureExtractor) -> tuple[str, ExtractorSpec | None]:
    if isinstance(extractor, str):
        return extractor, CATALOGUE.get(extractor)
    spec = extractor.spec if isinstance(extractor, FeatureExtractor) else extractor
    return spec.name, spec


def _bundled_ranges() -> dict[str, dict[str, Any]]:
    return {record["extractor"]: record for record in _manifest()["ranges"]}


def _verified(file: str, sha256: str) -> Path:
    path = bundled_store() / file
    found = sha256_of_file(path)
    if found != sha256:
        raise ValueError(f"{path} was changed: its sha256 is {found[:12]}, the manifest says {sha256[:12]}")
    return path


def _names(records: Sequence[ReferenceRecord]) -> str:
    return ", ".join(record.name for record in records) or "nothing"
