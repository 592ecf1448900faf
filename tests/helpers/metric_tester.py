"""What every metric of this package promises, as test classes to inherit, and the small metrics they are tried on."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import datetime
import gc
import multiprocessing
import os
import pickle
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from helpers.distances import EVENNESS, JSD
from helpers.dnas import settled
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, MetricTracker
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError
from torchmetrics.wrappers import BootStrapper

from vdna_metrics import (
    ActivationRange,
    ActivationRanges,
    ClassConditionalDistance,
    FrechetInceptionDistance,
    KernelDistance,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    NeuronWassersteinDistance,
    SlicedWassersteinDistance,
    VDNAEarthMoversDistance,
    VendiScore,
    create_extractor,
)
from vdna_metrics.metrics import HistogramDistanceMetric

LAYERS = ("conv", "last")


class ByParity(ClassConditionalDistance):
    """Two classes that images tell themselves, so that what is asked of all metrics can be asked without labels."""

    def update(self, imgs: Any, real: bool = False) -> None:
        """Add images of the classes that they are of."""
        super().update(imgs, parities(imgs), real)

    def forward(self, imgs: Any, real: bool = False) -> Any:
        """Add images of the classes that they are of, and compute of them alone."""
        return super(ClassConditionalDistance, self).forward(imgs, real=real)


def parities(imgs: Any) -> Tensor:
    """Of each image a bit of the sum of its levels; each batch that is computed of alone here has some of both."""
    if not isinstance(imgs, Tensor):
        return torch.zeros(len(imgs), dtype=torch.int64)
    levels = imgs if imgs.dtype == torch.uint8 else (imgs * 255).round()
    return levels.detach().flatten(1).long().sum(1) // 14 % 2


DISTANCES: Mapping[str, type[Metric]] = {
    "emd": VDNAEarthMoversDistance,
    "auto": VDNAEarthMoversDistance,  # with histograms that find their own ranges
    "nfd": NeuronFrechetDistance,
    "lfd": LayerFrechetDistance,
    "fid": FrechetInceptionDistance,
    "nwd": NeuronWassersteinDistance,
    "swd": SlicedWassersteinDistance,
    "kid": KernelDistance,
    "classes": ByParity,
}
OF_FEATURES = ("swd", "kid")
PAIRS = ("kid",)  # of which `compute` gives two numbers
OF_TORCHMETRICS = ("process_group", "sync_on_compute", "dist_sync_fn", "dist_sync_on_step", "distributed_available_fn")
KEPT = 64  # images whose features are kept


class JensenShannon(HistogramDistanceMetric):
    """A metric of a distance that no package registers."""

    distance = JSD


class Evenness(HistogramDistanceMetric):
    """A metric that looks at generated images alone, the higher the better."""

    distance = EVENNESS


OWN: Mapping[str, type[Metric]] = {"jsd": JensenShannon, "evenness": Evenness}
SCORES = ("evenness", "vendi")  # of generated images alone, the higher the better


class Network(nn.Module):
    """A small network: 4 neurons in `conv`, which an in-place ReLU overwrites, and 3 in `last`.

    In float64, in which activations depend on the batch they are computed in by too little to change a count.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.conv, self.relu, self.last = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, H', W']."""
        return self.last(self.relu(self.conv(x)))


class Bent(Network):
    """The small network's weights in another forward."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, H', W']."""
        return self.last(torch.tanh(self.conv(x)))


class Features(nn.Module):
    """The network for FID: raw images to [N, 3]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] uint8, or floats in [0, 1], to [N, 3]."""
        levels = x if x.dtype == torch.uint8 else (x * 255).round()
        return self.network(levels.double() / 255).mean(dim=(2, 3))


NETWORK = Network()
FEATURES = Features(NETWORK)
# Alive as long as this module, so that all metrics of a test share them.
EXTRACTOR = create_extractor(NETWORK, layers=LAYERS)
RANGES = ActivationRanges.from_extremes(
    {"conv": [-12.0] * 4, "last": [-60.0] * 3},
    {"conv": [12.0] * 4, "last": [60.0] * 3},
    widen="none",
    extractor=EXTRACTOR,
)


def images(n: int, seed: int = 0, size: int = 12) -> Tensor:
    """[n, 3, size, size] uint8, of a brightness that depends on the seed."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    return noise // (1 + seed % 3)


def make(kind: str, network: nn.Module = NETWORK, **options: Any) -> Metric:
    """A metric of a kind, one of `DISTANCES`, "range", "vendi" or one of `OWN`, on a small network."""
    if kind == "fid":
        features = FEATURES if network is NETWORK else Features(network)
        return FrechetInceptionDistance(features, input_img_size=(3, 12, 12), **options)
    if kind == "range":
        return ActivationRange(network, **{"layers": LAYERS, **options})
    if kind == "classes":
        own = {name: options.pop(name) for name in (*OF_TORCHMETRICS, "reference") if name in options}
        given = own.pop("reference", None)
        references = given if given is None or isinstance(given, Mapping) else [given] * 2
        return ByParity(make("emd", network, **options), 2, references=references, **own)
    if kind in OF_FEATURES:
        options = {"layers": ["last"], "feature_images": KEPT, **options}
        if kind == "swd":
            options = {"n_directions": 16, **options}
    if kind in ("emd", "auto", "nwd", *OWN):
        ranges = "auto" if kind in ("auto", "nwd") else RANGES
        options = {"bins": 40, "ranges": None if options.get("reference") is not None else ranges, **options}
    return {**DISTANCES, **OWN, "vendi": VendiScore}[kind](network, **{"layers": LAYERS, **options})


def feed(metric: Metric, batch: Tensor, real: bool = False) -> Any:
    """Update with a batch of one side; calibration knows no sides."""
    return metric.update(batch) if isinstance(metric, ActivationRange) else metric.update(batch, real=real)


def filled(kind: str, *, real: int = 12, generated: int = 9, seed: int = 1, **options: Any) -> Metric:
    """A metric that has seen images of both sides."""
    metric = make(kind, **options)
    if real and kind != "range":
        feed(metric, images(real, seed), real=True)
    feed(metric, images(generated, seed + 1))
    return metric


def states(metric: Metric) -> dict[str, Tensor]:
    """Copies of the states, as they are in any order of the images."""
    return {
        name: _settled(metric, state) if name.endswith("_state") else state.clone()
        for name, state in metric.metric_state.items()
    }


def _settled(metric: Metric, state: Tensor) -> Tensor:
    if state.ndim > 1:  # of classes
        return torch.stack([_settled(metric, each) for each in state])
    return settled(metric._empty.with_state(state))


def assert_states(metric: Metric, expected: Mapping[str, Tensor]) -> None:
    """Counts and extremes must be the same bits, float64 sums the same to rounding."""
    found = states(metric)
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        assert found[name].dtype == state.dtype, name
        if state.dtype == torch.float64:
            torch.testing.assert_close(found[name], state, rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(found[name], state), name


def reference_of(metric: Metric, given: str, folder: Path) -> Any:
    """The real side of a metric as a reference: a DNA, a path or a text, or one of each class."""
    dnas = metric.dnas(real=True) if isinstance(metric, ClassConditionalDistance) else {"": metric.dna(real=True)}
    paths = {name: dna.save(folder / f"real{name}.npz") for name, dna in dnas.items()}
    made: Any = {"dna": dnas, "path": paths, "text": {name: str(path) for name, path in paths.items()}}[given]
    return made if len(made) > 1 else made[""]


def number(result: Any) -> Tensor:
    """What `compute` gave, of two numbers the first, of classes the mean."""
    return result[0] if isinstance(result, tuple) else result["mean"] if isinstance(result, dict) else result


def assert_same(found: Any, expected: Any, **tolerance: float) -> None:
    """Results agree: scalars, pairs of them, or mappings of tensors."""
    unknown = isinstance(expected, tuple)  # the error of a distance of few images
    torch.testing.assert_close(found, expected, equal_nan=unknown, **(tolerance or {"rtol": 1e-6, "atol": 1e-9}))


class MetricContract:
    """Rules of torchmetrics and of this package for every metric; `kind` says which."""

    kind: str
    updates = 50  # of those of which memory is looked at, a third

    def test_constants(self) -> None:
        """What a metric says of itself is right, and cannot be changed."""
        metric = make(self.kind)
        known = {"higher_is_better": self.kind in SCORES, "is_differentiable": False, "full_state_update": False}
        for name, value in known.items():
            assert getattr(metric, name) is value
            with pytest.raises(RuntimeError, match="Can't change const"):
                setattr(metric, name, True)
        assert metric.feature_network == ("inception" if self.kind == "fid" else "extractor")

    def test_update_accumulates(self) -> None:
        """Batches accumulate to what one pass over all images gives, however they are cut, empty ones included."""
        whole = filled(self.kind, generated=11, seed=1)
        parts = filled(self.kind, generated=0, seed=1)
        for part in images(11, 2).split([4, 0, 1, 6]):
            feed(parts, part)
        assert_states(parts, states(whole))
        assert_same(parts.compute(), whole.compute())

    def test_order_does_not_matter(self) -> None:
        """The same batches in another order give the same states."""
        batches = [images(n, seed) for n, seed in ((3, 5), (5, 6), (2, 7))]
        metrics = make(self.kind), make(self.kind)
        for metric, order in zip(metrics, (batches, batches[::-1]), strict=True):
            for batch in order:
                feed(metric, batch)
        assert_states(metrics[0], states(metrics[1]))

    def test_reset(self) -> None:
        """After reset a metric is as it was when it was built, and may be used again."""
        metric, fresh = filled(self.kind), make(self.kind)
        expected = metric.compute()
        metric.reset()
        assert_states(metric, states(fresh))
        assert metric.update_count == 0
        again = filled(self.kind)
        for _ in range(2):
            metric.reset()
            if self.kind != "range":
                feed(metric, images(12, 1), real=True)
            feed(metric, images(9, 2))
            assert_states(metric, states(again))
            assert_same(metric.compute(), expected)

    @pytest.mark.parametrize("copied", [lambda metric: metric.clone(), copy.deepcopy], ids=["clone", "deepcopy"])
    def test_copies_are_apart_but_share_the_network(self, copied: Callable[[Metric], Metric]) -> None:
        """A copy has the states of its original and its own from then on; the extractor is the same object."""
        metric = filled(self.kind)
        before = states(metric)
        other = copied(metric)
        assert other.extractor is metric.extractor
        assert_states(other, before)
        feed(other, images(3, 8))
        assert_states(metric, before)
        feed(metric, images(3, 8))
        assert_same(other.compute(), metric.compute())

    def test_pickling(self) -> None:
        """A metric comes back from a pickle with its states, and goes on counting."""
        metric = filled(self.kind)
        loaded = pickle.loads(pickle.dumps(metric))
        assert_states(loaded, states(metric))
        assert_same(loaded.compute(), metric.compute())
        for each in (loaded, metric):
            feed(each, images(3, 8))
        assert_states(loaded, states(metric))
        assert loaded.fingerprint == metric.fingerprint

    def test_hash(self) -> None:
        """Two metrics of the same settings are two, in sets and dictionaries, and are found there whatever they saw."""
        metric = make(self.kind)
        both = {metric, make(self.kind)}
        assert len(both) == 2
        feed(metric, images(5, 1), real=True)
        metric(images(5, 2))
        assert metric in both
        metric.reset()
        assert metric in both

    def test_no_module_holds_the_network(self) -> None:
        """A metric has no parameters, no submodules and an empty state dict: checkpoints stay small and complete."""
        metric = filled(self.kind)
        parent = nn.ModuleDict({"metric": metric})
        assert list(metric.modules()) == [metric]
        assert not list(parent.parameters())
        assert not list(parent.buffers())
        assert parent.state_dict() == {}
        parent.load_state_dict({}, strict=True)

    def test_checkpoints_in_the_middle(self) -> None:
        """Persistent states saved midway and loaded elsewhere go on to the same result; the file stays as it is."""
        metric = filled(self.kind)
        metric.persistent(True)
        saved = nn.ModuleDict({"metric": metric}).state_dict()
        assert set(saved) == {f"metric.{name}" for name in metric.metric_state}
        kept = {name: tensor.clone() for name, tensor in saved.items()}
        resumed = filled(self.kind, generated=2, seed=6)
        resumed.persistent(True)
        resumed.compute()  # which must not be remembered
        fresh = make(self.kind)
        fresh.persistent(True)
        for each in (resumed, fresh):
            nn.ModuleDict({"metric": each}).load_state_dict(saved, strict=True)
            assert_same(each.compute(), metric.compute())
        for each in (metric, resumed):
            feed(each, images(4, 8))
        assert_states(resumed, states(metric))
        assert_same(resumed.compute(), metric.compute())
        assert saved.keys() == kept.keys()
        assert all(torch.equal(saved[name], tensor) for name, tensor in kept.items())

    def test_checkpoints_of_other_settings_are_refused(self) -> None:
        """States of a metric with other settings cannot be loaded, although they may have the same shape."""
        metric, other = filled(self.kind), make(self.kind, normalize=True)
        for each in (metric, other):
            each.persistent(True)
        with pytest.raises(ValueError, match=r"another extractor, layers, .* normalize .* build the metric with"):
            other.load_state_dict(metric.state_dict())

    def test_merging(self) -> None:
        """Merged states are those of a single pass, from a metric or its state, and a remembered result is dropped."""
        one, other = filled(self.kind, seed=1), filled(self.kind, real=5, generated=4, seed=4)
        single = filled(self.kind, seed=1)
        for batch, real in ((images(5, 4), True), (images(4, 5), False)):
            if not (real and self.kind == "range"):
                feed(single, batch, real)
        as_dict, other_way = filled(self.kind, seed=1), other.clone()
        for merged in (one, as_dict, other_way):
            merged.compute()
        untouched = states(other)
        one.merge_state(other)
        as_dict.merge_state(other.metric_state)
        other_way.merge_state(filled(self.kind, seed=1))
        for merged in (one, as_dict, other_way):
            assert_states(merged, states(single))
            assert_same(merged.compute(), single.compute())
        assert_states(other, untouched)
        feed(one, images(3, 8))
        assert_states(other, untouched)
        assert other_way.update_count == single.update_count
        fresh = make(self.kind)
        fresh.merge_state(single)
        assert_same(fresh.compute(), single.compute())

    def test_merging_other_settings_is_refused(self) -> None:
        """States of a metric with other settings, of another class or of unknown settings cannot be merged."""
        metric = filled(self.kind)
        before = states(metric)
        unknown = {name: state for name, state in metric.metric_state.items() if name != "settings"}
        another = filled("range" if self.kind != "range" else "emd")
        for other in (make(self.kind, normalize=True), another, unknown):
            with pytest.raises(ValueError, match="another extractor, layers, neurons"):
                metric.merge_state(other)
        assert_states(metric, before)

    @pytest.mark.parametrize(
        "cast",
        [
            lambda module: module.half(),
            lambda module: module.double(),
            lambda module: module.bfloat16(),
            lambda module: module.float(),
            lambda module: module.type(torch.float16),
            lambda module: module.to(torch.float16),
            lambda module: module.to(torch.float64),
            lambda module: module.to("cpu", torch.bfloat16),
            lambda module: module.train(),
        ],
        ids=["half", "double", "bfloat16", "float", "type", "to float16", "to float64", "to device and dtype", "train"],
    )
    @pytest.mark.parametrize("inside", [True, False], ids=["parent", "metric"])
    def test_casts_leave_states_and_network_alone(self, cast: Callable[[nn.Module], object], inside: bool) -> None:
        """Whatever a metric or its parent is cast to, states, results and the network keep their types and values."""
        metric = filled(self.kind)
        expected, before = metric.compute(), states(metric)
        weights = {name: tensor.clone() for name, tensor in metric.extractor.network.state_dict().items()}
        modes = [module.training for module in metric.extractor.network.modules()]
        cast(nn.ModuleDict({"metric": metric, "layer": nn.Linear(2, 2)}) if inside else metric)
        assert_states(metric, before)
        torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=0)  # also of the same dtype
        for name, tensor in metric.extractor.network.state_dict().items():
            assert tensor.dtype == weights[name].dtype
            assert torch.equal(tensor, weights[name])
        assert [module.training for module in metric.extractor.network.modules()] == modes
        metric.reset()
        assert_states(metric, states(make(self.kind)))

    def test_compute_before_update(self) -> None:
        """`compute` before any update warns as torchmetrics does, and is an error that says what is missing."""
        with (
            pytest.warns(UserWarning, match="was called before the ``update`` method"),
            pytest.raises(ValueError, match=r"no (real |generated )?images yet: call update\(imgs"),
        ):
            make(self.kind).compute()

    def test_wrong_images_change_nothing(self) -> None:
        """Images that are refused leave the states as they were."""
        metric = filled(self.kind)
        before = states(metric)
        wrongs: list[tuple[Any, type[Exception], str]] = [
            (images(2).float() / 255, TypeError, "use normalize=True"),
            (images(2)[0], ValueError, r"must be \[N, 3, H, W\]"),
            (images(2).numpy(), TypeError, "must be a torch.Tensor, got ndarray"),
            (
                images(2).to("meta"),
                ValueError,
                r"images are on meta, the metric on cpu: move one, e.g. metric.to\('meta'\)",
            ),
        ]
        for wrong, error, message in wrongs[2 if self.kind == "fid" else 0 :]:  # its module takes what it is given
            with pytest.raises(error, match=message):
                feed(metric, wrong)
        assert_states(metric, before)

    def test_a_synced_metric_sees_no_images(self) -> None:
        """Between `sync` and `unsync` images would be forgotten: update and forward raise, and go on after it."""
        metric = filled(self.kind)
        before = states(metric)
        metric.sync(lambda x, group=None: [x, x], distributed_available=lambda: True)
        for see in (metric.update, metric.forward):
            with pytest.raises(TorchMetricsUserError, match="unsync"):
                see(images(3, 8))
        metric.unsync()
        assert_states(metric, before)
        feed(metric, images(3, 8))

    def test_forward_that_raises_changes_nothing(self) -> None:
        """A forward whose images are refused loses and counts nothing, and the metric goes on as without it."""
        metric, expected = filled(self.kind), filled(self.kind)
        with pytest.raises(TypeError, match="got ndarray"):
            metric(images(2).numpy())
        assert_states(metric, states(expected))
        assert metric.update_count == expected.update_count
        for each in (metric, expected):
            each(images(3, 8))
            feed(each, images(4, 9))
        assert_states(metric, states(expected))
        assert_same(metric.compute(), expected.compute())

    def test_floats_are_images(self) -> None:
        """With normalize=True, floats in [0, 1] give exactly the states of the uint8 images they came from."""
        floats, integers = make(self.kind, normalize=True), make(self.kind)
        for real in (True, False):
            feed(floats, images(5, 2).float() / 255, real)
            feed(integers, images(5, 2), real)
        expected = states(integers)
        expected["settings"] = floats.settings
        assert_states(floats, expected)

    def test_inference_mode(self) -> None:
        """Updates, results and resets may change between inference mode and outside as a trainer does it."""
        metric = make(self.kind)
        for _ in range(2):
            with torch.inference_mode():
                metric.reset()
                feed(metric, images(6, 1), real=True)
            feed(metric, images(6, 2))
            with torch.inference_mode():
                inside = metric.compute()
            feed(metric, images(3, 2))
            outside = metric.compute()
        expected = make(self.kind)
        feed(expected, images(6, 1), real=True)
        feed(expected, images(6, 2))
        assert_same(inside, expected.compute())
        feed(expected, images(3, 2))
        assert_same(outside, expected.compute())
        metric.clone().merge_state(metric)
        metric.persistent(True)
        expected.load_state_dict(metric.state_dict())

    def test_results_are_remembered_until_something_changes(self) -> None:
        """`compute` gives its remembered result, until an update or a reset."""
        metric = filled(self.kind)
        first = metric.compute()
        assert metric.compute() is first
        feed(metric, images(5, 9))
        assert metric.compute() is not first

    def test_states_may_lie_elsewhere(self) -> None:
        """With state_device, states stay there when the metric moves to another device."""
        metric = make(self.kind, state_device="cpu").to("meta")
        assert metric.device.type == "meta"
        assert all(state.device.type == "cpu" for state in metric.metric_state.values())
        metric.reset()
        assert all(state.device.type == "cpu" for state in metric.metric_state.values())
        moved = make(self.kind).to("meta")
        assert all(state.device.type == "meta" for state in moved.metric_state.values())

    def test_wrong_options_are_refused(self) -> None:
        """Options that do not exist, or have another type, are errors."""
        with pytest.raises(ValueError, match="Unexpected keyword arguments: `binz`"):
            make(self.kind, binz=3)
        with pytest.raises(ValueError, match="normalize must be a bool, got 'yes'"):
            make(self.kind, normalize="yes")

    def test_memory_does_not_grow(self) -> None:
        """Of many updates, half of them by forward, the last third leaves nothing behind that there was not before."""
        metric = filled(self.kind)
        batch = images(4, 8, size=48)
        process = psutil.Process()

        def tensors() -> int:
            gc.collect()
            return sum(1 for found in gc.get_objects() if type(found) is Tensor)

        counts, blocks, resident = [], [], []
        gc.freeze()  # what lives already need not be looked at
        for _ in range(3):
            for _ in range(self.updates):
                feed(metric, batch.clone())
                metric(batch)
            counts.append(tensors())
            blocks.append(sys.getallocatedblocks())
            resident.append(process.memory_info().rss)
        gc.unfreeze()
        assert counts[0] == counts[1] == counts[2]
        assert blocks[2] - blocks[1] < 50  # not one Python object an update
        assert resident[2] - resident[1] < 25 * batch.nbytes  # nor one batch in two

    def test_no_graph_is_kept(self) -> None:
        """Images that need a gradient, as a generator gives them, leave no graph in states or results."""
        metric = make(self.kind, normalize=True)
        for real in (True, False):
            floats = (images(6, 1 + real).float() / 255).requires_grad_()
            feed(metric, floats * 1.0, real)
            if not real or self.kind == "range":
                metric(floats * 1.0)
        assert not any(state.requires_grad for state in metric.metric_state.values())
        result = metric.compute()
        parts = result.values() if isinstance(result, dict) else result if isinstance(result, tuple) else [result]
        assert not any(x.requires_grad for x in parts)

    def test_memory_does_not_depend_on_the_number_of_images(self) -> None:
        """States keep their size whatever was seen."""
        metric = make(self.kind)
        sizes = {name: state.shape for name, state in metric.metric_state.items()}
        for seed in range(5):
            feed(metric, images(8, seed), real=seed % 2 == 0)
        assert {name: state.shape for name, state in metric.metric_state.items()} == sizes


class DistanceContract(MetricContract):
    """Further rules for distances between real and generated images."""

    def test_forward(self) -> None:
        """`forward` gives the distance of its batch from all real images, and adds the batch once."""
        metric = filled(self.kind)
        count = metric.update_count
        found = metric(images(6, 7))
        alone = make(self.kind)
        feed(alone, images(12, 1), real=True)
        feed(alone, images(6, 7))
        assert_same(found, alone.compute())
        added = filled(self.kind)
        feed(added, images(6, 7))
        assert_states(metric, states(added))
        assert_same(metric.compute(), added.compute())
        assert metric.update_count == count + 1

    @pytest.mark.parametrize("reset_real_features", [True, False])
    def test_forward_does_not_double_real_images(self, reset_real_features: bool) -> None:
        """However often forward is called, real images count once: they are not added again with each batch."""
        metric = make(self.kind, reset_real_features=reset_real_features)
        assert metric(images(12, 1), real=True) is None
        for seed in (2, 3, 4):
            metric(images(6, seed))
        assert metric.dna(real=True).n_images == 12
        assert metric.dna().n_images == 18
        expected = make(self.kind, reset_real_features=reset_real_features)
        feed(expected, images(12, 1), real=True)
        for seed in (2, 3, 4):
            feed(expected, images(6, seed))
        assert_states(metric, states(expected))

    def test_forward_without_real_images_does_not_count(self) -> None:
        """A forward that has no real images to compare with raises, and its batch is not counted."""
        early = make(self.kind)
        with pytest.raises(ValueError, match=r"no real images yet: call update\(imgs, (labels, )?real=True\) first"):
            early(images(6, 2))
        assert (early.dna().n_images, early.update_count) == (0, 0)
        feed(early, images(12, 1), real=True)
        feed(early, images(9, 2))
        assert_same(early.compute(), filled(self.kind).compute())

    def test_no_generated_images(self) -> None:
        """Without generated images there is no distance, and the error says which side is missing."""
        metric = make(self.kind)
        feed(metric, images(12, 1), real=True)
        with pytest.raises(
            ValueError, match=r"no generated images yet: call update\(imgs, (labels, )?real=False\) first"
        ):
            metric.compute()

    def test_reset_may_keep_real_images(self) -> None:
        """`reset` forgets generated images, and real ones unless reset_real_features=False."""
        for kept in (True, False):
            metric = filled(self.kind, reset_real_features=not kept)
            metric.reset()
            assert metric.dna().n_images == 0
            assert metric.dna(real=True).n_images == (12 if kept else 0)
        with pytest.raises(ValueError, match="reset_real_features must be a bool, got 1"):
            make(self.kind, reset_real_features=1)

    @pytest.mark.parametrize("given", ["dna", "path", "text"])
    def test_a_reference_stands_for_real_images(self, given: str, tmp_path: Path) -> None:
        """A reference, as a DNA, a path or a text, gives the distance that the real images themselves give."""
        whole = filled(self.kind)
        metric = make(self.kind, reference=reference_of(whole, given, tmp_path))
        feed(metric, images(9, 2))
        assert_same(metric.compute(), whole.compute(), rtol=1e-6, atol=1e-7)
        metric.reset()
        assert metric.dna(real=True).n_images == 12
        feed(metric, images(9, 2))
        assert_same(metric.compute(), whole.compute(), rtol=1e-6, atol=1e-7)
        assert "real_state" not in metric.metric_state
        assert_same(metric(images(9, 2)), whole.compute(), rtol=1e-6, atol=1e-7)

    def test_real_images_beside_a_reference_are_refused(self) -> None:
        """Real images for a metric that has a reference are an error that says why, in update and forward."""
        metric = make(self.kind, reference=filled(self.kind).dna(real=True))
        for call in (metric.update, metric):
            with pytest.raises(ValueError, match=r"the real side .* is its references?, .*of \d+ images"):
                call(images(4), real=True)

    def test_a_reference_of_another_network_is_refused(self) -> None:
        """A reference of another network is refused when the metric is built, showing both."""
        dna = filled(self.kind).dna(real=True)
        with pytest.raises(ValueError, match=r"not made with this extractor: weights differ: \w+ \w{12}, \w+ \w{12}"):
            make(self.kind, Network(seed=1), reference=dna)

    def test_a_reference_of_another_kind_is_refused(self) -> None:
        """A reference of another kind of DNA is refused when the metric is built, naming both kinds."""
        wrong = "nfd" if make(self.kind).kind == "histogram" else "emd"
        if self.kind == "fid":
            dna = NeuronFrechetDistance(make("fid").extractor)
            feed(dna, images(5))
            reference = dna.dna()
        else:
            reference = filled(wrong).dna()
        needed = make(self.kind).kind
        with pytest.raises(ValueError, match=rf"the reference is a \w+ DNA, \w+ needs a {needed} DNA"):
            make(self.kind, reference=reference)

    def test_a_reference_without_images_is_refused(self) -> None:
        """A reference that has seen too little is refused when the metric is built."""
        with pytest.raises(ValueError, match=r"the reference has 0 images, \w+ needs at least [12]"):
            make(self.kind, reference=make(self.kind).dna())

    def test_dnas_are_given_out(self) -> None:
        """dna() gives either side at any time, as a value of its own."""
        metric = filled(self.kind)
        dna = metric.dna()
        assert (dna.kind, dna.n_images, metric.dna(real=True).n_images) == (metric.kind, 9, 12)
        before = dna.distribution.state.clone()
        feed(metric, images(3, 8))
        assert torch.equal(dna.distribution.state, before)
        assert (dna + metric.dna()).n_images == 9 + 12

    def test_plot(self) -> None:
        """A result, several, or the metric itself are drawn on a figure."""
        import matplotlib.pyplot as plt

        metric = filled(self.kind)
        for drawn in (metric.plot(), metric.plot([metric(images(6, 3)), metric(images(6, 4))])):
            assert isinstance(drawn[0], plt.Figure)
            assert isinstance(drawn[1], plt.Axes)
        _, axes = plt.subplots()
        assert metric.plot(metric.compute(), axes)[1] is axes
        assert metric.plot_lower_bound == 0.0
        plt.close("all")

    def test_results_have_the_dtype_that_is_set(self) -> None:
        """set_dtype(float64) gives results in float64, of which the default's are the rounding."""
        metric = filled(self.kind)
        default = number(metric.compute())
        before = states(metric)
        assert default.dtype == (torch.float64 if self.kind == "fid" else torch.float32)  # as its features
        double = number(metric.set_dtype(torch.float64).compute())
        assert double.dtype == torch.float64
        assert torch.equal(double.to(default.dtype), default)
        assert_states(metric, before)

    def test_tracker(self) -> None:
        """MetricTracker keeps an epoch's result, and the lowest is the best."""
        tracker = MetricTracker(filled(self.kind, generated=0), maximize=None)
        for seed in (2, 3, 4):
            tracker.increment()
            feed(tracker, images(12, 1), real=True)
            feed(tracker, images(9, seed))
        results = tracker.compute_all()
        best, step = tracker.best_metric(return_step=True)
        assert results.shape == (3,)
        assert best == results.min()
        assert step == int(results.argmin())

    def test_bootstrapper(self) -> None:
        """BootStrapper gives the spread of resampled images, through one network."""
        bootstrap = BootStrapper(make(self.kind), num_bootstraps=4, raw=True)
        assert len({id(metric.extractor) for metric in bootstrap.metrics}) == 1
        feed(bootstrap, images(20, 1), real=True)
        feed(bootstrap, images(20, 2))
        result = bootstrap.compute()
        assert result["raw"].unique().numel() == 4
        assert result["std"] > 0

    def test_distance_from_oneself(self) -> None:
        """The same images on both sides are at no distance, and sides may be exchanged."""
        # Other units are relative to the first side where histograms find their own ranges; an unbiased distance from
        # oneself is below 0.
        options = {"auto": {"unit": "activation"}, "kid": {"biased": True}}.get(self.kind, {})
        metric, swapped = make(self.kind, **options), filled(self.kind, **options)
        for real in (True, False):
            feed(metric, images(12, 1), real=real)
        scale = float(number(swapped.compute()))
        assert 0 <= float(number(metric.compute())) <= 1e-6 * scale
        exchanged = make(self.kind, **options)
        feed(exchanged, images(12, 1))
        feed(exchanged, images(9, 2), real=True)
        assert_same(exchanged.compute(), swapped.compute())


# --------------------------------------------------------------------------------------------------- several processes
_SEEN = ({"real": (5, 4), "generated": (3,)}, {"real": (2,), "generated": (6, 1)})


def batches(rank: int) -> list[tuple[Tensor, bool]]:
    """The batches of one rank, in unequal numbers and sizes."""
    return [
        (images(n, 10 * rank + 3 * i + real), real)
        for side, real in (("real", True), ("generated", False))
        for i, n in enumerate(_SEEN[rank][side])
    ]


def _fed(kind: str, rank: int, **options: Any) -> Metric:
    metric = make(kind, **options)
    for batch, real in batches(rank):
        feed(metric, batch, real)
    return metric


def single_process(kind: str, ranks: tuple[int, ...] = (0, 1)) -> Metric:
    """A metric that has seen the images of several ranks by itself."""
    metric = make(kind)
    for rank in ranks:
        for batch, real in batches(rank):
            feed(metric, batch, real)
    return metric


def _observe_rank(rank: int, kind: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    metric = _fed(kind, rank)
    seen["local"] = states(metric)
    seen["value"] = metric.compute()
    seen["after compute"] = states(metric)
    counted = _fed(kind, rank)
    counted.add_state("seen", torch.tensor(rank + 1), dist_reduce_fx="sum")  # as a subclass may
    with counted.sync_context():
        seen["a further state"] = int(counted.seen)
    metric.sync()
    seen["synced"] = states(metric)
    metric.unsync()
    seen["after unsync"] = states(metric)
    feed(metric, images(2, 30 + rank))
    seen["later value"] = metric.compute()
    calls: Counter[str] = Counter()
    with counted_collectives(calls):
        metric.sync()
    metric.unsync()
    seen["collectives"] = dict(calls)
    seen["unsynced value"] = _fed(kind, rank, sync_on_compute=False).compute()
    seen["gathered value"] = _fed(kind, rank, dist_sync_fn=lambda x, group=None: gather_all_tensors(x, group)).compute()
    idle = make(kind) if rank else _fed(kind, 0)
    seen["value with an idle rank"] = idle.compute()
    stepped = _fed(kind, rank, dist_sync_on_step=True)
    seen["synced forward"] = stepped(images(4, 40 + rank))
    seen["after synced forward"] = states(stepped)
    if kind == "range":
        seen["ranges"] = _fed(kind, rank).ranges(widen="none")
    if kind not in DISTANCES:
        return seen
    if not rank:
        seen["forward"] = idle(images(4, 40))
    empty = make(kind)
    feed(empty, images(2 + rank, 50))
    before = states(empty)
    try:
        empty.compute()
    except ValueError as error:
        seen["error"] = str(error)
    seen["kept after an error"] = all(torch.equal(before[name], state) for name, state in states(empty).items())
    feed(empty, images(3, 60 + rank), real=True)
    seen["value after an error"] = empty.compute()
    group = MetricCollection({"a": _fed(kind, rank), "b": _fed(kind, rank)})
    group.update(images(2, 30 + rank), real=False)
    seen["collection"] = group.compute()
    seen["after collection"] = [states(each) for each in group.values(copy_state=False)]
    group = MetricCollection({"a": make(kind), "b": make(kind)})
    for batch, real in batches(0) * (not rank):
        group.update(batch, real=real)
    seen["collection with an idle rank"] = group.compute()
    return seen


def observe_kinds(rank: int) -> dict[str, Any]:
    """One of two processes: what it sees of every kind of metric."""
    return {kind: _observe_rank(rank, kind) for kind in (*DISTANCES, "vendi", "range")}


@contextmanager
def counted_collectives(calls: Counter[str]) -> Iterator[None]:
    """Count calls of torch.distributed's collectives, by name."""
    kept = {name: getattr(dist, name) for name in ("all_reduce", "all_gather", "barrier", "broadcast")}

    def counting(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return kept[name](*args, **kwargs)

        return call

    for name in kept:
        setattr(dist, name, counting(name))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(dist, name, function)


WORLDS = (1, 2, 4, 8)
SHARDED = 24  # images, which the ranks of each world share


def observe_worlds(rank: int) -> dict[str, Any]:
    """One of eight processes: metrics over the last 1, 2, 4 and 8 of them, by process_group."""
    seen: dict[str, Any] = {"sharded": {}, "cost": {}}
    groups = {world: dist.new_group(range(8 - world, 8)) for world in WORLDS}
    for world, group in groups.items():
        place = rank - (8 - world)
        if place >= 0:
            for kind in DISTANCES:
                metric = make(kind, process_group=group)
                for seed, real in ((1, True), (2, False)):
                    for batch in images(SHARDED, seed)[place::world].split(1 + place):
                        feed(metric, batch, real)
                with metric.sync_context():
                    seen["sharded"][kind, world] = states(metric)
            seen["cost"][world] = _cost_of_sync(group)
        dist.barrier()
    return seen


def _cost_of_sync(group: Any) -> dict[str, Any]:
    """Bytes received and peak memory of a synchronisation, ours and torchmetrics' own, on the same states."""
    metric = make("emd", bins=75_000, process_group=group)
    feed(metric, images(2, 1))
    cost: dict[str, Any] = {"state": sum(state.nbytes for state in metric.metric_state.values())}
    synced = []
    ways: dict[str, Any] = {"ours": None, "theirs": lambda x, group=None: gather_all_tensors(x, group)}
    for name, way in ways.items():
        calls: Counter[str] = Counter()
        dist.barrier(group=group)
        received, resident = _received(), _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        with counted_collectives(calls):
            metric.sync(dist_sync_fn=way)
        peak = _memory("VmHWM") - resident
        cost[name] = {"received": _received() - received, "peak": peak, "calls": dict(calls)}
        synced.append(states(metric))
        metric.unsync()
    cost["equal"] = all(torch.equal(synced[0][name], synced[1][name]) for name in synced[0])
    return cost


def _received() -> int:
    """Bytes that this process's TCP connections have received (Linux)."""
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the folder's own descriptor is closed by now
            if not os.readlink(entry).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                if connection.type == socket.SOCK_STREAM and connection.family in (socket.AF_INET, socket.AF_INET6):
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
                    total += int.from_bytes(info[128:136], sys.byteorder)  # tcpi_bytes_received
    return total


def _memory(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{what}:")[1].split()[0])


def observe_trained(rank: int) -> float:
    """What a metric says of a network that was trained after it was built, where only the first rank has images."""
    network = Network()
    metric = make("nfd", network=network)
    network.load_state_dict(Network(seed=3).state_dict())
    for real in () if rank else (True, False):
        metric.update(images(4, int(real)), real=real)
    return float(metric.compute())


def observe_unlike(rank: int) -> str:
    """What a metric says on ranks whose networks' weights differ."""
    return _observe(Network(seed=rank))


def observe_forwards(rank: int) -> str:
    """What a metric says on ranks whose networks' forwards differ, and their weights do not."""
    return _observe((Network, Bent)[rank]())


def _observe(network: nn.Module) -> str:
    metric = make("nfd", network=network)
    for real in (True, False):
        metric.update(images(4, int(real)), real=real)
    try:
        return str(metric.compute())
    except RuntimeError as error:
        return str(error)


def run_ranks(observe: Callable[[int], Any], ranks: int) -> list[Any]:
    """What a function of the rank returns on each of several processes that are joined by gloo."""
    # Each of them is forked from one that has imported torch, which takes longer than all that they do.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "torchmetrics"])
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(
            _run_rank, (observe, ranks, folder), nprocs=ranks, start_method="forkserver"
        )
        return [pickle.loads(Path(folder, f"{rank}.pickle").read_bytes()) for rank in range(ranks)]


def _run_rank(rank: int, observe: Callable[[int], Any], ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":
        # Large tensors are mapped and unmapped one by one, so that memory tells what is held.
        ctypes.CDLL(None).mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=ranks,
        timeout=datetime.timedelta(seconds=600),
    )
    Path(folder, f"{rank}.pickle").write_bytes(pickle.dumps(observe(rank)))
    dist.barrier()
    dist.destroy_process_group()
