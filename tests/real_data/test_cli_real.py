"""The command line on photographs."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from vdna_metrics import load_vdna
from vdna_metrics.cli import app
from vdna_metrics.images.procedural import add_noise, blur

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


def _json(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_photographs_are_nearer_than_spoiled_photographs(shared: Path, tmp_path: Path) -> None:
    """Against the bundled BSDS500 reference, its test photographs come before the same ones blurred and with noise."""
    stream = np.random.default_rng(0)
    folders = {name: tmp_path / name for name in ("as_they_are", "blurred", "noisy")}
    with zipfile.ZipFile(shared / "data" / "bsds500.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("test/"))[:24]
        for name in names:
            image = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
            spoiled = {"as_they_are": image, "blurred": blur(image, 3), "noisy": add_noise(image, 40, stream)}
            for folder, pixels in spoiled.items():
                folders[folder].mkdir(exist_ok=True)
                Image.fromarray(pixels).save(folders[folder] / Path(name).with_suffix(".png").name)
    printed = _json(
        "score", *folders.values(), "--reference", "bsds500/trainval@vdna_tiny", "--metrics", "emd,nfd", "--workers", 2
    )
    assert [result["n_images"] for result in printed["results"]] == [24, 24, 24]
    for metric in ("emd", "nfd"):
        near, *far = (result[metric] for result in printed["results"])
        assert near < min(far)


def test_the_classes_of_an_archive_add_up_to_it(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNAs of the class folders of a CIFAR-10 archive, merged, are the DNA of the archive; a class is 0 from itself."""
    monkeypatch.chdir(tmp_path)
    archive = shared / "data" / "cifar10_jpeg_test.zip"
    subset = tmp_path / "some.zip"
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(subset, "w") as some:
        for name in sorted(whole.namelist()):
            if name.endswith("0.jpg") and int(name[-8:-4]) < 200:
                some.writestr(name, whole.read(name))
    options = ("--extractor", "seeded_resnet18", "--layers", "layer1_0", "--batch-size", 1, "--workers", 2)
    (whole_dna,) = _json("make", f"{subset}:test", "-o", "whole.npz", *options)
    with zipfile.ZipFile(subset) as some:
        classes = sorted({name.split("/")[1] for name in some.namelist()})
    assert len(classes) == 10
    for name in classes:
        _json("make", f"{subset}:test/{name}", "-o", name, *options)
    merged = _json("merge", *(f"{name}.npz" for name in classes), "-o", "merged.npz")
    assert merged["n_images"] == whole_dna["n_images"] == 200
    assert torch.equal(load_vdna("merged.npz").distribution.state, load_vdna("whole.npz").distribution.state)
    distances = _json("compare", "cat.npz", "cat.npz", "dog.npz", "airplane.npz")["results"]
    cat, dog, airplane = (result["emd"] for result in distances)
    assert cat == 0
    assert 0 < dog < airplane


@pytest.mark.parametrize(("metric", "within"), [("emd", 1 / 3), ("nfd", 1 / 2)])
def test_what_few_images_score_by_chance_is_told_and_true(
    shared: Path, tmp_path: Path, metric: str, within: float
) -> None:
    """The figure in the warning is what so many other photographs score, in the mean of three draws."""
    with zipfile.ZipFile(shared / "data" / "bsds500.zip") as archive:
        names = [name for name in archive.namelist() if "test/" in name and name.endswith(".jpg")]
        order = np.random.default_rng(0).permutation(len(names)).tolist()
        for n in (2, 5, 10, 40):
            found = []
            for draw in range(3):
                folder = tmp_path / f"{n}-{draw}"
                folder.mkdir()
                for place in order[draw * n : (draw + 1) * n]:
                    (folder / f"{place}.jpg").write_bytes(archive.read(names[place]))
                words = ("score", folder, "--reference", "bsds500/trainval@vdna_tiny", "--metrics", metric)
                printed = _json(*words)
                found.append(printed["results"][0][metric])
                (sentence,) = [warning for warning in printed["warnings"] if " are few; " in warning]
            told = float(sentence.partition(f"score {metric}")[2].removeprefix(" (bins)").split()[0])
            assert told == pytest.approx(np.mean(found), rel=within)
