"""Protocols by name: which network, images and reference published numbers are of; data, and no measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.extractors import ExtractorSpec, get_spec
from vdna_metrics.layout import near_names

Balance = Literal["equal", "random", "either"]
"""Labels of generated images: as many of each class, drawn at random, or either, since papers differ."""
Topic = Literal["network", "generated", "classes", "reference", "used by", "other here"]


@dataclass(frozen=True)
class Told:
    """What is known of one part of a protocol.

    Args:
        text: for people.
        sources: where it can be read: addresses of papers, code and answers of authors; empty for what this package
            does.
    """

    text: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageRule:
    """What a protocol asks of a set of images, as far as a set can be held to it.

    Args:
        n_images: how many; ``None`` for any number.
        size: width and height of each as stored; ``None`` for any.
        lossless: whether they are saved without loss, as PNG or arrays.
        classes: how many classes they are of; 0 for images without.
        balance: of the classes.
    """

    n_images: int | None = None
    size: tuple[int, int] | None = None
    lossless: bool = False
    classes: int = 0
    balance: Balance = "either"


@dataclass(frozen=True)
class Protocol:
    """How published numbers of one kind are measured.

    Args:
        name: what users type.
        measures: in a few words.
        columns: names of columns, all in one network.
        extractor: name of that network, which says how images are resized and cropped.
        told: of each topic what is known, and where.
        generated: what is asked of generated images.
        reference: what is asked of real ones.
        real: what the real images are, in a few words; empty where that is up to the user.
        statistics: names under which this package knows statistics of them, see `import_statistics`.
        bins: of histograms.

    Examples:
        >>> protocol = find_protocol("adm-gfid-256")
        >>> protocol.columns, protocol.networks, protocol.generated.n_images
        (('fid',), {'fid_inception': 'fid_inception_legacy_tensorflow'}, 50000)
    """

    name: str
    measures: str
    columns: tuple[str, ...]
    extractor: str
    told: Mapping[Topic, Told]
    generated: ImageRule = field(default_factory=ImageRule)
    reference: ImageRule = field(default_factory=ImageRule)
    real: str = ""
    statistics: tuple[str, ...] = ()
    bins: int | None = None

    @property
    def spec(self) -> ExtractorSpec:
        """Of its network."""
        return get_spec(self.extractor)

    @property
    def column(self) -> Column:
        """The first of its columns."""
        return find_column(self.columns[0])

    @property
    def networks(self) -> dict[str, str]:
        """``{name: network}`` for the network that its columns name, as `score_leaderboard` takes it."""
        return {} if self.column.extractor is None else {self.column.extractor: self.extractor}

    @property
    def extractors(self) -> tuple[str, ...]:
        """The network of columns that name none, as `score_leaderboard` takes it."""
        return () if self.networks else (self.extractor,)

    def lines(self) -> dict[str, Told]:
        """``{title: what there is to know}``, for a page and for a terminal.

        Examples:
            >>> find_protocol("mind-5k").lines()["generated"].text
            '5 000 images: 1000 or 2000 during training'
        """
        network = self.told["network"]
        lines: dict[str, Told] = {
            "columns": Told(", ".join(self.columns)),
            "network": replace(network, text=f"{self.extractor}: {network.text}"),
            "input": Told(self.spec.preprocess.id),
            "generated": _of_images(self.generated, self.told.get("generated")),
            "reference": _of_images(self.reference, self.told.get("reference")),
            "reference by name": Told(", ".join(self.statistics)),
            **{topic: told for topic, told in self.told.items() if topic not in ("network", "generated", "reference")},
        }
        return {title: told for title, told in lines.items() if told.text}


def grouped(number: int) -> str:
    """A number with its thousands apart.

    Examples:
        >>> grouped(50000)
        '50 000'
    """
    return f"{number:,}".replace(",", " ")


def _of_images(rule: ImageRule, told: Told | None) -> Told:
    number = "" if rule.n_images is None else f"{grouped(rule.n_images)} images"
    size = "" if rule.size is None else f"{rule.size[0]}x{rule.size[1]} pixels"
    asked = ", ".join(filter(None, [number, size]))
    return Told(asked) if told is None else replace(told, text=": ".join(filter(None, [asked, told.text])))


def list_protocols() -> list[str]:
    """Names of the protocols that are known.

    Examples:
        >>> list_protocols()[:2]
        ['adm-gfid-256', 'adm-gfid-512']
    """
    return list(PROTOCOLS)


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ValueError: for an unknown name; near ones are named.

    Examples:
        >>> find_protocol("mind")
        Traceback (most recent call last):
        ...
        ValueError: unknown protocol 'mind'; did you mean 'mind-5k' or 'cmmd'?
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; {near_names(name, list_protocols())}")
    return PROTOCOLS[name]


# ----------------------------------------------------------------------------------------------------- where it is read
_ADM = "https://github.com/openai/guided-diffusion"
_D_AR = "https://github.com/showlab/D-AR/blob/main/eval_recon_rfid.sh"
_DIT = "https://github.com/facebookresearch/DiT/blob/main/sample_ddp.py"
_DGM_EVAL = "https://github.com/layer6ai-labs/dgm-eval/blob/main"
_EDM2 = "https://github.com/NVlabs/edm2/blob/main"
_CLEAN_FID = "https://github.com/GaParmar/clean-fid"
_CMMD = "https://github.com/google-research/google-research/blob/master/cmmd"
_GIGAGAN = "https://github.com/mingukkang/GigaGAN/blob/main/evaluation"
_LIGHTNINGDIT = "https://github.com/hustvl/LightningDiT"
_LLAMAGEN = "https://github.com/FoundationVision/LlamaGen/blob/main"
_MAR = "https://github.com/LTH14/mar"
_PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid"
_RAE = "https://github.com/bytetriper/RAE"
_STYLEGAN3 = "https://github.com/NVlabs/stylegan3/blob/main"
_TORCH_FIDELITY = "https://github.com/toshas/torch-fidelity/blob/master/torch_fidelity"
_TORCHMETRICS = "https://github.com/Lightning-AI/torchmetrics/blob/master/src/torchmetrics/image/fid.py"
_VAR = "https://github.com/FoundationVision/VAR/blob/main/README.md"
_VDNA = "https://arxiv.org/abs/2304.10036"

# ----------------------------------------------------------------------------------------- what several have in common
_IMAGENET, _TRAIN, _VAL = 1000, 1_281_167, 50_000
_TENSORFLOW_GRAPH = Told(
    "images go into the graph of the FID Inception as they are stored, and the graph resizes them to 299 pixels as "
    "TensorFlow 1 did; pool_3 is read",
    (f"{_ADM}/blob/main/evaluations/evaluator.py",),
)
_NVIDIA = Told(
    "the FID Inception as NVIDIA translated it to PyTorch, with the resizing of its graph",
    (f"{_EDM2}/calculate_metrics.py",),
)
_CONDITIONAL = Told(
    "labels at random in the code of ADM, DiT and LlamaGen; 50 images of each class in VAR and MAR; RAE's script has "
    "both and takes random ones unless told",
    (
        f"{_ADM}/blob/main/scripts/classifier_sample.py",
        _DIT,
        f"{_LLAMAGEN}/autoregressive/sample/sample_c2i_ddp.py",
        _VAR,
        f"{_MAR}/blob/main/engine_mar.py",
        f"{_RAE}/blob/34b0679f6b592356baed67a998b6c4acab662e43/src/sample_ddp.py",
    ),
)
_RANDOM_LABELS = Told("labels at random, one seed an image", (f"{_EDM2}/generate_images.py",))
_EDM2_GENERATED = Told(
    "PNG; of more than 50 000 a random subset, fewer are an error. The paper measures several times and reports the "
    "smallest value",
    (f"{_EDM2}/calculate_metrics.py", f"{_EDM2}/README.md"),
)
_EDM2_REFERENCE = Told(
    "the whole training set, each image cropped and resized as ADM's training code does (center-crop-dhariwal) and "
    "saved as PNG",
    (f"{_EDM2}/README.md",),
)
_AS_STORED = Told("whatever is in the two folders: all of it, as it is stored", (_PYTORCH_FID,))


def _adm(pixels: int, statistics: str, told: Told, used_by: Told) -> Protocol:
    """ADM's evaluation of samples of ImageNet."""
    return Protocol(
        name=f"adm-gfid-{pixels}",
        measures=f"gFID (FID-50K): FID of samples of ImageNet at {pixels} pixels from ADM's statistics",
        columns=("fid",),
        extractor="fid_inception_legacy_tensorflow",
        generated=ImageRule(50_000, (pixels, pixels), lossless=True, classes=_IMAGENET),
        real="ADM's mean and covariance of ImageNet's training set",
        reference=ImageRule(_TRAIN),
        statistics=(statistics,),
        told={
            "network": _TENSORFLOW_GRAPH,
            "generated": Told(
                "8 bits, as PNG and not as JPEG, gathered in one array (.npz)",
                (_VAR, _DIT, f"{_ADM}/blob/main/evaluations/README.md"),
            ),
            "classes": _CONDITIONAL,
            "reference": told,
            "used by": used_by,
            "other here": Told(
                "sFID is a column of its own, --metrics fid,sfid. Precision and recall, which ADM takes from the "
                "images in its file, are not measured from its statistics"
            ),
        },
    )


def _rfid(name: str, code: str, extractor: str, network: Told) -> Protocol:
    """Of reconstructions of ImageNet's validation set."""
    reconstruct = f"{_LLAMAGEN}/tokenizer/tokenizer_image/reconstruction_vq_ddp.py"
    return Protocol(
        name=name,
        measures=f"rFID by {code}: FID of a tokenizer's reconstructions of ImageNet's validation set from that set",
        columns=("fid",),
        extractor=extractor,
        generated=ImageRule(_VAL, (256, 256), lossless=True),
        real="the images of ImageNet's validation set that were reconstructed, cropped and resized alike",
        reference=ImageRule(_VAL, (256, 256), lossless=True),
        told={
            "network": network,
            "generated": Told("reconstructions of the validation images at 256 pixels, as PNG", (reconstruct,)),
            "reference": Told(
                "the validation images as the tokenizer got them, saved as PNG or an array: LlamaGen crops as ADM "
                "(center_crop_arr: halved by a box filter, then bicubic), LightningDiT by Resize(256) and "
                "CenterCrop(256). Not the JPEG files as they were published, and not ADM's statistics",
                (
                    f"{_LLAMAGEN}/tokenizer/validation/val_ddp.py",
                    f"{_LIGHTNINGDIT}/blob/main/evaluate_tokenizer.py",
                    "https://github.com/showlab/D-AR/issues/3",
                    f"{_RAE}/issues/11",
                ),
            ),
            "used by": Told(
                "the validation set is that of VQGAN, LlamaGen, LightningDiT (VA-VAE) and RAE. MAR's is of 50 000 "
                "training images",
                (
                    "https://github.com/CompVis/taming-transformers/issues/155",
                    reconstruct,
                    f"{_LIGHTNINGDIT}/issues/7",
                    f"{_RAE}/issues/11",
                    f"{_MAR}/issues/8",
                ),
            ),
        },
    )


_ALL = (
    _adm(
        256,
        "ADM:imagenet/256",
        Told(
            "mean and covariance of the whole training set, mu and sigma of VIRTUAL_imagenet256_labeled.npz; the "
            "10 000 images in that file serve precision and recall and not the FID. How the training set was cropped "
            "is not published; ADM's training code takes center_crop_arr, or random crops",
            (
                f"{_ADM}/blob/main/evaluations/README.md",
                f"{_ADM}/issues/56",
                f"{_MAR}/issues/8",
                f"{_ADM}/blob/main/guided_diffusion/image_datasets.py",
            ),
        ),
        Told(
            "ADM, DiT, LlamaGen, VAR and RAE by ADM's evaluator; MAR by torch-fidelity with the same mu and sigma",
            (_DIT, f"{_LLAMAGEN}/GETTING_STARTED.md", _VAR, f"{_RAE}/issues/11", f"{_MAR}/issues/8"),
        ),
    ),
    _adm(
        512,
        "ADM:imagenet/512",
        Told(
            "mean and covariance of the whole training set, mu and sigma of VIRTUAL_imagenet512.npz, whose images "
            "serve precision and recall alone. How the training set was cropped is not published",
            (f"{_ADM}/blob/main/evaluations/README.md", _VAR),
        ),
        Told("ADM, DiT, VAR", (_DIT, _VAR)),
    ),
    Protocol(
        name="edm2-fid",
        measures="FID of samples of ImageNet at 512 pixels from EDM2's statistics",
        columns=("fid",),
        extractor="fid_inception_legacy_tensorflow",
        generated=ImageRule(50_000, (512, 512), lossless=True, classes=_IMAGENET, balance="random"),
        real="EDM2's mean and covariance of ImageNet's training set",
        reference=ImageRule(_TRAIN),
        statistics=("EDM2:img512",),
        told={
            "network": _NVIDIA,
            "generated": _EDM2_GENERATED,
            "classes": _RANDOM_LABELS,
            "reference": _EDM2_REFERENCE,
            "used by": Told("EDM2", (f"{_EDM2}/README.md",)),
        },
    ),
    Protocol(
        name="edm2-fd-dinov2",
        measures="FD-DINOv2 of samples of ImageNet at 512 pixels from EDM2's statistics",
        columns=("fd_dinov2",),
        extractor="fd_dinov2",
        generated=ImageRule(50_000, (512, 512), lossless=True, classes=_IMAGENET, balance="random"),
        real="EDM2's mean and covariance of ImageNet's training set",
        reference=ImageRule(_TRAIN),
        statistics=("EDM2:img512",),
        told={
            "network": Told(
                "the class token of DINOv2 ViT-L/14; images resized to 224 pixels by torch's antialiased bicubic "
                "filtering, not rounded",
                (f"{_EDM2}/calculate_metrics.py",),
            ),
            "generated": _EDM2_GENERATED,
            "classes": _RANDOM_LABELS,
            "reference": _EDM2_REFERENCE,
            "used by": Told("EDM2", (f"{_EDM2}/README.md",)),
            "other here": Told("resized values are clipped to [0, 255], which EDM2 does not do"),
        },
    ),
    _rfid(
        "rfid-imagenet-val",
        "ADM's code",
        "fid_inception_legacy_tensorflow",
        Told(
            "as ADM's evaluator runs it, for whose files LlamaGen's scripts are; with pytorch-fid it is "
            "rfid-imagenet-val-pytorch",
            (f"{_LLAMAGEN}/tokenizer/validation/val_ddp.py", _D_AR),
        ),
    ),
    _rfid(
        "rfid-imagenet-val-pytorch",
        "pytorch-fid",
        "fid_inception_legacy_pytorch",
        Told(
            "as pytorch-fid runs it: LightningDiT's script, and one of the two ways of D-AR's",
            (f"{_LIGHTNINGDIT}/blob/main/evaluate_tokenizer.py", _D_AR),
        ),
    ),
    Protocol(
        name="ffhq-50k",
        measures="FID of samples of FFHQ (fid50k_full of StyleGAN) from all of its images",
        columns=("fid",),
        extractor="fid_inception_legacy_tensorflow",
        generated=ImageRule(50_000, (1024, 1024), lossless=True),
        real="all images of FFHQ",
        reference=ImageRule(70_000, (1024, 1024), lossless=True),
        statistics=("clean-fid:ffhq/trainval70k/1024/legacy_tensorflow",),
        told={
            "network": _NVIDIA,
            "generated": Told(
                "as the generator puts them out, rounded to 8 bits and never saved",
                (f"{_STYLEGAN3}/metrics/metric_main.py", f"{_STYLEGAN3}/metrics/metric_utils.py"),
            ),
            "reference": Told(
                "PNG in a zip, without mirrored copies. fid50k, the older metric, takes 50 000 of them",
                (
                    f"{_STYLEGAN3}/metrics/metric_main.py",
                    f"{_STYLEGAN3}/README.md",
                    f"{_CLEAN_FID}/blob/main/README.md",
                ),
            ),
            "used by": Told("StyleGAN3", (f"{_STYLEGAN3}/metrics/metric_main.py",)),
            "other here": Told(
                "StyleGAN's code divides covariances by n, here by n - 1; the statistics by name are clean-fid's, "
                "whose legacy_tensorflow is StyleGAN's resizing"
            ),
        },
    ),
    Protocol(
        name="coco-30k",
        measures="zero-shot FID of text-to-image models on COCO (FID-30K)",
        columns=("fid",),
        extractor="fid_inception",
        generated=ImageRule(30_000, (256, 256), lossless=True),
        real="COCO's validation set of 2014",
        reference=ImageRule(40_504, (256, 256)),
        told={
            "network": Told(
                "clean-fid in GigaGAN's code, which others took over; what DALL-E and Imagen resized with is not "
                "published",
                (f"{_GIGAGAN}/README.md", f"{_LLAMAGEN}/evaluations/t2i/evaluation.py"),
            ),
            "generated": Told(
                "of 30 000 captions drawn at random from the validation set, one image each",
                ("https://arxiv.org/abs/2205.11487",),
            ),
            "reference": Told(
                "the whole validation set: the largest central square, resized to 256 pixels by Lanczos filtering "
                "(GigaGAN). Some take only the 30 000 images of the captions",
                (
                    "https://arxiv.org/abs/2205.11487",
                    f"{_LLAMAGEN}/evaluations/t2i/evaluation.py",
                    "https://www.tensorflow.org/datasets/catalog/coco_captions",
                ),
            ),
            "used by": Told("Imagen, GigaGAN, LlamaGen", ("https://arxiv.org/abs/2205.11487", f"{_GIGAGAN}/README.md")),
        },
    ),
    Protocol(
        name="clean-fid",
        measures="FID as clean-fid computes it",
        columns=("fid",),
        extractor="fid_inception",
        generated=ImageRule(50_000),
        told={
            "network": Told(
                "images resized to 299 pixels by Pillow's antialiased bicubic filtering, channel by channel and not "
                "rounded",
                (f"{_CLEAN_FID}/blob/main/README.md",),
            ),
            "generated": Told(
                "by default of a generator; of a folder all there are, and 10 000 against CIFAR-10's test set",
                (f"{_CLEAN_FID}/blob/main/cleanfid/fid.py", f"{_CLEAN_FID}/blob/main/README.md"),
            ),
            "reference": Told(
                "a folder, or clean-fid's statistics, whose names here have the split and size in them "
                "(clean-fid:ffhq/trainval70k/256)",
                (f"{_CLEAN_FID}/blob/main/README.md",),
            ),
        },
    ),
    Protocol(
        name="pytorch-fid",
        measures="FID as pytorch-fid computes it",
        columns=("fid",),
        extractor="fid_inception_legacy_pytorch",
        told={
            "network": Told(
                "images resized to 299 pixels by torch's bilinear interpolation without antialiasing", (_PYTORCH_FID,)
            ),
            "generated": _AS_STORED,
            "reference": _AS_STORED,
        },
    ),
    Protocol(
        name="torchmetrics-fid",
        measures="FID as torchmetrics computes it",
        columns=("fid",),
        extractor="fid_inception_torchmetrics",
        told={
            "network": Told(
                "images resized to 299 pixels by torch's antialiased bilinear filtering; with antialias=False as "
                "TensorFlow 1 did",
                (_TORCHMETRICS,),
            ),
            "generated": Told("what update is called with", (_TORCHMETRICS,)),
            "reference": Told("what update is called with", (_TORCHMETRICS,)),
        },
    ),
    Protocol(
        name="dgm-eval",
        measures="FD-DINOv2 of Stein et al. (2023)",
        columns=("fd_dinov2",),
        extractor="fd_dinov2",
        generated=ImageRule(50_000),
        reference=ImageRule(50_000),
        real="the training set",
        told={
            "network": Told(
                "the class token of DINOv2 ViT-L/14; images squeezed to 224 pixels by Pillow's bicubic filtering",
                (f"{_DGM_EVAL}/dgm_eval/models/dinov2.py",),
            ),
            "generated": Told("of more a random subset", (f"{_DGM_EVAL}/dgm_eval/__main__.py",)),
            "reference": Told(
                "the training set, of more than 50 000 images a random subset",
                (f"{_DGM_EVAL}/README.md", f"{_DGM_EVAL}/dgm_eval/__main__.py"),
            ),
            "used by": Told("Stein et al. (2023): 41 generators", (f"{_DGM_EVAL}/README.md",)),
            "other here": Told("resized values are not rounded to whole levels, as Pillow does"),
        },
    ),
    Protocol(
        name="cmmd",
        measures="CMMD of Jayasumana et al. (2024)",
        columns=("cmmd[embedding]",),
        extractor="clip_vit_l14_336",
        generated=ImageRule(30_000),
        reference=ImageRule(30_000),
        real="COCO's validation set of 2014",
        told={
            "network": Told(
                "the embedding of CLIP ViT-L/14 at 336 pixels; the largest central square, resized by Pillow's bicubic "
                "filtering",
                (f"{_CMMD}/io_util.py", f"{_CMMD}/README.md"),
            ),
            "generated": Told("one of each caption of the real images", (f"{_CMMD}/README.md",)),
            "reference": Told("the images of those captions, as they are stored", (f"{_CMMD}/README.md",)),
            "used by": Told("Jayasumana et al. (2024)", (f"{_CMMD}/README.md",)),
            "other here": Told(
                "features of at most --feature-images images of a side are kept, 10 000 unless told; of the last batch "
                "that is not full Google's code leaves out the images, here none are"
            ),
        },
    ),
    Protocol(
        name="kid-50k",
        measures="KID (kid50k_full of StyleGAN, and torch-fidelity)",
        columns=("kid[block_3]",),
        extractor="fid_inception_legacy_tensorflow",
        generated=ImageRule(50_000),
        told={
            "network": _NVIDIA,
            "generated": Told(
                "in 100 random subsets of 1000",
                (f"{_STYLEGAN3}/metrics/metric_main.py", f"{_TORCH_FIDELITY}/defaults.py"),
            ),
            "reference": Told(
                "the whole training set in StyleGAN (up to 1 000 000 images), in torch-fidelity what is given; in "
                "subsets alike",
                (f"{_STYLEGAN3}/metrics/metric_main.py", f"{_TORCH_FIDELITY}/defaults.py"),
            ),
            "used by": Told("StyleGAN3", (f"{_STYLEGAN3}/metrics/metric_main.py",)),
            "other here": Told(
                "all pairs of images are taken, which is what the mean over subsets estimates; of at most "
                "--feature-images images of a side, 10 000 unless told"
            ),
        },
    ),
    Protocol(
        name="mind-5k",
        measures="MIND of Berthet et al. (2026) at 5000 images",
        columns=("mind[block_3]",),
        extractor="fid_inception_legacy_tensorflow",
        generated=ImageRule(5_000),
        told={
            "network": Told(
                "the FID Inception's 2048 features; the resizing is torch-fidelity's, the paper's could not be "
                "confirmed",
                ("https://arxiv.org/abs/2605.06797", f"{_TORCH_FIDELITY}/metric_mind.py"),
            ),
            "generated": Told("1000 or 2000 during training", ("https://arxiv.org/abs/2605.06797",)),
            "reference": Told(
                "as many as are generated, of more a random subset", (f"{_TORCH_FIDELITY}/metric_mind.py",)
            ),
            "used by": Told("Berthet et al. (2026)", ("https://arxiv.org/abs/2605.06797",)),
            "other here": Told("no image of the larger set is left out"),
        },
    ),
    Protocol(
        name="vdna",
        measures="VDNA-EMD of Ramtoula et al. (2023)",
        columns=("emd",),
        extractor="mugs_vit_base",
        bins=1000,
        told={
            "network": Told(
                "every token of all blocks of Mugs ViT-B/16, after clean-fid's resizing; histograms lie in the "
                "extremes over many data sets, which the vdna package publishes",
                (_VDNA,),
            ),
            "generated": Told("any number; the paper finds 400 to be enough for its EMD", (_VDNA,)),
            "used by": Told("Ramtoula et al. (2023)", (_VDNA,)),
        },
    ),
)

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
