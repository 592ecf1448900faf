"""Options that several commands share, in blocks: a block is one value that a command is handed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from vdna_metrics.distributions.kinds import SAMPLE, Kind
from vdna_metrics.extractors.modes import Crop, PreprocessingMode
from vdna_metrics.images.dataset_table import DATASET

if TYPE_CHECKING:
    from vdna_metrics.dna import Column
    from vdna_metrics.extractors import ExtractorSpec

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_EXTRACTOR = "mugs_vit_base"
DEFAULT_BINS = 1000
PICTURES = (".png", ".pdf", ".svg")


# --------------------------------------------------------------------------------------------------- types of arguments
def names(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """How comma-separated names out of some are read, or any where none are given: ``"a,b"`` as ``("a", "b")``."""

    def read(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        unknown = [name for name in found if allowed and name not in allowed]
        if unknown or not found:
            known = f"choose from {', '.join(allowed)}" if allowed else "expected names with commas between"
            raise click.BadParameter(f"{', '.join(map(repr, unknown)) or repr(text)}: {known}")
        return found

    return read


def _columns(text: str) -> tuple[Column, ...]:
    """Comma-separated names of columns."""
    from vdna_metrics.dna.columns import COLUMN_GROUPS, find_column

    try:
        asked = (each for name in names()(text) for each in COLUMN_GROUPS.get(name, (name,)))
        return tuple(map(find_column, dict.fromkeys(asked)))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _column(text: str) -> Column:
    """The name of one."""
    column, *others = _columns(text)
    if others:
        raise click.BadParameter(f"expected one name, got {text!r}")
    return column


# ------------------------------------------------------------------------------------------------- options in files
Placing = Callable[[str, Path], str]
"""What a text means that a file of options has, from that file's folder."""

CONFIG = "vdna_metrics.config"
PROTOCOL = "vdna_metrics.protocol"  # options that a protocol has set
"""Under which name a context keeps the file that its options are of."""


def file_in(text: str, folder: Path) -> str:
    """A file, or a folder."""
    return str(folder / text)


def source_in(text: str, folder: Path) -> str:
    """A source, with or without a name before it: what lies in the folder, an archive or store there too; else a name.

    Raises:
        ValueError: for what lies in the working folder instead.
    """
    if (folder / text).exists():
        return str(folder / text)
    name, equals, source = text.partition("=")
    if equals:
        return f"{name}={source_in(source, folder)}"
    for colon, is_there in (("::", Path.exists), (":", Path.is_file)):
        outer, found, inner = text.partition(colon)
        if found and is_there(folder / outer):
            return f"{folder / outer}{found}{inner}"
    if Path(text).exists():
        raise ValueError(f"{text} lies in the working folder, not in {folder}: paths are from the file that has them")
    return text


def names_in(text: str, folder: Path) -> str:
    """Names or words with commas between, or files: what is one in the folder, also code with the function to call."""
    if "," in text and not (folder / text).is_file():
        return ",".join(names_in(part, folder) for part in text.split(","))
    file, colon, factory = text.partition(":")
    return f"{folder / file}{colon}{factory}" if (folder / file).is_file() else text


def _directions_in(text: str, folder: Path) -> str:
    """As `_directions` reads them, with DNAs that `source_in` finds."""
    parts = (part.partition(":") for part in text.split(","))
    return ",".join(f"{head}{colon}{source_in(dna, folder) if dna else dna}" for head, colon, dna in parts)


class Option(click.Option):
    """An option that a file may give too.

    Args:
        given: as those of `click.Option`.
        placing: how a text of that file is read where paths are in it.
        reads: whether it names a file that has to be there; see `check_files`.
        attributes: likewise.
    """

    def __init__(self, *given: Any, placing: Placing | None = None, reads: bool = False, **attributes: Any) -> None:
        super().__init__(*given, **attributes)
        self.placing = placing
        self.reads = reads

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """The value, converted and checked; errors name the file that has it."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            if ctx.get_parameter_source(self.name or "") is click.core.ParameterSource.DEFAULT_MAP:
                raise click.BadParameter(f"{ctx.meta[CONFIG]}: {error.message}", ctx, self) from error
            raise


class _ColumnOption(Option):
    """Names of columns, which the registry knows, and torch with it: it is read after all other arguments."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """The names as they are given."""
        return value

    def find(self, ctx: click.Context) -> Any:
        """The columns; errors are those of any other value."""
        with click.core.augment_usage_errors(ctx, param=self):
            found = ctx.params[self.name or ""] = super().process_value(ctx, ctx.params[self.name or ""])
        return found

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Every distance there is; the registry is read when help is shown."""
        from vdna_metrics.dna.columns import COLUMN_GROUPS, find_column, list_columns

        told = []
        for column in map(find_column, list_columns()):
            text = column.label if column.extractor is None else f"{column.label}, in {column.extractor}"
            parts = column.distance.per
            told.append(f"{column.name}: {text}" + (f", mean over {parts}s" if parts and not column.layers else ""))
        told += [f"{name}: {', '.join(of)}" for name, of in COLUMN_GROUPS.items()]
        shown = copy(self)
        shown.help = f"{'; '.join(told)}.{f'  {self.help}' if self.help else ''}"
        return click.Option.get_help_record(shown, ctx)


def _part(text: str) -> tuple[int, int]:
    """``I/N`` as a place counted from 0 and a number of parts."""
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise click.BadParameter(f"{text!r}: expected I/N with 1 <= I <= N, for example 3/8")
    return int(i) - 1, int(n)


# --------------------------------------------------------------------------------------------------------------- blocks
def option(*flags: str, **attributes: Any) -> Any:
    """A field of a block: what `Option` is given beside the field's name, which is its flag unless one is."""
    return field(metadata={"flags": flags, "attributes": attributes})


def nested(block: type[Any], default: str = "") -> Any:
    """A block inside a block, with what takes the place of ``{default}`` in its help, before what is taken else."""
    return field(metadata={"block": block, "default": default})


def takes(name: str, block: type[Any], check: Callable[..., None] | None = None) -> Callable[[Command], Command]:
    """Add a block's options to a command, which is handed their values as one.

    Args:
        name: of the command's argument.
        block: class of the value.
        check: what goes together; it is handed what the command is, before anything slow is imported, so that columns
            are names still. Then files have to be there, see `check_files`.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(*arguments: Any, **given: Any) -> Any:
            if check is not None:
                texts = dict(given)
                check(*arguments, **{name: _taken(block, texts)}, **texts)
                check_files()
            context = click.get_current_context()
            columns = (each for each in context.command.params if isinstance(each, _ColumnOption))
            given |= {each.name: each.find(context) for each in columns}
            return command(*arguments, **{name: _taken(block, given)}, **given)

        return _with_options(run, block)  # type: ignore[return-value]

    return decorate


def _taken(block: type[Any], given: dict[str, Any]) -> Any:
    parts = ((item.name, item.metadata.get("block")) for item in fields(block))
    return block(**{name: given.pop(name) if part is None else _taken(part, given) for name, part in parts})


def _with_options(command: Callable[..., Any], block: type[Any], default: str = "") -> Callable[..., Any]:
    for item in reversed(fields(block)):
        if "block" in item.metadata:
            command = _with_options(command, item.metadata["block"], item.metadata["default"] or default)
            continue
        attributes = {
            **item.metadata["attributes"],
            "help": item.metadata["attributes"]["help"].format(default=default),
        }
        flags = item.metadata["flags"] or [f"--{item.name.replace('_', '-')}"]
        command = click.option(*flags, item.name, **{"cls": Option, **attributes})(command)
    return command


def _numbers(text: str) -> tuple[float, ...]:
    """``"0.5"`` or ``"0.485,0.456,0.406"``."""
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if len(found) not in (1, 3):
        raise click.BadParameter(f"{text!r}: expected a number, or three with commas between")
    return found * (3 // len(found))


def _size(text: str) -> tuple[int, int]:
    """``"224"`` or ``"128x256"``, height first."""
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise click.BadParameter(f"{text!r}: expected pixels, 224 or 128x256 (height x width)")
    return int(sides[0]), int(sides[-1])


def _directions(text: str) -> dict[str, Any]:
    """``"layer4=64,pool=9:real.npz"`` as ``{"layer4": 64, "pool": the principal directions}``."""
    found: dict[str, Any] = {}
    for part in names()(text):
        layer, _, said = part.partition("=")
        n, colon, source = said.partition(":")
        if not (layer and n.isdecimal() and bool(colon) == bool(source)):
            raise click.BadParameter(
                f"{part!r}: expected LAYER=N or LAYER=N:DNA, a layer and a number of directions, layer4=64"
            )
        found[layer] = int(n)
        if source:
            from vdna_metrics.dna import principal_directions
            from vdna_metrics.dna.grouped import total_of
            from vdna_metrics.references.resolve import resolve_dna

            try:
                dna = total_of(resolve_dna(source, "layer_gaussian", layers=[layer]))
                found[layer] = principal_directions(dna, layer, int(n))
            except (ValueError, OSError) as error:
                raise click.BadParameter(f"{part!r}: {error}") from error
    return found


TRUST_CODE = "Run the code that --extractor FILE.py:FACTORY names."


@dataclass(frozen=True)
class RunningOptions:
    """How images come into a network, and how it is run: arguments of `create_extractor`."""

    size: tuple[int, int] | None = option(
        type=_size, metavar="N|HxW", help="Size to which images are resized, for a network that states none."
    )
    mean: tuple[float, ...] | None = option(
        type=_numbers, metavar="X|R,G,B", help="Subtracted from images in [0, 1], likewise.  [default: 0]"
    )
    std: tuple[float, ...] | None = option(
        type=_numbers, metavar="X|R,G,B", help="Then divided by, likewise.  [default: 1]"
    )
    crop: Any = option(
        type=click.Choice(get_args(Crop)),
        help="What of an image is looked at: all of it, squeezed; its largest central square; or, after the short side "
        "is resized, its centre.  [default: the reference's, else the network's, mostly none]",
    )
    preprocessing: Any = option(
        type=click.Choice(get_args(PreprocessingMode)),
        help="How images are resized, for a network that does not say it.  [default: clean]",
    )
    directions: Any = option(
        type=_directions,
        placing=_directions_in,
        metavar="LAYER=N[:DNA],...",
        help="Add projections of these layers on N fixed directions, drawn by chance or the principal ones of a "
        "layer_gaussian DNA; they count like neurons.  [default: the reference's, else none]",
    )
    trust_code: bool = option(is_flag=True, help=TRUST_CODE)
    precision: Any = option(
        type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
        help="Of the network's arithmetic; one for both sides.  [default: the reference's, else fp32]",
    )
    channels_last: bool = option(is_flag=True, help="Keep images and weights in channels_last memory format.")
    compile: bool = option(is_flag=True, help="Run through torch.compile.")

    @property
    def of_named(self) -> RunningOptions:
        """What of it is for networks that metrics name, which state their preprocessing and have no directions."""
        return replace(self, size=None, mean=None, std=None, preprocessing=None, directions=None)

    def with_directions(self, layers: Sequence[str]) -> list[str]:
        """Names of layers, and of those of the directions that are asked for."""
        from vdna_metrics.extractors.directions import as_directions

        added = as_directions(self.directions)
        return list(dict.fromkeys([*layers, *(each.layer(layer) for layer, each in added.items())]))


def file_of(text: str, network: str | None) -> str:
    """The file of ``[NAME=]FILE``, of a network's weights; refuses the name of another one."""
    from vdna_metrics.extractors import list_extractors

    name, _, file = text.partition("=")
    if file and name == network:
        return file
    if file and name in list_extractors() and not Path(text).exists():
        raise click.UsageError(f"--weights {text}: nothing is measured in {name} here; leave it out")
    return text


@dataclass(frozen=True)
class NetworkOptions:
    """Which network, which of its layers, and how it is run; see `find_settings`."""

    extractor: str | None = option(
        metavar="NAME",
        help="Network: a name of `vdna-metrics extractors`, timm:NAME, torchvision:NAME, SPEC.json or FILE.py:FACTORY. "
        f" [default: {{default}}{DEFAULT_EXTRACTOR}]",
    )
    weights: tuple[str, ...] = option(
        multiple=True,
        metavar="[NAME=]FILE",
        help="Local file of the network's weights; NAME=FILE for one that a metric names, as fid_inception.",
    )
    layers: tuple[str, ...] | None = option(
        type=names(), metavar="A,B", help="Layers to look at; module paths where the network has none of its own."
    )
    running: RunningOptions = nested(RunningOptions)

    @property
    def file(self) -> str | None:
        """Of the weights."""
        if len(self.weights) > 1:
            raise click.UsageError(f"expected --weights of one network, got {', '.join(self.weights)}")
        return next((file_of(text, self.extractor) for text in self.weights), None)

    @property
    def name(self) -> str | None:
        """The name that DNAs have of the network that is asked for."""
        return self.extractor if self._own is None else self._own[0].name

    @cached_property
    def _own(self) -> tuple[ExtractorSpec, Any] | None:
        """Kept, so that code is run once."""
        from vdna_metrics.extractors.registry import is_own, spec_and_module

        if self.extractor is None or not is_own(self.extractor):
            return None
        return spec_and_module(self.extractor, self.file, trust_code=self.running.trust_code)


@dataclass(frozen=True)
class HistogramOptions:
    """How activations are counted."""

    bins: int | None = option(
        type=click.IntRange(1), metavar="N", help=f"Bins of histograms; {{default}}{DEFAULT_BINS} by default."
    )
    ranges: str | None = option(
        placing=names_in,
        metavar="FILE|auto",
        help="Activation ranges, as `calibrate` writes them, or histograms that find their own.  [default: "
        "{default}those that ship, else auto]",
    )
    max_positions: int | None = option(
        type=click.IntRange(1),
        metavar="N",
        help="Count at most N positions of an image and layer; to be compared with such DNAs only.",
    )


@dataclass(frozen=True)
class FeatureOptions:
    """Of how many images features are kept."""

    feature_images: int | None = option(
        type=click.IntRange(2),
        metavar="N",
        help=f"Images of a set whose features are kept, of more a sample; {SAMPLE} by default.",
    )


@dataclass(frozen=True)
class NeuronOptions:
    """Which neurons are compared, and what each counts."""

    neurons: str | None = option(
        placing=file_in, reads=True, metavar="FILE", help="Only these neurons: a selection, as `select` writes them."
    )
    neuron_weights: str | None = option(
        placing=file_in,
        reads=True,
        metavar="FILE",
        help="Weights of the neurons, or of lfd's layers, as `desensitise` writes them; the distance is then the "
        "weighted sum.",
    )


def _bytes(_context: click.Context, _option: click.Parameter, gigabytes: float | None) -> int | None:
    return None if gigabytes is None else round(1e9 * gigabytes)


@dataclass(frozen=True)
class ReadingOptions:
    """How images are read; see `reading_of`."""

    device: str = option(metavar="NAME", default="auto", help="cpu, cuda, cuda:1, mps or auto.")
    batch_size: int = option(type=click.IntRange(1), metavar="N", default=32, help="Images a forward.")
    workers: int = option(
        type=click.IntRange(0),
        metavar="N",
        default=min(8, max(1, (os.cpu_count() or 1) - 1)),  # one core counts; a worker feeds most networks on a CPU
        help="Processes that decode and resize; 0 does it in this one.",
    )
    skip_bad: bool = option(is_flag=True, help="Leave out images that cannot be read, and say which.")
    memory_limit: int | None = option(
        type=click.FloatRange(0, min_open=True),
        metavar="GB",
        callback=_bytes,
        help="Memory that the DNAs in the making may take.  [default: half of what there is]",
    )
    root: str | None = option(
        placing=file_in, metavar="FOLDER", help="Copy on disk of a dataset:NAME/SPLIT, which is downloaded otherwise."
    )


@dataclass(frozen=True)
class DNAOptions:
    """How DNAs are made of images."""

    network: NetworkOptions = nested(NetworkOptions)
    histograms: HistogramOptions = nested(HistogramOptions)
    features: FeatureOptions = nested(FeatureOptions)
    reading: ReadingOptions = nested(ReadingOptions)


@dataclass(frozen=True)
class StoringOptions:
    """Where DNAs are stored, and what is said of them there."""

    location: str | None = option(
        "--store", metavar="FOLDER", help="Store to put it in.  [default: yours, in VDNA_METRICS_HOME]"
    )
    licence: str = option(
        default="", show_default=False, metavar="TEXT", help="Of the images, and of their statistics."
    )
    card: str | None = option(reads=True, metavar="FILE", help="Markdown card of the image set, kept in the store.")
    overwrite: bool = option(is_flag=True, help="Replace what the store has under that name.")


# -------------------------------------------------------------------------------------------------- what goes together
def check_files() -> None:
    """Refuse files that the options of this command read and that are not there."""
    context = click.get_current_context()
    for each in context.command.params:
        given = context.params.get(each.name or "") if isinstance(each, Option) and each.reads else None
        for file in [given] if isinstance(given, str) else given or ():
            if not Path(file).is_file():
                raise click.BadParameter(f"there is no file {file}", context, each)


def check_root(root: str | None, *sources: str) -> None:
    """Refuse a `--root` that no source wants."""
    if root is not None and not any(source.startswith(DATASET) for source in sources):
        raise click.UsageError(f"--root is for a {DATASET}NAME/SPLIT, got {', '.join(sources)}")


def check_outputs(outputs: Mapping[str, str | None], *sources: str) -> None:
    """Refuse two files to write that are one, and a picture that would be among the images that are read."""
    written: dict[Path, str] = {}
    for option, name in outputs.items():
        if name is None:
            continue
        path = Path(name).resolve()
        if (other := written.setdefault(path, option)) is not option:
            raise click.UsageError(f"{other} and {option} are both {name}; give them different names")
        folders = (source for source in sources if Path(source).is_dir())
        inside = next((folder for folder in folders if path.is_relative_to(Path(folder).resolve())), None)
        if inside is not None and path.suffix.lower() == ".png":  # other formats of pictures are not read as images
            raise click.UsageError(f"{option} {name} would be one of the images of {inside}; write it elsewhere")


def check_histogram_options(kinds: Sequence[str], histograms: HistogramOptions) -> None:
    """Refuse what is for histograms where none are made."""
    if "histogram" in kinds:
        return
    for option, value in (("--bins", histograms.bins), ("--ranges", histograms.ranges)):
        if value is not None:
            raise click.UsageError(f"{option} is for histograms, got DNAs of kind {', '.join(kinds)}")


def check_making_options(kinds: Sequence[str], making: DNAOptions) -> None:
    """Refuse what is for histograms, or for features, where none are made."""
    check_histogram_options(kinds, making.histograms)
    if making.features.feature_images is not None and "features" not in kinds:
        raise click.UsageError(f"--feature-images is for features, got DNAs of kind {', '.join(kinds)}")


# ------------------------------------------------------------------------------------------------------- single options
def columns_option(flag: str, *, default: str | None = None, several: bool = False) -> Any:
    """Which distances, as columns; without a default that of a DNA's kind."""
    return option(
        flag,
        cls=_ColumnOption,
        type=_columns if several else _column,
        metavar="A,B" if several else "NAME",
        default=default,
        help="" if default else "[default: that of the DNAs' kind]",
    )


def references_option(networks: str = " or networks", *, required: bool = False) -> Any:
    """Real images, whose DNAs may be several."""
    more = f"DNAs of several kinds{networks}: give it once each."
    help = f"Real images or DNAs of them (a SOURCE); {more}"
    return option("--reference", multiple=True, required=required, placing=source_in, metavar="REFERENCE", help=help)


def confidence_option(help: str) -> Any:
    """How sure intervals are."""
    return option(type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, help=help)


def _use_protocol(context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    """What a protocol says are the defaults of other options, so that it changes nothing else of a command."""
    if name is None:
        return None
    from vdna_metrics.leaderboard import find_protocol

    try:
        protocol = find_protocol(name)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    said: dict[str, Any] = {"columns": ",".join(protocol.columns), "crop": protocol.spec.crop, "bins": protocol.bins}
    if {param.name for param in context.command.params}.isdisjoint({"fid_mode"}):
        said["extractor"] = protocol.extractor
    elif "fid_inception" in protocol.networks:
        said["fid_mode"] = protocol.spec.preprocessing
    else:
        said["extractors"] = ",".join(protocol.extractors) or None
    known = {name: value for name, value in said.items() if value is not None}
    in_config = context.default_map or {}
    if asked := in_config.get("columns"):  # there may be more of them
        lacking = [each for each in known["columns"].split(",") if each not in asked.split(",")]
        known["columns"] = ",".join([*lacking, asked])
    for each, value in known.items():
        if in_config.get(each, value) != value and each != "columns":
            raise click.UsageError(f"{each}: the protocol {name} has {value}, the file {in_config[each]}")
    context.default_map = {**in_config, **known}
    context.meta[PROTOCOL] = set(known) - set(in_config)
    return name


def check_protocol(name: str | None) -> None:
    """Refuse options that are given and are not the protocol's; of columns there may be more."""
    context = click.get_current_context()
    defaults, typed = context.default_map or {}, click.core.ParameterSource.COMMANDLINE
    for param in context.command.params if name is not None else ():
        if param.name not in defaults or context.get_parameter_source(param.name) is not typed:
            continue
        said, given = param.type_cast_value(context, defaults[param.name]), context.params[param.name]
        if param.name == "columns":
            said, given = ([column.name for column in side] for side in (said, given))
            fits = set(said) <= set(given)
        else:
            fits = said == given
        if not fits:
            has, got = (", ".join(map(str, side)) if isinstance(side, list | tuple) else side for side in (said, given))
            raise click.UsageError(f"{param.opts[-1]} {got}: the protocol {name} has {has}; leave one of them out")


def protocol_option() -> Any:
    """By which protocol."""
    return option(
        metavar="NAME",
        is_eager=True,
        callback=_use_protocol,
        help="Measure as published numbers are: sets columns, network, resizing and crop, and tells what else departs; "
        "see `vdna-metrics protocols`.",
    )


def unit_option() -> Any:
    """In which unit."""
    return option(metavar="[bins|range|activation]", help="Unit of VDNA-EMD.  [default: bins]")


def by_option() -> Any:
    """Of which parts."""
    return option(type=click.Choice(["layer", "neuron"]), help="Also print each layer's, or neuron's, distance.")


def checkpoint_option() -> Any:
    """Where to go on."""
    return option(metavar="FOLDER", help="Where an interrupt keeps what was done; the same command goes on from there.")


def allow_subsampled_option() -> Any:
    """Whether other positions are compared."""
    return option(is_flag=True, help="Compare also what was counted at other positions, for an estimate.")


def kinds_option(default: str, help: str) -> Any:
    """Which kinds of DNAs are made."""
    return option(type=names(*get_args(Kind)), metavar="A,B", default=default, help=help)


def part_option() -> Any:
    """Which part of the images is read."""
    return option(
        "--shard", type=_part, metavar="I/N", help="Of N equal parts of the images only the I-th; see `merge`."
    )


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def file_to_write(what: str, suffixes: Sequence[str]) -> Callable[[str], str]:
    """A file of some formats, which its name tells."""

    def read(text: str) -> str:
        if Path(text).suffix.lower() not in suffixes:
            raise click.BadParameter(f"{text}: {what} ends in {', '.join(suffixes)}")
        return text

    return read


picture = file_to_write("a picture", PICTURES)

output_file = click.option("-o", "--output", required=True, metavar="FILE", help="File to write, .npz.")
