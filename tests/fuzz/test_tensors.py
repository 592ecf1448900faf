"""Tensors that somebody gives to metrics and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.fuzzing import fuzzed, outcome
from helpers.metric_tester import make, states
from hypothesis import given, strategies as st
from torch import Tensor

from vdna_metrics import functional

DTYPES = (
    torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool,
    torch.complex64,
)  # fmt: skip
REFUSALS = (ValueError, TypeError)


@st.composite
def tensors(draw: Callable[..., Any], shapes: list[tuple[int, ...]], *, strange: bool = True) -> Any:
    """A tensor of a shape, or near one, of any type, strides and content; a strange one of another layout or device."""
    shape = list(draw(st.sampled_from(shapes)))
    if shape and draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, min(1, len(shape) - 1)))  # the network takes no images of one pixel
        how = draw(st.sampled_from(["drop", "add", "zero", "one", "more"]))
        if how == "drop":
            del shape[place]
        elif how == "add":
            shape.insert(place, 1)
        else:
            shape[place] = {"zero": 0, "one": 1, "more": shape[place] + 1}[how]
    dtype = draw(st.sampled_from([DTYPES[0], DTYPES[1], *(DTYPES if strange else DTYPES[:-1])]))
    made = (torch.rand(shape) * draw(st.sampled_from([1.0, 255.0, 1e30, -1.0, 0.0]))).to(dtype)
    if made.is_floating_point() and made.numel() and draw(st.booleans()):
        made.view(-1)[draw(st.integers(0, made.numel() - 1))] = draw(
            st.sampled_from([float("nan"), float("inf"), -float("inf"), 2.0, -0.1, 1e-40])
        )
    plain, odd = ["", "", "turned", "flat", "step", "expanded", "grad", "inference"], ["sparse", "meta", "list"]
    how = draw(st.sampled_from(plain + odd if strange else plain))
    if how == "turned":
        return made.transpose(0, -1).contiguous().transpose(0, -1) if made.ndim else made
    if how == "flat" and made.ndim == 4:
        return made.contiguous(memory_format=torch.channels_last)
    if how == "step" and made.ndim:
        return made.repeat_interleave(2, dim=-1)[..., ::2]
    if how == "expanded" and made.ndim and made.shape[0]:
        return made[:1].expand(made.shape)
    if how == "grad" and (made.is_floating_point() or made.is_complex()):
        return made.requires_grad_()
    if how == "sparse":
        return made.to_sparse()
    if how == "meta":
        return made.to("meta")
    if how == "list":
        return made.tolist()
    if how == "inference":
        with torch.inference_mode():
            return made.clone()
    return made


@pytest.mark.parametrize("kind", ["emd", "nfd", "lfd"])
@pytest.mark.parametrize("normalize", [False, True])
@fuzzed
@given(data=st.data())
def test_images_of_metrics(kind: str, normalize: bool, data: st.DataObject) -> None:
    """A batch is counted image by image, or refused and leaves no trace."""
    metric = make(kind, normalize=normalize)
    before = {name: state.clone() for name, state in states(metric).items()}
    batch = data.draw(tensors([(2, 3, 12, 12), (1, 3, 12, 15), (3, 3, 10, 12)]))

    def update() -> bool:
        metric.update(batch, real=data.draw(st.booleans()))
        return True

    if outcome(f"images of {kind}", update, "", REFUSALS):
        assert isinstance(batch, Tensor)
        assert metric.dna().n_images + metric.dna(real=True).n_images == len(batch)
        assert not any(state.requires_grad for state in states(metric).values())
    else:
        after = states(metric)
        assert all(torch.equal(after[name], state) for name, state in before.items())


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "earth_movers_distance": (functional.earth_movers_distance, ((3, 8), (3, 8))),
    "neuron_frechet_distance": (functional.neuron_frechet_distance, ((4,), (4,), (4,), (4,))),
    "frechet_distance": (functional.frechet_distance, ((4,), (4, 4), (4,), (4, 4))),
    "histogram_counts": (lambda x, low, high: functional.histogram_counts(x, low, high, 8), ((3, 10), (3,), (3,))),
    "precision_recall": (functional.precision_recall, ((9, 4), (8, 4))),
    "density_coverage": (functional.density_coverage, ((9, 4), (8, 4))),
    "vendi_score": (functional.vendi_score, ((9, 4),)),
    "kernel_distance": (lambda a, b: functional.kernel_distance(a, b, subsets=2, subset_size=4), ((9, 4), (8, 4))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@fuzzed
@given(data=st.data())
def test_arguments_of_functions(name: str, data: st.DataObject) -> None:
    """Dense tensors in, tensors out, or an error of two classes."""
    function, shapes = FUNCTIONS[name]
    odd = data.draw(st.integers(0, len(shapes) - 1))
    arguments = [torch.rand(shape) for shape in shapes]
    if name == "histogram_counts":
        arguments[2] = arguments[1] + 1
    elif name == "earth_movers_distance":
        arguments = [(9 * argument).ceil() for argument in arguments]
    elif name == "frechet_distance":
        arguments[1] = arguments[3] = torch.eye(4)
    arguments[odd] = data.draw(tensors([shapes[odd]], strange=False))
    outcome(name, lambda: function(*arguments), "", REFUSALS)
