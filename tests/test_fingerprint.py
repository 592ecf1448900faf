"""Fingerprints of extractors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers.dnas import make_fingerprint

from vdna_metrics.fingerprint import ExtractorFingerprint, Response, common_fingerprint, describe_differences
from vdna_metrics.schema import typed


def test_equal_parts_make_equal_fingerprints() -> None:
    """The same parts give the same fingerprint, digest and text, and no differences."""
    a, b = make_fingerprint(), make_fingerprint()
    assert a == b
    assert a.digest == b.digest
    assert str(a) == f"tiny ({a.digest[:12]})"
    assert a.differences(b) == []


@pytest.mark.parametrize("part", ["architecture", "weights", "preprocessing"])
def test_each_part_counts(part: str) -> None:
    """Another architecture, other weights or another preprocessing change the digest and are named with both sides."""
    a = make_fingerprint()
    b = replace(a, **{part: "other"})
    assert a.digest != b.digest
    assert a.differences(b) == [(part, getattr(a, part)[:12], "other")]
    assert b.differences(a) == [(part, "other", getattr(a, part)[:12])]


def test_paths_count_on_common_layers_only() -> None:
    """A layer read elsewhere differs; layers that one side does not look at do not matter."""
    a = make_fingerprint()
    moved = replace(a, paths={**a.paths, "conv1": "network.elsewhere"})
    assert a.differences(moved) == [("module path of layer 'conv1'", "network.conv1", "network.elsewhere")]
    assert a.differences(a.select(["conv2"])) == []
    assert a.select(["conv2"]).differences(moved) == []
    assert a.digest != moved.digest


def test_unknown_weights_are_not_compared() -> None:
    """Weights that a file of others does not record agree with all; everything else is compared as ever."""
    known = make_fingerprint()
    unknown = replace(known, weights="")
    assert known.differences(unknown) == unknown.differences(known) == []
    assert known.digest != unknown.digest
    assert unknown.differences(replace(known, preprocessing="b")) == [("preprocessing", "clean:32", "b")]


def test_an_unknown_layer_cannot_be_selected() -> None:
    """Layers that the extractor does not look at are refused, with those it does."""
    with pytest.raises(ValueError, match=r"tiny has no layer 'conv9'; its layers: conv1, conv2, norm"):
        make_fingerprint().select(["conv1", "conv9"])


def test_json_and_back() -> None:
    """Plain containers hold all of a fingerprint."""
    for fingerprint in (make_fingerprint(), replace(make_fingerprint(), precision="bf16", options=["compile"])):
        assert typed(ExtractorFingerprint, json.loads(json.dumps(fingerprint.to_json()))) == fingerprint


ANSWER = Response("64x64:aa", {"conv1": (0.25, 1.0), "conv2": (0.1, 1e-30), "norm": (0.0, 1 / 3)})


def test_a_response_comes_back_from_json() -> None:
    """All digits of a response are kept, and what is no number is refused."""
    plain = json.loads(json.dumps(replace(make_fingerprint(), response=ANSWER).to_json()))
    assert typed(ExtractorFingerprint, plain).response == ANSWER
    plain["response"]["moments"]["norm"] = [0.0, -1.0]
    with pytest.raises(ValueError, match=r"response.moments.norm\[1\]: expected a number from 0, got -1.0"):
        typed(ExtractorFingerprint, plain)


def test_a_response_is_no_part_of_equality_or_digest() -> None:
    """Its last digits differ from machine to machine, so nothing that is compared for equality depends on it."""
    plain, answered = make_fingerprint(), replace(make_fingerprint(), response=ANSWER)
    assert plain == answered
    assert hash(plain) == hash(answered)
    assert plain.digest == answered.digest
    assert answered.compared.response is None


def test_responses_are_compared_where_both_are_known_and_nothing_else_differs() -> None:
    """An old file has none and compares without; the first layer that differs is shown, of those that both have."""
    moved = replace(ANSWER, moments={**ANSWER.moments, "conv2": (0.2, 0.0), "norm": (1.0, 1.0)})
    a, b = (replace(make_fingerprint(), response=response) for response in (ANSWER, moved))
    assert [what for what, _, _ in a.differences(b)] == ["responses of layer 'conv2'"]
    assert a.differences(make_fingerprint()) == make_fingerprint().differences(b) == []
    assert a.select(["conv1"]).differences(b) == a.differences(b.select(["conv1"])) == []
    assert a.select(["norm"]).response == replace(ANSWER, moments={"norm": (0.0, 1 / 3)})
    assert [what for what, _, _ in a.differences(replace(b, weights="other"))] == ["weights"]


def test_a_sum_knows_what_all_its_parts_know() -> None:
    """Weights and response of a sum are known where those of every part are."""
    whole = replace(make_fingerprint(), response=ANSWER)
    assert common_fingerprint([whole, whole]).response == ANSWER
    assert common_fingerprint([whole, make_fingerprint()]).response is None
    assert common_fingerprint([make_fingerprint(), whole]).response is None
    assert common_fingerprint([whole, replace(whole, weights="")]) == replace(whole, weights="")


def test_the_class_of_a_module_is_information() -> None:
    """Two modules need not have one class path; a module and an architecture differ, and so do two architectures."""
    one, other = (replace(make_fingerprint(), architecture=f"module:{path}") for path in ("__main__.Net", "nets.Net"))
    assert one.differences(other) == []
    assert one.compared == other.compared
    assert one.digest != other.digest
    named = replace(one, architecture="resnet18")
    for a, b in ((one, named), (named, one), (named, replace(named, architecture="resnet34"))):
        assert [what for what, _, _ in a.differences(b)] == ["architecture"]
        assert a.compared != b.compared


def test_defaults_are_what_they_were_before_there_were_options() -> None:
    """Full precision without options leaves no trace, so that hashes and headers of the first files stay theirs."""
    plain = ExtractorFingerprint("resnet18", "aa" * 32, "clean", {"l1": "layer1"}, precision="fp32", options=())
    assert list(plain.to_json()) == ["architecture", "weights", "preprocessing", "paths"]
    assert plain.digest == "24c86bdfdc1fd6d166278d2489b4aba25e0e18f05a15f458b45e364fa2664b51"


def test_another_precision_is_a_difference_but_for_ranges() -> None:
    """Precisions must agree, unless ranges ask, and the text says what to do; options are recorded, not compared."""
    plain = make_fingerprint()
    half = replace(plain, precision="bf16")
    found = plain.differences(half)
    assert found == [("precisions", "fp32", "bf16")]
    assert describe_differences(found) == (
        "precisions differ: first fp32, second bf16; make both with one precision, it moves the distance"
    )
    assert plain.differences(half, precision=False) == []
    fast = replace(plain, options=("channels_last", "compile"))
    assert plain.differences(fast) == fast.differences(plain) == []
    assert len({plain.digest, half.digest, fast.digest}) == 3
    assert hash(fast) != hash(plain) != hash(half)


def test_description_shows_both_sides_of_each_difference() -> None:
    """Differences are one clause each, with the names of the sides."""
    assert (
        describe_differences([("bins", "1000", "500"), ("weights", "aa", "bb")], ("reference", "metric"))
        == "bins differ: reference 1000, metric 500; weights differ: reference aa, metric bb"
    )
