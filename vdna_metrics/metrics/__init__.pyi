from .calibration import (
    ActivationRange as ActivationRange,
)
from .distances import (
    LayerFrechetDistance as LayerFrechetDistance,
    NeuronFrechetDistance as NeuronFrechetDistance,
    VDNAEarthMoversDistance as VDNAEarthMoversDistance,
)
from .inception import (
    FrechetInceptionDistance as FrechetInceptionDistance,
)
