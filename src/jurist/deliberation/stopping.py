"""Votes that stop early: when the lead cannot be lost, or is unlikely to be lost."""

import asyncio
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import exp, lgamma

from jurist.core.errors import ConfigError
from jurist.core.types import Ask, Case, Decision, Deliberation, Judgment, Observer, Scores
from jurist.deliberation.combine import majority, mean
from jurist.deliberation.votes import decide, together, votes_of

Rule = Callable[[Fraction, Fraction, int], bool]
"""``rule(first, second, left)``: whether to stop, with the votes of the leader and of the runner-up, and
how many votes of k are still to come."""

PRIOR = 0.5
"""Both parameters of the Beta prior on the leader's share of votes: the votes of a case agree more often
than not. RRM's published gains from voting (arXiv 2505.14674) fit Beta distributions whose parameters add
up to 0.5 to 1.1; these add up to 1 (benchmarks/deliberation.py)."""


def exact(k: int = 5, parallel: int = 0) -> Deliberation:
    """Majority of k asks that stops when the lead cannot be lost any more: the decision of ``vote(k)``.

    Always the same winner, and a tie exactly when ``vote(k)`` ties. Scores are shares of the votes cast,
    so after an early stop they differ from those of all k. An unresolved vote abstains; when all do, the
    case has no verdict. Ratings (one response) have no lead: all k are asked and averaged.

    ``parallel``: how many votes are in flight. By default (0) as many as the shortest possible decision
    needs, so that no vote is wasted and the questions do not depend on the order in which votes arrive. With
    more the decision is faster; votes in flight when it is made are cancelled, and their tokens are not
    counted, since their number is unknown. All votes that returned are in ``Decision.judgments``.
    """
    return _stopping("exact", k, cannot_be_lost, parallel)


def confident(k: int = 16, error: float = 0.01, parallel: int = 0) -> Deliberation:
    """Majority of k asks that stops when its leader would win the vote of k with probability 1 - error.

    A sequential test. The leader's share of votes has the prior Beta(1/2, 1/2), the votes to come are
    beta-binomial given those cast; with more than two responses the leader is tested against the
    runner-up, and future votes are taken to be resolved. At most ``error`` of the decisions differ from
    ``vote(k)`` if cases are distributed as in the prior, and fewer if votes agree more. It is no bound for a
    single case: on pure coin flips 3% differ at k = 16 and error 0.01 (measured by
    benchmarks/deliberation.py, by difficulty).

    Scores, abstentions, ratings and ``parallel`` are as in ``exact``, which it equals for small k.
    """
    if not 0 < error < 0.5:
        raise ConfigError(
            f"error {error} is out of range", hint="a probability between 0 and 0.5, such as 0.01"
        )
    return _stopping("confident", k, likely(error), parallel)


def soft(k: int = 2) -> Deliberation:
    """Mean score of k asks, for verdicts that are probabilities (``forced`` verdicts); positions alternate.

    An even k shows each order equally often, which removes a position bias that adds to the score.
    Unresolved asks abstain; when all do, the case has no verdict. Equal means are a tie.
    """
    k = votes_of(k)

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        judgments = await together(ask, case, [(None, i) for i in range(k)])
        return decide(case, mean([j.verdict for j in judgments]), judgments)

    return Deliberation("soft", deliberate)


def cannot_be_lost(first: Fraction, second: Fraction, left: int) -> bool:
    """The rule of ``exact``."""
    return first - second > left


def likely(error: float) -> Rule:
    """The rule of ``confident``."""

    def rule(first: Fraction, second: Fraction, left: int) -> bool:
        return cannot_be_lost(first, second, left) or chance(first, second, left) > 1 - error

    return rule


@lru_cache(maxsize=1 << 16)
def chance(first: Fraction, second: Fraction, left: int) -> float:
    """Probability that ``first`` ends above ``second`` after ``left`` more votes for one of the two."""
    a, b = float(first) + PRIOR, float(second) + PRIOR
    # x of the votes to come are for the first.
    wins = [x for x in range(left + 1) if first + x > second + left - x]
    return sum(exp(_choose(left, x) + _beta(a + x, b + left - x) - _beta(a, b)) for x in wins)


def needed(rule: Rule, first: Fraction, second: Fraction, left: int) -> int:
    """The fewest votes after which the rule could stop: all of them for the leader; 0: it stops now."""
    return next(m for m in range(left + 1) if m == left or rule(first + m, second, left - m))


def lead(votes: Sequence[Scores]) -> tuple[Fraction, Fraction]:
    """Votes of the leader and of the runner-up; a vote for several best responses is split among them."""
    totals = [Fraction(0)] * max([2, *map(len, votes)])
    for scores in votes:
        best = [i for i, score in enumerate(scores) if score == max(scores)]
        for i in best:
            totals[i] += Fraction(1, len(best))
    totals.sort()
    return totals[-1], totals[-2]


def _stopping(name: str, k: int, rule: Rule, parallel: int) -> Deliberation:
    k = votes_of(k)
    if parallel < 0 or parallel != int(parallel):
        raise ConfigError(f"{parallel} votes in flight", hint="parallel is a whole number; 0: as needed")

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        def still(judgments: Sequence[Judgment]) -> int:
            left = k - len(judgments)
            if len(case.responses) == 1:
                return left
            votes = [j.verdict.scores for j in judgments if j.verdict.scores]
            return needed(rule, *lead(votes), left)

        judgments = await _until(ask, case, k, still, parallel)
        return decide(case, majority([j.verdict for j in judgments]), judgments)

    return Deliberation(name, deliberate)


async def _until(
    ask: Ask, case: Case, k: int, still: Callable[[Sequence[Judgment]], int], parallel: int
) -> tuple[Judgment, ...]:
    """Judgments, by sample, of asks 0, 1, ... until ``still`` needs none; asks in flight are cancelled."""
    returned: dict[int, Judgment] = {}
    flying: dict[asyncio.Future[Judgment], int] = {}
    asked = 0
    try:
        while need := still(list(returned.values())):
            while asked < k and len(flying) < (parallel or need):
                flying[asyncio.ensure_future(ask(case, None, asked))] = asked
                asked += 1
            done, _ = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                returned[flying.pop(one)] = one.result()
    finally:
        for one in flying:
            one.cancel()
        late = await asyncio.gather(*flying, return_exceptions=True)
    for sample, result in zip(flying.values(), late, strict=True):
        # It returned in the moment it was cancelled: paid, so counted.
        if isinstance(result, Judgment):
            returned[sample] = result
        elif not isinstance(result, asyncio.CancelledError):
            raise result
    return tuple(returned[sample] for sample in sorted(returned))


def _choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
