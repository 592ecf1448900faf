"""`examples/own_network.py`: from a training loop to a report, with a network of one's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vdna_metrics import VDNAEarthMoversDistance, resolve
from vdna_metrics.leaderboard import load_leaderboard

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_two_processes_in_training_and_one_in_the_shell(
    launch: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference of two processes has the counts of one, and the shell finds the number of the loop."""
    example = EXAMPLES / "own_network.py"
    last = launch("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, example, tmp_path, "--small")
    in_the_loop = float(last.partition(": ")[2].removesuffix(" bins"))
    (score,) = load_leaderboard(tmp_path / "report" / "leaderboard.json").scores
    assert score.value == pytest.approx(in_the_loop, rel=1e-3)

    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = importlib.import_module("own_network")
    alone = VDNAEarthMoversDistance(module.network(), **module.INPUT)
    for batch in module.real_images(60).split(20):
        alone.update(batch, real=True)
    (dna,) = resolve(f"{tmp_path / 'store'}::photos/train").dnas
    dna.check_fingerprint(alone.fingerprint)
    assert torch.equal(dna.distribution.state, alone.dna(real=True).distribution.state)
