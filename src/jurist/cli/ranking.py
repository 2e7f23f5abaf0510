"""How `jurist rank` and `jurist best-of-n` show decisions, once their options are read."""

from collections.abc import Sequence

from rich.console import RenderableType

from jurist.cli.judging import Decided, OutputFormat
from jurist.reports.views.ranking import best_row, ranking_row, rankings_view
from jurist.rewards.ranking import Rating, Reward


def rank_face(rating: Rating, reward: Reward) -> OutputFormat:
    """Rankings with ratings and rewards; pairs play a round robin."""
    return OutputFormat(
        row=lambda decision, case: ranking_row(decision, case, rating, reward),
        table=lambda decided, more: rankings_view(decided, rating, more),
        pairs="round_robin(swapped)",
    )


def _best(decided: Sequence[Decided], more: int) -> RenderableType:
    return rankings_view(decided, "score", more)


BEST = OutputFormat(row=best_row, table=_best, pairs="knockout(swapped)")
"""The best response; pairs play a knockout."""
