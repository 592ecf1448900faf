"""`vdna-metrics extractors`: what is typed."""

from __future__ import annotations

import click

from vdna_metrics.cli.options import TRUST_CODE, as_json


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def extractors(context: click.Context, as_json: bool) -> None:
    """List the networks that are known by name, or show one."""
    if context.invoked_subcommand is not None:
        return
    from vdna_metrics.cli import extractors as work

    work.extractors(as_json)


@extractors.command("show")
@click.argument("name", metavar="NAME")
@click.option("--trust-code", is_flag=True, help=TRUST_CODE.replace("--extractor ", ""))
@as_json
def show_extractor(name: str, trust_code: bool, as_json: bool) -> None:
    """Show all there is to know of one network.

    NAME is one of the list, timm:NAME, torchvision:NAME, SPEC.json or FILE.py:FACTORY.
    """
    from vdna_metrics.cli import extractors as work

    work.show_extractor(name, trust_code, as_json)
