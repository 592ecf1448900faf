"""What metrics share that keep real and generated images apart: a state a side, and what becomes of both."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from vdna_metrics.distributions.base import Distribution
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.dna.caveats import Notes, pair_caveats, set_caveats
from vdna_metrics.dna.vdna import VDNA, Provenance
from vdna_metrics.metrics.extractor_metric import ExtractorMetric, levels_to_caller


class SidedMetric(ExtractorMetric):
    """A metric with states of real and of generated images, each of one distribution, or of one a class.

    A subclass registers them, once, by `_prepare_states`.
    """

    reset_real_features: bool
    max_positions: int | None = None
    generated_state: Tensor
    real_state: Tensor

    @property
    @abstractmethod
    def _needs_real_images(self) -> bool:
        """Whether real images are given to ``update``."""

    def _options(self) -> dict[str, Any]:
        """Options of the distance."""
        return {}

    def _prepare_states(self, empty: Distribution, parts: Sequence[int] = ()) -> None:
        """Register the states, with an empty distribution of their settings, so many of them each."""
        # One zero that stands for all: neither this nor torchmetrics' defaults take as much memory as the state.
        zero = empty.state.new_zeros(())
        self._empty = empty.with_state(zero.expand(empty.state.shape))
        for side in ("real", "generated") if self._needs_real_images else ("generated",):
            shape = (*parts, *empty.state.shape)
            self.add_state(f"{side}_state", zero.new_zeros(shape), dist_reduce_fx=self._merged)
            self._defaults[f"{side}_state"] = zero.expand(shape)
        self._add_settings()
        self._warned: set[tuple[str, str]] = set()

    def _merged(self, states: Sequence[Tensor] | Tensor) -> Tensor:
        """The state of several sets of images from their states."""
        return self._empty.merged(states)

    def _summed(self, states: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
        """States of all ranks."""
        return self._empty.sum_over_ranks(states, ranks)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Metric:
        super()._apply(fn, exclude_state)
        zero = self._zero("generated_state").new_zeros(())
        self._empty = self._empty.with_state(zero.expand(self._empty.state.shape))
        return self

    @property
    def _side_names(self) -> list[str]:
        return [name for name in ("real_state", "generated_state") if name in self._defaults]

    def _forward_reduce_state_update(self, *seen: Any, real: bool = False) -> Any:
        # New tensors on both sides: metrics of one compute group may hold the same old ones.
        if real:
            if self._needs_real_images:
                self.real_state = self.real_state.clone()
            self.update(*seen, real=True)
            return None
        so_far = self.generated_state
        self.generated_state = self._zero("generated_state").clone()
        to_sync, self._to_sync = self._to_sync, self.dist_sync_on_step
        self.update(*seen)
        batch = self.compute()
        self.generated_state = self._merged([so_far, self.generated_state])
        self._to_sync, self._computed = to_sync, None
        return batch

    _forward_full_state_update = _forward_reduce_state_update

    def reset(self) -> None:
        """Forget the images seen; a reference stays, and so do real images with ``reset_real_features=False``."""
        keeps = not self.reset_real_features and self._needs_real_images
        self._keeps_real = keeps and (self._keeps_real or self._update_count > 0)
        kept = self.real_state if keeps else None
        super().reset()
        if kept is not None:
            self.real_state = kept

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        # Not stacked, as torchmetrics does: samples of features differ in length.
        sides = {name: incoming_state[name] for name in self._side_names if name in incoming_state}
        with self._without_states(sides):
            super()._reduce_states(incoming_state)
        for name, state in sides.items():
            setattr(self, name, self._merged([state, getattr(self, name)]))

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        if dist_sync_fn is gather_all_tensors or not self._empty.grows:
            super()._sync_dist(dist_sync_fn, process_group)
            return
        names = self._side_names
        with self._without_states(names):
            super()._sync_dist(dist_sync_fn, process_group)
        for name in names:
            gathered = dist_sync_fn(getattr(self, name), group=process_group or self.process_group)
            setattr(self, name, self._merged(gathered))

    def _reduce_over_ranks(self, ranks: Ranks) -> None:
        states = self._summed([getattr(self, name) for name in self._side_names], ranks)
        for name, state in zip(self._side_names, states, strict=True):
            setattr(self, name, state)

    def _provenance(self) -> Provenance:
        return Provenance(self.extractor_name, max_positions=self.max_positions)

    def _as_result(self, value: Tensor) -> Tensor:
        return value.to(device=self.device, dtype=self.dtype)

    def _warn(self, sides: Mapping[str, VDNA], of: str = "") -> None:
        """Say what is to be known of ``"real"`` and ``"generated"`` images, each thing once."""
        notes, real = Notes(), sides.get("real")
        for name, side in sides.items():
            said = [what for whose, what in self._warned if whose == name]
            caveats = set_caveats(side, like=real, said=said)
            if side is real and "width" not in said and self._options().get("unit") != "activation":
                both = pair_caveats(side, sides["generated"])
                caveats |= {what: each for what, each in both.items() if what == "width"}
            self._warned |= {(name, what) for what in caveats}
            notes.add_caveats(f"{name} images{of}", caveats)
        for sentence in notes.sentences():
            warnings.warn(sentence, UserWarning, stacklevel=levels_to_caller())

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one value or several; see `torchmetrics.Metric.plot`.

        Args:
            val: result of `compute` or `forward`, or a list of them; computed when absent.
            ax: matplotlib axis to draw on.

        Returns:
            Figure and axis.
        """
        return self._plot(val, ax)
