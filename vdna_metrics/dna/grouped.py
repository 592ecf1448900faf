"""A DNA in K disjoint groups, whose DNAs add up to the whole and to the whole without one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from vdna_metrics.distributions import Distribution, Kind
from vdna_metrics.dna.vdna import VDNA, ImageClusters, check_comparable
from vdna_metrics.fingerprint import ExtractorFingerprint, common_fingerprint
from vdna_metrics.layout import NeuronLayout, check_type
from vdna_metrics.neurons import NeuronsLike


@dataclass(frozen=True, eq=False)
class GroupedDNA:
    """The DNA of a set of images as the DNAs of disjoint random groups of it, for error bars without a second pass.

    Groups are as `build.disjoint_groups` makes them, or any that are drawn at random: a group of neighbours, a class or
    a video, is not. Images that depend on each other have to be in one group; `disjoint_groups` is told which do.

    Args:
        groups: DNAs of disjoint sets of images, comparable with each other; at least two, none empty.

    Raises:
        ValueError: for fewer groups, an empty one, or two that do not go together; both sides are shown.

    Examples:
        >>> from vdna_metrics import build_dnas, create_extractor
        >>> from vdna_metrics.build import disjoint_groups
        >>> import numpy as np, torch
        >>> images, extractor = np.zeros((7, 3, 8, 8), np.uint8), create_extractor(torch.nn.AvgPool2d(4))
        >>> of_three = disjoint_groups(7, 3)
        >>> groups = build_dnas(images, extractor, ["gaussian"], name="grey", partition=of_three)["gaussian"]
        >>> grouped = GroupedDNA(tuple(groups.values()))
        >>> grouped.total
        VDNA(gaussian of 7 images of grey: 3 neurons in 1 layer of module:AvgPool2d)
        >>> grouped.without(0).n_images
        4
    """

    groups: tuple[VDNA, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        if len(self.groups) < 2:
            raise ValueError(f"a grouped DNA has at least 2 groups, got {len(self.groups)}")
        first = self.groups[0]
        for place, group in enumerate(self.groups):
            check_type(f"group {place}", group, VDNA, advice=": load_vdna reads a file")
            check_comparable(first, group, names=("group 0", f"group {place}"), verb="parts of one")
            if not group.n_images:
                raise ValueError(f"group {place} of {len(self.groups)} has no image; take fewer groups")

    @property
    def kind(self) -> Kind:
        """``"histogram"``, ``"gaussian"`` or ``"layer_gaussian"``."""
        return self.groups[0].kind

    @property
    def layout(self) -> NeuronLayout:
        """Layers and their numbers of neurons."""
        return self.groups[0].layout

    @property
    def fingerprint(self) -> ExtractorFingerprint:
        """Through which network; without weights, or a response, where that of one group is not recorded."""
        return common_fingerprint([group.fingerprint for group in self.groups])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of images of each group."""
        return tuple(group.n_images for group in self.groups)

    @property
    def n_images(self) -> int:
        """Number of images of all groups."""
        return sum(self.sizes)

    @property
    def clusters(self) -> tuple[ImageClusters, ...]:
        """How the images of each group depend on each other; not at all where that was not told."""
        return tuple(clusters_of(group) or ImageClusters.independent(group.n_images) for group in self.groups)

    @property
    def n_clusters(self) -> int:
        """Number of clusters of all groups, each image one where no clusters were told."""
        return sum(each.number for each in self.clusters)

    @property
    def effective_clusters(self) -> float:
        """How many clusters of one size tell as much: ``(Σ m)² / Σ m²`` over all clusters of ``m`` images."""
        return sum(self.clusters, ImageClusters(0, 0, 0)).effective

    def __repr__(self) -> str:
        return f"GroupedDNA({len(self.groups)} groups of {self.total!r})"

    @cached_property
    def total(self) -> VDNA:
        """The DNA of all images, summed once; it reads as one of one set, each source named once."""
        return self.union(range(len(self.groups)))

    def union(self, chosen: Sequence[int]) -> VDNA:
        """The DNA of some groups.

        Args:
            chosen: indices of the groups, each once, at least one.

        Raises:
            ValueError: for none, or one twice.
        """
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"groups are chosen once each and at least one, got {list(chosen)}")
        first, *others = (self.groups[index].distribution for index in chosen)
        return self._of(sum(others, first), chosen)

    def without(self, index: int) -> VDNA:
        """The DNA of all groups but one. Those of Gaussians are kept, and with them the factors of their covariances.

        All of them together take a number of additions that grows with the groups, not with their square.

        Args:
            index: of the group that is left out.
        """
        others = [place for place in range(len(self.groups)) if place != index]
        if len(others) == len(self.groups):
            raise IndexError(f"there is no group {index} of {len(self.groups)}")
        total = self.total.distribution
        if total.subtraction == "exact":
            return self._of(total.without(self.groups[index].distribution), others)
        return self._of(self._leave_outs[index], others)

    @cached_property
    def _leave_outs(self) -> list[Distribution]:
        # Sums before and after each group, where there is no difference: of moments it would round at the size of the
        # total, and of grids it is not known.
        parts = [group.distribution for group in self.groups]
        after = [parts[-1]]
        for part in parts[-2:0:-1]:
            after.append(part + after[-1])
        after.reverse()  # after[i] is the sum of the parts after i
        left, before = [after[0]], parts[0]
        for place in range(1, len(parts) - 1):
            left.append(before + after[place])
            before = before + parts[place]
        return [*left, before]

    def select(self, layers: Sequence[str] | None = None, neurons: NeuronsLike | None = None) -> GroupedDNA:
        """Keep some layers and, of them, some neurons, of every group; see `VDNA.select`."""
        groups = tuple(group.select(layers, neurons) for group in self.groups)
        return self if all(a is b for a, b in zip(groups, self.groups, strict=True)) else replace(self, groups=groups)

    def as_kind(self, kind: Kind) -> GroupedDNA:
        """The same groups as another kind where one holds the other; see `VDNA.as_kind`."""
        groups = tuple(group.as_kind(kind) for group in self.groups)
        return self if all(a is b for a, b in zip(groups, self.groups, strict=True)) else replace(self, groups=groups)

    def _of(self, distribution: Distribution, chosen: Sequence[int]) -> VDNA:
        first, *others = (self.groups[index].provenance for index in chosen)
        every = sum(others, first)
        # Groups of one set have its name each.
        sources, manifests = (tuple(dict.fromkeys(names)) for names in (every.sources, every.manifests))
        return VDNA(distribution, self.fingerprint, replace(every, sources=sources, manifests=manifests))


def total_of(dna: VDNA | GroupedDNA) -> VDNA:
    """The DNA of all images."""
    return dna.total if isinstance(dna, GroupedDNA) else dna


def clusters_of(dna: VDNA | GroupedDNA) -> ImageClusters | None:
    """How the images of a DNA depend on each other, ``None`` where that was not told."""
    if isinstance(dna, VDNA):
        return dna.provenance.clusters
    if all(group.provenance.clusters is None for group in dna.groups):
        return None
    return sum(dna.clusters, ImageClusters(0, 0, 0))
