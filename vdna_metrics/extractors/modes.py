"""How images can be resized and cropped, for whom no tensor is needed."""

from typing import Literal

PreprocessingMode = Literal["clean", "legacy_tensorflow", "legacy_pytorch", "torchmetrics", "none"]
Crop = Literal["none", "center", "short_side_center"]
Interpolation = Literal["bicubic", "bilinear"]
