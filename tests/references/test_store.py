"""References and ranges by name."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import pytest
import torch
from helpers.adding import add_again_and_again
from helpers.dnas import make_dna, make_fingerprint, make_ranges
from helpers.file_server import FileServer, file_server

from vdna_metrics import (
    ExtractorSpec,
    PrecomputedFeatures,
    VDNAEarthMoversDistance,
    build_dnas,
    create_extractor,
    downloads,
)
from vdna_metrics.distributions import FeatureSample, HistogramDistribution
from vdna_metrics.extractors import get_spec
from vdna_metrics.files import sha256_of_file
from vdna_metrics.references import store
from vdna_metrics.references.adding import add_ranges, add_reference, copy_records, verify_store
from vdna_metrics.references.records import Manifest, RangesRecord, ReferenceRecord
from vdna_metrics.references.store import (
    ReferenceStore,
    bundled_store,
    default_ranges,
    find_ranges,
    find_reference,
    list_references,
    load_reference,
    ranges_origin,
    user_store,
)

NAMES = [
    "cats/all@VGG16#histogram-1000",
    "cats/all@VGG16#histogram-500",
    "FFHQ/train@dino#gaussian",
    "FFHQ/train@dino#histogram-1000",
    "FFHQ/val@dino#gaussian",
    "FFHQ/val@vgg16#gaussian",
    "ffhq-0.5/val@dino#gaussian",
]


def _record(name: str, path: Path, n_images: int) -> ReferenceRecord:
    rest, kind = name.split("#")
    rest, extractor = rest.split("@")
    dataset, split = rest.split("/")
    return ReferenceRecord(dataset, split, extractor, kind, path.name, sha256_of_file(path), n_images, "0", "clean")


@pytest.fixture
def made_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with `NAMES` and ranges of one extractor, in place of the bundled one."""
    references = []
    for i, name in enumerate(NAMES):
        path = make_dna("histogram" if "histogram" in name else "gaussian", 10 + i).save(tmp_path / f"{i}.npz")
        references.append(_record(name, path, 10 + i))
    path = make_ranges(fingerprint=make_fingerprint()).save(tmp_path / "ranges.npz")
    ranges = RangesRecord("dino", path.name, sha256_of_file(path), 7, ["test"], "none", "0")
    (tmp_path / "manifest.json").write_text(Manifest(tuple(references), (ranges,)).dump())
    monkeypatch.setattr(store, "bundled_store", lambda: ReferenceStore(str(tmp_path)))
    return tmp_path


@pytest.mark.usefixtures("made_store")
def test_references_are_listed_by_name() -> None:
    """The list has every record, sorted by its canonical name."""
    assert [record.name for record in list_references()] == sorted(NAMES)


@pytest.mark.usefixtures("made_store")
@pytest.mark.parametrize("name", NAMES)
def test_a_canonical_name_is_unique(name: str) -> None:
    """The canonical name finds its record, in any case, and loads its DNA."""
    for spelled in (name, name.lower(), name.upper()):
        assert find_reference(spelled)[1].name == name
    assert load_reference(name).n_images == 10 + NAMES.index(name)


@pytest.mark.usefixtures("made_store")
@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("ffhq-0.5", {}, "ffhq-0.5/val@dino#gaussian"),
        ("ffhq/train#gaussian", {}, "FFHQ/train@dino#gaussian"),
        ("ffhq/val@vgg16", {}, "FFHQ/val@vgg16#gaussian"),
        ("ffhq@vgg16", {}, "FFHQ/val@vgg16#gaussian"),
        ("FFHQ#histogram", {}, "FFHQ/train@dino#histogram-1000"),
        ("cats#histogram-500", {}, "cats/all@VGG16#histogram-500"),
        ("ffhq/val", {"extractor": "VGG16"}, "FFHQ/val@vgg16#gaussian"),
        ("ffhq", {"extractor": "dino", "kind": "histogram"}, "FFHQ/train@dino#histogram-1000"),
        ("ffhq/val@vgg16", {"extractor": "dino"}, "FFHQ/val@vgg16#gaussian"),
        ("ffhq/train#gaussian", {"kind": "histogram"}, "FFHQ/train@dino#gaussian"),
    ],
)
def test_a_partial_name_needs_one_record(name: str, options: dict[str, str], found: str) -> None:
    """Parts may be left out where one record remains; what the name says goes before what is assumed."""
    assert find_reference(name, **options)[1].name == found


@pytest.mark.usefixtures("made_store")
@pytest.mark.parametrize(
    ("name", "options", "candidates"),
    [
        ("ffhq/train", {}, NAMES[2:4]),
        ("ffhq", {"kind": "gaussian"}, [NAMES[2], NAMES[4], NAMES[5]]),
        ("cats#histogram", {}, NAMES[:2]),
    ],
)
def test_an_ambiguous_name_lists_what_it_could_be(name: str, options: dict[str, str], candidates: list[str]) -> None:
    """Where several records fit, the error lists just these."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        find_reference(name, **options)
    assert str(caught.value) == f"reference {name!r} could be: {', '.join(candidates)}"


@pytest.mark.usefixtures("made_store")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fhq/train@dino#gaussian", {}),
        ("ffhq/test", {}),
        ("ffhq/val#histogram-1000", {}),
        ("ffhq/train", {"extractor": "mugs", "kind": "histogram"}),
        ("ffhq#hist", {}),
        ("", {}),
    ],
)
def test_an_unknown_name_lists_those_of_its_set(name: str, options: dict[str, str]) -> None:
    """Where no record fits, the error says what was looked for and lists what there is of that split, or image set."""
    with pytest.raises(ValueError, match=r"no (file, folder or )?reference '.*';") as caught:
        load_reference(name, **options)
    if name.startswith("ffhq"):
        of_split = [known for known in NAMES if known.lower().startswith(f"{name.partition('#')[0]}@")]
        assert [known for known in NAMES if known in str(caught.value)] == (of_split or NAMES[2:6])
    assert "cats" not in str(caught.value)
    assert all(part in str(caught.value) for part in options.values())


@pytest.mark.usefixtures("made_store")
def test_a_misspelt_name_is_told_the_near_one() -> None:
    """A name with a slip of the pen is answered with the one that was meant."""
    with pytest.raises(ValueError, match=r"did you mean 'ffhq-0\.5/val@dino#gaussian'"):
        find_reference("ffhq-05/val@dino#gaussian")


def test_a_tampered_file_is_refused(made_store: Path) -> None:
    """A file that is not the one of the manifest is refused, even when it is a good DNA."""
    make_dna("histogram", 99).save(made_store / "0.npz")
    with pytest.raises(ValueError, match=r"0\.npz was changed: its sha256 is \w{12}, the manifest says \w{12}"):
        load_reference(NAMES[0])
    make_ranges().save(made_store / "ranges.npz")
    with pytest.raises(ValueError, match=r"ranges\.npz was changed: its sha256 is"):
        find_ranges("dino")


def test_the_case_of_a_manifests_sha256_does_not_matter(made_store: Path) -> None:
    """A manifest may have its sha256 in capitals; another sha256 is refused as ever."""
    manifest = made_store / "manifest.json"
    plain = json.loads(manifest.read_text())
    for record in (*plain["references"], *plain["ranges"]):
        record["sha256"] = record["sha256"].upper()
    manifest.write_text(json.dumps(plain))
    assert load_reference(NAMES[0]).n_images
    assert find_ranges("dino") is not None
    (made_store / "0.npz").write_bytes((made_store / "1.npz").read_bytes())
    with pytest.raises(ValueError, match=r"0\.npz was changed: its sha256 is"):
        load_reference(NAMES[0])


@pytest.mark.usefixtures("made_store")
def test_ranges_by_extractor() -> None:
    """Ranges are found by the extractor's name; where there are none, it is said how to get them."""
    assert ranges_origin("dino") == "ship"
    assert ranges_origin("seeded_resnet50") == "auto"
    assert default_ranges(create_extractor("seeded_resnet50")) == "auto"
    assert find_ranges("dino").equals(make_ranges())
    with pytest.raises(
        ValueError,
        match=r"no activation ranges ship for 'seeded_resnet50'.*calibrate IMAGES --extractor seeded_resnet50",
    ):
        find_ranges("seeded_resnet50")


@pytest.mark.parametrize(
    ("extractor", "typed"),
    [
        (lambda: "fid_inception", "IMAGES --extractor fid_inception"),
        (lambda: get_spec("timm:resnet10t"), "IMAGES --extractor timm:resnet10t"),
        (lambda: ExtractorSpec("own", "resnet18", ["layer1"], weights="seeded:0"), "IMAGES --extractor SPEC.json"),
        (lambda: create_extractor(torch.nn.Conv2d(3, 2, 3)), "IMAGES --extractor FILE.py:FACTORY --trust-code"),
        (lambda: create_extractor(PrecomputedFeatures({"pool": 4})), "FEATURES.npz"),
    ],
)
def test_only_what_can_be_typed_is_advised(extractor: Callable[[], Any], typed: str) -> None:
    """Where ranges are missing, the command that the error names takes the network: names alone stand for some."""
    with pytest.raises(ValueError, match=rf"vdna-metrics calibrate {typed} -o ranges.npz"):
        find_ranges(extractor())


# ---- ranges published with an extractor

_PUBLISHED = ExtractorSpec(
    "published", "test_resnet", ["layer1", "layer2"], 32, weights="seeded:1", ranges="hf-hub:a/b/net/ranges.json"
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server in the place of the hub, an empty cache, and no token of this machine."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with file_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running
    store._remote_manifest.cache_clear()


def _published(low: float = 0.0, high: float = 20.0) -> bytes:
    """The vdna package's file for `_PUBLISHED`, and a layer that it does not look at."""
    layout = {**create_extractor(_PUBLISHED).layout, "layer4": 3}
    ends = {"mins_per_neuron": low, "maxs_per_neuron": high}
    return json.dumps(
        {
            part: {layer: {str(i): end for i in range(count)} for layer, count in layout.items()}
            for part, end in ends.items()
        }
    ).encode()


def test_published_ranges_lead_to_a_histogram(hub: FileServer) -> None:
    """Ranges of the hub are downloaded once and fill a metric and DNAs, with their origin and the extractor."""
    hub.serve("a/b/resolve/main/net/ranges.json", _published())
    extractor = create_extractor(_PUBLISHED)
    assert ranges_origin(extractor) == "published"
    assert ranges_origin(_PUBLISHED) == "published"
    assert hub.requests == []
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    dna = build_dnas(images, extractor, ["histogram"], bins=50, name="noise")["histogram"]
    distribution = dna.distribution
    assert isinstance(distribution, HistogramDistribution)
    assert distribution.ranges.sources == (_PUBLISHED.ranges,)
    assert distribution.ranges.fingerprint == extractor.fingerprint
    assert distribution.ranges.widen == "vdna"
    assert set(distribution.ranges.high.tolist()) == {24.0}
    metric = VDNAEarthMoversDistance(_PUBLISHED, layers=["layer2"], bins=50)
    metric.update(images, real=True)
    metric.update(images)
    assert metric.compute() == 0
    assert len(hub.requests) == 1


def test_ranges_that_cannot_be_had_say_how_to_calibrate(hub: FileServer) -> None:
    """Published ranges that cannot be downloaded, or are of another network, are an error and no silent calibration."""
    with pytest.raises(
        ValueError,
        match=r"published for 'published' could not be had: .*HTTP 404.*calibrate IMAGES --extractor SPEC.json",
    ):
        find_ranges(_PUBLISHED)
    hub.serve("a/b/resolve/main/net/ranges.json", b'{"mins_per_neuron": {"l": {}}, "maxs_per_neuron": {"l": {}}}')
    with pytest.raises(ValueError, match=r"expected .* got .*of layers l.*calibrate IMAGES"):
        find_ranges(_PUBLISHED)


def test_an_empty_store_says_so(made_store: Path) -> None:
    """A store without references is no crash."""
    (made_store / "manifest.json").write_text(Manifest().dump())
    assert list_references() == []
    with pytest.raises(ValueError, match="no file, folder or reference 'ffhq'; `vdna-metrics references list` shows"):
        find_reference("ffhq")


@pytest.mark.parametrize("record", list_references(), ids=lambda record: record.name)
def test_bundled_references_are_what_they_say(record: ReferenceRecord) -> None:
    """Every reference that ships is intact, of the kind, images and network that its record says."""
    dna = load_reference(record.name)
    assert dna.n_images == record.n_images
    assert dna.provenance.extractor == record.extractor
    kind: Any = dna.kind
    if isinstance(dna.distribution, HistogramDistribution):
        kind = f"{kind}-{dna.distribution.bins}"
        assert dna.distribution.ranges.equals(find_ranges(record.extractor).for_layout(dna.layout))
    elif isinstance(dna.distribution, FeatureSample):
        kind = f"{kind}-{dna.distribution.size}"
    assert record.kind == kind
    assert record.licence
    assert dna.provenance.manifests
    assert not dna.provenance.skipped


def test_every_bundled_file_is_in_the_manifest() -> None:
    """No file lies in the store that the manifest does not name, and every image set has a card."""
    root = bundled_store().folder
    manifest = bundled_store().manifest()
    assert {path.relative_to(root).as_posix() for path in root.glob("[dr]*/*.npz")} == {
        r.file for r in manifest.records
    }
    assert {path.stem for path in (root / "cards").iterdir()} == {record.dataset for record in manifest.references}


# ---- adding


def test_what_is_added_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNA and ranges in the user's store are found by name, with all that their record says."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path))
    dna = make_dna("histogram", 6)
    mine = user_store()
    (made,) = add_reference(dna, mine, dataset="cats", split="train", resolution="8x8", licence="CC0", origin="a test")
    assert find_reference("cats") == (mine, made)
    assert made.fingerprint == dna.fingerprint.digest
    assert made.preprocessing == dna.fingerprint.preprocessing
    ranges = make_ranges()
    added = add_ranges(ranges, mine, extractor="dino")
    assert added.ranges == made.ranges == ranges.digest
    assert find_ranges("dino").equals(ranges)
    assert list(verify_store(mine)) == [(made.name, None), ("ranges@dino", None)]
    assert Manifest.parse(mine.manifest().dump(), "a test") == mine.manifest()


def test_readers_and_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """While two processes replace references over and over, a third reads whole ones, and nothing is left over."""
    store = ReferenceStore(str(tmp_path))
    add_again_and_again(store.location, "gaussian", 1)
    workers = [
        multiprocessing.get_context("spawn").Process(target=add_again_and_again, args=(store.location, kind, 15))
        for kind in ("histogram", "gaussian")
    ]
    for worker in workers:
        worker.start()
    reads = 0
    while any(worker.is_alive() for worker in workers):
        assert load_reference(f"{store.location}::cats#gaussian").n_images in (5, 6)
        reads += 1
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert reads > 0
    assert [problem for _, problem in verify_store(store)] == [None, None]
    assert {path.name for path in (tmp_path / "dnas").iterdir()} == {
        Path(record.file).name for record in store.manifest().records
    }
    assert not list(tmp_path.glob(".adding-*"))


# A reader has looked its record up, and a writer replaces it: before the reader comes for the file, before it hashes
# it, and before it opens it, which it does once.
MOMENTS: dict[str, tuple[object, str, bool]] = {
    "before the file": (ReferenceStore, "file", True),
    "before the hash": (store, "sha256_of_file", True),
    "after the hash": (store, "sha256_of_file", False),
}


def _interrupt(monkeypatch: pytest.MonkeyPatch, moment: str, write: Callable[[int], object]) -> list[int]:
    """Calls ``write(n)`` at the n-th time that a moment comes; gives the numbers."""
    owner, name, before = MOMENTS[moment]
    original = getattr(owner, name)
    turns: list[int] = []
    inside: list[bool] = []

    def interrupted(*arguments: Any) -> Any:
        if inside:  # the writer's own
            return original(*arguments)
        inside.append(True)
        found = None if before else original(*arguments)
        turns.append(len(turns) + 1)
        write(turns[-1])
        inside.clear()
        return original(*arguments) if before else found

    monkeypatch.setattr(owner, name, interrupted)
    return turns


def _add_cats(folder: ReferenceStore, n_images: int) -> None:
    """Put a DNA and ranges into a store, in place of those of other contents."""
    dna = make_dna("gaussian", n_images)
    add_reference(dna, folder, dataset="cats", split="train", origin=f"{n_images} images", overwrite=True)
    add_ranges(replace(make_ranges(), n_images=n_images), folder, extractor="dino", overwrite=True)


def _copied(folder: ReferenceStore) -> int:
    (record,) = folder.manifest().references
    target = ReferenceStore(f"{folder.location}-copy")
    copy_records(folder, [record], target)
    assert [problem for _, problem in verify_store(target)] == [None]
    return load_reference(f"{target.location}::cats").n_images


def _verified(folder: ReferenceStore) -> int:
    assert [problem for _, problem in verify_store(folder)] == [None, None]
    return load_reference(f"{folder.location}::cats").n_images


READERS: dict[str, Callable[[ReferenceStore], int]] = {
    "load_reference": lambda folder: load_reference(f"{folder.location}::cats").n_images,
    "find_ranges": lambda _folder: find_ranges("dino").n_images,
    "copy_records": _copied,
    "verify_store": _verified,
}


@pytest.fixture
def shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReferenceStore:
    """A store on a disk that others write to, with a DNA and ranges of five images."""
    folder = ReferenceStore(str(tmp_path / "shared"))
    _add_cats(folder, 5)
    monkeypatch.setenv("VDNA_METRICS_STORES", folder.location)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("reader", READERS)
def test_a_record_that_is_replaced_meanwhile_is_looked_up_anew(
    moment: str, reader: str, shared_folder: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes for a file that a writer has just replaced, once or three times, gets the new one and no error."""

    def write(turn: int) -> None:
        if turn <= 3:
            _add_cats(shared_folder, 5 + turn)

    turns = _interrupt(monkeypatch, moment, write)
    assert READERS[reader](shared_folder) == 8
    assert len(turns) >= 4


def test_contents_that_come_back_are_found(shared_folder: ReferenceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is gone for a moment, replaced and put back under its old name, is no error either."""
    original = ReferenceStore.file
    failed: list[bool] = []

    def gone_for_a_moment(self: ReferenceStore, record: ReferenceRecord) -> Path:
        if failed or self != shared_folder:
            return original(self, record)
        failed.append(True)
        _add_cats(shared_folder, 6)
        try:
            return original(self, record)
        finally:
            _add_cats(shared_folder, 5)

    monkeypatch.setattr(ReferenceStore, "file", gone_for_a_moment)
    assert load_reference(f"{shared_folder.location}::cats").n_images == 5
    assert failed


def test_a_writer_without_end_is_an_error(shared_folder: ReferenceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a record is replaced whenever it has been looked up, the reader gives up and says what is missing."""
    monkeypatch.setattr(store, "_LOOKUPS", 3)
    turns = _interrupt(monkeypatch, "before the file", lambda turn: _add_cats(shared_folder, 5 + turn))
    with pytest.raises(ValueError, match=r"\.npz is missing, .*manifest\.json names it"):
        load_reference(f"{shared_folder.location}::cats")
    assert turns == [1, 2, 3]


@pytest.mark.parametrize("reader", ["load_reference", "find_ranges", "copy_records"])
def test_a_file_that_nobody_replaced_is_missed_at_once(
    reader: str, shared_folder: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing, or changed, while nobody writes is looked at once, and its error is that of the file."""
    looks = _interrupt(monkeypatch, "before the file", lambda _turn: None)
    paths = [Path(shared_folder.location, record.file) for record in shared_folder.manifest().records]
    for path in paths:
        path.write_bytes(b"other")
    with pytest.raises(ValueError, match=r"\.npz was changed: its sha256 is"):
        READERS[reader](shared_folder)
    for path in paths:
        path.unlink()
    with pytest.raises(ValueError, match=r"\.npz is missing, .*manifest\.json names it"):
        READERS[reader](shared_folder)
    assert looks == [1, 2]


def test_old_files_go_before_the_next_writer_comes(
    shared_folder: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replaced file is removed under the writers' lock: a moment later it may be another writer's new file."""
    original = Path.unlink
    removed: list[str] = []

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".npz":
            removed.append(self.name)
            with pytest.raises(filelock.Timeout), filelock.FileLock(shared_folder.folder / ".manifest.json.lock", 0):
                pass
        original(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    before = {Path(record.file).name for record in shared_folder.manifest().records}
    _add_cats(shared_folder, 6)
    assert set(removed) == before


def test_a_refused_reference_leaves_nothing(tmp_path: Path) -> None:
    """An addition that is refused, or is cut short, leaves the store as it was."""
    store = ReferenceStore(str(tmp_path))
    add_reference(make_dna("gaussian", 5), store, dataset="cats", split="train")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"there 5 images, .* new 6 images"):
        add_reference(make_dna("gaussian", 6), store, dataset="cats", split="train")
    broken = make_dna("gaussian", 6)
    broken.distribution.state[1] = 1  # an activation that is not finite
    with pytest.raises(ValueError, match="not finite"):
        add_reference(broken, store, dataset="dogs", split="train")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("dataset", "split"), [("Cats", "train"), ("cats", "a/b"), ("", "train"), ("../x", "train")])
def test_names_are_words(dataset: str, split: str, tmp_path: Path) -> None:
    """Names that differ by case, or that lead out of the store, cannot be made."""
    with pytest.raises(ValueError, match="expected lower-case letters, digits and"):
        add_reference(make_dna("gaussian", 5), ReferenceStore(str(tmp_path)), dataset=dataset, split=split)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_ships_is_not_taken(tmp_path: Path) -> None:
    """A reference of the user cannot stand in the way of one that ships with the package."""
    shipped = load_reference("bsds500/test@vdna_tiny#gaussian")
    with pytest.raises(ValueError, match="bsds500/test@vdna_tiny#gaussian ships with the package"):
        add_reference(shipped, ReferenceStore(str(tmp_path)), dataset="bsds500", split="test")


RECORD = {
    "dataset": "cats", "split": "all", "extractor": "tiny", "kind": "gaussian", "file": "x", "sha256": "0" * 64,
    "n_images": 9, "fingerprint": "0", "preprocessing": "clean",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"schema": 3}, r"manifest\.json has schema 3 .*this version reads up to 2: upgrade"),
        ({"references": [{**RECORD, "file": "../x"}]}, r"\[0\]\.file: expected a path inside the store, got '../x'"),
        ({"references": [{**RECORD, "file": "/x"}]}, "expected a path inside the store, got '/x'"),
        ({"references": [{**RECORD, "file": "C:\\x"}]}, "expected a path inside the store, got"),
        ({"references": [{**RECORD, "mood": 1}]}, r"\[0\]: expected the fields dataset, .* it has \['mood'\]"),
        ({"references": [{**RECORD, "sha256": ""}]}, r"\[0\]\.sha256: expected 64 hexadecimal digits, got ''"),
        ({"references": [{**RECORD, "n_images": -1}]}, r"references\[0\]\.n_images: expected a whole number from 0"),
        ({"references": [{"file": "x"}]}, r"manifest\.json: references\[0\]: expected the fields .* it lacks \['data"),
        ({"references": 3}, r"manifest\.json: references: expected a list, got 3"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(change: dict[str, Any], error: str, tmp_path: Path) -> None:
    """A manifest of a newer schema, or one that names files elsewhere, is refused with its name."""
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 1, "references": [], "ranges": [], **change}))
    with pytest.raises(ValueError, match=error):
        list_references(str(tmp_path))


def test_a_renamed_or_missing_file_is_refused(made_store: Path) -> None:
    """A file under another's name, or none, is an error that names it."""
    (made_store / "0.npz").rename(made_store / "moved.npz")
    with pytest.raises(ValueError, match=r"0\.npz is missing, .*manifest\.json names it"):
        load_reference(NAMES[0])
    (made_store / "1.npz").rename(made_store / "0.npz")
    with pytest.raises(ValueError, match=r"0\.npz was changed"):
        load_reference(NAMES[0])


def test_a_gaussian_may_come_from_a_layer_gaussian(tmp_path: Path) -> None:
    """Where only means and covariances are kept, they serve for the neurons' own Gaussians."""
    store = ReferenceStore(str(tmp_path))
    add_reference(make_dna("layer_gaussian", 5), store, dataset="cats", split="train")
    assert find_reference(f"{tmp_path}::cats", kind="gaussian")[1].kind == "layer_gaussian"
    add_reference(make_dna("gaussian", 5), store, dataset="cats", split="train")
    assert find_reference(f"{tmp_path}::cats", kind="gaussian")[1].kind == "gaussian"


# ---- stores elsewhere


def test_a_store_at_an_address(hub: FileServer, tmp_path: Path) -> None:
    """A folder behind a web address is a store: its manifest is read anew, its files once, each by its sha256."""
    folder = ReferenceStore(str(tmp_path / "site"))
    (made,) = add_reference(make_dna("gaussian", 5), folder, dataset="cats", split="train")

    def put() -> None:
        for path in Path(folder.location).rglob("[!.]*"):
            if path.is_file():
                hub.serve(f"site/{path.relative_to(folder.location).as_posix()}", path.read_bytes())

    put()
    name = f"{hub.address}/site::cats/train"
    for _ in range(2):
        assert load_reference(name).n_images == 5
    assert [path for path, _ in hub.requests] == ["/site/manifest.json", f"/site/{made.file}"]
    # Another process sees what has been added meanwhile, and where the site is gone, what it was.
    add_reference(make_dna("gaussian", 6), folder, dataset="cats", split="train", overwrite=True)
    put()
    store._remote_manifest.cache_clear()
    assert load_reference(name).n_images == 6
    hub.files.clear()
    store._remote_manifest.cache_clear()
    assert load_reference(name).n_images == 6
    with pytest.raises(ValueError, match="HTTP 404"):
        list_references(f"{hub.address}/nothing")


def test_a_remote_file_that_is_another_is_refused(hub: FileServer, tmp_path: Path) -> None:
    """A file that is not the one of the manifest is not kept."""
    folder = ReferenceStore(str(tmp_path / "site"))
    (made,) = add_reference(make_dna("gaussian", 5), folder, dataset="cats", split="train")
    hub.serve("site/manifest.json", (tmp_path / "site" / "manifest.json").read_bytes())
    hub.serve(f"site/{made.file}", make_dna("gaussian", 7).save(tmp_path / "other.npz").read_bytes())
    with pytest.raises(ValueError, match=f"has sha256 .*, expected {made.sha256}"):
        load_reference(f"{hub.address}/site::cats")


def test_a_folder_of_that_name_is_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that a store lacks and the folder one is in has is told as what it is, not as near to itself."""
    (tmp_path / "wn").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no reference 'wn'; the file or folder of that name is read by resolve or"):
        load_reference("wn")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_reference(5), "expected the name of a reference to be str, got the int 5"),  # type: ignore[arg-type]
        (lambda: list_references(5), "expected a store to be ReferenceStore or str or Path"),  # type: ignore[arg-type]
        (lambda: add_reference(make_dna("gaussian"), 5, dataset="a", split="b"), "expected a store to be Ref"),  # type: ignore[arg-type]
        (lambda: add_reference(make_dna("gaussian"), "s", dataset=5, split="b"), "expected dataset to be str"),  # type: ignore[arg-type]
    ],
)
def test_wrong_types_are_named(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no name, no store and no word is a TypeError with both sides, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=message):
        call()
    assert not list(tmp_path.iterdir())


# ---- several stores


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ReferenceStore]:
    """Two stores, one in a folder with a blank in its name, and no store of the user's."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path / "home"))
    found = [ReferenceStore(str(tmp_path / name)) for name in ("one", "an other")]
    for number, folder in enumerate(found):
        add_reference(make_dna("gaussian", 5 + number), folder, dataset=f"set{number}", split="all")
    return found


@pytest.mark.parametrize("separator", ["\n", ";", " ; ", "\n\n"])
def test_stores_are_named_with_newlines_or_semicolons(
    others: list[ReferenceStore], monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    """A folder with a blank in its name is one store."""
    monkeypatch.setenv("VDNA_METRICS_STORES", separator.join(each.location for each in others))
    assert store.known_stores()[1:] == others


def test_blanks_separate_where_every_part_is_a_store(
    others: list[ReferenceStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blanks between stores are as before, blanks in the path of one do not split it."""
    one, other = (each.location for each in others)
    for text, expected in ((one, [one]), (other, [other]), (f"{one} hub:lab/x", [one, "hub:lab/x"]), (" ", [])):
        monkeypatch.setenv("VDNA_METRICS_STORES", text)
        assert [each.location for each in store.known_stores()[1:]] == expected


@pytest.mark.parametrize("broken", ["nowhere", "not JSON", "unreachable"])
def test_a_store_that_cannot_be_read_does_not_hide_the_others(
    others: list[ReferenceStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It is left out with a warning that says why; asked for by its own name, it is an error."""
    location = str(tmp_path / "broken")
    if broken == "not JSON":
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "manifest.json").write_text("{")
    elif broken == "unreachable":
        location = "http://127.0.0.1:1/store"
    monkeypatch.setenv("VDNA_METRICS_STORES", f"{location};{others[0].location}")
    store.forget_remote_manifests()
    with pytest.warns(UserWarning, match=f"a store is left out: .*{location}") as warned:
        assert find_reference("set0/all")[1].n_images == 5
    assert all(str(warning.message).count(location) == 1 for warning in warned)
    with pytest.warns(UserWarning, match="is left out"):
        assert load_reference("bsds500/test", extractor="vdna_tiny", kind="gaussian").n_images == 200
    with pytest.raises(ValueError, match=r"no store at|not|could not be downloaded"):
        list_references(location)


def test_a_store_that_is_not_there_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An unreachable store costs one wait a process, not one a look-up."""
    monkeypatch.setenv("VDNA_METRICS_HOME", str(tmp_path))
    asked: list[str] = []
    monkeypatch.setattr(downloads, "_download", lambda address, *_: asked.append(address) or _refuse())
    store.forget_remote_manifests()
    for _ in range(3):
        with pytest.raises(downloads.DownloadError, match="gone"):
            ReferenceStore("https://host.invalid/store").manifest()
    assert len(asked) == 1
    store.forget_remote_manifests()


def _refuse() -> None:
    raise downloads.DownloadError("gone")
