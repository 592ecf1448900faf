"""Write the tables of the documentation from the catalogues and the manifest.

They stand between `<!-- NAME -->` and `<!-- end -->`. Without `--write` it fails when a page is not what they say.

    python scripts/write_pages.py --write
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from vdna_metrics.extractors import ExtractorSpec
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import weights_address
from vdna_metrics.images.datasets import list_datasets
from vdna_metrics.leaderboard import find_protocol, list_protocols
from vdna_metrics.references.formats.published import PublishedStatistics, published_statistics
from vdna_metrics.references.store import bundled_store, ranges_origin

DOCS = Path(__file__).resolve().parents[1] / "docs"


def _number(count: int | None) -> str:
    return "not stated" if count is None else f"{count:,}".replace(",", " ")


def _input(spec: ExtractorSpec) -> str:
    size = spec.preprocess.size
    return "own size" if size is None else f"{size[0]}×{size[1]}"


def _layers(spec: ExtractorSpec) -> str:
    """Names of layers, runs of numbers shortened: `block_0 … block_11, last_norm`."""
    shortened = []
    for stem, run in groupby(spec.layers, key=lambda name: name.rstrip("0123456789")):
        names = [f"`{name}`" for name in run]
        shortened += names if len(names) < 4 or not stem else [f"{names[0]} … {names[-1]}"]
    return ", ".join(shortened)


def extractors() -> Iterator[str]:
    """Every network of the catalogue: a row, then a section."""
    yield "| name | layers | neurons | input | ranges | licence of the weights |"
    yield "|---|---:|---:|---|---|---|"
    for spec in CATALOGUE.values():
        cells = [f"[`{spec.name}`](#{spec.name})", str(len(spec.layers)), _number(spec.neurons)]
        yield f"| {' | '.join([*cells, _input(spec), ranges_origin(spec), spec.licence])} |"
    for spec in CATALOGUE.values():
        address = weights_address(spec)
        if address.startswith("http"):
            address = f"<{address}>"
        elif spec.weights is not None and spec.weights.startswith("package:"):
            address = "in the package"
        yield f"\n## {spec.name} {{ #{spec.name} }}\n\n{spec.note[0].upper()}{spec.note[1:]}.\n"
        yield f"- layers: {_layers(spec)}\n- weights: {address}\n- input: `{spec.preprocess.id}`"


def bundled() -> Iterator[str]:
    """References that ship, a row an image set and extractor."""
    yield "| name | images | resolution | kinds | size | licence |"
    yield "|---|---:|---|---|---:|---|"
    store = bundled_store()
    records = [record for record in store.manifest().references if not record.group]
    for name, group in groupby(records, key=lambda record: record.name.partition("#")[0]):
        found = list(group)
        kinds = ", ".join(f"`{record.kind}`" for record in found)
        size = sum((store.folder / record.file).stat().st_size for record in found) / 1e6
        first = found[0]
        cells = [f"`{name}`", _number(first.n_images), first.resolution, kinds, f"{size:.2f} MB"]
        yield f"| {' | '.join(cells)} | {first.licence.partition(':')[0]} |"


def ranges() -> Iterator[str]:
    """Ranges that ship."""
    yield "| extractor | images | of | rule |"
    yield "|---|---:|---|---|"
    for record in bundled_store().manifest().ranges:
        yield f"| `{record.extractor}` | {_number(record.n_images)} | {', '.join(record.sources)} | {record.widen} |"


def published() -> Iterator[str]:
    """Statistics that are known by name."""
    yield "| name | images | how images were resized |"
    yield "|---|---:|---|"

    def without_mode(entry: PublishedStatistics) -> str:
        return entry.name.removesuffix(f"/{entry.mode}")

    for name, group in groupby(sorted(published_statistics(), key=without_mode), key=without_mode):
        found = list(group)
        modes = ", ".join(f"`{entry.mode}`" for entry in found)
        yield f"| `{name}` | {_number(found[0].n_images)} | {modes} |"


def standard() -> Iterator[str]:
    """One command for each standard dataset."""
    yield "| image set | splits | command |"
    yield "|---|---|---|"
    for record in list_datasets():
        splits = list(record.splits)
        root = "" if record.loader != "local copy" else " --root FOLDER"
        command = f"vdna-metrics references build dataset:{record.name}/{splits[0]}{root} --extractor NAME"
        yield f"| `{record.name}` | {', '.join(splits)} | `{command}` |"


def protocols() -> Iterator[str]:
    """A row for each protocol."""
    yield "| name | columns | network | generated images | measures |"
    yield "|---|---|---|---:|---|"
    for each in map(find_protocol, list_protocols()):
        images = "any" if each.generated.n_images is None else _number(each.generated.n_images)
        cells = [f"[`{each.name}`](#{each.name})", f"`{', '.join(each.columns)}`", f"`{each.extractor}`", images]
        yield f"| {' | '.join(cells)} | {each.measures} |"


def protocol_sections() -> Iterator[str]:
    """What each protocol says, with the sources."""
    for each in map(find_protocol, list_protocols()):
        yield f"\n### {each.name} {{ #{each.name} }}\n\n{each.measures[0].upper()}{each.measures[1:]}.\n"
        for title, told in each.lines().items():
            text = f"`{told.text}`" if title in ("columns", "input", "reference by name") else told.text
            links = ", ".join(f"[{place}]({source})" for place, source in enumerate(told.sources, 1))
            yield f"- {title}: {text}{f' ({links})' if links else ''}"


TABLES = {
    table.__name__: table for table in (extractors, bundled, ranges, published, standard, protocols, protocol_sections)
}


def _filled(match: re.Match[str]) -> str:
    return f"<!-- {match[1]} -->\n" + "\n".join(TABLES[match[1]]()) + "\n<!-- end -->"


def main() -> None:
    """Write the pages, or compare."""
    for page in (DOCS / "extractors.md", DOCS / "references.md", DOCS / "protocols.md"):
        before = page.read_text()
        after = re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", _filled, before, flags=re.DOTALL)
        if "--write" in sys.argv[1:]:
            page.write_text(after)
        elif before != after:
            sys.exit(f"{page} is not what the package says: python scripts/write_pages.py --write")


if __name__ == "__main__":
    main()
