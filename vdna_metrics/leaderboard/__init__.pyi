from .record import (
    Evidence as Evidence,
    Leaderboard as Leaderboard,
    load_leaderboard as load_leaderboard,
)
from .replay import (
    leaderboard_differences as leaderboard_differences,
)
from .scoring import (
    LeaderboardSettings as LeaderboardSettings,
    score_leaderboard as score_leaderboard,
)
