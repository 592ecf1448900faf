"""The vdna package, driven on CPU with a network of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vdna_metrics.extractors.network import FeatureExtractor
from vdna_metrics.ranges import ActivationRanges


def dna_of_vdna(
    kind: str, images: list[NDArray[np.uint8]], extractor: FeatureExtractor, ranges: ActivationRanges
) -> Any:
    """The vdna package's own DNA of images, through the same network."""
    from vdna.networks import FeatureExtractionModel
    from vdna.utils.settings import DataSettings, ExtractionSettings, NetworkSettings
    from vdna.vdnas import get_vdna

    spec = extractor.spec

    class Model(FeatureExtractionModel):
        def get_features(self, batch: Tensor) -> dict[str, Tensor]:
            outputs = {}
            handles = [
                extractor.network.get_submodule(layer).register_forward_hook(
                    lambda _m, _i, output, layer=layer: outputs.update({layer: output})
                )
                for layer in spec.paths
            ]
            extractor.network(batch)
            for handle in handles:
                handle.remove()
            return outputs

    extremes = {
        name: {layer: dict(enumerate(part.tolist())) for layer, part in ranges.layout.split(values).items()}
        for name, values in (("mins_per_neuron", ranges.observed_low), ("maxs_per_neuron", ranges.observed_high))
    }
    model = Model(
        NetworkSettings(list(spec.mean), list(spec.std), dict(extractor.layout), spec.size, "r"),
        ExtractionSettings(num_workers=0, batch_size=25, device="cpu", verbose=False, n_sample_images=1),
        extremes,
    )
    model.name = "r"
    dna = get_vdna(kind)
    dna.fill_vdna(model, DataSettings(source=images, shuffle_files=False))
    return dna
