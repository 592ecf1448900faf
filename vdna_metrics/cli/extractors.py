"""`vdna-metrics extractors`."""

from __future__ import annotations

import textwrap
from typing import Any

from vdna_metrics.cli.screen import print_json, print_lines, print_table, tell
from vdna_metrics.extractors import ExtractorSpec, create_extractor, get_spec, list_extractors
from vdna_metrics.extractors.weights import cached_weights, weights_address
from vdna_metrics.references.store import ranges_origin


def extractors(as_json: bool) -> None:
    """List the networks that are known by name, or show one."""
    cards = [_card(get_spec(name)) for name in list_extractors()]
    if as_json:
        return print_json(cards)
    rows = [
        [
            card["name"],
            len(card["layers"]),
            "" if card["neurons"] is None else card["neurons"],
            card["input"].partition(" ")[0],
            "here" if card["at_hand"] else "download",
            card["ranges"],
            card["licence"],
        ]
        for card in cards
    ]
    columns = ["name", "layers", "neurons", "input", "weights", "ranges", "licence"]
    print_table("Extractors; besides these, timm:NAME and torchvision:NAME take any network of theirs", columns, rows)


def show_extractor(name: str, trust_code: bool, as_json: bool) -> None:
    """Show all there is to know of one network."""
    spec = get_spec(name)
    if not spec.layers:  # found by building it
        spec = create_extractor(name, trust_code=trust_code).spec
    card = _card(spec)
    if as_json:
        return print_json(card)
    tell(card["name"], bold=True)
    tell(*textwrap.wrap(card["note"], 100), "")
    places = [path if layer == path else f"{layer} ({path})" for layer, path in card["layers"].items()]
    lines = {
        "architecture": card["architecture"],
        "layers": f"{len(places)}: {', '.join(places)}",
        "neurons": "unknown until it is built" if card["neurons"] is None else str(card["neurons"]),
        "input": card["input"],
        "weights": card["address"]
        + (f", in {card['at_hand']}" if card["at_hand"] not in (None, card["address"]) else ""),
        "ranges": "none ship: histograms find their own" if card["ranges"] == "auto" else card["ranges"],
        "licence": card["licence"],
    }
    print_lines(lines)


def _card(spec: ExtractorSpec) -> dict[str, Any]:
    """What there is to know of an extractor without building it."""
    needs_file = spec.weights is not None and not spec.weights.startswith(("seeded:", "package:"))
    address = "in the package" if str(spec.weights).startswith("package:") else weights_address(spec)
    cached = cached_weights(spec) if needs_file else None
    preprocess = spec.preprocess
    size = "own size" if preprocess.size is None else "x".join(map(str, preprocess.size))
    return {
        "name": spec.name,
        "note": spec.note,
        "architecture": spec.architecture,
        "layers": spec.paths,
        "neurons": spec.neurons,
        "input": f"{size} ({preprocess.id})",
        "address": address,
        "at_hand": (str(cached) if cached else None) if needs_file else address,
        "ranges": ranges_origin(spec),
        "licence": spec.licence,
    }
