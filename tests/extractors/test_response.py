"""What networks answer to a probe: by it another forward with the same weights is known, on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vdna_metrics import ExtractorSpec, create_extractor
from vdna_metrics.extractors.registry import raw_module_extractor
from vdna_metrics.extractors.response import moments_of, probe_image
from vdna_metrics.fingerprint import Response
from vdna_metrics.layout import NeuronLayout


class Net(nn.Module):
    """A small network whose activation function is no weight."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.activation = activation
        stream = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.conv.weight.copy_(torch.randn(self.conv.weight.shape, generator=stream))
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 8, H', W']."""
        return self.activation(self.conv(x))


class Renamed(Net):
    """The same by another name."""


def _elsewhere(name: str) -> nn.Module:
    """The network as it is when its class was defined in another module."""
    return type("Net", (Net,), {"__module__": name})()


@pytest.mark.parametrize(
    "same", [Renamed(), _elsewhere("__main__"), _elsewhere("nets")], ids=["renamed", "main", "nets"]
)
def test_a_class_by_another_path_is_the_same_network(same: nn.Module) -> None:
    """Renamed, imported or run as a script, a class with the same weights and answers is one network."""
    one, other = create_extractor(Net()).fingerprint, create_extractor(same).fingerprint
    assert one.architecture != other.architecture
    assert one.differences(other) == other.differences(one) == []
    assert one.compared == other.compared
    assert one.compared.digest == other.compared.digest


def test_another_forward_with_the_same_weights_is_another_network() -> None:
    """What a class does with its weights tells, whether its path is another or the same."""
    one, other = create_extractor(Net()).fingerprint, create_extractor(Net(torch.tanh)).fingerprint
    assert (one.architecture, one.weights, one.digest) == (other.architecture, other.weights, other.digest)
    ((what, here, there),) = one.differences(other)
    assert what == "responses of layer 'output'"
    assert here.startswith("mean ")
    assert here != there


def test_classes_are_shown_beside_another_difference() -> None:
    """Where modules differ, the error says which classes they are of."""
    network = Renamed()
    with torch.no_grad():
        network.conv.weight.mul_(2)
    found = create_extractor(Net()).fingerprint.differences(create_extractor(network).fingerprint)
    assert [what for what, _, _ in found] == ["architecture", "weights"]


def test_a_module_is_no_network_of_a_name() -> None:
    """A module and a spec of the same weights are told apart by their architectures, as ever."""
    named = create_extractor(ExtractorSpec("tiny", "resnet18", ["layer1"], weights="seeded:0", size=32))
    module = create_extractor(named.network, layers=["layer1"], size=32, mean=named.spec.mean, std=named.spec.std)
    assert [what for what, _, _ in named.fingerprint.differences(module.fingerprint)] == ["architecture"]


def test_the_probe_has_the_same_bits_everywhere() -> None:
    """Responses compare across machines only if all are to the same image; its bits are written down here."""
    image = probe_image(3, 64, 64)
    assert hashlib.sha256(image.numpy().tobytes()).hexdigest()[:12] == "39cd3f208941"
    assert torch.equal(probe_image(3, 64, 64), image)
    assert len(image.unique()) > 150


def test_the_response_is_of_the_outputs_as_they_are_read() -> None:
    """Mean and deviation are those of all activations of the layer for the probe, before a later module changes it."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    extractor = create_extractor(network, layers=["0", "1"], size=16, mean=0.5, std=0.5)
    response = extractor.fingerprint.response
    assert response is not None
    activations = extractor(probe_image(3, 16, 16))
    assert response.probe.startswith("16x16:")
    for layer, values in activations.items():
        assert response.moments[layer] == pytest.approx(moments_of(values))


def test_it_costs_no_forward_to_build_an_extractor() -> None:
    """The image that finds the neurons is the probe: a network runs once, and no more when its fingerprint is read."""
    network, runs = Net(), []
    network.register_forward_hook(lambda *_: runs.append(1))
    extractor = create_extractor(network)
    assert extractor.fingerprint.response is extractor.fingerprint.response is not None
    assert len(runs) == 1


def test_a_network_that_nobody_wants_is_not_run() -> None:
    """A spec says its fingerprint without a response, and so does a module whose number of neurons is told."""
    spec = ExtractorSpec("r18", "resnet18", ["layer1"], weights="seeded:0")
    assert spec.fingerprint.response is None
    network, runs = Net(), []
    network.register_forward_hook(lambda *_: runs.append(1))
    extractor = raw_module_extractor(network, probe=8)
    assert extractor.fingerprint.response is None
    assert not runs
    assert extractor.layout == NeuronLayout({"output": 8})


def test_precisions_options_and_settings_of_the_user_answer_alike() -> None:
    """The response is in float32 whatever the precision of the spec, what surrounds the call, and how it is run."""
    plain = create_extractor(Net(), size=32).fingerprint
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = create_extractor(Net(), size=32).fingerprint
    assert plain.differences(within) == []
    for options in ({"precision": "bf16"}, {"precision": "tf32"}, {"channels_last": True}):
        other = create_extractor(Net(), size=32, **options).fingerprint
        assert plain.differences(other, precision=False) == [], options
    found = create_extractor(Net(torch.tanh), size=32, precision="bf16").fingerprint
    assert plain.differences(found, precision=False) != []


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_answer_alike(threads: int) -> None:
    """Another number of threads moves the last digits at most."""
    before = torch.get_num_threads()
    expected = create_extractor(Net(), size=64).fingerprint
    torch.set_num_threads(threads)
    try:
        assert create_extractor(Net(), size=64).fingerprint.differences(expected) == []
    finally:
        torch.set_num_threads(before)


class Noisy(Net):
    """A network that draws noise whenever it is run."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 8, H', W']."""
        return super().forward(x + torch.randn_like(x))


@pytest.mark.parametrize("make", [Noisy, lambda: Net().bfloat16(), lambda: Net().half()], ids=["noisy", "bf16", "fp16"])
def test_what_answers_otherwise_each_time_or_elsewhere_has_no_response(make: Callable[[], nn.Module]) -> None:
    """Networks that draw numbers, or compute in half precision, compare by their weights and paths."""
    network, another = make(), make()
    state = torch.get_rng_state()
    one, other = create_extractor(network).fingerprint, create_extractor(another).fingerprint
    with torch.no_grad():
        network.conv.weight.mul_(1)
    assert create_extractor(network).fingerprint.response is one.response is None
    assert one.differences(other) == []
    assert torch.equal(torch.get_rng_state(), state)


def test_who_draws_meanwhile_takes_no_response_away() -> None:
    """Another thread that draws during the probe, played here by the module itself, leaves the response as it is."""

    def drawing(x: Tensor) -> Tensor:
        torch.rand(1)
        return torch.relu(x)

    assert create_extractor(Net(drawing)).fingerprint.response == create_extractor(Net()).fingerprint.response


def test_layers_that_overflow_have_no_response() -> None:
    """Moments that are not finite are left out, so that files hold numbers; other layers keep theirs."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LogSigmoid(), nn.LogSigmoid())
    network[2].register_forward_hook(lambda _m, _i, output: output / 0)
    response = create_extractor(network, layers=["0", "2"]).fingerprint.response
    assert response is not None
    assert list(response.moments) == ["0"]


def test_the_response_follows_the_weights() -> None:
    """Weights that change are answered with once, when somebody asks, and the former ones' answer comes back."""
    network = Net()
    extractor = create_extractor(network)
    first, runs = extractor.fingerprint, []
    network.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        network.conv.weight.mul_(2)
    extractor.weights()
    assert not runs
    second = extractor.fingerprint
    assert extractor.fingerprint.response is second.response is not None
    assert len(runs) == 1
    assert second.response.moments["output"][0] == pytest.approx(2 * first.response.moments["output"][0])  # type: ignore[union-attr]
    with torch.no_grad():
        network.conv.weight.div_(2)
    extractor.weights()
    assert extractor.fingerprint.differences(first) == []


def test_probes_of_two_sizes_are_not_compared() -> None:
    """An answer to another image says nothing of the network."""
    one, other = (create_extractor(Net(), probe_size=(size, size)).fingerprint for size in (32, 48))
    assert one.response != other.response
    assert one.differences(other) == []


def test_a_probe_of_a_raw_module_is_as_its_images_are() -> None:
    """A module of FrechetInceptionDistance answers to uint8, or to floats in [0, 1], as it is going to be used."""
    from vdna_metrics import FrechetInceptionDistance

    seen: list[Tensor] = []

    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.float().mean(dim=(2, 3))

    for normalize in (False, True):
        metric = FrechetInceptionDistance(Pool(), normalize=normalize, input_img_size=(3, 16, 16))
        assert metric.fingerprint.response is not None
    assert [(x.dtype, bool(x.max() <= 1)) for x in seen] == [(torch.uint8, False), (torch.float32, True)]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ((0.0, 1.0), (9e-4, 1.0), True),  # a mean near 0 is held against the deviation
        ((0.0, 1.0), (2e-3, 1.0), False),
        ((1e-6, 1.0), (2e-6, 1.0), True),
        ((100.0, 0.0), (100.05, 0.0), True),
        ((100.0, 0.0), (100.2, 0.0), False),
        ((0.0, 0.0), (0.0, 0.0), True),  # a dead layer
        ((0.0, 0.0), (0.0, 1.0), False),
        ((1e-20, 1e-20), (1e-20, 1.01e-20), False),
        ((1.0, 1.0), (-1.0, 1.0), False),
    ],
)
def test_responses_are_held_against_the_size_of_the_activations(
    a: tuple[float, float], b: tuple[float, float], same: bool
) -> None:
    """Means and deviations may differ by 0.001 of the activations' root mean square, to either side."""
    one, other = Response("p", {"l": a}), Response("p", {"l": b})
    assert bool(one.differences(other)) is bool(other.differences(one)) is not same


def test_published_networks_keep_their_identity() -> None:
    """A name's digest is what it was; a response is added to it, and DNAs without one compare as before."""
    fingerprint = create_extractor("vdna_tiny").fingerprint
    assert fingerprint.digest == "c2dc4bec00fab6f6f1ea4573767f2ccd2dc91dd71bbb06b437c17e6cb6ce7568"
    assert fingerprint.response is not None
