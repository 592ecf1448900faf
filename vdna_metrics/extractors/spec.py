"""An extractor as data."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from vdna_metrics.extractors.modes import Crop, Interpolation, PreprocessingMode
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.files import check_schema, errors_of, read_json, write_whole
from vdna_metrics.fingerprint import MODULE, ExtractorFingerprint, Precision, named_vectors
from vdna_metrics.layout import check_choice
from vdna_metrics.schema import Positive, typed

PLUGIN = "entry-point:"  # architecture prefix of those that an installed package brings
FACTORY = re.compile(r"(?P<file>.+\.py):(?P<factory>[^\W\d]\w*(\.[^\W\d]\w*)*)")  # of those of code in a file
SPEC_SCHEMA = 1
_PATHS = ("architecture", "weights", "ranges")  # fields that may be paths


@dataclass(frozen=True, eq=False)
class ExtractorSpec:
    """What is needed to build a frozen feature extractor.

    Args:
        name: how users call it.
        architecture: a timm architecture, ``"torchvision:NAME"``, a name in
            ``extractors.architectures.ARCHITECTURES``, or ``"FILE.py:FACTORY"``, code that makes the network and is
            run when it is trusted.
        layers: module paths whose outputs are looked at, or ``{layer name: module path}``. A path may end in an index:
            ``"stage4[1]"`` is the second of a list of tensors, ``"norm[:, 0]"`` a class token. Empty: each block or
            stage and the final norm of a timm network.
        size: input height and width in pixels, one number for a square, ``None`` for the images' own size.
        mean: per channel mean, of values in [0, 1]; one number serves all channels.
        std: per channel standard deviation, likewise.
        architecture_kwargs: passed to the architecture.
        weights: where the weights come from: a local ``.safetensors`` or torch file; ``"timm"`` for timm's own;
            ``"hf-hub:owner/name/path/file"``, with ``name@revision`` for a revision; ``"https://..."``;
            ``"package:file"`` for one that comes with this package; ``"seeded:0"`` for numbers drawn from
            ``numpy.random.RandomState(0)``; ``None`` for the architecture's own initialisation.
        sha256: hexadecimal sha256 of the weights file, or its first digits, checked when given. For seeded weights it
            is the fingerprint's ``weights``.
        state_dict_key: entry of the file that holds the weights, when they are not at its top.
        ignore_weights: prefixes of weights that the file may have and the layers do not need, or the reverse.
        ranges: where activation ranges are published, as the vdna package's ``activation_ranges.json``: a file like
            those of ``weights``.
        preprocessing: how images are resized, see `Preprocessing`.
        crop: see `Preprocessing`.
        interpolation: see `Preprocessing`.
        neurons: number of neurons of all layers, for lists of extractors that are not built.
        licence: of the weights.
        note: where the network comes from.
        precision: ``"fp32"`` computes in the network's own floating type, float32 without TF32 also where the user
            allows TF32; ``"tf32"`` allows it in convolutions and matrix products; ``"bf16"`` and ``"fp16"`` run under
            ``torch.autocast``. Distances need one precision on both sides.
        channels_last: keep images and weights in ``torch.channels_last`` memory format.
        compile: run through ``torch.compile``, in one graph.
        vectors: as in `ExtractorFingerprint`, of layers that are projected on `GivenDirections`.

    Examples:
        >>> spec = ExtractorSpec("r18", "resnet18", ["layer1", "layer4"], size=64, mean=0.5, std=0.5)
        >>> spec.layers, spec.preprocess.id
        ({'layer1': 'layer1', 'layer4': 'layer4'}, 'clean:bicubic:64x64:mean=0.5,0.5,0.5:std=0.5,0.5,0.5')
    """

    name: str
    architecture: str
    layers: Mapping[str, str] | Sequence[str] = ()
    size: int | tuple[int, int] | None = 224
    mean: float | Sequence[float] = (0.485, 0.456, 0.406)
    std: float | Sequence[float] = (0.229, 0.224, 0.225)
    architecture_kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    state_dict_key: str | None = None
    ignore_weights: tuple[str, ...] = ()
    ranges: str | None = None
    preprocessing: PreprocessingMode = "clean"
    crop: Crop = "none"
    interpolation: Interpolation = "bicubic"
    neurons: int | None = None
    licence: str = ""
    note: str = ""
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    vectors: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.layers, str):
            raise TypeError(f"layers must be a list of module paths or {{name: path}}, got the text {self.layers!r}")
        object.__setattr__(self, "layers", self.paths)
        object.__setattr__(self, "vectors", named_vectors(self.vectors, self.paths))
        object.__setattr__(self, "architecture_kwargs", dict(self.architecture_kwargs))
        if self.weights is not None:
            object.__setattr__(self, "weights", str(self.weights))
        if self.sha256 is not None:
            object.__setattr__(self, "sha256", self.sha256.lower())
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        object.__setattr__(self, "size", None if size is None else (int(size[0]), int(size[1])))
        for name in ("mean", "std"):
            value = getattr(self, name)
            channels = (float(value),) * 3 if isinstance(value, (int, float)) else tuple(float(v) for v in value)
            if len(channels) != 3:
                raise ValueError(f"{name} needs one number or three, got {value!r}")
            object.__setattr__(self, name, channels)
        check_choice("precision", self.precision, Precision)
        for name in ("channels_last", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, got {getattr(self, name)!r}")
        _ = self.preprocess  # checks its parts

    @property
    def paths(self) -> dict[str, str]:
        """`{layer name: module path}`."""
        return dict(self.layers) if isinstance(self.layers, Mapping) else {path: path for path in self.layers}

    @property
    def preprocess(self) -> Preprocessing:
        """Resizing and normalisation."""
        return Preprocessing(self.preprocessing, self.size, self.crop, self.interpolation, self.mean, self.std)  # type: ignore[arg-type]

    @property
    def architecture_id(self) -> str:
        """Architecture with its arguments, as fingerprints have it."""
        if not self.architecture_kwargs:
            return self.architecture
        return f"{self.architecture}({json.dumps(self.architecture_kwargs, sort_keys=True)})"

    @property
    def options(self) -> tuple[str, ...]:
        """How the network is run besides its precision, as fingerprints have it."""
        return tuple(name for name in ("channels_last", "compile") if getattr(self, name))

    @cached_property
    def identity(self) -> str:
        """All that decides what network this is and how it is run, as text; equal specs have equal ones."""
        parts = [self.name, self.architecture_id, self.layers, self.weights, self.sha256, self.state_dict_key]
        return json.dumps([*parts, self.ignore_weights, self.ranges, self.preprocess.id, self.precision, self.options])

    def __eq__(self, other: object) -> bool:
        return self.identity == other.identity if isinstance(other, ExtractorSpec) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def is_code(self) -> bool:
        """Whether code of a file, or of an installed package, makes its network."""
        return self.architecture.startswith(PLUGIN) or FACTORY.fullmatch(self.architecture) is not None

    @property
    def is_rebuildable(self) -> bool:
        """Whether this spec gives the same network again, which a module and weights of chance do not."""
        return self.is_code or (self.weights is not None and not self.architecture.startswith(MODULE))

    @property
    def fingerprint(self) -> ExtractorFingerprint:
        """What the spec itself says of its network: nothing is built or downloaded.

        Weights are known where the spec states them, as seeded ones are; else they are empty and not compared.
        `FeatureExtractor.fingerprint` has those that were loaded.
        """
        seeded = (self.weights or "").startswith("seeded:")
        return ExtractorFingerprint(
            f"{MODULE}{self.architecture}" if self.is_code else self.architecture_id,
            (self.sha256 or "") if seeded else "",
            self.preprocess.id,
            self.paths,
            self.precision,
            self.options,
            vectors=self.vectors,
        )

    def save(self, path: str | Path) -> Path:
        """Write the spec as JSON, whole or not at all; relative paths in it become relative to the file.

        Raises:
            ValueError: for a spec of a ``torch.nn.Module``, which no file can say.

        Examples:
            >>> import tempfile
            >>> spec = ExtractorSpec("r18", "resnet18", ["layer1"], size=64, weights="seeded:0")
            >>> load_spec(spec.save(f"{tempfile.mkdtemp()}/r18.json")) == spec
            True
        """
        if self.architecture.startswith(MODULE):
            raise ValueError(
                f"{self.name!r} is a torch.nn.Module, which a file cannot say: give a spec whose architecture is "
                "FILE.py:FACTORY, code that makes it"
            )
        path = Path(path)
        moved = _with_paths(self, lambda each: os.path.relpath(each, path.absolute().parent))
        data = {item.name: getattr(moved, item.name) for item in fields(self)}
        return write_whole(path, json.dumps({"schema": SPEC_SCHEMA, **data}, indent=1) + "\n")


def load_spec(path: str | Path) -> ExtractorSpec:
    """Read a spec that `ExtractorSpec.save` wrote, or somebody by hand; nothing in it is run or fetched.

    Args:
        path: the file; relative paths in it are relative to it.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a spec; the field is named.
    """
    data = read_json(path, Mapping[str, Any], "the spec of an extractor")  # type: ignore[type-abstract]
    with errors_of(str(path)):
        check_schema(data, SPEC_SCHEMA, "the spec of an extractor")
        found = typed(_SpecFields, {name: value for name, value in data.items() if name != "schema"})
        return _with_paths(ExtractorSpec(**vars(found)), lambda each: os.path.join(os.path.dirname(path), each))


@dataclass(frozen=True)
class _SpecFields:
    """What a file says of a spec, as `ExtractorSpec` has it after its checks."""

    name: str
    architecture: str
    layers: Mapping[str, str]
    size: tuple[Positive, Positive] | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    architecture_kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    state_dict_key: str | None = None
    ignore_weights: tuple[str, ...] = ()
    ranges: str | None = None
    preprocessing: PreprocessingMode = "clean"
    crop: Crop = "none"
    interpolation: Interpolation = "bicubic"
    neurons: Positive | None = None
    licence: str = ""
    note: str = ""
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    vectors: Mapping[str, str] = field(default_factory=dict)


def _with_paths(spec: ExtractorSpec, move: Callable[[str], str]) -> ExtractorSpec:
    """With its relative paths moved."""

    def is_path(name: str, value: str | None) -> bool:
        if value is None or os.path.isabs(value):
            return False
        if name == "architecture":
            return FACTORY.fullmatch(value) is not None
        return ":" not in value and value != "timm"  # "seeded:0", "package:FILE", "https://..."

    found = {name: value for name in _PATHS if is_path(name, value := getattr(spec, name))}
    moved: dict[str, Any] = {name: move(value) for name, value in found.items()}
    return replace(spec, **moved)


def module_name(network: nn.Module) -> str:
    """How DNAs call a ``torch.nn.Module``: it says that it is one."""
    return f"{MODULE}{type(network).__name__}"


def module_architecture(network: nn.Module) -> str:
    """How fingerprints call the architecture of a ``torch.nn.Module``."""
    return f"{MODULE}{type(network).__module__}.{type(network).__qualname__}"
