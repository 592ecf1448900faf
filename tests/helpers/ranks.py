"""Processes that know of each other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def run_ranks(script: str, tests: Path, number: int = 2) -> list[str]:
    """What each of so many processes prints.

    Args:
        script: Python that each runs; ``sys.argv[1]`` is the folder of tests.
        tests: this folder, from which modules are imported.
        number: of processes.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join(map(str, (tests.parents[1], tests.parent)))
    rendezvous = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tests)],
            env={**os.environ, **rendezvous, "WORLD_SIZE": str(number), "RANK": str(rank), "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    ended = [(*rank.communicate(timeout=600), rank.returncode) for rank in ranks]
    for _, errors, code in ended:
        assert code == 0, errors
    return [output for output, *_ in ended]
