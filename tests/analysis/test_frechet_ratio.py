"""FDr^k of DNAs, plain and corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vdna_metrics import VDNA, GroupedDNA, build_dnas, compare, create_extractor
from vdna_metrics.analysis import FrechetRatio, frechet_distance_ratio, frechet_normaliser, jackknife_distance
from vdna_metrics.build import disjoint_groups
from vdna_metrics.dna import Column

NETWORKS = {
    "fine": create_extractor(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), size=16),
    "coarse": create_extractor(nn.AvgPool2d(16), size=16),
}
DNAs = dict[str, Any]


def _images(n: int, seed: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 3, 16, 16, generator=generator) * 255 * scale).byte()


def _plain(images: Tensor) -> DNAs:
    made = {name: build_dnas(images.numpy(), each, ["layer_gaussian"]) for name, each in NETWORKS.items()}
    return {name: each["layer_gaussian"] for name, each in made.items()}


def _grouped(images: Tensor, groups: int = 10) -> DNAs:
    partition = disjoint_groups(len(images), groups)
    found = {}
    for name, each in NETWORKS.items():
        made = build_dnas(images.numpy(), each, ["layer_gaussian"], partition=partition)["layer_gaussian"]
        found[name] = GroupedDNA(tuple(made.values()))
    return found


def _totals(dnas: Mapping[str, GroupedDNA]) -> dict[str, VDNA]:
    return {name: dna.total for name, dna in dnas.items()}


TRAIN, VALIDATION = _grouped(_images(200, 0)), _grouped(_images(100, 1, 0.9))
NEAR, FAR = _grouped(_images(100, 2, 0.9)), _grouped(_images(100, 3, 0.6))


def _ratio(generated: DNAs, **options: Any) -> FrechetRatio:
    return frechet_distance_ratio(
        generated, options.pop("train", TRAIN), options.pop("validation", VALIDATION), **options
    )


def test_plain_ratios_are_quotients_of_plain_distances() -> None:
    """Of as many images, each network's part is one plain distance over the other, and the value their mean."""
    found = _ratio(_totals(FAR), train=_totals(TRAIN), validation=_totals(VALIDATION))
    for name, part in found.networks.items():
        distances = [float(compare.layer_frechet(TRAIN[name].total, side[name].total)) for side in (FAR, VALIDATION)]
        assert [part.distance, part.normaliser.value] == pytest.approx(distances, rel=1e-12)
        assert part.value == pytest.approx(distances[0] / distances[1], rel=1e-12)
        assert (part.normaliser.n_images, part.normaliser.low, part.normaliser.corrected) == (100, None, False)
    assert found.value == pytest.approx(sum(part.value for part in found.networks.values()) / 2, rel=1e-12)
    assert (found.undefined, found.corrected) == (None, False)
    assert _ratio(VALIDATION).value == pytest.approx(1, rel=1e-12)


def test_corrected_ratios_are_those_of_the_jackknife() -> None:
    """Corrected distances, and the interval of the normaliser, are those that the jackknife gives."""
    found = _ratio(FAR, corrected=True, confidence=0.9)
    for name, part in found.networks.items():
        far, over = (jackknife_distance(TRAIN[name], side[name], distance="lfd", confidence=0.9).score
                     for side in (FAR, VALIDATION))  # fmt: skip
        assert (part.distance, part.normaliser.value) == (far.corrected, over.corrected)
        assert (part.normaliser.low, part.normaliser.high) == (over.low, over.high)
        assert part.value == far.corrected / over.corrected
        assert part.normaliser.corrected
    assert found.value is not None
    assert found.value > 1


def test_corrected_ratios_hardly_depend_on_the_number_of_images() -> None:
    """Half as many generated images give the same corrected ratio to a tenth, and are refused as plain ones."""
    half = _grouped(_images(50, 3, 0.6))
    whole, few = (_ratio(side, corrected=True).value for side in (FAR, half))
    assert few == pytest.approx(whole, rel=0.1)
    with pytest.raises(ValueError, match="as many generated as validation images of 'fine', got 50 and 100"):
        _ratio(half)


def test_a_normaliser_that_may_be_0_has_no_ratio() -> None:
    """Of validation images drawn as the training set is the corrected distance may be 0: no ratio is given."""
    same = _grouped(_images(100, 4))
    found = _ratio(FAR, validation=same, corrected=True)
    assert found.value is None
    assert all(part.value is None and part.normaliser.low == 0 for part in found.networks.values())
    assert found.undefined is not None
    assert "the normaliser of 'fine' tells nothing" in found.undefined
    assert "the normaliser of 'coarse' tells nothing" in found.undefined
    plain = _ratio(FAR, validation=same).networks["fine"]  # its bias, which both distances have, is not 0
    assert plain.value is not None
    assert 0 < plain.normaliser.low < plain.normaliser.value < plain.normaliser.high
    few_neurons = _ratio(FAR, validation=same).networks["coarse"]  # their bias is within the error
    assert few_neurons.value is None
    assert few_neurons.normaliser.low < 0 < few_neurons.normaliser.value


def test_one_undefined_network_leaves_the_others() -> None:
    """Where one normaliser may be 0 there is no mean, and the parts of the others are given."""
    mixed = {**VALIDATION, "coarse": _grouped(_images(100, 4))["coarse"]}
    found = _ratio(FAR, validation=mixed, corrected=True)
    assert found.value is None
    assert found.networks["fine"].value is not None
    assert found.networks["coarse"].value is None
    assert found.undefined == found.networks["coarse"].undefined


def test_nearer_images_have_a_smaller_ratio() -> None:
    """Images like the validation set have a ratio near 1, others a greater one, plain and corrected."""
    for corrected in (False, True):
        near, far = (_ratio(side, corrected=corrected).value for side in (NEAR, FAR))
        assert near == pytest.approx(1, abs=0.3)
        assert far > 2 * near


def test_wrong_arguments_are_named() -> None:
    """Names that differ, sides without groups and distances of other kinds are refused with what was given."""
    with pytest.raises(ValueError, match="generated fine; train fine, coarse; validation fine, coarse"):
        _ratio({"fine": FAR["fine"]})
    with pytest.raises(ValueError, match="of at least one, got generated of none"):
        frechet_distance_ratio({}, {}, {})
    with pytest.raises(ValueError, match="Expected the generated images of 'fine' in groups"):
        _ratio(_totals(FAR), corrected=True)
    with pytest.raises(ValueError, match="Expected the validation images of 'fine' in groups"):
        _ratio(FAR, validation=_totals(VALIDATION), corrected=True)
    with pytest.raises(ValueError, match="Expected a distance between layer Gaussians, got Column"):
        _ratio(FAR, distance="nfd")
    with pytest.raises(ValueError, match="Expected distances of fine, coarse, got fine"):
        _ratio(FAR, distance={"fine": "lfd"})
    with pytest.raises(ValueError, match="a confidence lies between 0 and 1"):
        _ratio(FAR, confidence=1.5)
    with pytest.raises(TypeError, match="expected generated to be Mapping"):
        _ratio([FAR["fine"]])  # type: ignore[arg-type]
    assert _ratio(FAR, distance={"fine": "lfd", "coarse": "lfd"}) == _ratio(FAR)


PHOTOGRAPHS = {name: {"vdna_tiny": f"bsds500/{name}@vdna_tiny"} for name in ("trainval", "test")}
TELLABLE = "lfd[blocks.0+blocks.2+blocks.4]"


def test_recorded_normalisers_need_names_alone() -> None:
    """Without a validation set it is the one that was recorded with the training set, and the ratio is the same."""
    generated, train = PHOTOGRAPHS["test"], PHOTOGRAPHS["trainval"]
    found = frechet_distance_ratio(generated, train, distance=TELLABLE)
    assert found.value == pytest.approx(1, rel=1e-6)  # generated are the validation images themselves
    (recorded,) = found.normalisers.values()
    assert recorded.low < recorded.value < recorded.high
    assert (recorded.n_images, recorded.corrected, recorded.validation) == (200, False, "bsds500/test")


def test_normalisers_that_do_not_fit_are_refused() -> None:
    """Those of other layers, neurons, weights, correction or confidence, and training sets without a name."""
    known = _ratio(FAR).normalisers
    assert _ratio(FAR, validation=known) == _ratio(FAR)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"corrected": True}, r"of lfd, corrected distances at a confidence of 0\.95, got FrechetNormaliser"),
        ({"confidence": 0.9}, r"plain distances at a confidence of 0\.9, got"),
        ({"validation": {**known, "coarse": replace(known["coarse"], layers=["a"])}}, "compared, output, got .* in a"),
        ({"distance": Column("lfd", neurons={"output": [0]})}, "compared, some neurons of output, got"),
        ({"distance": Column("lfd", weights={"output": 2.0})}, "compared, weighted output, got"),
        ({"validation": None}, "the training set of 'fine' to be the name of a reference, got GroupedDNA"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            _ratio(FAR, **{"validation": known, **options})
    own = frechet_normaliser(TRAIN["fine"], FAR["fine"], distance=Column("lfd", neurons={"output": [0]}))
    assert own.layers == ()  # which cannot be recorded
    for same in (TRAIN["fine"], TRAIN["fine"].total, TRAIN["fine"].groups[3], _plain(_images(200, 0)[:50])["fine"]):
        with pytest.raises(ValueError, match="validation images that the training set does not have, got VDNA"):
            frechet_normaliser(TRAIN["fine"], same)
    with pytest.raises(ValueError, match="layers in common, got training set: output; validation set: blocks"):
        frechet_normaliser(TRAIN["fine"], "bsds500/test@vdna_tiny")
