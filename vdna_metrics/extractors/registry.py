"""From what a user says (a name, a spec, a module) to a frozen extractor."""

from __future__ import annotations

import copyreg
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from vdna_metrics.extractors.architectures import TORCHVISION, check_architecture
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.directions import AnyDirections, DirectionsLike, as_directions, vectors_of
from vdna_metrics.extractors.execution import hermetic, locked, locks_of
from vdna_metrics.extractors.modes import Crop, PreprocessingMode
from vdna_metrics.extractors.modules import own_size, unwrapped
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.own_code import made_by_code, plugins
from vdna_metrics.extractors.precomputed import PrecomputedFeatures
from vdna_metrics.extractors.response import probe_image
from vdna_metrics.extractors.spec import FACTORY, PLUGIN, ExtractorSpec, load_spec, module_architecture, module_name
from vdna_metrics.extractors.weights import build_network, no_timm_weights, weights_sha256
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
    """Names of the catalogue and of installed packages; besides these, see `get_spec`.

    Examples:
        >>> "seeded_resnet18" in list_extractors()
        True
    """
    return sorted({*CATALOGUE, *plugins()})


def get_spec(
    name: str, *, weights_path: str | Path | None = None, architecture_kwargs: Mapping[str, Any] | None = None
) -> ExtractorSpec:
    """The spec that a name stands for; nothing is built, and no code is run but an installed package's.

    ================================  ==============================================================================
    a name of `list_extractors`       of the catalogue, or of an entry point of the group ``vdna_metrics.extractors``
    ``timm:NAME``                     any network of timm, ``timm:resnet50.a1_in1k`` with certain weights
    ``torchvision:NAME``              any of torchvision's that classifies images, with its default weights;
                                      ``torchvision:resnet50.IMAGENET1K_V1`` with certain ones
    ``SPEC.json``                     a file that `ExtractorSpec.save` wrote
    ``FILE.py:FACTORY``               code that gives a ``torch.nn.Module`` or an `ExtractorSpec`
    ================================  ==============================================================================

    Args:
        name: one of these.
        weights_path: local weights file to use instead of the spec's source.
        architecture_kwargs: for ``timm:``, ``torchvision:`` and code: passed to what makes the network, for example
            ``{"pad_type": "same"}``.

    Raises:
        ValueError: for an unknown name; near ones are named.
    """
    takes_arguments = True
    if name.startswith("timm:"):
        spec = _timm_spec(name)
    elif name.startswith(TORCHVISION):
        spec = _torchvision_spec(name)
    elif (match := FACTORY.fullmatch(name)) is not None:
        spec = _spec_of_code(f"{Path(match['file']).name}:{match['factory']}", name)
    elif name.endswith(".json"):
        spec, takes_arguments = load_spec(name), False
    elif name in CATALOGUE:
        spec, takes_arguments = CATALOGUE[name], False
    elif name in plugins():
        spec = _spec_of_code(name, f"{PLUGIN}{name}")
    else:
        raise ValueError(_unknown(name))
    if architecture_kwargs is not None:
        if not takes_arguments:
            raise ValueError(f"architecture_kwargs are for timm:NAME, torchvision:NAME and code, {name!r} has its own")
        spec = replace(spec, architecture_kwargs={**spec.architecture_kwargs, **architecture_kwargs})
    if weights_path is not None:
        # A file that the user names need not be the published one byte for byte; its own hash is in the fingerprint.
        spec = replace(spec, weights=str(weights_path), sha256=None)
    return spec


def is_own(name: str) -> bool:
    """Whether a name is that of a file of the user's: code, or a spec; only he can say where it lies.

    Examples:
        >>> is_own("nets/mine.py:build"), is_own("mine.json"), is_own("timm:resnet18")
        (True, True, False)
    """
    return FACTORY.fullmatch(name) is not None or name.endswith(".json")


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

    if not spec.is_code and not is_own(spec.name):
        try:
            return read(spec) == read(get_spec(spec.name))
        except ValueError:  # a name of the other's own
            pass
    drawn = spec.weights is None or spec.weights.startswith("seeded:")
    return drawn and spec.ranges is None and (spec.is_code or not spec.architecture_kwargs)


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
    return (
        f"unknown extractor {name!r} ('timm:NAME' and 'torchvision:NAME' take any network of theirs, 'FILE.py:FACTORY' "
        f"and 'SPEC.json' one's own); {near_names(name, list_extractors())}"
    )


class NetworkOptions(TypedDict, total=False):
    """Keyword arguments of `create_extractor` that all have who take an extractor: metrics and commands."""

    weights_path: str | Path | None
    size: int | tuple[int, int] | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    crop: Crop | None
    preprocessing: PreprocessingMode | None
    directions: DirectionsLike | None
    trust_code: bool


def create_extractor(
    extractor: ExtractorLike,
    *,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    weights_path: str | Path | None = None,
    architecture_kwargs: Mapping[str, Any] | None = None,
    size: int | tuple[int, int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    crop: Crop | None = None,
    preprocessing: PreprocessingMode | None = None,
    directions: DirectionsLike | None = None,
    probe_size: tuple[int, int] | None = None,
    precision: Precision | None = None,
    channels_last: bool | None = None,
    compile: bool | None = None,
    trust_code: bool = False,
) -> FeatureExtractor:
    """Build a frozen extractor, or return the one that is alive already.

    A network by name or spec is built on the CPU in float32 whatever surrounds the call, and random streams go on as
    they would without it; the architecture's own initialisation is drawn from a copy of torch's. A module keeps its
    type, and its fingerprint follows its weights. Of one that is wrapped for training or compiled
    (``DistributedDataParallel``, ``torch.compile``) the module inside is taken.

    Args:
        extractor: a name, see `get_spec`; an `ExtractorSpec`, a ``torch.nn.Module``, `PrecomputedFeatures`, or an
            extractor, which is returned as it is.
        layers: module paths, or ``{layer name: module path}``, for a module and whatever has no layers of its own, as
            ``timm:`` names. Names of the catalogue and specs have their layers; select among them where the extractor
            is used. A module without ``layers`` is read at its output, as layer ``"output"``.
        weights_path: local weights file, ``.safetensors`` or a torch file that loads with ``weights_only=True``.
        architecture_kwargs: see `get_spec`.
        size: for a module: size to which images are resized; ``None`` keeps theirs.
        mean: for a module: subtracted from images in [0, 1]; 0 by default.
        std: for a module: then divided by; 1 by default.
        crop: what of an image is looked at, see `Preprocessing`; part of what the extractor is.
        preprocessing: for a module: how images are resized, see `Preprocessing`.
        directions: ``{layer: number of directions, Directions, GivenDirections or vectors [n, d]}``: each adds a layer,
            of 64 ``"LAYER@directions64"``, whose neurons are the projections of that layer's mean over positions, see
            `Directions` and `principal_directions`. For what has no layers of its own, a module path that ``layers``
            does not name may be given, too.
        probe_size: for a module without ``size``: height and width of the image that finds its neurons; by default
            what the module itself says its images are, else 64 x 64.
        precision: how the network is run, as ``channels_last`` and ``compile``: see `ExtractorSpec`, whose values hold
            where ``None`` is given. Extractors that differ in these are different ones.
        channels_last: as above.
        compile: as above.
        trust_code: whether a name or spec may run the code of a file, ``FILE.py:FACTORY``.

    Raises:
        ValueError: for unknown names, layers, or weights that cannot be had.
        TypeError: for anything else given as extractor.

    Examples:
        >>> extractor = create_extractor(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), layers=["0"])
        >>> extractor(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))["0"].shape
        torch.Size([8, 2, 900])
    """
    of_module: dict[str, Any] = {"size": size, "mean": mean, "std": std, "preprocessing": preprocessing}
    of_any = {"crop": crop, "precision": precision, "channels_last": channels_last, "compile": compile}
    chosen: dict[str, Any] = {name: value for name, value in of_any.items() if value is not None}
    described: dict[str, Any] = {name: value for name, value in of_module.items() if value is not None}
    spec, network = spec_and_module(extractor, weights_path, architecture_kwargs, trust_code=trust_code)
    added, any_path = as_directions(directions), not spec.layers
    if layers is not None and spec.layers:
        raise ValueError(
            f"layers can be chosen for timm:NAME and modules, {extractor!r} has its own: select among them where the "
            "extractor is used (layers= of a metric, build_dnas or VDNA.select)"
        )
    if described and (network is None or isinstance(extractor, ExtractorSpec)):
        raise ValueError(
            f"size, mean, std and preprocessing are for modules, {extractor!r} has its own; an ExtractorSpec states "
            "them"
        )
    if isinstance(extractor, FeatureExtractor):
        for name, value in chosen.items():
            if value != getattr(extractor.spec, name):
                raise ValueError(
                    f"expected {name}={value!r}, {extractor.name!r} is built with {getattr(extractor.spec, name)!r}: "
                    "give its name, spec or module to build another"
                )
        extractor.weights(contents=True)
        return _with_directions(extractor, added)
    if isinstance(extractor, PrecomputedFeatures):
        if described or chosen:
            names = ", ".join(described | chosen)
            raise ValueError(f"{names}: of a network that is run, features were computed elsewhere")
        return _of_features(replace(extractor, directions={**as_directions(extractor.directions), **added}))
    spec = replace(spec, **described, **chosen)
    if network is not None:
        named, vectors = layers or spec.layers or {"output": ""}, {**spec.vectors, **vectors_of(added)}
        built = _from_module(network, replace(spec, layers=named, vectors=vectors), probe_size)
    else:
        complete = spec if layers is None else replace(spec, layers=layers, vectors=vectors_of(added))
        built = _from_spec(complete, probe_size)
    return _with_directions(built, added, any_path=any_path)


def _from_spec(spec: ExtractorSpec, probe_size: tuple[int, int] | None) -> FeatureExtractor:
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
            probe = _probe(network, spec, probe_size)
            complete = spec if spec.layers else replace(spec, layers=automatic_layers(network, probe))
            alive = FeatureExtractor(network, complete, digest, probe)
            _ALIVE[spec] = _ALIVE[complete] = alive
    return alive


def _with_directions(
    extractor: FeatureExtractor, added: Mapping[str, AnyDirections], *, any_path: bool = False
) -> FeatureExtractor:
    """An extractor that looks along directions besides, of the same network; the extractor itself if it does already.

    Args:
        extractor: the extractor.
        added: ``{layer: directions}``.
        any_path: whether a layer may be a module path that the extractor does not look at.
    """
    if extractor.features is not None:
        return create_extractor(extractor.features, directions=added) if added else extractor
    known = extractor.spec.paths
    paths = dict(known)
    for layer, directions in added.items():
        name = directions.layer(layer)
        if name not in known and layer not in known and not any_path:
            extractor.layout.check_layers([layer], what="directions")
        paths[name] = known.get(name) or directions.path(known.get(layer, layer))
    if paths == known:
        return extractor
    spec = replace(extractor.spec, layers=paths, vectors={**extractor.spec.vectors, **vectors_of(added)})
    key = (id(extractor.network), spec)  # as in `_from_module`
    with extractor.locked():
        alive = _ALIVE.get(key)
        if alive is None:
            weights = extractor.weights(contents=True)
            alive = FeatureExtractor(extractor.network, spec, weights, extractor.probe_images)
            _ALIVE[key] = alive
        alive.weights(contents=True)
    return alive


def spec_and_module(
    extractor: ExtractorLike,
    weights_path: str | Path | None = None,
    architecture_kwargs: Mapping[str, Any] | None = None,
    *,
    trust_code: bool,
) -> tuple[ExtractorSpec, nn.Module | None]:
    """What an extractor is given as: its spec, and the module where the network is not built from the spec alone.

    Whoever keeps the module need not fear that code which makes it is run again. Arguments are those of
    `create_extractor`.
    """
    if isinstance(extractor, FeatureExtractor | nn.Module | PrecomputedFeatures) and weights_path is not None:
        raise ValueError(f"weights_path is for extractors by name, got a {type(extractor).__name__}")
    if architecture_kwargs is not None and not isinstance(extractor, str):
        raise ValueError(f"architecture_kwargs are for names, {type(extractor).__name__} has its own")
    if isinstance(extractor, FeatureExtractor | PrecomputedFeatures):
        return extractor.spec, None
    if isinstance(extractor, nn.Module):
        network = unwrapped(extractor)
        return ExtractorSpec(module_name(network), module_architecture(network), size=None, mean=0.0, std=1.0), network
    if isinstance(extractor, str):
        spec = get_spec(extractor, weights_path=weights_path, architecture_kwargs=architecture_kwargs)
    elif isinstance(extractor, ExtractorSpec):
        spec = extractor if weights_path is None else replace(extractor, weights=str(weights_path), sha256=None)
    else:
        raise TypeError(
            "an extractor is a name, an ExtractorSpec, a torch.nn.Module, PrecomputedFeatures or a FeatureExtractor, "
            f"got {type(extractor).__name__}"
        )
    if not spec.is_code:
        return spec, None
    made = made_by_code(spec, trust_code=trust_code)
    if isinstance(made, nn.Module):
        return spec, unwrapped(made)
    if spec.architecture.startswith(PLUGIN):  # called as the package calls it, by which it can be asked for again
        made = replace(made, name=spec.name)
    return spec_and_module(made, weights_path, trust_code=trust_code)


def extractor_and_layout(
    extractor: ExtractorLike,
    layers: Sequence[str] | Mapping[str, str] | None,
    neurons: NeuronsLike | None = None,
    *,
    paths: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[FeatureExtractor, NeuronLayout]:
    """An extractor and the selection of its neurons that a user asks for.

    Args:
        extractor: as in `create_extractor`.
        layers: module paths for modules and whatever has no layers of its own, else names of the extractor's layers;
            ``None`` for all. Layers of ``directions`` among the options are looked at in any case; where ``layers``
            names nothing else, they alone are.
        neurons: ``{layer: indices}``, a `NeuronSelection`, or its file.
        paths: ``{layer: module path}`` that are taken where nobody says any.
        options: of `create_extractor`.

    Raises:
        ValueError: for unknown names, layers, neurons, or weights that cannot be had.
    """
    layers = [layers] if isinstance(layers, str) else layers
    trust_code = options.get("trust_code", False)
    spec, _network = spec_and_module(extractor, options.get("weights_path"), trust_code=trust_code)
    added = {each.layer(layer): each.path(layer) for layer, each in as_directions(options.get("directions")).items()}
    own = layers
    if layers is not None and added:
        named = layers if isinstance(layers, Mapping) else {name: name for name in layers}
        own = {name: path for name, path in named.items() if name not in added} or added
    built = create_extractor(extractor, layers=None if spec.layers else own or paths, **options)
    chosen = chosen_neurons(neurons, built.fingerprint)
    wanted = chosen if layers is None and added else layers
    return built, built.layout.select(None if wanted is None else list(dict.fromkeys([*wanted, *added])), chosen)


def rebuildable_name(name: str, fingerprint: ExtractorFingerprint) -> str:
    """The name of the network that a DNA is of, for who wants to build it.

    Args:
        name: as the DNA's provenance has it.
        fingerprint: of the DNA.

    Raises:
        ValueError: for a module of a user's own, which no name builds, and for a file of a user's: a DNA does not
            choose which is run or read.
    """
    if is_own(name):
        raise ValueError(
            f"the DNA is of {name}, a network of somebody's own: give it by --extractor, with the folder where "
            f"{name.partition(':')[0]} lies (and --trust-code)"
        )
    if fingerprint.is_module and name not in list_extractors():  # early DNAs have the class's name alone
        raise ValueError(_unknown(f"{MODULE}{name.removeprefix(MODULE)}"))
    return name


def raw_module_extractor(network: nn.Module, *, probe: torch.Tensor | int) -> FeatureExtractor:
    """An extractor that hands images to a module exactly as they come and reads its output ``[N, d]``.

    Args:
        network: the module.
        probe: an input that finds its ``d``, or ``d``.
    """
    spec = ExtractorSpec(module_name(network), module_architecture(network), {"output": ""}, None, preprocessing="none")
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
    names = [
        name
        for name in ("norm", "fc_norm", "head.norm", "encoder.ln")
        if not isinstance(modules.get(name), nn.Identity)
    ]
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
    named = named or [name for name in modules if name == "features"]  # of torchvision
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
    network: nn.Module, spec: ExtractorSpec, probe: torch.Tensor | NeuronLayout | tuple[int, int] | None
) -> FeatureExtractor:
    key = (id(network), spec)  # alive extractors hold their module, so its id cannot be another's
    with locked(locks_of(network)):
        alive = _ALIVE.get(key)
        if alive is None:
            if probe is None or isinstance(probe, tuple):
                probe = _probe(network, spec, probe)
            if isinstance(probe, torch.Tensor) and probe.is_meta:
                # Made under torch.device("meta"), which is not where to look at a user's module.
                probe = torch.zeros(probe.shape, dtype=probe.dtype, device="cpu")
            alive = FeatureExtractor(network, spec, weights_sha256(network.state_dict()), probe)
            _ALIVE[key] = alive
        alive.weights(contents=True)
    return alive


def _probe(network: nn.Module, spec: ExtractorSpec, size: tuple[int, int] | None) -> torch.Tensor:
    """What a network's layers and response are found out with, ``[1, 3, H, W]`` network input."""
    size = spec.preprocess.size or size or own_size(network) or (64, 64)
    return spec.preprocess(probe_image(3, *size))


def _of_features(features: PrecomputedFeatures) -> FeatureExtractor:
    key = (features.network, *features.layers.items(), *features.directions.items())
    return _ALIVE.setdefault(key, FeatureExtractor(nn.Identity(), features.spec, "", features.layout, features))


def _rebuilt(spec: ExtractorSpec, weights: str) -> FeatureExtractor:
    extractor = create_extractor(spec, trust_code=True)  # whoever loads a pickle runs its code anyway
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

    architecture = name.removeprefix("timm:")
    check_architecture(architecture)
    try:
        config = timm.get_pretrained_cfg(architecture)
    except RuntimeError:  # no such tag
        raise no_timm_weights(architecture) from None
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


def _torchvision_spec(name: str) -> ExtractorSpec:
    from torchvision import models

    network, _, tag = name.removeprefix(TORCHVISION).partition(".")
    check_architecture(f"{TORCHVISION}{network}")
    known = models.get_model_weights(network)
    if tag and tag not in known.__members__:
        raise ValueError(
            f"torchvision has no weights {tag!r} of {network!r}; {near_names(tag, list(known.__members__))}"
        )
    weights = known[tag] if tag else known.DEFAULT
    how, file = weights.transforms(), weights.url.rpartition("/")[2]
    size, digest = [*how.crop_size] * 2, re.search(r"-([0-9a-f]{8,})\.", file)
    arguments: dict[str, Any] = {}
    if network.startswith("vit_"):  # as torchvision sets them where it loads weights itself
        arguments = {"image_size": size[0]}
    elif network in ("googlenet", "inception_v3"):
        arguments = {"transform_input": True}
    return ExtractorSpec(
        name=name,
        architecture=f"{TORCHVISION}{network}",
        architecture_kwargs=arguments,
        size=(size[0], size[1]),
        mean=how.mean,
        std=how.std,
        weights=weights.url,
        sha256=digest and digest[1],
        licence="see torchvision's page of the weights",
        note=str(weights.meta.get("recipe") or "torchvision"),
    )


def _spec_of_code(name: str, architecture: str) -> ExtractorSpec:
    return ExtractorSpec(name, architecture, size=None, mean=0.0, std=1.0)
