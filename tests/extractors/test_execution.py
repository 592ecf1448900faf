"""Networks are built and run apart from what surrounds the call."""

from __future__ import annotations

import contextlib
import gc
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vdna_metrics import ExtractorSpec, create_extractor, metrics
from vdna_metrics.extractors import network, registry
from vdna_metrics.extractors.execution import hermetic, in_precision, locked, locks_of, one_thread
from vdna_metrics.extractors.network import FeatureExtractor

with contextlib.suppress(ImportError):
    import lightning.fabric.plugins.precision as precisions  # here, because importing it draws

SPECS = {
    "name": "vdna_tiny",
    "timm": ExtractorSpec("vit", "test_vit", ["blocks.0", "norm"], weights="seeded:0"),
    "chance": ExtractorSpec("chance", "test_resnet", ["layer1"], size=32),
}
IMAGES = torch.randint(0, 256, (6, 3, 40, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


class _NoInitialisation(TorchFunctionMode):
    """As Lightning's empty initialisation: weights stay what memory held."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return arguments[0] if arguments else (options or {})["tensor"]
        return function(*arguments, **(options or {}))


@contextmanager
def _lightning(precision: Any) -> Iterator[None]:
    pytest.importorskip("lightning")
    plugin = {
        "bf16-true": lambda: precisions.HalfPrecision("bf16-true"),
        "64-true": precisions.DoublePrecision,
        "16-mixed": lambda: precisions.MixedPrecision("16-mixed", "cpu"),
    }[precision]()
    with plugin.module_init_context(), plugin.tensor_init_context(), plugin.forward_context():
        yield


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: _default_dtype(torch.float64),
    "bfloat16": lambda: _default_dtype(torch.bfloat16),
    "float16": lambda: _default_dtype(torch.float16),
    "cpu": lambda: torch.device("cpu"),
    "meta": lambda: torch.device("meta"),
    "default device meta": lambda: _default_device("meta"),
    "inference": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "empty initialisation": _NoInitialisation,
    "bf16-true": lambda: _lightning("bf16-true"),
    "64-true": lambda: _lightning("64-true"),
    "16-mixed": lambda: _lightning("16-mixed"),
}
PAIRS = [("float64", "meta"), ("bfloat16", "inference"), ("64-true", "meta"), ("bf16-true", "empty initialisation")]


def _streams() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), [part.tolist() for part in np.random.get_state()[1:2]]]


def _weights(extractor: FeatureExtractor) -> dict[str, Tensor]:
    return dict(extractor.network.state_dict())


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, Tensor]]:
    """Weights of each spec with nothing around."""
    torch.manual_seed(5)
    return {name: _weights(create_extractor(spec)) for name, spec in SPECS.items()}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("around", [*((each,) for each in SURROUNDINGS), *PAIRS], ids="+".join)
def test_networks_are_the_same_whatever_surrounds_their_making(
    around: tuple[str, ...], spec: str, expected: dict[str, dict[str, Tensor]]
) -> None:
    """Weights have the same bits, float32 on the CPU, and random streams go on as they would without."""
    gc.collect()
    torch.manual_seed(5)
    before = _streams()
    with ExitStack() as stack:
        for name in around:
            stack.enter_context(SURROUNDINGS[name]())
        found = _weights(create_extractor(SPECS[spec]))
    assert _streams() == before
    assert found.keys() == expected[spec].keys()
    for name, weights in found.items():
        assert not weights.is_inference()
        assert torch.equal(weights, expected[spec][name]), name


METRICS: dict[str, Callable[[], Any]] = {
    "emd": lambda: metrics.VDNAEarthMoversDistance("vdna_tiny", reference="bsds500/trainval"),
    "nfd": lambda: metrics.NeuronFrechetDistance("vdna_tiny", reference="bsds500/trainval"),
    "lfd": lambda: metrics.LayerFrechetDistance("vdna_tiny", layers=["blocks.0"]),
    "range": lambda: metrics.ActivationRange("vdna_tiny"),
}


def _use(metric: Any) -> tuple[dict[str, Tensor], Any]:
    if "real_state" in metric.metric_state:
        metric.update(IMAGES.flip(0)[:5], real=True)
    metric.update(IMAGES)
    return {name: state.clone() for name, state in metric.metric_state.items()}, metric.compute()


def _used() -> dict[str, tuple[dict[str, Tensor], Any]]:
    made = {kind: make() for kind, make in METRICS.items()}
    return {kind: _use(metric) for kind, metric in made.items()}


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[dict[str, Tensor], Any]]:
    """States and results with nothing around."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _used()


@pytest.mark.parametrize("around", [*((each,) for each in SURROUNDINGS), *PAIRS], ids="+".join)
def test_metrics_are_the_same_whatever_surrounds_them(
    around: tuple[str, ...], results: dict[str, tuple[dict[str, Tensor], Any]]
) -> None:
    """Made and used inside, made inside and used outside, or the reverse: all numbers have the same bits."""

    @contextmanager
    def inside() -> Iterator[None]:
        with ExitStack() as stack:
            for name in around:
                stack.enter_context(SURROUNDINGS[name]())
            yield

    gc.collect()  # of another test's network
    with inside():
        made = {kind: make() for kind, make in METRICS.items()}
        found = [{kind: _use(metric) for kind, metric in made.items()}]
    for metric in made.values():
        metric.reset()
    found.append({kind: _use(metric) for kind, metric in made.items()})
    made = {kind: make() for kind, make in METRICS.items()}
    with inside():
        found.append({kind: _use(metric) for kind, metric in made.items()})
    for each in found:
        for kind, (states, value) in results.items():
            other_states, other_value = each[kind]
            for name, state in states.items():
                assert other_states[name].dtype == state.dtype, (kind, name)
                assert torch.equal(other_states[name], state), (kind, name)
            torch.testing.assert_close(other_value, value, rtol=0, atol=0)


def test_a_module_keeps_its_type_and_runs_in_the_users_default() -> None:
    """What a user's module makes while it runs has the user's default type; streams go on after it was looked at."""

    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale + 0 * torch.rand(1).to(x)

    with _default_dtype(torch.float64):
        network = Drawing()
        before = _streams()
        extractor = create_extractor(network)
        assert _streams() == before
        assert extractor(IMAGES)["output"].dtype == network.scale.dtype == torch.float64


def test_what_replaces_modules_is_named() -> None:
    """Where something around the call makes other weights than asked for, the error says so instead of a number."""

    class Half(nn.Conv2d):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.half()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.nn, "Conv2d", Half)
        spec = ExtractorSpec("patched", "test_resnet", ["layer1"], size=32, weights="seeded:3")
        with pytest.raises(ValueError, match=r"on the CPU, got .* of 'patched' in torch.float16 on cpu: something"):
            create_extractor(spec)


# ------------------------------------------------------------------------------------------------------------ threads
def test_threads_that_need_other_settings_wait_for_each_other() -> None:
    """A run of the same setting joins, one of another waits until the last has left, and the user's own are back."""
    entered = {"fp32": threading.Event(), "tf32": threading.Event()}
    leave = threading.Event()

    def run(precision: Any) -> None:
        with in_precision(precision, "cpu"):
            entered[precision].set()
            leave.wait(timeout=60)

    same, other = (threading.Thread(target=run, args=(precision,)) for precision in entered)
    with in_precision("fp32", "cpu"):
        same.start()
        assert entered["fp32"].wait(timeout=60)
        other.start()
        assert not entered["tf32"].wait(timeout=0.05)
    assert not entered["tf32"].wait(timeout=0.05)
    leave.set()
    assert entered["tf32"].wait(timeout=60)
    for thread in (same, other):
        thread.join()


def test_builders_of_other_settings_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a network that runs in TF32 is to be probed, another thread has come to build one of its own."""
    probe, thread = FeatureExtractor._probe, threading.Thread(target=create_extractor, args=("vdna_tiny",), daemon=True)

    def slow_probe(extractor: FeatureExtractor, images: Tensor) -> Any:
        if extractor.spec.precision == "tf32":
            thread.start()
            thread.join(timeout=0.5)
        return probe(extractor, images)

    monkeypatch.setattr(FeatureExtractor, "_probe", slow_probe)
    made = threading.Thread(target=create_extractor, args=(SPECS["timm"],), kwargs={"precision": "tf32"}, daemon=True)
    made.start()
    for each in (made, thread):
        each.join(timeout=60)
        assert not each.is_alive()


def test_a_network_in_use_is_found_by_who_builds_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads build one spec; the first runs it already, in a setting of its own, when the second is done."""
    built, running = threading.Event(), threading.Event()
    build, set_precision = registry.build_network, network.in_precision
    found: dict[str, FeatureExtractor] = {}

    def slow_build(spec: ExtractorSpec) -> Any:
        parts = build(spec)
        if threading.current_thread() is second:
            built.set()
            running.wait(timeout=60)
        return parts

    def slow_setting(*arguments: Any, **options: Any) -> Any:
        if "first" in found:
            running.set()
            second.join(timeout=0.5)
        return set_precision(*arguments, **options)

    def build_first() -> None:
        built.wait(timeout=60)
        found["first"] = create_extractor(SPECS["timm"], precision="tf32")
        found["first"](IMAGES)

    def build_second() -> None:
        found["second"] = create_extractor(SPECS["timm"], precision="tf32")

    monkeypatch.setattr(registry, "build_network", slow_build)
    monkeypatch.setattr(network, "in_precision", slow_setting)
    first, second = (threading.Thread(target=target, daemon=True) for target in (build_first, build_second))
    for thread in (first, second):
        thread.start()
    for thread in (first, second):
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert found["first"] is found["second"]


def test_settings_of_a_run_inside_a_run() -> None:
    """A network whose forward runs another one in another precision gets its own back afterwards."""
    with _default_dtype(torch.float64), in_precision("fp32", "cpu"):
        with in_precision("tf32", "cpu", dtype=torch.float32):
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float64
        with hermetic():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float64


def test_statistics_of_pixels_are_those_of_one_thread() -> None:
    """The same last bits for any number of threads, which is what it was afterwards."""
    image = torch.randint(0, 256, (1, 3, 512, 512), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(create_extractor("pixel_statistics").from_resized(image)["pixels"])
            with one_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_networks_with_a_module_in_common_have_its_lock_in_common() -> None:
    """A part, the whole around it and a third network: who shares a module shares a lock, others do not."""
    part, other = nn.Sequential(nn.Conv2d(3, 3, 1)), nn.Conv2d(3, 3, 1)
    of_part, of_other = locks_of(part), locks_of(other)
    whole = nn.Sequential(part, nn.ReLU(), other)
    of_whole = locks_of(whole)
    assert len(of_part) == len(of_other) == 1
    assert {id(lock) for lock in of_whole} == {id(of_part[0]), id(of_other[0])}
    assert locks_of(part)[0] is of_part[0]
    entered = threading.Event()
    with locked(of_whole), locked(of_part):  # re-entrant
        thread = threading.Thread(
            target=lambda: contextlib.ExitStack().enter_context(locked(of_other)) or entered.set()
        )
        thread.start()
        assert not entered.wait(0.05)
    thread.join()
    assert entered.is_set()
