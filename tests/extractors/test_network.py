"""Images to raw activations."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from vdna_metrics import ExtractorSpec, create_extractor
from vdna_metrics.extractors.registry import raw_module_extractor

SPEC = ExtractorSpec("r", "test_resnet", ["conv1.0", "layer1", "layer2"], size=32, weights="seeded:0")


@pytest.fixture(scope="module", autouse=True)
def _built_once() -> Iterator[None]:
    extractor = create_extractor(SPEC)
    yield
    del extractor


def _images(n: int = 3, size: int = 12, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.Flatten(),
        nn.LazyLinear(6),
    )


@pytest.fixture
def network() -> nn.Sequential:
    """A small network that has run once, with statistics in its batch norm, in eval mode."""
    built = _network()
    built(torch.rand(8, 3, 12, 12))
    return built.eval()


def _counted(module: nn.Module) -> list[int]:
    """Counts the module's forwards in a list of one number."""
    count = [0]

    def tick(*_: object) -> None:
        count[0] += 1

    module.register_forward_pre_hook(tick)
    return count


# ------------------------------------------------------------------------------------------------- what is given back
def test_activations_are_the_layers_outputs(network: nn.Sequential) -> None:
    """Each layer gives [neurons, images, positions] with exactly the values of the module's output."""
    extractor = create_extractor(network, layers=["0", "4", "6"], probe_size=(12, 12))
    activations = extractor(_images())
    with torch.no_grad():
        x = _images().float() / 255
        first = network[0](x)
        second = network[:5](x)
        last = network(x)
    torch.testing.assert_close(activations["0"], first.permute(1, 0, 2, 3).flatten(2))
    torch.testing.assert_close(activations["4"], second.permute(1, 0, 2, 3).flatten(2))
    torch.testing.assert_close(activations["6"], last.t()[..., None])
    assert dict(extractor.layout) == {"0": 4, "4": 5, "6": 6}


def test_every_token_counts() -> None:
    """Token layers keep their class and register tokens beside the patches: all are positions."""
    vit = timm.models.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2, num_classes=0, reg_tokens=3
    ).eval()
    images = _images(2, 32)
    activations = create_extractor(vit, layers=["blocks.0", "norm"], size=32)(images)
    assert activations["blocks.0"].shape == (24, 2, 4 + 1 + 3)
    with torch.no_grad():
        tokens = vit.forward_features(images.float() / 255)
    torch.testing.assert_close(activations["norm"], tokens.permute(2, 0, 1))


def test_channels_last_networks_have_channels_as_neurons() -> None:
    """Networks whose maps are [N, H, W, C], as Swin's, have C neurons."""
    swin = timm.models.SwinTransformer(
        img_size=32, patch_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 2), window_size=4, num_classes=0
    ).eval()
    images = _images(2, 32)
    activations = create_extractor(swin, layers=["layers.0", "layers.1"], size=32)(images)
    assert activations["layers.0"].shape == (16, 2, 64)
    with torch.no_grad():
        last = swin.layers(swin.patch_embed(images.float() / 255))
    torch.testing.assert_close(activations["layers.1"], last.permute(3, 0, 1, 2).flatten(2))
    convolution = create_extractor(swin, layers=["patch_embed.proj"], size=32)
    assert dict(convolution.layout) == {"patch_embed.proj": 16}  # [N, C, H, W] also there


def test_overwritten_outputs_are_seen_as_they_were() -> None:
    """A convolution whose output an in-place ReLU overwrites keeps its negative values."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)).eval()
    activations = create_extractor(network, layers=["0", "1", "2"])(_images())
    with torch.no_grad():
        before = network[0](_images().float() / 255)
    torch.testing.assert_close(activations["0"], before.permute(1, 0, 2, 3).flatten(2))
    torch.testing.assert_close(activations["1"], activations["0"].relu())
    assert activations["0"].min() < 0
    assert activations["2"].min() < 0


def test_additions_in_place_are_seen_as_well() -> None:
    """A batch norm whose output a residual block adds to in place keeps its own values."""
    extractor = create_extractor(
        ExtractorSpec("r", "test_resnet", ["layer1.0.bn2", "layer1.0"], 32, weights="seeded:0")
    )
    activations = extractor(_images(2, 32))
    block = extractor.network.layer1[0]
    seen: list[Tensor] = []
    handle = block.bn2.register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    with torch.no_grad():
        extractor.network(extractor.preprocess(_images(2, 32)))
    handle.remove()
    torch.testing.assert_close(activations["layer1.0.bn2"], seen[0].permute(1, 0, 2, 3).flatten(2))
    assert activations["layer1.0.bn2"].min() < 0 == activations["layer1.0"].min()


def test_a_module_that_runs_twice_is_seen_once() -> None:
    """Of a module that the forward uses again, the first use counts."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(self.conv(x)))

    network = Twice().eval()
    activations = create_extractor(network, layers=["conv", "head"])(_images())
    with torch.no_grad():
        once = network.conv(_images().float() / 255)
    torch.testing.assert_close(activations["conv"], once.permute(1, 0, 2, 3).flatten(2))


def test_no_images_give_no_activations() -> None:
    """An empty batch has every layer's neurons, no images, and does not run the network."""
    extractor = create_extractor(SPEC)
    count = _counted(extractor.network)
    activations = extractor(_images(0))
    assert {layer: tuple(x.shape) for layer, x in activations.items()} == {
        layer: (neurons, 0, 1) for layer, neurons in extractor.layout.items()
    }
    assert count == [0]


def test_images_resized_before_give_the_same() -> None:
    """Images that `resize` has treated, as decoding workers do, give the activations of the images themselves."""
    extractor = create_extractor(SPEC)
    activations = extractor(_images())
    resized = extractor.from_resized(extractor.preprocess.resize(_images()))
    for layer, values in activations.items():
        torch.testing.assert_close(resized[layer], values, rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------------ how it is run
STRIDES: dict[str, Callable[[Tensor], Tensor]] = {
    "as images": lambda x: x.contiguous(),
    "pixels of channels": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "images innermost": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "every other image": lambda x: torch.stack([x, 255 - x], dim=1)[:, 0],
    "mirrored twice": lambda x: x.flip(-1).transpose(2, 3).contiguous().transpose(2, 3).flip(-1),
}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(4, 3, 19, 17), (1, 3, 19, 17), (4, 3, 1, 1)], ids=str)
def test_strides_of_the_images_change_no_bit(shape: tuple[int, ...], channels_last: bool) -> None:
    """The same pixels reach the network in one memory format, and give the same bits, whatever their strides."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1)).eval()
    seen: list[tuple[int, ...]] = []
    network[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].stride()))
    extractor = create_extractor(network, layers=["0", "2"], channels_last=channels_last)
    seen.clear()
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = extractor(images)
    for name, restride in STRIDES.items():
        found = [extractor(restride(images)), extractor.from_resized(restride(images.float()))]
        found += [extractor(restride(images).float() / 255, normalize=True)]
        for layer, values in expected.items():
            assert all(torch.equal(activations[layer], values) for activations in found), (name, layer)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    assert set(seen) == {torch.empty(shape, memory_format=memory_format).stride()}


def test_strides_of_gray_images_change_no_bit() -> None:
    """A module of one channel, whose strides may be anything, gets them in the order of images as well."""
    network = nn.Conv2d(1, 8, 3)
    seen: list[tuple[int, ...]] = []
    network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].stride()))
    extractor = raw_module_extractor(network, probe=torch.zeros(1, 1, 19, 17))
    images = torch.rand(4, 1, 19, 17, generator=torch.Generator().manual_seed(0))
    expected = extractor(images, normalize=True)["output"]
    for name, restride in STRIDES.items():
        assert torch.equal(extractor(restride(images), normalize=True)["output"], expected), name
    assert set(seen[1:]) == {images.stride()}


def test_it_stops_after_the_last_wanted_layer(network: nn.Sequential) -> None:
    """Modules behind the last wanted layer do not run, and the values are those of a whole forward."""
    behind = _counted(network[4])
    extractor = create_extractor(network, layers=["0", "2"], probe_size=(12, 12))
    behind[0] = 0
    stopped = extractor(_images())
    assert behind == [0]
    whole = create_extractor(network, layers=["0", "2", "6"], probe_size=(12, 12))(_images())
    assert behind == [2]  # its probe and its run
    for layer in ("0", "2"):
        assert torch.equal(stopped[layer], whole[layer])


def test_only_leased_layers_are_run(network: nn.Sequential) -> None:
    """Layers that no reader has leased are not given, and those behind the last leased one not run."""
    extractor = create_extractor(network, layers=["0", "2", "6"], probe_size=(12, 12))
    behind = _counted(network[4])
    lease = extractor.lease(["2"])
    assert list(extractor(_images())) == ["2"]
    assert behind == [0]
    another = extractor.lease(["0"])
    assert list(extractor(_images())) == ["0", "2"]
    del lease, another
    assert list(extractor(_images())) == ["0", "2", "6"]


def test_autocast_outside_changes_nothing() -> None:
    """The network runs in its own precision inside a surrounding autocast."""
    extractor = create_extractor(SPEC)
    expected = extractor(_images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = extractor(_images())
    for layer, values in expected.items():
        assert found[layer].dtype == torch.float32
        assert torch.equal(found[layer], values)


def test_a_network_keeps_its_own_precision() -> None:
    """A network in another floating type is given its inputs in that type."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3)).double().eval()
    values = create_extractor(network)(_images())["output"]
    assert values.dtype == torch.float64
    half = copy.deepcopy(network).bfloat16()
    assert create_extractor(half)(_images())["output"].dtype == torch.bfloat16


def test_a_module_in_training_is_looked_at_in_eval_mode(network: nn.Sequential) -> None:
    """Dropout and batch norm of a module in training act as in eval; mode, statistics and gradients stay untouched."""
    network.train()
    network[3].eval()  # a mixture is restored as well
    network(torch.rand(4, 3, 12, 12)).sum().backward()
    in_eval = copy.deepcopy(network).eval()
    expected = create_extractor(in_eval, layers=["2", "6"], probe_size=(12, 12))(_images())
    extractor = create_extractor(network, layers=["2", "6"], probe_size=(12, 12))
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    found = extractor(_images())
    for layer, values in expected.items():
        assert torch.equal(found[layer], values)
    assert network.training
    assert network[1].training
    assert not network[3].training
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, gradients[name]), name


def test_modes_are_restored_after_an_error(network: nn.Sequential) -> None:
    """A forward that fails leaves modes as they were and no hook behind."""
    extractor = create_extractor(network, layers=["6"], probe_size=(12, 12))
    network.train()
    with pytest.raises(ValueError, match=r"failed on images of 20x20 pixels .* give size="):
        extractor(_images(2, 20))  # the linear layer is made for 12 x 12
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_gradients_are_never_tracked(network: nn.Sequential) -> None:
    """Activations carry no graph, although weights and images ask for gradients and gradients are enabled."""
    extractor = create_extractor(network, layers=["0"], probe_size=(12, 12))
    images = torch.rand(2, 3, 12, 12, requires_grad=True)
    readers = [extractor.lease(["0"]) for _ in range(2)]
    for read in (extractor, *(lambda *given, reader=reader: reader(*given)[0] for reader in readers)):
        assert not read(images, True)["0"].requires_grad
    assert images.grad is None


def test_any_strides_are_read_and_other_layouts_refused(network: nn.Sequential) -> None:
    """Slices of a batch are batches, also where several read it; a sparse tensor is told to be none."""
    extractor = create_extractor(network, layers=["0"], probe_size=(12, 12))
    readers = [extractor.lease(["0"]) for _ in range(2)]
    wide = torch.rand(1, 3, 12, 24)
    for batch in (wide[..., ::2], wide.flip(3)[..., 1::2].flip(3)):
        whole = extractor(batch.contiguous(), True)["0"]
        assert all(torch.equal(reader(batch, True)[0]["0"], whole) for reader in readers)
    for reader in readers:
        with pytest.raises(TypeError, match=r"dense tensor, got torch\.sparse_coo"):
            reader(wide.to_sparse(), True)


def test_weights_of_an_extractor_are_frozen() -> None:
    """Weights that the extractor built itself are in eval mode and ask for no gradients."""
    network = create_extractor(SPEC).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_module_stays_trainable_when_it_is_moved() -> None:
    """A user's module follows the images to another device, also inside inference mode, and can still be trained."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with torch.inference_mode():
        extractor = create_extractor(network, layers=["1"])
        extractor(torch.zeros(2, 3, 8, 8, dtype=torch.uint8, device="meta"))
    for tensor in (*network.parameters(), *network.buffers()):
        assert tensor.device.type == "meta"
        assert not tensor.is_inference()
    network.train()(torch.zeros(2, 3, 8, 8, device="meta")).sum().backward()


def test_networks_without_weights_follow_too() -> None:
    """A network that has only buffers is moved by them, one that has nothing needs no move."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8, device="meta")
    for network in (Fixed(), nn.AvgPool2d(2)):
        assert create_extractor(network)(images)["output"].device.type == "meta"


def test_networks_with_an_inference_mode_of_their_own_run() -> None:
    """A forward decorated with inference mode gives the values it gives without."""

    class Decorated(nn.Sequential):
        @torch.inference_mode()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    convolution = nn.Conv2d(3, 4, 3)
    found = create_extractor(Decorated(convolution, nn.ReLU(inplace=True)), layers=["0"])(_images())
    expected = create_extractor(nn.Sequential(convolution, nn.ReLU(inplace=True)), layers=["0"])(_images())
    assert torch.equal(found["0"], expected["0"])
    assert found["0"].min() < 0


# ------------------------------------------------------------------------------------------------------------- copies
def test_copies_are_the_extractor_itself() -> None:
    """`copy` and `deepcopy` give the same extractor: a network is never in memory twice."""
    extractor = create_extractor(SPEC)
    assert copy.copy(extractor) is extractor
    assert copy.deepcopy(extractor) is extractor
    lease = extractor.lease(["layer1"])
    copied = copy.deepcopy(lease)
    assert copied is not lease
    assert copied.extractor is extractor


@pytest.mark.parametrize(
    "make",
    [
        lambda: create_extractor(replace(SPEC, name="s")),
        lambda: create_extractor(replace(SPEC, weights=None)),
        lambda: create_extractor(replace(SPEC, layers=())),
        lambda: create_extractor(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), layers=["0"]),
    ],
    ids=["seeded", "random", "automatic layers", "module"],
)
def test_an_extractor_survives_pickling(make: Callable[[], object]) -> None:
    """An extractor comes back from a pickle with its fingerprint and its values, after the first one is gone."""
    extractor = make()
    expected, fingerprint = extractor(_images()), extractor.fingerprint
    data = pickle.dumps(extractor)
    network = weakref.ref(extractor.network)
    del extractor
    gc.collect()
    assert network() is None
    loaded = pickle.loads(data)
    assert loaded.fingerprint == fingerprint
    for layer, values in loaded(_images()).items():
        assert torch.equal(values, expected[layer])


def test_a_pickled_spec_is_not_its_weights() -> None:
    """A spec's extractor is pickled as its spec, and within one process comes back as the living one."""
    extractor = create_extractor(replace(SPEC, layers=()))  # its layers are found when it is built
    data = pickle.dumps(extractor)
    assert len(data) < 4000
    assert pickle.loads(data) is extractor


def test_other_weights_after_unpickling_are_refused(tmp_path: object) -> None:
    """When a weights file has changed since the pickle was made, unpickling is an error and not another network."""
    path = tmp_path / "w.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    extractor = create_extractor(replace(SPEC, weights=str(path)))
    data = pickle.dumps(extractor)
    del extractor
    gc.collect()
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(ValueError, match="weights of 'r' differ: pickled with"):
        pickle.loads(data)


# ------------------------------------------------------------------------------------------------------------ sharing
@pytest.fixture
def shared_network(network: nn.Sequential) -> tuple[object, list[object], list[int]]:
    """An extractor, three readers of it, and how often its network has run."""
    extractor = create_extractor(network, layers=["0", "2"], probe_size=(12, 12))
    return extractor, [extractor.lease(["0"]) for _ in range(3)], _counted(network[0])


def test_readers_share_one_run_of_a_batch(shared_network: tuple[object, list[object], list[int]]) -> None:
    """Three readers of a batch run the network once; the next batch runs it again."""
    extractor, readers, count = shared_network
    for seed in (1, 2):
        images = _images(seed=seed)
        results = [reader(images)[0]["0"] for reader in readers]
        assert all(result is results[0] for result in results)
        assert count == [seed]
        alone = create_extractor(extractor.network[0])(images)["output"]
        assert torch.equal(results[0], alone)
        count[0] = seed


def test_activations_are_freed_after_the_last_reader(shared_network: tuple[object, list[object], list[int]]) -> None:
    """Kept activations are gone when every reader has had them, although the images live on."""
    _, readers, _ = shared_network
    images = _images()
    kept = weakref.ref(readers[0](images)[0]["0"])
    readers[1](images)
    assert kept() is not None
    readers[2](images)
    assert kept() is None


def test_activations_are_freed_with_their_images(shared_network: tuple[object, list[object], list[int]]) -> None:
    """Kept activations do not outlive their images, whoever has not read them."""
    _, readers, _ = shared_network
    images = _images()
    kept = weakref.ref(readers[0](images)[0]["0"])
    assert kept() is not None
    del images
    assert kept() is None


def _in_place(images: Tensor) -> None:
    images.copy_(_images(seed=9))


def _through_numpy(images: Tensor) -> None:
    images.numpy()[...] = _images(seed=9).numpy()


def _through_data(images: Tensor) -> None:
    images.data.copy_(_images(seed=9))


def _in_another_shape(images: Tensor) -> None:
    n, channels, height, width = images.shape
    images.data = images.detach().clone().view(n, channels, height * 2, width // 2)


@pytest.mark.parametrize("change", [_in_place, _through_numpy, _through_data, _in_another_shape])
def test_a_reused_buffer_is_never_stale(
    change: Callable[[Tensor], None], shared_network: tuple[object, list[object], list[int]]
) -> None:
    """A buffer filled again, by torch or behind its back, is a new batch although not all readers had the old one."""
    extractor, readers, count = shared_network
    images = _images()
    for reader in readers[:2]:
        reader(images)
    change(images)
    found = readers[2](images)[0]["0"]
    assert count == [2]
    assert torch.equal(found, extractor(images.clone())["0"])


def test_another_reading_of_the_same_images_is_another_run(
    shared_network: tuple[object, list[object], list[int]],
) -> None:
    """The same tensor is run again when other layers are wanted, or when images of one id are other images."""
    extractor, readers, count = shared_network
    images = _images()
    assert list(readers[0](images)[0]) == ["0"]
    readers.append(extractor.lease(["2"]))
    assert list(readers[1](images)[0]) == ["0", "2"]
    assert count == [2]


def test_inference_tensors_are_right_for_every_reader(shared_network: tuple[object, list[object], list[int]]) -> None:
    """Images made under inference mode count no versions: each reader gets the values of what they are now."""
    extractor, readers, _ = shared_network
    with torch.inference_mode():
        images = _images()
        first = [reader(images)[0]["0"].clone() for reader in readers]
        images.copy_(_images(seed=9))
        second = [reader(images)[0]["0"].clone() for reader in readers]
    for found, seed in ((first, 0), (second, 9)):
        expected = create_extractor(extractor.network[0])(_images(seed=seed))["output"]
        assert all(torch.equal(values, expected) for values in found)


def test_wrong_images_are_refused_for_every_reader(shared_network: tuple[object, list[object], list[int]]) -> None:
    """What is no batch of images is the preprocessing's error, with several readers too."""
    _, readers, _ = shared_network
    for wrong in (torch.tensor(1.0), np.zeros((1, 3, 4, 4)), None):
        for reader in readers[:2]:
            with pytest.raises((TypeError, ValueError), match="images must be"):
                reader(wrong)


# ----------------------------------------------------------------------------------------------------------- refusals
class _Branches(nn.Module):
    """Gives the images and a smaller copy of them, then overwrites the list that it gave."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x, x[..., ::2, ::2]]


class _Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = _Branches()

    def forward(self, x: Tensor) -> Tensor:
        parts = self.branches(x)
        small = parts[1].mean()
        parts[0] = parts[1] = x[:, :1]
        return parts[0] * small


@pytest.mark.parametrize(
    ("path", "positions"),
    [("branches[0]", slice(None)), ("branches[1]", slice(None, None, 2)), ("branches[-1]", slice(None, None, 2))],
)
def test_an_index_picks_one_of_several_tensors(path: str, positions: slice) -> None:
    """A path that ends in a number reads that tensor of a module's list, as the list was when it was given."""
    images = _images()
    activations = create_extractor(_Joined(), layers=[path])(images)
    expected = (images.float() / 255)[..., positions, positions].permute(1, 0, 2, 3).flatten(2)
    assert list(activations) == [path]
    torch.testing.assert_close(activations[path], expected)


def test_several_parts_of_one_module_are_layers() -> None:
    """One module may be read at several of its tensors."""
    layers = {"small": "branches[1]", "large": "branches[0]", "red": "branches[0, :, :1]"}
    extractor = create_extractor(_Joined(), layers=layers)
    assert extractor.layout.total == 7
    activations = extractor(_images())
    assert {layer: tuple(values.shape[::2]) for layer, values in activations.items()} == {
        "large": (3, 144), "small": (3, 36), "red": (1, 144)
    }  # fmt: skip


class _Stage(nn.Module):
    """An HRNet's: replaces each branch in the list that it was given, then gives a list of what they exchange."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for channels in (4, 8))
        self.up = nn.Conv2d(8, 4, 1)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        for i, branch in enumerate(self.branches):
            x[i] = branch(x[i])
        return [x[0] + nn.functional.interpolate(self.up(x[1]), x[0].shape[-2:]), x[1].relu()]


class _Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.high, self.low = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 2, stride=2)
        self.stage2, self.stage3 = _Stage(), _Stage()
        self.last_layer = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        high, low = self.stage3(self.stage2([self.high(x), self.low(x)]))
        return self.last_layer(torch.cat([high, nn.functional.interpolate(low, high.shape[-2:])], dim=1))


def test_a_segmentation_hrnet_is_read_at_its_branches_and_class_map() -> None:
    """Branches of each stage are layers, as they were given; of a class map each class is a neuron at every pixel."""
    network = _Segmenter()
    paths = [*(f"stage{stage}[{branch}]" for stage in (2, 3) for branch in (0, 1)), "last_layer"]
    images = _images()
    activations = create_extractor(network, layers=paths)(images)
    with torch.no_grad():
        x = images.float() / 255
        second = network.stage2([network.high(x), network.low(x)])
        expected = [*second, *network.stage3(list(second)), network(x)]
    assert activations["last_layer"].shape == (5, len(images), images.shape[-2] * images.shape[-1])
    for path, values in zip(paths, expected, strict=True):
        torch.testing.assert_close(activations[path], values.transpose(0, 1).flatten(2))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("[:, 0]", lambda tokens: tokens[:, :1]),
        ("[:, 1:]", lambda tokens: tokens[:, 1:]),
        ("[:,-1]", lambda tokens: tokens[:, -1:]),
        ("[:, ::2, 3:9]", lambda tokens: tokens[:, ::2, 3:9]),
    ],
)
def test_an_index_picks_tokens_and_neurons(index: str, expected: Callable[[Tensor], Tensor]) -> None:
    """A path that ends in an index of integers and slices reads that part of a tensor; one token is one position."""
    network = timm.create_model("test_vit").eval()
    extractor = create_extractor(network, layers={"all": "norm", "part": f"norm{index}"}, size=160)
    activations = extractor(_images(size=160))
    tokens = activations["all"].permute(1, 2, 0)
    torch.testing.assert_close(activations["part"].permute(1, 2, 0), expected(tokens))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "branches[x]",
            r"'branches\[x\]': an index has integers, slices and names in quotes, for example 'norm\[:, 0\]'",
        ),
        ("branches[]", "an index has integers, slices and names"),
        ("branches[0", "an index has integers, slices and names"),
        ("branches[0]x", "an index has integers, slices and names"),
        ("branches[1:2:3:4]", "'1:2:3:4' is not an index of integers and slices"),
        ("branches[1-2]", "'1-2' is not an index of integers and slices"),
        ("branches[2]", r"layer 'branches\[2\]': its output has no such part"),
        ("branch[0]", "no module 'branch'; did you mean 'branches'"),
        ("branches", r"layer 'branches' gives a list; .* add the index of one, as branches\[0\]"),
        ("branches[0, :, 0, 0, 0, 0]", "its output has no such part"),
    ],
)
def test_indices_that_pick_nothing_are_refused(path: str, message: str) -> None:
    """An index that cannot be read, or that a module's output does not have, is an error that says so."""
    with pytest.raises(ValueError, match=message):
        create_extractor(_Joined(), layers=[path])


class _Odd(nn.Module):
    def __init__(self, give: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.odd, self.unused, self.give = nn.Identity(), nn.Identity(), give
        self.odd.register_forward_hook(lambda _m, _i, output: give(output))

    def forward(self, x: Tensor) -> Tensor:
        self.odd(x)
        return x


@pytest.mark.parametrize(
    ("give", "layer", "message"),
    [
        (lambda x: (x, x), "odd", "layer 'odd' gives a tuple; choose a module whose output is one tensor"),
        (lambda x: {"x": x}, "odd", "layer 'odd' gives a dict"),
        (lambda x: x.long(), "odd", "layer 'odd' gives torch.int64, activations must be floating point"),
        (lambda x: x[None], "odd", r"gives a tensor of shape \[1, 1, 3, 64, 64\]; known are \[N, C\]"),
        (lambda x: x.flatten(), "odd", r"gives a tensor of shape \[12288\]"),
        (lambda x: x.flatten(2).permute(2, 0, 1), "odd", r"shape \[4096, 1, 3\] for 1 images; .* has the images first"),
        (lambda x: x, "unused", "layers unused of 'module:_Odd' are not run in its forward"),
        (lambda x: x, "none", "no module 'none'; "),
    ],
)
def test_layers_that_give_no_activations_are_refused(
    give: Callable[[Tensor], object], layer: str, message: str
) -> None:
    """A layer that is absent, not run, or gives anything but one tensor of known shape is refused when it is built."""
    with pytest.raises(ValueError, match=message):
        create_extractor(_Odd(give), layers=[layer])
