"""Options that commands share."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers.commands import process_environment, put_small_sources, run

from vdna_metrics import Distance, register_distance
from vdna_metrics.cli import app
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


# What is typed wrongly, and what is said of it.
WRONG = {
    "agreement": "Missing argument '[NAME=]TABLE...'",
    "agreement a.csv -o a.gif": "a picture ends in .png, .pdf, .svg",
    "calibrate a -o b --widen none --quantiles 0.1,0.9": "--widen is for extremes",
    "calibrate a -o b --quantiles 0.9,0.1": "expected two levels from 0 to 1",
    "compare a": "Missing argument 'SOURCE...'",
    "coverage": "Missing argument 'SOURCE'",
    "demo --images 1": "1 is not in the range",
    "desensitise a.csv --images b -o c": "Missing option '--attribute'",
    "extractors show": "Missing argument 'NAME'",
    "leaderboard": "no generators: give their images",
    "leaderboard a -o report": "Missing option '--reference'",
    "leaderboard a --reference b": "Missing option '-o' / '--output'",
    "leaderboard a --reference b -o c --groups x": "'x' is not a valid integer range",
    "leaderboard --replay missing.json": "there is no file missing.json",
    "leaderboard a --config missing.toml": "No such file or directory",
    "make a": "Missing option '-o' / '--output'",
    "make a -o b --bins 0": "0 is not in the range",
    "make a -o b --root c": "--root is for a dataset:NAME/SPLIT, got a",
    "make a -o b --kinds gaussian --bins 8": "--bins is for histograms",
    "merge -o a": "Missing argument 'FILE...'",
    "protocols show": "Missing argument 'NAME'",
    "rank a": "Missing option '--reference'",
    "rank a --reference b --contact-sheet c.png --top 0 --bottom 0": "--contact-sheet shows nothing",
    "references build a": "--name is needed",
    "references nothing": "No such command 'nothing'",
    "regions a b": "give one of --masks, --examples and --clusters, got none",
    "rank a --reference b --maps x.gif": "a picture ends in .png, .pdf, .svg",
    "score": "Missing argument 'SOURCE...'",
    "score a --reference b --refrence c": "No such option '--refrence'",
    "score a --reference b --neurons missing.npz": "there is no file missing.npz",
    "select a b -o c": "give one of --top, --threshold and --per-layer, got none",
}
# Of the other commands it lists every distance, which the registry knows.
HELP = ("", "agreement", "calibrate", "coverage", "demo", "extractors", "make", "merge", "protocols", "references")


def test_arguments_are_read_without_torch() -> None:
    """Errors in what is typed, and help, are told before torch or what draws is imported."""
    script = """if True:
        import contextlib, io, json, sys
        from vdna_metrics.cli import app

        class Refusing:
            def find_spec(self, name, *_):
                if name in ("matplotlib", "rich", "torch"):
                    raise AssertionError(f"{name} is imported")

        sys.meta_path.insert(0, Refusing())
        told = []
        for words in json.load(sys.stdin):
            output = io.StringIO()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                try:
                    app(words, prog_name="vdna-metrics")
                except SystemExit as end:
                    told.append([end.code, output.getvalue()])
        print(json.dumps(told))
    """
    commands = [words.split() for words in WRONG] + [[*command.split(), "--help"] for command in HELP]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(commands), env=process_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert len(told) == len(commands)
    for words, expected, (code, output) in zip(
        commands, [*WRONG.values(), *["Usage: "] * len(HELP)], told, strict=True
    ):
        assert code == (0 if words[-1] == "--help" else 2), (words, output)
        assert expected in " ".join(output.split()), (words, output)
    assert {words.split()[0] for words in WRONG} == set(app.list_commands(click.Context(app)))


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
