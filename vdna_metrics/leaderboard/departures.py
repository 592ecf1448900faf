"""Where sets of images, and a network, depart from a protocol: told from what is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vdna_metrics.dna.account import AccountFields
from vdna_metrics.dna.caveats import LOSSLESS, Caveat, Notes
from vdna_metrics.dna.grouped import total_of
from vdna_metrics.leaderboard.protocols import ImageRule, Protocol, find_protocol, grouped
from vdna_metrics.leaderboard.record import ProtocolRecord
from vdna_metrics.references.formats.published import find_published
from vdna_metrics.references.image_sets import ImageSet

_KEPT = {*LOSSLESS, "array", "tensor"}
"""Formats that add nothing to an image."""


@dataclass(frozen=True)
class SetFacts:
    """What is known of a set of images that a protocol asks for.

    Args:
        name: of the set.
        n_images: how many are compared.
        account: of the images.
        sources: what was given, and where its DNAs come from.
        folders: number of images of each folder that may be a class.
    """

    name: str
    n_images: int
    account: AccountFields
    sources: tuple[str, ...] = ()
    folders: tuple[int, ...] = ()

    @classmethod
    def of(cls, images: ImageSet, n_images: int, account: AccountFields, name: str = "") -> SetFacts:
        """Of a set as a user named it.

        Args:
            images: the set.
            n_images: how many are compared.
            account: of these.
            name: by default the set's.
        """
        origins = [total_of(dna).provenance.origin for dna in images.dnas]
        folders = Counter(() if images.images is None else images.images.groups)
        return cls(
            name or images.name,
            n_images,
            account,
            tuple(dict.fromkeys(filter(None, [images.source, *origins]))),
            () if set(folders) <= {""} else tuple(folders.values()),
        )


def find_departures(
    protocol: Protocol | str,
    reference: SetFacts,
    generated: Sequence[SetFacts],
    network: Mapping[str, str],
    *,
    ranges: str = "",
) -> ProtocolRecord:
    """What of sets and network is not as a protocol has it, in sentences with both sides; and what cannot be told.

    Args:
        protocol: or its name.
        reference: the real images.
        generated: each set of generated images.
        network: ``architecture``, ``preprocessing`` and ``precision`` of the network's fingerprint.
        ranges: of histograms, ``"auto"`` where they found their own.

    Examples:
        >>> few = SetFacts("ours", 1000, AccountFields({"PNG": 1000}))
        >>> real = SetFacts("real", 50_000, AccountFields())
        >>> inception = {"architecture": "fid_inception", "precision": "fp32"}
        >>> inception["preprocessing"] = find_protocol("clean-fid").spec.preprocess.id
        >>> find_departures("clean-fid", real, [few], inception).departures
        ('ours: expected 50 000 images, got 1 000: FID of fewer images is larger',)
    """
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    departures, unknown = Notes(), Notes()
    _compare_network(protocol, network, ranges, departures)
    if not _is_known(protocol, reference):
        _compare_reference(protocol, reference, departures, unknown)
        _compare_set(protocol, replace(protocol.reference, n_images=None), reference, departures, unknown)
    for facts in generated:
        _compare_set(protocol, protocol.generated, facts, departures, unknown)
    return ProtocolRecord(protocol.name, departures.sentences(), unknown.sentences())


def _is_known(protocol: Protocol, reference: SetFacts) -> bool:
    """Whether a reference is the protocol's statistics, by their name or the name of their file."""
    published = filter(None, map(find_published, protocol.statistics))
    names = [*protocol.statistics, *(each.address.rpartition("/")[2] for each in published)]
    return any(name.lower() in source.lower() for name in names for source in reference.sources)


def _compare_reference(protocol: Protocol, reference: SetFacts, departures: Notes, unknown: Notes) -> None:
    """Whether real images can be the protocol's, by their number."""
    number = protocol.reference.n_images
    if number is not None and reference.n_images != number:
        named = f" ({', '.join(protocol.statistics)})" if protocol.statistics else ""
        source = "".join(f" of {source}" for source in reference.sources[:1])
        got = f"expected {protocol.real}{named}, {grouped(number)} images, got {grouped(reference.n_images)}{source}"
        told = Caveat(got, end=": a distance from other images is another number")
        departures.add_caveats(reference.name, {"reference": told})
    elif protocol.real:
        told = Caveat(f"whether its images are {protocol.real}", end=" cannot be told")
        unknown.add_caveats(reference.name, {"reference": told})


def _compare_network(protocol: Protocol, network: Mapping[str, str], ranges: str, departures: Notes) -> None:
    spec = protocol.spec
    asked = {"architecture": spec.architecture_id, "preprocessing": spec.preprocess.id, "precision": "fp32"}
    for part, expected in asked.items():
        if network.get(part, expected) != expected:
            departures.add(f"{part} of the network: expected {expected} of {spec.name}, got {network[part]}")
    if protocol.bins is not None and ranges == "auto":
        departures.add(
            f"expected histograms in the activation ranges that are published for {spec.name}, got such as find their "
            "own: values in bins are others"
        )


def _compare_set(protocol: Protocol, rule: ImageRule, facts: SetFacts, departures: Notes, unknown: Notes) -> None:
    """Number, sizes, formats and classes of one set."""
    account, found = facts.account, dict[str, Caveat]()
    number = rule.n_images
    if number is not None and facts.n_images != number:
        fewer = facts.n_images < number
        unbiased = protocol.column.distance.bias == "unbiased"
        moves = ("more", "less") if unbiased else ("smaller", "larger")
        end = f": {protocol.column.short} of {'fewer' if fewer else 'more'} images is {moves[fewer]}"
        end += " certain" * unbiased
        got = f"expected {grouped(number)} images, got {grouped(facts.n_images)}"
        found["fewer" if fewer else "more"] = Caveat(got, end=end)
    if rule.size is not None and account.sizes is not None:
        width, height = rule.size
        if {*account.sizes.widths, *account.sizes.heights} != {width, height}:
            got = f"expected images of {width}x{height} pixels, got {account.sizes}"
            found["size"] = Caveat(got, end=": how they are brought to one size counts as a difference")
    if rule.lossless and account.formats is not None:
        lossy = {name: count for name, count in account.formats.items() if name not in _KEPT}
        if lossy:
            got = ", ".join(f"{name} {grouped(count)}" for name, count in lossy.items())
            end = ": what compression leaves counts as a difference"
            found["format"] = Caveat(f"expected images saved without loss, got {got}", end=end)
    if account.depths:
        got = f"expected 8 bits a value, got 16 in {grouped(sum(n for _, n in account.depths))} images"
        found["depth"] = Caveat(got, end=": they are rounded to 8")
    asked = {"sizes": (rule.size, account.sizes), "formats": (rule.lossless, account.formats)}
    lacks = [what for what, (wanted, known) in asked.items() if wanted and known is None]
    if lacks:
        told = Caveat(f"{' and '.join(lacks)} of its images", end=" are not known")
        unknown.add_caveats(facts.name, {"account": told})
    if rule.classes:
        _compare_classes(rule, facts, found, unknown)
    departures.add_caveats(facts.name, found)


def _compare_classes(rule: ImageRule, facts: SetFacts, found: dict[str, Caveat], unknown: Notes) -> None:
    if len(facts.folders) != rule.classes:
        has = f"its images lie in {len(facts.folders)} folders" if facts.folders else "no class folders are known"
        told = Caveat(has, end=f", so how many there are of each of {rule.classes} classes cannot be told")
        unknown.add_caveats(facts.name, {"classes": told})
        return
    least, most = min(facts.folders), max(facts.folders)
    each = f"{least} images" if least == most else f"{least} to {most} images"
    got = f"{each} of each of {rule.classes} classes"
    if rule.balance == "either":
        unknown.add(f"it has {got}; papers have either as many of each or random labels", facts.name)
    elif (rule.balance == "equal") != (least == most):
        asked = "as many images of each class" if rule.balance == "equal" else "labels drawn at random"
        found["classes"] = Caveat(f"expected {asked}, got {got}")
