"""Score two generators against photographs; then look at layers and neurons, and keep the result in files.

    python examples/score_generators.py            # 200 images of each
    python examples/score_generators.py --small    # 20 images of each, in seconds

The generators are procedural, the network is `vdna_tiny` and the photographs' DNA ships with the package, so
nothing is downloaded. For real work put your generator in place of `images_of`, a larger network,
such as `mugs_vit_base`, in place of `EXTRACTOR`, and make the reference with it: `build_dnas` on your real images.
"""

import argparse
import tempfile
from collections.abc import Iterator
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vdna_metrics import VDNA, build_dnas, compare, create_extractor, load_reference, load_vdna
from vdna_metrics.images.procedural import procedural_images

EXTRACTOR = "vdna_tiny"
GENERATORS = {"A": "dead_leaves_disks", "B": "one_over_f_noise"}


def images_of(generator: str, n_images: int, *, first: int = 0, batch_size: int = 10) -> Iterator[Tensor]:
    """Yield uint8 batches `[N, 3, 224, 224]`, of images `first` to `first + n_images`."""
    images = list(procedural_images(GENERATORS[generator], first + n_images))[first:]
    for start in range(0, n_images, batch_size):
        batch = np.stack(images[start : start + batch_size])
        yield torch.from_numpy(batch).permute(0, 3, 1, 2)


def main() -> None:
    """Build, compare, look closer, merge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="fewer images")
    n_images = 20 if parser.parse_args().small else 200

    reference = load_reference("bsds500/trainval", extractor=EXTRACTOR, kind="histogram")
    network = create_extractor(EXTRACTOR)
    print(reference)

    # One DNA a generator: this is where the network runs. Everything after it is cheap.
    dnas: dict[str, VDNA] = {}
    for name in GENERATORS:
        dnas[name] = build_dnas(images_of(name, n_images), network, name=f"generator {name}")["histogram"]

    print(f"\n{'layer':10}" + "".join(f"{f'generator {name}':>14}" for name in dnas))
    by_layer = {name: compare.emd(reference, dna, reduction="layer") for name, dna in dnas.items()}
    for layer in reference.layout:
        print(f"{layer:10}" + "".join(f"{by_layer[name][layer]:14.2f}" for name in dnas))
    print(f"{'all':10}" + "".join(f"{compare.emd(reference, dna):14.2f}" for dna in dnas.values()) + "  bins")

    # Which neurons tell A from the photographs? And how far is A as those neurons see it?
    layer = max(by_layer["A"], key=lambda layer: float(by_layer["A"][layer]))
    distances = compare.emd(reference, dnas["A"], reduction="none")[layer]
    telling = distances.topk(5).indices.tolist()
    distance = compare.emd(reference, dnas["A"], neurons={layer: telling})
    print(f"\n{layer}, neurons {telling}: A is {distance:.2f} bins away")

    # Two halves, made apart (on two machines, say) and merged, are the whole, count for count.
    with tempfile.TemporaryDirectory() as folder:
        half = n_images // 2
        files = []
        for part in range(2):
            images = images_of("A", half, first=part * half)
            dna = build_dnas(images, network, name=f"generator A, half {part}")["histogram"]
            files.append(dna.save(Path(folder) / f"half_{part}.npz"))
        merged = reduce(add, map(load_vdna, files))
        size = sum(file.stat().st_size for file in files)
    same = torch.equal(merged.distribution.state, dnas["A"].distribution.state)
    print(f"\n{merged}\nfrom two files of {size / 1e6:.1f} MB together; equal to one pass: {same}")


if __name__ == "__main__":
    main()
