"""A distribution is one flat additive tensor and what is needed to read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from vdna_metrics.distributions.kinds import Kind
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.fingerprint import describe_differences
from vdna_metrics.layout import NeuronLayout

if TYPE_CHECKING:
    from typing_extensions import Self

CHANGED = 2**40  # what a changed batch adds to a count that stays far below; so it is summed with it wherever that is


@dataclass(frozen=True, eq=False)
class Distribution(ABC):
    """Distribution of every neuron's activations over a set of images.

    All that was seen lies in one flat tensor, ``state``, and `merged` makes the state of several sets of their states:
    files, batches and ranks are all merged by it. It starts with the number of images and, per layer, a count of
    summaries that were not finite; what follows is the subclass's.

    Args:
        layout: the neurons.
        state: ``[size]``, int64 for counts and float64 for moments.
    """

    kind: ClassVar[Kind]
    dtype: ClassVar[torch.dtype]
    min_images: ClassVar[int] = 1
    subtraction: ClassVar[Literal["exact", "rounded", "none"]]  # how a whole and a part of it tell the rest
    stored_as: ClassVar[str] = ""  # in files, where that is not the kind
    grows: ClassVar[bool] = False  # whether the state gets longer with the images

    layout: NeuronLayout
    state: Tensor

    def __post_init__(self) -> None:
        if self.state.shape != (self.state_size(),) or self.state.dtype != self.dtype:
            raise ValueError(
                f"a {self.kind} of {self.layout.total} neurons has a state of [{self.state_size()}] {self.dtype}, "
                f"got {list(self.state.shape)} {self.state.dtype}"
            )

    @abstractmethod
    def body_size(self) -> int:
        """Length of the subclass's part of the state."""

    def state_size(self) -> int:
        """Length of the flat state."""
        return 1 + len(self.layout) + self.body_size()

    @classmethod
    def _zeros(cls, layout: NeuronLayout, body: int, device: torch.device | str) -> Tensor:
        """The state of no images, with a body of some length."""
        return torch.zeros(1 + len(layout) + body, dtype=cls.dtype, device=device)

    @property
    def body(self) -> Tensor:
        """The subclass's part of the state, a view."""
        return self.state[1 + len(self.layout) :]

    @property
    def n_images(self) -> int:
        """Number of images seen."""
        return int(self.state[0])

    def with_state(self, state: Tensor) -> Self:
        """The same settings around another state."""
        return replace(self, state=state)

    def copied(self) -> Self:
        """The same with a state of its own."""
        return self.with_state(self.state.clone())

    def to(self, device: torch.device | str) -> Self:
        """The same distribution with its state on another device."""
        return self.with_state(self.state.to(device))

    def take_(self, state: Tensor) -> None:
        """Be of another state."""
        self.state.copy_(state)

    def largest_nbytes(self, n_images: int | None = None) -> int:
        """Bytes of the largest state that it comes to, of so many images."""
        return self.state.nbytes

    def fill_(self, activations: Mapping[str, Tensor], hashes: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            activations: ``{layer: [neurons, images, positions]}``, any strides, any floating type. Layers that the
                layout lacks are passed over.
            hashes: of the images, ``[images]`` int64, see `image_hashes`; only samples of features look at them, and
                take those of the features where there are none.

        Raises:
            ValueError: when a layer is missing or has another shape; on CPU also when an activation is not finite.
                On other devices that is only noted, so that nothing waits for the device: see
                `check_finite`.
        """
        batch, n_images = self._checked(activations)
        if not n_images:
            return
        if hashes is not None and [*hashes.shape] != [n_images]:
            raise ValueError(f"expected a hash for each of {n_images} images, got {list(hashes.shape)}")
        device = next(iter(batch.values())).device
        # MPS has no float64: there, the moments of a batch are taken on the CPU, where their state must be.
        if device != self.state.device and not (device.type == "mps" and self.dtype == torch.float64):
            # State on another device than the network (state_device="cpu"): sum the batch where it was made.
            part = self.with_state(self.zero(device))
            part.fill_(batch, hashes)
            self._absorb_(part.to(self.state.device))
            return
        summaries = self._summaries(batch)
        self.state[0] += n_images
        self._add_(batch, summaries, hashes)
        if not _on_cpu(summaries):
            self.state[1 : 1 + len(batch)] += ~_are_finite(summaries)

    def _absorb_(self, part: Self) -> None:
        """Add the images of another."""
        self.take_(self.merged([self.state, part.state]))

    def check_activations(self, activations: Mapping[str, Tensor]) -> None:
        """Raise ``ValueError`` as `fill_` would, for who fills several with parts of one batch: all or none."""
        batch, n_images = self._checked(activations)
        if n_images and next(iter(batch.values())).device.type == "cpu":
            self._summaries(batch)

    def _checked(self, activations: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
        """Of each layer of the layout the activations, and of how many images they are."""
        batch = {layer: self._check_shape(layer, activations.get(layer)) for layer in self.layout}
        images = {x.shape[1] for x in batch.values()}
        if len(images) != 1:
            raise ValueError(f"layers differ in their number of images: { {k: x.shape[1] for k, x in batch.items()} }")
        return batch, images.pop()

    def _summaries(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Summaries of each layer; on CPU they are finite."""
        summaries = {layer: self._summarise(x) for layer, x in batch.items()}
        if _on_cpu(summaries):
            finite = _are_finite(summaries)
            if not finite.all():
                raise ValueError(not_finite([layer for layer, good in zip(batch, finite, strict=True) if not good]))
        return summaries

    def zero(self, device: torch.device | str | None = None) -> Tensor:
        """The state of no images, by default on the same device."""
        return torch.zeros_like(self.state, device=device)

    def _add_(self, batch: Mapping[str, Tensor], summaries: Mapping[str, Tensor], hashes: Tensor | None) -> None:
        """Add a batch to the body of the state."""
        for layer, rows in self.layout.slices().items():
            self._accumulate_(layer, rows, batch[layer], summaries[layer])

    def note_changed_(self, changed: Tensor) -> None:
        """Count a batch whose activations may not be of its images.

        Args:
            changed: bool, on any device; nothing waits for it. Where it is true, `check_finite` raises.
        """
        self.state[1] += changed.to(self.state.device) * CHANGED

    def check_finite(self) -> None:
        """Raise ``ValueError``, naming the layers, when an activation was not finite; or when a batch had changed."""
        bad = self.state[1 : 1 + len(self.layout)].tolist()
        check_unchanged(int(bad[0]))
        if any(bad):
            named = [layer for layer, count in zip(self.layout, bad, strict=True) if count]
            raise ValueError(f"{not_finite(named)}; nothing more can be computed from this state, reset it")

    @abstractmethod
    def check_possible(self) -> None:
        """Raise ``ValueError``, naming a neuron, for a state that no images can have given; for what a file says."""

    def _refuse_where(self, bad: Tensor, what: str, found: Tensor) -> None:
        """Raise ``ValueError`` for the first bad neuron, with what was found of each, ``[neurons]`` both."""
        if bad.any():
            layer, neuron = self.layout.neuron_at(int(bad.int().argmax()))
            raise ValueError(f"{what}, got {found[bad][0]:g} for neuron {neuron} of layer {layer!r}")

    def _check_shape(self, layer: str, activations: Tensor | None) -> Tensor:
        if activations is None:
            raise ValueError(f"activations of layer {layer!r} are missing")
        if activations.ndim != 3 or activations.shape[0] != self.layout[layer] or not activations.shape[2]:
            raise ValueError(
                f"activations of layer {layer!r} must be [{self.layout[layer]} neurons, images, positions], "
                f"got {list(activations.shape)}"
            )
        return activations

    @abstractmethod
    def _summarise(self, activations: Tensor) -> Tensor:
        """``[neurons, images, positions]`` -> a small tensor that is finite exactly when the activations are.

        Off the CPU, `_accumulate_` may be what makes it so.
        """

    def _accumulate_(self, layer: str, rows: slice, activations: Tensor, summary: Tensor) -> None:
        """Add one layer's batch to the state."""
        raise NotImplementedError

    @abstractmethod
    def setting_differences(self, other: Distribution) -> list[tuple[str, str, str]]:
        """``(what, here, there)`` for each setting by which two distributions of one kind cannot be compared."""

    @abstractmethod
    def select(self, selection: NeuronLayout) -> Self:
        """Keep the neurons of a selection of the layout."""

    def _selected_head(self, selection: NeuronLayout) -> Tensor:
        layers = list(self.layout)
        kept = [0] + [1 + layers.index(layer) for layer in selection]
        return self.state[torch.tensor(kept, device=self.state.device)]

    def __add__(self, other: Distribution) -> Distribution:
        """The distribution over both sets of images."""
        if not isinstance(other, Distribution):
            return NotImplemented
        problems = differences(self, other)
        if problems:
            raise ValueError("these distributions cannot be merged: " + describe_differences(problems))
        return self.with_state(self.merged([self.state, other.state.to(self.state.device)]))

    def without(self, part: Distribution) -> Self:
        """The distribution over the images that are not in a part of them; see ``subtraction``."""
        return self.with_state(self.state - part.state.to(self.state.device))

    def merged(self, states: Iterable[Tensor]) -> Tensor:
        """The state of several sets of images from their states, at least two."""
        return reduce(torch.add, states)

    def sum_over_ranks(self, states: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
        """States over the images of all ranks.

        Args:
            states: of this rank, one or several.
            ranks: the others.
        """
        total = ranks.all_reduce(torch.cat([*states]))
        return list(total.split([len(state) for state in states]))


def check_unchanged(count: int) -> None:
    """Raise ``ValueError`` when a count says that batches had changed between two readers of one forward."""
    if count >= CHANGED:
        raise ValueError(
            f"{count // CHANGED} batches were filled with other images between two metrics of one network, and torch "
            "did not count it (a replayed CUDA graph, a kernel of one's own): give each metric a copy, "
            "update(imgs.clone()), or every metric its update before the next images; this state is lost, reset it"
        )


def differences(a: Distribution, b: Distribution) -> list[tuple[str, str, str]]:
    """``(what, a's, b's)`` for each reason why two distributions cannot be merged or compared."""
    if a.kind != b.kind:
        return [("kinds", a.kind, b.kind)]
    if a.layout != b.layout:
        return [_layout_difference(a.layout, b.layout)]
    return a.setting_differences(b)


def _layout_difference(a: NeuronLayout, b: NeuronLayout) -> tuple[str, str, str]:
    for layer in a:
        if layer in b and a[layer] != b[layer]:
            return f"neurons of layer {layer!r}", str(a[layer]), str(b[layer])
        if layer in b and a.neurons.get(layer) != b.neurons.get(layer):
            return f"selected neurons of layer {layer!r}", _indices(a, layer), _indices(b, layer)
    return "layers", ", ".join(a), ", ".join(b)


def _indices(layout: NeuronLayout, layer: str) -> str:
    indices = layout.neurons.get(layer)
    if indices is None:
        return "all"
    return "[" + ", ".join(map(str, indices[:6])) + (", ...]" if len(indices) > 6 else "]")


def _on_cpu(summaries: Mapping[str, Tensor]) -> bool:
    return next(iter(summaries.values())).device.type == "cpu"


def _are_finite(summaries: Mapping[str, Tensor]) -> Tensor:
    """Which layers' summaries are finite; in few operations where layers are alike, which are many small ones."""
    each = [*summaries.values()]
    if len({summary.shape for summary in each}) == 1 and not _on_cpu(summaries):
        return torch.stack(each).isfinite().flatten(1).all(dim=1)
    return torch.stack([summary.isfinite().all() for summary in each])


def not_finite(layers: Sequence[str]) -> str:
    """What is wrong where activations of some layers are not finite."""
    return (
        f"activations are not finite (NaN or infinite) in layer{'s' * (len(layers) > 1)} {', '.join(layers)}: the "
        "images are outside their range, or the network overflowed"
    )
