"""How a network is run: in which precision, and compiled."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vdna_metrics.fingerprint import Precision

Hook = Callable[[nn.Module, Any, Any], None]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextlib.contextmanager
def in_precision(precision: Precision, device_type: str) -> Iterator[None]:
    """Compute in a precision, whatever the user has chosen for his own networks; his settings are restored.

    A surrounding autocast is off for ``"fp32"`` and ``"tf32"``. TF32 is off but for ``"tf32"``; cuDNN's convolutions
    use it by default.

    Args:
        precision: see `ExtractorSpec`.
        device_type: for example ``"cuda"``.

    Raises:
        ValueError: when the device cannot compute in it.
    """
    available = torch.amp.is_autocast_available(device_type)
    if precision in _HALF and not available:
        raise ValueError(f"precision={precision!r} needs torch.autocast, which {device_type!r} devices do not have")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_tf32(precision == "tf32"))
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
