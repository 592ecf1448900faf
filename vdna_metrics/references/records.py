"""What a store says of its files: records, the names that users call them by, and the manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypeAlias, TypeVar

from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.files import check_schema, errors_of, json_hash, plain_json
from vdna_metrics.layout import NeuronLayout, check_count, check_names, check_type
from vdna_metrics.schema import Check, Count, Positive, Sha256, Share, typed

SCHEMA = 2

AnyRecord: TypeAlias = "ReferenceRecord | RangesRecord"
OneRecord = TypeVar("OneRecord", bound="ReferenceRecord | RangesRecord")

Inside = Annotated[
    str,
    Check(
        "a path inside the store",
        lambda file: (
            bool(file)
            and ".." not in PureWindowsPath(file).parts
            and not (PurePosixPath(file).anchor or PureWindowsPath(file).anchor)
        ),
    ),
]
_NAMED_LAYERS = 3  # more of them are a number in names
_NAME = re.compile(
    r"(?P<dataset>[^/@#%\[]*)(/(?P<split>[^@#%\[]*))?(@(?P<extractor>[^#%\[]*))?(#(?P<kind>[^%\[]*))?"
    r"(?P<layers>\[[^\]]*\])?(%(?P<ranges>[0-9a-z]*))?"
)


@dataclass(frozen=True)
class FrechetNormaliser:
    """Fréchet distance of a validation set from the training set, in one network: what FDr^k divides by.

    A plain value, which the record of the training set's reference keeps, see `references.add_normalisers`.

    Args:
        value: in squared activations, the mean over the layers.
        n_images: number of validation images; ``None`` where it is not known, and then it is not compared.
        low: lower end of its confidence interval, ``None`` where there is none.
        high: upper end; likewise.
        corrected: whether the value is without most of the bias of a finite number of images.
        confidence: of the interval.
        layers: of which layers it is, all neurons of each; empty where that is not known, and then it is not compared.
        validation: name of the validation set.
        images: hash of its image manifest, of several (as of groups) of these; empty where it is not known.

    Raises:
        ValueError: for a number of images below 1, or one end of an interval without the other.
        TypeError: for a value that is no number.
    """

    value: float
    n_images: Positive | None = None
    low: float | None = None
    high: float | None = None
    corrected: bool = False
    confidence: Share = 0.95
    layers: Sequence[str] = ()
    validation: str = ""
    images: str = ""

    def __post_init__(self) -> None:
        check_type("the value of a normaliser", self.value, int, float)
        if self.n_images is not None:
            check_count("n_images", self.n_images)
        if (self.low is None) != (self.high is None):
            raise ValueError(f"Expected both ends of an interval or none, got {self.low} and {self.high}")
        object.__setattr__(self, "layers", tuple(self.layers))

    @property
    def interval(self) -> tuple[float, float]:
        """Its ends; the value itself where there is no interval."""
        return (self.value, self.value) if self.low is None or self.high is None else (self.low, self.high)

    @property
    def key(self) -> tuple[object, ...]:
        """What no two normalisers of a reference have in common."""
        return self.validation, frozenset(self.layers), self.corrected

    def check_fits(self, network: str, layout: NeuronLayout, *, weighted: bool = False) -> None:
        """Raise ``ValueError`` for distances of other layers, of some of their neurons, or that are weighted."""
        if self.layers and (set(self.layers) != set(layout) or layout.neurons or weighted):
            some = " some neurons of" * bool(layout.neurons) + " weighted" * weighted
            raise ValueError(
                f"Expected a normaliser of {network!r} of what is compared,{some} {', '.join(layout)}, got {self}"
            )

    def __str__(self) -> str:
        """In words.

        Examples:
            >>> print(FrechetNormaliser(0.5, 200, 0.4, 0.6, layers=["conv1"], validation="bsds500/test"))
            0.5 (0.4 to 0.6), plain, of 200 images of bsds500/test in conv1
        """
        interval = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        images = "images" if self.n_images is None else f"{self.n_images} images"
        of = f" of {self.validation}" * bool(self.validation) + f" in {', '.join(self.layers)}" * bool(self.layers)
        return f"{self.value:.4g}{interval}, {'corrected' if self.corrected else 'plain'}, of {images}{of}"


@dataclass(frozen=True)
class ReferenceRecord:
    """One DNA of a store, or one of the K groups of a grouped DNA.

    Args:
        dataset: name of the image set, for example ``"bsds500"``.
        split: its split, for example ``"trainval"``.
        extractor: name of the extractor.
        kind: kind of DNA, with the bins of a histogram and the size of a sample of features: ``"histogram-1000"``,
            ``"features-10000"``.
        file: path inside the store.
        sha256: of the file.
        n_images: number of images.
        fingerprint: digest of the extractor's fingerprint.
        preprocessing: id of the extractor's preprocessing.
        resolution: of the images before they were resized, ``"32x32"`` or ``"321..481 x 321..481"``; empty where
            nothing of that is known.
        ranges: digest of a histogram's activation ranges, see `ActivationRanges.digest`; ``"auto"`` where it found its
            own.
        images: hash of the image manifest: names and contents of the images; empty for imported statistics.
        licence: of the images, and what may be done with their statistics.
        origin: how the file was made.
        layers: names of the layers that the DNA holds; empty in records of before they were kept.
        group: which group of how many, ``"3-of-10"``; empty for a whole DNA.
        normalisers: of a layer Gaussian, what FDr^k divides by.
    """

    dataset: str
    split: str
    extractor: str
    kind: str
    file: Inside
    sha256: Sha256
    n_images: Count
    fingerprint: str
    preprocessing: str
    resolution: str = ""
    ranges: str = ""
    images: str = ""
    licence: str = ""
    origin: str = ""
    layers: Sequence[str] = ()
    group: str = ""
    normalisers: Sequence[FrechetNormaliser] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "normalisers", tuple(self.normalisers))

    @property
    def name(self) -> str:
        """Canonical name, with the layers where they are not its extractor's; the same for all groups.

        Examples:
            >>> ReferenceRecord("bsds500", "test", "vgg16", "gaussian", "f", "0", 200, "0", "clean").name
            'bsds500/test@vgg16#gaussian'
            >>> ReferenceRecord("a", "b", "fid_inception", "gaussian", "f", "0", 2, "0", "", layers=["block_3"]).name
            'a/b@fid_inception#gaussian[block_3]'
        """
        spec = CATALOGUE.get(self.extractor)
        tells_all = spec is None or set(self.layers) == set(spec.paths)
        return f"{self.dataset}/{self.split}@{self.extractor}#{self.kind}{'' if tells_all else self.layers_in_name}"

    @property
    def exact_name(self) -> str:
        """The name with what tells two of that name apart: the ranges, and layers that no catalogue knows."""
        layers = "" if self.extractor in CATALOGUE else self.layers_in_name
        return f"{self.name}{layers}{self.ranges and '%' + self.ranges[:8]}"

    @property
    def key(self) -> str:
        """What no two records of a store have in common."""
        return f"{self.exact_name}{self.ranges[8:]}:{self.group}".lower()

    @property
    def title(self) -> str:
        """What people read: the name, and which group it is."""
        return f"{self.name} (group {self.group})" if self.group else self.name

    @property
    def layers_in_name(self) -> str:
        """The layers as a name has them; empty where they are not known."""
        if len(self.layers) > _NAMED_LAYERS:
            return f"[{len(self.layers)}-layers-{json_hash(sorted(self.layers))[:6]}]"
        return f"[{'+'.join(self.layers)}]" if self.layers else ""

    def holds(self, layers: Sequence[str] | None) -> bool:
        """Whether the DNA has these layers, as far as the record tells."""
        check_names("layers", layers or ())
        return not self.layers or set(self.layers).issuperset(layers or ())

    def with_normalisers(self, normalisers: Sequence[FrechetNormaliser]) -> ReferenceRecord:
        """The same with some more, which take the places of those that have their keys."""
        return replace(self, normalisers=tuple({each.key: each for each in (*self.normalisers, *normalisers)}.values()))

    def is_group_of(self, whole: ReferenceRecord) -> bool:
        """Whether this is a group of the images of a whole DNA, of all of its layers or some."""
        same = ("dataset", "split", "extractor", "kind", "ranges")
        alike = all(getattr(self, part) == getattr(whole, part) for part in same)
        return bool(self.group) and alike and whole.holds(self.layers)


@dataclass(frozen=True)
class ReferenceName:
    """What a user calls a reference, with empty parts where those are left out; in lower case.

    Examples:
        >>> ReferenceName.parse("BSDS500/test#gaussian")
        ReferenceName(dataset='bsds500', split='test', extractor='', kind='gaussian', layers='', ranges='')
    """

    dataset: str
    split: str = ""
    extractor: str = ""
    kind: str = ""
    layers: str = ""
    ranges: str = ""

    @classmethod
    def parse(cls, text: str) -> ReferenceName:
        """Of ``dataset/split@extractor#kind[layers]%ranges``; another text fits no record."""
        found = _NAME.fullmatch(text.strip().lower())
        return cls(text) if found is None else cls(**{part: word or "" for part, word in found.groupdict().items()})

    def __str__(self) -> str:
        marked = zip(("", "/", "@", "#", "", "%"), vars(self).values(), strict=True)
        return "".join(f"{mark}{word}" for mark, word in marked if word)

    def fits(self, record: ReferenceRecord) -> bool:
        """Whether a record may be meant."""
        return (
            self.dataset == record.dataset.lower()
            and self.split in ("", record.split.lower())
            and self.extractor in ("", record.extractor.lower())
            and (self.kind in ("", record.kind) or record.kind.startswith(f"{self.kind}-"))
            and self.layers in ("", record.layers_in_name.lower())
            and record.ranges.startswith(self.ranges)
        )


@dataclass(frozen=True)
class RangesRecord:
    """One file of activation ranges of a store.

    Args:
        extractor: name of the extractor.
        file: path inside the store.
        sha256: of the file.
        n_images: number of images that were seen.
        sources: names of the image sets.
        widen: widening rule.
        ranges: see `ActivationRanges.digest`.
        fingerprint: digest of the extractor's fingerprint; empty where it is unknown.
    """

    extractor: str
    file: Inside
    sha256: Sha256
    n_images: Count
    sources: Sequence[str]
    widen: str
    ranges: str
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))

    @property
    def name(self) -> str:
        """Canonical name.

        Examples:
            >>> RangesRecord("vgg16", "f", "0", 7, ["bsds500"], "margin", "0").name
            'ranges@vgg16'
        """
        return f"ranges@{self.extractor}"

    @property
    def key(self) -> str:
        """What no two records of a store have in common."""
        return self.name.lower()

    @property
    def title(self) -> str:
        """What people read."""
        return self.name


@dataclass(frozen=True)
class Manifest:
    """What a store has.

    Args:
        references: its DNAs, sorted by name, whole ones and groups.
        ranges: its activation ranges, sorted by extractor.
    """

    references: tuple[ReferenceRecord, ...] = ()
    ranges: tuple[RangesRecord, ...] = ()

    @classmethod
    def of(cls, records: Sequence[AnyRecord]) -> Manifest:
        """A manifest of these records, sorted."""
        return cls(
            tuple(sorted((r for r in records if isinstance(r, ReferenceRecord)), key=_place)),
            tuple(sorted((r for r in records if isinstance(r, RangesRecord)), key=lambda record: record.name)),
        )

    @property
    def records(self) -> list[AnyRecord]:
        """References and ranges."""
        return [*self.references, *self.ranges]

    def dump(self) -> str:
        """As JSON text, equal for equal contents."""
        parts: dict[str, Any] = {"schema": SCHEMA}
        for part in ("references", "ranges"):
            parts[part] = [_said(record) for record in getattr(self, part)]
        return json.dumps(parts, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Manifest:
        """Inverse of `dump`.

        Raises:
            ValueError: when the text is not a manifest, or one of a newer schema.
        """
        with errors_of(where):
            data = plain_json(text)
            if not isinstance(data, dict):
                raise ValueError(f"expected an object, got {type(data).__name__}")
            check_schema(data, SCHEMA, where)
            manifest = typed(cls, {part: value for part, value in data.items() if part != "schema"})
        return cls.of(manifest.records)


def _said(record: ReferenceRecord | RangesRecord | FrechetNormaliser) -> dict[str, Any]:
    """Its fields without those that need not be there and say nothing, which earlier versions did not know."""
    optional = {item.name for item in fields(record) if item.default is not MISSING}
    found = {
        name: value
        for name, value in asdict(record).items()
        if name not in optional or (value not in ("", ()) and value is not None)
    }
    if "normalisers" in found and isinstance(record, ReferenceRecord):
        found["normalisers"] = [_said(each) for each in record.normalisers]
    return found


def group_place(record: ReferenceRecord) -> tuple[int, int]:
    """Number of a group, and of how many; ``(0, 0)`` for a whole DNA."""
    number, _, of = record.group.partition("-of-")
    return (int(number), int(of)) if number.isdecimal() and of.isdecimal() else (0, 0)


def _place(record: ReferenceRecord) -> tuple[Any, ...]:
    return record.name, record.ranges, record.layers, group_place(record)
