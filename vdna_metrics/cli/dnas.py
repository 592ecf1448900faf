"""`vdna-metrics make` and `merge`."""

from __future__ import annotations

from pathlib import Path

from vdna_metrics.cli.commands.dnas import MakeOptions
from vdna_metrics.cli.inputs import reading_of
from vdna_metrics.cli.results import described, forget, output_paths, print_accounts, report_skipped, say_notes
from vdna_metrics.cli.screen import is_main, print_json, progress_bars, tell, watched
from vdna_metrics.cli.settings import find_settings
from vdna_metrics.dna import VDNA
from vdna_metrics.dna.caveats import Notes, set_caveats
from vdna_metrics.dna.serialization import load_merged
from vdna_metrics.references import resolve_images


def make(source: str, output: str, given: MakeOptions, as_json: bool) -> None:
    """Make the DNA of a set of images, in one pass for all kinds."""
    kinds, making = given.kinds, given.making
    paths = output_paths(output, kinds)
    pass_ = reading_of(making.reading, Path(f"{output}.checkpoint"), given.part)
    images = resolve_images(source, root=making.reading.root)
    settings = find_settings(making.network, making.histograms, making.features, images=[images])
    with progress_bars() as start:
        dnas = settings.make(images, kinds, watched(pass_, start, source, images))
    if not is_main():
        return
    report_skipped(images.name, dnas[kinds[0]].provenance.skipped)
    notes = Notes()
    for dna in dnas.values():
        notes.add_caveats(source, set_caveats(dna))
    say_notes(notes)
    written = [(str(dna.save(paths[kind])), dna) for kind, dna in dnas.items()]
    forget(pass_.checkpoint)
    if as_json:
        return print_json([{"file": file, **described(dna)} for file, dna in written])
    for file, dna in written:
        tell(f"{file}: {dna!r}")
    print_accounts({f"{source}:": dnas[kinds[0]]})


def merge(files: tuple[str, ...], output: str, as_json: bool) -> None:
    """Merge DNA files, or files of activation ranges, into one."""
    path = output_paths(output, ("merged",))["merged"]
    merged = load_merged(files)
    kind = merged.kind if isinstance(merged, VDNA) else "ranges"
    written = {"file": str(merged.save(path)), "kind": kind, "n_images": merged.n_images}
    if as_json:
        return print_json(written)
    tell(f"{written['file']}: {written['kind']} of {written['n_images'] or 'an unknown number of'} images")
