"""Judge `vdna_tiny` on images that it was not trained on; figures to `docs/vdna_tiny.json`, a picture beside them.

    python scripts/vdna_tiny/evaluate.py SHARED [--weights FILE] [--only pairs,probe,speed]

*Pairs*: VDNA-EMD between two sets of 100 images each, seen by the MobileNetV2 that was the teacher, by `vdna_tiny` and
by `seeded_resnet18`; how alike they rank the pairs is Spearman's correlation. *Probe*: a linear classifier of
CIFAR-JPEG on the means of all layers. *Speed*: images a second, resizing included, taken in turns.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
from data import DISTURBANCES, UNSEEN_DISTURBANCES, Pixels, is_held_out, keep_freed_memory, photographs
from distil import RESULT, teacher
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from vdna_metrics import VDNA, FeatureExtractor, Reading, build_dnas, calibrate, compare, create_extractor
from vdna_metrics.images.procedural import PROCEDURAL_WORLDS, procedural_images

N = 100
DOCS = Path(__file__).resolve().parents[2] / "docs"
READING = Reading(batch_size=25)
STRENGTHS = (0.1, 0.3, 0.8)


# ------------------------------------------------------------------------------------------------------------- sets
def _centre(images: list[Pixels], side: int) -> Pixels:
    """Central squares; of images that are too small, the largest, enlarged."""
    squares = []
    for image in images:
        own = min(side, *image.shape[:2])
        top, left = ((length - own) // 2 for length in image.shape[:2])
        square = Image.fromarray(image[top : top + own, left : left + own])
        squares.append(np.asarray(square.resize((side, side), Image.Resampling.BICUBIC) if own < side else square))
    return np.stack(squares)


def _disturbed(images: Pixels, name: str, strength: float) -> Pixels:
    disturb = (DISTURBANCES | UNSEEN_DISTURBANCES)[name]
    return np.stack([disturb(image, strength, np.random.default_rng([9, i])) for i, image in enumerate(images)])


def image_sets(shared: Path) -> dict[str, Pixels]:
    """`{name: [100, side, side, 3]}`, none of them used in training."""
    bsds = _centre(photographs(shared, "bsds500.zip:test"), 320)
    held_out = [image for i, image in enumerate(photographs(shared, "imagenet_sample_1000.zip")) if is_held_out(i)]
    imagenet = _centre(held_out, 224)
    cifar = np.stack(photographs(shared, "cifar10_jpeg_test.zip"))  # a folder a class, 1000 images each
    mnist = np.frombuffer(gzip.decompress((shared / "data" / "mnist_t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8)
    sets = {"photographs A": bsds[:N], "photographs B": bsds[N : 2 * N]}
    # The sample is in the order of WordNet ids: fish, birds and reptiles, dogs and other mammals, then things.
    sets |= {f"imagenet {i + 1}": imagenet[i * N : (i + 1) * N] for i in range(5)}
    sets |= {f"cifar {name}": cifar[i * 1000 :][:N] for i, name in enumerate(CIFAR_CLASSES)}
    sets["cifar"] = cifar[N :: len(cifar) // N][:N]
    sets["digits"] = mnist[16:].reshape(-1, 28, 28, 1)[:N].repeat(3, 3)
    for world in PROCEDURAL_WORLDS:
        sets[world.replace("_", " ")] = np.stack(list(procedural_images(world, N, size=160, seed=77)))
    for name, strength in product((*DISTURBANCES, *UNSEEN_DISTURBANCES), STRENGTHS):
        sets[f"{name} {strength}"] = _disturbed(sets["photographs B"], name, strength)
    for name, of in product(("blur", "noise", "jpeg"), ("imagenet 2", "cifar")):
        sets[f"{of}, {name} 0.3"] = _disturbed(sets[of], name, 0.3)
    return sets


CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def image_pairs(sets: dict[str, Pixels]) -> list[tuple[str, str, str]]:
    """`(group, one set, other set)`."""
    worlds = [world.replace("_", " ") for world in PROCEDURAL_WORLDS]
    pairs = [("disturbances", "photographs A", f"{d} {s}") for d in DISTURBANCES for s in STRENGTHS]
    pairs += [("unseen disturbances", "photographs A", f"{d} {s}") for d in UNSEEN_DISTURBANCES for s in STRENGTHS]
    pairs += [("disturbances", "imagenet 1", f"imagenet 2, {d} 0.3") for d in ("blur", "noise", "jpeg")]
    pairs += [("disturbances", "cifar", f"cifar, {d} 0.3") for d in ("blur", "noise", "jpeg")]
    pairs += [("worlds", "photographs A", world) for world in worlds]
    pairs += [("worlds", "imagenet 1", world) for world in worlds]
    pairs += [("worlds", a, b) for a, b in combinations(worlds, 2)]
    pairs += [("classes", f"cifar {a}", f"cifar {b}") for a, b in list(combinations(CIFAR_CLASSES, 2))[::3]]
    pairs += [("classes", f"imagenet {a}", f"imagenet {b}") for a, b in combinations(range(1, 6), 2)]
    pairs += [("data sets", a, b) for a, b in combinations(("photographs A", "imagenet 2", "cifar", "digits"), 2)]
    pairs += [("data sets", "photographs A", "photographs B")]
    return pairs


# ------------------------------------------------------------------------------------------------------- measurements
def measure_pairs(extractors: dict[str, FeatureExtractor], shared: Path) -> dict[str, object]:
    """VDNA-EMD of every pair by every extractor, and the rank correlations with the first."""
    sets = image_sets(shared)
    pairs = image_pairs(sets)
    seen = photographs(shared, "bsds500.zip:train") + photographs(shared, "bsds500.zip:val")
    small = np.stack(photographs(shared, "cifar10_jpeg_train.zip")[::500])
    distances: dict[str, list[float]] = {}
    for name, extractor in extractors.items():
        ranges = calibrate(_tensor(_centre(seen, 320)), extractor, reading=READING)
        ranges = ranges + calibrate(_tensor(small), extractor, reading=READING)
        dnas: dict[str, VDNA] = {}
        for done, (label, images) in enumerate(sets.items(), 1):
            dnas[label] = build_dnas(_tensor(images), extractor, ranges=ranges, reading=READING)["histogram"]
            print(f"\r{name}: {done}/{len(sets)} sets ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        distances[name] = [float(compare.emd(dnas[a], dnas[b], unit="bins")) for _, a, b in pairs]
    groups = {"all": range(len(pairs))}
    groups |= {group: [i for i, p in enumerate(pairs) if p[0] == group] for group in dict.fromkeys(p[0] for p in pairs)}
    first = next(iter(extractors))
    correlations: dict[str, dict[str, float]] = {}
    for name in list(distances)[1:]:
        for group, rows in groups.items():
            one, other = ([distances[which][i] for i in rows] for which in (first, name))
            correlations.setdefault(name, {})[group] = float(spearmanr(one, other)[0])
    counts = {group: len(rows) for group, rows in groups.items()}
    return {"pairs": pairs, "distances": distances, "spearman": correlations, "n_pairs": counts}


def _tensor(images: Pixels) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _means(extractor: FeatureExtractor, images: Pixels) -> Tensor:
    answers = map(extractor, _tensor(images).split(50))
    return torch.cat([torch.cat([layer.mean(2) for layer in answer.values()]).T for answer in answers]).float()


def probe(extractor: FeatureExtractor, shared: Path, n_train: int, n_test: int) -> float:
    """Share of test images that multinomial logistic regression on the means of all layers names rightly."""
    data = {}
    for split, n in (("train", n_train), ("test", n_test)):
        images = np.stack(photographs(shared, f"cifar10_jpeg_{split}.zip"))
        rows = np.arange(0, len(images), len(images) // n)[:n]
        data[split] = _means(extractor, images[rows]), torch.from_numpy(rows // (len(images) // 10))
    features, labels = data["train"]
    mean, scale = features.mean(0), features.std(0) + 1e-6
    linear = torch.nn.Linear(features.shape[1], 10)
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        entropy = torch.nn.functional.cross_entropy(linear((features - mean) / scale), labels)
        value = entropy + 1e-4 * linear.weight.square().sum()
        value.backward()
        return value

    torch.manual_seed(0)
    optimiser.step(loss)
    features, labels = data["test"]
    with torch.no_grad():
        return float((linear((features - mean) / scale).argmax(1) == labels).float().mean())


def speeds(extractors: dict[str, FeatureExtractor], rounds: int = 10) -> dict[str, float]:
    """Images a second of batches of 32 of 320 x 320 pixels, the best of several rounds taken in turns."""
    images = torch.randint(0, 256, (32, 3, 320, 320), dtype=torch.uint8)
    best = dict.fromkeys(extractors, 0.0)
    for _ in range(rounds):
        for name, extractor in extractors.items():
            begin = time.perf_counter()
            extractor(images)
            best[name] = max(best[name], len(images) / (time.perf_counter() - begin))
    return best


def draw(found: dict[str, object], path: Path) -> None:
    """Teacher's distance against each other network's, a point a pair."""
    pairs, distances, correlations = found["pairs"], found["distances"], found["spearman"]
    first, *others = distances
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    groups = list(dict.fromkeys(group for group, _, _ in pairs))
    for axes, name in zip(figure.subplots(1, len(others)), others, strict=True):
        for colour, group in enumerate(groups):
            rows = [i for i, pair in enumerate(pairs) if pair[0] == group]
            x, y = ([distances[which][i] for i in rows] for which in (first, name))
            axes.scatter(x, y, s=18, color=f"C{colour}", alpha=0.8, label=group, edgecolors="none")
        axes.set(xscale="log", yscale="log", xlabel=f"{first}: VDNA-EMD (bins)", ylabel=name)
        axes.set_title(f"{name}: Spearman {correlations[name]['all']:.3f} over {len(pairs)} pairs", loc="left")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what is asked for and put it into the file of figures."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--weights", type=Path, default=RESULT)
    parser.add_argument("--only", default="pairs,probe,speed")
    parser.add_argument("--output", type=Path, default=DOCS / "vdna_tiny.json")
    options = parser.parse_args()
    extractors = {
        "MobileNetV2": teacher(options.shared),
        "vdna_tiny": create_extractor("vdna_tiny", weights_path=options.weights),
        "seeded_resnet18": create_extractor("seeded_resnet18"),
    }
    figures = json.loads(options.output.read_text()) if options.output.exists() else {}
    if "pairs" in options.only:
        figures["pairs"] = measure_pairs(extractors, options.shared)
        draw(figures["pairs"], DOCS / "images" / "vdna_tiny_pairs.png")
        print(json.dumps(figures["pairs"]["spearman"], indent=1))
    if "probe" in options.only:
        figures["probe"] = {
            f"{name}, {train} and {test} images": probe(extractors[name], options.shared, train, test)
            for name, train, test in [("vdna_tiny", 50_000, 10_000), *((name, 5_000, 2_000) for name in extractors)]
        }
        print(json.dumps(figures["probe"], indent=1))
    if "speed" in options.only:
        figures["speed"] = speeds(extractors)
        print(json.dumps(figures["speed"], indent=1))
    options.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
