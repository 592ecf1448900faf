"""What a package exports: the names of its `__init__.pyi`, and for one release the new names of old ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lazy_loader

_RENAMED = {
    "vdna_metrics": {"DealtDNA": "vdna_metrics.GroupedDNA"},
    "vdna_metrics.analysis": {
        "DistanceName": "str, a name of vdna_metrics.list_distances()",
        "build_attribute_dnas": "build_dnas(partition=vdna_metrics.build.attributes(...))",
        "build_group_dnas": "build_dnas(partition=vdna_metrics.build.class_folders(...)) or labelled(...)",
    },
    "vdna_metrics.dna": {"DealtDNA": "vdna_metrics.GroupedDNA", "deal": "vdna_metrics.build.disjoint_groups"},
    "vdna_metrics.references": {
        "DNAFolder": "vdna_metrics.ImageSet",
        "DealtSet": "vdna_metrics.build.BuiltSet",
        "build_dealt_dnas": "vdna_metrics.build.build_set",
        "holds_dnas": "vdna_metrics.resolve",
        **{name: f"vdna_metrics.build.{name}" for name in ("Reading", "build_dnas", "calibrate")},
        **{
            name: f"vdna_metrics.images.{name}"
            for name in (
                "DatasetRecord", "ImageSource", "evenly_spaced", "list_datasets", "open_dataset", "open_images",
                "select_images",
            )
        },
    },
    "vdna_metrics.reports": {
        "BoardEntry": "vdna_metrics.ImageSet",
        "BoardSettings": "vdna_metrics.leaderboard.LeaderboardSettings",
        "board_csv": "vdna_metrics.reports.leaderboard_csv",
        "board_differences": "vdna_metrics.leaderboard.leaderboard_differences",
        "board_markdown": "vdna_metrics.reports.leaderboard_markdown",
        "board_profile": "vdna_metrics.reports.leaderboard_profile",
        "score_board": "vdna_metrics.leaderboard.score_leaderboard",
        **{name: f"vdna_metrics.leaderboard.{name}" for name in ("Evidence", "Leaderboard", "load_leaderboard")},
    },
}  # fmt: skip


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, whose names are imported when they are used.

    Raises:
        ImportError: by ``__getattr__``, for a name of version 0.1 that is called otherwise now.
    """
    lookup, directory, names = lazy_loader.attach_stub(package, file)

    def find(name: str) -> Any:
        new = _RENAMED.get(package, {}).get(name)
        if new is not None:  # an AttributeError would lose its text in `from package import name`
            raise ImportError(f"{package}.{name} of version 0.1 is now {new}")
        try:
            return lookup(name)
        except AttributeError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None

    return find, directory, names
