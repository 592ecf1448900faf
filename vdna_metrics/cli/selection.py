"""`vdna-metrics select` and `vdna-metrics desensitise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vdna_metrics.cli.inputs import (
    check_histogram_options,
    check_root,
    find_extractor,
    load_dna,
    load_neurons,
    load_ranges,
    open_images,
    output_paths,
    own_or_calibrated,
    shared_reading,
)
from vdna_metrics.cli.options import (
    DEFAULT_BINS,
    DEFAULT_EXTRACTOR,
    METRICS,
    as_json,
    histogram_options,
    max_positions_option,
    network_options,
    output_file,
    reading_options,
)
from vdna_metrics.cli.screen import is_main, print_json, print_table, progress_bars, say, watched

if TYPE_CHECKING:
    from vdna_metrics.analysis.desensitise import AttributeDistances, Split
    from vdna_metrics.functional.emd import EMDUnit

_FEWEST = 2  # images on a side: a Gaussian of fewer has no variance


@click.command()
@click.argument("dna_with", metavar="WITH")
@click.argument("dna_without", metavar="WITHOUT")
@output_file
@click.option("--top", "k", type=click.IntRange(1), metavar="N", help="The N neurons at the largest distances.")
@click.option("--threshold", type=float, metavar="X", help="All neurons at a distance above X.")
@click.option("--per-layer", type=click.IntRange(1), metavar="N", help="The N neurons of each layer.")
@click.option("--unit", type=click.Choice(["bins", "range", "activation"]), help="Unit of VDNA-EMD.  [default: bins]")
@click.option("--keep-dead", is_flag=True, help="Also select neurons whose range has no width.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Select no neuron with a smaller share of its activations inside its range.",
)
@click.option("--others", is_flag=True, help="Write all neurons but these.")
@as_json
def select(
    dna_with: str,
    dna_without: str,
    output: str,
    k: int | None,
    threshold: float | None,
    per_layer: int | None,
    unit: EMDUnit | None,
    keep_dead: bool,
    min_coverage: float,
    others: bool,
    as_json: bool,
) -> None:
    """Select the neurons that tell two DNAs apart.

    The file is for --neurons of `score` and `compare`.

    WITH is the DNA of images with something, WITHOUT of images without it; `merge` makes one of several.
    """
    from vdna_metrics.analysis import select_sensitive

    asked = {"--top": k, "--threshold": threshold, "--per-layer": per_layer}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise click.UsageError(f"give one of --top, --threshold and --per-layer, got {' and '.join(given) or 'none'}")
    path = output_paths(output, ("selection",))["selection"]
    a, b = load_dna(dna_with), load_dna(dna_without)
    if unit is not None and a.kind != "histogram":
        raise click.UsageError(f"--unit is for VDNA-EMD; {dna_with} is a {a.kind}")
    selection = select_sensitive(
        a,
        b,
        k=k,
        threshold=threshold,
        per_layer=per_layer,
        distance="emd" if a.kind == "histogram" else "neuron_frechet",
        unit=unit or "bins",
        drop_dead=not keep_dead,
        min_coverage=min_coverage,
    )
    made, dropped = selection.made, selection.made["dropped"]
    if others:
        selection = ~selection
    written = str(selection.save(path))
    if as_json:
        layers = {layer: list(indices) for layer, indices in selection.neurons.items()}
        print_json({"file": written, "selected": len(selection), "neurons": layers, "made": dict(selection.made)})
        return
    click.echo(f"{written}: {selection!r}")
    click.echo(f"smallest distance of the chosen: {made['smallest']:.4g}")
    click.echo(f"never chosen: {dropped['dead']} dead, {dropped['coverage']} with too much outside their ranges")


@click.command()
@click.argument("table", metavar="TABLE")
@click.option("--images", "source", required=True, metavar="SOURCE", help="The images that TABLE tells of.")
@click.option("--attribute", required=True, metavar="NAME", help="The attribute to ignore.")
@output_file
@click.option(
    "--distance",
    type=click.Choice(list(METRICS)),
    default="emd",
    show_default=True,
    help="; ".join(f"{name}: {text.partition(',')[0]}" for name, (_, text) in METRICS.items()) + ".",
)
@click.option("--non-negative", is_flag=True, help="No weight below 0, and so no weighted distance. Removes less.")
@click.option("--neurons", metavar="FILE", help="Weigh only these neurons: a selection, as `select` writes them.")
@network_options(DEFAULT_EXTRACTOR)
@histogram_options(str(DEFAULT_BINS))
@max_positions_option
@reading_options
@as_json
def desensitise(
    table: str,
    source: str,
    attribute: str,
    output: str,
    distance: str,
    non_negative: bool,
    neurons: str | None,
    extractor: str | None,
    weights: str | None,
    layers: tuple[str, ...] | None,
    bins: int | None,
    ranges_file: str | None,
    max_positions: int | None,
    device: str,
    batch_size: int,
    workers: int,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Learn weights that make a distance ignore one attribute.

    All other attributes are kept.

    TABLE has a line of attributes and a line an image: its name, then 1 for with and 0 or -1 for without, with commas
    or blanks between. Of the images 60 % are learned from, 20 % say when to stop, and what is printed of the other
    20 % is what to expect of new images; the sha256 of an image's name says where it goes.
    """
    from vdna_metrics import analysis
    from vdna_metrics.build import attributes, build_dnas
    from vdna_metrics.layout import near_names

    check_root(source)
    kind = METRICS[distance][0]
    check_histogram_options([kind], bins, ranges_file)
    path = output_paths(output, ("weights",))["weights"]
    told = analysis.read_attribute_table(table)
    known = list(next(iter(told.values())))
    if attribute not in known:
        raise ValueError(f"{table} has no attribute {attribute!r}; {near_names(attribute, known)}")
    images = open_images(source)
    splits = analysis.split_images(images, told)
    few = [
        name
        for name in known
        if any(min(sum(has[name]), len(has[name]) - sum(has[name])) < _FEWEST for _, has in splits.values())
    ]
    if few:
        say(f"left out, with fewer than {_FEWEST} images with or without in a split: {', '.join(few)}")
    others = [name for name in known if name not in (*few, attribute)]
    if attribute in few or not others:
        raise ValueError(
            f"{attribute} and at least one other attribute are needed, each with {_FEWEST} images with and without in "
            f"every split; of {', '.join(known)} there are {', '.join(n for n in known if n not in few) or 'none'}"
        )
    reading = shared_reading(device, batch_size, workers, skip_bad, None)
    network, chosen = find_extractor(extractor, weights, layers)
    ranges, selection = load_ranges(ranges_file), load_neurons(neurons)
    found: dict[Split, AttributeDistances] = {}
    counts: dict[Split, int] = {}
    with progress_bars() as start:
        if kind == "histogram" and ranges is None:
            ranges = own_or_calibrated(network, images, chosen, reading, start)
        for split, (part, has) in splits.items():
            dnas = build_dnas(
                part,
                network,
                [kind],
                partition=attributes({name: has[name] for name in (attribute, *others)}),
                bins=bins or DEFAULT_BINS,
                ranges=ranges,
                layers=chosen,
                neurons=selection,
                max_positions=max_positions,
                reading=watched(reading, start, part.name, part),
            )[kind]
            sides = [dna for (name, _), dna in dnas.items() if name == attribute]
            for side in sides:
                for name, reason in side.provenance.skipped:
                    say(f"skipped: {part.name}: {name}: {reason}")
            counts[split] = sum(side.n_images for side in sides)
            found[split] = analysis.attribute_distances(dnas, distance=distance)
    if not is_main():
        return
    learned = analysis.desensitise(found["train"], found["validation"], attribute, non_negative=non_negative)
    results = {
        split: {
            "n_images": counts[split],
            "removal": analysis.sensitivity_removal(distances.values, learned.values, attribute),
            "deviation": analysis.sensitivity_deviation(distances.values, learned.values, attribute),
        }
        for split, distances in found.items()
    }
    written = str(learned.save(path))
    if as_json:
        print_json({"file": written, "attribute": attribute, "left_out": few, "results": results, "made": learned.made})
        return
    click.echo(f"{written}: {learned!r}")
    print_table(
        f"Sensitivity to {attribute} removed, and deviation of {len(others)} others, in per cent",
        ["images", "n", "removed", "deviation"],
        [
            [split, result["n_images"], round(result["removal"], 2), round(result["deviation"], 2)]
            for split, result in results.items()
        ],
    )
