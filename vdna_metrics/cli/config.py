"""Options of a command in a TOML file, which the repository of a paper keeps beside its text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vdna_metrics.cli.options import CONFIG, Option, source_in
from vdna_metrics.files import errors_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What is said by whoever runs the command, and by no file.
_BY_HAND = ("trust", "trust_code")


def _read(context: click.Context, option: click.Parameter, path: str | None) -> None:
    """Make what a file says the defaults of a command's options and arguments, as texts that they read."""
    if path is None:
        return
    known = {_key(each): each for each in context.command.params if each is not option}
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
        said: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                from vdna_metrics.layout import near_names

                raise ValueError(f"unknown option {key!r}; {near_names(key, list(known))}")
            if known[key].name in _BY_HAND:
                raise ValueError(f"{key}: whom to trust is said on the command line, by who runs it")
            with errors_of(key):
                said[known[key].name or ""] = _said(known[key], value, Path(path).parent)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise click.BadParameter(f"{path}: {reason}") from error
    context.default_map = said
    context.meta[CONFIG] = path


config = click.option(
    "--config",
    callback=_read,
    is_eager=True,
    expose_value=False,
    metavar="FILE",
    help="A .toml of these options and of generators, with paths from its folder; options given here win.",
)


def given_or_in_config(context: click.Context, argument: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Callback of an argument that a file may give too."""
    return given or tuple(context.lookup_default(argument.name or "") or ())


def _key(parameter: click.Parameter) -> str:
    """``batch-size`` of ``--batch-size``; an argument's name."""
    return max(parameter.opts, key=len).lstrip("-")


def _said(parameter: click.Parameter, value: Any, folder: Path) -> Any:
    """What stands for a value on the command line: a flag's state, else a text, or several."""
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise ValueError(f"expected true or false, got {value!r}")
        return value
    placing = parameter.placing if isinstance(parameter, Option) else source_in
    texts = [text if placing is None else placing(text, folder) for text in _texts(value)]
    return texts if parameter.multiple or parameter.nargs == -1 else ",".join(texts)


def _texts(value: Any) -> list[str]:
    """Of a table ``NAME=VALUE``, of a list each."""
    if isinstance(value, dict):
        return [f"{name}={text}" for name, each in value.items() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a text or a number, got {value!r}")
    return [str(value)]
