"""What the experiments share, and that one of them goes on where it was killed."""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from vdna_metrics import build_dnas

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "experiments"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, as the scripts import it."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("_common")


def _experiment(common: ModuleType, work: Path) -> object:
    return common.Experiment("some", quick=True, shared=Path("nowhere"), work=work)


def test_a_pass_keeps_what_dnas_of_any_images_need(common: ModuleType, tmp_path: Path) -> None:
    """Histograms of subsets add up to those of `build_dnas`, bit for bit; Gaussians of rows are those of the images."""
    experiment = _experiment(common, tmp_path)
    source = experiment.open("bsds500.zip", "train/")
    first = np.arange(len(source)) < 10
    network = experiment.networks["vdna_tiny"]
    seen = experiment.look(network, source, {"first": first, "rest": ~first})
    made = build_dnas(source, network.extractor, ["histogram"], reading=common.Reading(common.BATCH))["histogram"]
    assert torch.equal(seen.histogram("first", "rest").distribution.state, made.distribution.state)
    some = build_dnas(common.select_images(source, range(10)), network.extractor, ["gaussian"])["gaussian"]
    torch.testing.assert_close(
        seen.gaussian("gaussian", first).distribution.state, some.distribution.state, rtol=1e-4, atol=1e-4
    )
    assert len(experiment.made) == 1
    again = experiment.look(network, source, {"first": first, "rest": ~first})
    assert len(experiment.made) == 1
    assert torch.equal(again.means, seen.means)
    experiment.look(network, common.select_images(source, range(9)))
    assert len(experiment.made) == 2


def test_an_image_is_changed_alike_wherever_it_stands(common: ModuleType, tmp_path: Path) -> None:
    """Random numbers of a change depend on the image's name."""
    images = importlib.import_module("_images")
    source = _experiment(common, tmp_path).open("bsds500.zip", "train/")

    def change(image: np.ndarray, stream: np.random.Generator) -> np.ndarray:
        return image // 2 + stream.integers(0, 100, image.shape).astype(np.uint8)

    every = images.changed(source, "changed", change, size=32)
    some = images.changed(common.select_images(source, [5, 3]), "changed", change, size=32)
    assert every.read(3).shape == (32, 32, 3)
    assert np.array_equal(every.read(3), some.read(1))
    assert not np.array_equal(every.read(3), images.changed(source, "changed", change, size=32, seed=1).read(3))


def test_photographs_are_cropped_as_networks_crop_them(common: ModuleType, tmp_path: Path) -> None:
    """Images that are cropped and resized first are the central squares, which the network's own crop leaves alone."""
    images = importlib.import_module("_images")
    stream = np.random.default_rng(0)
    source = common.open_images(stream.integers(0, 256, (2, 40, 60, 3), np.uint8))
    square = common.open_images(np.stack([source.read(i)[:, 10:50] for i in range(2)]))
    cropped = images.hold(source, 16, common.CROP)
    assert all(np.array_equal(cropped.read(i), images.pixels(square, i, 16)) for i in range(2))
    assert not np.array_equal(cropped.read(0), images.hold(source, 16).read(0))
    changed = images.changed(source, "same", lambda image, _: image, size=16, crop=common.CROP)
    assert np.array_equal(changed.read(1), cropped.read(1))


def test_networks_crop_and_do_not_take_ranges_of_whole_images(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every extractor but the quick one has the paper's crop; ranges that ship are of squeezed photographs."""
    asked = []

    def calibrated(_: object, name: str, extractor: object) -> object:
        asked.append((name, extractor))
        return common.find_ranges("vdna_tiny")

    monkeypatch.setattr(common.Experiment, "_calibrated", calibrated)
    experiment = common.Experiment("some", quick=False, shared=tmp_path, work=tmp_path, extractor="vdna_tiny")
    network = experiment.networks["vdna_tiny"]
    assert network.extractor.spec.crop == common.CROP == "center"
    assert asked == [("vdna_tiny", network.extractor)]


def test_a_section_takes_the_place_of_its_own_part_only(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands outside a section's marks stays; a page without the marks is refused, as one with them twice."""
    page = tmp_path / "page.md"
    monkeypatch.setattr(common, "DOCS", tmp_path)
    experiment = common.Experiment("some", quick=False, shared=tmp_path, work=tmp_path)
    text = "# Page\n\n<!-- begin some -->\nold\n<!-- end some -->\n\n<!-- begin other -->\nkept\n<!-- end other -->\n"
    page.write_text(text)
    experiment.write_section("new", page="page.md")
    assert page.read_text() == text.replace("\nold\n", "\n\nnew\n\n")
    for wrong in (text.replace("end some", "end"), text + text):
        page.write_text(wrong)
        with pytest.raises(SystemExit, match="begin some"):
            experiment.write_section("new", page="page.md")


def test_every_place_on_a_page_has_its_script() -> None:
    """Marks stand on the pages once each, and are named as scripts are."""
    text = "".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md")))
    names = re.findall("<!-- begin (.*) -->", text)
    assert len(set(names)) == len(names)
    assert {path.stem for path in SCRIPTS.glob("[!_]*.py")} <= set(names)
    assert re.findall("<!-- end (.*) -->", text) == names


def test_absent_data_is_named(common: ModuleType, tmp_path: Path) -> None:
    """Without the shared data an experiment says where it looked and what to do."""
    experiment = common.Experiment("some", quick=False, shared=tmp_path, work=tmp_path)
    with pytest.raises(SystemExit, match=r"bsds500\.zip: set VDNA_METRICS_SHARED .* or run with --quick"):
        experiment.open("bsds500.zip")


@pytest.mark.slow
def test_an_experiment_that_was_killed_goes_on(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed with SIGKILL, the same command takes up the file that is there and prints what it prints otherwise."""
    script, work = SCRIPTS / "sample_size.py", tmp_path / "work"
    process = subprocess.Popen([sys.executable, script, "--quick", "--work", work], stderr=subprocess.DEVNULL)
    done: dict[Path, int] = {}
    until = time.monotonic() + 120
    while not done:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
        done = {path: path.stat().st_mtime_ns for path in work.rglob("[!.]*.npz")}
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    module = importlib.import_module("sample_size")

    def printed(folder: Path) -> str:
        monkeypatch.setattr(sys, "argv", [str(script), "--quick", "--work", str(folder)])
        module.main()
        return capsys.readouterr().out

    went_on = printed(work)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list(work.rglob("[!.]*.npz"))) > len(done)
    assert went_on == printed(tmp_path / "anew")
