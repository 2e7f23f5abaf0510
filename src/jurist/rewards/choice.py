"""Best of n as a stream: which response leads, and the choice as soon as it can no longer change."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from math import isfinite

import msgspec

from jurist.core.types import (
    Ask,
    Case,
    Compared,
    Decision,
    Deliberation,
    Judgment,
    Observer,
    Record,
    Status,
    Verdict,
    response_text,
)
from jurist.deliberation.adaptive import DUST, settled
from jurist.deliberation.combine import mean
from jurist.deliberation.ratings import Match, share
from jurist.deliberation.tournaments import standings
from jurist.judging import registry
from jurist.rewards.group import GroupJudge, GroupResult
from jurist.rewards.policy import ResponsePolicy, legible

BEST = "knockout(swapped)"
"""The default deliberation of a judge of pairs."""


class Leading(Record, frozen=True, omit_defaults=False):
    """The response that leads after so many comparisons; None while none does.

    The leader has most wins above defeats (the best rating, if responses are rated alone), and stays
    it until another has more. ``compared``: matches (or ratings) that are finished.
    """

    leader: int | None
    compared: int
    final: bool = False


class Choice(Record, frozen=True, omit_defaults=False):
    """The best response by index, None unless ``status`` is ok; of several that are level the first.

    ``tied`` are all that are level at the top. ``leader`` led at the end: without a choice (a deadline, a
    judge that failed) it is the only answer. ``result`` holds the judgments.
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
    """The leader, whenever comparisons have finished, and at the end the one ``Choice``.

    The choice comes as soon as it can no longer change: of a knockout with its final, of ``adaptive`` when
    it is settled, of a round robin when no response can overtake the first. Requests in flight are cancelled.
    ``every``: report the leader at least so often (seconds), also if it is the same. ``deadline`` as
    in ``GroupJudge.judge``. Closing the stream cancels the judging.
    """
    race = _Race()
    chooser = _chooser(judge, race)
    race.places = chooser.judged(case)
    judging = asyncio.ensure_future(chooser.judge(case, deadline))
    judging.add_done_callback(lambda _: race.news.set())
    try:
        while not judging.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await race.news.wait()
            race.news.clear()
            if not judging.done():
                yield Leading(race.leader, race.compared)
        yield _choice(case, race, judging.result())
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


class _Race:
    """What the comparisons of one case have said so far, in terms of the responses that are judged."""

    def __init__(self) -> None:
        self.places: tuple[int, ...] = ()
        """The index in the request of each judged response."""
        self.news = asyncio.Event()
        self.certain = asyncio.Event()
        """Whether no response can overtake the first of the round robin any more."""
        self.ended = False
        """Whether the deliberation ended, or need not go on."""
        self.leader: int | None = None
        """The leader, by its index in the request."""
        self.judgments: dict[tuple[int, ...], tuple[Judgment, ...]] = {}
        self._verdicts: dict[tuple[int, ...], Verdict] = {}
        self._shares: dict[tuple[int, int], float] = {}
        self._merits: dict[int, float] = {}
        self._unplayed: list[int] = []
        self._all_meet = False

    @property
    def compared(self) -> int:
        """Matches or ratings that have finished."""
        return len(self._verdicts)

    def begin(self, n: int, *, all_meet: bool) -> None:
        """So many responses are judged; ``all_meet``: each will have met each."""
        self._unplayed, self._all_meet = [n - 1] * n, all_meet

    def observe(self, comparison: Compared) -> None:
        """A comparison has finished."""
        responses, verdict = comparison.responses, _finite(comparison.verdict)
        # A cascade's main judge overrules its first one on the same pair.
        self._verdicts[responses], self.judgments[responses] = verdict, comparison.judgments
        if len(responses) == 2:
            self._count_match(responses[0], responses[1], share(verdict.scores))
        elif verdict.scores:
            self._merits[responses[0]] = verdict.scores[0]
        self._update_leader()
        self.news.set()
        if self._all_meet and any(self._unplayed) and self._is_settled():
            self.certain.set()

    def decision(self, case: Case) -> Decision:
        """Round robin's decision before its end: the response that cannot be overtaken is first."""
        n = len(case.responses)
        played = [Match(i, j, s) for (i, j), s in self._shares.items() if i < j]
        unplayed = [Match(i, j, 0.5) for j in range(n) for i in range(j) if (i, j) not in self._shares]
        verdict = msgspec.structs.replace(
            mean(list(self._verdicts.values())),
            scores=standings(n, range(n), [*played, *unplayed]),
            note=f"settled after {len(played)} of {len(played) + len(unplayed)} matches",
        )
        judgments = tuple(judgment for judgments in self.judgments.values() for judgment in judgments)
        return Decision(case.id, verdict, judgments, None, case.gold, case.group, case.meta)

    def _count_match(self, i: int, j: int, score: float) -> None:
        before = self._shares.get((i, j), 0.5)
        if (i, j) not in self._shares:
            self._unplayed[i] -= 1
            self._unplayed[j] -= 1
        self._shares |= {(i, j): score, (j, i): 1 - score}
        self._merits[i] = self._merits.get(i, 0.0) + score - before
        self._merits[j] = self._merits.get(j, 0.0) - score + before

    def _update_leader(self) -> None:
        best = max(self._merits.values(), default=0.0)
        ahead = [self.places[i] for i, merit in self._merits.items() if merit >= best - DUST]
        if self.leader not in ahead:
            self.leader = ahead[0] if len(ahead) == 1 else None

    def _is_settled(self) -> bool:
        """Whether the first is first whatever is still to come; the cheap part of that question first."""
        n = len(self._unplayed)
        merits = [self._merits.get(i, 0.0) for i in range(n)]
        low = [merit - left / 2 for merit, left in zip(merits, self._unplayed, strict=True)]
        first = max(range(n), key=low.__getitem__)
        reach = max(merits[i] + self._unplayed[i] / 2 for i in range(n) if i != first)
        return reach <= low[first] + DUST and settled(range(n), self._shares) is not None


def _chooser(judge: GroupJudge, race: _Race) -> GroupJudge:
    """The judge, choosing: its comparisons observed, and ended where they leave no doubt."""
    setup = judge.setup
    free = not setup.chosen and setup.protocol.arity == 2
    inner = registry.deliberation(BEST) if free else setup.deliberate

    async def deliberate(ask: Ask, case: Case, _: Observer) -> Decision:
        n = len(case.responses)
        race.begin(n, all_meet=inner.of(n).name == "round_robin")
        deciding = asyncio.ensure_future(inner(ask, case, race.observe))
        certain = asyncio.ensure_future(race.certain.wait())
        try:
            await asyncio.wait({deciding, certain}, return_when=asyncio.FIRST_COMPLETED)
            decision = deciding.result() if deciding.done() else race.decision(case)
            race.ended = True
            return decision
        finally:
            deciding.cancel()
            certain.cancel()
            await asyncio.gather(deciding, certain, return_exceptions=True)

    setup = replace(setup, deliberate=Deliberation("choice", deliberate, (inner,), takes=0), chosen=True)
    policy = msgspec.structs.replace(judge.policy, sort=False)
    return replace(judge, setup=setup, rating="score", reward="none", policy=policy)


def _choice(case: Case, race: _Race, result: GroupResult) -> Choice:
    decision = result.decision
    if decision is None:
        tied, verdict = _unasked(case, result)
    else:
        # Scores of matches that a deadline cut are no choice.
        cut = Verdict(status=Status.TRUNCATED, note=decision.verdict.note)
        verdict = decision.verdict if race.ended else cut
        scores = verdict.scores or ()
        tied = tuple(i for i, s in zip(result.judged, scores, strict=False) if s == max(scores))
    best = tied[0] if tied else None
    leader = race.leader if best is None else best
    return Choice(best, tied, leader, race.compared, verdict.status, verdict.note, result)


def _unasked(case: Case, result: GroupResult) -> tuple[tuple[int, ...], Verdict]:
    """The best by the rule; else all that are not empty: they are the same, so no judge was asked."""
    known = [rating for rating in result.ratings if rating is not None]
    if known and not result.level:
        best = max(known)
        return tuple(i for i, r in enumerate(result.ratings) if r == best), Verdict(note="by rule")
    without_thinking = ResponsePolicy().shown
    tied = tuple(i for i, r in enumerate(case.responses) if legible(response_text(without_thinking(r))))
    if tied:
        return tied, Verdict(note="nothing to compare: what is not empty is the same")
    return (), Verdict(status=Status.REFUSED, note="nothing to choose from: every response is empty")


def _finite(verdict: Verdict) -> Verdict:
    if verdict.scores and not all(map(isfinite, verdict.scores)):
        return Verdict(status=Status.UNPARSED, note="a score is not a number")
    return verdict
