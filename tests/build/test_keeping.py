"""What a pass keeps of single images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import small_images
from helpers.dnas import tiny_extractor

from vdna_metrics import Reading, build_dnas, calibrate, open_images
from vdna_metrics.analysis.explain import explain
from vdna_metrics.analysis.single_images import exemplars_of, find_exemplars
from vdna_metrics.build.keeping import keep_activations, keep_pictures
from vdna_metrics.build.passes import ImageWork, read_pictures, run_beside, run_work, run_works
from vdna_metrics.images import evenly_spaced

EXTRACTOR = tiny_extractor()
SOURCE = open_images(small_images(11, 0))
SOME = evenly_spaced(SOURCE, 5)


def _works() -> dict[str, ImageWork[Any]]:
    return {"activations": keep_activations(SOME, EXTRACTOR.layout), "pictures": keep_pictures(SOME)}


def test_kept_images_are_those_that_are_read_again() -> None:
    """Pictures are `read_pictures`, and exemplars those that `find_exemplars` finds in a pass of its own."""
    reading = Reading(batch_size=4)
    found = run_works(SOURCE, EXTRACTOR, _works(), reading)[1]
    for index, picture in read_pictures(SOME, range(5), EXTRACTOR).items():
        assert torch.equal(found["pictures"][index], picture)
    ranges = calibrate(SOURCE, EXTRACTOR)
    dnas = [build_dnas(images, EXTRACTOR, ranges=ranges)["histogram"] for images in (small_images(8, 1), SOURCE)]
    explanation, options = explain(*dnas), {"neurons": 3, "number": 2}
    kept = exemplars_of(explanation, found["activations"], found["pictures"], **options)
    again = find_exemplars(explanation, SOME, EXTRACTOR, reading=reading, **options)
    assert list(kept.neurons) == list(again.neurons)
    for neuron, exemplars in again.neurons.items():
        assert [each.name for each in kept.neurons[neuron]] == [each.name for each in exemplars]
        assert [each.pull for each in kept.neurons[neuron]] == pytest.approx([each.pull for each in exemplars])


def test_fewer_are_kept_than_memory_has_room_for() -> None:
    """Evenly spaced ones: of two images' bytes the first and the third of five, and never none."""
    one = run_work(keep_activations(SOME, EXTRACTOR.layout), EXTRACTOR, Reading()).batches[0]
    each = sum(4 * x[:, 0].nelement() for x in one.values())
    for most, indices in ((2 * each, (0, 2)), (1, (0,))):
        kept = run_work(keep_activations(SOME, EXTRACTOR.layout, most=most), EXTRACTOR, Reading(batch_size=2))
        assert kept.indices == indices
        assert kept.names == tuple(SOME.names[index] for index in indices)


def test_a_pass_that_went_on_has_not_kept_all(tmp_path: Path) -> None:
    """What was seen before an interrupt is not in its memory: such work is not done, and is when it is repeated."""
    calls = iter([False, True])
    with pytest.raises(KeyboardInterrupt):
        run_works(SOURCE, EXTRACTOR, _works(), Reading(2, checkpoint=tmp_path, stop=lambda: next(calls)))
    works = _works()
    found = run_works(SOURCE, EXTRACTOR, works, Reading(2, checkpoint=tmp_path))[1]
    assert found == {"activations": None, "pictures": None}
    again = run_beside(SOURCE, EXTRACTOR, works, Reading(2))
    assert (sorted(again["activations"].indices), sorted(again["pictures"])) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
