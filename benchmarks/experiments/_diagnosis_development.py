"""The boards on which the thresholds of diagnoses were chosen; those that judge them are in `diagnosis.py`.

    python benchmarks/experiments/_diagnosis_development.py

Photographs of ImageNet and CIFAR-10's training images; ways to make faults of the first four held-out runs among them.
"""

from __future__ import annotations

from functools import partial

import torch
from _common import begin
from _planted import DEVELOPED, diagnose_board, make_board, middle, mixed_in_words, tally


def main() -> None:
    experiment = begin(__file__, __doc__)
    make = partial(make_board, experiment, ways=DEVELOPED)
    photographs, small = experiment.open("imagenet_sample_1000.zip"), experiment.open("cifar10_jpeg_train.zip")
    for board in (
        make("ImageNet", photographs, 400, n=100),
        make("ImageNet, 96 pixels", photographs, 400, n=150, part=partial(middle, size=96), seed=1),
        make("CIFAR-10, training images", small, 500, n=200),
    ):
        told = diagnose_board(experiment, board)
        right, alarms = tally(told)
        print(f"{board.name}: {right} right, {alarms} false alarms; {mixed_in_words(told)}")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
