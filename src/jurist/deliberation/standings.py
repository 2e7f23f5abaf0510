"""From the matches of a tournament to a score per response whose best is the champion."""

from collections.abc import Sequence

from jurist.ratings import Match, win_rate
from jurist.types import Scores

NUDGE = 1e-6
"""What those lose who are tied at the top by win rate and lose the tie-break."""


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
