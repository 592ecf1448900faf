"""What one of several processes does in a test."""

from __future__ import annotations

from helpers.dnas import make_dna

from vdna_metrics.distributions import Kind
from vdna_metrics.references.adding import add_reference
from vdna_metrics.references.store import ReferenceStore


def add_again_and_again(folder: str, kind: Kind, turns: int) -> None:
    """Put one name into a store again and again, with changing contents."""
    for turn in range(turns):
        dna = make_dna(kind, 5 + turn % 2)
        add_reference(dna, ReferenceStore(folder), dataset="cats", split="train", overwrite=True)
