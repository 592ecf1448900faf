"""FID with one import changed, beside torchmetrics' own; then the question that FID cannot answer: which neurons?

    python examples/fid_replacement.py --small
    python examples/fid_replacement.py --weights pt_inception-2015-12-05-6726825d.pth

With the weights of the FID Inception, as pytorch-fid publishes them, this is FID (torchmetrics then needs
`pip install torch-fidelity`). Without them a small fixed network takes its place, so that the example runs anywhere:
its numbers are Fréchet distances, but nobody else's FID.
"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance as TorchmetricsFID

from vdna_metrics import FrechetInceptionDistance, compare
from vdna_metrics.images.procedural import procedural_images


class SmallFeatures(nn.Module):
    """Fixed random features: uint8 `[N, 3, 64, 64]` -> `[N, 64]`."""

    num_features = 64  # torchmetrics asks for it

    def __init__(self) -> None:
        super().__init__()
        filters = torch.randn(64, 3, 7, 7, generator=torch.Generator().manual_seed(0))
        self.register_buffer("filters", filters - filters.mean(dim=(1, 2, 3), keepdim=True))

    def forward(self, images: Tensor) -> Tensor:
        """Mean response of every filter."""
        return nn.functional.conv2d(images.float() / 255, self.filters, stride=3).abs().mean(dim=(2, 3))


def images_of(world: str, n_images: int, size: int) -> Tensor:
    """Procedural images, uint8 `[N, 3, size, size]`."""
    return torch.from_numpy(np.stack(list(procedural_images(world, n_images, size=size)))).permute(0, 3, 1, 2)


def main() -> None:
    """Compare the two, then select neurons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="weights file of the FID Inception")
    parser.add_argument("--small", action="store_true", help="fewer images")
    arguments = parser.parse_args()
    n_images = 100 if arguments.small else 500
    real, fake = (images_of(world, n_images, 64) for world in ("dead_leaves_textured", "dead_leaves_disks"))

    # Everything that torchmetrics takes by position or name is taken here, too.
    feature = 2048 if arguments.weights else SmallFeatures()
    settings = {"feature": feature, "input_img_size": (3, 64, 64), "feature_extractor_weights_path": arguments.weights}
    fid, theirs = FrechetInceptionDistance(**settings), TorchmetricsFID(**settings)
    for metric in (fid, theirs):
        for batch in real.split(50):
            metric.update(batch, real=True)
        for batch in fake.split(50):
            metric.update(batch, real=False)
    print(f"ours {float(fid.compute()):.4f}, torchmetrics {float(theirs.compute()):.4f}")

    # The DNAs behind the number, and the neurons that make it, by their own distances.
    real_dna, fake_dna = fid.dna(real=True), fid.dna(real=False)
    ((layer, distances),) = compare.neuron_frechet(real_dna, fake_dna, reduction="none").items()
    order = distances.argsort(descending=True)
    share = distances[order[:10]].sum() / distances.sum()
    print(f"10 of {len(order)} neurons make {share:.0%} of the sum of the neurons' distances: {order[:10].tolist()}")

    # FID of those neurons alone, and of all others: submatrices of the covariances, from the same DNAs.
    for name, chosen in (("these", order[:10]), ("the others", order[10:])):
        print(f"FID of {name}: {compare.layer_frechet(real_dna, fake_dna, neurons={layer: chosen}):.4f}")

    # Or from the start.
    few = FrechetInceptionDistance(**settings, neurons=order[:10].tolist())
    few.update(real, real=True)
    few.update(fake, real=False)
    print(f"a metric of these neurons: {float(few.compute()):.4f}")


if __name__ == "__main__":
    main()
