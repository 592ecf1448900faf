"""Whatever surrounds a call: the same images through the same network give the same bits."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vdna_metrics import ExtractorSpec, LayerFrechetDistance, VDNAEarthMoversDistance
from vdna_metrics.extractors import get_spec

_SIZE = 24


def _spec() -> ExtractorSpec:
    return get_spec("vdna_tiny")


def _images(seed: int) -> Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 3, _SIZE, _SIZE), dtype=np.uint8)
    return torch.from_numpy(pixels)


def measure(give: Callable[[Tensor], Tensor] = lambda images: images) -> list[Tensor]:
    """States and values of two metrics from construction on, with a network of their own."""
    gc.collect()  # a network lives as long as something holds it
    found = []
    for metric_class in (VDNAEarthMoversDistance, LayerFrechetDistance):
        metric = metric_class(_spec(), layers=["blocks.0", "blocks.2"])
        metric.update(give(_images(0)), real=True)
        metric.update(give(_images(1)), real=False)
        found += [metric.dna(real=side).distribution.state.clone() for side in (True, False)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* images are (too )?few")
            found.append(metric.compute())
    return found


@pytest.fixture(scope="module")
def undisturbed() -> list[Tensor]:
    """What a call in nothing gives."""
    return measure()


def digest(found: list[Tensor]) -> str:
    """A hash of all bits."""
    return hashlib.sha256(b"".join(x.numpy().tobytes() for x in found)).hexdigest()


def _assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@contextmanager
def _set(get: Callable[[], Any], put: Callable[[Any], Any], value: Any) -> Iterator[None]:
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


class _PassingFunctions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class _PassingOperators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def _hooked(register: Callable[[Any], Any]) -> Iterator[None]:
    handle = register(lambda *_: None)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    return _set(torch.get_default_dtype, torch.set_default_dtype, dtype)


@contextmanager
def _together(*contexts: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "nothing": nullcontext,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "inference_mode off within on": lambda: _together(torch.inference_mode(), torch.inference_mode(False)),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "default dtype float64": lambda: _default_dtype(torch.float64),
    "default dtype bfloat16": lambda: _default_dtype(torch.bfloat16),
    "default dtype float16": lambda: _default_dtype(torch.float16),
    "default device cpu": lambda: torch.device("cpu"),
    "default device meta": lambda: torch.device("meta"),
    "float64 and autocast": lambda: _together(_default_dtype(torch.float64), torch.autocast("cpu", torch.bfloat16)),
    "meta and bfloat16": lambda: _together(torch.device("meta"), _default_dtype(torch.bfloat16)),
    "meta and inference_mode": lambda: _together(torch.device("meta"), torch.inference_mode()),
    "matmul precision medium": lambda: _set(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "deterministic algorithms": lambda: _set(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "cuDNN off": lambda: torch.backends.cudnn.flags(enabled=False),
    "cuDNN benchmark": lambda: torch.backends.cudnn.flags(enabled=True, benchmark=True),
    "fork_rng": torch.random.fork_rng,
    "a function mode": _PassingFunctions,
    "a dispatch mode": _PassingOperators,
    "a counter of operations": lambda: FlopCounterMode(display=False),
    "the profiler": lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]),
    "a global forward hook": lambda: _hooked(nn.modules.module.register_module_forward_hook),
    "a global forward pre-hook": lambda: _hooked(nn.modules.module.register_module_forward_pre_hook),
    "hooks of saved tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x),
    "warnings as errors": lambda: (
        warnings.catch_warnings(action="error") if sys.version_info >= (3, 11) else nullcontext()
    ),
    "NumPy's errors raised": lambda: np.errstate(all="raise"),
    "denormals flushed": lambda: _set(lambda: False, torch.set_flush_denormal, True),
    "no garbage collection": _without_collector,
    "nested no_grad": lambda: _together(torch.no_grad(), torch.enable_grad(), torch.no_grad()),
}


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_the_same_bits_in_whatever_context(surrounding: str, undisturbed: list[Tensor]) -> None:
    """Contexts and settings around construction, updates and compute change no bit, and no random stream moves."""
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with SURROUNDINGS[surrounding]():
        found = measure()
    _assert_equal(found, undisturbed)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


def _in_inference_mode(images: Tensor) -> Tensor:
    with torch.inference_mode():
        return images.clone()


def _read_only(images: Tensor) -> Tensor:
    pixels = images.numpy().copy()
    pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch cannot protect it
        return torch.from_numpy(pixels)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda images: images.to(memory_format=torch.channels_last),
    "contiguous": torch.Tensor.contiguous,
    "a view of NHWC": lambda images: images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "every other of twice as many": lambda images: images.repeat_interleave(2, 0)[::2],
    "a crop of larger ones": lambda images: nn.functional.pad(images, (3, 3, 3, 3))[:, :, 3:-3, 3:-3],
    "made in inference mode": _in_inference_mode,
    "a parameter's data": lambda images: nn.Parameter(images, requires_grad=False).data,
    "shared memory": lambda images: images.clone().share_memory_(),
    "read-only NumPy's": _read_only,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_bits_in_whatever_form(form: str, undisturbed: list[Tensor]) -> None:
    """Memory format, views, inference tensors and shared memory of the images change no bit."""
    _assert_equal(measure(FORMS[form]), undisturbed)


async def _as_coroutine() -> list[Tensor]:
    await asyncio.sleep(0)
    return measure()


def _in_thread() -> list[Tensor]:
    found: list[list[Tensor]] = []
    thread = threading.Thread(target=lambda: found.append(measure()))
    thread.start()
    thread.join()
    return found[0]


def _in_pool() -> list[Tensor]:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: measure(), range(2))
    _assert_equal(one, other)
    return one


def _in_backward() -> list[Tensor]:
    found: list[Tensor] = []

    x = torch.ones(1, requires_grad=True)
    x.register_hook(lambda _: found.extend(measure()))
    (x * 2).sum().backward()
    return found


def _in_forward() -> list[Tensor]:
    found: list[Tensor] = []

    class Model(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found.extend(measure())
            return x

    Model().half()(torch.ones(1))
    return found


@pytest.mark.parametrize("run", [_in_thread, _in_pool, _in_backward, _in_forward, lambda: asyncio.run(_as_coroutine())])
def test_the_same_bits_from_wherever(run: Callable[[], list[Tensor]], undisturbed: list[Tensor]) -> None:
    """From threads, a backward hook, a module's forward and a coroutine."""
    _assert_equal(run(), undisturbed)


def test_the_same_bits_in_another_process(undisturbed: list[Tensor]) -> None:
    """A process's hash seed, locale, absent home folder and code without asserts and docstrings change no bit."""
    # Of our own modules alone: PYTHONOPTIMIZE=2 would compile torch again, which takes half a minute.
    script = """if True:
        import sys
        from importlib.machinery import SourceFileLoader

        get_code = SourceFileLoader.get_code

        def optimised(self, name):
            if not name.startswith("vdna_metrics"):
                return get_code(self, name)
            return compile(self.get_data(self.get_filename(name)), name, "exec", dont_inherit=True, optimize=2)

        SourceFileLoader.get_code = optimised
        sys.path.insert(0, sys.argv[1])
        import test_surroundings as tests
        import vdna_metrics.text

        assert vdna_metrics.text.printable.__doc__ is None
        print(tests.digest(tests.measure()))
    """
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    variables = {"PYTHONHASHSEED": "7", "LC_ALL": "tr_TR.UTF-8", "HOME": "/nowhere"}
    done = subprocess.run(command, env=os.environ | threads | variables, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.split() == [digest(undisturbed)]
