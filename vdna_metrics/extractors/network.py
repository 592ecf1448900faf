"""A frozen network and the activations of its layers."""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vdna_metrics.extractors.directions import GivenDirections, project, split_directions
from vdna_metrics.extractors.execution import (
    CompiledForward,
    in_precision,
    locked,
    locks_of,
    random_state,
    random_streams_kept,
)
from vdna_metrics.extractors.grids import PositionGrid
from vdna_metrics.extractors.layer_paths import keep_part, part_of, split_path
from vdna_metrics.extractors.precomputed import FeaturesLike, PrecomputedFeatures
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.extractors.response import moments_of, response_of
from vdna_metrics.extractors.spec import ExtractorSpec, module_architecture
from vdna_metrics.extractors.weights import LiveWeights, checksum
from vdna_metrics.fingerprint import ExtractorFingerprint, Moments, Precision
from vdna_metrics.functional.moments import to_float64
from vdna_metrics.functional.positions import position_grid
from vdna_metrics.layout import NeuronLayout, check_names, near_names

Activations = dict[str, Tensor]


class _AllSeenError(Exception):
    """Ends a forward once every wanted layer has been seen."""


class _LayerError(ValueError):
    """A layer gives what cannot be read."""


class Lease:
    """One user's claim to an extractor: which layers it reads. A copied metric gets a lease of its own."""

    def __init__(self, extractor: FeatureExtractor, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self.extractor = extractor
        with extractor.locked():
            extractor._leases.add(self)

    def __call__(self, images: Tensor | FeaturesLike, normalize: bool = False) -> tuple[Activations, Tensor | None]:
        """Activations of a batch, from the forward of another lease where it has run the same batch just now.

        Whoever has a network whose weights may change calls `FeatureExtractor.weights` first, which drops what is kept.

        Args:
            images: as for `FeatureExtractor`.
            normalize: likewise.

        Returns:
            The activations; and, where they are another lease's and the images are not on the CPU, whether the images
            have changed in between, a bool on their device.
        """
        return self.extractor._shared(self, images, normalize)

    def __deepcopy__(self, memo: dict[int, Any]) -> Lease:
        return Lease(self.extractor, self.layers)

    def __reduce__(self) -> tuple[Any, ...]:
        return Lease, (self.extractor, self.layers)


@dataclass(frozen=True, eq=False)
class _SeenBatch:
    """Activations of a batch that other leases may ask for."""

    images: weakref.ref[Tensor]
    key: tuple[Any, ...]
    checksum: Tensor | None
    scope: object
    activations: Activations
    readers: weakref.WeakSet[Lease] = field(default_factory=weakref.WeakSet)


_SCOPE: ContextVar[weakref.WeakSet[FeatureExtractor] | None] = ContextVar("shared_forward", default=None)


@contextlib.contextmanager
def shared_forward() -> Iterator[None]:
    """Inside, one tensor is one batch: metrics of one network run it once and nothing checks what is in it.

    For those who know that no tensor is filled again inside, and want neither the checksum that is taken of a batch
    where several metrics read a network, nor a forward for each metric where images were made under inference mode.

    Examples:
        >>> from vdna_metrics import create_extractor
        >>> network = torch.nn.Conv2d(3, 8, 3)
        >>> leases = [create_extractor(network).lease(["output"]) for _ in range(2)]
        >>> with torch.inference_mode(), shared_forward():
        ...     images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        ...     one, other = (lease(images)[0] for lease in leases)
        >>> one is other
        True
    """
    extractors: weakref.WeakSet[FeatureExtractor] = weakref.WeakSet()
    token = _SCOPE.set(extractors)
    try:
        yield
    finally:
        _SCOPE.reset(token)
        for extractor in extractors:
            with extractor.locked():
                if extractor._kept is not None and extractor._kept.scope is extractors:
                    extractor._kept = None


class FeatureExtractor:
    """Images to raw activations, ``{layer: [neurons, images, positions]}``.

    Not a ``torch.nn.Module``, on purpose: a metric that holds one does not save it, cast it, train it or copy it.
    Copies of any kind are the extractor itself. It runs where the images are, in the precision of its spec, in eval
    mode and without gradients, whatever surrounds it. With ``channels_last`` the network's weights are put in that
    memory format; with ``compile`` each set of layers that is asked for is compiled at its first batch.

    When several metrics read one extractor by their leases, a batch is run once: the activations are kept until every
    lease has had them, the next batch comes, or the images are gone. A batch is recognised by its tensor and that
    tensor's version counter, on CPU also by its bytes, which NumPy may have changed; elsewhere by a sum of its bytes
    that stays on the device. A lease that asks again brings a new batch. Tensors made under ``torch.inference_mode``
    count no versions and are run for each lease. See `shared_forward` for a scope in which nothing is checked.

    One thread at a time runs a network. A user's module that another thread trains or runs at that moment cannot be
    protected: it is in eval mode for the length of our forward, and its weights are what they are just then.

    Args:
        network: the network.
        spec: what it is; ``layers`` must not be empty.
        weights: sha256 of its weights.
        probe: image to find out the layers' neurons with, ``[1, 3, H, W]`` network input, whose answer is the
            fingerprint's response; or the neurons, where only the output is read.
        features: what takes features that were computed elsewhere, where the network gives back what it gets.

    Raises:
        ValueError: when a layer does not exist, is not reached, or does not give one tensor.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ExtractorSpec,
        weights: str,
        probe: Tensor | NeuronLayout,
        features: PrecomputedFeatures | None = None,
    ) -> None:
        self.spec = spec
        self.network = network
        self.built_with = weights
        self.features = features
        self.preprocess: Preprocessing | PrecomputedFeatures = features or spec.preprocess
        identity = (features or spec).fingerprint
        if spec.is_code:  # where code of a file lies says nothing of the network
            identity = replace(identity, architecture=module_architecture(network))
        self._identity = replace(identity, weights=weights)
        self._answered = ""  # weights that the response is of, where there is one
        parts = {layer: split_directions(path, spec.vectors) for layer, path in spec.paths.items()}
        self._places = {layer: split_path(path) for layer, (path, _) in parts.items()}
        self._directions = {layer: each for layer, (_, each) in parts.items() if each is not None}
        self._vectors: dict[str, Tensor] = {}
        self._nhwc = getattr(network, "output_fmt", None) == "NHWC"
        # What a network of ours makes without saying in which type is float32; a user's module has the user's default.
        self._default_dtype = None if self._identity.is_module else torch.float32
        self._locks = locks_of(network)
        self._leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self._kept: _SeenBatch | None = None
        self._overwritten: frozenset[str] = frozenset()
        self._compiled: dict[tuple[str, ...], CompiledForward] = {}
        self._grids: dict[tuple[int, int], dict[str, PositionGrid]] = {}
        self.probe_images = probe
        with self.locked():
            if spec.channels_last:
                with torch.inference_mode(False):  # as in `_move_to`
                    network.to(memory_format=torch.channels_last)
            self._weights = LiveWeights(network, weights, spec.ignore_weights)
            self.layout = self._probe(probe) if isinstance(probe, Tensor) else self._laid_out(probe)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other threads out of the network; re-entrant."""
        return locked(self._locks)

    @property
    def fingerprint(self) -> ExtractorFingerprint:
        """Which network this is, with the weights as they were last looked at.

        The response is asked for once for all who read these weights, and when somebody wants to know: it costs the
        forward of one image.
        """
        with self.locked():
            if self._answered != self._identity.weights and isinstance(self.probe_images, Tensor):
                first = next(itertools.chain(self.network.parameters(), self.network.buffers()), self.probe_images)
                probe = self.probe_images.to(first.device)
                with torch.inference_mode():
                    self._answer(probe, lambda _layer, output: output)
            return self._identity

    def weights(self, *, contents: bool = False) -> str:
        """sha256 of the weights as they are now, by which the fingerprint follows them.

        Args:
            contents: whether to look into them even where nothing says that they have changed, see `LiveWeights`.
        """
        with self.locked():
            found = self._weights.sha256(contents=contents)
            if found != self._identity.weights:
                self._identity, self._kept = replace(self._identity, weights=found, response=None), None
            return found

    def grids(self, size: tuple[int, int] | None = None) -> dict[str, PositionGrid]:
        """Where the positions of each layer lie; layers whose activations have no place are not there.

        Maps have their own grid, and so have tokens, as patches of the image in their order. A vector has no place, nor
        has a map of one position. Found out once a size, by a forward of one image.

        Args:
            size: height and width of the network's input; by default those of the spec, else of the probe.
        """
        if not isinstance(self.probe_images, Tensor) or self.probe_images.ndim != 4:
            return {}
        size = size or self.spec.preprocess.size or (self.probe_images.shape[2], self.probe_images.shape[3])
        with self.locked():
            if size not in self._grids:
                first = next(itertools.chain(self.network.parameters(), self.network.buffers()), self.probe_images)
                probe = self.probe_images.new_zeros(1, self.probe_images.shape[1], *size, device=first.device)
                found: dict[str, PositionGrid | None] = {}

                def note(layer: str, output: Tensor) -> Tensor:
                    found[layer] = self._grid(layer, output, size)
                    return output

                with random_streams_kept(), torch.inference_mode():
                    self._observe(probe, list(self._places), note, precision="fp32")
                self._grids[size] = {layer: grid for layer in self._places if (grid := found[layer]) is not None}
            return dict(self._grids[size])

    def grids_at(self, layers: Sequence[str] | None, size: tuple[int, int] | None = None) -> dict[str, PositionGrid]:
        """`grids` of some layers, by default of all, which must have them.

        Raises:
            ValueError: for an unknown layer, or one whose activations have no place; it is named.
        """
        if layers is not None:
            check_names("layers", layers)
        found, wanted = self.grids(size), list(self.layout if layers is None else layers)
        self.layout.check_layers(wanted, what="layers")
        if without := [layer for layer in wanted if layer not in found]:
            raise ValueError(
                f"layers {', '.join(without)} of {self.name!r} have no positions in the image; "
                + (f"choose from {', '.join(found)}" if found else "no layer of it has")
            )
        return {layer: found[layer] for layer in self.layout if layer in wanted}

    def _grid(self, layer: str, output: Tensor, size: tuple[int, int]) -> PositionGrid | None:
        if output.ndim == 3:  # after the class and register tokens that timm counts, or a class token, or before them
            for first in (int(getattr(self.network, "num_prefix_tokens", 1)), 0):
                if (grid := position_grid(output.shape[1], size, first=first)) is not None:
                    return PositionGrid(*grid, first)
            return None
        if output.ndim != 4:
            return None
        _, *shape = output.shape
        rows, columns = shape[:2] if self._channels_last(layer) else shape[1:]
        return PositionGrid(rows, columns) if rows * columns > 1 else None

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"FeatureExtractor({self.name!r}, {self._identity.digest[:12]})"

    def __copy__(self) -> FeatureExtractor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureExtractor:
        return self

    def lease(self, layers: Sequence[str]) -> Lease:
        """Announce a reader of some layers; without any lease all layers are read."""
        return Lease(self, layers)

    @property
    def forward(self) -> Callable[..., Activations]:
        """The call itself.

        ``torchmetrics.wrappers.FeatureShare`` assigns here a cache of its own, which could not tell a reused buffer
        from an old batch; the extractor already shares, so that assignment changes nothing.
        """
        return self._alone

    @forward.setter
    def forward(self, cached: object) -> None:
        pass

    def __call__(self, images: Tensor | FeaturesLike, normalize: bool = False) -> Activations:
        """Run a batch.

        Args:
            images: ``[N, 3, H, W]`` uint8, or float in [0, 1] with ``normalize=True``; or what `PrecomputedFeatures`
                takes.
            normalize: whether images are floats in [0, 1].

        Returns:
            ``{layer: [neurons, images, positions]}``, strided views that may be kept but not changed.

        Raises:
            TypeError: for another dtype.
            ValueError: for another shape, or on CPU for floats outside [0, 1].
        """
        return self.forward(images, normalize)

    @torch.no_grad()
    def _alone(self, images: Any, normalize: bool = False) -> Activations:
        with self.locked():
            return self._run(self.preprocess(images, normalize=normalize))

    @torch.no_grad()
    def _shared(
        self, lease: Lease, images: Tensor | FeaturesLike, normalize: bool
    ) -> tuple[Activations, Tensor | None]:
        with self.locked():
            scope = _SCOPE.get()
            if not isinstance(images, Tensor) or images.layout is not torch.strided or self.features is not None:
                return self._alone(images, normalize), None
            if scope is None and (len(self._leases) < 2 or images.is_inference()):
                return self._alone(images, normalize), None
            key: tuple[Any, ...] = (normalize, *self._wanted())
            if scope is None:
                key += (images.shape, images._version, self._host_checksum(images))
            kept = self._kept
            if (
                kept is None
                or kept.images() is not images
                or kept.key != key
                or kept.scope is not scope
                or (scope is None and lease in kept.readers)
            ):
                self._kept = kept = None  # not two batches' activations at once
                on_device = checksum(images) if scope is None and key[-1] is None else None
                activations = self._alone(images, normalize)
                kept = self._kept = _SeenBatch(weakref.ref(images, self._forget), key, on_device, scope, activations)
                changed = None
            else:
                changed = None if kept.checksum is None else checksum(images) != kept.checksum
            kept.readers.add(lease)
            if scope is not None:
                scope.add(self)
            elif all(each in kept.readers for each in self._leases):
                self._kept = None
            return kept.activations, changed

    def _forget(self, images: object) -> None:
        kept = self._kept
        if kept is not None and kept.images is images:
            self._kept = None

    @staticmethod
    def _host_checksum(images: Tensor) -> int | None:
        if images.device.type != "cpu":
            return None
        return zlib.crc32(images.detach().contiguous().flatten().view(torch.uint8).numpy().data)

    def from_resized(self, resized: Tensor) -> Activations:
        """Run images that `Preprocessing.resize` has already resized, float32 in [0, 255]; or rows of features."""
        with self.locked():
            return self._run(self.preprocess.normalise(resized))

    def _wanted(self) -> list[str]:
        leased = {layer for lease in self._leases for layer in lease.layers}
        return [layer for layer in self._places if not leased or layer in leased]

    def _run(self, x: Tensor) -> Activations:
        wanted = self._wanted()
        if not x.shape[0]:
            return {layer: x.new_zeros(self.layout[layer], 0, 1, dtype=torch.float32) for layer in wanted}
        self._move_to(x.device)
        with torch.inference_mode():
            outputs = self._run_compiled(x, wanted) if self.spec.compile else self._observe(x, wanted, self._copied)
        return {layer: self._projected(layer, self._to_neurons(layer, outputs[layer], x.shape[0])) for layer in wanted}

    def _projected(self, layer: str, activations: Tensor) -> Tensor:
        """On the layer's directions, where it has some."""
        if layer not in self._directions:
            return activations
        device, vectors = activations.device, self._vectors.get(layer)
        if vectors is None or vectors.device != device:
            drawn = torch.from_numpy(self._directions[layer].vectors(activations.shape[0]))
            vectors = self._vectors[layer] = to_float64(drawn).to("cpu" if device.type == "mps" else device)
        return project(activations, vectors)

    def _copied(self, layer: str, output: Tensor) -> Tensor:
        return output.clone() if layer in self._overwritten else output

    def _run_compiled(self, x: Tensor, layers: Sequence[str]) -> Activations:
        forward = self._compiled.get(tuple(layers))
        if forward is None:
            modules = {layer: self._module(layer) for layer in layers}
            keep = {layer: keep_part(self._places[layer][1], copied=layer in self._overwritten) for layer in layers}
            forward = self._compiled[tuple(layers)] = CompiledForward(self.name, self.network, modules, keep)
        with self._as_configured(x.device):
            return forward(self._as_input(x))

    def _probe(self, probe: Tensor) -> NeuronLayout:
        modules = dict(self.network.named_modules())
        script = isinstance(self.network, torch.jit.ScriptModule)
        for layer, (path, _) in self._places.items():
            if script and path:
                raise ValueError(
                    f"layer {layer!r} of {self.name!r}: TorchScript is read at its output only, leave layers= out or "
                    "index the output, as [0]"
                )
            if path not in modules:
                raise ValueError(
                    f"layer {layer!r} of {self.name!r}: no module {path!r}; {near_names(path, list(modules))}"
                )
        # Without inference mode tensors count their in-place changes. An output that a later module overwrites, as
        # ReLU(inplace=True) does, has to be copied when it is seen.
        versions: dict[str, int] = {}

        def note_version(layer: str, output: Tensor) -> Tensor:
            # A network with an inference mode of its own gives tensors that count nothing: these are copied.
            versions[layer] = -1 if output.is_inference() else output._version
            return output

        self._move_to(probe.device)
        with torch.inference_mode(False), torch.no_grad():
            outputs = self._answer(probe, note_version, to_the_end=True)
        self._overwritten = frozenset(
            layer for layer, output in outputs.items() if output.is_inference() or output._version != versions[layer]
        )
        neurons = {layer: self._to_neurons(layer, outputs[layer], probe.shape[0]) for layer in versions}
        return self._laid_out({layer: values.shape[0] for layer, values in neurons.items()})

    def _laid_out(self, neurons: Mapping[str, int]) -> NeuronLayout:
        """With directions, where these are the neurons of all other layers, or of all in the network's order."""
        for layer, given in self._directions.items():
            if isinstance(given, GivenDirections) and layer in neurons:
                given.vectors(neurons[layer])
        projected = {layer: directions.n for layer, directions in self._directions.items()}
        return NeuronLayout({**neurons, **projected})

    def _answer(self, probe: Tensor, keep: Callable[[str, Tensor], Tensor], *, to_the_end: bool = False) -> Activations:
        """Outputs of all layers for a probe, in full precision; what they are like becomes the response.

        There is none of meta tensors, of networks in half precision, whose answer is another on each device, and
        of those whose answer depends on random numbers.
        """
        answers: list[dict[str, Moments]] = []

        def note(layer: str, output: Tensor) -> Tensor:
            if output.is_floating_point() and not output.is_meta:
                answers[-1][layer] = moments_of(output)
            return keep(layer, output)

        def ask() -> Activations:
            answers.append({})
            return self._observe(probe.clone(), list(self._places), note, to_the_end=to_the_end, precision="fp32")

        with random_streams_kept():
            before = random_state(probe.device)
            outputs = ask()
            if not torch.equal(before, random_state(probe.device)):  # the network has drawn, or another thread
                outputs = ask()
        drawn = answers[0] != answers[-1]
        weights = itertools.chain(self.network.parameters(), self.network.buffers())
        half = any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in weights)
        told = not (half or drawn or probe.is_meta)
        self._identity = replace(self._identity, response=response_of(probe, answers[-1]) if told else None)
        self._answered = self._identity.weights
        return outputs

    def _move_to(self, device: torch.device) -> None:
        first = next(itertools.chain(self.network.parameters(), self.network.buffers()), None)
        if first is not None and first.device != device:
            self.weights()  # before they lie elsewhere
            with torch.inference_mode(False):  # else a user's module could not be trained any more
                self.network.to(device)
            self._weights.moved()

    def _observe(
        self,
        x: Tensor,
        layers: Sequence[str],
        keep: Callable[[str, Tensor], Tensor],
        *,
        to_the_end: bool = False,
        precision: Precision | None = None,
    ) -> Activations:
        outputs: Activations = {}
        thread = threading.get_ident()

        def observe(layer: str, output: object) -> None:
            # Of a module that is used twice the first use counts; another thread's use is not ours.
            if layer in outputs or threading.get_ident() != thread:
                return
            try:
                output = part_of(output, self._places[layer][1])
            except (LookupError, TypeError) as error:
                raise _LayerError(f"layer {layer!r}: its output has no such part ({error!r})") from error
            if not isinstance(output, Tensor):
                raise _LayerError(
                    f"layer {layer!r} gives a {type(output).__name__}; choose a module whose output is one tensor"
                    + _advice(split_directions(self.spec.paths[layer], self.spec.vectors)[0], output)
                )
            if output.layout is not torch.strided:
                raise _LayerError(
                    f"layer {layer!r} gives a tensor of layout {output.layout}, activations must be dense"
                )
            outputs[layer] = keep(layer, output)
            if len(outputs) == len(layers) and not to_the_end:
                raise _AllSeenError

        with contextlib.ExitStack() as stack:
            inner = [layer for layer in layers if self._places[layer][0]]
            for layer in inner:
                handle = self._module(layer).register_forward_hook(
                    lambda _module, _inputs, output, layer=layer: observe(layer, output)
                )
                stack.callback(handle.remove)
            stack.enter_context(self._as_configured(x.device, precision))
            stack.enter_context(contextlib.suppress(_AllSeenError))
            output = self._call(x)
            for layer in layers:
                if layer not in inner:  # what the call gives: a class may override `__call__`, of which no hook knows
                    observe(layer, output)
        missing = [layer for layer in layers if layer not in outputs]
        if missing:
            raise ValueError(f"layers {', '.join(missing)} of {self.name!r} are not run in its forward")
        return outputs

    def _call(self, x: Tensor) -> Any:
        try:
            return self.network(self._as_input(x))
        except (_LayerError, torch.cuda.OutOfMemoryError):
            raise
        except (AssertionError, RuntimeError, ValueError) as error:  # by which networks refuse a shape
            probe = self.probe_images
            known = hasattr(self, "layout") and (not isinstance(probe, Tensor) or probe.shape[2:] == x.shape[2:])
            fixed = self.spec.preprocess.size is not None or self.spec.preprocess.mode == "none"
            if fixed or known:
                raise
            height, width = x.shape[2:]
            raise ValueError(
                f"{self.name!r} failed on images of {height}x{width} pixels ({type(error).__name__}: {error}): if it "
                "wants others, give size=..., to which images are then resized"
            ) from error

    def _as_input(self, x: Tensor) -> Tensor:
        parameter = next((p for p in self.network.parameters() if p.is_floating_point()), None)
        if parameter is not None and x.is_floating_point():
            x = x.to(parameter.dtype)
        # Kernels follow the strides: a view of NHWC pixels would give other last bits than the same pixels in NCHW.
        return _in_memory_format(x, torch.channels_last if self.spec.channels_last else torch.contiguous_format)

    @contextlib.contextmanager
    def _as_configured(self, device: torch.device, precision: Precision | None = None) -> Iterator[None]:
        computing = in_precision(precision or self.spec.precision, device.type, dtype=self._default_dtype)
        with computing, _in_eval_mode(self.network):
            yield

    def _module(self, layer: str) -> nn.Module:
        return self.network.get_submodule(self._places[layer][0])

    def _channels_last(self, layer: str) -> bool:
        """Whether a layer gives ``[N, H, W, C]``."""
        return self._nhwc and not isinstance(self._module(layer), nn.Conv2d)

    def _to_neurons(self, layer: str, output: Tensor, images: int) -> Tensor:
        if not output.is_floating_point():
            raise ValueError(f"layer {layer!r} gives {output.dtype}, activations must be floating point")
        if output.ndim == 1 and images == 1 and not self._places[layer][0]:  # the whole, which may squeeze its output
            output = output[None]
        if output.ndim in (2, 3, 4) and output.shape[0] != images:  # windows or tokens first
            raise ValueError(
                f"layer {layer!r} gives a tensor of shape {list(output.shape)} for {images} images; choose a module "
                "whose output has the images first"
            )
        if output.ndim == 2:  # [images, neurons]
            return output.t().unsqueeze(-1)
        if output.ndim == 3:  # [images, tokens, neurons]
            return output.permute(2, 0, 1)
        if output.ndim == 4 and self._channels_last(layer):
            return output.permute(3, 0, 1, 2).flatten(2)
        if output.ndim == 4:
            return output.permute(1, 0, 2, 3).flatten(2)
        raise ValueError(
            f"layer {layer!r} gives a tensor of shape {list(output.shape)}; "
            "known are [N, C], [N, tokens, C] and [N, C, H, W]"
        )


def _advice(path: str, output: object) -> str:
    """How to read one of several tensors."""
    several: list[Any] = (
        list(output)[:9] if isinstance(output, dict) else [0] if isinstance(output, list | tuple) else []
    )
    if not several:
        return ""
    name, index = split_path(path)
    one = ", ".join([*(f"{part!r}" for part in index), f"{several[0]!r}"])
    known = f" of {', '.join(map(repr, several))}" if isinstance(output, dict) else ""
    return f"; add the index of one{known}, as {name}[{one}]"


def _in_memory_format(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    # Not `contiguous`, to which one channel, one pixel or one image may have any strides.
    strides = torch.empty(x.shape, device="meta", memory_format=memory_format).stride()
    return x if x.stride() == strides else x.clone(memory_format=memory_format)


@contextlib.contextmanager
def _in_eval_mode(network: nn.Module) -> Iterator[None]:
    """And uncompiled, for hooks are not for the user's compiler."""
    modules = list(network.modules())
    training = [module for module in modules if getattr(module, "training", False)]  # frozen TorchScript has no mode
    compiled = [(module, call) for module in modules if (call := vars(module).get("_compiled_call_impl")) is not None]
    for module in training:
        module.training = False
    for module, _ in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for module, call in compiled:
            module._compiled_call_impl = call
