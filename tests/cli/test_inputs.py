"""What commands make of their options: devices and ranks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import process_environment, put_small_sources, run, start, stopped_at_work


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_an_error_in_the_command() -> None:
    """`--device cuda` without CUDA says so, before the work."""
    result = run("make", "real", "-o", "a", "--extractor", "tiny", "--device", "cuda", exit_code=2)
    assert re.search("Invalid value for --device: cuda: .*(CUDA|NVIDIA)", result.stderr)


def test_memory_is_limited() -> None:
    """`--memory-limit` in GB refuses what takes more, before the work, with what takes how much."""
    words = ("make", "real", "-o", "x", "--extractor", "seeded_resnet18")
    error = run(*words, "--memory-limit", "0.001", exit_code=1).stderr
    assert "expected at most 1 MB of memory (memory_limit), got " in error
    assert not Path("x.npz").exists()


def test_an_interrupted_command_goes_on() -> None:
    """A terminal sees a bar with images a second; Ctrl-C ends the process soon, with 130; the same command goes on."""
    np.save("many.npy", np.zeros((160, 64, 64, 3), np.uint8))
    before = sorted(os.listdir())
    pytest.importorskip("pty", exc_type=ImportError)
    arguments = ("make", "many.npy", "-o", "many", "--extractor", "seeded_resnet18", "--layers", "layer1_0")
    arguments += ("--batch-size", "2")
    code, seen = stopped_at_work(
        lambda terminal: start(*arguments, stdout=subprocess.PIPE, stderr=terminal), signal.SIGINT, timeout=600
    )
    assert code == 130
    assert b"interrupted" in seen
    assert b"Traceback" not in seen
    assert b"what was done is kept in many.checkpoint" in seen
    assert sorted(os.listdir()) == sorted([*before, "many.checkpoint"])
    again = start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = again.communicate(timeout=600)
    assert b"of 160 images" in output, errors
    assert sorted(os.listdir()) == sorted([*before, "many.npz"])


@pytest.mark.slow
def test_ranks_make_the_file_of_one_process() -> None:
    """Under torchrun ranks share the images, and rank 0 alone prints and writes: the very file of one process."""
    shared = ("gen_a", "--extractor", "seeded_resnet18", "--layers", "layer1_0", "--workers", "0")
    shared += ("--batch-size", "3")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "vdna_metrics"]
    alone = start("make", *shared, "-o", "one", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ranks = subprocess.run(
        [*launch, "make", *shared, "-o", "two"], env=process_environment(), capture_output=True, timeout=600
    )
    assert ranks.returncode == 0, ranks.stderr.decode()
    assert alone.communicate(timeout=600)[0].replace(b"one.npz", b"two.npz") == ranks.stdout
    assert Path("one.npz").read_bytes() == Path("two.npz").read_bytes()
