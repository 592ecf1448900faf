"""In which network each column is measured: as options say, else in one that the reference has DNAs of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vdna_metrics.cli.options import DEFAULT_EXTRACTOR
from vdna_metrics.dna import Column
from vdna_metrics.extractors import get_spec
from vdna_metrics.extractors.registry import is_own
from vdna_metrics.references import ImageSet
from vdna_metrics.references.resolve import HeldDNA, with_network


def sees_column(network: str, column: Column) -> bool:
    """Whether a column is of a network; how it resizes its images, and weights of a file, are left to the user."""
    if column.extractor in (None, network):
        return True
    try:
        spec = get_spec(network)
    except ValueError:  # of a module of the user's
        return False
    known = get_spec(column.extractor)
    of_it = spec.architecture == known.architecture and (is_own(network) or spec.weights == known.weights)
    return of_it and set(column.layers or ()) <= set(spec.layers)


Held = Mapping[str | ImageSet, Sequence[HeldDNA]]
"""DNAs of each source of a reference, a name of a store or a set that is opened, before they are read."""


def group_by_network(held: Held, columns: Sequence[Column], asked: str | None) -> tuple[str, dict[str, list[Column]]]:
    """The first network, which is that of columns that name none, and ``{network: its columns}``.

    A reference decides between several runs of a network that a column names: they differ in how images are resized.

    Args:
        held: of the reference.
        columns: what is to be measured.
        asked: network that the options name, for all columns that may be of it.

    Returns:
        Names of networks.

    Raises:
        ValueError: for columns that may be of several networks of one name; for a column that names its network, where
            the reference has neither images nor a DNA of it, or has DNAs of several of its runs.
    """
    named = [column for column in columns if column.extractor is not None]
    free = [column for column in columns if column.extractor is None]
    first = asked
    if asked is None and free:
        first = _of_free_columns(held, free, named) if any(held.values()) else DEFAULT_EXTRACTOR
    groups: dict[str, list[Column]] = {}
    for column in columns:
        network = first if column.extractor is None else _of_named_column(held, column, first, asked)
        assert network is not None
        groups.setdefault(network, []).append(column)
    return first or next(iter(groups)), groups


def _of_free_columns(held: Held, columns: Sequence[Column], named: Sequence[Column]) -> str:
    """The network whose DNAs serve all columns; of one name the only one, of several sources the first."""
    by_column = [_networks(held, column) for column in columns]
    every = list(dict.fromkeys(dna.network for dnas in held.values() for dna in dnas))
    complete = [network for network in every if all(network in some for some in by_column)]
    for source, dnas in held.items():
        offered = {dna.network for dna in dnas}
        serving = [network for network in complete or every if network in offered]
        if isinstance(source, str) and len(serving) > 1:
            raise ValueError(
                f"{', '.join(column.name for column in columns)} of {source} could be of {' or '.join(serving)}: say "
                f"which, by --extractor {serving[0]} or {with_network(source, serving[0])} for example"
            )
    others = [name for name in complete or every if not any(sees_column(name, column) for column in named)]
    return next(iter([*others, *complete, *every]))


def _of_named_column(held: Held, column: Column, first: str | None, asked: str | None) -> str:
    """The network of a column that names one: the first if it is of it, else that run of it which the reference has."""
    assert column.extractor is not None
    sees_first = first is not None and sees_column(first, column)
    if first is not None and first == asked and sees_first:
        return first
    offered = _networks(held, column)
    fitting = [name for name in offered if sees_column(name, column)]
    for name in (first, column.extractor):
        if name is not None and name in fitting:
            return name
    fitting = fitting or [name for name in offered if not _is_known(name)]
    if len(fitting) == 1:
        return fitting[0]
    images = any(isinstance(source, ImageSet) and source.images is not None for source in held)
    if images or not any(held.values()):
        return first if first is not None and sees_first else column.extractor
    which = ", ".join(source if isinstance(source, str) else source.source for source in held)
    if fitting:
        example = next(source for source in held if any(dna.network == fitting[0] for dna in held[source]))
        say = f", by {with_network(example, fitting[0])} for example" if isinstance(example, str) else ""
        raise ValueError(f"{column.name} of {which} could be of {' or '.join(fitting)}: say which{say}")
    others = [dna.network for dnas in held.values() for dna in dnas if dna.kind == column.kind]
    raise ValueError(
        f"{column.name} is defined in {column.extractor}, and {which} has {column.kind} DNAs of "
        f"{', '.join(dict.fromkeys(others)) or 'no network'}: leave {column.name} out, or give one of "
        f"{column.extractor}, or the images"
    )


def _networks(held: Held, column: Column) -> list[str]:
    """Networks of the DNAs that have what a column compares."""
    return list(dict.fromkeys(dna.network for dnas in held.values() for dna in dnas if dna.serves(column)))


def _is_known(network: str) -> bool:
    try:
        get_spec(network)
    except ValueError:
        return False
    return True
