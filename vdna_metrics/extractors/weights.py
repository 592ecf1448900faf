"""Weights: found locally or downloaded, checked, loaded without unpickling."""

from __future__ import annotations

import hashlib
import sys
import weakref
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vdna_metrics.downloads import HUB, DownloadError, RemoteFile
from vdna_metrics.extractors.architectures import build_architecture, check_architecture, seeded_state_dict
from vdna_metrics.extractors.execution import hermetic
from vdna_metrics.extractors.spec import ExtractorSpec
from vdna_metrics.files import check_file, errors_of, open_zip, sha256_of_file

_PACKAGE = "package:"
_SEEDED = "seeded:"
_TIMM = "timm"

_ROW, _ODD = 4096, 0x1E3779B97F4A7C15  # of `checksum`


def build_network(spec: ExtractorSpec, *, network: nn.Module | None = None) -> tuple[nn.Module, str]:
    """Build a spec's network with its weights, on the CPU in float32 whatever surrounds the call.

    Args:
        spec: of the network.
        network: made by code of somebody's own, to be given the weights; it keeps its type and where it lies.

    Returns:
        The network in eval mode without gradients, and the sha256 of its weights.

    Raises:
        ValueError: when weights cannot be had, are not those the spec states, or do not fit the architecture.
    """
    # Before the network is built, which takes seconds: a mistyped name, or weights that cannot be had.
    own = network is not None
    if not own:
        check_architecture(spec.architecture)
    seeded = spec.weights is not None and spec.weights.startswith(_SEEDED)
    path = None if seeded or spec.weights is None else _weights_file(spec)
    with hermetic():
        if network is None:
            network = build_architecture(spec.architecture, spec.architecture_kwargs)
        if path is not None:
            _load_into(network, read_state_dict(path, spec.state_dict_key), spec, path)
        elif seeded:
            network.load_state_dict(seeded_state_dict(network, int(str(spec.weights).removeprefix(_SEEDED))))
        network.eval().requires_grad_(False)
        for name, tensor in () if own else network.named_parameters():
            if tensor.device.type != "cpu" or tensor.dtype in (torch.float16, torch.bfloat16, torch.float64):
                raise ValueError(
                    f"expected weights in float32 on the CPU, got {name} of {spec.name!r} in {tensor.dtype} on "
                    f"{tensor.device}: something around the call replaces torch's modules; create the extractor before"
                )
        digest = weights_sha256(network.state_dict(), ignore=spec.ignore_weights)
    if seeded and spec.sha256 not in (None, digest):
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
        for tensor in _tensors_of(state_dict[name]):
            tensor = tensor.detach().cpu().contiguous()
            digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors_of(value: Any) -> Iterator[Tensor]:
    """A weight, or those that quantised layers pack together, as what they compute with."""
    if isinstance(value, Tensor):
        yield value.dequantize() if value.is_quantized else value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors_of(part)


class LiveWeights:
    """The sha256 of a network's weights while others may change them.

    Which tensors the weights are, where they lie and how often torch has changed them is looked at each time; what is
    in them when this says so, or when asked: by sha256 on the CPU, elsewhere by a sum that is taken where they are.
    Weights made under inference mode count no changes, and are looked into each time.

    Args:
        network: the network.
        sha256: of its weights as they are now.
        ignore: as in `weights_sha256`.
    """

    def __init__(self, network: nn.Module, sha256: str, ignore: tuple[str, ...] = ()) -> None:
        self._network = network
        self._ignore = ignore
        self._sha256 = sha256
        self.moved()

    def moved(self) -> None:
        """Take note that weights are elsewhere by now, and still the same."""
        self._note(self._device_sum())

    def _note(self, device_sum: Tensor | None) -> None:
        self._marks = [(weakref.ref(tensor), *_mark(tensor)) for tensor in self._tensors()]
        self._sum = device_sum

    def sha256(self, *, contents: bool = False) -> str:
        """The sha256 now.

        Args:
            contents: whether to look into the weights even where nothing says that they have changed.
        """
        tensors = list(self._tensors())
        if not tensors or any(tensor.is_meta for tensor in tensors):  # no values
            return self._sha256
        known = len(tensors) == len(self._marks) and all(
            ref() is tensor and not tensor.is_inference() and (pointer, version) == _mark(tensor)
            for tensor, (ref, pointer, version) in zip(tensors, self._marks, strict=True)
        )
        if known and not contents:
            return self._sha256
        now = self._device_sum()
        if now is None or self._sum is None or now.device != self._sum.device or bool(now != self._sum):
            self._sha256 = weights_sha256(self._network.state_dict(), ignore=self._ignore)
        self._note(now)
        return self._sha256

    def _tensors(self) -> Iterator[Tensor]:
        for module in self._network.modules():
            yield from (parameter for parameter in module._parameters.values() if parameter is not None)
            unsaved = module._non_persistent_buffers_set
            yield from (x for name, x in module._buffers.items() if x is not None and name not in unsaved)

    def _device_sum(self) -> Tensor | None:
        tensors = list(self._tensors())
        devices = {tensor.device for tensor in tensors}
        if len(devices) != 1 or devices.pop().type in ("cpu", "meta"):
            return None
        return checksum(torch.stack([checksum(tensor) for tensor in tensors]))


def _mark(tensor: Tensor) -> tuple[int, int]:
    try:
        pointer = tensor.data_ptr()
    except RuntimeError:  # tensors of other kinds than dense ones
        pointer = 0
    return pointer, -1 if tensor.is_inference() else tensor._version


def checksum(tensor: Tensor) -> Tensor:
    """A number that depends on a tensor's bytes and their places, int64 on its device; nothing waits for it.

    Examples:
        >>> a = torch.arange(9999.0)
        >>> [bool(checksum(a) == checksum(b)) for b in (a.clone(), a + 1e-3, a.flip(0))]
        [True, False, False]
    """
    flat = tensor.detach().contiguous().flatten().view(torch.uint8)
    table, rest = flat[: len(flat) // _ROW * _ROW].view(-1, _ROW), flat[len(flat) // _ROW * _ROW :]
    sums = torch.cat([table.sum(0, dtype=torch.int64), table.sum(1, dtype=torch.int64), rest.to(torch.int64)])
    factors = torch.arange(1, len(sums) + 1, dtype=torch.int64, device=sums.device) * _ODD
    factors = (factors ^ (factors >> 29)) * _ODD
    return (sums * (factors ^ (factors >> 32))).sum()


def read_state_dict(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Read weights from a ``.safetensors`` file, or from a torch file with ``weights_only=True``.

    Raises:
        ValueError: when the file cannot be read that way or has no entry ``key``.
    """
    contents: Any
    if _is_torchscript(path):
        raise ValueError(
            f"{path} is a TorchScript archive, a program that is not run here. Where you trust it, save its weights: "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth')"
        )
    with errors_of(f"{path} is not a readable weights file", Exception):  # both readers raise types of their own
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            contents = load_file(path)
        else:
            with open(path, "rb") as file:
                if file.read(1) not in (b"P", b"\x80"):  # of a zip, of a pickle
                    raise ValueError("expected .safetensors, or what torch.save wrote; it is neither")
            contents = torch.load(path, map_location="cpu", weights_only=True)
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


def _is_torchscript(path: Path) -> bool:
    try:
        with errors_of(str(path)), open_zip(path, "members") as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _load_into(network: nn.Module, state_dict: dict[str, Tensor], spec: ExtractorSpec, path: Path) -> None:
    ignore = spec.ignore_weights or ("\0",)
    own = network.state_dict()
    wanted = {name for name in own if not name.startswith(ignore) and not name.endswith("num_batches_tracked")}
    if any(name not in state_dict or state_dict[name].shape != own[name].shape for name in wanted):
        state_dict = _in_timm_names(state_dict, network)
    if spec.weights == _TIMM:
        state_dict = _with_own_classifier(state_dict, own, spec.architecture)
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


def _with_own_classifier(
    state_dict: dict[str, Tensor], own: Mapping[str, Tensor], architecture: str
) -> dict[str, Tensor]:
    """Weights of timm without a classifier that the network lacks, and without classes that it does not count."""
    config = _timm_config(architecture)
    classifiers = (config.classifier,) if isinstance(config.classifier, str) else tuple(config.classifier or ())
    heads = {f"{classifier}.{part}" for classifier in classifiers for part in ("weight", "bias")}
    offset = config.label_offset or 0
    fitted = {}
    for name, tensor in state_dict.items():
        if name not in heads:
            fitted[name] = tensor
        elif name in own:
            fitted[name] = tensor[offset if len(tensor) == len(own[name]) + offset else 0 :]
    return fitted


def _in_timm_names(state_dict: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights of an original publication (OpenAI CLIP, MAE, DINOv2, ...) by the names of timm's network.

    timm has such a conversion beside many of its networks, by this name.
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return state_dict if convert is None else dict(convert(dict(state_dict), network))


def _some(names: list[str]) -> str:
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def source_file(source: str, sha256: str | None = None) -> Path:
    """The file that a source of weights or ranges stands for, downloaded where it has to be.

    Args:
        source: a local path, ``"package:FILE"``, ``"hf-hub:OWNER/NAME/FILE"`` or ``"https://..."``.
        sha256: hexadecimal sha256 of the file, or its first digits.

    Raises:
        ValueError: when there is no such file, or it has another sha256.
        DownloadError: likewise, for files that are downloaded.
    """
    if _is_remote(source):
        return RemoteFile(source).fetch(sha256)
    path = _local(source)
    if not path.exists():
        raise ValueError(f"no such file: {path}")
    check_file(path)
    if sha256 is not None:
        found = sha256_of_file(path)
        if not found.startswith(sha256.lower()):
            raise ValueError(f"{path} has sha256 {found}, expected {sha256}")
    return path


def cached_weights(spec: ExtractorSpec) -> Path | None:
    """The file of a spec's weights if it is on this machine; the network is not asked.

    ``None`` also when no file is needed: weights that are drawn from a seed, or none.
    """
    files = (RemoteFile(source).cached if _is_remote(source) else _local(source) for source in _sources(spec))
    return next((path for path in files if path is not None and path.is_file()), None)


def weights_address(spec: ExtractorSpec) -> str:
    """Where a spec's weights come from, for people: an address that ends in the file's name, a path, or in words."""
    sources = _sources(spec)
    if sources:
        return RemoteFile(sources[0]).address if _is_remote(sources[0]) else str(_local(sources[0]))
    if spec.weights is None:
        return "those that its code gives it" if spec.is_code else "the architecture's own initialisation"
    return f"drawn with seed {spec.weights.removeprefix(_SEEDED)}"


def _is_remote(source: str) -> bool:
    return source.startswith((HUB, "https://", "http://"))


def _local(source: str) -> Path:
    if source.startswith(_PACKAGE):
        return Path(__file__).parent / source.removeprefix(_PACKAGE)
    return Path(source).expanduser()


def _sources(spec: ExtractorSpec) -> list[str]:
    """Where the file of a spec's weights may be, the best first; none when no file is needed."""
    if spec.weights is None or spec.weights.startswith(_SEEDED):
        return []
    return _timm_sources(spec.architecture) if spec.weights == _TIMM else [spec.weights]


def _timm_config(architecture: str) -> Any:
    import timm

    try:
        config = timm.get_pretrained_cfg(architecture)
    except RuntimeError:  # no such tag
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        raise no_timm_weights(architecture)
    return config


def no_timm_weights(architecture: str) -> ValueError:
    """The error for an architecture, or one with a tag, of which timm has no weights; those that it has are named."""
    import timm

    name, _, tag = architecture.partition(".")
    known = ", ".join(timm.list_pretrained(f"{name}.*")) or "none of this architecture"
    return ValueError(
        f"timm has no weights of {architecture!r}, it has: {known}; a local file is given with weights_path=... "
        f"(command line: --weights FILE){f' and the name {name!r}' if tag else ''}"
    )


def _timm_sources(architecture: str) -> list[str]:
    config = _timm_config(architecture)
    if not config.hf_hub_id:
        return [config.url if isinstance(config.url, str) else config.url[0]]
    name = config.hf_hub_filename or "pytorch_model.bin"
    # What timm looks for: the safetensors file, which not every repository has, before the torch file.
    safe = {"pytorch_model.bin": "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}
    names = [safe.get(name, f"{name.removesuffix('.bin')}.safetensors"), name] if name.endswith(".bin") else [name]
    return [f"{HUB}{config.hf_hub_id}/{file}" for file in names]


def _weights_file(spec: ExtractorSpec) -> Path:
    """The file of a spec's weights, downloaded where it has to be."""
    sources = _sources(spec)
    cached = [source for source in sources if _is_remote(source) and RemoteFile(source).cached]
    source, *others = cached or sources
    while True:
        try:
            return source_file(source, spec.sha256)
        except DownloadError as error:
            if error.status != 404 or not others:
                raise DownloadError(
                    f"weights of {spec.name!r} could not be had: {error}. Or bring {source.rsplit('/', 1)[-1]} here by "
                    "other means and name it with weights_path=... (command line: --weights FILE), or use an extractor "
                    "that needs no download: 'vdna_tiny'",
                    error.status,
                ) from error
        except ValueError as error:
            raise ValueError(f"weights of {spec.name!r}: {error}") from error
        source = others.pop(0)
