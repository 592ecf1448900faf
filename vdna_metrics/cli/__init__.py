"""The command line: `vdna-metrics`. The only package that prints."""

from __future__ import annotations

import warnings
from typing import Any

import click

from vdna_metrics._version import __version__
from vdna_metrics.cli import calibration, demo, dnas, extractors, leaderboard, rank, references, score, selection
from vdna_metrics.cli.screen import report_download, say


class _Group(click.Group):
    """Errors with the data end in one line and exit code 1, an interrupt in 130 as in a shell."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own business
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            raise click.ClickException(str(error) or type(error).__name__) from error
        except KeyboardInterrupt:
            say("\ninterrupted")
            raise click.exceptions.Exit(130) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vdna-metrics")
def app() -> None:
    """Compare sets of images by the distributions of neuron activations.

    A SOURCE is images: a folder (searched recursively), a .zip or .tar archive (read in place; archive.zip:folder
    takes a part), a .txt list, a .npy or .npz array, a standard dataset (dataset:cifar10/test), a drawn world
    (procedural:white_noise/100). Or it is DNAs of images: a file, a folder of files, a name of the store (bsds500/test,
    STORE::NAME), or statistics of another tool.
    """
    from vdna_metrics import downloads

    click.get_current_context().with_resource(downloads.progress(report_download()))


for _command in (
    demo.demo,
    score.score,
    leaderboard.leaderboard,
    dnas.make,
    dnas.compare,
    dnas.merge,
    rank.rank,
    calibration.calibrate,
    calibration.coverage,
    selection.select,
    selection.desensitise,
    references.references,
    extractors.extractors,
):
    app.add_command(_command)


def main() -> None:
    """Run the command line: exit code 0 when it worked, 1 for an error with the data, 2 for one in the command."""

    def show(message: Warning | str, *_: Any) -> None:
        say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        app(prog_name="vdna-metrics")
