"""What a user's module is inside its wrappers, and what it says of the images that it takes."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

# Where modules say the size of their images, from the surest: of timm, of torchvision, of transformers and diffusers; a
# model card's size, which timm's networks may be built otherwise than, comes last.
_SIZES = (
    ("patch_embed", "img_size"),
    ("img_size",),
    ("image_size",),
    ("config", "image_size"),
    ("config", "sample_size"),
    ("pretrained_cfg", "input_size"),
    ("default_cfg", "input_size"),
)
_LARGEST = 4096


def unwrapped(network: nn.Module) -> nn.Module:
    """The module inside what ``torch.compile`` and training in parallel put around it, which has its own names.

    Raises:
        ValueError: for one whose weights are on other processes, or nowhere.
    """
    while True:
        if "_orig_mod" in network._modules:  # of torch.compile
            network = network._modules["_orig_mod"]  # type: ignore[assignment]
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        else:
            break
    sharding: Any = sys.modules.get("torch.distributed.fsdp")
    sharded = sharding is not None and any(
        isinstance(module, sharding.FullyShardedDataParallel) for module in network.modules()
    )
    if sharded or any(hasattr(parameter, "full_tensor") for parameter in network.parameters()):
        raise ValueError(
            f"the weights of {type(network).__name__} are in parts on several processes (FSDP): give a whole copy of "
            "it, with weights by torch.distributed.checkpoint.state_dict.get_model_state_dict(network, options="
            "StateDictOptions(full_state_dict=True, cpu_offload=True))"
        )
    empty = next((name for name, parameter in network.named_parameters() if parameter.is_meta), None)
    if empty is not None:
        raise ValueError(
            f"{empty} of {type(network).__name__} is on the meta device, which holds no weights: load them first"
        )
    return network


def own_size(network: nn.Module) -> tuple[int, int] | None:
    """Height and width of the images that a module, or the first of its parts, says it takes.

    Examples:
        >>> import timm
        >>> own_size(timm.create_model("test_vit")), own_size(nn.Conv2d(3, 8, 3))
        ((160, 160), None)
    """
    for module in network.modules():
        for place in _SIZES:
            size = _size(_at(module, place))
            if size is not None:
                return size
    return None


def _at(value: Any, place: tuple[str, ...]) -> Any:
    for name in place:
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value


def _size(value: Any) -> tuple[int, int] | None:
    sides = [value, value] if isinstance(value, int) else list(value)[-2:] if isinstance(value, list | tuple) else []
    if len(sides) == 2 and all(type(side) is int and 0 < side <= _LARGEST for side in sides):
        return sides[0], sides[1]
    return None
