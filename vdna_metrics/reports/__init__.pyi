from .analysis_plots import (
    plot_distance_matrix as plot_distance_matrix,
    plot_explanation as plot_explanation,
    plot_groups as plot_groups,
    plot_sample_sizes as plot_sample_sizes,
)
from .contact_sheets import contact_sheet as contact_sheet
from .html import write_report as write_report
from .latex import leaderboard_latex as leaderboard_latex
from .leaderboard_plots import (
    checkpoint_curve as checkpoint_curve,
    leaderboard_profile as leaderboard_profile,
    quantile_heat_map as quantile_heat_map,
    ranking_chart as ranking_chart,
)
from .maps import plot_difference_maps as plot_difference_maps
from .plots import (
    layer_profile as layer_profile,
    neuron_histograms as neuron_histograms,
    plot_coverage as plot_coverage,
)
from .region_plots import plot_regions as plot_regions
from .score_plots import plot_agreements as plot_agreements, plot_rank_agreement as plot_rank_agreement
from .summary import summarise as summarise
from .tables import (
    leaderboard_csv as leaderboard_csv,
    leaderboard_markdown as leaderboard_markdown,
    rank_text as rank_text,
    ranking_table as ranking_table,
)
