"""Fréchet distance between two Gaussians with full covariances against its peers, on the same matrices in one run.

- `scipy`: `scipy.linalg.sqrtm` of the product of the covariances, as pytorch-fid, clean-fid and vdna 0.1.1 have it;
- `torchmetrics`: the eigenvalues of the product, which are not symmetric and may be complex;
- `ours`: Cholesky factors, with pivots where a covariance is rank deficient, and the eigenvalues of `BᵀΣ_aB`, or the
  singular values of the product of the factors where those would not be exact enough;
- `cached`: ours with the factor of one side kept, as a reference's is.

The covariances are those of 5000 images of features on scales that differ a hundredfold, or of fewer images than
features (`deficient`). `error` is relative to the distance from the singular values of the centred features themselves,
without any covariance: `‖S_a^½ S_b^½‖_* = ‖X_a X_bᵀ‖_* / √((n_a − 1)(n_b − 1))`.

The floor, in d³ operations: two Cholesky factors 2/3, `BᵀΣ_aB` 1, its tridiagonal form 4/3, half of it by products of a
matrix and a vector, which wait for memory. The same by two full products is 4 instead of 1; singular values take 8/3,
half of it so, in two sweeps a column. A product of two matrices is 2, so that no iteration on products (Newton-Schulz,
Denman-Beavers) beats the eigenvalues. `processor`: seconds of all threads, which other work disturbs little.

Last, what a gradient costs: the distance of one batch's features, as a loss, forward alone and with its backward.
"""

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from _measure import Clocks, beside_stored, interleaved, options, ratios, title, write_json
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from vdna_metrics.functional import covariance_factor, frechet_distance

# Features and images of each side.
CASES = {"full rank": ((768, 5000), (2048, 5000)), "deficient": ((768, 500), (2048, 1000))}
QUICK = {"full rank": ((256, 1000),), "deficient": ((256, 100),)}
BATCH, BATCH_FEATURES, REAL_IMAGES = 64, 2048, 4000


def features(d: int, images: int) -> Tensor:
    """Correlated features `[images, d]` on scales that differ a hundredfold."""
    scaled = torch.randn(images, d, dtype=torch.float64) * torch.logspace(0, -2, d, dtype=torch.float64)
    return scaled @ torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))[0]


def by_features(a: Tensor, b: Tensor) -> float:
    """The distance from the singular values of the features."""
    a_centred, b_centred = ((x - x.mean(dim=0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    # R of a QR decomposition has the singular values of the features, and is no larger than a covariance.
    a_factor, b_factor = (torch.linalg.qr(x).R if len(x) > x.shape[1] else x for x in (a_centred, b_centred))
    overlap = torch.linalg.svdvals(a_factor @ b_factor.T).sum()
    traces = a_centred.square().sum() + b_centred.square().sum()
    return ((a.mean(dim=0) - b.mean(dim=0)).square().sum() + traces - 2 * overlap).item()


def main() -> None:
    """Print the tables."""
    arguments = options(__doc__, "small matrices and five repeats", 3).parse_args()
    cases, repeats = (QUICK, 5) if arguments.quick else (CASES, arguments.repeats)

    torch.manual_seed(0)
    print(title())
    print(f"medians of {repeats}; ratios: lowest, median, highest; error: relative to the distance from the features")
    print(f"{'':22}{'':14}{'seconds':>9}{'processor':>10}{'seconds / ours':>19}{'processor / ours':>19}{'error':>8}")
    found = {
        f"{rank}, d = {d}": compare(f"{rank}, d = {d}", features(d, images), features(d, images), repeats)
        for rank, sizes in cases.items()
        for d, images in sizes
    }
    rows = {what: {name: clocks._asdict() for name, clocks in each.items()} for what, each in found.items()}
    write_json(arguments.json, rows)
    if arguments.quick:
        beside_stored(
            __file__,
            {
                f"{what}, {peer} over ours": ratios(each[peer].processor, each["ours"].processor)[1]
                for what, each in found.items()
                for peer in ("torchmetrics", "scipy")
            },
        )
    d = 256 if arguments.quick else BATCH_FEATURES
    differentiate(features(d, BATCH), features(d, 2 * d if arguments.quick else REAL_IMAGES), repeats)


def compare(what: str, a: Tensor, b: Tensor, repeats: int) -> dict[str, Clocks]:
    """Print the rows of one pair of sets."""
    statistics = [statistic for x in (a, b) for statistic in (x.mean(dim=0), torch.cov(x.T))]
    factor_b = covariance_factor(statistics[3])
    runs: dict[str, Callable[[], float | Tensor]] = {
        "ours": partial(frechet_distance, *statistics),
        "cached": partial(frechet_distance, *statistics, factor_b=factor_b),
        "torchmetrics": partial(_compute_fid, *statistics),
        "scipy": partial(calculate_frechet_distance, *[statistic.numpy() for statistic in statistics]),
    }
    distances = {name: float(run()) for name, run in runs.items()}
    found = interleaved(runs, repeats, pause=0.1)
    expected = by_features(a, b)
    for name, clocks in found.items():
        cells = ""
        for times, ours in zip(clocks, found["ours"], strict=True):
            low, middle, high = ratios(times, ours)
            cells += f"{f'{low:.1f} {middle:.1f} {high:.1f}x':>19}"
        medians = f"{median(clocks.seconds):9.3f}{median(clocks.processor):10.3f}"
        error = abs(distances[name] / expected - 1)
        print(f"{what if name == 'ours' else '':22}{name:14}{medians}{cells}{error:8.0e}", flush=True)
    return found


def differentiate(batch: Tensor, real: Tensor, repeats: int) -> None:
    """Print the rows of a batch's distance from real images, with and without its gradient."""
    mean, covariance = real.mean(dim=0), torch.cov(real.T)
    batch.requires_grad_()

    def differentiated(factor: Tensor | None, backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            distance = frechet_distance(batch.mean(dim=0), torch.cov(batch.T), mean, covariance, factor_b=factor)
        if backward:
            distance.backward()

    for what, factor in (("factors", None), ("one factor kept", covariance_factor(covariance))):
        runs = {str(backward): partial(differentiated, factor, backward) for backward in (False, True)}
        forward, both = (median(clocks.seconds) for clocks in interleaved(runs, repeats).values())
        print(
            f"gradient, {len(batch)} x {batch.shape[1]}, {what}: forward {forward:.3f} s, with backward {both:.3f} s, "
            f"{both / forward:.1f}x"
        )


if __name__ == "__main__":
    main()
