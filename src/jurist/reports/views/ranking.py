"""Decisions on many responses as rows and tables."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from jurist.core.types import Case, Decision, response_text
from jurist.reports.views.json_rows import decision_row
from jurist.reports.views.scorecard import grade
from jurist.reports.views.style import borderless, label
from jurist.rewards.ranking import Ranking, Rating, RewardMapping, best_of, ranking_of, rewards_of


def ranking_row(decision: Decision, case: Case, rating: Rating, reward: RewardMapping) -> dict[str, Any]:
    """A decision as a JSON row, with the ranking that follows from it."""
    ranking = ranking_of(decision, len(case.responses), rating)
    return {
        **decision_row(decision),
        "ranking": ranking.order or None,
        "ratings": ranking.ratings or None,
        "errors": ranking.errors,
        "rewards": rewards_of(ranking, reward),
        "matches": ranking.matches,
    }


def best_row(decision: Decision, case: Case) -> dict[str, Any]:
    """A decision as a JSON row, with the best response; of several that tie the first, all under ``tied``."""
    best = best_of(decision, case)
    return {
        **decision_row(decision),
        "best": best.index,
        "tied": best.tied,
        "response": None if best.response is None else response_text(best.response),
    }


def rankings_view(decided: Sequence[tuple[Decision, Case]], rating: Rating, more: int = 0) -> Table:
    """One line per case: responses from best to worst (counted from 1), with their ratings."""
    table = borderless("case", f"best to worst ({rating})", "matches", "tokens", words=["gold"])
    table.columns[1].justify, table.columns[1].no_wrap = "left", False
    for decision, case in decided:
        ranking = ranking_of(decision, len(case.responses), rating)
        row = [f"{ranking.matches}", f"{decision.usage.completion_tokens:,}"]
        table.add_row(label(case.id), _said(decision, ranking), *row, grade(decision))
    if more > 0:
        table.add_row(Text(f"... and {more:,} more", style="dim"))
    return table


def _said(decision: Decision, ranking: Ranking) -> Text:
    if not ranking.order:
        return Text(f"no verdict: {decision.verdict.status}", style="yellow")
    text = Text()
    for place, i in enumerate(ranking.order):
        tied = place and ranking.ratings[i] == ranking.ratings[ranking.order[place - 1]]
        text.append(" = " if tied else " > " if place else "", "dim")
        text.append(str(i + 1), "bold")
        error = f" ± {ranking.errors[i]:.2f}" if ranking.errors else ""
        text.append(f" {ranking.ratings[i]:.2f}{error}", "dim")
    return text
