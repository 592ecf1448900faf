"""What tests of several metrics share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.metric_tester import NETWORK


@pytest.fixture
def forwards() -> Iterator[list[int]]:
    """How often the small network has run."""
    count = [0]
    handle = NETWORK.conv.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    yield count
    handle.remove()
