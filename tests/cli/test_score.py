"""`score`: what it prints is what the library measures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import put_small_sources, run, run_json, small_images, write_folder
from helpers.image_files import encode
from PIL import Image
from safetensors.torch import save_file

from vdna_metrics import build_dnas, compare, create_extractor, load_reference, load_vdna
from vdna_metrics.dna import Column
from vdna_metrics.dna.columns import _NAMED
from vdna_metrics.dna.distances import bin_width

KINDS = ("histogram", "gaussian", "layer_gaussian")


@pytest.fixture(autouse=True)
def _sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images and networks of every test."""
    put_small_sources(tmp_path, monkeypatch)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of four images and three files that are none."""
    write_folder(tmp_path / "bad", small_images(4, 4))
    (tmp_path / "bad" / "empty.jpg").write_bytes(b"")
    (tmp_path / "bad" / "text.png").write_bytes(b"hello")
    (tmp_path / "bad" / "cut.png").write_bytes((tmp_path / "bad" / "000.png").read_bytes()[:300])
    return tmp_path / "bad"


def _dnas(source: str, ranges: Any) -> Any:
    return build_dnas(source, create_extractor("tiny"), KINDS, ranges=ranges)


def test_what_lies_beside_the_images_is_said(tmp_path: Path) -> None:
    """`score` and `make` warn of files that they do not read, also in JSON and in the file of the DNA."""
    write_folder(tmp_path / "mixed", small_images(5, 4))
    for name in ("a.heic", "b.heic", "notes.txt"):
        (tmp_path / "mixed" / name).write_bytes(b"")
    sentence = "3 files beside the images are not read: .heic 2, .txt 1"
    printed = run_json("score", "mixed", "gen_a", "--reference", "real", "--extractor", "tiny", "--metrics", "nfd")
    assert f"mixed: {sentence}" in printed["warnings"]
    result = run("make", "mixed", "--extractor", "tiny", "--kinds", "gaussian", "-o", "mixed.npz")
    assert f"warning: mixed: {sentence}" in result.stderr
    assert load_vdna("mixed.npz").provenance.unread == ((".heic", 2), (".txt", 1))


def _odd_sets() -> None:
    """Folders of what is not what it seems, beside `real`, which has twelve PNG of 20 x 20."""
    write_folder(Path("copies"), np.concatenate([small_images(2, 0), small_images(12, 0)[:3], small_images(4, 8)]))
    write_folder(Path("large"), small_images(5, 9).repeat(3, axis=1).repeat(3, axis=2))
    for name in ("twice", "dim"):
        Path(name).mkdir()
    for i, image in enumerate(small_images(5, 10)):
        for copy in "ab":
            Path("twice", f"{i}{copy}.jpg").write_bytes(encode(image, "JPEG"))
        Path("dim", f"{i}.png").write_bytes(encode(Image.fromarray(image[:, :, 0].astype(np.uint16) * 16)))


def test_a_set_that_is_not_what_it_seems_is_told() -> None:
    """Repeated images, copies, 12 bits in 16, other formats and sizes: each a warning that names its set, and JSON."""
    _odd_sets()
    words = ("score", "twice", "dim", "copies", "large", "--reference", "real", "--extractor", "tiny", "--metrics")
    printed = run_json(*words, "emd,nfd")
    for sentence in (
        "twice: 5 of 10 images are the same as another one, pixel by pixel, and count again",
        "dim: 5 of 5 images of 16 bits have no value above 4095, so they look like 12-bit images and are read 16 times",
        "copies: 3 of its images are images of the reference, too: its values are too low",
        "twice: its images are JPEG, those of the reference PNG: ",
        "large: its images are 60x60, those of the reference 20x20: ",
        "Numbers of images differ (dim 5, twice 10): plain values of fewer images are larger by chance alone",
    ):
        assert sum(warning.startswith(sentence) for warning in printed["warnings"]) == 1
    accounts = {result["images"]: result["account"] for result in printed["results"]}
    assert accounts["twice"]["formats"] == {"JPEG": 10}
    assert accounts["twice"]["pixels"] == {"n_images": 10, "repeated": 5, "exact": True}
    assert sum(count for _, count in accounts["dim"]["depths"]) == 5
    assert printed["reference"][0]["account"]["sizes"]["widths"] == [20, 20]
    shown = run(*words, "nfd").stdout
    assert "twice      JPEG, 20x20, 5 of 10 the same as another\n" in shown
    compared = run("compare", "real", "twice", "--extractor", "tiny", "--metric", "nfd")
    assert "warning: twice: 5 of 10 images are the same" in compared.stderr
    ranked = run_json("rank", "gen_a", "--reference", "twice", "--extractor", "tiny", "--metric", "nfd")
    assert ranked["warnings"][0].startswith("reference: 5 of 10 images are the same as another one")


def test_folders_of_a_folder_are_one_set_and_that_is_said() -> None:
    """A folder of sets' folders is told, with what to give; class folders, which other sets have too, are not."""
    for name in ("a", "b"):
        write_folder(Path("gens", name), small_images(3, ord(name)))
    words = ("--reference", "real", "--extractor", "tiny", "--metrics", "nfd")
    said = [note for note in run_json("score", "gens", *words)["warnings"] if "folders" in note]
    assert said == [
        "gens: its 2 folders (a, b) are taken for one set of images; if each is a set of its own, give gens/*"
    ]
    assert not [note for note in run_json("score", "gens/a", "gens/b", *words)["warnings"] if "folders" in note]
    shutil.copytree("gens", "others")
    assert not [note for note in run_json("score", "gens", "others", *words)["warnings"] if "folders" in note]


def test_score_prints_the_distances_that_the_library_gives() -> None:
    """Folders, zips and arrays are scored by each metric as `compare` does, in auto histograms."""
    printed = run_json(
        "score", "gen_a", "gen_b.zip", "gen_c.npz", "--reference", "real", "--extractor", "tiny",
        "--metrics", "emd,nfd,lfd", "--by", "layer",
    )  # fmt: skip
    real = _dnas("real", "auto")
    assert [result["images"] for result in printed["results"]] == ["gen_a", "gen_b.zip", "gen_c.npz"]
    assert [result["n_images"] for result in printed["results"]] == [8, 6, 7]
    for result in printed["results"]:
        fake = _dnas(result["images"], "auto")
        for metric, kind, distance in zip(
            ("emd", "nfd", "lfd"), KINDS, (compare.emd, compare.neuron_frechet, compare.layer_frechet), strict=True
        ):
            assert result[metric] == float(distance(real[kind], fake[kind]))
            layers = distance(real[kind], fake[kind], reduction="layer")
            assert result[f"{metric}_by_layer"] == {layer: float(value) for layer, value in layers.items()}
    assert printed["extractor"] == "tiny"
    assert [(dna["kind"], dna["n_images"]) for dna in printed["reference"]] == [(kind, 12) for kind in KINDS]


def test_metrics_of_several_networks_are_scored_in_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that names its network is measured in it, beside those of `--extractor`, each image once a network."""
    monkeypatch.setitem(_NAMED, "ofd", Column("lfd", name="ofd", extractor="other", layers=("second",)))
    common = ("score", "gen_a", "gen_b.zip", "--reference", "real", "--json")
    result = run(*common, "--extractor", "tiny", "--metrics", "emd,ofd,nfd", "--bins", "50")
    passes = [line.rpartition(":")[0] for line in result.stderr.splitlines() if line.endswith("images/s")]
    sets = ("reference real", "gen_a", "gen_b.zip")
    assert passes == [f"{network}: {name}" for network in ("tiny", "other") for name in sets]
    both = json.loads(result.stdout)
    assert both["extractors"] == {"emd": "tiny", "nfd": "tiny", "ofd": "other"}
    alone = [
        run_json(*common[:-1], "--extractor", "tiny", "--metrics", "emd,nfd", "--bins", "50")["results"],
        run_json(*common[:-1], "--metrics", "ofd")["results"],
    ]
    assert both["results"] == [{**ours, "ofd": own["ofd"]} for ours, own in zip(*alone, strict=True)]
    real = build_dnas("real", create_extractor("other"), ["layer_gaussian"], layers=["second"])["layer_gaussian"]
    fake = build_dnas("gen_a", create_extractor("other"), ["layer_gaussian"], layers=["second"])["layer_gaussian"]
    assert both["results"][0]["ofd"] == float(compare.layer_frechet(real, fake))
    real.save("real_ofd.npz")
    run("make", "real", "-o", "real_emd.npz", "--extractor", "tiny", "--bins", "50")
    named = run_json(*common[:-3], "--reference", "real_ofd.npz", "--reference", "real_emd.npz", "--metrics", "ofd,emd")
    values = [{name: result[name] for name in ("images", "emd", "ofd")} for result in both["results"]]
    assert [{name: result[name] for name in ("images", "emd", "ofd")} for result in named["results"]] == values


def test_score_shows_a_row_a_source_and_a_table_a_metric() -> None:
    """The table has each source with its number of images and its distances, `--by layer` one table a metric."""
    arguments = ("score", "gen_a", "gen_b.zip", "--reference", "real", "--extractor", "tiny", "--metrics", "emd,nfd")
    values = {result["images"]: result for result in run_json(*arguments)["results"]}
    shown = run(*arguments, "--by", "layer").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert shown.startswith("Distance from 12 images of real, seen by tiny\n")
    assert ["images", "n", "emd", "nfd"] in lines
    for name, n in (("gen_a", "8"), ("gen_b.zip", "6")):
        assert [name, n, f"{values[name]['emd']:#.4g}", f"{values[name]['nfd']:#.4g}"] in lines
    assert "emd by layer" in shown
    assert "nfd by layer" in shown
    assert [line[0] for line in lines if line and line[0] in ("first", "second")] == ["first", "second"] * 2


def test_a_reference_may_be_images_or_its_dnas() -> None:
    """DNA files made of the real images give the same distances as the images, and bring extractor, bins and ranges."""
    run("make", "real", "-o", "real", "--kinds", "histogram,gaussian", "--extractor", "tiny", "--bins", "50")
    from_images = run_json(
        "score", "gen_a", "--reference", "real", "--extractor", "tiny", "--bins", "50", "--metrics", "emd,nfd"
    )
    from_files = run_json(
        "score", "gen_a", "--reference", "real.histogram.npz", "--reference", "real.gaussian.npz",
        "--metrics", "emd,nfd",
    )  # fmt: skip
    mixed = run_json(
        "score", "gen_a", "--reference", "real.gaussian.npz", "--reference", "real", "--metrics", "nfd,lfd"
    )
    assert from_files["results"] == from_images["results"]
    assert mixed["results"][0]["nfd"] == from_images["results"][0]["nfd"]
    assert mixed["results"][0]["lfd"] > 0


def test_a_name_of_the_store_brings_its_extractor() -> None:
    """A name with its extractor is found for each metric, in any case, and that extractor is taken."""
    printed = run_json(
        "score", "gen_a", "--reference", "BSDS500/trainval@vdna_tiny", "--metrics", "emd,nfd", "--layers", "blocks.0"
    )
    kinds = ("histogram", "gaussian")
    real = {kind: load_reference("bsds500/trainval@vdna_tiny", kind=kind).select(["blocks.0"]) for kind in kinds}
    fake = build_dnas("gen_a", create_extractor("vdna_tiny"), kinds, layers=["blocks.0"])
    result = printed["results"][0]
    assert printed["extractor"] == "vdna_tiny"
    assert result["emd"] == float(compare.emd(real["histogram"], fake["histogram"]))
    # Sums over the groups of the store are added in another order.
    assert result["nfd"] == pytest.approx(float(compare.neuron_frechet(real["gaussian"], fake["gaussian"])), rel=1e-12)


def test_layers_of_the_reference_are_the_layers_that_are_scored() -> None:
    """A DNA of some layers is compared on those; `--layers` chooses among them; others are refused."""
    run("make", "real", "-o", "second.npz", "--extractor", "tiny", "--layers", "second")
    run("make", "real", "-o", "both.npz", "--extractor", "tiny")
    scored = run_json("score", "gen_a", "--reference", "second.npz", "--by", "layer")["results"][0]
    chosen = run_json("score", "gen_a", "--reference", "both.npz", "--by", "layer", "--layers", "second")["results"][0]
    assert list(scored["emd_by_layer"]) == ["second"]
    assert chosen == scored
    refused = run("score", "gen_a", "--reference", "second.npz", "--layers", "first", exit_code=1)
    assert "no histogram DNA has first; it has second" in refused.stderr


def test_a_timm_network_is_read_at_the_layers_of_its_reference() -> None:
    """A DNA of `timm:NAME` at chosen modules is scored at those modules, with weights from a local file."""
    import timm

    network = timm.create_model("resnet10t", num_classes=1000)
    torch.save(network.state_dict(), "weights.pth")
    options = ("--weights", "weights.pth")
    run("make", "real", "-o", "real.npz", "--extractor", "timm:resnet10t", *options, "--layers", "layer1.0,conv1.0")
    scored = run_json("score", "gen_a", "--reference", "real.npz", *options, "--by", "layer")
    assert scored["extractor"] == "timm:resnet10t"
    assert list(scored["results"][0]["emd_by_layer"]) == ["conv1.0", "layer1.0"]


def test_few_images_are_one_warning_for_all_that_have_as_few() -> None:
    """Sets too small for a covariance are named together, on the error stream and in the JSON."""
    result = run(
        "score", "gen_a", "gen_c.npz", "--reference", "real", "--extractor", "tiny", "--metrics", "lfd", "--json"
    )
    warnings = json.loads(result.stdout)["warnings"]  # of 8 and 7 images, layers of 6 and 5 neurons
    assert re.match(
        "reference: 12 images are few; .*; gen_a: 8 images are few; .*; gen_c.npz: 7 images are few; .*Take more",
        warnings[0],
    )
    np.savez("few.npz", small_images(3, 5))
    np.savez("fewer.npz", small_images(3, 6))
    result = run(
        "score", "few.npz", "fewer.npz", "--reference", "real", "--extractor", "tiny", "--metrics", "lfd", "--json"
    )
    _, sentence = json.loads(result.stdout)["warnings"]
    assert sentence.startswith("few.npz, fewer.npz: 3 images are too few to estimate the covariance of first (6")
    assert f"warning: {sentence}" in result.stderr


def test_activations_outside_the_ranges_are_a_warning() -> None:
    """Images that leave the calibrated ranges are named with the layers and how to do better."""
    np.savez("grey.npz", np.full((4, 20, 20, 3), 128, np.uint8))
    run("calibrate", "grey.npz", "-o", "ranges.npz", "--extractor", "tiny")
    result = run("score", "gen_a", "--reference", "real", "--extractor", "tiny", "--ranges", "ranges.npz")
    assert "more than 1 % of the activations lie outside the activation ranges in 2 of 2 layers" in result.stderr


def test_bins_and_ranges_that_the_reference_has_otherwise_are_refused() -> None:
    """What is asked for explicitly is not passed over in silence; what agrees with the reference is allowed."""
    run("calibrate", "real", "-o", "same.npz", "--extractor", "tiny")
    run("make", "real", "-o", "real.npz", "--extractor", "tiny", "--bins", "50", "--ranges", "same.npz")
    run("calibrate", "real", "gen_a", "-o", "wider.npz", "--extractor", "tiny", "--widen", "none")
    score = ("score", "gen_a", "--reference", "real.npz")
    without = run_json(*score)["results"]
    assert run_json(*score, "--bins", "50", "--ranges", "same.npz")["results"] == without
    bins = run(*score, "--bins", "70", exit_code=1)
    assert "bins differ: the reference has 50, --bins says 70; leave --bins out" in bins.stderr
    ranges = run(*score, "--ranges", "wider.npz", exit_code=1)
    assert "--ranges are not those of the reference, which come with it (" in ranges.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--reference", "real"], "no file, folder or reference 'nowhere'"),
        (["gen_aa", "--reference", "real"], "did you mean 'gen_a'"),
        (["gen_a", "nowhere", "--reference", "real"], "no file, folder or reference 'nowhere'"),
        (["hollow", "--reference", "real"], "in 'hollow', found nothing"),
        (["gen_a", "--reference", "reall"], "no file, folder or reference 'reall'; did you mean 'real' or 'real.npz'?"),
        (["gen_a", "--reference", "bsds500"], "emd of bsds500 could be of seeded_resnet18 or seeded_resnet50 or vdna_"),
        (["gen_a", "--reference", "bsds500/trainval", "--extractor", "tiny"], "no reference 'bsds500/trainval@tiny"),
        (["gen_a", "--reference", "real", "--reference", "gen_b.zip"], "only one source can be images, got"),
        (["gen_a", "--reference", "real.npz", "--reference", "real.npz"], "are two histogram DNAs of tiny"),
        (["gen_a", "--reference", "real.npz", "--metrics", "emd,lfd"], "real.npz lacks layer_gaussian, it has"),
        (["gen_a", "--reference", "ranges.npz"], "holds 'ranges', and no images"),
        (["gen_a", "--reference", "real.npz", "--ranges", "real.npz"], "expected 'ranges', it holds 'histogram'"),
        (["gen_a", "--reference", "real.npz", "--extractor", "other"], "this DNA was not made with this extractor"),
        (["gen_a", "--reference", "real", "--extractor", "tinny"], "did you mean 'tiny' or"),
        (["gen_a", "--reference", "real", "--extractor", "tiny", "--weights", "no.pth"], "no such file: no.pth"),
        (["gen_a", "--reference", "real", "--extractor", "tiny", "--weights", "tiny=no.pth"], "no such file: no.pth"),
        (["gen_a", "--reference", "real", "--extractor", "tiny", "--layers", "frist"], "did you mean 'first'"),
        (["gen_a", "--reference", "real", "--extractor", "other", "--ranges", "ranges.npz"], "were not made with"),
    ],
)  # fmt: skip
def test_score_refuses_before_it_reads_an_image(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot work is one line on the error stream and exit code 1, before any image is looked at."""
    run("make", "real", "-o", "real.npz", "--extractor", "tiny")
    run("calibrate", "real", "-o", "ranges.npz", "--extractor", "tiny")
    Path("hollow").mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("vdna_metrics.images.batches.ImageDataset.__getitem__", refuse)
    result = run("score", *arguments, exit_code=1)
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_images_that_cannot_be_read_end_the_command_or_are_named(bad: Path) -> None:
    """Without `--skip-bad` the first bad file is an error, with it all are named, for generated and for real sets."""
    score = ("score", "bad", "--reference", "real", "--extractor", "tiny")
    refused = run(*score, exit_code=1)
    assert "bad: cut.png" in refused.stderr
    assert "; --skip-bad leaves it out" in refused.stderr
    assert refused.stdout == ""
    for arguments in (score, ("score", "gen_a", "--reference", "bad", "--extractor", "tiny")):
        result = run(*arguments, "--skip-bad", "--json")
        printed = json.loads(result.stdout)
        (skipped,) = (part["skipped"] for part in printed["results"] + printed["reference"] if part["skipped"])
        assert [name for name, _ in skipped] == ["cut.png", "empty.jpg", "text.png"]
        assert [line for line in result.stderr.splitlines() if line.startswith("skipped: bad: ")] == [
            f"skipped: bad: {name}: {reason}" for name, reason in skipped
        ]


def test_the_log_has_a_plain_line_a_source() -> None:
    """Where the error stream is no terminal there are no bars and no escapes, only speed and number of images."""
    arguments = ("score", "gen_a", "--reference", "real", "--extractor", "tiny", "--batch-size", 5)
    lines = [line for line in run(*arguments).stderr.splitlines() if not line.startswith("warning: ")]
    for line, name, n in zip(lines, ("reference real", "gen_a"), (12, 8), strict=True):
        assert re.fullmatch(rf"{name}: {n} images, [\d.]+ images/s", line)


def test_names_are_not_read_as_markup_or_folded_in_a_pipe() -> None:
    """Folders may be called `gen[bold]` or have long names; what is piped has one line a row."""
    name = "gen[bold]:smile:_" + "x" * 150
    write_folder(Path(name), small_images(3, 7))
    shown = run("score", name, "--reference", "real", "--extractor", "tiny").stdout
    assert any(line.startswith(f"{name}   3   ") for line in shown.splitlines())


def test_the_precision_of_a_reference_is_that_of_the_score() -> None:
    """`--precision` is recorded, taken over from a reference, and refused beside another."""
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    options = ("--extractor", "tiny", "--ranges", "ranges.npz")
    run("make", "real", "-o", "half", "--precision", "bf16", "--channels-last", *options)
    fingerprint = load_vdna("half.npz").fingerprint
    assert (fingerprint.precision, fingerprint.options) == ("bf16", ("channels_last",))
    assert run_json("score", "gen_a", "--reference", "half.npz")["results"][0]["emd"] > 0
    error = run("score", "gen_a", "--reference", "half.npz", "--precision", "fp32", exit_code=1).stderr
    assert "precisions differ: DNA bf16, extractor fp32" in error


def test_a_name_of_the_store_is_one_reference_everywhere() -> None:
    """Groups that lack a layer change no number: `score`, `compare` and `leaderboard` agree, and what lacks is told."""
    options = ("--batch-size", 8)
    name = "bsds500/trainval@vdna_tiny"
    scored = run("score", "gen_a", "--reference", name, "--metrics", "lfd,emd", *options, "--json")
    printed = json.loads(scored.stdout)
    (result,) = printed["results"]
    arguments = ("leaderboard", "gen_a", "--reference", name, "--metrics", "lfd,emd", "--groups", 2, "--pictures", 0)
    scores = run_json(*arguments, "--no-fidelity", "-o", "report", *options)["scores"]
    for score in scores:
        assert score["value"] == pytest.approx(result[score["metric"]], rel=1e-9)
        metric = ("--metric", score["metric"])
        (compared,) = run_json("compare", name, "gen_a", *metric, *options)["results"]
        assert compared[score["metric"]] == result[score["metric"]]
    assert not [sentence for sentence in printed["warnings"] if "error bars" in sentence]
    read = [sentence.split(" of ")[0] for sentence in printed["read"]]
    assert sorted(read) == [f"{name}: histogram", f"{name}: layer_gaussian"]


def test_score_by_neuron_is_compare_by_neuron() -> None:
    """`--by neuron` lists each neuron of each set, as `compare` does; a distance by layer has none."""
    words = ("--extractor", "tiny", "--by", "neuron", "--layers", "second")
    scored = run_json("score", "gen_a", "gen_b.zip", "--reference", "real", *words)["results"]
    compared = run_json("compare", "real", "gen_a", "gen_b.zip", "--metric", "emd", *words)["results"]
    assert [each["emd_by_neuron"] for each in scored] == [each["emd_by_neuron"] for each in compared]
    shown = run("score", "gen_a", "gen_b.zip", "--reference", "real", *words).stdout.splitlines()
    assert [line.split()[1] for line in shown if line.startswith("second")] == [str(i) for i in range(5)]
    refused = run("score", "gen_a", "--reference", "real", *words, "--metrics", "lfd", exit_code=2).stderr
    assert "use --by layer" in refused


def test_one_set_is_given_once() -> None:
    """A set that is named twice is refused, as it would be one row for two."""
    assert "gen_a is given twice" in run("score", "gen_a", "gen_a", "--reference", "real", exit_code=2).stderr
    assert "gen_a is given twice" in run("compare", "real", "gen_a", "gen_a", exit_code=2).stderr


# ---------------------------------------------------------------------------------------------------------- auto ranges
def test_auto_histograms_are_said_to_be_that() -> None:
    """One line says that they find their own ranges and by how much bins move a value; JSON has both."""
    words = ("score", "gen_a", "gen_b.zip", "--reference", "real", "--extractor", "tiny", "--metrics", "emd,nfd")
    dnas = [build_dnas(images, create_extractor("tiny"), ranges="auto")["histogram"] for images in ("real", "gen_a")]
    for ranges in ((), ("--ranges", "auto")):
        printed = run_json(*words, *ranges)
        assert printed["ranges"] == "auto"
        assert printed["results"][0]["emd_bin_width"] == pytest.approx(bin_width(*dnas))
        assert printed["results"][0]["emd"] == pytest.approx(float(compare.emd(*dnas)))  # type: ignore[arg-type]
        widest = max(each["emd_bin_width"] for each in printed["results"])
        said = f"Histograms find their own ranges; their bins move emd (bins) by less than {widest:.3g}."
        assert run(*words, *ranges).stdout.splitlines().count(said) == 1
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    fixed = run_json(*words, "--ranges", "ranges.npz")
    assert "ranges" not in fixed
    assert "emd_bin_width" not in fixed["results"][0]


def test_ranges_are_those_of_the_reference() -> None:
    """A DNA brings its ranges, auto or given, to the images; the other option is refused with what it has."""
    run("calibrate", "real", "-o", "ranges", "--extractor", "tiny")
    for name, ranges, other in (("a", "auto", "ranges.npz"), ("b", "ranges.npz", "auto")):
        run("make", "real", "-o", name, "--extractor", "tiny", "--ranges", ranges)
        words = ("score", "gen_a", "--reference", f"{name}.npz")
        assert run_json(*words)["results"] == run_json(*words, "--ranges", ranges)["results"]
        error = run(*words, "--ranges", other, exit_code=1).stderr
        assert "--ranges are not those of the reference, which come with it (" in error
    run("make", "gen_a", "-o", "c", "--extractor", "tiny", "--ranges", "auto")
    error = run("compare", "b.npz", "c.npz", exit_code=1).stderr
    assert re.search(r"activation ranges differ: reference \[.*\] \(12 images of real.*\), generated auto", error)


def test_neurons_without_a_width_are_counted() -> None:
    """Where neurons gave the reference one value, a warning says how many, and that bins leave them out."""
    weights = create_extractor("tiny").network.state_dict()
    weights["0.weight"][:2] = 0  # these two give their bias
    save_file({name: value.contiguous() for name, value in weights.items()}, "own.safetensors")
    network = ("--extractor", "tiny", "--weights", "own.safetensors")
    words = ("score", "gen_a", "gen_b.zip", "--reference", "real", *network)
    said = "warning: gen_a, gen_b.zip: 2 of 11 neurons gave one value to all images of the reference: in bins"
    assert said in run(*words).stderr
