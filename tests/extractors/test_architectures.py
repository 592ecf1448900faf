"""Networks that timm does not have."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vdna_metrics import ActivationRange, ExtractorSpec, VDNAEarthMoversDistance, create_extractor
from vdna_metrics.extractors.architectures import build_architecture, seeded_state_dict
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import build_network, weights_sha256

UNET: dict[str, Any] = {
    "sample_size": 32,
    "block_out_channels": [8, 16, 24],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "attention_head_dim": None,
    "norm_num_groups": 4,
    "norm_eps": 1e-6,
}
TIMESTEPS, BLOCKS = [50, 250], [0, 2, 3, 4]
VAE: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 2,
}
OLD_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


@pytest.fixture(scope="module")
def diffusers() -> Any:
    """diffusers, of the extra `diffusion`."""
    return pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def unet_file(diffusers: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random U-Net as diffusers saves it."""
    return _saved(diffusers.UNet2DModel(**UNET), tmp_path_factory.mktemp("unet"))


@pytest.fixture(scope="module")
def vae_file(diffusers: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random autoencoder as diffusers saves it."""
    return _saved(diffusers.AutoencoderKL(**VAE), tmp_path_factory.mktemp("vae"))


@pytest.fixture
def images() -> Tensor:
    """Eight random images."""
    return torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)


def _saved(model: Any, folder: Path) -> Path:
    torch.manual_seed(1)
    for parameter in model.parameters():  # norms and biases too, so that none can be mistaken for another
        nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder / "diffusion_pytorch_model.safetensors"


def _with_old_names(file: Path, folder: Path) -> Path:
    state_dict = load_file(file)
    for new, old in OLD_NAMES.items():
        state_dict = {name.replace(new, old): tensor for name, tensor in state_dict.items()}
    assert any(".query." in name for name in state_dict)
    save_file(state_dict, folder / file.name, metadata={"format": "pt"})
    (folder / "config.json").write_bytes(file.with_name("config.json").read_bytes())
    return folder / file.name


def _unet_spec(file: Path, **changes: Any) -> ExtractorSpec:
    arguments = {"config": UNET, "timesteps": TIMESTEPS, "blocks": BLOCKS, **changes}
    layers = [f"t{t}.up.{b}" for t in arguments["timesteps"] for b in arguments["blocks"]]
    return ExtractorSpec("u", "unet_decoder", layers, 32, 0.5, 0.5, arguments, str(file))


def _vae_spec(file: Path) -> ExtractorSpec:
    ignored = ("decoder.", "post_quant_conv.")
    return ExtractorSpec(
        "v", "kl_encoder", ["latent"], 32, 0.5, 0.5, {"config": VAE}, str(file), ignore_weights=ignored
    )


def _outputs(network: nn.Module, spec: ExtractorSpec, run: Any, x: Tensor) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack, torch.no_grad():
        for layer, path in spec.paths.items():
            hook = network.get_submodule(path).register_forward_hook(
                lambda _m, _i, output, layer=layer: outputs.__setitem__(layer, output)
            )
            stack.callback(hook.remove)
        run(x)
    return outputs


def _in_minus_one_to_one(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def _decoder_by_diffusers(diffusers: Any, file: Path, x: Tensor, timestep: int) -> list[Tensor]:
    """Outputs of all decoder blocks, seen as what the next block gets before the skip connection is joined to it."""
    unet = diffusers.UNet2DModel.from_pretrained(file.parent, low_cpu_mem_usage=False).eval()
    noise = torch.from_numpy(np.random.RandomState(0).standard_normal((3, 32, 32))).float().expand_as(x)
    schedule = diffusers.DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    residual_blocks = [resnet for level in unet.up_blocks for resnet in level.resnets]
    inputs: list[Tensor] = []
    for module in [*residual_blocks, unet.conv_norm_out]:
        module.register_forward_pre_hook(lambda _module, arguments: inputs.append(arguments[0]))
    with torch.no_grad():
        unet(schedule.add_noise(x, noise, torch.full((len(x),), timestep)), timestep)
    channels = [resnet.conv2.out_channels for resnet in residual_blocks]
    return [after[:, :channel] for after, channel in zip(inputs[1:], channels, strict=True)]


def test_decoder_blocks_are_what_diffusers_hands_on(diffusers: Any, unet_file: Path, images: Tensor) -> None:
    """Each block's activations equal what diffusers' own network, on its scheduler's noisy images, gives the next."""
    blocks = list(range(6))
    activations = create_extractor(_unet_spec(unet_file, blocks=blocks))(images)
    assert len(activations) == 12
    for timestep in TIMESTEPS:
        expected = _decoder_by_diffusers(diffusers, unet_file, _in_minus_one_to_one(images), timestep)
        assert [tuple(output.shape[1:]) for output in expected] == [
            (24, 8, 8), (24, 16, 16), (16, 16, 16), (16, 32, 32), (8, 32, 32), (8, 32, 32)
        ]  # fmt: skip
        for block, output in enumerate(expected):
            found = activations[f"t{timestep}.up.{block}"]
            torch.testing.assert_close(found, output.transpose(0, 1).flatten(2), rtol=1e-4, atol=1e-4)


def test_noise_is_fixed(unet_file: Path, images: Tensor) -> None:
    """The same images give the same bits, from one build and from another, and whatever torch's generator says."""
    spec = _unet_spec(unet_file)
    first = create_extractor(spec)
    once = {layer: values.clone() for layer, values in first(images).items()}
    torch.manual_seed(5)
    second = create_extractor(replace(spec, name="the same again"))
    assert second is not first
    for again in (first(images), second(images)):
        assert all(torch.equal(again[layer], once[layer]) for layer in once)


def test_batches_do_not_matter(unet_file: Path, images: Tensor) -> None:
    """Each image meets the same noise in whatever batch it comes."""
    extractor = create_extractor(_unet_spec(unet_file))
    whole = extractor(images)
    parts = [extractor(part) for part in images.split([1, 5, 2])]
    for layer, values in whole.items():
        joined = torch.cat([part[layer] for part in parts], 1)
        assert (joined - values).abs().max() < 3e-6 * values.abs().max()


def test_timestep_and_seed_change_activations_and_fingerprint(unet_file: Path, images: Tensor) -> None:
    """Another timestep or noise seed gives other activations; the seed is part of the fingerprint."""
    extractor = create_extractor(_unet_spec(unet_file))
    other = create_extractor(_unet_spec(unet_file, noise_seed=1))
    activations, others = extractor(images), other(images)
    for block in BLOCKS:
        early, late = activations[f"t50.up.{block}"], activations[f"t250.up.{block}"]
        assert (early - late).abs().mean() > 0.01 * early.std()
        assert (early - others[f"t50.up.{block}"]).abs().mean() > 0.01 * early.std()
    assert extractor.fingerprint != other.fingerprint
    assert '"noise_seed": 1' in other.fingerprint.architecture
    assert extractor.fingerprint.weights == other.fingerprint.weights


def test_nothing_runs_after_the_last_wanted_block(unet_file: Path, images: Tensor) -> None:
    """The decoder ends with its last wanted block, and timesteps that no reader wants are not run."""
    extractor = create_extractor(_unet_spec(unet_file, blocks=[2, 0]))
    network: Any = extractor.network
    runs = {"conv_in": 0, "block 3": 0}

    def count(name: str) -> Any:
        return lambda *_: runs.__setitem__(name, runs[name] + 1)

    handles = [
        network.unet.conv_in.register_forward_hook(count("conv_in")),
        network.unet.up_blocks[1].resnets[1].register_forward_hook(count("block 3")),
    ]
    extractor(images)
    assert runs == {"conv_in": 2, "block 3": 0}
    lease = extractor.lease(["t50.up.0"])
    extractor(images)
    assert runs == {"conv_in": 3, "block 3": 0}
    del lease
    for handle in handles:
        handle.remove()


def test_latent_is_the_mean_of_the_posterior(diffusers: Any, vae_file: Path, images: Tensor) -> None:
    """Each element of diffusers' own posterior mean is a neuron, seen once an image."""
    vae = diffusers.AutoencoderKL.from_pretrained(vae_file.parent, low_cpu_mem_usage=False).eval()
    with torch.no_grad():
        expected = vae.encode(_in_minus_one_to_one(images)).latent_dist.mean
    found = create_extractor(_vae_spec(vae_file))(images)["latent"]
    assert found.shape == (2 * 16 * 16, 8, 1)
    torch.testing.assert_close(found[..., 0], expected.flatten(1).t(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["unet", "vae"])
def test_old_attention_names_load(
    kind: str, unet_file: Path, vae_file: Path, diffusers: Any, tmp_path: Path, images: Tensor
) -> None:
    """Files with the attention names of before 2023, as the published ones, load as diffusers itself loads them."""
    file, make = (unet_file, _unet_spec) if kind == "unet" else (vae_file, _vae_spec)
    old = _with_old_names(file, tmp_path)
    network, digest = build_network(make(old))
    assert digest == build_network(make(file))[1]
    model = diffusers.UNet2DModel if kind == "unet" else diffusers.AutoencoderKL
    by_diffusers = model.from_pretrained(tmp_path, low_cpu_mem_usage=False).state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, by_diffusers[name.removeprefix("unet.")]), name


def test_torch_files_load(unet_file: Path, tmp_path: Path) -> None:
    """A `.bin` file, which the published U-Nets are, loads as the safetensors file does."""
    file = tmp_path / "diffusion_pytorch_model.bin"
    torch.save(load_file(unet_file), file)
    assert build_network(_unet_spec(file))[1] == build_network(_unet_spec(unet_file))[1]


def test_other_weights_are_refused(vae_file: Path, unet_file: Path) -> None:
    """Weights of another network are an error, not a partly random network."""
    with pytest.raises(ValueError, match=r"does not fit unet_decoder.*weights missing"):
        build_network(_unet_spec(vae_file))
    with pytest.raises(ValueError, match=r"does not fit kl_encoder.*weights missing"):
        build_network(_vae_spec(unet_file))


@pytest.mark.parametrize(
    ("name", "weights", "neurons"),
    [("ddpm_unet", 113_673_219, [512, 256, 256, 256, 128] * 3), ("sd_v1_4_vae", 34_163_664, [4 * 32 * 32])],
)
def test_catalogue_networks_have_their_published_shapes(
    diffusers: Any, name: str, weights: int, neurons: list[int]
) -> None:
    """At full size the networks have the published numbers of weights, and the layers and neurons that are stated."""
    spec = CATALOGUE[name]
    with torch.device("meta"):
        network = build_architecture(spec.architecture, spec.architecture_kwargs)
        outputs = _outputs(network, spec, network, torch.zeros(1, 3, *spec.preprocess.size or ()))
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert list(outputs) == list(spec.paths)
    assert [output.shape[1] for output in outputs.values()] == neurons
    if name == "ddpm_unet":  # positions a side of the source's blocks 5, 6, 7, 8 and 12
        assert [output.shape[3] for output in outputs.values()] == [32, 32, 32, 64, 128] * 3
    json.dumps(spec.architecture_kwargs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timesteps": [50, 1000]}, r"timesteps \[1000\] do not exist: the schedule has 0 to 999"),
        ({"blocks": [2, 6, -1]}, r"blocks \[6, -1\] do not exist: the decoder has 0 \(deepest\) to 5"),
        ({"config": {**UNET, "sample_size": None}}, "no sample_size"),
        (
            {"config": {**UNET, "up_block_types": ["UpBlock2D", "SkipUpBlock2D", "UpBlock2D"]}},
            "up_block_types of the U-Net's config is .*SkipUpBlock2D.*, known are UpBlock2D, AttnUpBlock2D",
        ),
        ({"config": {**UNET, "class_embed_type": "timestep"}}, "class_embed_type of the U-Net's config is timestep"),
    ],
)
def test_impossible_decoders_are_refused(diffusers: Any, changes: dict[str, Any], message: str) -> None:
    """Timesteps and blocks that do not exist, and networks that cannot be read this way, are named."""
    with pytest.raises(ValueError, match=message):
        build_architecture("unet_decoder", {"config": UNET, "timesteps": [50], "blocks": [0], **changes})


def test_unwanted_layers_and_sizes_are_named(unet_file: Path) -> None:
    """A layer of a timestep that is not run, and images of another size than the noise, are errors that say so."""
    spec = _unet_spec(unet_file)
    with pytest.raises(ValueError, match=r"no module 't60.up.2'; did you mean 't50.up.2'"):
        create_extractor(replace(spec, layers=["t60.up.2"]))
    with pytest.raises(ValueError, match=r"images are \[3, 64, 64\], the noise is \[3, 32, 32\].*sample_size"):
        create_extractor(replace(spec, size=64))


def test_missing_diffusers_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without diffusers the error says what to install."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for name in ("sd_v1_4_vae", "ddpm_unet"):
        spec = CATALOGUE[name]
        with pytest.raises(ValueError, match=r"pip install 'vdna_metrics\[diffusion\]'"):
            build_architecture(spec.architecture, spec.architecture_kwargs)


@pytest.mark.parametrize("kind", ["unet", "vae"])
def test_networks_can_be_compiled_in_one_graph(kind: str, unet_file: Path, vae_file: Path) -> None:
    """`compile=True` takes whole graphs only: torch traces each network without a break, to the same activations."""
    spec = _unet_spec(unet_file, timesteps=[50]) if kind == "unet" else _vae_spec(vae_file)
    network, _ = build_network(spec)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    expected, found = _outputs(network, spec, network, x), _outputs(network, spec, compiled, x)
    assert list(found) == list(spec.paths)
    for layer, output in expected.items():
        torch.testing.assert_close(found[layer], output)


@pytest.mark.parametrize("kind", ["unet", "vae"])
def test_metric_tells_image_sets_apart(kind: str, unet_file: Path, vae_file: Path, images: Tensor) -> None:
    """From a weights file to the metric: a set equals itself, and its darkened copy is farther away."""
    spec = _unet_spec(unet_file) if kind == "unet" else _vae_spec(vae_file)
    calibration = ActivationRange(spec)
    for generated in (images, images // 2):
        calibration.update(generated)
    metric = VDNAEarthMoversDistance(spec, bins=50, ranges=calibration.ranges(widen="none"))
    distances = []
    for generated in (images, images // 2):
        metric.reset()
        metric.update(images, real=True)
        metric.update(generated)
        distances.append(float(metric.compute()))
    assert distances[0] == 0 < distances[1]


@pytest.mark.parametrize("name", ["seeded_resnet18", "seeded_resnet50"])
def test_seeded_weights_have_the_sha256_of_the_spec(name: str) -> None:
    """On every platform and for ever, drawn weights have the hash that the catalogue states."""
    network, digest = build_network(CATALOGUE[name])
    assert digest == CATALOGUE[name].sha256
    assert weights_sha256(network.state_dict()) == digest


def test_seeded_weights_are_randomstates_numbers() -> None:
    """Each matrix is RandomState(seed)'s next uniform numbers within sqrt(6 / fan_in); norms scale by 1, shift by 0."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=False), nn.Linear(5, 6))
    drawn = seeded_state_dict(network, 7)
    stream = np.random.RandomState(7)
    for name, shape in (("0.weight", (4, 3, 3, 3)), ("2.weight", (2, 4, 1, 1)), ("3.weight", (6, 5))):
        bound = (6.0 / np.prod(shape[1:])) ** 0.5
        expected = ((stream.random_sample(shape) * 2 - 1) * bound).astype(np.float32)
        np.testing.assert_array_equal(drawn[name].numpy(), expected)
    for name in ("1.weight", "1.running_var"):
        assert torch.equal(drawn[name], torch.ones(4))
    for name in ("0.bias", "1.bias", "1.running_mean", "3.bias"):
        assert not drawn[name].any()
    network.load_state_dict(drawn)  # complete, in the right shapes


def test_another_seed_draws_other_weights() -> None:
    """The seed decides the weights, nothing else does."""
    network = nn.Conv2d(3, 4, 3)
    torch.manual_seed(1)
    once = seeded_state_dict(network, 0)["weight"]
    torch.manual_seed(2)
    np.random.seed(3)
    assert torch.equal(seeded_state_dict(network, 0)["weight"], once)
    assert not torch.equal(seeded_state_dict(network, 1)["weight"], once)


def test_architectures_are_timms_and_ours() -> None:
    """A name builds timm's network with its arguments, or one of ours."""
    assert isinstance(build_architecture("test_resnet", {"num_classes": 7}), timm.models.ResNet)
    with torch.device("meta"):
        assert build_architecture("fid_inception", {}).fc.out_features == 1008


def test_unknown_architectures_are_answered_with_near_ones() -> None:
    """An unknown architecture is an error that names near ones."""
    with pytest.raises(ValueError, match="unknown architecture 'fid_incption'; did you mean 'fid_inception'"):
        build_architecture("fid_incption", {})


def test_features_of_sfid_are_those_of_its_branch() -> None:
    """sfid_inception gives the first 7 channels of Mixed_6d's first branch after the ReLU: rows, columns, channels."""
    network = build_architecture("fid_inception", {}).eval()
    network.load_state_dict(seeded_state_dict(network, 0))
    extractor = create_extractor(
        network, layers=["Mixed_6d.branch1x1.spatial"], size=299, preprocessing="legacy_tensorflow", mean=0.5, std=0.5
    )
    seen: dict[str, Tensor] = {}
    for name in ("conv", "bn"):
        part = network.get_submodule(f"Mixed_6d.branch1x1.{name}")
        part.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output.clone()}))
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    with torch.inference_mode():
        (found,) = extractor(images).values()
    maps = seen["bn"].clamp(min=0)
    expected = torch.stack([maps[:, c, row, column] for row in range(17) for column in range(17) for c in range(7)])
    assert float(expected.std()) > 0
    torch.testing.assert_close(found[..., 0], expected, rtol=0, atol=0)


def test_features_of_sfid_leave_the_fid_inception_as_it_was() -> None:
    """The network's weights have the names of the published file, and its output is that without sFID's features."""
    network = build_architecture("fid_inception", {}).eval()
    network.load_state_dict(seeded_state_dict(network, 0))
    branch = network.Mixed_6d.branch1x1
    assert [name for name, _ in branch.named_parameters()] == ["conv.weight", "bn.weight", "bn.bias"]
    images = torch.rand(1, 3, 299, 299)
    with torch.inference_mode():
        before = network(images)
        branch.spatial = nn.Identity()
        assert torch.equal(network(images), before)
