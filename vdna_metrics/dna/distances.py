"""A distance as one value: what it needs, what it computes, what it is called; and the registry of all distances."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from vdna_metrics.distributions import GaussianDistribution, Histogram, Kind, LayerGaussianDistribution
from vdna_metrics.distributions.base import Distribution
from vdna_metrics.dna.of_images import OfImages, image_emd_from, image_frechet_from, image_layer_frechet_from
from vdna_metrics.dna.vdna import VDNA, check_comparable
from vdna_metrics.files import errors_of_code
from vdna_metrics.functional.emd import EMDUnit, earth_movers_distance
from vdna_metrics.functional.frechet import frechet_distance, neuron_frechet_distance
from vdna_metrics.layout import check_choice, check_type, near_names
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike, Per, chosen_weights

Reduction = Literal["mean", "layer", "none"]
DistanceResult = Tensor | dict[str, Tensor]
ENTRY_POINTS = "vdna_metrics.distances"
RESERVED = ("fid", "sfid", "fd_dinov2", "clip_fd")  # names of columns
SQUARED = "squared activations"

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, eq=False)
class Distance:
    """All there is to say of a distance between two DNAs, or of a score of one; call it to measure.

    `register_distance` makes it known to the command line, to leaderboards, rankings and reports, which read nothing
    but this value. An installed package registers one by an entry point of the group ``vdna_metrics.distances``.

    Args:
        name: lower-case letters, digits and ``_``; what users type.
        label: what people read, "VDNA-EMD".
        meaning: one sentence that says what it measures.
        kind: of the DNAs it needs.
        function: takes the distribution of the reference and that of the generated images (of the latter alone with
            ``arity=1``), both of one layout, and the options; gives ``{layer: [neurons]}`` float64 with
            ``per="neuron"``, ``{layer: [1]}`` with ``per="layer"``, a scalar with ``per=None``.
        unit: of its values; where there is an option ``unit``, that says it.
        direction: whether the ``"lower"`` or the ``"higher"`` value is better.
        arity: 2 for a distance from a reference, 1 for a score of the generated images alone.
        per: the finest parts that it has.
        bias: rule by which `jackknife_distance` corrects it for a finite number of images and `noise_floor` scales it,
            a name of `analysis.BIAS_RULES`; ``None`` where there is no rule: then it has neither a corrected value nor
            a floor.
        neutral: its value between a set and itself; ``None`` where there is no such value.
        options: ``{name: allowed values, the default first}``.
        of_images: a faster way to what ``function`` says of DNAs of single images, or one where a DNA needs more
            images: takes the reference's distribution and the options, and gives a function of
            ``{layer: [neurons, images, positions]}`` with ``{layer: [images, parts]}``, float64. Without one, each
            image's DNA is made and compared.
        aliases: other names for it.
        short: label for the heads of tables, by default ``label``.
        may_lack: whether neurons may have no value: NaN, which means leave out.

    Raises:
        ValueError: for a malformed name, or an unknown kind, direction, arity or part.

    Examples:
        >>> def entropy(generated):
        ...     shares = generated.counts / generated.counts.sum(dim=1, keepdim=True)
        ...     return generated.layout.split(torch.special.entr(shares.double()).sum(dim=1))
        >>> score = Distance(
        ...     "entropy", "entropy", "How evenly a neuron's activations fill its range.", "histogram", entropy,
        ...     unit="nats", direction="higher", arity=1, neutral=None,
        ... )
        >>> from vdna_metrics import load_reference
        >>> round(float(score(None, load_reference("bsds500/test@vdna_tiny", kind="histogram"))), 1)
        5.6
    """

    name: str
    label: str
    meaning: str
    kind: Kind
    function: Callable[..., Mapping[str, Tensor] | Tensor]
    unit: str = ""
    direction: Literal["lower", "higher"] = "lower"
    arity: Literal[1, 2] = 2
    per: Per | None = "neuron"
    bias: str | None = None
    neutral: float | None = 0.0
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    of_images: Callable[..., OfImages] | None = None
    aliases: tuple[str, ...] = ()
    short: str = ""
    may_lack: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "short", self.short or self.label)
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"expected a name of lower-case letters, digits and _, got {self.name!r}")
        for what, value, known in (
            ("kind", self.kind, get_args(Kind)),
            ("direction", self.direction, ("lower", "higher")),
            ("arity", self.arity, (1, 2)),
            ("per", self.per, ("neuron", "layer", None)),
        ):
            if value not in known:
                raise ValueError(f"{self.name}: {what} must be one of {', '.join(map(str, known))}, got {value!r}")

    def __repr__(self) -> str:
        return f"Distance({self.name}: {self.label})"

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""
        return self.direction == "higher"

    @property
    def says_how_far(self) -> bool:
        """Whether it is a distance between two sets: the smaller, the nearer they are."""
        return self.arity == 2 and self.direction == "lower"

    def checked_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options, with the defaults of those that are not given.

        Raises:
            ValueError: for an option that it does not have, or a value that is not allowed.
        """
        for name, value in given.items():
            if name not in self.options:
                raise ValueError(f"{self.name} has no option {name!r}; it has {', '.join(self.options) or 'none'}")
            if value not in self.options[name]:
                known = ", ".join(map(str, self.options[name]))
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        return {name: given.get(name, allowed[0]) for name, allowed in self.options.items()}

    def __call__(
        self,
        reference: VDNA | None,
        generated: VDNA,
        *,
        layers: Sequence[str] | None = None,
        neurons: NeuronsLike | None = None,
        weights: NeuronWeightsLike | None = None,
        reduction: Reduction = "mean",
        allow_subsampled: bool = False,
        **options: Any,
    ) -> DistanceResult:
        """Measure.

        Args:
            reference: DNA of the real images; with ``arity=1`` it may be ``None`` and is not looked at.
            generated: DNA of the generated images, of the same network, layout and settings.
            layers: layers to compare, ``None`` for all.
            neurons: of the neurons to compare, ``{layer: indices}``, a `NeuronSelection`, or its file.
            weights: of all compared neurons, ``{layer: [neurons]}``, `NeuronWeights`, or their file (of layers where it
                has no parts by neuron); the value is then the weighted sum instead of the mean.
            reduction: ``"mean"`` gives a scalar, ``"layer"`` ``{layer: scalar}``, ``"none"`` ``{layer: [neurons]}``.
            allow_subsampled: compare DNAs even if one saw other positions of its images (``max_positions=``).
            options: its own.

        Returns:
            float64, on the device of the first DNA.

        Raises:
            ValueError: when the DNAs cannot be compared, with both sides; a part that it does not have; its options.
            TypeError: for what is not a DNA.
        """
        self.check_reduction(reduction)
        chosen = self.checked_options(options)
        given = {"reference": reference, "generated": generated} if self.arity == 2 else {"generated": generated}
        sides = self.prepared(given, layers, neurons, allow_subsampled=allow_subsampled)
        found = self.parts(*(side.distribution for side in sides), **chosen)
        if isinstance(found, Tensor):
            if weights is not None:
                raise ValueError(f"{self.label} has no parts that could be weighted; leave weights= out")
            return found
        return self._reduced(found, sides[0], weights, reduction)

    def naming_errors(self) -> AbstractContextManager[None]:
        """Errors of its functions, which may be anybody's, name it."""
        return errors_of_code(self.name, "its function")

    def parts(self, *sides: Distribution, **options: Any) -> dict[str, Tensor] | Tensor:
        """What its function gives of distributions, in float64; refused where it is not what the distance states."""
        layout, first = sides[0].layout, sides[0]
        if isinstance(first, Histogram):
            sides = tuple(first.comparable([side for side in sides[1:] if isinstance(side, Histogram)]))
        with self.naming_errors():
            found = self.function(*sides, **options)
        sizes = {} if self.per is None else {layer: n if self.per == "neuron" else 1 for layer, n in layout.items()}
        parts = {"": found} if isinstance(found, Tensor) else dict(found)
        shapes = {layer: list(part.shape) for layer, part in parts.items()}
        expected = {layer: [size] for layer, size in sizes.items()} or {"": []}
        if shapes != expected:
            raise ValueError(f"{self.name}: its function has to give the shapes {expected}, got {shapes}")
        self.check_finite(parts)
        return parts[""].double() if self.per is None else {layer: part.double() for layer, part in parts.items()}

    def check_finite(self, parts: Mapping[str, Tensor]) -> None:
        """Raise ``ValueError``, naming the layers, for values that are not finite; NaN may be where it ``may_lack``."""
        bad = [layer for layer, part in parts.items() if not (part.isfinite() | (part.isnan() & self.may_lack)).all()]
        if bad:
            raise ValueError(f"{self.name} is not finite in layers {', '.join(bad) or 'of all'}")

    def check_known(self, parts: Mapping[str, Tensor]) -> None:
        """Raise ``ValueError``, naming the layers, where all values are NaN."""
        lacking = [layer for layer, part in parts.items() if part.isnan().all()]
        if lacking:
            raise ValueError(
                f"{self.label}: no neuron of {', '.join(lacking)} has any width in the reference, which the unit is "
                "relative to: take more images, unit='activation', or other layers"
            )

    def check_reduction(self, reduction: str) -> None:
        """Raise ``ValueError`` for a reduction that it does not have."""
        check_choice("reduction", reduction, Reduction)
        if reduction == "none" and self.per == "layer":
            raise ValueError(f"{self.label} has one number per layer and none per neuron: use reduction='layer'")
        if reduction != "mean" and self.per is None:
            raise ValueError(f"{self.label} is one number, without parts per layer or neuron: use reduction='mean'")

    def prepared(
        self,
        given: Mapping[str, VDNA | None],
        layers: Sequence[str] | None = None,
        neurons: NeuronsLike | None = None,
        *,
        allow_subsampled: bool = False,
    ) -> list[VDNA]:
        """What it would compare of one or two named DNAs; errors are those of a call, with these names."""
        sides = []
        for name, dna in given.items():
            if not isinstance(dna, VDNA):
                raise TypeError(
                    f"expected the {name} to be a VDNA, got {type(dna).__name__}: load_vdna(path) reads a file, "
                    "load_reference(name) a reference of a store, and .total is the DNA of all groups"
                )
            sides.append(dna.as_kind(self.kind))
        if any(dna.kind != self.kind for dna in sides):
            found = ", ".join(f"{name} {dna.kind!r}" for name, dna in zip(given, sides, strict=True))
            raise ValueError(f"{self.label} needs DNAs of kind {self.kind!r}: {found}")
        for name, dna in zip(given, sides, strict=True):
            if not dna.n_images:
                raise ValueError(f"the {name} DNA has seen no image")
            dna.distribution.check_finite()
        if min(dna.n_images for dna in sides) < sides[0].distribution.min_images:
            found = ", ".join(f"{name} {dna.n_images}" for name, dna in zip(given, sides, strict=True))
            kind = self.kind.replace("_", " ")
            raise ValueError(f"a {kind} DNA needs at least {sides[0].distribution.min_images} images: {found}")
        if layers is not None or neurons is not None:
            sides = [dna.select(layers, neurons) for dna in sides]
        if len(sides) == 2:
            here, there = given
            check_comparable(*sides, names=(here, there), allow_subsampled=allow_subsampled)
        return sides

    def _reduced(
        self, parts: dict[str, Tensor], dna: VDNA, weights: NeuronWeightsLike | None, reduction: Reduction
    ) -> DistanceResult:
        assert self.per is not None
        flat = chosen_weights(weights, dna.layout, dna.fingerprint, self.per)
        if flat is not None:
            shares = flat.split([len(part) for part in parts.values()])
            parts = {layer: part * share.to(part) for (layer, part), share in zip(parts.items(), shares, strict=True)}
        if reduction == "none":
            return parts
        self.check_known(parts)
        reduce = torch.nanmean if flat is None else torch.nansum
        if reduction == "layer":
            return {layer: reduce(part) for layer, part in parts.items()}
        return reduce(torch.cat(list(parts.values())))


DistanceLike = str | Distance
"""A distance, or its name."""


# --------------------------------------------------------------------------------------------------------- the registry
_REGISTRY: dict[str, Distance] = {}


def register_distance(distance: Distance) -> Distance:
    """Make a distance known by its name, in this process.

    Args:
        distance: the value; what was registered under its name before is not replaced, but by the same again, as when
            a cell of a notebook is run twice: functions of one name and module are the same.

    Raises:
        ValueError: when the name or an alias stands for another distance.

    Examples:
        >>> register_distance(find_distance("emd")).label
        'VDNA-EMD'
    """
    check_type("a distance", distance, Distance)
    for name in (distance.name, *distance.aliases):
        if name in RESERVED:
            raise ValueError(f"the name {name!r} is that of a column: give {distance.label} another one")
        known = _REGISTRY.get(name, distance)
        if _described(known) != _described(distance):
            raise ValueError(f"the name {name!r} stands for {known.label} already: give {distance.label} another one")
    _REGISTRY.update(dict.fromkeys((distance.name, *distance.aliases), distance))
    return distance


def with_unit(text: str, unit: str) -> str:
    """A text with its unit, but for that of Fréchet distances, which nobody prints.

    Examples:
        >>> with_unit("VDNA-EMD", "bins"), with_unit("FID", "squared activations")
        ('VDNA-EMD (bins)', 'FID')
    """
    return text if unit in ("", SQUARED) else f"{text} ({unit})"


def _described(distance: Distance) -> dict[str, Any]:
    """Its fields, functions by their names."""
    return {
        name: (v.__module__, v.__qualname__) if hasattr(v, "__qualname__") else v for name, v in vars(distance).items()
    }


def list_distances() -> list[str]:
    """Names of all distances: those that come with the package first, then those of plugins and of the user.

    Examples:
        >>> list_distances()[:3]
        ['emd', 'nfd', 'lfd']
    """
    _load_plugins()
    return list(dict.fromkeys(distance.name for distance in _REGISTRY.values()))


def find_distance(distance: DistanceLike) -> Distance:
    """The distance of a name.

    Args:
        distance: a name of `list_distances` or an alias; or a distance, which is returned.

    Raises:
        ValueError: for an unknown name; near ones are named.
    """
    if isinstance(distance, Distance):
        return distance
    if distance not in _REGISTRY:
        _load_plugins()
    if distance not in _REGISTRY:
        raise ValueError(f"unknown distance {distance!r}; {near_names(str(distance), list_distances())}")
    return _REGISTRY[distance]


@cache
def _load_plugins() -> None:
    for point in entry_points(group=ENTRY_POINTS):
        try:
            register_distance(cast("Distance", point.load()))
        except Exception as error:  # somebody else's package must not take ours down
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"the distance {point.name!r} of {point.value} cannot be used ({reason})", stacklevel=2)


# -------------------------------------------------------------------------------------------------------- our distances
def _emd(reference: Histogram, generated: Histogram, *, unit: EMDUnit) -> dict[str, Tensor]:
    layout, device = reference.layout, reference.counts.device
    sides = (reference.counts, generated.counts, reference.bin_widths(unit))
    counts_a, counts_b, width = (layout.split(side.to(device)) for side in sides)
    return {layer: earth_movers_distance(counts_a[layer], counts_b[layer]) * width[layer] for layer in layout}


def bin_width(
    reference: VDNA,
    generated: VDNA,
    *,
    layers: Sequence[str] | None = None,
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
    unit: EMDUnit = "bins",
    allow_subsampled: bool = False,
) -> float:
    """By how much at most the bins move a VDNA-EMD: a bin's width, in the unit of the value, as its neurons count.

    A bin stands for every place in it, so a neuron's EMD is less than one bin away from that of the activations
    themselves, where none lies outside the bins.

    Args:
        reference: as in `compare.emd`, and so are the others.
        generated: DNA that is compared; both are taken in the bins that they have in common.
        layers: layers that are compared.
        neurons: of the neurons that are compared.
        weights: of these; by their size.
        unit: of the EMD. In ``"bins"`` of given ranges it is 1.
        allow_subsampled: as in `compare.emd`.

    Raises:
        ValueError: when the DNAs cannot be compared.

    Examples:
        >>> from vdna_metrics import load_reference
        >>> photographs = load_reference("bsds500/test@vdna_tiny", kind="histogram")
        >>> round(bin_width(photographs, photographs, unit="range"), 6)
        0.001
    """
    sides = {"reference": reference, "generated": generated}
    dna, other = EMD.prepared(sides, layers, neurons, allow_subsampled=allow_subsampled)
    assert isinstance(dna.distribution, Histogram)
    assert isinstance(other.distribution, Histogram)
    widths = dna.distribution.spanning([other.distribution]).bin_widths(unit).cpu()
    shares = chosen_weights(weights, dna.layout, dna.fingerprint)
    return float(widths.nanmean() if shares is None else (widths * shares.abs()).nansum())


def _neuron_frechet(reference: GaussianDistribution, generated: GaussianDistribution) -> dict[str, Tensor]:
    moments = (moment.to(reference.state.device) for moment in generated.mean_and_variance())
    return reference.layout.split(neuron_frechet_distance(*reference.mean_and_variance(), *moments))


def _layer_frechet(reference: LayerGaussianDistribution, generated: LayerGaussianDistribution) -> dict[str, Tensor]:
    device = reference.state.device
    found = {}
    for layer in reference.layout:
        mean, covariance = generated.mean_and_covariance(layer)
        distance = frechet_distance(
            *reference.mean_and_covariance(layer),
            mean.to(device),
            covariance.to(device),
            factor_a=reference.factor(layer),
            factor_b=generated.factor(layer).to(device),
        )
        found[layer] = distance.reshape(1)
    return found


EMD = register_distance(
    Distance(
        name="emd",
        label="VDNA-EMD",
        meaning="For each neuron the earth mover's distance between the histograms of its activations over both sets, "
        "in bins of the histogram; the mean over all neurons.",
        kind="histogram",
        function=_emd,
        unit="bins",
        bias="extrapolation",
        options={"unit": get_args(EMDUnit)},
        of_images=image_emd_from,
        may_lack=True,
    )
)
NFD = register_distance(
    Distance(
        name="nfd",
        label="neuron Fréchet distance",
        meaning="For each neuron the squared differences of its mean and of its deviation over images; the mean over "
        "neurons.",
        kind="gaussian",
        function=_neuron_frechet,
        unit=SQUARED,
        bias="jackknife",
        of_images=image_frechet_from,
        aliases=("neuron_frechet",),
        short="NFD",
    )
)
LFD = register_distance(
    Distance(
        name="lfd",
        label="layer Fréchet distance",
        meaning="For each layer the Fréchet distance between Gaussians of its activations over images; the mean over "
        "layers.",
        kind="layer_gaussian",
        function=_layer_frechet,
        unit=SQUARED,
        per="layer",
        bias="jackknife",
        of_images=image_layer_frechet_from,
        aliases=("layer_frechet",),
        short="LFD",
    )
)

import vdna_metrics.dna.feature_distances  # noqa: E402, F401  (they stand behind these in the registry)
