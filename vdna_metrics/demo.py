"""The demo: procedural images and held-out photographs scored against photographs, offline."""

from __future__ import annotations

from dataclasses import replace

from vdna_metrics.images.procedural import PROCEDURAL, PROCEDURAL_WORLDS, open_procedural
from vdna_metrics.leaderboard.record import Evidence, Leaderboard
from vdna_metrics.leaderboard.scoring import score_leaderboard
from vdna_metrics.leaderboard.sets import ImageSet, Start
from vdna_metrics.leaderboard.settings import LeaderboardSettings
from vdna_metrics.references.store import groups_folder

EXTRACTOR = "vdna_tiny"
REFERENCE = "photographs (BSDS500 train and val)"
PHOTOGRAPHS = "photographs (BSDS500 test)"
SETTINGS = LeaderboardSettings(fidelity=False, pictures=40)


def run_demo(n_images: int = 100, *, start: Start | None = None) -> tuple[Leaderboard, Evidence]:
    """Score held-out photographs and every procedural world against photographs.

    The photographs are DNAs of groups that come with the package, so there are intervals and a floor without them.

    Args:
        n_images: images of each world.
        start: as in `score_leaderboard`.

    Raises:
        ValueError: for fewer images than groups.
    """
    reference, photographs = (
        replace(ImageSet.open(name, groups_folder("bsds500", split, EXTRACTOR)), source=f"bsds500/{split}")
        for name, split in ((REFERENCE, "trainval"), (PHOTOGRAPHS, "test"))
    )
    sources = {world.replace("_", " "): f"{world}/{n_images}" for world in PROCEDURAL_WORLDS}
    worlds = [ImageSet(name, f"{PROCEDURAL}{source}", open_procedural(source)) for name, source in sources.items()]
    return score_leaderboard(
        reference,
        [photographs, *worlds],
        [EXTRACTOR],
        settings=SETTINGS,
        title="Procedural images among photographs",
        command=f"vdna-metrics demo --images {n_images}",
        record={"references": [reference.source], **dict.fromkeys(("ranges", "neurons", "neuron_weights", "root"))},
        start=start,
    )
