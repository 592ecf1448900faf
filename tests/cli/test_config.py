"""Options of `vdna-metrics leaderboard` in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from helpers.commands import CHECKOUT, run

from vdna_metrics.cli.commands.leaderboard import LeaderboardOptions, leaderboard
from vdna_metrics.cli.config import config, given_or_in_config
from vdna_metrics.cli.options import as_json, takes
from vdna_metrics.leaderboard import leaderboard_differences, load_leaderboard

# Each option in a file, and on the command line.
SAID: dict[str, tuple[str, list[str]]] = {
    "generators": ('generators = {a = "gens/a", b = "b.zip:in"}', ["a=gens/a", "b=b.zip:in"]),
    "reference": ('reference = ["real", "bsds500/test"]', ["--reference", "real", "--reference", "bsds500/test"]),
    "metrics": ('metrics = ["emd", "fid"]', ["--metrics", "emd,fid"]),
    "validation": ('validation = "held_out"', ["--validation", "held_out"]),
    "scores": ('scores = ["elo.csv"]', ["--scores", "elo.csv"]),
    "output": ('output = "report"', ["-o", "report"]),
    "figures": ('figures = ["pdf"]', ["--figures", "pdf"]),
    "cache": ('cache = "dnas"', ["--cache", "dnas"]),
    "replay": ('replay = "leaderboard.json"', ["--replay", "leaderboard.json"]),
    "append": ('append = "leaderboard.json"', ["--append", "leaderboard.json"]),
    "tolerance": ("tolerance = 0.01", ["--tolerance", "0.01"]),
    "title": ('title = "a, b"', ["--title", "a, b"]),
    "groups": ("groups = 5", ["--groups", "5"]),
    "cluster-by": (r"cluster-by = 'a{1,2}'", ["--cluster-by", "a{1,2}"]),
    "confidence": ("confidence = 0.9", ["--confidence", "0.9"]),
    "seed": ("seed = 3", ["--seed", "3"]),
    "equalise": ("equalise = true", ["--equalise"]),
    "class-folders": ("class-folders = true", ["--class-folders"]),
    "fidelity": ("fidelity = false", ["--no-fidelity"]),
    "pictures": ("pictures = 0", ["--pictures", "0"]),
    "diagnosis": ("diagnosis = 0", ["--diagnosis", "0"]),
    "extractors": ('extractors = ["a", "nets.py:make"]', ["--extractors", "a,nets.py:make"]),
    "weights": ('weights = {a = "a.pth"}', ["--weights", "a=a.pth"]),
    "layers": ('layers = "a,b"', ["--layers", "a,b"]),
    "fid-weights": ('fid-weights = "fid.pth"', ["--fid-weights", "fid.pth"]),
    "fid-mode": ('fid-mode = "legacy_pytorch"', ["--fid-mode", "legacy_pytorch"]),
    "size": ("size = 64", ["--size", "64"]),
    "mean": ("mean = [0.1, 0.2, 0.3]", ["--mean", "0.1,0.2,0.3"]),
    "std": ("std = 0.5", ["--std", "0.5"]),
    "crop": ('crop = "center"', ["--crop", "center"]),
    "preprocessing": ('preprocessing = "none"', ["--preprocessing", "none"]),
    "directions": ("directions = {pool = 8}", ["--directions", "pool=8"]),
    "precision": ('precision = "bf16"', ["--precision", "bf16"]),
    "channels-last": ("channels-last = true", ["--channels-last"]),
    "compile": ("compile = true", ["--compile"]),
    "neurons": ('neurons = "neurons.npz"', ["--neurons", "neurons.npz"]),
    "neuron-weights": ('neuron-weights = "weights.npz"', ["--neuron-weights", "weights.npz"]),
    "bins": ("bins = 50", ["--bins", "50"]),
    "ranges": ('ranges = "auto"', ["--ranges", "auto"]),
    "max-positions": ("max-positions = 9", ["--max-positions", "9"]),
    "device": ('device = "cpu"', ["--device", "cpu"]),
    "batch-size": ("batch-size = 8", ["--batch-size", "8"]),
    "workers": ("workers = 0", ["--workers", "0"]),
    "skip-bad": ("skip-bad = true", ["--skip-bad"]),
    "memory-limit": ("memory-limit = 1.5", ["--memory-limit", "1.5"]),
    "root": ('root = "data"', ["--root", "data"]),
    "json": ("json = true", ["--json"]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _given(*words: str, exit_code: int = 0) -> Any:
    """What the command would be handed, of columns their names, or its error."""
    got: list[Any] = []

    @click.command()
    @click.argument("generators", nargs=-1, callback=given_or_in_config)
    @takes("given", LeaderboardOptions)
    @config
    @as_json
    def command(generators: tuple[str, ...], given: LeaderboardOptions, as_json: bool) -> None:
        columns = tuple(column.name for column in given.columns)
        got.extend([generators, replace(given, columns=columns), as_json])  # type: ignore[arg-type]

    result = CliRunner().invoke(command, list(words))
    assert result.exit_code == exit_code, result.output
    return got if exit_code == 0 else " ".join(result.output.split())


def test_a_file_says_what_the_command_line_says() -> None:
    """Every option of the command but whom to trust can stand in a file, alone or with all others it goes with."""
    known = {max(each.opts, key=len).lstrip("-") for each in leaderboard.params}
    assert set(SAID) == known - {"trust", "trust-code", "config", "protocol"}
    file = Path("leaderboard.toml")
    for text, words in SAID.values():
        file.write_text(text)
        assert _given("--config", str(file)) == _given(*words), text
    file.write_text("\n".join(text for text, _ in SAID.values()))
    assert _given("--config", str(file)) == _given(*(word for _, words in SAID.values() for word in words))


def test_a_protocol_in_a_file_sets_what_it_sets() -> None:
    """Beside it a file may have more metrics, and nothing that the protocol says otherwise."""
    file = Path("leaderboard.toml")
    file.write_text('protocol = "cmmd"\nseed = 3')
    assert _given("--config", str(file)) == _given("--protocol", "cmmd", "--seed", "3")
    file.write_text('protocol = "adm-gfid-256"\nmetrics = ["emd"]')
    assert _given("--config", str(file))[1].columns == ("fid", "emd")
    file.write_text('protocol = "adm-gfid-256"\nfid-mode = "clean"')
    assert "fid_mode: the protocol adm-gfid-256 has legacy_tensorflow, the file clean" in _given(
        "--config", str(file), exit_code=2
    )


def test_the_command_line_wins() -> None:
    """What is given in both places is what was typed, wherever the file is named."""
    Path("leaderboard.toml").write_text('generators = ["a"]\nmetrics = "emd"\ngroups = 5\nfidelity = false\nseed = 3')
    words = ["b", "c", "--metrics", "nfd", "--groups", "4", "--fidelity"]
    expected = _given(*words, "--seed", "3")
    assert _given(*words, "--config", "leaderboard.toml") == expected
    assert _given("--config", "leaderboard.toml", *words) == expected


def test_paths_are_from_the_folder_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and sources are found beside the file from anywhere; names, words and addresses stay what they are."""
    paper = Path("paper")
    for folder in ("real", "gens/a", "procedural", "store"):
        (paper / folder).mkdir(parents=True)
    for file in ("b.zip", "nets.py", "ranges.npz", "of images.csv", "pca.npz", "a.pth"):
        (paper / file).touch()
    (paper / "leaderboard.toml").write_text(
        """
        generators = {a = "gens/a", b = "b.zip:inside", c = "procedural:white_noise/3", d = "store::d", e = "/far/e"}
        reference = ["real", "bsds500/test"]
        output = "new/report"
        extractors = ["nets.py:make", "vdna_tiny"]
        ranges = "ranges.npz"
        cluster-by = "of images.csv"
        directions = {pool = "8:pca.npz", layer = 4}
        weights = ["a.pth"]
        neurons = "missing.npz"
        """
    )
    monkeypatch.setattr(
        import_module("vdna_metrics.references.resolve"), "resolve_dna", lambda source, *_, **__: source
    )
    monkeypatch.setattr("vdna_metrics.dna.grouped.total_of", lambda source: source)
    monkeypatch.setattr("vdna_metrics.dna.principal_directions", lambda source, *_: source)
    generators, given, _ = _given("--config", "paper/leaderboard.toml")
    assert generators == (
        "a=paper/gens/a", "b=paper/b.zip:inside", "c=procedural:white_noise/3", "d=paper/store::d", "e=/far/e",
    )  # fmt: skip
    assert given.references == ("paper/real", "bsds500/test")
    assert given.output == "paper/new/report"
    assert given.networks.extractors == ("paper/nets.py:make", "vdna_tiny")
    assert (given.histograms.ranges, given.settings.cluster_by) == ("paper/ranges.npz", "paper/of images.csv")
    assert given.networks.running.directions == {"pool": "paper/pca.npz", "layer": 4}
    assert given.networks.weights == ("paper/a.pth",)
    assert given.neurons.neurons == "paper/missing.npz"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grups = 3", "paper/leaderboard.toml: unknown option 'grups'; did you mean 'groups'"),
        ("batch_size = 3", "unknown option 'batch_size'; did you mean 'batch-size'"),
        ("[leaderboard]\ngroups = 3", "unknown option 'leaderboard'"),
        ("groups = 1", "'--groups': paper/leaderboard.toml: 1 is not in the range"),
        ("groups = 2.5", "'2.5' is not a valid integer"),
        ("groups = true", "groups: expected a text or a number, got True"),
        ('equalise = "yes"', "equalise: expected true or false, got 'yes'"),
        ("title = 2026-01-01", "title: expected a text or a number, got datetime.date(2026, 1, 1)"),
        ('metrics = ["emmd"]', "paper/leaderboard.toml: unknown distance 'emmd'; did you mean 'emd'"),
        ("trust-code = true", "trust-code: whom to trust is said on the command line"),
        ("trust = true", "trust: whom to trust is said on the command line"),
        ('config = "other.toml"', "unknown option 'config'"),
        ('reference = "here"', "reference: here lies in the working folder, not in paper"),
        ("groups = ", "paper/leaderboard.toml: Invalid value"),
    ],
)
def test_what_a_file_cannot_say_is_refused(text: str, message: str) -> None:
    """With the file and the key; near keys are named, and nothing is read from another folder than the file's."""
    Path("here").mkdir()
    Path("paper").mkdir()
    Path("paper/leaderboard.toml").write_text(text)
    assert message in _given("--config", "paper/leaderboard.toml", exit_code=2)


def test_a_file_that_is_not_there_is_named() -> None:
    """As an error of the command."""
    assert "no.toml: No such file" in _given("--config", "no.toml", exit_code=2)


def test_the_example_makes_the_leaderboard_that_lies_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`examples/leaderboard` is made by its file alone, from anywhere, and its record is what this version computes."""
    monkeypatch.setattr("vdna_metrics.cli.reports.write_report", lambda *_, **__: None)
    example = CHECKOUT / "examples" / "leaderboard"
    run("leaderboard", "--config", example / "leaderboard.toml", "-o", "report")
    found = load_leaderboard("report/leaderboard.json")
    recorded = load_leaderboard(example / "report" / "leaderboard.json")
    assert leaderboard_differences(recorded, found) == []
    assert json.loads(json.dumps(found.settings)) == recorded.settings
    assert Path("report/leaderboard.tex").is_file()
