"""What files of statistics others write and publish: formats, layers, addresses; data and no reading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vdna_metrics.extractors.modes import PreprocessingMode
from vdna_metrics.layout import near_names

Format = Literal[
    "clean-fid", "pytorch-fid", "ADM", "EDM", "EDM2", "StyleGAN3", "torch-fidelity", "torchmetrics", "dgm-eval", "vdna"
]
ExportFormat = Literal["clean-fid", "vdna"]


FID_LAYERS = {64: "block_0", 192: "block_1", 768: "block_2", 2048: "block_3"}
_WIDTHS = tuple(FID_LAYERS)
EXPORTED = "statistics"  # kind of file, as our header has it


@dataclass(frozen=True)
class FormatDescription:
    """What a file of a format leaves to be known; what it holds is in docs/references.md.

    Args:
        modes: how images were resized; several where the file does not say which, and ``mode=`` has to.
        widths: numbers of neurons that a file of the FID Inception may have, each of another layer.
        ddof: of the covariance that its publisher compares; ours, of ddof 1, is made from the same sums.
    """

    modes: tuple[PreprocessingMode, ...]
    widths: tuple[int, ...] = (2048,)
    ddof: Literal[0, 1] = 1


FORMATS: Mapping[Format, FormatDescription] = {
    "clean-fid": FormatDescription(("clean", "legacy_tensorflow", "legacy_pytorch")),
    "pytorch-fid": FormatDescription(("legacy_pytorch",), _WIDTHS),
    "ADM": FormatDescription(("legacy_tensorflow",)),
    "EDM": FormatDescription(("legacy_tensorflow",)),
    "EDM2": FormatDescription(("legacy_tensorflow",)),
    "StyleGAN3": FormatDescription(("legacy_tensorflow",), ddof=0),
    "torch-fidelity": FormatDescription(("legacy_tensorflow",), _WIDTHS),
    "torchmetrics": FormatDescription(("torchmetrics", "legacy_tensorflow"), _WIDTHS),
    "dgm-eval": FormatDescription(("clean", "legacy_pytorch")),
    "vdna": FormatDescription(()),
}


@dataclass(frozen=True)
class PublishedStatistics:
    """A file of statistics at its publisher's address.

    Args:
        name: by which `import_statistics` takes it.
        format: of the file.
        address: where it is.
        mode: how images were resized.
        n_images: number of images, ``None`` where neither file nor publisher states it.
    """

    name: str
    format: Format
    address: str
    mode: PreprocessingMode
    n_images: int | None = None


ADDRESSES: dict[Format, str] = {
    "clean-fid": "https://www.cs.cmu.edu/~clean-fid/stats",
    "ADM": "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches",
    "EDM": "https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs",
    "EDM2": "https://nvlabs-fi-cdn.nvidia.com/edm2/dataset-refs",
}
_CLEAN_FID: Mapping[str, tuple[tuple[int, ...], Mapping[str, int]]] = {
    "cifar10": ((32,), {"train": 50_000, "test": 10_000}),
    "ffhq": ((1024, 256), {"trainval": 50_000, "trainval70k": 70_000}),
    "lsun_church": ((256,), {"train": 50_000, "trainfull": 126_227}),
    "lsun_horse": ((256,), {"train": 50_000, "trainfull": 2_000_340}),
    "lsun_cat": ((256,), {"train": 50_000, "trainfull": 1_657_264}),
    "afhq_cat": ((512,), {"train": 5_153}),
    "afhq_dog": ((512,), {"train": 4_739}),
    "afhq_wild": ((512,), {"train": 4_738}),
    "brecahad": ((512,), {"train": 1_944}),
    "metfaces": ((1024,), {"train": 1_336}),
    "horse2zebra": ((256,), {"test": 140}),
    "cat2dog": ((256,), {"test": 500}),
}
_IMAGENET = 1_281_167
# Files below the addresses. The statistics are of the whole training sets; what LSUN's held then is not stated.
_TENSORFLOW: Mapping[str, tuple[str, int | None]] = {
    "ADM:imagenet/64": ("imagenet/64/VIRTUAL_imagenet64_labeled.npz", _IMAGENET),
    "ADM:imagenet/128": ("imagenet/128/VIRTUAL_imagenet128_labeled.npz", _IMAGENET),
    "ADM:imagenet/256": ("imagenet/256/VIRTUAL_imagenet256_labeled.npz", _IMAGENET),
    "ADM:imagenet/512": ("imagenet/512/VIRTUAL_imagenet512.npz", _IMAGENET),
    "ADM:lsun/bedroom": ("lsun/bedroom/VIRTUAL_lsun_bedroom256.npz", None),
    "ADM:lsun/cat": ("lsun/cat/VIRTUAL_lsun_cat256.npz", None),
    "ADM:lsun/horse": ("lsun/horse/VIRTUAL_lsun_horse256.npz", None),
    "EDM:cifar10-32x32": ("cifar10-32x32.npz", 50_000),
    "EDM:ffhq-64x64": ("ffhq-64x64.npz", 70_000),
    "EDM:afhqv2-64x64": ("afhqv2-64x64.npz", None),
    "EDM:imagenet-64x64": ("imagenet-64x64.npz", _IMAGENET),
    "EDM:imagenet-64x64-baseline": ("imagenet-64x64-baseline.npz", None),
    "EDM2:img512": ("img512.pkl", None),
}
FIDELITY_FEATURES = re.compile(
    r"(?P<input>.+)-(?P<extractor>inception-v3-compat|vgg16|clip-[a-z0-9-]+|dinov2-vit-[a-z]-14)-features-(?P<layer>.+)\.pt"
)
"""Name of a file in which torch-fidelity keeps features."""
# What torch-fidelity itself calls these inputs, as its cache files begin.
TORCH_FIDELITY_INPUTS: Mapping[str, int] = {
    "cifar10-train": 50_000,
    "cifar10-val": 10_000,
    "cifar100-train": 50_000,
    "cifar100-val": 10_000,
    "stl10-train": 5_000,
    "stl10-test": 8_000,
    "stl10-unlabeled": 100_000,
}


def published_statistics() -> list[PublishedStatistics]:
    """All statistics that `import_statistics` knows by name.

    Examples:
        >>> {entry.name: entry.n_images for entry in published_statistics()}["clean-fid:metfaces/train/1024"]
        1336
    """
    entries = []
    for dataset, (resolutions, splits) in _CLEAN_FID.items():
        for mode in FORMATS["clean-fid"].modes:
            for split, count in splits.items():
                for resolution in resolutions:
                    name = f"clean-fid:{dataset}/{split}/{resolution}" + (f"/{mode}" if mode != "clean" else "")
                    address = f"{ADDRESSES['clean-fid']}/{dataset}_{mode}_{split}_{resolution}.npz"
                    entries.append(PublishedStatistics(name, "clean-fid", address, mode, count))
    for name, (file, number) in _TENSORFLOW.items():
        format: Any = name.partition(":")[0]
        entries.append(PublishedStatistics(name, format, f"{ADDRESSES[format]}/{file}", "legacy_tensorflow", number))
    return entries


def find_published(source: str) -> PublishedStatistics | None:
    """The published statistics of a name; ``None`` for another text.

    Raises:
        ValueError: for a name that begins with a publisher and is unknown; near ones are named.
    """
    publisher, colon, _ = source.partition(":")
    known = {publisher.lower(): publisher for publisher in ADDRESSES}
    if not colon or publisher.lower() not in known or Path(source).exists():
        return None
    entries = {entry.name.lower(): entry for entry in published_statistics()}
    if source.lower() not in entries:
        names = [entry.name for entry in entries.values() if entry.name.lower().startswith(f"{publisher.lower()}:")]
        raise ValueError(f"no published statistics {source!r}; {near_names(source, names)}")
    return entries[source.lower()]
