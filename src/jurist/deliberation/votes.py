"""Votes and orders: one judgment, both orders, the majority of k judgments."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar, Unpack, cast

from jurist.core.errors import ConfigError
from jurist.core.types import (
    EITHER,
    Ask,
    AskOptions,
    Case,
    Decision,
    Deliberation,
    Judgment,
    Observer,
    Order,
    Verdict,
    winner,
)
from jurist.deliberation.combine import majority, mean

T = TypeVar("T")

MOST_VOTES = 10_000
"""Most votes on one case; more is refused as a typing error."""


def once() -> Deliberation:
    """One ask in a seeded order."""

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        judgment = await ask(case)
        return decide(case, judgment.verdict, (judgment,))

    return Deliberation("once", deliberate)


def given() -> Deliberation:
    """One ask in the order of the case: position bias goes into the number."""

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        judgment = await ask(case, tuple(range(len(case.responses))))
        return decide(case, judgment.verdict, (judgment,))

    return Deliberation("given", deliberate)


def published() -> Deliberation:
    """One ask in the order in which the benchmark's published results showed the case (``meta["order"]``)."""

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        order = case.meta.get("order")
        if not isinstance(order, (list, tuple)):
            raise ConfigError(
                f"case {case.id!r} has no published order", hint="'once' or 'swapped' ask without one"
            )
        judgment = await ask(case, tuple(cast("list[int]", order)))
        return decide(case, judgment.verdict, (judgment,))

    return Deliberation("published", deliberate)


def by_number(pairs: Deliberation, many: Deliberation) -> Deliberation:
    """One deliberation for cases of up to two responses, another for more."""

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        return await (pairs if len(case.responses) < 3 else many)(ask, case, observe)

    return Deliberation(EITHER, deliberate, (pairs, many), many.takes)


def vote(k: int = 5) -> Deliberation:
    """Majority of k asks; each votes for its best response.

    Shares of the resolved votes are the scores, so an even split is a tie, (.5, .5). An unresolved vote
    abstains; when all do, the case has no verdict. Ratings (one response) are averaged.
    """
    k = votes_of(k)

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        judgments = await together(ask, case, [(None, i) for i in range(k)])
        return decide(case, majority([j.verdict for j in judgments]), judgments)

    return Deliberation("vote", deliberate)


def votes_of(k: float) -> int:
    """How many votes; raises ``ConfigError`` for what is no whole number from 1 to ``MOST_VOTES``."""
    if not 1 <= k <= MOST_VOTES or k != int(k):
        raise ConfigError(
            f"a vote of {k} asks {'nothing' if k < 1 else 'too much'}",
            hint=f"k is a whole number of at least 1, and at most {MOST_VOTES:,}",
        )
    return int(k)


def swapped(inner: Deliberation | None = None) -> Deliberation:
    """The inner deliberation in both orders; their scores are averaged.

    Two orders that contradict each other are a tie, (.5, .5). An order without a verdict is left out;
    when neither has one, the case has none.
    """

    asked = inner or once()

    async def deliberate(ask: Ask, case: Case, observe: Observer) -> Decision:
        if len(case.responses) == 1:
            return await asked(ask, case, observe)
        orders = both_orders(case)
        decisions = await gather(*[asked(_fixed(ask, order), case, observe) for order in orders])
        verdict = mean([d.verdict for d in decisions])
        return decide(case, verdict, tuple(j for d in decisions for j in d.judgments))

    return Deliberation("swapped", deliberate, (asked,), asked.takes)


def both_orders(case: Case) -> list[Order]:
    """The given order and its reverse."""
    n = len(case.responses)
    return [tuple(range(n)), tuple(reversed(range(n)))]


def decide(case: Case, verdict: Verdict, judgments: tuple[Judgment, ...]) -> Decision:
    """A decision with its agreement and what scorecards need of the case."""
    # A rating of one response says nothing about which of several is best.
    n = len(verdict.scores or ())
    winners = [winner(s) for j in judgments if (s := j.verdict.scores) and len(s) == n]
    best = winner(verdict.scores)
    agreement = sum(w == best for w in winners) / len(winners) if winners else None
    return Decision(case.id, verdict, judgments, agreement, case.gold, case.group, case.meta)


async def together(ask: Ask, case: Case, asks: Sequence[tuple[Order | None, int]]) -> tuple[Judgment, ...]:
    """All asks at once; if one raises, the others are cancelled."""
    return tuple(await gather(*[ask(case, order, sample) for order, sample in asks]))


async def gather(*awaitables: Awaitable[T]) -> list[T]:
    """Results in order; the first error cancels the rest and is raised as it is."""
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def _fixed(ask: Ask, order: Order) -> Ask:
    async def fixed(
        case: Case, shown: Order | None = None, sample: int = 0, **options: Unpack[AskOptions]
    ) -> Judgment:
        among = options.pop("among", None)
        some = shown or among
        chosen = order if some is None else tuple(i for i in order if i in some)
        return await ask(case, chosen, sample, **options)

    return fixed
