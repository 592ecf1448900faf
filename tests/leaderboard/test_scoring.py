"""The numbers of a leaderboard: those of the library, from one pass a generator and network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import put_small_networks, small_images, write_folder
from helpers.distances import EVENNESS, registered
from helpers.image_files import encode
from helpers.toy_distances import registered_toys

from vdna_metrics import (
    NeuronSelection,
    Reading,
    build_dnas,
    calibrate,
    compare,
    create_extractor,
    load_reference,
    open_images,
)
from vdna_metrics.analysis import ScoreColumn, frechet_distance_ratio, measure_fidelity
from vdna_metrics.analysis.features import collect_features
from vdna_metrics.analysis.uncertainty import jackknife_distance, noise_floor, rank_intervals, rules
from vdna_metrics.build import build_set
from vdna_metrics.dna import GroupedDNA, find_column
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.images import batches, evenly_spaced
from vdna_metrics.leaderboard import Evidence, Leaderboard, LeaderboardSettings, load_leaderboard, score_leaderboard
from vdna_metrics.leaderboard.disputes import find_disputes
from vdna_metrics.leaderboard.record import QUANTILES
from vdna_metrics.references import ImageSet, load_dna_folder, resolve
from vdna_metrics.reports import leaderboard_csv, leaderboard_markdown, write_report
from vdna_metrics.reports.summary import summarise

KINDS = ("histogram", "gaussian", "layer_gaussian")
DISTANCES = {"emd": compare.emd, "nfd": compare.neuron_frechet, "lfd": compare.layer_frechet}
SETTINGS = LeaderboardSettings(groups=4, bins=50, pictures=6, diagnosis=0)
READING = Reading(batch_size=5)


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks `tiny` and `other`."""
    put_small_networks(monkeypatch)


def _entry(folder: Path, name: str, seed: int, n_images: int = 16, *, shift: int = 0) -> ImageSet:
    images = np.clip(small_images(n_images, seed).astype(int) + shift, 0, 255).astype(np.uint8)
    for place in range(2):
        write_folder(folder / name / "ab"[place], images[place::2])
    return ImageSet(name, str(folder / name), open_images(folder / name))


@pytest.fixture
def entries(tmp_path: Path) -> list[ImageSet]:
    """A reference and three generators, of which one is shifted and one is dark."""
    sets = (("real", 0, 24, 0), ("near", 1, 16, 0), ("shifted", 2, 16, 40), ("dark", 3, 16, -120))
    return [_entry(tmp_path, name, seed, n, shift=shift) for name, seed, n, shift in sets]


def _leaderboard(entries: list[ImageSet], **options: Any) -> tuple[Leaderboard, Evidence]:
    options = {"extractors": ["tiny"], "settings": SETTINGS, "reading": READING, **options}
    return score_leaderboard(entries[0], entries[1:], options.pop("extractors"), **options)


def test_every_number_is_the_library_s(entries: list[ImageSet]) -> None:
    """Values, layers, quantiles, estimates, ranks, pairs and floors are those of `compare` and `uncertainty`."""
    leaderboard, evidence = _leaderboard(entries)
    extractor = create_extractor("tiny")
    assert entries[0].images is not None
    options: dict[str, Any] = {"groups": 4, "bins": 50, "ranges": "auto", "reading": READING}
    in_groups = {
        entry.name: build_set(entry.images, extractor, KINDS, **options).dnas
        for entry in entries
        if entry.images is not None
    }
    for metric, kind in zip(DISTANCES, KINDS, strict=True):
        distance: Any = {"emd": "emd", "nfd": "neuron_frechet", "lfd": "layer_frechet"}[metric]
        found = {
            name: jackknife_distance(in_groups["real"][kind], in_groups[name][kind], distance=distance)
            for name in ("near", "shifted", "dark")
        }
        ranking = rank_intervals(found, paired=True)  # the images have the same names
        for name, expected in found.items():
            score = leaderboard.score(name, "tiny", metric)
            whole = in_groups["real"][kind].total, in_groups[name][kind].total
            assert score.value == pytest.approx(float(DISTANCES[metric](*whole)), rel=1e-12)
            assert score.layers == {layer: estimate.value for layer, estimate in expected.layers.items()}
            assert score.estimate == expected.score
            assert score.layer_estimates == expected.layers
            assert score.rank == ranking.ranks[name]
            assert (score.extrapolated is None) == (metric != "lfd")
            if metric != "lfd":
                neurons = DISTANCES[metric](*whole, reduction="none")
                levels = torch.tensor(QUANTILES, dtype=torch.float64)
                assert score.quantiles == {layer: tuple(d.quantile(levels).tolist()) for layer, d in neurons.items()}
        pairs = [pair for pair in leaderboard.pairs if pair.metric == metric]
        assert [(pair.a, pair.b, pair.difference, pair.tied) for pair in pairs] == [
            (pair.a, pair.b, pair.difference.estimate.corrected, pair.tied) for pair in ranking.pairs
        ]
        floor = leaderboard.floor("tiny", metric)
        assert floor is not None
        assert floor.value == noise_floor(in_groups["real"][kind], 16, distance=distance).value
    assert evidence.generated["tiny", "dark"].n_images == 16
    assert [score.generator for score in leaderboard.column("tiny", "emd")] == ["near", "shifted", "dark"]
    assert leaderboard.agreement is not None
    assert leaderboard.agreement.columns == ("emd tiny", "nfd tiny", "lfd tiny")


def test_each_image_is_decoded_and_seen_once(
    entries: list[ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass a set gives DNAs, features, pictures, exemplars and pixels; with all DNAs kept, it is over the shown."""
    decoded, seen = [0], {"tiny": 0}
    decode, run = batches.decode_bytes, FeatureExtractor.from_resized

    def count_decoded(data: bytes) -> Any:
        decoded[0] += 1
        return decode(data)

    def count_seen(extractor: FeatureExtractor, resized: torch.Tensor) -> Any:
        seen[extractor.name] = seen.get(extractor.name, 0) + len(resized)
        return run(extractor, resized)

    monkeypatch.setattr(batches, "decode_bytes", count_decoded)
    monkeypatch.setattr(FeatureExtractor, "from_resized", count_seen)
    entries, n_images = entries[:2], 24 + 16
    settings = replace(SETTINGS, metrics=("emd",), diagnosis=10)
    leaderboard, evidence = _leaderboard(entries, settings=settings, cache=tmp_path / "cache")
    assert (decoded[0], seen) == (n_images, {"tiny": n_images})
    assert [side.side for side in evidence.exemplars["tiny", "near"]] == ["reference", "generated"]
    assert (len(leaderboard.diagnoses), len(leaderboard.fidelity), len(evidence.examples)) == (1, 1, 2)
    decoded[0], seen["tiny"] = 0, 0
    again, evidence_again = _leaderboard(entries, settings=settings, cache=tmp_path / "cache")
    shown = [set(evenly_spaced(entry.images, 6).names) for entry in entries if entry.images is not None]
    assert (decoded[0], seen) == (sum(map(len, shown)), {"tiny": sum(map(len, shown))})
    assert again.scores == leaderboard.scores
    assert again.diagnoses == leaderboard.diagnoses
    for name, ranking in evidence.rankings.items():
        assert ranking.maps is not None
        scores = dict(zip(ranking.indices, ranking.scores.tolist(), strict=True))
        assert [each.distance for each in ranking.maps.maps] == pytest.approx(
            [scores[each.index] for each in ranking.maps.maps], rel=1e-5
        )
        assert {each.index for each in ranking.maps.maps} == set(ranking.pictures)
        torch.testing.assert_close(evidence_again.rankings[name].scores, ranking.scores, rtol=1e-5, atol=0)


def test_images_of_the_reference_are_told(entries: list[ImageSet]) -> None:
    """A generator that has images of the reference is named with their number: its distances are no estimates."""
    real, near, *_ = entries
    assert real.images is not None
    again = ImageSet("again", "again", evenly_spaced(real.images, 12))
    leaderboard, _ = _leaderboard(
        [real, near, again], settings=replace(SETTINGS, metrics=("emd",), pictures=0, fidelity=False)
    )
    told = [note for note in leaderboard.notes if "images of real, too" in note]
    assert len(told) == 1
    assert told[0].startswith("again: 12 of its images")


def test_fidelity_copies_and_classes_come_of_the_same_pass(
    entries: list[ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is run once for all that is not a picture; features and classes give what the library gives."""
    seen: list[int] = []
    extractor = create_extractor("tiny")
    forward = type(extractor).from_resized
    monkeypatch.setattr(
        type(extractor), "from_resized", lambda self, images: seen.append(len(images)) or forward(self, images)
    )
    ranges = {"tiny": calibrate(np.concatenate([small_images(24, 0), small_images(16, 2)]), extractor)}
    seen.clear()
    leaderboard, _ = _leaderboard(entries, ranges=ranges, settings=replace(SETTINGS, pictures=0, class_folders=True))
    assert sum(seen) == 24 + 3 * 16
    real, fake = (collect_features(entry.images, extractor, reading=READING) for entry in entries[:2])
    (first, *_) = leaderboard.fidelity
    assert (first.generator, first.layer) == ("near", "second")
    assert first.values == measure_fidelity(real, fake).to_json()["values"]
    assert [(copies.generator, copies.n_checked) for copies in leaderboard.copies] == [
        ("near", 16), ("shifted", 16), ("dark", 16),
    ]  # fmt: skip
    groups = [each for each in leaderboard.classes if (each.generator, each.metric) == ("dark", "nfd")]
    assert sorted(each.group for each in groups) == ["a", "b"]
    sides = (
        build_dnas(open_images(f"{entry.source}/a"), extractor, ["gaussian"]) for entry in (entries[0], entries[3])
    )
    expected = float(compare.neuron_frechet(*(side["gaussian"] for side in sides)))
    assert next(each.value for each in groups if each.group == "a") == pytest.approx(expected, rel=1e-5)
    assert {each.metric for each in leaderboard.classes} == {"emd", "nfd"}
    assert {(each.group, each.n_images, each.n_reference) for each in groups} == {("a", 8, 12), ("b", 8, 12)}


def test_planted_copies_are_listed(entries: list[ImageSet], tmp_path: Path) -> None:
    """The very files of the reference among the generated are named with what they copy."""
    reference = entries[0].source
    thief = tmp_path / "thief"
    write_folder(thief, small_images(10, 9))
    (thief / "copy.png").write_bytes(Path(reference, "a", "003.png").read_bytes())
    leaderboard, _ = _leaderboard([entries[0], ImageSet("thief", str(thief), open_images(thief))])
    (copies,) = leaderboard.copies
    assert copies.found[0][:2] == ("copy.png", "a/003.png")


def test_a_set_without_images_is_its_dnas(entries: list[ImageSet], tmp_path: Path) -> None:
    """Folders of group DNAs on both sides give the numbers of the images, and say what needs the images."""
    cache = tmp_path / "cache"
    whole, _ = _leaderboard(entries, cache=cache)
    stored = []
    for entry in entries:
        (folder,) = (path for path in cache.iterdir() if path.name.startswith(f"{entry.name}-") and path.is_dir())
        stored.append(ImageSet(entry.name, str(folder), dnas=load_dna_folder(folder).dnas))
    leaderboard, evidence = _leaderboard(stored)
    assert {score.estimate for score in leaderboard.scores} == {score.estimate for score in whole.scores}
    assert (leaderboard.fidelity, leaderboard.copies, dict(evidence.rankings)) == ((), (), {})
    assert "Fidelity, diversity and copies need the images of the reference." in leaderboard.notes
    assert leaderboard.reference.n_images == 24


def test_a_side_without_groups_is_taken_as_it_is(entries: list[ImageSet]) -> None:
    """A single DNA as reference leaves intervals of the generators' chance, and no floor; two of them leave none."""
    extractor = create_extractor("tiny")
    assert entries[0].images is not None
    real = build_dnas(entries[0].images, extractor, ["gaussian"])["gaussian"]
    fixed = ImageSet("real", "real.npz", dnas=(real,))
    settings = replace(SETTINGS, metrics=("nfd",))
    leaderboard, _ = _leaderboard([fixed, *entries[1:]], settings=settings)
    assert all(score.estimate is not None and score.rank is not None for score in leaderboard.scores)
    assert leaderboard.floors == ()
    assert any(note.startswith("real: not in groups") for note in leaderboard.notes)
    fake = ImageSet("fake", "fake.npz", dnas=(build_dnas(small_images(9, 5), extractor, ["gaussian"])["gaussian"],))
    plain, _ = _leaderboard([fixed, fake], settings=settings)
    (score,) = plain.scores
    assert (score.estimate, score.rank, plain.pairs) == (None, None, ())
    assert score.value == float(compare.neuron_frechet(real, fake.dnas[0]))


def test_the_record_has_the_account_of_each_set(tmp_path: Path) -> None:
    """What the images are is in the record, and what a reader should know of them in its notes, once each."""
    real, images = _entry(tmp_path, "real", 0, 12), small_images(8, 0)
    write_folder(tmp_path / "twice", np.concatenate([images, images[:2], small_images(6, 4)]))
    twice = resolve(tmp_path / "twice", name="twice")
    settings = replace(SETTINGS, metrics=("emd", "nfd"), pictures=0, fidelity=False)
    leaderboard, _ = _leaderboard([real, twice], settings=settings)
    (record,) = leaderboard.generators
    assert record.account.formats == {"PNG": 16}
    assert record.in_words == "PNG, 20x20, 2 of 16 the same as another"
    for sentence in (
        "twice: 2 of 16 images are the same as another one, pixel by pixel, and count again: leave them out",
        "twice: 16 images are few; as many of the reference's own images would score emd (bins) ",
    ):
        assert sum(note.startswith(sentence) for note in leaderboard.notes) == 1
    loaded = load_leaderboard(leaderboard.save(tmp_path / "leaderboard.json"))
    assert (loaded.reference, loaded.generators) == (leaderboard.reference, leaderboard.generators)


def test_unequal_numbers_are_said_or_equalised(entries: list[ImageSet], tmp_path: Path) -> None:
    """Generators of other sizes are a note; equalised, each has evenly spaced images, as many as the smallest."""
    more = _entry(tmp_path, "more", 7, 21)
    settings = replace(SETTINGS, metrics=("nfd",), pictures=0, fidelity=False)
    leaderboard, _ = _leaderboard([entries[0], entries[1], more], settings=settings)
    assert any("Numbers of images differ (near 16, more 21)" in note for note in leaderboard.notes)
    equal, _ = _leaderboard([entries[0], entries[1], more], settings=replace(settings, equalise=True))
    assert [(entry.n_images, entry.n_found) for entry in equal.generators] == [(16, 16), (16, 21)]
    assert not any("Numbers of images" in note for note in equal.notes)
    assert equal.score("near", "tiny", "nfd").value == leaderboard.score("near", "tiny", "nfd").value


def test_networks_look_one_after_the_other(entries: list[ImageSet]) -> None:
    """Each network has its columns, pictures come of the first, and agreement is between all columns."""
    leaderboard, evidence = _leaderboard(
        entries, extractors=["tiny", "other"], settings=replace(SETTINGS, metrics=("emd", "nfd"))
    )
    assert [network.name for network in leaderboard.networks] == ["tiny", "other"]
    assert leaderboard.networks[0].fingerprint == create_extractor("tiny").fingerprint.digest
    assert len(leaderboard.columns) == 4
    assert leaderboard.agreement is not None
    assert len(leaderboard.agreement.columns) == 4
    assert sorted(evidence.rankings) == ["dark", "near", "shifted"]
    assert {network for network, _ in evidence.exemplars} == {"tiny"}
    assert [each.side for each in evidence.exemplars["tiny", "near"]] == ["reference", "generated"]
    assert len(evidence.rankings["near"]) == 6
    assert evidence.examples["dark"][0].dtype == torch.uint8


def test_fid_is_the_layer_distance_in_the_inception_s_pool(
    entries: list[ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fid has a network of its own, read at its pool alone, whatever the other networks are."""
    inception = replace(CATALOGUE["tiny"], name="fid_inception", layers={"block_2": "0", "block_3": "2"})
    monkeypatch.setitem(CATALOGUE, "fid_inception", inception)
    leaderboard, _ = _leaderboard(entries, settings=replace(SETTINGS, metrics=("nfd", "fid"), pictures=0))
    assert leaderboard.columns == (("tiny", "nfd"), ("fid_inception", "fid"))
    assert dict(leaderboard.networks[1].layers) == {"block_3": 5}
    lfd, _ = _leaderboard(
        entries, extractors=[inception], settings=replace(SETTINGS, metrics=("lfd",), layers=("block_3",), pictures=0)
    )
    for name in ("near", "dark"):
        assert (
            leaderboard.score(name, "fid_inception", "fid").estimate == lfd.score(name, "fid_inception", "lfd").estimate
        )
    alone, _ = _leaderboard(entries, extractors=[], settings=replace(SETTINGS, metrics=("fid",), pictures=0))
    assert alone.column("fid_inception", "fid") == leaderboard.column("fid_inception", "fid")


def test_fid_of_few_images_has_no_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images for many neurons: no interval, rank or FD-infinity of FID; it is told once, and in every output."""
    inception = replace(CATALOGUE["tiny"], name="fid_inception", layers={"block_3": "2"})
    monkeypatch.setitem(CATALOGUE, "fid_inception", inception)
    monkeypatch.setattr(rules, "_LEFT_BY_JACKKNIFE", 3.0)  # five neurons are no 2048
    entries = [_entry(tmp_path, name, seed, n) for name, seed, n in (("real", 0, 24), ("few", 1, 4), ("many", 2, 24))]
    settings = replace(SETTINGS, metrics=("nfd", "fid"), pictures=0, groups=2, fidelity=False)
    leaderboard, evidence = _leaderboard(entries, settings=settings)
    few, many = (leaderboard.score(name, "fid_inception", "fid") for name in ("few", "many"))
    assert few.estimate is not None
    assert (few.estimate.low, few.estimate.high, few.extrapolated, few.rank, many.rank) == (None,) * 5
    assert few.estimate.corrected != few.value
    assert many.estimate is not None
    assert many.estimate.low is not None
    assert leaderboard.score("few", "tiny", "nfd").rank is not None
    assert [pair.metric for pair in leaderboard.pairs] == ["nfd"]
    notes = [note for note in leaderboard.notes if "no interval of FID" in note]
    assert len(notes) == 1
    assert notes[0].startswith("fid_inception: few: no interval of FID: 4 generated images for the 5 neurons of ")
    assert any("There are no ranks" in note for note in leaderboard.notes)
    assert load_leaderboard(leaderboard.save(tmp_path / "leaderboard.json")).scores == leaderboard.scores
    row = next(line for line in leaderboard_csv(leaderboard).splitlines() if ",fid,few," in line)
    assert "None" not in row
    assert "None" not in leaderboard_markdown(leaderboard)
    page = write_report(leaderboard, evidence, tmp_path / "report", figures=()).read_text()
    assert "no interval of FID" in page
    assert "[None" not in page
    alone = tuple(score for score in leaderboard.scores if score.metric == "fid")
    first = replace(leaderboard, metrics=("fid",), scores=alone, pairs=(), agreement=None)
    assert "There is no interval of FID of “few” and no ranks: too few images for so many neurons" in " ".join(
        summarise(first)
    )


def test_outside_scores_and_a_validation_set_are_columns(entries: list[ImageSet], tmp_path: Path) -> None:
    """FDr^k is `frechet_distance_ratio` of the networks' DNAs; agreement and disputes are of the same scores."""
    held_out = _entry(tmp_path, "near (validation)", 7)
    scores = [ScoreColumn("Elo", True, {"near": 1.0, "dark": 0.2}, {"dark": 0.1})]
    settings = replace(SETTINGS, metrics=("lfd",), pictures=0, fidelity=False)
    found, _ = _leaderboard(
        [*entries[:2], entries[3]], extractors=["tiny", "other"], settings=settings, outside=scores, validation=held_out
    )
    dnas: list[dict[str, Any]] = [
        {
            name: build_set(entry.images, create_extractor(name), ["layer_gaussian"], groups=4, reading=READING)
            for name in ("tiny", "other")
        }
        for entry in (entries[1], entries[0], held_out)
        if entry.images is not None
    ]
    sides = [{name: built.dnas["layer_gaussian"] for name, built in side.items()} for side in dnas]
    expected = frechet_distance_ratio(*sides)
    (near, *_) = found.ratios
    assert (near.generator, near.value) == ("near", expected.value)
    assert near.networks == {name: part.value for name, part in expected.networks.items()}
    assert [each.value for each in found.normalisers] == [each.value for each in expected.normalisers.values()]
    assert found.validation is not None
    assert (found.validation.name, found.validation.n_images) == ("near (validation)", 16)
    assert found.outside == tuple(scores)
    columns = [(each.network, each.metric) for each in found.outside_agreement]
    assert columns == [("tiny", "lfd"), ("other", "lfd"), *[("", "FDr^k")] * (near.value is not None)]
    assert found.disputes == find_disputes(found.pairs)


def test_validation_images_need_a_frechet_distance(entries: list[ImageSet]) -> None:
    """Outside scores of nobody, and a validation set that nothing is divided by, are refused before the work."""
    with pytest.raises(ValueError, match=r"expected a column of a Fréchet distance .*, got emd, nfd"):
        _leaderboard(entries, settings=replace(SETTINGS, metrics=("emd", "nfd")), validation=entries[0])
    with pytest.raises(ValueError, match="'nobody' is no generator of this leaderboard; known: near, shifted, dark"):
        _leaderboard(entries, outside=[ScoreColumn("Elo", True, {"nobody": 1.0})])


def test_neurons_and_weights_choose(entries: list[ImageSet]) -> None:
    """A selection of neurons gives the distances of those neurons alone."""
    extractor = create_extractor("tiny")
    chosen = NeuronSelection.of(extractor, {"first": [1, 4], "second": [0, 3]})
    settings = replace(SETTINGS, metrics=("nfd", "lfd"), pictures=3)
    leaderboard, _ = _leaderboard(entries, settings=settings, neurons=chosen)
    assert sum(leaderboard.networks[0].layers.values()) == 4
    sides = [build_dnas(entry.images, extractor, KINDS[1:], neurons=chosen, reading=READING) for entry in entries[:2]]
    expected = compare.neuron_frechet(sides[0]["gaussian"], sides[1]["gaussian"])
    assert leaderboard.score("near", "tiny", "nfd").value == pytest.approx(float(expected), rel=1e-9)
    with pytest.raises(ValueError, match="belong to one network, got tiny, other"):
        _leaderboard(entries, settings=settings, neurons=chosen, extractors=["tiny", "other"])


def test_tiny_sets_have_numbers(tmp_path: Path) -> None:
    """With four images in two groups every number of the record is one; JSON would refuse any that is not."""
    leaderboard, _ = _leaderboard(
        [_entry(tmp_path, "real", 0, 4), _entry(tmp_path, "few", 1, 4), _entry(tmp_path, "same", 1, 4)],
        settings=replace(SETTINGS, groups=2),
    )
    json.dumps(leaderboard.to_json(), allow_nan=False)
    assert any(note.startswith("few, same: no fidelity, diversity or copies: ") for note in leaderboard.notes)
    assert any("4 images are too few to estimate the covariance" in note for note in leaderboard.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sets: [sets[0], sets[1], sets[1]], "given twice: near"),
        (lambda sets: sets[:1], "at least one generator, got none"),
        (lambda sets: [sets[0], replace(sets[1], images=None)], "near has no histogram and gaussian and"),
        (lambda sets: [sets[0], replace(sets[1], images=open_images(small_images(3, 1)))], "3 images cannot be"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_said_before_the_work(
    entries: list[ImageSet],
    change: Callable[[list[ImageSet]], list[ImageSet]],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names that are not unique, no generators, missing DNAs and sets too small are refused before an image is read."""

    def refuse(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr("vdna_metrics.images.batches.ImageDataset.__getitem__", refuse)
    with pytest.raises(ValueError, match=message):
        _leaderboard(change(entries))


def test_dnas_of_another_network_are_refused(entries: list[ImageSet]) -> None:
    """Group DNAs that another network saw are named with both fingerprints."""
    parts = [build_dnas(small_images(4, i), create_extractor("other"), ["gaussian"])["gaussian"] for i in range(3)]
    stranger = ImageSet("stranger", "dnas", dnas=(GroupedDNA(tuple(parts)),))
    with pytest.raises(ValueError, match=r"no gaussian DNA of tiny \(tiny_network .*it has gaussian of other \(tiny_n"):
        _leaderboard([entries[0], stranger], settings=replace(SETTINGS, metrics=("nfd",)))


def test_somebody_else_s_distances_have_plain_values_alone(entries: list[ImageSet], tmp_path: Path) -> None:
    """Without a bias rule nothing is corrected and there is no floor, no rank by chance; parts are those it has.

    So on the page, in the tables, and for columns in which more is better, which come best first.
    """
    with registered_toys() as toys:
        settings = replace(SETTINGS, metrics=("emd", *toys), class_folders=True)
        leaderboard, evidence = _leaderboard(entries, ranges=_ranges(entries), settings=settings)
        real, fake = evidence.reference["tiny"], evidence.generated["tiny", "dark"]
        for name in toys:
            column = find_column(name)
            score = leaderboard.score("dark", "tiny", name)
            assert score.value == column(real, fake)
            assert score.layers == column.by_layer(real, fake)
            assert bool(score.quantiles) == (column.distance.per == "neuron")
            assert (score.estimate, score.layer_estimates, score.rank, score.extrapolated) == (None, {}, None, None)
            assert leaderboard.floor("tiny", name) is None
        assert {pair.metric for pair in leaderboard.pairs} == {"emd"}
        orders = [[score.generator for score in leaderboard.column("tiny", name)] for name in ("emd", "jsd", "overlap")]
        assert orders == [["near", "shifted", "dark"]] * 3
        assert {each.metric for each in leaderboard.classes} == {"emd", *toys}
        assert leaderboard.agreement is not None
        assert leaderboard.agreement.spearman[0] == (1.0, 1.0, 1.0, 1.0)
        page = write_report(leaderboard, evidence, tmp_path, figures=()).read_text()
    assert "Jensen-Shannon divergence" in page
    assert "histogram overlap" in page


def test_a_score_of_one_set_is_corrected_by_its_rule(entries: list[ImageSet]) -> None:
    """It does not look at the reference, and so neither do its error bars; it has no floor."""
    with registered(EVENNESS):
        settings = replace(SETTINGS, metrics=("nfd", "evenness"), pictures=0, fidelity=False)
        leaderboard, _ = _leaderboard(entries, ranges=_ranges(entries), settings=settings)
        other, _ = _leaderboard([entries[3], *entries[1:3]], ranges=_ranges(entries), settings=settings)
    score = leaderboard.score("near", "tiny", "evenness")
    assert score.estimate is not None
    assert score.estimate.corrected > score.value  # few images fill a range less evenly
    assert score.rank is not None
    assert (score.layers, score.quantiles) == ({}, {})
    assert leaderboard.floor("tiny", "evenness") is None
    assert other.score("near", "tiny", "evenness").estimate == score.estimate


def _ranges(entries: list[ImageSet]) -> Any:
    assert entries[0].images is not None
    return {"tiny": calibrate(entries[0].images, create_extractor("tiny"), reading=READING)}


def test_a_leaderboard_has_the_value_of_a_score() -> None:
    """Of a name of the store, too: both compare the same DNAs, and a whole DNA whose groups lack layers is noted."""
    photographs = ImageSet("a", "b", dnas=(load_reference("bsds500/trainval@vdna_tiny", kind="layer_gaussian"),))
    reference = resolve("bsds500/trainval", extractors=["vdna_tiny"])
    images = resolve("procedural:white_noise/12")
    settings = LeaderboardSettings(("lfd",), groups=3, pictures=0, fidelity=False)
    leaderboard, _ = score_leaderboard(reference, [images], ["vdna_tiny"], settings=settings)
    expected, _ = score_leaderboard(photographs, [images], ["vdna_tiny"], settings=settings)
    assert leaderboard.scores[0].value == expected.scores[0].value
    assert list(leaderboard.scores[0].layers) == ["blocks.0", "blocks.2", "blocks.4", "conv_head"]
    assert any("its groups lack conv_head" in note for note in leaderboard.notes)


def test_sources_are_resolved(entries: list[ImageSet]) -> None:
    """Paths and arrays are sets of images, too; what cannot be read by number is refused."""
    settings = replace(SETTINGS, metrics=("nfd",), pictures=0, fidelity=False)
    expected, _ = _leaderboard(entries[:2], settings=settings)
    found, _ = score_leaderboard(entries[0].source, [entries[1].source], ["tiny"], settings=settings, reading=READING)
    assert found.scores == expected.scores
    with pytest.raises(ValueError, match="expected images that can be read by number, got batches of generator"):
        score_leaderboard(entries[0], [(batch for batch in ())], ["tiny"], settings=settings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"generators": "gen_a"}, r"expected generators to be a sequence of names, got 'gen_a': write \['gen_a'\]"),
        ({"generators": 3}, "expected generators to be Sequence, got the int 3"),
        ({"extractors": "vdna_tiny"}, r"write \['vdna_tiny'\]"),
        ({"settings": {"metrics": "emd"}}, "expected settings to be LeaderboardSettings"),
    ],
)
def test_one_where_several_are_expected_is_named(wrong: dict[str, Any], message: str) -> None:
    """A name in place of a list is not read letter by letter, and another type is named."""
    given: dict[str, Any] = {"generators": ["procedural:white_noise/4"], "extractors": ["vdna_tiny"]}
    with pytest.raises(TypeError, match=message):
        score_leaderboard("bsds500/test", **{**given, **wrong})


# ------------------------------------------------------------------------------------------------------------ clusters
def _clustered(folder: Path, name: str, seed: int, sizes: Sequence[int], pattern: str = "clip{}_{}.png") -> ImageSet:
    """Images in clusters of these sizes, which are all but alike within one."""
    colours = small_images(len(sizes), seed).astype(int)
    noise = np.random.default_rng(seed).normal(0, 3, (sum(sizes), 20, 20, 3))
    (folder / name).mkdir()
    place = 0
    for cluster, size in enumerate(sizes):
        for i in range(size):
            image = np.clip(colours[cluster] + noise[place], 0, 255).astype(np.uint8)
            path = folder / name / pattern.format(cluster, i)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode(image))
            place += 1
    return ImageSet(name, str(folder / name), open_images(folder / name))


CLIPS = replace(SETTINGS, cluster_by="^clip[0-9]+", fidelity=False, pictures=0)


def test_whole_clusters_are_in_groups(tmp_path: Path) -> None:
    """With a rule, groups, estimates, floor and record are those of whole clusters, of each set that has some."""
    real = _entry(tmp_path, "real", 0, 24)
    entries = [real, *(_clustered(tmp_path, name, seed, (4,) * 6) for name, seed in (("one", 1), ("two", 2)))]
    leaderboard, _ = _leaderboard(entries, settings=CLIPS)
    labels = [i // 4 for i in range(24)]
    for metric, kind in zip(DISTANCES, KINDS, strict=True):
        options: dict[str, Any] = {"groups": 4, "bins": 50, "ranges": "auto", "reading": READING}
        sides = [
            build_set(entry.images, create_extractor("tiny"), [kind], clusters=own, **options).dnas[kind]
            for entry, own in zip(entries, (None, labels, labels), strict=True)
        ]
        for name, side in zip(("one", "two"), sides[1:], strict=True):
            expected = jackknife_distance(sides[0], side, distance=metric)
            assert leaderboard.score(name, "tiny", metric).estimate == expected.score
    records = [leaderboard.reference, *leaderboard.generators]
    assert [(each.groups, each.clusters, each.effective_clusters) for each in records] == [(4, 0, 0), *[(4, 6, 6)] * 2]
    assert records[1].clustering == records[2].clustering != ""
    assert all(pair.paired for pair in leaderboard.pairs)
    assert (
        "real: 24 of its 24 images are in no cluster by '^clip[0-9]+', and taken as independent." in leaderboard.notes
    )
    assert "one, two: its images depend on each other more than those of the reference" in " ".join(leaderboard.notes)
    assert load_leaderboard(leaderboard.save(tmp_path / "leaderboard.json")).generators == leaderboard.generators


def test_names_that_look_like_clusters_are_told(tmp_path: Path) -> None:
    """Without a rule, or where it does not reach them, a note says that names look like clusters, and what to give."""
    entries = [
        _entry(tmp_path, "real", 0, 24),
        _clustered(tmp_path, "one", 1, (4,) * 6),
        _clustered(tmp_path, "two", 2, (4,) * 6, "p{}_aug{}.png"),
    ]
    for settings, told in ((replace(CLIPS, cluster_by=None), ("one", "two")), (CLIPS, ("two",))):
        notes = _leaderboard(entries, settings=settings)[0].notes
        found = [note for note in notes if "by their names its images are 6 clusters of about 4" in note]
        assert [note.partition(":")[0] for note in found] == list(told)
        assert "give --cluster-by '^(.*)_aug'" in found[-1]


@pytest.mark.parametrize("sizes", [(8, 8, 8), (24,)], ids=["three", "one"])
def test_few_clusters_have_plain_values(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """A generator of fewer than five clusters has plain values alone; the others keep intervals, and no one a rank."""
    entries = [_entry(tmp_path, "real", 0, 24), _clustered(tmp_path, "few", 1, sizes), _entry(tmp_path, "many", 2, 24)]
    leaderboard, _ = _leaderboard(entries, settings=CLIPS)
    for metric in DISTANCES:
        few, many = (leaderboard.score(name, "tiny", metric) for name in ("few", "many"))
        assert few.value > 0
        assert (few.estimate, few.extrapolated, few.rank, many.rank) == (None, None, None, None)
        assert many.estimate is not None
        plain = sorted((each.value, each.generator) for each in (few, many))
        assert [each.generator for each in leaderboard.column("tiny", metric)] == [name for _, name in plain]
        assert leaderboard.floor("tiny", metric) is not None
    assert leaderboard.pairs == ()
    clusters = "3 clusters" if len(sizes) == 3 else "1 cluster"
    assert f"few: its 24 images are {clusters}; error bars need at least 5, so" in " ".join(leaderboard.notes)
    assert "There are no ranks and no differences between sets where one of" in " ".join(leaderboard.notes)
    assert "There are no error bars of “few”, and no ranks: the images of “few” are fewer than 5 clusters" in " ".join(
        summarise(leaderboard)
    )


def test_clusters_of_very_unlike_sizes_are_told(tmp_path: Path) -> None:
    """Six clusters that tell as much as fewer than five are a note; the intervals stay."""
    entries = [_entry(tmp_path, "real", 0, 24), _clustered(tmp_path, "uneven", 1, (19, 1, 1, 1, 1, 1))]
    leaderboard, _ = _leaderboard(entries, settings=CLIPS)
    (note,) = (note for note in leaderboard.notes if note.startswith("uneven: most of its images are in few clusters"))
    assert "6 clusters (1.57 effective) of 24 images" in note
    assert all(score.estimate is not None for score in leaderboard.scores)


def test_generators_of_the_same_images_are_told(tmp_path: Path) -> None:
    """Two names for the same files are no two generators."""
    real, one = _entry(tmp_path, "real", 0, 24), _entry(tmp_path, "one", 1, 24)
    leaderboard, _ = _leaderboard(
        [real, one, replace(one, name="two", source="two")], settings=replace(CLIPS, cluster_by=None)
    )
    assert "one, two are the same images." in leaderboard.notes


def test_a_reference_of_few_clusters_has_no_floor(tmp_path: Path) -> None:
    """Nor has any generator an interval."""
    entries = [_clustered(tmp_path, "real", 1, (6,) * 4), _entry(tmp_path, "a", 0, 24), _entry(tmp_path, "b", 2, 24)]
    leaderboard, _ = _leaderboard(entries, settings=CLIPS)
    assert leaderboard.floors == ()
    assert {score.estimate for score in leaderboard.scores} == {None}
    assert "There are no error bars: the images of “real” are fewer than 5 clusters" in " ".join(summarise(leaderboard))


def test_sets_that_are_grouped_otherwise_are_not_paired(tmp_path: Path) -> None:
    """Images of the same names belong together only where they are in groups alike."""
    one, two = (_clustered(tmp_path, name, seed, (4,) * 6) for name, seed in (("one", 1), ("two", 2)))
    real = _entry(tmp_path, "real", 0, 24)
    _leaderboard([real, two], settings=replace(CLIPS, cluster_by=None), cache=tmp_path / "cache")
    kept = next(path for path in (tmp_path / "cache").glob("two-*") if "ranges" not in path.name)
    given = replace(load_dna_folder(kept), name="two")
    leaderboard, _ = _leaderboard([real, one, given], settings=CLIPS)
    assert not any(pair.paired for pair in leaderboard.pairs)
    assert [(each.clusters, each.clustering != "") for each in leaderboard.generators] == [(6, True), (0, False)]
    assert "two: its groups were made before and not of whole clusters" in " ".join(leaderboard.notes)


def test_dnas_of_clusters_need_no_rule(tmp_path: Path) -> None:
    """Groups that were made of whole clusters say so themselves: nothing is said of their images' names."""
    real, two = _entry(tmp_path, "real", 0, 24), _clustered(tmp_path, "two", 2, (4,) * 6)
    made, _ = _leaderboard([real, two], settings=CLIPS, cache=tmp_path / "cache")
    kept = next(path for path in (tmp_path / "cache").glob("two-*") if "ranges" not in path.name)
    given = replace(load_dna_folder(kept), name="two")
    found, _ = _leaderboard([real, given], settings=replace(CLIPS, cluster_by=None))
    assert (found.generators[0].clusters, found.generators[0].groups) == (6, 4)
    assert [score.estimate for score in found.scores] == [score.estimate for score in made.scores]
    assert "by their names" not in " ".join(found.notes)


def test_a_rule_that_finds_nothing_is_refused(entries: list[ImageSet], tmp_path: Path) -> None:
    """Of no set; names are shown. A file that lacks images of a set it has some of is refused, too."""
    with pytest.raises(ValueError, match=r"no image's name matches '\^clip', .* names are a/000\.png, a/001\.png"):
        _leaderboard(entries, settings=replace(SETTINGS, cluster_by="^clip"))
    (tmp_path / "clusters.csv").write_text("name,cluster\na/000.png,1\n")
    with pytest.raises(ValueError, match=r"clusters\.csv has no cluster for 23 of 24 images: a/001\.png"):
        _leaderboard(entries, settings=replace(SETTINGS, cluster_by=str(tmp_path / "clusters.csv")))
    with pytest.raises(ValueError, match="is no regular expression"):
        replace(SETTINGS, cluster_by="(")


def test_folders_may_be_clusters(entries: list[ImageSet]) -> None:
    """Two folders are two clusters, so that there is no error bar and the values are those without a rule."""
    found = [_leaderboard(entries, settings=replace(SETTINGS, cluster_by=by))[0] for by in (None, "folder")]
    assert {each.clusters for each in (found[1].reference, *found[1].generators)} == {2}
    for before, after in zip(found[0].scores, found[1].scores, strict=True):
        assert after.value == pytest.approx(before.value, rel=1e-9)
    assert {score.estimate for score in found[1].scores} == {None}
