"""What commands found, for tables and JSON, and the files that they write."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from vdna_metrics.build.passes import Checkpoint
from vdna_metrics.cli.options import NeuronOptions
from vdna_metrics.cli.screen import print_lines, say
from vdna_metrics.dna import VDNA, Column
from vdna_metrics.dna.caveats import Notes
from vdna_metrics.dna.distances import with_unit
from vdna_metrics.files import check_writable, is_ours, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def measured(
    column: Column, real: VDNA, fake: VDNA, by: str | None = None, *, allow_subsampled: bool = False
) -> dict[str, Any]:
    """``{column: value}`` and, where asked for, ``{column_by_layer: {layer: value}}`` or ``..._by_neuron``.

    Beside the EMD of histograms that find their own ranges ``column_bin_width``, by how much bins move it at most.
    """
    real, fake = column.select(real), column.select(fake)
    found: dict[str, Any] = {
        column.name: float(cast(Any, column.measure(real, fake, allow_subsampled=allow_subsampled)))
    }
    if (width := column.bin_width(real, fake, allow_subsampled=allow_subsampled)) is not None:
        found[f"{column.name}_bin_width"] = width
    if by is not None:
        reduction = "layer" if by == "layer" else "none"
        parts = cast(Any, column.measure(real, fake, cast(Any, reduction), allow_subsampled=allow_subsampled))
        found[f"{column.name}_by_{by}"] = {layer: value.tolist() for layer, value in parts.items()}
    return found


def heading(column: Column, *, unit: bool = False) -> str:
    """A column's name, with what its values cannot be read without: its unit, and an arrow to the better ones."""
    name = with_unit(column.name, column.unit) if unit else column.name
    return name if column.distance.says_how_far else f"{name} {'↑' if column.distance.higher_is_better else '↓'}"


def distance_from(columns: Sequence[Column], reference: str) -> str:
    """What values are, for a title."""
    of = "Distance from" if any(column.distance.arity == 2 for column in columns) else "Scores beside"
    return f"{of} {reference}"


def seen_by(network: str, neurons: NeuronOptions) -> str:
    """Through which network, which neurons, and weighted how, for a title."""
    of = "" if neurons.neurons is None else f", neurons of {neurons.neurons}"
    by = "" if neurons.neuron_weights is None else f", weighed by {neurons.neuron_weights}"
    return f"seen by {network}{of}{by}"


def say_notes(notes: Notes, read: Iterable[str] = ()) -> list[str]:
    """Say what DNAs were read, and what a reader of the numbers should know; returns the latter."""
    sentences = list(notes.sentences())
    for sentence in (*(f"read {each}" for each in read), *(f"warning: {each}" for each in sentences)):
        say(sentence)
    return sentences


def report_skipped(source: str, skipped: Iterable[tuple[str, str]]) -> None:
    """A line for each image that was left out."""
    for name, reason in skipped:
        say(f"skipped: {source}: {name}: {reason}")


def print_accounts(sets: Mapping[str, VDNA]) -> None:
    """A line for each set of images, in a few words, where something is known of it."""
    told = {name: str(dna.provenance.account) for name, dna in sets.items()}
    if lines := {name: text for name, text in told.items() if text}:
        print_lines(lines)


def described(dna: VDNA) -> dict[str, Any]:
    """A DNA without its numbers, for JSON."""
    return {
        "kind": dna.kind,
        "n_images": dna.n_images,
        "neurons": dna.layout.total,
        "fingerprint": dna.fingerprint.digest,
        **dna.provenance.to_json(),
    }


# ---------------------------------------------------------------------------------------------------------------- files
def forget(checkpoint: Path | None) -> None:
    """Remove what an earlier interrupt left, when the result is there."""
    if checkpoint is None or not checkpoint.is_dir():
        return
    with suppress(FileNotFoundError):  # another process that did the same forgets it too
        for file in Checkpoint.files(checkpoint):
            file.unlink()
    with suppress(OSError):  # a folder of the user's that holds other files too
        checkpoint.rmdir()


def output_paths(output: str, kinds: Sequence[str]) -> dict[str, Path]:
    """The files to write, refused before the work where they cannot be."""
    stem = Path(output).name.removesuffix(".npz")
    if not stem:
        raise click.BadParameter(f"{output!r} names no file", param_hint="--output")
    names = {kind: f"{stem}.npz" if len(kinds) == 1 else f"{stem}.{kind}.npz" for kind in kinds}
    paths = {kind: Path(output).with_name(name) for kind, name in names.items()}
    for path in paths.values():
        check_writable(path)
        if path.exists() and not (path.suffix == ".npz" and is_ours(path)):
            raise ValueError(f"{path} exists and was not written by vdna_metrics: move it, or choose another --output")
    return paths


def output_path(output: str | None) -> Path | None:
    """A file to write, where there is to be one, refused before the work where it cannot be."""
    if output is None:
        return None
    path = Path(output)
    check_writable(path)
    return path


def write_picture(figure: Figure, path: Path, *, dpi: int = 110) -> None:
    """Draw a figure into a file, whole or not at all; its name's end is the format."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=dpi)
    write_whole(path, drawn.getvalue())
