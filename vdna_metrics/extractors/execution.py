"""How a network is built and run: apart from what surrounds the call, in which precision, and compiled."""

from __future__ import annotations

import contextlib
import random
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from vdna_metrics.fingerprint import Precision

Hook = Callable[[nn.Module, Any, Any], None]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class _ProcessSettings:
    """TF32 and the default dtype, which torch has once for all threads.

    Threads that need the same values run side by side; one that needs others waits until they are done. The user's own
    values are back when the last one leaves.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders = 0
        self._held = (False, torch.float32)
        self._users_dtype = torch.float32
        self._restore = contextlib.ExitStack()
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def hold(
        self, *, tf32: bool, dtype: torch.dtype | None, lock: AbstractContextManager[Any] | None = None
    ) -> Iterator[None]:
        """Compute with or without TF32; ``dtype`` is the default dtype, ``None`` the user's own; and with a lock.

        Whoever has the lock may change what it holds, so that nobody waits for the lock while holding anything.
        """
        # A network whose forward runs another one does not compute meanwhile: what it holds is let go.
        outer = getattr(self._of_thread, "wanted", None)
        if outer is not None:
            self._leave()
        try:
            with lock or contextlib.nullcontext():
                self._enter(tf32, dtype)
                self._of_thread.wanted = (tf32, dtype)
                try:
                    yield
                finally:
                    self._leave()
                    self._of_thread.wanted = outer
        finally:
            if outer is not None:
                self._enter(*outer)

    def _enter(self, tf32: bool, dtype: torch.dtype | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._holders or self._held == (tf32, dtype or self._users_dtype))
            if not self._holders:
                self._users_dtype = torch.get_default_dtype()
                self._held = (tf32, dtype or self._users_dtype)
                self._restore.enter_context(_tf32(tf32))
                if self._held[1] != self._users_dtype:
                    self._restore.callback(torch.set_default_dtype, self._users_dtype)
                    torch.set_default_dtype(self._held[1])
            self._holders += 1

    def _leave(self) -> None:
        with self._changed:
            self._holders -= 1
            if not self._holders:
                self._restore.close()
                self._changed.notify_all()


_PROCESS = _ProcessSettings()
_BUILDING = threading.RLock()
_LOCKING = threading.Lock()
_LOCKS: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


@contextlib.contextmanager
def hermetic() -> Iterator[None]:
    """Build as if nothing surrounded the call: on the CPU, in float32, one thread at a time.

    Default dtype and device, modes of torch functions and dispatch (an outer ``torch.device``, Lightning's empty
    initialisation), autocast and inference mode do not reach inside; the random streams of torch, NumPy and Python
    come out as they went in.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_PROCESS.hold(tf32=False, dtype=torch.float32, lock=_BUILDING))
        stack.enter_context(torch._C.DisableTorchFunction())
        stack.enter_context(_disable_current_modes())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        stack.enter_context(random_streams_kept())
        yield


@contextlib.contextmanager
def random_streams_kept() -> Iterator[None]:
    """Whatever is drawn inside, the streams of torch (of each accelerator in use), NumPy and Python go on as before."""
    with contextlib.ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.callback(torch.set_rng_state, torch.get_rng_state())
        for accelerator in (torch.cuda, torch.xpu):
            if accelerator.is_initialized():  # else its seed has not been drawn from
                stack.callback(accelerator.set_rng_state_all, accelerator.get_rng_state_all())
        if torch.backends.mps.is_available():
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes by one thread: sums have the same last bits whatever the number of cores.

    Small operations are faster by one: statistics of an image's pixels took a fifth of the CPU time of two threads.
    """
    threads = torch.get_num_threads()
    if threads == 1:  # as in a decoding process
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def random_state(device: torch.device) -> Tensor:
    """The state of the random streams that a forward on a device may draw from: it tells whether one has drawn."""
    states = [torch.get_rng_state()]
    if device.type in ("cuda", "xpu"):
        states.append(getattr(torch, device.type).get_rng_state(device))
    if device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return torch.cat(states)


def locks_of(network: nn.Module) -> list[Any]:
    """Locks of a network, one unless it is put together of networks that are in use by themselves.

    Networks that have a module in common have its lock in common.
    """
    modules = [id(module) for module in network.modules()]
    with _LOCKING:
        own = next((lock for lock in map(_LOCKS.get, modules) if lock is not None), None) or threading.RLock()
        locks = {id(lock): lock for lock in [_LOCKS.setdefault(module, own) for module in modules]}
    return [locks[key] for key in sorted(locks)]  # in one order everywhere, else two threads could wait for ever


@contextlib.contextmanager
def locked(locks: Iterable[Any]) -> Iterator[None]:
    """Hold several locks."""
    with contextlib.ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        yield


@contextlib.contextmanager
def in_precision(precision: Precision, device_type: str, *, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Compute in a precision, whatever the user has chosen for his own networks; his settings are restored.

    A surrounding autocast is off for ``"fp32"`` and ``"tf32"``. TF32 is off but for ``"tf32"``; cuDNN's convolutions
    use it by default.

    Args:
        precision: see `ExtractorSpec`.
        device_type: for example ``"cuda"``.
        dtype: of tensors that the network makes without saying which; ``None`` leaves the user's default, and with it
            his default device.

    Raises:
        ValueError: when the device cannot compute in it.
    """
    available = torch.amp.is_autocast_available(device_type)
    if precision in _HALF and not available:
        raise ValueError(f"precision={precision!r} needs torch.autocast, which {device_type!r} devices do not have")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_PROCESS.hold(tf32=precision == "tf32", dtype=dtype))
        if dtype is not None and torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if available:
            # Its cache would hand weights that were cast here, where nothing needs a gradient, to a training step
            # around us.
            autocast = torch.autocast(
                device_type, dtype=_HALF.get(precision), enabled=precision in _HALF, cache_enabled=False
            )
            stack.enter_context(autocast)
            if precision in _HALF and not torch.is_autocast_enabled(device_type):  # torch has only warned
                raise ValueError(f"{device_type!r} devices cannot compute in precision={precision!r}; use 'fp32'")
        yield


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    if not hasattr(torch.backends.cudnn, "conv"):  # before torch 2.9
        products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = convolutions
        return
    # Never the older settings here: reading them is an error once somebody has written the newer ones.
    backends: Any = torch.backends
    switches = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32" if allowed else "ieee"
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.fp32_precision = value


class CompiledForward:
    """A forward through ``torch.compile`` that keeps the outputs of some modules.

    One graph or an error, so that nothing runs uncompiled unnoticed; what lies behind the last kept output is not
    computed.

    Args:
        name: of the extractor, for errors.
        network: the network.
        modules: ``{layer: module}``.
        keep: ``{layer: what to keep of its module's output}``.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        modules: Mapping[str, nn.Module],
        keep: Mapping[str, Callable[[Any], Tensor]],
    ) -> None:
        self._name = name
        self._outputs: dict[str, Tensor] = {}
        # torch compiles again when a hook or its number is another one: both are settled here, once.
        self._hooks = [(module, self._hook(layer, keep[layer])) for layer, module in modules.items()]
        self._handles = [module.register_forward_hook(hook) for module, hook in self._hooks]
        self._unhook()

        def run(x: Tensor) -> None:
            network(x)

        # torch counts recompilations by code object, and would stop at the ninth extractor with one code for all.
        own = types.FunctionType(run.__code__.replace(), run.__globals__, closure=run.__closure__)
        self._run: Callable[[Tensor], None] = torch.compile(own, fullgraph=True)

    def _hook(self, layer: str, part: Callable[[Any], Tensor]) -> Hook:
        outputs = self._outputs

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if layer not in outputs:  # a module that is used twice: its first use counts
                outputs[layer] = part(output)

        return hook

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Run a batch of any size.

        Raises:
            ValueError: when the network cannot be compiled as a whole.
        """
        from torch._dynamo import maybe_mark_dynamic
        from torch._dynamo.exc import TorchDynamoException

        maybe_mark_dynamic(x, 0)
        try:
            for (module, hook), handle in zip(self._hooks, self._handles, strict=True):
                module._forward_hooks[handle.id] = hook
            self._run(x)
            return dict(self._outputs)
        except TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ValueError(
                f"{self._name!r} cannot be compiled as one graph ({reason}); create it with compile=False"
            ) from error
        finally:
            self._unhook()
            self._outputs.clear()
