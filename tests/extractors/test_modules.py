"""Modules of a user's own in all the states that they come in: wrapped, cast, quantised, compiled, and of one size."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from vdna_metrics import NeuronFrechetDistance, VDNAEarthMoversDistance, calibrate, create_extractor
from vdna_metrics.extractors.modules import own_size, unwrapped

IMAGES = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()


@pytest.fixture
def process_group(tmp_path: Any) -> Iterator[None]:
    """A group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "torch.compile": torch.compile,
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "both": lambda network: torch.compile(nn.parallel.DistributedDataParallel(network)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.usefixtures("process_group")
def test_wrappers_are_taken_off(wrapper: str) -> None:
    """A compiled or data-parallel module is the module inside: its layers' names, its fingerprint, its extractor."""
    network = _network()
    wrapped = WRAPPERS[wrapper](network)
    assert create_extractor(wrapped, layers=["0", "4"]) is create_extractor(network, layers=["0", "4"])
    assert create_extractor(wrapped).network is network


def test_a_module_compiled_in_place_is_read() -> None:
    """`module.compile()` changes neither layers nor values."""
    network = _network()
    expected = create_extractor(copy.deepcopy(network), layers=["1", "4"])(IMAGES)
    network.compile(backend="eager")
    found = create_extractor(network, layers=["1", "4"])(IMAGES)
    for layer, values in expected.items():
        torch.testing.assert_close(found[layer], values, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("process_group")
def test_sharded_modules_are_refused() -> None:
    """Weights in parts on several processes are no network that one process can read: the error says what to give."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sharded = FullyShardedDataParallel(_network(), device_id=torch.device("cpu"))
    for network in (sharded, nn.Sequential(sharded)):
        with pytest.raises(ValueError, match=r"in parts on several processes \(FSDP\): give a whole copy"):
            create_extractor(network)


@pytest.mark.usefixtures("process_group")
def test_tensors_in_parts_are_refused() -> None:
    """`fully_shard` leaves the class as it is and puts the weights in parts: refused alike."""
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("fully_shard came with torch 2.6")
    network = _network()
    fsdp.fully_shard(network, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (1,)))
    with pytest.raises(ValueError, match="in parts on several processes"):
        create_extractor(network)


def test_modules_without_weights_are_refused() -> None:
    """A module on the meta device has no weights: which one is named."""
    with pytest.raises(ValueError, match=r"0\.weight of Sequential is on the meta device, .* load them first"):
        create_extractor(_network().to("meta"))


def test_a_module_of_the_user_follows_the_images() -> None:
    """Parts of a module that lie elsewhere than the rest are not moved behind the user's back; the whole is."""
    network = _network()
    assert unwrapped(network) is network
    extractor = create_extractor(network)
    assert extractor(IMAGES)["output"].device == IMAGES.device


@pytest.mark.filterwarnings("ignore:.* images are few")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_counted(dtype: torch.dtype) -> None:
    """A module in another floating type computes in it, and its activations are counted and summed like others."""
    network = _network().to(dtype)
    extractor = create_extractor(network, layers=["0", "4"])
    try:
        activations = extractor(IMAGES)
    except RuntimeError as error:  # of an older torch
        pytest.skip(f"no {dtype} here: {error}")
    assert {values.dtype for values in activations.values()} == {dtype}
    ranges = calibrate(torch.cat([IMAGES, 255 - IMAGES]).numpy(), extractor)
    for metric in (NeuronFrechetDistance(extractor), VDNAEarthMoversDistance(extractor, ranges=ranges)):
        metric.update(IMAGES, real=True)
        metric.update(255 - IMAGES)
        assert metric.compute().isfinite()
        assert metric.dna().distribution.state.dtype in (torch.int64, torch.float64)


def test_quantised_modules_are_read_at_their_floats() -> None:
    """Dynamically quantised layers give floats; other weights, packed as they are, are another fingerprint."""
    fingerprints = set()
    for factor in (1, 2):
        network = _network()
        network[4].weight.data *= factor
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of their end, in torch 2.10
            try:
                quantised = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
            except (AttributeError, RuntimeError) as error:
                pytest.skip(f"no quantised layers here: {error}")
            extractor = create_extractor(quantised, layers=["0", "4"])
            fingerprints.add(extractor.fingerprint.weights)
            expected = quantised(IMAGES / 255)
        torch.testing.assert_close(extractor(IMAGES)["4"][..., 0].T, expected)
    assert len(fingerprints) == 2


def test_outputs_that_are_no_floats_are_refused() -> None:
    """A layer of whole numbers, as a statically quantised one, is named with its type."""

    class Bytes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 255).to(torch.uint8)

    with pytest.raises(ValueError, match=r"layer 'output' gives torch.uint8, activations must be floating point"):
        create_extractor(Bytes())


SCRIPTS: dict[str, Callable[[nn.Module], Any]] = {
    "scripted": torch.jit.script,
    "traced": lambda network: torch.jit.trace(network, torch.rand(1, 3, 32, 32)),
    "frozen": lambda network: torch.jit.freeze(torch.jit.script(network)),
}


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated since torch 2.10
@pytest.mark.parametrize("how", SCRIPTS)
def test_torchscript_is_read_at_its_output(how: str) -> None:
    """A scripted, traced or frozen module gives what the module itself gives; layers inside are refused."""
    network = _network()
    script = SCRIPTS[how](network)
    found = create_extractor(script, probe_size=(32, 32))(IMAGES)["output"]
    torch.testing.assert_close(found, create_extractor(network)(IMAGES)["output"], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="TorchScript is read at its output only"):
        create_extractor(script, layers=["0"])


class _Several(nn.Module):
    """Gives what it was told to make of two maps."""

    def __init__(self, give: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.give = give

    def forward(self, x: Tensor) -> Any:
        return self.give(self.conv(x))


@pytest.mark.parametrize(
    ("give", "path", "advice"),
    [
        (lambda x: {"out": x, "aux": 2 * x}, "['aux']", r"gives a dict; .* one of 'out', 'aux', as \['out'\]"),
        (lambda x: [x, 2 * x], "[1]", r"gives a list; .* the index of one, as \[0\]"),
        (lambda x: (x, 2 * x), "[1]", r"gives a tuple; .* the index of one, as \[0\]"),
        (lambda x: {"all": [x, 2 * x]}, "['all', 1]", r"one of 'all', as \['all'\]"),
        (lambda x: [{"a, b": 2 * x}], "[0, 'a, b']", r"as \[0\]"),
    ],
)
def test_one_of_several_outputs(give: Callable[[Tensor], Any], path: str, advice: str) -> None:
    """Of dicts and lists, in one another too, an index picks a tensor; without one the error says how."""
    network = _Several(give)
    extractor = create_extractor(network, layers={"second": path})
    expected = 2 * create_extractor(network, layers=["conv"])(IMAGES)["conv"]
    torch.testing.assert_close(extractor(IMAGES)["second"], expected)
    with pytest.raises(ValueError, match=advice):
        create_extractor(network)


def test_an_output_that_is_not_there_is_named() -> None:
    """A name that the dict does not have is shown with the layer."""
    with pytest.raises(ValueError, match=r"layer \"\['no'\]\": its output has no such part \(KeyError\('no'\)\)"):
        create_extractor(_Several(lambda x: {"out": x}), layers=["['no']"])
    with pytest.raises(ValueError, match=r"layer \"\['out'\]\" gives a list; .* as \['out', 0\]"):
        create_extractor(_Several(lambda x: {"out": [x]}), layers=["['out']"])


class _Config:
    image_size = 48


class _OfOneSize(nn.Module):
    """Refuses images that have not its size, as networks do."""

    def __init__(self, error: type[Exception], **said: Any) -> None:
        super().__init__()
        self.error = error
        for name, value in said.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (48, 48):
            raise self.error(f"Input height ({x.shape[2]}) doesn't match model (48).")
        return x


SAYING: list[dict[str, Any]] = [
    {"img_size": 48},
    {"image_size": (48, 48)},
    {"config": _Config()},
    {"config": {"sample_size": 48}},
    {"pretrained_cfg": {"input_size": (3, 48, 48)}},
    {"default_cfg": {"input_size": [3, 48, 48]}, "img_size": None},
]


@pytest.mark.parametrize("said", SAYING)
def test_a_module_is_probed_with_its_own_size(said: dict[str, Any]) -> None:
    """A module that insists on a size is built where it says which, in a wrapper of the user's too."""
    network = _OfOneSize(AssertionError, **said)
    assert own_size(network) == (48, 48)
    assert dict(create_extractor(network).layout) == {"output": 3}
    assert dict(create_extractor(nn.Sequential(nn.Identity(), network)).layout) == {"output": 3}


def test_a_vit_of_timm_is_built_as_a_module() -> None:
    """Networks of timm say their size; one that was built for another than its card says, that one."""
    network = timm.create_model("test_vit", img_size=96)
    assert own_size(network) == (96, 96)
    assert dict(create_extractor(network, layers=["blocks.1"]).layout) == {"blocks.1": 64}


@pytest.mark.parametrize("error", [AssertionError, RuntimeError, ValueError])
def test_a_module_that_does_not_say_its_size(error: type[Exception]) -> None:
    """The error of the network is told with the size that it got, and `size=` is what to give."""
    with pytest.raises(ValueError, match=r"64x64 pixels \(.*doesn't match model \(48\)\.\): .* give size=\.\.\."):
        create_extractor(_OfOneSize(error))
    assert dict(create_extractor(_OfOneSize(error), size=48).layout) == {"output": 3}
    extractor = create_extractor(_OfOneSize(error, img_size=48))
    with pytest.raises(ValueError, match=r"32x32 pixels \(.*give size=\.\.\."):
        extractor(IMAGES)
    assert create_extractor(_OfOneSize(error), size=48)(IMAGES)["output"].shape == (3, 3, 48 * 48)


def test_other_errors_of_a_module_stay() -> None:
    """What has nothing to do with the size of images is the user's own error, type and all."""
    network = _OfOneSize(KeyError, img_size=48)
    extractor = create_extractor(network)
    with pytest.raises(KeyError, match="Input height"):
        extractor(IMAGES)


class Sparse(nn.Module):
    """A module with a sparse output."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3]."""
        return x.mean((2, 3)).to_sparse()


def test_a_sparse_output_is_refused_by_name() -> None:
    """Activations are dense; another layout is told with the layer."""
    with pytest.raises(
        ValueError, match=r"layer 'output' gives a tensor of layout torch\.sparse_coo, activations must be"
    ):
        create_extractor(Sparse(), size=16)
