"""What is wrong with generated images, told from statistics that are made up, one fault at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vdna_metrics.analysis import DiagnosedSet, Diagnosis, Features, diagnose
from vdna_metrics.dna.account import ImageAccount, PixelHashes
from vdna_metrics.functional import PIXEL_STATISTICS


def _pixels(n: int, seed: int, **shifts: float) -> Features:
    """Of images with a deviation of 1 in each statistic, 10 levels in colours, 0.1 in edges, moved by some of them."""
    values = np.random.default_rng(seed).normal(0, 1, (n, len(PIXEL_STATISTICS)))
    values[:, PIXEL_STATISTICS.index("size")] = 8
    for name, shift in shifts.items():
        values[:, PIXEL_STATISTICS.index(name)] += shift
    values[:, PIXEL_STATISTICS.index("lightness") :] *= 10
    values[:, PIXEL_STATISTICS.index("lightness") :][:, :3] += 100
    values[:, PIXEL_STATISTICS.index("edge_red_green") :] /= 100
    return Features(tuple(map(str, range(n))), (), torch.from_numpy(values))


def _kinds(n: int, seed: int, kinds: int = 8) -> Features:
    """Of images of some kinds, each about a point of its own."""
    random = np.random.default_rng(seed)
    points = 4 * np.eye(8, 12)[random.integers(0, kinds, n)]
    return Features(tuple(map(str, range(n))), (), torch.from_numpy(points + random.normal(0, 1, (n, 12))))


def _account(hashes: NDArray[np.uint64]) -> ImageAccount:
    return ImageAccount(pixels=PixelHashes.of(hashes))


def _names(found: Diagnosis) -> list[str]:
    return [fault.name for fault in found.faults]


_MEANS = [f"{part}{axis}" for part in ("", "dark_", "bright_") for axis in ("red_green", "blue_yellow")]
REFERENCE = DiagnosedSet(_pixels(300, 0))


@pytest.mark.parametrize(
    ("shifts", "names"),
    [
        ({}, []),
        ({"sharpness": -1.5}, ["blur"]),
        ({"sharpness": 1.5}, []),
        ({"sharpness": -0.5}, []),
        ({"sharpness": -0.5, "isolated": -2.0}, ["blur"]),
        ({"flat_noise": 1.0}, ["noise"]),
        ({"isolated": 1.0}, ["noise"]),
        ({"flat_noise": 1.0, "dark_red_green": 1.5, "bright_red_green": 1.5}, ["noise"]),
        ({"flat_noise": -2.0, "isolated": -1.0}, []),
        ({"borders": 2.0, "grid": 3.0}, ["compression"]),
        ({"borders": 2.0, "grid": 3.0, "sharpness": -1.5}, ["compression"]),
        ({"borders": 2.0, "grid": 3.0, "sharpness": -4.0}, ["compression", "blur"]),
        ({"borders": -2.0, "grid": -3.0}, []),
        ({"grid": 3.0}, []),
        ({"borders": 3.0, "grid": 2.0, "lines_of_bends": 9.0, "sharpness": -4.0}, ["resized"]),
        ({"quarters_of_bends": 2.0}, ["compression"]),
        ({"quarters_of_bends": 14.0, "halves_of_steps": -7.0, "isolated": 1.0}, ["compression"]),
        ({"quarters_of_bends": 2.0, "sharpness": -3.0}, ["resized"]),
        ({"halves_of_steps": -2.0, "sharpness": -3.0}, ["resized"]),
        ({"halves_of_steps": -20.0, "sharpness": 2.0, "isolated": -0.8}, ["resized"]),
        ({"lines_of_bends": 2.0, "sharpness": -3.0}, ["resized"]),
        ({"lines_of_bends": 2.0}, []),
        ({"sharpness": -3.0, "flat_noise": 2.0}, ["blur", "noise"]),
        ({"red_green": 1.5, "bright_red_green": 1.5}, ["colour"]),
        ({"dark_blue_yellow": 1.5, "bright_blue_yellow": -1.5}, ["colour"]),
        ({"edge_blue_yellow": -1.0}, ["colour"]),
        ({"edge_blue_yellow": -1.0, "flat_noise": 1.0}, ["noise", "colour"]),
        ({"edge_blue_yellow": -0.3}, []),
        (dict.fromkeys(_MEANS[:1], 0.35), []),
        ({"saturation": -4.0}, ["colour"]),
        ({"chroma_axis": 1.0}, ["colour"]),
        ({"chroma_axis": 1.0, "sharpness": -3.0}, ["blur"]),
        ({"lightness": 2.0}, ["colour"]),
        ({"sharpness": -3.0, "blue_yellow": -2.0, "dark_blue_yellow": -2.0}, ["blur", "colour"]),
    ],
)
def test_statistics_that_move_together_tell_a_fault(shifts: dict[str, float], names: list[str]) -> None:
    """Which fault a shift is depends on what else moves, and on its direction."""
    assert _names(diagnose(REFERENCE, DiagnosedSet(_pixels(100, 1, **shifts)))) == names


@pytest.mark.parametrize(("rise", "names"), [(0.25, ["blur"]), (2.5, ["resized"])])
def test_lines_of_large_images_vary_little(rise: float, names: list[str]) -> None:
    """What blur does to lines of large images, a quarter of an octave, is no enlargement, which raises them by two."""
    sides = []
    for n, seed, by, loss in ((300, 0, 0.0, 0.0), (100, 1, rise, -3.0)):
        features = _pixels(n, seed, sharpness=loss)
        features.vectors[:, PIXEL_STATISTICS.index("lines_of_steps")] *= 0.17
        features.vectors[:, PIXEL_STATISTICS.index("lines_of_steps")] += by
        sides.append(DiagnosedSet(features))
    assert _names(diagnose(*sides)) == names


def test_a_fault_has_its_signs_in_standard_errors() -> None:
    """Both means, and their difference over its standard error, which few independent images make larger."""
    blurred = DiagnosedSet(_pixels(100, 1, sharpness=-3.0))
    (fault,) = diagnose(REFERENCE, blurred).faults
    sign, _ = fault.signs
    assert (sign.statistic, sign.generated, sign.reference) == pytest.approx(("sharpness", -3, 0), abs=0.3)
    assert sign.errors == pytest.approx(-3 / (1 / 100 + 1 / 300) ** 0.5, rel=0.15)
    assert fault.severity == pytest.approx(3, rel=0.15)
    assert fault.sentence.startswith("Blurred: detail at edges has 0.1")
    dependent = replace(blurred, dependence=25.0)
    assert abs(diagnose(REFERENCE, dependent).faults[0].signs[0].errors) < abs(sign.errors) / 4
    assert not diagnose(REFERENCE, replace(blurred, dependence=100.0)).faults


def test_a_cast_says_where_it_is() -> None:
    """Lights and shadows of opposite casts are told apart, and gains of channels by their edges."""
    split = DiagnosedSet(_pixels(100, 1, dark_blue_yellow=1.5, bright_blue_yellow=-1.5, edge_blue_yellow=-2.0))
    (fault,) = diagnose(REFERENCE, split).faults
    assert "bluer by 17 of 255 levels in the darkest pixels" in fault.sentence
    assert "yellower by 16 of 255 levels in the brightest pixels" in fault.sentence
    assert "blue over red and green in edges is 0.87 times the reference's" in fault.sentence
    assert [sign.statistic for sign in fault.signs] == ["dark_blue_yellow", "bright_blue_yellow", "edge_blue_yellow"]


def test_parts_of_a_cast_that_are_weak_alone_count_together() -> None:
    """Six shifts of 2 standard errors are sure, and the more so where such a shift is across what goes together."""
    weak = dict.fromkeys(_MEANS, 0.25)
    (fault,) = diagnose(REFERENCE, DiagnosedSet(_pixels(100, 1, **weak))).faults
    assert fault.sentence.startswith("Other colours or tones: all together 0.9 deviations of an image")
    assert [sign.statistic for sign in fault.signs] == ["colours together"]
    alike, apart = (_pixels(n, seed) for n, seed in ((300, 0), (100, 1)))
    for side in (alike, apart):  # bright pixels as all, but for a tenth of a deviation
        places = [PIXEL_STATISTICS.index(name) for name in ("red_green", "bright_red_green")]
        side.vectors[:, places[1]] = side.vectors[:, places[0]] + 0.1 * side.vectors[:, places[1]]
    assert not diagnose(DiagnosedSet(alike), DiagnosedSet(apart)).faults
    apart.vectors[:, places[1]] += 1.0
    assert diagnose(DiagnosedSet(alike), DiagnosedSet(apart)).faults[0].signs[0].statistic == "colours together"
    for fault_of_pixels, name in (({"sharpness": -3.0}, "blur"), ({"flat_noise": 1.0}, "noise")):
        both = DiagnosedSet(_pixels(100, 1, **weak, **fault_of_pixels))
        assert _names(diagnose(REFERENCE, both)) == [name]  # which moves all of them a little, too


def test_images_of_another_size_are_not_compared_pixel_by_pixel() -> None:
    """Sizes that differ withhold what is at the pixels' own scale, and say so; colours are looked at."""
    found = diagnose(REFERENCE, DiagnosedSet(_pixels(100, 1, size=-1, sharpness=-3.0, lightness=3.0)))
    assert _names(found) == ["colour"]
    assert "its images have about 128 pixels a side, those of the reference 256" in found.unseen[0]


def test_other_colours_of_other_kinds_are_no_cast() -> None:
    """A set of fewer kinds has their colours, and lacks kinds; a cast on all kinds is a cast."""
    kinds = np.random.default_rng(0).integers(0, 8, 400)

    def side(places: NDArray[np.int64], seed: int, cast: float = 0.0) -> DiagnosedSet:
        random = np.random.default_rng(seed)
        features = _features(4 * np.eye(8, 12)[kinds[places]] + random.normal(0, 1, (len(places), 12)))
        pixels = _pixels(len(places), seed)
        for name in ("red_green", "dark_red_green", "bright_red_green"):
            pixels.vectors[:, PIXEL_STATISTICS.index(name)] += torch.from_numpy(6.0 * kinds[places] + cast)
        return DiagnosedSet(pixels, features)

    every, few = np.arange(400), np.flatnonzero(kinds < 4)
    reference = side(every, 1)
    assert _names(diagnose(reference, side(every[:150], 2))) == []
    assert _names(diagnose(reference, side(few[:150], 3))) == ["collapse"]
    assert _names(diagnose(reference, side(every[:150], 4, cast=15.0))) == ["colour"]


def test_few_images_with_changes_tell_no_cast() -> None:
    """Changed images of five have the colours that these have by chance; as many others with them have a cast."""
    random = np.random.default_rng(0)
    reference = replace(REFERENCE, features=_features(random.normal(0, 1, (300, 12))))
    of, own = np.arange(100) % 5, random.normal(0, 1, (5, 12))
    few, many = own[of] + random.normal(0, 0.1, (100, 12)), random.normal(0, 1, (100, 12))
    pixels = _pixels(100, 1)
    for name in ("red_green", "dark_red_green", "bright_red_green"):
        pixels.vectors[:, PIXEL_STATISTICS.index(name)] += torch.tensor([30.0, -10, 20, 5, 20])[of]
    found = [_names(diagnose(reference, DiagnosedSet(pixels, _features(rows)))) for rows in (few, many)]
    assert "colour" not in found[0]
    assert found[1] == ["colour"]


def _features(rows: NDArray[np.float64]) -> Features:
    return Features(tuple(map(str, range(len(rows)))), (), torch.from_numpy(rows))


def test_missing_kinds_are_shares_of_the_reference() -> None:
    """Half of them are about half of the reference, and recall is lower; with faults of pixels they are withheld."""
    reference = replace(REFERENCE, features=_kinds(300, 0))
    fine, few = (DiagnosedSet(_pixels(100, 1), _kinds(150, 1, kinds)) for kinds in (8, 4))
    assert _names(diagnose(reference, fine)) == []
    (fault,) = diagnose(reference, few).faults
    share, recall = fault.signs
    assert fault.name == "collapse"
    assert share.reference == pytest.approx(0.5, abs=0.12)
    assert share.generated < 0.1
    assert recall.generated < recall.reference
    blurred = diagnose(reference, replace(few, pixels=_pixels(100, 1, sharpness=-3.0)))
    assert _names(blurred) == ["blur"]
    (unseen,) = blurred.unseen
    assert unseen.startswith("Missing kinds were not looked for: blur moves features too (recall 0.46, where as many")


def test_images_apart_from_the_reference_and_few_images_tell_no_kinds() -> None:
    """What is unlike the reference altogether lacks no kinds of it; and few images do not tell."""
    reference = DiagnosedSet(REFERENCE.pixels, _kinds(300, 0))
    far = _features(_kinds(150, 1).vectors.numpy() + 10)
    assert "lie apart from the reference's" in diagnose(reference, DiagnosedSet(_pixels(100, 1), far)).unseen[0]
    few = diagnose(reference, DiagnosedSet(_pixels(30, 1), _kinds(30, 1, 2)))
    assert "got 300 and 30" in few.unseen[0]


def test_copies_and_repeats_are_counted_above_chance() -> None:
    """Exact ones by their pixels, near ones by features; a few of many are chance."""
    reference = DiagnosedSet(None, _kinds(300, 0), _account(np.arange(300, dtype=np.uint64)))
    own, real = _kinds(100, 1).vectors.numpy(), reference.features.vectors.numpy()  # type: ignore[union-attr]
    near = 0.01 * np.random.default_rng(0).normal(0, 1, (20, 12))
    repeated = np.concatenate([own[:80], own[:20] + near])
    copied = np.concatenate([own[:80], real[:20] + near])
    hashes = np.arange(1000, 1100, dtype=np.uint64)
    fine, repeats, copies = (DiagnosedSet(None, _features(rows), _account(hashes)) for rows in (own, repeated, copied))
    assert [_names(diagnose(reference, each)) for each in (fine, repeats, copies)] == [[], ["repeats"], ["copies"]]
    assert diagnose(reference, repeats).faults[0].severity == pytest.approx(0.2, abs=0.03)
    exact = _account(np.concatenate([hashes[:80], hashes[:10], np.arange(10, dtype=np.uint64)]))
    found = diagnose(DiagnosedSet(account=reference.account), DiagnosedSet(account=exact))
    assert _names(found) == ["repeats", "copies"]
    assert "10 of 100 images are an earlier one again, 10 pixel by pixel" in found.sentence
    chance = _account(np.concatenate([hashes[:99], hashes[:1]]))
    assert _names(diagnose(DiagnosedSet(account=reference.account), DiagnosedSet(account=chance))) == []


def test_repeated_images_tell_once_what_they_tell() -> None:
    """What 100 images would be blurred by, 4 of them 25 times each are by chance."""
    blurred = DiagnosedSet(_pixels(100, 1, sharpness=-1.0), account=_account(np.arange(100, dtype=np.uint64)))
    few = replace(blurred, account=_account(np.repeat(np.arange(4, dtype=np.uint64), 25)))
    assert [_names(diagnose(REFERENCE, each)) for each in (blurred, few)] == [["blur"], ["repeats"]]


def test_what_is_not_there_is_said() -> None:
    """Without images of either side pixels are not looked at, and without features neither are kinds."""
    nothing = diagnose(DiagnosedSet(), DiagnosedSet(unseen="they are gone"))
    assert nothing.sentence == (
        "Nothing could be looked at. Pixels were not looked at: of the reference, there are no images at hand. Missing "
        "kinds, and copies that are not the same pixel by pixel, were not looked for: there are no features."
    )
    hashed = DiagnosedSet(account=_account(np.arange(40, dtype=np.uint64)))
    other = replace(hashed, account=_account(np.arange(100, 140, dtype=np.uint64)))
    assert diagnose(hashed, other).found.endswith("pixel by pixel; nothing else could be looked at.")
    assert diagnose(REFERENCE, replace(REFERENCE)).found == "No fault that this looks for stands out."
    assert diagnose(REFERENCE, DiagnosedSet(unseen="they are gone")).unseen[0].endswith("of this set, they are gone")
