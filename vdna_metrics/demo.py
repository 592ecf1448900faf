"""The demo: procedural images and held-out photographs scored against photographs, offline."""

from __future__ import annotations

from vdna_metrics.images.procedural import PROCEDURAL, PROCEDURAL_WORLDS
from vdna_metrics.leaderboard.record import Evidence, Leaderboard
from vdna_metrics.leaderboard.scoring import LeaderboardSettings, Start, score_leaderboard
from vdna_metrics.references.resolve import resolve, resolve_together

EXTRACTOR = "vdna_tiny"
REFERENCE = "photographs (BSDS500 train and val)"
PHOTOGRAPHS = "photographs (BSDS500 test)"
# Of the layers that both sets of photographs have in groups, so that every column has error bars.
GROUPS = tuple(
    f"bsds500/trainval@{EXTRACTOR}#{kind}"
    for kind in ("histogram", "gaussian", "layer_gaussian[blocks.0+blocks.2+blocks.4]")
)
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
    reference = resolve_together(GROUPS, name=REFERENCE)
    photographs = resolve("bsds500/test", name=PHOTOGRAPHS, extractors=[EXTRACTOR])
    worlds = [resolve(f"{PROCEDURAL}{world}/{n_images}", name=world.replace("_", " ")) for world in PROCEDURAL_WORLDS]
    return score_leaderboard(
        reference,
        [photographs, *worlds],
        [EXTRACTOR],
        settings=SETTINGS,
        title="Procedural images among photographs",
        command=f"vdna-metrics demo --images {n_images}",
        record={"references": list(GROUPS), **dict.fromkeys(("ranges", "neurons", "neuron_weights", "root"))},
        start=start,
    )
