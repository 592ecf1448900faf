"""Fidelity and diversity against prdc, torch-fidelity, torchmetrics, clean-fid, vendi_score and dgm-eval's formulas.

Known difference: prdc counts an image on a sphere as outside, where the paper of precision and recall has it inside;
they differ where the same image is in both sets.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vdna_metrics import DensityCoverage, ImprovedPrecisionRecall, KernelInceptionDistance, VendiScore
from vdna_metrics.functional import (
    PolynomialKernel,
    RBFKernel,
    accumulate_unit_second_,
    cmmd,
    density_coverage,
    inception_score,
    kernel_distance,
    kernel_mmd,
    monge_inception_distance,
    precision_recall,
    vendi_score,
    vendi_score_from_moments,
)

pytestmark = pytest.mark.parity


def _sets(n: int = 120, m: int = 100, d: int = 48) -> tuple[Tensor, Tensor]:
    """Two sets of features that overlap in part, float64."""
    real = torch.randn(n, d, dtype=torch.float64) * torch.logspace(0.5, -1, d, dtype=torch.float64)
    generated = torch.randn(m, d, dtype=torch.float64) * torch.logspace(0.5, -1.2, d, dtype=torch.float64)
    return real.relu(), (generated + 0.2).relu()


@pytest.mark.parametrize("k", [1, 3, 5])
def test_shares_are_prdcs(k: int) -> None:
    """Precision, recall, density and coverage of prdc, and so of dgm-eval, which has a copy of it, to 1e-12."""
    prdc = pytest.importorskip("prdc")
    real, generated = _sets()
    expected = prdc.compute_prdc(real.numpy(), generated.numpy(), nearest_k=k)
    found = [*precision_recall(real, generated, k=k), *density_coverage(real, generated, k=k)]
    assert all(0 < float(value) < 1 for value in found)
    names = ("precision", "recall", "density", "coverage")
    assert [float(value) for value in found] == pytest.approx([float(expected[name]) for name in names], rel=1e-12)


def test_an_image_on_the_sphere_is_outside_for_prdc() -> None:
    """Of a set and itself prdc has less density by 1/k, for the image that gives a radius lies on its sphere."""
    prdc = pytest.importorskip("prdc")
    real, _ = _sets()
    theirs = prdc.compute_prdc(real.numpy(), real.numpy(), nearest_k=5)["density"]
    assert density_coverage(real, real)[0].item() == pytest.approx(theirs + 1 / 5, abs=1e-9)


def test_the_kernel_distance_is_torch_fidelitys() -> None:
    """Mean and deviation over the same subsets for the same seed, to 1e-9."""
    metric = pytest.importorskip("torch_fidelity.metric_kid")
    real, generated = _sets()
    options = {"kid_subsets": 20, "kid_subset_size": 40, "rng_seed": 7, "verbose": False}
    expected = metric.kid_features_to_metric(real, generated, **options)
    found = kernel_distance(real, generated, subsets=20, subset_size=40, seed=7)
    assert [float(value) for value in found] == pytest.approx(list(expected.values()), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"degree": 2, "gamma": 0.1, "coef": 2.0}])
def test_the_kernel_distance_of_all_images_is_that_of_the_peers(options: dict[str, float]) -> None:
    """With all images in each subset: torchmetrics' to 1e-9; clean-fid's and dgm-eval's with their one kernel."""
    kid = pytest.importorskip("torchmetrics.image.kid")
    real, generated = _sets(100)
    mean, deviation = kernel_distance(real, generated, subsets=3, subset_size=100, **options)  # type: ignore[arg-type]
    assert deviation < 1e-12
    expected = [float(kid.poly_mmd(real, generated, **options))]
    if not options:
        cleanfid = pytest.importorskip("cleanfid.fid")
        expected.append(cleanfid.kernel_distance(real.numpy(), generated.numpy(), num_subsets=1))
        polynomial = pytest.importorskip("sklearn.metrics.pairwise").polynomial_kernel  # which dgm-eval takes
        xx, yy, xy = (
            polynomial(a, b, degree=3, coef0=1) for a, b in ((real, None), (generated, None), (real, generated))
        )
        within = sum(k.sum() - np.diagonal(k).sum() for k in (xx, yy)) / (100 * 99)
        expected.append(within - 2 * xy.sum() / 100**2)
    assert expected == pytest.approx([float(mean)] * len(expected), rel=1e-9)


@pytest.mark.parametrize("n", [30, 200])
def test_the_vendi_score_is_its_authors(n: int) -> None:
    """With fewer images than neurons and with more, to 1e-9; dgm-eval's formula, of n x n, likewise."""
    vendi = pytest.importorskip("vendi_score.vendi")
    features, _ = _sets(n)
    found = vendi_score(features).item()
    second = torch.zeros(48, 48, dtype=torch.float64)
    accumulate_unit_second_(second, features)
    assert vendi_score_from_moments(second, n).item() == pytest.approx(found, rel=1e-9)
    assert found == pytest.approx(vendi.score_dual(features.numpy()), rel=1e-9)
    unit = features / features.norm(dim=1, keepdim=True)
    shares = np.linalg.eigvalsh((unit @ unit.T / n).numpy())
    shares = shares[shares > 0]
    assert found == pytest.approx(float(np.exp(-(shares * np.log(shares)).sum())), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"degree": 2, "gamma": 0.1, "coef": 2.0}])
def test_the_discrepancy_of_all_images_is_torchmetrics(options: dict[str, float]) -> None:
    """Over all pairs, with torchmetrics' polynomial, to 1e-9."""
    kid = pytest.importorskip("torchmetrics.image.kid")
    real, generated = _sets(100)
    kernel = PolynomialKernel(**options)  # type: ignore[arg-type]
    expected = float(kid.poly_mmd(real, generated, **options))
    assert kernel_mmd(real, generated, kernel=kernel)[0].item() == pytest.approx(expected, rel=1e-9)


def test_the_discrepancy_of_all_images_is_torch_fidelitys() -> None:
    """With its radial kernel over all pairs, to 1e-9."""
    metric = pytest.importorskip("torch_fidelity.metric_kid")
    real, generated = _sets(100)
    options = {"kid_subsets": 1, "kid_subset_size": 100, "kid_kernel": "rbf", "kid_kernel_rbf_sigma": 2.0}
    expected = metric.kid_features_to_metric(real, generated, **options, verbose=False)[metric.KEY_METRIC_KID_MEAN]
    assert kernel_mmd(real, generated, kernel=RBFKernel(2.0))[0].item() == pytest.approx(expected, rel=1e-9)


def test_cmmd_is_its_authors_formula() -> None:
    """The authors' three means over all pairs of embeddings of unit length, in float64, to 1e-9."""
    x, y = (side / side.norm(dim=1, keepdim=True) for side in _sets())
    squares = [(side * side).sum(1) for side in (x, y)]

    def mean(i: int, j: int) -> float:
        a, b = (x, y)[i], (x, y)[j]
        return float(torch.exp(-(-2 * a @ b.T + squares[i][:, None] + squares[j][None]) / 200).mean())

    expected = 1000 * (mean(0, 0) + mean(1, 1) - 2 * mean(0, 1))
    assert cmmd(x, y)[0].item() == pytest.approx(expected, rel=1e-9)


def test_mind_is_torch_fidelitys_formula() -> None:
    """Of sets of one size, on the directions that torch-fidelity draws: its sorted differences in float64, to 1e-9."""
    real, generated = _sets(100)
    directions = _torch_fidelitys_directions()
    projections = [(side @ directions.double().T).sort(dim=0).values for side in (real, generated)]
    expected = 3.0 * 48 * (projections[0] - projections[1]).square().mean(dim=0).mean().item()
    assert monge_inception_distance(real, generated, directions).item() == pytest.approx(expected, rel=1e-9)


def test_mind_is_torch_fidelitys() -> None:
    """The same by its function, in releases that have it, which computes in float32: to 1e-6."""
    metric = pytest.importorskip("torch_fidelity.metric_mind", reason="this release of torch-fidelity has no MIND")
    real, generated = _sets(100)
    options = {"mind_num_projections": 200, "rng_seed": 7, "cuda": False, "verbose": False}
    expected = metric.mind_features_to_metric(real, generated, **options)["monge_inception_distance"]
    found = monge_inception_distance(real, generated, _torch_fidelitys_directions()).item()
    assert found == pytest.approx(expected, rel=1e-6)


def _torch_fidelitys_directions() -> Tensor:
    """200 of 48 numbers, with seed 7."""
    directions = torch.randn(200, 48, generator=torch.Generator().manual_seed(7))
    return directions / directions.norm(dim=1, keepdim=True).clamp_min(1e-12)


def test_metrics_give_the_peers_numbers_of_images() -> None:
    """From images to a number: torchmetrics' KID, prdc's shares and the Vendi score's package, to 1e-6."""
    prdc, vendi = pytest.importorskip("prdc"), pytest.importorskip("vendi_score.vendi")
    kid = pytest.importorskip("torchmetrics.image.kid")
    network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(12, 10)).double()
    real, generated = (torch.rand(40, 3, 8, 8, dtype=torch.float64) ** power for power in (1, 1.3))
    features = [network(side).detach() for side in (real, generated)]
    with pytest.warns(UserWarning, match="memory"):
        theirs = kid.KernelInceptionDistance(network, subsets=2, subset_size=40, normalize=True)
    module = {"normalize": True, "input_img_size": (3, 8, 8)}
    ours = KernelInceptionDistance(network, 2, 40, **module)  # type: ignore[arg-type]
    extractor = ours.extractor
    shares = [of(extractor, k=5, normalize=True) for of in (ImprovedPrecisionRecall, DensityCoverage)]
    score = VendiScore(extractor, normalize=True)
    for metric in (ours, *shares, score):
        metric.set_dtype(torch.float64)
        metric.update(real, real=True)
        metric.update(generated, real=False)
    with torch.inference_mode():
        theirs.update(real, real=True)
        theirs.update(generated, real=False)
    assert float(ours.compute()[0]) == pytest.approx(float(theirs.compute()[0]), rel=1e-5)
    expected = prdc.compute_prdc(*(side.numpy() for side in features), nearest_k=5)
    found = [float(value) for metric in shares for value in metric.compute()]
    assert found == pytest.approx([float(expected[name]) for name in ("precision", "recall", "density", "coverage")])
    assert float(score.compute()) == pytest.approx(vendi.score_dual(features[1].numpy()), rel=1e-9)


@pytest.mark.parametrize(("n", "splits"), [(100, 10), (103, 10), (7, 7), (30, 1)])
def test_the_inception_score_is_torch_fidelitys(n: int, splits: int) -> None:
    """Mean and deviation in the same order, also where the splits are of unlike sizes, to 1e-9."""
    metric = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(n, 20)
    expected = metric.isc_features_to_metric(logits, splits=splits, shuffle=False)
    found = [float(value) for value in inception_score(logits, splits=splits)]
    assert found == pytest.approx([expected["inception_score_mean"], expected["inception_score_std"]], rel=1e-9)
    assert inception_score(logits.double().softmax(1), splits=splits, probabilities=True)[0].item() == pytest.approx(
        found[0], rel=1e-9
    )


def test_the_inception_score_is_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its deviation over one less, of images in the order that it shuffles them into, to 1e-6."""
    inception = pytest.importorskip("torchmetrics.image.inception")
    logits = 3 * torch.randn(100, 20, dtype=torch.float64)
    order = torch.randperm(100)
    with pytest.warns(UserWarning, match="memory"):
        metric = inception.InceptionScore(feature=torch.nn.Identity(), splits=10)
    metric.update(logits)
    monkeypatch.setattr(inception.torch, "randperm", lambda _: order)
    expected = [float(value) for value in metric.compute()]
    found = [float(value) for value in inception_score(logits[order], splits=10, correction=1)]
    assert found == pytest.approx(expected, rel=1e-6)
