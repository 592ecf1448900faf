"""Clusters of images by their names, and names that look like clusters."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vdna_metrics import open_images
from vdna_metrics.images import cluster_images, likely_clusters
from vdna_metrics.images.clusters import ClusterRule, in_cluster

NAMES = ("v1/a_0.png", "v1/a_1.png", "v2/a_0.png", "v2/deep/a_0.png", "top.png")


def test_folders_are_clusters() -> None:
    """A cluster is a folder with its whole path; an image that lies in none is by itself."""
    assert cluster_images(NAMES, "folder") == (("v1",), ("v1",), ("v2",), ("v2/deep",), 4)


@pytest.mark.parametrize(
    ("pattern", "labels"),
    [
        (r"^v\d", (("v1",), ("v1",), ("v2",), ("v2",), 4)),
        (r"a_(\d)", (("0",), ("1",), ("0",), ("0",), 4)),
        (r"^(v\d)/(deep)?", (("v1", ""), ("v1", ""), ("v2", ""), ("v2", "deep"), 4)),
        (r"(deep|top)", (0, 1, 2, ("deep",), ("top",))),
    ],
)
def test_names_that_match_alike_are_a_cluster(pattern: str, labels: tuple[object, ...]) -> None:
    """By the groups of a regular expression, by all of the match without groups; what does not match is by itself."""
    assert cluster_images(NAMES, pattern) == labels


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("c.csv", 'name,cluster,more\na.png,1,x\n"b,c.png",1,y\nd.png,two,z\n'),
        ("c.tsv", "cluster\tname\n1\ta.png\n1\tb,c.png\ntwo\td.png\n"),
        ("c.JSON", json.dumps({"a.png": 1, "b,c.png": "1", "d.png": "two", "other.png": "3"})),
    ],
)
def test_a_file_says_the_clusters(tmp_path: Path, file: str, text: str) -> None:
    """A table with the columns name and cluster, or JSON; it may have images of other sets."""
    (tmp_path / file).write_text(text, "utf-8")
    assert cluster_images(["d.png", "b,c.png", "a.png"], str(tmp_path / file)) == (("two",), ("1",), ("1",))
    with pytest.raises(
        ValueError, match=r"has no cluster for 6 of 7 images: 0\.png, 1\.png, 2\.png, 3\.png, 4\.png, \.\.\."
    ):
        cluster_images(["a.png", *(f"{i}.png" for i in range(6))], str(tmp_path / file))
    with pytest.raises(ValueError, match=r"has none of the images; their names are 0\.png"):
        cluster_images(["0.png"], str(tmp_path / file))


def test_a_mapping_is_as_a_file() -> None:
    """Clusters by name, in Python."""
    assert cluster_images(["a", "b", "c"], {"a": "x", "b": "x", "c": "y"}) == (("x",), ("x",), ("y",))
    with pytest.raises(ValueError, match="the mapping has no cluster for 1 of 2 images: d"):
        cluster_images(["a", "d"], {"a": "x"})


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("c.csv", "a.png,1\n", "expected a first line with name and cluster, got a.png, 1"),
        ("c.csv", "name,cluster\na.png,\n", "line 2: expected a name and a cluster"),
        ("c.csv", "name,cluster\na.png,1\na.png,2\n", "has a.png in two clusters, '1' and '2'"),
        ("c.csv", "name,cluster\n", "has no image in it"),
        ("c.csv", "", "expected a first line with name and cluster, got "),
        ("c.json", "[1]", "expected .* with a word or number for each image"),
        ("c.json", "{", r"c\.json: expected JSON: "),
    ],
)
def test_what_is_no_file_of_clusters_is_refused(tmp_path: Path, file: str, text: str, message: str) -> None:
    """What is wrong with the file is said."""
    (tmp_path / file).write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message):
        ClusterRule(str(tmp_path / file))


@pytest.mark.parametrize(
    ("file", "text"), [("c.csv", "name,cluster\na,1\nb,1\nc,1\n"), ("c.json", '{"a":1,"b":1,"c":1}')]
)
def test_clusters_of_too_many_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str
) -> None:
    """As other lists of images; JSON has its limit on values too."""
    (tmp_path / file).write_text(text)
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "4")
    assert len(ClusterRule(str(tmp_path / file)).labels(["a", "b", "c"])) == 3
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "1")
    with pytest.raises(ValueError, match=rf"{file}: .* expected at most 1 images in one container"):
        ClusterRule(str(tmp_path / file))


def test_a_table_of_too_many_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes of commas are counted before they are cells."""
    (tmp_path / "c.csv").write_text("name,cluster\na,1" + "," * 31)
    monkeypatch.setenv("VDNA_METRICS_MAX_IMAGES", "3")
    with pytest.raises(ValueError, match=r"c\.csv: its cells, 8 of a line: expected at most 3 images"):
        ClusterRule(str(tmp_path / "c.csv"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file_of_clusters(tmp_path: Path) -> None:
    """It is there, and nothing waits for its writer."""
    os.mkfifo(tmp_path / "c.csv")
    with pytest.raises(ValueError, match=r"c\.csv: expected a regular file, got a pipe"):
        ClusterRule(str(tmp_path / "c.csv"))


def test_a_file_and_a_regular_expression_are_told_apart_by_the_suffix(tmp_path: Path) -> None:
    """What ends as a table or JSON is a file, and an error where there is none; the rest is a regular expression."""
    with pytest.raises(
        ValueError, match=r"no file of clusters at 'v.*\.csv'; a regular expression does not end in \.csv"
    ):
        ClusterRule(r"v.*\.csv")
    (tmp_path / "clusters.txt").write_text("name,cluster\n")
    with pytest.raises(
        ValueError, match=r"no image's name matches '.*clusters.txt', .* ends in \.csv, \.tsv, \.json\); na"
    ):
        cluster_images(NAMES, str(tmp_path / "clusters.txt"))
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        ClusterRule("(")
    with pytest.raises(ValueError, match="no image lies in a folder below that of its set"):
        cluster_images(["a.png", "b.png"], "folder")


# ------------------------------------------------------------------------------------------------ names that look alike
def _numbered(pattern: str, number: int = 40, each: int = 4, words: str = "abcdefghijklmnop") -> list[str]:
    return [pattern.format(i=i, of=i // each, at=i % each, word=words[i // each % len(words)]) for i in range(number)]


CLUSTERED = {
    "frames of clips": (_numbered("clip{of}_{i:05}.png"), 10),
    "samples of prompts": (_numbered("prompt{of}_sample{at}.png"), 10),
    "prompts without a word": (_numbered("{of:04}_sample_{at}.png"), 10),
    "frames of one video": (_numbered("frame_{i:04}.png"), 1),
    "folders of frames": (_numbered("{word}/frame_{at:04}.png"), 10),
    "folders of videos": (_numbered("video_{of}/{at:04}.jpg"), 10),
    "videos in class folders": (_numbered("Biking/v_Biking_g{of:02}_c01/frame{at:04}.jpg"), 10),
    "copies beside what they are of": ([n.replace(" (0)", "") for n in _numbered("img-{word} ({at}).png")], 10),
    "augmented": (_numbered("cat/{of:03}_aug{at}.png"), 10),
    "augmented beside what they are of": ([n.replace("_aug0", "") for n in _numbered("{of:03}_aug{at}.png")], 10),
    "seeds of prompts": (_numbered("a red {word}_seed{at}.png"), 10),
    "patches": (_numbered("slide-{of:03}_patch_{at}.tif"), 10),
    "slices": (_numbered("patient{of:03}/slice_{at}.png"), 10),
    "bursts": (_numbered("IMG_{of:04}_BURST{at:03}.jpg"), 10),
    "other case": (_numbered("Clip{of}_Frame{at}.PNG"), 10),
}
INDEPENDENT = {
    "words renamed at once": _numbered("img-{word}({at}).png"),
    "class folders renamed at once": _numbered("{word}/img ({at}).png"),
    "classes that are scenes": _numbered("scene_{of}/{at}.png"),
    "seeds of classes": _numbered("class{of}_seed{at}.png"),
    "samples of ranks": _numbered("rank{of}_sample{at}.png"),
    "class folders": _numbered("{word}/{i:04}.png", 80, 40),
    "ImageNet, training": _numbered("n0144076{of}/n0144076{of}_{i}.JPEG", 80, 20),
    "ImageNet, flat": _numbered("n0144076{of}_{i}.JPEG", 80, 20),
    "ImageNet, validation": _numbered("ILSVRC2012_val_{i:08}.JPEG"),
    "CIFAR": _numbered("{i:04}.png"),
    "five digits": _numbered("{i:05}.png"),
    "FFHQ": _numbered("{of:02}000/{i:05}.png", 80, 20),
    "COCO": _numbered("COCO_val2014_{i:012}.jpg"),
    "LSUN": _numbered("bedroom_{i:07}.webp"),
    "samples of one generator": _numbered("sample_{i:05}.png"),
    "seeds of one generator": _numbered("seed{i:04}.png"),
    "samples in a folder": _numbered("step1000/sample_{i:05}.png"),
    "samples in class folders": _numbered("{word}/sample_{i:04}.png", 80, 40),
    "samples with their class": _numbered("{word}_sample_{i:04}.png", 80, 40),
    "classes in names": _numbered("{word}_{i:04}.png", 80, 40),
    "numbers of classes": _numbered("{of}_{i:04}.png", 80, 40),
    "one sample a prompt": _numbered("prompt{i}_sample0.png"),
    "prompts": _numbered("prompt_{i:04}.png"),
    "videos, one frame each": _numbered("video{i:04}_frame0.png"),
    "renamed at once": _numbered("photo ({i}).jpg"),
    "words that end alike": [f"{word}_{i}.png" for word in ("carrot", "parrot", "preview") for i in range(20)],
    "dates": _numbered("IMG_202301{of:02}_{i:06}.jpg"),
    "splits": _numbered("{word}/{i}.jpg"),
    "an array": _numbered("{i}"),
    "one image": ["a.png"],
    "none": [],
}  # fmt: skip


@pytest.mark.parametrize("scheme", CLUSTERED)
def test_clusters_are_seen_in_names(scheme: str) -> None:
    """A word before a number, or a number in brackets, tells; the rule that is named makes those clusters."""
    names, number = CLUSTERED[scheme]
    found = likely_clusters(names)
    assert found is not None
    assert (found.number, found.mean) == (number, 40 / number)
    labels = cluster_images(names, found.by)
    assert len(set(labels)) == number
    assert all(map(in_cluster, labels))
    first, second = (labels[names.index(name)] for name in found.examples)
    assert first == second
    assert f"give --cluster-by '{found.by}'" in str(found)


@pytest.mark.parametrize("scheme", INDEPENDENT)
def test_no_clusters_are_seen_in_other_names(scheme: str) -> None:
    """Class folders and running numbers say nothing of clusters."""
    assert likely_clusters(INDEPENDENT[scheme]) is None


def test_photographs_are_no_clusters(shared: Path) -> None:
    """Nothing is said of the sets of photographs beside the project."""
    archives = sorted((shared / "data").glob("*.zip"))
    assert archives
    assert [likely_clusters(open_images(path).names) for path in archives] == [None] * len(archives)


def test_names_of_separators_alone_take_no_time() -> None:
    """What looks for the number of an image in a name goes once over a run of separators."""
    assert likely_clusters(["_" * 50_000 + ".png", "-. _" * 10_000 + "x.png"]) is None
