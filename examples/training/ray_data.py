"""A DNA of many images by Ray Data: each batch of paths becomes a partial DNA, and DNAs add up.

python examples/training/ray_data.py IMAGES dna.npz --parts PARTS
"""

import argparse
import hashlib
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import ray
import tiny
from numpy.typing import NDArray

from vdna_metrics import VDNA, build_dnas, load_vdna


# --8<-- [start:map]
class PartialDNA:
    """Paths of images to a file with the DNA of these; the network is built once in each worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.extractor = tiny.extractor()  # in earnest create_extractor("mugs_vit_base")
        self.ranges = tiny.references()["histogram"].distribution.ranges  # load_ranges("ranges.npz")

    def __call__(self, batch: dict[str, NDArray[np.object_]]) -> dict[str, list[str]]:
        paths = batch["path"].tolist()
        dna = build_dnas(paths, self.extractor, ranges=self.ranges)["histogram"]
        name = hashlib.sha256("\n".join(paths).encode()).hexdigest()  # a part that Ray tries again replaces its file
        return {"part": [str(dna.save(self.folder / f"{name}.npz"))]}


def dna_of(paths: list[str], folder: Path, *, workers: int, images_a_part: int) -> VDNA:
    """The DNA of many images; these and the folder of the parts are where all workers can reach them."""
    parts = ray.data.from_items([{"path": path} for path in paths]).map_batches(
        PartialDNA,
        fn_constructor_args=[folder],
        batch_size=images_a_part,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,  # on GPUs num_gpus=1, and build_dnas(..., reading=Reading(device="cuda"))
    )
    return reduce(add, (load_vdna(row["part"]) for row in parts.iter_rows()))
    # --8<-- [end:map]


def main() -> None:
    """Make the DNA of a folder of images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="folder")
    parser.add_argument("output", type=Path, help="file of the DNA")
    parser.add_argument("--parts", type=Path, required=True, help="folder for the DNAs of the parts")
    parser.add_argument("--images-a-part", type=int, default=2048)
    options = parser.parse_args()
    paths = sorted(str(path.resolve()) for path in options.images.glob("*.png"))
    options.parts.mkdir(exist_ok=True)
    ray.init(num_cpus=2, include_dashboard=False)  # in earnest ray.init(address="auto")
    dna = dna_of(paths, options.parts.resolve(), workers=2, images_a_part=options.images_a_part)
    print(dna.save(options.output))


if __name__ == "__main__":
    main()
