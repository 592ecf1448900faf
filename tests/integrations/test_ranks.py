"""The command line under torchrun, with two ranks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import stopped_at_work

from vdna_metrics.files import read_header

ROOT = Path(__file__).parents[2]
ALONE = [sys.executable, "-m", "vdna_metrics"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
RANKS = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "vdna_metrics"]

pytestmark = pytest.mark.slow


def _start(*command: str, **streams: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(command, env=environment, **streams)


def _finished(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=600)
    return process.returncode, output.decode(), errors.decode()


def _two_nodes() -> list[str]:
    """What to start on each of two machines, here twice on this one."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        first = f"localhost:{probe.getsockname()[1]}"
    nodes = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", first]
    return [*TORCHRUN, *nodes, "--local-addr", "localhost", "-m", "vdna_metrics"]


def test_nodes_score_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes share the images of every source and of the reference; rank 0 alone prints the scores of one process."""
    monkeypatch.chdir(tmp_path)
    stream = np.random.default_rng(0)
    for name, n, brightest in (("real", 11, 256), ("fake", 7, 128)):
        np.save(f"{name}.npy", stream.integers(0, brightest, (n, 32, 32, 3), np.uint8))
    score = ("score", "fake.npy", "--reference", "real.npy", "--extractor", "seeded_resnet18", "--layers", "layer1_0")
    score += ("--metrics", "emd,nfd,lfd", "--batch-size", "2", "--workers", "0", "--json")
    launcher, printed = _two_nodes(), []
    for process in [_start(*command, *score) for command in (ALONE, launcher, launcher)]:
        code, output, errors = _finished(process)
        assert code == 0, errors
        printed.append(output)
    assert "" in printed[1:]
    alone, ranks = (json.loads(output)["results"][0] for output in filter(None, printed))
    assert ranks["emd"] == alone["emd"]
    for metric in ("nfd", "lfd"):
        assert ranks.pop(metric) == pytest.approx(alone.pop(metric), rel=1e-7)
    assert ranks == alone


def test_ranks_that_are_told_to_stop_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM to torchrun leaves what every rank did, and no result; the same command goes on to that of one."""
    pytest.importorskip("pty", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    np.save("many.npy", np.random.default_rng(0).integers(0, 256, (160, 48, 48, 3), np.uint8))
    make = ("make", "many.npy", "--extractor", "seeded_resnet18", "--layers", "layer1_0")
    make += ("--batch-size", "2", "--workers", "0")
    alone = _start(*ALONE, *make, "-o", "alone")
    code, seen = stopped_at_work(
        lambda terminal: _start(*RANKS, *make, "-o", "ranks", stderr=terminal), signal.SIGTERM, timeout=600
    )
    assert code != 0
    assert b"what was done is kept in ranks.checkpoint" in seen
    assert not Path("ranks.npz").exists()
    kept = sorted(Path("ranks.checkpoint").iterdir())
    assert [path.name.partition("-")[2] for path in kept] == ["1-of-2.npz", "2-of-2.npz"]
    done = [read_header(path)["values"]["count"] for path in kept]
    assert min(done) > 0
    assert sum(done) < 160

    code, output, errors = _finished(_start(*RANKS, *make, "-o", "ranks"))
    assert code == 0, errors
    assert "of 160 images" in output
    assert not Path("ranks.checkpoint").exists()
    assert alone.communicate(timeout=600)[0].decode() == output.replace("ranks.npz", "alone.npz")
    assert Path("ranks.npz").read_bytes() == Path("alone.npz").read_bytes()
