from .departures import SetFacts as SetFacts, find_departures as find_departures
from .plan import (
    LeaderboardPlan as LeaderboardPlan,
    append_to_leaderboard as append_to_leaderboard,
    make_leaderboard as make_leaderboard,
    replay_leaderboard as replay_leaderboard,
)
from .protocols import Protocol as Protocol, find_protocol as find_protocol, list_protocols as list_protocols
from .recommendation import Recommendation as Recommendation, recommend as recommend
from .record import Evidence as Evidence, Leaderboard as Leaderboard, load_leaderboard as load_leaderboard
from .replay import LeaderboardDifference as LeaderboardDifference, leaderboard_differences as leaderboard_differences
from .scoring import score_leaderboard as score_leaderboard
from .settings import LeaderboardSettings as LeaderboardSettings
