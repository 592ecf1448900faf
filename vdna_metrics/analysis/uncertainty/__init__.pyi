from .agreements import (
    Agreement as Agreement,
)
from .agreements import (
    agreement as agreement,
)
from .estimates import (
    Estimate as Estimate,
)
from .floor import (
    NoiseFloor as NoiseFloor,
)
from .floor import (
    noise_floor as noise_floor,
)
from .infinity import (
    Extrapolation as Extrapolation,
)
from .infinity import (
    extrapolate_frechet as extrapolate_frechet,
)
from .jackknife import (
    JackknifedDistance as JackknifedDistance,
)
from .jackknife import (
    Side as Side,
)
from .jackknife import (
    jackknife_distance as jackknife_distance,
)
from .pairs import (
    Difference as Difference,
)
from .pairs import (
    RankedPair as RankedPair,
)
from .pairs import (
    Ranking as Ranking,
)
from .pairs import (
    compare_pair as compare_pair,
)
from .pairs import (
    rank_intervals as rank_intervals,
)
from .rules import (
    BIAS_RULES as BIAS_RULES,
)
from .rules import (
    BiasRule as BiasRule,
)
