"""What a reader of a number should know of the sets behind it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from helpers.dnas import KINDS, LAYOUT, make_activations, make_distribution, make_dna, make_fingerprint

from vdna_metrics import ActivationRanges, load_reference
from vdna_metrics.distributions import Kind
from vdna_metrics.dna.account import ImageAccount
from vdna_metrics.dna.caveats import Notes, chance, number_caveat, pair_caveats, set_caveats
from vdna_metrics.dna.vdna import VDNA, ProvenanceFields
from vdna_metrics.schema import typed


def _dna(**facts: Any) -> VDNA:
    """A DNA of images with these formats, widths, depths or hashes of pixels; four PNG of 32 x 32 by default."""
    n = len(next(iter(facts.values()), range(4)))
    known = {"formats": ["PNG"] * n, "widths": [32] * n, "depths": [0] * n, "pixels": range(1, n + 1), **facts}
    known.setdefault("heights", known["widths"])
    dna = make_dna("gaussian", 120)
    return replace(dna, provenance=replace(dna.provenance, account=ImageAccount.of(**known)))


def test_nothing_is_said_of_what_is_as_it_should_be() -> None:
    """Enough different images, all read, of one format and size, give no sentence; nor does what is not known."""
    for dna in (_dna(), make_dna("gaussian", 120), load_reference("bsds500/test@vdna_tiny", kind="histogram")):
        assert set_caveats(dna) == {}
        assert pair_caveats(dna, dna).keys() <= {"copies"}


def test_more_than_one_percent_outside() -> None:
    """The sentence names the layers with more than 1 % outside, the worst first; 1 % and other kinds give none."""
    activations = {layer: x.clamp(-2.9, 2.9) for layer, x in make_activations(50).items()}
    fingerprint = make_fingerprint()

    def coverage() -> str | None:
        found = set_caveats(VDNA(make_distribution("histogram", activations), fingerprint))
        return str(found["coverage"]) if "coverage" in found else None

    assert coverage() is None
    activations["norm"][0, 0, 0] = 9.0  # 1 of 100: just 1 %
    assert coverage() is None
    activations["norm"][0, 1, 0] = -9.0
    activations["conv1"][:, :, 0] = 9.0
    assert "outside the activation ranges in 2 of 3 layers (conv1 16.7%, norm 2.0%)" in (coverage() or "")
    assert set_caveats(make_dna("histogram", 0)) == {}


def test_what_is_not_read() -> None:
    """The sentence counts files that lie beside the images; a file keeps them, and a sum of groups tells them once."""
    dna = make_dna("gaussian")
    assert "unread" not in set_caveats(dna)
    beside = replace(dna, provenance=replace(dna.provenance, unread=((".heic", 12), ("hidden image", 1))))
    again = typed(ProvenanceFields, beside.provenance.to_json()).provenance({})
    for one in (beside, replace(beside, provenance=again), beside + beside):
        assert str(set_caveats(one)["unread"]) == "13 files beside the images are not read: .heic 12, hidden image 1"


def test_repeated_images() -> None:
    """Images of the same pixels are counted, each but the first; of batches it is said how ranks share none."""
    sentence = str(set_caveats(_dna(pixels=[5, 6, 5, 5, 6]))["repeated"])
    assert sentence.startswith("3 of 5 images are the same as another one, pixel by pixel, and count again: leave them")
    padded = str(set_caveats(_dna(pixels=[5, 5], formats=["tensor"] * 2))["repeated"])
    assert padded.endswith("give each rank its own by build.UnpaddedSampler")


@pytest.mark.parametrize(
    ("depths", "expected"),
    [([12, 11, 12, 16], "3 of 4 images of 16 bits have no value above 4095"), ([16, 15, 12], None), ([0, 0, 0], None)],
)
def test_dim_images_of_16_bits(depths: list[int], expected: str | None) -> None:
    """Where most 16-bit images leave the upper bits empty, they are what a camera of fewer bits saw."""
    caveat = set_caveats(_dna(depths=depths)).get("depth")
    assert caveat is None if expected is None else expected in str(caveat)
    assert caveat is None or "read 16 times too dark: white is 65535" in str(caveat)


@pytest.mark.parametrize("kind", KINDS)
def test_few_images(kind: Kind) -> None:
    """Below 100 images, and of covariances below a layer's neurons, chance is told; not of others and empty ones."""
    for n, few in ((0, False), (2, True), (99, True), (100, False)):
        assert ("few" in set_caveats(make_dna(kind, n))) == few
    sentence = str(set_caveats(make_dna(kind, 3))["few"])
    if kind == "layer_gaussian":
        assert sentence.startswith("3 images are too few to estimate the covariance of conv1 (4 neurons), conv2 (3 neu")
    else:
        assert sentence.startswith("3 images are few; chance alone adds ")
    known = str(set_caveats(make_dna(kind, 3), floors={"emd (bins)": 30.26, "nfd": 1.9})["few"])
    assert "as many of the reference's own images would score emd (bins) 30.3 and nfd 1.9 by chance alone" in known


def test_what_is_alike_of_several_sets_is_one_sentence() -> None:
    """One sentence has the names of all sets that a fact is true of, other facts of that sort, and one end for all."""
    notes = Notes()
    for kind in KINDS:
        for name, n in (("a", 3), ("b", 2), ("c", 3)):
            notes.add_caveats(name, set_caveats(make_dna(kind, n), like=make_dna(kind, 120), said=["coverage"]))
    few, covariances = notes.sentences()
    begin, *facts = few.split("a, c: ")
    assert not begin
    assert re.fullmatch(
        r"3 images are few; chance alone adds up to \S+ bins to a VDNA-EMD and about \S+ to a neuron Fréchet distance; "
        r"b: 2 images are few; chance alone adds up to .*\. Take more images",
        facts[0],
    )
    assert covariances.count("Take more images, fewer neurons, or the neuron Fréchet distance") == 1
    assert re.findall(r"(?:^|; )([abc, ]+): ", covariances) == ["a, c", "b"]


def test_other_sentences_stand_by_themselves() -> None:
    """A sentence is said once with all names, in the order of the first; of no name it stands alone."""
    notes = Notes()
    for sentence, name in (("x.", "a"), ("y.", ""), ("x.", "b"), ("x.", "a"), (None, "c")):
        notes.add(sentence, name)
    assert notes.sentences() == ("a, b: x.", "y.")


def _told(dna: VDNA, n: int) -> float:
    return float(re.findall(r"[\d.]+", chance(dna, n))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_what_chance_adds_is_what_samples_of_the_set_are_apart(kind: Kind) -> None:
    """A histogram's limit is above what samples score against the set, a Gaussian's figure near, the others' below."""
    n, whole = 20, make_dna(kind, 4000)
    samples = [make_dna(kind, n, seed) for seed in range(1, 21)]
    from vdna_metrics.dna.distances import EMD, LFD, NFD

    distance = {"histogram": EMD, "gaussian": NFD, "layer_gaussian": LFD}[kind]
    measured = sum(float(distance(whole, sample)) for sample in samples) / len(samples)
    told = _told(whole, n)
    if kind == "gaussian":
        assert told == pytest.approx(measured, rel=0.3)
    else:
        assert told > measured if kind == "histogram" else 0.3 * measured < told < measured


def test_copies_are_told_by_pixels_or_files() -> None:
    """Images that both sides have are counted by their pixels, or as files where those tell more."""
    real, fake = _dna(pixels=[1, 2, 3, 4]), _dna(pixels=[3, 3, 9])
    assert str(pair_caveats(real, fake)["copies"]).startswith(
        "2 of its images are images of the reference, too: its val"
    )
    assert str(pair_caveats(fake, real, name="photos")["copies"]).startswith(
        "1 of its images are images of photos, too"
    )
    assert str(pair_caveats(real, fake, equal_files=3)["copies"]).startswith("3 of its images")
    assert "copies" not in pair_caveats(real, make_dna("gaussian"))
    assert "copies" in pair_caveats(real, make_dna("gaussian"), equal_files=1)


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ("JJJP", "PPPP", "its images are PNG, those of the reference JPEG"),
        ("BP", "JJ", "its images are JPEG, those of the reference BMP"),
        ("JJJJ", "JJJ", None),
        ("PPPP", "BB", None),
        ("JJPP", "PP", None),
        ("JJ", "aa", None),
    ],
)
def test_compressed_images_beside_others(real: str, fake: str, expected: str | None) -> None:
    """One side of JPEG and the other of lossless files is told; mixed sides and arrays, which do not tell, are not."""
    names = {"J": "JPEG", "P": "PNG", "B": "BMP", "a": "array"}
    sides = [_dna(formats=[names[letter] for letter in side], pixels=range(at, at + len(side))) for side, at in (
        (real, 1), (fake, 50),
    )]  # fmt: skip
    caveat = pair_caveats(*sides).get("formats")
    assert caveat is None if expected is None else str(caveat).startswith(expected)


def test_very_different_sizes() -> None:
    """Median sizes of more than twice as many pixels are told with both ranges; one odd image changes nothing."""
    small, large = _dna(widths=[32, 32, 32, 4000]), _dna(widths=[64, 60, 66], pixels=[7, 8, 9])
    sentence = str(pair_caveats(large, small)["sizes"])
    assert sentence.startswith("its images are 32..4000 x 32..4000, those of the reference 60..66 x 60..66: what is ")
    assert "sizes" in pair_caveats(small, large)
    assert "sizes" not in pair_caveats(_dna(widths=[40]), _dna(widths=[32], pixels=[9]))


def test_sets_of_different_numbers() -> None:
    """More than a tenth apart is told, with the ends."""
    assert number_caveat({"a": 100, "b": 110, "c": 105}) is None
    assert (number_caveat({"a": 100, "b": 111, "c": 105}) or "").startswith("Numbers of images differ (a 100, b 111)")


@pytest.mark.parametrize(
    ("preprocessing", "told"),
    [
        ("clean:bicubic:96x96:mean=0,0,0:std=1,1,1", True),
        ("clean:bicubic:96x96:crop=center:mean=0,0,0:std=1,1,1", False),
        ("clean:bicubic:96x192:mean=0,0,0:std=1,1,1", False),  # into which they may fit
        ("clean:bicubic:own-size:mean=0,0,0:std=1,1,1", False),
        ("none", False),
    ],
)
def test_oblong_images_that_are_squeezed(preprocessing: str, told: bool) -> None:
    """A square network that squeezes images of more than 3 to 2 is told, and how to look at their middle instead."""
    dna = _dna(widths=[64, 48, 32, 64], heights=[32, 32, 64, 64])
    dna = replace(dna, fingerprint=replace(dna.fingerprint, preprocessing=preprocessing))
    found = set_caveats(dna)
    assert set(found) == ({"squeezed"} if told else set())
    if told:
        said = str(found["squeezed"])
        assert said.startswith("2 of 120 images are more than 1.5 times as long on one side as on the ")
        assert "square of 96 pixels" in said
        assert "crop='center' (--crop center)" in said


def test_neurons_that_gave_the_reference_one_value() -> None:
    """Of auto histograms they are counted, for they have no value in bins; of given ranges they have one."""
    real, fake = make_dna("auto", 120), make_dna("auto", 120, seed=1)
    sentence = str(pair_caveats(real, fake, name="photos")["width"])
    assert sentence.startswith("1 of 9 neurons gave one value to all images of photos: in bins and in range they have")
    assert "width" not in pair_caveats(*[make_dna("histogram", 120)] * 2)
    assert "width" not in pair_caveats(real.select(["norm"]), fake.select(["norm"]))
    assert set_caveats(real) == {}


def test_what_chance_adds_is_in_the_unit_of_the_value() -> None:
    """Of auto histograms it does not depend on where the grid has its bins: about that of calibrated ranges."""
    auto = make_dna("auto", 200, bins=400)
    low, high = auto.distribution.observed
    given = make_dna("histogram", 200, bins=400, ranges=ActivationRanges(LAYOUT, low, high))
    found = [float(chance(dna, 10).split()[2]) for dna in (auto, given)]
    assert found[0] == pytest.approx(found[1] * LAYOUT.total / (LAYOUT.total - 1), rel=0.02)  # one has no width
