"""What all distance metrics share: images in, additive states, a DNA of each side."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from vdna_metrics.distributions.base import Distribution, differences
from vdna_metrics.distributions.features import FeatureSample
from vdna_metrics.distributions.kinds import Kind
from vdna_metrics.dna.distances import Distance, DistanceResult, Reduction
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.directions import DirectionsLike, directions_of, features_layer
from vdna_metrics.extractors.modes import Crop, PreprocessingMode
from vdna_metrics.extractors.precomputed import FeaturesLike
from vdna_metrics.extractors.preprocess import Preprocessing
from vdna_metrics.extractors.registry import ExtractorLike, extractor_and_layout, spec_and_module
from vdna_metrics.fingerprint import MODULE, ExtractorFingerprint, describe_differences
from vdna_metrics.functional.positions import subsample_positions
from vdna_metrics.metrics.extractor_metric import RefusedError
from vdna_metrics.metrics.sides import SidedMetric
from vdna_metrics.neurons import NeuronsLike, NeuronWeights, NeuronWeightsLike, chosen_weights

if TYPE_CHECKING:  # stores, files and archives are for metrics that have a reference
    from vdna_metrics.references import ImageSet
    from vdna_metrics.references.image_sets import AnyDNA

ReferenceLike = VDNA | str | Path


class DistanceMetric(SidedMetric):
    """A `Distance` as a metric: it fills the DNAs of real and generated images and calls it.

    A subclass names its ``distance``, gives its options in `_options` where it has some, and registers its states once,
    by `_prepare_states`; see `GaussianDistanceMetric` and `HistogramDistanceMetric`. A distance that scores one set
    needs no real images: what is given to ``update(imgs, real=True)`` is passed over.

    Args:
        extractor: a name (see `get_spec`), an ``ExtractorSpec``, or any ``torch.nn.Module``.
        reference: DNA of the real images: a ``VDNA``, a path, or a name from the store. Without one, real images are
            given to ``update(imgs, real=True)``.
        layers: names of the layers to look at; module paths where it has none of its own, as modules.
        neurons: of the neurons to look at, ``{layer: indices}``, a `NeuronSelection`, or its file.
        weights: of these neurons (or layers), ``{layer: [neurons]}``, `NeuronWeights`, or their file.
        reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.
        normalize: whether images are floats in [0, 1] instead of uint8.
        reset_real_features: whether ``reset`` forgets real images.
        state_device: where states are kept, by default the metric's device.
        weights_path: local file of the network's weights.
        size: of a module: to which images are resized, see `create_extractor`.
        mean: of a module: subtracted from images in [0, 1].
        std: of a module: then divided by.
        crop: what of an image is looked at, see `Preprocessing`.
        preprocessing: of a module: how images are resized, see `Preprocessing`.
        directions: ``{layer: number of directions, or these}`` to look along besides, see `create_extractor`; by
            default those of the reference that ``layers`` and ``neurons`` do not leave out.
        trust_code: whether ``extractor`` may run the code of a file.
        metric_kwargs: of ``torchmetrics.Metric``.

    Raises:
        ValueError: for unknown names, or a reference that does not fit the extractor.
    """

    distance: ClassVar[Distance]
    allow_subsampled: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = dict(inspect.signature(cls.__init__).parameters)
        if own.pop("options", None) is not None and all(part.kind != part.VAR_POSITIONAL for part in own.values()):
            # `help()` and `inspect` show what ``**options`` stand for: the arguments of the class above.
            above = inspect.signature(super(cls, cls).__init__).parameters
            parts = [*own.values(), *(part for name, part in above.items() if name not in own)]
            parts.sort(key=lambda part: (part.kind, part.default is not part.empty))
            cls.__init__.__dict__["__signature__"] = inspect.Signature(parts)
        if "distance" in cls.__dict__:
            cls.higher_is_better = cls.distance.higher_is_better
            cls.plot_lower_bound = None if cls.higher_is_better else cls.distance.neutral

    def __init__(
        self,
        extractor: ExtractorLike = "mugs_vit_base",
        *,
        reference: ReferenceLike | None = None,
        layers: Sequence[str] | None = None,
        neurons: NeuronsLike | None = None,
        weights: NeuronWeightsLike | None = None,
        reduction: Reduction = "mean",
        normalize: bool = False,
        reset_real_features: bool = True,
        state_device: torch.device | str | None = None,
        weights_path: str | Path | None = None,
        size: int | tuple[int, int] | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        crop: Crop | None = None,
        preprocessing: PreprocessingMode | None = None,
        directions: DirectionsLike | None = None,
        trust_code: bool = False,
        **metric_kwargs: Any,
    ) -> None:
        if not hasattr(self, "distance"):
            raise TypeError(f"{type(self).__name__} is not a metric yet: make a subclass that names its distance")
        self.distance.check_reduction(reduction)
        opened: VDNA | ImageSet | None = None
        if reference is not None:
            spec, _network = spec_and_module(extractor, weights_path, trust_code=trust_code)
            opened = self._opened(reference, spec.name)
            if directions is None:
                named = neurons if layers is None and isinstance(neurons, Mapping) else layers
                directions = self._directions_of(opened, spec.name, named)
        built, layout = extractor_and_layout(
            extractor, layers, neurons, weights_path=weights_path, size=size, mean=mean, std=std, crop=crop,
            preprocessing=preprocessing, directions=directions, trust_code=trust_code,
        )  # fmt: skip
        if layers is None and neurons is None and self.kind == "features":
            layout = layout.select([features_layer(layout)])
        super().__init__(built, layout, normalize, state_device, **metric_kwargs)
        if not isinstance(reset_real_features, bool):
            raise ValueError(f"reset_real_features must be a bool, got {reset_real_features!r}")
        self.reduction = reduction
        self.weights = None
        self._plain_weights = not isinstance(weights, NeuronWeights | str | Path)
        if weights is not None:
            per = self.distance.per
            if per is None:
                raise ValueError(f"{self.distance.label} has no parts that could be weighted; leave weights= out")
            values = chosen_weights(weights, layout, self.fingerprint, per)  # a file is read once
            self.weights = None if values is None else NeuronWeights(layout, values, self.fingerprint, per)
        self.reset_real_features = reset_real_features
        self.reference = None if opened is None else self._resolved(opened)
        self.reference_name = str(reference) if isinstance(reference, str | Path) else None

    @property
    def kind(self) -> Kind:
        """Kind of the DNAs that are filled."""
        return self.distance.kind

    def _shown(self) -> dict[str, object]:
        shown = super()._shown()
        if self.reference is not None:
            sources = ", ".join(self.reference.provenance.sources) or "unknown source"
            shown["reference"] = f"{self.reference.n_images} images of {sources}"
        elif self.distance.arity == 2:
            shown["reference"] = None
        return {**shown, **self._options()}

    def _opened(self, reference: ReferenceLike, extractor: str) -> VDNA | ImageSet:
        if self.distance.arity == 1:
            raise ValueError(f"{type(self).__name__} scores generated images alone; leave reference= out")
        if isinstance(reference, VDNA):
            return reference
        from vdna_metrics.references.resolve import resolve

        early = extractor.removeprefix(MODULE)  # how DNAs of modules were called
        return resolve(reference, kinds=[self.kind], extractors=list(dict.fromkeys([extractor, early])))

    def _directions_of(
        self, reference: VDNA | ImageSet, extractor: str, named: Sequence[str] | Mapping[str, Any] | None
    ) -> DirectionsLike:
        """Those of a reference, as far as their layers are among the ones that are named."""
        from vdna_metrics.references.image_sets import extractor_of

        dnas: Sequence[AnyDNA] = [reference] if isinstance(reference, VDNA) else reference.dnas
        if len(set(map(extractor_of, dnas))) > 1:
            dnas = [dna for dna in dnas if extractor_of(dna) == extractor]
        named = [named] if isinstance(named, str) else named
        return {
            layer: directions
            for dna in dnas
            if dna.as_kind(self.kind).kind == self.kind
            for layer, directions in directions_of(dna.fingerprint).items()
            if named is None or directions.layer(layer) in named
        }

    def _resolved(self, reference: VDNA | ImageSet) -> VDNA:
        name = type(self).__name__
        if isinstance(reference, VDNA):
            dna = reference
        else:
            network = self.extractor_name if len(reference.networks) > 1 else None
            chosen = reference.choose_dna(self.kind, network, layers=list(self.layout))
            dna = (chosen or reference.one_dna()).total
        dna.check_fingerprint(self.fingerprint)
        dna = dna.as_kind(self.kind)
        if dna.kind != self.kind:
            raise ValueError(f"the reference is a {dna.kind} DNA, {name} needs a {self.kind} DNA")
        least = dna.distribution.min_images
        if dna.n_images < least:
            raise ValueError(f"the reference has {dna.n_images} images, {name} needs at least {least}")
        kept = dna.select(list(self.layout), self.layout.neurons)
        for layer, count in self.layout.items():
            if kept.layout[layer] != count:
                raise ValueError(_misfit([(f"neurons of layer {layer!r}", str(kept.layout[layer]), str(count))]))
        return kept

    def _prepare_states(self, empty: Distribution, parts: Sequence[int] = ()) -> None:
        """Register the states; to be called once by the subclass, with an empty distribution of its settings."""
        if self.reference is not None:
            self._check_settings_of(self.reference, empty)
        self._filled: dict[str, Distribution] = {}
        super()._prepare_states(empty, parts)

    def _check_settings_of(self, reference: VDNA, empty: Distribution) -> None:
        """Raise ``ValueError``, showing both, for a reference of other bins, ranges or positions."""
        found = differences(reference.distribution, empty)
        if found:
            raise ValueError(_misfit(found))
        found = reference.provenance.differences(self._provenance())
        if found and not self.allow_subsampled:
            raise ValueError(
                f"{_misfit(found)}. Give the metric the max_positions of its reference, or allow_subsampled=True "
                "for an estimate"
            )

    def _adopt(self, fingerprint: ExtractorFingerprint) -> None:
        if self.reference is not None:
            self.reference.check_fingerprint(fingerprint)
        if self.weights is not None:
            if self._plain_weights:  # numbers that name no network
                self.weights = replace(self.weights, fingerprint=fingerprint)
            chosen_weights(self.weights, self.layout, fingerprint, self.weights.per)
        super()._adopt(fingerprint)

    @property
    def _needs_real_images(self) -> bool:
        return self.reference is None and self.distance.arity == 2

    def _state_settings(self) -> tuple[Any, ...]:
        return (*super()._state_settings(), self.reset_real_features, self.reference is not None)

    def __getstate__(self) -> dict[str, Any]:
        """Without what only knows the states that are beside it."""
        return {**super().__getstate__(), "_filled": {}}

    def _side(self, real: bool) -> Distribution:
        name = "real_state" if real else "generated_state"
        state, side = getattr(self, name), self._filled.get(name)
        if side is None or side.state is not state:  # else it knows what a look at the device would wait for
            side = self._filled[name] = self._empty.with_state(state)
        return side

    # Hooks and inference mode are not for the compiler.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def update(self, imgs: Tensor | FeaturesLike, real: bool = False) -> None:
        """Add images to one side.

        Args:
            imgs: ``[N, 3, H, W]`` uint8, or float in [0, 1] with ``normalize=True``, on the metric's device; or what
                `PrecomputedFeatures` takes.
            real: whether the images are real ones; not possible when the metric has a reference.

        Raises:
            ValueError: for another shape, images out of range, or real images when there is a reference. On CUDA,
                images out of range and activations that are not finite are reported by `compute`, so that
                nothing waits here.
            TypeError: for another dtype; a ``ValueError`` too.
            TorchMetricsUserError: between ``sync`` and ``unsync``, which would forget the images.
        """
        if real and self.reference is not None:
            raise ValueError(
                f"real=True is not possible: the real side of this metric is its reference, {self.reference!r}. "
                "Build the metric without reference= to feed real images"
            )
        if real and self.distance.arity == 1:
            return
        activations, changed = self._activations(imgs)
        with torch.inference_mode():  # states made by a reset under inference mode may only be changed inside it
            picked = self.layout.pick(activations).items()
            side = self._side(real)
            hashes = self._hashes(imgs) if isinstance(self._empty, FeatureSample) else None
            side.fill_({layer: subsample_positions(x, self.max_positions) for layer, x in picked}, hashes)
            if changed is not None:
                side.note_changed_(changed)
            if side.grows:
                setattr(self, "real_state" if real else "generated_state", side.state)

    def _hashes(self, imgs: Tensor | FeaturesLike) -> Tensor | None:
        """What tells images apart; nothing for features, which are told apart by what they hold."""
        prepare = self.extractor.preprocess
        if isinstance(prepare, Preprocessing) and isinstance(imgs, Tensor):
            return prepare.hashes(imgs, normalize=self.normalize)
        return None

    def compute(self) -> DistanceResult:
        """The distance between both sides.

        Returns:
            A scalar for ``reduction="mean"``, ``{layer: scalar}`` for ``"layer"``, ``{layer: [neurons]}`` for
            ``"none"``, in the metric's floating type (``set_dtype``).

        Raises:
            ValueError: when a side has too few images, also a ``RuntimeError``, or saw activations that are not finite.
        """
        sides = self._checked_sides()
        distance = self.distance(
            sides.get("real"), sides["generated"], weights=self.weights, reduction=self.reduction,
            allow_subsampled=self.allow_subsampled, **self._options(),
        )  # fmt: skip
        if isinstance(distance, dict):
            return {layer: self._as_result(value) for layer, value in distance.items()}
        return self._as_result(distance)

    def _checked_sides(self) -> dict[str, VDNA]:
        """What is compared, ``"real"`` where there is such a side and ``"generated"``; warns of what is to be known."""
        self._check_weights()
        real = self._dna(real=True) if self._needs_real_images else self.reference
        generated = self._dna(real=False)
        sides = {name: side for name, side in (("real", real), ("generated", generated)) if side is not None}
        for name, side in sides.items():
            if not side.n_images:
                raise RefusedError(f"no {name} images yet: call update(imgs, real={name == 'real'}) first")
            if side.n_images < (least := side.distribution.min_images):
                raise RefusedError(f"expected at least {least} {name} images, got {side.n_images}")
        self._warn(sides)
        return sides

    def dna(self, real: bool = False) -> VDNA:
        """The DNA of the images seen so far on this process.

        Args:
            real: which side; with a reference, the real side is the reference.

        Raises:
            ValueError: when activations were not finite, or for the real side of a score of one set.
        """
        if real and self.reference is not None:
            return self.reference
        if real and not self._needs_real_images:
            raise ValueError(f"{type(self).__name__} scores generated images alone, it has no real side")
        self._check_weights()
        dna = self._dna(real)
        dna.distribution.check_finite()
        return VDNA(dna.distribution.copied(), dna.fingerprint, dna.provenance)

    def _dna(self, real: bool) -> VDNA:
        return VDNA(self._side(real), self.fingerprint, self._provenance())

    def forward(self, imgs: Tensor | FeaturesLike, real: bool = False) -> DistanceResult | None:
        """Add images and give the distance of this batch alone from the real side.

        Args:
            imgs: as in `update`.
            real: as in `update`.

        Returns:
            As `compute`, of this batch's generated images against all real ones so far; ``None`` for real images.

        Raises:
            ValueError: as `update` and `compute`; then nothing is counted.
        """
        result: DistanceResult | None = super().forward(imgs, real=real)
        return result


def _misfit(found: list[tuple[str, str, str]]) -> str:
    return "this reference does not fit the metric: " + describe_differences(found, ("reference", "metric"))
