"""What metrics share of a network: its weights as they are, its forwards, and the threads that use it."""

from __future__ import annotations

import pickle
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.metric_tester import (
    DISTANCES,
    LAYERS,
    RANGES,
    Bent,
    Network,
    assert_same,
    feed,
    images,
    make,
    observe_forwards,
    observe_trained,
    observe_unlike,
    run_ranks,
    states,
)
from torch import Tensor, nn
from torchmetrics import MetricCollection

from vdna_metrics import ActivationRange, ActivationRanges, NeuronFrechetDistance, create_extractor, shared_forward
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.weights import LiveWeights, checksum, weights_sha256

UNNAMED = replace(RANGES, fingerprint=None)


# ------------------------------------------------------------------------------------------------------------ weights
def _loaded(network: nn.Module) -> None:
    network.load_state_dict(Network(seed=3).state_dict())


def _assigned(network: nn.Module) -> None:
    network.load_state_dict(Network(seed=3).state_dict(), assign=True)


def _scaled(network: nn.Module) -> None:
    network.conv.weight.data.mul_(1.5)  # which moves no version


def _replaced(network: nn.Module) -> None:
    network.conv.weight.data = network.conv.weight.data * 1.5


def _stepped(network: nn.Module) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.ones(1, 3, 12, 12, dtype=torch.float64)).sum().backward()
    optimizer.step()


def _buffered(network: nn.Module) -> None:
    network.norm.running_mean += 1


CHANGES = [_loaded, _assigned, _scaled, _replaced, _stepped, _buffered]


class Normed(Network):
    """The small network with a batch norm in it, which has buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3).double()

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, H', W']."""
        return super().forward(self.norm(x))


def _network(change: Callable[[nn.Module], None]) -> nn.Module:
    return Normed() if change is _buffered else Network()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["nfd", "range"])
def test_weights_that_change_between_the_sides_are_an_error(kind: str, change: Callable[[nn.Module], None]) -> None:
    """Whatever changes the network after the first images, no result mixes both; reset() starts anew with the new."""
    network = _network(change)
    metric = make(kind, network)
    feed(metric, images(12, 1), real=True)
    old = metric.fingerprint.weights
    change(network)
    if change is _scaled:  # which only those see that look into the weights
        feed(metric, images(9, 2))
    calls = [metric.compute] if change is _scaled else [lambda: feed(metric, images(9, 2)), metric.compute]
    for call in calls:
        with pytest.raises(ValueError, match=rf"of '[\w:]+' have changed since .*: expected {old[:12]}, got \w+"):
            call()
    metric.reset()
    fresh = make(kind, network)
    for each in (metric, fresh):
        feed(each, images(12, 1), real=True)
        feed(each, images(9, 2))
    assert metric.fingerprint == fresh.fingerprint
    assert metric.fingerprint.weights not in (old, "")
    assert torch.equal(metric.settings, fresh.settings)
    assert_same(metric.compute(), fresh.compute())


@pytest.mark.parametrize("change", CHANGES)
def test_a_metric_takes_the_weights_as_they_are(change: Callable[[nn.Module], None]) -> None:
    """A module's extractor follows its weights: a reference of the old ones does not fit a metric of the new ones."""
    network = _network(change)
    metric = make("nfd", network)
    feed(metric, images(12, 1))
    old = metric.dna()
    change(network)
    with pytest.raises(ValueError, match="not made with this extractor: weights differ"):
        make("nfd", network, reference=old)
    assert create_extractor(network, layers=LAYERS).fingerprint.weights == weights_sha256(network.state_dict())
    with pytest.raises(ValueError, match="have changed since this metric's first images"):
        metric.dna()


def test_the_first_images_say_which_weights_a_metric_is_about() -> None:
    """Weights may change between construction and the first images, unless the metric was given what is of the old."""
    network = Network()
    metrics = [
        make("nfd", network),
        make("emd", network, ranges=UNNAMED),
        make("nfd", network, weights={"conv": [1] * 4, "last": [1] * 3}),
    ]
    feed(metrics[0], images(12, 1))
    of_old = [make("nfd", network, reference=metrics[0].dna()), make("emd", network, ranges=_ranges(network))]
    metrics[0].reset()
    _loaded(network)
    for metric in metrics:
        feed(metric, images(12, 1), real=True)
        feed(metric, images(9, 2))
        assert metric.dna().fingerprint.weights == weights_sha256(network.state_dict())
        assert metric.compute() > 0
    for metric in of_old:
        with pytest.raises(ValueError, match="not made with this extractor: weights differ"):
            feed(metric, images(9, 2))


def _ranges(network: nn.Module) -> Any:
    calibration = make("range", network)
    feed(calibration, images(12, 1))
    return calibration.ranges()


def test_an_update_that_fails_says_nothing_about_weights() -> None:
    """After a first update that raised, the metric still takes the weights as they are."""
    network = Network()
    metric = make("nfd", network=network)
    with pytest.raises(ValueError, match="uint8"):
        metric.update(torch.zeros(2, 3, 12, 12), real=True)
    assert not metric.update_called
    _loaded(network)
    for real in (True, False):
        metric.update(images(4, int(real)), real=real)
    assert float(metric.compute()) > 0


@pytest.mark.slow
def test_a_rank_without_images_takes_the_weights_as_they_are() -> None:
    """Of a network that was trained after the metric was built, all processes give what one with all images gives."""
    metric = make("nfd", network=Network(seed=3))
    for real in (True, False):
        metric.update(images(4, int(real)), real=real)
    assert run_ranks(observe_trained, 2) == [float(metric.compute())] * 2


@pytest.mark.slow
def test_ranks_have_the_same_weights() -> None:
    """Processes whose networks or settings differ are told so, all of them, instead of being added up."""
    for message in run_ranks(observe_unlike, 2):
        assert message.startswith("expected one network, with the same weights")


def test_real_images_that_are_kept_hold_to_their_weights() -> None:
    """With reset_real_features=False a reset keeps real images of the old weights, and the error says what helps."""
    network = Network()
    metric = make("nfd", network, reset_real_features=False)
    feed(metric, images(12, 1), real=True)
    metric.reset()
    _loaded(network)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"build the metric anew, for it keeps real images over reset\(\)"):
            feed(metric, images(9, 2))
        metric.reset()


@pytest.mark.parametrize("kind", ["nfd", "range"])
def test_forward_is_held_to_the_weights(kind: str) -> None:
    """Weights that change between two forwards are an error, although calibration resets in between."""
    network = Network()
    metric = make(kind, network)
    feed(metric, images(12, 1), real=True)
    metric(images(9, 2))
    _loaded(network)
    if kind == "range":
        metric(images(9, 2))
    with pytest.raises(ValueError, match="have changed"):
        metric.compute() if kind == "range" else metric(images(9, 2))


def test_a_compute_group_follows_its_first_metric() -> None:
    """In a collection only one metric of a group sees images; all of them take the new weights after a reset."""
    network = Network()
    options = {"one": {}, "two": {"reduction": "layer"}}
    collection = MetricCollection({name: make("nfd", network, **option) for name, option in options.items()})
    for change in (lambda _: None, _loaded, _scaled):
        change(network)
        collection.reset()
        collection.update(images(12, 1), real=True)
        collection.update(images(9, 2), real=False)
        alone = make("nfd", network)
        feed(alone, images(12, 1), real=True)
        feed(alone, images(9, 2))
        assert_same(collection.compute()["one"], alone.compute())
        for metric in collection.values():
            assert metric.dna().fingerprint == alone.fingerprint
    assert len(collection.compute_groups) == 1
    _loaded(network)
    with pytest.raises(ValueError, match="have changed"):
        collection.update(images(9, 2), real=False)


# ----------------------------------------------------------------------------------------------------------- forwards
class Renamed(Network):
    """The small network by another name."""


def _seen(kind: str, network: nn.Module) -> Any:
    metric = make(kind, network, **({"ranges": UNNAMED} if kind == "emd" else {}))
    feed(metric, images(12, 1), real=True)
    feed(metric, images(9, 2))
    metric.persistent(True)
    return metric


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd", "range", "fid"])
def test_the_state_of_a_renamed_class_is_taken(kind: str) -> None:
    """A checkpoint, a merged state and a reference of a class fit the same one by another path."""
    metric, other = _seen(kind, Network()), _seen(kind, Renamed())
    expected = _seen(kind, Network())
    expected.merge_state(metric)
    other.merge_state(metric)
    assert_same(other.compute(), expected.compute())
    other.load_state_dict(metric.state_dict())
    assert_same(other.compute(), metric.compute())
    if kind in ("emd", "nfd", "lfd"):
        make(kind, Renamed(), reference=metric.dna(real=True))


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd", "range"])
def test_the_state_of_another_forward_is_refused(kind: str) -> None:
    """With the same weights, a checkpoint, a merged state, a reference and ranges of another forward do not fit."""
    metric, other = _seen(kind, Network()), _seen(kind, Bent())
    assert metric.fingerprint.weights == other.fingerprint.weights
    for call in (lambda: other.load_state_dict(metric.state_dict()), lambda: other.merge_state(metric)):
        with pytest.raises(ValueError, match="another extractor, layers"):
            call()
    if kind == "range":
        with pytest.raises(ValueError, match=r"not made with this extractor: .*responses of layer 'last' differ"):
            make("emd", Bent(), ranges=metric.ranges())
    else:
        with pytest.raises(ValueError, match=r"not made with this extractor: .*responses of layer 'last' differ"):
            make(kind, Bent(), reference=metric.dna(real=True))


def _as_elsewhere(settings: Tensor, factor: float) -> Tensor:
    """Settings of a metric whose network has answered otherwise."""
    moved = settings.clone()
    moved[65:] = (moved[65:].view(torch.float64) * factor).view(torch.int64)
    return moved


def test_states_of_another_machine_are_taken() -> None:
    """Responses that differ by rounding are of one network, in checkpoints and merges; early states have none."""
    metric, saved = _seen("nfd", Network()), _seen("nfd", Network()).state_dict()
    for settings in (_as_elsewhere(saved["settings"], 1 + 1e-5), saved["settings"][:64]):
        metric.load_state_dict({**saved, "settings": settings})
        metric.merge_state({**saved, "settings": settings})
    with pytest.raises(ValueError, match="another extractor"):
        metric.merge_state({**saved, "settings": _as_elsewhere(saved["settings"], 1.01)})


def test_two_forwards_are_no_compute_group() -> None:
    """Metrics of two networks with equal weights stay apart, even if their first images give equal states."""
    black = torch.zeros(4, 3, 12, 12, dtype=torch.uint8)
    networks = [Network(), Bent()]
    for network in networks:
        network.conv.bias.data.zero_()  # of which both make 0, and then the same
    collection = MetricCollection({name: make("nfd", n) for name, n in zip("ab", networks, strict=True)})
    for real in (True, False):
        collection.update(black, real=real)
    collection.compute()
    assert len(collection.compute_groups) == 2


@pytest.mark.parametrize("kind", ["nfd", "emd"])
def test_the_response_follows_the_weights_over_a_reset(kind: str) -> None:
    """After training and a reset, the metric's DNA has the response of a fresh metric, for one forward in all."""
    network = Network()
    options = {"ranges": UNNAMED} if kind == "emd" else {}
    metrics, runs = [make(kind, network, **options) for _ in range(2)], []
    for metric in metrics:
        feed(metric, images(12, 1))
    network.conv.register_forward_hook(lambda *_: runs.append(1))
    _stepped(network)
    runs.clear()
    for metric in metrics:
        metric.reset()
    for seed in range(3):
        batch = images(9, seed)
        for metric in metrics:
            feed(metric, batch)
    assert len(runs) == 3 + 1
    fresh = make(kind, network, **options)
    for metric in metrics:
        assert metric.dna().fingerprint.response == fresh.fingerprint.response is not None
        assert torch.equal(metric.settings, fresh.settings)
    assert len(runs) == 3 + 1


@pytest.mark.slow
def test_ranks_have_one_forward() -> None:
    """Processes whose networks have equal weights and other forwards are told so."""
    for message in run_ranks(observe_forwards, 2):
        assert message.startswith("expected one network, with the same weights")


def test_the_same_weights_elsewhere_are_the_same() -> None:
    """Weights that are loaded again, copied or moved, with other versions and pointers, are no change."""
    network = Network()
    metric = make("nfd", network)
    feed(metric, images(12, 1), real=True)
    network.load_state_dict({name: tensor.clone() for name, tensor in network.state_dict().items()}, assign=True)
    feed(metric, images(9, 2))
    network.load_state_dict(network.state_dict())
    assert metric.compute() > 0


def test_a_name_stands_for_its_own_weights() -> None:
    """A network by name that somebody has trained is not given to the next who asks for the name."""
    trained = create_extractor("seeded_resnet18")
    assert create_extractor("seeded_resnet18") is trained
    trained.network.conv1.weight.data.mul_(2)
    fresh = create_extractor("seeded_resnet18")
    assert fresh is not trained
    assert fresh.fingerprint.weights == trained.built_with != trained.fingerprint.weights


def test_inference_weights_are_looked_into() -> None:
    """Weights made under inference mode, which count no changes, are known by what is in them at each update."""
    with torch.inference_mode():
        network = Network()
    metric = make("nfd", network)
    feed(metric, images(12, 1), real=True)
    with torch.inference_mode():
        network.conv.weight.mul_(1.5)
    with pytest.raises(ValueError, match="have changed"):
        feed(metric, images(9, 2))


def test_weights_are_read_only_when_something_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates look at versions and pointers; a sha256 is taken when these differ, and when contents are asked for."""
    network, taken = Network(), [0]
    live = LiveWeights(network, weights_sha256(network.state_dict()))

    def counted(*args: Any, **options: Any) -> str:
        taken[0] += 1
        return weights_sha256(*args, **options)

    monkeypatch.setattr("vdna_metrics.extractors.weights.weights_sha256", counted)
    first = live.sha256()
    assert (live.sha256(), taken) == (first, [0])
    assert (live.sha256(contents=True), taken) == (first, [1])
    _stepped(network)
    assert live.sha256() != first
    live.sha256()
    assert taken == [2]


def test_off_the_cpu_weights_are_summed_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """There contents are compared by a sum, and hashed only when it differs; the CPU stands in for a device here."""
    network, taken = Network(), [0]

    def on_device(live: LiveWeights) -> Tensor:
        return checksum(torch.stack([checksum(tensor) for tensor in live._tensors()]))

    def counted(*args: Any, **options: Any) -> str:
        taken[0] += 1
        return weights_sha256(*args, **options)

    monkeypatch.setattr(LiveWeights, "_device_sum", on_device)
    monkeypatch.setattr("vdna_metrics.extractors.weights.weights_sha256", counted)
    live = LiveWeights(network, weights_sha256(network.state_dict()))
    first = live.sha256(contents=True)
    assert taken == [0]
    for change in (_scaled, _assigned):
        change(network)
        assert live.sha256(contents=True) == weights_sha256(network.state_dict()) != first
    assert taken == [2]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * 4096 + 5])
def test_a_checksum_depends_on_every_byte_and_its_place(size: int) -> None:
    """Another value, two that change places, or rows that do give another number, whatever the strides."""
    values = torch.randint(0, 256, (size,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sums = {int(checksum(values))}
    for place in {0, size // 2, size - 1} if size else ():
        changed = values.clone()
        changed[place] += 1
        sums.add(int(checksum(changed)))
    if size > 1:
        sums.add(int(checksum(values.flip(0))))
    if size >= 3 * 4096:
        sums.add(int(checksum(torch.cat([values[4096:8192], values[:4096], values[8192:]]))))
    assert len(sums) == 1 + (len({0, size // 2, size - 1}) if size else 0) + (size > 1) + (size >= 3 * 4096)
    assert checksum(values.view(1, -1).expand(2, -1)) == checksum(values.repeat(2))


# ------------------------------------------------------------------------------------------------------------ batches
@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[int]]:
    """Metrics of one network as off the CPU, where bytes are not read, and how often the network has run."""
    monkeypatch.setattr(FeatureExtractor, "_host_checksum", staticmethod(lambda images: None))
    network, count = Network(), [0]
    metrics = [make(kind, network, **options) for kind, options in [("nfd", {}), ("emd", {}), ("range", {})]]
    network.conv.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    return metrics, count


def test_off_the_cpu_a_batch_is_run_once(shared: tuple[list[Any], list[int]]) -> None:
    """Metrics that follow each other share a forward, and the sum of the batch's bytes finds nothing."""
    metrics, count = shared
    for n in (1, 2):
        batch = images(9, n)
        for metric in metrics:
            feed(metric, batch)
        assert count == [n]
    for metric in metrics[:2]:
        assert metric.dna().n_images == 18
    assert metrics[2].ranges().n_images == 18


def test_sharing_off_the_cpu_reads_nothing_of_the_device() -> None:
    """Sums of bytes are taken and compared where the images are: torch's meta device has no value to be read."""
    network, count = Network(), [0]
    metrics = [make(kind, network).to("meta") for kind in ("nfd", "emd", "range")]
    network.conv.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    batch = images(9, 1).to("meta")
    for metric in metrics:
        feed(metric, batch)
    assert count == [1]


@pytest.mark.parametrize("reader", [1, 2])
def test_a_batch_that_changed_unseen_is_an_error_of_compute(shared: tuple[list[Any], list[int]], reader: int) -> None:
    """A buffer filled by what torch does not count is noticed by whoever is served the former batch; reset forgets."""
    metrics, count = shared
    buffer = images(9, 2)
    feed(metrics[0], buffer)
    buffer.data.copy_(images(9, 5))  # as a replayed CUDA graph
    feed(metrics[reader], buffer)
    assert count == [1]
    call = metrics[2].ranges if reader == 2 else metrics[reader].dna
    for each in (call, metrics[reader].compute) if reader == 2 else (call,):
        with pytest.raises(ValueError, match="1 batches were filled with other images between two metrics"):
            each()
    metrics[reader].reset()
    feed(metrics[reader], buffer)
    call()


def test_a_changed_batch_is_merged_with_the_rest(shared: tuple[list[Any], list[int]]) -> None:
    """What was noticed goes with the states, through merging and over ranks, which add them."""
    (first, second, _), _ = shared
    buffer = images(9, 2)
    feed(first, buffer)
    buffer.data.copy_(images(9, 5))
    feed(second, buffer)
    other = make("emd", second._lease.extractor.network)
    feed(other, images(4, 1))
    other.merge_state(second)
    with pytest.raises(ValueError, match="1 batches were filled"):
        other.dna()


def test_a_reader_that_asks_again_brings_a_new_batch(shared: tuple[list[Any], list[int]]) -> None:
    """One metric of several that is fed a buffer filled unseen again and again gets each of its batches right."""
    metrics, count = shared
    buffer, alone = images(9, 0), make("nfd", Network())
    for n in range(1, 4):
        buffer.data.copy_(images(9, n))
        feed(metrics[0], buffer)
        feed(alone, images(9, n))
        assert count == [n]
    assert torch.equal(metrics[0].dna().distribution.state, alone.dna().distribution.state)


def test_shared_forward_checks_nothing(shared: tuple[list[Any], list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the scope one tensor is one batch for all and as often as wanted, also under inference mode; not after."""
    metrics, count = shared
    monkeypatch.setattr("vdna_metrics.extractors.network.checksum", None)
    with torch.inference_mode(), shared_forward():
        batch = images(9, 1)
        for metric in (*metrics, *metrics):
            feed(metric, batch)
        assert count == [1]
        feed(metrics[0], images(9, 2))
        assert count == [2]
    assert metrics[0]._lease.extractor._kept is None
    batch = images(9, 2)
    monkeypatch.undo()
    with shared_forward():
        feed(metrics[0], batch)
    feed(metrics[1], batch)
    assert count == [4]
    assert metrics[1].dna().n_images == 27


# ------------------------------------------------------------------------------------------------------------ threads
def _storm(makes: list[Callable[[], Any]], rounds: int) -> list[str]:
    """What happened in threads that each use a metric of their own, beside what a metric alone gives."""
    expected = []
    for make_one in makes:
        metric = make_one()
        feed(metric, images(6, 1), real=True)
        feed(metric, images(5, 2))
        expected.append(states(metric))
    outcomes: list[str] = []
    start = threading.Barrier(len(makes))

    def work(make_one: Callable[[], Any], expected: dict[str, Tensor]) -> None:
        start.wait(timeout=60)
        metric = make_one()
        for _ in range(rounds):
            try:
                metric.reset()
                feed(metric, images(6, 1), real=True)
                feed(metric, images(5, 2))
                right = all(torch.equal(state, expected[name]) for name, state in states(metric).items())
                outcomes.append("right" if right else "wrong")
            except Exception as error:
                outcomes.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=each) for each in zip(makes, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


class Crowded(Network):
    """The small network in training, with dropout, that gives way to other threads and notes how many are inside."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.inside: set[int] = set()
        self.most = 0

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, H', W']."""
        self.inside.add(threading.get_ident())
        self.most = max(self.most, len(self.inside))
        threading.Event().wait(0.001)
        try:
            return super().forward(self.dropout(x))
        finally:  # our forwards end early
            self.inside.discard(threading.get_ident())


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_of_one_module(threads: int) -> None:
    """Metrics of one module, of its parts and of what is around it, each in a thread, all get their own results."""
    network = Crowded()
    kept = create_extractor(network, layers=LAYERS)
    makes: list[Callable[[], Any]] = [
        lambda: make("nfd", network),
        lambda: make("emd", network, ranges=UNNAMED),
        lambda: make("range", network),
        lambda: NeuronFrechetDistance(network.conv),
        lambda: ActivationRange(nn.Sequential(network, nn.ReLU())),
        lambda: make("nfd", kept),
        lambda: make("lfd", network, layers=["last"]),
        lambda: make("fid", Network()),
    ]
    outcomes = _storm(makes[:threads] if threads > 2 else makes[:1] * 2, rounds=6)
    assert outcomes == ["right"] * 6 * threads
    assert network.most == 1
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_threads_of_one_name() -> None:
    """Metrics that threads make of one name at once share one network, and get their own results."""
    outcomes = _storm([lambda: NeuronFrechetDistance("vdna_tiny", layers=["blocks.0"])] * 4, rounds=4)
    assert outcomes == ["right"] * 16


def test_a_module_that_runs_elsewhere_is_not_heard() -> None:
    """Another thread's forward of the module, in the middle of ours, neither ends early nor gives us its outputs."""
    network = Network()
    metric, alone = make("nfd", network), make("nfd", Network())
    found: list[Any] = []

    def run_elsewhere(*_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: found.append(network(torch.ones(1, 3, 12, 12).double())))
            thread.start()
            thread.join()

    network.conv.register_forward_pre_hook(run_elsewhere)
    for each in (metric, alone):
        feed(each, images(9, 2))
    assert torch.equal(metric.dna().distribution.state, alone.dna().distribution.state)
    assert found[0].shape == (1, 3, 3, 3)


def test_a_metric_in_use_is_pickled() -> None:
    """Locks stay here: a metric whose network another thread holds is pickled and comes back."""
    metric = make("nfd", Network())
    feed(metric, images(9, 2))
    with metric.extractor.locked():
        loaded = pickle.loads(pickle.dumps(metric))
    assert torch.equal(loaded.dna().distribution.state, metric.dna().distribution.state)


# ------------------------------------------------------------------------------------------- how images come into it
HOW: dict[str, Any] = {
    "size": (8, 8), "mean": 0.5, "std": 0.25, "crop": "short_side_center", "preprocessing": "legacy_pytorch"
}  # fmt: skip


@pytest.mark.parametrize("name", ["emd", "nfd", "lfd", "calibration"])
def test_every_metric_takes_how_images_come_in(name: str) -> None:
    """Size, normalisation, crop and preprocessing of a module are keyword arguments of every metric."""
    network = nn.AvgPool2d(2)
    expected = create_extractor(network, **HOW)
    classes: dict[str, Callable[..., Any]] = {**DISTANCES, "calibration": ActivationRange}
    ranges = ActivationRanges.from_extremes({"output": [-9.0] * 3}, {"output": [9.0] * 3}, widen="none")
    options = {"ranges": ranges} if name == "emd" else {}
    assert classes[name](network, **HOW, **options).extractor is expected
    with pytest.raises(ValueError, match="size, mean, std and preprocessing are for modules"):
        classes[name]("vdna_tiny", size=8, **options)


@pytest.mark.parametrize("crop", ["none", "center"])
def test_squeezed_images_are_told_once(crop: Any) -> None:
    """The first oblong batch that is squeezed warns, later ones do not; a crop squeezes nothing."""
    metric = NeuronFrechetDistance(nn.AvgPool2d(2), size=8, crop=crop)
    oblong = torch.zeros(2, 3, 16, 26, dtype=torch.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metric.update(oblong[..., :24])
        assert not caught
        for _ in range(2):
            metric.update(oblong)
            metric.update(oblong, real=True)
    told = ["images of 16x26 pixels are more than 1.5 times as long"] if crop == "none" else []
    assert [str(each.message)[: len(told[0])] for each in caught] == told
    assert {each.filename for each in caught} <= {__file__}
