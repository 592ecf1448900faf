"""Linear probes: how well a linear classifier tells classes apart in frozen features, with many images or few."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.analysis.representations import Labels, class_places
from vdna_metrics.functional.moments import to_float64
from vdna_metrics.functional.neighbours import check_features
from vdna_metrics.layout import check_count, check_type

INVERSE_PENALTIES = tuple(10.0**power for power in range(-6, 6))
"""From Kornblith et al., 2019, every fourth of whose 45 values these are."""
_STEPS = 1000  # of L-BFGS at most


@dataclass(frozen=True)
class Probe:
    """Accuracies of `linear_probe`.

    Args:
        accuracies: share of test images that are right, of each draw.
        inverse_penalties: what was chosen in each.
        n_train: number of images that each classifier was fitted to.
        n_test: number of test images.
    """

    accuracies: tuple[float, ...]
    inverse_penalties: tuple[float, ...]
    n_train: int
    n_test: int

    @property
    def mean(self) -> float:
        """Mean accuracy over the draws."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float | None:
        """Standard deviation of one draw's accuracy (ddof=1), ``None`` of a single draw."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


def linear_probe(
    train: Tensor,
    train_labels: Labels,
    test: Tensor,
    test_labels: Labels,
    *,
    shots: int | None = None,
    draws: int = 5,
    inverse_penalties: Sequence[float] = INVERSE_PENALTIES,
    validation: float = 0.2,
    seed: int = 0,
) -> Probe:
    """Accuracy of logistic regression on features, the strength of its L2 penalty chosen on validation images.

    A draw takes ``shots`` images of each class, or all. A share of each class, at least one image, is set aside; the
    rest is fitted with each inverse penalty, and the best on those set aside is chosen, of equal ones the strongest
    penalty. The classifier that is tested is then fitted to all images of the draw. Draws differ in their images, or
    where all are taken in those set aside. Features are taken as they are.

    Args:
        train: features ``[images, d]``, as the ``vectors`` of `collect_features`.
        train_labels: a class an image, as the ``classes`` there.
        test: features of other images, ``[images, d]``.
        test_labels: likewise.
        shots: images of each class; by default all of them.
        draws: how often it is repeated.
        inverse_penalties: scikit-learn's ``C``; a single one is taken without validation images.
        validation: share of each class set aside, above 0 and below 1.
        seed: of the draws.

    Raises:
        ImportError: without scikit-learn.
        ValueError: for features or numbers of labels that do not fit, fewer than two classes, a class with fewer images
            than shots, or with one image where penalties are to be chosen, or a test image of a class without
            training images.

    Source:
        Sariyildiz, On the evaluation and generalization of visual representations, 2023, sections 3.3.4 and 4.4: L-BFGS
        of scikit-learn, 20 % of the training images for validation, 5 repetitions. There Optuna searches with 25
        trials or more, here powers of ten are tried, which draws no random numbers. For one image a class, of which
        none can be set aside, the source does not say how the penalty is found; here it has to be given.

    Examples:
        >>> import torch
        >>> train, test = torch.tensor([[0.0], [0.1], [1.0], [1.1]]), torch.tensor([[0.2], [0.9]])
        >>> linear_probe(train, "aabb", test, "ab", draws=2, inverse_penalties=[100])
        Probe(accuracies=(1.0, 1.0), inverse_penalties=(100, 100), n_train=4, n_test=2)
    """
    check_features({"train": train, "test": test})
    check_count("draws", draws)
    if not 0 < validation < 1:
        raise ValueError(f"expected a share of validation images above 0 and below 1, got {validation}")
    check_type("inverse_penalties", inverse_penalties, Sequence)
    for each in inverse_penalties:
        check_type("an inverse penalty", each, Real)
    if not inverse_penalties or not all(0 < each < math.inf for each in inverse_penalties):
        raise ValueError(f"expected positive, finite inverse_penalties, got {inverse_penalties!r}")
    y, classes = class_places(train_labels, len(train), "train_labels")
    members = [np.flatnonzero(y == each) for each in range(len(classes))]
    _check_classes(members, classes, shots, len(inverse_penalties) > 1)
    y_test = _test_places(test_labels, len(test), classes)
    x, x_test = (to_float64(side).cpu().numpy() for side in (train, test))
    stream, accuracies, chosen = np.random.default_rng(seed), [], []
    ascending = sorted(inverse_penalties)
    for _ in range(draws):
        drawn = [stream.permutation(of_class)[:shots] for of_class in members]
        best = ascending[0]
        if len(ascending) > 1:
            aside = [max(1, int(validation * len(of_class))) for of_class in drawn]
            held = np.concatenate([of_class[:n] for of_class, n in zip(drawn, aside, strict=True)])
            rest = np.concatenate([of_class[n:] for of_class, n in zip(drawn, aside, strict=True)])
            found = [_accuracy(x[rest], y[rest], x[held], y[held], each, final=False) for each in ascending]
            best = ascending[int(np.argmax(found))]
        rows = np.sort(np.concatenate(drawn))
        accuracies.append(_accuracy(x[rows], y[rows], x_test, y_test, best, final=True))
        chosen.append(best)
    return Probe(tuple(accuracies), tuple(chosen), len(rows), len(test))


def log_odds(accuracy: float) -> float:
    """Log odds of an accuracy: ``ln(p / (1 − p))``.

    Accuracies near 1 are close to each other for all networks, so that their mean over datasets is moved by the hard
    ones alone. On this scale halving the errors counts about as much at 98 % as at 80 %.

    Args:
        accuracy: share of images that are right, above 0 and below 1.

    Raises:
        ValueError: for any other number; 0 and 1 have no finite log odds.

    Source:
        Kornblith, Shlens, Le: Do better ImageNet models transfer better?, 2019; Sariyildiz, On the evaluation and
        generalization of visual representations, 2023, Eq. 4.3.

    Examples:
        >>> log_odds(0.5), round(log_odds(0.9), 4)
        (0.0, 2.1972)
    """
    check_type("accuracy", accuracy, Real, advice=": the `mean` of a Probe" if isinstance(accuracy, Probe) else "")
    if not 0 < accuracy < 1:
        raise ValueError(
            f"expected an accuracy above 0 and below 1, got {accuracy}; where k of n images, all or none, are right, "
            "(k + 0.5) / (n + 1) is the usual estimate"
        )
    return math.log(accuracy / (1 - accuracy))


def transfer_score(accuracies: Mapping[str, float]) -> float:
    """How well features transfer: the mean of `log_odds` over datasets.

    Args:
        accuracies: ``{dataset: accuracy}``, as the ``mean`` of `linear_probe`.

    Raises:
        ValueError: for no dataset, or as `log_odds`, naming the dataset.

    Source:
        Sariyildiz, On the evaluation and generalization of visual representations, 2023, section 4.4 and Tab. D.1.

    Examples:
        >>> round(transfer_score({"easy": 0.9, "hard": 0.5}), 4)
        1.0986
    """
    check_type("accuracies", accuracies, Mapping)
    if not accuracies:
        raise ValueError("expected the accuracy on at least one dataset, got none")
    scores = []
    for dataset, accuracy in accuracies.items():
        try:
            scores.append(log_odds(accuracy))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{dataset}: {error}") from None
    return statistics.fmean(scores)


def _test_places(labels: Labels, n_images: int, classes: tuple[Any, ...]) -> NDArray[np.int64]:
    places, names = class_places(labels, n_images, "test_labels")
    place_of = {name: place for place, name in enumerate(classes)}
    if unknown := [name for name in names if name not in place_of]:
        raise ValueError(f"no training image is of the class {unknown[0]!r} of test images")
    return np.array([place_of[name] for name in names], np.int64)[places]


def _check_classes(members: list[NDArray[np.intp]], classes: tuple[Any, ...], shots: int | None, choose: bool) -> None:
    if len(classes) < 2:
        raise ValueError(f"expected training images of at least two classes, got {len(classes)}")
    if shots is not None:
        check_count("shots", shots)
    fewest = min(range(len(classes)), key=lambda place: len(members[place]))
    n = len(members[fewest])
    if shots is not None and n < shots:
        raise ValueError(f"expected {shots} training images of each class, got {n} of {classes[fewest]!r}")
    if choose and (n if shots is None else shots) < 2:
        raise ValueError(
            f"one image of a class ({classes[fewest]!r}) leaves none to choose the penalty by: give a single value of "
            "inverse_penalties"
        )


def _accuracy(
    x: NDArray[np.float64],
    y: NDArray[np.int64],
    x_test: NDArray[np.float64],
    y_test: NDArray[np.int64],
    inverse_penalty: float,
    *,
    final: bool,
) -> float:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ImportError(
            "a linear probe needs scikit-learn: pip install scikit-learn, or 'vdna_metrics[sklearn]'"
        ) from error
    with warnings.catch_warnings():
        if not final:  # what is not chosen need not converge
            warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = LogisticRegression(C=inverse_penalty, max_iter=_STEPS).fit(x, y)
    return float((classifier.predict(x_test) == y_test).mean())
