"""Options of commands with values that somebody mistyped, or made up."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from helpers.commands import put_small_sources, run
from helpers.fuzzing import OUTCOMES, bounded, fuzzed
from hypothesis import given, strategies as st

from vdna_metrics.cli import app

_TINY = ("--extractor", "tiny")
GIVEN: dict[str, tuple[str, ...]] = {
    "agreement": ("people.csv",),
    "score": ("gen_a", "--reference", "real", *_TINY),
    "leaderboard": (
        "gen_a",
        "--reference",
        "real",
        "--extractors",
        "tiny",
        "--groups",
        "2",
        "--pictures",
        "0",
        "-o",
        "out",
    ),
    "make": ("real", "-o", "out", *_TINY),
    "compare": ("real.npz", "gen.npz"),
    "merge": ("real.npz", "gen.npz", "-o", "out"),
    "calibrate": ("real", "-o", "out", *_TINY),
    "coverage": ("real.npz",),
    "select": ("real.npz", "gen.npz", "--top", "2", "-o", "out"),
    "desensitise": ("table.csv", "--images", "real", "--attribute", "red", "-o", "out", *_TINY),
    "rank": ("gen_a", "--reference", "real.npz"),
    "references list": (),
    "references show": ("bsds500/test@vdna_tiny#gaussian",),
    "references build": ("real", "--name", "cats/all", "--kinds", "gaussian", *_TINY),
    "references import": ("real.npz", "--name", "cats/some"),
    "references export": ("real.npz", "-o", "exported", "--format", "vdna"),
    "references publish": ("bsds500/test@vdna_tiny#gaussian", "--to", "shared"),
    "references normalise": ("cats/pairs", "--validation", "gaussian_b.npz"),
    "extractors show": ("tiny",),
}
# Which run for long as they should, start processes, or use the network.
LEFT_OUT = {"--compile", "--workers", "--help", "--fidelity", "--pictures", "--class-folders"}
VALUES = (
    "", "0", "1", "2", "-1", "3", "1000000000000", "1e9", "nan", "inf", "0.5", "1/2", "2/1", "a", "a,b", ",",
    "first", "first,second", "histogram", "gaussian,layer_gaussian", "emd", "nfd,lfd", "emd[first]", "emd[",
    "fid", "bins", "range", "margin", "layer", "neuron", "cpu", "cuda:99", "meta", "real", "real.npz",
    "gaussian.npz", "gen_b.zip", "gen_c.npz", "nothing", "out.npz", "out.png", "out.csv", "list.txt", "../up",
    "sub/deep/a", ".", "x" * 300, "\x1b[31m", "\xe9", "\udcff", "--json", "0.01,0.99", "0.9,0.1", "folder",
    "people.csv", "(", "[a-z]+", "tiny", "other", "seeded:3", "vdna_tiny", "bsds500/test", "cats/all", "bsds500::x",
    "float16", "True",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _sources(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of images and DNAs, and no way out."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("a") / "b"
        folder.mkdir()
        put_small_sources(folder, patch)
        patch.setenv("VDNA_METRICS_HOME", str(folder / "home"))
        patch.setenv("HF_ENDPOINT", "http://localhost:9")
        patch.setenv("HF_HUB_OFFLINE", "1")
        run("calibrate", "real", "-o", "ranges.npz", *_TINY)
        run("references", "build", "real", "--name", "cats/pairs", "--kinds", "layer_gaussian", *_TINY)
        for name, source, kind in (
            ("real", "real", "histogram"),
            ("gen", "gen_a", "histogram"),
            ("gaussian", "real", "layer_gaussian"),
            ("gaussian_b", "gen_a", "layer_gaussian"),
        ):
            ranges = ("--ranges", "ranges.npz") if kind == "histogram" else ()
            run("make", source, "-o", name, "--kinds", kind, *_TINY, *ranges)
        Path("people.csv").write_text("generator,x↑,±,y↓\na,1,0.1,3\nb,2,,1\n", encoding="utf-8")
        Path("list.txt").write_text("real/000.png\n")
        Path("table.csv").write_text(
            "name,red,blue\n" + "".join(f"{i:03}.png,{i % 2},{i // 2 % 2}\n" for i in range(12))
        )
        yield


def _found(words: list[str]) -> click.Command:
    command: Any = app
    for word in words:
        command = command.get_command(click.Context(app), word)
    return command


@pytest.mark.parametrize("command", sorted(GIVEN.keys() - {"desensitise"}))  # which wants more images
def test_the_commands_are_right_as_they_are(command: str) -> None:
    """What is changed below works."""
    words = [*command.split(), *GIVEN[command]]
    result = CliRunner().invoke(app, words, prog_name="vdna-metrics")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("changes", [1, 2, 3])
@fuzzed
@given(data=st.data())
def test_options(changes: int, data: st.DataObject) -> None:
    """Exit code 0, 1 or 2, without a traceback, and no error that is a fault of ours."""
    command = data.draw(st.sampled_from(sorted(GIVEN)))
    words = command.split()
    flags = [
        (option.opts[-1], option.is_flag)
        for option in _found(words).params
        if isinstance(option, click.Option) and not LEFT_OUT.intersection(option.opts)
    ]
    arguments = list(GIVEN[command])
    for _ in range(changes):
        how = data.draw(st.sampled_from(["option", "option", "option", "argument", "value", "drop"]))
        if how == "option" and flags:
            flag, alone = data.draw(st.sampled_from(flags))
            arguments += [flag] if alone else [flag, data.draw(st.sampled_from(VALUES))]
        elif how == "argument":
            arguments.insert(0, data.draw(st.sampled_from(VALUES)))
        elif arguments:
            place = data.draw(st.integers(0, len(arguments) - 1))
            arguments[place : place + 1] = [data.draw(st.sampled_from(VALUES))] if how == "value" else []
    if any(isinstance(option, click.Option) and "--workers" in option.opts for option in _found(words).params):
        arguments += ["--workers", "0"]
    with warnings.catch_warnings(), bounded():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(app, [*words, *arguments], prog_name="vdna-metrics")
    OUTCOMES[f"options of {command}", f"exit code {result.exit_code}"] += 1
    told = f"{arguments}: {result.exit_code} {result.output}"
    assert result.exception is None or isinstance(result.exception, SystemExit), told
    assert result.exit_code in (0, 1, 2), told
    assert "should not happen" not in result.output, told
    assert "\x1b[31m" not in result.output, told
