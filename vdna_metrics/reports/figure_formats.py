"""Formats of the figures beside a report, for whom nothing is drawn."""

from typing import Literal

FigureFormat = Literal["pdf", "png", "svg"]

FIGURES: tuple[FigureFormat, ...] = ("png", "svg")
"""Those that are written by default."""
