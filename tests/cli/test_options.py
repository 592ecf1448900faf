"""Options that commands share."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers.commands import process_environment, put_small_sources, run

from vdna_metrics import Distance, register_distance
from vdna_metrics.cli.options import NetworkOptions, RunningOptions, nested, takes
from vdna_metrics.cli.settings import NO_NETWORK
from vdna_metrics.dna import distances


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b"])
def test_parts_that_are_none_are_refused(part: str) -> None:
    """A part is one of N, counted from 1."""
    errors = run("make", "real", "-o", "x", "--shard", part, exit_code=2).stderr
    assert f"{part!r}: expected I/N with 1 <= I <= N" in errors


def test_a_block_is_one_value() -> None:
    """A command is handed a block's options, and those of a block inside it, as one value, in the fields' order."""

    @dataclass(frozen=True)
    class Outer:
        network: NetworkOptions = nested(NetworkOptions, "the tests', else ")

    got: list[object] = []

    @click.command()
    @click.option("--first")
    @takes("outer", Outer)
    @click.option("--last")
    def command(first: str, outer: Outer, last: str) -> None:
        got.extend([first, outer.network, last])

    words = ["--layers", "a,b", "--compile", "--first", "1", "--last", "2", "--precision", "bf16"]
    assert CliRunner().invoke(command, words).exit_code == 0
    assert got == [
        "1",
        NetworkOptions(None, (), ("a", "b"), replace(NO_NETWORK.running, precision="bf16", compile=True)),
        "2",
    ]
    shown = CliRunner().invoke(command, ["--help"]).output
    places = [
        shown.index(flag) for flag in ("--first", "--extractor", "--layers", "--precision", "--compile", "--last")
    ]
    assert places == sorted(places)
    assert "[default: the tests', else mugs_vit_base]" in " ".join(shown.split())


def test_two_blocks_keep_apart() -> None:
    """Each block gets its own options."""

    @dataclass(frozen=True)
    class Other:
        number: int = field(metadata={"flags": ["--number"], "attributes": {"type": int, "help": "A number."}})

    got: list[object] = []

    @click.command()
    @takes("other", Other)
    @takes("running", RunningOptions)
    def command(running: RunningOptions, other: Other) -> None:
        got.extend([running, other])

    assert CliRunner().invoke(command, ["--number", "3"]).exit_code == 0
    assert got == [NO_NETWORK.running, Other(3)]


def test_help_tells_of_a_distance_that_was_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help reads the registry when it is shown."""
    monkeypatch.setattr(distances, "_REGISTRY", dict(distances._REGISTRY))
    register_distance(Distance("toy", "toy distance", "A toy.", "gaussian", lambda *_: {}, per="layer"))
    for command in ("score", "compare", "rank", "desensitise"):
        assert "toy: toy distance, mean over layers" in " ".join(run(command, "--help").stdout.split())


def test_the_list_of_commands_needs_no_torch() -> None:
    """`vdna-metrics --help` imports neither torch nor what draws."""
    script = (
        "import sys, vdna_metrics.cli; vdna_metrics.cli.app(['--help'], standalone_mode=False); "
        "print(sorted({'torch', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=process_environment(), capture_output=True, text=True)
    assert done.stdout.startswith("Usage:")
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("--size", "224", "expected pixels"),
        ("--size", "0", "expected pixels, 224 or 128x256 (height x width)"),
        ("--size", "1x2x3", "expected pixels"),
        ("--mean", "a", "expected a number, or three with commas between"),
        ("--std", "1,2", "expected a number, or three with commas between"),
    ],
)
def test_how_images_come_in_is_typed(option: str, text: str, expected: str) -> None:
    """Sizes are one number or height x width, channels one number or three; others are refused with both sides."""
    words = ("make", "real", "-o", "x", "--extractor", "tiny", option, text)
    if text == "224":
        assert "size, mean, std and preprocessing are for modules, 'tiny'" in run(*words, exit_code=1).stderr
    else:
        errors = " ".join(run(*words, exit_code=2).stderr.split())
        assert repr(text) in errors
        assert expected in errors
