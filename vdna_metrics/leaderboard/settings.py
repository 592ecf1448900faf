"""What decides the numbers of a leaderboard beside its images and networks, and which network has which columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vdna_metrics.analysis.uncertainty.estimates import check_confidence
from vdna_metrics.analysis.uncertainty.rules import bias_rule
from vdna_metrics.distributions import Kind
from vdna_metrics.dna.columns import Column, find_column
from vdna_metrics.extractors import FeatureExtractor, create_extractor
from vdna_metrics.extractors.registry import ExtractorLike
from vdna_metrics.functional.positions import check_max_positions
from vdna_metrics.images.clusters import ClusterRule
from vdna_metrics.layout import check_count, check_names
from vdna_metrics.leaderboard.protocols import find_protocol
from vdna_metrics.neurons import NeuronsLike, NeuronWeightsLike


@dataclass(frozen=True)
class LeaderboardSettings:
    """What decides the numbers of a leaderboard beside its images and networks.

    Args:
        metrics: names of the columns, see `list_columns`; ``"lfd[layer+layer]"`` for some layers alone.
        groups: into how many disjoint groups each set of images is put.
        bins: of histograms, where the reference does not bring them.
        max_positions: as in `build_dnas`.
        layers: that are compared by columns which name none, or ``{column: layers}``; ``None`` for those of the
            reference's DNAs, else all.
        confidence: of intervals and ranks.
        seed: of the floor's draws, extrapolations and subsets.
        equalise: take evenly spaced images of each generator, as many as the smallest has.
        class_folders: also a distance of each class folder.
        fidelity: also precision, recall, density, coverage, Vendi score, kernel distance, and the check for copies.
        pictures: images of each set that are looked at one by one, for exemplars and the best and worst images; their
            activations are kept meanwhile, 1 GB at most.
        cluster_by: which images depend on each other and belong into one group, by their names: ``"folder"``, a regular
            expression, a file, or ``{name: cluster}``, see `images.ClusterRule`. Images of which it says nothing are
            independent.
        protocol: name of the protocol that the numbers are to be of, see `find_protocol`: its columns have to be among
            the metrics, and what departs from it is told.
        diagnosis: images of each set whose pixels are looked at too, to say what is wrong with a generator, see
            `analysis.diagnose`; 0 for no diagnosis.

    Raises:
        ValueError: for an unknown column or protocol, where near ones are named, a column that is named twice, numbers
            out of range, and columns or bins that are not the protocol's.

    Examples:
        >>> LeaderboardSettings(("emd", "fid")).columns
        (Column(emd: VDNA-EMD (bins)), Column(fid: FID of block_3 of fid_inception))
    """

    metrics: tuple[str, ...] = ("emd", "nfd", "lfd")
    groups: int = 10
    bins: int = 1000
    max_positions: int | None = None
    layers: tuple[str, ...] | Mapping[str, tuple[str, ...]] | None = None
    confidence: float = 0.95
    seed: int = 0
    equalise: bool = False
    class_folders: bool = False
    fidelity: bool = True
    pictures: int = 100
    cluster_by: str | Mapping[str, str] | None = None
    protocol: str | None = None
    diagnosis: int = 500

    def __post_init__(self) -> None:
        check_names("metrics", self.metrics)
        # By their own names, which an alias is not.
        object.__setattr__(self, "metrics", tuple(find_column(name).name for name in self.metrics))
        if isinstance(self.layers, Mapping):
            object.__setattr__(self, "layers", {name: tuple(layers) for name, layers in self.layers.items()})
        elif self.layers is not None:
            check_names("layers", self.layers)
            object.__setattr__(self, "layers", tuple(self.layers))
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"expected names of columns, each once, got {', '.join(self.metrics) or 'none'}")
        check_confidence(self.confidence)
        for name, least in (("groups", 2), ("bins", 1), ("seed", 0), ("pictures", 0), ("diagnosis", 0)):
            check_count(name, getattr(self, name), least)
        check_max_positions(self.max_positions)
        if self.cluster_by is not None:
            ClusterRule.of(self.cluster_by)
        for column in self.columns:
            if column.distance.bias is not None:
                bias_rule(column)
        if self.protocol is not None:
            protocol = find_protocol(self.protocol)
            if not set(protocol.columns) <= set(self.metrics):
                columns, metrics = ", ".join(protocol.columns), ", ".join(self.metrics)
                raise ValueError(f"metrics: the protocol {protocol.name} has {columns}, got {metrics}")
            if protocol.bins not in (None, self.bins):
                raise ValueError(f"bins: the protocol {protocol.name} has {protocol.bins}, got {self.bins}")

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns, with the layers that are compared by them."""
        found = []
        for column in map(find_column, self.metrics):
            layers = self.layers.get(column.name) if isinstance(self.layers, Mapping) else self.layers
            found.append(column if column.layers is not None else column.replace(layers=layers))
        return tuple(found)


DEFAULT_SETTINGS = LeaderboardSettings()


@dataclass(frozen=True, eq=False)
class NetworkColumns:
    """One network with the columns of which it gives the activations.

    Args:
        label: name of the network, unique on the leaderboard.
        extractor: the network.
        columns: what is compared in it.
        neurons: of the neurons to compare, as in `compare`.
    """

    label: str
    extractor: FeatureExtractor
    columns: tuple[Column, ...]
    neurons: NeuronsLike | None = None

    def layers(self, kind: Kind | None = None) -> list[str] | None:
        """Layers that columns (of a kind) compare, in the network's order; ``None`` where one compares all."""
        named = [column.layers for column in self.columns if kind in (None, column.kind)]
        if None in named:
            return None
        return [layer for layer in self.extractor.layout if any(layer in (some or ()) for some in named)]

    @property
    def last_layer(self) -> str:
        """The last layer that is compared, of which features are taken."""
        return (self.layers() or list(self.extractor.layout))[-1]


def group_by_network(
    settings: LeaderboardSettings,
    extractors: Sequence[ExtractorLike],
    networks: Mapping[str, ExtractorLike],
    neurons: NeuronsLike | None = None,
    weights: NeuronWeightsLike | None = None,
) -> list[NetworkColumns]:
    """Which columns are computed in which network, each network once: `extractors` first, then columns' own.

    Args:
        settings: with the columns.
        extractors: of columns that name no network of their own.
        networks: ``{name: network}``, what to take for a network that columns name, by default the one of that name.
        neurons: of the neurons to compare, of one network.
        weights: likewise.

    Raises:
        ValueError: for columns without network or the other way round, an override that no column names, unknown
            layers, and neurons or weights with several networks.
    """
    columns = settings.columns
    if any(column.extractor is None for column in columns) != bool(extractors):
        raise ValueError(f"{len(extractors)} extractors for the metrics {', '.join(settings.metrics)}")
    own = list(dict.fromkeys(column.extractor for column in columns if column.extractor is not None))
    unused = [name for name in networks if name not in own]
    if unused:
        raise ValueError(f"no column names the network {unused[0]!r}; they name {', '.join(own) or 'none'}")
    # Equal networks are one object while it lives.
    found: dict[int, tuple[FeatureExtractor, list[Column]]] = {}
    for name, given in [*((None, each) for each in extractors), *((name, networks.get(name, name)) for name in own)]:
        extractor = create_extractor(given)
        found.setdefault(id(extractor), (extractor, []))[1].extend(each for each in columns if each.extractor == name)
    labels = _unique([extractor.name for extractor, _ in found.values()])
    if (neurons is not None or weights is not None) and len(found) > 1:
        raise ValueError(f"neurons and weights belong to one network, got {', '.join(labels)}")
    return [
        NetworkColumns(label, extractor, tuple(_in_order(column, extractor, weights) for column in mine), neurons)
        for label, (extractor, mine) in zip(labels, found.values(), strict=True)
    ]


def _in_order(column: Column, extractor: FeatureExtractor, weights: NeuronWeightsLike | None) -> Column:
    """With weights, and layers in the network's order."""
    named, layers = column.layers, None
    if named is not None:
        extractor.layout.check_layers(named, what=column.name)
        layers = [layer for layer in extractor.layout if layer in named]
    return column.replace(layers=layers, weights=weights)


def _unique(names: Sequence[str]) -> list[str]:
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({same + 1})" if same else name for name, same in zip(names, earlier, strict=True)]
