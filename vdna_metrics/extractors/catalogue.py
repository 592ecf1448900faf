"""The extractors that are known by name: data only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vdna_metrics.extractors.modes import PreprocessingMode
from vdna_metrics.extractors.spec import ExtractorSpec


def _resnet_blocks(*depths: int) -> dict[str, str]:
    return {f"layer{s}_{b}": f"layer{s}.{b}" for s, depth in enumerate(depths, 1) for b in range(depth)}


def _vit_blocks(depth: int, last_norm: str = "norm") -> dict[str, str]:
    return {**{f"block_{i}": f"blocks.{i}" for i in range(depth)}, "last_norm": last_norm}


def _convnext_blocks(*depths: int) -> dict[str, str]:
    blocks = {f"stage{s}_{b}": f"stages.{s}.blocks.{b}" for s, depth in enumerate(depths) for b in range(depth)}
    return {**blocks, "last_norm": "head.norm"}


# What several networks have in common.
_HEADLESS = partial(ExtractorSpec, architecture_kwargs={"num_classes": 0})
_RESNET50 = partial(_HEADLESS, architecture="resnet50", layers=_resnet_blocks(3, 4, 6, 3), neurons=15_104)
_VIT_S16, _VIT_B16, _VIT_L16 = (
    partial(_HEADLESS, architecture=f"vit_{size}_patch16_224", layers=_vit_blocks(depth), neurons=(depth + 1) * width)
    for size, depth, width in (("small", 12, 384), ("base", 12, 768), ("large", 24, 1024))
)
_OPENAI = partial(
    ExtractorSpec,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    weights="timm",
    licence="MIT",
)
_CLIP = partial(_OPENAI, architecture_kwargs={"num_classes": 0}, ignore_weights=("head.",))
# timm's head is the projection to the space of images and texts.
_CLIP_EMBEDDING = partial(_OPENAI, layers={"embedding": "head"})
_FID_INCEPTION = partial(
    ExtractorSpec,
    architecture="fid_inception",
    layers={"block_0": "maxpool1", "block_1": "maxpool2", "block_2": "Mixed_6e", "block_3": "avgpool"},
    size=299,
    weights="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
    neurons=3_072,
    licence="Apache-2.0",
)

_VGG16_RELUS = {
    "relu_1_1": 1, "relu_1_2": 3, "relu_2_1": 6, "relu_2_2": 8, "relu_3_1": 11, "relu_3_2": 13, "relu_3_3": 15,
    "relu_4_1": 18, "relu_4_2": 20, "relu_4_3": 22, "relu_5_1": 25, "relu_5_2": 27, "relu_5_3": 29,
}  # fmt: skip

_EMBEDDED = (
    ExtractorSpec(
        name="vdna_tiny",
        architecture="short_mobilenetv2",
        layers=["blocks.0", "blocks.2", "blocks.4", "conv_head"],
        size=96,
        mean=0.5,
        std=0.5,
        weights="package:vdna_tiny.safetensors",
        neurons=1_424,
        licence="Apache-2.0",
        note="two thirds of a MobileNetV2, taught to answer for the whole, which Google trained on ImageNet's labels, "
        "from 96 pixels; comes with the package and needs no download",
    ),
)

_SEEDED = (
    _HEADLESS(
        name="seeded_resnet18",
        architecture="resnet18",
        layers=_resnet_blocks(2, 2, 2, 2),
        weights="seeded:0",
        sha256="c9d4f0c37db2d672ff2b1cf91dec25210ab2b9f2a2068ac83b30abacdb8a9350",
        neurons=1_920,
        licence="MIT",
        note="ResNet-18 with seeded random weights: needs no download; it has learned nothing",
    ),
    _RESNET50(
        name="seeded_resnet50",
        weights="seeded:0",
        sha256="04f13968c1cbdc688d06ee91326391cbd3f0a1d6f2688c39bd9e366b240fc35a",
        licence="MIT",
        note="ResNet-50 with seeded random weights: needs no download; it has learned nothing",
    ),
)

_PIXELS = (
    ExtractorSpec(
        name="pixel_statistics",
        architecture="pixel_statistics",
        layers={"pixels": ""},
        size=None,
        weights="seeded:0",
        sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        preprocessing="none",
        neurons=23,
        licence="MIT",
        note="no network, but sharpness, noise, blocks, periods of interpolation and colours of an image at its own "
        "size, see functional.pixel_statistics; what a diagnosis looks at; images of several sizes need batches of one",
    ),
)

# The vdna package's nine: layers, neurons and weights as there, so that its activation ranges and DNAs apply.
_HUB = "hf-hub:bramtoula/visual-dna-models"
_VDNA = (
    *(
        vit(
            name=f"mugs_vit_{size}",
            weights=f"{_HUB}/Mugs/mugs_vit_{size}/weights.pth",
            state_dict_key="state_dict",
            ignore_weights=("relation_blocks.",),
            ranges=f"{_HUB}/Mugs/mugs_vit_{size}/activation_ranges.json",
            licence="Apache-2.0",
            note=f"ViT-{size[0].upper()}/16 trained on ImageNet without labels by Mugs (Zhou et al., 2022)"
            f"{', the choice of the Visual DNA paper' if size == 'base' else ''}; every token counts",
        )
        for size, vit in (("base", _VIT_B16), ("large", _VIT_L16))
    ),
    _VIT_B16(
        name="dino_vit_base",
        weights="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        ranges=f"{_HUB}/DINO/dino_vit_base/activation_ranges.json",
        licence="Apache-2.0",
        note="ViT-B/16 trained on ImageNet without labels by DINO (Caron et al., 2021); every token counts",
    ),
    _VIT_S16(
        name="dino_vit_small",
        weights="https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
        licence="Apache-2.0",
        note="ViT-S/16 trained on ImageNet without labels by DINO (Caron et al., 2021); every token counts",
    ),
    _RESNET50(
        name="dino_resnet50",
        weights="https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        ranges=f"{_HUB}/DINO/dino_resnet50/activation_ranges.json",
        licence="Apache-2.0",
        note="ResNet-50 trained on ImageNet without labels by DINO (Caron et al., 2021); the output of each block",
    ),
    _RESNET50(
        name="rand_resnet50",
        weights=f"{_HUB}/Random/rand_resnet50/weights.pth",
        state_dict_key="model_state_dict",
        ranges=f"{_HUB}/Random/rand_resnet50/activation_ranges.json",
        licence="MIT",
        note="ResNet-50 with the random weights of the vdna package's file; it has learned nothing",
    ),
    ExtractorSpec(
        name="vgg16",
        architecture="vgg16",
        layers={name: f"features.{index}" for name, index in _VGG16_RELUS.items()},
        weights="https://download.pytorch.org/models/vgg16-397923af.pth",
        sha256="397923af",
        ignore_weights=("pre_logits.", "head.", "classifier."),
        ranges=f"{_HUB}/VGG/vgg16/activation_ranges.json",
        neurons=4_224,
        licence="BSD-3-Clause",
        note="VGG16 trained on ImageNet's labels by torchvision; the output of each ReLU",
    ),
    _FID_INCEPTION(
        name="inception",
        mean=0.5,
        std=0.5,
        ranges=f"{_HUB}/Inception/inception_v3/activation_ranges.json",
        note="the FID Inception v3, trained on ImageNet's labels by Google and ported from TensorFlow by pytorch-fid; "
        "input is (x - 127.5) / 127.5 as in vdna and pytorch-fid, where clean-fid, torch-fidelity and torchmetrics "
        "have (x - 128) / 128",
    ),
    _CLIP(
        name="clip_im_vit_b16",
        architecture="vit_base_patch16_clip_quickgelu_224.openai",
        layers=_vit_blocks(12, "norm[:, 0]"),
        ranges=f"{_HUB}/CLIP/clip_im_vit_b16/activation_ranges.json",
        neurons=9_984,
        note="image tower of OpenAI's CLIP ViT-B/16 (Radford et al., 2021), trained on 400M images with their texts; "
        "every token of the blocks, the class token alone of the final norm; the vdna package computes it in half "
        "precision; OpenAI's model card asks for study before any deployment",
    ),
)

# The FID Inception as those run it who publish statistics of it.
_FID_RUNS: Mapping[PreprocessingMode, tuple[float, str]] = {
    "clean": (128, "clean-fid (mode clean) runs it: images are resized by antialiased bicubic filtering"),
    "legacy_tensorflow": (
        128,
        "the first FID code, StyleGAN, ADM, EDM, torch-fidelity and clean-fid (mode legacy_tensorflow) run it: images "
        "are resized as TensorFlow 1 did",
    ),
    "legacy_pytorch": (
        127.5,
        "pytorch-fid and clean-fid (mode legacy_pytorch) run it: images are resized bilinearly without antialiasing",
    ),
    "torchmetrics": (
        128,
        "torchmetrics and, unless told otherwise, FrechetInceptionDistance here run it: images are resized by "
        "antialiased bilinear filtering",
    ),
}
_FID = tuple(
    _FID_INCEPTION(
        name="fid_inception" if mode == "clean" else f"fid_inception_{mode}",
        mean=middle / 255,
        std=middle / 255,
        preprocessing=mode,
        note=f"the FID Inception v3 as {run}; input is (x - {middle:g}) / {middle:g}; FID is the layer Fréchet "
        "distance of block_3",
    )
    for mode, (middle, run) in _FID_RUNS.items()
)

_SFID = (
    _FID_INCEPTION(
        name="sfid_inception",
        layers={"mixed_6_conv": "Mixed_6d.branch1x1.spatial"},
        mean=128 / 255,
        std=128 / 255,
        preprocessing="legacy_tensorflow",
        neurons=2_023,
        note="the FID Inception v3 as ADM (Dhariwal and Nichol, 2021) runs it for sFID (Nash et al., 2021): each of "
        "17 x 17 positions of the first 7 channels of Mixed_6d's 1x1 branch after its ReLU, mixed_6/conv:0 in "
        "TensorFlow's graph, is a neuron, in the order rows, columns, channels; images are resized as TensorFlow 1 "
        "did; sFID is the layer Fréchet distance",
    ),
)

_HRNET = (
    ExtractorSpec(
        name="hrnet_w48",
        architecture="hrnet_w48.ms_in1k",
        layers={
            "stage1": "layer1",
            **{f"stage{s}_branch{b}": f"stage{s}[{b}]" for s in (2, 3, 4) for b in range(s)},
            "classifier": "classifier",
        },
        weights="timm",
        neurons=2_456,
        licence="MIT",
        note="HRNet-W48 (Wang et al., 2019) trained on ImageNet's labels by Microsoft; each branch of each stage, and "
        "the 1000 logits; the Visual DNA paper's networks of this architecture segment instead (MSeg; Lambert et al., "
        "2020), and are read as modules of one's own",
    ),
)

# At 224 pixels, where their publication evaluates and FD-DINOv2 is computed; timm's own 518, the size of their last
# training steps, gives five times as many tokens.
_DINOV2_FILES = "https://dl.fbaipublicfiles.com/dinov2"
_DINOV2 = (
    *(
        ExtractorSpec(
            name=f"dinov2_vit_{size}{registers}",
            architecture=f"vit_{size}_patch14_reg4_dinov2" if registers else "dinov2",
            architecture_kwargs=(
                {"num_classes": 0, "dynamic_img_size": True} if registers else {"name": f"vit_{size}_patch14_dinov2"}
            ),
            layers=_vit_blocks(depth),
            weights=f"{_DINOV2_FILES}/dinov2_vit{letter}14/dinov2_vit{letter}14{registers}_pretrain.pth",
            ignore_weights=("mask_token",),
            neurons=(depth + 1) * width,
            licence="Apache-2.0",
            note=f"ViT-{letter if letter == 'g' else letter.upper()}/14 trained on 142M images without labels by "
            f"DINOv2 (Oquab et al., 2023){', with four registers (Darcet et al., 2023)' if registers else ''}; every "
            f"token counts{', registers too' if registers else ''}",
        )
        for registers in ("", "_reg4")
        for size, letter, depth, width in (
            ("small", "s", 12, 384),
            ("base", "b", 12, 768),
            ("large", "l", 24, 1024),
            ("giant", "g", 40, 1536),
        )
    ),
    ExtractorSpec(
        name="fd_dinov2",
        architecture="dinov2",
        architecture_kwargs={"name": "vit_large_patch14_dinov2"},
        layers={"class_token": "norm[:, 0]"},
        weights=f"{_DINOV2_FILES}/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        ignore_weights=("mask_token",),
        neurons=1_024,
        licence="Apache-2.0",
        note="FD-DINOv2 as in dgm-eval (Stein et al., 2023) and EDM2 (Karras et al., 2024): the class token of DINOv2 "
        "ViT-L/14 after its final norm, 1024 neurons, for LayerFrechetDistance; images are resized by antialiased "
        "bicubic filtering to 224 pixels and clipped, where dgm-eval also rounds them and EDM2 does not clip",
    ),
)

_DINOV3 = tuple(
    _HEADLESS(
        name=f"dinov3_vit_{size}",
        architecture=f"vit_{size}_patch16_dinov3.lvd1689m",
        layers=_vit_blocks(depth),
        size=256,
        weights="timm",
        neurons=(depth + 1) * width,
        licence="DINOv3 License",
        note=f"ViT-{letter}/16 trained on 1.7G images without labels by DINOv3 (Siméoni et al., 2025), with four "
        "registers; every token counts; Meta's DINOv3 License has to be accepted, its own hub is gated",
    )
    for size, letter, depth, width in (
        ("small", "S", 12, 384),
        ("base", "B", 12, 768),
        ("large", "L", 24, 1024),
        ("huge_plus", "H+", 32, 1280),
    )
)

_SUCCESSORS = (
    _CLIP(
        name="clip_im_vit_l14",
        architecture="vit_large_patch14_clip_quickgelu_224.openai",
        layers=_vit_blocks(24, "norm[:, 0]"),
        neurons=25_600,
        note="image tower of OpenAI's CLIP ViT-L/14 (Radford et al., 2021), trained on 400M images with their texts; "
        "layers by the vdna package's names, as clip_im_vit_b16's; OpenAI's model card asks for study before any "
        "deployment",
    ),
    _CLIP_EMBEDDING(
        name="clip_vit_l14_336",
        architecture="vit_large_patch14_clip_quickgelu_336.openai",
        size=336,
        crop="center",
        neurons=768,
        note="embedding of OpenAI's CLIP ViT-L/14 at 336 pixels (Radford et al., 2021), projected and not normalised, "
        "for CMMD (Jayasumana et al., 2024), which normalises it: the largest central square, resized by antialiased "
        "bicubic filtering, which CMMD's code rounds to whole levels; OpenAI's model card asks for study before any "
        "deployment",
    ),
    _CLIP_EMBEDDING(
        name="clip_vit_b32",
        architecture="vit_base_patch32_clip_quickgelu_224.openai",
        crop="short_side_center",
        neurons=512,
        note="embedding of OpenAI's CLIP ViT-B/32 (Radford et al., 2021), projected and not normalised, for CLIP-FD "
        "as in clean-fid (model clip_vit_b_32; Kynkäänniemi et al., 2023): the short side resized by antialiased "
        "bicubic filtering to 224 pixels, then the centre; clean-fid rounds to whole levels and on GPUs computes in "
        "half precision; OpenAI's model card asks for study before any deployment",
    ),
    _HEADLESS(
        name="siglip_vit_base",
        architecture="vit_base_patch16_siglip_224.webli",
        layers=_vit_blocks(12),
        mean=0.5,
        std=0.5,
        weights="timm",
        neurons=9_984,
        licence="Apache-2.0",
        note="image tower of SigLIP ViT-B/16 (Zhai et al., 2023), trained by Google on WebLI's images with their "
        "texts; every token counts, there is no class token",
    ),
    _HEADLESS(
        name="convnext_base",
        architecture="convnext_base.fb_in22k",
        layers=_convnext_blocks(3, 3, 27, 3),
        weights="timm",
        ignore_weights=("head.fc.",),
        neurons=19_072,
        licence="Apache-2.0",
        note="ConvNeXt-B (Liu et al., 2022) trained on the labels of ImageNet-22k by Meta; the output of each block, "
        "and the norm of their average",
    ),
    _RESNET50(
        name="swav_resnet50",
        weights="https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
        ignore_weights=("projection_head.", "prototypes."),
        licence="CC-BY-NC-4.0",
        note="ResNet-50 trained on ImageNet without labels for 800 epochs by SwAV (Caron et al., 2020); the output of "
        "each block; not for commercial use",
    ),
    _VIT_L16(
        name="mae_vit_large",
        weights="https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_large.pth",
        state_dict_key="model",
        licence="CC-BY-NC-4.0",
        note="encoder of ViT-L/16 trained on ImageNet without labels by MAE (He et al., 2021), run on whole images; "
        "every token counts; not for commercial use",
    ),
)

_DIFFUSION = (
    ExtractorSpec(
        name="sd_v1_4_vae",
        architecture="kl_encoder",
        architecture_kwargs={
            "config": {
                "in_channels": 3,
                "out_channels": 3,
                "down_block_types": ["DownEncoderBlock2D"] * 4,
                "up_block_types": ["UpDecoderBlock2D"] * 4,
                "block_out_channels": [128, 256, 512, 512],
                "layers_per_block": 2,
                "act_fn": "silu",
                "latent_channels": 4,
                "sample_size": 512,
            }
        },
        layers=["latent"],
        size=256,
        mean=0.5,
        std=0.5,
        weights="hf-hub:CompVis/stable-diffusion-v1-4/vae/diffusion_pytorch_model.safetensors",
        ignore_weights=("decoder.", "post_quant_conv."),
        neurons=4_096,
        licence="CreativeML OpenRAIL-M",
        note="Stable Diffusion 1.4's VAE encoder (Rombach et al., 2022), one of the paper's; each of the 4 x 32 x 32 "
        "elements of the latent's mean, not scaled, is a neuron; needs diffusers",
    ),
    ExtractorSpec(
        name="ddpm_unet",
        architecture="unet_decoder",
        architecture_kwargs={
            "config": {
                "sample_size": 256,
                "in_channels": 3,
                "out_channels": 3,
                "time_embedding_type": "positional",
                "freq_shift": 1,
                "flip_sin_to_cos": False,
                "down_block_types": ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4,
                "block_out_channels": [128, 128, 256, 256, 512, 512],
                "layers_per_block": 2,
                "downsample_padding": 0,
                "act_fn": "silu",
                "attention_head_dim": None,
                "norm_num_groups": 32,
                "norm_eps": 1e-6,
            },
            "timesteps": [50, 150, 250],
            "blocks": [5, 6, 7, 8, 12],
            "noise_seed": 0,
        },
        layers=[f"t{timestep}.up.{block}" for timestep in (50, 150, 250) for block in (5, 6, 7, 8, 12)],
        size=256,
        mean=0.5,
        std=0.5,
        weights="hf-hub:google/ddpm-ema-bedroom-256/diffusion_pytorch_model.bin",
        neurons=4_224,
        licence="Apache-2.0",
        note="decoder of the DDPM U-Net trained on LSUN bedrooms (Ho et al., 2020), read as by Baranchuk et al. "
        "(2022); fixed noise at timesteps 50, 150 and 250; for google/ddpm-ema-church-256 and its like replace the "
        "weights; needs diffusers",
    ),
    ExtractorSpec(
        name="guided_lsun_bedroom",
        architecture="guided_unet_decoder",
        architecture_kwargs={"config": {}, "timesteps": [50, 150, 250], "blocks": [5, 6, 7, 8, 12], "noise_seed": 0},
        layers=[f"t{timestep}.up.{block}" for timestep in (50, 150, 250) for block in (5, 6, 7, 8, 12)],
        size=256,
        mean=0.5,
        std=0.5,
        weights="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/lsun_bedroom.pt",
        neurons=8_448,
        licence="MIT",
        note="decoder of the guided-diffusion U-Net trained on LSUN bedrooms (Dhariwal and Nichol, 2021), read as by "
        "Baranchuk et al. (2022); fixed noise at timesteps 50, 150 and 250; for lsun_cat.pt, lsun_horse.pt and their "
        "ffhq.pt replace the weights; the published file was not loaded here, its layout is tested by seeded weights",
    ),
)

_SPECS = (*_EMBEDDED, *_SEEDED, *_PIXELS, *_VDNA, *_FID, *_SFID, *_HRNET, *_DIFFUSION, *_DINOV2, *_DINOV3, *_SUCCESSORS)

CATALOGUE: Mapping[str, ExtractorSpec] = {spec.name: spec for spec in _SPECS}

FID_INCEPTIONS: Mapping[PreprocessingMode, ExtractorSpec] = {spec.preprocessing: spec for spec in _FID}
