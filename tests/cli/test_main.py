"""All commands: help, exit codes, and what a process prints where."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers.commands import process_environment, put_small_sources, run, start

from vdna_metrics.cli import app

COMMANDS = (
    "agreement", "demo", "score", "leaderboard", "make", "compare", "merge", "calibrate", "coverage", "select",
    "desensitise", "rank", "references", "regions", "extractors", "protocols",
)  # fmt: skip
REFERENCES = ("list", "show", "verify", "build", "import", "export", "publish", "normalise")


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scroe"], "No such command 'scroe'"),
        (["score", "gen_a"], "Missing option '--reference'"),
        (["score", "--reference", "real"], "Missing argument 'SOURCE...'"),
        (
            ["score", "gen_a", "--reference", "real", "--metrics", "emd,fidd"],
            "unknown distance 'fidd'; did you mean 'fid'",
        ),
        (
            ["score", "gen_a", "--reference", "real", "--metrics", "emd,fid", "--neurons", __file__],
            "--neurons is of one network, got mugs_vit_base, fid_inception",
        ),
        (
            ["score", "gen_a", "--reference", "real", "--extractor", "tiny", "--weights", "fid_inception=w.pth"],
            "--weights fid_inception=w.pth: nothing is measured in fid_inception here",
        ),
        (
            ["leaderboard", "gen_a", "--reference", "real", "-o", "a", "--metrics", "fid", "--weights", "w.pth"],
            "--weights w.pth: say of which network, fid_inception=FILE for example",
        ),
        (["score", "gen_a", "--reference", "real", "--layers", ","], "expected names with commas between"),
        (["score", "gen_a", "--reference", "real", "--batch-size", "0"], "0 is not in the range x>=1"),
        (["score", "gen_a", "--reference", "real", "--bins", "-5"], "-5 is not in the range x>=1"),
        (["score", "gen_a", "--reference", "real", "--metrics", "nfd", "--bins", "9"], "--bins is for histograms"),
        (["score", "gen_a", "--reference", "real", "--by", "image"], "'image' is not"),
        (["score", "gen_a", "--reference", "real", "--device", "gpu"], "Invalid value for --device: gpu"),
        (["make", "real"], "Missing option '-o'"),
        (["make", "real", "-o", "a", "--kinds", "histogramm"], "'histogramm': choose from histogram, gaussian"),
        (["make", "real", "-o", "a", "--kinds", "gaussian", "--ranges", "r.npz"], "--ranges is for histograms"),
        (["calibrate", "real", "-o", "a", "--workers", "-1"], "-1 is not in the range x>=0"),
        (["demo", "--images", "1"], "1 is not in the range x>=10"),
    ],
)
def test_errors_in_the_command_are_exit_code_2(arguments: list[str], message: str) -> None:
    """A command that cannot be understood is answered with its usage and what is wrong."""
    result = run(*arguments, exit_code=2)
    assert message in result.stderr
    assert "Usage: vdna-metrics" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal(command: str) -> None:
    """Help is at most 80 columns wide, and no summary is cut."""
    shown = run(*([command] if command else []), "--help", columns=80).stdout
    assert max(map(len, shown.splitlines())) <= 80
    summaries = shown.partition("Commands:\n")[2].splitlines()
    listed = {"": sorted(COMMANDS), "extractors": ["show"], "protocols": ["show"], "references": sorted(REFERENCES)}
    assert [summary.split()[0] for summary in summaries] == listed.get(command, [])
    assert all(summary.endswith(".") and not summary.endswith("..") for summary in summaries)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_summary_is_the_first_sentence_of_a_commands_help(command: str) -> None:
    """What the list of commands says, without loading them, is what each says of itself."""
    listed = run("--help", columns=120).stdout.partition("Commands:\n")[2].splitlines()
    summary = next(line.split(maxsplit=1)[1] for line in listed if line.split()[0] == command)
    shown = run(command, "--help", columns=120).stdout.splitlines()
    assert shown[2].strip() == summary


def test_an_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell, without a traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vdna_metrics.cli.settings.build_dnas", interrupt)
    result = run("make", "real", "-o", "a", "--kinds", "gaussian", "--extractor", "tiny", exit_code=130)
    assert result.stderr.strip() == "interrupted"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DataLoader worker is killed"), OSError("disk full")])
def test_what_goes_wrong_on_the_way_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gives up is an error of exit code 1, named even where it has no message."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vdna_metrics.cli.settings.build_dnas", fail)
    result = run("make", "real", "-o", "a", "--kinds", "gaussian", "--extractor", "tiny", exit_code=1)
    assert result.stderr == f"Error: {str(error) or 'MemoryError'}\n"


def test_what_should_not_happen_is_two_lines_and_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fault of ours ends in exit code 1, what it was, and the name of a file with the traceback, not in one."""

    def fail(*_: object, **__: object) -> None:
        raise KeyError("not\x1b[2J\udcffthere")

    monkeypatch.setattr("vdna_metrics.cli.dnas.load_merged", fail)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    result = run("merge", "a.npz", "-o", "b.npz", exit_code=1)
    first, second = result.stderr.splitlines()
    assert first == r"Error: KeyError: 'not\x1b[2J\udcffthere'"
    assert second.startswith("This should not happen. Please report it with ")
    saved = Path(second.rpartition(" ")[2])
    assert saved.parent == tmp_path
    assert "in fail" in saved.read_text()


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="file names are text there")
def test_names_that_are_no_text_end_no_command() -> None:
    """Bytes, control characters and formulas in names of files come out as text in all that is printed and written."""
    folders = [os.fsdecode(name) for name in (b"gen\xff\x1b[31m", b"=cmd|x", b"two\nlines")]
    for folder in folders:
        shutil.copytree("gen_a", folder)
        next(Path(folder).rglob("*.png")).rename(Path(folder, os.fsdecode(b"\x1b]0;owned\x07\xfd.png")))

    def output(encoding: str, *arguments: str) -> str:
        command = [sys.executable, "-m", "vdna_metrics", *arguments]
        environment = {**process_environment(), "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return (done.stdout + done.stderr).decode()

    made = output("utf-8:strict", "make", f"./{folders[0]}", "-o", "a.npz", "--extractor", "vdna_tiny", "--json")
    assert json.JSONDecoder().raw_decode(made)[0][0]["sources"] == [folders[0]]
    given = [f"./{folder}" for folder in folders]
    how = ["--extractors", "vdna_tiny", "--metrics", "nfd", "--groups", "2", "--pictures", "2", "-o", "report"]
    shown = output("ascii:strict", "leaderboard", *given, "--reference", "real", *how)
    csv, markdown, record = (Path("report", f"leaderboard.{kind}").read_text("utf-8") for kind in ("csv", "md", "json"))
    page = Path("report/index.html").read_text("utf-8")
    assert "\x1b" not in "".join([made, shown, csv, markdown, record, page])
    assert "vdna_tiny,nfd,'=cmd|x," in csv
    assert [entry["name"] for entry in json.loads(record)["generators"]] == folders


@pytest.mark.parametrize(
    ("words", "message", "expected"),
    [
        ("references import", "a.npz: give n_images=", "a.npz: give --images"),
        ("references import", "give format=, or mode= ('clean')", "give --format, or --mode ('clean')"),
        ("score", "or give allow_subsampled=True for an estimate", "or give --allow-subsampled for an estimate"),
        ("score", "raise the limit: Reading(memory_limit=bytes), or", "raise the limit: --memory-limit, or"),
        ("score", "cut.png; skip_bad=True (--skip-bad) leaves it out", "cut.png; --skip-bad leaves it out"),
        ("make", "name it with weights_path=... (command line: --weights FILE)", "name it with --weights"),
        ("select", "k=9 neurons of 8", "--top 9 neurons of 8"),
        ("make", "give n_images=3, or", "give n_images=3, or"),
        ("merge", "DNA.select(layers=) chooses", "DNA.select(layers=) chooses"),
        ("rank", "take unit='activation', or other layers", "take --unit activation, or other layers"),
    ],
)
def test_errors_name_options(words: str, message: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyword of the library is told as the option of the command that has it; others are left alone."""

    def fail(*_: object) -> None:
        raise ValueError(message)

    command, *rest = words.split()
    found = app.get_command(click.Context(app), command)
    for name in rest:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    assert found is not None
    monkeypatch.setattr(found, "invoke", fail)
    monkeypatch.setattr(found, "make_context", lambda *_, **__: click.Context(found))
    assert CliRunner().invoke(app, words.split()).stderr == f"Error: {expected}\n"


def test_a_command_that_fails_leaves_no_folder() -> None:
    """What is refused, or cannot be read, leaves neither an empty folder nor an empty store."""
    before = sorted(os.listdir())
    Path("broken").mkdir()
    Path("broken/a.png").write_bytes(b"")
    tiny = ("--extractor", "tiny")
    for words in (
        ("leaderboard", "nowhere", "--reference", "real", "-o", "report/deep", "--extractors", "tiny"),
        ("leaderboard", "gen_a", "--reference", "broken", "-o", "report", "--extractors", "tiny", "--groups", 2),
        ("references", "build", "broken", "--name", "a/b", "--store", "store", "--kinds", "gaussian", *tiny),
        ("make", "broken", "-o", "a", *tiny, "--kinds", "gaussian"),
        ("score", "gen_a", "--reference", "broken", "--checkpoint", "kept", "--metrics", "nfd", *tiny),
    ):
        run(*words, exit_code=1)
    assert sorted(os.listdir()) == sorted([*before, "broken"])


def test_a_process_keeps_output_and_errors_apart() -> None:
    """Output is JSON and nothing else, with decoding in workers; progress goes to the error stream."""
    arguments = ("score", "gen_a", "--reference", "bsds500/trainval@vdna_tiny", "--layers", "blocks.0", "--json")
    process = start(*arguments, "--workers", "2", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0
    assert json.loads(output)["results"][0]["n_images"] == 8
    first, second, *warnings = errors.decode().splitlines()
    assert re.fullmatch(r"gen_a: 8 images, [\d.]+ images/s", first)
    assert second == "read bsds500/trainval@vdna_tiny: histogram of 300 images through vdna_tiny"
    assert all(line.startswith("warning: gen_a: ") for line in warnings)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["merge", "nothing.npz", "-o", "a"], 1, "Error: no such file: nothing.npz\n"),
        (["merge"], 2, "Missing argument"),
    ],
)
def test_a_process_ends_with_its_exit_code(arguments: list[str], exit_code: int, message: str) -> None:
    """1 for an error with the data, 2 for one in the command, both without a traceback."""
    process = start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=600)
    assert (process.returncode, output) == (exit_code, b"")
    assert message in errors.decode()
    assert "Traceback" not in errors.decode()


@pytest.mark.parametrize("text", ["images=0", "images=-1", "images=1e9", "images=" + "1" * 30, "images", "cats=3"])
def test_limits_are_refused_before_the_work(text: str) -> None:
    """What the library would not take as a limit is an error of the command, which shows what limits there are."""
    error = run("--limit", text, "extractors", exit_code=2).stderr
    assert "expected NAME=N, with N from 1 and of at most 19 digits, of array_bytes (671088640)" in error
