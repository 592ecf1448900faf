"""What commands found, for tables and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vdna_metrics.cli.screen import say

if TYPE_CHECKING:
    from vdna_metrics.dna import VDNA
    from vdna_metrics.neurons import NeuronWeights


def measured(
    metric: str,
    real: VDNA,
    fake: VDNA,
    by: str | None,
    unit: Any = "bins",
    allow_subsampled: bool = False,
    weights: NeuronWeights | None = None,
) -> dict[str, Any]:
    """``{metric: mean or weighted sum}`` and, where asked for, ``{metric_by_layer: {layer: distance}}``."""
    from vdna_metrics.dna import compare as distances

    def measure(reduction: Any) -> Any:
        if metric == "emd":
            return distances.emd(
                real, fake, weights=weights, unit=unit, reduction=reduction, allow_subsampled=allow_subsampled
            )
        if metric == "nfd":
            return distances.neuron_frechet(real, fake, weights=weights, reduction=reduction)
        return distances.layer_frechet(real, fake, weights=weights, reduction=reduction)

    found: dict[str, Any] = {metric: float(measure("mean"))}
    if by is not None:
        parts = measure("layer" if by == "layer" else "none")
        found[f"{metric}_by_{by}"] = {layer: value.tolist() for layer, value in parts.items()}
    return found


def seen_by(neurons: str | None, weights: str | None) -> str:
    """Which neurons, and weighed how, for a title."""
    return f", neurons of {neurons}" * (neurons is not None) + f", weighed by {weights}" * (weights is not None)


def collect_notes(notes: dict[str, list[str]], name: str, dna: VDNA) -> None:
    """Collect what a reader of the numbers should know, each sentence once with all it is true of."""
    from vdna_metrics.dna.compare import coverage_warning, rank_warning

    note_each(notes, name, filter(None, (coverage_warning(dna), rank_warning(dna))))


def note_each(notes: dict[str, list[str]], name: str, sentences: Iterable[str]) -> None:
    """Collect sentences that are true of something."""
    for sentence in sentences:
        if name not in notes.setdefault(sentence, []):
            notes[sentence].append(name)


def say_warnings(notes: dict[str, list[str]]) -> list[str]:
    """The sentences that were said."""
    sentences = [f"{', '.join(names)}: {sentence}" for sentence, names in notes.items()]
    for sentence in sentences:
        say(f"warning: {sentence}")
    return sentences


def report_skipped(dna: VDNA) -> None:
    """A line for each image that was left out."""
    for name, reason in dna.provenance.skipped:
        say(f"skipped: {', '.join(dna.provenance.sources)}: {name}: {reason}")


def described(dna: VDNA) -> dict[str, Any]:
    """A DNA without its numbers, for JSON."""
    return {
        "kind": dna.kind,
        "n_images": dna.n_images,
        "neurons": dna.layout.total,
        "fingerprint": dna.fingerprint.digest,
        **dna.provenance.to_json(),
    }
