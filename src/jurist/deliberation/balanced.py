"""The balanced design: each response is shown first as often as second, and meets many others."""

from collections.abc import Sequence
from random import Random

from jurist.core.errors import ConfigError
from jurist.core.types import Ask, Case, Decision, Deliberation, Observer, Order, Scores
from jurist.deliberation.brackets import Pair, draw, pair
from jurist.deliberation.combine import mean
from jurist.deliberation.matches import Play, originals, tournament
from jurist.deliberation.tournaments import standings
from jurist.deliberation.votes import decide, together


def balanced(k: int = 4, seed: int = 0) -> Deliberation:
    """Each is shown first to k others and second to k others: k n judgments, all at once.

    The responses sit in a circle in a drawn order, and the one in seat i is shown before those in the seats
    i + d for k distances d. Every response is first exactly as often as second, so a preference for the
    first shown cancels in its mean. Different opponents come before second orders of the same pair: up to
    n = 2 k + 1 every pair meets, up to n = k + 1 in both orders, and beyond that each has 2 k opponents.
    Scores are as in ``round_robin``; a pair asked in both orders is one match. Raises ``ConfigError`` for a
    k below 1. Measured against other designs at this cost: benchmarks/group_cost.py.
    """
    if k < 1 or k != int(k):
        raise ConfigError(f"balanced({k}) asks nothing", hint="k is a whole number of at least 1")

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        players = sorted(set(originals(case.responses)))
        orders = shown_orders(draw(players, seed, case.id), int(k), f"{seed}/{case.id}")
        index = {case.responses[i]: i for i in players}

        async def match(ask: Ask, both: Case, _: Observer) -> Decision:
            first, second = (index[response] for response in both.responses)
            shown: list[Order] = [(int(a > b), int(a < b)) for a, b in orders[first, second]]
            judgments = await together(ask, both, [(order, 0) for order in shown])
            return decide(both, mean([j.verdict for j in judgments]), judgments)

        async def plan(play: Play, case: Case, players: list[int]) -> Scores:
            matches = [played.match for played in await play(sorted(orders))]
            return standings(len(case.responses), players, matches)

        return await tournament("balanced", plan, Deliberation("match", match))(ask, case, observe)

    return Deliberation("balanced", deliberate, takes=0)


def shown_orders(circle: Sequence[int], k: int, name: str) -> dict[Pair, list[Pair]]:
    """For each pair that meets, the orders in which it is shown: (first, second).

    ``circle``: the players in their seats. ``name`` seeds the choice of distances.
    """
    n = len(circle)
    orders: dict[Pair, list[Pair]] = {}
    for distance in _distances(n, k, name):
        for seat, first in enumerate(circle):
            second = circle[(seat + distance) % n]
            orders.setdefault(pair(first, second), []).append((first, second))
    return orders


def _distances(n: int, k: int, name: str) -> list[int]:
    """k distances from 1 to n - 1; d and n - d are the same pairs in the other order.

    The distance 1 links all in one circle. Those of different pairs come first, then half of an even circle
    (which shows its pairs in both orders), then the other orders.
    """
    half = [n // 2] if n % 2 == 0 and n > 1 else []
    near = list(range(2, (n - 1) // 2 + 1))
    Random(name).shuffle(near)
    once = ([1] if n > 2 else []) + near
    return (once + half + [n - d for d in once])[:k]
