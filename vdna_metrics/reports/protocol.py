"""What the page says of a leaderboard's protocol."""

from __future__ import annotations

from typing import Any

from vdna_metrics.leaderboard.protocols import find_protocol, list_protocols
from vdna_metrics.leaderboard.record import Leaderboard


def protocol_context(leaderboard: Leaderboard) -> dict[str, Any] | None:
    """The protocol with what departs from it; ``None`` for a leaderboard without one."""
    record = leaderboard.protocol
    if record is None:
        return None
    known = find_protocol(record.name) if record.name in list_protocols() else None  # a newer version may have others
    return {
        "record": record,
        "measures": "" if known is None else known.measures,
        "lines": {} if known is None else known.lines(),
    }
