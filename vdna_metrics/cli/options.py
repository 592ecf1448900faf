"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vdna_metrics.distributions import Kind

Command = TypeVar("Command", bound=Callable[..., Any])

METRICS: dict[str, tuple[Kind, str]] = {
    "emd": ("histogram", "VDNA-EMD, mean over neurons"),
    "nfd": ("gaussian", "neuron Fréchet distance, mean over neurons"),
    "lfd": ("layer_gaussian", "layer Fréchet distance, mean over layers"),
}


DEFAULT_EXTRACTOR = "mugs_vit_base"


DEFAULT_BINS = 1000
PICTURES = (".png", ".pdf", ".svg")


class Names(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated names out of some, or any where none are given."""

    name = "A,B"

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """``"a,b"`` as ``("a", "b")``."""
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",") if name.strip()))
        unknown = [name for name in names if self.allowed and name not in self.allowed]
        if unknown or not names:
            known = f"choose from {', '.join(self.allowed)}" if self.allowed else "expected names with commas between"
            self.fail(f"{', '.join(map(repr, unknown)) or repr(value)}: {known}", param, ctx)
        return names


class _Part(click.ParamType):  # type: ignore[type-arg]
    """``I/N`` as a place counted from 0 and a number of parts."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        i, _, n = str(value).partition("/")
        if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
            self.fail(f"{value!r}: expected I/N with 1 <= I <= N, for example 3/8", param, ctx)
        return int(i) - 1, int(n)


def options(*parts: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one."""

    def decorate(command: Command) -> Command:
        for option in reversed(parts):
            command = option(command)
        return command

    return decorate


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    context.meta[f"{KEPT}.{option.name}"] = value


# How the network is run, for `find_extractor`: of no interest to the commands themselves.
running_options = options(
    click.option(
        "--precision",
        type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
        help="Of the network's arithmetic; one for both sides.  [default: the reference's, else fp32]",
        expose_value=False,
        callback=_keep,
    ),
    click.option(
        "--channels-last",
        is_flag=True,
        help="Keep images and weights in channels_last memory format.",
        expose_value=False,
        callback=_keep,
    ),
    click.option("--compile", is_flag=True, help="Run through torch.compile.", expose_value=False, callback=_keep),
)


def network_options(default: str) -> Callable[[Command], Command]:
    """Which network, which of its layers, and how it is run: see `find_extractor`."""
    return options(
        click.option(
            "--extractor",
            metavar="NAME",
            help=f"Network: a name of `vdna-metrics extractors`, or timm:NAME.  [default: {default}]",
        ),
        click.option("--weights", metavar="FILE", help="Local file of the network's weights."),
        click.option("--layers", type=Names(), help="Layers to look at; module paths for timm:NAME."),
        running_options,
    )


RUNNING = ("precision", "channels_last", "compile")  # how a network is run
DATASET = "dataset:"  # prefix of a source that is a standard dataset
KEPT = "vdna_metrics"  # prefix of what is kept in the context of a command


def histogram_options(default: str) -> Callable[[Command], Command]:
    """Bins and ranges."""
    return options(
        click.option(
            "--bins", type=click.IntRange(1), metavar="N", help=f"Bins of each histogram; {default} by default."
        ),
        click.option("--ranges", "ranges_file", metavar="FILE", help="Activation ranges, as `calibrate` writes them."),
    )


reading_options = options(
    click.option("--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto."),
    click.option(
        "--batch-size", type=click.IntRange(1), metavar="N", default=32, show_default=True, help="Images a forward."
    ),
    click.option(
        "--workers",
        type=click.IntRange(0),
        metavar="N",
        default=min(4, os.cpu_count() or 1),
        show_default=True,
        help="Processes that decode and resize; 0 does it in this one.",
    ),
    click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, and say which."),
    # For `open_images`.
    click.option(
        "--root",
        metavar="FOLDER",
        help="Copy on disk of a dataset:NAME/SPLIT, which is downloaded otherwise.",
        expose_value=False,
        callback=_keep,
    ),
)


part_of_images = click.option(
    "--shard", "part", type=_Part(), help="Of N equal parts of the images only the I-th; see `merge`."
)


neurons_options = options(
    click.option("--neurons", metavar="FILE", help="Only these neurons: a selection, as `select` writes them."),
    click.option(
        "--neuron-weights",
        metavar="FILE",
        help="Weights of the neurons, or of lfd's layers, as `desensitise` writes them; the distance is then the "
        "weighted sum.",
    ),
)


max_positions_option = click.option(
    "--max-positions",
    type=click.IntRange(1),
    metavar="N",
    help="Count at most N positions of an image and layer; to be compared with such DNAs only.",
)


allow_subsampled_option = click.option(
    "--allow-subsampled", is_flag=True, help="Compare also what was counted at other positions, for an estimate."
)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


output_file = click.option("-o", "--output", required=True, metavar="FILE", help="File to write, .npz.")


widening = click.option(
    "--widen",
    type=click.Choice(["margin", "vdna", "none"]),
    default="margin",
    show_default=True,
    help="How observed extremes become ranges: 10 % of the width on each side, both ends times 1.2, or as they are.",
)
