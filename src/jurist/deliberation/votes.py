"""Votes and orders: one ask, both orders, majority of k, and their composition."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast

from jurist.core.errors import ConfigError
from jurist.core.types import (
    Ask,
    Case,
    Decision,
    Deliberation,
    Judgment,
    Order,
    Verdict,
    winner,
)
from jurist.deliberation.combine import majority, mean

T = TypeVar("T")


def once() -> Deliberation:
    """One ask in a seeded order."""

    async def deliberate(ask: Ask, case: Case) -> Decision:
        judgment = await ask(case)
        return decide(case, judgment.verdict, (judgment,))

    return deliberate


def given() -> Deliberation:
    """One ask in the order of the case: position bias goes into the number."""

    async def deliberate(ask: Ask, case: Case) -> Decision:
        judgment = await ask(case, tuple(range(len(case.responses))))
        return decide(case, judgment.verdict, (judgment,))

    return deliberate


def published() -> Deliberation:
    """One ask in the order in which the benchmark's published results showed the case (``meta["order"]``)."""

    async def deliberate(ask: Ask, case: Case) -> Decision:
        order = case.meta.get("order")
        if not isinstance(order, (list, tuple)):
            raise ConfigError(
                f"case {case.id!r} has no published order", hint="'once' or 'swapped' ask without one"
            )
        judgment = await ask(case, tuple(cast("list[int]", order)))
        return decide(case, judgment.verdict, (judgment,))

    return deliberate


def by_number(pairs: Deliberation, many: Deliberation) -> Deliberation:
    """One deliberation for cases of up to two responses, another for more."""

    async def deliberate(ask: Ask, case: Case) -> Decision:
        return await (pairs if len(case.responses) < 3 else many)(ask, case)

    return deliberate


def vote(k: int = 5) -> Deliberation:
    """Majority of k asks; each votes for its best response.

    Shares of the resolved votes are the scores, so an even split is a tie, (.5, .5). An unresolved vote
    abstains; when all do, the case has no verdict. Ratings (one response) are averaged.
    """
    if k < 1:
        raise ConfigError(f"vote({k}) asks nothing", hint="vote(k) needs k of at least 1")

    async def deliberate(ask: Ask, case: Case) -> Decision:
        judgments = await together(ask, case, [(None, i) for i in range(k)])
        return decide(case, majority([j.verdict for j in judgments]), judgments)

    return deliberate


def swapped(inner: Deliberation | None = None) -> Deliberation:
    """The inner deliberation in both orders; their scores are averaged.

    Two orders that contradict each other are a tie, (.5, .5). An order without a verdict is left out;
    when neither has one, the case has none.
    """

    async def deliberate(ask: Ask, case: Case) -> Decision:
        if len(case.responses) == 1:
            return await (inner or once())(ask, case)
        orders = both_orders(case)
        decisions = await gather(*[(inner or once())(_fixed(ask, order), case) for order in orders])
        verdict = mean([d.verdict for d in decisions])
        return decide(case, verdict, tuple(j for d in decisions for j in d.judgments))

    return deliberate


def both_orders(case: Case) -> list[Order]:
    """The given order and its reverse."""
    n = len(case.responses)
    return [tuple(range(n)), tuple(reversed(range(n)))]


def decide(case: Case, verdict: Verdict, judgments: tuple[Judgment, ...]) -> Decision:
    """A decision with its agreement and what scorecards need of the case."""
    # A rating of one response says nothing about which of several is best.
    n = len(verdict.scores or ())
    said = [winner(s) for j in judgments if (s := j.verdict.scores) and len(s) == n]
    best = winner(verdict.scores)
    agreement = sum(w == best for w in said) / len(said) if said else None
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
        case: Case, shown: Order | None = None, sample: int = 0, among: Order | None = None, **how: Any
    ) -> Judgment:
        some = shown or among
        chosen = order if some is None else tuple(i for i in order if i in some)
        return await ask(case, chosen, sample, **how)

    return fixed
