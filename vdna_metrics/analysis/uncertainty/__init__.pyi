from .correlations import Correlation as Correlation, RankAgreement as RankAgreement, rank_agreement as rank_agreement
from .estimates import Estimate as Estimate
from .jackknife import (
    Extrapolation as Extrapolation,
    JackknifedDistance as JackknifedDistance,
    NoiseFloor as NoiseFloor,
    Side as Side,
    extrapolate_frechet as extrapolate_frechet,
    jackknife_distance as jackknife_distance,
    noise_floor as noise_floor,
)
from .pairs import (
    Agreement as Agreement,
    Difference as Difference,
    RankedPair as RankedPair,
    Ranking as Ranking,
    agreement as agreement,
    compare_pair as compare_pair,
    rank_intervals as rank_intervals,
)
from .rules import BIAS_RULES as BIAS_RULES, BiasRule as BiasRule
from .runs import BetweenRuns as BetweenRuns, average_runs as average_runs, between_runs as between_runs
