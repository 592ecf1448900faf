"""The command line: `vdna-metrics`. The only package that prints."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from vdna_metrics import downloads
from vdna_metrics._version import __version__
from vdna_metrics.cli.process import keep_freed_memory, share_cores
from vdna_metrics.cli.screen import report_download, say
from vdna_metrics.files import LIMITS, is_limit, limit_variable
from vdna_metrics.text import printable

# Modules and summaries of the commands. A module of `commands` says what is typed. What is done lies in the one of
# the same name here, which is imported, and torch with it, when the arguments have been read.
_COMMANDS = {
    "agreement": ("agreement", "Tell whether scores of generators have one order."),
    "calibrate": ("calibration", "Find a network's activation ranges over sets of images."),
    "compare": ("score", "Compare DNAs, or sets of images, with the first."),
    "coverage": ("calibration", "Tell whether activation ranges fit a set of images."),
    "demo": ("demo", "Score procedural images against photographs, offline."),
    "desensitise": ("selection", "Learn weights that make a distance ignore one attribute."),
    "extractors": ("extractors", "List the networks that are known by name, or show one."),
    "leaderboard": ("leaderboard", "Rank generators by their distance from real images."),
    "make": ("dnas", "Make the DNA of a set of images, in one pass for all kinds."),
    "merge": ("dnas", "Merge DNA files, or files of activation ranges, into one."),
    "protocols": ("protocols", "List the protocols of published numbers, or show one."),
    "rank": ("rank", "Rank single images by their distance from real ones."),
    "references": ("references", "Reference DNAs and activation ranges, by name."),
    "regions": ("regions", "Compare sets of images region by region."),
    "score": ("score", "Score sets of generated images against real ones."),
    "select": ("selection", "Select the neurons that tell two DNAs apart."),
}


# Keywords of the library that options of commands are called otherwise than.
_KEYWORDS = {"format": "file_format", "weights": "neuron_weights", "weights_path": "weights", "ranges": "ranges_file"}
_KEYWORD = re.compile(r"(?:Reading\()?(?<![:\w])(\w+)=('\w+'|\w+|\.\.\.|)\)?(?: \([^()]*--[^()]*\))?")


def _in_options(message: str, command: click.Command | None) -> str:
    """A message of the library with a command's options where it names keywords of functions."""
    commands = command.commands.values() if isinstance(command, click.Group) else filter(None, [command])
    flags = {each.name: each.opts[-1] for one in commands for each in one.params if isinstance(each, click.Option)}

    def flag(match: re.Match[str]) -> str:
        found = flags.get(_KEYWORDS.get(match[1], match[1])) or flags.get(match[1])
        value = "" if match[2] in ("True", "bytes", "...") else match[2].strip("'")
        return match[0] if found is None else f"{found} {value}".rstrip()

    return _KEYWORD.sub(flag, message)


class _Group(click.Group):
    """Errors with the data end in one line and exit code 1, an interrupt in 130 as in a shell."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.commands.{_COMMANDS[cmd_name][0]}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own business
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            text = _in_options(str(error) or type(error).__name__, self.get_command(ctx, ctx.invoked_subcommand or ""))
            raise click.ClickException(printable(text)) from error
        except KeyboardInterrupt:
            say("", "interrupted")
            raise click.exceptions.Exit(130) from None
        except click.ClickException:
            raise
        except Exception as error:  # a fault of ours, or of a plug-in
            told = f"{type(error).__name__}: {error}"
            raise click.ClickException(
                f"{printable(told)[:500]}\nThis should not happen. Please report it with {_saved_traceback(error)}"
            ) from error


def _saved_traceback(error: Exception) -> str:
    """Name of a new file with what led to an error."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="vdna-metrics-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as file:
        file.write(f"vdna_metrics {__version__}, Python {sys.version}\n{sys.argv}\n\n")
        file.writelines(traceback.format_exception(error))
    return file.name


_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


@click.group(cls=_Group, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="vdna-metrics")
@click.option(
    "limits",
    "--limit",
    multiple=True,
    metavar="NAME=N",
    help=f"Take more, or less, from files that somebody else may have made: {', '.join(LIMITS)}.",
)
def app(limits: tuple[str, ...]) -> None:
    """Compare sets of images by the distributions of neuron activations.

    A SOURCE is images: a folder (searched recursively), a .zip or .tar archive (read in place; archive.zip:folder
    takes a part), a .txt list, a .npy or .npz array, a standard dataset (dataset:cifar10/test), a drawn world
    (procedural:white_noise/100); or features of images, computed elsewhere, as floats [N, d] in an .npy, .npz or torch
    file. Or it is DNAs of images: a file, a folder of files, a name of the store (bsds500/test,
    STORE::NAME), or statistics of another tool.
    """
    context = click.get_current_context()
    context.with_resource(downloads.progress(report_download()))
    context.with_resource(_limited(limits))


@contextmanager
def _limited(limits: Sequence[str]) -> Iterator[None]:
    """Limits of this command in the environment, where worker processes find them too."""
    before: dict[str, str | None] = {}
    for text in limits:
        given, _, number = text.partition("=")
        name = next((known for known in LIMITS if known == given), None)
        if name is None or not is_limit(number):
            known = ", ".join(f"{known} ({limit.default})" for known, limit in LIMITS.items())
            told = f"{text[:80]!r}: expected NAME=N, with N from 1 and of at most 19 digits, of {known}"
            raise click.BadParameter(told, param_hint="--limit")
        variable = limit_variable(name)
        before.setdefault(variable, os.environ.get(variable))
        os.environ[variable] = number
    try:
        yield
    finally:
        for variable, value in before.items():
            if value is None:
                del os.environ[variable]
            else:
                os.environ[variable] = value


def main() -> None:
    """Run the command line: exit code 0 when it worked, 1 for an error with the data, 2 for one in the command."""

    def show_warning(message: Warning | str, *_: Any) -> None:
        say(f"warning: {message}")

    for stream in (sys.stdout, sys.stderr):  # a letter that a terminal does not know ends no command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    keep_freed_memory()
    share_cores()
    with warnings.catch_warnings():
        warnings.showwarning = show_warning  # type: ignore[assignment]
        app(prog_name="vdna-metrics")
