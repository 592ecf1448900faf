"""The demo: procedural images and held-out photographs scored against photographs, offline."""

from __future__ import annotations

from dataclasses import replace

from vdna_metrics.references.procedural import PROCEDURAL, PROCEDURAL_WORLDS, open_procedural
from vdna_metrics.references.store import groups_folder
from vdna_metrics.reports.board import Evidence, Leaderboard
from vdna_metrics.reports.leaderboard import BoardEntry, BoardSettings, Start, score_board

EXTRACTOR = "vdna_tiny"
REFERENCE = "photographs (BSDS500 train and val)"
PHOTOGRAPHS = "photographs (BSDS500 test)"
SETTINGS = BoardSettings(fidelity=False, pictures=40)


def run_demo(n_images: int = 100, *, start: Start | None = None) -> tuple[Leaderboard, Evidence]:
    """Score held-out photographs and every procedural world against photographs.

    The photographs are DNAs of groups that come with the package, so there are intervals and a floor without them.

    Args:
        n_images: images of each world.
        start: as in `score_board`.

    Raises:
        ValueError: for fewer images than groups.
    """
    reference, photographs = (
        replace(BoardEntry.open(name, groups_folder("bsds500", split, EXTRACTOR)), source=f"bsds500/{split}")
        for name, split in ((REFERENCE, "trainval"), (PHOTOGRAPHS, "test"))
    )
    sources = {world.replace("_", " "): f"{world}/{n_images}" for world in PROCEDURAL_WORLDS}
    worlds = [BoardEntry(name, f"{PROCEDURAL}{source}", open_procedural(source)) for name, source in sources.items()]
    return score_board(
        reference,
        [photographs, *worlds],
        [EXTRACTOR],
        settings=SETTINGS,
        title="Procedural images among photographs",
        command=f"vdna-metrics demo --images {n_images}",
        record={"references": [reference.source], **dict.fromkeys(("ranges", "neurons", "neuron_weights", "root"))},
        start=start,
    )
