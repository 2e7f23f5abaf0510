"""Pairings of tournaments, as pure functions of players, results and a seed."""

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from random import Random
from typing import TypeVar

T = TypeVar("T")

Pair = tuple[int, int]
"""Two players, the lower index first."""


def pair(a: int, b: int) -> Pair:
    """The pair of two players, whichever is named first."""
    return (a, b) if a < b else (b, a)


def draw(players: Iterable[int], seed: int, name: str = "") -> list[int]:
    """The players in a random order, which depends on them, the seed and the name alone.

    The name is that of the case, so that byes and pivots differ from case to case.
    """
    drawn = sorted(players)
    Random(f"{seed}/{name}").shuffle(drawn)
    return drawn


def bracket(entrants: Sequence[int]) -> list[int | None]:
    """The places of a knockout: neighbours meet, then their winners; None is a bye.

    The field is filled up to a power of two by byes, one at most for each player, all in the first round;
    the first entrants have them. n entrants play n - 1 matches.
    """
    size = 1 << (len(entrants) - 1).bit_length()
    byes = size - len(entrants)
    places: list[int | None] = []
    for entrant in entrants[:byes]:
        places += [entrant, None]
    return [*places, *entrants[byes:]]


def neighbours(places: Sequence[T]) -> list[tuple[T, T]]:
    """First with second, third with fourth, and so on; an odd one out is left out."""
    return list(zip(places[::2], places[1::2], strict=False))


def everyone(players: Sequence[int]) -> list[Pair]:
    """Each against each."""
    return [pair(a, b) for a, b in combinations(players, 2)]


def against(pivot: int, players: Iterable[int]) -> list[Pair]:
    """One against all others."""
    return [pair(pivot, p) for p in players if p != pivot]


def ring(drawn: Sequence[int], k: int, seed: int, name: str = "") -> list[Pair]:
    """Each meets k others; no pair twice. ``drawn`` is a random order, so each pair is as likely.

    The players form a circle and meet those at fixed distances: 1, which connects all of them, and random
    ones. If n and k are odd, one player meets k + 1; from k = n - 1 on all meet all.
    """
    n = len(drawn)
    if k >= n - 1:
        return everyone(drawn)
    # The distances that are left beside that of opposites.
    near = (n - 1) // 2 - (n % 2 and k % 2)
    rest = Random(f"{seed}/{name}/ring").sample(range(2, near + 1), max(0, k // 2 - 1)) if k > 3 else []
    distances = [1, *rest] if k > 1 else []
    pairs = [pair(drawn[i], drawn[(i + d) % n]) for d in distances for i in range(n)]
    if k % 2:
        # Opposite players meet; with an odd number of players one of them has two opposites.
        pairs += [pair(drawn[i], drawn[i + n // 2]) for i in range((n + 1) // 2)]
    return pairs


def swiss_round(ranking: Sequence[int], met: Collection[Pair], rested: Collection[int]) -> list[Pair]:
    """Neighbours in the ranking meet, without a rematch; of an odd number the lowest one not rested rests.

    A pairing of all players is found as long as each has met fewer than half of the others. If there is
    none, players without a possible opponent are left out; in an empty round all have met all.
    """
    field = list(ranking)
    if len(field) % 2:
        resting = next((p for p in reversed(field) if p not in rested), field[-1])
        field.remove(resting)
    return _matched(field, met) or _repaired(_greedy(field, met), field, met) or _greedy(ranking, met)


def _matched(field: list[int], met: Collection[Pair], tries: int = 10_000) -> list[Pair] | None:
    """All of the field paired, each with the nearest possible; depth first, without recursion."""
    left, pairs = [field], list[Pair]()
    # choices[d]: which partner of the first of left[d] is tried next.
    choices = [1]
    while left[-1]:
        tries -= 1
        top, *others = left[-1]
        partner = next(
            (i for i in range(choices[-1], len(others) + 1) if pair(top, others[i - 1]) not in met), 0
        )
        if not tries:
            return None
        if partner:
            choices[-1] = partner + 1
            pairs.append(pair(top, others[partner - 1]))
            left.append(others[: partner - 1] + others[partner:])
            choices.append(1)
        elif not pairs:
            return None
        else:
            left.pop()
            choices.pop()
            pairs.pop()
    return pairs


def _repaired(pairs: list[Pair], field: Sequence[int], met: Collection[Pair]) -> list[Pair] | None:
    """All players paired: two without an opponent each take one of another pair; None if that is impossible.

    If they have met fewer than half of the others, there always is such a pair (Dirac's argument).
    """
    left = [p for p in field if all(p not in both for both in pairs)]
    while left:
        a, b = left[:2]
        ways = [(both, (pair(a, both[i]), pair(b, both[1 - i]))) for both in reversed(pairs) for i in (0, 1)]
        swap = next((way for way in ways if not any(new in met for new in way[1])), None)
        if swap is None:
            return None
        pairs = [p for p in pairs if p != swap[0]] + list(swap[1])
        left = left[2:]
    return pairs


def _greedy(ranking: Sequence[int], met: Collection[Pair]) -> list[Pair]:
    waiting, pairs = list(ranking), list[Pair]()
    while waiting:
        top = waiting.pop(0)
        other = next((p for p in waiting if pair(top, p) not in met), None)
        if other is not None:
            waiting.remove(other)
            pairs.append(pair(top, other))
    return pairs
