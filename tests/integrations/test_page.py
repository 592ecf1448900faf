"""The pages show code and commands that run, and figures that are so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["training", pytest.param("distributed", marks=pytest.mark.slow)])
def test_page(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the page prints what the page says it prints."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    run_page = runpy.run_path(str(ROOT / "scripts" / "run_docs.py"))["run_page"]
    assert run_page(page) == page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torchvision")  # which diffusers asks for
def test_own_networks_come_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ResNet, a U-Net's encoder, an HRNet, a ViT and embeddings are scored as the page says, uncalibrated."""
    pytest.importorskip("diffusers", reason="needs the extra `diffusion`")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "own_network.md").read_text(encoding="utf-8")
    run_page = runpy.run_path(str(ROOT / "scripts" / "run_docs.py"))["run_page"]
    rounded, numbers = re.compile(r"\d+\.\d+"), re.compile(r"^(?:generated.* |)(\d+\.\d+)(?: bins|)$", re.MULTILINE)
    printed = run_page(page)
    assert rounded.sub("#", printed) == rounded.sub("#", page)
    found = [float(each) for each in numbers.findall(printed)]
    assert len(found) == 5
    assert found == pytest.approx([float(each) for each in numbers.findall(page)], rel=0.05, abs=0.11)


@pytest.mark.slow
def test_table_of_states(capsys: pytest.CaptureFixture[str]) -> None:
    """The bytes of states that docs/cost.md shows are those of the catalogue, of every extractor."""
    pytest.importorskip("diffusers", reason="needs the extra `diffusion`")
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "metric_states.py"))
    benchmark["print_states"](list(benchmark["CATALOGUE"]))
    assert capsys.readouterr().out in (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
