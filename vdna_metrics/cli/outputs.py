"""Files that commands write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from vdna_metrics.cli.options import PICTURES
from vdna_metrics.files import is_ours


def forget(checkpoint: Path | None) -> None:
    """Remove what an earlier interrupt left, when the result is there."""
    if checkpoint is None or not checkpoint.is_dir():
        return
    for file in checkpoint.glob("*-of-*.npz"):
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


def picture_path(output: str, option: str = "--output") -> Path:
    """The picture to write, refused before the work where it cannot be."""
    picture = Path(output)
    if picture.suffix.lower() not in PICTURES:
        raise click.BadParameter(f"{output}: a picture ends in {', '.join(PICTURES)}", param_hint=option)
    check_writable(picture)
    return picture


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before the work."""
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: folder {path.parent} does not exist")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"cannot write {path}: {'it is a folder' if path.is_dir() else 'no permission'}")
