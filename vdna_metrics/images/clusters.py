"""Which images depend on each other, by their names: clusters by a rule, and names that look like clusters."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vdna_metrics.files import check_limit, errors_of, plain_json, read_text, read_whole
from vdna_metrics.layout import check_type

FOLDER = "folder"
_FILES = {".csv": ",", ".tsv": "\t", ".json": ""}
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class ClusterRule:
    """Which images depend on each other: those of one folder, those whose names match alike, or as a file says.

    Args:
        by: ``"folder"``: images of one folder are a cluster. Text that ends in ``.csv``, ``.tsv`` or ``.json``: a file
            of names and clusters, ``name,cluster`` a line under that heading, or ``{"name": "cluster"}``. Any other
            text is a regular expression that is searched for in each name, ``folder/file.png``; images are a cluster
            when its groups match alike, or all of it where it has none.
        named: ``{name: cluster}``, what the file says; by default it is read.

    Raises:
        ValueError: for a regular expression that is none, a file that cannot be read, or one without images.

    Examples:
        >>> ClusterRule("folder").labels(["a/0.png", "a/1.png", "b/0.png", "top.png"])
        (('a',), ('a',), ('b',), 3)
        >>> ClusterRule("^(clip[0-9]+)_").labels(["clip7_001.png", "clip7_002.png", "clip8_001.png"])
        (('clip7',), ('clip7',), ('clip8',))
    """

    by: str
    named: Mapping[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.named is None and Path(self.by).suffix.lower() in _FILES:
            object.__setattr__(self, "named", _read_clusters(Path(self.by)))
        if self.named is not None and not self.named:
            raise ValueError(f"{self.by} has no image in it")
        if self.is_pattern:
            with errors_of(f"{self.by!r} is no regular expression", re.error):
                re.compile(self.by)

    @classmethod
    def of(cls, by: str | Mapping[str, str]) -> ClusterRule:
        """Of a text, or of clusters by name, as a file has them."""
        check_type("cluster_by", by, str, Mapping)
        return cls(by) if isinstance(by, str) else cls("the mapping", by)

    @property
    def is_pattern(self) -> bool:
        """Whether it is a regular expression."""
        return self.named is None and self.by != FOLDER

    def labels(self, names: Sequence[str]) -> tuple[Hashable, ...]:
        """The cluster of each image of a set.

        Args:
            names: of the images.

        Returns:
            A tuple of words for a cluster; for an image in none, which is one by itself, its place.

        Raises:
            ValueError: for a file that has some of the images and not all; those that are missing are named.
        """
        found = [self._of_image(name) for name in names]
        missing = [name for name, label in zip(names, found, strict=True) if label is None]
        if self.named is not None and 0 < len(missing) < len(names):
            raise ValueError(f"{self.by} has no cluster for {len(missing)} of {len(names)} images: {_some(missing)}")
        return tuple(place if label is None else label for place, label in enumerate(found))

    def finds_none(self, names: Sequence[str]) -> str:
        """What is wrong where it finds no cluster among some images."""
        shown = f"names are {_some(names) or 'not known'}"
        if self.named is not None:
            return f"{self.by} has none of the images; their {shown}"
        if self.by == FOLDER:
            return f"no image lies in a folder below that of its set, so folders are no clusters; {shown}"
        return (
            f"no image's name matches {self.by!r}, which is taken for a regular expression (a file of clusters ends in "
            f"{', '.join(_FILES)}); {shown}"
        )

    def _of_image(self, name: str) -> tuple[str, ...] | None:
        if self.named is not None:
            return (str(self.named[name]),) if name in self.named else None
        if self.by == FOLDER:
            folder = name.rpartition("/")[0]
            return (folder,) if folder else None
        match = re.search(self.by, name)
        if match is None:
            return None
        return tuple(group or "" for group in match.groups()) or (match[0],)


def cluster_images(names: Sequence[str], by: str | Mapping[str, str]) -> tuple[Hashable, ...]:
    """The cluster of each image by its name, as `build_set` and `disjoint_groups` take them.

    Args:
        names: of the images, as in `ImageSource.names`.
        by: ``"folder"``, a regular expression, a file, or ``{name: cluster}``; see `ClusterRule`.

    Raises:
        ValueError: when the rule finds no cluster at all; some names are shown. See also `ClusterRule.labels`.

    Examples:
        >>> cluster_images(["p1_a.png", "p1_b.png", "p2_a.png"], "^p[0-9]+")
        (('p1',), ('p1',), ('p2',))
    """
    rule = ClusterRule.of(by)
    labels = rule.labels(names)
    if not any(map(in_cluster, labels)):
        raise ValueError(rule.finds_none(names))
    return labels


def in_cluster(label: Hashable) -> bool:
    """Whether a label of `ClusterRule.labels` is that of a cluster, not of an image by itself."""
    return isinstance(label, tuple)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _read_clusters(path: Path) -> Mapping[str, str]:
    """``{name: cluster}`` of a file."""
    if not path.exists():
        raise ValueError(f"no file of clusters at {str(path)!r}; a regular expression does not end in {path.suffix}")
    is_json = path.suffix.lower() == ".json"
    with errors_of(str(path)), errors_of(f"{path} is no file of clusters", (UnicodeDecodeError, csv.Error)):
        pairs = _pairs_of_json(path) if is_json else _pairs_of_table(path)
        found: dict[str, str] = {}
        for name, cluster in pairs:
            check_limit("images", len(found), "its names")
            if found.setdefault(name, cluster) != cluster:
                raise ValueError(f"it has {name} in two clusters, {found[name]!r} and {cluster!r}")
    return found


def _pairs_of_json(path: Path) -> Iterator[tuple[str, str]]:
    data = plain_json(read_whole(path, "json_bytes"))
    if not isinstance(data, dict) or not all(isinstance(each, str | int) for each in data.values()):
        raise ValueError('expected {"name": "cluster", ...}, with a word or number for each image')
    return ((name, str(cluster)) for name, cluster in data.items())


def _pairs_of_table(path: Path) -> Iterator[tuple[str, str]]:
    separator = _FILES[path.suffix.lower()]
    table = csv.DictReader(read_text(path, "images", separator.encode()), delimiter=separator)
    if not {"name", "cluster"}.issubset(table.fieldnames or ()):
        raise ValueError(f"expected a first line with name and cluster, got {', '.join(table.fieldnames or ())}")
    for row in table:
        if not row["name"] or not row["cluster"]:
            raise ValueError(f"line {table.line_num}: expected a name and a cluster, got {list(row.values())}")
        yield row["name"], row["cluster"]


# ------------------------------------------------------------------------------------------------ names that look alike
# What comes before the number of one image of several: these words are of no other use,
_OF_ONE_IMAGE = "frame|frm|aug|augmented|crop|patch|tile|flip|flipped|rot|rotated|copy|burst"
# and these are used for running numbers as well.
_MAYBE = "sample|seed|view|take|variation|variant|var|rep"
# What comes before the number of what several images are of.
_OF_SEVERAL = "clip|video|vid|movie|seq|sequence|scene|track|episode|prompt|subject|patient|slide|scan|volume"
_NUMBERED = re.compile(
    rf"^(?P<stem>.*?)(?P<word>(?:(?<=\d)|^|(?<![/ _.(-])[/ _.(-]+)(?:{_OF_ONE_IMAGE}|{_MAYBE})s?)[ _.(-]*\d+[^/]*$",
    re.IGNORECASE,
)
_SEVERAL = re.compile(rf"^(?P<stem>(?:.*[/ _.-])?(?:{_OF_SEVERAL})[ _-]?\d+)[/ _.-](?:.*\D)?\d+\D*$", re.IGNORECASE)
# Folders of these names hold frames; others of `_OF_SEVERAL` may be classes.
_FRAMES_IN = re.compile(r"(?:^|[/ _.-])(?:clip|video|vid|movie|seq|sequence|episode)[ _-]?\d+$", re.IGNORECASE)
_PLAIN = re.compile(r"/\d+")
# Numbers of what images are only dealt to, or of their class.
_DEALT = re.compile(
    r"(?:class|cls|label|category|rank|gpu|device|node|worker|shard|part|chunk|batch|step|iter|epoch)[ _-]?\d+$"
)
_COPY = re.compile(r"^(?P<stem>.+?)(?: ?\(\d+\)| - Copy(?: \(\d+\))?)?$", re.IGNORECASE)
_IS_COPY = re.compile(r"(?:\(\d+\)| - Copy)$", re.IGNORECASE)
_MOST_COPIES = 16  # a stem with more numbers is a folder's worth of images, renamed at once
_LEAST_MEAN = 1.5


@dataclass(frozen=True)
class LikelyClusters:
    """Names that say that some images are of one thing.

    Args:
        number: of clusters.
        mean: number of images of one.
        by: rule that makes these clusters, see `ClusterRule`.
        examples: names of two of one cluster.
    """

    number: int
    mean: float
    by: str
    examples: tuple[str, str]

    def __str__(self) -> str:
        clusters = f"{self.number} cluster{'s' * (self.number != 1)} of {'about ' * (self.number != 1)}{self.mean:.0f}"
        return (
            f"by their names its images are {clusters}, as {self.examples[0]} and {self.examples[1]}: frames, samples "
            "or copies of one thing. Error bars take all images as independent and are then far too short. If it is "
            f"so, give --cluster-by '{self.by}'."
        )


def likely_clusters(names: Sequence[str]) -> LikelyClusters | None:
    """Whether names look as if many images were of few things: frames of videos, samples of prompts, copies.

    A name says so by a word before a number (``clip3_0012``, ``prompt12_sample3``, ``cat_aug2``, ``video1/frame_01``)
    or by a number in brackets; folders of plainly numbered images, and one running number, do not.

    Args:
        names: of a set of images, with their folders.

    Examples:
        >>> found = likely_clusters([f"img{i // 8}_sample{i % 8}.png" for i in range(40)])
        >>> found.number, found.mean, found.by
        (5, 8.0, '^(.*)_sample')
        >>> likely_clusters([f"{label}/{i:04}.png" for label in ("cat", "dog") for i in range(40)])
    """
    stems = [os.path.splitext(name)[0] for name in names]
    for find in (_of_several, _of_one_image, _copies):
        found = find(stems)
        if found is None:
            continue
        by, labels = found
        sizes = Counter(label for label in labels if label is not None)
        number = len(sizes) + labels.count(None)
        if sizes.total() < len(names) / 2 or len(names) < _LEAST_MEAN * number:
            continue
        if len(set(ClusterRule(by).labels(names))) != number:
            continue  # no advice is better than one that groups otherwise
        folders = ClusterRule(FOLDER).labels(names)
        if len({*zip(folders, labels, strict=True)}) == len(sizes) == len(set(folders)) and all(
            map(in_cluster, folders)
        ):
            by = FOLDER
        largest = sizes.most_common(1)[0][0]
        first, second = [name for name, label in zip(names, labels, strict=True) if label == largest][:2]
        return LikelyClusters(number, len(names) / number, by, (first, second))
    return None


Found = tuple[str, list[str | None]] | None


def _of_several(stems: Sequence[str]) -> Found:
    matches = [_SEVERAL.search(stem) for stem in stems]
    matches = [
        match if match and (_FRAMES_IN.search(match["stem"]) or not _PLAIN.fullmatch(stem, match.end("stem"))) else None
        for stem, match in zip(stems, matches, strict=True)
    ]
    words = {re.findall(f"(?:{_OF_SEVERAL})", match["stem"], re.IGNORECASE)[-1] for match in matches if match}
    labels = [match and match["stem"] for match in matches]
    if len(words) != 1 or len({*labels}) < 2:
        return None
    return rf"^(.*{words.pop()}[ _-]?\d+)", labels


def _of_one_image(stems: Sequence[str]) -> Found:
    matches = [_NUMBERED.search(stem) for stem in stems]
    words = Counter(match["word"] for match in matches if match)
    if not words:
        return None
    word, _ = words.most_common(1)[0]
    labels = [match["stem"] if match and match["word"] == word else None for match in matches]
    sizes = Counter(label for label in labels if label is not None)
    plain = word.strip("/ _.(-").lower().removesuffix("s")
    if plain not in ("frame", "frm") and (len(sizes) < 2 or word.startswith("/")):
        return None  # a running number, of all images or of those of a class
    many = sizes.total() > _MOST_COPIES * len(sizes)
    if plain in _MAYBE.split("|") and all(_DEALT.search(stem.lower()) for stem in sizes):
        return None  # a class's or a process's running number
    if plain in _MAYBE.split("|") and many and not all(re.search(r"\d", stem) for stem in sizes):
        return None  # likewise, with the class in the name
    originals = [stem if label is None and stem in sizes else None for stem, label in zip(stems, labels, strict=True)]
    if not any(originals):
        return f"^(.*){re.escape(word)}", labels
    both = [label if label is not None else own for label, own in zip(labels, originals, strict=True)]
    return rf"^(.+?)(?:{re.escape(word)}[^/]*)?\.\w+$", both


def _copies(stems: Sequence[str]) -> Found:
    matches = [_COPY.search(stem) for stem in stems]
    labels = [match and match["stem"] for match in matches]
    sizes = Counter(labels)
    if not any(map(_IS_COPY.search, stems)) or len(sizes) < 2 or max(sizes.values()) > _MOST_COPIES:
        return None
    if 2 * len(sizes.keys() & set(stems)) < len(sizes):
        return None  # no originals: a system that renamed all at once numbers them so
    return r"^(.+?)(?: ?\(\d+\)| - Copy(?: \(\d+\))?)?\.\w+$", labels
