"""What fidelity, diversity and copy detection say of photographs, and of sets that anybody can judge.

Fidelity: sets of equal size against BSDS500's training and validation photographs, in the last layer of a trained
MobileNetV2 and of `vdna_tiny`.

Copies: a random part of a set of photographs is the reference. The others are new images, of which few should look like
copies; altered reference images are copies, which should be found with the image they were made of. Repeated over
random parts. Photographs are BSDS500 and ImageNet's (one of a class), networks a MobileNetV2 trained on ImageNet,
`vdna_tiny` trained to imitate it, and `seeded_resnet18`, which has learned nothing.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from vdna_metrics import ExtractorSpec, create_extractor
from vdna_metrics.analysis import Features, collect_features, find_copies, measure_fidelity
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.images import open_images
from vdna_metrics.images.decoding import decode_image
from vdna_metrics.images.procedural import add_noise, blur, procedural_images
from vdna_metrics.images.sources import ImageSource

Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]


def mirror(image: Image, _: np.random.Generator) -> Image:
    """Flip left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def crop(image: Image, rng: np.random.Generator, *, share: float) -> Image:
    """Keep a share of each side, anywhere."""
    sides = [round(share * side) for side in image.shape[:2]]
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(image.shape, sides, strict=False))
    return np.ascontiguousarray(image[top : top + sides[0], left : left + sides[1]])


def compress(image: Image, _: np.random.Generator, *, quality: int) -> Image:
    """JPEG and back."""
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.array(PillowImage.open(stream))


def brighten(image: Image, _: np.random.Generator) -> Image:
    """A fifth brighter."""
    return np.clip(image * 1.2, 0, 255).astype(np.uint8)


def crop_flip_compress(image: Image, rng: np.random.Generator) -> Image:
    """Three at once."""
    return compress(mirror(crop(image, rng, share=0.9), rng), rng, quality=50)


CHANGES: dict[str, Change] = {
    "same": lambda image, _: image,
    "flip": mirror,
    "crop 90": functools.partial(crop, share=0.9),
    "crop 80": functools.partial(crop, share=0.8),
    "JPEG 50": functools.partial(compress, quality=50),
    "bright": brighten,
    "noise 10": lambda image, rng: add_noise(image, 10, rng),
    "three": crop_flip_compress,
}
# Whether the reference also stands flipped, the rate of false alarms, per cent of the reference that is there twice.
_SETTINGS = ((False, 0.01, 0), (True, 0.01, 0), (True, 0.05, 0), (True, 0.01, 3))


@dataclass(frozen=True, eq=False)
class Changed(ImageSource):
    """Some images of a source, each changed."""

    whole: ImageSource
    places: tuple[int, ...]
    change: Change = CHANGES["same"]

    def read(self, index: int) -> Image:
        """One of them; the same each time."""
        raw = self.whole.read(self.places[index])
        return self.change(decode_image(raw) if isinstance(raw, bytes) else raw, np.random.default_rng(index))


def take(source: ImageSource, places: Sequence[int], change: Change = CHANGES["same"]) -> Changed:
    """Some images of a source, changed."""
    names = tuple(source.names[place] for place in places)
    return Changed(source.name, names, source, tuple(places), change)


def pick(features: Features, places: Sequence[int]) -> Features:
    """Features of some images, without digests: what is the same is to be seen, not read."""
    rows = torch.tensor(list(places), dtype=torch.int64)
    mirrored = None if features.mirrored is None else features.mirrored[rows]
    names = tuple(features.names[place] for place in places)
    return replace(features, names=names, digests=(), vectors=features.vectors[rows], mirrored=mirrored)


def join(parts: Sequence[Features]) -> Features:
    """Features of several sets, one after the other, without those of the flipped images."""
    names = tuple(name for part in parts for name in part.names)
    return replace(parts[0], names=names, digests=(), vectors=torch.cat([p.vectors for p in parts]), mirrored=None)


def find_sets(shared: Path, n: int) -> dict[str, ImageSource]:
    """At most n photographs of each set, or procedural images where there are none."""
    found = {}
    for name, file in (("BSDS500", "bsds500.zip"), ("ImageNet", "imagenet_sample_1000.zip")):
        path = shared / "data" / file
        if path.is_file():
            source = open_images(path)
        else:
            print(f"no photographs at {path}: textured dead leaves take their place")
            source = open_images(np.stack(list(procedural_images("dead_leaves_textured", n, size=96))))
        found[name] = take(source, np.random.default_rng(0).permutation(len(source))[:n].tolist())
    return found


def find_networks(shared: Path) -> dict[str, FeatureExtractor]:
    """The trained network, where it is there, and those that everybody has."""
    weights = shared / "weights" / "mobilenetv2_100.tf_in1k.safetensors"
    networks = {}
    if weights.is_file():
        networks["MobileNetV2"] = create_extractor(
            ExtractorSpec(
                name="mobilenetv2",
                architecture="mobilenetv2_100",
                architecture_kwargs={"pad_type": "same"},
                weights=str(weights),
                layers=["conv_head"],
                mean=0.5,
                std=0.5,
            )
        )
    return networks | {name: create_extractor(name) for name in ("vdna_tiny", "seeded_resnet18")}


# ------------------------------------------------------------------------------------------------------------- fidelity
def print_fidelity(networks: Mapping[str, FeatureExtractor], shared: Path, n: int) -> None:
    """A table a network: sets that differ from photographs in fidelity, in diversity or in both."""
    path = shared / "data" / "bsds500.zip"
    if not path.is_file():
        print(f"no photographs at {path}: no table of fidelity")
        return
    source, imagenet = open_images(path), find_sets(shared, n)["ImageNet"]
    splits = [name.partition("/")[0] for name in source.names]
    test = [place for place, split in enumerate(splits) if split == "test"][:n]
    reference = take(source, [place for place, split in enumerate(splits) if split != "test"][: n + n // 2])
    sets: dict[str, ImageSource | Image] = {
        "photographs (test)": take(source, test),
        "blurred, sigma 2": take(source, test, lambda image, _: blur(image, 2)),
        "noisy, sigma 25": take(source, test, lambda image, rng: add_noise(image, 25, rng)),
        "JPEG 10": take(source, test, functools.partial(compress, quality=10)),
        "a tenth, each ten times": take(source, (test[::10] * 10)[:n]),
        "ImageNet sample": imagenet,
        "textured dead leaves": np.stack(list(procedural_images("dead_leaves_textured", len(test)))),
    }
    for network in [name for name in networks if name != "seeded_resnet18"]:
        real = collect_features(reference, networks[network])
        print(f"\n{network}: {len(test)} images of each set, {len(real)} real ones")
        print(f"{'':24}{'precision':>10}{'recall':>8}{'density':>9}{'coverage':>10}{'Vendi':>7}{'kernel distance':>21}")
        for name, images in sets.items():
            found = measure_fidelity(real, collect_features(images, networks[network]))
            print(
                f"{name:24}{found.precision:10.2f}{found.recall:8.2f}{found.density:9.2f}{found.coverage:10.2f}"
                f"{found.vendi_generated:7.1f}{found.kernel_distance:13.4g} ± {found.kernel_distance_std:.2g}",
                flush=True,
            )
        print(f"{'real':24}{'':37}{found.vendi_real:7.1f}")


# --------------------------------------------------------------------------------------------------------------- copies
def print_copies(
    network: str, extractor: FeatureExtractor, sets: Mapping[str, ImageSource], altered: int, draws: int
) -> None:
    """Rows of a table: threshold, share of false alarms, and per cent of the altered images that are found."""
    for name, source in sets.items():
        every = collect_features(source, extractor, mirrored=True)
        copies = {
            kind: collect_features(take(source, range(altered), change), extractor) for kind, change in CHANGES.items()
        }
        for mirrored, rate, doubled in _SETTINGS:
            thresholds, alarms = [], []
            hits: dict[str, list[bool]] = {kind: [] for kind in CHANGES}
            for draw in range(draws):
                order = np.random.default_rng(draw).permutation(len(every)).tolist()
                inside, outside = order[: len(every) * 3 // 5], order[len(every) * 3 // 5 :]
                reference = pick(every, inside)
                if doubled:  # per cent of the reference, each there a second time as JPEG
                    seen = [place for place in inside if place < altered][: len(inside) * doubled // 100]
                    again = pick(copies["JPEG 50"], seen)
                    reference = replace(
                        reference,
                        names=(*reference.names, *again.names),
                        vectors=torch.cat([reference.vectors, again.vectors]),
                        mirrored=torch.cat([reference.mirrored, again.vectors]),  # type: ignore[list-item]
                    )
                if not mirrored:
                    reference = replace(reference, mirrored=None)
                planted = [place for place in inside if place < altered]
                generated = join([pick(every, outside), *(pick(copies[kind], planted) for kind in CHANGES)])
                report = find_copies(generated, reference, false_alarms=rate)
                thresholds.append(report.threshold)
                new = report.matches[: len(outside)]
                alarms.append(sum(match.suspect for match in new) / len(new))
                for place, kind in enumerate(CHANGES):
                    start = len(outside) + place * len(planted)
                    hits[kind] += [
                        match.suspect and match.reference == match.image
                        for match in report.matches[start : start + len(planted)]
                    ]
            note = ("flipped too" if mirrored else "") + (f", {doubled} % twice" if doubled else "")
            print(
                f"{network:16}{name:10}{note:22}{rate:5.0%}{np.mean(thresholds):7.2f}"
                f"{np.mean(alarms):8.1%} ± {np.std(alarms):4.1%}"
                + "".join(f"{np.mean(found):9.0%}" for found in hits.values()),
                flush=True,
            )


def main() -> None:
    """Print the tables."""
    beside = Path(os.environ.get("VDNA_METRICS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=beside, help="folder with weights/ and data/")
    parser.add_argument("--images", type=int, default=500, help="photographs of a set, at most")
    parser.add_argument("--altered", type=int, default=60, help="of them, that are altered in each way")
    parser.add_argument("--draws", type=int, default=20, help="random references")
    parser.add_argument("--quick", action="store_true", help="few images, one network, for CI")
    arguments = parser.parse_args()
    n, altered, draws = (20, 4, 2) if arguments.quick else (arguments.images, arguments.altered, arguments.draws)
    networks = find_networks(arguments.shared)
    if arguments.quick:
        networks = {"vdna_tiny": networks["vdna_tiny"]}
    print_fidelity(networks, arguments.shared, min(n, 200))
    sets = find_sets(arguments.shared, n)
    print(f"\ncopies: {n} photographs, 3 of 5 are the reference; {altered} altered in each way; {draws} draws")
    print(f"{'':48}{'rate':>5}{'limit':>7}{'false alarms':>15}" + "".join(f"{kind:>9}" for kind in CHANGES))
    for network, extractor in networks.items():
        print_copies(network, extractor, sets, altered, draws)


if __name__ == "__main__":
    main()
