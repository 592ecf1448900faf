"""`vdna-metrics select` and `vdna-metrics desensitise`."""

from __future__ import annotations

from vdna_metrics import analysis
from vdna_metrics.analysis.desensitise import AttributeDistances, Split
from vdna_metrics.build import attributes, build_dnas
from vdna_metrics.cli.commands.selection import DesensitiseOptions, SelectOptions
from vdna_metrics.cli.inputs import default_column, reading_of
from vdna_metrics.cli.options import check_making_options
from vdna_metrics.cli.results import output_paths, report_skipped, say_notes
from vdna_metrics.cli.screen import is_main, print_json, print_table, progress_bars, say, tell, watched
from vdna_metrics.cli.settings import find_comparison, find_settings
from vdna_metrics.references import resolve_images


def select(source_with: str, source_without: str, output: str, given: SelectOptions, as_json: bool) -> None:
    """Select the neurons that tell two DNAs apart."""
    path = output_paths(output, ("selection",))["selection"]
    making, root = given.making, given.making.reading.root
    column = given.column or default_column(source_with, making.network, root, by_neuron=True)
    task = find_comparison([source_with], [source_without], [column], making, by="neuron", unit=given.unit)
    (column,) = task.columns
    with progress_bars() as start:
        a = task.real_dnas(start)
        b = task.dnas_of(task.generated[0], start, source_without, a)
    say_notes(task.notes, task.read)
    selection = analysis.select_sensitive(
        a[column.kind],
        b[column.kind],
        k=given.k,
        threshold=given.threshold,
        per_layer=given.per_layer,
        distance=column,
        drop_dead=not given.keep_dead,
        min_coverage=given.min_coverage,
    )
    smallest, dropped = selection.made["smallest"], selection.made["dropped"]
    if given.others:
        selection = ~selection
    written = str(selection.save(path))
    if as_json:
        layers = {layer: list(indices) for layer, indices in selection.neurons.items()}
        return print_json(
            {"file": written, "selected": len(selection), "neurons": layers, "made": dict(selection.made)}
        )
    tell(f"{written}: {selection!r}")
    tell(f"smallest distance of the chosen: {smallest:.4g}")
    tell(f"never chosen: {dropped['dead']} dead, {dropped['coverage']} with too much outside their ranges")


def desensitise(table: str, source: str, attribute: str, output: str, given: DesensitiseOptions, as_json: bool) -> None:
    """Learn weights that make a distance ignore one attribute."""
    making, column = given.making, given.column
    check_making_options([column.kind], making)
    path = output_paths(output, ("weights",))["weights"]
    images = resolve_images(source, root=making.reading.root)
    splits = analysis.split_images(images, analysis.read_attribute_table(table))
    names, left_out = analysis.choose_attributes(splits, attribute)
    if left_out:
        say(f"left out, with fewer than two images with or without in a split: {', '.join(left_out)}")
    pass_ = reading_of(making.reading)
    options_of = making.network, making.histograms, making.features
    settings = find_settings(*options_of, columns=[column], neurons=given.neurons, images=[images])
    found: dict[Split, AttributeDistances] = {}
    counts: dict[Split, int] = {}
    with progress_bars() as start:
        for split, (part, has) in splits.items():
            dnas = build_dnas(
                part,
                settings.built,
                [column.kind],
                partition=attributes({name: has[name] for name in names}),
                reading=watched(pass_, start, part.name, part),
                **settings.options,
            )[column.kind]
            sides = [dna for (name, _), dna in dnas.items() if name == attribute]
            for side in sides:
                report_skipped(part.name, side.provenance.skipped)
            counts[split] = sum(side.n_images for side in sides)
            found[split] = analysis.attribute_distances(dnas, distance=column)
    if not is_main():
        return
    learned = analysis.desensitise(
        found["train"], found["validation"], attribute, loss=given.loss, non_negative=given.non_negative
    )
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
        return print_json(
            {"file": written, "attribute": attribute, "left_out": left_out, "results": results, "made": learned.made}
        )
    tell(f"{written}: {learned!r}")
    print_table(
        f"Sensitivity to {attribute} removed, and deviation of {len(names) - 1} others, in per cent",
        ["images", "n", "removed", "deviation"],
        [
            [split, result["n_images"], round(result["removal"], 2), round(result["deviation"], 2)]
            for split, result in results.items()
        ],
    )
