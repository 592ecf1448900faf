"""DNAs as values."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from helpers.dnas import (
    LAYOUT,
    MADE,
    Made,
    assert_same_state,
    make_activations,
    make_distribution,
    make_dna,
    make_fingerprint,
    make_ranges,
)

from vdna_metrics.dna.vdna import VDNA, ImageClusters, Provenance, ProvenanceFields
from vdna_metrics.layout import NeuronLayout
from vdna_metrics.schema import typed

kinds = pytest.mark.parametrize("kind", MADE)


@kinds
def test_a_sum_is_the_dna_of_both_sets(kind: Made) -> None:
    """`a + b` has the distribution of one pass over both sets, and both provenances, one after the other."""
    a, b = make_dna(kind, 5, 0), make_dna(kind, 6, 1)
    merged = a + b
    sets = make_activations(5), make_activations(6, 1)
    both = {layer: torch.cat([activations[layer] for activations in sets], dim=1) for layer in LAYOUT}
    assert_same_state(merged.distribution, make_distribution(kind, both))
    assert merged.n_images == 11
    assert merged.provenance == Provenance("tiny", ("set0", "set1"), (), ("0" * 64, "0" * 63 + "1"))
    assert merged.fingerprint == a.fingerprint
    assert_same_state((b + a).distribution, merged.distribution)


def test_provenances_add_in_order() -> None:
    """Sources, skipped images and manifests of both sides are kept, in order; the name is the first's."""
    a = Provenance("net", ("a",), (("x.png", "cut"),), ("1",))
    b = Provenance("same net", ("b", "c"), (("y.png", "empty"),))
    assert a + b == Provenance("net", ("a", "b", "c"), (("x.png", "cut"), ("y.png", "empty")), ("1",))
    assert typed(ProvenanceFields, (a + b).to_json()).provenance({}) == a + b
    some, others = (replace(part, max_positions=9) for part in (a, b))
    assert some + others == replace(a + b, max_positions=9)
    assert typed(ProvenanceFields, some.to_json()).provenance({}) == some
    assert "max_positions" not in a.to_json()  # so that files of whole images stay as they were


def test_origins_are_kept() -> None:
    """Where statistics of others came from is kept by merging, once each, and written only where there is any."""
    imported, other = (Provenance("net", origin=origin) for origin in ("EDM: a.npz", "ADM: b.npz"))
    own = Provenance("net")
    assert (imported + own + other + imported).origin == "EDM: a.npz; ADM: b.npz"
    assert "origin" not in own.to_json()
    assert typed(ProvenanceFields, imported.to_json()).provenance({}) == imported


def test_merging_with_unknown_weights() -> None:
    """A DNA whose file did not record weights merges with others, and the sum's are unknown, in either order."""
    known = make_dna("layer_gaussian")
    unknown = make_dna("layer_gaussian", seed=1, fingerprint=make_fingerprint(weights=""))
    for merged in (known + unknown, unknown + known):
        assert merged.fingerprint == unknown.fingerprint
        assert merged.n_images == 24


@kinds
def test_a_text_says_what_it_is(kind: Made) -> None:
    """The representation has kind, images, sources, neurons and network."""
    named = "histogram" if kind == "auto" else kind
    assert repr(make_dna(kind, 5)) == f"VDNA({named} of 5 images of set0: 9 neurons in 3 layers of tiny)"
    unknown = VDNA(make_dna(kind, 5).distribution, make_fingerprint())
    assert repr(unknown).endswith("5 images of unknown source: 9 neurons in 3 layers of unknown)")


@kinds
def test_a_selection_keeps_fingerprint_and_provenance(kind: Made) -> None:
    """Selecting keeps the provenance, and of the fingerprint the layers that are left."""
    dna = make_dna(kind)
    chosen = dna.select(neurons={"conv1": [2, 0], "norm": [1]})
    assert chosen.layout == NeuronLayout({"conv1": 2, "norm": 1}, {"conv1": (2, 0), "norm": (1,)})
    assert chosen.fingerprint == dna.fingerprint.select(["conv1", "norm"])
    assert chosen.provenance == dna.provenance
    assert chosen.n_images == dna.n_images
    assert_same_state(chosen.distribution, dna.distribution.select(chosen.layout))


def test_selecting_everything_is_the_same_dna() -> None:
    """A selection that leaves nothing out copies nothing."""
    dna = make_dna("histogram")
    assert dna.select() is dna
    assert dna.select(list(LAYOUT)) is dna


def test_unknown_layers_name_near_ones() -> None:
    """Selecting a layer that is not there says which are near."""
    with pytest.raises(ValueError, match=r"layers: unknown layer 'norn'; did you mean 'norm'\?"):
        make_dna("gaussian").select(["norn"])


@kinds
def test_selections_merge_as_the_whole_does(kind: Made) -> None:
    """The sum of selections is the selection of the sum."""
    a, b = make_dna(kind, 5), make_dna(kind, 6, 1)
    neurons = {"conv1": [3, 1], "conv2": [0]}
    merged = a.select(neurons=neurons) + b.select(neurons=neurons)
    assert_same_state(merged.distribution, (a + b).select(neurons=neurons).distribution)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_dna("gaussian"), r"kinds differ: first histogram, second gaussian"),
        (make_dna("histogram", bins=9), r"bins differ: first 8, second 9"),
        (make_dna("histogram", ranges=make_ranges(-4)), r"activation ranges differ: first \[-3 .. 3\] .*, second \[-4"),
        (make_dna("histogram").select(["conv1"]), r"layers differ: first conv1, conv2, norm, second conv1"),
        (
            make_dna("histogram", fingerprint=make_fingerprint("other", "cd" * 32)),
            r"architecture differ: first tiny, second other; weights differ: first (ab){6}, second (cd){6}",
        ),
    ],
    ids=["kind", "bins", "ranges", "layers", "network"],
)
def test_unlike_dnas_do_not_merge(other: VDNA, message: str) -> None:
    """DNAs that could not have come from one pass are refused, with both sides."""
    with pytest.raises(ValueError, match=rf"these DNAs cannot be merged: {message}"):
        make_dna("histogram") + other


@pytest.mark.parametrize(("numbers", "sides"), [((None, 9), "first all, second 9"), ((8, 9), "first 8, second 9")])
def test_dnas_of_other_positions_do_not_merge(numbers: tuple[int | None, int], sides: str) -> None:
    """DNAs that looked at other positions of their images are refused, with both numbers."""
    a, b = (_of_positions(make_dna("histogram"), number) for number in numbers)
    with pytest.raises(ValueError, match=f"these DNAs cannot be merged: max_positions differ: {sides}"):
        a + b
    assert (b + b).provenance.max_positions == 9
    assert b.select(["conv1"]).provenance.max_positions == 9


def _of_positions(dna: VDNA, max_positions: int | None) -> VDNA:
    return replace(dna, provenance=replace(dna.provenance, max_positions=max_positions))


def test_only_dnas_add() -> None:
    """A DNA and a distribution do not add."""
    dna = make_dna("gaussian")
    with pytest.raises(TypeError, match="unsupported operand"):
        dna + dna.distribution  # type: ignore[operator]


def test_an_extractor_is_checked() -> None:
    """A DNA accepts its own extractor and refuses another, showing both sides."""
    dna = make_dna("gaussian")
    dna.check_fingerprint(make_fingerprint())
    with pytest.raises(
        ValueError,
        match="this DNA was not made with this extractor: preprocessing differ: DNA clean:32, extractor none",
    ):
        dna.check_fingerprint(make_fingerprint(preprocessing="none"))


@kinds
def test_copies_are_the_value_and_pickles_are_equal(kind: Made) -> None:
    """A deep copy is the DNA itself, so that copies of metrics share their reference; a pickle has all of it."""
    dna = make_dna(kind)
    assert copy.deepcopy(dna) is dna
    other = pickle.loads(pickle.dumps(dna))
    assert torch.equal(other.distribution.state, dna.distribution.state)
    assert (other.layout, other.fingerprint, other.provenance) == (dna.layout, dna.fingerprint, dna.provenance)


def test_images_without_told_clusters_are_clusters_by_themselves() -> None:
    """A merge with a DNA of told clusters does not forget these."""
    plain = make_dna("gaussian", 6)
    told = replace(plain, provenance=replace(plain.provenance, clusters=ImageClusters.of([3, 3])))
    for merged in (told + plain, plain + told):
        assert merged.provenance.clusters == ImageClusters(12, 8, 24)
    assert (plain + plain).provenance.clusters is None
