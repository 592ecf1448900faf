from .plan import (
    LeaderboardPlan as LeaderboardPlan,
)
from .plan import (
    append_to_leaderboard as append_to_leaderboard,
)
from .plan import (
    make_leaderboard as make_leaderboard,
)
from .plan import (
    replay_leaderboard as replay_leaderboard,
)
from .record import (
    Evidence as Evidence,
)
from .record import (
    Leaderboard as Leaderboard,
)
from .record import (
    load_leaderboard as load_leaderboard,
)
from .replay import (
    LeaderboardDifference as LeaderboardDifference,
)
from .replay import (
    leaderboard_differences as leaderboard_differences,
)
from .scoring import (
    score_leaderboard as score_leaderboard,
)
from .settings import (
    LeaderboardSettings as LeaderboardSettings,
)
