"""From what a user says (a name, a spec, a module) to a frozen extractor."""

from __future__ import annotations

import copyreg
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.execution import hermetic, locked, locks_of
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.precomputed import PrecomputedFeatures
from vdna_metrics.extractors.response import probe_image
from vdna_metrics.extractors.spec import ExtractorSpec
from vdna_metrics.extractors.weights import build_network, weights_sha256
from vdna_metrics.fingerprint import FEATURES, MODULE, ExtractorFingerprint, Precision
from vdna_metrics.layout import NeuronLayout, near_names
from vdna_metrics.neurons import NeuronsLike, chosen_neurons

ExtractorLike = str | ExtractorSpec | nn.Module | PrecomputedFeatures | FeatureExtractor

GIVE_MODULE = (
    "give the network itself, a torch.nn.Module in Python, --extractor FILE.py:FACTORY --trust-code on the command line"
)

# Extractors alive in this process, so that metrics made from the same name or module share one network.
_ALIVE: weakref.WeakValueDictionary[object, FeatureExtractor] = weakref.WeakValueDictionary()


def list_extractors() -> list[str]:
    """Names of the catalogue; besides these, ``timm:NAME`` takes any timm network.

    Examples:
        >>> "seeded_resnet18" in list_extractors()
        True
    """
    return sorted(CATALOGUE)


def get_spec(
    name: str, *, weights_path: str | Path | None = None, architecture_kwargs: Mapping[str, Any] | None = None
) -> ExtractorSpec:
    """The spec of a catalogue name or ``timm:NAME``.

    Args:
        name: for example ``"mugs_vit_base"`` or ``"timm:resnet50.a1_in1k"``.
        weights_path: local weights file to use instead of the spec's source.
        architecture_kwargs: for ``timm:NAME``: passed to ``timm.create_model``, for example ``{"pad_type": "same"}``.

    Raises:
        ValueError: for an unknown name; near ones are named.
    """
    if name.startswith("timm:"):
        spec = _timm_spec(name)
    elif name in CATALOGUE:
        spec = CATALOGUE[name]
    else:
        raise ValueError(_unknown(name))
    if architecture_kwargs is not None:
        if not name.startswith("timm:"):
            raise ValueError(f"architecture_kwargs are for timm:NAME, {name!r} has its own")
        spec = replace(spec, architecture_kwargs=architecture_kwargs)
    if weights_path is not None:
        # A file that the user names need not be the published one byte for byte; its own hash is in the fingerprint.
        spec = replace(spec, weights=str(weights_path), sha256=None)
    return spec


def is_as_named(spec: ExtractorSpec) -> bool:
    """Whether building a spec reads no other files, here or elsewhere, than building its name does.

    Args:
        spec: of a record that somebody else may have written.

    Examples:
        >>> is_as_named(get_spec("vdna_tiny")), is_as_named(get_spec("vdna_tiny", weights_path="other.pth"))
        (True, False)
    """

    def read(one: ExtractorSpec) -> tuple[Any, ...]:
        return one.architecture_id, one.weights, one.ranges

    try:
        return read(spec) == read(get_spec(spec.name))
    except ValueError:  # a name of the other's own
        drawn = spec.weights is None or spec.weights.startswith("seeded:")
        return drawn and spec.ranges is None and not spec.architecture_kwargs


def _unknown(name: str) -> str:
    import timm

    if name.startswith(MODULE):
        return f"{name!r} is a module of somebody's own, which no name builds: {GIVE_MODULE}"
    if f"{name}:".startswith(FEATURES):
        return (
            f"{name!r} stands for features that were computed elsewhere, which no network gives: give those of these "
            "images, floats [N, d] in an .npz, .npy or torch file (in Python PrecomputedFeatures)"
        )
    if timm.is_model(name):
        return f"unknown extractor {name!r}; timm's network of that name is 'timm:{name}'"
    return f"unknown extractor {name!r} ('timm:NAME' takes any network of timm); {near_names(name, list_extractors())}"


def create_extractor(
    extractor: ExtractorLike,
    *,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    weights_path: str | Path | None = None,
    architecture_kwargs: Mapping[str, Any] | None = None,
    size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    probe_size: tuple[int, int] = (64, 64),
    precision: Precision | None = None,
    channels_last: bool | None = None,
    compile: bool | None = None,
) -> FeatureExtractor:
    """Build a frozen extractor, or return the one that is alive already.

    A network by name or spec is built on the CPU in float32 whatever surrounds the call, and random streams go on as
    they would without it; the architecture's own initialisation is drawn from a copy of torch's. A module keeps its
    type, and its fingerprint follows its weights.

    Args:
        extractor: a name of `list_extractors`, ``"timm:NAME"``, an `ExtractorSpec`, a
            ``torch.nn.Module``, `PrecomputedFeatures`, or an extractor, which is returned as it is.
        layers: module paths, or ``{layer name: module path}``, for a ``timm:`` name or a module. Names of the
            catalogue and specs have their layers; select among them where the extractor is used. A module without
            ``layers`` is read at its output, as layer ``"output"``.
        weights_path: local weights file, ``.safetensors`` or a torch file that loads with ``weights_only=True``.
        architecture_kwargs: for a ``timm:`` name: passed to ``timm.create_model``, for example
            ``{"pad_type": "same"}``.
        size: for a module: size to which images are resized; ``None`` keeps theirs.
        mean: for a module: subtracted from images in [0, 1].
        std: for a module: then divided by.
        probe_size: for a module without ``size``: height and width of the image that finds its neurons.
        precision: how the network is run, as ``channels_last`` and ``compile``: see `ExtractorSpec`, whose values hold
            where ``None`` is given. Extractors that differ in these are different ones.
        channels_last: as above.
        compile: as above.

    Raises:
        ValueError: for unknown names, layers, or weights that cannot be had.
        TypeError: for anything else given as extractor.

    Examples:
        >>> extractor = create_extractor(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), layers=["0"])
        >>> extractor(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))["0"].shape
        torch.Size([8, 2, 900])
    """
    if isinstance(extractor, FeatureExtractor | nn.Module | PrecomputedFeatures) and weights_path is not None:
        raise ValueError(f"weights_path is for extractors by name, got a {type(extractor).__name__}")
    if architecture_kwargs is not None and not isinstance(extractor, str):
        raise ValueError(f"architecture_kwargs are for timm:NAME, {type(extractor).__name__} has its own")
    if layers is not None and not _takes_layers(extractor):
        raise ValueError(
            f"layers can be chosen for timm:NAME and modules, {extractor!r} has its own: select among them where the "
            "extractor is used (layers= of a metric, build_dnas or VDNA.select)"
        )
    if not isinstance(extractor, nn.Module) and (size, mean, std) != (None, 0.0, 1.0):
        raise ValueError(f"size, mean and std are for modules, {extractor!r} has its own; an ExtractorSpec states them")
    given = {"precision": precision, "channels_last": channels_last, "compile": compile}
    execution: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if isinstance(extractor, FeatureExtractor):
        for name, value in execution.items():
            if value != getattr(extractor.spec, name):
                raise ValueError(
                    f"expected {name}={value!r}, {extractor.name!r} is built with {getattr(extractor.spec, name)!r}: "
                    "give its name, spec or module to build another"
                )
        extractor.weights(contents=True)
        return extractor
    if isinstance(extractor, PrecomputedFeatures):
        if execution:
            raise ValueError(f"{', '.join(execution)}: of a network that is run, features were computed elsewhere")
        return _of_features(extractor)
    if isinstance(extractor, nn.Module):
        spec = ExtractorSpec(*_named(extractor), layers or {"output": ""}, size, mean, std)
        return _from_module(extractor, replace(spec, **execution), probe_size)
    if isinstance(extractor, str):
        spec = get_spec(extractor, weights_path=weights_path, architecture_kwargs=architecture_kwargs)
        if layers is not None:
            spec = replace(spec, layers=layers)
    elif isinstance(extractor, ExtractorSpec):
        spec = extractor if weights_path is None else replace(extractor, weights=str(weights_path), sha256=None)
    else:
        raise TypeError(
            f"an extractor is a name, an ExtractorSpec, a torch.nn.Module, PrecomputedFeatures or a FeatureExtractor, "
            f"got {type(extractor).__name__}"
        )
    spec = replace(spec, **execution)
    found = _ALIVE.get(spec)
    # A name stands for its weights: a network that somebody has trained since is not it any more.
    if found is not None and found.weights(contents=True) == found.built_with:
        return found
    network, digest = build_network(spec)
    with hermetic():
        # Another thread may have built it meanwhile. It is not asked for its weights, which whoever runs it locks, and
        # then waits for what is held here.
        alive = _ALIVE.get(spec)
        if alive is None or alive is found:
            probe = _probe(spec, probe_size)
            complete = spec if spec.layers else replace(spec, layers=automatic_layers(network, probe))
            alive = FeatureExtractor(network, complete, digest, probe)
            _ALIVE[spec] = _ALIVE[complete] = alive
    return alive


def extractor_and_layout(
    extractor: ExtractorLike,
    layers: Sequence[str] | Mapping[str, str] | None,
    neurons: NeuronsLike | None = None,
    weights_path: str | Path | None = None,
) -> tuple[FeatureExtractor, NeuronLayout]:
    """An extractor and the selection of its neurons that a user asks for.

    Args:
        extractor: as in `create_extractor`.
        layers: module paths for ``timm:`` names and modules, else names of the extractor's layers; ``None`` for all.
        neurons: ``{layer: indices}``, a `NeuronSelection`, or its file.
        weights_path: as in `create_extractor`.

    Raises:
        ValueError: for unknown names, layers, neurons, or weights that cannot be had.
    """
    layers = [layers] if isinstance(layers, str) else layers
    own = layers if _takes_layers(extractor) else None
    built = create_extractor(extractor, layers=own, weights_path=weights_path)
    chosen = chosen_neurons(neurons, built.fingerprint)
    return built, built.layout.select(None if layers is None else list(layers), chosen)


def rebuildable_name(name: str, fingerprint: ExtractorFingerprint) -> str:
    """The name of the network that a DNA is of, for who wants to build it.

    Args:
        name: as the DNA's provenance has it.
        fingerprint: of the DNA.

    Raises:
        ValueError: for a module of a user's own, which no name builds.
    """
    if fingerprint.is_module:  # early DNAs have the class's name alone
        raise ValueError(_unknown(f"{MODULE}{name.removeprefix(MODULE)}"))
    return name


def _takes_layers(extractor: ExtractorLike) -> bool:
    return isinstance(extractor, nn.Module) or (isinstance(extractor, str) and extractor.startswith("timm:"))


def raw_module_extractor(network: nn.Module, *, probe: torch.Tensor | int) -> FeatureExtractor:
    """An extractor that hands images to a module exactly as they come and reads its output ``[N, d]``.

    Args:
        network: the module.
        probe: an input that finds its ``d``, or ``d``.
    """
    spec = ExtractorSpec(*_named(network), {"output": ""}, None, preprocessing="none")
    return _from_module(network, spec, NeuronLayout({"output": probe}) if isinstance(probe, int) else probe)


def automatic_layers(network: nn.Module, probe: torch.Tensor) -> list[str]:
    """Where a timm network is read unless layers are chosen: each of its blocks or stages, and its final norm.

    Of a block that gives several tensors the one with the channels that timm states is taken, or each.

    Args:
        network: the network.
        probe: images to run it on, ``[N, 3, H, W]`` network input.

    Raises:
        ValueError: when the network does not say what its stages are, or does not have its channels where it says.
    """
    reader = _Reader(network, probe)
    stages: list[str] = []
    for path, channels in _stages(network):
        for parts in reader.parts(path):
            stated = [part for part in parts if reader.channels(part) == channels]
            if not stated and all(reader.shapes[part][-1] == channels for part in parts):
                raise ValueError(
                    f"{path} of {type(network).__name__} has its {channels} channels last, {reader.shapes[parts[0]]}, "
                    "and does not say so: choose layers=[module paths] that give [N, C], [N, tokens, C] or [N, C, H, W]"
                )
            stages += stated[:1] or parts
    if not stages:
        raise ValueError(
            f"{type(network).__name__} does not say what its stages are: choose layers=[module paths], for example "
            f"{[name for name, _ in network.named_modules() if name][:4]}"
        )
    modules = dict(network.named_modules())
    names = [name for name in ("norm", "fc_norm", "head.norm") if not isinstance(modules.get(name), nn.Identity)]
    final = [part for parts in next(filter(None, map(reader.parts, names)), []) for part in parts]
    # A last norm with channels last, where the rest has them first, cannot be told from a map.
    width = getattr(network, "num_features", None)
    final = [part for part in final if reader.shapes[part][-1] != width or reader.channels(part) == width]
    return list(dict.fromkeys([*stages, *final]))


def _stages(network: nn.Module) -> list[tuple[str, int | None]]:
    """Module paths of blocks or stages, with the number of channels where timm states it."""
    modules = dict(network.named_modules())
    info: Any = getattr(network, "feature_info", None) or []
    stated: list[tuple[str, int | None]] = [
        (str(stage["module"]), int(stage["num_chs"])) for stage in info if stage["module"]
    ]
    if stated and all(path in modules for path, _ in stated):
        return stated
    named = [name for name in modules if re.fullmatch(r"(block|stage|layer|level)(s|_?\d+)", name.split(".")[-1])]
    depth = min((name.count(".") for name in named), default=0)
    found: list[tuple[str, int | None]] = []
    for name in named:
        if name.count(".") == depth:
            within = [f"{name}.{child}" for child, _ in modules[name].named_children()]
            found += [(path, None) for path in (within if name.endswith("s") else [name])]
    return found


class _Reader:
    """Shapes of what the modules of a network give, for one run."""

    def __init__(self, network: nn.Module, probe: torch.Tensor) -> None:
        self.network = network
        self.images = probe.shape[0]
        self.shapes: dict[str, tuple[int, ...]] = {}  # by layer path
        self._parts: dict[str, list[str]] = {}
        handles = [
            module.register_forward_hook(lambda _module, _inputs, output, path=path: self._note(path, output))
            for path, module in network.named_modules()
        ]
        try:
            with torch.no_grad():
                network(probe)
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, path: str, output: object) -> None:
        if path in self._parts:
            return
        several = enumerate(output) if isinstance(output, list | tuple) else [("", output)]
        found = {f"{path}[{i}]" if i != "" else path: part for i, part in several if isinstance(part, torch.Tensor)}
        readable = {
            part: tuple(tensor.shape)
            for part, tensor in found.items()
            if 2 <= tensor.ndim <= 4 and tensor.shape[0] == self.images and tensor.is_floating_point()
        }
        self.shapes.update(readable)
        self._parts[path] = list(readable)

    def parts(self, path: str) -> list[list[str]]:
        """Layer paths of what a module gives; of its children where it is a list of modules that is not run itself."""
        try:
            module = self.network.get_submodule(path)
        except AttributeError:
            return []
        if path not in self._parts:
            return [parts for child, _ in module.named_children() for parts in self.parts(f"{path}.{child}")]
        return [self._parts[path]] if self._parts[path] else []

    def channels(self, part: str) -> int:
        """Number of neurons, as `FeatureExtractor` reads it."""
        shape = self.shapes[part]
        module = self.network.get_submodule(part.partition("[")[0])
        last = getattr(self.network, "output_fmt", None) == "NHWC" and not isinstance(module, nn.Conv2d)
        return shape[1] if len(shape) == 4 and not last else shape[-1]


def _from_module(
    network: nn.Module, spec: ExtractorSpec, probe: torch.Tensor | NeuronLayout | tuple[int, int]
) -> FeatureExtractor:
    key = (id(network), spec)  # alive extractors hold their module, so its id cannot be another's
    with locked(locks_of(network)):
        alive = _ALIVE.get(key)
        if alive is None:
            if isinstance(probe, tuple):
                probe = _probe(spec, probe)
            if isinstance(probe, torch.Tensor) and probe.is_meta:
                # Made under torch.device("meta"), which is not where to look at a user's module.
                probe = torch.zeros(probe.shape, dtype=probe.dtype, device="cpu")
            alive = FeatureExtractor(network, spec, weights_sha256(network.state_dict()), probe)
            _ALIVE[key] = alive
        alive.weights(contents=True)
    return alive


def _named(network: nn.Module) -> tuple[str, str]:
    """Name and architecture of a user's module: both say that it is one."""
    cls = type(network)
    return f"{MODULE}{cls.__name__}", f"{MODULE}{cls.__module__}.{cls.__qualname__}"


def _probe(spec: ExtractorSpec, size: tuple[int, int]) -> torch.Tensor:
    """What a network's layers and response are found out with, at the spec's size or, where it has none, another."""
    return spec.preprocess(probe_image(3, *(spec.preprocess.size or size)))


def _of_features(features: PrecomputedFeatures) -> FeatureExtractor:
    key = (features.network, *features.layers.items())
    return _ALIVE.setdefault(key, FeatureExtractor(nn.Identity(), features.spec, "", features.layout, features))


def _rebuilt(spec: ExtractorSpec, weights: str) -> FeatureExtractor:
    extractor = create_extractor(spec)
    found = extractor.fingerprint.weights
    if found != weights:
        raise ValueError(f"weights of {spec.name!r} differ: pickled with {weights[:12]}, here {found[:12]}")
    return extractor


def _reduced(extractor: FeatureExtractor) -> tuple[Any, ...]:
    if extractor.features is not None:
        return create_extractor, (extractor.features,)
    weights = extractor.weights(contents=True)
    if extractor.spec.is_rebuildable:
        return _rebuilt, (extractor.spec, weights)
    return FeatureExtractor, (extractor.network, extractor.spec, weights, extractor.probe_images)  # weights and all


# Here rather than in `FeatureExtractor.__reduce__`, which would have to know how extractors are found.
copyreg.pickle(FeatureExtractor, _reduced)


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
