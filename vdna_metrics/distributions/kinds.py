"""What kinds of distributions there are, for whom no tensor is needed."""

from typing import Literal

Kind = Literal["histogram", "gaussian", "layer_gaussian", "features"]

SAMPLE = 10_000
"""Images whose features are kept, by default."""
