"""Rankings, ratings and rewards of many responses, computed from the judgments of a decision."""

from collections.abc import Sequence
from math import fsum, tanh
from typing import Literal

from jurist.core.statistics import rank_reward
from jurist.core.types import Case, Decision, Record, Response, Scores, Verdict
from jurist.deliberation.combine import mean
from jurist.deliberation.ratings import (
    Match,
    bradley_terry,
    elo,
    rrm_reward,
    share,
    standardised,
)

Rating = Literal["score", "win-rate", "bradley-terry", "elo"]
RewardMapping = Literal["none", "standardised", "rank", "rrm"]

LEVEL: dict[Rating, float] = {
    "score": 0.5,
    "win-rate": 0.5,
    "bradley-terry": 0.0,
    "elo": 1000.0,
}
"""The rating of all responses of a group in which none is better than another."""


class Ranking(Record, frozen=True):
    """Responses from best to worst with a rating each, by index; empty where the case has no verdict.

    ``errors`` are standard errors, where the rating has them; ``matches`` how many pairs were compared.
    """

    order: tuple[int, ...] = ()
    ratings: Scores = ()
    errors: Scores | None = None
    matches: int = 0


class Best(Record, frozen=True):
    """The best of several responses: ``index`` and ``response`` are None where the case has no verdict.

    ``tied`` are all that are level at the top; ``index`` is the first of them. ``decision`` holds the
    scores and every judgment.
    """

    index: int | None
    response: Response | None
    tied: tuple[int, ...]
    decision: Decision

    def __repr__(self) -> str:
        """One line: which one, among how many that are level, after how many judgments."""
        level = f" (level: {', '.join(map(str, self.tied))})" if len(self.tied) > 1 else ""
        status = self.decision.verdict.status
        said = f"no verdict: {status}" if self.index is None else f"response {self.index}{level}"
        return f"Best({said}, judgments {len(self.decision.judgments)})"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The texts of the judgments that the best response was in, in the order of the judgments."""
        judgments = self.decision.judgments
        return tuple(j.completion.text for j in judgments if self.index in j.query.order)


def best_of(decision: Decision, case: Case) -> Best:
    """The best response of a decided case; of several that tie the first."""
    scores = decision.verdict.scores or ()
    tied = tuple(i for i, score in enumerate(scores) if score == max(scores))
    index = tied[0] if tied else None
    return Best(index, None if index is None else case.responses[index], tied, decision)


def ranking_of(
    decision: Decision, n: int, rating: Rating = "score", matches: Sequence[Match] | None = None
) -> Ranking:
    """The ranking of the n responses of a case; ``matches`` are those of the decision, where they are known.

    "score" is what the deliberation says. The others are computed from the matches that were judged: the win
    rate against all (``win_rate_against_all``), Bradley-Terry strengths, Elo. Where it judged no pairs
    (ratings, rankings in one call) they are the scores too.
    """
    if decision.verdict.scores is None:
        return Ranking()
    matches = matches_of(decision) if matches is None else matches
    ratings, errors = decision.verdict.scores, decision.verdict.errors
    if matches and rating != "score":
        rated, wrong = _rated(n, matches, rating)
        stand_ins = _stand_ins(ratings, matches)
        ratings = tuple(rated[i] for i in stand_ins)
        errors = tuple(wrong[i] for i in stand_ins) if wrong else None
    elif not decision.judgments and rating != "score" and len(set(ratings)) == 1:
        ratings = (LEVEL[rating],) * len(ratings)  # identical, or alone: no judge was asked
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
    if rating == "elo":
        return elo(n, matches), None
    if rating == "bradley-terry":
        strengths = bradley_terry(n, matches)
        return strengths.values, strengths.errors
    met = {player for match in matches for player in (match.first, match.second)}
    pairs = {frozenset((match.first, match.second)) for match in matches}
    # Where all met all, no strength stands in for a match.
    all_met = 2 * len(pairs) == len(met) * (len(met) - 1)
    expected = (0.0,) * n if all_met else bradley_terry(n, matches).values
    return win_rate_against_all(expected, matches), None


def win_rate_against_all(strengths: Scores, matches: Sequence[Match]) -> Scores:
    """For each player its mean share of the win against all others, from 0 to 1; 0.5 in the mean.

    A match that was not played counts as what the ``strengths`` (Bradley-Terry, logits) make expect, so that
    nobody gains by weak opponents. Where all met all it is the plain win rate, to the last digit. Players who
    met nobody are left out of the others' rates, and have 0.5 themselves.
    """
    met = sorted({player for match in matches for player in (match.first, match.second)})
    margins = {(m.first, m.second): m.score - 0.5 for m in matches}
    margins |= {(m.second, m.first): 0.5 - m.score for m in matches}

    def margin(player: int, other: int) -> float:
        if (player, other) in margins:
            return margins[player, other]
        # The logistic function, less a half, in a form that no gap overflows.
        return tanh((strengths[player] - strengths[other]) / 2) / 2

    rates = [0.5] * len(strengths)
    for player in met:
        total = fsum(margin(player, other) for other in met if other != player)
        rates[player] = round(0.5 + total / (len(met) - 1), 12)
    return tuple(rates)


def matches_of(decision: Decision) -> list[Match]:
    """One match per pair of responses that was judged with a verdict, its judgments averaged."""
    pairs: dict[tuple[int, int], list[Verdict]] = {}
    for judgment in decision.final_judgments:
        if len(judgment.query.order) == 2 and judgment.verdict.scores:
            first, second = sorted(judgment.query.order)
            pairs.setdefault((first, second), []).append(judgment.verdict)
    return [Match(*pair, share(mean(verdicts).scores)) for pair, verdicts in pairs.items()]


def rewards_of(ranking: Ranking, reward: RewardMapping) -> Scores | None:
    """The group's rewards by one of the mappings of ``deliberation.ratings``; "rrm" takes Elo ratings."""
    if reward == "none" or not ranking.ratings:
        return None
    mapping = {"standardised": standardised, "rank": rank_reward, "rrm": rrm_reward}
    return mapping[reward](ranking.ratings)
