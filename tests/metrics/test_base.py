"""What all metrics share."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from helpers.commands import small_images, write_folder
from helpers.dnas import assert_same_state
from helpers.metric_tester import (
    DISTANCES,
    LAYERS,
    NETWORK,
    OF_FEATURES,
    RANGES,
    SHARDED,
    WORLDS,
    DistanceContract,
    MetricContract,
    Network,
    assert_same,
    assert_states,
    batches,
    feed,
    filled,
    images,
    make,
    observe_kinds,
    observe_worlds,
    run_ranks,
    single_process,
    states,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import BootStrapper, FeatureShare

from vdna_metrics import (
    ActivationRange,
    LayerFrechetDistance,
    NeuronFrechetDistance,
    VDNAEarthMoversDistance,
    compare,
    create_extractor,
    metrics,
)

# Small batches have singular covariances; the warning has tests of its own.


class TestVDNAEarthMoversDistance(DistanceContract):
    """The contract."""

    kind = "emd"


class TestHistogramsThatFindTheirOwnRanges(DistanceContract):
    kind = "auto"


class TestNeuronFrechetDistance(DistanceContract):
    kind = "nfd"


class TestLayerFrechetDistance(DistanceContract):
    kind = "lfd"


class TestFrechetInceptionDistance(DistanceContract):
    kind = "fid"


class TestNeuronWassersteinDistance(DistanceContract):
    kind = "nwd"
    updates = 8


class FeatureContract(DistanceContract):
    """What is kept of features grows, up to a bound."""

    updates = 8

    def test_memory_does_not_depend_on_the_number_of_images(self) -> None:
        """Features of three times the sample at most are held, and two words for each different image."""
        metric = make(self.kind, feature_images=4)
        head = 8 * (3 + len(metric.layout))
        for n in range(1, 8):
            for real in (True, False):
                feed(metric, images(4, n), real)
            for state in (metric.real_state, metric.generated_state):
                assert state.nbytes <= head + 16 * 4 * n + metric._empty.largest_nbytes


class TestSlicedWassersteinDistance(FeatureContract):
    kind = "swd"


class TestKernelDistance(FeatureContract):
    """Of two numbers, which torchmetrics' wrappers take no more than those of its own KID."""

    kind = "kid"

    def test_tracker(self) -> None:
        """MetricTracker keeps an epoch's pair; there is no best one."""
        tracker = MetricTracker(filled(self.kind, generated=0), maximize=None)
        for seed in (2, 3):
            tracker.increment()
            feed(tracker, images(12, 1), real=True)
            feed(tracker, images(9, seed))
        assert [len(pair) for pair in tracker.compute_all()] == [2, 2]

    def test_bootstrapper(self) -> None:
        """BootStrapper says that it needs one number."""
        bootstrap = BootStrapper(make(self.kind), num_bootstraps=2, raw=True)
        feed(bootstrap, images(12, 1), real=True)
        feed(bootstrap, images(12, 2))
        with pytest.raises(TypeError, match="expected Tensor"):
            bootstrap.compute()


class TestClassConditionalDistance(DistanceContract):
    """Of two classes; results are mappings, which torchmetrics' `BootStrapper` does not take."""

    kind = "classes"
    updates = 8
    test_bootstrapper = None

    def test_tracker(self) -> None:
        """MetricTracker keeps an epoch's results."""
        tracker = MetricTracker(filled(self.kind, generated=0), maximize=None)
        for seed in (2, 3):
            tracker.increment()
            feed(tracker, images(12, 1), real=True)
            feed(tracker, images(9, seed))
        kept = {name: len(each) for name, each in tracker.compute_all().items()}
        assert kept == {"mean": 2, "worst": 2, "worst_class": 2, "imbalance": 2}


class TestVendiScore(MetricContract):
    """It has no real side."""

    kind = "vendi"
    updates = 8


class TestActivationRange(MetricContract):
    kind = "range"


def test_every_metric_is_held_to_the_contract() -> None:
    """A new metric does not go without it."""
    abstract = {
        metrics.DistanceMetric, metrics.GaussianDistanceMetric, metrics.HistogramDistanceMetric,
        metrics.FeatureDistanceMetric,
    }  # fmt: skip
    of_others = {metrics.FrechetDistanceRatio, metrics.FrechetNormaliser}  # its parts are held to it
    without_labels = {DISTANCES["classes"]: metrics.ClassConditionalDistance}
    held = {without_labels.get(each, each) for each in DISTANCES.values()}
    alike = {  # in all but their last step, as are those of `DISTANCES`
        metrics.DensityCoverage, metrics.ImprovedPrecisionRecall, metrics.InceptionScore,
        metrics.KernelInceptionDistance, metrics.MongeInceptionDistance,
    }  # fmt: skip
    assert all(issubclass(each, metrics.FeatureDistanceMetric) for each in alike)
    assert held | {ActivationRange, metrics.VendiScore} | abstract | of_others | alike == {
        getattr(metrics, name) for name in metrics.__all__
    }


# ------------------------------------------------------------------------------------------------- one network for all
def _three() -> dict[str, Any]:
    return {kind: make(kind) for kind in ("emd", "nfd", "lfd")}


def _alone(metrics: dict[str, Any], reals: torch.Tensor, fakes: torch.Tensor) -> dict[str, torch.Tensor]:
    results = {}
    for kind in metrics:
        metric = make(kind)
        feed(metric, reals.clone(), real=True)
        feed(metric, fakes.clone())
        results[kind] = metric.compute()
    return results


@pytest.mark.parametrize("wrapper", [MetricCollection, FeatureShare])
def test_metrics_of_one_collection_run_the_network_once(wrapper: type[MetricCollection], forwards: list[int]) -> None:
    """Three metrics of one network run it once a batch, in a collection and under FeatureShare."""
    collection = wrapper(_three())
    reals, fakes = images(12, 1), images(9, 2)
    for n, (batch, real) in enumerate([(reals, True), (fakes, False)], 1):
        collection.update(batch, real=real)
        assert forwards == [n]
    assert_same(collection.compute(), _alone(_three(), reals, fakes))
    forwards[0] = 0
    batch = collection(images(6, 3), real=False)
    assert forwards == [1]
    assert_same(batch, _alone(_three(), reals, images(6, 3)))


def test_metrics_of_one_name_run_one_network() -> None:
    """Metrics that are given the same name, spec or weights file share one network, which runs once a batch."""
    metrics = [
        NeuronFrechetDistance("seeded_resnet18", layers=["layer1_0"]),
        LayerFrechetDistance("seeded_resnet18", layers=["layer1_0", "layer1_1"]),
        ActivationRange("seeded_resnet18"),
    ]
    network = metrics[0].extractor.network
    assert all(metric.extractor.network is network for metric in metrics)
    count = [0]
    network.conv1.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    collection = MetricCollection({str(i): metric for i, metric in enumerate(metrics)})
    collection.update(images(2, 1, size=32), real=True)
    assert count == [1]


@pytest.mark.parametrize("wrapper", [MetricCollection, FeatureShare])
@pytest.mark.parametrize("through", ["torch", "numpy"])
def test_a_buffer_filled_again_is_a_new_batch(wrapper: type[MetricCollection], through: str) -> None:
    """One buffer reused for every batch is never taken for the batch before, whoever fills it."""
    collection = wrapper(_three())
    collection.update(images(12, 1), real=True)
    buffer = images(9, 2)
    collection["emd"].update(buffer)  # so that not everybody has seen what was in it
    collection["emd"].reset()
    feed(collection["emd"], images(12, 1), real=True)
    if through == "torch":
        buffer.copy_(images(9, 5))
    else:
        buffer.numpy()[...] = images(9, 5).numpy()
    collection.update(buffer, real=False)
    assert_same(collection.compute(), _alone(_three(), images(12, 1), images(9, 5)))


def test_inference_tensors_are_right_for_all() -> None:
    """Images made under inference mode give every metric of a collection its own right result."""
    collection = MetricCollection(_three())
    with torch.inference_mode():
        buffer = images(12, 1)
        collection.update(buffer, real=True)
        buffer[:9].copy_(images(9, 2))
        collection.update(buffer[:9], real=False)
    assert_same(collection.compute(), _alone(_three(), images(12, 1), images(9, 2)))


@pytest.mark.filterwarnings("ignore:The network to share between the metrics is not the same:UserWarning")
def test_metrics_of_other_networks_keep_their_own() -> None:
    """FeatureShare over metrics of different networks, of which torchmetrics warns, still gives each its own result."""
    other = Network(seed=1)
    share = FeatureShare({"a": make("nfd"), "b": NeuronFrechetDistance(other, layers=LAYERS)})
    alone = NeuronFrechetDistance(other, layers=LAYERS)
    for each in (share, alone):
        each.update(images(12, 1), real=True)
        each.update(images(9, 2), real=False)
    assert_same(share.compute()["b"], alone.compute())


def test_kept_activations_are_freed_after_the_last_metric() -> None:
    """Activations kept for the other metrics of a collection are gone when the last one has read them."""
    extractor = create_extractor(Network(), layers=LAYERS)
    metrics = [NeuronFrechetDistance(extractor), LayerFrechetDistance(extractor)]
    batch = images(4)
    metrics[0].update(batch)
    assert extractor._kept is not None
    kept = weakref.ref(extractor._kept.activations["conv"])
    metrics[1].update(batch)
    gc.collect()
    assert kept() is None


def test_a_metric_that_is_gone_is_not_waited_for() -> None:
    """A deleted metric gives up its claim, so that a lone metric keeps no activations."""
    extractor = create_extractor(Network(), layers=LAYERS)
    metric, other = NeuronFrechetDistance(extractor), NeuronFrechetDistance(extractor, layers=["conv"])
    del other
    gc.collect()
    batch = images(4)
    metric.update(batch)
    assert extractor._kept is None


# ------------------------------------------------------------------------------------------------------ compute groups
def test_metrics_that_differ_in_their_result_only_share_states() -> None:
    """Metrics of equal states form one compute group, and still count every batch once, by update and by forward."""
    collection = MetricCollection({"bins": make("emd"), "range": make("emd", unit="range", reduction="layer")})
    single = make("emd")
    for n, (batch, real) in enumerate([(images(5, 1), True), (images(4, 2), False), (images(7, 3), True)]):
        if n < 2:
            collection.update(batch, real=real)
        else:
            collection(batch, real=real)
        feed(single, batch, real)
    assert len(collection.compute_groups) == 1
    collection(images(6, 4))
    collection.update(images(2, 5))
    for batch in (images(6, 4), images(2, 5)):
        feed(single, batch)
    for metric in collection.values():
        assert_states(metric, states(single))
    assert_same(collection.compute()["bins"], single.compute())


def test_a_group_keeps_its_real_images() -> None:
    """Metrics of one compute group keep real images over resets, each time anew, and count them once."""
    options = [{}, {"unit": "range"}]
    collection = MetricCollection(
        {str(i): make("emd", reset_real_features=False, **option) for i, option in enumerate(options)}
    )
    collection.update(images(12, 1), real=True)
    for _ in range(3):
        collection.update(images(9, 2), real=False)
        for found, option in zip(collection.compute().values(), options, strict=True):
            assert_same(found, filled("emd", **option).compute())
        collection.reset()
        assert [metric.dna(real=True).n_images for metric in collection.values()] == [12, 12]
    assert len(collection.compute_groups) == 1


@pytest.mark.parametrize("first", [0, 8], ids=["empty first batch", "first batch"])
def test_metrics_of_other_settings_never_share_states(first: int) -> None:
    """Metrics whose states differ in meaning are never grouped, even while their states look alike."""
    groups = {
        "histograms": make("emd"),
        "other ranges": make("emd", ranges=replace(RANGES, widen="margin")),
        "kept": make("emd", reset_real_features=False),
        "first neurons": make("nfd", neurons={"conv": [0, 1], "last": [0]}),
        "other neurons": make("nfd", neurons={"conv": [2, 3], "last": [0]}),
        "no reference": make("nfd"),
        "a reference": make("nfd", reference=filled("nfd").dna(real=True)),
        "range": make("range"),
        "range of a twin": ActivationRange(Network(seed=1), layers=LAYERS),
        "fid": make("fid"),
        "lfd of the last": make("lfd", layers=["last"]),
    }
    collection = MetricCollection(groups)
    collection.update(images(first, 5), real=False)
    assert sorted(collection.compute_groups.values()) == [[name] for name in sorted(groups)]


@pytest.mark.parametrize("kind", [*(kind for kind in DISTANCES if kind != "fid"), "range"])
@pytest.mark.parametrize("option", ["compile", "channels_last"])
def test_options_of_the_extractor_need_not_agree(kind: str, option: Literal["compile", "channels_last"]) -> None:
    """States made with another option of the extractor are merged and loaded, but metrics of both stay two."""
    metric = filled(kind)
    metric.persistent(True)
    loaded, merged = (make(kind, create_extractor(Network(), layers=LAYERS, **{option: True})) for _ in range(2))
    own = loaded.settings.clone()
    loaded.load_state_dict(metric.state_dict())
    merged.merge_state(metric)
    for other in (loaded, merged):
        assert torch.equal(other.settings, own)
        assert not torch.equal(metric.settings, own)
        assert_states(other, {**states(metric), "settings": own})
        assert_same(other.compute(), metric.compute())
    metric.merge_state(merged)
    metric.load_state_dict({name: state for name, state in merged.metric_state.items()})


def test_sums_know_nothing_of_a_reference() -> None:
    """Metrics of several references share and merge states; one without a reference has another side to keep."""
    one, other = (filled("nfd", seed=seed).dna(real=True) for seed in (1, 3))
    of_one, of_other, of_none = (make("nfd", reference=reference) for reference in (one, other, None))
    collection = MetricCollection({"one": of_one, "other": of_other})
    collection.update(images(9, 2))
    assert list(collection.compute_groups.values()) == [["one", "other"]]
    for name, reference in (("one", one), ("other", other)):
        expected = make("nfd", reference=reference)
        feed(expected, images(9, 2))
        assert_same(collection.compute()[name], expected.compute())
    with pytest.raises(ValueError, match=r"another extractor, layers, .* reference"):
        of_one.merge_state(of_none)


# --------------------------------------------------------------------------------------------------------- references
@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one reference of each kind for the small network, and its ranges."""
    from vdna_metrics.references import add_ranges, add_reference, store as module

    made = module.ReferenceStore(str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"schema": 2, "references": [], "ranges": []}')
    monkeypatch.setattr(module, "bundled_store", lambda: made)
    for kind in ("emd", "nfd", "lfd"):
        add_reference(filled(kind, reference=None).dna(real=True), made, dataset="noise", split="train")
    add_ranges(RANGES, made, extractor=make("emd").extractor_name)
    return tmp_path


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd"])
@pytest.mark.parametrize("name", ["noise/train", "noise", "Noise/Train"])
def test_a_reference_may_be_a_name_of_the_store(kind: str, name: str, store: Path) -> None:
    """A name of the store stands for the reference of the metric's own network and kind."""
    metric = make(kind, reference=name)
    feed(metric, images(9, 2))
    assert_same(metric.compute(), filled(kind).compute(), rtol=1e-6, atol=1e-7)


def test_unknown_names_of_the_store_are_refused(store: Path) -> None:
    """A name that is not in the store is an error when the metric is built."""
    with pytest.raises(ValueError, match="no file, folder or reference 'nois'; did you mean 'noise/train'"):
        make("nfd", reference="nois")


def test_images_are_no_reference(tmp_path: Path) -> None:
    """A folder of images is told how it becomes a reference, without names that it has nothing to do with."""
    write_folder(tmp_path / "real", small_images(2, 0))
    with pytest.raises(ValueError, match=r"real has images and no DNA; `vdna-metrics make` makes one of images$"):
        make("nfd", reference=tmp_path / "real")


def test_ranges_that_ship_are_found(store: Path) -> None:
    """Without ranges, those of the store for this extractor are taken."""
    metric = VDNAEarthMoversDistance(NETWORK, layers=LAYERS, bins=40)
    feed(metric, images(12, 1), real=True)
    feed(metric, images(9, 2))
    assert_same(metric.compute(), filled("emd").compute())


def test_a_missing_reference_file_is_named(tmp_path: Path) -> None:
    """A path that is not there is an error that names it, for a Path and a text."""
    for path in (tmp_path / "real.npz", str(tmp_path / "real.npz")):
        with pytest.raises(ValueError, match=r"no file, folder or reference '.*real\.npz'"):
            make("nfd", reference=path)


def test_a_whole_reference_serves_a_part() -> None:
    """A reference of all layers and neurons serves a metric of some; one of some does not serve a metric of all."""
    whole = filled("nfd")
    chosen = {"conv": [3, 1]}
    part = make("nfd", reference=whole.dna(real=True), layers=["conv"], neurons=chosen)
    feed(part, images(9, 2))
    expected = compare.neuron_frechet(whole.dna(real=True), whole.dna(), neurons=chosen)
    assert_same(part.compute(), expected.float())
    with pytest.raises(ValueError, match=r"does not fit the metric: .* layer 'conv' differ: reference 2, metric 4"):
        make("nfd", reference=part.reference, layers=["conv"])
    with pytest.raises(ValueError, match="layers: unknown layer 'last'"):
        make("nfd", reference=part.reference)


def test_the_diagonal_of_a_layer_gaussian_is_a_gaussian_reference() -> None:
    """A layer Gaussian serves as the reference of the neuron Fréchet distance."""
    metric = make("nfd", reference=filled("lfd").dna(real=True))
    feed(metric, images(9, 2))
    assert_same(metric.compute(), filled("nfd").compute())


# ------------------------------------------------------------------------------------------------------------- several
@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    """What each of two processes saw, see `observe_kinds`."""
    return run_ranks(observe_kinds, 2)


def _assert_equal_states(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        if state.dtype == torch.float64:
            torch.testing.assert_close(found[name], state, rtol=1e-12, atol=1e-9)
        else:
            assert torch.equal(found[name], state), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*DISTANCES, "vendi", "range"])
class TestTwoProcesses:
    """Two processes over gloo, one with more and larger batches than the other."""

    def test_states_reduce_to_a_single_process(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """Synced states are those of one process that saw all images: counts and extremes bit for bit."""
        single = single_process(kind)
        for seen in ranks:
            _assert_equal_states(seen[kind]["synced"], states(single))
            assert_same(seen[kind]["value"], single.compute())

    def test_local_states_come_back(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """After compute and unsync every process has its own states again, and goes on from them."""
        for rank, seen in enumerate(ranks):
            alone = single_process(kind, (rank,))
            for moment in ("local", "after compute", "after unsync"):
                _assert_equal_states(seen[kind][moment], states(alone))
        single = single_process(kind)
        for rank in range(2):
            feed(single, images(2, 30 + rank))
        for seen in ranks:
            assert_same(seen[kind]["later value"], single.compute())

    def test_a_process_may_have_seen_nothing(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """A process without any images gets the result of the others."""
        for seen in ranks:
            assert_same(seen[kind]["value with an idle rank"], single_process(kind, (0,)).compute())

    def test_local_results_on_request(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """With sync_on_compute=False every process gives its own result."""
        for rank, seen in enumerate(ranks):
            assert_same(seen[kind]["unsynced value"], single_process(kind, (rank,)).compute())

    def test_torchmetrics_gathering_agrees(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """A dist_sync_fn of the user's own, such as torchmetrics' gathering, gives the same."""
        for seen in ranks:
            assert_same(seen[kind]["gathered value"], single_process(kind).compute())

    def test_states_of_subclasses_are_reduced(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """A state that a subclass adds is reduced as it says, in torchmetrics' way."""
        assert [seen[kind]["a further state"] for seen in ranks] == [1 + 2] * 2

    def test_one_collective_for_all_states(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """Both sides are reduced in one call, after a small one of settings; moments agree on a centre in one more.

        Calibration has a minimum, a maximum and a sum. Features of each side have images, lengths, hashes and rows.
        """
        for seen in ranks:
            expected = {"all_reduce": {"range": 4, "emd": 2, "vendi": 2, "classes": 2}.get(kind, 3)}
            if kind in OF_FEATURES:
                expected = {"all_reduce": 1 + 2 * 3, "all_gather": 2}
            assert seen[kind]["collectives"] == expected

    def test_forward_may_sync(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """With dist_sync_on_step, `forward` gives the result of all processes' batches, and local states stay local."""
        together = make(kind)
        for rank in range(2):
            for batch, real in batches(rank):
                if real and kind != "range":
                    feed(together, batch, real)
            feed(together, images(4, 40 + rank))
        for rank, seen in enumerate(ranks):
            assert_same(seen[kind]["synced forward"], together.compute())
            alone = single_process(kind, (rank,))
            feed(alone, images(4, 40 + rank))
            _assert_equal_states(seen[kind]["after synced forward"], states(alone))


@pytest.mark.slow
def test_calibrated_ranges_cover_all_processes(ranks: list[dict[str, Any]]) -> None:
    """ranges() gives every process the extremes and the number of images of all."""
    expected = single_process("range").ranges(widen="none")
    for seen in ranks:
        assert seen["range"]["ranges"].equals(expected)
        assert seen["range"]["ranges"].n_images == expected.n_images


def _result_of(name: str, results: dict[str, Any]) -> Any:
    """What a metric of a collection gave; a mapping's results are under names of their own there."""
    own = {key.removeprefix(f"{name}_"): value for key, value in results.items() if key.startswith(f"{name}_")}
    return own or results[name]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*DISTANCES])
class TestDistancesOfTwoProcesses:
    """Two processes, for what only distances do."""

    def test_forward_is_local(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """`forward` gives the distance of the process's own batch."""
        local = make(kind)
        for batch, real in batches(0):
            if real:
                feed(local, batch, real)
        feed(local, images(4, 40))
        assert_same(ranks[0][kind]["forward"], local.compute())

    def test_an_error_leaves_local_states(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """A compute that fails after the states were reduced gives the local ones back, and the next one works."""
        single = make(kind)
        for rank in range(2):
            feed(single, images(2 + rank, 50))
            feed(single, images(3, 60 + rank), real=True)
        for seen in ranks:
            assert "no real images yet" in seen[kind]["error"]
            assert seen[kind]["kept after an error"]
            assert_same(seen[kind]["value after an error"], single.compute())

    def test_compute_groups_are_reduced_once(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """Metrics that share states in a collection reduce them without spoiling each other's."""
        single = single_process(kind)
        for rank in range(2):
            feed(single, images(2, 30 + rank))
        for rank, seen in enumerate(ranks):
            alone = single_process(kind, (rank,))
            feed(alone, images(2, 30 + rank))
            for name in ("a", "b"):
                assert_same(_result_of(name, seen[kind]["collection"]), single.compute())
            for found in seen[kind]["after collection"]:
                _assert_equal_states(found, states(alone))

    def test_a_collection_that_has_seen_nothing(self, kind: str, ranks: list[dict[str, Any]]) -> None:
        """A process whose collection saw no images, so that it never grouped its metrics, gets the others' results."""
        for seen in ranks:
            for name in ("a", "b"):
                found = _result_of(name, seen[kind]["collection with an idle rank"])
                assert_same(found, single_process(kind, (0,)).compute())


# -------------------------------------------------------------------------------------------------- up to eight of them
@pytest.fixture(scope="module")
def worlds() -> list[dict[str, Any]]:
    """What each of eight processes saw, see `observe_worlds`."""
    return run_ranks(observe_worlds, 8)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", DISTANCES)
def test_any_number_of_processes_gives_the_same(kind: str, world: int, worlds: list[dict[str, Any]]) -> None:
    """Images shared among 1, 2, 4 or 8 processes, a process_group, give the same counts, and moments to 1e-12."""
    single = make(kind)
    for seed, real in ((1, True), (2, False)):
        feed(single, images(SHARDED, seed), real)
    for seen in worlds[-world:]:
        found = make(kind)
        for name, state in seen["sharded"][kind, world].items():
            setattr(found, name, state)
        for real in (True, False):
            assert_same_state(found.dna(real).distribution, single.dna(real).distribution)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own counts of bytes")
def test_synchronising_costs_the_same_on_more_processes(worlds: list[dict[str, Any]]) -> None:
    """However many: one more state of memory and two received; torchmetrics' default takes one from every rank."""
    for world in WORLDS[1:]:
        for seen in worlds[-world:]:
            cost = seen["cost"][world]
            ours, theirs, state = cost["ours"], cost["theirs"], cost["state"]
            assert cost["equal"]
            assert (ours["calls"], theirs["calls"]) == ({"all_reduce": 2}, {"barrier": 3, "all_gather": 6})
            assert ours["received"] < 2.1 * state
            assert ours["peak"] < 1.5 * state
            assert theirs["received"] > 0.95 * (world - 1) * state
            assert theirs["peak"] > world * state


# --------------------------------------------------------------------------------------------------------- accelerators
_WAYS: dict[str, Callable[[str], dict[str, Any]]] = {
    "plain": lambda _: {},
    "floats": lambda _: {"normalize": True},
    "reference": lambda kind: {"reference": filled(kind).dna(real=True)},
    "positions": lambda _: {"max_positions": 7},
}
_UPDATES = [
    (kind, way)
    for kind in (*DISTANCES, "vendi", "range")
    for way in _WAYS
    if not (way == "reference" and kind not in DISTANCES) and not (way == "positions" and kind != "emd")
    if kind != "classes"  # which looks at labels, and sorts images by them
]


def _update_on(device: str, kind: str, way: str, *watches: AbstractContextManager[object]) -> None:
    """Two batches a side, the second of them watched; what is constant has come to the device with the first."""
    metric = make(kind, Network(), **_WAYS[way](kind)).to(device)
    batch = images(4, 1).float() / 255 if way == "floats" else images(4, 1)
    batch = batch.to(device)
    sides = (False,) if way == "reference" else (True, False)
    for real in sides:
        feed(metric, batch, real)
    with ExitStack() as stack:
        for watch in watches:
            stack.enter_context(watch)
        for real in sides:
            feed(metric, batch.clone(), real)


class _Apart(TorchDispatchMode):
    """Refuses operations with tensors of two devices, copies among them; numbers are not tensors."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = operation(*arguments, **(options or {}))
        touched, _ = tree_flatten((arguments, options, result))
        devices = {x.device.type for x in touched if isinstance(x, torch.Tensor) and x.ndim}
        assert len(devices) < 2, f"{operation} on {devices}"
        return result


class _NothingNew(TorchFunctionMode):
    """Refuses tensors made of the host's numbers, which have to be copied."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        assert function not in (torch.tensor, torch.as_tensor), f"{function.__name__} of {arguments}"
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize(("kind", "way"), _UPDATES)
def test_updates_read_nothing_of_the_device(kind: str, way: str) -> None:
    """`update` off the CPU looks at no value and copies nothing to or from the device, where a host would wait.

    On torch's meta device, which has no values: whoever asks for one gets an error.
    """
    _update_on("meta", kind, way, _Apart(), _NothingNew())


@pytest.mark.parametrize("kind", [*DISTANCES, "vendi", "range"])
def test_states_come_to_the_metrics_device(kind: str) -> None:
    """States of another device, merged or loaded, go where the metric keeps its own."""
    metric = filled(kind)
    metric.persistent(True)
    takes = [lambda each: each.load_state_dict(metric.state_dict()), lambda each: each.merge_state(metric)]
    for take in takes[: 1 if kind in OF_FEATURES else 2]:  # which features are left shows on a device with values
        elsewhere = make(kind).to("meta")
        take(elsewhere)
        assert {state.device.type for state in elsewhere.metric_state.values()} == {"meta"}


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@contextmanager
def _never_waiting(*, grows: bool = False) -> Iterator[None]:
    kept = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert grows or torch.cuda.memory_allocated() == kept


@needs_cuda
@pytest.mark.parametrize(("kind", "way"), _UPDATES)
def test_updates_do_not_wait_for_the_device(kind: str, way: str) -> None:
    """After the first batch, `update` makes no host wait on CUDA, and but for features keeps no memory there."""
    _update_on("cuda", kind, way, _never_waiting(grows=kind in OF_FEATURES))


@needs_cuda
@pytest.mark.parametrize("kind", [*DISTANCES, "range"])
def test_metrics_of_different_devices_merge(kind: str) -> None:
    """States of another device are added where the metric's own lie."""
    single = filled(kind, seed=1)
    feed(single, images(4, 5))
    on_gpu, on_cpu = filled(kind, seed=1).cuda(), make(kind)
    feed(on_cpu, images(4, 5))
    for one, other in ((on_gpu.clone(), on_cpu), (on_cpu.clone(), on_gpu)):
        one.merge_state(other)
        assert {state.device for state in one.metric_state.values()} == {one.device}
        assert_states(one.cpu(), states(single))


@needs_cuda
@pytest.mark.parametrize("state_device", [None, "cpu"])
def test_states_reduce_over_nccl(state_device: str | None, tmp_path: Path) -> None:
    """States are reduced on the GPU, and go back to where they are kept."""
    metric = filled("emd", state_device=state_device).cuda()
    before = states(metric)
    rendezvous = f"file://{tmp_path}/rendezvous"
    torch.distributed.init_process_group("nccl", init_method=rendezvous, rank=0, world_size=1)
    try:
        with metric.sync_context():
            synced = states(metric)
    finally:
        torch.distributed.destroy_process_group()
    assert all(
        torch.equal(synced[name], state) and synced[name].device == state.device for name, state in before.items()
    )
