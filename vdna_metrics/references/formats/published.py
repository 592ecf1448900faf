"""What files of statistics others write and publish: formats, layers, addresses; data and no reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vdna_metrics.extractors.preprocess import PreprocessingMode
from vdna_metrics.layout import near_names

Format = Literal[
    "clean-fid",
    "pytorch-fid",
    "ADM",
    "EDM",
    "EDM2",
    "StyleGAN3",
    "torch-fidelity",
    "torchmetrics",
    "dgm-eval",
    "vdna",
]
ExportFormat = Literal["clean-fid", "vdna"]


@dataclass(frozen=True)
class FormatDescription:
    """What files of a format hold.

    Args:
        content: kind of file, and names of its parts.
        features: whose activations.
        modes: how images were resized; several where the file does not say which, and ``mode=`` has to.
        widths: numbers of neurons that a file of the FID Inception may have, each of another layer.
        ddof: of the covariance that its publisher compares; ours, of ddof 1, is made from the same sums.
        n_images: where their number comes from.
    """

    content: str
    features: str
    modes: tuple[PreprocessingMode, ...]
    widths: tuple[int, ...] = (2048,)
    ddof: Literal[0, 1] = 1
    n_images: str = "asked for"


_POOL = "2048 neurons before the FID Inception's classifier"
_ANY_LAYER = "a layer of the FID Inception, by its number of neurons"
FID_LAYERS = {64: "block_0", 192: "block_1", 768: "block_2", 2048: "block_3"}
_WIDTHS = tuple(FID_LAYERS)
EXPORTED = "statistics"  # kind of file, as our header has it
# The sum behind sFID: 7 channels of the first branch of Mixed_6d, each of its 17 x 17 positions a neuron.
SPATIAL_LAYER, SPATIAL_PATH, SPATIAL_WIDTH = "mixed_6_conv", "mixed_6/conv:0[..., :7]", 2023

FORMATS: Mapping[Format, FormatDescription] = {
    "clean-fid": FormatDescription(
        "npz: mu, sigma",
        _POOL,
        ("clean", "legacy_tensorflow", "legacy_pytorch"),
        n_images="the published name, else asked for",
    ),
    "pytorch-fid": FormatDescription("npz: mu, sigma", _ANY_LAYER, ("legacy_pytorch",), _WIDTHS),
    "ADM": FormatDescription(
        "npz: mu, sigma, mu_s, sigma_s, arr_0",
        f"{_POOL}; and the {SPATIAL_WIDTH} of sFID, 7 channels of Mixed_6d at each position",
        ("legacy_tensorflow",),
        n_images="the published name of ImageNet, else asked for",
    ),
    "EDM": FormatDescription(
        "npz: mu, sigma", _POOL, ("legacy_tensorflow",), n_images="some published names, else asked for"
    ),
    "EDM2": FormatDescription(
        "pickle: num_images, fid, fd_dinov2",
        f"{_POOL}; and the 1024 of the class token of DINOv2 ViT-L/14",
        ("legacy_tensorflow",),
        n_images="the file",
    ),
    "StyleGAN3": FormatDescription(
        "pickle: num_items, raw_mean, raw_cov, all_features",
        _POOL,
        ("legacy_tensorflow",),
        ddof=0,
        n_images="the file",
    ),
    "torch-fidelity": FormatDescription(
        "torch: mu, sigma",
        _ANY_LAYER,
        ("legacy_tensorflow",),
        _WIDTHS,
        n_images="the name of a cached data set, else asked for",
    ),
    "torchmetrics": FormatDescription(
        "torch: real_features_sum, real_features_cov_sum, real_features_num_samples",
        _ANY_LAYER,
        ("torchmetrics", "legacy_tensorflow"),
        _WIDTHS,
        n_images="the file",
    ),
    "dgm-eval": FormatDescription(
        "npz: model, reps, hparams",
        f"{_POOL} (model inception), or the 1024 of the class token of DINOv2 ViT-L/14 (model dinov2)",
        ("clean", "legacy_pytorch"),
        n_images="the file",
    ),
    "vdna": FormatDescription(
        "json and npz",
        "all layers of an extractor of the catalogue: histograms, Gaussians, layer Gaussians",
        (),
        (),
        n_images="the file",
    ),
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
# The statistics are of the whole training sets; what LSUN's held at that time is not stated.
_ADM: Mapping[str, tuple[str, int | None]] = {
    "imagenet/64": ("imagenet/64/VIRTUAL_imagenet64_labeled.npz", _IMAGENET),
    "imagenet/128": ("imagenet/128/VIRTUAL_imagenet128_labeled.npz", _IMAGENET),
    "imagenet/256": ("imagenet/256/VIRTUAL_imagenet256_labeled.npz", _IMAGENET),
    "imagenet/512": ("imagenet/512/VIRTUAL_imagenet512.npz", _IMAGENET),
    "lsun/bedroom": ("lsun/bedroom/VIRTUAL_lsun_bedroom256.npz", None),
    "lsun/cat": ("lsun/cat/VIRTUAL_lsun_cat256.npz", None),
    "lsun/horse": ("lsun/horse/VIRTUAL_lsun_horse256.npz", None),
}
_EDM: Mapping[str, int | None] = {
    "cifar10-32x32": 50_000,
    "ffhq-64x64": 70_000,
    "afhqv2-64x64": None,
    "imagenet-64x64": _IMAGENET,
    "imagenet-64x64-baseline": None,
}
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
    tensorflow: PreprocessingMode = "legacy_tensorflow"
    for name, (file, number) in _ADM.items():
        address = f"{ADDRESSES['ADM']}/{file}"
        entries.append(PublishedStatistics(f"ADM:{name}", "ADM", address, tensorflow, number))
    for name, number in _EDM.items():
        address = f"{ADDRESSES['EDM']}/{name}.npz"
        entries.append(PublishedStatistics(f"EDM:{name}", "EDM", address, tensorflow, number))
    entries.append(PublishedStatistics("EDM2:img512", "EDM2", f"{ADDRESSES['EDM2']}/img512.pkl", tensorflow))
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
