"""Precision, memory format and compilation as options of an extractor."""

from __future__ import annotations

import copy
import gc
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from vdna_metrics import ActivationRanges, ExtractorSpec, build_dnas, calibrate, compare, create_extractor
from vdna_metrics.extractors import FeatureExtractor

SPEC = ExtractorSpec("r", "test_resnet", ["conv1.0", "layer1.0.bn2", "layer1", "layer2"], 32, weights="seeded:0")
EVERY_OPTION: list[dict[str, Any]] = [
    {"precision": "tf32"},
    {"precision": "bf16"},
    {"precision": "fp16"},
    {"channels_last": True},
    {"compile": True},
    {"precision": "bf16", "channels_last": True, "compile": True},
]
TOLERANCE = {"fp32": 1e-5, "tf32": 1e-5, "bf16": 3e-2, "fp16": 3e-3}  # of a layer's largest activation, on a CPU
BACKENDS: Any = torch.backends
HAS_SWITCHES = hasattr(torch.backends.cudnn, "conv")  # torch 2.9 and newer

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="torch.compile needs a C++ compiler"
)


def _named(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


every_option = pytest.mark.parametrize("options", EVERY_OPTION, ids=_named)


def _images(n: int = 3, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def _network() -> nn.Sequential:
    """A convolution that is overwritten twice over, and one that is not."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Hardtanh(0, 0.2, inplace=True), nn.Conv2d(8, 4, 3)
    )


def _assert_near(found: dict[str, Tensor], expected: dict[str, Tensor], precision: str = "fp32") -> None:
    assert list(found) == list(expected)
    for layer, values in expected.items():
        difference = (found[layer].float() - values).abs().max() / values.abs().max()
        assert difference < TOLERANCE[precision], (layer, float(difference))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Compiles to the traced graph as it is, which takes no C++ compiler; gives the number of graphs so far."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


# ---------------------------------------------------------------------------------------------------- in every option
@every_option
def test_activations_are_those_of_the_plain_network(options: dict[str, Any], traced: object) -> None:
    """Every option gives the activations of the network without it, to the rounding of its precision."""
    precision = options.get("precision", "fp32")
    found = create_extractor(SPEC, **options)(_images())
    _assert_near(found, create_extractor(SPEC)(_images()), precision)
    assert {values.dtype for values in found.values()} == {
        {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    }


@every_option
def test_overwritten_outputs_are_seen_as_they_were(options: dict[str, Any], traced: object) -> None:
    """A convolution that later modules overwrite in place keeps its negative values in every option."""
    network = _network().eval()
    activations = create_extractor(network, layers=["0", "1", "3"], **options)(_images())
    with torch.no_grad():
        before = network[0](_images().float() / 255)
    expected = before.permute(1, 0, 2, 3).flatten(2)
    precision = options.get("precision", "fp32")
    _assert_near({"0": activations["0"], "1": activations["1"]}, {"0": expected, "1": expected.relu()}, precision)
    assert activations["1"].max() > 0.2


@every_option
def test_readers_share_one_run_of_a_batch(options: dict[str, Any], traced: object) -> None:
    """Two readers of a batch get one run's activations in every option, and the next batch is run again."""
    extractor = create_extractor(SPEC, **options)
    readers = [extractor.lease([layer]) for layer in ("layer1.0.bn2", "layer1")]
    for seed in (1, 2):
        images = _images(seed=seed)
        first, second = (reader(images)[0] for reader in readers)
        assert list(first) == ["layer1.0.bn2", "layer1"]
        assert first["layer1"] is second["layer1"]
        alone = create_extractor(SPEC)(images)
        _assert_near(first, {layer: alone[layer] for layer in first}, options.get("precision", "fp32"))


@every_option
def test_a_module_in_training_is_left_as_it_is(options: dict[str, Any], traced: object) -> None:
    """A user's module keeps mode, statistics, types and hooks, and trains on, also under an autocast around both."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)).train()
    alone = copy.deepcopy(network)
    if options.get("channels_last"):
        alone.to(memory_format=torch.channels_last)  # as the other's weights are; other kernels round otherwise
    extractor = create_extractor(network, layers=["1"], **options)
    gradients = []
    for module in (network, alone):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if module is network:
                extractor(_images())
            module(_images().float() / 255).sum().backward()
        gradients.append(module[0].weight.grad)
    rounding = torch.finfo(torch.bfloat16).eps * float(gradients[1].abs().max())  # the last bit of the largest
    torch.testing.assert_close(*gradients, rtol=0, atol=rounding)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    for (name, tensor), expected in zip(network.state_dict().items(), alone.state_dict().values(), strict=True):
        assert tensor.dtype == expected.dtype, name
        torch.testing.assert_close(tensor, expected, rtol=1e-2, atol=1e-2)


@every_option
def test_a_pickle_keeps_the_options(options: dict[str, Any], traced: object) -> None:
    """Extractors of specs and of modules come back from a pickle with their options."""
    for extractor in (create_extractor(replace(SPEC, name="p"), **options), create_extractor(_network(), **options)):
        data, fingerprint, spec = pickle.dumps(extractor), extractor.fingerprint, extractor.spec
        del extractor
        gc.collect()
        loaded = pickle.loads(data)
        assert loaded.fingerprint == fingerprint
        assert loaded.spec == spec


def test_options_make_extractors_of_their_own() -> None:
    """One name with other options is another extractor, with the same ones the living one; fingerprints say which."""
    extractors = [create_extractor(SPEC), *(create_extractor(SPEC, **options) for options in EVERY_OPTION)]
    assert len(set(extractors)) == len(extractors)
    assert len({extractor.fingerprint.digest for extractor in extractors}) == len(extractors)
    for options, extractor in zip(EVERY_OPTION, extractors[1:], strict=True):
        assert create_extractor(SPEC, **options) is extractor
        assert create_extractor(replace(SPEC, **options)) is extractor
        assert create_extractor(extractor, **options) is extractor
        assert extractor.fingerprint.precision == options.get("precision", "fp32")
        assert extractor.fingerprint.options == tuple(n for n in ("channels_last", "compile") if options.get(n))
    network = _network()
    assert create_extractor(network, precision="bf16") is not create_extractor(network)


def test_a_built_extractor_is_not_rebuilt() -> None:
    """Asking a built extractor for another option is an error with both sides."""
    extractor = create_extractor(SPEC)
    with pytest.raises(ValueError, match=r"expected precision='bf16', 'r' is built with 'fp32': give its name"):
        create_extractor(extractor, precision="bf16")
    assert create_extractor(extractor, precision="fp32") is extractor


def test_unknown_options_are_refused() -> None:
    """A precision that there is not, and a memory format or compilation that is not yes or no, are errors."""
    with pytest.raises(ValueError, match="unknown precision 'half'; known: fp32, tf32, bf16, fp16"):
        replace(SPEC, precision="half")
    with pytest.raises(TypeError, match="compile must be a bool, got 'max-autotune'"):
        create_extractor(SPEC, compile="max-autotune")


# ---------------------------------------------------------------------------------------------------------- precision
@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_is_autocast(precision: str, dtype: torch.dtype) -> None:
    """Half precisions give what torch.autocast gives, in whatever autocast they are called, and cast no weights."""
    network = _network().eval()
    extractor = create_extractor(network, layers=["0"], precision=precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = extractor(_images())["0"]
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        expected = network[0](_images().float() / 255)
    assert torch.equal(found, expected.permute(1, 0, 2, 3).flatten(2))
    assert network[0].weight.dtype == torch.float32


def test_half_precision_needs_a_device_that_has_it() -> None:
    """A device without autocast is named in an error, and serves full precision."""
    images = _images().to("meta")
    with pytest.raises(ValueError, match=r"precision='bf16' needs torch\.autocast, which 'meta' devices do not have"):
        create_extractor(_network(), precision="bf16")(images)
    assert create_extractor(_network())(images)["output"].dtype == torch.float32


def _tf32_settings() -> list[object]:
    if not HAS_SWITCHES:
        return [torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32]
    switches = (BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv)
    return [switch.fp32_precision for switch in switches]


def _change_nothing() -> None:
    pass


def _allow_products() -> None:
    torch.set_float32_matmul_precision("medium")


def _allow_products_only() -> None:
    BACKENDS.cuda.matmul.allow_tf32, BACKENDS.cudnn.allow_tf32 = True, False


def _allow_by_switch() -> None:
    if not HAS_SWITCHES:
        pytest.skip("torch before 2.9 has no fp32_precision")
    BACKENDS.cuda.matmul.fp32_precision, BACKENDS.cudnn.conv.fp32_precision = "tf32", "ieee"


@pytest.fixture
def _own_tf32_settings() -> Iterator[None]:
    before, products = _tf32_settings(), torch.get_float32_matmul_precision()
    yield
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision(products)
    if HAS_SWITCHES:
        switches = (BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv)
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value
    assert _tf32_settings() == before


@pytest.mark.usefixtures("_own_tf32_settings")
@pytest.mark.parametrize("change", [_change_nothing, _allow_products, _allow_products_only, _allow_by_switch])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_tf32_is_on_only_where_it_is_asked_for(precision: str, change: Callable[[], None]) -> None:
    """TF32 is on in a forward for tf32 alone, whatever the user has set, and his settings are back after it."""
    # That the hardware then computes so is not shown: it takes a GPU.
    network = _network()
    extractor = create_extractor(network, layers=["3"], precision=precision)
    seen: list[list[object]] = []
    network[0].register_forward_pre_hook(lambda *_: seen.append(_tf32_settings()))
    change()
    before = _tf32_settings()
    extractor(_images())
    assert _tf32_settings() == before
    network[3].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extractor(_images())
    assert _tf32_settings() == before
    off, on = (["ieee"] * 4, ["tf32"] * 4) if HAS_SWITCHES else (["highest", False], ["high", True])
    assert seen == [on if precision == "tf32" else off] * 2


# ------------------------------------------------------------------------------------------------------ channels_last
def test_channels_last_is_the_format_of_images_and_weights() -> None:
    """Images and weights are in channels_last inside, and the views given back hold the right neurons."""
    network = _network().eval()
    seen: list[Tensor] = []
    network[0].register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    activations = create_extractor(network, layers=["0", "3"], channels_last=True)(_images())
    for tensor in (*seen, network[0].weight, network[3].weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert not tensor.is_contiguous()
    assert activations["3"].stride(0) == 1  # neurons side by side, without a copy
    plain = create_extractor(network, layers=["0", "3"])(_images())
    _assert_near(activations, plain)


def test_channels_last_weights_can_be_trained() -> None:
    """A user's module that was put in channels_last inside inference mode can still be trained."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    with torch.inference_mode():
        create_extractor(network, channels_last=True)
    network(_images().float() / 255).sum().backward()
    assert network[0].weight.grad is not None


# ------------------------------------------------------------------------------------------------------------ compile
def test_batches_of_any_size_are_one_graph(traced: Callable[[], int]) -> None:
    """Smaller and larger batches run what the first batch compiled; a single image may add one graph, no more."""
    extractor = create_extractor(replace(SPEC, name="sizes"), compile=True)
    for n in (4, 4, 3, 7):
        extractor(_images(n))
    assert traced() == 1
    for n in (1, 5, 1):
        extractor(_images(n))
    assert traced() == 2


def test_changed_weights_need_no_new_graph(traced: Callable[[], int]) -> None:
    """Weights are inputs of the compiled graph, so those of a network in training are the current ones."""
    network = _network()
    extractor = create_extractor(network, layers=["3"], compile=True)
    extractor(_images())
    with torch.no_grad():
        network[3].weight.mul_(2)
    _assert_near(extractor(_images()), create_extractor(network, layers=["3"])(_images()))
    assert traced() == 1


def test_only_wanted_layers_are_compiled(traced: Callable[[], int]) -> None:
    """Leases choose the layers as without compilation, at the price of a graph for each choice."""
    extractor = create_extractor(replace(SPEC, name="leased"), compile=True)
    lease = extractor.lease(["layer1.0.bn2"])
    assert list(extractor(_images())) == ["layer1.0.bn2"]
    del lease
    expected = create_extractor(SPEC)(_images())
    for _ in range(2):
        _assert_near(extractor(_images()), expected)
    assert traced() == 2


def test_parts_of_outputs_are_compiled(traced: Callable[[], int]) -> None:
    """An index of a path is applied inside: one of a list of tensors, or one token."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.split, self.end = nn.Module(), nn.ReLU(inplace=True)
            self.split.forward = lambda x: [x, -x]

        def forward(self, x: Tensor) -> Tensor:
            return self.end(self.split(x)[1])

    layers = {"positive": "split[0]", "negative": "split[1]", "corner": "split[1, :, :, 0, 0]"}
    network = Branches()
    found = create_extractor(network, layers=layers, compile=True)(_images())
    expected = create_extractor(network, layers=layers)(_images())
    for layer, values in expected.items():
        assert torch.equal(found[layer], values)
    assert found["negative"].min() < 0


def test_many_compiled_extractors_live_side_by_side(traced: Callable[[], int]) -> None:
    """More extractors than torch compiles one function for are compiled."""
    extractors = [create_extractor(nn.Sequential(nn.Conv2d(3, n, 1)), compile=True) for n in range(1, 13)]
    for extractor in extractors:
        assert len(extractor(_images())["output"]) == sum(extractor.layout.values())
    assert traced() == 12


def test_networks_that_cannot_be_compiled_are_refused(traced: Callable[[], int]) -> None:
    """A forward that depends on values is an error that says what to do, never an uncompiled run; no hook is left."""

    class Undecided(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    network = Undecided(nn.Conv2d(3, 4, 3)).train()
    extractor = create_extractor(network, layers=["0"], compile=True)
    with pytest.raises(ValueError, match=r"'module:Undecided' cannot be compiled as one graph \(.+\); create it with"):
        extractor(_images())
    assert not network[0]._forward_hooks
    assert network.training


@pytest.mark.slow
@needs_compiler
def test_compiled_code_gives_the_same_activations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real compiler gives a residual network's activations to rounding, overwritten outputs included."""
    # torch's own cache would hand code for this CPU's widest vectors to a process that ATEN_CPU_CAPABILITY holds back.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    extractor = create_extractor(SPEC, compile=True, channels_last=True)
    for n in (3, 5):
        _assert_near(extractor(_images(n)), create_extractor(SPEC)(_images(n)), "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mobilenetv2_100", "resnet18", "vit_tiny_patch16_224"])
def test_real_networks_compile(architecture: str, traced: Callable[[], int], request: pytest.FixtureRequest) -> None:
    """A trained MobileNetV2, a ResNet and a ViT become one graph, whose activations are theirs."""
    if architecture == "mobilenetv2_100":
        path = request.getfixturevalue("shared") / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
        if not path.is_file():
            pytest.skip(f"no trained weights at {path}")
        network = timm.create_model(architecture, pad_type="same", checkpoint_path=str(path))
    else:
        network = timm.create_model(architecture, num_classes=0)
    layers = {"mobilenetv2_100": ["blocks.0", "conv_head"], "resnet18": ["layer1.0", "layer4"]}
    arguments = {"layers": layers.get(architecture, ["blocks.0", "blocks.11", "norm"]), "size": 224}
    compiled, plain = (create_extractor(network, **arguments, compile=compile) for compile in (True, False))
    for n in (4, 4, 3):
        _assert_near(compiled(_images(n, 64)), plain(_images(n, 64)))
    assert traced() == 1


# ------------------------------------------------------------------------------------------------------- what follows
def _dna(extractor: FeatureExtractor, ranges: ActivationRanges) -> Any:
    images = _images(6).permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return build_dnas(images, extractor, ["histogram"], ranges=ranges)["histogram"]


def test_other_precisions_are_not_compared(tmp_path: Path) -> None:
    """DNAs of two precisions are neither compared nor merged, with both sides in the error; files keep it so."""
    from vdna_metrics import load_vdna

    full, half = create_extractor(SPEC), create_extractor(SPEC, precision="bf16")
    ranges = calibrate(_images(6).permute(0, 2, 3, 1).numpy(), full)
    a, b = _dna(full, ranges), load_vdna(_dna(half, ranges).save(tmp_path / "half"))
    with pytest.raises(ValueError, match="precisions differ: reference fp32, generated bf16; make both with one"):
        compare.emd(a, b)
    with pytest.raises(ValueError, match="merged: precisions differ: first bf16, second fp32"):
        b + a
    assert compare.emd(b, _dna(half, ranges)) == 0


def test_memory_format_and_compilation_are_compared(traced: object, tmp_path: Path) -> None:
    """They are recorded in a DNA's file and change it by rounding alone: DNAs are compared and merged across them."""
    from vdna_metrics import load_vdna

    full, other = create_extractor(SPEC), create_extractor(SPEC, channels_last=True, compile=True)
    ranges = calibrate(_images(6).permute(0, 2, 3, 1).numpy(), full)
    a, b = _dna(full, ranges), load_vdna(_dna(other, ranges).save(tmp_path / "other"))
    assert b.fingerprint.options == ("channels_last", "compile")
    assert float(compare.emd(a, b)) < 0.05
    assert (a + b).n_images == 12


def test_ranges_serve_every_precision() -> None:
    """Ranges only say where bins lie: those of one precision are used with, and merge with, those of another."""
    full, half = create_extractor(SPEC), create_extractor(SPEC, precision="bf16")
    images = _images(6).permute(0, 2, 3, 1).numpy()
    ranges, of_half = calibrate(images, full), calibrate(images, half)
    assert of_half.fingerprint.precision == "bf16"
    assert (ranges + of_half).n_images == 12
    assert _dna(half, ranges).fingerprint.precision == "bf16"
