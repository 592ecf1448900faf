from .agreements import (
    Agreement as Agreement,
    agreement as agreement,
)
from .estimates import (
    Estimate as Estimate,
)
from .floor import (
    NoiseFloor as NoiseFloor,
    noise_floor as noise_floor,
)
from .infinity import (
    Extrapolation as Extrapolation,
    extrapolate_frechet as extrapolate_frechet,
)
from .jackknife import (
    JackknifedDistance as JackknifedDistance,
    Side as Side,
    jackknife_distance as jackknife_distance,
)
from .pairs import (
    Difference as Difference,
    RankedPair as RankedPair,
    Ranking as Ranking,
    compare_pair as compare_pair,
    rank_intervals as rank_intervals,
)
from .rules import (
    BIAS_RULES as BIAS_RULES,
    BiasRule as BiasRule,
)
