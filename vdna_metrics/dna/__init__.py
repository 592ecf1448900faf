"""Visual DNA: value, file, distance."""

from vdna_metrics.dna import compare
from vdna_metrics.dna.dealt import DealtDNA, deal
from vdna_metrics.dna.serialization import load_vdna
from vdna_metrics.dna.vdna import VDNA, Provenance

__all__ = ["VDNA", "DealtDNA", "Provenance", "compare", "deal", "load_vdna"]
