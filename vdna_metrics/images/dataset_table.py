"""The standard datasets that are known by name: data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Loader = Literal["torchvision", "huggingface", "local copy"]

DATASET = "dataset:"
"""Prefix of a source that is a standard dataset."""


@dataclass(frozen=True)
class DatasetRecord:
    """What is known of a standard dataset.

    Args:
        name: in lower case; a split of it is ``name/split``.
        splits: official number of images of each split.
        layout: places of a copy below its root, of which the first that is there counts; ``{split}`` stands for the
            split, ``{idx}`` for MNIST's name of it (``train``, ``t10k``), ``archive.zip:folder`` for an archive as it
            was downloaded.
        home: page of the dataset.
        licence: in a few words; the page has the terms.
        loader: who brings it when there is no copy: torchvision, Hugging Face ``datasets``, or nobody.
        resolution: ``"WIDTHxHEIGHT"`` of every image, or ``"various"``.
    """

    name: str
    splits: Mapping[str, int]
    layout: tuple[str, ...]
    home: str
    licence: str
    loader: Loader = "local copy"
    resolution: str = "various"


# ------------------------------------------------------------------------------------------------------ catalogue
_CELEBA = tuple(
    f"{folder}{images}"
    for folder in ("celeba/", "", "Img/")
    for images in ("img_align_celeba", "img_align_celeba.zip:img_align_celeba")
)
# Beside the images, or in the folder of the official archive.
CELEBA_PARTITIONS = ("celeba/list_eval_partition.txt", "list_eval_partition.txt", "Eval/list_eval_partition.txt")
_LSUN_SCENES = {
    "bedroom": 3_033_042,
    "bridge": 818_687,
    "church_outdoor": 126_227,
    "classroom": 168_103,
    "conference_room": 229_069,
    "dining_room": 657_571,
    "kitchen": 2_212_277,
    "living_room": 1_315_802,
    "restaurant": 626_331,
    "tower": 708_264,
}
_LSUN_OBJECTS = {"car": 5_520_756, "cat": 1_657_266, "dog": 5_054_817, "horse": 2_000_340}
FFHQ_SPLITS = {"all": range(70_000), "train": range(60_000), "validation": range(60_000, 70_000)}
HUB_DATASETS = {"food101": "ethz/food101", "tiny_imagenet": "zh-plus/tiny-imagenet"}


def _cifar(name: str, folder: str) -> DatasetRecord:
    home = "https://www.cs.toronto.edu/~kriz/cifar.html"
    splits = {"train": 50_000, "test": 10_000}
    return DatasetRecord(name, splits, (folder,), home, "none stated", "torchvision", "32x32")


def _idx(name: str, folder: str, home: str, licence: str) -> DatasetRecord:
    places = tuple(
        f"{inside}{{idx}}-images-idx3-ubyte{suffix}"
        for inside in (f"{folder}/raw/", "raw/", "")
        for suffix in ("", ".gz")
    )
    splits = {"train": 60_000, "test": 10_000}
    return DatasetRecord(name, splits, places, home, licence, "torchvision", "28x28")


def _lsun(category: str, splits: dict[str, int], *places: str) -> DatasetRecord:
    return DatasetRecord(f"lsun_{category}", splits, places, "https://www.yf.io/p/lsun", "research use")


def _ffhq(size: int, folder: str) -> DatasetRecord:
    return DatasetRecord(
        f"ffhq-{size}",
        {split: len(numbers) for split, numbers in FFHQ_SPLITS.items()},
        (folder, f"{folder}.zip:{folder}"),
        "https://github.com/NVlabs/ffhq-dataset",
        "CC BY-NC-SA 4.0; each photograph under its own licence",
        resolution=f"{size}x{size}",
    )


def _afhq(name: str, splits: dict[str, int]) -> DatasetRecord:
    home = "https://github.com/clovaai/stargan-v2"
    places = (f"{name}/{{split}}", "{split}")
    return DatasetRecord(name, splits, places, home, "CC BY-NC 4.0", resolution="512x512")


def _bdd(name: str, folder: str, splits: dict[str, int]) -> DatasetRecord:
    places = (f"images/{folder}/{{split}}", f"bdd100k/images/{folder}/{{split}}")
    home = "https://bdd-data.berkeley.edu"
    return DatasetRecord(name, splits, places, home, "after registration", resolution="1280x720")


_ALL = [
    _cifar("cifar10", "cifar-10-batches-py"),
    _cifar("cifar100", "cifar-100-python"),
    _idx("mnist", "MNIST", "http://yann.lecun.com/exdb/mnist/", "none stated"),
    _idx("fashion_mnist", "FashionMNIST", "https://github.com/zalandoresearch/fashion-mnist", "MIT"),
    DatasetRecord(
        "stl10",
        {"train": 5_000, "test": 8_000, "unlabeled": 100_000, "train+unlabeled": 105_000},
        ("stl10_binary",),
        "https://cs.stanford.edu/~acoates/stl10/",
        "none stated; from ImageNet",
        loader="torchvision",
        resolution="96x96",
    ),
    DatasetRecord(
        "svhn",
        {"train": 73_257, "test": 26_032, "extra": 531_131},
        ("{split}_32x32.mat",),
        "http://ufldl.stanford.edu/housenumbers/",
        "non-commercial use",
        loader="torchvision",
        resolution="32x32",
    ),
    DatasetRecord(
        "celeba",
        {"train": 162_770, "valid": 19_867, "test": 19_962, "all": 202_599},
        _CELEBA,
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "non-commercial research",
        loader="torchvision",
        resolution="178x218",
    ),
    *(
        _lsun(category, {"train": number, "val": 300}, f"{category}_{{split}}_lmdb")
        for category, number in _LSUN_SCENES.items()
    ),
    *(_lsun(category, {"all": number}, category, f"{category}_lmdb") for category, number in _LSUN_OBJECTS.items()),
    DatasetRecord(
        "imagenet",
        {"train": 1_281_167, "val": 50_000, "test": 100_000},
        ("{split}", "ILSVRC/Data/CLS-LOC/{split}", "ILSVRC2012_img_{split}.tar"),
        "https://image-net.org/download.php",
        "non-commercial research and education, on request",
    ),
    DatasetRecord(
        "tiny_imagenet",
        {"train": 100_000, "valid": 10_000},
        ("**/*.parquet",),
        "https://huggingface.co/datasets/zh-plus/tiny-imagenet",
        "that of ImageNet",
        loader="huggingface",
        resolution="64x64",
    ),
    DatasetRecord(
        "food101",
        {"train": 75_750, "validation": 25_250},
        ("**/*.parquet",),
        "https://huggingface.co/datasets/ethz/food101",
        "scientific fair use",
        loader="huggingface",
    ),
    _ffhq(1024, "images1024x1024"),
    _ffhq(128, "thumbnails128x128"),
    _afhq("afhq", {"train": 14_630, "val": 1_500}),
    _afhq("afhqv2", {"train": 14_336, "test": 1_467}),
    DatasetRecord(
        "coco",
        {
            "train2017": 118_287,
            "val2017": 5_000,
            "test2017": 40_670,
            "train2014": 82_783,
            "val2014": 40_504,
            "test2014": 40_775,
            "test2015": 81_434,
        },
        ("{split}", "images/{split}", "{split}.zip:{split}"),
        "https://cocodataset.org/#download",
        "Flickr's terms of use; annotations CC BY 4.0",
    ),
    DatasetRecord(
        "cityscapes",
        {"train": 2_975, "val": 500, "test": 1_525, "train_extra": 19_998},
        (
            "leftImg8bit/{split}",
            "leftImg8bit_trainvaltest.zip:leftImg8bit/{split}",
            "leftImg8bit_trainextra.zip:leftImg8bit/{split}",
        ),
        "https://www.cityscapes-dataset.com",
        "non-commercial, after registration",
        resolution="2048x1024",
    ),
    _bdd("bdd100k", "100k", {"train": 70_000, "val": 10_000, "test": 20_000}),
    _bdd("bdd100k-10k", "10k", {"train": 7_000, "val": 1_000, "test": 2_000}),
    DatasetRecord(
        "ade20k",
        {"training": 20_210, "validation": 2_000},
        (
            "ADEChallengeData2016/images/{split}",
            "images/{split}",
            "ADEChallengeData2016.zip:ADEChallengeData2016/images/{split}",
        ),
        "http://sceneparsing.csail.mit.edu",
        "non-commercial research and education",
    ),
    DatasetRecord(
        "mapillary_vistas",
        {"training": 18_000, "validation": 2_000, "testing": 5_000},
        ("{split}/images",),
        "https://www.mapillary.com/dataset/vistas",
        "non-commercial research, after registration",
    ),
    DatasetRecord(
        "kitti",
        {"training": 7_481, "testing": 7_518},
        ("Kitti/raw/{split}/image_2", "{split}/image_2", "data_object_image_2.zip:{split}/image_2"),
        "https://www.cvlibs.net/datasets/kitti/eval_object.php",
        "CC BY-NC-SA 3.0",
        loader="torchvision",
    ),
]
DATASETS = {record.name: record for record in _ALL}
