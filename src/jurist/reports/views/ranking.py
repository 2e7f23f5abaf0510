"""Decisions on many responses as rows and tables."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from jurist.core.types import Case, Decision, response_text
from jurist.reports.views.scorecard import grade
from jurist.reports.views.style import borderless, label
from jurist.rewards.ranking import Ranking, Rating, RewardMapping, ranking_of, rewards_of


def ranking_row(decision: Decision, case: Case, rating: Rating, reward: RewardMapping) -> dict[str, Any]:
    """A ranking as one flat JSON row."""
    ranking = ranking_of(decision, len(case.responses), rating)
    return {
        "case_id": case.id,
        "ranking": ranking.order or None,
        "ratings": ranking.ratings or None,
        "errors": ranking.errors,
        "rewards": rewards_of(ranking, reward),
        "status": decision.verdict.status,
        "note": decision.verdict.note,
        "gold": decision.gold,
        "matches": ranking.matches,
        "tokens": decision.usage.completion_tokens,
    }


def best_row(decision: Decision, case: Case) -> dict[str, Any]:
    """The best response as one flat JSON row; of several that tie the first, all of them under ``tied``."""
    scores = decision.verdict.scores
    tied = [i for i, score in enumerate(scores) if score == max(scores)] if scores else []
    return {
        "case_id": case.id,
        "best": tied[0] if tied else None,
        "tied": tied,
        "response": response_text(case.responses[tied[0]]) if tied else None,
        "scores": scores,
        "status": decision.verdict.status,
        "note": decision.verdict.note,
        "gold": decision.gold,
        "judgments": len(decision.judgments),
        "tokens": decision.usage.completion_tokens,
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
