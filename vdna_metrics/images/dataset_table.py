"""The standard datasets that are known by name: data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Loader = Literal["torchvision", "huggingface", "local copy"]


@dataclass(frozen=True)
class DatasetRecord:
    """What is known of a standard dataset.

    Args:
        name: in lower case; a split of it is ``name/split``.
        splits: official number of images of each split.
        loader: who brings it when there is no copy: torchvision, Hugging Face ``datasets``, or nobody.
        resolution: ``"WIDTHxHEIGHT"`` of every image, or ``"various"``.
        layout: places of a copy below its root, of which the first that is there counts; ``{split}`` stands for the
            split, ``{idx}`` for MNIST's name of it (``train``, ``t10k``), ``archive.zip:folder`` for an archive as it
            was downloaded.
        home: page of the dataset.
        licence: in a few words; the page has the terms.
        note: what else there is to know.
    """

    name: str
    splits: Mapping[str, int]
    loader: Loader
    resolution: str
    layout: tuple[str, ...]
    home: str
    licence: str
    note: str = ""


# ------------------------------------------------------------------------------------------------------ catalogue
_IDX = tuple(
    f"{folder}{{idx}}-images-idx3-ubyte{suffix}" for folder in ("{class}/raw/", "raw/", "") for suffix in ("", ".gz")
)
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
_LSUN_NOTE = "needs the package lmdb; WebP files as stored in the database, their short side 256"
FFHQ_SPLITS = {"all": range(70_000), "train": range(60_000), "validation": range(60_000, 70_000)}
HUB_DATASETS = {"food101": "ethz/food101", "tiny_imagenet": "zh-plus/tiny-imagenet"}
TORCHVISION_CLASSES = {
    "celeba": "CelebA",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion_mnist": "FashionMNIST",
    "kitti": "Kitti",
    "mnist": "MNIST",
    "stl10": "STL10",
    "svhn": "SVHN",
}


def _cifar(name: str, folder: str, note: str) -> DatasetRecord:
    home = "https://www.cs.toronto.edu/~kriz/cifar.html"
    splits = {"train": 50_000, "test": 10_000}
    return DatasetRecord(name, splits, "torchvision", "32x32", (folder,), home, "none stated", note)


def _idx(name: str, home: str, licence: str) -> DatasetRecord:
    places = tuple(place.replace("{class}", TORCHVISION_CLASSES[name]) for place in _IDX)
    splits = {"train": 60_000, "test": 10_000}
    note = "the labels' file lies beside; compressed files are checked by md5, unpacked ones by their number"
    return DatasetRecord(name, splits, "torchvision", "28x28", places, home, licence, note)


def _lsun(category: str, splits: dict[str, int], *places: str) -> DatasetRecord:
    home = "https://www.yf.io/p/lsun"
    return DatasetRecord(f"lsun_{category}", splits, "local copy", "various", places, home, "research use", _LSUN_NOTE)


def _ffhq(size: int, folder: str) -> DatasetRecord:
    return DatasetRecord(
        f"ffhq-{size}",
        {split: len(numbers) for split, numbers in FFHQ_SPLITS.items()},
        "local copy",
        f"{size}x{size}",
        (folder, f"{folder}.zip:{folder}"),
        "https://github.com/NVlabs/ffhq-dataset",
        "CC BY-NC-SA 4.0; each photograph under its own licence",
        "the official PNG files; other sizes are made by their users in various ways, and are not an official dataset",
    )


def _afhq(name: str, splits: dict[str, int], note: str) -> DatasetRecord:
    home = "https://github.com/clovaai/stargan-v2"
    return DatasetRecord(
        name, splits, "local copy", "512x512", (f"{name}/{{split}}", "{split}"), home, "CC BY-NC 4.0", note
    )


def _bdd(name: str, folder: str, splits: dict[str, int], note: str) -> DatasetRecord:
    places = (f"images/{folder}/{{split}}", f"bdd100k/images/{folder}/{{split}}")
    home = "https://bdd-data.berkeley.edu"
    return DatasetRecord(name, splits, "local copy", "1280x720", places, home, "after registration", note)


_ALL = [
    _cifar("cifar10", "cifar-10-batches-py", ""),
    _cifar("cifar100", "cifar-100-python", "grouped by its 100 fine labels"),
    _idx("mnist", "http://yann.lecun.com/exdb/mnist/", "none stated"),
    _idx("fashion_mnist", "https://github.com/zalandoresearch/fashion-mnist", "MIT"),
    DatasetRecord(
        "stl10",
        {"train": 5_000, "test": 8_000, "unlabeled": 100_000, "train+unlabeled": 105_000},
        "torchvision",
        "96x96",
        ("stl10_binary",),
        "https://cs.stanford.edu/~acoates/stl10/",
        "none stated; from ImageNet",
        "lies in memory: unlabeled takes 2.8 GB",
    ),
    DatasetRecord(
        "svhn",
        {"train": 73_257, "test": 26_032, "extra": 531_131},
        "torchvision",
        "32x32",
        ("{split}_32x32.mat",),
        "http://ufldl.stanford.edu/housenumbers/",
        "non-commercial use",
        "lies in memory: extra takes 1.6 GB",
    ),
    DatasetRecord(
        "celeba",
        {"train": 162_770, "valid": 19_867, "test": 19_962, "all": 202_599},
        "torchvision",
        "178x218",
        _CELEBA,
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "non-commercial research",
        "aligned and cropped JPEG files; list_eval_partition.txt lies beside them or in Eval; torchvision needs the "
        "package gdown to download it, and Google Drive often refuses",
    ),
    *(
        _lsun(category, {"train": number, "val": 300}, f"{category}_{{split}}_lmdb")
        for category, number in _LSUN_SCENES.items()
    ),
    *(_lsun(category, {"all": number}, category, f"{category}_lmdb") for category, number in _LSUN_OBJECTS.items()),
    DatasetRecord(
        "imagenet",
        {"train": 1_281_167, "val": 50_000, "test": 100_000},
        "local copy",
        "various",
        ("{split}", "ILSVRC/Data/CLS-LOC/{split}", "ILSVRC2012_img_{split}.tar"),
        "https://image-net.org/download.php",
        "non-commercial research and education, on request",
        "ILSVRC 2012; val with and without class folders holds the same files under other names, so their manifest "
        "hashes differ; the tar of train holds tars and has to be unpacked",
    ),
    DatasetRecord(
        "tiny_imagenet",
        {"train": 100_000, "valid": 10_000},
        "huggingface",
        "64x64",
        ("**/*.parquet",),
        "https://huggingface.co/datasets/zh-plus/tiny-imagenet",
        "that of ImageNet",
        "a copy is one of that repository of the hub",
    ),
    DatasetRecord(
        "food101",
        {"train": 75_750, "validation": 25_250},
        "huggingface",
        "various",
        ("**/*.parquet",),
        "https://huggingface.co/datasets/ethz/food101",
        "scientific fair use",
        "validation is what its authors call test; a copy is one of that repository of the hub",
    ),
    _ffhq(1024, "images1024x1024"),
    _ffhq(128, "thumbnails128x128"),
    _afhq(
        "afhq",
        {"train": 14_630, "val": 1_500},
        "the first version (2020), 16 130 JPEG files",
    ),
    _afhq(
        "afhqv2",
        {"train": 14_336, "test": 1_467},
        "the second version, 15 803 PNG files; how they divide into splits was not confirmed by a public text",
    ),
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
        "local copy",
        "various",
        ("{split}", "images/{split}", "{split}.zip:{split}"),
        "https://cocodataset.org/#download",
        "Flickr's terms of use; annotations CC BY 4.0",
    ),
    DatasetRecord(
        "cityscapes",
        {"train": 2_975, "val": 500, "test": 1_525, "train_extra": 19_998},
        "local copy",
        "2048x1024",
        (
            "leftImg8bit/{split}",
            "leftImg8bit_trainvaltest.zip:leftImg8bit/{split}",
            "leftImg8bit_trainextra.zip:leftImg8bit/{split}",
        ),
        "https://www.cityscapes-dataset.com",
        "non-commercial, after registration",
        "left 8-bit images",
    ),
    _bdd("bdd100k", "100k", {"train": 70_000, "val": 10_000, "test": 20_000}, "100K images, one a video"),
    _bdd("bdd100k-10k", "10k", {"train": 7_000, "val": 1_000, "test": 2_000}, "10K images, of the segmentation task"),
    DatasetRecord(
        "ade20k",
        {"training": 20_210, "validation": 2_000},
        "local copy",
        "various",
        (
            "ADEChallengeData2016/images/{split}",
            "images/{split}",
            "ADEChallengeData2016.zip:ADEChallengeData2016/images/{split}",
        ),
        "http://sceneparsing.csail.mit.edu",
        "non-commercial research and education",
        "the SceneParsing release of 2016; the full release has 25 574 images for training",
    ),
    DatasetRecord(
        "mapillary_vistas",
        {"training": 18_000, "validation": 2_000, "testing": 5_000},
        "local copy",
        "various",
        ("{split}/images",),
        "https://www.mapillary.com/dataset/vistas",
        "non-commercial research, after registration",
    ),
    DatasetRecord(
        "kitti",
        {"training": 7_481, "testing": 7_518},
        "torchvision",
        "various",
        ("Kitti/raw/{split}/image_2", "{split}/image_2", "data_object_image_2.zip:{split}/image_2"),
        "https://www.cvlibs.net/datasets/kitti/eval_object.php",
        "CC BY-NC-SA 3.0",
        "left colour images of the object benchmark",
    ),
]
DATASETS = {record.name: record for record in _ALL}
