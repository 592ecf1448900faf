"""What a leaderboard says of features and classes: fidelity and diversity, copies, and the distance of each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from vdna_metrics.analysis.features import Features, find_copies, measure_fidelity
from vdna_metrics.analysis.matrices import compare_groups
from vdna_metrics.dna.columns import Column
from vdna_metrics.layout import near_names
from vdna_metrics.leaderboard.record import ClassRecord, CopyRecord, FidelityRecord
from vdna_metrics.leaderboard.sets import SetDNAs


def fidelity_and_copies(
    generator: str, network: str, real: Features, fake: Features, *, seed: int, device: torch.device | str
) -> tuple[FidelityRecord, CopyRecord]:
    """Fidelity and diversity, and suspected copies, of one generator.

    Raises:
        ValueError: for too few images.
    """
    layer = ", ".join(real.fingerprint.paths) if real.fingerprint is not None else ""
    found = measure_fidelity(real, fake, seed=seed, device=device).to_json()
    copies = find_copies(fake, real, device=device)
    suspects = tuple((match.image, match.reference, match.ratio) for match in copies.suspects)
    return (
        FidelityRecord(generator, network, layer, found["values"], found["settings"]),
        CopyRecord(generator, network, suspects, len(copies.matches), copies.threshold, copies.false_alarms),
    )


def class_records(
    generator: str, network: str, columns: Sequence[Column], real: SetDNAs, fake: SetDNAs
) -> Iterator[ClassRecord]:
    """The value of each class of a generator against the same class of the reference, where both have classes.

    Raises:
        ValueError: for a class that the reference does not have.
    """
    for column in columns:
        if column.kind not in fake.classes or column.kind not in real.classes:
            continue
        classes, own = fake.classes[column.kind], real.classes[column.kind]
        for label in classes:
            if label not in own:
                raise ValueError(
                    f"{generator}: class {label!r} is not in the reference; {near_names(label, list(own))}"
                )
        for group in compare_groups(classes, own, distance=column).groups:
            yield ClassRecord(generator, network, column.name, group.group, group.n_images, group.distance)
