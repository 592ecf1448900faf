"""`vdna-metrics protocols`, and what `--protocol` does."""

from __future__ import annotations

from dataclasses import asdict

from vdna_metrics.cli.screen import print_json, print_lines, print_table, say, tell
from vdna_metrics.cli.settings import Comparison
from vdna_metrics.dna import VDNA
from vdna_metrics.leaderboard import SetFacts, find_departures, find_protocol, list_protocols
from vdna_metrics.leaderboard.record import ProtocolRecord


def protocols(as_json: bool) -> None:
    """List the protocols of published numbers, or show one."""
    known = [find_protocol(name) for name in list_protocols()]
    if as_json:
        return print_json([asdict(protocol) for protocol in known])
    rows = [[each.name, ", ".join(each.columns), each.generated.n_images or "any", each.measures] for each in known]
    print_table("Protocols, for --protocol", ["name", "columns", "images", "measures"], rows)


def show_protocol(name: str, as_json: bool) -> None:
    """Show all that is known of one protocol, and where it can be read."""
    protocol = find_protocol(name)
    if as_json:
        return print_json(asdict(protocol))
    tell(protocol.name, bold=True)
    tell(f"{protocol.measures}.", "")
    print_lines({title: told.text for title, told in protocol.lines().items()})
    for title, told in protocol.lines().items():
        if told.sources:
            tell("", f"sources, {title}:", *(f"  {source}" for source in told.sources))


# ----------------------------------------------------------------------------------------------------------- the option
def protocol_of(name: str | None, task: Comparison, real: VDNA, generated: dict[str, VDNA]) -> ProtocolRecord | None:
    """What departs from a protocol in a comparison, which is said.

    Args:
        name: of the protocol.
        task: the comparison.
        real: the DNA of the reference.
        generated: ``{source: DNA}`` of each set.
    """
    if name is None:
        return None
    sets = {images.source: images for images in task.generated}
    facts = [
        SetFacts.of(images, dna.n_images, dna.provenance.account.fields, called)
        for called, images, dna in (
            ("reference", task.reference, real),
            *((source, sets[source], dna) for source, dna in generated.items()),
        )
    ]
    fingerprint = task.settings.fingerprint
    parts = {part: getattr(fingerprint, part) for part in ("architecture", "preprocessing", "precision")}
    ranges = "auto" if task.settings.ranges == "auto" else ""
    found = find_departures(name, facts[0], facts[1:], parts, ranges=ranges)
    say_departures(found)
    return found


def say_departures(found: ProtocolRecord | None) -> None:
    """A line for each departure from a protocol, and for what cannot be told."""
    if found is None:
        return
    for sentence in found.departures:
        say(f"departs from {found.name}: {sentence}")
    for sentence in found.unknown:
        say(f"not known for {found.name}: {sentence}")
    if not found.departures:
        say(f"nothing that is known departs from {found.name}")
