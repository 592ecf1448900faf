"""A set of images as a user named it, and the one of its DNAs that is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from vdna_metrics.distributions import Kind
from vdna_metrics.dna.grouped import GroupedDNA, total_of
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.directions import is_projected
from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.fingerprint import ExtractorFingerprint
from vdna_metrics.images.sources import ImageSource
from vdna_metrics.neurons import NeuronsLike, chosen_neurons

AnyDNA = VDNA | GroupedDNA
NetworkLike = FeatureExtractor | ExtractorFingerprint | str


@dataclass(frozen=True, eq=False)
class ChosenDNA:
    """The DNA of a set that is compared.

    Args:
        dna: of the layers and neurons that are compared.
        notes: what is not compared, or not known, and why.
    """

    dna: AnyDNA
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> VDNA:
        """The DNA of all images."""
        return total_of(self.dna)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of images as a user named it: images, DNAs, or both; see `resolve`.

    Args:
        name: what to call it in tables.
        source: what the user gave, as text.
        images: where they can be read by number.
        dnas: whole or in groups, of any networks and kinds.
        features: fingerprint with one layer, and ``[images, neurons]``, as `load_dna_folder` gives them.
        digests: ``{name: sha256}`` of the images that the DNAs are of, where they are known.
        batches: images that come in batches of tensors, from Python alone.
        notes: what was read.
    """

    name: str
    source: str
    images: ImageSource | None = None
    dnas: tuple[AnyDNA, ...] = ()
    features: tuple[tuple[ExtractorFingerprint, Tensor], ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    batches: Iterable[Any] | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        of = "features of " if self.images is not None and self.images.features else ""
        has = [] if self.images is None else [f"{of}{len(self.images)} images"]
        has += [] if self.batches is None else ["batches of images"]
        return f"ImageSet({self.name}: {', '.join([*has, *map(repr, self.dnas)])})"

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the extractors that the DNAs are of."""
        return tuple(dict.fromkeys(map(extractor_of, self.dnas)))

    def of_network(self, network: str) -> ImageSet:
        """The same with its DNAs of one network alone, where it has some."""
        mine = tuple(dna for dna in self.dnas if extractor_of(dna) == network)
        return replace(self, dnas=mine or self.dnas)

    def choose_dna(
        self,
        kind: Kind | None = None,
        network: NetworkLike | None = None,
        *,
        layers: Sequence[str] | None = None,
        neurons: NeuronsLike | None = None,
        error_bars: bool = True,
    ) -> ChosenDNA | None:
        """The one DNA that is compared: in groups where these hold all compared layers, else whole.

        Args:
            kind: kind of DNA; by default the one there is. A layer Gaussian serves for a Gaussian.
            network: through which network, by default the one there is.
            layers: layers to compare; by default all that the whole DNA has.
            neurons: of the neurons to compare, as in `VDNA.select`; those of layers that the DNA lacks are left out.
            error_bars: whether they are wanted, so that it is worth a note that there can be none.

        Returns:
            The DNA of these layers and neurons, ``None`` where there is none of that kind and network.

        Raises:
            ValueError: for layers that the DNA lacks, or when several DNAs fit.

        Examples:
            >>> from vdna_metrics import resolve
            >>> test = resolve("bsds500/test", extractors=["vdna_tiny"])
            >>> chosen = test.choose_dna("layer_gaussian")
            >>> list(chosen.dna.layout), chosen.notes
            (['blocks.0', 'blocks.2', 'blocks.4'], ('its layer_gaussian DNA lacks conv_head, which is not compared',))
        """
        network = network.fingerprint if isinstance(network, FeatureExtractor) else network
        asked = [layers] if isinstance(layers, str) else list(layers or ())
        found = self._fitting(kind, network, asked)
        if not found:
            return None
        kind = found[0].kind
        holding = [dna for dna in found if set(asked).issubset(dna.layout)]
        if not holding and self.images is not None:
            return None  # it can be built
        if not holding:
            have = "; ".join(dict.fromkeys(", ".join(dna.layout) for dna in found))
            lacking = [layer for layer in asked if all(layer not in dna.layout for dna in found)] or asked
            raise ValueError(f"{self.name}: no {kind} DNA has {', '.join(lacking)}; it has {have}")
        whole = self._only([dna for dna in holding if isinstance(dna, VDNA)])
        grouped = self._only([dna for dna in holding if isinstance(dna, GroupedDNA)])
        dna = whole or grouped
        assert dna is not None
        known = _layers_of(network, dna)
        wanted = asked or [layer for layer in dna.layout if layer in known or not known]
        groups = grouped or next((dna for dna in found if isinstance(dna, GroupedDNA)), None)
        lacks = [] if groups is None else [layer for layer in wanted if layer not in groups.layout]
        notes = []
        if not lacks:
            dna = groups or dna
        elif error_bars:
            notes.append(
                f"its groups lack {', '.join(lacks)}: the whole {kind} DNA is compared, which has no error bars"
            )
        whole_network = not asked and kind != "features"  # which are of one layer
        missing = [layer for layer in known if layer not in dna.layout and whole_network]
        if missing:
            notes.append(f"its {kind} DNA lacks {', '.join(missing)}, which is not compared")
        picked = chosen_neurons(neurons, network if isinstance(network, ExtractorFingerprint) else dna.fingerprint)
        if picked is None:
            return ChosenDNA(dna.select(wanted), tuple(notes))
        inside = {layer: at for layer, at in picked.items() if layer in dna.layout}
        if not inside:
            raise ValueError(
                f"{self.name}: the neurons are of {', '.join(picked)}; the DNA has {', '.join(dna.layout)}"
            )
        return ChosenDNA(dna.select(asked or None, inside), tuple(notes))

    def one_dna(self, kind: Kind | None = None, *, layers: Sequence[str] | None = None) -> ChosenDNA:
        """As `choose_dna`, of a set that has to have one.

        Raises:
            ValueError: when there is none, the set is of images for example, or when several fit.
        """
        chosen = self.choose_dna(kind, layers=layers)
        if chosen is None:
            kinds = ", ".join(dict.fromkeys(dna.kind for dna in self.dnas))
            has = f"a {kinds}" if kinds else "images and no DNA; `vdna-metrics make` makes one of images"
            raise ValueError(f"expected a {kind or ''} DNA, {self.source} has {has}".replace("  ", " "))
        return chosen

    def _fitting(
        self, kind: Kind | None, network: ExtractorFingerprint | str | None, layers: Sequence[str]
    ) -> list[AnyDNA]:
        """DNAs of one kind and network; of several networks, of the one that has some layers."""
        kinds = list(dict.fromkeys(dna.kind for dna in self.dnas))
        if kind is None and len(kinds) > 1:
            raise ValueError(
                f"{self.name} has DNAs of the kinds {', '.join(kinds)}: say which, for example #{kinds[0]}"
            )
        found = [dna for dna in self.dnas if kind in (None, dna.kind)]
        if not found and kind == "gaussian":
            found = [dna.as_kind("gaussian") for dna in self.dnas if dna.kind == "layer_gaussian"]
        if isinstance(network, str):
            return [dna for dna in found if extractor_of(dna) == network]
        if network is not None:
            fitting = [dna for dna in found if not dna.fingerprint.differences(network)]
            return [dna for dna in fitting if not set(network.paths).isdisjoint(dna.layout)]
        names = list(dict.fromkeys(map(extractor_of, found)))
        if len(names) > 1 and layers:
            having = [dna for dna in found if set(layers).issubset(dna.layout)]
            if len(set(map(extractor_of, having))) == 1:
                return having
        if len(names) > 1:
            raise ValueError(f"{self.name} has DNAs of the networks {', '.join(names)}: say which, by @{names[0]}")
        return found

    def _only(self, dnas: Sequence[AnyDNA]) -> AnyDNA | None:
        if len(dnas) > 1:
            of = "; ".join(", ".join(dna.layout) for dna in dnas)
            raise ValueError(
                f"{self.name}: {len(dnas)} {dnas[0].kind} DNAs of {extractor_of(dnas[0])} (of {of}); keep one of "
                "them, or say which layers"
            )
        return dnas[0] if dnas else None


def extractor_of(dna: AnyDNA) -> str:
    """Name of the network that a DNA is of."""
    return (dna.groups[0] if isinstance(dna, GroupedDNA) else dna).provenance.extractor


def _layers_of(network: ExtractorFingerprint | str | None, dna: AnyDNA) -> list[str]:
    """All layers of a network; none where it is not known."""
    if isinstance(network, ExtractorFingerprint):
        return list(network.paths)
    spec = CATALOGUE.get(network or extractor_of(dna))
    if spec is None or set(spec.paths).isdisjoint(dna.layout):
        return []
    return [*spec.paths, *(layer for layer, path in dna.fingerprint.paths.items() if is_projected(path))]
