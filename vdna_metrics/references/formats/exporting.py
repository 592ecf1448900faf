"""DNAs as files that other tools read."""

from __future__ import annotations

from pathlib import Path

from vdna_metrics.distributions import LayerGaussianDistribution
from vdna_metrics.dna.vdna import VDNA
from vdna_metrics.extractors.catalogue import FID_INCEPTIONS
from vdna_metrics.files import write_npz
from vdna_metrics.references.formats.published import EXPORTED, FORMATS, ExportFormat
from vdna_metrics.references.formats.vdna import write_vdna_package


def export_statistics(
    dna: VDNA, path: str | Path, *, format: ExportFormat = "clean-fid", layer: str | None = None
) -> tuple[Path, ...]:
    """Write a DNA as a file that others read.

    ``"clean-fid"`` is an ``.npz`` of ``mu`` and ``sigma``, float64, as clean-fid and pytorch-fid read it; clean-fid
    looks for it as ``NAME_MODE_custom_na.npz`` in the folder ``stats`` of its package, for
    ``compute_fid(folder, dataset_name=NAME, mode=MODE, dataset_split="custom")``. Beside them lies our header, from
    which `import_statistics` knows all else. ``"vdna"`` is the package of `write_vdna_package`.

    Args:
        dna: what to write; for ``"clean-fid"`` a layer Gaussian of the FID Inception, as clean-fid resizes images.
        path: file to write, ``.npz`` is appended when it is missing; for ``"vdna"`` the root of its files.
        format: of the file.
        layer: for ``"clean-fid"``, of a DNA with several.

    Returns:
        Paths of what was written.

    Raises:
        ValueError: when the format cannot hold this DNA.
    """
    if format == "vdna":
        if layer is not None:
            raise ValueError("layer= is for the format 'clean-fid'; DNA.select(layers=) chooses among layers")
        return write_vdna_package(dna, path)
    if format != "clean-fid":
        raise ValueError(f"unknown format {format!r} to export to; known: clean-fid, vdna")
    distribution = dna.distribution
    if not isinstance(distribution, LayerGaussianDistribution):
        raise ValueError(f"clean-fid reads mean and covariance of a layer: export a layer_gaussian, not a {dna.kind}")
    specs = [FID_INCEPTIONS[mode] for mode in FORMATS["clean-fid"].modes]
    known = [(spec.architecture_id, spec.preprocess.id) for spec in specs]
    if (dna.fingerprint.architecture, dna.fingerprint.preprocessing) not in known:
        raise ValueError(
            f"this DNA is of {dna.fingerprint.architecture} with images {dna.fingerprint.preprocessing}, for which "
            f"clean-fid has no mode; it has: {', '.join(f'{a} {b}' for a, b in known)}"
        )
    if layer is None and len(dna.layout) > 1:
        raise ValueError(f"the file holds one layer, the DNA {', '.join(dna.layout)}: give layer=")
    chosen = dna.select([layer]) if layer is not None else dna
    (layer,) = chosen.layout
    if chosen.layout.neurons:
        raise ValueError(f"the file holds whole layers, of {layer!r} there are {chosen.layout[layer]} neurons")
    distribution.check_finite()
    mean, covariance = distribution.mean_and_covariance(layer)
    header = {
        "n_images": chosen.n_images,
        "fingerprint": chosen.fingerprint.to_json(),
        "provenance": chosen.provenance.to_json(),
    }
    arrays = {"mu": mean.cpu().numpy(), "sigma": covariance.cpu().numpy()}
    return (write_npz(path, EXPORTED, header, arrays),)
