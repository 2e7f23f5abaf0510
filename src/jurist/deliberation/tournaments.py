"""Tournaments: which of n responses is best, by a judge of pairs.

From the matches of a tournament to a score per response whose best is the champion.
"""

from collections.abc import Sequence
from math import ceil, log2

from jurist.core.errors import ConfigError
from jurist.core.types import Case, Deliberation, Scores
from jurist.deliberation.brackets import (
    Pair,
    against,
    bracket,
    draw,
    everyone,
    neighbours,
    pair,
    ring,
    swiss_round,
)
from jurist.deliberation.matches import Play, tournament
from jurist.deliberation.ratings import Match, win_rate


def knockout(match: Deliberation | None = None, seed: int = 0) -> Deliberation:
    """Winners advance until one is left: n - 1 matches for n different responses, byes as needed.

    The bracket is random: a function of the seed, the case's id and n. Scores: rounds survived over all
    rounds, so the champion has 1. A match that is tied or has no verdict is won by the better record so
    far (mean share of its matches; half without any), else by the earlier place in the bracket.

    What holds for all tournaments: ``match`` is the deliberation of one match (``once``, where none is
    given) and sees a case of two responses. Identical responses play as one and share their score. The
    verdict's note counts the matches without a verdict; where no match has one, the case has none,
    with the commonest reason. A single response wins without a match. ``Decision.agreement``: the share
    of resolved judgments that prefer the response with the higher final score.
    """

    def entrants(case: Case) -> Sequence[int]:
        return draw(range(len(case.responses)), seed, case.id)

    return tournament(
        "knockout", lambda play, case, players: play_knockout(play, case, players, entrants(case)), match
    )


def round_robin(match: Deliberation | None = None, most: int = 5000) -> Deliberation:
    """Each against each: n (n - 1) / 2 matches, all at once.

    Scores are win rates (mean share over a response's matches; a match without a verdict is half for
    both). Ties at the top are broken by head-to-head, then Sonneborn-Berger, and cost the beaten 1e-6;
    what neither separates stays a tie. All else is as in ``knockout``. Raises ``ConfigError`` where
    there would be more than ``most`` matches.
    """

    async def plan(play: Play, case: Case, players: list[int]) -> Scores:
        n = len(players)
        if (matches := n * (n - 1) // 2) > most:
            raise ConfigError(
                f"a round robin of {n} responses is {matches} matches, more than {most} (case {case.id!r})",
                hint=f"round_robin(most={matches}) if you mean it; knockout plays {n - 1}, "
                f"swiss {_rounds(n) * (n // 2)}",
            )
        return await _one_round(play, case, players, everyone(players))

    return tournament("round_robin", plan, match)


def random_opponents(k: int = 4, match: Deliberation | None = None, seed: int = 0) -> Deliberation:
    """Each meets k random others, no pair twice: k n / 2 matches, all at once; scored as ``round_robin``.

    If k and n are odd, one response meets k + 1; from k = n - 1 on it is a round robin.
    """
    if k < 1 or k != int(k):
        raise ConfigError(f"random_opponents({k}) plays nothing", hint="k is a whole number of at least 1")

    async def plan(play: Play, case: Case, players: list[int]) -> Scores:
        drawn = draw(players, seed, case.id)
        return await _one_round(play, case, players, ring(drawn, k, seed, case.id))

    return tournament("random_opponents", plan, match)


def pivot(match: Deliberation | None = None, seed: int = 0) -> Deliberation:
    """One random response against all others: n - 1 matches, all at once; scored as ``round_robin``.

    All that beat the pivot tie at the top: this is a cheap reward, and does not find the best.
    """

    async def plan(play: Play, case: Case, players: list[int]) -> Scores:
        chosen = draw(players, seed, case.id)[0]
        return await _one_round(play, case, players, against(chosen, players))

    return tournament("pivot", plan, match)


def swiss(rounds: int = 0, match: Deliberation | None = None, seed: int = 0) -> Deliberation:
    """Rounds in which responses of similar win rate meet, without rematches; scored as ``round_robin``.

    ``rounds``: 0 is log2 n, rounded up, and one more: for n = 16 a third of a round robin's matches. The
    first round is drawn at random. Of an odd number the lowest response that has not rested yet rests, which
    is not counted. It ends early when all have met all.
    """
    if rounds < 0 or rounds != int(rounds):
        raise ConfigError(f"swiss({rounds})", hint="rounds is a whole number; 0: log2 n, rounded up, and 1")

    async def plan(play: Play, case: Case, players: list[int]) -> Scores:
        n, drawn = len(case.responses), draw(players, seed, case.id)
        matches: list[Match] = []
        rested: set[int] = set()
        for _ in range(rounds or _rounds(len(players))):
            rates = win_rate(n, matches)
            ranking = sorted(drawn, key=lambda player: -rates[player])
            pairs = swiss_round(ranking, {(m.first, m.second) for m in matches}, rested)
            if not pairs:
                break
            matches += [played.match for played in await play(pairs)]
            rested |= set(players) - {player for both in pairs for player in both}
        return standings(n, players, matches)

    return tournament("swiss", plan, match)


async def _one_round(play: Play, case: Case, players: list[int], pairs: Sequence[Pair]) -> Scores:
    matches = [played.match for played in await play(pairs)]
    return standings(len(case.responses), players, matches)


async def play_knockout(play: Play, case: Case, players: list[int], entrants: Sequence[int]) -> Scores:
    """The scores of ``knockout`` along the bracket in which neighbours among ``entrants`` meet first."""
    alive = bracket([e for e in entrants if e in set(players)])
    rounds = len(alive).bit_length() - 1
    survived = [0] * len(case.responses)
    matches: list[Match] = []
    while len(alive) > 1:
        meetings = neighbours(alive)
        played = await play([pair(a, b) for a, b in meetings if a is not None and b is not None])
        won = {p.pair: p.winner for p in played}
        rates = win_rate(len(case.responses), matches)
        alive = [_advances(meeting, won, rates) for meeting in meetings]
        matches += [p.match for p in played]
        for player in alive:
            survived[player] += 1
    return tuple(s / rounds if rounds else 1.0 for s in survived)


def _advances(meeting: tuple[int | None, int | None], won: dict[Pair, int | None], rates: Scores) -> int:
    a, b = meeting
    if a is None or b is None:
        # Only first rounds have byes, and never two of them meet.
        return next(player for player in meeting if player is not None)
    best = won[pair(a, b)]
    if best is not None:
        return best
    return b if rates[b] > rates[a] else a


def _rounds(n: int) -> int:
    return ceil(log2(n)) + 1 if n > 1 else 0


NUDGE = 1e-6
"""How much is taken from the score of players who are tied at the top and lose the tie-break."""


def standings(n: int, players: Sequence[int], matches: Sequence[Match]) -> Scores:
    """Win rates of n responses, those tied at the top set apart by ``NUDGE``; 1 for a lone player.

    A tie at the top goes to the better record in the matches among the tied (head-to-head), then to the
    better Sonneborn-Berger score (the mean, over a player's matches, of its share times the opponent's
    win rate). What neither separates, such as a cycle, stays a tie: a seed would only pretend to know.
    """
    if len(players) == 1:
        return tuple(float(i in players) for i in range(n))
    rates = win_rate(n, matches)
    best = max(rates[p] for p in players)
    top = {p for p in players if rates[p] == best}
    merits = {p: (_among(p, top, matches), _sonneborn_berger(p, rates, matches)) for p in top}
    beaten = {p for p in top if merits[p] < max(merits.values())}
    return tuple(rate - NUDGE if i in beaten else rate for i, rate in enumerate(rates))


def shares(player: int, matches: Sequence[Match]) -> list[tuple[int, float]]:
    """The opponents of a player, and what it got against each."""
    first = [(m.second, m.score) for m in matches if m.first == player]
    return first + [(m.first, 1 - m.score) for m in matches if m.second == player]


def _among(player: int, tied: set[int], matches: Sequence[Match]) -> float:
    """Wins above half in the matches among the tied."""
    return round(sum(share - 0.5 for other, share in shares(player, matches) if other in tied), 9)


def _sonneborn_berger(player: int, rates: Scores, matches: Sequence[Match]) -> float:
    met = shares(player, matches)
    return round(sum(share * rates[other] for other, share in met) / (len(met) or 1), 9)
