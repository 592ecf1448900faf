"""From what a user says (a name, a spec, a module) to a frozen extractor."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.spec import MODULE, ExtractorSpec
from vdna_metrics.extractors.weights import build_network, weights_sha256
from vdna_metrics.layout import NeuronLayout, NeuronSelectionLike, near_names

ExtractorLike = str | ExtractorSpec | nn.Module | FeatureExtractor

# Extractors alive in this process, so that metrics made from the same name or module share one network.
_ALIVE: weakref.WeakValueDictionary[object, FeatureExtractor] = weakref.WeakValueDictionary()


def list_extractors() -> list[str]:
    """Names of the catalogue; besides these, ``timm:NAME`` takes any timm network.

    Examples:
        >>> "seeded_resnet18" in list_extractors()
        True
    """
    return sorted(CATALOGUE)


def get_spec(name: str, *, weights_path: str | Path | None = None) -> ExtractorSpec:
    """The spec of a catalogue name or ``timm:NAME``.

    Args:
        name: for example ``"mugs_vit_base"`` or ``"timm:resnet50.a1_in1k"``.
        weights_path: local weights file to use instead of the spec's source.

    Raises:
        ValueError: for an unknown name; near ones are named.
    """
    if name.startswith("timm:"):
        spec = _timm_spec(name)
    elif name in CATALOGUE:
        spec = CATALOGUE[name]
    else:
        raise ValueError(f"unknown extractor {name!r}; {near_names(name, list_extractors())}, or 'timm:NAME'")
    if weights_path is not None:
        # A file that the user names need not be the published one byte for byte; its own hash is in the fingerprint.
        spec = replace(spec, weights=str(weights_path), sha256=None)
    return spec


def create_extractor(
    extractor: ExtractorLike,
    *,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    weights_path: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    probe_size: tuple[int, int] = (64, 64),
) -> FeatureExtractor:
    """Build a frozen extractor, or return the one that is alive already.

    Args:
        extractor: a name of `list_extractors`, ``"timm:NAME"``, an `ExtractorSpec`, a
            ``torch.nn.Module``, or an extractor, which is returned as it is.
        layers: module paths, or ``{layer name: module path}``, for a ``timm:`` name or a module. Names of the
            catalogue and specs have their layers; select among them where the extractor is used. A module without
            ``layers`` is read at its output, as layer ``"output"``.
        weights_path: local weights file, ``.safetensors`` or a torch file that loads with ``weights_only=True``.
        size: for a module: size to which images are resized; ``None`` keeps theirs.
        mean: for a module: subtracted from images in [0, 1].
        std: for a module: then divided by.
        probe_size: for a module without ``size``: height and width of the image that finds its neurons.

    Raises:
        ValueError: for unknown names, layers, or weights that cannot be had.
        TypeError: for anything else given as extractor.

    Examples:
        >>> extractor = create_extractor(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), layers=["0"])
        >>> extractor(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))["0"].shape
        torch.Size([8, 2, 900])
    """
    if isinstance(extractor, FeatureExtractor | nn.Module) and weights_path is not None:
        raise ValueError(f"weights_path is for extractors by name, a {type(extractor).__name__} has its weights")
    if layers is not None and not _takes_layers(extractor):
        raise ValueError(
            f"layers can be chosen for timm:NAME and modules, {extractor!r} has its own: select among them where the "
            "extractor is used (layers= of a metric, build_dnas or VDNA.select)"
        )
    if isinstance(extractor, FeatureExtractor):
        return extractor
    if isinstance(extractor, nn.Module):
        architecture = f"{MODULE}{type(extractor).__module__}.{type(extractor).__qualname__}"
        spec = ExtractorSpec(type(extractor).__name__, architecture, layers or {"output": ""}, size, mean, std)
        return _from_module(extractor, spec, probe_size)
    if isinstance(extractor, str):
        spec = get_spec(extractor, weights_path=weights_path)
        if layers is not None:
            spec = replace(spec, layers=layers)
    elif isinstance(extractor, ExtractorSpec):
        spec = extractor if weights_path is None else replace(extractor, weights=str(weights_path), sha256=None)
    else:
        raise TypeError(
            f"an extractor is a name, an ExtractorSpec, a torch.nn.Module or a FeatureExtractor, got "
            f"{type(extractor).__name__}"
        )
    alive = _ALIVE.get(spec)
    if alive is None:
        network, digest = build_network(spec)
        complete = spec if spec.layers else replace(spec, layers=automatic_layers(network))
        alive = FeatureExtractor(network, complete, digest, torch.zeros(1, 3, *(spec.preprocess.size or probe_size)))
        _ALIVE[spec] = _ALIVE[complete] = alive
    return alive


def extractor_and_layout(
    extractor: ExtractorLike,
    layers: Sequence[str] | Mapping[str, str] | None,
    neurons: NeuronSelectionLike | None = None,
    weights_path: str | Path | None = None,
) -> tuple[FeatureExtractor, NeuronLayout]:
    """An extractor and the selection of its neurons that a user asks for.

    Args:
        extractor: as in `create_extractor`.
        layers: module paths for ``timm:`` names and modules, else names of the extractor's layers; ``None`` for all.
        neurons: ``{layer: indices}``.
        weights_path: as in `create_extractor`.

    Raises:
        ValueError: for unknown names, layers, neurons, or weights that cannot be had.
    """
    layers = [layers] if isinstance(layers, str) else layers
    own = layers if _takes_layers(extractor) else None
    built = create_extractor(extractor, layers=own, weights_path=weights_path)
    return built, built.layout.select(None if layers is None else list(layers), neurons)


def _takes_layers(extractor: ExtractorLike) -> bool:
    return isinstance(extractor, nn.Module) or (isinstance(extractor, str) and extractor.startswith("timm:"))


def raw_module_extractor(network: nn.Module, *, probe: torch.Tensor) -> FeatureExtractor:
    """An extractor that hands images to a module exactly as they come and reads its output ``[N, d]``."""
    architecture = f"{MODULE}{type(network).__module__}.{type(network).__qualname__}"
    spec = ExtractorSpec(type(network).__name__, architecture, {"output": ""}, None, preprocessing="none")
    return _from_module(network, spec, probe)


def automatic_layers(network: nn.Module) -> list[str]:
    """Module paths of a timm network's blocks or stages and of its final norm.

    Raises:
        ValueError: when the network does not say what its stages are.
    """
    modules = dict(network.named_modules())
    info: Any = getattr(network, "feature_info", None)
    stages = [str(stage["module"]) for stage in info or []]
    blocks = modules.get("blocks")
    if not all(stage in modules for stage in stages) or not stages:
        stages = [f"blocks.{name}" for name, _ in blocks.named_children()] if blocks is not None else []
    if not stages:
        raise ValueError(
            f"{type(network).__name__} does not say what its stages are: choose layers=[module paths], for example "
            f"{[name for name in modules if name][:4]}"
        )
    final = [
        name
        for name in ("norm", "fc_norm", "head.norm")
        if not isinstance(modules.get(name, nn.Identity()), nn.Identity)
    ]
    return [*dict.fromkeys(stages), *final[:1]]


def _from_module(network: nn.Module, spec: ExtractorSpec, probe: torch.Tensor | tuple[int, int]) -> FeatureExtractor:
    key = (id(network), spec)  # alive extractors hold their module, so its id cannot be another's
    alive = _ALIVE.get(key)
    if alive is None:
        if not isinstance(probe, torch.Tensor):
            probe = torch.zeros(1, 3, *(spec.preprocess.size or probe))
        alive = FeatureExtractor(network, spec, weights_sha256(network.state_dict()), probe)
        _ALIVE[key] = alive
    return alive


def _timm_spec(name: str) -> ExtractorSpec:
    import timm

    from vdna_metrics.extractors.architectures import check_architecture

    architecture = name.removeprefix("timm:")
    check_architecture(architecture)
    config = timm.get_pretrained_cfg(architecture)
    known = config.to_dict() if config is not None else {}
    return ExtractorSpec(
        name=name,
        architecture=architecture,
        size=tuple(known.get("input_size", (3, 224, 224))[1:]),
        mean=known.get("mean", (0.485, 0.456, 0.406)),
        std=known.get("std", (0.229, 0.224, 0.225)),
        weights="timm",
        licence=str(known.get("license") or "see the model card"),
        note=str(known.get("origin_url") or "timm"),
    )
