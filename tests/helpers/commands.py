"""Commands of the command line, run in this process on small images and networks."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers.image_files import encode
from torch import nn

from vdna_metrics import ExtractorSpec
from vdna_metrics.cli import app
from vdna_metrics.extractors.architectures import ARCHITECTURES
from vdna_metrics.extractors.catalogue import CATALOGUE

CHECKOUT = Path(__file__).parents[2]
READING = (
    "build", "calibrate", "compare", "coverage", "desensitise", "leaderboard", "make", "rank", "regions", "score",
    "select",
)  # fmt: skip


def _tiny_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 5, 3))


def small_images(n: int, seed: int) -> np.ndarray:
    """Smooth images, each of its own colour, so that activations differ between images and within them."""
    stream = np.random.default_rng(seed)
    colours = stream.uniform(0, 255, (n, 1, 1, 3))
    slopes = stream.normal(0, 4, (n, 1, 1, 3)) * np.arange(20)[None, :, None, None]
    return np.clip(colours + slopes + stream.normal(0, 10, (n, 20, 20, 3)), 0, 255).astype(np.uint8)


def write_folder(folder: Path, images: np.ndarray) -> None:
    """One PNG an image."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        (folder / f"{i:03}.png").write_bytes(encode(image))


def put_small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks `tiny` and `other`, which cost next to nothing."""
    monkeypatch.setitem(ARCHITECTURES, "tiny_network", _tiny_network)
    for seed, name in enumerate(("tiny", "other")):
        spec = ExtractorSpec(
            name, "tiny_network", {"first": "0", "second": "2"}, 16, 0.5, 0.5, weights=f"seeded:{seed}"
        )
        monkeypatch.setitem(CATALOGUE, name, spec)


def put_small_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with images in it, and the small networks."""
    monkeypatch.chdir(tmp_path)
    put_small_networks(monkeypatch)
    write_folder(tmp_path / "real", small_images(12, 0))
    write_folder(tmp_path / "gen_a" / "inner", small_images(8, 1))
    with zipfile.ZipFile("gen_b.zip", "w") as archive:
        for i, image in enumerate(small_images(6, 2)):
            archive.writestr(f"{i}.png", encode(image))
    np.savez("gen_c.npz", small_images(7, 3))


def run(*arguments: object, exit_code: int = 0, columns: int | None = None) -> Result:
    """Run a command in this process, with output and errors apart, and decoding in this process too."""
    words = [str(argument) for argument in arguments]
    place = 2 if words[0] == "references" else 1
    if words[place - 1] in READING:
        words[place:place] = ["--workers", "0"]
    # click 8.2 always keeps the two streams apart, click 8.1 has to be asked.
    apart: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    environment = {"COLUMNS": None if columns is None else str(columns)}
    result = CliRunner(**apart).invoke(app, words, env=environment, prog_name="vdna-metrics")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.stderr
    return result


def run_json(*arguments: object) -> Any:
    """What a command prints with `--json`."""
    return json.loads(run(*arguments, "--json").stdout)


def process_environment() -> dict[str, str]:
    """The environment of a process of its own that imports this checkout."""
    path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def start(*arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "vdna_metrics", *arguments], env=process_environment(), **streams)


def stopped_at_work(
    start: Callable[[int], subprocess.Popen[bytes]], number: signal.Signals, *, timeout: float
) -> tuple[int, bytes]:
    """Send a signal to a process when its bar shows images a second.

    Args:
        start: starts the process with a terminal, given by its number, as error stream, and its output in a pipe.
        number: the signal.
        timeout: seconds that it may take to end.

    Returns:
        Its exit code, and what the terminal saw. There must be no output.
    """
    import pty

    controller, terminal = pty.openpty()
    process = start(terminal)
    os.close(terminal)
    seen = b""
    while b" images/s" not in seen:
        part = os.read(controller, 4096)
        assert part, seen
        seen += part
    process.send_signal(number)
    with contextlib.suppress(OSError):  # which ends a pseudo-terminal on Linux
        while part := os.read(controller, 4096):
            seen += part
    assert process.communicate(timeout=timeout)[0] == b""
    os.close(controller)
    return process.returncode, seen
