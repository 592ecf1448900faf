from .calibration import (
    ActivationRange as ActivationRange,
)
from .distances import (
    LayerFrechetDistance as LayerFrechetDistance,
)
from .distances import (
    NeuronFrechetDistance as NeuronFrechetDistance,
)
from .distances import (
    VDNAEarthMoversDistance as VDNAEarthMoversDistance,
)
from .inception import (
    FrechetInceptionDistance as FrechetInceptionDistance,
)
