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
    leaderboard_differences as leaderboard_differences,
)
from .scoring import (
    score_leaderboard as score_leaderboard,
)
from .sets import (
    ImageSet as ImageSet,
)
from .settings import (
    LeaderboardSettings as LeaderboardSettings,
)
