"""The demo: procedural images and held-out photographs scored against photographs, offline."""

from __future__ import annotations

from vdna_metrics.dna.columns import COLUMN_GROUPS
from vdna_metrics.images.procedural import PROCEDURAL, PROCEDURAL_WORLDS
from vdna_metrics.leaderboard.plan import LeaderboardPlan, make_leaderboard
from vdna_metrics.leaderboard.record import Evidence, Leaderboard
from vdna_metrics.leaderboard.sets import Start
from vdna_metrics.leaderboard.settings import LeaderboardSettings

EXTRACTOR = "vdna_tiny"
REFERENCE = "photographs (BSDS500 train and val)"
PHOTOGRAPHS = "photographs (BSDS500 test)"
LFD = "lfd[blocks.0+blocks.2+blocks.4]"
"""Layer Fréchet distance in the layers that the photographs have in groups, so that it has error bars."""

OF_FEATURES = ("kid", "mind", *COLUMN_GROUPS["prdc"], "vendi")
SETTINGS = LeaderboardSettings(("emd", "nfd", LFD, *OF_FEATURES), fidelity=False, pictures=40)


def run_demo(n_images: int = 100, *, start: Start | None = None) -> tuple[Leaderboard, Evidence]:
    """Score held-out photographs and every procedural world against photographs.

    The photographs are DNAs of groups that come with the package, so there are intervals and a floor without them.

    Args:
        n_images: images of each world.
        start: as in `score_leaderboard`.

    Raises:
        ValueError: for fewer images than groups.
    """
    worlds = ((world.replace("_", " "), f"{PROCEDURAL}{world}/{n_images}") for world in PROCEDURAL_WORLDS)
    plan = LeaderboardPlan(
        references=(f"bsds500/trainval@{EXTRACTOR}",),
        generators=((PHOTOGRAPHS, f"bsds500/test@{EXTRACTOR}"), *worlds),
        extractors=(EXTRACTOR,),
        settings=SETTINGS,
        name=REFERENCE,
    )
    return make_leaderboard(
        plan, title="Procedural images among photographs", command=f"vdna-metrics demo --images {n_images}", start=start
    )
