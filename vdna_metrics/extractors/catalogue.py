"""The extractors that are known by name: data only."""

from __future__ import annotations

from collections.abc import Mapping

from vdna_metrics.extractors.spec import ExtractorSpec

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def _resnet_blocks(*depths: int) -> dict[str, str]:
    return {f"layer{s}_{b}": f"layer{s}.{b}" for s, depth in enumerate(depths, 1) for b in range(depth)}


def _vit_blocks(depth: int) -> dict[str, str]:
    return {**{f"block_{i}": f"blocks.{i}" for i in range(depth)}, "last_norm": "norm"}


_VGG16_RELUS = {
    "relu_1_1": 1, "relu_1_2": 3, "relu_2_1": 6, "relu_2_2": 8, "relu_3_1": 11, "relu_3_2": 13, "relu_3_3": 15,
    "relu_4_1": 18, "relu_4_2": 20, "relu_4_3": 22, "relu_5_1": 25, "relu_5_2": 27, "relu_5_3": 29,
}  # fmt: skip

_SPECS = (
    ExtractorSpec(
        name="seeded_resnet18",
        architecture="resnet18",
        architecture_kwargs={"num_classes": 0},
        layers=_resnet_blocks(2, 2, 2, 2),
        weights="seeded:0",
        sha256="c9d4f0c37db2d672ff2b1cf91dec25210ab2b9f2a2068ac83b30abacdb8a9350",
        licence="MIT",
        note="ResNet-18 with seeded random weights: needs no download; it has learned nothing",
    ),
    ExtractorSpec(
        name="seeded_resnet50",
        architecture="resnet50",
        architecture_kwargs={"num_classes": 0},
        layers=_resnet_blocks(3, 4, 6, 3),
        weights="seeded:0",
        sha256="04f13968c1cbdc688d06ee91326391cbd3f0a1d6f2688c39bd9e366b240fc35a",
        licence="MIT",
        note="ResNet-50 with seeded random weights: needs no download; it has learned nothing",
    ),
    ExtractorSpec(
        name="inception",
        architecture="fid_inception",
        layers={"block_0": "maxpool1", "block_1": "maxpool2", "block_2": "Mixed_6e", "block_3": "avgpool"},
        size=299,
        mean=0.5,
        std=0.5,
        weights="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d",
        licence="Apache-2.0",
        note="the FID Inception v3, ported from TensorFlow by pytorch-fid; 64, 192, 768 and 2048 neurons",
    ),
    ExtractorSpec(
        name="dino_vit_base",
        architecture="vit_base_patch16_224",
        architecture_kwargs={"num_classes": 0},
        layers=_vit_blocks(12),
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        weights="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        licence="Apache-2.0",
        note="ViT-B/16 trained by DINO (Caron et al., 2021); every token counts, the class token included",
    ),
    ExtractorSpec(
        name="mugs_vit_base",
        architecture="vit_base_patch16_224",
        architecture_kwargs={"num_classes": 0},
        layers=_vit_blocks(12),
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        weights="hf-hub:bramtoula/visual-dna-models/Mugs/mugs_vit_base/weights.pth",
        state_dict_key="state_dict",
        ignore_weights=("relation_blocks.",),
        licence="Apache-2.0",
        note="ViT-B/16 trained by Mugs (Zhou et al., 2022), the paper's choice; every token counts",
    ),
    ExtractorSpec(
        name="vgg16",
        architecture="vgg16.tv_in1k",
        layers={name: f"features.{index}" for name, index in _VGG16_RELUS.items()},
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        weights="timm",
        ignore_weights=("pre_logits.", "head.", "classifier."),
        licence="BSD-3-Clause",
        note="VGG16 trained on ImageNet by torchvision; the output of each ReLU",
    ),
)

CATALOGUE: Mapping[str, ExtractorSpec] = {spec.name: spec for spec in _SPECS}
