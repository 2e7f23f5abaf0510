"""Position: what it is worth to be shown first."""

from collections.abc import Iterable, Iterator, Sequence

from jurist.benchmarks.base import by_order
from jurist.core.statistics import paired_difference
from jurist.core.types import Order, winner
from jurist.reports.audit.findings import (
    Finding,
    Item,
    best_of_two,
    gap,
    one_or_many,
    pairs,
    percent,
    points,
    proportion,
)

GIVEN: Order = (0, 1)
REVERSED: Order = (1, 0)

Game = tuple[int | None, int | None]
"""(winner, right response) of one order; None is a tie, or gold that does not say."""


def position(items: Iterable[Item]) -> list[Finding]:
    """Consistency of both orders, and the pull of the first place.

    Pairs judged in both orders are their own control; where there are any, only they count. Of pairs judged
    in one order only the gold can tell a pull from a judge that happens to be right: there the accuracy by
    the place of the right response is compared.
    """
    both: list[tuple[int | None, int | None]] = []
    single: list[tuple[Order, Game]] = []
    for item in pairs(items):
        winners = {order: winner(v.scores) for order, v in by_order(item.decision).items() if v.scores}
        if GIVEN in winners and REVERSED in winners:
            both.append((winners[GIVEN], winners[REVERSED]))
        else:
            right = best_of_two(item.decision.gold)
            single += [(order, (best, right)) for order, best in winners.items()]
    return list(_both(both) if both else _single(single))


def _both(winners: Sequence[tuple[int | None, int | None]]) -> Iterator[Finding]:
    n, same = len(winners), sum(given == reverse for given, reverse in winners)
    value, interval = proportion(same, n)
    text = f"Asked in both orders, the judge says the same in {percent(value, interval, n)} of "
    yield Finding("consistency", f"{text}{one_or_many(n, 'pair')}.", value, n, interval)
    decided = [pair for pair in winners if None not in pair]
    if decided:
        yield from _pull(decided.count((0, 1)), decided.count((1, 0)), len(decided))


def _pull(first: int, last: int, n: int) -> Iterator[Finding]:
    """``first`` and ``last``: pairs in which the response shown first (last) won both orders."""
    value, interval = proportion(first + last, n)
    text = (
        f"Position alone decided {percent(value, interval, n)} of the {one_or_many(n, 'pair')} with a winner "
        f"in both orders: the response shown first won both in {first:,}, the one shown last in {last:,}."
    )
    yield Finding("position_decided", text, value, n, interval)
    low, high = paired_difference(first, last, n)
    value, interval = 0.5 + (first - last) / (2 * n), (0.5 + low / 2, 0.5 + high / 2)
    text = f"In these the response shown first wins {percent(value, interval, n)} of the games; half is fair."
    yield Finding("first_shown_wins", text, value, n, interval, neutral=0.5)


def _single(games: Sequence[tuple[Order, Game]]) -> Iterator[Finding]:
    won = [order[0] == best for order, (best, _) in games if best is not None]
    if not won:
        return
    n = len(won)
    value, interval = proportion(sum(won), n)
    text = (
        f"Of {one_or_many(n, 'pair')} judged in one order, the response shown first wins "
        f"{percent(value, interval, n)}."
    )
    yield Finding("first_shown_wins_single", text, value, n, interval)
    # A tie is wrong here, as it is for accuracy.
    placed = [(order[0] == right, best == right) for order, (best, right) in games if right is not None]
    first = [ok for shown_first, ok in placed if shown_first]
    last = [ok for shown_first, ok in placed if not shown_first]
    if diff := gap(sum(first), len(first), sum(last), len(last)):
        text = (
            f"It is right in {diff.k1:,}/{diff.n1:,} when the right response is shown first and in "
            f"{diff.k2:,}/{diff.n2:,} when it is shown last: {points(diff.value, diff.interval)}."
        )
        yield Finding("first_is_right_gap", text, diff.value, len(placed), diff.interval, neutral=0.0)
