"""What all distance metrics share: images in, additive states, a DNA of each side."""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from vdna_metrics.distributions import GaussianDistribution, LayerGaussianDistribution
from vdna_metrics.distributions.base import Distribution, Kind, differences
from vdna_metrics.dna.compare import coverage_warning, rank_warning
from vdna_metrics.dna.distances import DistanceResult, Reduction
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.extractors.registry import ExtractorLike, extractor_and_layout
from vdna_metrics.fingerprint import describe_differences
from vdna_metrics.functional.positions import subsample_positions
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.neurons import NeuronsLike, NeuronWeights, NeuronWeightsLike, Per, chosen_weights
from vdna_metrics.references.resolve import resolve

ReferenceLike = VDNA | str | Path


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

    def __init__(
        self,
        extractor: FeatureExtractor,
        layout: NeuronLayout,
        normalize: bool,
        state_device: torch.device | str | None,
        **metric_kwargs: Any,
    ) -> None:
        super().__init__(**metric_kwargs)
        if not isinstance(normalize, bool):
            raise ValueError(f"normalize must be a bool, got {normalize!r}")
        self.normalize = normalize
        self.extractor = extractor
        self.extractor_name = extractor.name
        self.layout = layout
        self.fingerprint = extractor.fingerprint.select(list(layout))
        self._lease = extractor.lease(list(layout))
        self._state_device = None if state_device is None else torch.device(state_device)

    def _activations(self, imgs: Tensor) -> dict[str, Tensor]:
        if isinstance(imgs, Tensor) and imgs.device != self.device:
            raise ValueError(
                f"images are on {imgs.device}, the metric on {self.device}: "
                f"move one, e.g. metric.to({str(imgs.device)!r})"
            )
        # By the lease, because FeatureShare makes the first metric's extractor everybody's.
        return self._lease.extractor(imgs, normalize=self.normalize)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Metric:
        # States follow the metric to another device and nothing else: counts and float64 sums are never cast, and
        # results keep the type of set_dtype, whatever a surrounding module is cast to.
        dtype, self._computed = self._dtype, None
        super()._apply(fn, exclude_state=list(self._defaults))
        if not self._dtype_convert:
            self._dtype = dtype
        device = self._state_device or (torch.device("cpu") if self.device.type == "mps" else self.device)
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
        group = process_group or self.process_group
        together: dict[Any, list[str]] = {}
        for name, reduction in self._sync_reductions().items():
            together.setdefault((reduction, getattr(self, name).dtype), []).append(name)
        for (reduction, dtype), names in together.items():
            states = [getattr(self, name) for name in names]
            sizes = [state.numel() for state in states]
            home = states[0].device
            # One buffer, and one wait for the other ranks, for all states of a dtype; NCCL reduces on the GPU only.
            total = torch.empty(sum(sizes), dtype=dtype, device=home if self.device.type == "mps" else self.device)
            for part, state in zip(total.split(sizes), states, strict=True):
                part.copy_(state.reshape(-1))
            torch.distributed.all_reduce(total, op=reduction, group=group)
            for name, state, part in zip(names, states, total.to(home).split(sizes), strict=True):
                setattr(self, name, part.view(state.shape))

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
        # equal states, and a checkpoint from being loaded into a metric with other settings. An extractor's options
        # stand behind these: they need not agree, but metrics that run a network in two ways are not one.
        self._settings = list(hashlib.sha256(repr(self._state_settings()).encode()).digest())
        options = hashlib.sha256(repr(self.fingerprint.options).encode()).digest()
        self.add_state("settings", torch.tensor([*self._settings, *options]), dist_reduce_fx="max")

    def _state_settings(self) -> tuple[Any, ...]:
        fingerprint = replace(self.fingerprint, options=())
        return (type(self).__name__, fingerprint.digest, self.layout.to_json(), self.normalize)

    def _check_settings(self, settings: Tensor | None) -> None:
        if settings is None or settings.tolist()[: len(self._settings)] != self._settings:
            raise ValueError(
                f"these states are of a {type(self).__name__} with another extractor, layers, neurons, bins, ranges, "
                "max_positions, reference, preprocessing, normalize or reset_real_features: build the metric with the "
                "settings the states were made with"
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
    def _sync_reductions(self) -> Mapping[str, Any]:
        """``{state: torch.distributed.ReduceOp}`` for each state that ranks reduce."""


class DistanceMetric(ExtractorMetric):
    """Distance between the DNAs of real and generated images.

    Subclasses say which distribution is kept and which function of ``dna.compare`` is the distance.
    """

    plot_lower_bound: float = 0.0
    kind: ClassVar[Kind]
    max_positions: int | None = None
    allow_subsampled: bool = False
    generated_state: Tensor
    real_state: Tensor

    def __init__(
        self,
        extractor: ExtractorLike,
        *,
        reference: ReferenceLike | None,
        layers: Sequence[str] | None,
        neurons: NeuronsLike | None,
        weights: NeuronWeightsLike | None,
        weights_path: str | Path | None,
        reduction: Reduction,
        normalize: bool,
        reset_real_features: bool,
        state_device: torch.device | str | None,
        **metric_kwargs: Any,
    ) -> None:
        built, layout = extractor_and_layout(extractor, layers, neurons, weights_path)
        super().__init__(built, layout, normalize, state_device, **metric_kwargs)
        if not isinstance(reset_real_features, bool):
            raise ValueError(f"reset_real_features must be a bool, got {reset_real_features!r}")
        if reduction not in get_args(Reduction):
            raise ValueError(f"unknown reduction {reduction!r}; known: {', '.join(get_args(Reduction))}")
        self.reduction = reduction
        per: Per = "layer" if self.kind == "layer_gaussian" else "neuron"
        values = chosen_weights(weights, layout, self.fingerprint, per)  # a file is read once
        self.weights = None if values is None else NeuronWeights(layout, values, self.fingerprint, per)
        self.reset_real_features = reset_real_features
        self.reference = self._resolved(reference)

    def _resolved(self, reference: ReferenceLike | None) -> VDNA | None:
        if reference is None:
            return None
        if isinstance(reference, VDNA):
            dna = reference
        else:
            found = resolve(reference, kinds=[self.kind], extractors=[self.extractor_name])
            name = self.extractor_name if len(found.networks) > 1 else None
            chosen = found.choose_dna(self.kind, name, layers=list(self.layout))
            dna = (chosen or found.one_dna()).total
        dna.check_fingerprint(self.fingerprint)
        if self.kind == "gaussian" and isinstance(dna.distribution, LayerGaussianDistribution):
            dna = replace(dna, distribution=dna.distribution.gaussian())
        if dna.kind != self.kind:
            raise ValueError(f"the reference is a {dna.kind} DNA, {type(self).__name__} needs a {self.kind} DNA")
        needed = 1 if self.kind == "histogram" else 2
        if dna.n_images < needed:
            raise ValueError(f"the reference has {dna.n_images} images, {type(self).__name__} needs at least {needed}")
        kept = dna.select(list(self.layout), self.layout.neurons)
        for layer, count in self.layout.items():
            if kept.layout[layer] != count:
                raise ValueError(_misfit([(f"neurons of layer {layer!r}", str(kept.layout[layer]), str(count))]))
        return kept

    def _centre(self) -> Tensor | None:
        # Sums are taken about the reference's means, so that no digits are lost where means are large.
        if self.reference is None or not isinstance(
            self.reference.distribution, GaussianDistribution | LayerGaussianDistribution
        ):
            return None
        return self.reference.distribution.mean()

    def _prepare_states(self, empty: Distribution) -> None:
        """Register the states; to be called once by the subclass, with an empty distribution of its settings."""
        if self.reference is not None:
            found = differences(self.reference.distribution, empty)
            if found:
                raise ValueError(_misfit(found))
            found = self.reference.provenance.differences(self._provenance())
            if found and not self.allow_subsampled:
                raise ValueError(
                    f"{_misfit(found)}. Give the metric the max_positions of its reference, or allow_subsampled=True "
                    "for an estimate"
                )
        # One zero that stands for all: neither this nor torchmetrics' defaults take as much memory as the state.
        self._empty = empty.with_state(empty.state.new_zeros(()).expand(empty.state.shape))
        for side in ("generated",) if self.reference is not None else ("real", "generated"):
            self.add_state(f"{side}_state", empty.state.clone(), dist_reduce_fx="sum")
            self._defaults[f"{side}_state"] = self._empty.state
        self._add_settings()
        self._warned: set[tuple[str, str]] = set()

    def _state_settings(self) -> tuple[Any, ...]:
        centre = self._centre()
        about = None if centre is None else centre.cpu().numpy().tobytes()
        return (*super()._state_settings(), self.reset_real_features, self.reference is not None, about)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Metric:
        super()._apply(fn, exclude_state)
        self._empty = self._empty.with_state(self._zero("generated_state"))
        return self

    def _side(self, real: bool) -> Distribution:
        return self._empty.with_state(self.real_state if real else self.generated_state)

    # Hooks and inference mode are not for the compiler.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def update(self, imgs: Tensor, real: bool = False) -> None:
        """Add images to one side.

        Args:
            imgs: ``[N, 3, H, W]`` uint8, or float in [0, 1] with ``normalize=True``, on the metric's device.
            real: whether the images are real ones; not possible when the metric has a reference.

        Raises:
            ValueError: for another shape, images out of range, or real images when there is a reference. On CUDA,
                images out of range and activations that are not finite are reported by `compute`, so that
                nothing waits here.
            TypeError: for another dtype.
        """
        if real and self.reference is not None:
            raise ValueError(
                f"real=True is not possible: the real side of this metric is its reference, {self.reference!r}. "
                "Build the metric without reference= to feed real images"
            )
        activations = self._activations(imgs)
        with torch.inference_mode():  # states made by a reset under inference mode may only be changed inside it
            picked = self.layout.pick(activations).items()
            self._side(real).fill_({layer: subsample_positions(x, self.max_positions) for layer, x in picked})

    def compute(self) -> DistanceResult:
        """The distance between both sides.

        Returns:
            A scalar for ``reduction="mean"``, ``{layer: scalar}`` for ``"layer"``, ``{layer: [neurons]}`` for
            ``"none"``, in the metric's floating type (``set_dtype``).

        Raises:
            ValueError: when a side has too few images, or saw activations that are not finite.
        """
        real = self.reference if self.reference is not None else self._dna(real=True)
        generated = self._dna(real=False)
        for name, side in (("real", real), ("generated", generated)):
            if not side.n_images:
                raise ValueError(f"no {name} images yet: call update(imgs, real={name == 'real'}) first")
            for what, sentence in (("coverage", coverage_warning(side)), ("rank", rank_warning(side))):
                if sentence is not None and (name, what) not in self._warned:
                    self._warned.add((name, what))
                    warnings.warn(f"{name} images: {sentence}", UserWarning, stacklevel=2)
        distance = self._distance(real, generated)
        if isinstance(distance, dict):
            return {layer: self._as_result(value) for layer, value in distance.items()}
        return self._as_result(distance)

    def _as_result(self, value: Tensor) -> Tensor:
        return value.to(device=self.device, dtype=self.dtype)

    @abstractmethod
    def _distance(self, real: VDNA, generated: VDNA) -> DistanceResult:
        """One call into ``dna.compare``."""

    def dna(self, real: bool = False) -> VDNA:
        """The DNA of the images seen so far on this process.

        Args:
            real: which side; with a reference, the real side is the reference.

        Raises:
            ValueError: when activations were not finite.
        """
        if real and self.reference is not None:
            return self.reference
        dna = self._dna(real)
        dna.distribution.check_finite()
        return VDNA(dna.distribution.with_state(dna.distribution.state.clone()), dna.fingerprint, dna.provenance)

    def _dna(self, real: bool) -> VDNA:
        return VDNA(self._side(real), self.fingerprint, self._provenance())

    def _provenance(self) -> Provenance:
        return Provenance(self.extractor_name, max_positions=self.max_positions)

    def forward(self, imgs: Tensor, real: bool = False) -> DistanceResult | None:
        """Add images and give the distance of this batch alone from the real side.

        Args:
            imgs: as in `update`.
            real: as in `update`.

        Returns:
            As `compute`, of this batch's generated images against all real ones so far; ``None`` for real images.
        """
        if self._is_synced:
            raise TorchMetricsUserError("the metric is synced: call unsync() before forward()")
        # New tensors on both sides: metrics of one compute group may hold the same old ones.
        if real:
            if self.reference is None:
                self.real_state = self.real_state.clone()
            self.update(imgs, real=True)
            return None
        so_far = self.generated_state
        self.generated_state = torch.zeros_like(so_far)
        to_sync, self._to_sync = self._to_sync, self.dist_sync_on_step
        try:
            self.update(imgs)
            batch: DistanceResult = self.compute()
        finally:
            self.generated_state = so_far + self.generated_state
            self._to_sync, self._computed = to_sync, None
        self.__dict__["_forward_cache"] = batch  # torchmetrics declares it as None
        return batch

    def reset(self) -> None:
        """Forget the images seen; a reference stays, and so do real images with ``reset_real_features=False``."""
        kept = None if self.reset_real_features or self.reference is not None else self.real_state
        super().reset()
        if kept is not None:
            self.real_state = kept

    def _sync_reductions(self) -> Mapping[str, Any]:
        sides = [name for name in self._defaults if name.endswith("_state")]
        return dict.fromkeys(sides, torch.distributed.ReduceOp.SUM)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one value or several; see `torchmetrics.Metric.plot`.

        Args:
            val: result of `compute` or `forward`, or a list of them; computed when absent.
            ax: matplotlib axis to draw on.

        Returns:
            Figure and axis.
        """
        return self._plot(val, ax)


def _moved(default: Tensor, device: torch.device) -> Tensor:
    if default.stride() == (0,):  # one number that stands for all stays one
        return default[0].to(device).expand(default.shape)
    return default.to(device)


def _misfit(found: list[tuple[str, str, str]]) -> str:
    return "this reference does not fit the metric: " + describe_differences(found, ("reference", "metric"))
