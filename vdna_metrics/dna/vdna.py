"""A DNA: what the neurons saw, and of which images through which network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vdna_metrics.distributions.base import Distribution, differences
from vdna_metrics.distributions.gaussian import LayerGaussianDistribution
from vdna_metrics.distributions.kinds import Kind
from vdna_metrics.dna.account import AccountFields, ImageAccount, ImageSizes
from vdna_metrics.fingerprint import ExtractorFingerprint, common_fingerprint, refuse_differences
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.neurons import NeuronsLike, chosen_neurons
from vdna_metrics.schema import Arrays, Count, Positive

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ImageClusters:
    """How many clusters a set of images is, of which the images of one depend on each other.

    Args:
        images: number of images.
        number: of clusters.
        squares: sum of the squares of the clusters' numbers of images.

    Examples:
        >>> even, uneven = ImageClusters.of([5] * 8), ImageClusters.of([33, 1, 1, 1, 1, 1, 1, 1])
        >>> even.effective, round(uneven.effective, 1), (even + uneven).number
        (8.0, 1.5, 16)
    """

    images: Count
    number: Count
    squares: Count

    def __post_init__(self) -> None:
        least, most = self.images**2, self.squares * self.number
        if not (self.number <= self.images <= self.squares and least <= most):
            raise ValueError(f"expected clusters of images, got {self.number} of {self.images}, squares {self.squares}")

    @classmethod
    def of(cls, sizes: Iterable[int]) -> ImageClusters:
        """Of clusters of these numbers of images."""
        each = [int(size) for size in sizes]
        return cls(sum(each), len(each), sum(size * size for size in each))

    @classmethod
    def independent(cls, n_images: int) -> ImageClusters:
        """Of images of which each is a cluster of its own."""
        return cls(n_images, n_images, n_images)

    def __add__(self, other: ImageClusters) -> ImageClusters:
        """Of both sets, which have no cluster in common."""
        return ImageClusters(self.images + other.images, self.number + other.number, self.squares + other.squares)

    @property
    def effective(self) -> float:
        """How many clusters of one size tell as much, ``(Σ m)² / Σ m²`` over clusters of ``m`` images."""
        return self.images**2 / self.squares

    def __str__(self) -> str:
        return f"{clusters_text(self.number, self.effective)} of {self.images} images"


def clusters_text(number: int, effective: float) -> str:
    """How many clusters there are, and how many they are in effect where that is another number.

    Examples:
        >>> clusters_text(40, 40.0), clusters_text(32, 11.1), clusters_text(1, 1.0)
        ('40 clusters', '32 clusters (11.1 effective)', '1 cluster')
    """
    more = f" ({effective:.3g} effective)" if f"{effective:.3g}" != f"{number:.3g}" else ""
    return f"{number} cluster{'s' * (number != 1)}{more}"


@dataclass(frozen=True)
class Provenance:
    """Where a DNA comes from.

    Args:
        extractor: the extractor's name, for people; its identity is the fingerprint.
        sources: names of the image sets, in the order in which they were merged.
        skipped: images that could not be read and were left out, ``(name, reason)`` each.
        unread: what else lay in the sources and is not read as an image, ``(what, how many files)``.
        clusters: how the images depend on each other, where that was told; ``None`` where each is taken to be
            independent. Sums count the clusters of both, which must not have one in common.
        manifests: hash of each source's image names and contents.
        max_positions: how many positions of each image and layer were looked at, at most; ``None`` for all.
        account: what the images are.
        origin: of a DNA that was not made here from images: format, file or address, and sha256 of what it was read
            from.
    """

    extractor: str
    sources: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    manifests: tuple[str, ...] = ()
    max_positions: Positive | None = None
    origin: str = ""
    account: ImageAccount = field(default_factory=ImageAccount)
    unread: tuple[tuple[str, Count], ...] = ()
    clusters: ImageClusters | None = None

    def __add__(self, other: Provenance) -> Provenance:
        """Both, one after the other.

        Raises:
            ValueError: when ``max_positions`` differ, which no one number could tell of the sum.
        """
        refuse_differences("these DNAs cannot be merged", self.differences(other))
        return replace(
            self,
            sources=self.sources + other.sources,
            skipped=self.skipped + other.skipped,
            unread=tuple(dict.fromkeys(self.unread + other.unread)),  # of groups of one set each says the same
            manifests=self.manifests + other.manifests,
            account=self.account + other.account,
            clusters=None if self.clusters is None or other.clusters is None else self.clusters + other.clusters,
            origin="; ".join(dict.fromkeys(filter(None, [*self.origin.split("; "), *other.origin.split("; ")]))),
        )

    def differences(self, other: Provenance) -> list[tuple[str, str, str]]:
        """``(what, here, there)`` for each part by which two DNAs should not be compared."""
        if self.max_positions == other.max_positions:
            return []
        return [("max_positions", str(self.max_positions or "all"), str(other.max_positions or "all"))]

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for file headers."""
        # What is nothing is left out, as by earlier versions, which did not know it.
        optional = ("max_positions", "origin", "unread", "account", "clusters")
        values = {item.name: getattr(self, item.name) for item in fields(self)} | {"account": self.account.to_json()}
        values["clusters"] = None if self.clusters is None else asdict(self.clusters)
        return {name: value for name, value in values.items() if value or name not in optional}


@dataclass(frozen=True)
class ProvenanceFields:
    """What a file says of provenance, as `Provenance.to_json` gives it; early ones have sizes and no account."""

    extractor: str
    sources: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    manifests: tuple[str, ...]
    max_positions: Positive | None = None
    origin: str = ""
    sizes: ImageSizes | None = None
    account: AccountFields = field(default_factory=AccountFields)
    unread: tuple[tuple[str, Count], ...] = ()
    clusters: ImageClusters | None = None

    def provenance(self, arrays: Arrays) -> Provenance:
        """The provenance, with the arrays of the account."""
        said = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "sizes"}
        account = replace(self.account, sizes=self.account.sizes or self.sizes)
        return Provenance(**{**said, "account": account.account(arrays)})


@dataclass(frozen=True, eq=False)
class VDNA:
    """Visual DNA of a set of images: the distribution of every neuron's activations, with its provenance.

    DNAs of the same kind, network and settings add: ``a + b`` is the DNA of both sets.

    Args:
        distribution: what was seen.
        fingerprint: through which network.
        provenance: of which images.

    Source:
        Ramtoula, Gadd, Newman, De Martini: Visual DNA, CVPR 2023.
    """

    distribution: Distribution
    fingerprint: ExtractorFingerprint
    provenance: Provenance = field(default_factory=lambda: Provenance("unknown"))

    @property
    def kind(self) -> Kind:
        """``"histogram"``, ``"gaussian"`` or ``"layer_gaussian"``."""
        return self.distribution.kind

    @property
    def layout(self) -> NeuronLayout:
        """Layers and their numbers of neurons."""
        return self.distribution.layout

    @property
    def n_images(self) -> int:
        """Number of images seen."""
        return self.distribution.n_images

    def __repr__(self) -> str:
        sources = ", ".join(self.provenance.sources) or "unknown source"
        layers = f"{len(self.layout)} layer{'s' * (len(self.layout) != 1)}"
        return (
            f"VDNA({self.kind} of {self.n_images} images of {sources}: {self.layout.total} neurons in "
            f"{layers} of {self.provenance.extractor})"
        )

    def check_fingerprint(self, extractor: ExtractorFingerprint) -> None:
        """Raise ``ValueError``, showing both sides, when the DNA was made with another extractor."""
        found = self.fingerprint.differences(extractor)
        refuse_differences("this DNA was not made with this extractor", found, ("DNA", "extractor"))

    def __deepcopy__(self, memo: dict[int, Any]) -> VDNA:
        # A value: copies of a metric share their reference.
        return self

    def select(self, layers: Sequence[str] | None = None, neurons: NeuronsLike | None = None) -> VDNA:
        """Keep some layers and, of them, some neurons.

        Args:
            layers: layers to keep, ``None`` for those named in ``neurons``, or all.
            neurons: ``{layer: indices of neurons}``, a `NeuronSelection`, or its file; kept layers that are absent here
                are kept whole.

        Raises:
            ValueError: for unknown layers or neurons; near names are given. For a selection of another network.
        """
        selection = self.layout.select(layers, chosen_neurons(neurons, self.fingerprint))
        if selection == self.layout:
            return self
        return replace(
            self, distribution=self.distribution.select(selection), fingerprint=self.fingerprint.select(list(selection))
        )

    def as_kind(self, kind: Kind) -> VDNA:
        """The same images as another kind where one holds the other: a layer Gaussian's diagonal is a Gaussian."""
        if kind == "gaussian" and isinstance(self.distribution, LayerGaussianDistribution):
            return replace(self, distribution=self.distribution.gaussian())
        return self

    def __add__(self, other: VDNA) -> VDNA:
        """The DNA of both sets of images.

        Raises:
            ValueError: when kinds, networks, layouts, bins, ranges or ``max_positions`` differ; both sides are shown.
        """
        if not isinstance(other, VDNA):
            return NotImplemented
        check_comparable(self, other, names=("first", "second"), verb="merged")
        fingerprint = common_fingerprint([self.fingerprint, other.fingerprint])
        told = any(each.provenance.clusters is not None for each in (self, other))
        first, second = (each._with_clusters() if told else each.provenance for each in (self, other))
        return VDNA(self.distribution + other.distribution, fingerprint, first + second)

    def _with_clusters(self) -> Provenance:
        """Its provenance with clusters: each image is one where nothing else is told."""
        known = self.provenance.clusters or ImageClusters.independent(self.n_images)
        return replace(self.provenance, clusters=known)

    def save(self, path: str | Path) -> Path:
        """Write the DNA as one ``.npz`` file; see `load_vdna`.

        Args:
            path: the file; ``.npz`` is appended when it is missing.

        Returns:
            The path that was written.
        """
        from vdna_metrics.dna.serialization import save_vdna

        return save_vdna(self, path)

    def plot(self, layer: str, neuron: int, *, reference: VDNA | None = None, ax: Axes | None = None) -> Axes:
        """Draw what one neuron saw: its histogram, or the normal curve of its Gaussian.

        Args:
            layer: layer of the neuron.
            neuron: its index in the layer.
            reference: another DNA, drawn as an area under it.
            ax: axis to draw on, a new one by default.

        Raises:
            ValueError: for a layer Gaussian, a reference of another kind, or an unknown layer or neuron.

        Examples:
            >>> from vdna_metrics import load_reference
            >>> dna = load_reference("bsds500/test@vdna_tiny", kind="histogram")
            >>> dna.plot("blocks.0", 3).get_title(loc="left")
            'blocks.0, neuron 3'
        """
        from vdna_metrics.dna.plots import neuron_histograms

        name = ", ".join(dict.fromkeys(self.provenance.sources)) or "unknown source"
        return neuron_histograms({name: self}, layer, neuron, reference=reference, ax=ax)


def check_comparable(
    a: VDNA,
    b: VDNA,
    *,
    names: tuple[str, str] = ("reference", "generated"),
    verb: str = "compared",
    allow_subsampled: bool = False,
) -> None:
    """Raise ``ValueError``, showing both sides, when two DNAs cannot be compared or merged."""
    found, advice = a.fingerprint.differences(b.fingerprint) or differences(a.distribution, b.distribution), ""
    if not found and not allow_subsampled:
        found = a.provenance.differences(b.provenance)
        advice = ": they saw other positions of their images. Make both with the same max_positions"
        advice += ", or give allow_subsampled=True for an estimate" * (verb == "compared")
    refuse_differences(f"these DNAs cannot be {verb}", found, names, advice)
