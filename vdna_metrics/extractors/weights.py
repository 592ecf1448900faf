"""Weights: found locally or downloaded, checked, loaded without unpickling."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vdna_metrics.extractors.architectures import build_architecture, check_architecture, seeded_state_dict
from vdna_metrics.extractors.spec import ExtractorSpec
from vdna_metrics.files import sha256_of_file


def cache_folder() -> Path:
    """Folder for downloaded files: ``VDNA_METRICS_HOME``, else ``~/.cache/vdna_metrics``."""
    home = os.environ.get("VDNA_METRICS_HOME")
    if home:
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vdna_metrics"


def build_network(spec: ExtractorSpec) -> tuple[nn.Module, str]:
    """Build a spec's network with its weights.

    Returns:
        The network in eval mode without gradients, and the sha256 of its weights.

    Raises:
        ValueError: when weights cannot be had, are not those the spec states, or do not fit the architecture.
    """
    if spec.weights == "timm":
        network = _from_timm(spec)
    else:
        network = build_architecture(spec.architecture, spec.architecture_kwargs)
        if spec.weights is not None and spec.weights.startswith("seeded:"):
            network.load_state_dict(seeded_state_dict(network, int(spec.weights.removeprefix("seeded:"))))
        elif spec.weights is not None:
            path = _weights_file(spec)
            _load_into(network, read_state_dict(path, spec.state_dict_key), spec, path)
    network.eval().requires_grad_(False)
    digest = weights_sha256(network.state_dict(), ignore=spec.ignore_weights)
    if spec.weights is not None and spec.weights.startswith("seeded:") and spec.sha256 not in (None, digest):
        raise ValueError(
            f"seeded weights of {spec.name!r} have sha256 {digest[:12]}, the spec says {str(spec.sha256)[:12]}: "
            "this NumPy draws another stream, its results cannot be compared with others'"
        )
    return network, digest


def weights_sha256(state_dict: Mapping[str, Tensor], *, ignore: tuple[str, ...] = ()) -> str:
    """sha256 over names, types, shapes and bytes of weights; step counters of batch norms are passed over."""
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        if name.endswith("num_batches_tracked") or name.startswith(ignore or ("\0",)):
            continue
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state_dict(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Read weights from a ``.safetensors`` file, or from a torch file with ``weights_only=True``.

    Raises:
        ValueError: when the file cannot be read that way or has no entry ``key``.
    """
    contents: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            contents = load_file(path)
        else:
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise types of their own
        raise ValueError(f"{path} is not a readable weights file: {error}") from error
    if not isinstance(contents, Mapping):
        raise ValueError(f"{path} holds a {type(contents).__name__}, not a state dict")
    if key is not None and not isinstance(next(iter(contents.values()), None), Tensor):
        if key not in contents:
            raise ValueError(f"{path} has no entry {key!r}; it has: {', '.join(map(str, contents))}")
        contents = contents[key]
    tensors = {str(name): value for name, value in contents.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no tensors at its top; it has: {', '.join(map(str, contents)) or 'nothing'}")
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _load_into(network: nn.Module, state_dict: dict[str, Tensor], spec: ExtractorSpec, path: Path) -> None:
    ignore = spec.ignore_weights or ("\0",)
    own = network.state_dict()
    wanted = {name for name in own if not name.startswith(ignore) and not name.endswith("num_batches_tracked")}
    if wanted.difference(state_dict):
        state_dict = _in_timm_names(state_dict, network)
    missing = sorted(wanted.difference(state_dict))
    unexpected = sorted(name for name in state_dict if name not in own and not name.startswith(ignore))
    shapes = [
        f"{name}: file {list(state_dict[name].shape)}, network {list(own[name].shape)}"
        for name in sorted(wanted.intersection(state_dict))
        if state_dict[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        raise ValueError(
            f"{path} does not fit {spec.architecture_id}: {len(missing)} weights missing{_some(missing)}, "
            f"{len(unexpected)} unexpected{_some(unexpected)}, {len(shapes)} of another shape{_some(shapes)}"
        )
    network.load_state_dict({name: value for name, value in state_dict.items() if name in own}, strict=False)


def _in_timm_names(state_dict: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights of an original publication (OpenAI CLIP, MAE, DINOv2, ...) by the names of timm's network.

    timm has such a conversion beside many of its networks, by this name.
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return state_dict if convert is None else dict(convert(dict(state_dict), network))


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def _from_timm(spec: ExtractorSpec) -> nn.Module:
    check_architecture(spec.architecture)
    try:
        return build_architecture(spec.architecture, {"pretrained": True, **spec.architecture_kwargs})
    except Exception as error:  # hub, network and timm errors have no common type
        raise unavailable(spec, f"timm's weights of {spec.architecture}", error) from error


def _weights_file(spec: ExtractorSpec) -> Path:
    source = spec.weights or ""
    if source.startswith("hf-hub:"):
        owner, name, file = source.removeprefix("hf-hub:").split("/", 2)
        path = _from_hub(spec, f"{owner}/{name}", file)
    elif source.startswith("https://"):
        path = _from_address(spec, source)
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise ValueError(f"weights of {spec.name!r}: no such file: {path}")
    if spec.sha256 is not None:
        found = sha256_of_file(path)
        if not found.startswith(spec.sha256):
            raise ValueError(f"weights of {spec.name!r}: {path} has sha256 {found}, expected {spec.sha256}")
    return path


def _from_hub(spec: ExtractorSpec, repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, cache_dir=cache_folder() / "hub"))
    except Exception as error:  # hub and network errors have no common type
        raise unavailable(spec, f"{file} of the hub repository {repository}", error) from error


def _from_address(spec: ExtractorSpec, address: str) -> Path:
    path = cache_folder() / "weights" / address.rsplit("/", 1)[-1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # To a temporary file, checked and renamed.
            torch.hub.download_url_to_file(address, str(path), hash_prefix=spec.sha256, progress=False)
        except (OSError, RuntimeError) as error:
            raise unavailable(spec, address, error) from error
    return path


def unavailable(spec: ExtractorSpec, what: str, error: Exception) -> ValueError:
    """The error for weights that cannot be had: what was tried, and what works instead."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ValueError(
        f"weights of {spec.name!r} could not be had: {what} ({reason}). Download the file elsewhere and name it with "
        f"weights_path=... (command line: --weights FILE), or use an extractor that needs no download: "
        f"'seeded_resnet18'"
    )
