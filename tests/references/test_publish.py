"""From one store to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.dnas import make_dna, make_fingerprint, make_ranges
from helpers.hub_server import TOKEN, Hub, hub_server

from vdna_metrics.references import store as module
from vdna_metrics.references.adding import add_card, add_ranges, add_reference, publish, verify_store
from vdna_metrics.references.store import ReferenceStore, list_references, load_reference


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReferenceStore:
    """The user's store, with two references, ranges and a card."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    mine = module.user_store()
    for kind, images in (("histogram", 12), ("gaussian", 9)):
        add_reference(make_dna(kind, images), mine, dataset="cats", split="train")
    add_ranges(
        make_ranges(fingerprint=make_fingerprint()), mine, extractor=make_dna("gaussian", 2).provenance.extractor
    )
    add_card(mine, "cats", "# Cats\n")
    return mine


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, and a token that may write to it."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    module.forget_remote_manifests()
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running
    module.forget_remote_manifests()


def _named(kind: str) -> str:
    return next(
        record.name for record in list_references() if record.dataset == "cats" and record.kind.startswith(kind)
    )


def test_a_folder_gets_the_files_byte_by_byte(mine: ReferenceStore, tmp_path: Path) -> None:
    """A copy of a reference is the same file, with its ranges and its card, and the copy verifies."""
    target = ReferenceStore(str(tmp_path / "shared"))
    copied = publish([_named("histogram")], target.location)
    assert [record.name for record in copied] == [_named("histogram"), f"ranges@{copied[0].extractor}"]
    assert target.file(copied[0]).read_bytes() == mine.file(copied[0]).read_bytes()
    assert target.card("cats") == "# Cats\n"
    assert {problem for _, problem in verify_store(target)} == {None}


@pytest.mark.usefixtures("mine")
def test_what_is_published_is_found_by_others(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One uploads to the hub, in one commit, and another, with an empty cache, loads it by name."""
    name = _named("histogram")
    dna = load_reference(name)
    publish([name], "hub:lab/references")
    assert len(hub.commits["lab/references"]) == 2
    assert "cards/cats.md" in hub.files("lab/references")
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "another"))
    loaded = load_reference(f"hub:lab/references::{name}")
    assert (loaded.distribution.state == dna.distribution.state).all()
    monkeypatch.setenv("VDNA_METRICS_STORES", "hub:lab/references")
    assert load_reference("cats/train").n_images == 12
    assert {problem for _, problem in verify_store("hub:lab/references")} == {None}


@pytest.mark.usefixtures("mine")
def test_publishing_adds_to_what_is_there(hub: Hub) -> None:
    """A second publication keeps the first, and one of the same changes no file."""
    publish([_named("histogram")], "hub:lab/references")
    publish([_named("gaussian")], "hub:lab/references")
    names = [record.name for record in list_references("hub:lab/references")]
    assert names == sorted([_named("gaussian"), _named("histogram")])
    before = hub.files("lab/references")
    publish([_named("gaussian")], "hub:lab/references")
    assert hub.files("lab/references") == before


def test_other_contents_are_refused_unless_asked_for(mine: ReferenceStore, hub: Hub) -> None:
    """What is published under a name is not replaced unless that is said, and then the old file goes."""
    name = _named("histogram")
    publish([name], "hub:lab/references")
    add_reference(make_dna("histogram", 20), mine, dataset="cats", split="train", overwrite=True)
    with pytest.raises(ValueError, match=r"with other contents: there 12 images, .* new 20 images.*--overwrite"):
        publish([name], "hub:lab/references")
    publish([name], "hub:lab/references", overwrite=True)
    assert len([path for path in hub.files("lab/references") if path.startswith("dnas/")]) == 1
    assert load_reference(f"hub:lab/references::{name}").n_images == 20


@pytest.mark.usefixtures("mine")
def test_a_commit_of_somebody_else_in_between_is_not_overwritten(hub: Hub) -> None:
    """Who published while this one was preparing keeps his commit: this one is refused."""
    publish([_named("histogram")], "hub:lab/references")
    hub.meanwhile.append({"theirs": b"1"})
    with pytest.raises(ValueError, match=r"hub:lab/references could not be published to: .*publish again"):
        publish([_named("gaussian")], "hub:lab/references")
    assert hub.files("lab/references") == {"theirs": b"1"}


@pytest.mark.usefixtures("mine")
def test_a_token_is_needed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a right to write, nothing is written and the error says what is needed."""
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(ValueError, match=r"hub:lab/references could not be published to: .*HF_TOKEN"):
        publish([_named("histogram")], "hub:lab/references")
    assert hub.commits == {}


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("names", "to", "error"),
    [
        (["dogs/train"], "hub:lab/references", "no file, folder or reference 'dogs/train'"),
        ([], "folder", "name at least one"),
        (["cats/train#histogram"], "https://host/references", "is not on this machine"),
        (["cats/train#histogram"], "hub:not a name", "could not be published to"),
    ],
)
def test_publishing_refuses(names: list[str], to: str, error: str) -> None:
    """Unknown references and places that cannot be written to are errors before anything is sent."""
    with pytest.raises(ValueError, match=error):
        publish(names, to)
