"""Write the tables of `docs/references.md` from the manifest and the catalogues of statistics and datasets.

Without `--write` it fails when the page is not what they say.

    python scripts/write_references_page.py --write
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from vdna_metrics.images.datasets import list_datasets
from vdna_metrics.references.formats.published import PublishedStatistics, published_statistics
from vdna_metrics.references.store import bundled_store

PAGE = Path(__file__).resolve().parents[1] / "docs" / "references.md"


def _number(count: int | None) -> str:
    return "not stated" if count is None else f"{count:,}".replace(",", " ")


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


TABLES = {"bundled": bundled, "ranges": ranges, "published": published, "standard": standard}


def filled(page: str) -> str:
    """The page with its tables between `<!-- NAME -->` and `<!-- end -->` made anew."""

    def table(match: re.Match[str]) -> str:
        rows: Iterable[str] = TABLES[match[1]]()
        return f"<!-- {match[1]} -->\n" + "\n".join(rows) + "\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def main() -> None:
    """Write the page, or compare."""
    before = PAGE.read_text()
    after = filled(before)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(after)
    elif before != after:
        sys.exit(f"{PAGE} is not what the manifest says: python scripts/write_references_page.py --write")


if __name__ == "__main__":
    main()
