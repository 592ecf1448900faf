"""What makes features transfer: probes, sparsity, spread within classes, spectra, and levels of concepts.

    python benchmarks/experiments/representations.py

The measures of Sariyildiz, On the evaluation and generalization of visual representations (2023), on three networks
trained on ImageNet: linear and few-shot probes of CIFAR-JPEG and MNIST, what their features are like, and how far
ImageNet's classes lie from those of CIFAR's ten concepts, in five levels of decreasing Lin similarity.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import torch
from _common import BATCH, HERE, Experiment, Progress, begin, markdown_table
from _images import draw
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor
from torchvision.models import mobilenet_v2

from vdna_metrics import ExtractorSpec, build_dnas, compare, create_extractor
from vdna_metrics.analysis import (
    ConceptGraph,
    Probe,
    Representation,
    collect_features,
    concept_levels,
    describe_features,
    linear_probe,
    read_concepts,
    transfer_score,
)
from vdna_metrics.build import Partition, Reading, grouped_labels
from vdna_metrics.dna.plots import COLOURS
from vdna_metrics.extractors import FeatureExtractor
from vdna_metrics.functional import neuron_frechet_distance
from vdna_metrics.images import ImageSource, select_images

SIZE = 96  # pixels that networks see
TRAIN, TEST, DIGITS = 100, 100, 30  # images of each class: CIFAR-JPEG's, and MNIST's of either side
SHOTS = (1, 5, 20)
DRAWS, DRAWS_OF_ALL = 10, 3
PENALTIES = tuple(10.0**power for power in range(-3, 3))
ONE_SHOT = (1.0,)  # the penalty where no image is left to choose it by
SPLITS = 4  # of the same concepts into random levels
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
Labels = Sequence[str]
Distances = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """All numbers of a network.

    Args:
        probes: ``{dataset: {images of each class, or "all": accuracies}}``.
        described: ``{dataset: what its features are like}``.
        levels: ``{distance: [1 + splits, levels]}``, the first row of levels by similarity, the others of random ones.
        pairs: Spearman correlation over pairs of CIFAR's classes between Lin similarity and neuron Fréchet distance,
            and the share of permutations of classes with one as low.
    """

    probes: Mapping[str, Mapping[str, Probe]]
    described: Mapping[str, Representation]
    levels: Mapping[str, Distances]
    pairs: tuple[float, float]

    @property
    def log_odds(self) -> float:
        """Mean log odds of the linear probes."""
        return transfer_score({dataset: of_shots["all"].mean for dataset, of_shots in self.probes.items()})


def main() -> None:
    experiment = begin(__file__, __doc__)
    graph = read_concepts(HERE / "concepts.txt")
    sets, photographs, concepts = data(experiment, graph)
    levels = find_levels(graph, concepts)
    found = {}
    for name, extractor in networks(experiment).items():
        features = {
            f"{dataset} {side}": (see(experiment, extractor, source), labels)
            for dataset, sides in sets.items()
            for side, (source, labels) in sides.items()
        }
        probes = {dataset: probe(experiment, name, dataset, features) for dataset in sets}
        described = {dataset: describe_features(*features[f"{dataset} train"]) for dataset in sets}
        all_photographs, distances = look_at_levels(experiment, extractor, photographs, concepts, levels)
        described["ImageNet"] = describe_features(all_photographs)
        found[name] = Found(probes, described, distances, pair_agreement(graph, *features[f"{next(iter(sets))} train"]))
    picture = experiment.save_picture(draw_all(found, levels), experiment.name)
    experiment.write_section(describe(experiment, graph, found, levels, picture), page="representations.md")


# ------------------------------------------------------------------------------------------------------------- the data
def data(
    experiment: Experiment, graph: ConceptGraph
) -> tuple[dict[str, dict[str, tuple[ImageSource, Labels]]], ImageSource, Labels]:
    """Datasets with labels, in two sides; the ImageNet sample, and the concept of each of its photographs."""
    n_train, n_test, n_digits = (8, 4, 4) if experiment.quick else (TRAIN, TEST, DIGITS)
    cifar = {}
    for side, n in (("train", n_train), ("test", n_test)):
        source = experiment.open(f"cifar10_jpeg_{side}.zip:{side}")
        chosen = of_each(source.groups, n)
        labels = [source.groups[place] for place in chosen]
        if experiment.quick:  # worlds in the place of classes
            worlds = dict.fromkeys(labels)
            renamed = dict(zip(worlds, CIFAR, strict=False))
            labels = [renamed[label] for label in labels]
        cifar[side] = (select_images(source, chosen, f"cifar10_jpeg_{side}"), labels)
    digits = experiment.open_mnist()
    if experiment.quick:
        of_digit = [str(place % 2) for place in range(len(digits))]
    else:
        packed = (experiment.shared / "data" / "mnist_t10k-labels-idx1-ubyte.gz").read_bytes()
        of_digit = [str(digit) for digit in gzip.decompress(packed)[8:]]
    both = of_each(of_digit, 2 * n_digits)
    mnist = {}
    for place, side in enumerate(("train", "test")):
        chosen = both[place::2]
        mnist[side] = (select_images(digits, chosen, f"mnist_{side}"), [of_digit[each] for each in chosen])
    photographs = experiment.open("imagenet_sample_1000.zip")
    if experiment.quick:
        ids = [concept for concept in graph.parents if concept.startswith("n0")]
        photographs = draw(photographs, 24)
        concepts = [ids[place * len(ids) // len(photographs)] for place in range(len(photographs))]
    else:
        concepts = [name.partition("_")[0] for name in photographs.names]
    return {"CIFAR-JPEG": cifar, "MNIST": mnist}, photographs, concepts


def of_each(labels: Labels, n: int) -> list[int]:
    """Places of n images of each class, drawn at random, class after class."""
    stream, of = np.random.default_rng(0), np.asarray(labels)
    return [int(p) for each in dict.fromkeys(labels) for p in stream.permutation(np.flatnonzero(of == each))[:n]]


def networks(experiment: Experiment) -> dict[str, FeatureExtractor]:
    """What is read where the classifier reads: the last activations, pooled."""
    if experiment.quick:
        return {"vdna_tiny": create_extractor("vdna_tiny")}
    if experiment.extractor is not None:
        return {experiment.extractor: create_extractor(experiment.extractor, weights_path=experiment.weights)}
    weights = experiment.shared / "weights"
    made = {}
    for name, file, architecture, mean, std, options in (
        ("mobilenetv2", "mobilenetv2_100.tf_in1k", "mobilenetv2_100", 0.5, 0.5, {"pad_type": "same"}),
        ("efficientnet_lite0", "efficientnet_lite0.in1k", "tf_efficientnet_lite0", 0.498, 0.502, {}),
    ):
        path = str(weights / f"{file}.safetensors")
        spec = ExtractorSpec(name, architecture, ["bn2"], SIZE, mean, std, architecture_kwargs=options, weights=path)
        made[name] = create_extractor(spec)
    network = mobilenet_v2()
    network.load_state_dict(load_file(weights / "mobilenet_v2.torchvision_in1k.safetensors"))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    made["mobilenetv2_torchvision"] = create_extractor(network, layers=["features"], size=SIZE, mean=mean, std=std)
    return made


# --------------------------------------------------------------------------------------------------------------- passes
def see(experiment: Experiment, extractor: FeatureExtractor, source: ImageSource) -> Tensor:
    """Features of the last layer, ``[images, d]``."""

    def make() -> dict[str, NDArray[np.float32]]:
        progress = Progress(f"{extractor.name}, {source.name}", len(source))
        reading = Reading(BATCH, device=experiment.device, progress=lambda done, _: progress(done))
        return {"vectors": collect_features(source, extractor, reading=reading).vectors.numpy()}

    settings = [extractor.fingerprint.digest, source.name, source.names]
    kept = experiment.keep(f"{plain(extractor)}-{source.name.partition('.')[0]}", settings, make)
    return torch.from_numpy(kept["vectors"])


def plain(extractor: FeatureExtractor) -> str:
    """An extractor's name for files."""
    return extractor.name.replace(":", "_")


def probe(
    experiment: Experiment, network: str, dataset: str, features: Mapping[str, tuple[Tensor, Labels]]
) -> dict[str, Probe]:
    """Accuracies with all images and with few."""
    train, test = features[f"{dataset} train"], features[f"{dataset} test"]
    draws, draws_of_all = (2, 2) if experiment.quick else (DRAWS, DRAWS_OF_ALL)
    fewest = min(train[1].count(label) for label in train[1])
    found = {}
    for shots in (*(n for n in SHOTS if n < fewest), None):
        penalties = ONE_SHOT if shots == 1 else PENALTIES
        settings = {
            "shots": shots, "draws": draws_of_all if shots is None else draws, "inverse_penalties": list(penalties)
        }  # fmt: skip

        def make(settings: dict[str, object] = settings) -> dict[str, NDArray[np.float64]]:
            made = linear_probe(*train, *test, **settings)  # type: ignore[arg-type]
            print(f"{network}, {dataset}, {settings['shots'] or 'all'} of each class: {made.mean:.3f}", flush=True)
            return {
                "accuracies": np.array(made.accuracies), "penalties": np.array(made.inverse_penalties),
                "sizes": np.array([made.n_train, made.n_test], np.float64),
            }  # fmt: skip

        sums = [float(side.double().sum()) for side, _ in (train, test)]
        kept = experiment.keep(f"probe-{network}-{dataset}", [network, dataset, settings, sums], make)
        sizes = [int(each) for each in kept["sizes"]]
        found[str(shots or "all")] = Probe(tuple(kept["accuracies"]), tuple(kept["penalties"]), *sizes)
    return found


# --------------------------------------------------------------------------------------------------------------- levels
def find_levels(graph: ConceptGraph, concepts: Labels) -> dict[str, tuple[str, ...]]:
    """The concepts that CIFAR has too, as ``"seen"``, and the others in five levels."""
    above = [concept for concept in CIFAR if concept in graph]
    seen = [concept for concept in concepts if any(graph.is_a(concept, each) for each in above)]
    unseen = [concept for concept in concepts if concept not in set(seen)]
    return {"seen": tuple(seen), **concept_levels(graph, seen, unseen, levels=min(5, len(unseen)))}


def look_at_levels(
    experiment: Experiment,
    extractor: FeatureExtractor,
    photographs: ImageSource,
    concepts: Labels,
    levels: Mapping[str, tuple[str, ...]],
) -> tuple[Tensor, dict[str, Distances]]:
    """Features of all photographs, and distances of each level's from those of seen concepts, as `Found` has them."""
    others = list(levels.values())[1:]
    splits = 1 if experiment.quick else SPLITS
    stream, rest = np.random.default_rng(0), [concept for level in others for concept in level]
    names, columns, suffixes = [("seen", 0)], [], [""]
    for split in range(1 + splits):
        order = rest if split == 0 else [rest[place] for place in stream.permutation(len(rest))]
        ends = np.cumsum([0, *map(len, others)])
        groups = {f"L{k + 1}": order[start:end] for k, (start, end) in enumerate(pairwise(ends))}
        of_image = grouped_labels(concepts, groups).of_image
        columns.append(np.where(of_image < 0, -1 if split else 0, of_image + len(names)))
        names += [(level, split) for level in groups]
        suffixes += [f"/{level} {split}" for level in groups]
    partition = Partition(tuple(names), np.concatenate(columns, axis=1), tuple(suffixes))

    def make() -> dict[str, NDArray[np.float64]]:
        progress = Progress(f"{extractor.name}, {photographs.name}", len(photographs))
        dnas = build_dnas(
            photographs,
            extractor,
            ["histogram", "gaussian", "features"],
            layers=[list(extractor.layout)[-1]],
            ranges="auto",
            partition=partition,
            reading=Reading(BATCH, device=experiment.device, progress=lambda done, _: progress(done)),
        )
        found = {
            name: np.array(
                [
                    [float(measure(dnas[kind]["seen", 0], dnas[kind][f"L{k + 1}", split])) for k in range(len(others))]
                    for split in range(1 + splits)
                ]
            )
            for name, kind, measure in (
                ("emd", "histogram", compare.emd), ("nfd", "gaussian", compare.neuron_frechet)
            )
        }  # fmt: skip
        once = [dna for (_, split), dna in dnas["features"].items() if split == 0]
        found["features"] = np.concatenate([x.numpy() for dna in once for x in dna.distribution.features().values()])
        return found

    settings = [extractor.fingerprint.digest, photographs.name, photographs.names, partition.digest]
    kept = experiment.keep(f"levels-{plain(extractor)}", settings, make)
    return torch.from_numpy(kept.pop("features")), kept


def pair_agreement(graph: ConceptGraph, features: Tensor, labels: Labels) -> tuple[float, float]:
    """Whether classes that are less alike in the graph are farther apart; a permutation test over classes (Mantel)."""
    classes = list(dict.fromkeys(labels))
    of = np.asarray(labels)
    moments = [(x.mean(0), x.var(0)) for x in (features[torch.from_numpy(of == each)].double() for each in classes)]
    n = len(classes)
    alike, apart = np.ones((n, n)), np.zeros((n, n))
    for i, j in combinations(range(n), 2):
        alike[i, j] = alike[j, i] = graph.similarity(classes[i], classes[j])
        apart[i, j] = apart[j, i] = float(neuron_frechet_distance(*moments[i], *moments[j]).mean())
    upper = np.triu_indices(n, 1)
    found = float(spearmanr(alike[upper], apart[upper]).statistic)
    stream, lower = np.random.default_rng(0), 0
    for _ in range(1000):
        order = stream.permutation(n)
        lower += spearmanr(alike[np.ix_(order, order)][upper], apart[upper]).statistic <= found
    return found, (1 + lower) / 1001


# ------------------------------------------------------------------------------------------------------------- the page
def draw_all(found: Mapping[str, Found], levels: Mapping[str, tuple[str, ...]]) -> Figure:
    """Accuracies with few images, spectra, and distances of the levels."""
    figure = Figure(figsize=(14, 4.3), layout="constrained")
    few, spectra, far = figure.subplots(1, 3)
    for (name, each), colour in zip(found.items(), COLOURS, strict=False):
        dataset, probes = next(iter(each.probes.items()))
        sizes = [probe.n_train / len(CIFAR) for probe in probes.values()]
        few.errorbar(
            sizes, [probe.mean for probe in probes.values()], [probe.std or 0 for probe in probes.values()],
            color=colour, marker="o", capsize=3, label=name,
        )  # fmt: skip
        for of, style in ((dataset, "-"), ("ImageNet", ":")):
            values = each.described[of].singular_values
            spectra.plot(np.arange(1, len(values) + 1), values, style, color=colour, label=f"{name}, {of}")
        emd = each.levels["emd"]
        whole = emd[1:].mean()
        far.plot(range(1, emd.shape[1] + 1), emd[0] / whole, color=colour, marker="o", label=name)
        far.plot(range(1, emd.shape[1] + 1), (emd[1:] / whole).T, color=colour, alpha=0.3, linewidth=0.8)
    few.set(xscale="log", xlabel="training images of each class", ylabel="accuracy")
    few.set_title(f"Linear probes of {dataset}, mean ± std of draws", fontsize=10, loc="left")
    few.set_xticks(sizes, [f"{size:g}" for size in sizes])
    few.minorticks_off()
    spectra.set(xscale="log", yscale="log", ylim=(1e-5, 1), xlabel="dimension", ylabel="singular value / sum of all")
    spectra.set_title("Singular values of features of unit length", fontsize=10, loc="left")
    far.set(xlabel="level, from the most similar concepts", ylabel="VDNA-EMD / that of random levels")
    far.set_title("From CIFAR's concepts to levels of others (thin: random)", fontsize=10, loc="left")
    far.set_xticks(range(1, len(levels)), [level for level in levels if level != "seen"])
    for ax in (few, spectra, far):
        ax.legend(fontsize=8, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def describe(
    experiment: Experiment,
    graph: ConceptGraph,
    found: Mapping[str, Found],
    levels: Mapping[str, tuple[str, ...]],
    picture: str,
) -> str:
    """The page's part."""
    datasets = list(next(iter(found.values())).probes)
    shots = list(next(iter(found.values())).probes[datasets[0]])
    probes = [
        [
            name, dataset,
            *(f"{100 * p.mean:.1f} ± {100 * (p.std or 0):.1f}" if p else "" for p in map(of_shots.get, shots)),
            " ".join(f"{penalty:g}" for penalty in of_shots["all"].inverse_penalties),
            f"{each.log_odds:.2f}" if dataset == datasets[0] else "",
        ]
        for name, each in found.items()
        for dataset, of_shots in each.probes.items()
    ]  # fmt: skip
    described = [
        [
            name, dataset, f"{100 * what.sparsity:.2f} %",
            "" if what.intra_class_distance is None else f"{what.intra_class_distance:.3f}",
            f"{what.coding_length:.1f}", f"{what.singular_values[0]:.3f}",
            str(int((what.singular_values.cumsum(0) < 0.9).sum()) + 1),
        ]
        for name, each in found.items()
        for dataset, what in each.described.items()
    ]  # fmt: skip
    similar = graph.similarities([c for level in levels.values() for c in level], levels["seen"])
    spans = [
        f"{level} {min(values):.2f} to {max(values):.2f}"
        for level, values in ((level, [similar[c] for c in of]) for level, of in levels.items() if level != "seen")
    ]
    rows = [
        [
            name, {"emd": "VDNA-EMD, bins", "nfd": "NFD"}[distance], *(f"{value:.4g}" for value in values[0]),
            f"{values[1:].min():.4g} to {values[1:].max():.4g}",
        ]
        for name, each in found.items()
        for distance, values in each.levels.items()
    ]  # fmt: skip
    pairs = [[name, f"{each.pairs[0]:.2f}", f"{each.pairs[1]:.3f}"] for name, each in found.items()]
    unseen = [level for level in levels if level != "seen"]
    features = ["network", "dataset", "sparsity", "within a class", "coding length", "first", "90 %"]
    return "\n\n".join(
        [
            f"```bash\n{experiment.command}\n```",
            f"![Accuracies with few images, singular values, and distances of levels]({picture})",
            "**Probes.** Accuracy in %, mean ± std over draws, by training images of each class; "
            "the inverse penalties chosen with all; and the mean log odds of the accuracies with all:",
            markdown_table(["network", "dataset", *shots, "chosen C", "log odds"], probes, words=2),
            "**Features** of unit length, of the training images, and of the ImageNet sample, one photograph a class: "
            "share of entries below 1e-5; mean distance within a class; coding length in nats; the first singular "
            "value as a share of the sum, and how many make 90 % of it:",
            markdown_table(features, described, words=2),
            f"**Levels.** {len(levels['seen'])} classes of the sample are seen, "
            f"{sum(len(levels[level]) for level in unseen)} are not. Similarities: {', '.join(spans)}. Distances of "
            "each level's photographs from those of the seen classes, last layer, and the lowest and highest of "
            "random splits into levels of these sizes:",
            markdown_table(["network", "distance", *unseen, "random"], rows, words=2),
            f"**Pairs of classes.** Spearman correlation over the pairs of {datasets[0]}'s classes between Lin "
            "similarity and NFD, and the share of one as low among 1000 permutations of the classes and the one found:",
            markdown_table(["network", "correlation", "p"], pairs),
        ]
    )


if __name__ == "__main__":
    main()
