"""Adaptive pairing: finds the pick of a round robin by playing only matches that can still change it."""

from collections.abc import Sequence
from itertools import accumulate
from math import ceil, exp, fsum, isclose, log2, pi, sqrt

from msgspec.structs import replace

from jurist.core.errors import ConfigError
from jurist.core.types import Ask, Case, Decision, Deliberation, Observer, Scores
from jurist.deliberation.brackets import Pair, draw, everyone, neighbours, pair
from jurist.deliberation.matches import Play, tournament
from jurist.deliberation.ratings import Match, bradley_terry
from jurist.deliberation.tournaments import NUDGE, standings
from jurist.deliberation.votes import once

Shares = dict[tuple[int, int], float]
"""The score of the first player against the second, played or expected, in both directions."""

DUST = 1e-9
"""Sums of shares that are closer than this are equal."""

TINY = 1e-9
"""A probability below this counts as 0."""

CYCLE = 0.05
"""The probability that a head-to-head leaves two level players undecided, since a third is level too."""

LEAST = 3
"""Matches of a round, but for the last."""


def adaptive(budget: int = 0, match: Deliberation | None = None, seed: int = 0) -> Deliberation:
    """Mostly the best response of a round robin, at a third of its matches for n = 16.

    It begins with a knockout (ties and matches without a verdict go to the earlier place). Then each round
    plays a quarter of the remaining budget, at least 3 matches, between responses that can still become
    first and opponents against which the result is open: for n = 16 at most 10 rounds, 6 to 9 on average.
    No pair meets twice. It ends when the budget is spent, or before when no other response can reach the
    first: then the best response is exactly that of ``round_robin``, and the verdict's note says so.

    ``budget``: matches of one case; 0 is 5/8 n log2 n, rounded up (40 for n = 16, 15 for 8, 100 for 32).
    With n (n - 1) / 2 or more it is a round robin. Scores are win rates, with the expected result of each
    match that was not played (``bradley_terry``); scores that would reach the first are set 1e-6 below it. A
    match without a verdict counts half for both, as in ``round_robin``; all else is as in ``knockout``.
    Raises ``ConfigError`` for a budget below the n - 1 of a knockout. How often it agrees with a round
    robin: benchmarks/adaptive.py. Choosing the pairs of a case takes 15 ms for n = 16, 0.6 s for 64 and 4 s
    for 128: for hundreds of responses use ``knockout`` or ``swiss``.
    """
    if budget < 0 or budget != int(budget):
        raise ConfigError(f"adaptive({budget})", hint="budget is a number of matches; 0: 5/8 n log2 n")

    by = match or once()

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        notes: list[str] = []

        async def plan(play: Play, case: Case, players: list[int]) -> Scores:
            most = len(players) * (len(players) - 1) // 2
            limit = min(most, _limit(budget, len(players), case))
            matches = await _search(play, players, draw(players, seed, case.id), limit)
            if 0 < len(matches) < most and settled(players, shares(matches)) is not None:
                notes.append(f"settled after {len(matches)} of {most} matches")
            return projection(len(case.responses), players, matches)

        decision = await tournament("adaptive", plan, by)(ask, case, observe)
        note = "; ".join(filter(None, [decision.verdict.note, *notes]))
        return replace(decision, verdict=replace(decision.verdict, note=note))

    return Deliberation("adaptive", deliberate, (by,), takes=0)


def shares(matches: Sequence[Match]) -> Shares:
    """The matches as a table."""
    first = {(m.first, m.second): m.score for m in matches}
    return first | {(m.second, m.first): 1 - m.score for m in matches}


def settled(players: Sequence[int], got: Shares) -> int | None:
    """The player that is first in the round robin whatever the results of the remaining matches, or None.

    No other player may be able to reach its present score; players that it beat outright may draw level
    with it, since it wins the head-to-head against them.
    """
    now = {i: fsum(got.get((i, j), 0) for j in players) for i in players}
    reach = {i: now[i] + sum((i, j) not in got for j in players) - 1 for i in players}

    def behind(i: int, first: int) -> bool:
        return reach[i] < now[first] - DUST or (reach[i] <= now[first] and got.get((first, i)) == 1)

    return next((f for f in players if all(i == f or behind(i, f) for i in players)), None)


def expected(n: int, players: Sequence[int], matches: Sequence[Match]) -> Shares:
    """What is expected of the matches that were not played, by Bradley-Terry strengths.

    The strengths' errors draw the logistic curve towards one half: MacKay 1992, Neural Computation 4(5).
    """
    got, strengths = shares(matches), bradley_terry(n, matches)
    values, errors = strengths.values, strengths.errors
    odds: Shares = {}
    for i, j in everyone(players):
        if (i, j) not in got:
            variance = errors[i] ** 2 + errors[j] ** 2
            chance = 1 / (1 + exp((values[j] - values[i]) / sqrt(1 + pi * variance / 8)))
            odds |= {(i, j): chance, (j, i): 1 - chance}
    return odds


def chances(players: Sequence[int], got: Shares, odds: Shares) -> dict[int, float]:
    """Each player's chance to be first in the round robin, up to a common factor.

    ``odds``: of the matches still to be played; they are taken as independent, and so are the players.
    Of two level players the winner of their match is first, but for ``CYCLE``.
    """
    now = {i: fsum(got.get((i, j), 0) for j in players) for i in players}
    more = {i: _wins([odds[i, j] for j in players if (i, j) in odds]) for i in players}
    below = {i: [0.0, *accumulate(more[i])] for i in players}
    ahead = {both: CYCLE + (1 - 2 * CYCLE) * share for both, share in (odds | got).items()}

    def overtaken(i: int, j: int, score: float) -> float:
        """The chance that j ends behind a score of i's."""
        gap = score - now[j]
        level = round(gap)
        if abs(gap - level) > DUST:
            return below[j][min(max(ceil(gap), 0), len(more[j]))]
        draws = more[j][level] if 0 <= level < len(more[j]) else 0.0
        return below[j][min(max(level, 0), len(more[j]))] + draws * ahead[i, j]

    # The strong first: they soon make the chance of the weak too small to go on with.
    ranking = sorted(players, key=lambda i: -now[i] - sum(k * p for k, p in enumerate(more[i])))

    def first(i: int, score: float, chance: float) -> float:
        for j in ranking:
            if chance < TINY:
                return 0.0
            chance *= overtaken(i, j, score) if i != j else 1
        return chance

    return {i: fsum(first(i, now[i] + k, p) for k, p in enumerate(more[i])) for i in players}


def next_round(n: int, players: Sequence[int], matches: Sequence[Match], most: int) -> list[Pair]:
    """Up to ``most`` pairs who did not meet: contenders, against those whom they may or may not beat.

    A pair counts the roots of both chances to be first, times the variance of its result. The root gives
    those a hearing whom the model, which never fits quite, has written off.
    """
    odds = expected(n, players, matches)
    chance = chances(players, shares(matches), odds)
    weight = {i: sqrt(chance[i]) for i in players}
    value = {(i, j): (weight[i] + weight[j]) * p * (1 - p) for (i, j), p in odds.items() if i < j}
    return sorted(value, key=lambda both: (-value[both], both))[:most]


def projection(n: int, players: Sequence[int], matches: Sequence[Match]) -> Scores:
    """Scores of n responses as if all matches had been played; the likeliest to be first is the best."""
    got, odds = shares(matches), expected(n, players, matches)
    unplayed = [Match(i, j, share) for (i, j), share in odds.items() if i < j]
    rates = standings(n, players, [*matches, *unplayed])
    picks = _picks(players, got, odds) if odds else players
    best = max(rates[i] for i in picks)
    return tuple(rate if i in picks else min(rate, best - NUDGE) for i, rate in enumerate(rates))


def _picks(players: Sequence[int], got: Shares, odds: Shares) -> list[int]:
    """Who is first for certain, or likeliest to be."""
    if (sure := settled(players, got)) is not None:
        return [sure]
    chance = chances(players, got, odds)
    best = max(chance.values())
    return [i for i in players if isclose(chance[i], best)]


async def _search(play: Play, players: list[int], drawn: list[int], limit: int) -> list[Match]:
    alive, matches = drawn, list[Match]()
    while len(alive) > 1:
        meetings = neighbours(alive)
        played = [p.match for p in await play([pair(a, b) for a, b in meetings])]
        matches, got = matches + played, shares(played)
        # The odd one out goes first in the next round, so that nobody rests twice running.
        alive = alive[len(meetings) * 2 :] + [a if got[a, b] >= 0.5 else b for a, b in meetings]
    while len(matches) < limit and settled(players, shares(matches)) is None:
        left = limit - len(matches)
        pairs = next_round(max(players) + 1, players, matches, min(left, max(LEAST, ceil(left / 4))))
        matches += [p.match for p in await play(pairs)]
    return matches


def _limit(budget: int, n: int, case: Case) -> int:
    if 0 < budget < n - 1:
        raise ConfigError(
            f"adaptive({budget}) cannot compare {n} responses (case {case.id!r})",
            hint=f"a knockout alone is {n - 1} matches; adaptive without a budget takes {_usual(n)}",
        )
    return int(budget) or _usual(n)


def _usual(n: int) -> int:
    return ceil(n * log2(n) * 5 / 8)


def _wins(odds: Sequence[float]) -> list[float]:
    """The chances of 0, 1, ... wins in matches with these odds."""
    wins = [1.0]
    for p in odds:
        wins = [a * (1 - p) + b * p for a, b in zip([*wins, 0.0], [0.0, *wins], strict=True)]
    return wins
