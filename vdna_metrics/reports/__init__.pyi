from .analysis_plots import (
    plot_distance_matrix as plot_distance_matrix,
)
from .analysis_plots import (
    plot_explanation as plot_explanation,
)
from .analysis_plots import (
    plot_groups as plot_groups,
)
from .analysis_plots import (
    plot_sample_sizes as plot_sample_sizes,
)
from .contact_sheets import (
    contact_sheet as contact_sheet,
)
from .html import (
    write_report as write_report,
)
from .leaderboard_plots import (
    leaderboard_profile as leaderboard_profile,
)
from .leaderboard_plots import (
    quantile_heat_map as quantile_heat_map,
)
from .leaderboard_plots import (
    ranking_chart as ranking_chart,
)
from .plots import (
    layer_profile as layer_profile,
)
from .plots import (
    neuron_histograms as neuron_histograms,
)
from .plots import (
    plot_coverage as plot_coverage,
)
from .summary import (
    summarise as summarise,
)
from .tables import (
    leaderboard_csv as leaderboard_csv,
)
from .tables import (
    leaderboard_markdown as leaderboard_markdown,
)
from .tables import (
    rank_text as rank_text,
)
from .tables import (
    ranking_table as ranking_table,
)
