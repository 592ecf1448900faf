"""Networks by name, and drawn weights."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from vdna_metrics.extractors.architectures import build_architecture, seeded_state_dict
from vdna_metrics.extractors.catalogue import CATALOGUE
from vdna_metrics.extractors.weights import build_network, weights_sha256


@pytest.mark.parametrize("name", ["seeded_resnet18", "seeded_resnet50"])
def test_seeded_weights_have_the_sha256_of_the_spec(name: str) -> None:
    """On every platform and for ever, drawn weights have the hash that the catalogue states."""
    network, digest = build_network(CATALOGUE[name])
    assert digest == CATALOGUE[name].sha256
    assert weights_sha256(network.state_dict()) == digest


def test_seeded_weights_are_randomstates_numbers() -> None:
    """Each matrix is RandomState(seed)'s next uniform numbers within sqrt(6 / fan_in); norms scale by 1, shift by 0."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=False), nn.Linear(5, 6))
    drawn = seeded_state_dict(network, 7)
    stream = np.random.RandomState(7)
    for name, shape in (("0.weight", (4, 3, 3, 3)), ("2.weight", (2, 4, 1, 1)), ("3.weight", (6, 5))):
        bound = (6.0 / np.prod(shape[1:])) ** 0.5
        expected = ((stream.random_sample(shape) * 2 - 1) * bound).astype(np.float32)
        np.testing.assert_array_equal(drawn[name].numpy(), expected)
    for name in ("1.weight", "1.running_var"):
        assert torch.equal(drawn[name], torch.ones(4))
    for name in ("0.bias", "1.bias", "1.running_mean", "3.bias"):
        assert not drawn[name].any()
    network.load_state_dict(drawn)  # complete, in the right shapes


def test_another_seed_draws_other_weights() -> None:
    """The seed decides the weights, nothing else does."""
    network = nn.Conv2d(3, 4, 3)
    torch.manual_seed(1)
    once = seeded_state_dict(network, 0)["weight"]
    torch.manual_seed(2)
    np.random.seed(3)
    assert torch.equal(seeded_state_dict(network, 0)["weight"], once)
    assert not torch.equal(seeded_state_dict(network, 1)["weight"], once)


def test_architectures_are_timms_and_ours() -> None:
    """A name builds timm's network with its arguments, or one of ours."""
    assert isinstance(build_architecture("test_resnet", {"num_classes": 7}), timm.models.ResNet)
    with torch.device("meta"):
        assert build_architecture("fid_inception", {}).fc.out_features == 1008


def test_unknown_architectures_are_answered_with_near_ones() -> None:
    """An unknown architecture is an error that names near ones."""
    with pytest.raises(ValueError, match="unknown architecture 'fid_incption'; did you mean 'fid_inception'"):
        build_architecture("fid_incption", {})
