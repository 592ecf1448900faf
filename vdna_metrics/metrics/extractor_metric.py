"""What all metrics share: a frozen extractor, and states that are reduced, kept and moved as they should be."""

from __future__ import annotations

import hashlib
import math
import sys
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.dna.account import OBLONG
from vdna_metrics.dna.caveats import squeeze_caveat
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.precomputed import FeaturesLike
from vdna_metrics.fingerprint import ExtractorFingerprint, moments_differ
from vdna_metrics.layout import NeuronLayout

_SHOWN_LAYERS = 4


class RefusedError(ValueError, RuntimeError):
    """What a metric cannot do as things are; torchmetrics has a ``RuntimeError`` where we have a ``ValueError``."""


class ExtractorMetric(Metric, ABC):
    """A metric that reads a frozen extractor.

    The extractor is neither a submodule nor a state: it is not saved, cast, trained or copied with the metric, and it
    runs on the metric's device. States are kept in their own dtype whatever casts the metric meets, on the metric's
    device, or on ``state_device`` when that is given (on the CPU for MPS, which lacks float64).
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    feature_network: str = "extractor"
    settings: Tensor
    _keeps_real = False
    _squeezes = False

    def __init__(
        self,
        extractor: FeatureExtractor,
        layout: NeuronLayout,
        normalize: bool,
        state_device: torch.device | str | None,
        **metric_kwargs: Any,
    ) -> None:
        super().__init__(**metric_kwargs)
        self._dtype = torch.float32  # of results, whatever the default is
        if self._device.type == "meta":  # a context for modules that get their weights later; here images are counted
            self._device = torch.device("cpu")
        if not isinstance(normalize, bool):
            raise ValueError(f"normalize must be a bool, got {normalize!r}")
        self.normalize = normalize
        self.extractor = extractor
        self.extractor_name = extractor.name
        self.layout = layout
        self.fingerprint = extractor.fingerprint.select(list(layout))
        self._lease = extractor.lease(list(layout))
        self._state_device = None if state_device is None else torch.device(state_device)

    def _shown(self) -> dict[str, object]:
        """What tells the metric from others of its class, to be read; one line in all."""
        layers = f"[{', '.join(self.layout)}]" if len(self.layout) <= _SHOWN_LAYERS else f"{len(self.layout)} layers"
        return {"extractor": self.extractor_name, "layers": layers, "neurons": self.layout.total}

    def extra_repr(self) -> str:
        """The settings, as `torch.nn.Module` shows those of a layer."""
        return ", ".join(f"{what}={value}" for what, value in self._shown().items())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Update, and compute of this batch alone; one that raises changes nothing."""
        before = {**self.__dict__, "_defaults": dict(self._defaults)}
        try:
            return super().forward(*args, **kwargs)
        except BaseException:
            self.__dict__.update(before)
            raise

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., Any]:
        counted = super()._wrap_update(update)

        @wraps(counted)
        def update_or_nothing(*args: Any, **kwargs: Any) -> None:
            before = self._update_count
            try:
                counted(*args, **kwargs)
            except BaseException:  # torchmetrics has counted it already
                self._update_count = before
                raise

        return update_or_nothing

    def _activations(self, imgs: Tensor | FeaturesLike) -> tuple[dict[str, Tensor], Tensor | None]:
        if self._is_synced:
            raise TorchMetricsUserError("the metric is synced: call unsync() before it sees more images")
        if isinstance(imgs, Tensor) and imgs.device != self.device:
            raise RefusedError(
                f"images are on {imgs.device}, the metric on {self.device}: "
                f"move one, e.g. metric.to({str(imgs.device)!r})"
            )
        # By the lease, because FeatureShare makes the first metric's extractor everybody's.
        extractor, holds_images = self._lease.extractor, self._update_count > 1
        with extractor.locked():
            self._follow(extractor.weights(contents=not holds_images), holds_images=holds_images)
            activations, changed = self._lease(imgs, self.normalize)
        if isinstance(imgs, Tensor):  # precomputed features may be a mapping
            self._warn_of_squeezing(*imgs.shape[2:])
        return activations, changed

    def _warn_of_squeezing(self, *sides: int) -> None:
        """Once."""
        if self._squeezes or len(sides) != 2 or max(sides) <= OBLONG * min(sides):
            return
        sentence = squeeze_caveat(f"images of {sides[0]}x{sides[1]} pixels are", self.fingerprint.preprocessing)
        if sentence is not None:
            self._squeezes = True
            warnings.warn(str(sentence), UserWarning, stacklevel=levels_to_caller())

    def _follow(self, weights: str, *, holds_images: bool) -> None:
        # The first images since the last reset say which weights a metric is about.
        if weights == self.fingerprint.weights:
            return
        if holds_images or self._keeps_real:
            anew = "reset() starts anew with the weights as they are then"
            raise ValueError(
                f"the weights of {self.extractor_name!r} have changed since this metric's first images: expected "
                f"{self.fingerprint.weights[:12]}, got {weights[:12]}. What both have seen cannot be compared; "
                + ("build the metric anew, for it keeps real images over reset()" if self._keeps_real else anew)
            )
        self._adopt(self._lease.extractor.fingerprint.select(list(self.layout)))
        self._set_settings()

    def _adopt(self, fingerprint: ExtractorFingerprint) -> None:
        """Be about other weights; ``ValueError`` where what the metric was given was made with the former ones."""
        self.fingerprint = fingerprint

    def _check_weights(self) -> None:
        """Raise ``ValueError`` where the network's weights are not those that the images were seen with."""
        weights = self._lease.extractor.weights(contents=True)
        holds_images = self._update_count > 0
        if holds_images and weights != self.fingerprint.weights and self._settings_with(weights) == self._seen_with():
            holds_images = False  # in a compute group another metric has seen the images, and followed its weights
        self._follow(weights, holds_images=holds_images)
        if self._seen_with() != self._settings:
            raise ValueError(f"the weights of {self.extractor_name!r} have changed between this metric's images")

    @property
    def _states_device(self) -> torch.device:
        return self._state_device or (torch.device("cpu") if self.device.type == "mps" else self.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Metric:
        # States follow the metric to another device and nothing else: counts and float64 sums are never cast, and
        # results keep the type of set_dtype, whatever a surrounding module is cast to.
        dtype, self._computed = self._dtype, None
        super()._apply(fn, exclude_state=list(self._defaults))
        if not self._dtype_convert:
            self._dtype = dtype
        device = self._states_device
        for name, default in self._defaults.items():
            if isinstance(default, Tensor):
                self._defaults[name] = _moved(default, device)
            setattr(self, name, getattr(self, name).to(device))
        return self

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        # all_reduce instead of torchmetrics' gather: memory and traffic do not grow with the number of ranks.
        if dist_sync_fn is not gather_all_tensors:
            super()._sync_dist(dist_sync_fn, process_group=process_group)
            return
        with self._without_states(self._own_states):  # those that a subclass adds are torchmetrics' business
            super()._sync_dist(dist_sync_fn, process_group=process_group)
        ranks = Ranks(self.device, process_group or self.process_group)
        if not self._update_count and not self._keeps_real:  # a rank without images is about the weights as they are
            self._follow(self._lease.extractor.weights(contents=True), holds_images=False)
        own = torch.cat([self.settings[: len(self._settings)], _response_numbers(self.fingerprint).to(self.settings)])
        most, least = ranks.all_reduce(torch.stack([own, -own]), torch.distributed.ReduceOp.MAX)
        exact, response = slice(len(self._settings)), slice(len(self._settings), None)
        if not torch.equal(most[exact], -least[exact]) or _responses_differ(most[response], -least[response]):
            raise RefusedError(
                "expected one network, with the same weights, and one setting of the metric on all ranks"
            )
        self._reduce_over_ranks(ranks)

    @contextmanager
    def _without_states(self, names: Collection[str]) -> Iterator[None]:
        """Inside, torchmetrics does not know these states."""
        defaults, reductions = self._defaults, self._reductions
        self._defaults = {name: each for name, each in defaults.items() if name not in names}
        self._reductions = {name: each for name, each in reductions.items() if name not in names}
        try:
            yield
        finally:
            self._defaults, self._reductions = defaults, reductions

    def _copy_state_dict(self) -> dict[str, Any]:
        # What is set aside while the ranks' sum stands in its place. `_sync_dist` and `forward` set new tensors and
        # change none, so the local ones need not be copied, as torchmetrics does.
        return dict(self.metric_state)

    @contextmanager
    def sync_context(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        should_unsync: bool = True,
        distributed_available: Callable[..., Any] | None = None,
    ) -> Iterator[None]:
        """Reduce states over ranks and give the local ones back; after an error too, where torchmetrics does not."""
        self.sync(dist_sync_fn, process_group, should_sync, distributed_available)
        try:
            yield
        finally:
            self.unsync(should_unsync=self._is_synced and should_unsync)

    def _add_settings(self) -> None:
        # Settings as numbers. They keep torchmetrics from merging two metrics of a collection that only happen to have
        # equal states, and a checkpoint from being loaded into a metric with other settings. Behind these stands what
        # need not agree to the last bit, but metrics that differ in it are not one: how a network is run, the class of
        # a module, and its response; and then the response itself, as numbers.
        self.add_state("settings", torch.zeros(64, dtype=torch.int64, device=self._states_device), dist_reduce_fx="max")
        self._set_settings()
        self._own_states = frozenset(self._defaults)

    def _set_settings(self) -> None:
        self._settings, device = self._settings_with(self.fingerprint.weights), self.settings.device
        loose = self.fingerprint.options, self.fingerprint.architecture, self.fingerprint.response
        both = torch.tensor([*self._settings, *hashlib.sha256(repr(loose).encode()).digest()], device=device)
        self.settings = torch.cat([both, _response_numbers(self.fingerprint).to(device)])
        self._defaults["settings"] = self.settings.clone()

    def _settings_with(self, weights: str) -> list[int]:
        own, self.fingerprint = self.fingerprint, replace(self.fingerprint, weights=weights)
        try:
            return list(hashlib.sha256(repr(self._state_settings()).encode()).digest())
        finally:
            self.fingerprint = own

    def _seen_with(self) -> list[int]:
        settings: list[int] = self.settings.tolist()
        return settings[: len(self._settings)]

    def _state_settings(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.fingerprint.compared.digest, self.layout.to_json(), self.normalize)

    def _check_settings(self, settings: Tensor | None) -> None:
        exact = len(self._settings)
        if (
            settings is None
            or settings[:exact].tolist() != self._settings
            or _responses_differ(settings[2 * exact :], _response_numbers(self.fingerprint))
        ):
            raise ValueError(
                f"these states are of a {type(self).__name__} with another extractor, layers, neurons, bins, ranges, "
                "max_positions, feature_images, classes, reference, preprocessing, normalize or reset_real_features: "
                "build the metric with the settings the states were made with"
            )

    def __hash__(self) -> int:
        # torchmetrics' is of the states' identities too: a metric in a set could not be found after `forward`.
        return object.__hash__(self)

    def _zero(self, name: str) -> Tensor:
        default = self._defaults[name]
        if not isinstance(default, Tensor):
            raise TypeError(f"state {name} must be a tensor, got a list")
        return default

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the states of another metric with the same settings, as if its images had been seen here."""
        states: dict[str, Any] = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        self._check_settings(states.get("settings"))
        states = {**states, "settings": self.settings}
        super().merge_state({name: state.to(getattr(self, name).device) for name, state in states.items()})
        self._update_count += incoming_state._update_count if isinstance(incoming_state, Metric) else 1
        self._computed = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}settings" in state_dict:
            self._check_settings(state_dict[f"{prefix}settings"])
            state_dict[f"{prefix}settings"] = self.settings
            self._computed, self._update_count = None, max(1, self._update_count)  # else compute warns of no update
        for name in self._defaults:
            if f"{prefix}{name}" in state_dict:  # a copy, since updates change states in place
                loaded = state_dict[f"{prefix}{name}"]
                state_dict[f"{prefix}{name}"] = loaded.detach().clone().to(getattr(self, name).device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @abstractmethod
    def _reduce_over_ranks(self, ranks: Ranks) -> None:
        """Set the states to those of all ranks."""


def _response_numbers(fingerprint: ExtractorFingerprint) -> Tensor:
    """A number for the probe, and the bits of each layer's moments; 0 and NaN where they are not known."""
    response, unknown = fingerprint.response, (math.nan, math.nan)
    probe = 0 if response is None else zlib.crc32(response.probe.encode())
    moments = [(response.moments if response else {}).get(layer, unknown) for layer in fingerprint.paths]
    bits = torch.tensor(moments, dtype=torch.float64, device="cpu").flatten().view(torch.int64)
    return torch.cat([torch.tensor([probe], device="cpu"), bits])


def _responses_differ(a: Tensor, b: Tensor) -> bool:
    """Whether two `_response_numbers` differ by more than rounding; early states have none."""
    a, b = a.cpu(), b.cpu()
    if a.shape != b.shape or a[0] != b[0]:
        return False
    sides = (numbers[1:].view(torch.float64).view(-1, 2).tolist() for numbers in (a, b))
    return any(moments_differ(tuple(here), tuple(there)) for here, there in zip(*sides, strict=True))


def levels_to_caller() -> int:
    """The ``stacklevel`` by which a warning names the line that called for a result, past torch and torchmetrics."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith(
        ("torch.", "torchmetrics.", "vdna_metrics.")
    ):
        frame, level = frame.f_back, level + 1
    return level


def _moved(default: Tensor, device: torch.device) -> Tensor:
    if default.stride() == (0,):  # one number that stands for all stays one
        return default[0].to(device).expand(default.shape)
    return default.to(device)
