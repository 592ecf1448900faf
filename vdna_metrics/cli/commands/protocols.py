"""`vdna-metrics protocols`: what is typed."""

from __future__ import annotations

import click

from vdna_metrics.cli.options import as_json


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def protocols(context: click.Context, as_json: bool) -> None:
    """List the protocols of published numbers, or show one."""
    if context.invoked_subcommand is not None:
        return
    from vdna_metrics.cli import protocols as work

    work.protocols(as_json)


@protocols.command("show")
@click.argument("name", metavar="NAME")
@as_json
def show_protocol(name: str, as_json: bool) -> None:
    """Show all that is known of one protocol, and where it can be read."""
    from vdna_metrics.cli import protocols as work

    work.show_protocol(name, as_json)
