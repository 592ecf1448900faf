"""Folders of DNA files: the groups of one set of images, as the cache and ``make --shard`` write them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from vdna_metrics.distributions import HistogramDistribution, Kind
from vdna_metrics.dna.grouped import GroupedDNA
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.files import is_ours, json_hash, read_header, read_npz, replacing
from vdna_metrics.fingerprint import ExtractorFingerprint

IMAGES = "images.json"


@dataclass(frozen=True, eq=False)
class DNAFolder:
    """DNAs of groups as files, without their images; see `load_dna_folder`.

    Args:
        dnas: one a kind, network and setting; of a single file a `VDNA`.
        features: fingerprint with one layer, and float32 ``[images, neurons]``, of each layer where they were kept.
        digests: ``{name: sha256}`` of the images, where they were kept.
    """

    dnas: tuple[GroupedDNA | VDNA, ...]
    features: tuple[tuple[ExtractorFingerprint, Tensor], ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


def holds_dnas(path: str | Path) -> bool:
    """Whether a path is a folder with DNA files in it."""
    return Path(path).is_dir() and any(_dna_files(Path(path)))


def load_dna_folder(path: str | Path) -> DNAFolder:
    """Read the DNA files of a folder, as the cache of `build_set` and ``make --shard`` write them.

    Files of one kind, network and settings are taken for the groups of one set of images, in the order of their names.

    Args:
        path: the folder; what lies in folders below is left alone.

    Raises:
        ValueError: when there is no DNA in it, or one is damaged.
    """
    families: dict[str, list[VDNA]] = {}
    features = []
    folder = Path(path)
    for file in _dna_files(folder):
        dna = load_vdna(file)
        distribution = dna.distribution
        settings: list[Any] = [dna.kind, dna.fingerprint.to_json(), dna.layout.to_json(), dna.provenance.max_positions]
        if isinstance(distribution, HistogramDistribution):
            settings += [distribution.bins, distribution.ranges.digest]
        families.setdefault(json_hash(settings), []).append(dna)
    if not families:
        raise ValueError(f"{path} has no DNA file in it")
    digests = json.loads((folder / IMAGES).read_bytes()) if (folder / IMAGES).exists() else {}
    for file in sorted(folder.glob("features-*.npz")) if digests else ():
        header, arrays = read_npz(file, ("features",))
        seen_through = ExtractorFingerprint.from_json(header["fingerprint"])
        features.append((seen_through, torch.from_numpy(arrays["vectors"])))
    found = (GroupedDNA(tuple(dnas)) if len(dnas) > 1 else dnas[0] for dnas in families.values())
    return DNAFolder(tuple(found), tuple(features), digests)


def write_image_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Say beside the DNAs which images they are of."""
    with replacing(folder / IMAGES) as file:
        file.write(json.dumps(digests).encode("ascii"))


def _dna_files(folder: Path) -> Iterator[Path]:
    # Numbers in names are numbers: part10 comes after part9.
    def key(path: Path) -> list[Any]:
        return [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", path.name)]

    for file in sorted(folder.glob("*.npz"), key=key):
        if is_ours(file) and read_header(file).get("kind") in get_args(Kind):
            yield file
