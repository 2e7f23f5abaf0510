"""Best of n as a stream: who is ahead, and the choice as soon as nothing can change it any more."""

import ast
import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import wraps
from inspect import signature
from math import isfinite
from typing import Any

import msgspec

from jurist.core.types import (
    Ask,
    Case,
    Completion,
    Decision,
    Deliberation,
    Judgment,
    Record,
    Response,
    Status,
    Verdict,
    response_text,
)
from jurist.deliberation import spec
from jurist.deliberation.adaptive import DUST, settled
from jurist.deliberation.combine import mean
from jurist.deliberation.ratings import Match, share
from jurist.deliberation.tournaments import standings
from jurist.deliberation.votes import once
from jurist.judging import registry
from jurist.protocols.base import split_thinking
from jurist.rewards.group import GroupJudge, GroupResult

BEST = "knockout(swapped)"
"""How a judge of pairs chooses where nothing else was chosen."""

_COMPARES = {**dict.fromkeys(registry.TOURNAMENTS, "match"), "each": "inner"}
"""Deliberations made of comparisons (or of ratings), and which of their arguments is one of these."""


class Leading(Record, frozen=True, omit_defaults=False):
    """Who is ahead after so many comparisons; None while nobody is.

    Ahead is who has most wins above defeats (the best rating, where responses are rated alone), and stays
    it until another has more. ``compared``: matches (or ratings) that are finished.
    """

    leader: int | None
    compared: int
    final: bool = False


class Choice(Record, frozen=True, omit_defaults=False):
    """The best response by index, None unless ``status`` is ok; of several that are level the first.

    ``tied`` are all that are level at the top. ``leader`` is who was ahead at the end: without a choice
    (a deadline, a judge that failed) that is all there is. ``result`` holds the judgments; its decision
    has no gold.
    """

    best: int | None
    tied: tuple[int, ...]
    leader: int | None
    compared: int
    status: Status
    note: str
    result: GroupResult
    final: bool = True


async def choosing(
    judge: GroupJudge, case: Case, deadline: float | None = None, every: float | None = None
) -> AsyncGenerator[Leading | Choice]:
    """Who is ahead, whenever comparisons have finished, and at the end the one ``Choice``.

    It comes as soon as it can no longer change: a knockout's with its final, ``adaptive``'s when it is
    settled, a round robin's when nobody can catch the first, and then what is still asked is cancelled.
    ``every``: say who is ahead at least so often (seconds), whether or not that is news. ``deadline`` as
    in ``GroupJudge.judge``. Who closes the stream cancels the judging.
    """
    told = _Told()
    # Gold goes along when responses are set aside, so this one tells who is who; no judge sees it.
    numbered = msgspec.structs.replace(case, gold=tuple(map(float, range(len(case.responses)))))
    judging = asyncio.ensure_future(_watched(judge, told).judge(numbered, deadline))
    judging.add_done_callback(lambda _: told.news.set())
    try:
        while not judging.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await told.news.wait()
            told.news.clear()
            if not judging.done():
                yield Leading(told.leader, told.compared)
        yield _choice(case, told, judging.result())
    finally:
        judging.cancel()
        await asyncio.gather(judging, return_exceptions=True)


async def chosen(judge: GroupJudge, case: Case, deadline: float | None = None) -> Choice:
    """The choice alone; see ``choosing``."""
    async with aclosing(choosing(judge, case, deadline)) as steps:
        async for step in steps:
            if isinstance(step, Choice):
                return step
    raise AssertionError("a stream ends with its choice")


class _Told:
    """What the comparisons of one case have said so far; within it, indices are those of the judged case."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.sure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.leader: int | None = None
        self.compared = 0
        self.decided = False
        """The deliberation came to its end."""
        self._places: tuple[int, ...] = ()
        self._verdicts: dict[tuple[int, ...], Verdict] = {}
        self._shares: dict[tuple[int, int], float] = {}
        self._merits: dict[int, float] = {}
        self._left: list[int] = []
        self._settles = False

    def begin(self, case: Case, settles: bool) -> None:
        """The case as it is judged; ``settles``: everyone will have met everyone."""
        n = len(case.responses)
        self._places = tuple(map(int, case.gold or ()))
        self._left, self._settles = [n - 1] * n, settles

    def tell(self, decision: Decision) -> None:
        """A comparison has finished."""
        order = tuple(sorted(decision.judgments[0].query.order))
        verdict = _finite(decision.verdict)
        self._verdicts[order] = verdict
        if len(order) == 2:
            self._match(order[0], order[1], share(verdict.scores))
        elif verdict.scores:
            self._merits[order[0]] = verdict.scores[0]
        self.compared = len(self._verdicts)
        self._lead()
        self.news.set()
        if self._settles and any(self._left) and not self.sure.done() and self._settled():
            self.sure.set_result(None)

    def decision(self, case: Case, judgments: list[Judgment]) -> Decision:
        """Round robin's decision before its end: who cannot be caught is first."""
        n = len(case.responses)
        played = [Match(i, j, s) for (i, j), s in self._shares.items() if i < j]
        unplayed = [Match(i, j, 0.5) for j in range(n) for i in range(j) if (i, j) not in self._shares]
        scores = standings(n, range(n), [*played, *unplayed])
        verdict = msgspec.structs.replace(
            mean(list(self._verdicts.values())),
            scores=scores,
            note=f"settled after {len(played)} of {len(played) + len(unplayed)} matches",
        )
        return Decision(case.id, verdict, tuple(judgments), None, case.gold, case.group, case.meta)

    def _match(self, i: int, j: int, got: float) -> None:
        # A cascade's main judge overrules its first one on the same pair.
        before = self._shares.get((i, j), 0.5)
        if (i, j) not in self._shares:
            self._left[i] -= 1
            self._left[j] -= 1
        self._shares |= {(i, j): got, (j, i): 1 - got}
        self._merits[i] = self._merits.get(i, 0.0) + got - before
        self._merits[j] = self._merits.get(j, 0.0) - got + before

    def _lead(self) -> None:
        best = max(self._merits.values(), default=0.0)
        ahead = [self._places[i] for i, merit in self._merits.items() if merit >= best - DUST]
        if self.leader not in ahead:
            self.leader = ahead[0] if len(ahead) == 1 else None

    def _settled(self) -> bool:
        """Whether the first is first whatever is still to come; the cheap part of that question first."""
        n = len(self._left)
        merits = [self._merits.get(i, 0.0) for i in range(n)]
        low = [merit - left / 2 for merit, left in zip(merits, self._left, strict=True)]
        first = max(range(n), key=low.__getitem__)
        reach = max(merits[i] + self._left[i] / 2 for i in range(n) if i != first)
        return reach <= low[first] + DUST and settled(range(n), self._shares) is not None


def _watched(judge: GroupJudge, told: _Told) -> GroupJudge:
    """The judge, choosing, with every comparison told."""
    setup = judge.setup
    free = not setup.chosen and setup.protocol.arity == 2
    text = BEST if free else setup.config.deliberation or ""
    config = replace(setup.config, deliberation=text)
    watched = replace(setup, deliberate=_deliberation(text, told), config=config, chosen=True)
    return replace(judge, setup=watched, rating="score", reward="none")


def _deliberation(text: str, told: _Told) -> Deliberation:
    """The deliberation of a text, its comparisons told, ended where they leave no doubt."""
    makers = {
        name: _telling(maker, _COMPARES[name], told.tell) if name in _COMPARES else maker
        for name, (_, maker) in registry.DELIBERATIONS.items()
    }
    inner, settles = spec.parse(text, makers), _outermost(text) == "round_robin"

    async def deliberate(ask: Ask, case: Case) -> Decision:
        told.begin(case, settles)
        judgments: list[Judgment] = []
        running = asyncio.ensure_future(inner(_kept(ask, judgments), case))
        try:
            await asyncio.wait({running, told.sure}, return_when=asyncio.FIRST_COMPLETED)
            decision = running.result() if running.done() else told.decision(case, judgments)
            told.decided = True
            return decision
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    return deliberate


def _telling(maker: spec.Maker, argument: str, tell: Callable[[Decision], None]) -> spec.Maker:
    """The maker, each comparison of its deliberations told when it has finished."""

    @wraps(maker)
    def made(*arguments: Any, **named: Any) -> Deliberation:
        bound = signature(maker).bind(*arguments, **named)
        compare: Deliberation = bound.arguments.get(argument) or once()

        async def compared(ask: Ask, case: Case) -> Decision:
            decision = await compare(ask, case)
            tell(decision)
            return decision

        bound.arguments[argument] = compared
        return maker(*bound.args, **bound.kwargs)

    return made


def _kept(ask: Ask, judgments: list[Judgment]) -> Ask:
    async def kept(*arguments: Any, **how: Any) -> Judgment:
        judgment = await ask(*arguments, **how)
        judgments.append(judgment)
        return judgment

    return kept


def _outermost(text: str) -> str:
    """The name of the deliberation that decides many responses."""
    node = ast.parse(text.strip(), mode="eval").body
    while isinstance(node, ast.BinOp):
        node = node.right
    node = node.func if isinstance(node, ast.Call) else node
    return node.id if isinstance(node, ast.Name) else ""


def _choice(case: Case, told: _Told, result: GroupResult) -> Choice:
    decision = result.decision
    if decision is None:
        tied, verdict = _unasked(case, result)
    else:
        verdict = decision.verdict if told.decided else _late(decision.verdict)
        scores = verdict.scores or ()
        tied = tuple(i for i, s in zip(result.judged, scores, strict=False) if s == max(scores))
        result = msgspec.structs.replace(result, decision=msgspec.structs.replace(decision, gold=None))
    best = tied[0] if tied else None
    leader = told.leader if best is None else best
    return Choice(best, tied, leader, told.compared, verdict.status, verdict.note, result)


def _late(verdict: Verdict) -> Verdict:
    return Verdict(status=Status.TRUNCATED, note=verdict.note)


def _unasked(case: Case, result: GroupResult) -> tuple[tuple[int, ...], Verdict]:
    """The best by the rule; else all that are not empty: nobody was asked because they are the same."""
    if known := [rating for rating in result.ratings if rating is not None]:
        best = max(known)
        return tuple(i for i, r in enumerate(result.ratings) if r == best), Verdict(note="by rule")
    tied = tuple(i for i, response in enumerate(case.responses) if _legible(response))
    if tied:
        return tied, Verdict(note="nothing to compare: what is not empty is the same")
    return (), Verdict(status=Status.REFUSED, note="nothing to choose from: every response is empty")


def _legible(response: Response) -> bool:
    answer = split_thinking(Completion(response_text(response)))[1]
    return any(c.isprintable() and not c.isspace() for c in answer)


def _finite(verdict: Verdict) -> Verdict:
    if verdict.scores and not all(map(isfinite, verdict.scores)):
        return Verdict(status=Status.UNPARSED, note="a score is not a number")
    return verdict
