"""Rankings, ratings and rewards of many responses, computed from the judgments of a decision."""

from collections.abc import Sequence
from typing import Literal

from jurist.core.statistics import rank_reward
from jurist.core.types import Decision, Record, Scores, Verdict
from jurist.deliberation.combine import mean
from jurist.deliberation.ratings import (
    Match,
    bradley_terry,
    elo,
    rrm_reward,
    share,
    standardised,
    win_rate,
)

Rating = Literal["score", "win-rate", "bradley-terry", "elo"]
Reward = Literal["none", "standardised", "rank", "rrm"]


class Ranking(Record, frozen=True):
    """Responses from best to worst with a rating each, by index; empty where the case has no verdict.

    ``errors`` are standard errors, where the rating has them; ``matches`` how many pairs were compared.
    """

    order: tuple[int, ...] = ()
    ratings: Scores = ()
    errors: Scores | None = None
    matches: int = 0


def ranking_of(decision: Decision, n: int, rating: Rating = "score") -> Ranking:
    """The ranking of the n responses of a case.

    "score" is what the deliberation says. The others are computed from the matches that were judged; where
    it judged no pairs (ratings, rankings in one call) they are the scores too.
    """
    if decision.verdict.scores is None:
        return Ranking()
    matches = matches_of(decision)
    ratings, errors = decision.verdict.scores, decision.verdict.errors
    if matches and rating != "score":
        rated, wrong = _rated(n, matches, rating)
        stand_ins = _stand_ins(ratings, matches)
        ratings = tuple(rated[i] for i in stand_ins)
        errors = tuple(wrong[i] for i in stand_ins) if wrong else None
    # Python's sort is stable: equals stand in the order of the case.
    order = tuple(sorted(range(len(ratings)), key=lambda i: -ratings[i]))
    return Ranking(order, ratings, errors, len(matches))


def _stand_ins(scores: Scores, matches: Sequence[Match]) -> list[int]:
    """For each response itself, if it was judged; else the judged one that it shares its score with.

    Identical responses and teams play as one: only the first of them is in a match.
    """
    played = {player for match in matches for player in (match.first, match.second)}
    return [
        i if i in played else next((p for p in sorted(played) if scores[p] == score), i)
        for i, score in enumerate(scores)
    ]


def _rated(n: int, matches: Sequence[Match], rating: Rating) -> tuple[Scores, Scores | None]:
    if rating == "bradley-terry":
        strengths = bradley_terry(n, matches)
        return strengths.values, strengths.errors
    return (win_rate(n, matches) if rating == "win-rate" else elo(n, matches)), None


def matches_of(decision: Decision) -> list[Match]:
    """One match per pair of responses that was judged with a verdict, its judgments averaged."""
    pairs: dict[tuple[int, int], list[Verdict]] = {}
    for judgment in decision.final_judgments:
        if len(judgment.query.order) == 2 and judgment.verdict.scores:
            first, second = sorted(judgment.query.order)
            pairs.setdefault((first, second), []).append(judgment.verdict)
    return [Match(*pair, share(mean(verdicts).scores)) for pair, verdicts in pairs.items()]


def rewards_of(ranking: Ranking, reward: Reward) -> Scores | None:
    """The group's rewards by one of the mappings of ``deliberation.ratings``; "rrm" takes Elo ratings."""
    if reward == "none" or not ranking.ratings:
        return None
    mapping = {"standardised": standardised, "rank": rank_reward, "rrm": rrm_reward}
    return mapping[reward](ranking.ratings)
