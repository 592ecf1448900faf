"""`python -m vdna_metrics` is the command line."""

from vdna_metrics.cli import main

main()
