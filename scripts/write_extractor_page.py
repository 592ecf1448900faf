"""Write `docs/extractors.md` from the catalogue.

Without `--write` it fails when the page is not what the catalogue says.

    python scripts/write_extractor_page.py --write
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from vdna_metrics.extractors import ExtractorSpec
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import weights_address
from vdna_metrics.references.store import ranges_origin

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extractors.md"

INTRODUCTION = """\
# Extractors

<!-- Written by scripts/write_extractor_page.py from vdna_metrics/extractors/catalogue.py. -->

Every network below is known by its name, in Python (`VDNAEarthMoversDistance("mugs_vit_base")`) and on the command line
(`--extractor mugs_vit_base`). Besides these, `timm:NAME` takes any network of timm; when `layers` is not given it is
read at each block or stage and the final norm, and `vdna-metrics extractors show timm:NAME` says which these are. To
bring a network of your own, see [Adding an extractor](adding_an_extractor.md).

**Weights** are taken from `weights_path=` (`--weights FILE`) when it is given, else from the cache under
`VDNA_METRICS_HOME` (by default `~/.cache/vdna_metrics`), else from the address of the entry: to a temporary file, with
progress, checked by sha256 where it is known and recorded on first use where it is not, then renamed. Files are read as
`.safetensors` or by `torch.load(weights_only=True)`; nothing else is unpickled. Nothing takes the place of weights that
cannot be had: that is an error, which names the address, the file and the option.

**Ranges** are what histograms need: *ship* come with the package, *published* are those of the vdna package, loaded
from its hub with its own rule (both ends times 1.2), and *calibrate* means that you make them on images of yours:
`vdna-metrics calibrate IMAGES --extractor NAME -o ranges.npz`. Gaussian metrics need none.
"""


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


def page() -> Iterator[str]:
    """The page, line by line."""
    yield from INTRODUCTION.splitlines()
    yield ""
    yield "| name | layers | neurons | input | ranges | licence of the weights |"
    yield "|---|---:|---:|---|---|---|"
    for spec in CATALOGUE.values():
        cells = [f"[`{spec.name}`](#{spec.name})", str(len(spec.layers)), f"{spec.neurons:,}".replace(",", " ")]
        yield f"| {' | '.join([*cells, _input(spec), ranges_origin(spec), spec.licence])} |"
    for spec in CATALOGUE.values():
        yield ""
        yield f"## {spec.name} {{ #{spec.name} }}"
        yield ""
        yield f"{spec.note[0].upper()}{spec.note[1:]}."
        yield ""
        yield f"- layers: {_layers(spec)}"
        address = weights_address(spec)
        if address.startswith("http"):
            address = f"<{address}>"
        elif spec.weights is not None and spec.weights.startswith("package:"):
            address = "in the package"
        yield f"- weights: {address}"
        yield f"- input: `{spec.preprocess.id}`"


def main() -> None:
    """Write the page, or compare."""
    text = "\n".join(page()) + "\n"
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit(f"{PAGE} is not what the catalogue says: python scripts/write_extractor_page.py --write")


if __name__ == "__main__":
    main()
