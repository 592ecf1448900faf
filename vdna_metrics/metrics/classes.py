"""A distance within each class, as a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vdna_metrics.distributions import Distribution, Kind
from vdna_metrics.distributions.memory import StateSize, refuse_too_much
from vdna_metrics.distributions.parts import members, some_images
from vdna_metrics.distributions.ranks import Ranks
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.precomputed import FeaturesLike
from vdna_metrics.files import errors_of
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.functional.classes import class_summary
from vdna_metrics.functional.positions import subsample_positions
from vdna_metrics.layout import check_choice, check_count, check_names, check_type, near_names
from vdna_metrics.metrics.base import DistanceMetric, ReferenceLike
from vdna_metrics.metrics.extractor_metric import RefusedError
from vdna_metrics.metrics.sides import SidedMetric

ClassReduction = Literal["summary", "class"]
ClassResult = dict[str, Tensor]
_SHOWN = 5  # classes that a message names


class ClassConditionalDistance(SidedMetric):
    """A distance within each class: generated images of a class from real images of that class.

    Intra-FID where the distance is FID. The network runs once a batch, whatever the number of classes, and once for all
    metrics of it in a ``MetricCollection``. A class counts as one whatever its number of images.

    States are those of ``metric``, one for each class and side: a VDNA-EMD of 1000 bins takes 8 kB a neuron, class and
    side, a layer Fréchet distance 8 d² bytes for a layer of d neurons (34 MB of the 2048 of FID, so 67 GB for 1000
    classes of both sides), a neuron Fréchet distance 24 bytes a neuron. More than half of the device's memory is
    refused when the metric is built. `update` reads the labels, for which it waits where they lie on a GPU.

    Args:
        metric: which distance, in which network, of which layers: any `DistanceMetric` of histograms or Gaussians,
            built without ``reference=`` and not updated. It becomes a part of this one, which has its ``normalize``,
            ``reset_real_features`` and ``state_device``.
        num_classes: number of classes; labels are from 0.
        class_names: of them, in the order of the labels; by default ``"0"``, ``"1"`` and so on.
        references: DNAs of the real images, in the order of the labels, or ``{name or label: DNA}``, as `build_dnas`
            makes them of class folders or labels; each a ``VDNA``, a path, or a name from the store. Without any, real
            images are given to ``update(imgs, labels, real=True)``.
        reduction: ``"summary"`` gives the four numbers of `compute`, ``"class"`` ``{name: scalar}``.
        memory_limit: bytes that the states may take; by default what the environment variable
            ``VDNA_METRICS_MEMORY_LIMIT`` says, else half of the device's memory.
        metric_kwargs: of ``torchmetrics.Metric``.

    Raises:
        TypeError: for what is no such metric: of features, whose states grow with the images, or a score of one set.
        ValueError: for a metric with a reference or with images, classes without a reference, references that do not
            fit, or states that take too much memory.

    Source:
        Miyato and Koyama: cGANs with Projection Discriminator, ICLR 2018, for intra-FID; `functional.class_imbalance`.

    Examples:
        >>> from vdna_metrics import ClassConditionalDistance, NeuronFrechetDistance
        >>> distance = NeuronFrechetDistance(torch.nn.AvgPool2d(8))
        >>> metric = ClassConditionalDistance(distance, 2, class_names=["cat", "dog"])
        >>> images = torch.randint(0, 128, (12, 3, 8, 8), dtype=torch.uint8)
        >>> labels = torch.arange(12) % 2
        >>> metric.update(images, labels, real=True)
        >>> metric.update(images + 51 * labels.byte().view(-1, 1, 1, 1), labels)  # dogs are too bright
        >>> {name: round(float(value), 3) for name, value in metric.compute().items()}
        {'mean': 0.02, 'worst': 0.04, 'worst_class': 1.0, 'imbalance': 0.0}
    """

    def __init__(
        self,
        metric: DistanceMetric,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        references: Sequence[ReferenceLike] | Mapping[Any, ReferenceLike] | None = None,
        reduction: ClassReduction = "summary",
        memory_limit: int | None = None,
        **metric_kwargs: Any,
    ) -> None:
        check_type("metric", metric, DistanceMetric)
        if metric._empty.grows or metric.distance.arity == 1 or type(metric).compute is not DistanceMetric.compute:
            raise TypeError(
                "Expected a metric of a distance between histograms or Gaussians of two sets, whose states do not "
                f"grow, got {type(metric).__name__}"
            )
        if metric.reference is not None or metric.reduction != "mean" or metric.update_count:
            raise ValueError(
                "Expected a metric without reference, of reduction='mean', that has seen no images, got reference "
                f"{metric.reference!r}, reduction {metric.reduction!r}, {metric.update_count} updates: references= and "
                "reduction= are arguments beside it"
            )
        check_count("num_classes", num_classes)
        check_choice("reduction", reduction, ClassReduction)
        super().__init__(metric.extractor, metric.layout, metric.normalize, metric._state_device, **metric_kwargs)
        self._kept = (metric,)  # in a tuple it is no submodule, whose states would be saved and moved
        self.distance, self.reduction = metric.distance, reduction
        self.max_positions, self.reset_real_features = metric.max_positions, metric.reset_real_features
        self.num_classes = int(num_classes)
        states = self.num_classes * (2 if references is None else 1)
        refuse_too_much(
            type(self).__name__,
            [StateSize(f"{self.distance.kind} states of {num_classes} classes", states, metric._empty.largest_nbytes)],
            device=self._states_device,
            limit=memory_limit,
            fewer="classes, layers, neurons or bins",
            raised_by="memory_limit=bytes",
        )
        self.class_names = _names(self.num_classes, class_names)
        self.references = None if references is None else self._by_class(references)
        self._prepare_states(metric._empty, [self.num_classes])

    @property
    def _metric(self) -> DistanceMetric:
        """What knows the distance, and all that is said of it."""
        return self._kept[0]

    @property
    def kind(self) -> Kind:
        """Kind of the DNAs that are filled."""
        return self._metric.kind

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """As of the distance; of the imbalance never."""
        return self.distance.higher_is_better

    @property
    def plot_lower_bound(self) -> float | None:  # type: ignore[override]
        """As of the distance."""
        return self._metric.plot_lower_bound

    @property
    def _needs_real_images(self) -> bool:
        return self.references is None

    def _options(self) -> dict[str, Any]:
        return self._metric._options()

    def _shown(self) -> dict[str, object]:
        own = {"classes": self.num_classes, "reference": None if self.references is None else "by class"}
        return {"distance": self.distance.name, **self._metric._shown(), **own}

    def _by_class(self, references: Sequence[ReferenceLike] | Mapping[Any, ReferenceLike]) -> tuple[VDNA, ...]:
        """A DNA of each class, in order."""
        check_type("references", references, Mapping, list, tuple)
        if not isinstance(references, Mapping):
            if len(references) != self.num_classes:
                raise ValueError(f"Expected references of {self.num_classes} classes, got {len(references)}")
            references = dict(enumerate(references))
        found, metric = [], self._metric
        for label, name in enumerate(self.class_names):
            reference = references.get(name, references.get(label))
            if reference is None:
                raise ValueError(f"class {name!r} has no reference; {near_names(name, list(map(str, references)))}")
            with errors_of(f"class {name!r}"):
                dna = metric._resolved(metric._opened(reference, metric.extractor_name))
                metric._check_settings_of(dna, metric._empty)
            found.append(dna)
        return tuple(found)

    def _adopt(self, fingerprint: ExtractorFingerprint) -> None:
        for dna in self.references or ():
            dna.check_fingerprint(fingerprint)
        self._metric._adopt(fingerprint)
        super()._adopt(fingerprint)

    def _state_settings(self) -> tuple[Any, ...]:
        self._metric.fingerprint = self.fingerprint  # of weights that are only asked about, too: see `_settings_with`
        return (type(self).__name__, *self._metric._state_settings(), self.num_classes, self.references is not None)

    def _merged(self, states: Sequence[Tensor] | Tensor) -> Tensor:
        return torch.stack([self._empty.merged(rows) for rows in zip(*states, strict=True)])

    def _summed(self, states: Sequence[Tensor], ranks: Ranks) -> list[Tensor]:
        rows = self._empty.sum_over_ranks([row for state in states for row in state], ranks)
        return list(torch.stack(rows).split([len(state) for state in states]))

    def _part(self, label: int, real: bool) -> Distribution:
        return self._empty.with_state((self.real_state if real else self.generated_state)[label])

    # Hooks and inference mode are not for the compiler.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def update(self, imgs: Tensor | FeaturesLike, labels: Tensor | ArrayLike, real: bool = False) -> None:
        """Add images of several classes to one side.

        Args:
            imgs: as `DistanceMetric.update` takes them.
            labels: class of each image, ``[N]`` whole numbers from 0 to ``num_classes - 1``, on any device.
            real: whether the images are real ones; not possible when the metric has references.

        Raises:
            ValueError: for labels of another number or out of range, as `DistanceMetric.update`, or real images when
                there are references; then nothing is counted.
            TypeError: for labels that are no whole numbers, and likewise.
        """
        if real and self.references is not None:
            raise ValueError(
                f"real=True is not possible: the real side of this metric is its references, {self.num_classes} DNAs "
                f"of {sum(dna.n_images for dna in self.references)} images. Build the metric without references= to "
                "feed real images"
            )
        activations, changed = self._activations(imgs)
        picked = {
            layer: subsample_positions(x, self.max_positions) for layer, x in self.layout.pick(activations).items()
        }
        first = next(iter(picked.values()))
        images_of = members(_checked_labels(labels, first.shape[1], self.num_classes)[:, None])
        with torch.inference_mode():  # states made by a reset under inference mode may only be changed inside it
            self._empty.check_activations(picked)
            order = np.concatenate([np.empty(0, np.int64), *images_of.values()])
            rows = torch.from_numpy(order).to(first.device).split([len(places) for places in images_of.values()])
            for label, chosen in zip(images_of, rows, strict=True):
                self._part(label, real).fill_(some_images(picked, chosen))
            if changed is not None:
                self._part(0, real).note_changed_(changed)

    def compute(self) -> ClassResult:
        """The distance within classes.

        Returns:
            With ``reduction="summary"`` scalars: the ``"mean"`` over classes, the ``"worst"``, the label of that
            ``"worst_class"``, int64, and the ``"imbalance"`` of the classes, see `functional.class_imbalance`. With
            ``"class"`` ``{name: scalar}``. In the metric's floating type (``set_dtype``).

        Raises:
            ValueError: when a class has too few images on a side, also a ``RuntimeError``; the classes are named. When
                activations were not finite.
        """
        real, generated = self._checked_sides()
        asked = {"weights": self._metric.weights, "allow_subsampled": self._metric.allow_subsampled, **self._options()}
        values = []
        for name, *sides in zip(self.class_names, real, generated, strict=True):
            with errors_of(f"class {name!r}"):
                value = self.distance(*sides, **asked)
            assert isinstance(value, Tensor)
            values.append(value)
        if self.reduction == "class":
            return {name: self._as_result(value) for name, value in zip(self.class_names, values, strict=True)}
        counts = (torch.tensor([dna.n_images for dna in dnas]) for dnas in (generated, real))
        found = class_summary(torch.stack(values), *counts, higher_is_better=self.higher_is_better)
        assert found.imbalance is not None
        return {
            "mean": self._as_result(found.mean),
            "worst": self._as_result(found.worst),
            "worst_class": found.worst_class.to(self.device),
            "imbalance": self._as_result(found.imbalance),
        }

    def _checked_sides(self) -> tuple[Sequence[VDNA], Sequence[VDNA]]:
        """Real and generated DNAs of each class; warns of what is to be known of that with the fewest images."""
        self._check_weights()
        real = self.references or self._parts(real=True)
        generated = self._parts(real=False)
        for side, dnas in (("real", real), ("generated", generated)):
            counts, least = [dna.n_images for dna in dnas], self._empty.min_images
            if not any(counts):
                raise RefusedError(f"no {side} images yet: call update(imgs, labels, real={side == 'real'}) first")
            by_name = dict(zip(self.class_names, counts, strict=True))
            few = [f"{count} of class {name!r}" for name, count in by_name.items() if count < least]
            if few:
                more = f" and {len(few) - _SHOWN} classes more" * (len(few) > _SHOWN)
                raise RefusedError(
                    f"expected at least {least} {side} image{'s' * (least > 1)} of each of {self.num_classes} classes, "
                    f"got {', '.join(few[:_SHOWN])}{more}"
                )
            for dna in dnas:
                dna.distribution.check_finite()
        fewest = min(range(self.num_classes), key=lambda label: min(real[label].n_images, generated[label].n_images))
        of = f" of class {self.class_names[fewest]!r}, which has the fewest"
        self._warn({"real": real[fewest], "generated": generated[fewest]}, of)
        return real, generated

    def _parts(self, real: bool) -> list[VDNA]:
        return [self._dna(self._part(label, real)) for label in range(self.num_classes)]

    def _dna(self, distribution: Distribution) -> VDNA:
        return VDNA(distribution, self.fingerprint, self._provenance())

    def dna(self, real: bool = False) -> VDNA:
        """The DNA of the images of all classes seen so far on this process.

        Args:
            real: which side; with references, the real side are these.

        Raises:
            ValueError: when activations were not finite.
        """
        first, *others = self.dnas(real).values()
        return sum(others, first)

    def dnas(self, real: bool = False) -> dict[str, VDNA]:
        """DNAs of the images of each class seen so far on this process, ``{name: DNA}``; see `analysis.compare_groups`.

        Args:
            real: which side; with references, the real side are these.

        Raises:
            ValueError: when activations were not finite.
        """
        if real and self.references is not None:
            return dict(zip(self.class_names, self.references, strict=True))
        self._check_weights()
        found = {}
        for label, name in enumerate(self.class_names):
            part = self._part(label, real)
            part.check_finite()
            found[name] = self._dna(part.copied())
        return found

    def forward(
        self, imgs: Tensor | FeaturesLike, labels: Tensor | ArrayLike, real: bool = False
    ) -> ClassResult | None:
        """Add images and give the distances of this batch alone, in which there have to be images of all classes.

        Args:
            imgs: as in `update`.
            labels: as in `update`.
            real: as in `update`.

        Returns:
            As `compute`, of this batch's generated images against all real ones so far; ``None`` for real images.

        Raises:
            ValueError: as `update` and `compute`; then nothing is counted. Batches that do not hold all classes are for
                `update`.
        """
        result: ClassResult | None = super().forward(imgs, labels, real=real)
        return result

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot the distances of one result, or of several; see `torchmetrics.Metric.plot`.

        Args:
            val: result of `compute` or `forward`, or a list of them; computed when absent.
            ax: matplotlib axis to draw on.

        Returns:
            Figure and axis.
        """
        val = self.compute() if val is None else val
        drawn = [
            {name: value for name, value in each.items() if name not in ("worst_class", "imbalance")}
            for each in (val if isinstance(val, list) else [val])
        ]
        return self._plot(drawn if isinstance(val, list) else drawn[0], ax)


def _names(number: int, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(number)))
    check_names("class_names", names)
    if len(names) != number or len(set(names)) != number or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"Expected {number} class_names that differ, got {len(names)}: {', '.join(map(str, names[:_SHOWN]))}"
        )
    return tuple(names)


def _checked_labels(labels: Tensor | ArrayLike, n_images: int, num_classes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if found.dtype.kind not in "iu" and found.size:
        raise TypeError(f"expected labels to be whole numbers, got {found.dtype}")
    if found.shape != (n_images,):
        raise ValueError(f"expected a label of each of {n_images} images, [{n_images}], got {list(found.shape)}")
    wrong = found[(found < 0) | (found >= num_classes)]
    if len(wrong):
        raise ValueError(f"expected labels from 0 to {num_classes - 1}, got {wrong[0]}")
    return found.astype(np.int64)
